//! What is removed of a block's inside, and what stays of it.
//!
//! The units are key-value heads, each with all query heads that read it, and channels of the feed-forward part. A unit is all that goes with it:
//! of a group of heads the rows of queries, keys and values and the columns of the output map; of a channel the rows of gate and expansion and the
//! column of the contraction.

use std::sync::Arc;

use harness_core::ParameterError;

use crate::block::Map;
use crate::shrink::{Shorter, ShrinkError, Stack};

/// How wide a block is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inner {
    /// Key-value heads.
    pub groups: usize,
    /// Query heads that read each.
    pub shared: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// Channels of the feed-forward part.
    pub channels: usize,
    /// Whether channels have a gate.
    pub gated: bool,
}

impl Inner {
    /// Inputs of the output map that a group makes.
    pub fn group_width(&self) -> usize {
        self.shared * self.head_dim
    }

    /// Weights of a group of heads, and of a channel, in a model of this width.
    pub fn costs(&self, hidden: usize) -> (u64, u64) {
        let group = 2 * self.head_dim * (self.shared + 1) * hidden;
        (group as u64, ((2 + usize::from(self.gated)) * hidden) as u64)
    }
}

/// What changes about a map beside the columns that it loses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fit {
    /// The whole matrix, columns that go included, row-major.
    pub weight: Option<Arc<[f32]>>,
    /// What is added to the bias.
    pub bias: Option<Vec<f32>>,
}

/// What is left of one block.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Narrow {
    /// Groups of heads that stay, rising.
    pub groups: Vec<usize>,
    /// Channels that stay, rising.
    pub channels: Vec<usize>,
    /// What changes about the output map of attention.
    pub output: Fit,
    /// What changes about the contraction.
    pub down: Fit,
}

impl Narrow {
    /// What is left where nothing else changes.
    pub fn of(groups: Vec<usize>, channels: Vec<usize>) -> Self {
        Self { groups, channels, ..Self::default() }
    }
}

impl Shorter {
    /// All blocks of a model, each with what is left of it.
    pub fn of_widths(widths: Vec<Narrow>) -> Self {
        Self { widths: widths.clone(), ..Self::of_blocks(0..widths.len()) }
    }
}

/// How much of each block goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Going {
    /// A share of its groups and of its channels, rounded down.
    Share(f64),
    /// So many query heads and channels.
    Counts {
        /// Query heads.
        heads: usize,
        /// Channels.
        channels: usize,
    },
}

/// Share of heads and channels that goes where nothing is set.
const SHARE: f64 = 0.25;

impl Going {
    /// Of the parameters that say it.
    ///
    /// # Errors
    /// A share beside numbers.
    pub fn of(ratio: Option<f64>, heads: Option<usize>, channels: Option<usize>) -> Result<Self, ParameterError> {
        match (ratio, heads, channels) {
            (ratio, None, None) => Ok(Self::Share(ratio.unwrap_or(SHARE))),
            (None, heads, channels) => Ok(Self::Counts { heads: heads.unwrap_or(0), channels: channels.unwrap_or(0) }),
            (Some(_), ..) => Err(ParameterError::Together(
                "`ratio` says how many `heads` and `channels` go; set either it or those".to_owned(),
            )),
        }
    }

    /// Groups and channels of a block that go.
    ///
    /// # Errors
    /// [`ShrinkError::Group`] where a group would be cut, [`ShrinkError::Nothing`] where nothing would be left.
    pub fn of_block(self, inner: Inner, block: usize) -> Result<(usize, usize), ShrinkError> {
        let (groups, channels) = match self {
            // A share below one leaves one at least.
            Self::Share(share) => {
                let of = |count: usize| (share * count as f64).floor() as usize;
                (of(inner.groups), of(inner.channels))
            }
            Self::Counts { heads, channels } => {
                if !heads.is_multiple_of(inner.shared.max(1)) {
                    return Err(ShrinkError::Group { heads, shared: inner.shared, block });
                }
                (heads / inner.shared.max(1), channels)
            }
        };
        for (what, asked, available) in
            [("groups of heads", groups, inner.groups), ("channels", channels, inner.channels)]
        {
            if asked >= available && asked > 0 {
                return Err(ShrinkError::Nothing { what, asked, available, block });
            }
        }
        Ok((groups, channels))
    }
}

