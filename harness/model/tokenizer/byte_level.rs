//! Byte-level BPE tokenizers (the GPT-2 kind) from a list of tokens and merges, as GGUF holds them.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer as Inner};

use super::{Tokenizer, TokenizerError, special_template};

/// What a token is, in GGUF's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl TokenKind {
    pub(crate) fn from_number(number: i64) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }

    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Normal => 1,
            Self::Unknown => 2,
            Self::Control => 3,
            Self::UserDefined => 4,
            Self::Unused => 5,
            Self::Byte => 6,
        }
    }
}

/// The special tokens of a vocabulary and whether encoding adds them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Specials {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unknown: Option<u32>,
    pub add_bos: bool,
    pub add_eos: bool,
}

/// Words of Qwen2 tokenizers: one digit at a time.
const QWEN2_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of Llama 3 tokenizers: up to three digits at a time.
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is cut into words, by the name GGUF gives it.
struct Splitting {
    steps: Vec<PreTokenizerWrapper>,
    normalise: bool,
    whole_words_first: bool,
}

fn splitting(name: &str) -> Result<Splitting, TokenizerError> {
    let byte_level = |words: bool| PreTokenizerWrapper::from(ByteLevel::new(false, true, words));
    let pattern = |words: &str| -> Result<PreTokenizerWrapper, TokenizerError> {
        let split = Split::new(SplitPattern::Regex(words.to_owned()), SplitDelimiterBehavior::Isolated, false);
        Ok(PreTokenizerWrapper::from(split.map_err(TokenizerError::malformed)?))
    };
    Ok(match name {
        "gpt-2" | "gpt2" | "default" => {
            Splitting { steps: vec![byte_level(true)], normalise: false, whole_words_first: false }
        }
        "smollm" => Splitting {
            steps: vec![PreTokenizerWrapper::from(Digits::new(true)), byte_level(true)],
            normalise: false,
            whole_words_first: false,
        },
        "qwen2" => Splitting {
            steps: vec![pattern(QWEN2_WORDS)?, byte_level(false)],
            normalise: true,
            whole_words_first: false,
        },
        "llama-bpe" | "llama3" | "llama-v3" => Splitting {
            steps: vec![pattern(LLAMA3_WORDS)?, byte_level(false)],
            normalise: false,
            whole_words_first: true,
        },
        other => {
            return Err(TokenizerError::Unsupported {
                what: "the pre-tokenizer",
                name: other.to_owned(),
                known: "default, gpt-2, smollm, qwen2, llama-bpe",
            });
        }
    })
}

