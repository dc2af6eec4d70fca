#![allow(clippy::unwrap_used)]

use super::byte_level::{self, Specials, TokenKind};
use super::*;
use crate::load::fixtures::{BYTE_LEVEL_MERGES, BYTE_LEVEL_TOKENS, PIECES, TOKENIZER_JSON};

fn byte_level(words: &str, specials: Specials) -> Tokenizer {
    let mut kinds = vec![TokenKind::Normal; BYTE_LEVEL_TOKENS.len()];
    kinds[..2].fill(TokenKind::Control);
    byte_level::build(&BYTE_LEVEL_TOKENS, &kinds, BYTE_LEVEL_MERGES.into_iter(), words, specials).unwrap()
}

fn pieces(space_prefix: bool) -> Tokenizer {
    let (names, scores): (Vec<_>, Vec<_>) = [("<unk>", 0.0), ("<s>", 0.0)].into_iter().chain(PIECES).unzip();
    let mut kinds = vec![TokenKind::Normal; names.len()];
    kinds[0] = TokenKind::Unknown;
    kinds[1] = TokenKind::Control;
    let specials = Specials { bos: Some(1), unknown: Some(0), add_bos: true, ..Specials::default() };
    sentence_piece::build(&names, &scores, &kinds, specials, space_prefix).unwrap()
}

#[test]
fn digits_stand_alone_only_where_the_model_wants_it() {
    let encode = |words: &str| byte_level(words, Specials::default()).encode("ab 12", false).unwrap();
    assert_eq!(encode("default"), [8, 7, 12]);
    assert_eq!(encode("gpt-2"), [8, 7, 12]);
    assert_eq!(encode("smollm"), [8, 7, 5, 6]);
    assert_eq!(encode("qwen2"), [8, 7, 5, 6]);
    assert_eq!(encode("llama-bpe"), [8, 7, 12]);
}

#[test]
fn special_tokens_are_added_on_request_and_not_printed() {
    let specials = Specials { bos: Some(1), eos: Some(0), add_bos: true, add_eos: true, ..Specials::default() };
    let tokenizer = byte_level("smollm", specials);
    assert_eq!(tokenizer.encode("abc", true).unwrap(), [1, 9, 0]);
    assert_eq!(tokenizer.encode("abc", false).unwrap(), [9]);
    assert_eq!(tokenizer.encode("a<|end|>b", false).unwrap(), [2, 0, 3]);
    assert_eq!(tokenizer.decode(&[1, 9, 11, 0]).unwrap(), "abc ab");
    assert_eq!(tokenizer.vocab_size(), 14);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(0)));
    assert_eq!((tokenizer.id("abc"), tokenizer.token(9).as_deref()), (Some(9), Some("abc")));
}

#[test]
fn pieces_merge_by_score_not_from_the_left() {
    let tokenizer = pieces(true);
    let id = |piece: &str| tokenizer.id(piece).unwrap();
    // "bb" (-0.5) comes before "ab" (-2), though "ab" stands further left; "▁a" (-1) before "ab".
    assert_eq!(tokenizer.encode("abb", false).unwrap(), [id("▁a"), id("bb")]);
    assert_eq!(tokenizer.encode("ab", false).unwrap(), [id("▁ab")]);
    assert_eq!(tokenizer.encode("c ab", true).unwrap(), [1, id("▁"), id("c"), id("▁ab")]);
    assert_eq!(tokenizer.encode(" a", false).unwrap(), [id("▁"), id("▁a")]);
    assert_eq!(tokenizer.encode("", true).unwrap(), [1]);
    assert_eq!(tokenizer.encode("z", false).unwrap(), [id("▁"), 0], "no byte pieces: unknown");
    assert_eq!(tokenizer.decode(&[1, id("▁a"), id("bb"), id("▁ab")]).unwrap(), "abb ab");
    let bare = pieces(false);
    assert_eq!(bare.encode("ab", false).unwrap(), [id("ab")]);
    assert_eq!(bare.decode(&[id("▁a")]).unwrap(), " a");
}

#[test]
fn saved_tokenizers_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let text = "ab c 12! <|end|>\n abab é";
    let specials = Specials { bos: Some(1), add_bos: true, ..Specials::default() };
    for (number, tokenizer) in
        [byte_level("smollm", specials), byte_level("qwen2", specials), pieces(true), pieces(false)].iter().enumerate()
    {
        let path = folder.path().join(format!("{number}.json"));
        tokenizer.save(&path).unwrap();
        let again = Tokenizer::from_file(&path, tokenizer.bos(), tokenizer.eos()).unwrap();
        assert_eq!(again.encode(text, true).unwrap(), tokenizer.encode(text, true).unwrap());
        assert_eq!(again.to_json().unwrap(), tokenizer.to_json().unwrap());
        assert_eq!(again.vocab_size(), tokenizer.vocab_size());
    }
    assert!(matches!(
        Tokenizer::from_file(&folder.path().join("none.json"), None, None),
        Err(TokenizerError::Io { .. })
    ));
}

#[test]
fn contradictions_in_json_are_refused() {
    let with = |from: &str, to: &str| {
        assert!(TOKENIZER_JSON.contains(from));
        Tokenizer::from_json(TOKENIZER_JSON.replace(from, to).as_bytes(), None, None).unwrap_err().to_string()
    };
    assert!(with(r#"["1","2"]"#, r#"["Ġab","Ġab"]"#).contains("gives no known token"));
    assert!(with(r#"["1","2"]"#, r#"["1"]"#).contains("not a pair"));
    assert!(with(r#""!":13"#, r#""!":4294967295"#).contains("not a token id"));
    assert!(with(r#""!":13"#, r#""!":-1"#).contains("not a token id"));
    let stranger = with(r#""special_tokens":{"<|start|>""#, r#""special_tokens":{"<|other|>""#);
    assert_eq!(stranger, "the template adds the special token \"<|start|>\", which it does not define");
    assert!(Tokenizer::from_json(b"{}", None, None).is_err());
    let deep = "[".repeat(100_000);
    assert!(Tokenizer::from_json(deep.as_bytes(), None, None).is_err());
}

#[test]
fn odd_pieces_are_refused() {
    let build = |names: &[&str], scores: &[f32]| {
        let kinds = vec![TokenKind::Normal; names.len()];
        sentence_piece::build(names, scores, &kinds, Specials::default(), true).map(|_| ()).unwrap_err().to_string()
    };
    assert!(build(&["a", &"x".repeat(300)], &[0.0; 2]).contains("token 1 has 300 bytes"));
    assert!(build(&["a", "b"], &[0.0, f32::NAN]).contains("score of token 1"));
    assert!(build(&["a", "a"], &[0.0; 2]).contains("two ids"));
}
