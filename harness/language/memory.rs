//! What the names of a document depend on.

use crate::emission::{Emissions, Slot};
use crate::grammar::ROLES_PER_CAST;
use crate::lexicon::BEGIN;

/// The names of a document's roles and the draws of its cast so far.
///
/// A role's name and a name standing alone are independent draws from the document's hidden cast distribution,
/// itself drawn from a Dirichlet law with concentration `cast` around the uniform one. Draws are exchangeable, so
/// the law of the next one needs only the draws that were seen, in whatever order, wherever the sequence began.
#[derive(Debug, Clone)]
struct Draws {
    /// Draws of each name.
    counts: Vec<f64>,
    total: f64,
    /// The name of each role, once known.
    bound: Vec<Option<usize>>,
}

impl Draws {
    fn new(emissions: &Emissions) -> Self {
        Self { counts: vec![0.0; emissions.names.len()], total: 0.0, bound: vec![None; emissions.roles.len()] }
    }

    fn probability(&self, role: Option<usize>, name: usize, cast: f64) -> f64 {
        match role.and_then(|role| self.bound[role]) {
            Some(bound) => f64::from(u8::from(bound == name)),
            None => (self.counts[name] + cast / self.counts.len() as f64) / (self.total + cast),
        }
    }

    fn push(&mut self, role: Option<usize>, name: usize) {
        // A name after a role whose name is known is no new draw.
        if role.is_some_and(|role| self.bound[role].is_some()) {
            return;
        }
        self.counts[name] += 1.0;
        self.total += 1.0;
        if let Some(role) = role {
            self.bound[role] = Some(name);
        }
    }
}

/// The belief about the names of the current document.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    first_name: u32,
    first_role: u32,
    cast: f64,
    /// The role just mentioned.
    role: Option<usize>,
    /// What the visible names may mean, with probabilities. There is one reading, except after a cut that begins
    /// with a name: that name may stand alone, or belong to any role whose mention was cut off.
    readings: Vec<(f64, Draws)>,
}

impl Memory {
    pub(crate) fn new(emissions: &Emissions, cast: f64) -> Self {
        Self {
            first_name: emissions.names.start,
            first_role: emissions.roles.start,
            cast,
            role: None,
            readings: vec![(1.0, Draws::new(emissions))],
        }
    }

    /// Probability of the name with this index in a slot of names.
    pub(crate) fn name(&self, slot: Slot, name: usize) -> f64 {
        let role = if slot == Slot::RoleName { self.role } else { None };
        self.readings.iter().map(|(weight, draws)| weight * draws.probability(role, name, self.cast)).sum()
    }

    /// Probabilities of all names in a slot of names.
    pub(crate) fn names(&self, slot: Slot) -> impl Iterator<Item = f64> + '_ {
        (0..self.readings[0].1.counts.len()).map(move |name| self.name(slot, name))
    }

    /// Whether the name of the role just mentioned is more likely known than not.
    pub(crate) fn recalls(&self) -> bool {
        self.role.is_some_and(|role| {
            self.readings.iter().filter(|(_, draws)| draws.bound[role].is_some()).map(|(weight, _)| weight).sum::<f64>()
                > 0.5
        })
    }

    /// Takes in the first token of a cut.
    pub(crate) fn push_first(&mut self, token: u32, emissions: &Emissions) {
        self.push(token);
        let Some(name) = self.index_of_name(token) else { return };
        let shares = emissions.table(Slot::Role).map_or(&[][..], |table| table.distribution(0));
        let alone = self.readings[0].1.clone();
        self.readings[0].0 = 1.0 / (1.0 + ROLES_PER_CAST);
        for (role, share) in shares.iter().enumerate() {
            let mut draws = alone.clone();
            draws.bound[role] = Some(name);
            self.readings.push((share * ROLES_PER_CAST / (1.0 + ROLES_PER_CAST), draws));
        }
    }

    /// Takes in a token that has positive probability.
    pub(crate) fn push(&mut self, token: u32) {
        if token == BEGIN {
            self.readings.truncate(1);
            let (weight, draws) = &mut self.readings[0];
            *weight = 1.0;
            draws.counts.fill(0.0);
            draws.total = 0.0;
            draws.bound.fill(None);
            self.role = None;
            return;
        }
        if let Some(name) = self.index_of_name(token) {
            let mut total = 0.0;
            for (weight, draws) in &mut self.readings {
                *weight *= draws.probability(self.role, name, self.cast);
                total += *weight;
                draws.push(self.role, name);
            }
            self.readings.retain(|(weight, _)| *weight > 0.0);
            self.readings.iter_mut().for_each(|(weight, _)| *weight /= total);
        }
        let roles = self.readings[0].1.bound.len();
        self.role = token.checked_sub(self.first_role).map(|role| role as usize).filter(|&role| role < roles);
    }

    fn index_of_name(&self, token: u32) -> Option<usize> {
        let names = self.readings[0].1.counts.len();
        token.checked_sub(self.first_name).map(|name| name as usize).filter(|&name| name < names)
    }
}
