//! Caches as a decoder asks for them.

use super::{CacheFormat, CacheShape, KvCache};
use crate::config::Config;
use crate::decoder::Decoder;

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
