//! The metrics of samplers.

use harness_core::{Along, Direction, MetricSpec, Noise, Observation, Probe, Profile, Reduction};

use harness_judge::distinct::Distinct;
use harness_judge::self_bleu::SelfBleu;

use crate::metrics::{BASE, Metric, Seen, absent};
use crate::sampling::clock::VOCABULARIES;
use crate::sampling::steps::{ENTROPY_EDGES, StepSums, TruthSums};
use crate::sampling::{Sampled, WrittenText, judged_metrics};

const ENTROPY: Option<Along> =
    Some(Along { word: "entropy_bin", label: "entropy of the true next-token distribution (nats)" });
const VOCABULARY: Option<Along> = Some(Along { word: "vocabulary", label: "vocabulary (tokens)" });
const STEP: MetricSpec = MetricSpec { noise: Noise::Sampled, probe: Probe::Step, reduction: Reduction::Ratio, ..BASE };
const WRITTEN: MetricSpec = MetricSpec { probe: Probe::Generate, ..STEP };
const TIMED: MetricSpec = MetricSpec {
    unit: "µs",
    direction: Direction::Lower,
    noise: Noise::Timed,
    probe: Probe::SamplerTime,
    reduction: Reduction::Median,
    ..BASE
};

/// All metrics of samplers, in the order reports show them.
pub fn registry() -> Vec<Metric> {
    let mut all = of_samplers();
    all.extend(judged_metrics::registry());
    all
}

