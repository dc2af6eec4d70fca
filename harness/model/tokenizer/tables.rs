//! A tokenizer taken apart into what GGUF files hold: tokens, their kinds, and merges or scores.

use std::collections::HashMap;

use serde_json::Value;

use super::byte_level::{self, TokenKind};
use super::sentence_piece::{SPACE, byte_piece};
use super::{Tokenizer, TokenizerError};

/// What a tokenizer knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tables {
    pub vocabulary: Vocabulary,
    /// In id order. Ids without a token are called `[PADn]`.
    pub tokens: Vec<String>,
    /// One a token.
    pub kinds: Vec<TokenKind>,
    pub unknown: Option<u32>,
    /// Whether encoding begins with the beginning-of-sequence token.
    pub add_bos: bool,
    /// Whether encoding ends with the end-of-sequence token.
    pub add_eos: bool,
}

/// How text becomes tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Vocabulary {
    /// Byte-level BPE: what GGUF calls the way text is cut into words, and merges `left right` by rank.
    ByteLevel { words: &'static str, merges: Vec<String> },
    /// SentencePiece BPE: the piece of the highest score is joined first.
    Pieces { scores: Vec<f32>, space_prefix: bool },
}

impl Tokenizer {
    /// The tables of a tokenizer whose model has `size` tokens; `None` when it is none of the two kinds that GGUF files hold.
    ///
    /// # Errors
    /// When the tokenizer cannot be described.
    pub(crate) fn tables(&self, size: usize) -> Result<Option<Tables>, TokenizerError> {
        let json: Value = serde_json::from_str(&self.to_json()?).map_err(TokenizerError::malformed)?;
        let Some((add_bos, add_eos)) = self.added(&json)? else { return Ok(None) };
        let Some((tokens, mut kinds)) = named_tokens(&json, size) else { return Ok(None) };
        let model = &json["model"];
        let unknown = model["unk_token"].as_str().and_then(|token| self.id(token));
        if model["type"] != "BPE" || !model["dropout"].is_null() {
            return Ok(None);
        }
        let Some(merges) = merges(model) else { return Ok(None) };
        let words = byte_level::words_of(&json["pre_tokenizer"], &json["normalizer"], model["ignore_merges"] == true)?;
        let vocabulary = if let Some(words) = words {
            let merges = merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect();
            Vocabulary::ByteLevel { words, merges }
        } else {
            let Some(space_prefix) = space_prefix(&json) else { return Ok(None) };
            let mut mark = |id: Option<u32>, kind: TokenKind| {
                if let Some(place) = id.and_then(|id| kinds.get_mut(id as usize)) {
                    *place = kind;
                }
            };
            mark(unknown, TokenKind::Unknown);
            if model["byte_fallback"] == true {
                for byte in 0..=255 {
                    mark(self.id(&byte_piece(byte)), TokenKind::Byte);
                }
            }
            let Some(scores) = scores(&tokens, &kinds, &merges) else { return Ok(None) };
            Vocabulary::Pieces { scores, space_prefix }
        };
        Ok(Some(Tables { vocabulary, tokens, kinds, unknown, add_bos, add_eos }))
    }

    /// Whether GGUF files can hold it in tables that llama.cpp reads, beside a model of `size` tokens.
    ///
    /// # Errors
    /// When the tokenizer cannot be described.
    pub fn has_tables(&self, size: usize) -> Result<bool, TokenizerError> {
        Ok(self.tables(size)?.is_some())
    }

    /// Whether encoding adds the beginning and the end of a sequence; `None` when it adds something else.
    fn added(&self, json: &Value) -> Result<Option<(bool, bool)>, TokenizerError> {
        if json["post_processor"].is_null() {
            return Ok(Some((false, false)));
        }
        let (with, without) = (self.encode("a", true)?, self.encode("a", false)?);
        let expected = |front: bool, back: bool| -> Vec<u32> {
            let (front, back) = (self.bos().filter(|_| front), self.eos().filter(|_| back));
            front.into_iter().chain(without.iter().copied()).chain(back).collect()
        };
        let ways = [(false, false), (true, false), (false, true), (true, true)];
        Ok(ways.into_iter().find(|(front, back)| expected(*front, *back) == with))
    }
}

