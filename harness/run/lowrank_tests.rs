//! Whole models with maps held as factors, alone and under pruning and quantization.

#![allow(clippy::unwrap_used)]

use harness_methods::registry;
use harness_model::config::{Activation, Config, NormKind, PositionScheme, RopeStyle};
use harness_model::load::expected_tensors;

use super::*;
use crate::calibrate::prune_streaming;
use crate::footprint::{Counting, Footprint};
use crate::parts::Part;
use crate::quantize::{Form, HeadFormat, Holding, quantize_all, quantize_streaming};
use harness_model::packed::Activations;

pub(crate) fn decoder(layers: usize, dtype: DType) -> Decoder {
    drawn(&small(layers), dtype)
}

pub(crate) fn small(layers: usize) -> Config {
    Config {
        architecture: "llama".to_owned(),
        vocab_size: 23,
        hidden_size: 64,
        intermediate_size: 96,
        layers,
        heads: 4,
        kv_heads: 1,
        head_dim: 16,
        max_positions: 64,
        norm: NormKind::Rms,
        norm_epsilon: 1e-5,
        activation: Activation::Silu,
        gated: true,
        scaling: None,
        position: PositionScheme::Rope { theta: 10_000.0, rotary: 16, style: RopeStyle::HalfSplit },
        qkv_bias: false,
        output_bias: false,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        mlp_bias: false,
        tied_head: true,
        bos: None,
        eos: vec![],
    }
}

/// A decoder of drawn weights.
pub(crate) fn drawn(config: &Config, dtype: DType) -> Decoder {
    let mut state = 11_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let tensors: BTreeMap<String, Weight> = expected_tensors(config)
        .map(|spec| {
            let values: Vec<f32> = (0..spec.len()).map(|_| if spec.vector { 1.0 } else { 0.2 * next() }).collect();
            (spec.name.clone(), Weight::rounded(spec.rows, spec.cols, &values, dtype))
        })
        .collect();
    Decoder::from_weights(config, &tensors).unwrap()
}

pub(crate) fn windows() -> Vec<Vec<u32>> {
    (0..6).map(|at| (0..48).map(|i| (i * (at + 3) + i * i / 5 + at) % 23).collect()).collect()
}

fn methods(arms: &[&str]) -> Vec<Box<dyn LowRank>> {
    arms.iter().map(|arm| registry::lowrank(&arm.parse().unwrap()).unwrap()).collect()
}

fn all(dense: &Decoder, arms: &[&str], order: CalibrationOrder) -> Vec<Result<Reduced, PrepareError>> {
    let methods = methods(arms);
    let methods: Vec<&dyn LowRank> = methods.iter().map(|method| &**method).collect();
    lowrank_all(dense, &methods, Some(&windows()), order, &mut |_, _| {})
}

fn one(dense: &Decoder, arm: &str) -> Result<Reduced, PrepareError> {
    let method = registry::lowrank(&arm.parse().unwrap()).unwrap();
    reduced(dense, &*method, Some(&windows()), CalibrationOrder::Sequential, &mut |_, _| {})
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let tokens: Vec<u32> = (0..40).map(|i| (i * 5) % 23).collect();
    let hidden = decoder.hidden(&[&tokens]).unwrap();
    with_values(&decoder.logits(&hidden.flatten_to(1).unwrap()).unwrap(), <[f32]>::to_vec).unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

const ARMS: [&str; 9] = [
    "svd(ratio=0.3)",
    "svd-llm(ratio=0.3)",
    "svd-llm(ratio=0.3, update=closed-form)",
    "asvd(ratio=0.3)",
    "asvd(ratio=0.3, size=fisher)",
    "fwsvd(ratio=0.3)",
    "curing(maps=all, ends=true)",
    "curing(layers=1, metric=cov)",
    "compactifai(ratio=0.3)",
];

#[test]
fn every_method_makes_a_model_smaller_and_what_it_computes_is_its_product() {
    let dense = decoder(3, DType::F32);
    let before = dense.stored_bytes();
    for (arm, reduced) in ARMS.iter().zip(all(&dense, &ARMS, CalibrationOrder::Sequential)) {
        let Reduced { decoder, factoring, .. } = reduced.unwrap_or_else(|error| panic!("{arm}: {error}"));
        assert!(decoder.stored_bytes() < before && decoder.parameters() < dense.parameters(), "{arm}");
        let mut product = decoder.clone();
        for (layer, projection) in (0..3).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection))) {
            let map = decoder.linear(layer, projection).unwrap();
            let name = projection.tensor(layer);
            assert_eq!(map.factored().is_some(), factoring.made.contains_key(&name), "{arm} {name}");
            assert_eq!(map.factored().is_none(), factoring.kept.contains(&name), "{arm} {name}");
            product = product.with_weight(layer, projection, map.weight());
        }
        // Keys and values have sixteen rows and stay.
        assert!(factoring.kept.contains(&Projection::K.tensor(0)), "{arm}");
        let (own, written) = (logits(&decoder), logits(&product));
        let size = distance(&written, &vec![0.0; written.len()]);
        assert!(distance(&own, &written) < 1e-4 * size, "{arm}: {} of {size}", distance(&own, &written));
        assert!(distance(&own, &logits(&dense)) > 1e-3 * size, "{arm} changed nothing");
        let footprint = Footprint::of(&decoder, Counting { dense: Some(&dense), moments: true });
        assert_eq!(footprint.parameters, decoder.parameters() as u64, "{arm}");
        assert_eq!(footprint.bytes, decoder.stored_bytes() as u64, "{arm}");
        assert!(footprint.prunable < footprint.whole && footprint.weight_error() > 0.0, "{arm}");
        assert_eq!(footprint.sparsity(), 0.0);
    }
}

