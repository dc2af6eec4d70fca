#![allow(clippy::unwrap_used)]

use crate::load::fixtures::{self, FEED_FORWARD, HEAD_DIM, HIDDEN, KV_HEADS, LAYERS, values};
use crate::load::{Checkpoint, LoadError, load};

fn load_pair(model: Vec<u8>, tokenizer: Option<Vec<u8>>) -> Result<Checkpoint, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    fixtures::place(folder.path(), &[("model.bin", model)]);
    if let Some(tokenizer) = tokenizer {
        fixtures::place(folder.path(), &[("tokenizer.bin", tokenizer)]);
    }
    load(&folder.path().join("model.bin"))
}

#[test]
fn tensors_come_from_their_places() {
    for tied in [true, false] {
        let (model, tokenizer) = fixtures::llama2c(tied);
        let checkpoint = load_pair(model, Some(tokenizer)).unwrap();
        let vocabulary = 259 + fixtures::PIECES.len();
        assert_eq!(checkpoint.config.vocab_size, vocabulary);
        assert_eq!(checkpoint.config.tied_head, tied);
        let tensor = |name: &str| checkpoint.tensor(name).unwrap().to_f32();
        assert_eq!(tensor("model.embed_tokens.weight"), values(vocabulary * HIDDEN, 0));
        assert_eq!(tensor("model.layers.1.input_layernorm.weight"), values(LAYERS * HIDDEN, 1)[HIDDEN..]);
        let keys = KV_HEADS * HEAD_DIM * HIDDEN;
        assert_eq!(tensor("model.layers.1.self_attn.v_proj.weight"), values(LAYERS * keys, 4)[keys..]);
        // w1 is the gate, w2 contracts, w3 expands.
        let wide = FEED_FORWARD * HIDDEN;
        assert_eq!(tensor("model.layers.0.mlp.gate_proj.weight"), values(LAYERS * wide, 7)[..wide]);
        assert_eq!(tensor("model.layers.1.mlp.down_proj.weight"), values(LAYERS * wide, 8)[wide..]);
        assert_eq!(tensor("model.layers.1.mlp.up_proj.weight"), values(LAYERS * wide, 9)[wide..]);
        // Row 3 of the first head (pair 1, second member) becomes row 8 + 1.
        let k = tensor("model.layers.0.self_attn.k_proj.weight");
        assert_eq!(k[9 * HIDDEN..10 * HIDDEN], values(LAYERS * keys, 3)[3 * HIDDEN..4 * HIDDEN]);
        if !tied {
            assert_eq!(tensor("lm_head.weight"), values(vocabulary * HIDDEN, 12));
        }
    }
}

#[test]
fn byte_tokens_are_a_last_resort() {
    let (model, tokenizer) = fixtures::llama2c(true);
    let checkpoint = load_pair(model, Some(tokenizer)).unwrap();
    let tokenizer = checkpoint.tokenizer.unwrap();
    // "a" is piece 264, not the byte token 3 + 0x61 that prints alike; "z" has no piece.
    assert_eq!(tokenizer.encode("c", false).unwrap(), [263, 266]);
    assert_eq!(tokenizer.encode("z", false).unwrap(), [263, 3 + u32::from(b'z')]);
    assert_eq!(tokenizer.encode("é\n", true).unwrap(), [1, 263, 268, 3 + 10]);
    assert_eq!(tokenizer.encode("ñ", false).unwrap(), [263, 3 + 0xc3, 3 + 0xb1]);
    assert_eq!(tokenizer.decode(&[1, 263, 3 + 0xc3, 3 + 0xb1, 260, 2]).unwrap(), "ñab");
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
}

#[test]
fn faults_are_named() {
    let (model, tokenizer) = fixtures::llama2c(true);
    let fault =
        |model: &[u8], tokenizer: &[u8]| load_pair(model.to_vec(), Some(tokenizer.to_vec())).unwrap_err().to_string();
    assert!(fault(&model[..27], &tokenizer).contains("27 bytes, fewer than the header's 28"));
    let short = fault(&model[..model.len() - 4], &tokenizer);
    assert!(short.contains(&format!("calls for {} bytes, the file has {}", model.len(), model.len() - 4)), "{short}");
    let header = |place: usize, value: i32| {
        let mut model = model.clone();
        model[4 * place..4 * place + 4].copy_from_slice(&value.to_le_bytes());
        fault(&model, &tokenizer)
    };
    assert!(header(0, 0x616b_3432).contains("version 1 or 2"));
    assert!(header(0, -32).contains("the hidden size is 0"));
    assert!(header(3, 5).contains("not divided evenly"));
    assert!(header(2, i32::MAX).contains("out of range"));
    assert!(header(5, i32::MIN).contains("out of range"));
    assert!(header(2, 1 << 27).contains("calls for"));
    let count = 259 + fixtures::PIECES.len();
    let extra = [tokenizer.clone(), vec![0, 0, 0, 0, 1, 0, 0, 0, b'q']].concat();
    assert!(fault(&model, &extra).contains(&format!("uses {} token ids, the model has {count}", count + 1)));
    assert!(fault(&model, &tokenizer[..tokenizer.len() - 1]).contains("ends inside token 268"));
    let mut negative = tokenizer.clone();
    negative[8..12].copy_from_slice(&(-1i32).to_le_bytes());
    assert!(fault(&model, &negative).contains("token 0 has a negative length"));
    assert!(load_pair(model, None).unwrap().tokenizer.is_none());
}
