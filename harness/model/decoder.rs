//! One readable decoder: Llama-shaped, with its variants as configuration.
//!
//! Shapes: hidden states are `(batch, sequence, hidden)`; queries `(batch, sequence, heads · head_dim)`, keys and values
//! `(batch, sequence, kv_heads · head_dim)`, never transposed. The same code runs inference and training.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;
use harness_kernels::awake::with_pool_awake;
use harness_kernels::bfloat16::bf16_linear;
use harness_kernels::packed::packed_linear;

use crate::biases::{Biases, Trained};
use crate::cache::{CacheFormat, KvCache, Past};
use crate::config::{Config, Projection, Width};
use crate::error::{Context, ModelError};
use crate::linear::LinearOp;
use crate::ops::{self, AttentionShape};
use crate::parameter::{Norm, Parameter};
use crate::reach::Reached;
use crate::rope::{Rope, RopeTables};
use crate::state_space::StateSpaces;
use crate::tensor::{from_values, with_values};

/// Tokens of a prompt that go through the blocks at a time.
const PREFILL_CHUNK: usize = 512;

/// Sees the inputs of the linear maps as they pass.
pub trait Tap {
    /// `x` is `(tokens, in)`, row-major: the input of `projection` in block `layer`. Maps that share an input
    /// (queries, keys and values; gate and up) are announced one after the other with the same values.
    fn linear_input(&mut self, layer: usize, projection: Projection, x: &[f32]);
}

/// One block. Cloning shares the weights.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub attention_norm: Norm,
    pub feed_forward_norm: Norm,
    /// In the order of [`Projection::ALL`]; the gate is absent when the feed-forward part is not gated.
    pub projections: [Option<Arc<dyn LinearOp>>; 7],
    /// The biases of the projections as stored, for counting and writing.
    pub biases: Vec<Parameter>,
    /// What passes by attention, and by the feed-forward part, goes through these.
    pub shortcuts: Option<[Arc<dyn LinearOp>; 2]>,
    /// Biases of scores by distance.
    pub by_distance: Option<Arc<Biases>>,
}

impl Block {
    pub fn map(&self, projection: Projection) -> Result<&dyn LinearOp, ModelError> {
        self.projections[projection as usize]
            .as_deref()
            .ok_or_else(|| ModelError::Config(format!("a block lacks its {projection:?} projection")))
    }
}

/// Some positions of each sequence of `values (batch, sequence, width)`.
pub(crate) fn kept(values: &Tensor, keep: Range<usize>) -> candle_core::Result<Tensor> {
    values.narrow(1, keep.start, keep.len())?.contiguous()
}

/// A decoder. Cloning shares all weights; [`Decoder::with_linear`] changes one map of a clone.
#[derive(Debug, Clone)]
pub struct Decoder {
    pub(crate) config: Arc<Config>,
    pub(crate) embedding: Parameter,
    pub(crate) positions: Option<Parameter>,
    pub(crate) blocks: Vec<Arc<Block>>,
    pub(crate) final_norm: Norm,
    pub(crate) head: Arc<dyn LinearOp>,
    /// Whether the head was replaced, and so no longer shares the embedding's memory.
    pub(crate) own_head: bool,
    pub(crate) rope: Option<Arc<Rope>>,
    /// That of keys, where it is another than that of queries.
    pub(crate) key_rope: Option<Arc<Rope>>,
    /// The maps of the net that moves the rotary frequencies, where the checkpoint carries one.
    pub(crate) net: Option<[Parameter; 2]>,
    /// Turns of tokens at places of their own, `(batch · sequence)` of them, in training.
    pub(crate) places: Option<ops::Turns>,
    /// Groups of tokens that attend to each other alone, in training.
    pub(crate) groups: Option<ops::Groups>,
    /// What queries look at where that is not all keys before them.
    pub(crate) reach: Option<Arc<Reached>>,
    pub(crate) attention: AttentionShape,
    pub(crate) cache_format: CacheFormat,
    /// What stands in the place of `blocks`, where nothing attends.
    pub(crate) state_space: Option<Arc<StateSpaces>>,
}

impl Decoder {
    /// Shape and variant.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The linear map of one projection; `None` for the gate of a feed-forward part without one, or past the last
    /// block.
    pub fn linear(&self, layer: usize, projection: Projection) -> Option<&Arc<dyn LinearOp>> {
        self.blocks.get(layer)?.projections[projection as usize].as_ref()
    }

    /// The map from final hidden states to logits.
    pub fn head(&self) -> &Arc<dyn LinearOp> {
        &self.head
    }

    /// Whether the angles of cached keys change with the length of what is read, or with the query that meets them.
    pub(crate) fn keys_move(&self) -> bool {
        self.rope.as_ref().is_some_and(|rope| rope.moves())
            || self.reach.as_ref().is_some_and(|reach| reach.rule.moves())
    }

