//! Keys and values in f32.

use super::{CacheShape, attend_full};
use crate::error::ModelError;
use crate::ops::AttentionShape;

/// Growable keys and values of every block, in f32, for a batch of sequences of one length.
#[derive(Debug, Clone)]
pub(crate) struct FullCache {
    layers: Vec<LayerCache>,
    pub(super) shape: CacheShape,
    width: usize,
    pub(super) batch: usize,
    pub(super) length: usize,
    capacity: usize,
}

#[derive(Debug, Clone, Default)]
struct LayerCache {
    /// `(batch, capacity, width)`.
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// One block's keys and values with the number of positions they hold.
struct Cached<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    positions: usize,
    stride: usize,
}

impl FullCache {
    pub fn new(shape: CacheShape) -> Self {
        let layers = vec![LayerCache::default(); shape.layers];
        Self { layers, shape, width: shape.width(), batch: 0, length: 0, capacity: 0 }
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| (layer.keys.len() + layer.values.len()) * size_of::<f32>()).sum()
    }

    /// Bytes of the positions held.
    pub fn live_bytes(&self) -> usize {
        2 * self.layers.len() * self.batch * self.length * self.width * size_of::<f32>()
    }

    /// Keys and values of one block, and the elements from one sequence to the next.
    pub fn layer(&self, layer: usize) -> (&[f32], &[f32], usize) {
        let block = &self.layers[layer];
        (&block.keys, &block.values, self.capacity * self.width)
    }

    /// Forgets all positions from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        if self.length == 0 {
            self.batch = 0;
        }
    }

    /// The first `length` positions of sequences that are there, each given as a cache and the place of the sequence in it.
    pub fn gather(sources: &[(&Self, usize)], length: usize) -> Self {
        let Some((first, _)) = sources.first() else { return Self::new(CacheShape::default()) };
        let mut gathered = Self::new(first.shape);
        gathered.reserve(sources.len(), length + 1);
        let (stride, used) = (gathered.capacity * gathered.width, length * gathered.width);
        for (at, (cache, row)) in sources.iter().enumerate() {
            let (to, from) = (at * stride, row * cache.capacity * cache.width);
            for (target, source) in gathered.layers.iter_mut().zip(&cache.layers) {
                target.keys[to..to + used].copy_from_slice(&source.keys[from..from + used]);
                target.values[to..to + used].copy_from_slice(&source.values[from..from + used]);
            }
        }
        gathered.length = length;
        gathered
    }

    /// A copy of the positions from `from` on of a cache of one sequence; [`Self::extend`] puts them behind others.
    ///
    /// # Errors
    /// [`ModelError::CacheBatch`] for several sequences, [`ModelError::Range`] where there are no such positions.
    pub fn rest(&self, from: usize) -> Result<Self, ModelError> {
        if self.batch != 1 {
            return Err(ModelError::CacheBatch { cached: self.batch, given: 1 });
        }
        if from > self.length {
            return Err(ModelError::Range { what: "cached positions", start: from, end: from, available: self.length });
        }
        let positions = from * self.width..self.length * self.width;
        let part = |layer: &LayerCache| LayerCache {
            keys: layer.keys[positions.clone()].to_vec(),
            values: layer.values[positions.clone()].to_vec(),
        };
        let (length, width) = (self.length - from, self.width);
        let layers = self.layers.iter().map(part).collect();
        Ok(Self { layers, shape: self.shape, width, batch: 1, length, capacity: length })
    }

    /// Appends what another cache of the same model holds; both of one sequence.
    ///
    /// # Errors
    /// [`ModelError::CacheBatch`] for several sequences.
    pub fn extend(&mut self, other: &Self) -> Result<(), ModelError> {
        if other.batch != 1 || self.length > 0 && self.batch != 1 {
            return Err(ModelError::CacheBatch { cached: other.batch.max(self.batch), given: 1 });
        }
        self.reserve(1, other.length);
        let used = other.length * other.width;
        for (layer, held) in other.layers.iter().enumerate() {
            self.append(layer, &held.keys[..used], &held.values[..used]);
        }
        self.advance(other.length);
        Ok(())
    }

    /// Makes room for `more` positions of `batch` sequences.
    pub fn reserve(&mut self, batch: usize, more: usize) {
        let needed = self.length + more;
        if batch == self.batch && needed <= self.capacity {
            return;
        }
        let capacity = needed.next_power_of_two().max(64);
        let (old, new, used) = (self.capacity * self.width, capacity * self.width, self.length * self.width);
        for layer in &mut self.layers {
            for values in [&mut layer.keys, &mut layer.values] {
                let mut grown = vec![0.0; batch * new];
                if used > 0 {
                    for (to, from) in grown.chunks_exact_mut(new).zip(values.chunks_exact(old)) {
                        to[..used].copy_from_slice(&from[..used]);
                    }
                }
                *values = grown;
            }
        }
        self.capacity = capacity;
        self.batch = batch;
    }

    /// Writes keys and values `(batch, new, width)` of the positions after [`Self::len`] into one block, after
    /// [`Self::reserve`]; [`Self::advance`] makes them count once every block has them.
    fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) -> Cached<'_> {
        let stride = self.capacity * self.width;
        let new = keys.len() / self.batch;
        let at = self.length * self.width;
        let block = &mut self.layers[layer];
        for (target, source) in [(&mut block.keys, keys), (&mut block.values, values)] {
            for (to, from) in target.chunks_exact_mut(stride).zip(source.chunks_exact(new)) {
                to[at..at + new].copy_from_slice(from);
            }
        }
        Cached { keys: &block.keys, values: &block.values, positions: self.length + new / self.width, stride }
    }

    /// Appends keys and values `(batch, new, width)` of a block and attends to all of its positions.
    pub fn attend(&mut self, layer: usize, [q, k, v]: [&[f32]; 3], shape: &AttentionShape) -> Vec<f32> {
        let (batch, queries) = (self.batch, k.len() / self.batch / self.width);
        let cached = self.append(layer, k, v);
        attend_full([q, cached.keys, cached.values], (batch, queries, cached.positions), cached.stride, shape)
    }

    pub fn advance(&mut self, positions: usize) {
        self.length += positions;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn growing_keeps_what_each_sequence_holds() {
        let mut cache = FullCache::new(CacheShape { layers: 1, kv_heads: 1, head_dim: 2 });
        cache.reserve(2, 1);
        cache.append(0, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
        cache.advance(1);
        cache.reserve(2, 100);
        let new: Vec<f32> = (0..400).map(|v| v as f32).collect();
        let cached = cache.append(0, &new, &new);
        assert_eq!(cached.positions, 101);
        assert_eq!(cached.keys[..4], [1.0, 2.0, 0.0, 1.0]);
        assert_eq!(cached.values[cached.stride..cached.stride + 4], [7.0, 8.0, 200.0, 201.0]);
        let gathered = FullCache::gather(&[(&cache, 1), (&cache, 0), (&cache, 1)], 1);
        assert_eq!((gathered.batch, gathered.length), (3, 1));
        let stride = gathered.capacity * gathered.width;
        let firsts: Vec<f32> = (0..3).flat_map(|row| gathered.layers[0].keys[row * stride..][..2].to_vec()).collect();
        assert_eq!(firsts, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        cache.advance(100);
        let mut joined = FullCache::gather(&[(&cache, 1)], 2);
        joined.extend(&FullCache::gather(&[(&cache, 1)], 9).rest(2).unwrap()).unwrap();
        let whole = FullCache::gather(&[(&cache, 1)], 9);
        assert_eq!((joined.length, &joined.layers[0].keys[..18]), (9, &whole.layers[0].keys[..18]));
        assert!(cache.rest(0).is_err() && whole.rest(10).is_err() && joined.extend(&cache).is_err());
        cache.truncate(0);
        cache.reserve(3, 1);
        assert!(cache.length == 0 && cache.batch == 3 && cache.bytes() > 0);
    }
}
