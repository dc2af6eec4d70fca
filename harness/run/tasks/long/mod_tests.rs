//! Every task on a model of bytes, whose tokens can be read by eye, and on the embedded models in their own language.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};

use harness_core::seed;
use harness_language::Category;
use harness_model::config::{Activation, Config, NormKind};
use harness_model::load::{Checkpoint, expected_tensors};
use harness_model::tokenizer::Tokenizer;
use harness_model::weight::Weight;
use rand_chacha::rand_core::Rng;
use serde_json::json;

use super::*;
use crate::reading::{Passage, log_likelihoods};

/// A tokenizer that takes text byte by byte.
fn tokenizer() -> Tokenizer {
    // The letters that stand for bytes: those that can be seen as they are, the others from U+0100 on.
    let seen = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let hidden: Vec<u32> = (0..256).filter(|byte| !seen(byte)).collect();
    let letter = |byte: u32| match hidden.iter().position(|other| *other == byte) {
        Some(at) => char::from_u32(256 + at as u32),
        None => char::from_u32(byte),
    };
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        (0..256).filter_map(|byte| Some((letter(byte)?.to_string(), json!(byte)))).collect();
    let description = json!({
        "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    Tokenizer::from_json(description.to_string().as_bytes(), None, None).unwrap()
}

pub(super) fn bytes(position: PositionScheme, chat: Option<&str>) -> LoadedModel {
    let config = Config {
        architecture: "llama".to_owned(),
        vocab_size: 256,
        hidden_size: 16,
        intermediate_size: 32,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        max_positions: 512,
        norm: NormKind::Rms,
        norm_epsilon: 1e-5,
        activation: Activation::Silu,
        gated: true,
        position,
        scaling: None,
        qkv_bias: false,
        output_bias: false,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        mlp_bias: false,
        tied_head: true,
        bos: None,
        eos: Vec::new(),
    };
    let tensors: BTreeMap<String, Weight> = expected_tensors(&config)
        .map(|spec| {
            let mut random = seed::stream(5, &["weights", &spec.name]);
            let value = |_| if spec.vector { 1.0 } else { (random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0 };
            (spec.name.clone(), Weight::from_f32(spec.rows, spec.cols, (0..spec.len()).map(value).collect()))
        })
        .collect();
    let mut model = LoadedModel::of("bytes", Checkpoint::new(config, tensors, Some(tokenizer())).unwrap()).unwrap();
    model.chat_template = chat.map(str::to_owned);
    model
}

pub(super) fn rope() -> PositionScheme {
    PositionScheme::Rope { theta: 10_000.0, rotary: 8, style: harness_model::config::RopeStyle::HalfSplit }
}

pub(super) fn selection(text: &str) -> LongSelection {
    let arm: Arm = format!("data({text})").parse().unwrap();
    check(&arm).unwrap();
    LongSelection::resolve(&arm).unwrap()
}

pub(super) fn inputs() -> Inputs {
    Inputs::from_environment().unwrap()
}

fn of(text: &str, model: &LoadedModel) -> Result<(LongItems, Windows), LongError> {
    LongItems::of(&selection(text), model, &inputs(), 7)
}

const TASKS: [&str; 14] = [
    "task=passkey",
    "task=needle",
    "task=needle, content=identifiers",
    "task=multi-key, count=3",
    "task=multi-key, among=needles",
    "task=multi-key, among=needles, content=identifiers",
    "task=multi-value",
    "task=multi-query, count=2",
    "task=variables, count=3",
    "task=common-words",
    "task=frequent-words",
    "task=lines",
    "task=altered-number",
    "task=free-form",
];

#[test]
fn every_task_keeps_its_length_and_tells_its_answer_once() {
    let model = bytes(rope(), None);
    let tokenizer = model.tokenizer().unwrap();
    for task in TASKS {
        for length in [2400, 6000] {
            let (asked, windows) = of(&format!("{task}, length={length}, items=4"), &model).unwrap();
            assert_eq!((asked.items.len(), windows.tokens.len()), (4, 4));
            for item in &asked.items {
                let used = item.prompt.len() + asked.tokens.max(item.answer.len());
                // A sentence of bytes, or ten words of a list.
                assert!(used <= length && length - used < 420, "{task} {length}: {used}");
                let text = tokenizer.decode(&item.prompt).unwrap();
                assert_eq!(tokenizer.encode(&text, true).unwrap(), item.prompt, "{task}: tokens are those of the text");
                let answer = tokenizer.decode(&item.answer).unwrap();
                assert_eq!(asked.rule.score(&answer, &item.golds).unwrap(), 1.0, "{task}: {answer}");
                assert!(item.golds.iter().all(|gold| text.contains(gold.as_str())), "{task}");
                let counted = task.contains("words");
                assert_eq!(item.control.is_none(), counted, "{task}");
                let Some(control) = &item.control else { continue };
                assert_eq!(control.len(), item.prompt.len());
                let control = tokenizer.decode(control).unwrap();
                // What holds a value asks for it in the question of variables.
                let found = item.golds.iter().filter(|gold| control.contains(gold.as_str())).count();
                assert_eq!(found, 0, "{task}: the control tells the answer");
            }
            let golds: HashSet<&String> = asked.items.iter().flat_map(|item| &item.golds).collect();
            assert!(golds.len() > asked.items[0].golds.len(), "{task}: items differ");
        }
    }
}

#[test]
fn depth_and_length_change_no_answer_and_needles_stand_where_they_are_asked_for() {
    let model = bytes(rope(), None);
    let tokenizer = model.tokenizer().unwrap();
    let asked = |text: &str| of(text, &model).unwrap().0;
    let golds = |asked: &LongItems| asked.items.iter().map(|item| item.golds.clone()).collect::<Vec<_>>();
    let first = asked("task=needle, length=1200, depth=0, items=5");
    for text in ["length=1200, depth=100", "length=3000, depth=50", "length=900"] {
        assert_eq!(golds(&asked(&format!("task=needle, {text}, items=5"))), golds(&first), "{text}");
    }
    for (depth, wanted) in [(0.0, 0.0), (25.0, 0.25), (100.0, 1.0)] {
        for item in asked(&format!("task=needle, length=3000, depth={depth}, items=5")).items {
            let text = tokenizer.decode(&item.prompt).unwrap();
            let place = |at: usize| at as f64;
            let first = text.find(" more of them.").unwrap() + " more of them.".len();
            let needle = text.find(&item.golds[0]).unwrap();
            let start = text[..needle].rfind(". ").unwrap() + 1;
            let end = needle + text[needle..].find('.').unwrap() + 1;
            let around = place(text.find("\n\n").unwrap()) - place(first) - (place(end) - place(start));
            let share = (place(start) - place(first)) / around;
            assert!((share - wanted).abs() < 0.02, "{depth}: {share} in {text}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_said() {
    let model = bytes(rope(), None);
    let said = |text: &str, model: &LoadedModel| of(text, model).unwrap_err().to_string();
    for task in TASKS {
        let error = said(&format!("{task}, length=40, items=1"), &model);
        assert!(error.contains("the needle is longer than the context of 40 tokens"), "{task}: {error}");
    }
    let learned = bytes(PositionScheme::Learned, None);
    assert!(said("task=needle, length=600, items=1", &learned).contains("a learned table of 512 positions"));
    assert!(of("task=needle, length=500, items=1", &learned).is_ok());
    let crowded = said("task=multi-key, among=needles, length=1000000, items=1", &model);
    assert!(crowded.contains("tokens that a context of 1000000 needs"), "{crowded}");
    let refused = |text: &str| check(&format!("data({text})").parse().unwrap()).unwrap_err().to_string();
    assert!(refused("task=variables, depth=10").contains("`depth` is nothing to `variables`"));
    assert!(refused("task=needle, count=3").contains("`count` is nothing to `needle`"));
    assert!(refused("task=lines, corpus=gutenberg/test").contains("`corpus` is nothing to `lines`"));
    assert!(refused("task=passkey, among=needles").contains("it has no needles"));
    assert!(refused("task=needle, among=needles, corpus=gutenberg/test").contains("no room"));
    assert!(refused("task=needle, depth=101").contains("outside its range [0, 100]"));
    assert!(refused("task=haystack").contains("must be one of passkey, needle"));
}

#[test]
fn chat_templates_stand_around_text_and_answer() {
    let template = "{% for message in messages %}[{{ message.role }}] {{ message.content | trim }} [/]{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}";
    let model = bytes(rope(), Some(template));
    let tokenizer = model.tokenizer().unwrap();
    let (asked, windows) = of("task=needle, length=900, items=2", &model).unwrap();
    let text = tokenizer.decode(&asked.items[0].prompt).unwrap();
    assert!(text.starts_with("[user] The text below gives a locker number"), "{text}");
    assert!(text.contains(" [/][assistant] The locker number of the ") && text.ends_with(" is"), "{text}");
    assert_eq!(tokenizer.encode(&text, false).unwrap(), asked.items[0].prompt);
    let plain = of("task=needle, length=900, items=2, chat=false", &model).unwrap();
    assert!(tokenizer.decode(&plain.0.items[0].prompt).unwrap().starts_with("The text below"));
    assert_ne!(windows.protocol, plain.1.protocol);
    assert!(of("task=needle, length=900, items=1, chat=true", &bytes(rope(), None)).is_err());
}

#[test]
fn a_text_of_some_length_is_asked_for_and_its_words_are_counted() {
    let model = bytes(rope(), None);
    let (asked, _) = of("task=write, words=9, length=400, tokens=32, items=2", &model).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let prompts: Vec<String> = asked.items.iter().map(|item| tokenizer.decode(&item.prompt).unwrap()).collect();
    assert!(prompts[0] != prompts[1] && prompts.iter().all(|prompt| prompt.contains("about 9 words")), "{prompts:?}");
    let found = asked.ask(&model.decoder, tokenizer, &mut |_, _| {}).unwrap();
    assert!(found.iter().all(|item| item.text.is_some_and(|text| text.asked == 9) && item.tokens == 0));
    let refused = of("task=write, words=100, length=400", &model).unwrap_err().to_string();
    assert!(refused.contains("raise `length`"), "{refused}");
    let refused = check(&"data(task=needle, words=9)".parse().unwrap()).unwrap_err().to_string();
    assert!(refused.contains("`words` is nothing to `needle`"), "{refused}");
}

#[test]
fn texts_are_cut_in_every_way_and_the_protocol_says_how() {
    let model = bytes(rope(), None);
    let (whole, plain) = of("task=needle, length=2400, items=2, depth=0", &model).unwrap();
    for (cut, kept) in [
        ("head", 1.0),
        ("tail", 0.0),
        ("head-tail", 1.0),
        ("middle", 0.0),
        ("selective-context", 0.5),
        ("random", 0.5),
        ("stop-words", 1.0),
        ("passages", 1.0),
    ] {
        let (asked, windows) =
            of(&format!("task=needle, length=2400, items=2, depth=0, cut={cut}, budget=400"), &model).unwrap();
        assert!(windows.protocol.ends_with(&format!("cut={cut} budget=400")) && windows.hash != plain.hash, "{cut}");
        for (item, before) in asked.items.iter().zip(&whole.items) {
            let left = before.prompt.len() - item.prompt.len();
            assert!(left > 1000, "{cut}: {left} tokens are gone");
            assert_eq!((&item.answer, &item.golds), (&before.answer, &before.golds), "{cut}: items stay paired");
            assert_eq!(item.control.as_ref().map(Vec::len), Some(item.prompt.len()), "{cut}");
            assert!((item.needle_kept - kept).abs() <= 0.5, "{cut}: {}", item.needle_kept);
        }
    }
    let refused = |text: &str| check(&format!("data({text})").parse().unwrap()).unwrap_err().to_string();
    assert!(refused("task=needle, cut=head").contains("needs a `budget`"));
    assert!(refused("task=needle, budget=9").contains("name a `cut`"));
    assert!(refused("task=common-words, cut=head, budget=9").contains("no text that something stands in"));
}

#[test]
fn a_corpus_lends_its_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    let text: String = (0..400).map(|at| format!("Sentence number {at} of the story stands here. ")).collect();
    std::fs::write(&path, &text).unwrap();
    let model = bytes(rope(), None);
    let mut long = selection("task=needle, length=2000, items=3");
    long.corpus = Some(path.display().to_string());
    let (asked, windows) = LongItems::of(&long, &model, &inputs(), 7).unwrap();
    assert!(windows.protocol.contains("text=") && !windows.protocol.contains("text=made"));
    for item in &asked.items {
        let prompt = model.tokenizer().unwrap().decode(&item.prompt).unwrap();
        assert!(prompt.matches("of the story stands here.").count() > 20, "{prompt}");
    }
    long.length = 40_000;
    let error = LongItems::of(&long, &model, &inputs(), 7).unwrap_err().to_string();
    assert!(error.contains("give more text or lower `length`"), "{error}");
}

#[test]
fn weighed_answers_are_those_of_one_pass() {
    let model = bytes(rope(), None);
    let (asked, _) = of("task=needle, length=700, items=3", &model).unwrap();
    let found = asked.ask(&model.decoder, model.tokenizer().unwrap(), &mut |_, _| {}).unwrap();
    for (item, found) in asked.items.iter().zip(&found) {
        let passage = |prompt: &[u32]| Passage { tokens: [prompt, &item.answer].concat(), first: prompt.len() };
        let (own, control) = (passage(&item.prompt), passage(item.control.as_ref().unwrap()));
        let weighed = log_likelihoods(&model.decoder, &[&own, &control], &mut |_, _| {}).unwrap();
        assert!(
            (found.nll + weighed[0]).abs() < 1e-3 && (found.control.unwrap() + weighed[1]).abs() < 1e-3,
            "{found:?}"
        );
        assert_eq!((found.tokens, found.score), (8, 0.0));
    }
}

#[test]
fn a_generated_language_names_a_role_once_and_asks_for_its_name() {
    let inputs = inputs();
    let model = inputs.model("tiny-300k").unwrap();
    let generated = inputs.language("fables/test", &model).unwrap().unwrap();
    let lexicon = generated.language().lexicon();
    let (roles, names) = (lexicon.tokens(Category::Role), lexicon.tokens(Category::Name));
    for task in ["needle", "multi-key"] {
        let (asked, windows) =
            of(&format!("task={task}, corpus=\"fables/test\", length=512, depth=50, items=20"), &model).unwrap();
        assert!(windows.protocol.contains("text=fables/test@v1") && windows.protocol.contains("rule=first-word"));
        for item in &asked.items {
            assert!(item.prompt.len() < 512 && item.prompt.len() > 470, "{}", item.prompt.len());
            let (role, name) = (*item.prompt.last().unwrap(), item.answer[0]);
            assert!(roles.contains(&role) && names.contains(&name));
            let places: Vec<usize> = (0..item.prompt.len()).filter(|at| item.prompt[*at] == role).collect();
            assert_eq!((places.len(), item.prompt[places[0] + 1]), (2, name));
            assert_eq!(item.prompt.iter().filter(|token| **token == name).count(), 1, "it stands nowhere else");
            let control = item.control.as_ref().unwrap();
            assert_eq!(control.len(), item.prompt.len());
            assert!(!control.contains(&name) && control.iter().filter(|token| **token == role).count() == 1);
            // Every other role has one name through the whole text, as in a document of the language.
            let mut bound = BTreeMap::new();
            for pair in item.prompt.windows(2).filter(|pair| roles.contains(&pair[0])) {
                assert_eq!(*bound.entry(pair[0]).or_insert(pair[1]), pair[1]);
            }
        }
    }
    let said = |text: &str| of(text, &model).unwrap_err().to_string();
    assert!(said("task=variables, corpus=\"fables/test\", items=1").contains("it has `needle` and `multi-key`"));
    assert!(said("task=passkey, items=1").contains("cannot write"));
    assert!(said("task=needle, corpus=\"fables/test\", length=16, items=40").contains("longer than the context"));
}

#[test]
fn an_embedded_model_uses_a_needle_within_the_length_it_was_trained_at() {
    let model = inputs().model("tiny-1m").unwrap();
    let (asked, _) = of("task=needle, corpus=\"fables/test\", length=192, depth=50, items=24", &model).unwrap();
    let found = asked.ask(&model.decoder, model.tokenizer().unwrap(), &mut |_, _| {}).unwrap();
    let gain: f64 = found.iter().map(|item| item.control.unwrap() - item.nll).sum::<f64>() / 24.0;
    let right: f64 = found.iter().map(|item| item.score).sum();
    assert!(gain > 1.0 && right >= 3.0, "{gain} nats, {right} of 24");
}
