//! A question about one or a few of many documents, as RULER asks those of SQuAD and HotpotQA.

use rand_chacha::ChaCha8Rng;

use super::asking::{Asking, Frame};
use super::fit::{Draft, Needle};
use super::library::{Library, Question};
use super::words::{percent, shuffled};
use super::{LongError, LongSelection};
use crate::tasks::spread;

/// Tokens of text beyond a context's, for the control.
const SPARE: usize = 1024;
/// What ends a document.
const END: &str = ".";

impl Library {
    /// The questions that a selection takes, at even distances.
    ///
    /// # Errors
    /// Fewer questions than asked for.
    pub fn taken(&self, items: usize) -> Result<Vec<&Question>, LongError> {
        let found = self.questions.len();
        if items > found {
            return Err(LongError::TooFewQuestions { name: self.name.clone(), found, wanted: items });
        }
        Ok(spread(found, items).map(|at| &self.questions[at]).collect())
    }

    /// A question among as many documents as a length has room for: those that it needs, those that always stand beside them, those
    /// about the same thing, and others.
    pub fn draft(
        &self,
        question: &Question,
        asking: &Asking,
        selection: &LongSelection,
        generation: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Draft, LongError> {
        let begun = "\nAnswer:";
        let Frame { head, tail } = asking.frame(
            "Some documents stand below, and behind them a question that they answer.",
            END,
            &format!(
                "\n\nAnswer the question in a few words, from the documents alone.\n\nQuestion: {}",
                question.text
            ),
            begun,
        )?;
        let read = |document: usize| asking.behind(END, &format!("\n\nDocument:\n{}", self.documents[document].trim()));
        // Drawn in any case, so that everything else is the same at every depth.
        let drawn = percent(rng);
        let mut needles = Vec::new();
        for (at, &document) in question.needed.iter().chain(&question.beside).enumerate() {
            let elsewhere = percent(rng);
            let depth = if at == 0 { selection.depth.unwrap_or(drawn) } else { elsewhere };
            needles.push(Needle { tokens: read(document)?, depth, asked: at < question.needed.len() });
        }
        let kin = shuffled(rng, question.kin.len()).into_iter().map(|at| question.kin[at]);
        let own = |document: &usize| {
            [&question.needed, &question.beside, &question.kin].iter().any(|held| held.contains(document))
        };
        let others = shuffled(rng, self.documents.len()).into_iter().filter(|document| !own(document));
        let taken: usize = needles.iter().map(|needle| needle.tokens.len()).sum();
        let room = selection.length.saturating_sub(head.len() + taken + tail.len() + generation);
        let (mut filler, mut tokens, mut seen) = (Vec::new(), 0, 0);
        for document in kin.chain(others) {
            if tokens >= room + SPARE {
                break;
            }
            let unit = read(document)?;
            tokens += unit.len();
            seen += usize::from(tokens <= room);
            filler.push(unit);
        }
        // Documents about the same thing do not stand before all others.
        let order = shuffled(rng, seen);
        let rest = filler.split_off(seen);
        let filler = order.into_iter().map(|at| std::mem::take(&mut filler[at])).chain(rest).collect();
        let right = question.answers.first().cloned().unwrap_or_default();
        let answer = asking.answer(begun, &format!(" {right}"), std::slice::from_ref(&right))?;
        Ok(Draft { head, filler, needles, tail, answer, golds: question.answers.clone() })
    }
}
