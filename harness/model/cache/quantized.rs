//! Keys and values as codes, the newest in f32.
//!
//! The order of things is that of KIVI (Liu et al., 2024). Keys are those after rotation. Of a prompt of `T` positions the
//! first `⌊T / window⌋ · window` keys and the first `T − window` values become codes, and its attention is to what was
//! computed. Later the keys that are no codes become codes all at once when there are `window` of them; of the values the
//! oldest does whenever there are more. A step attends before anything of it becomes a code.

use harness_kernels::cache::{self as kernel, CacheFormat, Grid, HeadCache, Unstorable};
use rayon::prelude::*;

use super::full::FullCache;
use super::{CacheShape, attend_full};
use crate::error::ModelError;
use crate::ops::AttentionShape;

/// Numbers that are not worth another thread.
const SMALL: usize = 1 << 14;

/// Keys and values of every block, for a batch of sequences of one length.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedCache {
    layers: Vec<Layer>,
    shape: CacheShape,
    grid: Grid,
    window: usize,
    pub(super) batch: usize,
    pub(super) length: usize,
    /// Positions that the buffers of a block have room for.
    capacity: usize,
    keys: Span,
    values: Span,
}

#[derive(Debug, Clone, Default)]
struct Layer {
    /// What are no codes, `(batch, capacity, width)`.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// `(batch, kv_heads)`.
    codes: Vec<HeadCache>,
}

/// Where keys, or values, stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    /// Positions that are codes.
    codes: usize,
    /// The first place of the buffers that is in use.
    first: usize,
    /// Places in use.
    count: usize,
}

impl QuantizedCache {
    pub fn new(shape: CacheShape, grid: Grid, window: usize) -> Result<Self, ModelError> {
        let CacheShape { layers, head_dim, .. } = shape;
        let whole = grid.fills_bytes() && window >= grid.group && window.is_multiple_of(grid.group);
        if !whole || !head_dim.is_multiple_of(grid.group) {
            return Err(ModelError::CacheGroup { bits: grid.bits.count(), group: grid.group, window, head_dim });
        }
        let layers = vec![Layer::default(); layers];
        let (keys, values) = (Span::default(), Span::default());
        Ok(Self { layers, shape, grid, window, batch: 0, length: 0, capacity: 0, keys, values })
    }

    pub fn format(&self) -> CacheFormat {
        CacheFormat::Quantized { grid: self.grid, window: self.window }
    }

    pub fn quantized(&self) -> (usize, usize) {
        (self.keys.codes, self.values.codes)
    }

    pub fn bytes(&self) -> usize {
        let buffers = |layer: &Layer| size_of_val(layer.keys.as_slice()) + size_of_val(layer.values.as_slice());
        self.codes_bytes() + self.layers.iter().map(buffers).sum::<usize>()
    }

    pub fn live_bytes(&self) -> usize {
        let newest = (self.keys.count + self.values.count) * self.shape.width() * size_of::<f32>();
        self.codes_bytes() + self.layers.len() * self.batch * newest
    }

    fn codes_bytes(&self) -> usize {
        self.layers.iter().flat_map(|layer| &layer.codes).map(HeadCache::bytes).sum()
    }

    /// Whether sequences of both can step together.
    pub fn grows_like(&self, other: &Self) -> bool {
        let rule = |cache: &Self| (cache.shape, cache.grid, cache.window, cache.quantized());
        rule(self) == rule(other)
    }

    pub fn truncate(&mut self, length: usize) -> Result<(), ModelError> {
        if length >= self.length {
            return Ok(());
        }
        if length == 0 {
            (self.length, self.batch) = (0, 0);
            (self.keys, self.values) = (Span::default(), Span::default());
            return Ok(());
        }
        let codes = self.keys.codes.max(self.values.codes);
        if length < codes {
            return Err(ModelError::CacheCodes { length, codes });
        }
        self.length = length;
        for span in [&mut self.keys, &mut self.values] {
            span.count = length - span.codes;
        }
        Ok(())
    }

    /// The first `length` positions of sequences that are there, each given as a cache and the place of the sequence in it;
    /// the caches grow alike.
    pub fn gather(sources: &[(&Self, usize)], length: usize) -> Result<Self, ModelError> {
        let (first, _) = sources[0];
        let mut gathered = Self::new(first.shape, first.grid, first.window)?;
        if length == 0 {
            return Ok(gathered);
        }
        let codes = first.keys.codes.max(first.values.codes);
        if length < codes {
            return Err(ModelError::CacheCodes { length, codes });
        }
        let span = |span: Span| Span { codes: span.codes, first: 0, count: length - span.codes };
        (gathered.keys, gathered.values) = (span(first.keys), span(first.values));
        (gathered.batch, gathered.length, gathered.capacity) = (sources.len(), length, first.capacity);
        let (width, heads) = (first.shape.width(), first.shape.kv_heads);
        for (index, target) in gathered.layers.iter_mut().enumerate() {
            for (part, row) in sources {
                let layer = &part.layers[index];
                for (to, from, own, span) in [
                    (&mut target.keys, &layer.keys, part.keys, gathered.keys),
                    (&mut target.values, &layer.values, part.values, gathered.values),
                ] {
                    let end = to.len() + first.capacity * width;
                    to.extend_from_slice(&from[(row * part.capacity + own.first) * width..][..span.count * width]);
                    to.resize(end, 0.0);
                }
                target.codes.extend_from_slice(&layer.codes[row * heads..][..heads]);
            }
        }
        Ok(gathered)
    }

