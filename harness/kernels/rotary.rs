//! Rotary position embeddings.

use rayon::prelude::*;

use crate::buffer::filled;
use crate::instruction_set;
use crate::vector::{WIDTH, vectorised};

/// How rotated dimensions are paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Dimension `i` with `i + rotary/2`.
    HalfSplit,
    /// Dimension `2i` with `2i + 1`.
    Interleaved,
}

/// `base^(−2i/rotary)` for each pair of `rotary` dimensions, in radians a position, rounded to f32 where Hugging Face's code rounds.
pub fn frequencies(base: f64, rotary: usize) -> Vec<f32> {
    let of = |i: usize| {
        let exponent = (2 * i) as f32 / rotary as f32;
        1.0 / (base.powf(f64::from(exponent)) as f32)
    };
    (0..rotary / 2).map(of).collect()
}

/// One application of rotary embeddings to `(tokens, heads, head_dim)`.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// Cosines, `(positions, rotary/2)`.
    pub cos: &'a [f32],
    /// Sines, `(positions, rotary/2)`.
    pub sin: &'a [f32],
    /// Rotated dimensions at the front of each head.
    pub rotary: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// Heads in a token.
    pub heads: usize,
    /// Tokens of one sequence; token `t` stands at table row `t % sequence`.
    pub sequence: usize,
    /// Pairing of dimensions.
    pub pairing: Pairing,
    /// Turns backwards, which is also the gradient of turning forwards.
    pub inverse: bool,
}

/// Rotates `x (batch · sequence, heads, head_dim)`; the table's first row belongs to the first token of each sequence.
///
/// # Panics
/// When the tables have fewer than `sequence` rows or `x` is not whole tokens.
pub fn rotate(x: &[f32], rotation: &Rotation<'_>) -> Vec<f32> {
    const TOKENS: usize = 16;
    let width = rotation.heads * rotation.head_dim;
    let half = rotation.rotary / 2;
    assert!(x.len().is_multiple_of(width) && rotation.rotary <= rotation.head_dim, "rotation of whole tokens");
    assert!(rotation.cos.len() >= rotation.sequence * half && rotation.sin.len() >= rotation.sequence * half);
    let set = instruction_set();
    filled(x.len(), |out| {
        let work = |(block, (out, x)): (usize, (&mut [f32], &[f32]))| {
            for (i, (out, x)) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
                let row = (block * TOKENS + i) % rotation.sequence * half;
                let (cos, sin) = (&rotation.cos[row..row + half], &rotation.sin[row..row + half]);
                token(set, x, cos, sin, rotation.head_dim, rotation.pairing, rotation.inverse, out);
            }
        };
        if x.len() <= width * TOKENS {
            work((0, (out, x)));
        } else {
            out.par_chunks_mut(width * TOKENS).zip(x.par_chunks(width * TOKENS)).enumerate().for_each(work);
        }
    })
}

vectorised! {
    fn token<V>(x: &[f32], cos: &[f32], sin: &[f32], head_dim: usize, pairing: Pairing, inverse: bool, out: &mut [f32]) {
        let half = cos.len();
        assert!(x.len() == out.len() && sin.len() == half && 2 * half <= head_dim);
        let sign = if inverse { -1.0 } else { 1.0 };
        for (x, out) in x.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
            match pairing {
                Pairing::HalfSplit => {
                    let (from, to) = (x.as_ptr(), out.as_mut_ptr());
                    for at in (0..half).step_by(WIDTH) {
                        let count = (half - at).min(WIDTH);
                        let (a, b) = (V::load_partial(from.add(at), count, 0.0), V::load_partial(from.add(half + at), count, 0.0));
                        let c = V::load_partial(cos.as_ptr().add(at), count, 0.0);
                        let s = V::load_partial(sin.as_ptr().add(at), count, 0.0).mul(V::splat(sign));
                        a.mul(c).sub(b.mul(s)).store_partial(to.add(at), count);
                        b.mul(c).add(a.mul(s)).store_partial(to.add(half + at), count);
                    }
                }
                Pairing::Interleaved => {
                    for i in 0..half {
                        let (a, b, c, s) = (x[2 * i], x[2 * i + 1], cos[i], sin[i] * sign);
                        out[2 * i] = a * c - b * s;
                        out[2 * i + 1] = b * c + a * s;
                    }
                }
            }
            out[2 * half..].copy_from_slice(&x[2 * half..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_pairings_turn_by_the_angle_and_back() {
        let (heads, head_dim, rotary, sequence, batch) = (3, 40, 36, 9, 5);
        let half = rotary / 2;
        let angles: Vec<f64> = (0..sequence * half).map(|i| i as f64 * 0.37).collect();
        let cos: Vec<f32> = angles.iter().map(|a| a.cos() as f32).collect();
        let sin: Vec<f32> = angles.iter().map(|a| a.sin() as f32).collect();
        let x: Vec<f32> = (0..batch * sequence * heads * head_dim).map(|i| (i as f32 * 0.13).sin()).collect();
        for pairing in [Pairing::HalfSplit, Pairing::Interleaved] {
            let forward = Rotation { cos: &cos, sin: &sin, rotary, head_dim, heads, sequence, pairing, inverse: false };
            let y = rotate(&x, &forward);
            for t in 0..batch * sequence {
                for h in 0..heads {
                    let base = (t * heads + h) * head_dim;
                    for i in 0..half {
                        let (first, second) =
                            if pairing == Pairing::HalfSplit { (i, i + half) } else { (2 * i, 2 * i + 1) };
                        let angle = angles[t % sequence * half + i];
                        let (a, b) = (f64::from(x[base + first]), f64::from(x[base + second]));
                        assert!((f64::from(y[base + first]) - (a * angle.cos() - b * angle.sin())).abs() < 1e-6);
                        assert!((f64::from(y[base + second]) - (a * angle.sin() + b * angle.cos())).abs() < 1e-6);
                    }
                    assert_eq!(y[base + rotary..base + head_dim], x[base + rotary..base + head_dim]);
                }
            }
            let back = rotate(&y, &Rotation { inverse: true, ..forward });
            assert!(back.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }
}
