//! The half-quadratic search for zero points of HQQ.

use half::f16;
use rayon::prelude::*;

use super::grid::nearest_whole;

/// How zero points are searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Bits of a code.
    pub bits: u32,
    /// The power of the norm that is made small.
    pub p: f64,
    /// Weight of the quadratic half at the start.
    pub beta: f64,
    /// Its growth from step to step.
    pub kappa: f64,
    /// Steps at most.
    pub iterations: usize,
    /// Whether β grows and the best zero points are kept; else it stays, and the last are.
    pub keep_best: bool,
}

/// Inverse scale and zero point of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// One over the distance of neighbouring values.
    pub inverse: f32,
    /// The code of 0, which need not be whole.
    pub zero: f32,
    last: f32,
}

impl Affine {
    /// The code of a weight.
    pub fn code(self, weight: f32) -> f32 {
        nearest_whole(weight * self.inverse + self.zero).clamp(0.0, self.last)
    }

    /// What a code stands for.
    pub fn value(self, code: f32) -> f32 {
        (code - self.zero) / self.inverse
    }

    /// That of the range of the weights.
    fn of(weights: &[f32], last: f32) -> Self {
        let low = weights.iter().fold(f32::INFINITY, |least, &weight| least.min(weight));
        let high = weights.iter().fold(f32::NEG_INFINITY, |most, &weight| most.max(weight));
        let range = high - low;
        let inverse = if range <= 1e-4 { 1.0 } else { (last / range).min(2e4) };
        Self { inverse, zero: -low * inverse, last }
    }

    /// As both numbers are stored: the scale and the zero point in half precision.
    #[must_use]
    pub fn stored(self) -> Self {
        let scale = f16::from_f32(1.0 / self.inverse).to_f32();
        Self { inverse: 1.0 / scale, zero: f16::from_f32(self.zero).to_f32(), ..self }
    }
}

impl Search {
    /// The next zero point of a group, and the sum of the errors under the present one.
    fn step(&self, weights: &[f32], affine: Affine, beta: f64) -> (f32, f64) {
        let (mut zero, mut errors) = (0.0_f64, 0.0_f64);
        // Where `x = x^(p − 1) / β`: errors below it, nearly all of them, shrink to nothing without a power.
        let least = beta.powf(-1.0 / (2.0 - self.p)) * (1.0 - 1e-9);
        for &weight in weights {
            let code = affine.code(weight);
            let error = f64::from(weight - affine.value(code));
            let size = error.abs();
            errors += size;
            let shrunk =
                if size > least { (size - size.powf(self.p - 1.0) / beta).max(0.0).copysign(error) } else { 0.0 };
            zero += f64::from(code) - (f64::from(weight) - shrunk) * f64::from(affine.inverse);
        }
        ((zero / weights.len() as f64) as f32, errors)
    }

    /// The search over a whole matrix, whose mean error decides when it ends.
    pub fn search(&self, weight: &[f32], group: usize) -> Vec<Affine> {
        let last = ((1_u32 << self.bits) - 1) as f32;
        let mut now: Vec<Affine> = weight.par_chunks(group).map(|group| Affine::of(group, last)).collect();
        let mut best = now.clone();
        let (mut least, mut beta) = (f64::INFINITY, self.beta);
        for _ in 0..self.iterations {
            let steps: Vec<(f32, f64)> =
                weight.par_chunks(group).zip(&now).map(|(group, &affine)| self.step(group, affine, beta)).collect();
            let mean = steps.iter().map(|(_, errors)| errors).sum::<f64>() / weight.len() as f64;
            let better = mean < least;
            if better {
                least = mean;
                best.clone_from(&now);
            }
            if better || !self.keep_best {
                now.iter_mut().zip(&steps).for_each(|(affine, (zero, _))| affine.zero = *zero);
            }
            if !better {
                break;
            }
            if self.keep_best {
                beta *= self.kappa;
            }
        }
        if self.keep_best { best } else { now }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WEIGHTS: [f32; 6] = [-1.0, -0.3, 0.0, 0.2, 0.55, 1.4];

    fn search(keep_best: bool) -> Search {
        Search { bits: 4, p: 0.7, beta: 10.0, kappa: 1.01, iterations: 20, keep_best }
    }

    fn error(affine: Affine) -> f32 {
        WEIGHTS.iter().map(|&weight| (weight - affine.value(affine.code(weight))).abs()).sum::<f32>() / 6.0
    }

    #[test]
    fn six_weights_by_hand() {
        let found = Affine::of(&WEIGHTS, 15.0);
        let start = Affine { inverse: 6.25, zero: 6.25, last: 15.0 };
        assert!((found.inverse - 6.25).abs() < 1e-6 && (found.zero - 6.25).abs() < 1e-6);
        assert_eq!(WEIGHTS.map(|weight| start.code(weight)), [0.0, 4.0, 6.0, 8.0, 10.0, 15.0]);
        assert!((error(start) - 0.038_333).abs() < 1e-6);
        // The next zero point is worse.
        let (next, _) = search(true).step(&WEIGHTS, start, 10.0);
        assert!((next - 6.281_25).abs() < 1e-6, "{next}");
        assert!((error(Affine { zero: next, ..start }) - 0.04).abs() < 1e-6);
        // What it gives is never worse than where it began.
        assert!(error(search(true).search(&WEIGHTS, 6)[0]) <= error(found));
    }

    #[test]
    fn with_the_norm_of_one_shrinking_is_a_soft_threshold() {
        let hqq = Search { p: 1.0, beta: 4.0, ..search(true) };
        let affine = Affine { inverse: 1.0, zero: 0.0, last: 3.0 };
        // 1.45 is rounded to 1 with an error of 0.45, which shrinks to 0.2: z = 1 − (1.45 − 0.2).
        let (zero, errors) = hqq.step(&[1.45], affine, 4.0);
        assert!((zero + 0.25).abs() < 1e-6 && (errors - 0.45).abs() < 1e-6, "{zero} {errors}");
    }
}
