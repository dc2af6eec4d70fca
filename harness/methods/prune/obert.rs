//! oBERT, the optimal BERT surgeon: pruning by the inverse Fisher information of blocks of weights, with the weights that stay moved to make
//! up for those that go.
//!
//! Every matrix is flattened and cut into blocks of `B` weights. With `g_t` the gradients of the loss on `m` samples of calibration text, each
//! block's `F⁻¹ = (λI + (1/m) Σ g_t g_tᵀ)⁻¹` is kept up to date gradient by gradient. A weight scores `w² / (2 [F⁻¹]_ii)` and pruning it takes `F⁻¹ e_i
//! w / [F⁻¹]_ii` from its block; a group `Q` of four scores `½ w_Qᵀ ([F⁻¹]_QQ)⁻¹ w_Q` and takes `F⁻¹ ([F⁻¹]_QQ)⁻¹ w_Q`. What pruned weights take
//! adds up as if each went alone. With `recomputations` the sparsity is reached in equal steps and the information taken anew of what is left.
//!
//! Eldar Kurtic, Daniel Campos, Tuan Nguyen, Elias Frantar, Mark Kurtz, Benjamin Fineran, Michael Goin, Dan Alistarh: The Optimal BERT Surgeon:
//! Scalable and Accurate Second-Order Pruning for Large Language Models, EMNLP 2022.
//!
//! # Difference from the reference
//! One shot, without fine-tuning or distillation between steps. A gradient is that of the mean negative log-likelihood of one
//! window, or the mean of `batch` windows; the published recipe takes batches of 8. Counts are exact; of groups, as many as fit into the
//! share. With `N:M` the weights with the lowest scores of each group go, in one step; that is not in the publication.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, Pattern};

use crate::prune::fisher::BlockFisher;
use crate::prune::whole::{WholeModel, WholeScope, batched, check_all, masks};
use crate::prune::{Amount, Needs, PruneError, Pruner, Site};
use crate::registry::Method;

/// Weights of a group.
const GROUP: usize = 4;

/// Bytes that the inverses of all blocks may take.
const LIMIT: f64 = 16e9;

