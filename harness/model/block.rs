//! One block part by part, as far as it is asked for.

use std::ops::Range;

use candle_core::Tensor;

use crate::cache::Past;
use crate::config::Projection;
use crate::decoder::{Decoder, Tap, kept};
use crate::error::{Context, ModelError};
use crate::linear::forward_together;
use crate::ops;
use crate::tensor::with_values;

/// Shows the inputs of some maps to the tap, where there is one.
fn see(
    tap: &mut Option<&mut dyn Tap>,
    layer: usize,
    projections: &[Projection],
    x: &Tensor,
) -> candle_core::Result<()> {
    if let Some(tap) = tap.as_deref_mut() {
        with_values(x, |x| projections.iter().for_each(|p| tap.linear_input(layer, *p, x)))?;
    }
    Ok(())
}

impl Decoder {
    /// What attention adds to `hidden`: normalised, attended, mapped.
    pub(crate) fn attention_part(
        &self,
        layer: usize,
        hidden: &Tensor,
        past: Past<'_>,
        keep: Option<Range<usize>>,
        tap: &mut Option<&mut dyn Tap>,
    ) -> Result<Tensor, ModelError> {
        let attended = self.attended(layer, hidden, past, keep, tap)?;
        let map = self.block_at(layer)?.map(Projection::O)?;
        map.forward(&attended).doing(|| format!("attention of block {layer}"))
    }

    /// What enters the output map of attention.
    fn attended(
        &self,
        layer: usize,
        hidden: &Tensor,
        past: Past<'_>,
        keep: Option<Range<usize>>,
        tap: &mut Option<&mut dyn Tap>,
    ) -> Result<Tensor, ModelError> {
        let block = self.block_at(layer)?;
        let doing = || format!("attention of block {layer}");
        let normal = self.attention_input(layer, hidden, tap)?;
        let maps = [block.map(Projection::Q)?, block.map(Projection::K)?, block.map(Projection::V)?];
        let [q, k, v] = forward_together(maps, &normal).doing(doing)?;
        let mut attended = self.attend(layer, q, k, &v, past)?;
        if let Some(keep) = keep {
            attended = kept(&attended, keep).doing(doing)?;
        }
        see(tap, layer, &[Projection::O], &attended).doing(doing)?;
        Ok(attended)
    }

    /// What enters the maps to queries, keys and values.
    fn attention_input(
        &self,
        layer: usize,
        hidden: &Tensor,
        tap: &mut Option<&mut dyn Tap>,
    ) -> Result<Tensor, ModelError> {
        let doing = || format!("attention of block {layer}");
        let norm = &self.block_at(layer)?.attention_norm;
        let normal = self.reads(layer).attention.normalised(norm, hidden).doing(doing)?;
        see(tap, layer, &[Projection::Q, Projection::K, Projection::V], &normal).doing(doing)?;
        Ok(normal)
    }

    /// What the feed-forward part adds to `hidden`.
    pub(crate) fn feed_forward_part(
        &self,
        layer: usize,
        hidden: &Tensor,
        tap: &mut Option<&mut dyn Tap>,
    ) -> Result<Tensor, ModelError> {
        let inner = self.activated(layer, hidden, tap)?;
        let map = self.block_at(layer)?.map(Projection::Down)?;
        map.forward(&inner).doing(|| format!("feed-forward part of block {layer}"))
    }

    /// What enters the contraction of the feed-forward part.
    fn activated(&self, layer: usize, hidden: &Tensor, tap: &mut Option<&mut dyn Tap>) -> Result<Tensor, ModelError> {
        let block = self.block_at(layer)?;
        let doing = || format!("feed-forward part of block {layer}");
        let normal = self.feed_forward_input(layer, hidden, tap)?;
        let up = block.map(Projection::Up)?;
        let inner = if self.config.gated {
            let [gate, up] = forward_together([block.map(Projection::Gate)?, up], &normal).doing(doing)?;
            ops::activate(self.config.activation, &gate, Some(&up)).doing(doing)?
        } else {
            ops::activate(self.config.activation, &up.forward(&normal).doing(doing)?, None).doing(doing)?
        };
        see(tap, layer, &[Projection::Down], &inner).doing(doing)?;
        Ok(inner)
    }

    /// What enters the expansion of the feed-forward part, and its gate.
    fn feed_forward_input(
        &self,
        layer: usize,
        hidden: &Tensor,
        tap: &mut Option<&mut dyn Tap>,
    ) -> Result<Tensor, ModelError> {
        let doing = || format!("feed-forward part of block {layer}");
        let norm = &self.block_at(layer)?.feed_forward_norm;
        let normal = self.reads(layer).feed_forward.normalised(norm, hidden).doing(doing)?;
        let maps: &[Projection] =
            if self.config.gated { &[Projection::Gate, Projection::Up] } else { &[Projection::Up] };
        see(tap, layer, maps, &normal).doing(doing)?;
        Ok(normal)
    }

    /// Shows the inputs of the maps of one block up to `last` over `hidden (batch, sequence, hidden)`, whose sequences start at
    /// position 0; what nobody sees is not computed. Those are the inputs that [`Self::block`] shows.
    ///
    /// # Errors
    /// Those of [`Self::block`].
    pub fn show_inputs(
        &self,
        layer: usize,
        hidden: &Tensor,
        last: Projection,
        tap: &mut dyn Tap,
    ) -> Result<(), ModelError> {
        let mut tap = Some(tap);
        if last <= Projection::V {
            return self.attention_input(layer, hidden, &mut tap).map(drop);
        }
        let attended = self.attended(layer, hidden, Past::Nothing, None, &mut tap)?;
        if last == Projection::O {
            return Ok(());
        }
        let doing = || format!("attention of block {layer}");
        let added = self.block_at(layer)?.map(Projection::O)?.forward(&attended).doing(doing)?;
        let hidden = ops::add(&self.passing(layer, 0, hidden.clone())?, &added).doing(doing)?;
        if last <= Projection::Up {
            return self.feed_forward_input(layer, &hidden, &mut tap).map(drop);
        }
        self.activated(layer, &hidden, &mut tap).map(drop)
    }

    /// What the attention of one block adds to `hidden (batch, sequence, hidden)`, whose sequences start at position 0.
    ///
    /// # Errors
    /// Those of [`Decoder::block`].
    pub fn attention_of(&self, layer: usize, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.attention_part(layer, hidden, Past::Nothing, None, &mut None)
    }

    /// What the feed-forward part of one block adds to `hidden`, which attention has been added to.
    ///
    /// # Errors
    /// Those of [`Decoder::block`].
    pub fn feed_forward_of(&self, layer: usize, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.feed_forward_part(layer, hidden, &mut None)
    }
}
