#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use harness_core::{Failure, Noise};

use super::*;
use crate::fixture;

fn filled(root: &Path, nights: usize) -> History {
    let mut history = History::of(root, &fixture::night(0, 1.0, 0.0)).unwrap();
    for number in 0..nights {
        assert_eq!(history.append(&fixture::night(number, 1.0, 0.0)).unwrap(), Appended::Added);
    }
    history
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_was_appended_reads_back() {
    let root = tempfile::tempdir().unwrap();
    let written = filled(root.path(), 3);
    let read = History::of(root.path(), &fixture::run()).unwrap();
    assert_eq!((read.entries(), read.series()), (written.entries(), written.series()));
    assert_eq!(read.entries().iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(read.series().len(), 6 * 4, "six cells did not fail");
    assert_eq!(read.entries()[0].failed.len(), 1);
    let run = fixture::night(2, 1.0, 0.0);
    let record = &run.records[0];
    let cell = record.cell.cell.to_string();
    let series = read.find(&cell, "ppl").unwrap();
    assert_eq!(series.points.len(), 3);
    assert_eq!(Some(series.points[2].value), record.value("ppl"));
    let samples = read.observations(2).unwrap();
    assert_eq!(samples.get(&(cell.clone(), "ppl".to_owned())), record.cell.observation("ppl"));
    assert_eq!(samples.get(&(cell, "bytes".to_owned())), record.cell.observation("bytes"));
}

#[test]
fn machines_builds_and_suites_have_histories_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    filled(root.path(), 1);
    let mut other = fixture::night(1, 1.0, 0.0);
    other.stamp.cpu = "Ice Lake".into();
    assert!(History::of(root.path(), &other).unwrap().entries().is_empty());
    let mut debug = fixture::night(1, 1.0, 0.0);
    debug.stamp.profile = "dev".into();
    assert!(History::of(root.path(), &debug).unwrap().entries().is_empty());
    let mut suite = fixture::night(1, 1.0, 0.0);
    suite.stamp.suite.path = "suites/real/y.toml".into();
    let mut history = History::of(root.path(), &suite).unwrap();
    assert_eq!((history.suite(), history.entries().len()), ("real-y", 0));
    history.append(&suite).unwrap();
    assert_eq!(names(root.path()).len(), 1, "one folder for the class of machines");
    let all = History::all(root.path()).unwrap();
    assert_eq!(all.iter().map(History::suite).collect::<Vec<_>>(), ["real-y", "x"]);
}

#[test]
fn a_run_is_appended_once() {
    let root = tempfile::tempdir().unwrap();
    let mut history = filled(root.path(), 3);
    let again = fixture::night(1, 1.0, 0.0);
    assert_eq!(history.append(&again).unwrap(), Appended::AlreadyThere);
    assert_eq!(History::of(root.path(), &again).unwrap().entries().len(), 3);
    let before = history.before(&again);
    assert_eq!(before.entries().len(), 1);
    assert!(before.series().iter().all(|series| series.points.len() == 1));
}

#[test]
fn a_process_that_died_while_appending_changed_nothing() {
    let root = tempfile::tempdir().unwrap();
    let history = filled(root.path(), 2);
    fs::write(history.dir().join("000003-abcdef012345.samples.parquet"), "half").unwrap();
    fs::write(history.dir().join("000003-abcdef012345.records.partial"), "half").unwrap();
    let mut read = History::of(root.path(), &fixture::run()).unwrap();
    assert_eq!(read.entries().len(), 2);
    read.append(&fixture::night(2, 1.0, 0.0)).unwrap();
    assert_eq!(History::of(root.path(), &fixture::run()).unwrap().entries().len(), 3);
}

#[test]
fn two_processes_do_not_append_at_once() {
    let root = tempfile::tempdir().unwrap();
    let mut history = filled(root.path(), 1);
    let held = lock(history.dir()).unwrap();
    assert!(matches!(history.append(&fixture::night(1, 1.0, 0.0)), Err(StoreError::Busy { .. })));
    drop(held);
    // Another process appends between reading and appending here; both nights stay.
    let mut other = History::of(root.path(), &fixture::run()).unwrap();
    other.append(&fixture::night(1, 1.0, 0.0)).unwrap();
    history.append(&fixture::night(2, 1.0, 0.0)).unwrap();
    let read = History::of(root.path(), &fixture::run()).unwrap();
    assert_eq!(read.entries().iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn merged_histories_count_each_run_once() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = filled(one.path(), 3);
    let second = filled(two.path(), 2);
    // The other history numbered the same runs otherwise.
    for name in names(second.dir()).into_iter().filter(|name| name.starts_with("00000")) {
        fs::copy(second.dir().join(&name), first.dir().join(name.replacen("00000", "00004", 1))).unwrap();
    }
    let merged = History::of(one.path(), &fixture::run()).unwrap();
    assert_eq!(merged.entries().len(), 3);
    assert_eq!(merged.notes().len(), 2, "{:?}", merged.notes());
    assert!(merged.notes()[0].contains("stands in the history twice"));
}

#[test]
fn a_clock_that_goes_backwards_does_not_change_the_order() {
    let root = tempfile::tempdir().unwrap();
    let mut history = filled(root.path(), 4);
    let mut late = fixture::night(4, 1.0, 0.0);
    late.stamp.started = "2025-12-31T03:00:00Z".into();
    history.append(&late).unwrap();
    let read = History::of(root.path(), &late).unwrap();
    assert_eq!(read.entries().last().unwrap().run, "night-4");
    assert!(read.notes()[0].starts_with("the clock went backwards"), "{:?}", read.notes());
}

#[test]
fn damage_and_newer_entries_are_named() {
    let root = tempfile::tempdir().unwrap();
    let history = filled(root.path(), 2);
    let file = |end: &str| {
        let name = names(history.dir()).into_iter().find(|name| name.ends_with(end)).unwrap();
        history.dir().join(name)
    };
    let records = file("records.parquet");
    let whole = fs::read(&records).unwrap();
    fs::write(&records, &whole[..whole.len() / 2]).unwrap();
    let error = History::of(root.path(), &fixture::run()).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { path, .. } if *path == records), "{error}");
    fs::write(&records, &whole).unwrap();
    let samples = file("samples.parquet");
    fs::write(&samples, "x").unwrap();
    let read = History::of(root.path(), &fixture::run()).unwrap();
    assert!(matches!(read.observations(0), Err(StoreError::Damaged { .. })));
    let entry = file(".json");
    let text = fs::read_to_string(&entry).unwrap();
    fs::write(&entry, text.replace("\"schema\": 1", "\"schema\": 7")).unwrap();
    let error = History::of(root.path(), &fixture::run()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 7, known: SCHEMA, .. }), "{error}");
    fs::write(&entry, &text[..40]).unwrap();
    assert!(matches!(History::of(root.path(), &fixture::run()), Err(StoreError::Damaged { .. })));
}

