#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::path::Path;

use harness_core::Arm;
use harness_core::Parameters;
use harness_model::load::load;
use proptest::prelude::*;

use super::problems::{number, without_leading_zeros};
use super::*;
use crate::position::decoder_of;

fn sums(name: &str) -> Sums {
    let path = format!("{}/../../datasets/corpora/{name}/sums.toml", env!("CARGO_MANIFEST_DIR"));
    Sums::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text(tokens: &[u32], protocol: Protocol) -> String {
    tokens.iter().map(|token| protocol.tokens()[*token as usize]).collect()
}

fn digits(text: &str) -> Digits {
    text.bytes().map(|byte| byte - b'0').collect()
}

/// A program in place of the net: it reads nothing but the prompt.
#[allow(clippy::unnecessary_wraps)]
fn oracle(prompts: &[Vec<u32>]) -> Result<Vec<Vec<u32>>, Infallible> {
    let answer = |prompt: &Vec<u32>| {
        assert!(prompt.len() <= 5, "five tokens at any length");
        let said = text(prompt, Protocol::Pairs).replace('P', "");
        let (carry, pair) = match said.split_once('C') {
            Some((last, pair)) => (u8::from(last.len() == 2), pair.to_owned()),
            None => (0, said),
        };
        let pair = digits(&pair);
        let sum = (pair[0] + pair[1] + carry).to_string();
        let mut tokens: Vec<u32> = [FIRST_MARK].into_iter().chain(tokens_of(&digits(&sum))).chain([STOP]).collect();
        tokens.resize(4, PAD);
        tokens
    };
    Ok(prompts.iter().map(answer).collect())
}

fn looped(problems: &[(&str, &str)]) -> Vec<String> {
    let problems: Vec<(Digits, Digits)> = problems.iter().map(|(a, b)| (digits(a), digits(b))).collect();
    let Ok(found) = pairs::sums(&problems, &mut oracle);
    found.into_iter().map(|sum| sum.unwrap().iter().map(u8::to_string).collect()).collect()
}

#[test]
fn the_worked_example_is_the_publications() {
    let mut seen = Vec::new();
    let problems = [(digits("57"), digits("68"))];
    let Ok(found) = pairs::sums(&problems, &mut |prompts| {
        seen.push(text(&prompts[0], Protocol::Pairs));
        oracle(prompts)
    });
    assert_eq!(seen, ["78PPP", "15C56"]);
    assert_eq!(found[0].as_deref(), Some(&[1, 2, 5][..]));
}

#[test]
fn a_program_in_place_of_the_net_adds_numbers_of_any_length() {
    // "19C…" is asked here and in no training prompt.
    assert_eq!(
        looped(&[("999", "999"), ("9999", "1"), ("7", "0"), ("0", "0"), ("100", "5")]),
        ["1998", "10000", "7", "0", "105"]
    );
    let mut rng = stream(1, &["long"]);
    let (a, b) = (number(&mut rng, 1000), number(&mut rng, 700));
    let Ok(found) = pairs::sums(&[(a.clone(), b.clone()), (vec![9; 200], vec![1])], &mut oracle);
    assert_eq!(found[0], Some(add(&a, &b)));
    assert_eq!(
        found[1].as_ref().map(|sum| (sum.len(), sum[0], sum[1..].iter().all(|digit| *digit == 0))),
        Some((201, 1, true))
    );
}

#[test]
fn prompts_and_sums_are_those_of_the_reference() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/sums.json");
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in golden.as_array().unwrap() {
        let of = |key: &str| case[key].as_str().unwrap();
        let mut asked = Vec::new();
        let problem = [(digits(of("a")), digits(of("b")))];
        let Ok(found) = pairs::sums(&problem, &mut |prompts| {
            asked.push(text(&prompts[0], Protocol::Pairs));
            oracle(prompts)
        });
        assert_eq!(serde_json::json!(asked), case["prompts"]);
        assert_eq!(found[0].as_deref(), Some(&digits(of("sum"))[..]));
        assert_eq!(add(&problem[0].0, &problem[0].1), digits(of("sum")));
    }
}

#[test]
fn outputs_are_fed_back_and_never_the_truth() {
    // A net that always says 9 is followed, not corrected.
    let mut asked = Vec::new();
    let mut nine = |prompts: &[Vec<u32>]| {
        asked.push(text(&prompts[0], Protocol::Pairs));
        Ok::<_, Infallible>(vec![vec![FIRST_MARK, ZERO + 9, STOP, PAD]; prompts.len()])
    };
    let Ok(found) = pairs::sums(&[(digits("11"), digits("11"))], &mut nine);
    assert_eq!(
        (asked.as_slice(), found[0].as_deref()),
        (&["11PPP".to_owned(), "9C11P".to_owned()][..], Some(&[9, 9][..]))
    );
    let Ok(none) = pairs::sums(&[(digits("11"), digits("11"))], &mut |prompts| {
        Ok::<_, Infallible>(vec![vec![PAD; 4]; prompts.len()])
    });
    assert_eq!(none, [None], "an output that is no number is wrong, not a panic");
}

