//! The searches by which ggml's K-quants find the scale of a sub-block, in `f32` and in the order of its reference.
//!
//! The order of every sum and product is part of the format: another one changes the last bits, and with them codes.

/// Below it a sub-block counts as zero.
pub const LEAST_MAGNITUDE: f32 = 1e-15;

/// To the nearest whole number, ties to even, for magnitudes under 2²²: the mantissa of the sum with 1.5 · 2²³.
pub fn nearest(value: f32) -> i32 {
    ((value + 12_582_912.0).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// The first of the values with the largest magnitude, with its sign; 0 of zeros.
pub fn extreme(values: &[f32]) -> f32 {
    let (mut magnitude, mut extreme) = (0.0, 0.0);
    for &value in values {
        if value.abs() > magnitude {
            (magnitude, extreme) = (value.abs(), value);
        }
    }
    extreme
}

/// What is tried for a scale and a minimum: numerators `top + first + step · n` for `n` up to `last`.
pub struct Trials {
    /// Of the first numerator.
    pub first: f32,
    /// From one to the next.
    pub step: f32,
    /// The last `n`.
    pub last: u32,
    /// Whether errors count by magnitude instead of squared.
    pub absolute: bool,
}

/// Scale and minimum, the latter negated and so at least 0, by weighted least squares over several roundings; `codes`
/// from 0 to `top`.
pub fn affine(x: &[f32], weights: &[f32], top: i32, trials: &Trials, codes: &mut [u8]) -> (f32, f32) {
    let (mut low, mut high) = (x[0], x[0]);
    let mut sum_w = weights[0];
    let mut sum_x = sum_w * x[0];
    for (&x, &w) in x.iter().zip(weights).skip(1) {
        if x < low {
            low = x;
        }
        if x > high {
            high = x;
        }
        sum_w += w;
        sum_x += w * x;
    }
    if low > 0.0 {
        low = 0.0;
    }
    if high == low {
        codes.fill(0);
        return (0.0, -low);
    }
    let difference = |scale: f32, code: u8, low: f32, x: f32| {
        let difference = scale * f32::from(code) + low - x;
        if trials.absolute { difference.abs() } else { difference * difference }
    };
    let inverse = top as f32 / (high - low);
    let mut scale = 1.0 / inverse;
    let mut best = 0.0;
    for ((code, &x), &w) in codes.iter_mut().zip(x).zip(weights) {
        *code = nearest(inverse * (x - low)).clamp(0, top) as u8;
        best += w * difference(scale, *code, low, x);
    }
    let mut tried = [0u8; 32];
    for trial in 0..=trials.last {
        // `low` is that of the best trial so far, not that of the data.
        let inverse = (trials.first + trials.step * trial as f32 + top as f32) / (high - low);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0);
        for ((code, &x), &w) in tried.iter_mut().zip(x).zip(weights) {
            *code = nearest(inverse * (x - low)).clamp(0, top) as u8;
            let l = f32::from(*code);
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut this_low = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if this_low > 0.0 {
                this_low = 0.0;
                this_scale = sum_xl / sum_l2;
            }
            let mut error = 0.0;
            for ((code, &x), &w) in tried.iter().zip(x).zip(weights) {
                error += w * difference(this_scale, *code, this_low, x);
            }
            if error < best {
                codes.copy_from_slice(&tried[..codes.len()]);
                (best, scale, low) = (error, this_scale, this_low);
            }
        }
    }
    (scale, -low)
}

/// A scale without a minimum by least squares over nineteen roundings, weighted by `x²`; `codes` from 0 to
/// `2 · half - 1`, `half` standing for zero.
pub fn symmetric(x: &[f32], half: i32, codes: &mut [u8]) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < LEAST_MAGNITUDE {
        codes.fill(0);
        return 0.0;
    }
    let level = |inverse: f32, x: f32| nearest(inverse * x).clamp(-half, half - 1);
    let sums = |inverse: f32| {
        let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
        for &x in x {
            let (w, l) = (x * x, level(inverse, x) as f32);
            sum_lx += w * x * l;
            sum_l2 += w * l * l;
        }
        (sum_lx, sum_l2)
    };
    let set = |inverse: f32, codes: &mut [u8]| {
        for (code, &x) in codes.iter_mut().zip(x) {
            *code = (level(inverse, x) + half) as u8;
        }
    };
    let inverse = -(half as f32) / extreme;
    set(inverse, codes);
    let (sum_lx, sum_l2) = sums(inverse);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_lx / sum_l2 };
    let mut best = scale * sum_lx;
    for step in (-9..=9i8).filter(|step| *step != 0) {
        let inverse = -(half as f32 + 0.1 * f32::from(step)) / extreme;
        let (sum_lx, sum_l2) = sums(inverse);
        if sum_l2 > 0.0 && sum_lx * sum_lx > best * sum_l2 {
            set(inverse, codes);
            scale = sum_lx / sum_l2;
            best = scale * sum_lx;
        }
    }
    scale
}

