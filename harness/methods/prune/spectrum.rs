//! How many of the smallest weights of a whole model fall on each matrix, in one pass over the matrices.

use rayon::slice::ParallelSliceMut;

use super::select::{CountRule, count};

/// The magnitudes of one matrix, sorted. The bits of a finite non-negative `f32` are in the order of its value.
///
/// Weights that were stored in 16 bits have few distinct magnitudes, so those are kept with their number; otherwise
/// four bytes a weight are held while the numbers are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spectrum {
    /// Distinct magnitudes, or all of them when `upto` is empty.
    magnitudes: Vec<u32>,
    /// How many weights are at most as large as each distinct magnitude.
    upto: Vec<u32>,
    weights: usize,
}

impl Spectrum {
    /// The magnitudes of finite weights.
    pub fn of(weight: &[f32]) -> Self {
        let mut magnitudes: Vec<u32> = weight.iter().map(|value| value.abs().to_bits()).collect();
        magnitudes.par_sort_unstable();
        let distinct = magnitudes.chunk_by(|a, b| a == b).count();
        if distinct * 2 >= magnitudes.len() {
            return Self { magnitudes, upto: Vec::new(), weights: weight.len() };
        }
        let runs = || magnitudes.chunk_by(|a, b| a == b);
        let upto = runs()
            .scan(0u32, |sum, run| {
                Some({
                    *sum += run.len() as u32;
                    *sum
                })
            })
            .collect();
        Self { upto, weights: weight.len(), magnitudes: runs().map(|run| run[0]).collect() }
    }

    /// How many weights are smaller than a magnitude.
    fn below(&self, magnitude: u32) -> usize {
        let place = self.magnitudes.partition_point(|&other| other < magnitude);
        if self.upto.is_empty() { place } else { place.checked_sub(1).map_or(0, |last| self.upto[last] as usize) }
    }

    /// How many weights of each matrix are among the lowest share of all; of equal ones those of the earlier matrix
    /// are counted first. The reference rule counts all that equal the next.
    pub fn lowest(matrices: &[Self], share: f64, rule: CountRule) -> Vec<usize> {
        let weights: usize = matrices.iter().map(|matrix| matrix.weights).sum();
        let due = count(share, weights);
        if share == 0.0 || weights == 0 {
            return vec![0; matrices.len()];
        }
        // The magnitude at index `due` of all, sorted: the largest that at most `due` are below.
        let below = |magnitude: u32| matrices.iter().map(|matrix| matrix.below(magnitude)).sum::<usize>();
        let (mut low, mut high) = (0u32, f32::INFINITY.to_bits());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if below(middle) <= due { low = middle } else { high = middle }
        }
        if rule == CountRule::Reference {
            return matrices.iter().map(|matrix| matrix.below(low + 1)).collect();
        }
        let mut ties = due - below(low);
        let mut number = |matrix: &Self| {
            let (below, equal) = (matrix.below(low), matrix.below(low + 1) - matrix.below(low));
            let taken = ties.min(equal);
            ties -= taken;
            below + taken
        };
        matrices.iter().map(&mut number).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_go_to_the_earlier_matrix() {
        let matrices = [[1.0f32, -2.0, 2.0], [2.0, 0.5, 9.0]].map(|weight| Spectrum::of(&weight));
        assert_eq!(Spectrum::lowest(&matrices, 0.5, CountRule::Exact), [2, 1]);
        assert_eq!(Spectrum::lowest(&matrices, 0.5, CountRule::Reference), [3, 2]);
        assert_eq!(Spectrum::lowest(&matrices, 0.0, CountRule::Reference), [0, 0]);
    }

    #[test]
    fn few_distinct_magnitudes_are_held_briefly() {
        let weight: Vec<f32> = (0..1000).map(|i| (i % 7) as f32 - 3.0).collect();
        let spectrum = Spectrum::of(&weight);
        assert_eq!(spectrum.magnitudes.len(), 4);
        assert_eq!(spectrum.below(1.0f32.to_bits()), weight.iter().filter(|value| **value == 0.0).count());
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_one_long_sort(
            matrices in prop::collection::vec(prop::collection::vec(-6i8..6, 1..40), 1..5),
            share in 0.0..1.0f64,
        ) {
            let matrices: Vec<Vec<f32>> = matrices.iter().map(|m| m.iter().map(|&v| f32::from(v) / 3.0).collect()).collect();
            let mut all: Vec<(f32, usize)> =
                matrices.iter().enumerate().flat_map(|(at, m)| m.iter().map(move |v| (v.abs(), at))).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            let due = count(share, all.len());
            let expected: Vec<usize> =
                (0..matrices.len()).map(|at| all[..due].iter().filter(|(_, m)| *m == at).count()).collect();
            let spectra: Vec<Spectrum> = matrices.iter().map(|m| Spectrum::of(m)).collect();
            prop_assert_eq!(Spectrum::lowest(&spectra, share, CountRule::Exact), expected);
        }
    }
}
