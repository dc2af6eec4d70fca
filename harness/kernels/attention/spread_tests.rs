use super::*;
use crate::attention::inputs::{D, HEADS, Inputs, shape};
use crate::vector::available;

/// From all probabilities of a row, in double precision.
fn oracle(parts: &[(Part<'_>, usize)], slopes: Option<&[f32]>) -> Vec<[f64; 2]> {
    let queries = parts[0].0.seen.len();
    let rows = (0..HEADS).flat_map(|head| (0..queries).map(move |query| (head, query)));
    rows.map(|(head, query)| {
        let mut scores: Vec<(f64, bool)> = Vec::new();
        for (part, first) in parts {
            let score = |key: usize| {
                let (q, k) = (&part.q[(query * HEADS + head) * D..], &part.k[(key * 2 + head / 2) * D..]);
                let dot: f64 = (0..D).map(|l| f64::from(q[l]) * f64::from(k[l])).sum();
                let apart = f64::from(part.places.1[key]) - f64::from(part.places.0[query]);
                dot * f64::from(0.3f32) + slopes.map_or(0.0, |slopes| f64::from(slopes[head])) * apart
            };
            let mut seen: Vec<(f64, bool)> = part.seen[query].clone().map(|key| (score(key), key < *first)).collect();
            seen.sort_by(|a, b| b.0.total_cmp(&a.0));
            seen.truncate(part.chosen.unwrap_or(usize::MAX));
            scores.extend(seen);
        }
        let all: f64 = scores.iter().map(|(score, _)| score.exp()).sum();
        let entropy = scores.iter().map(|(score, _)| score.exp() / all).map(|p| -p * p.ln()).sum();
        [entropy, scores.iter().filter(|(_, first)| *first).map(|(score, _)| score.exp() / all).sum()]
    })
    .collect()
}

#[test]
fn spreads_are_those_of_whole_rows_of_probabilities_on_every_instruction_set() {
    let slopes = [0.05, 0.025, 0.0125, 0.0625];
    for queries in [1_usize, 33, 131] {
        let before = 230 - queries;
        let far = |i: usize| (before + i).saturating_sub(70);
        let window = (0..queries).map(|i| far(i)..before + i + 1).collect();
        let chosen = (0..queries).map(|i| 0..far(i)).collect();
        let inputs = [Inputs::in_order(230, 0.1, window, None), Inputs::in_order(230, 0.9, chosen, Some(7))];
        let parts = inputs.each_ref().map(|inputs| (inputs.part(), 3));
        for slopes in [None, Some(&slopes[..])] {
            let found = spread(&parts, &shape(slopes));
            for (found, [entropy, first]) in found.iter().zip(oracle(&parts, slopes)) {
                let far = (f64::from(found.entropy) - entropy).abs().max((f64::from(found.first) - first).abs());
                assert!(far < 1e-5, "{found:?} for {entropy} and {first}");
            }
            assert_eq!(found.len(), HEADS * queries);
            for set in available() {
                assert_eq!(found, spread_on(set, &parts, &shape(slopes)), "{set:?}");
            }
        }
    }
}

#[test]
fn entropies_have_known_answers() {
    for keys in [256, 4096] {
        let mut inputs = Inputs::in_order(keys, 0.2, std::iter::once(0..keys).collect(), None);
        inputs.q.fill(0.0);
        let uniform = spread(&[(inputs.part(), 4)], &shape(None));
        for Spread { entropy, first } in uniform {
            assert!((f64::from(entropy) - (keys as f64).ln()).abs() < 1e-6, "{entropy}");
            assert!((f64::from(first) - 4.0 / keys as f64).abs() < 1e-9, "{first}");
        }
        // One key that gets everything.
        inputs.q.fill(1.0);
        inputs.k.fill(0.0);
        inputs.k[2 * 2 * D..3 * 2 * D].fill(100.0);
        for (firsts, mass) in [(2, 0.0), (3, 1.0)] {
            for Spread { entropy, first } in spread(&[(inputs.part(), firsts)], &shape(None)) {
                assert_eq!((entropy, first), (0.0, mass));
            }
        }
    }
    // Two stretches that get alike.
    let halves = [3usize, 5].map(|keys| {
        let mut inputs = Inputs::in_order(keys, 0.2, std::iter::once(0..keys).collect(), None);
        inputs.q.fill(0.0);
        inputs
    });
    let found = spread(&[(halves[0].part(), 2), (halves[1].part(), 0)], &shape(None));
    assert!((found[0].entropy - 8f32.ln()).abs() < 1e-6 && (found[0].first - 0.25).abs() < 1e-7);
    assert!(spread(&[], &shape(None)).is_empty());
}
