//! Reading checkpoints: Hugging Face folders, GGUF files and llama2.c files. No pickle.
//!
//! Files are memory-mapped. Every count, length and offset in a header is checked against the length of the file before
//! anything is allocated for it. f32, f16 and bf16 tensors stay mapped in the type they are stored in; ggml blocks are
//! dequantised to f32. Tensors get their Hugging Face names and the half-split rotary layout whatever the source.

mod error;
#[cfg(test)]
pub(crate) mod fixtures;
mod ggml;
mod gguf;
mod gguf_model;
mod huggingface;
mod layout;
mod llama2c;
mod packed;
mod safetensors;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use harness_kernels::MatrixRef;

use crate::config::Config;
use crate::packed::PackedMatrix;
use crate::tokenizer::Tokenizer;
use crate::weight::{DType, MappedFile, Weight};

pub use error::{LoadError, Shape};
pub(crate) use ggml::BlockType;
pub use layout::{TensorSpec, block_tensors, check_config, expected_tensors, projection_bias, projection_shape};
pub(crate) use layout::{frequency_net, learned_biases, shortcut_modules, stated};

/// What the identity of a checkpoint is computed from.
#[derive(Debug)]
struct Identity {
    files: Vec<(String, MappedFile)>,
    hash: OnceLock<String>,
}

/// A decoder's configuration, weights and tokenizer as one thing. Cloning shares the weights.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Shape and variant of the decoder.
    pub config: Config,
    /// Weights by canonical name; a vector is a matrix of one row.
    pub tensors: BTreeMap<String, Weight>,
    /// Linear maps that are packed codes, by the canonical name of the weight; they are not among `tensors`.
    pub packed: BTreeMap<String, Arc<PackedMatrix>>,
    /// The tokenizer, where the source has one.
    pub tokenizer: Option<Tokenizer>,
    /// The chat template (Jinja), where the source has one.
    pub chat_template: Option<String>,
    /// Where it came from and in what form, for people.
    pub source: String,
    /// How its matrices are coded in the file where they are; what is loaded is what the codes stand for.
    pub coded: Option<Coded>,
    path: PathBuf,
    identity: Arc<Identity>,
}

/// Matrices that are codes in a checkpoint's file.
#[derive(Debug, Clone, PartialEq)]
pub struct Coded {
    /// Types of the coded tensors and how many have each, such as `Q4_1 × 210`.
    pub types: String,
    /// Bits a weight of the linear maps of the blocks.
    pub bits: f64,
}

impl Checkpoint {
    /// A checkpoint from weights in memory (training, tests).
    ///
    /// # Errors
    /// When the configuration is not usable or the tensors are not those it calls for.
    pub fn new(
        config: Config,
        tensors: BTreeMap<String, Weight>,
        tokenizer: Option<Tokenizer>,
    ) -> Result<Self, LoadError> {
        let path = PathBuf::from("weights in memory");
        assemble(Parts {
            source: "in memory".to_owned(),
            vectors: tensors.keys().filter(|name| is_vector(name)).cloned().collect(),
            path,
            config,
            tensors,
            packed: BTreeMap::new(),
            tokenizer,
            chat_template: None,
            coded: None,
            files: Vec::new(),
        })
    }

    /// The weight called `name`.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`] when the configuration does not call for it.
    pub fn tensor(&self, name: &str) -> Result<&Weight, LoadError> {
        self.tensors.get(name).ok_or_else(|| LoadError::MissingTensor {
            path: self.path.clone(),
            name: name.to_owned(),
            expected: Shape(Vec::new()),
        })
    }

    /// The weight called `name`, written out where it is packed codes.
    pub fn weight(&self, name: &str) -> Option<Weight> {
        let packed = || self.packed.get(name).map(|m| Weight::from_f32(m.rows(), m.cols(), m.dequantise()));
        self.tensors.get(name).cloned().or_else(packed)
    }

