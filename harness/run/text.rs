//! From a text to windows of tokens: which passages are scored or calibrated on, and how that is named.

use std::collections::HashSet;

use harness_core::parameters::ParameterError;
use harness_core::{Arm, Domain, Parameters};
use harness_model::tokenizer::Tokenizer;
use sha2::{Digest, Sha256};

harness_core::choice! {
    /// Which passages are taken.
    pub enum Select {
        /// Passages at even distances over the whole text, each within one document.
        Spread = "spread",
        /// One after the other from the beginning of each document.
        Consecutive = "consecutive",
        /// As many of each document as of any other, at even distances within it.
        Documents = "documents",
    }
}

harness_core::parameters! {
    /// The keys of `data` and `calib`.
    pub struct TextSelection {
        /// A corpus and split (`gutenberg/test`), `self` for text that the dense model writes, or a path to a text file.
        corpus: String = String::new();
        /// Tokens in a window, the beginning-of-sequence token included.
        window: usize = 256, Domain::closed(2.0, 1_048_576.0);
        /// Windows taken.
        windows: usize = 64, Domain::closed(1.0, 1_000_000.0);
        /// Which passages are taken.
        select: Select = Select::Spread;
        /// Whether every window begins with the beginning-of-sequence token; unset: as the tokenizer says.
        bos: Option<bool> = None;
        /// Predictions made before this position are not scored.
        skip_first: usize = 0, Domain::closed(0.0, 1_048_576.0);
        /// Only the last so many tokens of a window are scored; unset: as `skip_first` says.
        last: Option<usize> = None, Domain::closed(1.0, 1_048_576.0);
        /// Tokens of the passages that are cut, of each of which a window is the end: windows of several lengths then end with the same tokens; unset: a window.
        passage: Option<usize> = None, Domain::closed(2.0, 1_048_576.0);
    }
}

impl TextSelection {
    /// First position whose prediction counts.
    pub fn first_scored(&self) -> usize {
        self.last.map_or(self.skip_first, |last| self.window - 1 - last)
    }
}

/// Refuses keys that do not fit together.
///
/// # Errors
/// [`ParameterError::Together`].
pub(crate) fn check(arm: &Arm) -> Result<(), ParameterError> {
    let TextSelection { window, last, passage, skip_first, .. } = TextSelection::resolve(arm)?;
    let refuse = |why: String| Err(ParameterError::Together(why));
    match (last, passage) {
        (Some(last), _) if last >= window => refuse(format!(
            "`last = {last}` is more than windows of {window} tokens predict; it can be {} at most",
            window - 1
        )),
        (Some(_), _) if skip_first > 0 => {
            refuse("`last` and `skip_first` both say what is scored; leave one out".to_owned())
        }
        (_, Some(passage)) if passage < window => {
            refuse(format!("windows of {window} tokens are no end of passages of {passage}; raise `passage`"))
        }
        _ => Ok(()),
    }
}

/// A text that windows are cut from.
pub enum TextSource {
    /// Documents of characters, for any tokenizer.
    Documents {
        /// Name and content hash, for the protocol.
        name: String,
        /// The documents in order.
        documents: Vec<String>,
    },
    /// Documents that already are tokens of the model's own vocabulary.
    Tokens {
        /// Name and content hash, for the protocol.
        name: String,
        /// Document by index, counted from 0; `None` past the end.
        document: Box<dyn Fn(usize) -> Option<Vec<u32>>>,
    },
}

impl TextSource {
    /// Name and content hash.
    pub fn name(&self) -> &str {
        match self {
            Self::Documents { name, .. } | Self::Tokens { name, .. } => name,
        }
    }
}

/// Windows of tokens, all of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Token ids.
    pub tokens: Vec<Vec<u32>>,
    /// The document each window begins in.
    pub documents: Vec<u32>,
    /// Text tokens behind the last full window that were dropped; only known for consecutive windows.
    pub dropped: usize,
    /// Everything that makes two scores comparable, in one line.
    pub protocol: String,
    /// SHA-256 of the token ids.
    pub hash: String,
}

/// Why a text gives no windows.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// Not a single character or token.
    #[error("`{name}` is empty; give a text with at least one window of {window} tokens")]
    Empty {
        /// The text.
        name: String,
        /// Window length.
        window: usize,
    },
    /// Fewer windows than asked for.
    #[error(
        "`{name}` is too short: it gives {found} of the {wanted} windows of {window} tokens that are needed; give more text, or ask for fewer or shorter windows"
    )]
    TooShort {
        /// The text.
        name: String,
        /// Window length.
        window: usize,
        /// Windows there are.
        found: usize,
        /// Windows asked for.
        wanted: usize,
    },
    /// A beginning-of-sequence token was asked for and the model has none.
    #[error("the model has no beginning-of-sequence token; leave `bos` unset or set it to false")]
    NoBos,
    /// The tokenizer refused the text.
    #[error("cannot tokenize `{name}`: {reason}")]
    Tokenize {
        /// The text.
        name: String,
        /// The tokenizer's reason.
        reason: String,
    },
    /// Calibration text that is also scored.
    #[error(
        "{shared} of {total} calibration passages also stand in the text that is scored; calibrate on another corpus or split"
    )]
    Overlap {
        /// Calibration windows that share a passage with the scored text.
        shared: usize,
        /// Calibration windows.
        total: usize,
    },
}

