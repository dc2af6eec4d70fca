//! Walking through weights in two places at once.

use std::ops::Range;

use crate::buffer::Shared;
use crate::vector::Vector;

/// Streams of weights that a thread follows at once where one row of activations meets them.
///
/// Memory answers two streams that lie far apart faster than one: each keeps the prefetchers busy on its own, and they seldom wait for the
/// same bank (51 and 82 to 95 GB/s with two threads of a Zen 4 server, reading alone). More give nothing.
pub(crate) const STREAMS: usize = 2;

/// Where each of `S` streams through a stretch begins, how long each is, and the rest that is left behind them.
pub(crate) fn streams<const S: usize>(span: &Range<usize>) -> ([usize; S], usize, Range<usize>) {
    let each = span.len() / S;
    (std::array::from_fn(|stream| span.start + stream * each), each, span.start + S * each..span.end)
}

/// Weight rows that lie one behind another, each multiplied with a few rows of activations at once.
///
/// # Safety
/// As for [`Vector`]; rows must be there, and `x` must hold `C` rows from row `i` on.
pub(crate) trait Rows: Copy {
    /// Dot products of one row of each stream with `C` rows of `x` from row `i` on, in an order of additions that neither `C` nor
    /// `S` changes.
    unsafe fn dots<V: Vector, const C: usize, const S: usize>(
        self,
        x: &[f32],
        i: usize,
        rows: [usize; S],
    ) -> [[f32; 4]; S];
}

/// Multiplies the weight rows `span` with all `m` rows of `x` and writes their columns of `out (m, n)`: in [`STREAMS`] where there is
/// one row of activations, in one where there are more to keep in registers.
///
/// # Safety
/// As for [`Rows`]; no other thread writes the same columns.
#[inline(always)]
pub(crate) unsafe fn multiply_rows<V: Vector, R: Rows>(
    weight: R,
    x: &[f32],
    m: usize,
    bias: Option<&[f32]>,
    span: Range<usize>,
    out: Shared,
    n: usize,
) {
    unsafe {
        if m > 1 {
            return walk::<V, R, 1>(weight, x, m, bias, [span.start], span.len(), out, n);
        }
        let (starts, each, rest) = streams::<STREAMS>(&span);
        walk::<V, R, STREAMS>(weight, x, m, bias, starts, each, out, n);
        walk::<V, R, 1>(weight, x, m, bias, [rest.start], rest.len(), out, n);
    }
}

/// The `each` rows from every one of `starts` on, those of all streams side by side.
#[inline(always)]
unsafe fn walk<V: Vector, R: Rows, const S: usize>(
    weight: R,
    x: &[f32],
    m: usize,
    bias: Option<&[f32]>,
    starts: [usize; S],
    each: usize,
    out: Shared,
    n: usize,
) {
    for step in 0..each {
        let rows = starts.map(|start| start + step);
        let mut i = 0;
        while i < m {
            let wide = (m - i).min(if S == 1 { 4 } else { 1 });
            unsafe {
                let sums = match wide {
                    1 => weight.dots::<V, 1, S>(x, i, rows),
                    2 if S == 1 => weight.dots::<V, 2, S>(x, i, rows),
                    3 if S == 1 => weight.dots::<V, 3, S>(x, i, rows),
                    _ => weight.dots::<V, 4, S>(x, i, rows),
                };
                for (row, sums) in rows.into_iter().zip(sums) {
                    let add = bias.map_or(0.0, |bias| bias[row]);
                    for c in 0..wide {
                        out.slice((i + c) * n + row, 1)[0] = sums[c] + add;
                    }
                }
            }
            i += wide;
        }
    }
}
