//! `harness check`.

use clap::Args;

use crate::exit::{DONE, Outcome};
use crate::suite::SuiteArguments;

/// Read a suite and say everything that is wrong with it.
#[derive(Args)]
#[command(after_help = "Example:\n  harness check suites/pruning.toml")]
pub struct Arguments {
    #[command(flatten)]
    suite: SuiteArguments,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let inputs = crate::fetch::inputs()?;
    let opened = arguments.suite.open(&inputs)?;
    let plan = arguments.suite.plan(&opened.suite)?;
    println!(
        "{}: {} benches, {} cells, no errors",
        opened.suite.source_path,
        opened.suite.benches.len(),
        plan.cells().len()
    );
    Ok(DONE)
}
