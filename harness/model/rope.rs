//! Rotary frequencies and their tables.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use harness_kernels::rotary::{Pairing, Rotation, frequencies, rotate};

use crate::config::RopeStyle;

/// Cosines and sines of every position below some bound.
#[derive(Debug, Clone)]
pub struct RopeTables {
    /// Cosines, `(positions, rotary/2)`.
    pub cos: Vec<f32>,
    /// Sines, `(positions, rotary/2)`.
    pub sin: Vec<f32>,
    /// Rotated dimensions of a head.
    pub rotary: usize,
    /// Pairing of dimensions.
    pub pairing: Pairing,
}

impl RopeTables {
    /// Positions covered.
    fn positions(&self) -> usize {
        self.cos.len() / (self.rotary / 2).max(1)
    }

    /// Turns keys or queries `(positions, heads · head_dim)` of the positions `start ..`.
    ///
    /// # Panics
    /// When the tables end before.
    pub fn turn(&self, x: &[f32], start: usize, heads: usize, head_dim: usize) -> Vec<f32> {
        let (sequence, half) = (x.len() / (heads * head_dim), self.rotary / 2);
        let rows = start * half..(start + sequence) * half;
        let rotation = Rotation {
            cos: &self.cos[rows.clone()],
            sin: &self.sin[rows],
            rotary: self.rotary,
            head_dim,
            heads,
            sequence,
            pairing: self.pairing,
            inverse: false,
        };
        rotate(x, &rotation)
    }
}

/// Rotary frequencies that may follow the length of what is read.
pub trait Frequencies: fmt::Debug + Send + Sync {
    /// Radians a position for each pair of dimensions where `length` positions are read, and a factor of cosines and sines.
    fn at(&self, length: usize) -> (Vec<f32>, f32);

    /// The first positions, so many, that are turned by other frequencies at all lengths; the factor stays.
    fn start(&self) -> Option<(usize, Vec<f32>)> {
        None
    }

    /// Lengths of one regime have the same frequencies.
    fn regime(&self, _length: usize) -> usize {
        0
    }

    /// Whether the angle of a key changes as more is read, so that caches hold keys as computed and turn them at every step.
    fn moves(&self) -> bool {
        false
    }
}

/// The same frequencies at all lengths.
#[derive(Debug)]
struct Fixed(Vec<f32>);

impl Frequencies for Fixed {
    fn at(&self, _: usize) -> (Vec<f32>, f32) {
        (self.0.clone(), 1.0)
    }
}

/// Tables that are kept: as many as sequences of different lengths step together at most, usually.
const RECENT: usize = 32;

/// Rotary embeddings of one model: frequencies, and tables that grow with the positions asked for.
#[derive(Debug)]
pub struct Rope {
    frequencies: Box<dyn Frequencies>,
    pairing: Pairing,
    /// What the logarithm of each pair's length grows by from place to place, where it is not 0.
    growth: Vec<f64>,
    /// The newest last, each of one regime.
    tables: Mutex<VecDeque<(usize, Arc<RopeTables>)>>,
}

impl Rope {
    /// The frequencies `base^(−2i/rotary)`, rounded to f32 where Hugging Face's code rounds.
    pub fn new(base: f64, rotary: usize, style: RopeStyle) -> Self {
        Self::of(Box::new(Fixed(frequencies(base, rotary))), style)
    }

    /// Frequencies by a rule of one's own; twice as many dimensions as it gives are rotated.
    pub fn of(frequencies: Box<dyn Frequencies>, style: RopeStyle) -> Self {
        let pairing = match style {
            RopeStyle::HalfSplit => Pairing::HalfSplit,
            RopeStyle::Interleaved => Pairing::Interleaved,
        };
        Self { frequencies, pairing, growth: Vec::new(), tables: Mutex::default() }
    }

    /// The embeddings of xPos, of queries and of keys: the score of pair `i` falls as `ζ_i^(Δ/scale)`, `ζ_i = (2i + 0.4 d) / 1.4 d`.
    pub fn xpos(base: f64, dimensions: usize, scale: f64) -> [Self; 2] {
        let d = dimensions as f64;
        [1.0, -1.0].map(|sign| {
            let of = |i: usize| sign * ((2.0 * i as f64 + 0.4 * d) / (1.4 * d)).ln() / scale;
            let growth = (0..dimensions / 2).map(of).collect();
            Self { growth, ..Self::new(base, dimensions, RopeStyle::Interleaved) }
        })
    }

