//! Precision and recall of generated against real embeddings (Kynkäänniemi et al. 2019, arXiv 1904.06991), realism, density
//! and coverage (Naeem et al. 2020, arXiv 2002.09797).
//!
//! The manifold of a set is the union of balls around its members, each reaching to the member's k-th nearest *other*
//! member, borders included. Precision: the share of generated points inside the real manifold. Recall: the share of real
//! points inside the generated one. One far-off real point swallows much of the space; density (balls around real points
//! that hold a generated one, over k) and coverage (real balls that hold any) are less easily fooled.
//!
//! Distances come from differences in f64, never from norms and products, so equal texts have distance 0 and ties are ties.
//! `O(N² d)`, in memory N a block of rows.

use rayon::prelude::*;

use crate::error::{parameter, same_length};
use crate::rows::squared_distance;
use crate::{JudgeError, Rows};

/// Rows that are measured against a block of others at a time, so that both stay in the cache.
const BLOCK: usize = 16;

/// A set of embeddings with the radius of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifold {
    values: Vec<f64>,
    dimension: usize,
    /// Squared distance of each to its k-th nearest other.
    squared: Vec<f64>,
    neighbours: usize,
}

/// What two sets share.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// Which generated points lie inside the real manifold.
    pub precise: Vec<bool>,
    /// Which real points lie inside the generated manifold.
    pub recalled: Vec<bool>,
    /// Real balls around a generated point, over k; not bounded by 1.
    pub density: f64,
    /// The share of real balls that hold a generated point.
    pub coverage: f64,
}

impl Overlap {
    /// The share of generated points inside the real manifold.
    pub fn precision(&self) -> f64 {
        share(&self.precise)
    }

    /// The share of real points inside the generated manifold.
    pub fn recall(&self) -> f64 {
        share(&self.recalled)
    }
}

fn share(flags: &[bool]) -> f64 {
    flags.iter().filter(|flag| **flag).count() as f64 / flags.len() as f64
}

/// Calls `each` with every row of `from` (by number) and its squared distances to all rows of `to`; rows in parallel.
fn distances<R: Send>(
    from: &[f64],
    to: &[f64],
    dimension: usize,
    each: impl Fn(usize, &mut [f64]) -> R + Sync,
) -> Vec<R> {
    let others = to.len() / dimension;
    from.par_chunks(BLOCK * dimension)
        .enumerate()
        .flat_map_iter(|(block, rows)| {
            let count = rows.len() / dimension;
            let mut found = vec![0.0; count * others];
            for (j, other) in to.chunks_exact(dimension).enumerate() {
                for (i, row) in rows.chunks_exact(dimension).enumerate() {
                    found[i * others + j] = squared_distance(row, other);
                }
            }
            let results: Vec<R> =
                found.chunks_exact_mut(others).enumerate().map(|(i, row)| each(block * BLOCK + i, row)).collect();
            results
        })
        .collect()
}

impl Manifold {
    /// The manifold of a set, with balls to the k-th nearest other member (3 in the paper).
    ///
    /// # Errors
    /// k = 0 or not below the number of rows.
    pub fn new(rows: &Rows, neighbours: usize) -> Result<Self, JudgeError> {
        if neighbours == 0 || neighbours >= rows.len() {
            return Err(parameter("k", neighbours, format!("between 1 and {}, the rows less one", rows.len() - 1)));
        }
        let (values, dimension) = (rows.wide(), rows.dimension());
        let squared = distances(&values, &values, dimension, |own, row| {
            // Never its own neighbour, whatever equals it.
            row[own] = f64::INFINITY;
            *row.select_nth_unstable_by(neighbours - 1, f64::total_cmp).1
        });
        Ok(Self { values, dimension, squared, neighbours })
    }

    /// The radius of each ball.
    pub fn radii(&self) -> Vec<f64> {
        self.squared.iter().map(|squared| squared.sqrt()).collect()
    }

    /// Compares the manifold of real embeddings with that of generated ones, which must be as many: with unequal numbers
    /// the larger set has smaller balls, and precision and recall are not comparable.
    ///
    /// # Errors
    /// Numbers, dimensions or k that differ.
    pub fn overlap(&self, generated: &Self) -> Result<Overlap, JudgeError> {
        same_length("dimension of the generated embeddings", generated.dimension, self.dimension)?;
        same_length("k of the generated manifold", generated.neighbours, self.neighbours)?;
        same_length(
            "generated embeddings (sample both sets to one size)",
            generated.squared.len(),
            self.squared.len(),
        )?;
        // One pass over all pairs, by real row: how many generated points its ball holds, whether some generated ball
        // holds it, and which generated points its ball holds.
        let rows = distances(&self.values, &generated.values, self.dimension, |real, row| {
            let inside: Vec<u32> = (0..row.len() as u32).filter(|&j| row[j as usize] <= self.squared[real]).collect();
            let recalled = row.iter().zip(&generated.squared).any(|(distance, radius)| distance <= radius);
            (inside, recalled)
        });
        let mut precise = vec![false; generated.squared.len()];
        let (mut held, mut covered) = (0usize, 0usize);
        for (inside, _) in &rows {
            for &j in inside {
                precise[j as usize] = true;
            }
            held += inside.len();
            covered += usize::from(!inside.is_empty());
        }
        let count = rows.len() as f64;
        Ok(Overlap {
            density: held as f64 / (self.neighbours as f64 * precise.len() as f64),
            coverage: covered as f64 / count,
            recalled: rows.into_iter().map(|(_, recalled)| recalled).collect(),
            precise,
        })
    }

