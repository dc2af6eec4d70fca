//! `harness score`.

mod tokens;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use harness_core::Arm;
use harness_methods::registry;
use harness_run::calibrate::CalibrationOrder;
use harness_run::fetch::Corpus;
use harness_run::lowrank::reduced;
use harness_run::position::placed;
use harness_run::score::{WindowScore, score, score_targets};
use harness_run::text::{Select, TextSelection, TextSource, windows};
use serde_json::json;

use crate::execution::ExecutionArguments;
use crate::exit::{BAD_INPUT, CELLS_FAILED, DONE, INPUT_MISSING, INTERNAL, OrExit, Outcome, refuse};
use crate::fetch::from_fetch;
use crate::model::{ModelArguments, at_least, ids_protocol, token_windows};
use crate::terminal::Progress;

/// Perplexity of one model on a text, window by window.
#[derive(Args)]
#[command(after_help = "\
Windows are consecutive and do not overlap; a trailing partial window is dropped and counted. A window of N tokens has
N-1 scored targets; --skip-first K counts only predictions made at positions >= K.

--per-token prints every scored token in the order of the text: its window, its position there
(counted from 0, so that the first one is 1, or K+1), its id, how the vocabulary spells it, and its
negative log-likelihood in nats given the tokens of its window before it. With --json it is an array,
and numbers are not rounded. Nothing else that is printed changes.

