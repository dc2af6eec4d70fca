//! The JSON files of a Hugging Face folder.

use serde_json::{Value, json};

use crate::config::{Activation, Config, NormKind, PositionScheme, RopeStyle, Scaling, StateSpaceShape};
use crate::scaling::Kind;
use crate::tokenizer::Tokenizer;
use crate::weight::DType;

/// The element type in the spelling of safetensors, lower-case.
pub(super) fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::Bf16 => "bf16",
    }
}

/// The transformers class that computes the same function, if there is one.
fn transformers_class(config: &Config) -> Option<(&'static str, &'static str)> {
    let rotary = matches!(
        config.position,
        PositionScheme::Rope { rotary, style: RopeStyle::HalfSplit, .. } if rotary == config.head_dim
    );
    let scaled = config.scaling.as_ref().is_none_or(|scaling| scaling.kind().is_some());
    // Other programs know blocks of one width, streams that pass by as they are and parts that read all of them.
    if !config.widths.is_empty() || config.shortcuts || !config.reads.is_empty() {
        return None;
    }
    if !rotary || !scaled || config.norm != NormKind::Rms || !config.gated {
        return None;
    }
    if config.qkv_bias && !config.output_bias && !config.mlp_bias {
        return Some(("Qwen2ForCausalLM", "qwen2"));
    }
    (config.qkv_bias == config.output_bias).then_some(("LlamaForCausalLM", "llama"))
}

/// `config.json`: the keys that transformers reads, and the whole configuration under `harness`.
pub(super) fn config_json(config: &Config, dtype: DType) -> Value {
    if let Some(shape) = config.state_space() {
        return mamba_json(config, shape, dtype);
    }
    let (class, kind) = transformers_class(config).unwrap_or(("HarnessForCausalLM", "harness"));
    let activation = match config.activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    };
    let mut json = json!({
        "architectures": [class],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": activation,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tied_head,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "bos_token_id": config.bos,
        "eos_token_id": eos(config),
        "torch_dtype": torch_name(dtype),
        "use_cache": true,
        "harness": config,
    });
    if kind == "qwen2" {
        json["use_sliding_window"] = json!(false);
    }
    if let PositionScheme::Rope { theta, .. } = config.position {
        // The older key and the newer table; programs read the one they know.
        json["rope_theta"] = json!(theta);
        json["rope_parameters"] = json!({ "rope_theta": theta, "rope_type": "default" });
        if let Some((scaling, kind)) = config.scaling.as_ref().and_then(|scaling| Some((scaling, scaling.kind()?))) {
            let trained = scaling.trained.or(kind.original.then_some(config.max_positions));
            let table = scaling_json(scaling, kind, trained);
            let mut parameters = table.clone();
            parameters["rope_theta"] = json!(theta);
            (json["rope_scaling"], json["rope_parameters"]) = (table, parameters);
            if kind.name == "longrope" {
                // Before transformers 5 it stood beside the table.
                json[ORIGINAL] = json!(trained);
            }
        }
    }
    json
}

/// The keys of a decoder of state spaces. Mamba models of transformers know no longest context; the key is for readers that ask.
fn mamba_json(config: &Config, shape: StateSpaceShape, dtype: DType) -> Value {
    let (channels, hidden) = (config.intermediate_size, config.hidden_size);
    // transformers computes the channels of it, and wants a whole number where it is one.
    let expand =
        if channels.is_multiple_of(hidden) { json!(channels / hidden) } else { json!(channels as f64 / hidden as f64) };
    json!({
        "architectures": ["MambaForCausalLM"],
        "model_type": "mamba",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": channels,
        "expand": expand,
        "num_hidden_layers": config.layers,
        "state_size": shape.states,
        "conv_kernel": shape.taps,
        "time_step_rank": shape.step_rank,
        "use_bias": false,
        "use_conv_bias": true,
        "hidden_act": "silu",
        "residual_in_fp32": true,
        "layer_norm_epsilon": config.norm_epsilon,
        "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": config.tied_head,
        "bos_token_id": config.bos,
        "eos_token_id": eos(config),
        "torch_dtype": torch_name(dtype),
        "use_cache": true,
    })
}

fn torch_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::Bf16 => "bfloat16",
    }
}

const ORIGINAL: &str = "original_max_position_embeddings";

/// The table of a scaling.
fn scaling_json(scaling: &Scaling, kind: &Kind, trained: Option<usize>) -> Value {
    let mut table = json!({ "rope_type": kind.name });
    for (parameter, key, _) in kind.keys {
        if let Some(value) = scaling.arm.get(parameter) {
            table[*key] = plain(value);
        }
    }
    if let Some(trained) = trained {
        table[ORIGINAL] = json!(trained);
    }
    table
}

/// A number or a list of numbers, all floating: of a whole one transformers warns at some keys.
fn plain(value: &harness_core::Value) -> Value {
    match value {
        harness_core::Value::List(values) => Value::Array(values.iter().map(plain).collect()),
        other => json!(other.as_number()),
    }
}

/// `generation_config.json`.
pub(super) fn generation_json(config: &Config) -> Value {
    json!({ "bos_token_id": config.bos, "eos_token_id": eos(config) })
}

fn eos(config: &Config) -> Value {
    match config.eos.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    }
}

/// `tokenizer_config.json` and `special_tokens_map.json`.
pub(super) fn tokenizer_json(tokenizer: &Tokenizer, chat_template: Option<&str>) -> (Value, Value) {
    let mut specials = json!({});
    for (key, id) in [("bos_token", tokenizer.bos()), ("eos_token", tokenizer.eos())] {
        if let Some(token) = id.and_then(|id| tokenizer.token(id)) {
            specials[key] = json!(token);
        }
    }
    let mut settings = specials.clone();
    settings["tokenizer_class"] = json!("PreTrainedTokenizerFast");
    settings["clean_up_tokenization_spaces"] = json!(false);
    if let Some(template) = chat_template {
        settings["chat_template"] = json!(template);
    }
    (settings, specials)
}
