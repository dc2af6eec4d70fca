//! Loss by position: windows taken apart into stretches that double, and what lies beyond the length a model was trained at held
//! against the last stretch within it.
//!
//! # Difference from the reference
//! Evaluations of long contexts average whole windows, in which the positions within the trained length hide those beyond it.

use harness_core::{Along, Direction, MetricSpec, Observation, Profile};
use harness_model::decoder::Decoder;

use crate::metrics::{Metric, SCORED, Seen, absent};
use crate::score::{WindowScore, score};

/// The first stretch ends here.
const FIRST: usize = 64;

const BUCKET: Option<Along> =
    Some(Along { word: "bucket", label: "place in the window, in stretches that double (tokens)" });

/// The metrics of this room.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![
        Metric {
            spec: MetricSpec {
                id: "beyond_nll",
                about: "mean negative log-likelihood of the tokens beyond the length of training",
                unit: "nats/token",
                direction: Direction::Lower,
                along: BUCKET,
                ..SCORED
            },
            observe: |spec, seen| observe(spec, seen, |_| Some(1.0)),
        },
        Metric {
            spec: MetricSpec {
                id: "beyond_ratio",
                about: "mean negative log-likelihood beyond the length of training over that in the last stretch within it, which doubles",
                direction: Direction::Lower,
                along: BUCKET,
                ..SCORED
            },
            observe: |spec, seen| {
                observe(spec, seen, |plateau| (plateau.nll > 0.0).then_some(plateau.nll / plateau.tokens))
            },
        },
        Metric {
            spec: MetricSpec {
                id: CONTEXT_GAIN,
                about: "what reading more than the length of training saves on the same tokens: nll of the dense model behind the last trained length alone, minus behind the whole window",
                unit: "nats/token",
                direction: Direction::Higher,
                needs_dense: true,
                ..SCORED
            },
            observe: gain,
        },
    ]
}

/// The id of the metric that holds windows against their ends.
pub(crate) const CONTEXT_GAIN: &str = "context_gain";

/// The ends of windows that a model was trained to read at once, scored by it: what a longer context has to beat. Their first token
/// is that of the windows where all begin with the same mark.
///
/// # Errors
/// Why there are none.
pub(crate) fn cut(
    dense: &Decoder,
    windows: &[Vec<u32>],
    skip_first: usize,
    mark: Option<u32>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<WindowScore>, String> {
    let trained = dense.config().max_positions;
    let length = windows.first().map_or(0, Vec::len);
    let left_out = length.saturating_sub(trained);
    if left_out == 0 {
        return Err(format!("windows end within the {trained} positions the model was trained at"));
    }
    // The first scored target needs at least one token before it.
    let first = skip_first.checked_sub(left_out).ok_or_else(|| {
        format!("tokens are scored that do not stand among the last {trained} of a window; set `last`")
    })?;
    let ends: Vec<Vec<u32>> = windows
        .iter()
        .map(|window| {
            let mut end = window[left_out..].to_vec();
            if let (Some(mark), Some(token)) = (mark.filter(|mark| window[0] == *mark), end.first_mut()) {
                *token = mark;
            }
            end
        })
        .collect();
    score(dense, &ends, first, progress).map_err(|error| error.to_string())
}

/// Each window's loss behind its end alone, minus behind all of it.
fn gain(spec: &MetricSpec, seen: &Seen) -> Observation {
    let cut = match &seen.cut {
        Some(Ok(cut)) if cut.len() == seen.scores.len() => cut,
        Some(Err(why)) => return absent(spec, why),
        _ => return absent(spec, "the ends of the windows were not read"),
    };
    Observation {
        samples: cut.iter().zip(&seen.scores).map(|(cut, whole)| cut.nll - whole.nll).collect(),
        weights: seen.scores.iter().map(|window| window.tokens as f64).collect(),
        clusters: seen.documents.clone(),
        protocol: Some(format!("{} against={}", seen.protocol, seen.trained)),
        ..Observation::absent(spec.id, spec.reduction, None)
    }
}

/// Sums over some positions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    nll: f64,
    tokens: f64,
}

