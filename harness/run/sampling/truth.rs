//! The true next-token distributions of windows of the embedded language.

use harness_language::{Language, LanguageError, Start, TruthState};
use rayon::prelude::*;

/// For each window the distribution at every position from `first` on: one probability for each token of the language.
///
/// A window may begin anywhere in a text, so what stood before it is integrated out, as a model has to.
///
/// # Errors
/// A window that the language cannot have written.
pub fn distributions(
    language: &Language,
    windows: &[Vec<u32>],
    first: usize,
) -> Result<Vec<Vec<Vec<f64>>>, LanguageError> {
    let of_window = |window: &Vec<u32>| {
        let mut state = TruthState::new(language, Start::Anywhere);
        let mut found = Vec::with_capacity(window.len().saturating_sub(first));
        for (position, token) in window.iter().enumerate() {
            if position >= first {
                found.push(state.distribution());
            }
            state.push(*token)?;
        }
        Ok(found)
    };
    windows.par_iter().map(of_window).collect()
}
