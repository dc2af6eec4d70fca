//! A search for how much of each module goes, when how much of all of them does is given.
//!
//! A candidate has a level for each module, 0 for the whole of it. Every generation a parent has offspring; each is the parent after
//! `min(U{1..3}, U{1..3})` flips, and a flip lowers the level of one module and raises that of another of its kind, kinds being drawn by how many
//! modules they have. So the sum of levels of each kind never changes. Offspring are told apart stage by stage, by a fitness that the caller
//! may take on more text at each, and ever fewer go on; the parent is judged beside those of the last stage, and the best of them is the next parent.
//!
//! Source: Tang et al., DarwinLM: Evolutionary Structured Pruning of Large Language Models, 2025, and its code.
//!
//! # Difference from the reference
//! The code tunes every candidate on some tokens before it is judged; that is for the caller's fitness to do. The code draws other text for every generation, so that
//! the best fitness found can get worse; of a fitness that is the same for the same candidate it cannot here.

use std::collections::BTreeSet;

/// Why there is nothing to search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// No module, or a level that its kind does not have.
    #[error("module {module} has level {level}; its kind has levels 0 to {last}")]
    Level {
        /// Module.
        module: usize,
        /// Its level.
        level: usize,
        /// The last its kind has.
        last: usize,
    },
    /// As many kinds as modules are needed, and last levels for each kind.
    #[error("{found} {what} are given where {expected} are needed")]
    Shape {
        /// Of what.
        what: &'static str,
        /// Given.
        found: usize,
        /// Needed.
        expected: usize,
    },
    /// Survivors that do not fall from stage to stage, or none.
    #[error("survivors of the stages must fall from at most {offspring} to 1; they are {found:?}")]
    Stages {
        /// Offspring of a generation.
        offspring: usize,
        /// Given.
        found: Vec<usize>,
    },
    /// A candidate could not be judged.
    #[error("{0}")]
    Fitness(String),
}

/// What is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// The kind of each module.
    pub kinds: Vec<usize>,
    /// The last level of each kind.
    pub last: Vec<usize>,
}

/// How it is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Generations.
    pub generations: usize,
    /// Offspring of each.
    pub offspring: usize,
    /// Candidates that are left behind each stage; the last is one.
    pub survivors: Vec<usize>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Levels of the best candidate.
    pub levels: Vec<usize>,
    /// Its fitness at the last stage; less is better.
    pub fitness: f64,
    /// The parent's fitness after each generation, the first before any.
    pub history: Vec<f64>,
}

/// A number below `bound`, of random bits.
fn below(bound: usize, random: &mut dyn FnMut() -> u64) -> usize {
    // Bounds are far below 2^32, so that what is not even is nothing that could be seen.
    ((u128::from(random()) * bound as u128) >> 64) as usize
}

/// Tries at offspring that are new, for each that is wanted.
const TRIES: usize = 64;

impl Space {
    /// Refuses levels that are not of this space.
    ///
    /// # Errors
    /// [`SearchError::Shape`], [`SearchError::Level`].
    pub fn check(&self, levels: &[usize]) -> Result<(), SearchError> {
        if levels.len() != self.kinds.len() {
            return Err(SearchError::Shape { what: "levels", found: levels.len(), expected: self.kinds.len() });
        }
        if let Some(kind) = self.kinds.iter().find(|kind| **kind >= self.last.len()) {
            return Err(SearchError::Shape { what: "kinds with levels", found: self.last.len(), expected: kind + 1 });
        }
        for (module, (level, kind)) in levels.iter().zip(&self.kinds).enumerate() {
            let (level, last) = (*level, self.last[*kind]);
            if level > last {
                return Err(SearchError::Level { module, level, last });
            }
        }
        Ok(())
    }

