//! `harness sample`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use harness_core::Arm;
use harness_methods::sample::basis::Basis;
use harness_methods::sample::{Chain, Past};
use harness_model::decoder::Decoder;
use serde_json::json;

use crate::exit::{BAD_INPUT, CELLS_FAILED, DONE, INPUT_MISSING, INTERNAL, OrExit, Outcome, Refusal, refuse};
use crate::model::{ModelArguments, at_least};
use crate::{npy, prompt};

#[path = "decode.rs"]
mod decode;

/// Show what a chain of samplers keeps of rows of logits, or of a model's steps.
#[derive(Args)]
#[command(after_help = "\
A chain is written as in suites, its stages joined by |, for example 'temperature(t=0.7) | min-p(p=0.1)';
`harness list methods` has the samplers. Stages run in the order they are written.

Examples:
  harness sample --logits rows.npy --sampler 'temperature(t=0.7) | min-p(p=0.1)' --json
  harness sample --logits rows.npy --sampler 'dry(multiplier=0.8)' --history ids.json
  harness sample --logits rows.npy --head head.npy --sampler 'bat(tau=0.05, directions=20, mode=exact)'
  harness sample --model stories15m --prompt 'Once upon a time' -n 8 --sampler 'top-p(p=0.9)'
  harness sample --model stories15m --prompt 'Once upon a time' -n 20 --sampler 'beam(width=4, n_best=4)'

A decoder, such as beam or speculative, stands first and calls the model itself; it has the stages behind it to draw with:
  harness sample --model tiny-300k --draft tiny-100k --prompt 'the cat' --sampler 'speculative(draft_tokens=4) | top-p(p=0.9)'
  harness sample --model tiny-300k --amateur tiny-100k --prompt 'the cat' --sampler contrastive-decoding --json")]
pub struct Arguments {
    /// A .npy file of logits, one row a step.
    #[arg(long, required_unless_present = "model", conflicts_with_all = ["model", "prompt", "prompt_ids", "bos", "tokens", "seed"])]
    logits: Option<PathBuf>,
    /// The chain of samplers; without it the distribution itself.
    #[arg(long, default_value = "")]
    sampler: String,
    /// A JSON file with the token ids before the step, for samplers that look back: one array for every row, or an array
    /// of them, one a row.
    #[arg(long, requires = "logits")]
    history: Option<PathBuf>,
    /// A .npy file of the head that made the logits, one row of its width a token, for samplers that judge by it.
    #[arg(long, requires = "logits")]
    head: Option<PathBuf>,
    /// Generate with this model: a name from `harness list models`, or a file or folder.
    #[arg(long, short)]
    model: Option<String>,
    /// Fetch what is missing without asking.
    #[arg(long, short)]
    yes: bool,
    /// Fetch nothing.
    #[arg(long)]
    offline: bool,
    /// The text to continue.
    #[arg(long, conflicts_with = "prompt_ids")]
    prompt: Option<String>,
    /// A JSON file with an array of token ids to continue, instead of text.
    #[arg(long)]
    prompt_ids: Option<PathBuf>,
    #[command(flatten)]
    decoding: decode::DecodingArguments,
    /// Put the beginning-of-sequence token first.
    #[arg(long)]
    bos: bool,
    /// Tokens to generate.
    #[arg(long, short = 'n', default_value_t = 16, value_parser = at_least(1))]
    tokens: usize,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let arms = if arguments.sampler.trim().is_empty() {
        Vec::new()
    } else {
        Arm::parse_chain(&arguments.sampler).or_exit(BAD_INPUT)?
    };
    if let (Some((decoder, stages)), Some(model)) =
        (harness_methods::decode::first(&arms).or_exit(BAD_INPUT)?, &arguments.model)
    {
        return decode::main(arguments, model, &arms[0].id, decoder.as_ref(), stages);
    }
    arguments.decoding.refuse_without_decoder()?;
    let chain = Chain::build(&arms, arguments.seed, "sample").or_exit(BAD_INPUT)?;
    match (&arguments.logits, &arguments.model) {
        (Some(path), _) => rows(arguments, path, chain),
        (None, Some(model)) => steps(arguments, model, chain),
        (None, None) => refuse(BAD_INPUT, "give --logits or --model"),
    }
}

