//! Run folders: begun, stamped, and sealed for good.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness_core::{CellId, Stamp, stamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::run::{MetricInfo, Run};
use crate::{files, frames};

/// Names of the files of a run.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    dir: &'a Path,
}

impl<'a> Layout<'a> {
    /// The layout of a folder.
    pub fn new(dir: &'a Path) -> Self {
        Self { dir }
    }

    /// One line of JSON a finished cell.
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal.jsonl")
    }

    /// The stamp.
    pub fn stamp(&self) -> PathBuf {
        self.dir.join("run.json")
    }

    /// The suite as it was run.
    pub fn suite(&self) -> PathBuf {
        self.dir.join("suite.toml")
    }

    /// What was sealed, with hashes.
    pub fn seal(&self) -> PathBuf {
        self.dir.join("sealed.json")
    }

    /// Where the report of the run is written.
    pub fn report(&self) -> PathBuf {
        self.dir.join("report")
    }
}

/// What a sealed folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seal {
    /// Layout of the folder.
    pub schema: u32,
    /// SHA-256 of every sealed file by name.
    pub files: BTreeMap<String, String>,
    /// Cells in the tables.
    pub cells: usize,
    /// Of these, how many failed.
    pub failed: usize,
    /// The metrics that were asked for, in the order reports show them.
    pub metrics: Vec<MetricInfo>,
}

impl Seal {
    /// Reads the seal of a folder.
    ///
    /// # Errors
    /// [`StoreError`] when it is missing, damaged, or of a later layout.
    pub fn read(dir: &Path) -> Result<Self, StoreError> {
        let path = Layout::new(dir).seal();
        let bytes = fs::read(&path).map_err(StoreError::read(&path))?;
        let damaged = |error: serde_json::Error| StoreError::damaged(&path, error);
        let Version { schema } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if schema > stamp::SCHEMA {
            return Err(StoreError::Newer { path, found: schema, known: stamp::SCHEMA });
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }
}

/// What every layout of a seal has.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// Whether a folder is sealed.
pub fn is_sealed(dir: &Path) -> bool {
    Layout::new(dir).seal().exists()
}

/// Begins a run, or goes on with one: makes the folder and writes the stamp and the suite's text.
///
/// # Errors
/// [`StoreError::Sealed`] for a sealed folder, [`StoreError::Write`].
pub fn create(dir: &Path, stamp: &Stamp) -> Result<(), StoreError> {
    if is_sealed(dir) {
        return Err(StoreError::Sealed { dir: dir.to_owned(), file: "run.json".to_owned() });
    }
    fs::create_dir_all(dir).map_err(StoreError::write(dir))?;
    files::write(&Layout::new(dir).suite(), stamp.suite.text.as_bytes())?;
    write_stamp(dir, stamp)
}

/// Writes the stamp of a run that is not sealed.
///
/// # Errors
/// [`StoreError::Sealed`], [`StoreError::Write`].
pub fn write_stamp(dir: &Path, stamp: &Stamp) -> Result<(), StoreError> {
    let layout = Layout::new(dir);
    if layout.seal().exists() {
        return Err(StoreError::Sealed { dir: dir.to_owned(), file: "run.json".to_owned() });
    }
    let stamp = Stamp { schema: stamp::SCHEMA, ..stamp.clone() };
    files::write(&layout.stamp(), &json(&layout.stamp(), &stamp)?)
}

/// Turns the journal of a run into its tables and seals the folder. `order` is the order of the plan, see
/// [`Run::from_journal`]. Sealing again with the same journal changes nothing.
///
/// # Errors
/// [`StoreError::Sealed`] when the folder is sealed with other content, [`StoreError::Write`], or an unreadable journal.
pub fn seal(dir: &Path, metrics: &[MetricInfo], order: &[CellId]) -> Result<Run, StoreError> {
    let run = Run::from_journal(dir, metrics, order)?;
    let layout = Layout::new(dir);
    let mut contents = Vec::new();
    for (name, mut frame) in frames::write(&run)? {
        let bytes = files::parquet(&dir.join(name), &mut frame)?;
        contents.push((name, bytes));
    }
    for (name, path) in
        [("journal.jsonl", layout.journal()), ("run.json", layout.stamp()), ("suite.toml", layout.suite())]
    {
        contents.push((name, fs::read(&path).map_err(StoreError::read(&path))?));
    }
    let seal = Seal {
        schema: stamp::SCHEMA,
        files: contents.iter().map(|(name, bytes)| ((*name).to_owned(), files::hash(bytes))).collect(),
        cells: run.records.len(),
        failed: run.failed().count(),
        metrics: metrics.to_vec(),
    };
    if layout.seal().exists() {
        let old = Seal::read(dir)?;
        let differs = seal.files.iter().find(|(name, hash)| old.files.get(*name) != Some(*hash));
        return match differs {
            Some((name, _)) => Err(StoreError::Sealed { dir: dir.to_owned(), file: name.clone() }),
            None if old != seal => Err(StoreError::Sealed { dir: dir.to_owned(), file: "sealed.json".to_owned() }),
            None => Ok(run),
        };
    }
    for (name, bytes) in contents.iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "parquet"))
    {
        files::write(&dir.join(name), bytes)?;
    }
    // The seal comes last: a folder without it is unfinished, whatever else it holds.
    files::write(&layout.seal(), &json(&layout.seal(), &seal)?)?;
    Ok(run)
}

fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| StoreError::write(path)(error.into()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
