#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::config::{Activation, Config, NormKind, PositionScheme, Projection, RopeStyle};
use crate::decoder::Decoder;
use crate::error::ModelError;
use crate::linear::{Dense, forward_together};
use crate::load::expected_tensors;

const GROUP: usize = 32;
const TABLE: [f32; 16] =
    [-1.0, -0.7, -0.53, -0.39, -0.28, -0.18, -0.09, 0.0, 0.08, 0.16, 0.25, 0.34, 0.44, 0.56, 0.72, 1.0];

fn config() -> Config {
    Config {
        architecture: "llama".into(),
        vocab_size: 83,
        hidden_size: 64,
        intermediate_size: 96,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        max_positions: 64,
        norm: NormKind::Rms,
        norm_epsilon: 1e-5,
        activation: Activation::Silu,
        gated: true,
        position: PositionScheme::Rope { theta: 10_000.0, rotary: 16, style: RopeStyle::HalfSplit },
        scaling: None,
        qkv_bias: true,
        output_bias: false,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        mlp_bias: false,
        tied_head: true,
        bos: None,
        eos: Vec::new(),
    }
}

pub(crate) fn decoder() -> Decoder {
    let config = config();
    let mut state = 7_u32;
    let weights: BTreeMap<String, Weight> = expected_tensors(&config)
        .map(|spec| {
            let offset = if spec.name.contains("norm") { 1.0 } else { 0.0 };
            let values = (0..spec.rows * spec.cols)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.4 + offset
                })
                .collect();
            (spec.name.clone(), Weight::from_f32(spec.rows, spec.cols, values))
        })
        .collect();
    Decoder::from_weights(&config, &weights).unwrap()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Format {
    Int4,
    Int4Zeros,
    Int8,
    Table,
}

/// Codes of a matrix by the nearest level in each group; good enough to be a quantizer, simple enough for a test.
fn pack(weight: &Weight, format: Format) -> PackedMatrix {
    let (rows, cols, values) = (weight.rows(), weight.cols(), weight.to_f32());
    let bits = if format == Format::Int8 { Bits::Eight } else { Bits::Four };
    let (mut codes, mut scales, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
    for group in values.chunks(GROUP) {
        let largest = group.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let middle = f32::from(bits.largest() / 2 + 1);
        let scale = if format == Format::Table { largest } else { largest / (middle - 1.0) };
        let zero = middle - 0.25;
        scales.push(scale);
        zeros.push(zero);
        for value in group {
            let level = value / scale;
            codes.push(match format {
                Format::Table => {
                    let distance = |code: &u8| (TABLE[usize::from(*code)] - level).abs();
                    (0..16).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
                }
                Format::Int4Zeros => (level + zero).round().clamp(0.0, 15.0) as u8,
                _ => (level + middle).round() as u8,
            });
        }
    }
    let meaning = match format {
        Format::Int4 => Meaning::Zero(8.0),
        Format::Int8 => Meaning::Zero(128.0),
        Format::Int4Zeros => Meaning::Zeros(&zeros),
        Format::Table => Meaning::Table(&TABLE),
    };
    PackedMatrix::new(&Quantized { rows, cols, bits, group: GROUP, codes: &codes, scales: &scales, meaning }).unwrap()
}

/// The fake path: dequantised weights, and activations rounded before each product.
#[derive(Debug)]
struct Fake {
    dense: Dense,
    activations: Activations,
}

impl LinearOp for Fake {
    fn rows(&self) -> usize {
        self.dense.rows()
    }
    fn cols(&self) -> usize {
        self.dense.cols()
    }
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.activations == Activations::Full {
            return self.dense.forward(x);
        }
        let rounded = with_values(x, |x| rounded_activations(x, self.cols(), GROUP))?;
        self.dense.forward(&from_values(rounded, x.shape())?)
    }
    fn weight(&self) -> Weight {
        self.dense.weight()
    }
    fn bias(&self) -> Option<Arc<[f32]>> {
        self.dense.bias()
    }
    fn stored_bytes(&self) -> usize {
        self.dense.stored_bytes()
    }
}

/// The decoder with every map and the head packed, and the same decoder on the fake path.
fn both(format: Format, activations: Activations) -> (Decoder, Decoder) {
    let original = decoder();
    let (mut packed, mut fake) = (original.clone(), original.clone());
    for layer in 0..2 {
        for projection in Projection::ALL {
            let map = original.linear(layer, projection).unwrap();
            let new = Packed::new(Arc::new(pack(&map.weight(), format)), map.bias(), activations).unwrap();
            let dense = Fake { dense: Dense::new(new.weight(), map.bias()), activations };
            packed = packed.with_linear(layer, projection, Arc::new(new)).unwrap();
            fake = fake.with_linear(layer, projection, Arc::new(dense)).unwrap();
        }
    }
    let head = Packed::new(Arc::new(pack(&original.head().weight(), format)), None, activations).unwrap();
    let dense = Fake { dense: Dense::new(head.weight(), None), activations };
    (packed.with_head(Arc::new(head)).unwrap(), fake.with_head(Arc::new(dense)).unwrap())
}

