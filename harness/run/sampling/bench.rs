//! Runs the cells of a sampling bench on one model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use harness_core::{Arm, Axis, Cell, CellId, CellRecord, Failure, Observation, Parameters, Probe, Value};
use harness_language::{Language, Start};
use harness_methods::sample::Chain;
use harness_methods::sample::basis::Basis;
use harness_model::error::ModelError;
use harness_suite::Bench;
use rayon::prelude::*;

use crate::generated::Generated;
use crate::identity;
use crate::inputs::LoadedModel;
use crate::metrics::{Seen, registry};
use crate::panics::caught;
use crate::runner::{Event, RunError, Session};
use crate::sampling::recipe::Recipe;
use crate::sampling::steps::{Given, StepSums};
use crate::sampling::judged::Judge;
use crate::sampling::{Sampled, SamplingSettings, clock, law, matching, steps, texts, truth};
use crate::setup::{SetupError, arm_from, cut, data_key, seed_of};
use crate::tasks::{Answered, Questions, Tasks};
use crate::text::{Windows, refuse_overlap};
use crate::writing::Written;

/// Rows that draws and times are taken on, spread over the text.
const ROWS: usize = 16;

/// A text and, where it is known, its language.
struct Text {
    windows: Windows,
    skip_first: usize,
    language: Option<Generated>,
}

impl Text {
    fn language(&self) -> Option<&Language> {
        self.language.as_ref().map(Generated::language)
    }
}

/// What all cells of a bench share on one model.
struct Setup {
    settings: SamplingSettings,
    /// By data label.
    texts: BTreeMap<String, Text>,
    calibration: Option<Windows>,
    /// The draft or amateur.
    second: Option<LoadedModel>,
    judge: Option<LoadedModel>,
    tasks: Tasks,
}

/// A cell that has to be measured.
struct Work<'a> {
    id: CellId,
    cell: &'a Cell,
    recipe: Recipe,
    seen: Result<Seen, Failure>,
}

impl Work<'_> {
    /// Whether single steps can be looked at: nothing failed, and it is no decoder.
    fn steps(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| !seen.sampling.decoder)
    }

    /// Enters what a probe saw, or why it saw nothing; what failed stays failed.
    fn enter<T>(&mut self, stage: &str, found: Result<T, String>, into: impl FnOnce(&mut Seen, T)) {
        match (&mut self.seen, found) {
            (Ok(seen), Ok(found)) => into(seen, found),
            (Ok(_), Err(reason)) => self.seen = Err(Failure { stage: stage.to_owned(), reason }),
            (Err(_), _) => {}
        }
    }
}

