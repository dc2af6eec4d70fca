#![allow(clippy::unwrap_used)]

use super::super::byte_level::Specials;
use super::super::sentence_piece;
use super::*;
use crate::load::{fixtures, load};

fn tokenizer(json: &str) -> Tokenizer {
    Tokenizer::from_json(json.as_bytes(), Some(1), Some(0)).unwrap()
}

#[test]
fn byte_level_tables_are_those_of_the_description() {
    let tables = tokenizer(fixtures::TOKENIZER_JSON).tables(16).unwrap().unwrap();
    let merges = fixtures::BYTE_LEVEL_MERGES.map(str::to_owned).to_vec();
    assert_eq!(tables.vocabulary, Vocabulary::ByteLevel { words: "gpt-2", merges });
    assert_eq!(tables.tokens[..14], fixtures::BYTE_LEVEL_TOKENS);
    assert_eq!(tables.tokens[14..], ["[PAD14]", "[PAD15]"], "the model has two tokens more");
    assert_eq!(tables.kinds[..3], [TokenKind::Control, TokenKind::Control, TokenKind::Normal]);
    assert_eq!(tables.kinds[15], TokenKind::Unused);
    assert_eq!((tables.unknown, tables.add_bos, tables.add_eos), (None, true, false));
    assert!(tokenizer(fixtures::TOKENIZER_JSON).tables(13).unwrap().is_none(), "the model has too few tokens");
}

#[test]
fn every_way_to_cut_words_keeps_its_name() {
    for words in ["gpt-2", "smollm", "qwen2", "llama-bpe"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, fixtures::gguf_byte_level("llama", words).build()).unwrap();
        let tokenizer = load(&path).unwrap().tokenizer.unwrap();
        let tables = tokenizer.tables(14).unwrap().unwrap();
        assert!(matches!(&tables.vocabulary, Vocabulary::ByteLevel { words: found, .. } if *found == words), "{words}");
        assert!(!tables.add_bos);
    }
}

#[test]
fn other_tokenizers_have_no_tables() {
    for (from, to) in [
        ("\"add_prefix_space\":false", "\"add_prefix_space\":true"),
        ("\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}"),
        ("\"ignore_merges\":false", "\"ignore_merges\":true"),
        // What is added in front is no beginning of a sequence.
        ("\"ids\":[1]", "\"ids\":[0]"),
    ] {
        let json = fixtures::TOKENIZER_JSON.replacen(from, to, 1);
        assert_ne!(json, fixtures::TOKENIZER_JSON);
        assert!(tokenizer(&json).tables(14).unwrap().is_none(), "{to}");
    }
    let words = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
"pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":null,"decoder":null,
"model":{"type":"WordLevel","vocab":{"a":0,"b":1},"unk_token":"a"}}"#;
    assert!(tokenizer(words).tables(2).unwrap().is_none());
}

/// A SentencePiece tokenizer: 8 pieces, scores that are not in the order of ids.
fn pieces(scores: &[f32; 8]) -> Tokenizer {
    let pieces = ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁a"];
    let mut kinds = [TokenKind::Normal; 8];
    kinds[0] = TokenKind::Unknown;
    kinds[1..3].fill(TokenKind::Control);
    let specials = Specials { bos: Some(1), eos: Some(2), unknown: Some(0), add_bos: true, add_eos: false };
    sentence_piece::build(&pieces, scores, &kinds, specials, true).unwrap()
}

#[test]
fn scores_of_pieces_have_the_order_of_the_merges() {
    for (given, first) in
        [([0.0, 0.0, 0.0, -5.0, -6.0, -7.0, -1.5, -2.5], "ab"), ([0.0, 0.0, 0.0, -5.0, -6.0, -7.0, -9.0, -2.5], "▁a")]
    {
        let original = pieces(&given);
        let tables = original.tables(8).unwrap().unwrap();
        let Vocabulary::Pieces { scores, space_prefix } = &tables.vocabulary else { panic!("{tables:?}") };
        assert!(*space_prefix && tables.add_bos && tables.unknown == Some(0));
        assert_eq!(tables.kinds[..3], [TokenKind::Unknown, TokenKind::Control, TokenKind::Control]);
        let best = (3..8).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        assert_eq!(tables.tokens[best], first);
        assert_eq!(
            original.encode("ab", true).unwrap(),
            pieces(&<[f32; 8]>::try_from(scores.clone()).unwrap()).encode("ab", true).unwrap()
        );
        // A merge that is missing, or stands between those of another piece, is no SentencePiece.
        let json = original.to_json().unwrap();
        let mut value: Value = serde_json::from_str(&json).unwrap();
        value["model"]["merges"].as_array_mut().unwrap().pop();
        assert!(tokenizer(&value.to_string()).tables(8).unwrap().is_none());
    }
}
