//! Which tensors a configuration calls for, in their canonical (Hugging Face) names.

use crate::config::{Activation, Config, NormKind, PositionScheme, Projection, StateSpaceShape, Width};
use crate::load::Shape;
use crate::reads::check_reads;

/// One tensor that a configuration calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Canonical name.
    pub name: String,
    /// Output dimension; 1 for a vector.
    pub rows: usize,
    /// Input dimension; the length of a vector.
    pub cols: usize,
    /// Stored with one dimension instead of two.
    pub vector: bool,
}

impl TensorSpec {
    /// A matrix `(rows, cols)`.
    pub fn matrix(name: impl Into<String>, rows: usize, cols: usize) -> Self {
        Self { name: name.into(), rows, cols, vector: false }
    }

    /// A vector `(length)`.
    pub fn vector(name: impl Into<String>, length: usize) -> Self {
        Self { name: name.into(), rows: 1, cols: length, vector: true }
    }

    /// The shape as files state it.
    pub fn shape(&self) -> Shape {
        stated(&self.name, self.vector, self.rows, self.cols)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The shape in which files state a tensor: vectors have one dimension, and the weights of a convolution of each channel with its own
/// inputs one more than their rows and columns.
pub(crate) fn stated(name: &str, vector: bool, rows: usize, cols: usize) -> Shape {
    Shape(match vector {
        true => vec![cols],
        false if name.ends_with(CONVOLUTION) => vec![rows, 1, cols],
        false => vec![rows, cols],
    })
}

/// How the names of such weights end.
pub(crate) const CONVOLUTION: &str = "conv1d.weight";

/// Rows and columns of a projection's weight in one block.
pub fn projection_shape(config: &Config, layer: usize, projection: Projection) -> (usize, usize) {
    let Width { heads, kv_heads, intermediate_size } = config.width(layer);
    let (queries, keys) = (heads * config.head_dim, kv_heads * config.head_dim);
    let read = config.reads.get(layer).and_then(|reads| reads.of(projection));
    let read = read.map_or(config.hidden_size, |read| read.width(config.hidden_size));
    match projection {
        Projection::Q => (queries, read),
        Projection::K | Projection::V => (keys, read),
        Projection::O => (config.hidden_size, queries),
        Projection::Gate | Projection::Up => (intermediate_size, read),
        Projection::Down => (config.hidden_size, intermediate_size),
    }
}

/// Whether a projection carries a bias.
pub fn projection_bias(config: &Config, projection: Projection) -> bool {
    match projection {
        Projection::Q | Projection::K | Projection::V => config.qkv_bias,
        Projection::O => config.output_bias,
        Projection::Gate | Projection::Up | Projection::Down => config.mlp_bias,
    }
}

/// The tensors of the whole decoder in file order: embeddings, blocks from the first, final norm, head.
/// Lazy, so that an absurd number of blocks costs nothing before the first missing tensor is found.
pub fn expected_tensors(config: &Config) -> impl Iterator<Item = TensorSpec> + '_ {
    let scans = config.state_space().map(|shape| state_space_tensors(config, shape));
    let attends = scans.is_none().then(|| attention_tensors(config));
    scans.into_iter().flatten().chain(attends.into_iter().flatten())
}

fn attention_tensors(config: &Config) -> impl Iterator<Item = TensorSpec> + '_ {
    let hidden = config.hidden_size;
    let embedding = std::iter::once(TensorSpec::matrix("model.embed_tokens.weight", config.vocab_size, hidden));
    let positions = (config.position == PositionScheme::Learned)
        .then(|| TensorSpec::matrix("model.embed_positions.weight", config.max_positions, hidden));
    let shared = learned_biases(config, None).into_iter().chain(frequency_net(config).into_iter().flatten());
    let head = (!config.tied_head).then(|| TensorSpec::matrix("lm_head.weight", config.vocab_size, hidden));
    embedding
        .chain(positions)
        .chain(shared)
        .chain((0..config.layers).flat_map(move |layer| block_tensors(config, layer)))
        .chain(norm_tensors(config, "model.norm"))
        .chain(head)
}

