//! `harness search`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use harness_core::{Arm, Parameters, Value};
use harness_methods::position::search::{Candidate, Found, START_TOKENS, Search};
use harness_run::inputs::{Inputs, LoadedModel};
use harness_run::search::{Answers, Measure, SearchError, arm_of, search, search_start, with_start};
use harness_run::tasks::long::LongSelection;
use harness_run::text::{Select, TextSelection, windows};
use serde_json::{Value as Json, json};

use crate::exit::{
    BAD_INPUT, CELLS_FAILED, DONE, INPUT_MISSING, INTERNAL, NOT_WRITTEN, OrExit, Outcome, Refusal, refuse,
};
use crate::model::{ModelArguments, at_least};
use crate::terminal::Progress;

/// What candidates are measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Perplexity of names or numbers alone that a long text holds once and is asked for; searches the critical pair too (LongRoPE2).
    Needles,
    /// Perplexity of all tokens of long texts (LongRoPE).
    Text,
}

/// Search what a model's rotary frequencies should be divided by beyond the length it was trained at.
#[derive(Args)]
#[command(after_help = "\
Examples:
  harness search --model tiny-300k --factor 4 --corpus fables/valid
  harness search --model smollm2-135m-instruct --factor 2 --by text --corpus enwik8/train --documents 5 --out factors.json

What is found is printed as an arm of the axis of positions, for `position` in suites and `score --position`. It is never worse, on what it was
searched on, than linear interpolation, NTK-aware scaling and YaRN of the same factor.

It ends with 0, with 2 for numbers that do not fit, with 3 when the model cannot be scored, and with 5 for a model or text that is not
there.")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// How much longer texts are read than in training.
    #[arg(long, default_value_t = 4.0)]
    factor: f64,
    /// What candidates are measured by.
    #[arg(long, value_enum, default_value_t = By::Needles)]
    by: By,
    /// Corpus and split of the texts, other than those that results will be reported on.
    #[arg(long)]
    corpus: String,
    /// Tokens of a text; the factor times the length of the training unless given.
    #[arg(long, value_parser = at_least(16))]
    length: Option<usize>,
    /// Texts that each candidate is measured on.
    #[arg(long, default_value_t = 16, value_parser = at_least(1))]
    documents: usize,
    /// Candidates of the first generation.
    #[arg(long, default_value_t = 16, value_parser = at_least(3))]
    population: usize,
    /// Generations behind the first.
    #[arg(long, default_value_t = 10)]
    generations: usize,
    /// Candidates that become parents, half the population unless given.
    #[arg(long, value_parser = at_least(1))]
    parents: Option<usize>,
    /// Mutations, and crossings, of a generation; a quarter of the population unless given.
    #[arg(long, value_parser = at_least(1))]
    children: Option<usize>,
    /// What cosines and sines are multiplied by.
    #[arg(long, default_value_t = 1.0)]
    attention_factor: f64,
    /// Search behind the factors how many first positions keep their angles, 0 to 256.
    #[arg(long)]
    start_tokens: bool,
    /// Seed of texts and draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write what is found, as JSON, to this file, which must not exist.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let factor = arguments.factor;
    if !(factor > 1.0 && factor <= 1024.0) {
        return refuse(BAD_INPUT, format!("--factor {factor} must be above 1 and at most 1024"));
    }
    let sharp = arguments.attention_factor;
    if !(sharp > 0.0 && sharp.is_finite()) {
        return refuse(BAD_INPUT, format!("--attention-factor {sharp} must be a positive number"));
    }
    if let Some(path) = arguments.out.as_ref().filter(|path| path.exists()) {
        return refuse(NOT_WRITTEN, format!("{} exists; choose another place or remove it", path.display()));
    }
    let inputs = crate::fetch::inputs()?;
    arguments.model.ensure(&inputs, &[&arguments.corpus])?;
    let model = arguments.model.open(&inputs)?;
    let settings = arguments.search();
    let measure = arguments.measure(&inputs, &model)?;
    let total = (settings.population + settings.generations * (settings.mutations + settings.crossings)) as u64;
    let mut progress = Progress::new(arguments.json);
    let found = search(&model.decoder, &settings, sharp, &measure, &mut |measured, best| {
        progress.update_beside("candidates", &format!("best perplexity {best:.4}"), measured as u64, total);
    });
    let found = found.or_else(|error| refuse(code_of(&error), error))?;
    let mut arm = arm_of(factor, &found.best.factors, sharp);
    let mut starts = Vec::new();
    if arguments.start_tokens {
        let searched = search_start(&model.decoder, &arm, &measure, &mut |measured, best| {
            let said = format!("best perplexity {best:.4}");
            progress.update_beside("starts", &said, measured as u64, START_TOKENS.len() as u64);
        });
        starts = searched.or_else(|error| refuse(code_of(&error), error))?;
        arm = with_start(&arm, starts.first().map_or(0, |(first, _)| *first));
    }
    progress.finish();
    let mut all = in_json(&found, &arm);
    if arguments.start_tokens {
        let said = starts.iter().map(|(first, perplexity)| json!({"start_tokens": first, "perplexity": perplexity}));
        all["starts"] = said.collect();
    }
    if let Some(path) = &arguments.out {
        let text = serde_json::to_string_pretty(&all).or_exit(INTERNAL)?;
        std::fs::write(path, text + "\n")
            .map_err(|error| format!("results could not be written: {}: {error}", path.display()))
            .or_exit(NOT_WRITTEN)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&all).or_exit(INTERNAL)?);
        return Ok(DONE);
    }
    println!("{:<10} {:>12} {:>9}", "origin", "perplexity", "critical");
    for candidate in found.known.iter().chain([&found.best]) {
        let critical = candidate.critical.map_or_else(|| "-".to_owned(), |critical| critical.to_string());
        println!("{:<10} {:>12.4} {critical:>9}", candidate.origin, candidate.fitness);
    }
    println!("{} candidates measured", found.measured);
    for (first, perplexity) in &starts {
        println!("{perplexity:>12.4} where the first {first} positions keep their angles");
    }
    println!("{arm}");
    Ok(DONE)
}

