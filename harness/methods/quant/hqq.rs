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
use rayon::prelude::*;

use crate::quant::packing::Packing;
use crate::quant::half_quadratic::{Affine, Search};
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
    let keep_best = compat == Compat::Best;
    let search = Search { bits: bits as u32, p, beta, kappa, iterations, keep_best };
    Ok(Method::Quantizer(Box::new(Hqq { search, group })))
}

struct Hqq {
    search: Search,
    group: Option<usize>,
}

impl Quantizer for Hqq {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        let group = self.group.unwrap_or(site.cols);
        check_groups(site, weight, group)?;
        let affines: Vec<Affine> = self.search.search(weight, group).into_iter().map(Affine::stored).collect();
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
                codes: u64::from(self.search.bits) * weight.len() as u64,
                scales: 16 * groups,
                zeros: 16 * groups,
                ..Bits::default()
            },
            fallback: None,
            packing: Some(Packing::even(self.search.bits, group)),
            operators: None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::registry::quantizer;

    #[test]
    fn constants_and_zeros_stay() {
        let site = Site { name: "w", layer: 0, rows: 1, cols: 64 };
        for constant in [0.0_f32, 0.25, -3.0] {
            let found = quantizer(&Arm::new("hqq")).unwrap().quantize(&site, &[constant; 64], None).unwrap();
            assert!(found.values.iter().all(|value| (value - constant).abs() < 1e-3), "{constant} {:?}", found.values[0]);
        }
    }
}
