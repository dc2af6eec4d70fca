//! One step of sequences of different lengths: the linear maps see all of them at once, so that the weights are read once.

use std::sync::Arc;

use candle_core::Tensor;
use harness_kernels::awake::with_pool_awake;
use rayon::prelude::*;

use crate::cache::{KvCache, Past};
use crate::decoder::Decoder;
use crate::error::{Context, ModelError};
use crate::rope::RopeTables;
use crate::tensor::{from_values, with_values};

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
        let tables: Option<Vec<Arc<RopeTables>>> =
            self.rope.as_ref().map(|rope| places.iter().map(|place| rope.tables(place + 1, place + 1)).collect());
        // As in a step of one cache: keys that will be turned anew are kept as they are.
        let later = tables.as_ref().filter(|_| self.keys_move());
        let head_dim = self.config().head_dim;
        let turned = |x: &Tensor, tables: Option<&Vec<Arc<RopeTables>>>| {
            let Some(tables) = tables else { return with_values(x, <[f32]>::to_vec) };
            let (width, heads) = (x.dim(2)?, x.dim(2)? / head_dim);
            with_values(x, |x| {
                let rows = x.chunks(width).zip(tables).zip(&places);
                rows.flat_map(|((row, tables), place)| tables.turn(row, *place, heads, head_dim)).collect()
            })
        };
        let turned_q = turned(q, tables.as_ref()).doing(doing)?;
        let turned_k = turned(k, tables.as_ref().filter(|_| later.is_none())).doing(doing)?;
        let q_width = turned_q.len() / places.len();
        let kv_width = turned_k.len() / places.len();
        let mut out = vec![0.0; turned_q.len()];
        let attended: Result<(), ModelError> = with_values(v, |v| {
            let rows = turned_k.par_chunks(kv_width).zip(v.par_chunks(kv_width)).zip(turned_q.par_chunks(q_width));
            let work = caches.par_iter_mut().zip(rows).zip(out.par_chunks_mut(q_width));
            work.enumerate().try_for_each(|(at, ((cache, ((k, v), q)), out))| {
                let later = later.map(|tables| &*tables[at]);
                out.copy_from_slice(&cache.attend(layer, [q, k, v], later, &self.attention)?);
                Ok(())
            })
        })
        .doing(doing)?;
        attended?;
        from_values(out, q.shape()).doing(doing)
    }
}
