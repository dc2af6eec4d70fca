//! The record of a finished fetch (`lock.json`), and the advisory lock that keeps two fetches of one entry apart.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::error::FetchError;
use super::progress::Progress;

/// File name of the record, beside the fetched files.
pub const RECORD: &str = "lock.json";

/// One file as it was when its hash was computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedFile {
    /// Path inside the folder.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: String,
    /// Modification time in nanoseconds since 1970; a file that still has it and its size is not hashed again.
    pub modified: u64,
}

/// What a fetch put into a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The entry.
    pub name: String,
    /// The source that was used.
    pub source: String,
    /// The commit the hub resolved the revision to.
    pub commit: Option<String>,
    /// When, in seconds since 1970.
    pub fetched: u64,
    /// The files.
    pub files: Vec<RecordedFile>,
}

impl Record {
    /// Reads the record of a folder; `None` when there is none or it cannot be understood, which means the same: fetch again.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(RECORD)).ok()?).ok()
    }

    /// Writes the record into a folder that is not visible yet.
    pub(super) fn write(&self, folder: &Path) -> Result<(), FetchError> {
        let path = folder.join(RECORD);
        let fail = |source| FetchError::Write { path: path.clone(), source };
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| fail(error.into()))?;
        text.push(b'\n');
        std::fs::write(&path, text).map_err(fail)?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(fail)
    }

    /// The recorded file of that name.
    pub fn file(&self, name: &str) -> Option<&RecordedFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Modification time of a file in nanoseconds since 1970; 0 where the system keeps none.
pub(super) fn modified(path: &Path) -> u64 {
    let time = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_nanos() as u64)
}

/// Holds the advisory lock of one entry until dropped. The system releases it when the process dies, so it cannot go stale.
#[derive(Debug)]
pub(super) struct EntryLock(#[expect(dead_code, reason = "held for its lock")] File);

impl EntryLock {
    /// Waits until no other process or thread fetches the entry.
    pub(super) fn acquire(path: &Path, name: &str, progress: &mut dyn Progress) -> Result<Self, FetchError> {
        let fail = |source| FetchError::Write { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(fail)?;
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(fail)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(source)) => return Err(fail(source)),
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        progress.step(&format!("waiting for another fetch of {name}"));
                        told = true;
                    }
                    if progress.cancelled() {
                        return Err(FetchError::Interrupted { name: name.to_owned() });
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
}
