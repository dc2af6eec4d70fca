//! Writing a folder of packed codes: see [`crate::packed_layout`].
//!
//! Tensors come in any order; some hundred MiB of them are held and then written as one file of safetensors.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::f16;
use serde_json::json;

use crate::config::Config;
use crate::load::TensorSpec;
use crate::packed::{Bits, Levels, PackedMatrix, Unpacked};
use crate::packed_layout::{LAYOUT, METHOD, PackedConfig, PackedEntry, PackedMeaning, VERSION, module_of};
use crate::tokenizer::Tokenizer;
use crate::weight::{DType, Weight};

use super::partial::PartialFolder;
use super::{PART, WriteError, append, config, io, pretty};

/// Bytes of tensors that are held before they are written.
const HELD: usize = 256 << 20;

#[derive(Debug)]
struct Tensor {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes a folder. Dropping it before [`PackedWriter::finish`] removes what was written.
#[derive(Debug)]
pub struct PackedWriter {
    folder: PartialFolder,
    config: Config,
    dtype: DType,
    packed: PackedConfig,
    specs: BTreeMap<String, (TensorSpec, bool)>,
    order: Vec<String>,
    held: Vec<Tensor>,
    files: Vec<Vec<String>>,
    total: usize,
}

impl PackedWriter {
    /// Starts a folder at `target` for the tensors `specs`; what is not packed is written in `dtype`, and `method` is the arm
    /// that made the codes.
    ///
    /// # Errors
    /// When `target` is not free, or the file system refuses.
    pub fn create(
        target: &Path,
        config: &Config,
        specs: &[TensorSpec],
        dtype: DType,
        method: &str,
    ) -> Result<Self, WriteError> {
        let folder = PartialFolder::create(target)?;
        folder.text("generation_config.json", &pretty(&config::generation_json(config)))?;
        let packed = PackedConfig {
            quant_method: METHOD.to_owned(),
            version: VERSION,
            method: method.to_owned(),
            layout: LAYOUT.to_owned(),
            matrices: BTreeMap::new(),
        };
        Ok(Self {
            folder,
            config: config.clone(),
            dtype,
            packed,
            specs: specs.iter().map(|spec| (spec.name.clone(), (spec.clone(), false))).collect(),
            order: specs.iter().map(|spec| spec.name.clone()).collect(),
            held: Vec::new(),
            files: Vec::new(),
            total: 0,
        })
    }

    /// Adds the files of the tokenizer.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn tokenizer(&self, tokenizer: &Tokenizer, chat_template: Option<&str>) -> Result<(), WriteError> {
        self.folder.tokenizer(tokenizer, chat_template)
    }

    /// Writes one announced tensor as it is, rounded to the element type of the folder.
    ///
    /// # Errors
    /// When the tensor was not announced or came before, has another shape, or holds a finite value that the element type
    /// cannot.
    pub fn write(&mut self, name: &str, weight: &Weight) -> Result<(), WriteError> {
        let spec = self.claim(name, weight.rows() * weight.cols())?;
        let view = weight.view();
        let (mut part, mut bytes) = (Vec::new(), Vec::new());
        for start in (0..view.len()).step_by(PART) {
            let end = view.len().min(start + PART);
            part.resize(end - start, 0.0);
            view.range(start, end).copy_to(&mut part);
            append(name, self.dtype, &part, &mut bytes)?;
        }
        self.hold(name.to_owned(), config::dtype_name(self.dtype), spec.shape().0, bytes)
    }

    /// Writes one announced matrix as its packed codes.
    ///
    /// # Errors
    /// When the tensor was not announced or came before, or has another shape.
    pub fn write_packed(&mut self, name: &str, matrix: &PackedMatrix) -> Result<(), WriteError> {
        self.claim(name, matrix.rows() * matrix.cols())?;
        let module = module_of(name).to_owned();
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let Unpacked { codes, scales, zeros } = matrix.unpack();
        let most = codes.iter().copied().max().unwrap_or(0);
        let bits = (8 - most.leading_zeros()).max(1);
        let (codes, width) = match matrix.bits() {
            Bits::Eight => (codes, cols),
            Bits::Four => (codes.chunks_exact(2).map(|pair| pair[0] | pair[1] << 4).collect(), cols / 2),
        };
        self.hold(format!("{module}.codes"), "u8", vec![rows, width], codes)?;
        let groups = vec![rows, cols / matrix.group()];
        self.hold_floats(format!("{module}.scales"), groups.clone(), &scales)?;
        let meaning = match (matrix.levels(), zeros) {
            (Levels::Zero(zero), _) => {
                self.hold_floats(format!("{module}.zeros"), vec![1], &[zero])?;
                PackedMeaning::Zero
            }
            (Levels::Table(table), _) => {
                self.hold_floats(format!("{module}.table"), vec![table.len()], table)?;
                PackedMeaning::Table
            }
            (Levels::Zeros, zeros) => {
                self.hold_floats(format!("{module}.zeros"), groups, &zeros.unwrap_or_default())?;
                PackedMeaning::Zeros
            }
        };
        let entry = PackedEntry { bits, container: matrix.bits().count(), group: matrix.group(), meaning };
        self.packed.matrices.insert(module, entry);
        Ok(())
    }

