//! What sequences leave behind.

use crate::error::ModelError;

/// Numbers that a sequence leaves behind in a decoder of state spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Blocks.
    pub layers: usize,
    /// Last inputs of a block's convolution.
    pub inputs: usize,
    /// States of its scan.
    pub states: usize,
}

/// What sequences leave behind: of each block the last inputs of its convolution and the states of its scan.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    sizes: Sizes,
    batch: usize,
    tokens: usize,
    /// Inputs and states of each block, sequence after sequence.
    blocks: Vec<[Vec<f32>; 2]>,
}

impl Carried {
    /// Of `batch` sequences before their first token: zeros.
    pub(crate) fn begin(sizes: Sizes, batch: usize) -> Self {
        let block = [vec![0.0; batch * sizes.inputs], vec![0.0; batch * sizes.states]];
        Self { sizes, batch, tokens: 0, blocks: vec![block; sizes.layers] }
    }

    /// Sequences.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Tokens that each has read.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bytes it takes, the same after any number of tokens.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().flatten().map(|numbers| numbers.len() * size_of::<f32>()).sum()
    }

    /// Inputs `(batch, taps − 1, channels)` and states `(batch, channels, states)` of each block.
    pub fn blocks(&self) -> &[[Vec<f32>; 2]] {
        &self.blocks
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(crate) fn blocks_mut(&mut self) -> impl Iterator<Item = &mut [Vec<f32>; 2]> {
        self.blocks.iter_mut()
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }

    /// The same behind so many tokens.
    pub(crate) fn behind(self, tokens: usize) -> Self {
        Self { tokens, ..self }
    }

    /// The same sequences with the numbers that [`Self::blocks`] gave, behind so many tokens; `None` where they do not fit.
    pub(crate) fn restored(&self, tokens: usize, blocks: Vec<[Vec<f32>; 2]>) -> Option<Self> {
        let lengths = |blocks: &[[Vec<f32>; 2]]| -> Vec<usize> { blocks.iter().flatten().map(Vec::len).collect() };
        (lengths(&blocks) == lengths(&self.blocks)).then(|| Self { tokens, blocks, ..self.clone() })
    }

    /// Some sequences of others, each given with its place; all behind the same number of tokens, or of any, which then is that of the
    /// first.
    ///
    /// # Errors
    /// [`ModelError::CarriedStates`] where they are of different decoders.
    pub(crate) fn gather(sources: &[(&Self, usize)]) -> Result<Self, ModelError> {
        let Some((first, _)) = sources.first() else { return Err(ModelError::CarriedStates { carried: 0, given: 0 }) };
        let mut all = Self { tokens: first.tokens, ..Self::begin(first.sizes, 0) };
        for (source, row) in sources {
            if source.sizes != first.sizes || *row >= source.batch {
                return Err(ModelError::CarriedStates { carried: source.batch, given: row + 1 });
            }
            for (all, own) in all.blocks.iter_mut().zip(&source.blocks) {
                for (all, own) in all.iter_mut().zip(own) {
                    let each = own.len() / source.batch;
                    all.extend_from_slice(&own[row * each..(row + 1) * each]);
                }
            }
            all.batch += 1;
        }
        Ok(all)
    }
}
