//! The program as a person or a script meets it: help, exit codes, resuming, and what it leaves on disk.

use std::path::Path;
use std::time::Duration;

use crate::support::{Ran, harness, run, scratch};

const VERBS: [&str; 22] = [
    "run",
    "check",
    "plan",
    "report",
    "verify",
    "compare",
    "track",
    "baseline",
    "calibrate",
    "export",
    "import",
    "fetch",
    "list",
    "score",
    "generate",
    "sample",
    "apply",
    "search",
    "train",
    "schema",
    "completions",
    "man",
];

/// A suite of a few small cells, written into a folder.
fn small_suite(folder: &Path, arms: &str) -> String {
    let path = folder.join("small.toml");
    let text = format!(
        r#"
[suite]
about = "a few cells"
seed = 7

[[bench]]
name = "small"
model = "tiny-100k"
data = {{ corpus = "fables/test", window = 64, windows = 8 }}
calib = {{ corpus = "fables/train", window = 64, windows = 4 }}
metrics = ["ppl", "kl", "top1", "sparsity", "bytes"]
prune = [{arms}]
"#
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

const ARMS: &str =
    r#""none", "magnitude(sparsity=0.5)", "wanda(sparsity=0.5)", "sparsegpt(sparsity=0.5)", "random(sparsity=0.5)""#;

fn run_to(suite: &str, out: &Path) -> Ran {
    run(&["run", suite, "--out", &out.display().to_string()])
}

/// The rows that must be the same in every repetition: everything but times.
fn exact_rows(out: &Path) -> Vec<u8> {
    let run = harness_store::Run::open(out).unwrap();
    harness_store::exact_records_bytes(&run)
}

#[test]
fn every_verb_has_help_with_an_example() {
    for verb in VERBS {
        let ran = run(&[verb, "--help"]);
        assert_eq!(ran.code, 0, "{verb}");
        assert!(ran.out.contains("Example"), "{verb} shows no example");
    }
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("harness"), "{shell}");
    }
    assert!(run(&["man"]).out.starts_with(".ie"));
}

#[test]
fn a_bad_command_line_exits_2_and_says_why() {
    assert_eq!(run(&["run"]).code, 2);
    let missing = run(&["run", "no-such-suite.toml"]);
    assert_eq!(missing.code, 2);
    assert!(missing.reason().contains("no-such-suite.toml"), "{}", missing.reason());
    let folder = scratch();
    let suite = small_suite(folder.path(), "\"none\"");
    let nothing = run(&["run", &suite, "--filter", "no such cell"]);
    assert_eq!(nothing.code, 4, "{}", nothing.err);
    let model = run(&["generate", "--model", "no-such-model", "--prompt", "x"]);
    assert_eq!(model.code, 2);
    assert!(model.reason().contains("no-such-model"), "{}", model.reason());
}

#[test]
fn what_is_not_fetched_exits_5_offline_and_names_the_command() {
    let folder = scratch();
    let ran: Ran = harness(&["generate", "--offline", "--model", "stories15m", "--prompt", "x"])
        .env("HARNESS_CACHE", folder.path())
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, 5);
    assert!(ran.reason().contains("harness fetch stories15m"), "{}", ran.reason());
}

#[test]
fn a_run_leaves_a_complete_folder_and_its_repetition_gives_the_same_rows() {
    let folder = scratch();
    let suite = small_suite(folder.path(), ARMS);
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let ran = run_to(&suite, &first);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for file in
        ["run.json", "journal.jsonl", "cells.parquet", "records.parquet", "samples.parquet", "report.html", "report.md"]
    {
        assert!(first.join(file).metadata().unwrap().len() > 0, "{file}");
    }
    assert_eq!(run_to(&suite, &second).code, 0);
    assert_eq!(exact_rows(&first), exact_rows(&second));
    let again = run_to(&suite, &first);
    assert_eq!(again.code, 2, "a finished run is never overwritten");
    assert_eq!(run(&["report", &first.display().to_string()]).code, 0);
    let compared = run(&[
        "compare",
        &format!("{}#magnitude", first.display()),
        &format!("{}#sparsegpt", first.display()),
        "--json",
    ]);
    assert_eq!(compared.code, 0, "{}", compared.err);
    assert!(compared.out.contains("\"ppl\""));
}

