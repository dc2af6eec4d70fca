//! Worked examples of every method, to six digits.
#![allow(clippy::unwrap_used)]

use harness_core::{Arm, Parameters, seed};

use super::tables::Table;
use super::{Layer, Shorter, ShrinkError};
use crate::registry::l3prune::{self, Mode};
use crate::registry::laco::{self, Merge, collapse, merged};
use crate::registry::shrink;

pub(super) fn applied(arm: &str, table: &Table) -> Result<Shorter, ShrinkError> {
    let method = shrink(&arm.parse().unwrap()).unwrap();
    method.shrink(&mut table.clone(), &mut seed::stream(1, &["shrink"]))
}

pub(super) fn stay(shorter: &Shorter) -> Vec<usize> {
    assert!(shorter.layers.iter().all(Layer::is_kept));
    shorter.layers.iter().map(|layer| layer.base).collect()
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 5e-7, "{found} for {expected}");
}

#[test]
fn influence_and_angle_of_two_tokens() {
    let window = vec![vec![1.0, 0.0, 0.0, 2.0], vec![1.0, 1.0, 0.0, 3.0]];
    let table = Table { width: 2, weights: vec![vec![]], states: vec![window.clone()], ..Table::default() };
    let found = applied("block-influence(blocks=0)", &table).unwrap();
    near(found.scores.unwrap().0[0], 0.146_447);
    let two = vec![window[0].clone(), window[1].clone(), vec![9.0, 0.0, 7.0, 0.0]];
    let table = Table { width: 2, weights: vec![vec![]; 2], states: vec![two], ..Table::default() };
    let found = applied("block-influence(blocks=1, span=contiguous)", &table).unwrap();
    near(found.scores.as_ref().unwrap().0[0], 0.125);
    assert_eq!(stay(&found), [1]);
    // The last token does not turn.
    let last = applied("block-influence(blocks=1, span=contiguous, tokens=last)", &table).unwrap();
    near(last.scores.unwrap().0[0], 0.0);
}

#[test]
fn what_one_batch_wants_and_another_does_not_scores_nothing() {
    // Products of weight and gradient are +2 and −2 in one block, and 0.5 twice in the other.
    let gradients = vec![vec![vec![2.0], vec![0.5]], vec![vec![-2.0], vec![0.5]]];
    let table = Table { weights: vec![vec![1.0], vec![1.0]], gradients, ..Table::default() };
    let found = applied("shortened-llama(blocks=1, plus=false)", &table).unwrap();
    assert_eq!(found.scores.as_ref().unwrap().0, [0.0, 0.5]);
    assert_eq!(stay(&found), [1]);
}