fn logits(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    let hidden = decoder.hidden(&[tokens]).unwrap().reshape((tokens.len(), 64)).unwrap();
    with_values(&decoder.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap()
}

fn assert_parity(found: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    assert!(largest > 0.1 && found.len() == expected.len(), "{what}: {largest}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-5 * largest, "{what}[{i}]: {a} for {b}, largest {largest}");
    }
}

#[test]
fn packed_decoders_give_the_logits_of_the_fake_path() {
    let tokens: Vec<u32> = (0..23).map(|i| i * 37 % 83).collect();
    for format in [Format::Int4, Format::Int4Zeros, Format::Int8, Format::Table] {
        for activations in [Activations::Full, Activations::Int8] {
            if format == Format::Table && activations == Activations::Int8 {
                continue;
            }
            let what = format!("{format:?} {activations:?}");
            let (packed, fake) = both(format, activations);
            let expected = logits(&fake, &tokens);
            assert_parity(&logits(&packed, &tokens), &expected, &what);
            // The prompt in one pass, then token by token through the cache: the kernels of few rows.
            let mut cache = packed.new_cache();
            packed.step(&[&tokens[..12]], &mut cache, 1).unwrap();
            for (at, token) in tokens.iter().enumerate().skip(12) {
                let row = packed.logits_last(&[*token], &mut cache).unwrap();
                assert_parity(&row, &expected[at * 83..][..83], &what);
            }
            // Quantization that changes nothing would make this test pass without kernels.
            let dense = logits(&decoder(), &tokens);
            let error = dense.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error > 1e-3, "{what}: {error}");
        }
    }
}

#[test]
fn a_packed_decoder_counts_its_bytes() {
    let (packed, _) = both(Format::Int4, Activations::Int8);
    let original = decoder();
    assert_eq!(packed.parameters(), original.parameters());
    let maps: usize = [64 * 64 * 2, 32 * 64 * 2, 96 * 64 * 3].iter().sum::<usize>() * 2;
    // Half a byte a code and four a scale (these scales need all 32 bits); the head's last block is filled up.
    let bytes = |weights: usize| weights / 2 + weights / GROUP * 4;
    assert_eq!(packed.stored_bytes(), original.stored_bytes() - maps * 4 + bytes(maps) + bytes(96 * 64));
    assert_eq!(packed.bytes_not_shared_with(&original), (bytes(maps) + bytes(96 * 64)) as u64);
}

#[test]
fn packed_maps_together_equal_packed_maps_alone() {
    let original = decoder();
    let map = |projection, format, activations| {
        let map = original.linear(0, projection).unwrap();
        Packed::new(Arc::new(pack(&map.weight(), format)), map.bias(), activations).unwrap()
    };
    let q = map(Projection::Q, Format::Int4, Activations::Int8);
    let k = map(Projection::K, Format::Int8, Activations::Int8);
    let v = map(Projection::V, Format::Table, Activations::Full);
    let o = original.linear(0, Projection::O).unwrap();
    assert!(q.packed().unwrap().kernel(1).starts_with("w4a8_gemv_"));
    assert!(k.packed().unwrap().kernel(8).starts_with("w8a8_gemm_"));
    assert!(v.packed().unwrap().kernel(7).starts_with("lut4_gemv_"));
    for rows in [1, 5, 12] {
        let x = from_values((0..rows * 64).map(|i| (i as f32).cos()).collect(), (1, rows, 64)).unwrap();
        let read = |t: &Tensor| with_values(t, <[f32]>::to_vec).unwrap();
        let together = forward_together([&q, &k, &v], &x).unwrap();
        let mixed = forward_together([&q as &dyn LinearOp, o.as_ref()], &x).unwrap();
        for (found, map) in together.iter().zip([&q, &k, &v]) {
            assert_eq!(found.dims(), [1, rows, map.rows()]);
            assert_eq!(read(found), read(&map.forward(&x).unwrap()));
        }
        assert_eq!(read(&mixed[0]), read(&together[0]));
        assert_eq!(read(&mixed[1]), read(&o.forward(&x).unwrap()));
    }
    let narrow = from_values(vec![0.0; 63], (1, 63)).unwrap();
    assert!(q.forward(&narrow).is_err() && forward_together([&q, &k], &narrow).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let original = decoder();
    let table = Arc::new(pack(&original.head().weight(), Format::Table));
    assert_eq!(Packed::new(table.clone(), None, Activations::Int8).unwrap_err(), PackError::TableWithIntegers);
    assert!(Packed::new(table, Some(vec![0.0; 3].into()), Activations::Full).is_err());
    let wrong = original.linear(0, Projection::Q).unwrap().clone();
    assert!(matches!(original.with_head(wrong), Err(ModelError::TensorShape { found: (64, 64), .. })));
}
