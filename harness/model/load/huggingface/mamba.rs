//! Decoders of state spaces, by the keys of transformers' Mamba models.

use serde_json::Value;

use super::{Fault, tokens};
use crate::config::{Activation, Config, NormKind, PositionScheme, StateSpaceShape};

/// Positions of training where a checkpoint states none, as the first Mamba models were trained; nothing but what is called the trained
/// length depends on it.
const TRAINED: usize = 2048;

pub(super) fn read(json: &Value) -> Result<Config, Fault> {
    let size = |key: &str, otherwise: Option<usize>| {
        if let (true, Some(value)) = (json[key].is_null(), otherwise) {
            return Ok(value);
        }
        let value = json[key].as_u64().and_then(|value| usize::try_from(value).ok());
        value.ok_or_else(|| Fault::Unusable(format!("{key} is {}, not a whole number", json[key])))
    };
    let flag = |key: &str, otherwise: bool| json[key].as_bool().unwrap_or(otherwise);
    let unsupported = |what: &str| Err(Fault::Unsupported(what.to_owned()));
    if flag("use_bias", false) {
        return unsupported("state spaces whose maps carry biases");
    }
    if !flag("use_conv_bias", true) {
        return unsupported("state spaces whose convolution carries no bias");
    }
    if !matches!(json["hidden_act"].as_str(), None | Some("silu" | "swish")) {
        return Err(Fault::Unsupported(format!("state spaces with the activation {}", json["hidden_act"])));
    }
    let hidden_size = size("hidden_size", None)?;
    let channels = if json["intermediate_size"].is_null() {
        hidden_size.saturating_mul(size("expand", Some(2))?)
    } else {
        size("intermediate_size", None)?
    };
    // "auto", the default, is a sixteenth of the width.
    let auto = json["time_step_rank"].is_null() || json["time_step_rank"] == "auto";
    let step_rank = if auto { hidden_size.div_ceil(16) } else { size("time_step_rank", None)? };
    Ok(Config {
        architecture: "mamba".to_owned(),
        vocab_size: size("vocab_size", None)?,
        hidden_size,
        intermediate_size: channels,
        layers: size("num_hidden_layers", None)?,
        heads: 0,
        kv_heads: 0,
        head_dim: 0,
        max_positions: size("max_position_embeddings", Some(TRAINED))?,
        norm: NormKind::Rms,
        norm_epsilon: json["layer_norm_epsilon"].as_f64().unwrap_or(1e-5),
        activation: Activation::Silu,
        gated: true,
        position: PositionScheme::StateSpace(StateSpaceShape {
            states: size("state_size", Some(16))?,
            taps: size("conv_kernel", Some(4))?,
            step_rank,
        }),
        scaling: None,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        tied_head: flag("tie_word_embeddings", true),
        bos: tokens(&json["bos_token_id"]).first().copied(),
        eos: tokens(&json["eos_token_id"]),
    })
}
