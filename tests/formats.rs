//! What `apply` writes beside Hugging Face folders, GGUF files and folders of packed codes, and how `score` holds models.

use std::path::Path;

use harness_methods::registry;
use harness_model::decoder::Decoder;
use harness_model::load::{Checkpoint, expected_tensors, load};
use harness_model::tensor::with_values;
use harness_model::weight::DType;
use harness_run::shrink::shortened;
use serde_json::Value;

use crate::models;
use crate::support::{Ran, run, scratch};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(scratch());
        let windows: Vec<Vec<u32>> = (0..4).map(|salt| models::ids(64, 768, salt)).collect();
        std::fs::write(place.path("ids.json"), serde_json::to_string(&windows).unwrap()).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn apply(&self, out: &str, arguments: &[&str]) -> Checkpoint {
        let out = self.path(out);
        let ran = run(&[&["apply", "--model", "tiny-100k", "--out", &out], arguments].concat());
        assert_eq!((ran.code, ran.out.trim_end()), (0, out.as_str()), "{}", ran.err);
        load(Path::new(&out)).unwrap()
    }

    fn ran(&self, model: &str, arguments: &[&str]) -> Ran {
        run(&[&["score", "--json", "--model", model, "--token-ids", &self.path("ids.json")], arguments].concat())
    }

    fn score(&self, model: &str, arguments: &[&str]) -> Value {
        let ran = self.ran(model, arguments);
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }
}

fn perplexity(value: &Value) -> f64 {
    value["ppl"].as_f64().unwrap()
}

#[test]
fn gguf_holds_the_blocks_that_the_quantizer_made() {
    let place = Place::new();
    let dense = load(&crate::support::root().join("datasets/models/tiny-100k")).unwrap();
    let formats = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "mxfp4(round=ggml)"];
    for quant in formats {
        let file = format!("{quant}.gguf");
        let written = place.apply(&file, &["--quant", quant, "--format", "gguf"]);
        let folder = place.apply(quant, &["--quant", quant]);
        assert_eq!(written.config, dense.config, "{quant}");
        for spec in expected_tensors(&dense.config) {
            let values = written.tensor(&spec.name).unwrap().to_f32();
            assert_eq!(values, folder.tensor(&spec.name).unwrap().to_f32(), "{quant} {}", spec.name);
        }
        // What is not quantized is as it was stored, norms in f32.
        assert_eq!(written.tensor("model.embed_tokens.weight").unwrap().dtype(), DType::F16);
        assert_eq!(written.tensor("model.norm.weight").unwrap().dtype(), DType::F32);
        let (a, b) = (place.score(&place.path(&file), &[]), place.score(&place.path(quant), &[]));
        assert!((perplexity(&a) / perplexity(&b) - 1.0).abs() < 1e-9, "{quant}: {a} and {b}");
    }
}