    /// Whether caches hold keys as computed: see [`Frequencies::moves`].
    pub fn moves(&self) -> bool {
        self.frequencies.moves()
    }

    /// Tables that cover at least the positions below `positions`, where `length` positions are read in all.
    pub fn tables(&self, positions: usize, length: usize) -> Arc<RopeTables> {
        let regime = self.frequencies.regime(length);
        let mut recent = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let found = recent.iter().position(|(of, _)| *of == regime);
        if let Some((_, tables)) = found.and_then(|at| recent.get(at))
            && tables.positions() >= positions
        {
            return Arc::clone(tables);
        }
        // Tables of one regime grow in large steps; where frequencies follow the length, many serve one length alone.
        let rows = if self.moves() { positions.next_multiple_of(256) } else { positions.next_power_of_two().max(256) };
        let tables = Arc::new(self.computed((0..rows).map(|position| position as f32), length));
        if let Some(at) = found {
            recent.remove(at);
        }
        recent.push_back((regime, Arc::clone(&tables)));
        if recent.len() > RECENT {
            recent.pop_front();
        }
        tables
    }

    /// A row of tables for each place, which need not be a whole number, where `length` positions are read in all.
    pub fn tables_at(&self, places: &[f32], length: usize) -> RopeTables {
        let last = places.iter().fold(0.0, |last: f32, place| last.max(*place));
        if places.iter().any(|place| *place < 0.0 || place.fract() != 0.0) || last >= (1u32 << 24) as f32 {
            return self.computed(places.iter().copied(), length);
        }
        let tables = self.tables(last as usize + 1, length);
        let half = tables.rotary / 2;
        let rows = |values: &[f32]| {
            places.iter().flat_map(|place| &values[*place as usize * half..][..half]).copied().collect()
        };
        RopeTables { cos: rows(&tables.cos), sin: rows(&tables.sin), ..*tables }
    }

    fn computed(&self, places: impl Iterator<Item = f32>, length: usize) -> RopeTables {
        let (frequencies, factor) = self.frequencies.at(length);
        let start = self.frequencies.start();
        let of_place = |place: f32| match &start {
            Some((first, own)) if place < *first as f32 => own,
            _ => &frequencies,
        };
        // The angle is an f32 product, as in the reference code; cosine and sine of it are exact to f32.
        let growth = |i: usize| self.growth.get(i).copied().unwrap_or_default();
        let turns: Vec<(f64, f32)> = places
            .flat_map(|place| of_place(place).iter().enumerate().map(move |(i, f)| (i, place, f64::from(place * f))))
            .map(|(i, place, angle)| (angle, factor * (growth(i) * f64::from(place)).exp() as f32))
            .collect();
        RopeTables {
            cos: turns.iter().map(|(angle, length)| angle.cos() as f32 * length).collect(),
            sin: turns.iter().map(|(angle, length)| angle.sin() as f32 * length).collect(),
            rotary: frequencies.len() * 2,
            pairing: self.pairing,
        }
    }
}

