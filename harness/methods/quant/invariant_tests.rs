//! What must hold of every quantizer.
#![allow(clippy::unwrap_used)]

use harness_core::{Arm, Axis};
use proptest::prelude::*;

use super::{QuantError, Quantized};
use crate::prune::{Needs, PruneError, Site};
use crate::registry::{methods, quantizer};
use crate::statistics::LinearStatistics;

const ROWS: usize = 6;
const COLS: usize = 64;

/// Arms of all quantizers on rows of 64.
fn arms() -> Vec<Arm> {
    let all = methods().into_iter().filter(|spec| spec.axis == Axis::Quant && spec.id != "none");
    all.map(|spec| {
        let small = spec.parameters.iter().any(|parameter| parameter.name == "group");
        (if small { format!("{}(group=32)", spec.id) } else { spec.id.to_owned() }).parse().unwrap()
    })
    .collect()
}

fn site(rows: usize, cols: usize) -> Site<'static> {
    Site { name: "blocks.0.up", layer: 0, rows, cols }
}

fn inputs(cols: usize) -> LinearStatistics {
    let mut statistics = LinearStatistics::new(cols, Needs::COLUMN_NORMS.union(Needs::SECOND_MOMENT));
    let x: Vec<f32> =
        (0..4 * cols * cols).map(|i| ((i * 7919 % 2003) as f32 / 1001.0 - 1.0) * (1.0 + (i % 5) as f32)).collect();
    statistics.add(&x).unwrap();
    statistics
}

fn quantize(arm: &Arm, weight: &[f32], cols: usize) -> Result<Quantized, QuantError> {
    quantizer(arm).unwrap().quantize(&site(weight.len() / cols, cols), weight, Some(&inputs(cols)))
}

fn matrix() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-2.0f32..2.0, ROWS * COLS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn values_are_finite_as_many_and_within_reach(weight in matrix()) {
        for arm in arms() {
            let found = quantize(&arm, &weight, COLS).unwrap();
            prop_assert_eq!(found.values.len(), weight.len());
            prop_assert_eq!(found.codes.len(), weight.len());
            let most = weight.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
            prop_assert!(found.values.iter().all(|value| value.abs() <= 1.35 * most), "{}", arm);
            let bits = found.bits.total() as f64 / weight.len() as f64;
            prop_assert!((2.0..18.0).contains(&bits), "{} {}", arm, bits);
        }
    }

    #[test]
    fn a_power_of_two_changes_scales_only(weight in matrix(), power in -3i32..4) {
        let factor = (power as f32).exp2();
        let scaled: Vec<f32> = weight.iter().map(|weight| weight * factor).collect();
        // HQQ's power of the error is no scale of its own.
        for arm in arms().into_iter().filter(|arm| arm.id != "hqq") {
            let (one, other) = (quantize(&arm, &weight, COLS).unwrap(), quantize(&arm, &scaled, COLS).unwrap());
            prop_assert_eq!(&one.codes, &other.codes, "{}", arm);
            prop_assert!(one.values.iter().zip(&other.values).all(|(a, b)| a * factor == *b), "{}", arm);
        }
    }

    #[test]
    fn what_a_grid_holds_stays(weight in matrix()) {
        // With scales that need no rounding and the same range, values are their own nearest.
        for arm in ["rtn(group=32, scales=f32, mode=sym)", "nf4", "fp4", "af4", "kbit(dtype=int)", "kbit(bits=5)"] {
            let arm: Arm = arm.parse().unwrap();
            let once = quantize(&arm, &weight, COLS).unwrap();
            let again = quantize(&arm, &once.values, COLS).unwrap();
            prop_assert_eq!(&once.codes, &again.codes, "{}", arm);
        }
    }

    #[test]
    fn rounding_to_a_grid_errs_by_half_a_step(weight in matrix(), bits in prop::sample::select(vec![2usize, 3, 4, 8])) {
        for (mode, room) in [("asym", 0.5), ("sym", 0.5), ("sym_full", 0.5)] {
            let arm: Arm = format!("rtn(group=16, bits={bits}, mode={mode}, scales=f32)").parse().unwrap();
            let found = quantize(&arm, &weight, COLS).unwrap();
            for ((weight, value), at) in weight.iter().zip(&found.values).zip(0..) {
                let step = found.scales[at / 16];
                // The zero point's rounding may cut an end of the range by another half step.
                let room = if mode == "asym" { 2.0 * room } else { room };
                prop_assert!((weight - value).abs() <= room * step * 1.0001, "{} {} {}", arm, weight, value);
            }
        }
    }

    #[test]
    fn double_quantization_changes_no_code(weight in matrix()) {
        for id in ["nf4", "fp4", "af4"] {
            let double: Arm = format!("{id}(double_quant=true)").parse().unwrap();
            let (single, double) = (quantize(&Arm::new(id), &weight, COLS).unwrap(), quantize(&double, &weight, COLS).unwrap());
            prop_assert_eq!(single.codes, double.codes);
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let weight: Vec<f32> = (0..200 * 128).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect();
    for arm in arms() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| quantize(&arm, &weight, 128).unwrap())
        };
        assert_eq!(on(1), on(3), "{arm}");
    }
}

