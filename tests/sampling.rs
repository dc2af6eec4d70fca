//! Benches of samplers on the real binary: what must hold of their numbers, and what is said when they make no sense.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Ran, run, scratch};

const BENCH: &str = "[[bench]]\nkind = \"sampling\"\nmodel = \"tiny-100k\"\n";

/// Runs a suite; gives what the program said, and by sampler each metric's value and each failure's reason.
fn ran(suite: &str) -> (Ran, BTreeMap<String, (BTreeMap<String, f64>, Option<String>)>) {
    let folder = scratch();
    let path = folder.path().join("suite.toml");
    std::fs::write(&path, suite).unwrap();
    let out = folder.path().join("run");
    let said = run(&["run", &path.display().to_string(), "--out", &out.display().to_string()]);
    let journal = std::fs::read_to_string(out.join("journal.jsonl")).unwrap_or_default();
    let mut found = BTreeMap::new();
    for line in journal.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(sampler) = line["cell"]["coordinates"]["sampler"]["label"].as_str() else { continue };
        let sum = |list: &Value| list.as_array().map_or(0.0, |list| list.iter().filter_map(Value::as_f64).sum::<f64>());
        let values = line["observations"].as_array().unwrap().iter().filter_map(|seen| {
            let samples = seen["samples"].as_array()?;
            let value = match seen["reduction"].as_str()? {
                "ratio" => sum(&seen["samples"]) / sum(&seen["weights"]),
                _ => samples.first()?.as_f64()?,
            };
            Some((seen["metric"].as_str()?.to_owned(), value))
        });
        let reason = line["failure"]["reason"].as_str().map(str::to_owned);
        found.insert(sampler.to_owned(), (values.collect(), reason));
    }
    (said, found)
}

