//! Metrics of shorter and narrower models.

use harness_core::{Direction, MetricSpec, Observation, Profile, Reduction};

use harness_methods::width::reorder::copies;

use super::Shortened;
use crate::metrics::{BASE, LAYER, Metric, Seen, absent};

const NONE: &str = "no block is removed";

/// What is read off shorter and narrower models.
pub(crate) fn registry() -> Vec<Metric> {
    vec![
        Metric {
            spec: MetricSpec { id: "blocks", about: "blocks of the model", direction: Direction::Lower, ..BASE },
            observe: |spec, seen| match &seen.footprint {
                Some(footprint) => made_of(seen, Observation::single(spec.id, footprint.layers.len() as f64)),
                None => absent(spec, "not counted"),
            },
        },
        Metric {
            spec: MetricSpec {
                id: "removed_params",
                about: "share of the whole model's parameters, embeddings included, that the shorter model has less",
                ..BASE
            },
            observe: |spec, seen| match &seen.shortened {
                Some(shortened) => {
                    let left = shortened.decoder.parameters() as f64 / shortened.whole.1.max(1) as f64;
                    Observation::single(spec.id, 1.0 - left)
                }
                None => Observation::single(spec.id, 0.0),
            },
        },
        Metric {
            spec: MetricSpec {
                id: "kept_heads",
                about: "share of the whole model's key-value heads that is left, each with its query heads, on average and block by block",
                along: LAYER,
                ..BASE
            },
            observe: |spec, seen| kept(spec, seen, |(heads, _)| heads),
        },
        Metric {
            spec: MetricSpec {
                id: "kept_channels",
                about: "share of the whole model's feed-forward channels that is left, on average and block by block",
                along: LAYER,
                ..BASE
            },
            observe: |spec, seen| kept(spec, seen, |(_, channels)| channels),
        },
        Metric {
            spec: MetricSpec {
                id: "kept_reads",
                about: "share of the residual stream's channels that parts of blocks read, on average and block by block",
                along: LAYER,
                ..BASE
            },
            observe: kept_reads,
        },
        Metric {
            spec: MetricSpec {
                id: "gathers",
                about: "parts of blocks that read channels of the residual stream that are no neighbours and so are copied together",
                direction: Direction::Lower,
                ..BASE
            },
            observe: |spec, seen| copied(spec, seen, |shortened| of_config(shortened).0),
        },
        Metric {
            spec: MetricSpec {
                id: "gathers_before",
                about: "as gathers, with the channels in the order that the whole model has them",
                direction: Direction::Lower,
                ..BASE
            },
            observe: |spec, seen| copied(spec, seen, |shortened| of_whole(shortened).0),
        },
        Metric {
            spec: MetricSpec {
                id: "copied_channels",
                about: "channels of the residual stream that parts of blocks copy together for every token",
                direction: Direction::Lower,
                unit: "channels/token",
                ..BASE
            },
            observe: |spec, seen| copied(spec, seen, |shortened| of_config(shortened).1),
        },
        Metric {
            spec: MetricSpec {
                id: "copied_channels_before",
                about: "as copied_channels, with the channels in the order that the whole model has them",
                direction: Direction::Lower,
                unit: "channels/token",
                ..BASE
            },
            observe: |spec, seen| copied(spec, seen, |shortened| of_whole(shortened).1),
        },
        Metric {
            spec: MetricSpec {
                id: "block_score",
                about: "what the method scores each block of the whole model by, on average, and block by block",
                along: LAYER,
                ..BASE
            },
            observe: scores,
        },
        Metric {
            spec: MetricSpec {
                id: "state_similarity",
                about: "cosine of the shorter model's final hidden states with the whole model's, at the last merge",
                direction: Direction::Higher,
                ..BASE
            },
            observe: |spec, seen| match &seen.shortened {
                None => absent(spec, NONE),
                Some(Shortened { shorter, .. }) => match shorter.similarity {
                    Some(similarity) => {
                        let steps = (!shorter.steps.is_empty()).then(|| shorter.steps.join(", "));
                        Observation { protocol: steps, ..Observation::single(spec.id, similarity) }
                    }
                    None => absent(spec, "the method does not look at final hidden states"),
                },
            },
        },
    ]
}

