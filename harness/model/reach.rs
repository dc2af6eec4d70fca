//! A decoder's rule of what queries look at, with the turns of keys and queries that it asks for.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;
use harness_kernels::attention::{Part, Spread, attention_of_parts, spread};
pub use harness_kernels::reach::{Blocks, Kept, Look, Reach};

use crate::decoder::Decoder;
use crate::error::ModelError;
use crate::ops::AttentionShape;
use crate::rope::{Rope, RopeTables};
use crate::tensor::from_values;

/// A look with the turns of its keys and queries, where there are rotary embeddings.
#[derive(Debug)]
struct Turned {
    look: Look,
    seen: Vec<Range<usize>>,
    /// Where its first query stands.
    first_query: usize,
    turns: Option<(RopeTables, RopeTables)>,
}

/// What one pass looks at.
#[derive(Debug)]
pub(crate) struct Looks {
    all: Vec<Turned>,
    /// Of the model.
    blocks: usize,
}

/// Passes that are remembered: as many as sequences of different lengths step together at most, usually.
const RECENT: usize = 32;
/// Numbers that all of them but the newest hold at most (64 MiB): a long text that is read in pieces needs one at a time.
const REMEMBERED: usize = 1 << 24;

/// A rule and what recent passes looked at by it.
#[derive(Debug)]
pub(crate) struct Reached {
    pub rule: Box<dyn Reach>,
    recent: Mutex<VecDeque<(Range<usize>, Arc<Looks>)>>,
}

impl Reached {
    pub fn new(rule: Box<dyn Reach>) -> Self {
        Self { rule, recent: Mutex::default() }
    }

    /// Refuses texts that are too long for the rule.
    pub fn check(&self, length: usize) -> Result<(), ModelError> {
        match self.rule.longest() {
            Some(longest) if length > longest => Err(ModelError::WindowExceeded { length, longest }),
            _ => Ok(()),
        }
    }

    /// Factors of the queries at some positions, where they are not all 1.
    pub fn query_factors(&self, positions: Range<usize>) -> Option<Vec<f32>> {
        let factors: Vec<f32> = positions.map(|position| self.rule.query_factor(position)).collect();
        factors.iter().any(|factor| *factor != 1.0).then_some(factors)
    }

    /// What the queries at some positions look at; none where that is everything before them at their own positions.
    /// The model has so many blocks.
    pub fn looks(
        &self,
        queries: Range<usize>,
        [rope, key_rope]: [Option<&Rope>; 2],
        blocks: usize,
    ) -> Option<Arc<Looks>> {
        if self.rule.is_whole(queries.end) {
            return None;
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, looks)) = recent.iter().find(|(of, _)| *of == queries) {
            return Some(Arc::clone(looks));
        }
        let turned = |look: Look| {
            let turns = rope.map(|rope| {
                let keys = key_rope.unwrap_or(rope);
                (rope.tables_at(&look.query_places, queries.end), keys.tables_at(&look.key_places, queries.end))
            });
            let first = look.keys.start;
            let seen =
                look.seen.iter().map(|seen| if seen.is_empty() { 0..0 } else { seen.start - first..seen.end - first });
            Turned { seen: seen.collect(), first_query: queries.start, turns, look }
        };
        let all = self.rule.looks(queries.clone()).into_iter().map(turned).collect();
        let looks = Arc::new(Looks { all, blocks });
        recent.push_back((queries, Arc::clone(&looks)));
        let held = |recent: &VecDeque<(_, Arc<Looks>)>| recent.iter().map(|(_, looks)| looks.numbers()).sum::<usize>();
        while recent.len() > RECENT || recent.len() > 1 && held(&recent) > REMEMBERED {
            recent.pop_front();
        }
        Some(looks)
    }
}

impl Looks {
    /// Cosines and sines that it holds.
    fn numbers(&self) -> usize {
        let turns = self.all.iter().filter_map(|turned| turned.turns.as_ref());
        turns.map(|(queries, keys)| 2 * (queries.cos.len() + keys.cos.len())).sum()
    }