#[test]
fn gguf_holds_plain_numbers_a_head_of_eight_bits_and_the_tokenizer() {
    let place = Place::new();
    let dense = load(&crate::support::root().join("datasets/models/tiny-100k")).unwrap();
    for (flag, dtype) in [("f32", DType::F32), ("f16", DType::F16), ("bf16", DType::Bf16)] {
        let written = place.apply(&format!("{flag}.gguf"), &["--format", "gguf", "--dtype", flag]);
        for (name, weight) in &dense.tensors {
            let stored = if weight.rows() == 1 { DType::F32 } else { dtype };
            let wanted = harness_model::weight::Weight::rounded(weight.rows(), weight.cols(), &weight.to_f32(), stored);
            let found = &written.tensors[name];
            assert_eq!((found.dtype(), found.to_f32()), (stored, wanted.to_f32()), "{flag} {name}");
        }
        let (old, new) = (dense.tokenizer.as_ref().unwrap(), written.tokenizer.unwrap());
        for special in [false, true] {
            assert_eq!(new.encode("the a , .", special).unwrap(), old.encode("the a , .", special).unwrap());
        }
    }
    let file = place.path("head.gguf");
    let ran = run(&[
        "apply",
        "--model",
        "tiny-100k",
        "--quant",
        "q8_0",
        "--head",
        "q8_0",
        "--format",
        "gguf",
        "--out",
        &file,
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("note: GGUF has no tables for this tokenizer"), "{}", ran.err);
    let written = load(Path::new(&file)).unwrap();
    assert!(
        written.source.contains("Quantised(Q8_0) × 15"),
        "seven maps in two blocks and the embedding: {}",
        written.source
    );
    // The embedding is rounded too, where a bench keeps it beside the head.
    let ours = perplexity(&place.score("tiny-100k", &["--quant", "q8_0", "--head", "q8_0"]));
    let theirs = perplexity(&place.score(&file, &[]));
    assert!((ours / theirs - 1.0).abs() < 2e-3, "{ours} and {theirs}");
}

#[test]
fn packed_folders_are_the_packed_models_of_a_bench() {
    let place = Place::new();
    let quants = [
        "rtn(group=64)",
        "rtn(bits=3, group=32, mode=sym)",
        "rtn(bits=8, group=-1)",
        "hqq(group=32)",
        "nf4(block=64)",
        "q4_k",
    ];
    for (at, quant) in quants.into_iter().enumerate() {
        let name = format!("packed-{at}");
        let written = place.apply(&name, &["--quant", quant, "--format", "packed"]);
        assert_eq!(written.packed.len(), 14, "{quant}");
        let folder = place.path(&name);
        let (ours, packed) =
            (place.score(&folder, &[]), place.score("tiny-100k", &["--quant", quant, "--exec", "packed"]));
        assert_eq!(ours["ppl"], packed["ppl"], "{quant}");
        assert_eq!(ours["execution"]["bytes"], packed["execution"]["bytes"], "{quant}");
        assert_eq!((&ours["execution"]["packed_maps"], &packed["execution"]["quant"]), (&14.into(), &quant.into()));
        let fake = perplexity(&place.score("tiny-100k", &["--quant", quant]));
        assert!((perplexity(&ours) / fake - 1.0).abs() < 1e-4, "{quant}: {ours} and {fake}");
        let int8 = ["--activations", "int8"];
        if quant.starts_with("nf4") {
            let ran = place.ran(&folder, &int8);
            assert_eq!(ran.code, 2);
            assert!(ran.reason().contains("no integer kernel"), "{}", ran.err);
            continue;
        }
        let direct = place.score("tiny-100k", &["--quant", quant, "--exec", "packed", "--activations", "int8"]);
        let rounded = place.score(&folder, &int8);
        assert_eq!(rounded["ppl"], direct["ppl"], "{quant}");
        assert_eq!(rounded["execution"]["activations"], "int8");
        assert_ne!(rounded["ppl"], ours["ppl"], "{quant}");
    }
    // A head of eight bits is a matrix of its own, in the folder as in a bench.
    let written = place.apply("head", &["--quant", "q4_0", "--head", "q8_0", "--format", "packed"]);
    assert_eq!((written.packed.len(), written.config.tied_head), (15, false));
    let direct = place.score("tiny-100k", &["--quant", "q4_0", "--exec", "packed", "--head", "q8_0"]);
    let ours = place.score(&place.path("head"), &[]);
    assert_eq!((&ours["ppl"], &ours["execution"]["bytes"]), (&direct["ppl"], &direct["execution"]["bytes"]));
    // A folder of packed codes is a checkpoint: its values are those of the codes.
    let folder = place.apply("values", &["--quant", "q4_0"]);
    let out = place.path("again");
    let ran = run(&["apply", "--model", &place.path("head"), "--dtype", "f32", "--out", &out]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let again = load(Path::new(&out)).unwrap();
    for spec in expected_tensors(&folder.config) {
        assert_eq!(again.tensors[&spec.name].to_f32(), folder.tensors[&spec.name].to_f32(), "{}", spec.name);
    }
    let text = run(&["generate", "--model", &place.path("head"), "--prompt", "the", "--max-tokens", "4"]);
    assert_eq!(text.code, 0, "{}", text.err);
}

#[test]
fn shorter_checkpoints_score_as_another_program_scores_such_models() {
    let place = Place::new();
    let reference = crate::support::reference("shorter.json");
    std::fs::write(place.path("ids.json"), reference["texts"].to_string()).unwrap();
    for (at, (shrink, blocks)) in
        [("drop-last(blocks=1)", &[0, 1][..]), ("drop-last(blocks=2)", &[0]), ("block-influence(blocks=1)", &[0, 2])]
            .into_iter()
            .enumerate()
    {
        let models = reference["models"].as_array().unwrap();
        let model = models
            .iter()
            .find(|model| {
                model["blocks"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|block| block.as_u64().unwrap())
                    .eq(blocks.iter().copied())
            })
            .unwrap();
        for (format, out) in [("huggingface", "folder"), ("gguf", "file.gguf")] {
            let (out, ids) = (place.path(&format!("{at}-{out}")), place.path("ids.json"));
            let source = ["apply", "--model", "tiny-1m", "--token-ids", &ids, "--format", format, "--dtype", "f32"];
            let ran = run(&[&source[..], &["--shrink", shrink, "--out", &out]].concat());
            assert_eq!(ran.code, 0, "{shrink}: {}", ran.err);
            let written = load(Path::new(&out)).unwrap();
            assert!(written.config.layers < 3 && written.tensors.keys().all(|name| !name.contains("layers.2.")));
            let found = perplexity(&place.score(&out, &[])).ln();
            let expected = model["nll"].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-4, "{shrink} as {format}: {found} for {expected}");
        }
    }
}

#[test]
fn merged_experts_are_written_and_read_again() {
    let place = Place::new();
    let apply = |arguments: &[&str], out: &str| {
        let ran = run(&[&["apply", "--model", "tiny-100k", "--out", &place.path(out)], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        perplexity(&place.score(&place.path(out), &[]))
    };
    // One expert, added whole, is that expert.
    let alone = apply(&["--merge", "task-arithmetic", "--experts", "tiny-100k-sea"], "alone");
    assert!((alone - perplexity(&place.score("tiny-100k-sea", &[]))).abs() < 1e-6);
    let both = apply(&["--merge", "della", "--experts", "tiny-100k-sea,tiny-100k-hill", "--seed", "3"], "both");
    assert!((both - alone).abs() > 0.1);
    let refused = run(&["apply", "--model", "tiny-100k", "--merge", "ties", "--out", &place.path("none")]);
    assert!(refused.code != 0 && refused.err.contains("there is no expert to merge"), "{}", refused.err);
    let refused = run(&[
        "apply",
        "--model",
        "tiny-100k",
        "--merge",
        "ties",
        "--experts",
        "tiny-300k",
        "--out",
        &place.path("none"),
    ]);
    assert!(refused.err.contains("merge models trained from one base"), "{}", refused.err);
}

/// Logits of a text by a checkpoint's decoder.
fn logits(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    let hidden = decoder.hidden(&[tokens]).unwrap().flatten_to(1).unwrap();
    with_values(&decoder.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap()
}

#[test]
fn narrower_checkpoints_compute_what_zeros_in_the_whole_model_compute() {
    let place = Place::new();
    let dense =
        Decoder::from_checkpoint(&load(&crate::support::root().join("datasets/models/tiny-1m")).unwrap()).unwrap();
    let windows: Vec<Vec<u32>> =
        serde_json::from_str(&std::fs::read_to_string(place.path("ids.json")).unwrap()).unwrap();
    let ids = place.path("ids.json");
    for (at, (shrink, class)) in [
        ("magnitude-width(ratio=0.34)", "LlamaForCausalLM"),
        ("wanda-width(heads=2, channels=70)", "LlamaForCausalLM"),
        ("flap(ratio=0.34, manner=ul-um)", "LlamaForCausalLM"),
        ("flap(ratio=0.34)", "HarnessForCausalLM"),
        ("llm-pruner(ratio=0.5, skip_first=1, skip_last=0)", "HarnessForCausalLM"),
        ("darwinlm(ratio=0.34, generations=2)", ""),
        ("slicegpt(ratio=0.34, interval=32)", "HarnessForCausalLM"),
        ("upscale(amount=0.34)", "HarnessForCausalLM"),
    ]
    .into_iter()
    .enumerate()
    {
        let (folder, packed) = (place.path(&format!("folder-{at}")), place.path(&format!("packed-{at}")));
        let asked = ["apply", "--model", "tiny-1m", "--token-ids", &ids, "--shrink", shrink];
        let ran = run(&[&asked[..], &["--dtype", "f32", "--out", &folder]].concat());
        assert_eq!(ran.code, 0, "{shrink}: {}", ran.err);
        let json = std::fs::read_to_string(Path::new(&folder).join("config.json")).unwrap();
        assert!(json.contains(class), "{shrink}");
        let other = !json.contains("LlamaForCausalLM");
        assert_eq!(ran.err.contains("this program alone reads what was written"), other, "{shrink}: {}", ran.err);
        let written = Decoder::from_checkpoint(&load(Path::new(&folder)).unwrap()).unwrap();
        let method = registry::shrink(&shrink.parse().unwrap()).unwrap();
        let made = shortened(&dense, &*method, Some(&windows), 0, &mut |_, _| {}).unwrap();
        let sliced = !made.shorter.stream.is_empty();
        let whole = match (made.reading(), sliced) {
            (Some(reading), _) => dense.unread(&reading).unwrap(),
            (None, true) => made.decoder.clone(),
            (None, false) => dense.masked(&made.narrow()).unwrap(),
        };
        let (found, expected) = (logits(&written, &windows[0]), logits(&whole, &windows[0]));
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4, "{shrink}: {a} for {b}");
        }
        // Packed codes and what they stand for compute the same, whatever the widths that groups divide.
        if class == "HarnessForCausalLM" {
            let ran = run(&[&asked[..], &["--quant", "q8_0", "--format", "packed", "--out", &packed]].concat());
            if shrink.starts_with("flap") || shrink.starts_with("upscale") {
                assert!(ran.code != 0 && ran.err.contains("groups of 32 do not divide"), "{shrink}: {}", ran.err);
            } else {
                assert_eq!(ran.code, 0, "{shrink}: {}", ran.err);
                let codes = load(Path::new(&packed)).unwrap();
                assert!(!codes.packed.is_empty() && codes.config.widths == written.config().widths);
                assert_eq!(codes.config.reads, written.config().reads);
                let near = perplexity(&place.score(&packed, &[])) / perplexity(&place.score(&folder, &[]));
                assert!((near - 1.0).abs() < 0.02, "{shrink}: {near}");
            }
            let text = run(&["generate", "--model", &folder, "--prompt", "the", "--max-tokens", "4"]);
            assert_eq!(text.code, 0, "{}", text.err);
            let file = place.path(&format!("{at}.gguf"));
            let refused = run(&[&asked[..], &["--format", "gguf", "--out", &file]].concat());
            let why = match (made.reading().is_some(), sliced) {
                (true, _) => "read a part of the residual stream",
                (false, true) => "was turned",
                (false, false) => "blocks of unequal widths",
            };
            assert!(refused.code != 0 && refused.err.contains(why), "{}", refused.err);
        }
    }
}
