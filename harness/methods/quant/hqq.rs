//! HQQ: half-quadratic search for the zero point of each group, without calibration.
//!
//! With the inverse scale `σ = L / (max − min)` and a zero point `z` that is no whole number, `q = clamp(rne(w σ + z), 0, L)` and
//! `ŵ = (q − z) / σ`. Each step takes the error `e = shrink(w − ŵ)`, `shrink(x) = sign(x) · max(0, |x| − |x|^(p − 1) / β)`, which leaves
//! large errors alone, and sets `z` to the mean of `q − (w − e) σ` over the group.
//!
//! Hicham Badri, Appu Shaji: Half-Quadratic Quantization of Large Machine Learning Models, 2023, and its code.
//!
//! # Difference from the reference
//! `compat = best` (the default) raises β by κ and gives the best zero points seen, as the code's second version does;
//! `legacy` does neither, as its first does: it stops at the first step of a matrix that is no better and keeps that step's
//! zero points. Groups run along the inputs (the code's `axis = 1`). Scales and zero points are stored in half precision,
//! and codes are those of the stored ones.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use half::f16;
use rayon::prelude::*;

use crate::quant::{Bits, QuantError, Quantized, Quantizer, check_groups, group_of};
use crate::prune::Site;
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::choice! {
    /// Which version of the published search.
    pub enum Compat {
        /// β grows, and the best zero points are kept.
        Best = "best",
        /// β stays, and the last zero points are kept.
        Legacy = "legacy",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Bits of a code.
        bits: usize = 4, Domain::closed(1.0, 8.0);
        /// Weights of a row that share a scale; -1 for whole rows.
        group: i64 = 64, Domain::closed(-1.0, 65536.0);
        /// The power of the norm that is made small.
        p: f64 = 0.7, Domain::above(0.0, 1.0);
        /// Weight of the quadratic half at the start.
        beta: f64 = 10.0, Domain::above(0.0, 1e9);
        /// Growth of that weight from step to step.
        kappa: f64 = 1.01, Domain::closed(1.0, 100.0);
        /// Steps at most.
        iterations: usize = 20, Domain::closed(2.0, 10_000.0);
        /// Which version of the published search.
        compat: Compat = Compat::Best;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "hqq",
        axis: Axis::Quant,
        about: "searches the zero point of every group that leaves few weights with a large error",
        source: "Badri, Shaji: Half-Quadratic Quantization of Large Machine Learning Models, 2023",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { bits, group, p, beta, kappa, iterations, compat } = Settings::resolve(arm)?;
    if bits == 7 {
        return Err(ParameterError::Together("`bits = 7` is none of 1, 2, 3, 4, 5, 6, 8".to_owned()));
    }
    let group = group_of(group)?;
    Ok(Method::Quantizer(Box::new(Hqq { bits: bits as u32, group, p, beta, kappa, iterations, compat })))
}

struct Hqq {
    bits: u32,
    group: Option<usize>,
    p: f64,
    beta: f64,
    kappa: f64,
    iterations: usize,
    compat: Compat,
}

/// Inverse scale and zero point of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Affine {
    inverse: f32,
    zero: f32,
    last: f32,
}

impl Affine {
    fn code(self, weight: f32) -> f32 {
        (weight * self.inverse + self.zero).round_ties_even().clamp(0.0, self.last)
    }

    fn value(self, code: f32) -> f32 {
        (code - self.zero) / self.inverse
    }

    fn of(weights: &[f32], last: f32) -> Self {
        let low = weights.iter().fold(f32::INFINITY, |least, &weight| least.min(weight));
        let high = weights.iter().fold(f32::NEG_INFINITY, |most, &weight| most.max(weight));
        let range = high - low;
        let inverse = if range <= 1e-4 { 1.0 } else { (last / range).min(2e4) };
        Self { inverse, zero: -low * inverse, last }
    }

    /// As both numbers are stored: the scale and the zero point in half precision.
    fn stored(self) -> Self {
        let scale = f16::from_f32(1.0 / self.inverse).to_f32();
        Self { inverse: 1.0 / scale, zero: f16::from_f32(self.zero).to_f32(), ..self }
    }
}

impl Hqq {
    /// The next zero point of a group, and the sum of the errors under the present one.
    fn step(&self, weights: &[f32], affine: Affine, beta: f64) -> (f32, f64) {
        let (mut zero, mut errors) = (0.0_f64, 0.0_f64);
        for &weight in weights {
            let code = affine.code(weight);
            let error = f64::from(weight - affine.value(code));
            let size = error.abs();
            errors += size;
            // At an error of zero the power is infinite, and what it is taken from stays zero.
            let shrunk = if size > 0.0 { (size - size.powf(self.p - 1.0) / beta).max(0.0).copysign(error) } else { 0.0 };
            zero += f64::from(code) - (f64::from(weight) - shrunk) * f64::from(affine.inverse);
        }
        ((zero / weights.len() as f64) as f32, errors)
    }

