//! How long the metrics with hot loops take on 1000 texts of 256 tokens with embeddings of 384 values:
//!
//! ```text
//! cargo run --release -p harness-judge --example judge_speed [-- TEXTS]
//! ```
#![allow(clippy::print_stdout, reason = "what it is for")]

use std::time::Instant;

use harness_core::seed;
use harness_judge::manifold::Manifold;
use harness_judge::mauve::Mauve;
use harness_judge::self_bleu::SelfBleu;
use harness_judge::zeta::TruncatedZeta;
use harness_judge::{JudgeError, Rows, dna_gpt};
use rand_chacha::rand_core::Rng;

const DIMENSION: usize = 384;
const TOKENS: usize = 256;

fn timed<T>(what: &str, work: impl FnOnce() -> Result<T, JudgeError>) -> Result<T, JudgeError> {
    let start = Instant::now();
    let found = work()?;
    println!("{what:44} {:8.3} s", start.elapsed().as_secs_f64());
    Ok(found)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let texts: usize = std::env::args().nth(1).map_or(Ok(1000), |count| count.parse())?;
    let mut random = seed::stream(1, &["speed"]);
    // A few directions with most of the variance, as embeddings have.
    let mut embed = |shift: f32| -> Vec<f32> {
        let mut uniform = || (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        (0..texts * DIMENSION).map(|i| (uniform() + shift) / (1.0 + (i % DIMENSION) as f32 / 32.0)).collect()
    };
    let (human, generated) = (embed(0.0), embed(0.02));
    let (human, generated) = (Rows::new(&human, DIMENSION)?, Rows::new(&generated, DIMENSION)?);
    let law = TruncatedZeta::new(1.0, 50_000)?;
    let mut random = seed::stream(2, &["speed"]);
    let tokens: Vec<Vec<u32>> =
        (0..texts).map(|_| (0..TOKENS).map(|_| law.draw(&mut random) as u32).collect()).collect();
    println!("{texts} texts of {TOKENS} tokens, embeddings of {DIMENSION}, {} threads", rayon::current_num_threads());
    let near = timed("mauve (5 starts of k-means)", || Mauve::default().of_embeddings(&human, &generated))?;
    timed("precision and recall (k = 3)", || Manifold::new(&human, 3)?.overlap(&Manifold::new(&generated, 3)?))?;
    timed("self-BLEU-5 of every text", || SelfBleu { longest: 5, ..SelfBleu::default() }.scores(&tokens))?;
    timed("DNA-GPT of one text, all others regenerated", || {
        dna_gpt::dna_bscore(&tokens[0], &tokens[1..], dna_gpt::LENGTHS)
    })?;
    println!("mauve {:.4} on {} components, {} clusters", near.mauve, near.components, near.counts.len());
    Ok(())
}
