//! What methods that make blocks narrower ask of a model.

use harness_methods::block::Map;
use harness_methods::prune::Needs;
use harness_methods::shrink::{OfMap, Samples, ShrinkError, Turning};
use harness_methods::statistics::LinearStatistics;
use harness_methods::width::units::{Fit, Inner, Narrow};
use harness_model::config::{Projection, Width};
use harness_model::decoder::Tap;
use harness_model::narrow;
use harness_model::tensor::{Tensor, with_values};

use super::{Walked, failed, pass};

/// What is left of blocks as the model's own crate names it.
pub(super) fn narrow(widths: &[Narrow]) -> Vec<narrow::Narrow> {
    let fit = |fit: &Fit| narrow::Fit { weight: fit.weight.clone(), bias: fit.bias.clone() };
    let of = |narrow: &Narrow| narrow::Narrow {
        groups: narrow.groups.clone(),
        channels: narrow.channels.clone(),
        output: fit(&narrow.output),
        down: fit(&narrow.down),
    };
    widths.iter().map(of).collect()
}

/// The map that a projection is.
pub(super) fn map_of(projection: Projection) -> Map {
    Map::ALL[projection as usize]
}

/// Shows what enters some maps.
struct Shown<'a> {
    maps: &'a [Map],
    seen: &'a mut dyn FnMut(usize, Map, &[f32]),
}

impl Tap for Shown<'_> {
    fn linear_input(&mut self, layer: usize, projection: Projection, x: &[f32]) {
        let map = map_of(projection);
        if self.maps.contains(&map) {
            (self.seen)(layer, map, x);
        }
    }
}

impl Walked<'_> {
    pub(super) fn inner_of(&self, block: usize) -> Inner {
        let config = self.decoder.config();
        let Width { heads, kv_heads, intermediate_size } = config.width(block);
        let (head_dim, gated) = (config.head_dim, config.gated);
        Inner { groups: kv_heads, shared: heads / kv_heads.max(1), head_dim, channels: intermediate_size, gated }
    }

    pub(super) fn matrix_of(&self, block: usize, map: Map) -> Option<Vec<f32>> {
        Some(self.decoder.linear(block, Projection::ALL[map as usize])?.weight().to_f32())
    }

    pub(super) fn show_inputs(
        &self,
        samples: Samples,
        maps: &[Map],
        seen: &mut dyn FnMut(usize, Map, &[f32]),
    ) -> Result<(), ShrinkError> {
        let mut shown = Shown { maps, seen };
        for window in self.cut_text(samples, 1)? {
            let mut hidden = self.decoder.embed(&[&window]).map_err(pass)?;
            for layer in 0..self.decoder.config().layers {
                hidden = self.decoder.block(layer, &hidden, Some(&mut shown)).map_err(pass)?;
            }
        }
        Ok(())
    }

    pub(super) fn show_gradients(&self, samples: Samples, seen: &mut dyn FnMut(OfMap<'_>)) -> Result<(), ShrinkError> {
        let windows = self.cut_text(samples, 2)?;
        let names: std::collections::BTreeMap<String, (usize, Map)> = (0..self.decoder.config().layers)
            .flat_map(|layer| Projection::ALL.map(|projection| (projection.tensor(layer), (layer, map_of(projection)))))
            .collect();
        let mut visit = |window: usize, name: &str, _: usize, gradient: &[f32]| {
            if let Some((layer, map)) = names.get(name) {
                seen((window, *layer, *map, gradient));
            }
        };
        self.decoder.each_gradient(&windows, &mut visit).map_err(pass)
    }

    pub(super) fn turn_stream(&self, samples: Samples, turn: Turning<'_>) -> Result<(), ShrinkError> {
        let windows = self.cut_text(samples, 1)?;
        let width = self.decoder.config().hidden_size;
        let embed = |window: &Vec<u32>| self.decoder.embed(&[window]).map_err(pass);
        let mut hidden = windows.iter().map(embed).collect::<Result<Vec<Tensor>, ShrinkError>>()?;
        let places = 2 * self.decoder.config().layers;
        for place in 0..=places {
            let mut statistics = LinearStatistics::new(width, Needs::SECOND_MOMENT);
            for states in &hidden {
                let added = with_values(states, |values| statistics.add(values)).map_err(failed)?;
                let what = "what stands in the residual stream";
                added.map_err(|_| ShrinkError::NotFinite { what, block: place / 2 })?;
            }
            let rows = turn(place, statistics.second_moment().unwrap_or_default())?;
            let left = rows.len() / width;
            let rotation = Tensor::from_vec(rows, (left, width), hidden[0].device()).map_err(failed)?;
            let cut = |states: &Tensor| {
                let flat = states.flatten_to(1)?;
                flat.matmul(&rotation.t()?)?.matmul(&rotation)?.reshape(states.shape())
            };
            for states in &mut hidden {
                let stream = cut(states).map_err(failed)?;
                if place < places {
                    let layer = place / 2;
                    let part = if place % 2 == 0 {
                        self.decoder.attention_of(layer, &stream)
                    } else {
                        self.decoder.feed_forward_of(layer, &stream)
                    };
                    *states = (stream + part.map_err(pass)?).map_err(failed)?;
                }
            }
        }
        Ok(())
    }
}
