#![allow(clippy::unwrap_used)]

use harness_core::Arm;
use proptest::prelude::*;

use super::*;
use crate::registry::quantizer;

fn candidates(all: &[(u64, f64)]) -> Vec<Candidate> {
    all.iter().map(|(bits, error)| Candidate { bits: *bits, error: *error }).collect()
}

fn totals(matrices: &[Vec<Candidate>], chosen: &[usize]) -> (u64, f64) {
    matrices.iter().zip(chosen).fold((0, 0.0), |(bits, error), (candidates, choice)| {
        (bits + candidates[*choice].bits, error + candidates[*choice].error)
    })
}

#[test]
fn the_step_that_saves_most_a_bit_comes_first() {
    let matrices = vec![candidates(&[(20, 1.0), (30, 0.5), (40, 0.4)]), candidates(&[(20, 0.8), (30, 0.7), (40, 0.1)])];
    // The second matrix' middle format lies above the line from its first to its last and is never taken.
    assert_eq!(hull(&matrices[1]), [0, 2]);
    assert_eq!(allocate(&matrices, 40).unwrap(), [0, 0]);
    assert_eq!(allocate(&matrices, 50).unwrap(), [1, 0]);
    assert_eq!(allocate(&matrices, 60).unwrap(), [2, 0]);
    assert_eq!(allocate(&matrices, 70).unwrap(), [1, 2]);
    assert_eq!(allocate(&matrices, 80).unwrap(), [2, 2]);
    assert_eq!(allocate(&matrices, 39), Err(40));
}

#[test]
fn of_equal_bits_the_smaller_error_is_taken_and_what_only_costs_is_left() {
    let matrices = vec![candidates(&[(30, 0.3), (30, 0.2), (50, 0.25), (20, 0.9)])];
    assert_eq!(hull(&matrices[0]), [3, 1]);
    assert_eq!(allocate(&matrices, 1000).unwrap(), [1]);
}

proptest! {
    #[test]
    fn a_budget_is_kept_and_a_larger_one_is_never_worse(
        matrices in prop::collection::vec(prop::collection::vec((1u64..60, 0.0f64..4.0), 1..6), 1..9),
    ) {
        let matrices: Vec<Vec<Candidate>> = matrices.iter().map(|all| candidates(all)).collect();
        let least: u64 = matrices.iter().map(|all| all.iter().map(|candidate| candidate.bits).min().unwrap()).sum();
        prop_assert_eq!(allocate(&matrices, least - 1), Err(least));
        let mut before = f64::INFINITY;
        for budget in least..least + 200 {
            let chosen = allocate(&matrices, budget).unwrap();
            let (bits, error) = totals(&matrices, &chosen);
            prop_assert!(bits <= budget);
            prop_assert!(error <= before + 1e-12, "{} {} {}", budget, error, before);
            before = error;
        }
        // With bits enough every matrix has its least error.
        let all = allocate(&matrices, u64::MAX).unwrap();
        let best: f64 = matrices.iter().map(|all| all.iter().map(|c| c.error).fold(f64::INFINITY, f64::min)).sum();
        prop_assert!((totals(&matrices, &all).1 - best).abs() < 1e-12);
    }
}

fn mixed(text: &str) -> Box<dyn Quantizer> {
    quantizer(&text.parse::<Arm>().unwrap()).unwrap()
}

fn weight(rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols).map(|at| ((at * 7919 % 1013) as f32 / 506.0 - 1.0) * (1.0 + (at % 7) as f32)).collect()
}

fn inputs(cols: usize) -> LinearStatistics {
    let mut statistics = LinearStatistics::new(cols, Needs::COLUMN_NORMS.union(Needs::SECOND_MOMENT));
    let x: Vec<f32> = (0..3 * cols * cols).map(|at| (at * 104_729 % 2003) as f32 / 1001.0 - 1.0).collect();
    statistics.add(&x).unwrap();
    statistics
}

#[test]
fn one_choice_is_that_method_and_its_error_is_that_of_the_outputs() {
    let (rows, cols) = (8, 64);
    let (weight, statistics) = (weight(rows, cols), inputs(cols));
    let site = Site { name: "blocks.0.up", layer: 0, rows, cols };
    for arm in ["rtn(bits=3, group=32)", "gptq(bits=4, group=32)", "q4_0"] {
        let own = mixed(arm).quantize(&site, &weight, Some(&statistics)).unwrap();
        let alone = mixed(&format!("mixed(budget=8, choices=\"{arm}\")"));
        assert_eq!(alone.quantize(&site, &weight, Some(&statistics)).unwrap(), own, "{arm}");
        let found = alone.mixture().unwrap().consider(&site, &weight, Some(&statistics)).unwrap();
        assert_eq!(found[0].bits, own.bits.total());
        // Token by token, as the outputs are.
        let (mut error, mut size) = (0.0, 0.0);
        for token in 0..3 * cols {
            let x = |j: usize| f64::from(((token * cols + j) * 104_729 % 2003) as f32 / 1001.0 - 1.0);
            for row in 0..rows {
                let output = |values: &[f32]| (0..cols).map(|j| f64::from(values[row * cols + j]) * x(j)).sum::<f64>();
                let (was, is) = (output(&weight), output(&own.values));
                error += (is - was).powi(2);
                size += was.powi(2);
            }
        }
        assert!((found[0].error - error / size).abs() < 1e-9 * error / size, "{arm}");
    }
}

#[test]
fn what_no_mixture_can_be_made_of_is_refused() {
    let refused = |text: &str| quantizer(&text.parse::<Arm>().unwrap()).err().unwrap().to_string();
    let whole = refused("mixed(choices=\"rtn(bits=4, group=64) | mixed\")");
    assert!(whole.contains("`mixed` is not a format of one matrix"), "{whole}");
    let unknown = refused("mixed(choices=\"rtnn\")");
    assert!(unknown.contains("did you mean `rtn`?"), "{unknown}");
    assert!(refused("mixed(choices=\"rtn(bits=9)\")").contains("bits"));
    let (weight, statistics) = (weight(4, 64), inputs(64));
    let site = Site { name: "w", layer: 0, rows: 4, cols: 64 };
    let error = mixed("mixed(budget=2, choices=\"rtn(bits=3, group=64)\")").quantize(&site, &weight, Some(&statistics));
    let said = error.unwrap_err().to_string();
    assert!(said.starts_with("a budget of 2 bits a weight is below 3.296875"), "{said}");
    let bare = mixed("mixed").quantize(&site, &weight, None).unwrap_err().to_string();
    assert!(bare.contains("no calibration text"), "{bare}");
}
