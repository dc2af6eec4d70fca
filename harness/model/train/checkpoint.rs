//! The state of a run on disk: weights, optimizer state, carried states, step and loss curve in one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

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
    /// Inputs and states that the last step left behind in each block, where the next one reads on from them.
    pub(crate) carried: Vec<[Vec<f32>; 2]>,
}

/// What the numbers of a block are called that are read on from.
const CARRIED: [&str; 2] = ["inputs", "states"];

const KINDS: [&str; 3] = ["weight", "first", "second"];
const PROGRESS: &str = "progress";

/// Everything but the tensors, as the file's metadata holds it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    run: String,
    step: usize,
    /// The bits of the sum, not its decimal form: resuming must be exact.
    pending_bits: u64,
    pending_steps: usize,
    curve: Vec<CurvePoint>,
}

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
        for (layer, block) in self.carried.iter().enumerate() {
            for (kind, values) in CARRIED.into_iter().zip(block) {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((format!("{kind}:{layer}"), values.len(), bytes));
            }
        }
        let views = tensors
            .iter()
            .map(|(name, count, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![*count], bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| bad(error.to_string()))?;
        let progress = Progress {
            run: self.run.clone(),
            step: self.step,
            pending_bits: self.pending.0.to_bits(),
            pending_steps: self.pending.1,
            curve: self.curve.clone(),
        };
        let progress = serde_json::to_string(&progress).map_err(|error| bad(error.to_string()))?;
        // One key only: the order of several would not be the same in every file.
        let metadata = HashMap::from([(PROGRESS.to_owned(), progress)]);
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
        let text = metadata.get(PROGRESS).ok_or_else(|| bad("does not say how far it is".to_owned()))?;
        let progress: Progress =
            serde_json::from_str(text).map_err(|error| bad(format!("does not say how far it is ({error})")))?;
        let mut state = Self {
            run: progress.run,
            step: progress.step,
            pending: (f64::from_bits(progress.pending_bits), progress.pending_steps),
            curve: progress.curve,
            weights: BTreeMap::new(),
            moments: BTreeMap::new(),
            carried: Vec::new(),
        };
        let mut carried: BTreeMap<usize, [Vec<f32>; 2]> = BTreeMap::new();
        let place = |layer: &str| layer.parse().map_err(|_| bad(format!("holds states of a block `{layer}`")));
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(damaged)?.tensors() {
            let values: Vec<f32> =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            match name.split_once(':') {
                Some(("weight", name)) => drop(state.weights.insert(name.to_owned(), values)),
                Some(("first", name)) => state.moments.entry(name.to_owned()).or_default().first = values,
                Some(("second", name)) => state.moments.entry(name.to_owned()).or_default().second = values,
                Some(("inputs", layer)) => carried.entry(place(layer)?).or_default()[0] = values,
                Some(("states", layer)) => carried.entry(place(layer)?).or_default()[1] = values,
                _ => return Err(bad(format!("holds `{name}`, which no checkpoint does"))),
            }
        }
        state.carried = carried.into_values().collect();
        Ok(Some(state))
    }
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
