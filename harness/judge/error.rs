//! What can go wrong with a metric.

/// Why a metric could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JudgeError {
    /// Nothing to measure.
    #[error("{what}: there is nothing to measure; give at least one")]
    Empty {
        /// What is empty.
        what: &'static str,
    },
    /// Fewer items than the metric is defined for.
    #[error("{what}: {found} given, at least {least} needed; {advice}")]
    TooFew {
        /// What there is too little of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are needed.
        least: usize,
        /// What to do.
        advice: &'static str,
    },
    /// Two things that must be equally long are not.
    #[error("{what}: length {found}, but {expected} expected")]
    Length {
        /// What has the wrong length.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A parameter outside its range.
    #[error("parameter `{name}` is {value}; it must be {allowed}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A value that no such quantity can have.
    #[error("{what} at index {index} is {value}; it must be {allowed}")]
    Value {
        /// What the value stands for.
        what: &'static str,
        /// Its place, from 0.
        index: usize,
        /// The value.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Probabilities that do not sum to one.
    #[error("{what} sums to {sum}; probabilities must sum to 1 within 1e-6")]
    Sum {
        /// What the values stand for.
        what: &'static str,
        /// Their sum.
        sum: f64,
    },
    /// An embedding of length zero has no direction.
    #[error("{what}: row {row} is all zeros and has no direction; leave out the text or embed it differently")]
    ZeroNorm {
        /// What the rows stand for.
        what: &'static str,
        /// The row, from 0.
        row: usize,
    },
    /// A token of probability zero, which makes the perplexity infinite.
    #[error(
        "the token at position {position} has probability 0, so the perplexity is infinite; \
         score without truncation, or ask for infinite values"
    )]
    InfiniteNll {
        /// Its position, from 0.
        position: usize,
    },
}

/// The refusal of a parameter.
pub(crate) fn parameter(name: &'static str, value: impl ToString, allowed: impl Into<String>) -> JudgeError {
    JudgeError::Parameter { name, value: value.to_string(), allowed: allowed.into() }
}

/// Refuses what is not longer than nothing.
pub(crate) fn not_empty<T>(what: &'static str, items: &[T]) -> Result<(), JudgeError> {
    if items.is_empty() { Err(JudgeError::Empty { what }) } else { Ok(()) }
}

/// Refuses two lengths that differ.
pub(crate) fn same_length(what: &'static str, found: usize, expected: usize) -> Result<(), JudgeError> {
    if found == expected { Ok(()) } else { Err(JudgeError::Length { what, found, expected }) }
}

/// Refuses values that are no distribution: negative, not finite, or not summing to one within 1e-6.
pub(crate) fn distribution(what: &'static str, values: &[f64]) -> Result<(), JudgeError> {
    not_empty(what, values)?;
    if let Some((index, &value)) = values.iter().enumerate().find(|(_, value)| !(value.is_finite() && **value >= 0.0)) {
        return Err(JudgeError::Value { what, index, value, allowed: "a finite probability, 0 or more" });
    }
    let sum: f64 = values.iter().sum();
    if (sum - 1.0).abs() > 1e-6 { Err(JudgeError::Sum { what, sum }) } else { Ok(()) }
}