impl Session<'_> {
    /// Measures what is not on disk yet and names every cell.
    pub(crate) fn sampling(
        &mut self,
        suite_seed: u64,
        bench: &Bench,
        model: &LoadedModel,
        cells: &[&Cell],
    ) -> Result<Vec<CellId>, RunError> {
        let asked: Vec<_> = bench.metrics.iter().filter_map(|id| self.catalog.metric(id)).collect();
        let probes: BTreeSet<Probe> = asked.iter().map(|metric| metric.probe).collect();
        let setup = match self.setup(suite_seed, bench, model, cells, &probes) {
            Ok(setup) => setup,
            Err(error) => return self.all_failed(cells, error.stage, &error.reason),
        };
        self.outcome.hashes.insert(format!("model {}", model.name), model.hash.clone());
        let Setup { settings, texts, calibration, second, judge, tasks } = &setup;
        for (label, text) in texts {
            self.outcome.hashes.insert(format!("data {label} for {}", model.name), text.windows.hash.clone());
        }
        let mut ids = Vec::new();
        let mut works: BTreeMap<&str, Vec<Work>> = BTreeMap::new();
        for &cell in cells {
            let seed = suite_seed.wrapping_add(seed_of(cell));
            let text = texts.get(data_key(cell));
            let mut facts = vec![("seed", seed.to_string()), ("smoothing", format!("{:?}", settings.smoothing))];
            // The methods that a matched chain consists of count with their versions too.
            if let Some(Value::Text(like)) = arms_of(cell).first().and_then(|arm| arm.get("like")) {
                facts.extend(
                    identity::chain(self.catalog, Axis::Sampler, like).into_iter().map(|stage| ("like", stage)),
                );
            }
            if probes.contains(&Probe::Draw) {
                facts.push(("draws", settings.draws.to_string()));
            }
            if probes.contains(&Probe::Generate) {
                let SamplingSettings { sequences, sequence_tokens, prompt_tokens, .. } = &settings;
                facts.push(("texts", format!("{sequences} {sequence_tokens} {prompt_tokens}")));
            }
            facts.extend(second.iter().map(|second| ("second", second.hash.clone())));
            if asked.iter().any(|metric| metric.needs == Some("judge")) {
                facts.extend(judge.iter().map(|judge| ("judge", judge.hash.clone())));
            }
            facts.extend(tasks.facts());
            let id = identity::cell_id(&identity::Facts {
                cell,
                model,
                data: text.map(|text| &text.windows),
                calibration: calibration.as_ref(),
                calibration_order: String::new(),
                clock: settings.rounds.to_string(),
                settings: facts,
                metrics: &bench.metrics,
                catalog: self.catalog,
                seed,
            });
            ids.push(id.clone());
            if let Some(failed) = self.known.get(&id) {
                self.outcome.kept += 1;
                self.outcome.failed += usize::from(*failed);
                continue;
            }
            let recipe = Recipe { arms: arms_of(cell), seed, basis: None };
            let decoder = recipe.decoder().is_some();
            let protocol = text.map(|text| text.windows.protocol.clone()).unwrap_or_default();
            let documents = text.map(|text| text.windows.documents.clone()).unwrap_or_default();
            let sampling = Sampled { decoder, ..Sampled::default() };
            let seen = Ok(Seen { documents, protocol, sampling, ..Seen::default() });
            works.entry(data_key(cell)).or_default().push(Work { id, cell, recipe, seen });
        }
        self.announce();
        let mut matcher = matching::Matcher::default();
        let mut basis = None;
        for (label, mut works) in works {
            if let Some(text) = texts.get(label) {
                for work in &mut works {
                    if let Err(reason) = give_basis(&mut work.recipe, model, &mut basis) {
                        work.enter::<()>("build", Err(reason), |_, ()| {});
                        continue;
                    }
                    match attempt(|| matcher.settle(model, calibration.as_ref(), &work.recipe)) {
                        Ok(None) => {}
                        Ok(Some((arms, setting))) => {
                            work.recipe.arms = arms;
                            work.enter("calibrate", Ok(setting), |seen, setting| seen.sampling.setting = setting);
                        }
                        Err(reason) => work.enter::<()>("calibrate", Err(reason), |_, ()| {}),
                    }
                }
                self.measure(bench, model, &setup, (label, text), &probes, works)?;
            }
        }
        Ok(ids)
    }

    fn setup(
        &self,
        seed: u64,
        bench: &Bench,
        model: &LoadedModel,
        cells: &[&Cell],
        probes: &BTreeSet<Probe>,
    ) -> Result<Setup, SetupError> {
        let settings = SamplingSettings::resolve(&arm_from("settings", &bench.settings))
            .map_err(|error| SetupError::at("settings")(&error))?;
        let mut texts = BTreeMap::new();
        for coordinate in cells.iter().filter_map(|cell| cell.coordinates.get(&Axis::Data)) {
            if texts.contains_key(&coordinate.label) {
                continue;
            }
            let (mut windows, selection) = cut(self.inputs, model, ("data", &coordinate.parameters), seed)?;
            let language =
                (self.inputs).language(&selection.corpus, model).map_err(|error| SetupError::at("data")(&error))?;
            if let Some(share) = settings.smoothing {
                if language.is_none() {
                    let reason = format!(
                        "`smoothing` mixes the true distribution with the uniform one, and that of {} is not known to {}; take an embedded model and its language",
                        coordinate.label, model.name
                    );
                    return Err(SetupError { stage: "settings", reason });
                }
                windows.protocol = format!("{} smoothing={share}", windows.protocol);
            }
            let text = Text { windows, skip_first: selection.skip_first, language };
            texts.insert(coordinate.label.clone(), text);
        }
        let calibration = match bench.tables.get("calib") {
            Some(coordinate) => Some(cut(self.inputs, model, ("calib", &coordinate.parameters), seed)?.0),
            None => None,
        };
        for text in texts.values() {
            if let Some(calibration) = &calibration {
                refuse_overlap(&calibration.tokens, &text.windows.tokens)
                    .map_err(|error| SetupError::at("calib")(&error))?;
            }
        }
        let named = |name: &str| match name {
            "" => Ok(None),
            name => self.inputs.model(name).map(Some).map_err(|error| SetupError::at("load")(&error)),
        };
        let (second, judge) = (named(&settings.second)?, named(&settings.judge)?);
        let tasks = Tasks::of(bench, model, self.inputs, probes)?;
        Ok(Setup { settings, texts, calibration, second, judge, tasks })
    }

    #[allow(clippy::too_many_arguments)]
    fn measure(
        &mut self,
        bench: &Bench,
        model: &LoadedModel,
        setup: &Setup,
        (label, text): (&str, &Text),
        probes: &BTreeSet<Probe>,
        mut works: Vec<Work>,
    ) -> Result<(), RunError> {
        let started = Instant::now();
        let Setup { settings, tasks, .. } = setup;
        let step = format!("{}: {} samplers of {} on {label}", bench.name, works.len(), model.name);
        let windows = text.windows.tokens.len();
        let writes = [probes.contains(&Probe::Generate), probes.contains(&Probe::Answer)];
        let parts = windows + works.len() * writes.into_iter().filter(|writes| *writes).count();
        let mut done = windows;
        let events = &mut *self.events;
        let mut progress = |done: usize| events(Event::Progress { step: &step, done, total: parts });
        let outcome = caught(|| walk(model, settings, text, probes.contains(&Probe::Step), &mut works, &mut progress));
        let rows = match outcome.map_err(|panic| format!("panicked: {panic}")).and_then(|outcome| outcome) {
            Ok(rows) => rows,
            Err(reason) => {
                let failure = Failure { stage: "score".to_owned(), reason };
                for work in &mut works {
                    work.seen = Err(failure.clone());
                }
                Vec::new()
            }
        };
        if probes.contains(&Probe::Draw) {
            works.par_iter_mut().filter(|work| work.steps()).for_each(|work| {
                let recipe = &work.recipe;
                let found = attempt(|| law::test(recipe, &rows, settings.draws));
                work.enter("law", found.and_then(obeyed), |seen, law| seen.sampling.law = Some(law));
            });
        }
        if probes.contains(&Probe::Generate) {
            let prompts = prompts(model, settings, text);
            let wanted = bench.metrics.iter().filter_map(|id| self.catalog.metric(id));
            let judged = wanted.into_iter().any(|metric| metric.needs == Some("judge"));
            let judge = setup.judge.as_ref().filter(|_| judged);
            let judge = judge.map(|judge| attempt(|| Judge::new(judge, model, &prompts, &text.windows.tokens)));
            for work in works.iter_mut().filter(|work| work.seen.is_ok()) {
                let recipe = &work.recipe;
                let second = setup.second.as_ref().map(|second| &second.decoder);
                let found = attempt(|| {
                    let texts = texts::write(&model.decoder, second, text.language(), recipe, &prompts)?;
                    let judged = match &judge {
                        Some(judge) => Some(judge.as_ref().map_err(Clone::clone)?.of(&texts)?),
                        None => None,
                    };
                    Ok((texts, judged))
                });
                work.enter("generate", found, |seen, (texts, judged)| {
                    (seen.sampling.texts, seen.sampling.judged) = (texts, judged);
                });
                done += 1;
                progress(done);
            }
        }
        if let Some(questions) = &tasks.questions {
            for work in works.iter_mut().filter(|work| work.seen.is_ok()) {
                let found = attempt(|| answer(model, setup.second.as_ref(), &work.recipe, questions));
                work.enter("questions", found, |seen, found| {
                    seen.answered = (found, questions.protocol.clone());
                });
                done += 1;
                progress(done);
            }
        }
        if probes.contains(&Probe::SamplerTime) {
            let (live, recipes): (Vec<usize>, Vec<&Recipe>) = (works.iter().enumerate())
                .filter(|(_, work)| work.steps())
                .map(|(at, work)| (at, &work.recipe))
                .unzip();
            let found = clock::times(&model.decoder, &recipes, &rows, settings.rounds);
            for (at, found) in live.into_iter().zip(found) {
                works[at].enter("time", found, |seen, times| seen.sampling.times = times);
            }
        }
        let metrics = registry();
        let wanted: Vec<_> =
            bench.metrics.iter().filter_map(|id| metrics.iter().find(|metric| metric.spec.id == id)).collect();
        let seconds = started.elapsed().as_secs_f64() / works.len() as f64;
        for work in works {
            let (observations, failure) = match &work.seen {
                Ok(seen) => {
                    let observe = |metric: &&crate::metrics::Metric| (metric.observe)(&metric.spec, seen);
                    (wanted.iter().map(observe).collect::<Vec<Observation>>(), None)
                }
                Err(failure) => (Vec::new(), Some(failure.clone())),
            };
            let (id, cell) = (work.id, work.cell.clone());
            let warnings = tasks.beyond(&observations);
            self.write(CellRecord { id, cell, observations, failure, warnings, seconds })?;
        }
        Ok(())
    }
}

