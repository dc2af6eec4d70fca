//! The sampler clock: microseconds of a step, draw included, in interleaved rounds.

use std::time::Instant;

use harness_core::seed::stream;
use harness_methods::sample::{Chain, Past};
use harness_model::decoder::Decoder;
use rand_chacha::rand_core::Rng;

use crate::clock::round_numbers;
use crate::sampling::recipe::Recipe;

/// Vocabularies of the made-up rows: those of Llama 2, Llama 3 and Gemma.
pub const VOCABULARIES: [usize; 3] = [32_000, 128_256, 256_000];
/// Steps of one time.
const STEPS: usize = 4;
/// Tokens of the past that stages look back on.
const PAST: usize = 1024;
/// Tokens of the prompt before timed decode steps, and those steps.
const DECODE: (usize, usize) = (64, 16);

/// Microseconds of a step of one arm, a value a round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SamplerTimes {
    /// On the model's rows.
    pub own: Vec<f64>,
    /// On peaked rows, by [`VOCABULARIES`].
    pub peaked: Vec<Vec<f64>>,
    /// On flat rows, by [`VOCABULARIES`].
    pub flat: Vec<Vec<f64>>,
    /// A decode step of the model in the same round.
    pub decode: Vec<f64>,
    /// The round of each value.
    pub rounds: Vec<u32>,
}

/// Made-up rows: logits of a normal distribution of deviation 3, or uniform ones within one nat of zero.
fn made_up(vocabulary: usize, peaked: bool) -> Vec<f32> {
    let mut random = stream(11, &["made-up row", &vocabulary.to_string(), &peaked.to_string()]);
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut logit = || {
        let (u, v) = (uniform(), uniform());
        let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        if peaked { 3.0 * normal } else { 2.0 * u - 1.0 }
    };
    (0..vocabulary).map(|_| logit() as f32).collect()
}

/// Times every arm once a round, in turns. An arm that cannot take a step is left with the reason.
pub fn times(
    decoder: &Decoder,
    recipes: &[&Recipe],
    rows: &[(Vec<f32>, Vec<u32>)],
    rounds: usize,
) -> Vec<Result<SamplerTimes, String>> {
    let peaked: Vec<Vec<f32>> = VOCABULARIES.iter().map(|size| made_up(*size, true)).collect();
    let flat: Vec<Vec<f32>> = VOCABULARIES.iter().map(|size| made_up(*size, false)).collect();
    let past: Vec<u32> = (0..PAST as u32).map(|at| at.wrapping_mul(2_654_435_761) % 1000).collect();
    let mut seen: Vec<Result<(Chain, SamplerTimes), String>> = recipes
        .iter()
        .map(|recipe| {
            let chain = recipe.chain("clock")?;
            // The head of the model says nothing of other vocabularies.
            let lists = vec![Vec::new(); if recipe.basis.is_some() { 0 } else { VOCABULARIES.len() }];
            Ok((chain, SamplerTimes { peaked: lists.clone(), flat: lists, ..SamplerTimes::default() }))
        })
        .collect();
    // A round before the first one warms up.
    let numbers = round_numbers(rounds);
    for round in std::iter::once(None).chain(numbers.into_iter().map(Some)) {
        let decode = decode_step(decoder);
        for slot in &mut seen {
            let Ok((chain, times)) = slot else { continue };
            let outcome = (|| -> Result<(), String> {
                let step = decode.clone()?;
                let own = own(chain, rows)?;
                let of = |chain: &mut Chain, rows: &[Vec<f32>]| -> Result<Vec<f64>, String> {
                    rows.iter().take(times.flat.len()).map(|row| microseconds(chain, row, &past, STEPS)).collect()
                };
                let (steep, even) = (of(chain, &peaked)?, of(chain, &flat)?);
                let Some(round) = round else { return Ok(()) };
                times.own.push(own);
                times.decode.push(step);
                times.rounds.push(round);
                times.peaked.iter_mut().zip(steep).for_each(|(list, time)| list.push(time));
                times.flat.iter_mut().zip(even).for_each(|(list, time)| list.push(time));
                Ok(())
            })();
            if let Err(reason) = outcome {
                *slot = Err(reason);
            }
        }
    }
    seen.into_iter().map(|slot| slot.map(|(_, times)| times)).collect()
}

fn own(chain: &mut Chain, rows: &[(Vec<f32>, Vec<u32>)]) -> Result<f64, String> {
    let mut sum = 0.0;
    for (row, past) in rows {
        sum += microseconds(chain, row, past, 1)?;
    }
    Ok(sum / rows.len() as f64)
}

fn microseconds(chain: &mut Chain, row: &[f32], past: &[u32], steps: usize) -> Result<f64, String> {
    chain.reset();
    let started = Instant::now();
    for _ in 0..steps {
        chain.next(row, Past { prompt: &[], generated: past }).map_err(|error| error.to_string())?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / steps as f64)
}

/// Microseconds of one decode step of the model.
fn decode_step(decoder: &Decoder) -> Result<f64, String> {
    let vocabulary = decoder.config().vocab_size as u32;
    let prompt: Vec<u32> = (0..DECODE.0 as u32).map(|at| at.wrapping_mul(2_654_435_761) % vocabulary).collect();
    let run = || {
        let mut cache = decoder.new_cache();
        decoder.logits_last(&prompt, &mut cache)?;
        let started = Instant::now();
        for token in &prompt[..DECODE.1] {
            decoder.logits_last(&[*token], &mut cache)?;
        }
        Ok::<_, harness_model::error::ModelError>(started.elapsed().as_secs_f64() * 1e6 / DECODE.1 as f64)
    };
    run().map_err(|error| error.to_string())
}
