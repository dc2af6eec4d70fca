//! The matrices that the linear maps of a model are held as: one each, or the factors of one and what they leave of it.

use std::sync::Arc;

use harness_methods::prune::Needs;
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::linear::LinearOp;

use crate::calibrate::PrepareError;

/// What a matrix is of its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// All of it.
    Whole,
    /// A factor, in the order they are applied to inputs.
    Factor(usize),
    /// What is added to the product of the factors.
    Remainder,
}

/// A matrix of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub layer: usize,
    pub projection: Projection,
    pub piece: Piece,
}

impl Part {
    /// The matrices of one map; none where the block has no such map.
    pub fn of(decoder: &Decoder, layer: usize, projection: Projection) -> Vec<Self> {
        let Some(linear) = decoder.linear(layer, projection) else { return Vec::new() };
        let part = |piece| Self { layer, projection, piece };
        match linear.factored() {
            None => vec![part(Piece::Whole)],
            Some(factored) => {
                let factors = (0..factored.steps().len()).map(Piece::Factor);
                factors.chain(factored.remainder().map(|_| Piece::Remainder)).map(part).collect()
            }
        }
    }

    /// Those of one map that pruning and quantization change: all of them, or what factors leave alone.
    pub fn changed(decoder: &Decoder, layer: usize, projection: Projection) -> Vec<Self> {
        let mut parts = Self::of(decoder, layer, projection);
        if parts.iter().any(|part| part.piece == Piece::Remainder) {
            parts.retain(|part| part.piece == Piece::Remainder);
        }
        parts
    }

    /// All that pruning and quantization change, in the order in which a walk meets them.
    pub fn all_changed(decoder: &Decoder) -> Vec<Self> {
        let maps = (0..decoder.config().layers).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)));
        maps.flat_map(|(layer, projection)| Self::changed(decoder, layer, projection)).collect()
    }

    /// Whether it is of a map that is held as factors.
    pub fn is_of_factors(self) -> bool {
        self.piece != Piece::Whole
    }

    /// Its name: the map's tensor, or that with the number of the factor, or with what it is.
    pub fn tensor(self) -> String {
        let whole = self.projection.tensor(self.layer);
        let module = whole.strip_suffix(".weight").unwrap_or(&whole);
        match self.piece {
            Piece::Whole => whole,
            Piece::Factor(factor) => format!("{module}.factors.{factor}.weight"),
            Piece::Remainder => format!("{module}.remainder.weight"),
        }
    }

    /// The map of this matrix alone.
    pub fn map(self, decoder: &Decoder) -> Option<&Arc<dyn LinearOp>> {
        let linear = decoder.linear(self.layer, self.projection)?;
        match self.piece {
            Piece::Whole => Some(linear),
            Piece::Factor(factor) => Some(&linear.factored()?.steps().get(factor)?.map),
            Piece::Remainder => linear.factored()?.remainder(),
        }
    }

    /// The decoder with another map in its place. Neither a factor nor a remainder has a bias.
    ///
    /// # Errors
    /// Those of replacing maps.
    pub fn replaced(self, decoder: &Decoder, map: &Arc<dyn LinearOp>) -> Result<Decoder, ModelError> {
        let factored = decoder.linear(self.layer, self.projection).and_then(|map| map.factored());
        let whole: Arc<dyn LinearOp> = match (self.piece, factored) {
            (Piece::Factor(factor), Some(factored)) => {
                Arc::new(factored.with_maps(|at, old| Arc::clone(if at == factor { map } else { old }))?)
            }
            (Piece::Remainder, Some(factored)) => Arc::new(factored.clone().with_remainder(Arc::clone(map))?),
            _ => Arc::clone(map),
        };
        decoder.with_linear(self.layer, self.projection, whole)
    }

    /// The sums over its own inputs, out of those over the map's: what the factors before it make of these.
    pub fn statistics(self, decoder: &Decoder, of_map: &LinearStatistics) -> Option<LinearStatistics> {
        let Piece::Factor(own) = self.piece else { return None };
        let before = (0..own).map(|factor| Self { piece: Piece::Factor(factor), ..self });
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
    Part::all_changed(decoder).into_iter().any(Part::is_of_factors)
}

/// Whether methods that change the model's maps change factors.
fn any_factor(decoder: &Decoder) -> bool {
    Part::all_changed(decoder).iter().any(|part| matches!(part.piece, Piece::Factor(_)))
}

/// What has to be summed up for a method that reads `needs` of every matrix: the inputs of second factors have squares only
/// where the map's have a second moment.
pub(crate) fn widened(decoder: &Decoder, needs: Needs) -> Needs {
    if needs.column_norms && any_factor(decoder) { needs.union(Needs::SECOND_MOMENT) } else { needs }
}

/// Why a method that reads `needs` cannot be applied to the factors of a model.
pub(crate) fn check_factors(decoder: &Decoder, needs: Needs) -> Result<(), PrepareError> {
    for part in Part::all_changed(decoder).into_iter().filter(|part| part.is_of_factors()) {
        let refused = |why| Err(PrepareError::Factors { tensor: part.projection.tensor(part.layer), why });
        if part.piece == Piece::Remainder {
            if needs.magnitudes || needs.producers {
                return refused("beside whose remainder no inputs can be scaled");
            }
            continue;
        }
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
