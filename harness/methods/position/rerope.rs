//! ReRoPE (Su, 2023): distances from `w` on are all `w`; in its leaky form they grow by `1/k` a position, `w + (Δ − w)/k`.
//!
//! # Difference from the reference
//! None in the distances. The factor of queries by the logarithm of their position, which the published code always applies, is the parameter
//! `log_n`.

use std::ops::Range;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::reach::{Look, Reach};

use crate::position::window::{beyond, near, within};
use crate::position::{CachePolicy, Change, Kind, Position, PositionError};
use crate::registry::{Method, log_n};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Distances that stay, `w`; a quarter of the trained length where it is not set.
        window: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
        /// Positions a distance beyond grows by one in, `k`; distances do not grow where it is not set.
        leak: Option<f64> = None, Domain::closed(1.0, 1_073_741_824.0);
        /// Also sharpens attention by the logarithm of the position.
        log_n: bool = false;
        /// Positions from which on it is sharpened; the checkpoint's trained length where it is not set.
        trained: Option<usize> = None, Domain::closed(2.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "rerope",
        axis: Axis::Position,
        about: "holds distances beyond a window at the window, or lets them grow slowly",
        source: "Su, 2023, Rectified rotary position embeddings, and its code",
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

#[derive(Debug)]
struct Rectified {
    window: usize,
    leak: Option<f64>,
    /// The trained length, where queries are sharpened.
    sharpened: Option<f64>,
}

impl Reach for Rectified {
    fn is_whole(&self, length: usize) -> bool {
        length <= self.window || self.leak == Some(1.0)
    }

    fn looks(&self, queries: Range<usize>) -> Vec<Look> {
        let window = self.window;
        let newest = near(queries.clone(), window, beyond(queries.start, window));
        let seen = |i| 0..beyond(i, window);
        let distant = match self.leak {
            None => Look::new(queries, seen, |_| window as f32, |_| 0.0),
            Some(leak) => {
                let scaled = |position: usize| position as f64 / leak;
                let shift = window as f64 * (1.0 - 1.0 / leak);
                Look::new(queries, seen, |i| (scaled(i) + shift) as f32, |j| scaled(j) as f32)
            }
        };
        vec![newest, distant]
    }

    fn query_factor(&self, position: usize) -> f32 {
        self.sharpened.map_or(1.0, |trained| log_n::factor(position, trained))
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::remap(if self.log_n { &[Change::Distances, Change::Temperature] } else { &[Change::Distances] })
    }

    fn reach(&self, trained: usize) -> Result<Option<Box<dyn Reach>>, PositionError> {
        let window = self.window.unwrap_or((trained / 4).max(1));
        within("window", window, 1..trained, "it is below the trained length")?;
        let sharpened = self.log_n.then_some(self.trained.unwrap_or(trained) as f64);
        Ok(Some(Box::new(Rectified { window, leak: self.leak, sharpened })))
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
