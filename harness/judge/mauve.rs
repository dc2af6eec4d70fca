//! MAUVE (Pillutla et al. 2021, arXiv 2102.01454; 2023, arXiv 2212.14578): how near the distribution of generated texts is to
//! that of human ones, from embeddings of both.
//!
//! 1. Rows of P and Q are scaled to length 1 and projected on the principal components that explain 90 % of the variance.
//! 2. k-means over both together, K = max(2, round(min(n_p, n_q) / 10)) clusters; the histograms of labels are p and q.
//! 3. For w in 25 steps from 1e-6 to 1 − 1e-6 and r = w p + (1 − w) q, the frontier has the points
//!    `(exp(−c KL(q‖r)), exp(−c KL(p‖r)))`, c = 5, and the ends (1, 0) and (0, 1).
//! 4. MAUVE is the area under it, the mean of both axes', in [0, 1]; higher is nearer.
//!
//! MAUVE* is the same with half a count added to every bin (Krichevsky and Trofimov). The frontier integral is
//! `2 Σ (¼ (p + q) − ½ p q (ln p − ln q) / (p − q))`, in [0, 1]; lower is nearer.
//!
//! The reference program sorts the frontier by one coordinate, so that identical histograms give 0.75 or 1 as ties fall;
//! here the area follows the frontier in the order of w, and identical histograms give exactly 1. It starts k-means from
//! another random number generator, so single seeds differ by the spread between its own seeds. Values rise as samples get
//! fewer: compare under equal n, K, c and embeddings only, over several seeds, beside the value between two halves of the
//! human text.

use crate::divergence::relative;
use crate::error::{distribution, parameter, same_length};
use crate::k_means::KMeans;
use crate::{JudgeError, Rows, principal};

/// How to compute MAUVE; the defaults are the reference program's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mauve {
    /// K, at least 2; `None` is max(2, round(min(n_p, n_q) / 10)).
    pub buckets: Option<usize>,
    /// c, above 0. Raise it when all values are above 0.99, lower it when all are below 0.4.
    pub scaling: f64,
    /// Mixtures between the ends of the frontier, at least 2.
    pub points: usize,
    /// The share of variance that the principal components keep, in (0, 1].
    pub explained_variance: f64,
    /// Starts of k-means.
    pub starts: usize,
    /// Rounds of k-means at most.
    pub iterations: usize,
    /// Seed of k-means.
    pub seed: u64,
}

impl Default for Mauve {
    fn default() -> Self {
        Self { buckets: None, scaling: 5.0, points: 25, explained_variance: 0.9, starts: 5, iterations: 500, seed: 25 }
    }
}

/// How near two distributions are.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearness {
    /// MAUVE, in [0, 1].
    pub mauve: f64,
    /// MAUVE of smoothed histograms.
    pub mauve_star: f64,
    /// The frontier integral, in [0, 1].
    pub frontier_integral: f64,
    /// The frontier integral of smoothed histograms.
    pub frontier_integral_star: f64,
    /// Texts of P and of Q in each cluster.
    pub counts: Vec<(u64, u64)>,
    /// Principal components that were clustered.
    pub components: usize,
}

impl Mauve {
    fn check(&self) -> Result<(), JudgeError> {
        if !(self.scaling > 0.0 && self.scaling.is_finite()) {
            return Err(parameter("scaling", self.scaling, "finite and above 0"));
        }
        if self.points < 2 {
            return Err(parameter("points", self.points, "at least 2"));
        }
        Ok(())
    }

    /// From embeddings of human texts (P) and generated ones (Q), one row a text.
    ///
    /// # Errors
    /// Dimensions that differ, rows of zeros, fewer than 2 K rows on one side, parameters outside their range.
    pub fn of_embeddings(&self, human: &Rows, generated: &Rows) -> Result<Nearness, JudgeError> {
        same_length("dimension of the generated embeddings", generated.dimension(), human.dimension())?;
        let fewer = human.len().min(generated.len());
        let buckets = self.buckets.unwrap_or_else(|| (fewer as f64 / 10.0).round_ties_even().max(2.0) as usize);
        if buckets < 2 {
            return Err(parameter("buckets", buckets, "at least 2"));
        }
        if fewer < 2 * buckets {
            let advice = "sample more texts, or set fewer buckets";
            return Err(JudgeError::TooFew { what: "texts on each side", found: fewer, least: 2 * buckets, advice });
        }
        let mut rows = generated.unit("generated embeddings")?;
        rows.extend(human.unit("human embeddings")?);
        let principal = principal::project(&rows, human.dimension(), self.explained_variance)?;
        let means = KMeans { clusters: buckets, starts: self.starts, iterations: self.iterations, seed: self.seed };
        let clusters = means.fit(&principal.coordinates, principal.kept)?;
        let mut counts = vec![(0, 0); buckets];
        for (index, &label) in clusters.labels.iter().enumerate() {
            let count = &mut counts[label as usize];
            if index < generated.len() { count.1 += 1 } else { count.0 += 1 }
        }
        Ok(Nearness { components: principal.kept, ..self.of_counts(&counts)? })
    }

