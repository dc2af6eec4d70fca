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
        let arm = match spec.id {
            // Six rows have no Hadamard matrix.
            "rht" => "rht(group=32, sides=inputs)".to_owned(),
            id if small => format!("{id}(group=32)"),
            id => id.to_owned(),
        };
        arm.parse().unwrap()
    })
    .collect()
}

fn site(rows: usize, cols: usize) -> Site<'static> {
    Site { name: "blocks.0.up", layer: 0, rows, cols }
}

fn inputs(cols: usize) -> LinearStatistics {
    let needs = Needs { producers: false, column_norms: true, second_moment: true, magnitudes: true, samples: true };
    let mut statistics = LinearStatistics::new(cols, needs);
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
            // Flattening adds columns.
            let whole = found.codes.len() == weight.len() || arm.id == "flattenquant" && found.codes.len() > weight.len();
            prop_assert!(whole, "{}", arm);
            let most = weight.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
            prop_assert!(found.values.iter().all(|value| value.abs() <= 1.35 * most), "{}", arm);
            let bits = found.bits.total() as f64 / weight.len() as f64;
            prop_assert!((2.0..22.0).contains(&bits), "{} {}", arm, bits);
        }
    }

    #[test]
    fn a_power_of_two_changes_scales_only(weight in matrix(), power in -3i32..4) {
        let factor = (power as f32).exp2();
        let scaled: Vec<f32> = weight.iter().map(|weight| weight * factor).collect();
        // HQQ's power of the error is no scale of its own, nor is the root that smoothing takes.
        for arm in arms().into_iter().filter(|arm| arm.id != "hqq" && arm.id != "flattenquant") {
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
fn methods_that_look_at_inputs_refuse_to_work_without() {
    for arm in ["gptq(group=32)", "awq(group=32)", "smoothquant(inputs=static)", "flattenquant"] {
        let arm: Arm = arm.parse().unwrap();
        let error = quantizer(&arm).unwrap().quantize(&site(2, COLS), &[1.0; 2 * COLS], None).unwrap_err();
        assert!(matches!(error, QuantError::Input(PruneError::NoCalibration { .. })), "{arm}");
    }
    let proxy = quantizer(&"kbit(proxy=0.1)".parse().unwrap()).unwrap();
    let error = proxy.quantize(&site(2, COLS), &[1.0; 2 * COLS], None).unwrap_err();
    assert!(matches!(error, QuantError::NoProducers { .. }));
    let turned = quantizer(&"rht(group=-1)".parse().unwrap()).unwrap();
    let error = turned.quantize(&site(6, COLS), &[1.0; 6 * COLS], None).unwrap_err();
    assert!(matches!(error, QuantError::NoHadamard { order: 6, .. }), "{error}");
}

/// Inputs whose makers are spread most stay in half precision, the rest has a codebook.
#[test]
fn proxies_keep_the_columns_of_spread_makers() {
    let weight: Vec<f32> = (0..6 * COLS).map(|i| (i as f32 * 0.61).sin() * (1.0 + (i % 11) as f32)).collect();
    let spread: Vec<f32> = (0..COLS).map(|column| if column == 7 || column == 40 { 2.0 } else { 1.0 }).collect();
    let known = LinearStatistics::new(COLS, Needs::NOTHING).with_producer_spread(spread);
    let quantized =
        |arm: &str| quantizer(&arm.parse().unwrap()).unwrap().quantize(&site(6, COLS), &weight, Some(&known)).unwrap();
    let found = quantized("kbit(proxy=0.031)");
    let exact = |at: &usize| half::f16::from_f32(weight[*at]).to_f32() == found.values[*at];
    let (kept, others): (Vec<usize>, Vec<usize>) = (0..weight.len()).partition(|at| matches!(at % COLS, 7 | 40));
    assert!(kept.iter().all(exact));
    // The largest of each block is its own value too.
    assert!(others.iter().filter(|at| exact(at)).count() < others.len() / 20);
    let plain = quantized("kbit");
    assert_eq!(found.bits.codes - plain.bits.codes, 12 * 2 * 6);
    assert_eq!(found.bits.indices, 2 * 6);
}

/// What is done to inputs is the same in f32 and packed.
#[test]
fn operators_multiply_alike_packed_and_written_out() {
    let (rows, m) = (48, 40);
    let weight: Vec<f32> = (0..rows * COLS).map(|i| (i as f32 * 0.61).sin() * (1.0 + (i % 11) as f32)).collect();
    let x: Vec<f32> = (0..m * COLS).map(|i| (i as f32 * 0.37).cos() * if i % COLS == 9 { 9.0 } else { 1.0 }).collect();
    for arm in [
        "smoothquant",
        "smoothquant(inputs=tensor)",
        "smoothquant(inputs=static, weights=tensor)",
        "llm-int8",
        "llm-int8(outlier_weight=fp16)",
        "llm-int8(threshold=0)",
        "flattenquant(criterion=all4)",
        "flattenquant(criterion=all8, rounding=gptq)",
        "rht(group=32)",
        "rht(group=32, inputs=int8)",
        "rht(group=-1, bits=8, inputs=int8, mode=asym)",
        "rht(group=32, inputs=int4, sides=inputs)",
    ] {
        let arm: Arm = arm.parse().unwrap();
        let found = quantizer(&arm).unwrap().quantize(&site(rows, COLS), &weight, Some(&inputs(COLS))).unwrap();
        let operators = found.operators.unwrap();
        let (fake, packed) = (operators.fake(), operators.packed().unwrap());
        for m in [1, m] {
            let (mut a, mut b) = (vec![0.0; m * rows], vec![f32::NAN; m * rows]);
            fake.multiply(&x[..m * COLS], m, &mut a);
            packed.multiply(&x[..m * COLS], m, &mut b);
            let most = a.iter().fold(0.0_f32, |most, a| most.max(a.abs()));
            let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart <= 1e-5 * most, "{arm} {m}: {apart} of {most}");
        }
        let (one, other) = (fake.values(), packed.values());
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4), "{arm}");
        assert!(one.iter().zip(&found.values).all(|(a, b)| (a - b).abs() < 1e-4), "{arm}");
        assert!(packed.bytes() > 0 && operators.products() >= (rows * COLS) as u64);
    }
}

