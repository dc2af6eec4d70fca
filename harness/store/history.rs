//! The history of a suite on one class of machines: one entry a night, each complete in itself and never changed.
//!
//! `HISTORY/CLASS/SUITE/` holds for each night `NNNNNN-HASH.json` (the entry, written last), `NNNNNN-HASH.records.parquet`
//! (a row for each metric of each cell) and `NNNNNN-HASH.samples.parquet` (the raw samples). Nothing written is ever
//! rewritten, so a process that dies while appending leaves the history as it was, and two histories are merged by
//! copying their files together. Nights stand in order of arrival, not of their clocks.

mod baseline;
mod calendar;
mod entry;
mod rows;

pub use baseline::{Baseline, Pin};
pub use entry::{Entry, SCHEMA};

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use harness_core::Observation;
use harness_core::gate::Policy;

use crate::error::StoreError;
use crate::run::{MetricInfo, Run};
use crate::{calibrate, files};
use rows::Row;

/// One metric of one cell over the nights.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The cell as printed.
    pub cell: String,
    /// What is known of the metric, as of its last night.
    pub metric: MetricInfo,
    /// Values in order of arrival; nights without a number are left out.
    pub points: Vec<Point>,
}

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Position of its entry.
    pub entry: usize,
    /// The value; finite.
    pub value: f64,
    /// How it was measured: equal numbers mean the same protocol and metric version.
    pub manner: u32,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The run is the history's last entry now.
    Added,
    /// The run was there already; nothing was written.
    AlreadyThere,
}

/// The history of a suite on one class of machines.
#[derive(Debug, Clone)]
pub struct History {
    dir: PathBuf,
    class: String,
    suite: String,
    entries: Vec<Entry>,
    series: Vec<Series>,
    places: HashMap<String, HashMap<String, usize>>,
    manners: HashMap<(String, u32), u32>,
    notes: Vec<String>,
}

/// The class of machines a run belongs to: its host class, and the profile of a build that is not a release.
pub fn class(run: &Run) -> String {
    let host = run.stamp.host_class();
    if run.stamp.is_release() { host } else { format!("{host}, {} build", run.stamp.profile) }
}

/// The suite a run belongs to, as a file name: its path without `suites/` and `.toml`; of an import the program that
/// measured.
pub fn suite(run: &Run) -> String {
    let path = run.stamp.source.as_ref().map_or(run.stamp.suite.path.as_str(), |source| source.tool.as_str());
    let name = path.trim_start_matches("./").trim_start_matches("suites/").trim_end_matches(".toml");
    let slug = slug(name, 80);
    // A path without one plain letter still is a suite of its own.
    if slug.is_empty() { files::hash(path.as_bytes())[..8].to_owned() } else { slug }
}

