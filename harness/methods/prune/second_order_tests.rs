//! Methods that look at gradients or solve for the weights of a layer: numbers of `tests/reference/second_order.py`, worked examples, and what must hold.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_core::{Axis, seed};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde_json::Value as Json;

use super::admm::{BallSettings, Basis, InBall, least_in_ball};
use super::{Beyond, Needs, PruneError, Pruner, Site, WholeModel};
use crate::registry::{self, build};
use crate::statistics::LinearStatistics;

/// A model of given gradients, which do not depend on its weights.
struct Given {
    shapes: Vec<(usize, usize)>,
    weights: Vec<Vec<f32>>,
    /// By matrix and window.
    gradients: Vec<Vec<Vec<f32>>>,
}

impl WholeModel for Given {
    fn sites(&self) -> Vec<Site<'_>> {
        let site = |&(rows, cols): &(usize, usize)| Site { name: "layer", layer: 0, rows, cols };
        self.shapes.iter().map(site).collect()
    }

    fn weight(&self, at: usize) -> Vec<f32> {
        self.weights[at].clone()
    }

    fn set(&mut self, at: usize, weight: &[f32]) -> Result<(), PruneError> {
        self.weights[at] = weight.to_vec();
        Ok(())
    }

    fn windows(&self) -> usize {
        self.gradients[0].len()
    }

    fn gradients(&self, visit: &mut dyn FnMut(usize, usize, &[f32])) -> Result<(), PruneError> {
        for window in 0..self.windows() {
            self.gradients.iter().enumerate().for_each(|(at, own)| visit(window, at, &own[window]));
        }
        Ok(())
    }

    fn random(&self, at: usize) -> ChaCha8Rng {
        seed::stream(at as u64, &["given"])
    }
}

fn pruner(arm: &str) -> Box<dyn Pruner> {
    registry::pruner(&arm.parse().unwrap()).unwrap()
}

