//! Making more nights out of real ones: what calibration and the detection study draw their trials from.

use rand_chacha::rand_core::Rng;

use super::units::membership;
use crate::record::Observation;

/// A whole number below `count`.
pub fn below(random: &mut impl Rng, count: usize) -> usize {
    ((u64::from(random.next_u32()) * count as u64) >> 32) as usize
}

/// The observation with its samples drawn anew, with replacement and each by itself: the rounds of another night like
/// this one.
#[must_use]
pub fn rounds(observation: &Observation, random: &mut impl Rng) -> Observation {
    let count = observation.samples.len();
    if count < 2 {
        return observation.clone();
    }
    let chosen: Vec<usize> = (0..count).map(|_| below(random, count)).collect();
    Observation {
        samples: chosen.iter().map(|at| observation.samples[*at]).collect(),
        weights: observation
            .weights
            .iter()
            .enumerate()
            .filter_map(|(i, _)| observation.weights.get(chosen[i]))
            .copied()
            .collect(),
        clusters: Vec::new(),
        ..observation.clone()
    }
}

/// A pair of observations on `units` documents (samples where there are no documents) drawn with replacement from those
/// of a real pair, the same for both. With `swap` the two sides change places at random in each document, so that the
/// noise is real and the true difference is nothing.
///
/// Both must have been measured on the same samples.
pub fn pair(
    a: &Observation,
    b: &Observation,
    units: usize,
    swap: bool,
    random: &mut impl Rng,
) -> (Observation, Observation) {
    let members = membership(a);
    let mut samples_of: Vec<Vec<usize>> = vec![Vec::new(); members.count];
    for (sample, unit) in members.unit.iter().enumerate() {
        samples_of[*unit].push(sample);
    }
    let empty = |observation: &Observation| Observation {
        samples: Vec::new(),
        weights: Vec::new(),
        clusters: Vec::new(),
        ..observation.clone()
    };
    let (mut first, mut second) = (empty(a), empty(b));
    for unit in 0..units {
        let chosen = &samples_of[below(random, members.count.max(1))];
        let swapped = swap && random.next_u32() & 1 == 1;
        let (left, right) = if swapped { (b, a) } else { (a, b) };
        for at in chosen {
            for (from, into) in [(left, &mut first), (right, &mut second)] {
                into.samples.push(from.samples[*at]);
                into.weights.extend(from.weights.get(*at));
                into.clusters.push(unit as u32);
            }
        }
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Reduction;
    use crate::seed::stream;

    fn observation(samples: Vec<f64>) -> Observation {
        Observation {
            weights: vec![2.0; samples.len()],
            clusters: (0..samples.len() as u32).map(|sample| sample / 2).collect(),
            samples,
            ..Observation::absent("m", Reduction::Ratio, None)
        }
    }

    #[test]
    fn pairs_stay_pairs_and_documents_whole() {
        let (a, b) =
            (observation((0..12).map(f64::from).collect()), observation((0..12).map(|i| f64::from(i) + 0.5).collect()));
        let mut random = stream(1, &["test"]);
        let (first, second) = pair(&a, &b, 40, false, &mut random);
        assert_eq!((first.samples.len(), second.weights.len(), first.clusters[79]), (80, 80, 39));
        assert!(first.samples.iter().zip(&second.samples).all(|(x, y)| y - x == 0.5));
        assert!(first.samples.chunks(2).all(|document| document[1] == document[0] + 1.0));
        let (first, second) = pair(&a, &b, 4000, true, &mut random);
        let sum: f64 = first.samples.iter().zip(&second.samples).map(|(x, y)| y - x).sum();
        assert!(sum.abs() < 0.03 * 4000.0, "the sides change places: {sum}");
    }

    #[test]
    fn rounds_are_drawn_from_the_rounds_there_are() {
        let timed = Observation { samples: vec![1.0, 2.0, 3.0], ..Observation::absent("t", Reduction::Median, None) };
        let mut random = stream(2, &["test"]);
        let all: Vec<f64> = (0..100).flat_map(|_| rounds(&timed, &mut random).samples).collect();
        for value in [1.0, 2.0, 3.0] {
            let count = all.iter().filter(|sample| **sample == value).count();
            assert!((60..140).contains(&count), "{value}: {count}");
        }
    }
}
