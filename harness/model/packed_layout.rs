//! How packed matrices lie in files: names, the key of `config.json`, and its version.
//!
//! A folder of packed codes is a Hugging Face folder whose linear maps are, instead of `NAME.weight`, the tensors
//! `NAME.codes` (U8, a row after the other; of four bits two lie in a byte, the even column in the low half), `NAME.scales`
//! `(rows, columns / group)` in F16 where that holds every one of them and else in F32, and what the codes stand for:
//! `NAME.zeros` `(rows, columns / group)`, or `(1)` where all are equal, for `scale · (code − zero)`; `NAME.table` `(16)` for
//! `scale · table[code]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The layout that is written, and the only one that is read.
pub(crate) const VERSION: u32 = 1;

/// `quantization_config.quant_method`.
pub(crate) const METHOD: &str = "harness";

/// `quantization_config` of `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PackedConfig {
    pub quant_method: String,
    pub version: u32,
    /// The arm that made the codes, for people.
    pub method: String,
    /// How codes lie, for people.
    pub layout: String,
    /// Module path of each packed matrix.
    pub matrices: BTreeMap<String, PackedEntry>,
}

/// One packed matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PackedEntry {
    /// Bits that its codes use, 1 to 8: every one of them is below `2^bits`.
    pub bits: u32,
    /// Bits that a code takes: 4 or 8.
    pub container: u32,
    /// Columns that share a scale.
    pub group: usize,
    pub meaning: PackedMeaning,
}

/// What the codes of a matrix stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PackedMeaning {
    /// `scale · (code − zero)`, one zero point.
    Zero,
    /// `scale · (code − zero)`, one zero point a scale.
    Zeros,
    /// `scale · table[code]`.
    Table,
}

/// The description of the layout that stands in the file.
pub(crate) const LAYOUT: &str = "codes: uint8 (rows, columns), of 4 bits two in a byte with the even column in the low half; scales: (rows, columns / group)";

/// The module path of a weight.
pub(crate) fn module_of(weight: &str) -> &str {
    weight.strip_suffix(".weight").unwrap_or(weight)
}
