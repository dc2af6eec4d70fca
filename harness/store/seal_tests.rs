#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::fixture;
use crate::run::exact_records_bytes;

#[test]
fn a_sealed_run_reads_back_whole_in_the_order_of_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("r");
    fixture::write(&dir, fixture::journal().into_iter().rev());
    let sealed = seal(&dir, &fixture::metrics(), &fixture::order()).unwrap();
    assert_eq!(sealed.records.iter().map(|r| r.cell.id.clone()).collect::<Vec<_>>(), fixture::order());
    assert_eq!(Run::open(&dir).unwrap(), sealed);
    assert_eq!(sealed.records[1].cell.observations[0].metric, "ppl");
    assert!(sealed.records[1].estimate("ppl").unwrap().interval.is_some());
}

#[test]
fn the_order_in_which_cells_finish_changes_neither_tables_nor_exact_records() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str, reverse: bool| {
        let dir = folder.path().join(name);
        let mut records = fixture::journal();
        if reverse {
            records.reverse();
        }
        fixture::write(&dir, records);
        let run = seal(&dir, &fixture::metrics(), &fixture::order()).unwrap();
        let read = |file: &str| fs::read(dir.join(file)).unwrap();
        (read("cells.parquet"), read("records.parquet"), read("samples.parquet"), exact_records_bytes(&run))
    };
    let (one, two) = (bytes("a", false), bytes("b", true));
    assert!(one == two);
    let exact = String::from_utf8(one.3).unwrap();
    assert_eq!(exact.lines().count(), 6 * 3 + 1);
    assert!(exact.contains("singular") && !exact.contains("decode_tps") && !exact.contains("seconds"));
}

#[test]
fn timings_do_not_touch_the_exact_records() {
    let run = |seconds: f64, speed: f64| {
        let mut records = fixture::journal();
        for record in &mut records {
            record.seconds = seconds;
        }
        records[0].observations[0].samples = vec![speed];
        exact_records_bytes(&Run::from_records(
            Path::new("x"),
            fixture::stamp(),
            &fixture::metrics(),
            &fixture::order(),
            records,
        ))
    };
    assert_eq!(run(1.0, 3.0), run(2.0, 4.0));
}

#[test]
fn a_later_record_of_a_cell_takes_the_place_of_the_earlier() {
    let folder = tempfile::tempdir().unwrap();
    let arm = "wanda(sparsity=0.5)";
    fixture::write(folder.path(), [fixture::failed("tiny", arm), fixture::record("tiny", arm, 0.5, 0.1)]);
    let run = seal(folder.path(), &fixture::metrics(), &[]).unwrap();
    assert_eq!((run.records.len(), run.failed().count()), (1, 0));
}

#[test]
fn sealing_again_changes_nothing_and_other_content_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fixture::write(folder.path(), fixture::journal());
    let metrics = fixture::metrics();
    seal(folder.path(), &metrics, &fixture::order()).unwrap();
    seal(folder.path(), &metrics, &fixture::order()).unwrap();
    let shorter = &fixture::order()[..3];
    let error = seal(folder.path(), &metrics, shorter).unwrap_err();
    assert!(matches!(error, StoreError::Sealed { .. }), "{error}");
    assert!(matches!(write_stamp(folder.path(), &fixture::stamp()), Err(StoreError::Sealed { .. })));
    assert!(matches!(create(folder.path(), &fixture::stamp()), Err(StoreError::Sealed { .. })));
    assert!(Run::open(folder.path()).is_ok());
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    assert!(matches!(Run::open(dir), Err(StoreError::NoRun { .. })));
    fixture::write(dir, fixture::journal());
    assert!(matches!(Run::open(dir), Err(StoreError::Unsealed { .. })));
    seal(dir, &fixture::metrics(), &[]).unwrap();
    let path = dir.join("records.parquet");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let message = Run::open(dir).unwrap_err().to_string();
    assert!(message.contains("records.parquet is damaged"), "{message}");
    fs::write(&path, whole).unwrap();
    let path = dir.join("sealed.json");
    let newer = fs::read_to_string(&path).unwrap().replace("\"schema\": 2", "\"schema\": 9");
    fs::write(&path, newer).unwrap();
    assert!(matches!(Run::open(dir), Err(StoreError::Newer { found: 9, known: 2, .. })));
}

#[test]
fn a_folder_that_cannot_be_written_is_a_write_error() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "x").unwrap();
    let error = create(&blocked.join("run"), &fixture::stamp()).unwrap_err();
    assert!(error.is_write(), "{error}");
}

#[test]
fn runs_are_listed_with_their_faults() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("runs");
    assert_eq!(crate::list_runs(&root).unwrap(), []);
    fixture::write(&root.join("good"), fixture::journal());
    seal(&root.join("good"), &fixture::metrics(), &[]).unwrap();
    fixture::write(&root.join("open"), []);
    fixture::write(&root.join("bad"), []);
    fs::write(root.join("bad/run.json"), "{").unwrap();
    let runs = crate::list_runs(&root).unwrap();
    let line = |name: &str| runs.iter().find(|run| run.name == name).unwrap();
    assert_eq!(line("good").cells, Some((7, 1)));
    assert_eq!((line("open").cells, line("open").fault.is_none()), (None, true));
    assert!(line("bad").fault.is_some());
}

#[test]
fn profiles_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("r");
    fixture::write(&dir, fixture::deep_journal());
    let metrics = fixture::deep_run().metrics;
    let sealed = seal(&dir, &metrics, &fixture::order()).unwrap();
    let read = Run::open(&dir).unwrap();
    assert_eq!(read, sealed);
    assert!(read.records[1].cell.observation("nll").unwrap().profile.is_some());
}

/// Layout 1 is layout 2 without the table of profiles.
#[test]
fn a_run_of_layout_1_is_read_without_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("r");
    fixture::write(&dir, fixture::deep_journal());
    let sealed = seal(&dir, &fixture::deep_run().metrics, &fixture::order()).unwrap();
    fs::remove_file(dir.join("profiles.parquet")).unwrap();
    let path = Layout::new(&dir).seal();
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    old["schema"] = 1.into();
    assert!(old["files"].as_object_mut().unwrap().remove("profiles.parquet").is_some());
    for metric in old["metrics"].as_array_mut().unwrap() {
        metric.as_object_mut().unwrap().remove("along");
    }
    fs::write(&path, serde_json::to_vec(&old).unwrap()).unwrap();
    let run = Run::open(&dir).unwrap();
    assert!(run.records.iter().flat_map(|record| &record.cell.observations).all(|seen| seen.profile.is_none()));
    assert!(run.metrics.iter().all(|metric| metric.along.is_none()));
    assert_eq!(run.records[0].value("nll"), sealed.records[0].value("nll"));
}
