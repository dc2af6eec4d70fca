//! `harness completions` and `harness man`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::exit::{DONE, NOT_WRITTEN, OrExit, Outcome};

/// Print a shell's completion script.
#[derive(Args)]
#[command(after_help = "Example:\n  harness completions bash > ~/.local/share/bash-completion/completions/harness")]
pub struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Print the manual page.
#[derive(Args)]
#[command(after_help = "Example:\n  harness man > ~/.local/share/man/man1/harness.1")]
pub struct ManArguments {}

pub fn main(arguments: &Arguments) -> Outcome {
    clap_complete::generate(arguments.shell, &mut crate::Cli::command(), "harness", &mut std::io::stdout());
    Ok(DONE)
}

pub fn man(_: &ManArguments) -> Outcome {
    clap_mangen::Man::new(crate::Cli::command()).render(&mut std::io::stdout()).or_exit(NOT_WRITTEN)?;
    Ok(DONE)
}
