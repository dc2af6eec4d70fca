//! Keys and values in f32.

use harness_kernels::buffer::zeroed_on_huge_pages;

use super::{CacheShape, attend_full};
use crate::error::ModelError;
use crate::ops::AttentionShape;
use crate::reach::{Kept, Looks};
use crate::rope::RopeTables;

/// Growable keys and values of every block, in f32, for a batch of sequences of one length.
#[derive(Debug, Clone)]
pub(crate) struct FullCache {
    /// `(layers, keys and values, batch, capacity, width)`.
    held: Vec<f32>,
    pub(super) shape: CacheShape,
    width: usize,
    pub(super) batch: usize,
    pub(super) length: usize,
    capacity: usize,
    /// Positions that no query will look at any more, behind the first that are kept.
    gone: usize,
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
        Self { held: Vec::new(), shape, width: shape.width(), batch: 0, length: 0, capacity: 0, gone: 0 }
    }

    /// With room for `capacity` positions.
    fn with_room(shape: CacheShape, batch: usize, capacity: usize) -> Self {
        let held = zeroed_on_huge_pages(2 * shape.layers * batch * capacity * shape.width());
        Self { held, batch, capacity, ..Self::new(shape) }
    }

    /// Elements of the keys, or of the values, of one block.
    fn part(&self) -> usize {
        self.batch * self.capacity * self.width
    }

    /// The keys of the first block, its values, the keys of the second and so on, each `(batch, capacity, width)`.
    fn parts(&self) -> impl Iterator<Item = &[f32]> {
        self.held.chunks_exact(self.part().max(1))
    }

    /// Positions that are held.
    pub fn rows(&self) -> usize {
        self.length - self.gone
    }

    /// Refuses to go back to a length at which queries would look at positions that are gone.
    fn check_reaches(&self, length: usize) -> Result<(), ModelError> {
        match self.shape.kept {
            Some(Kept { first, last }) if self.gone > 0 && length < first + self.gone + last => {
                Err(ModelError::CacheDropped { length, from: first + self.gone })
            }
            _ => Ok(()),
        }
    }

    /// Lets positions go that no later query looks at, where the room is needed for `more`.
    fn let_go(&mut self, more: usize) {
        let Some(Kept { first, last }) = self.shape.kept else { return };
        if self.rows() + more <= self.capacity || self.length <= first + last {
            return;
        }
        let newest = (self.length - last - self.gone) * self.width..self.rows() * self.width;
        let (to, stride) = (first * self.width, self.capacity * self.width);
        self.held.chunks_exact_mut(stride).for_each(|rows| rows.copy_within(newest.clone(), to));
        self.gone = self.length - last - first;
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.held)
    }

    /// Bytes of the positions held.
    pub fn live_bytes(&self) -> usize {
        2 * self.shape.layers * self.batch * self.rows() * self.width * size_of::<f32>()
    }

    /// Keys and values of one block, and the elements from one sequence to the next.
    pub fn layer(&self, layer: usize) -> (&[f32], &[f32], usize) {
        let (keys, values) = self.held[2 * layer * self.part()..][..2 * self.part()].split_at(self.part());
        (keys, values, self.capacity * self.width)
    }

    /// Forgets all positions from `length` on.
    ///
    /// # Errors
    /// [`ModelError::CacheDropped`].
    pub fn truncate(&mut self, length: usize) -> Result<(), ModelError> {
        if length == 0 {
            (self.length, self.batch, self.gone) = (0, 0, 0);
        } else if length < self.length {
            self.check_reaches(length)?;
            self.length = length;
        }
        Ok(())
    }

    /// The first `length` positions of sequences that are there, each given as a cache and the place of the sequence in it.
    ///
    /// # Errors
    /// [`ModelError::CacheDropped`], also where one cache has let more go than another.
    pub fn gather(sources: &[(&Self, usize)], length: usize) -> Result<Self, ModelError> {
        let Some((first, _)) = sources.first() else { return Ok(Self::new(CacheShape::default())) };
        let mut gathered = Self::new(first.shape);
        if length > 0 {
            sources.iter().try_for_each(|(cache, _)| cache.check_reaches(length))?;
            if let Some((cache, _)) = sources.iter().find(|(cache, _)| cache.gone != first.gone) {
                return Err(ModelError::CacheDropped { length, from: cache.gone.max(first.gone) });
            }
        }
        let gone = if length == 0 { 0 } else { first.gone };
        gathered.reserve(sources.len(), length - gone + 1);
        let (stride, used) = (gathered.capacity * gathered.width, (length - gone) * gathered.width);
        for (at, (cache, row)) in sources.iter().enumerate() {
            let (to, from) = (at * stride, row * cache.capacity * cache.width);
            let part = gathered.part().max(1);
            for (target, source) in gathered.held.chunks_exact_mut(part).zip(cache.parts()) {
                target[to..to + used].copy_from_slice(&source[from..from + used]);
            }
        }
        (gathered.length, gathered.gone) = (length, gone);
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
        let held = self.gone + self.shape.kept.map_or(0, |kept| kept.first);
        if self.gone > 0 && from < held {
            return Err(ModelError::CacheDropped { length: from, from: held });
        }
        let mut rest = Self::with_room(CacheShape { kept: None, ..self.shape }, 1, self.length - from);
        let (positions, part) = ((from - self.gone) * self.width..self.rows() * self.width, rest.part().max(1));
        for (target, source) in rest.held.chunks_exact_mut(part).zip(self.parts()) {
            target.copy_from_slice(&source[positions.clone()]);
        }
        rest.length = self.length - from;
        Ok(rest)
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
        for layer in 0..self.shape.layers {
            let (keys, values, _) = other.layer(layer);
            self.append(layer, &keys[..used], &values[..used]);
        }
        self.advance(other.length);
        Ok(())
    }

    /// Makes room for `more` positions of `batch` sequences.
    pub fn reserve(&mut self, batch: usize, more: usize) {
        self.let_go(more);
        let needed = self.rows() + more;
        if batch == self.batch && needed <= self.capacity {
            return;
        }
        // Room for a quarter more, so that decoding after a prompt does not begin with a copy of everything.
        let mut grown = Self::with_room(self.shape, batch, (needed + needed / 4).next_multiple_of(64));
        let (old, new, used) = (self.capacity * self.width, grown.capacity * self.width, self.rows() * self.width);
        if used > 0 {
            let part = grown.part();
            for (target, source) in grown.held.chunks_exact_mut(part).zip(self.parts()) {
                for (to, from) in target.chunks_exact_mut(new).zip(source.chunks_exact(old)) {
                    to[..used].copy_from_slice(&from[..used]);
                }
            }
        }
        *self = Self { length: self.length, gone: self.gone, ..grown };
    }

    /// Writes keys and values `(batch, new, width)` of the positions after [`Self::len`] into one block, after
    /// [`Self::reserve`]; [`Self::advance`] makes them count once every block has them.
    fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) -> Cached<'_> {
        let stride = self.capacity * self.width;
        let new = keys.len() / self.batch;
        let (rows, part) = (self.rows(), self.part());
        let at = rows * self.width;
        let block = &mut self.held[2 * layer * part..][..2 * part];
        for (target, source) in block.chunks_exact_mut(part).zip([keys, values]) {
            for (to, from) in target.chunks_exact_mut(stride).zip(source.chunks_exact(new)) {
                to[at..at + new].copy_from_slice(from);
            }
        }
        let (keys, values) = block.split_at(part);
        Cached { keys, values, positions: rows + new / self.width, stride }
    }

    /// Appends keys and values `(batch, new, width)` of a block and attends to all of its positions.
    /// Keys are turned first where there are tables to turn them by.
    pub fn attend(
        &mut self,
        layer: usize,
        [q, k, v]: [&[f32]; 3],
        later: Option<&RopeTables>,
        shape: &AttentionShape,
    ) -> Vec<f32> {
        let (batch, queries, width) = (self.batch, k.len() / self.batch / self.width, self.width);
        let Cached { keys, values, positions, stride } = self.append(layer, k, v);
        let turned = later.map(|tables| {
            let mut turned = vec![0.0; (batch - 1) * stride + positions * width];
            for (to, from) in turned.chunks_mut(stride).zip(keys.chunks(stride)) {
                let rows = tables.turn(&from[..positions * width], 0, shape.kv_heads, shape.head_dim);
                to[..rows.len()].copy_from_slice(&rows);
            }
            turned
        });
        let keys = turned.as_deref().unwrap_or(keys);
        attend_full([q, keys, values], (batch, queries, positions), stride, shape)
    }

    /// Appends keys and values `(batch, new, width)` of a block and attends to what queries look at.
    pub fn attend_looks(
        &mut self,
        layer: usize,
        [q, k, v]: [&[f32]; 3],
        looks: &Looks,
        shape: &AttentionShape,
    ) -> Vec<f32> {
        let (batch, gone, first) = (self.batch, self.gone, self.shape.kept.map_or(0, |kept| kept.first));
        let Cached { keys, values, stride, .. } = self.append(layer, k, v);
        let row = |position: usize| if position < first { position } else { position - gone };
        let sequences = keys.chunks_exact(stride).zip(values.chunks_exact(stride)).zip(q.chunks_exact(q.len() / batch));
        sequences.flat_map(|((keys, values), q)| looks.attend(layer, q, [keys, values], row, shape)).collect()
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
        let mut cache = FullCache::new(CacheShape { layers: 1, kv_heads: 1, head_dim: 2, kept: None });
        cache.reserve(2, 1);
        cache.append(0, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
        cache.advance(1);
        cache.reserve(2, 100);
        let new: Vec<f32> = (0..400).map(|v| v as f32).collect();
        let cached = cache.append(0, &new, &new);
        assert_eq!(cached.positions, 101);
        assert_eq!(cached.keys[..4], [1.0, 2.0, 0.0, 1.0]);
        assert_eq!(cached.values[cached.stride..cached.stride + 4], [7.0, 8.0, 200.0, 201.0]);
        let gathered = FullCache::gather(&[(&cache, 1), (&cache, 0), (&cache, 1)], 1).unwrap();
        assert_eq!((gathered.batch, gathered.length), (3, 1));
        let stride = gathered.capacity * gathered.width;
        let firsts: Vec<f32> = (0..3).flat_map(|row| gathered.held[row * stride..][..2].to_vec()).collect();
        assert_eq!(firsts, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        cache.advance(100);
        let mut joined = FullCache::gather(&[(&cache, 1)], 2).unwrap();
        joined.extend(&FullCache::gather(&[(&cache, 1)], 9).unwrap().rest(2).unwrap()).unwrap();
        let whole = FullCache::gather(&[(&cache, 1)], 9).unwrap();
        assert_eq!((joined.length, &joined.held[..18]), (9, &whole.held[..18]));
        assert!(cache.rest(0).is_err() && whole.rest(10).is_err() && joined.extend(&cache).is_err());
        cache.truncate(0).unwrap();
        cache.reserve(3, 1);
        assert!(cache.length == 0 && cache.batch == 3 && cache.bytes() > 0);
    }
}
