//! Long contexts with something in them that should be found again: passkeys, needles, chains of variables, common words.
//!
//! Sources: Mohtashami and Jaggi 2023 (passkeys), Kamradt 2023 (needles by depth and length), Li et al. 2023 (lines), Hsieh et
//! al. 2024 (RULER: several needles, variable tracking, common and frequent words, questions about documents), Pal et al. 2023 (articles).
//!
//! # Difference from the reference
//! Wording, words and text are of this program. Prompts are put together of tokens, sentence by sentence, so that lengths hold in
//! tokens of the model and that the control differs from the prompt in the needle alone; no example stands before a question, and
//! documents are not numbered.
//! Numbers, words and text are drawn by item and seed, never by method, length or depth, so that all of them are paired.

mod articles;
mod asking;
mod counting;
mod cut;
mod documents;
mod filler;
mod fit;
mod library;
pub(crate) mod metrics;
pub(crate) mod retrieve;
mod spoken;
mod wording;
mod words;
pub(crate) mod write;

#[cfg(test)]
mod documents_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod mod_tests;

use std::fmt::Write as _;
use std::path::PathBuf;

use harness_core::parameters::ParameterError;
use harness_core::seed::stream;
use harness_core::{Arm, Domain, ParameterValue, Parameters};
use harness_judge::retrieval::Rule;
use harness_language::LanguageError;
use harness_model::config::PositionScheme;
use harness_model::tokenizer::TokenizerError;

use super::TaskError;
use crate::decode::PrefixCached;
use crate::inputs::{InputError, Inputs, LoadedModel};
use crate::text::{Windows, hash_tokens};
use asking::Asking;
use cut::{Cut, Long};
use filler::Source;
use fit::{Draft, Misfit};

pub(crate) use fit::Item;
pub use retrieve::Retrieved;

harness_core::choice! {
    /// What is to be found.
    pub enum LongTask {
        /// A code between sentences that repeat.
        Passkey = "passkey",
        /// A number that belongs to a thing.
        Needle = "needle",
        /// The same among numbers of other things.
        MultiKey = "multi-key",
        /// Several numbers of one thing, all of them.
        MultiValue = "multi-value",
        /// The numbers of several things, all of them.
        MultiQuery = "multi-query",
        /// Names that hold a number, each by the one before.
        Variables = "variables",
        /// The ten words of a list that stand in it most often.
        CommonWords = "common-words",
        /// The three words most frequent in a text whose words follow a Zeta law.
        FrequentWords = "frequent-words",
        /// The number in one of many lines.
        Lines = "lines",
        /// A number of a short article, altered so that nobody knows it from elsewhere.
        AlteredNumber = "altered-number",
        /// A name of a short article.
        FreeForm = "free-form",
        /// The answer to a question about one or a few of many documents.
        Documents = "documents",
        /// Nothing: a text of so many words is asked for, and its length is what counts.
        Write = "write",
    }
}

harness_core::choice! {
    /// What stands around needles.
    pub enum Among {
        /// Text.
        Text = "text",
        /// Needles of other things alone.
        Needles = "needles",
    }
}

harness_core::choice! {
    /// What needles tell.
    pub enum Content {
        /// Numbers of seven digits.
        Numbers = "numbers",
        /// Identifiers of 32 hexadecimal digits.
        Identifiers = "identifiers",
    }
}

harness_core::parameters! {
    /// The keys of `data` in a bench of long contexts.
    pub struct LongSelection {
        /// What is to be found.
        task: LongTask = LongTask::Needle;
        /// A corpus and split whose text stands around the needles (`gutenberg/test`; for models of a generated language, that one); unset: sentences of this program's making.
        corpus: Option<String> = None;
        /// Questions that `documents` asks, with the documents that answer them (`ruler-qa/squad`, `ruler-qa/hotpotqa`), or a path to a file in the format of either.
        questions: Option<String> = None;
        /// Tokens of prompt and answer together.
        length: usize = 1024, Domain::closed(16.0, 1_048_576.0);
        /// Where the needle stands, in percent of the text's tokens, moved to the nearest end of a sentence; unset: drawn for each item.
        depth: Option<f64> = None, Domain::closed(0.0, 100.0);
        /// Questions, each with numbers, words and text of its own.
        items: usize = 50, Domain::closed(1.0, 100_000.0);
        /// Things (multi-key), numbers (multi-value), questions (multi-query) or steps of the chain (variables); unset: 4.
        count: Option<usize> = None, Domain::closed(2.0, 16.0);
        /// Words of the text that `write` asks for; unset: 200.
        words: Option<usize> = None, Domain::closed(1.0, 100_000.0);
        /// What stands around needles.
        among: Among = Among::Text;
        /// What needles tell.
        content: Content = Content::Numbers;
        /// What is left of the text before the model reads it; all ways need a `budget`.
        cut: Cut = Cut::None;
        /// Tokens of the text that are left.
        budget: Option<usize> = None, Domain::closed(1.0, 1_048_576.0);
        /// Tokens of an answer at most; unset: as many as the task's answers take.
        tokens: Option<usize> = None, Domain::closed(1.0, 4096.0);
        /// Whether the model's chat template is used; unset: where the model has one.
        chat: Option<bool> = None;
    }
}

