//! One step of sequences of different lengths: the linear maps see all of them at once, so that the weights are read once.

use candle_core::Tensor;
use harness_kernels::awake::with_pool_awake;
use harness_kernels::rotary::{Rotation, rotate};
use rayon::prelude::*;

use crate::cache::{KvCache, Past};
use crate::decoder::Decoder;
use crate::error::{Context, ModelError};
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
        let (turned_q, turned_k) = (self.turned(q, &places).doing(doing)?, self.turned(k, &places).doing(doing)?);
        let q_width = turned_q.len() / places.len();
        let kv_width = turned_k.len() / places.len();
        let mut out = vec![0.0; turned_q.len()];
        let attended: Result<(), ModelError> = with_values(v, |v| {
            let rows = turned_k.par_chunks(kv_width).zip(v.par_chunks(kv_width)).zip(turned_q.par_chunks(q_width));
            let work = caches.par_iter_mut().zip(rows).zip(out.par_chunks_mut(q_width));
            work.try_for_each(|((cache, ((k, v), q)), out)| {
                out.copy_from_slice(&cache.attend(layer, [q, k, v], &self.attention)?);
                Ok(())
            })
        })
        .doing(doing)?;
        attended?;
        from_values(out, q.shape()).doing(doing)
    }

    /// Queries or keys `(sequences, 1, width)` turned by where each sequence stands.
    fn turned(&self, x: &Tensor, places: &[usize]) -> candle_core::Result<Vec<f32>> {
        let Some(rope) = &self.rope else { return with_values(x, <[f32]>::to_vec) };
        let tables = rope.tables(places.iter().max().map_or(1, |place| place + 1));
        let half = tables.rotary / 2;
        let of = |table: &[f32]| places.iter().flat_map(|at| table[at * half..][..half].to_vec()).collect::<Vec<f32>>();
        let (cos, sin) = (of(&tables.cos), of(&tables.sin));
        let head_dim = self.config().head_dim;
        let rotation = Rotation {
            cos: &cos,
            sin: &sin,
            rotary: tables.rotary,
            head_dim,
            heads: x.dim(2)? / head_dim,
            // The table has a row for each sequence.
            sequence: places.len(),
            pairing: tables.pairing,
            inverse: false,
        };
        with_values(x, |x| rotate(x, &rotation))
    }
}
