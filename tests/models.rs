//! Small and large models that the tests make on the fly: Llama-like folders of repeatable weights, whose tokenizer
//! knows the words `w3`, `w4`, … (the token of the same number) and nothing else.

use std::path::Path;

use harness_model::config::{Activation, Config, NormKind, PositionScheme, RopeStyle};
use harness_model::load::{TensorSpec, expected_tensors};
use harness_model::tokenizer::Tokenizer;
use harness_model::weight::DType;
use harness_model::write::{DEFAULT_SHARD_BYTES, FolderWriter};

/// What a model is made of.
#[derive(Clone)]
pub struct Recipe {
    pub vocabulary: usize,
    pub hidden: usize,
    pub feed_forward: usize,
    pub layers: usize,
    pub heads: usize,
    pub dtype: DType,
    /// The largest weight of a matrix; norms have it too where it is above 1.
    pub scale: f32,
    /// End-of-sequence tokens.
    pub eos: Vec<u32>,
}

/// A model of a few thousand weights.
pub const SMALL: Recipe = Recipe {
    vocabulary: 64,
    hidden: 32,
    feed_forward: 64,
    layers: 2,
    heads: 2,
    dtype: DType::Bf16,
    scale: 0.3,
    eos: Vec::new(),
};

impl Recipe {
    fn config(&self) -> Config {
        Config {
            architecture: "llama".to_owned(),
            vocab_size: self.vocabulary,
            hidden_size: self.hidden,
            intermediate_size: self.feed_forward,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.heads,
            head_dim: self.hidden / self.heads,
            max_positions: 512,
            norm: NormKind::Rms,
            norm_epsilon: 1e-5,
            activation: Activation::Silu,
            gated: true,
            position: PositionScheme::Rope {
                theta: 10_000.0,
                rotary: self.hidden / self.heads,
                style: RopeStyle::HalfSplit,
            },
            scaling: None,
            qkv_bias: false,
            output_bias: false,
            widths: Vec::new(),
            shortcuts: false,
            reads: Vec::new(),
            mlp_bias: false,
            tied_head: true,
            bos: Some(1),
            eos: self.eos.clone(),
        }
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        expected_tensors(&self.config()).map(|spec| spec.len()).sum()
    }

    /// Writes the model as a Hugging Face folder.
    pub fn write(&self, folder: &Path) {
        let config = self.config();
        let specs: Vec<TensorSpec> = expected_tensors(&config).collect();
        let mut writer = FolderWriter::create(folder, &config, &specs, self.dtype, DEFAULT_SHARD_BYTES).unwrap();
        writer.tokenizer(&tokenizer(self.vocabulary), None).unwrap();
        let pattern = pattern(self.scale);
        for (salt, spec) in specs.iter().enumerate() {
            let values: Vec<f32> = if spec.vector {
                vec![self.scale.max(1.0); spec.len()]
            } else {
                pattern.iter().cycle().skip(salt * 7919 % pattern.len()).take(spec.len()).copied().collect()
            };
            writer.write_f32(&spec.name, &values).unwrap();
        }
        writer.finish().unwrap();
    }
}

/// Numbers in (−scale, scale) without a short period: a linear congruential sequence.
fn pattern(scale: f32) -> Vec<f32> {
    let mut state = 12_345_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    (0..1_048_573).map(|_| next()).collect()
}

fn tokenizer(vocabulary: usize) -> Tokenizer {
    let special = |id: usize, content: &str| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let specials = ["<unk>", "<s>", "</s>"];
    let words = (3..vocabulary).map(|id| (format!("w{id}"), id));
    let all: serde_json::Map<String, serde_json::Value> = specials
        .iter()
        .enumerate()
        .map(|(id, name)| ((*name).to_owned(), id))
        .chain(words)
        .map(|(name, id)| (name, id.into()))
        .collect();
    let description = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": specials.iter().enumerate().map(|(id, name)| special(id, name)).collect::<Vec<_>>(),
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": all, "unk_token": "<unk>"},
    });
    Tokenizer::from_json(description.to_string().as_bytes(), Some(1), None).unwrap()
}

/// Token ids from 3 to `vocabulary - 1`; other salts give other passages.
pub fn ids(count: usize, vocabulary: usize, salt: usize) -> Vec<u32> {
    let mut state = 0x0139_408D_CBBF_7A44_u64 ^ (salt as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            3 + (state >> 33) as u32 % (vocabulary as u32 - 3)
        })
        .collect()
}

/// The text of some ids, ten words a line.
pub fn text(ids: &[u32]) -> String {
    ids.chunks(10).map(|line| line.iter().map(|id| format!("w{id}")).collect::<Vec<_>>().join(" ") + "\n").collect()
}
