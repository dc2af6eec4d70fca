#![allow(clippy::unwrap_used)]

use harness_core::{Axis, Direction, Noise, Reduction};
use proptest::prelude::*;

use super::*;
use crate::compare::{CompareOptions, Selection, compare};
use crate::export::tests::{exported, small, written};
use crate::fixture;

/// A row as llama-bench b6123 writes it, with a field that is not known here.
fn llama_row(commit: &str, test: (u64, u64, u64), threads: u64, rates: [f64; 3]) -> String {
    let (prompt, generated, depth) = test;
    let tokens = (prompt + generated) as f64;
    let times = rates.map(|rate| (1e9 * tokens / rate).round());
    let mean = rates.iter().sum::<f64>() / 3.0;
    format!(
        r#"{{"build_commit": "{commit}", "build_number": 6123, "cpu_info": "AMD EPYC", "gpu_info": "", "backends": "CPU",
"model_filename": "models/tiny-q4_0.gguf", "model_type": "llama 1B Q4_0", "model_size": 637699456,
"model_n_params": 1100048384, "n_batch": 2048, "n_ubatch": 512, "n_threads": {threads}, "cpu_mask": "0x0",
"cpu_strict": false, "poll": 50, "type_k": "f16", "type_v": "f16", "n_gpu_layers": 99, "split_mode": "layer",
"main_gpu": 0, "no_kv_offload": false, "flash_attn": false, "tensor_split": "0.00", "tensor_buft_overrides": "none",
"use_mmap": true, "embeddings": false, "no_op_offload": 0, "n_prompt": {prompt}, "n_gen": {generated},
"n_depth": {depth}, "test_time": "2026-09-01T10:11:12Z", "avg_ns": {}, "stddev_ns": 0, "avg_ts": {mean:.6},
"stddev_ts": 0.5, "repack": 1, "samples_ns": {times:?}, "samples_ts": {rates:?}}}"#,
        times.iter().sum::<f64>() / 3.0
    )
    .replace('\n', " ")
}

fn llama(commit: &str, scale: f64) -> String {
    let rates = [101.25 * scale, 99.5 * scale, 100.0 * scale];
    format!(
        "[{},\n{},\n{}]",
        llama_row(commit, (512, 0, 0), 2, rates),
        llama_row(commit, (0, 128, 0), 2, [10.0 * scale, 11.0 * scale, 10.5 * scale]),
        llama_row(commit, (512, 0, 1024), 4, rates)
    )
}