/// Things, numbers, questions or steps where a suite does not say how many.
const COUNT: usize = 4;
/// Words of a text where a suite does not say how many.
const WORDS: usize = 200;
/// Tokens of a word, about; a text of four times the words that were asked for scores nothing.
const TOKENS_A_WORD: usize = 6;

impl LongTask {
    /// The word in suites.
    pub fn word(self) -> String {
        match self.to_value() {
            harness_core::Value::Text(word) => word,
            other => other.to_string(),
        }
    }

    /// How an answer is scored.
    fn rule(self) -> Rule {
        match self {
            Self::Passkey => Rule::FirstInteger,
            Self::Lines => Rule::LastInteger,
            Self::Documents => Rule::Any,
            _ => Rule::All,
        }
    }

    fn is_needles(self) -> bool {
        matches!(self, Self::Needle | Self::MultiKey | Self::MultiValue | Self::MultiQuery)
    }

    fn is_article(self) -> bool {
        matches!(self, Self::AlteredNumber | Self::FreeForm)
    }

    /// Whether one thing stands at one place.
    fn has_depth(self) -> bool {
        self.is_needles() || self.is_article() || matches!(self, Self::Passkey | Self::Lines | Self::Documents)
    }

    fn has_count(self) -> bool {
        matches!(self, Self::MultiKey | Self::MultiValue | Self::MultiQuery | Self::Variables)
    }

    fn has_text(self) -> bool {
        self.is_needles() || self.is_article() || self == Self::Variables
    }

    /// Tokens of an answer where a suite does not say how many: enough for tokenizers that take digits one by one.
    fn tokens(self, selection: &LongSelection) -> usize {
        let count = selection.count.unwrap_or(COUNT);
        let one = if selection.content == Content::Identifiers { 48 } else { 16 };
        match self {
            Self::Passkey => 10,
            Self::Needle | Self::MultiKey => one,
            Self::MultiValue | Self::MultiQuery => (one + 4) * count,
            Self::Variables => 10 * (count + 1),
            Self::CommonWords => 64,
            Self::FrequentWords | Self::Documents => 32,
            Self::Lines | Self::AlteredNumber => 16,
            Self::FreeForm => 24,
            Self::Write => TOKENS_A_WORD * selection.words.unwrap_or(WORDS),
        }
    }
}

/// Refuses keys that mean nothing to a task.
///
/// # Errors
/// [`ParameterError::Together`].
pub(crate) fn check(arm: &Arm) -> Result<(), ParameterError> {
    let selection = LongSelection::resolve(arm)?;
    let (task, word) = (selection.task, selection.task.word());
    let refuse =
        |what: &str, why: &str| Err(ParameterError::Together(format!("`{what}` is nothing to `{word}`: {why}")));
    if selection.depth.is_some() && !task.has_depth() {
        return refuse("depth", "what it asks for stands in many places");
    }
    if selection.count.is_some() && !task.has_count() {
        return refuse("count", "it has one thing to find, or a number of its own");
    }
    if selection.words.is_some() && task != LongTask::Write {
        return refuse("words", "it asks for something else than a text of some length");
    }
    match (&selection.questions, task == LongTask::Documents) {
        (Some(_), false) => return refuse("questions", "it makes its own"),
        (None, true) => {
            return Err(ParameterError::Together(
                "`documents` needs `questions` with their documents, as `ruler-qa/squad`".to_owned(),
            ));
        }
        _ => {}
    }
    if selection.corpus.is_some() && !task.has_text() {
        return refuse("corpus", "no text stands around what it asks for");
    }
    if (selection.among, selection.content) != (Among::Text, Content::Numbers) && !task.is_needles() {
        return refuse("among` or `content", "it has no needles");
    }
    match (selection.cut, selection.budget) {
        (Cut::None, Some(_)) => {
            return Err(ParameterError::Together(
                "`budget` says to what the text is cut; name a `cut`, as `head-tail`".to_owned(),
            ));
        }
        (cut, None) if cut != Cut::None => {
            return Err(ParameterError::Together(format!(
                "`cut = {}` needs a `budget`: so many tokens of the text are left",
                cut.to_value()
            )));
        }
        (cut, _) if cut != Cut::None && !task.has_depth() && task != LongTask::Variables => {
            return refuse("cut", "it has no text that something stands in, or asks for all of it");
        }
        _ => {}
    }
    if selection.among == Among::Needles && selection.corpus.is_some() {
        return Err(ParameterError::Together(
            "`among = \"needles\"` leaves no room for the text of a `corpus`".to_owned(),
        ));
    }
    Ok(())
}