fn of_samplers() -> Vec<Metric> {
    use Direction::{Higher, Lower};
    vec![
        Metric {
            spec: MetricSpec {
                id: "tv_truth",
                about: "total variation distance of what a step leaves from the true distribution",
                direction: Lower,
                along: ENTROPY,
                ..STEP
            },
            observe: |spec, seen| truth(spec, seen, |sums| sums.distance),
        },
        Metric {
            spec: MetricSpec {
                id: "mass_wrong",
                about: "probability left on tokens that the language does not allow",
                direction: Lower,
                along: ENTROPY,
                ..STEP
            },
            observe: |spec, seen| truth(spec, seen, |sums| sums.wrong),
        },
        Metric {
            spec: MetricSpec {
                id: "mass_cut",
                about: "true probability of the tokens that are removed",
                direction: Lower,
                along: ENTROPY,
                ..STEP
            },
            observe: |spec, seen| truth(spec, seen, |sums| sums.cut),
        },
        Metric {
            spec: MetricSpec {
                id: "tv_oracle",
                about: "total variation distance from the true distribution if exactly the allowed tokens were kept",
                along: ENTROPY,
                ..STEP
            },
            observe: |spec, seen| truth(spec, seen, |sums| sums.oracle),
        },
        Metric {
            spec: MetricSpec {
                id: "kl_truth",
                about: "KL divergence of what a step leaves on allowed tokens from the true distribution",
                unit: "nats",
                direction: Lower,
                along: ENTROPY,
                ..STEP
            },
            observe: |spec, seen| truth(spec, seen, |sums| sums.divergence),
        },
        Metric {
            spec: MetricSpec {
                id: "support_precision",
                about: "share of the kept tokens that the language allows",
                direction: Higher,
                ..STEP
            },
            observe: |spec, seen| truth(spec, seen, |sums| sums.precision),
        },
        Metric {
            spec: MetricSpec {
                id: "support_recall",
                about: "share of the tokens that the language allows that are kept",
                direction: Higher,
                ..STEP
            },
            observe: |spec, seen| truth(spec, seen, |sums| sums.recall),
        },
        Metric {
            spec: MetricSpec {
                id: "setting",
                about: "what the parameter of a matched chain was set to",
                probe: Probe::Step,
                ..BASE
            },
            observe: |spec, seen| match seen.sampling.setting {
                Some(setting) => Observation::single(spec.id, setting),
                None => absent(spec, "the chain was not matched"),
            },
        },
        Metric {
            spec: MetricSpec { id: "kept", about: "tokens that a step leaves to choose from", unit: "tokens", ..STEP },
            observe: |spec, seen| step(spec, seen, |sums| sums.kept),
        },
        Metric {
            spec: MetricSpec {
                id: "entropy",
                about: "entropy of what a step leaves: how diverse the next token is",
                unit: "nats",
                ..STEP
            },
            observe: |spec, seen| step(spec, seen, |sums| sums.entropy),
        },
        Metric {
            spec: MetricSpec {
                id: "kept_mass",
                about: "probability that the model gives to the tokens a step leaves",
                ..STEP
            },
            observe: |spec, seen| step(spec, seen, |sums| sums.mass),
        },
        Metric {
            spec: MetricSpec {
                id: "tv_model",
                about: "total variation distance of what a step leaves from the model's distribution",
                ..STEP
            },
            observe: |spec, seen| step(spec, seen, |sums| sums.moved),
        },
        Metric {
            spec: MetricSpec {
                id: "rejected",
                about: "share of the text's own tokens that a step removes",
                direction: Lower,
                ..STEP
            },
            observe: |spec, seen| step(spec, seen, |sums| sums.rejected as f64),
        },
        Metric {
            spec: MetricSpec {
                id: "validity",
                about: "share of the written texts that the language allows from end to end",
                direction: Higher,
                ..WRITTEN
            },
            observe: |spec, seen| {
                judged(spec, seen, |text, legal| (f64::from(u8::from(legal == text.tokens.len())), 1.0))
            },
        },
        Metric {
            spec: MetricSpec {
                id: "surprise_truth",
                about: "mean −log p of the written tokens under the language, up to the first that it does not allow",
                unit: "nats/token",
                ..WRITTEN
            },
            observe: |spec, seen| judged(spec, seen, |text, legal| (text.surprise, legal as f64)),
        },
        Metric {
            spec: MetricSpec {
                id: "surprise_model",
                about: "mean −log p of the written tokens under the model's own distribution",
                unit: "nats/token",
                ..WRITTEN
            },
            observe: |spec, seen| written(spec, seen, |text| (text.model_surprise, text.tokens.len() as f64)),
        },
        Metric {
            spec: MetricSpec {
                id: "rep_4",
                about: "share of the 4-grams of written texts that stand in the same text before",
                direction: Lower,
                ..WRITTEN
            },
            observe: |spec, seen| written(spec, seen, |text| repeats(text, 4)),
        },
        Metric {
            spec: MetricSpec {
                id: "distinct_2",
                about: "different bigrams of all written texts over all their bigrams",
                noise: Noise::Exact,
                reduction: Reduction::Single,
                ..WRITTEN
            },
            observe: |spec, seen| {
                let texts: Vec<&[u32]> = seen.sampling.texts.iter().map(|text| text.tokens.as_slice()).collect();
                match Distinct::of(&texts, 2) {
                    Ok(distinct) => Observation::single(spec.id, distinct.ratio()),
                    Err(error) => absent(spec, &error.to_string()),
                }
            },
        },
        Metric {
            spec: MetricSpec {
                id: "self_bleu",
                about: "mean BLEU-4 of each written text against all others: how alike they are",
                direction: Lower,
                ..WRITTEN
            },
            observe: self_bleu,
        },
        Metric {
            spec: MetricSpec {
                id: "calls",
                about: "sequences that the model reads a step of, for every token of the text that is kept",
                direction: Lower,
                ..WRITTEN
            },
            observe: |spec, seen| written(spec, seen, |text| (text.calls as f64, text.tokens.len() as f64)),
        },
        Metric {
            spec: MetricSpec {
                id: "law_p",
                about: "p-value of the test that draws follow what the sampler left",
                probe: Probe::Draw,
                ..BASE
            },
            observe: |spec, seen| match seen.sampling.law {
                Some(law) => Observation::single(spec.id, law.p),
                None => absent(spec, "nothing was drawn"),
            },
        },
        Metric {
            spec: MetricSpec { id: "step_us", about: "time of a step on the model's own rows, draw included", ..TIMED },
            observe: |spec, seen| timed(spec, &seen.sampling.times.own, seen),
        },
        Metric {
            spec: MetricSpec {
                id: "step_us_peaked",
                about: "time of a step on peaked made-up rows of 128,256 tokens, draw included",
                along: VOCABULARY,
                ..TIMED
            },
            observe: |spec, seen| by_vocabulary(spec, &seen.sampling.times.peaked, seen),
        },
        Metric {
            spec: MetricSpec {
                id: "step_us_flat",
                about: "time of a step on flat made-up rows of 128,256 tokens, draw included",
                along: VOCABULARY,
                ..TIMED
            },
            observe: |spec, seen| by_vocabulary(spec, &seen.sampling.times.flat, seen),
        },
        Metric {
            spec: MetricSpec {
                id: "step_share",
                about: "time of a step on the model's own rows over the time of a decode step of the model",
                unit: "1",
                ..TIMED
            },
            observe: |spec, seen| {
                let times = &seen.sampling.times;
                let shares: Vec<f64> = times.own.iter().zip(&times.decode).map(|(own, decode)| own / decode).collect();
                timed(spec, &shares, seen)
            },
        },
    ]
}

/// A sample a window, weighed by its steps.
fn by_window(spec: &MetricSpec, seen: &Seen, sample: impl Fn(&StepSums) -> f64) -> Observation {
    let steps = &seen.sampling.steps;
    Observation {
        samples: steps.iter().map(sample).collect(),
        weights: steps.iter().map(|sums| sums.steps as f64).collect(),
        clusters: seen.documents.clone(),
        protocol: Some(seen.protocol.clone()),
        ..Observation::absent(spec.id, spec.reduction, None)
    }
}

