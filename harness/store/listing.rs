//! The runs of a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::run::read_stamp;
use crate::seal::{Layout, Seal};

/// A line of the list of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// Name of the folder.
    pub name: String,
    /// The folder.
    pub dir: PathBuf,
    /// When it began, RFC 3339.
    pub started: String,
    /// Path of its suite; for an import, what was imported.
    pub suite: String,
    /// Cells and failed cells, for a sealed run.
    pub cells: Option<(usize, usize)>,
    /// Why it cannot be read, when it cannot.
    pub fault: Option<String>,
}

/// All runs below a folder, latest last; empty when there is no such folder. A run that cannot be read is listed with
/// its fault, so that one bad folder hides no other.
///
/// # Errors
/// [`StoreError::Read`] when the folder itself cannot be read.
pub fn list_runs(root: &Path) -> Result<Vec<RunSummary>, StoreError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::read(root)(error)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let dir = entry.map_err(StoreError::read(root))?.path();
        if !Layout::new(&dir).stamp().is_file() {
            continue;
        }
        let name = dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut summary = RunSummary {
            name,
            dir: dir.clone(),
            started: String::new(),
            suite: String::new(),
            cells: None,
            fault: None,
        };
        match read_stamp(&dir) {
            Ok(stamp) => {
                summary.started = stamp.started;
                summary.suite = stamp.source.map_or(stamp.suite.path, |source| format!("{source}, imported"));
            }
            Err(error) => summary.fault = Some(error.to_string()),
        }
        if Layout::new(&dir).seal().exists() {
            match Seal::read(&dir) {
                Ok(seal) => summary.cells = Some((seal.cells, seal.failed)),
                Err(error) => summary.fault = Some(error.to_string()),
            }
        }
        runs.push(summary);
    }
    runs.sort_by(|a, b| (&a.started, &a.name).cmp(&(&b.started, &b.name)));
    Ok(runs)
}
