//! k-means: points in K clusters around their means (Lloyd 1982), the best of several starts.
//!
//! A start takes K different points at random, as faiss does (not k-means++). A cluster that loses all its points takes the
//! point that lies farthest from its centre. The result depends on the seed and on nothing else, neither threads nor
//! machine; equal points always fall into the same cluster.

use harness_core::seed;
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

use crate::JudgeError;
use crate::error::{parameter, same_length};
use crate::rows::{dot, squared_distance};

/// How to cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KMeans {
    /// K, at least 1.
    pub clusters: usize,
    /// Starts, of which the one with the least inertia is kept.
    pub starts: usize,
    /// Rounds of assignment and means at most; it stops earlier when nothing moves.
    pub iterations: usize,
    /// Seed of the starts.
    pub seed: u64,
}

/// Points in clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// The cluster of each point.
    pub labels: Vec<u32>,
    /// Means, shape `(clusters, dimension)`.
    pub centres: Vec<f64>,
    /// Σ of squared distances of points to their centres, after each round of the best start; never rises.
    pub inertia: Vec<f64>,
}

/// Points assigned by one task.
const BLOCK: usize = 64;

impl KMeans {
    /// Clusters points, shape `(points, dimension)`.
    ///
    /// # Errors
    /// K = 0 or more than there are points, no starts or rounds, a length that is no multiple of the dimension.
    pub fn fit(&self, points: &[f64], dimension: usize) -> Result<Clusters, JudgeError> {
        if dimension == 0 {
            return Err(parameter("dimension", dimension, "at least 1"));
        }
        let count = points.len() / dimension;
        same_length("values of the points", points.len(), count * dimension)?;
        if self.clusters == 0 || self.clusters > count {
            return Err(parameter("clusters", self.clusters, format!("between 1 and the {count} points")));
        }
        for (name, value) in [("starts", self.starts), ("iterations", self.iterations)] {
            if value == 0 {
                return Err(parameter(name, value, "at least 1"));
            }
        }
        let mut best = self.start(points, dimension, 0);
        for start in 1..self.starts {
            let other = self.start(points, dimension, start);
            if other.inertia.last() < best.inertia.last() {
                best = other;
            }
        }
        Ok(best)
    }

    fn start(&self, points: &[f64], dimension: usize, start: usize) -> Clusters {
        let count = points.len() / dimension;
        let mut random = seed::stream(self.seed, &["k-means", &start.to_string()]);
        // The first K of a random order (Fisher and Yates).
        let mut order: Vec<usize> = (0..count).collect();
        for place in 0..self.clusters {
            let other = place + (random.next_u64() % (count - place) as u64) as usize;
            order.swap(place, other);
        }
        let mut centres: Vec<f64> = order[..self.clusters]
            .iter()
            .flat_map(|&point| &points[point * dimension..(point + 1) * dimension])
            .copied()
            .collect();
        let mut labels = assign(points, &centres, dimension);
        let mut inertia = Vec::new();
        for _ in 0..self.iterations {
            means(points, dimension, &mut labels, &mut centres);
            let next = assign(points, &centres, dimension);
            let still = next == labels;
            labels = next;
            inertia.push(spread(points, dimension, &labels, &centres));
            if still {
                break;
            }
        }
        Clusters { labels, centres, inertia }
    }
}

/// The nearest centre of each point, the first of equally near ones. ‖x − c‖² less ‖x‖² is ‖c‖² − 2 x·c, which is computed
/// alike for every point.
fn assign(points: &[f64], centres: &[f64], dimension: usize) -> Vec<u32> {
    let norms: Vec<f64> = centres.chunks_exact(dimension).map(|centre| dot(centre, centre)).collect();
    points
        .par_chunks(BLOCK * dimension)
        .flat_map_iter(|block| {
            let mut nearest = vec![(f64::INFINITY, 0u32); block.len() / dimension];
            for (index, (centre, norm)) in centres.chunks_exact(dimension).zip(&norms).enumerate() {
                for (nearest, point) in nearest.iter_mut().zip(block.chunks_exact(dimension)) {
                    let distance = norm - 2.0 * dot(point, centre);
                    if distance < nearest.0 {
                        *nearest = (distance, index as u32);
                    }
                }
            }
            nearest.into_iter().map(|(_, index)| index)
        })
        .collect()
}

