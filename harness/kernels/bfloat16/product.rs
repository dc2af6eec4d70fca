//! Products with bf16 weights, shared out over threads.

use std::ops::Range;

use rayon::prelude::*;

use super::inputs::Inputs;
use super::matrix::Bf16Matrix;
use super::set::{Bf16Set, bf16_set};
use super::{block, stream};
use crate::buffer::Shared;
use crate::product::{FEW_ROWS, SMALL_PRODUCT, panel};

/// A linear map with bf16 weights.
#[derive(Debug, Clone, Copy)]
pub struct Bf16Linear<'a> {
    /// The weights.
    pub matrix: &'a Bf16Matrix,
    /// Added to every output row, in f32.
    pub bias: Option<&'a [f32]>,
}

impl Bf16Linear<'_> {
    /// What multiplies `m` rows on this machine, such as `bf16_gemm_amx`.
    pub fn kernel(&self, m: usize) -> String {
        if m < FEW_ROWS {
            format!("bf16_gemv_{}", bf16_set().for_few_rows().name())
        } else {
            format!("bf16_gemm_{}", bf16_set().name())
        }
    }
}

/// Several maps of the same rows `x (m, cols)`; `outs[i]` is `(m, parts[i].matrix.rows())`. Activations are rounded once,
/// and all maps share one parallel region.
///
/// # Panics
/// When a slice does not have the length its shape needs.
pub fn bf16_linear(x: &[f32], m: usize, parts: &[Bf16Linear<'_>], outs: &mut [&mut [f32]]) {
    run(bf16_set(), x, m, parts, outs);
}

/// [`bf16_linear`] with instructions that are not the best ones, for comparing them.
///
/// # Panics
/// When this processor does not have the instructions, or a slice does not have the length its shape needs.
pub fn bf16_linear_on(set: Bf16Set, x: &[f32], m: usize, parts: &[Bf16Linear<'_>], outs: &mut [&mut [f32]]) {
    assert!(set.is_available(), "this processor has {:?}, not {set:?}", bf16_set());
    run(set, x, m, parts, outs);
}

fn run(set: Bf16Set, x: &[f32], m: usize, parts: &[Bf16Linear<'_>], outs: &mut [&mut [f32]]) {
    assert_eq!(parts.len(), outs.len(), "one output for each map");
    for (index, (part, out)) in parts.iter().zip(outs.iter()).enumerate() {
        let (rows, cols) = (part.matrix.rows(), part.matrix.cols());
        assert_eq!((x.len(), out.len()), (m * cols, m * rows), "bf16 map {index} of {m} rows");
        assert!(part.bias.is_none_or(|bias| bias.len() == rows), "bias of bf16 map {index}");
    }
    let Some(first) = parts.first() else { return };
    let few = m < FEW_ROWS;
    let set = if few { set.for_few_rows() } else { set };
    let inputs = Inputs::new(set, x, m, first.matrix.cols());
    let mut tasks = Vec::new();
    let total: usize = parts.iter().map(|part| part.matrix.blocks()).sum();
    for (part, out) in parts.iter().zip(outs.iter_mut()) {
        let out = Shared::new(out);
        let (wide, tall) = if few {
            // One stretch of the weights a thread.
            (total.div_ceil(rayon::current_num_threads()).max(1), m)
        } else {
            panel(part.matrix.blocks(), m, if set == Bf16Set::Amx { 4 } else { 3 })
        };
        for start in (0..part.matrix.blocks()).step_by(wide) {
            for row in (0..m).step_by(tall) {
                let blocks = start..(start + wide).min(part.matrix.blocks());
                tasks.push((*part, blocks, row..(row + tall).min(m), out));
            }
        }
    }
    let compute = |(part, blocks, span, out): (Bf16Linear<'_>, Range<usize>, Range<usize>, Shared)| {
        let Bf16Linear { matrix, bias } = part;
        match &inputs {
            _ if few => stream::blocks(set, &inputs, matrix, bias, m, blocks, out),
            #[cfg(target_arch = "x86_64")]
            Inputs::Tiles(tiles) => super::tile::product(tiles, matrix, bias, blocks, span, out),
            _ => block::product(set, &inputs, matrix, bias, blocks, span, out),
        }
    };
    if total * first.matrix.depth() * m < SMALL_PRODUCT / 64 {
        tasks.into_iter().for_each(compute);
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(compute);
    }
}
