//! What the end-to-end tests share: the program, folders, and the real assets.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program, run from the repository, without colours and with nobody at the terminal.
pub fn harness(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command
        .args(arguments)
        .current_dir(root())
        .env("NO_COLOR", "1")
        .env_remove("HARNESS_CACHE")
        .stdin(std::process::Stdio::null());
    command
}

/// What a run of the program gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The last line on standard error, which gives the reason.
    pub fn reason(&self) -> &str {
        self.err.lines().last().unwrap_or_default()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Ran {
    harness(arguments).output().unwrap().into()
}

/// Whether the tests on real models are asked for; a missing asset then fails.
pub fn real() -> bool {
    std::env::var_os("HARNESS_TEST_REAL").is_some_and(|value| value == "1")
}

/// A folder that goes away with the test.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Reads a committed reference.
pub fn reference(name: &str) -> serde_json::Value {
    let path: PathBuf = root().join("tests/reference").join(name);
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}

/// Compares what `inspect` and `score` print with what is kept below `tests/inspect`; `HARNESS_BLESS=1` keeps it.
pub fn compare(name: &str, printed: &str) {
    let golden = root().join("tests/inspect").join(name);
    if std::env::var_os("HARNESS_BLESS").is_some() {
        std::fs::write(&golden, printed).unwrap();
    }
    let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(printed, wanted, "{name}; HARNESS_BLESS=1 accepts what is printed");
}
