//! `harness schema`.

use clap::Args;
use harness_run::fetch::Holds;

use crate::exit::{DONE, INTERNAL, OrExit, Outcome};

/// Print the JSON schema of suite files, for editors.
#[derive(Args)]
#[command(after_help = "Example:\n  harness schema > suites/suite.schema.json")]
pub struct Arguments {}

pub fn main(_: &Arguments) -> Outcome {
    let inputs = crate::fetch::inputs()?;
    let schema = harness_suite::schema(&harness_run::catalog(), inputs.catalog.names(Holds::Model));
    println!("{}", serde_json::to_string_pretty(&schema).or_exit(INTERNAL)?);
    Ok(DONE)
}
