//! Rotary frequencies that flow with the length of a text by an ordinary differential equation (CLEX).

/// What stands between the two maps of a net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bend {
    /// `x · sigmoid(x)`.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Bend {
    fn of(self, x: f64) -> f64 {
        match self {
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
        }
    }
}

/// Two maps without biases, row-major in f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Net {
    /// `(width, pairs)`.
    pub up: Vec<f32>,
    /// `(pairs, width)`.
    pub down: Vec<f32>,
}

impl Net {
    /// What the net adds to the speed of each pair's logarithm.
    fn push(&self, bend: Bend, input: &[f64]) -> Vec<f64> {
        let dot = |row: &[f32], x: &[f64]| row.iter().zip(x).map(|(a, b)| f64::from(*a) * b).sum::<f64>();
        let inner: Vec<f64> = self.up.chunks_exact(input.len()).map(|row| bend.of(dot(row, input))).collect();
        self.down.chunks_exact(inner.len().max(1)).map(|row| dot(row, &inner)).collect()
    }
}

/// The equation of `z = ln θ` in the time `t`, which is the length of a text over that of the training:
/// `dz/dt = down · bend(up · (z + ln θ_NTK(t))) + d ln θ_NTK/dt`, where `θ_NTK(t)` are the frequencies of the base
/// `b · (2t − 1)^(d/(d−2))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    /// `b`.
    pub base: f64,
    /// `d/2`, at least 2.
    pub pairs: usize,
    /// What stands between the maps of the net.
    pub bend: Bend,
    /// Longest step of the solver.
    pub step: f64,
}

impl Flow {
    fn each(&self, of: impl Fn(f64) -> f64) -> Vec<f64> {
        (0..self.pairs).map(|i| of(i as f64)).collect()
    }

    /// `2t − 1`, by which NTK-aware scaling stretches at a time.
    fn stretch(time: f64) -> f64 {
        (2.0 * time - 1.0).max(1.0)
    }

    /// `ln θ_NTK(t)` of each pair.
    pub fn raised(&self, time: f64) -> Vec<f64> {
        let d = 2.0 * self.pairs as f64;
        let logarithm = self.base.ln() + d / (d - 2.0) * Self::stretch(time).ln();
        self.each(|i| -2.0 * i / d * logarithm)
    }

    /// `d ln θ_NTK/dt` of each pair.
    pub fn drift(&self, time: f64) -> Vec<f64> {
        let d = 2.0 * self.pairs as f64;
        self.each(|i| -2.0 * i / (d - 2.0) * 2.0 / Self::stretch(time))
    }

    /// Where steps of the solver begin and how long they are, all alike.
    pub fn steps(&self, from: f64, to: f64) -> Vec<(f64, f64)> {
        let count = ((to - from) / self.step - 1e-9).ceil().max(0.0);
        (0..count as usize).map(|at| (from + (to - from) * at as f64 / count, (to - from) / count)).collect()
    }

    /// `z` at a time, of `z` at an earlier one, by the classic Runge-Kutta method of order four. Without a net it is that of a net of
    /// zeros.
    pub fn solve(&self, net: Option<&Net>, z: &[f64], from: f64, to: f64) -> Vec<f64> {
        let speed = |time: f64, z: &[f64]| {
            let mut speed = self.drift(time);
            if let Some(net) = net {
                let input: Vec<f64> = z.iter().zip(self.raised(time)).map(|(a, b)| a + b).collect();
                speed.iter_mut().zip(net.push(self.bend, &input)).for_each(|(speed, push)| *speed += push);
            }
            speed
        };
        let after =
            |z: &[f64], by: f64, speed: &[f64]| z.iter().zip(speed).map(|(z, v)| z + by * v).collect::<Vec<f64>>();
        self.steps(from, to).into_iter().fold(z.to_vec(), |z, (time, h)| {
            let first = speed(time, &z);
            let second = speed(time + h / 2.0, &after(&z, h / 2.0, &first));
            let third = speed(time + h / 2.0, &after(&z, h / 2.0, &second));
            let fourth = speed(time + h, &after(&z, h, &third));
            let mean = |i: usize| (first[i] + 2.0 * second[i] + 2.0 * third[i] + fourth[i]) / 6.0;
            z.iter().enumerate().map(|(i, z)| z + h * mean(i)).collect()
        })
    }

    /// Frequencies at a time, of those in training; at time 1 they are these, to the bit.
    pub fn frequencies(&self, net: Option<&Net>, trained: &[f64], time: f64) -> Vec<f64> {
        if time <= 1.0 {
            return trained.to_vec();
        }
        let begun: Vec<f64> = trained.iter().map(|frequency| frequency.ln()).collect();
        self.solve(net, &begun, 1.0, time).iter().map(|z| z.exp()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(flow: &Flow) -> Vec<f64> {
        flow.each(|i| flow.base.powf(-i / flow.pairs as f64))
    }

    #[test]
    fn without_a_net_it_is_ntk_aware_scaling_by_two_times_the_length_less_one() {
        let flow = Flow { base: 10_000.0, pairs: 4, bend: Bend::Silu, step: 0.1 };
        let found = flow.frequencies(None, &plain(&flow), 4.0);
        for (a, b) in found.iter().zip([1.0, 0.052_276, 0.002_733, 0.000_143]) {
            assert!((a - b).abs() < 6e-7, "{found:?}");
        }
        for (a, b) in found.iter().zip(flow.raised(4.0)) {
            assert!((a.ln() - b).abs() < 1e-4, "{found:?}");
        }
        let zeros = Net { up: vec![0.3; 8 * 4], down: vec![0.0; 4 * 8] };
        assert_eq!(flow.frequencies(Some(&zeros), &plain(&flow), 4.0), found);
    }

    #[test]
    fn what_flows_on_from_between_arrives_at_the_same_place() {
        let flow = Flow { base: 10_000.0, pairs: 3, bend: Bend::Tanh, step: 0.05 };
        let sample = |count: usize, by: f64| (0..count).map(|i| (by * (i as f64).sin()) as f32).collect::<Vec<f32>>();
        let net = Net { up: sample(15, 0.2), down: sample(15, 0.1) };
        let begun: Vec<f64> = plain(&flow).iter().map(|f| f.ln()).collect();
        let half = flow.solve(Some(&net), &begun, 1.0, 2.0);
        let (twice, once) = (flow.solve(Some(&net), &half, 2.0, 4.0), flow.solve(Some(&net), &begun, 1.0, 4.0));
        assert!(twice.iter().zip(&once).all(|(a, b)| (a - b).abs() < 1e-12), "{twice:?} {once:?}");
        let without = flow.solve(None, &begun, 1.0, 4.0);
        assert!(once.iter().zip(&without).any(|(a, b)| (a - b).abs() > 0.05), "the net does nothing");
        assert_eq!(flow.frequencies(Some(&net), &plain(&flow), 1.0), plain(&flow));
    }
}
