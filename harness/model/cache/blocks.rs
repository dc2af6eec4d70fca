//! A cache of each block, for decoders whose blocks differ in their heads.
//!
//! Every block has a cache of its own in the same format, of one block each, and all of them step together.

use super::{CacheFormat, CacheShape, Held, KvCache};
use crate::decoder::Decoder;
use crate::error::ModelError;

impl KvCache {
    /// The caches of all blocks, of one block each, as one.
    pub(crate) fn of_blocks(blocks: Vec<Self>) -> Self {
        Self(Held::Blocks(blocks))
    }

    fn as_blocks(&self) -> Option<&[Self]> {
        match &self.0 {
            Held::Blocks(blocks) => Some(blocks),
            Held::Full(_) | Held::Quantized(_) | Held::Evicting(_) | Held::States(_) => None,
        }
    }
}

impl Decoder {
    /// A cache of all blocks in this decoder's format: one for all where they are of one width.
    pub(crate) fn caches(
        &self,
        one: impl Fn(CacheShape, CacheFormat) -> Result<KvCache, ModelError>,
    ) -> Result<KvCache, ModelError> {
        let shape = self.cache_shape();
        if self.config.widths.is_empty() {
            return one(shape, self.cache_format);
        }
        let kv_heads = self.config.widths.iter().map(|width| width.kv_heads);
        let blocks = kv_heads.map(|kv_heads| one(CacheShape { layers: 1, kv_heads, ..shape }, self.cache_format));
        Ok(KvCache::of_blocks(blocks.collect::<Result<_, _>>()?))
    }

    /// Elements of the keys and values of a position in all blocks.
    pub fn cache_elements(&self) -> usize {
        let heads = (0..self.blocks.len()).map(|layer| self.config.width(layer).kv_heads);
        2 * self.config.head_dim * heads.sum::<usize>()
    }
}

/// As [`KvCache::gather`], block by block.
pub(super) fn gather(sources: &[(&KvCache, usize)], length: usize) -> Result<KvCache, ModelError> {
    let differ = || ModelError::CacheFormat { what: "hold sequences of caches of decoders of different widths" };
    let parts = sources.iter().map(|(cache, row)| Some((cache.as_blocks()?, *row)));
    let parts: Vec<(&[KvCache], usize)> = parts.collect::<Option<_>>().ok_or_else(differ)?;
    let blocks = parts.first().map_or(0, |(blocks, _)| blocks.len());
    if parts.iter().any(|(own, _)| own.len() != blocks) {
        return Err(differ());
    }
    let of = |block: usize| {
        let own: Vec<(&KvCache, usize)> = parts.iter().map(|(blocks, row)| (&blocks[block], *row)).collect();
        KvCache::gather(&own, length)
    };
    Ok(KvCache::of_blocks((0..blocks).map(of).collect::<Result<_, _>>()?))
}

/// An error of a cache of one block, which names the block it stands for.
pub(super) fn of_block(error: ModelError, layer: usize) -> ModelError {
    match error {
        ModelError::CacheValue { what, value, .. } => ModelError::CacheValue { layer, what, value },
        other => other,
    }
}
