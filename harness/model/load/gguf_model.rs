//! A decoder from a GGUF file of the `llama` or `qwen2` architecture.
//!
//! `llama` files hold query and key rows in the interleaved rotary layout; they are put back into the half-split one, so that
//! the tensors are those of the Hugging Face checkpoint the file was converted from.

mod scaling;

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{Activation, Config, NormKind, PositionScheme, RopeStyle};
use crate::tokenizer::byte_level::{self, Specials, TokenKind};
use crate::tokenizer::{Tokenizer, TokenizerError, sentence_piece};
use crate::weight::{MappedFile, Weight};
use crate::write::gguf::rope_factors;

use super::ggml::{BlockType, dequantise, read_four_bit};
use super::gguf::{Array, Header, TensorInfo, Value, parse};
use super::{Checkpoint, Coded, LoadError, Parts, Shape, assemble, check_config, half_split_rows};

/// Loads the file at `path`, already mapped.
pub(super) fn load(path: &Path, file: MappedFile) -> Result<Checkpoint, LoadError> {
    let header = parse(file.bytes()).map_err(|what| LoadError::Malformed { path: path.to_owned(), what })?;
    let reader = Reader { path, header: &header };
    let config = reader.config(&file)?;
    check_config(&config).map_err(|what| LoadError::Config { path: path.to_owned(), what })?;
    let tokenizer = reader.tokenizer(config.vocab_size)?;
    let chat_template = reader.text("tokenizer.chat_template").map(str::to_owned);
    let mut tensors = BTreeMap::new();
    let mut vectors = std::collections::BTreeSet::new();
    let mut stored = BTreeMap::new();
    let mut coded = BTreeMap::new();
    let (mut bits, mut weights) = (0usize, 0usize);
    let parts = header.tensors.iter().filter(|(name, _)| !rope_factors::NAMES.contains(*name));
    for (name, info) in parts {
        let unknown = || LoadError::ExtraTensor {
            path: path.to_owned(),
            name: (*name).to_owned(),
            found: Shape(info.shape.clone()),
        };
        let canonical = canonical_name(name).ok_or_else(unknown)?;
        if info.shape.len() > 2 {
            return Err(unknown());
        }
        if info.shape.len() == 1 {
            vectors.insert(canonical.clone());
        }
        *stored.entry(format!("{:?}", info.block_type)).or_insert(0usize) += 1;
        let mut weight = reader.weight(&file, name, info)?;
        if let BlockType::Quantised(kind) = info.block_type {
            *coded.entry(type_name(kind)).or_insert(0usize) += 1;
        }
        if name.starts_with("blk.") && info.shape.len() == 2 {
            let count = weight.rows() * weight.cols();
            weights += count;
            bits += 8 * info.block_type.bytes(count, weight.cols()).unwrap_or_default();
        }
        let heads = match canonical.rsplit('.').nth(1) {
            _ if config.architecture != "llama" => None,
            Some("q_proj") => Some(config.heads),
            Some("k_proj") => Some(config.kv_heads),
            _ => None,
        };
        if let Some(heads) = heads
            && info.shape[0] == heads * config.head_dim
        {
            weight = half_split_rows(&weight, heads, config.head_dim);
        }
        tensors.insert(canonical, weight);
    }
    let types: Vec<String> = stored.into_iter().map(|(kind, count)| format!("{kind} × {count}")).collect();
    let listed: Vec<String> = coded.into_iter().map(|(kind, count)| format!("{kind} × {count}")).collect();
    let coded =
        (!listed.is_empty()).then(|| Coded { types: listed.join(", "), bits: bits as f64 / weights.max(1) as f64 });
    let source = format!("GGUF {} ({})", config.architecture, types.join(", "));
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let files = vec![(name, file.clone())];
    assemble(Parts {
        path: path.to_owned(),
        source,
        config,
        tensors,
        packed: BTreeMap::new(),
        vectors,
        tokenizer,
        chat_template,
        coded,
        files,
    })
}

/// A type as ggml writes it: `Q4_1`, `Q4_K`.
fn type_name(kind: candle_core::quantized::GgmlDType) -> String {
    let plain = format!("{kind:?}");
    match plain.strip_suffix('K') {
        Some(bits) => format!("{bits}_K"),
        None => plain,
    }
}

/// The Hugging Face name of a GGUF tensor.
fn canonical_name(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        "output.weight" => return Some("lm_head.weight".to_owned()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (module, kind) = rest.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let module = match module {
        "attn_norm" => "input_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{module}.{kind}"))
}

/// The shortest decimal that rounds to the same f32: 1e-5 stored in 32 bits means 1e-5.
fn decimal(single: f32) -> f64 {
    single.to_string().parse().unwrap_or_else(|_| f64::from(single))
}

struct Reader<'a> {
    path: &'a Path,
    header: &'a Header<'a>,
}

