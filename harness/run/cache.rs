//! The axis of what keys and values are kept as: arms, what they take, and benches that would not see it.

use std::collections::BTreeSet;

use harness_core::{Arm, Axis, Cell, Direction, MetricSpec, Observation, Probe};
use harness_methods::registry;
use harness_model::cache::CacheFormat;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;

use crate::catalog::Settings;
use crate::measure::Prepared;
use crate::metrics::{BASE, Metric, Seen, absent};

/// The metrics of this room, for which a window is read once.
pub(crate) const METRICS: [&str; 3] = ["cache_bytes", "cache_bits", "cache_keys"];

/// What the keys and values of a text take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFootprint {
    /// Bytes of all buffers, without the room to grow.
    pub bytes: usize,
    /// Numbers of the keys and values that the text has, or of the states that stand in their place.
    pub numbers: usize,
    /// Keys that each head holds.
    pub keys: usize,
}

impl CacheFootprint {
    /// Reads a text whose first `prompt` tokens are one, or all where that is 0, and weighs what is kept of it.
    ///
    /// # Errors
    /// The decoder's.
    pub fn of(decoder: &Decoder, tokens: &[u32], prompt: usize) -> Result<Self, ModelError> {
        let mut cache = decoder.new_cache();
        // Which keys are let go depends on where the prompt ends; codes do not.
        let prompt =
            if prompt > 0 && decoder.cache_format().evicts() { prompt.min(tokens.len()) } else { tokens.len() };
        decoder.logits_last(&tokens[..prompt], &mut cache)?;
        for token in &tokens[prompt..] {
            decoder.step(&[&[*token]], &mut cache, 1)?;
        }
        let keys_and_values = cache.len() * decoder.cache_elements();
        let numbers = cache.states().map_or(keys_and_values, |states| states.bytes() / size_of::<f32>());
        Ok(Self { bytes: cache.live_bytes(), numbers, keys: cache.held() })
    }
}

/// The metrics of what keys and values take.
pub(crate) fn metrics() -> Vec<Metric> {
    fn weighed(spec: &MetricSpec, seen: &Seen, value: fn(&CacheFootprint) -> f64) -> Observation {
        match &seen.cache {
            Some(footprint) => Observation::single(spec.id, value(footprint)),
            None => absent(spec, "no text was read"),
        }
    }
    vec![
        Metric {
            spec: MetricSpec {
                id: "cache_bytes",
                about: "bytes of the keys and values of one scored window as they are kept, with what is kept beside them; of the states in their place",
                unit: "bytes",
                direction: Direction::Lower,
                ..BASE
            },
            observe: |spec, seen| weighed(spec, seen, |footprint| footprint.bytes as f64),
        },
        Metric {
            spec: MetricSpec {
                id: "cache_bits",
                about: "bits a number of the keys and values of one scored window, with what is kept beside them",
                unit: "bits",
                direction: Direction::Lower,
                ..BASE
            },
            observe: |spec, seen| {
                weighed(spec, seen, |footprint| 8.0 * footprint.bytes as f64 / footprint.numbers.max(1) as f64)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "cache_keys",
                about: "keys that each head holds behind one scored window",
                unit: "keys",
                direction: Direction::Lower,
                ..BASE
            },
            observe: |spec, seen| weighed(spec, seen, |footprint| footprint.keys as f64),
        },
    ]
}

/// A prepared arm whose keys and values are kept as an arm of the cache axis says; its weights are shared.
pub(crate) fn kept(prepared: &Prepared, arm: &Arm) -> Result<Prepared, String> {
    let format = registry::cache(arm).map_err(|error| error.to_string())?;
    let decoder = prepared.decoder.with_cache(format).map_err(|error| format!("{arm}: {error}"))?;
    Ok(Prepared { decoder, identity: prepared.identity && format == CacheFormat::Full, ..prepared.clone() })
}

/// Refuses arms in a bench whose passes have no cache, where they would all look alike.
pub(crate) fn refuse_unseen(cells: &[&Cell], settings: &Settings, probes: &BTreeSet<Probe>) -> Result<(), String> {
    let changed = cells.iter().filter_map(|cell| cell.label(Axis::Cache)).find(|label| *label != "none");
    let Some(arm) = changed else { return Ok(()) };
    if probes.contains(&Probe::Score) && settings.decode_from == 0 {
        return Err(format!(
            "windows are read at once, without a cache, so that `cache = {arm}` could not show; set `decode_from`, the place from which tokens are decoded and scored"
        ));
    }
    if probes.contains(&Probe::Choose) {
        return Err(format!(
            "answers to choose from are read at once, without a cache, so that `cache = {arm}` could not show; leave the metrics of `choices` out of this bench"
        ));
    }
    Ok(())
}