fn file(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn imported(path: &Path) -> Imported {
    import(path, None, &Options::default()).unwrap()
}

fn run(dir: &Path, read: &Imported) -> Run {
    write_import(dir, read, &Stamp { version: "0.1.0".into(), ..Stamp::default() }).unwrap()
}

#[test]
fn llama_bench_becomes_a_run_that_opens_lists_and_compares() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("runs");
    let one = imported(&file(folder.path(), "a.json", llama("aaaaaaaa", 1.0)));
    assert_eq!(one.source.to_string(), "llama-bench b6123 (aaaaaaaa)");
    let labels =
        |axis| one.records.iter().map(|record| record.cell.label(axis).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(labels(Axis::Data), ["pp512", "tg128", "pp512 @ d1024"]);
    let names = ["tiny-q4_0(n_threads=2)", "tiny-q4_0(n_threads=2)", "tiny-q4_0(n_threads=4)"];
    assert_eq!(labels(Axis::Model), names);
    let a = run(&root.join("a"), &one);
    assert!((a.records[0].value("prefill_tps").unwrap() - 100.25).abs() < 1e-9);
    assert_eq!(a.records[1].cell.observations[0].samples, [10.0, 11.0, 10.5]);
    assert_eq!(Run::open(&root.join("a")).unwrap(), a);
    let listed = crate::list_runs(&root).unwrap();
    assert_eq!((listed[0].suite.as_str(), listed[0].cells), ("llama-bench b6123 (aaaaaaaa), imported", Some((3, 0))));
    assert_eq!(listed[0].started, "2026-09-01T10:11:12Z");
    let faster = llama("bbbbbbbb", 2.0);
    let faster = faster.lines().map(|row| row.trim_matches(['[', ']', ',']).to_owned() + "\n");
    let b = run(&root.join("b"), &imported(&file(folder.path(), "b.jsonl", faster.collect::<String>())));
    let all = |run| Selection { run, arm: None };
    let comparison = compare(&all(&a), &all(&b), &CompareOptions::default());
    assert_eq!(comparison.count(harness_core::Verdict::Better), 3, "{:?}", comparison.rows);
    // A foreign clock is not ours.
    let ours = compare(&all(&fixture::run()), &all(&a), &CompareOptions::default());
    assert_eq!(ours.count(harness_core::Verdict::Better) + ours.count(harness_core::Verdict::Worse), 0);
}

#[test]
fn llama_bench_rows_that_contradict_themselves_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fault = |from: &str, to: &str| {
        let text = llama("aaaaaaaa", 1.0);
        assert!(text.contains(from), "{from}");
        let path = file(folder.path(), "a.json", text.replacen(from, to, 1));
        import(&path, Some("llama-bench"), &Options::default()).unwrap_err().to_string()
    };
    assert!(fault("\"avg_ts\": 100.25", "\"avg_ts\": 200").contains("[0]: `avg_ts` is 200"));
    assert!(fault("\"n_prompt\": 512", "\"n_prompt\": -512").contains("[0].n_prompt: -512 is no count"));
    assert!(fault("\"n_prompt\": 512", "\"n_prompt\": 0").contains("are both zero"));
    assert!(fault("101.25", "-101.25").contains("must be above zero"));
    assert!(fault("101.25", "NaN").contains("no numbers of JSON"));
    assert!(fault("101.25", "1e999").contains("out of range"));
    assert!(fault("\"poll\": 50", "\"poll\": 50, \"poll\": 50").contains("the key `poll` stands twice"));
    assert!(fault("\"samples_ts\": [101.25, 99.5, 100.0]", "\"samples_ts\": []").contains("list of samples is empty"));
    assert!(fault("\"build_commit\": \"aaaaaaaa\"", "\"build_commit\": 3").contains("text belongs here"));
    assert!(fault("llama 1B Q4_0\"", "llama 1B Q4_0").contains("not JSON"));
    let twice = format!("[{0}, {0}]", llama_row("a", (512, 0, 0), 2, [1.0, 2.0, 3.0]));
    let error = import(&file(folder.path(), "t.json", twice), None, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("has this metric twice"), "{error}");
    let empty = import(&file(folder.path(), "e.json", "[]"), Some("llama-bench"), &Options::default());
    assert!(matches!(empty, Err(ImportError::Empty { .. })));
}

const LM_EVAL: &str = r#"{"results": {
  "arc": {"alias": "arc", "name": "arc", "sample_len": 4, "acc,none": 0.75, "acc_stderr,none": 0.25,
          "acc_norm,none": 0.5, "acc_norm_stderr,none": "N/A"},
  "wiki": {"alias": "wiki", "word_perplexity,none": 7.38905609893065, "word_perplexity_stderr,none": "N/A",
           "bits_per_byte,none": 2.885390081777927, "f1,none": 0.3},
  "gsm": {"alias": "gsm", "exact_match,strict-match": 0.5, "exact_match,flexible": 1, "calibration,none": [1, 2]},
  "group": {"alias": "group", "acc,none": 0.7, " ": " "}},
 "higher_is_better": {"arc": {"acc": true, "acc_norm": true}, "wiki": {"word_perplexity": false, "f1": null}},
 "versions": {"arc": 1.0, "wiki": 2}, "n-shot": {"arc": 5}, "config": {"model": "hf", "model_args": "pretrained=org/m,dtype=f32", "limit": 4},
 "date": 1756721472.5, "lm_eval_version": "0.4.9", "unknown": {"x": [null]}}"#;

fn lm_eval(folder: &Path) -> PathBuf {
    let path = file(folder, "org__m/results_2026-09-01T10-11-12.5.json", LM_EVAL);
    let row = |id: u64, rest: &str| {
        format!("{{\"doc_id\": {id}, \"doc\": {{\"q\": \"é\"}}, \"filter\": \"none\", {rest}}}\n")
    };
    let arc =
        |id, acc: &str| row(id, &format!("\"metrics\": [\"acc\", \"acc_norm\"], \"acc\": {acc}, \"acc_norm\": 0.0"));
    // In the order of batches, not of documents.
    let rows = [arc(2, "true"), arc(0, "1.0"), arc(1, "0.0"), arc(3, "1")].concat();
    file(folder, "org__m/samples_arc_2026-09-01T10-11-12.5.jsonl", rows);
    let metrics = "\"metrics\": [\"word_perplexity\", \"bits_per_byte\", \"f1\"]";
    let pair = |id, a, w| {
        row(
            id,
            &format!("{metrics}, \"word_perplexity\": [{a}, {w}], \"bits_per_byte\": [{a}, {w}], \"f1\": [\"a\", 1]"),
        )
    };
    file(folder, "org__m/samples_wiki_2026-09-01T10-11-12.5.jsonl", pair(0, -30.0, 10.0) + &pair(1, -10.0, 10.0));
    path
}

