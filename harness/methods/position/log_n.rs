//! Scores sharpened with the position: the query at `i` is multiplied by `max(1, ln(i + 1) / ln L)`, so that attention to more keys
//! than in training stays as concentrated (Su, 2021).
//!
//! # Difference from the reference
//! None. Queries below `L` are left as they are, to the bit.

use std::ops::Range;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::reach::{Look, Reach};

use crate::position::window::within;
use crate::position::{Change, Class, Kind, Position, PositionError, Scheme, Training};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Positions the model was trained at, `L`; the checkpoint's own where it is not set.
        trained: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "log-n",
        axis: Axis::Position,
        about: "sharpens attention by the logarithm of the position",
        source: "Su, 2021, on the scale operation of attention from the invariance of entropy; the code of ReRoPE",
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

/// The rule at a trained length.
#[derive(Debug)]
struct Sharpened {
    trained: f64,
}

/// `max(1, ln(i + 1) / ln L)`.
pub(crate) fn factor(position: usize, trained: f64) -> f32 {
    ((position as f64 + 1.0).ln() / trained.ln()).max(1.0) as f32
}

impl Reach for Sharpened {
    fn is_whole(&self, _: usize) -> bool {
        true
    }

    fn looks(&self, queries: Range<usize>) -> Vec<Look> {
        vec![Look::new(queries, |i| 0..i + 1, |i| i as f32, |j| j as f32)]
    }

    fn query_factor(&self, position: usize) -> f32 {
        factor(position, self.trained)
    }

    fn moves(&self) -> bool {
        false
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind { class: Class::Temperature, changes: &[Change::Temperature], training: Training::Helps }
    }

    fn supports(&self, _: Scheme) -> bool {
        true
    }

    fn reach(&self, trained: usize) -> Result<Option<Box<dyn Reach>>, PositionError> {
        let trained = self.trained.unwrap_or(trained);
        within("trained", trained, 2..usize::MAX, "its logarithm is divided by")?;
        Ok(Some(Box::new(Sharpened { trained: trained as f64 })))
    }
}
