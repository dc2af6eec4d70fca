//! What a checkpoint itself does to its rotary frequencies.
//!
//! It is kept as an arm of the axis of positions, which this crate does not know: whoever makes a decoder of such a checkpoint
//! gives it the rotary embeddings that the arm asks for ([`crate::decoder::Decoder::from_checkpoint_with`]). Here stand the names that
//! Hugging Face's `config.json` has for the arms and their parameters.

use harness_core::{Arm, Value};
use serde::{Deserialize, Serialize};

/// What a checkpoint itself does to its rotary frequencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// The method of the axis of positions that does the same, `yarn(factor=4)`. It sets no `trained`.
    #[serde(with = "written")]
    pub arm: Arm,
    /// Positions the model was trained at before it was extended, where the checkpoint states them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained: Option<usize>,
    /// Width of the net that moves the frequencies, where the checkpoint carries one: `model.rotary.up.weight (width, pairs)` and
    /// `model.rotary.down.weight (pairs, width)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<usize>,
}

/// An arm as suites write it.
mod written {
    use harness_core::Arm;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(arm: &Arm, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(arm)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arm, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What Hugging Face calls a method.
#[derive(Debug)]
pub(crate) struct Kind {
    /// `rope_type`.
    pub name: &'static str,
    /// The method's id.
    pub method: &'static str,
    /// Parameter, key, and whether a file has to state it.
    pub keys: &'static [(&'static str, &'static str, bool)],
    /// Whether a file has to state the length of the training.
    pub original: bool,
}

/// All kinds that are read and written. `dynamic` goes by `max_position_embeddings`.
pub(crate) const KINDS: [Kind; 5] = [
    Kind { name: "linear", method: "linear", keys: &[("factor", "factor", true)], original: false },
    Kind { name: "dynamic", method: "dynamic-ntk", keys: &[("factor", "factor", true)], original: false },
    Kind {
        name: "yarn",
        method: "yarn",
        keys: &[
            ("factor", "factor", false),
            ("fast", "beta_fast", false),
            ("slow", "beta_slow", false),
            ("attention_factor", "attention_factor", false),
        ],
        original: true,
    },
    Kind {
        name: "llama3",
        method: "llama3",
        keys: &[("factor", "factor", true), ("low", "low_freq_factor", true), ("high", "high_freq_factor", true)],
        original: true,
    },
    Kind {
        name: "longrope",
        method: "longrope",
        keys: &[
            ("factor", "factor", false),
            ("short", "short_factor", true),
            ("long", "long_factor", true),
            ("attention_factor", "attention_factor", false),
        ],
        original: true,
    },
];

impl Scaling {
    /// What Hugging Face calls the arm, where it has words for the arm and all its parameters.
    pub(crate) fn kind(&self) -> Option<&'static Kind> {
        let kind = KINDS.iter().find(|kind| kind.method == self.arm.id && self.net.is_none())?;
        let known = |name: &str| kind.keys.iter().any(|(parameter, _, _)| *parameter == name);
        let stated = kind.keys.iter().all(|(parameter, _, required)| !required || self.arm.get(parameter).is_some());
        (stated && self.arm.parameters.iter().all(|(name, _)| known(name))).then_some(kind)
    }
}

/// A number as arms write it.
pub(crate) fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { Value::Int(value as i64) } else { Value::Float(value) }
}
