//! What must hold of every method of the axis.
#![allow(clippy::unwrap_used)]

use harness_core::{Arm, Axis};
use proptest::prelude::*;

use super::linalg::{decomposed, squares};
use super::{Blocks, Factorisation, Known, LowRankError, Maps};
use crate::block::Map;
use crate::prune::{Needs, PruneError, Site};
use crate::registry::{lowrank, methods};
use crate::statistics::LinearStatistics;

const ROWS: usize = 24;
const COLS: usize = 30;
const ALL: Needs =
    Needs { column_norms: true, second_moment: true, magnitudes: true, samples: false, producers: false };

/// Every method but the identity, as it is set by itself, on a matrix of 24 by 30; ten or so numbers in a hundred are saved at
/// least.
fn arms() -> Vec<Arm> {
    let all = methods().into_iter().filter(|spec| spec.axis == Axis::Lowrank && spec.id != "none");
    all.map(|spec| if spec.id == "compactifai" { "compactifai(ratio=0.2)".to_owned() } else { spec.id.to_owned() })
        .map(|arm| arm.parse().unwrap())
        .collect()
}

fn site(rows: usize, cols: usize) -> Site<'static> {
    Site { name: "model.layers.0.mlp.up_proj.weight", layer: 0, rows, cols }
}

fn inputs(cols: usize, seed: usize) -> LinearStatistics {
    let mut statistics = LinearStatistics::new(cols, ALL);
    let number = |i: usize| ((i * 7919 + seed * 31) % 2003) as f32 / 1001.0 - 1.0;
    let x: Vec<f32> = (0..6 * cols * cols).map(|i| number(i + i / cols * 3) * (1.0 + (i % cols % 5) as f32)).collect();
    statistics.add(&x).unwrap();
    statistics
}

fn gradients(cols: usize) -> Vec<f64> {
    (0..cols).map(|j| 0.01 * (1.0 + (j * 5 % 7) as f64)).collect()
}

fn factorise(arm: &str, weight: &[f32]) -> Result<Factorisation, LowRankError> {
    let (statistics, gradients) = (inputs(COLS, 1), gradients(COLS));
    let known = Known { statistics: Some(&statistics), gradients: Some(&gradients), share: None };
    lowrank(&arm.parse().unwrap()).unwrap().factorise(&site(ROWS, COLS), weight, known)
}

fn matrix() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-2.0f32..2.0, ROWS * COLS)
}

