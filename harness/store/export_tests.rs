#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use harness_core::{CellRecord, Value};
use harness_suite::Bench;

use super::*;
use crate::fixture;
use crate::import::{Options, import};
use crate::run::Record;

/// A suite as far as an export looks at it.
pub fn suite() -> Suite {
    let settings = [("prefill_tokens", 256), ("decode_tokens", 128)];
    let bench = Bench {
        name: "one-shot".into(),
        kind: "language-model",
        axes: BTreeMap::new(),
        zips: Vec::new(),
        settings: settings.map(|(key, value)| (key.to_owned(), Value::Int(value))).to_vec(),
        tables: BTreeMap::new(),
        metrics: Vec::new(),
        expect: Vec::new(),
    };
    Suite {
        about: String::new(),
        seed: 7,
        hash: String::new(),
        source_path: "suites/x.toml".into(),
        benches: vec![bench],
        figures: Vec::new(),
        tables: Vec::new(),
        gate: harness_core::gate::GateRequest::default(),
        notes: Vec::new(),
    }
}

fn judged() -> Vec<Judged> {
    let judged = |text: &str, held, detail: &str| Judged {
        bench: "one-shot".into(),
        text: text.into(),
        held,
        detail: detail.into(),
    };
    vec![
        judged("ppl(none) < 10", Some(true), "1 of 1"),
        judged("ppl(wanda) <= ppl(magnitude)", Some(false), "1 of 1: 9.1 against 8.2 in \"one-shot\" & more"),
        judged("kl(none) ~ 0 ± 1e-6", None, "no cell of this run is meant"),
    ]
}

/// A run whose exports a person can read: three cells, one failed, one with a metric that has no number and one whose
/// value overflows.
pub fn small() -> Run {
    let mut dense = fixture::record("tiny", "none", 0.0, 0.0);
    let mut pruned = fixture::record("tiny", "magnitude(sparsity=0.3)", 0.3, 0.05);
    let mut failed = fixture::failed("tiny", "magnitude(sparsity=0.7)");
    failed.failure.as_mut().unwrap().reason = "layer 3 is <singular>,\n\"so\" it\u{1} failed".into();
    let shorten = |record: &mut CellRecord| {
        for seen in record.observations.iter_mut().filter(|seen| seen.samples.len() > 4) {
            seen.samples.truncate(4);
            seen.weights.truncate(4);
            seen.clusters = seen.clusters.iter().take(4).enumerate().map(|(index, _)| index as u32).collect();
        }
    };
    shorten(&mut dense);
    shorten(&mut pruned);
    let speed = pruned.observations.iter_mut().find(|seen| seen.metric == "decode_tps").unwrap();
    *speed = Observation::absent("decode_tps", speed.reduction, Some("no packed kernel here".into()));
    let broken = pruned.observations.iter_mut().find(|seen| seen.metric == "ppl").unwrap();
    broken.samples = vec![255.0 * 800.0; 4];
    let order = [dense.id.clone(), pruned.id.clone(), failed.id.clone()];
    let records = vec![dense, pruned, failed];
    Run::from_records(Path::new("runs/small"), fixture::stamp(), &fixture::metrics(), &order, records)
}

pub fn exported(run: &Run, name: &str) -> Export {
    let format = FORMATS.iter().find(|format| format.name == name).unwrap();
    let (suite, judged) = (suite(), judged());
    (format.write)(&Subject { run, suite: Some(&suite), judged: &judged }).unwrap()
}

/// Writes an export and says what to import of it.
pub fn written(run: &Run, name: &str, folder: &Path) -> std::path::PathBuf {
    let format = FORMATS.iter().find(|format| format.name == name).unwrap();
    let export = exported(run, name);
    let target = if format.folder { folder.to_owned() } else { folder.join(&export.files[0].path) };
    export.write(format, &target).unwrap();
    target
}

/// Compares with a committed file; `HARNESS_BLESS=1` writes it.
fn golden(name: &str, found: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name);
    if std::env::var_os("HARNESS_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(found);
    assert!(wanted == found, "{} would now be\n{text}\nHARNESS_BLESS=1 accepts it", path.display());
}

#[test]
fn every_text_format_is_as_it_was_looked_at() {
    let run = small();
    for format in FORMATS.iter().filter(|format| format.name != "parquet") {
        let export = exported(&run, format.name);
        for file in &export.files {
            golden(&format!("{}/{}", format.name, file.path), &file.bytes);
        }
        golden(&format!("{}/left-out.txt", format.name), (export.left_out.join("\n") + "\n").as_bytes());
    }
}

