//! The axes of a bench, in the order a model is prepared.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One axis. The order is the staging order: cells that agree on a prefix of it share the work of that prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// The checkpoint.
    Model,
    /// What other checkpoints learned, added to it.
    Merge,
    /// A method that needs gradient steps.
    Train,
    /// The position scheme.
    Position,
    /// Fewer blocks.
    Shrink,
    /// A low-rank factorisation.
    Lowrank,
    /// A pruning method.
    Prune,
    /// A quantization method.
    Quant,
    /// What keys and values of attention are kept as.
    Cache,
    /// What is measured on.
    Data,
    /// A sampler or decoder.
    Sampler,
    /// A repetition with other random numbers.
    Seed,
}

impl Axis {
    /// All axes in staging order.
    pub const ALL: [Self; 12] = [
        Self::Model,
        Self::Merge,
        Self::Train,
        Self::Position,
        Self::Shrink,
        Self::Lowrank,
        Self::Prune,
        Self::Quant,
        Self::Cache,
        Self::Data,
        Self::Sampler,
        Self::Seed,
    ];

    /// The key of the axis in a suite.
    pub fn key(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Merge => "merge",
            Self::Train => "train",
            Self::Position => "position",
            Self::Shrink => "shrink",
            Self::Lowrank => "lowrank",
            Self::Prune => "prune",
            Self::Quant => "quant",
            Self::Cache => "cache",
            Self::Data => "data",
            Self::Sampler => "sampler",
            Self::Seed => "seed",
        }
    }
}

impl Axis {
    /// Whether arms of the axis change a model, or what it keeps of what it read; where none of them does, a cell is the dense model's.
    pub fn changes_model(self) -> bool {
        use Axis::{Cache, Lowrank, Merge, Position, Prune, Quant, Shrink, Train};
        matches!(self, Merge | Train | Position | Shrink | Lowrank | Prune | Quant | Cache)
    }

    /// Whether an arm of the axis may be a chain: methods one after the other, in an order that belongs to the arm.
    pub fn chains(self) -> bool {
        self == Self::Sampler
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|axis| axis.key() == text).ok_or_else(|| format!("`{text}` is not an axis"))
    }
}
