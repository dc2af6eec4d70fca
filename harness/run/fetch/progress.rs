//! How a long fetch tells its caller what it does, without knowing whether that is a terminal.

/// Receives steps and byte counts of a fetch, and may stop it.
pub trait Progress {
    /// A new step begins; `text` says which.
    fn step(&mut self, text: &str);

    /// The current step has handled `done` bytes, of `total` where that is known.
    fn bytes(&mut self, done: u64, total: Option<u64>);

    /// Whether the user wants to stop; asked several times a second.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Says nothing and never stops.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _text: &str) {}

    fn bytes(&mut self, _done: u64, _total: Option<u64>) {}
}
