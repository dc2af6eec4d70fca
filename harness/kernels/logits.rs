//! Passes over rows of logits: statistics, negative log-likelihood, divergence, cross-entropy gradients. Nats.

use rayon::prelude::*;

use crate::instruction_set;
use crate::vector::{InstructionSet, WIDTH, exp, vectorised};

/// Elements summed in f32 lanes before their sum goes to f64.
const BLOCK: usize = 512;

/// What one pass over a row of logits yields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowStatistics {
    /// Largest logit.
    pub max: f32,
    /// Natural logarithm of the sum of exponentials.
    pub log_sum_exp: f64,
    /// Index of the largest logit; the lowest one wins ties.
    pub argmax: u32,
}

impl RowStatistics {
    /// Negative log-likelihood of `target` in nats; `row` is the row these statistics belong to.
    ///
    /// # Panics
    /// When `target` lies outside the row.
    pub fn nll(&self, row: &[f32], target: u32) -> f64 {
        self.log_sum_exp - f64::from(row[target as usize])
    }
}

/// Statistics of one row. A NaN in the row makes `log_sum_exp` NaN.
///
/// # Panics
/// When the row is empty.
pub fn statistics(row: &[f32]) -> RowStatistics {
    statistics_on(instruction_set(), row)
}

/// Statistics of every row of `logits (rows, vocabulary)`, several threads at once.
pub fn row_statistics(logits: &[f32], vocabulary: usize) -> Vec<RowStatistics> {
    logits.par_chunks(vocabulary).map(statistics).collect()
}

/// Negative log-likelihood of `target` in nats.
pub fn nll(row: &[f32], target: u32) -> f64 {
    statistics(row).nll(row, target)
}

/// `KL(P ‖ Q)` in nats of the distributions that two rows of logits stand for, within 2e-7; never negative, NaN when either row
/// holds a NaN.
pub fn kl(p: &[f32], q: &[f32]) -> f64 {
    kl_given(p, &statistics(p), q, &statistics(q))
}

/// [`kl`] with the statistics of both rows already at hand.
pub fn kl_given(p: &[f32], p_statistics: &RowStatistics, q: &[f32], q_statistics: &RowStatistics) -> f64 {
    assert_eq!(p.len(), q.len(), "divergence of rows of different length");
    // With d = (p − q) − shift and shift = lse(p) − lse(q): KL = Σ softmax(p)·d. Subtracting the shift inside the sum
    // keeps the terms small when the rows differ by a constant.
    let shift = p_statistics.log_sum_exp - q_statistics.log_sum_exp;
    let single = shift as f32;
    let sum = divergence(instruction_set(), p, q, p_statistics.max, single);
    let scale = (p_statistics.log_sum_exp - f64::from(p_statistics.max)).exp();
    let value = sum / scale + (f64::from(single) - shift);
    if value < 0.0 { 0.0 } else { value }
}

/// Mean cross-entropy of `logits (rows, vocabulary)` against `targets (rows)`, in nats.
pub fn cross_entropy(logits: &[f32], targets: &[u32], vocabulary: usize) -> f64 {
    assert_eq!(logits.len(), targets.len() * vocabulary, "one target for each row of logits");
    let losses: Vec<f64> = logits.par_chunks(vocabulary).zip(targets).map(|(row, &target)| nll(row, target)).collect();
    losses.iter().sum::<f64>() / targets.len() as f64
}

/// `(softmax(row) − onehot(target)) · scale` for every row of `logits (rows, vocabulary)`.
pub fn cross_entropy_gradient(logits: &[f32], targets: &[u32], vocabulary: usize, scale: f32) -> Vec<f32> {
    assert_eq!(logits.len(), targets.len() * vocabulary, "one target for each row of logits");
    let set = instruction_set();
    crate::buffer::filled(logits.len(), |out| {
        out.par_chunks_mut(vocabulary).zip(logits.par_chunks(vocabulary)).zip(targets).for_each(
            |((out, row), &target)| {
                let statistics = statistics_on(set, row);
                let sum = (statistics.log_sum_exp - f64::from(statistics.max)).exp();
                scaled_exp(set, row, statistics.max, (f64::from(scale) / sum) as f32, out);
                out[target as usize] -= scale;
            },
        );
    })
}

