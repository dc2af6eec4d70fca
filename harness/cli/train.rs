//! `harness train`.

mod text;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use harness_model::load::load;
use harness_model::train::{Event, Recipe, Start, TrainError, train_with};
use harness_run::inputs::Inputs;
use harness_run::position::{Methods, decoder_of};

use crate::exit::{
    BAD_INPUT, CELLS_FAILED, DONE, INPUT_MISSING, INTERNAL, NOT_WRITTEN, OrExit, Outcome, Refusal, refuse,
};
use crate::model::ModelArguments;
use crate::terminal::Progress;
use text::Text;

/// Train a small decoder from a recipe; a run that was interrupted goes on.
#[derive(Args)]
#[command(after_help = "Example:\n  harness train datasets/models/tiny-100k/recipe.toml --out /tmp/tiny-100k")]
pub struct Arguments {
    /// The recipe.
    recipe: PathBuf,
    /// Where checkpoints, the loss curve and the model go; by default beside the recipe, in `training`.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let path = &arguments.recipe;
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the recipe {}: {error}", path.display()))
        .or_exit(BAD_INPUT)?;
    let recipe = Recipe::parse(&text).map_err(|error| format!("{}: {error}", path.display())).or_exit(BAD_INPUT)?;
    let corpus = recipe.data.corpus.split('/').next().unwrap_or_default();
    let inputs = crate::fetch::inputs()?;
    let manifest = inputs.catalog.entry(corpus).map_err(crate::fetch::from_fetch)?;
    let text = Text::open(corpus, &manifest.folder)?;
    let start = recipe.start.as_deref().map(|name| begin(&inputs, name)).transpose()?;
    let out = arguments.out.clone().unwrap_or_else(|| path.with_file_name("training"));
    let steps = recipe.steps() as u64;
    let place = out.display().to_string();
    crate::interrupt::ends_with(move || {
        format!("interrupted; run the same command again to go on from the last checkpoint in {place}")
    });
    let mut progress = Progress::new(false);
    let trained = train_with(&recipe, text.source(), start.as_ref(), &out, &mut [], &mut |event| {
        show(&mut progress, steps, &event);
    })
    .or_else(|error| refuse(code_of(&error), error.to_string()))?;
    progress.finish();
    let loss = trained.curve.last().map_or(f64::NAN, |point| point.valid);
    let speed = trained.tokens_per_second.map_or_else(String::new, |speed| format!(", {speed:.0} tokens/s"));
    println!("{} parameters, {} tokens, validation loss {loss:.4} nats{speed}", trained.parameters, trained.tokens);
    let model = out.join("model");
    let decoder = decoder_of(&load(&model).or_exit(INTERNAL)?).or_exit(INTERNAL)?;
    let (quality, said) = text.quality(&decoder, corpus).or_exit(INTERNAL)?;
    let file = model.join("quality.toml");
    std::fs::write(&file, quality)
        .map_err(|error| format!("results could not be written: {}: {error}", file.display()))
        .or_exit(NOT_WRITTEN)?;
    println!("{said}");
    println!("{}", model.display());
    Ok(DONE)
}

/// The model that a recipe begins from.
fn begin(inputs: &Inputs, name: &str) -> Result<Start, Refusal> {
    let model = ModelArguments { model: name.to_owned(), yes: false, offline: false };
    model.ensure(inputs, &[])?;
    let path = inputs.model_path(name).map_err(crate::fetch::from_fetch)?;
    Ok(Start { checkpoint: load(&path).or_exit(INPUT_MISSING)?, turning: Arc::new(Methods) })
}

/// A recipe that does not fit its first model is bad input, what happens behind the first step a failure.
fn code_of(error: &TrainError) -> u8 {
    match error {
        TrainError::Start { .. } | TrainError::Recipe { .. } | TrainError::Parse(_) => BAD_INPUT,
        _ => CELLS_FAILED,
    }
}

fn show(progress: &mut Progress, steps: u64, event: &Event) {
    match event {
        Event::Started { step, parameters, .. } => {
            progress.line(&format!(
                "{parameters} parameters, {steps} steps{}",
                if *step > 0 { format!(", going on behind step {step}") } else { String::new() }
            ));
        }
        Event::Step { step, loss, tokens_per_second, .. } => {
            let text = format!("loss {loss:.3}, {tokens_per_second:.0} tokens/s");
            progress.update_beside("train", &text, *step as u64, steps);
        }
        Event::Evaluated { step, loss } => progress.line(&format!("step {step}: validation loss {loss:.4} nats")),
        Event::Saved { .. } => {}
    }
}
