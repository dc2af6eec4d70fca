//! From names in a suite to loaded models and texts.

use std::path::{Path, PathBuf};

use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::load::{self, Checkpoint, Coded, LoadError};
use harness_model::tokenizer::Tokenizer;
use sha2::{Digest, Sha256};

use crate::estimate::ModelSize;
use crate::fetch::{
    self, Cache, Corpus, CorpusChoice, FetchError, Folder, Kind, Located, Manifest, ModelChoice, Progress,
};
use crate::footprint::{Counting, Footprint};
use crate::generated::Generated;
use crate::language;
use crate::position::{OpenError, decoder_of};
use crate::selfwritten;
use crate::text::{TextSelection, TextSource};

/// The corpus name that stands for text which the dense model writes itself.
pub const SELF: &str = "self";

/// Why a model or text cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Name, download or file.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The checkpoint is damaged or of an unknown kind.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The checkpoint does not make a decoder.
    #[error("{model}: {source}")]
    Decoder {
        /// Name or path.
        model: String,
        /// The reason.
        source: OpenError,
    },
    /// The checkpoint brings no tokenizer.
    #[error("{model} has no tokenizer; put tokenizer.json beside its weights")]
    NoTokenizer {
        /// Name or path.
        model: String,
    },
    /// The tokenizer does not fit the vocabulary.
    #[error(
        "{model}: its tokenizer knows {tokenizer} tokens and its embedding holds {embedding}; they do not belong together"
    )]
    Vocabulary {
        /// Name or path.
        model: String,
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        embedding: usize,
    },
    /// The embedded language's parameters are wrong.
    #[error("{corpus}: {reason}")]
    Language {
        /// The corpus.
        corpus: String,
        /// The reason.
        reason: String,
    },
    /// The model could not write its own text.
    #[error("{model} could not write its own text: {source}")]
    SelfWritten {
        /// Name or path.
        model: String,
        /// The decoder's reason.
        source: ModelError,
    },
}

impl InputError {
    /// The exit code that belongs to it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Fetch(error) => error.exit_code(),
            _ => 5,
        }
    }
}

/// A model in memory.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// Name or path as the suite wrote it.
    pub name: String,
    /// The dense model.
    pub decoder: Decoder,
    /// SHA-256 of the checkpoint's files.
    pub hash: String,
    /// How its matrices are coded in its file, where they are: its dense model is then what those codes stand for.
    pub coded: Option<Coded>,
    /// Prompt template of chat models.
    pub chat_template: Option<String>,
    tokenizer: Option<Tokenizer>,
    tokenizer_hash: String,
}

impl LoadedModel {
    /// Opens a checkpoint file or folder.
    ///
    /// # Errors
    /// [`InputError`]; a tokenizer larger than the embedding is refused here, a missing one only when it is needed.
    pub fn open(name: &str, path: &Path) -> Result<Self, InputError> {
        Self::of(name, load::load(path)?)
    }

    /// A model of a checkpoint, whose weights it shares.
    ///
    /// # Errors
    /// As [`LoadedModel::open`].
    pub fn of(name: &str, checkpoint: Checkpoint) -> Result<Self, InputError> {
        checkpoint.check_finite()?;
        let hash = checkpoint.hash().to_owned();
        let decoder =
            decoder_of(&checkpoint).map_err(|source| InputError::Decoder { model: name.to_owned(), source })?;
        if let Some(tokenizer) = &checkpoint.tokenizer
            && tokenizer.vocab_size() > decoder.config().vocab_size
        {
            return Err(InputError::Vocabulary {
                model: name.to_owned(),
                tokenizer: tokenizer.vocab_size(),
                embedding: decoder.config().vocab_size,
            });
        }
        let description = checkpoint.tokenizer.as_ref().and_then(|tokenizer| tokenizer.to_json().ok());
        Ok(Self {
            name: name.to_owned(),
            decoder,
            hash,
            coded: checkpoint.coded,
            chat_template: checkpoint.chat_template,
            tokenizer: checkpoint.tokenizer,
            tokenizer_hash: hash_texts(description.iter().map(String::as_str)),
        })
    }

    /// Bits a weight of the linear maps in the checkpoint's file.
    pub fn checkpoint_bits(&self) -> f64 {
        self.coded.as_ref().map_or_else(
            || Footprint::of(&self.decoder, Counting::default()).bits_per_weight(None).0,
            |coded| coded.bits,
        )
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// [`InputError::NoTokenizer`].
    pub fn tokenizer(&self) -> Result<&Tokenizer, InputError> {
        self.tokenizer.as_ref().ok_or_else(|| InputError::NoTokenizer { model: self.name.clone() })
    }

    /// SHA-256 of its tokenizer's description.
    pub fn tokenizer_hash(&self) -> &str {
        &self.tokenizer_hash
    }
}

/// Finds and opens what suites name. Downloads nothing: see [`Inputs::absent`].
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The names there are.
    pub catalog: fetch::Catalog,
    /// Where fetched entries lie.
    pub cache: Cache,
}

impl Inputs {
    /// The catalogue and cache of this environment.
    ///
    /// # Errors
    /// [`FetchError`] when there is no `datasets` folder or no place for a cache.
    pub fn from_environment() -> Result<Self, FetchError> {
        Ok(Self { catalog: fetch::Catalog::open(None)?, cache: Cache::from_environment()? })
    }

