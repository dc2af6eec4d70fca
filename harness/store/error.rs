//! What can go wrong with stored results.

use std::io;
use std::path::{Path, PathBuf};

use harness_core::journal::JournalError;

/// Why results could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be written: the disk is full, or the folder is read-only. The program's exit code is 110.
    #[error("results could not be written: {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The folder holds no run.
    #[error("{} holds no run: {missing} is missing", dir.display())]
    NoRun {
        /// The folder.
        dir: PathBuf,
        /// The first file that is missing.
        missing: String,
    },
    /// The run was never sealed.
    #[error("the run in {} is not finished; run its suite again with the same --out to go on with it", dir.display())]
    Unsealed {
        /// The folder.
        dir: PathBuf,
    },
    /// A sealed run would have changed.
    #[error("the run in {} is sealed and {file} would change; choose another folder with --out", dir.display())]
    Sealed {
        /// The folder.
        dir: PathBuf,
        /// The first file that differs.
        file: String,
    },
    /// A file is not what was sealed.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder was written by a later program.
    #[error("{} has layout {found}, and this program reads up to {known}; use a newer harness", path.display())]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// Its layout.
        found: u32,
        /// The latest layout known here.
        known: u32,
    },
    /// Another process is appending to the history.
    #[error("another process is writing the history beside {}; wait for it", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// The name of a baseline is taken.
    #[error("the baseline `{name}` is another run, {run}; drop it first, or choose another name")]
    Taken {
        /// The name.
        name: String,
        /// The run that has it.
        run: String,
    },
    /// There is no such baseline.
    #[error("there is no baseline `{name}`; there is {known}")]
    NoBaseline {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl StoreError {
    /// Whether this means that results were lost (exit code 110).
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Journal(JournalError::Io { action: "write" | "mend", .. }))
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into().to_string() }
    }
}

/// Why a figure, a table or a comparison shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No cell of the run fits the conditions.
    #[error("no cell of the run fits {what}")]
    Nothing {
        /// What was asked for.
        what: String,
    },
    /// No cell has the metric.
    #[error("no cell of the run has the metric `{metric}`; it has {known}")]
    Metric {
        /// The metric.
        metric: String,
        /// The metrics there are.
        known: String,
    },
    /// There is no such bench.
    #[error("the run has no bench `{bench}`; it has {known}")]
    Bench {
        /// The bench.
        bench: String,
        /// The benches there are.
        known: String,
    },
}