impl<'a> Reader<'a> {
    fn value(&self, key: &str) -> Option<Value<'a>> {
        self.header.values.get(key).copied()
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        if let Some(Value::Text(text)) = self.value(key) { Some(text) } else { None }
    }

    fn whole(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        if let Some(Value::Bool(flag)) = self.value(key) { Some(flag) } else { None }
    }

    fn array(&self, key: &str) -> Option<Array<'a>> {
        if let Some(Value::Array(array)) = self.value(key) { Some(array) } else { None }
    }

    fn token(&self, key: &str) -> Option<u32> {
        self.whole(key).and_then(|id| u32::try_from(id).ok())
    }

    fn unsupported(&self, what: String) -> LoadError {
        LoadError::Unsupported { path: self.path.to_owned(), what }
    }

    fn damaged(&self, what: String) -> LoadError {
        LoadError::Malformed { path: self.path.to_owned(), what }
    }

    fn size(&self, key: &str) -> Result<usize, LoadError> {
        let value = self.whole(key).and_then(|value| usize::try_from(value).ok());
        value.ok_or_else(|| LoadError::Malformed {
            path: self.path.to_owned(),
            what: format!("it does not state {key} as a whole number"),
        })
    }

    fn config(&self, file: &MappedFile) -> Result<Config, LoadError> {
        let architecture = self.text("general.architecture").unwrap_or_default();
        if !matches!(architecture, "llama" | "qwen2") {
            return Err(
                self.unsupported(format!("the architecture \"{architecture:.64}\"; llama and qwen2 are supported"))
            );
        }
        if self.whole("split.count").is_some_and(|count| count > 1) {
            return Err(
                self.unsupported("a GGUF split into several files; join them with llama-gguf-split --merge".to_owned())
            );
        }
        let key = |name: &str| format!("{architecture}.{name}");
        let hidden_size = self.size(&key("embedding_length"))?;
        let heads = self.size(&key("attention.head_count"))?;
        let kv_heads = self.size(&key("attention.head_count_kv")).unwrap_or(heads);
        let even = hidden_size.checked_div(heads).unwrap_or(0);
        let head_dim = self.size(&key("attention.key_length")).unwrap_or(even);
        if self.size(&key("attention.value_length")).is_ok_and(|value| value != head_dim) {
            return Err(self.unsupported("values of another width than keys".to_owned()));
        }
        let rotary = self.size(&key("rope.dimension_count")).unwrap_or(head_dim);
        if rotary != head_dim || !head_dim.is_multiple_of(2) {
            return Err(self.unsupported(format!("rotary embeddings over {rotary} of {head_dim} dimensions of a head")));
        }
        if self.whole(&key("expert_count")).is_some_and(|count| count > 0) {
            return Err(self.unsupported("a mixture of experts".to_owned()));
        }
        let theta = self.float(&key("rope.freq_base")).unwrap_or(10_000.0);
        let norm_epsilon =
            self.float(&key("attention.layer_norm_rms_epsilon")).ok_or_else(|| LoadError::Malformed {
                path: self.path.to_owned(),
                what: format!("it does not state {}", key("attention.layer_norm_rms_epsilon")),
            })?;
        let vocab_size = self.header.tensors.get("token_embd.weight").map(|info| info.shape[0]);
        let holds = |name: &str| self.header.tensors.contains_key(name);
        Ok(Config {
            architecture: architecture.to_owned(),
            vocab_size: vocab_size.ok_or_else(|| LoadError::MissingTensor {
                path: self.path.to_owned(),
                name: "token_embd.weight".to_owned(),
                expected: Shape(vec![self.array("tokenizer.ggml.tokens").map_or(0, |a| a.len()), hidden_size]),
            })?,
            hidden_size,
            intermediate_size: self.size(&key("feed_forward_length"))?,
            layers: self.size(&key("block_count"))?,
            heads,
            kv_heads,
            head_dim,
            max_positions: self.size(&key("context_length"))?,
            norm: NormKind::Rms,
            norm_epsilon,
            activation: Activation::Silu,
            gated: true,
            position: PositionScheme::Rope { theta, rotary, style: RopeStyle::HalfSplit },
            scaling: self.scaling(file, architecture, rotary / 2)?,
            qkv_bias: architecture == "qwen2" || holds("blk.0.attn_q.bias"),
            output_bias: holds("blk.0.attn_output.bias"),
            widths: Vec::new(),
            shortcuts: false,
            reads: Vec::new(),
            mlp_bias: holds("blk.0.ffn_up.bias"),
            tied_head: !holds("output.weight"),
            bos: self.token("tokenizer.ggml.bos_token_id"),
            eos: self.ends(),
        })
    }

    /// The tokens that end a text, each once: of a sequence, of a turn, of a message.
    fn ends(&self) -> Vec<u32> {
        let mut ends = Vec::new();
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            let token = self.token(&format!("tokenizer.ggml.{key}"));
            ends.extend(token.filter(|token| !ends.contains(token)));
        }
        ends
    }

    /// A floating number.
    fn float(&self, key: &str) -> Option<f64> {
        let Some(Value::Float(number)) = self.value(key) else { return None };
        let single = number as f32;
        Some(if f64::from(single) == number { decimal(single) } else { number })
    }

    fn weight(&self, file: &MappedFile, name: &str, info: &TensorInfo) -> Result<Weight, LoadError> {
        let (rows, cols) = if let [rows, cols] = info.shape[..] { (rows, cols) } else { (1, info.shape[0]) };
        let damaged = |what: String| self.damaged(what);
        match info.block_type {
            BlockType::Plain(dtype) => Weight::mapped(file, info.offset, rows, cols, dtype)
                .ok_or_else(|| damaged(format!("tensor {name} reaches past the end of the file"))),
            blocks => {
                let bytes = file.bytes().get(info.offset..info.offset + info.length);
                let bytes = bytes.ok_or_else(|| damaged(format!("tensor {name} reaches past the end of the file")))?;
                let values = match blocks {
                    BlockType::Quantised(kind) => dequantise(kind, bytes),
                    BlockType::FourBit(kind) => Ok(read_four_bit(kind, bytes)),
                    BlockType::Plain(_) => Ok(Vec::new()),
                };
                Ok(Weight::from_f32(rows, cols, values.map_err(|e| damaged(format!("tensor {name}: {e}")))?))
            }
        }
    }

    fn tokenizer(&self, vocab_size: usize) -> Result<Option<Tokenizer>, LoadError> {
        let fault = |source| LoadError::Tokenizer { path: self.path.to_owned(), source };
        let Some(model) = self.text("tokenizer.ggml.model").filter(|model| !matches!(*model, "none" | "no_vocab"))
        else {
            // Kept whole where the tables of GGUF do not hold it.
            let json = self.text("tokenizer.huggingface.json");
            let (bos, eos) = (self.token("tokenizer.ggml.bos_token_id"), self.ends().first().copied());
            return json.map(|json| Tokenizer::from_json(json.as_bytes(), bos, eos)).transpose().map_err(fault);
        };
        let tokens: Vec<&str> = self.texts("tokenizer.ggml.tokens");
        if tokens.len() != vocab_size {
            let path = self.path.to_owned();
            return Err(LoadError::Vocabulary { path, tokenizer: tokens.len(), model: vocab_size });
        }
        self.build_tokenizer(model, &tokens).map(Some).map_err(fault)
    }

    fn build_tokenizer(&self, model: &str, tokens: &[&str]) -> Result<Tokenizer, TokenizerError> {
        let mut kinds: Vec<TokenKind> = match self.array("tokenizer.ggml.token_type") {
            None => Vec::new(),
            Some(numbers) => numbers
                .values()
                .map(|number| match number {
                    Value::Signed(number) => TokenKind::from_number(number),
                    Value::Unsigned(number) => TokenKind::from_number(number as i64),
                    _ => TokenKind::Normal,
                })
                .collect(),
        };
        kinds.resize(tokens.len(), TokenKind::Normal);
        let flag = |key: &str, otherwise: bool| self.flag(key).unwrap_or(otherwise);
        let pieces = model == "llama";
        let specials = Specials {
            bos: self.token("tokenizer.ggml.bos_token_id"),
            eos: self.token("tokenizer.ggml.eos_token_id"),
            unknown: self.token("tokenizer.ggml.unknown_token_id"),
            add_bos: flag("tokenizer.ggml.add_bos_token", pieces),
            add_eos: flag("tokenizer.ggml.add_eos_token", false),
        };
        match model {
            "gpt2" => {
                let merges = self.texts("tokenizer.ggml.merges");
                let words = self.text("tokenizer.ggml.pre").unwrap_or("default");
                byte_level::build(tokens, &kinds, merges.into_iter(), words, specials)
            }
            "llama" => {
                let scores: Vec<f32> = self
                    .array("tokenizer.ggml.scores")
                    .into_iter()
                    .flat_map(|scores| scores.values())
                    .map(|score| if let Value::Float(score) = score { score as f32 } else { f32::NAN })
                    .collect();
                if scores.len() != tokens.len() {
                    return Err(TokenizerError::Malformed(format!(
                        "{} tokens have {} scores",
                        tokens.len(),
                        scores.len()
                    )));
                }
                sentence_piece::build(tokens, &scores, &kinds, specials, flag("tokenizer.ggml.add_space_prefix", true))
            }
            other => Err(TokenizerError::Unsupported {
                what: "the tokenizer model",
                name: other.to_owned(),
                known: "gpt2 (byte-level BPE), llama (SentencePiece)",
            }),
        }
    }

    fn texts(&self, key: &str) -> Vec<&'a str> {
        let values = self.array(key).into_iter().flat_map(|array| array.values());
        values.map(|value| if let Value::Text(text) = value { text } else { "" }).collect()
    }
}
