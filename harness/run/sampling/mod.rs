//! Benches of samplers: what a chain leaves of the next-token distributions of a given text, whether its draws obey
//! that, what text it writes, and what it costs.

pub(crate) mod bench;
mod clock;
pub(crate) mod estimate;
mod judged;
mod judged_metrics;
mod law;
mod matching;
mod measure;
pub mod metrics;
mod recipe;
mod steps;
mod texts;
mod truth;

use harness_core::Domain;

pub use clock::SamplerTimes;
pub use judged::{Judged, Weight};
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
        /// Tokens of the text that a written text goes on from: the first of each window; 1: the begin mark alone.
        prompt_tokens: usize = 1, Domain::closed(1.0, 1_000_000.0);
        /// The second model of arms that need one: the draft of `speculative`, the amateur of `contrastive-decoding`.
        second: String = String::new();
        /// A model that reads the written texts beside those of people.
        judge: String = String::new();
        /// Interleaved rounds of every timed metric.
        rounds: usize = 5, Domain::closed(1.0, 1000.0);
    }
}

/// What an arm is measured by.
#[derive(Debug, Default)]
pub struct Sampled {
    /// The arm is a decoder, which calls the model itself and leaves nothing of single steps.
    pub decoder: bool,
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
    /// What the judge says of that.
    pub judged: Option<Judged>,
    /// What it costs.
    pub times: SamplerTimes,
}
