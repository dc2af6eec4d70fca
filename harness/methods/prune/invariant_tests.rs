//! What must hold of every pruning method, and the worked examples of the papers' formulas.
#![allow(clippy::unwrap_used)]

use faer::Mat;
use faer::linalg::solvers::{Llt, Solve};
use harness_core::{Arm, Axis, seed};
use proptest::prelude::*;
use rand_chacha::rand_core::Rng;

use super::factor::{Factor, FactorError, hinv_upper};
use super::select::CountRule;
use super::sweep::{MaskRule, obs_sweep};
use super::{Needs, PruneError, Pruner, Site};
use crate::registry::{self, build};
use crate::statistics::LinearStatistics;

const TOY_WEIGHT: [f32; 12] = [4.0, -1.0, 0.5, -2.0, 1.0, 3.0, -0.2, 0.8, -0.6, 0.4, 2.0, -5.0];
const TOY_INPUTS: [f32; 16] = [1.0, 0.0, 2.0, 0.0, 0.0, 2.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.5, 0.0, 1.0, 3.0, 0.5];

/// Arms of every pruning method that prunes by a sparsity.
const BY_SPARSITY: [&str; 6] = ["random", "magnitude", "magnitude+row", "wanda", "sparsegpt", "shuffled"];

fn arm(method: &str, sparsity: f64) -> Arm {
    match method {
        "magnitude+row" => format!("magnitude(sparsity={sparsity}, scope=row)"),
        "shuffled" => format!("shuffled-mask(like=\"wanda(sparsity={sparsity})\")"),
        other => format!("{other}(sparsity={sparsity})"),
    }
    .parse()
    .unwrap()
}

fn pruner(arm: &str) -> Box<dyn Pruner> {
    registry::pruner(&arm.parse().unwrap()).unwrap()
}

fn gather(inputs: &[f32], columns: usize) -> LinearStatistics {
    let mut statistics = LinearStatistics::new(columns, Needs::COLUMN_NORMS.union(Needs::SECOND_MOMENT));
    statistics.add(inputs).unwrap();
    statistics
}

fn site(rows: usize, cols: usize) -> Site<'static> {
    Site { name: "layer", layer: 0, rows, cols }
}

/// The matrix after an arm.
fn apply(
    arm: &str,
    weight: &[f32],
    cols: usize,
    statistics: Option<&LinearStatistics>,
) -> Result<Vec<f32>, PruneError> {
    let mut pruned = weight.to_vec();
    let site = site(weight.len() / cols, cols);
    pruner(arm).prune(&site, &mut pruned, statistics, None, &mut seed::stream(5, &["layer"]))?;
    Ok(pruned)
}

fn kept(weight: &[f32]) -> Vec<u8> {
    weight.iter().map(|value| u8::from(*value != 0.0)).collect()
}

fn toy(arm: &str) -> Vec<f32> {
    apply(arm, &TOY_WEIGHT, 4, Some(&gather(&TOY_INPUTS, 4))).unwrap()
}

/// Sums of twelve uniform numbers: normal enough.
fn normal(label: &str, index: u64, length: usize) -> Vec<f32> {
    let mut random = seed::stream(index, &[label]);
    let mut uniform = || (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
    (0..length).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

/// Inputs that share a few directions, tokens × columns.
fn correlated(index: u64, tokens: usize, columns: usize) -> Vec<f32> {
    let shared = columns / 4;
    let (mixing, factors) = (normal("mixing", index, shared * columns), normal("factors", index, tokens * shared));
    let loud: Vec<f32> = normal("loud", index, columns).iter().map(|value| (value * 0.5).exp()).collect();
    let mut inputs = normal("noise", index, tokens * columns);
    for (token, row) in inputs.chunks_mut(columns).enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            let along: f32 = (0..shared).map(|k| factors[token * shared + k] * mixing[k * columns + j]).sum();
            *value = (*value * 0.3 + along / (shared as f32).sqrt()) * loud[j];
        }
    }
    inputs
}

