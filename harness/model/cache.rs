//! Keys and values of the positions already seen.

mod blocks;
mod evicting;
mod full;
mod of_decoder;
mod quantized;
mod states;

#[cfg(test)]
mod evicting_tests;
#[cfg(test)]
mod tests;

use harness_kernels::attention as kernel;
pub use harness_kernels::cache::{Budget, CacheFormat, CodeBits, Eviction, Grid, Pool, Pooling};

use crate::error::ModelError;
use crate::ops::AttentionShape;
use crate::reach::{Kept, Looks};
use crate::rope::RopeTables;
use crate::state_space::Carried;
use evicting::EvictingCache;
use full::FullCache;
use quantized::QuantizedCache;

/// Growable keys and values of every block for a batch of sequences of one length, in f32 or as a [`CacheFormat`] says; of a decoder of
/// state spaces its states, which do not grow.
#[derive(Debug, Clone)]
pub struct KvCache(Held);

#[derive(Debug, Clone)]
enum Held {
    Full(FullCache),
    Quantized(QuantizedCache),
    Evicting(EvictingCache),
    /// A cache of each block, where blocks differ in their heads.
    Blocks(Vec<KvCache>),
    States(Carried),
}

/// Codes are of rotated keys.
pub(crate) const MOVING: &str = "hold keys whose angles change with the length of what is read";

/// States are no keys and values.
pub(crate) const NO_KEYS: &str = "keys and values";

/// Keys that are let go have no place in a rule of what queries look at.
pub(crate) const LOOKS: &str = "be of a model that looks at some keys only";

/// What a cache is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheShape {
    /// Blocks.
    pub layers: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// Positions that later queries look at; all where there is no bound.
    pub kept: Option<Kept>,
}

