//! The fence: how large a change has to be to stand out from those that happen anyway.

use super::quantile;

/// How far beyond the upper quartile the fence stands, in interquartile ranges: Tukey's far-out fence.
pub const REACH: f64 = 3.0;
/// With fewer past changes than this there is no fence.
pub const FEWEST_CHANGES: usize = 8;

/// `Q3 + 3·IQR` of the sizes of past changes; `None` for fewer than [`FEWEST_CHANGES`].
pub fn fence(changes: &[f64]) -> Option<f64> {
    let mut sizes: Vec<f64> = changes.iter().map(|change| change.abs()).filter(|size| size.is_finite()).collect();
    if sizes.len() < FEWEST_CHANGES {
        return None;
    }
    sizes.sort_unstable_by(f64::total_cmp);
    let (lower, upper) = (quantile(&sizes, 0.25)?, quantile(&sizes, 0.75)?);
    Some(upper + REACH * (upper - lower))
}

/// The change of each value from the median of all before it, as a share of that median. The first value has none.
pub fn past_changes(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = Vec::with_capacity(values.len());
    let mut changes = Vec::with_capacity(values.len());
    for value in values.iter().copied().filter(|value| value.is_finite()) {
        if let Some(level) = quantile(&sorted, 0.5) {
            let change = if value == level { 0.0 } else { (value - level) / level.abs() };
            changes.push(change);
        }
        sorted.insert(sorted.partition_point(|other| *other < value), value);
    }
    changes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_fence_has_its_known_answer() {
        let changes = [0.01, -0.02, 0.03, -0.04, 0.05, -0.06, 0.07, -0.08, 0.09];
        // Quartiles of 1 … 9 hundredths: 0.03 and 0.07.
        assert!((fence(&changes).unwrap() - 0.19).abs() < 1e-12);
        assert_eq!(fence(&changes[..7]), None);
        assert_eq!(fence(&[0.0; 20]), Some(0.0));
        let with_nan = [f64::NAN, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01];
        assert_eq!(fence(&with_nan), None, "what is no number is no change");
    }

    #[test]
    fn changes_are_measured_from_the_median_before() {
        let changes = past_changes(&[10.0, 11.0, f64::NAN, 12.0, 11.0]);
        let wanted = [0.1, 1.5 / 10.5, 0.0];
        assert!(changes.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-12), "{changes:?}");
        assert_eq!(past_changes(&[0.0, 0.0]), [0.0]);
    }
}
