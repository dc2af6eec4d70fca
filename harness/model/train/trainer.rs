//! The loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::Var;
use harness_kernels::allocator::Keeping;

use super::adamw::{Group, Moments};
use super::checkpoint::{State, write_atomically};
use super::flow;
use super::hook::{Hook, StepInfo};
use super::initial::{is_embedding, is_norm, is_of_scan};
use super::pass::{gradients, loss, publish, variables, window};
use super::start::{Begun, Flowing, Start, Turning};
use super::streams::Streams;
use super::{CurvePoint, Event, Recipe, TokenSource, TrainError, Trained};
use crate::cache::KvCache;
use crate::config::Config;
use crate::decoder::Decoder;
use crate::error::{Context, ModelError};
use crate::load::{Checkpoint, expected_tensors};
use crate::rope::Rope;
use crate::weight::{DType, Weight};
use crate::write::{DEFAULT_SHARD_BYTES, write_folder};

/// The maps of the net that moves rotary frequencies.
const NET: [&str; 2] = ["model.rotary.up.weight", "model.rotary.down.weight"];
/// Windows scored together on the validation text.
const SCORED_TOGETHER: usize = 8;

/// A run in progress; [`super::train`] drives one to its end.
pub struct Trainer {
    recipe: Recipe,
    config: Config,
    /// What makes rotary embeddings of the configuration, where it scales them.
    turning: Option<Arc<dyn Turning>>,
    flowing: Option<Flowing>,
    out: PathBuf,
    state: State,
    variables: BTreeMap<String, Var>,
    decoder: Decoder,
    /// What the rows of a batch read on in, where they do.
    streams: Option<Streams>,
    /// The states behind the last step, where the next one reads on from them.
    carried: Option<KvCache>,
    groups: Option<BTreeMap<String, Group>>,
    spent: Duration,
    done_here: usize,
    /// A step frees all its activations; giving their pages back each time costs a third of it.
    _keeping: Keeping,
}

impl Trainer {
    /// A new run, or the one whose checkpoint lies in `out`.
    ///
    /// # Errors
    /// [`TrainError`]: a recipe that contradicts itself or the text, a first model that does not fit them, a checkpoint of another run.
    pub fn open(
        recipe: &Recipe,
        source: &dyn TokenSource,
        start: Option<&Start>,
        out: &Path,
    ) -> Result<Self, TrainError> {
        recipe.check()?;
        std::fs::create_dir_all(out).map_err(|source| TrainError::Io { path: out.to_owned(), source })?;
        let Begun { config, weights, flowing, from } = match start {
            Some(start) => Begun::from(recipe, source, start)?,
            None => Begun::anew(recipe, source)?,
        };
        let run = format!("{} on {}{from}", recipe.hash()?, source.identity());
        let path = checkpoint_path(out);
        let state = match State::load(&path)? {
            Some(state) => state.checked(&path, &run, &config)?,
            None => State::new(run, weights),
        };
        let failed = |source| TrainError::Model { step: state.step, source };
        let variables = variables(&config, &state.weights).map_err(failed)?;
        let turning = start.map(|start| Arc::clone(&start.turning));
        let decoder = match rope_of(&config, turning.as_deref(), &state.weights)? {
            Some(rope) => Decoder::trainable_with(&config, &variables, rope),
            None => Decoder::trainable(&config, &variables),
        };
        let mut decoder = decoder.map_err(failed)?;
        decoder.groups = recipe.groups();
        let streams = Streams::of(recipe, source, config.vocab_size)?;
        let carried = match &streams {
            Some(streams) if streams.carries => Some(state.states(&path, recipe, decoder.new_cache())?),
            _ => None,
        };
        Ok(Self {
            streams,
            carried,
            recipe: recipe.clone(),
            config,
            turning,
            flowing,
            out: out.to_owned(),
            state,
            variables,
            decoder,
            groups: None,
            spent: Duration::ZERO,
            done_here: 0,
            _keeping: Keeping::begin(),
        })
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.state.step
    }

    /// Parameters of the model; a tied head counts once.
    pub fn parameters(&self) -> usize {
        self.state.weights.values().map(Vec::len).sum()
    }

    /// The decoder over the current weights.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The weights by canonical name.
    pub fn weights(&self) -> &BTreeMap<String, Vec<f32>> {
        &self.state.weights
    }

    /// The states that the next step reads on from, where it does.
    pub fn carried(&self) -> Option<&KvCache> {
        self.carried.as_ref()
    }

    #[cfg(test)]
    pub(super) fn forget_carried(&mut self) {
        self.state.carried.clear();
    }

