//! SVD-LLM: a truncated singular value decomposition whose singular values are losses of the layer.
//!
//! With `G = Σ x xᵀ` over the calibration tokens and `G = S Sᵀ` by Cholesky, `W S = U Σ Vᵀ` becomes `(U_r Σ_r^½)(Σ_r^½ V_rᵀ S⁻¹)`, and
//! `‖W X − Ŵ X‖² = Σ_{i>r} σ_i²`: cutting the smallest singular values loses least. A moment that is not positive definite, to
//! the accuracy of its numbers, has `1e-6 − λ_min` added to its diagonal, which the results say.
//!
//! `update = closed-form` keeps the right factor `B`, and once the blocks before are factors fits the left one anew to what they
//! make of the text: `A = W G' Bᵀ (B G' Bᵀ)⁻¹`. On the inputs that `S` was made of nothing changes.
//!
//! Xin Wang, Yu Zheng, Zhongwei Wan, Mi Zhang: SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model
//! Compression, ICLR 2025.
//!
//! # Difference from the reference
//! The published code whitens by the dense model's inputs, which is `calibration_order = "dense-once"` here; with the default order
//! they are those behind the factors before. It fits the update to 16 sequences, this to all. Ranks are those of the general
//! formula, where its code takes queries, keys and values for square. Its third step, adapters trained one factor at a time, needs
//! training and is not here. `whiten = false` is its update without whitening. Directions of `B x` that no token has are left out of the
//! update, which the results say.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::block::Map;
use crate::lowrank::linalg::{cholesky, eigen, over_lower, product};
use crate::lowrank::rank::{Align, Amount};
use crate::lowrank::truncated::{Split, fitted, truncated};
use crate::lowrank::{Factorisation, Known, LowRank, LowRankError, Maps, moment_of, wide};
use crate::prune::{Needs, Site};
use crate::registry::Method;

harness_core::choice! {
    /// What becomes of the left factor once the blocks before are factors.
    pub enum Update {
        /// It stays.
        None = "none",
        /// It is fitted to the inputs that are then there.
        ClosedForm = "closed-form",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the numbers of every matrix that its factors have less; 0.2 when neither it nor a rank is set.
        ratio: Option<f64> = None, Domain::open(0.0, 1.0);
        /// Rank of every matrix, instead of a share.
        rank: Option<usize> = None, Domain::closed(1.0, 65536.0);
        /// The rank that a share comes to is rounded down to a multiple of this.
        align: usize = 1, Domain::closed(1.0, 4096.0);
        /// Which factor takes the singular values.
        split: Split = Split::Both;
        /// What becomes of the left factor once the blocks before are factors.
        update: Update = Update::None;
        /// Whether matrices are weighted by their inputs; without, only the update looks at those.
        whiten: bool = true;
        /// Added to the diagonal of the second moment; where it is not set, what makes it positive definite, and nothing if it is.
        jitter: Option<f64> = None, Domain::half_open(0.0, f64::INFINITY);
        /// Which maps of a block become factors.
        maps: Maps = Maps::All;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "svd-llm",
        axis: Axis::Lowrank,
        about: "truncates the singular values of every matrix behind the Cholesky factor of its inputs, where each is a loss",
        source: "Wang, Zheng, Wan, Zhang: SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model Compression, ICLR 2025",
        version: 1,
        calibrated: true,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    let amount = Amount::of(settings.rank, settings.ratio)?;
    if !settings.whiten && settings.update == Update::None {
        let why = "without `whiten` and an `update` nothing looks at the inputs; that is the method `svd`";
        return Err(ParameterError::Together(why.to_owned()));
    }
    Ok(Method::LowRank(Box::new(Whitened { amount, settings })))
}

struct Whitened {
    amount: Amount,
    settings: Settings,
}

/// `S` with `S Sᵀ = G + jitter I`, and the jitter.
fn whitening(site: &Site, moment: &[f64], jitter: Option<f64>) -> Result<(Vec<f64>, f64), LowRankError> {
    let size = site.cols;
    let raised = |jitter: f64| {
        let mut raised = moment.to_vec();
        raised.iter_mut().step_by(size + 1).for_each(|value| *value += jitter);
        // A pivot of the size of rounding errors is none where nothing was added: whether it comes out above zero is a matter of chance.
        let most = moment.iter().step_by(size + 1).copied().fold(0.0, f64::max);
        let least = if jitter > 0.0 { 0.0 } else { size as f64 * f64::EPSILON * most };
        cholesky(&raised, size).filter(|lower| lower.iter().step_by(size + 1).all(|pivot| pivot * pivot > least))
    };
    let failed = |jitter| LowRankError::NotPositiveDefinite { site: site.name.to_owned(), jitter };
    if let Some(jitter) = jitter {
        return raised(jitter).map(|lower| (lower, jitter)).ok_or_else(|| failed(jitter));
    }
    if let Some(lower) = raised(0.0) {
        return Ok((lower, 0.0));
    }
    let (values, _) = eigen(moment, size).ok_or_else(|| failed(0.0))?;
    let jitter = 1e-6 - values.first().copied().unwrap_or(0.0);
    raised(jitter).map(|lower| (lower, jitter)).ok_or_else(|| failed(jitter))
}

impl LowRank for Whitened {
    fn needs(&self) -> Needs {
        Needs::SECOND_MOMENT
    }

    fn takes(&self, map: Map) -> bool {
        self.settings.maps.take(map)
    }

    fn factorise(&self, site: &Site, weight: &[f32], known: Known<'_>) -> Result<Factorisation, LowRankError> {
        let weight = wide(site, weight)?;
        let rank = self.amount.rank(site, Align::Down(self.settings.align))?;
        if !self.settings.whiten {
            return truncated(site, &weight, rank, self.settings.split, |inputs| inputs);
        }
        let (lower, jitter) = whitening(site, moment_of(site, known)?, self.settings.jitter)?;
        let weighted = product(&weight, &lower, (site.rows, site.cols, site.cols));
        let over = |inputs: Vec<f64>| over_lower(&inputs, &lower, site.cols);
        Ok(Factorisation { jitter, ..truncated(site, &weighted, rank, self.settings.split, over)? })
    }

    fn updates(&self) -> bool {
        self.settings.update == Update::ClosedForm
    }

    fn update(
        &self,
        site: &Site,
        weight: &[f32],
        mut factors: Factorisation,
        known: Known<'_>,
    ) -> Result<Factorisation, LowRankError> {
        let (weight, moment) = (wide(site, weight)?, moment_of(site, known)?);
        if let [right, left] = factors.factors.as_mut_slice() {
            (*left, factors.left_out) = fitted(site, &weight, right, moment)?;
        }
        Ok(factors)
    }
}
