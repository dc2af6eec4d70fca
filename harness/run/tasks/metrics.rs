//! The metrics of tasks: accuracy of choices and of generated answers. One question is one sample, so arms are paired
//! on questions.

use harness_core::{Direction, MetricSpec, Noise, Observation, Probe, Reduction};

use super::{Answered, Chosen};
use crate::metrics::{BASE, Metric, Seen, absent};

const CHOSEN: MetricSpec = MetricSpec {
    direction: Direction::Higher,
    noise: Noise::Sampled,
    probe: Probe::Choose,
    reduction: Reduction::Ratio,
    needs: Some("choices"),
    ..BASE
};
const ANSWERED: MetricSpec = MetricSpec { probe: Probe::Answer, needs: Some("questions"), ..CHOSEN };

pub(crate) fn registry() -> Vec<Metric> {
    use Direction::{Lower, Neutral};
    vec![
        Metric {
            spec: MetricSpec {
                id: "acc",
                about: "share of multiple-choice questions whose likeliest answer is right",
                ..CHOSEN
            },
            observe: |spec, seen| chosen(spec, seen, |chosen| chosen.plain),
        },
        Metric {
            spec: MetricSpec {
                id: "acc_norm",
                about: "share of multiple-choice questions whose likeliest answer by character is right",
                ..CHOSEN
            },
            observe: |spec, seen| chosen(spec, seen, |chosen| chosen.by_character),
        },
        Metric {
            spec: MetricSpec {
                id: "acc_bytes",
                about: "share of multiple-choice questions whose likeliest answer by byte is right",
                ..CHOSEN
            },
            observe: |spec, seen| chosen(spec, seen, |chosen| chosen.by_byte),
        },
        Metric {
            spec: MetricSpec {
                id: "answer_flips",
                about: "share of multiple-choice questions whose likeliest answer is another than the dense model's, right or wrong",
                direction: Lower,
                needs_dense: true,
                ..CHOSEN
            },
            observe: |spec, seen| {
                let (chosen, protocol) = &seen.chosen;
                if seen.dense_chosen.len() != chosen.len() {
                    return absent(spec, "the dense model was not asked");
                }
                let pairs = chosen.iter().zip(&seen.dense_chosen);
                by_question(spec, pairs.map(|(own, dense)| f64::from(own.answer != dense.answer)).collect(), protocol)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "exact_match",
                about: "share of generated answers whose last number is the right one, written alike",
                ..ANSWERED
            },
            observe: |spec, seen| answered(spec, seen, |answer| f64::from(answer.right)),
        },
        Metric {
            spec: MetricSpec {
                id: "exact_match_stated",
                about: "share of generated answers that say `the answer is` the right number, as the examples do",
                ..ANSWERED
            },
            observe: |spec, seen| answered(spec, seen, |answer| f64::from(answer.stated)),
        },
        Metric {
            spec: MetricSpec {
                id: "same_number",
                about: "share of generated answers whose last number is the right one, however it is written",
                ..ANSWERED
            },
            observe: |spec, seen| answered(spec, seen, |answer| f64::from(answer.same_number)),
        },
        Metric {
            spec: MetricSpec {
                id: "unanswered",
                about: "share of generated answers without a number",
                direction: Lower,
                ..ANSWERED
            },
            observe: |spec, seen| answered(spec, seen, |answer| f64::from(answer.unanswered)),
        },
        Metric {
            spec: MetricSpec {
                id: "cut_off",
                about: "share of generated answers that their number of tokens ended",
                direction: Lower,
                ..ANSWERED
            },
            observe: |spec, seen| answered(spec, seen, |answer| f64::from(answer.cut_off)),
        },
        Metric {
            spec: MetricSpec {
                id: "answer_tokens",
                about: "tokens of a generated answer",
                unit: "tokens",
                direction: Neutral,
                ..ANSWERED
            },
            observe: |spec, seen| answered(spec, seen, |answer| answer.tokens as f64),
        },
    ]
}

fn by_question(spec: &MetricSpec, samples: Vec<f64>, protocol: &str) -> Observation {
    if samples.is_empty() {
        return absent(spec, "no question was asked");
    }
    Observation {
        weights: vec![1.0; samples.len()],
        clusters: (0..samples.len() as u32).collect(),
        samples,
        protocol: Some(protocol.to_owned()),
        ..Observation::absent(spec.id, spec.reduction, None)
    }
}

fn chosen(spec: &MetricSpec, seen: &Seen, right: fn(&Chosen) -> bool) -> Observation {
    let (chosen, protocol) = &seen.chosen;
    by_question(spec, chosen.iter().map(|chosen| f64::from(right(chosen))).collect(), protocol)
}

fn answered(spec: &MetricSpec, seen: &Seen, sample: fn(&Answered) -> f64) -> Observation {
    let (answers, protocol) = &seen.answered;
    by_question(spec, answers.iter().map(sample).collect(), protocol)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn flips_of_answers_count_changes_whether_right_or_wrong() {
        let choose = |answer, plain| Chosen { answer, plain, by_character: plain, by_byte: plain };
        let own = vec![choose(0, true), choose(2, false), choose(1, false), choose(3, true)];
        let dense = vec![choose(0, true), choose(1, true), choose(3, false), choose(3, true)];
        let metric = registry().into_iter().find(|metric| metric.spec.id == "answer_flips").unwrap();
        let seen = Seen { chosen: (own.clone(), "four questions".into()), dense_chosen: dense, ..Seen::default() };
        let observed = (metric.observe)(&metric.spec, &seen);
        assert_eq!(observed.samples, [0.0, 1.0, 1.0, 0.0]);
        assert_eq!((observed.value(), observed.protocol.as_deref()), (Some(0.5), Some("four questions")));
        let unasked = Seen { chosen: (own, String::new()), ..Seen::default() };
        assert!((metric.observe)(&metric.spec, &unasked).absent.unwrap().contains("was not asked"));
    }
}
