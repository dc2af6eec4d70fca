//! Texts in memory: the documents of a split, decoded as the manifest says.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::cache::Folder;
use super::error::FetchError;
use super::manifest::{DocumentUnit, Encoding, Manifest, Split};

/// One text that a model reads from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its file's name, with the line number where lines are documents.
    pub name: String,
    /// Its characters, line ends as they are in the file.
    pub text: String,
}

/// The documents of one split, in the order of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// The entry's name, or the path.
    pub name: String,
    /// The split's name; empty for a path.
    pub split: String,
    /// The documents; at least one, none of them empty.
    pub documents: Vec<Document>,
}

impl Corpus {
    /// Reads a split of a fetched or embedded corpus.
    ///
    /// # Errors
    /// [`FetchError::Read`], [`FetchError::Encoding`], or [`FetchError::Empty`] when no document holds any text.
    pub fn load(folder: &Folder, manifest: &Manifest, split: &Split) -> Result<Self, FetchError> {
        let all = || manifest.files.iter().map(|file| file.name.clone()).collect();
        let mut documents = Vec::new();
        for name in split.files.clone().unwrap_or_else(all) {
            let text = decode(&folder.file(&name), split.bytes, manifest.encoding)?;
            add(&mut documents, &name, text, split.document);
        }
        Self { name: manifest.name.clone(), split: split.name.clone(), documents }.not_empty()
    }

    /// Reads a UTF-8 text file as one document, or a folder with every `.txt` file in it as one, in alphabetical order.
    ///
    /// # Errors
    /// As [`Corpus::load`].
    pub fn read_path(path: &Path) -> Result<Self, FetchError> {
        let mut files: Vec<PathBuf> = if path.is_dir() {
            let fail = |source| FetchError::Read { path: path.to_owned(), source };
            let entries = fs::read_dir(path).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
            let text = |file: &PathBuf| file.is_file() && file.extension().is_some_and(|end| end == "txt");
            entries.into_iter().map(|entry| entry.path()).filter(text).collect()
        } else {
            vec![path.to_owned()]
        };
        files.sort();
        let mut documents = Vec::new();
        for file in &files {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            add(&mut documents, &name, decode(file, None, Encoding::Utf8)?, DocumentUnit::File);
        }
        Self { name: path.display().to_string(), split: String::new(), documents }.not_empty()
    }

    /// `corpus/split`, or the path.
    pub fn label(&self) -> String {
        if self.split.is_empty() { self.name.clone() } else { format!("{}/{}", self.name, self.split) }
    }

    fn not_empty(self) -> Result<Self, FetchError> {
        if self.documents.is_empty() { Err(FetchError::Empty { corpus: self.label() }) } else { Ok(self) }
    }
}

fn add(documents: &mut Vec<Document>, name: &str, text: String, unit: DocumentUnit) {
    match unit {
        DocumentUnit::File if text.is_empty() => {}
        DocumentUnit::File => documents.push(Document { name: name.to_owned(), text }),
        DocumentUnit::Line => {
            let full = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            documents.extend(
                full.map(|(number, line)| Document { name: format!("{name}:{}", number + 1), text: line.to_owned() }),
            );
        }
    }
}

/// Decodes a file, or the byte range `[from, to)` of it with both ends moved forward to the next character boundary.
fn decode(path: &Path, bytes: Option<[u64; 2]>, encoding: Encoding) -> Result<String, FetchError> {
    let fail = |source| FetchError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(fail)?;
    let [from, to] = bytes.unwrap_or([0, u64::MAX]);
    file.seek(SeekFrom::Start(from)).map_err(fail)?;
    // A character has at most three bytes after its first.
    let spare = if encoding == Encoding::Utf8 { 3 } else { 0 };
    let mut raw = Vec::new();
    file.take((to - from).saturating_add(spare)).read_to_end(&mut raw).map_err(fail)?;
    if encoding == Encoding::Latin1 {
        return Ok(raw.into_iter().map(char::from).collect());
    }
    let boundary = |at: usize| at + raw[at..].iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
    let start = if from == 0 { 0 } else { boundary(0) };
    let length = usize::try_from(to - from).unwrap_or(usize::MAX);
    let end = if length < raw.len() { boundary(length) } else { raw.len() };
    raw.truncate(end);
    raw.drain(..start.min(end));
    String::from_utf8(raw).map_err(|error| FetchError::Encoding {
        file: path.to_owned(),
        offset: from + (start + error.utf8_error().valid_up_to()) as u64,
        encoding: "UTF-8",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn neighbouring_ranges_share_no_character_and_lose_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let text = "aé€😀z".repeat(3);
        fs::write(&path, &text).unwrap();
        let length = text.len() as u64;
        for cut in 1..length {
            let first = decode(&path, Some([0, cut]), Encoding::Utf8).unwrap();
            let second = decode(&path, Some([cut, length]), Encoding::Utf8).unwrap();
            assert_eq!(format!("{first}{second}"), text, "cut at {cut}");
            assert!(first.len() as u64 >= cut);
        }
    }

    #[test]
    fn bad_bytes_are_located_and_latin_1_takes_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.txt");
        fs::write(&path, b"caf\xe9 au lait").unwrap();
        let error = Corpus::read_path(&path).unwrap_err();
        assert!(matches!(error, FetchError::Encoding { offset: 3, .. }), "{error}");
        assert_eq!(decode(&path, None, Encoding::Latin1).unwrap(), "café au lait");
        fs::write(&path, b"").unwrap();
        assert!(matches!(Corpus::read_path(&path), Err(FetchError::Empty { .. })));
    }

    #[test]
    fn lines_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.txt"), "two").unwrap();
        fs::write(folder.path().join("a.txt"), "one\n\nthree\n").unwrap();
        fs::write(folder.path().join("c.md"), "no").unwrap();
        let corpus = Corpus::read_path(folder.path()).unwrap();
        assert_eq!(corpus.documents.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["a.txt", "b.txt"]);
        let mut documents = Vec::new();
        add(&mut documents, "a.txt", "one\n\nthree\n".into(), DocumentUnit::Line);
        assert_eq!(documents[1], Document { name: "a.txt:3".into(), text: "three".into() });
    }
}
