//! `harness train`.

use std::path::{Path, PathBuf};

use clap::Args;
use harness_model::decoder::Decoder;
use harness_model::load::load;
use harness_model::train::{Event, Recipe, TokenSource, train};
use harness_run::addition::Sums;
use harness_run::gap::Quality;
use harness_run::generated::Generated;
use harness_run::position::decoder_of;

use crate::exit::{BAD_INPUT, CELLS_FAILED, DONE, INPUT_MISSING, INTERNAL, NOT_WRITTEN, OrExit, Outcome, Refusal};
use crate::terminal::Progress;

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
    let source = text.source();
    let out = arguments.out.clone().unwrap_or_else(|| path.with_file_name("training"));
    let steps = recipe.steps() as u64;
    let place = out.display().to_string();
    crate::interrupt::ends_with(move || {
        format!("interrupted; run the same command again to go on from the last checkpoint in {place}")
    });
    let mut progress = Progress::new(false);
    let trained =
        train(&recipe, source, &out, &mut |event| show(&mut progress, steps, &event)).or_exit(CELLS_FAILED)?;
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

/// What can be trained on.
enum Text {
    /// The embedded language.
    Language(Box<Generated>),
    /// Sums.
    Sums(Sums),
}

impl Text {
    /// The generated data set in a folder.
    fn open(corpus: &str, folder: &Path) -> Result<Self, Refusal> {
        let sums = folder.join("sums.toml");
        let description = if sums.is_file() { sums } else { folder.join("dataset.toml") };
        let text = std::fs::read_to_string(&description)
            .map_err(|error| {
                format!("{corpus} is not a generated data set: cannot read {}: {error}", description.display())
            })
            .or_exit(INPUT_MISSING)?;
        let wrong = |error: String| format!("{}: {error}", description.display());
        if description.ends_with("sums.toml") {
            return Sums::parse(&text).map(Self::Sums).map_err(|error| wrong(error.to_string())).or_exit(INPUT_MISSING);
        }
        let language = Generated::parse(&text).map_err(|error| wrong(error.to_string())).or_exit(INPUT_MISSING)?;
        Ok(Self::Language(Box::new(language)))
    }

    fn source(&self) -> &dyn TokenSource {
        match self {
            Self::Language(language) => &**language,
            Self::Sums(sums) => sums,
        }
    }

    /// `quality.toml` of a model trained on it, and a line about that.
    fn quality(&self, decoder: &Decoder, corpus: &str) -> Result<(String, String), String> {
        match self {
            Self::Language(language) => {
                let quality = Quality::measure(language, decoder, corpus).map_err(|error| error.to_string())?;
                let windows = &quality.stream_windows;
                let said = format!(
                    "{:.4} nats a token, {:.4} ± {:.4} above the floor of the language ({:.2} %)",
                    windows.model, windows.gap, windows.half_width, windows.gap_percent
                );
                Ok((quality.to_toml(), said))
            }
            Self::Sums(sums) => {
                let right = sums.quality(decoder)?;
                let said = right.iter().map(|(digits, share)| format!("{digits} digits {:.1} %", 100.0 * share));
                Ok((sums.quality_toml(&right), format!("sums right: {}", said.collect::<Vec<_>>().join(", "))))
            }
        }
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
