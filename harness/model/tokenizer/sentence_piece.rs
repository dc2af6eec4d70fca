//! SentencePiece BPE tokenizers (the Llama 2 kind) from pieces and scores, as GGUF and llama2.c hold them.
//!
//! SentencePiece joins, again and again, the two neighbours whose union is the piece of highest score. The `tokenizers`
//! crate joins by a ranked list of pairs, so the list is derived: every way to cut a piece into two pieces, by falling score of
//! the whole. A piece that cannot be built this way is reachable in neither program.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};
use tokenizers::{DecoderWrapper, Tokenizer as Inner};

use super::byte_level::{Specials, TokenKind, finish, vocabulary};
use super::{Tokenizer, TokenizerError};

/// The sign that stands for a space inside pieces.
pub(crate) const SPACE: char = '\u{2581}';

/// Longer pieces are refused: real ones have at most some dozens of bytes, and the ways to cut one grow with its length.
const LONGEST_PIECE: usize = 256;

/// The name of a byte piece.
pub(crate) fn byte_piece(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// Builds the tokenizer: `pieces` in id order with spaces written [`SPACE`], byte pieces `<0xNN>`.
pub(crate) fn build<S: AsRef<str>>(
    pieces: &[S],
    scores: &[f32],
    kinds: &[TokenKind],
    specials: Specials,
    space_prefix: bool,
) -> Result<Tokenizer, TokenizerError> {
    let vocabulary = vocabulary(pieces)?;
    let mut cuts: Vec<(usize, usize)> = Vec::new();
    for (id, piece) in pieces.iter().enumerate() {
        let piece = piece.as_ref();
        if piece.len() > LONGEST_PIECE {
            return Err(TokenizerError::Malformed(format!(
                "token {id} has {} bytes, over {LONGEST_PIECE}",
                piece.len()
            )));
        }
        if scores[id].is_nan() {
            return Err(TokenizerError::Malformed(format!("the score of token {id} is not a number")));
        }
        if kinds[id] != TokenKind::Normal {
            continue;
        }
        let mergeable = |part: &str| vocabulary.get(part).is_some_and(|&id| kinds[id as usize] == TokenKind::Normal);
        for (at, _) in piece.char_indices().skip(1) {
            if mergeable(&piece[..at]) && mergeable(&piece[at..]) {
                cuts.push((id, at));
            }
        }
    }
    // Stable: equal scores keep the order of ids, then of cuts.
    cuts.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]));
    let merges = cuts
        .into_iter()
        .map(|(id, at)| {
            let (left, right) = pieces[id].as_ref().split_at(at);
            (left.to_owned(), right.to_owned())
        })
        .collect::<Vec<_>>();
    let has_bytes = (0..=255).all(|byte| vocabulary.contains_key(&byte_piece(byte)));
    // Sound: every merge joins two pieces into a third by construction.
    let mut model = BPE::new(vocabulary.into_iter().collect(), merges);
    model.fuse_unk = true;
    model.byte_fallback = has_bytes;
    model.unk_token = specials.unknown.and_then(|id| pieces.get(id as usize)).map(|piece| piece.as_ref().to_owned());
    let mut inner = Inner::new(model);
    let space = SPACE.to_string();
    let mut steps = Vec::new();
    if space_prefix {
        steps.push(NormalizerWrapper::from(Prepend::new(space.clone())));
    }
    steps.push(NormalizerWrapper::from(Replace::new(" ", space.clone()).map_err(TokenizerError::malformed)?));
    inner.with_normalizer(Some(Sequence::new(steps))).map_err(TokenizerError::malformed)?;
    let mut back = vec![
        DecoderWrapper::from(Replace::new(space, " ").map_err(TokenizerError::malformed)?),
        DecoderWrapper::from(ByteFallback::new()),
        DecoderWrapper::from(Fuse::new()),
    ];
    if space_prefix {
        back.push(DecoderWrapper::from(Strip::new(' ', 1, 0)));
    }
    inner.with_decoder(Some(Decoders::new(back)));
    finish(inner, pieces, kinds, specials)
}
