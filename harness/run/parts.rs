//! The matrices that the linear maps of a model are held as: one each, or the factors of one.

use std::sync::Arc;

use harness_methods::prune::Needs;
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::linear::LinearOp;

use crate::calibrate::PrepareError;

/// A matrix of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub layer: usize,
    pub projection: Projection,
    /// Which factor it is, in the order they are applied to inputs; `None` for a map of one matrix.
    pub factor: Option<usize>,
}

impl Part {
    /// The matrices of one map; none where the block has no such map.
    pub fn of(decoder: &Decoder, layer: usize, projection: Projection) -> Vec<Self> {
        let Some(linear) = decoder.linear(layer, projection) else { return Vec::new() };
        match linear.factored() {
            None => vec![Self { layer, projection, factor: None }],
            Some(factored) => {
                let each = |factor| Self { layer, projection, factor: Some(factor) };
                (0..factored.steps().len()).map(each).collect()
            }
        }
    }

    /// All matrices in the order in which a walk meets them.
    pub fn all(decoder: &Decoder) -> Vec<Self> {
        let maps = (0..decoder.config().layers).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)));
        maps.flat_map(|(layer, projection)| Self::of(decoder, layer, projection)).collect()
    }

    /// Its name: the map's tensor, or that with the number of the factor.
    pub fn tensor(self) -> String {
        let whole = self.projection.tensor(self.layer);
        match (self.factor, whole.strip_suffix(".weight")) {
            (Some(factor), Some(module)) => format!("{module}.factors.{factor}.weight"),
            _ => whole,
        }
    }

    /// The map of this matrix alone.
    pub fn map(self, decoder: &Decoder) -> Option<&Arc<dyn LinearOp>> {
        let linear = decoder.linear(self.layer, self.projection)?;
        match self.factor {
            None => Some(linear),
            Some(factor) => Some(&linear.factored()?.steps().get(factor)?.map),
        }
    }

    /// The decoder with another map in its place. A factor has no bias.
    ///
    /// # Errors
    /// Those of replacing maps.
    pub fn replaced(self, decoder: &Decoder, map: &Arc<dyn LinearOp>) -> Result<Decoder, ModelError> {
        let whole = match (self.factor, decoder.linear(self.layer, self.projection).and_then(|map| map.factored())) {
            (Some(factor), Some(factored)) => {
                let changed = factored.with_maps(|at, old| Arc::clone(if at == factor { map } else { old }))?;
                Arc::new(changed) as Arc<dyn LinearOp>
            }
            _ => Arc::clone(map),
        };
        decoder.with_linear(self.layer, self.projection, whole)
    }

    /// The sums over its own inputs, out of those over the map's: what the factors before it make of these.
    pub fn statistics(self, decoder: &Decoder, of_map: &LinearStatistics) -> Option<LinearStatistics> {
        let before = (0..self.factor?).map(|factor| Self { factor: Some(factor), ..self });
        let mut own = None;
        for part in before {
            let map = part.map(decoder)?;
            own = Some(own.as_ref().unwrap_or(of_map).mapped(&map.weight().to_f32())?);
        }
        own
    }
}

/// Whether a map of the model is held as factors.
pub(crate) fn any_factored(decoder: &Decoder) -> bool {
    Part::all(decoder).iter().any(|part| part.factor.is_some())
}

/// What has to be summed up for a method that reads `needs` of every matrix: the inputs of second factors have squares only
/// where the map's have a second moment.
pub(crate) fn widened(decoder: &Decoder, needs: Needs) -> Needs {
    if needs.column_norms && any_factored(decoder) { needs.union(Needs::SECOND_MOMENT) } else { needs }
}

/// Why a method that reads `needs` cannot be applied to the factors of a model.
pub(crate) fn check_factors(decoder: &Decoder, needs: Needs) -> Result<(), PrepareError> {
    for part in Part::all(decoder).into_iter().filter(|part| part.factor.is_some()) {
        let refused = |why| Err(PrepareError::Factors { tensor: part.projection.tensor(part.layer), why });
        if needs.magnitudes || needs.samples || needs.producers {
            return refused("of whose own inputs only squares and products are known");
        }
        let linear = decoder.linear(part.layer, part.projection);
        let train =
            linear.and_then(|map| map.factored()).is_some_and(|map| map.steps().iter().any(|step| step.width > 1));
        if needs.any() && train {
            return refused("a tensor train, whose cores read no inputs of the map alone");
        }
    }
    Ok(())
}
