//! `harness check`.

use clap::Args;

use crate::exit::{DONE, Outcome};
use crate::suite::SuiteArguments;
use crate::terminal::count;

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
        "{}: {}, {}, no errors",
        opened.suite.source_path,
        match opened.suite.benches.len() {
            1 => "1 bench".to_owned(),
            benches => format!("{benches} benches"),
        },
        count(plan.cells().len(), "cell")
    );
    Ok(DONE)
}