#[test]
fn arms_together_are_arms_alone() {
    let dense = decoder(2, DType::F32);
    let arms = ["svd", "svd-llm", "svd-llm(update=closed-form)", "none"];
    let together = all(&dense, &arms, CalibrationOrder::Sequential);
    for (arm, together) in arms.iter().zip(together) {
        assert_eq!(logits(&together.unwrap().decoder), logits(&one(&dense, arm).unwrap().decoder), "{arm}");
    }
    assert_eq!(logits(&one(&dense, "none").unwrap().decoder), logits(&dense));
}

#[test]
fn methods_that_look_at_inputs_lose_less_of_what_is_made_of_them() {
    let dense = decoder(2, DType::F32);
    let exact = logits(&dense);
    let far = |arm| distance(&logits(&one(&dense, arm).unwrap().decoder), &exact);
    assert!(far("svd-llm(ratio=0.4)") < far("svd(ratio=0.4)"));
    // Ranks order losses.
    assert!(far("svd(ratio=0.2)") < far("svd(ratio=0.5)"));
}

#[test]
fn half_precision_holds_factors_and_what_needs_text_says_so() {
    let half = decoder(2, DType::F16);
    for arm in ["svd", "svd-llm", "fwsvd", "curing(maps=all, ends=true)", "compactifai(ratio=0.2)"] {
        let reduced = one(&half, arm).unwrap();
        for part in Part::all_changed(&reduced.decoder) {
            assert_eq!(part.map(&reduced.decoder).unwrap().weight().dtype(), DType::F16, "{arm}");
        }
        assert!(reduced.decoder.stored_bytes() < half.stored_bytes(), "{arm}");
        assert!(logits(&reduced.decoder).iter().all(|value| value.is_finite()), "{arm}");
    }
    for arm in ["svd-llm", "asvd", "fwsvd", "curing(ends=true)"] {
        let method = registry::lowrank(&arm.parse().unwrap()).unwrap();
        let failed = lowrank_all(&half, &[&*method], None, CalibrationOrder::Sequential, &mut |_, _| {}).pop().unwrap();
        assert!(matches!(failed, Err(PrepareError::NoCalibration)), "{arm}: {:?}", failed.err());
    }
    let error = one(&half, "curing").unwrap_err().to_string();
    assert!(error.contains("there are 0 to choose from, the first and the last left out"), "{error}");
    let error = one(&half, "svd(rank=60)").unwrap_err().to_string();
    assert!(error.contains("rank 60 is not one of a 64x64 matrix that saves anything, 1 to 31"), "{error}");
    let error = one(&half, "svd(maps=keys-values)").unwrap_err().to_string();
    assert!(error.contains("no map became factors"), "{error}");
    let twice = one(&one(&half, "svd").unwrap().decoder, "svd").unwrap_err().to_string();
    assert!(twice.contains("held as factors already"), "{twice}");
}

const PACKED: Holding = Holding { packed: Some(Activations::Full), head: HeadFormat::Kept };
const FAKE: Holding = Holding { packed: None, head: HeadFormat::Kept };

