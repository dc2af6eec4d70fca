//! The metrics of written texts that a second model, the judge, reads beside texts of people.

use harness_core::{Direction, MetricSpec, Noise, Observation, Probe, Reduction};

use crate::metrics::{BASE, Metric, Seen, absent};
use crate::sampling::judged::{Found, Judged, Weight};

const JUDGED: MetricSpec = MetricSpec {
    direction: Direction::Higher,
    noise: Noise::Sampled,
    probe: Probe::Generate,
    reduction: Reduction::Ratio,
    needs: Some("judge"),
    ..BASE
};
/// One number of all texts together: other texts would give another, and nothing tells how far off.
const ONE: MetricSpec = MetricSpec { reduction: Reduction::Single, ..JUDGED };

pub(super) fn registry() -> Vec<Metric> {
    use Direction::{Lower, Neutral};
    vec![
        Metric {
            spec: MetricSpec {
                id: "bpb_judge",
                about: "bits that the judge needs for a byte of the written texts behind their prompts; near that of people is good",
                unit: "bits/byte",
                direction: Neutral,
                ..JUDGED
            },
            observe: |spec, seen| weighed(spec, seen, |judged| &judged.written),
        },
        Metric {
            spec: MetricSpec {
                id: "bpb_human",
                about: "bits that the judge needs for a byte of what people wrote behind the same prompts",
                unit: "bits/byte",
                direction: Neutral,
                ..JUDGED
            },
            observe: |spec, seen| weighed(spec, seen, |judged| &judged.human),
        },
        Metric {
            spec: MetricSpec {
                id: "mauve",
                about: "MAUVE of written and human texts by the judge's states of their last tokens; biased with few texts",
                ..ONE
            },
            observe: |spec, seen| one(spec, seen, |judged| &judged.mauve),
        },
        Metric {
            spec: MetricSpec {
                id: "precision",
                about: "share of written texts among the human ones: within the ball of one to its third neighbour, by the judge's mean states",
                ..JUDGED
            },
            observe: |spec, seen| flags(spec, seen, |judged| &judged.precise),
        },
        Metric {
            spec: MetricSpec {
                id: "recall",
                about: "share of human texts among the written ones, in the same way",
                ..JUDGED
            },
            observe: |spec, seen| flags(spec, seen, |judged| &judged.recalled),
        },
        Metric {
            spec: MetricSpec {
                id: "coherence",
                about: "cosine of a text's mean state with its prompt's, less the mean cosine with other prompts",
                ..JUDGED
            },
            observe: |spec, seen| match of(spec, seen, |judged| &judged.coherent) {
                Ok(values) => by_text(spec, values.clone(), vec![1.0; values.len()]),
                Err(none) => none,
            },
        },
        Metric {
            spec: MetricSpec {
                id: "dna_gpt",
                about: "area under the curve by which n-grams shared with other texts from the prompt tell written from human text; 0.5: not at all",
                direction: Lower,
                ..ONE
            },
            observe: |spec, seen| one(spec, seen, |judged| &judged.told_apart),
        },
        Metric {
            spec: MetricSpec {
                id: "zipf",
                about: "Zipf exponent of the written tokens by maximum likelihood; near that of people is good",
                direction: Neutral,
                ..ONE
            },
            observe: |spec, seen| one(spec, seen, |judged| &judged.zipf.0),
        },
        Metric {
            spec: MetricSpec {
                id: "zipf_human",
                about: "Zipf exponent of the tokens that people wrote behind the same prompts",
                direction: Neutral,
                ..ONE
            },
            observe: |spec, seen| one(spec, seen, |judged| &judged.zipf.1),
        },
    ]
}

/// What was found, or the observation that says why nothing was.
fn of<'s, T>(spec: &MetricSpec, seen: &'s Seen, part: fn(&Judged) -> &Result<T, String>) -> Result<&'s T, Observation> {
    let judged = seen.sampling.judged.as_ref().ok_or_else(|| absent(spec, "no judge read the texts"))?;
    part(judged).as_ref().map_err(|reason| absent(spec, reason))
}

fn one(spec: &MetricSpec, seen: &Seen, part: fn(&Judged) -> &Found) -> Observation {
    of(spec, seen, part).map_or_else(|none| none, |value| Observation::single(spec.id, *value))
}

fn flags(spec: &MetricSpec, seen: &Seen, part: fn(&Judged) -> &Result<Vec<bool>, String>) -> Observation {
    match of(spec, seen, part) {
        Ok(flags) => by_text(spec, flags.iter().map(|flag| f64::from(*flag)).collect(), vec![1.0; flags.len()]),
        Err(none) => none,
    }
}

fn weighed(spec: &MetricSpec, seen: &Seen, part: fn(&Judged) -> &Vec<Weight>) -> Observation {
    let Some(judged) = &seen.sampling.judged else { return absent(spec, "no judge read the texts") };
    let (bits, bytes) = part(judged).iter().map(|weight| (weight.bits, weight.bytes as f64)).unzip();
    by_text(spec, bits, bytes)
}

fn by_text(spec: &MetricSpec, samples: Vec<f64>, weights: Vec<f64>) -> Observation {
    let clusters = (0..samples.len() as u32).collect();
    Observation { samples, weights, clusters, ..Observation::absent(spec.id, spec.reduction, None) }
}