fn error(weight: &[f32], found: &Factorisation) -> f64 {
    weight.iter().zip(found.product(COLS)).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn factors_are_smaller_and_no_better_than_the_best(weight in matrix()) {
        let wide: Vec<f64> = weight.iter().map(|value| f64::from(*value)).collect();
        let singular = decomposed(&wide, ROWS, COLS).unwrap().singular;
        for arm in arms() {
            let found = factorise(&arm.to_string(), &weight).unwrap();
            prop_assert!(found.parameters() < weight.len(), "{}", arm);
            prop_assert!(found.factors.iter().all(|factor| factor.values.iter().all(|value| value.is_finite())));
            if arm.id != "compactifai" {
                let best = squares(&singular[found.kept[0]..]).sqrt();
                prop_assert!(error(&weight, &found) >= best * (1.0 - 1e-9), "{} {}", arm, best);
            }
            prop_assert!(found.lost.0 > 0.0 && found.lost.0 < found.lost.1, "{} {:?}", arm, found.lost);
        }
    }

    #[test]
    fn what_is_left_out_is_what_is_lost(weight in matrix(), rank in 1usize..12) {
        let plain = factorise(&format!("svd(rank={rank})"), &weight).unwrap();
        prop_assert!((error(&weight, &plain) - plain.lost.0.sqrt()).abs() < 1e-9);
        // Behind the inputs, the loss of the layer.
        let whitened = factorise(&format!("svd-llm(rank={rank})"), &weight).unwrap();
        let statistics = inputs(COLS, 1);
        let loss = |found: &Factorisation| {
            let change: Vec<f32> =
                weight.iter().zip(found.product(COLS)).map(|(a, b)| (f64::from(*a) - b) as f32).collect();
            (statistics.mean_squared_outputs(&change).unwrap() * (statistics.tokens() * ROWS) as f64).sqrt()
        };
        let lost = whitened.lost.0.sqrt();
        prop_assert!((loss(&whitened) - lost).abs() <= 1e-5 * lost, "{} {}", loss(&whitened), lost);
        for other in ["svd", "asvd", "fwsvd"] {
            let found = factorise(&format!("{other}(rank={rank})"), &weight).unwrap();
            prop_assert!(loss(&found) >= lost * (1.0 - 1e-6), "{}", other);
        }
    }

    #[test]
    fn an_update_on_the_same_inputs_changes_nothing_and_helps_on_others(weight in matrix()) {
        let method = lowrank(&"svd-llm(rank=8, update=closed-form)".parse().unwrap()).unwrap();
        let (first, second) = (inputs(COLS, 1), inputs(COLS, 5));
        let known = |statistics| Known { statistics: Some(statistics), ..Known::default() };
        let found = method.factorise(&site(ROWS, COLS), &weight, known(&first)).unwrap();
        let same = method.update(&site(ROWS, COLS), &weight, found.clone(), known(&first)).unwrap();
        for (a, b) in same.product(COLS).iter().zip(found.product(COLS)) {
            prop_assert!((a - b).abs() < 1e-8, "{} {}", a, b);
        }
        let fitted = method.update(&site(ROWS, COLS), &weight, found.clone(), known(&second)).unwrap();
        prop_assert_eq!(&fitted.factors[0], &found.factors[0]);
        let loss = |found: &Factorisation| {
            let change: Vec<f32> =
                weight.iter().zip(found.product(COLS)).map(|(a, b)| (f64::from(*a) - b) as f32).collect();
            second.mean_squared_outputs(&change).unwrap()
        };
        prop_assert!(loss(&fitted) < loss(&found));
    }

    #[test]
    fn what_stays_of_a_matrix_stays_to_the_bit(weight in matrix()) {
        let found = factorise("curing(rank=6)", &weight).unwrap();
        let [right, middle, left] = found.factors.as_slice() else { panic!("three factors") };
        prop_assert_eq!((right.rows, middle.rows, left.cols), (6, 6, 6));
        let is_row = |row: &[f64]| weight.chunks(COLS).any(|own| own.iter().zip(row).all(|(a, b)| f64::from(*a) == *b));
        prop_assert!(right.values.chunks(COLS).all(is_row));
        for k in 0..6 {
            let column = |j: usize| (0..ROWS).all(|i| f64::from(weight[i * COLS + j]) == left.values[i * 6 + k]);
            prop_assert!((0..COLS).any(column));
        }
        // No other middle is better: whatever it is moved by makes the error larger.
        let best = error(&weight, &found);
        for at in 0..36 {
            for by in [-1e-3, 1e-3] {
                let mut moved = found.clone();
                moved.factors[1].values[at] += by;
                prop_assert!(error(&weight, &moved) > best, "{} {}", at, by);
            }
        }
    }
}

#[test]
fn matrices_that_fit_are_kept_whole() {
    // Of rank three, whatever the method weighs.
    let weight: Vec<f32> = (0..ROWS * COLS)
        .map(|at| {
            let (i, j) = ((at / COLS) as f32, (at % COLS) as f32);
            (i * 0.3).sin() * (j * 0.7).cos() + 0.1 * (i - 9.0) * (j * 0.2).sin() + (i * 1.1).cos()
        })
        .collect();
    let norm = weight.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    for arm in [
        "svd(rank=3)",
        "svd-llm(rank=3)",
        "asvd(rank=3)",
        "fwsvd(rank=3)",
        "curing(rank=3)",
        "curing(rank=3, deim=paper)",
    ] {
        assert!(error(&weight, &factorise(arm, &weight).unwrap()) < 1e-5 * norm, "{arm}");
    }
}

