//! What every map that heads and channels write by is at every level of their removal: the database that DarwinLM's search chooses from.

use std::sync::Arc;

use rayon::prelude::*;

use super::columns::{Columns, hessian};
use super::units::{Fit, Narrow};
use crate::block::Map;
use crate::prune::Needs;
use crate::shrink::{Samples, ShrinkError, Stack};
use crate::statistics::{LinearStatistics, StatisticsError};

/// A module at one level of removal.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Units that stay, rising.
    pub stay: Vec<usize>,
    /// The matrix fitted to what stays; none where nothing goes.
    pub weight: Option<Arc<[f32]>>,
}

/// Levels of the output map and of the contraction of each block, from that of nothing removed on.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// Of each block, those of heads and those of channels.
    pub blocks: Vec<[Vec<Level>; 2]>,
}

/// Units that are gone at each of `levels` levels, evenly, never all: `⌊level · units / levels⌋`.
pub fn counts(units: usize, levels: usize) -> Vec<usize> {
    let levels = levels.clamp(1, units.max(1));
    (0..levels).map(|level| level * units / levels).collect()
}

impl Database {
    /// Of a model whose blocks are of one width: at most `levels` levels of each module. Whoever waits is told of each, and of so many
    /// steps `behind` that follow.
    ///
    /// # Errors
    /// [`ShrinkError::Unequal`], [`ShrinkError::Columns`], [`ShrinkError::NotFinite`] and those of the passes.
    pub fn of(model: &mut dyn Stack, levels: usize, damp: f64, behind: usize) -> Result<Self, ShrinkError> {
        let (blocks, inner, hidden) = (model.blocks(), model.inner(0), model.width());
        if let Some(block) = (0..blocks).find(|block| model.inner(*block) != inner) {
            return Err(ShrinkError::Unequal { block });
        }
        let statistics = |cols| LinearStatistics::new(cols, Needs::SECOND_MOMENT);
        let columns = [inner.groups * inner.group_width(), inner.channels];
        let mut seen: Vec<[LinearStatistics; 2]> = (0..blocks).map(|_| columns.map(statistics)).collect();
        let mut refused: Option<(usize, StatisticsError)> = None;
        model.inputs(Samples::ALL, &[Map::O, Map::Down], &mut |block, map, inputs| {
            let added = seen[block][usize::from(map == Map::Down)].add(inputs);
            refused = refused.take().or_else(|| added.err().map(|error| (block, error)));
        })?;
        if let Some((block, _)) = refused {
            return Err(ShrinkError::NotFinite { what: "what enters the output map or the contraction", block });
        }
        let mut modules = Vec::with_capacity(2 * blocks);
        for (block, seen) in seen.iter().enumerate() {
            for (which, (map, unit)) in [(Map::O, inner.group_width()), (Map::Down, 1)].into_iter().enumerate() {
                modules.push((block, super::units::matrix(model, block, map)?, unit, &seen[which]));
            }
        }
        let module = |(block, weight, unit, seen): &(usize, Vec<f32>, usize, &LinearStatistics)| {
            let (block, cols) = (*block, weight.len() / hidden);
            let moment = seen.second_moment().unwrap_or_default();
            let curvature = hessian(moment, seen.tokens(), cols, damp);
            leveled(weight, &curvature, [hidden, cols, *unit], &counts(cols / unit, levels))
                .map_err(|source| ShrinkError::Columns { block, source })
        };
        let mut made = Vec::with_capacity(modules.len());
        for some in modules.chunks(2 * rayon::current_num_threads()) {
            made.extend(some.par_iter().map(module).collect::<Result<Vec<_>, _>>()?);
            model.tell(made.len(), modules.len() + behind);
        }
        let mut made = made.into_iter();
        let pairs = std::iter::from_fn(|| Some([made.next()?, made.next()?]));
        Ok(Self { blocks: pairs.collect() })
    }

    /// Levels of heads and of channels.
    pub fn levels(&self) -> [usize; 2] {
        self.blocks.first().map_or([0, 0], |block| [block[0].len(), block[1].len()])
    }

    /// What is left of every block at these levels: those of the heads of all blocks, then those of the channels.
    pub fn widths(&self, levels: &[usize]) -> Vec<Narrow> {
        let blocks = self.blocks.len();
        let of = |(block, [heads, channels]): (usize, &[Vec<Level>; 2])| {
            let (heads, channels) = (&heads[levels[block]], &channels[levels[blocks + block]]);
            let fit = |level: &Level| Fit { weight: level.weight.clone(), bias: None };
            Narrow {
                groups: heads.stay.clone(),
                channels: channels.stay.clone(),
                output: fit(heads),
                down: fit(channels),
            }
        };
        self.blocks.iter().enumerate().map(of).collect()
    }
}

/// A matrix at each of the given numbers of removed units.
fn leveled(
    weight: &[f32],
    curvature: &[f64],
    [rows, cols, unit]: [usize; 3],
    counts: &[usize],
) -> Result<Vec<Level>, super::columns::ColumnsError> {
    let whole: Vec<f64> = weight.iter().map(|value| f64::from(*value)).collect();
    let mut columns = Columns::new(&whole, curvature, rows, cols, unit)?;
    let mut levels = Vec::with_capacity(counts.len());
    for &count in counts {
        columns.remove_to(count)?;
        let fitted = || columns.weight().iter().map(|value| *value as f32).collect::<Arc<[f32]>>();
        levels.push(Level { stay: columns.left().to_vec(), weight: (count > 0).then(fitted) });
    }
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_even_and_never_all() {
        assert_eq!(counts(6, 16), [0, 1, 2, 3, 4, 5]);
        assert_eq!(counts(40, 4), [0, 10, 20, 30]);
        assert_eq!(counts(10, 4), [0, 2, 5, 7]);
        assert_eq!(counts(1, 8), [0]);
    }
}
