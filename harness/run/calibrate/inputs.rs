//! Text through a model block by block, and the sums of what enters linear maps on the way.

use harness_methods::prune::Needs;
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::{Decoder, Tap};
use harness_model::tensor::Tensor;

use super::{PrepareError, Statistics, input_of};

/// What enters the first block, a tensor a window.
pub(crate) fn embed(decoder: &Decoder, windows: &[Vec<u32>]) -> Result<Vec<Tensor>, PrepareError> {
    windows
        .iter()
        .map(|window| decoder.embed(&[window]).map_err(|source| PrepareError::Forward { layer: 0, source }))
        .collect()
}

/// Runs all sequences through one block.
pub(crate) fn forward(
    decoder: &Decoder,
    layer: usize,
    hidden: &[Tensor],
    mut tap: Option<&mut Collector>,
) -> Result<Vec<Tensor>, PrepareError> {
    hidden
        .iter()
        .map(|sequence| {
            let tap = tap.as_deref_mut().map(|tap| tap as &mut dyn Tap);
            decoder.block(layer, sequence, tap).map_err(|source| PrepareError::Forward { layer, source })
        })
        .collect()
}

/// The statistics of the named projections' inputs, and the block's outputs.
pub(crate) fn collect(
    decoder: &Decoder,
    layer: usize,
    hidden: &[Tensor],
    needs: Needs,
    projections: &[Projection],
) -> Result<(Statistics, Vec<Tensor>), PrepareError> {
    let mut statistics = Statistics::new();
    for &projection in projections {
        if let Some(linear) = decoder.linear(layer, projection) {
            statistics.entry(input_of(projection)).or_insert_with(|| LinearStatistics::new(linear.cols(), needs));
        }
    }
    let mut collector = Collector { statistics, failure: None };
    let outputs = forward(decoder, layer, hidden, Some(&mut collector))?;
    match collector.failure {
        Some(error) => Err(error),
        None => Ok((collector.statistics, outputs)),
    }
}

/// Sums up the inputs of linear maps as they pass.
pub(crate) struct Collector {
    statistics: Statistics,
    failure: Option<PrepareError>,
}

impl Tap for Collector {
    fn linear_input(&mut self, layer: usize, projection: Projection, x: &[f32]) {
        if self.failure.is_some() || input_of(projection) != projection {
            return;
        }
        if let Some(Err(source)) = self.statistics.get_mut(&projection).map(|statistics| statistics.add(x)) {
            self.failure = Some(PrepareError::Statistics { tensor: projection.tensor(layer), source });
        }
    }
}
