//! How long a context a model still uses: the largest tested length up to which every tested length passes a rule.
//!
//! Source: RULER (Hsieh et al. 2024), whose threshold is the score of one model at one length; the rule about the own score is for
//! small models, whose scores may fall although they stay above any threshold.
//!
//! # Difference from the reference
//! The length has an interval: items are drawn anew, the same at all lengths, and the rule is applied to every draw.

use std::collections::BTreeMap;

use super::resample::below;
use super::{Bootstrap, Interval, MINIMUM_UNITS};
use crate::metric::Direction;
use crate::record::Observation;
use crate::seed::stream;

/// Which scores pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthRule {
    /// A score must be at least this, at most this where lower is better.
    pub threshold: f64,
    /// A score may be worse than that at the smallest tested length by at most this.
    pub drop: Option<f64>,
    /// Which way scores are good.
    pub direction: Direction,
}

impl LengthRule {
    /// The largest of ascending lengths that passes with all before it; `None` where the smallest does not pass, and a score that
    /// is no number does not.
    pub fn reached(&self, scores: &[(f64, f64)]) -> Option<f64> {
        let (_, own) = *scores.first()?;
        let sign = if self.direction == Direction::Lower { -1.0 } else { 1.0 };
        let passes = |score: f64| {
            sign * score >= sign * self.threshold && self.drop.is_none_or(|drop| sign * score >= sign * own - drop)
        };
        scores.iter().take_while(|(_, score)| passes(*score)).last().map(|(length, _)| *length)
    }

    /// The rule in words, of a metric.
    pub fn words(&self, metric: &str) -> String {
        let (sign, worse) = if self.direction == Direction::Lower { ("≤", "above") } else { ("≥", "below") };
        let drop = self
            .drop
            .map(|drop| format!(" and lies at most {drop} {worse} that at the smallest tested length"))
            .unwrap_or_default();
        format!(
            "the largest tested length at which, and at all smaller tested ones, {metric} {sign} {}{drop}",
            self.threshold
        )
    }
}

/// All samples at one length; those of several cells count together.
#[derive(Debug, Clone)]
pub struct TestedLength<'a> {
    /// The length.
    pub length: f64,
    /// What was seen at it.
    pub seen: Vec<&'a Observation>,
}

/// An effective length; 0 stands for a model that fails at the smallest length already.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EffectiveLength {
    /// The length.
    pub length: f64,
    /// Where it lies; `None` below three items.
    pub interval: Option<Interval>,
    /// Items that were drawn from.
    pub items: usize,
}

impl Bootstrap {
    /// The effective length by a rule. Lengths may come in any order; samples are told apart by their cluster. `None` where a length
    /// has no number.
    pub fn effective_length(&self, rule: &LengthRule, tested: &[TestedLength]) -> Option<EffectiveLength> {
        let mut order: Vec<&TestedLength> = tested.iter().collect();
        order.sort_by(|a, b| a.length.total_cmp(&b.length));
        let sums: Vec<BTreeMap<u32, (f64, f64)>> = order.iter().map(|tested| sums(&tested.seen)).collect();
        let reduction = order.first()?.seen.first()?.reduction;
        let mut items: Vec<u32> = sums.iter().flat_map(BTreeMap::keys).copied().collect();
        items.sort_unstable();
        items.dedup();
        let reached = |drawn: &[u32]| -> Option<f64> {
            let scores: Option<Vec<(f64, f64)>> = order
                .iter()
                .zip(&sums)
                .map(|(tested, sums)| {
                    let parts = drawn.iter().filter_map(|item| sums.get(item));
                    let (sum, weight) = parts.fold((0.0, 0.0), |total, part| (total.0 + part.0, total.1 + part.1));
                    Some((tested.length, reduction.reduce(&[sum], &[weight])?))
                })
                .collect();
            Some(rule.reached(&scores?).unwrap_or(0.0))
        };
        let length = reached(&items)?;
        let mut random = stream(self.seed, &["effective length"]);
        let mut drawn = items.clone();
        let mut lengths = Vec::with_capacity(self.resamples);
        for _ in 0..self.resamples {
            for item in &mut drawn {
                *item = items[below(&mut random, items.len())];
            }
            lengths.extend(reached(&drawn));
        }
        lengths.sort_unstable_by(f64::total_cmp);
        // One of the tested lengths, so no interpolation between them.
        let end = |share: f64| lengths.get(((lengths.len().max(1) - 1) as f64 * share).round() as usize).copied();
        let tail = (1.0 - self.level) / 2.0;
        let interval = end(tail).zip(end(1.0 - tail)).map(|(low, high)| Interval { low, high, level: self.level });
        let interval = interval.filter(|_| items.len() >= MINIMUM_UNITS);
        Some(EffectiveLength { length, interval, items: items.len() })
    }
}

