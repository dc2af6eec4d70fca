#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_core::gate::GateRequest;

use super::*;
use crate::fixture;

fn policy() -> Policy {
    let metrics = fixture::metrics();
    let measured = metrics.iter().map(|metric| (metric.id.as_str(), metric.direction, metric.noise));
    Policy::of(&GateRequest::default(), measured, 1.0)
}

fn filled(root: &Path, nights: impl IntoIterator<Item = Run>) -> History {
    let mut history = History::of(root, &fixture::run()).unwrap();
    for night in nights {
        history.append(&night).unwrap();
    }
    history
}

fn judge(history: &History, run: &Run) -> Trend {
    track(history, run, &policy(), Bootstrap { resamples: 500, ..Bootstrap::default() }).unwrap()
}

fn first<'a>(trend: &'a Trend, metric: &str) -> &'a TrendSeries {
    trend.series.iter().find(|series| series.metric == metric && series.cell.contains("none")).unwrap()
}

fn verdict(trend: &Trend, metric: &str) -> Verdict {
    first(trend, metric).judgement.as_ref().unwrap().verdict
}

#[test]
fn the_first_nights_are_new_and_then_cannot_be_told_of_time() {
    let root = tempfile::tempdir().unwrap();
    let mut history = filled(root.path(), []);
    let trend = judge(&history, &fixture::night(0, 1.0, 0.0));
    assert_eq!((trend.count(Verdict::New), trend.failed.len()), (18, 1));
    assert_eq!(crate::word(&trend), "failed");
    history.append(&fixture::night(0, 1.0, 0.0)).unwrap();
    let trend = judge(&history, &fixture::night(1, 1.0, 0.0));
    let found = [verdict(&trend, "ppl"), verdict(&trend, "bytes"), verdict(&trend, "decode_tps")];
    assert_eq!(found, [Verdict::Same, Verdict::Same, Verdict::CannotTell]);
    assert_eq!(first(&trend, "sparsity").judgement, None, "it has no good side");
}

#[test]
fn slower_and_worse_nights_are_worse_from_the_commit_that_did_it() {
    let root = tempfile::tempdir().unwrap();
    let history = filled(root.path(), (0..20).map(|number| fixture::night(number, 1.0, 0.0)));
    let calm = judge(&history, &fixture::night(20, 1.0, 0.0));
    assert_eq!((calm.count(Verdict::Worse), calm.count(Verdict::CannotTell)), (0, 0));
    assert_eq!(verdict(&calm, "decode_tps"), Verdict::Same);
    let slow = judge(&history, &fixture::night(20, 0.93, 0.0));
    assert_eq!((verdict(&slow, "decode_tps"), verdict(&slow, "ppl")), (Verdict::Worse, Verdict::Same));
    assert_eq!(slow.series[0].metric, "decode_tps", "worse ones stand first");
    assert_eq!(crate::commits(&slow, &slow.series[0]).unwrap(), "0000013..0000014");
    let worse = judge(&history, &fixture::night(20, 1.0, 0.01));
    assert_eq!((verdict(&worse, "decode_tps"), verdict(&worse, "ppl")), (Verdict::Same, Verdict::Worse));
    let better = judge(&history, &fixture::night(20, 1.1, -0.01));
    assert_eq!((verdict(&better, "decode_tps"), verdict(&better, "ppl")), (Verdict::Better, Verdict::Better));
}

