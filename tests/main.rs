//! All end-to-end tests, in one binary.

#![allow(clippy::unwrap_used, missing_docs)]

mod arch;
mod cli;
mod docs;
mod real;
mod suites;
mod support;
mod ui;
