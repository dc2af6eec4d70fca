//! The paired permutation test: where two arms are alike, each cluster's difference could as well have the other sign.

use super::normal::normal_cumulative;

/// Up to this many clusters with a difference all signs are tried.
pub const EXACT_CLUSTERS: usize = 20;
/// Whole differences are added up exactly while clusters times the sum of differences is at most this.
pub const EXACT_STEPS: u64 = 20_000_000;

/// How a permutation p-value came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// From all signs.
    Exact,
    /// From the saddlepoint approximation of all signs.
    Saddlepoint,
}

/// Two-sided p-value of `|Σ ± d|` reaching `|Σ d|`, over all signs of the clusters' differences, each as likely as the
/// other; the observed signs count.
///
/// It is exact for [`EXACT_CLUSTERS`] clusters that differ, and for whole differences, such as counts of right answers,
/// within [`EXACT_STEPS`]. Beyond that it is the saddlepoint approximation of the same distribution (Robinson 1982, in the
/// form of Lugannani and Rice 1980), which stays close to it far out in the tail, where draws of signs would see nothing.
/// NaN where a difference is not finite.
pub fn sign_flip(differences: &[f64]) -> (f64, Distribution) {
    let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).filter(|d| *d != 0.0).collect();
    let observed = differences.iter().sum::<f64>().abs();
    if !observed.is_finite() {
        return (f64::NAN, Distribution::Exact);
    }
    let whole: f64 = sizes.iter().sum();
    if observed == 0.0 || sizes.is_empty() {
        return (1.0, Distribution::Exact);
    }
    if sizes.iter().all(|size| size.fract() == 0.0) && whole * sizes.len() as f64 <= EXACT_STEPS as f64 {
        return (whole_sums(&sizes, observed, whole), Distribution::Exact);
    }
    if sizes.len() <= EXACT_CLUSTERS {
        return (all_signs(&sizes, observed, whole), Distribution::Exact);
    }
    (saddlepoint(&sizes, observed, whole), Distribution::Saddlepoint)
}

/// All signs, one turned at a time (Gray's order); the first keeps its sign, which halves the work and loses nothing.
///
/// Sums are kept in whole steps of `2^-60` of the largest, which add up without rounding: half a million steps of
/// floating point would drift by more than sums of the same numbers in another order differ.
fn all_signs(sizes: &[f64], observed: f64, whole: f64) -> f64 {
    const STEPS: f64 = (1_u64 << 60) as f64;
    let steps = |value: f64| (value / whole * STEPS) as i64;
    // Sums of the same numbers in another order are equal up to rounding.
    let reach = steps(observed - 1e-12 * whole);
    let sizes: Vec<i64> = sizes.iter().map(|&size| steps(size)).collect();
    let free = sizes.len() - 1;
    let mut signs = vec![1; free];
    let mut sum: i64 = sizes.iter().sum();
    let mut hits = u64::from(sum >= reach);
    for step in 1..1_u64 << free {
        let turned = step.trailing_zeros() as usize;
        signs[turned] = -signs[turned];
        sum += 2 * signs[turned] * sizes[turned + 1];
        hits += u64::from(sum.abs() >= reach);
    }
    hits as f64 / (1_u64 << free) as f64
}

/// The distribution of a signed sum of whole numbers, cluster by cluster.
fn whole_sums(sizes: &[f64], observed: f64, whole: f64) -> f64 {
    // `Σ ± d` is `2 Σ (those with plus) - whole`, so it is enough to know the sum of those with plus.
    let whole = whole as usize;
    let mut chance = vec![0.0_f64; whole + 1];
    chance[0] = 1.0;
    let mut reached = 0;
    for size in sizes.iter().map(|size| *size as usize) {
        reached += size;
        for sum in (0..=reached).rev() {
            let with = if sum >= size { chance[sum - size] } else { 0.0 };
            chance[sum] = 0.5 * (chance[sum] + with);
        }
    }
    let least = usize::midpoint(observed as usize, whole);
    (2.0 * chance[least..].iter().sum::<f64>()).min(1.0)
}