/// The chain with the head of a file, where it needs one.
fn with_head_of_file(chain: Chain, path: Option<&Path>) -> Result<Chain, Refusal> {
    let Some(directions) = chain.directions() else { return Ok(chain) };
    let Some(path) = path else {
        return refuse(BAD_INPUT, "the chain judges tokens by the head of the model; give it with --head head.npy");
    };
    if !path.exists() {
        return refuse(INPUT_MISSING, format!("{} does not exist", path.display()));
    }
    let rows = npy::rows(path).or_exit(BAD_INPUT)?;
    let width = rows.first().map_or(0, Vec::len);
    let basis = Basis::of(&rows.concat(), rows.len(), width, directions)
        .map_err(|error| format!("{}: {error}", path.display()))
        .or_exit(BAD_INPUT)?;
    chain.with_basis(&Arc::new(basis)).or_exit(INTERNAL)
}

/// The chain with the head of a model, where it needs one. Heads have no scale or cap of the logits here; one with a bias adds
/// what its matrix does not tell.
fn with_head_of_model(chain: Chain, decoder: &Decoder) -> Result<Chain, Refusal> {
    let Some(directions) = chain.directions() else { return Ok(chain) };
    let head = decoder.head();
    if head.bias().is_some() {
        return refuse(
            BAD_INPUT,
            "the head of the model has a bias, so its matrix does not tell its logits; leave basis-aware samplers out",
        );
    }
    let basis = Basis::of(&head.weight().to_f32(), head.rows(), head.cols(), directions).or_exit(BAD_INPUT)?;
    chain.with_basis(&Arc::new(basis)).or_exit(INTERNAL)
}

/// Says on stderr how many tests the accuracy of numbers left open.
#[allow(clippy::print_stderr)]
fn tell_undecided(chain: &Chain) {
    let open = chain.undecided();
    if open > 0 {
        eprintln!("note: {open} tests of tokens stayed undecided; their tokens were kept");
    }
}

/// What is kept of given rows.
fn rows(arguments: &Arguments, path: &Path, chain: Chain) -> Outcome {
    if !path.exists() {
        return refuse(INPUT_MISSING, format!("{} does not exist", path.display()));
    }
    let rows = npy::rows(path).or_exit(BAD_INPUT)?;
    let history = arguments.history.as_deref().map(|path| history(path, rows.len())).transpose()?.unwrap_or_default();
    let mut chain = with_head_of_file(chain, arguments.head.as_deref())?;
    chain.explain();
    let mut all = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let past = if history.len() == 1 { &history[0] } else { history.get(at).map_or(&[][..], |ids| ids) };
        // Every row is a step of its own: what a stage learnt from another one does not count.
        chain.reset();
        let candidates = chain
            .apply(row, Past { prompt: past, generated: &[] })
            .map_err(|error| format!("row {at} of {}: {error}", path.display()))
            .or_exit(BAD_INPUT)?;
        let (kept, probabilities) = (candidates.ids(), candidates.probabilities());
        let (threshold, entropy) = (candidates.threshold(), candidates.entropy());
        if arguments.json {
            all.push(json!({"kept": kept, "prob": probabilities, "threshold": threshold}));
        } else {
            let threshold = threshold.map_or_else(String::new, |p| format!(", threshold {p:.6}"));
            println!("row {at}: {} of {} kept, entropy {entropy:.4} nats{threshold}", kept.len(), row.len());
            println!("  {}", most_probable(&kept, &probabilities));
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&all).or_exit(INTERNAL)?);
    }
    tell_undecided(&chain);
    Ok(DONE)
}

