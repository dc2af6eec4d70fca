//! SliceGPT: the residual stream is turned onto its main directions at every place, and the least of them are cut off.
//!
//! At each place (before attention and before the feed-forward part of every block, and at the end) the rows of Q are the eigenvectors of `H + λ mean(diag H) I`,
//! `H = Σ x xᵀ` over what stands in the stream there, of the largest eigenvalues. Places are turned one after the other, each on what the model computes whose earlier places are cut.
//! `model/slice.rs` says what becomes of the weights. What is cut off at a place is, without damping, the sum of the eigenvalues that are left out.
//!
//! Source: Ashkboos et al., SliceGPT: Compress Large Language Models by Deleting Rows and Columns, 2024, and its code.
//!
//! # Difference from the reference
//! Models whose normalisations subtract a mean are refused; the code folds the mean into other maps. What is left is not turned once more by a random matrix at the end, which changes no
//! result but rounding. All `ratio`s keep a multiple of `interval` numbers, but none cut keeps all. The matrices that the stream passes by parts add `2 k²` weights a block, so that fewer
//! parameters go than the ratio says.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::lowrank::linalg::eigen;
use crate::registry::Method;
use crate::shrink::{Samples, Shorter, Shrink, ShrinkError, Stack};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the stream's numbers that is cut off.
        ratio: f64 = 0.25, Domain::half_open(0.0, 1.0);
        /// What the numbers that stay are a multiple of.
        interval: usize = 8, Domain::closed(1.0, 4096.0);
        /// Share of the mean second moment that is added to every number's own.
        damp: f64 = 0.01, Domain::closed(0.0, 10.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "slicegpt",
        axis: Axis::Shrink,
        about: "turns the residual stream onto its main directions and cuts off the least of them",
        source: "Ashkboos et al.: SliceGPT: Compress Large Language Models by Deleting Rows and Columns, 2024, and its code",
        version: 1,
        calibrated: true,
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
    Ok(Method::Shrink(Box::new(SliceGpt(Settings::resolve(arm)?))))
}

#[derive(Debug)]
struct SliceGpt(Settings);

/// Numbers that stay of a stream of `whole`.
fn left(settings: &Settings, whole: usize, blocks: usize) -> Result<usize, ShrinkError> {
    let Settings { ratio, interval, .. } = *settings;
    if ratio == 0.0 {
        return Ok(whole);
    }
    let share = ((1.0 - ratio) * whole as f64).floor() as usize;
    match share - share % interval {
        0 => Err(ShrinkError::Fit {
            name: "interval",
            value: interval,
            allowed: format!("at most the {share} numbers of the stream that `ratio = {ratio}` leaves"),
            blocks,
        }),
        left => Ok(left),
    }
}

/// The eigenvectors `(left, size)` of the largest eigenvalues of a second moment `(size, size)`, and the share of its trace that they keep.
///
/// # Errors
/// [`ShrinkError::NotFinite`].
pub fn directions(moment: &[f64], size: usize, left: usize, damp: f64, place: usize) -> Result<(Vec<f32>, f64), ShrinkError> {
    let refused = || ShrinkError::NotFinite { what: "what stands in the residual stream", block: place / 2 };
    let trace: f64 = moment.iter().step_by(size + 1).sum();
    if !trace.is_finite() {
        return Err(refused());
    }
    let mut damped = moment.to_vec();
    damped.iter_mut().step_by(size + 1).for_each(|own| *own += damp * trace / size as f64);
    let (values, vectors) = eigen(&damped, size).ok_or_else(refused)?;
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.truncate(left);
    let kept: f64 = order.iter().map(|at| values[*at] - damp * trace / size as f64).sum();
    let rows = order.iter().flat_map(|at| vectors[*at..].iter().step_by(size).map(|value| *value as f32)).collect();
    Ok((rows, if trace > 0.0 { kept / trace } else { 1.0 }))
}

impl Shrink for SliceGpt {
    fn needs_text(&self) -> bool {
        true
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let (blocks, whole) = (model.blocks(), model.width());
        let left = left(&self.0, whole, blocks)?;
        let (mut stream, mut steps) = (Vec::new(), Vec::new());
        model.residuals(Samples::ALL, &mut |place, moment| {
            let (rows, kept) = directions(moment, whole, left, self.0.damp, place)?;
            steps.push(format!("{left} of {whole} keep {kept:.4} at place {place}"));
            stream.push(rows.clone());
            Ok(rows)
        })?;
        Ok(Shorter { stream, steps, ..Shorter::of_blocks(0..blocks) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_worked_example_of_four_directions() {
        const INPUTS: [[f64; 4]; 4] =
            [[1.0, 0.0, 2.0, 0.0], [0.0, 2.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 3.0, 0.5]];
        let moment: Vec<f64> = (0..16).map(|at| INPUTS.iter().map(|x| x[at / 4] * x[at % 4]).sum()).collect();
        let (mut values, _) = eigen(&moment, 4).unwrap();
        values.sort_by(|a, b| b.total_cmp(a));
        for (found, expected) in values.iter().zip([16.622_349, 3.245_801, 1.354_818, 0.277_032]) {
            assert!((found - expected).abs() < 1e-6, "{values:?}");
        }
        let (rows, kept) = directions(&moment, 4, 2, 0.0, 0).unwrap();
        assert!((kept - 0.9241).abs() < 5e-5);
        // What is cut off is the sum of the other eigenvalues.
        let off: f64 = INPUTS
            .iter()
            .map(|x| {
                let inside: f64 = rows
                    .chunks_exact(4)
                    .map(|row| row.iter().zip(x).map(|(q, x)| f64::from(*q) * x).sum::<f64>().powi(2))
                    .sum();
                x.iter().map(|x| x * x).sum::<f64>() - inside
            })
            .sum();
        assert!((off - 1.63185).abs() < 1e-5, "{off}");
        // Damping turns nothing.
        let (damped, same) = directions(&moment, 4, 2, 0.01, 0).unwrap();
        assert!((same - kept).abs() < 1e-9);
        assert!(rows.iter().zip(&damped).all(|(a, b)| (a.abs() - b.abs()).abs() < 1e-5));
        assert!(directions(&[f64::NAN; 16], 4, 2, 0.01, 5).is_err());
    }

    #[test]
    fn what_stays_is_a_multiple_or_all() {
        let of = |ratio: f64, interval, whole| left(&Settings { ratio, interval, damp: 0.01 }, whole, 3);
        assert_eq!(of(0.25, 8, 192).unwrap(), 144);
        assert_eq!(of(0.3, 8, 192).unwrap(), 128);
        assert_eq!(of(0.0, 8, 50).unwrap(), 50);
        assert!(of(0.9, 64, 192).unwrap_err().to_string().contains("at most the 19 numbers"));
    }
}
