//! Holm's correction of several tests made together.

/// Adjusted p-values by Holm's step-down procedure, in the order given: rejecting those at or below `alpha` keeps the
/// chance of any false rejection at or below `alpha`, whatever the tests have to do with each other (Holm 1979).
///
/// NaN stands for a test that was not made: it stays NaN and does not count.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).filter(|index| !probabilities[*index].is_nan()).collect();
    order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
    let mut adjusted = vec![f64::NAN; probabilities.len()];
    let mut largest = 0.0_f64;
    for (rank, index) in order.iter().enumerate() {
        largest = largest.max((order.len() - rank) as f64 * probabilities[*index]).min(1.0);
        adjusted[*index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::holm;

    /// The example of R's `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")`.
    #[test]
    fn adjusted_values_have_known_answers() {
        for (found, known) in holm(&[0.01, 0.04, 0.03, 0.005]).into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - known).abs() < 1e-15, "{found} {known}");
        }
        assert_eq!(holm(&[]), Vec::<f64>::new());
        assert_eq!(holm(&[0.2]), [0.2]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn a_test_that_was_not_made_does_not_count() {
        let adjusted = holm(&[0.01, f64::NAN, 0.02]);
        assert_eq!((adjusted[0], adjusted[2]), (0.02, 0.02));
        assert!(adjusted[1].is_nan());
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_nothing_gets_smaller(
            values in prop::collection::vec(0.0..1.0_f64, 1..40),
            shift in 0_usize..40,
        ) {
            let adjusted = holm(&values);
            for (value, adjusted) in values.iter().zip(&adjusted) {
                prop_assert!(value <= adjusted && *adjusted <= 1.0);
            }
            let shift = shift % values.len();
            let (mut turned, mut expected) = (values.clone(), adjusted);
            turned.rotate_left(shift);
            expected.rotate_left(shift);
            prop_assert_eq!(holm(&turned), expected);
        }

        #[test]
        fn smaller_values_stay_smaller(values in prop::collection::vec(0.0..1.0_f64, 2..40)) {
            let adjusted = holm(&values);
            for i in 0..values.len() {
                for j in 0..values.len() {
                    prop_assert!(values[i] > values[j] || adjusted[i] <= adjusted[j]);
                }
            }
        }
    }
}
