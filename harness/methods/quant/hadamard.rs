//! Turns by Hadamard matrices: every output is a sum of all inputs with signs, over the root of their number.

use std::ops::{Add, Mul, MulAssign, Sub};
use std::sync::Arc;

use rayon::prelude::*;

/// A floating type.
pub trait Number:
    Copy + Send + From<f32> + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + MulAssign
{
    /// One over the root of a number.
    fn root(number: usize) -> Self;
}

impl Number for f32 {
    fn root(number: usize) -> Self {
        1.0 / (number as Self).sqrt()
    }
}

impl Number for f64 {
    fn root(number: usize) -> Self {
        1.0 / (number as Self).sqrt()
    }
}

/// A Hadamard matrix of order `2^p · m`, applied as `2^p` butterflies over blocks of `m`, with random signs before.
#[derive(Debug, Clone)]
pub struct Turn {
    order: usize,
    /// The order of the small matrix, 1 where the order is a power of two.
    small: usize,
    /// `(small, small)` of ±1, and its transpose.
    matrices: [Arc<[f32]>; 2],
    /// ±1 for each input.
    signs: Arc<[f32]>,
}

impl Turn {
    /// The turn of so many numbers, with signs drawn by `sign`; `None` where no Hadamard matrix of the order is known here: of
    /// `2^p · m` with `m = 1`, `q + 1` of a prime `q` that leaves 3 when divided by 4, or `2 (q + 1)` of one that leaves 1.
    pub fn new(order: usize, mut sign: impl FnMut() -> bool) -> Option<Self> {
        if order == 0 {
            return None;
        }
        let mut small = (0..=order.trailing_zeros()).rev().map(|p| order >> p);
        let (small, matrix) = small.find_map(|small| Some((small, hadamard(small)?)))?;
        let signs = (0..order).map(|_| if sign() { -1.0 } else { 1.0 }).collect();
        let transposed = (0..small * small).map(|at| matrix[at % small * small + at / small]).collect();
        Some(Self { order, small, matrices: [matrix.into(), transposed], signs })
    }

    /// Numbers that are turned together.
    pub fn order(&self) -> usize {
        self.order
    }

    /// Turns every row: signs, then the matrix.
    ///
    /// # Panics
    /// When `rows` is not whole rows.
    pub fn forward<T: Number>(&self, rows: &mut [T]) {
        assert!(rows.len().is_multiple_of(self.order), "rows of {}", self.order);
        rows.par_chunks_mut(self.order).for_each(|row| {
            row.iter_mut().zip(&*self.signs).for_each(|(x, &sign)| *x *= T::from(sign));
            self.multiply(row, false);
        });
    }

    /// Turns every row back.
    ///
    /// # Panics
    /// When `rows` is not whole rows.
    pub fn backward<T: Number>(&self, rows: &mut [T]) {
        assert!(rows.len().is_multiple_of(self.order), "rows of {}", self.order);
        rows.par_chunks_mut(self.order).for_each(|row| {
            self.multiply(row, true);
            row.iter_mut().zip(&*self.signs).for_each(|(x, &sign)| *x *= T::from(sign));
        });
    }

    /// Turns every column of a matrix with so many columns.
    pub fn forward_columns(&self, matrix: &mut [f32], columns: usize) {
        self.columns(matrix, columns, Self::forward);
    }

    /// Turns every column of a matrix with so many columns back.
    pub fn backward_columns(&self, matrix: &mut [f32], columns: usize) {
        self.columns(matrix, columns, Self::backward);
    }

    fn columns(&self, matrix: &mut [f32], columns: usize, turn: impl Fn(&Self, &mut [f32])) {
        let mut transposed = vec![0.0; matrix.len()];
        for (i, row) in matrix.chunks_exact(columns).enumerate() {
            row.iter().enumerate().for_each(|(j, x)| transposed[j * self.order + i] = *x);
        }
        turn(self, &mut transposed);
        for (i, row) in matrix.chunks_exact_mut(columns).enumerate() {
            row.iter_mut().enumerate().for_each(|(j, x)| *x = transposed[j * self.order + i]);
        }
    }

