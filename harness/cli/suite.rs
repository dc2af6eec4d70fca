//! What the verbs on suites share: reading, overrides, resolution, selection.

use std::path::{Path, PathBuf};

use clap::Args;
use harness_core::Catalog;
use harness_run::inputs::{Inputs, SELF};
use harness_suite::{NameFault, Names, Overrides, Plan, Selection, Suite};

use crate::exit::{BAD_INPUT, NOTHING_SELECTED, OrExit, Refusal, refuse};
use crate::terminal;

/// Which suite, and what is changed or left out of it.
#[derive(Args, Clone)]
pub struct SuiteArguments {
    /// The suite file.
    pub suite: PathBuf,
    /// Change a value: `bench.key=value`, with `bench` a bench's name or `*`; may be given several times.
    #[arg(long = "set", value_name = "BENCH.KEY=VALUE")]
    pub set: Vec<String>,
    /// Keep only cells whose printed form (`bench / model / arm / …`) holds this; `*` stands for anything, `=` in front
    /// asks for the whole form, `!` in front turns it round; may be given several times.
    #[arg(long = "filter", value_name = "TEXT")]
    pub filters: Vec<String>,
    /// Keep only the first cells.
    #[arg(long, value_name = "CELLS")]
    pub limit: Option<usize>,
    /// The first model and few windows only, to see whether everything works.
    #[arg(long)]
    pub quick: bool,
}

/// A resolved suite and its text.
pub struct Opened {
    pub text: String,
    pub suite: Suite,
    pub catalog: Catalog,
}

impl SuiteArguments {
    /// Reads and resolves the suite.
    pub fn open(&self, inputs: &Inputs) -> Result<Opened, Refusal> {
        let text = std::fs::read_to_string(&self.suite)
            .map_err(|error| {
                format!(
                    "cannot read the suite {}: {error}; `harness list suites` shows those here",
                    self.suite.display()
                )
            })
            .or_exit(BAD_INPUT)?;
        self.resolve(text, &self.suite, &KnownNames(inputs))
    }

    /// Resolves the text of a suite.
    pub fn resolve(&self, text: String, path: &Path, names: &dyn Names) -> Result<Opened, Refusal> {
        let catalog = harness_run::catalog();
        let overrides = Overrides { set: self.set.clone(), quick: self.quick };
        let path = path.display().to_string();
        match Suite::parse_with(&text, &path, &catalog, names, &overrides) {
            Ok(suite) => Ok(Opened { text, suite, catalog }),
            Err(diagnostics) => {
                eprint!("{}", diagnostics.render(terminal::colour()));
                let count = diagnostics.count();
                refuse(BAD_INPUT, format!("{path} has {count} error{}; nothing ran", if count == 1 { "" } else { "s" }))
            }
        }
    }

    /// Lays out the selected cells.
    pub fn plan(&self, suite: &Suite) -> Result<Plan, Refusal> {
        Plan::of(suite, &Selection { filters: self.filters.clone(), limit: self.limit }).or_exit(NOTHING_SELECTED)
    }
}

/// Names of models, corpora and tasks as the catalogue knows them.
pub struct KnownNames<'a>(pub &'a Inputs);

impl Names for KnownNames<'_> {
    fn check(&self, key: &str, value: &str) -> Result<(), NameFault> {
        let found = match key {
            "model" => self.0.catalog.model(value).map(|_| ()),
            "corpus" if value == SELF => Ok(()),
            "corpus" => self.0.catalog.corpus(value).map(|_| ()),
            "task" => self.0.catalog.task(value).map(|_| ()),
            _ => Ok(()),
        };
        found.map_err(|error| NameFault { message: error.to_string(), help: None })
    }
}
