//! KIVI (Liu, Yuan, Jin, Zhong, Xu, Braverman, Chen and Hu, 2024): keys by channel, values by token, the newest in full.
//!
//! Some channels of keys are large at every token, so keys share a scale and a minimum a channel over groups of `group`
//! tokens; values have no such channels and share them a token over groups of `group` channels. With `last = 2^bits − 1`,
//! `scale = (max − min) / last`, `code = rne(clamp((x − min) / scale, 0, last))` and `x̂ = code · scale + min`. Scales and
//! minima are in half precision, so a number takes `bits + 32 / group` bits.
//!
//! Keys are those after rotation. A prompt attends to its keys and values as they were computed; of its `T` tokens the first
//! `⌊T / window⌋ · window` keys and the first `T − window` values become codes behind it. Later the newest keys become codes
//! all at once when there are `window` of them, the oldest of the newest values whenever there are more, both after the step
//! that brought the last has attended.
//!
//! # Difference from the reference
//! Codes are those of the scale and the minimum as they are stored. A group that is constant has scale 0 and codes 0; the
//! published code divides by zero there. What is not yet a code is kept in f32, as this program computes, where the
//! reference has half precision. Tokens that come several at a time behind a prompt see the codes; the reference has no such
//! step.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::cache::{CacheFormat, CodeBits, Grid};

use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Bits of a code: 2, 4 or 8.
        bits: usize = 2, Domain::closed(2.0, 8.0);
        /// Tokens of keys, and channels of values, that share a scale; divides the dimensions of a head.
        group: usize = 32, Domain::closed(1.0, 1024.0);
        /// Tokens at most that are kept in f32; a multiple of the group.
        window: usize = 128, Domain::closed(1.0, 1_048_576.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "kivi",
        axis: Axis::Cache,
        about: "keeps keys by channel and values by token in two, four or eight bits, the newest in f32",
        source: "Liu et al., 2024, KIVI: a tuning-free asymmetric 2bit quantization for KV cache, and its code",
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
    let Settings { bits, group, window } = Settings::resolve(arm)?;
    let Some(width) = CodeBits::of(bits) else {
        return Err(ParameterError::Together(format!("`bits = {bits}` is none of 2, 4, 8")));
    };
    let grid = Grid { bits: width, group };
    if !grid.fills_bytes() {
        let whole = 8 / bits;
        let why = format!("`group = {group}` codes of {bits} bits fill no whole bytes; a multiple of {whole} does");
        return Err(ParameterError::Together(why));
    }
    if !window.is_multiple_of(group) {
        let above = window.next_multiple_of(group);
        let why = format!("`window = {window}` is no multiple of `group = {group}`; {above} is");
        return Err(ParameterError::Together(why));
    }
    Ok(Method::Cache(CacheFormat::Quantized { grid, window }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::registry::cache;

    #[test]
    fn arms_become_formats() {
        let format = |bits, group, window| CacheFormat::Quantized { grid: Grid { bits, group }, window };
        for (arm, expected) in [
            ("none", CacheFormat::Full),
            ("kivi", format(CodeBits::Two, 32, 128)),
            ("kivi(bits=4, group=16, window=48)", format(CodeBits::Four, 16, 48)),
            ("kivi(bits=8, group=1, window=1)", format(CodeBits::Eight, 1, 1)),
        ] {
            assert_eq!(cache(&arm.parse().unwrap()).unwrap(), expected, "{arm}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (arm, said) in [
            ("kivi(bits=3)", "`bits = 3` is none of 2, 4, 8"),
            ("kivi(bits=1)", "`bits = 1` is outside its range [2, 8]"),
            ("kivi(group=0)", "`group = 0` is outside its range [1, 1024]"),
            ("kivi(group=6, window=12)", "`group = 6` codes of 2 bits fill no whole bytes; a multiple of 4 does"),
            ("kivi(window=100)", "`window = 100` is no multiple of `group = 32`; 128 is"),
            ("kivi(window=16)", "`window = 16` is no multiple of `group = 32`; 32 is"),
            ("kivi(window=0)", "`window = 0` is outside its range [1, 1048576]"),
        ] {
            let error = cache(&arm.parse().unwrap()).err().unwrap().to_string();
            assert!(error.ends_with(said), "{error}");
        }
    }
}
