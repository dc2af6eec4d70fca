//! Ranges of axes and where their ticks stand.

use crate::number::{fixed, power_of_ten};

/// Numbers further out than this stand at the edge, and those nearer to zero than its inverse at zero, so that the
/// arithmetic of ranges stays finite and none is empty: a logarithmic one and the room around it span under 300 decades.
const FURTHEST: f64 = 1e100;

fn within_reach(value: f64) -> f64 {
    if value.abs() < 1.0 / FURTHEST { 0.0 } else { value.clamp(-FURTHEST, FURTHEST) }
}

/// A stretch of numbers laid on a stretch of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub low: f64,
    pub high: f64,
    pub log: bool,
}

impl Range {
    /// The range that holds all values with some room. Logarithmic only when asked for and possible.
    pub fn around(values: impl Iterator<Item = f64> + Clone, log: bool, room: f64) -> Self {
        let finite = values.filter(|value| value.is_finite()).map(within_reach);
        let low = finite.clone().fold(f64::INFINITY, f64::min);
        let high = finite.fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Self { low: 0.0, high: 1.0, log: false };
        }
        let log = log && low > 0.0;
        let (mut a, mut b) = if log { (low.log10(), high.log10()) } else { (low, high) };
        if a == b {
            let half = if log {
                0.1
            } else if a == 0.0 {
                0.5
            } else {
                0.1 * a.abs()
            };
            (a, b) = (a - half, b + half);
        }
        let pad = room * (b - a);
        (a, b) = (a - pad, b + pad);
        // Room below does not reach under zero when nothing lies there.
        if !log && low >= 0.0 && a < 0.0 {
            a = 0.0;
        }
        if log { Self { low: 10.0_f64.powf(a), high: 10.0_f64.powf(b), log } } else { Self { low: a, high: b, log } }
    }

    /// The range with more room at its low end, a share of its length.
    #[must_use]
    pub fn lowered(self, share: f64) -> Self {
        let low = if self.log {
            self.low * (self.low / self.high).powf(share)
        } else {
            self.low - share * (self.high - self.low)
        };
        Self { low, ..self }
    }

    /// Where a value lies, 0 at the low end and 1 at the high end.
    pub fn share(&self, value: f64) -> f64 {
        let value = within_reach(value);
        if self.log {
            (value.max(1.0 / FURTHEST) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    fn holds(&self, value: f64) -> bool {
        let slack = 1e-9;
        (-slack..=1.0 + slack).contains(&self.share(value))
    }

    /// About `count` round numbers in the range, with their texts.
    pub fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        if self.log {
            let decades = (self.high / self.low).log10();
            if decades >= 0.9 {
                return self.log_ticks(decades, count);
            }
        }
        let (step, decimals) = step((self.high - self.low) / count.max(1) as f64);
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step + 1e-9).floor() as i64);
        (first..=last).map(|index| index as f64 * step).map(|value| (value, tick_text(value, decimals))).collect()
    }

    fn log_ticks(&self, decades: f64, count: usize) -> Vec<(f64, String)> {
        let digits: &[f64] = if decades <= 1.3 {
            &[1.0, 2.0, 3.0, 5.0]
        } else if decades <= 2.6 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let every = ((f64::from(last - first) / count.max(2) as f64).ceil() as i32).max(1);
        let decades = (first..=last).filter(|exponent| digits.len() > 1 || exponent.rem_euclid(every) == 0);
        let values = decades
            .flat_map(|exponent| digits.iter().map(move |digit| (exponent, *digit, digit * 10.0_f64.powi(exponent))));
        values
            .filter(|(_, _, value)| self.holds(*value))
            .map(|(exponent, digit, value)| {
                let plain = (-3..6).contains(&exponent);
                let text = if plain { tick_text(value, (-exponent).max(0) as usize) } else { power_of_ten(exponent) };
                let text = if plain || digit == 1.0 { text } else { format!("{digit}·{text}") };
                (value, text)
            })
            .collect()
    }
}

fn tick_text(value: f64, decimals: usize) -> String {
    if value != 0.0 && (decimals > 5 || value.abs() >= 1e7) {
        return crate::number::scientific(value, 1).replace(".0·", "·").replace("1·10", "10");
    }
    fixed(value, decimals)
}

/// The round step (1, 2, 2.5 or 5 times a power of ten) nearest to a length, and the decimals its multiples need.
fn step(length: f64) -> (f64, usize) {
    let power = length.log10().floor();
    let base = 10.0_f64.powf(power);
    let (factor, extra) = match length / base {
        share if share <= 1.5 => (1.0, 0.0),
        share if share <= 2.25 => (2.0, 0.0),
        share if share <= 3.5 => (2.5, 1.0),
        share if share <= 7.5 => (5.0, 0.0),
        _ => (10.0, -1.0),
    };
    (factor * base, (extra - power).max(0.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, high: f64, log: bool) -> Vec<String> {
        Range { low, high, log }.ticks(5).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn numbers_at_the_ends_of_the_format_give_finite_ranges_and_few_ticks() {
        for (low, high) in
            [(f64::MIN_POSITIVE, f64::MAX), (5e-324, 1.0), (f64::MAX / 2.0, f64::MAX), (-f64::MAX, f64::MAX)]
        {
            for log in [false, true] {
                let range = Range::around([low, high].into_iter(), log, 0.07).lowered(0.1);
                assert!(range.low.is_finite() && range.high.is_finite() && range.low < range.high, "{range:?}");
                assert!([low, high].iter().all(|value| (0.0..=1.0).contains(&range.share(*value))), "{range:?}");
                let ticks = range.ticks(6);
                assert!(ticks.len() <= 24 && ticks.iter().all(|(at, _)| at.is_finite()), "{range:?}: {}", ticks.len());
            }
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(0.0, 1.0, false), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(12.1, 13.4, false), ["12.25", "12.50", "12.75", "13.00", "13.25"]);
        assert_eq!(texts(0.0, 60_000.0, false), ["0", "10,000", "20,000", "30,000", "40,000", "50,000", "60,000"]);
        assert_eq!(texts(8.0, 120.0, true), ["10", "20", "30", "50", "100"]);
        assert_eq!(texts(1.0, 1e6, true), ["1", "100", "10,000", "10⁶"]);
        assert_eq!(texts(10.0, 20.0, true), ["10", "12", "14", "16", "18", "20"]);
    }

    #[test]
    fn ranges_hold_odd_values() {
        let range = |values: &[f64], log| Range::around(values.iter().copied(), log, 0.05);
        assert!(range(&[3.0], false).low < 3.0 && range(&[3.0], false).high > 3.0);
        assert_eq!(range(&[f64::NAN], false), Range { low: 0.0, high: 1.0, log: false });
        assert!(!range(&[0.0, 1.0], true).log, "zero has no place on a logarithmic axis");
        assert_eq!(range(&[0.1, 10.0], false).low, 0.0);
    }
}
