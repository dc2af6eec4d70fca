//! What this processor can do at most, and what the kernels reach of it, as Markdown tables.
//!
//! `cargo bench -p harness-kernels --bench ceilings -- [ROUNDS]`. Ceilings and kernels take turns, so that both see the same
//! machine; the best of all rounds counts for either. Shapes are those of a 135M-parameter decoder: 576 wide, 1536 inside,
//! 49,152 tokens.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod peak;
mod stream;

use std::time::Instant;

use harness_kernels::allocator::{MiMalloc, return_freed_memory};
use harness_kernels::awake::with_pool_awake;
use harness_kernels::bfloat16::{Bf16Linear, Bf16Matrix, bf16_linear, bf16_set};
use harness_kernels::packed::{
    Activations, Bits, Meaning, PackedLinear, PackedMatrix, Quantized, integer_set, packed_linear,
};
use harness_kernels::stored::Stored;
use harness_kernels::{Linear, MatrixRef, linear_few, matmul_nt};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const BLOCKS: usize = 30;
/// The maps of one block that share an input, and the input's width.
const SHARED: [(usize, &[usize]); 4] = [(576, &[576, 192, 192]), (576, &[576]), (576, &[1536, 1536]), (1536, &[576])];
const LEVELS: [f32; 16] =
    [-1.0, -0.7, -0.53, -0.39, -0.28, -0.18, -0.09, 0.0, 0.08, 0.16, 0.25, 0.34, 0.44, 0.56, 0.72, 1.0];

fn sample(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
}

/// Weights in the forms that kernels take.
enum Held {
    F32(Stored<f32>, usize, usize),
    Bf16(Bf16Matrix),
    Packed(PackedMatrix, Activations),
}

#[derive(Clone, Copy)]
enum Form {
    F32,
    Bf16,
    /// Bits, columns of a group (0: the whole row), activations, whether codes choose from a table.
    Packed(Bits, usize, Activations, bool),
}

impl Form {
    fn hold(self, rows: usize, cols: usize) -> Held {
        match self {
            Self::F32 => Held::F32(Stored::copied(&sample(rows * cols)), rows, cols),
            Self::Bf16 => Held::Bf16(Bf16Matrix::new(rows, cols, MatrixRef::F32(&sample(rows * cols)))),
            Self::Packed(bits, group, activations, table) => {
                let group = if group == 0 { cols } else { group };
                let codes: Vec<u8> =
                    (0..rows * cols).map(|i| ((i * 2_654_435_761) >> 9) as u8 & bits.largest()).collect();
                let scales = vec![0.007_812_5; rows * cols / group];
                let meaning =
                    if table { Meaning::Table(&LEVELS) } else { Meaning::Zero(f32::from(bits.largest() / 2 + 1)) };
                let source = Quantized { rows, cols, bits, group, codes: &codes, scales: &scales, meaning };
                Held::Packed(PackedMatrix::new(&source).unwrap(), activations)
            }
        }
    }
}

impl Held {
    fn bytes(&self) -> usize {
        match self {
            Self::F32(values, ..) => size_of_val(&**values),
            Self::Bf16(matrix) => matrix.bytes(),
            Self::Packed(matrix, _) => matrix.bytes(),
        }
    }

    fn shape(&self) -> (usize, usize) {
        match self {
            Self::F32(_, rows, cols) => (*rows, *cols),
            Self::Bf16(matrix) => (matrix.rows(), matrix.cols()),
            Self::Packed(matrix, _) => (matrix.rows(), matrix.cols()),
        }
    }
}

/// Several maps of one input, all in one form.
fn multiply(x: &[f32], m: usize, maps: &[Held], outs: &mut [&mut [f32]]) {
    let (mut dense, mut brain, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    for map in maps {
        match map {
            Held::F32(values, rows, cols) => {
                dense.push(Linear { weight: MatrixRef::F32(values), bias: None, rows: *rows, cols: *cols });
            }
            Held::Bf16(matrix) => brain.push(Bf16Linear { matrix, bias: None }),
            Held::Packed(matrix, activations) => packed.push(PackedLinear::new(matrix, None, *activations).unwrap()),
        }
    }
    if !dense.is_empty() && m < 8 {
        linear_few(x, m, &dense, outs);
    } else if let Some(map) = dense.first() {
        matmul_nt(x, map.weight, outs[0], m, map.cols, map.rows);
    } else if brain.is_empty() {
        packed_linear(x, m, &packed, outs);
    } else {
        bf16_linear(x, m, &brain, outs);
    }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

/// Keeps the least of two.
fn keep(best: &mut f64, found: f64) {
    *best = best.min(found);
}

fn main() {
    return_freed_memory();
    let rounds = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(5);
    println!(
        "threads {}, integer kernels {}, bf16 kernels {}\n",
        rayon::current_num_threads(),
        integer_set().name(),
        bf16_set().name()
    );
    let peaks = peak::Peaks::measure(rounds);
    peaks.print();
    // As a decoder runs them.
    with_pool_awake(|| {
        products(&peaks, rounds);
        stream::print(rounds);
    });
}

fn products(peaks: &peak::Peaks, rounds: usize) {
    use Activations::{Full, Int8};
    println!(
        "\n| 512 rows, GOP/s | shape | reached | instruction | its ceiling | share |\n|---|---|---:|---|---:|---:|"
    );
    let forms = [
        ("f32", Form::F32),
        ("bf16", Form::Bf16),
        ("w8a8, rows", Form::Packed(Bits::Eight, 0, Int8, false)),
        ("w4a8, groups of 64", Form::Packed(Bits::Four, 64, Int8, false)),
        ("w4a8, groups of 32", Form::Packed(Bits::Four, 32, Int8, false)),
        ("w4a16, groups of 64", Form::Packed(Bits::Four, 64, Full, false)),
        ("lut4, groups of 64", Form::Packed(Bits::Four, 64, Full, true)),
    ];
    for (k, n) in [(1536, 576), (576, 1536), (576, 49_152)] {
        let x = sample(512 * k);
        let mut out = vec![0.0; 512 * n];
        let held = forms.map(|(_, form)| form.hold(n, k));
        let mut best = [f64::INFINITY; 7];
        let repeats = (40_000 / n).max(1);
        for _ in 0..rounds {
            for (best, map) in best.iter_mut().zip(&held) {
                let maps = std::slice::from_ref(map);
                let time = seconds(|| (0..repeats).for_each(|_| multiply(&x, 512, maps, &mut [&mut out])));
                keep(best, time / repeats as f64);
            }
        }
        for ((name, form), best) in forms.iter().zip(best) {
            let reached = 2.0 * 512.0 * k as f64 * n as f64 / best / 1e9;
            for (instruction, ceiling) in peaks.of(*form) {
                println!(
                    "| {name} | 512×{k}×{n} | {reached:.0} | {instruction} | {ceiling:.0} | {:.0} % |",
                    100.0 * reached / ceiling
                );
            }
        }
    }
}
