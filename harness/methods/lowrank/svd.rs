//! Truncated singular value decomposition: the matrix of rank `r` that is nearest in the Frobenius norm.
//!
//! `W = U Σ Vᵀ` becomes `(U_r Σ_r^½)(Σ_r^½ V_rᵀ)` and `‖W − Ŵ‖² = Σ_{i>r} σ_i²` (Eckart and Young, 1936). The rank is `⌊N K (1 − ratio) / (N +
//! K)⌋`, so that the factors have that share of the numbers less.
//!
//! # Difference from the reference
//! None. It looks at no inputs, so that it is the floor that calibrated methods have to beat.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::block::Map;
use crate::lowrank::rank::{Align, Amount};
use crate::lowrank::truncated::{Split, truncated};
use crate::lowrank::{Factorisation, Known, LowRank, LowRankError, Maps, wide};
use crate::prune::Site;
use crate::registry::Method;

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
        /// Which maps of a block become factors.
        maps: Maps = Maps::All;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "svd",
        axis: Axis::Lowrank,
        about: "truncates the singular values of every matrix",
        source: "Eckart, Young: The approximation of one matrix by another of lower rank, Psychometrika 1936",
        version: 1,
        calibrated: false,
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
    let Settings { ratio, rank, align, split, maps } = Settings::resolve(arm)?;
    Ok(Method::LowRank(Box::new(Plain { amount: Amount::of(rank, ratio)?, align, split, maps })))
}

struct Plain {
    amount: Amount,
    align: usize,
    split: Split,
    maps: Maps,
}

impl LowRank for Plain {
    fn takes(&self, map: Map) -> bool {
        self.maps.take(map)
    }

    fn factorise(&self, site: &Site, weight: &[f32], _: Known<'_>) -> Result<Factorisation, LowRankError> {
        let weight = wide(site, weight)?;
        let rank = self.amount.rank(site, Align::Down(self.align))?;
        truncated(site, &weight, rank, self.split, |inputs| inputs)
    }
}
