//! Takes named members out of zip and tar.gz archives, and refuses archives that try to write elsewhere.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::error::FetchError;
use super::progress::Progress;

/// One member to take out.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Path inside the archive; `*` stands for any run of characters other than `/`.
    pub(super) member: String,
    /// Where it goes; appears only once complete.
    pub(super) to: PathBuf,
    /// The most bytes it may unpack to.
    pub(super) limit: u64,
}

/// Takes every wanted member out of `archive`.
///
/// The destination is chosen by the caller, never by the archive; still an archive with an absolute name, a `..` or a linked wanted
/// member is refused as a whole, because nobody makes such an archive by accident.
pub(super) fn extract(archive: &Path, wanted: &[Wanted], progress: &mut dyn Progress) -> Result<(), FetchError> {
    let name = archive.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut magic = [0_u8; 4];
    let mut file = open(archive)?;
    let read = file.read(&mut magic).map_err(|source| FetchError::Read { path: archive.to_owned(), source })?;
    let mut found = Found { archive: &name, wanted, at: vec![None; wanted.len()], progress };
    match &magic[..read] {
        [b'P', b'K', ..] => from_zip(archive, &mut found)?,
        [0x1f, 0x8b, ..] => from_tar(archive, &mut found)?,
        _ => return Err(found.refuse("it is neither a zip nor a tar.gz".to_owned())),
    }
    for (want, at) in wanted.iter().zip(&found.at) {
        if at.is_none() {
            return Err(found.refuse(format!("it holds no member \"{}\"", want.member)));
        }
    }
    Ok(())
}

struct Found<'a> {
    archive: &'a str,
    wanted: &'a [Wanted],
    at: Vec<Option<String>>,
    progress: &'a mut dyn Progress,
}

impl Found<'_> {
    fn refuse(&self, reason: String) -> FetchError {
        FetchError::Archive { archive: self.archive.to_owned(), reason }
    }

    /// Checks the member's name and says which wanted entries it is.
    fn select(&mut self, name: &str) -> Result<Vec<usize>, FetchError> {
        let drive = name.as_bytes().get(1) == Some(&b':');
        if name.starts_with(['/', '\\']) || drive || name.split(['/', '\\']).any(|part| part == "..") {
            return Err(self.refuse(format!("member \"{name}\" points outside the archive")));
        }
        let plain = name.strip_prefix("./").unwrap_or(name);
        let indices: Vec<usize> =
            (0..self.wanted.len()).filter(|index| matches(&self.wanted[*index].member, plain)).collect();
        for index in &indices {
            if let Some(before) = self.at[*index].replace(plain.to_owned()) {
                let pattern = &self.wanted[*index].member;
                return Err(self.refuse(format!("\"{pattern}\" matches both \"{before}\" and \"{plain}\"")));
            }
        }
        Ok(indices)
    }

    fn write(&mut self, indices: &[usize], reader: &mut dyn Read) -> Result<(), FetchError> {
        let Some((first, others)) = indices.split_first() else { return Ok(()) };
        let want = &self.wanted[*first];
        let partial = want.to.with_extension("partial");
        let fail = |source| FetchError::Write { path: partial.clone(), source };
        let mut out = File::create(&partial).map_err(fail)?;
        let mut buffer = vec![0_u8; 1 << 18];
        let mut done = 0_u64;
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.refuse(format!("member \"{}\": {error}", want.member))),
            };
            done += n as u64;
            if done > want.limit {
                return Err(FetchError::TooLarge {
                    file: format!("{}: member \"{}\"", self.archive, want.member),
                    limit: want.limit,
                });
            }
            out.write_all(&buffer[..n]).map_err(fail)?;
            self.progress.bytes(done, None);
            if self.progress.cancelled() {
                return Err(FetchError::Interrupted { name: self.archive.to_owned() });
            }
        }
        out.sync_all().map_err(fail)?;
        for other in others {
            std::fs::copy(&partial, &self.wanted[*other].to).map_err(fail)?;
        }
        std::fs::rename(&partial, &want.to).map_err(fail)
    }
}

fn open(path: &Path) -> Result<File, FetchError> {
    File::open(path).map_err(|source| FetchError::Read { path: path.to_owned(), source })
}

fn from_zip(path: &Path, found: &mut Found<'_>) -> Result<(), FetchError> {
    let mut archive =
        zip::ZipArchive::new(BufReader::new(open(path)?)).map_err(|error| found.refuse(error.to_string()))?;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(|error| found.refuse(error.to_string()))?;
        let name = member.name().map_err(|error| found.refuse(error.to_string()))?.into_owned();
        let wanted = found.select(&name)?;
        if !wanted.is_empty() {
            if !member.is_file() {
                return Err(found.refuse(format!("member \"{name}\" is a link or folder, not a file")));
            }
            found.write(&wanted, &mut member)?;
        }
    }
    Ok(())
}

fn from_tar(path: &Path, found: &mut Found<'_>) -> Result<(), FetchError> {
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(open(path)?)));
    let entries = archive.entries().map_err(|error| found.refuse(error.to_string()))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| found.refuse(error.to_string()))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let wanted = found.select(&name)?;
        if !wanted.is_empty() {
            if !entry.header().entry_type().is_file() {
                return Err(found.refuse(format!("member \"{name}\" is a link or folder, not a file")));
            }
            found.write(&wanted, &mut entry)?;
        }
    }
    Ok(())
}

/// Whether `name` matches `pattern`, in which `*` stands for any run of characters other than `/`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            let Some(rest) = name.strip_prefix(before) else { return false };
            let reach = rest.find('/').unwrap_or(rest.len());
            (0..=reach).any(|end| rest.is_char_boundary(end) && matches(after, &rest[end..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stays_inside_one_folder() {
        assert!(matches("a/*/c.txt", "a/b/c.txt"));
        assert!(matches("*.bin", "part01.bin"));
        assert!(!matches("*.bin", "data/part01.bin"));
        assert!(!matches("a/*/c.txt", "a/b/b/c.txt"));
        assert!(!matches("a.txt", "aa.txt"));
        assert!(matches("x-*/d*.gz", "x-1.2/data.gz"));
    }
}