#[test]
fn what_must_hold_of_steps_draws_and_texts_holds() {
    let suite = format!(
        "{BENCH}data = {{ corpus = \"fables/test\", window = 48, windows = 8 }}
calib = {{ corpus = \"fables/valid\", window = 48, windows = 8 }}
metrics = \"all\"
draws = 2000
sequences = 6
sequence_tokens = 12
prompt_tokens = 6
rounds = 1
second = \"tiny-100k\"
sampler = [\"temperature(t=1)\", \"greedy\", \"cfg(scale=1) | temperature(t=1)\", \"beam(width=1)\",
  {{ method = [\"beam\"], width = 3, finished = \"beam\", length_penalty = 0 }}, \"best-first-beam(width=3)\", \"speculative(draft_tokens=3)\",
  {{ method = \"matched\", like = [\"min-p\", \"top-p\", \"top-k\"], diversity = 2 }}]\n"
    );
    let (said, found) = ran(&suite);
    assert_eq!(said.code, 0, "{}", said.err);
    let value = |sampler: &str, metric: &str| found[sampler].0[metric];
    let whole = "temperature(t=1)";
    for (metric, wanted) in
        [("kept_mass", 1.0), ("support_recall", 1.0), ("mass_cut", 0.0), ("tv_model", 0.0), ("rejected", 0.0)]
    {
        assert!((value(whole, metric) - wanted).abs() < 1e-5, "{metric}: {}", value(whole, metric));
    }
    assert_eq!((value("greedy", "kept"), value("greedy", "entropy")), (1.0, 0.0));
    // Keeping exactly what the language allows can only help.
    assert!(value(whole, "tv_oracle") < value(whole, "tv_truth"));
    // No guidance is the model itself, a beam of one is greedy, best-first search finds what beam search finds.
    for metric in ["surprise_model", "surprise_truth", "validity", "distinct_2"] {
        assert!((value("cfg(scale=1) | temperature(t=1)", metric) - value(whole, metric)).abs() < 1e-6, "{metric}");
        assert!((value("beam(width=1)", metric) - value("greedy", metric)).abs() < 1e-4, "{metric}");
        let beam = value("beam(width=3, length_penalty=0, finished=beam)", metric);
        assert!((value("best-first-beam(width=3)", metric) - beam).abs() < 1e-4, "{metric}");
    }
    assert!(
        value("best-first-beam(width=3)", "calls") <= value("beam(width=3, length_penalty=0, finished=beam)", "calls")
    );
    // A draft that is the model itself is always accepted.
    assert!(value("speculative(draft_tokens=3)", "calls") < 0.5);
    for like in ["min-p", "top-p", "top-k"] {
        let sampler = format!("matched(like={like}, diversity=2)");
        assert!((value(&sampler, "entropy") - 2.0).abs() < 0.35, "{like}: {}", value(&sampler, "entropy"));
        assert!(value(&sampler, "setting") > 0.0 && value(&sampler, "rejected") > 0.0);
    }
    for (values, _) in found.values() {
        assert!(values.get("law_p").is_none_or(|p| *p > 1e-6) && values["validity"] > 0.0);
    }
}

#[test]
fn a_mixture_with_the_uniform_distribution_is_undone_by_cutting_below_its_share() {
    // Smoothing spreads 0.2 evenly over 768 tokens: what lies above that share is the support, wherever the truth is.
    let suite = format!(
        "{BENCH}data = {{ corpus = \"fables/test\", window = 48, windows = 6 }}
metrics = [\"tv_truth\", \"support_precision\", \"support_recall\", \"mass_wrong\"]
smoothing = 0.2
sampler = [\"temperature(t=1)\", \"epsilon(epsilon=0.000261)\"]\n"
    );
    let (said, found) = ran(&suite);
    assert_eq!(said.code, 0, "{}", said.err);
    let whole = &found["temperature(t=1)"].0;
    let cut = &found["epsilon(epsilon=0.000261)"].0;
    assert!(whole["mass_wrong"] > 0.1 && cut["mass_wrong"] < 1e-9);
    assert!(cut["support_precision"] == 1.0 && cut["support_recall"] > 0.9);
    assert!(cut["tv_truth"] < whole["tv_truth"] / 4.0, "{} {}", cut["tv_truth"], whole["tv_truth"]);
}

#[test]
fn arms_that_cannot_be_measured_fail_alone_and_say_why() {
    let suite = format!(
        "{BENCH}data = {{ corpus = \"fables/test\", window = 32, windows = 2 }}
metrics = [\"entropy\", \"validity\"]
sequences = 2
sequence_tokens = 4
sampler = [\"min-p(p=0.1)\", \"matched(like=top-p, diversity=2)\", \"speculative\", \"logit-bias(tokens=\\\"9999:1\\\")\"]\n"
    );
    let (said, found) = ran(&suite);
    assert_eq!(said.code, 3, "{}", said.err);
    let reason = |sampler: &str| found[sampler].1.clone().unwrap_or_default();
    assert!(found["min-p(p=0.1)"].1.is_none());
    assert!(reason("matched(like=top-p, diversity=2)").contains("give the bench a `calib` table"));
    assert!(reason("speculative").contains("needs a draft model"), "{}", reason("speculative"));
    let unknown = found.iter().find(|(sampler, _)| sampler.starts_with("logit-bias")).unwrap().1.1.clone();
    assert!(unknown.unwrap_or_default().contains("token 9999"), "{found:?}");
}

#[test]
fn chains_that_make_no_sense_are_refused_before_anything_runs() {
    for (sampler, reason) in [
        ("\"temperature(t=0.7) | temperature(t=1.5)\"", "a chain has one temperature"),
        ("\"mirostat | min-p(p=0.1)\"", "stands behind `mirostat`"),
        ("\"temperature(t=0.7) | bat(tau=0.1)\"", "bat"),
        ("\"min-p(p=0.1) | beam\"", "is a decoder"),
        ("\"top-p(p=1.5)\"", "outside its range"),
        ("{ chain = [] }", "`chain` is empty"),
        ("{ chain = [\"greedy\"], p = 1 }", "stands beside `chain`"),
        ("\"matched(like=greedy)\"", "nothing to set"),
        ("\"min-q\"", "no method of the sampler axis"),
    ] {
        let suite = format!("{BENCH}data = {{ corpus = \"fables/test\" }}\nmetrics = \"all\"\nsampler = [{sampler}]\n");
        let (said, _) = ran(&suite);
        assert_eq!(said.code, 2, "{sampler}: {}", said.err);
        assert!(said.err.contains(reason), "{sampler}: {}", said.err);
    }
    let wrong = format!("{BENCH}data = {{ corpus = \"fables/test\" }}\nmetrics = [\"ppl\"]\nsampler = \"greedy\"\n");
    assert!(ran(&wrong).0.err.contains("a sampling bench does not measure `ppl`"));
}
