#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use proptest::prelude::*;
use tempfile::TempDir;

use super::fixtures::{self, Gguf, HEAD_DIM, HIDDEN, values};
use super::*;
use crate::config::{NormKind, PositionScheme, Projection};

fn write(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn load_gguf(gguf: &Gguf) -> Result<Checkpoint, LoadError> {
    let (_folder, path) = write("model.gguf", &gguf.build());
    load(&path)
}

fn load_folder(files: &[(&str, Vec<u8>)]) -> Result<Checkpoint, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    fixtures::place(folder.path(), files);
    load(folder.path())
}

fn message(result: Result<Checkpoint, LoadError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn gguf_llama_keeps_types_and_unpermutes_queries() {
    let checkpoint = load_gguf(&fixtures::gguf_pieces()).unwrap();
    assert_eq!((checkpoint.config.layers, checkpoint.config.vocab_size), (2, 259 + fixtures::PIECES.len()));
    assert_eq!(checkpoint.config.norm_epsilon, 1e-5);
    assert!(checkpoint.config.tied_head && !checkpoint.config.qkv_bias);
    // Block 0 in f16, block 1 with attention in f32 and its feed-forward matrices in blocks of 34 bytes.
    let bits = f64::from(9216 * 16 + 3072 * 32 + 6144 / 32 * 34 * 8) / 18432.0;
    assert_eq!(checkpoint.coded, Some(Coded { types: "Q8_0 × 3".to_owned(), bits }));
    let q = checkpoint.tensor(&Projection::Q.tensor(0)).unwrap();
    assert_eq!(q.dtype(), DType::F16);
    // In the file the rotary pairs are neighbours: row 2j + s of a head is row s·8 + j here.
    let stored = values(HIDDEN * HIDDEN, 3);
    let found = q.to_f32();
    for head in 0..2 {
        for j in 0..8 {
            for s in 0..2 {
                let (from, to) = (head * HEAD_DIM + 2 * j + s, head * HEAD_DIM + s * 8 + j);
                assert_eq!(found[to * HIDDEN..][..HIDDEN], stored[from * HIDDEN..][..HIDDEN]);
            }
        }
    }
    let v = checkpoint.tensor(&Projection::V.tensor(0)).unwrap();
    assert_eq!(v.to_f32(), values(HEAD_DIM * HIDDEN, 5));
    let gate = checkpoint.tensor(&Projection::Gate.tensor(1)).unwrap();
    assert_eq!(gate.dtype(), DType::F32);
    assert_eq!(gate.to_f32()[32..35], [1.25, 1.5, 1.75]);
    let norm = checkpoint.tensor("model.norm.weight").unwrap();
    assert_eq!((norm.rows(), norm.cols()), (1, HIDDEN));
    checkpoint.check_finite().unwrap();
}

#[test]
fn gguf_qwen2_has_biases_and_may_have_its_own_head() {
    let mut gguf = fixtures::gguf_byte_level("qwen2", "qwen2");
    let tied = load_gguf(&gguf).unwrap();
    assert!(tied.config.tied_head && tied.config.qkv_bias && !tied.config.output_bias);
    let stored = gguf.tensors.iter().position(|t| t.0 == "blk.0.attn_q.weight").unwrap();
    let q = tied.tensor("model.layers.0.self_attn.q_proj.weight").unwrap();
    assert_eq!(q.to_f32(), values(HIDDEN * HIDDEN, stored), "qwen2 rows are half-split already");
    assert_eq!(tied.tensor("model.layers.1.self_attn.k_proj.bias").unwrap().cols(), HEAD_DIM);
    assert_eq!(tied.chat_template.as_deref(), Some("{{ messages }}"));
    gguf.f32_tensor("output.weight", &[14, HIDDEN]);
    let untied = load_gguf(&gguf).unwrap();
    assert!(!untied.config.tied_head);
    assert_eq!(untied.tensor("lm_head.weight").unwrap().rows(), 14);
}

#[test]
fn every_block_type_gives_the_values_candle_gives() {
    let source: Vec<f32> = (0..3000 * 256).map(|i| ((i * 37 % 1009) as f32 - 504.0) / 300.0).collect();
    let source = Tensor::from_vec(source, (3000, 256), &Device::Cpu).unwrap();
    for (number, kind) in [
        (2, GgmlDType::Q4_0),
        (3, GgmlDType::Q4_1),
        (6, GgmlDType::Q5_0),
        (7, GgmlDType::Q5_1),
        (8, GgmlDType::Q8_0),
        (10, GgmlDType::Q2K),
        (11, GgmlDType::Q3K),
        (12, GgmlDType::Q4K),
        (13, GgmlDType::Q5K),
        (14, GgmlDType::Q6K),
        (15, GgmlDType::Q8K),
    ] {
        let quantised = QTensor::quantize(&source, kind).unwrap();
        let expected = quantised.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let bytes = quantised.data().unwrap();
        let block_type = ggml::BlockType::from_number(number).unwrap();
        assert_eq!(block_type, ggml::BlockType::Quantised(kind));
        assert_eq!(block_type.bytes(3000 * 256, 256), Some(bytes.len()));
        assert_eq!(ggml::dequantise(kind, &bytes).unwrap(), expected, "{kind:?}");
    }
    for unreadable in [4, 5, 9, 16, 24, 31, u32::MAX] {
        assert_eq!(ggml::BlockType::from_number(unreadable), None);
    }
}

#[test]
fn gguf_faults_are_named() {
    let good = fixtures::gguf_byte_level("llama", "smollm");
    let bytes = good.build();
    let (_folder, path) = write("m.gguf", b"");
    for length in (4..bytes.len()).step_by(61).chain([bytes.len() - 1]) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = load(&path).unwrap_err();
        assert!(matches!(error, LoadError::Malformed { .. }), "cut to {length} bytes: {error}");
    }
    let with = |change: &dyn Fn(&mut Gguf)| {
        let mut gguf = good.clone();
        change(&mut gguf);
        message(load_gguf(&gguf))
    };
    let patched = |at: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let (_folder, path) = write("m.gguf", &bytes);
        message(load(&path))
    };
    assert!(patched(4, &1u32.to_le_bytes()).contains("version is 1"));
    assert!(patched(4, &3u32.to_be_bytes()).contains("big-endian"));
    assert!(patched(8, &u64::MAX.to_le_bytes()).contains("18446744073709551615 tensors"));
    assert!(patched(16, &(1u64 << 60).to_le_bytes()).contains("1152921504606846976 values"));
    assert!(patched(24, &(1u64 << 62).to_le_bytes()).contains("bytes of text"));
    let deep = |gguf: &mut Gguf| {
        let mut nested = Vec::new();
        for _ in 0..5000 {
            nested.extend(9u32.to_le_bytes());
            nested.extend(1u64.to_le_bytes());
        }
        gguf.raw("deep", 9, &nested);
    };
    assert!(with(&deep).contains("nested more than 4 deep"));
    assert!(with(&|g| g.raw("k", 13, &[])).contains("value type 13"));
    assert!(with(&|g| g.list("k", 77, &[])).contains("element type 77"));
    assert!(with(&|g| g.number("general.alignment", 24)).contains("alignment"));
    assert!(with(&|g| g.text("general.architecture", "x")).contains("occurs twice"));
    assert!(with(&|g| g.tensors.push(g.tensors[0].clone())).contains("token_embd.weight occurs twice"));
    assert!(with(&|g| g.tensors[0].2 = 16).contains("ggml's number 16"));
    assert!(with(&|g| g.tensors[0].1 = vec![usize::MAX, HIDDEN]).contains("whole number"));
    assert!(with(&|g| g.tensors[0].1 = vec![1 << 40, HIDDEN]).contains("past the end"));
    assert!(with(&|g| g.tensors[0].1 = vec![0, HIDDEN]).contains("a dimension is 0"));
    assert!(with(&|g| g.tensors[0].1 = vec![1, 1, 1, 1, 1]).contains("5 dimensions"));
    // One row more reaches into the next tensor.
    assert!(with(&|g| g.tensors[0].1[0] += 1).contains("overlap"));
    assert!(
        with(&|g| drop(g.tensors.remove(3)))
            .contains("lacks the tensor model.layers.0.self_attn.q_proj.weight of shape (32, 32)")
    );
    assert!(
        with(&|g| g.tensors[3].1 = vec![64, 16])
            .contains("q_proj.weight has shape (64, 16), but the configuration calls for (32, 32)")
    );
    assert!(with(&|g| g.tensors[1].1 = vec![1, 32]).contains("input_layernorm.weight has shape (1, 32)"));
    assert!(with(&|g| g.f32_tensor("blk.0.attn_sub_norm.weight", &[4])).contains("no place for"));
    assert!(with(&|g| g.f32_tensor("blk.7.attn_norm.weight", &[32])).contains("model.layers.7.input_layernorm.weight"));
}

