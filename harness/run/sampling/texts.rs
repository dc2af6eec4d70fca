//! The generate probe: texts that a model writes with a chain or a decoder, and whether the language allows them.

use harness_kernels::logits;
use harness_language::{Language, Start, TruthState};
use harness_methods::decode::{LanguageModel, Models, Task};
use harness_methods::sample::Past;
use harness_model::decoder::Decoder;

use crate::decode::PrefixCached;
use crate::sampling::recipe::Recipe;

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
) -> Result<Vec<WrittenText>, String> {
    let Prompts { tokens, start, count, length } = prompts;
    let alike = recipe.decoder().is_some_and(|(decoder, _)| !decoder.needs().stages);
    let count = if alike { tokens.len().min(*count) } else { *count };
    let one = |number: usize| -> Result<WrittenText, String> {
        let prompt = tokens[number % tokens.len()].as_slice();
        let length = *length.min(&decoder.config().max_positions.saturating_sub(prompt.len()));
        let name = format!("text {number}");
        let mut text = match recipe.decoder() {
            Some(_) => decoded(decoder, second, recipe, &name, (prompt, length)),
            None => sampled(decoder, recipe, &name, (prompt, length)),
        }
        .map_err(|error| format!("{name}: {error}"))?;
        if let Some(language) = language {
            judge(&mut text, language, *start, prompt).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(text)
    };
    (0..count).map(one).collect()
}

/// A text token by token.
fn sampled(
    decoder: &Decoder,
    recipe: &Recipe,
    name: &str,
    (prompt, length): (&[u32], usize),
) -> Result<WrittenText, String> {
    let mut chain = recipe.chain(name)?;
    let mut cache = decoder.new_cache();
    let mut text = WrittenText::default();
    let mut row = decoder.logits_last(prompt, &mut cache).map_err(|error| error.to_string())?;
    while text.tokens.len() < length {
        let past = Past { prompt, generated: &text.tokens };
        let last = chain.next(&row, past).map_err(|error| error.to_string())?.token;
        text.model_surprise += logits::statistics(&row).log_sum_exp - f64::from(row[last as usize]);
        text.tokens.push(last);
        text.calls += 1;
        if decoder.config().eos.contains(&last) || text.tokens.len() == length {
            break;
        }
        row = decoder.logits_last(&[last], &mut cache).map_err(|error| error.to_string())?;
    }
    Ok(text)
}

/// The best text that a decoder finds.
fn decoded(
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