/// The first ten by falling probability.
fn most_probable(ids: &[u32], probabilities: &[f64]) -> String {
    /// Tokens shown of a row.
    const SHOWN: usize = 10;
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    let shown = order.iter().take(SHOWN).map(|at| format!("{} {:.4}", ids[*at], probabilities[*at]));
    let more = if ids.len() > SHOWN { format!(", {} more", ids.len() - SHOWN) } else { String::new() };
    format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
}

/// One past for all rows, or one a row.
fn history(path: &Path, rows: usize) -> Result<Vec<Vec<u32>>, Refusal> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
        .or_exit(INPUT_MISSING)?;
    if let Ok(one) = serde_json::from_str::<Vec<u32>>(&text) {
        return Ok(vec![one]);
    }
    let all: Vec<Vec<u32>> = serde_json::from_str(&text)
        .map_err(|error| format!("{} holds no array of token ids: {error}", path.display()))
        .or_exit(BAD_INPUT)?;
    if all.len() != rows {
        return refuse(BAD_INPUT, format!("{} has {} pasts for {rows} rows", path.display(), all.len()));
    }
    Ok(all)
}

/// A continuation, and what every token was chosen from.
fn steps(arguments: &Arguments, name: &str, chain: Chain) -> Outcome {
    let inputs = crate::fetch::inputs()?;
    let model = ModelArguments { model: name.to_owned(), yes: arguments.yes, offline: arguments.offline };
    let model = model.open(&inputs)?;
    let prompt = prompt::tokens(&model, arguments.prompt.as_deref(), arguments.prompt_ids.as_deref(), arguments.bos)?;
    let config = model.decoder.config();
    let context = config.max_positions;
    if prompt.len() >= context {
        return refuse(BAD_INPUT, format!("the prompt has {} tokens; the model's context is {context}", prompt.len()));
    }
    let mut chain = with_head_of_model(chain, &model.decoder)?;
    let mut cache = model.decoder.new_cache();
    let mut row = model.decoder.logits_last(&prompt, &mut cache).or_exit(CELLS_FAILED)?;
    let mut ids = Vec::new();
    let mut steps = Vec::new();
    while ids.len() < arguments.tokens && prompt.len() + ids.len() < context {
        let choice = chain
            .choose(&row, Past { prompt: &prompt, generated: &ids })
            .map_err(|error| format!("step {}: {error}", ids.len()))
            .or_exit(CELLS_FAILED)?;
        let token = choice.drawn.token;
        steps.push(choice);
        ids.push(token);
        if config.eos.contains(&token) {
            break;
        }
        if ids.len() < arguments.tokens {
            row = model.decoder.logits_last(&[token], &mut cache).or_exit(CELLS_FAILED)?;
        }
    }
    tell_undecided(&chain);
    let tokenizer = model.tokenizer().ok();
    let text = tokenizer.map(|tokenizer| tokenizer.decode(&ids)).transpose().or_exit(INTERNAL)?;
    if arguments.json {
        let steps: Vec<_> = steps
            .iter()
            .map(|step| {
                let probability = step.drawn.probability;
                json!({"token": step.drawn.token, "kept": step.kept, "entropy": step.entropy, "prob": probability})
            })
            .collect();
        println!("{}", json!({"prompt_ids": prompt, "ids": ids, "text": text, "steps": steps}));
        return Ok(DONE);
    }
    for step in &steps {
        let token = step.drawn.token;
        let piece = tokenizer.and_then(|tokenizer| tokenizer.decode(&[token]).ok()).unwrap_or_default();
        println!(
            "{token:>7}  {piece:<16?}  probability {:.4}, {} kept, entropy {:.4} nats",
            step.drawn.probability, step.kept, step.entropy
        );
    }
    println!("{}", text.unwrap_or_else(|| format!("{ids:?}")));
    Ok(DONE)
}
