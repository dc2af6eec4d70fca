#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const X: [f32; 9] = [0.5, -7.0, 1.0, -1.0, 3.0, 2.5, 0.2, 9.0, -0.4];
/// Rows are outputs.
const W: [f32; 6] = [1.0, 0.5, -1.0, -2.0, 0.25, 3.0];

const RULE: Rule = Rule { beta: 1.0, centre: Centre::Median, max_expand: 8.0, flatten_weights: false };

/// With the threshold of the hand example, 2.5: the median of 1, 9 and 2.5.
fn example() -> Flattening {
    Flattening::new(&[1.0, 9.0, 2.5], &[2.0, 0.5, 3.0], vec![1.0; 3], RULE)
}

fn product(x: &[f32], w: &[f32], cols: usize) -> Vec<f64> {
    let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    x.chunks(cols).flat_map(|x| w.chunks(cols).map(move |w| dot(x, w))).collect()
}

#[test]
fn three_channels_by_hand() {
    let flattening = example();
    assert_eq!((flattening.threshold, flattening.pieces.as_slice()), (2.5, [1, 4, 1].as_slice()));
    let split = flattening.split(&X);
    let width = flattening.width();
    assert_eq!(width, 32);
    let of_the_second = |row: usize| [1, 3, 4, 5].map(|at| split[row * width + at]);
    assert_eq!(of_the_second(0), [-2.5, -2.5, -2.0, -0.0]);
    assert_eq!(of_the_second(1), [2.5, 0.5, 0.0, 0.0]);
    assert_eq!(of_the_second(2), [2.5, 2.5, 2.5, 1.5]);
    assert_eq!(product(&split, &flattening.repeat(&W), width), product(&X, &W, 3));
}

#[test]
fn codes_of_pieces_add_up_to_the_code_of_the_whole() {
    let flattening = Arc::new(example());
    let (codes, weight_scale) = flattening.weight_codes(&W, 4);
    let map = FlattenedMap { flattening, rows: 2, bits: 4, codes: codes.into(), weight_scale };
    assert!((map.input_scale() - 0.357_142_9).abs() < 1e-6);
    let saturation = Saturation::default();
    let codes = map.round(&X, &saturation);
    let of_the_second = |row: usize| [1, 3, 4, 5].map(|at| codes[row * 32 + at]);
    assert_eq!((of_the_second(0), of_the_second(2)), ([-7, -7, -6, 0], [7, 7, 7, 4]));
    assert_eq!(saturation.read(), (0, 9));
    // Beyond what calibration saw the last piece saturates, and it is counted.
    let codes = map.round(&[0.0, -30.0, 0.0], &saturation);
    assert_eq!([1, 3, 4, 5].map(|at| codes[at]), [-7; 4]);
    assert_eq!(saturation.read(), (1, 12));
}

#[test]
fn no_threshold_is_plain_rounding_of_the_tensor() {
    let rule = Rule { beta: 1e9, ..RULE };
    let flattening = Flattening::new(&[1.0, 9.0, 2.5], &[2.0, 0.5, 3.0], vec![1.0; 3], rule);
    assert_eq!((flattening.threshold, flattening.pairs.len()), (9.0, 3));
    assert_eq!(flattening.weight_codes(&W, 8).0[..3], [42, 21, -42]);
    // Little room makes the threshold rise until it fits.
    let tight = Flattening::new(&[1.0, 9.0, 2.5], &[2.0, 0.5, 3.0], vec![1.0; 3], Rule { max_expand: 1.4, ..RULE });
    assert!(tight.pairs.len() == 4 && tight.threshold > 4.0, "{tight:?}");
}

#[test]
fn middles_are_those_of_their_definitions() {
    let values = [4.0, 1.0, 2.0, 3.0, 10.0];
    assert_eq!(Centre::Median.of(&values), 3.0);
    assert_eq!(Centre::Mean.of(&values), 4.0);
    assert_eq!(Centre::Fence.of(&values), 4.0 + 1.5 * 2.0);
}

