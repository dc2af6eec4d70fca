//! The report of a run as a reader and a doubter meet it: the command of every cell, and edits that `verify` finds.

use std::path::Path;

use crate::support::{Ran, harness, run, scratch};

/// A suite whose cells are named so that parts of one name stand in another.
const SUITE: &str = r#"
[suite]
about = "does the report hold?"
seed = 7

[[bench]]
name = "small"
model = "tiny-100k"
data = [
  { corpus = "fables/test", window = 64, windows = 8 },
  { corpus = "fables/test", window = 64, windows = 16 },
]
calib = { corpus = "fables/train", window = 64, windows = 4 }
metrics = ["ppl", "kl", "sparsity", "decode_tps"]
rounds = 3
prefill_tokens = 16
decode_tokens = 4
seed = [1, 10, 11]
prune = ["none", "magnitude(sparsity=0.5)", "random(sparsity=0.5)", "wanda(pattern=2:5)"]

[[figure]]
kind = "bar"
name = "quality"
x = "prune"
y = "ppl"
facet = "data"
where = "seed = 1"

[[table]]
name = "methods"
rows = ["data", "seed", "prune"]
metrics = ["ppl", "kl", "sparsity"]
reference = "dense"
"#;

fn suite(folder: &Path) -> String {
    let path = folder.join("it's a suite.toml");
    std::fs::write(&path, SUITE).unwrap();
    path.display().to_string()
}

