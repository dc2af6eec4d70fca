//! Keys and values in f32 of some positions only: those that attention was on most.
//!
//! Every head of keys and values of every block keeps positions of its own, all of them as many, in the order of the text, so
//! that the kernels of whole caches read them. Keys are those after rotation, at their places in the text; what comes behind a
//! prompt is placed from the prompt's length on, however many keys stay. A prompt attends to all of itself. A step attends to
//! what stayed and to itself before anything is let go.

use harness_kernels::attention as kernel;
use harness_kernels::cache::{Budget, Eviction, Pool, highest};
use rayon::prelude::*;

use super::CacheShape;
use crate::error::ModelError;
use crate::ops::AttentionShape;

/// Keys and values of every block, for a batch of sequences of one length.
#[derive(Debug, Clone)]
pub(crate) struct EvictingCache {
    layers: Vec<Layer>,
    shape: CacheShape,
    rule: Eviction,
    stage: Stage,
    pub(super) batch: usize,
    /// Positions read.
    pub(super) length: usize,
    /// Keys of every head.
    rows: usize,
    /// Keys of every head that the buffers have room for.
    capacity: usize,
    /// Of the steps so far.
    attention: Option<AttentionShape>,
}

#[derive(Debug, Clone, Default)]
struct Layer {
    /// `(batch, capacity, kv_heads, head_dim)`.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// What each key received, `(batch, kv_heads, rows)`, where that is asked for.
    received: Vec<f32>,
    /// The last queries of an open prompt, `(batch, queries, heads, head_dim)`, where they are asked for.
    queries: Vec<f32>,
    /// What the step that is under way adds to either.
    pending: Vec<f32>,
}

/// What the next step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The whole prompt.
    Prompt,
    /// Part of a prompt that [`EvictingCache::close`] ends.
    Open,
    /// Behind a prompt of so many positions, with so many keys that stay for what they received and newest.
    Behind { prompt: usize, heavy: usize, recent: usize },
}

impl EvictingCache {
    /// Whose first step is the prompt, or whose prompt is open until it is closed.
    pub fn new(shape: CacheShape, rule: Eviction, open: bool) -> Result<Self, ModelError> {
        let why = match rule {
            Eviction::Snapshot { window, capacity, pool: Pool { kernel, .. } }
                if window == 0 || capacity <= window || kernel % 2 == 0 =>
            {
                Some(format!(
                    "a window of {window} in a capacity of {capacity}, pooled by {kernel}; the window is at least 1, the capacity larger, and pooling odd"
                ))
            }
            Eviction::HeavyHitters { heavy, recent } => {
                let bad = |budget| matches!(budget, Budget::Share(share) if !(0.0..=1.0).contains(&share));
                let none = |budget| matches!(budget, Budget::Share(0.0) | Budget::Keys(0));
                (bad(heavy) || bad(recent) || none(heavy) && none(recent)).then(|| {
                    format!("{heavy:?} and {recent:?}; shares lie in [0, 1], and one of both is more than nothing")
                })
            }
            Eviction::Snapshot { .. } => None,
        };
        if let Some(why) = why {
            return Err(ModelError::CacheBudget(why));
        }
        let stage = if open { Stage::Open } else { Stage::Prompt };
        let layers = vec![Layer::default(); shape.layers];
        Ok(Self { layers, shape, rule, stage, batch: 0, length: 0, rows: 0, capacity: 0, attention: None })
    }

    pub fn rule(&self) -> Eviction {
        self.rule
    }

    /// Keys that every head holds.
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn bytes(&self) -> usize {
        let of = |layer: &Layer| {
            [&layer.keys, &layer.values, &layer.received, &layer.queries, &layer.pending]
                .map(|part| part.capacity() * size_of::<f32>())
        };
        self.layers.iter().flat_map(of).sum()
    }

    pub fn live_bytes(&self) -> usize {
        let held = 2 * self.batch * self.rows * self.shape.width();
        let beside = |layer: &Layer| layer.received.len() + layer.queries.len();
        self.layers.iter().map(|layer| (held + beside(layer)) * size_of::<f32>()).sum()
    }

