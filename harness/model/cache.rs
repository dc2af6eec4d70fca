//! Keys and values of the positions already seen.

use crate::error::ModelError;

/// Growable keys and values of every block, in f32, for a batch of sequences of one length.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    width: usize,
    batch: usize,
    length: usize,
    capacity: usize,
}

#[derive(Debug, Clone, Default)]
struct LayerCache {
    /// `(batch, capacity, width)`.
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// One block's keys and values with the number of positions they hold.
pub(crate) struct Cached<'a> {
    pub keys: &'a [f32],
    pub values: &'a [f32],
    pub positions: usize,
    pub stride: usize,
}

/// What a block looks back on.
pub(crate) enum Past<'a> {
    /// Nothing but the sequences themselves.
    Nothing,
    /// One cache for all sequences, which are of one length.
    Shared(&'a mut KvCache),
    /// A cache for each sequence, of any length.
    Each(&'a mut [KvCache]),
}

impl KvCache {
    /// An empty cache of `layers` blocks whose keys have `width` (kv heads times head dimension) elements a position.
    pub fn new(layers: usize, width: usize) -> Self {
        Self { layers: vec![LayerCache::default(); layers], width, batch: 0, length: 0, capacity: 0 }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Sequences held; zero before the first use.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| (layer.keys.len() + layer.values.len()) * size_of::<f32>()).sum()
    }

    /// Forgets all positions from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        if self.length == 0 {
            self.batch = 0;
        }
    }

    /// A cache of the first `length` positions of sequences of other caches of the same model, each given as a cache and
    /// the place of the sequence in it.
    ///
    /// # Errors
    /// [`ModelError::Range`] when a cache has no such sequence or fewer positions.
    pub fn gather(sources: &[(&Self, usize)], length: usize) -> Result<Self, ModelError> {
        for (cache, row) in sources {
            let range = |what, end, available| ModelError::Range { what, start: 0, end, available };
            if *row >= cache.batch {
                return Err(range("cached sequences", row + 1, cache.batch));
            }
            if length > cache.length {
                return Err(range("cached positions", length, cache.length));
            }
        }
        let Some((first, _)) = sources.first() else { return Ok(Self::new(0, 0)) };
        let mut gathered = Self::new(first.layers.len(), first.width);
        gathered.reserve(sources.len(), length + 1)?;
        let (stride, used) = (gathered.capacity * gathered.width, length * gathered.width);
        for (at, (cache, row)) in sources.iter().enumerate() {
            let (to, from) = (at * stride, row * cache.capacity * cache.width);
            for (target, source) in gathered.layers.iter_mut().zip(&cache.layers) {
                target.keys[to..to + used].copy_from_slice(&source.keys[from..from + used]);
                target.values[to..to + used].copy_from_slice(&source.values[from..from + used]);
            }
        }
        gathered.length = length;
        Ok(gathered)
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
        Ok(Self { layers: self.layers.iter().map(part).collect(), width, batch: 1, length, capacity: length })
    }

    /// Appends what another cache of the same model holds; both of one sequence.
    ///
    /// # Errors
    /// [`ModelError::CacheBatch`] for several sequences.
    pub fn extend(&mut self, other: &Self) -> Result<(), ModelError> {
        if other.batch != 1 {
            return Err(ModelError::CacheBatch { cached: other.batch, given: 1 });
        }
        self.reserve(1, other.length)?;
        let used = other.length * other.width;
        for (layer, held) in other.layers.iter().enumerate() {
            self.append(layer, &held.keys[..used], &held.values[..used]);
        }
        self.advance(other.length);
        Ok(())
    }

    /// Makes room for `more` positions of `batch` sequences.
    pub(crate) fn reserve(&mut self, batch: usize, more: usize) -> Result<(), ModelError> {
        if self.length > 0 && batch != self.batch {
            return Err(ModelError::CacheBatch { cached: self.batch, given: batch });
        }
        let needed = self.length + more;
        if batch == self.batch && needed <= self.capacity {
            return Ok(());
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
        Ok(())
    }

    /// Writes keys and values `(batch, new, width)` of the positions after [`Self::len`] into one block, after
    /// [`Self::reserve`]; [`Self::advance`] makes them count once every block has them.
    pub(crate) fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) -> Cached<'_> {
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

    pub(crate) fn advance(&mut self, positions: usize) {
        self.length += positions;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn growing_keeps_what_each_sequence_holds() {
        let mut cache = KvCache::new(1, 2);
        cache.reserve(2, 1).unwrap();
        cache.append(0, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
        cache.advance(1);
        cache.reserve(2, 100).unwrap();
        let new: Vec<f32> = (0..400).map(|v| v as f32).collect();
        let cached = cache.append(0, &new, &new);
        assert_eq!(cached.positions, 101);
        assert_eq!(cached.keys[..4], [1.0, 2.0, 0.0, 1.0]);
        assert_eq!(cached.values[cached.stride..cached.stride + 4], [7.0, 8.0, 200.0, 201.0]);
        assert!(matches!(cache.reserve(3, 1), Err(ModelError::CacheBatch { cached: 2, given: 3 })));
        let gathered = KvCache::gather(&[(&cache, 1), (&cache, 0), (&cache, 1)], 1).unwrap();
        assert_eq!((gathered.batch(), gathered.len()), (3, 1));
        let stride = gathered.capacity * gathered.width;
        let firsts: Vec<f32> = (0..3).flat_map(|row| gathered.layers[0].keys[row * stride..][..2].to_vec()).collect();
        assert_eq!(firsts, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        assert!(KvCache::gather(&[(&cache, 2)], 1).is_err() && KvCache::gather(&[(&cache, 0)], 2).is_err());
        cache.advance(100);
        let mut joined = KvCache::gather(&[(&cache, 1)], 2).unwrap();
        joined.extend(&KvCache::gather(&[(&cache, 1)], 9).unwrap().rest(2).unwrap()).unwrap();
        let whole = KvCache::gather(&[(&cache, 1)], 9).unwrap();
        assert_eq!((joined.len(), &joined.layers[0].keys[..18]), (9, &whole.layers[0].keys[..18]));
        assert!(cache.rest(0).is_err() && whole.rest(10).is_err() && joined.extend(&cache).is_err());
        cache.truncate(0);
        assert!(cache.reserve(3, 1).is_ok() && cache.is_empty() && cache.bytes() > 0);
    }
}
