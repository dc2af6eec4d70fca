//! Safetensors files: one, or several with an index. The weights stay mapped in the type they are stored in.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use ::safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::weight::{DType, MappedFile, Weight};

use super::layout::CONVOLUTION;
use super::{LoadError, Shape, open};

/// What the files of a folder hold.
pub(super) struct Contents {
    pub tensors: BTreeMap<String, Weight>,
    /// Names of the tensors with one dimension.
    pub vectors: BTreeSet<String>,
    /// Bytes by name: codes of packed matrices.
    pub bytes: BTreeMap<String, Bytes>,
    pub files: Vec<(String, MappedFile)>,
}

/// A tensor of bytes in a mapped file.
#[derive(Debug)]
pub(super) struct Bytes {
    /// The file.
    pub path: PathBuf,
    pub shape: Vec<usize>,
    file: MappedFile,
    range: Range<usize>,
}

impl Bytes {
    pub fn values(&self) -> &[u8] {
        self.file.bytes().get(self.range.clone()).unwrap_or_default()
    }
}

/// Reads `model.safetensors`, or the files that `model.safetensors.index.json` names. `skip` says which names are left out.
pub(super) fn read_folder(folder: &Path, skip: impl Fn(&str) -> bool) -> Result<Contents, LoadError> {
    let mut contents =
        Contents { tensors: BTreeMap::new(), vectors: BTreeSet::new(), bytes: BTreeMap::new(), files: Vec::new() };
    if folder.join("model.safetensors").exists() {
        read_file(folder, "model.safetensors", &skip, &mut contents)?;
        return Ok(contents);
    }
    let index_path = folder.join("model.safetensors.index.json");
    if !index_path.exists() {
        return Err(no_weights(folder));
    }
    let index = open(&index_path)?;
    let damaged = |what: String| LoadError::Malformed { path: index_path.clone(), what };
    let json: serde_json::Value = serde_json::from_slice(index.bytes()).map_err(|e| damaged(e.to_string()))?;
    let map = json["weight_map"].as_object().ok_or_else(|| damaged("it has no weight_map".to_owned()))?;
    let mut shards = BTreeSet::new();
    for (tensor, shard) in map {
        let shard = shard.as_str().ok_or_else(|| damaged(format!("the file of tensor {tensor} is not a text")))?;
        let mut parts = Path::new(shard).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(damaged(format!("the file \"{shard}\" of tensor {tensor} is outside the folder")));
        }
        shards.insert(shard.to_owned());
    }
    for shard in &shards {
        read_file(folder, shard, &skip, &mut contents)?;
    }
    for tensor in map.keys().filter(|tensor| !skip(tensor)) {
        if !contents.tensors.contains_key(tensor) && !contents.bytes.contains_key(tensor) {
            return Err(damaged(format!("it lists the tensor {tensor}, which no file holds")));
        }
    }
    contents.files.push(("model.safetensors.index.json".to_owned(), index));
    Ok(contents)
}

/// A folder with pickles only is told apart from one with nothing.
fn no_weights(folder: &Path) -> LoadError {
    for pickle in ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"] {
        if folder.join(pickle).exists() {
            return LoadError::Pickle { path: folder.join(pickle) };
        }
    }
    LoadError::UnknownFormat {
        path: folder.to_owned(),
        what: "the folder has neither model.safetensors nor model.safetensors.index.json".to_owned(),
    }
}

fn read_file(
    folder: &Path,
    name: &str,
    skip: &impl Fn(&str) -> bool,
    contents: &mut Contents,
) -> Result<(), LoadError> {
    let path = folder.join(name);
    let file = open(&path)?;
    let damaged = |what: String| LoadError::Malformed { path: path.clone(), what };
    let length = file.bytes().len();
    let (header, metadata) = SafeTensors::read_metadata(file.bytes()).map_err(|error| match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            damaged(format!("its {length} bytes are not as many as its header calls for; it may have been cut off"))
        }
        error => damaged(format!("the safetensors header of a file of {length} bytes: {error}")),
    })?;
    let data = header.checked_add(8).ok_or_else(|| damaged("its header is too long".to_owned()))?;
    // In order of name, so that of several faults the same one is reported every time.
    let tensors: BTreeMap<_, _> = metadata.tensors().into_iter().collect();
    for (tensor, info) in tensors {
        if skip(&tensor) {
            continue;
        }
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::Bf16,
            Dtype::U8 => {
                // The header was checked against the length of the file.
                let range = data + info.data_offsets.0..data + info.data_offsets.1;
                let bytes = Bytes { path: path.clone(), shape: info.shape.clone(), file: file.clone(), range };
                if contents.bytes.insert(tensor.clone(), bytes).is_some() {
                    return Err(damaged(format!("tensor {tensor} is in several files")));
                }
                continue;
            }
            other => {
                return Err(LoadError::ElementType { path, name: tensor, found: format!("{other:?}") });
            }
        };
        let (rows, cols) = match info.shape[..] {
            [length] => (1, length),
            [rows, cols] => (rows, cols),
            [rows, 1, cols] if tensor.ends_with(CONVOLUTION) => (rows, cols),
            _ => return Err(LoadError::ExtraTensor { path, name: tensor, found: Shape(info.shape.clone()) }),
        };
        let weight = data
            .checked_add(info.data_offsets.0)
            .and_then(|offset| Weight::mapped(&file, offset, rows, cols, dtype))
            .ok_or_else(|| damaged(format!("tensor {tensor} reaches past the end of the file")))?;
        if info.shape.len() == 1 {
            contents.vectors.insert(tensor.clone());
        }
        if contents.tensors.insert(tensor.clone(), weight).is_some() {
            return Err(damaged(format!("tensor {tensor} is in several files")));
        }
    }
    contents.files.push((name.to_owned(), file));
    Ok(())
}
