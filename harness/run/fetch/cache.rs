//! The cache of fetched entries: where it is, what in it can be trusted, and how an entry gets into it.
//!
//! ```text
//! CACHE/models/NAME/…      files and lock.json: complete, hashes checked
//! CACHE/corpora/NAME/…
//! CACHE/staging/…          what interrupted fetches left, reused by the next one
//! CACHE/locks/…            advisory locks, one an entry
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::assemble::{Made, hash_file};
use super::client::Tools;
use super::error::FetchError;
use super::fill::{self, Filled};
use super::lock::{self, EntryLock, Record, RecordedFile};
use super::manifest::{Kind, Manifest};
use super::progress::Progress;

/// The most bytes a file may have whose manifest states no size: 64 GiB.
pub const LIMIT: u64 = 64 << 30;

/// How to fetch.
#[derive(Debug, Clone)]
pub struct Options {
    /// Use only what is in the cache.
    pub offline: bool,
    /// Fetch again even when the cache holds the entry.
    pub force: bool,
    /// The clients and addresses.
    pub tools: Tools,
    /// The most bytes a file may have whose manifest states no size.
    pub limit: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { offline: false, force: false, tools: Tools::default(), limit: LIMIT }
    }
}

impl Options {
    /// The defaults, with clients and addresses from the environment.
    pub fn from_environment() -> Self {
        Self { tools: Tools::from_environment(), ..Self::default() }
    }
}

/// A folder whose files are complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where the files lie.
    pub path: PathBuf,
    /// How they got there; `None` for embedded entries.
    pub record: Option<Record>,
}

impl Folder {
    /// Path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What the model loader opens: the file that the manifest names, or the folder.
    pub fn load_path(&self, manifest: &Manifest) -> PathBuf {
        match &manifest.model {
            Some(model) if model.load != "." => self.path.join(&model.load),
            _ => self.path.clone(),
        }
    }
}

/// Whether an entry is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// All files are there with the content they should have.
    Ready(Folder),
    /// It was never fetched, or the manifest has asked for other content since.
    Absent(PathBuf),
}