#[test]
fn lm_eval_becomes_cells_whose_samples_give_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let file_alone = imported(&lm_eval(folder.path()));
    let read = imported(folder.path());
    assert_eq!(read.records, file_alone.records);
    assert_eq!(read.source.to_string(), "lm-eval 0.4.9");
    assert_eq!(read.started, "2025-09-01T10:11:12Z");
    assert_eq!(read.left_out, ["calibration of gsm is no number"]);
    let run = run(&folder.path().join("run"), &read);
    let labels: Vec<&str> = run.labels(Axis::Data);
    assert_eq!(labels, ["arc", "wiki", "gsm(filter=strict-match)", "gsm(filter=flexible)", "group"]);
    assert_eq!(run.labels(Axis::Model), ["org/m"]);
    let seen = |cell: usize, metric: &str| run.records[cell].cell.observation(metric).unwrap().clone();
    // In the order of the documents.
    assert_eq!(seen(0, "acc").samples, [1.0, 0.0, 1.0, 1.0]);
    assert_eq!(run.records[0].value("acc"), Some(0.75));
    assert!(run.records[0].estimate("acc").unwrap().interval.is_some());
    // Its samples are all zero and the value is not, so the samples are of something else.
    assert_eq!((seen(0, "acc_norm").reduction, run.records[0].value("acc_norm")), (Reduction::Single, Some(0.5)));
    assert_eq!(run.records[0].value("acc_stderr"), Some(0.25));
    assert!(run.records[0].cell.observation("acc_norm_stderr").is_none());
    assert_eq!(seen(1, "word_perplexity").reduction, Reduction::ExpRatio);
    assert_eq!(seen(1, "word_perplexity").samples, [30.0, 10.0]);
    assert_eq!(seen(1, "bits_per_byte").reduction, Reduction::Ratio);
    assert_eq!(seen(1, "f1").reduction, Reduction::Single);
    assert_eq!(seen(0, "acc").protocol.unwrap(), "lm-eval arc, version 1, 5-shot, filter none, limit 4");
    let metric = |id: &str| run.metric(id).unwrap();
    assert_eq!((metric("acc").direction, metric("word_perplexity").direction), (Direction::Higher, Direction::Lower));
    assert_eq!((metric("f1").direction, metric("acc").noise), (Direction::Neutral, Noise::Sampled));
    assert_eq!(Run::open(&folder.path().join("run")).unwrap(), run);
}

#[test]
fn the_latest_results_of_a_folder_count() {
    let folder = tempfile::tempdir().unwrap();
    lm_eval(folder.path());
    file(folder.path(), "org__m/results_2026-08-01T00-00-00.json", LM_EVAL.replace("0.75", "0.25"));
    let read = imported(folder.path());
    assert_eq!(read.records[0].observation("acc").unwrap().value(), Some(0.75));
    assert!(read.left_out[0].ends_with("results_2026-08-01T00-00-00.json is older than another of its folder"));
}

