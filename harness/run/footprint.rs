//! The static probe: what the prepared weights are, counted on the result.

use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::linear::LinearOp;
use harness_model::weight::Weight;
use rayon::prelude::*;

use crate::parts::Part;
use crate::quantize::Taken;

/// Counts over the prunable maps of one layer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LayerFootprint {
    /// Weights.
    pub weights: u64,
    /// Zeros among them.
    pub zeros: u64,
    /// Sum of the squared differences from the dense model's weights.
    pub change: f64,
    /// Sum of the dense model's squared weights.
    pub norm: f64,
    /// The kurtosis of each matrix times its weights, where it was asked for.
    pub kurtosis: f64,
    /// Weights further than three standard deviations from the mean of their matrix, where they were asked for.
    pub outliers: u64,
}

/// What is counted beside zeros and bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting<'a> {
    /// The model that changes are measured from.
    pub dense: Option<&'a Decoder>,
    /// Whether the moments of weights are.
    pub moments: bool,
}

/// Counts over a prepared model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Footprint {
    /// Weights of the prunable maps as they are held: of factors, where they are factors.
    pub prunable: u64,
    /// Weights of the matrices that those stand for.
    pub whole: u64,
    /// Weights of the matrices among them that are held as factors.
    pub factored: u64,
    /// Zeros among them.
    pub prunable_zeros: u64,
    /// All parameters.
    pub parameters: u64,
    /// Zeros among all parameters.
    pub zeros: u64,
    /// Bytes of all weights as held.
    pub bytes: u64,
    /// Bytes of the prunable matrices when each takes the smaller of dense and bitmap-plus-values.
    pub prunable_stored: u64,
    /// Bytes of all other weights.
    pub others: u64,
    /// Bits of the prunable matrices as they are held.
    pub prunable_bits: u64,
    /// Weights of the prunable matrices that are held as packed codes, and the bits of those.
    pub packed: (u64, u64),
    /// Weights of factors beside a remainder, which neither pruning nor quantization changes, and their bits.
    pub beside: (u64, u64),
    /// Numbers that describe the prunable matrices by their zeros, or all their weights where those are fewer.
    pub described: f64,
    /// Counts of each layer. Their changes are counted only where a dense model was given.
    pub layers: Vec<LayerFootprint>,
}

