//! The programs behind the test of a token: over the tokens that matter, with the others in groups.

use super::lanes::Lanes;
use super::simplex::Problem;
use super::support::{Support, TOLERANCE};

/// The most probable tokens, which have columns of their own.
const HEAVY: usize = 640;

/// Tokens near the edge of `λ` that get columns of their own.
const NEAR: usize = 1024;

/// Columns smaller than this, against the token's own, stay where they are.
const SPECK: f64 = 1e-13;

/// A program over some tokens and groups of the rest.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) token: usize,
    pub(super) members: Vec<u32>,
    pub(super) columns: Lanes,
    pub(super) up: Vec<f64>,
    pub(super) down: Vec<f64>,
    pub(super) target: Vec<f64>,
    /// By how much a token that is no member moves for each unit of its group; empty while groups move as one.
    pub(super) pattern: Vec<f64>,
    /// `z` of the columns at the end.
    pub(super) values: Vec<f64>,
    pub(super) reached: f64,
}

impl Support<'_> {
    /// Sums of the groups, and the columns of the most probable tokens.
    pub(super) fn prepare(&mut self) {
        let (directions, groups) = (self.directions, self.groups);
        let all = (0..self.probabilities.len() as u32).filter(|token| self.probabilities[*token as usize] > 0.0);
        self.heavy = all.collect();
        if groups > 0 && self.heavy.len() > HEAVY {
            let probabilities = &self.probabilities;
            self.heavy.select_nth_unstable_by(HEAVY, |a, b| {
                probabilities[*b as usize].total_cmp(&probabilities[*a as usize]).then(a.cmp(b))
            });
            self.heavy.truncate(HEAVY);
            self.heavy.sort_unstable();
        }
        // The groups have what is not heavy, summed by itself: a difference would lose small probabilities beside large ones.
        let mut heavy = self.heavy.iter().copied().peekable();
        self.shares = vec![0.0; groups];
        self.sums = vec![0.0; groups * directions];
        let mut total = 0.0;
        for token in 0..self.probabilities.len() {
            let probability = self.probabilities[token];
            if probability <= 0.0 {
                continue;
            }
            let sums = if heavy.next_if_eq(&(token as u32)).is_some() {
                total += probability;
                &mut self.means[..]
            } else {
                let group = self.group(token);
                self.shares[group] += probability;
                &mut self.sums[group * directions..(group + 1) * directions]
            };
            sums.iter_mut().zip(self.basis.rows.row(token)).for_each(|(sum, value)| *sum += probability * value);
        }
        total += self.shares.iter().sum::<f64>();
        for (direction, mean) in self.means.iter_mut().enumerate() {
            *mean += (0..groups).map(|group| self.sums[group * directions + direction]).sum::<f64>();
            *mean /= total;
        }
        let mut columns = Lanes::new(directions + 1);
        self.heavy.iter().for_each(|token| columns.push(self.column(*token)));
        (0..groups).for_each(|group| columns.push(self.centroid(group, None)));
        self.columns = columns;
    }

    pub(super) fn group(&self, token: usize) -> usize {
        if self.groups == 0 { 0 } else { self.basis.groups[token] as usize & (self.groups - 1) }
    }

    /// `a_i`, centred and scaled.
    pub(super) fn column(&self, token: u32) -> Vec<f64> {
        let row = self.basis.rows.row(token as usize);
        let centred = row.zip(&self.means).zip(&self.basis.scales).map(|((value, mean), scale)| (value - mean) / scale);
        std::iter::once(1.0).chain(centred).collect()
    }

    /// The mean column of a group's tokens that are not heavy, without one of them.
    fn centroid(&self, group: usize, without: Option<u32>) -> Vec<f64> {
        let sums = &self.sums[group * self.directions..(group + 1) * self.directions];
        let own = without.map_or(0.0, |token| self.probabilities[token as usize]);
        let share = (self.shares[group] - own).max(f64::MIN_POSITIVE);
        let row = without.map(|token| self.basis.row(token));
        let mean = |at: usize| (sums[at] - row.as_ref().map_or(0.0, |row| own * row[at])) / share;
        let centred = (0..self.directions).map(|at| (mean(at) - self.means[at]) / self.basis.scales[at]);
        std::iter::once(1.0).chain(centred).collect()
    }

    /// The program over the most probable tokens and groups of the others that move as one.
    pub(super) fn first(&mut self, token: u32, spread: f64) {
        let own = self.probabilities[token as usize];
        let target = self.column(token);
        let light = self.groups > 0 && self.heavy.binary_search(&token).is_err();
        let without = light.then(|| (self.group(token as usize), token));
        let mut part = std::mem::take(&mut self.part);
        part.token = token as usize;
        part.members.clone_from(&self.heavy);
        part.columns.clone_from(&self.columns);
        part.down.clear();
        part.down.extend(self.heavy.iter().map(|other| if *other == token { 0.0 } else { self.share(*other, own) }));
        part.pattern.clear();
        if self.groups > 0 {
            for group in 0..self.groups {
                let taken = without.map_or(
                    0.0,
                    |(of, token)| {
                        if of == group { self.probabilities[token as usize] } else { 0.0 }
                    },
                );
                part.down.push((self.shares[group] - taken).max(0.0) / own);
            }
            if let Some((group, token)) = without {
                part.columns.set(self.heavy.len() + group, self.centroid(group, Some(token)));
            }
        }
        part.up.clear();
        part.up.extend(part.down.iter().map(|down| down * spread));
        part.target = target;
        self.part = part;
    }

    fn share(&self, token: u32, own: f64) -> f64 {
        self.probabilities[token as usize] / own
    }

    /// Solves the program until the sum over its columns falls to `enough`, or to its end: `None` on the way, and at the end
    /// what it reaches, which is only told when the distribution behind it holds.
    pub(super) fn reach(&mut self, enough: f64) -> Option<f64> {
        let part = &mut self.part;
        let problem = Problem { columns: &part.columns, up: &part.up, down: &part.down, target: &part.target };
        let start = self.start.iter().filter_map(|token| part.members.binary_search(token).ok());
        let start: Vec<u32> = start.map(|at| at as u32).collect();
        let found = self.simplex.solve(&problem, &start, enough);
        let members = self.simplex.members();
        self.start = members.iter().filter_map(|at| part.members.get(*at as usize).copied()).collect();
        let found = found?;
        part.values = self.simplex.values(&problem);
        part.reached = if found.residual <= TOLERANCE { found.reached } else { 0.0 };
        Some(part.reached)
    }

    /// The program over the most probable tokens and those nearest to the edge of the last direction, or over all; groups of
    /// the others move towards the bounds that the direction tells.
    pub(super) fn refine(&mut self, token: u32, spread: f64, all: bool) {
        let own = self.probabilities[token as usize];
        let speck = SPECK * own / spread.max(1.0);
        let mut part = std::mem::take(&mut self.part);
        let candidates = (0..self.probabilities.len() as u32).filter(|other| self.probabilities[*other as usize] > 0.0);
        if all {
            part.members = candidates.collect();
        } else {
            let mut near: Vec<u32> = candidates.filter(|other| self.probabilities[*other as usize] > speck).collect();
            // Half are those that cost the most on the wrong side, half the nearest to the edge.
            let cost = |at: &u32| self.probabilities[*at as usize] * self.residuals[*at as usize];
            let distance = |at: &u32| self.residuals[*at as usize].abs();
            if near.len() > NEAR {
                near.select_nth_unstable_by(NEAR / 2, |a, b| cost(a).total_cmp(&cost(b)).then(a.cmp(b)));
                near[NEAR / 2..]
                    .select_nth_unstable_by(NEAR / 2, |a, b| distance(a).total_cmp(&distance(b)).then(a.cmp(b)));
                near.truncate(NEAR);
            }
            part.members.clone_from(&self.heavy);
            part.members.extend(near.iter().chain(&self.start));
            part.members.sort_unstable();
            part.members.dedup();
        }
        let width = self.directions + 1;
        part.columns.clear(width);
        part.members.iter().for_each(|member| part.columns.push(self.column(*member)));
        part.down.clear();
        part.down.extend(part.members.iter().map(|other| if *other == token { 0.0 } else { self.share(*other, own) }));
        part.up.clear();
        part.up.extend(part.down.iter().map(|down| down * spread));
        part.pattern.clear();
        part.pattern.resize(self.probabilities.len(), 0.0);
        let mut sums = vec![0.0; self.groups * width];
        for other in 0..self.probabilities.len() {
            if self.probabilities[other] <= speck || other == token as usize {
                continue;
            }
            let share = self.probabilities[other] / own;
            part.pattern[other] = if self.residuals[other] >= 0.0 { share * spread } else { -share };
        }
        part.members.iter().for_each(|member| part.pattern[*member as usize] = 0.0);
        for other in 0..self.probabilities.len() {
            let amount = part.pattern[other];
            if amount != 0.0 {
                let group = self.group(other);
                let sums = &mut sums[group * width..(group + 1) * width];
                sums[0] += amount;
                let row = self.basis.rows.row(other);
                sums[1..].iter_mut().zip(row).for_each(|(sum, value)| *sum += amount * value);
            }
        }
        for sums in sums.chunks_exact(width) {
            let centred =
                (0..self.directions).map(|at| (sums[at + 1] - sums[0] * self.means[at]) / self.basis.scales[at]);
            part.columns.push(std::iter::once(sums[0]).chain(centred));
            part.up.push(1.0);
            part.down.push(0.0);
        }
        self.part = part;
    }
}
