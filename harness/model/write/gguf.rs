//! Writing a GGUF file, tensor by tensor: version 3, little-endian, aligned to 32 bytes, with the metadata that llama.cpp reads
//! for the architectures `llama` and `qwen2`.
//!
//! Names and rows are those of GGUF: `llama` files hold query and key rows in the interleaved rotary layout, so rows are put there
//! while they are written. Blocks of quantized values lie inside rows and move with them. Norms and biases are f32.
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>; the loader is [`crate::load`].

mod metadata;
pub(crate) mod rope_factors;
mod values;

use std::collections::BTreeMap;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::config::{Config, Projection};
use crate::load::{BlockType, TensorSpec};
use crate::tokenizer::Tokenizer;
use crate::weight::{DType, Weight};

use super::partial::PartialFile;
use super::{WriteError, append, io};
use metadata::Architecture;
use rope_factors::RopeFactors;
use values::text_bytes;

/// Tensors begin on multiples of this.
const ALIGNMENT: u64 = 32;

/// What a file says beside its tensors.
#[derive(Debug, Clone, Copy)]
pub struct GgufHeader<'a> {
    /// Shape and variant.
    pub config: &'a Config,
    /// The tokenizer. One that is neither byte-level BPE nor SentencePiece is kept whole, as `tokenizer.huggingface.json`,
    /// which llama.cpp does not read.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Jinja.
    pub chat_template: Option<&'a str>,
    /// `general.name`.
    pub name: &'a str,
    /// `general.file_type`, llama.cpp's number of what most matrices are.
    pub file_type: u32,
    /// What the frequency of every pair is divided by, where the checkpoint scales them by a method that has one frequency for all
    /// lengths and no temperature. Only methods that GGUF has no keys for are written so.
    pub divisors: Option<&'a [f32]>,
}

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// Canonical name and shape.
    pub spec: TensorSpec,
    /// Its element type, by ggml's number.
    pub kind: u32,
}

/// ggml's number of a plain element type.
pub fn plain_kind(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Bf16 => 30,
    }
}

/// `general.file_type` of a file whose matrices are plain.
pub fn plain_file_type(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Bf16 => 32,
    }
}

#[derive(Debug)]
struct Place {
    tensor: GgufTensor,
    block_type: BlockType,
    offset: u64,
    length: usize,
    written: bool,
}

/// Writes a file. Dropping it before [`GgufWriter::finish`] removes what was written.
#[derive(Debug)]
pub struct GgufWriter {
    file: PartialFile,
    architecture: Architecture,
    heads: (usize, usize),
    head_dim: usize,
    order: Vec<String>,
    places: BTreeMap<String, Place>,
}

