//! Adam with decoupled weight decay (Loshchilov and Hutter, 2019), on plain slices.

/// Constants of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the mean gradient.
    pub beta1: f64,
    /// Decay of the mean squared gradient.
    pub beta2: f64,
    /// Added to the root of the mean squared gradient.
    pub epsilon: f64,
}

/// How one parameter is treated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Multiplies the learning rate.
    pub rate: f64,
    /// Weight decay, multiplied by the learning rate.
    pub decay: f64,
}

/// Running means of one parameter's gradient.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moments {
    /// Mean gradient.
    pub first: Vec<f32>,
    /// Mean squared gradient.
    pub second: Vec<f32>,
}

impl Moments {
    /// Zero means of `length` values.
    pub fn zeros(length: usize) -> Self {
        Self { first: vec![0.0; length], second: vec![0.0; length] }
    }
}

impl AdamW {
    /// One step of one parameter: `step` counts from zero, `scale` multiplies the gradient (clipping).
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn update(
        &self,
        step: usize,
        rate: f64,
        group: Group,
        scale: f32,
        gradient: &[f32],
        moments: &mut Moments,
        values: &mut [f32],
    ) {
        assert_eq!(gradient.len(), values.len(), "one gradient a value");
        assert_eq!(moments.first.len(), values.len(), "one mean a value");
        let steps = i32::try_from(step).unwrap_or(i32::MAX).saturating_add(1);
        let rate = rate * group.rate;
        let keep = (1.0 - rate * group.decay) as f32;
        let correction = (1.0 - self.beta2.powi(steps)).sqrt();
        let size = (rate * correction / (1.0 - self.beta1.powi(steps))) as f32;
        let epsilon = (self.epsilon * correction) as f32;
        let (b1, b2) = (self.beta1 as f32, self.beta2 as f32);
        let (c1, c2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let means = moments.first.iter_mut().zip(&mut moments.second);
        for ((value, &gradient), (first, second)) in values.iter_mut().zip(gradient).zip(means) {
            let gradient = gradient * scale;
            *first = b1 * *first + c1 * gradient;
            *second = b2 * *second + c2 * gradient * gradient;
            *value = keep * *value - size * *first / (second.sqrt() + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_equal_the_formula_by_hand() {
        let adam = AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
        let group = Group { rate: 1.0, decay: 0.1 };
        let mut moments = Moments::zeros(2);
        let mut values = [1.0, -2.0];
        // First step: both corrected means equal the gradient, so the step is rate · sign(gradient).
        adam.update(0, 0.01, group, 1.0, &[0.5, -0.25], &mut moments, &mut values);
        assert!((values[0] - (1.0 * 0.999 - 0.01)).abs() < 1e-6, "{values:?}");
        assert!((values[1] - (-2.0 * 0.999 + 0.01)).abs() < 1e-6, "{values:?}");
        assert!((moments.first[0] - 0.05).abs() < 1e-8 && (moments.second[0] - 0.0025).abs() < 1e-9);
        // Second step, gradient 1: m = 0.9·0.05 + 0.1 = 0.145, corrected by 0.19; v = 0.99·0.0025 + 0.01 = 0.012475,
        // corrected by 0.0199.
        let before = f64::from(values[0]);
        adam.update(1, 0.02, group, 1.0, &[1.0, 0.0], &mut moments, &mut values);
        let expected = before * (1.0 - 0.002) - 0.02 * (0.145 / 0.19) / ((0.012_475f64 / 0.0199).sqrt() + 1e-8);
        assert!((f64::from(values[0]) - expected).abs() < 1e-6, "{} {expected}", values[0]);
    }

    #[test]
    fn clipping_scales_the_gradient_and_groups_the_rate() {
        let adam = AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1.0 };
        let run = |scale, rate, group, gradient: f32| {
            let mut values = [3.0];
            adam.update(0, rate, group, scale, &[gradient], &mut Moments::zeros(1), &mut values);
            values[0]
        };
        let plain = Group { rate: 1.0, decay: 0.0 };
        assert_eq!(run(0.5, 0.1, plain, 4.0), run(1.0, 0.1, plain, 2.0));
        assert_eq!(run(1.0, 0.1, Group { rate: 0.5, decay: 0.0 }, 2.0), run(1.0, 0.05, plain, 2.0));
        // With epsilon 1 the first step is rate · g / (|g| + 1).
        assert!((run(1.0, 0.1, plain, 2.0) - (3.0 - 0.1 * 2.0 / 3.0)).abs() < 1e-6);
    }
}
