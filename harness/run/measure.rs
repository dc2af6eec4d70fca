//! Runs the probes that a bench's metrics ask for and turns what they saw into observations.

use std::time::Duration;

use harness_core::{Arm, Failure, Observation, Probe};
use harness_methods::sample::Chain;
use harness_model::decoder::Decoder;
use harness_model::tokenizer::Tokenizer;

use crate::anatomy::block_errors;
use crate::beyond;
use crate::cache;
use crate::catalog::Settings;
use crate::clock::{self, Clock};
use crate::footprint::{Counting, Footprint};
use crate::inputs::LoadedModel;
use crate::lowrank::Factoring;
use crate::memory;
use crate::metrics::{Metric, Seen, registry};
use crate::panics::caught;
use crate::quantize::Taken;
use crate::score::{Reading, ScoreError, WindowScore, score_group};
use crate::setup::{Asked, Data, Setup};
use crate::shrink::Shortened;
use crate::spread;
use crate::tasks::Tasks;
use crate::writing::Read;

/// An arm that is ready to be measured.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The model with the arm applied.
    pub decoder: Decoder,
    /// Seconds the application took.
    pub apply_seconds: f64,
    /// The arm changes nothing: its scores are the dense pass itself.
    pub identity: bool,
    /// The shorter model as it was before anything else was done to it; `None` where no block is removed.
    pub shortened: Option<Shortened>,
    /// What became of the maps where they are held as factors.
    pub factoring: Option<Factoring>,
    /// What the quantized matrices take; `None` where nothing is quantized.
    pub taken: Option<Taken>,
}

