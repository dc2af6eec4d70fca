//! The metrics of long contexts. One item is one sample, so arms are paired on items.

use harness_core::{Direction, MetricSpec, Noise, Observation, Probe, Reduction};

use super::Retrieved;
use crate::metrics::{BASE, Metric, Seen, absent};

const RETRIEVED: MetricSpec = MetricSpec {
    direction: Direction::Higher,
    noise: Noise::Sampled,
    probe: Probe::Retrieve,
    reduction: Reduction::Ratio,
    ..BASE
};

pub(crate) fn registry() -> Vec<Metric> {
    vec![
        Metric {
            spec: MetricSpec {
                id: "found",
                about: "share of what a long context asks for that stands in what the model writes, by the task's rule",
                ..RETRIEVED
            },
            observe: |spec, seen| by_item(spec, seen, |item| Some((item.score, 1.0))),
        },
        Metric {
            spec: MetricSpec {
                id: "needle_gain",
                about: "what the needle saves: nats a token of the right answer behind other text of the same length, minus behind the needle",
                unit: "nats/token",
                ..RETRIEVED
            },
            observe: |spec, seen| by_item(spec, seen, |item| Some((item.control? - item.nll, item.tokens as f64))),
        },
        Metric {
            spec: MetricSpec {
                id: "needle_nll",
                about: "negative log-likelihood of the right answer behind a long context that holds it",
                unit: "nats/token",
                direction: Direction::Lower,
                ..RETRIEVED
            },
            observe: |spec, seen| by_item(spec, seen, |item| Some((item.nll, item.tokens as f64))),
        },
        Metric {
            spec: MetricSpec {
                id: "needle_kept",
                about: "share of what the answer needs that a cut left in the prompt, in tokens",
                ..RETRIEVED
            },
            observe: |spec, seen| by_item(spec, seen, |item| Some((item.needle_kept, 1.0))),
        },
        Metric {
            spec: MetricSpec {
                id: "prompt_tokens",
                about: "tokens of a prompt that were read, question and chat template included",
                unit: "tokens",
                direction: Direction::Lower,
                ..RETRIEVED
            },
            observe: |spec, seen| by_item(spec, seen, |item| Some((item.prompt as f64, 1.0))),
        },
    ]
}

/// A sample and its weight for each item.
fn by_item(spec: &MetricSpec, seen: &Seen, pair: fn(&Retrieved) -> Option<(f64, f64)>) -> Observation {
    let (items, protocol) = &seen.retrieved;
    if items.is_empty() {
        return absent(spec, "nothing was asked");
    }
    let Some((samples, weights)) = items.iter().map(pair).collect::<Option<(Vec<f64>, Vec<f64>)>>() else {
        return absent(spec, "there is no needle that could be taken out of the context");
    };
    Observation {
        clusters: (0..samples.len() as u32).collect(),
        samples,
        weights,
        protocol: Some(protocol.clone()),
        ..Observation::absent(spec.id, spec.reduction, None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn long_contexts_have_known_answers() {
        let item = |score, nll, control, tokens| Retrieved {
            score,
            nll,
            control,
            tokens,
            prompt: 100 * tokens,
            needle_kept: score / 2.0,
        };
        let seen = |items: Vec<Retrieved>| Seen { retrieved: (items, "two items".to_owned()), ..Seen::default() };
        let both = seen(vec![item(1.0, 0.5, Some(6.5), 2), item(0.25, 3.5, Some(3.5), 4)]);
        let value = |id: &str, seen: &Seen| {
            let metric = registry().into_iter().find(|metric| metric.spec.id == id).unwrap();
            (metric.observe)(&metric.spec, seen)
        };
        assert_eq!(value("found", &both).value(), Some(0.625));
        assert_eq!(value("needle_nll", &both).value(), Some(4.0 / 6.0));
        assert_eq!(value("needle_gain", &both).value(), Some(1.0), "6 nats over 6 tokens, not a mean of means");
        assert_eq!(value("needle_kept", &both).value(), Some(0.3125));
        assert_eq!(value("prompt_tokens", &both).value(), Some(300.0));
        assert_eq!(value("needle_gain", &both).protocol.as_deref(), Some("two items"));
        let without = seen(vec![item(1.0, 0.5, None, 2)]);
        assert!(value("needle_gain", &without).absent.unwrap().contains("no needle"));
        assert_eq!(value("found", &without).value(), Some(1.0));
        assert!(value("found", &seen(Vec::new())).absent.is_some());
    }
}
