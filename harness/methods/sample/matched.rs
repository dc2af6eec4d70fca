//! A chain set so that it leaves a given diversity: what makes samplers comparable.
//!
//! The chain named by `like` lacks one parameter, the first of its last stage; it is set so that the mean entropy of what the chain
//! leaves of calibration text is `diversity`. Samplers at equal entropy differ in what they keep, not in how much.
//!
//! # Difference from the reference
//! A protocol without a publication; matching on the share of rejected human tokens is Finlayson et al.'s (ICLR 2024).

use harness_core::{Arm, Axis, Domain, Kind, MethodSpec, ParameterError, Parameters, Value};

use crate::registry::{self, Method};
use crate::sample::Chain;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The chain; the first parameter of its last stage is found.
        like: String = "min-p".to_owned();
        /// Mean entropy of what is left of the calibration text, in nats.
        diversity: f64 = 2.0, Domain::above(0.0, 1e3);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "matched",
        axis: Axis::Sampler,
        about: "another chain, set so that it leaves a given entropy of calibration text",
        source: "protocol",
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
/// A parameter that does not fit, or a chain that cannot be built or has nothing to set.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { like, diversity } = Settings::resolve(arm)?;
    let refuse = |why: String| ParameterError::Together(format!("`like`: {why}"));
    let stages = Arm::parse_chain(&like).map_err(|error| refuse(error.to_string()))?;
    if stages.iter().any(|stage| stage.id == arm.id) {
        return Err(refuse("a matched chain cannot be matched again; name the chain itself".to_owned()));
    }
    Chain::build(&stages, 0, "").map_err(|error| refuse(error.to_string()))?;
    let last = stages.last().map_or("", |stage| stage.id.as_str());
    let known = registry::methods().into_iter().find(|spec| spec.axis == Axis::Sampler && spec.id == last);
    let parameter = known.and_then(|spec| spec.parameters.into_iter().next());
    match parameter {
        Some(parameter) if matches!(parameter.kind, Kind::Float | Kind::Int) => Ok(Method::Matched(Matched {
            stages,
            name: parameter.name,
            domain: parameter.domain,
            whole: parameter.kind == Kind::Int,
            diversity,
        })),
        _ => Err(refuse(format!("`{last}` has no number as its first parameter, so there is nothing to set"))),
    }
}

/// A chain whose strength is to be found.
#[derive(Debug, Clone)]
pub struct Matched {
    stages: Vec<Arm>,
    name: &'static str,
    domain: Domain,
    whole: bool,
    /// The mean entropy wanted, in nats.
    pub diversity: f64,
}

/// Halvings of the range of a parameter.
const HALVINGS: usize = 40;

impl Matched {
    /// The chain at a place of the parameter's range, from 0 to 1: even in its logarithm, and towards 1 in that of the distance from 1
    /// where the range ends there.
    fn at(&self, place: f64) -> Vec<Arm> {
        let share = self.domain.high <= 1.0;
        let value = if share {
            let odds = (30.0 * (place - 0.5)).exp();
            odds / (1.0 + odds)
        } else {
            let low: f64 = if self.whole { 1.0 } else { 1e-3 };
            low * (1e6 / low).powf(place)
        };
        let value = if self.whole { Value::Int(value.round() as i64) } else { Value::Float(value) };
        let mut stages = self.stages.clone();
        if let Some(last) = stages.last_mut() {
            last.parameters.retain(|(name, _)| name != self.name);
            last.parameters.insert(0, (self.name.to_owned(), value));
        }
        stages
    }

    /// The chain that comes nearest to the wanted diversity, given what `entropy` says of any chain.
    ///
    /// # Errors
    /// What `entropy` fails with, or that the chain cannot reach the diversity.
    pub fn find(&self, mut entropy: impl FnMut(&[Arm]) -> Result<f64, String>) -> Result<Vec<Arm>, String> {
        let (mut low, mut high) = (0.0, 1.0);
        let (first, last) = (entropy(&self.at(low))?, entropy(&self.at(high))?);
        let rising = last > first;
        let wanted = self.diversity;
        if wanted > first.max(last) || wanted < first.min(last) {
            return Err(format!(
                "no `{}` of `{}` leaves {wanted} nats of the calibration text: it leaves {:.3} to {:.3}",
                self.name,
                self.stages.last().map_or("", |stage| &stage.id),
                first.min(last),
                first.max(last),
            ));
        }
        let (mut best, mut off) = (self.at(high), (last - wanted).abs());
        if (first - wanted).abs() < off {
            (best, off) = (self.at(low), (first - wanted).abs());
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            let found = entropy(&self.at(middle))?;
            if (found - wanted).abs() < off {
                (best, off) = (self.at(middle), (found - wanted).abs());
            }
            if off < 1e-4 {
                break;
            }
            if (found < wanted) == rising { low = middle } else { high = middle }
            // Whole numbers next to each other: nothing lies between.
            if self.at(low) == self.at(high) {
                break;
            }
        }
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sample::Past;

    fn matched(text: &str) -> Result<Matched, ParameterError> {
        match build(&text.parse().unwrap())? {
            Method::Matched(matched) => Ok(matched),
            _ => unreachable!("it makes a matched chain"),
        }
    }

    #[test]
    fn the_strength_is_found_whatever_its_range_and_direction() {
        let row: Vec<f32> = (0..500).map(|at| -0.2 * at as f32).collect();
        let entropy = |arms: &[Arm]| {
            let mut chain = Chain::build(arms, 1, "test").map_err(|error| error.to_string())?;
            Ok(chain.apply(&row, Past::default()).map_err(|error| error.to_string())?.entropy())
        };
        for like in ["min-p", "top-p", "top-k", "epsilon", "eta", "typical", "top-n-sigma", "tail-free", "top-a", "top-h"] {
            let found = matched(&format!("matched(like={like}, diversity=2.2)")).unwrap().find(entropy).unwrap();
            let near = entropy(&found).unwrap();
            assert!((near - 2.2).abs() < 0.06, "{like}: {near}");
        }
        let found = matched("matched(like=temperature, diversity=2.2)").unwrap().find(entropy).unwrap();
        assert!((entropy(&found).unwrap() - 2.2).abs() < 1e-3);
        let error = matched("matched(like=min-p, diversity=30)").unwrap().find(entropy).unwrap_err();
        assert!(error.contains("leaves 30 nats"), "{error}");
    }

    #[test]
    fn chains_without_a_strength_are_refused() {
        for (text, reason) in [
            ("matched(like=greedy)", "nothing to set"),
            ("matched(like=matched)", "cannot be matched again"),
            ("matched(like=min-q)", "min-p"),
        ] {
            let error = matched(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
