//! Decoders whose blocks have fewer heads and channels, as many as each block is left with.
//!
//! A key-value head goes with all query heads that read it: the rows of queries, keys and values and the columns of the output map. A
//! channel of the feed-forward part is a row of its expansion and its gate and a column of its contraction. What is left is copied as it is
//! stored; output maps and contractions may have other numbers, and biases that stand for what is gone.

use std::sync::Arc;

use crate::config::{Config, Projection, Width};
use crate::decoder::{Block, Decoder};
use crate::error::ModelError;
use crate::linear::Dense;
use crate::load::{Checkpoint, expected_tensors, projection_bias};
use crate::parameter::Parameter;
use crate::weight::Weight;

/// What is left of one block.
#[derive(Debug, Clone, PartialEq)]
pub struct Narrow {
    /// Key-value heads that stay, rising.
    pub groups: Vec<usize>,
    /// Channels of the feed-forward part that stay, rising.
    pub channels: Vec<usize>,
    /// What changes about the output map of attention.
    pub output: Fit,
    /// What changes about the contraction.
    pub down: Fit,
}

/// What changes about a map beside the columns that it loses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fit {
    /// The whole matrix `(hidden, columns)`, those that go included, row-major.
    pub weight: Option<Arc<[f32]>>,
    /// What is added to the bias, `(hidden)`.
    pub bias: Option<Vec<f32>>,
}

/// What stays of each map of a block, and which.
struct Kept<'a> {
    narrow: &'a Narrow,
    /// Rows of queries and columns of the output map.
    queries: Vec<usize>,
    /// Rows of keys and values.
    keys: Vec<usize>,
}

impl<'a> Kept<'a> {
    fn of(config: &Config, layer: usize, narrow: &'a Narrow) -> Result<Self, ModelError> {
        let Width { heads, kv_heads, intermediate_size } = config.width(layer);
        rising(layer, "key-value heads", &narrow.groups, kv_heads)?;
        rising(layer, "channels", &narrow.channels, intermediate_size)?;
        if config.heads_have_places() && narrow.groups.len() != kv_heads {
            return Err(ModelError::Config(
                "heads are told apart by their place (linear biases or biases by distance); none of them can be left out"
                    .to_owned(),
            ));
        }
        let spread = |width: usize| narrow.groups.iter().flat_map(|group| group * width..(group + 1) * width).collect();
        let (queries, keys) = (spread(heads / kv_heads * config.head_dim), spread(config.head_dim));
        Ok(Self { narrow, queries, keys })
    }

    /// Rows of a map that stay, where some may go.
    fn rows(&self, projection: Projection) -> Option<&[usize]> {
        match projection {
            Projection::Q => Some(&self.queries),
            Projection::K | Projection::V => Some(&self.keys),
            Projection::Gate | Projection::Up => Some(&self.narrow.channels),
            Projection::O | Projection::Down => None,
        }
    }

    /// Columns of a map that stay, where some may go, and what else becomes of it.
    fn cols(&self, projection: Projection) -> Option<(&[usize], &'a Fit)> {
        match projection {
            Projection::O => Some((&self.queries, &self.narrow.output)),
            Projection::Down => Some((&self.narrow.channels, &self.narrow.down)),
            _ => None,
        }
    }
}

/// Places of something that there are so many of: one at least, rising.
fn rising(layer: usize, what: &str, places: &[usize], available: usize) -> Result<(), ModelError> {
    let refuse = |why: &str| Err(ModelError::Config(format!("block {layer} would have {what} {places:?}: {why}")));
    if places.is_empty() {
        return refuse("a block keeps one at least");
    }
    if places.windows(2).any(|pair| pair[0] >= pair[1]) {
        return refuse("they must rise");
    }
    match places.last() {
        Some(last) if *last >= available => refuse(&format!("there are {available}")),
        _ => Ok(()),
    }
}

/// How what goes is left out.
#[derive(Clone, Copy, PartialEq)]
enum Leaving {
    /// It is not there.
    Out,
    /// It is zero.
    Zero,
}

impl Decoder {
    /// The decoder of what is left of every block. A block of which nothing goes and nothing changes shares its weights with this one's. Where a
    /// bias is given, all maps have one, of zeros where nothing was given, which is what other programs can read.
    ///
    /// # Errors
    /// [`ModelError::Config`] for another number of blocks than there are, a block of nothing, heads that positions tell apart, and numbers
    /// that do not fit or that the element type cannot hold.
    pub fn narrowed(&self, blocks: &[Narrow]) -> Result<Self, ModelError> {
        self.left(blocks, Leaving::Out, &|_| None)
    }