    /// From the number of texts of P and of Q in each bin.
    ///
    /// # Errors
    /// A side without texts, parameters outside their range.
    pub fn of_counts(&self, counts: &[(u64, u64)]) -> Result<Nearness, JudgeError> {
        let share = |side: fn(&(u64, u64)) -> u64, added: f64| -> Vec<f64> {
            let total = counts.iter().map(side).sum::<u64>() as f64 + added * counts.len() as f64;
            counts.iter().map(|count| (side(count) as f64 + added) / total).collect()
        };
        for side in [|count: &(u64, u64)| count.0, |count: &(u64, u64)| count.1] {
            if counts.iter().all(|count| side(count) == 0) {
                return Err(JudgeError::Empty { what: "texts of one side" });
            }
        }
        let (p, q) = (share(|count| count.0, 0.0), share(|count| count.1, 0.0));
        let (smooth_p, smooth_q) = (share(|count| count.0, 0.5), share(|count| count.1, 0.5));
        Ok(Nearness {
            mauve: self.of_histograms(&p, &q)?,
            mauve_star: self.of_histograms(&smooth_p, &smooth_q)?,
            frontier_integral: frontier_integral(&p, &q)?,
            frontier_integral_star: frontier_integral(&smooth_p, &smooth_q)?,
            counts: counts.to_vec(),
            components: 0,
        })
    }

    /// The frontier of two histograms, from (1, 0) to (0, 1).
    ///
    /// # Errors
    /// Values that are no distributions, lengths that differ, parameters outside their range.
    pub fn frontier(&self, p: &[f64], q: &[f64]) -> Result<Vec<(f64, f64)>, JudgeError> {
        self.check()?;
        distribution("the histogram of P", p)?;
        distribution("the histogram of Q", q)?;
        same_length("the histogram of Q", q.len(), p.len())?;
        let mut points = vec![(1.0, 0.0)];
        for step in 0..self.points {
            let weight = 1e-6 + (1.0 - 2e-6) * step as f64 / (self.points - 1) as f64;
            // In this form equal bins stay equal to the bit.
            let mixture = || p.iter().zip(q).map(|(p, q)| q + weight * (p - q));
            let near = |side: &[f64]| (-self.scaling * relative(side.iter().copied().zip(mixture()))).exp();
            points.push((near(q), near(p)));
        }
        points.push((0.0, 1.0));
        Ok(points)
    }

    /// MAUVE of two histograms, in [0, 1].
    ///
    /// # Errors
    /// Those of [`Self::frontier`].
    pub fn of_histograms(&self, p: &[f64], q: &[f64]) -> Result<f64, JudgeError> {
        let points = self.frontier(p, q)?;
        let area = |pair: &[(f64, f64)]| {
            let ((x, y), (next_x, next_y)) = (pair[0], pair[1]);
            0.5 * ((x - next_x) * f64::midpoint(y, next_y) + (next_y - y) * f64::midpoint(x, next_x))
        };
        Ok(points.windows(2).map(area).sum::<f64>().clamp(0.0, 1.0))
    }
}

