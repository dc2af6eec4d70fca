//! The truth against brute force, against sampled continuations, and against a shorter memory.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use crate::document::tests::fables;
use crate::emission::Slot;
use crate::grammar::{Renewal, State};
use crate::{BEGIN, Language, Parameters, Protocol, Start, TruthState};

fn tiny() -> Language {
    let (dataset, _) = fables();
    let parameters = Parameters {
        dialect: None,
        topics: 2,
        frames: 2,
        nouns: 4,
        verbs: 3,
        shared: 1,
        adjectives: 2,
        adverbs: 2,
        numerals: 2,
        roles: 2,
        names: 3,
        frame_share: 0.6,
        topic_switch: 0.3,
        cast: 1.5,
        paragraph_end: 0.4,
        document_end: 0.5,
        ..dataset.language
    };
    Language::from_parameters(&parameters).unwrap()
}

/// Probability of the names of a token sequence with the names of the roles fixed beforehand: the Dirichlet
/// integral of the draws, in closed form and without any order.
fn names_given_roles(language: &Language, tokens: &[u32], roles: &[usize]) -> f64 {
    let emissions = &language.emissions;
    let names = emissions.names.len();
    let mut counts = vec![0.0; names];
    for &name in roles {
        counts[name] += 1.0;
    }
    for (position, &token) in tokens.iter().enumerate() {
        if !emissions.names.contains(&token) {
            continue;
        }
        let name = (token - emissions.names.start) as usize;
        match position.checked_sub(1).map(|before| tokens[before]).filter(|before| emissions.roles.contains(before)) {
            Some(role) if roles[(role - emissions.roles.start) as usize] != name => return 0.0,
            Some(_) => {}
            None => counts[name] += 1.0,
        }
    }
    let cast = language.parameters.cast;
    let rising = |from: f64, count: f64| (0..count as usize).map(|step| from + step as f64).product::<f64>();
    let total: f64 = counts.iter().sum();
    counts.iter().map(|&count| rising(cast / names as f64, count)).product::<f64>() / rising(cast, total)
}

/// Probability of a sequence from the begin mark: a sum over every path of (place, topic, frame) and every
/// assignment of names to roles.
fn joint(language: &Language, tokens: &[u32]) -> f64 {
    let (roles, names) = (language.emissions.roles.len(), language.emissions.names.len());
    let mut named = 0.0;
    for code in 0..names.pow(roles as u32) {
        let assignment: Vec<usize> = (0..roles).map(|role| code / names.pow(role as u32) % names).collect();
        named += names_given_roles(language, tokens, &assignment);
    }
    named * paths(language, tokens, 0, State::Begin, 0, 0)
}

/// Sum over paths from `position` at a given state, names counting as certain.
fn paths(language: &Language, tokens: &[u32], position: usize, state: State, topic: usize, frame: usize) -> f64 {
    let (emissions, frames) = (&language.emissions, language.parameters.frames);
    let token = tokens[position];
    let said = match emissions.table(state.slot()) {
        Some(table) => {
            let column = table.words.iter().position(|&word| word == token);
            column.map_or(0.0, |column| table.distribution(topic * frames + frame)[column])
        }
        None => f64::from(u8::from(emissions.names.contains(&token))),
    };
    if said == 0.0 || position + 1 == tokens.len() {
        return said;
    }
    let mut sum = 0.0;
    for (renewal, targets) in &language.grammar.moves(state).renewal {
        for &(to, move_probability) in targets {
            for next_topic in 0..language.parameters.topics {
                let stays = f64::from(u8::from(next_topic == topic));
                let switch = match renewal {
                    Renewal::Keep | Renewal::Frame => 0.0,
                    Renewal::Topic => language.parameters.topic_switch,
                    Renewal::Document => 1.0,
                };
                let topic_probability = (1.0 - switch) * stays + switch * emissions.topics[next_topic];
                for next_frame in 0..frames {
                    let frame_probability = match renewal {
                        Renewal::Keep => f64::from(u8::from(next_frame == frame)),
                        _ => emissions.frames[next_topic * frames + next_frame],
                    };
                    let probability = move_probability * topic_probability * frame_probability;
                    if probability > 0.0 {
                        sum += probability * paths(language, tokens, position + 1, to, next_topic, next_frame);
                    }
                }
            }
        }
    }
    said * sum
}

