//! `harness fetch`.

use std::time::{Duration, Instant};

use clap::Args;
use harness_run::fetch::{FetchError, Kind, Manifest, Options, Progress as FetchProgress};
use harness_run::inputs::Inputs;

use crate::exit::{BAD_INPUT, DONE, INPUT_MISSING, OrExit, Outcome, Refusal, refuse};
use crate::interrupt;
use crate::terminal::{self, Progress};

/// Bring models, texts and tasks into the cache, checked by hash.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  harness fetch smollm2-135m-instruct gutenberg\n  harness fetch --yes stories15m    (asks nothing)"
)]
pub struct Arguments {
    /// Names as `harness list models` and `harness list datasets` show them.
    #[arg(required = true)]
    names: Vec<String>,
    /// Ask nothing.
    #[arg(long, short)]
    yes: bool,
    /// Use only what is already there.
    #[arg(long)]
    offline: bool,
    /// Fetch again even when it is there.
    #[arg(long)]
    force: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let inputs = Inputs::from_environment().map_err(from_fetch)?;
    let manifests: Vec<Manifest> =
        arguments.names.iter().map(|name| inputs.catalog.entry(name)).collect::<Result<_, _>>().map_err(from_fetch)?;
    let mut wanted: Vec<&Manifest> = Vec::new();
    for manifest in &manifests {
        let fetched = manifest.kind == Kind::Fetched;
        let absent = match inputs.absent(manifest) {
            // What came from elsewhere can come again.
            Err(_) if fetched => true,
            absent => absent.map_err(from_fetch)?,
        };
        if absent || (arguments.force && fetched) {
            wanted.push(manifest);
        }
    }
    if !arguments.offline {
        consent(&wanted, arguments.yes)?;
    }
    let options = Options { offline: arguments.offline, force: arguments.force, ..Options::from_environment() };
    for manifest in &manifests {
        let folder = bring(&inputs, manifest, &options)?;
        println!("{}  {}", manifest.name, folder.display());
    }
    Ok(DONE)
}

/// Says size and licence of what is to be fetched and asks, unless `yes`.
pub fn consent(manifests: &[&Manifest], yes: bool) -> Result<(), Refusal> {
    if manifests.is_empty() {
        return Ok(());
    }
    for manifest in manifests {
        eprintln!("{}", manifest.notice());
    }
    if yes {
        return Ok(());
    }
    match terminal::ask("Fetch?") {
        Some(true) => Ok(()),
        Some(false) => refuse(INPUT_MISSING, "not fetched"),
        None => {
            let names: Vec<&str> = manifests.iter().map(|manifest| manifest.name.as_str()).collect();
            refuse(
                INPUT_MISSING,
                format!("{} not there; run `harness fetch --yes {}`, or pass --yes", names.join(", "), names.join(" ")),
            )
        }
    }
}

/// Fetches one entry with progress on standard error.
pub fn bring(inputs: &Inputs, manifest: &Manifest, options: &Options) -> Result<std::path::PathBuf, Refusal> {
    let _polled = interrupt::polled();
    let mut shown = Shown { progress: Progress::new(false), step: String::new(), last: Instant::now() };
    let folder = inputs.fetch(manifest, options, &mut shown).map_err(from_fetch)?;
    shown.progress.finish();
    Ok(folder.path)
}

/// Fetches whatever of the named models, corpora and tasks is not there, after saying what it is.
pub fn ensure(
    inputs: &Inputs,
    (models, corpora, tasks): (&[&str], &[&str], &[&str]),
    yes: bool,
    offline: bool,
) -> Result<(), Refusal> {
    let mut manifests: Vec<Manifest> = Vec::new();
    for name in models {
        manifests.extend(inputs.model_manifest(name).map_err(from_fetch)?);
    }
    for name in corpora {
        manifests.extend(inputs.corpus_manifest(name).map_err(from_fetch)?);
    }
    for name in tasks {
        manifests.extend(inputs.task_manifest(name).map_err(from_fetch)?);
    }
    manifests.dedup_by(|a, b| a.name == b.name && a.holds == b.holds);
    let mut absent = Vec::new();
    for manifest in &manifests {
        if inputs.absent(manifest).map_err(from_fetch)? && !absent.contains(&manifest) {
            absent.push(manifest);
        }
    }
    if !offline {
        consent(&absent, yes)?;
    }
    let options = Options { offline, ..Options::from_environment() };
    absent.into_iter().try_for_each(|manifest| bring(inputs, manifest, &options).map(|_| ()))
}

/// A fetch error with its own exit code.
pub fn from_fetch(error: FetchError) -> Refusal {
    Refusal { code: error.exit_code(), message: error.to_string() }
}

struct Shown {
    progress: Progress,
    step: String,
    last: Instant,
}

impl FetchProgress for Shown {
    fn step(&mut self, text: &str) {
        text.clone_into(&mut self.step);
        self.progress.update(text, 0, 1);
    }

    fn bytes(&mut self, done: u64, total: Option<u64>) {
        if self.last.elapsed() > Duration::from_millis(100) {
            self.last = Instant::now();
            self.progress.update_beside(&self.step.clone(), "MiB", done >> 20, total.unwrap_or(done) >> 20);
        }
    }

    fn cancelled(&self) -> bool {
        interrupt::asked()
    }
}

/// Opens the inputs of this environment.
pub fn inputs() -> Result<Inputs, Refusal> {
    Inputs::from_environment()
        .map_err(from_fetch)
        .or_else(|refusal| Err::<Inputs, _>(refusal.message).or_exit(BAD_INPUT))
}
