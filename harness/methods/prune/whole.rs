//! A model whose matrices are pruned together, by the gradients of its loss.

use rand_chacha::ChaCha8Rng;

use super::select::{CountRule, Group, mask, select_share};
use super::{Amount, PruneError, Site, check_weight};

/// What a method may see of a whole model and change in it. Matrices are numbered in the order of the blocks.
pub trait WholeModel {
    /// The prunable matrices.
    fn sites(&self) -> Vec<Site<'_>>;

    /// A matrix, rows × cols, row-major.
    fn weight(&self, at: usize) -> Vec<f32>;

    /// Puts another matrix in its place; gradients are taken of that from now on.
    ///
    /// # Errors
    /// A matrix of another size.
    fn set(&mut self, at: usize, weight: &[f32]) -> Result<(), PruneError>;

    /// Windows of calibration text.
    fn windows(&self) -> usize;

    /// Shows the gradients of every window's mean negative log-likelihood by every matrix: the window, the matrix, the
    /// gradient. Windows come in order, and of each its matrices in order.
    ///
    /// # Errors
    /// A pass that failed.
    fn gradients(&self, visit: &mut dyn FnMut(usize, usize, &[f32])) -> Result<(), PruneError>;

    /// The random numbers of a matrix, from their beginning.
    fn random(&self, at: usize) -> ChaCha8Rng;
}

harness_core::choice! {
    /// Which weights are compared with each other.
    pub enum WholeScope {
        /// Those of all prunable matrices.
        Global = "global",
        /// Those of one matrix.
        Layer = "layer",
        /// Those of one output row.
        Row = "row",
    }
}

/// Means of the gradients of `batch` consecutive windows, shown as they become known; windows that fill no batch are left out.
///
/// # Errors
/// [`PruneError::Batches`] when no batch is filled, and those of the passes.
pub fn batched(
    model: &dyn WholeModel,
    batch: usize,
    visit: &mut dyn FnMut(usize, &[f64]),
) -> Result<usize, PruneError> {
    let (windows, batches) = (model.windows(), model.windows() / batch.max(1));
    if batches == 0 {
        return Err(PruneError::Batches { windows, batch });
    }
    let mut sums: Vec<Vec<f64>> = model.sites().iter().map(|_| Vec::new()).collect();
    model.gradients(&mut |window, at, gradient| {
        if window >= batches * batch {
            return;
        }
        let sum = &mut sums[at];
        sum.resize(gradient.len(), 0.0);
        sum.iter_mut().zip(gradient).for_each(|(sum, &g)| *sum += f64::from(g) / batch as f64);
        if (window + 1) % batch == 0 {
            visit(at, sum);
            sum.clear();
        }
    })?;
    Ok(batches)
}

/// Checks every matrix of a model and that the amount fits it.
///
/// # Errors
/// Those of [`Amount::check`] and [`check_weight`].
pub fn check_all(model: &dyn WholeModel, amount: Amount) -> Result<(), PruneError> {
    for (at, site) in model.sites().iter().enumerate() {
        amount.check(site)?;
        check_weight(site, &model.weight(at))?;
    }
    Ok(())
}

/// The masks of all matrices by their scores (rows × cols each), `true` where a weight is pruned.
pub fn masks(sites: &[Site<'_>], scores: &[Vec<f64>], amount: Amount, scope: WholeScope) -> Vec<Vec<bool>> {
    let each =
        |group| sites.iter().zip(scores).map(|(site, own)| mask(site, own, amount, group, CountRule::Exact)).collect();
    match (amount, scope) {
        (Amount::Share(share), WholeScope::Global) => {
            let all = scores.concat();
            let mut pruned = vec![false; all.len()];
            select_share(&all, share, CountRule::Exact, &mut pruned);
            let mut rest = pruned.as_slice();
            let mut take = |own: &Vec<f64>| {
                let (first, others) = rest.split_at(own.len());
                rest = others;
                first.to_vec()
            };
            scores.iter().map(&mut take).collect()
        }
        (_, WholeScope::Row) => each(Group::Row),
        _ => each(Group::Matrix),
    }
}
