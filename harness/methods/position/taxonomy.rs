//! What kind of method a method of the position axis is: where it belongs, what it changes, whether it is meant to be trained with.
//!
//! The classes are those of Zhao et al. (2024), Length extrapolation of transformers: a survey from the perspective of positional
//! encoding, with attention that is masked or remapped beside them.

use std::fmt;

/// How a model tells positions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Rotary embeddings.
    Rotary,
    /// Biases on scores, linear in the distance.
    LinearBiases,
    /// Other biases by distance.
    Biases,
    /// Rotary embeddings whose scores fall with the distance.
    Xpos,
    /// A learned table of positions.
    Learned,
    /// Only by the causal mask.
    None,
    /// By the states of a scan; nothing attends.
    StateSpace,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rotary => "rotary embeddings",
            Self::LinearBiases => "linear biases (ALiBi)",
            Self::Biases => "biases by distance",
            Self::Xpos => "decaying rotary embeddings (xPos)",
            Self::Learned => "a learned table of positions",
            Self::None => "no position scheme",
            Self::StateSpace => "state spaces, where nothing attends",
        })
    }
}

/// Where a method belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing is done.
    Identity,
    /// Relative positions by multiplication: rotary embeddings with other frequencies.
    Multiplicative,
    /// Positions beyond training are put between those of training.
    Interpolation,
    /// Queries look at fewer keys, or at keys at other distances.
    MaskOrRemap,
    /// Scores are sharpened with the length.
    Temperature,
}

/// What a method changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Rotary frequencies.
    Frequencies,
    /// Where queries and keys are turned to.
    Distances,
    /// Which keys queries see.
    Mask,
    /// How sharp the softmax is.
    Temperature,
}

/// Whether weights are meant to be trained with a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Training {
    /// It is meant for weights as they are.
    Free,
    /// It works on weights as they are, and better after a short training with it.
    Helps,
    /// It is meant for weights trained on with it; without, it is an ablation.
    Needed,
}

/// What is known of a method besides its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Where it belongs.
    pub class: Class,
    /// What it changes.
    pub changes: &'static [Change],
    /// Whether it is trained with.
    pub training: Training,
}

impl Kind {
    /// A method that does nothing.
    pub const IDENTITY: Self = Self { class: Class::Identity, changes: &[], training: Training::Free };

    /// Interpolated frequencies.
    pub const fn interpolation(training: Training) -> Self {
        Self { class: Class::Interpolation, changes: &[Change::Frequencies], training }
    }

    /// Interpolated frequencies and a temperature.
    pub const TEMPERED: Self = Self {
        class: Class::Interpolation,
        changes: &[Change::Frequencies, Change::Temperature],
        training: Training::Helps,
    };

    /// Queries look elsewhere.
    pub const fn remap(changes: &'static [Change]) -> Self {
        Self { class: Class::MaskOrRemap, changes, training: Training::Free }
    }

    /// Whether rotary frequencies become others.
    pub fn rewrites_frequencies(self) -> bool {
        self.changes.contains(&Change::Frequencies)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            Class::Identity => "identity",
            Class::Multiplicative => "multiplicative",
            Class::Interpolation => "interpolation",
            Class::MaskOrRemap => "mask or remap",
            Class::Temperature => "temperature",
        };
        let changes: Vec<&str> = (self.changes.iter())
            .map(|change| match change {
                Change::Frequencies => "frequencies",
                Change::Distances => "distances",
                Change::Mask => "mask",
                Change::Temperature => "temperature",
            })
            .collect();
        let training = match self.training {
            Training::Free => "for weights as they are",
            Training::Helps => "better after training with it",
            Training::Needed => "for weights trained with it",
        };
        let changes = if changes.is_empty() { "nothing".to_owned() } else { changes.join(", ") };
        write!(f, "{class}; changes {changes}; {training}")
    }
}
