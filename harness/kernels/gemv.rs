//! Products of a few rows with a weight matrix: every weight is read once, so memory bandwidth is the ceiling.

use half::{bf16, f16};

use crate::buffer::Shared;
use crate::matrix::{Element, MatrixRef};
use crate::prefetch::prefetch;
use crate::vector::{InstructionSet, Vector, WIDTH, vectorised};

/// How far ahead of their use weights are asked for, in bytes. A core keeps more lines on their way from memory than
/// its hardware prefetcher starts by itself.
const AHEAD: usize = 4096;

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
    unsafe {
        for row in span {
            let add = bias.map_or(0.0, |bias| bias[row]);
            let mut i = 0;
            while i < m {
                let wide = (m - i).min(4);
                let sums = match wide {
                    1 => dots::<V, E, 1>(x, i, k, weight, row),
                    2 => dots::<V, E, 2>(x, i, k, weight, row),
                    3 => dots::<V, E, 3>(x, i, k, weight, row),
                    _ => dots::<V, E, 4>(x, i, k, weight, row),
                };
                for c in 0..wide {
                    out.slice((i + c) * n + row, 1)[0] = sums[c] + add;
                }
                i += wide;
            }
        }
    }
}

/// Dot products of one weight row with `C` rows of `x`, in an order of additions that `C` does not change.
///
/// Rows are taken one after the other, so that the weights are a single stream of consecutive addresses: the hardware
/// follows it across row ends, while several short rows side by side are lost before they are worth following (half
/// the bandwidth, measured). Four partial sums hide the latency of the additions.
#[inline(always)]
unsafe fn dots<V: Vector, E: Element, const C: usize>(
    x: &[f32],
    i: usize,
    k: usize,
    weight: &[E],
    row: usize,
) -> [f32; 4] {
    const UNROLL: usize = 4;
    unsafe {
        let x = x.as_ptr().add(i * k);
        let w = weight.as_ptr().add(row * k);
        let mut sums = [[V::splat(0.0); C]; UNROLL];
        let whole = k / WIDTH * WIDTH;
        let mut at = 0;
        while at + UNROLL * WIDTH <= whole {
            for u in 0..UNROLL {
                let here = w.add(at + u * WIDTH);
                // One line of memory is sixteen f32 or thirty-two of the narrower ones.
                if u % (64 / (WIDTH * size_of::<E>())) == 0 {
                    prefetch(here, AHEAD);
                }
                let weights = E::load::<V>(here);
                for c in 0..C {
                    sums[u][c] = weights.fma(V::load(x.add(c * k + at + u * WIDTH)), sums[u][c]);
                }
            }
            at += UNROLL * WIDTH;
        }
        while at < whole {
            let weights = E::load::<V>(w.add(at));
            for c in 0..C {
                sums[0][c] = weights.fma(V::load(x.add(c * k + at)), sums[0][c]);
            }
            at += WIDTH;
        }
        let mut result = [0.0; 4];
        for c in 0..C {
            let mut sum = sums[0][c].add(sums[1][c]).add(sums[2][c].add(sums[3][c])).sum();
            for j in whole..k {
                sum = (*w.add(j)).single().mul_add(*x.add(c * k + j), sum);
            }
            result[c] = sum;
        }
        result
    }
}
