#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::config::{Activation, NormKind, PositionScheme, RopeStyle};
use crate::load::{Checkpoint, expected_tensors, fixtures, load};

fn read(bytes: &[u8]) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, bytes).unwrap();
    load(&path).unwrap()
}

fn folder_checkpoint() -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    fixtures::place(folder.path(), &fixtures::folder());
    load(folder.path()).unwrap()
}

fn tensors(config: &Config, dtype: DType) -> Vec<GgufTensor> {
    let kind = |spec: &TensorSpec| if spec.vector { 0 } else { plain_kind(dtype) };
    expected_tensors(config).map(|spec| GgufTensor { kind: kind(&spec), spec }).collect()
}

fn header(checkpoint: &Checkpoint) -> GgufHeader<'_> {
    GgufHeader {
        config: &checkpoint.config,
        tokenizer: checkpoint.tokenizer.as_ref(),
        chat_template: checkpoint.chat_template.as_deref(),
        name: "tiny",
        file_type: 0,
        divisors: None,
    }
}

fn write(target: &Path, checkpoint: &Checkpoint, dtype: DType) -> Result<PathBuf, WriteError> {
    let mut writer = GgufWriter::create(target, &header(checkpoint), &tensors(&checkpoint.config, dtype))?;
    for (name, weight) in checkpoint.tensors.iter().rev() {
        writer.write_weight(name, weight)?;
    }
    writer.finish()
}