/// Cuts windows as a selection says; the protocol does not name the tokenizer, the caller's cell does.
///
/// # Errors
/// [`TextError`].
pub fn windows(source: &TextSource, tokenizer: &Tokenizer, selection: &TextSelection) -> Result<Windows, TextError> {
    let bos = match selection.bos {
        Some(false) => None,
        Some(true) => Some(tokenizer.bos().ok_or(TextError::NoBos)?),
        None => tokenizer.bos().filter(|bos| tokenizer.encode("", true).is_ok_and(|ids| ids.first() == Some(bos))),
    };
    // Token documents carry their own boundary tokens.
    let bos = bos.filter(|_| matches!(source, TextSource::Documents { .. }));
    let body = selection.window - usize::from(bos.is_some());
    let passage = selection.passage.unwrap_or(selection.window) - usize::from(bos.is_some());
    let mut cut = match source {
        TextSource::Tokens { document, .. } => consecutive_tokens(document, passage, selection.windows),
        TextSource::Documents { name, documents } => {
            if documents.iter().all(|text| text.trim().is_empty()) {
                return Err(TextError::Empty { name: name.clone(), window: selection.window });
            }
            let encode = |text: &str| {
                tokenizer
                    .encode(text, false)
                    .map_err(|error| TextError::Tokenize { name: name.clone(), reason: error.to_string() })
            };
            match selection.select {
                Select::Consecutive => consecutive(documents, passage, selection.windows, encode)?,
                Select::Spread => spread(documents, passage, selection.windows, encode)?,
                Select::Documents => of_each(documents, passage, selection.windows, encode)?,
            }
        }
    };
    if cut.tokens.len() < selection.windows {
        return Err(TextError::TooShort {
            name: source.name().to_owned(),
            window: selection.passage.unwrap_or(selection.window),
            found: cut.tokens.len(),
            wanted: selection.windows,
        });
    }
    for window in &mut cut.tokens {
        window.drain(..passage - body);
    }
    if let Some(bos) = bos {
        cut.tokens.iter_mut().for_each(|window| window.insert(0, bos));
    }
    let TextSelection { window, windows, skip_first, .. } = selection;
    let select = match (source, selection.select) {
        (TextSource::Documents { .. }, Select::Spread) => "spread",
        (TextSource::Documents { .. }, Select::Documents) => "documents",
        _ => "consecutive",
    };
    cut.protocol = format!(
        "text={} select={select} window={window} windows={windows} bos={} skip_first={skip_first} unit=token tail=dropped",
        source.name(),
        bos.is_some(),
    );
    for (key, value) in [("last", selection.last), ("passage", selection.passage)] {
        if let Some(value) = value {
            cut.protocol += &format!(" {key}={value}");
        }
    }
    cut.hash = hash_tokens(&cut.tokens);
    Ok(cut)
}

