//! Activations rounded to bf16, once for all maps of one input, in the form that the instructions read.

use rayon::prelude::*;

use super::matrix::DEPTH;
use super::set::Bf16Set;
use crate::buffer::filled;
use crate::lines::Line;
use crate::vector::{WIDTH, instruction_set, vectorised};

/// Rows of one tile load times two: tiles take rows in pairs of sixteens.
pub(crate) const TILE_ROWS: usize = 2 * WIDTH;

/// Rows `(m, cols)` rounded to bf16, columns filled up with zeros to `depth`.
pub(crate) enum Inputs {
    /// The rounded values in f32, `(m, depth)`.
    Wide(Vec<f32>),
    /// Bits of bf16, `(m, depth)`.
    Pairs(Vec<u16>),
    /// Tiles of sixteen rows and 32 columns, `(rows / 16, depth / 32, 16)` lines; rows filled up to a multiple of 32.
    Tiles(Vec<Line>),
}

impl Inputs {
    /// Rounds `x (m, cols)`, halves to even; a NaN stays one.
    pub fn new(set: Bf16Set, x: &[f32], m: usize, cols: usize) -> Self {
        assert_eq!(x.len(), m * cols, "{m} rows of {cols}");
        let depth = cols.next_multiple_of(DEPTH);
        match set {
            Bf16Set::Scalar | Bf16Set::Avx2 | Bf16Set::Avx512 => {
                Self::Wide(filled(m * depth, |out| each(x, cols, out, depth, WIDTH, round_wide)))
            }
            Bf16Set::Avx512Bf16 => {
                let mut pairs = vec![0_u16; m * depth];
                each(x, cols, &mut pairs, depth, WIDTH, round_pairs);
                Self::Pairs(pairs)
            }
            Bf16Set::Amx => {
                let mut lines = vec![Line([0; 64]); m.next_multiple_of(TILE_ROWS) * depth / DEPTH];
                each(x, cols, &mut lines, depth / DEPTH, WIDTH, round_tile);
                Self::Tiles(lines)
            }
        }
    }
}

/// Calls `round` with some rows of `x` and what they become, on several threads where there are many.
fn each<T: Send>(
    x: &[f32],
    cols: usize,
    out: &mut [T],
    depth: usize,
    tall: usize,
    round: impl Fn(crate::InstructionSet, &[f32], usize, &mut [T], usize) + Sync,
) {
    let set = instruction_set();
    let parts = x.chunks(tall * cols).zip(out.chunks_mut(tall * depth));
    if x.len() <= tall * cols {
        parts.for_each(|(x, out)| round(set, x, cols, out, depth));
    } else {
        let parts: Vec<_> = parts.collect();
        parts.into_par_iter().for_each(|(x, out)| round(set, x, cols, out, depth));
    }
}

/// The bits of an f32 rounded to bf16, in the upper half.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let up = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // Rounding must not turn a NaN into an infinity.
    let quiet = bits | 0x0040_0000;
    (if value.is_nan() { quiet } else { up }) & 0xffff_0000
}

vectorised! {
    fn round_wide<V>(x: &[f32], cols: usize, out: &mut [f32], depth: usize) {
        let _: Option<V> = None;
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(depth)) {
            for (value, out) in x.iter().zip(out.iter_mut()) {
                *out = f32::from_bits(rounded(*value));
            }
            out[cols..].fill(0.0);
        }
    }
}

vectorised! {
    fn round_pairs<V>(x: &[f32], cols: usize, out: &mut [u16], depth: usize) {
        let _: Option<V> = None;
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(depth)) {
            for (value, out) in x.iter().zip(out) {
                *out = (rounded(*value) >> 16) as u16;
            }
        }
    }
}

vectorised! {
    /// At most sixteen rows become the tiles of `out`, `steps` lines a row.
    fn round_tile<V>(x: &[f32], cols: usize, out: &mut [Line], steps: usize) {
        let _: Option<V> = None;
        assert!(x.len() <= cols * WIDTH && out.len() == steps * WIDTH && cols <= steps * DEPTH);
        for (r, x) in x.chunks_exact(cols).enumerate() {
            for (step, x) in x.chunks(DEPTH).enumerate() {
                let line = &mut out[step * WIDTH + r];
                for (value, bytes) in x.iter().zip(line.0.chunks_exact_mut(2)) {
                    bytes.copy_from_slice(&((rounded(*value) >> 16) as u16).to_ne_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::vector::available;

    #[test]
    fn rounding_is_that_of_the_half_crate_on_every_instruction_set() {
        let specials = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-41, 1.003_906_2];
        let values: Vec<f32> = (0..4096_u32)
            .map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761)))
            .filter(|value| !value.is_nan())
            .chain(specials)
            .collect();
        let exact: Vec<u16> = values.iter().map(|value| bf16::from_f32(*value).to_bits()).collect();
        let count = values.len();
        for set in available() {
            let mut wide = vec![0.0; count];
            round_wide(set, &values, count, &mut wide, count);
            assert!(wide.iter().zip(&exact).all(|(a, b)| a.to_bits() == u32::from(*b) << 16), "{set:?}");
            let mut pairs = vec![0; count];
            round_pairs(set, &values, count, &mut pairs, count);
            assert_eq!(pairs, exact, "{set:?}");
            let mut out = [0.0];
            // A NaN whose payload lies in the bits that are cut off.
            round_wide(set, &[f32::from_bits(0x7f80_0001)], 1, &mut out, 1);
            assert!(out[0].is_nan(), "{set:?}");
        }
    }
}
