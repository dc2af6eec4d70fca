//! A model as decoders see it, with the keys and values of the prefixes it has read.

use harness_methods::decode::{Failure, LanguageModel, Request, Rows};
use harness_model::cache::KvCache;
use harness_model::decoder::Decoder;
use harness_model::tensor::{Tensor, with_values};

/// Tokens of a prompt that go through the blocks at a time.
const CHUNK: usize = 512;
/// Bytes of keys and values kept for prefixes that may come again.
const KEPT_BYTES: usize = 512 << 20;

/// A decoder that remembers what it has read: a sequence goes on where the longest known prefix ends, and sequences of one
/// length and one known prefix length go through the model together.
pub struct PrefixCached {
    decoder: Decoder,
    /// Newest last.
    held: Vec<Held>,
    reuse: bool,
}

/// Sequences of one length, with their keys and values.
struct Held {
    sequences: Vec<Vec<u32>>,
    cache: KvCache,
}

/// Where a sequence's known prefix lies: which of the held, which sequence of it, and how long it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Source {
    held: usize,
    row: usize,
    length: usize,
}

impl PrefixCached {
    /// Of a decoder, whose weights are shared.
    pub fn new(decoder: &Decoder) -> Self {
        Self { decoder: decoder.clone(), held: Vec::new(), reuse: true }
    }

    /// The same that reads every sequence from its beginning, for comparison.
    pub fn without_reuse(decoder: &Decoder) -> Self {
        Self { reuse: false, ..Self::new(decoder) }
    }

    /// The longest known prefix of a sequence, at most `most` tokens long.
    fn source(&self, sequence: &[u32], most: usize) -> Source {
        let mut best = Source { held: 0, row: 0, length: 0 };
        for (held, entry) in self.held.iter().enumerate().rev() {
            for (row, known) in entry.sequences.iter().enumerate() {
                let length = known.iter().zip(sequence).take(most).take_while(|(a, b)| a == b).count();
                // States are behind all that was read, and nowhere before.
                let usable = !self.decoder.has_states() || length == known.len();
                if usable && length > best.length {
                    best = Source { held, row, length };
                }
            }
        }
        best
    }

    /// A cache with the known prefixes of some sequences, all of one length.
    fn cache(&mut self, sources: &[Source]) -> Result<KvCache, Failure> {
        let length = sources[0].length;
        if length == 0 {
            return Ok(self.decoder.new_cache());
        }
        let held = sources[0].held;
        let whole = sources.len() == self.held[held].sequences.len()
            && sources.iter().enumerate().all(|(at, source)| source.held == held && source.row == at);
        if whole {
            // What goes on in the same order needs no copy; what it goes on to holds the prefix as well.
            let mut cache = self.held.remove(held).cache;
            cache.truncate(length)?;
            return Ok(cache);
        }
        let rows: Vec<(&KvCache, usize)> =
            sources.iter().map(|source| (&self.held[source.held].cache, source.row)).collect();
        Ok(KvCache::gather(&rows, length)?)
    }

    /// Reads sequences of one length from the end of their known prefixes on; `out` takes their rows.
    fn read(
        &mut self,
        sequences: &[&[u32]],
        sources: &[Source],
        request: &Request,
        out: &mut [Rows],
    ) -> Result<(), Failure> {
        let (start, length) = (sources[0].length, sequences[0].len());
        let mut cache = self.cache(sources)?;
        // Positions whose rows are wanted lie at the end.
        let (first_logits, first_state) = (length - request.logits, length - request.states);
        let mut from = start;
        while from < length {
            let to = length.min(from + CHUNK);
            let windows: Vec<&[u32]> = sequences.iter().map(|sequence| &sequence[from..to]).collect();
            let kept = (to - first_logits.min(first_state).clamp(from, to - 1)).max(1);
            let hidden = self.decoder.step(&windows, &mut cache, kept)?;
            let hidden = hidden.reshape((sequences.len() * kept, self.decoder.config().hidden_size))?;
            let wanted = |first: usize| first.saturating_sub(to - kept).min(kept)..kept;
            self.collect(&hidden, kept, wanted(first_logits), wanted(first_state), out)?;
            from = to;
        }
        if self.reuse {
            let sequences = sequences.iter().map(|sequence| sequence.to_vec()).collect();
            self.held.push(Held { sequences, cache });
            while self.held.len() > 1 && self.held.iter().map(|held| held.cache.bytes()).sum::<usize>() > KEPT_BYTES {
                self.held.remove(0);
            }
        }
        Ok(())
    }