#[test]
fn splits_and_scales_do_not_change_the_product() {
    let weight: Vec<f32> = (0..ROWS * COLS).map(|i| (i as f32 * 0.37).sin() + (i % 11) as f32 * 0.1).collect();
    for id in ["svd", "svd-llm", "asvd", "fwsvd"] {
        let product = |split| factorise(&format!("{id}(rank=5, split={split})"), &weight).unwrap().product(COLS);
        let both = product("both");
        for split in ["left", "right"] {
            let other = product(split);
            assert!(both.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-10), "{id} {split}");
        }
    }
    // Without a power of the inputs ASVD is the plain decomposition.
    let (plain, flat) =
        (factorise("svd(rank=5)", &weight).unwrap(), factorise("asvd(rank=5, alpha=0)", &weight).unwrap());
    assert!(plain.product(COLS).iter().zip(flat.product(COLS)).all(|(a, b)| (a - b).abs() < 1e-9));
}

#[test]
fn moments_that_are_not_positive_definite_are_raised_and_it_is_said() {
    let weight: Vec<f32> = (0..ROWS * COLS).map(|i| (i as f32 * 0.37).sin()).collect();
    // Fewer tokens than inputs, and one input that is always zero.
    let mut few = LinearStatistics::new(COLS, ALL);
    let x: Vec<f32> = (0..7 * COLS).map(|i| if i % COLS == 4 { 0.0 } else { (i as f32 * 0.71).cos() }).collect();
    few.add(&x).unwrap();
    let known = Known { statistics: Some(&few), ..Known::default() };
    let of = |arm: &str| lowrank(&arm.parse().unwrap()).unwrap().factorise(&site(ROWS, COLS), &weight, known);
    let found = of("svd-llm(rank=10)").unwrap();
    assert!(found.jitter >= 1e-6 && found.jitter < 1e-5, "{}", found.jitter);
    // Seven directions are all there is: a rank of ten loses nothing.
    let change: Vec<f32> = weight.iter().zip(found.product(COLS)).map(|(a, b)| (f64::from(*a) - b) as f32).collect();
    assert!(few.mean_squared_outputs(&change).unwrap() < 1e-9);
    assert_eq!(of("svd-llm(rank=10, jitter=0.5)").unwrap().jitter, 0.5);
    let error = of("svd-llm(rank=10, jitter=0)").unwrap_err();
    assert!(matches!(error, LowRankError::NotPositiveDefinite { jitter: 0.0, .. }), "{error}");
}

