//! The scan and the convolution against loops in f64, against themselves in chunks, and against finite differences.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Numbers between −1 and 1, the same for the same seed.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Inputs of a scan: `x`, `delta`, `rate`, `enter`, `read`, `skip`.
fn drawn(scan: &Scan, seed: u64) -> [Vec<f32>; 6] {
    let (wide, narrow) = (scan.batch * scan.length * scan.channels, scan.batch * scan.length * scan.states);
    [
        numbers(wide, seed),
        numbers(wide, seed + 1).iter().map(|value| 0.6 + 0.5 * value).collect(),
        numbers(scan.channels * scan.states, seed + 2).iter().map(|value| -1.1 + value).collect(),
        numbers(narrow, seed + 3),
        numbers(narrow, seed + 4),
        numbers(scan.channels, seed + 5),
    ]
}

fn inputs(values: &[Vec<f32>; 6]) -> Inputs<'_> {
    let [x, delta, rate, enter, read, skip] = values;
    Inputs { x, delta, rate, enter, read, skip }
}

/// The recurrence as it is written down, in f64: outputs and last states.
fn oracle(scan: &Scan, values: &[Vec<f32>; 6], before: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let [x, delta, rate, enter, read, skip] =
        values.each_ref().map(|v| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
    let mut h: Vec<f64> = before.iter().map(|&v| f64::from(v)).collect();
    let mut out = vec![0.0; x.len()];
    for b in 0..scan.batch {
        for t in 0..scan.length {
            for d in 0..scan.channels {
                let at = (b * scan.length + t) * scan.channels + d;
                out[at] = skip[d] * x[at];
                for n in 0..scan.states {
                    let (map, own) =
                        ((b * scan.length + t) * scan.states + n, (b * scan.channels + d) * scan.states + n);
                    h[own] = (delta[at] * rate[d * scan.states + n]).exp() * h[own] + delta[at] * enter[map] * x[at];
                    out[at] += read[map] * h[own];
                }
            }
        }
    }
    (out, h)
}

fn near(found: &[f32], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((f64::from(*found) - wanted).abs() <= tolerance * wanted.abs().max(1.0), "{found} for {wanted}");
    }
}

/// Tokens `from..to` of every sequence of `(batch, length, width)`.
fn part(values: &[f32], length: usize, width: usize, from: usize, to: usize) -> Vec<f32> {
    values.chunks(length * width).flat_map(|sequence| sequence[from * width..to * width].to_vec()).collect()
}

#[test]
fn a_state_that_forgets_a_thousandth_a_token_nears_a_thousand() {
    let states = |length: usize| {
        let scan = Scan { batch: 1, length, channels: 1, states: 1 };
        let one = vec![1.0; length];
        let values = [one.clone(), one.clone(), vec![0.999f32.ln()], one.clone(), one, vec![0.0]];
        let mut carried = [0.0];
        let out = scan.forward(&inputs(&values), &mut carried);
        assert_eq!(out[length - 1], carried[0]);
        f64::from(carried[0])
    };
    // f32 holds the decay itself to 6e-8, of which a thousand tokens make 6e-5.
    for (length, wanted) in [(16, 15.880_558), (256, 225.957_181), (4096, 983.394_966)] {
        let mut exact = 0.0f64;
        (0..length).for_each(|_| exact = 0.999 * exact + 1.0);
        assert!((exact - wanted).abs() < 1e-6, "{exact} for {wanted}");
        assert!((states(length) / wanted - 1.0).abs() < 1e-4, "{} for {wanted}", states(length));
    }
}

#[test]
fn gradients_are_finite_differences() {
    let scan = Scan { batch: 2, length: 5, channels: 3, states: 4 };
    let values = drawn(&scan, 11);
    let before = numbers(scan.carried(), 21);
    let weights = numbers(values[0].len(), 31);
    let loss = |values: &[Vec<f32>; 6]| {
        let out = oracle(&scan, values, &before).0;
        out.iter().zip(&weights).map(|(out, weight)| out * f64::from(*weight)).sum::<f64>()
    };
    let found = scan.gradient(&inputs(&values), &before, &weights);
    let found = [found.x, found.delta, found.rate, found.enter, found.read, found.skip];
    for (input, found) in found.iter().enumerate() {
        let wanted: Vec<f64> = (0..values[input].len())
            .map(|at| {
                let (mut up, mut down) = (values.clone(), values.clone());
                up[input][at] += 1e-3;
                down[input][at] -= 1e-3;
                (loss(&up) - loss(&down)) / f64::from(up[input][at] - down[input][at])
            })
            .collect();
        near(found, &wanted, 2e-5);
    }
}

