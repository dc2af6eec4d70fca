//! Many rows of activations in bytes: panels of weight rows against register tiles of integer sums.

use std::ops::Range;

use super::activations::Bytes;
#[cfg(target_arch = "x86_64")]
use super::amx;
use super::dot::{Dot, IntegerSet, integers};
use super::matrix::{Bits, PackedMatrix};
use super::scaling::Scaling;
use crate::buffer::Shared;
use crate::lines::Line;
use crate::vector::{InstructionSet, Vector, WIDTH};

/// Some blocks of sixteen weight rows, ready to be multiplied: codes as bytes, scales in f32.
pub(crate) struct Panel<'a> {
    /// Four columns of sixteen rows a line, `cols / 4` lines a block. Tiles take them less the base, as signed bytes.
    pub lines: &'a [Line],
    pub scaling: &'a Scaling,
    /// Weight rows of the whole matrix.
    pub rows: usize,
    /// The blocks of the matrix that this panel holds.
    pub blocks: Range<usize>,
    /// Bias of the whole matrix.
    pub bias: Option<&'a [f32]>,
}

impl Panel<'_> {
    /// Used lanes of block `b` of this panel.
    pub fn lanes(&self, b: usize) -> usize {
        WIDTH.min(self.rows - (self.blocks.start + b) * WIDTH)
    }

    /// Adds the bias to sums `(m, 16 · count)` of the blocks from `b` on and writes them to `out`.
    ///
    /// # Safety
    /// The instruction set of `V` is there; no other thread writes the same part of `out`.
    #[inline(always)]
    pub unsafe fn write<V: Vector>(
        &self,
        sums: *const f32,
        stride: usize,
        m: usize,
        i: usize,
        b: usize,
        count: usize,
        out: Shared,
    ) {
        unsafe {
            for v in 0..count {
                let (lanes, column) = (self.lanes(b + v), (self.blocks.start + b + v) * WIDTH);
                let add = match self.bias {
                    Some(bias) => V::load_partial(bias[column..].as_ptr(), lanes, 0.0),
                    None => V::splat(0.0),
                };
                for r in 0..m {
                    let sum = V::load(sums.add(r * stride + v * WIDTH)).add(add);
                    let to = out.slice((i + r) * self.rows + column, lanes).as_mut_ptr();
                    if lanes == WIDTH { sum.store(to) } else { sum.store_partial(to, lanes) }
                }
            }
        }
    }
}

/// Multiplies some blocks of sixteen weight rows with the rows `span` of the activations and writes their part of `out
/// (m, rows)`.
pub(crate) fn product(
    integers: IntegerSet,
    set: InstructionSet,
    matrix: &PackedMatrix,
    x: &Bytes,
    bias: Option<&[f32]>,
    blocks: Range<usize>,
    span: Range<usize>,
    out: Shared,
) {
    assert!(blocks.end <= matrix.blocks() && bias.is_none_or(|bias| bias.len() == matrix.rows()));
    assert!(x.cols == matrix.cols() && x.group == matrix.group() && span.end * x.groups() <= x.scales.len());
    let base = matrix.integer_base();
    let mut scaling = Scaling::with_capacity(matrix, blocks.len());
    scaling.read(set, matrix, blocks.start, blocks.len(), base as f32);
    let packed = matrix.blocks_of(blocks.clone());
    #[cfg(target_arch = "x86_64")]
    if integers == IntegerSet::Amx {
        let lines = &amx::spread(packed, matrix.bits(), base);
        let panel = Panel { lines, scaling: &scaling, rows: matrix.rows(), blocks, bias };
        amx::multiply(&panel, x, span, out);
        return;
    }
    let spread: Vec<Line>;
    let lines = match matrix.bits() {
        Bits::Eight => packed,
        Bits::Four => {
            spread = spread_nibbles(integers, packed);
            &spread
        }
    };
    let panel = Panel { lines, scaling: &scaling, rows: matrix.rows(), blocks, bias };
    let sums = &x.sums[span.start * x.groups()..span.end * x.groups()];
    let starts: Vec<i32> = sums.iter().map(|sum| sum.wrapping_mul(-base)).collect();
    multiply(integers, matrix.bits() == Bits::Four, &panel, x, &starts, span, out);
}

fn spread_nibbles(set: IntegerSet, packed: &[Line]) -> Vec<Line> {
    let mut spread = Vec::with_capacity(packed.len() * 2);
    spread_lines(set, true, packed, &mut spread);
    spread
}

integers! {
    fn spread_lines<D, M, N>(packed: &[Line], spread: &mut Vec<Line>) {
        let to = spread.as_mut_ptr().cast::<u8>();
        assert!(spread.capacity() >= packed.len() * 2);
        for (l, line) in packed.iter().enumerate() {
            let both = D::bytes(line.0.as_ptr());
            D::store(D::low(both), to.add(l * 128));
            D::store(D::high(both), to.add(l * 128 + 64));
        }
        // SAFETY: the loop has written every line.
        spread.set_len(packed.len() * 2);
    }
}

