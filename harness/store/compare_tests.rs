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
    assert_eq!(effect.test, "paired bootstrap over 8 documents");
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