    /// Keys of a prompt that stay for what they received, and newest.
    fn budgets(&self, prompt: usize) -> Result<(usize, usize), ModelError> {
        match self.rule {
            Eviction::HeavyHitters { heavy, recent } => {
                let (heavy, recent) = (heavy.of(prompt), recent.of(prompt));
                if heavy + recent == 0 {
                    return Err(ModelError::CacheBudget(format!(
                        "no key of a prompt of {prompt} positions; give larger shares, numbers of keys, or longer prompts"
                    )));
                }
                Ok((heavy, recent))
            }
            Eviction::Snapshot { window, capacity, .. } => Ok((capacity - window, window)),
        }
    }

    /// # Errors
    /// [`ModelError::CacheEvicted`].
    pub fn truncate(&mut self, length: usize) -> Result<(), ModelError> {
        if length >= self.length {
            return Ok(());
        }
        if length == 0 {
            *self = Self::new(self.shape, self.rule, self.stage == Stage::Open)?;
            return Ok(());
        }
        self.check_reaches(length)?;
        self.rows -= self.length - length;
        self.length = length;
        Ok(())
    }

    /// Refuses to go back to where other keys stood, or had received less.
    fn check_reaches(&self, length: usize) -> Result<(), ModelError> {
        let from = match (self.rule, self.stage) {
            (Eviction::Snapshot { .. }, Stage::Behind { prompt, .. }) => prompt,
            _ => self.length,
        };
        if length < from { Err(ModelError::CacheEvicted { length, from }) } else { Ok(()) }
    }

    /// Whether sequences of both can step together.
    pub fn grows_like(&self, other: &Self) -> bool {
        let of = |cache: &Self| (cache.shape, cache.rule, cache.stage, cache.length, cache.rows);
        of(self) == of(other)
    }

    /// The first `length` positions of sequences of caches that grow alike, each given as a cache and the place of the sequence in it.
    pub fn gather(sources: &[(&Self, usize)], length: usize) -> Result<Self, ModelError> {
        let (first, _) = sources[0];
        if length == 0 {
            return Self::new(first.shape, first.rule, first.stage == Stage::Open);
        }
        first.check_reaches(length)?;
        let rows = first.rows - (first.length - length);
        let (batch, capacity, width) = (sources.len(), first.capacity, first.shape.width());
        let mut gathered =
            Self { batch, length, rows, layers: vec![Layer::default(); first.layers.len()], ..first.clone_empty() };
        for (index, target) in gathered.layers.iter_mut().enumerate() {
            for (cache, row) in sources {
                let layer = &cache.layers[index];
                for (to, from) in [(&mut target.keys, &layer.keys), (&mut target.values, &layer.values)] {
                    let end = to.len() + capacity * width;
                    to.extend_from_slice(&from[row * cache.capacity * width..][..rows * width]);
                    to.resize(end, 0.0);
                }
                for (to, from) in [(&mut target.received, &layer.received), (&mut target.queries, &layer.queries)] {
                    let each = from.len() / cache.batch;
                    to.extend_from_slice(&from[row * each..][..each]);
                }
            }
        }
        Ok(gathered)
    }

    /// All but what is held.
    fn clone_empty(&self) -> Self {
        let Self { shape, rule, stage, batch, length, rows, capacity, .. } = *self;
        Self {
            layers: Vec::new(),
            shape,
            rule,
            stage,
            batch,
            length,
            rows,
            capacity,
            attention: self.attention.clone(),
        }
    }

