//! Unequal budgets: another arm prunes more in some matrices than in others, and as many weights in all.
//!
//! `uniform` prunes the same share of each. `erk` keeps a share of each in proportion to `(rows + cols) / (rows · cols)`, so that small matrices stay
//! fuller. `owl` counts in each block of the dense model the scores `|W_ij| ‖X_j‖` beyond `multiple` times their mean, `D_l`, and keeps
//! `1 − s + (D_l − min D) / (max D − min D) · 2λ`, less its mean, so that blocks stay within a range of `2λ` and those with many outliers are
//! fuller. Which weights go in a matrix is decided by the arm `like`, whose sparsity is that of all matrices together.
//!
//! Utku Evci et al.: Rigging the Lottery: Making All Tickets Winners, ICML 2020 (erk). Lu Yin et al.: Outlier Weighed Layerwise Sparsity (OWL): A
//! Missing Secret Sauce for Pruning LLMs to High Sparsity, ICML 2024 (owl).
//!
//! # Difference from the reference
//! Numbers are exact: the total is that of the arm by itself, and published code for `erk` draws them at random. The formulas of `owl` are reconstructed
//! from the publication. An arm that compares inside rows spreads a matrix' number evenly over them.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, Value};
use rand_chacha::ChaCha8Rng;

use super::{alps, magnitude, obs, random, sparsegpt, wanda};
use crate::prune::budget_rule::{counts, erk, owl};
use crate::prune::{Beyond, Needs, PruneError, Pruner, Site, check_weight};
use crate::registry::{self, Method};
use crate::statistics::LinearStatistics;

/// The methods that prune any number of weights of a matrix.
const COUNTING: [fn() -> MethodSpec; 6] =
    [random::spec, magnitude::spec, wanda::spec, sparsegpt::spec, obs::spec, alps::spec];

harness_core::choice! {
    /// How weights are shared out among matrices.
    pub enum Allocation {
        /// The same share of each.
        Uniform = "uniform",
        /// By shape.
        Erk = "erk",
        /// By the outliers of each block.
        Owl = "owl",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The pruning arm that is given the numbers; its sparsity is that of all matrices together.
        like: String = "wanda(sparsity=0.5)".to_owned();
        /// How weights are shared out.
        allocation: Allocation = Allocation::Owl;
        /// How many times the mean of its block's scores an outlier is.
        multiple: f64 = 5.0, Domain::closed(1.0, 1000.0);
        /// The most that a block's sparsity lies below or above that of all, about.
        limit: f64 = 0.08, Domain::closed(0.0, 0.5);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "budget",
        axis: Axis::Prune,
        about: "lets another arm prune more in some matrices than in others, by their shapes or outliers",
        source: "Evci et al.: Rigging the Lottery, ICML 2020; Yin et al.: Outlier Weighed Layerwise Sparsity, ICML 2024",
        version: 1 + COUNTING.iter().map(|spec| spec().version).sum::<u32>(),
        calibrated: true,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit, or an arm that cannot be given numbers.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { like, allocation, multiple, limit } = Settings::resolve(arm)?;
    let refuse = |why: String| ParameterError::Together(format!("`like`: {why}"));
    let inner: Arm = like.parse().map_err(|error: harness_core::GrammarError| refuse(error.to_string()))?;
    if !COUNTING.iter().any(|spec| spec().id == inner.id) {
        let known: Vec<&str> = COUNTING.iter().map(|spec| spec().id).collect();
        return Err(refuse(format!("`{}` cannot be given numbers; one of {} can", inner.id, known.join(", "))));
    }
    let set = |key: &str| inner.get(key).filter(|value| **value != Value::Unset);
    if set("pattern").is_some() || set("variant").is_some() || set("scope").is_some_and(|scope| scope.to_string() == "global") {
        return Err(refuse(format!("`{inner}` decides numbers by itself; leave pattern, variant and global scope out")));
    }
    let sparsity = match set("sparsity") {
        None => 0.5,
        Some(Value::Float(share)) => *share,
        Some(Value::Int(share)) => *share as f64,
        Some(other) => return Err(refuse(format!("`sparsity = {other}` is no share"))),
    };
    let inner = registry::pruner(&inner).map_err(|error| refuse(error.to_string()))?;
    Ok(Method::Pruner(Box::new(Budget { inner, sparsity, allocation, multiple, limit })))
}

struct Budget {
    inner: Box<dyn Pruner>,
    sparsity: f64,
    allocation: Allocation,
    multiple: f64,
    limit: f64,
}

impl Budget {
    fn counts(&self, sizes: &[usize], densities: &[f64]) -> Result<Option<Vec<usize>>, PruneError> {
        match densities.iter().find(|density| !(-1e-9..=1.0 + 1e-9).contains(*density)) {
            None => Ok(Some(counts(sizes, densities, self.sparsity))),
            Some(density) => Err(PruneError::Budget {
                layers: sizes.len(),
                sparsity: self.sparsity,
                why: format!("`limit = {}`: one would keep {density:.3} of its weights; lower it", self.limit),
            }),
        }
    }
}

impl Pruner for Budget {
    fn needs(&self) -> Needs {
        self.inner.needs()
    }

    fn allocate(
        &self,
        weights: &mut dyn Iterator<Item = (Site<'_>, Vec<f32>)>,
    ) -> Result<Option<Vec<usize>>, PruneError> {
        let mut shapes = Vec::new();
        for (site, weight) in weights {
            check_weight(&site, &weight)?;
            shapes.push((site.rows, site.cols));
        }
        let sizes: Vec<usize> = shapes.iter().map(|(rows, cols)| rows * cols).collect();
        let density = 1.0 - self.sparsity;
        let densities =
            if self.allocation == Allocation::Erk { erk(&shapes, density) } else { vec![density; sizes.len()] };
        self.counts(&sizes, &densities)
    }

    fn outliers(&self) -> Option<f64> {
        (self.allocation == Allocation::Owl).then_some(self.multiple)
    }

    fn allocate_by_outliers(
        &self,
        weights: &mut dyn Iterator<Item = (Site<'_>, Vec<f32>)>,
        shares: &[f64],
    ) -> Result<Option<Vec<usize>>, PruneError> {
        let mut sizes = Vec::new();
        for (site, weight) in weights {
            check_weight(&site, &weight)?;
            sizes.push(weight.len());
        }
        self.counts(&sizes, &owl(shares, &sizes, 1.0 - self.sparsity, self.limit))
    }

    fn beyond(&self) -> Option<Beyond> {
        Some(Beyond::Matrices)
    }

    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        statistics: Option<&LinearStatistics>,
        allotted: Option<usize>,
        random: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        self.inner.prune(site, weight, statistics, allotted, random)
    }
}
