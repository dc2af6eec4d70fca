//! Asking a model behind long texts: each prompt is read once, the answer written greedily and weighed, and weighed again where
//! the needle is missing.

use harness_judge::retrieval::Rule;
use harness_kernels::logits;
use harness_model::cache::{CacheFormat, KvCache};
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::tokenizer::Tokenizer;

use super::write::Written;
use super::{Item, LongItems};

/// Bytes of keys and values in f32 that are held together.
const CACHE_BYTES: usize = 512 << 20;
/// Items that are answered together at most.
const TOGETHER: usize = 16;

/// What came of one question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retrieved {
    /// Score of what was written, 0 to 1.
    pub score: f64,
    /// −Σ ln p of the right answer, in nats.
    pub nll: f64,
    /// The same without the needle.
    pub control: Option<f64>,
    /// Tokens of the right answer.
    pub tokens: usize,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Share of the needle that the prompt holds.
    pub needle_kept: f64,
    /// The text that was written, where its length is what counts.
    pub text: Option<Written>,
}

impl Retrieved {
    /// Nothing asked yet: no answer is known and nothing was read.
    pub(crate) fn unasked() -> Self {
        Self { score: 0.0, nll: f64::NAN, control: None, tokens: 0, prompt: 0, needle_kept: 1.0, text: None }
    }
}

/// A text in the making.
struct Track<'a> {
    item: usize,
    kind: Kind<'a>,
    cache: KvCache,
    row: Vec<f32>,
    written: Vec<u32>,
    nll: f64,
}

/// What a track is for.
#[derive(Clone, Copy, PartialEq)]
enum Kind<'a> {
    /// Writes the likeliest tokens.
    Greedy,
    /// Weighs given ones.
    Given(&'a [u32]),
    /// Weighs given ones without the needle.
    Control(&'a [u32]),
}

impl LongItems {
    /// Asks every item.
    ///
    /// # Errors
    /// The item and what went wrong. `progress` is told how many items are done.
    pub fn ask(
        &self,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Retrieved>, String> {
        let longest = self.items.iter().map(|item| item.prompt.len()).max().unwrap_or(1) + self.tokens;
        // Keys and values of three tracks an item.
        let bytes = 3 * decoder.cache_elements() * longest * size_of::<f32>();
        let together = (CACHE_BYTES / bytes.max(1)).clamp(1, TOGETHER);
        let mut found = Vec::with_capacity(self.items.len());
        for (pass, items) in self.items.chunks(together).enumerate() {
            let named = |error: ModelError| format!("items from {}: {error}", pass * together);
            let unread = |item: &Item| Retrieved {
                tokens: item.answer.len(),
                prompt: item.prompt.len(),
                needle_kept: item.needle_kept,
                ..Retrieved::unasked()
            };
            let mut done: Vec<Retrieved> = items.iter().map(unread).collect();
            for track in self.tracks(decoder, items).map_err(named)? {
                let item = &items[track.item];
                let outcome = &mut done[track.item];
                match track.kind {
                    Kind::Greedy if let Some(words) = item.words => {
                        let text = tokenizer.decode(&track.written).map_err(|error| error.to_string())?;
                        outcome.text = Some(Written::of(words, &text, &track.written)?);
                    }
                    Kind::Greedy => outcome.score = score(tokenizer, self.rule, &track.written, item)?,
                    Kind::Given(_) => outcome.nll = track.nll,
                    Kind::Control(_) => outcome.control = Some(track.nll),
                }
            }
            if let Some(at) = done.iter().position(|item| {
                item.tokens > 0 && !item.nll.is_finite() || item.control.is_some_and(|nll| !nll.is_finite())
            }) {
                return Err(format!(
                    "item {}: the model gave {} as log-likelihood; its weights or activations hold NaN or infinity",
                    pass * together + at,
                    done[at].nll
                ));
            }
            found.extend(done);
            progress(found.len(), self.items.len());
        }
        Ok(found)
    }

    /// Reads the prompts of some items and takes every track to its end.
    fn tracks<'a>(&self, decoder: &Decoder, items: &'a [Item]) -> Result<Vec<Track<'a>>, ModelError> {
        let mut open: Vec<Track> = Vec::new();
        let read = |tokens: &[u32]| {
            let format = decoder.cache_format();
            // An answer of one token is what the last of the prompt says: it is decoded, so that it sees what is kept.
            let whole = if format == CacheFormat::Full { tokens.len() } else { tokens.len().saturating_sub(1).max(1) };
            let mut cache = decoder.full_cache();
            let mut row = decoder.logits_last(&tokens[..whole.min(tokens.len())], &mut cache)?;
            let mut cache = cache.kept_as(format)?;
            if whole < tokens.len() {
                row = decoder.logits_last(&tokens[whole..], &mut cache)?;
            }
            Ok::<_, ModelError>((cache, row))
        };
        let track = |item, kind, (cache, row): (KvCache, Vec<f32>)| Track {
            item,
            kind,
            cache,
            row,
            written: Vec::new(),
            nll: 0.0,
        };
        let mut done = Vec::new();
        let mut enter = |mut track: Track<'a>, open: &mut Vec<Track<'a>>| {
            // A track of one token never looks at its keys and values.
            if self.choose(decoder, &mut track) { done.push(track) } else { open.push(track) }
        };
        for (at, item) in items.iter().enumerate() {
            let seen = read(&item.prompt)?;
            enter(track(at, Kind::Greedy, seen.clone()), &mut open);
            if !item.answer.is_empty() {
                enter(track(at, Kind::Given(&item.answer), seen), &mut open);
            }
            if let Some(control) = &item.control {
                enter(track(at, Kind::Control(&item.answer), read(control)?), &mut open);
            }
        }
        while !open.is_empty() {
            let tokens: Vec<u32> = open.iter().filter_map(|track| track.written.last().copied()).collect();
            let mut caches: Vec<KvCache> = Vec::with_capacity(open.len());
            for track in &mut open {
                caches.push(std::mem::replace(&mut track.cache, decoder.full_cache()));
            }
            let hidden = decoder.step_each(&tokens, &mut caches)?;
            let mut rows = Vec::new();
            decoder.logits_into(&hidden, 0..tokens.len(), &mut rows)?;
            for ((mut track, cache), row) in
                std::mem::take(&mut open).into_iter().zip(caches).zip(rows.chunks(decoder.config().vocab_size))
            {
                track.cache = cache;
                track.row.clear();
                track.row.extend_from_slice(row);
                if self.choose(decoder, &mut track) {
                    done.push(track);
                } else {
                    open.push(track);
                }
            }
        }
        Ok(done)
    }

    /// Takes the next token of a track; whether it was the last.
    fn choose(&self, decoder: &Decoder, track: &mut Track) -> bool {
        let statistics = logits::statistics(&track.row);
        match track.kind {
            Kind::Greedy => {
                track.written.push(statistics.argmax);
                track.written.len() >= self.tokens || decoder.config().eos.contains(&statistics.argmax)
            }
            Kind::Given(answer) | Kind::Control(answer) => {
                let token = answer[track.written.len()];
                track.nll += statistics.nll(&track.row, token);
                track.written.push(token);
                track.written.len() >= answer.len()
            }
        }
    }
}

fn score(tokenizer: &Tokenizer, rule: Rule, written: &[u32], item: &Item) -> Result<f64, String> {
    let text = tokenizer.decode(written).map_err(|error| error.to_string())?;
    rule.score(&text, &item.golds).map_err(|error| error.to_string())
}
