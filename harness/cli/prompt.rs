//! What a verb is told to continue: a text or given ids.

use std::path::Path;

use harness_run::inputs::LoadedModel;

use crate::exit::{BAD_INPUT, INPUT_MISSING, OrExit, Refusal, refuse};

/// The tokens of a prompt, of which there is at least one, all within the model's vocabulary.
pub fn tokens(model: &LoadedModel, text: Option<&str>, ids: Option<&Path>, bos: bool) -> Result<Vec<u32>, Refusal> {
    let mut prompt: Vec<u32> = match (text, ids) {
        (Some(text), _) => model.tokenizer().or_exit(INPUT_MISSING)?.encode(text, false).or_exit(BAD_INPUT)?,
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))
                .or_exit(INPUT_MISSING)?;
            serde_json::from_str(&text)
                .map_err(|error| format!("{} is not an array of token ids: {error}", path.display()))
                .or_exit(BAD_INPUT)?
        }
        (None, None) => return refuse(BAD_INPUT, "give --prompt or --prompt-ids"),
    };
    let config = model.decoder.config();
    if bos {
        let Some(bos) = config.bos else {
            return refuse(BAD_INPUT, "the model has no beginning-of-sequence token; leave --bos out");
        };
        prompt.insert(0, bos);
    }
    if prompt.is_empty() {
        return refuse(BAD_INPUT, "the prompt is empty; give a text or pass --bos");
    }
    if let Some(id) = prompt.iter().find(|id| **id as usize >= config.vocab_size) {
        return refuse(BAD_INPUT, format!("the prompt holds id {id}; the model has {} tokens", config.vocab_size));
    }
    Ok(prompt)
}