/// A benchmark as criterion 0.8 writes it.
fn criterion(folder: &Path, baseline: &str, scale: f64) -> PathBuf {
    let at = |name: &str| format!("group/f_x/3/{baseline}/{name}.json");
    let id = r#"{"group_id":"group","function_id":"f/x","value_str":"3","throughput":{"Elements":10},
        "full_id":"group/f/x/3","directory_name":"group/f_x/3","title":"group/f/x/3"}"#;
    file(folder, &at("benchmark"), id);
    let estimate = |value: f64| {
        format!(
            r#"{{"confidence_interval":{{"confidence_level":0.95,"lower_bound":1.0,"upper_bound":9.0}},"point_estimate":{value},"standard_error":0.1}}"#
        )
    };
    let names = ["mean", "median", "median_abs_dev", "std_dev"];
    let estimates: Vec<String> = names
        .iter()
        .map(|name| format!("\"{name}\":{}", estimate(if *name == "median" { 5.0 * scale } else { 1.0 })))
        .collect();
    file(folder, &at("estimates"), format!("{{{},\"slope\":null}}", estimates.join(",")));
    let times = [4.0, 10.0, 18.0].map(|time| time * scale);
    file(folder, &at("sample"), format!(r#"{{"sampling_mode":"Linear","iters":[1.0,2.0,3.0],"times":{times:?}}}"#))
}

#[test]
fn criterion_becomes_cells_and_its_own_comparison_is_no_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let sample = criterion(folder.path(), "new", 1.0);
    file(folder.path(), "group/f_x/3/change/estimates.json", "{}");
    let read = imported(folder.path());
    assert_eq!(read.records, imported(&sample).records);
    assert_eq!(read.records.len(), 1);
    assert_eq!(read.records[0].cell.to_string(), "group / f/x / 3");
    let value = |id: &str| read.records[0].observation(id).unwrap().value();
    assert_eq!((value("time"), value("elements_per_second")), (Some(5.0), Some(2e9)));
    criterion(folder.path(), "base", 2.0);
    let base = import(folder.path(), None, &Options { baseline: Some("base".into()) }).unwrap();
    let named = |mut read: Imported, host: &str| {
        read.source.host = host.to_owned();
        read
    };
    let dir = |name: &str| folder.path().join("runs").join(name);
    let verdicts = |a: Imported, b: Imported, place: &str| {
        let (a, b) = (run(&dir(&format!("{place}a")), &a), run(&dir(&format!("{place}b")), &b));
        let all = |run| Selection { run, arm: None };
        compare(&all(&a), &all(&b), &CompareOptions::default()).rows
    };
    let rows = verdicts(named(base.clone(), "box"), named(read.clone(), "box"), "same");
    assert!(rows.iter().all(|row| row.effect.is_some()), "{rows:?}");
    let rows = verdicts(base, read, "unnamed");
    assert!(rows.iter().all(|row| row.reason.as_ref().unwrap().contains("different machines")), "{rows:?}");
}

#[test]
fn criterion_files_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    criterion(folder.path(), "new", 1.0);
    let fault = |name: &str, from: &str, to: &str| {
        criterion(folder.path(), "new", 1.0);
        let path = folder.path().join("group/f_x/3/new").join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        import(folder.path(), Some("criterion"), &Options::default()).unwrap_err().to_string()
    };
    assert!(fault("sample.json", "10.0", "12.0").contains("the median is 5, and that of sample.json is 6"));
    assert!(fault("sample.json", "[4.0, 10.0, 18.0]", "[4.0]").contains("3 counts of iterations and 1 times"));
    assert!(fault("sample.json", "10.0", "0.0").contains("times[1]: 0 must be above zero"));
    assert!(fault("sample.json", "[1.0,2.0,3.0]", "[1e-300,2.0,3.0]").contains("median"));
    assert!(
        fault("benchmark.json", "\"Elements\":10", "\"Elements\":-1").contains("throughput.Elements: -1 is no count")
    );
    assert!(fault("benchmark.json", "Elements", "Sheep").contains("something unknown"));
    assert!(fault("estimates.json", "\"median\"", "\"midian\"").contains("`median` is missing"));
    fs::remove_file(folder.path().join("group/f_x/3/new/sample.json")).unwrap();
    assert!(matches!(import(folder.path(), None, &Options::default()), Err(ImportError::Read { .. })));
}

#[test]
fn an_edited_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = small();
    let fault = |name: &str, from: &str, to: &str| {
        let path = written(&run, name, folder.path());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        import(&path, Some(name), &Options::default()).unwrap_err().to_string()
    };
    assert!(fault("jsonl", "\"value\":4000000.0", "\"value\":4000001.0").contains("its samples give 4000000"));
    assert!(fault("jsonl", "\"low\":", "\"low\":1.5,\"low\":").contains("duplicate field `low`"));
    assert!(fault("jsonl", "\"metric\":\"bytes\"", "\"metric\":\"sparsity\"").contains("in two ways"));
    assert!(
        fault("jsonl", "\"clusters\":[0,1,2,3]", "\"clusters\":[0]")
            .contains("4 samples have 4 weights and 1 clusters")
    );
    assert!(fault("jsonl", "\"samples\":[500.0,", "\"samples\":[null,").contains("line"));
    let id = run.records[0].cell.id.to_string();
    assert!(fault("jsonl", &id, "../../../etc/cron").contains("16 hexadecimal digits"));
    assert!(fault("csv", ",4000000", ",4000001").contains("its samples give"));
    assert!(fault("csv", ",status,", ",state,").contains("there is no column `status`"));
    assert!(fault("csv", ",measured,", ",guessed,").contains("status: unknown variant"));
    assert!(fault("csv", "500 501", "500 NaN").contains("NaN"));
}

