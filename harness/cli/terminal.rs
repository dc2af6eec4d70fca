//! What a person sees while work goes on: one bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two plain lines of one step.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows steps and how far they are, on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    step: String,
    last: Instant,
}

impl Progress {
    /// A bar when standard error is a terminal, plain lines otherwise, nothing when `quiet`.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal || quiet).then(|| {
            let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
            let style = ProgressStyle::with_template("{msg:50!} {bar:30} {pos}/{len} {eta}");
            ProgressBar::with_draw_target(None, target)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, step: String::new(), last: Instant::now() }
    }

    /// The state of a step.
    pub fn update(&mut self, step: &str, done: u64, total: u64) {
        self.update_beside(step, "", done, total);
    }

    /// The state of a step, with a changing word beside its name.
    pub fn update_beside(&mut self, step: &str, beside: &str, done: u64, total: u64) {
        let changed = self.step != step;
        if changed {
            step.clone_into(&mut self.step);
        }
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(format!("{step} {beside}"));
            }
            None if changed || self.last.elapsed() >= PLAIN_EVERY => {
                self.last = Instant::now();
                eprintln!("{step} ({done}/{total}) {beside}");
            }
            None => {}
        }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `1 cell`, `2 cells`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Whether coloured text belongs on standard error.
pub fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Asks a yes-or-no question on a terminal; `None` where nobody can answer.
pub fn ask(question: &str) -> Option<bool> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return None;
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush().ok()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}
