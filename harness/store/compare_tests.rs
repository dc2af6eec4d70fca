#![allow(clippy::unwrap_used)]

use super::*;
use crate::fixture;

fn verdict(comparison: &Comparison, metric: &str) -> Verdict {
    comparison.rows.iter().find(|row| row.metric == metric).unwrap().verdict
}

#[test]
fn two_arms_of_one_run_are_paired_on_their_windows() {
    let run = fixture::run();
    let arm = |label| Selection { run: &run, arm: Some((Axis::Prune, label)) };
    let options = CompareOptions::default();
    let worse = compare(&arm("wanda(sparsity=0.5)"), &arm("magnitude(sparsity=0.5)"), &options);
    assert_eq!(worse.rows.len(), 4);
    assert_eq!(verdict(&worse, "ppl"), Verdict::Worse);
    assert_eq!(verdict(&worse, "sparsity"), Verdict::Same);
    let better = compare(&arm("magnitude(sparsity=0.5)"), &arm("wanda(sparsity=0.5)"), &options);
    assert_eq!(verdict(&better, "ppl"), Verdict::Better);
    let effect = better.rows[0].effect.as_ref().unwrap();
    assert!(effect.test.starts_with("paired bootstrap over 8 documents; t, "), "{}", effect.test);
    let (forth, back) = (&worse.rows[0], &better.rows[0]);
    assert_eq!(forth.probability, back.probability);
    assert_eq!(forth.adjusted, forth.probability.map(|p| 2.0 * p), "two tests: the windows and the rounds");
    assert_eq!(worse.tests, 2);
    assert!(effect.interval.unwrap().high < 0.0);
}

#[test]
fn a_margin_makes_small_differences_the_same() {
    let run = fixture::run();
    let arm = |label| Selection { run: &run, arm: Some((Axis::Prune, label)) };
    let margins = BTreeMap::from([("ppl".to_owned(), Margin::relative(0.05))]);
    let options = CompareOptions { margins, ..CompareOptions::default() };
    let same = compare(&arm("none"), &arm("wanda(sparsity=0.3)"), &options);
    assert_eq!(verdict(&same, "ppl"), Verdict::Same);
}

#[test]
fn a_run_against_itself_is_the_same_and_keeps_its_failures() {
    let run = fixture::run();
    let all = Selection { run: &run, arm: None };
    let comparison = compare(&all, &all, &CompareOptions::default());
    assert_eq!(comparison.count(Verdict::Failed), 4);
    assert_eq!(comparison.count(Verdict::Same), 6 * 3);
    assert_eq!(comparison.count(Verdict::CannotTell), 6, "equal medians of noisy times");
    assert_eq!(comparison.rows[0].cell, "one-shot / tiny / none / fables/test");
}

#[test]
fn what_is_on_one_side_only_is_new_or_gone() {
    let (run, mut other) = (fixture::run(), fixture::run());
    other.records.remove(0);
    let (whole, part) = (Selection { run: &run, arm: None }, Selection { run: &other, arm: None });
    let options = CompareOptions::default();
    assert_eq!(compare(&whole, &part, &options).count(Verdict::Gone), 4);
    assert_eq!(compare(&part, &whole, &options).count(Verdict::New), 4);
}

#[test]
fn other_protocols_hosts_and_builds_are_refused_with_the_reason() {
    let run = fixture::run();
    let reason = |other: &Run, metric: &str| {
        let (a, b) = (Selection { run: &run, arm: None }, Selection { run: other, arm: None });
        let comparison = compare(&a, &b, &CompareOptions::default());
        let row = comparison.rows.into_iter().find(|row| row.metric == metric).unwrap();
        assert_eq!((row.verdict, row.effect), (Verdict::CannotTell, None));
        row.reason.unwrap()
    };
    let mut other = fixture::run();
    other.stamp.cpu = "Ice Lake".into();
    assert!(reason(&other, "decode_tps").starts_with("times of different machines are never compared"));
    let mut other = fixture::run();
    other.stamp.profile = "dev".into();
    assert!(reason(&other, "decode_tps").contains("`dev` build"));
    let mut other = fixture::run();
    other.records[0].cell.observations[0].protocol = Some("window=512".into());
    assert!(reason(&other, "ppl").starts_with("different protocols are never subtracted"));
}

/// The fixture's run with another observation in the place of a metric's in one of its cells.
fn with(cell: usize, metric: &str, change: impl Fn(&mut Observation)) -> Run {
    let mut run = fixture::run();
    let record = &mut run.records[cell];
    let place = record.cell.observations.iter().position(|seen| seen.metric == metric).unwrap();
    change(&mut record.cell.observations[place]);
    run
}

fn against(other: &Run, metric: &str) -> ComparisonRow {
    let run = fixture::run();
    let comparison =
        compare(&Selection { run: &run, arm: None }, &Selection { run: other, arm: None }, &CompareOptions::default());
    comparison.rows.into_iter().find(|row| row.metric == metric).unwrap()
}