    /// # Errors
    /// [`ModelError::CacheBudget`] for a prompt of which nothing would stay.
    pub fn reserve(&mut self, batch: usize, more: usize) -> Result<(), ModelError> {
        if self.stage == Stage::Prompt {
            self.budgets(more)?;
        }
        let needed = self.rows + more;
        if self.length == 0 && batch != self.batch {
            (self.batch, self.capacity) = (batch, 0);
            self.layers.fill(Layer::default());
        }
        if needed > self.capacity {
            let growing = needed + needed / 4;
            self.resize(match (self.rule, self.stage) {
                (_, Stage::Prompt) => needed,
                // Behind a step no more than the budget stays.
                (Eviction::HeavyHitters { .. }, Stage::Behind { heavy, recent, .. }) => {
                    growing.min(heavy + recent + more).max(needed)
                }
                _ => growing,
            });
        }
        Ok(())
    }

    /// Moves what is held into buffers with room for `capacity` keys of every head.
    fn resize(&mut self, capacity: usize) {
        let (width, used) = (self.shape.width(), self.rows * self.shape.width());
        let (old, new, batch) = (self.capacity * width, capacity * width, self.batch);
        self.layers.par_iter_mut().for_each(|layer| {
            for buffer in [&mut layer.keys, &mut layer.values] {
                let mut moved = vec![0.0; batch * new];
                if used > 0 {
                    for (to, from) in moved.chunks_exact_mut(new).zip(buffer.chunks_exact(old)) {
                        to[..used].copy_from_slice(&from[..used]);
                    }
                }
                *buffer = moved;
            }
        });
        self.capacity = capacity;
    }

    /// Takes keys and values `(batch, new, width)` behind those that are held and gives the attention of their queries to all.
    pub fn attend(&mut self, layer: usize, [q, k, v]: [&[f32]; 3], shape: &AttentionShape) -> Vec<f32> {
        let (batch, width) = (self.batch, self.shape.width());
        let new = k.len() / batch / width;
        let (rows, stride) = (self.rows, self.capacity * width);
        let block = &mut self.layers[layer];
        for (buffer, source) in [(&mut block.keys, k), (&mut block.values, v)] {
            for (to, from) in buffer.chunks_exact_mut(stride).zip(source.chunks_exact(new * width)) {
                to[rows * width..(rows + new) * width].copy_from_slice(from);
            }
        }
        let of = shape.kernel(batch, new, rows + new, stride);
        let (out, log_sums) = kernel::attention(q, &block.keys, &block.values, &of);
        block.pending = match (self.rule, self.stage) {
            (Eviction::HeavyHitters { .. }, _) => kernel::received(q, &block.keys, &log_sums, &of),
            (Eviction::Snapshot { .. }, Stage::Behind { .. }) => Vec::new(),
            (Eviction::Snapshot { window, .. }, _) => {
                let last = q.chunks_exact(q.len() / batch).map(|q| &q[q.len() - new.min(window) * q.len() / new..]);
                last.flatten().copied().collect()
            }
        };
        if self.attention.is_none() {
            self.attention = Some(shape.clone());
        }
        out
    }

    pub fn advance(&mut self, positions: usize) {
        let (batch, old) = (self.batch, self.rows);
        self.length += positions;
        self.rows += positions;
        for layer in &mut self.layers {
            let mut pending = std::mem::take(&mut layer.pending);
            match self.rule {
                Eviction::HeavyHitters { .. } => {
                    for (new, old) in
                        pending.chunks_exact_mut(old + positions).zip(layer.received.chunks_exact(old.max(1)))
                    {
                        new.iter_mut().zip(old).for_each(|(new, old)| *new += old);
                    }
                    layer.received = pending;
                }
                Eviction::Snapshot { window, .. } if !pending.is_empty() => {
                    let width = pending.len() / batch / positions.min(window);
                    let before = layer.queries.len() / batch;
                    let mut queries = Vec::with_capacity(batch * window * width);
                    for (sequence, new) in pending.chunks_exact(pending.len() / batch).enumerate() {
                        let old = &layer.queries[sequence * before..][..before];
                        let kept = before.min(window * width - new.len());
                        queries.extend_from_slice(&old[before - kept..]);
                        queries.extend_from_slice(new);
                    }
                    layer.queries = queries;
                }
                Eviction::Snapshot { .. } => {}
            }
        }
        match self.stage {
            // That some keys stay was seen when room was made.
            Stage::Prompt => self.close().unwrap_or_else(|error| unreachable!("{error}")),
            Stage::Open => {}
            Stage::Behind { heavy, recent, .. } => self.let_go(heavy, recent),
        }
    }

