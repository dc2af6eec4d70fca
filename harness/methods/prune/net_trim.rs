//! Net-Trim: of all matrices whose outputs are near those of the dense one, that with the smallest sum of magnitudes.
//!
//! `min Σ |U_ij|` subject to `‖(U − W) X‖_F ≤ ε`, `ε = gain · ‖W X‖_F`, a convex program solved by alternating directions: outputs are put into the ball,
//! weights are shrunk by `1/ρ`, and both are fitted by least squares. How many weights become zero follows from `gain`. Zeros are exact.
//!
//! Alireza Aghasi, Afshin Abdi, Justin Romberg: Fast Convex Pruning of Deep Neural Networks, SIAM Journal on Mathematics of Data Science 2020.
//!
//! # Difference from the reference
//! The publication trims layers of rectified units, where what is below zero may stay anywhere below it; the maps of a decoder have no such units,
//! so this is its form for layers without. There the second moment of the inputs says all about them, so all calibration tokens take part and iterations cost
//! nothing for each. `calibration = dense-once` is its parallel scheme; in `sequential` inputs are those of the pruned blocks before, as in its cascade, but the outputs to be
//! kept are what the dense matrix makes of them, so the ball is never empty. Biases are not touched. Iterations that end outside the ball are an error.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::prune::admm::{BallSettings, Basis, least_in_ball};
use crate::prune::factor::FactorError;
use crate::prune::{Needs, PruneError, Pruner, Site, check_statistics, check_weight};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Radius of the ball as a share of the norm of the outputs.
        gain: f64 = 0.1, Domain::open(0.0, 1.0);
        /// Penalty of the splitting: weights are shrunk by its inverse in each iteration.
        rho: f64 = 100.0, Domain::open(0.0, 1e6);
        /// The most iterations.
        iterations: usize = 10_000, Domain::closed(1.0, 1e6);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "net-trim",
        axis: Axis::Prune,
        about: "finds the matrix of least summed magnitudes whose outputs are near those of the dense one",
        source: "Aghasi, Abdi, Romberg: Fast Convex Pruning of Deep Neural Networks, SIMODS 2020",
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
    let Settings { gain, rho, iterations } = Settings::resolve(arm)?;
    Ok(Method::Pruner(Box::new(NetTrim { settings: BallSettings { gain, rho, iterations } })))
}

struct NetTrim {
    settings: BallSettings,
}

impl Pruner for NetTrim {
    fn needs(&self) -> Needs {
        Needs::SECOND_MOMENT
    }

    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        statistics: Option<&LinearStatistics>,
        _: Option<usize>,
        _: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        check_weight(site, weight)?;
        let name = || site.name.to_owned();
        let statistics = check_statistics(site, statistics)?;
        let missing = || PruneError::Factor { site: name(), source: FactorError::NoHessian };
        let moment = statistics.second_moment().ok_or_else(missing)?;
        let basis = Basis::of(moment, site.cols).ok_or_else(|| PruneError::Decomposition { site: name() })?;
        let largest = moment.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        if largest == 0.0 {
            // Every output is zero whatever the weights, and none is the smallest sum.
            weight.fill(0.0);
            return Ok(());
        }
        let wide: Vec<f64> = weight.iter().map(|&value| f64::from(value)).collect();
        let found = least_in_ball(&wide, &basis, largest, self.settings);
        if !found.finished {
            let (iterations, reached) = (found.iterations, found.reached);
            return Err(PruneError::Unfinished { site: name(), iterations, reached });
        }
        weight.iter_mut().zip(found.weight).for_each(|(value, wide)| *value = wide as f32);
        Ok(())
    }
}
