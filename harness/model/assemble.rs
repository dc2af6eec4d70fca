//! Putting a decoder together from named tensors, and counting what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::Var;

use crate::biases::Biases;
use crate::cache::CacheFormat;
use crate::config::{Config, NormKind, PositionScheme, Projection, StateSpaceShape};
use crate::decoder::{Block, Decoder};
use crate::error::{Context, ModelError};
use crate::linear::{Dense, LinearOp, Trainable};
use crate::load::{
    Checkpoint, TensorSpec, check_config, frequency_net, learned_biases, projection_bias, projection_shape,
    shortcut_modules,
};
use crate::ops::AttentionShape;
use crate::packed::{Activations, Packed, PackedMatrix};
use crate::parameter::{Norm, Parameter};
use crate::rope::{Rope, alibi_slopes};
use crate::state_space::{ScanBlock, StateSpaces};
use crate::tensor::from_values;
use crate::weight::Weight;

/// Where named tensors come from.
trait Source {
    fn parameter(&self, name: &str, rows: usize, cols: usize) -> Result<Parameter, ModelError>;

    /// A matrix that is packed codes.
    fn packed(&self, name: &str) -> Option<&Arc<PackedMatrix>> {
        let _ = name;
        None
    }
}

struct Stored<'a> {
    weights: &'a BTreeMap<String, Weight>,
    packed: Option<&'a BTreeMap<String, Arc<PackedMatrix>>>,
}

impl<'a> Stored<'a> {
    fn of(checkpoint: &'a Checkpoint) -> Self {
        Self { weights: &checkpoint.tensors, packed: Some(&checkpoint.packed) }
    }
}

impl Source for Stored<'_> {
    fn packed(&self, name: &str) -> Option<&Arc<PackedMatrix>> {
        self.packed?.get(name)
    }

    fn parameter(&self, name: &str, rows: usize, cols: usize) -> Result<Parameter, ModelError> {
        let weight = self.weights.get(name).ok_or_else(|| ModelError::MissingTensor { name: name.to_owned() })?;
        check(name, (weight.rows(), weight.cols()), (rows, cols))?;
        Ok(Parameter::Stored(weight.clone()))
    }
}

struct Variables<'a>(&'a BTreeMap<String, Var>);

impl Source for Variables<'_> {
    fn parameter(&self, name: &str, rows: usize, cols: usize) -> Result<Parameter, ModelError> {
        let variable = self.0.get(name).ok_or_else(|| ModelError::MissingTensor { name: name.to_owned() })?;
        let found = match *variable.dims() {
            [n] => (1, n),
            [rows, cols] => (rows, cols),
            ref other => (other.len(), 0),
        };
        check(name, found, (rows, cols))?;
        Ok(Parameter::Trained(variable.clone()))
    }
}

fn check(name: &str, found: (usize, usize), expected: (usize, usize)) -> Result<(), ModelError> {
    if found == expected { Ok(()) } else { Err(ModelError::TensorShape { name: name.to_owned(), found, expected }) }
}

