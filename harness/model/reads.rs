//! Decoders whose parts read some numbers of the residual stream only.
//!
//! Before attention and before the feed-forward part the stream is normalised over its full width; the maps behind read a part of what comes of that, and have no
//! columns for the rest. Numbers that stand side by side are read without a copy: the normalisation writes those alone. Others are copied together for every token.
//! In which order the numbers of the stream stand changes nothing that a decoder computes but rounding, so it can be chosen to copy less.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Projection};
use crate::decoder::{Block, Decoder};
use crate::error::{Context, ModelError};
use crate::linear::Dense;
use crate::load::Checkpoint;
use crate::ops;
use crate::parameter::{Norm, Parameter};
use crate::tensor::Tensor;
use crate::weight::Weight;

/// Which numbers of the normalised stream the maps of a part read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Read {
    /// All of them.
    #[default]
    All,
    /// Those that stand side by side from the first of these places to before the second, without a copy.
    Slice(usize, usize),
    /// Those at these places, rising, copied together.
    Gather(#[serde(with = "shared")] Arc<[usize]>),
}

/// Places that steps share, as a plain list in files.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(places: &Arc<[usize]>, serializer: S) -> Result<S::Ok, S::Error> {
        places.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[usize]>, D::Error> {
        Vec::deserialize(deserializer).map(Arc::from)
    }
}

/// What the two parts of a block read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockReads {
    /// The maps of queries, keys and values.
    pub attention: Read,
    /// Gate and expansion.
    pub feed_forward: Read,
}

impl BlockReads {
    /// What the maps of a projection read, where they read the stream.
    pub fn of(&self, projection: Projection) -> Option<&Read> {
        match projection {
            Projection::Q | Projection::K | Projection::V => Some(&self.attention),
            Projection::Gate | Projection::Up => Some(&self.feed_forward),
            Projection::O | Projection::Down => None,
        }
    }
}

impl Read {
    /// Of rising places of a stream of `hidden` numbers, the cheapest.
    fn of(places: Vec<usize>, hidden: usize) -> Self {
        match (places.first(), places.last()) {
            (Some(0), Some(last)) if places.len() == hidden && last + 1 == hidden => Self::All,
            (Some(first), Some(last)) if last - first + 1 == places.len() => Self::Slice(*first, *last + 1),
            _ => Self::Gather(places.into()),
        }
    }

    /// How many numbers are read of a stream of `hidden`.
    pub fn width(&self, hidden: usize) -> usize {
        match self {
            Self::All => hidden,
            Self::Slice(start, end) => end.saturating_sub(*start),
            Self::Gather(places) => places.len(),
        }
    }

    /// How many numbers are copied for every token.
    pub fn copied(&self) -> usize {
        if let Self::Gather(places) = self { places.len() } else { 0 }
    }

    /// The places that are read, rising.
    fn places(&self, hidden: usize) -> Vec<usize> {
        match self {
            Self::All => (0..hidden).collect(),
            Self::Slice(start, end) => (*start..*end).collect(),
            Self::Gather(places) => places.to_vec(),
        }
    }

    /// Of a number for each of the stream's, those of the numbers that are read.
    #[must_use]
    pub fn of_stream(&self, values: &[f32]) -> Vec<f32> {
        self.places(values.len()).iter().filter_map(|place| values.get(*place).copied()).collect()
    }

    /// A number for each of the stream's, where one for each that is read was given: one for the others.
    pub(crate) fn spread(&self, factors: &[f32], hidden: usize) -> Vec<f32> {
        let mut spread = vec![1.0; hidden];
        for (place, factor) in self.places(hidden).into_iter().zip(factors) {
            spread[place] = *factor;
        }
        spread
    }

    /// Normalises `x (…, hidden)` and takes what is read, `(…, width)`.
    pub(crate) fn normalised(&self, norm: &Norm, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::All => norm.forward(x),
            Self::Slice(start, end) => norm.forward_part(x, *start..*end),
            Self::Gather(places) => ops::columns(&norm.forward(x)?, places),
        }
    }

    /// Whether a stream of `hidden` numbers can be read so.
    fn check(&self, hidden: usize) -> Result<(), String> {
        match self {
            Self::All => Ok(()),
            Self::Slice(start, end) if start < end && *end <= hidden => Ok(()),
            Self::Slice(start, end) => Err(format!(
                "the places from {start} to before {end} of a stream of {hidden} numbers; give some that are there"
            )),
            Self::Gather(places) => {
                if let Some((place, next)) =
                    places.iter().zip(places.iter().skip(1)).find(|(place, next)| place >= next)
                {
                    return Err(format!("the place {place} before {next}; places must rise"));
                }
                match places.last() {
                    None => Err("nothing; a part reads one number at least".to_owned()),
                    Some(last) if *last < hidden => Ok(()),
                    Some(last) => {
                        Err(format!("the place {last} of a stream of {hidden} numbers; give one that is there"))
                    }
                }
            }
        }
    }
}