impl Footprint {
    /// Counts a model, and what else is asked for.
    pub fn of(decoder: &Decoder, Counting { dense: dense_model, moments }: Counting) -> Self {
        let sites: Vec<(usize, Projection)> = (0..decoder.config().layers)
            .flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)))
            .collect();
        let prunable: Vec<(usize, Self, LayerFootprint)> = sites
            .par_iter()
            .filter_map(|&(layer, projection)| {
                let linear = decoder.linear(layer, projection)?;
                let original = dense_model.and_then(|model| model.linear(layer, projection));
                let (change, norm) =
                    original.map_or((0.0, 0.0), |original| change(&linear.weight(), &original.weight()));
                let count = (linear.rows() * linear.cols()) as u64;
                let factored = if linear.factored().is_some() { count } else { 0 };
                let mut whole = Self { whole: count, factored, ..Self::default() };
                let mut own = LayerFootprint { change, norm, ..LayerFootprint::default() };
                let changed = Part::changed(decoder, layer, projection);
                for part in Part::of(decoder, layer, projection) {
                    let before = (whole.prunable, whole.prunable_bits);
                    whole.add(part.map(decoder)?.as_ref(), &mut own, moments);
                    if !changed.contains(&part) {
                        whole.beside.0 += whole.prunable - before.0;
                        whole.beside.1 += whole.prunable_bits - before.1;
                    }
                }
                Some((layer, whole, own))
            })
            .collect();
        let mut sum = Self { layers: vec![LayerFootprint::default(); decoder.config().layers], ..Self::default() };
        for (layer, part, counts) in prunable {
            let own = &mut sum.layers[layer];
            own.weights += counts.weights;
            own.zeros += counts.zeros;
            own.change += counts.change;
            own.norm += counts.norm;
            own.kurtosis += counts.kurtosis;
            own.outliers += counts.outliers;
            sum.prunable += part.prunable;
            sum.whole += part.whole;
            sum.factored += part.factored;
            sum.prunable_zeros += part.prunable_zeros;
            sum.zeros += part.zeros;
            sum.prunable_stored += part.prunable_stored;
            sum.prunable_bits += part.prunable_bits;
            sum.bytes += part.bytes;
            sum.described += part.described;
            sum.beside = (sum.beside.0 + part.beside.0, sum.beside.1 + part.beside.1);
            sum.packed = (sum.packed.0 + part.packed.0, sum.packed.1 + part.packed.1);
        }
        for weight in decoder.other_weights() {
            sum.zeros += weight.zeros() as u64;
            sum.bytes += weight.stored_bytes() as u64;
            sum.others += weight.stored_bytes() as u64;
            sum.parameters += (weight.rows() * weight.cols()) as u64;
        }
        if let Some(head) = decoder.replaced_head() {
            sum.bytes += head.stored_bytes() as u64;
            // A tied head's weights are those of the embedding and count once.
            sum.parameters += if decoder.config().tied_head { 0 } else { (head.rows() * head.cols()) as u64 };
        }
        sum.parameters += sum.prunable;
        sum
    }

    /// Adds one matrix.
    fn add(&mut self, map: &dyn LinearOp, own: &mut LayerFootprint, moments: bool) {
        let weight = map.weight();
        let (count, zeros) = ((weight.rows() * weight.cols()) as u64, weight.zeros() as u64);
        let (size, held) = (weight.dtype().size() as u64, map.stored_bytes() as u64);
        let (dense, sparse) = (count * size, count.div_ceil(8) + (count - zeros) * size);
        let packed = map.packed().is_some();
        self.prunable += count;
        self.prunable_zeros += zeros;
        self.zeros += zeros;
        self.bytes += held;
        self.prunable_stored += if packed { held } else { dense.min(sparse) };
        self.prunable_bits += 8 * dense;
        self.described += described(&weight);
        if packed {
            self.packed = (self.packed.0 + count, self.packed.1 + 8 * held);
        }
        own.weights += count;
        own.zeros += zeros;
        if moments {
            let (kurtosis, outliers) = shape(&weight);
            own.kurtosis += kurtosis * count as f64;
            own.outliers += outliers;
        }
    }

    /// Bytes of all weights: those of quantized matrices by their codes, the rest as it is stored best.
    pub fn bytes_stored(&self, taken: Option<&Taken>) -> f64 {
        let prunable = match taken {
            Some(taken) => {
                let (weights, bits) = (self.prunable - self.beside.0, self.prunable_bits - self.beside.1);
                let left = (weights - taken.weights) as f64 / weights.max(1) as f64;
                ((taken.bits.total() + self.beside.1) as f64 + left * bits as f64) / 8.0
            }
            None => self.prunable_stored as f64,
        };
        let head = taken.and_then(|taken| taken.head).map_or(0, |head| head.bits);
        prunable + self.others as f64 + head as f64 / 8.0
    }

    /// Bits a weight of the quantized matrices (of all prunable ones where none is), those of factors beside them included, and of the whole model with 16 bits for
    /// every weight that is not quantized.
    pub fn bits_per_weight(&self, taken: Option<&Taken>) -> (f64, f64) {
        // A model that was loaded as packed codes is quantized already.
        let (weights, bits) = taken.map_or(self.packed, |taken| (taken.weights, taken.bits.total()));
        let linear = match weights {
            0 => self.prunable_bits as f64 / self.prunable.max(1) as f64,
            _ => (bits + self.beside.1) as f64 / weights as f64,
        };
        let head = taken.and_then(|taken| taken.head).unwrap_or_default();
        let others = 16.0 * (self.parameters - weights - head.own_weights) as f64;
        (linear, ((bits + head.bits) as f64 + others) / self.parameters.max(1) as f64)
    }

    /// Zero share of the prunable weights.
    pub fn sparsity(&self) -> f64 {
        self.prunable_zeros as f64 / self.prunable.max(1) as f64
    }

    /// Squared change of the prunable weights over their squared norm in the dense model.
    pub fn weight_error(&self) -> f64 {
        let (change, norm) =
            self.layers.iter().fold((0.0, 0.0), |sum, layer| (sum.0 + layer.change, sum.1 + layer.norm));
        if norm > 0.0 { change / norm } else { 0.0 }
    }

    /// A generalisation bound that counts parameters, over that of the same matrices without zeros: the root of the ratio of the counts.
    pub fn bound_ratio(&self) -> f64 {
        (self.described / self.prunable.max(1) as f64).sqrt()
    }

    /// The kurtosis of the matrices, averaged over their weights.
    pub fn kurtosis(&self) -> f64 {
        self.layers.iter().map(|layer| layer.kurtosis).sum::<f64>() / self.prunable.max(1) as f64
    }

    /// Share of weights further than three standard deviations from the mean of their matrix.
    pub fn outlier_share(&self) -> f64 {
        self.layers.iter().map(|layer| layer.outliers).sum::<u64>() as f64 / self.prunable.max(1) as f64
    }

    /// Zero share of all parameters.
    pub fn sparsity_total(&self) -> f64 {
        self.zeros as f64 / self.parameters.max(1) as f64
    }
}