/// Those of a decoder of state spaces, in the names of Hugging Face's Mamba models.
fn state_space_tensors(config: &Config, shape: StateSpaceShape) -> impl Iterator<Item = TensorSpec> + '_ {
    let (hidden, channels) = (config.hidden_size, config.intermediate_size);
    let StateSpaceShape { states, taps, step_rank } = shape;
    let block = move |layer: usize| {
        let own = |part: &str| format!("backbone.layers.{layer}.{part}");
        [
            TensorSpec::vector(own("norm.weight"), hidden),
            TensorSpec::matrix(own("mixer.in_proj.weight"), 2 * channels, hidden),
            TensorSpec::matrix(own("mixer.conv1d.weight"), channels, taps),
            TensorSpec::vector(own("mixer.conv1d.bias"), channels),
            TensorSpec::matrix(own("mixer.x_proj.weight"), step_rank + 2 * states, channels),
            TensorSpec::matrix(own("mixer.dt_proj.weight"), channels, step_rank),
            TensorSpec::vector(own("mixer.dt_proj.bias"), channels),
            TensorSpec::matrix(own("mixer.A_log"), channels, states),
            TensorSpec::vector(own("mixer.D"), channels),
            TensorSpec::matrix(own("mixer.out_proj.weight"), hidden, channels),
        ]
    };
    let head = (!config.tied_head).then(|| TensorSpec::matrix("lm_head.weight", config.vocab_size, hidden));
    std::iter::once(TensorSpec::matrix("backbone.embeddings.weight", config.vocab_size, hidden))
        .chain((0..config.layers).flat_map(block))
        .chain([TensorSpec::vector("backbone.norm_f.weight", hidden)])
        .chain(head)
}

/// The maps of the net that moves rotary frequencies, to its inner numbers and back.
pub(crate) fn frequency_net(config: &Config) -> Option<[TensorSpec; 2]> {
    let PositionScheme::Rope { rotary, .. } = config.position else { return None };
    let width = config.scaling.as_ref()?.net?;
    Some([
        TensorSpec::matrix("model.rotary.up.weight", width, rotary / 2),
        TensorSpec::matrix("model.rotary.down.weight", rotary / 2, width),
    ])
}

/// Learned biases by distance, of a block or shared by all.
pub(crate) fn learned_biases(config: &Config, layer: Option<usize>) -> Option<TensorSpec> {
    let PositionScheme::Biases(kind) = config.position else { return None };
    let (rows, columns, own) = kind.learned(config.heads)?;
    let name = match layer {
        Some(layer) => format!("model.layers.{layer}.self_attn.position.bias"),
        None => "model.position.bias".to_owned(),
    };
    (own == layer.is_some()).then(|| TensorSpec::matrix(name, rows, columns))
}

/// Where the matrices stand that what passes by attention and by the feed-forward part goes through.
pub(crate) fn shortcut_modules(layer: usize) -> [String; 2] {
    ["self_attn", "mlp"].map(|part| format!("model.layers.{layer}.{part}.shortcut"))
}

/// The tensors of one block: norms, then projections in the order they are applied.
pub fn block_tensors(config: &Config, layer: usize) -> Vec<TensorSpec> {
    let mut tensors = norm_tensors(config, &format!("model.layers.{layer}.input_layernorm"));
    tensors.extend(norm_tensors(config, &format!("model.layers.{layer}.post_attention_layernorm")));
    tensors.extend(learned_biases(config, Some(layer)));
    if config.shortcuts {
        let matrix = |module| TensorSpec::matrix(format!("{module}.weight"), config.hidden_size, config.hidden_size);
        tensors.extend(shortcut_modules(layer).map(matrix));
    }
    for projection in Projection::ALL {
        if projection == Projection::Gate && !config.gated {
            continue;
        }
        let (rows, cols) = projection_shape(config, layer, projection);
        tensors.push(TensorSpec::matrix(projection.tensor(layer), rows, cols));
        if projection_bias(config, projection) {
            tensors.push(TensorSpec::vector(format!("model.layers.{layer}.{}.bias", projection.module()), rows));
        }
    }
    tensors
}

fn norm_tensors(config: &Config, module: &str) -> Vec<TensorSpec> {
    let mut tensors = vec![TensorSpec::vector(format!("{module}.weight"), config.hidden_size)];
    if config.norm == NormKind::Layer {
        tensors.push(TensorSpec::vector(format!("{module}.bias"), config.hidden_size));
    }
    tensors
}

/// Widths of blocks fit each other and the whole.
fn check_widths(config: &Config) -> Result<(), String> {
    if config.widths.is_empty() {
        return Ok(());
    }
    if config.widths.len() != config.layers {
        return Err(format!("{} blocks have widths where there are {}", config.widths.len(), config.layers));
    }
    for (layer, width) in config.widths.iter().enumerate() {
        let Width { heads, kv_heads, intermediate_size } = *width;
        let within = (1..=config.heads).contains(&heads)
            && (1..=config.kv_heads).contains(&kv_heads)
            && (1..=config.intermediate_size).contains(&intermediate_size);
        if !within || !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "block {layer} has {heads} heads, {kv_heads} key-value heads and a feed-forward part of {intermediate_size}, in a decoder of at most {}, {} and {}",
                config.heads, config.kv_heads, config.intermediate_size
            ));
        }
        if config.heads_have_places() && heads != config.heads {
            return Err(format!("block {layer} has {heads} heads where positions ask for all {}", config.heads));
        }
    }
    Ok(())
}