fn quantized(model: &Decoder, arm: &str, holding: Holding) -> Result<(Decoder, crate::quantize::Taken), PrepareError> {
    let quantizer = registry::quantizer(&arm.parse().unwrap()).unwrap();
    let order = CalibrationOrder::Sequential;
    let made =
        quantize_all(model, &[(&*quantizer, 0)], Some(&windows()), order, holding, &mut |_, _| {}).pop().unwrap();
    made.map(|(model, taken)| (model.decoder, taken))
}

#[test]
fn factors_are_quantized_one_by_one() {
    let dense = decoder(2, DType::F32);
    let model = one(&dense, "svd(ratio=0.1, align=32, maps=feed-forward)").unwrap().decoder;
    let factors = Part::all_changed(&model).iter().filter(|part| part.is_of_factors()).count();
    assert!(factors > 10, "{factors}");
    for arm in ["rtn(bits=8, group=32)", "gptq(bits=8, group=32)"] {
        let (fake, taken) = quantized(&model, arm, FAKE).unwrap();
        assert_eq!(
            taken.weights,
            Part::all_changed(&model)
                .iter()
                .filter_map(|part| {
                    let map = part.map(&model)?;
                    (map.rows().min(map.cols()) >= LEAST_SIDE).then_some((map.rows() * map.cols()) as u64)
                })
                .sum::<u64>(),
            "{arm}"
        );
        let (packed, _) = quantized(&model, arm, PACKED).unwrap();
        assert!(
            packed
                .linear(0, Projection::Up)
                .unwrap()
                .factored()
                .unwrap()
                .steps()
                .iter()
                .all(|step| step.map.packed().is_some())
        );
        assert!(packed.stored_bytes() < model.stored_bytes() / 2, "{arm}");
        let (a, b, exact) = (logits(&fake), logits(&packed), logits(&model));
        let size = distance(&exact, &vec![0.0; exact.len()]);
        assert!(
            distance(&a, &b) < 1e-3 * size && distance(&a, &exact) < 0.05 * size,
            "{arm} {} {}",
            distance(&a, &b),
            distance(&a, &exact)
        );
    }
    // Feedback over each factor's own inputs beats plain rounding.
    let far = |arm| distance(&logits(&quantized(&model, arm, FAKE).unwrap().0), &logits(&model));
    assert!(far("gptq(bits=3, group=32)") < far("rtn(bits=3, group=32)"));
    let error = quantized(&model, "awq(group=32)", FAKE).err().unwrap().to_string();
    assert!(error.contains("is held as factors, of whose own inputs only squares and products are known"), "{error}");
    let cores = one(&dense, "compactifai(ratio=0.2)").unwrap().decoder;
    let error = quantized(&cores, "gptq(bits=8, group=-1)", FAKE).err().unwrap().to_string();
    assert!(error.contains("is held as factors, a tensor train"), "{error}");
    let quantizer = registry::quantizer(&"rtn(group=32)".parse().unwrap()).unwrap();
    let order = CalibrationOrder::Sequential;
    let mut nowhere = |_: &str, _: crate::quantize::Finished<'_>| Ok(());
    let error = quantize_streaming(&model, (&*quantizer, 0, Form::Packed), None, order, &mut nowhere, &mut |_, _| {});
    assert!(error.unwrap_err().to_string().contains("the format has no place for"));
}

fn beside(like: &str) -> String {
    format!("remainder(like=\"{like}\")")
}

#[test]
fn a_remainder_alone_is_rounded_as_in_numpy() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/remainder.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let dense = decoder(1, DType::F32);
    let up = |model: &Decoder| model.linear(0, Projection::Up).unwrap().weight().to_f32();
    for case in golden["cases"].as_array().unwrap() {
        let (like, bits) = (case["like"].as_str().unwrap(), &case["bits"]);
        let model = one(&dense, &beside(like)).unwrap().decoder;
        let (fake, _) = quantized(&model, &format!("rtn(bits={bits}, group=32)"), FAKE).unwrap();
        let (found, whole) = (up(&fake), up(&dense));
        let numbers = |name: &str| -> Vec<f64> { serde_json::from_value(case[name].clone()).unwrap() };
        let wide = |at: usize| f64::from(found[at]);
        for (row, expected) in numbers("rows").iter().enumerate() {
            let sum: f64 = (0..64).map(|col| wide(row * 64 + col)).sum();
            assert!((sum - expected).abs() < 1e-4, "{like} row {row}: {sum} for {expected}");
        }
        for (col, expected) in numbers("cols").iter().enumerate() {
            let sum: f64 = (0..96).map(|row| wide(row * 64 + col)).sum();
            assert!((sum - expected).abs() < 1e-4, "{like} column {col}: {sum} for {expected}");
        }
        let lost = distance(&found, &whole).powi(2);
        let [expected, alone] = numbers("lost")[..] else { panic!("{case}") };
        assert!((lost - expected).abs() < 1e-4 * expected, "{like}: {lost} for {expected}");
        let plain = up(&quantized(&dense, &format!("rtn(bits={bits}, group=32)"), FAKE).unwrap().0);
        assert!((distance(&plain, &whole).powi(2) - alone).abs() < 1e-4 * alone);
    }
}