    /// Does one step, then scores and saves where the recipe says so.
    ///
    /// # Errors
    /// [`TrainError`].
    pub fn advance(
        &mut self,
        source: &dyn TokenSource,
        hooks: &mut [Box<dyn Hook>],
        progress: &mut dyn FnMut(Event),
    ) -> Result<(), TrainError> {
        let began = Instant::now();
        let (loss, gradient_norm, learning_rate) = self.optimise(source, hooks)?;
        self.spent += began.elapsed();
        self.done_here += 1;
        let step = self.state.step;
        let tokens_per_second = self.tokens_per_second().unwrap_or(0.0);
        progress(Event::Step { step, loss, gradient_norm, learning_rate, tokens_per_second });
        let last = step == self.recipe.steps();
        if last || step.is_multiple_of(self.recipe.training.evaluate_every) {
            let valid = self.evaluate(source)?;
            progress(Event::Evaluated { step, loss: valid });
            let (sum, count) = std::mem::take(&mut self.state.pending);
            let tokens = (step * self.recipe.training.batch * self.recipe.data.context) as u64;
            self.state.curve.push(CurvePoint { step, tokens, train: sum / count as f64, valid, learning_rate });
        }
        if last || step.is_multiple_of(self.recipe.training.checkpoint_every) {
            self.save()?;
            progress(Event::Saved { step });
        }
        Ok(())
    }

    /// Forward, backward, update; returns loss, gradient norm and learning rate.
    fn optimise(
        &mut self,
        source: &dyn TokenSource,
        hooks: &mut [Box<dyn Hook>],
    ) -> Result<(f64, f64, f64), TrainError> {
        let at = StepInfo { step: self.state.step, steps: self.recipe.steps() };
        let refused = |reason| TrainError::Hook { step: at.step, reason };
        let failed = |source| TrainError::Model { step: at.step, source };
        for hook in hooks.iter_mut() {
            hook.before_step(at, &mut self.state.weights).map_err(refused)?;
        }
        if !hooks.is_empty() {
            self.publish().map_err(failed)?;
        }
        let windows = self.batch(source, at.step)?;
        let mut carried = self.carried.clone();
        let (loss, mut gradients) = self.gradients(source, at.step, &windows, carried.as_mut()).map_err(failed)?;
        finite(at.step, "loss", loss)?;
        for hook in hooks.iter_mut() {
            hook.after_backward(at, &self.state.weights, &mut gradients).map_err(refused)?;
        }
        let squares: f64 = gradients.values().flatten().map(|&g| f64::from(g) * f64::from(g)).sum();
        let norm = squares.sqrt();
        finite(at.step, "gradient norm", norm)?;
        let scale = (self.recipe.training.clip / norm.max(f64::MIN_POSITIVE)).min(1.0) as f32;
        let mut rate = self.recipe.schedule().rate(at.step);
        for hook in hooks.iter_mut() {
            rate = hook.learning_rate(at, rate);
        }
        self.update(&gradients, rate, scale, hooks);
        for hook in hooks.iter_mut() {
            hook.after_step(at, &mut self.state.weights).map_err(refused)?;
        }
        self.publish().map_err(failed)?;
        if let Some(states) = carried.as_ref().and_then(KvCache::states) {
            self.state.carried = states.blocks().to_vec();
        }
        self.carried = carried;
        self.state.step += 1;
        self.state.pending = (self.state.pending.0 + loss, self.state.pending.1 + 1);
        Ok((loss, norm, rate))
    }

    fn update(&mut self, gradients: &BTreeMap<String, Vec<f32>>, rate: f64, scale: f32, hooks: &mut [Box<dyn Hook>]) {
        let decay = self.recipe.training.weight_decay;
        let groups = self.groups.get_or_insert_with(|| {
            let group = |name: &String| {
                let bare = is_norm(name) || is_embedding(name) || is_of_scan(name) || name.ends_with(".bias");
                let group = Group { rate: 1.0, decay: if bare { 0.0 } else { decay } };
                (name.clone(), hooks.iter_mut().fold(group, |group, hook| hook.group(name, group)))
            };
            self.state.weights.keys().map(group).collect()
        });
        let optimizer = self.recipe.optimizer();
        for (name, values) in &mut self.state.weights {
            let (Some(gradient), Some(group)) = (gradients.get(name), groups.get(name)) else { continue };
            let moments = self.state.moments.entry(name.clone()).or_insert_with(|| Moments::zeros(values.len()));
            optimizer.update(self.state.step, rate, *group, scale, gradient, moments, values);
        }
    }

    /// Windows of step `step`, one token longer than the context.
    fn batch(&self, source: &dyn TokenSource, step: usize) -> Result<Vec<Vec<u32>>, TrainError> {
        if let Some(streams) = &self.streams {
            return Ok(streams.windows(step));
        }
        let (data, training) = (&self.recipe.data, &self.recipe.training);
        // Seeds read disjoint ranges of windows.
        let first = (training.seed << 40) + (step * training.batch) as u64;
        (first..first + training.batch as u64)
            .map(|index| window(source, &data.train, index, data.context + 1, self.config.vocab_size))
            .collect()
    }

