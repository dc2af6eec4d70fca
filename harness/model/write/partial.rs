//! Folders and files that appear under their names only when they are whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::tokenizer::Tokenizer;

use super::{WriteError, config, io, pretty};

/// A folder under way. Dropping it before [`PartialFolder::finish`] removes what was written.
#[derive(Debug)]
pub(super) struct PartialFolder {
    target: PathBuf,
    partial: PathBuf,
    finished: bool,
}

impl PartialFolder {
    /// Begins a folder that will be `target`.
    pub fn create(target: &Path) -> Result<Self, WriteError> {
        if !is_free(target)? {
            return Err(WriteError::Occupied { path: target.to_owned() });
        }
        let partial = place_beside(target)?;
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(io(&partial))?;
        }
        fs::create_dir(&partial).map_err(io(&partial))?;
        Ok(Self { target: target.to_owned(), partial, finished: false })
    }

    /// Where it is until it is finished.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Writes a file of text.
    pub fn text(&self, name: &str, text: &str) -> Result<(), WriteError> {
        let path = self.partial.join(name);
        fs::write(&path, text).map_err(io(&path))
    }

    /// Adds `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.
    pub fn tokenizer(&self, tokenizer: &Tokenizer, chat_template: Option<&str>) -> Result<(), WriteError> {
        self.text("tokenizer.json", &tokenizer.to_json()?)?;
        let (settings, specials) = config::tokenizer_json(tokenizer, chat_template);
        self.text("tokenizer_config.json", &pretty(&settings))?;
        self.text("special_tokens_map.json", &pretty(&specials))
    }

    /// Gives it its name.
    pub fn finish(mut self) -> Result<PathBuf, WriteError> {
        if !is_free(&self.target)? {
            return Err(WriteError::Occupied { path: self.target.clone() });
        }
        fs::rename(&self.partial, &self.target).map_err(io(&self.target))?;
        self.finished = true;
        Ok(self.target.clone())
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing more can be done about a folder that cannot be removed.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// A file under way. Dropping it before [`PartialFile::finish`] removes it.
#[derive(Debug)]
pub(super) struct PartialFile {
    target: PathBuf,
    partial: PathBuf,
    file: File,
    finished: bool,
}

impl PartialFile {
    /// Begins a file that will be `target`.
    pub fn create(target: &Path) -> Result<Self, WriteError> {
        refuse_existing(target)?;
        let partial = place_beside(target)?;
        let file = File::create(&partial).map_err(io(&partial))?;
        Ok(Self { target: target.to_owned(), partial, file, finished: false })
    }

    /// Where it is until it is finished, and the file.
    pub fn parts(&mut self) -> (&Path, &mut File) {
        (&self.partial, &mut self.file)
    }

    /// Gives it its name, whole and on disk.
    pub fn finish(mut self) -> Result<PathBuf, WriteError> {
        self.file.sync_all().map_err(io(&self.partial))?;
        refuse_existing(&self.target)?;
        fs::rename(&self.partial, &self.target).map_err(io(&self.target))?;
        self.finished = true;
        Ok(self.target.clone())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing more can be done about a file that cannot be removed.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// A hidden place in the same folder, which is made where it is not there.
fn place_beside(target: &Path) -> Result<PathBuf, WriteError> {
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(io(parent))?;
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or("model".as_ref()));
    name.push(format!(".partial-{}", std::process::id()));
    Ok(parent.join(name))
}

/// Whether nothing, or an empty folder, is at `path`.
fn is_free(path: &Path) -> Result<bool, WriteError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io(path)(error)),
        Ok(metadata) if !metadata.is_dir() => Ok(false),
        Ok(_) => Ok(fs::read_dir(path).map_err(io(path))?.next().is_none()),
    }
}

fn refuse_existing(path: &Path) -> Result<(), WriteError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io(path)(error)),
        Ok(_) => Err(WriteError::Exists { path: path.to_owned() }),
    }
}
