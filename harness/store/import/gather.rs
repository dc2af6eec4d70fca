//! Observations from a file, gathered into cells.

use std::collections::HashMap;
use std::path::Path;

use harness_core::{Cell, CellId, CellRecord, Observation};

use super::{ImportError, MOST_CELLS};
use crate::passport::Passport;
use crate::run::MetricInfo;

/// Cells and metrics in the order of their first appearance.
#[derive(Debug)]
pub struct Gather<'a> {
    path: &'a Path,
    records: Vec<CellRecord>,
    places: HashMap<CellId, usize>,
    metrics: Vec<MetricInfo>,
    last: Option<String>,
}

impl<'a> Gather<'a> {
    /// Nothing yet, from a file.
    pub fn new(path: &'a Path) -> Self {
        Self { path, records: Vec::new(), places: HashMap::new(), metrics: Vec::new(), last: None }
    }

    /// The cell, added if it is new.
    pub fn cell(&mut self, record: CellRecord) -> Result<&mut CellRecord, ImportError> {
        // Other programs may name files after it.
        let id = record.id.as_str();
        if id.len() != 16 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.wrong(id.to_owned(), "a cell's id is 16 hexadecimal digits".to_owned()));
        }
        let place = match self.places.get(&record.id) {
            Some(place) if self.records[*place].cell != record.cell => {
                let reason = format!("the id stands for two cells, {} and {}", self.records[*place].cell, record.cell);
                return Err(self.wrong(record.id.to_string(), reason));
            }
            Some(place) => *place,
            None if self.records.len() == MOST_CELLS => {
                return Err(ImportError::TooMuch {
                    path: self.path.to_owned(),
                    found: format!("more than {MOST_CELLS} cells"),
                    most: format!("{MOST_CELLS} cells"),
                });
            }
            None => {
                self.places.insert(record.id.clone(), self.records.len());
                self.last = None;
                self.records.push(record);
                self.records.len() - 1
            }
        };
        Ok(&mut self.records[place])
    }

    /// A foreign cell, named by where it stands and by the hash of what was read.
    pub fn foreign(&mut self, tool: &str, hash: &str, cell: Cell) -> Result<&mut CellRecord, ImportError> {
        let id =
            CellId::of(&[("imported from", tool.to_owned()), ("hash", hash.to_owned()), ("cell", cell.to_string())]);
        let (observations, warnings) = (Vec::new(), Vec::new());
        self.cell(CellRecord { id, cell, observations, failure: None, warnings, seconds: 0.0 })
    }

    /// Adds an observation to a cell that was added before.
    pub fn observe(&mut self, id: &CellId, metric: &MetricInfo, seen: Observation) -> Result<(), ImportError> {
        self.metric(metric)?;
        let place = self.places.get(id).copied();
        let Some(record) = place.and_then(|place| self.records.get_mut(place)) else {
            return Err(self.wrong(id.to_string(), "there is no such cell".to_owned()));
        };
        let fault = fault(&seen).or_else(|| {
            record.observation(&metric.id).map(|_| format!("the cell {} has this metric twice", record.cell))
        });
        if let Some(reason) = fault {
            return Err(self.wrong(metric.id.clone(), reason));
        }
        record.observations.push(seen);
        Ok(())
    }

    /// Adds an observation of our own that a foreign format carried.
    pub fn passport(&mut self, passport: &Passport, samples: Vec<f64>, weights: Vec<f64>) -> Result<(), ImportError> {
        self.cell(passport.record())?;
        self.observe(&passport.id, &passport.metric, passport.observation(samples, weights))
    }

    /// A metric goes after the one it follows in its cell, so that the order holds for cells that lack some.
    fn metric(&mut self, metric: &MetricInfo) -> Result<(), ImportError> {
        if metric.id.is_empty() {
            return Err(self.wrong("a metric".to_owned(), "it has no name".to_owned()));
        }
        match self.metrics.iter().find(|known| known.id == metric.id) {
            Some(known) if known != metric => {
                return Err(self.wrong(metric.id.clone(), "the metric is described in two ways".to_owned()));
            }
            Some(_) => {}
            None => {
                let after = self.last.as_ref().and_then(|last| self.metrics.iter().position(|known| known.id == *last));
                self.metrics.insert(after.map_or(self.metrics.len(), |after| after + 1), metric.clone());
            }
        }
        self.last = Some(metric.id.clone());
        Ok(())
    }

    fn wrong(&self, place: String, reason: String) -> ImportError {
        ImportError::Wrong { path: self.path.to_owned(), place, reason }
    }

    /// Everything that was gathered.
    pub fn finish(self) -> (Vec<MetricInfo>, Vec<CellRecord>) {
        (self.metrics, self.records)
    }
}

/// What makes an observation unusable.
pub fn fault(seen: &Observation) -> Option<String> {
    let fits = |length: usize| length == 0 || length == seen.samples.len();
    if !fits(seen.weights.len()) || !fits(seen.clusters.len()) {
        let (samples, weights, clusters) = (seen.samples.len(), seen.weights.len(), seen.clusters.len());
        return Some(format!("{samples} samples have {weights} weights and {clusters} clusters"));
    }
    let all = seen.samples.iter().chain(&seen.weights);
    if let Some(number) = all.clone().find(|number| !number.is_finite()) {
        return Some(format!("{number} is no measurement"));
    }
    if let Some(weight) = seen.weights.iter().find(|weight| **weight < 0.0) {
        return Some(format!("a sample weighs {weight}"));
    }
    let empty = seen.samples.is_empty() && seen.absent.is_none();
    empty.then(|| "it has no samples and no reason for that".to_owned())
}

/// Whether two numbers are the same but for the rounding of a sum.
pub fn agree(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-12)
}
