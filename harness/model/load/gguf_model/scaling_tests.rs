//! Rotary scaling of GGUF files, and that writing gives back what was read.

#![allow(clippy::unwrap_used)]

use std::fs;

use crate::config::{Config, Scaling};
use crate::load::fixtures::{self, Gguf, HEAD_DIM};
use crate::load::{Checkpoint, LoadError, expected_tensors, load};
use crate::weight::{DType, Weight};
use crate::write::gguf::{GgufHeader, GgufTensor, GgufWriter, plain_kind};

const PAIRS: usize = HEAD_DIM / 2;

fn read(gguf: &Gguf) -> Result<Checkpoint, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, gguf.build()).unwrap();
    load(&path)
}

fn with(architecture: &str, change: &dyn Fn(&mut Gguf)) -> Result<Checkpoint, LoadError> {
    let mut gguf = fixtures::gguf_decoder(architecture, 14);
    change(&mut gguf);
    read(&gguf)
}

fn list(gguf: &mut Gguf, name: &str, values: &[f32]) {
    gguf.tensor(name, &[values.len()], 0, values.iter().flat_map(|value| value.to_le_bytes()).collect());
}

fn yarn(gguf: &mut Gguf) {
    gguf.text("llama.rope.scaling.type", "yarn");
    gguf.float("llama.rope.scaling.factor", 4.0);
    gguf.number("llama.rope.scaling.original_context_length", 16);
}

fn longrope(gguf: &mut Gguf) {
    gguf.text("llama.rope.scaling.type", "longrope");
    gguf.number("llama.rope.scaling.original_context_length", 16);
    gguf.float("llama.rope.scaling.attn_factor", 1.25);
    list(gguf, "rope_factors_short.weight", &[1.0; PAIRS]);
    list(gguf, "rope_factors_long.weight", &[1.0, 1.1, 1.5, 2.0, 4.0, 4.0, 5.0, 5.5]);
}

