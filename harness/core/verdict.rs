//! What a comparison comes to, in one word.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metric::{Direction, Noise};
use crate::statistics::Effect;

/// The outcome of comparing a record with its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better by more than the margin.
    Better,
    /// Worse by more than the margin.
    Worse,
    /// Within the margin.
    Same,
    /// The interval reaches over the edge of the margin, or the metric has no good side.
    CannotTell,
    /// Only the new side has it.
    New,
    /// Only the reference has it.
    Gone,
    /// The cell failed.
    Failed,
}

impl Verdict {
    /// The verdict in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::CannotTell => "cannot tell",
            Self::New => "new",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words())
    }
}

/// The largest difference that does not matter: the larger of an absolute one and a share of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Margin {
    /// In the metric's unit.
    pub absolute: f64,
    /// As a share of the reference value.
    pub relative: f64,
}

impl Margin {
    /// A share of the reference.
    pub fn relative(relative: f64) -> Self {
        Self { absolute: 0.0, relative }
    }

    /// Half-width around zero of the differences that do not matter.
    pub fn around(&self, reference: f64) -> f64 {
        self.absolute.max(self.relative * reference.abs())
    }
}

/// Decides from the effect of `b` against the reference `a`.
///
/// With noise the whole interval has to lie beyond the margin (better, worse) or within it (same). Without noise the
/// difference itself decides. A difference in a metric without a good side cannot be told better or worse.
pub fn decide(direction: Direction, noise: Noise, effect: &Effect, margin: Margin) -> Verdict {
    let zone = margin.around(effect.a);
    let (low, high) = match (noise, effect.interval) {
        (_, Some(interval)) => (interval.low, interval.high),
        (Noise::Exact, None) => (effect.difference, effect.difference),
        // A noisy metric without an interval: nothing is known of its noise.
        (Noise::Sampled | Noise::Timed, None) => return Verdict::CannotTell,
    };
    if !low.is_finite() || !high.is_finite() {
        return Verdict::CannotTell;
    }
    if -zone <= low && high <= zone {
        return Verdict::Same;
    }
    let (up, down) = (low > zone, high < -zone);
    match direction {
        Direction::Higher if up => Verdict::Better,
        Direction::Higher if down => Verdict::Worse,
        Direction::Lower if up => Verdict::Worse,
        Direction::Lower if down => Verdict::Better,
        _ => Verdict::CannotTell,
    }
}

/// What is left of a verdict after a correction for the number of tests: better and worse stand only where the corrected
/// p-value is at most `alpha`. Where there was no test (exact metrics), the verdict stands.
#[must_use]
pub fn corrected(verdict: Verdict, adjusted: Option<f64>, alpha: f64) -> Verdict {
    match (verdict, adjusted) {
        (Verdict::Better | Verdict::Worse, Some(adjusted)) if adjusted.is_nan() || adjusted > alpha => {
            Verdict::CannotTell
        }
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Interval;

    fn effect(difference: f64, interval: Option<(f64, f64)>) -> Effect {
        Effect {
            a: 10.0,
            b: 10.0 + difference,
            difference,
            interval: interval.map(|(low, high)| Interval { low, high, level: 0.95 }),
            relative: Some(difference / 10.0),
            relative_interval: None,
            probability: None,
            evidence: None,
            test: String::new(),
            note: None,
        }
    }

    #[test]
    fn the_whole_interval_decides() {
        let margin = Margin::relative(0.02);
        for (interval, verdict) in [
            ((0.3, 0.5), Verdict::Worse),
            ((-0.5, -0.3), Verdict::Better),
            ((-0.1, 0.2), Verdict::Same),
            ((0.1, 0.3), Verdict::CannotTell),
            ((-0.3, 0.3), Verdict::CannotTell),
            ((f64::NAN, 0.3), Verdict::CannotTell),
        ] {
            let middle = f64::midpoint(interval.0, interval.1);
            let effect = effect(middle, Some(interval));
            assert_eq!(decide(Direction::Lower, Noise::Sampled, &effect, margin), verdict, "{interval:?}");
        }
    }

    #[test]
    fn the_direction_turns_the_verdict() {
        let up = effect(1.0, Some((0.5, 1.5)));
        assert_eq!(decide(Direction::Higher, Noise::Timed, &up, Margin::default()), Verdict::Better);
        assert_eq!(decide(Direction::Lower, Noise::Timed, &up, Margin::default()), Verdict::Worse);
        assert_eq!(decide(Direction::Neutral, Noise::Timed, &up, Margin::default()), Verdict::CannotTell);
    }

    #[test]
    fn exact_metrics_need_no_interval_and_noisy_ones_do() {
        let (none, some) = (effect(0.0, None), effect(0.01, None));
        assert_eq!(decide(Direction::Lower, Noise::Exact, &none, Margin::default()), Verdict::Same);
        assert_eq!(decide(Direction::Lower, Noise::Exact, &some, Margin::default()), Verdict::Worse);
        assert_eq!(decide(Direction::Lower, Noise::Exact, &some, Margin::relative(0.01)), Verdict::Same);
        assert_eq!(decide(Direction::Lower, Noise::Timed, &none, Margin::default()), Verdict::CannotTell);
    }

    #[test]
    fn a_correction_takes_back_what_it_does_not_bear_out() {
        assert_eq!(corrected(Verdict::Worse, Some(0.04), 0.05), Verdict::Worse);
        assert_eq!(corrected(Verdict::Worse, Some(0.06), 0.05), Verdict::CannotTell);
        assert_eq!(corrected(Verdict::Better, Some(f64::NAN), 0.05), Verdict::CannotTell);
        assert_eq!(corrected(Verdict::Better, None, 0.05), Verdict::Better);
        assert_eq!(corrected(Verdict::Same, Some(0.9), 0.05), Verdict::Same);
    }

    #[test]
    fn the_words_are_those_of_the_house() {
        assert_eq!(Verdict::CannotTell.to_string(), "cannot tell");
        assert_eq!(format!("{:>8}", Verdict::Worse), "   worse");
    }
}
