//! A decoder from a llama2.c file (version 0: seven numbers, then f32 weights) and the `tokenizer.bin` beside it.
//!
//! The layout: <https://github.com/karpathy/llama2.c/blob/master/export.py> (`legacy_export`). Query and key rows come in the
//! interleaved rotary layout and are put into the half-split one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::config::{Activation, Config, NormKind, PositionScheme, Projection, RopeStyle};
use crate::tokenizer::byte_level::{Specials, TokenKind};
use crate::tokenizer::sentence_piece::{self, SPACE, byte_piece};
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::weight::{DType, MappedFile, Weight};

use super::{
    Checkpoint, LoadError, Parts, TensorSpec, assemble, check_config, half_split_rows, is_vector, open,
    projection_shape,
};

const HEADER_BYTES: usize = 28;
/// The letters "ak42", with which versions 1 and 2 begin.
const LATER_VERSIONS: u32 = 0x616b_3432;

/// Loads the file at `path`, already mapped, with the tokenizer beside it if there is one.
pub(super) fn load(path: &Path, file: MappedFile) -> Result<Checkpoint, LoadError> {
    let damaged = |what: String| LoadError::Malformed { path: path.to_owned(), what };
    let bytes = file.bytes();
    if bytes.len() < HEADER_BYTES {
        return Err(damaged(format!("it has {} bytes, fewer than the header's {HEADER_BYTES}", bytes.len())));
    }
    let number = |i: usize| i32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]);
    if number(0) as u32 == LATER_VERSIONS {
        let what = "llama2.c format version 1 or 2; export it again with version 0".to_owned();
        return Err(LoadError::Unsupported { path: path.to_owned(), what });
    }
    let config = config(&std::array::from_fn(number)).map_err(|what| LoadError::UnknownFormat {
        path: path.to_owned(),
        what: format!("read as llama2.c, {what}"),
    })?;
    let layout = layout(&config);
    let floats = layout.iter().try_fold(0usize, |sum, place| sum.checked_add(place.length()));
    let needed = floats.and_then(|floats| floats.checked_mul(4)).and_then(|size| size.checked_add(HEADER_BYTES));
    if needed != Some(bytes.len()) {
        let needed = needed.map_or_else(|| "more than can be".to_owned(), |size| size.to_string());
        return Err(damaged(format!("its header calls for {needed} bytes, the file has {}", bytes.len())));
    }
    let mut tensors = BTreeMap::new();
    let mut offset = HEADER_BYTES;
    for place in &layout {
        for spec in place.specs() {
            let weight = Weight::mapped(&file, offset, spec.rows, spec.cols, DType::F32)
                .ok_or_else(|| damaged(format!("{} reaches past the end of the file", spec.name)))?;
            let weight = if spec.name.ends_with("q_proj.weight") {
                half_split_rows(&weight, config.heads, config.head_dim)
            } else if spec.name.ends_with("k_proj.weight") {
                half_split_rows(&weight, config.kv_heads, config.head_dim)
            } else {
                weight
            };
            offset += spec.len() * 4;
            tensors.insert(spec.name, weight);
        }
        if let Place::Skipped(count) = place {
            offset += count * 4;
        }
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut files = vec![(name, file.clone())];
    let tokenizer_path = path.with_file_name("tokenizer.bin");
    let mut tokenizer = None;
    if tokenizer_path != path && tokenizer_path.exists() {
        let map = open(&tokenizer_path)?;
        tokenizer = Some(read_tokenizer(map.bytes(), config.vocab_size).map_err(|e| e.at(&tokenizer_path))?);
        files.push(("tokenizer.bin".to_owned(), map));
    }
    let vectors: BTreeSet<String> = tensors.keys().filter(|name| is_vector(name)).cloned().collect();
    let source = "llama2.c version 0 (f32)".to_owned();
    assemble(Parts {
        path: path.to_owned(),
        source,
        config,
        tensors,
        packed: BTreeMap::new(),
        vectors,
        tokenizer,
        chat_template: None,
        coded: None,
        files,
    })
}

/// The header's seven numbers: width, feed-forward width, layers, heads, key-value heads, vocabulary (negative: the head has
/// its own matrix), context.
fn config(header: &[i32; 7]) -> Result<Config, String> {
    let size = |i: usize| usize::try_from(header[i]).unwrap_or(0);
    let heads = size(3);
    let head_dim = size(0).checked_div(heads).unwrap_or(0);
    if heads * head_dim != size(0) || head_dim % 2 != 0 {
        return Err(format!("its width {} is not divided evenly by its {} heads", header[0], header[3]));
    }
    let config = Config {
        architecture: "llama".to_owned(),
        vocab_size: header[5].unsigned_abs() as usize,
        hidden_size: size(0),
        intermediate_size: size(1),
        layers: size(2),
        heads,
        kv_heads: size(4),
        head_dim,
        max_positions: size(6),
        norm: NormKind::Rms,
        norm_epsilon: 1e-5,
        activation: Activation::Silu,
        gated: true,
        position: PositionScheme::Rope { theta: 10_000.0, rotary: head_dim, style: RopeStyle::HalfSplit },
        scaling: None,
        qkv_bias: false,
        output_bias: false,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        mlp_bias: false,
        tied_head: header[5] > 0,
        bos: Some(1),
        // llama2.c's own generation ends at the next beginning of a text.
        eos: vec![2, 1],
    };
    check_config(&config)?;
    Ok(config)
}

/// A stretch of the file.
enum Place {
    One(TensorSpec),
    /// The same tensor of every block, one block after another.
    Every {
        layers: usize,
        suffix: &'static str,
        rows: usize,
        cols: usize,
    },
    /// The rotary tables, which are computed instead.
    Skipped(usize),
}