#[test]
fn windows_hold_one_sum_each_and_only_its_answer_is_learned() {
    let source = sums("sums-pairs");
    let mut kinds = [0; 2];
    for index in 0..400 {
        let window = source.window("train", index, 9).unwrap();
        let said = text(&window, Protocol::Pairs);
        let (prompt, answer) = said.split_once('\n').unwrap();
        assert_eq!((prompt.len(), source.scored(&window)), (5, 5..9), "{said}");
        let carried = prompt.contains('C');
        kinds[usize::from(carried)] += 1;
        let Ok(right) = oracle(&[window[..5].to_vec()]);
        assert_eq!(answer, &text(&right[0], Protocol::Pairs)[1..], "{said}");
    }
    assert!(kinds.iter().all(|kind| (150..250).contains(kind)), "half of each: {kinds:?}");

    let source = sums("sums-whole");
    assert_eq!(source.window_tokens(), 19);
    for index in 0..200 {
        let window = source.window("train", index, 19).unwrap();
        let said = text(&window, Protocol::Whole);
        let learned = text(&window[source.scored(&window)], Protocol::Whole);
        let (numbers, sum) = said.split_once('=').unwrap();
        let (a, b) = numbers.split_once('+').unwrap();
        let right = a.parse::<u64>().unwrap() + b.parse::<u64>().unwrap();
        assert_eq!(learned, format!("{right}S"), "{said}");
        assert!(sum.starts_with(&learned) && a.len() <= 5 && b.len() <= 5);
    }
    assert_ne!(source.window("train", 0, 19), source.window("valid", 0, 19));
    let wrong = source.window("train", 0, 17).unwrap_err();
    assert!(wrong.contains("set `data.context` of the recipe to 18"), "{wrong}");
}

#[test]
fn the_embedded_models_add_what_they_state() {
    for name in ["sums-pairs", "sums-whole"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/models").join(format!("tiny-{name}"));
        let decoder = decoder_of(&load(&folder).unwrap()).unwrap();
        let stated: toml::Table =
            toml::from_str(&std::fs::read_to_string(folder.join("quality.toml")).unwrap()).unwrap();
        let measured = sums(name).quality(&decoder).unwrap();
        assert_eq!(measured.len(), stated["right"].as_table().unwrap().len());
        for (digits, share) in measured {
            let stated = &stated["right"][&digits.to_string()];
            let stated = stated.as_float().unwrap_or_else(|| stated.as_integer().unwrap() as f64);
            // Other instructions may tip a sum that hangs in the balance.
            assert!((stated - share).abs() <= 0.02, "{name}, {digits} digits: {share}, stated {stated}");
        }
    }
}

#[test]
fn descriptions_that_contradict_themselves_are_refused() {
    let refused = |text: &str| Sums::parse(text).unwrap_err().to_string();
    let start = "format = 1\nname = \"x\"\nseed = 1\n";
    assert!(refused(&format!("{start}protocol = \"pairs\"\ndigits = 3")).contains("left out"));
    assert!(refused(&format!("{start}protocol = \"whole\"")).contains("`digits` is unset"));
    assert!(refused(&format!("{start}protocol = \"whole\"\ndigits = 0")).contains("1 to 1000"));
    assert!(refused(&start.replace('1', "2")).contains("protocol"));
    assert!(refused("format = 1\nname = \"x\"\nseed = 1\nprotocol = \"words\"").contains("unknown variant"));
}

#[test]
fn ways_of_writing_are_told_by_their_tokens() {
    for protocol in [Protocol::Pairs, Protocol::Whole] {
        let tokenizer = protocol.tokenizer().unwrap();
        assert_eq!(Protocol::of(&tokenizer), Some(protocol));
        assert_eq!(tokenizer.eos(), Some(STOP));
    }
    let whole = Protocol::Whole.tokenizer().unwrap();
    assert_eq!(whole.encode("57+68=125S", false).unwrap(), [7, 9, 12, 8, 10, 13, 3, 4, 7, 1]);
    assert_eq!(whole.decode(&[7, 9, 12, 8, 10]).unwrap(), "57+68");
}

#[test]
fn sums_that_carry_in_every_place_do() {
    let arm: Arm = "data(first=6, second=4, items=50, carries=longest)".parse().unwrap();
    let selection = AdditionSelection::resolve(&arm).unwrap();
    for (a, b) in selection.problems(3) {
        assert!(a == [9; 6] && b.len() == 4 && b[3] != 0);
        assert_eq!(add(&a, &b).len(), 7);
    }
    assert_eq!(selection.problems(3), selection.problems(3));
}

proptest! {
    #[test]
    fn sums_are_those_of_whole_numbers(a in 0_u64..10_000_000_000, b in 0_u64..1_000_000) {
        let number = |of: u64| digits(&of.to_string());
        prop_assert_eq!(add(&number(a), &number(b)), number(a + b));
        let Ok(found) = pairs::sums(&[(number(a), number(b))], &mut oracle);
        prop_assert_eq!(found[0].clone(), Some(number(a + b)));
        prop_assert_eq!(whole::number_of(&tokens_of(&number(a)).chain([STOP, PAD]).collect::<Vec<_>>()), Some(number(a)));
        prop_assert_eq!(without_leading_zeros(&[0, 0, 7]), &[7]);
    }
}