    /// One of a kind less, another of the same kind more, where there are two such.
    fn flip(&self, levels: &mut [usize], random: &mut dyn FnMut() -> u64) {
        if self.kinds.is_empty() {
            return;
        }
        // A kind by how many modules it has is that of a module.
        let kind = self.kinds[below(self.kinds.len(), random)];
        let own = |holds: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..levels.len()).filter(|module| self.kinds[*module] == kind && holds(levels[*module])).collect()
        };
        let lower = own(&|level| level > 0);
        if lower.is_empty() {
            return;
        }
        let down = lower[below(lower.len(), random)];
        let higher: Vec<usize> =
            own(&|level| level < self.last[kind]).into_iter().filter(|module| *module != down).collect();
        if higher.is_empty() {
            return;
        }
        let up = higher[below(higher.len(), random)];
        levels[down] -= 1;
        levels[up] += 1;
    }

    /// Offspring of a parent, none like another or like the parent; fewer where there are not as many.
    pub fn offspring(&self, parent: &[usize], count: usize, random: &mut dyn FnMut() -> u64) -> Vec<Vec<usize>> {
        let mut known: BTreeSet<Vec<usize>> = BTreeSet::from([parent.to_vec()]);
        let mut found = Vec::with_capacity(count);
        for _ in 0..count * TRIES {
            if found.len() == count {
                break;
            }
            let mut levels = parent.to_vec();
            let flips = (1 + below(3, random)).min(1 + below(3, random));
            (0..flips).for_each(|_| self.flip(&mut levels, random));
            if known.insert(levels.clone()) {
                found.push(levels);
            }
        }
        found
    }

    /// The best candidate, beginning with `parent`. `fitness` judges levels at a stage from 0; less is better, and NaN is worst.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search(
        &self,
        parent: &[usize],
        search: &Search,
        random: &mut dyn FnMut() -> u64,
        fitness: &mut dyn FnMut(&[usize], usize) -> Result<f64, SearchError>,
    ) -> Result<Found, SearchError> {
        self.check(parent)?;
        let Search { generations, offspring, survivors } = search;
        let falls = survivors.windows(2).all(|pair| pair[0] > pair[1]);
        if survivors.last() != Some(&1) || !falls || survivors[0] > *offspring {
            return Err(SearchError::Stages { offspring: *offspring, found: survivors.clone() });
        }
        let last = survivors.len() - 1;
        let mut levels = parent.to_vec();
        let mut best = fitness(&levels, last)?;
        let mut history = vec![best];
        for _ in 0..*generations {
            let mut candidates = self.offspring(&levels, *offspring, random);
            for (stage, left) in survivors.iter().enumerate() {
                if stage == last {
                    // The parent stands last: of equals the new one goes on, and the search does not stand still.
                    candidates.push(levels.clone());
                }
                let judged = candidates.into_iter().map(|levels| Ok((fitness(&levels, stage)?, levels)));
                let mut judged = judged.collect::<Result<Vec<(f64, Vec<usize>)>, SearchError>>()?;
                judged.sort_by(|(a, _), (b, _)| a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(b)));
                judged.truncate(*left);
                if stage == last
                    && let Some((found, _)) = judged.first()
                {
                    best = *found;
                }
                candidates = judged.into_iter().map(|(_, levels)| levels).collect();
            }
            if let Some(found) = candidates.pop() {
                levels = found;
            }
            history.push(best);
        }
        Ok(Found { levels, fitness: best, history })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn random(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    fn space() -> Space {
        Space { kinds: [vec![0; 6], vec![1; 10]].concat(), last: vec![4, 9] }
    }

    fn sums(space: &Space, levels: &[usize]) -> Vec<usize> {
        (0..2)
            .map(|kind| levels.iter().zip(&space.kinds).filter(|(_, k)| **k == kind).map(|(level, _)| level).sum())
            .collect()
    }

    const PARENT: [usize; 16] = [2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4];

    #[test]
    fn sums_of_levels_never_change_and_no_two_offspring_are_alike() {
        let space = space();
        let mut random = random(3);
        let mut parent = PARENT.to_vec();
        for _ in 0..200 {
            let found = space.offspring(&parent, 16, &mut random);
            assert_eq!(found.len(), 16);
            for (at, levels) in found.iter().enumerate() {
                space.check(levels).unwrap();
                assert_eq!(sums(&space, levels), [12, 40]);
                assert!(levels != &parent && !found[..at].contains(levels));
                let changed: usize = levels.iter().zip(&parent).map(|(a, b)| a.abs_diff(*b)).sum();
                assert!(changed <= 6, "three flips at most");
            }
            parent.clone_from(&found[7]);
        }
    }

    #[test]
    fn the_best_never_gets_worse_and_the_optimum_is_found() {
        let space = space();
        // The least where the first modules of each kind stay whole.
        let cost = |levels: &[usize]| {
            levels.iter().enumerate().map(|(at, level)| *level as f64 / (1.0 + at as f64)).sum::<f64>()
        };
        let search = Search { generations: 300, offspring: 16, survivors: vec![8, 4, 2, 1] };
        let mut calls = [0usize; 4];
        let found = space.search(&PARENT, &search, &mut random(5), &mut |levels, stage| {
            calls[stage] += 1;
            Ok(cost(levels))
        });
        let found = found.unwrap();
        assert!(found.history.windows(2).all(|pair| pair[1] <= pair[0]));
        assert_eq!((found.history.len(), found.fitness), (301, cost(&found.levels)));
        assert_eq!(found.levels, [0, 0, 0, 4, 4, 4, 0, 0, 0, 0, 0, 4, 9, 9, 9, 9]);
        // The parent is judged beside the survivors of the last stage, and once before.
        assert_eq!(calls, [300 * 16, 300 * 8, 300 * 4, 300 * 3 + 1]);
    }

    #[test]
    fn equal_seeds_find_the_same_and_nan_never_wins() {
        let space = space();
        let search = Search { generations: 20, offspring: 8, survivors: vec![4, 1] };
        let run = |seed| {
            let mut judge = |levels: &[usize], _: usize| Ok(if levels[0] > 2 { f64::NAN } else { levels[1] as f64 });
            space.search(&PARENT, &search, &mut random(seed), &mut judge).unwrap()
        };
        assert_eq!(run(1), run(1));
        assert!(run(1).levels[0] <= 2);
    }

    #[test]
    fn a_module_alone_in_its_kind_stays_as_it_is() {
        let space = Space { kinds: vec![0], last: vec![3] };
        assert!(space.offspring(&[1], 4, &mut random(1)).is_empty());
        let search = Search { generations: 3, offspring: 2, survivors: vec![1] };
        let found = space.search(&[1], &search, &mut random(1), &mut |_, _| Ok(0.5)).unwrap();
        assert_eq!((found.levels, found.fitness), (vec![1], 0.5));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let space = space();
        let mut judge = |_: &[usize], _: usize| Ok(0.0);
        let mut of = |levels: &[usize], survivors: &[usize]| {
            let search = Search { generations: 1, offspring: 4, survivors: survivors.to_vec() };
            space.search(levels, &search, &mut random(1), &mut judge).unwrap_err()
        };
        assert!(matches!(of(&PARENT[1..], &[1]), SearchError::Shape { found: 15, expected: 16, .. }));
        let mut high = PARENT;
        high[0] = 5;
        assert_eq!(of(&high, &[1]), SearchError::Level { module: 0, level: 5, last: 4 });
        for survivors in [&[][..], &[2], &[5, 1], &[2, 2, 1]] {
            assert!(matches!(of(&PARENT, survivors), SearchError::Stages { offspring: 4, .. }));
        }
    }
}