fn statistics_on(set: InstructionSet, row: &[f32]) -> RowStatistics {
    assert!(!row.is_empty(), "statistics of an empty row");
    let (max, block) = largest(set, row);
    let within = row[block..].iter().position(|&value| value == max).unwrap_or(0);
    let sum = exponential_sum(set, row, max);
    RowStatistics { max, log_sum_exp: f64::from(max) + sum.ln(), argmax: (block + within) as u32 }
}

vectorised! {
    /// The largest value and the start of the first block that holds it.
    fn largest<V>(row: &[f32]) -> (f32, usize) {
        let (mut best, mut best_at) = (f32::NEG_INFINITY, 0);
        let low = f32::NEG_INFINITY;
        for start in (0..row.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(row.len());
            let mut lanes = [V::splat(low); 4];
            let mut at = start;
            while at + 4 * WIDTH <= end {
                for (i, lane) in lanes.iter_mut().enumerate() {
                    *lane = lane.max(V::load(row.as_ptr().add(at + i * WIDTH)));
                }
                at += 4 * WIDTH;
            }
            while at < end {
                lanes[0] = lanes[0].max(V::load_partial(row.as_ptr().add(at), (end - at).min(WIDTH), low));
                at += WIDTH;
            }
            let here = lanes[0].max(lanes[1]).max(lanes[2].max(lanes[3])).maximum();
            if here > best {
                (best, best_at) = (here, start);
            }
        }
        (best, best_at)
    }
}

vectorised! {
    fn exponential_sum<V>(row: &[f32], max: f32) -> f64 {
        let shift = V::splat(max);
        let mut total = 0.0;
        for start in (0..row.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(row.len());
            let mut lanes = [V::splat(0.0); 4];
            let mut at = start;
            while at + 4 * WIDTH <= end {
                for (i, lane) in lanes.iter_mut().enumerate() {
                    *lane = lane.add(exp(V::load(row.as_ptr().add(at + i * WIDTH)).sub(shift)));
                }
                at += 4 * WIDTH;
            }
            while at < end {
                let x = V::load_partial(row.as_ptr().add(at), (end - at).min(WIDTH), f32::NEG_INFINITY);
                lanes[0] = lanes[0].add(exp(x.sub(shift)));
                at += WIDTH;
            }
            total += f64::from(lanes[0].add(lanes[1]).add(lanes[2].add(lanes[3])).sum());
        }
        total
    }
}

vectorised! {
    /// `Σ e^(p − max) · ((p − q) − shift)`.
    fn divergence<V>(p: &[f32], q: &[f32], max: f32, shift: f32) -> f64 {
        assert!(p.len() == q.len());
        let (max, shift) = (V::splat(max), V::splat(shift));
        let mut total = 0.0;
        for start in (0..p.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(p.len());
            let mut lanes = [V::splat(0.0); 2];
            let mut at = start;
            while at + 2 * WIDTH <= end {
                for (i, lane) in lanes.iter_mut().enumerate() {
                    let a = V::load(p.as_ptr().add(at + i * WIDTH));
                    let b = V::load(q.as_ptr().add(at + i * WIDTH));
                    *lane = exp(a.sub(max)).fma(a.sub(b).sub(shift), *lane);
                }
                at += 2 * WIDTH;
            }
            while at < end {
                let count = (end - at).min(WIDTH);
                // Lanes past the end get weight zero and a finite difference.
                let a = V::load_partial(p.as_ptr().add(at), count, -1e30);
                let b = V::load_partial(q.as_ptr().add(at), count, -1e30);
                lanes[0] = exp(a.sub(max)).fma(a.sub(b).sub(shift), lanes[0]);
                at += WIDTH;
            }
            total += f64::from(lanes[0].add(lanes[1]).sum());
        }
        total
    }
}

