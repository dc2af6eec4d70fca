//! `harness list` in both forms, and colours.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::support::{harness, root, run, scratch};

/// What `harness list WHAT` shows and its JSON, an array of objects.
fn list(what: &str) -> (String, Vec<Value>) {
    let (plain, json) = (run(&["list", what]), run(&["list", what, "--json"]));
    assert_eq!((plain.code, json.code), (0, 0), "{what}: {} {}", plain.err, json.err);
    let Value::Array(rows) = serde_json::from_str(&json.out).unwrap() else { panic!("{what}: {}", json.out) };
    (plain.out, rows)
}

/// Every row by a key, which must be a text and unique.
fn by<'a>(rows: &'a [Value], key: &str) -> BTreeMap<&'a str, &'a Value> {
    let named: BTreeMap<&str, &Value> = rows.iter().map(|row| (row[key].as_str().unwrap(), row)).collect();
    assert_eq!(named.len(), rows.len(), "{key} is not unique");
    named
}

fn keys(row: &Value) -> Vec<&str> {
    row.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn methods_are_listed_with_their_parameters() {
    let (plain, rows) = list("methods");
    // An id is unique on its axis: `none` stands on several.
    let named = |row: &Value| (row["axis"].as_str().unwrap().to_owned(), row["id"].as_str().unwrap().to_owned());
    let methods: BTreeMap<(String, String), &Value> = rows.iter().map(|row| (named(row), row)).collect();
    assert_eq!((methods.len(), rows.len()), (rows.len(), harness_run::catalog().methods.len()));
    let wanda = methods[&("prune".to_owned(), "wanda".to_owned())];
    assert_eq!(
        keys(wanda),
        ["id", "axis", "about", "source", "version", "calibrated", "random", "parameters"],
        "what scripts rely on"
    );
    assert!(wanda["axis"] == "prune" && wanda["calibrated"] == true && wanda["random"] == false, "{wanda}");
    let parameters = by(wanda["parameters"].as_array().unwrap(), "name");
    assert_eq!(parameters["sparsity"]["domain"], "[0, 1)");
    for ((axis, id), method) in &methods {
        let row = plain.lines().find(|line| line.starts_with(&format!("{axis} {id} "))).unwrap();
        assert!(row.contains(method["about"].as_str().unwrap()), "{row}");
    }
    assert!(plain.contains("sparsity  [0, 1)  "), "{plain}");
}

#[test]
fn metrics_are_listed_with_unit_direction_and_noise() {
    let (plain, rows) = list("metrics");
    let metrics = by(&rows, "id");
    assert_eq!(metrics.len(), harness_run::catalog().metrics.len());
    for id in ["ppl", "kl", "top1", "sparsity", "params", "bytes", "prefill_tps", "decode_tps", "apply_s", "peak_rss"] {
        let metric = metrics[id];
        assert!(metric["unit"].is_string() && metric["about"].as_str().unwrap().len() > 10, "{metric}");
        assert!(["exact", "sampled", "timed"].contains(&metric["noise"].as_str().unwrap()), "{metric}");
        assert!(plain.lines().any(|line| line.starts_with(&format!("{id} "))), "{id}");
    }
    assert!(metrics["kl"]["noise"] == "sampled" && metrics["bytes"]["noise"] == "exact");
}

#[test]
fn models_and_datasets_are_listed_with_licence_size_and_state() {
    let (plain, rows) = list("models");
    let models = by(&rows, "name");
    for name in ["tiny-100k", "smollm2-135m-instruct", "stories15m", "qwen2.5-coder-0.5b", "smollm2-135m"] {
        let model = models[name];
        assert_eq!(keys(model), ["name", "about", "licence", "here", "damaged", "bytes", "verified", "splits"]);
        assert!(!model["licence"].as_str().unwrap().is_empty() && model["damaged"].is_null(), "{model}");
        let state = if model["here"] == true { "here" } else { "to fetch" };
        let line = plain.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        assert!(line.contains(&format!("[{state}]")), "{line}");
    }
    assert_eq!(models["tiny-100k"]["here"], true, "embedded");
    let (plain, rows) = list("datasets");
    let corpora = by(&rows, "name");
    assert!(corpora["fables"]["here"] == true && corpora["wikitext-2"]["verified"] == false);
    let splits = corpora["enwik8"]["splits"].as_array().unwrap();
    assert!(splits.iter().any(|split| split == "test") && splits.iter().any(|split| split == "train"), "{splits:?}");
    assert!(plain.contains("splits: "), "{plain}");
}

#[test]
fn suites_are_listed_with_what_they_ask() {
    let (plain, rows) = list("suites");
    let suites = by(&rows, "path");
    for path in ["suites/smoke.toml", "suites/pruning.toml", "suites/real/pruning.toml"] {
        let about = suites[path]["about"].as_str().unwrap();
        assert!(about.ends_with(['.', '?']), "{path}: {about}");
        assert!(plain.contains(about) && run(&["check", path]).code == 0, "{path}");
    }
}

#[test]
fn runs_are_listed_finished_and_unfinished() {
    // Runs are kept below the folder that the program is started in.
    let folder = scratch();
    let started = |arguments: &[&str]| harness(arguments).current_dir(folder.path()).output().unwrap();
    let rows = |arguments: &[&str]| -> Vec<Value> { serde_json::from_slice(&started(arguments).stdout).unwrap() };
    assert_eq!(rows(&["list", "runs", "--json"]), Vec::<Value>::new(), "none yet");
    let suite = root().join("suites/smoke.toml").display().to_string();
    let limit = ["run", &suite, "--limit", "1", "--json"];
    let ran = started(&limit);
    // The expectations of the suite speak of more cells than one: undecided, which is no failure.
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    let summary: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(summary["measured"] == 1 && summary["failed"] == 0 && summary["exit"] == 0, "{summary}");
    let begun = folder.path().join("reports/runs/begun");
    std::fs::create_dir_all(&begun).unwrap();
    let sealed = folder.path().join(summary["folder"].as_str().unwrap());
    assert!(sealed.file_name().unwrap().to_str().unwrap().starts_with("smoke-"), "{}", sealed.display());
    std::fs::copy(sealed.join("run.json"), begun.join("run.json")).unwrap();
    let runs = rows(&["list", "runs", "--json"]);
    let finished = runs.iter().find(|run| run["folder"] == summary["folder"]).unwrap();
    assert_eq!(finished["state"], "1 cell");
    assert_eq!(by(&runs, "name")["begun"]["state"], "unfinished");
    assert_eq!(keys(finished), ["name", "folder", "suite", "started", "state"]);
    let plain = String::from_utf8(started(&["list", "runs"]).stdout).unwrap();
    assert_eq!(plain.lines().count(), runs.len(), "{plain}");
}

/// Runs the program on a terminal of its own, and gives what that shows.
fn on_a_terminal(arguments: &str, colour: bool) -> String {
    let line = format!("'{}' {arguments}", env!("CARGO_BIN_EXE_harness"));
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(root()).env("TERM", "xterm-256color");
    command.stdin(std::process::Stdio::null());
    if colour {
        command.env_remove("NO_COLOR")
    } else {
        command.env("NO_COLOR", "1")
    };
    let output = command.output().expect("`script` of util-linux gives a program a terminal");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_gets_colours_unless_no_color_is_set() {
    const COLOUR: &str = "\x1b[";
    for arguments in ["check tests/ui/unknown_key.toml", "score --help", "score --nonsense"] {
        assert!(on_a_terminal(arguments, true).contains(COLOUR), "{arguments}");
        let plain = on_a_terminal(arguments, false);
        assert!(!plain.contains(COLOUR) && plain.len() > 100, "{arguments}: {plain}");
    }
    // No terminal, no colours, whatever the variable says.
    let ran = harness(&["check", "tests/ui/unknown_key.toml"]).env_remove("NO_COLOR").output().unwrap();
    assert!(!String::from_utf8_lossy(&ran.stderr).contains(COLOUR));
}
