//! Generated data sets as what models are trained on.

use std::path::Path;

use harness_model::decoder::Decoder;
use harness_model::train::TokenSource;
use harness_run::addition::Sums;
use harness_run::gap::Quality;
use harness_run::generated::Generated;

use crate::exit::{INPUT_MISSING, OrExit, Refusal};

/// What can be trained on.
pub(super) enum Text {
    /// The embedded language.
    Language(Box<Generated>),
    /// Sums.
    Sums(Sums),
}

impl Text {
    /// The generated data set in a folder.
    pub fn open(corpus: &str, folder: &Path) -> Result<Self, Refusal> {
        let sums = folder.join("sums.toml");
        let description = if sums.is_file() { sums } else { folder.join("dataset.toml") };
        let text = std::fs::read_to_string(&description)
            .map_err(|error| {
                format!("{corpus} is not a generated data set: cannot read {}: {error}", description.display())
            })
            .or_exit(INPUT_MISSING)?;
        let wrong = |error: String| format!("{}: {error}", description.display());
        if description.ends_with("sums.toml") {
            return Sums::parse(&text).map(Self::Sums).map_err(|error| wrong(error.to_string())).or_exit(INPUT_MISSING);
        }
        let language = Generated::parse(&text).map_err(|error| wrong(error.to_string())).or_exit(INPUT_MISSING)?;
        Ok(Self::Language(Box::new(language)))
    }

    pub fn source(&self) -> &dyn TokenSource {
        match self {
            Self::Language(language) => &**language,
            Self::Sums(sums) => sums,
        }
    }

    /// `quality.toml` of a model trained on it, and a line about that.
    pub fn quality(&self, decoder: &Decoder, corpus: &str) -> Result<(String, String), String> {
        match self {
            Self::Language(language) => {
                let quality = Quality::measure(language, decoder, corpus).map_err(|error| error.to_string())?;
                let windows = &quality.stream_windows;
                let said = format!(
                    "{:.4} nats a token, {:.4} ± {:.4} above the floor of the language ({:.2} %)",
                    windows.model, windows.gap, windows.half_width, windows.gap_percent
                );
                Ok((quality.to_toml(), said))
            }
            Self::Sums(sums) => {
                let right = sums.quality(decoder)?;
                let said = right.iter().map(|(digits, share)| format!("{digits} digits {:.1} %", 100.0 * share));
                Ok((sums.quality_toml(&right), format!("sums right: {}", said.collect::<Vec<_>>().join(", "))))
            }
        }
    }
}
