//! Maps whose loud inputs are multiplied in floating point, and all others as integers.

use std::sync::Arc;

use half::f16;
use harness_kernels::packed::PackedMatrix;
use harness_kernels::{MatrixRef, matmul_nt};

use super::QuantError;
use super::operator::{Operator, Operators};
use super::rounded::{RoundedMap, Saturation, multiply_packed, written_out};

/// A map in eight bits whose outlier inputs are multiplied in floating point.
#[derive(Debug, Clone)]
pub(crate) struct Mixed {
    pub site: String,
    pub map: RoundedMap,
    /// From what magnitude on an input is an outlier; 0 for none ever.
    pub threshold: f32,
    /// All weights in half precision, where those of outliers are not what the codes stand for.
    pub half: Option<Arc<[f16]>>,
}

impl Mixed {
    /// Columns with an outlier in any token.
    fn outliers(&self, x: &[f32]) -> Vec<usize> {
        if self.threshold == 0.0 {
            return Vec::new();
        }
        let mut loud = vec![false; self.map.cols];
        for row in x.chunks_exact(self.map.cols) {
            loud.iter_mut().zip(row).for_each(|(loud, x)| *loud |= x.abs() >= self.threshold);
        }
        (0..self.map.cols).filter(|&column| loud[column]).collect()
    }

    /// Codes of inputs without outliers.
    fn round(&self, x: &[f32], outliers: &[usize]) -> (Vec<i8>, Vec<f32>) {
        if outliers.is_empty() {
            return self.map.round(x, &Saturation::default());
        }
        // A token's scale leaves out its loud inputs; its quiet ones of a loud column count for it and are then left out.
        let quiet: Vec<f32> = x.iter().map(|&x| if x.abs() >= self.threshold { 0.0 } else { x }).collect();
        let (mut codes, scales) = self.map.round(&quiet, &Saturation::default());
        for row in codes.chunks_exact_mut(self.map.cols) {
            for &column in outliers {
                row[column] = 0;
            }
        }
        (codes, scales)
    }

    /// Adds the products of outliers with their columns of weights, `(rows, outliers)`.
    fn add_outliers(&self, x: &[f32], m: usize, outliers: &[usize], weights: &[f32], out: &mut [f32]) {
        if outliers.is_empty() {
            return;
        }
        let loud: Vec<f32> =
            x.chunks_exact(self.map.cols).flat_map(|row| outliers.iter().map(move |&column| row[column])).collect();
        let mut products = vec![0.0; out.len()];
        matmul_nt(&loud, MatrixRef::F32(weights), &mut products, m, outliers.len(), self.map.rows);
        out.iter_mut().zip(products).for_each(|(out, product)| *out += product);
    }

    fn half_columns(&self, outliers: &[usize]) -> Option<Vec<f32>> {
        let rows = self.half.as_ref()?.chunks_exact(self.map.cols);
        Some(rows.flat_map(|row| outliers.iter().map(move |&column| row[column].to_f32())).collect())
    }
}

/// With `Weights` as f32 or packed.
#[derive(Debug)]
struct Multiplied {
    mixed: Mixed,
    weights: Weights,
}

#[derive(Debug)]
enum Weights {
    Fake(Vec<f32>),
    Packed(PackedMatrix),
}

impl Operator for Multiplied {
    fn multiply(&self, x: &[f32], m: usize, out: &mut [f32]) {
        let (rows, cols) = (self.mixed.map.rows, self.mixed.map.cols);
        let outliers = self.mixed.outliers(x);
        let (codes, scales) = self.mixed.round(x, &outliers);
        let held = match &self.weights {
            Weights::Fake(values) => {
                let rounded = written_out(&codes, cols, &scales);
                matmul_nt(&rounded, MatrixRef::F32(values), out, m, cols, rows);
                values.chunks_exact(cols).flat_map(|row| outliers.iter().map(move |&column| row[column])).collect()
            }
            Weights::Packed(matrix) => {
                multiply_packed(matrix, codes, scales, m, out);
                matrix.columns(&outliers)
            }
        };
        let weights = self.mixed.half_columns(&outliers).unwrap_or(held);
        self.mixed.add_outliers(x, m, &outliers, &weights, out);
    }

    fn values(&self) -> Vec<f32> {
        match &self.weights {
            Weights::Fake(values) => values.clone(),
            Weights::Packed(matrix) => matrix.dequantise(),
        }
    }

    fn bytes(&self) -> usize {
        let half = self.mixed.half.as_ref().map_or(0, |half| size_of_val(&**half));
        half + match &self.weights {
            Weights::Fake(values) => size_of_val(&**values),
            Weights::Packed(matrix) => matrix.bytes(),
        }
    }
}

impl Operators for Mixed {
    fn fake(&self) -> Arc<dyn Operator> {
        Arc::new(Multiplied { mixed: self.clone(), weights: Weights::Fake(self.map.values()) })
    }

    fn packed(&self) -> Result<Arc<dyn Operator>, QuantError> {
        let weights = Weights::Packed(self.map.pack(&self.site)?);
        let map = RoundedMap { codes: Arc::new([]), ..self.map.clone() };
        Ok(Arc::new(Multiplied { mixed: Self { map, ..self.clone() }, weights }))
    }

    fn integer_bits(&self) -> Option<u32> {
        Some(self.map.bits)
    }

    fn products(&self) -> u64 {
        self.map.codes.len() as u64
    }
}