#[test]
fn degenerate_samples_have_a_row_that_explains_them() {
    let nan = against(&with(0, "ppl", |seen| seen.samples[4] = f64::NAN), "ppl");
    assert_eq!((nan.verdict, nan.refused), (Verdict::CannotTell, true));
    assert_eq!(nan.reason.unwrap(), "b has no finite value: 1 of 24 samples, the first of them sample 4, which is NaN");
    let same = against(&fixture::run(), "ppl");
    assert_eq!((same.verdict, same.probability), (Verdict::Same, Some(1.0)));
    assert_eq!(same.effect.unwrap().note.unwrap(), "every sample is the same on both sides");
    let short = |seen: &mut Observation| seen.samples.truncate(2);
    let few = against(&with(0, "decode_tps", short), "decode_tps");
    assert_eq!((few.verdict, few.probability, few.detectable), (Verdict::CannotTell, None, None));
    assert_eq!(few.reason.unwrap(), "2 rounds; noise is not known from fewer than 3");
    let cut = against(&with(0, "ppl", short), "ppl");
    assert_eq!(cut.reason.unwrap(), "24 samples cannot be paired with 2");
    let equal = against(&with(0, "decode_tps", |seen| seen.samples.fill(504.0)), "decode_tps");
    assert!(equal.verdict == Verdict::CannotTell && equal.probability.unwrap() > 0.9, "{equal:?}");
}

#[test]
fn cannot_tell_says_what_would_have_been_found_and_what_it_takes() {
    // Some windows easier, some harder, by chance a little harder on the whole.
    let other = with(0, "ppl", |seen| {
        for (index, sample) in seen.samples.iter_mut().enumerate() {
            *sample += 255.0 * 0.02 * (((index / 3 * 5) % 8) as f64 - 3.0);
        }
    });
    let row = against(&other, "ppl");
    assert_eq!(row.verdict, Verdict::CannotTell, "{row:?}");
    let (reason, effect) = (row.reason.unwrap(), row.effect.unwrap());
    assert!(reason.contains("8 documents find ") && reason.contains(" seen needs about "), "{reason}");
    assert!(row.detectable.unwrap() > effect.difference.abs(), "{effect:?}");
    assert!(row.needed.unwrap() > 8);
}

#[test]
fn verdicts_are_corrected_for_the_number_of_tests() {
    let (mut run, mut other) = (fixture::run(), fixture::run());
    let cells = 40;
    for (side, run) in [&mut run, &mut other].into_iter().enumerate() {
        let template = run.records[0].clone();
        run.records = (0..cells)
            .map(|cell| {
                let mut record = template.clone();
                record.cell.cell.bench = format!("bench-{cell:02}");
                let seen = record.cell.observations.iter_mut().find(|seen| seen.metric == "ppl").unwrap();
                for (index, sample) in seen.samples.iter_mut().enumerate() {
                    // The second side is off by chance: by documents, and differently in every cell.
                    let chance = f64::from((((index / 3) * 37 + cell * 101) * 7919 % 1000) as u32) / 1000.0 - 0.5;
                    *sample += 5.0 * side as f64 * chance;
                }
                record
            })
            .collect();
    }
    let whole = |run| Selection { run, arm: None };
    let comparison = compare(&whole(&run), &whole(&other), &CompareOptions::default());
    assert_eq!(comparison.tests, 2 * cells);
    let found = |row: &ComparisonRow| matches!(row.verdict, Verdict::Better | Verdict::Worse);
    for row in &comparison.rows {
        assert!(row.adjusted >= row.probability);
        assert!(!found(row) || row.noise == Noise::Exact || row.adjusted.unwrap() <= 0.05, "{row:?}");
    }
}

#[test]
fn times_of_the_same_rounds_are_paired_and_others_are_not() {
    let timed = |rounds: [u32; 2]| {
        let mut run = fixture::run();
        for (record, first) in run.records.iter_mut().zip(rounds) {
            let seen = record.cell.observations.iter_mut().find(|seen| seen.metric == "decode_tps").unwrap();
            seen.clusters = (first..first + 9).collect();
        }
        run
    };
    let test = |a: &Run, b: &Run| {
        let arm = |run, label| Selection { run, arm: Some((Axis::Prune, label)) };
        let comparison = compare(&arm(a, "none"), &arm(b, "magnitude(sparsity=0.3)"), &CompareOptions::default());
        comparison.rows.into_iter().find(|row| row.metric == "decode_tps").unwrap().effect.unwrap().test
    };
    let together = timed([40, 40]);
    assert!(test(&together, &together).starts_with("paired bootstrap over 9 rounds"));
    let apart = timed([40, 90]);
    assert!(test(&apart, &apart).starts_with("bootstrap of two medians"));
    let mut later = together.clone();
    later.stamp.started = "2026-01-03T03:04:05Z".into();
    assert!(test(&together, &later).starts_with("bootstrap of two medians"));
}

#[test]
fn a_comparison_of_nothing_but_refusals_says_so() {
    let (run, mut other) = (fixture::run(), fixture::run());
    for record in &mut other.records {
        record.cell.observations.retain(|seen| seen.metric == "ppl");
        record.cell.observations.iter_mut().for_each(|seen| seen.protocol = Some("window=512".into()));
    }
    let mut first = run.clone();
    first.records.iter_mut().for_each(|record| record.cell.observations.retain(|seen| seen.metric == "ppl"));
    let whole = |run| Selection { run, arm: None };
    let comparison = compare(&whole(&first), &whole(&other), &CompareOptions::default());
    assert!(comparison.refusal().unwrap().starts_with("different protocols are never subtracted"));
    assert_eq!(compare(&whole(&run), &whole(&run), &CompareOptions::default()).refusal(), None);
}
