//! One row against all weights of a model: from memory, from the last-level cache where they fit it, and from the cache of a
//! core.

use std::time::{Duration, Instant};

use harness_kernels::packed::{Activations, Bits};
use rayon::prelude::*;

use super::{BLOCKS, Form, Held, SHARED, keep, multiply, peak, sample, seconds};

/// Maps that share an input, one parallel region each.
type Model = Vec<Vec<Held>>;

/// The best seconds of a pass.
#[derive(Clone, Copy)]
struct Best {
    /// In turns with all other models and a longer reading, so that nothing is left in a cache.
    memory: f64,
    /// Several passes of one model, as a decoder runs them.
    repeated: f64,
    /// The blocks alone, always with the weights of the first.
    one_block: f64,
}

pub fn print(rounds: usize) {
    use Activations::{Full, Int8};
    let head = Form::Packed(Bits::Eight, 32, Int8, false);
    let forms = [
        ("f32, whole model", Form::F32, Form::F32),
        ("bf16, whole model", Form::Bf16, Form::Bf16),
        ("w8a8, rows", Form::Packed(Bits::Eight, 0, Int8, false), head),
        ("w4a8, groups of 64", Form::Packed(Bits::Four, 64, Int8, false), head),
        ("w4a8, groups of 32", Form::Packed(Bits::Four, 32, Int8, false), head),
        ("w4a16, groups of 64", Form::Packed(Bits::Four, 64, Full, false), head),
        ("lut4, groups of 64", Form::Packed(Bits::Four, 64, Full, true), head),
    ];
    let models = forms.map(|(_, maps, head)| model(maps, head));
    let bytes = |model: &[Vec<Held>]| model.iter().flatten().map(Held::bytes).sum::<usize>() as f64;
    let mut pass = Pass::new();
    let mut best = [Best { memory: f64::INFINITY, repeated: f64::INFINITY, one_block: f64::INFINITY }; 7];
    let (mut read, mut hand_over) = (f64::INFINITY, f64::INFINITY);
    let reader = peak::Reader::new();
    for _ in 0..3 * rounds {
        for (best, model) in best.iter_mut().zip(&models) {
            keep(&mut read, reader.seconds(peak::Reader::BYTES) / peak::Reader::BYTES as f64);
            keep(&mut best.memory, pass.run(model, 1));
            keep(&mut best.repeated, pass.run(model, 3));
            keep(&mut best.one_block, pass.run(&model[..SHARED.len()], BLOCKS) * BLOCKS as f64);
        }
        keep(&mut hand_over, regions(100) / 100.0);
    }
    println!(
        "\nread {:.1} GB/s in turns with these; handing a region over takes {:.1} µs\n",
        1e-9 / read,
        hand_over * 1e6
    );
    println!(
        "| 1 row, all weights and a head of 8 bits | MB | from memory, GB/s | share | again, GB/s | blocks from a core's cache, GB/s |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for (((name, ..), best), model) in forms.iter().zip(best).zip(&models) {
        let (all, blocks) = (bytes(model), bytes(&model[..BLOCKS * SHARED.len()]));
        println!(
            "| {name} | {:.0} | {:.1} | {:.0} % | {:.1} | {:.1} |",
            all / 1e6,
            all / best.memory / 1e9,
            100.0 * all * read / best.memory,
            all / best.repeated / 1e9,
            blocks / best.one_block / 1e9,
        );
    }
}

fn model(maps: Form, head: Form) -> Model {
    let blocks = (0..BLOCKS).flat_map(|_| SHARED);
    let mut model: Model = blocks.map(|(k, rows)| rows.iter().map(|n| maps.hold(*n, k)).collect()).collect();
    model.push(vec![head.hold(49_152, 576)]);
    model
}

/// Inputs of both widths and room for outputs.
struct Pass {
    narrow: Vec<f32>,
    wide: Vec<f32>,
    outs: Vec<Vec<f32>>,
}

impl Pass {
    fn new() -> Self {
        Self { narrow: sample(576), wide: sample(1536), outs: vec![vec![0.0; 49_152]; 3] }
    }

    /// Seconds of one of `repeats` passes; of the fastest but the first, where there are several.
    fn run(&mut self, model: &[Vec<Held>], repeats: usize) -> f64 {
        let mut best = f64::INFINITY;
        for repeat in 0..repeats {
            let time = seconds(|| self.step(model));
            if repeat > 0 || repeats == 1 {
                keep(&mut best, time);
            }
        }
        best
    }

    fn step(&mut self, model: &[Vec<Held>]) {
        for maps in model {
            let x = if maps[0].shape().1 == 576 { &self.narrow } else { &self.wide };
            let mut outs: Vec<&mut [f32]> =
                self.outs.iter_mut().zip(maps).map(|(out, map)| &mut out[..map.shape().0]).collect();
            multiply(x, 1, maps, &mut outs);
        }
    }
}

/// Seconds that regions of a task for each thread take beyond their tasks, which keep a thread busy for as long as a product.
fn regions(count: usize) -> f64 {
    const TASK: Duration = Duration::from_micros(20);
    let threads = rayon::current_num_threads();
    let started = Instant::now();
    for _ in 0..count {
        (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
            let started = Instant::now();
            while started.elapsed() < TASK {
                std::hint::spin_loop();
            }
        });
    }
    started.elapsed().as_secs_f64() - TASK.as_secs_f64() * count as f64
}
