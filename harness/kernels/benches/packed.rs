//! Throughput of packed weights on the shapes of a 135M-parameter decoder: 576 wide, 1536 inside, 49,152 tokens.
//!
//! `cargo bench -p harness-kernels --bench packed`. Prefill reports multiply-adds (two operations each) as elements, for
//! every kind of integer instructions this processor has; decode reports the bytes of all weights of the model, each
//! read once.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness_kernels::packed::{
    Activations, Bits, IntegerSet, Meaning, PackedLinear, PackedMatrix, Quantized, integer_set, packed_linear,
    packed_linear_on,
};

const BLOCKS: usize = 30;
const LEVELS: [f32; 16] =
    [-1.0, -0.7, -0.53, -0.39, -0.28, -0.18, -0.09, 0.0, 0.08, 0.16, 0.25, 0.34, 0.44, 0.56, 0.72, 1.0];

fn sample(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
}

#[derive(Clone, Copy)]
enum Kind {
    Symmetric(Bits),
    Asymmetric(Bits),
    Table,
}

fn packed(rows: usize, cols: usize, group: usize, kind: Kind) -> PackedMatrix {
    let bits = if let Kind::Symmetric(bits) | Kind::Asymmetric(bits) = kind { bits } else { Bits::Four };
    let codes: Vec<u8> = (0..rows * cols).map(|i| ((i * 2_654_435_761) >> 9) as u8 & bits.largest()).collect();
    let scales = vec![0.007_812_5; rows * cols / group];
    let zeros: Vec<f32> = (0..scales.len()).map(|i| (i % 16) as f32).collect();
    let meaning = match kind {
        Kind::Symmetric(bits) => Meaning::Zero(f32::from(bits.largest() / 2 + 1)),
        Kind::Asymmetric(_) => Meaning::Zeros(&zeros),
        Kind::Table => Meaning::Table(&LEVELS),
    };
    PackedMatrix::new(&Quantized { rows, cols, bits, group, codes: &codes, scales: &scales, meaning }).unwrap()
}

fn prefill(criterion: &mut Criterion) {
    use Activations::{Full, Int8};
    let mut group = criterion.benchmark_group("prefill");
    for (m, k, n) in [(512, 1536, 576), (512, 576, 1536), (512, 576, 576), (512, 576, 49_152)] {
        let x = sample(m * k);
        let mut out = vec![0.0; m * n];
        let shape = format!("{m}x{k}x{n}");
        group.throughput(Throughput::Elements((m * k * n) as u64));
        let symmetric = [("w8a8-row", Bits::Eight, k), ("w4a8-g64", Bits::Four, 64), ("w4a8-g32", Bits::Four, 32)];
        for (name, bits, columns) in symmetric {
            let matrix = packed(n, k, columns, Kind::Symmetric(bits));
            let part = PackedLinear::new(&matrix, None, Int8).unwrap();
            for set in [IntegerSet::Avx2, IntegerSet::Vnni, IntegerSet::Amx] {
                if set <= integer_set() {
                    group.bench_function(BenchmarkId::new(format!("{name}-{}", set.name()), &shape), |b| {
                        b.iter(|| packed_linear_on(set, &x, m, &[part], &mut [&mut out]));
                    });
                }
            }
        }
        for (name, kind, activations) in [
            ("w4a8-g64-zeros", Kind::Asymmetric(Bits::Four), Int8),
            ("w4a16-g64", Kind::Symmetric(Bits::Four), Full),
            ("lut4-g64", Kind::Table, Full),
        ] {
            let matrix = packed(n, k, 64, kind);
            let part = PackedLinear::new(&matrix, None, activations).unwrap();
            group.bench_function(BenchmarkId::new(name, &shape), |b| {
                b.iter(|| packed_linear(&x, m, &[part], &mut [&mut out]));
            });
        }
    }
    group.finish();
}

/// The maps of one block that share an input, and the input's width.
const SHARED: [(usize, &[usize]); 4] = [(576, &[576, 192, 192]), (576, &[576]), (576, &[1536, 1536]), (1536, &[576])];

fn decode(criterion: &mut Criterion) {
    use Activations::{Full, Int8};
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(10);
    for (name, columns, kind, activations) in [
        ("w8a8-row", 0, Kind::Symmetric(Bits::Eight), Int8),
        ("w4a8-g64", 64, Kind::Symmetric(Bits::Four), Int8),
        ("w4a8-g32", 32, Kind::Symmetric(Bits::Four), Int8),
        ("w4a8-g64-zeros", 64, Kind::Asymmetric(Bits::Four), Int8),
        ("w8a16-g64", 64, Kind::Symmetric(Bits::Eight), Full),
        ("w4a16-g64", 64, Kind::Symmetric(Bits::Four), Full),
        ("lut4-g64", 64, Kind::Table, Full),
    ] {
        let width = |k: usize| if columns == 0 { k } else { columns };
        let model: Vec<Vec<PackedMatrix>> = (0..BLOCKS)
            .flat_map(|_| SHARED)
            .map(|(k, rows)| rows.iter().map(|n| packed(*n, k, width(k), kind)).collect())
            .collect();
        let head = packed(49_152, 576, 32, Kind::Symmetric(Bits::Eight));
        let bytes: usize = model.iter().flatten().map(PackedMatrix::bytes).sum();
        for m in [1, 4, 7] {
            let (narrow, wide) = (sample(m * 576), sample(m * 1536));
            let mut outs = vec![vec![0.0; m * 1536]; 3];
            let mut logits = vec![0.0; m * 49_152];
            group.throughput(Throughput::Bytes((bytes + head.bytes()) as u64));
            group.bench_function(BenchmarkId::new(name, m), |b| {
                b.iter(|| {
                    for maps in &model {
                        let x = if maps[0].cols() == 576 { &narrow } else { &wide };
                        let parts: Vec<_> =
                            maps.iter().map(|map| PackedLinear::new(map, None, activations).unwrap()).collect();
                        let mut slices: Vec<&mut [f32]> =
                            outs.iter_mut().zip(maps).map(|(out, map)| &mut out[..m * map.rows()]).collect();
                        packed_linear(x, m, &parts, &mut slices);
                    }
                    let part = PackedLinear::new(&head, None, Int8).unwrap();
                    packed_linear(&narrow, m, &[part], &mut [&mut logits]);
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = packed_weights;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600));
    targets = decode, prefill
}
criterion_main!(packed_weights);
