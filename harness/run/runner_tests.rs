//! A whole run on a small model of random weights: what is written, what is kept, what fails alone.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness_core::journal::Journal;
use harness_core::{CellRecord, Value, seed};
use harness_language::{Dataset, Language};
use harness_model::config::{Activation, Config, NormKind, PositionScheme, RopeStyle};
use harness_model::load::{Checkpoint, expected_tensors};
use harness_model::tokenizer::Tokenizer;
use harness_model::weight::{DType, Weight};
use harness_model::write::{DEFAULT_SHARD_BYTES, write_folder};
use harness_suite::{AnyName, Plan, Selection, Suite};
use rand_chacha::rand_core::Rng;

use super::*;
use crate::catalog::catalog;

fn language() -> Language {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/corpora/fables/dataset.toml");
    Language::from_parameters(&Dataset::parse(&std::fs::read_to_string(path).unwrap()).unwrap().language).unwrap()
}

/// Writes a model of random weights and two texts; `scale` is the size of the weights.
fn fixture(folder: &Path, scale: f32) -> (PathBuf, PathBuf, PathBuf) {
    let language = language();
    let lexicon = language.lexicon();
    let config = Config {
        architecture: "llama".to_owned(),
        vocab_size: lexicon.len(),
        hidden_size: 32,
        intermediate_size: 64,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        max_positions: 64,
        norm: NormKind::Rms,
        norm_epsilon: 1e-5,
        activation: Activation::Silu,
        gated: true,
        position: PositionScheme::Rope { theta: 10_000.0, rotary: 16, style: RopeStyle::HalfSplit },
        scaling: None,
        qkv_bias: false,
        output_bias: false,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        mlp_bias: false,
        tied_head: true,
        bos: Some(harness_language::BEGIN),
        eos: vec![harness_language::END],
    };
    let tensors: BTreeMap<String, Weight> = expected_tensors(&config)
        .map(|spec| {
            let mut random = seed::stream(3, &["weights", &spec.name]);
            let mut values: Vec<f32> =
                (0..spec.len()).map(|_| ((random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale).collect();
            if spec.vector {
                values.fill(scale.max(1.0));
            }
            (spec.name.clone(), Weight::from_f32(spec.rows, spec.cols, values))
        })
        .collect();
    let tokenizer =
        Tokenizer::from_json(lexicon.tokenizer_json().as_bytes(), config.bos, config.eos.first().copied()).unwrap();
    let checkpoint = Checkpoint::new(config, tensors, Some(tokenizer)).unwrap();
    let model = folder.join("model");
    write_folder(&model, &checkpoint, DType::F32, DEFAULT_SHARD_BYTES).unwrap();
    let write = |split: &str| {
        let path = folder.join(format!("{split}.txt"));
        let lines: Vec<String> =
            (0..60).map(|index| lexicon.spell(&language.document(split, index)).unwrap()).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    };
    (model, write("scored"), write("calibration"))
}

fn suite(paths: &(PathBuf, PathBuf, PathBuf), arms: &str) -> Suite {
    suite_with(paths, &format!("prune = [{arms}]"))
}

/// A bench with more keys.
fn suite_with(paths: &(PathBuf, PathBuf, PathBuf), keys: &str) -> Suite {
    let (model, scored, calibration) = paths;
    let text = format!(
        r#"
[suite]
seed = 1
[[bench]]
name = "small"
model = "{}"
data = {{ corpus = "{}", window = 32, windows = 6, bos = false }}
calib = {{ corpus = "{}", window = 32, windows = 4, bos = false }}
metrics = ["ppl", "kl", "top1", "sparsity", "bytes", "prefill_tps", "decode_tps", "apply_s", "peak_rss", "bpw_linear", "quantized_share", "packed_share"]
rounds = 1
prefill_tokens = 16
decode_tokens = 2
{keys}
"#,
        model.display(),
        scored.display(),
        calibration.display()
    );
    Suite::parse(&text, "small.toml", &catalog(), &AnyName).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

fn execute(suite: &Suite, journal: &Path) -> (Outcome, Vec<CellRecord>) {
    let plan = Plan::of(suite, &Selection::default()).unwrap();
    let mut inputs = Inputs::from_environment().unwrap();
    let mut journal = Journal::open(journal).unwrap();
    let outcome = run(suite, &plan, &catalog(), &mut inputs, &mut journal, &mut |_| {}).unwrap();
    (outcome, journal.records().to_vec())
}

fn value(records: &[CellRecord], arm: &str, metric: &str) -> f64 {
    let record = records.iter().find(|record| record.cell.label(Axis::Prune) == Some(arm)).unwrap();
    record.observation(metric).unwrap().value().unwrap()
}

#[test]
fn arms_are_measured_beside_the_dense_model() {
    let folder = tempfile::tempdir().unwrap();
    let suite = suite(
        &fixture(folder.path(), 0.2),
        r#""none", "magnitude(sparsity=0)", "magnitude(sparsity=0.5)", "wanda(pattern=2:4)", "sparsegpt(sparsity=0.5)""#,
    );
    let (outcome, records) = execute(&suite, &folder.path().join("journal.jsonl"));
    assert_eq!((outcome.measured, outcome.kept, outcome.failed, outcome.loads), (5, 0, 0, 1));
    // The identity that walks through every step reproduces the dense numbers to the bit.
    assert_eq!(value(&records, "none", "ppl"), value(&records, "magnitude(sparsity=0)", "ppl"));
    assert_eq!(
        (value(&records, "magnitude(sparsity=0)", "kl"), value(&records, "magnitude(sparsity=0)", "top1")),
        (0.0, 1.0)
    );
    assert_eq!(value(&records, "none", "sparsity"), 0.0);
    for arm in ["magnitude(sparsity=0.5)", "wanda(pattern=2:4)", "sparsegpt(sparsity=0.5)"] {
        assert_eq!(value(&records, arm, "sparsity"), 0.5, "{arm}");
        assert!(value(&records, arm, "kl") > 0.0 && value(&records, arm, "decode_tps") > 0.0, "{arm}");
    }
    let windows = &records[0].observation("ppl").unwrap().weights;
    assert_eq!(windows, &[31.0; 6], "a window of 32 tokens has 31 targets");
}

fn quantized<'a>(records: &'a [CellRecord], arm: &str, metric: &str) -> &'a harness_core::Observation {
    let record = records.iter().find(|record| record.cell.label(Axis::Quant) == Some(arm)).unwrap();
    assert!(record.failure.is_none(), "{arm}: {:?}", record.failure);
    record.observation(metric).unwrap()
}

#[test]
fn packed_codes_say_what_written_out_ones_say_and_have_speed_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.2);
    let arms = [
        "rtn(group=32)",
        "rtn(bits=8, group=32, mode=sym)",
        "gptq(group=32)",
        "hqq(group=32)",
        "nf4(block=32)",
        "q4_1",
        "awq(group=32)",
        "smoothquant",
        "smoothquant(inputs=static, weights=tensor)",
        "llm-int8(threshold=1.5)",
        "flattenquant",
        "rht(group=32, sides=inputs, inputs=int8)",
        "rht(group=32, sides=inputs, rounding=gptq)",
    ];
    let list = arms.map(|arm| format!("\"{arm}\"")).join(", ");
    let measure = |keys: &str| {
        let suite = suite_with(&paths, &format!("{keys}\nquant = [\"none\", {list}]"));
        let (outcome, records) = execute(&suite, &folder.path().join("journal.jsonl"));
        assert_eq!((outcome.measured, outcome.failed), (1 + arms.len(), 0), "{keys}");
        records[records.len() - outcome.measured..].to_vec()
    };
    let (fake, packed) = (measure(""), measure("exec = \"packed\""));
    let value = |records: &[CellRecord], arm: &str, metric: &str| quantized(records, arm, metric).value().unwrap();
    for arm in arms {
        let (one, other) = (value(&fake, arm, "kl"), value(&packed, arm, "kl"));
        assert!(one > 0.0 && (one - other).abs() < 1e-4 * one + 1e-7, "{arm}: {one} {other}");
        assert_eq!(value(&fake, arm, "bpw_linear"), value(&packed, arm, "bpw_linear"));
        // Maps with sixteen outputs stay as they are.
        let share = value(&packed, arm, "quantized_share");
        let listed = quantized(&packed, arm, "quantized_share").protocol.clone().unwrap();
        assert!(listed.starts_with("kept as they are: 0.self_attn.k_proj.weight, "), "{listed}");
        assert!(share > 0.8 && share < 1.0, "{share}");
        assert_eq!((value(&fake, arm, "packed_share"), value(&packed, arm, "packed_share")), (0.0, share));
        for metric in ["bytes", "prefill_tps", "decode_tps", "peak_rss"] {
            let reason = quantized(&fake, arm, metric).absent.as_ref().unwrap();
            assert!(reason.contains("fake quantization"), "{reason}");
            assert!(value(&packed, arm, metric) > 0.0, "{arm} {metric}");
        }
        assert!(value(&packed, arm, "bytes") < value(&packed, "none", "bytes"), "{arm}");
    }
}

