//! Tails and quantiles of Student's distribution.

use std::f64::consts::PI;

use super::beta::{incomplete_beta, ln_beta};
use super::normal::normal_quantile;

/// `P(|T| >= |t|)` with `freedom > 0` degrees of freedom, exact to 1e-9 of itself however far out.
pub fn student_tail(t: f64, freedom: f64) -> f64 {
    let square = t * t;
    if square.is_infinite() {
        return 0.0;
    }
    let whole = freedom + square;
    incomplete_beta(freedom / 2.0, 0.5, freedom / whole, square / whole)
}

/// The density of Student's distribution.
fn student_density(t: f64, freedom: f64) -> f64 {
    let power = f64::midpoint(freedom, 1.0) * (t * t / freedom).ln_1p();
    (-power - ln_beta(freedom / 2.0, 0.5) - freedom.ln() / 2.0).exp()
}

/// The `p` quantile of Student's distribution with `freedom >= 1` degrees of freedom, `0 < p < 1`: Hill's start (1970,
/// algorithm 396) mended by Newton's steps on the logarithm of the tail.
pub fn student_quantile(p: f64, freedom: f64) -> f64 {
    if p < 0.5 {
        return -student_quantile(1.0 - p, freedom);
    }
    student_reach(2.0 * (1.0 - p), freedom)
}

/// The distance from zero that Student's distribution passes with the two-sided probability `tail`.
pub fn student_reach(tail: f64, freedom: f64) -> f64 {
    let mut t = start(tail, freedom);
    if !(t > 0.0 && t.is_finite()) {
        return t;
    }
    for _ in 0..60 {
        let found = student_tail(t, freedom);
        let step = (found / tail).ln() * found / (2.0 * t * student_density(t, freedom));
        // The step is of the logarithm; it is held in so that a poor start cannot throw it away.
        t *= step.clamp(-2.0, 2.0).exp();
        if step.abs() < 1e-14 {
            break;
        }
    }
    t
}

fn start(two_sided: f64, freedom: f64) -> f64 {
    if freedom < 1.5 {
        let angle = two_sided * PI / 2.0;
        return angle.cos() / angle.sin();
    }
    if freedom < 2.5 {
        return (2.0 / (two_sided * (2.0 - two_sided)) - 2.0).max(0.0).sqrt();
    }
    let n = freedom;
    let a = 1.0 / (n - 0.5);
    let b = 48.0 / (a * a);
    let mut c = ((20_700.0 * a / b - 98.0) * a - 16.0) * a + 96.36;
    let d = ((94.5 / (b + c) - 3.0) / b + 1.0) * (a * PI / 2.0).sqrt() * n;
    let mut x = d * two_sided;
    let mut y = x.powf(2.0 / n);
    if y > 0.05 + a {
        x = normal_quantile(two_sided / 2.0);
        y = x * x;
        if n < 5.0 {
            c += 0.3 * (n - 4.5) * (x + 0.6);
        }
        c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b;
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x;
        y = (a * y * y).exp_m1();
    } else {
        y = ((1.0 / (((n + 6.0) / (n * y) - 0.089 * d - 0.822) * (n + 2.0) * 3.0) + 0.5 / (n + 4.0)) * y - 1.0)
            * (n + 1.0)
            / (n + 2.0)
            + 1.0 / y;
    }
    (n * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_distribution_has_its_tabled_values() {
        for (p, freedom, t) in [
            (0.975, 1.0, 12.706_204_736_174_7),
            (0.975, 2.0, 4.302_652_729_749_46),
            (0.975, 3.0, 3.182_446_305_284_26),
            (0.975, 5.0, 2.570_581_835_636_31),
            (0.975, 10.0, 2.228_138_851_964_94),
            (0.025, 30.0, -2.042_272_456_301_24),
            (0.6, 7.0, 0.263_166_861_352_023),
        ] {
            let found = student_quantile(p, freedom);
            assert!((found - t).abs() < 1e-11 * t.abs(), "t({p}, {freedom}) = {found}, not {t}");
        }
        assert_eq!(student_quantile(0.5, 9.0), 0.0);
    }

    #[test]
    fn tails_and_quantiles_invert_far_out() {
        for freedom in [1.0, 1.3, 2.2, 4.0, 19.0, 63.5, 999.0, 1e6] {
            for tail in [0.9, 0.05, 1e-3, 5e-5, 1e-9, 1e-30] {
                let t = student_reach(tail, freedom);
                let back = student_tail(t, freedom);
                assert!((back - tail).abs() < 1e-9 * tail, "{freedom} {tail}: {t} {back}");
            }
        }
        assert_eq!((student_tail(0.0, 5.0), student_tail(f64::INFINITY, 5.0)), (1.0, 0.0));
    }
}
