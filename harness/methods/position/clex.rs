//! CLEX (Chen, Li, Meng, Liang and Bing, 2024): the logarithms of rotary frequencies flow with the length by an ordinary differential equation whose
//! speed a small net has learned.
//!
//! At time `t = ⌈n / L⌉` (at most the largest factor) the frequencies are `e^z(t)`, `z(1) = ln θ` and
//! `dz/dt = W_down · σ(W_up · (z + ln θ_NTK(t))) + d ln θ_NTK/dt`, where `θ_NTK(t)` are those of NTK-aware scaling by `2t − 1`. It is
//! solved by Runge-Kutta's method of order four. Positions stay what they are. Optionally queries are multiplied by `ln n / ln L`.
//!
//! # Difference from the reference
//! The net is what the checkpoint carries; one that carries none has a net of zeros, which is NTK-aware scaling by `2t − 1`. The factor
//! of queries is at least 1, where the published code goes below for texts shorter than `L`. Steps divide the time evenly and are no longer
//! than the step that is set.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::flow::{Bend, Flow};

use crate::position::{CachePolicy, Kind, Position, PositionError, Rotary, Scaled, Training, two_pairs};
use crate::registry::Method;

harness_core::choice! {
    /// What stands between the two maps of the net.
    pub enum Activation {
        /// `x · sigmoid(x)`.
        Silu = "silu",
        /// The hyperbolic tangent.
        Tanh = "tanh",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Largest time, in lengths of training.
        max_factor: usize = 4, Domain::closed(1.0, 1_048_576.0);
        /// Width of the net in rotated dimensions, where one is trained.
        param_factor: usize = 1, Domain::closed(1.0, 64.0);
        /// What stands between the maps of the net.
        activation: Activation = Activation::Silu;
        /// Longest step of the solver.
        step: f64 = 0.1, Domain::above(0.0, 1.0);
        /// Multiplies queries by `ln n / ln L`, at least 1.
        log_scale: bool = false;
        /// Positions the model was trained at, `L`; the checkpoint's own where it is not set.
        trained: Option<usize> = None, Domain::closed(2.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "clex",
        axis: Axis::Position,
        about: "lets rotary frequencies flow with the length by a differential equation that a small net has learned",
        source: "Chen et al., 2024, CLEX: continuous length extrapolation for large language models, and its code",
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
    Ok(Method::Position(Box::new(Settings::resolve(arm)?)))
}

impl Settings {
    fn time(&self, rotary: &Rotary, length: usize) -> usize {
        length.div_ceil(self.trained.unwrap_or(rotary.trained)).clamp(1, self.max_factor)
    }

    fn equation(&self, rotary: &Rotary) -> Flow {
        let bend = match self.activation {
            Activation::Silu => Bend::Silu,
            Activation::Tanh => Bend::Tanh,
        };
        Flow { base: rotary.base, pairs: rotary.frequencies.len(), bend, step: self.step }
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        if self.log_scale { Kind { training: Training::Needed, ..Kind::TEMPERED } } else { Kind::interpolation(Training::Needed) }
    }

    fn check(&self, rotary: &Rotary) -> Result<(), PositionError> {
        two_pairs(rotary)?;
        let pairs = rotary.frequencies.len();
        let fits = |numbers: &[f32]| !numbers.is_empty() && numbers.len().is_multiple_of(pairs);
        match &rotary.net {
            Some(net) if !fits(&net.up) || net.down.len() != net.up.len() => {
                Err(PositionError::Net { up: net.up.len(), down: net.down.len(), pairs })
            }
            _ => Ok(()),
        }
    }

    fn scaled(&self, rotary: &Rotary, length: usize) -> Scaled {
        let time = self.time(rotary, length) as f64;
        let trained = self.trained.unwrap_or(rotary.trained) as f64;
        let sharper = if self.log_scale { (length.max(1) as f64).ln() / trained.ln() } else { 1.0 };
        Scaled {
            frequencies: self.equation(rotary).frequencies(rotary.net.as_deref(), &rotary.frequencies, time),
            // Of queries and of keys, so that scores have all of it.
            attention_factor: sharper.max(1.0).sqrt(),
        }
    }

    fn regime(&self, rotary: &Rotary, length: usize) -> usize {
        // With the factor every length beyond the training has tables of its own.
        if self.log_scale { length.max(self.trained.unwrap_or(rotary.trained)) } else { self.time(rotary, length) }
    }

    fn flow(&self, rotary: &Rotary) -> Option<(Flow, usize)> {
        Some((self.equation(rotary), self.param_factor * rotary.dimensions()))
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
