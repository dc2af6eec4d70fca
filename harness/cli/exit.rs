//! Exit codes, and the way a verb says why it stopped.

use std::fmt::Display;

/// Everything was done.
pub const DONE: u8 = 0;
/// An unexpected internal error.
pub const INTERNAL: u8 = 1;
/// Bad suite or command line; nothing ran.
pub const BAD_INPUT: u8 = 2;
/// Some cells failed.
pub const CELLS_FAILED: u8 = 3;
/// Nothing was selected.
pub const NOTHING_SELECTED: u8 = 4;
/// An input is missing or does not have its hash.
pub const INPUT_MISSING: u8 = 5;
/// An expectation does not hold, or a report is not what its rows give.
pub const GATE_VIOLATED: u8 = 10;
/// A gate could not be decided.
pub const GATE_UNDECIDED: u8 = 11;
/// Results could not be written.
pub const NOT_WRITTEN: u8 = 110;
/// The reader of standard output went away.
pub const PIPE_CLOSED: u8 = 141;
/// Interrupted; run again to go on.
pub const INTERRUPTED: u8 = 130;

/// Why a verb stopped.
#[derive(Debug)]
pub struct Refusal {
    /// Exit code.
    pub code: u8,
    /// The reason, the last thing printed on standard error.
    pub message: String,
}

/// What a verb returns: its exit code, or why it stopped.
pub type Outcome = Result<u8, Refusal>;

/// Attaches an exit code to any error.
pub trait OrExit<T> {
    /// Turns an error into a refusal with this exit code.
    fn or_exit(self, code: u8) -> Result<T, Refusal>;
}

impl<T, E: Display> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: u8) -> Result<T, Refusal> {
        self.map_err(|error| Refusal { code, message: error.to_string() })
    }
}

/// A refusal from a message.
pub fn refuse<T>(code: u8, message: impl Display) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.to_string() })
}