    /// SHA-256 in hex of the bytes the checkpoint was read from, computed once. Of a single file it is the file's own
    /// hash; of several it is the hash of the lines `<sha256>  <name>\n` in the order of their names. Weights in memory are
    /// hashed by configuration, names, shapes, types and values.
    pub fn hash(&self) -> &str {
        self.identity.hash.get_or_init(|| match self.identity.files.as_slice() {
            [] => self.hash_of_values(),
            [(_, only)] => hex(&Sha256::digest(only.bytes())),
            files => {
                let mut lines: Vec<_> =
                    files.iter().map(|(name, file)| (name, hex(&Sha256::digest(file.bytes())))).collect();
                lines.sort();
                let text = lines.iter().fold(String::new(), |mut text, (name, hash)| {
                    let _ = writeln!(text, "{hash}  {name}");
                    text
                });
                hex(&Sha256::digest(text.as_bytes()))
            }
        })
    }

    /// Looks through every weight for NaN and infinity.
    ///
    /// # Errors
    /// [`LoadError::NotFinite`] naming the first such tensor in file order, with the place inside it.
    pub fn check_finite(&self) -> Result<(), LoadError> {
        for spec in expected_tensors(&self.config) {
            let Some(weight) = self.tensors.get(&spec.name) else { continue };
            let found = match weight.view() {
                MatrixRef::F32(values) => values.iter().position(|v| !v.is_finite()).map(|i| (i, values[i])),
                MatrixRef::F16(values) => values.iter().position(|v| !v.is_finite()).map(|i| (i, values[i].to_f32())),
                MatrixRef::Bf16(values) => values.iter().position(|v| !v.is_finite()).map(|i| (i, values[i].to_f32())),
            };
            if let Some((index, value)) = found {
                return Err(LoadError::NotFinite {
                    path: self.path.clone(),
                    name: spec.name,
                    row: index / weight.cols(),
                    column: index % weight.cols(),
                    value,
                });
            }
        }
        Ok(())
    }

    /// The file or folder this was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of weights, a shared head counted once.
    pub fn parameters(&self) -> usize {
        let packed: usize = self.packed.values().map(|matrix| matrix.rows() * matrix.cols()).sum();
        self.tensors.values().map(|weight| weight.rows() * weight.cols()).sum::<usize>() + packed
    }

    fn hash_of_values(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(format!("{:?}", self.config).as_bytes());
        for (name, weight) in &self.tensors {
            hasher.update(format!("{name} {} {} {:?}", weight.rows(), weight.cols(), weight.dtype()).as_bytes());
            let mut block = Vec::with_capacity(1 << 16);
            let mut feed = |bytes: &[u8]| {
                block.extend_from_slice(bytes);
                if block.len() >= 1 << 16 {
                    hasher.update(&block);
                    block.clear();
                }
            };
            match weight.view() {
                MatrixRef::F32(values) => values.iter().for_each(|v| feed(&v.to_le_bytes())),
                MatrixRef::F16(values) => values.iter().for_each(|v| feed(&v.to_le_bytes())),
                MatrixRef::Bf16(values) => values.iter().for_each(|v| feed(&v.to_le_bytes())),
            }
            hasher.update(&block);
        }
        hex(&hasher.finalize())
    }
}

/// Loads a checkpoint: a Hugging Face folder, a GGUF file or a llama2.c file, told apart by their content.
///
/// # Errors
/// [`LoadError`], naming the file, the tensor and what was expected of it.
pub fn load(path: &Path) -> Result<Checkpoint, LoadError> {
    let metadata = std::fs::metadata(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        return huggingface::load(path);
    }
    let file = open(path)?;
    let bytes = file.bytes();
    if bytes.starts_with(b"GGUF") {
        return gguf_model::load(path, file);
    }
    if is_pickle(bytes) {
        return Err(LoadError::Pickle { path: path.to_owned() });
    }
    let unknown = |what: &str| LoadError::UnknownFormat { path: path.to_owned(), what: what.to_owned() };
    match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => Err(unknown("a safetensors file alone says nothing about the architecture")),
        Some("bin") => llama2c::load(path, file),
        Some("gguf") => Err(unknown("it does not begin with the letters GGUF")),
        _ => Err(unknown("it has no header that is known")),
    }
}

