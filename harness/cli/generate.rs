//! `harness generate`.

use std::path::PathBuf;

use clap::Args;
use harness_kernels::logits;
use serde_json::json;

use crate::exit::{CELLS_FAILED, DONE, INTERNAL, OrExit, Outcome};
use crate::model::ModelArguments;
use crate::prompt;

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
    let prompt = prompt::tokens(&model, arguments.prompt.as_deref(), arguments.prompt_ids.as_deref(), arguments.bos)?;
    let config = model.decoder.config().clone();
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
