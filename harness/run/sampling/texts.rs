//! The generate probe: texts that a model writes with a chain or a decoder, and whether the language allows them.

use harness_language::{Language, Start, TruthState};
use harness_methods::decode::{LanguageModel, Models, Task};
use harness_model::decoder::Decoder;

use crate::decode::PrefixCached;
use crate::sampling::recipe::Recipe;
use crate::writing::{self, Job, Read, Written};

/// A text and what the model and the language say of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WrittenText {
    /// The tokens behind the begin mark.
    pub tokens: Vec<u32>,
    /// −log p of the tokens under the model's own distribution, summed, in nats.
    pub model_surprise: f64,
    /// Sequences that the model read a step of for it.
    pub calls: usize,
    /// Tokens before the first one that the language does not allow; all of them in a valid text. `None` where the
    /// language is not known.
    pub legal: Option<usize>,
    /// −log p of the legal tokens under the language, summed, in nats.
    pub surprise: f64,
}

/// What texts go on from.
pub struct Prompts {
    /// The prompts, used in turn.
    pub tokens: Vec<Vec<u32>>,
    /// Where in a text of the language they begin.
    pub start: Start,
    /// Texts wanted.
    pub count: usize,
    /// Tokens of a text at most.
    pub length: usize,
}

/// Writes texts, each with random numbers of its own, up to the end mark or to so many tokens. A decoder that draws
/// nothing writes the same behind the same prompt every time, so it goes on from each prompt once.
///
/// # Errors
/// The text and why it cannot go on.
pub fn write(
    decoder: &Decoder,
    second: Option<&Decoder>,
    language: Option<&Language>,
    recipe: &Recipe,
    prompts: &Prompts,
    read: &mut Read,
) -> Result<Vec<WrittenText>, String> {
    let Prompts { tokens, start, count, length } = prompts;
    let method = recipe.decoder();
    let alike = method.as_ref().is_some_and(|(method, _)| !method.needs().stages);
    let count = if alike { tokens.len().min(*count) } else { *count };
    let prompt = |number: usize| tokens[number % tokens.len()].as_slice();
    let length = |number: usize| (*length).min(decoder.config().max_positions.saturating_sub(prompt(number).len()));
    let name = |number: usize| format!("text {number}");
    let mut texts = if method.is_some() {
        let one = |number: usize| {
            decoded(decoder, second, recipe, &name(number), (prompt(number), length(number)))
                .map_err(|error| format!("text {number}: {error}"))
        };
        (0..count).map(one).collect::<Result<Vec<WrittenText>, String>>()?
    } else {
        let job = |number: usize| {
            let chain = recipe.chain(&name(number))?;
            Ok(Job { prompt: prompt(number), chain, length: length(number) })
        };
        let jobs = (0..count).map(job).collect::<Result<Vec<Job>, String>>()?;
        let written = writing::write(decoder, jobs, read, &|_, _| false, &mut |_| {})?;
        let text = |Written { tokens, surprise, .. }| WrittenText {
            calls: tokens.len(),
            tokens,
            model_surprise: surprise,
            ..WrittenText::default()
        };
        written.into_iter().map(text).collect()
    };
    if let Some(language) = language {
        for (number, text) in texts.iter_mut().enumerate() {
            judge(text, language, *start, prompt(number)).map_err(|error| format!("text {number}: {error}"))?;
        }
    }
    Ok(texts)
}

/// The best text that a decoder finds.
pub(super) fn decoded(
    decoder: &Decoder,
    second: Option<&Decoder>,
    recipe: &Recipe,
    name: &str,
    (prompt, length): (&[u32], usize),
) -> Result<WrittenText, String> {
    let (method, stages) = recipe.decoder().ok_or("it begins with no decoder")?;
    let mut model = PrefixCached::new(decoder);
    let mut other = second.filter(|_| method.needs().second.is_some()).map(PrefixCached::new);
    let models = Models { model: &mut model, second: other.as_mut().map(|other| other as &mut dyn LanguageModel) };
    let task = Task { prompt, other_prompt: None, tokens: length, stages, seed: recipe.seed, sequence: name };
    let found = method.decode(models, &task).map_err(|error| error.to_string())?;
    let best = found.hypotheses.into_iter().next().ok_or("it found no text")?;
    Ok(WrittenText {
        tokens: best.tokens,
        model_surprise: -best.log_probability,
        calls: found.calls.sequences,
        ..WrittenText::default()
    })
}

/// What the language says of a text, up to the first token that cannot be.
fn judge(
    text: &mut WrittenText,
    language: &Language,
    start: Start,
    prompt: &[u32],
) -> Result<(), harness_language::LanguageError> {
    let mut state = TruthState::new(language, start);
    for token in prompt {
        state.push(*token)?;
    }
    let mut legal = 0;
    for token in &text.tokens {
        let Ok(p) = state.push(*token) else { break };
        text.surprise -= p.ln();
        legal += 1;
    }
    text.legal = Some(legal);
    Ok(())
}
