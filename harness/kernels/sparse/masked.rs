//! Sixteen columns at a time: a mask of sixteen bits and the weights it names. Two of four is the same with eight of sixteen, so that
//! nothing says where a row begins.

use std::ops::Range;

use super::SparseError;
use crate::buffer::Shared;
use crate::prefetch::prefetch;
use crate::vector::{Vector, WIDTH, vectorised};

/// How far ahead of their use weights are asked for, in bytes.
const AHEAD: usize = 4096;

/// Weights of sixteen columns where two of each four are held.
const HALF: usize = WIDTH / 2;

/// Masks and weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Masked {
    /// One for each sixteen columns of a row, the first column in the lowest bit.
    masks: Vec<u16>,
    /// Weights in the order of their columns, and a vector's width of zeros behind them, which loads may touch.
    values: Vec<f32>,
    /// Where each row's weights begin; none where every sixteen columns hold eight.
    starts: Vec<u32>,
}

impl Masked {
    pub(super) fn bitmap(weight: &[f32], rows: usize, cols: usize) -> Self {
        let mut held =
            Self { masks: Vec::with_capacity(rows * cols.div_ceil(WIDTH)), values: Vec::new(), starts: Vec::new() };
        for row in weight.chunks_exact(cols.max(1)) {
            held.starts.push(held.values.len() as u32);
            for part in row.chunks(WIDTH) {
                let mut mask = 0;
                for (lane, value) in part.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                    mask |= 1 << lane;
                    held.values.push(*value);
                }
                held.masks.push(mask);
            }
        }
        held.values.extend([0.0; WIDTH]);
        held
    }

    pub(super) fn two_of_four(weight: &[f32], rows: usize, cols: usize) -> Result<Self, SparseError> {
        if !cols.is_multiple_of(4) {
            return Err(SparseError::Columns(cols));
        }
        let parts = rows * cols.div_ceil(WIDTH);
        let mut held = Self {
            masks: Vec::with_capacity(parts),
            values: Vec::with_capacity(parts * HALF + WIDTH),
            starts: Vec::new(),
        };
        for (number, row) in weight.chunks_exact(cols.max(1)).enumerate() {
            for (at, part) in row.chunks(WIDTH).enumerate() {
                let mut mask: u16 = 0;
                for (group, four) in part.chunks_exact(4).enumerate() {
                    let mut kept = 0u16;
                    for (lane, _) in four.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                        kept |= 1 << lane;
                    }
                    if kept.count_ones() > 2 {
                        return Err(SparseError::Group { row: number, column: at * WIDTH + group * 4 });
                    }
                    // Zeros fill up a group that holds fewer than two.
                    while kept.count_ones() < 2 {
                        kept |= kept + 1;
                    }
                    mask |= kept << (group * 4);
                    held.values.extend((0..4).filter(|lane| kept >> lane & 1 == 1).map(|lane| four[lane]));
                }
                held.masks.push(mask);
                held.values.resize(held.masks.len() * HALF, 0.0);
            }
        }
        held.values.extend([0.0; WIDTH]);
        Ok(held)
    }

    pub(super) fn bytes(&self) -> usize {
        self.masks.len() * 2 + (self.values.len() - WIDTH) * 4 + self.starts.len() * 4
    }

    /// Where the weights of sixteen columns begin, and their mask.
    fn parts(&self, row: usize, cols: usize) -> impl Iterator<Item = (usize, u16)> + '_ {
        let count = cols.div_ceil(WIDTH);
        let mut at = self.starts.get(row).map_or(row * count * HALF, |start| *start as usize);
        let fixed = self.starts.is_empty();
        self.masks[row * count..(row + 1) * count].iter().map(move |&mask| {
            let here = at;
            at += if fixed { HALF } else { mask.count_ones() as usize };
            (here, mask)
        })
    }

    pub(super) fn dense(&self, rows: usize, cols: usize) -> Vec<f32> {
        let mut dense = vec![0.0; rows * cols];
        for (row, values) in dense.chunks_exact_mut(cols.max(1)).enumerate() {
            for (part, (mut at, mask)) in values.chunks_mut(WIDTH).zip(self.parts(row, cols)) {
                for (_, value) in part.iter_mut().enumerate().filter(|(lane, _)| mask >> lane & 1 == 1) {
                    *value = self.values[at];
                    at += 1;
                }
            }
        }
        dense
    }

    pub(super) fn rows(
        &self,
        set: crate::vector::InstructionSet,
        x: &[f32],
        m: usize,
        (n, k): (usize, usize),
        bias: Option<&[f32]>,
        span: Range<usize>,
        out: Shared,
    ) {
        assert!(x.len() >= m * k && span.end <= n && self.masks.len() == n * k.div_ceil(WIDTH));
        if self.starts.is_empty() {
            fixed_rows(set, self, x, m, k, bias, span, out, n);
        } else {
            bitmap_rows(set, self, x, m, k, bias, span, out, n);
        }
    }
}