impl Decoder {
    /// A decoder over a checkpoint's weights as they are stored.
    ///
    /// # Errors
    /// [`ModelError::Config`], [`ModelError::MissingTensor`] or [`ModelError::TensorShape`]; [`ModelError::Scaling`] for a checkpoint
    /// that scales its rotary frequencies, of which [`Self::from_checkpoint_with`] makes a decoder.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        assemble(&checkpoint.config, &Stored::of(checkpoint), None)
    }

    /// As [`Self::from_checkpoint`], with the rotary embeddings that the checkpoint's [`Config::scaling`] asks for.
    ///
    /// # Errors
    /// [`ModelError::Config`], [`ModelError::MissingTensor`] or [`ModelError::TensorShape`].
    pub fn from_checkpoint_with(checkpoint: &Checkpoint, rope: Rope) -> Result<Self, ModelError> {
        assemble(&checkpoint.config, &Stored::of(checkpoint), Some(rope))
    }

    /// A decoder over named weights (canonical Hugging Face names; a vector is a matrix of one row).
    ///
    /// # Errors
    /// As [`Self::from_checkpoint`].
    pub fn from_weights(config: &Config, weights: &BTreeMap<String, Weight>) -> Result<Self, ModelError> {
        assemble(config, &Stored { weights, packed: None }, None)
    }

    /// A decoder whose parameters are variables: matrices `(rows, cols)`, vectors `(n)`, named as in a checkpoint.
    /// Gradients flow to every one of them.
    ///
    /// # Errors
    /// As [`Self::from_checkpoint`].
    pub fn trainable(config: &Config, variables: &BTreeMap<String, Var>) -> Result<Self, ModelError> {
        assemble(config, &Variables(variables), None)
    }

    /// As [`Self::trainable`], with the rotary embeddings that [`Config::scaling`] asks for.
    ///
    /// # Errors
    /// As [`Self::from_checkpoint_with`].
    pub fn trainable_with(config: &Config, variables: &BTreeMap<String, Var>, rope: Rope) -> Result<Self, ModelError> {
        assemble(config, &Variables(variables), Some(rope))
    }

    /// As [`Self::from_weights`], with the rotary embeddings that [`Config::scaling`] asks for.
    ///
    /// # Errors
    /// As [`Self::from_checkpoint_with`].
    pub fn from_weights_with(
        config: &Config,
        weights: &BTreeMap<String, Weight>,
        rope: Rope,
    ) -> Result<Self, ModelError> {
        assemble(config, &Stored { weights, packed: None }, Some(rope))
    }

    /// The maps of the net that moves the rotary frequencies, where the checkpoint carries one: `up (width, pairs)` and
    /// `down (pairs, width)`, row-major.
    pub fn frequency_net(&self) -> Option<[Vec<f32>; 2]> {
        self.net.as_ref().map(|net| [0, 1].map(|at| net[at].weight().to_f32()))
    }

    /// Weights outside the blocks' linear maps: embedding, learned positions, norms, biases, all of blocks of state spaces, and the head
    /// when it is neither tied nor replaced.
    pub fn other_weights(&self) -> Vec<Weight> {
        let mut weights = vec![self.embedding.weight()];
        weights.extend(self.positions.as_ref().map(Parameter::weight));
        for block in &self.blocks {
            weights.extend(block.attention_norm.weights());
            weights.extend(block.feed_forward_norm.weights());
            weights.extend(block.biases.iter().map(Parameter::weight));
            weights.extend(block.shortcuts.iter().flatten().map(|map| map.weight()));
        }
        weights.extend(self.state_space.iter().flat_map(|spaces| spaces.weights()));
        weights.extend(self.each_learned_biases().map(Parameter::weight));
        weights.extend(self.net.iter().flatten().map(Parameter::weight));
        weights.extend(self.final_norm.weights());
        if !self.config.tied_head && !self.own_head {
            weights.push(self.head.weight());
        }
        weights
    }

    /// The numbers that the biases by distance of a block are learned as, where there are some: of T5 a row of heads a bucket, of KERPLE `p`
    /// and `a` of every head.
    pub fn learned_biases(&self, layer: usize) -> Option<Vec<f32>> {
        let biases = self.blocks.get(layer)?.by_distance.as_deref()?;
        biases.learned().map(|learned| learned.weight().to_f32())
    }

    /// Learned biases by distance, those that blocks share once.
    fn each_learned_biases(&self) -> impl Iterator<Item = &Parameter> {
        let blocks = if learned_biases(&self.config, None).is_some() { 1 } else { self.blocks.len() };
        self.blocks.iter().take(blocks).filter_map(|block| block.by_distance.as_deref()?.learned())
    }

    /// The head when it was replaced, so that it is neither the embedding nor the checkpoint's.
    pub fn replaced_head(&self) -> Option<&Arc<dyn LinearOp>> {
        self.own_head.then_some(&self.head)
    }

    fn maps(&self) -> impl Iterator<Item = &Arc<dyn LinearOp>> {
        self.blocks.iter().flat_map(|block| block.projections.iter().flatten())
    }

    /// Number of parameters as they are held; a tied head counts once.
    pub fn parameters(&self) -> usize {
        let others: usize = self.other_weights().iter().map(|weight| weight.rows() * weight.cols()).sum();
        let head = if self.own_head && !self.config.tied_head { self.head.rows() * self.head.cols() } else { 0 };
        others + head + self.maps().map(|map| map.parameters()).sum::<usize>()
    }

    /// Bytes of all parameters as stored; a tied head counts once, unless it was replaced.
    pub fn stored_bytes(&self) -> usize {
        let others: usize = self.other_weights().iter().map(Weight::stored_bytes).sum();
        let head = if self.own_head { self.head.stored_bytes() } else { 0 };
        others + head + self.maps().map(|map| map.stored_bytes()).sum::<usize>()
    }

    /// Bytes of the blocks' linear maps as stored: what pruning a copy of this decoder costs at most.
    pub fn prunable_bytes(&self) -> u64 {
        self.maps().map(|map| map.stored_bytes() as u64).sum()
    }

    /// Bytes of the linear maps that this decoder does not share with `other`.
    pub fn bytes_not_shared_with(&self, other: &Self) -> u64 {
        let address = |map: &Arc<dyn LinearOp>| Arc::as_ptr(map).cast::<u8>();
        // A shorter decoder has the same maps at other places.
        let theirs: BTreeSet<*const u8> =
            other.maps().chain(other.replaced_head()).chain([&other.head]).map(address).collect();
        self.maps()
            .chain(self.replaced_head())
            .filter(|own| !theirs.contains(&address(own)))
            .map(|own| own.stored_bytes() as u64)
            .sum()
    }
}

