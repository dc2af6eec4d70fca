//! Attention heads whose gates the loss depends on least go, of all blocks together.
//!
//! With `A_t` what a head hands to the output map at token `t` and `ξ` a gate on it, a head is worth
//! `I = mean_n |∂L_n/∂ξ| = mean_n |Σ_t A_t · ∂L_n/∂A_t|` over windows `n`: added up within a window before the size is taken, so that what
//! pulls in both directions counts for nothing. A gate scales a head's columns of the output map alike, so that `∂L/∂ξ = Σ W ∘ ∂L/∂W` over
//! those. `normalise` divides by the root of the sum of squares over the heads of a block.
//!
//! Source: Michel, Levy, Neubig, Are Sixteen Heads Really Better than One?, NeurIPS 2019, and its code.
//!
//! # Difference from the reference
//! Where several query heads read one key-value head they share a gate and go with it. The worth of heads is that in the whole model; the
//! code can measure it anew behind every tenth of them. Of every block the best stays, as by default there.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::block::Map;
use crate::registry::Method;
use crate::shrink::{Samples, Shorter, Shrink, ShrinkError, Stack};
use crate::width::units::{Narrow, stay_of_all};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the key-value heads of the model, each with its query heads, that goes, rounded down.
        ratio: f64 = 0.25, Domain::half_open(0.0, 1.0);
        /// Whether the worth of a head is taken against that of the others of its block.
        normalise: bool = true;
        /// Calibration windows that are looked at, at most.
        samples: usize = 10, Domain::closed(1.0, 65536.0);
        /// Tokens of each that are, at most.
        tokens: usize = 128, Domain::closed(2.0, 65536.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "head-importance",
        axis: Axis::Shrink,
        about: "removes the attention heads whose gates the loss depends on least, of all blocks together",
        source: "Michel, Levy, Neubig: Are Sixteen Heads Really Better than One?, NeurIPS 2019, and its code",
        version: 1,
        calibrated: true,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    Ok(Method::Shrink(Box::new(HeadImportance(Settings::resolve(arm)?))))
}

#[derive(Debug)]
struct HeadImportance(Settings);

/// Derivatives of the loss by gates on groups of heads, each so many columns of an output map (row-major), from its gradient.
fn by_gates(weight: &[f32], gradient: &[f32], groups: usize, width: usize) -> Vec<f64> {
    let mut gates = vec![0.0; groups];
    let rows = weight.chunks_exact(groups * width).zip(gradient.chunks_exact(groups * width));
    for (weight, gradient) in rows {
        let of = weight.chunks_exact(width).zip(gradient.chunks_exact(width));
        for (gate, (weight, gradient)) in gates.iter_mut().zip(of) {
            *gate += weight.iter().zip(gradient).map(|(w, g)| f64::from(*w) * f64::from(*g)).sum::<f64>();
        }
    }
    gates
}

impl HeadImportance {
    /// The worth of every group of heads, block by block.
    fn worths(&self, model: &mut dyn Stack) -> Result<Vec<Vec<f64>>, ShrinkError> {
        let Settings { normalise, samples, tokens, .. } = self.0;
        let blocks = model.blocks();
        let mut worths: Vec<Vec<f64>> = (0..blocks).map(|block| vec![0.0; model.inner(block).groups]).collect();
        let widths: Vec<usize> = (0..blocks).map(|block| model.inner(block).group_width()).collect();
        let weights = (0..blocks).map(|block| model.matrix(block, Map::O).map(Option::unwrap_or_default));
        let weights = weights.collect::<Result<Vec<_>, _>>()?;
        model.map_gradients(Samples { windows: samples, start: 0, tokens }, &mut |(_, block, map, gradient)| {
            if map == Map::O {
                let own = &mut worths[block];
                let gates = by_gates(&weights[block], gradient, own.len(), widths[block]);
                own.iter_mut().zip(gates).for_each(|(sum, gate)| *sum += gate.abs());
            }
        })?;
        if normalise {
            for own in &mut worths {
                let size = own.iter().map(|worth| worth * worth).sum::<f64>().sqrt();
                // Of a block whose heads do nothing all are worth nothing.
                own.iter_mut().filter(|_| size > 0.0).for_each(|worth| *worth /= size);
            }
        }
        Ok(worths)
    }
}

impl Shrink for HeadImportance {
    fn needs_text(&self) -> bool {
        true
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let blocks = model.blocks();
        let all: usize = (0..blocks).map(|block| model.inner(block).groups).sum();
        let (going, most) = ((self.0.ratio * all as f64).floor() as usize, all - blocks);
        if going > most {
            let allowed = format!("at most {most}, so that every block keeps one");
            return Err(ShrinkError::Fit { name: "key-value heads that go", value: going, allowed, blocks });
        }
        let left = stay_of_all(&self.worths(model)?, going, "the derivative by a gate")?;
        let narrow = |(block, groups)| Narrow::of(groups, (0..model.inner(block).channels).collect());
        Ok(Shorter::of_widths(left.into_iter().enumerate().map(narrow).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::by_gates;

    #[test]
    fn tokens_are_added_up_before_sizes_are_taken() {
        // What a head of two dimensions hands on and the gradient by it, two tokens of two windows; the output map is the identity.
        let windows = [
            ([[1.0, 2.0], [0.0, 1.0]], [[0.5, -0.5], [1.0, 1.0]]),
            ([[1.0, 0.0], [1.0, 1.0]], [[-1.0, 0.0], [0.5, 0.5]]),
        ];
        let derivative = |(handed, gradient): &([[f32; 2]; 2], [[f32; 2]; 2])| {
            let entry = |row: usize, column: usize| -> f32 { (0..2).map(|t| gradient[t][row] * handed[t][column]).sum() };
            let of_map = [entry(0, 0), entry(0, 1), entry(1, 0), entry(1, 1)];
            by_gates(&[1.0, 0.0, 0.0, 1.0], &of_map, 1, 2)[0]
        };
        let found = windows.each_ref().map(derivative);
        assert_eq!(found, [0.5, 0.0]);
        // The mean of the sizes is 0.25; with sizes taken of every entry it would be 2.25.
        assert_eq!(found.map(f64::abs).iter().sum::<f64>() / 2.0, 0.25);
    }

    #[test]
    fn heads_have_columns_of_their_own() {
        let (weight, gradient) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [1.0, 0.0, 1.0, 0.0, 0.0, -1.0, 0.0, 2.0]);
        assert_eq!(by_gates(&weight, &gradient, 2, 2), [1.0 - 6.0, 3.0 + 16.0]);
    }
}