    /// Realism of points against this manifold of real ones: the largest `r(φ) / ‖g − φ‖` over real φ, 1 or more inside the
    /// manifold, infinite on a real point with a ball. `pruned` leaves out balls with a radius above the median, which
    /// stray points have (the paper does; its program also compares squared distances).
    ///
    /// # Errors
    /// Dimensions that differ.
    pub fn realism(&self, points: &Rows, pruned: bool) -> Result<Vec<f64>, JudgeError> {
        same_length("dimension of the points", points.dimension(), self.dimension)?;
        let mut sorted = self.squared.clone();
        sorted.sort_by(f64::total_cmp);
        // Of radii, not of their squares: with an even number the median lies between two.
        let radii: Vec<f64> = sorted.iter().map(|squared| squared.sqrt()).collect();
        let median = harness_core::statistics::quantile(&radii, 0.5).unwrap_or(f64::INFINITY);
        Ok(distances(&points.wide(), &self.values, self.dimension, |_, row| {
            let ratio = |(distance, radius): (&f64, &f64)| match (radius.sqrt(), distance.sqrt()) {
                (radius, _) if pruned && radius > median => 0.0,
                (0.0, 0.0) => 1.0,
                (radius, distance) => radius / distance,
            };
            row.iter().zip(&self.squared).map(ratio).fold(0.0, f64::max)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::Manifold;
    use crate::Rows;

    const REAL: [f32; 5] = [0.0, 1.0, 2.0, 3.0, 10.0];
    const GENERATED: [f32; 5] = [0.5, 2.5, 6.0, 11.0, 20.0];

    fn manifold(values: &[f32], k: usize) -> Manifold {
        Manifold::new(&Rows::new(values, 1).unwrap(), k).unwrap()
    }

    #[test]
    fn the_worked_example() {
        let (real, generated) = (manifold(&REAL, 1), manifold(&GENERATED, 1));
        assert_eq!(real.radii(), [1.0, 1.0, 1.0, 1.0, 7.0]);
        assert_eq!(generated.radii(), [2.0, 2.0, 3.5, 5.0, 9.0]);
        for k in [1, 2] {
            let found = manifold(&REAL, k).overlap(&manifold(&GENERATED, k)).unwrap();
            assert_eq!((found.precision(), found.recall()), (0.8, 1.0), "k = {k}");
        }
        let found = real.overlap(&generated).unwrap();
        // Balls [−1,1] [0,2] [1,3] [2,4] [3,17] hold 1, 1, 1, 1, 2 points.
        assert_eq!((found.density, found.coverage), (1.2, 1.0));
        let realism = real.realism(&Rows::new(&GENERATED, 1).unwrap(), false).unwrap();
        for (found, expected) in realism.iter().zip([2.0, 2.0, 1.75, 7.0, 0.7]) {
            assert!((found - expected).abs() < 1e-12, "{realism:?}");
        }
        let pruned = real.realism(&Rows::new(&GENERATED, 1).unwrap(), true).unwrap();
        assert!((pruned[2] - 1.0 / 3.0).abs() < 1e-12, "without the stray ball: {pruned:?}");
    }

    #[test]
    fn equal_sets_and_duplicates() {
        let real = manifold(&REAL, 2);
        let found = real.overlap(&real).unwrap();
        assert_eq!((found.precision(), found.recall(), found.coverage), (1.0, 1.0, 1.0));
        // Duplicates have balls of radius 0 that hold exact matches only.
        let (twice, other) = (manifold(&[1.0, 1.0, 5.0, 5.0], 1), manifold(&[1.0, 1.5, 5.0, 9.0], 1));
        let found = twice.overlap(&other).unwrap();
        assert_eq!((found.precision(), found.coverage), (0.5, 1.0));
    }

    #[test]
    fn bad_input_is_refused() {
        let rows = Rows::new(&REAL, 1).unwrap();
        assert!(Manifold::new(&rows, 0).is_err() && Manifold::new(&rows, 5).is_err());
        assert!(manifold(&REAL, 1).overlap(&manifold(&GENERATED[1..], 1)).is_err());
        assert!(manifold(&REAL, 1).overlap(&manifold(&GENERATED, 2)).is_err());
        assert!(manifold(&REAL, 1).realism(&Rows::new(&[1.0, 2.0], 2).unwrap(), false).is_err());
    }
}