#[test]
fn a_comparison_tells_its_tests_and_what_it_would_find() {
    let folder = scratch();
    let suite = small_suite(folder.path(), ARMS);
    let timed = std::fs::read_to_string(&suite).unwrap().replace("\"bytes\"]", "\"decode_tps\"]\ndecode_tokens = 2");
    let timed = timed.replace("windows = 8", "windows = 64");
    std::fs::write(&suite, timed).unwrap();
    let out = folder.path().join("run");
    assert_eq!(run_to(&suite, &out).code, 0);
    let side = |arm: &str| format!("{}#{arm}", out.display());
    let arms = [side("magnitude"), side("sparsegpt")];
    let ran = run(&["compare", &arms[0], &arms[1], "--resamples", "500", "--margin", "ppl=200%", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let row =
        |metric: &str| json["rows"].as_array().unwrap().iter().find(|row| row["metric"] == metric).unwrap().clone();
    assert_eq!((json["resamples"].as_u64(), json["tests"].as_u64()), (Some(500), Some(4)));
    let ppl = row("ppl");
    assert_eq!((ppl["verdict"].as_str(), ppl["p"].as_f64()), (Some("same"), Some(1.0)), "{ppl}");
    for metric in ["kl", "top1"] {
        let row = row(metric);
        let (p, adjusted) = (row["p"].as_f64().unwrap(), row["p_holm"].as_f64().unwrap());
        assert!(p > 0.0 && adjusted >= p && row["detectable"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["test"].as_str().unwrap().contains("; t, "), "{row}");
    }
    let speed = row("decode_tps");
    assert!(speed["test"].as_str().unwrap().starts_with("paired bootstrap over 5 rounds"), "{speed}");
    let table = run(&["compare", &arms[0], &arms[1]]);
    assert!(table.out.contains("p (Holm)") && table.out.contains("correction for 4 tests"), "{}", table.out);
    let unknown = run(&["compare", &arms[0], &arms[1], "--margin", "pppl=1%"]);
    assert!(unknown.code == 2 && unknown.reason().contains("`pppl`"), "{}", unknown.reason());
    assert_eq!(run(&["compare", &arms[0], &arms[1], "--margin", "ppl"]).code, 2);

    let planned = run(&["plan", &suite, "--like", &out.display().to_string()]);
    assert_eq!(planned.code, 0, "{}", planned.err);
    for part in ["two such runs are told apart", "small ppl: ", "small decode_tps: ", "rounds"] {
        assert!(planned.out.contains(part), "{part} is not in {}", planned.out);
    }
    let twice = ["small.data.windows=256", "--like"];
    let json = |arguments: &[&str]| -> serde_json::Value {
        let ran = run(&[&["plan", suite.as_str(), "--json"][..], arguments].concat());
        serde_json::from_str(&ran.out).unwrap()
    };
    let finds = |json: &serde_json::Value| json["finds"]["metrics"][0]["detectable_alone"].as_f64().unwrap();
    let (few, many) = (
        json(&["--like", &out.display().to_string()]),
        json(&["--set", twice[0], twice[1], &out.display().to_string()]),
    );
    assert!(finds(&many) < 0.8 * finds(&few), "{} {}", finds(&many), finds(&few));
}

#[test]
fn sides_that_were_measured_differently_exit_4() {
    let folder = scratch();
    let suite = small_suite(folder.path(), "\"wanda(sparsity=0.5)\"");
    let text = std::fs::read_to_string(&suite).unwrap();
    std::fs::write(&suite, text.replace(r#"["ppl", "kl", "top1", "sparsity", "bytes"]"#, r#"["ppl", "kl"]"#)).unwrap();
    let (a, b) = (folder.path().join("a").display().to_string(), folder.path().join("b").display().to_string());
    assert_eq!(run(&["run", &suite, "--out", &a]).code, 0);
    assert_eq!(run(&["run", &suite, "--out", &b, "--set", "small.data.window=32"]).code, 0);
    let ran = run(&["compare", &a, &b]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.reason().contains("different protocols are never subtracted"), "{}", ran.reason());
}

#[test]
fn threads_do_not_change_the_rows() {
    let folder = scratch();
    let suite = small_suite(folder.path(), ARMS);
    let outs = [1, 2].map(|threads| {
        let out = folder.path().join(format!("threads-{threads}"));
        let status = harness(&["run", &suite, "--out", &out.display().to_string()])
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output()
            .unwrap()
            .status;
        assert!(status.success());
        exact_rows(&out)
    });
    assert_eq!(outs[0], outs[1]);
}

#[test]
fn a_killed_run_goes_on_and_ends_with_the_same_rows() {
    let folder = scratch();
    let suite = small_suite(folder.path(), ARMS);
    let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
    assert_eq!(run_to(&suite, &whole).code, 0);
    for pause in [40, 90, 160, 250, 400] {
        let mut child = harness(&["run", &suite, "--out", &torn.display().to_string()])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        if harness_store::is_sealed(&torn) {
            break;
        }
    }
    if !harness_store::is_sealed(&torn) {
        let ran = run_to(&suite, &torn);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    assert_eq!(exact_rows(&whole), exact_rows(&torn));
}

/// Takes about twice as long as the suite. `HARNESS_TEST_WHOLE` may name the folder of an uninterrupted run.
#[test]
#[ignore = "runs the suite of real checkpoints for tens of minutes"]
fn ten_kills_of_the_real_suite_leave_the_rows_of_an_uninterrupted_run() {
    const SUITE: &str = "suites/real/pruning.toml";
    let folder = scratch();
    let whole = std::env::var_os("HARNESS_TEST_WHOLE").map_or_else(|| folder.path().join("whole"), Into::into);
    if !harness_store::is_sealed(&whole) {
        assert_eq!(run_to(SUITE, &whole).code, 0);
    }
    let seconds: f64 = harness_store::Run::open(&whole).unwrap().records.iter().map(|record| record.cell.seconds).sum();
    let torn = folder.path().join("torn");
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut random = harness_core::seed::stream(seed, &["kills"]);
    let mut kills = 0;
    while kills < 10 {
        let share = f64::from(rand_chacha::rand_core::Rng::next_u32(&mut random)) / f64::from(u32::MAX);
        let pause = Duration::from_secs_f64(1.0 + share * seconds / 5.0);
        let mut child = harness(&["run", SUITE, "--out", &torn.display().to_string()])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(!harness_store::is_sealed(&torn), "the run ended before its tenth kill (seed {seed})");
        let journal = std::fs::read_to_string(torn.join("journal.jsonl")).unwrap_or_default();
        eprintln!("kill {kills} after {:.1} s: {} cells on disk", pause.as_secs_f64(), journal.lines().count());
    }
    let ran = run_to(SUITE, &torn);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(exact_rows(&whole), exact_rows(&torn), "seed {seed}");
}

#[test]
fn a_violated_expectation_exits_10() {
    let folder = scratch();
    let suite = small_suite(folder.path(), r#""none", "magnitude(sparsity=0.5)""#);
    let text = std::fs::read_to_string(&suite).unwrap();
    std::fs::write(&suite, format!("{text}expect = [\"ppl(magnitude) <= 1\"]\n")).unwrap();
    let ran = run_to(&suite, &folder.path().join("run"));
    assert_eq!(ran.code, 10, "{}", ran.err);
    assert!(ran.reason().contains("ppl(magnitude) <= 1"), "{}", ran.reason());
}

#[test]
fn a_run_is_exported_and_imported_and_stands_beside_itself() {
    let folder = scratch();
    let suite = small_suite(folder.path(), r#""none", "wanda(pattern=2:5)", "magnitude(sparsity=0.5)""#);
    let text = std::fs::read_to_string(&suite).unwrap().replace("windows = 8", "windows = 64");
    std::fs::write(&suite, text).unwrap();
    let out = folder.path().join("run");
    assert_eq!(run_to(&suite, &out).code, 3);
    let (out, folder) = (out.display().to_string(), folder.path().display().to_string());
    let csv = run(&["export", &out, "--format", "csv"]);
    assert!(csv.code == 0 && csv.out.starts_with("run,program,host,id,bench,model,"), "{}", csv.err);
    let bmf = run(&["export", &out, "--format", "bmf", "--output", "-"]);
    assert!(bmf.err.contains("note: 1 failed cell is left out"), "{}", bmf.err);
    assert!(!bmf.out.contains("2:5") && bmf.out.contains("\"lower_value\""), "{}", bmf.out);
    let junit = run(&["export", &out, "--format", "junit"]);
    assert!(junit.out.contains("errors=\"1\"") && junit.out.contains("<error type=\""), "{}", junit.out);
    let file = format!("{folder}/rows.parquet");
    assert_eq!(run(&["export", &out, "--format", "parquet", "--output", &file]).code, 0);
    let copy = format!("{folder}/copy");
    let ran = run(&["import", &file, "--out", &copy, "--json"]);
    assert!(ran.code == 0 && ran.out.contains("\"failed\": 1"), "{} {}", ran.out, ran.err);
    assert_eq!(exact_rows(Path::new(&out)), exact_rows(Path::new(&copy)));
    let compared = run(&["compare", &out, &copy]);
    assert!(compared.code == 0 && compared.out.contains("0 better, 0 worse"), "{}", compared.out);
    let report = run(&["report", &copy]);
    assert_eq!(report.code, 0, "{}", report.err);
    let markdown = std::fs::read_to_string(format!("{copy}/report.md")).unwrap();
    assert!(markdown.contains("imported by harness"), "{markdown}");
    assert_eq!(run(&["import", &file, "--out", &copy]).code, 2, "a finished run is never overwritten");
}

#[test]
fn exports_and_imports_that_cannot_be_say_why() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name).display().to_string();
    assert_eq!(run(&["export", &at("none"), "--format", "csv"]).code, 5);
    assert_eq!(run(&["export", &at("none"), "--format", "xlsx"]).code, 2);
    let unnamed = run(&["export", &at("none"), "--format", "criterion"]);
    assert!(unnamed.code == 2 && unnamed.reason().contains("--output"), "{}", unnamed.reason());
    assert_eq!(run(&["import", &at("none")]).code, 5);
    std::fs::write(at("x.json"), "[{\"build_commit\": ").unwrap();
    let torn = run(&["import", &at("x.json"), "--out", &at("x")]);
    assert!(torn.code == 2 && torn.reason().contains("x.json is not JSON"), "{}", torn.reason());
    assert!(!folder.path().join("x").exists(), "a refused import leaves nothing");
    std::fs::write(at("y.json"), "[]").unwrap();
    assert_eq!(run(&["import", &at("y.json"), "--format", "llama-bench"]).code, 4);
}