    /// Moves what are no codes to the front of buffers with room for `capacity` positions.
    fn compact(&mut self, capacity: usize) {
        let width = self.shape.width();
        let (old, new) = (self.capacity * width, capacity * width);
        for layer in &mut self.layers {
            for (buffer, span) in [(&mut layer.keys, self.keys), (&mut layer.values, self.values)] {
                let used = span.first * width..(span.first + span.count) * width;
                if old == new && buffer.len() == self.batch * new {
                    buffer.chunks_exact_mut(new.max(1)).for_each(|rows| rows.copy_within(used.clone(), 0));
                    continue;
                }
                let mut grown = vec![0.0; self.batch * new];
                for (to, from) in grown.chunks_exact_mut(new.max(1)).zip(buffer.chunks_exact(old.max(1))) {
                    to[..used.len()].copy_from_slice(&from[used.clone()]);
                }
                *buffer = grown;
            }
        }
        self.capacity = capacity;
        (self.keys.first, self.values.first) = (0, 0);
    }

    pub fn reserve(&mut self, batch: usize, more: usize) {
        let heads = batch * self.shape.kv_heads;
        if self.length == 0 {
            self.batch = batch;
            let empty = HeadCache::new(self.grid, self.shape.head_dim);
            self.layers.iter_mut().for_each(|layer| layer.codes = vec![empty.clone(); heads]);
            // The prompt passes by; what stays of it are no more than `window` positions.
            self.compact(self.capacity.max(2 * self.window));
            return;
        }
        // What a step that failed has left.
        let (keys, values) = self.quantized();
        for codes in self.layers.iter_mut().flat_map(|layer| &mut layer.codes) {
            codes.truncate(keys, values);
        }
        let end = |span: Span| span.first + span.count + more;
        if end(self.keys).max(end(self.values)) > self.capacity {
            let needed = self.keys.count.max(self.values.count) + more;
            self.compact(self.capacity.max(needed));
        }
    }

    /// Positions of so many keys, and of so many values, that are no codes and become some.
    fn leaving(&self, keys: usize, values: usize) -> (usize, usize) {
        (keys / self.window * self.window, values.saturating_sub(self.window))
    }

    pub fn advance(&mut self, positions: usize) {
        let prompt = self.length == 0;
        self.length += positions;
        let (keys, values) = self.leaving(self.keys.count + positions, self.values.count + positions);
        for (span, leaving) in [(&mut self.keys, keys), (&mut self.values, values)] {
            span.codes += leaving;
            span.count += positions;
            span.count -= leaving;
            span.first = if prompt || span.count == 0 { 0 } else { span.first + leaving };
        }
    }

    /// The positions of a cache in f32, as a prompt.
    pub fn read(&mut self, full: &FullCache) -> Result<(), ModelError> {
        if full.length == 0 {
            return Ok(());
        }
        self.reserve(full.batch, full.length);
        for layer in 0..self.layers.len() {
            let (keys, values, stride) = full.layer(layer);
            self.store_prompt(layer, keys, values, full.length, stride)?;
        }
        self.advance(full.length);
        Ok(())
    }

    pub fn attend(
        &mut self,
        layer: usize,
        [q, k, v]: [&[f32]; 3],
        shape: &AttentionShape,
    ) -> Result<Vec<f32>, ModelError> {
        let width = self.shape.width();
        let new = k.len() / self.batch / width;
        if self.length == 0 {
            let out = attend_full([q, k, v], (self.batch, new, new), new * width, shape);
            self.store_prompt(layer, k, v, new, new * width)?;
            return Ok(out);
        }
        let stride = self.capacity * width;
        let block = &mut self.layers[layer];
        for (buffer, source, span) in [(&mut block.keys, k, self.keys), (&mut block.values, v, self.values)] {
            let at = (span.first + span.count) * width;
            for (to, from) in buffer.chunks_exact_mut(stride).zip(source.chunks_exact(new * width)) {
                to[at..at + new * width].copy_from_slice(from);
            }
        }
        let out = self.look_back(layer, q, new, shape);
        self.store_leaving(layer, new)?;
        Ok(out)
    }

