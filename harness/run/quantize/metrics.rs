//! What quantized maps take, and what of a model they are.

use harness_core::{Direction, MetricSpec, Observation, Probe};

use super::Taken;
use crate::footprint::Footprint;
use crate::metrics::{BASE, Metric, Seen, absent, stored};

/// The metrics, in the order reports show them.
pub(crate) fn registry() -> Vec<Metric> {
    use Direction::{Higher, Lower};
    vec![
        Metric {
            spec: MetricSpec {
                id: "bpw_linear",
                about: "bits a weight of the quantized matrices, scales, zeros, codebooks and places included; of all linear maps where none is quantized",
                unit: "bits",
                direction: Lower,
                ..BASE
            },
            observe: |spec, seen| stored(spec, seen, |footprint, taken| footprint.bits_per_weight(taken).0),
        },
        Metric {
            spec: MetricSpec {
                id: "bpw_model",
                about: "bits a weight of the whole model, 16 for every weight that is not quantized",
                unit: "bits",
                direction: Lower,
                ..BASE
            },
            observe: |spec, seen| stored(spec, seen, |footprint, taken| footprint.bits_per_weight(taken).1),
        },
        Metric {
            spec: MetricSpec {
                id: "model_bits",
                about: "bits of the whole model, 16 for every weight that is not quantized",
                unit: "bits",
                direction: Lower,
                ..BASE
            },
            observe: |spec, seen| {
                stored(spec, seen, |footprint, taken| footprint.bits_per_weight(taken).1 * footprint.parameters as f64)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "linear_bits",
                about: "bits of the linear maps of all blocks, 16 for every weight that is not quantized; embeddings, head and norms left out",
                unit: "bits",
                direction: Lower,
                ..BASE
            },
            observe: |spec, seen| {
                let bits = |footprint: &Footprint, taken: Option<&Taken>| {
                    let (bits, weights) = taken.map_or((0, 0), |taken| (taken.bits.total(), taken.weights));
                    bits as f64 + 16.0 * (footprint.prunable - weights) as f64
                };
                stored(spec, seen, bits)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "quantized_share",
                about: "share of the weights of linear maps that are quantized",
                ..BASE
            },
            observe: |spec, seen| {
                let share = |footprint: &Footprint, taken: Option<&Taken>| {
                    taken.map_or(0, |taken| taken.weights) as f64 / footprint.prunable.max(1) as f64
                };
                let kept = seen.taken.iter().flat_map(|taken| &taken.kept);
                listed(stored(spec, seen, share), "kept as they are", kept)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "packed_share",
                about: "share of the weights of linear maps that are held and multiplied as packed codes",
                direction: Higher,
                ..BASE
            },
            observe: |spec, seen| {
                let share = |footprint: &Footprint, taken: Option<&Taken>| {
                    let packed = taken.filter(|taken| taken.packed).map_or(0, |taken| taken.weights);
                    packed as f64 / footprint.prunable.max(1) as f64
                };
                stored(spec, seen, share)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "fallback_share",
                about: "share of the quantized weights whose rows are no whole blocks of the format asked for, so that they have another",
                ..BASE
            },
            observe: |spec, seen| match &seen.taken {
                Some(taken) => {
                    let share = Observation::single(spec.id, taken.fallback as f64 / taken.weights.max(1) as f64);
                    listed(share, "in another format", taken.fallbacks.iter())
                }
                None => absent(spec, "nothing is quantized"),
            },
        },
        Metric {
            spec: MetricSpec {
                id: "int4_share",
                about: "share of the products of the quantized maps that are of integers of four bits, where the method rounds inputs too",
                direction: Higher,
                ..BASE
            },
            observe: |spec, seen| integers(spec, seen, 4),
        },
        Metric {
            spec: MetricSpec {
                id: "int8_share",
                about: "share of the products of the quantized maps that are of integers of eight bits, where the method rounds inputs too",
                ..BASE
            },
            observe: |spec, seen| integers(spec, seen, 8),
        },
        Metric {
            spec: MetricSpec {
                id: "saturation",
                about: "share of the inputs of quantized maps that lay beyond the range fixed by calibration, over all that was scored and timed",
                direction: Lower,
                probe: Probe::Score,
                ..BASE
            },
            observe: |spec, seen| match seen.taken.as_ref().and_then(Taken::saturation) {
                Some(share) => Observation::single(spec.id, share),
                None => absent(spec, "no inputs are rounded to a range fixed by calibration"),
            },
        },
    ]
}

/// With the maps that a share is about, in the place of its protocol.
fn listed<'a>(share: Observation, what: &str, maps: impl Iterator<Item = &'a String>) -> Observation {
    let names: Vec<&str> = maps.map(|name| name.trim_start_matches("model.layers.")).collect();
    let protocol = (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")));
    Observation { protocol, ..share }
}

/// The share of products that are of integers of so many bits.
fn integers(spec: &MetricSpec, seen: &Seen, bits: u32) -> Observation {
    match &seen.taken {
        Some(taken) => Observation::single(spec.id, taken.integer_share(bits)),
        None => absent(spec, "nothing is quantized"),
    }
}
