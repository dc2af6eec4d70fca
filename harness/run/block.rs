//! A block of a decoder as methods see it, and the moves inside it that they ask for.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use harness_methods::block::{BlockMatrix, CalibratedBlock, Fold, Map, Part, Producer};
use harness_methods::prune::PruneError;
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::ops::add;
use harness_model::replace::BlockNorm;
use harness_model::tensor::{Tensor, with_values};
use harness_model::weight::Weight;

use crate::calibrate::{Statistics, input_of};

/// The projection that a map is.
fn projection(map: Map) -> Projection {
    Projection::ALL[map as usize]
}

/// A block that is about to be changed.
pub(crate) struct BlockView<'a> {
    decoder: &'a Decoder,
    layer: usize,
    /// Inputs of the block, some sequences in each tensor.
    hidden: &'a [Tensor],
    statistics: &'a Statistics,
    /// What attention adds to each, as the block is.
    attended: OnceCell<Vec<Tensor>>,
    /// Inputs of the feed-forward part, and what that adds.
    fed: OnceCell<Vec<(Tensor, Tensor)>>,
}

impl<'a> BlockView<'a> {
    pub fn new(decoder: &'a Decoder, layer: usize, hidden: &'a [Tensor], statistics: &'a Statistics) -> Self {
        Self { decoder, layer, hidden, statistics, attended: OnceCell::new(), fed: OnceCell::new() }
    }

    fn attended(&self) -> Result<&[Tensor], ModelError> {
        if self.attended.get().is_none() {
            let all = self.hidden.iter().map(|hidden| self.decoder.attention_of(self.layer, hidden));
            let _ = self.attended.set(all.collect::<Result<_, _>>()?);
        }
        Ok(self.attended.get().map_or(&[], Vec::as_slice))
    }

    fn fed(&self) -> Result<&[(Tensor, Tensor)], ModelError> {
        if self.fed.get().is_none() {
            let pair = |(hidden, attended): (&Tensor, &Tensor)| {
                let input = add(hidden, attended)
                    .map_err(|source| ModelError::Compute { what: "adding attention".to_owned(), source })?;
                let output = self.decoder.feed_forward_of(self.layer, &input)?;
                Ok((input, output))
            };
            let all = self.hidden.iter().zip(self.attended()?).map(pair).collect::<Result<_, ModelError>>()?;
            let _ = self.fed.set(all);
        }
        Ok(self.fed.get().map_or(&[], Vec::as_slice))
    }

    fn difference(&self, part: Part, changed: &Decoder) -> Result<f64, ModelError> {
        let (mut sum, mut count) = (0.0, 0);
        let mut compare = |was: &Tensor, is: &Tensor| {
            count += was.elem_count();
            let sequence = was.dims().iter().skip(1).product::<usize>().max(1);
            // Sequence by sequence, so that it does not matter how many go together.
            let mut add = |was: &[f32], is: &[f32]| {
                let pairs = was.chunks(sequence).zip(is.chunks(sequence));
                pairs.for_each(|(was, is)| sum += squared_distance(was, is));
            };
            let compared = with_values(was, |was| with_values(is, |is| add(was, is))).and_then(|inner| inner);
            compared.map_err(|source| ModelError::Compute { what: "comparing outputs".to_owned(), source })
        };
        match part {
            Part::Attention => {
                for (hidden, was) in self.hidden.iter().zip(self.attended()?) {
                    compare(was, &changed.attention_of(self.layer, hidden)?)?;
                }
            }
            Part::FeedForward => {
                for (input, was) in self.fed()? {
                    compare(was, &changed.feed_forward_of(self.layer, input)?)?;
                }
            }
        }
        Ok(sum / f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX)))
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
}

impl CalibratedBlock for BlockView<'_> {
    fn layer(&self) -> usize {
        self.layer
    }

    fn matrix(&self, map: Map) -> Option<BlockMatrix> {
        let linear = self.decoder.linear(self.layer, projection(map))?;
        let (name, values) = (projection(map).tensor(self.layer), linear.weight().to_f32());
        Some(BlockMatrix { name, rows: linear.rows(), cols: linear.cols(), values })
    }

    fn is_gated(&self) -> bool {
        self.decoder.config().gated
    }

    fn statistics(&self, map: Map) -> Option<&LinearStatistics> {
        self.statistics.get(&input_of(projection(map)))
    }

    fn error(&self, part: Part, weights: &[(Map, Vec<f32>)]) -> Result<f64, PruneError> {
        let mut changed = self.decoder.clone();
        for (map, values) in weights {
            let projection = projection(*map);
            let Some(linear) = changed.linear(self.layer, projection) else { continue };
            let weight = Weight::from_f32(linear.rows(), linear.cols(), values.clone());
            changed = changed.with_weight(self.layer, projection, weight);
        }
        self.difference(part, &changed).map_err(|error| PruneError::Refused(error.to_string()))
    }
}

