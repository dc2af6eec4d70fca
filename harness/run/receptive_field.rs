//! Receptive fields of a model: of its biases in theory, and of its perplexity under windows.

use harness_core::{Arm, Value};
use harness_methods::receptive_field::{FieldError, Weights};
use harness_model::config::{DistanceBias, PositionScheme};
use harness_model::decoder::Decoder;
use harness_model::rope::alibi_slopes;

use crate::position::{PlaceError, placed, scheme_of};
use crate::score::{ScoreError, score};

/// Why a field could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// Windows cannot be given to the model.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The model could not be scored.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

/// The weights by distance of one head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Head {
    /// Block.
    pub layer: usize,
    /// Query head.
    pub head: usize,
    /// What its biases multiply keys by.
    pub weights: Weights,
}

impl Head {
    /// The least number of newest keys that hold more than `1 − epsilon` of all weight.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn field(&self, epsilon: f64) -> Result<usize, FieldError> {
        self.weights.receptive_field(epsilon)
    }
}

/// The weights by distance of every head of every block; the name of the model's scheme where scores have no biases by distance alone.
///
/// # Errors
/// The scheme, such as rotary embeddings.
pub fn heads_of(decoder: &Decoder) -> Result<Vec<Head>, String> {
    let config = decoder.config();
    if decoder.has_states() {
        return Err(scheme_of(config).to_string());
    }
    let slopes = alibi_slopes(config.heads);
    let of = |layer: usize, head: usize| {
        let learned = decoder.learned_biases(layer).unwrap_or_default();
        let number = |row: usize, least: f32| f64::from(learned[row * config.heads + head].max(least));
        let (power, rate) = (|| number(0, 0.01), || number(1, 0.01));
        Ok(match config.position {
            PositionScheme::Alibi => Weights::Geometric { slope: f64::from(slopes[head]) },
            // Weights that do not fall to nothing have no bound: sums of cosines come back to where they were.
            PositionScheme::None | PositionScheme::Biases(DistanceBias::T5 | DistanceBias::Sandwich) => {
                Weights::Constant
            }
            PositionScheme::Biases(DistanceBias::KerpleLog) => Weights::Power { power: power(), rate: rate() },
            PositionScheme::Biases(DistanceBias::KerplePower) => {
                Weights::Stretched { power: power().min(2.0), rate: rate() }
            }
            PositionScheme::Biases(DistanceBias::InverseSquare) => Weights::Power { power: 2.0, rate: 1.0 },
            PositionScheme::Biases(DistanceBias::Inverse) => Weights::Power { power: 1.0, rate: 1.0 },
            PositionScheme::Biases(DistanceBias::LogSquare) => Weights::LogSquare,
            // FIRE's biases are not of the distance alone.
            PositionScheme::Rope { .. }
            | PositionScheme::Xpos { .. }
            | PositionScheme::Learned
            | PositionScheme::StateSpace(_)
            | PositionScheme::Biases(DistanceBias::Fire) => {
                return Err(scheme_of(config).to_string());
            }
        })
    };
    let places = (0..config.layers).flat_map(|layer| (0..config.heads).map(move |head| (layer, head)));
    places.map(|(layer, head)| Ok(Head { layer, head, weights: of(layer, head)? })).collect()
}

/// Perplexity where a query sees the newest `window` keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Windowed {
    /// Keys that a query sees.
    pub window: usize,
    /// Perplexity.
    pub perplexity: f64,
}

/// Windows that are tried below a length: four to an octave, and the length itself, which is everything.
pub fn tried(length: usize) -> Vec<usize> {
    let octaves = (0..usize::BITS).map(|octave| 1usize << octave);
    let steps = octaves.flat_map(|start| (0..4).map(move |quarter| start + start * quarter / 4));
    let mut tried: Vec<usize> = steps.take_while(|window| *window < length).collect();
    tried.dedup();
    tried.push(length);
    tried
}

/// Perplexities of windows of text under all of [`tried`], the last without a bound.
///
/// # Errors
/// [`MeasureError`].
pub fn perplexities(
    decoder: &Decoder,
    windows: &[Vec<u32>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Windowed>, MeasureError> {
    let tried = tried(windows.first().map_or(0, Vec::len));
    let count = tried.len();
    let mut measured = Vec::with_capacity(count);
    for (at, window) in tried.into_iter().enumerate() {
        let arm = Arm::new("sliding-window").with("window", Value::Int(i64::try_from(window).unwrap_or(i64::MAX)));
        let decoder = placed(decoder, &arm)?.0;
        let scores = score(&decoder, windows, 0, &mut |_, _| {})?;
        let (nll, tokens) = scores.iter().fold((0.0, 0), |(nll, tokens), one| (nll + one.nll, tokens + one.tokens));
        measured.push(Windowed { window, perplexity: (nll / tokens as f64).exp() });
        progress(at + 1, count);
    }
    Ok(measured)
}

/// The least window tried from which on perplexity is no more than a share `epsilon` above that without a bound.
pub fn empirical_field(measured: &[Windowed], epsilon: f64) -> Option<usize> {
    let whole = measured.last()?.perplexity;
    let near = measured.iter().rev().take_while(|one| one.perplexity / whole - 1.0 <= epsilon);
    near.last().map(|one| one.window)
}

/// The least number of newest positions on which more than `1 − epsilon` of the loss of a token depends, of
/// [`Decoder::reach`]'s shares.
pub fn gradient_field(shares: &[f64], epsilon: f64) -> Option<usize> {
    let mut held = 0.0;
    shares
        .iter()
        .position(|share| {
            held += share;
            held > 1.0 - epsilon
        })
        .map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_of_gradients_is_the_newest_positions_that_hold_the_share() {
        let field = |epsilon| gradient_field(&[0.5, 0.25, 0.125, 0.125], epsilon);
        assert_eq!([field(0.6), field(0.3), field(0.25), field(0.01)], [Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(gradient_field(&[], 0.1), None);
    }

    #[test]
    fn windows_grow_by_a_quarter_and_end_with_everything() {
        assert_eq!(tried(20), [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20]);
    }

    #[test]
    fn the_field_is_the_window_from_which_on_nothing_is_missed() {
        let measured: Vec<Windowed> = [(1, 90.0), (2, 30.5), (4, 33.0), (8, 30.9), (16, 30.0)]
            .map(|(window, perplexity)| Windowed { window, perplexity })
            .into();
        let field = |epsilon| empirical_field(&measured, epsilon);
        assert_eq!([field(0.0), field(0.05), field(0.2), field(3.0)], [Some(16), Some(8), Some(2), Some(1)]);
        assert_eq!(empirical_field(&[], 0.1), None);
    }
}