/// Answers with a chain, or with the decoder that stands first.
fn answer(
    model: &LoadedModel,
    second: Option<&LoadedModel>,
    recipe: &Recipe,
    questions: &Questions,
) -> Result<Vec<Answered>, String> {
    let tokenizer = model.tokenizer().map_err(|error| error.to_string())?;
    if recipe.decoder().is_none() {
        return questions.answer(&model.decoder, tokenizer, &|name| recipe.chain(name), &mut |_| {});
    }
    let second = second.map(|second| &second.decoder);
    let write = |(number, prompt): (usize, &[u32])| {
        let name = format!("question {number}");
        let text = texts::decoded(&model.decoder, second, recipe, &name, (prompt, questions.tokens))?;
        let cut_off = text.tokens.len() >= questions.tokens;
        Ok(Written { tokens: text.tokens, surprise: text.model_surprise, cut_off })
    };
    let texts: Result<Vec<Written>, String> = questions.prompts().enumerate().map(write).collect();
    questions.judge(tokenizer, &texts?)
}

/// What written texts go on from: the begin mark, or the beginnings of the windows.
fn prompts(model: &LoadedModel, settings: &SamplingSettings, text: &Text) -> texts::Prompts {
    let SamplingSettings { sequences, sequence_tokens, prompt_tokens, .. } = *settings;
    let (tokens, start) = if prompt_tokens == 1 {
        (vec![vec![model.decoder.config().bos.unwrap_or(0)]], Start::Document)
    } else {
        let beginning = |window: &Vec<u32>| window.iter().take(prompt_tokens).copied().collect();
        (text.windows.tokens.iter().map(beginning).collect(), Start::Anywhere)
    };
    texts::Prompts { tokens, start, count: sequences, length: sequence_tokens }
}