/// The places that stay when the `going` of the lowest scores go, of equal ones the first.
///
/// # Errors
/// [`ShrinkError::NotFinite`].
pub fn stay(scores: &[f64], going: usize, what: &'static str, block: usize) -> Result<Vec<usize>, ShrinkError> {
    if scores.iter().any(|score| score.is_nan()) {
        return Err(ShrinkError::NotFinite { what, block });
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut left = order.split_off(going.min(scores.len()));
    left.sort_unstable();
    Ok(left)
}

/// What each block keeps when the `going` lowest of all scores go, but of each block the best stays.
///
/// # Errors
/// [`ShrinkError::NotFinite`].
pub fn stay_of_all(scores: &[Vec<f64>], going: usize, what: &'static str) -> Result<Vec<Vec<usize>>, ShrinkError> {
    if let Some(block) = scores.iter().position(|scores| scores.iter().any(|score| score.is_nan())) {
        return Err(ShrinkError::NotFinite { what, block });
    }
    let spared: Vec<Option<usize>> = scores.iter().map(|scores| best(scores)).collect();
    let mut all: Vec<(usize, usize)> = (scores.iter().enumerate())
        .flat_map(|(block, own)| (0..own.len()).map(move |at| (block, at)))
        .filter(|(block, at)| spared[*block] != Some(*at))
        .collect();
    all.sort_by(|(a, i), (b, j)| scores[*a][*i].total_cmp(&scores[*b][*j]));
    all.truncate(going);
    let mut left: Vec<Vec<usize>> = scores.iter().map(|scores| (0..scores.len()).collect()).collect();
    for (block, at) in all {
        left[block].retain(|place| *place != at);
    }
    Ok(left)
}

/// The place of the best score, of equal ones the last.
pub fn best(scores: &[f64]) -> Option<usize> {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
}

/// Scores of the groups of heads and of the channels of one block.
pub type BlockScores = (Vec<f64>, Vec<f64>);

/// A model whose every block loses as many units as are to go, those of the lowest scores.
///
/// # Errors
/// Those of [`Going::of_block`] and of the scores.
pub fn narrowed(
    model: &mut dyn Stack,
    going: Going,
    what: &'static str,
    scores: &mut dyn FnMut(&mut dyn Stack, usize) -> Result<BlockScores, ShrinkError>,
) -> Result<Shorter, ShrinkError> {
    let counts = (0..model.blocks()).map(|block| going.of_block(model.inner(block), block));
    let counts = counts.collect::<Result<Vec<_>, _>>()?;
    let mut widths = Vec::with_capacity(counts.len());
    for (block, (groups, channels)) in counts.into_iter().enumerate() {
        let (of_groups, of_channels) = scores(model, block)?;
        widths.push(Narrow::of(stay(&of_groups, groups, what, block)?, stay(&of_channels, channels, what, block)?));
    }
    Ok(Shorter::of_widths(widths))
}

/// A matrix that a block has to have.
///
/// # Errors
/// [`ShrinkError::Pass`].
pub fn matrix(model: &mut dyn Stack, block: usize, map: Map) -> Result<Vec<f32>, ShrinkError> {
    model.matrix(block, map)?.ok_or_else(|| ShrinkError::Pass(format!("block {block} has no {map:?} map")))
}

/// Sums over the units of a block of a value of each weight: `value(map, place in the matrix)`, groups first.
pub fn summed(
    model: &mut dyn Stack,
    block: usize,
    value: &mut dyn FnMut(Map, usize, f32) -> f64,
) -> Result<BlockScores, ShrinkError> {
    let inner = model.inner(block);
    let (mut groups, mut channels) = (vec![0.0; inner.groups], vec![0.0; inner.channels]);
    for map in Map::ALL {
        let Some(values) = model.matrix(block, map)? else { continue };
        for (at, weight) in values.iter().enumerate() {
            let found = value(map, at, *weight);
            match unit(inner, map, at, values.len()) {
                (true, unit) => groups[unit] += found,
                (false, unit) => channels[unit] += found,
            }
        }
    }
    Ok((groups, channels))
}

/// Whose a weight is: a group of heads or a channel, and which.
pub fn unit(inner: Inner, map: Map, at: usize, len: usize) -> (bool, usize) {
    let wide = inner.groups * inner.group_width();
    match map {
        Map::Q | Map::K | Map::V => (true, at / (len / inner.groups)),
        Map::O => (true, at % wide / inner.group_width()),
        Map::Gate | Map::Up => (false, at / (len / inner.channels)),
        Map::Down => (false, at % inner.channels),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const INNER: Inner = Inner { groups: 3, shared: 2, head_dim: 4, channels: 10, gated: true };

    #[test]
    fn shares_are_rounded_down_and_numbers_are_exact() {
        let of = |going: Going| going.of_block(INNER, 1);
        assert_eq!(of(Going::Share(0.0)).unwrap(), (0, 0));
        assert_eq!(of(Going::Share(0.35)).unwrap(), (1, 3));
        assert_eq!(of(Going::Share(0.999)).unwrap(), (2, 9));
        assert_eq!(of(Going::Counts { heads: 4, channels: 9 }).unwrap(), (2, 9));
        let group = of(Going::Counts { heads: 3, channels: 0 }).unwrap_err();
        assert_eq!(
            group.to_string(),
            "3 heads of block 1 cannot go: 2 query heads share their keys and values and go together; set `heads` to a multiple of 2"
        );
        let nothing = of(Going::Counts { heads: 6, channels: 0 }).unwrap_err();
        assert_eq!(
            nothing.to_string(),
            "3 of block 1's 3 groups of heads cannot go, 2 at most can: a block keeps one of each; remove fewer"
        );
        assert!(matches!(
            of(Going::Counts { heads: 0, channels: 10 }),
            Err(ShrinkError::Nothing { what: "channels", asked: 10, available: 10, block: 1 })
        ));
        assert!(Going::of(Some(0.5), Some(1), None).is_err());
        assert_eq!(Going::of(None, None, Some(3)).unwrap(), Going::Counts { heads: 0, channels: 3 });
    }

    #[test]
    fn the_lowest_go_and_of_equal_ones_the_first() {
        assert_eq!(stay(&[1.0, 0.5, 0.5, 2.0], 1, "score", 0).unwrap(), [0, 2, 3]);
        assert_eq!(stay(&[1.0, 0.5, 0.5, 2.0], 3, "score", 0).unwrap(), [3]);
        assert_eq!(
            stay(&[1.0, f64::NAN], 1, "score", 4).unwrap_err(),
            ShrinkError::NotFinite { what: "score", block: 4 }
        );
        let scores = [vec![0.1, 0.2, 0.3], vec![5.0, 4.0], vec![0.15]];
        assert_eq!(stay_of_all(&scores, 2, "score").unwrap(), [vec![2], vec![0, 1], vec![0]]);
        assert_eq!(stay_of_all(&scores, 9, "score").unwrap(), [vec![2], vec![0], vec![0]]);
    }

    #[test]
    fn every_weight_is_of_one_unit_and_units_cost_their_weights() {
        let hidden = 5;
        let shapes = [(24, 5), (12, 5), (12, 5), (5, 24), (10, 5), (10, 5), (5, 10)];
        let (mut groups, mut channels) = ([0u64; 3], [0u64; 10]);
        for (map, (rows, cols)) in Map::ALL.into_iter().zip(shapes) {
            for at in 0..rows * cols {
                match unit(INNER, map, at, rows * cols) {
                    (true, unit) => groups[unit] += 1,
                    (false, unit) => channels[unit] += 1,
                }
            }
        }
        let (group, channel) = INNER.costs(hidden);
        assert_eq!((groups, channels), ([group; 3], [channel; 10]));
    }
}
