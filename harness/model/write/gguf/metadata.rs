//! What a decoder and its tokenizer are called in GGUF.

use crate::config::{Activation, Config, NormKind, PositionScheme, RopeStyle};
use crate::tokenizer::tables::{Tables, Vocabulary};

use super::super::WriteError;
use super::GgufHeader;
use super::rope_factors::RopeFactors;
use super::values::Values;

/// `general.quantization_version` of the block formats as they are.
const QUANTIZATION_VERSION: u32 = 2;

/// Keys under which llama.cpp knows tokens that end a text.
const ENDS: [&str; 3] = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// An architecture of llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Architecture {
    pub name: &'static str,
    /// Whether query and key rows change from the half-split to the interleaved layout.
    pub permutes: bool,
}

/// The architecture that computes what a decoder computes.
///
/// # Errors
/// [`WriteError::Inexpressible`] when there is none.
pub(super) fn architecture(config: &Config) -> Result<Architecture, WriteError> {
    let refuse = |what: String| Err(WriteError::Inexpressible { what });
    if !config.widths.is_empty() {
        return refuse("blocks of unequal widths, which programs that read it do not agree on".to_owned());
    }
    if config.shortcuts {
        return refuse("a residual stream that was turned".to_owned());
    }
    if !config.reads.is_empty() {
        return refuse("parts of blocks that read a part of the residual stream".to_owned());
    }
    let style = match config.position {
        PositionScheme::Rope { rotary, style, .. } if rotary == config.head_dim => style,
        PositionScheme::Rope { rotary, .. } => {
            let what = format!("rotary embeddings over {rotary} of {} dimensions of a head", config.head_dim);
            return refuse(format!("{what} in the architectures llama and qwen2"));
        }
        PositionScheme::Learned => return refuse("learned positions in the architectures llama and qwen2".to_owned()),
        PositionScheme::Alibi => return refuse("ALiBi in the architectures llama and qwen2".to_owned()),
        PositionScheme::Biases(_) => {
            return refuse("biases by distance in the architectures llama and qwen2".to_owned());
        }
        PositionScheme::Xpos { .. } => return refuse("xPos in the architectures llama and qwen2".to_owned()),
        PositionScheme::None => return refuse("a decoder without positions".to_owned()),
        PositionScheme::StateSpace(_) => {
            return refuse("state spaces in the architectures llama and qwen2".to_owned());
        }
    };
    if config.norm != NormKind::Rms {
        return refuse("layer normalisation with a shift in the architectures llama and qwen2".to_owned());
    }
    if !config.gated {
        return refuse("a feed-forward part without a gate in the architectures llama and qwen2".to_owned());
    }
    if config.activation != Activation::Silu {
        return refuse(format!("the activation {:?} in the architectures llama and qwen2", config.activation));
    }
    if config.eos.len() > ENDS.len() {
        return refuse(format!("{} tokens that end a text; it has room for {}", config.eos.len(), ENDS.len()));
    }
    let qwen2 = config.qkv_bias && !config.output_bias && !config.mlp_bias && style == RopeStyle::HalfSplit;
    Ok(if qwen2 {
        Architecture { name: "qwen2", permutes: false }
    } else {
        Architecture { name: "llama", permutes: style == RopeStyle::HalfSplit }
    })
}

/// All named values: how many, and their bytes.
///
/// # Errors
/// A tokenizer that cannot be described, or a size beyond 32 bits.
pub(super) fn metadata(
    header: &GgufHeader<'_>,
    architecture: Architecture,
    factors: &RopeFactors,
) -> Result<(u64, Vec<u8>), WriteError> {
    let config = header.config;
    let mut values = Values::default();
    values.text("general.architecture", architecture.name);
    values.text("general.type", "model");
    values.text("general.name", header.name);
    values.number("general.file_type", header.file_type);
    values.number("general.quantization_version", QUANTIZATION_VERSION);
    let key = |name: &str| format!("{}.{name}", architecture.name);
    for (name, size) in [
        ("block_count", config.layers),
        ("context_length", config.max_positions),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab_size),
    ] {
        values.number(&key(name), size_of_key(name, size)?);
    }
    if config.head_dim * config.heads != config.hidden_size {
        // Where they are the quotient, files leave them out.
        for name in ["attention.key_length", "attention.value_length"] {
            values.number(&key(name), size_of_key(name, config.head_dim)?);
        }
    }
    if let PositionScheme::Rope { theta, .. } = config.position {
        values.float(&key("rope.freq_base"), theta as f32);
    }
    factors.describe(architecture, &mut values);
    values.float(&key("attention.layer_norm_rms_epsilon"), config.norm_epsilon as f32);
    tokenizer(header, &mut values)?;
    Ok(values.finish())
}

fn size_of_key(name: &str, size: usize) -> Result<u32, WriteError> {
    u32::try_from(size).map_err(|_| WriteError::Inexpressible { what: format!("{name} = {size}") })
}

fn tokenizer(header: &GgufHeader<'_>, values: &mut Values) -> Result<(), WriteError> {
    let config = header.config;
    if let Some(bos) = config.bos {
        values.number("tokenizer.ggml.bos_token_id", bos);
    }
    for (key, end) in ENDS.into_iter().zip(&config.eos) {
        values.number(key, *end);
    }
    if let Some(template) = header.chat_template {
        values.text("tokenizer.chat_template", template);
    }
    let Some(tokenizer) = header.tokenizer else {
        values.text("tokenizer.ggml.model", "none");
        return Ok(());
    };
    let Some(Tables { vocabulary, tokens, kinds, unknown, add_bos, add_eos }) = tokenizer.tables(config.vocab_size)?
    else {
        values.text("tokenizer.ggml.model", "none");
        values.text("tokenizer.huggingface.json", &tokenizer.to_json()?);
        return Ok(());
    };
    match &vocabulary {
        Vocabulary::ByteLevel { words, merges } => {
            values.text("tokenizer.ggml.model", "gpt2");
            values.text("tokenizer.ggml.pre", words);
            values.texts("tokenizer.ggml.merges", merges);
            values.flag("tokenizer.ggml.add_space_prefix", false);
        }
        Vocabulary::Pieces { scores, space_prefix } => {
            values.text("tokenizer.ggml.model", "llama");
            values.text("tokenizer.ggml.pre", "default");
            values.floats("tokenizer.ggml.scores", scores);
            values.flag("tokenizer.ggml.add_space_prefix", *space_prefix);
        }
    }
    values.texts("tokenizer.ggml.tokens", &tokens);
    values.numbers("tokenizer.ggml.token_type", &kinds.iter().map(|kind| kind.number()).collect::<Vec<_>>());
    if let Some(unknown) = unknown {
        values.number("tokenizer.ggml.unknown_token_id", unknown);
    }
    values.flag("tokenizer.ggml.add_bos_token", add_bos);
    values.flag("tokenizer.ggml.add_eos_token", add_eos);
    Ok(())
}
