//! Scores of coupled groups of weights by the gradients of the loss, as LLM-Pruner has them (`shrink/llm_pruner.rs`).

use super::units::{BlockScores, Inner};
use crate::block::Map;

harness_core::choice! {
    /// What a row or column scores.
    pub enum Criterion {
        /// The size of the sum of weight times gradient.
        Vectorize = "vectorize",
        /// The sum of the sizes of weight times gradient.
        First = "first",
        /// The sum of the squares of weight times a sample's gradient, averaged over samples.
        Second = "second",
        /// The sum of the sizes of the first less half of the second order.
        Mixed = "mixed",
    }
}

harness_core::choice! {
    /// How scores of what goes together become one.
    pub enum Reduction {
        /// They are added up.
        Sum = "sum",
        /// Their mean.
        Mean = "mean",
        /// The greatest.
        Max = "max",
        /// They are multiplied.
        Product = "product",
    }
}

impl Criterion {
    fn squares(self) -> bool {
        matches!(self, Self::Second | Self::Mixed)
    }
}

impl Reduction {
    fn of(self, scores: impl Iterator<Item = f64>) -> f64 {
        let (count, sum, most, product) =
            scores.fold((0.0, 0.0, f64::NEG_INFINITY, 1.0), |(count, sum, most, product), score| {
                (count + 1.0, sum + score, if score.is_nan() { score } else { score.max(most) }, product * score)
            });
        match self {
            Self::Sum => sum,
            Self::Mean => sum / f64::max(count, 1.0),
            Self::Max => most,
            Self::Product => product,
        }
    }
}

/// Sums over samples of a matrix's gradients.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    samples: f64,
    sum: Vec<f64>,
    /// Of the squares, where they are asked for.
    squares: Vec<f64>,
}

impl Gradients {
    /// Adds the gradient of one sample.
    pub fn add(&mut self, gradient: &[f32], criterion: Criterion) {
        self.samples += 1.0;
        self.sum.resize(gradient.len(), 0.0);
        self.sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += f64::from(*g));
        if criterion.squares() {
            self.squares.resize(gradient.len(), 0.0);
            self.squares.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += f64::from(*g).powi(2));
        }
    }

    /// What a weight adds to the score of its row or column, before its size is taken.
    fn salience(&self, at: usize, weight: f32, criterion: Criterion) -> f64 {
        let (weight, samples) = (f64::from(weight), self.samples.max(1.0));
        let mean = |sums: &[f64]| sums.get(at).map_or(0.0, |sum| sum / samples);
        let (first, second) = (weight * mean(&self.sum), weight * weight * mean(&self.squares));
        match criterion {
            Criterion::Vectorize => first,
            Criterion::First => first.abs(),
            Criterion::Second => second,
            Criterion::Mixed => (first - 0.5 * second).abs(),
        }
    }
}