#[test]
fn factors_beside_a_remainder_stay_as_they_are() {
    let dense = decoder(2, DType::F32);
    let exact = logits(&dense);
    let size = distance(&exact, &vec![0.0; exact.len()]);
    for like in [
        "svd(rank=8)",
        "svd-llm(rank=8)",
        "svd-llm(rank=8, update=closed-form)",
        "asvd(rank=8)",
        "fwsvd(rank=8)",
        "curing(maps=all, ends=true)",
        "compactifai(ratio=0.2)",
    ] {
        let model = one(&dense, &beside(like)).unwrap().decoder;
        assert!(distance(&logits(&model), &exact) < 1e-5 * size, "{like}");
        let steps = |model: &Decoder| model.linear(0, Projection::Up).unwrap().factored().unwrap().steps().to_vec();
        let same = |other: &Decoder| steps(&model).iter().zip(steps(other)).all(|(a, b)| Arc::ptr_eq(&a.map, &b.map));
        let (fake, taken) = quantized(&model, "gptq(bits=8, group=32)", FAKE).unwrap();
        let (packed, _) = quantized(&model, "gptq(bits=8, group=32)", PACKED).unwrap();
        assert!(same(&fake) && same(&packed), "{like}");
        let remainder = |model: &Decoder| {
            Arc::clone(model.linear(0, Projection::Up).unwrap().factored().unwrap().remainder().unwrap())
        };
        assert!(remainder(&packed).packed().is_some() && taken.weights >= 96 * 64, "{like}");
        assert!(distance(&logits(&fake), &logits(&packed)) < 1e-3 * size, "{like}");
        let pruner = registry::pruner(&"sparsegpt(sparsity=0.5)".parse().unwrap()).unwrap();
        let arms = [PruneArm { pruner: &*pruner, seed: 0, dtype: None }];
        let order = CalibrationOrder::Sequential;
        let pruned = prune_all(&model, &arms, Some(&windows()), order, &mut |_, _| {}).pop().unwrap().unwrap().decoder;
        assert!(same(&pruned), "{like}");
        let zeros = remainder(&pruned).weight().zeros();
        assert!(zeros.abs_diff(96 * 64 / 2) <= 1, "{like}: {zeros}");
        let (counted, bits) = (Footprint::of(&fake, Counting::default()), taken.bits.total());
        let beside = counted.beside;
        assert_eq!(counted.prunable - beside.0, Footprint::of(&dense, Counting::default()).prunable, "{like}");
        assert!(beside.0 > 0 && beside.1 == 32 * beside.0, "{like}");
        // Codes of the remainders, factors as they are, and whatever is not quantized.
        let others = counted.others as f64 + 4.0 * (counted.prunable - beside.0 - taken.weights) as f64;
        let stored = counted.bytes_stored(Some(&taken)) - others;
        assert!((stored * 8.0 - (bits + beside.1) as f64).abs() < 1.0, "{like}");
        let each = counted.bits_per_weight(Some(&taken)).0;
        assert!((each - (bits + beside.1) as f64 / taken.weights as f64).abs() < 1e-9, "{like}");
        assert!(Footprint::of(&pruned, Counting::default()).parameters as usize == pruned.parameters(), "{like}");
    }
    let model = one(&dense, &beside("svd(rank=8)")).unwrap().decoder;
    // At two bits the directions that are not rounded tell.
    let far = |model: &Decoder| distance(&logits(&quantized(model, "rtn(bits=2, group=32)", FAKE).unwrap().0), &exact);
    assert!(far(&model) < far(&dense));
    let error = quantized(&model, "awq(group=32)", FAKE).err().unwrap().to_string();
    assert!(error.contains("is held as factors, beside whose remainder"), "{error}");
    assert!(one(&model, "svd").unwrap_err().to_string().contains("held as factors already"));
    let refused = registry::lowrank(&beside("none").parse().unwrap()).err().unwrap().to_string();
    assert!(refused.contains("`none` makes no factors; one of svd, fwsvd"), "{refused}");
}