fn uniform(label: &str, index: u64, length: usize) -> Vec<f32> {
    let mut random = seed::stream(index, &[label]);
    (0..length).map(|_| (random.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn given(index: u64, shapes: &[(usize, usize)], windows: u64) -> Given {
    let sizes = || shapes.iter().enumerate().map(|(at, (rows, cols))| (at as u64, rows * cols));
    Given {
        shapes: shapes.to_vec(),
        weights: sizes().map(|(at, size)| uniform("weight", index * 100 + at, size)).collect(),
        gradients: sizes()
            .map(|(at, size)| (0..windows).map(|w| uniform("gradient", index * 10_000 + at * 100 + w, size)).collect())
            .collect(),
    }
}

fn zeros(weight: &[f32]) -> usize {
    weight.iter().filter(|value| **value == 0.0).count()
}

fn whole(arm: &str, mut model: Given) -> Given {
    pruner(arm).prune_whole(&mut model).unwrap();
    model
}

/// Inputs that share directions, and their sums.
fn statistics(index: u64, cols: usize, sequences: u64) -> LinearStatistics {
    let mut statistics = LinearStatistics::new(cols, Needs::COLUMN_NORMS.union(Needs::SECOND_MOMENT));
    let mixing = uniform("mixing", index, cols * cols / 2);
    for sequence in 0..sequences {
        let (parts, noise) = (
            uniform("parts", index * 50 + sequence, 40 * cols / 2),
            uniform("noise", index * 50 + sequence, 40 * cols),
        );
        let row = |token: usize| {
            let part = &parts[token * (cols / 2)..][..cols / 2];
            let along = |j: usize| part.iter().enumerate().map(|(k, p)| p * mixing[k * cols + j]).sum::<f32>();
            (0..cols).map(|j| along(j) + 0.3 * noise[token * cols + j]).collect::<Vec<f32>>()
        };
        statistics.add(&(0..40).flat_map(row).collect::<Vec<f32>>()).unwrap();
    }
    statistics
}

fn layer(arm: &str, weight: &[f32], cols: usize, statistics: &LinearStatistics, allotted: Option<usize>) -> Vec<f32> {
    let site = Site { name: "layer", layer: 0, rows: weight.len() / cols, cols };
    let mut pruned = weight.to_vec();
    pruner(arm).prune(&site, &mut pruned, Some(statistics), allotted, &mut seed::stream(1, &["layer"])).unwrap();
    pruned
}

fn lost(dense: &[f32], pruned: &[f32], statistics: &LinearStatistics) -> f64 {
    let change: Vec<f32> = dense.iter().zip(pruned).map(|(a, b)| b - a).collect();
    statistics.mean_squared_outputs(&change).unwrap()
}

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/second_order.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(json: &Json) -> &[Json] {
    json.as_array().unwrap()
}

fn numbers(json: &Json, scale: &Json) -> Vec<f32> {
    list(json).iter().map(|value| (value.as_f64().unwrap() / scale.as_f64().unwrap()) as f32).collect()
}

fn size(json: &Json) -> usize {
    usize::try_from(json.as_u64().unwrap()).unwrap()
}

fn same(found: &[f32], expected: &Json, label: &str) {
    for (found, expected) in found.iter().zip(list(expected)) {
        let expected = expected.as_f64().unwrap();
        assert_eq!(*found == 0.0, expected == 0.0, "{label}: another mask");
        let error = (f64::from(*found) - expected).abs() / expected.abs().max(1.0);
        assert!(error < 2e-6, "{label}: {found} for {expected}");
    }
}

#[test]
fn whole_models_are_those_of_the_reference() {
    let golden = golden();
    for case in list(&golden["fisher"]["arms"]) {
        let matrices = list(&golden["fisher"]["matrices"]);
        let gradients =
            |m: &Json| list(&m["gradients"]).iter().map(|g| numbers(g, &golden["gradient_scale"])).collect();
        let model = Given {
            shapes: matrices.iter().map(|m| (size(&m["rows"]), size(&m["cols"]))).collect(),
            weights: matrices.iter().map(|m| numbers(&m["weights"], &golden["weight_scale"])).collect(),
            gradients: matrices.iter().map(gradients).collect(),
        };
        let arm = case["arm"].as_str().unwrap();
        let pruned = whole(arm, model);
        pruned.weights.iter().zip(list(&case["weights"])).for_each(|(found, expected)| same(found, expected, arm));
    }
}

#[test]
fn layers_are_those_of_the_reference() {
    let golden = golden();
    let case = &golden["layer"];
    let (rows, cols) = (size(&case["rows"]), size(&case["cols"]));
    let weight = numbers(&case["weights"], &golden["weight_scale"]);
    let mut statistics = LinearStatistics::new(cols, Needs::SECOND_MOMENT);
    for sequence in list(&case["sequences"]) {
        statistics.add(&numbers(sequence, &golden["input_scale"])).unwrap();
    }
    for arm in list(&case["arms"]) {
        let name = arm["arm"].as_str().unwrap();
        same(&layer(name, &weight, cols, &statistics, None), &arm["weights"], name);
    }
    for ball in list(&case["net_trim"]) {
        let gain = ball["gain"].as_f64().unwrap();
        let least = ball["least"].as_f64().unwrap();
        let found = trimmed(&weight, &statistics, gain, 100.0);
        let sum: f64 = found.weight.iter().map(|value| value.abs()).sum();
        assert!(
            found.finished && (sum / least - 1.0).abs() < 2e-4,
            "{gain}: {sum} for {least}, {} {rows}",
            found.reached
        );
    }
}

/// The smallest weights in a ball.
fn trimmed(weight: &[f32], statistics: &LinearStatistics, gain: f64, rho: f64) -> InBall {
    let moment = statistics.second_moment().unwrap();
    let largest = moment.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    let wide: Vec<f64> = weight.iter().map(|&value| f64::from(value)).collect();
    let basis = Basis::of(moment, statistics.columns()).unwrap();
    least_in_ball(&wide, &basis, largest, BallSettings { gain, rho, iterations: 20_000 })
}

#[test]
fn two_weights_of_obert_by_hand() {
    let model = Given {
        shapes: vec![(1, 2)],
        weights: vec![vec![0.4, 0.3]],
        gradients: vec![vec![vec![1.0, 0.5], vec![0.0, 2.0]]],
    };
    let pruned = whole("obert(sparsity=0.5, block=2, damp=0.1)", model);
    assert!(pruned.weights[0][0] == 0.0 && (pruned.weights[0][1] - 0.344_944).abs() < 1e-6, "{:?}", pruned.weights);
}

#[test]
fn two_and_three_outputs_of_net_trim_by_hand() {
    for weight in [vec![3.0f32, 1.0], vec![3.0, 1.0, 0.0]] {
        let cols = weight.len();
        let mut statistics = LinearStatistics::new(cols, Needs::SECOND_MOMENT);
        let identity: Vec<f32> = (0..cols * cols).map(|at| f32::from(at % (cols + 1) == 0)).collect();
        statistics.add(&identity).unwrap();
        // The radius is √2 of √10.
        let found = trimmed(&weight, &statistics, 0.2f64.sqrt(), 100.0);
        let mut expected = vec![0.0; cols];
        expected[0] = 2.0;
        assert!(found.finished, "{found:?}");
        // The second weight is just at the edge of being kept, so it may come out as a rounding error instead of a zero.
        assert!(found.weight.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
    }
}

#[test]
fn net_trim_is_certified_by_its_dual() {
    let (rows, cols) = (10, 24);
    let (weight, statistics) = (uniform("weight", 3, rows * cols), statistics(3, cols, 3));
    let moment = statistics.second_moment().unwrap();
    let mut before = (0, f64::INFINITY);
    for gain in [0.03, 0.1, 0.3, 0.6] {
        let found = trimmed(&weight, &statistics, gain, 100.0);
        assert!(found.finished && found.reached <= 1.0001, "{gain}: {} after {}", found.reached, found.iterations);
        let times = |change: &[f64]| -> Vec<f64> {
            let row = |row: &[f64]| -> Vec<f64> {
                (0..cols).map(|j| row.iter().enumerate().map(|(i, v)| v * moment[i * cols + j]).sum()).collect()
            };
            change.chunks(cols).flat_map(row).collect()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let dense: Vec<f64> = weight.iter().map(|&value| f64::from(value)).collect();
        let change: Vec<f64> = found.weight.iter().zip(&dense).map(|(u, w)| u - w).collect();
        // Any Λ with |Λ Xᵀ| ≤ 1 bounds the sum from below by ⟨Λ, W X⟩ − ε ‖Λ‖; the residual of the solution gives the best.
        let pull = times(&change);
        let scale = -1.0 / pull.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        let radius = gain * dot(&times(&dense), &dense).sqrt();
        let bound = scale * dot(&pull, &dense) - radius * scale.abs() * dot(&pull, &change).sqrt();
        let sum: f64 = found.weight.iter().map(|value| value.abs()).sum();
        let dense_sum: f64 = dense.iter().map(|value| value.abs()).sum();
        assert!(sum <= dense_sum && bound <= sum * 1.001 && sum <= bound * 1.01, "{gain}: {bound} <= {sum}");
        let gone = found.weight.iter().filter(|value| **value == 0.0).count();
        assert!(gone >= before.0 && sum <= before.1, "{gain}: {gone} zeros");
        before = (gone, sum);
    }
    assert!(before.0 > rows * cols / 2, "{before:?}");
}

#[test]
fn iterations_that_end_outside_the_ball_are_an_error() {
    let (weight, statistics) = (uniform("weight", 4, 64), statistics(4, 8, 2));
    let site = Site { name: "layer", layer: 0, rows: 8, cols: 8 };
    let mut copy = weight.clone();
    let refused =
        pruner("net-trim(iterations=2)").prune(&site, &mut copy, Some(&statistics), None, &mut seed::stream(0, &[]));
    assert!(matches!(refused, Err(PruneError::Unfinished { iterations: 2, .. })), "{refused:?}");
    assert_eq!(copy, weight);
}

#[test]
fn solving_for_weights_loses_less_than_a_sweep() {
    let (rows, cols) = (48, 64);
    for index in 0..4 {
        let (weight, statistics) = (uniform("weight", 20 + index, rows * cols), statistics(20 + index, cols, 6));
        for amount in ["sparsity=0.5", "sparsity=0.75", "pattern=2:4"] {
            let [wanda, sparsegpt, obs, alps] = ["wanda", "sparsegpt", "obs", "alps"].map(|method| {
                lost(&weight, &layer(&format!("{method}({amount})"), &weight, cols, &statistics, None), &statistics)
            });
            assert!(
                obs < sparsegpt && alps < sparsegpt && sparsegpt < wanda,
                "{amount}: {obs} {alps} {sparsegpt} {wanda}"
            );
        }
    }
}

#[test]
fn one_weight_a_block_moves_nothing_and_ranks_as_squares_of_gradients() {
    let shapes = [(4, 6), (3, 5)];
    let (obd, obert) = (
        whole("obd(sparsity=0.5)", given(5, &shapes, 7)),
        whole("obert(sparsity=0.5, block=1, damp=0.00000001)", given(5, &shapes, 7)),
    );
    assert_eq!(obd.weights, obert.weights);
    let magnitude = whole("obert(sparsity=0.5, damp=100000, block=5)", given(5, &shapes, 7));
    let dense = given(5, &shapes, 7).weights;
    let mut sizes: Vec<f32> = dense.concat().iter().map(|value| value.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    for (found, dense) in magnitude.weights.concat().iter().zip(dense.concat()) {
        assert_eq!(*found == 0.0, dense.abs() <= sizes[39 / 2 - 1]);
        assert!(*found == 0.0 || (found - dense).abs() < 1e-3);
    }
}

#[test]
fn recomputations_reach_the_same_number() {
    for (arm, expected) in [
        ("obert(sparsity=0.7, recomputations=4, block=6)", 168),
        ("obert(sparsity=0.5, unit=block4, block=8, recomputations=3)", 120),
        ("obd(sparsity=0.3, scope=row)", 60),
        ("obert(pattern=2:4, block=16)", 120),
        ("shuffled-mask(like=\"obert(sparsity=0.7, block=6)\")", 168),
    ] {
        let model = whole(arm, given(6, &[(10, 16), (10, 8)], 5));
        assert_eq!(zeros(&model.weights.concat()), expected, "{arm}");
    }
    let (nothing, dense) = (whole("obert(sparsity=0)", given(7, &[(4, 8)], 2)), given(7, &[(4, 8)], 2));
    assert_eq!(nothing.weights, dense.weights);
}

#[test]
fn refusals_of_whole_models() {
    let refused = |arm: &str, mut model: Given| {
        let before = model.weights.clone();
        let error = pruner(arm).prune_whole(&mut model).unwrap_err();
        assert_eq!(before, model.weights, "{arm}");
        error.to_string()
    };
    let wrong = refused("obd(batch=4)", given(8, &[(2, 4)], 3));
    assert_eq!(wrong, "3 windows of calibration text make no batch of 4; give more windows or lower `batch`");
    let wrong = refused("obert(unit=block4, block=12)", given(8, &[(2, 4)], 3));
    assert_eq!(wrong, "layer: blocks of 12 weights do not tile its 8; name a `block` that divides them");
    let mut damaged = given(8, &[(2, 4)], 3);
    damaged.weights[0][3] = f32::INFINITY;
    assert!(refused("obd", damaged).contains("the checkpoint is damaged"));
    let built = |arm: &str| build(Axis::Prune, &arm.parse().unwrap()).err().unwrap().to_string();
    assert!(built("obert(unit=block4)").contains("needs a `block` of a multiple of 4 (it is 50)"));
    assert!(built("obert(pattern=2:4, recomputations=2)").contains("reached in one step"));
    assert!(built("obert(damp=0)").contains("outside its range"));
    assert!(built("budget(like=\"net-trim\")").contains("cannot be given numbers"));
    assert!(built("budget(like=\"wanda(pattern=2:4)\")").contains("decides numbers by itself"));
    let site = Site { name: "layer", layer: 0, rows: 1, cols: 2 };
    let alone = pruner("obd").prune(&site, &mut [1.0, 2.0], None, None, &mut seed::stream(0, &[])).unwrap_err();
    assert!(matches!(alone, PruneError::NeedsModel { .. }));
    // What a matrix alone lacks is said before it is asked for.
    let beyond = [
        ("obert", Some(Beyond::Gradients)),
        ("shuffled-mask(like=\"obd\")", Some(Beyond::Gradients)),
        ("magnitude(scope=global)", Some(Beyond::Matrices)),
        ("random(scope=global)", Some(Beyond::Matrices)),
        ("budget", Some(Beyond::Matrices)),
        ("one-block(like=\"obd\")", Some(Beyond::Blocks)),
        ("magnitude", None),
        ("sparsegpt", None),
    ];
    for (arm, expected) in beyond {
        assert_eq!(pruner(arm).beyond(), expected, "{arm}");
    }
}

#[test]
fn a_budget_is_exact_in_every_matrix_and_in_all() {
    let shapes = [(12, 16), (8, 40), (30, 16)];
    let dense: Vec<Vec<f32>> =
        (0..3).map(|at| uniform("weight", at, shapes[at as usize].0 * shapes[at as usize].1)).collect();
    for inner in ["magnitude", "magnitude(scope=row)", "random", "wanda", "sparsegpt", "obs", "alps"] {
        let parted =
            inner.strip_suffix(')').map_or(format!("{inner}(sparsity=0.6)"), |open| format!("{open}, sparsity=0.6)"));
        for allocation in ["uniform", "erk", "owl"] {
            let arm = format!("budget(like=\"{parted}\", allocation={allocation}, limit=0.2)");
            let budget = pruner(&arm);
            let site = |at: usize| Site { name: "layer", layer: at, rows: shapes[at].0, cols: shapes[at].1 };
            let mut weights = (0..3).map(|at| (site(at), dense[at].clone()));
            let counts = match budget.outliers() {
                None => budget.allocate(&mut weights),
                Some(_) => budget.allocate_by_outliers(&mut weights, &[0.01, 0.03, 0.02]),
            };
            let counts = counts.unwrap().unwrap();
            assert_eq!(counts.iter().sum::<usize>(), 595, "{arm}: 0.6 of 992");
            assert_eq!(
                counts.iter().zip(&dense).all(|(c, w)| (*c as f64 / w.len() as f64 - 0.6).abs() < 0.01),
                allocation == "uniform"
            );
            for at in 0..3 {
                let pruned =
                    layer(&arm, &dense[at], shapes[at].1, &statistics(at as u64, shapes[at].1, 4), Some(counts[at]));
                assert_eq!(zeros(&pruned), counts[at], "{arm} {at}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn counts_and_patterns_hold(index in 0u64..500, rows in 1usize..6, share in 0.0..0.95f64) {
        let cols = 16;
        let (weight, statistics) = (uniform("weight", index, rows * cols), statistics(index, cols, 2));
        for (method, due) in [
            ("obs", rows * super::select::count(share, cols)),
            ("alps", super::select::count(share, rows * cols)),
        ] {
            let arm = format!("{method}(sparsity={share})");
            let pruned = layer(&arm, &weight, cols, &statistics, None);
            prop_assert_eq!(zeros(&pruned), due, "{}", arm);
            prop_assert_eq!(&pruned, &layer(&arm, &weight, cols, &statistics, None));
            for keep in 1usize..4 {
                let pruned = layer(&format!("{method}(pattern={keep}:4)"), &weight, cols, &statistics, None);
                prop_assert!(pruned.chunks(4).all(|group| zeros(group) == 4 - keep));
            }
        }
    }
}
