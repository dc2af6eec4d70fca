//! Factors in full precision beside what they leave of the matrix: another arm makes the factors, and what follows prunes or quantizes the remainder alone.
//!
//! `W = A B + R` with A and B of the arm named by `like`. Of quantization or pruning behind it only `R` is changed, so that the map is `A B + Q(R)`. The
//! directions that A and B take along, often those with the outliers, are not rounded.
//!
//! Sources: Yao et al., ZeroQuant-V2: Exploring Post-training Quantization in LLMs, 2023; Li et al., SVDQuant: Absorbing Outliers by Low-Rank Components
//! for 4-Bit Diffusion Models, 2024.
//!
//! # Difference from the reference
//! ZeroQuant-V2 makes its factors of what quantization loses, `W − Q(W)`; here, as in SVDQuant, quantization comes second. SVDQuant moves outliers of activations
//! into the weights first, and runs both branches in one kernel; here nothing is moved and the branches are two products.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use super::{asvd, compactifai, curing, fwsvd, svd, svd_llm};
use crate::block::Map;
use crate::lowrank::{Blocks, Factorisation, Known, LowRank, LowRankError, Search};
use crate::prune::{Needs, Site};
use crate::registry::{self, Method};

/// The methods whose factors can stand beside a remainder.
const BESIDE: [fn() -> MethodSpec; 6] =
    [svd::spec, fwsvd::spec, asvd::spec, svd_llm::spec, curing::spec, compactifai::spec];

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The arm that makes the factors.
        like: String = "svd-llm(ratio=0.9)".to_owned();
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "remainder",
        axis: Axis::Lowrank,
        about: "keeps what the factors of another arm leave of every matrix beside them, for pruning or quantization to change alone",
        source: "Yao et al.: ZeroQuant-V2: Exploring Post-training Quantization in LLMs, 2023; Li et al.: SVDQuant: Absorbing Outliers by Low-Rank Components for 4-Bit Diffusion Models, 2024",
        version: 1 + BESIDE.iter().map(|spec| spec().version).sum::<u32>(),
        calibrated: true,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit, or an arm that makes no factors.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { like } = Settings::resolve(arm)?;
    let refuse = |why: String| ParameterError::Together(format!("`like`: {why}"));
    let inner: Arm = like.parse().map_err(|error: harness_core::GrammarError| refuse(error.to_string()))?;
    if !BESIDE.iter().any(|spec| spec().id == inner.id) {
        let known: Vec<&str> = BESIDE.iter().map(|spec| spec().id).collect();
        return Err(refuse(format!("`{}` makes no factors; one of {} does", inner.id, known.join(", "))));
    }
    let inner = registry::lowrank(&inner).map_err(|error| refuse(error.to_string()))?;
    Ok(Method::LowRank(Box::new(Remainder(inner))))
}

struct Remainder(Box<dyn LowRank>);

impl LowRank for Remainder {
    fn needs(&self) -> Needs {
        self.0.needs()
    }

    fn needs_gradients(&self) -> bool {
        self.0.needs_gradients()
    }

    fn needs_distances(&self) -> bool {
        self.0.needs_distances()
    }

    fn search(&self) -> Option<Search> {
        self.0.search()
    }

    fn blocks(&self, blocks: &Blocks) -> Result<Vec<usize>, LowRankError> {
        self.0.blocks(blocks)
    }

    fn takes(&self, map: Map) -> bool {
        self.0.takes(map)
    }

    fn factorise(&self, site: &Site, weight: &[f32], known: Known<'_>) -> Result<Factorisation, LowRankError> {
        self.0.factorise(site, weight, known)
    }

    fn updates(&self) -> bool {
        self.0.updates()
    }

    fn update(
        &self,
        site: &Site,
        weight: &[f32],
        factors: Factorisation,
        known: Known<'_>,
    ) -> Result<Factorisation, LowRankError> {
        self.0.update(site, weight, factors, known)
    }

    fn keeps_remainder(&self) -> bool {
        true
    }
}
