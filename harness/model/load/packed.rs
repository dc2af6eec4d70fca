//! Packed matrices of a folder: see [`crate::packed_layout`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::config::Config;
use crate::packed::{Bits, Meaning, PackError, PackedMatrix, Quantized};
use crate::packed_layout::{METHOD, PackedConfig, PackedEntry, PackedMeaning, VERSION, module_of};

use super::safetensors::Contents;
use super::{LoadError, Shape, TensorSpec, expected_tensors};

/// Takes the packed matrices out of what a folder holds; `stated` is the `quantization_config` of its `config.json`.
pub(super) fn read(
    folder: &Path,
    config_path: &Path,
    stated: &Value,
    config: &Config,
    contents: &mut Contents,
) -> Result<BTreeMap<String, Arc<PackedMatrix>>, LoadError> {
    let mut matrices = BTreeMap::new();
    let mut entries = entries(config_path, stated)?;
    for spec in expected_tensors(config) {
        if entries.is_empty() {
            break;
        }
        if let Some(entry) = entries.remove(module_of(&spec.name)).filter(|_| !spec.vector) {
            let matrix = matrix(folder, &spec, &entry, contents)?;
            matrices.insert(spec.name, Arc::new(matrix));
        } else if !contents.tensors.contains_key(&spec.name) {
            let (path, expected) = (folder.to_owned(), spec.shape());
            return Err(LoadError::MissingTensor { path, name: spec.name, expected });
        }
    }
    if let Some(module) = entries.keys().next() {
        let what = format!("quantization_config lists the matrix {module}, which the configuration has no place for");
        return Err(LoadError::Malformed { path: config_path.to_owned(), what });
    }
    match contents.bytes.iter().next() {
        // Bytes that are no codes: an element type that is not read.
        Some((name, bytes)) => {
            Err(LoadError::ElementType { path: bytes.path.clone(), name: name.clone(), found: "U8".to_owned() })
        }
        None => Ok(matrices),
    }
}

/// The packed matrices that a configuration lists, by module path.
fn entries(path: &Path, stated: &Value) -> Result<BTreeMap<String, PackedEntry>, LoadError> {
    if stated.is_null() {
        return Ok(BTreeMap::new());
    }
    let unsupported = |what: String| LoadError::Unsupported { path: path.to_owned(), what };
    let method = stated["quant_method"].as_str().unwrap_or_default();
    if method != METHOD {
        return Err(unsupported(format!("weights quantized by \"{method:.64}\"; save them dequantized")));
    }
    // Before the rest: another version may have other keys.
    if stated["version"] != VERSION {
        let version = &stated["version"];
        return Err(unsupported(format!("version {version:.32} of the packed layout; {VERSION} is read")));
    }
    let config: PackedConfig = serde_json::from_value(stated.clone())
        .map_err(|e| LoadError::Malformed { path: path.to_owned(), what: format!("quantization_config: {e}") })?;
    for (module, entry) in &config.matrices {
        let container = matches!(entry.container, 4 | 8) && (1..=entry.container).contains(&entry.bits);
        if !container {
            let PackedEntry { bits, container, .. } = entry;
            let what = format!("{module} states codes of {bits} bits in {container}, which is not possible");
            return Err(LoadError::Malformed { path: path.to_owned(), what });
        }
    }
    Ok(config.matrices)
}

/// One matrix, its tensors taken out of `contents`.
fn matrix(
    folder: &Path,
    spec: &TensorSpec,
    entry: &PackedEntry,
    contents: &mut Contents,
) -> Result<PackedMatrix, LoadError> {
    let (rows, cols, module) = (spec.rows, spec.cols, module_of(&spec.name));
    let refuse = |source| LoadError::Packed { path: folder.to_owned(), name: spec.name.clone(), source };
    let missing = |name: String, shape: Vec<usize>| LoadError::MissingTensor {
        path: folder.to_owned(),
        name,
        expected: Shape(shape),
    };
    if entry.group == 0 || !cols.is_multiple_of(entry.group) {
        return Err(refuse(PackError::Group { cols, group: entry.group }));
    }
    let (bits, width) = if entry.container == 4 { (Bits::Four, cols / 2) } else { (Bits::Eight, cols) };
    let name = format!("{module}.codes");
    let stored = contents.bytes.remove(&name).ok_or_else(|| missing(name.clone(), vec![rows, width]))?;
    if stored.shape != [rows, width] {
        let (expected, found) = (Shape(vec![rows, width]), Shape(stored.shape.clone()));
        return Err(LoadError::Shape { path: folder.to_owned(), name, expected, found });
    }
    let codes: Vec<u8> = match bits {
        Bits::Eight => stored.values().to_vec(),
        Bits::Four => stored.values().iter().flat_map(|pair| [pair & 15, pair >> 4]).collect(),
    };
    if let Some(at) = codes.iter().position(|code| u32::from(*code) >> entry.bits != 0) {
        let (row, column, code, bits) = (at / cols, at % cols, codes[at], entry.bits);
        return Err(LoadError::Code { path: folder.to_owned(), name: spec.name.clone(), row, column, code, bits });
    }
    let mut floats = |part: &str, shape: Vec<usize>| -> Result<Vec<f32>, LoadError> {
        let name = format!("{module}.{part}");
        let weight = contents.tensors.remove(&name).ok_or_else(|| missing(name.clone(), shape.clone()))?;
        let vector = contents.vectors.remove(&name);
        let found = if vector { vec![weight.cols()] } else { vec![weight.rows(), weight.cols()] };
        if found != shape {
            let (expected, found) = (Shape(shape), Shape(found));
            return Err(LoadError::Shape { path: folder.to_owned(), name, expected, found });
        }
        Ok(weight.to_f32())
    };
    let groups = vec![rows, cols / entry.group];
    let scales = floats("scales", groups.clone())?;
    let mut table = [0.0; 16];
    let zeros;
    let meaning = match entry.meaning {
        PackedMeaning::Zero => Meaning::Zero(floats("zeros", vec![1])?[0]),
        PackedMeaning::Zeros => {
            zeros = floats("zeros", groups)?;
            Meaning::Zeros(&zeros)
        }
        PackedMeaning::Table => {
            table.copy_from_slice(&floats("table", vec![16])?);
            Meaning::Table(&table)
        }
    };
    let source = Quantized { rows, cols, bits, group: entry.group, codes: &codes, scales: &scales, meaning };
    let matrix = PackedMatrix::new(&source).map_err(refuse)?;
    // Finite scales and levels may still give an infinite product.
    if let Some((at, value)) = matrix.dequantise().into_iter().enumerate().find(|(_, value)| !value.is_finite()) {
        let (row, column) = (at / cols, at % cols);
        return Err(LoadError::NotFinite { path: folder.to_owned(), name: spec.name.clone(), row, column, value });
    }
    Ok(matrix)
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