/// The frontier integral of two histograms, in [0, 1]; lower is nearer.
///
/// # Errors
/// Values that are no distributions, or lengths that differ.
pub fn frontier_integral(p: &[f64], q: &[f64]) -> Result<f64, JudgeError> {
    distribution("the histogram of P", p)?;
    distribution("the histogram of Q", q)?;
    same_length("the histogram of Q", q.len(), p.len())?;
    let term = |(&p, &q): (&f64, &f64)| {
        if p == q {
            return 0.0;
        }
        let product = if p > 0.0 && q > 0.0 { p * q * (p.ln() - q.ln()) / (p - q) } else { 0.0 };
        (0.25 * (p + q) - 0.5 * product).max(0.0)
    };
    Ok((2.0 * p.iter().zip(q).map(term).sum::<f64>()).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::{Mauve, frontier_integral};
    use crate::{JudgeError, Rows};

    const P: [f64; 3] = [0.5, 0.5, 0.0];
    const Q: [f64; 3] = [0.25, 0.25, 0.5];

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 6e-7, "{found} {expected}");
    }

    #[test]
    fn the_worked_examples() {
        let mauve = Mauve::default();
        near(mauve.of_histograms(&P, &Q).unwrap(), 0.278_114);
        near(Mauve { points: 1000, ..mauve }.of_histograms(&P, &Q).unwrap(), 0.277_477);
        near(Mauve { scaling: 1.0, ..mauve }.of_histograms(&P, &Q).unwrap(), 0.891_465);
        near(frontier_integral(&P, &Q).unwrap(), 0.306_853);
        let middle = mauve.frontier(&P, &Q).unwrap()[13];
        near(middle.0, 0.487_139);
        near(middle.1, 0.237_305);
        let counted = mauve.of_counts(&[(10, 5), (10, 5), (0, 10)]).unwrap();
        near(counted.mauve, 0.278_114);
        near(counted.mauve_star, 0.419_371);
        near(counted.frontier_integral_star, 0.230_909);
        near(mauve.of_histograms(&[0.5, 0.3, 0.2], &[0.4, 0.4, 0.2]).unwrap(), 0.997_420);
        assert!((frontier_integral(&[0.5, 0.3, 0.2], &[0.4, 0.4, 0.2]).unwrap() - 0.008_494).abs() < 6e-7);
        near(mauve.of_histograms(&[1.0, 0.0], &[0.0, 1.0]).unwrap(), 0.004_072);
        let fine = Mauve { points: 20_000, ..mauve }.of_histograms(&[1.0, 0.0], &[0.0, 1.0]).unwrap();
        assert!((fine - 1.0 / 252.0).abs() < 1e-6, "{fine}");
    }

    #[test]
    fn identical_is_exactly_one() {
        for histogram in [&[0.5, 0.3, 0.2][..], &[1.0], &[0.1; 10], &[1.0 / 3.0, 2.0 / 3.0, 0.0]] {
            assert_eq!(Mauve::default().of_histograms(histogram, histogram), Ok(1.0));
            assert_eq!(frontier_integral(histogram, histogram), Ok(0.0));
        }
        let values: Vec<f32> = (0..400).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
        let rows = Rows::new(&values, 4).unwrap();
        let found = Mauve::default().of_embeddings(&rows, &rows).unwrap();
        assert_eq!((found.mauve, found.mauve_star, found.frontier_integral), (1.0, 1.0, 0.0));
        assert_eq!(found.counts.len(), 10);
        // One text over and over has one cluster and is itself.
        let same = Rows::new(&[1.0; 80], 2).unwrap();
        assert_eq!(Mauve::default().of_embeddings(&same, &same).unwrap().mauve, 1.0);
    }

    #[test]
    fn bad_input_is_refused() {
        let rows = Rows::new(&[1.0; 40], 2).unwrap();
        let refused = |mauve: Mauve| mauve.of_embeddings(&rows, &rows).is_err();
        let plain = Mauve::default();
        assert!(refused(Mauve { buckets: Some(1), ..plain }) && refused(Mauve { buckets: Some(11), ..plain }));
        assert!(refused(Mauve { scaling: 0.0, ..plain }) && refused(Mauve { scaling: f64::NAN, ..plain }));
        assert!(refused(Mauve { points: 1, ..plain }) && refused(Mauve { explained_variance: 0.0, ..plain }));
        assert!(!refused(plain));
        let zero = Rows::new(&[0.0; 40], 2).unwrap();
        assert!(matches!(plain.of_embeddings(&rows, &zero), Err(JudgeError::ZeroNorm { row: 0, .. })));
        assert!(plain.of_embeddings(&rows, &Rows::new(&[1.0; 40], 4).unwrap()).is_err());
        assert!(plain.of_counts(&[(0, 1)]).is_err());
        assert!(plain.of_histograms(&P, &[0.5, 0.5]).is_err());
    }
}
