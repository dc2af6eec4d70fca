use std::ops::Range;

use super::*;
use crate::attention::attention_of_parts;
use crate::attention::inputs::{D, HEADS, Inputs, SCALE, shape};
use crate::attention::parts::attention_of_parts_on;
use crate::vector::available;

/// All scores of all keys, sorted where some are chosen, and one softmax, in double precision.
fn oracle(parts: &[Part<'_>], slopes: Option<&[f32]>) -> Vec<f64> {
    let queries = parts[0].seen.len();
    let mut out = vec![0.0; queries * HEADS * D];
    for (row, out) in out.chunks_exact_mut(D).enumerate() {
        let (query, head) = (row / HEADS, row % HEADS);
        let mut attended: Vec<(f64, &[f32])> = Vec::new();
        for part in parts {
            let mut seen: Vec<(f64, usize)> = Vec::new();
            for key in part.seen[query].clone() {
                let at = (key * 2 + head / 2) * D;
                let dot: f64 = (0..D).map(|l| f64::from(part.q[row * D + l]) * f64::from(part.k[at + l])).sum();
                let apart = f64::from(part.places.1[key]) - f64::from(part.places.0[query]);
                let slope = slopes.map_or(0.0, |slopes| f64::from(slopes[head]));
                seen.push((dot * f64::from(SCALE) + slope * apart, key));
            }
            seen.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            seen.truncate(part.chosen.unwrap_or(usize::MAX));
            attended.extend(seen.iter().map(|(score, key)| (*score, &part.v[(key * 2 + head / 2) * D..][..D])));
        }
        let max = attended.iter().fold(f64::MIN, |max, (score, _)| max.max(*score));
        let sum: f64 = attended.iter().map(|(score, _)| (score - max).exp()).sum();
        for (score, value) in &attended {
            for (out, value) in out.iter_mut().zip(*value) {
                *out += (score - max).exp() / sum * f64::from(*value);
            }
        }
    }
    out
}

#[test]
fn chosen_keys_are_those_of_the_whole_matrix_of_scores_on_every_instruction_set() {
    let slopes = [0.5, 0.25, 0.125, 0.0625];
    for (queries, count) in [(1_usize, 1), (1, 70), (3, 5), (40, 1), (40, 64), (131, 100), (131, 7)] {
        let before = 230 - queries;
        let far = |i: usize| (before + i).saturating_sub(70);
        // Chosen ones of all that lie before a window; they come first and last.
        let window = (0..queries).map(|i| far(i)..before + i + 1).collect();
        let chosen = (0..queries).map(|i| 5..far(i).max(5)).collect();
        let first = (0..queries).map(|i| 0..far(i).min(5)).collect();
        let inputs = [
            Inputs::new(230, 0.9, chosen, Some(count)),
            Inputs::new(230, 0.1, window, None),
            Inputs::new(5, 0.7, first, Some(2)),
        ];
        let parts = inputs.each_ref().map(Inputs::part);
        for slopes in [None, Some(&slopes[..])] {
            let exact = oracle(&parts, slopes);
            let found = attention_of_parts(&parts, &shape(slopes));
            for (a, e) in found.iter().zip(&exact) {
                assert!((f64::from(*a) - e).abs() < 5e-6, "{count} for {queries} queries: {a} for {e}");
            }
            for set in available() {
                assert_eq!(found, attention_of_parts_on(set, &parts, &shape(slopes)), "{set:?}");
            }
        }
    }
}

#[test]
fn choosing_as_many_as_there_are_chooses_nothing() {
    for queries in [1_usize, 100] {
        let seen: Vec<Range<usize>> = (0..queries).map(|i| i / 3..i + 150 - queries).collect();
        let plain = Inputs::new(150, 0.4, seen.clone(), None);
        let expected = attention_of_parts(&[plain.part()], &shape(None));
        for count in [150, 1000] {
            let all = Inputs::new(150, 0.4, seen.clone(), Some(count));
            let found = attention_of_parts(&[all.part()], &shape(None));
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }
}

#[test]
fn a_query_alone_chooses_as_among_others() {
    let seen: Vec<Range<usize>> = (0..50).map(|i| 0..i + 100).collect();
    let all = Inputs::new(150, 0.6, seen, Some(9));
    let found = attention_of_parts(&[all.part()], &shape(None));
    let (last, one) = (49 * HEADS * D, std::array::from_fn::<_, 1, _>(|_| 0..149));
    let alone = Part { q: &all.q[last..], seen: &one, places: (&all.places.0[49..], &all.places.1), ..all.part() };
    let alone = attention_of_parts(&[alone], &shape(None));
    assert!(found[last..].iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn of_equal_scores_the_first_keys_are_chosen() {
    for queries in [1_usize, 40] {
        let mut inputs = Inputs::new(100, 0.6, vec![3..99; queries], Some(4));
        inputs.k = inputs.k[..2 * D].repeat(100);
        inputs.v = (0..100).flat_map(|key| [key as f32; 2 * D]).collect();
        let found = attention_of_parts(&[inputs.part()], &shape(None));
        assert!(found.iter().all(|value| (value - 4.5).abs() < 1e-5), "{found:?}");
    }
}

#[test]
fn what_is_not_a_number_is_not_lost() {
    for queries in [1_usize, 40] {
        let mut inputs = Inputs::new(100, 0.6, vec![0..100; queries], Some(4));
        inputs.k[70 * 2 * D] = f32::NAN;
        let found = attention_of_parts(&[inputs.part()], &shape(None));
        // Of the heads of its group alone.
        for (row, out) in found.chunks_exact(D).enumerate() {
            assert_eq!(out.iter().all(|value| value.is_nan()), row % HEADS < 2, "row {row}");
        }
    }
}

#[test]
fn largest_scores_are_held_whatever_their_order() {
    let scores = [3.0, -1.0, 7.0, 7.0, 0.0, -0.0, 2.0, 7.0];
    for (count, keys) in
        [(1, vec![2]), (2, vec![2, 3]), (3, vec![2, 3, 7]), (6, vec![0, 2, 3, 4, 6, 7]), (20, (0..8).collect())]
    {
        for step in [1, 3, 8] {
            let mut largest = Largest::new(count);
            for (at, scores) in scores.chunks(step).enumerate() {
                largest.offer(scores, at * step);
            }
            let found: Vec<u32> = largest.into_keys().iter().map(|scored| scored.key).collect();
            assert_eq!(found, keys);
        }
    }
}
