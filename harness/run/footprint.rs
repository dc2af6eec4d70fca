//! The static probe: what the prepared weights are, counted on the result.

use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use rayon::prelude::*;

/// Counts over a prepared model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Weights of the prunable maps.
    pub prunable: u64,
    /// Zeros among them.
    pub prunable_zeros: u64,
    /// All parameters.
    pub parameters: u64,
    /// Zeros among all parameters.
    pub zeros: u64,
    /// Bytes of all weights as held.
    pub bytes: u64,
    /// Bytes when each prunable matrix takes the smaller of dense and bitmap-plus-values.
    pub bytes_stored: u64,
}

impl Footprint {
    /// Counts a model.
    pub fn of(decoder: &Decoder) -> Self {
        let sites: Vec<(usize, Projection)> = (0..decoder.config().layers)
            .flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)))
            .collect();
        let prunable: Vec<Self> = sites
            .par_iter()
            .filter_map(|&(layer, projection)| {
                let linear = decoder.linear(layer, projection)?;
                let weight = linear.weight();
                let count = (weight.rows() * weight.cols()) as u64;
                let zeros = weight.zeros() as u64;
                let size = weight.dtype().size() as u64;
                let dense = count * size;
                let sparse = count.div_ceil(8) + (count - zeros) * size;
                Some(Self {
                    prunable: count,
                    prunable_zeros: zeros,
                    parameters: count,
                    zeros,
                    bytes: dense,
                    bytes_stored: dense.min(sparse),
                })
            })
            .collect();
        let mut sum = Self::default();
        for part in prunable {
            sum.prunable += part.prunable;
            sum.prunable_zeros += part.prunable_zeros;
            sum.zeros += part.zeros;
            sum.bytes_stored += part.bytes_stored;
            sum.bytes += part.bytes;
        }
        for weight in decoder.other_weights() {
            sum.zeros += weight.zeros() as u64;
            sum.bytes += weight.stored_bytes() as u64;
            sum.bytes_stored += weight.stored_bytes() as u64;
            sum.parameters += (weight.rows() * weight.cols()) as u64;
        }
        sum.parameters += sum.prunable;
        sum
    }

    /// Zero share of the prunable weights.
    pub fn sparsity(&self) -> f64 {
        self.prunable_zeros as f64 / self.prunable.max(1) as f64
    }

    /// Zero share of all parameters.
    pub fn sparsity_total(&self) -> f64 {
        self.zeros as f64 / self.parameters.max(1) as f64
    }
}
