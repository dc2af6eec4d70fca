//! Text that a model writes itself, by ancestral sampling at temperature 1: in-domain text for a checkpoint whose
//! training text is not at hand.

use std::path::PathBuf;

use harness_core::seed;
use harness_kernels::logits;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use rand_chacha::rand_core::Rng;

use crate::fetch::Cache;
use crate::inputs::{InputError, LoadedModel};
use crate::text::{TextSelection, TextSource};

/// As many documents as windows, each one window long and begun by the beginning-of-sequence token (or token 0).
///
/// The result is kept in the cache: writing it takes a decode step a token.
///
/// # Errors
/// [`InputError::SelfWritten`].
pub fn text(
    model: &LoadedModel,
    selection: &TextSelection,
    seed: u64,
    cache: &Cache,
) -> Result<TextSource, InputError> {
    let windows = selection.windows;
    let window = selection.passage.unwrap_or(selection.window);
    let key = format!("{}-{seed}-{window}x{windows}", &model.hash[..16]);
    let path = cache.root().join("self").join(format!("{key}.json"));
    let documents = if let Some(documents) = kept(&path) {
        documents
    } else {
        let start = model.decoder.config().bos.unwrap_or(0);
        let written = write(&model.decoder, start, window, windows, seed)
            .map_err(|source| InputError::SelfWritten { model: model.name.clone(), source })?;
        keep(&path, &written);
        written
    };
    Ok(TextSource::Tokens {
        name: format!("self@{key}"),
        document: Box::new(move |index| documents.get(index).cloned()),
    })
}

/// Samples `windows` sequences of `length` tokens, each from its own random stream.
///
/// # Errors
/// The decoder's.
pub fn write(
    decoder: &Decoder,
    start: u32,
    length: usize,
    windows: usize,
    seed: u64,
) -> Result<Vec<Vec<u32>>, ModelError> {
    (0..windows)
        .map(|window| {
            let mut random = seed::stream(seed, &["self-written", &window.to_string()]);
            let mut cache = decoder.new_cache();
            let mut tokens = vec![start];
            while tokens.len() < length {
                let row = decoder.logits_last(&tokens[tokens.len() - 1..], &mut cache)?;
                let uniform = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
                tokens.push(draw(&row, uniform));
            }
            Ok(tokens)
        })
        .collect()
}

/// The token at which the cumulated softmax of a row first exceeds `uniform` in `[0, 1)`.
fn draw(row: &[f32], uniform: f64) -> u32 {
    let statistics = logits::statistics(row);
    let mut mass = 0.0;
    for (token, &logit) in row.iter().enumerate() {
        mass += (f64::from(logit) - statistics.log_sum_exp).exp();
        if mass > uniform {
            return token as u32;
        }
    }
    statistics.argmax
}

fn kept(path: &PathBuf) -> Option<Vec<Vec<u32>>> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// A cache that cannot be written only costs time.
fn keep(path: &PathBuf, documents: &[Vec<u32>]) {
    let write = || -> Option<()> {
        let folder = path.parent()?;
        std::fs::create_dir_all(folder).ok()?;
        let mut file = tempfile::NamedTempFile::new_in(folder).ok()?;
        serde_json::to_writer(&mut file, documents).ok()?;
        file.persist(path).ok()?;
        Some(())
    };
    write();
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn draws_follow_the_cumulated_softmax() {
        let row = [0.0, (3.0_f32).ln(), f32::NEG_INFINITY];
        assert_eq!([0.0, 0.24, 0.26, 0.999_999].map(|uniform| draw(&row, uniform)), [0, 0, 1, 1]);
    }
}
