//! Checkpoints with random weights that tests of other shapes of decoders share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::config::Config;
use crate::decoder::Decoder;
use crate::load::{Checkpoint, expected_tensors};
use crate::weight::{DType, Weight};

/// A checkpoint of a configuration, always the same, and its decoder: matrices within ± 0.3, vectors within ± `spread` of one.
pub(crate) fn made(config: Config, dtype: DType, spread: f32) -> (Checkpoint, Decoder) {
    let mut state = 5_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let tensors: BTreeMap<String, Weight> = expected_tensors(&config)
        .map(|spec| {
            let values: Vec<f32> =
                (0..spec.len()).map(|_| if spec.vector { 1.0 + spread * next() } else { 0.3 * next() }).collect();
            (spec.name.clone(), Weight::rounded(spec.rows, spec.cols, &values, dtype))
        })
        .collect();
    let checkpoint = Checkpoint::new(config, tensors, None).unwrap();
    let decoder = Decoder::from_checkpoint(&checkpoint).unwrap();
    (checkpoint, decoder)
}
