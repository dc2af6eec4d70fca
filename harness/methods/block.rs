//! What a method may know of a block of a decoder as a whole, and what it may move inside it.

use crate::prune::{PruneError, Site};
use crate::statistics::LinearStatistics;

/// A linear map of a block, in the order a block applies them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    /// Query.
    Q,
    /// Key.
    K,
    /// Value.
    V,
    /// Attention output.
    O,
    /// Feed-forward gate.
    Gate,
    /// Feed-forward expansion.
    Up,
    /// Feed-forward contraction.
    Down,
}

impl Map {
    /// All seven.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// What its module is called in checkpoints.
    fn module(self) -> &'static str {
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"][self as usize]
    }

    /// The map whose matrix stands at a site, by its tensor name.
    pub fn of(site: &Site) -> Option<Self> {
        let module = site.name.strip_suffix(".weight").unwrap_or(site.name).rsplit('.').next();
        Self::ALL.into_iter().find(|map| module == Some(map.module()))
    }
}

/// What makes the inputs of some maps, and can be divided by a factor for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Producer {
    /// The normalisation before attention.
    AttentionNorm,
    /// The normalisation before the feed-forward part.
    FeedForwardNorm,
    /// The outputs of another map of the block.
    Outputs(Map),
}

/// Factors that move from what makes inputs to the maps that read them: the maker is divided by them, the columns of the
/// maps are multiplied, and the block computes the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// What is divided.
    pub producer: Producer,
    /// What is multiplied: every map that reads the inputs.
    pub consumers: Vec<Map>,
    /// One positive number an input.
    pub factors: Vec<f32>,
}

/// A part of a block whose outputs can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Normalisation, queries, keys, values, attention and its output map.
    Attention,
    /// Normalisation and the feed-forward maps.
    FeedForward,
}

/// A weight matrix of a block.
#[derive(Debug, Clone)]
pub struct BlockMatrix {
    /// Canonical tensor name.
    pub name: String,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Rows × cols, row-major.
    pub values: Vec<f32>,
}

impl BlockMatrix {
    /// Where it stands in block `layer`.
    pub fn site(&self, layer: usize) -> Site<'_> {
        Site { name: &self.name, layer, rows: self.rows, cols: self.cols }
    }
}

/// A block before its matrices are changed, with what calibration saw of it.
pub trait CalibratedBlock {
    /// Block from 0.
    fn layer(&self) -> usize;

    /// A matrix of it; `None` where the block has no such map.
    fn matrix(&self, map: Map) -> Option<BlockMatrix>;

    /// Whether the feed-forward part multiplies a gate with what [`Map::Up`] gives, so that factors may pass from it to
    /// [`Map::Down`].
    fn is_gated(&self) -> bool;

    /// Sums over the inputs of a map.
    fn statistics(&self, map: Map) -> Option<&LinearStatistics>;

    /// The mean squared difference that other weights of some maps make to the outputs of a part, over the calibration
    /// inputs of the block.
    ///
    /// # Errors
    /// [`PruneError::Refused`] when the block cannot be run.
    fn error(&self, part: Part, weights: &[(Map, Vec<f32>)]) -> Result<f64, PruneError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_known_by_their_tensors() {
        let site = |name| Site { name, layer: 3, rows: 1, cols: 1 };
        assert_eq!(Map::of(&site("model.layers.3.self_attn.q_proj.weight")), Some(Map::Q));
        assert_eq!(Map::of(&site("model.layers.3.mlp.down_proj.weight")), Some(Map::Down));
        assert_eq!(Map::of(&site("lm_head.weight")), None);
    }
}