/// SHA-256 of windows of token ids, in hexadecimal.
pub fn hash_tokens(windows: &[Vec<u32>]) -> String {
    let mut hasher = Sha256::new();
    for window in windows {
        hasher.update((window.len() as u64).to_le_bytes());
        for token in window {
            hasher.update(token.to_le_bytes());
        }
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses calibration windows that share passages with scored windows.
///
/// # Errors
/// [`TextError::Overlap`] when a run of 32 tokens (half a window where windows are shorter than 64) of any calibration
/// window stands in a scored one.
pub fn refuse_overlap(calibration: &[Vec<u32>], scored: &[Vec<u32>]) -> Result<(), TextError> {
    let shortest = calibration.iter().chain(scored).map(Vec::len).min().unwrap_or(0);
    let length = 32.min(shortest / 2).max(1);
    let passages: HashSet<&[u32]> = scored.iter().flat_map(|window| window.windows(length)).collect();
    let shared =
        calibration.iter().filter(|window| window.windows(length).any(|passage| passages.contains(passage))).count();
    if shared == 0 { Ok(()) } else { Err(TextError::Overlap { shared, total: calibration.len() }) }
}

fn empty_cut() -> Windows {
    Windows { tokens: Vec::new(), documents: Vec::new(), dropped: 0, protocol: String::new(), hash: String::new() }
}

fn consecutive_tokens(document: &dyn Fn(usize) -> Option<Vec<u32>>, body: usize, wanted: usize) -> Windows {
    let mut cut = empty_cut();
    let mut pending: Vec<u32> = Vec::new();
    let mut begins_in = 0;
    let mut index = 0;
    while cut.tokens.len() < wanted
        && let Some(tokens) = document(index)
    {
        if pending.is_empty() {
            begins_in = index as u32;
        }
        pending.extend(tokens);
        while pending.len() >= body && cut.tokens.len() < wanted {
            let rest = pending.split_off(body);
            cut.tokens.push(std::mem::replace(&mut pending, rest));
            cut.documents.push(begins_in);
            begins_in = index as u32;
        }
        index += 1;
    }
    cut
}

fn consecutive(
    documents: &[String],
    body: usize,
    wanted: usize,
    encode: impl Fn(&str) -> Result<Vec<u32>, TextError>,
) -> Result<Windows, TextError> {
    let mut cut = empty_cut();
    for (index, text) in documents.iter().enumerate() {
        if cut.tokens.len() >= wanted {
            break;
        }
        let tokens = encode(text)?;
        let full = tokens.chunks_exact(body);
        cut.dropped += full.remainder().len();
        for window in full.take(wanted - cut.tokens.len()) {
            cut.tokens.push(window.to_vec());
            cut.documents.push(index as u32);
        }
    }
    Ok(cut)
}

/// Passages at even distances over all bytes of the text. Each begins at the start of a line where there is one
/// nearby, lies within one document, and ends before the next one begins.
fn spread(
    documents: &[String],
    body: usize,
    wanted: usize,
    encode: impl Fn(&str) -> Result<Vec<u32>, TextError>,
) -> Result<Windows, TextError> {
    let total: usize = documents.iter().map(String::len).sum();
    let mut cut = empty_cut();
    let mut free_from = (0, 0);
    for index in 0..wanted {
        let mut at = total / wanted * index + total % wanted * index / wanted;
        let mut document = 0;
        while document < documents.len() && at >= documents[document].len() {
            at -= documents[document].len();
            document += 1;
        }
        // A document that ends too soon hands over to the next one.
        while document < documents.len() {
            let floor = if free_from.0 == document { free_from.1 } else { 0 };
            if free_from.0 <= document
                && let Some((tokens, end)) = passage(&documents[document], at.max(floor), body, &encode)?
            {
                cut.tokens.push(tokens);
                cut.documents.push(document as u32);
                free_from = (document, end);
                break;
            }
            document += 1;
            at = 0;
        }
    }
    Ok(cut)
}

/// Passages as [`spread`] takes them, of each document as many as of any other: what intervals over documents need, which few long
/// documents would otherwise fill. A document too short for its share gives what it has, the others the rest, the first ones first.
fn of_each(
    documents: &[String],
    body: usize,
    wanted: usize,
    encode: impl Fn(&str) -> Result<Vec<u32>, TextError>,
) -> Result<Windows, TextError> {
    let mut given: Vec<Vec<Vec<u32>>> = vec![Vec::new(); documents.len()];
    let mut exhausted = vec![false; documents.len()];
    loop {
        let open: Vec<usize> = (0..documents.len()).filter(|&index| !exhausted[index]).collect();
        let fixed: usize = (0..documents.len()).filter(|&index| exhausted[index]).map(|index| given[index].len()).sum();
        let left = wanted.saturating_sub(fixed);
        let mut complete = true;
        for (turn, &index) in open.iter().enumerate() {
            let share = left / open.len() + usize::from(turn < left % open.len());
            given[index] = spread(&documents[index..=index], body, share, &encode)?.tokens;
            exhausted[index] = given[index].len() < share;
            complete &= !exhausted[index];
        }
        if complete {
            break;
        }
    }
    let mut cut = empty_cut();
    for (index, tokens) in given.into_iter().enumerate() {
        cut.documents.extend(std::iter::repeat_n(index as u32, tokens.len()));
        cut.tokens.extend(tokens);
    }
    Ok(cut)
}

/// `body` tokens from the first line that begins at or after byte `from`, and the byte behind the text they came from.
fn passage(
    text: &str,
    from: usize,
    body: usize,
    encode: impl Fn(&str) -> Result<Vec<u32>, TextError>,
) -> Result<Option<(Vec<u32>, usize)>, TextError> {
    let mut start = text.ceil_char_boundary(from);
    if start > 0 {
        let near = &text.as_bytes()[start..text.len().min(start + 2048)];
        let line = near.iter().position(|&byte| byte == b'\n').map_or(0, |offset| offset + 1);
        start += line;
    }
    let mut length = body.saturating_mul(6);
    loop {
        let end = text.floor_char_boundary(start.saturating_add(length));
        let mut tokens = encode(&text[start..end])?;
        // The last token of a cut text may differ from what it would be in the full text.
        if tokens.len() > body {
            tokens.truncate(body);
            return Ok(Some((tokens, end)));
        }
        if end == text.len() {
            return Ok(None);
        }
        length *= 2;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::unnecessary_wraps)]
    use super::*;

    fn letters(text: &str) -> Result<Vec<u32>, TextError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    #[test]
    fn consecutive_windows_stay_within_documents_and_count_what_they_drop() {
        let documents = vec!["abcdefg".to_owned(), "hijk".to_owned()];
        let cut = consecutive(&documents, 3, 10, letters).unwrap();
        assert_eq!(cut.tokens, [b"abc", b"def", b"hij"].map(|w| w.map(u32::from).to_vec()));
        assert_eq!((cut.documents, cut.dropped), (vec![0, 0, 1], 2));
    }

    #[test]
    fn spread_windows_cover_the_text_without_overlap() {
        let text: String = (0..400).map(|line| format!("line {line:04}\n")).collect();
        let cut = spread(&[text.clone(), text], 20, 16, letters).unwrap();
        assert_eq!(cut.tokens.len(), 16);
        assert_eq!(cut.documents.iter().filter(|&&document| document == 0).count(), 8);
        let unique: HashSet<(u32, &Vec<u32>)> = cut.documents.iter().copied().zip(&cut.tokens).collect();
        assert_eq!(unique.len(), 16);
    }

    #[test]
    fn every_document_gives_as_many_passages_as_any_other() {
        let text = |lines: usize| (0..lines).map(|line| format!("line {line:04}\n")).collect::<String>();
        let documents = [text(1000), text(3), text(50), text(400)];
        let counts = |wanted: usize| {
            let cut = of_each(&documents, 20, wanted, letters).unwrap();
            [0, 1, 2, 3].map(|of| cut.documents.iter().filter(|&&document| document == of).count())
        };
        assert_eq!(counts(4), [1, 1, 1, 1]);
        assert_eq!(counts(6), [2, 1, 2, 1], "the second has no room for another");
        assert_eq!(counts(0), [0; 4]);
        let many = counts(60);
        assert_eq!((many[1], many.iter().sum::<usize>()), (1, 60), "{many:?}");
    }

    #[test]
    fn a_short_text_gives_the_windows_it_has() {
        let cut = spread(&["x".repeat(100)], 20, 50, letters).unwrap();
        assert!(cut.tokens.len() < 5);
    }

    #[test]
    fn windows_of_several_lengths_end_with_the_same_tokens() {
        let source = TextSource::Tokens {
            name: "counted".to_owned(),
            document: Box::new(|index| (index < 8).then(|| (0..20).map(|at| (20 * index + at) as u32).collect())),
        };
        let tokenizer = Tokenizer::from_json(
            br#"{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}, "added_tokens": []}"#,
            None,
            None,
        )
        .unwrap();
        let cut = |window: usize| {
            let text = format!("data(window={window}, windows=4, passage=32, last=5)");
            let arm: Arm = text.parse().unwrap();
            check(&arm).unwrap();
            let selection = TextSelection::resolve(&arm).unwrap();
            assert_eq!(selection.window - 1 - selection.first_scored(), 5);
            windows(&source, &tokenizer, &selection).unwrap()
        };
        let (long, short) = (cut(32), cut(8));
        assert!(long.tokens.iter().zip(&short.tokens).all(|(long, short)| long[24..] == short[..] && long.len() == 32));
        assert!(short.protocol.ends_with("last=5 passage=32"), "{}", short.protocol);
        let refused = |text: &str| check(&text.parse().unwrap()).unwrap_err().to_string();
        assert!(refused("data(window=8, last=8)").contains("7 at most"));
        assert!(refused("data(window=8, last=2, skip_first=1)").contains("leave one out"));
        assert!(refused("data(window=64, passage=32)").contains("raise `passage`"));
    }

    #[test]
    fn token_documents_are_packed() {
        let cut = consecutive_tokens(&|index| (index < 3).then(|| vec![index as u32; 4]), 5, 9);
        assert_eq!(cut.tokens, vec![vec![0, 0, 0, 0, 1], vec![1, 1, 1, 2, 2]]);
        assert_eq!(cut.documents, [0, 1]);
    }

    #[test]
    fn shared_passages_are_found_wherever_they_stand() {
        let scored: Vec<Vec<u32>> = vec![(0..100).collect()];
        let apart: Vec<Vec<u32>> = vec![(1000..1100).collect()];
        let mut shared: Vec<u32> = (2000..2060).collect();
        shared.extend(30..70);
        assert!(refuse_overlap(&apart, &scored).is_ok());
        assert!(matches!(refuse_overlap(&[shared], &scored), Err(TextError::Overlap { shared: 1, total: 1 })));
    }
}