    /// As [`Self::narrowed`], of decoders that were already made of this one: `known` names, for a block, one in which as much is left of it,
    /// the same to the bit. Its block is shared and not made again.
    ///
    /// # Errors
    /// As [`Self::narrowed`].
    pub fn narrowed_sharing<'a>(
        &self,
        blocks: &[Narrow],
        known: &dyn Fn(usize) -> Option<&'a Self>,
    ) -> Result<Self, ModelError> {
        self.left(blocks, Leaving::Out, known)
    }

    /// The decoder of the same widths as this one in which what goes is zero. It computes what [`Self::narrowed`] does.
    ///
    /// # Errors
    /// As [`Self::narrowed`].
    pub fn masked(&self, blocks: &[Narrow]) -> Result<Self, ModelError> {
        self.left(blocks, Leaving::Zero, &|_| None)
    }

    fn left<'a>(
        &self,
        blocks: &[Narrow],
        leaving: Leaving,
        known: &dyn Fn(usize) -> Option<&'a Self>,
    ) -> Result<Self, ModelError> {
        let old = self.config();
        if blocks.len() != old.layers {
            return Err(ModelError::Config(format!("{} blocks were given for {}", blocks.len(), old.layers)));
        }
        let biased = blocks.iter().any(|narrow| narrow.output.bias.is_some() || narrow.down.bias.is_some());
        let widths = blocks.iter().enumerate().map(|(layer, narrow)| match leaving {
            Leaving::Out => {
                let Width { heads, kv_heads, .. } = old.width(layer);
                let left = narrow.groups.len();
                Width { heads: heads / kv_heads * left, kv_heads: left, intermediate_size: narrow.channels.len() }
            }
            Leaving::Zero => old.width(layer),
        });
        let mut config = old.with_widths(widths.collect());
        config.qkv_bias |= biased;
        config.output_bias |= biased;
        config.mlp_bias |= biased;
        let made = blocks.iter().enumerate().map(|(layer, narrow)| {
            let fits = |other: &&Self| {
                biases(other.config()) == biases(&config) && other.config().width(layer) == config.width(layer)
            };
            let shared = known(layer).filter(fits).map(|other| Ok(Arc::clone(&other.blocks[layer])));
            shared.unwrap_or_else(|| self.block_left(&config, layer, narrow, leaving))
        });
        let blocks = made.collect::<Result<_, _>>()?;
        let mut attention = self.attention.clone();
        (attention.heads, attention.kv_heads) = (config.heads, config.kv_heads);
        Ok(Self { blocks, attention, config: Arc::new(config), ..self.clone() })
    }

    fn block_left(
        &self,
        config: &Config,
        layer: usize,
        narrow: &Narrow,
        leaving: Leaving,
    ) -> Result<Arc<Block>, ModelError> {
        let (old, shared) = (self.config(), &self.blocks[layer]);
        let kept = Kept::of(old, layer, narrow)?;
        let Width { kv_heads, intermediate_size, .. } = old.width(layer);
        let whole = narrow.groups.len() == kv_heads && narrow.channels.len() == intermediate_size;
        if whole && narrow.output == Fit::default() && narrow.down == Fit::default() && biases(config) == biases(old) {
            return Ok(Arc::clone(shared));
        }
        let mut block = Block::clone(shared);
        block.biases.clear();
        for projection in Projection::ALL {
            let Some(map) = shared.projections[projection as usize].as_ref() else { continue };
            let name = || projection.tensor(layer);
            let mut weight = map.weight();
            let mut bias = map.bias().map(|bias| bias.to_vec());
            if projection_bias(config, projection) {
                bias.get_or_insert_with(|| vec![0.0; map.rows()]);
            }
            if let Some(rows) = kept.rows(projection) {
                weight = with_rows(&weight, rows, leaving);
                bias = bias.map(|bias| with_rows(&Weight::from_f32(bias.len(), 1, bias), rows, leaving).to_f32());
            }
            if let Some((cols, fit)) = kept.cols(projection) {
                if let Some(values) = &fit.weight {
                    weight = replaced(&weight, values, &name())?;
                }
                weight = with_cols(&weight, cols, leaving);
                if let (Some(bias), Some(more)) = (&mut bias, &fit.bias) {
                    if more.len() != bias.len() {
                        let (found, expected) = ((1, more.len()), (1, bias.len()));
                        return Err(ModelError::TensorShape { name: name(), found, expected });
                    }
                    bias.iter_mut().zip(more).for_each(|(bias, more)| *bias += more);
                }
            }
            if let Some(bias) = &bias {
                let stored = Weight::rounded(1, bias.len(), bias, weight.dtype());
                block.biases.push(Parameter::Stored(stored.clone()));
                block.projections[projection as usize] =
                    Some(Arc::new(Dense::new(weight, Some(stored.to_f32().into()))));
            } else {
                block.projections[projection as usize] = Some(Arc::new(Dense::new(weight, None)));
            }
        }
        Ok(Arc::new(block))
    }
}

