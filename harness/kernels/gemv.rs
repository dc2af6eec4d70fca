//! Products of a few rows with a weight matrix: every weight is read once, so memory bandwidth is the ceiling.

use half::{bf16, f16};

use crate::buffer::Shared;
use crate::matrix::{Element, MatrixRef};
use crate::prefetch::{AHEAD, prefetch};
use crate::streams::{Rows, multiply_rows};
use crate::vector::{InstructionSet, Vector, WIDTH, vectorised};

/// Multiplies the weight rows `first .. first + count` with all `m` rows of `x` and writes their columns of `out`
/// `(m, n)`. `weight` is `(n, k)`, `x` is `(m, k)`.
pub(crate) fn rows(
    set: InstructionSet,
    x: &[f32],
    m: usize,
    k: usize,
    weight: MatrixRef<'_>,
    bias: Option<&[f32]>,
    span: std::ops::Range<usize>,
    out: Shared,
    n: usize,
) {
    match weight {
        MatrixRef::F32(values) => rows_f32(set, x, m, k, values, bias, span, out, n),
        MatrixRef::F16(values) => rows_f16(set, x, m, k, values, bias, span, out, n),
        MatrixRef::Bf16(values) => rows_bf16(set, x, m, k, values, bias, span, out, n),
    }
}

vectorised! {
    fn rows_f32<V>(
        x: &[f32], m: usize, k: usize, weight: &[f32], bias: Option<&[f32]>, span: std::ops::Range<usize>, out: Shared, n: usize,
    ) {
        generic_rows::<V, f32>(x, m, k, weight, bias, span, out, n);
    }
}
vectorised! {
    fn rows_f16<V>(
        x: &[f32], m: usize, k: usize, weight: &[f16], bias: Option<&[f32]>, span: std::ops::Range<usize>, out: Shared, n: usize,
    ) {
        generic_rows::<V, f16>(x, m, k, weight, bias, span, out, n);
    }
}
vectorised! {
    fn rows_bf16<V>(
        x: &[f32], m: usize, k: usize, weight: &[bf16], bias: Option<&[f32]>, span: std::ops::Range<usize>, out: Shared, n: usize,
    ) {
        generic_rows::<V, bf16>(x, m, k, weight, bias, span, out, n);
    }
}

#[inline(always)]
unsafe fn generic_rows<V: Vector, E: Element>(
    x: &[f32],
    m: usize,
    k: usize,
    weight: &[E],
    bias: Option<&[f32]>,
    span: std::ops::Range<usize>,
    out: Shared,
    n: usize,
) {
    assert!(x.len() >= m * k && span.end <= n && weight.len() >= span.end * k);
    assert!(bias.is_none_or(|bias| bias.len() == n));
    unsafe { multiply_rows::<V, _>(Dense { weight, k }, x, m, bias, span, out, n) };
}

/// A matrix as it lies, `(rows, k)`.
struct Dense<'a, E> {
    weight: &'a [E],
    k: usize,
}

impl<E> Clone for Dense<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<E> Copy for Dense<'_, E> {}

impl<E: Element> Rows for Dense<'_, E> {
    /// The rows of a stream are taken one after the other, so that its weights are consecutive addresses: the hardware
    /// follows them across row ends, while several short rows side by side are lost before they are worth following (half
    /// the bandwidth, measured). Four partial sums hide the latency of the additions.
    #[inline(always)]
    unsafe fn dots<V: Vector, const C: usize, const S: usize>(
        self,
        x: &[f32],
        i: usize,
        rows: [usize; S],
    ) -> [[f32; 4]; S] {
        const UNROLL: usize = 4;
        let Self { weight, k } = self;
        unsafe {
            let x = x.as_ptr().add(i * k);
            let starts = rows.map(|row| weight.as_ptr().wrapping_add(row * k));
            let mut sums = [[[V::splat(0.0); C]; UNROLL]; S];
            let whole = k / WIDTH * WIDTH;
            let mut at = 0;
            while at + UNROLL * WIDTH <= whole {
                for u in 0..UNROLL {
                    for s in 0..S {
                        let here = starts[s].add(at + u * WIDTH);
                        // One line of memory is sixteen f32 or thirty-two of the narrower ones.
                        if u % (64 / (WIDTH * size_of::<E>())) == 0 {
                            prefetch(here, AHEAD);
                        }
                        let weights = E::load::<V>(here);
                        for c in 0..C {
                            sums[s][u][c] = weights.fma(V::load(x.add(c * k + at + u * WIDTH)), sums[s][u][c]);
                        }
                    }
                }
                at += UNROLL * WIDTH;
            }
            while at < whole {
                for s in 0..S {
                    let weights = E::load::<V>(starts[s].add(at));
                    for c in 0..C {
                        sums[s][0][c] = weights.fma(V::load(x.add(c * k + at)), sums[s][0][c]);
                    }
                }
                at += WIDTH;
            }
            let mut results = [[0.0; 4]; S];
            for s in 0..S {
                let sums = &sums[s];
                for c in 0..C {
                    let mut sum = sums[0][c].add(sums[1][c]).add(sums[2][c].add(sums[3][c])).sum();
                    for j in whole..k {
                        sum = (*starts[s].add(j)).single().mul_add(*x.add(c * k + j), sum);
                    }
                    results[s][c] = sum;
                }
            }
            results
        }
    }
}