    /// Attention of `new` positions that the buffers hold already.
    fn look_back(&self, layer: usize, q: &[f32], new: usize, shape: &AttentionShape) -> Vec<f32> {
        let (width, block) = (self.shape.width(), &self.layers[layer]);
        let stride = self.capacity * width;
        let total = self.length + new;
        let (keys, values) = (&block.keys[self.keys.first * width..], &block.values[self.values.first * width..]);
        if self.quantized() == (0, 0) {
            return attend_full([q, keys, values], (self.batch, new, total), stride, shape);
        }
        let (key_count, value_count) = (self.keys.count + new, self.values.count + new);
        if new == 1 {
            let window = kernel::Window { keys, values, key_count, value_count, batch_stride: stride };
            let shape = kernel::Shape {
                heads: shape.heads,
                kv_heads: shape.kv_heads,
                head_dim: shape.head_dim,
                scale: shape.scale,
                slopes: shape.slopes.as_deref(),
            };
            return kernel::attention(q, &block.codes, &window, &shape);
        }
        // Many queries: what codes stand for is written out once for all of them.
        let mut whole_keys = vec![0.0; self.batch * total * width];
        let mut whole_values = vec![0.0; self.batch * total * width];
        for (place, codes) in block.codes.iter().enumerate() {
            let (sequence, head) = (place / self.shape.kv_heads, place % self.shape.kv_heads);
            let start = sequence * total * width + head * self.shape.head_dim;
            codes.keys_into(&mut whole_keys[start..], width);
            codes.values_into(&mut whole_values[start..], width);
        }
        for (whole, newest, count) in [(&mut whole_keys, keys, key_count), (&mut whole_values, values, value_count)] {
            for (to, from) in whole.chunks_exact_mut(total * width).zip(newest.chunks(stride)) {
                to[(total - count) * width..].copy_from_slice(&from[..count * width]);
            }
        }
        attend_full([q, &whole_keys, &whole_values], (self.batch, new, total), total * width, shape)
    }

    /// Makes codes of the keys and values of a prompt and puts the newest into the buffers; sequences are `stride` elements
    /// apart.
    fn store_prompt(
        &mut self,
        layer: usize,
        keys: &[f32],
        values: &[f32],
        positions: usize,
        stride: usize,
    ) -> Result<(), ModelError> {
        let (shape, width) = (self.shape, self.shape.width());
        let (old_keys, old_values) = self.leaving(positions, positions);
        let room = self.capacity * width;
        let block = &mut self.layers[layer];
        // A step that failed may have left some.
        block.codes.iter_mut().for_each(|codes| codes.truncate(0, 0));
        encode(&mut block.codes, shape, layer, (keys, old_keys), (values, old_values), stride)?;
        for (buffer, source, old) in [(&mut block.keys, keys, old_keys), (&mut block.values, values, old_values)] {
            for (to, from) in buffer.chunks_exact_mut(room).zip(source.chunks(stride)) {
                let newest = &from[old * width..positions * width];
                to[..newest.len()].copy_from_slice(newest);
            }
        }
        Ok(())
    }

    /// Makes codes of what the buffers of a block hold too much of after `new` positions.
    fn store_leaving(&mut self, layer: usize, new: usize) -> Result<(), ModelError> {
        let (shape, width) = (self.shape, self.shape.width());
        let (keys, values) = self.leaving(self.keys.count + new, self.values.count + new);
        let block = &mut self.layers[layer];
        let keys = (&block.keys[self.keys.first * width..], keys);
        let values = (&block.values[self.values.first * width..], values);
        encode(&mut block.codes, shape, layer, keys, values, self.capacity * width)
    }
}

/// Appends the first so many keys and values of every sequence as codes; sequences are `stride` elements apart.
fn encode(
    heads: &mut [HeadCache],
    shape: CacheShape,
    layer: usize,
    (keys, key_count): (&[f32], usize),
    (values, value_count): (&[f32], usize),
    stride: usize,
) -> Result<(), ModelError> {
    let width = shape.width();
    let one = |(place, codes): (usize, &mut HeadCache)| {
        let start = place / shape.kv_heads * stride + place % shape.kv_heads * shape.head_dim;
        let refused = |what| move |Unstorable(value)| ModelError::CacheValue { layer, what, value };
        if key_count > 0 {
            codes.push_keys(&keys[start..], width, key_count).map_err(refused("keys"))?;
        }
        if value_count > 0 {
            codes.push_values(&values[start..], width, value_count).map_err(refused("values"))?;
        }
        Ok(())
    };
    if heads.len() * shape.head_dim * (key_count + value_count) < SMALL {
        heads.iter_mut().enumerate().try_for_each(one)
    } else {
        heads.par_iter_mut().enumerate().try_for_each(one)
    }
}
