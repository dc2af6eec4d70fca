//! Products with packed weights, shared out over threads.

use std::ops::Range;

use rayon::prelude::*;

use super::activations::{Bytes, group_sums};
use super::block_full;
use super::block_int8;
use super::dot::{IntegerSet, integer_set};
use super::error::PackError;
use super::matrix::{Bits, PackedMatrix};
use super::{stream_full, stream_int8};
use crate::buffer::Shared;
use crate::product::{FEW_ROWS, SMALL_PRODUCT, add_bias, panel};
use crate::vector::{InstructionSet, instruction_set};

/// How activations meet packed weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activations {
    /// As they are, in f32; so are the products and their sums.
    Full,
    /// Rounded on the fly to signed bytes, one scale for each row and each group of the weights: the largest magnitude
    /// over 127, halves to even. Products are summed as integers within a group.
    Int8,
}

/// A linear map with packed weights.
#[derive(Debug, Clone, Copy)]
pub struct PackedLinear<'a> {
    matrix: &'a PackedMatrix,
    bias: Option<&'a [f32]>,
    activations: Activations,
}

impl<'a> PackedLinear<'a> {
    /// A map with an optional bias of `matrix.rows()` values, added to every output row.
    ///
    /// # Errors
    /// [`PackError::TableWithIntegers`] for [`Activations::Int8`] with a look-up table, [`PackError::Length`] for a bias
    /// of another length.
    pub fn new(matrix: &'a PackedMatrix, bias: Option<&'a [f32]>, activations: Activations) -> Result<Self, PackError> {
        if activations == Activations::Int8 && matrix.has_table() {
            return Err(PackError::TableWithIntegers);
        }
        match bias {
            Some(bias) if bias.len() != matrix.rows() => {
                Err(PackError::Length { what: "biases", found: bias.len(), expected: matrix.rows() })
            }
            _ => Ok(Self { matrix, bias, activations }),
        }
    }

    /// Output dimension.
    pub fn rows(&self) -> usize {
        self.matrix.rows()
    }

    /// Input dimension.
    pub fn cols(&self) -> usize {
        self.matrix.cols()
    }

    /// What multiplies `m` rows on this machine, such as `w4a8_gemv_avx512vnni` or `lut4_gemm_avx512`.
    pub fn kernel(&self, m: usize) -> String {
        let weights = match (self.matrix.has_table(), self.matrix.bits(), self.activations) {
            (true, ..) => "lut4",
            (_, Bits::Four, Activations::Full) => "w4a16",
            (_, Bits::Eight, Activations::Full) => "w8a16",
            (_, Bits::Four, Activations::Int8) => "w4a8",
            (_, Bits::Eight, Activations::Int8) => "w8a8",
        };
        let few = m < FEW_ROWS;
        let instructions = match (self.activations, integer_set(), instruction_set()) {
            (Activations::Int8, IntegerSet::Amx, _) if few => IntegerSet::Vnni.name(),
            (Activations::Int8, set, _) => set.name(),
            (_, _, InstructionSet::Scalar) => "scalar",
            (_, _, InstructionSet::Avx2) => "avx2",
            (_, _, InstructionSet::Avx512) => "avx512",
        };
        format!("{weights}_{}_{instructions}", if few { "gemv" } else { "gemm" })
    }
}

