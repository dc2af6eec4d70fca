//! Writing many texts with one model at a time: sequences of any lengths step together, so that the weights are read
//! once for all of them.

use std::collections::HashMap;

use harness_kernels::logits;
use harness_methods::sample::{Chain, Past};
use harness_model::cache::KvCache;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use rayon::prelude::*;

/// Sequences that step together.
const TOGETHER: usize = 24;

/// Bytes of read prompts that are kept.
const KEPT_BYTES: usize = 2 << 30;

/// A text to write.
pub struct Job<'a> {
    /// The tokens it goes on from, at least one.
    pub prompt: &'a [u32],
    /// Its sampler, fresh.
    pub chain: Chain,
    /// Tokens at most.
    pub length: usize,
}

/// A text as it was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    /// Its tokens, with the end mark where it has one.
    pub tokens: Vec<u32>,
    /// −log p of the tokens under the model's own distribution, summed, in nats.
    pub surprise: f64,
    /// It was ended by its number of tokens.
    pub cut_off: bool,
}

/// A text in the making.
struct Open<'a> {
    place: usize,
    job: Job<'a>,
    row: Vec<f32>,
    text: Written,
}

/// Writes texts up to the end mark, to where `stop` says so, or to so many tokens; the texts in the order of the jobs.
///
/// `stop` is asked after each token, with the number of the job and its tokens. `progress` is told how many texts are
/// done. What is written depends on the jobs and their order alone, not on what was `read` before, which has to be of this
/// model and of texts with the same prompts.
///
/// # Errors
/// The text and why it cannot go on.
pub fn write(
    decoder: &Decoder,
    jobs: Vec<Job<'_>>,
    read: &mut Read,
    stop: &(dyn Fn(usize, &[u32]) -> bool + Sync),
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Written>, String> {
    let mut done = vec![Written::default(); jobs.len()];
    read.start(decoder, &jobs).map_err(|error| error.to_string())?;
    let mut waiting = jobs.into_iter().enumerate();
    let mut open: Vec<Open> = Vec::new();
    let mut caches: Vec<KvCache> = Vec::new();
    let mut finished = 0;
    loop {
        while open.len() < TOGETHER
            && let Some((place, job)) = waiting.next()
        {
            let named = |error: ModelError| format!("text {place}: {error}");
            let (cache, row) = read.prompt(decoder, job.prompt).map_err(named)?;
            caches.push(cache);
            open.push(Open { place, job, row, text: Written::default() });
        }
        if open.is_empty() {
            return Ok(done);
        }
        let ended: Result<Vec<bool>, String> = open
            .par_iter_mut()
            .map(|text| {
                text.choose(decoder.config().eos.as_slice(), stop)
                    .map_err(|error| format!("text {}: {error}", text.place))
            })
            .collect();
        for (at, _) in ended?.iter().enumerate().filter(|(_, ended)| **ended).rev() {
            let text = open.remove(at);
            caches.remove(at);
            done[text.place] = text.text;
            finished += 1;
            progress(finished);
        }
        step(decoder, &mut open, &mut caches).map_err(|error| error.to_string())?;
    }
}

impl Open<'_> {
    /// Takes the next token; whether it was the last.
    fn choose(&mut self, ends: &[u32], stop: &(dyn Fn(usize, &[u32]) -> bool + Sync)) -> Result<bool, String> {
        let past = Past { prompt: self.job.prompt, generated: &self.text.tokens };
        let token = self.job.chain.next(&self.row, past).map_err(|error| error.to_string())?.token;
        self.text.surprise += logits::statistics(&self.row).log_sum_exp - f64::from(self.row[token as usize]);
        self.text.tokens.push(token);
        if ends.contains(&token) || stop(self.place, &self.text.tokens) {
            return Ok(true);
        }
        self.text.cut_off = self.text.tokens.len() >= self.job.length;
        Ok(self.text.cut_off)
    }
}

/// One step of all open texts.
fn step(decoder: &Decoder, open: &mut [Open], caches: &mut [KvCache]) -> Result<(), ModelError> {
    let tokens: Vec<u32> = open.iter().filter_map(|text| text.text.tokens.last().copied()).collect();
    if tokens.is_empty() {
        return Ok(());
    }
    let hidden = decoder.step_each(&tokens, caches)?;
    let mut rows = Vec::new();
    decoder.logits_into(&hidden, 0..tokens.len(), &mut rows)?;
    for (text, row) in open.iter_mut().zip(rows.chunks(decoder.config().vocab_size)) {
        text.row.clear();
        text.row.extend_from_slice(row);
    }
    Ok(())
}

/// What is read of prompts, kept so that other texts go on from them: the beginning that they share, and of each what
/// comes behind with the logits at its end.
#[derive(Default)]
pub struct Read {
    start: Option<KvCache>,
    rests: HashMap<Vec<u32>, (KvCache, Vec<f32>)>,
}

impl Read {
    /// Reads what the prompts of some texts share.
    fn start(&mut self, decoder: &Decoder, jobs: &[Job]) -> Result<(), ModelError> {
        if self.start.is_some() {
            return Ok(());
        }
        let mut cache = decoder.full_cache();
        // What the keys of a beginning receive from each text's own queries decides which stay, and states hold all of a text at once:
        // the beginning cannot be shared.
        if let [first, rest @ ..] = jobs
            && !rest.is_empty()
            && decoder.caches_come_apart()
        {
            let shortest = jobs.iter().map(|job| job.prompt.len()).min().unwrap_or(0);
            let mut shared = shortest.saturating_sub(1);
            for job in rest {
                shared = first.prompt.iter().zip(job.prompt).take(shared).take_while(|(a, b)| a == b).count();
            }
            if shared > 0 {
                decoder.logits_last(&first.prompt[..shared], &mut cache)?;
            }
        }
        self.start = Some(cache);
        Ok(())
    }

    /// A prompt read to its end: its cache, in the decoder's format, and the logits after it. It is read in full precision.
    fn prompt(&mut self, decoder: &Decoder, prompt: &[u32]) -> Result<(KvCache, Vec<f32>), ModelError> {
        let shared = self.start.as_ref().map_or(0, KvCache::len);
        let mut cache = match &self.start {
            Some(start) if shared > 0 => KvCache::gather(&[(start, 0)], shared)?,
            _ => decoder.full_cache(),
        };
        if let Some((rest, row)) = self.rests.get(prompt) {
            cache.extend(rest)?;
            return Ok((cache.kept_as(decoder.cache_format())?, row.clone()));
        }
        let row = decoder.logits_last(&prompt[shared..], &mut cache)?;
        let kept: usize = self.rests.values().map(|(rest, row)| rest.bytes() + row.len() * size_of::<f32>()).sum();
        if kept < KEPT_BYTES {
            self.rests.insert(prompt.to_vec(), (cache.rest(shared)?, row.clone()));
        }
        Ok((cache.kept_as(decoder.cache_format())?, row))
    }
}

#[cfg(test)]
#[path = "writing_tests.rs"]
mod tests;
