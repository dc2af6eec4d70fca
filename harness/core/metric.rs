//! What a metric is.

use serde::{Deserialize, Serialize};

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Larger is better.
    Higher,
    /// Smaller is better.
    Lower,
    /// Neither; it describes.
    Neutral,
}

/// What makes two measurements of the same thing differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Noise {
    /// Nothing: the same bits are expected.
    Exact,
    /// The choice of windows or prompts; arms are paired on them.
    Sampled,
    /// The clock.
    Timed,
}

/// The pass over a model that feeds a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// Looks at the prepared weights only.
    Static,
    /// Scores text.
    Score,
    /// Generates text.
    Generate,
    /// Times passes.
    Time,
    /// Applies samplers to the next-token distributions of a given text.
    Step,
    /// Draws with samplers, to see whether the draws follow what the samplers left.
    Draw,
    /// Times samplers.
    SamplerTime,
    /// Weighs given answers to questions.
    Choose,
    /// Answers questions.
    Answer,
    /// Asks for what stands in a long context.
    Retrieve,
}

/// How raw samples become the value of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// There is one number.
    Single,
    /// `Σ sample / Σ weight`.
    Ratio,
    /// `exp(Σ sample / Σ weight)`: perplexity from summed negative log-likelihoods and token counts.
    ExpRatio,
    /// The middle sample.
    Median,
}

impl Reduction {
    /// Reduces samples; `weights` are read by the ratio forms only. `None` without samples or without weight.
    pub fn reduce(self, samples: &[f64], weights: &[f64]) -> Option<f64> {
        match self {
            Self::Single => samples.first().copied(),
            Self::Ratio | Self::ExpRatio => {
                let weight: f64 = weights.iter().sum();
                let ratio = samples.iter().sum::<f64>() / weight;
                (weight > 0.0).then_some(if self == Self::ExpRatio { ratio.exp() } else { ratio })
            }
            Self::Median => {
                let mut sorted = samples.to_vec();
                sorted.sort_unstable_by(f64::total_cmp);
                let middle = sorted.len() / 2;
                let high = sorted.get(middle).copied()?;
                Some(if sorted.len() % 2 == 1 { high } else { f64::midpoint(sorted[middle - 1], high) })
            }
        }
    }
}

/// What a metric can be taken apart along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Along {
    /// The word in suites.
    pub word: &'static str,
    /// What stands at the axis of a chart.
    pub label: &'static str,
}

/// What is known of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricSpec {
    /// Id as written in suites.
    pub id: &'static str,
    /// One line: what it is.
    pub about: &'static str,
    /// Unit of the value (`nats`, `tokens/s`, `bytes`, `1` for a plain ratio).
    pub unit: &'static str,
    /// Which way is good.
    pub direction: Direction,
    /// What makes it noisy.
    pub noise: Noise,
    /// The pass that feeds it.
    pub probe: Probe,
    /// How its samples become its value.
    pub reduction: Reduction,
    /// Whether it needs the dense model beside the arm.
    pub needs_dense: bool,
    /// The key of a bench without which it cannot be measured.
    pub needs: Option<&'static str>,
    /// What its observations are taken apart along, if anything.
    pub along: Option<Along>,
    /// Raised whenever its definition changes; part of every cell id.
    pub version: u32,
}

#[cfg(test)]
mod tests {
    use super::Reduction;

    #[test]
    fn reductions_have_known_answers() {
        assert_eq!(Reduction::Median.reduce(&[3.0, 1.0, 2.0, 10.0], &[]), Some(2.5));
        assert_eq!(Reduction::Ratio.reduce(&[3.0, 1.0], &[2.0, 2.0]), Some(1.0));
        assert_eq!(Reduction::ExpRatio.reduce(&[0.0], &[4.0]), Some(1.0));
        assert_eq!(Reduction::ExpRatio.reduce(&[], &[]), None);
    }
}
