//! Non-linearities of the feed-forward part, gated or not, forwards and backwards.

use rayon::prelude::*;

use crate::buffer::{Shared, filled};
use crate::instruction_set;
use crate::vector::{Vector, WIDTH, exp, vectorised};

const CHUNK: usize = 1 << 13;

/// The non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)` with the exact Gaussian distribution function.
    Gelu,
    /// The tanh approximation of [`Activation::Gelu`].
    GeluTanh,
}

/// `activation(x)`, or `activation(x) · up` when `up` (same length) is given.
pub fn activate(kind: Activation, x: &[f32], up: Option<&[f32]>) -> Vec<f32> {
    assert!(up.is_none_or(|up| up.len() == x.len()), "gate and up differ in length");
    let set = instruction_set();
    filled(x.len(), |out| {
        let work = |(index, out): (usize, &mut [f32])| {
            let range = index * CHUNK..index * CHUNK + out.len();
            forward(set, kind, &x[range.clone()], up.map(|up| &up[range]), out);
        };
        if x.len() <= CHUNK {
            work((0, out));
        } else {
            out.par_chunks_mut(CHUNK).enumerate().for_each(work);
        }
    })
}

/// Gradients of [`activate`] with respect to `x` and `up`, given the gradient of its output.
pub fn activate_gradient(
    kind: Activation,
    x: &[f32],
    up: Option<&[f32]>,
    gradient: &[f32],
) -> (Vec<f32>, Option<Vec<f32>>) {
    assert!(x.len() == gradient.len() && up.is_none_or(|up| up.len() == x.len()), "gradient of another length");
    let set = instruction_set();
    let mut up_gradient = None;
    let input = filled(x.len(), |out| {
        let mut run = |up_out: Option<Shared>| {
            out.par_chunks_mut(CHUNK).enumerate().for_each(|(index, out)| {
                let range = index * CHUNK..index * CHUNK + out.len();
                // SAFETY: each task owns its chunk of the second output too.
                let up_out = up_out.map(|shared| unsafe { shared.slice(range.start, range.len()) });
                backward(set, kind, &x[range.clone()], up.map(|up| &up[range.clone()]), &gradient[range], out, up_out);
            });
        };
        if up.is_some() {
            up_gradient = Some(filled(x.len(), |up_out| run(Some(Shared::new(up_out)))));
        } else {
            run(None);
        }
    });
    (input, up_gradient)
}

/// The error function, absolute error below 5e-7 (a rational approximation on |x| ≤ 4).
#[inline(always)]
unsafe fn erf<V: Vector>(x: V) -> V {
    unsafe {
        let x = V::splat(-4.0).max(V::splat(4.0).min(x));
        let square = x.mul(x);
        let mut p = V::splat(-2.726_142_3e-10);
        for coefficient in
            [2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906_3e-4, -2.954_6e-3, -1.609_603_3e-2]
        {
            p = p.fma(square, V::splat(coefficient));
        }
        let mut q = V::splat(-1.456_607_2e-5);
        for coefficient in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
            q = q.fma(square, V::splat(coefficient));
        }
        x.mul(p).div(q)
    }
}

/// The value and the derivative.
#[inline(always)]
unsafe fn evaluate<V: Vector>(kind: Activation, x: V) -> (V, V) {
    unsafe {
        let one = V::splat(1.0);
        let half = V::splat(0.5);
        match kind {
            Activation::Silu => {
                let sigmoid = one.div(one.add(exp(V::splat(0.0).sub(x))));
                let value = x.mul(sigmoid);
                (value, one.sub(sigmoid).fma(value, sigmoid))
            }
            Activation::Gelu => {
                let distribution = half.mul(one.add(erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2)))));
                let density = exp(x.mul(x).mul(V::splat(-0.5))).mul(V::splat(0.398_942_3));
                (x.mul(distribution), x.fma(density, distribution))
            }
            Activation::GeluTanh => {
                let (a, b) = (V::splat(0.797_884_6), V::splat(0.044_715));
                let inner = a.mul(x.mul(b.mul(x).fma(x, one)));
                let tanh = one.sub(V::splat(2.0).div(exp(inner.add(inner)).add(one)));
                let slope = a.mul(V::splat(3.0).mul(b).mul(x).fma(x, one));
                let level = half.mul(one.add(tanh));
                (x.mul(level), half.mul(x).mul(one.sub(tanh.mul(tanh))).fma(slope, level))
            }
        }
    }
}