#[test]
fn whole_tables_come_back_bit_for_bit() {
    for run in [fixture::run(), fixture::deep_run(), small()] {
        for name in ["csv", "jsonl", "parquet"] {
            let folder = tempfile::tempdir().unwrap();
            let read = import(&written(&run, name, folder.path()), None, &Options::default()).unwrap();
            assert_eq!(read.metrics, run.metrics, "{name}");
            let order: Vec<_> = read.records.iter().map(|record| record.id.clone()).collect();
            let back = Run::from_records(&run.dir, run.stamp.clone(), &read.metrics, &order, read.records);
            for (back, record) in back.records.iter().zip(&run.records) {
                assert_eq!(back, record, "{name}");
            }
            assert_eq!(back.records.len(), run.records.len());
            let source = &read.source;
            assert_eq!((source.tool.as_str(), source.version.as_str()), ("harness", "0.1.0"));
            assert_eq!(source.host, run.stamp.host_class());
        }
    }
}

#[test]
fn foreign_formats_come_back_bit_for_bit_where_they_have_a_place() {
    let run = fixture::run();
    let holds: [(&str, fn(&str) -> bool); 3] = [
        ("llama-bench", |metric| metric == "decode_tps"),
        ("criterion", |metric| metric == "decode_tps"),
        ("lm-eval", |metric| metric != "decode_tps"),
    ];
    for (name, holds) in holds {
        let folder = tempfile::tempdir().unwrap();
        let read = import(&written(&run, name, folder.path()), None, &Options::default()).unwrap();
        let order: Vec<_> = run.records.iter().map(|record| record.cell.id.clone()).collect();
        let back = Run::from_records(&run.dir, run.stamp.clone(), &read.metrics, &order, read.records);
        let measured: Vec<&Record> = run.records.iter().filter(|record| record.cell.failure.is_none()).collect();
        assert_eq!(back.records.len(), measured.len(), "{name}");
        for (back, record) in back.records.iter().zip(measured) {
            let mut wanted = record.cell.clone();
            wanted.observations.retain(|seen| holds(&seen.metric));
            assert_eq!(back.cell, wanted, "{name}");
            for (seen, estimate) in back.cell.observations.iter().zip(&back.estimates) {
                assert_eq!(estimate.as_ref(), record.estimate(&seen.metric), "{name}");
            }
        }
    }
}

#[test]
fn what_has_no_number_is_nowhere_a_number() {
    let run = small();
    let failed = run.records[2].cell.cell.to_string();
    for format in &FORMATS {
        let export = exported(&run, format.name);
        let all: String = export.files.iter().map(|file| String::from_utf8_lossy(&file.bytes).into_owned()).collect();
        for empty in ["\"value\": null", "\"value\": \"", "ppl,none\": null"] {
            assert!(!all.contains(empty), "{} has {empty}", format.name);
        }
        if ["bmf", "github-action-benchmark", "llama-bench", "lm-eval", "criterion"].contains(&format.name) {
            assert!(!all.contains(&failed), "{} shows the failed cell", format.name);
            assert!(export.left_out.iter().any(|line| line == "1 failed cell is left out"), "{:?}", export.left_out);
        }
    }
    let csv = String::from_utf8(exported(&run, "csv").files[0].bytes.clone()).unwrap();
    assert!(csv.contains(",absent,,no packed kernel here,decode_tps,,,,,"), "{csv}");
    assert!(csv.contains(",absent,,the value is inf,ppl,,,,,"), "{csv}");
}

#[test]
fn a_run_that_fits_nowhere_is_refused_with_the_reason() {
    let run = fixture::run();
    let failed = vec![fixture::failed("tiny", "magnitude(sparsity=0.7)")];
    let only = Run::from_records(&run.dir, run.stamp.clone(), &run.metrics, &[], failed);
    let (suite, judged) = (suite(), Vec::new());
    for format in &FORMATS {
        let result = (format.write)(&Subject { run: &only, suite: Some(&suite), judged: &judged });
        let shows_failures = ["csv", "jsonl", "parquet", "junit"].contains(&format.name);
        match result {
            Ok(_) => assert!(shows_failures, "{}", format.name),
            Err(ExportError::Nothing { reason, .. }) => {
                assert!(!shows_failures && reason.contains("1 failed cell"), "{}: {reason}", format.name);
            }
            Err(other) => panic!("{other}"),
        }
    }
    let empty = Run::from_records(&run.dir, run.stamp.clone(), &run.metrics, &[], Vec::new());
    for format in &FORMATS {
        let result = (format.write)(&Subject { run: &empty, suite: None, judged: &judged });
        assert!(matches!(result, Err(ExportError::Nothing { .. })), "{}", format.name);
    }
}

#[test]
fn several_runs_exported_to_one_criterion_folder_stand_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = fixture::run();
    written(&run, "criterion", folder.path());
    run.dir = "runs/other".into();
    written(&run, "criterion", folder.path());
    let read = |baseline: Option<&str>| {
        import(folder.path(), None, &Options { baseline: baseline.map(str::to_owned) }).map(|read| read.records.len())
    };
    assert_eq!(read(Some("test")).unwrap(), 6);
    assert_eq!(read(Some("other")).unwrap(), 6);
    let message = read(None).unwrap_err().to_string();
    assert!(message.ends_with("name one of its baselines with --baseline: other, test"), "{message}");
    let message = read(Some("x")).unwrap_err().to_string();
    assert!(message.ends_with("there is no baseline `x`; there are other, test"), "{message}");
}