integers! {
    /// `starts (rows of the span, groups)` is what the base takes off, where integer sums begin.
    fn multiply<D, M, N>(panel: &Panel<'_>, x: &Bytes, starts: &[i32], span: Range<usize>, out: Shared) {
        assert!(starts.len() == span.len() * x.groups());
        let mut i = span.start;
        while i < span.end {
            let left = span.end - i;
            let starts = starts.as_ptr().add((i - span.start) * x.groups());
            if left >= M {
                across::<D, M, N>(panel, x, starts, i, out);
                i += M;
            } else if left >= 4 {
                across::<D, 4, N>(panel, x, starts, i, out);
                i += 4;
            } else {
                across::<D, 1, N>(panel, x, starts, i, out);
                i += 1;
            }
        }
    }
}

/// `M` rows of activations from row `i` on with the whole panel.
#[inline(always)]
unsafe fn across<D: Dot, const M: usize, const N: usize>(
    panel: &Panel<'_>,
    x: &Bytes,
    starts: *const i32,
    i: usize,
    out: Shared,
) {
    let blocks = panel.blocks.len();
    let mut b = 0;
    unsafe {
        while b + N <= blocks {
            tile::<D, M, N>(panel, x, starts, i, b, out);
            b += N;
        }
        while b < blocks {
            tile::<D, M, 1>(panel, x, starts, i, b, out);
            b += 1;
        }
    }
}

/// `M` rows of activations from row `i` on with `N` blocks of the panel from block `b` on.
#[inline(always)]
unsafe fn tile<D: Dot, const M: usize, const N: usize>(
    panel: &Panel<'_>,
    x: &Bytes,
    starts: *const i32,
    i: usize,
    b: usize,
    out: Shared,
) {
    // Half the rows leave registers for the sums in f32 as well, where there are 32 of them.
    const SHORT: usize = 128;
    unsafe {
        if M == 8 && N > 1 && x.group <= SHORT {
            rows::<D, 4, N, true>(panel, x, starts, i, b, out);
            rows::<D, 4, N, true>(panel, x, starts.add(4 * x.groups()), i + 4, b, out);
        } else {
            rows::<D, M, N, false>(panel, x, starts, i, b, out);
        }
    }
}

/// [`tile`], with the sums in f32 in registers or, where those only hold the integer sums of one group, in memory: a group that is
/// long enough hides the traffic.
#[inline(always)]
unsafe fn rows<D: Dot, const M: usize, const N: usize, const HELD: bool>(
    panel: &Panel<'_>,
    x: &Bytes,
    starts: *const i32,
    i: usize,
    b: usize,
    out: Shared,
) {
    let (cols, group, groups) = (x.cols, x.group, x.groups());
    let mut memory = [[Line([0; 64]); N]; M];
    unsafe {
        // The address escapes, so that the compiler does not try to keep these sums in registers as well.
        let memory = std::hint::black_box(memory.as_mut_ptr().cast::<f32>());
        let mut held = [[D::Float::splat(0.0); N]; M];
        let lines = panel.lines.as_ptr().cast::<u8>().add(b * cols * WIDTH);
        let codes = x.codes.as_ptr().add(i * cols);
        for g in 0..groups {
            let at = i * groups + g;
            let mut whole = [[D::splat(0); N]; M];
            for r in 0..M {
                whole[r] = [D::splat(*starts.add(r * groups + g)); N];
            }
            for column in (g * group..(g + 1) * group).step_by(4) {
                let mut weights = [D::bytes(lines.add(column * WIDTH)); N];
                for v in 1..N {
                    weights[v] = D::bytes(lines.add((v * cols + column) * WIDTH));
                }
                for r in 0..M {
                    let quad = D::quad(codes.add(r * cols + column));
                    for v in 0..N {
                        whole[r][v] = whole[r][v].dot(weights[v], quad);
                    }
                }
            }
            let place = (b * groups + g) * WIDTH;
            for v in 0..N {
                let scale = D::Float::load(panel.scaling.scales.as_ptr().add(place + v * groups * WIDTH));
                for r in 0..M {
                    let factor = D::Float::splat(*x.scales.as_ptr().add(at + r * groups));
                    let product = whole[r][v].float().mul(scale);
                    if HELD {
                        held[r][v] = product.fma(factor, held[r][v]);
                    } else {
                        let sum = memory.add((r * N + v) * WIDTH);
                        product.fma(factor, D::Float::load(sum)).store(sum);
                    }
                }
            }
            if !panel.scaling.offsets.is_empty() {
                for v in 0..N {
                    let offset = D::Float::load(panel.scaling.offsets.as_ptr().add(place + v * groups * WIDTH));
                    for r in 0..M {
                        let of = at + r * groups;
                        let factor = D::Float::splat(x.scales[of] * x.sums[of] as f32);
                        if HELD {
                            held[r][v] = offset.fma(factor, held[r][v]);
                        } else {
                            let sum = memory.add((r * N + v) * WIDTH);
                            offset.fma(factor, D::Float::load(sum)).store(sum);
                        }
                    }
                }
            }
        }
        if HELD {
            for r in 0..M {
                for v in 0..N {
                    held[r][v].store(memory.add((r * N + v) * WIDTH));
                }
            }
        }
        panel.write::<D::Float>(memory, N * WIDTH, M, i, b, N, out);
    }
}
