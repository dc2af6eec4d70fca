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
data = {{ corpus = "fables/test", window = 64, windows = 128 }}
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
        self.seal_as(name, &journal, |stamp| {
            stamp.commit = "feedface00".into();
            stamp.dirty = false;
        });
    }

    /// A run with the stamp of the first, changed, and another journal.
    fn seal_as(&self, name: &str, journal: &str, change: impl Fn(&mut harness_core::Stamp)) {
        let first = harness_store::Run::open(Path::new(&self.path("one"))).unwrap();
        let folder = self.folder.path().join(name);
        let mut stamp = first.stamp.clone();
        change(&mut stamp);
        harness_store::create(&folder, &stamp).unwrap();
        std::fs::write(folder.join("journal.jsonl"), journal).unwrap();
        harness_store::seal(&folder, &first.metrics, &[]).unwrap();
    }

    /// The first run again, as of another time.
    fn again(&self, name: &str, started: &str) {
        let journal = std::fs::read_to_string(Path::new(&self.path("one")).join("journal.jsonl")).unwrap();
        self.seal_as(name, &journal, |stamp| stamp.started = started.into());
    }

    /// The files of the history's only suite that end so, in order.
    fn files(&self, end: &str) -> Vec<std::path::PathBuf> {
        let history = harness_store::History::all(&self.folder.path().join("history")).unwrap().remove(0);
        let all = std::fs::read_dir(history.dir()).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = all.filter(|path| path.to_string_lossy().ends_with(end)).collect();
        found.sort();
        found
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
    assert!(text.starts_with("<!-- harness track -->\n### ") && text.contains("night: worse"), "{text}");
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
fn gaps_duplicates_and_clocks_are_said_and_change_nothing() {
    let nights = Nights::new("");
    nights.run("one", &[]);
    // Nights 1 to 9 without 5 to 7, then one that says it was before all of them.
    let days = [1, 2, 3, 4, 8, 9];
    for day in days {
        let name = format!("day-{day}");
        nights.again(&name, &format!("2026-03-0{day}T03:00:00Z"));
        assert_eq!(nights.track(&name, &[]).code, 0);
    }
    nights.again("backwards", "2026-02-27T03:00:00Z");
    let backwards = nights.track("backwards", &[]);
    assert_eq!(backwards.code, 0, "{}", backwards.err);
    assert!(backwards.out.contains("compared with the night before (day-9)"), "{}", backwards.out);
    assert!(backwards.out.contains("about 3 nights are missing"), "{}", backwards.out);
    // The same nights once more under other numbers, as a careless merge leaves them.
    for path in nights.files("").into_iter().filter(|path| path.to_string_lossy().contains("/000002-")) {
        std::fs::copy(&path, path.display().to_string().replace("/000002-", "/000042-")).unwrap();
    }
    nights.again("last", "2026-03-10T03:00:00Z");
    let last = nights.track("last", &["--strict"]);
    assert_eq!(last.code, 0, "{}\n{}", last.out, last.err);
    assert!(last.out.contains("day-2 stands in the history twice and counts once"), "{}", last.out);
    assert!(last.out.contains("the clock went backwards: backwards began 10 days before day-9"), "{}", last.out);
    assert!(last.out.contains("6 same"), "{}", last.out);
}

#[test]
fn a_damaged_history_and_one_of_a_later_program_are_refused_by_name() {
    let nights = Nights::new("");
    nights.run("one", &[]);
    assert_eq!(nights.track("one", &[]).code, 0);
    nights.again("two", "2026-03-02T03:00:00Z");
    let refused = |file: &Path, content: &[u8], said: &str| {
        let whole = std::fs::read(file).unwrap();
        std::fs::write(file, content).unwrap();
        let ran = nights.track("two", &["--dry-run"]);
        std::fs::write(file, whole).unwrap();
        assert_eq!(ran.code, 5, "{}\n{}", ran.out, ran.err);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(ran.reason().contains(&name) && ran.reason().contains(said), "{}", ran.reason());
    };
    for end in [".records.parquet", ".samples.parquet"] {
        let file = nights.files(end).remove(0);
        let whole = std::fs::read(&file).unwrap();
        refused(&file, &whole[..whole.len() / 2], "not what was written");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        refused(&file, &flipped, "not what was written");
    }
    let entry = nights.files(".json").remove(0);
    let text = std::fs::read_to_string(&entry).unwrap();
    refused(&entry, text.replace("\"schema\": 1", "\"schema\": 9").as_bytes(), "9");
    refused(&entry, &text.as_bytes()[..30], "");
    assert_eq!(nights.track("two", &["--dry-run"]).code, 0);
}

#[test]
fn samples_that_are_few_equal_or_no_numbers_are_never_told() {
    let nights = Nights::new("");
    let text = std::fs::read_to_string(&nights.suite).unwrap().replace("windows = 128", "windows = 2");
    std::fs::write(&nights.suite, text).unwrap();
    nights.run("one", &[]);
    assert_eq!(nights.track("one", &[]).code, 0);
    let journal = std::fs::read_to_string(Path::new(&nights.path("one")).join("journal.jsonl")).unwrap();
    let changed = |change: &dyn Fn(usize, &mut serde_json::Value)| {
        let lines = journal.lines().map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            for seen in line["observations"].as_array_mut().unwrap() {
                if seen["metric"] == "ppl" {
                    seen["samples"].as_array_mut().unwrap().iter_mut().enumerate().for_each(|(at, x)| change(at, x));
                }
            }
            line.to_string() + "\n"
        });
        lines.collect::<String>()
    };
    let perplexities = |name: &str| {
        let ran = nights.track(name, &["--json", "--dry-run", "--strict"]);
        let summary: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let all = summary["series"].as_array().unwrap().clone();
        (ran.code, all.into_iter().filter(|series| series["metric"] == "ppl").collect::<Vec<_>>())
    };
    // Twice as hard, but only two windows: their noise is not known.
    nights.seal_as("few", &changed(&|_, x| *x = (x.as_f64().unwrap() * 2.0).into()), |stamp| stamp.commit = "1".into());
    let (code, few) = perplexities("few");
    assert_eq!((code, few.len()), (11, 2));
    for series in &few {
        assert_eq!(series["judgement"]["verdict"], "cannot-tell", "{series}");
        assert!(series["judgement"]["reason"].as_str().unwrap().contains("noise is not known"), "{series}");
    }
    // Every sample the same number on both sides.
    nights.seal_as("flat", &changed(&|_, x| *x = 100.0.into()), |stamp| stamp.commit = "2".into());
    assert!(perplexities("flat").1.iter().all(|series| series["judgement"]["verdict"] == "cannot-tell"));
    assert_eq!(nights.track("flat", &[]).code, 0);
    nights.seal_as("flat-again", &changed(&|_, x| *x = 100.0.into()), |stamp| stamp.commit = "3".into());
    assert!(perplexities("flat-again").1.iter().all(|series| series["judgement"]["verdict"] == "same"));
    // So hard that the perplexity is no finite number.
    nights.seal_as("none", &changed(&|_, x| *x = 1e300.into()), |stamp| stamp.commit = "4".into());
    let (code, none) = perplexities("none");
    assert_eq!(code, 11);
    for series in &none {
        assert_eq!(series["judgement"]["verdict"], "cannot-tell", "{series}");
        assert!(series["judgement"]["reason"].as_str().unwrap().contains("inf"), "{series}");
    }
}

#[test]
fn what_is_no_run_or_no_history_is_refused() {
    let folder = scratch();
    let missing = run(&["track", "no-such-run"]);
    assert_eq!(missing.code, 5, "{}", missing.err);
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
