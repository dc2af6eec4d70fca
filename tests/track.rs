//! Tracking as a CI owner meets it: nights, verdicts, exit codes, baselines, and what the documents say of it.

use std::path::Path;

use harness_core::gate;
use harness_core::statistics::{change_point, fence};

use crate::support::{Ran, root, run, scratch};

/// A suite without times, whose nights are equal to the bit.
fn suite(folder: &Path, gate: &str) -> String {
    let path = folder.join("night.toml");
    let text = format!(
        r#"
[suite]
seed = 7

[[bench]]
name = "small"
model = "tiny-100k"
data = {{ corpus = "fables/test", window = 64, windows = 16 }}
metrics = ["ppl", "top1", "bytes"]
prune = ["none", "magnitude(sparsity=0.5)"]
{gate}
"#
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

struct Nights {
    folder: tempfile::TempDir,
    suite: String,
}

impl Nights {
    fn new(gate: &str) -> Self {
        let folder = scratch();
        let suite = suite(folder.path(), gate);
        Self { folder, suite }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs the suite, changed, into a folder.
    fn run(&self, name: &str, changes: &[&str]) {
        let out = self.path(name);
        let mut words = vec!["run", self.suite.as_str(), "--out", out.as_str()];
        words.extend(changes);
        let ran = run(&words);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }

    fn track(&self, name: &str, more: &[&str]) -> Ran {
        let (run_folder, history) = (self.path(name), self.path("history"));
        let mut words = vec!["track", run_folder.as_str(), "--history", history.as_str()];
        words.extend(more);
        run(&words)
    }

    fn baseline(&self, words: &[&str]) -> Ran {
        let history = self.path("history");
        let mut all = vec!["baseline"];
        all.extend(words);
        all.extend(["--history", history.as_str()]);
        run(&all)
    }

    /// Makes the run seem to have been pruned more: the samples of one arm are those of a heavier one.
    fn worse(&self, name: &str) {
        let text = std::fs::read_to_string(&self.suite).unwrap();
        let heavier = text.replace("magnitude(sparsity=0.5)", "magnitude(sparsity=0.6)");
        let path = self.folder.path().join("heavier.toml");
        std::fs::write(&path, heavier).unwrap();
        let out = self.path("heavier");
        assert_eq!(run(&["run", &path.display().to_string(), "--out", &out]).code, 0);
        // The journal of the heavier run under the names of the lighter one: what a broken method would have given.
        let journal = std::fs::read_to_string(Path::new(&out).join("journal.jsonl")).unwrap();
        let journal = journal.replace("magnitude(sparsity=0.6)", "magnitude(sparsity=0.5)");
        let first = harness_store::Run::open(Path::new(&self.path("one"))).unwrap();
        let folder = self.folder.path().join(name);
        harness_store::create(&folder, &first.stamp).unwrap();
        std::fs::write(folder.join("journal.jsonl"), journal).unwrap();
        let mut stamp = first.stamp.clone();
        stamp.commit = "feedface00".into();
        harness_store::write_stamp(&folder, &stamp).unwrap();
        harness_store::seal(&folder, &first.metrics, &[]).unwrap();
    }
}

#[test]
fn nights_that_are_equal_are_the_same_and_worse_ones_exit_10() {
    let nights = Nights::new("");
    for name in ["one", "two"] {
        nights.run(name, &[]);
    }
    let first = nights.track("one", &[]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.out.contains("6 new"), "{}", first.out);
    let second = nights.track("two", &["--strict"]);
    assert_eq!(second.code, 0, "{}\n{}", second.out, second.err);
    assert!(second.out.contains("6 same; compared with the night before (one)"), "{}", second.out);
    let again = nights.track("two", &[]);
    assert!(again.code == 0 && again.out.contains("in the history already"), "{}", again.out);
    nights.worse("three");
    let comment = nights.path("comment.md");
    let worse = nights.track("three", &["--comment", &comment, "--json"]);
    assert_eq!(worse.code, 10, "{}\n{}", worse.out, worse.err);
    assert!(worse.reason().contains("ppl of small / tiny-100k / magnitude(sparsity=0.5)"), "{}", worse.reason());
    let summary: serde_json::Value = serde_json::from_str(&worse.out).unwrap();
    assert_eq!((summary["word"].as_str(), summary["exit"].as_u64()), (Some("worse"), Some(10)));
    let changed = summary["series"].as_array().unwrap().iter().find(|series| series["judgement"]["verdict"] == "worse");
    assert!(changed.unwrap()["commits"].as_str().unwrap().ends_with("..feedfac"), "{summary}");
    let text = std::fs::read_to_string(comment).unwrap();
    assert!(text.starts_with("<!-- harness track -->\n### night: worse"), "{text}");
    let page = std::fs::read_to_string(nights.folder.path().join("three/trend.html")).unwrap();
    assert!(page.contains("<summary>worse ("), "the trend page groups by verdict");
    // The night after is as bad: its level changed one night ago, and that is still held against it.
    let pinned = nights.baseline(&["save", &nights.path("three"), "new-normal", "--pin"]);
    assert_eq!(pinned.code, 0, "{}", pinned.err);
    let listed = nights.baseline(&["list"]);
    assert!(listed.out.contains("new-normal (pinned)") && listed.out.contains("feedfac"), "{}", listed.out);
    let accepted = nights.track("three", &["--dry-run"]);
    assert_eq!(accepted.code, 0, "{}\n{}", accepted.out, accepted.err);
    let missing = nights.baseline(&["drop", "no-such"]);
    assert_eq!(missing.code, 4, "{}", missing.err);
    assert_eq!(nights.baseline(&["pin"]).code, 0);
    assert_eq!(nights.baseline(&["drop", "new-normal"]).code, 0);
    assert!(nights.baseline(&["list"]).out.contains("no baselines"));
}

#[test]
fn the_gate_of_the_suite_says_what_is_judged() {
    let nights = Nights::new("[gate]\nbytes = { floor = 0.5 }\n");
    nights.run("one", &[]);
    assert_eq!(nights.track("one", &[]).code, 0);
    nights.worse("two");
    let ran = nights.track("two", &["--json", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let summary: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(summary["series"].as_array().unwrap().len(), 2, "the bytes of two arms");
    let listing = std::fs::read_dir(nights.folder.path().join("history")).unwrap().count();
    let entries = harness_store::History::all(&nights.folder.path().join("history")).unwrap();
    assert_eq!((listing, entries[0].entries().len()), (1, 1), "a dry run appends nothing");
}

#[test]
fn times_cannot_be_told_in_the_first_nights() {
    let nights = Nights::new("rounds = 2\nprefill_tokens = 16\ndecode_tokens = 2\n");
    let text = std::fs::read_to_string(&nights.suite).unwrap().replace("\"bytes\"", "\"bytes\", \"decode_tps\"");
    std::fs::write(&nights.suite, text).unwrap();
    for name in ["one", "two"] {
        nights.run(name, &[]);
    }
    assert_eq!(nights.track("one", &[]).code, 0);
    let second = nights.track("two", &["--strict"]);
    assert_eq!(second.code, 11, "{}\n{}", second.out, second.err);
    assert!(second.out.contains("1 nights are known since its last change, and 5 are needed"), "{}", second.out);
    let few = run(&["calibrate", &nights.path("one"), &nights.path("two"), "--dry-run"]);
    assert_eq!(few.code, 2, "{}", few.err);
    assert!(few.reason().contains("6 are needed"), "{}", few.reason());
}

#[test]
fn what_is_no_run_or_no_history_is_refused() {
    let folder = scratch();
    let missing = run(&["track", "no-such-run"]);
    assert_eq!(missing.code, 2, "{}", missing.err);
    assert!(missing.reason().contains("no-such-run"), "{}", missing.reason());
    let history = folder.path().display().to_string();
    let none = run(&["baseline", "pin", "x", "--history", &history]);
    assert_eq!(none.code, 4, "{}", none.err);
}

#[test]
fn the_methodology_states_the_constants_of_the_gate() {
    let text = std::fs::read_to_string(root().join("harness/METHODOLOGY.md")).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let percent = |share: f64| format!("{} %", 100.0 * share);
    for sentence in [
        format!("where {} nights are known", gate::FEWEST_NIGHTS),
        format!("with fewer than {} nights they cannot be told", gate::FEWEST_NIGHTS),
        format!("Q3 + {}·IQR", fence::REACH),
        format!("from {} of them on", fence::FEWEST_CHANGES),
        format!("the {} interval lies within the floor", percent(gate::LEVEL)),
        format!("told with a chance of {}", percent(gate::POWER)),
        format!("`false_alarms`, {} unless the suite says otherwise", percent(gate::FALSE_ALARMS)),
        format!("at least {} nights on either side", change_point::SHORTEST),
        format!("one side has at most {} nights", change_point::SMALL),
        format!("p ≤ {}", gate::MARK_LEVEL),
        format!("those of the last {} nights", gate::RECENT),
    ] {
        assert!(text.contains(&sentence), "METHODOLOGY.md does not say: {sentence}");
    }
    let words = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight"];
    assert!(text.contains(&format!("takes {} or more repetitions", words[harness_store::FEWEST_RUNS])));
}
