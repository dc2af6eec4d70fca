//! The metric registry: one entry a metric.

use harness_core::{Along, Direction, MetricSpec, Noise, Observation, Probe, Profile, Reduction};

use crate::anatomy::{self, BlockError};
use crate::beyond;
use crate::cache::{self, CacheFootprint};
use crate::clock::Throughput;
use crate::footprint::{Footprint, LayerFootprint};
use crate::lowrank::{self, Factoring};
use crate::quantize::{self, Taken};
use crate::sampling::{self, Sampled};
use crate::score::{StretchScore, WindowScore};
use crate::shrink::{self, Shortened};
use crate::spread::{self, BlockSpread};
use crate::tasks::long::{self, Retrieved};
use crate::tasks::{self, Answered, Chosen};

/// What the probes saw of one arm in one cell; a probe that nobody asked for left nothing.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every scored window, in order.
    pub scores: Vec<WindowScore>,
    /// The ends of the windows that the model was trained to read at once, read by the dense model alone, or why they are not.
    pub cut: Option<Result<Vec<WindowScore>, String>>,
    /// The document that each window begins in.
    pub documents: Vec<u32>,
    /// How the windows were cut and scored.
    pub protocol: String,
    /// Positions that the model was trained at, as its checkpoint states.
    pub trained: usize,
    /// Prefill and decode throughput of every round.
    pub throughput: Throughput,
    /// Peak resident bytes while the arm was timed.
    pub peak: Option<u64>,
    /// Counts over the prepared weights.
    pub footprint: Option<Footprint>,
    /// What the arm's blocks make of the dense model's inputs, layer by layer, or why that is not known; `None` where it was
    /// not asked for.
    pub block_errors: Option<Result<Vec<BlockError>, String>>,
    /// How attention is spread, window by window and block by block, or why that is not known; `None` where it was not asked for.
    pub spreads: Option<Result<Vec<Vec<BlockSpread>>, String>>,
    /// Bits a weight of the linear maps in the checkpoint's file.
    pub checkpoint_bits: Option<f64>,
    /// What the keys and values of a window take.
    pub cache: Option<CacheFootprint>,
    /// Seconds that applying the method took.
    pub apply_seconds: f64,
    /// The shorter model as it was before anything else was done to it.
    pub shortened: Option<Shortened>,
    /// What became of the maps where they are held as factors.
    pub factoring: Option<Factoring>,
    /// What quantized matrices take.
    pub taken: Option<Taken>,
    /// What a sampler did.
    pub sampling: Sampled,
    /// What was chosen for each question, and how they were asked.
    pub chosen: (Vec<Chosen>, String),
    /// What the dense model chose, where that was asked for.
    pub dense_chosen: Vec<Chosen>,
    /// What was answered to each question, and how they were asked.
    pub answered: (Vec<Answered>, String),
    /// What was found in each long context, and how it was asked for.
    pub retrieved: (Vec<Retrieved>, String),
}

/// A metric: what it is, and how it is read off what the probes saw.
pub struct Metric {
    /// What is known of it.
    pub spec: MetricSpec,
    /// Its raw samples.
    pub observe: fn(&MetricSpec, &Seen) -> Observation,
}

pub(crate) const BASE: MetricSpec = MetricSpec {
    id: "",
    about: "",
    unit: "1",
    direction: Direction::Neutral,
    noise: Noise::Exact,
    probe: Probe::Static,
    reduction: Reduction::Single,
    needs_dense: false,
    needs: None,
    along: None,
    version: 1,
};
const TOKEN: Option<Along> = Some(Along { word: "token", label: "place in the window (tokens)" });
pub(crate) const LAYER: Option<Along> = Some(Along { word: "layer", label: "layer" });
pub(crate) const SCORED: MetricSpec =
    MetricSpec { noise: Noise::Sampled, probe: Probe::Score, reduction: Reduction::Ratio, ..BASE };
const TIMED: MetricSpec = MetricSpec { noise: Noise::Timed, probe: Probe::Time, reduction: Reduction::Median, ..BASE };

/// All metrics, in the order reports show them.
pub fn registry() -> Vec<Metric> {
    let mut all = of_language_models();
    all.extend(beyond::metrics());
    all.extend(spread::metrics());
    all.extend(anatomy::registry());
    all.extend(cache::metrics());
    all.extend(tasks::metrics::registry());
    all.extend(long::metrics::registry());
    all.extend(sampling::metrics::registry());
    all
}