#[test]
fn a_change_of_level_stays_worse_until_a_baseline_is_pinned() {
    let root = tempfile::tempdir().unwrap();
    let nights = (0..28).map(|number| {
        fixture::night(number, if number < 18 { 1.0 } else { 0.9 }, if number < 18 { 0.0 } else { 0.01 })
    });
    let history = filled(root.path(), nights);
    let tonight = fixture::night(28, 0.9, 0.01);
    let trend = judge(&history, &tonight);
    for metric in ["decode_tps", "ppl"] {
        let series = first(&trend, metric);
        let judged = series.judgement.as_ref().unwrap();
        assert_eq!(
            (judged.verdict, judged.since.map(|change| change.at)),
            (Verdict::Worse, Some(18)),
            "{metric}: {judged:?}"
        );
        assert_eq!(crate::commits(&trend, series).unwrap(), "0000011..0000012", "{metric}");
        assert_eq!(series.changes.iter().map(|change| change.at).collect::<Vec<_>>(), [18]);
    }
    history.save_baseline(&fixture::night(27, 0.9, 0.01), "accepted").unwrap();
    history.pin_baseline(Some("accepted")).unwrap();
    let trend = judge(&history, &tonight);
    assert_eq!(trend.count(Verdict::Worse), 0);
    assert!(trend.reference.contains("accepted (night-27)"), "{}", trend.reference);
    let back = judge(&history, &fixture::night(28, 0.9, 0.03));
    assert_eq!(verdict(&back, "ppl"), Verdict::Worse, "compared with the baseline");
}

#[test]
fn a_change_that_was_mended_is_held_against_nobody() {
    let root = tempfile::tempdir().unwrap();
    let cost = |number: usize| if (14..18).contains(&number) { 0.02 } else { 0.0 };
    let history = filled(root.path(), (0..24).map(|number| fixture::night(number, 1.0, cost(number))));
    let trend = judge(&history, &fixture::night(24, 1.0, 0.0));
    assert_eq!(verdict(&trend, "ppl"), Verdict::Same);
    assert_eq!(first(&trend, "ppl").changes.iter().map(|change| change.at).collect::<Vec<_>>(), [14, 18]);
}

#[test]
fn another_protocol_begins_anew() {
    let root = tempfile::tempdir().unwrap();
    let history = filled(root.path(), (0..8).map(|number| fixture::night(number, 1.0, 0.0)));
    let mut other = fixture::night(8, 1.0, 0.5);
    for record in &mut other.records {
        for seen in record.cell.observations.iter_mut().filter(|seen| seen.metric == "ppl") {
            seen.protocol = Some("fables/test window=512".into());
        }
    }
    let trend = judge(&history, &other);
    let series = first(&trend, "ppl");
    let judged = series.judgement.as_ref().unwrap();
    assert_eq!(judged.verdict, Verdict::New);
    assert!(judged.reason.contains("never subtracted"), "{}", judged.reason);
    assert_eq!(series.breaks, [8]);
}

#[test]
fn gone_series_and_failed_cells_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let history = filled(root.path(), (0..3).map(|number| fixture::night(number, 1.0, 0.0)));
    let mut run = fixture::night(3, 1.0, 0.0);
    run.records.remove(1);
    run.records[0].cell.failure = Some(harness_core::Failure { stage: "score".into(), reason: "NaN".into() });
    run.records[0].cell.observations.clear();
    let trend = judge(&history, &run);
    assert_eq!((trend.count(Verdict::Gone), trend.failed.len()), (3, 2));
    assert!(trend.with(Verdict::Gone).all(|series| series.cell.contains("magnitude(sparsity=0.3)")));
}

#[test]
fn the_comment_says_the_word_and_what_changed() {
    let root = tempfile::tempdir().unwrap();
    let history = filled(root.path(), (0..12).map(|number| fixture::night(number, 1.0, 0.0)));
    let mut slow = fixture::night(12, 0.9, 0.0);
    slow.records.retain(|record| record.cell.failure.is_none());
    let trend = judge(&history, &slow);
    let text = crate::comment(&trend, |table| format!("{} rows\n", table.rows.len()));
    assert!(text.starts_with("<!-- harness track -->\n### x: worse\n"), "{text}");
    assert!(text.contains("**Worse**\n\n6 rows") && text.contains("Night 13, night-12 (000000c)"), "{text}");
    let table = crate::verdict_table(&trend, &[Verdict::Worse]);
    assert_eq!(table.rows.len(), 6);
    assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
}