fn assemble(config: &Config, source: &dyn Source, scaled: Option<Rope>) -> Result<Decoder, ModelError> {
    check_config(config).map_err(ModelError::Config)?;
    if let (Some(scaling), None) = (&config.scaling, &scaled) {
        return Err(ModelError::Scaling(scaling.arm.to_string()));
    }
    let hidden = config.hidden_size;
    let scans = config.state_space();
    let (table, last_norm) = match scans {
        Some(_) => ("backbone.embeddings.weight", "backbone.norm_f"),
        None => ("model.embed_tokens.weight", "model.norm"),
    };
    let embedding = source.parameter(table, config.vocab_size, hidden)?;
    let positions = (config.position == PositionScheme::Learned)
        .then(|| source.parameter("model.embed_positions.weight", config.max_positions, hidden))
        .transpose()?;
    let own_head = source.packed("lm_head.weight").is_some();
    let head = if config.tied_head {
        map("lm_head", embedding.clone(), None)?
    } else {
        linear(source, "lm_head", (config.vocab_size, hidden), None)?
    };
    let shared = biases(config, source, None)?;
    let attending = if scans.is_some() { 0 } else { config.layers };
    let blocks = (0..attending)
        .map(|layer| block(config, source, layer, shared.as_ref()).map(Arc::new))
        .collect::<Result<_, _>>()?;
    let state_space = scans.map(|shape| state_spaces(config, shape, source)).transpose()?.map(Arc::new);
    let (rope, key_rope) = match config.position {
        PositionScheme::Rope { theta, rotary, style } => {
            (Some(Arc::new(scaled.unwrap_or_else(|| Rope::new(theta, rotary, style)))), None)
        }
        PositionScheme::Xpos { theta, scale } => {
            let [queries, keys] = Rope::xpos(theta, config.head_dim, scale).map(Arc::new);
            (Some(queries), Some(keys))
        }
        _ => (None, None),
    };
    let net = frequency_net(config)
        .map(|[up, down]| {
            let map = |spec: TensorSpec| source.parameter(&spec.name, spec.rows, spec.cols);
            Ok::<_, ModelError>([map(up)?, map(down)?])
        })
        .transpose()?;
    let slopes = (config.position == PositionScheme::Alibi).then(|| alibi_slopes(config.heads));
    Ok(Decoder {
        embedding,
        positions,
        blocks,
        final_norm: norm(config, source, last_norm)?,
        head,
        own_head,
        rope,
        key_rope,
        net,
        places: None,
        groups: None,
        reach: None,
        attention: AttentionShape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            scale: 1.0 / (config.head_dim.max(1) as f32).sqrt(),
            slopes,
            biases: None,
        },
        cache_format: CacheFormat::Full,
        state_space,
        config: Arc::new(config.clone()),
    })
}

fn norm(config: &Config, source: &dyn Source, module: &str) -> Result<Norm, ModelError> {
    let vector = |part: &str| source.parameter(&format!("{module}.{part}"), 1, config.hidden_size);
    let bias = (config.norm == NormKind::Layer).then(|| vector("bias")).transpose()?;
    Norm::new(vector("weight")?, bias, config.norm_epsilon).doing(|| format!("reading {module}"))
}

/// Biases by distance of a block, or those that all share.
fn biases(config: &Config, source: &dyn Source, layer: Option<usize>) -> Result<Option<Arc<Biases>>, ModelError> {
    let PositionScheme::Biases(kind) = config.position else { return Ok(None) };
    let learned = match (kind.learned(config.heads), learned_biases(config, layer)) {
        (Some(_), None) => return Ok(None),
        (_, Some(spec)) => Some(source.parameter(&spec.name, spec.rows, spec.cols)?),
        (None, None) => None,
    };
    Ok(Some(Arc::new(Biases::new(kind, config.heads, learned))))
}

fn block(
    config: &Config,
    source: &dyn Source,
    layer: usize,
    shared: Option<&Arc<Biases>>,
) -> Result<Block, ModelError> {
    let prefix = format!("model.layers.{layer}");
    let mut projections: [Option<Arc<dyn LinearOp>>; 7] = std::array::from_fn(|_| None);
    let by_distance = biases(config, source, Some(layer))?.or_else(|| shared.cloned());
    let mut biases = Vec::new();
    for projection in Projection::ALL {
        if projection == Projection::Gate && !config.gated {
            continue;
        }
        let module = format!("{prefix}.{}", projection.module());
        let (rows, cols) = projection_shape(config, layer, projection);
        let bias = projection_bias(config, projection)
            .then(|| source.parameter(&format!("{module}.bias"), 1, rows))
            .transpose()?;
        biases.extend(bias.clone());
        projections[projection as usize] = Some(linear(source, &module, (rows, cols), bias)?);
    }
    let shortcuts = if config.shortcuts {
        let square = (config.hidden_size, config.hidden_size);
        let [attention, feed_forward] = shortcut_modules(layer);
        Some([linear(source, &attention, square, None)?, linear(source, &feed_forward, square, None)?])
    } else {
        None
    };
    Ok(Block {
        shortcuts,
        attention_norm: norm(config, source, &format!("{prefix}.input_layernorm"))?,
        feed_forward_norm: norm(config, source, &format!("{prefix}.post_attention_layernorm"))?,
        projections,
        biases,
        by_distance,
    })
}

