//! SnapKV (Li, Huang, Yang, Venkitesh, Locatelli, Ye, Cai, Lewis and Chen, 2024): the keys of a prompt that its last queries look at.
//!
//! Once, behind a prompt of more positions than `capacity`: its last `window` queries add up the probabilities they give every key before the
//! window, `s_j = Σ_i p_ij` with one softmax over all keys up to each query; the sums are pooled over `kernel` neighbours with a stride of 1,
//! so that what stands beside a key that is looked at stays too; the `capacity − window` keys with the highest stay in every block and head of
//! keys, and the window behind them. All that is decoded later stays. Shorter prompts are kept whole.
//!
//! Keys are those after rotation, at their places in the text; what follows is placed from the prompt's own length on.
//!
//! # Difference from the reference
//! With fewer heads of keys than of queries the sums of the query heads that share a key are added up, and each head of keys
//! keeps positions of its own; the published code first repeats keys and values for every query head, which keeps as many times more. Of
//! equal sums the earlier key stays.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::cache::{CacheFormat, Eviction, Pool, Pooling};

use crate::registry::Method;

harness_core::choice! {
    /// What sums are taken from their neighbours by.
    pub enum Pooled {
        /// Their mean; zeros stand beyond the ends.
        Average = "avg",
        /// The largest of them.
        Maximum = "max",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Last positions of the prompt, which stay and whose queries choose.
        window: usize = 32, Domain::closed(1.0, 1_073_741_824.0);
        /// Keys of the prompt that stay, the window among them.
        capacity: usize = 2048, Domain::closed(2.0, 1_073_741_824.0);
        /// What sums are taken from their neighbours by.
        pooling: Pooled = Pooled::Average;
        /// Neighbours that are pooled, an odd number; 1 pools nothing.
        kernel: usize = 5, Domain::closed(1.0, 1_048_575.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "snapkv",
        axis: Axis::Cache,
        about: "keeps the keys of a prompt that its last queries look at, and what follows",
        source: "Li et al., 2024, SnapKV: LLM knows what you are looking for before generation, and its code",
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
    let Settings { window, capacity, pooling, kernel } = Settings::resolve(arm)?;
    if capacity <= window {
        let why = format!("`capacity = {capacity}` must be above `window = {window}`, which is part of it");
        return Err(ParameterError::Together(why));
    }
    if kernel.is_multiple_of(2) {
        let why = format!("`kernel = {kernel}` must be odd, so that it has a middle; {} is", kernel + 1);
        return Err(ParameterError::Together(why));
    }
    let pooling = match pooling {
        Pooled::Average => Pooling::Average,
        Pooled::Maximum => Pooling::Maximum,
    };
    Ok(Method::Cache(CacheFormat::Evicting(Eviction::Snapshot { window, capacity, pool: Pool { pooling, kernel } })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::registry::cache;

    #[test]
    fn arms_become_rules() {
        let format = |window, capacity, pooling, kernel| {
            CacheFormat::Evicting(Eviction::Snapshot { window, capacity, pool: Pool { pooling, kernel } })
        };
        for (arm, expected) in [
            ("snapkv", format(32, 2048, Pooling::Average, 5)),
            ("snapkv(window=8, capacity=64, pooling=max, kernel=7)", format(8, 64, Pooling::Maximum, 7)),
            ("snapkv(window=1, capacity=2, kernel=1)", format(1, 2, Pooling::Average, 1)),
        ] {
            assert_eq!(cache(&arm.parse().unwrap()).unwrap(), expected, "{arm}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (arm, said) in [
            ("snapkv(capacity=32)", "`capacity = 32` must be above `window = 32`, which is part of it"),
            ("snapkv(kernel=4)", "`kernel = 4` must be odd, so that it has a middle; 5 is"),
            ("snapkv(kernel=0)", "`kernel = 0` is outside its range [1, 1048575]"),
        ] {
            let error = cache(&arm.parse().unwrap()).err().unwrap().to_string();
            assert!(error.ends_with(said), "{error}");
        }
    }
}
