//! Distances against `tests/reference/reach.py`, and one row of attention that tells all methods apart.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use harness_core::Axis;
use harness_kernels::attention::{Part, Shape, attention_of_parts};
use harness_kernels::reach::Reach;
use harness_kernels::rotary::{Pairing, Rotation, rotate};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::position::{Change, Rotary, yarn_factor};
use crate::registry::{methods, position};

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/reach.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn size(value: &Json) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn reach(arm: &str, trained: usize) -> Box<dyn Reach> {
    position(&arm.parse().unwrap()).unwrap().reach(trained).unwrap().unwrap()
}

/// What queries look at in the last block.
fn last_block(reach: &dyn Reach, queries: Range<usize>) -> Vec<Look> {
    reach.looks(queries).into_iter().filter(|look| look.blocks.contains_last()).collect()
}

/// The distance at which each query sees each key up to it, or would where it chooses; no key is seen twice.
fn distances(reach: &dyn Reach, queries: Range<usize>) -> Vec<Vec<Option<f32>>> {
    distances_of(last_block(reach, queries.clone()), queries)
}

fn distances_of(looks: Vec<Look>, queries: Range<usize>) -> Vec<Vec<Option<f32>>> {
    let mut rows: Vec<Vec<Option<f32>>> = queries.map(|i| vec![None; i + 1]).collect();
    for look in looks {
        for ((row, seen), query) in rows.iter_mut().zip(&look.seen).zip(&look.query_places) {
            for key in seen.clone() {
                let before = row[key].replace(query - look.key_places[key - look.keys.start]);
                assert_eq!(before, None, "key {key} is seen twice");
            }
        }
    }
    rows
}

#[test]
fn distances_are_those_of_the_reference_for_any_block_of_queries() {
    let mut tested = BTreeSet::new();
    for case in golden()["rows"].as_array().unwrap() {
        let (arm, trained, length) = (case["arm"].as_str().unwrap(), size(&case["trained"]), size(&case["length"]));
        let reach = reach(arm, trained);
        let rows = case["rows"].as_array().unwrap();
        for (i, factor) in case["factors"].as_array().unwrap().iter().enumerate() {
            assert!((f64::from(reach.query_factor(i)) - factor.as_f64().unwrap()).abs() < 1e-6, "{arm} at {i}");
        }
        // All at once, one by one, and in blocks.
        for step in [length, 1, 7] {
            for start in (0..length).step_by(step) {
                let end = (start + step).min(length);
                if let Some(longest) = reach.longest() {
                    assert!(end <= longest, "{arm}");
                }
                for (row, i) in distances(&*reach, start..end).iter().zip(start..) {
                    let expected = rows[i].as_array().unwrap();
                    for (j, (found, expected)) in row.iter().zip(expected).enumerate() {
                        let same = match (found, expected.as_f64()) {
                            (Some(a), Some(b)) => (f64::from(*a) - b).abs() < 1e-5,
                            (None, None) => true,
                            _ => false,
                        };
                        assert!(same, "{arm}, query {i} key {j}: {found:?} for {expected}");
                        // What is read as without the rule has no other distances.
                        assert!(!reach.is_whole(i + 1) || found.is_some_and(|d| (d - (i - j) as f32).abs() < 1e-5));
                        // What a cache has let go is not looked at.
                        let kept = reach.kept().is_none_or(|kept| j < kept.first || j + kept.last >= i);
                        assert!(found.is_none() || kept, "{arm}, query {i} key {j}");
                    }
                }
            }
        }
        tested.insert(arm.split('(').next().unwrap().to_owned());
    }
    for spec in methods().into_iter().filter(|spec| spec.axis == Axis::Position) {
        let method = position(&harness_core::Arm::new(spec.id)).unwrap();
        let frequencies_only = method.is_identity() || method.kind().rewrites_frequencies();
        assert!(frequencies_only || tested.contains(spec.id), "`{}` has no golden", spec.id);
    }
}