/// The slopes of attention with linear biases: `2^(−8(h+1)/heads)` for a power of two, and the interleaved sequence of
/// the next power for other numbers of heads (Press et al., 2022, and its reference code).
pub fn alibi_slopes(heads: usize) -> Arc<[f32]> {
    let power = |count: usize| (1..=count).map(move |h| (-8.0 * h as f64 / count as f64).exp2() as f32);
    if heads.is_power_of_two() {
        return power(heads).collect();
    }
    let below = heads.next_power_of_two() / 2;
    power(below).chain(power(2 * below).step_by(2).take(heads - below)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tables_hold_the_angles_and_grow() {
        let rope = Rope::new(10_000.0, 8, RopeStyle::HalfSplit);
        let tables = rope.tables(3, 3);
        assert_eq!(tables.cos[2 * 4], 2f32.cos());
        let grown = rope.tables(1000, 1000);
        assert!((f64::from(grown.sin[999 * 4 + 1]) - f64::from(999.0 * 0.1f32).sin()).abs() < 1e-7);
        assert_eq!(grown.cos[..tables.cos.len()], tables.cos[..]);
        assert_eq!(rope.tables.lock().unwrap().len(), 1, "one regime has one table");
        let at = rope.tables_at(&[999.0, 2.0], 1000);
        assert_eq!((&at.cos[4..], &at.sin[..4]), (&grown.cos[8..12], &grown.sin[999 * 4..1000 * 4]));
        let between = rope.tables_at(&[2.5], 1000);
        assert_eq!(between.cos[0], 2.5f64.cos() as f32);
    }

    /// Half the frequency beyond eight positions.
    #[derive(Debug)]
    struct Halved;

    impl Frequencies for Halved {
        fn at(&self, length: usize) -> (Vec<f32>, f32) {
            (vec![if length > 8 { 0.5 } else { 1.0 }], 2.0)
        }
        fn regime(&self, length: usize) -> usize {
            usize::from(length > 8)
        }
        fn moves(&self) -> bool {
            true
        }
    }

    #[test]
    fn tables_follow_the_length_and_come_back() {
        let rope = Rope::of(Box::new(Halved), RopeStyle::Interleaved);
        for (length, angle) in [(4, 3f64), (9, 1.5), (5, 3.0), (900, 1.5)] {
            assert_eq!(rope.tables(4, length).cos[3], 2.0 * angle.cos() as f32, "length {length}");
        }
        assert_eq!(rope.tables.lock().unwrap().len(), 2);
        let turned = rope.tables(4, 4).turn(&[1.0, 0.0], 3, 1, 2);
        assert_eq!(turned, [2.0 * 3f64.cos() as f32, 2.0 * 3f64.sin() as f32]);
    }

    /// A tenth of the frequency, but for the first three positions.
    #[derive(Debug)]
    struct Starting;

    impl Frequencies for Starting {
        fn at(&self, _: usize) -> (Vec<f32>, f32) {
            (vec![0.1], 2.0)
        }
        fn start(&self) -> Option<(usize, Vec<f32>)> {
            Some((3, vec![1.0]))
        }
    }

    #[test]
    fn first_positions_may_keep_their_own_frequencies() {
        let rope = Rope::of(Box::new(Starting), RopeStyle::HalfSplit);
        let tables = rope.tables(9, 9);
        for (place, angle) in [(0, 0f32), (2, 2.0), (3, 0.3), (8, 0.8)] {
            assert!((f64::from(tables.cos[place]) - 2.0 * f64::from(angle).cos()).abs() < 1e-6, "place {place}");
        }
        assert_eq!(rope.tables_at(&[8.0, 2.0, 2.5], 9).sin[..2], [tables.sin[8], tables.sin[2]]);
        assert_eq!(rope.tables_at(&[2.5], 9).cos, [2.0 * 2.5f64.cos() as f32]);
    }

    #[test]
    fn scores_of_xpos_fall_with_the_distance_alone() {
        let [queries, keys] = Rope::xpos(10_000.0, 8, 512.0);
        let pair = |i: usize, m: usize, n: usize| {
            let x: Vec<f32> = (0..8).map(|at| if at == 2 * i { 1.0 } else { 0.0 }).collect();
            let (q, k) = (queries.tables(m + 1, m + 1).turn(&x, m, 1, 8), keys.tables(n + 1, n + 1).turn(&x, n, 1, 8));
            let dot: f32 = q.iter().zip(&k).map(|(a, b)| a * b).sum();
            dot / ((m - n) as f32 * frequencies(10_000.0, 8)[i]).cos()
        };
        for (distance, expected) in [
            (1, [0.997_556, 0.998_503, 0.999_137, 0.999_616]),
            (512, [0.285_714, 0.464_286, 0.642_857, 0.821_429]),
            (1024, [0.081_633, 0.215_561, 0.413_265, 0.674_745]),
        ] {
            for (i, expected) in expected.into_iter().enumerate() {
                for start in [0, 100] {
                    let found = pair(i, start + distance, start);
                    assert!((found - expected).abs() < 5e-4 * expected, "{distance} {i}: {found} for {expected}");
                }
            }
        }
    }

    #[test]
    fn slopes_are_those_of_the_reference() {
        assert_eq!(alibi_slopes(8)[..3], [0.5, 0.25, 0.125]);
        let six = alibi_slopes(6);
        assert_eq!(six[..], [0.25, 0.0625, 0.015_625, 0.003_906_25, 0.5, 0.125]);
    }
}