/// All blocks of a decoder of state spaces.
fn state_spaces(config: &Config, shape: StateSpaceShape, source: &dyn Source) -> Result<StateSpaces, ModelError> {
    let blocks = (0..config.layers).map(|layer| scan_block(config, shape, source, layer));
    Ok(StateSpaces { shape, channels: config.intermediate_size, blocks: blocks.collect::<Result<_, _>>()? })
}

fn scan_block(
    config: &Config,
    StateSpaceShape { states, taps, step_rank }: StateSpaceShape,
    source: &dyn Source,
    layer: usize,
) -> Result<ScanBlock, ModelError> {
    let (hidden, channels) = (config.hidden_size, config.intermediate_size);
    let mut parameters = Vec::new();
    let mut take = |part: &str, rows: usize, cols: usize| {
        let parameter = source.parameter(&format!("backbone.layers.{layer}.mixer.{part}"), rows, cols)?;
        parameters.push(parameter.clone());
        Ok::<_, ModelError>(parameter)
    };
    let matrix = |parameter: &Parameter| match parameter {
        Parameter::Trained(variable) => Ok(variable.as_tensor().clone()),
        Parameter::Stored(weight) => from_values(weight.to_f32(), (weight.rows(), weight.cols())),
    };
    let doing = || format!("reading the state space of block {layer}");
    let step_bias = take("dt_proj.bias", 1, channels)?;
    let convolution = [
        matrix(&take("conv1d.weight", channels, taps)?).doing(doing)?,
        take("conv1d.bias", 1, channels)?.vector().doing(doing)?,
    ];
    Ok(ScanBlock {
        norm: norm(config, source, &format!("backbone.layers.{layer}.norm"))?,
        enter: map("in_proj", take("in_proj.weight", 2 * channels, hidden)?, None)?,
        select: map("x_proj", take("x_proj.weight", step_rank + 2 * states, channels)?, None)?,
        step: map("dt_proj", take("dt_proj.weight", channels, step_rank)?, Some(step_bias))?,
        leave: map("out_proj", take("out_proj.weight", hidden, channels)?, None)?,
        convolution,
        rate_log: matrix(&take("A_log", channels, states)?).doing(doing)?,
        skip: take("D", 1, channels)?.vector().doing(doing)?,
        parameters,
    })
}

/// The linear map of a module: packed codes, or a matrix.
fn linear(
    source: &dyn Source,
    module: &str,
    shape: (usize, usize),
    bias: Option<Parameter>,
) -> Result<Arc<dyn LinearOp>, ModelError> {
    let name = format!("{module}.weight");
    let Some(matrix) = source.packed(&name) else {
        return map(module, source.parameter(&name, shape.0, shape.1)?, bias);
    };
    check(&name, (matrix.rows(), matrix.cols()), shape)?;
    let bias = bias.map(|bias| bias.weight().to_f32().into());
    let map = Packed::new(Arc::clone(matrix), bias, Activations::Full);
    Ok(Arc::new(map.map_err(candle_core::Error::wrap).doing(|| format!("reading {module}"))?))
}

fn map(module: &str, weight: Parameter, bias: Option<Parameter>) -> Result<Arc<dyn LinearOp>, ModelError> {
    Ok(match (weight, bias) {
        (Parameter::Stored(weight), bias) => {
            let bias = bias.map(|bias| bias.weight().to_f32().into());
            Arc::new(Dense::new(weight, bias))
        }
        (Parameter::Trained(weight), None) => {
            Arc::new(Trainable::new(weight, None).doing(|| format!("reading {module}"))?)
        }
        (Parameter::Trained(weight), Some(bias)) => {
            let bias = match bias {
                Parameter::Trained(bias) => bias,
                Parameter::Stored(bias) => Var::from_vec(bias.to_f32(), bias.cols(), &candle_core::Device::Cpu)
                    .doing(|| format!("reading {module}"))?,
            };
            Arc::new(Trainable::new(weight, Some(bias)).doing(|| format!("reading {module}"))?)
        }
    })
}
