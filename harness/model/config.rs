//! What a decoder is made of, independent of the file it came from.

use serde::{Deserialize, Serialize};

pub use crate::reads::{BlockReads, Read};
pub use crate::scaling::Scaling;

/// How pairs of head dimensions are formed for rotary embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RopeStyle {
    /// Dimension `i` turns with `i + d/2` (Hugging Face layout).
    HalfSplit,
    /// Dimension `2i` turns with `2i + 1` (llama2.c and GGUF `llama` layout).
    Interleaved,
}

/// How the decoder knows where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PositionScheme {
    /// Rotary embeddings over the first `rotary` dimensions of each head.
    Rope {
        /// Frequency base.
        theta: f64,
        /// Number of rotated dimensions, at most the head dimension and even.
        rotary: usize,
        /// Pairing of dimensions.
        style: RopeStyle,
    },
    /// A learned table added to the token embedding.
    Learned,
    /// Linear biases on attention scores, slopes `2^(-8h/H)`.
    Alibi,
    /// Biases on attention scores by the distance of key and query.
    Biases(DistanceBias),
    /// Rotary embeddings over whole heads, in pairs of neighbours, whose scores fall with the distance: `ζ_i^(Δ/scale)` with
    /// `ζ_i = (2i + 0.4 d) / 1.4 d` (xPos; Sun et al., 2023).
    Xpos {
        /// Frequency base.
        theta: f64,
        /// Distance at which a pair has fallen to `ζ_i`.
        scale: f64,
    },
    /// No position information.
    None,
    /// No attention: what was read is in the states of a scan, which know the order of tokens by themselves (Gu and Dao, 2023). The
    /// blocks have no heads and no feed-forward part; `intermediate_size` is the number of channels.
    StateSpace(StateSpaceShape),
}

/// The inner sizes of selective state spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSpaceShape {
    /// States of a channel.
    pub states: usize,
    /// Inputs that the convolution before the scan sees.
    pub taps: usize,
    /// Numbers that the steps of a token are made of.
    pub step_rank: usize,
}

/// Biases on attention scores that depend on the distance `Δ` of a key before its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DistanceBias {
    /// One learned number a head for each of 32 buckets of distances, the same in every block; distances from 113 on share the last (Raffel
    /// et al., 2020).
    T5,
    /// `−p ln(1 + aΔ)`, learned for each head and block (KERPLE; Chi et al., 2022).
    KerpleLog,
    /// `−a Δ^p`, learned for each head and block (KERPLE).
    KerplePower,
    /// `−2 ln(Δ + 1)`: weights fall as the convergent series of `1/n²`.
    InverseSquare,
    /// `−ln²(Δ + 1)`: as the convergent series of `e^(−ln² n)`.
    LogSquare,
    /// `(Σ_k cos(Δ 10000^(−2k/128)) − 64) / c_h` of 64 terms and `c_h = 8 (h + 1) / H`: the scores that sinusoidal embeddings of 128 dimensions
    /// give each other, less their own (Sandwich; Chi et al., 2023). The factors of heads are those of linear biases, which were not checked
    /// against the publication.
    Sandwich,
    /// `−ln(Δ + 1)`: as the divergent series of `1/n`.
    Inverse,
    /// A small learned net of `ln(cΔ + 1) / ln(c max(i, L) + 1)`, of a key `Δ` before the query at `i` (FIRE; Li et al., 2023).
    Fire,
}

/// Which normalisation stands before attention, before the feed-forward part and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// Root mean square, scale only.
    Rms,
    /// Mean and variance, scale and shift.
    Layer,
}

/// The non-linearity of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// The exact Gaussian error form.
    Gelu,
    /// The tanh approximation.
    GeluTanh,
}

/// How wide a block is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Width {
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
}

/// The shape and variant of a decoder.
// Each flag is a key of its own in the checkpoint formats.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Architecture name as the source spells it (`llama`, `qwen2`).
    pub architecture: String,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Dimensions of one head.
    pub head_dim: usize,
    /// Longest context the checkpoint states.
    pub max_positions: usize,
    /// Normalisation kind.
    pub norm: NormKind,
    /// Added to the variance before the square root.
    pub norm_epsilon: f64,
    /// Feed-forward non-linearity.
    pub activation: Activation,
    /// `true`: `down(act(gate(x)) * up(x))`; `false`: `down(act(up(x)))`.
    pub gated: bool,
    /// Heads and channels of each block, where blocks differ; empty where they do not. Where they do, `heads`, `kv_heads` and
    /// `intermediate_size` are those of the widest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widths: Vec<Width>,
    /// Position scheme.
    pub position: PositionScheme,
    /// What the checkpoint does to its rotary frequencies, where it extends the window it was trained at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Query, key and value projections carry a bias (as in Qwen2).
    pub qkv_bias: bool,
    /// The attention output projection carries a bias.
    pub output_bias: bool,
    /// The feed-forward projections carry a bias.
    pub mlp_bias: bool,
    /// What passes by a part of a block goes through a matrix of its own, where the residual stream was turned (`slice.rs`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortcuts: bool,
    /// What the parts of each block read of the normalised stream, where they do not read all of it (`reads.rs`); empty where they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<BlockReads>,
    /// The head shares the embedding matrix.
    pub tied_head: bool,
    /// Beginning-of-sequence token.
    pub bos: Option<u32>,
    /// End-of-sequence tokens.
    pub eos: Vec<u32>,
}

impl Config {
    /// How wide a block is inside.
    pub fn width(&self, layer: usize) -> Width {
        let Self { heads, kv_heads, intermediate_size, .. } = *self;
        self.widths.get(layer).copied().unwrap_or(Width { heads, kv_heads, intermediate_size })
    }

    /// This configuration with blocks of these widths, one for each.
    #[must_use]
    pub fn with_widths(&self, widths: Vec<Width>) -> Self {
        let most = |of: fn(&Width) -> usize| widths.iter().map(of).max().unwrap_or_default();
        let (heads, kv_heads) = (most(|width| width.heads), most(|width| width.kv_heads));
        let intermediate_size = most(|width| width.intermediate_size);
        let layers = widths.len();
        let equal = widths.windows(2).all(|pair| pair[0] == pair[1]);
        let widths = if equal { Vec::new() } else { widths };
        Self { intermediate_size, layers, heads, kv_heads, widths, ..self.clone() }
    }

    /// Whether heads are told apart by their place, so that none can be left out: by slopes or biases of their own.
    pub fn heads_have_places(&self) -> bool {
        matches!(self.position, PositionScheme::Alibi | PositionScheme::Biases(_))
    }

    /// Positions the model was trained at before it was extended; the context it states where it was not.
    pub fn trained_positions(&self) -> usize {
        self.scaling.as_ref().and_then(|scaling| scaling.trained).unwrap_or(self.max_positions)
    }

    /// The sizes of its state spaces, where it has those instead of attention.
    pub fn state_space(&self) -> Option<StateSpaceShape> {
        match self.position {
            PositionScheme::StateSpace(shape) => Some(shape),
            _ => None,
        }
    }
}

/// One of the seven linear maps of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// Query.
    Q,
    /// Key.
    K,
    /// Value.
    V,
    /// Attention output.
    O,
    /// Feed-forward gate (absent when the feed-forward part is not gated).
    Gate,
    /// Feed-forward expansion.
    Up,
    /// Feed-forward contraction.
    Down,
}

impl Projection {
    /// All seven, in the order a block applies them.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The module path inside a block, as Hugging Face names it.
    pub fn module(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// The full tensor name of this projection's weight in block `layer`.
    pub fn tensor(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}.weight", self.module())
    }
}