Examples:
  harness score --model smollm2-135m-instruct --text book.txt --window 512 --json
  harness score --model model.gguf --text wiki.txt --window 512 --skip-first 256    (llama-perplexity's rule, 255 targets)
  harness score --model my-folder --token-ids windows.json --json
  harness score --model smollm2-135m-instruct --position 'yarn(factor=4)' --text book.txt --window 8192
  harness score --model smollm2-135m-instruct --text book.txt --window 4096 --windows 1 --per-token --json
  harness score --model smollm2-135m-instruct --lowrank 'svd(ratio=0.2)' --text book.txt
  harness score --model my-folder --quant q4_0 --exec packed --activations int8 --head q8_0 --text book.txt
  harness score --model folder-of-packed-codes --activations int8 --text book.txt

It ends with 0; with 2 for a command line that does not fit, with 3 when the model gives no number,
and with 5 for a model or text that is not there or cannot be read.")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    execution: ExecutionArguments,
    /// Read positions by another method, as in suites; `harness list methods` has those of the axis `position`. `none` leaves them as the
    /// checkpoint has them, its own scaling included; another method comes in place of that.
    #[arg(long, default_value = "none")]
    position: String,
    /// Hold linear maps as factors, by a method that needs no calibration text, as in suites.
    #[arg(long, default_value = "none")]
    lowrank: String,
    /// A UTF-8 text file, or a folder of .txt files.
    #[arg(long, required_unless_present = "token_ids", conflicts_with = "token_ids")]
    text: Option<PathBuf>,
    /// A JSON file with an array of windows of token ids, instead of text.
    #[arg(long)]
    token_ids: Option<PathBuf>,
    /// Tokens in a window, 512 unless given; with --token-ids it must be the length of those windows.
    #[arg(long, value_parser = at_least(2))]
    window: Option<usize>,
    /// Put the beginning-of-sequence token in front of every window, which then holds one text token less.
    #[arg(long, conflicts_with = "token_ids")]
    bos: bool,
    /// Count only predictions made at this position and later.
    #[arg(long, default_value_t = 0)]
    skip_first: usize,
    /// Print the negative log-likelihood of every scored token.
    #[arg(long)]
    per_token: bool,
    /// Score at most this many windows.
    #[arg(long, value_parser = at_least(1))]
    windows: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let inputs = crate::fetch::inputs()?;
    let position: Arm = arguments.position.parse().or_exit(BAD_INPUT)?;
    let lowrank: Arm = arguments.lowrank.parse().or_exit(BAD_INPUT)?;
    let method = registry::lowrank(&lowrank).or_exit(BAD_INPUT)?;
    if method.needs_text() {
        let advice = "write it with `harness apply` and score what that wrote";
        return refuse(BAD_INPUT, format!("`{lowrank}` needs calibration text; {advice}"));
    }
    let mut model = arguments.model.open(&inputs)?;
    model.decoder = placed(&model.decoder, &position).or_exit(BAD_INPUT)?.0;
    let (tokens, protocol, dropped) = match (&arguments.token_ids, &arguments.text) {
        (Some(path), _) => {
            let mut tokens = token_windows(path, arguments.window, model.decoder.config().vocab_size)?;
            tokens.truncate(arguments.windows.unwrap_or(usize::MAX));
            let protocol = ids_protocol(path, &tokens, arguments.skip_first);
            (tokens, protocol, 0)
        }
        (None, Some(path)) => {
            let window = arguments.window.unwrap_or(512);
            let text = Corpus::read_path(path).map_err(from_fetch)?;
            let documents: Vec<String> = text.documents.into_iter().map(|document| document.text).collect();
            let tokenizer = model.tokenizer().or_exit(INPUT_MISSING)?;
            if arguments.bos && tokenizer.bos().is_none() {
                return refuse(BAD_INPUT, "the model has no beginning-of-sequence token; leave --bos out");
            }
            let body = window - usize::from(arguments.bos);
            let mut available = 0;
            for document in &documents {
                available += tokenizer.encode(document, false).or_exit(INPUT_MISSING)?.len() / body;
            }
            let selection = TextSelection {
                corpus: path.display().to_string(),
                window,
                windows: arguments.windows.map_or(available, |most| most.min(available)).max(1),
                select: Select::Consecutive,
                bos: Some(arguments.bos),
                skip_first: arguments.skip_first,
                last: None,
                passage: None,
            };
            let source = TextSource::Documents { name: path.display().to_string(), documents };
            let mut cut = windows(&source, tokenizer, &selection).or_exit(INPUT_MISSING)?;
            // Where a file lies is no part of what was scored; its content is.
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let named = format!("{name}@{}", &cut.hash[..12]);
            cut.protocol = cut.protocol.replacen(&path.display().to_string(), &named, 1);
            (cut.tokens, cut.protocol, cut.dropped)
        }
        (None, None) => return refuse(BAD_INPUT, "give --text or --token-ids"),
    };
    let length = tokens.first().map_or(0, Vec::len);
    if arguments.skip_first + 1 >= length {
        return refuse(
            BAD_INPUT,
            format!("--skip-first {} leaves nothing to score in windows of {length} tokens", arguments.skip_first),
        );
    }
    let mut progress = Progress::new(arguments.json);
    if !method.is_identity() {
        let mut tell = |done, total| progress.update(&format!("apply {lowrank}"), done as u64, total as u64);
        let order = CalibrationOrder::Sequential;
        model.decoder = reduced(&model.decoder, &*method, None, order, &mut tell).or_exit(CELLS_FAILED)?.decoder;
    }
    let execution = arguments.execution.hold(&mut model, &mut progress)?;
    let started = Instant::now();
    let mut tell = |done, total| progress.update("score", done as u64, total as u64);
    let skip_first = arguments.skip_first;
    let (scores, each) = if arguments.per_token {
        let each = score_targets(&model.decoder, &tokens, skip_first, &mut tell).or_exit(CELLS_FAILED)?;
        let sum =
            |nlls: &Vec<f64>| WindowScore { nll: nlls.iter().sum(), tokens: nlls.len(), ..WindowScore::default() };
        (each.iter().map(sum).collect(), Some(each))
    } else {
        (score(&model.decoder, &tokens, skip_first, &mut tell).or_exit(CELLS_FAILED)?, None)
    };
    progress.finish();
    let seconds = started.elapsed().as_secs_f64();
    let speed = (tokens.len() * length) as f64 / seconds;
    let (nll, count) = scores.iter().fold((0.0, 0), |(nll, count), window| (nll + window.nll, count + window.tokens));
    let perplexity = (nll / count as f64).exp();
    if arguments.json {
        let windows: Vec<_> = scores.iter().map(|window| json!({"nll": window.nll, "tokens": window.tokens})).collect();
        let mut value = json!({"protocol": protocol, "ppl": perplexity, "dropped": dropped, "windows": windows, "seconds": seconds, "tokens_per_second": speed});
        if let Some(execution) = execution {
            value["execution"] = execution;
        }
        if let Some(each) = &each {
            value["per_token"] = tokens::listed(each, &tokens, skip_first, model.tokenizer().ok());
        }
        println!("{}", serde_json::to_string(&value).or_exit(INTERNAL)?);
    } else {
        if let Some(each) = &each {
            tokens::print(each, &tokens, skip_first, model.tokenizer().ok());
        }
        println!(
            "perplexity {perplexity:.6} over {} windows, {count} targets ({dropped} trailing tokens dropped), {speed:.0} tokens/s",
            scores.len()
        );
        println!("{protocol}");
        if let Some(execution) = execution {
            println!("{execution}");
        }
    }
    Ok(DONE)
}
