//! The state of a run on disk: weights, optimizer state, step and loss curve in one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::adamw::Moments;
use super::{CurvePoint, TrainError};

/// Everything a run needs to go on as if it had never stopped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// What the run is a function of: the recipe's hash and the text's identity.
    pub(crate) run: String,
    /// Steps done.
    pub(crate) step: usize,
    /// Sum of training losses and number of steps since the last point of the curve.
    pub(crate) pending: (f64, usize),
    pub(crate) curve: Vec<CurvePoint>,
    pub(crate) weights: BTreeMap<String, Vec<f32>>,
    pub(crate) moments: BTreeMap<String, Moments>,
}

const KINDS: [&str; 3] = ["weight", "first", "second"];

impl State {
    /// Writes the file beside its place, flushes it to the disk, and moves it there, so that no crash leaves half of one.
    pub(crate) fn save(&self, path: &Path) -> Result<(), TrainError> {
        let bad = |reason: String| TrainError::Checkpoint { path: path.to_owned(), reason };
        let none = Moments::default();
        let mut tensors = Vec::new();
        for (name, weight) in &self.weights {
            let moments = self.moments.get(name).unwrap_or(&none);
            for (kind, values) in KINDS.into_iter().zip([weight, &moments.first, &moments.second]) {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((format!("{kind}:{name}"), values.len(), bytes));
            }
        }
        let views = tensors
            .iter()
            .map(|(name, count, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![*count], bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| bad(error.to_string()))?;
        let curve = serde_json::to_string(&self.curve).map_err(|error| bad(error.to_string()))?;
        // The bits of the sum, not its decimal form: resuming must be exact.
        let pending = format!("{} {}", self.pending.0.to_bits(), self.pending.1);
        let metadata = HashMap::from([
            ("run".to_owned(), self.run.clone()),
            ("step".to_owned(), self.step.to_string()),
            ("pending".to_owned(), pending),
            ("curve".to_owned(), curve),
        ]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| bad(error.to_string()))?;
        write_atomically(path, &bytes)
    }

    /// Reads the file; `None` when there is none.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, TrainError> {
        let bad = |reason: String| TrainError::Checkpoint { path: path.to_owned(), reason };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(bad(format!("cannot be read ({error})"))),
        };
        let damaged = |error: safetensors::SafeTensorError| bad(format!("is not a checkpoint ({error})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let text = |key: &str| metadata.get(key).cloned().ok_or_else(|| bad(format!("does not say its {key}")));
        let mut state = Self {
            run: text("run")?,
            step: text("step")?.parse().map_err(|_| bad("does not say its step".to_owned()))?,
            pending: pending(&text("pending")?).ok_or_else(|| bad("does not say its losses".to_owned()))?,
            curve: serde_json::from_str(&text("curve")?)
                .map_err(|error| bad(format!("has no readable curve ({error})")))?,
            weights: BTreeMap::new(),
            moments: BTreeMap::new(),
        };
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(damaged)?.tensors() {
            let values: Vec<f32> =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            match name.split_once(':') {
                Some(("weight", name)) => drop(state.weights.insert(name.to_owned(), values)),
                Some(("first", name)) => state.moments.entry(name.to_owned()).or_default().first = values,
                Some(("second", name)) => state.moments.entry(name.to_owned()).or_default().second = values,
                _ => return Err(bad(format!("holds `{name}`, which no checkpoint does"))),
            }
        }
        Ok(Some(state))
    }
}

fn pending(text: &str) -> Option<(f64, usize)> {
    let (sum, count) = text.split_once(' ')?;
    Some((f64::from_bits(sum.parse().ok()?), count.parse().ok()?))
}

/// Writes a file whole or not at all.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|source| TrainError::Io { path: path.to_owned(), source })
}
