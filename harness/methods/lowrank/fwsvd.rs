//! FWSVD: a truncated singular value decomposition of the matrix with its columns scaled by their Fisher information.
//!
//! `D = diag(√F_j)` with `F_j = Σ_n E[(∂L/∂W_nj)²]` over calibration sequences, at least 10⁻⁶; `W D = U Σ Vᵀ` becomes `(U_r Σ_r^½)(Σ_r^½ V_rᵀ
//! D⁻¹)`, and `‖(W − Ŵ) D‖² = Σ_{i>r} σ_i²`.
//!
//! Yen-Chang Hsu, Ting Hua, Sungen Chang, Qian Lou, Yilin Shen, Hongxia Jin: Language model compression with weighted low-rank
//! factorization, ICLR 2022.
//!
//! # Difference from the reference
//! The information is the publication's with columns in the place of its rows, for `W` is outputs by inputs here. Gradients are those
//! of the mean negative log-likelihood of each sequence by the dense model, squared and averaged; they are not taken anew between
//! blocks. Fitting the factors to a task afterwards, as the publication does, is training and not here.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::block::Map;
use crate::lowrank::linalg::with_columns;
use crate::lowrank::rank::{Align, Amount};
use crate::lowrank::truncated::{Split, over_columns, raised, truncated};
use crate::lowrank::{Factorisation, Known, LowRank, LowRankError, Maps, wide};
use crate::prune::Site;
use crate::registry::Method;

/// The least root of an information.
const FLOOR: f64 = 1e-6;

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
        id: "fwsvd",
        axis: Axis::Lowrank,
        about: "truncates the singular values of every matrix with its columns scaled by the gradients of the loss",
        source: "Hsu et al.: Language model compression with weighted low-rank factorization, ICLR 2022",
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
    let Settings { ratio, rank, align, split, maps } = Settings::resolve(arm)?;
    Ok(Method::LowRank(Box::new(Weighted { amount: Amount::of(rank, ratio)?, align, split, maps })))
}

struct Weighted {
    amount: Amount,
    align: usize,
    split: Split,
    maps: Maps,
}

impl LowRank for Weighted {
    fn needs_gradients(&self) -> bool {
        true
    }

    fn takes(&self, map: Map) -> bool {
        self.maps.take(map)
    }

    fn factorise(&self, site: &Site, weight: &[f32], known: Known<'_>) -> Result<Factorisation, LowRankError> {
        let weight = wide(site, weight)?;
        let rank = self.amount.rank(site, Align::Down(self.align))?;
        let none = || LowRankError::NoGradients { site: site.name.to_owned() };
        let information = known.gradients.filter(|sums| sums.len() == site.cols).ok_or_else(none)?;
        let exact: Vec<f64> = information.iter().map(|sum| sum.sqrt()).collect();
        let roots: Vec<f64> = exact.iter().map(|root| root.max(FLOOR)).collect();
        let over = |inputs: Vec<f64>| over_columns(&inputs, &roots);
        let found = truncated(site, &with_columns(&weight, &roots), rank, self.split, over)?;
        Ok(raised(found, &exact, FLOOR))
    }
}
