//! `recipe.toml`: everything a training run is a function of.

mod check;

use harness_core::Arm;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::TrainError;
use super::adamw::AdamW;
use super::places::PlacesRecipe;
use super::schedule::Schedule;
use crate::config::{Activation, Config, DistanceBias, NormKind, PositionScheme, RopeStyle, StateSpaceShape};
use crate::ops::Groups;

/// A training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of this format; 1.
    pub format: u32,
    /// Name of the model.
    pub name: String,
    /// One sentence about it.
    pub about: String,
    /// The model that training begins from: a name of the catalogue, a file or a folder. Random weights unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// What is trained.
    pub architecture: ArchitectureRecipe,
    /// On what.
    pub data: DataRecipe,
    /// How.
    pub training: TrainingRecipe,
}

/// Shape of the decoder: RMSNorm, half-split rotary positions, SwiGLU, no biases; or state spaces in the place of attention and the
/// feed-forward part, whose keys are then left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchitectureRecipe {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward part.
    #[serde(default, skip_serializing_if = "is_default")]
    pub feed_forward: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    #[serde(default, skip_serializing_if = "is_default")]
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kv_heads: usize,
    /// Dimensions of a head.
    #[serde(default, skip_serializing_if = "is_default")]
    pub head_dim: usize,
    /// Base of the rotary frequencies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rope_theta: f64,
    /// How positions are told apart.
    #[serde(default, skip_serializing_if = "is_default")]
    pub position: PositionRecipe,
    /// What is done to the rotary frequencies of the model that training begins from, in training and wherever the result is loaded: an arm
    /// of the axis of positions, `linear(factor=4)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<String>,
    /// State spaces instead of attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_space: Option<StateSpaceRecipe>,
    /// The head is the embedding.
    pub tied_head: bool,
}

/// Sizes of selective state spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSpaceRecipe {
    /// Channels of a scan.
    pub channels: usize,
    /// States of a channel.
    pub states: usize,
    /// Inputs that the convolution sees.
    pub taps: usize,
    /// Numbers that the steps of a token are made of.
    pub step_rank: usize,
}

/// The states that a window is read from, where windows follow one another in streams (LongSSM; 2024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateRecipe {
    /// Zeros, as if nothing stood before the window.
    Zero,
    /// Those behind the window before it in its stream; no gradient flows into them.
    Previous,
}

/// What is as it always was is not written down, so that the identity of older runs stays.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How a decoder tells positions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PositionRecipe {
    /// Rotary embeddings.
    #[default]
    Rope,
    /// Rotary embeddings whose scores fall with the distance.
    Xpos,
    /// Linear biases.
    Alibi,
    /// Only the causal mask.
    None,
    /// Learned biases of buckets of distances.
    T5,
    /// Learned logarithmic biases.
    KerpleLog,
    /// Learned powers.
    KerplePower,
    /// Biases of the series of `1/n²`.
    InverseSquare,
    /// Biases of the series of `e^(−ln² n)`.
    LogSquare,
    /// Biases of the series of `1/n`.
    Inverse,
    /// What sinusoidal embeddings have in common.
    Sandwich,
    /// A learned net of relative distances.
    Fire,
}

impl PositionRecipe {
    fn scheme(self, shape: &ArchitectureRecipe) -> PositionScheme {
        let theta = shape.rope_theta;
        match self {
            Self::Rope => PositionScheme::Rope { theta, rotary: shape.head_dim, style: RopeStyle::HalfSplit },
            Self::Xpos => PositionScheme::Xpos { theta, scale: 512.0 },
            Self::Alibi => PositionScheme::Alibi,
            Self::None => PositionScheme::None,
            Self::T5 => PositionScheme::Biases(DistanceBias::T5),
            Self::KerpleLog => PositionScheme::Biases(DistanceBias::KerpleLog),
            Self::KerplePower => PositionScheme::Biases(DistanceBias::KerplePower),
            Self::InverseSquare => PositionScheme::Biases(DistanceBias::InverseSquare),
            Self::LogSquare => PositionScheme::Biases(DistanceBias::LogSquare),
            Self::Inverse => PositionScheme::Biases(DistanceBias::Inverse),
            Self::Sandwich => PositionScheme::Biases(DistanceBias::Sandwich),
            Self::Fire => PositionScheme::Biases(DistanceBias::Fire),
        }
    }
}

/// The text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Name of the data set.
    pub corpus: String,
    /// Split trained on.
    pub train: String,
    /// Split scored along the way.
    pub valid: String,
    /// Windows of it.
    pub valid_windows: usize,
    /// Tokens of context.
    pub context: usize,
    /// Where they stand.
    #[serde(default, skip_serializing_if = "is_default")]
    pub places: PlacesRecipe,
    /// Largest factor that places are drawn for, where they are `scaled` or `stretched`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<usize>,
    /// Share of a step's tokens that stands in windows of the length that the first model was trained at, with the frequencies that
    /// `positions` have there (LongRoPE2; Shang et al., 2025). They are cut from the step's own windows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub short_share: f64,
}

/// What tokens of a training window attend to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionRecipe {
    /// All before them.
    #[default]
    Full,
    /// Those before them in the same quarter of the window.
    Groups,
    /// As `groups`, and for half of the heads in quarters that lie half a quarter further on (S²-Attn; Chen et al., 2024). The model that
    /// comes of it attends to everything.
    ShiftedGroups,
}

/// Groups in a window.
const GROUPS: usize = 4;