    /// Makes the folder appear under its name, whole and on disk.
    ///
    /// # Errors
    /// When a tensor is missing, the place was taken meanwhile, or the file system refuses.
    pub fn finish(mut self) -> Result<PathBuf, WriteError> {
        let missing: Vec<&String> = self.order.iter().filter(|name| !self.specs[*name].1).collect();
        if let Some(first) = missing.first() {
            return Err(WriteError::Incomplete { count: missing.len(), first: (*first).clone() });
        }
        self.flush()?;
        self.name_files()?;
        let mut json = config::config_json(&self.config, self.dtype);
        json["quantization_config"] = json!(self.packed);
        self.folder.text("config.json", &pretty(&json))?;
        self.folder.finish()
    }

    /// An announced tensor of so many values that has not come yet.
    fn claim(&mut self, name: &str, count: usize) -> Result<TensorSpec, WriteError> {
        let fault = |what| WriteError::Tensor { name: name.to_owned(), what };
        let (spec, written) = self.specs.get_mut(name).ok_or_else(|| fault("was not announced"))?;
        if *written {
            return Err(fault("is written twice"));
        }
        if spec.len() != count {
            return Err(WriteError::Shape { name: name.to_owned(), expected: spec.shape(), found: count });
        }
        *written = true;
        Ok(spec.clone())
    }

    /// Floats in F16 where that holds every one of them exactly.
    fn hold_floats(&mut self, name: String, shape: Vec<usize>, values: &[f32]) -> Result<(), WriteError> {
        let exact = values.iter().all(|value| f16::from_f32(*value).to_f32().to_bits() == value.to_bits());
        let dtype = if exact { DType::F16 } else { DType::F32 };
        let mut bytes = Vec::new();
        append(&name, dtype, values, &mut bytes)?;
        self.hold(name, config::dtype_name(dtype), shape, bytes)
    }

    fn hold(&mut self, name: String, dtype: &'static str, shape: Vec<usize>, bytes: Vec<u8>) -> Result<(), WriteError> {
        self.held.push(Tensor { name, dtype, shape, bytes });
        let held: usize = self.held.iter().map(|tensor| tensor.bytes.len()).sum();
        if held > HELD { self.flush() } else { Ok(()) }
    }

    /// Writes what is held as one file.
    fn flush(&mut self) -> Result<(), WriteError> {
        let mut tensors = std::mem::take(&mut self.held);
        if tensors.is_empty() {
            return Ok(());
        }
        // Wide elements first, so that all of them are aligned.
        tensors.sort_by_key(|tensor| (tensor.dtype == "u8", tensor.dtype != "f32"));
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
        let mut end = 0;
        for Tensor { name, dtype, shape, bytes } in &tensors {
            let (start, dtype) = (end, dtype.to_uppercase());
            end += bytes.len();
            header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
        }
        let path = self.folder.path().join(held_name(self.files.len()));
        let file = File::create(&path).map_err(io(&path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&super::safetensors_header(header)).map_err(io(&path))?;
        for tensor in &tensors {
            out.write_all(&tensor.bytes).map_err(io(&path))?;
        }
        let file = out.into_inner().map_err(|error| io(&path)(error.into_error()))?;
        file.sync_all().map_err(io(&path))?;
        self.total += end;
        self.files.push(tensors.into_iter().map(|tensor| tensor.name).collect());
        Ok(())
    }

    /// Gives the files the names that readers look for, now that their number is known.
    fn name_files(&self) -> Result<(), WriteError> {
        let mut weight_map = serde_json::Map::new();
        for (index, tensors) in self.files.iter().enumerate() {
            let name = super::shard_name(index, self.files.len());
            let (from, to) = (self.folder.path().join(held_name(index)), self.folder.path().join(&name));
            fs::rename(&from, &to).map_err(io(&to))?;
            weight_map.extend(tensors.iter().map(|tensor| (tensor.clone(), json!(name))));
        }
        if self.files.len() > 1 {
            let index = json!({ "metadata": { "total_size": self.total }, "weight_map": weight_map });
            self.folder.text("model.safetensors.index.json", &pretty(&index))?;
        }
        Ok(())
    }
}

fn held_name(index: usize) -> String {
    format!("part-{index}.safetensors")
}
