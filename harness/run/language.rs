//! Texts of the embedded language, as tokens for models that speak it and as characters for all others.

use crate::fetch::Manifest;
use crate::generated::Generated;
use crate::inputs::{InputError, LoadedModel};
use crate::text::TextSource;

/// Opens a generated corpus.
///
/// # Errors
/// [`InputError::Language`] when its `dataset.toml` is missing or wrong.
pub fn open(manifest: &Manifest) -> Result<Generated, InputError> {
    let fail = |reason: String| InputError::Language { corpus: manifest.name.clone(), reason };
    let path = manifest.folder.join("dataset.toml");
    let description =
        std::fs::read_to_string(&path).map_err(|error| fail(format!("cannot read {}: {error}", path.display())))?;
    Generated::parse(&description).map_err(|error| fail(error.to_string()))
}

/// Whether every word of a language is the token of the same id in a model's tokenizer.
///
/// # Errors
/// A model without a tokenizer.
pub fn speaks(model: &LoadedModel, generated: &Generated) -> Result<bool, InputError> {
    let lexicon = generated.language().lexicon();
    let tokenizer = model.tokenizer()?;
    let knows = |token| lexicon.word(token).is_some_and(|word| tokenizer.id(word) == Some(token));
    Ok((0..lexicon.len() as u32).all(knows))
}

/// The documents of a split of a generated corpus.
///
/// # Errors
/// As [`open`].
pub fn text(manifest: &Manifest, split: &str, model: &LoadedModel) -> Result<TextSource, InputError> {
    let fail = |reason: String| InputError::Language { corpus: manifest.name.clone(), reason };
    let generated = open(manifest)?;
    let split = generated.dataset().split(split).map_err(|error| fail(error.to_string()))?.clone();
    let name = format!("{}/{}@v{}", generated.dataset().name(), split.name, generated.dataset().version());
    let language = generated.language();
    let lexicon = language.lexicon();
    if speaks(model, &generated)? {
        let document = move |index: usize| {
            let index = index as u64;
            (index < split.documents).then(|| generated.language().document(&split.name, index))
        };
        return Ok(TextSource::Tokens { name, document: Box::new(document) });
    }
    let spell = |index| lexicon.spell(&language.document(&split.name, index)).map_err(|error| fail(error.to_string()));
    let documents = (0..split.documents).map(spell).collect::<Result<_, _>>()?;
    Ok(TextSource::Documents { name, documents })
}