    /// Embeddings of equally long windows, `(batch, sequence, hidden)`, the first token at position 0.
    ///
    /// # Errors
    /// [`ModelError::Windows`], [`ModelError::Token`], [`ModelError::Position`].
    pub fn embed(&self, windows: &[&[u32]]) -> Result<Tensor, ModelError> {
        self.embed_at(windows, 0)
    }

    fn embed_at(&self, windows: &[&[u32]], start: usize) -> Result<Tensor, ModelError> {
        let length = windows.first().map_or(0, |window| window.len());
        if length == 0 || windows.iter().any(|window| window.len() != length) {
            return Err(ModelError::Windows(windows.iter().map(|window| window.len()).collect()));
        }
        let places: Vec<u32> = windows.iter().flat_map(|_| start as u32..(start + length) as u32).collect();
        self.embed_tokens(&windows.concat(), &places)?
            .reshape((windows.len(), length, self.config.hidden_size))
            .doing(|| "embedding tokens".to_owned())
    }

    /// Embeddings `(tokens, hidden)` of tokens at given positions.
    pub(crate) fn embed_tokens(&self, ids: &[u32], places: &[u32]) -> Result<Tensor, ModelError> {
        let vocabulary = self.config.vocab_size;
        if let Some(&token) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(ModelError::Token { token, vocabulary });
        }
        let doing = || "embedding tokens".to_owned();
        let hidden = self.embedding.rows(ids).doing(doing)?;
        let Some(positions) = &self.positions else { return Ok(hidden) };
        let table = self.config.max_positions;
        if places.iter().any(|place| *place as usize >= table) {
            return Err(ModelError::Position { position: table, table });
        }
        ops::add(&hidden, &positions.rows(places).doing(doing)?).doing(doing)
    }

    /// Runs one block over `hidden (batch, sequence, hidden)` whose sequences start at position 0.
    ///
    /// # Errors
    /// [`ModelError::Range`] past the last block, [`ModelError::Compute`] when an operation fails.
    pub fn block(&self, layer: usize, hidden: &Tensor, tap: Option<&mut dyn Tap>) -> Result<Tensor, ModelError> {
        self.run_block(layer, hidden, Past::Nothing, None, tap)
    }

    /// `keep` limits what follows attention to some positions of each sequence; the result then has only those.
    pub(crate) fn run_block(
        &self,
        layer: usize,
        hidden: &Tensor,
        past: Past<'_>,
        keep: Option<Range<usize>>,
        mut tap: Option<&mut dyn Tap>,
    ) -> Result<Tensor, ModelError> {
        let doing = || format!("attention of block {layer}");
        let attended = self.attention_part(layer, hidden, past, keep.clone(), &mut tap)?;
        let hidden = keep.map_or_else(|| Ok(hidden.clone()), |keep| kept(hidden, keep)).doing(doing)?;
        let hidden = ops::add(&self.passing(layer, 0, hidden)?, &attended).doing(doing)?;
        let inner = self.feed_forward_part(layer, &hidden, &mut tap)?;
        let passing = self.passing(layer, 1, hidden)?;
        ops::add(&passing, &inner).doing(|| format!("feed-forward part of block {layer}"))
    }

    pub(crate) fn block_at(&self, layer: usize) -> Result<&Block, ModelError> {
        if self.has_states() {
            return Err(ModelError::StateSpace { what: "blocks of attention and feed-forward maps" });
        }
        let available = self.blocks.len();
        let range = ModelError::Range { what: "block", start: layer, end: layer + 1, available };
        self.blocks.get(layer).map(|block| &**block).ok_or(range)
    }

    /// Rotates queries and keys and attends, `(batch, sequence, heads · head_dim)`.
    pub(crate) fn attend(
        &self,
        layer: usize,
        q: Tensor,
        k: Tensor,
        v: &Tensor,
        past: Past<'_>,
    ) -> Result<Tensor, ModelError> {
        let doing = || format!("attention of block {layer}");
        let cache = match past {
            Past::Nothing => None,
            Past::Shared(cache) => Some(cache),
            Past::Each(caches) => return self.attend_each(layer, &q, &k, v, caches),
        };
        let start = cache.as_ref().map_or(0, |cache| cache.len());
        let length = start + q.dim(1).doing(doing)?;
        let q = self.scaled_queries(q, start).doing(doing)?;
        let shape = self.attention_of_block(layer, length)?;
        if let Some(looks) = self.looks(start..length)? {
            let attended = ops::with_three(&q, &k, v, |q, k, v| match cache {
                Some(cache) => cache.attend_looks(layer, [q, k, v], &looks, &shape),
                None => Ok(looks.attend_each(layer, [q, k, v], length, &shape)),
            });
            return from_values(attended.doing(doing)??, q.shape()).doing(doing);
        }
        let tables = self.tables(length);
        // Keys whose angle changes with the length are kept as they are, and turned with the others before them.
        let later = tables.as_ref().map(|[_, keys]| &**keys).filter(|_| cache.is_some() && self.keys_move());
        let (q, k) = self.turned([q, k], tables.as_ref(), start, later.is_some()).doing(doing)?;
        let Some(cache) = cache else {
            if let Some(groups) = self.groups {
                return ops::attention_in_groups(&q, &k, v, &shape, groups).doing(doing);
            }
            let trained = self.block_at(layer)?.by_distance.as_ref().and_then(|biases| biases.under_training(length));
            return match trained.transpose().doing(doing)? {
                Some(Trained::Table(biases)) => ops::attention_with_biases(&q, &k, v, &biases, &shape).doing(doing),
                Some(Trained::Matrix(biases)) => ops::attention_with_matrix(&q, &k, v, &biases, &shape).doing(doing),
                None => ops::attention(&q, &k, v, &shape).doing(doing),
            };
        };
        let attended = ops::with_three(&q, &k, v, |q, k, v| cache.attend(layer, [q, k, v], later, &shape));
        from_values(attended.doing(doing)??, q.shape()).doing(doing)
    }

    /// Queries and keys from `start` on, turned; keys only where they are not turned later.
    pub(crate) fn turned(
        &self,
        [q, k]: [Tensor; 2],
        tables: Option<&[Arc<RopeTables>; 2]>,
        start: usize,
        later: bool,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let head_dim = self.config.head_dim;
        Ok(match (&self.places, tables) {
            (Some(turns), _) => (turns.turn(&q, head_dim)?, turns.turn(&k, head_dim)?),
            (None, Some([queries, keys])) => {
                let turn = |x: &Tensor, tables| ops::rotate(x, tables, start, head_dim);
                (turn(&q, queries)?, if later { k } else { turn(&k, keys)? })
            }
            (None, None) => (q, k),
        })
    }

    /// What attention of one block knows besides its inputs, for texts of so many positions.
    pub(crate) fn attention_of_block(&self, layer: usize, length: usize) -> Result<AttentionShape, ModelError> {
        let biases = self.block_at(layer)?.by_distance.as_ref().map(|biases| biases.of(length));
        let Width { heads, kv_heads, .. } = self.config.width(layer);
        Ok(AttentionShape { heads, kv_heads, biases, ..self.attention.clone() })
    }

    /// Tables of queries and of keys for a text of so many positions.
    pub(crate) fn tables(&self, length: usize) -> Option<[Arc<RopeTables>; 2]> {
        let queries = self.rope.as_ref()?.tables(length, length);
        let keys = self.key_rope.as_ref().map_or_else(|| Arc::clone(&queries), |rope| rope.tables(length, length));
        Some([queries, keys])
    }

    /// The normalisation after the last block, over hidden states of any leading shape.
    ///
    /// # Errors
    /// [`ModelError::Compute`] when the operation fails.
    pub fn final_norm(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.final_norm.forward(hidden).doing(|| "final normalisation".to_owned())
    }

    /// Final hidden states `(batch, sequence, hidden)` of equally long windows, after the last normalisation.
    ///
    /// # Errors
    /// Those of [`Decoder::embed`], or [`ModelError::Compute`].
    pub fn hidden(&self, windows: &[&[u32]]) -> Result<Tensor, ModelError> {
        let mut hidden = self.embed(windows)?;
        if let Some(scanned) = self.scan(&hidden, None, 0..windows[0].len()) {
            return self.final_norm(&scanned?);
        }
        for layer in 0..self.blocks.len() {
            hidden = self.run_block(layer, &hidden, Past::Nothing, None, None)?;
        }
        self.final_norm(&hidden)
    }

    /// Final hidden states of some positions of each window, `(batch · positions, hidden)`, window by window. What only
    /// the other positions need is left out of the last block.
    ///
    /// # Errors
    /// Those of [`Decoder::hidden`], and [`ModelError::Range`] when a window has no such position.
    pub fn hidden_positions(&self, windows: &[&[u32]], positions: Range<usize>) -> Result<Tensor, ModelError> {
        let available = windows.first().map_or(0, |window| window.len());
        if positions.start >= positions.end || positions.end > available {
            return Err(ModelError::Range { what: "positions", start: positions.start, end: positions.end, available });
        }
        with_pool_awake(|| {
            let mut hidden = self.embed(windows)?;
            if let Some(scanned) = self.scan(&hidden, None, positions.clone()) {
                hidden = scanned?;
            }
            let last = self.blocks.len().saturating_sub(1);
            for layer in 0..self.blocks.len() {
                let keep = (layer == last && positions.len() < available).then(|| positions.clone());
                hidden = self.run_block(layer, &hidden, Past::Nothing, keep, None)?;
            }
            let rows = windows.len() * positions.len();
            let hidden = hidden.reshape((rows, self.config.hidden_size)).doing(|| "collecting positions".to_owned())?;
            self.final_norm(&hidden)
        })
    }

    /// Logits `(rows, vocabulary)` of final hidden states `(rows, hidden)`.
    ///
    /// # Errors
    /// [`ModelError::Compute`] when the shape does not fit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.head.forward(hidden).doing(|| "logits".to_owned())
    }

    /// Logits of some rows of final hidden states `(rows, hidden)`, written to `out`, whose memory is kept between
    /// calls.
    ///
    /// # Errors
    /// [`ModelError::Range`] for rows that are not there, [`ModelError::Compute`] when the shape does not fit.
    pub fn logits_into(&self, hidden: &Tensor, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), ModelError> {
        let doing = || "logits".to_owned();
        let (available, cols) = hidden.dims2().doing(doing)?;
        if rows.start > rows.end || rows.end > available {
            return Err(ModelError::Range { what: "rows", start: rows.start, end: rows.end, available });
        }
        let range = rows.start * cols..rows.end * cols;
        match (self.head.dense(), self.head.packed(), self.head.bf16()) {
            (Some(head), ..) if head.bias.is_none() && head.cols == cols => {
                out.resize(rows.len() * head.rows, 0.0);
                with_values(hidden, |x| {
                    harness_kernels::matmul_nt(&x[range], head.weight, out, rows.len(), cols, head.rows);
                })
                .doing(doing)
            }
            (_, Some(head), _) if head.cols() == cols => {
                out.resize(rows.len() * head.rows(), 0.0);
                with_values(hidden, |x| packed_linear(&x[range], rows.len(), &[head], &mut [out])).doing(doing)
            }
            (.., Some(head)) if head.matrix.cols() == cols => {
                out.resize(rows.len() * head.matrix.rows(), 0.0);
                with_values(hidden, |x| bf16_linear(&x[range], rows.len(), &[head], &mut [out])).doing(doing)
            }
            _ => {
                let part = hidden.narrow(0, rows.start, rows.len()).doing(doing)?;
                let logits = self.logits(&part)?;
                out.clear();
                with_values(&logits, |values| out.extend_from_slice(values)).doing(doing)
            }
        }
    }

    /// Appends tokens to every sequence of the cache and returns final hidden states of the last `keep` new positions,
    /// `(batch, keep, hidden)`. The cache grows only when the whole step succeeds.
    ///
    /// # Errors
    /// Those of [`Decoder::hidden`], and [`ModelError::CacheBatch`].
    pub fn step(&self, windows: &[&[u32]], cache: &mut KvCache, keep: usize) -> Result<Tensor, ModelError> {
        with_pool_awake(|| {
            let mut hidden = self.embed_at(windows, cache.len())?;
            let new = windows.first().map_or(0, |window| window.len());
            let keep = keep.clamp(1, new);
            cache.reserve(windows.len(), new)?;
            if let Some(scanned) = self.scan(&hidden, Some(&mut *cache), new - keep..new) {
                return self.final_norm(&scanned?);
            }
            let last = self.blocks.len().saturating_sub(1);
            for layer in 0..self.blocks.len() {
                let kept = (layer == last && keep < new).then_some(new - keep..new);
                hidden = self.run_block(layer, &hidden, Past::Shared(cache), kept, None)?;
            }
            cache.advance(new);
            self.final_norm(&hidden)
        })
    }

    /// Appends tokens to the single sequence of the cache, a long prompt in chunks, and returns the logits after the
    /// last one, `vocabulary` values. The prompt that an empty cache begins with is read in full precision whatever the
    /// cache's format.
    ///
    /// # Errors
    /// Those of [`Decoder::step`].
    pub fn logits_last(&self, tokens: &[u32], cache: &mut KvCache) -> Result<Vec<f32>, ModelError> {
        with_pool_awake(|| {
            let mut hidden = None;
            if cache.is_empty() && tokens.len() > PREFILL_CHUNK && cache.format() != CacheFormat::Full {
                let mut full = self.full_cache();
                for chunk in tokens.chunks(PREFILL_CHUNK) {
                    hidden = Some(self.step(&[chunk], &mut full, 1)?);
                }
                *cache = full.kept_as(cache.format())?;
            } else {
                for chunk in tokens.chunks(PREFILL_CHUNK) {
                    hidden = Some(self.step(&[chunk], cache, 1)?);
                }
            }
            let hidden = hidden.ok_or_else(|| ModelError::Windows(vec![0]))?;
            let doing = || "logits of the last position".to_owned();
            let row = hidden.reshape((1, self.config.hidden_size)).doing(doing)?;
            let mut out = Vec::new();
            self.logits_into(&row, 0..1, &mut out)?;
            Ok(out)
        })
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