/// A history written by the first program that kept one: later programs go on reading it.
#[test]
fn the_first_layout_stays_readable() {
    let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/history-1"));
    let night = fixture::night(0, 1.0, 0.0);
    if std::env::var_os("HARNESS_BLESS").is_some() && !golden.exists() {
        let mut history = History::of(golden, &night).unwrap();
        history.append(&night).unwrap();
        history.save_baseline(&night, "first").unwrap();
        fs::remove_file(history.dir().join("lock")).unwrap();
    }
    let history = History::of(golden, &night).unwrap();
    assert_eq!((history.entries().len(), history.series().len()), (1, 24));
    assert_eq!(history.entries()[0].commit, "000000000000");
    let cell = night.records[0].cell.cell.to_string();
    assert_eq!(Some(history.find(&cell, "ppl").unwrap().points[0].value), night.records[0].value("ppl"));
    assert_eq!(history.observations(0).unwrap().len(), 24);
    assert_eq!(history.baselines().unwrap()[0].name, "first");
}

#[test]
fn cells_that_fail_leave_a_hole_and_numbers_that_are_none_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    let mut history = filled(root.path(), 1);
    let mut run = fixture::night(1, 1.0, 0.0);
    run.records[0].cell.failure = Some(Failure { stage: "score".into(), reason: "NaN".into() });
    run.records[0].cell.observations.clear();
    run.records[0].estimates.clear();
    run.records[1].estimates[0].as_mut().unwrap().value = f64::NAN;
    history.append(&run).unwrap();
    let (failed, odd) = (run.records[0].cell.cell.to_string(), run.records[1].cell.cell.to_string());
    let read = History::of(root.path(), &run).unwrap();
    assert_eq!(read.find(&failed, "ppl").unwrap().points.len(), 1);
    assert_eq!(read.find(&odd, "ppl").unwrap().points.len(), 1);
    assert_eq!(read.find(&odd, "decode_tps").unwrap().points.len(), 2);
    assert_eq!(read.find(&odd, "decode_tps").unwrap().metric.noise, Noise::Timed);
}

#[test]
fn baselines_are_kept_pinned_and_dropped() {
    let root = tempfile::tempdir().unwrap();
    let history = filled(root.path(), 3);
    let (good, other) = (fixture::night(1, 1.0, 0.0), fixture::night(2, 1.0, 0.0));
    assert!(history.baselines().unwrap().is_empty());
    history.save_baseline(&good, "good").unwrap();
    history.save_baseline(&good, "good").unwrap();
    assert!(matches!(history.save_baseline(&other, "good"), Err(StoreError::Taken { .. })));
    assert!(matches!(history.pin_baseline(Some("bad")), Err(StoreError::NoBaseline { .. })));
    history.save_baseline(&other, "later").unwrap();
    history.pin_baseline(Some("good")).unwrap();
    let (pin, baseline) = history.pinned().unwrap().unwrap();
    assert_eq!((pin.name.as_str(), pin.after, baseline.entry.run.as_str()), ("good", 3, "night-1"));
    let samples = history.baseline_observations(&baseline).unwrap();
    let cell = good.records[0].cell.cell.to_string();
    assert_eq!(samples.get(&(cell, "ppl".to_owned())), good.records[0].cell.observation("ppl"));
    let listed: Vec<_> = history.baselines().unwrap().into_iter().map(|b| (b.name, b.pinned)).collect();
    assert_eq!(listed, [("good".to_owned(), true), ("later".to_owned(), false)]);
    history.drop_baseline("good").unwrap();
    assert_eq!((history.pinned().unwrap(), history.baselines().unwrap().len()), (None, 1));
    assert!(matches!(history.drop_baseline("good"), Err(StoreError::NoBaseline { .. })));
    history.pin_baseline(None).unwrap();
}