fn of_language_models() -> Vec<Metric> {
    use Direction::{Higher, Lower};
    let mut all = vec![
        Metric {
            spec: MetricSpec {
                id: "ppl",
                about: "perplexity: exp of the mean negative log-likelihood of the scored tokens",
                direction: Lower,
                reduction: Reduction::ExpRatio,
                ..SCORED
            },
            observe: |spec, seen| scored(spec, seen, |window| window.nll),
        },
        Metric {
            spec: MetricSpec {
                id: "nll",
                about: "mean negative log-likelihood of the scored tokens",
                unit: "nats/token",
                direction: Lower,
                along: TOKEN,
                ..SCORED
            },
            observe: |spec, seen| by_token(seen, scored(spec, seen, |window| window.nll), |stretch| stretch.nll),
        },
        Metric {
            spec: MetricSpec {
                id: "kl",
                about: "mean KL divergence of the next-token distribution from the dense model's, KL(dense || arm)",
                unit: "nats/token",
                direction: Lower,
                needs_dense: true,
                along: TOKEN,
                ..SCORED
            },
            observe: |spec, seen| by_token(seen, scored(spec, seen, |window| window.kl), |stretch| stretch.kl),
        },
        Metric {
            spec: MetricSpec {
                id: "top1",
                about: "share of scored positions where the most likely token is the dense model's",
                direction: Higher,
                needs_dense: true,
                ..SCORED
            },
            observe: |spec, seen| scored(spec, seen, |window| window.agreements as f64),
        },
        Metric {
            spec: MetricSpec {
                id: "sparsity",
                about: "share of zeros among the prunable weights, counted on the result",
                along: LAYER,
                ..BASE
            },
            observe: |spec, seen| {
                let pair = |layer: &LayerFootprint| (layer.zeros as f64, layer.weights as f64);
                by_layer(seen, counted(spec, seen, Footprint::sparsity), pair)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "weight_error",
                about: "squared change of the prunable weights over their squared norm, ‖W − W'‖² / ‖W‖²",
                direction: Lower,
                needs_dense: true,
                along: LAYER,
                ..BASE
            },
            observe: |spec, seen| {
                if moved(seen) {
                    return absent(spec, MOVED);
                }
                let pair = |layer: &LayerFootprint| (layer.change, layer.norm);
                by_layer(seen, counted(spec, seen, Footprint::weight_error), pair)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "bound_ratio",
                about: "a generalisation bound that counts the numbers describing the weights, over that without zeros",
                direction: Lower,
                ..BASE
            },
            observe: |spec, seen| counted(spec, seen, Footprint::bound_ratio),
        },
        Metric {
            spec: MetricSpec {
                id: "sparsity_total",
                about: "share of zeros among all parameters, counted on the result",
                ..BASE
            },
            observe: |spec, seen| counted(spec, seen, Footprint::sparsity_total),
        },
        Metric {
            spec: MetricSpec {
                id: "params",
                about: "parameters of the model, zeros included",
                direction: Lower,
                ..BASE
            },
            observe: |spec, seen| counted(spec, seen, |footprint| footprint.parameters as f64),
        },
        Metric {
            spec: MetricSpec {
                id: "bytes",
                about: "bytes of all weights as they are held, dense",
                unit: "bytes",
                direction: Lower,
                ..BASE
            },
            observe: |spec, seen| held(spec, seen, counted(spec, seen, |footprint| footprint.bytes as f64)),
        },
        Metric {
            spec: MetricSpec {
                id: "bytes_stored",
                about: "bytes of all weights when each matrix takes its codes and scales, or else the smaller of dense and bitmap-plus-values",
                unit: "bytes",
                direction: Lower,
                version: 2,
                ..BASE
            },
            observe: |spec, seen| stored(spec, seen, Footprint::bytes_stored),
        },
    ];
    all.extend(shrink::metrics::registry());
    all.extend(lowrank::metrics::registry());
    all.extend(quantize::metrics::registry());
    all.extend(of_speed());
    all
}

