#![allow(clippy::unwrap_used)]

use harness_core::Reduction;

use super::*;
use crate::fixture;

fn ppl(cost: f64) -> Observation {
    fixture::record("tiny", "none", 0.0, cost).observation("ppl").unwrap().clone()
}

fn info(id: &str) -> MetricInfo {
    fixture::metrics().into_iter().find(|metric| metric.id == id).unwrap()
}

fn standings(metric: &MetricInfo, all: &[Option<&Observation>]) -> Vec<Standing> {
    let candidates: Vec<Option<Candidate>> =
        all.iter().map(|seen| seen.map(|seen| (seen.value().unwrap(), seen))).collect();
    rank(metric, true, &candidates).standings
}

/// Adds noise that a pairing cannot take away, with mean zero over the documents.
fn shaken(seen: &Observation, by: f64) -> Observation {
    let mut seen = seen.clone();
    for (index, sample) in seen.samples.iter_mut().enumerate() {
        *sample += 255.0 * by * if (index / 3) % 2 == 0 { 1.0 } else { -1.0 };
    }
    seen
}

#[test]
fn the_best_is_marked_when_it_is_told_apart_from_every_other() {
    use Standing::{Best, Plain, Tied};
    let (none, small, large) = (ppl(0.0), ppl(0.02), ppl(0.4));
    let metric = info("ppl");
    assert_eq!(standings(&metric, &[Some(&large), None, Some(&none), Some(&small)]), [Plain, Plain, Best, Plain]);
    let near = shaken(&ppl(0.001), 0.05);
    assert_eq!(standings(&metric, &[Some(&near), Some(&none), Some(&large)]), [Tied, Tied, Plain]);
    assert_eq!(standings(&metric, &[Some(&none)]), [Plain]);
    assert_eq!(standings(&info("sparsity"), &[Some(&none), Some(&large)]), [Plain, Plain]);
}

#[test]
fn holm_takes_a_mark_away_that_a_single_test_would_give() {
    use Standing::{Best, Plain, Tied};
    // Differences over eight documents whose probability lies between 0.05 / 20 and 0.05.
    let (none, near) = (ppl(0.0), shaken(&ppl(0.02), 0.0221));
    let single = Bootstrap::default().paired(&none, &near).unwrap().probability.unwrap();
    assert!(single > 0.0025 && single < 0.05, "{single}");
    let metric = info("ppl");
    assert_eq!(standings(&metric, &[Some(&none), Some(&near)]), [Best, Plain]);
    let mut all = vec![Some(&none)];
    all.extend([Some(&near); 20]);
    assert_eq!(standings(&metric, &all)[..2], [Tied, Tied]);
}

#[test]
fn exact_metrics_are_compared_to_the_figures_that_are_shown() {
    use Standing::{Best, Plain, Tied};
    let bytes = |value| Observation::single("bytes", value);
    let (small, large) = (bytes(1.0), bytes(2.0));
    let metric = info("bytes");
    assert_eq!(standings(&metric, &[Some(&large), Some(&small)]), [Plain, Best]);
    assert_eq!(standings(&metric, &[Some(&small), Some(&small), Some(&large)]), [Tied, Tied, Plain]);
    assert_eq!(standings(&metric, &[Some(&small), Some(&small)]), [Plain, Plain]);
    let (near, far) = (bytes(1.0004), bytes(1.002));
    assert_eq!(standings(&metric, &[Some(&near), Some(&far), Some(&small)]), [Tied, Plain, Tied]);
}

#[test]
fn what_was_measured_differently_is_not_ranked_and_the_reason_is_given() {
    let (a, mut b) = (ppl(0.0), ppl(0.4));
    b.protocol = Some("window=512".into());
    let ranking = rank(&info("ppl"), true, &[Some((7.0, &a)), Some((9.0, &b))]);
    assert_eq!(ranking.standings, [Standing::Plain; 2]);
    assert!(ranking.refused.unwrap().starts_with("different protocols"));
    let speed = fixture::record("tiny", "none", 0.0, 0.0).observations[0].clone();
    let debug = rank(&info("decode_tps"), false, &[Some((504.0, &speed)), Some((504.0, &speed))]);
    assert!(debug.refused.unwrap().contains("without optimisation"));
}

#[test]
fn the_probability_needs_no_draws() {
    let (none, near) = (ppl(0.0), shaken(&ppl(0.02), 0.05));
    let drawn = Bootstrap::default().paired(&none, &near).unwrap();
    assert!(drawn.interval.is_some() && drawn.probability.is_some_and(|p| p > 0.0 && p < 1.0), "{drawn:?}");
    assert_eq!(probability(Noise::Sampled, (1.0, &none), (2.0, &near)), Ok(drawn.probability));
}

#[test]
fn times_of_the_same_rounds_are_paired() {
    use Standing::{Best, Plain, Tied};
    let speed = |factor: f64, first: u32| Observation {
        // The machine slows down by half over the rounds, for both arms alike.
        samples: (0..9)
            .map(|round| factor * 500.0 / (1.0 + 0.1 * f64::from(round)) + f64::from(round * 7 % 3))
            .collect(),
        clusters: (first..first + 9).collect(),
        ..Observation::absent("decode_tps", Reduction::Median, None)
    };
    let metric = info("decode_tps");
    assert_eq!(standings(&metric, &[Some(&speed(1.0, 0)), Some(&speed(1.05, 0))]), [Plain, Best]);
    assert_eq!(standings(&metric, &[Some(&speed(1.0, 0)), Some(&speed(1.05, 9))]), [Tied, Tied], "other rounds");
}

#[test]
fn two_documents_give_no_test() {
    use Standing::Plain;
    let two = |cost: f64| {
        let seen = ppl(cost);
        Observation { clusters: seen.clusters.iter().map(|document| document / 4).collect(), ..seen }
    };
    let (none, large) = (two(0.0), two(0.4));
    assert_eq!(probability(Noise::Sampled, (1.0, &none), (2.0, &large)), Ok(None));
    assert_eq!(standings(&info("ppl"), &[Some(&none), Some(&large)]), [Plain, Plain]);
}

#[test]
fn samples_that_say_nothing_are_tied_or_not_compared() {
    use Standing::{Best, Plain, Tied};
    let metric = info("ppl");
    let none = ppl(0.0);
    assert_eq!(standings(&metric, &[Some(&none), Some(&none.clone())]), [Tied, Tied], "the same samples");
    let constant = |value: f64| Observation { samples: vec![255.0 * value; 24], ..none.clone() };
    assert_eq!(standings(&metric, &[Some(&constant(2.0)), Some(&constant(2.1))]), [Best, Plain], "always the same gap");
    let mut broken = ppl(0.4);
    broken.samples[3] = f64::NAN;
    assert_eq!(standings(&metric, &[Some(&broken), Some(&none)]), [Plain, Plain], "no number, no rival");
    let short = |cost: f64| Observation {
        samples: ppl(cost).samples[..1].to_vec(),
        weights: vec![255.0],
        clusters: vec![0],
        ..none.clone()
    };
    assert_eq!(standings(&metric, &[Some(&short(0.0)), Some(&short(0.4))]), [Plain, Plain], "one sample has no noise");
}
