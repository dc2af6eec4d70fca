//! Benches of samplers: what a chain leaves of the next-token distributions of a given text, whether its draws obey
//! that, what text it writes, and what it costs.

pub(crate) mod bench;
mod clock;
pub(crate) mod estimate;
mod law;
mod matching;
pub mod metrics;
mod steps;
mod texts;
mod truth;

use harness_core::{Arm, Domain};
use harness_methods::sample::{Chain, ChainError};

pub use clock::SamplerTimes;
pub use law::LawTest;
pub use steps::{ENTROPY_EDGES, StepSums};
pub use texts::WrittenText;

harness_core::parameters! {
    /// Scalar keys of a `sampling` bench.
    pub struct SamplingSettings {
        /// Share of the uniform distribution in a mixture with the language's own, which then stands for the model's; unset: the
        /// model.
        smoothing: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Draws of the test of the law.
        draws: usize = 20_000, Domain::closed(1000.0, 100_000_000.0);
        /// Texts that are written.
        sequences: usize = 32, Domain::closed(1.0, 1_000_000.0);
        /// Tokens of a written text, at most.
        sequence_tokens: usize = 64, Domain::closed(1.0, 1_000_000.0);
        /// Interleaved rounds of every timed metric.
        rounds: usize = 5, Domain::closed(1.0, 1000.0);
    }
}

/// What an arm is measured by.
#[derive(Debug, Default)]
pub struct Sampled {
    /// What was found for the parameter of a matched chain.
    pub setting: Option<f64>,
    /// Sums over the steps of each window.
    pub steps: Vec<StepSums>,
    /// Whether the true distribution of the text is known.
    pub truth_known: bool,
    /// The test of the draws.
    pub law: Option<LawTest>,
    /// What it wrote.
    pub texts: Vec<WrittenText>,
    /// What it costs.
    pub times: SamplerTimes,
}

/// A chain of one sequence.
pub(crate) fn chain(arms: &[Arm], seed: u64, sequence: &str) -> Result<Chain, ChainError> {
    Chain::build(arms, seed, sequence)
}
