//! Why two observations are not subtracted.

use serde::{Deserialize, Serialize};

/// Why two observations cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// They are of different metrics.
    #[error("`{a}` and `{b}` are different metrics")]
    Metric {
        /// Metric of the first.
        a: String,
        /// Metric of the second.
        b: String,
    },
    /// Their values come about differently.
    #[error("the values of `{metric}` are reduced differently on the two sides; one side is of another version")]
    Reduction {
        /// The metric.
        metric: String,
    },
    /// They were measured differently.
    #[error("different protocols are never subtracted: `{a}` against `{b}`")]
    Protocol {
        /// Protocol of the first.
        a: String,
        /// Protocol of the second.
        b: String,
    },
    /// They have different numbers of samples.
    #[error("{a} samples cannot be paired with {b}")]
    Count {
        /// Samples of the first.
        a: usize,
        /// Samples of the second.
        b: usize,
    },
    /// The samples weigh differently, so they are not of the same text.
    #[error("sample {index} weighs {a} on one side and {b} on the other, so the samples are not of the same items")]
    Weight {
        /// First sample that differs, from 0.
        index: usize,
        /// Its weight in the first, as text.
        a: String,
        /// Its weight in the second, as text.
        b: String,
    },
    /// The samples belong to different documents.
    #[error("sample {index} belongs to different documents on the two sides")]
    Cluster {
        /// First sample that differs, from 0.
        index: usize,
    },
    /// A sample or the value of a side is NaN or infinite.
    #[error("{side} has no finite value: {what}")]
    NotFinite {
        /// `a` or `b`.
        side: String,
        /// Which samples, or that the value itself is not.
        what: String,
    },
    /// One side has no number.
    #[error("there is no number on one side: {reason}")]
    Absent {
        /// Why.
        reason: String,
    },
    /// Clocks of different machines.
    #[error("times of different machines are never compared: `{a}` against `{b}`")]
    Host {
        /// Host class of the first.
        a: String,
        /// Host class of the second.
        b: String,
    },
    /// Clocks of a build without optimisation.
    #[error("times of a `{profile}` build are never compared; build with --release")]
    Build {
        /// The profile.
        profile: String,
    },
}
