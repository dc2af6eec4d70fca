use super::*;
use crate::attention::attention;
use crate::vector::available;

fn sample(count: usize, phase: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.731 + phase).sin() * 1.5).collect()
}

/// Sums of the rows of the matrix that the kernel does not make, in double precision.
fn oracle(q: &[f32], k: &[f32], shape: &Shape<'_>) -> Vec<f64> {
    let d = shape.head_dim;
    let mut sums = vec![0.0; shape.batch * shape.kv_heads * shape.keys];
    for batch in 0..shape.batch {
        for head in 0..shape.heads {
            let kv_head = head / shape.group();
            for query in 0..shape.queries {
                let at = ((batch * shape.queries + query) * shape.heads + head) * d;
                let visible = shape.visible(query);
                let scores: Vec<f64> = (0..visible)
                    .map(|j| {
                        let key = batch * shape.key_batch_stride + j * shape.key_width() + kv_head * d;
                        let dot: f64 = (0..d).map(|l| f64::from(q[at + l]) * f64::from(k[key + l])).sum();
                        let apart = j as f64 - (visible - 1) as f64;
                        dot * f64::from(shape.scale) + f64::from(shape.slope(head)) * apart
                    })
                    .collect();
                let all: f64 = scores.iter().map(|score| score.exp()).sum();
                for (j, score) in scores.iter().enumerate() {
                    sums[(batch * shape.kv_heads + kv_head) * shape.keys + j] += score.exp() / all;
                }
            }
        }
    }
    sums
}

#[test]
fn keys_receive_the_column_sums_of_the_matrix_on_every_instruction_set() {
    let slopes = [0.5, 0.25, 0.125, 0.0625];
    for (queries, keys, head_dim, biased, gap) in [
        (1, 1, 8, false, 0),
        (1, 150, 20, false, 3),
        (5, 140, 24, true, 1),
        (8, 8, 16, false, 0),
        (75, 150, 24, true, 7),
        (130, 130, 64, false, 0),
    ] {
        let shape = Shape {
            batch: 2,
            queries,
            keys,
            heads: 4,
            kv_heads: 2,
            head_dim,
            scale: 0.2,
            slopes: biased.then_some(&slopes[..]),
            biases: None,
            key_batch_stride: (keys + gap) * 2 * head_dim,
        };
        let (q, k) = (sample(2 * queries * 4 * head_dim, 0.1), sample(2 * shape.key_batch_stride, 0.2));
        let (_, log_sums) = attention(&q, &k, &k, &shape);
        let (found, exact) = (received(&q, &k, &log_sums, &shape), oracle(&q, &k, &shape));
        for (at, (a, e)) in found.iter().zip(&exact).enumerate() {
            assert!((f64::from(*a) - e).abs() < 1e-5 * e.max(1.0), "{queries}x{keys}, {at}: {a} for {e}");
        }
        // Every query gives one in all.
        for sums in found.chunks_exact(keys) {
            let all: f32 = sums.iter().sum();
            assert!(
                (all - 2.0 * queries as f32).abs() < 1e-4 * queries as f32,
                "{all} of {queries} queries of two heads"
            );
        }
        for set in available() {
            assert_eq!(found, received_on(set, &q, &k, &log_sums, &shape), "{set:?}");
        }
    }
}