fn of_speed() -> Vec<Metric> {
    use Direction::{Higher, Lower};
    vec![
        Metric {
            spec: MetricSpec {
                id: "prefill_tps",
                about: "prompt tokens a second, logits for the last position only",
                unit: "tokens/s",
                direction: Higher,
                ..TIMED
            },
            observe: |spec, seen| timed(spec, seen, &seen.throughput.prefill),
        },
        Metric {
            spec: MetricSpec {
                id: "decode_tps",
                about: "generated tokens a second, one sequence, after the prompt",
                unit: "tokens/s",
                direction: Higher,
                ..TIMED
            },
            observe: |spec, seen| timed(spec, seen, &seen.throughput.decode),
        },
        Metric {
            spec: MetricSpec {
                id: "apply_s",
                about: "seconds to apply the method, its calibration passes included",
                unit: "s",
                direction: Lower,
                probe: Probe::Static,
                reduction: Reduction::Single,
                ..TIMED
            },
            observe: |spec, seen| Observation::single(spec.id, seen.apply_seconds),
        },
        Metric {
            spec: MetricSpec {
                id: "peak_rss",
                about: "peak resident memory while this arm alone was timed, without its siblings' weights",
                unit: "bytes",
                direction: Lower,
                reduction: Reduction::Single,
                ..TIMED
            },
            observe: |spec, seen| match seen.peak {
                _ if fake(seen) => absent(spec, FAKE),
                Some(peak) => Observation::single(spec.id, peak as f64),
                None => absent(spec, "this system does not tell resident memory"),
            },
        },
    ]
}

pub(crate) fn absent(spec: &MetricSpec, reason: &str) -> Observation {
    Observation::absent(spec.id, spec.reduction, Some(reason.to_owned()))
}

pub(crate) fn scored(spec: &MetricSpec, seen: &Seen, sample: fn(&WindowScore) -> f64) -> Observation {
    Observation {
        samples: seen.scores.iter().map(sample).collect(),
        weights: seen.scores.iter().map(|window| window.tokens as f64).collect(),
        clusters: seen.documents.clone(),
        protocol: Some(seen.protocol.clone()),
        ..Observation::absent(spec.id, spec.reduction, None)
    }
}

/// With the samples taken apart along the window: one for each stretch of positions of each window.
fn by_token(seen: &Seen, whole: Observation, sample: fn(&StretchScore) -> f64) -> Observation {
    let mut profile = Profile {
        reduction: Reduction::Ratio,
        places: Vec::new(),
        samples: Vec::new(),
        weights: Vec::new(),
        clusters: Vec::new(),
    };
    for (window, document) in seen.scores.iter().zip(&seen.documents) {
        for stretch in &window.stretches {
            // The middle of the stretch.
            profile.places.push(stretch.first as f64 + (stretch.tokens as f64 - 1.0) / 2.0);
            profile.samples.push(sample(stretch));
            profile.weights.push(stretch.tokens as f64);
            profile.clusters.push(*document);
        }
    }
    Observation { profile: (!profile.samples.is_empty()).then_some(profile), ..whole }
}

/// With one sample for each layer, numbered from 0; `pair` gives its part and what that is a part of.
pub(crate) fn by_layer(seen: &Seen, whole: Observation, pair: fn(&LayerFootprint) -> (f64, f64)) -> Observation {
    let Some(footprint) = &seen.footprint else { return whole };
    let (samples, weights) = footprint.layers.iter().map(pair).unzip();
    let places = (0..footprint.layers.len()).map(|layer| layer as f64).collect();
    let profile = Profile { reduction: Reduction::Ratio, places, samples, weights, clusters: Vec::new() };
    Observation { profile: Some(profile), ..whole }
}

/// Why quantized arms have neither speed nor memory.
const FAKE: &str = "the codes are written back as f32 (fake quantization), which has no speed or memory of its own; \
    set `exec = \"packed\"` to measure those of packed codes";

/// Why weights are not held against the dense model's.
pub(crate) const MOVED: &str = "factors were moved into the weights, which are no longer those of the dense model";

/// Whether factors were moved between the maps before they were quantized.
pub(crate) fn moved(seen: &Seen) -> bool {
    seen.taken.as_ref().is_some_and(|taken| taken.folded)
}

/// Whether codes are written back as f32.
fn fake(seen: &Seen) -> bool {
    seen.taken.as_ref().is_some_and(|taken| !taken.packed)
}

/// What is read off the weights as they are held, which says nothing of codes that are written back as f32.
fn held(spec: &MetricSpec, seen: &Seen, found: Observation) -> Observation {
    if fake(seen) { absent(spec, FAKE) } else { found }
}

