//! What `apply` writes: a Hugging Face folder, a folder of packed codes, or a GGUF file.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use harness_core::{Arm, Axis};
use harness_methods::prune::Site;
use harness_methods::quant::ggml::Format;
use harness_methods::quant::ggml::method::{check_blocks, refused, taken_apart};
use harness_methods::quant::{QuantError, Quantizer};
use harness_methods::registry;
use harness_model::config::{Config, Projection};
use harness_model::load::{Checkpoint, TensorSpec, expected_tensors};
use harness_model::weight::{DType, Weight};
use harness_model::write::gguf::{GgufHeader, GgufTensor, GgufWriter, plain_file_type, plain_kind};
use harness_model::write::packed::PackedWriter;
use harness_model::write::{DEFAULT_SHARD_BYTES, FolderWriter, WriteError};
use harness_run::position::divisors;
use harness_run::quantize::{Finished, Form, LEAST_SIDE};

use crate::exit::{BAD_INPUT, CELLS_FAILED, INTERNAL, NOT_WRITTEN, OrExit, Refusal, refuse};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutFormat {
    /// A folder that transformers loads; quantized matrices are what their codes stand for.
    Huggingface,
    /// One file for llama.cpp and its kin; quantized matrices are ggml's blocks.
    Gguf,
    /// A folder that this program loads; quantized matrices are packed codes of 4 or 8 bits.
    Packed,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Head {
    /// As it is.
    None,
    /// Eight bits in ggml's blocks of 32.
    #[value(name = "q8_0")]
    Q8_0,
}

/// What is to be written.
pub struct Plan<'a> {
    pub checkpoint: &'a Checkpoint,
    /// The model's name for people.
    pub name: &'a str,
    pub quant: &'a Arm,
    pub quantizer: &'a dyn Quantizer,
    pub format: OutFormat,
    pub head: Head,
    /// Element type of what is not quantized, where one was asked for.
    pub dtype: Option<DType>,
}

enum Writer {
    Folder(FolderWriter),
    Gguf(GgufWriter),
    Packed(Box<PackedWriter>),
}

/// A folder or file under way.
pub struct Target {
    writer: Writer,
    /// The tensors that are to come.
    pub specs: Vec<TensorSpec>,
    /// The one that is eight bits wide in the end.
    eight_bits: Option<&'static str>,
}

