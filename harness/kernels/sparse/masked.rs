//! Sixteen columns at a time: a mask of sixteen bits and the weights it names. Two of four is the same with eight of sixteen, so that
//! nothing says where a row begins.

use std::ops::Range;

use super::SparseError;
use crate::buffer::Shared;
use crate::prefetch::{AHEAD, prefetch};
use crate::stored::Stored;
use crate::streams::{Rows, multiply_rows};
use crate::vector::{Vector, WIDTH, vectorised};

/// Weights of sixteen columns where two of each four are held.
const HALF: usize = WIDTH / 2;

/// Masks and weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Masked {
    /// One for each sixteen columns of a row, the first column in the lowest bit.
    masks: Stored<u16>,
    /// Weights in the order of their columns, and a vector's width of zeros behind them, which loads may touch.
    values: Stored<f32>,
    /// Where each row's weights begin; none where every sixteen columns hold eight.
    starts: Vec<u32>,
}

impl Masked {
    pub(super) fn bitmap(weight: &[f32], rows: usize, cols: usize) -> Self {
        let (mut masks, mut values) = (Vec::with_capacity(rows * cols.div_ceil(WIDTH)), Vec::new());
        let mut starts = Vec::with_capacity(rows);
        for row in weight.chunks_exact(cols.max(1)) {
            starts.push(values.len() as u32);
            for part in row.chunks(WIDTH) {
                let mut mask = 0;
                for (lane, value) in part.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                    mask |= 1 << lane;
                    values.push(*value);
                }
                masks.push(mask);
            }
        }
        Self::stored(&masks, values, starts)
    }

    fn stored(masks: &[u16], mut values: Vec<f32>, starts: Vec<u32>) -> Self {
        values.extend([0.0; WIDTH]);
        Self { masks: Stored::copied(masks), values: Stored::copied(&values), starts }
    }

    pub(super) fn two_of_four(weight: &[f32], rows: usize, cols: usize) -> Result<Self, SparseError> {
        if !cols.is_multiple_of(4) {
            return Err(SparseError::Columns(cols));
        }
        let parts = rows * cols.div_ceil(WIDTH);
        let (mut masks, mut values) = (Vec::with_capacity(parts), Vec::with_capacity(parts * HALF + WIDTH));
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
                    values.extend((0..4).filter(|lane| kept >> lane & 1 == 1).map(|lane| four[lane]));
                }
                masks.push(mask);
                values.resize(masks.len() * HALF, 0.0);
            }
        }
        Ok(Self::stored(&masks, values, Vec::new()))
    }

    pub(super) fn bytes(&self) -> usize {
        self.masks.len() * 2 + (self.values.len() - WIDTH) * 4 + self.starts.len() * 4
    }

    /// Writes rows of `k` columns with their zeros, from `first` on as many as `out` holds.
    pub(super) fn spread(&self, set: crate::vector::InstructionSet, k: usize, first: usize, out: &mut [f32]) {
        spread_rows(set, self, k, first, out);
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
    fn spread_rows<V>(held: &Masked, k: usize, first: usize, out: &mut [f32]) {
        let (parts, whole, fixed) = (k.div_ceil(WIDTH), k / WIDTH, held.starts.is_empty());
        for (row, out) in out.chunks_exact_mut(k).enumerate() {
            let row = first + row;
            let masks = &held.masks[row * parts..(row + 1) * parts];
            let mut at = if fixed { row * parts * HALF } else { held.starts[row] as usize };
            for (part, &mask) in masks[..whole].iter().enumerate() {
                // Masks name as many values as there are behind a row's start, and a vector's width is behind the last.
                let weights = V::expand(held.values.as_ptr().add(at), u32::from(mask));
                weights.store(out.as_mut_ptr().add(part * WIDTH));
                at += if fixed { HALF } else { mask.count_ones() as usize };
            }
            for (lane, value) in out[whole * WIDTH..].iter_mut().enumerate() {
                let kept = masks[whole] >> lane & 1 == 1;
                *value = if kept { held.values[at] } else { 0.0 };
                at += usize::from(kept);
            }
        }
    }
}
vectorised! {
    fn fixed_rows<V>(
        held: &Masked, x: &[f32], m: usize, k: usize, bias: Option<&[f32]>, span: Range<usize>, out: Shared, n: usize,
    ) {
        multiply_rows::<V, _>(Expanded::<true> { held, k }, x, m, bias, span, out, n);
    }
}
vectorised! {
    fn bitmap_rows<V>(
        held: &Masked, x: &[f32], m: usize, k: usize, bias: Option<&[f32]>, span: Range<usize>, out: Shared, n: usize,
    ) {
        multiply_rows::<V, _>(Expanded::<false> { held, k }, x, m, bias, span, out, n);
    }
}

/// Rows of `k` columns, those of `FIXED` with eight weights in every sixteen.
#[derive(Clone, Copy)]
struct Expanded<'a, const FIXED: bool> {
    held: &'a Masked,
    k: usize,
}

impl<const FIXED: bool> Rows for Expanded<'_, FIXED> {
    /// Added up as the dense kernel adds them.
    #[inline(always)]
    unsafe fn dots<V: Vector, const C: usize, const S: usize>(
        self,
        x: &[f32],
        i: usize,
        rows: [usize; S],
    ) -> [[f32; 4]; S] {
        const UNROLL: usize = 4;
        let Self { held, k } = self;
        let parts = k.div_ceil(WIDTH);
        let whole = k / WIDTH;
        let masks = rows.map(|row| &held.masks[row * parts..(row + 1) * parts]);
        // SAFETY: masks name as many values as there are behind a row's start, a vector's width is behind the last, and `x` has
        // `k` elements from each row's beginning.
        unsafe {
            let x = x.as_ptr().add(i * k);
            let mut values = rows.map(|row| {
                held.values.as_ptr().add(if FIXED { row * parts * HALF } else { held.starts[row] as usize })
            });
            let mut sums = [[[V::splat(0.0); C]; UNROLL]; S];
            let mut at = 0;
            while at < whole {
                let unrolled = if at + UNROLL <= whole { UNROLL } else { 1 };
                for u in 0..unrolled {
                    for s in 0..S {
                        let mask = *masks[s].get_unchecked(at + u);
                        prefetch(values[s], AHEAD);
                        let weights = V::expand(values[s], u32::from(mask));
                        values[s] = values[s].add(if FIXED { HALF } else { mask.count_ones() as usize });
                        for c in 0..C {
                            sums[s][u][c] = weights.fma(V::load(x.add(c * k + (at + u) * WIDTH)), sums[s][u][c]);
                        }
                    }
                }
                at += unrolled;
            }
            let mut results = [[0.0; 4]; S];
            for s in 0..S {
                let sums = &sums[s];
                for c in 0..C {
                    let mut sum = sums[0][c].add(sums[1][c]).add(sums[2][c].add(sums[3][c])).sum();
                    if whole < parts {
                        let (mut left, mut here) = (masks[s][whole], values[s]);
                        while left != 0 {
                            let column = whole * WIDTH + left.trailing_zeros() as usize;
                            sum = (*here).mul_add(*x.add(c * k + column), sum);
                            here = here.add(1);
                            left &= left - 1;
                        }
                    }
                    results[s][c] = sum;
                }
            }
            results
        }
    }
}
