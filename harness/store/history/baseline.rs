//! Baselines: runs kept under a name, of which one may be pinned as what later nights are compared with.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use harness_core::Observation;
use serde::{Deserialize, Serialize};

use super::{Entry, History, entry, lock, rows};
use crate::error::StoreError;
use crate::files;
use crate::run::Run;

/// Which baseline is pinned, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Name of the baseline.
    pub name: String,
    /// Number of the last night when it was pinned: changes up to then are accepted.
    pub after: u64,
}

/// A run that is kept under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// The name.
    pub name: String,
    /// The run.
    pub entry: Entry,
    /// Whether nights are compared with it.
    pub pinned: bool,
}

impl History {
    fn baselines_dir(&self) -> PathBuf {
        self.dir.join("baselines")
    }

    fn pin_path(&self) -> PathBuf {
        self.dir.join("pinned.json")
    }

    /// The baselines by name.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Damaged`], [`StoreError::Newer`].
    pub fn baselines(&self) -> Result<Vec<Baseline>, StoreError> {
        let pin = self.pin()?;
        let mut found = Vec::new();
        for path in entry::files_of(&self.baselines_dir())? {
            if path.extension().is_some_and(|end| end == "json") {
                let entry = Entry::read(&path)?;
                let name = entry.stem.clone();
                let pinned = pin.as_ref().is_some_and(|pin| pin.name == name);
                found.push(Baseline { name, entry, pinned });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Which baseline is pinned.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Damaged`].
    pub fn pin(&self) -> Result<Option<Pin>, StoreError> {
        let path = self.pin_path();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| StoreError::damaged(&path, error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::read(&path)(error)),
        }
    }

    /// The pinned baseline with its pin.
    ///
    /// # Errors
    /// As [`History::baselines`]; [`StoreError::Damaged`] where the pinned baseline is gone.
    pub fn pinned(&self) -> Result<Option<(Pin, Baseline)>, StoreError> {
        let Some(pin) = self.pin()? else { return Ok(None) };
        match self.baselines()?.into_iter().find(|baseline| baseline.pinned) {
            Some(baseline) => Ok(Some((pin, baseline))),
            None => Err(StoreError::damaged(&self.pin_path(), format!("there is no baseline `{}`", pin.name))),
        }
    }

    /// Keeps a run under a name.
    ///
    /// # Errors
    /// [`StoreError::Taken`] where the name is another run's, [`StoreError::Write`], [`StoreError::Busy`].
    pub fn save_baseline(&self, run: &Run, name: &str) -> Result<(), StoreError> {
        let dir = self.baselines_dir();
        fs::create_dir_all(&dir).map_err(StoreError::write(&dir))?;
        let _lock = lock(&self.dir)?;
        let taken = self.baselines()?.into_iter().find(|baseline| baseline.name == name);
        match taken {
            Some(taken) if taken.entry.hash == entry::hash_of(run) => Ok(()),
            Some(taken) => Err(StoreError::Taken { name: name.to_owned(), run: taken.entry.run }),
            None => Entry::write(&dir, run, 0, &self.class, Some(name)).map(|_| ()),
        }
    }

    /// Compares later nights with a baseline, and accepts every change up to now. `None` takes the pin away.
    ///
    /// # Errors
    /// [`StoreError::NoBaseline`], [`StoreError::Write`].
    pub fn pin_baseline(&self, name: Option<&str>) -> Result<(), StoreError> {
        let path = self.pin_path();
        let Some(name) = name else {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::write(&path)(error)),
                _ => Ok(()),
            };
        };
        self.known(name)?;
        let after = self.entries.last().map_or(0, |last| last.sequence);
        let pin = Pin { name: name.to_owned(), after };
        let bytes = serde_json::to_vec_pretty(&pin).map_err(|error| StoreError::write(&path)(error.into()))?;
        files::write(&path, &bytes)
    }

    /// Forgets a baseline, and its pin with it.
    ///
    /// # Errors
    /// [`StoreError::NoBaseline`], [`StoreError::Write`].
    pub fn drop_baseline(&self, name: &str) -> Result<(), StoreError> {
        let baseline = self.known(name)?;
        if baseline.pinned {
            self.pin_baseline(None)?;
        }
        let dir = self.baselines_dir();
        // The entry goes first: tables without one are no baseline.
        let names = [format!("{name}.json"), baseline.entry.records_name(), baseline.entry.samples_name()];
        for path in names.map(|file| dir.join(file)) {
            fs::remove_file(&path).map_err(StoreError::write(&path))?;
        }
        Ok(())
    }

    fn known(&self, name: &str) -> Result<Baseline, StoreError> {
        let all = self.baselines()?;
        let names: Vec<&str> = all.iter().map(|baseline| baseline.name.as_str()).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let missing = StoreError::NoBaseline { name: name.to_owned(), known };
        all.into_iter().find(|baseline| baseline.name == name).ok_or(missing)
    }

    /// The raw samples of a baseline, by cell and metric.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Damaged`].
    pub fn baseline_observations(
        &self,
        baseline: &Baseline,
    ) -> Result<HashMap<(String, String), Observation>, StoreError> {
        rows::observations(&self.baselines_dir(), &baseline.entry)
    }
}
