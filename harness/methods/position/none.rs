//! Positions as the checkpoint has them, its own scaling included.
//!
//! # Difference from the reference
//! None; there is nothing to differ in.

use harness_core::{Arm, Axis, MethodSpec, ParameterError};

use crate::position::{Kind, Position};
use crate::registry::Method;

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "none",
        axis: Axis::Position,
        about: "leaves positions as the checkpoint has them",
        source: "the identity",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Vec::new(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// None.
pub fn build(_: &Arm) -> Result<Method, ParameterError> {
    Ok(Method::Position(Box::new(Unchanged)))
}

#[derive(Debug)]
struct Unchanged;

impl Position for Unchanged {
    fn kind(&self) -> Kind {
        Kind::IDENTITY
    }
}
