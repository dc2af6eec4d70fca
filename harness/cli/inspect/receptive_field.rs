//! `harness inspect receptive-field`: the newest keys that hold a model's attention, in theory, by its perplexity and by its gradients.

use clap::Args;
use harness_run::receptive_field::{Head, Windowed, empirical_field, gradient_field, heads_of, perplexities};
use harness_run::text::{Select, TextSelection, windows};
use serde_json::{Value, json};

use crate::exit::{BAD_INPUT, CELLS_FAILED, DONE, INPUT_MISSING, INTERNAL, OrExit, Outcome, refuse};
use crate::model::{ModelArguments, at_least};
use crate::terminal::Progress;

#[derive(Args)]
pub struct FieldArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A corpus and split to measure perplexity on.
    #[arg(long, default_value = "fables/test")]
    corpus: String,
    /// Tokens in a window of text; as many as the model was trained at unless given.
    #[arg(long, value_parser = at_least(2))]
    window: Option<usize>,
    /// Windows of text.
    #[arg(long, default_value_t = 32, value_parser = at_least(1))]
    windows: usize,
    /// Shares: of all weight that lies outside the field, and of perplexity that may be lost.
    #[arg(long, value_delimiter = ',', default_values_t = [0.1, 0.05, 0.01])]
    epsilon: Vec<f64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The fields of all heads at one share: the largest and the mean; none where one of them has no bound.
fn theoretical(heads: &[Head], epsilon: f64) -> Option<(usize, f64)> {
    let fields = heads.iter().map(|head| head.field(epsilon).ok()).collect::<Option<Vec<usize>>>()?;
    let mean = fields.iter().sum::<usize>() as f64 / fields.len() as f64;
    Some((fields.into_iter().max()?, mean))
}

pub fn receptive_field(arguments: &FieldArguments) -> Outcome {
    if let Some(epsilon) = arguments.epsilon.iter().find(|epsilon| !(**epsilon > 0.0 && **epsilon < 1.0)) {
        return refuse(BAD_INPUT, format!("--epsilon {epsilon} must lie between 0 and 1"));
    }
    let inputs = crate::fetch::inputs()?;
    arguments.model.ensure(&inputs, &[&arguments.corpus])?;
    let model = arguments.model.open(&inputs)?;
    let heads = heads_of(&model.decoder);
    let selection = TextSelection {
        corpus: arguments.corpus.clone(),
        window: arguments.window.unwrap_or(model.decoder.config().max_positions),
        windows: arguments.windows,
        select: Select::Consecutive,
        bos: None,
        skip_first: 0,
        passage: None,
        last: None,
    };
    let source = inputs.text(&selection, &model, 0).or_exit(INPUT_MISSING)?;
    let cut = windows(&source, model.tokenizer().or_exit(INPUT_MISSING)?, &selection).or_exit(INPUT_MISSING)?;
    let mut progress = Progress::new(arguments.json);
    let measured = perplexities(&model.decoder, &cut.tokens, &mut |done, total| {
        progress.update("windows", done as u64, total as u64);
    })
    .or_exit(CELLS_FAILED)?;
    progress.finish();
    let shares =
        if model.decoder.has_states() { Vec::new() } else { model.decoder.reach(&cut.tokens).or_exit(CELLS_FAILED)? };
    if arguments.json {
        let all = in_json(arguments, &heads, &measured, &shares, &cut.protocol);
        println!("{}", serde_json::to_string_pretty(&all).or_exit(INTERNAL)?);
        return Ok(DONE);
    }
    match &heads {
        Err(scheme) => println!("the model has {scheme}: no biases by distance alone, and no field in theory"),
        Ok(heads) => println!("fields of {} heads in theory:", heads.len()),
    }
    println!("{:>8} {:>12} {:>12} {:>12} {:>12}", "epsilon", "largest", "mean", "perplexity", "gradient");
    for epsilon in &arguments.epsilon {
        let (largest, mean) = match heads.as_ref().ok().map(|heads| theoretical(heads, *epsilon)) {
            Some(Some((largest, mean))) => (largest.to_string(), format!("{mean:.1}")),
            Some(None) => ("no bound".to_owned(), "no bound".to_owned()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let shown = |field: Option<usize>| field.map_or_else(|| "-".to_owned(), |field| field.to_string());
        let (empirical, gradient) =
            (shown(empirical_field(&measured, *epsilon)), shown(gradient_field(&shares, *epsilon)));
        println!("{epsilon:>8} {largest:>12} {mean:>12} {empirical:>12} {gradient:>12}");
    }
    println!("{:>8} {:>12}", "window", "perplexity");
    for Windowed { window, perplexity } in &measured {
        println!("{window:>8} {perplexity:>12.4}");
    }
    println!("{}", cut.protocol);
    Ok(DONE)
}

fn in_json(
    arguments: &FieldArguments,
    heads: &Result<Vec<Head>, String>,
    measured: &[Windowed],
    shares: &[f64],
    protocol: &str,
) -> Value {
    let of_head = |head: &Head| {
        let fields: Vec<Value> =
            arguments.epsilon.iter().map(|epsilon| head.field(*epsilon).map_or(Value::Null, Value::from)).collect();
        json!({"layer": head.layer, "head": head.head, "fields": fields})
    };
    let empirical: Vec<Option<usize>> =
        arguments.epsilon.iter().map(|epsilon| empirical_field(measured, *epsilon)).collect();
    let gradient: Vec<Option<usize>> =
        arguments.epsilon.iter().map(|epsilon| gradient_field(shares, *epsilon)).collect();
    let windows: Vec<Value> = measured.iter().map(|one| json!({"window": one.window, "ppl": one.perplexity})).collect();
    json!({
        "epsilon": arguments.epsilon,
        "heads": heads.as_ref().ok().map(|heads| heads.iter().map(of_head).collect::<Vec<_>>()),
        "empirical": empirical, "gradient": gradient, "windows": windows, "protocol": protocol,
    })
}
