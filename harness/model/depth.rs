//! Decoders of fewer blocks, some of them sums of several.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, Projection};
use crate::decoder::{Block, Decoder};
use crate::error::ModelError;
use crate::linear::Dense;
use crate::load::Checkpoint;
use crate::weight::Weight;

/// A block of a shorter decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The block whose normalisations, biases and biases by distance it has.
    pub base: usize,
    /// Its matrices are the sum of those of these blocks, each times a number.
    pub mix: Vec<(usize, f64)>,
}

impl Layer {
    /// A block as it is.
    pub fn kept(block: usize) -> Self {
        Self { base: block, mix: vec![(block, 1.0)] }
    }
}

impl Decoder {
    /// The decoder of these blocks, numbered anew; what is kept as it is shares its weights. Sums are taken in f64 and held in the element type
    /// of the block they stand in.
    ///
    /// # Errors
    /// [`ModelError::Range`] for a block that is not there, [`ModelError::Config`] for none at all or a sum that its element type cannot hold.
    pub fn of_layers(&self, layers: &[Layer]) -> Result<Self, ModelError> {
        if layers.is_empty() {
            return Err(ModelError::Config("a decoder of no blocks was asked for".to_owned()));
        }
        let blocks = layers.iter().map(|layer| self.layer(layer)).collect::<Result<Vec<_>, _>>()?;
        let config = widths_of(self.config(), layers);
        Ok(Self { blocks, config: Arc::new(config), ..self.clone() })
    }

    fn layer(&self, layer: &Layer) -> Result<Arc<Block>, ModelError> {
        let Layer { base, mix } = layer;
        self.block_at(*base)?;
        for (block, _) in mix {
            self.block_at(*block)?;
        }
        let shared = &self.blocks[*base];
        if matches!(**mix, [(block, factor)] if block == *base && factor == 1.0) {
            return Ok(Arc::clone(shared));
        }
        if let Some((other, _)) = mix.iter().find(|(block, _)| self.reads(*block) != self.reads(*base)) {
            return Err(ModelError::Config(format!(
                "blocks {base} and {other} have no sum: they read different numbers of the stream"
            )));
        }
        let mut block = Block::clone(shared);
        for projection in Projection::ALL {
            let Some(map) = shared.projections[projection as usize].as_ref() else { continue };
            let (rows, cols, dtype) = (map.rows(), map.cols(), map.weight().dtype());
            let mut sum = vec![0.0_f64; rows * cols];
            for (from, factor) in mix {
                let Some(part) = self.linear(*from, projection) else { continue };
                if (part.rows(), part.cols()) != (rows, cols) {
                    let (of, with) = (projection.tensor(*base), projection.tensor(*from));
                    return Err(ModelError::Config(format!(
                        "{of} and {with} have no sum: blocks of unequal widths cannot be folded into one"
                    )));
                }
                let values = part.weight().to_f32();
                sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += factor * f64::from(*value));
            }
            let values: Vec<f32> = sum.into_iter().map(|value| value as f32).collect();
            let weight = Weight::rounded(rows, cols, &values, dtype);
            if weight.to_f32().iter().any(|value| !value.is_finite()) {
                let name = projection.tensor(*base);
                return Err(ModelError::Config(format!("{name} as a sum of blocks has numbers beyond {dtype:?}")));
            }
            block.projections[projection as usize] = Some(Arc::new(Dense::new(weight, map.bias())));
        }
        Ok(Arc::new(block))
    }

    /// Numbers of every parameter of a block.
    ///
    /// # Errors
    /// [`ModelError::Range`].
    pub fn block_parameters(&self, layer: usize) -> Result<Vec<Weight>, ModelError> {
        self.block_at(layer)?;
        let maps = Projection::ALL.into_iter().filter_map(|projection| self.linear(layer, projection));
        let small = self.small_tensors(layer).into_iter().map(|(_, weight)| weight);
        Ok(maps.map(|map| map.weight()).chain(small).collect())
    }
}

impl Checkpoint {
    /// The checkpoint of a shorter decoder that [`Decoder::of_layers`] made of this one's. Its hash stays that of what it was made of.
    #[must_use]
    pub fn shortened(&self, layers: &[Layer], decoder: &Decoder) -> Self {
        let own = |name: &str| -> Option<(usize, String)> {
            let (number, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
            Some((number.parse().ok()?, rest.to_owned()))
        };
        let renamed = |base: usize, at: usize, name: &str| {
            own(name).filter(|(layer, _)| *layer == base).map(|(_, rest)| format!("model.layers.{at}.{rest}"))
        };
        let mut short = self.clone();
        short.config = widths_of(&self.config, layers);
        short.tensors = self.tensors.iter().filter(|(name, _)| own(name).is_none()).map(cloned).collect();
        short.packed = self.packed.iter().filter(|(name, _)| own(name).is_none()).map(cloned).collect();
        for (at, Layer { base, mix }) in layers.iter().enumerate() {
            let renamed = |name: &str| renamed(*base, at, name);
            short.tensors.extend(self.tensors.iter().filter_map(|(name, w)| Some((renamed(name)?, w.clone()))));
            short.packed.extend(self.packed.iter().filter_map(|(name, w)| Some((renamed(name)?, w.clone()))));
            if matches!(**mix, [(block, factor)] if block == *base && factor == 1.0) {
                continue;
            }
            for projection in Projection::ALL {
                if let Some(map) = decoder.linear(at, projection) {
                    let name = projection.tensor(at);
                    short.packed.remove(&name);
                    short.tensors.insert(name, map.weight());
                }
            }
        }
        short
    }
}

/// A configuration of these blocks, as wide as they are.
fn widths_of(config: &Config, layers: &[Layer]) -> Config {
    let widths = layers.iter().map(|layer| config.width(layer.base)).collect();
    let reads = layers.iter().filter_map(|layer| config.reads.get(layer.base).cloned()).collect();
    Config { reads, ..config.with_widths(widths) }
}

fn cloned<V: Clone>((name, value): (&String, &V)) -> (String, V) {
    (name.clone(), value.clone())
}

/// The numbers of a parameter and the gradient of the loss by each.
pub type WithGradient = (Vec<f32>, Vec<f64>);

impl Decoder {
    /// Every parameter of every block, with the gradient by it of the mean over `windows` of each window's mean negative log-likelihood.
    ///
    /// Held in memory are the weights, all gradients in f64, and those of one window in f32.
    ///
    /// # Errors
    /// Those of a pass over the windows; [`ModelError::Windows`] for windows of fewer than two tokens.
    pub fn mean_gradients(&self, windows: &[Vec<u32>]) -> Result<Vec<Vec<WithGradient>>, ModelError> {
        let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        self.each_block_gradient(windows, &mut |_, name, gradient| {
            let sums = sums.entry(name.to_owned()).or_insert_with(|| vec![0.0; gradient.len()]);
            sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += f64::from(*g) / windows.len() as f64);
        })?;
        (0..self.blocks.len())
            .map(|layer| {
                let maps = Projection::ALL.into_iter().filter_map(|projection| {
                    Some((projection.tensor(layer), self.linear(layer, projection)?.weight()))
                });
                let all = maps.chain(self.small_tensors(layer)).map(|(name, weight)| {
                    let gradient = sums.remove(&name).unwrap_or_else(|| vec![0.0; weight.rows() * weight.cols()]);
                    (weight.to_f32(), gradient)
                });
                Ok(all.collect())
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "depth_tests.rs"]
mod tests;