/// `tr(ΔW H ΔWᵀ)` with a symmetric matrix, columns × columns.
fn quadratic(change: &[f64], hessian: &[f64], columns: usize) -> f64 {
    let row = |row: &[f64]| -> f64 {
        let products = hessian.chunks(columns).map(|h| h.iter().zip(row).map(|(a, b)| a * b).sum::<f64>());
        products.zip(row).map(|(a, b)| a * b).sum()
    };
    change.chunks(columns).map(row).sum()
}

/// `‖ΔW Xᵀ‖ / ‖W Xᵀ‖`.
fn output_error(dense: &[f32], pruned: &[f32], statistics: &LinearStatistics) -> f64 {
    let columns = statistics.columns();
    let change: Vec<f64> = dense.iter().zip(pruned).map(|(a, b)| f64::from(b - a)).collect();
    let dense: Vec<f64> = dense.iter().map(|&value| f64::from(value)).collect();
    let moment = statistics.second_moment().unwrap();
    (quadratic(&change, moment, columns) / quadratic(&dense, moment, columns)).sqrt()
}

fn wide(weight: &[f32]) -> Vec<f64> {
    weight.iter().map(|&value| f64::from(value)).collect()
}

fn factored(index: u64, tokens: usize, columns: usize, damp: f64) -> (Factor, Vec<f64>) {
    let hessian = gather(&correlated(index, tokens, columns), columns).hessian().unwrap();
    let factor = hinv_upper(hessian.clone(), columns, damp).unwrap();
    let mut damped = hessian;
    (0..columns).for_each(|j| damped[j * (columns + 1)] += factor.lambda);
    (factor, damped)
}

