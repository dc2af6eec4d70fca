#![allow(clippy::unwrap_used)]

use harness_core::Parameters;
use harness_model::train::TokenSource;

use super::*;

fn model() -> (Inputs, LoadedModel) {
    let inputs = Inputs::from_environment().unwrap();
    let model = inputs.model("tiny-100k").unwrap();
    (inputs, model)
}

fn questions(inputs: &Inputs, model: &LoadedModel, length: usize) -> Answers {
    let arm = Arm::new("data")
        .with("corpus", Value::Text("fables/valid".to_owned()))
        .with("length", Value::Int(length as i64))
        .with("items", Value::Int(2));
    Answers::of(&LongSelection::resolve(&arm).unwrap(), model, inputs, 4).unwrap()
}

fn small() -> Search {
    Search { population: 5, generations: 1, parents: 3, mutations: 1, crossings: 1, ..Search::small(4.0, true) }
}

#[test]
fn perplexity_of_answers_is_of_their_tokens_alone() {
    assert!((perplexity(&[0.5, 0.7]) - 1.822_119).abs() < 5e-7);
    let (inputs, model) = model();
    let Answers(items) = questions(&inputs, &model, 300);
    let mean = |items: &[Item]| Answers(items.to_vec()).perplexity(&model.decoder).unwrap().ln();
    // One token each: the mean over both is that of the two.
    let (first, second) = (mean(&items[..1]), mean(&items[1..]));
    assert_eq!(items.iter().map(|item| item.answer.len()).collect::<Vec<_>>(), [1, 1]);
    assert!((mean(&items) - f64::midpoint(first, second)).abs() < 1e-9);
    // What is predicted is the answer alone: its other tokens are read, and none of them is a label.
    let whole = [&items[0].prompt[..], &items[0].answer].concat();
    let labels = score_targets(&model.decoder, &[whole], 0, &mut |_, _| {}).unwrap().concat();
    assert!((labels.last().unwrap() - first).abs() < 1e-4);
    assert!(labels.iter().sum::<f64>() > 2.0 * first, "other tokens have losses that do not count");
}

#[test]
fn a_search_is_the_same_again_and_leaves_texts_within_the_training_alone() {
    let (inputs, model) = model();
    let measure = Measure::Answers(questions(&inputs, &model, 600));
    let mut told = Vec::new();
    let found =
        search(&model.decoder, &small(), 1.0, &measure, &mut |measured, best| told.push((measured, best))).unwrap();
    let again = search(&model.decoder, &small(), 1.0, &measure, &mut |_, _| {}).unwrap();
    assert_eq!(found, again);
    assert!(found.known.iter().all(|known| found.best.fitness <= known.fitness), "{found:?}");
    assert_eq!(told.last(), Some(&(found.measured, found.best.fitness)));
    let arm = arm_of(4.0, &found.best.factors, 1.0);
    let (decoder, unchanged) = placed(&model.decoder, &arm).unwrap();
    assert!(!unchanged);
    let windows: Vec<Vec<u32>> = (0..2).map(|at| language(&inputs, &model).window("valid", at, 256).unwrap()).collect();
    let of = |decoder: &Decoder| score(decoder, &windows, 0, &mut |_, _| {}).unwrap();
    assert_eq!(of(&decoder), of(&model.decoder));
    // The arm is read back from how it is printed.
    assert_eq!(arm.to_string().parse::<Arm>().unwrap(), arm);
}

#[test]
fn first_positions_are_searched_behind_the_factors() {
    let (inputs, model) = model();
    let measure = Measure::Answers(questions(&inputs, &model, 300));
    let arm = arm_of(4.0, &[1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0], 1.0);
    let mut told = Vec::new();
    let found =
        search_start(&model.decoder, &arm, &measure, &mut |measured, best| told.push((measured, best))).unwrap();
    assert_eq!(found.len(), START_TOKENS.len());
    assert!(found.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{found:?}");
    let (first, best) = found[0];
    assert_eq!(told.last(), Some(&(found.len(), best)));
    let of = |first: usize| measure.of(&placed(&model.decoder, &with_start(&arm, first)).unwrap().0).unwrap();
    assert_eq!(of(first), best);
    // None is what there was before.
    assert!(best <= of(0) && with_start(&arm, 0) == arm);
}

fn language(inputs: &Inputs, model: &LoadedModel) -> crate::generated::Generated {
    inputs.language("fables/valid", model).unwrap().unwrap()
}

#[test]
fn a_method_is_settled_on_what_the_ends_of_texts_repeat() {
    let (inputs, model) = model();
    let calibration: Vec<Vec<u32>> =
        (0..4).map(|at| language(&inputs, &model).window("valid", 2 * at, 400).unwrap()).collect();
    let measure = Measure::repeats(&calibration).unwrap();
    let Measure::Repeats(windows, 8) = &measure else { panic!("{measure:?}") };
    for (at, (window, plain)) in windows.iter().zip(&calibration).enumerate() {
        let from = 75 * at;
        assert_eq!(window[384..], plain[from..from + 16]);
        assert_eq!(window[..384], plain[..384]);
    }
    // Only the last eight tokens are labels.
    let losses = score_targets(&model.decoder, windows, 391, &mut |_, _| {}).unwrap().concat();
    assert_eq!(losses.len(), 32);
    assert!((measure.of(&model.decoder).unwrap().ln() - losses.iter().sum::<f64>() / 32.0).abs() < 1e-9);
    let arm: Arm = "longrope2(population=4, generations=1)".parse().unwrap();
    let settle = || settled(&model.decoder, &arm, Some(&calibration), &mut |_, _| {});
    let found = settle().unwrap();
    assert_eq!((found.id.as_str(), &found), ("longrope", &settle().unwrap()));
    let best = measure.of(&placed(&model.decoder, &found).unwrap().0).unwrap();
    for known in ["linear", "ntk", "yarn(attention_factor=1)"] {
        let known = known.parse::<Arm>().unwrap().with("factor", Value::Int(4));
        assert!(best <= measure.of(&placed(&model.decoder, &known).unwrap().0).unwrap() * (1.0 + 1e-4), "{known}");
    }
    let plain: Arm = "yarn(factor=2)".parse().unwrap();
    assert_eq!(settled(&model.decoder, &plain, None, &mut |_, _| {}).unwrap(), plain);
    assert!(matches!(settled(&model.decoder, &arm, None, &mut |_, _| {}), Err(SearchError::NoText)));
    let said = placed(&model.decoder, &arm).unwrap_err().to_string();
    assert!(said.contains("is searched on calibration text: name one by `calib` in a bench"), "{said}");
}

#[test]
fn what_cannot_be_searched_is_said() {
    let (inputs, model) = model();
    let refused = |measure: &Measure, decoder: &Decoder| {
        search(decoder, &small(), 1.0, measure, &mut |_, _| {}).unwrap_err().to_string()
    };
    let short = Measure::Answers(questions(&inputs, &model, 200));
    let said = refused(&short, &model.decoder);
    // Texts end with a sentence, so they may be a little shorter than was asked for.
    assert!(said.starts_with("texts of 19") || said.starts_with("texts of 200"), "{said}");
    assert!(
        said.ends_with(" tokens do not go beyond the 256 positions that the model was trained at; take longer ones")
    );
    assert_eq!(refused(&Measure::Text(Vec::new()), &model.decoder), "there is no text to search on");
    let other = inputs.model("tiny-300k-alibi").unwrap();
    assert!(refused(&short, &other.decoder).contains("linear biases"), "{}", refused(&short, &other.decoder));
}
