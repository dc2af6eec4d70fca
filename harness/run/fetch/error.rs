//! What can go wrong between a name and a folder of checked files.

use std::io;
use std::path::PathBuf;

/// Why a model or text could not be named, fetched, checked or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A manifest breaks a rule of the format.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The rule and where it is broken.
        reason: String,
    },
    /// No `datasets` folder was found.
    #[error("no datasets folder: looked at {looked}; set HARNESS_DATASETS to the one in the harness repository")]
    NoCatalog {
        /// The places tried, joined by commas.
        looked: String,
    },
    /// No place for the cache is known.
    #[error("no cache folder: set HARNESS_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    /// Nothing of that name is in the catalogue and no such path exists.
    #[error("unknown {what} \"{name}\"{}; known: {known} (or give a path that exists)", hint(.nearest.as_deref()))]
    Unknown {
        /// `model` or `corpus`.
        what: &'static str,
        /// The name as written.
        name: String,
        /// The nearest good name.
        nearest: Option<String>,
        /// All names, joined by commas.
        known: String,
    },
    /// A corpus or task has no split of that name.
    #[error("{what} {corpus} has no split \"{split}\"; it has: {known}")]
    UnknownSplit {
        /// `corpus` or `task`.
        what: &'static str,
        /// The entry.
        corpus: String,
        /// The split as written.
        split: String,
        /// All splits, joined by commas.
        known: String,
    },
    /// A corpus or task with several splits was named without one.
    #[error("{what} {corpus} has several splits; name one of: {known}")]
    NoSplit {
        /// `corpus` or `task`.
        what: &'static str,
        /// The entry.
        corpus: String,
        /// `corpus/split` of all, joined by commas.
        known: String,
    },
    /// The files are not there and the network may not be used.
    #[error("{what} {name} is not in the cache ({}) and --offline forbids fetching it; run `harness fetch {name}` while online", folder.display())]
    Offline {
        /// `model` or `corpus`.
        what: &'static str,
        /// The entry.
        name: String,
        /// Where it would lie.
        folder: PathBuf,
    },
    /// The entry was never fetched.
    #[error("{what} {name} is not in the cache ({}); run `harness fetch {name}`", folder.display())]
    Missing {
        /// `model` or `corpus`.
        what: &'static str,
        /// The entry.
        name: String,
        /// Where it would lie.
        folder: PathBuf,
    },
    /// A file's content is not what the manifest or the lock promises.
    #[error("{}: expected sha256 {expected}, found {found}{}", file.display(), space(advice))]
    Hash {
        /// The file.
        file: PathBuf,
        /// The promised hash.
        expected: String,
        /// The hash of what is there.
        found: String,
        /// What to do about it; may be empty.
        advice: String,
    },
    /// A file's length is not what the manifest promises.
    #[error("{}: expected {expected} bytes, found {found}{}", file.display(), space(advice))]
    Size {
        /// The file.
        file: PathBuf,
        /// The promised length.
        expected: u64,
        /// The length of what is there.
        found: u64,
        /// What to do about it; may be empty.
        advice: String,
    },
    /// A file is longer than the limit, so reading stopped.
    #[error("{file}: longer than the limit of {limit} bytes; reading stopped")]
    TooLarge {
        /// The file or member.
        file: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// An archive holds something that must not be unpacked, or cannot be read.
    #[error("archive {archive}: {reason}")]
    Archive {
        /// The archive's file name.
        archive: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A client program could not be started, or failed.
    #[error("{command}: {reason}")]
    Client {
        /// The command line.
        command: String,
        /// The end of what it printed, or why it could not start.
        reason: String,
    },
    /// The hub answered with an error or not at all.
    #[error("hub {address}: {reason}")]
    Hub {
        /// The address asked.
        address: String,
        /// What came back.
        reason: String,
    },
    /// No source could give the entry's files.
    #[error("{what} {name} could not be fetched; every source failed:\n{}", attempts.join("\n"))]
    AllSources {
        /// `model` or `corpus`.
        what: &'static str,
        /// The entry.
        name: String,
        /// One line for each source with its reason.
        attempts: Vec<String>,
    },
    /// The user interrupted the download; it goes on from there when run again.
    #[error("fetching {name} was interrupted; run the same command again to go on")]
    Interrupted {
        /// The entry.
        name: String,
    },
    /// Generated entries have no files until their generator has run.
    #[error("{what} {name} is generated, not fetched")]
    Generated {
        /// `model` or `corpus`.
        what: &'static str,
        /// The entry.
        name: String,
    },
    /// A text cannot be decoded as its manifest says.
    #[error("{}: byte {offset} is not {encoding}; convert the text to {encoding}", file.display())]
    Encoding {
        /// The file.
        file: PathBuf,
        /// Offset in bytes from the start of the file.
        offset: u64,
        /// The encoding expected.
        encoding: &'static str,
    },
    /// A split or file holds no text.
    #[error("{corpus} holds no text; give one of at least a window")]
    Empty {
        /// The corpus and split, or the path.
        corpus: String,
    },
    /// Reading failed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Writing into the cache failed.
    #[error("writing {}: {source}; the cache folder is set by HARNESS_CACHE", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl FetchError {
    /// The exit code of the program for this error: 2 bad input text, 5 input missing or wrong, 110 cannot write, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Manifest { .. } | Self::Unknown { .. } | Self::UnknownSplit { .. } | Self::NoSplit { .. } => 2,
            Self::Write { .. } => 110,
            Self::Interrupted { .. } => 130,
            _ => 5,
        }
    }

    /// Whether trying another source could help.
    pub(super) fn is_about_source(&self) -> bool {
        matches!(
            self,
            Self::Hash { .. }
                | Self::Size { .. }
                | Self::TooLarge { .. }
                | Self::Archive { .. }
                | Self::Client { .. }
                | Self::Hub { .. }
        )
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(", did you mean \"{name}\"")).unwrap_or_default()
}

fn space(advice: &str) -> String {
    if advice.is_empty() { String::new() } else { format!("; {advice}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_run_and_what_was_expected() {
        let offline =
            FetchError::Offline { what: "model", name: "stories15m".into(), folder: "/c/models/stories15m".into() };
        assert_eq!(
            offline.to_string(),
            "model stories15m is not in the cache (/c/models/stories15m) and --offline forbids fetching it; run `harness fetch \
             stories15m` while online"
        );
        assert_eq!(offline.exit_code(), 5);
        let hash =
            FetchError::Hash { file: "a.bin".into(), expected: "11".into(), found: "22".into(), advice: String::new() };
        assert_eq!(hash.to_string(), "a.bin: expected sha256 11, found 22");
        let unknown = FetchError::Unknown {
            what: "model",
            name: "storys15m".into(),
            nearest: Some("stories15m".into()),
            known: "smollm2-135m, stories15m".into(),
        };
        assert_eq!(
            unknown.to_string(),
            "unknown model \"storys15m\", did you mean \"stories15m\"; known: smollm2-135m, stories15m (or give a path that exists)"
        );
        assert_eq!(unknown.exit_code(), 2);
    }
}
