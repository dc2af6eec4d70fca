//! The incomplete beta function, from which the tails of Student's and of the binomial distribution follow.

/// The regularised incomplete beta function `I_x(a, b)`, `a, b > 0`, with `y = 1 - x` given beside `x` so that neither
/// loses digits. Relative error below 1e-9 for `a, b` up to 1e6, also far out in the tails.
pub(super) fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    // The continued fraction converges fast on this side of the mean only.
    if x * (a + b + 2.0) > a + 1.0 {
        return 1.0 - incomplete_beta_below(b, a, y, x);
    }
    incomplete_beta_below(a, b, x, y)
}

/// `ln B(a, b)`.
pub(super) fn ln_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

/// Lentz's evaluation of the continued fraction (Press et al., Numerical Recipes, section 6.4).
fn incomplete_beta_below(a: f64, b: f64, x: f64, y: f64) -> f64 {
    const TERMS: u32 = 100_000;
    const TINY: f64 = 1e-300;
    let ln = |x: f64, y: f64| if x > 0.5 { (-y).ln_1p() } else { x.ln() };
    let front = (a * ln(x, y) + b * ln(y, x) - ln_beta(a, b)).exp() / a;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..TERMS {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// The `p` quantile of the beta distribution, by bisection to the last digits.
pub(super) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    while high - low > 1e-15 * high {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if incomplete_beta(a, b, middle, 1.0 - middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// `P(X >= successes)` of a binomial variable.
pub fn binomial_at_least(successes: u64, trials: u64, p: f64) -> f64 {
    if successes == 0 {
        return 1.0;
    }
    if successes > trials {
        return 0.0;
    }
    incomplete_beta(successes as f64, (trials - successes + 1) as f64, p, 1.0 - p)
}

/// `P(X <= successes)` of a binomial variable.
pub(super) fn binomial_at_most(successes: u64, trials: u64, p: f64) -> f64 {
    if successes >= trials {
        return 1.0;
    }
    incomplete_beta((trials - successes) as f64, (successes + 1) as f64, 1.0 - p, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_incomplete_beta_function_has_its_closed_forms() {
        // I_x(a, 1) = x^a, I_x(1, b) = 1 - (1 - x)^b, I_x(1/2, 1/2) = 2 asin(sqrt x) / pi.
        for x in [1e-9_f64, 0.01, 0.3, 0.5, 0.77, 0.999] {
            for shape in [0.5_f64, 1.0, 3.0, 40.0] {
                let power = x.powf(shape);
                assert!((incomplete_beta(shape, 1.0, x, 1.0 - x) - power).abs() <= 1e-12 * power, "{x} {shape}");
                let other = -(shape * (-x).ln_1p()).exp_m1();
                assert!((incomplete_beta(1.0, shape, x, 1.0 - x) - other).abs() <= 1e-12 * other, "{x} {shape}");
            }
            let arc = 2.0 * x.sqrt().asin() / std::f64::consts::PI;
            assert!((incomplete_beta(0.5, 0.5, x, 1.0 - x) - arc).abs() <= 1e-12 * arc, "{x}");
        }
        assert_eq!((incomplete_beta(2.0, 3.0, 0.0, 1.0), incomplete_beta(2.0, 3.0, 1.0, 0.0)), (0.0, 1.0));
    }

    #[test]
    fn binomial_tails_are_those_of_scipy() {
        // scipy.stats.binom.sf(successes − 1, trials, p)
        for (successes, trials, p, wanted) in [
            (60, 200, 0.25, 0.062_472_2),
            (10, 200, 0.02, 0.007_479_3),
            (3, 10, 0.5, 0.945_312_5),
            (1, 5, 0.1, 0.409_51),
            (0, 9, 0.3, 1.0),
            (1, 9, 0.0, 0.0),
        ] {
            let found = binomial_at_least(successes, trials, p);
            assert!((found - wanted).abs() < 1e-6, "{successes} of {trials} at {p}: {found} for {wanted}");
        }
    }

    #[test]
    fn binomial_tails_are_sums() {
        let (n, p) = (12_u64, 0.3_f64);
        let choose = |k: u64| (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64);
        let mass = |k: u64| choose(k) * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32);
        for k in 0..=n {
            let (below, above): (f64, f64) = ((0..=k).map(mass).sum(), (k..=n).map(mass).sum());
            assert!((binomial_at_most(k, n, p) - below).abs() < 1e-13, "{k}");
            assert!((binomial_at_least(k, n, p) - above).abs() < 1e-13, "{k}");
        }
    }

    #[test]
    fn quantiles_invert() {
        for (p, a, b) in [(0.025, 1.0, 50.0), (0.5, 3.0, 7.0), (0.975, 400.0, 2.0), (1e-6, 5.0, 1e5)] {
            let x = beta_quantile(p, a, b);
            assert!((incomplete_beta(a, b, x, 1.0 - x) - p).abs() < 1e-9 * p, "{p} {a} {b}: {x}");
        }
    }
}