/// Σ sample and Σ weight of every item.
fn sums(seen: &[&Observation]) -> BTreeMap<u32, (f64, f64)> {
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for observation in seen {
        for (at, sample) in observation.samples.iter().enumerate() {
            let item = observation.clusters.get(at).copied().unwrap_or(at as u32);
            let part = sums.entry(item).or_default();
            part.0 += sample;
            part.1 += observation.weights.get(at).copied().unwrap_or(1.0);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::metric::Reduction;

    const RULE: LengthRule = LengthRule { threshold: 0.85, drop: None, direction: Direction::Higher };

    fn seen(right: usize, items: usize) -> Observation {
        Observation {
            samples: (0..items).map(|item| f64::from(u8::from(item < right))).collect(),
            weights: vec![1.0; items],
            clusters: (0..items as u32).collect(),
            ..Observation::absent("found", Reduction::Ratio, None)
        }
    }

    #[test]
    fn a_length_counts_only_behind_all_smaller_ones() {
        let scores = [(1.0, 0.9), (2.0, 0.86), (4.0, 0.8), (8.0, 0.99)];
        assert_eq!(RULE.reached(&scores), Some(2.0));
        assert_eq!(LengthRule { threshold: 0.95, ..RULE }.reached(&scores), None);
        assert_eq!(LengthRule { threshold: 0.5, ..RULE }.reached(&scores), Some(8.0));
        assert_eq!(LengthRule { threshold: 0.5, drop: Some(0.05), ..RULE }.reached(&scores), Some(2.0));
        assert_eq!(LengthRule { threshold: 0.5, drop: Some(0.01), ..RULE }.reached(&scores), Some(1.0));
        assert_eq!(RULE.reached(&[(1.0, 0.9), (2.0, f64::NAN)]), Some(1.0));
        let lower = LengthRule { threshold: 1.1, drop: None, direction: Direction::Lower };
        assert_eq!(lower.reached(&[(1.0, 1.0), (2.0, 1.05), (4.0, 1.4)]), Some(2.0));
        assert_eq!(
            lower.words("ratio"),
            "the largest tested length at which, and at all smaller tested ones, ratio ≤ 1.1"
        );
        assert!(
            LengthRule { drop: Some(0.05), ..RULE }
                .words("found")
                .ends_with("at most 0.05 below that at the smallest tested length")
        );
    }

    #[test]
    fn lengths_are_those_of_the_reference() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/long_context.json");
        let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            value.as_array().unwrap().iter().filter_map(serde_json::Value::as_f64).collect()
        };
        let cases = golden["effective_lengths"].as_array().unwrap();
        assert!(cases.len() > 5);
        for case in cases {
            let direction = if case["lower"].as_bool().unwrap() { Direction::Lower } else { Direction::Higher };
            let rule =
                LengthRule { threshold: case["threshold"].as_f64().unwrap(), drop: case["drop"].as_f64(), direction };
            let mut scores: Vec<(f64, f64)> =
                numbers(&case["lengths"]).into_iter().zip(numbers(&case["scores"])).collect();
            scores.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert_eq!(rule.reached(&scores).unwrap_or(0.0), case["effective"].as_f64().unwrap(), "{case}");
        }
    }

    #[test]
    fn the_interval_holds_the_lengths_that_chance_gives() {
        let (all, most, few, nothing, two) = (seen(60, 60), seen(51, 60), seen(10, 60), seen(0, 0), seen(2, 2));
        let tested = |length, seen| TestedLength { length, seen: vec![seen] };
        let found = Bootstrap::default()
            .effective_length(&RULE, &[tested(512.0, &few), tested(128.0, &all), tested(256.0, &most)])
            .unwrap();
        // 51 of 60 is 0.85 exactly; about half of the draws fall below.
        assert_eq!((found.length, found.items), (256.0, 60));
        let interval = found.interval.unwrap();
        assert_eq!((interval.low, interval.high), (128.0, 256.0));
        let none = Bootstrap::default().effective_length(&RULE, &[tested(128.0, &few), tested(256.0, &all)]).unwrap();
        assert_eq!((none.length, none.interval.map(|interval| interval.high)), (0.0, Some(0.0)));
        assert!(Bootstrap::default().effective_length(&RULE, &[tested(1.0, &nothing)]).is_none());
        assert!(Bootstrap::default().effective_length(&RULE, &[tested(1.0, &two)]).unwrap().interval.is_none());
    }

    #[test]
    fn cells_of_one_length_count_together_by_item() {
        let (good, bad) = (seen(10, 10), seen(0, 10));
        let tested = [TestedLength { length: 64.0, seen: vec![&good, &bad] }];
        let half = LengthRule { threshold: 0.5, ..RULE };
        let found = Bootstrap::default().effective_length(&half, &tested).unwrap();
        // Every item is right in one cell and wrong in the other: no draw changes the half.
        assert_eq!((found.length, found.items, found.interval.map(|interval| interval.low)), (64.0, 10, Some(64.0)));
    }
}
