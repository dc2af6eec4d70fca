//! Text through a model block by block, and the sums of what enters linear maps on the way.

use harness_methods::prune::Needs;
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::{Decoder, Tap};
use harness_model::tensor::Tensor;

use super::{PrepareError, Statistics, input_of};

/// Tokens that go through a block at a time, where windows are shorter: each product then packs its weights once for all of them,
/// while what lies between two maps stays near the processor.
const TOGETHER: usize = 2048;

/// Windows go through blocks together where their tokens are a multiple of this: the products' tiles then end where those of a window
/// alone may end, and so give the same bits.
const WHOLE: usize = 32;

/// What enters the first block, a tensor for as many windows as go through it together; windows are of one length.
pub(crate) fn embed_together(decoder: &Decoder, windows: &[Vec<u32>]) -> Result<Vec<Tensor>, PrepareError> {
    let length = windows.first().map_or(1, Vec::len).max(1);
    let count = if length.is_multiple_of(WHOLE) { (TOGETHER / length).max(1) } else { 1 };
    windows
        .chunks(count)
        .map(|windows| {
            let windows: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
            decoder.embed(&windows).map_err(|source| PrepareError::Forward { layer: 0, source })
        })
        .collect()
}

/// What enters the first block, a tensor a window.
pub(crate) fn embed(decoder: &Decoder, windows: &[Vec<u32>]) -> Result<Vec<Tensor>, PrepareError> {
    windows
        .iter()
        .map(|window| decoder.embed(&[window]).map_err(|source| PrepareError::Forward { layer: 0, source }))
        .collect()
}

/// Runs all sequences through one block.
pub(crate) fn forward(decoder: &Decoder, layer: usize, hidden: &[Tensor]) -> Result<Vec<Tensor>, PrepareError> {
    let pass = |states| decoder.block(layer, states, None).map_err(|source| PrepareError::Forward { layer, source });
    hidden.iter().map(pass).collect()
}

/// The statistics of the named projections' inputs. What comes behind the last of them is not computed.
pub(crate) fn collect(
    decoder: &Decoder,
    layer: usize,
    hidden: &[Tensor],
    needs: Needs,
    projections: &[Projection],
) -> Result<Statistics, PrepareError> {
    let Some(&last) = projections.iter().max() else { return Ok(Statistics::new()) };
    let mut collector = Collector::new(decoder, layer, needs, projections);
    for states in hidden {
        collector.sequences = states.dims().first().copied().unwrap_or(1);
        let shown = decoder.show_inputs(layer, states, last, &mut collector);
        shown.map_err(|source| PrepareError::Forward { layer, source })?;
    }
    collector.finish()
}

/// The statistics of the inputs of all maps, and the block's outputs.
pub(crate) fn collect_and_forward(
    decoder: &Decoder,
    layer: usize,
    hidden: &[Tensor],
    needs: Needs,
) -> Result<(Statistics, Vec<Tensor>), PrepareError> {
    let mut collector = Collector::new(decoder, layer, needs, &Projection::ALL);
    let mut outputs = Vec::with_capacity(hidden.len());
    for states in hidden {
        collector.sequences = states.dims().first().copied().unwrap_or(1);
        let output = decoder.block(layer, states, Some(&mut collector));
        outputs.push(output.map_err(|source| PrepareError::Forward { layer, source })?);
    }
    Ok((collector.finish()?, outputs))
}

/// Sums up the inputs of linear maps as they pass.
struct Collector {
    statistics: Statistics,
    /// How many sequences pass together.
    sequences: usize,
    failure: Option<PrepareError>,
}

impl Collector {
    fn new(decoder: &Decoder, layer: usize, needs: Needs, projections: &[Projection]) -> Self {
        let mut statistics = Statistics::new();
        for &projection in projections {
            if let Some(linear) = decoder.linear(layer, projection) {
                statistics.entry(input_of(projection)).or_insert_with(|| LinearStatistics::new(linear.cols(), needs));
            }
        }
        Self { statistics, sequences: 1, failure: None }
    }

    fn finish(self) -> Result<Statistics, PrepareError> {
        self.failure.map_or(Ok(self.statistics), Err)
    }
}

impl Tap for Collector {
    fn linear_input(&mut self, layer: usize, projection: Projection, x: &[f32]) {
        if self.failure.is_some() || input_of(projection) != projection {
            return;
        }
        let sums = self.statistics.get_mut(&projection);
        if let Some(Err(source)) = sums.map(|sums| sums.add_sequences(x, self.sequences)) {
            self.failure = Some(PrepareError::Statistics { tensor: projection.tensor(layer), source });
        }
    }
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