vectorised! {
    fn scaled_exp<V>(row: &[f32], max: f32, scale: f32, out: &mut [f32]) {
        assert!(row.len() == out.len());
        let (max, scale) = (V::splat(max), V::splat(scale));
        for at in (0..row.len()).step_by(WIDTH) {
            let count = (row.len() - at).min(WIDTH);
            let x = V::load_partial(row.as_ptr().add(at), count, 0.0);
            exp(x.sub(max)).mul(scale).store_partial(out.as_mut_ptr().add(at), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::available;

    fn row(count: usize, phase: f64) -> Vec<f32> {
        (0..count).map(|i| ((i as f64 * 12.9898 + phase).sin() * 6.0) as f32).collect()
    }

    fn exact(row: &[f32]) -> f64 {
        row.iter().map(|&v| f64::from(v).exp()).sum::<f64>().ln()
    }

    #[test]
    fn statistics_match_double_precision_on_every_instruction_set() {
        for count in [1, 15, 16, 511, 512, 513, 4999, 49_152] {
            let values = row(count, 0.5);
            let mut argmax = 0;
            for (i, v) in values.iter().enumerate() {
                if *v > values[argmax] {
                    argmax = i;
                }
            }
            let oracle = statistics_on(InstructionSet::Scalar, &values);
            assert_eq!(oracle.argmax as usize, argmax);
            assert!((oracle.log_sum_exp - exact(&values)).abs() < 2e-7, "{count}");
            for set in available() {
                assert_eq!(statistics_on(set, &values), oracle, "{set:?} {count}");
            }
            let target = (count / 2) as u32;
            assert!((nll(&values, target) - (exact(&values) - f64::from(values[count / 2]))).abs() < 2e-7);
        }
    }

    #[test]
    fn ties_go_to_the_lowest_index_and_nan_shows() {
        let mut values = vec![0.0; 2000];
        values[700] = 3.0;
        values[1500] = 3.0;
        assert_eq!(statistics(&values).argmax, 700);
        values[3] = f32::NAN;
        assert!(statistics(&values).log_sum_exp.is_nan());
        assert!(kl(&values, &vec![0.0; 2000]).is_nan());
        assert!(kl(&vec![0.0; 2000], &values).is_nan());
    }

    #[test]
    fn divergence_matches_double_precision() {
        for count in [3, 16, 1000, 49_157] {
            let p = row(count, 0.1);
            let q = row(count, 0.3);
            let (lp, lq) = (exact(&p), exact(&q));
            let expected: f64 = p
                .iter()
                .zip(&q)
                .map(|(&a, &b)| {
                    let (a, b) = (f64::from(a) - lp, f64::from(b) - lq);
                    a.exp() * (a - b)
                })
                .sum();
            assert!((kl(&p, &q) - expected).abs() < 1e-6 * expected.max(1.0), "{} for {expected}", kl(&p, &q));
            assert_eq!(kl(&p, &p), 0.0);
            let shifted: Vec<f32> = p.iter().map(|v| v + 64.0).collect();
            assert!(kl(&p, &shifted) < 1e-5);
            // A small perturbation: what is left is the rounding of the two log-sum-exps.
            let near: Vec<f32> = p.iter().enumerate().map(|(i, v)| v + 1e-3 * (i as f32).cos()).collect();
            let ln = exact(&near);
            let expected: f64 = p
                .iter()
                .zip(&near)
                .map(|(&a, &b)| {
                    let (a, b) = (f64::from(a) - lp, f64::from(b) - ln);
                    a.exp() * (a - b)
                })
                .sum();
            assert!((kl(&p, &near) - expected).abs() < 2e-7, "{} for {expected}", kl(&p, &near));
        }
    }

    #[test]
    fn cross_entropy_gradient_matches_finite_differences() {
        let vocabulary = 37;
        let logits = row(3 * vocabulary, 0.7);
        let targets = [4, 0, 36];
        let gradient = cross_entropy_gradient(&logits, &targets, vocabulary, 1.0 / 3.0);
        for at in 0..logits.len() {
            let (mut up, mut down) = (logits.clone(), logits.clone());
            up[at] += 1e-2;
            down[at] -= 1e-2;
            let width = f64::from(up[at]) - f64::from(down[at]);
            let expected =
                (cross_entropy(&up, &targets, vocabulary) - cross_entropy(&down, &targets, vocabulary)) / width;
            assert!((f64::from(gradient[at]) - expected).abs() < 3e-5, "{at}: {} for {expected}", gradient[at]);
        }
    }
}