impl Plan<'_> {
    /// Begins what is to be written at `out`.
    pub fn begin(&self, out: &Path) -> Result<Target, Refusal> {
        let identity = self.quantizer.is_identity();
        match self.format {
            OutFormat::Huggingface if self.head != Head::None => refuse(
                BAD_INPUT,
                "a Hugging Face folder holds no head of eight bits; leave --head out, or write --format gguf",
            ),
            OutFormat::Packed if identity => {
                refuse(BAD_INPUT, "nothing of `none` is packed; give --quant, or write --format huggingface")
            }
            OutFormat::Gguf if !identity && self.quantizer.blocks().is_none() => {
                let quant = self.quant;
                let why =
                    format!("`{quant}` makes no blocks of ggml, of which GGUF files are; {} do", makers().join(", "));
                refuse(BAD_INPUT, format!("{why}, or write --format packed or huggingface"))
            }
            OutFormat::Huggingface => self.folder(out),
            OutFormat::Packed => self.packed(out),
            OutFormat::Gguf => self.gguf(out),
        }
    }

    /// How the checkpoint stores its matrices.
    fn stored(&self) -> DType {
        self.checkpoint.tensors.values().find(|weight| weight.rows() > 1).map_or(DType::F32, Weight::dtype)
    }

    fn folder(&self, out: &Path) -> Result<Target, Refusal> {
        let specs: Vec<TensorSpec> = expected_tensors(&self.checkpoint.config).collect();
        // What codes stand for fits f32 only.
        let stored = if self.quantizer.is_identity() { self.stored() } else { DType::F32 };
        let dtype = self.dtype.unwrap_or(stored);
        let config = &self.checkpoint.config;
        let writer = FolderWriter::create(out, config, &specs, dtype, DEFAULT_SHARD_BYTES).map_err(not_written)?;
        if let Some(tokenizer) = &self.checkpoint.tokenizer {
            writer.tokenizer(tokenizer, self.checkpoint.chat_template.as_deref()).map_err(not_written)?;
        }
        Ok(Target { writer: Writer::Folder(writer), specs, eight_bits: None })
    }

    fn packed(&self, out: &Path) -> Result<Target, Refusal> {
        let eight_bits = (self.head == Head::Q8_0).then_some(HEAD);
        // A head of eight bits is a matrix of its own.
        let config = match eight_bits {
            Some(_) => Config { tied_head: false, ..self.checkpoint.config.clone() },
            None => self.checkpoint.config.clone(),
        };
        let specs: Vec<TensorSpec> = expected_tensors(&config).collect();
        let (dtype, method) = (self.dtype.unwrap_or(self.stored()), self.quant.to_string());
        let writer = PackedWriter::create(out, &config, &specs, dtype, &method).map_err(not_written)?;
        if let Some(tokenizer) = &self.checkpoint.tokenizer {
            writer.tokenizer(tokenizer, self.checkpoint.chat_template.as_deref()).map_err(not_written)?;
        }
        Ok(Target { writer: Writer::Packed(Box::new(writer)), specs, eight_bits })
    }

    fn gguf(&self, out: &Path) -> Result<Target, Refusal> {
        let Checkpoint { config, tokenizer, chat_template, .. } = self.checkpoint;
        let specs: Vec<TensorSpec> = expected_tensors(config).collect();
        let dtype = self.dtype.unwrap_or(self.stored());
        let head = if config.tied_head { EMBEDDING } else { HEAD };
        let eight_bits = (self.head == Head::Q8_0).then_some(head);
        let format_of = |spec: &TensorSpec| {
            let mapped = Projection::ALL.iter().any(|p| spec.name.ends_with(&format!("{}.weight", p.module())));
            match self.quantizer.blocks() {
                _ if Some(spec.name.as_str()) == eight_bits => Some(Format::Q8_0),
                Some(maker) if mapped && spec.rows.min(spec.cols) >= LEAST_SIDE => Some(maker.format(spec.cols)),
                _ => None,
            }
        };
        let mut tensors = Vec::new();
        for spec in &specs {
            let format = format_of(spec);
            if let Some(format) = format {
                check_blocks(&site(spec), format).or_exit(CELLS_FAILED)?;
            }
            let plain = if spec.vector { DType::F32 } else { dtype };
            tensors.push(GgufTensor { spec: spec.clone(), kind: format.map_or(plain_kind(plain), Format::number) });
        }
        let file_type = self.quantizer.blocks().map_or(plain_file_type(dtype), |maker| maker.asked().file_type());
        let (tokenizer, chat_template) = (tokenizer.as_ref(), chat_template.as_deref());
        let divisors = divisors(config).or_exit(BAD_INPUT)?;
        let divisors = divisors.as_deref();
        let header = GgufHeader { config, tokenizer, chat_template, name: self.name, file_type, divisors };
        let writer = GgufWriter::create(out, &header, &tensors).map_err(not_written)?;
        if let Some(tokenizer) = tokenizer
            && !tokenizer.has_tables(config.vocab_size).or_exit(INTERNAL)?
        {
            eprintln!(
                "note: GGUF has no tables for this tokenizer; it is kept whole as tokenizer.huggingface.json, which llama.cpp does not read"
            );
        }
        Ok(Target { writer: Writer::Gguf(writer), specs, eight_bits })
    }
}

impl Target {
    /// In which form it takes quantized matrices.
    pub fn form(&self) -> Form {
        match self.writer {
            Writer::Folder(_) => Form::Values,
            Writer::Gguf(_) => Form::Blocks,
            Writer::Packed(_) => Form::Packed,
        }
    }