#[test]
fn tokenizers_of_gguf_must_fit() {
    let with = |change: &dyn Fn(&mut Gguf)| {
        let mut gguf = fixtures::gguf_decoder("llama", 14);
        gguf.text("tokenizer.ggml.model", "gpt2");
        change(&mut gguf);
        message(load_gguf(&gguf))
    };
    let tokens = fixtures::BYTE_LEVEL_TOKENS;
    let mismatch = with(&|g| g.texts("tokenizer.ggml.tokens", &tokens[..13]));
    assert!(mismatch.contains("uses 13 token ids, the model has 14"), "{mismatch}");
    let unknown = with(&|g| {
        g.texts("tokenizer.ggml.tokens", &tokens);
        g.text("tokenizer.ggml.pre", "klingon");
    });
    assert!(unknown.contains("the pre-tokenizer \"klingon\" is not supported; known are default"), "{unknown}");
    let merge = with(&|g| {
        g.texts("tokenizer.ggml.tokens", &tokens);
        g.texts("tokenizer.ggml.merges", &["a c"]);
    });
    assert!(merge.contains("the merge \"a c\" needs the token \"ac\""), "{merge}");
    let twice = with(&|g| {
        let mut tokens = tokens;
        tokens[13] = "a";
        g.texts("tokenizer.ggml.tokens", &tokens);
    });
    assert!(twice.contains("the token \"a\" has two ids, 2 and 13"), "{twice}");
    let special = with(&|g| {
        g.texts("tokenizer.ggml.tokens", &tokens);
        g.number("tokenizer.ggml.eos_token_id", 99);
    });
    assert!(special.contains("special token 99"), "{special}");
}