#[test]
fn a_mixture_keeps_its_budget_and_with_one_choice_is_that_method() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.2);
    let own = "rtn(group=32)";
    let all = "rtn(bits=2, group=32) | rtn(bits=3, group=32) | gptq(group=32) | rtn(bits=8, group=32)";
    let alone = format!("mixed(budget=8, choices=\"{own}\")");
    let of = |budget: &str| format!("mixed(budget={budget}, choices=\"{all}\")");
    let budgets = ["2.5625", "3.1", "4.2", "5.5", "9"];
    let arms: Vec<String> = [own.to_owned(), alone.clone(), of("2.5")].into_iter().chain(budgets.map(&of)).collect();
    let list = arms.iter().map(|arm| format!("'{arm}'")).collect::<Vec<_>>().join(", ");
    let (outcome, records) =
        execute(&suite_with(&paths, &format!("quant = [{list}]")), &folder.path().join("journal.jsonl"));
    assert_eq!((outcome.measured, outcome.failed), (arms.len(), 1));
    let refused = records.iter().find_map(|record| record.failure.as_ref()).unwrap();
    assert!(refused.reason.contains("a budget of 2.5 bits a weight is below 2.5625"), "{refused:?}");
    let value = |arm: &str, metric: &str| quantized(&records, arm, metric).value().unwrap();
    assert_eq!((value(own, "kl"), value(own, "bpw_linear")), (value(&alone, "kl"), value(&alone, "bpw_linear")));
    let found = budgets
        .map(|budget| (budget.parse::<f64>().unwrap(), value(&of(budget), "bpw_linear"), value(&of(budget), "kl")));
    assert!(found.iter().all(|(budget, bits, _)| bits <= budget && *bits > budget - 0.75), "{found:?}");
    assert!(found[4].2 < 0.1 * found[0].2, "{found:?}");
}

