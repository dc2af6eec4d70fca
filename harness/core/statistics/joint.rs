//! Draws of several observations together, so that what was measured on the same documents stays paired.

use rand_chacha::rand_core::Rng;

use super::Bootstrap;
use super::units::{Membership, Units, membership};
use crate::metric::Reduction;
use crate::record::Observation;
use crate::seed::stream;

impl Bootstrap {
    /// The values of all observations in every draw of their units. Observations with equally many units are drawn
    /// together; one that has a single unit or a single number keeps its value. `None` where nothing can be drawn or an
    /// observation has no value.
    pub(super) fn jointly(&self, seen: &[&Observation]) -> Option<Vec<Vec<f64>>> {
        let values: Vec<f64> = seen.iter().map(|seen| seen.value()).collect::<Option<_>>()?;
        let members: Vec<Membership> = seen.iter().map(|seen| membership(seen)).collect();
        let drawn: Vec<bool> = seen
            .iter()
            .zip(&members)
            .map(|(seen, members)| members.count > 1 && seen.reduction != Reduction::Single)
            .collect();
        if !drawn.contains(&true) {
            return None;
        }
        let units: Vec<Units> = seen.iter().zip(&members).map(|(seen, members)| Units::gather(seen, members)).collect();
        let mut counts: Vec<usize> =
            members.iter().zip(&drawn).filter(|(_, drawn)| **drawn).map(|(members, _)| members.count).collect();
        counts.sort_unstable();
        counts.dedup();
        let mut streams: Vec<_> = counts.iter().map(|n| stream(self.seed, &["law", &n.to_string()])).collect();
        let mut scratch = Vec::new();
        let mut draws: Vec<Vec<usize>> = counts.iter().map(|count| vec![0; *count]).collect();
        let mut all = Vec::with_capacity(self.resamples);
        for _ in 0..self.resamples {
            for (random, draw) in streams.iter_mut().zip(&mut draws) {
                let count = draw.len() as u64;
                for unit in draw {
                    *unit = ((u64::from(random.next_u32()) * count) >> 32) as usize;
                }
            }
            let mut sample = values.clone();
            for (index, units) in units.iter().enumerate().filter(|(index, _)| drawn[*index]) {
                if let Ok(place) = counts.binary_search(&members[index].count) {
                    sample[index] = units.statistic(draws[place].iter().copied(), &mut scratch);
                }
            }
            all.push(sample);
        }
        Some(all)
    }
}
