//! Results of other programs as runs.
//!
//! A format is one file below `import/` and one line in [`IMPORTERS`]. What an import reads is foreign and may be
//! anything: every reader refuses what it does not understand and names the place, never panics, and never sets memory
//! aside for more than the file holds.

mod criterion;
mod gather;
mod json;
mod llama_bench;
mod lm_eval;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use harness_core::stamp::Source;
use harness_core::{CellRecord, Stamp};

use crate::error::StoreError;
use crate::files;
use crate::run::{MetricInfo, Run};
use crate::seal::{Layout, create, seal};

/// The longest file that is read at once, in bytes. A document of JSON takes some ten times its length in memory.
const MOST_BYTES: u64 = 128 << 20;
/// The longest line of a file that is read by lines, in bytes.
const MOST_LINE: u64 = 16 << 20;
/// The most cells an import may have, as many as a suite.
const MOST_CELLS: usize = 100_000;

/// A format that runs can be made from.
#[derive(Debug)]
pub struct Importer {
    /// As given on the command line.
    pub name: &'static str,
    /// One line: what is read.
    pub about: &'static str,
    /// Whether a file or folder looks like it.
    recognises: fn(&Path) -> bool,
    /// Reads it.
    read: fn(&Path, &Options) -> Result<Imported, ImportError>,
}

/// All formats, tried in this order when none is named.
const IMPORTERS: [Importer; 6] =
    [table::PARQUET, table::CSV, table::JSONL, llama_bench::IMPORTER, lm_eval::IMPORTER, criterion::IMPORTER];

/// What may be said about an import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which of criterion's baselines is meant.
    pub baseline: Option<String>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Who measured it.
    pub source: Source,
    /// When, RFC 3339; empty where the files do not say.
    pub started: String,
    /// Its metrics, in the order reports show them.
    pub metrics: Vec<MetricInfo>,
    /// Its cells.
    pub records: Vec<CellRecord>,
    /// What could not be taken over, in sentences.
    pub left_out: Vec<String>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No format fits.
    #[error("{} is none of {known}; name its format with --format", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// All formats.
        known: String,
    },
    /// A file is too long, or holds too much.
    #[error("{} has {found}; at most {most} can be imported at once", path.display())]
    TooMuch {
        /// The file.
        path: PathBuf,
        /// How much there is.
        found: String,
        /// How much may be.
        most: String,
    },
    /// A file is not in its format at all.
    #[error("{} is not {format}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// The parser's reason, with the place.
        reason: String,
    },
    /// Something in a file is not what belongs there.
    #[error("{}: {place}: {reason}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// The files are in order and hold nothing.
    #[error("{} holds no results: {reason}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// The run could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Names and descriptions of all formats that can be imported.
pub fn importers() -> impl Iterator<Item = (&'static str, &'static str)> {
    IMPORTERS.iter().map(|importer| (importer.name, importer.about))
}

/// Reads the results of another program from a file or folder; of `format`, or of the format that it looks like.
///
/// # Errors
/// [`ImportError`], before anything is written.
pub fn import(path: &Path, format: Option<&str>, options: &Options) -> Result<Imported, ImportError> {
    fs::metadata(path).map_err(|source| ImportError::Read { path: path.to_owned(), source })?;
    let found = match format {
        Some(name) => IMPORTERS.iter().find(|importer| importer.name == name),
        None => IMPORTERS.iter().find(|importer| (importer.recognises)(path)),
    };
    let importer = found.ok_or_else(|| ImportError::Unknown {
        path: path.to_owned(),
        known: importers().map(|(name, _)| name).collect::<Vec<_>>().join(", "),
    })?;
    let mut imported = (importer.read)(path, options)?;
    imported.source.path = path.display().to_string();
    if imported.records.is_empty() {
        return Err(ImportError::Empty { path: path.to_owned(), reason: "it has no rows".to_owned() });
    }
    Ok(imported)
}

/// Writes what was read as a sealed run. `stamp` says which program imports; its source and date are those of the import.
///
/// # Errors
/// [`StoreError`], in particular for a folder that holds a run.
pub fn write_import(dir: &Path, imported: &Imported, stamp: &Stamp) -> Result<Run, StoreError> {
    let stamp = Stamp {
        source: Some(imported.source.clone()),
        started: imported.started.clone(),
        finished: imported.started.clone(),
        ..stamp.clone()
    };
    create(dir, &stamp)?;
    let path = Layout::new(dir).journal();
    if path.exists() {
        return Err(StoreError::Sealed { dir: dir.to_owned(), file: "journal.jsonl".to_owned() });
    }
    let mut journal = Vec::new();
    for record in &imported.records {
        serde_json::to_writer(&mut journal, record).map_err(|error| StoreError::write(&path)(error.into()))?;
        journal.push(b'\n');
    }
    files::write(&path, &journal)?;
    let order: Vec<_> = imported.records.iter().map(|record| record.id.clone()).collect();
    seal(dir, &imported.metrics, &order)
}

/// A whole file, if it is not too long, and its hash.
fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    use std::io::Read;
    let failed = |source| ImportError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // The length that a file system tells is not trusted: a pipe or a growing file has none.
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ImportError::TooMuch {
            path: path.to_owned(),
            found: format!("more than {} MiB", MOST_BYTES >> 20),
            most: format!("{} MiB", MOST_BYTES >> 20),
        });
    }
    Ok(bytes)
}

/// Hands the lines of a file, numbered from 1 and without empty ones, to `each`; returns the hash of the file. A file may
/// be of any length, a line may not.
fn each_line(
    path: &Path,
    mut each: impl FnMut(usize, &[u8]) -> Result<(), ImportError>,
) -> Result<String, ImportError> {
    use std::io::{BufRead, BufReader, Read};
    let failed = |source| ImportError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::new(fs::File::open(path).map_err(failed)?);
    let (mut line, mut number, mut hash) = (Vec::new(), 0, files::Hasher::default());
    loop {
        line.clear();
        (&mut reader).take(MOST_LINE + 1).read_until(b'\n', &mut line).map_err(failed)?;
        number += 1;
        if line.len() as u64 > MOST_LINE {
            return Err(ImportError::TooMuch {
                path: path.to_owned(),
                found: format!("more than {} MiB in line {number}", MOST_LINE >> 20),
                most: format!("{} MiB a line", MOST_LINE >> 20),
            });
        }
        if line.is_empty() {
            return Ok(hash.finish());
        }
        hash.update(&line);
        if !line.trim_ascii().is_empty() {
            each(number, &line)?;
        }
    }
}

/// The first bytes of a file, to see what it is.
fn head(path: &Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    // A file that cannot be read looks like nothing; reading it for good gives the reason.
    let read = fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut bytes));
    if read.is_ok() { String::from_utf8_lossy(&bytes).into_owned() } else { String::new() }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|end| end.to_str()).unwrap_or_default()
}

/// One hash of several files, in the order given.
fn hash_of(parts: &[String]) -> String {
    match parts {
        [only] => only.clone(),
        several => files::hash(several.join("\n").as_bytes()),
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
