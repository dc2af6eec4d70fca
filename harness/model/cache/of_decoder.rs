//! Caches as a decoder asks for them.

use super::{CacheFormat, CacheShape, KvCache};
use crate::config::Config;
use crate::decoder::Decoder;
use crate::error::ModelError;

impl Decoder {
    /// An empty cache for this decoder, in its format.
    ///
    /// # Panics
    /// Never: [`Decoder::with_cache`] has seen that the format fits.
    pub fn new_cache(&self) -> KvCache {
        if let Some(spaces) = &self.state_space {
            return KvCache::of_states(spaces.sizes());
        }
        self.caches(KvCache::new).unwrap_or_else(|error| unreachable!("{error}"))
    }

    /// An empty cache in f32 for this decoder that holds all of a prompt, read in however many steps. [`KvCache::kept_as`] makes it
    /// one in the decoder's format.
    ///
    /// # Panics
    /// As [`Self::new_cache`].
    pub fn full_cache(&self) -> KvCache {
        if self.has_states() {
            return self.new_cache();
        }
        self.caches(KvCache::for_prompt).unwrap_or_else(|error| unreachable!("{error}"))
    }

    /// A cache of all blocks in this decoder's format: one for all where they are of one width.
    fn caches(
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

    /// What this decoder's caches keep keys and values as.
    pub fn cache_format(&self) -> CacheFormat {
        self.cache_format
    }

    /// What a cache for this decoder is of: of as many heads as the widest block has, where blocks differ, and of no keys and values
    /// where it holds states.
    pub fn cache_shape(&self) -> CacheShape {
        let Config { kv_heads, head_dim, .. } = *self.config;
        let kept = self.reach.as_ref().and_then(|reach| reach.rule.kept());
        CacheShape { layers: self.blocks.len(), kv_heads, head_dim, kept }
    }

    /// Whether the cache of a text can be taken apart and read on from any place: not where keys are let go by what later queries
    /// look at, nor where the text is in states.
    pub fn caches_come_apart(&self) -> bool {
        !self.cache_format.evicts() && !self.has_states()
    }
}
