//! The journal of a run: one line of JSON a finished cell, on disk before the next cell begins.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::record::CellRecord;

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file could not be opened, read or written.
    #[error("cannot {action} the journal {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process holds the journal.
    #[error("another run is writing {}; wait for it, or choose another folder with --out", path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// A complete line that is not a record.
    #[error("line {line} of the journal {} is not a record: {source}; move the file away to start afresh", path.display())]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// The parser's reason.
        source: serde_json::Error,
    },
}

/// An open journal, locked for this process.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    records: Vec<CellRecord>,
}

impl Journal {
    /// Opens or creates a journal, locks it, and reads what is already there. A last line without its line feed
    /// (the process was killed while writing it) is cut off.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |action| move |source| JournalError::Io { action, path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let (records, complete) = read_records(path, &mut file)?;
        file.set_len(complete).map_err(failed("mend"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("read"))?;
        Ok(Self { file, path: path.to_owned(), records })
    }

    /// Reads a journal without locking it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn read(path: &Path) -> Result<Vec<CellRecord>, JournalError> {
        let mut file =
            File::open(path).map_err(|source| JournalError::Io { action: "open", path: path.to_owned(), source })?;
        read_records(path, &mut file).map(|(records, _)| records)
    }

    /// The records so far, in the order they were written.
    pub fn records(&self) -> &[CellRecord] {
        &self.records
    }

    /// Writes one record and makes sure that it is on disk.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the record then does not count as written.
    pub fn append(&mut self, record: CellRecord) -> Result<(), JournalError> {
        let failed = |path: &Path, source| JournalError::Io { action: "write", path: path.to_owned(), source };
        let mut line = serde_json::to_vec(&record).map_err(|error| failed(&self.path, error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(|source| failed(&self.path, source))?;
        self.records.push(record);
        Ok(())
    }
}

fn read_records(path: &Path, file: &mut File) -> Result<(Vec<CellRecord>, u64), JournalError> {
    let failed = |source| JournalError::Io { action: "read", path: path.to_owned(), source };
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut reader = BufReader::new(file);
    let mut records = Vec::new();
    let mut complete = 0;
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        if line.last() != Some(&b'\n') {
            break;
        }
        let record = serde_json::from_slice(&line).map_err(|source| JournalError::Corrupt {
            path: path.to_owned(),
            line: records.len() + 1,
            source,
        })?;
        records.push(record);
        complete += line.len() as u64;
        line.clear();
    }
    Ok((records, complete))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;
    use crate::cell::{Cell, CellId};
    use crate::record::Observation;

    fn record(name: &str) -> CellRecord {
        CellRecord {
            id: CellId::of(&[("name", name.to_owned())]),
            cell: Cell { bench: name.to_owned(), coordinates: BTreeMap::new() },
            observations: vec![Observation::single("ppl", 0.1 + 0.2)],
            failure: None,
            warnings: Vec::new(),
            seconds: 0.5,
        }
    }

    #[test]
    fn a_half_written_line_is_cut_off_and_the_rest_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(record("a")).unwrap();
        drop(journal);
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"id\":\"12");
        std::fs::write(&path, torn).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.records(), [record("a")]);
        journal.append(record("b")).unwrap();
        assert_eq!(Journal::read(&path).unwrap(), [record("a"), record("b")]);
    }

    #[test]
    fn a_second_writer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let first = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Busy { .. })));
        drop(first);
        assert!(Journal::open(&path).is_ok());
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Corrupt { line: 1, .. })));
    }
}