/// The cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// A cache in that folder, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `HARNESS_CACHE`, else `$XDG_CACHE_HOME/harness`, else `$HOME/.cache/harness`.
    ///
    /// # Errors
    /// [`FetchError::NoCache`] when none of the three is set.
    pub fn from_environment() -> Result<Self, FetchError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("HARNESS_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("harness")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/harness")))
            .map(Self::new)
            .ok_or(FetchError::NoCache)
    }

    /// The cache folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an entry's files are, or will be: embedded and generated entries stay beside their manifest.
    pub fn folder(&self, manifest: &Manifest) -> PathBuf {
        match manifest.kind {
            Kind::Embedded | Kind::Generated => manifest.folder.clone(),
            Kind::Fetched => self.root.join(manifest.holds.folder()).join(&manifest.name),
        }
    }

    /// Looks for an entry without using the network. Files that were changed since their hash was computed are hashed again.
    ///
    /// # Errors
    /// [`FetchError::Hash`] or [`FetchError::Size`] when a file is damaged, [`FetchError::Generated`] for generated entries without files.
    pub fn locate(&self, manifest: &Manifest) -> Result<Located, FetchError> {
        self.look(manifest, false)
    }

    /// Like [`Cache::locate`], but hashes every file whatever its modification time says.
    ///
    /// # Errors
    /// As [`Cache::locate`].
    pub fn verify(&self, manifest: &Manifest) -> Result<Located, FetchError> {
        self.look(manifest, true)
    }

    fn look(&self, manifest: &Manifest, thorough: bool) -> Result<Located, FetchError> {
        let folder = self.folder(manifest);
        match manifest.kind {
            Kind::Generated if manifest.files.is_empty() => {
                Err(FetchError::Generated { what: manifest.holds.word(), name: manifest.name.clone() })
            }
            Kind::Embedded | Kind::Generated => {
                for file in &manifest.files {
                    let path = folder.join(&file.name);
                    let advice = "restore it from the repository";
                    check(&path, file.size, file.sha256.as_deref(), advice)?;
                }
                Ok(Located::Ready(Folder { path: folder, record: None }))
            }
            Kind::Fetched => {
                let Some(record) = Record::read(&folder) else { return Ok(Located::Absent(folder)) };
                let mut recorded = Vec::with_capacity(manifest.files.len());
                for file in &manifest.files {
                    // Other content was asked for when this was fetched: not damage, just old.
                    let Some(held) = record.file(&file.name) else { return Ok(Located::Absent(folder)) };
                    if file.sha256.as_ref().is_some_and(|hash| *hash != held.sha256) {
                        return Ok(Located::Absent(folder));
                    }
                    recorded.push(held);
                }
                let advice = format!("fetch it again with `harness fetch {}`", manifest.name);
                for held in recorded {
                    let path = folder.join(&held.name);
                    let same = !thorough && lock::modified(&path) == held.modified;
                    check(&path, Some(held.size), (!same).then_some(held.sha256.as_str()), &advice)?;
                }
                Ok(Located::Ready(Folder { path: folder, record: Some(record) }))
            }
        }
    }

    /// The entry from the cache only.
    ///
    /// # Errors
    /// [`FetchError::Missing`] when it is not there, else as [`Cache::locate`].
    pub fn require(&self, manifest: &Manifest) -> Result<Folder, FetchError> {
        match self.locate(manifest)? {
            Located::Ready(folder) => Ok(folder),
            Located::Absent(folder) => {
                Err(FetchError::Missing { what: manifest.holds.word(), name: manifest.name.clone(), folder })
            }
        }
    }

    /// Brings an entry into the cache: from there when it is there, else from the first source that has it.
    ///
    /// Asks nothing; a program that wants consent shows [`Manifest::notice`] first. Safe against other processes fetching the same
    /// entry, which wait. An interrupted fetch leaves nothing under the entry's name and is continued by the next one.
    ///
    /// # Errors
    /// [`FetchError::Offline`] when it is not there and `offline` is set; [`FetchError::AllSources`] when no source worked (or that
    /// source's own error when there is only one); [`FetchError::Write`] when the cache cannot be written.
    pub fn fetch(
        &self,
        manifest: &Manifest,
        options: &Options,
        progress: &mut dyn Progress,
    ) -> Result<Folder, FetchError> {
        if manifest.kind != Kind::Fetched {
            return self.require(manifest);
        }
        if !options.force {
            // Most fetches find the entry: that must work in a cache that cannot be written.
            match self.locate(manifest) {
                Ok(Located::Ready(folder)) => return Ok(folder),
                Err(error) if options.offline => return Err(error),
                _ => {}
            }
        }
        let folder = self.folder(manifest);
        let (what, name) = (manifest.holds.word(), manifest.name.clone());
        if options.offline {
            return Err(FetchError::Offline { what, name, folder });
        }
        let entry = format!("{}--{name}", manifest.holds.folder());
        let _lock = EntryLock::acquire(&self.root.join("locks").join(&entry), &name, progress)?;
        if !options.force {
            match self.locate(manifest) {
                Ok(Located::Ready(folder)) => return Ok(folder),
                Ok(Located::Absent(_)) => {}
                Err(error) => progress.step(&format!("fetching again: {error}")),
            }
        }
        let staging = self.root.join("staging").join(&entry);
        let before = Record::read(&folder);
        let mut attempts = Vec::new();
        let mut last = None;
        for source in &manifest.sources {
            progress.step(&format!("{name}: {}", source.describe()));
            match fill::fill(manifest, source, &staging, before.as_ref(), options, progress) {
                Ok(filled) => {
                    let record = install(manifest, &source.describe(), filled, &staging, &folder)?;
                    // Staged archives of other sources are of no use any more; what cannot be removed does no harm.
                    _ = fs::remove_dir_all(&staging);
                    return Ok(Folder { path: folder, record: Some(record) });
                }
                Err(error) if error.is_about_source() => {
                    progress.step(&format!("{}: {error}", source.describe()));
                    attempts.push(format!("  {}: {error}", source.describe()));
                    last = Some(error);
                }
                Err(FetchError::Interrupted { .. }) => return Err(FetchError::Interrupted { name }),
                Err(error) => return Err(error),
            }
        }
        match last {
            Some(error) if manifest.sources.len() == 1 => Err(error),
            _ => Err(FetchError::AllSources { what, name, attempts }),
        }
    }

    /// Removes a fetched entry and what is staged for it. Does nothing to embedded entries.
    ///
    /// # Errors
    /// [`FetchError::Write`] when a folder cannot be removed.
    pub fn remove(&self, manifest: &Manifest) -> Result<(), FetchError> {
        if manifest.kind != Kind::Fetched {
            return Ok(());
        }
        let entry = format!("{}--{}", manifest.holds.folder(), manifest.name);
        for path in [self.folder(manifest), self.root.join("staging").join(entry)] {
            if path.exists() {
                fs::remove_dir_all(&path).map_err(|source| FetchError::Write { path, source })?;
            }
        }
        Ok(())
    }
}

/// Checks one file's length and, where a hash is given, its content.
fn check(path: &Path, size: Option<u64>, sha256: Option<&str>, advice: &str) -> Result<(), FetchError> {
    let advice = advice.to_owned();
    let found = fs::metadata(path).map_err(|source| FetchError::Read { path: path.to_owned(), source })?.len();
    if let Some(expected) = size.filter(|expected| *expected != found) {
        return Err(FetchError::Size { file: path.to_owned(), expected, found, advice });
    }
    if let Some(expected) = sha256 {
        let found = hash_file(path)?;
        if found != expected {
            return Err(FetchError::Hash { file: path.to_owned(), expected: expected.to_owned(), found, advice });
        }
    }
    Ok(())
}

/// Writes the record and moves the finished folder to its final name.
fn install(
    manifest: &Manifest,
    source: &str,
    filled: Filled,
    staging: &Path,
    folder: &Path,
) -> Result<Record, FetchError> {
    let recorded = |(name, Made { size, sha256 }): (String, Made)| {
        let modified = lock::modified(&filled.folder.join(&name));
        RecordedFile { name, size, sha256, modified }
    };
    let record = Record {
        name: manifest.name.clone(),
        source: source.to_owned(),
        commit: filled.commit,
        fetched: lock::now(),
        files: filled.files.into_iter().map(recorded).collect(),
    };
    record.write(&filled.folder)?;
    let fail = |source| FetchError::Write { path: folder.to_owned(), source };
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(fail)?;
    if folder.exists() {
        let old = staging.join("replaced");
        if old.exists() {
            fs::remove_dir_all(&old).map_err(fail)?;
        }
        fs::rename(folder, &old).map_err(fail)?;
    }
    fs::rename(&filled.folder, folder).map_err(fail)?;
    // A rename is durable once its folder is; some systems cannot sync folders, and then the worst case is a second fetch.
    if let Ok(parent) = File::open(parent) {
        _ = parent.sync_all();
    }
    Ok(record)
}