/// No outlier ever is plain rounding; all of them are the product itself.
#[test]
fn outlier_thresholds_have_two_ends_and_depend_on_the_batch() {
    let weight: Vec<f32> = (0..8 * COLS).map(|i| (i as f32 * 0.61).sin()).collect();
    let x: Vec<f32> = (0..3 * COLS).map(|i| (i as f32 * 0.37).cos() * if i == 9 { 9.0 } else { 1.0 }).collect();
    let outputs = |arm: &str, x: &[f32]| {
        let found = quantizer(&arm.parse().unwrap()).unwrap().quantize(&site(8, COLS), &weight, None).unwrap();
        let (m, mut out) = (x.len() / COLS, vec![0.0; x.len() / COLS * 8]);
        found.operators.unwrap().fake().multiply(x, m, &mut out);
        out
    };
    assert_eq!(outputs("llm-int8(threshold=1000)", &x), outputs("llm-int8(threshold=0)", &x));
    let exact: Vec<f32> = x
        .chunks(COLS)
        .flat_map(|x| weight.chunks(COLS).map(move |row| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>()))
        .collect();
    let all = outputs("llm-int8(threshold=0.000001, outlier_weight=fp16)", &x);
    assert!(all.iter().zip(&exact).all(|(a, b)| (a - b).abs() < 1e-2), "{all:?}");
    // The first token's outlier takes a column of the second token's with it.
    let (together, alone) = (outputs("llm-int8", &x), outputs("llm-int8", &x[COLS..2 * COLS]));
    assert_ne!(together[8..16], alone);
    // But the order of tokens changes nothing.
    let turned: Vec<f32> = x.chunks(COLS).rev().flatten().copied().collect();
    let back: Vec<f32> = outputs("llm-int8", &turned).chunks(8).rev().flatten().copied().collect();
    assert_eq!(together, back);
}

/// The example of the card: outlier column 2, codes, and both kinds of outlier weights.
#[test]
fn two_tokens_with_an_outlier_by_hand() {
    let x = [0.5, -1.0, 8.0, 0.25, 1.27, 0.3, -7.0, 0.1];
    let weight = [0.2, -0.5, 0.1, 0.4, 1.0, 0.25, -0.3, 0.05];
    for (kind, expected) in [
        ("int8_dequant", [1.489_77, -2.129_828, -0.543_819, 3.444_803]),
        ("fp16", [1.502_368, -2.136_127, -0.554_843, 3.450_315]),
    ] {
        let arm: Arm = format!("llm-int8(outlier_weight={kind})").parse().unwrap();
        let found = quantizer(&arm).unwrap().quantize(&site(2, 4), &weight, None).unwrap();
        assert_eq!(found.codes, [51, -127, 25, 102, 127, 32, -38, 6]);
        let mut out = [0.0; 4];
        found.operators.unwrap().fake().multiply(&x, 2, &mut out);
        // Half precision of the weights, where the card has exact ones.
        let within = if kind == "fp16" { 1e-3 } else { 1e-5 };
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < within), "{kind} {out:?}");
    }
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
        "kbit(proxy=0.3)",
        "kbit(proxy=-0.1)",
        "awq(bits=2)",
        "awq(group=0)",
        "awq(steps=1)",
        "awq(max_shrink=1)",
        "awq(max_shrink=0)",
        "smoothquant(alpha=1.5)",
        "smoothquant(inputs=row)",
        "smoothquant(weights=row)",
        "llm-int8(threshold=-1)",
        "llm-int8(outlier_weight=bf16)",
        "flattenquant(beta=0)",
        "flattenquant(gamma=0.5)",
        "flattenquant(alpha=2)",
        "flattenquant(max_expand=0.5)",
        "flattenquant(criterion=none)",
        "flattenquant(centre=mode)",
        "rht(bits=7)",
        "rht(bits=6, rounding=gptq)",
        "rht(inputs=int2)",
        "rht(sides=rows)",
        "rht(damp=0)",
    ] {
        assert!(quantizer(&bad.parse().unwrap()).is_err(), "{bad}");
    }
}
