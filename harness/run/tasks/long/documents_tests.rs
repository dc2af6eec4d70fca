//! Questions about documents, on a model of bytes, whose prompts can be read by eye.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use harness_core::Arm;
use harness_judge::retrieval::Rule;
use serde_json::json;

use super::mod_tests::{bytes, inputs, rope, selection};
use super::{Item, LongError, LongItems, LongSelection, check};

/// A file of thirty articles of four paragraphs, each of which a question is about.
fn squad() -> tempfile::NamedTempFile {
    let paragraph = |article: usize, at: usize| {
        json!({
            "context": format!("Article {article} says in paragraph {at} that its bell weighs {article}{at}7 pounds. Nobody rings it."),
            "qas": [{"question": format!("What does the bell of paragraph {at} in article {article} weigh?"),
                     "answers": [{"text": format!("{article}{at}7 pounds")}, {"text": format!("{article}{at}7")}]}],
        })
    };
    let articles: Vec<_> = (0..30)
        .map(|article| json!({"paragraphs": (0..4).map(|at| paragraph(article, at)).collect::<Vec<_>>()}))
        .collect();
    written(&json!({ "data": articles }))
}

/// Questions of two hops among four paragraphs each.
fn hotpot() -> tempfile::NamedTempFile {
    let question = |at: usize| {
        json!({"question": format!("Who owns boat {at}?"), "answer": format!("Mrs. {at}9"),
               "supporting_facts": [[format!("Boat {at}"), 0], [format!("Yard {at}"), 0]],
               "context": [[format!("Boat {at}"), [format!("Boat {at} lies in yard {at}.")]], [format!("Yard {at}"), [format!("Yard {at} is Mrs. {at}9's.")]],
                           [format!("Pier {at}"), ["Piers are long."]], [format!("Mast {at}"), ["Masts are high."]]]})
    };
    written(&json!((0..40).map(question).collect::<Vec<_>>()))
}

fn written(value: &serde_json::Value) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(value.to_string().as_bytes()).unwrap();
    file
}

fn asked(file: &tempfile::NamedTempFile, text: &str) -> Result<LongItems, LongError> {
    let named = selection(&format!("task=documents, questions=x, {text}"));
    let selection = LongSelection { questions: Some(file.path().to_str().unwrap().to_owned()), ..named };
    LongItems::of(&selection, &bytes(rope(), None), &inputs(), 7).map(|(items, _)| items)
}

fn text(tokens: &[u32]) -> String {
    String::from_utf8(tokens.iter().map(|token| *token as u8).collect()).unwrap()
}

/// The documents of a prompt, and how often a line stands in it.
fn documents(item: &Item) -> Vec<String> {
    let prompt = text(&item.prompt);
    let body = prompt.split("\n\nAnswer the question").next().unwrap();
    body.split("\n\nDocument:\n").skip(1).map(str::to_owned).collect()
}

#[test]
fn the_document_of_a_question_stands_at_its_depth_among_those_of_its_article_and_others() {
    let file = squad();
    for (length, depth) in [(1600, 0), (1600, 100), (5000, 50)] {
        let found = asked(&file, &format!("length={length}, depth={depth}, items=12")).unwrap();
        assert_eq!((found.rule, found.tokens, found.items.len()), (Rule::Any, 32, 12));
        for (number, item) in found.items.iter().enumerate() {
            assert!(item.prompt.len() + found.tokens <= length && length - item.prompt.len() - found.tokens < 130);
            // 12 of 120 questions at even distances.
            let (article, at) = (number * 10 / 4, number * 10 % 4);
            let prompt = text(&item.prompt);
            assert!(prompt.ends_with(&format!("paragraph {at} in article {article} weigh?\nAnswer:")), "{prompt}");
            assert_eq!(item.golds, [format!("{article}{at}7 pounds"), format!("{article}{at}7")]);
            assert_eq!(text(&item.answer), format!(" {article}{at}7 pounds"));
            let documents = documents(item);
            let own = documents
                .iter()
                .position(|document| document.contains(&format!("Article {article} says in paragraph {at}")));
            let wanted = f64::from(depth) / 100.0 * (documents.len() - 1) as f64;
            assert!((own.unwrap() as f64 - wanted).abs() <= 1.0, "{own:?} of {}", documents.len());
            let kin = documents.iter().filter(|document| document.contains(&format!("Article {article} says"))).count();
            assert_eq!(kin, 4, "all of the article's paragraphs are there");
            let control = text(item.control.as_ref().unwrap());
            assert!(!control.contains(&format!("weighs {article}{at}7 pounds")) && control.len() == prompt.len());
        }
        if length > 4000 {
            let first: Vec<bool> = found
                .items
                .iter()
                .map(|item| {
                    let number = item.golds[1].trim_end_matches('7');
                    documents(item)[0].contains(&format!("Article {} says", &number[..number.len() - 1]))
                })
                .collect();
            assert!(first.iter().any(|kin| !kin), "kin do not stand before all others");
        }
    }
}

#[test]
fn two_documents_are_taken_out_of_the_control_and_those_beside_them_stay() {
    let file = hotpot();
    let found = asked(&file, "length=1500, items=8").unwrap();
    for (number, item) in found.items.iter().enumerate() {
        let at = number * 5;
        let (prompt, control) = (text(&item.prompt), text(item.control.as_ref().unwrap()));
        for line in [format!("Boat {at} lies in yard {at}."), format!("Yard {at} is Mrs. {at}9's.")] {
            assert!(prompt.contains(&line) && !control.contains(&line), "{line}");
        }
        for title in [format!("Pier {at}\n"), format!("Mast {at}\n")] {
            assert!(prompt.contains(&title) && control.contains(&title), "{title}");
        }
        assert_eq!(item.golds, [format!("Mrs. {at}9")]);
    }
    let again = asked(&file, "length=1500, items=8").unwrap();
    assert_eq!(again.items, found.items);
    let cut = asked(&file, "length=1500, items=8, cut=passages, budget=300").unwrap();
    assert!(
        cut.items.iter().all(|item| item.prompt.len() < 700 && item.needle_kept > 0.0),
        "passages find the words of a question"
    );
}

#[test]
fn what_cannot_be_asked_about_documents_is_said() {
    let file = squad();
    let said = |text: &str| asked(&file, text).unwrap_err().to_string();
    assert!(said("length=2000, items=121").contains("has 120 of the 121 questions"));
    assert!(said("length=200, items=1").contains("the needle is longer than the context of 200 tokens"));
    assert!(said("length=90000, items=1").contains("give more text or lower `length`"));
    let refused = |text: &str| check(&format!("data({text})").parse::<Arm>().unwrap()).unwrap_err().to_string();
    assert!(refused("task=documents").contains("needs `questions`"));
    assert!(refused("task=needle, questions=x").contains("`questions` is nothing to `needle`"));
    assert!(refused("task=documents, questions=x, corpus=y").contains("`corpus` is nothing to `documents`"));
}
