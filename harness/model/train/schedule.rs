//! The learning rate of each step.

use std::f64::consts::PI;

/// Linear warm-up to a peak, then half a cosine down to a share of it (Loshchilov and Hutter, 2017).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Highest rate.
    pub peak: f64,
    /// Steps of the warm-up; the last of them has the peak rate.
    pub warmup: usize,
    /// Steps in all; the last of them has the final rate.
    pub steps: usize,
    /// Final rate as a share of the peak.
    pub final_share: f64,
}

impl Schedule {
    /// Rate of step `step`, counted from zero.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let span = self.steps.saturating_sub(self.warmup + 1);
        let progress = if span == 0 { 1.0 } else { ((step - self.warmup) as f64 / span as f64).min(1.0) };
        self.peak * (self.final_share + (1.0 - self.final_share) * 0.5 * (1.0 + (PI * progress).cos()))
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn the_rate_rises_linearly_and_falls_as_a_cosine() {
        let schedule = Schedule { peak: 0.01, warmup: 4, steps: 105, final_share: 0.1 };
        let near = |step, expected: f64| assert!((schedule.rate(step) - expected).abs() < 1e-15, "step {step}");
        near(0, 0.0025);
        near(1, 0.005);
        near(3, 0.01);
        near(4, 0.01);
        // Half way down: the mean of peak and final rate.
        near(54, 0.0055);
        // A quarter of the way: cos(π/4).
        near(29, 0.01 * (0.1 + 0.9 * 0.5 * (1.0 + 0.5f64.sqrt())));
        near(104, 0.001);
        near(1000, 0.001);
        let none = Schedule { peak: 1.0, warmup: 0, steps: 1, final_share: 0.5 };
        assert!((none.rate(0) - 0.5).abs() < 1e-15);
    }
}
