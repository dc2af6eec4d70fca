//! Keys and values of the positions already seen.

mod full;
mod quantized;

#[cfg(test)]
mod tests;

use harness_kernels::attention as kernel;
pub use harness_kernels::cache::{CacheFormat, CodeBits, Grid};

use crate::error::ModelError;
use crate::ops::AttentionShape;
use crate::reach::{Kept, Looks};
use crate::rope::RopeTables;
use full::FullCache;
use quantized::QuantizedCache;

/// Growable keys and values of every block for a batch of sequences of one length, in f32 or as a [`CacheFormat`] says.
#[derive(Debug, Clone)]
pub struct KvCache(Held);

#[derive(Debug, Clone)]
enum Held {
    Full(FullCache),
    Quantized(QuantizedCache),
}

/// Codes are of rotated keys.
pub(crate) const MOVING: &str = "hold keys whose angles change with the length of what is read";

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
    /// [`ModelError::CacheGroup`] when groups do not divide a head.
    pub fn new(shape: CacheShape, format: CacheFormat) -> Result<Self, ModelError> {
        Ok(Self(match format {
            CacheFormat::Full => Held::Full(FullCache::new(shape)),
            CacheFormat::Quantized { grid, window } => Held::Quantized(QuantizedCache::new(shape, grid, window)?),
        }))
    }

    /// An empty cache in f32.
    pub(crate) fn full(shape: CacheShape) -> Self {
        Self(Held::Full(FullCache::new(shape)))
    }

    /// What keys and values are kept as.
    pub fn format(&self) -> CacheFormat {
        match &self.0 {
            Held::Full(_) => CacheFormat::Full,
            Held::Quantized(cache) => cache.format(),
        }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::Full(cache) => cache.length,
            Held::Quantized(cache) => cache.length,
        }
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sequences held; zero before the first use.
    pub fn batch(&self) -> usize {
        match &self.0 {
            Held::Full(cache) => cache.batch,
            Held::Quantized(cache) => cache.batch,
        }
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Held::Full(cache) => cache.bytes(),
            Held::Quantized(cache) => cache.bytes(),
        }
    }

    /// Bytes of what is held, without the room to grow.
    pub fn live_bytes(&self) -> usize {
        match &self.0 {
            Held::Full(cache) => cache.live_bytes(),
            Held::Quantized(cache) => cache.live_bytes(),
        }
    }

    /// Positions whose keys and values are codes.
    pub fn quantized(&self) -> (usize, usize) {
        match &self.0 {
            Held::Full(_) => (0, 0),
            Held::Quantized(cache) => cache.quantized(),
        }
    }

    /// Forgets all positions from `length` on.
    ///
    /// # Errors
    /// [`ModelError::CacheCodes`] when one of the positions that would stay the newest has become a code already,
    /// [`ModelError::CacheDropped`] when queries there would look at positions that are gone.
    pub fn truncate(&mut self, length: usize) -> Result<(), ModelError> {
        match &mut self.0 {
            Held::Full(cache) => cache.truncate(length),
            Held::Quantized(cache) => cache.truncate(length),
        }
    }

    /// A cache of the first `length` positions of sequences of other caches of the same model and format, each given as a
    /// cache and the place of the sequence in it.
    ///
    /// # Errors
    /// [`ModelError::Range`] when a cache has no such sequence or fewer positions, [`ModelError::CacheFormat`] where
    /// formats differ, and [`ModelError::CacheCodes`] or [`ModelError::CacheDropped`] as [`Self::truncate`].
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
        if let Some(Held::Quantized(first)) = sources.first().map(|(first, _)| &first.0) {
            let parts: Option<Vec<(&QuantizedCache, usize)>> = sources
                .iter()
                .map(|(cache, row)| Some((cache.as_quantized().filter(|cache| cache.grows_like(first))?, *row)))
                .collect();
            return Ok(Self(Held::Quantized(QuantizedCache::gather(&parts.ok_or_else(refused)?, length)?)));
        }
        let parts: Option<Vec<(&FullCache, usize)>> =
            sources.iter().map(|(cache, row)| Some((cache.as_full()?, *row))).collect();
        Ok(Self(Held::Full(FullCache::gather(&parts.ok_or_else(refused)?, length)?)))
    }

    /// A copy of the positions from `from` on of a cache of one sequence; [`Self::extend`] puts them behind others.
    ///
    /// # Errors
    /// [`ModelError::CacheBatch`] for several sequences, [`ModelError::Range`] where there are no such positions,
    /// [`ModelError::CacheFormat`] where they are quantized, [`ModelError::CacheDropped`] where they are gone.
    pub fn rest(&self, from: usize) -> Result<Self, ModelError> {
        let full = self.as_full().ok_or(ModelError::CacheFormat { what: "be taken apart" })?;
        Ok(Self(Held::Full(full.rest(from)?)))
    }

    /// Appends what another cache of the same model holds; both of one sequence.
    ///
    /// # Errors
    /// [`ModelError::CacheBatch`] for several sequences, [`ModelError::CacheFormat`] where one is quantized.
    pub fn extend(&mut self, other: &Self) -> Result<(), ModelError> {
        match (&mut self.0, &other.0) {
            (Held::Full(cache), Held::Full(other)) => cache.extend(other),
            _ => Err(ModelError::CacheFormat { what: "be put together" }),
        }
    }

    /// This cache in another format, as if its positions had been the prompt; itself where it has that format.
    ///
    /// # Errors
    /// [`ModelError::CacheGroup`] and [`ModelError::CacheValue`]; [`ModelError::CacheFormat`] for a quantized cache that
    /// should change.
    pub fn kept_as(self, format: CacheFormat) -> Result<Self, ModelError> {
        match (self.0, format) {
            (Held::Full(full), CacheFormat::Full) => Ok(Self(Held::Full(full))),
            (Held::Full(full), CacheFormat::Quantized { grid, window }) => {
                let mut cache = QuantizedCache::new(full.shape, grid, window)?;
                cache.read(&full)?;
                Ok(Self(Held::Quantized(cache)))
            }
            (Held::Quantized(cache), _) if cache.format() == format => Ok(Self(Held::Quantized(cache))),
            (Held::Quantized(_), _) => Err(ModelError::CacheFormat { what: "change its format" }),
        }
    }

    fn as_quantized(&self) -> Option<&QuantizedCache> {
        match &self.0 {
            Held::Full(_) => None,
            Held::Quantized(cache) => Some(cache),
        }
    }

    fn as_full(&self) -> Option<&FullCache> {
        match &self.0 {
            Held::Full(cache) => Some(cache),
            Held::Quantized(_) => None,
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
        }
    }

    pub(crate) fn advance(&mut self, positions: usize) {
        match &mut self.0 {
            Held::Full(cache) => cache.advance(positions),
            Held::Quantized(cache) => cache.advance(positions),
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
