//! Kolmogorov's test that numbers are uniform on the unit interval.

/// The largest distance between the empirical distribution of numbers and the uniform one on `[0, 1]`.
pub fn uniform_distance(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let reach = |(at, number): (usize, &f64)| (number - at as f64 / count).max((at + 1) as f64 / count - number);
    sorted.iter().enumerate().map(reach).fold(0.0, f64::max)
}

/// The probability that Kolmogorov's limiting distribution exceeds `x = √n · distance`. For `n` of a thousand and more it
/// is the p-value of the distance within `0.3 / √n`.
pub fn kolmogorov_tail(x: f64) -> f64 {
    if x < 0.2 {
        // The distribution itself is below 1e-12 here.
        return 1.0;
    }
    if x < 1.0 {
        // The other form of the same theta function, which converges where the alternating one does not.
        let step = -(std::f64::consts::PI / x).powi(2) / 8.0;
        let sum: f64 = (1..=20).map(|k| (step * f64::from((2 * k - 1) * (2 * k - 1))).exp()).sum();
        return 1.0 - (2.0 * std::f64::consts::PI).sqrt() / x * sum;
    }
    let term = |k: i32| (-2.0 * f64::from(k * k) * x * x).exp() * if k % 2 == 1 { 2.0 } else { -2.0 };
    (1..=20).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_found_on_either_side_of_a_step() {
        assert!((uniform_distance(&[0.5]) - 0.5).abs() < 1e-15);
        assert!((uniform_distance(&[0.9, 0.1]) - 0.4).abs() < 1e-15);
        assert!((uniform_distance(&[0.8, 0.9, 1.0, 0.7]) - 0.7).abs() < 1e-15);
    }
}