/// What a decoder has no answer to.
const NO_STEPS: &str = "a decoder calls the model itself and leaves nothing of single steps";

fn step(spec: &MetricSpec, seen: &Seen, sample: fn(&StepSums) -> f64) -> Observation {
    if seen.sampling.decoder {
        return absent(spec, NO_STEPS);
    }
    by_window(spec, seen, sample)
}

/// Against the truth; taken apart by bins of the true entropy where the metric says so, each at its middle.
fn truth(spec: &MetricSpec, seen: &Seen, sample: fn(&TruthSums) -> f64) -> Observation {
    if seen.sampling.decoder {
        return absent(spec, NO_STEPS);
    }
    if !seen.sampling.truth_known {
        return absent(spec, "the true distribution is known for embedded models on their own language only");
    }
    let whole = by_window(spec, seen, |sums| sample(&sums.truth));
    if spec.along.is_none() {
        return whole;
    }
    let mut profile = Profile {
        reduction: Reduction::Ratio,
        places: Vec::new(),
        samples: Vec::new(),
        weights: Vec::new(),
        clusters: Vec::new(),
    };
    for (sums, document) in seen.sampling.steps.iter().zip(&seen.documents) {
        for (bin, sums) in sums.bins.iter().enumerate().filter(|(_, sums)| sums.steps > 0) {
            let low = ENTROPY_EDGES[bin];
            let high = ENTROPY_EDGES.get(bin + 1).copied().unwrap_or(low + 1.0);
            profile.places.push(f64::midpoint(low, high));
            profile.samples.push(sample(sums));
            profile.weights.push(sums.steps as f64);
            profile.clusters.push(*document);
        }
    }
    Observation { profile: (!profile.samples.is_empty()).then_some(profile), ..whole }
}

/// Different and all n-grams of a text as the share that stood before; a text without any has no weight.
fn repeats(text: &WrittenText, n: usize) -> (f64, f64) {
    let Ok(distinct) = Distinct::of(&[&text.tokens], n) else { return (0.0, 0.0) };
    ((distinct.total - distinct.unique) as f64, distinct.total as f64)
}

fn self_bleu(spec: &MetricSpec, seen: &Seen) -> Observation {
    let texts: Vec<&[u32]> = seen.sampling.texts.iter().map(|text| text.tokens.as_slice()).collect();
    match (SelfBleu { longest: 4, ..SelfBleu::default() }).scores(&texts) {
        Ok(scores) => {
            let mut scores = scores.into_iter();
            written(spec, seen, |_| (scores.next().unwrap_or(f64::NAN), 1.0))
        }
        Err(error) => absent(spec, &error.to_string()),
    }
}

/// A sample and its weight for each written text.
fn written(spec: &MetricSpec, seen: &Seen, sample: impl FnMut(&WrittenText) -> (f64, f64)) -> Observation {
    let texts = &seen.sampling.texts;
    if texts.is_empty() {
        return absent(spec, "nothing was written");
    }
    let (samples, weights) = texts.iter().map(sample).unzip();
    let clusters = (0..texts.len() as u32).collect();
    Observation { samples, weights, clusters, ..Observation::absent(spec.id, spec.reduction, None) }
}

/// The same for texts whose language is known.
fn judged(spec: &MetricSpec, seen: &Seen, sample: fn(&WrittenText, usize) -> (f64, f64)) -> Observation {
    let Sampled { texts, .. } = &seen.sampling;
    if texts.iter().any(|text| text.legal.is_none()) {
        return absent(spec, "what may be written is known for embedded models only");
    }
    written(spec, seen, |text| sample(text, text.legal.unwrap_or(0)))
}

fn timed(spec: &MetricSpec, samples: &[f64], seen: &Seen) -> Observation {
    if seen.sampling.decoder {
        return absent(spec, NO_STEPS);
    }
    if samples.is_empty() {
        return absent(spec, "no round was timed on such rows");
    }
    let clusters = seen.sampling.times.rounds.clone();
    Observation { samples: samples.to_vec(), clusters, ..Observation::absent(spec.id, spec.reduction, None) }
}

/// The value is that at the middle vocabulary; the profile has them all.
fn by_vocabulary(spec: &MetricSpec, times: &[Vec<f64>], seen: &Seen) -> Observation {
    let middle = VOCABULARIES.len() / 2;
    let whole = timed(spec, times.get(middle).map_or(&[][..], Vec::as_slice), seen);
    let rounds = &seen.sampling.times.rounds;
    let profile = Profile {
        reduction: Reduction::Median,
        places: (times.iter().zip(VOCABULARIES))
            .flat_map(|(list, size)| list.iter().map(move |_| size as f64))
            .collect(),
        samples: times.concat(),
        weights: Vec::new(),
        clusters: times.iter().flat_map(|_| rounds.iter().copied()).collect(),
    };
    Observation { profile: (!profile.samples.is_empty()).then_some(profile), ..whole }
}