    /// The search over a whole matrix, whose mean error decides when it ends.
    fn search(&self, weight: &[f32], group: usize) -> Vec<Affine> {
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
            if better || self.compat == Compat::Legacy {
                now.iter_mut().zip(&steps).for_each(|(affine, (zero, _))| affine.zero = *zero);
            }
            if !better {
                break;
            }
            if self.compat == Compat::Best {
                beta *= self.kappa;
            }
        }
        if self.compat == Compat::Best { best } else { now }
    }
}

impl Quantizer for Hqq {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        let group = self.group.unwrap_or(site.cols);
        check_groups(site, weight, group)?;
        let affines: Vec<Affine> = self.search(weight, group).into_iter().map(Affine::stored).collect();
        for (affine, group) in affines.iter().zip(weight.chunks(group)) {
            if !affine.zero.is_finite() || !affine.inverse.is_finite() || affine.inverse == 0.0 {
                let largest = group.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
                return Err(QuantError::Scale { site: site.name.to_owned(), largest });
            }
        }
        let mut codes = vec![0; weight.len()];
        let mut values = vec![0.0; weight.len()];
        codes
            .par_chunks_mut(group)
            .zip(values.par_chunks_mut(group))
            .zip(weight.par_chunks(group))
            .zip(&affines)
            .for_each(|(((codes, values), weight), affine)| {
                for ((code, value), &weight) in codes.iter_mut().zip(values).zip(weight) {
                    let found = affine.code(weight);
                    *code = found as i16;
                    *value = affine.value(found);
                }
            });
        let groups = affines.len() as u64;
        Ok(Quantized {
            values,
            codes,
            scales: affines.iter().map(|affine| 1.0 / affine.inverse).collect(),
            zeros: affines.iter().map(|affine| affine.zero).collect(),
            bits: Bits {
                codes: u64::from(self.bits) * weight.len() as u64,
                scales: 16 * groups,
                zeros: 16 * groups,
                ..Bits::default()
            },
            fallback: None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WEIGHTS: [f32; 6] = [-1.0, -0.3, 0.0, 0.2, 0.55, 1.4];

    fn method(arm: &str) -> Hqq {
        let Settings { bits, group, p, beta, kappa, iterations, compat } =
            Settings::resolve(&arm.parse().unwrap()).unwrap();
        Hqq { bits: bits as u32, group: group_of(group).unwrap(), p, beta, kappa, iterations, compat }
    }

    fn error(affine: Affine) -> f32 {
        WEIGHTS.iter().map(|&weight| (weight - affine.value(affine.code(weight))).abs()).sum::<f32>() / 6.0
    }

    #[test]
    fn six_weights_by_hand() {
        let start = Affine::of(&WEIGHTS, 15.0);
        assert_eq!((start.inverse, start.zero), (6.25, 6.25));
        assert_eq!(WEIGHTS.map(|weight| start.code(weight)), [0.0, 4.0, 6.0, 8.0, 10.0, 15.0]);
        assert!((error(start) - 0.038_333).abs() < 1e-6);
        // The next zero point is worse, so the search keeps the first; its first version keeps a later one.
        let (next, _) = method("hqq").step(&WEIGHTS, start, 10.0);
        assert!((next - 6.281_25).abs() < 1e-6, "{next}");
        assert!((error(Affine { zero: next, ..start }) - 0.04).abs() < 1e-6);
        assert_eq!(method("hqq").search(&WEIGHTS, 6), [start]);
        assert_ne!(method("hqq(compat=legacy)").search(&WEIGHTS, 6), [start]);
    }

    #[test]
    fn with_the_norm_of_one_shrinking_is_a_soft_threshold() {
        let hqq = method("hqq(p=1, beta=4)");
        let affine = Affine { inverse: 1.0, zero: 0.0, last: 3.0 };
        // 1.45 is rounded to 1 with an error of 0.45, which shrinks to 0.2: z = 1 − (1.45 − 0.2).
        let (zero, errors) = hqq.step(&[1.45], affine, 4.0);
        assert!((zero + 0.25).abs() < 1e-6 && (errors - 0.45).abs() < 1e-6, "{zero} {errors}");
    }

    #[test]
    fn constants_and_zeros_stay() {
        let site = Site { name: "w", layer: 0, rows: 1, cols: 64 };
        for constant in [0.0_f32, 0.25, -3.0] {
            let found = method("hqq").quantize(&site, &[constant; 64], None).unwrap();
            assert!(found.values.iter().all(|value| (value - constant).abs() < 1e-3), "{constant} {:?}", found.values[0]);
        }
    }
}