harness_core::choice! {
    /// What is pruned together.
    pub enum Unit {
        /// Single weights.
        Weight = "weight",
        /// Four consecutive weights of a row.
        Block4 = "block4",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of weights that is pruned; 0.5 when neither it nor a pattern is set.
        sparsity: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Weights kept of every group along the inputs, for example 2:4; instead of a sparsity.
        pattern: Option<Pattern> = None;
        /// Which weights are compared with each other.
        scope: WholeScope = WholeScope::Global;
        /// What is pruned together.
        unit: Unit = Unit::Weight;
        /// Consecutive weights of a matrix whose information is one block.
        block: usize = 50, Domain::closed(1.0, 512.0);
        /// What is added to the diagonal of the information.
        damp: f64 = 1e-7, Domain::open(0.0, 1e6);
        /// Windows of calibration text whose gradients are averaged to one sample.
        batch: usize = 1, Domain::closed(1.0, 4096.0);
        /// Steps in which the sparsity is reached, each with gradients of the model as the last left it.
        recomputations: usize = 1, Domain::closed(1.0, 1024.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "obert",
        axis: Axis::Prune,
        about: "prunes by the inverse Fisher information of blocks of weights, which move to make up for what goes",
        source: "Kurtic et al.: The Optimal BERT Surgeon, EMNLP 2022",
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
    super::magnitude::check_scope(arm)?;
    let amount = Amount::of(settings.sparsity, settings.pattern)?;
    let refuse = |why: String| Err(ParameterError::Together(why));
    let Settings { block, unit, recomputations, scope, .. } = settings;
    if unit == Unit::Block4 && (!block.is_multiple_of(GROUP) || settings.pattern.is_some() || scope == WholeScope::Row) {
        return refuse(format!(
            "`unit = block4` needs a `block` of a multiple of {GROUP} (it is {block}), no `pattern` and no `scope = row`"
        ));
    }
    if settings.pattern.is_some() && recomputations > 1 {
        return refuse("a `pattern` is reached in one step; leave `recomputations` out".to_owned());
    }
    Ok(Method::Pruner(Box::new(Obert { settings, amount })))
}

struct Obert {
    settings: Settings,
    amount: Amount,
}

impl Obert {
    /// Prunes what lies between the masks so far and those of `amount`.
    fn step(&self, model: &mut dyn WholeModel, gone: &mut [Vec<bool>], amount: Amount) -> Result<(), PruneError> {
        let Settings { block, damp, batch, .. } = self.settings;
        let sizes: Vec<usize> = gone.iter().map(Vec::len).collect();
        let samples = model.windows() / batch;
        let mut fishers: Vec<BlockFisher> =
            sizes.iter().map(|&weights| BlockFisher::new(weights, block, damp, samples)).collect();
        batched(model, batch, &mut |at, gradient| {
            let mut gradient = gradient.to_vec();
            gradient.iter_mut().zip(&gone[at]).filter(|(_, gone)| **gone).for_each(|(g, _)| *g = 0.0);
            fishers[at].add(&gradient);
        })?;
        // What each weight scores, and what is taken along F⁻¹ when it goes.
        let (mut scores, mut steps) = (Vec::new(), Vec::new());
        for (at, fisher) in fishers.iter().enumerate() {
            let weight: Vec<f64> = model.weight(at).into_iter().map(f64::from).collect();
            let step: Vec<f64> = match self.settings.unit {
                Unit::Weight => weight.iter().zip(fisher.diagonal()).map(|(w, f)| w / f).collect(),
                Unit::Block4 => fisher.solved(&weight, GROUP).ok_or_else(|| {
                    PruneError::Decomposition { site: model.sites()[at].name.to_owned() }
                })?,
            };
            let mut own: Vec<f64> = weight.iter().zip(&step).map(|(w, s)| 0.5 * w * s).collect();
            own.iter_mut().zip(&gone[at]).filter(|(_, gone)| **gone).for_each(|(score, _)| *score = f64::NEG_INFINITY);
            scores.push(own);
            steps.push(step);
        }
        for (at, chosen) in self.chosen(&model.sites(), &scores, amount).into_iter().enumerate() {
            let taken = steps[at].iter().zip(chosen.iter().zip(&gone[at]));
            let along: Vec<f64> = taken.map(|(s, (now, before))| if *now && !before { *s } else { 0.0 }).collect();
            let moved = fishers[at].times(&along);
            let kept = model.weight(at).into_iter().zip(moved).zip(&chosen);
            let weight: Vec<f32> =
                kept.map(|((w, by), chosen)| if *chosen { 0.0 } else { (f64::from(w) - by) as f32 }).collect();
            model.set(at, &weight)?;
            gone[at] = chosen;
        }
        Ok(())
    }

    fn chosen(&self, sites: &[Site<'_>], scores: &[Vec<f64>], amount: Amount) -> Vec<Vec<bool>> {
        if self.settings.unit == Unit::Weight {
            return masks(sites, scores, amount, self.settings.scope);
        }
        let narrow: Vec<Site> = sites.iter().map(|site| Site { cols: site.cols / GROUP, ..*site }).collect();
        let sums: Vec<Vec<f64>> =
            scores.iter().map(|own| own.chunks_exact(GROUP).map(|group| group.iter().sum()).collect()).collect();
        let groups = masks(&narrow, &sums, amount, self.settings.scope);
        groups.iter().map(|own| own.iter().flat_map(|&gone| [gone; GROUP]).collect()).collect()
    }
}

impl Pruner for Obert {
    fn needs(&self) -> Needs {
        Needs::NOTHING
    }

    fn needs_gradients(&self) -> bool {
        true
    }

    fn prune_whole(&self, model: &mut dyn WholeModel) -> Result<(), PruneError> {
        let Settings { block, recomputations, unit, .. } = self.settings;
        check_all(model, self.amount)?;
        let sites = model.sites();
        let weights: usize = sites.iter().map(|site| site.rows * site.cols).sum();
        let gigabytes = weights as f64 * block as f64 * 8.0 / 1e9;
        if gigabytes * 1e9 > LIMIT {
            return Err(PruneError::Memory { block, weights, gigabytes, limit: LIMIT / 1e9 });
        }
        let untiled = |site: &&Site| !site.cols.is_multiple_of(GROUP) || !(site.rows * site.cols).is_multiple_of(block);
        if let Some(site) = sites.iter().find(|site| unit == Unit::Block4 && untiled(site)) {
            return Err(PruneError::Blocks { site: site.name.to_owned(), block, weights: site.rows * site.cols });
        }
        if self.amount.is_nothing() {
            return Ok(());
        }
        let mut gone: Vec<Vec<bool>> = sites.iter().map(|site| vec![false; site.rows * site.cols]).collect();
        for step in 1..=recomputations {
            let amount = match self.amount {
                Amount::Share(share) => Amount::Share(share * step as f64 / recomputations as f64),
                other => other,
            };
            self.step(model, &mut gone, amount)?;
        }
        Ok(())
    }
}
