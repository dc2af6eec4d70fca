#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::config::{Activation, NormKind, PositionScheme, RopeStyle};
use crate::load::{Checkpoint, fixtures, load};

fn original() -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    fixtures::place(folder.path(), &fixtures::folder());
    load(folder.path()).unwrap()
}

fn same(a: &Checkpoint, b: &Checkpoint) {
    assert_eq!(a.config, b.config);
    assert_eq!(a.tensors.keys().collect::<Vec<_>>(), b.tensors.keys().collect::<Vec<_>>());
    for (name, weight) in &a.tensors {
        assert_eq!(weight.to_f32(), b.tensors[name].to_f32(), "{name}");
    }
}

#[test]
fn a_folder_comes_back_in_every_type() {
    let checkpoint = original();
    let folder = tempfile::tempdir().unwrap();
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        for shard_bytes in [DEFAULT_SHARD_BYTES, 10_000] {
            let target = folder.path().join(format!("{dtype:?}-{shard_bytes}"));
            assert_eq!(write_folder(&target, &checkpoint, dtype, shard_bytes).unwrap(), target);
            assert_eq!(target.join("model.safetensors.index.json").exists(), shard_bytes == 10_000);
            let again = load(&target).unwrap();
            same(&checkpoint, &again);
            assert_eq!(again.tensors["model.norm.weight"].dtype(), dtype);
            let (old, new) = (checkpoint.tokenizer.as_ref().unwrap(), again.tokenizer.as_ref().unwrap());
            assert_eq!(old.encode("ab 12", true).unwrap(), new.encode("ab 12", true).unwrap());
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn variants_without_a_name_in_transformers_come_back() {
    let mut config = original().config;
    config.norm = NormKind::Layer;
    config.gated = false;
    config.activation = Activation::Gelu;
    config.position = PositionScheme::Learned;
    config.output_bias = true;
    config.tied_head = false;
    let variants = [
        config.clone(),
        Config { position: PositionScheme::Alibi, qkv_bias: true, ..config.clone() },
        Config { position: PositionScheme::None, mlp_bias: true, ..config.clone() },
        Config {
            position: PositionScheme::Rope { theta: 500.0, rotary: 8, style: RopeStyle::Interleaved },
            norm: NormKind::Rms,
            ..config
        },
    ];
    for config in variants {
        let tensors = expected_tensors(&config)
            .enumerate()
            .map(|(i, spec)| {
                (spec.name.clone(), Weight::from_f32(spec.rows, spec.cols, fixtures::values(spec.len(), i)))
            })
            .collect();
        let checkpoint = Checkpoint::new(config, tensors, None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("new/model");
        write_folder(&target, &checkpoint, DType::F32, DEFAULT_SHARD_BYTES).unwrap();
        same(&checkpoint, &load(&target).unwrap());
    }
}

#[test]
fn known_variants_get_the_names_transformers_knows() {
    let llama = original().config;
    let class = |config: &Config| config::config_json(config, DType::F16)["architectures"][0].clone();
    assert_eq!(class(&llama), "LlamaForCausalLM");
    assert_eq!(class(&Config { qkv_bias: true, ..llama.clone() }), "Qwen2ForCausalLM");
    assert_eq!(class(&Config { qkv_bias: true, output_bias: true, ..llama.clone() }), "LlamaForCausalLM");
    assert_eq!(class(&Config { norm: NormKind::Layer, ..llama.clone() }), "HarnessForCausalLM");
    let json = config::config_json(&llama, DType::F16);
    assert_eq!(json["rope_parameters"]["rope_theta"], 10_000.0);
    assert_eq!(json["torch_dtype"], "float16");
    assert_eq!(json["eos_token_id"], 0);
}

#[test]
fn tensors_may_come_in_any_order_but_all_must_come() {
    let checkpoint = original();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m");
    let specs: Vec<TensorSpec> = expected_tensors(&checkpoint.config).collect();
    let start = || FolderWriter::create(&target, &checkpoint.config, &specs, DType::F32, DEFAULT_SHARD_BYTES).unwrap();
    let mut writer = start();
    for (name, weight) in checkpoint.tensors.iter().rev() {
        writer.write(name, weight).unwrap();
    }
    assert!(!target.exists(), "nothing is seen before the end");
    writer.finish().unwrap();
    same(&checkpoint, &load(&target).unwrap());
    fs::remove_dir_all(&target).unwrap();

    let mut writer = start();
    assert!(writer.write_f32("x", &[]).unwrap_err().to_string().contains("was not announced"));
    assert!(
        writer.write_f32("model.norm.weight", &[0.0]).unwrap_err().to_string().contains("shape (32) was announced")
    );
    writer.write_f32("model.norm.weight", &[0.0; 32]).unwrap();
    assert!(writer.write_f32("model.norm.weight", &[0.0; 32]).unwrap_err().to_string().contains("twice"));
    let error = writer.finish().unwrap_err().to_string();
    assert_eq!(error, "19 announced tensors were never written, the first is model.embed_tokens.weight");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "an abandoned folder is removed");
}

#[test]
fn occupied_places_and_overflow_are_refused() {
    let checkpoint = original();
    let folder = tempfile::tempdir().unwrap();
    let specs: Vec<TensorSpec> = expected_tensors(&checkpoint.config).collect();
    fs::write(folder.path().join("file"), "").unwrap();
    for target in [folder.path().to_owned(), folder.path().join("file")] {
        let error = write_folder(&target, &checkpoint, DType::F32, DEFAULT_SHARD_BYTES).unwrap_err();
        assert!(matches!(error, WriteError::Occupied { .. }), "{error}");
    }
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    write_folder(&empty, &checkpoint, DType::F32, DEFAULT_SHARD_BYTES).unwrap();
    let target = folder.path().join("half");
    let mut writer = FolderWriter::create(&target, &checkpoint.config, &specs, DType::F16, 1 << 30).unwrap();
    let mut values = [1.0; 32];
    values[3] = 70_000.0;
    let error = writer.write_f32("model.norm.weight", &values).unwrap_err().to_string();
    assert_eq!(error, "tensor model.norm.weight holds 70000, which is too large for f16; write bf16 or f32");
}
