//! Keys and values as they are computed, in f32.
//!
//! # Difference from the reference
//! None; there is nothing to differ in.

use harness_core::{Arm, Axis, MethodSpec, ParameterError};
use harness_kernels::cache::CacheFormat;

use crate::registry::Method;

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "none",
        axis: Axis::Cache,
        about: "keeps keys and values as they are computed, in f32",
        source: "the identity",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Vec::new(),
        check: |_| Ok(()),
    }
}

/// Makes it.
///
/// # Errors
/// None.
pub fn build(_: &Arm) -> Result<Method, ParameterError> {
    Ok(Method::Cache(CacheFormat::Full))
}
