//! A model of numbers, for tests of methods that look at it.

use super::{Layer, OfMap, Penalty, Samples, ShrinkError, Stack, Training, Turning, WithGradient};
use crate::block::Map;
use crate::width::units::{Inner, Narrow};

/// Weights and gradients of every parameter of every block, and hidden states of every window and depth.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub width: usize,
    /// Of each block.
    pub weights: Vec<Vec<f32>>,
    /// Of each batch and block; what is shown is their mean.
    pub gradients: Vec<Vec<Vec<f64>>>,
    /// Of each window and depth.
    pub states: Vec<Vec<Vec<f32>>>,
    /// Without each block.
    pub losses: Vec<f64>,
    /// Of every block.
    pub inner: Inner,
    /// Matrices of each block, in the order of [`Map::ALL`].
    pub maps: Vec<[Vec<f32>; 7]>,
    /// Gradients of each window and block.
    pub map_gradients: Vec<Vec<[Vec<f32>; 7]>>,
    /// What enters the output map and the contraction of each block.
    pub inputs: Vec<[Vec<f32>; 2]>,
}

impl Stack for Table {
    fn blocks(&self) -> usize {
        self.weights.len()
    }

    fn width(&self) -> usize {
        self.width
    }

    fn weights(&mut self, block: usize, seen: &mut dyn FnMut(&[f32])) -> Result<(), ShrinkError> {
        seen(&self.weights[block]);
        Ok(())
    }

    fn gradients(&mut self, _: Samples, seen: &mut dyn FnMut(WithGradient<'_>)) -> Result<(), ShrinkError> {
        for (block, weights) in self.weights.iter().enumerate() {
            let mean = |at: usize| {
                self.gradients.iter().map(|batch| batch[block][at]).sum::<f64>() / self.gradients.len() as f64
            };
            let gradient: Vec<f64> = (0..weights.len()).map(mean).collect();
            seen((block, weights, &gradient));
        }
        Ok(())
    }

    fn states(&mut self, _: Samples, _: bool, seen: &mut dyn FnMut(&[Vec<f32>])) -> Result<(), ShrinkError> {
        self.states.iter().for_each(|states| seen(states));
        Ok(())
    }

    fn losses_without(&mut self, _: Samples) -> Result<Vec<f64>, ShrinkError> {
        Ok(self.losses.clone())
    }

    fn final_states(&mut self, layers: &[Layer], _: Samples) -> Result<Vec<Vec<f32>>, ShrinkError> {
        // As if every block added its own numbers.
        let mut state = vec![0.0_f64; self.width];
        for (block, factor) in layers.iter().flat_map(|layer| &layer.mix) {
            for (sum, value) in state.iter_mut().zip(&self.weights[*block]) {
                *sum += factor * f64::from(*value);
            }
        }
        Ok(vec![state.into_iter().map(|value| value as f32).collect()])
    }

    fn inner(&self, _: usize) -> Inner {
        self.inner
    }

    fn matrix(&mut self, block: usize, map: Map) -> Result<Option<Vec<f32>>, ShrinkError> {
        Ok(Some(self.maps[block][map as usize].clone()))
    }

    fn inputs(
        &mut self,
        _: Samples,
        maps: &[Map],
        seen: &mut dyn FnMut(usize, Map, &[f32]),
    ) -> Result<(), ShrinkError> {
        for (block, inputs) in self.inputs.iter().enumerate() {
            for map in maps {
                seen(block, *map, &inputs[usize::from(*map == Map::Down)]);
            }
        }
        Ok(())
    }

    fn map_gradients(&mut self, _: Samples, seen: &mut dyn FnMut(OfMap<'_>)) -> Result<(), ShrinkError> {
        for (window, blocks) in self.map_gradients.iter().enumerate() {
            for (block, maps) in blocks.iter().enumerate() {
                Map::ALL.into_iter().zip(maps).for_each(|(map, gradient)| seen((window, block, map, gradient)));
            }
        }
        Ok(())
    }

    fn divergence(&mut self, widths: &[Narrow], _: Samples) -> Result<f64, ShrinkError> {
        // As if every unit that goes cost one.
        let left = |narrow: &Narrow| narrow.groups.len() + narrow.channels.len();
        let all = widths.len() * (self.inner.groups + self.inner.channels);
        Ok((all - widths.iter().map(left).sum::<usize>()) as f64)
    }

    fn residuals(&mut self, _: Samples, _: Turning<'_>) -> Result<(), ShrinkError> {
        Err(ShrinkError::Pass("a table has no residual stream".to_owned()))
    }

    fn train(&mut self, _: &Training, _: &mut dyn FnMut() -> f64, _: Penalty<'_>) -> Result<Vec<f64>, ShrinkError> {
        Err(ShrinkError::Pass("a table is not trained".to_owned()))
    }

    fn cut(&mut self, _: &[Narrow]) -> Result<(), ShrinkError> {
        Err(ShrinkError::Pass("a table is not cut".to_owned()))
    }

    fn trained_loss(&mut self) -> Result<f64, ShrinkError> {
        Err(ShrinkError::Pass("a table reads no text".to_owned()))
    }

    fn tell(&mut self, _: usize, _: usize) {}
}