    /// Places of the tokens of a step's windows, where they are not 0, 1, 2 …
    fn places(&self, step: usize) -> Option<Vec<f32>> {
        let (data, training) = (&self.recipe.data, &self.recipe.training);
        let windows = step * training.batch..(step + 1) * training.batch;
        let drawn = (data.scales.unwrap_or(1), self.time(step));
        let places = windows.map(|window| data.places.of_window(training.seed, window as u64, data.context, drawn));
        places.collect::<Option<Vec<_>>>().map(|places| places.concat())
    }

    /// The time of a step, where frequencies follow it.
    fn time(&self, step: usize) -> Option<usize> {
        let (data, training) = (&self.recipe.data, &self.recipe.training);
        data.places.time_of_step(training.seed, step, data.scales.unwrap_or(1))
    }

    /// Mean loss over the tokens of a step, as a scalar.
    fn loss_of(
        &self,
        source: &dyn TokenSource,
        step: usize,
        windows: &[Vec<u32>],
        carried: Option<&mut KvCache>,
    ) -> Result<candle_core::Tensor, ModelError> {
        let data = &self.recipe.data;
        if let Some(places) = self.places(step) {
            let decoder = match (&self.flowing, self.time(step)) {
                (Some(flowing), Some(time)) => {
                    self.decoder.with_frequencies(&self.frequencies(flowing, time)?, &places)
                }
                _ => self.decoder.with_places(&places, data.context),
            };
            return loss(&decoder, source, windows, None);
        }
        let cut = (data.short_share * windows.len() as f64).round() as usize;
        if cut == 0 {
            return loss(&self.decoder, source, windows, carried);
        }
        let length = self.config.trained_positions();
        let pieces = |window: &Vec<u32>| -> Vec<Vec<u32>> {
            (0..data.context).step_by(length).map(|at| window[at..=at + length].to_vec()).collect()
        };
        let short: Vec<Vec<u32>> = windows[..cut].iter().flat_map(pieces).collect();
        let share = cut as f64 / windows.len() as f64;
        let weighed = |windows: &[Vec<u32>], share: f64| {
            (loss(&self.decoder, source, windows, None)? * share).doing(|| "weighing the loss".to_owned())
        };
        if cut == windows.len() {
            return loss(&self.decoder, source, &short, None);
        }
        (weighed(&short, share)? + weighed(&windows[cut..], 1.0 - share)?).doing(|| "adding losses".to_owned())
    }

    /// Frequencies of a text `time` times as long as in training, with gradients of the net.
    fn frequencies(&self, flowing: &Flowing, time: usize) -> Result<candle_core::Tensor, ModelError> {
        let map =
            |name: &str| self.variables.get(name).ok_or_else(|| ModelError::MissingTensor { name: name.to_owned() });
        let (up, down) = (map(NET[0])?, map(NET[1])?);
        flow::frequencies(&flowing.flow, &flowing.trained, up, down, time as f64)
            .doing(|| "solving for rotary frequencies".to_owned())
    }

    fn gradients(
        &self,
        source: &dyn TokenSource,
        step: usize,
        windows: &[Vec<u32>],
        carried: Option<&mut KvCache>,
    ) -> Result<(f64, BTreeMap<String, Vec<f32>>), ModelError> {
        let loss = self.loss_of(source, step, windows, carried)?;
        gradients(&loss, &self.variables)
    }

    /// Makes the decoder see the weights.
    fn publish(&self) -> Result<(), ModelError> {
        publish(&self.state.weights, &self.variables)
    }

    /// Mean loss on the recipe's validation windows, nats a token.
    ///
    /// # Errors
    /// [`TrainError`].
    pub fn evaluate(&self, source: &dyn TokenSource) -> Result<f64, TrainError> {
        let (data, step) = (&self.recipe.data, self.state.step);
        let failed = |source| TrainError::Model { step, source };
        // Plain weights record no graph.
        let decoder = match rope_of(&self.config, self.turning.as_deref(), &self.state.weights)? {
            Some(rope) => Decoder::from_weights_with(&self.config, &self.stored(), rope),
            None => Decoder::from_weights(&self.config, &self.stored()),
        };
        let decoder = decoder.map_err(failed)?;
        let mut sum = 0.0;
        for first in (0..data.valid_windows).step_by(SCORED_TOGETHER) {
            let range = first..(first + SCORED_TOGETHER).min(data.valid_windows);
            let count = range.len();
            let windows = range
                .map(|index| window(source, &data.valid, index as u64, data.context + 1, self.config.vocab_size))
                .collect::<Result<Vec<_>, _>>()?;
            let loss = loss(&decoder, source, &windows, None).map_err(failed)?.to_scalar::<f32>();
            sum += f64::from(loss.doing(|| "reading the loss".to_owned()).map_err(failed)?) * count as f64;
        }
        let mean = sum / data.valid_windows as f64;
        finite(step, "validation loss", mean)?;
        Ok(mean)
    }