/// A scale without a minimum by least squares, one code after the other moved while that helps; `codes` as for
/// [`symmetric`].
pub fn by_descent(x: &[f32], half: i32, codes: &mut [u8]) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < LEAST_MAGNITUDE {
        codes.fill(0);
        return 0.0;
    }
    let inverse = -(half as f32) / extreme;
    let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
    let mut levels = [0i32; 16];
    for (level, &x) in levels.iter_mut().zip(x) {
        *level = nearest(inverse * x).clamp(-half, half - 1);
        let (w, l) = (x * x, *level as f32);
        sum_lx += w * x * l;
        sum_l2 += w * l * l;
    }
    for _ in 0..5 {
        let mut changed = false;
        for (level, &x) in levels.iter_mut().zip(x) {
            let (w, l) = (x * x, *level as f32);
            let mut other_lx = sum_lx - w * x * l;
            if other_lx > 0.0 {
                let mut other_l2 = sum_l2 - w * l * l;
                let moved = nearest(x * other_l2 / other_lx).clamp(-half, half - 1);
                if moved != *level {
                    let l = moved as f32;
                    other_lx += w * x * l;
                    other_l2 += w * l * l;
                    if other_l2 > 0.0 && other_lx * other_lx * sum_l2 > sum_lx * sum_lx * other_l2 {
                        (*level, sum_lx, sum_l2, changed) = (moved, other_lx, other_l2, true);
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    for (code, level) in codes.iter_mut().zip(levels) {
        *code = (level + half) as u8;
    }
    if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_even_on_both_sides_of_zero() {
        let cases = [(0.5, 0), (1.5, 2), (2.5, 2), (3.5, 4), (-0.5, 0), (-1.5, -2), (-2.5, -2), (7.49, 7), (-7.51, -8)];
        for (value, expected) in cases {
            assert_eq!(nearest(value), expected, "{value}");
        }
    }

    #[test]
    fn what_lies_on_a_grid_is_found() {
        let x: Vec<f32> = (0..16).map(|at| 0.25 * (at % 16) as f32 - 1.0).collect();
        let weights: Vec<f32> = x.iter().map(|x| x.abs() + 1.0).collect();
        let mut codes = [0; 16];
        let trials = Trials { first: -1.0, step: 0.1, last: 20, absolute: false };
        assert_eq!(affine(&x, &weights, 15, &trials, &mut codes), (0.25, 1.0));
        assert_eq!(codes, std::array::from_fn(|at| at as u8));
        let x: Vec<f32> = (0..16i8).map(|at| 0.5 * f32::from(at - 8) / 2.0).collect();
        let scale = symmetric(&x, 32, &mut codes);
        assert!((scale.abs() * 32.0 - 2.0).abs() < 0.1, "{scale}");
        let x: Vec<f32> = (0..16i8).map(|at| 0.5 * f32::from(at % 8 - 4)).collect();
        assert_eq!(by_descent(&x, 4, &mut codes), 0.5);
        assert_eq!(codes, std::array::from_fn(|at| at as u8 % 8));
    }

    #[test]
    fn codes_stay_in_range_whatever_comes() {
        let awkward = [0.0, -0.0, 1e-45, -1e-45, 1e-30, 1e-14, -3.0, 65504.0, 1e20, -1e30, f32::MAX];
        let trials = Trials { first: -0.5, step: 0.1, last: 15, absolute: true };
        for a in awkward {
            for b in awkward {
                let x: Vec<f32> = (0..16).map(|at| if at % 3 == 0 { a } else { b }).collect();
                let weights: Vec<f32> = x.iter().map(|x| x.abs()).collect();
                let mut codes = [0; 16];
                affine(&x, &weights, 3, &trials, &mut codes);
                assert!(codes.iter().all(|code| *code < 4), "{a} {b}");
                symmetric(&x, 32, &mut codes);
                assert!(codes.iter().all(|code| *code < 64), "{a} {b}");
                by_descent(&x, 4, &mut codes);
                assert!(codes.iter().all(|code| *code < 8), "{a} {b}");
            }
        }
    }
}