    /// The manifest behind a model's name; `None` for a path.
    ///
    /// # Errors
    /// [`FetchError`] for an unknown name.
    pub fn model_manifest(&self, name: &str) -> Result<Option<Manifest>, FetchError> {
        Ok(match self.catalog.model(name)? {
            ModelChoice::Named(manifest) => Some(*manifest),
            ModelChoice::Path(_) => None,
        })
    }

    /// The manifest behind a corpus's name; `None` for a path and for [`SELF`].
    ///
    /// # Errors
    /// [`FetchError`] for an unknown name.
    pub fn corpus_manifest(&self, name: &str) -> Result<Option<Manifest>, FetchError> {
        if name == SELF {
            return Ok(None);
        }
        Ok(match self.catalog.corpus(name)? {
            CorpusChoice::Named { manifest, .. } => Some(*manifest),
            CorpusChoice::Path(_) => None,
        })
    }

    /// The manifest behind a task's name; `None` for a path.
    ///
    /// # Errors
    /// [`FetchError`] for an unknown name.
    pub fn task_manifest(&self, name: &str) -> Result<Option<Manifest>, FetchError> {
        Ok(match self.catalog.task(name)? {
            CorpusChoice::Named { manifest, .. } => Some(*manifest),
            CorpusChoice::Path(_) => None,
        })
    }

    /// The file of a task.
    ///
    /// # Errors
    /// [`FetchError`] when it is unknown or not there.
    pub fn task_path(&self, name: &str) -> Result<PathBuf, FetchError> {
        Ok(match self.catalog.task(name)? {
            CorpusChoice::Named { manifest, split } => {
                let folder = self.cache.require(&manifest)?;
                folder.path.join(split.files.iter().flatten().next().map_or("", String::as_str))
            }
            CorpusChoice::Path(path) => path,
        })
    }

    /// Whether a manifest's files have yet to be fetched. Those that are there are checked, the embedded ones too.
    ///
    /// # Errors
    /// [`FetchError`] for damaged files.
    pub fn absent(&self, manifest: &Manifest) -> Result<bool, FetchError> {
        if manifest.kind == Kind::Generated && manifest.files.is_empty() {
            return Ok(false);
        }
        Ok(matches!(self.cache.locate(manifest)?, Located::Absent(_)))
    }

    /// Brings a manifest's files into the cache.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn fetch(
        &self,
        manifest: &Manifest,
        options: &fetch::Options,
        progress: &mut dyn Progress,
    ) -> Result<Folder, FetchError> {
        self.cache.fetch(manifest, options, progress)
    }

    /// The file or folder of a model.
    ///
    /// # Errors
    /// [`FetchError`] when it is unknown or not there.
    pub fn model_path(&self, name: &str) -> Result<PathBuf, FetchError> {
        Ok(match self.catalog.model(name)? {
            ModelChoice::Named(manifest) => self.cache.require(&manifest)?.load_path(&manifest),
            ModelChoice::Path(path) => path,
        })
    }

    /// Loads a model.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn model(&self, name: &str) -> Result<LoadedModel, InputError> {
        LoadedModel::open(name, &self.model_path(name)?)
    }

    /// What a model weighs, from its configuration and headers; its weights are not looked through.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn model_size(&self, name: &str) -> Result<ModelSize, InputError> {
        let checkpoint = load::load(&self.model_path(name)?)?;
        let decoder =
            decoder_of(&checkpoint).map_err(|source| InputError::Decoder { model: name.to_owned(), source })?;
        Ok(ModelSize::of(&decoder))
    }

    /// The language of a generated corpus, where a model speaks it: its words are the model's tokens.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn language(&self, corpus: &str, model: &LoadedModel) -> Result<Option<Generated>, InputError> {
        if corpus == SELF {
            return Ok(None);
        }
        match self.catalog.corpus(corpus)? {
            CorpusChoice::Named { manifest, .. } if manifest.kind == Kind::Generated => {
                let generated = language::open(&manifest)?;
                Ok(language::speaks(model, &generated)?.then_some(generated))
            }
            _ => Ok(None),
        }
    }

    /// The text that a selection names, for a model.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn text(&self, selection: &TextSelection, model: &LoadedModel, seed: u64) -> Result<TextSource, InputError> {
        if selection.corpus == SELF {
            return selfwritten::text(model, selection, seed, &self.cache);
        }
        let corpus = match self.catalog.corpus(&selection.corpus)? {
            CorpusChoice::Named { manifest, split } if manifest.kind == Kind::Generated => {
                return language::text(&manifest, &split.name, model);
            }
            CorpusChoice::Named { manifest, split } => {
                Corpus::load(&self.cache.require(&manifest)?, &manifest, &split)?
            }
            CorpusChoice::Path(path) => Corpus::read_path(&path)?,
        };
        let documents: Vec<String> = corpus.documents.iter().map(|document| document.text.clone()).collect();
        Ok(TextSource::Documents {
            name: format!("{}@{}", corpus.label(), &hash_texts(documents.iter().map(String::as_str))[..12]),
            documents,
        })
    }
}

/// SHA-256 of texts and their lengths, in hexadecimal.
pub(crate) fn hash_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
