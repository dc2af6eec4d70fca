//! Axes that work on attention, and decoders without it.

use harness_core::{Arm, Axis};
use harness_model::decoder::Decoder;

/// Why an arm cannot be applied to a decoder of state spaces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{arm}` of the axis `{axis}` cannot be applied to a decoder of state spaces, which has no {lacks}; leave `{axis}` out, or name a model with attention"
)]
pub struct WithoutAttention {
    /// The axis.
    pub axis: Axis,
    /// The arm as it is printed.
    pub arm: String,
    /// What it would work on.
    pub lacks: &'static str,
}

/// Refuses the first of some arms that does something to what a decoder does not have. Positions and caches refuse by themselves, where
/// they are given to the decoder.
///
/// # Errors
/// [`WithoutAttention`].
pub fn refuse_without_attention(decoder: &Decoder, arms: &[(Axis, &Arm)]) -> Result<(), WithoutAttention> {
    if !decoder.has_states() {
        return Ok(());
    }
    let Some((axis, arm)) = arms.iter().find(|(_, arm)| arm.id != "none") else { return Ok(()) };
    let lacks = match axis {
        Axis::Shrink => "blocks of attention and a feed-forward part to leave out",
        _ => "linear maps of attention and of a feed-forward part",
    };
    Err(WithoutAttention { axis: *axis, arm: arm.to_string(), lacks })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::position::decoder_of;
    use harness_model::load::load;

    #[test]
    fn arms_that_work_on_attention_are_refused_by_name() {
        let open = |name: &str| {
            let folder = format!("{}/../../datasets/models/{name}", env!("CARGO_MANIFEST_DIR"));
            decoder_of(&load(folder.as_ref()).unwrap()).unwrap()
        };
        let (none, wanda): (Arm, Arm) = ("none".parse().unwrap(), "wanda".parse().unwrap());
        let arms = [(Axis::Shrink, &none), (Axis::Prune, &wanda)];
        assert_eq!(refuse_without_attention(&open("tiny-100k"), &arms), Ok(()));
        let states = open("tiny-300k-states");
        assert_eq!(refuse_without_attention(&states, &arms[..1]), Ok(()));
        assert_eq!(
            refuse_without_attention(&states, &arms).unwrap_err().to_string(),
            "`wanda` of the axis `prune` cannot be applied to a decoder of state spaces, which has no linear maps of attention and of a feed-forward part; leave `prune` out, or name a model with attention"
        );
    }
}