#[test]
fn nothing_is_divided_by_what_no_input_has_without_saying_so() {
    let weight: Vec<f32> = (0..ROWS * COLS).map(|i| (i as f32 * 0.37).sin()).collect();
    let of_tokens = |tokens: usize, dead: Option<usize>| {
        let mut statistics = LinearStatistics::new(COLS, ALL);
        let number = |i: usize| {
            if Some(i % COLS) == dead { 0.0 } else { (i as f32 * 0.71).cos() + ((i * i % 97) as f32 * 0.3).sin() }
        };
        statistics.add(&(0..tokens * COLS).map(number).collect::<Vec<f32>>()).unwrap();
        statistics
    };
    let of = |arm: &str, statistics: &LinearStatistics, gradients: &[f64]| {
        let known = Known { statistics: Some(statistics), gradients: Some(gradients), share: None };
        lowrank(&arm.parse().unwrap()).unwrap().factorise(&site(ROWS, COLS), &weight, known).unwrap()
    };
    let finite = |found: &Factorisation| found.product(COLS).iter().all(|value| value.is_finite() && value.abs() < 1e3);
    let plain = gradients(COLS);
    // Any number of tokens below that of inputs leaves directions without a token, whichever pivots rounding makes of them.
    for tokens in 1..COLS {
        let found = of("svd-llm(rank=10)", &of_tokens(tokens, None), &plain);
        // A pivot that was raised is the threshold up to rounding.
        assert!(found.jitter > 0.999e-6 && found.jitter < 1e-5 && finite(&found), "{tokens} tokens: {}", found.jitter);
    }
    let enough = of_tokens(4 * COLS, None);
    for arm in ["svd-llm(rank=10)", "asvd(rank=10)", "asvd(rank=10, size=fisher)", "fwsvd(rank=10)"] {
        let found = of(arm, &enough, &plain);
        assert!(found.jitter == 0.0 && found.note.is_none(), "{arm}");
    }
    let dead = of_tokens(4 * COLS, Some(4));
    let mut none = plain.clone();
    none[4] = 0.0;
    for arm in [
        "svd-llm(rank=10)",
        "asvd(rank=10)",
        "asvd(rank=10, size=abs-max)",
        "asvd(rank=10, size=fisher)",
        "fwsvd(rank=10)",
    ] {
        let found = of(arm, &dead, &none);
        assert!(found.jitter >= 1e-6 && finite(&found), "{arm}: {}", found.jitter);
        assert_eq!(found.note.is_some(), arm != "svd-llm(rank=10)", "{arm}: {:?}", found.note);
    }
    // An update to fewer tokens than ranks leaves directions of the right factor out.
    let method = lowrank(&"svd-llm(rank=10, update=closed-form)".parse().unwrap()).unwrap();
    let known = |statistics| Known { statistics: Some(statistics), ..Known::default() };
    let first = method.factorise(&site(ROWS, COLS), &weight, known(&enough)).unwrap();
    let seven = of_tokens(7, None);
    let few = method.update(&site(ROWS, COLS), &weight, first.clone(), known(&seven)).unwrap();
    assert!(few.left_out == 3 && finite(&few), "{}", few.left_out);
    assert_eq!(method.update(&site(ROWS, COLS), &weight, first, known(&dead)).unwrap().left_out, 0);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let weight: Vec<f32> = (0..ROWS * COLS).map(|i| (i as f32 * 0.37).sin()).collect();
    for id in ["svd", "svd-llm", "asvd", "fwsvd", "curing"] {
        for rank in [14, 24, 25, 400] {
            let error = factorise(&format!("{id}(rank={rank})"), &weight).unwrap_err();
            assert!(matches!(error, LowRankError::Rank { asked: true, .. }), "{id} {error}");
        }
        assert!(lowrank(&format!("{id}(rank=0)").parse().unwrap()).is_err());
    }
    for arm in arms() {
        let mut bad = weight.clone();
        bad[40] = f32::NAN;
        let error = factorise(&arm.to_string(), &bad).unwrap_err();
        assert!(matches!(error, LowRankError::Input(PruneError::Weight { row: 1, column: 10, .. })), "{arm} {error}");
        let method = lowrank(&arm).unwrap();
        let alone = method.factorise(&site(ROWS, COLS), &weight, Known::default());
        if method.needs_gradients() {
            assert!(matches!(alone, Err(LowRankError::NoGradients { .. })), "{arm}");
        } else if method.needs().any() {
            assert!(matches!(alone, Err(LowRankError::Input(PruneError::NoCalibration { .. }))), "{arm}");
        } else {
            assert!(alone.is_ok(), "{arm}");
        }
    }
    let sizes = factorise("compactifai(outputs=[4, 5], inputs=[5, 6])", &weight).unwrap_err();
    assert!(matches!(sizes, LowRankError::Sizes { side: "outputs", found: 20, expected: 24, .. }), "{sizes}");
    let built = |arm: &str| lowrank(&arm.parse().unwrap()).err().map(|error| error.to_string()).unwrap_or_default();
    for arm in [
        "compactifai(outputs=[4, 6, 1])",
        "compactifai(bond=3, ratio=0.5)",
        "svd(rank=3, ratio=0.5)",
        "curing(rank=3, energy=0.5)",
        "svd-llm(whiten=false)",
        "svd(ratio=1)",
        "asvd(alpha=1.5)",
        "svd-llm(jitter=-1)",
        "compactifai(order=1)",
        "compactifai(tol=1)",
        "curing(deim=late)",
        "svd-llm(update=seq-lora)",
        "asvd(rank=3, allocation=sensitivity)",
        "asvd(shares=[0.5])",
        "asvd(allocation=sensitivity, shares=[])",
        "asvd(allocation=sensitivity, shares=[1])",
    ] {
        assert!(!built(arm).is_empty(), "{arm}");
    }
}

