//! What a second model says of written texts, beside texts that people wrote: how likely they are, how near their
//! embeddings lie, and whether they can be told apart by what the writer repeats.

use harness_judge::coherence::coherence;
use harness_judge::detection::Roc;
use harness_judge::dna_gpt::{LENGTHS, dna_bscore};
use harness_judge::manifold::Manifold;
use harness_judge::mauve::Mauve;
use harness_judge::zipf::{RANKS, maximum_likelihood, rank_counts};
use harness_judge::{JudgeError, Rows};

use crate::inputs::LoadedModel;
use crate::reading::{Passage, States, log_likelihoods, states};
use crate::sampling::texts::{Prompts, WrittenText};

/// Neighbours of the manifolds of embeddings, as in the paper.
const NEIGHBOURS: usize = 3;

/// What one text weighs for the judge.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weight {
    /// −log₂ p behind its prompt.
    pub bits: f64,
    /// Bytes of the text.
    pub bytes: usize,
}

/// A number, or why there is none.
pub type Found = Result<f64, String>;

/// What is said of all texts of an arm.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Of each written text.
    pub written: Vec<Weight>,
    /// Of each text that people wrote.
    pub human: Vec<Weight>,
    /// MAUVE of the states of the last tokens.
    pub mauve: Found,
    /// Whether each written text lies among those of people, by mean states.
    pub precise: Result<Vec<bool>, String>,
    /// Whether each text of people lies among the written ones.
    pub recalled: Result<Vec<bool>, String>,
    /// Cosine with the prompt less that with other prompts, of each written text.
    pub coherent: Result<Vec<f64>, String>,
    /// How well other texts from the same prompt tell written from human text.
    pub told_apart: Found,
    /// Zipf exponents of written and human text.
    pub zipf: (Found, Found),
}

/// The judge with what people wrote, read once for all arms.
pub(super) struct Judge<'m> {
    model: &'m LoadedModel,
    writer: &'m LoadedModel,
    prompts: Vec<Vec<u32>>,
    human: Vec<Vec<u32>>,
    human_weights: Vec<Weight>,
    human_states: Vec<States>,
    prompt_states: Vec<States>,
}

impl<'m> Judge<'m> {
    /// Reads the texts that people wrote behind the prompts, cut to the length of written ones.
    pub fn new(
        model: &'m LoadedModel,
        writer: &'m LoadedModel,
        prompts: &Prompts,
        windows: &[Vec<u32>],
    ) -> Result<Self, String> {
        let from = prompts.tokens.first().map_or(0, Vec::len);
        let human: Vec<Vec<u32>> =
            windows.iter().map(|window| window[from..].iter().take(prompts.length).copied().collect()).collect();
        if prompts.tokens.len() != windows.len() || human.iter().any(Vec::is_empty) {
            return Err("there is nothing that people wrote behind the prompts; set `prompt_tokens` to 2 or more and less than `window`".to_owned());
        }
        let mut judge = Self {
            model,
            writer,
            prompts: prompts.tokens.clone(),
            human,
            human_weights: Vec::new(),
            human_states: Vec::new(),
            prompt_states: Vec::new(),
        };
        let pairs: Vec<(&[u32], &[u32])> =
            judge.prompts.iter().zip(&judge.human).map(|(prompt, text)| (prompt.as_slice(), text.as_slice())).collect();
        judge.human_weights = judge.weights(&pairs)?;
        judge.human_states = judge.states(&judge.human)?;
        judge.prompt_states = judge.states(&judge.prompts)?;
        Ok(judge)
    }