#[test]
fn what_is_written_is_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let sources = [
        folder_checkpoint(),
        read(&fixtures::gguf_byte_level("llama", "smollm").build()),
        read(&fixtures::gguf_byte_level("qwen2", "qwen2").build()),
        read(&fixtures::gguf_pieces().build()),
    ];
    for (at, source) in sources.iter().enumerate() {
        for dtype in [DType::F32, DType::F16, DType::Bf16] {
            let target = folder.path().join(format!("{at}-{dtype:?}.gguf"));
            assert_eq!(write(&target, source, dtype).unwrap(), target);
            let again = load(&target).unwrap();
            assert_eq!(again.config, source.config, "{at}");
            assert_eq!(again.chat_template, source.chat_template);
            for (name, weight) in &source.tensors {
                let found = &again.tensors[name];
                let stored = if found.rows() == 1 { DType::F32 } else { dtype };
                let wanted = Weight::rounded(weight.rows(), weight.cols(), &weight.to_f32(), stored);
                assert_eq!((found.dtype(), found.to_f32()), (stored, wanted.to_f32()), "{at} {name}");
            }
            let (old, new) = (source.tokenizer.as_ref().unwrap(), again.tokenizer.as_ref().unwrap());
            for text in ["ab 12", "abc ab!", " a  b", ""] {
                for special in [false, true] {
                    assert_eq!(old.encode(text, special).unwrap(), new.encode(text, special).unwrap(), "{at} {text}");
                }
            }
            assert_eq!((old.bos(), old.eos()), (new.bos(), new.eos()));
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn llama_rows_are_interleaved_and_those_of_qwen2_are_not() {
    for (architecture, permuted) in [("llama", true), ("qwen2", false)] {
        let bytes = fixtures::gguf_byte_level(architecture, "qwen2").build();
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("again.gguf");
        write(&target, &read(&bytes), DType::F32).unwrap();
        let written = fs::read(&target).unwrap();
        // The fixture's own values of a query in f32, in file order.
        let query = fixtures::gguf_decoder(architecture, 14).tensors.into_iter().find(|t| t.0 == "blk.1.attn_q.weight");
        let query = query.unwrap().3;
        assert!(written.windows(query.len()).any(|window| window == query), "{architecture}: rows lie as they lay");
        let canonical: Vec<u8> = read(&bytes).tensors["model.layers.1.self_attn.q_proj.weight"]
            .to_f32()
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(canonical != query, permuted);
    }
}

#[test]
fn blocks_lie_in_rows_and_move_with_them() {
    let source = read(&fixtures::gguf_byte_level("llama", "smollm").build());
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("blocks.gguf");
    let name = "model.layers.0.self_attn.q_proj.weight";
    let mut specs = tensors(&source.config, DType::F32);
    specs.iter_mut().find(|tensor| tensor.spec.name == name).unwrap().kind = 8;
    let mut writer = GgufWriter::create(&target, &header(&source), &specs).unwrap();
    // Q8_0: row r holds the codes r, with the scale 1.
    let bytes: Vec<u8> = (0..32_u8).flat_map(|row| [&[0x00, 0x3c][..], &[row; 32]].concat()).collect();
    assert!(writer.write(name, &bytes[1..]).unwrap_err().to_string().contains("another number of bytes"));
    assert!(writer.write_weight(name, &source.tensors[name]).unwrap_err().to_string().contains("as blocks"));
    writer.write(name, &bytes).unwrap();
    for (other, weight) in source.tensors.iter().filter(|(other, _)| *other != name) {
        writer.write_weight(other, weight).unwrap();
    }
    writer.finish().unwrap();
    let rows: Vec<f32> = load(&target).unwrap().tensors[name].to_f32().chunks(32).map(|row| row[0]).collect();
    assert_eq!(rows, (0..32).map(|row| row as f32).collect::<Vec<_>>());
    // In the file, row 1 of the first head is the middle row of the canonical layout.
    let written = fs::read(&target).unwrap();
    let lie = [&[0x00, 0x3c][..], &[0; 32], &[0x00, 0x3c], &[8; 32], &[0x00, 0x3c], &[1; 32]].concat();
    assert!(written.windows(lie.len()).any(|window| window == lie));
}

#[test]
fn what_gguf_has_no_words_for_is_refused() {
    let config = folder_checkpoint().config;
    let rope = |rotary, style| PositionScheme::Rope { theta: 1e4, rotary, style };
    let variants = [
        (Config { position: PositionScheme::Alibi, ..config.clone() }, "ALiBi"),
        (Config { position: PositionScheme::Learned, ..config.clone() }, "learned positions"),
        (Config { position: PositionScheme::None, ..config.clone() }, "without positions"),
        (Config { position: rope(8, RopeStyle::HalfSplit), ..config.clone() }, "8 of 16 dimensions"),
        (Config { norm: NormKind::Layer, ..config.clone() }, "layer normalisation"),
        (Config { gated: false, ..config.clone() }, "without a gate"),
        (Config { activation: Activation::Gelu, ..config.clone() }, "activation Gelu"),
        (Config { eos: vec![0, 1, 2, 3], ..config.clone() }, "4 tokens that end a text"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    for (config, what) in variants {
        let header = GgufHeader {
            config: &config,
            tokenizer: None,
            chat_template: None,
            name: "x",
            file_type: 0,
            divisors: None,
        };
        let error = GgufWriter::create(&target, &header, &[]).unwrap_err().to_string();
        assert!(error.starts_with("GGUF cannot express ") && error.contains(what), "{error}");
    }
    let several = Config { eos: vec![0, 2, 3], qkv_bias: true, mlp_bias: true, ..config };
    let weights = expected_tensors(&several)
        .enumerate()
        .map(|(salt, spec)| {
            (spec.name.clone(), Weight::from_f32(spec.rows, spec.cols, fixtures::values(spec.len(), salt)))
        })
        .collect();
    let source = Checkpoint::new(several, weights, None).unwrap();
    let again = load(&write(&target, &source, DType::F32).unwrap()).unwrap();
    assert_eq!(again.config, source.config, "biases beside those of queries, keys and values, and three ends");
    assert!(again.tokenizer.is_none());
    for (name, weight) in &source.tensors {
        assert_eq!(again.tensors[name].to_f32(), weight.to_f32(), "{name}");
    }
}

#[test]
fn places_and_tensors_are_checked() {
    let source = folder_checkpoint();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    let specs = tensors(&source.config, DType::F32);
    let start = || GgufWriter::create(&target, &header(&source), &specs);
    let mut writer = start().unwrap();
    let norm = Weight::from_f32(1, 32, vec![0.0; 32]);
    assert!(writer.write_weight("x", &norm).unwrap_err().to_string().contains("was not announced"));
    writer.write_weight("model.norm.weight", &norm).unwrap();
    assert!(writer.write_weight("model.norm.weight", &norm).unwrap_err().to_string().contains("twice"));
    let short = Weight::from_f32(1, 2, vec![0.0; 2]);
    let error = writer.write_weight("model.layers.0.input_layernorm.weight", &short).unwrap_err();
    assert!(error.to_string().contains("shape (32) was announced"), "{error}");
    assert!(!target.exists(), "nothing is seen before the end");
    assert_eq!(
        writer.finish().unwrap_err().to_string(),
        "19 announced tensors were never written, the first is model.embed_tokens.weight"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "an abandoned file is removed");
    fs::write(&target, "mine").unwrap();
    let error = start().unwrap_err();
    assert!(matches!(&error, WriteError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    // Rows that are no whole blocks, a type and a name that are not known.
    let other = folder.path().join("other.gguf");
    for (spec, kind, what) in [
        (TensorSpec::matrix("lm_head.weight", 3, 48), 8, "whole number of blocks"),
        (TensorSpec::matrix("lm_head.weight", 3, 64), 5, "not known"),
        (TensorSpec::matrix("model.embed_positions.weight", 3, 64), 0, "no name in GGUF"),
    ] {
        let error = GgufWriter::create(&other, &header(&source), &[GgufTensor { spec, kind }]).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let large = Weight::from_f32(32, 32, vec![1e6; 1024]);
    let mut writer = GgufWriter::create(&other, &header(&source), &tensors(&source.config, DType::F16)).unwrap();
    let error = writer.write_weight("model.layers.0.self_attn.o_proj.weight", &large).unwrap_err();
    assert!(matches!(&error, WriteError::Overflow { .. }), "{error}");
}