/// Attention by looks, with one number a place for each pair of dimensions.
fn attend(
    looks: &[Look],
    [q, k, v]: [&[f32]; 3],
    turn: impl Fn(&[f32], &[f32], usize) -> Vec<f32>,
    shape: &Shape<'_>,
) -> Vec<f32> {
    let width = shape.kv_heads * shape.head_dim;
    let held: Vec<_> = (looks.iter())
        .map(|look| {
            let first = look.keys.start;
            let seen = look.seen.iter().map(|s| if s.is_empty() { 0..0 } else { s.start - first..s.end - first });
            let rows = first * width..look.keys.end * width;
            let q = &q[q.len() - look.query_places.len() * shape.heads * shape.head_dim..];
            let q = turn(q, &look.query_places, shape.heads);
            (q, turn(&k[rows.clone()], &look.key_places, shape.kv_heads), &v[rows], seen.collect::<Vec<_>>())
        })
        .collect();
    let parts: Vec<Part<'_>> = (held.iter().zip(looks))
        .map(|((q, k, v, seen), look)| {
            let places = (&*look.query_places, &*look.key_places);
            Part { q, k, v, seen, chosen: look.chosen, first_query: 0, places }
        })
        .collect();
    attention_of_parts(&parts, shape)
}

fn shape(heads: usize, kv_heads: usize, head_dim: usize, slopes: Option<&[f32]>) -> Shape<'_> {
    let scale = 1.0 / (head_dim as f32).sqrt();
    Shape { batch: 1, queries: 0, keys: 0, heads, kv_heads, head_dim, scale, slopes, biases: None, key_batch_stride: 0 }
}

/// Attention of the query at position 9 to values `j`: one head of two dimensions, all queries and keys `[1, 0]`, turned by
/// `frequency` radians a place and multiplied by `factor`.
fn last_row(looks: &[Look], frequency: f32, factor: f32, query_factor: f32, slopes: Option<&[f32]>) -> f32 {
    let turn = |x: &[f32], places: &[f32], _| -> Vec<f32> {
        let turned = |(p, x): (&f32, &f32)| [x * factor * (p * frequency).cos(), x * factor * (p * frequency).sin()];
        places.iter().zip(x.iter().step_by(2)).flat_map(turned).collect()
    };
    let k = [1.0, 0.0].repeat(10);
    let q: Vec<f32> = k.iter().map(|q| q * query_factor).collect();
    let v: Vec<f32> = (0..10).flat_map(|j| [j as f32, 0.0]).collect();
    let out = attend(looks, [&q, &k, &v], turn, &shape(1, 1, 2, slopes));
    out[out.len() - 2]
}

#[test]
fn one_row_of_attention_tells_the_methods_apart() {
    let everything = || vec![Look::new(0..10, |i| 0..i + 1, |i| i as f32, |j| j as f32)];
    let close = |what: &str, found: f32, expected: f64| {
        assert!((f64::from(found) - expected).abs() < 3e-6, "{what}: {found} for {expected}");
    };
    close("full", last_row(&everything(), 1.0, 1.0, 1.0, None), 4.827_433);
    close("linear(factor=2)", last_row(&everything(), 0.5, 1.0, 1.0, None), 5.757_181);
    close("yarn(factor=2)", last_row(&everything(), 0.5, yarn_factor(2.0) as f32, 1.0, None), 5.938_547);
    close("alibi", last_row(&everything(), 0.0, 1.0, 1.0, Some(&[0.25])), 6.373_443);
    let golden = golden();
    for row in golden["attention"].as_array().unwrap() {
        let arm = row["arm"].as_str().unwrap();
        let reach = reach(arm, size(&row["trained"]));
        for queries in [0..10, 9..10, 4..10] {
            let found = last_row(&last_block(&*reach, queries), 1.0, 1.0, reach.query_factor(9), None);
            close(arm, found, row["out"].as_f64().unwrap());
        }
    }
    let outs: Vec<f64> =
        golden["attention"].as_array().unwrap().iter().map(|row| row["out"].as_f64().unwrap()).collect();
    let by_hand = [
        8.061_223, 6.272_874, 7.114_755, 4.193_103, 5.592_707, 6.492_397, 4.110_378, 5.171_777, 6.047_023, 5.592_707,
        5.385_475,
    ];
    assert_eq!(outs.len(), by_hand.len());
    for (found, by_hand) in outs.iter().zip(by_hand) {
        assert!((found - by_hand).abs() < 1e-6, "{found} for {by_hand}");
    }
}

