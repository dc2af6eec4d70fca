use super::*;
use crate::attention::attention;
use crate::attention::inputs::{D, HEADS, Inputs, sample, shape};
use crate::vector::available;

/// One softmax over all that a query sees, in double precision.
fn oracle(parts: &[Part<'_>], slopes: Option<&[f32]>) -> Vec<f64> {
    let queries = parts[0].seen.len();
    let mut out = vec![0.0; queries * HEADS * D];
    for (row, out) in out.chunks_exact_mut(D).enumerate() {
        let (query, head) = (row / HEADS, row % HEADS);
        let mut seen: Vec<(f64, &[f32])> = Vec::new();
        for part in parts {
            for key in part.seen[query].clone() {
                let at = (key * 2 + head / 2) * D;
                let dot: f64 = (0..D).map(|l| f64::from(part.q[row * D + l]) * f64::from(part.k[at + l])).sum();
                let apart = f64::from(part.places.1[key]) - f64::from(part.places.0[query]);
                let slope = slopes.map_or(0.0, |slopes| f64::from(slopes[head]));
                seen.push((dot * f64::from(0.3f32) + slope * apart, &part.v[at..at + D]));
            }
        }
        let max = seen.iter().fold(f64::MIN, |max, (score, _)| max.max(*score));
        let sum: f64 = seen.iter().map(|(score, _)| (score - max).exp()).sum();
        for (score, value) in &seen {
            for (out, value) in out.iter_mut().zip(*value) {
                *out += (score - max).exp() / sum * f64::from(*value);
            }
        }
    }
    out
}

#[test]
fn parts_share_one_softmax_on_every_instruction_set() {
    let slopes = [0.5, 0.25, 0.125, 0.0625];
    for queries in [1_usize, 3, 40, 131] {
        let before = 170 - queries;
        // A window, a few first keys for queries beyond it, and a part that most queries see nothing of.
        let window = (0..queries).map(|i| (before + i).saturating_sub(70)..before + i + 1).collect();
        let first = (0..queries).map(|i| 0..(before + i).saturating_sub(70).min(5)).collect();
        let odd = (0..queries).map(|i| if i % 37 == 5 { 3..90 } else { 0..0 }).collect();
        let inputs =
            [Inputs::new(170, 0.1, window, None), Inputs::new(5, 0.7, first, None), Inputs::new(101, 0.9, odd, None)];
        let parts = inputs.each_ref().map(Inputs::part);
        for slopes in [None, Some(&slopes[..])] {
            let exact = oracle(&parts, slopes);
            let found = attention_of_parts(&parts, &shape(slopes));
            for (a, e) in found.iter().zip(&exact) {
                assert!((f64::from(*a) - e).abs() < 3e-6, "{queries} queries: {a} for {e}");
            }
            for set in available() {
                assert_eq!(found, attention_of_parts_on(set, &parts, &shape(slopes)), "{set:?}");
            }
        }
    }
}

#[test]
fn biases_go_by_the_distance_of_places() {
    let biases = sample(HEADS * 60, 0.8);
    for queries in [1_usize, 40] {
        let places = (0..queries).map(|i| (10 + i) as f32).collect();
        let mut inputs = Inputs::new(50, 0.2, (0..queries).map(|i| i..i + 11).collect(), None);
        inputs.places = (places, (0..50).map(|j| j as f32).collect());
        let found =
            attention_of_parts(&[inputs.part()], &Shape { biases: Some(Biases::Table(&biases)), ..shape(None) });
        // Linear biases are such biases.
        let slopes = [0.1, 0.2, 0.3, 0.4];
        let linear: Vec<f32> = slopes.iter().flat_map(|slope| (0..60).map(move |d| -slope * d as f32)).collect();
        let by_table =
            attention_of_parts(&[inputs.part()], &Shape { biases: Some(Biases::Table(&linear)), ..shape(None) });
        let by_slopes = attention_of_parts(&[inputs.part()], &shape(Some(&slopes)));
        assert!(by_table.iter().zip(&by_slopes).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_ne!(found, by_table);
    }
}

#[test]
fn a_part_that_is_everything_is_plain_attention_to_the_bit() {
    let seen = (0..100).map(|i| 0..i + 1).collect();
    let inputs = Inputs::new(100, 0.3, seen, None);
    let found = attention_of_parts(&[inputs.part()], &shape(None));
    let whole = Shape { queries: 100, keys: 100, key_batch_stride: 100 * 2 * D, ..shape(None) };
    assert_eq!(found, attention(&inputs.q, &inputs.k, &inputs.v, &whole).0);
}

#[test]
fn keys_outside_of_what_is_seen_do_not_count_even_where_they_are_not_numbers() {
    let seen: Vec<Range<usize>> = (0..40).map(|i| i..i + 30).collect();
    let mut inputs = Inputs::new(70, 0.3, seen, None);
    let clean = attention_of_parts(&[inputs.part()], &shape(None));
    inputs.k[..2 * D].fill(f32::NAN);
    let found = attention_of_parts(&[inputs.part()], &shape(None));
    let (first, rest) = found.split_at(HEADS * D);
    assert!(first.iter().all(|value| value.is_nan()));
    assert_eq!(rest, &clean[HEADS * D..]);
}
