//! `harness generate`.

use std::path::PathBuf;

use clap::Args;
use harness_kernels::logits;
use serde_json::json;

use crate::exit::{BAD_INPUT, CELLS_FAILED, DONE, INPUT_MISSING, INTERNAL, OrExit, Outcome, refuse};
use crate::model::ModelArguments;

/// Continue a prompt greedily.
#[derive(Args)]
#[command(
    after_help = "Example:\n  harness generate --model stories15m --prompt 'Once upon a time' --max-tokens 32 --json"
)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The text to continue.
    #[arg(long, required_unless_present = "prompt_ids", conflicts_with = "prompt_ids")]
    prompt: Option<String>,
    /// A JSON file with an array of token ids to continue, instead of text.
    #[arg(long)]
    prompt_ids: Option<PathBuf>,
    /// Put the beginning-of-sequence token first.
    #[arg(long)]
    bos: bool,
    /// Tokens to generate.
    #[arg(long, default_value_t = 64)]
    max_tokens: usize,
    /// Go on behind an end-of-sequence token.
    #[arg(long)]
    ignore_eos: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let inputs = crate::fetch::inputs()?;
    let model = arguments.model.open(&inputs)?;
    let mut prompt: Vec<u32> = match (&arguments.prompt, &arguments.prompt_ids) {
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
    let config = model.decoder.config().clone();
    if arguments.bos {
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
    let mut cache = model.decoder.new_cache();
    let mut row = model.decoder.logits_last(&prompt, &mut cache).or_exit(CELLS_FAILED)?;
    let mut ids = Vec::new();
    while ids.len() < arguments.max_tokens {
        let token = logits::statistics(&row).argmax;
        if !arguments.ignore_eos && config.eos.contains(&token) {
            break;
        }
        ids.push(token);
        if ids.len() < arguments.max_tokens {
            row = model.decoder.logits_last(&[token], &mut cache).or_exit(CELLS_FAILED)?;
        }
    }
    // Given ids, a model without a tokenizer can go on too; its continuation then has no text.
    let text = model.tokenizer().ok().map(|tokenizer| tokenizer.decode(&ids)).transpose().or_exit(INTERNAL)?;
    if arguments.json {
        println!("{}", json!({"prompt_ids": prompt, "ids": ids, "text": text}));
    } else {
        println!("{}", text.unwrap_or_else(|| format!("{ids:?}")));
    }
    Ok(DONE)
}
