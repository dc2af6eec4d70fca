//! Writing checkpoints: Hugging Face folders, tensor by tensor (here), GGUF files and folders of packed codes.
//!
//! All names and shapes are given first, so the places of all tensors are known; the values then come one tensor at a time in
//! any order, and memory never holds more than one. A folder or file appears under its name only when it is whole.

mod config;
pub mod gguf;
pub mod packed;
mod partial;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde_json::json;

use crate::config::Config;
use crate::load::{Checkpoint, Shape, TensorSpec, expected_tensors};
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::weight::{DType, Weight};

use partial::PartialFolder;

/// Why a folder or file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused.
    #[error("cannot write {path}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds something already.
    #[error("{path} exists and is not an empty folder; choose another place or remove it")]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// Something is where a file should appear.
    #[error("{path} exists; choose another place or remove it")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A decoder that the format has no words for.
    #[error("GGUF cannot express {what}; write a Hugging Face folder instead")]
    Inexpressible {
        /// What it cannot express.
        what: String,
    },
    /// A tensor that was not announced, or was written before.
    #[error("tensor {name} {what}")]
    Tensor {
        /// Tensor name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A tensor of another shape than announced.
    #[error("tensor {name} has {found} values, but shape {expected} was announced")]
    Shape {
        /// Tensor name.
        name: String,
        /// Announced shape.
        expected: Shape,
        /// Values given.
        found: usize,
    },
    /// A value too large for the element type.
    #[error("tensor {name} holds {value}, which is too large for {dtype}; write bf16 or f32")]
    Overflow {
        /// Tensor name.
        name: String,
        /// The value.
        value: f32,
        /// The element type.
        dtype: &'static str,
    },
    /// Some announced tensors never came.
    #[error("{count} announced tensors were never written, the first is {first}")]
    Incomplete {
        /// How many.
        count: usize,
        /// The first in file order.
        first: String,
    },
    /// The tokenizer cannot be described.
    #[error("the tokenizer cannot be written: {0}")]
    Tokenizer(#[from] TokenizerError),
}

/// Where one tensor's bytes go.
#[derive(Debug)]
struct Place {
    shard: usize,
    offset: u64,
    spec: TensorSpec,
    written: bool,
}

/// Writes a folder of one checkpoint. Dropping it before [`FolderWriter::finish`] removes what was written.
#[derive(Debug)]
pub struct FolderWriter {
    folder: PartialFolder,
    dtype: DType,
    order: Vec<String>,
    places: BTreeMap<String, Place>,
    shards: Vec<(PathBuf, File)>,
}

/// Values that are converted at a time.
const PART: usize = 1 << 16;

/// Files of five billion bytes at most, as transformers writes them.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;

impl FolderWriter {
    /// Starts a folder at `target`: configuration and tokenizer are written, and room is made for the tensors `specs` in
    /// element type `dtype`, in files of at most `shard_bytes` (a larger tensor gets a file of its own).
    ///
    /// # Errors
    /// When `target` is not free, or the file system refuses.
    pub fn create(
        target: &Path,
        config: &Config,
        specs: &[TensorSpec],
        dtype: DType,
        shard_bytes: u64,
    ) -> Result<Self, WriteError> {
        let folder = PartialFolder::create(target)?;
        let mut writer = Self { folder, dtype, order: Vec::new(), places: BTreeMap::new(), shards: Vec::new() };
        writer.folder.text("config.json", &pretty(&config::config_json(config, dtype)))?;
        writer.folder.text("generation_config.json", &pretty(&config::generation_json(config)))?;
        writer.lay_out(specs, shard_bytes)?;
        Ok(writer)
    }

    /// Adds `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn tokenizer(&self, tokenizer: &Tokenizer, chat_template: Option<&str>) -> Result<(), WriteError> {
        self.folder.tokenizer(tokenizer, chat_template)
    }

    /// Writes the values of one announced tensor, rounded to the folder's element type; a few of them at a time, so that
    /// a large embedding is never held in f32.
    ///
    /// # Errors
    /// When the tensor was not announced or came before, has another number of values, or holds a finite value that the
    /// element type cannot.
    pub fn write(&mut self, name: &str, weight: &Weight) -> Result<(), WriteError> {
        let view = weight.view();
        let mut part = Vec::new();
        self.write_parts(name, view.len(), |range, put| {
            part.resize(range.len(), 0.0);
            view.range(range.start, range.end).copy_to(&mut part);
            put(&part)
        })
    }

    /// As [`Self::write`], from f32 values in row-major order.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_f32(&mut self, name: &str, values: &[f32]) -> Result<(), WriteError> {
        self.write_parts(name, values.len(), |range, put| put(&values[range]))
    }

    /// Writes a tensor of `count` values; `part` hands over those of a range.
    fn write_parts(
        &mut self,
        name: &str,
        count: usize,
        mut part: impl FnMut(Range<usize>, &mut dyn FnMut(&[f32]) -> Result<(), WriteError>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let fault = |what| WriteError::Tensor { name: name.to_owned(), what };
        let place = self.places.get_mut(name).ok_or_else(|| fault("was not announced"))?;
        if place.written {
            return Err(fault("is written twice"));
        }
        if count != place.spec.len() {
            return Err(WriteError::Shape { name: name.to_owned(), expected: place.spec.shape(), found: count });
        }
        let dtype = self.dtype;
        let (path, file) = &mut self.shards[place.shard];
        let path = path.as_path();
        file.seek(SeekFrom::Start(place.offset)).map_err(io(path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let mut bytes = Vec::new();
        let mut put = |values: &[f32]| {
            bytes.clear();
            append(name, dtype, values, &mut bytes)?;
            out.write_all(&bytes).map_err(io(path))
        };
        for start in (0..count).step_by(PART) {
            part(start..count.min(start + PART), &mut put)?;
        }
        out.flush().map_err(io(path))?;
        place.written = true;
        Ok(())
    }

    /// Makes the folder appear under its name, whole and on disk.
    ///
    /// # Errors
    /// When a tensor is missing, the place was taken meanwhile, or the file system refuses.
    pub fn finish(self) -> Result<PathBuf, WriteError> {
        let missing: Vec<&String> = self.order.iter().filter(|name| !self.places[*name].written).collect();
        if let Some(first) = missing.first() {
            return Err(WriteError::Incomplete { count: missing.len(), first: (*first).clone() });
        }
        for (path, file) in &self.shards {
            file.sync_all().map_err(io(path))?;
        }
        self.folder.finish()
    }

    /// Deals the tensors out to files and writes the files' headers.
    fn lay_out(&mut self, specs: &[TensorSpec], shard_bytes: u64) -> Result<(), WriteError> {
        let mut shards: Vec<Vec<&TensorSpec>> = vec![Vec::new()];
        let (mut filled, mut total) = (0u64, 0u64);
        let mut names = BTreeSet::new();
        for spec in specs {
            if !names.insert(&spec.name) {
                return Err(WriteError::Tensor { name: spec.name.clone(), what: "is announced twice" });
            }
            let size = (spec.len() * self.dtype.size()) as u64;
            if filled > 0 && filled + size > shard_bytes {
                shards.push(Vec::new());
                filled = 0;
            }
            filled += size;
            total += size;
            if let Some(shard) = shards.last_mut() {
                shard.push(spec);
            }
        }
        let mut weight_map = serde_json::Map::new();
        for (index, shard) in shards.iter().enumerate() {
            let name = shard_name(index, shards.len());
            for spec in shard {
                weight_map.insert(spec.name.clone(), json!(name));
            }
            self.open_shard(&name, index, shard)?;
        }
        self.order = specs.iter().map(|spec| spec.name.clone()).collect();
        if shards.len() > 1 {
            let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
            self.folder.text("model.safetensors.index.json", &pretty(&index))?;
        }
        Ok(())
    }

    fn open_shard(&mut self, name: &str, index: usize, specs: &[&TensorSpec]) -> Result<(), WriteError> {
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
        let mut end = 0u64;
        for spec in specs {
            let start = end;
            end += (spec.len() * self.dtype.size()) as u64;
            let entry = json!({
                "dtype": config::dtype_name(self.dtype).to_uppercase(), "shape": spec.shape().0, "data_offsets": [start, end],
            });
            header.insert(spec.name.clone(), entry);
        }
        let header = safetensors_header(header);
        let data = header.len() as u64;
        let path = self.folder.path().join(name);
        let mut file = File::create(&path).map_err(io(&path))?;
        file.write_all(&header).map_err(io(&path))?;
        file.set_len(data + end).map_err(io(&path))?;
        self.shards.push((path, file));
        let mut offset = data;
        for spec in specs {
            let place = Place { shard: index, offset, spec: (*spec).clone(), written: false };
            self.places.insert(spec.name.clone(), place);
            offset += (spec.len() * self.dtype.size()) as u64;
        }
        Ok(())
    }
}

/// Writes a whole checkpoint in element type `dtype`.
///
/// # Errors
/// As [`FolderWriter`].
pub fn write_folder(
    target: &Path,
    checkpoint: &Checkpoint,
    dtype: DType,
    shard_bytes: u64,
) -> Result<PathBuf, WriteError> {
    let specs: Vec<TensorSpec> = expected_tensors(&checkpoint.config).collect();
    let mut writer = FolderWriter::create(target, &checkpoint.config, &specs, dtype, shard_bytes)?;
    if let Some(tokenizer) = &checkpoint.tokenizer {
        writer.tokenizer(tokenizer, checkpoint.chat_template.as_deref())?;
    }
    for spec in &specs {
        let absent = || WriteError::Tensor { name: spec.name.clone(), what: "is not in the checkpoint" };
        writer.write(&spec.name, &checkpoint.weight(&spec.name).ok_or_else(absent)?)?;
    }
    writer.finish()
}

/// The name of a file of weights, one of `count`.
fn shard_name(index: usize, count: usize) -> String {
    match count {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
    }
}

/// The bytes in front of the values of a safetensors file.
fn safetensors_header(header: serde_json::Map<String, serde_json::Value>) -> Vec<u8> {
    let mut text = serde_json::Value::Object(header).to_string();
    // Readers map the file: the values begin on a multiple of 64 bytes.
    while !(text.len() + 8).is_multiple_of(64) {
        text.push(' ');
    }
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Appends values in an element type.
fn append(name: &str, dtype: DType, values: &[f32], bytes: &mut Vec<u8>) -> Result<(), WriteError> {
    let overflow = match dtype {
        DType::F32 => None,
        DType::F16 => values.iter().find(|v| v.is_finite() && !f16::from_f32(**v).is_finite()),
        DType::Bf16 => values.iter().find(|v| v.is_finite() && !bf16::from_f32(**v).is_finite()),
    };
    if let Some(&value) = overflow {
        return Err(WriteError::Overflow { name: name.to_owned(), value, dtype: config::dtype_name(dtype) });
    }
    match dtype {
        DType::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        DType::F16 => bytes.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
        DType::Bf16 => bytes.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes())),
    }
    Ok(())
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |source| WriteError::Io { path, source }
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
#[path = "write/mod_tests.rs"]
mod tests;
