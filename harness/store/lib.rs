//! Tables of results: journal to parquet, runs, history, comparison, queries for figures.