/// Scores of groups of heads and of channels of one block of this width, from its matrices and what is known of their gradients.
pub fn coupled(
    inner: Inner,
    hidden: usize,
    matrices: &[(Map, Vec<f32>, &Gradients)],
    criterion: Criterion,
    reduction: Reduction,
) -> BlockScores {
    // Scores by row or column, of each map.
    let lines = |(map, weights, gradients): &(Map, Vec<f32>, &Gradients)| {
        let by_column = matches!(map, Map::O | Map::Down);
        let count = weights.len() / hidden;
        let mut sums = vec![0.0; count];
        for (at, weight) in weights.iter().enumerate() {
            sums[if by_column { at % count } else { at / hidden }] += gradients.salience(at, *weight, criterion);
        }
        (*map, sums.into_iter().map(f64::abs).collect::<Vec<f64>>())
    };
    let lines: Vec<(Map, Vec<f64>)> = matrices.iter().map(lines).collect();
    let of = |maps: &[Map]| lines.iter().filter(|(map, _)| maps.contains(map)).collect::<Vec<_>>();
    let (heads, channels) = (of(&[Map::Q, Map::K, Map::V, Map::O]), of(&[Map::Gate, Map::Up, Map::Down]));
    // Dimension i of a group: its own of keys and values, and those of all query heads that read them.
    let dimension = |map: Map, sums: &[f64], group: usize, i: usize| match map {
        Map::Q | Map::O => {
            let start = group * inner.group_width() + i;
            sums[start..=start + (inner.shared - 1) * inner.head_dim].iter().step_by(inner.head_dim).sum::<f64>()
        }
        _ => sums[group * inner.head_dim + i],
    };
    let group = |group: usize| {
        let of = |i| reduction.of(heads.iter().map(|(map, sums)| dimension(*map, sums, group, i)));
        (0..inner.head_dim).map(of).sum()
    };
    let channel = |at: usize| reduction.of(channels.iter().map(|(_, sums)| sums[at]));
    ((0..inner.groups).map(group).collect(), (0..inner.channels).map(channel).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const INNER: Inner = Inner { groups: 2, shared: 1, head_dim: 1, channels: 1, gated: true };

    fn found(criterion: Criterion, reduction: Reduction) -> BlockScores {
        // Weights of one row or column each, of a model of width two, and the gradients of two samples.
        let weights = vec![1.0, -2.0, 0.5, 4.0];
        let samples = [[1.0, 1.0, -2.0, 0.25], [3.0, 0.0, 2.0, 0.75]];
        let mut gradients = Gradients::default();
        for sample in &samples {
            gradients.add(sample, criterion);
        }
        let matrices: Vec<(Map, Vec<f32>, &Gradients)> =
            [Map::Q, Map::K, Map::V].map(|map| (map, weights.clone(), &gradients)).to_vec();
        let transposed = vec![1.0, 0.5, -2.0, 4.0];
        let mut columns = Gradients::default();
        for sample in &[[1.0, -2.0, 1.0, 0.25], [3.0, 2.0, 0.0, 0.75]] {
            columns.add(sample, criterion);
        }
        let more = [(Map::O, transposed, &columns)];
        coupled(INNER, 2, &[matrices, more.to_vec()].concat(), criterion, reduction)
    }

    #[test]
    fn the_four_criteria_and_reductions_by_hand() {
        // Mean gradients 2, 0.5, 0, 0.5; mean squares 5, 0.5, 4, 0.3125.
        // Group 0: products 2 and −1; second order 5 and 2. Group 1: 0 and 2; 1 and 5.
        let cases = [
            (Criterion::Vectorize, [1.0, 2.0]),
            (Criterion::First, [3.0, 2.0]),
            (Criterion::Second, [7.0, 6.0]),
            (Criterion::Mixed, [0.5 + 2.0, 0.5 + 0.5]),
        ];
        for (criterion, [first, second]) in cases {
            assert_eq!(found(criterion, Reduction::Sum).0, [4.0 * first, 4.0 * second], "{criterion:?}");
            assert_eq!(found(criterion, Reduction::Mean).0, [first, second]);
            assert_eq!(found(criterion, Reduction::Max).0, [first, second]);
            assert_eq!(found(criterion, Reduction::Product).0, [first.powi(4), second.powi(4)]);
        }
    }

    #[test]
    fn what_one_sample_wants_and_another_does_not_counts_only_in_second_order() {
        let mut gradients = Gradients::default();
        for sample in &[[2.0, 0.0], [-2.0, 0.0]] {
            gradients.add(sample, Criterion::Mixed);
        }
        let matrices = [(Map::Up, vec![1.0, 1.0], &gradients)];
        let of = |criterion| coupled(INNER, 2, &matrices, criterion, Reduction::Sum).1[0];
        assert_eq!((of(Criterion::First), of(Criterion::Second), of(Criterion::Mixed)), (0.0, 4.0, 2.0));
    }
}
