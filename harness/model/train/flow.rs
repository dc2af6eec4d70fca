//! Rotary frequencies that flow with the length (CLEX), with gradients of the net that moves them.

use candle_core::{Result, Tensor};
use harness_kernels::flow::{Bend, Flow};

use crate::tensor::from_values;

/// A row of values.
fn row(values: &[f64]) -> Result<Tensor> {
    from_values(values.iter().map(|value| *value as f32).collect(), (1, values.len()))
}

/// Frequencies `(pairs)` at a time, of those in training, for a net of `up (width, pairs)` and `down (pairs, width)`: the steps of
/// [`Flow::solve`] in f32.
pub(super) fn frequencies(flow: &Flow, trained: &[f64], up: &Tensor, down: &Tensor, time: f64) -> Result<Tensor> {
    let (up, down) = (up.t()?, down.t()?);
    let speed = |time: f64, z: &Tensor| {
        let inner = (z + row(&flow.raised(time))?)?.matmul(&up)?;
        let bent = match flow.bend {
            Bend::Silu => inner.silu()?,
            Bend::Tanh => inner.tanh()?,
        };
        bent.matmul(&down)? + row(&flow.drift(time))?
    };
    let begun: Vec<f64> = trained.iter().map(|frequency| frequency.ln()).collect();
    let mut z = row(&begun)?;
    for (time, h) in flow.steps(1.0, time) {
        let after = |by: f64, speed: &Tensor| &z + (speed * by)?;
        let first = speed(time, &z)?;
        let second = speed(time + h / 2.0, &after(h / 2.0, &first)?)?;
        let third = speed(time + h / 2.0, &after(h / 2.0, &second)?)?;
        let fourth = speed(time + h, &after(h, &third)?)?;
        let sum = (((first + (second * 2.0)?)? + (third * 2.0)?)? + fourth)?;
        z = (&z + (sum * (h / 6.0))?)?;
    }
    z.exp()?.flatten_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use candle_core::Var;
    use harness_kernels::flow::Net;

    use super::*;
    use crate::tensor::with_values;

    #[test]
    fn frequencies_are_those_of_the_solver_and_their_gradients_are_true() {
        for bend in [Bend::Silu, Bend::Tanh] {
            let flow = Flow { base: 100.0, pairs: 3, bend, step: 0.25 };
            let trained = [1.0, 0.2, 0.05];
            let sample =
                |count: usize, by: f64| (0..count).map(|i| (0.2 * (by * i as f64).sin()) as f32).collect::<Vec<f32>>();
            let net = Net { up: sample(12, 1.0), down: sample(12, 2.0) };
            let var = |values: &[f32], shape: (usize, usize)| {
                Var::from_tensor(&from_values(values.to_vec(), shape).unwrap()).unwrap()
            };
            let (up, down) = (var(&net.up, (4, 3)), var(&net.down, (3, 4)));
            let found = frequencies(&flow, &trained, &up, &down, 3.0).unwrap();
            let expected = flow.frequencies(Some(&net), &trained, 3.0);
            let values = with_values(&found, <[f32]>::to_vec).unwrap();
            assert!(
                values.iter().zip(&expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5),
                "{values:?} {expected:?}"
            );
            let gradients = found.sum_all().unwrap().backward().unwrap();
            let sum = |net: &Net| flow.frequencies(Some(net), &trained, 3.0).iter().sum::<f64>();
            for (of_up, variable) in [(true, &up), (false, &down)] {
                let slope = gradients.get(variable.as_tensor()).unwrap().contiguous().unwrap();
                let slope = with_values(&slope, <[f32]>::to_vec).unwrap();
                for (at, slope) in slope.iter().enumerate() {
                    let moved = |by: f32| {
                        let mut net = net.clone();
                        if of_up {
                            net.up[at] += by;
                        } else {
                            net.down[at] += by;
                        }
                        sum(&net)
                    };
                    let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                    assert!((f64::from(*slope) - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{bend:?} {at}");
                }
            }
            assert_eq!(with_values(&frequencies(&flow, &trained, &up, &down, 1.0).unwrap(), |v| v[0]).unwrap(), 1.0);
        }
    }
}