#[test]
fn nothing_flows_into_the_chunk_before() {
    // Behind given states, the gradient of a chunk is that of its own tokens: of a whole pass it differs where chunks meet.
    let whole = Scan { batch: 1, length: 6, channels: 2, states: 3 };
    let half = Scan { length: 3, ..whole };
    let values = drawn(&whole, 41);
    let mut later = vec![0.0; 12];
    later[6..].fill(1.0);
    let through = whole.gradient(&inputs(&values), &vec![0.0; whole.carried()], &later);
    assert!(through.x[..6].iter().any(|value| *value != 0.0), "a whole pass reaches the first half");
    let cut = |from: usize, to: usize| {
        let [x, delta, rate, enter, read, skip] = &values;
        let (wide, narrow) = (|v: &[f32]| part(v, 6, 2, from, to), |v: &[f32]| part(v, 6, 3, from, to));
        [wide(x), wide(delta), rate.clone(), narrow(enter), narrow(read), skip.clone()]
    };
    let mut carried = vec![0.0; whole.carried()];
    half.forward(&inputs(&cut(0, 3)), &mut carried);
    let own = half.gradient(&inputs(&cut(3, 6)), &carried, &[1.0; 6]);
    assert_eq!(own.x, through.x[6..], "within the chunk nothing changes");
    assert_eq!(own.enter.len(), 9);
    // The rates are reached through the states of the first half, and not when those are given.
    assert_ne!(own.rate, through.rate);
}

#[test]
fn the_convolution_and_its_gradients_have_known_answers() {
    let shape = Convolution { batch: 1, length: 3, channels: 1, taps: 2 };
    let mut carried = [10.0];
    let out = shape.forward(&[1.0, 2.0, 3.0], &[0.5, 2.0], &[1.0], &mut carried);
    assert_eq!((out.as_slice(), carried), ([8.0, 5.5, 8.0].as_slice(), [3.0]));
    let gradient = shape.gradient(&[1.0, 2.0, 3.0], &[0.5, 2.0], &[10.0], &[1.0, 1.0, 1.0]);
    assert_eq!(gradient.x, [2.5, 2.5, 2.0], "the input before the first token gets none");
    assert_eq!((gradient.weight, gradient.bias), (vec![13.0, 6.0], vec![3.0]));
}

proptest! {
    #[test]
    fn outputs_and_states_are_those_of_the_recurrence(
        batch in 1usize..4, length in 1usize..20, channels in 1usize..6, states in 1usize..18, seed in 1u64..1000,
    ) {
        let scan = Scan { batch, length, channels, states };
        let values = drawn(&scan, seed);
        let mut carried = numbers(scan.carried(), seed + 9);
        let (out, last) = oracle(&scan, &values, &carried);
        near(&scan.forward(&inputs(&values), &mut carried), &out, 1e-5);
        near(&carried, &last, 1e-5);
    }

    #[test]
    fn chunks_with_carried_states_are_one_pass(cut in 1usize..15, taps in 1usize..5, seed in 1u64..1000) {
        let scan = Scan { batch: 2, length: 16, channels: 3, states: 4 };
        let [x, delta, rate, enter, read, skip] = drawn(&scan, seed);
        let (weight, bias) = (numbers(3 * taps, seed + 7), numbers(3, seed + 8));
        let run = |bounds: &[usize]| {
            let mut states = vec![0.0; scan.carried()];
            let mut last = vec![0.0; 2 * (taps - 1) * 3];
            let mut outs = [Vec::new(), Vec::new()];
            for bound in bounds.windows(2) {
                let (from, to) = (bound[0], bound[1]);
                let wide = |v: &[f32]| part(v, 16, 3, from, to);
                let narrow = |v: &[f32]| part(v, 16, 4, from, to);
                let shape = Convolution { batch: 2, length: to - from, channels: 3, taps };
                let mixed = shape.forward(&wide(&x), &weight, &bias, &mut last);
                let (delta, enter, read) = (wide(&delta), narrow(&enter), narrow(&read));
                let inputs = Inputs { x: &mixed, delta: &delta, rate: &rate, enter: &enter, read: &read, skip: &skip };
                let out = Scan { length: to - from, ..scan }.forward(&inputs, &mut states);
                outs.iter_mut().zip(out.chunks((to - from) * 3)).for_each(|(all, out)| all.extend_from_slice(out));
            }
            (outs, states, last)
        };
        prop_assert_eq!(run(&[0, 16]), run(&[0, cut, 16]));
    }
}
