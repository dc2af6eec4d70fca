//! A decoder from a Hugging Face folder: config.json, safetensors, tokenizer.json.
//!
//! `LlamaForCausalLM`, `Qwen2ForCausalLM` and `MambaForCausalLM` are read by their own keys. Variants that transformers has no name for are
//! described by the key `harness`, which holds a whole [`Config`].

mod mamba;
mod rope_scaling;

use std::path::Path;

use serde_json::Value;

use crate::config::{Activation, Config, NormKind, PositionScheme, RopeStyle};
use crate::tokenizer::Tokenizer;

use super::{Checkpoint, Coded, LoadError, Parts, assemble, check_config, open, packed, safetensors};
use rope_scaling::Rotary;

/// Loads the folder at `path`.
pub(super) fn load(path: &Path) -> Result<Checkpoint, LoadError> {
    let config_path = path.join("config.json");
    if !config_path.exists() {
        return Err(LoadError::UnknownFormat {
            path: path.to_owned(),
            what: "the folder has no config.json".to_owned(),
        });
    }
    let config_file = open(&config_path)?;
    let json: Value = serde_json::from_slice(config_file.bytes())
        .map_err(|e| LoadError::Malformed { path: config_path.clone(), what: e.to_string() })?;
    let config = read_config(&json).map_err(|fault| match fault {
        Fault::Unusable(what) => LoadError::Config { path: config_path.clone(), what },
        Fault::Unsupported(what) => LoadError::Unsupported { path: config_path.clone(), what },
    })?;
    check_config(&config).map_err(|what| LoadError::Config { path: config_path.clone(), what })?;
    // Old checkpoints store the rotary frequencies; a tied head may be stored twice. Both are computed from the rest.
    let tied = config.tied_head;
    let mut contents = safetensors::read_folder(path, |name| {
        name.ends_with("rotary_emb.inv_freq") || (tied && name == "lm_head.weight")
    })?;
    let packed = packed::read(path, &config_path, &json["quantization_config"], &config, &mut contents)?;
    let mut files = contents.files;
    files.push(("config.json".to_owned(), config_file));
    let mut tokenizer = None;
    let tokenizer_path = path.join("tokenizer.json");
    if tokenizer_path.exists() {
        let file = open(&tokenizer_path)?;
        let built = Tokenizer::from_json(file.bytes(), config.bos, config.eos.first().copied())
            .map_err(|source| LoadError::Tokenizer { path: tokenizer_path.clone(), source })?;
        if built.vocab_size() > config.vocab_size {
            let (tokenizer, model) = (built.vocab_size(), config.vocab_size);
            return Err(LoadError::Vocabulary { path: tokenizer_path, tokenizer, model });
        }
        tokenizer = Some(built);
        files.push(("tokenizer.json".to_owned(), file));
    }
    let chat_template = chat_template(path);
    let codes = if packed.is_empty() { String::new() } else { format!(", {} matrices as packed codes", packed.len()) };
    let source = format!("Hugging Face folder ({}{codes})", config.architecture);
    let (bits, weights) = packed
        .values()
        .fold((0, 0), |(bits, weights), matrix| (bits + 8 * matrix.bytes(), weights + matrix.rows() * matrix.cols()));
    let coded = (!packed.is_empty()).then(|| Coded {
        types: format!("packed codes × {}", packed.len()),
        bits: bits as f64 / weights.max(1) as f64,
    });
    let (tensors, vectors) = (contents.tensors, contents.vectors);
    assemble(Parts {
        path: path.to_owned(),
        source,
        config,
        tensors,
        packed,
        vectors,
        tokenizer,
        chat_template,
        coded,
        files,
    })
}

/// From `chat_template.jinja` or `tokenizer_config.json`; a folder without either has none.
fn chat_template(folder: &Path) -> Option<String> {
    if let Ok(text) = std::fs::read_to_string(folder.join("chat_template.jinja")) {
        return Some(text);
    }
    let text = std::fs::read(folder.join("tokenizer_config.json")).ok()?;
    let json: Value = serde_json::from_slice(&text).ok()?;
    json["chat_template"].as_str().map(str::to_owned)
}

#[derive(Debug)]
enum Fault {
    Unusable(String),
    Unsupported(String),
}

fn read_config(json: &Value) -> Result<Config, Fault> {
    let architecture = json["architectures"][0].as_str().unwrap_or_default();
    let kind = match architecture {
        "LlamaForCausalLM" => "llama",
        "Qwen2ForCausalLM" => "qwen2",
        "MambaForCausalLM" => return mamba::read(json),
        _ if json["harness"].is_object() => {
            return serde_json::from_value(json["harness"].clone())
                .map_err(|e| Fault::Unusable(format!("the key harness: {e}")));
        }
        other => {
            return Err(Fault::Unsupported(format!(
                "the architecture \"{other}\"; LlamaForCausalLM, Qwen2ForCausalLM and MambaForCausalLM are supported"
            )));
        }
    };
    let size = |key: &str| {
        let value = json[key].as_u64().and_then(|value| usize::try_from(value).ok());
        value.ok_or_else(|| Fault::Unusable(format!("{key} is {}, not a whole number", json[key])))
    };
    let flag = |key: &str| json[key].as_bool().unwrap_or(false);
    let hidden_size = size("hidden_size")?;
    let heads = size("num_attention_heads")?;
    let optional = |key: &str, otherwise: usize| if json[key].is_null() { Ok(otherwise) } else { size(key) };
    let head_dim = optional("head_dim", hidden_size.checked_div(heads).unwrap_or(0))?;
    let llama = kind == "llama";
    let max_positions = optional("max_position_embeddings", if llama { 2048 } else { 32768 })?;
    let Rotary { theta, dimensions, scaling } = rope_scaling::read(json, head_dim, max_positions)?;
    if flag("use_sliding_window") {
        return Err(Fault::Unsupported("attention over a sliding window".to_owned()));
    }
    Ok(Config {
        architecture: kind.to_owned(),
        vocab_size: size("vocab_size")?,
        hidden_size,
        intermediate_size: size("intermediate_size")?,
        layers: size("num_hidden_layers")?,
        heads,
        kv_heads: optional("num_key_value_heads", heads)?,
        head_dim,
        max_positions,
        norm: NormKind::Rms,
        norm_epsilon: json["rms_norm_eps"].as_f64().unwrap_or(1e-6),
        activation: match json["hidden_act"].as_str() {
            None | Some("silu" | "swish") => Activation::Silu,
            Some("gelu") => Activation::Gelu,
            Some("gelu_pytorch_tanh" | "gelu_new") => Activation::GeluTanh,
            Some(other) => return Err(Fault::Unsupported(format!("the activation {other}"))),
        },
        gated: true,
        position: PositionScheme::Rope { theta, rotary: dimensions, style: RopeStyle::HalfSplit },
        scaling,
        qkv_bias: !llama || flag("attention_bias"),
        output_bias: llama && flag("attention_bias"),
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        mlp_bias: llama && flag("mlp_bias"),
        tied_head: flag("tie_word_embeddings"),
        bos: tokens(&json["bos_token_id"]).first().copied(),
        eos: tokens(&json["eos_token_id"]),
    })
}

/// One id or a list of ids; null is none.
fn tokens(value: &Value) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(list) => list.iter().filter_map(one).collect(),
        other => one(other).into_iter().collect(),
    }
}
