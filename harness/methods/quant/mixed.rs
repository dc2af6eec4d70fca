//! A format of its own for every matrix, within one budget of bits a weight.
//!
//! Every linear map is quantized with every choice, and the error of its outputs on calibration text is measured against the
//! dense model, `tr(ΔHΔᵀ) / tr(WHWᵀ)` with `H = Σxxᵀ` of the dense model's inputs. All maps begin with the choice of fewest
//! bits; then the step to a larger choice that lowers the sum of the errors most for each bit comes next, as long as all maps
//! together stay within the budget, to the bit. Bits are all that a format takes: codes, scales, zero points, codebooks.
//!
//! # Difference from the reference
//! There is none published in this form. Searches of this kind (those of `ExLlamaV2`'s EXL2 and of llama.cpp's tensor
//! types) measure errors map by map as well; theirs anneal or sort by hand-set rules, this one is greedy along the convex hulls
//! of error over bits, so that it is deterministic and a larger budget never gives a larger sum. Errors are summed as
//! shares, every map counting alike, and interactions between maps are left out. Bits of what is not quantized do not count.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::prune::{Needs, Site};
use crate::quant::mixture::Mixture;
use crate::quant::{QuantError, Quantized, Quantizer};
use crate::registry::{self, Method};
use crate::statistics::LinearStatistics;

/// Methods that give one matrix a format and change nothing else.
const FORMATS: [&str; 20] = [
    "rtn", "nf4", "fp4", "af4", "kbit", "gptq", "hqq", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k",
    "q5_k", "q6_k", "mxfp4", "nvfp4", "fp8",
];

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Bits a weight of all quantized maps together, scales and all else included.
        budget: f64 = 4.5, Domain::closed(1.0, 16.0);
        /// The arms that a map may have, joined by `|`.
        choices: String = "rtn(bits=2, group=64) | rtn(bits=3, group=64) | rtn(bits=4, group=64) | rtn(bits=8, group=64)".to_owned();
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "mixed",
        axis: Axis::Quant,
        about: "gives every map the format among several that lowers the error of outputs most for its bits, within a budget",
        source: "greedy search on the convex hulls of output error over bits",
        // The results change whenever those of a format do.
        version: 1 + registry::versions_of("quant/", "quant/mixed.rs"),
        calibrated: true,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit, a choice that is no format.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { budget, choices } = Settings::resolve(arm)?;
    let refuse = |why: String| ParameterError::Together(format!("`choices`: {why}"));
    let arms = Arm::parse_chain(&choices).map_err(|error| refuse(error.to_string()))?;
    let choice = |arm: &Arm| {
        let found = registry::quantizer(arm);
        if found.is_ok() && !FORMATS.contains(&arm.id.as_str()) {
            let known = FORMATS.join(", ");
            return Err(refuse(format!("`{}` is not a format of one matrix; there is {known}", arm.id)));
        }
        found.map_err(|error| refuse(error.to_string()))
    };
    // Told by its id first, for `mixed` itself would be built without end.
    if let Some(own) = arms.iter().find(|arm| arm.id == "mixed") {
        return Err(refuse(format!("`{}` is not a format of one matrix; there is {}", own.id, FORMATS.join(", "))));
    }
    let choices = arms.iter().map(choice).collect::<Result<Vec<_>, _>>()?;
    Ok(Method::Quantizer(Box::new(Mixed { mixture: Mixture { budget, choices } })))
}

struct Mixed {
    mixture: Mixture,
}

impl Quantizer for Mixed {
    fn needs(&self) -> Needs {
        self.mixture.needs()
    }

    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError> {
        self.mixture.alone(site, weight, statistics)
    }

    fn mixture(&self) -> Option<&Mixture> {
        Some(&self.mixture)
    }
}