/// The first position of the doubling stretch that a position lies in: 0 to 64, to 128, to 256 and so on.
fn bucket(position: usize) -> usize {
    if position < FIRST { 0 } else { 1 << position.ilog2() }
}

/// Where the last doubling stretch within a length begins; `None` where not even the first ends within it.
fn plateau(trained: usize) -> Option<usize> {
    (trained >= FIRST).then(|| if trained < 2 * FIRST { 0 } else { 1 << (trained.ilog2() - 1) })
}

/// The sums of a window over its stretches, each with its first position, and over all that lies beyond a length.
fn sums(window: &WindowScore, trained: usize) -> (Vec<(usize, Sum)>, Sum) {
    let (mut buckets, mut beyond): (Vec<(usize, Sum)>, Sum) = (Vec::new(), Sum::default());
    for stretch in &window.stretches {
        let at = bucket(stretch.first);
        if buckets.last().is_none_or(|(last, _)| *last != at) {
            buckets.push((at, Sum::default()));
        }
        let add = |sum: &mut Sum| {
            sum.nll += stretch.nll;
            sum.tokens += stretch.tokens as f64;
        };
        if let Some((_, sum)) = buckets.last_mut() {
            add(sum);
        }
        if stretch.first >= trained {
            add(&mut beyond);
        }
    }
    (buckets, beyond)
}