/// Measures arms beside the dense model.
///
/// `progress` is told how many windows of how many are scored. Every arm gives its observations in the order of
/// `wanted`, or the reason there are none.
pub(crate) fn measure_group(
    model: &LoadedModel,
    arms: &[&Prepared],
    data: &Data,
    setup: &Setup,
    wanted: &[String],
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Result<Vec<Observation>, Failure>> {
    let (dense, probes) = (&model.decoder, &setup.probes);
    let asks = |id: &str| wanted.iter().any(|wanted| wanted == id);
    let checkpoint_bits = asks("checkpoint_bpw").then(|| model.checkpoint_bits());
    let mut seen: Vec<Watched> = arms
        .iter()
        .map(|arm| {
            Ok(Seen {
                apply_seconds: arm.apply_seconds,
                shortened: arm.shortened.clone(),
                factoring: arm.factoring.clone(),
                taken: arm.taken.clone(),
                checkpoint_bits,
                documents: data.windows.documents.clone(),
                protocol: data.windows.protocol.clone(),
                trained: model.decoder.config().max_positions,
                ..Seen::default()
            })
        })
        .collect();
    if probes.contains(&Probe::Score) {
        score_all(dense, arms, data, &mut seen, progress);
        if asks(beyond::CONTEXT_GAIN) {
            let mark = model.tokenizer().ok().and_then(Tokenizer::bos);
            let cut = caught(|| beyond::cut(dense, &data.windows.tokens, data.skip_first, mark, progress));
            let cut = cut.unwrap_or_else(|panic| Err(format!("panicked: {panic}")));
            seen.iter_mut().flatten().for_each(|seen| seen.cut = Some(cut.clone()));
        }
        if spread::METRICS.iter().any(|id| asks(id)) {
            for (arm, seen) in arms.iter().zip(&mut seen) {
                if let Ok(seen) = seen {
                    let watched =
                        caught(|| spread::watch(&arm.decoder, &data.windows.tokens, data.skip_first, progress));
                    seen.spreads = Some(watched.unwrap_or_else(|panic| Err(format!("panicked: {panic}"))));
                }
            }
        }
    }
    if probes.contains(&Probe::Time) {
        time_all(dense, arms, &setup.settings, &mut seen);
    }
    ask_all(model, arms, &setup.tasks, asks("answer_flips"), &mut seen, progress);
    if let Some(asked) = data.asked.as_ref().filter(|_| probes.contains(&Probe::Retrieve)) {
        retrieve_all(model, arms, asked, &data.windows.protocol, &mut seen, progress);
    }
    if asks("output_error") {
        compare_blocks(dense, arms, setup, &mut seen);
    }
    let metrics = registry();
    if probes.contains(&Probe::Static) {
        let beside = |metric: &&Metric| metric.spec.probe == Probe::Static && metric.spec.needs_dense;
        let compared = metrics.iter().filter(beside).any(|metric| wanted.iter().any(|id| id == metric.spec.id));
        let moments = asks("kurtosis") || asks("outlier_share");
        for (arm, seen) in arms.iter().zip(&mut seen) {
            if let Ok(seen) = seen {
                // Weights of a shorter model are compared with its own before anything else was done to them.
                let before = arm.shortened.as_ref().map_or(dense, |shortened| &shortened.decoder);
                let counting = Counting { dense: compared.then_some(before), moments };
                seen.footprint = Some(Footprint::of(&arm.decoder, counting));
            }
        }
    }
    if wanted.iter().any(|id| cache::METRICS.contains(&id.as_str())) {
        for (arm, slot) in arms.iter().zip(&mut seen) {
            if let (Ok(seen), Some(window)) = (slot.as_mut(), data.windows.tokens.first()) {
                match cache::CacheFootprint::of(&arm.decoder, window, data.decode_from) {
                    Ok(footprint) => seen.cache = Some(footprint),
                    Err(error) => *slot = Err(Failure { stage: "cache".to_owned(), reason: error.to_string() }),
                }
            }
        }
    }
    let wanted: Vec<_> = wanted.iter().filter_map(|id| metrics.iter().find(|metric| metric.spec.id == id)).collect();
    seen.into_iter()
        .map(|seen| seen.map(|seen| wanted.iter().map(|metric| (metric.observe)(&metric.spec, &seen)).collect()))
        .collect()
}

/// What was seen of an arm, or why it is left out.
type Watched = Result<Seen, Failure>;

fn score_all(
    dense: &Decoder,
    arms: &[&Prepared],
    data: &Data,
    seen: &mut [Watched],
    progress: &mut dyn FnMut(usize, usize),
) {
    let changed: Vec<usize> = (0..arms.len()).filter(|&index| !arms[index].identity).collect();
    let decoders: Vec<&Decoder> = changed.iter().map(|&index| &arms[index].decoder).collect();
    let reading = Reading { skip_first: data.skip_first, decode_from: data.decode_from };
    let (dense_scores, scores) = score_group(dense, &decoders, &data.windows.tokens, reading, progress);
    let mut enter = |index: usize, scores: Result<Vec<WindowScore>, &ScoreError>| match (scores, &mut seen[index]) {
        (Ok(windows), Ok(seen)) => seen.scores = windows,
        (Err(error), slot) => *slot = Err(Failure { stage: "score".to_owned(), reason: error.to_string() }),
        (Ok(_), Err(_)) => {}
    };
    for (index, outcome) in changed.into_iter().zip(&scores) {
        enter(index, outcome.as_ref().cloned());
    }
    for index in (0..arms.len()).filter(|&index| arms[index].identity) {
        enter(index, dense_scores.as_ref().cloned());
    }
}

/// Runs the blocks of every arm on the dense model's inputs.
fn compare_blocks(dense: &Decoder, arms: &[&Prepared], setup: &Setup, seen: &mut [Watched]) {
    let Some(windows) = &setup.calibration else { return };
    let decoders: Vec<&Decoder> = arms.iter().map(|arm| &arm.decoder).collect();
    let errors = caught(|| block_errors(dense, &decoders, &windows.tokens));
    match errors {
        Ok(errors) => {
            for (slot, blocks) in seen.iter_mut().zip(errors) {
                if let Ok(seen) = slot {
                    seen.block_errors = Some(blocks);
                }
            }
        }
        Err(panic) => {
            for seen in seen.iter_mut().flatten() {
                seen.block_errors = Some(Err(format!("panicked: {panic}")));
            }
        }
    }
}

/// Asks every arm the questions of the bench, and the dense model too where arms are held against its choices.
fn ask_all(
    model: &LoadedModel,
    arms: &[&Prepared],
    tasks: &Tasks,
    beside_dense: bool,
    seen: &mut [Watched],
    progress: &mut dyn FnMut(usize, usize),
) {
    let enter = |slot: &mut Watched, stage: &str, outcome: Result<Result<(), String>, String>| {
        if let Err(reason) = outcome.map_err(|panic| format!("panicked: {panic}")).and_then(|outcome| outcome) {
            *slot = Err(Failure { stage: stage.to_owned(), reason });
        }
    };
    let dense = tasks.choices.as_ref().filter(|_| beside_dense);
    let dense = dense.map(|choices| caught(|| choices.choose(&model.decoder, progress)).and_then(|chosen| chosen));
    for (arm, slot) in arms.iter().zip(seen.iter_mut()) {
        if let (Some(choices), Ok(seen)) = (&tasks.choices, &mut *slot) {
            let outcome = caught(|| {
                if let Some(dense) = &dense {
                    seen.dense_chosen = dense.clone()?;
                }
                seen.chosen = (choices.choose(&arm.decoder, progress)?, choices.protocol.clone());
                Ok(())
            });
            enter(slot, "choices", outcome);
        }
        if let (Some(questions), Ok(seen)) = (&tasks.questions, &mut *slot) {
            let total = questions.asked.len();
            let outcome = caught(|| {
                let tokenizer = model.tokenizer().map_err(|error| error.to_string())?;
                let greedy =
                    |name: &str| Chain::build(&[Arm::new("greedy")], 0, name).map_err(|error| error.to_string());
                let answered =
                    questions.answer(&arm.decoder, tokenizer, &greedy, &mut Read::default(), &mut |done| {
                        progress(done, total);
                    })?;
                seen.answered = (answered, questions.protocol.clone());
                Ok(())
            });
            enter(slot, "questions", outcome);
        }
    }
}

/// Asks every arm what is a bench's data: for what stands in long contexts, or for sums.
fn retrieve_all(
    model: &LoadedModel,
    arms: &[&Prepared],
    asked: &Asked,
    protocol: &str,
    seen: &mut [Watched],
    progress: &mut dyn FnMut(usize, usize),
) {
    for (arm, slot) in arms.iter().zip(seen.iter_mut()) {
        let Ok(seen) = slot else { continue };
        let outcome = caught(|| {
            let tokenizer = model.tokenizer().map_err(|error| error.to_string())?;
            asked.ask(&arm.decoder, tokenizer, progress)
        });
        match outcome.map_err(|panic| format!("panicked: {panic}")).and_then(|outcome| outcome) {
            Ok(found) => seen.retrieved = (found, protocol.to_owned()),
            Err(reason) => *slot = Err(Failure { stage: "contexts".to_owned(), reason }),
        }
    }
}

fn time_all(dense: &Decoder, arms: &[&Prepared], settings: &Settings, seen: &mut [Watched]) {
    let clock = Clock {
        rounds: settings.rounds,
        prefill_tokens: settings.prefill_tokens,
        decode_tokens: settings.decode_tokens,
        warm_up: Duration::from_millis(20),
    };
    // Weights that only siblings hold lie in memory too and are not this arm's.
    let own: Vec<u64> = arms.iter().map(|arm| arm.decoder.bytes_not_shared_with(dense)).collect();
    let held_before =
        |at: usize| arms[..at].iter().any(|arm| arms[at].decoder.bytes_not_shared_with(&arm.decoder) == 0);
    // Arms that differ in what is kept of a text share their weights.
    let all: u64 = (0..arms.len()).filter(|&at| !held_before(at)).map(|at| own[at]).sum();
    let numbers = clock::round_numbers(clock.rounds);
    for round in 0..=clock.rounds {
        for ((arm, own), slot) in arms.iter().zip(&own).zip(seen.iter_mut()) {
            let Ok(seen) = slot else { continue };
            if arm.taken.as_ref().is_some_and(|taken| !taken.packed) {
                // Codes that were written back as f32 have no speed of their own.
                continue;
            }
            memory::reset_peak();
            let outcome = caught(|| match round {
                0 => clock::warm_up(&arm.decoder, &clock),
                _ => clock::round(&arm.decoder, &clock, &mut seen.throughput),
            });
            let peak = memory::peak_bytes().map(|peak| peak.saturating_sub(all - own));
            seen.peak = seen.peak.max(peak);
            let reason = match outcome {
                Ok(Ok(())) => {
                    seen.throughput.rounds.extend(round.checked_sub(1).map(|round| numbers[round]));
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("panicked: {panic}"),
            };
            *slot = Err(Failure { stage: "time".to_owned(), reason });
        }
    }
}