/// The chain of a cell as it was written.
fn arms_of(cell: &Cell) -> Vec<Arm> {
    Arm::parse_chain(cell.label(Axis::Sampler).unwrap_or_default()).unwrap_or_default()
}

/// Gives a recipe the basis of the model's head where a stage needs it; `held` keeps the largest asked for.
fn give_basis(recipe: &mut Recipe, model: &LoadedModel, held: &mut Option<Arc<Basis>>) -> Result<(), String> {
    let Some(directions) = Chain::build(&recipe.arms, 0, "").ok().and_then(|chain| chain.directions()) else {
        return Ok(());
    };
    let basis = match held {
        Some(basis) if basis.directions() >= directions => basis.clone(),
        _ => {
            let head = model.decoder.head();
            if head.bias().is_some() {
                return Err(format!("the head of {} has a bias, so its matrix does not tell its logits", model.name));
            }
            let basis = Basis::of(&head.weight().to_f32(), head.rows(), head.cols(), directions);
            Arc::new(basis.map_err(|error| error.to_string())?)
        }
    };
    *held = Some(basis.clone());
    recipe.basis = Some(basis);
    Ok(())
}

/// What a piece of work gives, its panic a reason.
fn attempt<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    caught(work).map_err(|panic| format!("panicked: {panic}")).and_then(|outcome| outcome)
}

