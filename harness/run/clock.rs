//! The time probe: prefill and decode throughput in interleaved rounds.

use std::time::{Duration, Instant};

use harness_model::decoder::Decoder;
use harness_model::error::ModelError;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Rounds; every arm is measured once a round.
    pub rounds: usize,
    /// Prompt tokens.
    pub prefill_tokens: usize,
    /// Generated tokens; 0 leaves decode out.
    pub decode_tokens: usize,
    /// Each arm runs for at least this long before the first round.
    pub warm_up: Duration,
}

/// Throughput of one arm, a value a round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Throughput {
    /// Prompt tokens a second.
    pub prefill: Vec<f64>,
    /// Generated tokens a second.
    pub decode: Vec<f64>,
    /// The round of each value; arms that were timed in turns share these numbers, and no others do.
    pub rounds: Vec<u32>,
}

/// Numbers for `count` rounds that begin now. They follow from the clock and the process, so that rounds of another group,
/// or of a run that was killed and went on, have other numbers.
pub fn round_numbers(count: usize) -> Vec<u32> {
    use sha2::{Digest, Sha256};
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update(now.as_nanos().to_le_bytes());
    hasher.update(std::process::id().to_le_bytes());
    let first = hasher.finalize()[..4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    (0..count as u32).map(|round| first.wrapping_add(round)).collect()
}

/// Times one arm once.
///
/// # Errors
/// The decoder's.
pub fn round(decoder: &Decoder, clock: &Clock, into: &mut Throughput) -> Result<(), ModelError> {
    let prompt = prompt(decoder, clock.prefill_tokens);
    let mut cache = decoder.new_cache();
    let started = Instant::now();
    let mut logits = decoder.logits_last(&prompt, &mut cache)?;
    into.prefill.push(clock.prefill_tokens as f64 / started.elapsed().as_secs_f64());
    if clock.decode_tokens > 0 {
        let started = Instant::now();
        for _ in 0..clock.decode_tokens {
            let token = harness_kernels::logits::statistics(&logits).argmax;
            logits = decoder.logits_last(&[token], &mut cache)?;
        }
        into.decode.push(clock.decode_tokens as f64 / started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Runs an arm until it has been warm for as long as the clock says.
///
/// # Errors
/// The decoder's.
pub fn warm_up(decoder: &Decoder, clock: &Clock) -> Result<(), ModelError> {
    let started = Instant::now();
    loop {
        round(decoder, clock, &mut Throughput::default())?;
        if started.elapsed() >= clock.warm_up {
            return Ok(());
        }
    }
}

/// A fixed prompt that every arm shares: token ids spread over the vocabulary.
fn prompt(decoder: &Decoder, tokens: usize) -> Vec<u32> {
    let vocabulary = decoder.config().vocab_size as u64;
    (0..tokens as u64).map(|index| (index.wrapping_mul(2_654_435_761) % vocabulary) as u32).collect()
}