#[test]
fn folders_load_mapped_and_hash_their_files() {
    let checkpoint = load_folder(&fixtures::folder()).unwrap();
    assert_eq!(
        checkpoint.config.position,
        PositionScheme::Rope { theta: 10_000.0, rotary: 16, style: crate::config::RopeStyle::HalfSplit }
    );
    assert_eq!(checkpoint.tensor("model.embed_tokens.weight").unwrap().to_f32(), values(14 * HIDDEN, 0));
    let tokenizer = checkpoint.tokenizer.as_ref().unwrap();
    assert_eq!(tokenizer.encode("abc", true).unwrap(), [1, 9]);
    let lines = |files: &[(&str, Vec<u8>)]| {
        let mut lines: Vec<_> =
            files.iter().map(|(name, bytes)| (name.to_string(), hex(&Sha256::digest(bytes)))).collect();
        lines.sort();
        lines.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect::<String>()
    };
    assert_eq!(checkpoint.hash(), hex(&Sha256::digest(lines(&fixtures::folder()))));
    let mut other = fixtures::folder();
    let last = other[1].1.len() - 1;
    other[1].1[last] ^= 1;
    assert_ne!(load_folder(&other).unwrap().hash(), checkpoint.hash());
}

#[test]
fn folder_faults_are_named() {
    let with = |change: &dyn Fn(&mut Vec<(&'static str, Vec<u8>)>)| {
        let mut files = fixtures::folder();
        change(&mut files);
        message(load_folder(&files))
    };
    let config = |from: &'static str, to: &'static str| {
        with(&|files| files[0].1 = String::from_utf8(files[0].1.clone()).unwrap().replace(from, to).into_bytes())
    };
    let header = |text: &str, data: usize| with(&|files| files[1].1 = fixtures::with_header(text, &vec![0; data]));
    assert!(with(&|files| drop(files.remove(0))).contains("no config.json"));
    assert!(with(&|files| drop(files.remove(1))).contains("neither model.safetensors nor"));
    assert!(with(&|files| files[1].0 = "pytorch_model.bin").contains("pickle"));
    assert!(with(&|files| files[0].1.truncate(20)).contains("config.json is damaged"));
    assert!(config("LlamaForCausalLM", "GPT2LMHeadModel").contains("the architecture \"GPT2LMHeadModel\""));
    assert!(config("\"hidden_size\":32", "\"hidden_size\":-3").contains("hidden_size is -3"));
    assert!(config("\"num_hidden_layers\":2", "\"num_hidden_layers\":99999999999").contains("out of range"));
    assert!(
        config("\"num_hidden_layers\":2", "\"num_hidden_layers\":200000000").contains("model.layers.2.input_layernorm")
    );
    assert!(config("\"num_hidden_layers\":2", "\"num_hidden_layers\":1").contains("no place for"));
    assert!(config("\"num_key_value_heads\":1", "\"num_key_value_heads\":3").contains("cannot share"));
    assert!(config("silu", "relu").contains("the activation relu"));
    assert!(config("\"vocab_size\":14", "\"vocab_size\":13").contains("uses 14 token ids, the model has 13"));
    assert!(with(&|files| files[1].1.truncate(5)).contains("header of a file of 5 bytes"));
    assert!(with(&|files| files[1].1[..8].copy_from_slice(&u64::MAX.to_le_bytes())).contains("damaged"));
    assert!(with(&|files| files[1].1[..8].copy_from_slice(&(1u64 << 25).to_le_bytes())).contains("damaged"));
    assert!(with(&|files| files[1].1 = files[1].1[1..].to_vec()).contains("damaged"), "shifted");
    let short = |file: &[u8]| file[..file.len() - 1].to_vec();
    assert!(with(&|files| files[1].1 = short(&files[1].1)).contains("damaged"), "truncated");
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    assert!(header(overlap, 12).contains("damaged"));
    let integer = r#"{"model.embed_tokens.weight":{"dtype":"I64","shape":[1,1],"data_offsets":[0,8]}}"#;
    assert!(header(integer, 8).contains("model.embed_tokens.weight is stored as I64"));
    let misshaped = r#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
    assert!(header(misshaped, 8).contains("has shape (1, 2), but the configuration calls for (14, 32)"));
    let cube = r#"{"x":{"dtype":"F32","shape":[1,1,2],"data_offsets":[0,8]}}"#;
    assert!(header(cube, 8).contains("shape (1, 1, 2)"));
    assert!(with(&|files| files[2].1.truncate(99)).contains("tokenizer.json: the tokenizer cannot be built"));
}

#[test]
fn shards_are_joined_and_may_not_leave_the_folder() {
    let names: Vec<(String, Vec<usize>)> = vec![("model.norm.weight".into(), vec![HIDDEN])];
    let whole = fixtures::folder().remove(1).1;
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(whole[8..8 + length].to_vec()).unwrap();
    let at = text.find(",\"model.norm.weight\"").unwrap();
    let first = fixtures::with_header(&format!("{}}}", &text[..at]), &whole[8 + length..whole.len() - HIDDEN * 4]);
    let index = |second: &str| {
        format!(r#"{{"weight_map":{{"model.embed_tokens.weight":"a.safetensors","model.norm.weight":"{second}"}}}}"#)
    };
    let files = |second: &str| {
        let mut files = fixtures::folder();
        files.remove(1);
        files.push(("a.safetensors", first.clone()));
        files.push(("b.safetensors", fixtures::safetensors(&names)));
        files.push(("model.safetensors.index.json", index(second).into_bytes()));
        files
    };
    let checkpoint = load_folder(&files("b.safetensors")).unwrap();
    assert_eq!(checkpoint.tensor("model.norm.weight").unwrap().to_f32(), values(HIDDEN, 0));
    assert!(message(load_folder(&files("../b.safetensors"))).contains("outside the folder"));
    assert!(message(load_folder(&files("/etc/passwd"))).contains("outside the folder"));
    assert!(message(load_folder(&files("c.safetensors"))).contains("cannot read"));
    assert!(message(load_folder(&files("a.safetensors"))).contains("which no file holds"));
}

#[test]
fn damaged_weights_are_found() {
    for (value, text) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let mut files = fixtures::folder();
        let bytes = &mut files[1].1;
        let at = bytes.len() - HIDDEN * 4 + 20;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let checkpoint = load_folder(&files).unwrap();
        let error = checkpoint.check_finite().unwrap_err().to_string();
        assert!(error.contains(&format!("model.norm.weight holds {text} at row 0, column 5")), "{error}");
    }
}

#[test]
fn pickles_and_strangers_are_refused() {
    for bytes in [&b"PK\x03\x04zip"[..], b"\x80\x02}q\x00."] {
        let (_folder, path) = write("model.bin", bytes);
        assert!(matches!(load(&path), Err(LoadError::Pickle { .. })));
    }
    for (name, bytes) in [("a.txt", &b"hello"[..]), ("a.gguf", b""), ("a.safetensors", b"12345678{}")] {
        let (_folder, path) = write(name, bytes);
        assert!(matches!(load(&path), Err(LoadError::UnknownFormat { .. })), "{name}");
    }
    assert!(matches!(load(Path::new("/nowhere/at/all")), Err(LoadError::Io { .. })));
}

#[test]
fn weights_in_memory_are_checked_like_files() {
    let loaded = load_folder(&fixtures::folder()).unwrap();
    let again = Checkpoint::new(loaded.config.clone(), loaded.tensors.clone(), None).unwrap();
    assert_eq!(again.hash().len(), 64);
    let mut tensors = loaded.tensors.clone();
    tensors.remove("model.norm.weight");
    assert!(matches!(Checkpoint::new(loaded.config.clone(), tensors, None), Err(LoadError::MissingTensor { .. })));
    let mut config = loaded.config.clone();
    config.norm = NormKind::Layer;
    let error = Checkpoint::new(config, loaded.tensors, None).unwrap_err().to_string();
    assert!(error.contains("lacks the tensor model.layers.0.input_layernorm.bias of shape (32)"), "{error}");
}

/// Loads a mutated file and uses whatever comes out; only the absence of panics is asserted.
fn exercise(path: &Path) {
    if let Ok(checkpoint) = load(path) {
        let _ = checkpoint.check_finite();
        assert_eq!(checkpoint.hash().len(), 64);
        if let Some(tokenizer) = &checkpoint.tokenizer {
            let ids = tokenizer.encode("ab cab! 12 é <|end|>", true).unwrap_or_default();
            let _ = tokenizer.decode(&ids);
            let _ = tokenizer.to_json();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_gguf_never_panics(seed: u64, which in 0usize..3) {
        let mut bytes = match which {
            0 => fixtures::gguf_byte_level("llama", "smollm"),
            1 => fixtures::gguf_byte_level("qwen2", "qwen2"),
            _ => fixtures::gguf_pieces(),
        }.build();
        fixtures::mutate(&mut bytes, seed);
        let (_folder, path) = write("m.gguf", &bytes);
        exercise(&path);
    }

    #[test]
    fn mutated_folders_never_panic(seed: u64, which in 0usize..3) {
        let mut files = fixtures::folder();
        fixtures::mutate(&mut files[which].1, seed);
        let folder = tempfile::tempdir().unwrap();
        fixtures::place(folder.path(), &files);
        exercise(folder.path());
    }

    #[test]
    fn mutated_llama2c_never_panics(seed: u64, which in 0usize..2) {
        let (mut model, mut tokenizer) = fixtures::llama2c(true);
        fixtures::mutate(if which == 0 { &mut model } else { &mut tokenizer }, seed);
        let folder = tempfile::tempdir().unwrap();
        fixtures::place(folder.path(), &[("m.bin", model), ("tokenizer.bin", tokenizer)]);
        exercise(&folder.path().join("m.bin"));
    }
}