fn timed(spec: &MetricSpec, seen: &Seen, samples: &[f64]) -> Observation {
    if fake(seen) {
        return absent(spec, FAKE);
    }
    if samples.is_empty() {
        return absent(spec, "no round was timed");
    }
    let rounds = &seen.throughput.rounds;
    Observation {
        samples: samples.to_vec(),
        clusters: rounds.clone(),
        ..Observation::absent(spec.id, spec.reduction, None)
    }
}

/// What is counted of the codes where there are some.
pub(crate) fn stored(spec: &MetricSpec, seen: &Seen, value: fn(&Footprint, Option<&Taken>) -> f64) -> Observation {
    match &seen.footprint {
        Some(footprint) => Observation::single(spec.id, value(footprint, seen.taken.as_ref())),
        None => absent(spec, "not counted"),
    }
}

pub(crate) fn counted(spec: &MetricSpec, seen: &Seen, value: fn(&Footprint) -> f64) -> Observation {
    seen.footprint
        .as_ref()
        .map_or_else(|| absent(spec, "not counted"), |footprint| Observation::single(spec.id, value(footprint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_described() {
        let all = registry();
        for (index, Metric { spec, .. }) in all.iter().enumerate() {
            assert!(!spec.id.is_empty() && spec.about.len() > 10 && !spec.unit.is_empty(), "{spec:?}");
            assert!(all[..index].iter().all(|other| other.spec.id != spec.id), "{} twice", spec.id);
        }
    }

    #[test]
    fn scored_metrics_have_known_answers() {
        let halves = |nll: f64, kl: f64| {
            let half = |first| StretchScore { first, tokens: 2, nll: nll / 2.0, kl: kl / 2.0 };
            vec![half(2), half(4)]
        };
        let window = |nll, kl, agreements| WindowScore { nll, tokens: 4, kl, agreements, stretches: halves(nll, kl) };
        let seen = Seen {
            scores: vec![window(4.0 * 2.0_f64.ln(), 0.4, 4), window(4.0 * 8.0_f64.ln(), 0.0, 2)],
            documents: vec![0, 1],
            ..Seen::default()
        };
        let value = |id: &str| {
            let all = registry();
            let metric = all.iter().find(|metric| metric.spec.id == id);
            metric.and_then(|metric| (metric.observe)(&metric.spec, &seen).value())
        };
        assert!(value("ppl").is_some_and(|ppl| (ppl - 4.0).abs() < 1e-12));
        assert_eq!(value("kl"), Some(0.05));
        assert_eq!(value("top1"), Some(0.75));
        assert_eq!(value("prefill_tps"), None);
        let all = registry();
        let nll = all.iter().find(|metric| metric.spec.id == "nll").map(|nll| (nll.observe)(&nll.spec, &seen));
        let profile = nll.and_then(|nll| nll.profile).map(|profile| profile.by_place("nll")).unwrap_or_default();
        assert_eq!(profile.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [2.5, 4.5]);
        assert!(profile.iter().all(|(_, at)| at.value().is_some_and(|nll| (nll - 4.0_f64.ln()).abs() < 1e-12)));
        assert_eq!(profile[0].1.clusters, [0, 1]);
    }

    #[test]
    fn layers_add_up_to_the_whole() {
        let layer =
            |zeros, change| LayerFootprint { weights: 4, zeros, change, norm: 8.0, ..LayerFootprint::default() };
        let footprint = Footprint {
            prunable: 8,
            prunable_zeros: 5,
            layers: vec![layer(1, 2.0), layer(4, 8.0)],
            ..Footprint::default()
        };
        let seen = Seen { footprint: Some(footprint), ..Seen::default() };
        for (id, whole, layers) in [("sparsity", 0.625, [0.25, 1.0]), ("weight_error", 0.625, [0.25, 1.0])] {
            let all = registry();
            let found =
                all.iter().find(|metric| metric.spec.id == id).map(|metric| (metric.observe)(&metric.spec, &seen));
            assert_eq!(found.as_ref().and_then(Observation::value), Some(whole), "{id}");
            let profile = found.and_then(|found| found.profile).map(|profile| profile.by_place(id)).unwrap_or_default();
            assert_eq!(profile.iter().filter_map(|(_, at)| at.value()).collect::<Vec<_>>(), layers, "{id}");
        }
    }
}
