#![allow(clippy::unwrap_used)]

use super::*;
use crate::vector::available;

fn sample(count: usize, phase: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.731 + phase).sin() * 1.5).collect()
}

fn oracle(q: &[f32], k: &[f32], v: &[f32], shape: &Shape<'_>) -> Vec<f64> {
    let d = shape.head_dim;
    let mut out = vec![0.0; q.len()];
    for b in 0..shape.batch {
        for h in 0..shape.heads {
            for i in 0..shape.queries {
                let at = ((b * shape.queries + i) * shape.heads + h) * d;
                let visible = shape.keys - shape.queries + i + 1;
                let key = |j: usize| b * shape.key_batch_stride + j * shape.kv_heads * d + h / shape.group() * d;
                let scores: Vec<f64> = (0..visible)
                    .map(|j| {
                        let dot: f64 = (0..d).map(|l| f64::from(q[at + l]) * f64::from(k[key(j) + l])).sum();
                        dot * f64::from(shape.scale)
                            + f64::from(shape.slope(h)) * (j as f64 - (visible - 1) as f64)
                            + shape.biases_of(h).map_or(0.0, |biases| f64::from(biases[visible - 1 - j]))
                    })
                    .collect();
                let max = scores.iter().fold(f64::MIN, |a, &b| a.max(b));
                let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                for (j, s) in scores.iter().enumerate() {
                    for l in 0..d {
                        out[at + l] += (s - max).exp() / sum * f64::from(v[key(j) + l]);
                    }
                }
            }
        }
    }
    out
}

fn shape(batch: usize, queries: usize, keys: usize, heads: usize, kv_heads: usize, head_dim: usize) -> Shape<'static> {
    Shape {
        batch,
        queries,
        keys,
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        slopes: None,
        biases: None,
        key_batch_stride: keys * kv_heads * head_dim,
    }
}

#[test]
fn attention_matches_double_precision_on_every_instruction_set() {
    let slopes = [0.5, 0.25, 0.125, 0.0625];
    let biases = sample(4 * 160, 0.6);
    for (queries, keys, head_dim, biased, gap) in [
        (1, 1, 8, false, 0),
        (1, 77, 64, false, 5),
        (3, 20, 20, true, 0),
        (5, 140, 20, true, 1),
        (8, 8, 16, false, 0),
        (45, 150, 24, true, 7),
        (130, 130, 64, false, 0),
    ] {
        let mut shape = shape(2, queries, keys, 4, 2, head_dim);
        shape.key_batch_stride += gap * 2 * head_dim;
        shape.slopes = biased.then_some(&slopes[..]);
        shape.biases = biased.then_some(Biases::Table(&biases));
        let q = sample(2 * queries * 4 * head_dim, 0.1);
        let k = sample(2 * shape.key_batch_stride, 0.2);
        let v = sample(2 * shape.key_batch_stride, 0.3);
        let exact = oracle(&q, &k, &v, &shape);
        let (first, sums) = attention(&q, &k, &v, &shape);
        for (a, e) in first.iter().zip(&exact) {
            assert!((f64::from(*a) - e).abs() < 3e-6, "{queries}x{keys}: {a} for {e}");
        }
        for set in available() {
            assert_eq!((first.clone(), sums.clone()), attention_on(set, &q, &k, &v, &shape), "{set:?}");
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    let slopes = [0.3, 0.2, 0.1, 0.05];
    for (queries, keys, biased) in [(40, 40, false), (9, 75, true)] {
        let plain = Shape { slopes: biased.then_some(&slopes[..]), ..shape(2, queries, keys, 4, 2, 12) };
        let inputs = [
            sample(2 * queries * 48, 0.1),
            sample(2 * keys * 24, 0.2),
            sample(2 * keys * 24, 0.3),
            sample(4 * (keys + 3), 0.5),
        ];
        let gradient = sample(2 * queries * 48, 0.4);
        let shape = Shape { biases: biased.then_some(Biases::Table(&inputs[3])), ..plain };
        let (output, sums) = attention(&inputs[0], &inputs[1], &inputs[2], &shape);
        let found = attention_gradient(&inputs[0], &inputs[1], &inputs[2], &output, &sums, &gradient, &shape);
        let objective = |inputs: &[Vec<f32>; 4]| -> f64 {
            let shape = Shape { biases: biased.then_some(Biases::Table(&inputs[3])), ..plain };
            let out = oracle(&inputs[0], &inputs[1], &inputs[2], &shape);
            out.iter().zip(&gradient).map(|(o, g)| o * f64::from(*g)).sum()
        };
        assert_eq!(found[3].is_empty(), !biased);
        for which in 0..if biased { 4 } else { 3 } {
            for at in [0, 13, 100, inputs[which].len() / 2, inputs[which].len() - 1] {
                let (mut up, mut down) = (inputs.clone(), inputs.clone());
                up[which][at] += 1e-3;
                down[which][at] -= 1e-3;
                let width = f64::from(up[which][at]) - f64::from(down[which][at]);
                let expected = (objective(&up) - objective(&down)) / width;
                let value = f64::from(found[which][at]);
                assert!(
                    (value - expected).abs() < 2e-4 * (1.0 + expected.abs()),
                    "{which}[{at}]: {value} for {expected}"
                );
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_or_the_batch() {
    let shape_two = shape(2, 100, 100, 4, 2, 16);
    let (q, k, v) = (sample(2 * 100 * 64, 0.1), sample(2 * 100 * 32, 0.2), sample(2 * 100 * 32, 0.3));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (out, sums) = attention(&q, &k, &v, &shape_two);
            let gradient = attention_gradient(&q, &k, &v, &out, &sums, &q, &shape_two);
            (out, gradient)
        })
    };
    let (out, gradient) = run(1);
    assert_eq!((out.clone(), gradient), run(3));
    let alone = attention(&q[6400..], &k[3200..], &v[3200..], &shape(1, 100, 100, 4, 2, 16)).0;
    assert_eq!(alone, out[6400..]);
}

#[test]
fn a_value_that_is_not_finite_shows_in_its_own_queries() {
    let shape = shape(1, 2, 150, 4, 2, 20);
    let (q, mut k, v) = (sample(2 * 4 * 20, 0.1), sample(150 * 40, 0.2), sample(150 * 40, 0.3));
    // The last key of the first head of keys: only the second query sees it.
    k[149 * 40] = f32::NAN;
    let (out, sums) = attention(&q, &k, &v, &shape);
    let shown: Vec<bool> = out.chunks_exact(20).map(|row| row.iter().all(|value| value.is_nan())).collect();
    assert_eq!(shown, [false, false, false, false, true, true, false, false]);
    assert_eq!(
        sums.iter().map(|sum| sum.is_nan()).collect::<Vec<_>>(),
        [false, true, false, true, false, false, false, false]
    );
}