#[test]
fn a_head_in_eight_bits_costs_little_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.2);
    let measure = |keys: &str| {
        let suite = suite_with(&paths, &format!("{keys}\nquant = [\"none\", \"rtn(bits=8, group=32)\"]"));
        let (outcome, records) = execute(&suite, &folder.path().join("journal.jsonl"));
        assert_eq!((outcome.measured, outcome.failed), (2, 0), "{keys}");
        let of = |metric: &str| quantized(&records[records.len() - 2..], "rtn(bits=8, group=32)", metric).value();
        (of("kl").unwrap(), of("bytes"))
    };
    let (plain, _) = measure("");
    let (fake, _) = measure("head = \"q8_0\"");
    let (packed, bytes) = measure("exec = \"packed\"\nhead = \"q8_0\"");
    let (_, without) = measure("exec = \"packed\"");
    assert!(fake > plain && (fake - packed).abs() < 1e-3 * fake, "{plain} {fake} {packed}");
    let vocabulary = language().lexicon().len() as f64;
    // The embedding stays, so the head is a matrix more: 34 bytes for 32 weights, rows in blocks of sixteen.
    let head = bytes.unwrap() - without.unwrap();
    assert!(head >= vocabulary * 34.0 && head <= (vocabulary + 15.0) * 34.0, "{head} of {vocabulary}");
}