#[test]
fn nothing_is_taken_for_a_format_that_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.txt", "hello"), ("a.json", "{}"), ("a.csv", "a,b\n1,2\n"), ("empty", "")] {
        let error = import(&file(folder.path(), name, text), None, &Options::default()).unwrap_err();
        assert!(matches!(error, ImportError::Unknown { .. }), "{name}: {error}");
    }
    let missing = import(&folder.path().join("missing"), None, &Options::default());
    assert!(matches!(missing, Err(ImportError::Read { .. })));
    for importer in &IMPORTERS {
        let path = folder.path().join("a.txt");
        assert!(import(&path, Some(importer.name), &Options::default()).is_err(), "{}", importer.name);
    }
}

#[test]
fn a_long_line_and_a_deep_document_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    lm_eval(folder.path());
    let samples = folder.path().join("org__m/samples_arc_2026-09-01T10-11-12.5.jsonl");
    fs::write(&samples, vec![b' '; (MOST_LINE + 2) as usize]).unwrap();
    assert!(matches!(import(folder.path(), None, &Options::default()), Err(ImportError::TooMuch { .. })));
    let deep = format!("{{\"results\": {}", "[".repeat(1_000_000));
    let error = import(&file(folder.path(), "deep.json", deep), None, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("recursion limit"), "{error}");
}

/// A change of bytes: where (as a share of the length), what is done there, and with which byte.
type Change = (f64, u8, u8);

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, kind, byte) in changes {
        let at = ((place * bytes.len() as f64) as usize).min(bytes.len().saturating_sub(1));
        match kind % 5 {
            _ if bytes.is_empty() => {}
            0 => bytes[at] = *byte,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, *byte),
            3 => {
                let end = (at + usize::from(*byte)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            // A digit, which makes counts absurd and values other values.
            _ => {
                if let Some(digit) = bytes[at..].iter_mut().find(|sign| sign.is_ascii_digit()) {
                    *digit = b'0' + byte % 10;
                }
            }
        }
    }
    bytes
}

/// What may be imported of a file that was changed has finite numbers only.
fn survives(path: &Path, format: &str) {
    if let Ok(read) = import(path, Some(format), &Options::default()) {
        for seen in read.records.iter().flat_map(|record| &record.observations) {
            assert!(seen.samples.iter().all(|sample| sample.is_finite()), "{format}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn changed_files_are_read_or_refused(changes in prop::collection::vec((0.0..1.0, any::<u8>(), any::<u8>()), 1..5)) {
        let folder = tempfile::tempdir().unwrap();
        for format in ["csv", "jsonl", "parquet", "llama-bench"] {
            let bytes = &exported(&small(), format).files[0].bytes;
            let path = file(folder.path(), format, changed(bytes, &changes));
            survives(&path, format);
        }
        let path = file(folder.path(), "foreign.json", changed(llama("aaaaaaaa", 1.0).as_bytes(), &changes));
        survives(&path, "llama-bench");
        let path = file(folder.path(), "results_x.json", changed(LM_EVAL.as_bytes(), &changes));
        survives(&path, "lm-eval");
    }

    #[test]
    fn changed_folders_are_read_or_refused(
        changes in prop::collection::vec((0.0..1.0, any::<u8>(), any::<u8>()), 1..5),
        which in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        for format in ["lm-eval", "criterion"] {
            let mut export = exported(&small(), format);
            let file = which.get_mut(&mut export.files);
            file.bytes = changed(&file.bytes, &changes);
            let kind = crate::export::FORMATS.iter().find(|kind| kind.name == format).unwrap();
            export.write(kind, &ours.join(format)).unwrap();
            survives(&ours.join(format), format);
        }
        lm_eval(&theirs);
        let samples = theirs.join("org__m/samples_wiki_2026-09-01T10-11-12.5.jsonl");
        let bytes = fs::read(&samples).unwrap();
        fs::write(&samples, changed(&bytes, &changes)).unwrap();
        survives(&theirs, "lm-eval");
        criterion(&theirs, "new", 1.0);
        let name = ["benchmark", "sample", "estimates"][which.index(3)];
        let path = theirs.join(format!("group/f_x/3/new/{name}.json"));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, changed(&bytes, &changes)).unwrap();
        survives(&theirs.join("group"), "criterion");
    }
}