#[test]
fn magnitude_on_the_toy_layer() {
    let mask = [1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1];
    assert_eq!(kept(&toy("magnitude(sparsity=0.5)")), mask);
    assert_eq!(kept(&toy("magnitude(sparsity=0.5, scope=row)")), mask);
    let reference = toy("magnitude(sparsity=0.5, count_rule=reference)");
    assert_eq!(kept(&reference).iter().sum::<u8>(), 5, "both weights of 1 go");
    assert_eq!(kept(&toy("magnitude(pattern=1:4)")), [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(kept(&toy("magnitude(pattern=3:4)")), [1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1]);
}

#[test]
fn wanda_on_the_toy_layer() {
    assert_eq!(kept(&toy("wanda(sparsity=0.5)")), [1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]);
    assert_eq!(kept(&toy("wanda(pattern=1:4)")), [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]);
    assert_eq!(kept(&toy("wanda(pattern=3:4)")), [1, 1, 1, 0, 1, 1, 1, 0, 0, 1, 1, 1]);
}

#[test]
fn wanda_scores_weigh_by_the_norm_of_the_input() {
    let statistics = gather(&TOY_INPUTS, 4);
    let norms: Vec<f64> = statistics.column_sum_squares().iter().map(|sum| sum.sqrt()).collect();
    let root = std::f64::consts::SQRT_2;
    let expected = [
        4.0 * root,
        2.236_068,
        1.870_829,
        root,
        root,
        6.708_204,
        0.748_331,
        0.565_685,
        0.848_528,
        0.894_427,
        7.483_315,
        3.535_534,
    ];
    for (at, expected) in expected.iter().enumerate() {
        assert!((f64::from(TOY_WEIGHT[at].abs()) * norms[at % 4] - expected).abs() < 1e-6);
    }
}

#[test]
fn sparsegpt_on_the_toy_layer() {
    let near = |found: &[f32], expected: [f32; 12]| {
        assert_eq!(kept(found), kept(&expected));
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    };
    near(
        &toy("sparsegpt(sparsity=0.5)"),
        [4.0, -1.0, 0.5, 0.0, 0.0, 2.790_021, 0.0, 0.0, 0.0, 0.0, 2.107_189, -5.470_942],
    );
    near(&toy("sparsegpt(pattern=2:4)"), [4.0, -1.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 0.0, 2.107_189, -5.470_942]);
    let factor = hinv_upper(gather(&TOY_INPUTS, 4).hessian().unwrap(), 4, 0.01).unwrap();
    let weight = [4.0, -1.0, 0.5, -2.0, 1.0, 3.0, -0.2, 0.8, -0.6, 0.4, 2.0, -5.0];
    let loss = obs_sweep(&mut weight.to_vec(), &factor, MaskRule::Share(0.5, CountRule::Exact), 128).loss;
    assert!((loss - 6.091_255_5).abs() < 1e-7, "{loss}");
}

#[test]
fn the_loss_of_a_sweep_is_the_quadratic_form_of_its_change() {
    for (index, rule) in [
        (0, MaskRule::Share(0.5, CountRule::Exact)),
        (1, MaskRule::Share(0.7, CountRule::Reference)),
        (2, MaskRule::Pattern("2:4".parse().unwrap())),
    ] {
        let (factor, damped) = factored(index, 300, 160, 0.01);
        let dense = wide(&normal("weight", index, 50 * 160));
        let mut weight = dense.clone();
        let sweep = obs_sweep(&mut weight, &factor, rule, 64);
        let change: Vec<f64> = weight.iter().zip(&dense).map(|(a, b)| a - b).collect();
        let expected = 0.5 * quadratic(&change, &damped, 160);
        assert!((sweep.loss / expected - 1.0).abs() < 1e-9, "{} {expected}", sweep.loss);
        assert!(sweep.pruned.iter().zip(&weight).all(|(pruned, value)| !pruned || *value == 0.0));
    }
}

#[test]
fn blocks_make_no_difference_to_a_fixed_mask() {
    let (factor, _) = factored(3, 200, 96, 0.01);
    let dense = wide(&normal("weight", 3, 20 * 96));
    let mask: Vec<bool> = normal("mask", 3, dense.len()).iter().map(|value| *value > 0.3).collect();
    let swept = |block: usize| {
        let mut weight = dense.clone();
        let loss = obs_sweep(&mut weight, &factor, MaskRule::Fixed(&mask), block).loss;
        (weight, loss)
    };
    let (weight, loss) = swept(96);
    for block in [1, 7, 32, 128] {
        let (other, other_loss) = swept(block);
        assert!(weight.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-10), "block {block}");
        assert!((loss - other_loss).abs() < 1e-9 * loss);
    }
}

#[test]
fn exact_least_squares_on_the_same_mask_is_never_worse_than_a_sweep() {
    let columns = 64;
    let (factor, damped) = factored(4, 128, columns, 0.01);
    let dense = wide(&normal("weight", 4, 8 * columns));
    let mut weight = dense.clone();
    let sweep = obs_sweep(&mut weight, &factor, MaskRule::Share(0.5, CountRule::Exact), 128);
    for (row, (dense, swept)) in dense.chunks(columns).zip(weight.chunks(columns)).enumerate() {
        let free: Vec<usize> = (0..columns).filter(|j| !sweep.pruned[row * columns + j]).collect();
        // With ΔW fixed to −W on the mask, H_ff Δ_f = H_fp W_p.
        let h = Mat::from_fn(free.len(), free.len(), |a, b| damped[free[a] * columns + free[b]]);
        let side = Mat::from_fn(free.len(), 1, |a, _| {
            (0..columns)
                .filter(|j| sweep.pruned[row * columns + j])
                .map(|j| damped[free[a] * columns + j] * dense[j])
                .sum()
        });
        let solved = Llt::new(h.as_ref(), faer::Side::Lower).unwrap().solve(&side);
        let mut change: Vec<f64> = dense.iter().map(|value| -value).collect();
        free.iter().enumerate().for_each(|(a, &j)| change[j] = solved[(a, 0)]);
        let swept: Vec<f64> = swept.iter().zip(dense).map(|(a, b)| a - b).collect();
        assert!(quadratic(&change, &damped, columns) <= quadratic(&swept, &damped, columns) * (1.0 + 1e-9));
    }
}

#[test]
fn with_endless_damping_sparsegpt_is_magnitude_in_each_block() {
    let (rows, cols) = (12, 256);
    let dense = normal("weight", 5, rows * cols);
    let statistics = gather(&correlated(5, 300, cols), cols);
    let swept = apply("sparsegpt(sparsity=0.5, damp=1000000)", &dense, cols, Some(&statistics)).unwrap();
    for start in [0, 128] {
        let block = |weight: &[f32]| -> Vec<f32> {
            weight.chunks(cols).flat_map(|row| row[start..start + 128].to_vec()).collect()
        };
        let magnitude = apply("magnitude(sparsity=0.5)", &block(&dense), 128, None).unwrap();
        assert_eq!(kept(&block(&swept)), kept(&magnitude));
        assert!(block(&swept).iter().zip(&magnitude).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn weights_left_of_the_first_pruned_one_do_not_change() {
    let (rows, cols) = (16, 160);
    let dense = normal("weight", 6, rows * cols);
    let statistics = gather(&correlated(6, 300, cols), cols);
    for arm in ["sparsegpt(sparsity=0.02)", "sparsegpt(pattern=3:4)"] {
        let swept = apply(arm, &dense, cols, Some(&statistics)).unwrap();
        assert_ne!(swept, dense);
        for (dense, swept) in dense.chunks(cols).zip(swept.chunks(cols)) {
            let first = swept.iter().position(|value| *value == 0.0).unwrap_or(cols);
            assert_eq!(dense[..first], swept[..first]);
        }
    }
}

#[test]
fn wanda_follows_a_rescaled_column_and_magnitude_does_not() {
    let (rows, cols) = (8, 32);
    let (mut weight, mut inputs) = (normal("weight", 7, rows * cols), correlated(7, 64, cols));
    let masks = |weight: &[f32], inputs: &[f32]| {
        let statistics = gather(inputs, cols);
        ["wanda(sparsity=0.5)", "magnitude(sparsity=0.5)"]
            .map(|arm| kept(&apply(arm, weight, cols, Some(&statistics)).unwrap()))
    };
    let [wanda, magnitude] = masks(&weight, &inputs);
    weight.chunks_mut(cols).for_each(|row| row[3] /= 64.0);
    inputs.chunks_mut(cols).for_each(|row| row[3] *= 64.0);
    let [rescaled_wanda, rescaled_magnitude] = masks(&weight, &inputs);
    assert_eq!(wanda, rescaled_wanda);
    assert_ne!(magnitude, rescaled_magnitude);
}

#[test]
fn with_equal_norms_wanda_is_magnitude_by_row_and_dead_inputs_go_first() {
    let (rows, cols) = (8, 32);
    let weight = normal("weight", 8, rows * cols);
    let mut inputs = vec![1.0f32; 4 * cols];
    let by_row = apply("magnitude(sparsity=0.5, scope=row)", &weight, cols, None).unwrap();
    assert_eq!(apply("wanda(sparsity=0.5)", &weight, cols, Some(&gather(&inputs, cols))).unwrap(), by_row);
    inputs.chunks_mut(cols).for_each(|row| row[9] = 0.0);
    for arm in ["wanda(sparsity=0.04)", "sparsegpt(sparsity=0.04)"] {
        let pruned = apply(arm, &weight, cols, Some(&gather(&inputs, cols))).unwrap();
        let zeros: Vec<usize> = (0..rows * cols).filter(|&at| pruned[at] == 0.0).map(|at| at % cols).collect();
        assert!(zeros.len() >= rows && zeros.iter().filter(|&&column| column == 9).count() == rows, "{arm} {zeros:?}");
    }
}

#[test]
fn better_methods_lose_less_output_on_a_realistic_layer() {
    let (rows, cols) = (64, 128);
    for index in 0..10 {
        let dense = normal("weight", 100 + index, rows * cols);
        let statistics = gather(&correlated(100 + index, 512, cols), cols);
        let error =
            |arm: &str| output_error(&dense, &apply(arm, &dense, cols, Some(&statistics)).unwrap(), &statistics);
        for amount in ["sparsity=0.5", "pattern=2:4"] {
            let [random, magnitude, wanda, sparsegpt] =
                ["random", "magnitude", "wanda", "sparsegpt"].map(|method| error(&format!("{method}({amount})")));
            assert!(
                sparsegpt < wanda && wanda < magnitude && magnitude < random,
                "{index}: {sparsegpt} {wanda} {magnitude} {random}"
            );
        }
        let shuffled = error("shuffled-mask(like=\"wanda(sparsity=0.5)\")");
        assert!(shuffled > error("magnitude(sparsity=0.5)"));
    }
}

#[test]
fn a_global_mask_moves_with_the_scale_of_a_matrix_and_a_layer_mask_does_not() {
    let matrices = [normal("weight", 20, 60), normal("weight", 21, 90)];
    let louder = [matrices[0].clone(), matrices[1].iter().map(|value| value * 3.0).collect()];
    let counts = |matrices: &[Vec<f32>; 2]| {
        let sites = matrices.iter().map(|weight| (site(weight.len() / 10, 10), weight.clone()));
        pruner("magnitude(sparsity=0.5, scope=global)").allocate(&mut sites.into_iter()).unwrap().unwrap()
    };
    let (before, after) = (counts(&matrices), counts(&louder));
    assert_eq!((before.iter().sum::<usize>(), after.iter().sum::<usize>()), (75, 75));
    assert!(after[0] > before[0]);
    assert!(pruner("magnitude(sparsity=0.5)").allocate(&mut std::iter::empty()).unwrap().is_none());
    let layer = |weight: &[f32]| kept(&apply("magnitude", weight, 10, None).unwrap());
    assert_eq!(layer(&matrices[1]), layer(&louder[1]));
}

#[test]
fn refusals_are_typed_and_leave_the_weights_alone() {
    let statistics = gather(&TOY_INPUTS, 4);
    let site = site(3, 4);
    let refused = |arm: &str, weight: &[f32], statistics: Option<&LinearStatistics>, allotted| {
        let mut copy = weight.to_vec();
        let error =
            pruner(arm).prune(&site, &mut copy, statistics, allotted, &mut seed::stream(0, &[])).expect_err(arm);
        assert!(copy.iter().zip(weight).all(|(a, b)| a.to_bits() == b.to_bits()), "{arm}");
        error
    };
    for arm in ["wanda", "sparsegpt", "shuffled-mask"] {
        assert_eq!(refused(arm, &TOY_WEIGHT, None, None), PruneError::NoCalibration { site: "layer".into() });
        let empty = LinearStatistics::new(4, Needs::COLUMN_NORMS);
        assert_eq!(refused(arm, &TOY_WEIGHT, Some(&empty), None), PruneError::NoCalibration { site: "layer".into() });
        let narrow = gather(&[1.0; 3], 3);
        let error = refused(arm, &TOY_WEIGHT, Some(&narrow), None);
        assert_eq!(error, PruneError::Columns { site: "layer".into(), columns: 4, found: 3 });
    }
    let mut damaged = TOY_WEIGHT;
    damaged[6] = f32::INFINITY;
    for arm in ["random", "magnitude", "wanda", "sparsegpt", "shuffled-mask"] {
        let error = refused(arm, &damaged, Some(&statistics), None);
        assert_eq!(error, PruneError::Weight { site: "layer".into(), row: 1, column: 2, value: f32::INFINITY });
        let error = refused(arm, &TOY_WEIGHT[..11], Some(&statistics), None);
        assert_eq!(error, PruneError::Shape { site: "layer".into(), rows: 3, columns: 4, found: 11 });
    }
    for method in ["random", "magnitude", "wanda", "sparsegpt"] {
        let error = refused(&format!("{method}(pattern=2:8)"), &TOY_WEIGHT, Some(&statistics), None);
        assert!(matches!(error, PruneError::PatternColumns { columns: 4, .. }));
        assert_eq!(error.to_string(), "layer: pattern 2:8 does not fit 4 columns; the group of 8 must divide them");
    }
    let error = refused("magnitude", &TOY_WEIGHT, None, Some(13));
    assert_eq!(error, PruneError::Count { site: "layer".into(), count: 13, weights: 12 });
    let (large, inputs) = (normal("weight", 11, 8 * 32), gather(&correlated(11, 64, 32), 32));
    let unreachable = apply("wanda(sparsity=0.99, variant=true)", &large, 32, Some(&inputs)).unwrap_err();
    assert!(matches!(unreachable, PruneError::Unreachable { .. }), "{unreachable}");
    // One token cannot determine four inputs: without damping there is no factor.
    let one = gather(&TOY_INPUTS[..4], 4);
    let alike = gather(&[1.0; 8], 4);
    assert!(apply("sparsegpt(damp=0.01)", &TOY_WEIGHT, 4, Some(&one)).is_ok());
    let error = refused("sparsegpt(damp=0)", &TOY_WEIGHT, Some(&alike), None);
    assert!(matches!(error, PruneError::Factor { source: FactorError::NotPositive { columns: 4, .. }, .. }), "{error}");
    let norms_only = {
        let mut statistics = LinearStatistics::new(4, Needs::COLUMN_NORMS);
        statistics.add(&TOY_INPUTS).unwrap();
        statistics
    };
    let error = refused("sparsegpt", &TOY_WEIGHT, Some(&norms_only), None);
    assert_eq!(error, PruneError::Factor { site: "layer".into(), source: FactorError::NoHessian });
    let amount = super::Amount::Share(f64::NAN).check(&site).unwrap_err();
    assert!(matches!(amount, PruneError::Sparsity { .. }));
}

#[test]
fn parameters_that_do_not_fit_together_are_refused() {
    let refused = |arm: &str| build(Axis::Prune, &arm.parse().unwrap()).err().unwrap().to_string();
    assert_eq!(
        refused("wanda(sparsity=0.5, pattern=1:4)"),
        "wanda(sparsity=0.5, pattern=1:4): `sparsity = 0.5` contradicts `pattern = 1:4`, which prunes 0.75; set one of them"
    );
    assert!(build(Axis::Prune, &"wanda(sparsity=0.5, pattern=2:4)".parse().unwrap()).is_ok());
    assert!(refused("magnitude(scope=row, pattern=2:4)").contains("leave one of them out"));
    assert!(refused("sparsegpt(pattern=2:4, block=6)").contains("make it a multiple"));
    assert!(refused("wanda(variant=true, pattern=2:4)").contains("fits no `pattern`"));
    assert!(refused("shuffled-mask(like=\"wnda\")").contains("did you mean `wanda`?"));
    assert!(refused("shuffled-mask(like=\"wanda\", within=group)").contains("no groups"));
    assert!(refused("shuffled-mask(like=\"shuffled-mask\")").contains("cannot be shuffled again"));
    assert!(refused("none(sparsity=0.5)").contains("it takes none"));
}

#[test]
fn only_none_is_the_identity() {
    assert!(pruner("none").is_identity() && pruner("shuffled-mask(like=none)").is_identity());
    assert!(BY_SPARSITY.iter().all(|method| !pruner(&arm(method, 0.5).to_string()).is_identity()));
}

#[test]
fn a_shuffled_mask_keeps_the_numbers_and_the_dense_weights() {
    let (rows, cols) = (16, 32);
    let dense = normal("weight", 9, rows * cols);
    let statistics = gather(&correlated(9, 64, cols), cols);
    let zeros = |weight: &[f32], length: usize| -> Vec<usize> {
        weight.chunks(length).map(|part| part.iter().filter(|value| **value == 0.0).count()).collect()
    };
    for (like, within, length) in [
        ("sparsegpt(sparsity=0.5)", "layer", rows * cols),
        ("sparsegpt(sparsity=0.5)", "row", cols),
        ("wanda(pattern=1:4)", "group", 4),
    ] {
        let inner = apply(like, &dense, cols, Some(&statistics)).unwrap();
        let shuffled =
            apply(&format!("shuffled-mask(like=\"{like}\", within={within})"), &dense, cols, Some(&statistics))
                .unwrap();
        assert_eq!(zeros(&inner, length), zeros(&shuffled, length));
        assert_ne!(kept(&inner), kept(&shuffled));
        assert!(shuffled.iter().zip(&dense).all(|(value, dense)| *value == 0.0 || value == dense));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_the_matrix(index in 0u64..1000, rows in 1usize..9, groups in 1usize..6, share in 0.0..0.99f64) {
        let cols = groups * 4;
        let dense = normal("weight", index, rows * cols);
        let statistics = gather(&correlated(index, 3 * cols, cols), cols);
        for method in BY_SPARSITY {
            let masked = |sparsity: f64| apply(&arm(method, sparsity).to_string(), &dense, cols, Some(&statistics)).unwrap();
            // Sparsity 0 changes no bit, and the same arm gives the same bits.
            prop_assert!(masked(0.0).iter().zip(&dense).all(|(a, b)| a.to_bits() == b.to_bits()));
            let pruned = masked(share);
            prop_assert_eq!(&pruned, &masked(share));
            // The count is exact in its comparison group.
            let by_row = matches!(method, "wanda" | "magnitude+row" | "shuffled");
            let size = if by_row { cols } else { rows * cols };
            let zeros = pruned.iter().filter(|value| **value == 0.0).count();
            prop_assert_eq!(zeros, super::select::count(share, size) * (rows * cols / size), "{}", method);
            if method == "sparsegpt" || method == "shuffled" {
                continue;
            }
            // A higher sparsity prunes what a lower one did.
            prop_assert!(masked(share / 2.0).iter().zip(&pruned).all(|(less, more)| *less != 0.0 || *more == 0.0));
            if method == "random" {
                continue;
            }
            // Pruning again changes nothing.
            prop_assert_eq!(&apply(&arm(method, share).to_string(), &pruned, cols, Some(&statistics)).unwrap(), &pruned);
            // Rows turned over give rows turned over, and columns likewise with the inputs.
            let turned: Vec<f32> = dense.chunks(cols).rev().flatten().copied().collect();
            let expected: Vec<f32> = pruned.chunks(cols).rev().flatten().copied().collect();
            prop_assert_eq!(apply(&arm(method, share).to_string(), &turned, cols, Some(&statistics)).unwrap(), expected);
            let mirrored = |rows: &[f32]| -> Vec<f32> { rows.chunks(cols).flat_map(|row| row.iter().rev().copied()).collect() };
            let mirror_statistics = gather(&mirrored(&correlated(index, 3 * cols, cols)), cols);
            let found = apply(&arm(method, share).to_string(), &mirrored(&dense), cols, Some(&mirror_statistics)).unwrap();
            prop_assert_eq!(found, mirrored(&pruned));
        }
    }

    #[test]
    fn patterns_hold_in_every_group(index in 0u64..1000, rows in 1usize..6, keep in 1usize..=4) {
        let cols = 24;
        let dense = normal("weight", index, rows * cols);
        let statistics = gather(&correlated(index, 60, cols), cols);
        for method in ["random", "magnitude", "wanda", "sparsegpt"] {
            for group in [4usize, 8] {
                let pruned = apply(&format!("{method}(pattern={keep}:{group})"), &dense, cols, Some(&statistics)).unwrap();
                prop_assert!(pruned.chunks(group).all(|group| kept(group).iter().map(|k| usize::from(*k)).sum::<usize>() == keep));
            }
        }
    }

    #[test]
    fn threads_change_no_bit(index in 0u64..50) {
        let (rows, cols) = (130, 160);
        let dense = normal("weight", index, rows * cols);
        let statistics = gather(&correlated(index, 40, cols), cols);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| ["wanda", "sparsegpt", "sparsegpt(pattern=2:4)"].map(|arm| apply(arm, &dense, cols, Some(&statistics)).unwrap()))
        };
        prop_assert_eq!(with(1), with(4));
    }
}