impl Arguments {
    fn search(&self) -> Search {
        let children = self.children.unwrap_or((self.population / 4).max(1));
        Search {
            factor: self.factor,
            critical: self.by == By::Needles,
            population: self.population,
            generations: self.generations,
            parents: self.parents.unwrap_or((self.population / 2).max(1)),
            mutations: children,
            crossings: children,
            seed: self.seed,
        }
    }

    fn measure(&self, inputs: &Inputs, model: &LoadedModel) -> Result<Measure, Refusal> {
        let trained = model.decoder.config().trained_positions();
        let length = self.length.unwrap_or((self.factor * trained as f64).ceil() as usize);
        if self.by == By::Needles {
            let arm = Arm::new("data")
                .with("corpus", Value::Text(self.corpus.clone()))
                .with("length", Value::Int(length as i64))
                .with("items", Value::Int(self.documents as i64));
            let selection = LongSelection::resolve(&arm).or_exit(BAD_INPUT)?;
            return Answers::of(&selection, model, inputs, self.seed).map(Measure::Answers).or_exit(INPUT_MISSING);
        }
        let selection = TextSelection {
            corpus: self.corpus.clone(),
            window: length,
            windows: self.documents,
            select: Select::Consecutive,
            bos: None,
            skip_first: 0,
            passage: None,
            last: None,
        };
        let source = inputs.text(&selection, model, self.seed).or_exit(INPUT_MISSING)?;
        let cut = windows(&source, model.tokenizer().or_exit(INPUT_MISSING)?, &selection).or_exit(INPUT_MISSING)?;
        Ok(Measure::Text(cut.tokens))
    }
}

/// What does not fit the model is bad input, what goes wrong while it is read a failure.
fn code_of(error: &SearchError) -> u8 {
    match error {
        SearchError::Scheme(_) | SearchError::Length { .. } | SearchError::Place(_) => BAD_INPUT,
        SearchError::NoText | SearchError::Long(_) => INPUT_MISSING,
        SearchError::Score(_) | SearchError::Forward { .. } => CELLS_FAILED,
    }
}

fn in_json(found: &Found, arm: &Arm) -> Json {
    let one = |candidate: &Candidate| {
        json!({
            "origin": candidate.origin, "factors": candidate.factors, "critical": candidate.critical, "ppl": candidate.fitness,
        })
    };
    json!({
        "arm": arm.to_string(), "best": one(&found.best), "known": found.known.iter().map(one).collect::<Vec<_>>(),
        "curve": found.curve, "measured": found.measured,
    })
}
