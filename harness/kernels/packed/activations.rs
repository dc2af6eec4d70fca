//! Activations as the integer kernels take them: signed bytes with a scale for each row and group of columns.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::dot::integer_set;
use super::lanes::Codes;
use super::product::tiled;
use crate::buffer::filled;
use crate::vector::{WIDTH, instruction_set, vectorised};

/// Rows that tiles take at once; they are filled up with zeros to a multiple of this.
pub(crate) const TILE_ROWS: usize = 32;

/// Rows `(m, cols)` as bytes: a value is `code · scale` of its row and group.
#[derive(Debug)]
pub struct Bytes {
    /// `(m, cols)` in -127..=127; where tiled `(m / 16, cols / step, 16, step)`.
    pub(crate) codes: Vec<i8>,
    /// `(m, cols / group)`; where tiled `(m / 32, cols / group, 32)`.
    pub(crate) scales: Vec<f32>,
    /// Sum of the codes, as `scales`.
    pub(crate) sums: Vec<i32>,
    pub(crate) cols: usize,
    pub(crate) group: usize,
    /// Whether they lie as matrix tiles read them.
    pub(crate) tiled: bool,
}

impl Bytes {
    /// Rounds `x (m, cols)`: in each group the scale is the largest magnitude over 127; a code is a value times the
    /// reciprocal of the scale, halves to even.
    ///
    /// A group that holds an infinity or a NaN gets a NaN for its scale, so that the outputs show it.
    pub fn new(x: &[f32], m: usize, cols: usize, group: usize, tiled: bool) -> Self {
        assert!(x.len() == m * cols && cols.is_multiple_of(group) && group.is_multiple_of(WIDTH), "{m}x{cols}/{group}");
        let groups = cols / group;
        let rows = if tiled { m.next_multiple_of(TILE_ROWS) } else { m };
        let mut codes = Vec::with_capacity(rows * cols);
        let mut scales = vec![0.0; rows * groups];
        let mut sums = vec![0; rows * groups];
        let set = instruction_set();
        // Several rows a task: one is a few microseconds at most.
        let tall = if tiled { TILE_ROWS } else { TILE_ROWS / 2 };
        let unset = &mut codes.spare_capacity_mut()[..rows * cols];
        let parts = (unset.chunks_mut(tall * cols))
            .zip(x.chunks(tall * cols))
            .zip(scales.chunks_mut(tall * groups).zip(sums.chunks_mut(tall * groups)));
        let round = |((codes, x), (scales, sums)): ((&mut [_], &[f32]), (&mut [f32], &mut [i32]))| {
            if tiled {
                round_tiles(set, x, cols, group, codes, scales, sums);
            } else {
                round(set, x, group, codes, scales, sums);
            }
        };
        if m <= tall {
            parts.for_each(round);
        } else {
            let parts: Vec<_> = parts.collect();
            parts.into_par_iter().for_each(round);
        }
        // SAFETY: every one of these codes was just written.
        unsafe { codes.set_len(rows * cols) };
        Self { codes, scales, sums, cols, group, tiled }
    }

    /// Rows that were rounded by a rule of one's own: `codes (m, cols)` in -127..=127, and `scales (m, cols / group)`.
    ///
    /// # Panics
    /// When the lengths are not those of the shapes, `group` is no multiple of 32, or a code is -128, which the products
    /// of bytes do not take.
    pub fn of_codes(codes: Vec<i8>, scales: Vec<f32>, m: usize, cols: usize, group: usize) -> Self {
        assert!(
            codes.len() == m * cols && group.is_multiple_of(32) && cols.is_multiple_of(group),
            "{m}x{cols}/{group}"
        );
        assert!(scales.len() == m * (cols / group), "{} scales for {m}x{cols}/{group}", scales.len());
        let sum = |codes: &[i8]| codes.iter().map(|&code| i32::from(code)).sum::<i32>();
        assert!(codes.iter().all(|&code| code != i8::MIN), "-128 is no code");
        let sums: Vec<i32> = codes.par_chunks(group).map(sum).collect();
        let rows = Self { codes, scales, sums, cols, group, tiled: false };
        if tiled(integer_set(), m) { rows.into_tiles(m) } else { rows }
    }

    /// The same `m` rows as matrix tiles read them.
    fn into_tiles(self, m: usize) -> Self {
        let Self { cols, group, .. } = self;
        let (rows, groups, step) = (m.next_multiple_of(TILE_ROWS), cols / group, step(group));
        let (mut codes, mut scales, mut sums) =
            (vec![0; rows * cols], vec![0.0; rows * groups], vec![0; rows * groups]);
        for (r, row) in self.codes.chunks_exact(cols).enumerate() {
            for (s, part) in row.chunks_exact(step).enumerate() {
                let to = r / WIDTH * WIDTH * cols + (s * WIDTH + r % WIDTH) * step;
                codes[to..to + step].copy_from_slice(part);
            }
            for g in 0..groups {
                let to = (r / TILE_ROWS * groups + g) * TILE_ROWS + r % TILE_ROWS;
                (scales[to], sums[to]) = (self.scales[r * groups + g], self.sums[r * groups + g]);
            }
        }
        Self { codes, scales, sums, cols, group, tiled: true }
    }

    pub(crate) fn groups(&self) -> usize {
        self.cols / self.group
    }