impl GgufWriter {
    /// Starts a file at `target`: the header is written, and room is made for the tensors.
    ///
    /// # Errors
    /// [`WriteError::Inexpressible`] for a decoder or a rotary scaling that GGUF has no words for, [`WriteError::Exists`], or what the file system
    /// refuses.
    pub fn create(target: &Path, header: &GgufHeader<'_>, tensors: &[GgufTensor]) -> Result<Self, WriteError> {
        let architecture = metadata::architecture(header.config)?;
        let factors = RopeFactors::of(header, architecture)?;
        let (count, values) = metadata::metadata(header, architecture, &factors)?;
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(((tensors.len() + factors.tensors.len()) as u64).to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(values);
        let mut places = BTreeMap::new();
        let mut end = 0_u64;
        for GgufTensor { spec, kind } in tensors {
            let fault = |what| WriteError::Tensor { name: spec.name.clone(), what };
            let name = gguf_name(&spec.name).ok_or_else(|| fault("has no name in GGUF"))?;
            let block_type =
                BlockType::from_number(*kind).ok_or_else(|| fault("has an element type that is not known"))?;
            let length = block_type
                .bytes(spec.len(), spec.cols)
                .ok_or_else(|| fault("has rows that are no whole number of blocks of its element type"))?;
            describe(&name, &spec.shape().0, *kind, end, &mut bytes);
            let place = Place {
                tensor: GgufTensor { spec: spec.clone(), kind: *kind },
                block_type,
                offset: end,
                length,
                written: false,
            };
            if places.insert(spec.name.clone(), place).is_some() {
                return Err(fault("is announced twice"));
            }
            end = (end + length as u64).next_multiple_of(ALIGNMENT);
        }
        let mut behind = Vec::new();
        for (name, values) in &factors.tensors {
            describe(name, &[values.len()], plain_kind(DType::F32), end + behind.len() as u64, &mut bytes);
            behind.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            behind.resize(behind.len().next_multiple_of(ALIGNMENT as usize), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        for place in places.values_mut() {
            place.offset += bytes.len() as u64;
        }
        let mut partial = PartialFile::create(target)?;
        let (path, file) = partial.parts();
        file.set_len(bytes.len() as u64 + end + behind.len() as u64).map_err(io(path))?;
        file.write_all(&bytes).map_err(io(path))?;
        file.seek(SeekFrom::Start(bytes.len() as u64 + end)).map_err(io(path))?;
        file.write_all(&behind).map_err(io(path))?;
        let config = header.config;
        Ok(Self {
            file: partial,
            architecture,
            heads: (config.heads, config.kv_heads),
            head_dim: config.head_dim,
            order: tensors.iter().map(|tensor| tensor.spec.name.clone()).collect(),
            places,
        })
    }

    /// Writes one announced tensor of blocks: its rows, first to last, as a checkpoint in the canonical layout has them.
    ///
    /// # Errors
    /// When the tensor was not announced or came before, or has another number of bytes.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let place = self.claim(name)?;
        if bytes.len() != place.length {
            return Err(WriteError::Tensor {
                name: name.to_owned(),
                what: "has another number of bytes than announced",
            });
        }
        let (rows, _) = rows_of(&place.tensor.spec);
        let size = bytes.len() / rows.max(1);
        self.put(name, |row, out| {
            out.extend_from_slice(&bytes[row * size..(row + 1) * size]);
            Ok(())
        })
    }

    /// Writes one announced tensor of plain numbers, rounded to the element type announced; a row at a time.
    ///
    /// # Errors
    /// When the tensor was not announced as plain, came before, has another shape, or holds a finite value that the element
    /// type cannot.
    pub fn write_weight(&mut self, name: &str, weight: &Weight) -> Result<(), WriteError> {
        let place = self.claim(name)?;
        let spec = &place.tensor.spec;
        if weight.rows() * weight.cols() != spec.len() {
            let found = weight.rows() * weight.cols();
            return Err(WriteError::Shape { name: name.to_owned(), expected: spec.shape(), found });
        }
        let BlockType::Plain(dtype) = place.block_type else {
            return Err(WriteError::Tensor { name: name.to_owned(), what: "was announced as blocks" });
        };
        let (_, size) = rows_of(spec);
        let view = weight.view();
        let mut values = vec![0.0; size];
        self.put(name, |row, out| {
            view.range(row * size, (row + 1) * size).copy_to(&mut values);
            append(name, dtype, &values, out)
        })
    }

    /// The place of an announced tensor that has not come yet.
    fn claim(&self, name: &str) -> Result<&Place, WriteError> {
        let fault = |what| WriteError::Tensor { name: name.to_owned(), what };
        let place = self.places.get(name).ok_or_else(|| fault("was not announced"))?;
        if place.written { Err(fault("is written twice")) } else { Ok(place) }
    }

    /// Writes a tensor; `row` appends the bytes of a row in the canonical layout.
    fn put(
        &mut self,
        name: &str,
        mut row: impl FnMut(usize, &mut Vec<u8>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let head_dim = self.interleaved(name).then_some(self.head_dim);
        let Some(place) = self.places.get_mut(name) else { return Ok(()) };
        let (path, file) = self.file.parts();
        file.seek(SeekFrom::Start(place.offset)).map_err(io(path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let mut bytes = Vec::new();
        for at in 0..rows_of(&place.tensor.spec).0 {
            bytes.clear();
            row(head_dim.map_or(at, |head_dim| half_split_row(at, head_dim)), &mut bytes)?;
            out.write_all(&bytes).map_err(io(path))?;
        }
        out.flush().map_err(io(path))?;
        place.written = true;
        Ok(())
    }

    /// Whether the rows of a tensor change places: queries and keys of the half-split layout in a file of the interleaved one.
    fn interleaved(&self, name: &str) -> bool {
        let heads = match name.rsplit('.').nth(1) {
            Some("q_proj") => self.heads.0,
            Some("k_proj") => self.heads.1,
            _ => return false,
        };
        let rows = self.places.get(name).map_or(0, |place| rows_of(&place.tensor.spec).0);
        self.architecture.permutes && rows == heads * self.head_dim
    }

    /// Makes the file appear under its name, whole and on disk.
    ///
    /// # Errors
    /// When a tensor is missing, the place was taken meanwhile, or the file system refuses.
    pub fn finish(self) -> Result<PathBuf, WriteError> {
        let missing: Vec<&String> = self.order.iter().filter(|name| !self.places[*name].written).collect();
        if let Some(first) = missing.first() {
            return Err(WriteError::Incomplete { count: missing.len(), first: (*first).clone() });
        }
        self.file.finish()
    }
}

/// Appends where a tensor lies and what it is: `shape` has rows first, the file states them last.
fn describe(name: &str, shape: &[usize], kind: u32, offset: u64, bytes: &mut Vec<u8>) {
    text_bytes(name, bytes);
    bytes.extend((shape.len() as u32).to_le_bytes());
    bytes.extend(shape.iter().rev().flat_map(|&size| (size as u64).to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
}

/// Rows that move together and the values of each; a bias is a column.
fn rows_of(spec: &TensorSpec) -> (usize, usize) {
    if spec.vector { (spec.cols, 1) } else { (spec.rows, spec.cols) }
}

/// The row of the half-split layout that stands at row `at` of the interleaved one: row `2j + s` of a head is row `s·d/2 + j`.
fn half_split_row(at: usize, head_dim: usize) -> usize {
    let (head, place) = (at / head_dim, at % head_dim);
    head * head_dim + (place % 2) * (head_dim / 2) + place / 2
}

/// The GGUF name of a tensor by its canonical name.
fn gguf_name(canonical: &str) -> Option<String> {
    match canonical {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let (layer, rest) = canonical.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let module = match module {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        _ => match Projection::ALL.into_iter().find(|projection| projection.module() == module)? {
            Projection::Q => "attn_q",
            Projection::K => "attn_k",
            Projection::V => "attn_v",
            Projection::O => "attn_output",
            Projection::Gate => "ffn_gate",
            Projection::Up => "ffn_up",
            Projection::Down => "ffn_down",
        },
    };
    Some(format!("blk.{layer}.{module}.{kind}"))
}

#[cfg(test)]
#[path = "gguf/mod_tests.rs"]
mod tests;