/// The name GGUF gives to a way of cutting text into words, from its description; `None` when it has none.
///
/// # Errors
/// When a way that is known cannot be described.
pub(crate) fn words_of(
    pre_tokenizer: &Value,
    normalizer: &Value,
    ignore_merges: bool,
) -> Result<Option<&'static str>, TokenizerError> {
    let wanted = steps_of(pre_tokenizer);
    for name in ["gpt-2", "smollm", "qwen2", "llama-bpe"] {
        let Splitting { steps, normalise, whole_words_first } = splitting(name)?;
        let described = serde_json::to_value(Sequence::new(steps)).map_err(TokenizerError::malformed)?;
        let normal = if normalise { normalizer["type"] == "NFC" } else { normalizer.is_null() };
        if normal && whole_words_first == ignore_merges && steps_of(&described) == wanted {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The steps of a pre-tokenizer, one or a sequence, without what changes offsets only.
fn steps_of(pre_tokenizer: &Value) -> Vec<Value> {
    let alone = std::slice::from_ref(pre_tokenizer);
    let mut steps = pre_tokenizer["pretokenizers"].as_array().map_or(alone, Vec::as_slice).to_vec();
    for step in steps.iter_mut().filter_map(Value::as_object_mut) {
        step.remove("trim_offsets");
    }
    steps
}

/// Builds the tokenizer: `tokens` in id order, `merges` as "left right" in order of rank.
pub(crate) fn build<'a>(
    tokens: &[&str],
    kinds: &[TokenKind],
    merges: impl Iterator<Item = &'a str>,
    pre_tokenizer: &str,
    specials: Specials,
) -> Result<Tokenizer, TokenizerError> {
    let splitting = splitting(pre_tokenizer)?;
    let vocabulary = vocabulary(tokens)?;
    let mut pairs = Vec::new();
    let mut joined = String::new();
    for merge in merges {
        // A merge is two tokens with one space between; byte-level tokens never contain a space.
        let (left, right) = merge
            .split_once(' ')
            .ok_or_else(|| TokenizerError::Malformed(format!("the merge \"{merge}\" is not two tokens")))?;
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        for token in [left, right, joined.as_str()] {
            if !vocabulary.contains_key(token) {
                return Err(TokenizerError::Malformed(format!(
                    "the merge \"{merge}\" needs the token \"{token}\", which is not in the vocabulary"
                )));
            }
        }
        pairs.push((left.to_owned(), right.to_owned()));
    }
    // Sound: every merge was found to join two tokens into a third.
    let mut model = BPE::new(vocabulary.into_iter().collect(), pairs);
    model.ignore_merges = splitting.whole_words_first;
    let mut inner = Inner::new(model);
    if splitting.normalise {
        inner.with_normalizer(Some(NFC)).map_err(TokenizerError::malformed)?;
    }
    inner.with_pre_tokenizer(Some(Sequence::new(splitting.steps)));
    inner.with_decoder(Some(ByteLevel::new(false, true, true)));
    finish(inner, tokens, kinds, specials)
}

/// Token to id.
///
/// # Errors
/// When one string stands for two ids: the second could never be told from the first.
pub(crate) fn vocabulary<S: AsRef<str>>(tokens: &[S]) -> Result<HashMap<String, u32>, TokenizerError> {
    let mut vocabulary = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        let token = token.as_ref();
        if let Some(first) = vocabulary.insert(token.to_owned(), id as u32) {
            return Err(TokenizerError::Malformed(format!("the token \"{token}\" has two ids, {first} and {id}")));
        }
    }
    Ok(vocabulary)
}

/// Declares the special and user-defined tokens and the ones encoding adds.
pub(crate) fn finish<S: AsRef<str>>(
    mut inner: Inner,
    tokens: &[S],
    kinds: &[TokenKind],
    specials: Specials,
) -> Result<Tokenizer, TokenizerError> {
    for id in [specials.bos, specials.eos, specials.unknown].into_iter().flatten() {
        if id as usize >= tokens.len() {
            return Err(TokenizerError::Malformed(format!(
                "the special token {id} is outside the {} tokens of the vocabulary",
                tokens.len()
            )));
        }
    }
    let of_kind = |kind: TokenKind, special: bool| {
        let listed = tokens.iter().zip(kinds).filter(move |(token, k)| **k == kind && !token.as_ref().is_empty());
        listed.map(move |(token, _)| AddedToken::from(token.as_ref(), special).normalized(false)).collect::<Vec<_>>()
    };
    let mut special = of_kind(TokenKind::Control, true);
    special.extend(of_kind(TokenKind::Unknown, true));
    inner.add_special_tokens(special).map_err(TokenizerError::malformed)?;
    inner.add_tokens(of_kind(TokenKind::UserDefined, false)).map_err(TokenizerError::malformed)?;
    let named = |id: Option<u32>, wanted: bool| {
        id.filter(|_| wanted).and_then(|id| tokens.get(id as usize).map(|token| (token.as_ref(), id)))
    };
    let front = named(specials.bos, specials.add_bos);
    let back = named(specials.eos, specials.add_eos);
    if front.is_some() || back.is_some() {
        inner.with_post_processor(Some(special_template(front, back)?));
    }
    Ok(Tokenizer::from_inner(inner, specials.bos, specials.eos))
}