vectorised! {
    fn fixed_rows<V>(
        held: &Masked, x: &[f32], m: usize, k: usize, bias: Option<&[f32]>, span: Range<usize>, out: Shared, n: usize,
    ) {
        each_row::<V, true>(held, x, m, k, bias, span, out, n);
    }
}
vectorised! {
    fn bitmap_rows<V>(
        held: &Masked, x: &[f32], m: usize, k: usize, bias: Option<&[f32]>, span: Range<usize>, out: Shared, n: usize,
    ) {
        each_row::<V, false>(held, x, m, k, bias, span, out, n);
    }
}

#[inline(always)]
unsafe fn each_row<V: Vector, const FIXED: bool>(
    held: &Masked,
    x: &[f32],
    m: usize,
    k: usize,
    bias: Option<&[f32]>,
    span: Range<usize>,
    out: Shared,
    n: usize,
) {
    for row in span {
        let add = bias.map_or(0.0, |bias| bias[row]);
        for first in (0..m).step_by(4) {
            let wide = (m - first).min(4);
            unsafe {
                let sums = match wide {
                    1 => dots::<V, FIXED, 1>(held, x, first, k, row),
                    2 => dots::<V, FIXED, 2>(held, x, first, k, row),
                    3 => dots::<V, FIXED, 3>(held, x, first, k, row),
                    _ => dots::<V, FIXED, 4>(held, x, first, k, row),
                };
                for c in 0..wide {
                    out.slice((first + c) * n + row, 1)[0] = sums[c] + add;
                }
            }
        }
    }
}

/// Products of one row with `C` rows of `x`, added up as the dense kernel adds them.
#[inline(always)]
unsafe fn dots<V: Vector, const FIXED: bool, const C: usize>(
    held: &Masked,
    x: &[f32],
    first: usize,
    k: usize,
    row: usize,
) -> [f32; 4] {
    const UNROLL: usize = 4;
    let parts = k.div_ceil(WIDTH);
    let start = if FIXED { row * parts * HALF } else { held.starts[row] as usize };
    let masks = &held.masks[row * parts..(row + 1) * parts];
    let whole = k / WIDTH;
    // SAFETY: masks name as many values as there are behind `start`, a vector's width is behind the last, and `x` has
    // `k` elements from each row's beginning.
    unsafe {
        let x = x.as_ptr().add(first * k);
        let mut values = held.values.as_ptr().add(start);
        let mut sums = [[V::splat(0.0); C]; UNROLL];
        let mut at = 0;
        while at < whole {
            let unrolled = if at + UNROLL <= whole { UNROLL } else { 1 };
            for u in 0..unrolled {
                let mask = *masks.get_unchecked(at + u);
                prefetch(values, AHEAD);
                let weights = V::expand(values, u32::from(mask));
                values = values.add(if FIXED { HALF } else { mask.count_ones() as usize });
                for c in 0..C {
                    sums[u][c] = weights.fma(V::load(x.add(c * k + (at + u) * WIDTH)), sums[u][c]);
                }
            }
            at += unrolled;
        }
        let mut result = [0.0; 4];
        for c in 0..C {
            let mut sum = sums[0][c].add(sums[1][c]).add(sums[2][c].add(sums[3][c])).sum();
            if whole < parts {
                let (mut left, mut here) = (masks[whole], values);
                while left != 0 {
                    let column = whole * WIDTH + left.trailing_zeros() as usize;
                    sum = (*here).mul_add(*x.add(c * k + column), sum);
                    here = here.add(1);
                    left &= left - 1;
                }
            }
            result[c] = sum;
        }
        result
    }
}
