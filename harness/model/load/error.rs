//! What can be wrong with a checkpoint.

use std::fmt;
use std::path::PathBuf;

use crate::packed::PackError;
use crate::tokenizer::TokenizerError;

/// The shape of a tensor as messages print it: `(rows, cols)` or `(length)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(pub Vec<usize>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(")?;
        for (i, size) in self.0.iter().enumerate() {
            if i > 0 {
                write!(f, ", ")?;
            }
            write!(f, "{size}")?;
        }
        write!(f, ")")
    }
}

/// Why a checkpoint could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither a Hugging Face folder, nor GGUF, nor llama2.c.
    #[error(
        "{path} is not a checkpoint this program reads: {what}; give a Hugging Face folder (config.json, safetensors), a GGUF file or a llama2.c .bin file"
    )]
    UnknownFormat {
        /// File or folder.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// A pickle, which may run code when read.
    #[error(
        "{path} is a PyTorch pickle, which can run code when it is read, so it is refused; save the model as safetensors instead"
    )]
    Pickle {
        /// The pickle.
        path: PathBuf,
    },
    /// The bytes contradict themselves or the length of the file.
    #[error("{path} is damaged: {what}; copy or download it again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A well-formed file that asks for something this program does not do.
    #[error("{path} needs something that is not supported: {what}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        what: String,
    },
    /// A tensor that the configuration calls for is not there.
    #[error("{path} lacks the tensor {name} of shape {expected}; configuration and weights do not belong together")]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// Canonical tensor name.
        name: String,
        /// Shape that the configuration calls for.
        expected: Shape,
    },
    /// A tensor that the configuration has no place for.
    #[error("{path} holds the tensor {name} of shape {found}, which its configuration has no place for")]
    ExtraTensor {
        /// The checkpoint.
        path: PathBuf,
        /// Tensor name.
        name: String,
        /// Its shape.
        found: Shape,
    },
    /// A tensor with another shape than the configuration calls for.
    #[error(
        "{path}: tensor {name} has shape {found}, but the configuration calls for {expected}; they do not belong together"
    )]
    Shape {
        /// The checkpoint.
        path: PathBuf,
        /// Canonical tensor name.
        name: String,
        /// Shape that the configuration calls for.
        expected: Shape,
        /// Shape in the file.
        found: Shape,
    },
    /// A tensor whose element type is not one of f32, f16, bf16 or a readable ggml type.
    #[error("{path}: tensor {name} is stored as {found}, which is not supported; convert it to f32, f16 or bf16")]
    ElementType {
        /// The checkpoint.
        path: PathBuf,
        /// Tensor name.
        name: String,
        /// Type in the file.
        found: String,
    },
    /// A weight that is not a number or infinite.
    #[error(
        "{path}: tensor {name} holds {value} at row {row}, column {column}; the weights are damaged, use another copy"
    )]
    NotFinite {
        /// The checkpoint.
        path: PathBuf,
        /// Canonical tensor name.
        name: String,
        /// Row of the first such value.
        row: usize,
        /// Column of the first such value.
        column: usize,
        /// The value.
        value: f32,
    },
    /// Packed codes that stand for no matrix.
    #[error("{path}: the packed matrix {name} is not usable: {source}; the folder is damaged, write it again")]
    Packed {
        /// The folder.
        path: PathBuf,
        /// Canonical name of the weight.
        name: String,
        /// What is wrong with it.
        source: PackError,
    },
    /// A code beyond the bits that its matrix uses.
    #[error(
        "{path}: the packed matrix {name} holds the code {code} at row {row}, column {column}, but its codes have {bits} bits; the folder is damaged, write it again"
    )]
    Code {
        /// The folder.
        path: PathBuf,
        /// Canonical name of the weight.
        name: String,
        /// Row of the first such code.
        row: usize,
        /// Column of the first such code.
        column: usize,
        /// The code.
        code: u8,
        /// Bits that the folder states.
        bits: u32,
    },
    /// The numbers of the configuration cannot be a decoder.
    #[error("{path}: the model configuration is not usable: {what}")]
    Config {
        /// The file that states it.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The tokenizer cannot be built.
    #[error("{path}: the tokenizer cannot be built: {source}")]
    Tokenizer {
        /// The file it is in.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenizerError,
    },
    /// The tokenizer knows other tokens than the model.
    #[error(
        "{path}: the tokenizer does not match the model: it uses {tokenizer} token ids, the model has {model}; use the tokenizer that the model was trained with"
    )]
    Vocabulary {
        /// The tokenizer's file.
        path: PathBuf,
        /// Ids that the tokenizer uses (its largest id plus one).
        tokenizer: usize,
        /// Rows of the embedding matrix.
        model: usize,
    },
}
