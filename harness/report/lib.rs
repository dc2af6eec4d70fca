//! Charts and documents from result values.