    /// Ends the prompt; nothing changes where it has ended.
    ///
    /// # Errors
    /// [`ModelError::CacheBudget`] where nothing of it would stay.
    pub fn close(&mut self) -> Result<(), ModelError> {
        if self.length == 0 {
            self.stage = Stage::Prompt;
        }
        if self.length == 0 || matches!(self.stage, Stage::Behind { .. }) {
            return Ok(());
        }
        let (heavy, recent) = self.budgets(self.length)?;
        self.stage = Stage::Behind { prompt: self.length, heavy, recent };
        if let (Eviction::Snapshot { .. }, Some(attention)) = (self.rule, &self.attention)
            && self.rows > heavy + recent
        {
            let of = attention.kernel(self.batch, recent, self.rows, self.capacity * self.shape.width());
            for layer in &mut self.layers {
                let (_, log_sums) = kernel::attention(&layer.queries, &layer.keys, &layer.values, &of);
                layer.received = kernel::received(&layer.queries, &layer.keys, &log_sums, &of);
            }
            self.keep(heavy, recent);
        }
        if let Eviction::Snapshot { .. } = self.rule {
            for layer in &mut self.layers {
                (layer.queries, layer.received) = (Vec::new(), Vec::new());
            }
        }
        self.let_go(heavy, recent);
        self.resize(self.rows + 1);
        Ok(())
    }

    /// Keeps the budget where the rule has one at every step.
    fn let_go(&mut self, heavy: usize, recent: usize) {
        if matches!(self.rule, Eviction::HeavyHitters { .. }) && self.rows > heavy + recent {
            self.keep(heavy, recent);
        }
    }

    /// Leaves the newest keys of every head, and of those before them the ones that received most.
    fn keep(&mut self, heavy: usize, recent: usize) {
        let (rows, stay) = (self.rows, heavy + recent);
        let CacheShape { kv_heads, head_dim, .. } = self.shape;
        let (width, stride) = (self.shape.width(), self.capacity * self.shape.width());
        let pool = match self.rule {
            Eviction::Snapshot { pool, .. } => Some(pool),
            Eviction::HeavyHitters { .. } => None,
        };
        self.layers.par_iter_mut().for_each(|layer| {
            let mut received = Vec::with_capacity(layer.received.len() / rows * stay);
            for (unit, sums) in layer.received.chunks_exact(rows).enumerate() {
                let earlier = &sums[..rows - recent];
                let mut places =
                    pool.map_or_else(|| highest(earlier, heavy), |pool| highest(&pool.apply(earlier), heavy));
                places.extend(rows - recent..rows);
                let start = unit / kv_heads * stride + unit % kv_heads * head_dim;
                // Places rise, so no key is overwritten before it is moved.
                for (to, from) in places.iter().enumerate().filter(|(to, from)| to != *from) {
                    for buffer in [&mut layer.keys, &mut layer.values] {
                        let from = start + from * width;
                        buffer.copy_within(from..from + head_dim, start + to * width);
                    }
                }
                received.extend(places.iter().map(|place| sums[*place]));
            }
            layer.received = received;
        });
        self.rows = stay;
    }

    /// What the keys of a block received, `(batch, kv_heads, rows)`.
    #[cfg(test)]
    pub fn received(&self, layer: usize) -> &[f32] {
        &self.layers[layer].received
    }

    /// What the heads of a block hold, `(batch, rows, width)` of keys and of values.
    #[cfg(test)]
    pub fn held(&self, layer: usize) -> [Vec<f32>; 2] {
        let (used, stride) = (self.rows * self.shape.width(), self.capacity * self.shape.width());
        [&self.layers[layer].keys, &self.layers[layer].values]
            .map(|buffer| buffer.chunks_exact(stride).flat_map(|rows| rows[..used].to_vec()).collect())
    }
}