fn saddlepoint(sizes: &[f64], observed: f64, whole: f64) -> f64 {
    // The least there is: all signs alike.
    let least = 2.0_f64.powf(1.0 - sizes.len() as f64);
    if observed >= whole * (1.0 - 1e-12) {
        return least;
    }
    let slope = |t: f64| sizes.iter().map(|d| d * (t * d).tanh()).sum::<f64>();
    let squares: f64 = sizes.iter().map(|d| d * d).sum();
    let (mut low, mut high) = (0.0, 1.0 / squares.sqrt());
    while slope(high) < observed {
        low = high;
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if slope(middle) < observed { low = middle } else { high = middle }
    }
    let t = f64::midpoint(low, high);
    // ln cosh x, by a form that keeps its digits near zero and one that does not overflow.
    let ln_cosh = |x: f64| {
        if x.abs() < 1.0 {
            x.sinh().powi(2).ln_1p() / 2.0
        } else {
            x.abs() + (-2.0 * x.abs()).exp().ln_1p() - std::f64::consts::LN_2
        }
    };
    let cumulant: f64 = sizes.iter().map(|d| ln_cosh(t * d)).sum();
    let curvature: f64 = sizes.iter().map(|d| (d / (t * d).cosh()).powi(2)).sum();
    let w = (2.0 * (t * observed - cumulant)).max(0.0).sqrt();
    let u = t * curvature.sqrt();
    let density = (-w * w / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let tail = if w < 1e-6 {
        // Both corrections grow without bound while their difference goes to nothing: symmetric sums have no skewness.
        normal_cumulative(-w)
    } else {
        normal_cumulative(-w) + density * (1.0 / u - 1.0 / w)
    };
    if tail.is_finite() { (2.0 * tail).clamp(least, 1.0) } else { least }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_clusters_are_exact() {
        assert_eq!(sign_flip(&[1.5, 2.25, 0.75]).0, 0.25);
        assert_eq!(sign_flip(&[1.5, -1.5]).0, 1.0);
        assert_eq!(sign_flip(&[]).0, 1.0);
        assert_eq!(sign_flip(&[0.0; 9]).0, 1.0);
        // Of the sixteen signs of 1, 2, 3, 4 four reach 8 or -8: all alike, and the one turned.
        assert_eq!(sign_flip(&[-1.0, 2.0, 3.0, 4.0]).0, 0.25);
        assert_eq!(sign_flip(&[-1.5, 3.0, 4.5, 6.0]).0, 0.25);
        assert!(sign_flip(&[f64::NAN, 1.0]).0.is_nan());
    }

    /// Two sums of the signs lie 2e-12 apart at the observed one: found where floating point drifted past one of them.
    #[test]
    fn sums_that_nearly_tie_count_alike_at_every_scale() {
        let differences = [
            -2.991_198_576_612_628,
            4.736_745_709_971_918,
            -3.511_722_949_572_503_5,
            -1.079_988_512_580_460_5,
            -1.232_243_467_044_624_3,
            -4.734_384_114_048_286,
            2.252_579_802_042_57,
            4.701_495_902_091_86,
            -0.429_077_482_207_500_9,
            2.972_072_030_445_246,
            3.819_026_808_078_328_7,
            1.552_890_266_105_456_4,
            0.798_249_118_132_667,
            -2.365_405_264_819_590_7,
            0.195_721_689_107_091,
            1.595_367_191_814_428_5,
            -2.887_304_775_106_986_5,
            1.756_354_618_524_555,
            2.529_940_404_614_099,
            3.936_603_031_487_992,
        ];
        let scaled = differences.map(|d| d * 0.01);
        assert_eq!(sign_flip(&differences), sign_flip(&scaled));
    }

    #[test]
    fn whole_differences_of_one_are_mcnemars_test() {
        let differences: Vec<f64> = (0..120).map(|i| if i % 4 == 0 { -1.0 } else { f64::from(i % 2) }).collect();
        let counts = super::super::mcnemar::Discordant { only_a: 30, only_b: 60, items: 120 };
        let (found, how) = sign_flip(&differences);
        assert_eq!(how, Distribution::Exact);
        assert!((found - counts.probability()).abs() < 1e-12 * found, "{found} {}", counts.probability());
    }

    /// The same differences by the approximation and by the exact sums of whole numbers.
    #[test]
    fn the_approximation_is_close_far_out() {
        for (count, shift) in [(24, 1), (24, 3), (60, 2), (60, 4), (200, 3)] {
            let sizes: Vec<f64> = (0..count).map(|i| f64::from(1 + (i * 7919) % 37)).collect();
            let whole: f64 = sizes.iter().sum();
            let observed: f64 =
                sizes.iter().enumerate().map(|(i, d)| if i % (shift + 1) == 0 { -d } else { *d }).sum::<f64>().abs();
            let (exact, near) = (whole_sums(&sizes, observed, whole), saddlepoint(&sizes, observed, whole));
            assert!((near / exact - 1.0).abs() < 0.06, "{count} {shift}: {near} {exact}");
        }
    }

    proptest! {
        #[test]
        fn order_sign_and_scale_do_not_matter(
            differences in prop::collection::vec(-5.0..5.0_f64, 3..30),
            shift in 0_usize..30,
            scale in 0.01..100.0_f64,
        ) {
            let p = sign_flip(&differences).0;
            let mut turned = differences.clone();
            turned.rotate_left(shift % differences.len());
            for other in [
                turned,
                differences.iter().map(|d| -d).collect(),
                differences.iter().map(|d| d * scale).collect::<Vec<_>>(),
            ] {
                let other = sign_flip(&other).0;
                prop_assert!((p - other).abs() <= 1e-6 * p, "{p} {other}");
            }
        }
    }
}