/// Whether what parts read fits the blocks and the stream.
///
/// # Errors
/// A sentence naming the block and the place at fault.
pub(crate) fn check_reads(config: &Config) -> Result<(), String> {
    let Config { reads, layers, hidden_size, .. } = config;
    if reads.is_empty() {
        return Ok(());
    }
    if config.state_space().is_some() {
        return Err("parts of blocks read a part of the stream, and state spaces have no such parts".to_owned());
    }
    if reads.len() != *layers {
        return Err(format!("what is read is said of {} blocks where there are {layers}", reads.len()));
    }
    for (layer, block) in reads.iter().enumerate() {
        for (part, read) in [("attention", &block.attention), ("the feed-forward part", &block.feed_forward)] {
            read.check(*hidden_size).map_err(|what| format!("{part} of block {layer} reads {what}"))?;
        }
    }
    Ok(())
}

/// Which numbers of the stream each part reads, and in which order the stream holds them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// The stream's numbers in their new order, every one once.
    pub order: Vec<usize>,
    /// Of each block the numbers that attention and that the feed-forward part reads, by their places before, rising.
    pub parts: Vec<[Vec<usize>; 2]>,
}

impl Reading {
    /// Where each number of the stream stands in the new order.
    fn positions(&self) -> Vec<usize> {
        let mut positions = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(at, number)| positions[*number] = at);
        positions
    }

    fn check(&self, config: &Config) -> Result<(), ModelError> {
        let hidden = config.hidden_size;
        let refuse = |why: String| Err(ModelError::Config(why));
        if config.state_space().is_some() {
            return Err(ModelError::StateSpace { what: "parts that could read some of the stream" });
        }
        if config.shortcuts || !config.reads.is_empty() {
            return refuse(
                "the residual stream of this model was turned, or is read in part, already; begin with the whole model"
                    .to_owned(),
            );
        }
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        if sorted.into_iter().ne(0..hidden) {
            return refuse(format!("an order of the stream has every one of its {hidden} numbers once"));
        }
        let reads = self.parts.iter().map(|parts| {
            let [attention, feed_forward] = parts.each_ref().map(|places| Read::Gather(places.as_slice().into()));
            BlockReads { attention, feed_forward }
        });
        check_reads(&Config { reads: reads.collect(), ..config.clone() }).map_err(ModelError::Config)?;
        if self.parts.len() != config.layers {
            return refuse(format!(
                "what is read is said of {} blocks where there are {}",
                self.parts.len(),
                config.layers
            ));
        }
        Ok(())
    }
}

/// The columns of a matrix at these places, in their order.
fn with_columns(weight: &Weight, places: &[usize]) -> Weight {
    let (rows, cols, values) = (weight.rows(), weight.cols(), weight.to_f32());
    let mut left = Vec::with_capacity(rows * places.len());
    values.chunks_exact(cols.max(1)).for_each(|row| left.extend(places.iter().map(|place| row[*place])));
    Weight::rounded(rows, places.len(), &left, weight.dtype())
}

/// The rows of a matrix at these places, in their order.
fn with_rows(weight: &Weight, places: &[usize]) -> Weight {
    let (cols, values) = (weight.cols(), weight.to_f32());
    let left: Vec<f32> = places.iter().flat_map(|row| &values[row * cols..(row + 1) * cols]).copied().collect();
    Weight::rounded(places.len(), cols, &left, weight.dtype())
}

/// A normalisation of numbers that stand in another order.
fn ordered(norm: &Norm, order: &[usize]) -> Result<Norm, ModelError> {
    norm.with(|weight| with_columns(weight, order)).doing(|| "ordering a normalisation".to_owned())
}

impl Decoder {
    /// What the parts of a block read of the normalised stream.
    pub fn reads(&self, layer: usize) -> &BlockReads {
        static ALL: BlockReads = BlockReads { attention: Read::All, feed_forward: Read::All };
        self.config.reads.get(layer).unwrap_or(&ALL)
    }

