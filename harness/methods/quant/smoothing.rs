//! Factors that move the range of inputs into the weights that read them.

/// Factors and the weights they come from are this large at least.
const LEAST: f32 = 1e-5;

/// Factors of inputs by their largest magnitudes and those of the columns that read them.
pub(crate) fn smoothing(inputs: &[f32], columns: &[f32], alpha: f64) -> Vec<f32> {
    let alpha = alpha as f32;
    let factor = |(input, column): (&f32, &f32)| (input.powf(alpha) / column.max(LEAST).powf(1.0 - alpha)).max(LEAST);
    inputs.iter().zip(columns).map(factor).collect()
}

/// The largest magnitude of every column.
pub(crate) fn column_maxima(weight: &[f32], cols: usize) -> Vec<f32> {
    let mut most = vec![0.0_f32; cols];
    for row in weight.chunks_exact(cols) {
        most.iter_mut().zip(row).for_each(|(most, weight)| *most = most.max(weight.abs()));
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_channels_by_hand_and_both_ends() {
        let (inputs, columns) = ([2.0, 16.0], [2.0, 0.5]);
        let near = |found: Vec<f32>, expected: [f32; 2]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
        };
        near(smoothing(&inputs, &columns, 0.5), [1.0, 5.656_854]);
        // All of the inputs' range moves, or all of the weights'.
        near(smoothing(&inputs, &columns, 1.0), inputs);
        near(smoothing(&inputs, &columns, 0.0), [0.5, 2.0]);
        assert!(smoothing(&[0.0], &[0.0], 0.5)[0] > 0.0);
    }
}
