//! Rotary frequencies and their tables.

use std::sync::{Arc, Mutex, PoisonError};

use harness_kernels::rotary::Pairing;

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

/// Rotary embeddings of one model: frequencies, and tables that grow with the positions asked for.
#[derive(Debug)]
pub struct Rope {
    inverse_frequencies: Vec<f32>,
    pairing: Pairing,
    tables: Mutex<Arc<RopeTables>>,
}

impl Rope {
    /// The frequencies `base^(−2i/rotary)`, rounded to f32 where Hugging Face's code rounds.
    pub fn new(base: f64, rotary: usize, style: RopeStyle) -> Self {
        let inverse_frequencies = (0..rotary / 2)
            .map(|i| {
                let exponent = (2 * i) as f32 / rotary as f32;
                1.0 / (base.powf(f64::from(exponent)) as f32)
            })
            .collect();
        Self::from_frequencies(inverse_frequencies, style)
    }

    /// Radians a position for each pair of dimensions; twice as many dimensions are rotated.
    pub fn from_frequencies(inverse_frequencies: Vec<f32>, style: RopeStyle) -> Self {
        let pairing = match style {
            RopeStyle::HalfSplit => Pairing::HalfSplit,
            RopeStyle::Interleaved => Pairing::Interleaved,
        };
        let rotary = inverse_frequencies.len() * 2;
        let empty = RopeTables { cos: Vec::new(), sin: Vec::new(), rotary, pairing };
        Self { inverse_frequencies, pairing, tables: Mutex::new(Arc::new(empty)) }
    }

    /// Radians a position for each pair of dimensions.
    pub fn inverse_frequencies(&self) -> &[f32] {
        &self.inverse_frequencies
    }

    /// Tables that cover at least the positions below `positions`.
    pub fn tables(&self, positions: usize) -> Arc<RopeTables> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let half = self.inverse_frequencies.len();
        if tables.cos.len() < positions * half {
            let positions = positions.next_power_of_two().max(256);
            // The angle is an f32 product, as in the reference code; cosine and sine of it are exact to f32.
            let angles: Vec<f64> = (0..positions)
                .flat_map(|position| self.inverse_frequencies.iter().map(move |f| f64::from(position as f32 * f)))
                .collect();
            *tables = Arc::new(RopeTables {
                cos: angles.iter().map(|angle| angle.cos() as f32).collect(),
                sin: angles.iter().map(|angle| angle.sin() as f32).collect(),
                rotary: half * 2,
                pairing: self.pairing,
            });
        }
        Arc::clone(&tables)
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
    use super::*;

    #[test]
    fn tables_hold_the_angles_and_grow() {
        let rope = Rope::new(10_000.0, 8, RopeStyle::HalfSplit);
        assert_eq!(rope.inverse_frequencies(), [1.0, 0.1, 0.01, 0.001]);
        let tables = rope.tables(3);
        assert_eq!(tables.cos[2 * 4], 2f32.cos());
        let grown = rope.tables(1000);
        assert!((f64::from(grown.sin[999 * 4 + 1]) - f64::from(999.0 * 0.1f32).sin()).abs() < 1e-7);
        assert_eq!(grown.cos[..tables.cos.len()], tables.cos[..]);
    }

    #[test]
    fn slopes_are_those_of_the_reference() {
        assert_eq!(alibi_slopes(8)[..3], [0.5, 0.25, 0.125]);
        let six = alibi_slopes(6);
        assert_eq!(six[..], [0.25, 0.0625, 0.015_625, 0.003_906_25, 0.5, 0.125]);
    }
}