    /// Adds logits and states of ranges of the `kept` positions of each sequence, `hidden` being
    /// `(sequences · kept, hidden)`.
    fn collect(
        &self,
        hidden: &Tensor,
        kept: usize,
        logits: std::ops::Range<usize>,
        states: std::ops::Range<usize>,
        out: &mut [Rows],
    ) -> Result<(), Failure> {
        let mut buffer = Vec::new();
        let vocabulary = self.decoder.config().vocab_size;
        if logits == (0..kept) {
            self.decoder.logits_into(hidden, 0..out.len() * kept, &mut buffer)?;
            for (rows, values) in out.iter_mut().zip(buffer.chunks(kept * vocabulary)) {
                rows.logits.extend(values.chunks(vocabulary).map(<[f32]>::to_vec));
            }
        } else if !logits.is_empty() {
            for (at, rows) in out.iter_mut().enumerate() {
                let range = at * kept + logits.start..at * kept + logits.end;
                self.decoder.logits_into(hidden, range, &mut buffer)?;
                rows.logits.extend(buffer.chunks(vocabulary).map(<[f32]>::to_vec));
            }
        }
        if !states.is_empty() {
            let width = self.decoder.config().hidden_size;
            with_values(hidden, |values| {
                for (rows, values) in out.iter_mut().zip(values.chunks(kept * width)) {
                    rows.states.extend(values.chunks(width).skip(states.start).map(<[f32]>::to_vec));
                }
            })?;
        }
        Ok(())
    }
}

impl LanguageModel for PrefixCached {
    fn vocabulary(&self) -> usize {
        self.decoder.config().vocab_size
    }

    fn ends(&self) -> &[u32] {
        &self.decoder.config().eos
    }

    fn context(&self) -> usize {
        self.decoder.config().max_positions
    }

    fn has_states(&self) -> bool {
        true
    }

    fn pass(&mut self, request: &Request) -> Result<Rows, Failure> {
        let wanted = request.logits.max(request.states).max(1);
        let mut parts: Vec<Rows> = vec![Rows::default(); request.sequences.len()];
        let mut left: Vec<usize> = (0..request.sequences.len()).collect();
        while let Some(first) = left.first().copied() {
            // Sources change with every group that is read.
            let source = |at: usize| {
                let sequence = request.sequences[at];
                self.source(sequence, sequence.len().saturating_sub(wanted))
            };
            let (length, known) = (request.sequences[first].len(), source(first).length);
            if wanted > length {
                return Err(format!("{wanted} rows are wanted of a sequence of {length} tokens").into());
            }
            let (group, rest): (Vec<usize>, Vec<usize>) =
                left.iter().partition(|at| request.sequences[**at].len() == length && source(**at).length == known);
            let sources: Vec<Source> = group.iter().map(|at| source(*at)).collect();
            let sequences: Vec<&[u32]> = group.iter().map(|at| request.sequences[*at]).collect();
            let mut rows = vec![Rows::default(); group.len()];
            self.read(&sequences, &sources, request, &mut rows)?;
            for (at, rows) in group.into_iter().zip(rows) {
                parts[at] = rows;
            }
            left = rest;
        }
        let mut all = Rows::default();
        for part in parts {
            all.logits.extend(part.logits);
            all.states.extend(part.states);
        }
        Ok(all)
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