    /// Judges the texts of an arm; text `i` goes on from prompt `i` modulo their number.
    pub fn of(&self, texts: &[WrittenText]) -> Result<Judged, String> {
        let prompts = self.prompts.len();
        let tokens: Vec<Vec<u32>> = texts.iter().map(|text| self.without_end(&text.tokens)).collect();
        let pairs: Vec<(&[u32], &[u32])> = tokens
            .iter()
            .enumerate()
            .map(|(at, text)| (self.prompts[at % prompts].as_slice(), text.as_slice()))
            .collect();
        let written = self.weights(&pairs)?;
        // Sets of one size, one text a prompt; an empty text has no state.
        let firsts: Vec<usize> = (0..tokens.len().min(prompts)).filter(|at| !tokens[*at].is_empty()).collect();
        let first_texts: Vec<Vec<u32>> = firsts.iter().map(|at| tokens[*at].clone()).collect();
        let states = self.states(&first_texts)?;
        let beside = |all: &[States], part: fn(&States) -> &[f32]| -> Vec<f32> {
            firsts.iter().flat_map(|at| part(&all[*at]).to_vec()).collect()
        };
        let own = |part: fn(&States) -> &[f32]| -> Vec<f32> { states.iter().flat_map(|s| part(s).to_vec()).collect() };
        let (last, mean): (fn(&States) -> &[f32], fn(&States) -> &[f32]) = (|s| &s.last, |s| &s.mean);
        let width = self.model.decoder.config().hidden_size;
        let said = |error: JudgeError| error.to_string();
        let mauve = with_rows(&beside(&self.human_states, last), &own(last), width, |human, written| {
            Ok(Mauve::default().of_embeddings(human, written)?.mauve)
        });
        let overlap = with_rows(&beside(&self.human_states, mean), &own(mean), width, |human, written| {
            Manifold::new(human, NEIGHBOURS)?.overlap(&Manifold::new(written, NEIGHBOURS)?)
        });
        let coherent = with_rows(&beside(&self.prompt_states, mean), &own(mean), width, |prompts, written| {
            Ok(coherence(prompts, written)?.iter().map(harness_judge::coherence::Coherence::excess).collect())
        });
        let exponent = |texts: &[Vec<u32>]| maximum_likelihood(&rank_counts(texts), RANKS).map_err(said);
        Ok(Judged {
            written,
            human: self.human_weights.clone(),
            mauve,
            precise: overlap.clone().map(|overlap| overlap.precise),
            recalled: overlap.map(|overlap| overlap.recalled),
            coherent,
            told_apart: self.told_apart(&tokens),
            zipf: (exponent(&tokens), exponent(&self.human)),
        })
    }

    /// The area under the curve of the score that the other texts from the same prompt give to a written and to the human text.
    fn told_apart(&self, texts: &[Vec<u32>]) -> Found {
        let prompts = self.prompts.len();
        let (mut machine, mut human) = (Vec::new(), Vec::new());
        for (at, own) in self.human.iter().enumerate() {
            let written: Vec<&[u32]> = texts.iter().skip(at).step_by(prompts).map(Vec::as_slice).collect();
            let [first, others @ ..] = written.as_slice() else { continue };
            if others.is_empty() {
                return Err(
                    "it takes two texts of each prompt; set `sequences` to twice the `windows` or more".to_owned()
                );
            }
            let score = |text: &[u32]| dna_bscore(text, others, LENGTHS).map(|found| found.score);
            // Empty regenerations say nothing of this prompt.
            if let (Ok(of_machine), Ok(of_human)) = (score(first), score(own)) {
                machine.push(of_machine);
                human.push(of_human);
            }
        }
        Roc::of(&machine, &human).map(|curve| curve.area()).map_err(|error| error.to_string())
    }

    fn without_end(&self, tokens: &[u32]) -> Vec<u32> {
        let ends = &self.writer.decoder.config().eos;
        tokens.iter().copied().take_while(|token| !ends.contains(token)).collect()
    }

    /// The judge's tokens of a text given as the writer's; the same where they share a tokenizer.
    fn read(&self, tokens: &[u32]) -> Result<(Vec<u32>, usize), String> {
        let writer = self.writer.tokenizer().map_err(|error| error.to_string())?;
        let text = writer.decode(tokens).map_err(|error| error.to_string())?;
        if self.writer.tokenizer_hash() == self.model.tokenizer_hash() {
            return Ok((tokens.to_vec(), text.len()));
        }
        let judge = self.model.tokenizer().map_err(|error| error.to_string())?;
        Ok((judge.encode(&text, true).map_err(|error| error.to_string())?, text.len()))
    }

    fn weights(&self, pairs: &[(&[u32], &[u32])]) -> Result<Vec<Weight>, String> {
        let mut passages = Vec::with_capacity(pairs.len());
        let mut bytes = Vec::with_capacity(pairs.len());
        for (prompt, text) in pairs {
            let (before, length) = self.read(prompt)?;
            let (whole, all) = self.read(&[*prompt, *text].concat())?;
            passages.push(Passage::behind(&before, whole));
            bytes.push(all.saturating_sub(length));
        }
        let passages: Vec<&Passage> = passages.iter().collect();
        let found = log_likelihoods(&self.model.decoder, &passages, &mut |_, _| {})?;
        let weight = |(sum, bytes): (f64, usize)| Weight { bits: -sum / std::f64::consts::LN_2, bytes };
        Ok(found.into_iter().zip(bytes).map(weight).collect())
    }

    fn states(&self, texts: &[Vec<u32>]) -> Result<Vec<States>, String> {
        let read: Result<Vec<Vec<u32>>, String> = texts.iter().map(|text| Ok(self.read(text)?.0)).collect();
        states(&self.model.decoder, &read?)
    }
}

fn with_rows<R>(
    a: &[f32],
    b: &[f32],
    width: usize,
    compare: impl FnOnce(&Rows, &Rows) -> Result<R, JudgeError>,
) -> Result<R, String> {
    let found = Rows::new(a, width).and_then(|a| compare(&a, &Rows::new(b, width)?));
    found.map_err(|error| error.to_string())
}