/// The decoder with factors moved inside one block.
pub(crate) fn folded(decoder: &Decoder, layer: usize, folds: &[Fold]) -> Result<Decoder, ModelError> {
    let mut decoder = decoder.clone();
    for Fold { producer, consumers, factors } in folds {
        decoder = match producer {
            Producer::AttentionNorm => decoder.with_norm_divided(layer, BlockNorm::Attention, factors)?,
            Producer::FeedForwardNorm => decoder.with_norm_divided(layer, BlockNorm::FeedForward, factors)?,
            Producer::Outputs(map) => decoder.with_outputs_divided(layer, projection(*map), factors)?,
        };
        for map in consumers {
            decoder = decoder.with_inputs_multiplied(layer, projection(*map), factors)?;
        }
    }
    Ok(decoder)
}

/// The statistics of what the maps of a block read after factors were moved.
pub(crate) fn divided(statistics: &Statistics, folds: &[Fold]) -> Statistics {
    let factors: BTreeMap<Projection, &Vec<f32>> = folds
        .iter()
        .flat_map(|fold| fold.consumers.iter().map(move |map| (input_of(projection(*map)), &fold.factors)))
        .collect();
    let one = |(projection, statistics): (&Projection, &LinearStatistics)| {
        let ones = vec![1.0; statistics.columns()];
        let factors = factors.get(projection).map_or(ones.as_slice(), |factors| factors.as_slice());
        (*projection, statistics.divided(factors))
    };
    statistics.iter().map(one).collect()
}

/// The standard deviation of the weights that make each input of a block's maps, by the map whose input it is: of the rows of
/// the map before, of both maps the greater where gate and up make it, and of the embedding before the first block.
pub(crate) fn producer_spreads(decoder: &Decoder, layer: usize) -> BTreeMap<Projection, Vec<f32>> {
    let rows = |layer: usize, projection: Projection| {
        let linear = decoder.linear(layer, projection)?;
        let (values, cols) = (linear.weight().to_f32(), linear.cols().max(1));
        Some(values.chunks_exact(cols).map(|row| deviation(row.iter().copied())).collect::<Vec<f32>>())
    };
    let config = decoder.config();
    let before = match layer.checked_sub(1) {
        Some(before) => rows(before, Projection::Down),
        None => decoder.other_weights().first().map(|embedding| {
            let (values, cols) = (embedding.to_f32(), embedding.cols());
            (0..cols).map(|column| deviation(values.iter().skip(column).step_by(cols).copied())).collect()
        }),
    };
    // Several query heads read one head of values.
    let shared = config.heads / config.kv_heads.max(1);
    let attended = rows(layer, Projection::V).map(|spread| {
        let heads = spread.chunks(config.head_dim.max(1));
        heads.flat_map(|head| std::iter::repeat_n(head, shared.max(1)).flatten().copied()).collect()
    });
    let inner = rows(layer, Projection::Up).map(|up| match rows(layer, Projection::Gate) {
        Some(gate) => up.iter().zip(gate).map(|(up, gate)| up.max(gate)).collect(),
        None => up,
    });
    let reads = decoder.reads(layer);
    [
        (Projection::Q, before.map(|spread| reads.attention.of_stream(&spread))),
        (Projection::O, attended),
        (Projection::Up, rows(layer, Projection::O).map(|spread| reads.feed_forward.of_stream(&spread))),
        (Projection::Down, inner),
    ]
    .into_iter()
    .filter_map(|(projection, spread)| Some((projection, spread?)))
    .collect()
}

/// The standard deviation of some numbers.
fn deviation(values: impl Iterator<Item = f32> + Clone) -> f32 {
    let (count, sum) = values.clone().fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + f64::from(x)));
    let mean = sum / f64::max(count, 1.0);
    let squares: f64 = values.map(|x| (f64::from(x) - mean).powi(2)).sum();
    (squares / f64::max(count, 1.0)).sqrt() as f32
}