/// Numbers that are easy to make anywhere.
fn numbers(count: usize, phase: f64) -> Vec<f32> {
    let number = |i: f64| (1.5 * (i * 0.731 + phase + 9.0 * (i * 0.017).cos()).sin()) as f32;
    (0..count).map(|i| number(i as f64)).collect()
}

#[test]
fn heads_choose_what_the_reference_chooses_from_whole_rows_of_scores() {
    let (heads, kv_heads, d) = (4, 2, 8);
    let frequencies = harness_kernels::rotary::frequencies(10_000.0, d);
    let turn = |x: &[f32], places: &[f32], heads: usize| {
        let angles = || places.iter().flat_map(|place| frequencies.iter().map(move |f| place * f));
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles().map(|angle| (angle.cos(), angle.sin())).unzip();
        let rotation = Rotation {
            cos: &cos,
            sin: &sin,
            rotary: d,
            head_dim: d,
            heads,
            sequence: places.len(),
            pairing: Pairing::HalfSplit,
            inverse: false,
        };
        rotate(x, &rotation)
    };
    for case in golden()["choices"].as_array().unwrap() {
        let (arm, query) = (case["arm"].as_str().unwrap(), size(&case["query"]));
        let reach = reach(arm, size(&case["trained"]));
        let [q, k, v] = [(heads, 0.3), (kv_heads, 0.5), (kv_heads, 0.7)]
            .map(|(heads, phase)| numbers((query + 1) * heads * d, phase));
        // Alone, and among the queries before it, of which the first see everything.
        for first in [query, query - 11, 0] {
            let looks = last_block(&*reach, first..query + 1);
            let out = attend(&looks, [&q, &k, &v], turn, &shape(heads, kv_heads, d, None));
            let expected: Vec<f64> = serde_json::from_value(case["out"].clone()).unwrap();
            for (found, expected) in out[out.len() - heads * d..].iter().zip(expected) {
                let far = (f64::from(*found) - expected).abs();
                assert!(far < 5e-6, "{arm}, query {query} from {first}: {found} for {expected}");
            }
        }
    }
}

#[test]
fn blocks_that_do_not_choose_see_the_newest_keys_alone() {
    let (i, trained) = (100, 32);
    for (arm, seen) in
        [("unlimiformer(window=10, skip=0.25)", 69..101), ("lm-infinite(globals=0, top_k=5, top_k_skip=0.25)", 69..101)]
    {
        let reach = reach(arm, trained);
        for block in 0..8 {
            let looks: Vec<Look> =
                reach.looks(i..i + 1).into_iter().filter(|look| look.blocks.contains(block, 8)).collect();
            let row = distances_of(looks, i..i + 1).remove(0);
            let sees: Vec<usize> = (0..=i).filter(|key| row[*key].is_some()).collect();
            let expected: Vec<usize> = if block < 2 { seen.clone().collect() } else { (0..=i).collect() };
            assert_eq!(sees, expected, "{arm}, block {block}");
        }
    }
}