/// Splitting equally instead of by clamping would leave a rounding error for every piece.
#[test]
fn fake_and_packed_products_agree_and_pieces_cost_no_accuracy() {
    let (m, cols, rows) = (40, 64, 48);
    let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0;
    let x: Vec<f32> =
        (0..m * cols).map(|i| noise(i) * if i % cols == 5 || i % cols == 40 { 20.0 } else { 1.0 }).collect();
    let w: Vec<f32> = (0..rows * cols).map(|i| noise(i + 9999)).collect();
    let maxima = |values: &[f32]| -> Vec<f32> {
        (0..cols).map(|j| values.iter().skip(j).step_by(cols).fold(0.0, |a: f32, b| a.max(b.abs()))).collect()
    };
    for (bits, flatten_weights) in [(4, false), (8, false), (4, true), (8, true)] {
        let rule = Rule { beta: 1.3, max_expand: 2.0, flatten_weights, ..RULE };
        let flattening = Arc::new(Flattening::new(&maxima(&x), &maxima(&w), vec![1.0; cols], rule));
        assert!(flattening.pairs.len() > cols);
        let (codes, weight_scale) = flattening.weight_codes(&w, bits);
        let map = FlattenedMap { flattening, rows, bits, codes: codes.into(), weight_scale };
        let half = map.input_scale() / 2.0;
        let codes = map.round(&x, &Saturation::default());
        for (at, &x) in x.iter().enumerate() {
            let row = &codes[at / cols * map.flattening.width()..];
            let pieces = row.iter().zip(&map.flattening.pairs);
            let own = pieces.filter(|(_, pair)| pair.column as usize == at % cols && pair.weight == 0);
            let sum: i32 = own.map(|(&code, _)| i32::from(code)).sum();
            assert!((sum as f32 * map.input_scale() - x).abs() <= half * 1.0001, "{bits} {at}");
        }
        let operators = FlattenedOperators { site: "w".to_owned(), map };
        let (fake, packed) = (operators.fake(), operators.packed().unwrap());
        let (mut a, mut b) = (vec![0.0; m * rows], vec![0.0; m * rows]);
        fake.multiply(&x, m, &mut a);
        packed.multiply(&x, m, &mut b);
        let most = a.iter().fold(0.0_f32, |most, a| most.max(a.abs()));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-5 * most), "{bits}");
        assert_eq!(fake.values().len(), packed.values().len());
        assert!(fake.values().iter().zip(packed.values()).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

proptest! {
    #[test]
    fn split_and_repeated_products_are_the_product(
        x in prop::collection::vec(-50.0_f32..50.0, 12), w in prop::collection::vec(-4.0_f32..4.0, 8), beta in 0.2_f64..3.0,
        flatten_weights in any::<bool>(),
    ) {
        let maxima = |values: &[f32]| -> Vec<f32> {
            (0..4).map(|j| values.iter().skip(j).step_by(4).fold(0.0, |a: f32, b| a.max(b.abs()))).collect()
        };
        let rule = Rule { beta, max_expand: 60.0, flatten_weights, ..RULE };
        let flattening = Flattening::new(&maxima(&x), &maxima(&w), vec![1.0; 4], rule);
        let (split, repeated) = (flattening.split(&x), flattening.repeat(&w));
        prop_assert!(split.iter().all(|x| x.abs() <= flattening.threshold * 1.000_001));
        let (found, exact) = (product(&split, &repeated, flattening.width()), product(&x, &w, 4));
        for (found, exact) in found.iter().zip(&exact) {
            prop_assert!((found - exact).abs() < 1e-3, "{found} {exact}");
        }
        // The code of an input is that of its pieces together, whatever the threshold.
        for bits in [4, 8] {
            let largest = largest_code(bits);
            let scale = flattening.threshold / largest;
            for x in &x {
                let whole = nearest_whole(x / scale);
                let pieces: f32 = (0..300).map(|k| piece(whole, k, largest, false)).sum();
                let apart: f32 = (0..300).map(|k| nearest_whole(piece(*x, k, flattening.threshold, false) / scale)).sum();
                prop_assert_eq!(pieces, whole);
                prop_assert!((apart - whole).abs() <= 1.0);
            }
        }
    }
}
