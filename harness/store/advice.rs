//! Why a difference could not be told, and what would tell it.

use harness_core::statistics::Effect;
use harness_core::{Direction, Noise};

use crate::compare::ComparisonRow;

/// The reason for "cannot tell", with the smallest difference that would have been found and the number of units that the
/// one seen needs.
pub fn cannot_tell(row: &ComparisonRow, effect: &Effect, tests: usize, alpha: f64) -> String {
    const NO_SIDE: &str = "the metric has no good side";
    if row.noise == Noise::Exact {
        return NO_SIDE.to_owned();
    }
    let Some(interval) = effect.interval else {
        return if effect.test.starts_with("one number") {
            "one number on each side: its noise is not known".to_owned()
        } else {
            effect.test.clone()
        };
    };
    let beyond = interval.low > row.zone || interval.high < -row.zone;
    let p = |value: f64| if value < 1e-3 { format!("{value:.1e}") } else { format!("{value:.3}") };
    let cause = match (row.probability, row.adjusted) {
        (Some(plain), Some(adjusted)) if beyond && adjusted > alpha => {
            format!("p {} is {} after correction for {tests} tests", p(plain), p(adjusted))
        }
        _ if beyond && row.direction == Direction::Neutral => return NO_SIDE.to_owned(),
        _ if row.zone > 0.0 => "the interval reaches over the edge of the margin".to_owned(),
        _ => "the interval holds zero".to_owned(),
    };
    let unit = effect.evidence.as_ref().map_or("units", |evidence| evidence.unit.as_str());
    let units = effect.evidence.as_ref().map_or(0, |evidence| evidence.studentised.units);
    let finds = match row.detectable {
        Some(size) => format!("{units} {unit} find {}", size_text(effect, size)),
        None => format!("{units} {unit} can find nothing at this level"),
    };
    let needs =
        row.needed.map(|needed| format!("the {} seen needs about {needed}", size_text(effect, effect.difference)));
    [Some(cause), Some(finds), needs].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// A size as a share of the reference, or as it is where there is none.
fn size_text(effect: &Effect, size: f64) -> String {
    let size = size.abs();
    if effect.a == 0.0 {
        return format!("{size:.2e}");
    }
    let share = 100.0 * size / effect.a.abs();
    let decimals = if share == 0.0 { 0 } else { (1 - share.log10().floor() as i32).clamp(0, 6) as usize };
    format!("{share:.decimals$} %")
}
