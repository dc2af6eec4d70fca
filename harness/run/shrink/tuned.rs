//! The model that a method trains and cuts, beside the one that everything is measured on.

use harness_methods::shrink::{Penalty, Samples, ShrinkError, Training};
use harness_methods::width::units::Narrow;
use harness_model::train::MapGradient;

use super::inner::{map_of, narrow};
use super::{Walked, failed, pass, summed_loss};

impl Walked<'_> {
    /// Trains what was trained so far; its numbers are kept in f32.
    pub(super) fn tune(
        &mut self,
        training: &Training,
        draw: &mut dyn FnMut() -> f64,
        penalty: Penalty<'_>,
    ) -> Result<Vec<f64>, ShrinkError> {
        let windows = self.cut_text(Samples::ALL, 2)?;
        let mut tuner = self.tuned().tuner(training.rate).map_err(pass)?;
        if let Some(rank) = training.rank {
            tuner = tuner.with_factors(rank, draw);
        }
        let mut change = |block: usize, maps: &mut [MapGradient<'_>]| {
            let named = maps
                .iter_mut()
                .map(|(projection, weights, gradients)| (map_of(*projection), &**weights, &mut **gradients));
            penalty(block, &mut named.collect::<Vec<_>>());
        };
        let mut losses = Vec::with_capacity(training.steps);
        let mut turn = windows.iter().cycle().skip(self.turned % windows.len());
        for step in 0..training.steps {
            let batch: Vec<Vec<u32>> = turn.by_ref().take(training.batch).cloned().collect();
            let loss = tuner.step(&batch, &mut change).map_err(pass)?;
            if !loss.is_finite() {
                return Err(ShrinkError::Diverged { step });
            }
            losses.push(loss);
            let (before, total) = training.told;
            if let Some(tell) = &mut self.tell {
                tell(before + step + 1, total);
            }
        }
        self.turned += training.steps * training.batch;
        self.tuned = Some(tuner.into_decoder().map_err(pass)?);
        Ok(losses)
    }

    pub(super) fn cut_tuned(&mut self, widths: &[Narrow]) -> Result<(), ShrinkError> {
        self.tuned = Some(self.tuned().narrowed(&narrow(widths)).map_err(pass)?);
        Ok(())
    }

    pub(super) fn tuned_loss(&self) -> Result<f64, ShrinkError> {
        let (decoder, vocabulary) = (self.tuned(), self.decoder.config().vocab_size);
        let (mut sum, mut tokens, mut logits) = (0.0, 0, Vec::new());
        for window in self.cut_text(Samples::ALL, 2)? {
            let rows = window.len() - 1;
            let hidden = decoder.hidden(&[&window[..rows]]).map_err(pass)?.flatten_to(1).map_err(failed)?;
            decoder.logits_into(&hidden, 0..rows, &mut logits).map_err(pass)?;
            sum += summed_loss(&logits, vocabulary, &window[1..]);
            tokens += rows;
        }
        Ok(sum / tokens as f64)
    }
}
