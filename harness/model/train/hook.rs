//! What methods may do around a training step.

use std::collections::BTreeMap;

use super::adamw::Group;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepInfo {
    /// Steps done before this one.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
}

/// Sees and may change every step of a run. Values are by canonical tensor name, row-major. Every method does
/// nothing unless it is written; errors are one sentence for people.
pub trait Hook {
    /// The learning rate of the step, given the recipe's.
    fn learning_rate(&mut self, _at: StepInfo, rate: f64) -> f64 {
        rate
    }

    /// How a parameter is treated, given the recipe's group; asked once, when the run begins or goes on.
    fn group(&mut self, _name: &str, group: Group) -> Group {
        group
    }

    /// Before the forward pass: may change the weights.
    ///
    /// # Errors
    /// Why the run must stop.
    fn before_step(&mut self, _at: StepInfo, _weights: &mut BTreeMap<String, Vec<f32>>) -> Result<(), String> {
        Ok(())
    }

    /// After the backward pass, before clipping: may change the gradients (masks).
    ///
    /// # Errors
    /// Why the run must stop.
    fn after_backward(
        &mut self,
        _at: StepInfo,
        _weights: &BTreeMap<String, Vec<f32>>,
        _gradients: &mut BTreeMap<String, Vec<f32>>,
    ) -> Result<(), String> {
        Ok(())
    }

    /// After the update: may change the weights (masks, projections).
    ///
    /// # Errors
    /// Why the run must stop.
    fn after_step(&mut self, _at: StepInfo, _weights: &mut BTreeMap<String, Vec<f32>>) -> Result<(), String> {
        Ok(())
    }
}
