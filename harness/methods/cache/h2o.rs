//! H2O (Zhang, Sheng, Zhou, Chen, Zheng, Cai, Song, Tian, Ré, Barrett, Wang and Chen, 2023): the keys that attention was on most,
//! and the newest.
//!
//! Every key adds up the probabilities it receives, `s_j = Σ_i p_ij` over all queries `i` so far, those of the prompt and of every
//! step behind it, in every block and head of keys. Behind the prompt and behind every step the `recent` newest keys stay and, of
//! those before them, the `heavy` with the highest sums. What is let go has left memory and never comes back. A prompt attends to all of
//! itself, a step to what stayed and to itself.
//!
//! Keys are those after rotation, at their places in the text.
//!
//! # Difference from the reference
//! The published code masks scores and keeps all keys; here they are gone. With fewer heads of keys than of queries the sums of the query
//! heads that share a key are added up, so that each head of keys keeps positions of its own; the published code has as many of
//! both. Of equal sums the earlier key stays. Both numbers may be given as counts.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::cache::{Budget, CacheFormat, Eviction};

use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Keys that stay for what they received, as a share of the prompt, rounded down.
        heavy: f64 = 0.1, Domain::closed(0.0, 1.0);
        /// Newest keys, as a share of the prompt, rounded down.
        recent: f64 = 0.1, Domain::closed(0.0, 1.0);
        /// Keys that stay for what they received, in place of a share.
        heavy_keys: Option<usize> = None, Domain::closed(0.0, 1_073_741_824.0);
        /// Newest keys, in place of a share.
        recent_keys: Option<usize> = None, Domain::closed(0.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "h2o",
        axis: Axis::Cache,
        about: "keeps the keys that received most attention so far, and the newest",
        source: "Zhang et al., 2023, H2O: heavy-hitter oracle for efficient generative inference of large language models, and its code",
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
    let Settings { heavy, recent, heavy_keys, recent_keys } = Settings::resolve(arm)?;
    let budget = |keys: Option<usize>, share| keys.map_or(Budget::Share(share), Budget::Keys);
    let (heavy, recent) = (budget(heavy_keys, heavy), budget(recent_keys, recent));
    let nothing = |budget| matches!(budget, Budget::Keys(0)) || budget == Budget::Share(0.0);
    if nothing(heavy) && nothing(recent) {
        let why = "no key would stay; `heavy`, `recent`, `heavy_keys` or `recent_keys` must be above 0".to_owned();
        return Err(ParameterError::Together(why));
    }
    Ok(Method::Cache(CacheFormat::Evicting(Eviction::HeavyHitters { heavy, recent })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::registry::cache;

    #[test]
    fn arms_become_budgets() {
        let format = |heavy, recent| CacheFormat::Evicting(Eviction::HeavyHitters { heavy, recent });
        for (arm, expected) in [
            ("h2o", format(Budget::Share(0.1), Budget::Share(0.1))),
            ("h2o(heavy=0, recent=0.5)", format(Budget::Share(0.0), Budget::Share(0.5))),
            ("h2o(heavy_keys=12)", format(Budget::Keys(12), Budget::Share(0.1))),
            ("h2o(heavy_keys=0, recent_keys=4)", format(Budget::Keys(0), Budget::Keys(4))),
        ] {
            assert_eq!(cache(&arm.parse().unwrap()).unwrap(), expected, "{arm}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let none = "no key would stay; `heavy`, `recent`, `heavy_keys` or `recent_keys` must be above 0";
        for (arm, said) in [
            ("h2o(heavy=0, recent=0)", none),
            ("h2o(heavy_keys=0, recent_keys=0)", none),
            ("h2o(heavy=0, recent_keys=0)", none),
            ("h2o(heavy=1.5)", "`heavy = 1.5` is outside its range [0, 1]"),
        ] {
            let error = cache(&arm.parse().unwrap()).err().unwrap().to_string();
            assert!(error.ends_with(said), "{error}");
        }
    }
}
