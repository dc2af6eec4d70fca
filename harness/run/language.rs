//! Texts of the embedded language, as tokens for models that speak it and as characters for all others.

use harness_language::{Dataset, Language};

use crate::fetch::Manifest;
use crate::inputs::{InputError, LoadedModel};
use crate::text::TextSource;

/// The documents of a split of a generated corpus.
///
/// # Errors
/// [`InputError::Language`] when its `dataset.toml` is missing or wrong.
pub fn text(manifest: &Manifest, split: &str, model: &LoadedModel) -> Result<TextSource, InputError> {
    let fail = |reason: String| InputError::Language { corpus: manifest.name.clone(), reason };
    let (dataset, language) = open(manifest).map_err(fail)?;
    let split = dataset.split(split).map_err(|error| fail(error.to_string()))?.clone();
    let name = format!("{}/{}@v{}", dataset.name(), split.name, dataset.version());
    let lexicon = language.lexicon();
    let tokenizer = model.tokenizer()?;
    let spoken = (0..lexicon.len() as u32).all(|token| lexicon.word(token).is_some_and(|word| tokenizer.id(word) == Some(token)));
    if spoken {
        let document = move |index: usize| (index as u64).lt(&split.documents).then(|| language.document(&split.name, index as u64));
        return Ok(TextSource::Tokens { name, document: Box::new(document) });
    }
    let documents = (0..split.documents)
        .map(|index| lexicon.spell(&language.document(&split.name, index)).map_err(|error| fail(error.to_string())))
        .collect::<Result<_, _>>()?;
    Ok(TextSource::Documents { name, documents })
}

/// The data set beside a manifest, and its language.
fn open(manifest: &Manifest) -> Result<(Dataset, Language), String> {
    let path = manifest.folder.join("dataset.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let dataset = Dataset::parse(&text).map_err(|error| error.to_string())?;
    let language = Language::from_parameters(&dataset.language).map_err(|error| error.to_string())?;
    Ok((dataset, language))
}