#[test]
fn the_first_four_and_the_last_two_stay() {
    let weights: Vec<Vec<f32>> = (0..10).map(|block| vec![block as f32, -1.0]).collect();
    let table = Table { weights, losses: vec![1.0, 0.9, 0.8, 0.7, 3.0, 2.0, 2.5, 2.0, 0.1, 0.2], ..Table::default() };
    let of = |arm: &str| stay(&applied(arm, &table).unwrap());
    assert_eq!(of("shortened-llama(blocks=2, criterion=magnitude)"), [0, 1, 2, 3, 6, 7, 8, 9]);
    assert_eq!(of("shortened-llama(blocks=2, criterion=magnitude, plus=false)"), [2, 3, 4, 5, 6, 7, 8, 9]);
    // Of equal perplexities the lower block goes first.
    assert_eq!(of("shortened-llama(blocks=1, criterion=ppl)"), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    assert_eq!(of("shortened-llama(blocks=2, criterion=ppl, plus=false)"), [0, 1, 2, 3, 4, 5, 6, 7]);
    let scores = applied("shortened-llama(blocks=1, criterion=magnitude, power=2)", &table).unwrap().scores.unwrap().0;
    assert_eq!(scores[3], 10.0);
    assert_eq!(
        applied("shortened-llama(blocks=5)", &table).unwrap_err(),
        ShrinkError::Blocks {
            asked: 5,
            blocks: 10,
            most: 4,
            why: "the first four and the last two stay; set `plus = false`"
        }
    );
}

/// The matrices of a merged block when those of block i are one number.
fn value(layer: &Layer, numbers: &[f64]) -> f64 {
    layer.mix.iter().map(|(block, factor)| factor * numbers[*block]).sum()
}

#[test]
fn folded_blocks_are_the_sum_of_their_differences() {
    let layers: Vec<Layer> = (0..3).map(Layer::kept).collect();
    let numbers = [1.0, 1.2, 1.5];
    near(value(&merged(&layers, 0, 2, Merge::Rdsc)[0], &numbers), 1.7);
    near(value(&merged(&layers, 0, 2, Merge::Notebook)[0], &numbers), 1.5);
    assert_eq!(merged(&layers, 0, 2, Merge::Notebook)[0].base, 0);
    // Equal blocks stay what they are.
    near(value(&merged(&layers, 0, 2, Merge::Rdsc)[0], &[0.7; 3]), 0.7);
    // Folding twice folds what was folded.
    let once = merged(&layers, 1, 1, Merge::Rdsc);
    near(value(&merged(&once, 0, 1, Merge::Rdsc)[0], &numbers), 1.5);
}

fn settings(arm: &str) -> laco::Settings {
    laco::Settings::resolve(&arm.parse::<Arm>().unwrap()).unwrap()
}

#[test]
fn the_walk_of_twelve_blocks() {
    let settings = settings("laco(layers_per_merge=4, interval=2, low=1, high=11)");
    let mut places = Vec::new();
    let all = collapse(&settings, 12, -1.0, &mut |at, layers| {
        places.push((at, layers.len()));
        Ok(0.0)
    });
    assert_eq!(all.unwrap().layers.len(), 2);
    assert_eq!(places, [(7, 9), (5, 6), (3, 4), (1, 2)]);
    places.clear();
    let some = collapse(&settings, 12, 0.5, &mut |at, _| {
        places.push((at, 0));
        Ok(if at % 3 == 0 { 0.9 } else { 0.1 })
    });
    let some = some.unwrap();
    assert_eq!(some.layers.len(), 6);
    assert_eq!(places.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [7, 6, 4, 3, 1]);
    assert_eq!(some.similarity, Some(0.9));
    assert_eq!(some.steps[1], "6+3 folded at 0.9000");
    // Nothing is above one.
    let none = collapse(&settings, 12, 1.0, &mut |_, _| Ok(1.0)).unwrap();
    assert!(none.layers.len() == 12 && none.layers.iter().all(Layer::is_kept));
}

#[test]
fn a_candidate_is_compared_with_the_whole_model() {
    // Each merge turns the state by a little; two together by more than the threshold allows.
    let angle = |degrees: f64| vec![degrees.to_radians().cos() as f32, degrees.to_radians().sin() as f32];
    let weights = vec![angle(0.0), angle(40.0), angle(80.0), angle(120.0)];
    let table = Table { width: 2, weights, ..Table::default() };
    let loose = applied("laco(layers_per_merge=2, threshold=0.1, merge=notebook)", &table).unwrap();
    let steps = loose.steps.join(" ");
    let similarities: Vec<f64> = steps.split(" at ").skip(1).map(|s| s[..6].parse().unwrap()).collect();
    assert!(similarities.windows(2).all(|pair| pair[0] >= pair[1]), "{steps}");
    assert!(loose.similarity.unwrap() > 0.1);
}

#[test]
fn the_depths_of_the_least_loss() {
    let losses = [3.0, 2.1, 1.9, 2.4, 2.2, 1.7, 1.6, 1.8];
    assert_eq!(l3prune::depth(&losses, Mode::Small), Some(3));
    assert_eq!(l3prune::depth(&losses, Mode::Large), Some(7));
    assert_eq!(l3prune::depth(&[1.0], Mode::Large), Some(1));
    assert_eq!(l3prune::depth(&[1.0], Mode::Small), None);
}
