//! `harness inspect`: what a method makes of one matrix, and of positions; `score --position`, `score --lowrank`, `apply --lowrank`.

use serde_json::Value;

use crate::sample::npy;
use crate::support::{run, scratch};

const ROW: [f32; 8] = [0.1, -0.5, 0.02, 0.9, -2.0, 1.3, 0.0, -0.07];

#[test]
fn a_quantized_matrix_is_shown_with_codes_bits_and_errors() {
    let folder = scratch();
    let matrix = npy(&folder.path().join("w.npy"), &[&ROW]);
    let ran = run(&["inspect", "quant", "nf4(block=64)", "--matrix", &matrix, "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(found["codes"], serde_json::json!([[8, 4, 7, 12, 0, 14, 7, 7]]));
    assert_eq!((found["rows"].as_u64(), found["columns"].as_u64()), (Some(1), Some(8)));
    // Four bits a weight and one scale of 32 for all eight.
    assert_eq!(found["bits_per_weight"].as_f64(), Some(8.0));
    assert_eq!(found["bits"], serde_json::json!({"codes": 32, "scales": 32, "zeros": 0, "codebooks": 0, "indices": 0}));
    assert!((found["error"]["largest"].as_f64().unwrap() - 0.145_914).abs() < 1e-5, "{}", found["error"]);
    let brief = run(&["inspect", "quant", "nf4", "--matrix", &matrix]);
    let summary: Value = serde_json::from_str(&brief.out).unwrap();
    assert!(summary.get("codes").is_none() && summary["error"] == found["error"], "{}", brief.out);
}

#[test]
fn inputs_of_the_map_are_read_where_the_method_looks_at_them() {
    let folder = scratch();
    let rows: Vec<Vec<f32>> =
        (0..4).map(|row| (0..32).map(|i| ((row * 32 + i) as f32 * 0.7).sin()).collect()).collect();
    let tokens: Vec<Vec<f32>> =
        (0..64).map(|row| (0..32).map(|i| ((row * 37 + i * i) as f32 * 0.3).cos()).collect()).collect();
    let slices = |rows: &[Vec<f32>]| rows.iter().map(|row| row.clone().leak() as &[f32]).collect::<Vec<_>>();
    let matrix = npy(&folder.path().join("w.npy"), &slices(&rows));
    let inputs = npy(&folder.path().join("x.npy"), &slices(&tokens));
    let error = |spec: &str| {
        let ran = run(&["inspect", "quant", spec, "--matrix", &matrix, "--activations", &inputs, "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let found: Value = serde_json::from_str(&ran.out).unwrap();
        found["error"]["relative_output_error"].as_f64().unwrap()
    };
    assert!(error("gptq(bits=3, group=32)") < error("rtn(bits=3, group=32)"));
    let out = folder.path().join("r.npz").display().to_string();
    let ran = run(&["inspect", "quant", "rtn(group=32)", "--matrix", &matrix, "--out", &out]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let bytes = std::fs::read(&out).unwrap();
    for name in ["codes.npy", "scales.npy", "zeros.npy", "dequantized.npy"] {
        assert!(bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = scratch();
    let matrix = npy(&folder.path().join("w.npy"), &[&ROW]);
    let other = npy(&folder.path().join("x.npy"), &[&ROW[..4]]);
    let occupied = folder.path().join("there.npz");
    std::fs::write(&occupied, "mine").unwrap();
    let occupied = occupied.display().to_string();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["nf5", "--matrix", &matrix], 2, "did you mean `nf4`?"),
        (&["nf4", "--matrix", "no-such.npy"], 5, "no-such.npy does not exist"),
        (&["gptq(group=8)", "--matrix", &matrix], 2, "give them with --activations x.npy"),
        (
            &["rtn(group=8)", "--matrix", &matrix, "--activations", &other],
            2,
            "has 8 columns and the activations have 4",
        ),
        (&["rtn(group=3)", "--matrix", &matrix], 2, "groups of 3 do not divide 8 columns"),
        (&["nf4", "--matrix", &matrix, "--out", &occupied], 2, "is there already"),
    ];
    for (arguments, code, message) in cases {
        let ran = run(&[&["inspect", "quant"], arguments].concat());
        assert!(ran.code == code && ran.err.contains(message), "{arguments:?}: {} {}", ran.code, ran.err);
    }
    assert_eq!(std::fs::read_to_string(&occupied).unwrap(), "mine");
}

#[test]
fn positions_are_shown_with_frequencies_factor_and_policy() {
    let show = |arguments: &[&str]| {
        let ran = run(&[&["inspect", "position"], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    let json: Value =
        serde_json::from_str(&show(&["yarn(factor=4)", "--dim", "8", "--trained", "256", "--json"])).unwrap();
    let frequencies: Vec<f64> = json["inv_freq"].as_array().unwrap().iter().map(|f| f.as_f64().unwrap()).collect();
    for (found, expected) in frequencies.iter().zip([1.0, 0.0625, 0.0025, 0.000_25]) {
        assert!((found / expected - 1.0).abs() < 1e-6, "{json}");
    }
    assert!((json["attention_factor"].as_f64().unwrap() - 1.138_629).abs() < 1e-6);
    assert_eq!((&json["cache_policy"], &json["ramp"]), (&"rotated".into(), &serde_json::json!([0.0, 2.0])));
    assert_eq!((&json["critical_pair"], &json["length"]), (&2.into(), &256.into()));
    let of_model = show(&["dynamic-ntk", "--model", "tiny-100k", "--length", "512"]);
    assert!(
        of_model.starts_with("dynamic-ntk on rotary embeddings, trained at 256 positions, reading 512\n"),
        "{of_model}"
    );
    assert!(of_model.contains("\n32 dimensions, base 10000\n"), "{of_model}");
    assert!(of_model.ends_with("scores by 1.000000\nkeys are cached unrotated\n"), "{of_model}");
    let row = show(&["lm-infinite(window=100, globals=3)", "--model", "tiny-100k", "--length", "512"]);
    for line in [
        "mask or remap; changes mask, distances; for weights as they are",
        "the query at 511 sees 103 keys:",
        "  keys 0 to 2 at 256 to 256",
        "  keys 412 to 511 at 99 to 0",
        "caches hold the first 3 keys and the newest 100",
    ] {
        assert!(row.lines().any(|found| found == line), "{line}: {row}");
    }
    let row = show(&["unlimiformer(k=20)", "--model", "tiny-100k", "--length", "512"]);
    for line in [
        "the query at 511 chooses from what it sees of 512 keys:",
        "  keys 384 to 511 at 127 to 0",
        "of keys 0 to 383 each head sees the 20 that it scores highest",
        "keys are cached unrotated",
    ] {
        assert!(row.lines().any(|found| found == line), "{line}: {row}");
    }
    let json: Value = serde_json::from_str(&show(&[
        "self-extend(group=4, window=8)",
        "--dim",
        "8",
        "--trained",
        "16",
        "--length",
        "22",
        "--json",
    ]))
    .unwrap();
    assert_eq!(json["row"][0], serde_json::json!([0, 11.0]));
    assert_eq!(json["row"][21], serde_json::json!([21, 0.0]));
    for (arguments, said) in [
        (vec!["yarn", "--dim", "7", "--trained", "9"], "--dim 7 is odd; dimensions are rotated in pairs"),
        (vec!["yarn", "--dim", "8", "--trained", "9", "--base", "1"], "--base 1 must be a number above 1"),
        (vec!["ntk", "--dim", "2", "--trained", "9"], "needs at least two pairs of dimensions"),
        (vec!["longrope(long=[1])", "--dim", "8", "--trained", "9"], "`long` has 1 numbers; the model rotates 4 pairs"),
        (vec!["yarm", "--dim", "8", "--trained", "9"], "did you mean `yarn`?"),
        (
            vec!["self-extend", "--dim", "8", "--trained", "64", "--length", "999"],
            "reads up to 288 positions here; --length 999 is more",
        ),
        (
            vec!["yarn", "--model", "tiny-300k-t5"],
            "`yarn` does not work on biases by distance; it is for rotary embeddings",
        ),
    ] {
        let ran = run(&[vec!["inspect", "position"], arguments].concat());
        assert!(ran.code == 2 && ran.err.contains(said), "{} {}", ran.code, ran.err);
    }
}

#[test]
fn a_text_is_scored_with_other_positions() {
    let folder = scratch();
    let ids = folder.path().join("ids.json");
    let window: Vec<u32> = (0..640).map(|i| 5 + (i * i + i / 7) % 60).collect();
    std::fs::write(&ids, serde_json::to_string(&[window]).unwrap()).unwrap();
    let ids = ids.display().to_string();
    let score = |position: &str| {
        let ran = run(&["score", "--model", "tiny-100k", "--token-ids", &ids, "--position", position, "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str::<Value>(&ran.out).unwrap()["ppl"].as_f64().unwrap()
    };
    let (plain, same, other) = (score("none"), score("linear(factor=1)"), score("linear(factor=4)"));
    assert!(plain.to_bits() == same.to_bits() && plain.to_bits() != other.to_bits(), "{plain} {same} {other}");
    let ran = run(&["score", "--model", "tiny-100k", "--token-ids", &ids, "--position", "longrope(long=[1, 2])"]);
    assert!(ran.code == 2 && ran.err.contains("`long` has 2 numbers; the model rotates 16 pairs"), "{}", ran.err);
}

#[test]
fn a_matrix_is_shown_as_factors() {
    let folder = scratch();
    // The example of three rows: singular values 3.718999 and 1.472769; behind the inputs 8.441954 and 3.838413.
    let matrix = npy(&folder.path().join("w.npy"), &[&[2.0, 1.0], &[0.0, 1.0], &[1.0, 3.0]]);
    let inputs = npy(&folder.path().join("x.npy"), &[&[1.0, 1.0], &[0.0, 1.0], &[2.0, 0.0], &[-1.0, 2.0]]);
    let other = npy(&folder.path().join("y.npy"), &[&[1.0, 1.0, 1.0]]);
    let show = |arguments: &[&str]| {
        let ran = run(&[&["inspect", "lowrank"], arguments, &["--matrix", &matrix]].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str::<Value>(&ran.out).unwrap()
    };
    let near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 1e-6;
    let plain = show(&["svd(rank=1)", "--json"]);
    assert!(near(&plain["singular"][0][0], 3.718_999) && near(&plain["error"]["frobenius"], 1.472_769), "{plain}");
    assert_eq!((&plain["ranks"], &plain["parameters"]), (&serde_json::json!([1]), &5.into()));
    assert_eq!(plain["factors"]["u"]["rows"], 3);
    let whitened = show(&["svd-llm(rank=1)", "--activations", &inputs, "--json"]);
    assert!(near(&whitened["error"]["in_own_norm"], 3.838_413), "{whitened}");
    // In the norm of the layer's outputs, over all of which the squares are 86.
    let all = 8.441_954_f64.powi(2) + 3.838_413_f64.powi(2);
    assert!(near(&whitened["error"]["relative_output_error"], 3.838_413 / all.sqrt()), "{whitened}");
    let brief = show(&["svd(rank=1)"]);
    assert!(brief.get("product").is_none() && brief["error"] == plain["error"], "{brief}");
    let out = folder.path().join("r.npz").display().to_string();
    show(&["svd(rank=1)", "--out", &out]);
    let bytes = std::fs::read(&out).unwrap();
    for name in ["u.npy", "s.npy", "v.npy", "product.npy"] {
        assert!(bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
    let cases: [(&[&str], i32, &str); 8] = [
        (&["svd(rank=2)"], 2, "rank 2 is not one of a 3x2 matrix that saves anything, 1 to 1"),
        (&["svd(rank=0)"], 2, "`rank = 0` is outside its range [1, 65536]"),
        (&["none"], 2, "`none` makes no factors"),
        (&["svdllm"], 2, "did you mean `svd-llm`?"),
        (&["svd-llm(rank=1)"], 2, "give them with --activations x.npy"),
        (&["fwsvd(rank=1)"], 2, "the method reads gradients of the loss, which a matrix alone does not have"),
        (&["svd(rank=1)", "--activations", &other], 2, "has 2 columns and the activations have 3"),
        (&["svd(rank=1)", "--out", &out], 2, "is there already"),
    ];
    for (arguments, code, message) in cases {
        let ran = run(&[&["inspect", "lowrank"], arguments, &["--matrix", &matrix]].concat());
        assert!(ran.code == code && ran.err.contains(message), "{arguments:?}: {} {}", ran.code, ran.err);
    }
}

#[test]
fn a_model_of_factors_is_scored_and_what_apply_writes_is_their_product() {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let windows = |seed: u32| -> Vec<Vec<u32>> {
        (0..4).map(|at| (0..128).map(|i| 5 + (i * i + i / 7 + at * seed) % 60).collect()).collect()
    };
    std::fs::write(path("ids.json"), serde_json::to_string(&windows(3)).unwrap()).unwrap();
    std::fs::write(path("calib.json"), serde_json::to_string(&windows(11)).unwrap()).unwrap();
    let score = |model: &str, arguments: &[&str]| {
        let ran = run(&[&["score", "--model", model, "--token-ids", &path("ids.json"), "--json"], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str::<Value>(&ran.out).unwrap()["ppl"].as_f64().unwrap()
    };
    let (plain, factored) = (score("tiny-100k", &[]), score("tiny-100k", &["--lowrank", "svd(ratio=0.3)"]));
    assert!((factored / plain - 1.0).abs() > 1e-3, "{plain} {factored}");
    let apply = |out: &str, arguments: &[&str]| {
        let ran = run(&[&["apply", "--model", "tiny-100k", "--out", &path(out)], arguments].concat());
        assert!(ran.code == 0 && ran.err.contains("the format has no place for factors"), "{} {}", ran.code, ran.err);
        score(&path(out), &[])
    };
    let written = apply("plain", &["--lowrank", "svd(ratio=0.3)", "--dtype", "f32"]);
    assert!((written / factored - 1.0).abs() < 1e-4, "{written} {factored}");
    let whitened = apply("whitened", &["--lowrank", "svd-llm(ratio=0.3)", "--token-ids", &path("calib.json")]);
    assert!(whitened.is_finite() && whitened.to_bits() != written.to_bits());
    let stacked = apply("stacked", &["--lowrank", "svd(ratio=0.3)", "--quant", "rtn(bits=8, group=-1)"]);
    assert!(stacked.is_finite());
    let refused = |arguments: &[&str], message: &str| {
        let ran = run(arguments);
        assert!(ran.code != 0 && ran.err.contains(message), "{} {}", ran.code, ran.err);
    };
    let model = ["score", "--model", "tiny-100k", "--token-ids", &path("ids.json"), "--lowrank"];
    refused(&[&model[..], &["svd-llm"]].concat(), "needs calibration text; write it with `harness apply`");
    refused(&[&model[..], &["svd(rank=60)"]].concat(), "rank 60 is not one of a");
    let out = path("gguf");
    let packed =
        ["apply", "--model", "tiny-100k", "--lowrank", "svd", "--quant", "q8_0", "--format", "gguf", "--out", &out];
    refused(&packed, "the maps are held as factors, which the format has no place for");
}

#[test]
fn receptive_fields_are_shown_in_theory_and_by_perplexity() {
    let show = |more: &[&str]| {
        let ran = run(&[&["inspect", "receptive-field", "--windows", "4"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    let json: Value = serde_json::from_str(&show(&["--model", "tiny-300k-alibi", "--json"])).unwrap();
    let fields: Vec<&Value> = (0..4).map(|head| &json["heads"][head]["fields"][0]).collect();
    assert_eq!(fields, [10, 37, 148, 590]);
    let empirical: Vec<u64> =
        json["empirical"].as_array().unwrap().iter().map(|field| field.as_u64().unwrap()).collect();
    assert!(empirical[0] >= 8 && empirical[0] <= empirical[1] && empirical[1] <= empirical[2] && empirical[2] < 256);
    let gradient: Vec<u64> = json["gradient"].as_array().unwrap().iter().map(|field| field.as_u64().unwrap()).collect();
    assert!(gradient[0] >= 2 && gradient[0] <= gradient[1] && gradient[1] <= gradient[2] && gradient[2] < 256);
    let text = show(&["--model", "tiny-300k-t5", "--epsilon", "0.1"]);
    assert!(text.starts_with("fields of 8 heads in theory:\n") && text.contains("no bound"), "{text}");
    let text = show(&["--model", "tiny-300k", "--epsilon", "0.1"]);
    assert!(text.starts_with("the model has rotary embeddings: no biases by distance alone"), "{text}");
    let ran = run(&["inspect", "receptive-field", "--model", "tiny-300k-alibi", "--epsilon", "1"]);
    assert!(ran.code == 2 && ran.err.contains("--epsilon 1 must lie between 0 and 1"), "{}", ran.err);
}
