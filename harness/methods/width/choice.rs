//! Which heads and channels of every block go, as many of each: by their weights, by their weights times inputs, or at random.

use rand_chacha::ChaCha8Rng;

use super::flap::{Worth, fluctuations, worths};
use super::units::{Going, matrix, narrowed, summed};
use crate::block::Map;
use crate::registry::random::scores;
use crate::shrink::{Shorter, ShrinkError, Stack};

/// Those of the least `Σ |w|^power` over all weights that go with them.
///
/// # Errors
/// Those of [`narrowed`].
pub fn by_magnitude(model: &mut dyn Stack, going: Going, power: i32) -> Result<Shorter, ShrinkError> {
    narrowed(model, going, "the magnitude", &mut |model, block| {
        summed(model, block, &mut |_, _, weight| f64::from(weight).abs().powi(power))
    })
}

/// Those of the least `mean_i |W_ij| · ‖X_j‖` of the columns j of the output map and the contraction that read them, added up over a group of heads.
///
/// # Errors
/// Those of [`narrowed`] and of a pass over the samples.
pub fn by_inputs(model: &mut dyn Stack, going: Going) -> Result<Shorter, ShrinkError> {
    let seen = fluctuations(model)?;
    narrowed(model, going, "weights times inputs", &mut |model, block| {
        let [outputs, contractions] = &seen[block];
        let columns = worths(&matrix(model, block, Map::O)?, outputs, Worth::Wifn);
        let groups = columns.chunks_exact(model.inner(block).group_width()).map(|group| group.iter().sum());
        let groups = groups.collect();
        Ok((groups, worths(&matrix(model, block, Map::Down)?, contractions, Worth::Wifn)))
    })
}

/// Those that draw the least of uniform scores.
///
/// # Errors
/// Those of [`narrowed`].
pub fn at_random(model: &mut dyn Stack, going: Going, random: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
    narrowed(model, going, "the score", &mut |model, block| {
        let inner = model.inner(block);
        Ok((scores(inner.groups, random), scores(inner.channels, random)))
    })
}
