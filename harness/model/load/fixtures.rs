//! Tiny valid checkpoints as bytes, for tests; shared with the fuzz tests, so it uses nothing of the crate.

use std::path::Path;

/// Width, feed-forward width, blocks, heads, key-value heads of every fixture; heads have 16 dimensions.
pub const HIDDEN: usize = 32;
pub const FEED_FORWARD: usize = 64;
pub const LAYERS: usize = 2;
pub const HEADS: usize = 2;
pub const KV_HEADS: usize = 1;
pub const HEAD_DIM: usize = 16;

/// Numbers that differ from place to place and are exact in f16 and bf16.
pub fn values(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + salt * 13) % 61) as f32 / 64.0 - 0.5).collect()
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Writes GGUF.
#[derive(Default, Clone)]
pub struct Gguf {
    pub values: Vec<u8>,
    pub value_count: u64,
    pub tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

impl Gguf {
    pub fn text_bytes(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    pub fn raw(&mut self, key: &str, kind: u32, bytes: &[u8]) {
        self.values.extend(Self::text_bytes(key));
        self.values.extend(kind.to_le_bytes());
        self.values.extend(bytes);
        self.value_count += 1;
    }

    pub fn number(&mut self, key: &str, value: u32) {
        self.raw(key, 4, &value.to_le_bytes());
    }

    pub fn float(&mut self, key: &str, value: f32) {
        self.raw(key, 6, &value.to_le_bytes());
    }

    pub fn flag(&mut self, key: &str, value: bool) {
        self.raw(key, 7, &[value.into()]);
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.raw(key, 8, &Self::text_bytes(value));
    }

    pub fn list(&mut self, key: &str, element: u32, items: &[Vec<u8>]) {
        let mut bytes = element.to_le_bytes().to_vec();
        bytes.extend((items.len() as u64).to_le_bytes());
        for item in items {
            bytes.extend(item);
        }
        self.raw(key, 9, &bytes);
    }

    pub fn texts<S: AsRef<str>>(&mut self, key: &str, items: &[S]) {
        let items: Vec<_> = items.iter().map(|item| Self::text_bytes(item.as_ref())).collect();
        self.list(key, 8, &items);
    }

    /// Shape rows first; ggml type number; bytes.
    pub fn tensor(&mut self, name: &str, shape: &[usize], kind: u32, bytes: Vec<u8>) {
        self.tensors.push((name.to_owned(), shape.to_vec(), kind, bytes));
    }

    pub fn f32_tensor(&mut self, name: &str, shape: &[usize]) {
        let salt = self.tensors.len();
        self.tensor(name, shape, 0, f32_bytes(&values(shape.iter().product(), salt)));
    }

    pub fn build(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend(self.value_count.to_le_bytes());
        out.extend(&self.values);
        let mut offset = 0u64;
        for (name, shape, kind, bytes) in &self.tensors {
            out.extend(Self::text_bytes(name));
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|size| out.extend((*size as u64).to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (bytes.len() as u64).next_multiple_of(32);
        }
        for (_, _, _, bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(bytes);
        }
        out
    }
}

/// A decoder's numbers and tensors under `architecture`; projections of block 0 in f16, feed-forward of block 1 in `Q8_0`.
pub fn gguf_decoder(architecture: &str, vocabulary: usize) -> Gguf {
    let mut gguf = Gguf::default();
    gguf.text("general.architecture", architecture);
    let key = |name: &str| format!("{architecture}.{name}");
    gguf.number(&key("block_count"), LAYERS as u32);
    gguf.number(&key("context_length"), 64);
    gguf.number(&key("embedding_length"), HIDDEN as u32);
    gguf.number(&key("feed_forward_length"), FEED_FORWARD as u32);
    gguf.number(&key("attention.head_count"), HEADS as u32);
    gguf.number(&key("attention.head_count_kv"), KV_HEADS as u32);
    gguf.float(&key("rope.freq_base"), 10_000.0);
    gguf.float(&key("attention.layer_norm_rms_epsilon"), 1e-5);
    gguf.f32_tensor("token_embd.weight", &[vocabulary, HIDDEN]);
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        gguf.f32_tensor(&name("attn_norm.weight"), &[HIDDEN]);
        gguf.f32_tensor(&name("ffn_norm.weight"), &[HIDDEN]);
        let keys = KV_HEADS * HEAD_DIM;
        for (part, rows, cols) in [
            ("attn_q", HIDDEN, HIDDEN),
            ("attn_k", keys, HIDDEN),
            ("attn_v", keys, HIDDEN),
            ("attn_output", HIDDEN, HIDDEN),
            ("ffn_gate", FEED_FORWARD, HIDDEN),
            ("ffn_up", FEED_FORWARD, HIDDEN),
            ("ffn_down", HIDDEN, FEED_FORWARD),
        ] {
            let weight = name(&format!("{part}.weight"));
            if layer == 0 {
                let salt = gguf.tensors.len();
                let halves = values(rows * cols, salt).into_iter().flat_map(|v| half::f16::from_f32(v).to_le_bytes());
                gguf.tensor(&weight, &[rows, cols], 1, halves.collect());
            } else if part.starts_with("ffn") {
                // Blocks of an f16 scale and 32 signed bytes.
                let block = |b: usize| {
                    let scale = half::f16::from_f32(0.25).to_le_bytes().to_vec();
                    scale.into_iter().chain((0..32).map(move |i| (b * 5 + i) as u8))
                };
                gguf.tensor(&weight, &[rows, cols], 8, (0..rows * cols / 32).flat_map(block).collect());
            } else {
                gguf.f32_tensor(&weight, &[rows, cols]);
            }
            if architecture == "qwen2" && matches!(part, "attn_q" | "attn_k" | "attn_v") {
                gguf.f32_tensor(&name(&format!("{part}.bias")), &[rows]);
            }
        }
    }
    gguf.f32_tensor("output_norm.weight", &[HIDDEN]);
    gguf
}

/// Tokens, merges and kinds of a byte-level vocabulary: `Ġ` is a space.
pub const BYTE_LEVEL_TOKENS: [&str; 14] =
    ["<|end|>", "<|start|>", "a", "b", "c", "1", "2", "Ġ", "ab", "abc", "Ġa", "Ġab", "12", "!"];
pub const BYTE_LEVEL_MERGES: [&str; 5] = ["a b", "ab c", "Ġ a", "Ġa b", "1 2"];

/// A `qwen2` or `llama` file with a byte-level tokenizer that splits words as `words` says.
pub fn gguf_byte_level(architecture: &str, words: &str) -> Gguf {
    let mut gguf = gguf_decoder(architecture, BYTE_LEVEL_TOKENS.len());
    gguf.text("tokenizer.ggml.model", "gpt2");
    gguf.text("tokenizer.ggml.pre", words);
    gguf.texts("tokenizer.ggml.tokens", &BYTE_LEVEL_TOKENS);
    gguf.texts("tokenizer.ggml.merges", &BYTE_LEVEL_MERGES);
    let kinds = (0..BYTE_LEVEL_TOKENS.len()).map(|id| if id < 2 { 3i32 } else { 1 }.to_le_bytes().to_vec());
    gguf.list("tokenizer.ggml.token_type", 5, &kinds.collect::<Vec<_>>());
    gguf.number("tokenizer.ggml.bos_token_id", 1);
    gguf.number("tokenizer.ggml.eos_token_id", 0);
    gguf.text("tokenizer.chat_template", "{{ messages }}");
    gguf
}

/// Pieces after the three special and 256 byte pieces, with their scores.
pub const PIECES: [(&str, f32); 10] = [
    ("▁a", -1.0),
    ("ab", -2.0),
    ("▁ab", -3.0),
    ("bb", -0.5),
    ("▁", -10.0),
    ("a", -11.0),
    ("b", -12.0),
    ("c", -13.0),
    ("!", -14.0),
    ("é", -15.0),
];

/// A `llama` file with a SentencePiece tokenizer.
pub fn gguf_pieces() -> Gguf {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut kinds = vec![2i32, 3, 3];
    let mut scores = vec![0.0f32; 3 + 256];
    for byte in 0..=255u8 {
        tokens.push(format!("<0x{byte:02X}>"));
        kinds.push(6);
    }
    for (piece, score) in PIECES {
        tokens.push(piece.to_owned());
        kinds.push(1);
        scores.push(score);
    }
    let mut gguf = gguf_decoder("llama", tokens.len());
    gguf.text("tokenizer.ggml.model", "llama");
    gguf.texts("tokenizer.ggml.tokens", &tokens);
    gguf.list("tokenizer.ggml.scores", 6, &scores.iter().map(|s| s.to_le_bytes().to_vec()).collect::<Vec<_>>());
    gguf.list("tokenizer.ggml.token_type", 5, &kinds.iter().map(|k| k.to_le_bytes().to_vec()).collect::<Vec<_>>());
    gguf.number("tokenizer.ggml.bos_token_id", 1);
    gguf.number("tokenizer.ggml.eos_token_id", 2);
    gguf.number("tokenizer.ggml.unknown_token_id", 0);
    gguf.flag("tokenizer.ggml.add_space_prefix", true);
    gguf
}

/// A llama2.c model file and its tokenizer.bin, with the pieces of [`PIECES`]; bytes are stored as the characters they print
/// as, as in published files.
pub fn llama2c(tied: bool) -> (Vec<u8>, Vec<u8>) {
    let vocabulary = 259 + PIECES.len();
    let context = 8;
    let stated = if tied { vocabulary as i32 } else { -(vocabulary as i32) };
    let header = [HIDDEN as i32, FEED_FORWARD as i32, LAYERS as i32, HEADS as i32, KV_HEADS as i32, stated, context];
    let mut model: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
    let keys = KV_HEADS * HEAD_DIM;
    let sizes = [
        vocabulary * HIDDEN,
        LAYERS * HIDDEN,
        LAYERS * HIDDEN * HIDDEN,
        LAYERS * keys * HIDDEN,
        LAYERS * keys * HIDDEN,
        LAYERS * HIDDEN * HIDDEN,
        LAYERS * HIDDEN,
        LAYERS * FEED_FORWARD * HIDDEN,
        LAYERS * FEED_FORWARD * HIDDEN,
        LAYERS * FEED_FORWARD * HIDDEN,
        HIDDEN,
        context as usize * HEAD_DIM,
        if tied { 0 } else { vocabulary * HIDDEN },
    ];
    for (salt, size) in sizes.into_iter().enumerate() {
        model.extend(f32_bytes(&values(size, salt)));
    }
    let mut tokenizer = 8i32.to_le_bytes().to_vec();
    let mut piece = |score: f32, bytes: &[u8]| {
        tokenizer.extend(score.to_le_bytes());
        tokenizer.extend((bytes.len() as i32).to_le_bytes());
        tokenizer.extend(bytes);
    };
    for special in ["<unk>", "\n<s>\n", "\n</s>\n"] {
        piece(0.0, special.as_bytes());
    }
    for byte in 0..=255u8 {
        piece(0.0, char::from(byte).to_string().as_bytes());
    }
    for (text, score) in PIECES {
        piece(score, text.replace('▁', " ").as_bytes());
    }
    (model, tokenizer)
}

/// The files of a Hugging Face folder with f32 weights and a byte-level tokenizer.
pub fn folder() -> Vec<(&'static str, Vec<u8>)> {
    let vocabulary = BYTE_LEVEL_TOKENS.len();
    let config = format!(
        r#"{{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":{vocabulary},"hidden_size":{HIDDEN},
"intermediate_size":{FEED_FORWARD},"num_hidden_layers":{LAYERS},"num_attention_heads":{HEADS},"num_key_value_heads":{KV_HEADS},
"hidden_act":"silu","max_position_embeddings":64,"rms_norm_eps":1e-05,"rope_theta":10000.0,"tie_word_embeddings":true,
"bos_token_id":1,"eos_token_id":0}}"#
    );
    let keys = KV_HEADS * HEAD_DIM;
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![vocabulary, HIDDEN])];
    for layer in 0..LAYERS {
        for (part, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![keys, HIDDEN]),
            ("self_attn.v_proj", vec![keys, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![FEED_FORWARD, HIDDEN]),
            ("mlp.up_proj", vec![FEED_FORWARD, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, FEED_FORWARD]),
        ] {
            tensors.push((format!("model.layers.{layer}.{part}.weight"), shape));
        }
    }
    tensors.push(("model.norm.weight".to_owned(), vec![HIDDEN]));
    vec![
        ("config.json", config.into_bytes()),
        ("model.safetensors", safetensors(&tensors)),
        ("tokenizer.json", TOKENIZER_JSON.as_bytes().to_vec()),
    ]
}