#[test]
fn blocks_that_turn_least_are_chosen() {
    let blocks = Blocks { count: 6, distances: vec![0.0, 0.4, 0.1, 0.3, 0.2, 0.0] };
    let of = |arm: &str| lowrank(&arm.parse().unwrap()).unwrap().blocks(&blocks);
    assert_eq!(of("curing(layers=2)").unwrap(), [2, 4]);
    assert_eq!(of("curing").unwrap(), [1, 2, 3, 4]);
    assert_eq!(of("curing(layers=3, ends=true)").unwrap(), [0, 2, 5]);
    let error = of("curing(layers=5)").unwrap_err();
    assert!(matches!(error, LowRankError::Layers { asked: 5, available: 4, ends: false }), "{error}");
    let two = Blocks { count: 2, distances: vec![0.1, 0.2] };
    assert!(lowrank(&Arm::new("curing")).unwrap().blocks(&two).is_err());
    assert_eq!(of("compactifai(skip=4)").unwrap(), [4, 5]);
    assert_eq!(of("compactifai(skip=2, take=1)").unwrap(), [2]);
    assert_eq!(of("compactifai(skip=4, take=9)").unwrap(), [4, 5]);
    assert!(matches!(of("compactifai(skip=6)"), Err(LowRankError::Skip { skip: 6, blocks: 6 })));
    assert_eq!(of("svd").unwrap().len(), 6);
}

#[test]
fn maps_are_taken_by_kind() {
    let count = |maps: Maps| Map::ALL.into_iter().filter(|map| maps.take(*map)).count();
    let all = [Maps::All, Maps::Attention, Maps::FeedForward, Maps::KeysValues, Maps::QueryKeyGate];
    assert_eq!(all.map(count), [7, 4, 3, 2, 3]);
    let taken = |arm: &str| {
        let method = lowrank(&arm.parse().unwrap()).unwrap();
        Map::ALL.into_iter().filter(|map| method.takes(*map)).count()
    };
    assert_eq!((taken("curing"), taken("curing(maps=all)"), taken("asvd(maps=keys-values)")), (3, 7, 2));
}

#[test]
fn threads_change_no_bit() {
    let weight: Vec<f32> = (0..ROWS * COLS).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect();
    for arm in arms() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| factorise(&arm.to_string(), &weight).unwrap())
        };
        assert_eq!(on(1), on(3), "{arm}");
    }
}

#[test]
fn sums_of_what_a_matrix_makes_of_inputs() {
    let (rows, cols) = (5, 8);
    let x: Vec<f32> = (0..40 * cols).map(|i| (i as f32 * 0.31).sin()).collect();
    let matrix: Vec<f32> = (0..rows * cols).map(|i| (i as f32 * 0.77).cos()).collect();
    let mut statistics = LinearStatistics::new(cols, ALL);
    statistics.add(&x).unwrap();
    let made: Vec<f32> = x
        .chunks(cols)
        .flat_map(|x| matrix.chunks(cols).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect::<Vec<f32>>())
        .collect();
    let mut direct = LinearStatistics::new(rows, ALL);
    direct.add(&made).unwrap();
    let mapped = statistics.mapped(&matrix).unwrap();
    assert_eq!((mapped.tokens(), mapped.sequences(), mapped.columns()), (40, 1, rows));
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(near(mapped.column_sum_squares(), direct.column_sum_squares()));
    assert!(near(mapped.second_moment().unwrap(), direct.second_moment().unwrap()));
    assert!(LinearStatistics::new(cols, Needs::COLUMN_NORMS).mapped(&matrix).is_none());
}