#[test]
fn examples_computed_by_hand() {
    let at = |arm: &str, trained, i: usize, j: usize| distances(&*reach(arm, trained), i..i + 1)[0][j].unwrap();
    let grouped = |i, j| at("self-extend(group=4, window=8)", 64, i, j);
    assert_eq!([grouped(20, 20), grouped(20, 13), grouped(20, 12), grouped(20, 3)], [0.0, 7.0, 8.0, 11.0]);
    assert_eq!([grouped(31, 0), grouped(63, 0)], [13.0, 21.0]);
    assert_eq!(reach("self-extend(group=8, window=64)", 256).longest(), Some(1600));
    for (i, j, plain, leaky) in
        [(1010, 1000, 10.0, 10.0), (1064, 1000, 64.0, 64.0), (1000, 0, 64.0, 122.5), (100, 0, 64.0, 66.25)]
    {
        assert_eq!(at("rerope(window=64)", 256, i, j), plain);
        assert_eq!(at("rerope(window=64, leak=16)", 256, i, j), leaky);
    }
    assert_eq!(reach("log-n", 256).query_factor(4095), 1.5);
    let chunks = distances(&*reach("dca(chunk=6, limit=10)", 16), 0..18);
    let row = |i: usize| chunks[i].iter().map(|d| d.unwrap() as u32).collect::<Vec<_>>();
    assert_eq!(row(6), [6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(row(9), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(row(11), [9, 8, 7, 6, 5, 4, 5, 4, 3, 2, 1, 0]);
    assert_eq!(row(17), [9, 8, 7, 6, 5, 4, 9, 8, 7, 6, 5, 4, 5, 4, 3, 2, 1, 0]);
    // Start tokens that the window holds go through the window, once; the others stand at the limit.
    let lambda = distances(&*reach("lm-infinite(window=4, globals=2, limit=4)", 4), 0..10);
    assert_eq!(lambda[3], [3.0, 2.0, 1.0, 0.0].map(Some));
    assert_eq!(lambda[4], [4.0, 3.0, 2.0, 1.0, 0.0].map(Some));
    let far = [Some(4.0), Some(4.0), None, None, None, None, Some(3.0), Some(2.0), Some(1.0), Some(0.0)];
    assert_eq!(lambda[9], far);
    // What is chosen from stands between the places of the window and the trained length, in the order of the text.
    let drawn = distances(&*reach("unlimiformer(k=3, window=4)", 8), 0..33);
    assert_eq!(drawn[7], [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0].map(Some));
    assert_eq!(drawn[9], [7.0, 7.0, 7.0, 7.0, 6.0, 6.0, 3.0, 2.0, 1.0, 0.0].map(Some));
    let row = |i: usize, j: usize| drawn[i][j].unwrap();
    assert_eq!(
        [row(31, 0), row(31, 7), row(31, 8), row(31, 16), row(31, 27), row(31, 28)],
        [7.0, 7.0, 6.0, 5.0, 4.0, 3.0]
    );
    assert_eq!([row(32, 0), row(32, 15), row(32, 16), row(32, 28), row(32, 29)], [7.0, 7.0, 6.0, 6.0, 3.0]);
}

#[test]
fn windows_that_do_not_fit_the_trained_length_are_said() {
    for (arm, what) in [
        ("lm-infinite(window=300)", "`window = 300` must be between 1 and 256: longer distances were not trained"),
        ("lm-infinite(window=100, limit=50)", "`limit = 50` must be between 100"),
        ("streaming-llm(sinks=256)", "`sinks = 256` must be at most 255: sinks and window share the trained length"),
        ("streaming-llm(sinks=4, window=253)", "`window = 253` must be between 1 and 252"),
        ("self-extend(group=8, window=60)", "`window = 60` must be a multiple of `group = 8`"),
        ("self-extend(group=8, window=256)", "`window = 256` must be between 1 and 255"),
        ("rerope(window=256)", "`window = 256` must be between 1 and 255"),
        ("dca(chunk=200, limit=180)", "`chunk = 200` must be between 1 and 179"),
        ("dca(limit=300)", "`limit = 300` must be between 2 and 256"),
        ("lm-infinite(top_k=4, top_k_at=300)", "`top_k_at = 300` must be between 1 and 256: longer distances were not"),
        (
            "unlimiformer(window=256)",
            "`window = 256` must be between 1 and 255: chosen keys stand at the places it leaves",
        ),
        ("unlimiformer(k=257)", "`k = 257` must be between 1 and 256: a softmax over more keys was not trained"),
        ("log-n(trained=1)", "`trained = 1` must be between 2"),
    ] {
        let said = position(&arm.parse().unwrap()).unwrap().reach(256).unwrap_err().to_string();
        assert!(said.starts_with(what), "{arm}: {said}");
    }
    assert!(position(&"lm-infinite(window=300, allow_unseen=true)".parse().unwrap()).unwrap().reach(256).is_ok());
    for arm in [
        "sliding-window(window=0)",
        "self-extend(group=0)",
        "rerope(leak=0.5)",
        "dca(chunk=0)",
        "unlimiformer(k=0)",
        "unlimiformer(skip=1)",
    ] {
        assert!(position(&arm.parse().unwrap()).is_err(), "{arm}");
    }
}

#[test]
fn every_method_says_what_it_changes() {
    for spec in methods().into_iter().filter(|spec| spec.axis == Axis::Position) {
        let method = position(&harness_core::Arm::new(spec.id)).unwrap();
        let kind = method.kind();
        assert_eq!(kind.changes.is_empty(), spec.id == "none", "{}", spec.id);
        let reach = method.reach(256).unwrap();
        let rotary = Rotary::new(10_000.0, 32, 256);
        let rewritten =
            [100, 1000].map(|n| method.scaled(&rotary, n)).iter().any(|s| s.frequencies != rotary.frequencies);
        let defaults_change_something = spec.id != "longrope";
        assert_eq!(rewritten, kind.rewrites_frequencies() && defaults_change_something, "{}", spec.id);
        let moved = reach.as_ref().is_some_and(|reach| {
            let rows = distances(&**reach, 0..600);
            rows.iter()
                .enumerate()
                .any(|(i, row)| row.iter().enumerate().any(|(j, d)| d.is_some_and(|d| d != (i - j) as f32)))
        });
        assert_eq!(moved, kind.changes.contains(&Change::Distances), "{}", spec.id);
        let masked = reach.as_ref().is_some_and(|reach| {
            let looks = last_block(&**reach, 599..600);
            looks.iter().any(|look| look.chosen.is_some()) || distances(&**reach, 599..600)[0].contains(&None)
        });
        assert_eq!(masked, kind.changes.contains(&Change::Mask), "{}", spec.id);
    }
}

proptest! {
    /// Keys that each query of a window sees are as many as its publication counts, and no remapped distance exceeds training.
    #[test]
    fn counts_and_distances_stay_in_bounds(trained in 32usize..200, part in 1usize..8, globals in 0usize..20, length in 1usize..500) {
        let window = (trained / 8 * part).max(2);
        let seen = |row: &Vec<Option<f32>>| row.iter().flatten().count();
        let lambda = distances(&*reach(&format!("lm-infinite(window={window}, globals={globals})"), trained), 0..length);
        for (i, row) in lambda.iter().enumerate() {
            prop_assert_eq!(seen(row), (i + 1).min(window) + globals.min((i + 1).saturating_sub(window)));
        }
        let (count, k) = (|looks: &[Look]| looks.iter().map(|look| look.seen[0].len().min(look.chosen.unwrap_or(usize::MAX))).sum::<usize>(), globals + 1);
        let between = reach(&format!("lm-infinite(window={window}, globals={globals}, top_k={k})"), trained);
        let retrieving = reach(&format!("unlimiformer(k={k}, window={window})"), trained.max(window + k));
        for i in [0, length / 2, length - 1] {
            let (local, first) = ((i + 1).min(window), globals.min((i + 1).saturating_sub(window)));
            let rest = i + 1 - local - first;
            prop_assert_eq!(count(&last_block(&*between, i..i + 1)), local + first + rest.min(k));
            let seen = if i < trained.max(window + k) { i + 1 } else { window + k.min(i + 1 - window) };
            prop_assert_eq!(count(&last_block(&*retrieving, i..i + 1)), seen);
        }
        let grouped = reach(&format!("self-extend(group=2, window={})", window / 2 * 2), trained);
        let reachable = length.min(grouped.longest().unwrap());
        for arm in [grouped, reach(&format!("rerope(window={window})"), trained), reach("dca", trained), reach("unlimiformer", trained)] {
            for row in distances(&*arm, 0..reachable) {
                for distance in row {
                    prop_assert!(distance.is_some_and(|d| (0.0..trained as f32).contains(&d)), "{arm:?}: {distance:?}");
                }
            }
        }
    }
}