    /// Writes a tensor.
    pub fn put(&mut self, name: &str, finished: Finished<'_>) -> Result<(), Refusal> {
        let eight_bits = self.eight_bits == Some(name);
        let written = match (&mut self.writer, finished) {
            (Writer::Folder(writer), Finished::Values(weight)) => writer.write(name, weight),
            (Writer::Gguf(writer), Finished::Values(weight)) if eight_bits => {
                writer.write(name, &q8_0(name, weight).or_exit(CELLS_FAILED)?)
            }
            (Writer::Gguf(writer), Finished::Values(weight)) => writer.write_weight(name, weight),
            (Writer::Gguf(writer), Finished::Blocks(_, bytes)) => writer.write(name, &bytes),
            (Writer::Packed(writer), Finished::Values(weight)) if eight_bits => {
                let site = Site { name, layer: 0, rows: weight.rows(), cols: weight.cols() };
                let bytes = q8_0(name, weight).or_exit(CELLS_FAILED)?;
                let codes = taken_apart(&site, Format::Q8_0, &bytes).or_exit(CELLS_FAILED)?;
                writer.write_packed(name, &codes.pack(&site).or_exit(CELLS_FAILED)?)
            }
            (Writer::Packed(writer), Finished::Values(weight)) => writer.write(name, weight),
            (Writer::Packed(writer), Finished::Packed(matrix)) => writer.write_packed(name, &matrix),
            _ => Err(WriteError::Tensor { name: name.to_owned(), what: "came in a form that is not the file's" }),
        };
        written.map_err(not_written)
    }

    /// Makes it appear.
    pub fn finish(self) -> Result<PathBuf, Refusal> {
        match self.writer {
            Writer::Folder(writer) => writer.finish(),
            Writer::Gguf(writer) => writer.finish(),
            Writer::Packed(writer) => writer.finish(),
        }
        .map_err(not_written)
    }
}

/// The values of a tensor that no method changed; a head of its own is what it was tied to before.
pub fn unchanged(checkpoint: &Checkpoint, name: &str) -> Result<Weight, Refusal> {
    let tied = || checkpoint.weight(EMBEDDING).filter(|_| name == HEAD && checkpoint.config.tied_head);
    let absent = || format!("{} has no tensor {name}", checkpoint.path().display());
    checkpoint.weight(name).or_else(tied).ok_or_else(absent).or_exit(INTERNAL)
}

fn site(spec: &TensorSpec) -> Site<'_> {
    Site { name: &spec.name, layer: 0, rows: spec.rows, cols: spec.cols }
}

fn q8_0(name: &str, weight: &Weight) -> Result<Vec<u8>, QuantError> {
    let site = Site { name, layer: 0, rows: weight.rows(), cols: weight.cols() };
    check_blocks(&site, Format::Q8_0)?;
    Format::Q8_0.encode(&weight.to_f32()).map_err(|source| refused(&site, Format::Q8_0, source))
}

/// The methods that make blocks of ggml.
fn makers() -> Vec<&'static str> {
    let methods = registry::methods().into_iter().filter(|method| method.axis == Axis::Quant).map(|method| method.id);
    methods
        .filter(|id| registry::quantizer(&Arm::new(*id)).is_ok_and(|quantizer| quantizer.blocks().is_some()))
        .collect()
}

/// Why it was not written, and what to do.
fn not_written(error: WriteError) -> Refusal {
    let (code, advice) = match &error {
        WriteError::Io { .. } => (NOT_WRITTEN, "; nothing was left behind, make room or choose another --out"),
        WriteError::Occupied { .. }
        | WriteError::Exists { .. }
        | WriteError::Inexpressible { .. }
        | WriteError::Overflow { .. } => (BAD_INPUT, ""),
        _ => (INTERNAL, ""),
    };
    Refusal { code, message: format!("{error}{advice}") }
}