    /// Attention in a block of `q`, `k` and `v (batch, positions, width)` of whole sequences.
    pub fn attend_each(
        &self,
        block: usize,
        [q, k, v]: [&[f32]; 3],
        positions: usize,
        shape: &AttentionShape,
    ) -> Vec<f32> {
        let (width, key_width) =
            (positions * shape.heads * shape.head_dim, positions * shape.kv_heads * shape.head_dim);
        let sequences = q.chunks_exact(width).zip(k.chunks_exact(key_width).zip(v.chunks_exact(key_width)));
        sequences.flat_map(|(q, (k, v))| self.attend(block, q, [k, v], |position| position, shape)).collect()
    }

    /// Attention of one sequence in a block: queries `(positions, heads · head_dim)`, keys and values as computed. `row` tells where the key of
    /// a position lies; those of a look lie one after the other.
    pub fn attend(
        &self,
        block: usize,
        q: &[f32],
        [keys, values]: [&[f32]; 2],
        row: impl Fn(usize) -> usize,
        shape: &AttentionShape,
    ) -> Vec<f32> {
        let met: Vec<Met<'_>> =
            self.here(block).map(|turned| Met::new(turned, q, [keys, values], &row, shape)).collect();
        let parts: Vec<Part<'_>> = met.iter().map(Met::part).collect();
        attention_of_parts(&parts, &shape.kernel(1, 0, 0, 0))
    }

    /// How the attention of a whole sequence is spread in a block, `(heads, positions)`, where so many keys count as the first.
    pub fn spread(&self, block: usize, [q, k]: [&[f32]; 2], first: usize, shape: &AttentionShape) -> Vec<Spread> {
        let met: Vec<Met<'_>> = self.here(block).map(|turned| Met::new(turned, q, [k, k], |row| row, shape)).collect();
        let firsts = self.here(block).map(|turned| first.saturating_sub(turned.look.keys.start));
        let parts: Vec<(Part<'_>, usize)> = met.iter().map(Met::part).zip(firsts).collect();
        spread(&parts, &shape.kernel(1, 0, 0, 0))
    }

    fn here(&self, block: usize) -> impl Iterator<Item = &Turned> {
        self.all.iter().filter(move |turned| turned.look.blocks.contains(block, self.blocks))
    }
}

/// Keys and queries that are turned to meet in one look.
struct Met<'a> {
    of: &'a Turned,
    q: Vec<f32>,
    k: Vec<f32>,
    v: &'a [f32],
}

impl<'a> Met<'a> {
    fn new(
        of: &'a Turned,
        q: &[f32],
        [keys, values]: [&'a [f32]; 2],
        row: impl Fn(usize) -> usize,
        shape: &AttentionShape,
    ) -> Self {
        let width = shape.kv_heads * shape.head_dim;
        let at = row(of.look.keys.start) * width;
        let here = at..at + of.look.keys.len() * width;
        let (keys, v) = (&keys[here.clone()], &values[here]);
        let (q, k) = match &of.turns {
            Some((of_queries, of_keys)) => (
                of_queries.turn(q, 0, shape.heads, shape.head_dim),
                of_keys.turn(keys, 0, shape.kv_heads, shape.head_dim),
            ),
            None => (q.to_vec(), keys.to_vec()),
        };
        Self { of, q, k, v }
    }

    fn part(&self) -> Part<'_> {
        let Turned { look, seen, first_query, .. } = self.of;
        let places = (&*look.query_places, &*look.key_places);
        Part { q: &self.q, k: &self.k, v: self.v, seen, chosen: look.chosen, first_query: *first_query, places }
    }
}

impl Decoder {
    /// What queries at some positions look at; none where that is all keys before them at their own positions.
    pub(crate) fn looks(&self, queries: Range<usize>) -> Result<Option<Arc<Looks>>, ModelError> {
        let Some(reach) = &self.reach else { return Ok(None) };
        reach.check(queries.end)?;
        Ok(reach.looks(queries, [self.rope.as_deref(), self.key_rope.as_deref()], self.blocks.len()))
    }

    /// Queries `(batch, positions, width)` from `start` on, multiplied by the factors of their positions.
    pub(crate) fn scaled_queries(&self, q: Tensor, start: usize) -> candle_core::Result<Tensor> {
        let positions = q.dim(1)?;
        let factors = self.reach.as_ref().and_then(|reach| reach.query_factors(start..start + positions));
        match factors {
            Some(factors) => q.broadcast_mul(&from_values(factors, (1, positions, 1))?),
            None => Ok(q),
        }
    }
}