#[test]
fn the_forward_recursion_equals_brute_force() {
    let language = tiny();
    let mut compared = 0;
    for index in 0..12 {
        let document = language.document("test", index);
        let length = document.len().min(9);
        let prefix = &document[..length];
        let whole = joint(&language, prefix);
        let truth = language.truth(prefix).unwrap();
        for (token, &p) in truth.iter().enumerate() {
            let mut extended = prefix.to_vec();
            extended.push(token as u32);
            let expected = joint(&language, &extended) / whole;
            // After the end mark a new document begins with names of its own; the sum does not model that.
            assert!((p - expected).abs() < 1e-12, "document {index} token {token}: {p} {expected}");
            compared += 1;
        }
    }
    assert!(compared > 200);
}

#[test]
fn a_cut_integrates_out_what_came_before() {
    // Averaged over what may precede it, the truth of a document is that of a cut: P(cut) = Σ P(past) P(cut | past).
    let language = tiny();
    let mut counts: HashMap<(u32, u32), f64> = HashMap::new();
    let mut firsts: HashMap<u32, f64> = HashMap::new();
    let stream: Vec<u32> = (0..40_000).flat_map(|index| language.document("train", index)).collect();
    for pair in stream.windows(2) {
        *counts.entry((pair[0], pair[1])).or_default() += 1.0;
        *firsts.entry(pair[0]).or_default() += 1.0;
    }
    let start = TruthState::new(&language, Start::Anywhere);
    for (&first, &seen) in &firsts {
        let share = seen / (stream.len() - 1) as f64;
        let expected = start.probability(first);
        let error = (expected * (1.0 - expected) / stream.len() as f64).sqrt();
        // Neighbouring tokens are dependent, so the error of independent draws is doubled.
        assert!((share - expected).abs() < 8.0 * error + 1e-4, "token {first}: {share} {expected}");
        let mut state = start.clone();
        state.push(first).unwrap();
        for (token, p) in state.distribution().into_iter().enumerate() {
            let share = counts.get(&(first, token as u32)).copied().unwrap_or_default() / seen;
            let error = (p * (1.0 - p) / seen).sqrt();
            assert!((share - p).abs() < 6.0 * error + 1e-9, "after {first} token {token}: {share} {p}");
        }
    }
}