impl CacheShape {
    /// Elements of the keys, and of the values, of a position in a block.
    pub fn width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// What a block looks back on.
pub(crate) enum Past<'a> {
    /// Nothing but the sequences themselves.
    Nothing,
    /// One cache for all sequences, which are of one length.
    Shared(&'a mut KvCache),
    /// A cache for each sequence, of any length.
    Each(&'a mut [KvCache]),
}

impl KvCache {
    /// An empty cache.
    ///
    /// # Errors
    /// [`ModelError::CacheGroup`] when groups do not divide a head, [`ModelError::CacheBudget`] for a rule that keeps no keys.
    pub fn new(shape: CacheShape, format: CacheFormat) -> Result<Self, ModelError> {
        Ok(Self(match format {
            CacheFormat::Full => Held::Full(FullCache::new(shape)),
            CacheFormat::Quantized { grid, window } => Held::Quantized(QuantizedCache::new(shape, grid, window)?),
            CacheFormat::Evicting(rule) => Held::Evicting(EvictingCache::new(shape, rule, false)?),
        }))
    }

    /// An empty cache in f32 that holds all of a prompt, of however many steps, until [`Self::kept_as`] gives it a format.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn for_prompt(shape: CacheShape, format: CacheFormat) -> Result<Self, ModelError> {
        Ok(Self(match format {
            // What keys receive is seen while the prompt is read.
            CacheFormat::Evicting(rule) => Held::Evicting(EvictingCache::new(shape, rule, true)?),
            CacheFormat::Full | CacheFormat::Quantized { .. } => Held::Full(FullCache::new(shape)),
        }))
    }

    /// What keys and values are kept as.
    pub fn format(&self) -> CacheFormat {
        match &self.0 {
            Held::Full(_) | Held::States(_) => CacheFormat::Full,
            Held::Quantized(cache) => cache.format(),
            Held::Evicting(cache) => CacheFormat::Evicting(cache.rule()),
            Held::Blocks(blocks) => blocks.first().map_or(CacheFormat::Full, Self::format),
        }
    }

    /// Positions read.
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::Full(cache) => cache.length,
            Held::Quantized(cache) => cache.length,
            Held::Evicting(cache) => cache.length,
            Held::Blocks(blocks) => blocks.first().map_or(0, Self::len),
            Held::States(cache) => cache.tokens(),
        }
    }

    /// Whether no position was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sequences held; zero before the first use.
    pub fn batch(&self) -> usize {
        match &self.0 {
            Held::Full(cache) => cache.batch,
            Held::Quantized(cache) => cache.batch,
            Held::Evicting(cache) => cache.batch,
            Held::Blocks(blocks) => blocks.first().map_or(0, Self::batch),
            Held::States(cache) => cache.batch(),
        }
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Held::Full(cache) => cache.bytes(),
            Held::Quantized(cache) => cache.bytes(),
            Held::Evicting(cache) => cache.bytes(),
            Held::Blocks(blocks) => blocks.iter().map(Self::bytes).sum(),
            Held::States(cache) => cache.bytes(),
        }
    }

    /// Bytes of what is held, without the room to grow.
    pub fn live_bytes(&self) -> usize {
        match &self.0 {
            Held::Full(cache) => cache.live_bytes(),
            Held::Quantized(cache) => cache.live_bytes(),
            Held::Evicting(cache) => cache.live_bytes(),
            Held::Blocks(blocks) => blocks.iter().map(Self::live_bytes).sum(),
            Held::States(cache) => cache.bytes(),
        }
    }

    /// Keys that every head holds: as many as positions were read, but where some are let go or there are none.
    pub fn held(&self) -> usize {
        match &self.0 {
            Held::Full(cache) => cache.rows(),
            Held::Quantized(cache) => cache.length,
            Held::Evicting(cache) => cache.rows(),
            Held::Blocks(blocks) => blocks.first().map_or(0, Self::held),
            Held::States(_) => 0,
        }
    }

    /// Positions whose keys and values are codes.
    pub fn quantized(&self) -> (usize, usize) {
        match &self.0 {
            Held::Full(_) | Held::Evicting(_) | Held::States(_) => (0, 0),
            Held::Quantized(cache) => cache.quantized(),
            Held::Blocks(blocks) => blocks.first().map_or((0, 0), Self::quantized),
        }
    }

    /// Forgets all positions from `length` on.
    ///
    /// # Errors
    /// [`ModelError::CacheCodes`] when one of the positions that would stay the newest has become a code already,
    /// [`ModelError::CacheDropped`] or [`ModelError::CacheEvicted`] when queries there would look at positions that are gone,
    /// [`ModelError::CacheStates`] when the text is in states and would not be forgotten as a whole.
    pub fn truncate(&mut self, length: usize) -> Result<(), ModelError> {
        match &mut self.0 {
            Held::Full(cache) => cache.truncate(length),
            Held::Quantized(cache) => cache.truncate(length),
            Held::Evicting(cache) => cache.truncate(length),
            Held::Blocks(blocks) => blocks.iter_mut().try_for_each(|block| block.truncate(length)),
            Held::States(cache) => states::truncate(cache, length),
        }
    }

    /// A cache of the first `length` positions of sequences of other caches of the same model and format, each given as a
    /// cache and the place of the sequence in it.
    ///
    /// # Errors
    /// [`ModelError::Range`] when a cache has no such sequence or fewer positions, [`ModelError::CacheFormat`] where
    /// formats differ, and [`ModelError::CacheCodes`], [`ModelError::CacheDropped`], [`ModelError::CacheEvicted`] or
    /// [`ModelError::CacheStates`] as [`Self::truncate`].
    pub fn gather(sources: &[(&Self, usize)], length: usize) -> Result<Self, ModelError> {
        for (cache, row) in sources {
            let range = |what, end, available| ModelError::Range { what, start: 0, end, available };
            if *row >= cache.batch() {
                return Err(range("cached sequences", row + 1, cache.batch()));
            }
            if length > cache.len() {
                return Err(range("cached positions", length, cache.len()));
            }
        }
        let refused = || ModelError::CacheFormat { what: "hold sequences of caches of different formats" };
        if let Some(Held::Blocks(_)) = sources.first().map(|(first, _)| &first.0) {
            return blocks::gather(sources, length);
        }
        if let Some(Held::Quantized(first)) = sources.first().map(|(first, _)| &first.0) {
            let parts: Option<Vec<(&QuantizedCache, usize)>> = sources
                .iter()
                .map(|(cache, row)| Some((cache.as_quantized().filter(|cache| cache.grows_like(first))?, *row)))
                .collect();
            return Ok(Self(Held::Quantized(QuantizedCache::gather(&parts.ok_or_else(refused)?, length)?)));
        }
        if let Some(Held::Evicting(first)) = sources.first().map(|(first, _)| &first.0) {
            let parts: Option<Vec<(&EvictingCache, usize)>> = sources
                .iter()
                .map(|(cache, row)| Some((cache.as_evicting().filter(|cache| cache.grows_like(first))?, *row)))
                .collect();
            let differ = ModelError::CacheEvicts { what: "hold sequences of caches that hold others" };
            return Ok(Self(Held::Evicting(EvictingCache::gather(&parts.ok_or(differ)?, length)?)));
        }
        if let Some(Held::States(_)) = sources.first().map(|(first, _)| &first.0) {
            return states::gather(sources, length);
        }
        let parts: Option<Vec<(&FullCache, usize)>> =
            sources.iter().map(|(cache, row)| Some((cache.as_full()?, *row))).collect();
        Ok(Self(Held::Full(FullCache::gather(&parts.ok_or_else(refused)?, length)?)))
    }

    /// A copy of the positions from `from` on of a cache of one sequence; [`Self::extend`] puts them behind others. One that lets
    /// keys go, or holds states, can only be copied whole.
    ///
    /// # Errors
    /// [`ModelError::CacheBatch`] for several sequences, [`ModelError::Range`] where there are no such positions,
    /// [`ModelError::CacheFormat`] where they are quantized, [`ModelError::CacheDropped`] where they are gone,
    /// [`ModelError::CacheEvicts`] and [`ModelError::CacheStates`] where what keys received, or states, cannot be taken apart.
    pub fn rest(&self, from: usize) -> Result<Self, ModelError> {
        match &self.0 {
            Held::Evicting(cache) if from == 0 && cache.batch == 1 => return Ok(self.clone()),
            Held::Evicting(_) => return Err(ModelError::CacheEvicts { what: "be taken apart" }),
            Held::Blocks(blocks) => {
                return Ok(Self::of_blocks(blocks.iter().map(|block| block.rest(from)).collect::<Result<_, _>>()?));
            }
            Held::States(cache) if from == 0 && cache.batch() == 1 => return Ok(self.clone()),
            Held::States(cache) => return Err(ModelError::CacheStates { length: from, read: cache.tokens() }),
            Held::Full(_) | Held::Quantized(_) => {}
        }
        let full = self.as_full().ok_or(ModelError::CacheFormat { what: "be taken apart" })?;
        Ok(Self(Held::Full(full.rest(from)?)))
    }

    /// Appends what another cache of the same model holds; both of one sequence.
    ///
    /// # Errors
    /// [`ModelError::CacheBatch`] for several sequences, [`ModelError::CacheFormat`] where one is quantized,
    /// [`ModelError::CacheEvicts`] and [`ModelError::CacheStates`] where one lets keys go or holds states and this one is not empty.
    pub fn extend(&mut self, other: &Self) -> Result<(), ModelError> {
        match (&mut self.0, &other.0) {
            (Held::Full(cache), Held::Full(other)) => cache.extend(other),
            (Held::Evicting(cache), Held::Evicting(other)) if cache.length == 0 && cache.rule() == other.rule() => {
                *cache = other.clone();
                Ok(())
            }
            (Held::Blocks(blocks), Held::Blocks(others)) if blocks.len() == others.len() => {
                blocks.iter_mut().zip(others).try_for_each(|(block, other)| block.extend(other))
            }
            (Held::States(cache), Held::States(other)) if cache.tokens() == 0 => {
                *cache = other.clone();
                Ok(())
            }
            (Held::States(_), _) | (_, Held::States(_)) => {
                Err(ModelError::CacheStates { length: other.len(), read: self.len() })
            }
            (Held::Evicting(_), _) | (_, Held::Evicting(_)) => Err(ModelError::CacheEvicts { what: "be put together" }),
            _ => Err(ModelError::CacheFormat { what: "be put together" }),
        }
    }

    /// This cache in another format, as if its positions had been the prompt; itself where it has that format.
    ///
    /// # Errors
    /// [`ModelError::CacheGroup`] and [`ModelError::CacheValue`]; [`ModelError::CacheFormat`] for a quantized cache that
    /// should change; [`ModelError::CacheEvicts`] for one that lets keys go and should not, or did not see what keys received;
    /// [`ModelError::CacheBudget`] for a prompt of which nothing would stay.
    pub fn kept_as(self, format: CacheFormat) -> Result<Self, ModelError> {
        match (self.0, format) {
            (Held::Full(full), CacheFormat::Full) => Ok(Self(Held::Full(full))),
            (Held::States(cache), CacheFormat::Full) => Ok(Self(Held::States(cache))),
            (Held::States(_), _) => Err(ModelError::StateSpace { what: NO_KEYS }),
            (Held::Full(full), CacheFormat::Quantized { grid, window }) => {
                let mut cache = QuantizedCache::new(full.shape, grid, window)?;
                cache.read(&full)?;
                Ok(Self(Held::Quantized(cache)))
            }
            (Held::Quantized(cache), _) if cache.format() == format => Ok(Self(Held::Quantized(cache))),
            (Held::Quantized(_), _) => Err(ModelError::CacheFormat { what: "change its format" }),
            (Held::Evicting(mut cache), CacheFormat::Evicting(rule)) if cache.rule() == rule => {
                cache.close()?;
                Ok(Self(Held::Evicting(cache)))
            }
            (Held::Blocks(blocks), _) => {
                let kept = blocks.into_iter().map(|block| block.kept_as(format));
                Ok(Self::of_blocks(kept.collect::<Result<_, _>>()?))
            }
            (Held::Evicting(_), _) | (_, CacheFormat::Evicting(_)) => {
                Err(ModelError::CacheEvicts { what: "change its format" })
            }
        }
    }

    fn as_quantized(&self) -> Option<&QuantizedCache> {
        match &self.0 {
            Held::Quantized(cache) => Some(cache),
            Held::Full(_) | Held::Evicting(_) | Held::Blocks(_) | Held::States(_) => None,
        }
    }

    fn as_evicting(&self) -> Option<&EvictingCache> {
        match &self.0 {
            Held::Evicting(cache) => Some(cache),
            Held::Full(_) | Held::Quantized(_) | Held::Blocks(_) | Held::States(_) => None,
        }
    }

    fn as_full(&self) -> Option<&FullCache> {
        match &self.0 {
            Held::Full(cache) => Some(cache),
            Held::Quantized(_) | Held::Evicting(_) | Held::Blocks(_) | Held::States(_) => None,
        }
    }

    /// Makes room for `more` positions of `batch` sequences.
    pub(crate) fn reserve(&mut self, batch: usize, more: usize) -> Result<(), ModelError> {
        if !self.is_empty() && batch != self.batch() {
            return Err(ModelError::CacheBatch { cached: self.batch(), given: batch });
        }
        match &mut self.0 {
            Held::Full(cache) => cache.reserve(batch, more),
            Held::Quantized(cache) => cache.reserve(batch, more),
            Held::Evicting(cache) => cache.reserve(batch, more)?,
            Held::Blocks(blocks) => blocks.iter_mut().try_for_each(|block| block.reserve(batch, more))?,
            Held::States(cache) if cache.batch() != batch => *cache = Carried::begin(cache.sizes(), batch),
            Held::States(_) => {}
        }
        Ok(())
    }

    /// Takes keys and values `(batch, new, width)` of the positions after [`Self::len`] into one block, after
    /// [`Self::reserve`], and gives the attention of their queries to all positions; [`Self::advance`] makes them count once
    /// every block has them. With tables, keys are kept as they are given and all of them turned for these queries.
    pub(crate) fn attend(
        &mut self,
        layer: usize,
        qkv: [&[f32]; 3],
        later: Option<&RopeTables>,
        shape: &AttentionShape,
    ) -> Result<Vec<f32>, ModelError> {
        match &mut self.0 {
            Held::Full(cache) => Ok(cache.attend(layer, qkv, later, shape)),
            Held::Quantized(_) if later.is_some() => Err(ModelError::CacheFormat { what: MOVING }),
            Held::Quantized(cache) => cache.attend(layer, qkv, shape),
            Held::Evicting(_) if later.is_some() => Err(ModelError::CacheEvicts { what: MOVING }),
            Held::Evicting(cache) => Ok(cache.attend(layer, qkv, shape)),
            Held::Blocks(blocks) => {
                let attended = blocks[layer].attend(0, qkv, later, shape);
                attended.map_err(|error| blocks::of_block(error, layer))
            }
            Held::States(_) => Err(ModelError::StateSpace { what: NO_KEYS }),
        }
    }

    /// As [`Self::attend`], of queries and keys that are turned for each look.
    pub(crate) fn attend_looks(
        &mut self,
        layer: usize,
        qkv: [&[f32]; 3],
        looks: &Looks,
        shape: &AttentionShape,
    ) -> Result<Vec<f32>, ModelError> {
        match &mut self.0 {
            Held::Full(cache) => Ok(cache.attend_looks(layer, qkv, looks, shape)),
            Held::Quantized(_) => Err(ModelError::CacheFormat { what: MOVING }),
            Held::Evicting(_) => Err(ModelError::CacheEvicts { what: LOOKS }),
            Held::Blocks(blocks) => blocks[layer].attend_looks(0, qkv, looks, shape),
            Held::States(_) => Err(ModelError::StateSpace { what: NO_KEYS }),
        }
    }

    pub(crate) fn advance(&mut self, positions: usize) {
        match &mut self.0 {
            Held::Full(cache) => cache.advance(positions),
            Held::Quantized(cache) => cache.advance(positions),
            Held::Evicting(cache) => cache.advance(positions),
            Held::Blocks(blocks) => blocks.iter_mut().for_each(|block| block.advance(positions)),
            // A pass moves states itself.
            Held::States(_) => {}
        }
    }
}

/// Attention to keys and values in f32 that are `stride` elements apart from sequence to sequence.
fn attend_full(
    [q, k, v]: [&[f32]; 3],
    (batch, queries, keys): (usize, usize, usize),
    stride: usize,
    shape: &AttentionShape,
) -> Vec<f32> {
    kernel::attention(q, k, v, &shape.kernel(batch, queries, keys, stride)).0
}