#[test]
fn maps_in_bf16_change_what_is_scored_a_little_and_the_judge_stays_in_f32() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.2);
    let arm = "rtn(bits=8, group=32)";
    let measure = |keys: &str| {
        let suite = suite_with(&paths, &format!("{keys}\nquant = [\"none\", \"{arm}\"]"));
        let (outcome, records) = execute(&suite, &folder.path().join("journal.jsonl"));
        // Cells in bf16 are others than those in f32.
        assert_eq!((outcome.measured, outcome.failed, outcome.kept), (2, 0, 0), "{keys}");
        let of = |arm: &str, metric: &str| quantized(&records[records.len() - 2..], arm, metric).value().unwrap();
        ["none", arm].map(|arm| (of(arm, "kl"), of(arm, "ppl"), of(arm, "bytes"), of(arm, "decode_tps")))
    };
    let [dense, packed] = measure("exec = \"packed\"");
    let [brain, both] = measure("exec = \"packed\"\ncompute = \"bf16\"");
    assert_eq!(dense.0, 0.0);
    // Eight bits of a significand: the change is seen, and small beside that of eight-bit codes and of 0.1 nats.
    assert!(brain.0 > 0.0 && brain.0 < 1e-3, "{}", brain.0);
    assert!((brain.1 / dense.1 - 1.0).abs() < 0.01 && both.1.is_finite(), "{} {}", brain.1, dense.1);
    // The quantized maps stay codes, and the kept ones and the head are in bf16.
    assert!(both.0 > 0.0 && both.0 != packed.0, "{} {}", both.0, packed.0);
    assert!(brain.2 != dense.2 && brain.3 > 0.0 && both.3 > 0.0);
}

#[test]
fn codes_without_a_kernel_fail_alone_and_never_become_fake() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.2);
    let suite = suite_with(&paths, "exec = \"packed\"\nquant = [\"kbit(bits=5, block=32)\", \"rtn(group=32)\"]");
    let (outcome, records) = execute(&suite, &folder.path().join("journal.jsonl"));
    assert_eq!((outcome.measured, outcome.failed), (2, 1));
    let reason = &records.iter().find_map(|record| record.failure.as_ref()).unwrap().reason;
    assert!(reason.contains("no kernel reads") && reason.contains("exec = \"fake\""), "{reason}");
    let suite = suite_with(&paths, "activations = \"int8\"\nquant = \"rtn(group=32)\"");
    let (_, records) = execute(&suite, &folder.path().join("journal.jsonl"));
    let reason = &records.iter().filter_map(|record| record.failure.as_ref()).next_back().unwrap().reason;
    assert!(reason.contains("set `exec = \"packed\"` as well"), "{reason}");
}