/// The loss beyond the trained length, each window's mean over what `unit` makes of its plateau; token by token where that is 1.
fn observe(spec: &MetricSpec, seen: &Seen, unit: fn(Sum) -> Option<f64>) -> Observation {
    let trained = seen.trained;
    let Some(plateau) = plateau(trained) else {
        return absent(spec, &format!("a model trained at {trained} positions has no stretch of {FIRST} within them"));
    };
    let mut profile = Profile {
        reduction: spec.reduction,
        places: Vec::new(),
        samples: Vec::new(),
        weights: Vec::new(),
        clusters: Vec::new(),
    };
    let (mut samples, mut weights) = (Vec::new(), Vec::new());
    for (window, document) in seen.scores.iter().zip(&seen.documents) {
        let (buckets, beyond) = sums(window, trained);
        let Some((_, flat)) = buckets.iter().find(|(first, sum)| *first == plateau && sum.tokens > 0.0) else {
            return absent(spec, "the last stretch within the trained length is not scored; lower `skip_first`");
        };
        let Some(unit) = unit(*flat) else { return absent(spec, "the model is certain of every token of a window") };
        if beyond.tokens == 0.0 {
            return absent(spec, &format!("windows end within the {trained} positions the model was trained at"));
        }
        // Means against means: stretches have different numbers of tokens, windows the same.
        let pair = |sum: &Sum| {
            if spec.unit == "1" { (sum.nll / sum.tokens, unit) } else { (sum.nll, unit * sum.tokens) }
        };
        let (sample, weight) = pair(&beyond);
        samples.push(sample);
        weights.push(weight);
        for (first, sum) in &buckets {
            let (sample, weight) = pair(sum);
            // The middle of the stretch.
            profile.places.push(if *first == 0 { FIRST as f64 / 2.0 } else { *first as f64 * 1.5 });
            profile.samples.push(sample);
            profile.weights.push(weight);
            profile.clusters.push(*document);
        }
    }
    if samples.is_empty() {
        return absent(spec, "no window was scored");
    }
    Observation {
        samples,
        weights,
        clusters: seen.documents.clone(),
        protocol: Some(format!("{} trained={trained}", seen.protocol)),
        profile: Some(profile),
        ..Observation::absent(spec.id, spec.reduction, None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::score::{StretchScore, stretch};

    /// A window whose token at each position costs `nll` of it.
    fn window(length: usize, nll: impl Fn(usize) -> f64) -> WindowScore {
        let mut window = WindowScore::default();
        for target in 1..length {
            let first = stretch(target);
            if window.stretches.last().is_none_or(|last| last.first != first) {
                window.stretches.push(StretchScore { first, ..StretchScore::default() });
            }
            let part = window.stretches.last_mut().unwrap();
            part.tokens += 1;
            part.nll += nll(target);
            window.nll += nll(target);
            window.tokens += 1;
        }
        window
    }

    fn value(id: &str, seen: &Seen) -> Observation {
        let metric = metrics().into_iter().find(|metric| metric.spec.id == id).unwrap();
        (metric.observe)(&metric.spec, seen)
    }

    #[test]
    fn loss_beyond_the_trained_length_has_known_answers() {
        // Trained at 256: 3 nats in 128 to 256, 6 in 256 to 512 and 12 behind, of one window; half of it of another.
        let step = |target: usize| {
            [1.0, 1.0, 3.0, 6.0, 12.0][(target / 64).checked_ilog2().map_or(0, |octave| octave as usize + 1)]
        };
        let seen = Seen {
            scores: vec![window(1024, step), window(1024, |target| step(target) / 2.0)],
            documents: vec![0, 1],
            trained: 256,
            protocol: "two windows".to_owned(),
            ..Seen::default()
        };
        let beyond = value("beyond_nll", &seen);
        let mean = (256.0 * 6.0 + 512.0 * 12.0) / 768.0;
        assert!((beyond.value().unwrap() - 0.75 * mean).abs() < 1e-12);
        assert_eq!(beyond.protocol.as_deref(), Some("two windows trained=256"));
        let ratio = value("beyond_ratio", &seen);
        assert!((ratio.value().unwrap() - mean / 3.0).abs() < 1e-12, "the same in both windows");
        let profile = ratio.profile.unwrap();
        let places: Vec<(f64, f64)> =
            profile.by_place("beyond_ratio").iter().map(|(place, seen)| (*place, seen.value().unwrap())).collect();
        let wanted = [(32.0, 1.0 / 3.0), (96.0, 1.0 / 3.0), (192.0, 1.0), (384.0, 2.0), (768.0, 4.0)];
        assert!(places.iter().zip(wanted).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-12), "{places:?}");
        let within = Seen { scores: vec![window(256, step)], documents: vec![0], trained: 256, ..Seen::default() };
        assert!(value("beyond_nll", &within).absent.unwrap().contains("end within"));
        assert!(
            value("beyond_ratio", &Seen { trained: 32, ..Seen::default() }).absent.unwrap().contains("32 positions")
        );
    }

    #[test]
    fn a_longer_context_is_held_against_its_end() {
        let whole = |nll: f64| WindowScore { nll, tokens: 10, ..WindowScore::default() };
        let seen = Seen {
            scores: vec![whole(20.0), whole(10.0)],
            cut: Some(Ok(vec![whole(24.0), whole(16.0)])),
            documents: vec![0, 1],
            trained: 256,
            ..Seen::default()
        };
        assert_eq!(value(CONTEXT_GAIN, &seen).value(), Some(0.5));
        let short = Seen { cut: Some(Err("windows end within".to_owned())), ..Seen::default() };
        assert!(value(CONTEXT_GAIN, &short).absent.unwrap().contains("end within"));
        assert!(value(CONTEXT_GAIN, &Seen::default()).absent.unwrap().contains("not read"));
    }

    #[test]
    fn stretches_double() {
        assert_eq!([0, 63, 64, 127, 128, 4095].map(bucket), [0, 0, 64, 64, 128, 2048]);
        assert_eq!(
            [63, 64, 128, 256, 300, 2048].map(plateau),
            [None, Some(0), Some(64), Some(128), Some(128), Some(1024)]
        );
    }
}
