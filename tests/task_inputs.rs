//! Bad tasks: files of questions that no bench can ask. Messages are kept as those of `inputs.rs`.

use std::path::Path;

use crate::inputs::Place;
use crate::support::{Ran, harness};

#[test]
fn tasks() {
    let mut place = Place::new();
    let request = |question: usize, context: &str, answer: &str, label: &str| {
        format!(
            "{{\"doc_id\": {question}, \"label\": {label}, \"request\": {{\"context\": \"{context}\", \"continuation\": \"{answer}\"}}}}\n"
        )
    };
    let choices = |task: &str, items: usize| format!("{{ task = \"TMP/{task}\", items = {items} }}");
    let case = |place: &mut Place, name: &str, content: &str| {
        place.put(&format!("{name}.jsonl"), content);
        let choices = choices(&format!("{name}.jsonl"), 1);
        place.run_case(name, &[], &[("choices", &choices), ("metrics", "[\"acc\"]"), ("prune", "\"none\"")]);
    };
    let good = request(0, "w3 w4", " w5", "1") + &request(0, "w3 w4", " w6", "1");
    case(&mut place, "task_empty", "");
    case(&mut place, "task_line_wrong", &format!("{good}{{\"doc_id\": 1}}\n"));
    case(&mut place, "task_label_wrong", &(request(0, "w3", " w5", "2") + &request(0, "w3", " w6", "2")));
    case(&mut place, "task_of_one_answer", &request(0, "w3", " w5", "0"));
    case(&mut place, "task_answer_empty", &(request(0, "w3", " ", "0") + &request(0, "w3", " w6", "0")));
    place.put("good.jsonl", &good);
    let few = choices("good.jsonl", 2);
    place.run_case("task_too_short", &[], &[("choices", &few), ("metrics", "[\"acc\"]")]);
    let missing = choices("missing.jsonl", 1);
    place.run_case("task_unknown", &[], &[("choices", &missing), ("metrics", "[\"acc\"]")]);
    for (name, questions) in [
        ("questions_not_blocks", "{ task = \"TMP/good.jsonl\", items = 1, shots = 0 }"),
        ("questions_without_template", "{ task = \"TMP/asked.jsonl\", items = 1, shots = 0, chat = true }"),
        ("questions_without_examples", "{ task = \"TMP/asked.jsonl\", items = 1, shots = 1 }"),
        ("questions_too_long", "{ task = \"TMP/asked.jsonl\", items = 1, shots = 0, tokens = 511 }"),
    ] {
        place.put("asked.jsonl", request(0, "Question: w3\\nAnswer:", "", "\"5\""));
        place.run_case(name, &[], &[("questions", questions), ("metrics", "[\"exact_match\"]"), ("prune", "\"none\"")]);
    }
    place.done();
}

#[test]
fn the_other_label_makes_right_answers_wrong() {
    let place = Place::new();
    let mut accuracies = Vec::new();
    for label in [0, 1] {
        let requests: String = (0..40)
            .flat_map(|question| [5, 9].map(|answer| (question, answer + question % 7)))
            .map(|(question, answer)| {
                let context = format!("w{} w{}", 3 + question % 11, 4 + question % 13);
                format!(
                    "{{\"doc_id\": {question}, \"label\": {label}, \"request\": {{\"context\": \"{context}\", \"continuation\": \" w{answer} w3\"}}}}\n"
                )
            })
            .collect();
        place.put("two.jsonl", requests);
        let choices = format!("{{ task = \"{}\", items = 40 }}", place.path("two.jsonl"));
        let suite = place.suite("two", &[("choices", &choices), ("metrics", "\"all\""), ("prune", "\"none\"")]);
        let out = place.path(&format!("two-{label}"));
        let ran: Ran = harness(&["run", &suite, "--out", &out]).output().unwrap().into();
        assert_eq!(ran.code, 0, "{}", ran.err);
        let run = harness_store::Run::open(Path::new(&out)).unwrap();
        // Metrics that need no task that the bench lacks are all there.
        assert!(run.records[0].value("exact_match").is_none() && run.records[0].value("ppl").is_some());
        accuracies.push(["acc", "acc_norm", "acc_bytes"].map(|id| run.records[0].value(id).unwrap()));
    }
    for (a, b) in accuracies[0].iter().zip(accuracies[1]) {
        assert!((a + b - 1.0).abs() < 1e-12 && *a > 0.0 && *a < 1.0, "{accuracies:?}");
    }
}