impl Place {
    fn length(&self) -> usize {
        match self {
            Self::One(spec) => spec.len(),
            Self::Every { layers, rows, cols, .. } => layers.saturating_mul(rows * cols),
            Self::Skipped(count) => *count,
        }
    }

    fn specs(&self) -> Box<dyn Iterator<Item = TensorSpec> + '_> {
        match self {
            Self::One(spec) => Box::new(std::iter::once(spec.clone())),
            Self::Every { layers, suffix, rows, cols } => Box::new(
                (0..*layers)
                    .map(move |i| TensorSpec::matrix(format!("model.layers.{i}.{suffix}.weight"), *rows, *cols)),
            ),
            Self::Skipped(_) => Box::new(std::iter::empty()),
        }
    }
}

fn layout(config: &Config) -> Vec<Place> {
    let hidden = config.hidden_size;
    let norm = |suffix| Place::Every { layers: config.layers, suffix, rows: 1, cols: hidden };
    let weight = |projection: Projection| {
        let (rows, cols) = projection_shape(config, 0, projection);
        Place::Every { layers: config.layers, suffix: projection.module(), rows, cols }
    };
    let mut places = vec![
        Place::One(TensorSpec::matrix("model.embed_tokens.weight", config.vocab_size, hidden)),
        norm("input_layernorm"),
        weight(Projection::Q),
        weight(Projection::K),
        weight(Projection::V),
        weight(Projection::O),
        norm("post_attention_layernorm"),
        weight(Projection::Gate),
        weight(Projection::Down),
        weight(Projection::Up),
        Place::One(TensorSpec::vector("model.norm.weight", hidden)),
        Place::Skipped(config.max_positions.saturating_mul(config.head_dim)),
    ];
    if !config.tied_head {
        places.push(Place::One(TensorSpec::matrix("lm_head.weight", config.vocab_size, hidden)));
    }
    places
}

/// What is wrong with a `tokenizer.bin`.
#[derive(Debug)]
enum Fault {
    Malformed(String),
    Count(usize, usize),
    Tokenizer(TokenizerError),
}

impl Fault {
    fn at(self, path: &Path) -> LoadError {
        let path = path.to_owned();
        match self {
            Self::Malformed(what) => LoadError::Malformed { path, what },
            Self::Count(tokenizer, model) => LoadError::Vocabulary { path, tokenizer, model },
            Self::Tokenizer(source) => LoadError::Tokenizer { path, source },
        }
    }
}

/// Reads `tokenizer.bin`: the longest length, then score, length and bytes of each piece. The file does not state how many.
fn read_tokenizer(bytes: &[u8], vocab_size: usize) -> Result<Tokenizer, Fault> {
    let mut pieces: Vec<String> = Vec::new();
    let mut scores = Vec::new();
    let mut at = 4;
    if bytes.len() < at {
        return Err(Fault::Malformed("it is shorter than its header".to_owned()));
    }
    while at < bytes.len() {
        let id = pieces.len();
        let cut = || Fault::Malformed(format!("it ends inside token {id}"));
        let Some(&[a, b, c, d, e, f, g, h]) = bytes.get(at..at + 8) else { return Err(cut()) };
        let length = usize::try_from(i32::from_le_bytes([e, f, g, h]))
            .map_err(|_| Fault::Malformed(format!("token {id} has a negative length")))?;
        let piece = bytes.get(at + 8..at + 8 + length).ok_or_else(cut)?;
        // Only the old form of the byte tokens is not UTF-8, and byte tokens are renamed below.
        pieces.push(String::from_utf8_lossy(piece).replace(' ', SPACE.encode_utf8(&mut [0; 4])));
        scores.push(f32::from_le_bytes([a, b, c, d]));
        at += 8 + length;
    }
    if pieces.len() != vocab_size {
        return Err(Fault::Count(pieces.len(), vocab_size));
    }
    let kinds = name_pieces(&mut pieces);
    let specials = Specials { bos: Some(1), eos: Some(2), unknown: Some(0), add_bos: true, add_eos: false };
    if pieces.len() < 3 {
        return Err(Fault::Malformed(format!("{} tokens leave no room for text", pieces.len())));
    }
    sentence_piece::build(&pieces, &scores, &kinds, specials, true).map_err(Fault::Tokenizer)
}

/// Gives the first 259 pieces their SentencePiece names. The export wrote byte tokens as the characters they print as, and
/// the same characters occur again later as ordinary pieces; as `<0xNN>` they are what they are, a last resort.
fn name_pieces(pieces: &mut [String]) -> Vec<TokenKind> {
    let mut kinds = vec![TokenKind::Normal; pieces.len()];
    for (id, (name, kind)) in [("<unk>", TokenKind::Unknown), ("<s>", TokenKind::Control), ("</s>", TokenKind::Control)]
        .into_iter()
        .enumerate()
    {
        if let (Some(piece), Some(slot)) = (pieces.get_mut(id), kinds.get_mut(id)) {
            name.clone_into(piece);
            *slot = kind;
        }
    }
    let Some(bytes) = pieces.get_mut(3..259) else { return kinds };
    let is_byte = |value: u8, piece: &str| {
        let printed = char::from(value).to_string();
        let spaced = if value == b' ' { SPACE.to_string() } else { printed };
        piece == spaced || piece == byte_piece(value) || (value >= 128 && piece == "\u{fffd}")
    };
    if bytes.iter().enumerate().all(|(value, piece)| is_byte(value as u8, piece)) {
        for (value, piece) in bytes.iter_mut().enumerate() {
            *piece = byte_piece(value as u8);
            kinds[3 + value] = TokenKind::Byte;
        }
    }
    kinds
}

#[cfg(test)]
#[path = "llama2c_tests.rs"]
mod tests;