#[test]
fn what_the_journal_holds_is_not_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.2);
    let journal = folder.path().join("journal.jsonl");
    execute(&suite(&paths, r#""none", "wanda(sparsity=0.5)""#), &journal);
    let (outcome, records) =
        execute(&suite(&paths, r#""none", "wanda(sparsity=0.5)", "wanda(sparsity=0.25)""#), &journal);
    assert_eq!((outcome.measured, outcome.kept, records.len()), (1, 2, 3));
    let weights = paths.0.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&0.125_f32.to_le_bytes());
    std::fs::write(&weights, bytes).unwrap();
    let (outcome, _) = execute(&suite(&paths, r#""none", "wanda(sparsity=0.5)""#), &journal);
    assert_eq!((outcome.measured, outcome.kept), (2, 0), "other weights are other cells");
}

#[test]
fn an_arm_that_fails_leaves_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let suite = suite(&fixture(folder.path(), 0.2), r#""none", "wanda(pattern=2:5)", "magnitude(sparsity=0.5)""#);
    let (outcome, records) = execute(&suite, &folder.path().join("journal.jsonl"));
    assert_eq!((outcome.measured, outcome.failed), (3, 1));
    let failed = records.iter().find(|record| record.failure.is_some()).unwrap();
    assert_eq!(failed.cell.label(Axis::Prune), Some("wanda(pattern=2:5)"));
    assert!(failed.failure.as_ref().unwrap().reason.contains("model.layers.0.self_attn.q_proj"), "{failed:?}");
}

#[test]
fn a_model_that_overflows_fails_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let suite = suite(&fixture(folder.path(), 1e18), r#""none", "wanda(sparsity=0.5)""#);
    let (outcome, records) = execute(&suite, &folder.path().join("journal.jsonl"));
    assert_eq!(outcome.failed, 2);
    let reasons: Vec<&str> = records.iter().map(|record| record.failure.as_ref().unwrap().stage.as_str()).collect();
    assert!(reasons.contains(&"score") && reasons.contains(&"apply"), "{records:?}");
}

#[test]
fn a_damaged_checkpoint_fails_its_cells_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.2);
    let weights = paths.0.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let (outcome, records) = execute(&suite(&paths, r#""none""#), &folder.path().join("journal.jsonl"));
    assert_eq!((outcome.measured, outcome.failed), (1, 1));
    let failure = records[0].failure.as_ref().unwrap();
    assert!(failure.stage == "load" && failure.reason.contains("model.safetensors"), "{failure:?}");
}

#[test]
fn orders_of_calibration_differ_only_behind_the_first_block() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.2);
    let perplexity = |order: &str| {
        let mut suite = suite(&paths, r#""sparsegpt(sparsity=0.5)""#);
        for (name, value) in &mut suite.benches[0].settings {
            if name == "calibration_order" {
                *value = Value::Text(order.to_owned());
            }
        }
        let (_, records) = execute(&suite, &folder.path().join(format!("{order}.jsonl")));
        value(&records, "sparsegpt(sparsity=0.5)", "ppl")
    };
    let all = ["dense-once", "sequential", "true-sequential"].map(perplexity);
    assert!(all[0] != all[1] && all[1] != all[2], "{all:?}");
    assert!(all.iter().all(|value| (value / all[0] - 1.0).abs() < 0.5), "{all:?}");
}

#[test]
fn quantized_keys_and_values_are_scored_where_tokens_are_decoded_and_weighed_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.6);
    let cache = |bits: u32| format!("kivi(bits={bits}, group=16, window=16)");
    let list = format!("\"none\", \"{}\", \"{}\", \"{}\", \"kivi(group=16, window=48)\"", cache(2), cache(4), cache(8));
    let keys = format!("decode_from = 12\ncache = [{list}]\nquant = [\"none\", \"rtn(bits=8, group=32)\"]");
    let mut suite = suite_with(&paths, &keys);
    suite.benches[0].metrics = ["ppl", "kl", "cache_bytes", "cache_bits", "decode_tps"].map(str::to_owned).into();
    let (outcome, records) = execute(&suite, &folder.path().join("journal.jsonl"));
    assert_eq!((outcome.measured, outcome.failed), (10, 0), "{records:?}");
    let seen = |cache: &str, quant: &str, metric: &str| {
        let at = |record: &&CellRecord| {
            record.cell.label(Axis::Cache) == Some(cache) && record.cell.label(Axis::Quant) == Some(quant)
        };
        records.iter().find(at).unwrap().observation(metric).unwrap().clone()
    };
    let value = |cache: &str, quant: &str, metric: &str| seen(cache, quant, metric).value().unwrap();
    let perplexity = seen("none", "none", "ppl");
    assert_eq!(perplexity.weights, [19.0; 6], "positions 12 to 30 predict a token");
    assert!(perplexity.protocol.unwrap().ends_with(" decode_from=12"));
    for quant in ["none", "rtn(bits=8, group=32)"] {
        let kl: Vec<f64> = [8, 4, 2].map(|bits| value(&cache(bits), quant, "kl")).into();
        let plain = value("none", quant, "kl");
        assert!(kl[0] < kl[1] && kl[1] < kl[2] && (quant != "none" || plain == 0.0 && kl[0] > 0.0), "{plain} {kl:?}");
        // 32 tokens of 2 layers with 16 keys and as many values: none of them is a code in a window of 48, and of a window of 16
        // all keys and half of the values are, in `bits` and two halves for 16.
        let full = 2.0 * 32.0 * 2.0 * 16.0;
        for arm in ["none", "kivi(group=16, window=48)"] {
            assert_eq!(
                (value(arm, quant, "cache_bytes"), value(arm, quant, "cache_bits")),
                (4.0 * full, 32.0),
                "{arm}"
            );
            assert_eq!(value(arm, quant, "kl"), plain, "{arm} on {quant}");
        }
        for bits in [2_u32, 4, 8] {
            let bytes = full * 0.75 * (f64::from(bits) / 8.0 + 0.25) + full * 0.25 * 4.0;
            assert_eq!(value(&cache(bits), quant, "cache_bytes"), bytes, "{bits}");
        }
    }
    assert!(value(&cache(2), "none", "decode_tps") > 0.0);
    assert!(seen(&cache(2), "rtn(bits=8, group=32)", "decode_tps").absent.unwrap().contains("fake quantization"));
    // Decoding gives what reading at once gives.
    let mut at_once = suite_with(&paths, "prune = \"none\"");
    for arm in at_once.benches[0].axes.get_mut(&Axis::Data).unwrap() {
        let skip = arm.parameters.iter_mut().find(|(name, _)| name == "skip_first").unwrap();
        skip.1 = Value::Int(12);
    }
    let (_, records) = execute(&at_once, &folder.path().join("whole.jsonl"));
    let whole = records[0].observation("ppl").unwrap();
    assert_eq!(whole.weights, [19.0; 6]);
    let (whole, decoded) = (whole.value().unwrap(), value("none", "none", "ppl"));
    assert!((whole / decoded - 1.0).abs() < 1e-5, "{decoded} {whole}");
}

#[test]
fn keys_that_are_let_go_are_counted_weighed_and_missed() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.6);
    let arms = [
        "none",
        "h2o(heavy_keys=4, recent_keys=4)",
        "h2o(heavy_keys=0, recent_keys=8)",
        "h2o(heavy_keys=16, recent_keys=16)",
        "snapkv(window=2, capacity=8)",
        "snapkv(window=2, capacity=12)",
    ];
    let list = arms.map(|arm| format!("\"{arm}\"")).join(", ");
    let mut suite = suite_with(&paths, &format!("decode_from = 12\ncache = [{list}]"));
    suite.benches[0].metrics = ["kl", "cache_bytes", "cache_bits", "cache_keys"].map(str::to_owned).into();
    let (outcome, records) = execute(&suite, &folder.path().join("journal.jsonl"));
    assert_eq!((outcome.measured, outcome.failed), (6, 0), "{records:?}");
    let value = |cache: &str, metric: &str| {
        let cell = records.iter().find(|record| record.cell.label(Axis::Cache) == Some(cache)).unwrap();
        cell.observation(metric).unwrap().value().unwrap()
    };
    // Windows of 32 tokens, of which 12 are the prompt; a snapshot keeps what is decoded.
    let keys = arms.map(|arm| value(arm, "cache_keys"));
    assert_eq!(keys, [32.0, 8.0, 8.0, 32.0, 28.0, 32.0]);
    // Keys and values of 16 numbers in 2 layers, and of heavy hitters what each key of a head of 16 received.
    let bytes = arms.map(|arm| value(arm, "cache_bytes"));
    let plain = keys.map(|keys| keys * 2.0 * 2.0 * 16.0 * 4.0);
    let beside = keys[1] * 2.0 * 4.0;
    assert_eq!((bytes[0], bytes[4], bytes[5]), (plain[0], plain[4], plain[5]));
    assert!(bytes[1] > plain[1] && bytes[1] <= plain[1] + 4.0 * beside && bytes[1] == bytes[2], "{bytes:?}");
    assert_eq!(value(arms[1], "cache_bits"), 32.0 * bytes[1] / bytes[0]);
    let kl = arms.map(|arm| value(arm, "kl"));
    assert_eq!((kl[0], kl[3], kl[5]), (0.0, 0.0, 0.0));
    assert!(kl[1] > 0.0 && kl[2] > 0.0 && kl[4] > 0.0, "{kl:?}");
}

