//! All end-to-end tests, in one binary.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod arch;
mod cli;
mod docs;
#[cfg(unix)]
mod fetching;
mod formats;
mod inputs;
mod inspect;
mod inspect_prune;
mod lists;
mod models;
mod real;
mod report;
mod sample;
mod sampling;
mod scale;
mod scaling;
mod search;
#[cfg(target_os = "linux")]
mod streaming;
mod suites;
mod support;
mod task_inputs;
mod track;
#[cfg(target_os = "linux")]
mod trouble;
mod ui;
mod verbs;
