//! How a model is asked: the tokens of what stands before, between and behind the text, with its chat template or without.

use harness_model::tokenizer::Tokenizer;
use rand_chacha::ChaCha8Rng;

use super::filler::Source;
use super::fit::{Draft, Needle};
use super::wording::{Around, Wording};
use super::{LongError, LongSelection};
use crate::inputs::{LoadedModel, hash_texts};
use crate::tasks::TaskError;
use crate::tasks::chat::{Turn, render};

/// Where the text stands in what a template gives.
const TEXT: &str = "<the long text>";
/// Text beyond a context's tokens, for the control.
const SPARE: usize = 512;

/// A tokenizer and how prompts are framed.
pub(super) struct Asking<'a> {
    pub tokenizer: &'a Tokenizer,
    model: &'a LoadedModel,
    template: Option<&'a str>,
}

/// What stands before a text and behind it.
pub(super) struct Frame {
    pub head: Vec<u32>,
    pub tail: Vec<u32>,
}

impl<'a> Asking<'a> {
    pub fn of(model: &'a LoadedModel, chat: Option<bool>) -> Result<Self, LongError> {
        let template = match (chat, model.chat_template.as_deref()) {
            (Some(false), _) | (None, None) => None,
            (_, Some(template)) => Some(template),
            (Some(true), None) => {
                return Err(TaskError::Template { model: model.name.clone(), reason: "it has none".to_owned() }.into());
            }
        };
        Ok(Self { tokenizer: model.tokenizer()?, model, template })
    }

    /// The template's name in protocols.
    pub fn template_hash(&self) -> String {
        self.template.map_or_else(|| "none".to_owned(), |text| hash_texts([text])[..12].to_owned())
    }

    /// The tokens of a piece of text as they are behind another.
    pub fn behind(&self, before: &str, text: &str) -> Result<Vec<u32>, LongError> {
        let prefix = self.tokenizer.encode(before, false)?;
        let mut all = self.tokenizer.encode(&format!("{before}{text}"), false)?;
        if all.starts_with(&prefix) {
            return Ok(all.split_off(prefix.len()));
        }
        Ok(self.tokenizer.encode(text, false)?)
    }

    /// A frame of a text that ends with `end`: what is said before it, the question and the beginning of the answer.
    pub fn frame(&self, head: &str, end: &str, question: &str, begun: &str) -> Result<Frame, LongError> {
        let (before, behind, marks) = match self.template {
            None => (head.to_owned(), question.to_owned(), true),
            Some(template) => {
                let content = format!("{head}{TEXT}{question}");
                let text = render(self.model, template, &[Turn { role: "user", content }])?;
                let (before, behind) = text.split_once(TEXT).ok_or_else(|| TaskError::Template {
                    model: self.model.name.clone(),
                    reason: "it does not show what the user says".to_owned(),
                })?;
                (before.to_owned(), behind.to_owned(), false)
            }
        };
        let begun = if self.template.is_some() { begun.trim_start() } else { begun };
        let tail = self.behind(end, &format!("{behind}{begun}"))?;
        Ok(Frame { head: self.tokenizer.encode(&before, marks)?, tail })
    }

    /// The answer as tokens, which the tokenizer has to be able to write.
    pub fn answer(&self, begun: &str, answer: &str, golds: &[String]) -> Result<Vec<u32>, LongError> {
        let tokens = self.behind(begun.trim_start(), answer)?;
        let written = self.tokenizer.decode(&tokens)?;
        match golds.iter().find(|gold| !written.contains(gold.as_str())) {
            Some(gold) => Err(LongError::Unspeakable { model: self.model.name.clone(), text: gold.clone() }),
            None => Ok(tokens),
        }
    }

    /// A prompt in tokens, with enough text for a selection's length.
    pub fn draft(
        &self,
        wording: &Wording,
        source: &Source,
        selection: &LongSelection,
        rng: &mut ChaCha8Rng,
    ) -> Result<Draft, LongError> {
        let end = if matches!(wording.around, Around::Lines(_)) { "\n" } else { "." };
        let Frame { head, tail } = self.frame(&wording.head, end, &wording.question, &wording.begun)?;
        let needles = wording
            .needles
            .iter()
            .map(|(text, depth, asked)| Ok(Needle { tokens: self.behind(end, text)?, depth: *depth, asked: *asked }));
        let needles: Vec<Needle> = needles.collect::<Result<_, LongError>>()?;
        let enough = selection.length + SPARE;
        let gather = |units: &mut dyn Iterator<Item = String>| {
            let (mut filler, mut tokens) = (Vec::new(), 0);
            while tokens < enough
                && let Some(unit) = units.next()
            {
                let unit = self.behind(end, &unit)?;
                tokens += unit.len();
                filler.push(unit);
            }
            Ok::<_, LongError>(filler)
        };
        let filler = match &wording.around {
            Around::Text => gather(&mut source.sentences(rng))?,
            Around::Refrain(sentences) => {
                let units: Vec<Vec<u32>> =
                    sentences.iter().map(|sentence| self.behind(end, sentence)).collect::<Result<_, _>>()?;
                let round: usize = units.iter().map(Vec::len).sum();
                let rounds = enough.div_ceil(round.max(1));
                units.iter().cycle().take(rounds * units.len()).cloned().collect()
            }
            Around::Lines(units) | Around::Needles(units) => gather(&mut units.iter().cloned())?,
        };
        let answer = self.answer(&wording.begun, &wording.answer, &wording.golds)?;
        Ok(Draft { head, filler, needles, tail, answer, golds: wording.golds.clone() })
    }
}
