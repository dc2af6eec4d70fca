//! GPTQ: column by column, the error of rounding a weight is made up for by the weights of its row still to come.
//!
//! With `H = (2/n) Σ x xᵀ` damped by `damp` times the mean of its diagonal and `H⁻¹ = UᵀU`: `e = (w_i − Q(w_i)) / U_ii`, and `e
//! U_i,i+1:` is taken from the weights right of it. The grid of a group is that of its weights as they then are, or with
//! `static_groups` that of the weights as they were. With `act_order` columns go by falling `H_ii`.
//!
//! Elias Frantar, Saleh Ashkboos, Torsten Hoefler, Dan Alistarh: GPTQ: Accurate Post-Training Quantization for Generative
//! Pre-trained Transformers, ICLR 2023.
//!
//! # Difference from the reference
//! `f64` instead of `f32` for `H`, `U` and the compensated weights. Weights of inputs that are always zero are zeroed before any
//! grid is fitted, not only before those of groups. A group is fitted to weights in which all errors before
//! it are made up for; the published code leaves out those of the same 128 columns where groups are smaller. Groups have
//! to divide the rows. When the factorisation fails the damping is raised tenfold, three times at most, instead of failing.
//! With `act_order` and groups that are not static the permutation is billed.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::quant::feedback::{Grids, feedback_sweep};
use crate::quant::packing::Packing;
use crate::quant::grid::{Grid, GridRule, Mode, ScaleType, width};
use crate::quant::{QuantError, Quantized, Quantizer, check_groups, group_of, statistics_of};
use crate::prune::{Needs, PruneError, Site};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Bits of a code: 2, 3, 4 or 8.
        bits: usize = 4, Domain::closed(2.0, 8.0);
        /// Weights of a row that share a scale; -1 for whole rows.
        group: i64 = 128, Domain::closed(-1.0, 65536.0);
        /// What is added to the diagonal of the Hessian, as a share of its mean.
        damp: f64 = 0.01, Domain::above(0.0, 1.0);
        /// Whether columns go by falling diagonal of the Hessian.
        act_order: bool = false;
        /// Whether grids are fitted to the weights as they were.
        static_groups: bool = false;
        /// Where the grids lie.
        mode: Mode = Mode::Asym;
        /// Whether ranges are shrunk to where the error to the power 2.4 is least.
        mse_clip: bool = false;
        /// How scales are stored.
        scales: ScaleType = ScaleType::F16;
        /// Columns between two updates of the columns after them; changes no result beyond rounding.
        block: usize = 128, Domain::closed(1.0, 65536.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "gptq",
        axis: Axis::Quant,
        about: "rounds column by column and lets the weights after each make up for its error",
        source: "Frantar, Ashkboos, Hoefler, Alistarh: GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, ICLR 2023",
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
    Ok(Method::Quantizer(Box::new(Gptq::of(arm)?)))
}

fn check_bits(bits: usize) -> Result<(), ParameterError> {
    if [2, 3, 4, 8].contains(&bits) {
        Ok(())
    } else {
        Err(ParameterError::Together(format!("`bits = {bits}` is none of 2, 3, 4, 8")))
    }
}

/// The method as it is set.
pub(crate) struct Gptq {
    rule: GridRule,
    group: Option<usize>,
    damp: f64,
    act_order: bool,
    static_groups: bool,
    block: usize,
}

impl Gptq {
    pub(crate) fn of(arm: &Arm) -> Result<Self, ParameterError> {
        let Settings { bits, group, damp, act_order, static_groups, mode, mse_clip, scales, block } =
            Settings::resolve(arm)?;
        check_bits(bits)?;
        let rule = GridRule { bits: width(bits)?, mode, scales, mse_clip };
        Ok(Self { rule, group: group_of(group)?, damp, act_order, static_groups, block })
    }

    /// In the order of the columns, with grids of the weights as they then are.
    pub(crate) fn with(rule: GridRule, group: Option<usize>, damp: f64) -> Result<Self, ParameterError> {
        check_bits(rule.bits as usize)?;
        Ok(Self { rule, group, damp, act_order: false, static_groups: false, block: 128 })
    }

    /// The grids of the weights as they are, one a group.
    fn fitted(&self, site: &Site, weight: &[f32], group: usize) -> Result<Vec<Grid>, QuantError> {
        weight.chunks(group).map(|members| self.rule.fit(site, members)).collect()
    }
}

impl Quantizer for Gptq {
    fn needs(&self) -> Needs {
        Needs::SECOND_MOMENT
    }

    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError> {
        let cols = site.cols;
        let group = self.group.unwrap_or(cols);
        check_groups(site, weight, group)?;
        let statistics = statistics_of(site, statistics)?;
        let failed = |source| PruneError::Factor { site: site.name.to_owned(), source };
        let (order, factor) = if self.act_order {
            statistics.ordered_factor(self.damp).map_err(failed)?
        } else {
            ((0..cols).collect(), statistics.inverse_factor(self.damp).map_err(failed)?)
        };
        // Weights of inputs that are always zero count for nothing and would only widen the grids.
        let mut alive = weight.to_vec();
        for (place, _) in factor.dead.iter().enumerate().filter(|(_, dead)| **dead) {
            alive.iter_mut().skip(order[place]).step_by(cols).for_each(|weight| *weight = 0.0);
        }
        let permuted = |line: &[f32]| order.iter().map(|&j| f64::from(line[j])).collect::<Vec<f64>>();
        let mut wide: Vec<f64> = alive.chunks(cols).flat_map(permuted).collect();
        let found = if self.static_groups {
            let grids = self.fitted(site, &alive, group)?;
            let spread: Vec<Grid> = (0..site.rows)
                .flat_map(|row| order.iter().map(move |&j| (row, j)))
                .map(|(row, j)| grids[(row * cols + j) / group])
                .collect();
            let mut found = feedback_sweep(site, &mut wide, &factor, Grids::Given(&spread), self.block)?;
            found.grids = grids;
            found
        } else {
            feedback_sweep(site, &mut wide, &factor, Grids::Fitted(self.rule, group), self.block)?
        };
        let mut codes = vec![0; weight.len()];
        let mut values = vec![0.0; weight.len()];
        for row in 0..site.rows {
            for (place, &j) in order.iter().enumerate() {
                codes[row * cols + j] = found.codes[row * cols + place];
                values[row * cols + j] = found.values[row * cols + place];
            }
        }
        let mut bits = self.rule.bits(weight.len(), found.grids.len());
        if self.act_order && !self.static_groups && group < cols {
            bits.indices = cols as u64 * u64::from(usize::BITS - (cols - 1).leading_zeros());
        }
        Ok(Quantized {
            values,
            codes,
            scales: found.grids.iter().map(|grid| grid.scale).collect(),
            zeros: if self.rule.has_zeros() { found.grids.iter().map(|grid| grid.zero).collect() } else { Vec::new() },
            bits,
            fallback: None,
            // Groups of columns in another order have no kernel.
            packing: (bits.indices == 0).then(|| Packing::even(self.rule.bits, group)),
            operators: None,
        })
    }
}