#[test]
fn benches_that_cannot_see_what_a_cache_loses_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let paths = fixture(folder.path(), 0.2);
    let reason = |keys: &str| {
        let (_, records) = execute(&suite_with(&paths, keys), &folder.path().join("journal.jsonl"));
        records.iter().filter_map(|record| record.failure.clone()).next_back().unwrap().reason
    };
    let unseen = reason("cache = \"kivi(group=16, window=16)\"");
    assert!(unseen.contains("could not show; set `decode_from`"), "{unseen}");
    let evicting = reason("cache = \"h2o\"");
    assert!(evicting.contains("`cache = h2o` could not show; set `decode_from`"), "{evicting}");
    let none = reason("cache = [\"none\", \"h2o(heavy=0.01, recent=0.01)\"]\ndecode_from = 12");
    assert!(none.contains("no key of a prompt of 12 positions"), "{none}");
    let moving = reason("cache = [\"none\", \"snapkv\"]\nposition = \"sliding-window(window=4)\"\ndecode_from = 12");
    assert!(moving.contains("cannot be of a model that looks at some keys only"), "{moving}");
    let empty = reason("cache = \"kivi(group=16, window=16)\"\ndecode_from = 31");
    assert!(empty.contains("`decode_from = 31` leaves nothing to score of windows of 32 tokens"), "{empty}");
    let group = reason("cache = [\"none\", \"kivi\"]\ndecode_from = 8");
    assert!(
        group.contains("kivi: keys and values of 2 bits in groups of 32") && group.contains("heads of 16"),
        "{group}"
    );
}
