//! Names that something outside the suite must know: models, corpora, tasks.

/// Why a name cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFault {
    /// What is wrong, one line.
    pub message: String,
    /// What to do: the nearest good name, or all of them.
    pub help: Option<String>,
}

/// Knows which names a suite may load.
pub trait Names {
    /// Checks a name. `key` says what it names: `model` for an arm of the model axis, else the key of the table
    /// parameter that labels it (`corpus`, `task`).
    ///
    /// # Errors
    /// A [`NameFault`] when there is no such thing.
    fn check(&self, key: &str, value: &str) -> Result<(), NameFault>;
}

/// Takes every name; for checks without a data folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyName;

impl Names for AnyName {
    fn check(&self, _: &str, _: &str) -> Result<(), NameFault> {
        Ok(())
    }
}
