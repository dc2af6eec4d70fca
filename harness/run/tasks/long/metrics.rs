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
                about: "share of what is asked for that stands in what the model writes, by the task's rule: things in a long context, or a whole sum",
                ..RETRIEVED
            },
            observe: |spec, seen| by_item(spec, seen, |item| asked(item, item.score)),
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
            observe: |spec, seen| {
                by_item(spec, seen, |item| (item.tokens > 0).then_some((item.nll, item.tokens as f64)))
            },
        },
        Metric {
            spec: MetricSpec {
                id: "needle_kept",
                about: "share of what the answer needs that a cut left in the prompt, in tokens",
                ..RETRIEVED
            },
            observe: |spec, seen| by_item(spec, seen, |item| asked(item, item.needle_kept)),
        },
        Metric {
            spec: MetricSpec {
                id: "length_score",
                about: "how near the words of a text are to those asked for: 100 for as many, 0 for a third or four times as many (LongWriter)",
                unit: "points",
                ..RETRIEVED
            },
            observe: |spec, seen| by_item(spec, seen, |item| Some((item.text?.score, 1.0))),
        },
        Metric {
            spec: MetricSpec {
                id: "words_written",
                about: "words of a text over those asked for",
                unit: "ratio",
                direction: Direction::Neutral,
                ..RETRIEVED
            },
            observe: |spec, seen| {
                by_item(spec, seen, |item| item.text.map(|text| (text.words as f64, text.asked as f64)))
            },
        },
        Metric {
            spec: MetricSpec {
                id: "text_repeated",
                about: "share of the runs of four tokens in a text that stood in it before",
                direction: Direction::Lower,
                ..RETRIEVED
            },
            observe: |spec, seen| by_item(spec, seen, |item| Some((item.text?.repeated, 1.0))),
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

/// A number of something that was to be found.
fn asked(item: &Retrieved, number: f64) -> Option<(f64, f64)> {
    item.text.is_none().then_some((number, 1.0))
}

/// A sample and its weight for each item.
fn by_item(spec: &MetricSpec, seen: &Seen, pair: fn(&Retrieved) -> Option<(f64, f64)>) -> Observation {
    let (items, protocol) = &seen.retrieved;
    if items.is_empty() {
        return absent(spec, "nothing was asked");
    }
    let Some((samples, weights)) = items.iter().map(pair).collect::<Option<(Vec<f64>, Vec<f64>)>>() else {
        return absent(spec, "the task has no such number: no needle that could be taken out, or no text to write");
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
            text: None,
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