#[test]
fn factors_are_pruned_one_by_one() {
    let dense = decoder(2, DType::F32);
    let model = one(&dense, "svd(ratio=0.1, align=32, maps=feed-forward)").unwrap().decoder;
    for arm in [
        "magnitude(sparsity=0.5)",
        "wanda(sparsity=0.5)",
        "sparsegpt(sparsity=0.5)",
        "magnitude(sparsity=0.5, scope=global)",
    ] {
        let pruner = registry::pruner(&arm.parse().unwrap()).unwrap();
        let arms = [PruneArm { pruner: &*pruner, seed: 0, dtype: None }];
        let windows = windows();
        let pruned =
            prune_all(&model, &arms, Some(&windows), CalibrationOrder::Sequential, &mut |_, _| {}).pop().unwrap();
        let pruned = pruned.unwrap_or_else(|error| panic!("{arm}: {error}")).decoder;
        assert!(pruned.linear(0, Projection::Up).unwrap().factored().is_some(), "{arm}");
        let footprint = Footprint::of(&pruned, Counting::default());
        assert!((footprint.sparsity() - 0.5).abs() < 0.01, "{arm}: {}", footprint.sparsity());
        assert_eq!(footprint.prunable, Footprint::of(&model, Counting::default()).prunable);
        let mut names = Vec::new();
        let mut sink = |name: &str, weight: &Weight| {
            names.push((name.to_owned(), weight.rows(), weight.cols()));
            Ok(())
        };
        let order = CalibrationOrder::Sequential;
        prune_streaming(&model, &arms[0], Some(&windows), order, &mut sink, &mut |_, _| {}).unwrap();
        assert!(names.contains(&(Projection::Up.tensor(1), 96, 64)), "{arm} {names:?}");
    }
}

/// The same, but nobody knows which maps it leaves as they are.
struct Asking<'a>(&'a Factorer<'a>);

impl Pruner for Asking<'_> {
    fn needs(&self) -> Needs {
        self.0.needs()
    }

    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        statistics: Option<&LinearStatistics>,
        allotted: Option<usize>,
        random: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        if !self.0.changes(site.layer, Map::of(site).unwrap()) {
            return Ok(());
        }
        self.0.prune(site, weight, statistics, allotted, random)
    }
}

#[test]
fn what_is_not_calibrated_and_not_read_changes_no_bit() {
    let dense = decoder(4, DType::F32);
    for (arm, order) in [
        ("curing(layers=1)", CalibrationOrder::DenseOnce),
        ("curing(layers=2)", CalibrationOrder::Sequential),
        ("curing(layers=1, choice=last, metric=cov)", CalibrationOrder::TrueSequential),
        ("svd-llm(ratio=0.3)", CalibrationOrder::TrueSequential),
    ] {
        let method = registry::lowrank(&arm.parse().unwrap()).unwrap();
        let asked = Asked::of(&dense, &[&*method], &windows(), CalibrationOrder::Sequential);
        let factorer = || Factorer::of(&dense, &*method, &asked, &windows()).unwrap();
        let (skipping, whole) = (factorer(), factorer());
        let walked = |pruner: &dyn Pruner| {
            let arms = [PruneArm { pruner, seed: 0, dtype: Some(DType::F32) }];
            prune_all(&dense, &arms, Some(&windows()), order, &mut |_, _| {}).pop().unwrap().unwrap()
        };
        walked(&skipping);
        walked(&Asking(&whole));
        let (skipping, whole) = (skipping.finish(0.0).unwrap(), whole.finish(0.0).unwrap());
        assert_eq!(skipping.factoring, whole.factoring, "{arm}");
        // In `dense-once` what distances take tells the sums too.
        let applied = reduced(&dense, &*method, Some(&windows()), order, &mut |_, _| {}).unwrap();
        assert_eq!(applied.factoring, whole.factoring, "{arm}");
        assert_eq!(logits(&skipping.decoder), logits(&whole.decoder), "{arm}");
    }
}

#[test]
fn angles_are_in_half_turns() {
    assert!((angle(&[1.0, 0.0], &[0.0, 2.0]) - 0.5).abs() < 1e-12);
    assert!((angle(&[1.0, 1.0], &[-2.0, -2.0]) - 1.0).abs() < 1e-6);
    assert!(angle(&[3.0, 4.0], &[3.0, 4.0]) < 1e-6);
}
