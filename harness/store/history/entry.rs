//! The entry of a night: who, when, from which commit, and the hashes of its tables.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{calendar, rows};
use crate::error::StoreError;
use crate::files;
use crate::run::{MetricInfo, Run};

/// The layout of an entry; readers refuse a larger one.
pub const SCHEMA: u32 = 1;

/// One night. Fields that later layouts add have defaults, so that old entries stay readable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Layout.
    pub schema: u32,
    /// Number in order of arrival, from 1.
    pub sequence: u64,
    /// SHA-256 of everything the run measured, by which a run is known again.
    pub hash: String,
    /// Name of the run.
    pub run: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// Commit the program was built from; empty when not known.
    pub commit: String,
    /// Whether the work tree held other changes.
    pub dirty: bool,
    /// Version of the program.
    pub version: String,
    /// The class of machines.
    pub class: String,
    /// Hash of the suite.
    pub suite_hash: String,
    /// The metrics that were measured.
    pub metrics: Vec<MetricInfo>,
    /// Cells that failed, with their reasons.
    pub failed: Vec<(String, String)>,
    /// SHA-256 of the table of records.
    pub records: String,
    /// SHA-256 of the table of samples.
    pub samples: String,
    /// File name without its endings.
    pub stem: String,
}

/// What every layout has.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    schema: u32,
}

impl Entry {
    /// Name of the table of records.
    pub fn records_name(&self) -> String {
        format!("{}.records.parquet", self.stem)
    }

    /// Name of the table of samples.
    pub fn samples_name(&self) -> String {
        format!("{}.samples.parquet", self.stem)
    }

    /// Writes a run as an entry: the tables first, the entry itself last. Without a stem it is named after its number
    /// and hash.
    pub(super) fn write(
        dir: &Path,
        run: &Run,
        sequence: u64,
        class: &str,
        stem: Option<&str>,
    ) -> Result<Self, StoreError> {
        let hash = hash_of(run);
        let stem = stem.map_or_else(|| format!("{sequence:06}-{}", &hash[..12]), str::to_owned);
        let mut entry = Self {
            schema: SCHEMA,
            sequence,
            hash,
            run: run.name(),
            started: run.stamp.started.clone(),
            commit: run.stamp.commit.clone(),
            dirty: run.stamp.dirty,
            version: run.stamp.version.clone(),
            class: class.to_owned(),
            suite_hash: run.stamp.suite.hash.clone(),
            metrics: run.metrics.clone(),
            failed: run
                .failed()
                .map(|(cell, failure)| (cell.cell.to_string(), format!("{}: {}", failure.stage, failure.reason)))
                .collect(),
            records: String::new(),
            samples: String::new(),
            stem,
        };
        entry.samples = rows::write_samples(&dir.join(entry.samples_name()), run)?;
        entry.records = rows::write(&dir.join(entry.records_name()), &rows::of(run))?;
        let path = dir.join(format!("{}.json", entry.stem));
        let mut bytes = serde_json::to_vec_pretty(&entry).map_err(|error| StoreError::write(&path)(error.into()))?;
        bytes.push(b'\n');
        files::write(&path, &bytes)?;
        Ok(entry)
    }

    /// Reads an entry.
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = fs::read(path).map_err(StoreError::read(path))?;
        let damaged = |error: serde_json::Error| StoreError::damaged(path, error);
        let Version { schema } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if schema > SCHEMA {
            return Err(StoreError::Newer { path: path.to_owned(), found: schema, known: SCHEMA });
        }
        let mut entry: Self = serde_json::from_slice(&bytes).map_err(damaged)?;
        // Files may have been renamed when histories were merged; the name on disk is the one that counts.
        entry.stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(entry)
    }
}

/// All entries of a folder in order of arrival, each run once, and what the reader should know of them.
pub(super) fn list(dir: &Path) -> Result<(Vec<Entry>, Vec<String>), StoreError> {
    let mut entries = Vec::new();
    for path in files_of(dir)? {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if name.ends_with(".json") && name.starts_with(|sign: char| sign.is_ascii_digit()) {
            entries.push(Entry::read(&path)?);
        }
    }
    entries.sort_by(|a, b| (a.sequence, &a.started, &a.hash).cmp(&(b.sequence, &b.started, &b.hash)));
    let mut notes = Vec::new();
    let mut seen = HashSet::new();
    entries.retain(|entry| {
        let first = seen.insert(entry.hash.clone());
        if !first {
            notes.push(format!("{} stands in the history twice and counts once", entry.run));
        }
        first
    });
    notes.extend(calendar::notes(&entries));
    Ok((entries, notes))
}

/// The class of machines of a history's folder, as its first entry or baseline says.
pub(super) fn class_of(dir: &Path) -> Result<Option<String>, StoreError> {
    let mut candidates = files_of(dir)?;
    candidates.extend(files_of(&dir.join("baselines"))?);
    let is_entry = |path: &Path| {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        name.ends_with(".json") && !matches!(name.as_str(), "pinned.json" | "calibration.json")
    };
    let first = candidates.into_iter().find(|path| is_entry(path));
    first.map(|path| Entry::read(&path).map(|entry| entry.class)).transpose()
}

/// The files of a folder; none where there is no folder.
pub(super) fn files_of(dir: &Path) -> Result<Vec<std::path::PathBuf>, StoreError> {
    match fs::read_dir(dir) {
        Ok(found) => found.map(|entry| entry.map(|entry| entry.path()).map_err(StoreError::read(dir))).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::read(dir)(error)),
    }
}

/// The hash by which a run is known again: of its stamp and of everything it measured.
pub(super) fn hash_of(run: &Run) -> String {
    let cells: Vec<_> = run.records.iter().map(|record| &record.cell).collect();
    // Neither holds a map with keys that are no text, so this cannot fail.
    files::hash(&serde_json::to_vec(&(&run.stamp, cells)).unwrap_or_default())
}
