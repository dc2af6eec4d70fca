//! Files that appear under their name complete or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use polars::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::StoreError;

/// Writes bytes to a temporary file beside `path`, makes sure they are on disk, and renames it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension("partial");
    let written = (|| {
        let mut file = BufWriter::new(File::create(&temporary)?);
        file.write_all(bytes)?;
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(|source| {
        // The half-written file is of no use, and its disk may be the full one.
        let _ = fs::remove_file(&temporary);
        StoreError::write(path)(source)
    })
}

/// SHA-256, hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// SHA-256 of what comes piece by piece.
#[derive(Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash, hexadecimal.
    pub fn finish(self) -> String {
        use std::fmt::Write;
        self.0.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// A table as the bytes of a parquet file; the same table gives the same bytes.
pub fn parquet(path: &Path, frame: &mut DataFrame) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Zstd(None))
        .set_parallel(false)
        .finish(frame)
        .map_err(|error| StoreError::write(path)(std::io::Error::other(error)))?;
    Ok(bytes)
}

/// Reads the bytes of a parquet file.
pub fn read_parquet(path: &Path, bytes: Vec<u8>) -> Result<DataFrame, StoreError> {
    let frame =
        ParquetReader::new(std::io::Cursor::new(bytes)).finish().map_err(|error| StoreError::damaged(path, error))?;
    match uneven(&frame) {
        Some(short) => Err(StoreError::damaged(path, format!("its column {short} has not as many rows as the file"))),
        None => Ok(frame),
    }
}

/// A column that has not as many rows as the frame: polars reads such files without complaint.
pub fn uneven(frame: &DataFrame) -> Option<String> {
    frame.columns().iter().find(|column| column.len() != frame.height()).map(|column| column.name().to_string())
}
