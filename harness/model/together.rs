//! One step of sequences of different lengths: the linear maps see all of them at once, so that the weights are read once.

use std::sync::Arc;

use candle_core::Tensor;
use harness_kernels::awake::with_pool_awake;
use rayon::prelude::*;

use crate::cache::{KvCache, Past};
use crate::decoder::Decoder;
use crate::error::{Context, ModelError};
use crate::ops::{self, AttentionShape};
use crate::reach::Looks;
use crate::rope::RopeTables;
use crate::tensor::from_values;

impl Decoder {
    /// Appends one token to each sequence and returns their final hidden states, `(sequences, hidden)`. Every sequence has a
    /// cache of its own, of any length. The caches grow only when the whole step succeeds.
    ///
    /// # Errors
    /// Those of [`Decoder::step`]; [`ModelError::CacheBatch`] also where tokens and caches are not one to one.
    pub fn step_each(&self, tokens: &[u32], caches: &mut [KvCache]) -> Result<Tensor, ModelError> {
        if tokens.len() != caches.len() || tokens.is_empty() {
            return Err(ModelError::CacheBatch { cached: caches.len(), given: tokens.len() });
        }
        with_pool_awake(|| {
            let places: Vec<u32> = caches.iter().map(|cache| cache.len() as u32).collect();
            caches.iter_mut().try_for_each(|cache| cache.reserve(1, 1))?;
            let width = self.config().hidden_size;
            let doing = || "collecting sequences".to_owned();
            let mut hidden = self.embed_tokens(tokens, &places)?.reshape((tokens.len(), 1, width)).doing(doing)?;
            if self.has_states() {
                let mut together = KvCache::together(caches)?;
                let scanned = self.scan(&hidden, Some(&mut together), 0..1).unwrap_or_else(|| Ok(hidden.clone()))?;
                hidden = self.final_norm(&scanned.reshape((tokens.len(), width)).doing(doing)?)?;
                together.part(caches)?;
                return Ok(hidden);
            }
            for layer in 0..self.blocks.len() {
                hidden = self.run_block(layer, &hidden, Past::Each(&mut *caches), None, None)?;
            }
            for cache in &mut *caches {
                cache.advance(1);
            }
            self.final_norm(&hidden.reshape((tokens.len(), width)).doing(doing)?)
        })
    }

    /// Attention of one new position of every sequence over its own cache; shapes as in a step of `(sequences, 1)`.
    pub(crate) fn attend_each(
        &self,
        layer: usize,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        caches: &mut [KvCache],
    ) -> Result<Tensor, ModelError> {
        let doing = || format!("attention of block {layer}");
        let places: Vec<usize> = caches.iter().map(KvCache::len).collect();
        let looks: Vec<Option<Arc<Looks>>> =
            places.iter().map(|place| self.looks(*place..place + 1)).collect::<Result<_, _>>()?;
        let tables: Vec<Option<[Arc<RopeTables>; 2]>> = places.iter().map(|place| self.tables(place + 1)).collect();
        let longest = places.iter().max().map_or(0, |place| place + 1);
        let shape = self.attention_of_block(layer, longest)?;
        // As in a step of one cache: keys that will be turned anew are kept as they are.
        let moving = self.keys_move();
        let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
        let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let one = |at: usize, cache: &mut KvCache, q: &[f32], k: &[f32], v: &[f32]| {
            let factor = self.reach.as_ref().map_or(1.0, |reach| reach.rule.query_factor(places[at]));
            let q: Vec<f32> = q.iter().map(|q| q * factor).collect();
            if let Some(looks) = &looks[at] {
                return cache.attend_looks(layer, [&q, k, v], looks, &shape);
            }
            let Some([queries, keys]) = &tables[at] else { return cache.attend(layer, [&q, k, v], None, &shape) };
            let q = queries.turn(&q, places[at], heads, head_dim);
            if moving {
                return cache.attend(layer, [&q, k, v], Some(keys), &shape);
            }
            cache.attend(layer, [&q, &keys.turn(k, places[at], kv_heads, head_dim), v], None, &shape)
        };
        let mut out = vec![0.0; places.len() * q_width];
        let attended: Result<(), ModelError> = ops::with_three(q, k, v, |q, k, v| {
            let rows = q.par_chunks(q_width).zip(k.par_chunks(kv_width)).zip(v.par_chunks(kv_width));
            let work = caches.par_iter_mut().zip(rows).zip(out.par_chunks_mut(q_width));
            work.enumerate().try_for_each(|(at, ((cache, ((q, k), v)), out))| {
                out.copy_from_slice(&one(at, cache, q, k, v)?);
                Ok(())
            })
        })
        .doing(doing)?;
        attended?;
        from_values(out, q.shape()).doing(doing)
    }
}
