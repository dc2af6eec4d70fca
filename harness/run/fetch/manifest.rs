//! What `manifest.toml` below `datasets/models/`, `datasets/corpora/` and `datasets/tasks/` says.
//!
//! The format is documented for its writers in `datasets/README.md`; this file is its only reader. Unknown keys are errors: a
//! misspelt `sha256` must never turn a check off.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::FetchError;
pub use super::source::{Part, RepoKind, Source, SourceFile};

/// The version of the manifest format that this program reads.
pub const FORMAT: u32 = 1;

/// Whether a manifest describes a model, a text or tasks; follows from the folder it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// Weights with their configuration and tokenizer.
    Model,
    /// Texts in named splits.
    Corpus,
    /// Questions with right answers, a file for each split.
    Task,
}

impl Holds {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Model, Self::Corpus, Self::Task];

    /// The folder below `datasets/` and below the cache: `models`, `corpora` or `tasks`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Corpus => "corpora",
            Self::Task => "tasks",
        }
    }

    /// The word used in messages: `model`, `corpus` or `task`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Corpus => "corpus",
            Self::Task => "task",
        }
    }
}

/// How the files of an entry come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The files are tracked in the repository, beside the manifest.
    Embedded,
    /// The files are downloaded into the cache from the first source that has them.
    Fetched,
    /// The files are computed from parameters that lie beside the manifest.
    Generated,
}

/// How the bytes of a text file become characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8; any other byte sequence is an error.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1: every byte is the character of that number.
    #[serde(rename = "latin-1")]
    Latin1,
}

/// What counts as one document of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentUnit {
    /// Every file, or the named byte range of it, is one document.
    #[default]
    File,
    /// Every line that holds more than white space is one document.
    Line,
}

/// One file of an entry, as it lies in the finished folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path inside the folder, with `/` between its parts.
    pub name: String,
    /// Length in bytes.
    pub size: Option<u64>,
    /// SHA-256 of the content, 64 lower-case hexadecimal digits. Absent only in entries with `verified = false`.
    pub sha256: Option<String>,
}

/// A named part of a corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Name, as in `enwik8/test`.
    pub name: String,
    /// The `[[file]]`s it reads, in order; all of them when absent.
    pub files: Option<Vec<String>>,
    /// Only this half-open range `[from, to]` of each file. In UTF-8 both ends move forward to the next character boundary, so
    /// neighbouring ranges neither overlap nor lose a character.
    pub bytes: Option<[u64; 2]>,
    /// What counts as one document.
    #[serde(default)]
    pub document: DocumentUnit,
}

/// What a loader needs to know about a model beyond its files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The file to open, or `.` for the folder itself (a Hugging Face folder).
    pub load: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    name: String,
    kind: Kind,
    about: String,
    licence: String,
    #[serde(default = "yes")]
    verified: bool,
    #[serde(default)]
    encoding: Encoding,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    manifest: Head,
    model: Option<ModelSection>,
    #[serde(default, rename = "file")]
    files: Vec<FileEntry>,
    #[serde(default, rename = "source")]
    sources: Vec<Source>,
    #[serde(default, rename = "split")]
    splits: Vec<Split>,
}

/// One entry of the catalogue: a model or a corpus, its files, and where to get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Whether this is a model, a corpus or tasks.
    pub holds: Holds,
    /// The name suites use; equal to the folder's name.
    pub name: String,
    /// How its files come to be.
    pub kind: Kind,
    /// One sentence for `harness list`.
    pub about: String,
    /// Licence of the content.
    pub licence: String,
    /// Whether every file has a hash that somebody computed from the real file.
    pub verified: bool,
    /// How text files become characters.
    pub encoding: Encoding,
    /// What the loader opens; models only.
    pub model: Option<ModelSection>,
    /// The files of the finished folder.
    pub files: Vec<FileEntry>,
    /// Where they come from, tried in this order.
    pub sources: Vec<Source>,
    /// Named parts; corpora only.
    pub splits: Vec<Split>,
    /// The folder the manifest lies in.
    pub folder: PathBuf,
}

impl Manifest {
    /// Reads `FOLDER/manifest.toml`.
    ///
    /// # Errors
    /// [`FetchError::Read`] when the file cannot be read, [`FetchError::Manifest`] when it breaks a rule of the format.
    pub fn read(holds: Holds, folder: &Path) -> Result<Self, FetchError> {
        let path = folder.join("manifest.toml");
        let text = std::fs::read_to_string(&path).map_err(|source| FetchError::Read { path: path.clone(), source })?;
        Self::parse(holds, folder, &text)
    }

    /// Parses the text of a manifest that lies (or would lie) in `folder`.
    ///
    /// # Errors
    /// [`FetchError::Manifest`] when the text breaks a rule of the format; the message names the line or the entry.
    pub fn parse(holds: Holds, folder: &Path, text: &str) -> Result<Self, FetchError> {
        let refuse = |reason: String| FetchError::Manifest { path: folder.join("manifest.toml"), reason };
        let document: Document = toml::from_str(text).map_err(|error| refuse(error.to_string()))?;
        let Document { manifest: head, model, files, sources, splits } = document;
        let manifest = Self {
            holds,
            name: head.name,
            kind: head.kind,
            about: head.about,
            licence: head.licence,
            verified: head.verified,
            encoding: head.encoding,
            model,
            files,
            sources,
            splits,
            folder: folder.to_owned(),
        };
        if head.format != FORMAT {
            return Err(refuse(format!("format = {} but this program reads format = {FORMAT}", head.format)));
        }
        manifest.check().map_err(refuse)?;
        Ok(manifest)
    }

    /// The split of that name.
    ///
    /// # Errors
    /// [`FetchError::UnknownSplit`] with the names that exist.
    pub fn split(&self, name: &str) -> Result<&Split, FetchError> {
        self.splits.iter().find(|split| split.name == name).ok_or_else(|| FetchError::UnknownSplit {
            what: self.holds.word(),
            corpus: self.name.clone(),
            split: name.to_owned(),
            known: self.splits.iter().map(|split| split.name.clone()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The size of the finished folder in bytes, where every file states its size.
    pub fn size(&self) -> Option<u64> {
        self.files.iter().map(|file| file.size).sum()
    }

    /// What a user should know before a download: name, size, network bytes, licence.
    pub fn notice(&self) -> String {
        let mut text = format!("{} {}: ", self.holds.word(), self.name);
        match self.size() {
            Some(size) => _ = write!(text, "{}", human(size)),
            None => text.push_str("size unknown"),
        }
        if let Some(download) = self.sources.iter().find_map(Source::download) {
            _ = write!(text, " (download up to {})", human(download));
        }
        _ = write!(text, ", licence {}", self.licence);
        if !self.verified {
            text.push_str("; no hash is known yet: the first fetch records it");
        }
        if self.sources.iter().any(|source| matches!(source, Source::Pip { sdist: true, .. })) {
            text.push_str("; pip runs the package's build backend to read its metadata");
        }
        text
    }
}

/// `98.4 MB`: decimal units with three significant digits.
pub fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 9.995 => format!("{value:.2} {unit}"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes_have_three_digits() {
        let shown: Vec<String> = [0, 999, 1000, 9_994, 61_248_745, 491_400_064, 1_117_320_768].map(human).into();
        assert_eq!(shown, ["0 B", "999 B", "1.00 kB", "9.99 kB", "61.2 MB", "491 MB", "1.12 GB"]);
    }
}