/// A safetensors file of f32 tensors with these names and shapes.
pub fn safetensors(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut header = String::from("{");
    let mut data = Vec::new();
    for (salt, (name, shape)) in tensors.iter().enumerate() {
        let start = data.len();
        data.extend(f32_bytes(&values(shape.iter().product(), salt)));
        let comma = if salt == 0 { "" } else { "," };
        header +=
            &format!(r#"{comma}"{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{}]}}"#, data.len());
    }
    header.push('}');
    with_header(&header, &data)
}

/// A safetensors file from the text of its header.
pub fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// The tokenizer of [`BYTE_LEVEL_TOKENS`] as a `tokenizer.json`.
pub const TOKENIZER_JSON: &str = r#"{"version":"1.0","truncation":null,"padding":null,
"added_tokens":[{"id":0,"content":"<|end|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
{"id":1,"content":"<|start|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|start|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":0}}],
"special_tokens":{"<|start|>":{"id":"<|start|>","ids":[1],"tokens":["<|start|>"]}}},
"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,
"byte_fallback":false,"ignore_merges":false,"vocab":{"<|end|>":0,"<|start|>":1,"a":2,"b":3,"c":4,"1":5,"2":6,"Ġ":7,"ab":8,"abc":9,
"Ġa":10,"Ġab":11,"12":12,"!":13},"merges":[["a","b"],["ab","c"],["Ġ","a"],["Ġa","b"],["1","2"]]}}"#;

/// Writes files into a folder.
pub fn place(folder: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).expect("a test folder can be written");
    }
}

/// Damages bytes in a way that depends on `seed` only: numbers overwritten by extreme ones, ranges cut, repeated, flipped.
pub fn mutate(bytes: &mut Vec<u8>, seed: u64) {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    };
    for _ in 0..=next(4) {
        if bytes.is_empty() {
            return;
        }
        // Headers stand in front: half of the blows fall on the first part of the file.
        let reach = if next(2) == 0 { bytes.len().min(2048) } else { bytes.len() };
        let at = next(reach);
        match next(8) {
            0 => bytes.truncate(at),
            1 | 2 => bytes[at] ^= 1 << next(8),
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'9'][next(8)],
            4 | 5 => {
                let extreme = [0u64, 1, 0x7fff_ffff, 0x8000_0000, u64::MAX, u64::MAX / 2, 1 << 40, bytes.len() as u64];
                let width = [2, 4, 8, 8][next(4)].min(bytes.len() - at);
                let value = extreme[next(8)].to_le_bytes();
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            6 => {
                let end = (at + 1 + next(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = next(bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                let end = (at + 1 + next(64)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
}