/// Lower-case words joined by hyphens.
fn slug(text: &str, longest: usize) -> String {
    let mut slug = String::new();
    for sign in text.chars() {
        match sign {
            'a'..='z' | '0'..='9' | '_' => slug.push(sign),
            'A'..='Z' => slug.push(sign.to_ascii_lowercase()),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(longest);
    slug.trim_end_matches('-').to_owned()
}

/// The folder of a class: words of its processor and a hash of all of it.
fn class_folder(class: &str) -> String {
    format!("{}-{}", slug(class.split(',').next().unwrap_or_default(), 40), &files::hash(class.as_bytes())[..8])
}

impl History {
    /// The history that a run belongs to, below `root`; empty when there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for an entry of a later program, [`StoreError::Damaged`] and [`StoreError::Read`].
    pub fn of(root: &Path, run: &Run) -> Result<Self, StoreError> {
        Self::open(root, &class(run), &suite(run))
    }

    /// The history of a suite on a class of machines.
    ///
    /// # Errors
    /// As [`History::of`].
    pub fn open(root: &Path, class: &str, suite: &str) -> Result<Self, StoreError> {
        let dir = root.join(class_folder(class)).join(suite);
        let mut history = Self {
            dir,
            class: class.to_owned(),
            suite: suite.to_owned(),
            entries: Vec::new(),
            series: Vec::new(),
            places: HashMap::new(),
            manners: HashMap::new(),
            notes: Vec::new(),
        };
        let (entries, notes) = entry::list(&history.dir)?;
        history.notes = notes;
        let dir = history.dir.clone();
        let read = in_parallel(&entries, |entry| rows::read(&dir.join(entry.records_name()), &entry.records))?;
        for (entry, rows) in entries.into_iter().zip(read) {
            history.add(entry, rows);
        }
        Ok(history)
    }

    /// Every history below a folder, by class and suite. Their nights are read.
    ///
    /// # Errors
    /// As [`History::of`].
    pub fn all(root: &Path) -> Result<Vec<Self>, StoreError> {
        let mut found = Vec::new();
        for class in entry::files_of(root)?.into_iter().filter(|path| path.is_dir()) {
            for suite in entry::files_of(&class)?.into_iter().filter(|path| path.is_dir()) {
                let name = suite.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                let Some(class) = entry::class_of(&suite)? else { continue };
                found.push(Self::open(root, &class, &name)?);
            }
        }
        found.sort_by(|a, b| (&a.class, &a.suite).cmp(&(&b.class, &b.suite)));
        Ok(found)
    }

    fn add(&mut self, entry: Entry, rows: Vec<Row>) {
        let metrics: HashMap<&str, &MetricInfo> =
            entry.metrics.iter().map(|metric| (metric.id.as_str(), metric)).collect();
        let position = self.entries.len();
        for row in rows {
            let (Some(value), Some(metric)) =
                (row.value.filter(|value| value.is_finite()), metrics.get(row.metric.as_str()))
            else {
                continue;
            };
            let manner = self.manner(row.protocol, metric.version);
            let known = self.places.get(&row.cell).and_then(|metrics| metrics.get(&row.metric)).copied();
            let place = known.unwrap_or_else(|| {
                let series = Series { cell: row.cell.clone(), metric: (*metric).clone(), points: Vec::new() };
                self.series.push(series);
                self.places.entry(row.cell).or_default().insert(row.metric, self.series.len() - 1);
                self.series.len() - 1
            });
            let series = &mut self.series[place];
            if series.metric.version != metric.version {
                series.metric = (*metric).clone();
            }
            series.points.push(Point { entry: position, value, manner });
        }
        self.entries.push(entry);
    }

    fn manner(&mut self, protocol: String, version: u32) -> u32 {
        let next = self.manners.len() as u32;
        *self.manners.entry((protocol, version)).or_insert(next)
    }

    /// The manner of a protocol and a metric version; one that was never seen when it is new here.
    pub fn manner_of(&self, protocol: Option<&str>, version: u32) -> u32 {
        let key = (protocol.unwrap_or_default().to_owned(), version);
        self.manners.get(&key).copied().unwrap_or(u32::MAX)
    }

    /// Where the history lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The class of machines.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The suite, as its folder is named.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The nights, in order of arrival.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All series, in order of first appearance.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The series of a metric in a cell.
    pub fn find(&self, cell: &str, metric: &str) -> Option<&Series> {
        self.places.get(cell).and_then(|metrics| metrics.get(metric)).map(|place| &self.series[*place])
    }

    /// What the reader should know: gaps, duplicates, clocks.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The history as it was before a run, when the run is one of its nights; otherwise all of it.
    #[must_use]
    pub fn before(mut self, run: &Run) -> Self {
        let hash = entry::hash_of(run);
        if let Some(position) = self.entries.iter().position(|entry| entry.hash == hash) {
            self.entries.truncate(position);
            for series in &mut self.series {
                series.points.retain(|point| point.entry < position);
            }
        }
        self
    }

    /// The raw samples of a night, by cell and metric.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Damaged`].
    pub fn observations(&self, position: usize) -> Result<HashMap<(String, String), Observation>, StoreError> {
        self.entries.get(position).map_or_else(|| Ok(HashMap::new()), |entry| rows::observations(&self.dir, entry))
    }

    /// How much larger deviations are than they seem, as found by calibration; 1 without one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`].
    pub fn scale(&self) -> Result<f64, StoreError> {
        Ok(calibrate::read(&self.dir)?.map_or(1.0, |calibration| calibration.scale))
    }

    /// A policy with the scale of this history's calibration.
    ///
    /// # Errors
    /// As [`History::scale`].
    pub fn calibrated(&self, policy: Policy) -> Result<Policy, StoreError> {
        Ok(Policy { scale: self.scale()?.max(1.0), ..policy })
    }

    /// Appends a run. The entry counts from the moment its last file stands under its name; until then the history is
    /// what it was.
    ///
    /// # Errors
    /// [`StoreError::Write`], [`StoreError::Busy`] while another process appends.
    pub fn append(&mut self, run: &Run) -> Result<Appended, StoreError> {
        fs::create_dir_all(&self.dir).map_err(StoreError::write(&self.dir))?;
        let _lock = lock(&self.dir)?;
        // Another process may have appended since this history was read.
        let (there, _) = entry::list(&self.dir)?;
        let hash = entry::hash_of(run);
        if there.iter().any(|entry| entry.hash == hash) {
            return Ok(Appended::AlreadyThere);
        }
        let sequence = there.last().map_or(1, |last| last.sequence + 1);
        let entry = Entry::write(&self.dir, run, sequence, &self.class, None)?;
        let rows = rows::of(run);
        self.add(entry, rows);
        Ok(Appended::Added)
    }
}

/// Keeps other processes from appending for as long as the file lives.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(StoreError::write(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Busy { path }),
        Err(TryLockError::Error(source)) => Err(StoreError::Write { path, source }),
    }
}

/// Maps over all items on every core, in order; the first error in order counts.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, StoreError> + Sync,
) -> Result<Vec<R>, StoreError> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(items.len()).max(1);
    let size = items.len().div_ceil(workers).max(1);
    let work = &work;
    let parts: Vec<Result<Vec<R>, StoreError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(size)
            .map(|chunk| scope.spawn(move || chunk.iter().map(work).collect::<Result<Vec<R>, StoreError>>()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut all = Vec::with_capacity(items.len());
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