#[test]
fn truth_sums_to_one_and_agrees_with_single_probabilities() {
    let (_, language) = fables();
    for (start, from) in [(Start::Document, 0), (Start::Anywhere, 37), (Start::Anywhere, 90)] {
        let document = language.document("valid", 3);
        let mut state = TruthState::new(&language, start);
        for &token in &document[from..(from + 120).min(document.len())] {
            let distribution = state.distribution();
            assert!((distribution.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!((distribution[token as usize] - state.probability(token)).abs() < 1e-15);
            state.push(token).unwrap();
        }
    }
}

#[test]
fn impossible_tokens_are_named_and_leave_the_belief_alone() {
    let (_, language) = fables();
    let mut state = TruthState::new(&language, Start::Document);
    state.push(BEGIN).unwrap();
    let before = state.distribution();
    let stop = language.lexicon().token(".").unwrap();
    assert_eq!(
        state.push(stop).unwrap_err().to_string(),
        format!("token {stop} (`.`) at position 1 cannot follow what comes before it in this language")
    );
    assert!(state.push(9999).unwrap_err().to_string().contains("outside the vocabulary of 768 tokens"));
    assert_eq!(state.distribution(), before);
    assert_eq!(state.probability(9999), 0.0);
}

/// Pearson's statistic of sampled next tokens against the truth, over cells with an expected count of at least 3.
#[test]
fn sampled_continuations_follow_the_truth() {
    // Many documents share short prefixes; the tokens that follow one are draws from its truth.
    let (_, language) = fables();
    let role = language.lexicon().token("captain").unwrap();
    let the = language.truth(&[BEGIN]).unwrap().iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as u32;
    for prefix in [vec![BEGIN], vec![BEGIN, the], vec![BEGIN, role]] {
        let truth = language.truth(&prefix).unwrap();
        let mut counts = vec![0.0; truth.len()];
        let mut total = 0.0;
        for index in 0..6_000 {
            let document = language.document("chi-square", index);
            if document.starts_with(&prefix) {
                counts[document[prefix.len()] as usize] += 1.0;
                total += 1.0;
            }
        }
        let (mut statistic, mut cells, mut rest) = (0.0, 0.0, (0.0, 0.0));
        for (p, count) in truth.iter().zip(&counts) {
            assert!(*p > 0.0 || *count == 0.0);
            if p * total >= 3.0 {
                statistic += (count - p * total).powi(2) / (p * total);
                cells += 1.0;
            } else {
                rest = (rest.0 + p * total, rest.1 + count);
            }
        }
        if rest.0 > 0.0 {
            statistic += (rest.1 - rest.0).powi(2) / rest.0;
            cells += 1.0;
        }
        let freedom: f64 = cells - 1.0;
        // Wilson and Hilferty: the cube root of χ²/k is nearly normal; 3.5 standard deviations.
        let z = ((statistic / freedom).cbrt() - (1.0 - 2.0 / (9.0 * freedom))) / (2.0 / (9.0 * freedom)).sqrt();
        assert!(total > 100.0 && freedom > 2.0, "{prefix:?} {total} {freedom}");
        assert!(z.abs() < 3.5, "{prefix:?}: χ² {statistic} with {freedom} degrees of freedom");
    }
}

#[test]
fn a_long_memory_pays() {
    // The same tokens, once with all of the document before them and once with 32 tokens before them.
    let (_, language) = fables();
    let (mut long, mut short, mut tokens) = (0.0, 0.0, 0.0);
    for index in 0..60 {
        let document = language.document("valid", index);
        if document.len() < 256 {
            continue;
        }
        let whole = language.surprisals(Start::Document, &document[..256]).unwrap();
        for from in (96..256).step_by(32) {
            let cut = language.surprisals(Start::Anywhere, &document[from - 32..from + 32]).unwrap();
            long += whole[from - 1..from + 31].iter().sum::<f64>();
            short += cut[31..63].iter().sum::<f64>();
            tokens += 32.0;
        }
    }
    let gain = (short - long) / tokens;
    assert!(gain > 0.1, "nats a token gained by the memory: {gain}");
}

#[test]
fn windows_and_documents_are_cut_as_said() {
    let (_, language) = fables();
    let (start, windows) = language.sequences("test", 3, Protocol::Windows(100));
    let stream: Vec<u32> = (0..3).flat_map(|index| language.document("test", index)).collect();
    assert_eq!((start, windows.len()), (Start::Anywhere, stream.len() / 100));
    assert_eq!(windows.concat(), stream[..windows.len() * 100]);
    let (start, documents) = language.sequences("test", 3, Protocol::Documents(50));
    assert_eq!((start, documents.len()), (Start::Document, 3));
    assert!(documents.iter().all(|document| document.len() <= 50 && document[0] == BEGIN));
}

#[test]
fn a_name_after_a_known_role_is_certain() {
    let (_, language) = fables();
    let lexicon = language.lexicon();
    let document = (0..50).map(|index| language.document("valid", index)).find(|d| d.len() > 300).unwrap();
    let mut state = TruthState::new(&language, Start::Document);
    let mut known = HashMap::new();
    let mut recalled = 0;
    for pair in document.windows(2) {
        state.push(pair[0]).unwrap();
        if language.emissions.roles.contains(&pair[0]) {
            assert_eq!(state.context().0, Slot::RoleName);
            if let Some(&name) = known.get(&pair[0]) {
                assert_eq!(name, pair[1], "{}", lexicon.word(pair[0]).unwrap());
                assert!((state.probability(pair[1]) - 1.0).abs() < 1e-12);
                assert!(state.context().1);
                recalled += 1;
            }
            known.insert(pair[0], pair[1]);
        }
    }
    assert!(recalled > 3, "{recalled}");
}
