//! Makes one output file out of downloaded members: joins them, cuts a byte range, unpacks gzip, and computes size and hash on the way.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::error::FetchError;
use super::progress::Progress;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    /// Length in bytes.
    pub(super) size: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub(super) sha256: String,
}

/// Writes the bytes of `members`, joined, into `out`.
///
/// `bytes` is a half-open range of the joined bytes; `gunzip` unpacks what is left; more than `limit` bytes of output are refused.
pub(super) fn assemble(
    members: &[PathBuf],
    bytes: Option<[u64; 2]>,
    gunzip: bool,
    out: &Path,
    limit: u64,
    progress: &mut dyn Progress,
) -> Result<Made, FetchError> {
    let fail = |source| FetchError::Write { path: out.to_owned(), source };
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).map_err(fail)?;
    }
    let mut reader = joined(members, bytes)?;
    if gunzip {
        reader = Box::new(MultiGzDecoder::new(BufReader::new(reader)));
    }
    let mut file = File::create(out).map_err(fail)?;
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let archive = members.first().map(|path| name_of(path)).unwrap_or_default();
                return Err(FetchError::Archive { archive, reason: error.to_string() });
            }
        };
        size += n as u64;
        if size > limit {
            return Err(FetchError::TooLarge { file: name_of(out), limit });
        }
        hasher.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(fail)?;
        progress.bytes(size, None);
        if progress.cancelled() {
            return Err(FetchError::Interrupted { name: name_of(out) });
        }
    }
    file.sync_all().map_err(fail)?;
    Ok(Made { size, sha256: hex(&hasher.finalize()) })
}

fn joined(members: &[PathBuf], bytes: Option<[u64; 2]>) -> Result<Box<dyn Read>, FetchError> {
    let [from, to] = bytes.unwrap_or([0, u64::MAX]);
    let mut reader: Box<dyn Read> = Box::new(io::empty());
    let mut start = 0_u64;
    for member in members {
        let fail = |source| FetchError::Read { path: member.clone(), source };
        let mut file = File::open(member).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        let end = start + length;
        let (first, last) = (from.clamp(start, end), to.clamp(start, end));
        if first < last {
            file.seek(SeekFrom::Start(first - start)).map_err(fail)?;
            reader = Box::new(reader.chain(file.take(last - first)));
        }
        start = end;
    }
    Ok(reader)
}

/// SHA-256 of a file as 64 lower-case hexadecimal digits.
pub(super) fn hash_file(path: &Path) -> Result<String, FetchError> {
    let fail = |source| FetchError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(fail)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fail(error)),
        }
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fetch::Silent;
    use flate2::{Compression, write::GzEncoder};

    #[test]
    fn ranges_run_across_members_and_the_hash_is_that_of_the_output() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b, out) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("sub/out"));
        fs::write(&a, b"hello ").unwrap();
        fs::write(&b, b"world").unwrap();
        let made = assemble(&[a.clone(), b.clone()], None, false, &out, 100, &mut Silent).unwrap();
        assert_eq!(made.size, 11);
        // sha256 of "hello world", the well-known value
        assert_eq!(made.sha256, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
        assert_eq!(hash_file(&out).unwrap(), made.sha256);
        assemble(&[a.clone(), b.clone()], Some([4, 8]), false, &out, 100, &mut Silent).unwrap();
        assert_eq!(fs::read(&out).unwrap(), b"o wo");
        assemble(&[a, b], Some([6, 99]), false, &out, 100, &mut Silent).unwrap();
        assert_eq!(fs::read(&out).unwrap(), b"world");
    }

    #[test]
    fn a_gzip_bomb_stops_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let packed = folder.path().join("bomb.gz");
        let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::best());
        encoder.write_all(&vec![0_u8; 4 << 20]).unwrap();
        encoder.finish().unwrap();
        let out = folder.path().join("out");
        let error = assemble(std::slice::from_ref(&packed), None, true, &out, 3 << 20, &mut Silent).unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { limit: 3_145_728, .. }), "{error}");
        let made = assemble(&[packed], None, true, &out, 4 << 20, &mut Silent).unwrap();
        assert_eq!(made.size, 4 << 20);
    }
}