    /// Multiplies a row by the matrix or its transpose, over the root of the order.
    fn multiply<T: Number>(&self, row: &mut [T], transposed: bool) {
        let small = self.small;
        if small > 1 {
            // Row j of the other one holds what input j adds to each output.
            let columns = &self.matrices[usize::from(!transposed)];
            let mut turned = vec![T::from(0.0); small];
            for block in row.chunks_exact_mut(small) {
                turned.fill(T::from(0.0));
                for (&x, column) in block.iter().zip(columns.chunks_exact(small)) {
                    turned.iter_mut().zip(column).for_each(|(out, &entry)| *out = *out + T::from(entry) * x);
                }
                block.copy_from_slice(&turned);
            }
        }
        let mut half = small;
        while half < self.order {
            for pair in row.chunks_exact_mut(2 * half) {
                let (low, high) = pair.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
        let norm = T::root(self.order);
        for x in row {
            *x *= norm;
        }
    }
}

/// A Hadamard matrix by one of Paley's constructions, or of order 1.
fn hadamard(order: usize) -> Option<Vec<f32>> {
    if order == 1 {
        return Some(vec![1.0]);
    }
    if !order.is_multiple_of(4) {
        return None;
    }
    if (order - 1) % 4 == 3 && is_prime(order - 1) {
        return Some(first_paley(order - 1));
    }
    let half = order / 2 - 1;
    (half % 4 == 1 && is_prime(half)).then(|| second_paley(half))
}

fn is_prime(number: usize) -> bool {
    number > 1 && (2..=number.isqrt()).all(|d| !number.is_multiple_of(d))
}

/// 1 for squares modulo a prime, −1 for others, 0 for 0.
fn characters(prime: usize) -> Vec<f32> {
    let mut found = vec![-1.0; prime];
    (1..prime).for_each(|x| found[x * x % prime] = 1.0);
    found[0] = 0.0;
    found
}

/// The conference-like matrix of a prime: a border of `below` and 1, and the characters of differences.
fn bordered(prime: usize, below: f32) -> Vec<f32> {
    let (order, characters) = (prime + 1, characters(prime));
    let mut found = vec![0.0; order * order];
    for i in 0..order {
        for j in 0..order {
            found[i * order + j] = match (i, j) {
                (0, 0) => 0.0,
                (0, _) => 1.0,
                (_, 0) => below,
                _ => characters[(i + prime - j) % prime],
            };
        }
    }
    found
}

/// Order `prime + 1`.
fn first_paley(prime: usize) -> Vec<f32> {
    let mut found = bordered(prime, -1.0);
    found.iter_mut().step_by(prime + 2).for_each(|entry| *entry += 1.0);
    found
}

/// Order `2 (prime + 1)`.
fn second_paley(prime: usize) -> Vec<f32> {
    let (half, order) = (prime + 1, 2 * (prime + 1));
    let border = bordered(prime, 1.0);
    let mut found = vec![0.0; order * order];
    for i in 0..order {
        for j in 0..order {
            let entry = border[i / 2 * half + j / 2];
            let block = (i % 2, j % 2);
            found[i * order + j] = if i / 2 == j / 2 {
                if block == (0, 0) { 1.0 } else { -1.0 }
            } else if block == (1, 1) {
                -entry
            } else {
                entry
            };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn matrices_are_orthogonal_and_of_signs() {
        for order in [1, 4, 8, 12, 20, 28, 36, 60, 76, 108, 124, 140] {
            let Some(matrix) = hadamard(order).or_else(|| order.is_power_of_two().then(Vec::new)) else {
                panic!("{order}")
            };
            if matrix.is_empty() {
                continue;
            }
            assert!(matrix.iter().all(|entry| entry.abs() == 1.0), "{order}");
            for (i, a) in matrix.chunks(order).enumerate() {
                for (j, b) in matrix.chunks(order).enumerate() {
                    let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    assert_eq!(product, if i == j { order as f32 } else { 0.0 }, "{order}");
                }
            }
        }
        assert!(hadamard(92).is_none() && hadamard(6).is_none());
    }

    #[test]
    fn one_loud_number_is_spread_over_all() {
        let turn = Turn::new(4, || false).unwrap();
        let mut row = [8.0, 0.0, 0.0, 0.0];
        turn.forward(&mut row);
        assert_eq!(row, [4.0; 4]);
    }

    #[test]
    fn turns_keep_products_and_turn_back() {
        let mut state = 7_u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for order in [64, 288, 576, 768, 896, 1536, 4864] {
            let signs: Vec<bool> = (0..order).map(|_| next() & 16 == 0).collect();
            let mut at = 0;
            let turn = Turn::new(order, || {
                at += 1;
                signs[at - 1]
            })
            .unwrap();
            let x: Vec<f32> = (0..2 * order).map(|_| next() as f32 / 8_388_608.0 - 1.0).collect();
            let mut turned = x.clone();
            turn.forward(&mut turned);
            let dot = |x: &[f32]| -> f32 { x[..order].iter().zip(&x[order..]).map(|(a, b)| a * b).sum() };
            assert!((dot(&x) - dot(&turned)).abs() < 2e-3 * (order as f32).sqrt(), "{order}");
            turn.backward(&mut turned);
            assert!(turned.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-5), "{order}");
        }
        for order in [0, 18, 27, 100 * 23] {
            assert!(Turn::new(order, || false).is_none(), "{order}");
        }
    }
}