/// Checks that the numbers of a configuration can be a decoder, and that no tensor size overflows.
///
/// # Errors
/// A sentence naming the quantity at fault.
pub fn check_config(config: &Config) -> Result<(), String> {
    let within = |(name, value): &(&str, usize)| {
        // Every product of two dimensions must stay far from overflow, in bytes too.
        if *value == 0 || *value > 1 << 28 {
            return Err(format!("the {name} is {value}, which is out of range"));
        }
        Ok(())
    };
    [
        ("vocabulary size", config.vocab_size),
        ("hidden size", config.hidden_size),
        ("feed-forward size", config.intermediate_size),
        ("number of blocks", config.layers),
        ("context length", config.max_positions),
    ]
    .iter()
    .try_for_each(within)?;
    check_reads(config)?;
    if let Some(StateSpaceShape { states, taps, step_rank }) = config.state_space() {
        [("number of states", states), ("number of taps", taps), ("rank of the steps", step_rank)]
            .iter()
            .try_for_each(within)?;
        return check_state_space(config).and_then(|()| check_rest(config));
    }
    [
        ("number of heads", config.heads),
        ("number of key-value heads", config.kv_heads),
        ("head dimension", config.head_dim),
    ]
    .iter()
    .try_for_each(within)?;
    if !config.heads.is_multiple_of(config.kv_heads) {
        return Err(format!("{} heads cannot share {} key-value heads", config.heads, config.kv_heads));
    }
    check_widths(config)?;
    if config.heads.checked_mul(config.head_dim).is_none_or(|width| width > 1 << 28) {
        return Err(format!("{} heads of dimension {} are out of range", config.heads, config.head_dim));
    }
    if let Some(width) = config.scaling.as_ref().and_then(|scaling| scaling.net)
        && (width == 0 || width > 1 << 20)
    {
        return Err(format!("the width {width} of the net of the rotary frequencies is out of range"));
    }
    if let PositionScheme::Rope { theta, rotary, .. } = config.position {
        if !(theta.is_finite() && theta > 0.0) {
            return Err(format!("the rotary base {theta} is not a positive number"));
        }
        if rotary > config.head_dim {
            return Err(format!("{rotary} rotary dimensions do not fit a head of {}", config.head_dim));
        }
        if !rotary.is_multiple_of(2) {
            return Err(format!("{rotary} rotary dimensions are odd; dimensions are rotated in pairs"));
        }
    } else if let Some(scaling) = &config.scaling {
        return Err(format!("`{}` scales rotary frequencies, and the model has none", scaling.arm));
    }
    if let PositionScheme::Xpos { theta, scale } = config.position {
        if !(theta.is_finite() && theta > 0.0 && scale.is_finite() && scale > 0.0) {
            return Err(format!("the rotary base {theta} and the scale {scale} must be positive numbers"));
        }
        if !config.head_dim.is_multiple_of(2) {
            return Err(format!("heads of {} dimensions cannot be rotated in pairs", config.head_dim));
        }
    }
    check_rest(config)
}

/// What state spaces have no words for.
fn check_state_space(config: &Config) -> Result<(), String> {
    if (config.heads, config.kv_heads, config.head_dim) != (0, 0, 0) {
        return Err(format!(
            "{} heads of dimension {} were given to state spaces, which have none",
            config.heads, config.head_dim
        ));
    }
    if let Some(scaling) = &config.scaling {
        return Err(format!("`{}` scales rotary frequencies, and state spaces have none", scaling.arm));
    }
    if config.norm != NormKind::Rms || config.activation != Activation::Silu {
        return Err(format!(
            "state spaces have the normalisation Rms and the activation Silu, not {:?} and {:?}",
            config.norm, config.activation
        ));
    }
    if config.qkv_bias || config.output_bias || config.mlp_bias {
        return Err("state spaces have biases at the convolution and at the steps alone".to_owned());
    }
    Ok(())
}

/// What does not depend on what mixes tokens.
fn check_rest(config: &Config) -> Result<(), String> {
    if !(config.norm_epsilon.is_finite() && config.norm_epsilon >= 0.0) {
        return Err(format!("the norm epsilon {} is not a small positive number", config.norm_epsilon));
    }
    for id in config.bos.iter().chain(&config.eos) {
        if *id as usize >= config.vocab_size {
            return Err(format!("special token {id} is outside the vocabulary of {}", config.vocab_size));
        }
    }
    Ok(())
}