/// Why there are no prompts.
#[derive(Debug, thiserror::Error)]
pub enum LongError {
    /// Nothing fits.
    #[error(
        "`{task}` takes {needed} tokens for question, needles and answer alone: the needle is longer than the context of {length} tokens; raise `length`"
    )]
    NeedleTooLong {
        /// The task.
        task: String,
        /// Tokens without any text.
        needed: usize,
        /// Tokens there may be.
        length: usize,
    },
    /// The text ends too soon.
    #[error(
        "{source_name} has {found} of the {wanted} tokens that a context of {length} needs; give more text or lower `length`"
    )]
    TooLittleText {
        /// Where the text comes from.
        source_name: String,
        /// Tokens there are.
        found: usize,
        /// Tokens there should be.
        wanted: usize,
        /// Tokens of the context.
        length: usize,
    },
    /// A file of questions that cannot be used.
    #[error("{path}: {reason}")]
    Questions {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Fewer questions than asked for.
    #[error("{name} has {found} of the {wanted} questions that are wanted; ask for fewer `items`")]
    TooFewQuestions {
        /// Where they come from.
        name: String,
        /// Questions there are.
        found: usize,
        /// Questions asked for.
        wanted: usize,
    },
    /// The model has no such positions.
    #[error(
        "{model} has a learned table of {table} positions, so a context of {length} tokens cannot be read; lower `length`"
    )]
    Positions {
        /// The model.
        model: String,
        /// Positions there are.
        table: usize,
        /// Tokens of the context.
        length: usize,
    },
    /// The tokenizer loses the answer.
    #[error(
        "the tokenizer of {model} cannot write {text:?}; for a model of a generated language name its corpus, `corpus = \"fables/test\"`"
    )]
    Unspeakable {
        /// The model.
        model: String,
        /// What should be written.
        text: String,
    },
    /// The generated language cannot say it.
    #[error("{model} speaks a generated language, in which `{task}` cannot be asked; it has `needle` and `multi-key`")]
    Unsaid {
        /// The model.
        model: String,
        /// The task.
        task: String,
    },
    /// The generated language has no such words.
    #[error("{model} speaks a generated language, which has no stop words; cut its text in another way")]
    NoStopWords {
        /// The model.
        model: String,
    },
    /// The dense model judges sentences.
    #[error("{model} cannot tell how much a sentence says: {reason}")]
    Surprise {
        /// The model.
        model: String,
        /// Its reason.
        reason: String,
    },
    /// The generated language.
    #[error(transparent)]
    Language(#[from] LanguageError),
    /// The name of the corpus.
    #[error(transparent)]
    Corpus(#[from] ParameterError),
    /// The model or a text.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Template(#[from] TaskError),
}

/// Questions behind long texts, ready for one model.
#[derive(Debug, Clone)]
pub(crate) struct LongItems {
    pub items: Vec<Item>,
    /// Tokens of an answer at most.
    pub tokens: usize,
    pub rule: Rule,
}

impl LongItems {
    /// The items that a selection asks a model, and their prompts as windows, which name and identify them.
    ///
    /// # Errors
    /// [`LongError`].
    pub fn of(
        selection: &LongSelection,
        model: &LoadedModel,
        inputs: &Inputs,
        seed: u64,
    ) -> Result<(Self, Windows), LongError> {
        let config = model.decoder.config();
        if matches!(config.position, PositionScheme::Learned) && selection.length > config.max_positions {
            let (model, table, length) = (model.name.clone(), config.max_positions, selection.length);
            return Err(LongError::Positions { model, table, length });
        }
        let (task, word) = (selection.task, selection.task.word());
        let source = Source::open(selection, model, inputs, seed)?;
        let asking = Asking::of(model, selection.chat.filter(|_| !source.is_spoken()))?;
        let spoken = source.is_spoken();
        let tokens = selection.tokens.unwrap_or(if spoken { 1 } else { task.tokens(selection) });
        let named = |misfit: Misfit| match misfit {
            Misfit::Needle(needed) => LongError::NeedleTooLong { task: word.clone(), needed, length: selection.length },
            Misfit::Filler { found, wanted } => {
                LongError::TooLittleText { source_name: source.name(), found, wanted, length: selection.length }
            }
        };
        if spoken && selection.cut == Cut::StopWords {
            return Err(LongError::NoStopWords { model: model.name.clone() });
        }
        // Sentences are judged by the dense model, whatever is done to the one that is asked.
        let mut judge = PrefixCached::without_reuse(&model.decoder);
        let begin =
            if spoken { Some(harness_language::BEGIN) } else { asking.tokenizer.bos().or(asking.tokenizer.eos()) };
        let word_of = |token: u32| asking.tokenizer.decode(&[token]).unwrap_or_default();
        let mut fitted = |draft: Draft, number: usize| {
            let fitted = fit::fit(&draft, selection.length, tokens).map_err(named)?;
            let Some(budget) = selection.budget else { return Ok(fitted.whole()) };
            let long = Long { units: &fitted.units, question: fitted.question(), word: &word_of };
            let mut rng = stream(seed, &["long", "cut", &number.to_string()]);
            let kept = long
                .kept(selection.cut, budget, begin.unwrap_or(0), &mut judge, &mut rng)
                .map_err(|reason| LongError::Surprise { model: model.name.clone(), reason })?;
            Ok::<_, LongError>(fitted.cut(&kept))
        };
        let questions = match &source {
            Source::Library(library) => library.taken(selection.items)?,
            _ => Vec::new(),
        };
        let item = |number: usize| {
            let mut rng = stream(seed, &["long", &word, &number.to_string()]);
            match (&source, task) {
                (Source::Library(library), _) => {
                    let draft = library.draft(questions[number], &asking, selection, tokens, &mut rng)?;
                    fitted(draft, number)
                }
                (Source::Spoken(spoken), _) => fitted(spoken.draft(selection, &model.name, &mut rng)?, number),
                (_, LongTask::CommonWords) => {
                    counting::common(&asking, selection.length, tokens, &mut rng)?.map_err(named)
                }
                (_, LongTask::FrequentWords) => {
                    counting::frequent(&asking, selection.length, tokens, &mut rng)?.map_err(named)
                }
                (_, LongTask::Write) => write::write(&asking, selection, tokens, &mut rng)?.map_err(named),
                _ => {
                    let wording = wording::Wording::of(selection, &mut rng);
                    fitted(asking.draft(&wording, &source, selection, &mut rng)?, number)
                }
            }
        };
        let items: Vec<Item> = (0..selection.items).map(item).collect::<Result<_, _>>()?;
        let read: Vec<Vec<u32>> = items
            .iter()
            .flat_map(|item| [item.prompt.clone(), item.control.clone().unwrap_or_default(), item.answer.clone()])
            .collect();
        let hash = hash_tokens(&read);
        let rule = if spoken { Rule::FirstWord } else { task.rule() };
        let mut protocol = format!(
            "task={word}@{} length={} depth={} items={} count={} text={} among={} content={} tokens={tokens} rule={} chat={} seed={seed} control=text tokenizer={}",
            &hash[..12],
            selection.length,
            selection.depth.map_or_else(|| "drawn".to_owned(), |depth| depth.to_string()),
            selection.items,
            selection.count.unwrap_or(COUNT),
            source.name(),
            selection.among.to_value(),
            selection.content.to_value(),
            rule.word(),
            asking.template_hash(),
            &model.tokenizer_hash()[..12],
        );
        if let Some(budget) = selection.budget {
            let _ = write!(protocol, " cut={} budget={budget}", selection.cut.to_value());
        }
        let windows = Windows {
            tokens: items.iter().map(|item| item.prompt.clone()).collect(),
            documents: (0..items.len() as u32).collect(),
            dropped: 0,
            protocol,
            hash,
        };
        Ok((Self { items, tokens, rule }, windows))
    }
}