/// The mean of each cluster, in the order of points. An empty cluster takes the point farthest from its centre out of
/// a cluster with others.
fn means(points: &[f64], dimension: usize, labels: &mut [u32], centres: &mut [f64]) {
    let clusters = centres.len() / dimension;
    let mut sizes = vec![0usize; clusters];
    for &label in labels.iter() {
        sizes[label as usize] += 1;
    }
    for empty in 0..clusters {
        if sizes[empty] > 0 {
            continue;
        }
        let mut farthest = (-1.0, 0);
        for (index, (point, &label)) in points.chunks_exact(dimension).zip(labels.iter()).enumerate() {
            let label = label as usize;
            if sizes[label] > 1 {
                let distance = squared_distance(point, &centres[label * dimension..(label + 1) * dimension]);
                if distance > farthest.0 {
                    farthest = (distance, index);
                }
            }
        }
        let taken = farthest.1;
        sizes[labels[taken] as usize] -= 1;
        sizes[empty] = 1;
        labels[taken] = empty as u32;
    }
    centres.fill(0.0);
    for (point, &label) in points.chunks_exact(dimension).zip(labels.iter()) {
        let centre = &mut centres[label as usize * dimension..(label as usize + 1) * dimension];
        centre.iter_mut().zip(point).for_each(|(sum, value)| *sum += value);
    }
    for (centre, size) in centres.chunks_exact_mut(dimension).zip(&sizes) {
        for sum in centre {
            *sum /= *size as f64;
        }
    }
}

/// Σ ‖x − c‖² over points and their centres.
fn spread(points: &[f64], dimension: usize, labels: &[u32], centres: &[f64]) -> f64 {
    let each = |(point, &label): (&[f64], &u32)| {
        squared_distance(point, &centres[label as usize * dimension..(label as usize + 1) * dimension])
    };
    points.chunks_exact(dimension).zip(labels).map(each).sum()
}

#[cfg(test)]
mod tests {
    use super::KMeans;

    const FIT: KMeans = KMeans { clusters: 3, starts: 5, iterations: 100, seed: 1 };

    #[test]
    fn clear_clusters_are_found() {
        let points: Vec<f64> = (0..30).map(|i| f64::from(i % 3) * 100.0 + f64::from(i / 3) * 0.1).collect();
        let found = FIT.fit(&points, 1).unwrap();
        for (point, &label) in points.iter().zip(&found.labels) {
            assert!((found.centres[label as usize] - point).abs() < 1.0);
        }
        let mut centres = found.centres.clone();
        centres.sort_by(f64::total_cmp);
        assert!(centres.iter().zip([0.45, 100.45, 200.45]).all(|(a, b)| (a - b).abs() < 1e-9), "{centres:?}");
    }

    #[test]
    fn equal_points_stay_together_and_empty_clusters_are_filled() {
        let points = [1.0, 1.0, 1.0, 1.0, 5.0, 9.0];
        let found = FIT.fit(&points, 1).unwrap();
        assert!(found.labels[..4].iter().all(|label| *label == found.labels[0]), "{found:?}");
        assert_eq!(*found.inertia.last().unwrap(), 0.0, "{found:?}");
        let same = KMeans { clusters: 2, ..FIT }.fit(&[7.0; 8], 2).unwrap();
        assert_eq!(same.labels, [0; 4]);
    }

    #[test]
    fn bad_parameters_are_refused() {
        for bad in [
            KMeans { clusters: 0, ..FIT },
            KMeans { clusters: 7, ..FIT },
            KMeans { starts: 0, ..FIT },
            KMeans { iterations: 0, ..FIT },
        ] {
            assert!(bad.fit(&[0.0; 6], 1).is_err(), "{bad:?}");
        }
        assert!(FIT.fit(&[0.0; 7], 2).is_err() && FIT.fit(&[0.0; 7], 0).is_err());
    }
}
