//! A search for what each rotary frequency is divided by: LongRoPE (Ding et al., 2024) and LongRoPE2 (Shang et al., 2025).
//!
//! A candidate is a list of factors `λ_i` that do not fall with the pair `i`, from 1 to `1.25 s` in steps of 0.01. The first candidates are those of
//! linear interpolation (`s`), of NTK-aware scaling (`s^(2i/(d−2))`), of YaRN, and mutations of these. In every generation the best become parents, whose
//! mutations and crossings join them. LongRoPE2 searches a critical pair `κ` too, no higher than the first pair that training never turns
//! once: pairs from it on have factors of at least `s`, those before it `λ_κ^(i/κ)`, which is the base raised so that pair `κ` arrives at its own.
//!
//! # Difference from the reference
//! How many first positions keep their angles is searched behind the factors, with the best of them, not as a part of every candidate. A mutated factor is drawn between its neighbours', so that no draw is lost to the order; children that
//! are known already or out of order are drawn again, a hundred times at most. The first candidates keep their exact factors and stay among the
//! parents for as long as they are among the best, so that what is found is never worse than any of them. They have no critical pair, and nor have
//! their crossings with each other.

use std::collections::BTreeSet;

use harness_core::seed::stream;
use harness_core::{Arm, Value};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::Rotary;
use crate::registry;

/// How many first positions may keep their angles.
pub const START_TOKENS: [usize; 14] = [0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 64, 128, 256];

/// Methods that need no search.
const KNOWN: [&str; 3] = ["linear", "ntk", "yarn"];

/// Steps of drawn factors in one.
const STEPS: f64 = 100.0;
/// The largest factor, of the extension.
const LARGEST: f64 = 1.25;
/// The chance that a factor, or the critical pair, changes in a mutation.
const CHANGE: f64 = 0.3;
/// Draws for one child at most.
const DRAWS: usize = 100;

/// How a search is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// How much longer texts are read than in training, `s`, above 1.
    pub factor: f64,
    /// Whether the critical pair is searched (LongRoPE2).
    pub critical: bool,
    /// Candidates of the first generation, at least the three that are known.
    pub population: usize,
    /// Generations behind the first.
    pub generations: usize,
    /// Candidates that become parents.
    pub parents: usize,
    /// Mutations a generation.
    pub mutations: usize,
    /// Crossings a generation.
    pub crossings: usize,
    /// Seed of the draws.
    pub seed: u64,
}

/// A list of factors and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Where it comes from: `linear`, `ntk`, `yarn`, `mutation` or `crossing`.
    pub origin: &'static str,
    /// What each pair's frequency is divided by.
    pub factors: Vec<f64>,
    /// The critical pair, where it has one.
    pub critical: Option<usize>,
    /// What is to be small.
    pub fitness: f64,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The best candidate.
    pub best: Candidate,
    /// The first three candidates.
    pub known: Vec<Candidate>,
    /// Best fitness of each generation, the first included.
    pub curve: Vec<f64>,
    /// Candidates that were measured.
    pub measured: usize,
}

impl Search {
    /// The search of the publication with a smaller population and fewer generations, for small models.
    pub fn small(factor: f64, critical: bool) -> Self {
        Self { factor, critical, population: 16, generations: 10, parents: 8, mutations: 4, crossings: 4, seed: 0 }
    }

    /// Searches; `measure` gives what is to be small of a list of factors and is told how many lists were measured before.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn run<E>(
        &self,
        rotary: &Rotary,
        measure: &mut dyn FnMut(&[f64], usize) -> Result<f64, E>,
    ) -> Result<Found, E> {
        let mut rng = stream(self.seed, &["longrope"]);
        let mut pool = Pool { search: self, rotary, known: BTreeSet::new(), members: Vec::new(), measured: 0 };
        for (origin, factors) in self.first(rotary) {
            pool.add(Candidate { origin, factors, critical: None, fitness: f64::NAN }, measure)?;
        }
        let known = pool.members.clone();
        while pool.members.len() < self.population && !known.is_empty() {
            let of = &known[pool.members.len() % known.len()];
            let Some(child) = pool.mutated(&mut rng, of) else { break };
            pool.add(child, measure)?;
        }
        let mut curve = vec![pool.best().fitness];
        for _ in 0..self.generations {
            pool.members.sort_by(|a, b| a.fitness.total_cmp(&b.fitness));
            pool.members.truncate(self.parents.max(1));
            let parents = pool.members.clone();
            for child in 0..self.mutations + self.crossings {
                let first = &parents[below(&mut rng, parents.len())];
                let made = if child < self.mutations {
                    pool.mutated(&mut rng, first)
                } else {
                    pool.crossed(&mut rng, first, &parents)
                };
                if let Some(child) = made {
                    pool.add(child, measure)?;
                }
            }
            curve.push(pool.best().fitness);
        }
        Ok(Found { best: pool.best().clone(), known, curve, measured: pool.measured })
    }

    /// The factors of methods that need no search.
    fn first(&self, rotary: &Rotary) -> Vec<(&'static str, Vec<f64>)> {
        let factors = |id: &'static str| {
            let method = registry::position(&Arm::new(id).with("factor", Value::Float(self.factor))).ok()?;
            let scaled = method.scaled(rotary, rotary.trained).frequencies;
            // Frequencies are rounded to f32, by which none turns faster than it did.
            Some((id, rotary.each(|i, frequency| (frequency / scaled[i]).max(1.0))))
        };
        KNOWN.into_iter().filter_map(factors).collect()
    }

    /// The largest factor in steps.
    fn largest(&self) -> usize {
        (LARGEST * self.factor * STEPS).floor() as usize
    }
}