/// Refuses draws that do not follow the law.
fn obeyed(found: law::LawTest) -> Result<law::LawTest, String> {
    if found.p >= law::REFUSED {
        return Ok(found);
    }
    Err(format!(
        "its {} draws do not follow what it left of the distribution (Kolmogorov's test, p = {:.1e})",
        found.draws, found.p
    ))
}

/// One pass over the text, a window at a time: what every chain leaves of it, and the rows for draws and times.
fn walk(
    model: &LoadedModel,
    settings: &SamplingSettings,
    text: &Text,
    steps_wanted: bool,
    works: &mut [Work],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<(Vec<f32>, Vec<u32>)>, String> {
    let vocabulary = model.decoder.config().vocab_size;
    let windows = &text.windows.tokens;
    let first = text.skip_first + 1;
    let length = windows.first().map_or(0, Vec::len);
    let count = length.saturating_sub(first);
    let mut rows = Vec::new();
    for work in works.iter_mut() {
        if let Ok(seen) = &mut work.seen {
            seen.sampling.truth_known = text.language.is_some();
        }
    }
    for (number, window) in windows.iter().enumerate() {
        let truths = match text.language() {
            Some(language) => {
                let found = truth::distributions(language, std::slice::from_ref(window), first);
                found.map_err(|error| format!("window {number}: {error}"))?.swap_remove(0)
            }
            None => Vec::new(),
        };
        let logits = match settings.smoothing {
            Some(share) => smoothed(&truths, vocabulary, share),
            None => logits(model, window, first).map_err(|error| format!("window {number}: {error}"))?,
        };
        let probabilities: Vec<Vec<f64>> = logits.par_chunks(vocabulary).map(softmax).collect();
        let given = |at: usize| Given {
            logits: &logits[at * vocabulary..(at + 1) * vocabulary],
            model: &probabilities[at],
            truth: truths.get(at).map(Vec::as_slice),
            past: &window[..first + at],
            next: window[first + at],
        };
        if steps_wanted {
            works.par_iter_mut().filter(|work| work.steps()).for_each(|work| {
                let recipe = &work.recipe;
                let found: Result<StepSums, String> = attempt(|| steps::apply(recipe, number, (0..count).map(given)));
                work.enter("step", found, |seen, sums| seen.sampling.steps.push(sums));
            });
        }
        for row in (0..ROWS).filter(|row| row * windows.len() / ROWS == number) {
            let given = given((row * 7919) % count.max(1));
            rows.push((given.logits.to_vec(), given.past.to_vec()));
        }
        progress(number + 1);
    }
    Ok(rows)
}

/// Logits at every scored position of a window, row by row.
pub(crate) fn logits(model: &LoadedModel, window: &[u32], first: usize) -> Result<Vec<f32>, ModelError> {
    let positions = first - 1..window.len() - 1;
    let count = positions.len();
    let hidden = model.decoder.hidden_positions(&[window], positions)?;
    let width = model.decoder.config().hidden_size;
    let hidden = hidden
        .reshape((count, width))
        .map_err(|source| ModelError::Compute { what: "rows of hidden states".to_owned(), source })?;
    let mut out = Vec::new();
    model.decoder.logits_into(&hidden, 0..count, &mut out)?;
    Ok(out)
}

/// Logarithms of the truth mixed with the uniform distribution.
fn smoothed(truths: &[Vec<f64>], vocabulary: usize, share: f64) -> Vec<f32> {
    let mixed = |truth: &Vec<f64>| {
        let p = |token: usize| (1.0 - share) * truth.get(token).copied().unwrap_or(0.0) + share / vocabulary as f64;
        (0..vocabulary).map(|token| p(token).ln() as f32).collect::<Vec<f32>>()
    };
    truths.iter().flat_map(mixed).collect()
}

fn softmax(row: &[f32]) -> Vec<f64> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = row.iter().map(|logit| (f64::from(*logit) - f64::from(max)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}
