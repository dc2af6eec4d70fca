//! Prefill, scoring and decode (from the start and after a prompt of 512) tokens a second of a 135M-parameter decoder with random weights.
//!
//! `cargo run --release -p harness-model --example throughput [f32|f16|bf16|compute-bf16|w8a8|w4a8|w4a16|lut4]
//! [rounds]`; the best of all rounds counts. `bf16` weights are widened and multiplied in f32, `compute-bf16` multiplies in
//! bf16, the head too. Packed weights have groups of 32 (w8a8: whole rows) and random codes, and an 8-bit head.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use harness_kernels::allocator::{MiMalloc, return_freed_memory};
use harness_kernels::logits;
use harness_model::bfloat16::Bf16;
use harness_model::config::{Activation, Config, NormKind, PositionScheme, Projection, RopeStyle};
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::linear::LinearOp;
use harness_model::load::expected_tensors;
use harness_model::packed::{Activations, Bits, Meaning, Packed, PackedMatrix, Quantized};
use harness_model::weight::{DType, Weight};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const PROMPT: usize = 512;
const DECODED: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    return_freed_memory();
    let mut arguments = std::env::args().skip(1);
    let format = arguments.next().unwrap_or_else(|| "f32".to_owned());
    let rounds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let decoder = match format.as_str() {
        "f32" => decoder(DType::F32)?,
        "f16" => decoder(DType::F16)?,
        "bf16" => decoder(DType::Bf16)?,
        "compute-bf16" => in_bf16(&decoder(DType::F32)?)?,
        packed => quantised(packed)?,
    };
    println!("weights                        {format}, {:.1} MB", decoder.stored_bytes() as f64 / 1e6);
    let vocabulary = decoder.config().vocab_size;
    let tokens: Vec<u32> = (0..PROMPT as u64).map(|i| (i * 2_654_435_761 % vocabulary as u64) as u32).collect();
    let [mut prefill, mut decode, mut deep, mut score] = [f64::INFINITY; 4];
    for _ in 0..rounds {
        let mut cache = decoder.new_cache();
        let started = Instant::now();
        let mut row = decoder.logits_last(&tokens, &mut cache)?;
        prefill = prefill.min(started.elapsed().as_secs_f64());

        for (from, best) in [(PROMPT, &mut deep), (1, &mut decode)] {
            cache.truncate(from)?;
            let started = Instant::now();
            for _ in 0..DECODED {
                row = decoder.logits_last(&[logits::statistics(&row).argmax], &mut cache)?;
            }
            *best = best.min(started.elapsed().as_secs_f64());
        }

        let started = Instant::now();
        let hidden = decoder.hidden_positions(&[&tokens], PROMPT / 2..PROMPT - 1)?;
        let mut rows = Vec::new();
        for start in (0..PROMPT / 2 - 1).step_by(85) {
            decoder.logits_into(&hidden, start..(start + 85).min(PROMPT / 2 - 1), &mut rows)?;
            std::hint::black_box(logits::row_statistics(&rows, vocabulary));
        }
        score = score.min(started.elapsed().as_secs_f64());
    }
    println!("threads                        {}", rayon::current_num_threads());
    println!("prefill, last logits only      {:.0} tokens/s", PROMPT as f64 / prefill);
    println!("scoring, second half's logits  {:.0} tokens/s", PROMPT as f64 / score);
    println!("decode                         {:.1} tokens/s", DECODED as f64 / decode);
    println!("decode after the prompt        {:.1} tokens/s", DECODED as f64 / deep);
    Ok(())
}

fn decoder(dtype: DType) -> Result<Decoder, ModelError> {
    let config = Config {
        architecture: "llama".into(),
        vocab_size: 49_152,
        hidden_size: 576,
        intermediate_size: 1536,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        max_positions: 2048,
        norm: NormKind::Rms,
        norm_epsilon: 1e-5,
        activation: Activation::Silu,
        gated: true,
        position: PositionScheme::Rope { theta: 10_000.0, rotary: 64, style: RopeStyle::HalfSplit },
        scaling: None,
        qkv_bias: false,
        output_bias: false,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        mlp_bias: false,
        tied_head: true,
        bos: None,
        eos: Vec::new(),
    };
    let mut state = 1_u32;
    let weights: BTreeMap<String, Weight> = expected_tensors(&config)
        .map(|spec| {
            let values: Vec<f32> = (0..spec.rows * spec.cols)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.06
                })
                .collect();
            (spec.name.clone(), Weight::rounded(spec.rows, spec.cols, &values, dtype))
        })
        .collect();
    Decoder::from_weights(&config, &weights)
}

/// The decoder with every map and the head multiplying in bf16.
fn in_bf16(decoder: &Decoder) -> Result<Decoder, ModelError> {
    let mut changed = decoder.clone();
    for layer in 0..decoder.config().layers {
        for projection in Projection::ALL {
            if let Some(map) = decoder.linear(layer, projection) {
                changed = changed.with_linear(layer, projection, Arc::new(Bf16::of(map.as_ref())))?;
            }
        }
    }
    changed.with_head(Arc::new(Bf16::of(decoder.head().as_ref())))
}

/// The decoder with every map packed, and the head in 8 bits.
fn quantised(format: &str) -> Result<Decoder, Box<dyn std::error::Error>> {
    let (bits, activations) = match format {
        "w8a8" => (Bits::Eight, Activations::Int8),
        "w4a8" => (Bits::Four, Activations::Int8),
        "w4a16" | "lut4" => (Bits::Four, Activations::Full),
        other => return Err(format!("no weights are called {other}").into()),
    };
    let table: [f32; 16] = std::array::from_fn(|code| (code as f32 - 7.5) / 7.5);
    let pack = |map: &dyn LinearOp, bits: Bits, activations, table: Option<&[f32; 16]>| {
        let (rows, cols) = (map.rows(), map.cols());
        let group = if bits == Bits::Eight && rows != 49_152 { cols } else { 32 };
        let codes: Vec<u8> = (0..rows * cols).map(|i| ((i * 2_654_435_761) >> 11) as u8 & bits.largest()).collect();
        let scales = vec![0.06 / f32::from(bits.largest() / 2); rows * cols / group];
        let meaning = table.map_or(Meaning::Zero(f32::from(bits.largest() / 2 + 1)), Meaning::Table);
        let matrix = PackedMatrix::new(&Quantized { rows, cols, bits, group, codes: &codes, scales: &scales, meaning });
        matrix.and_then(|matrix| Packed::new(Arc::new(matrix), None, activations)).map(Arc::new)
    };
    let mut decoder = decoder(DType::Bf16)?;
    for layer in 0..decoder.config().layers {
        for projection in Projection::ALL {
            if let Some(map) = decoder.linear(layer, projection) {
                let map = pack(map.as_ref(), bits, activations, (format == "lut4").then_some(&table))?;
                decoder = decoder.with_linear(layer, projection, map)?;
            }
        }
    }
    let head = pack(decoder.head().as_ref(), Bits::Eight, Activations::Int8, None)?;
    Ok(decoder.with_head(head)?)
}
