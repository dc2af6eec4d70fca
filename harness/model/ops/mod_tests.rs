#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use harness_kernels::rotary::Pairing;

use super::*;
use crate::config::{Activation, RopeStyle};
use crate::rope::Rope;

fn variable(dims: &[usize], phase: f32) -> Var {
    let count: usize = dims.iter().product();
    let values = (0..count).map(|i| (i as f32 * 0.917 + phase).sin()).collect::<Vec<_>>();
    Var::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// Checks the gradients of a weighted sum of `f` of each variable at a few places against central differences.
fn check(what: &str, variables: &[&Var], f: impl Fn() -> Tensor) {
    let weights = variable(f().dims(), 0.3);
    let objective = || (f() * weights.as_detached_tensor()).unwrap().sum_all().unwrap();
    let gradients = objective().backward().unwrap();
    for (index, variable) in variables.iter().enumerate() {
        let gradient = with_values(gradients.get(variable).unwrap(), <[f32]>::to_vec).unwrap();
        let values = with_values(variable, <[f32]>::to_vec).unwrap();
        for at in [0, values.len() / 2, values.len() - 1] {
            let shifted = |by: f32| {
                let mut moved = values.clone();
                moved[at] += by;
                variable.set(&Tensor::from_vec(moved, variable.shape(), &Device::Cpu).unwrap()).unwrap();
                f64::from(objective().to_scalar::<f32>().unwrap())
            };
            let expected = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            shifted(0.0);
            let found = f64::from(gradient[at]);
            assert!(
                (found - expected).abs() < 3e-3 * (1.0 + expected.abs()),
                "{what} {index}[{at}]: {found} {expected}"
            );
        }
    }
}

#[test]
fn every_operation_has_its_true_gradient() {
    let (x, y) = (variable(&[2, 3, 8], 0.1), variable(&[2, 3, 8], 0.7));
    let (scale, shift) = (variable(&[8], 1.1), variable(&[8], 2.2));
    check("rms norm", &[&x, &scale], || rms_norm(&x, &scale, 1e-5).unwrap());
    check("layer norm", &[&x, &scale, &shift], || layer_norm(&x, &scale, &shift, 1e-5).unwrap());
    check("part of rms norm", &[&x, &scale], || rms_norm_part(&x, &scale, 1e-5, 2..7).unwrap());
    check("part of layer norm", &[&x, &scale, &shift], || layer_norm_part(&x, &scale, &shift, 1e-5, 0..5).unwrap());
    check("columns", &[&x], || columns(&x, &Arc::from([0, 3, 4, 7])).unwrap());
    check("sum", &[&x, &y], || add(&x, &y).unwrap());
    for kind in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
        check("gated", &[&x, &y], || activate(kind, &x, Some(&y)).unwrap());
        check("plain", &[&x], || activate(kind, &x, None).unwrap());
    }
    for style in [RopeStyle::HalfSplit, RopeStyle::Interleaved] {
        let tables = Rope::new(10.0, 4, style).tables(9, 9);
        check("rotation", &[&x], || rotate(&x, &tables, 5, 4).unwrap());
        let pairing = if style == RopeStyle::HalfSplit { Pairing::HalfSplit } else { Pairing::Interleaved };
        let places = Arc::new(Places { places: Arc::new([0.0, 1.0, 2.5, 0.5, 3.0, 4.0]), pairing });
        let (tokens, frequencies) = (variable(&[1, 6, 8], 0.3), variable(&[2], 1.3));
        check("rotation by frequencies", &[&tokens, &frequencies], || {
            rotate_by(&tokens, &frequencies, &places, 4).unwrap()
        });
    }
    let (weight, bias) = (variable(&[5, 8], 0.4), variable(&[5], 0.9));
    check("linear", &[&x, &weight, &bias], || linear(&x, &weight, Some(&bias)).unwrap());
    check("linear without bias", &[&x, &weight], || linear(&x, &weight, None).unwrap());
    let keys = variable(&[2, 3, 4], 0.5);
    let values = variable(&[2, 3, 4], 0.6);
    let slopes: Arc<[f32]> = Arc::new([0.5, 0.25]);
    let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 4, scale: 0.5, slopes: Some(slopes), biases: None };
    check("attention", &[&x, &keys, &values], || attention(&x, &keys, &values, &shape).unwrap());
    let biases = variable(&[2, 3], 0.8);
    check("attention with biases", &[&x, &keys, &values, &biases], || {
        attention_with_biases(&x, &keys, &values, &biases, &shape).unwrap()
    });
    let matrix = variable(&[2, 3, 3], 0.7);
    let plain = AttentionShape { slopes: None, ..shape };
    check("attention with a matrix", &[&x, &keys, &values, &matrix], || {
        attention_with_matrix(&x, &keys, &values, &matrix, &plain).unwrap()
    });
    check("embedding", &[&weight], || embedding(&weight, &[1, 4, 1, 0]).unwrap());
    let logits = variable(&[4, 9], 0.2);
    check("cross-entropy", &[&logits], || cross_entropy(&logits, &[3, 0, 8, 3]).unwrap());
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let (x, weight) = (variable(&[2, 3, 8], 0.1), variable(&[5, 7], 0.4));
    assert!(linear(&x, &weight, None).is_err());
    assert!(embedding(&weight, &[5]).is_err());
    assert!(cross_entropy(&weight, &[0, 1, 2]).is_err());
    assert!(cross_entropy(&weight, &[7; 5]).is_err());
    assert!(activate(Activation::Silu, &x, Some(&weight)).is_err());
    let shape = AttentionShape { heads: 2, kv_heads: 2, head_dim: 4, scale: 0.5, slopes: None, biases: None };
    assert!(attention(&x, &weight.unsqueeze(0).unwrap(), &weight.unsqueeze(0).unwrap(), &shape).is_err());
}
