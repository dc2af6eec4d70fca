//! Time of a step and bytes of the cache against the length of what was read before, by a method of the position axis.
//!
//! ```text
//! cargo run --release -p harness-run --example decode_length -- MODEL 'lm-infinite(window=2048)' 4096 32768
//! ```
//!
//! The cache is filled with one read piece again and again, which a step takes as long over as over any other text.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use harness_core::Arm;
use harness_run::inputs::Inputs;
use harness_run::position::placed;

/// Tokens that are read at a time.
const PIECE: usize = 512;
/// Steps timed at every length.
const STEPS: usize = 24;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, arm, lengths @ ..] = &arguments[..] else {
        return Err("give a model, an arm of the position axis, and lengths".into());
    };
    let arm: Arm = arm.parse()?;
    let loaded = Inputs::from_environment()?.model(model)?;
    let (decoder, _) = placed(&loaded.decoder, &arm)?;
    let tokens: Vec<u32> = (0..PIECE as u32).map(|i| 1000 + i * 37 % 4000).collect();
    for length in lengths {
        let length: usize = length.parse()?;
        let mut cache = decoder.new_cache();
        let mut piece = decoder.new_cache();
        decoder.logits_last(&tokens, &mut piece)?;
        while cache.len() + PIECE <= length {
            cache.extend(&piece)?;
        }
        let mut seconds = Vec::with_capacity(STEPS);
        for step in 0..STEPS as u32 {
            let started = Instant::now();
            decoder.logits_last(&[1000 + step], &mut cache)?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[STEPS / 2];
        println!(
            "{arm} at {length}: {:.2} ms a step, {:.1} tokens/s, cache {:.1} MiB",
            median * 1e3,
            1.0 / median,
            cache.live_bytes() as f64 / f64::from(1 << 20)
        );
    }
    Ok(())
}
