//! ASVD: a truncated singular value decomposition of the matrix with its columns scaled by the size of their inputs.
//!
//! `S = diag(a_j^α + 10⁻⁶)` with `a_j` the mean or the greatest magnitude of input `j`, or the root of its Fisher information; `W S = U Σ Vᵀ`
//! becomes `(U_r Σ_r^½)(Σ_r^½ V_rᵀ S⁻¹)`. Large inputs are kept better than small ones. An input that is always zero has a scale of 10⁻⁶, which
//! the results say.
//!
//! `allocation = sensitivity` first takes every map apart alone, at each of `shares` of its numbers, and measures the loss of the dense model
//! with it; each map then has the smallest share that costs less than a common bound, or stays whole (`allotment.rs`).
//!
//! Zhihang Yuan, Yuzhang Shang, Yue Song, Qiang Wu, Yan Yan, Guangyu Sun: ASVD: Activation-aware Singular Value Decomposition for
//! Compressing Large Language Models, 2023.
//!
//! # Difference from the reference
//! The decomposition is exact, where the published code draws a random subspace. Every matrix has the same share unless they are
//! searched for; the published search stops one step beside its bound and can aim at a perplexity, this aims at `ratio` alone. Shares
//! above one for keys and values, which save nothing, are not here. `a_j` is averaged over all tokens, where the code adds the averages
//! of sequences up, a factor that all columns share.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::block::Map;
use crate::lowrank::linalg::with_columns;
use crate::lowrank::rank::{Align, Amount};
use crate::lowrank::truncated::{Split, over_columns, raised, truncated};
use crate::lowrank::{Factorisation, Known, LowRank, LowRankError, Maps, Search, statistics_of, wide};
use crate::prune::{Needs, PruneError, Site};
use crate::registry::Method;

/// Added to every scale.
const LEAST: f64 = 1e-6;

/// Shares that are tried where none are set.
const SHARES: [f64; 6] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

harness_core::choice! {
    /// How large an input is.
    pub enum Size {
        /// The mean of its magnitudes.
        Mean = "abs-mean",
        /// The greatest of its magnitudes.
        Greatest = "abs-max",
        /// The root of the mean square of the loss' gradients by its weights.
        Fisher = "fisher",
    }
}

harness_core::choice! {
    /// How large the factors of each matrix are.
    pub enum Allocation {
        /// All lose the same share.
        Uniform = "uniform",
        /// Those that cost the model least when they alone are factors lose most.
        Sensitivity = "sensitivity",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the numbers of every matrix that its factors have less; 0.2 when neither it nor a rank is set.
        ratio: Option<f64> = None, Domain::open(0.0, 1.0);
        /// Rank of every matrix, instead of a share.
        rank: Option<usize> = None, Domain::closed(1.0, 65536.0);
        /// The rank that a share comes to is rounded up to a multiple of this.
        align: usize = 1, Domain::closed(1.0, 4096.0);
        /// Power of the size of inputs; 0 is the plain decomposition.
        alpha: f64 = 0.5, Domain::closed(0.0, 1.0);
        /// How large an input is.
        size: Size = Size::Mean;
        /// How large the factors of each matrix are; the ratio is that of all of them together.
        allocation: Allocation = Allocation::Uniform;
        /// Shares of its numbers that a matrix is tried with where they are told out by sensitivity; 0.4 to 0.9 in steps of 0.1 where none are set.
        shares: Option<Vec<f64>> = None, Domain::open(0.0, 1.0);
        /// Which factor takes the singular values.
        split: Split = Split::Both;
        /// Which maps of a block become factors.
        maps: Maps = Maps::All;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "asvd",
        axis: Axis::Lowrank,
        about: "truncates the singular values of every matrix with its columns scaled by a power of the size of their inputs",
        source: "Yuan et al.: ASVD: Activation-aware Singular Value Decomposition for Compressing Large Language Models, 2023",
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
    let searched = settings.allocation == Allocation::Sensitivity;
    if searched && settings.rank.is_some() {
        let why =
            "`rank` is that of every matrix, and `allocation = sensitivity` gives each its own; set `ratio` instead";
        return Err(ParameterError::Together(why.to_owned()));
    }
    if settings.shares.as_ref().is_some_and(|shares| !searched || shares.is_empty()) {
        let why = "`shares` are one or more that are tried under `allocation = sensitivity`, and nothing without it";
        return Err(ParameterError::Together(why.to_owned()));
    }
    Ok(Method::LowRank(Box::new(Scaled { amount, settings })))
}

struct Scaled {
    amount: Amount,
    settings: Settings,
}

impl Scaled {
    fn sizes(&self, site: &Site, known: Known<'_>) -> Result<Vec<f64>, LowRankError> {
        let none = || LowRankError::Input(PruneError::NoCalibration { site: site.name.to_owned() });
        match self.settings.size {
            Size::Mean => statistics_of(site, known)?.mean_magnitudes().ok_or_else(none),
            Size::Greatest => {
                let greatest = statistics_of(site, known)?.largest_magnitudes().ok_or_else(none)?;
                Ok(greatest.iter().map(|&value| f64::from(value)).collect())
            }
            Size::Fisher => {
                let gradients = known.gradients.filter(|gradients| gradients.len() == site.cols);
                let gradients = gradients.ok_or_else(|| LowRankError::NoGradients { site: site.name.to_owned() })?;
                Ok(gradients.iter().map(|sum| (sum / site.rows as f64).sqrt()).collect())
            }
        }
    }
}

impl LowRank for Scaled {
    fn needs(&self) -> Needs {
        if self.settings.size == Size::Fisher { Needs::NOTHING } else { Needs::MAGNITUDES }
    }

    fn needs_gradients(&self) -> bool {
        self.settings.size == Size::Fisher
    }

    fn takes(&self, map: Map) -> bool {
        self.settings.maps.take(map)
    }

    fn search(&self) -> Option<Search> {
        let Amount::Ratio(ratio) = self.amount else { return None };
        let shares = self.settings.shares.clone().unwrap_or_else(|| SHARES.to_vec());
        (self.settings.allocation == Allocation::Sensitivity).then_some(Search { ratio, shares })
    }

    fn factorise(&self, site: &Site, weight: &[f32], known: Known<'_>) -> Result<Factorisation, LowRankError> {
        let weight = wide(site, weight)?;
        let amount = match (self.settings.allocation, known.share) {
            (Allocation::Uniform, _) => self.amount,
            (Allocation::Sensitivity, Some(share)) => Amount::Ratio(1.0 - share),
            (Allocation::Sensitivity, None) => return Err(LowRankError::NoSearch { site: site.name.to_owned() }),
        };
        let rank = amount.rank(site, Align::Up(self.settings.align))?;
        let powers: Vec<f64> = self.sizes(site, known)?.iter().map(|size| size.powf(self.settings.alpha)).collect();
        let scales: Vec<f64> = powers.iter().map(|power| power + LEAST).collect();
        let over = |inputs: Vec<f64>| over_columns(&inputs, &scales);
        let found = truncated(site, &with_columns(&weight, &scales), rank, self.settings.split, over)?;
        Ok(raised(found, &powers, LEAST))
    }
}