/// Zip archives and bare pickles, the two forms `torch.save` writes.
fn is_pickle(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..])
}

fn open(path: &Path) -> Result<MappedFile, LoadError> {
    MappedFile::open(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })
}

/// Everything a loader found, before it is checked.
struct Parts {
    path: PathBuf,
    source: String,
    config: Config,
    tensors: BTreeMap<String, Weight>,
    packed: BTreeMap<String, Arc<PackedMatrix>>,
    /// Names of the tensors the file states with one dimension.
    vectors: std::collections::BTreeSet<String>,
    tokenizer: Option<Tokenizer>,
    chat_template: Option<String>,
    coded: Option<Coded>,
    files: Vec<(String, MappedFile)>,
}

/// Biases and norm scales have one dimension in every format, and what passes by the states of a scan.
fn is_vector(name: &str) -> bool {
    // Biases by distance have a row a bucket or number.
    name.ends_with(".bias") && !name.ends_with("position.bias")
        || ["norm.weight", "norm_f.weight", "mixer.D"].iter().any(|end| name.ends_with(end))
}

/// Checks configuration, tensors and tokenizer against each other.
fn assemble(parts: Parts) -> Result<Checkpoint, LoadError> {
    let Parts { path, source, config, mut tensors, packed, vectors, tokenizer, chat_template, coded, files } = parts;
    check_config(&config).map_err(|what| LoadError::Config { path: path.clone(), what })?;
    let shape_of = |name: &str, weight: &Weight| stated(name, vectors.contains(name), weight.rows(), weight.cols());
    let mut kept = BTreeMap::new();
    for spec in expected_tensors(&config).filter(|spec| !packed.contains_key(&spec.name)) {
        let Some(weight) = tensors.remove(&spec.name) else {
            return Err(LoadError::MissingTensor { path, expected: spec.shape(), name: spec.name });
        };
        let found = shape_of(&spec.name, &weight);
        if found != spec.shape() {
            return Err(LoadError::Shape { path, expected: spec.shape(), name: spec.name, found });
        }
        kept.insert(spec.name, weight);
    }
    if let Some((name, weight)) = tensors.iter().next() {
        return Err(LoadError::ExtraTensor { found: shape_of(name, weight), name: name.clone(), path });
    }
    if let Some(tokenizer) = &tokenizer
        && tokenizer.vocab_size() > config.vocab_size
    {
        return Err(LoadError::Vocabulary { path, tokenizer: tokenizer.vocab_size(), model: config.vocab_size });
    }
    let identity = Arc::new(Identity { files, hash: OnceLock::new() });
    Ok(Checkpoint { config, tensors: kept, packed, tokenizer, chat_template, source, coded, path, identity })
}

/// Turns the rows of a query or key projection from the interleaved rotary layout (dimension `2i` turns with `2i + 1`)
/// into the half-split one (`i` with `i + d/2`): row `2j + s` of a head becomes its row `s·d/2 + j`. Attention scores are
/// the same, because queries and keys move alike. A bias is permuted like a matrix of one column.
fn half_split_rows(weight: &Weight, heads: usize, head_dim: usize) -> Weight {
    let (rows, cols) = (weight.rows(), weight.cols());
    let values = weight.to_f32();
    let width = values.len() / (heads * head_dim);
    let half = head_dim / 2;
    let mut permuted = vec![0.0; values.len()];
    for (index, row) in values.chunks_exact(width).enumerate() {
        let (head, place) = (index / head_dim, index % head_dim);
        let to = head * head_dim + (place % 2) * half + place / 2;
        permuted[to * width..(to + 1) * width].copy_from_slice(row);
    }
    match weight.dtype() {
        DType::F32 => Weight::from_f32(rows, cols, permuted),
        stored => Weight::rounded(rows, cols, &permuted, stored),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