/// Several packed maps of the same rows `x (m, cols)`; `outs[i]` is `(m, parts[i].rows())`. Activations are rounded once
/// for all maps of one group size, and few rows of all maps share one parallel region.
///
/// # Panics
/// When a slice does not have the length its shape needs.
pub fn packed_linear(x: &[f32], m: usize, parts: &[PackedLinear<'_>], outs: &mut [&mut [f32]]) {
    run(integer_set(), instruction_set(), x, m, parts, outs);
}

/// [`packed_linear`] with activations that are rounded already; `parts` are maps with [`Activations::Int8`] whose groups are those
/// of the rounding.
///
/// # Panics
/// When a slice does not have the length its shape needs, or a map has other groups or other activations.
pub fn packed_linear_rounded(x: &Bytes, m: usize, parts: &[PackedLinear<'_>], outs: &mut [&mut [f32]]) {
    for (part, out) in parts.iter().zip(outs.iter()) {
        assert_eq!((part.cols(), part.matrix.group(), out.len()), (x.cols, x.group, m * part.rows()), "rounded map");
        assert_eq!(part.activations, Activations::Int8, "rounded inputs meet integer kernels");
    }
    assert!(parts.len() == outs.len() && x.codes.len() >= m * x.cols, "one output for each map, and {m} rows");
    assert_eq!(x.tiled, tiled(integer_set(), m), "inputs were rounded for another number of rows than {m}");
    multiply(integer_set(), instruction_set(), &[], &Forms::of(x), m, parts, outs);
}

/// [`packed_linear`] with integer instructions that are not the best ones, for comparing them. The results are the same
/// bits.
///
/// # Panics
/// When this processor does not have the instructions, or a slice does not have the length its shape needs.
pub fn packed_linear_on(
    integers: IntegerSet,
    x: &[f32],
    m: usize,
    parts: &[PackedLinear<'_>],
    outs: &mut [&mut [f32]],
) {
    assert!(integers <= integer_set(), "this processor has {:?}, not {integers:?}", integer_set());
    run(integers, instruction_set(), x, m, parts, outs);
}

/// Whether the kernels that multiply `m` rows read activations as tiles.
pub(crate) fn tiled(integers: IntegerSet, m: usize) -> bool {
    integers == IntegerSet::Amx && m >= FEW_ROWS
}

/// Activations in the forms that kernels need, each made once.
#[derive(Default)]
struct Forms<'a> {
    given: Option<&'a Bytes>,
    bytes: Vec<Bytes>,
    sums: Vec<(usize, Vec<f32>)>,
}

impl<'a> Forms<'a> {
    fn of(bytes: &'a Bytes) -> Self {
        Self { given: Some(bytes), ..Self::default() }
    }

    fn new(integers: IntegerSet, x: &[f32], m: usize, parts: &[PackedLinear<'_>]) -> Self {
        let mut forms = Self::default();
        for part in parts {
            let (cols, group) = (part.cols(), part.matrix.group());
            match part.activations {
                Activations::Int8 if forms.bytes.iter().all(|bytes| bytes.group != group) => {
                    forms.bytes.push(Bytes::new(x, m, cols, group, tiled(integers, m)));
                }
                Activations::Full if m < FEW_ROWS && forms.sums.iter().all(|(other, _)| *other != group) => {
                    forms.sums.push((group, group_sums(x, group)));
                }
                _ => {}
            }
        }
        forms
    }

    fn bytes(&self, group: usize) -> &Bytes {
        match self.given.into_iter().chain(&self.bytes).find(|bytes| bytes.group == group) {
            Some(bytes) => bytes,
            None => panic!("activations were not rounded in groups of {group}"),
        }
    }

    fn sums(&self, group: usize) -> &[f32] {
        self.sums.iter().find(|(other, _)| *other == group).map_or(&[], |(_, sums)| sums)
    }
}

/// Runs tasks on the pool unless there is little to do.
fn share_out<T: Send>(products: usize, tasks: Vec<T>, run: impl Fn(T) + Send + Sync) {
    if products < SMALL_PRODUCT / 4 {
        tasks.into_iter().for_each(run);
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(run);
    }
}

pub(crate) fn run(
    integers: IntegerSet,
    set: InstructionSet,
    x: &[f32],
    m: usize,
    parts: &[PackedLinear<'_>],
    outs: &mut [&mut [f32]],
) {
    assert_eq!(parts.len(), outs.len(), "one output for each map");
    for (index, (part, out)) in parts.iter().zip(outs.iter()).enumerate() {
        assert_eq!((x.len(), out.len()), (m * part.cols(), m * part.rows()), "packed map {index} of {m} rows");
    }
    multiply(integers, set, x, &Forms::new(integers, x, m, parts), m, parts, outs);
}

fn multiply(
    integers: IntegerSet,
    set: InstructionSet,
    x: &[f32],
    forms: &Forms<'_>,
    m: usize,
    parts: &[PackedLinear<'_>],
    outs: &mut [&mut [f32]],
) {
    let products = parts.iter().map(|part| part.rows() * part.cols() * m).sum();
    if m < FEW_ROWS {
        let tasks = spans(parts, outs);
        share_out(products, tasks, |(part, blocks, out)| {
            let (matrix, group) = (part.matrix, part.matrix.group());
            match part.activations {
                Activations::Full => {
                    stream_full::blocks(set, matrix, x, forms.sums(group), m, part.bias, blocks, out);
                }
                Activations::Int8 => {
                    stream_int8::blocks(integers, set, matrix, forms.bytes(group), m, part.bias, blocks, out);
                }
            }
        });
        return;
    }
    let mut tasks = Vec::new();
    for (part, out) in parts.iter().zip(outs.iter_mut()) {
        match part.activations {
            Activations::Full => {
                block_full::product(part.matrix, x, m, out);
                if let Some(bias) = part.bias {
                    add_bias(out, bias);
                }
            }
            Activations::Int8 => panels(integers, part, m, Shared::new(out), &mut tasks),
        }
    }
    share_out(products, tasks, |(part, blocks, rows, out)| {
        let bytes = forms.bytes(part.matrix.group());
        block_int8::product(integers, set, part.matrix, bytes, part.bias, blocks, rows, out);
    });
}

/// One stretch of blocks a thread, over all maps: each streams its weights.
fn spans<'a>(parts: &[PackedLinear<'a>], outs: &mut [&mut [f32]]) -> Vec<(PackedLinear<'a>, Range<usize>, Shared)> {
    let total: usize = parts.iter().map(|part| part.matrix.blocks()).sum();
    let span = total.div_ceil(rayon::current_num_threads()).max(1);
    let mut tasks = Vec::new();
    for (part, out) in parts.iter().zip(outs.iter_mut()) {
        let shared = Shared::new(out);
        for start in (0..part.matrix.blocks()).step_by(span) {
            tasks.push((*part, start..(start + span).min(part.matrix.blocks()), shared));
        }
    }
    tasks
}

/// Panels of blocks and rows.
fn panels<'a>(
    integers: IntegerSet,
    part: &PackedLinear<'a>,
    m: usize,
    out: Shared,
    tasks: &mut Vec<(PackedLinear<'a>, Range<usize>, Range<usize>, Shared)>,
) {
    let blocks = part.matrix.blocks();
    let (wide, tall) = panel(blocks, m, if integers == IntegerSet::Amx { 4 } else { 3 });
    for start in (0..blocks).step_by(wide) {
        for row in (0..m).step_by(tall) {
            tasks.push((*part, start..(start + wide).min(blocks), row..(row + tall).min(m), out));
        }
    }
}
