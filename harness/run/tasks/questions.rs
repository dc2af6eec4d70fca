//! Questions whose answer a model generates, with worked examples before them.

use std::collections::BTreeMap;
use std::path::Path;

use harness_judge::exact_match::STOPS;

use super::chat::{Turn, render};
use super::requests::{Request, read};
use super::{QuestionSelection, TaskError, spread};
use crate::inputs::{LoadedModel, hash_texts};

const QUESTION: &str = "Question: ";
const ANSWER: &str = "\nAnswer:";
const BETWEEN: &str = "\n\n";

/// One question, ready for a model.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Examples and question as the model is given them.
    pub text: String,
    /// The same as tokens.
    pub prompt: Vec<u32>,
    /// The right answer.
    pub gold: String,
}

/// Questions, ready for a model.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    pub asked: Vec<Question>,
    /// What an answer ends before.
    pub stops: Vec<String>,
    /// Tokens of an answer at most.
    pub tokens: usize,
    /// Everything that makes two scores comparable, in one line.
    pub protocol: String,
    /// SHA-256 of prompts and answers.
    pub hash: String,
    /// The share that the commonest right answer alone would get.
    pub chance: f64,
}

/// A question with the examples that stand before it in the file.
struct Asked<'a> {
    examples: Vec<(&'a str, &'a str)>,
    question: &'a str,
}

/// Takes a context apart into `Question: …\nAnswer: …` blocks, the last one without its answer.
fn parse(context: &str) -> Option<Asked<'_>> {
    let blocks: Vec<&str> = context.strip_prefix(QUESTION)?.split("\n\nQuestion: ").collect();
    let (last, blocks) = blocks.split_last()?;
    let question = last.strip_suffix(ANSWER)?;
    let examples = blocks.iter().map(|block| block.split_once(ANSWER).map(|(asked, answer)| (asked, answer.trim())));
    Some(Asked { examples: examples.collect::<Option<_>>()?, question })
}

fn gold(request: &Request) -> Option<String> {
    match &request.label {
        serde_json::Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// How a model is asked: its template, if one is used.
fn template(model: &LoadedModel, chat: Option<bool>) -> Result<Option<&str>, TaskError> {
    match (chat, model.chat_template.as_deref()) {
        (Some(false), _) | (None, None) => Ok(None),
        (_, Some(template)) => Ok(Some(template)),
        (Some(true), None) => Err(TaskError::Template { model: model.name.clone(), reason: "it has none".to_owned() }),
    }
}

impl Questions {
    /// The questions that a selection takes of a file, as a model is asked them.
    pub fn of(path: &Path, name: &str, selection: &QuestionSelection, model: &LoadedModel) -> Result<Self, TaskError> {
        let requests = read(path)?;
        let (found, wanted) = (requests.len(), selection.items);
        if wanted > found {
            return Err(TaskError::TooFew { path: path.to_owned(), found, wanted });
        }
        let template = template(model, selection.chat)?;
        let tokenizer = model.tokenizer()?;
        let context = model.decoder.config().max_positions;
        let mut questions = Vec::with_capacity(wanted);
        for request in spread(found, wanted).map(|at| &requests[at]) {
            let wrong =
                |reason: String| TaskError::Question { path: path.to_owned(), question: request.doc_id, reason };
            let asked = parse(&request.body.context)
                .ok_or_else(|| wrong("its context is not made of `Question: …\\nAnswer: …` blocks".to_owned()))?;
            let gold = gold(request).ok_or_else(|| wrong("its `label`, the right answer, is missing".to_owned()))?;
            let examples = asked.examples.get(..selection.shots).ok_or_else(|| {
                wrong(format!("{} of the {} wanted examples stand before it", asked.examples.len(), selection.shots))
            })?;
            let (text, marks) = match template {
                None => (plain(examples, asked.question), true),
                Some(template) => (render(model, template, &turns(examples, asked.question))?, false),
            };
            let prompt = tokenizer.encode(&text, marks)?;
            let tokens = prompt.len() + selection.tokens;
            if tokens > context {
                let (path, model) = (path.to_owned(), model.name.clone());
                return Err(TaskError::TooLong { path, question: request.doc_id, tokens, context, model });
            }
            questions.push(Question { text, prompt, gold });
        }
        let mut stops: Vec<String> = STOPS.iter().map(|stop| (*stop).to_owned()).collect();
        if template.is_none() {
            // Chat models set paragraphs apart within an answer.
            let written = requests[0].body.stop_sequences.iter().cloned();
            stops.extend(written.chain([BETWEEN.to_owned()]));
        }
        stops.sort();
        stops.dedup();
        let golds = questions.iter().map(|question| question.gold.as_str());
        let hash = hash_texts(questions.iter().map(|question| question.text.as_str()).chain(golds));
        let protocol = format!(
            "task={name}@{} items={wanted} of {found} select=spread shots={} chat={} tokens={} stops={stops:?} tokenizer={}",
            &hash[..12],
            selection.shots,
            template.map_or_else(|| "none".to_owned(), |text| hash_texts([text])[..12].to_owned()),
            selection.tokens,
            &model.tokenizer_hash()[..12],
        );
        let chance = commonest(&questions) as f64 / wanted as f64;
        Ok(Self { asked: questions, stops, tokens: selection.tokens, protocol, hash, chance })
    }
}

/// How many questions the commonest right answer is right for.
fn commonest(questions: &[Question]) -> usize {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for question in questions {
        *counts.entry(&question.gold).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

fn plain(examples: &[(&str, &str)], question: &str) -> String {
    let shown = examples.iter().map(|(asked, answer)| format!("{QUESTION}{asked}{ANSWER} {answer}{BETWEEN}"));
    shown.chain([format!("{QUESTION}{question}{ANSWER}")]).collect()
}

fn turns(examples: &[(&str, &str)], question: &str) -> Vec<Turn> {
    let user = |asked: &str| Turn { role: "user", content: format!("{QUESTION}{asked}{ANSWER}") };
    let shown = examples
        .iter()
        .flat_map(|(asked, answer)| [user(asked), Turn { role: "assistant", content: (*answer).to_owned() }]);
    shown.chain([user(question)]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{parse, plain};

    #[test]
    fn contexts_are_taken_apart_and_put_together() {
        let context =
            "Question: One?\nAnswer: 1.\n\nQuestion: Two\n\nlines?\nAnswer: So 2.\n\nQuestion: Three?\nAnswer:";
        let asked = parse(context).unwrap();
        assert_eq!(asked.examples, [("One?", "1."), ("Two\n\nlines?", "So 2.")]);
        assert_eq!(asked.question, "Three?");
        assert_eq!(plain(&asked.examples, asked.question), context);
        assert_eq!(
            plain(&asked.examples[..1], asked.question),
            "Question: One?\nAnswer: 1.\n\nQuestion: Three?\nAnswer:"
        );
        assert!(parse("What is it?").is_none() && parse("Question: a\nAnswer: b").is_none());
    }
}