/// The optimisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecipe {
    /// Seed of the first weights and of the order of the data.
    pub seed: u64,
    /// Tokens predicted, rounded up to whole steps.
    pub tokens: u64,
    /// Windows a step.
    pub batch: usize,
    /// What windows of decoders of state spaces are read from. Where it is given, window `n` of every step goes on where window `n` of the step
    /// before ended, in one of as many streams; where it is not, windows are drawn and read from zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateRecipe>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Share of the steps spent warming up.
    pub warmup: f64,
    /// Final learning rate as a share of the peak.
    pub final_share: f64,
    /// Decay of matrices; embeddings, norms and biases have none.
    pub weight_decay: f64,
    /// Decay of the mean gradient.
    pub beta1: f64,
    /// Decay of the mean squared gradient.
    pub beta2: f64,
    /// Added to the root of the mean squared gradient.
    pub epsilon: f64,
    /// Largest norm of the whole gradient.
    pub clip: f64,
    /// Steps between scorings of the validation text.
    pub evaluate_every: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// What tokens attend to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attention: AttentionRecipe,
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// [`TrainError::Parse`] with the place, or [`TrainError::Recipe`] with the range.
    pub fn parse(text: &str) -> Result<Self, TrainError> {
        let recipe: Self = toml::from_str(text).map_err(|error| TrainError::Parse(error.to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Groups of tokens that attend to each other alone, where not all do.
    pub(crate) fn groups(&self) -> Option<Groups> {
        let shifted = match self.training.attention {
            AttentionRecipe::Full => return None,
            AttentionRecipe::Groups => false,
            AttentionRecipe::ShiftedGroups => true,
        };
        Some(Groups { size: self.data.context / GROUPS, shifted })
    }

    /// What is done to the rotary frequencies, where anything is.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] for what is no arm.
    pub(crate) fn scaling_arm(&self) -> Result<Option<Arm>, TrainError> {
        let Some(text) = &self.architecture.positions else { return Ok(None) };
        let arm = text.parse().map_err(|error| TrainError::Recipe {
            key: "architecture.positions",
            value: text.clone(),
            allowed: format!("an arm of the axis of positions, `linear(factor=4)` ({error})"),
        })?;
        Ok(Some(arm))
    }

    /// Steps of the run.
    pub fn steps(&self) -> usize {
        self.training.tokens.div_ceil((self.training.batch * self.data.context) as u64) as usize
    }

    /// Learning rate of each step.
    pub fn schedule(&self) -> Schedule {
        let steps = self.steps();
        Schedule {
            peak: self.training.learning_rate,
            warmup: (self.training.warmup * steps as f64).round() as usize,
            steps,
            final_share: self.training.final_share,
        }
    }

    /// Constants of the optimizer.
    pub fn optimizer(&self) -> AdamW {
        AdamW { beta1: self.training.beta1, beta2: self.training.beta2, epsilon: self.training.epsilon }
    }

    /// The decoder's configuration over a vocabulary.
    pub fn config(&self, vocabulary: usize, begin: Option<u32>, end: Option<u32>) -> Config {
        let shape = &self.architecture;
        let (architecture, inner, position) = match shape.state_space {
            Some(StateSpaceRecipe { channels, states, taps, step_rank }) => {
                ("mamba", channels, PositionScheme::StateSpace(StateSpaceShape { states, taps, step_rank }))
            }
            None => ("llama", shape.feed_forward, shape.position.scheme(shape)),
        };
        Config {
            architecture: architecture.to_owned(),
            vocab_size: vocabulary,
            hidden_size: shape.hidden,
            intermediate_size: inner,
            layers: shape.layers,
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            max_positions: self.data.context * self.data.scales.unwrap_or(1),
            norm: NormKind::Rms,
            norm_epsilon: 1e-5,
            activation: Activation::Silu,
            gated: true,
            position,
            scaling: None,
            qkv_bias: false,
            output_bias: false,
            widths: Vec::new(),
            shortcuts: false,
            reads: Vec::new(),
            mlp_bias: false,
            tied_head: shape.tied_head,
            bos: begin,
            eos: end.into_iter().collect(),
        }
    }

    /// Identity of the run: a hash of everything but name and description, so a comment or a better sentence does
    /// not make a checkpoint stale.
    ///
    /// # Errors
    /// [`TrainError::Parse`] when the recipe cannot be written down, which a parsed one always can.
    pub fn hash(&self) -> Result<String, TrainError> {
        let bare = Self { name: String::new(), about: String::new(), ..self.clone() };
        let text = serde_json::to_string(&bare).map_err(|error| TrainError::Parse(error.to_string()))?;
        Ok(crate::load::hex(&Sha256::digest(text.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shipped(name: &str) -> String {
        let path = format!("{}/../../datasets/models/{name}/recipe.toml", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_shipped_recipes_are_read_and_a_sentence_changes_no_run() {
        for name in ["tiny-100k", "tiny-300k", "tiny-1m"] {
            let recipe = Recipe::parse(&shipped(name)).unwrap();
            assert_eq!(recipe.name, name);
            assert_eq!(recipe.data.context, 256);
            let other = Recipe { about: "else".to_owned(), ..recipe.clone() };
            assert_eq!(other.hash().unwrap(), recipe.hash().unwrap());
            let mut seeded = recipe.clone();
            seeded.training.seed += 1;
            assert_ne!(seeded.hash().unwrap(), recipe.hash().unwrap());
        }
    }

    #[test]
    fn unknown_keys_and_values_out_of_range_are_named() {
        let text = shipped("tiny-100k");
        let error = Recipe::parse(&text.replace("weight_decay", "wieght_decay")).unwrap_err().to_string();
        assert!(error.contains("wieght_decay"), "{error}");
        let error = Recipe::parse(&text.replace("final_share", "final_share = 7 #")).unwrap_err().to_string();
        assert_eq!(error, "`training.final_share` of the recipe is 7; it must be 0 to 1");
    }
}