/// With what the blocks are made of, in the place of a protocol.
fn made_of(seen: &Seen, found: Observation) -> Observation {
    let protocol = seen.shortened.as_ref().map(|shortened| {
        let layers = shortened.shorter.layers.iter().map(|layer| {
            if layer.is_kept() {
                return layer.base.to_string();
            }
            let parts = layer.mix.iter().map(|(block, factor)| format!("{factor:+}*{block}"));
            format!("{}:({})", layer.base, parts.collect::<String>())
        });
        format!("of {}: {}", shortened.whole.0, layers.collect::<Vec<String>>().join(" "))
    });
    Observation { protocol, ..found }
}

/// Shares of what is left of blocks, which of a model as it is are one.
fn kept(spec: &MetricSpec, seen: &Seen, which: fn((f64, f64)) -> f64) -> Observation {
    let Some(shortened) = &seen.shortened else { return Observation::single(spec.id, 1.0) };
    let samples: Vec<f64> = shortened.kept().into_iter().map(which).collect();
    let steps = &shortened.shorter.steps;
    profile(spec, samples, (!steps.is_empty()).then(|| steps.join(", ")))
}

/// What is counted of what a model's parts read; of a model as it is nothing is copied.
fn copied(spec: &MetricSpec, seen: &Seen, count: fn(&Shortened) -> usize) -> Observation {
    Observation::single(spec.id, seen.shortened.as_ref().map_or(0, count) as f64)
}

/// Parts that copy what they read, and channels that they copy, as the model says it.
pub(super) fn of_config(shortened: &Shortened) -> (usize, usize) {
    let reads = shortened.decoder.config().reads.iter();
    let copied = reads.flat_map(|block| [block.attention.copied(), block.feed_forward.copied()]);
    copied.filter(|channels| *channels > 0).fold((0, 0), |(parts, all), channels| (parts + 1, all + channels))
}

/// The same, had the channels kept their order.
pub(super) fn of_whole(shortened: &Shortened) -> (usize, usize) {
    let Some(reading) = &shortened.shorter.reading else { return (0, 0) };
    let as_is: Vec<usize> = (0..reading.order.len()).collect();
    copies(&as_is, &reading.parts.concat())
}

fn kept_reads(spec: &MetricSpec, seen: &Seen) -> Observation {
    let Some(Shortened { decoder, .. }) = &seen.shortened else { return Observation::single(spec.id, 1.0) };
    let hidden = decoder.config().hidden_size;
    let of_block = |layer: usize| {
        let reads = decoder.reads(layer);
        (reads.attention.width(hidden) + reads.feed_forward.width(hidden)) as f64 / (2 * hidden) as f64
    };
    profile(spec, (0..decoder.config().layers).map(of_block).collect(), None)
}

fn scores(spec: &MetricSpec, seen: &Seen) -> Observation {
    let Some(Shortened { shorter, .. }) = &seen.shortened else { return absent(spec, NONE) };
    let Some((samples, what)) = &shorter.scores else { return absent(spec, "the method scores no blocks") };
    profile(spec, samples.clone(), Some((*what).to_owned()))
}

/// A number for each block, and their mean.
fn profile(spec: &MetricSpec, samples: Vec<f64>, protocol: Option<String>) -> Observation {
    let mean = samples.iter().sum::<f64>() / samples.len().max(1) as f64;
    let profile = Profile {
        reduction: Reduction::Ratio,
        places: (0..samples.len()).map(|block| block as f64).collect(),
        weights: vec![1.0; samples.len()],
        samples,
        clusters: Vec::new(),
    };
    Observation { profile: Some(profile), protocol, ..Observation::single(spec.id, mean) }
}
