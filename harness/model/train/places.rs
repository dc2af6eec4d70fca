//! Where the tokens of training windows stand.

use harness_core::seed::stream;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

/// Tokens at the front that `scaled` never moves.
const UNMOVED: usize = 4;

/// Where the tokens of a training window stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacesRecipe {
    /// At 0, 1, 2 …
    #[default]
    Whole,
    /// Behind gaps drawn from 0 to 2, squeezed to the window where they exceed it (Giraffe; Pal et al., 2023).
    Random,
    /// At `(j + t) / g` of a factor `g` and an offset `t` drawn for each window; the first four tokens at `j / g` (E²-LLM; Liu et al., 2024).
    Scaled,
    /// At whole numbers drawn from a text `t` times as long, `t` drawn for each step, read with the frequencies of that length (CLEX; Chen
    /// et al., 2024).
    Stretched,
}

/// A number from 0 to 1, without 1.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A whole number below a bound, which is far smaller than 2⁵³.
fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    ((unit(rng) * bound as f64) as usize).min(bound.saturating_sub(1))
}

impl PlacesRecipe {
    /// Whether a largest factor has to be stated.
    pub(crate) fn draws_factors(self) -> bool {
        matches!(self, Self::Scaled | Self::Stretched)
    }

    /// The time of a step, `1 ..= scales`, where frequencies follow it.
    pub(crate) fn time_of_step(self, seed: u64, step: usize, scales: usize) -> Option<usize> {
        let mut rng = stream(seed, &["time", &step.to_string()]);
        (self == Self::Stretched).then(|| 1 + below(&mut rng, scales))
    }

    /// The places of a window's tokens, keyed by the window; none where they are 0, 1, 2 … `scales` is the largest factor, `time` that of the
    /// step.
    pub(crate) fn of_window(
        self,
        seed: u64,
        window: u64,
        length: usize,
        (scales, time): (usize, Option<usize>),
    ) -> Option<Vec<f32>> {
        let mut rng = stream(seed, &["places", &window.to_string()]);
        match self {
            Self::Whole => None,
            Self::Random => Some(random(&mut rng, length)),
            Self::Scaled => {
                let factor = 1 + below(&mut rng, scales);
                // The last token stands within the window when it is divided by the factor.
                let offset = below(&mut rng, (factor - 1) * length + 1);
                let place = |j: usize| (j + if j < UNMOVED { 0 } else { offset }) as f64 / factor as f64;
                Some((0..length).map(|j| place(j) as f32).collect())
            }
            Self::Stretched => Some(stretched(&mut rng, length, length * time.unwrap_or(1))),
        }
    }
}

fn random(rng: &mut ChaCha8Rng, length: usize) -> Vec<f32> {
    let mut place = 0.0;
    let mut next = || {
        place += 2.0 * unit(rng);
        place
    };
    let places: Vec<f64> = (0..length).map(|_| next()).collect();
    let squeeze = length as f64 / places.last().map_or(1.0, |last| last.max(length as f64));
    places.iter().map(|place| (place * squeeze) as f32).collect()
}

/// The first and the last of `positions` places, and distinct ones between in their order.
fn stretched(rng: &mut ChaCha8Rng, length: usize, positions: usize) -> Vec<f32> {
    let mut places = Vec::with_capacity(length);
    for place in 0..positions {
        // Each place is taken with the chance that leaves all subsets of the size equally likely (Knuth's algorithm S).
        let (left, needed) = (positions - place, length - places.len());
        let fixed = place == 0 || left == 1;
        let between = needed.saturating_sub(1);
        if fixed || (left > 1 && unit(rng) * ((left - 1) as f64) < between as f64) {
            places.push(place as f32);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ONE: (usize, Option<usize>) = (1, None);

    #[test]
    fn random_places_rise_by_about_one_and_stay_in_the_window() {
        assert_eq!(PlacesRecipe::Whole.of_window(1, 2, 8, ONE), None);
        let places = PlacesRecipe::Random.of_window(1, 2, 256, ONE).unwrap();
        assert_eq!(places, PlacesRecipe::Random.of_window(1, 2, 256, ONE).unwrap());
        assert_ne!(places, PlacesRecipe::Random.of_window(1, 3, 256, ONE).unwrap());
        assert!(places.windows(2).all(|pair| pair[0] < pair[1]) && places[255] <= 256.0 && places[255] > 200.0);
    }

    #[test]
    fn scaled_places_keep_distances_but_to_the_first_four() {
        let whole: Vec<f32> = (0..256).map(|j| j as f32).collect();
        assert_eq!(PlacesRecipe::Scaled.of_window(1, 2, 256, ONE).unwrap(), whole);
        let mut moved = 0;
        for window in 0..200 {
            let places = PlacesRecipe::Scaled.of_window(1, window, 256, (4, None)).unwrap();
            let factor = 1.0 / (places[1] - places[0]);
            assert!((factor.round() - factor).abs() < 1e-6 && (1.0..=4.0).contains(&factor.round()), "{factor}");
            assert!(places[100] - places[60] - 40.0 / factor < 1e-4, "distances behind the first tokens are plain");
            let offset = (places[100] * factor - 100.0).round();
            assert!((0.0..=(factor.round() - 1.0) * 256.0).contains(&offset) && places[255] <= 255.999, "{offset}");
            assert!((places[3] * factor - 3.0).abs() < 1e-4);
            moved += usize::from(offset > 0.0);
        }
        assert!((100..200).contains(&moved), "{moved}");
    }

    #[test]
    fn stretched_places_are_distinct_and_end_with_the_text() {
        let whole: Vec<f32> = (0..64).map(|j| j as f32).collect();
        assert_eq!(PlacesRecipe::Stretched.of_window(1, 2, 64, (4, Some(1))).unwrap(), whole);
        let mut sums = vec![0.0; 64];
        for window in 0..400 {
            let places = PlacesRecipe::Stretched.of_window(1, window, 64, (4, Some(3))).unwrap();
            assert_eq!((places.len(), places[0], places[63]), (64, 0.0, 191.0));
            assert!(places.windows(2).all(|pair| pair[0] < pair[1] && pair[0].fract() == 0.0));
            sums.iter_mut().zip(&places).for_each(|(sum, place)| *sum += place);
        }
        // The mean of an ordered sample of 62 of 190 places: place k stands at k · 191 / 63.
        assert!((sums[21] / 400.0 - 21.0 * 191.0 / 63.0).abs() < 3.0, "{}", sums[21] / 400.0);
        let times: Vec<usize> =
            (0..300).map(|step| PlacesRecipe::Stretched.time_of_step(5, step, 3).unwrap()).collect();
        assert!((1..=3).all(|time| times.iter().filter(|t| **t == time).count() > 60), "{times:?}");
        assert_eq!(PlacesRecipe::Scaled.time_of_step(5, 0, 3), None);
    }
}