/// Tokens and kinds in id order; `None` when an id is taken twice or lies outside the model.
fn named_tokens(json: &Value, size: usize) -> Option<(Vec<String>, Vec<TokenKind>)> {
    let mut tokens: Vec<Option<String>> = vec![None; size];
    let mut kinds = vec![TokenKind::Unused; size];
    for (token, id) in json["model"]["vocab"].as_object()? {
        let id = usize::try_from(id.as_u64()?).ok()?;
        if tokens.get_mut(id)?.replace(token.clone()).is_some() {
            return None;
        }
        kinds[id] = TokenKind::Normal;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let id = usize::try_from(added["id"].as_u64()?).ok()?;
        let content = added["content"].as_str()?;
        if tokens.get_mut(id)?.replace(content.to_owned()).is_some_and(|before| before != content) {
            return None;
        }
        kinds[id] = if added["special"] == true { TokenKind::Control } else { TokenKind::UserDefined };
    }
    let named = tokens.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| format!("[PAD{id}]")));
    Some((named.collect(), kinds))
}

/// Pairs that are merged, by rank.
fn merges(model: &Value) -> Option<Vec<(String, String)>> {
    let pair = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
        _ => Some((merge[0].as_str()?.to_owned(), merge[1].as_str()?.to_owned())),
    };
    model["merges"].as_array()?.iter().map(pair).collect()
}

/// Whether a tokenizer that writes spaces as [`SPACE`] puts one in front of a text; `None` when it is no such tokenizer.
fn space_prefix(json: &Value) -> Option<bool> {
    let space = SPACE.to_string();
    let (normalizer, splitter) = (&json["normalizer"], &json["pre_tokenizer"]);
    if normalizer.is_null() && splitter["type"] == "Metaspace" {
        let whole = splitter["replacement"] == *space && splitter["split"] != true;
        return match splitter["prepend_scheme"].as_str() {
            Some("never") if whole => Some(false),
            Some("first" | "always") if whole => Some(true),
            _ => None,
        };
    }
    if !splitter.is_null() {
        return None;
    }
    let alone = std::slice::from_ref(normalizer);
    let steps = normalizer["normalizers"].as_array().map_or(alone, Vec::as_slice);
    let prepends = |step: &Value| step["type"] == "Prepend" && step["prepend"] == *space;
    let replaces =
        |step: &Value| step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == *space;
    match steps {
        [replace] if replaces(replace) => Some(false),
        [prepend, replace] if prepends(prepend) && replaces(replace) => Some(true),
        _ => None,
    }
}

/// Scores that join pieces in the order of the merges; `None` when pieces, not pairs, do not decide that order.
///
/// The first merge that makes a piece gives its place. Scores fall by one from piece to piece; what no merge makes comes
/// behind. Every way to make a piece must be a merge, and those of a piece must stand together.
fn scores(tokens: &[String], kinds: &[TokenKind], merges: &[(String, String)]) -> Option<Vec<f32>> {
    let normal: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| kinds[*id] == TokenKind::Normal)
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    let mut place: Vec<Option<usize>> = vec![None; tokens.len()];
    let (mut next, mut last, mut used) = (0, None, 0_usize);
    for (left, right) in merges {
        let joined = format!("{left}{right}");
        // A special token is found before any merge.
        let Some(&id) = normal.get(joined.as_str()) else { continue };
        if !normal.contains_key(left.as_str()) || !normal.contains_key(right.as_str()) {
            return None;
        }
        used += 1;
        if last == Some(id) {
            continue;
        }
        if place[id].replace(next).is_some() {
            return None;
        }
        (next, last) = (next + 1, Some(id));
    }
    let cuts = |piece: &str| {
        let inner = piece.char_indices().skip(1);
        inner.filter(|(at, _)| normal.contains_key(&piece[..*at]) && normal.contains_key(&piece[*at..])).count()
    };
    if normal.keys().map(|piece| cuts(piece)).sum::<usize>() != used {
        return None;
    }
    let mut scores = vec![0.0; tokens.len()];
    for (id, score) in scores.iter_mut().enumerate().filter(|(id, _)| kinds[*id] == TokenKind::Normal) {
        let rank = place[id].unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        *score = -(rank as f32);
    }
    Some(scores)
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