/// The candidates of a search.
struct Pool<'a> {
    search: &'a Search,
    rotary: &'a Rotary,
    /// Factors in steps of all candidates there were, and their critical pairs.
    known: BTreeSet<(Option<usize>, Vec<usize>)>,
    members: Vec<Candidate>,
    measured: usize,
}

fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    (rng.next_u64() % bound.max(1) as u64) as usize
}

fn in_steps(factors: &[f64]) -> Vec<usize> {
    factors.iter().map(|factor| (factor * STEPS).round() as usize).collect()
}

impl Pool<'_> {
    fn best(&self) -> &Candidate {
        // Equal ones: the oldest.
        let better =
            |best: usize, at: usize| if self.members[at].fitness < self.members[best].fitness { at } else { best };
        &self.members[(1..self.members.len()).fold(0, better)]
    }

    fn add<E>(
        &mut self,
        candidate: Candidate,
        measure: &mut dyn FnMut(&[f64], usize) -> Result<f64, E>,
    ) -> Result<(), E> {
        let fitness = measure(&candidate.factors, self.measured)?;
        self.measured += 1;
        self.known.insert((candidate.critical, in_steps(&candidate.factors)));
        // What is not a number is worse than all that are.
        let fitness = if fitness.is_nan() { f64::INFINITY } else { fitness };
        self.members.push(Candidate { fitness, ..candidate });
        Ok(())
    }

    /// A candidate of factors in steps, where they are in order and new.
    fn child(&self, origin: &'static str, critical: Option<usize>, mut steps: Vec<usize>) -> Option<Candidate> {
        let mut factors: Vec<f64> = steps.iter().map(|steps| *steps as f64 / STEPS).collect();
        if let Some(critical) = critical {
            let top = factors[critical];
            for (i, factor) in factors[..critical].iter_mut().enumerate() {
                *factor = top.powf(i as f64 / critical as f64);
            }
            steps = in_steps(&factors);
        }
        let rises = factors.windows(2).all(|pair| pair[0] <= pair[1]);
        let new = !self.known.contains(&(critical, steps));
        (rises && new).then_some(Candidate { origin, factors, critical, fitness: f64::NAN })
    }

    /// The least factor of a pair in steps.
    fn least(&self, critical: Option<usize>, pair: usize) -> usize {
        let interpolated = critical.is_some_and(|critical| pair >= critical);
        (if interpolated { self.search.factor * STEPS } else { STEPS }).ceil() as usize
    }

    fn mutated(&self, rng: &mut ChaCha8Rng, of: &Candidate) -> Option<Candidate> {
        let (pairs, largest) = (of.factors.len(), self.search.largest());
        let highest = self.rotary.critical_pair().clamp(1, pairs - 1);
        for _ in 0..DRAWS {
            let critical = self.search.critical.then(|| match of.critical {
                Some(critical) if unit(rng) >= CHANGE => critical,
                Some(critical) => (critical + below(rng, 5)).saturating_sub(2).clamp(1, highest),
                // Those that are known have none: it is drawn from the upper half.
                None => highest - below(rng, highest.div_ceil(2)),
            });
            let mut steps = in_steps(&of.factors);
            let mut before = 0;
            for pair in 0..pairs {
                let low = self.least(critical, pair).max(before);
                let next = steps.get(pair + 1).copied().unwrap_or(largest).clamp(low, largest.max(low));
                if unit(rng) < CHANGE {
                    steps[pair] = low + below(rng, next - low + 1);
                }
                steps[pair] = steps[pair].clamp(low, largest.max(low));
                before = steps[pair];
            }
            if let Some(child) = self.child("mutation", critical, steps) {
                return Some(child);
            }
        }
        None
    }

    fn crossed(&self, rng: &mut ChaCha8Rng, first: &Candidate, parents: &[Candidate]) -> Option<Candidate> {
        for _ in 0..DRAWS {
            let second = &parents[below(rng, parents.len())];
            let critical = if unit(rng) < 0.5 { first.critical } else { second.critical };
            let (one, other) = (in_steps(&first.factors), in_steps(&second.factors));
            let steps: Vec<usize> =
                one.iter().zip(&other).map(|(a, b)| if unit(rng) < 0.5 { *a } else { *b }).collect();
            let allowed = steps.iter().enumerate().all(|(pair, steps)| {
                critical.is_some_and(|critical| pair < critical) || *steps >= self.least(critical, pair)
            });
            if let Some(child) = allowed.then(|| self.child("crossing", critical, steps)).flatten() {
                return Some(child);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;

    use super::*;

    fn run(search: &Search, measure: impl Fn(&[f64]) -> f64) -> (Found, Vec<Vec<f64>>) {
        let mut seen = Vec::new();
        let found = search.run(&Rotary::new(10_000.0, 16, 256), &mut |factors, measured| {
            assert_eq!(measured, seen.len());
            seen.push(factors.to_vec());
            Ok::<f64, Infallible>(measure(factors))
        });
        (found.unwrap(), seen)
    }

    /// Distance to factors that no known method has.
    fn distance(factors: &[f64]) -> f64 {
        let aim = [1.0, 1.0, 1.2, 2.0, 3.0, 4.2, 4.6, 4.9];
        factors.iter().zip(aim).map(|(a, b)| (a - b).powi(2)).sum()
    }

    #[test]
    fn what_is_found_is_never_worse_than_what_is_known_and_depends_on_the_seed_alone() {
        for critical in [false, true] {
            let search = Search { population: 24, generations: 20, ..Search::small(4.0, critical) };
            let (found, seen) = run(&search, distance);
            assert_eq!(run(&search, distance), (found.clone(), seen.clone()));
            assert_ne!(run(&Search { seed: 1, ..search }, distance).1, seen);
            let least = found.known.iter().map(|known| known.fitness).fold(f64::INFINITY, f64::min);
            assert_eq!(found.known.iter().map(|known| known.origin).collect::<Vec<_>>(), ["linear", "ntk", "yarn"]);
            assert!(found.best.fitness < least, "{found:?}");
            assert!(found.curve.windows(2).all(|pair| pair[1] <= pair[0]), "{:?}", found.curve);
            assert_eq!((found.measured, found.best.fitness), (seen.len(), distance(&found.best.factors)));
            // Nothing is better than what is known: then that is found.
            let (found, _) = run(&search, |factors| if factors.iter().all(|f| *f == 4.0) { 0.0 } else { 1.0 });
            assert_eq!((found.best.origin, found.best.fitness), ("linear", 0.0));
            let (found, _) = run(&search, |_| f64::NAN);
            assert_eq!(found.best.fitness, f64::INFINITY);
        }
    }

    #[test]
    fn candidates_rise_within_bounds_and_are_new() {
        for critical in [false, true] {
            let search = Search { population: 30, generations: 8, ..Search::small(4.0, critical) };
            let (_, seen) = run(&search, distance);
            let mut steps = BTreeSet::new();
            for factors in &seen {
                assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]), "{factors:?}");
                assert!(factors[0] >= 1.0 && factors[7] <= 5.0, "{factors:?}");
                assert!(steps.insert(in_steps(factors)) || critical, "{factors:?} twice");
            }
            if critical {
                // Behind the three that are known some pair begins the interpolation, and those before it raise the base; but for
                // crossings of the known ones, which come after their mutations.
                let fits = |factors: &Vec<f64>| {
                    (1..8).any(|at| {
                        let raised = |i: usize| factors[at].powf(i as f64 / at as f64);
                        factors[at] >= 4.0 && (0..at).all(|i| (factors[i] - raised(i)).abs() < 1e-9)
                    })
                };
                assert!(seen[3..30].iter().all(fits), "{seen:?}");
                assert!(2 * seen[30..].iter().filter(|factors| fits(factors)).count() > seen.len() - 30, "{seen:?}");
            }
            let (found, _) = run(&search, distance);
            if let Some(at) = found.best.critical {
                let highest = Rotary::new(10_000.0, 16, 256).critical_pair();
                assert!(critical && (1..=highest).contains(&at) && found.best.factors[at] >= 4.0, "{found:?}");
            }
        }
    }

    #[test]
    fn the_first_candidates_are_the_methods_own() {
        let rotary = Rotary::new(10_000.0, 16, 256);
        for (origin, factors) in Search::small(4.0, false).first(&rotary) {
            let method = crate::registry::position(&format!("{origin}(factor=4)").parse().unwrap()).unwrap();
            for (i, frequency) in method.scaled(&rotary, 1024).frequencies.iter().enumerate() {
                assert!((rotary.frequencies[i] / factors[i] / frequency - 1.0).abs() < 1e-6, "{origin}, pair {i}");
            }
        }
    }
}
