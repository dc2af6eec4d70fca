//! Products of turned inputs with codes of turned weights.

use std::sync::Arc;

use harness_kernels::packed::{Activations, Bytes, PackedMatrix, packed_linear, packed_linear_rounded};
use harness_kernels::{MatrixRef, matmul_nt};
use rayon::prelude::*;

use super::grid::nearest_whole;
use super::hadamard::Turn;
use super::operator::{Operator, Operators};
use super::rounded::{largest_code, part, written_out};
use super::{QuantError, Quantized};
use crate::prune::Site;

harness_core::choice! {
    /// What turned inputs are rounded to, symmetrically, with one scale for a token and each group of weights.
    pub enum InputBits {
        /// Nothing.
        Full = "full",
        /// Eight bits.
        Eight = "int8",
        /// Four bits.
        Four = "int4",
    }
}

impl InputBits {
    fn bits(self) -> Option<u32> {
        match self {
            Self::Full => None,
            Self::Eight => Some(8),
            Self::Four => Some(4),
        }
    }
}

/// How the inputs and outputs of a map are turned.
#[derive(Debug, Clone)]
pub(crate) struct TurnedMap {
    pub name: String,
    pub rows: usize,
    pub cols: usize,
    /// Weights that share a scale.
    pub group: usize,
    pub inputs: Turn,
    /// `None` where rows are not turned.
    pub outputs: Option<Turn>,
    pub rounded: InputBits,
}

impl TurnedMap {
    /// Turned weights as they were before.
    pub fn turned_back(&self, turned: &[f32]) -> Vec<f32> {
        let mut values = turned.to_vec();
        if let Some(outputs) = &self.outputs {
            outputs.backward_columns(&mut values, self.cols);
        }
        self.inputs.backward(&mut values);
        values
    }

    fn turn(&self, x: &[f32]) -> Vec<f32> {
        let mut turned = x.to_vec();
        self.inputs.forward(&mut turned);
        turned
    }

    fn finish(&self, out: &mut [f32]) {
        if let Some(outputs) = &self.outputs {
            outputs.backward(out);
        }
    }

    /// Codes and scales of turned inputs, group by group.
    fn round(&self, x: &[f32], bits: u32) -> (Vec<i8>, Vec<f32>) {
        let largest = largest_code(bits);
        let scale = |group: &[f32]| group.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / largest;
        let scales: Vec<f32> = x.par_chunks(self.group).map(scale).collect();
        let mut codes = vec![0; x.len()];
        codes.par_chunks_mut(self.group).zip(x.par_chunks(self.group)).zip(&scales).for_each(|((codes, x), scale)| {
            let factor = if *scale > f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
            for (code, x) in codes.iter_mut().zip(x) {
                *code = nearest_whole(x * factor).clamp(-largest, largest) as i8;
            }
        });
        (codes, scales)
    }
}

#[derive(Debug)]
struct Fake {
    map: TurnedMap,
    /// Turned.
    values: Vec<f32>,
}

impl Operator for Fake {
    fn multiply(&self, x: &[f32], m: usize, out: &mut [f32]) {
        let mut turned = self.map.turn(x);
        if let Some(bits) = self.map.rounded.bits() {
            let (codes, scales) = self.map.round(&turned, bits);
            turned = written_out(&codes, self.map.group, &scales);
        }
        matmul_nt(&turned, MatrixRef::F32(&self.values), out, m, self.map.cols, self.map.rows);
        self.map.finish(out);
    }

    fn values(&self) -> Vec<f32> {
        self.map.turned_back(&self.values)
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.values)
    }
}

#[derive(Debug)]
struct Packed {
    map: TurnedMap,
    matrix: PackedMatrix,
}

impl Operator for Packed {
    fn multiply(&self, x: &[f32], m: usize, out: &mut [f32]) {
        let turned = self.map.turn(x);
        match self.map.rounded.bits() {
            None => packed_linear(&turned, m, &[part(&self.matrix, Activations::Full)], &mut [&mut *out]),
            Some(bits) => {
                let (codes, scales) = self.map.round(&turned, bits);
                let bytes = Bytes::of_codes(codes, scales, m, self.map.cols, self.map.group);
                packed_linear_rounded(&bytes, m, &[part(&self.matrix, Activations::Int8)], &mut [&mut *out]);
            }
        }
        self.map.finish(out);
    }

    fn values(&self) -> Vec<f32> {
        self.map.turned_back(&self.matrix.dequantise())
    }

    fn bytes(&self) -> usize {
        self.matrix.bytes()
    }
}

/// Both ways of multiplying a turned map.
#[derive(Debug)]
pub(crate) struct TurnedOperators {
    pub map: TurnedMap,
    /// The turned matrix, quantized.
    pub turned: Quantized,
}

impl Operators for TurnedOperators {
    fn fake(&self) -> Arc<dyn Operator> {
        Arc::new(Fake { map: self.map.clone(), values: self.turned.values.clone() })
    }

    fn packed(&self) -> Result<Arc<dyn Operator>, QuantError> {
        let (rows, cols) = (self.map.rows, self.map.cols);
        let matrix = self.turned.pack(&Site { name: &self.map.name, layer: 0, rows, cols })?;
        Ok(Arc::new(Packed { map: self.map.clone(), matrix }))
    }

    fn integer_bits(&self) -> Option<u32> {
        let weights = self.turned.packing.as_ref().map_or(8, |packing| packing.bits);
        self.map.rounded.bits().map(|bits| bits.max(weights))
    }

    fn products(&self) -> u64 {
        self.turned.codes.len() as u64
    }
}
