//! Biases of scores that depend on how far a key lies before its query and on where the query stands (FIRE; Li et al., 2023).

/// Functions of one number between 0 and 1, straight between few places, one a head. The number of a key `Δ` before the query at `i`
/// is `ln(cΔ + 1) / (ln(c max(i, L) + 1) + ε)`.
#[derive(Debug, Clone)]
pub struct Progressive {
    growth: f64,
    threshold: f64,
    /// `ln(cΔ + 1)` of every distance.
    logarithms: Vec<f32>,
    heads: Vec<Vec<Piece>>,
}

/// Keeps the divisor of the first position from being nothing.
pub const EPSILON: f64 = 1e-6;

/// `slope · x + offset` of numbers below `until`.
#[derive(Debug, Clone, Copy)]
struct Piece {
    until: f32,
    slope: f32,
    offset: f32,
}

impl Progressive {
    /// Of a net with one layer of rectified units: each unit's weight and offset, and `(heads, units)` what they count in a head.
    /// `growth` is `c`, `threshold` is `L`, of both the size counts.
    pub fn new(growth: f32, threshold: f32, units: &[[f32; 2]], outputs: &[f32], distances: usize) -> Self {
        let growth = f64::from(growth).abs();
        let kinks = |outputs: &[f32]| {
            let mut ends: Vec<f64> =
                units.iter().map(|[weight, offset]| -f64::from(*offset) / f64::from(*weight)).collect();
            ends.retain(|end| *end > 0.0 && *end < 1.0);
            ends.sort_by(f64::total_cmp);
            ends.push(f64::INFINITY);
            let mut start = 0.0;
            let piece = |end: f64| {
                // Units do not change between kinks, so the middle tells which ones are awake.
                let middle = f64::midpoint(start, end.min(1.0));
                start = end;
                let awake = units.iter().zip(outputs).map(|([weight, offset], output)| {
                    let (weight, offset) = (f64::from(*weight), f64::from(*offset));
                    let output = if weight * middle + offset > 0.0 { f64::from(*output) } else { 0.0 };
                    (output * weight, output * offset)
                });
                let (slope, offset) = awake.fold((0.0, 0.0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
                Piece { until: end as f32, slope: slope as f32, offset: offset as f32 }
            };
            ends.into_iter().map(piece).collect()
        };
        Self {
            growth,
            threshold: f64::from(threshold).abs(),
            logarithms: (0..distances).map(|distance| (growth * distance as f64).ln_1p() as f32).collect(),
            heads: outputs.chunks_exact(units.len().max(1)).map(kinks).collect(),
        }
    }

    /// Distances that are known.
    pub fn distances(&self) -> usize {
        self.logarithms.len()
    }

    pub(super) fn heads(&self) -> usize {
        self.heads.len()
    }

    /// Adds the biases of keys at some distances before a query, divided by the factor of scores.
    pub(super) fn add(
        &self,
        head: usize,
        query: f64,
        distances: impl Iterator<Item = usize>,
        scale: f32,
        scores: &mut [f32],
    ) {
        let divisor = (self.growth * query.max(self.threshold)).ln_1p() + EPSILON;
        let pieces = &self.heads[head];
        let mut at = 0;
        for (score, distance) in scores.iter_mut().zip(distances) {
            let x = (f64::from(self.logarithms[distance]) / divisor) as f32;
            // Neighbours lie in the same piece or beside it.
            while at > 0 && x < pieces[at - 1].until {
                at -= 1;
            }
            while x >= pieces[at].until {
                at += 1;
            }
            *score += (pieces[at].slope * x + pieces[at].offset) / scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|at| ((at as f32 * 12.9898 + seed).sin() * 43_758.547).fract()).collect()
    }

    #[test]
    fn pieces_are_what_the_units_add_up_to() {
        let (units, heads) = (32, 3);
        let numbers = sample(2 * units, 1.0);
        let units: Vec<[f32; 2]> = numbers.as_chunks::<2>().0.to_vec();
        let outputs = sample(heads * units.len(), 2.0);
        for (growth, threshold) in [(0.1, 512.0), (-0.3, 8.0), (4.0, -64.0)] {
            let net = Progressive::new(growth, threshold, &units, &outputs, 1024);
            for (query, head) in [(0_usize, 0), (7, 1), (300, 2), (1023, 0)] {
                let mut found = vec![0.5; query + 1];
                net.add(head, query as f64, (0..=query).rev(), 0.25, &mut found);
                for (key, found) in found.into_iter().enumerate() {
                    let (c, l) = (f64::from(growth).abs(), f64::from(threshold).abs());
                    let x = (c * (query - key) as f64 + 1.0).ln() / ((c * (query as f64).max(l) + 1.0).ln() + EPSILON);
                    assert!((0.0..=1.0).contains(&x));
                    let of_unit = |([weight, offset], output): (&[f32; 2], &f32)| {
                        (f64::from(*weight) * x + f64::from(*offset)).max(0.0) * f64::from(*output)
                    };
                    let of_head = &outputs[head * units.len()..][..units.len()];
                    let expected = 0.5 + units.iter().zip(of_head).map(of_unit).sum::<f64>() / 0.25;
                    assert!((f64::from(found) - expected).abs() < 2e-5, "{query} {key}: {found} for {expected}");
                }
            }
        }
    }

    #[test]
    fn numbers_of_keys_are_those_computed_elsewhere() {
        // One unit that hands its number on.
        let net = Progressive::new(0.1, 512.0, &[[1.0, 0.0]], &[1.0], 4096);
        for (query, key, expected) in [
            (10, 5, 0.102_517),
            (255, 0, 0.828_591),
            (511, 256, 0.828_591),
            (1023, 0, 1.0),
            (4095, 0, 1.0),
            (4095, 4000, 0.390_764),
        ] {
            let mut found = [0.0];
            net.add(0, f64::from(query), std::iter::once((query - key) as usize), 1.0, &mut found);
            assert!((found[0] - expected).abs() < 1e-6, "{query} {key}: {} for {expected}", found[0]);
        }
    }
}