    /// The decoder whose parts read the numbers of the stream that are given, without columns for the others, and whose stream holds its numbers in the order
    /// that is given: columns of embeddings and of the head, normalisations, rows and biases of the maps that write to the stream, and columns of those that read
    /// it all follow it. Numbers that no part reads stay in the stream: normalisations and the head read them. Without another order and with all read it
    /// shares its weights with this one.
    ///
    /// # Errors
    /// [`ModelError::Config`] for an order that lacks a number, places that are not there or do not rise, and a stream that was turned or is read in part
    /// already; [`ModelError::StateSpace`].
    pub fn read_by(&self, reading: &Reading) -> Result<Self, ModelError> {
        let config = self.config();
        reading.check(config)?;
        let (hidden, positions) = (config.hidden_size, reading.positions());
        let read = |places: &Vec<usize>| {
            let mut at: Vec<usize> = places.iter().map(|place| positions[*place]).collect();
            at.sort_unstable();
            Read::of(at, hidden)
        };
        let reads: Vec<BlockReads> = reading
            .parts
            .iter()
            .map(|[attention, feed_forward]| BlockReads {
                attention: read(attention),
                feed_forward: read(feed_forward),
            })
            .collect();
        let moved = reading.order.iter().enumerate().any(|(at, number)| at != *number);
        let blocks = reads.iter().enumerate().map(|(layer, reads)| {
            if !moved && *reads == BlockReads::default() {
                return Ok(Arc::clone(&self.blocks[layer]));
            }
            self.block_read(layer, &reading.order, reads)
        });
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        let reads = if reads.iter().all(|reads| *reads == BlockReads::default()) { Vec::new() } else { reads };
        let read = Self { blocks, config: Arc::new(Config { reads, ..config.clone() }), ..self.clone() };
        if !moved {
            return Ok(read);
        }
        let table = |parameter: &Parameter| Parameter::Stored(with_columns(&parameter.weight(), &reading.order));
        let embedding = table(&self.embedding);
        let head = if config.tied_head && !self.own_head {
            embedding.weight()
        } else {
            with_columns(&self.head.weight(), &reading.order)
        };
        Ok(Self {
            embedding,
            positions: self.positions.as_ref().map(table),
            final_norm: ordered(&self.final_norm, &reading.order)?,
            head: Arc::new(Dense::new(head, self.head.bias())),
            ..read
        })
    }

    /// The decoder as wide as this one, in its order, in which columns that [`Self::read_by`] leaves out are zero. It computes what that does.
    ///
    /// # Errors
    /// As [`Self::read_by`].
    pub fn unread(&self, reading: &Reading) -> Result<Self, ModelError> {
        reading.check(self.config())?;
        let mut masked = self.clone();
        for (layer, [attention, feed_forward]) in reading.parts.iter().enumerate() {
            let reads = BlockReads {
                attention: Read::of(attention.clone(), self.config.hidden_size),
                feed_forward: Read::of(feed_forward.clone(), self.config.hidden_size),
            };
            for projection in Projection::ALL {
                let (Some(map), Some(read)) = (self.linear(layer, projection), reads.of(projection)) else { continue };
                let mut factors = vec![0.0; map.cols()];
                read.places(map.cols()).into_iter().for_each(|place| factors[place] = 1.0);
                let mut values = map.weight().to_f32();
                for row in values.chunks_exact_mut(map.cols().max(1)) {
                    row.iter_mut().zip(&factors).for_each(|(value, factor)| *value *= factor);
                }
                let weight = Weight::rounded(map.rows(), map.cols(), &values, map.weight().dtype());
                masked = masked.with_linear(layer, projection, Arc::new(Dense::new(weight, map.bias())))?;
            }
        }
        Ok(masked)
    }

    fn block_read(&self, layer: usize, order: &[usize], reads: &BlockReads) -> Result<Arc<Block>, ModelError> {
        let shared = &self.blocks[layer];
        let mut block = Block::clone(shared);
        block.biases.clear();
        for projection in Projection::ALL {
            let Some(map) = shared.projections[projection as usize].as_ref() else { continue };
            let weight = map.weight();
            let stored = map.bias().map(|bias| Weight::rounded(1, bias.len(), &bias, weight.dtype()));
            let (weight, stored) = match reads.of(projection) {
                Some(read) => {
                    let places: Vec<usize> = read.places(order.len()).iter().map(|at| order[*at]).collect();
                    (with_columns(&weight, &places), stored)
                }
                None => (with_rows(&weight, order), stored.map(|bias| with_columns(&bias, order))),
            };
            block.biases.extend(stored.clone().map(Parameter::Stored));
            block.projections[projection as usize] =
                Some(Arc::new(Dense::new(weight, stored.map(|bias| bias.to_f32().into()))));
        }
        block.attention_norm = ordered(&shared.attention_norm, order)?;
        block.feed_forward_norm = ordered(&shared.feed_forward_norm, order)?;
        Ok(Arc::new(block))
    }
}

impl Checkpoint {
    /// The checkpoint of a decoder that [`Decoder::read_by`] made of this one's. Its hash stays that of what it was made of.
    #[must_use]
    pub fn read_by(&self, decoder: &Decoder) -> Self {
        let mut read = self.clone();
        read.config = Config { reads: decoder.config().reads.clone(), ..self.config.clone() };
        let own = decoder.tensors();
        // What a decoder does not hold as a tensor of its own stays as it was.
        let rest = self.tensors.iter().filter(|(name, _)| !own.contains_key(*name));
        let tensors: BTreeMap<String, Weight> = rest.map(|(name, weight)| (name.clone(), weight.clone())).collect();
        read.tensors = tensors.into_iter().chain(own).collect();
        read.packed = BTreeMap::new();
        read
    }
}

#[cfg(test)]
#[path = "reads_tests.rs"]
mod tests;