    /// Columns of a tile.
    pub(crate) fn step(&self) -> usize {
        step(self.group)
    }
}

/// Columns of a tile that groups consist of.
fn step(group: usize) -> usize {
    if group.is_multiple_of(64) { 64 } else { 32 }
}

/// The scale of some values, and its reciprocal.
#[inline(always)]
unsafe fn scale_of<V: Codes>(values: *const f32, count: usize) -> (f32, f32) {
    let largest = f32::from_bits(unsafe { V::largest_magnitude(values, count / WIDTH) });
    // Zero times an infinity is no number. A scale that is no normal number would round coarsely and let codes exceed 127.
    let scale = largest / 127.0 + largest * 0.0;
    let scale = if scale < f32::MIN_POSITIVE { 0.0 } else { scale };
    (scale, if scale > 0.0 { 1.0 / scale } else { 0.0 })
}

vectorised! {
    fn round<V: Codes>(x: &[f32], group: usize, codes: &mut [MaybeUninit<i8>], scales: &mut [f32], sums: &mut [i32]) {
        let count = x.len() / group;
        assert!(codes.len() == x.len() && scales.len() >= count && sums.len() >= count && group.is_multiple_of(WIDTH));
        for g in 0..count {
            let values = x.as_ptr().add(g * group);
            let (scale, factor) = scale_of::<V>(values, group);
            scales[g] = scale;
            sums[g] = V::round_bytes(values, group / WIDTH, factor, codes.as_mut_ptr().add(g * group).cast());
        }
    }
}

vectorised! {
    /// At most 32 rows become two rows of tiles; what they do not fill is zero.
    fn round_tiles<V: Codes>(
        x: &[f32], cols: usize, group: usize, codes: &mut [MaybeUninit<i8>], scales: &mut [f32], sums: &mut [i32],
    ) {
        let (rows, groups, step) = (x.len() / cols, cols / group, step(group));
        assert!(rows <= TILE_ROWS && codes.len() == TILE_ROWS * cols && cols.is_multiple_of(group));
        assert!(scales.len() == TILE_ROWS * groups && sums.len() == TILE_ROWS * groups && group.is_multiple_of(step));
        if rows < TILE_ROWS {
            codes.fill(MaybeUninit::new(0));
        }
        for r in 0..rows {
            let to = codes.as_mut_ptr().add(r / WIDTH * WIDTH * cols + r % WIDTH * step).cast::<i8>();
            for g in 0..groups {
                let values = x.as_ptr().add(r * cols + g * group);
                let (scale, factor) = scale_of::<V>(values, group);
                let mut sum = 0_i32;
                for at in (0..group).step_by(step) {
                    let to = to.add((g * group + at) * WIDTH);
                    sum = sum.wrapping_add(V::round_bytes(values.add(at), step / WIDTH, factor, to));
                }
                scales[g * TILE_ROWS + r] = scale;
                sums[g * TILE_ROWS + r] = sum;
            }
        }
    }
}

/// `x (m, cols)` rounded to bytes as the integer kernels round it, and back to f32: the activations that a dense
/// product with the dequantised weights must see to give what [`super::Activations::Int8`] gives.
///
/// # Panics
/// When `x` is not whole rows or `group` is no multiple of 32 that divides `cols`.
pub fn rounded_activations(x: &[f32], cols: usize, group: usize) -> Vec<f32> {
    assert!(cols > 0 && group > 0 && group.is_multiple_of(32), "groups of {group} in {cols} columns");
    let m = x.len() / cols;
    let bytes = Bytes::new(x, m, cols, group, false);
    filled(x.len(), |out| {
        for (g, out) in out.chunks_exact_mut(group).enumerate() {
            for (value, code) in out.iter_mut().zip(&bytes.codes[g * group..]) {
                *value = f32::from(*code) * bytes.scales[g];
            }
        }
    })
}

/// Sums of each row and group, `(m, cols / group)`, in a fixed order.
pub(crate) fn group_sums(x: &[f32], group: usize) -> Vec<f32> {
    let mut sums = vec![0.0; x.len() / group];
    add_groups(instruction_set(), x, group, &mut sums);
    sums
}

vectorised! {
    fn add_groups<V>(x: &[f32], group: usize, sums: &mut [f32]) {
        assert!(sums.len() * group == x.len() && group.is_multiple_of(WIDTH));
        for (g, out) in sums.iter_mut().enumerate() {
            let mut sum = V::splat(0.0);
            for at in (0..group).step_by(WIDTH) {
                sum = sum.add(V::load(x.as_ptr().add(g * group + at)));
            }
            *out = sum.sum();
        }
    }
}

/// The bytes on a chosen instruction set, for comparing them in tests.
#[cfg(test)]
pub(crate) fn round_on(set: crate::vector::InstructionSet, x: &[f32], group: usize) -> (Vec<i8>, Vec<f32>, Vec<i32>) {
    let count = x.len() / group;
    let (mut codes, mut scales, mut sums) = (Vec::with_capacity(x.len()), vec![0.0; count], vec![0; count]);
    round(set, x, group, &mut codes.spare_capacity_mut()[..x.len()], &mut scales, &mut sums);
    // SAFETY: every code was just written.
    unsafe { codes.set_len(x.len()) };
    (codes, scales, sums)
}