/// The data of all cells in a page.
fn cells(page: &str) -> Vec<serde_json::Value> {
    let start = page.find("id=\"cells\">").unwrap() + "id=\"cells\">".len();
    let end = start + page[start..].find("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(&page[start..end]).unwrap();
    data["cells"].as_array().unwrap().clone()
}

/// Runs a command of a report through a shell, with `plan --json` in place of `run`.
fn planned(command: &str) -> Vec<String> {
    let line = command.strip_prefix("harness run ").unwrap();
    let script = format!("exec \"$HARNESS\" plan --json {line}");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).env("HARNESS", env!("CARGO_BIN_EXE_harness")).current_dir(crate::support::root());
    let ran: Ran = shell.output().unwrap().into();
    assert_eq!(ran.code, 0, "{command}: {}", ran.err);
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    plan["cells"].as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_cell_has_a_command_that_selects_it_alone_and_measures_the_same() {
    let folder = scratch();
    let suite = suite(folder.path());
    let out = folder.path().join("run");
    let ran = run(&["run", &suite, "--out", &out.display().to_string(), "--set", "small.rounds=2"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    let cells = cells(&page);
    assert_eq!(cells.len(), 2 * 3 * 4);
    for cell in &cells {
        let command = cell["command"].as_str().unwrap();
        assert!(command.contains("--set small.rounds=2"), "{command}");
        assert_eq!(planned(command), [cell["name"].as_str().unwrap()], "{command}");
    }
    // One of them for real: the same cell, the same exact numbers.
    let chosen = cells.iter().find(|cell| cell["name"].as_str().unwrap().contains("random")).unwrap();
    let again = folder.path().join("again");
    let line = chosen["command"].as_str().unwrap().strip_prefix("harness ").unwrap();
    let script = format!("exec \"$HARNESS\" {line} --out \"$OUT\"");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).env("HARNESS", env!("CARGO_BIN_EXE_harness")).env("OUT", &again);
    let ran: Ran = shell.current_dir(crate::support::root()).output().unwrap().into();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (whole, alone) = (harness_store::Run::open(&out).unwrap(), harness_store::Run::open(&again).unwrap());
    assert_eq!(alone.records.len(), 1);
    let same = whole.records.iter().find(|record| record.cell.id == alone.records[0].cell.id).unwrap();
    for metric in ["ppl", "kl", "sparsity"] {
        assert_eq!(same.cell.observation(metric), alone.records[0].cell.observation(metric), "{metric}");
    }
    let failed = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(
        failed.contains("## Failed cells") && failed.contains("--filter '=small / tiny-100k / wanda(pattern=2:5)"),
        "{failed}"
    );
}

/// Changes the last digit of a file, and gives back what it held.
fn change_a_digit(path: &Path) -> Vec<u8> {
    let whole = std::fs::read(path).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let at = text.rfind(|sign: char| sign.is_ascii_digit()).unwrap();
    let mut edited = whole.clone();
    edited[at] = if edited[at] == b'9' { b'8' } else { edited[at] + 1 };
    std::fs::write(path, edited).unwrap();
    whole
}

/// Every file below a folder that is text.
fn texts(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else if std::fs::read_to_string(&path).is_ok() {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn verify_passes_a_report_and_finds_one_changed_digit_anywhere() {
    let folder = scratch();
    let suite = suite(folder.path());
    let out = folder.path().join("run");
    let name = out.display().to_string();
    assert_eq!(run(&["run", &suite, "--out", &name]).code, 3);
    let good = run(&["verify", &name]);
    assert_eq!(good.code, 0, "{}{}", good.out, good.err);
    assert!(good.out.contains("are what its rows give"), "{}", good.out);

    let mut reported: Vec<_> = ["figures", "tables"].iter().flat_map(|part| texts(&out.join(part))).collect();
    reported.extend([out.join("report.html"), out.join("report.md")]);
    assert!(reported.len() >= 1 + 2 * 4 + 2, "{reported:?}");
    for path in &reported {
        let whole = change_a_digit(path);
        let bad = run(&["verify", &name]);
        assert_eq!(bad.code, 10, "{}: {}", path.display(), bad.out);
        let file = path.strip_prefix(&out).unwrap().display().to_string();
        assert!(bad.out.contains(&file), "{file}: {}", bad.out);
        std::fs::write(path, whole).unwrap();
    }

    // A picture that lost a byte, and a file that is gone.
    let picture = out.join("figures/quality.png");
    let whole = std::fs::read(&picture).unwrap();
    std::fs::write(&picture, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(run(&["verify", &name]).code, 10);
    std::fs::remove_file(&picture).unwrap();
    let gone: serde_json::Value = serde_json::from_str(&run(&["verify", &name, "--json"]).out).unwrap();
    assert_eq!(gone["differences"][0]["file"], "figures/quality.png");
    assert_eq!(gone["disagreements"], serde_json::json!([]));
    assert_eq!(run(&["report", &name]).code, 0);
    assert_eq!(run(&["verify", &name]).code, 0);

    // Figures that were drawn in a further style are checked as those that the suite declares.
    assert_eq!(run(&["report", &name, "--style", "paper-1col"]).code, 0);
    let good = run(&["verify", &name]);
    assert_eq!(good.code, 0, "{}{}", good.out, good.err);
    for end in ["svg", "tex", "dat"] {
        let file = format!("figures/quality.paper-1col.{end}");
        let whole = change_a_digit(&out.join(&file));
        let bad = run(&["verify", &name]);
        assert!(bad.code == 10 && bad.out.contains(&file), "{file}: {}", bad.out);
        std::fs::write(out.join(&file), whole).unwrap();
    }
    let printed = out.join("figures/quality.paper-1col.pdf");
    let whole = std::fs::read(&printed).unwrap();
    std::fs::write(&printed, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(run(&["verify", &name]).code, 10);
    std::fs::write(&printed, whole).unwrap();

    // Rows that are not what was sealed are an input that is wrong, not a report that differs.
    let rows = out.join("records.parquet");
    let whole = std::fs::read(&rows).unwrap();
    std::fs::write(&rows, &whole[..whole.len() / 2]).unwrap();
    let damaged = run(&["verify", &name]);
    assert_eq!(damaged.code, 5, "{}", damaged.err);
    assert!(damaged.reason().contains("records.parquet"), "{}", damaged.reason());
    std::fs::write(&rows, whole).unwrap();
    assert_eq!(run(&["verify", &folder.path().display().to_string()]).code, 5);
}

#[test]
fn a_run_is_rendered_and_verified_without_its_suite_and_from_another_folder() {
    let folder = scratch();
    let suite = suite(folder.path());
    let out = folder.path().join("run");
    assert_eq!(run(&["run", &suite, "--out", &out.display().to_string()]).code, 3);
    std::fs::remove_file(&suite).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    let rendered = run(&["report", &out.display().to_string(), "--out", &elsewhere.display().to_string()]);
    assert_eq!(rendered.code, 0, "{}", rendered.err);
    assert_eq!(std::fs::read(out.join("report.html")).unwrap(), std::fs::read(elsewhere.join("report.html")).unwrap());
    let program = env!("CARGO_BIN_EXE_harness");
    let inside = std::process::Command::new(program).args(["verify", "."]).current_dir(&out).output().unwrap();
    assert_eq!(inside.status.code(), Some(0), "{}", String::from_utf8_lossy(&inside.stderr));
    let both = harness(&["verify", &out.display().to_string(), "--report", &elsewhere.display().to_string()]);
    assert!(Ran::from({ both }.output().unwrap()).code == 0);
}

#[test]
fn runs_of_another_layout_are_read_or_refused_by_name() {
    let folder = scratch();
    let suite = suite(folder.path());
    let out = folder.path().join("run");
    let name = out.display().to_string();
    assert_eq!(run(&["run", &suite, "--out", &name, "--limit", "2"]).code, 0);
    // An old run: layout 0, written before the stamp knew of most of its fields.
    let stamp = out.join("run.json");
    let mut old: serde_json::Value = serde_json::from_slice(&std::fs::read(&stamp).unwrap()).unwrap();
    let fields = old.as_object_mut().unwrap();
    fields.insert("schema".into(), 0.into());
    for newer in ["seeds", "versions", "inputs", "features", "memory", "dirty"] {
        fields.remove(newer);
    }
    reseal(&out, "run.json", serde_json::to_string(&old).unwrap().as_bytes());
    let read = run(&["report", &name]);
    assert_eq!(read.code, 0, "{}", read.err);
    // A newer one.
    old.as_object_mut().unwrap().insert("schema".into(), 7.into());
    reseal(&out, "run.json", serde_json::to_string(&old).unwrap().as_bytes());
    for verb in ["report", "verify"] {
        let refused = run(&[verb, &name]);
        assert_eq!(refused.code, 5, "{}", refused.err);
        assert!(refused.reason().contains("layout 7") && refused.reason().contains("up to 2"), "{}", refused.reason());
    }
}

#[test]
fn damaged_rows_end_with_a_reason_and_never_with_a_panic() {
    let folder = scratch();
    let suite = suite(folder.path());
    let out = folder.path().join("run");
    let name = out.display().to_string();
    assert_eq!(run(&["run", &suite, "--out", &name, "--limit", "2"]).code, 0);
    for file in ["cells.parquet", "records.parquet", "samples.parquet"] {
        let whole = std::fs::read(out.join(file)).unwrap();
        let mut damages: Vec<Vec<u8>> =
            [0, 4, 9, whole.len() / 2, whole.len() - 5].map(|end| whole[..end].to_vec()).into();
        for at in [5, whole.len() / 3, whole.len() / 2, whole.len() - 6, whole.len() - 40] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x5a;
            damages.push(bytes);
        }
        for damage in damages {
            // Sealed anew, so that the reader itself meets the damage.
            reseal(&out, file, &damage);
            let ran = run(&["verify", &name]);
            assert!(matches!(ran.code, 0 | 5 | 10), "{file}: {} {}", ran.code, ran.err);
            assert!(!ran.err.contains("panicked"), "{file}: {}", ran.err);
        }
        reseal(&out, file, &whole);
    }
    assert_eq!(run(&["verify", &name]).code, 0);
}

/// Changes a file of a sealed run and its hash in the seal.
fn reseal(folder: &Path, file: &str, bytes: &[u8]) {
    use std::io::Write;
    std::fs::write(folder.join(file), bytes).unwrap();
    let mut sum = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    sum.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = sum.wait_with_output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned();
    let path = folder.join("sealed.json");
    let mut seal: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    seal["files"][file] = hash.into();
    std::fs::write(&path, serde_json::to_string_pretty(&seal).unwrap()).unwrap();
}

#[test]
fn a_damaged_journal_is_named_and_left_alone() {
    let folder = scratch();
    let suite = suite(folder.path());
    let out = folder.path().join("run");
    let name = out.display().to_string();
    assert_eq!(run(&["run", &suite, "--out", &name, "--limit", "3"]).code, 0);
    std::fs::remove_file(out.join("sealed.json")).unwrap();
    let journal = out.join("journal.jsonl");
    let whole = std::fs::read_to_string(&journal).unwrap();
    let mut lines: Vec<&str> = whole.lines().collect();
    lines[1] = &lines[1][..lines[1].len() / 2];
    let damaged = lines.join("\n") + "\n";
    std::fs::write(&journal, &damaged).unwrap();
    let ran = run(&["run", &suite, "--out", &name, "--limit", "3"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.reason().contains("line 2") && ran.reason().contains("move the file away"), "{}", ran.reason());
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), damaged);
    // An unfinished last line is what a killed run leaves; it is measured again.
    std::fs::write(&journal, &whole[..whole.len() - 20]).unwrap();
    let ran = run(&["run", &suite, "--out", &name, "--limit", "3"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(harness_store::Run::open(&out).unwrap().records.len(), 3);
    assert_eq!(run(&["verify", &name]).code, 0);
}