/// Which maps have a bias.
fn biases(config: &Config) -> [bool; 3] {
    [config.qkv_bias, config.output_bias, config.mlp_bias]
}

/// Other numbers of the same shape and element type.
fn replaced(weight: &Weight, values: &[f32], name: &str) -> Result<Weight, ModelError> {
    let (rows, cols, dtype) = (weight.rows(), weight.cols(), weight.dtype());
    if values.len() != rows * cols {
        let found = (values.len() / cols.max(1), cols);
        return Err(ModelError::TensorShape { name: name.to_owned(), found, expected: (rows, cols) });
    }
    let made = Weight::rounded(rows, cols, values, dtype);
    if made.to_f32().iter().any(|value| !value.is_finite()) {
        return Err(ModelError::Config(format!("{name} would have numbers beyond {dtype:?}")));
    }
    Ok(made)
}

fn with_rows(weight: &Weight, places: &[usize], leaving: Leaving) -> Weight {
    let (rows, cols, values) = (weight.rows(), weight.cols(), weight.to_f32());
    let kept = places.iter().flat_map(|row| &values[row * cols..(row + 1) * cols]);
    match leaving {
        Leaving::Out => Weight::rounded(places.len(), cols, &kept.copied().collect::<Vec<f32>>(), weight.dtype()),
        Leaving::Zero => {
            let mut masked = vec![0.0; values.len()];
            for row in places {
                masked[row * cols..(row + 1) * cols].copy_from_slice(&values[row * cols..(row + 1) * cols]);
            }
            Weight::rounded(rows, cols, &masked, weight.dtype())
        }
    }
}

fn with_cols(weight: &Weight, places: &[usize], leaving: Leaving) -> Weight {
    let (rows, cols, values) = (weight.rows(), weight.cols(), weight.to_f32());
    let wide = if leaving == Leaving::Out { places.len() } else { cols };
    let mut left = vec![0.0; rows * wide];
    for (to, from) in left.chunks_exact_mut(wide).zip(values.chunks_exact(cols)) {
        for (at, place) in places.iter().enumerate() {
            to[if leaving == Leaving::Out { at } else { *place }] = from[*place];
        }
    }
    Weight::rounded(rows, wide, &left, weight.dtype())
}

impl Checkpoint {
    /// The checkpoint of a decoder that [`Decoder::narrowed`] made of this one's. Its hash stays that of what it was made of.
    #[must_use]
    pub fn narrowed(&self, decoder: &Decoder) -> Self {
        let Config { heads, kv_heads, intermediate_size, qkv_bias, output_bias, mlp_bias, .. } = *decoder.config();
        let mut narrow = self.clone();
        let widths = decoder.config().widths.clone();
        let old = self.config.clone();
        narrow.config = Config { intermediate_size, heads, kv_heads, widths, qkv_bias, output_bias, mlp_bias, ..old };
        for layer in 0..decoder.config().layers {
            for projection in Projection::ALL {
                let Some(map) = decoder.linear(layer, projection) else { continue };
                if map.packed().is_none() {
                    let name = projection.tensor(layer);
                    narrow.packed.remove(&name);
                    narrow.tensors.insert(name, map.weight());
                }
            }
            narrow.tensors.extend(decoder.small_tensors(layer));
        }
        let called: std::collections::BTreeSet<String> =
            expected_tensors(&narrow.config).map(|spec| spec.name).collect();
        narrow.tensors.retain(|name, _| called.contains(name));
        narrow
    }
}

#[cfg(test)]
#[path = "narrow_tests.rs"]
mod tests;