vectorised! {
    fn forward<V>(kind: Activation, x: &[f32], up: Option<&[f32]>, out: &mut [f32]) {
        assert!(x.len() == out.len() && up.is_none_or(|up| up.len() == x.len()));
        for at in (0..x.len()).step_by(WIDTH) {
            let count = (x.len() - at).min(WIDTH);
            let mut value = evaluate(kind, V::load_partial(x.as_ptr().add(at), count, 0.0)).0;
            if let Some(up) = up {
                value = value.mul(V::load_partial(up.as_ptr().add(at), count, 0.0));
            }
            value.store_partial(out.as_mut_ptr().add(at), count);
        }
    }
}

vectorised! {
    fn backward<V>(
        kind: Activation, x: &[f32], up: Option<&[f32]>, gradient: &[f32], out: &mut [f32], up_out: Option<&mut [f32]>,
    ) {
        assert!(x.len() == out.len() && gradient.len() == x.len() && up.is_none_or(|up| up.len() == x.len()));
        let up_out = up_out.map(|up_out| { assert!(up_out.len() == x.len()); up_out.as_mut_ptr() });
        for at in (0..x.len()).step_by(WIDTH) {
            let count = (x.len() - at).min(WIDTH);
            let (value, slope) = evaluate(kind, V::load_partial(x.as_ptr().add(at), count, 0.0));
            let g = V::load_partial(gradient.as_ptr().add(at), count, 0.0);
            let mut own = g.mul(slope);
            if let (Some(up), Some(up_out)) = (up, up_out) {
                own = own.mul(V::load_partial(up.as_ptr().add(at), count, 0.0));
                g.mul(value).store_partial(up_out.add(at), count);
            }
            own.store_partial(out.as_mut_ptr().add(at), count);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// `Φ(x)` by Simpson's rule.
    fn distribution(x: f64) -> f64 {
        let steps = 2000;
        let h = x / f64::from(steps);
        let density = |t: f64| (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let mut sum = density(0.0) + density(x);
        for i in 1..steps {
            sum += density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 };
        }
        0.5 + sum * h / 3.0
    }

    fn exact(kind: Activation, x: f64) -> f64 {
        match kind {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => x * distribution(x),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
            }
        }
    }

    #[test]
    fn activations_and_slopes_match_double_precision() {
        let x: Vec<f32> = (0..17_000).map(|i| (i as f32 - 8500.0) * 1e-3).collect();
        let up: Vec<f32> = x.iter().map(|v| (v * 3.0).cos()).collect();
        let gradient: Vec<f32> = x.iter().map(|v| (v * 2.0).sin()).collect();
        for kind in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
            let plain = activate(kind, &x, None);
            let gated = activate(kind, &x, Some(&up));
            let (dx, dup) = activate_gradient(kind, &x, Some(&up), &gradient);
            let (alone, none) = activate_gradient(kind, &x, None, &gradient);
            assert!(none.is_none());
            let dup = dup.unwrap();
            for i in (0..x.len()).step_by(13) {
                let at = f64::from(x[i]);
                let value = exact(kind, at);
                assert!((f64::from(plain[i]) - value).abs() < 3e-6, "{kind:?}({at}) = {} not {value}", plain[i]);
                assert!((f64::from(gated[i]) - value * f64::from(up[i])).abs() < 3e-6);
                let slope = (exact(kind, at + 1e-4) - exact(kind, at - 1e-4)) / 2e-4 * f64::from(gradient[i]);
                assert!((f64::from(alone[i]) - slope).abs() < 3e-6, "{kind:?}'({at}) = {} not {slope}", alone[i]);
                assert!((f64::from(dx[i]) - slope * f64::from(up[i])).abs() < 3e-6);
                assert!((f64::from(dup[i]) - value * f64::from(gradient[i])).abs() < 3e-6);
            }
        }
    }
}
