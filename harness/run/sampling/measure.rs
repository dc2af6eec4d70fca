//! What the arms of a sampling bench are seen in, and how it is written down.

use std::collections::BTreeSet;
use std::time::Instant;

use harness_core::{CellRecord, Failure, Observation, Probe};
use harness_language::Start;
use harness_model::error::ModelError;
use harness_suite::Bench;
use rayon::prelude::*;

use crate::inputs::LoadedModel;
use crate::metrics::registry;
use crate::panics::caught;
use crate::runner::{Event, RunError, Session};
use crate::sampling::bench::{Setup, Text, Work, attempt};
use crate::sampling::judged::{Judge, Judged};
use crate::sampling::recipe::Recipe;
use crate::sampling::steps::{Given, StepSums};
use crate::sampling::{SamplingSettings, WrittenText, clock, law, steps, texts, truth};
use crate::tasks::{Answered, Questions};
use crate::writing::{Read, Written};

/// Rows that draws and times are taken on, spread over the text.
const ROWS: usize = 16;

impl Session<'_> {
    /// Measures the cells of a text and writes each as soon as it is complete: first what all are seen in together, then what
    /// each writes by itself.
    pub(super) fn measure(
        &mut self,
        bench: &Bench,
        model: &LoadedModel,
        setup: &Setup,
        (label, text): (&str, &Text),
        probes: &BTreeSet<Probe>,
        mut works: Vec<Work>,
    ) -> Result<(), RunError> {
        let started = Instant::now();
        let step = format!("{}: {} samplers of {} on {label}", bench.name, works.len(), model.name);
        let (windows, cells) = (text.windows.tokens.len(), works.len());
        let events = &mut *self.events;
        let mut progress = |done: usize| events(Event::Progress { step: &step, done, total: windows + cells });
        together(model, setup, text, probes, &mut works, &mut progress);
        let shared = started.elapsed().as_secs_f64() / cells as f64;
        let prompts = prompts(model, &setup.settings, text);
        let mut asked = bench.metrics.iter().filter_map(|id| self.catalog.metric(id));
        let judge = setup.judge.as_ref().filter(|_| asked.any(|metric| metric.needs == Some("judge")));
        let judge = judge.map(|judge| attempt(|| Judge::new(judge, model, &prompts, &text.windows.tokens)));
        let metrics = registry();
        let wanted: Vec<_> =
            bench.metrics.iter().filter_map(|id| metrics.iter().find(|metric| metric.spec.id == id)).collect();
        // Prompts are read once for all arms.
        let (mut read, mut read_questions) = (Read::default(), Read::default());
        for (at, mut work) in works.into_iter().enumerate() {
            let started = Instant::now();
            if probes.contains(&Probe::Generate) && work.seen.is_ok() {
                let found =
                    attempt(|| written(model, setup, text, judge.as_ref(), &work.recipe, (&prompts, &mut read)));
                work.enter("generate", found, |seen, (texts, judged)| {
                    (seen.sampling.texts, seen.sampling.judged) = (texts, judged);
                });
            }
            if let Some(questions) = setup.tasks.questions.as_ref().filter(|_| work.seen.is_ok()) {
                let found =
                    attempt(|| answer(model, setup.second.as_ref(), &work.recipe, questions, &mut read_questions));
                work.enter("questions", found, |seen, found| seen.answered = (found, questions.protocol.clone()));
            }
            (self.events)(Event::Progress { step: &step, done: windows + at + 1, total: windows + cells });
            let (observations, failure) = match &work.seen {
                Ok(seen) => {
                    let observe = |metric: &&crate::metrics::Metric| (metric.observe)(&metric.spec, seen);
                    (wanted.iter().map(observe).collect::<Vec<Observation>>(), None)
                }
                Err(failure) => (Vec::new(), Some(failure.clone())),
            };
            let (id, cell) = (work.id, work.cell.clone());
            let warnings = setup.tasks.beyond(&observations);
            let seconds = shared + started.elapsed().as_secs_f64();
            self.write(CellRecord { id, cell, observations, failure, warnings, seconds })?;
        }
        Ok(())
    }
}

/// What all arms are seen in together: the steps of the text, the law of their draws, the clock.
fn together(
    model: &LoadedModel,
    setup: &Setup,
    text: &Text,
    probes: &BTreeSet<Probe>,
    works: &mut [Work],
    progress: &mut dyn FnMut(usize),
) {
    let settings = &setup.settings;
    let outcome = caught(|| walk(model, settings, text, probes.contains(&Probe::Step), works, progress));
    let rows = match outcome.map_err(|panic| format!("panicked: {panic}")).and_then(|outcome| outcome) {
        Ok(rows) => rows,
        Err(reason) => {
            let failure = Failure { stage: "score".to_owned(), reason };
            for work in works {
                work.seen = Err(failure.clone());
            }
            return;
        }
    };
    if probes.contains(&Probe::Draw) {
        works.par_iter_mut().filter(|work| work.steps()).for_each(|work| {
            let recipe = &work.recipe;
            let found = attempt(|| law::test(recipe, &rows, settings.draws));
            work.enter("law", found.and_then(obeyed), |seen, law| seen.sampling.law = Some(law));
        });
    }
    if probes.contains(&Probe::SamplerTime) {
        let (live, recipes): (Vec<usize>, Vec<&Recipe>) =
            (works.iter().enumerate()).filter(|(_, work)| work.steps()).map(|(at, work)| (at, &work.recipe)).unzip();
        let found = clock::times(&model.decoder, &recipes, &rows, settings.rounds);
        for (at, found) in live.into_iter().zip(found) {
            works[at].enter("time", found, |seen, times| seen.sampling.times = times);
        }
    }
}

/// What an arm writes, and what the judge says of that.
fn written(
    model: &LoadedModel,
    setup: &Setup,
    text: &Text,
    judge: Option<&Result<Judge, String>>,
    recipe: &Recipe,
    (prompts, read): (&texts::Prompts, &mut Read),
) -> Result<(Vec<WrittenText>, Option<Judged>), String> {
    let second = setup.second.as_ref().map(|second| &second.decoder);
    let texts = texts::write(&model.decoder, second, text.language(), recipe, prompts, read)?;
    let judged = match judge {
        Some(judge) => Some(judge.as_ref().map_err(Clone::clone)?.of(&texts)?),
        None => None,
    };
    Ok((texts, judged))
}

/// Answers with a chain, or with the decoder that stands first.
fn answer(
    model: &LoadedModel,
    second: Option<&LoadedModel>,
    recipe: &Recipe,
    questions: &Questions,
    read: &mut Read,
) -> Result<Vec<Answered>, String> {
    let tokenizer = model.tokenizer().map_err(|error| error.to_string())?;
    if recipe.decoder().is_none() {
        return questions.answer(&model.decoder, tokenizer, &|name| recipe.chain(name), read, &mut |_| {});
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
