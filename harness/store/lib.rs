//! Tables of results: journal to parquet, runs, comparison, queries for figures and tables.
//!
//! A run is a folder. While it goes on it holds `run.json` (the stamp), `suite.toml` and `journal.jsonl`; [`seal`]
//! adds `cells.parquet`, `records.parquet`, `samples.parquet` and `profiles.parquet`, and `sealed.json` with the hash of
//! each file. From
//! then on the folder does not change.

mod advice;
mod answer;
mod calibrate;
mod check;
mod compare;
mod compare_table;
mod dispersion;
mod error;
pub mod export;
mod files;
mod flat;
mod frames;
mod grid;
pub mod history;
pub mod import;
mod listing;
mod pairs;
mod passport;
mod query;
mod rank;
mod run;
mod seal;
mod table;
mod time;
mod track;
mod verdicts;

pub use answer::{Against, Finding, default_request, findings, leading_metric};
pub use calibrate::{CalibrateError, Calibration, FEWEST_RUNS, SCALES, calibrate};
pub use check::{Disagreement, recompute};
pub use compare::{CompareOptions, Comparison, ComparisonRow, Selection, compare};
pub use compare_table::comparison_table;
pub use dispersion::dispersions;
pub use error::{QueryError, StoreError};
pub use history::{Appended, Baseline, Entry, History, Pin};
pub use listing::{RunSummary, list_runs};
pub use pairs::pairs_table;
pub use query::{length_table, query, scaling_tables};
pub use run::{AlongInfo, MetricInfo, Record, Run, exact_records_bytes};
pub use seal::{Layout, Seal, create, is_sealed, seal, write_stamp};
pub use table::{failures, main_table, requested_table};
pub use track::{changes, track};
pub use verdicts::{COMMENT_MARK, comment, commits, verdict_table, word};

#[cfg(test)]
mod fixture;
