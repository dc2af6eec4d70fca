//! A norm of the weights that are to go, as a part of the loss, which makes a training move what they do to those that stay.
//!
//! A unit that goes, a group of heads or a channel, has the norm `‖W_g‖_p` of all weights that go with it, `p` 1 or 2; of the sum over units its gradient by a
//! weight is the weight's sign, or the weight over its unit's norm. Weights of units that stay have none.

use super::units::{Inner, Narrow, unit};
use crate::block::Map;

/// Units of a block that are to go.
#[derive(Debug, Clone, PartialEq)]
pub struct Gone {
    inner: Inner,
    /// Of each group of heads, and of each channel.
    units: [Vec<bool>; 2],
}

/// Which norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// The sum of the sizes.
    One,
    /// The root of the sum of the squares.
    Two,
}

impl Gone {
    /// What a block loses that keeps this much.
    pub fn of(inner: Inner, left: &Narrow) -> Self {
        let gone = |count: usize, stay: &[usize]| (0..count).map(|unit| stay.binary_search(&unit).is_err()).collect();
        Self { inner, units: [gone(inner.groups, &left.groups), gone(inner.channels, &left.channels)] }
    }

    /// Σ over units that go of their norm; `strength` times its gradient is added to those of the maps.
    pub fn penalise(&self, norm: Norm, strength: f64, maps: &mut [(Map, &[f32], &mut [f32])]) -> f64 {
        let mut sums = self.units.each_ref().map(|units| vec![0.0_f64; units.len()]);
        self.each(maps, &mut |(kind, unit), weight, _| {
            let size = f64::from(weight.abs());
            sums[kind][unit] += if norm == Norm::One { size } else { size * size };
        });
        if norm == Norm::Two {
            sums.iter_mut().flatten().for_each(|sum| *sum = sum.sqrt());
        }
        self.each(maps, &mut |(kind, unit), weight, gradient| {
            let over = match norm {
                Norm::One => f64::from(weight.abs()),
                Norm::Two => sums[kind][unit],
            };
            // Where all is zero no direction is steeper than another.
            if over > 0.0 {
                *gradient += (strength * f64::from(weight) / over) as f32;
            }
        });
        sums.iter().flatten().sum()
    }

    /// Shows each weight of a unit that goes, with that unit and its gradient.
    fn each(&self, maps: &mut [(Map, &[f32], &mut [f32])], seen: &mut dyn FnMut((usize, usize), f32, &mut f32)) {
        for (map, weights, gradients) in maps {
            for (at, (weight, gradient)) in weights.iter().zip(gradients.iter_mut()).enumerate() {
                let (is_group, unit) = unit(self.inner, *map, at, weights.len());
                let kind = usize::from(!is_group);
                if self.units[kind][unit] {
                    seen((kind, unit), *weight, gradient);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups of one query head of width one and three channels, in a model of width two.
    const INNER: Inner = Inner { groups: 2, shared: 1, head_dim: 1, channels: 3, gated: false };

    fn penalised(norm: Norm, strength: f64) -> (f64, Vec<Vec<f32>>) {
        let left = Narrow::of(vec![1], vec![0, 1]);
        let matrix = vec![1.0f32, -2.0, 3.0, 4.0];
        let (up, down) = (vec![1.0f32, 1.0, 2.0, 2.0, 0.0, -3.0], vec![5.0f32, 6.0, 0.0, 7.0, 8.0, 4.0]);
        let weights = [(Map::Q, &matrix), (Map::K, &matrix), (Map::O, &matrix), (Map::Up, &up), (Map::Down, &down)];
        let mut gradients: Vec<Vec<f32>> = weights.iter().map(|(_, weights)| vec![1.0; weights.len()]).collect();
        let mut maps: Vec<(Map, &[f32], &mut [f32])> =
            weights.iter().zip(&mut gradients).map(|((map, weights), g)| (*map, &***weights, &mut **g)).collect();
        let sum = Gone::of(INNER, &left).penalise(norm, strength, &mut maps);
        (sum, gradients)
    }

    #[test]
    fn only_what_goes_is_penalised() {
        // Rows of group 0 are 1 and -2, its column of the output map 1 and 3; channel 2 writes 0 and 4 and reads 0 and -3.
        let (sum, found) = penalised(Norm::One, 0.5);
        assert_eq!(sum, 3.0 + 3.0 + 4.0 + 7.0);
        assert_eq!(found[0], [1.5, 0.5, 1.0, 1.0]);
        assert_eq!(found[1], found[0]);
        assert_eq!(found[2], [1.5, 1.0, 1.5, 1.0]);
        assert_eq!(found[3], [1.0, 1.0, 1.0, 1.0, 1.0, 0.5]);
        assert_eq!(found[4], [1.0, 1.0, 1.0, 1.0, 1.0, 1.5]);
    }

    #[test]
    fn the_root_of_the_squares_is_of_a_whole_unit() {
        let (sum, found) = penalised(Norm::Two, 2.0);
        let (group, channel) = (20.0f64.sqrt(), 5.0);
        assert!((sum - group - channel).abs() < 1e-12);
        assert!((f64::from(found[0][1]) - (1.0 - 4.0 / group)).abs() < 1e-6);
        assert!((f64::from(found[2][2]) - (1.0 + 6.0 / group)).abs() < 1e-6);
        assert!((found[3][5] - (1.0 - 6.0 / 5.0)).abs() < 1e-6 && (found[4][5] - (1.0 + 8.0 / 5.0)).abs() < 1e-6);
        assert_eq!((found[2][1], found[3][4], found[4][4]), (1.0, 1.0, 1.0));
    }

    #[test]
    fn nothing_is_added_at_no_strength() {
        for norm in [Norm::One, Norm::Two] {
            assert!(penalised(norm, 0.0).1.iter().flatten().all(|gradient| *gradient == 1.0));
        }
    }
}