#[test]
fn zeros_stay_zero_and_what_is_not_finite_is_refused() {
    for arm in arms() {
        let mut weight: Vec<f32> = (0..4 * COLS).map(|i| (i as f32 * 0.7).cos()).collect();
        weight[COLS..2 * COLS].fill(0.0);
        let found = quantize(&arm, &weight, COLS).unwrap();
        // Where errors are passed on, zeros do not stay: other weights of the row are zero as well, so they do.
        let zeros = &found.values[COLS..2 * COLS];
        assert!(zeros.iter().all(|value| *value == 0.0), "{arm} {zeros:?}");
        for bad in [f32::NAN, f32::INFINITY] {
            weight[70] = bad;
            let error = quantize(&arm, &weight, COLS).unwrap_err();
            assert!(matches!(error, QuantError::Input(PruneError::Weight { row: 1, column: 6, .. })), "{arm} {error}");
        }
    }
}

#[test]
fn groups_that_do_not_divide_are_refused_with_those_that_do() {
    let weight = vec![1.0; 2 * 288];
    for id in ["rtn", "gptq", "hqq"] {
        let arm: Arm = format!("{id}(group=128)").parse().unwrap();
        let error = quantize(&arm, &weight, 288).unwrap_err().to_string();
        assert_eq!(error, "blocks.0.up: groups of 128 do not divide 288 columns; 144, 96, 72, 48 do", "{id}");
    }
}

#[test]
fn gptq_needs_inputs() {
    let arm: Arm = "gptq(group=32)".parse().unwrap();
    let error = quantizer(&arm).unwrap().quantize(&site(2, COLS), &[1.0; 2 * COLS], None).unwrap_err();
    assert!(matches!(error, QuantError::Input(PruneError::NoCalibration { .. })));
}

/// Columns of inputs that have nothing to do with each other: nothing can be made up for.
#[test]
fn with_a_diagonal_hessian_gptq_is_rounding() {
    let weight: Vec<f32> = (0..5 * COLS).map(|i| (i as f32 * 0.61).sin()).collect();
    let mut statistics = LinearStatistics::new(COLS, Needs::SECOND_MOMENT);
    let x: Vec<f32> = (0..COLS * COLS).map(|i| if i % (COLS + 1) == 0 { 1.0 + (i % 3) as f32 } else { 0.0 }).collect();
    statistics.add(&x).unwrap();
    for settings in ["group=32", "group=-1", "group=32, mode=gptq_sym"] {
        let quantized = |id: &str| {
            let arm: Arm = format!("{id}({settings})").parse().unwrap();
            quantizer(&arm).unwrap().quantize(&site(5, COLS), &weight, Some(&statistics)).unwrap()
        };
        assert_eq!(quantized("gptq"), quantized("rtn"), "{settings}");
    }
}

#[test]
fn lazy_updates_change_no_code() {
    let weight: Vec<f32> = (0..40 * COLS).map(|i| (i as f32 * 0.61).sin() * (1.0 + (i % 11) as f32)).collect();
    for settings in ["group=32", "group=16", "group=-1", "group=32, act_order=true", "group=32, static_groups=true"] {
        let with = |block: usize| {
            let arm: Arm = format!("gptq({settings}, bits=3, block={block})").parse().unwrap();
            quantize(&arm, &weight, COLS).unwrap()
        };
        let whole = with(128);
        for block in [1, 7, 32] {
            assert_eq!(with(block).codes, whole.codes, "{settings} {block}");
        }
    }
}

#[test]
fn every_parameter_is_refused_outside_its_range() {
    for bad in [
        "rtn(bits=7)",
        "rtn(bits=1)",
        "rtn(group=0)",
        "rtn(group=-2)",
        "rtn(mode=half)",
        "rtn(scales=f64)",
        "nf4(block=48)",
        "nf4(block=8192)",
        "nf4(block=16)",
        "fp4(variant=e3m0)",
        "af4(block=128)",
        "kbit(bits=2)",
        "kbit(bits=9)",
        "kbit(exponent=4)",
        "kbit(dtype=int, exponent=2)",
        "kbit(block=8)",
        "kbit(center=row)",
        "gptq(bits=5)",
        "gptq(damp=0)",
        "gptq(damp=1.5)",
        "gptq(block=0)",
        "hqq(bits=7)",
        "hqq(p=0)",
        "hqq(p=1.5)",
        "hqq(beta=0)",
        "hqq(kappa=0.5)",
        "hqq(iterations=1)",
        "hqq(compat=v1)",
    ] {
        assert!(quantizer(&bad.parse().unwrap()).is_err(), "{bad}");
    }
}