    fn stored(&self) -> BTreeMap<String, Weight> {
        expected_tensors(&self.config)
            .filter_map(|spec| {
                let values = self.state.weights.get(&spec.name)?.clone();
                Some((spec.name, Weight::from_f32(spec.rows, spec.cols, values)))
            })
            .collect()
    }

    /// Tokens a second of this process's steps; `None` before the first.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let tokens = self.done_here * self.recipe.training.batch * self.recipe.data.context;
        (self.done_here > 0).then(|| tokens as f64 / self.spent.as_secs_f64())
    }

    /// Writes `checkpoint.safetensors` and `log.jsonl`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn save(&self) -> Result<(), TrainError> {
        self.state.save(&checkpoint_path(&self.out))?;
        let path = self.out.join("log.jsonl");
        let mut log = String::new();
        for point in &self.state.curve {
            log += &serde_json::to_string(point)
                .map_err(|error| TrainError::Io { path: path.clone(), source: error.into() })?;
            log.push('\n');
        }
        write_atomically(&path, log.as_bytes())
    }

    /// Writes `model/` and hands the result over.
    ///
    /// # Errors
    /// [`TrainError::Load`], [`TrainError::Write`].
    pub fn finish(self, source: &dyn TokenSource) -> Result<Trained, TrainError> {
        let checkpoint = Checkpoint::new(self.config.clone(), self.stored(), source.tokenizer())?;
        let folder = self.out.join("model");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|source| TrainError::Io { path: folder.clone(), source })?;
        }
        write_folder(&folder, &checkpoint, DType::F16, DEFAULT_SHARD_BYTES)?;
        Ok(Trained {
            parameters: self.parameters(),
            tokens: (self.state.step * self.recipe.training.batch * self.recipe.data.context) as u64,
            tokens_per_second: self.tokens_per_second(),
            curve: self.state.curve,
            config: self.config,
            checkpoint,
        })
    }
}

impl State {
    fn new(run: String, weights: BTreeMap<String, Vec<f32>>) -> Self {
        let (curve, moments, carried) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { run, step: 0, pending: (0.0, 0), curve, weights, moments, carried }
    }

    /// The states that the next step reads on from: zeros before the first.
    fn states(&self, path: &Path, recipe: &Recipe, mut cache: KvCache) -> Result<KvCache, TrainError> {
        let read = self.step * recipe.data.context;
        if read > 0 && !cache.restore_states(recipe.training.batch, read, self.carried.clone()) {
            let reason = "does not hold the states that its recipe reads on from".to_owned();
            return Err(TrainError::Checkpoint { path: path.to_owned(), reason });
        }
        Ok(cache)
    }

    fn checked(self, path: &Path, run: &str, config: &Config) -> Result<Self, TrainError> {
        let bad = |reason: &str| TrainError::Checkpoint { path: path.to_owned(), reason: reason.to_owned() };
        if self.run != run {
            return Err(bad("is the checkpoint of another recipe or text"));
        }
        let fits = expected_tensors(config).all(|spec| {
            let count = spec.rows * spec.cols;
            let moments = self.moments.get(&spec.name);
            self.weights.get(&spec.name).is_some_and(|values| values.len() == count)
                && moments.is_some_and(|moments| moments.first.len() == count && moments.second.len() == count)
        });
        if fits { Ok(self) } else { Err(bad("does not hold the tensors of its recipe")) }
    }
}

/// The rotary embeddings of weights, where the configuration scales them.
fn rope_of(
    config: &Config,
    turning: Option<&dyn Turning>,
    weights: &BTreeMap<String, Vec<f32>>,
) -> Result<Option<Rope>, TrainError> {
    let (Some(scaling), Some(turning)) = (&config.scaling, turning) else { return Ok(None) };
    let net = NET.map(|name| weights.get(name).cloned());
    let net = if let [Some(up), Some(down)] = net { Some([up, down]) } else { None };
    let refused = |reason| TrainError::Recipe {
        key: "architecture.positions",
        value: scaling.arm.to_string(),
        allowed: format!("an arm that fits the model ({reason})"),
    };
    turning.rope(config, net).map(Some).map_err(refused)
}

fn checkpoint_path(out: &Path) -> PathBuf {
    out.join("checkpoint.safetensors")
}

fn finite(step: usize, what: &'static str, value: f64) -> Result<(), TrainError> {
    if value.is_finite() { Ok(()) } else { Err(TrainError::NotFinite { step, what, value }) }
}