#[test]
fn every_kind_is_read() {
    type Change = &'static dyn Fn(&mut Gguf);
    let cases: [(Change, &str, Option<usize>); 7] = [
        (
            &|g| {
                g.text("llama.rope.scaling.type", "linear");
                g.float("llama.rope.scaling.factor", 2.5);
            },
            "linear(factor=2.5)",
            None,
        ),
        // Without a type, and under the key of old files.
        (&|g| g.float("llama.rope.scale_linear", 4.0), "linear(factor=4)", None),
        (&yarn, "yarn(factor=4)", Some(16)),
        (
            &|g| {
                yarn(g);
                g.float("llama.rope.scaling.yarn_beta_fast", 16.0);
                g.float("llama.rope.scaling.yarn_beta_slow", 2.0);
            },
            "yarn(factor=4, fast=16, slow=2)",
            Some(16),
        ),
        (
            &longrope,
            "longrope(factor=1, short=[1, 1, 1, 1, 1, 1, 1, 1], long=[1, 1.1, 1.5, 2, 4, 4, 5, 5.5], attention_factor=1.25)",
            Some(16),
        ),
        (
            &|g| list(g, "rope_freqs.weight", &[1.0, 1.0, 1.0, 1.7, 8.0, 8.0, 8.0, 8.0]),
            "longrope(factor=1, short=[1, 1, 1, 1.7, 8, 8, 8, 8], long=[1, 1, 1, 1.7, 8, 8, 8, 8])",
            None,
        ),
        (
            &|g| {
                g.float("llama.rope.scaling.factor", 2.0);
                g.float("llama.rope.scaling.attn_factor", 1.5);
            },
            "longrope(factor=1, short=[2, 2, 2, 2, 2, 2, 2, 2], long=[2, 2, 2, 2, 2, 2, 2, 2], attention_factor=1.5)",
            None,
        ),
    ];
    for (change, arm, trained) in cases {
        let Scaling { arm: found, trained: length, .. } = with("llama", change).unwrap().config.scaling.unwrap();
        assert_eq!((found.to_string().as_str(), length), (arm, trained));
    }
    let hot = with("llama", &|g| {
        yarn(g);
        g.float("llama.rope.scaling.attn_factor", 0.5);
    });
    let arm = hot.unwrap().config.scaling.unwrap().arm;
    let factor = arm.get("attention_factor").and_then(harness_core::Value::as_number).unwrap();
    assert!((factor - 0.5 * (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12, "{factor}");
}

#[test]
fn files_that_scale_nothing_have_no_scaling() {
    type Change = &'static dyn Fn(&mut Gguf);
    let cases: [Change; 3] = [
        &|_| {},
        &|g| {
            g.text("llama.rope.scaling.type", "none");
            g.float("llama.rope.scaling.factor", 4.0);
        },
        &|g| g.float("llama.rope.scaling.factor", 0.0),
    ];
    for change in cases {
        assert!(with("llama", change).unwrap().config.scaling.is_none());
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let said = |architecture: &str, change: &dyn Fn(&mut Gguf)| with(architecture, change).unwrap_err().to_string();
    let refused = |change: &dyn Fn(&mut Gguf)| said("llama", change);
    assert!(
        refused(&|g| g.text("llama.rope.scaling.type", "alibi")).contains("rotary scaling \"alibi\"; none, linear")
    );
    assert!(
        refused(&|g| list(g, "rope_freqs.weight", &[1.0; 3])).contains("holds [3] factors; the model rotates 8 pairs")
    );
    assert!(refused(&|g| list(g, "rope_freqs.weight", &[f32::NAN; PAIRS])).contains("rope_freqs.weight holds NaN"));
    assert!(refused(&|g| g.float("llama.rope.scaling.factor", f32::INFINITY)).contains("factor is inf"));
    assert!(
        refused(&|g| g.text("llama.rope.scaling.type", "yarn"))
            .contains("needs llama.rope.scaling.original_context_length")
    );
    assert!(
        refused(&|g| g.text("llama.rope.scaling.type", "longrope")).contains("without the tensors rope_factors_short")
    );
    assert!(refused(&|g| g.float("llama.rope.scaling.yarn_ext_factor", 0.5)).contains("yarn_ext_factor = 0.5"));
    let beside = |g: &mut Gguf| {
        yarn(g);
        list(g, "rope_freqs.weight", &[1.0; PAIRS]);
    };
    assert!(refused(&beside).contains("\"yarn\" with rotary frequency factors"));
    let lone = |g: &mut Gguf| list(g, "rope_factors_long.weight", &[1.0; PAIRS]);
    assert!(refused(&lone).contains("\"linear\" with rotary frequency factors"));
    let qwen = said("qwen2", &|g| list(g, "rope_freqs.weight", &[1.0; PAIRS]));
    assert!(qwen.contains("rotary frequency factors in the architecture qwen2"), "{qwen}");
}

/// Writes a decoder of `config` and reads it again.
fn again(config: &Config, divisors: Option<&[f32]>) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    let header = GgufHeader { config, tokenizer: None, chat_template: None, name: "x", file_type: 0, divisors };
    let specs: Vec<_> = expected_tensors(config).collect();
    let tensors: Vec<_> =
        specs.iter().map(|spec| GgufTensor { spec: spec.clone(), kind: plain_kind(DType::F32) }).collect();
    let mut writer = GgufWriter::create(&target, &header, &tensors).map_err(|error| error.to_string())?;
    for (salt, spec) in specs.iter().enumerate() {
        let values = fixtures::values(spec.len(), salt);
        writer.write_weight(&spec.name, &Weight::from_f32(spec.rows, spec.cols, values)).unwrap();
    }
    writer.finish().unwrap();
    let checkpoint = load(&target).unwrap();
    for (salt, spec) in specs.iter().enumerate() {
        assert_eq!(checkpoint.tensors[&spec.name].to_f32(), fixtures::values(spec.len(), salt), "{}", spec.name);
    }
    Ok(checkpoint.config)
}

fn scaled(arm: &str, trained: Option<usize>) -> Config {
    let plain = with("llama", &|_| {}).unwrap().config;
    Config { scaling: Some(Scaling { arm: arm.parse().unwrap(), trained, net: None }), ..plain }
}

#[test]
fn files_give_back_the_scaling_that_was_read() {
    for (arm, trained) in [
        ("linear(factor=2.5)", None),
        ("linear(factor=2.5)", Some(12)),
        ("yarn(factor=4)", Some(16)),
        ("longrope(factor=1, short=[1, 1, 1, 1, 1, 1, 1, 1], long=[1, 1, 1.25, 2, 4, 4, 5, 5.5])", Some(16)),
        (
            "longrope(factor=1, short=[1, 1, 1, 1.7, 8, 8, 8, 8], long=[1, 1, 1, 1.7, 8, 8, 8, 8], attention_factor=1.5)",
            None,
        ),
    ] {
        let config = scaled(arm, trained);
        assert_eq!(again(&config, None).unwrap(), config, "{arm}");
    }
    // Its formula is not in the file; what it makes of every pair is.
    let llama3 = scaled("llama3(factor=8, low=1, high=4)", Some(16));
    let divisors = [1.0, 1.0, 1.0, 2.5, 8.0, 8.0, 8.0, 8.0];
    let Scaling { arm, trained, .. } = again(&llama3, Some(&divisors)).unwrap().scaling.unwrap();
    assert_eq!(
        arm.to_string(),
        "longrope(factor=1, short=[1, 1, 1, 2.5, 8, 8, 8, 8], long=[1, 1, 1, 2.5, 8, 8, 8, 8])"
    );
    assert_eq!(trained, Some(16));
    // Temperatures come back to single precision.
    for (arm, expected) in [
        ("yarn(factor=4, attention_factor=1.25)", 1.25),
        ("longrope(factor=4, short=[1, 1, 1, 1, 1, 1, 1, 1], long=[1, 1, 1, 1, 1, 1, 1, 2])", (1.5f64).sqrt()),
    ] {
        let found = again(&scaled(arm, Some(16)), None).unwrap().scaling.unwrap().arm;
        let factor = found.get("attention_factor").and_then(harness_core::Value::as_number).unwrap();
        assert!((factor - expected).abs() < 1e-6, "{found}");
    }
}

#[test]
fn what_gguf_cannot_hold_is_refused() {
    let refused = |config: &Config| again(config, None).unwrap_err();
    for arm in ["dynamic-ntk(factor=2)", "llama3(factor=8)", "longrope(factor=2)", "yarn(factor=2, fast=16)"] {
        let said = refused(&scaled(arm, Some(16)));
        assert!(said.starts_with(&format!("GGUF cannot express rotary scaling by `{arm}`")), "{said}");
    }
    let one = "[1, 1, 1, 1, 1, 1, 1, 2]";
    let qwen = Config { qkv_bias: true, ..scaled(&format!("longrope(factor=1, short={one}, long={one})"), None) };
    assert!(refused(&qwen).ends_with("in the architecture qwen2; write a Hugging Face folder instead"));
}