/// Squared differences of a matrix from another of its shape, and the squares of the other, summed in f64. A matrix of
/// another shape counts as one of zeros.
fn change(weight: &Weight, original: &Weight) -> (f64, f64) {
    let (new, old) = (weight.to_f32(), original.to_f32());
    let square = |value: f32| f64::from(value) * f64::from(value);
    let norm: f64 = old.iter().map(|value| square(*value)).sum();
    let same = (weight.rows(), weight.cols()) == (original.rows(), original.cols());
    let change = if same { new.iter().zip(&old).map(|(a, b)| square(a - b)).sum() } else { norm };
    (change, norm)
}

/// The least of three counts that describe a matrix of `d` rows or columns, whichever are more: its weights, `z ln d` for `z` weights that are not zero and their
/// places, and `r c d ln² d`, the size of a sketch from both sides that a matrix with at most `r` such weights a row and `c` a column is recovered from.
fn described(weight: &Weight) -> f64 {
    let (rows, cols) = (weight.rows(), weight.cols());
    let (mut widest, mut columns, mut all) = (0usize, vec![0usize; cols], 0usize);
    for row in weight.to_f32().chunks_exact(cols.max(1)) {
        let mut own = 0;
        for (column, _) in columns.iter_mut().zip(row).filter(|(_, value)| **value != 0.0) {
            *column += 1;
            own += 1;
        }
        widest = widest.max(own);
        all += own;
    }
    let highest = columns.into_iter().max().unwrap_or(0);
    let side = rows.max(cols).max(2) as f64;
    let sketch = (widest * highest) as f64 * side * side.ln().powi(2);
    ((rows * cols) as f64).min(all as f64 * side.ln()).min(sketch)
}

/// Kurtosis of a matrix' weights, and how many lie further than three standard deviations from their mean, summed in f64;
/// zeros where all weights are equal.
fn shape(weight: &Weight) -> (f64, u64) {
    let values = weight.to_f32();
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let (mut second, mut fourth) = (0.0, 0.0);
    for value in &values {
        let square = (f64::from(*value) - mean).powi(2);
        second += square;
        fourth += square * square;
    }
    let variance = second / count;
    if variance <= 0.0 {
        return (0.0, 0);
    }
    let beyond = values.iter().filter(|value| (f64::from(**value) - mean).powi(2) > 9.0 * variance).count();
    (fourth / count / (variance * variance), beyond as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_weights_is_known() {
        let of = |values: Vec<f32>| shape(&Weight::from_f32(1, values.len(), values));
        // Two values at equal shares have the least kurtosis there is, 1.
        assert_eq!(of(vec![1.0, -1.0, 1.0, -1.0]), (1.0, 0));
        assert_eq!(of(vec![2.5; 8]), (0.0, 0));
        // One weight of 1 among n − 1 zeros: kurtosis (n − 1) + 1 / (n − 1) − 1.
        let mut lone = vec![0.0; 101];
        lone[7] = 1.0;
        let (kurtosis, outliers) = of(lone);
        assert!((kurtosis - 99.01).abs() < 1e-9 && outliers == 1, "{kurtosis} {outliers}");
    }

    #[test]
    fn zeros_describe_a_matrix_in_fewer_numbers() {
        let of = |keep: &dyn Fn(usize, usize) -> bool| {
            let values = (0..64 * 64).map(|at| f32::from(u8::from(keep(at / 64, at % 64)))).collect();
            described(&Weight::from_f32(64, 64, values))
        };
        assert_eq!(of(&|_, _| true), 4096.0);
        assert_eq!(of(&|row, column| (row + column) % 2 == 0), 4096.0);
        assert!((of(&|row, column| (row + column) % 8 == 0) - 512.0 * 64f64.ln()).abs() < 1e-9);
        assert!((of(&|row, column| row == column) - 64.0 * 64f64.ln()).abs() < 1e-9);
        assert_eq!(of(&|_, _| false), 0.0);
    }

    #[test]
    fn the_change_of_a_matrix_is_known() {
        let of = |values: &[f32]| Weight::from_f32(1, values.len(), values.to_vec());
        assert_eq!(change(&of(&[1.0, 0.0, 3.0]), &of(&[1.0, 2.0, 4.0])), (5.0, 21.0));
        assert_eq!(change(&of(&[1.0]), &of(&[1.0, 2.0])), (5.0, 5.0));
    }
}
