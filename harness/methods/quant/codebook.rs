//! Codebooks: few fixed values of the unit interval that stand for weights divided by the largest of their block.

use half::f16;

/// Values in ascending order with the code of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook {
    values: Vec<f32>,
    midpoints: Vec<f32>,
    /// The format's number of each value.
    codes: Vec<i16>,
}

impl Codebook {
    /// A codebook whose codes number its values in ascending order.
    pub fn ascending(mut values: Vec<f32>) -> Self {
        values.sort_by(f32::total_cmp);
        values.dedup();
        Self::numbered(values.into_iter().zip(0..).collect())
    }

    /// A codebook of values with the code of each, in any order; of equal values the first counts.
    pub fn numbered(mut pairs: Vec<(f32, i16)>) -> Self {
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        let (values, codes): (Vec<f32>, Vec<i16>) = pairs.into_iter().unzip();
        let midpoints = values.windows(2).map(|pair| f32::midpoint(pair[0], pair[1])).collect();
        Self { values, midpoints, codes }
    }

    /// Divides by the largest magnitude.
    #[must_use]
    pub fn normalised(values: &[f64]) -> Self {
        let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        // Adding zero makes −0 the same value as 0.
        Self::ascending(values.iter().map(|value| (value / most) as f32 + 0.0).collect())
    }

    /// The values in ascending order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The place of the value nearest to `x`; half way between two it is the lower one.
    pub fn nearest(&self, x: f32) -> usize {
        // Counting compares is faster than a search in a table as small as that of four bits.
        if self.midpoints.len() < 32 {
            self.midpoints.iter().map(|&midpoint| usize::from(midpoint < x)).sum()
        } else {
            self.midpoints.partition_point(|&midpoint| midpoint < x)
        }
    }

    /// The format's number of each value, and the value.
    pub fn pairs(&self) -> impl Iterator<Item = (i16, f32)> {
        self.codes.iter().copied().zip(self.values.iter().copied())
    }

    /// The format's number of the value at a place.
    pub fn code(&self, place: usize) -> i16 {
        self.codes[place]
    }
}

/// Four-bit `NormalFloat`: quantiles of the normal distribution, with an exact zero (Dettmers et al. 2023).
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Four-bit `AbnormalFloat` of blocks of 64: the codes with the least expected absolute error (Yoshida 2023).
pub const AF4: [f32; 16] = [
    -1.0,
    -0.694_410_1,
    -0.512_437_4,
    -0.373_695_1,
    -0.256_075_53,
    -0.149_824_78,
    -0.049_348_12,
    0.0,
    0.042_731_64,
    0.129_344_83,
    0.219_612_74,
    0.316_756_67,
    0.425_638_83,
    0.554_962_34,
    0.724_248_65,
    1.0,
];

/// Magnitudes of four-bit floats with two bits of exponent and one of mantissa as the OCP formats have them, by their bits.
pub const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The whole numbers of `bits` bits without the most negative one: −q to q.
pub fn integers(bits: u32) -> Codebook {
    let last = (1_i64 << (bits - 1)) - 1;
    Codebook::normalised(&(-last..=last).map(|value| value as f64).collect::<Vec<_>>())
}

/// Floats with a sign, `exponent` bits of exponent and the rest of `bits` for the mantissa.
///
/// With the exponent field `e` and the share `m` of the mantissa: `2^(bias + 1 − e) · (1 + m)` for `e > 0` and `2^(−bias) ·
/// m` for `e = 0`; a larger field is a smaller number, and only what lies below the normal numbers depends on the bias.
pub fn floats(bits: u32, exponent: u32, bias: i32) -> Codebook {
    let mantissas = 1_u32 << (bits - 1 - exponent);
    let mut values = Vec::new();
    for field in 0..1_i32 << exponent {
        for mantissa in 0..mantissas {
            let share = f64::from(mantissa) / f64::from(mantissas);
            let magnitude = if field == 0 {
                share * f64::from(-bias).exp2()
            } else {
                f64::from(bias + 1 - field).exp2() * (1.0 + share)
            };
            values.extend([magnitude, -magnitude]);
        }
    }
    Codebook::normalised(&values)
}

/// The dynamic type: the number of leading zeros is a power of ten, and what bits are left divide it evenly; 0 and 1 are
/// in it, −1 is not.
pub fn dynamic(bits: u32) -> Codebook {
    let mut values = vec![0.0, 1.0];
    for spent in 0..bits - 1 {
        let steps = 1_u32 << spent;
        let power = 10_f64.powi(spent as i32 - (bits as i32 - 2));
        for step in 0..steps {
            let fraction = 0.1 + 0.9 * (f64::from(step) + 0.5) / f64::from(steps);
            values.extend([fraction * power, -fraction * power]);
        }
    }
    Codebook::normalised(&values)
}

/// Quantiles of the weights themselves at `2^bits − 1` even places, with 0, divided by the largest; stored in half
/// precision.
pub fn quantiles(bits: u32, weights: &[f32]) -> Codebook {
    let mut sorted = weights.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let count = f64::from((1_u32 << bits) - 1);
    let last = (sorted.len() - 1) as f64;
    let at = |share: f64| {
        let place = share * last;
        let below = place.floor() as usize;
        let above = (below + 1).min(sorted.len() - 1);
        f64::from(sorted[below]) + (f64::from(sorted[above]) - f64::from(sorted[below])) * place.fract()
    };
    let places = (0..(1_u32 << bits) - 1).map(|j| 0.5 / count + f64::from(j) * (1.0 - 1.0 / count) / (count - 1.0));
    let mut values: Vec<f64> = places.map(at).collect();
    values.push(0.0);
    let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs())).max(f64::MIN_POSITIVE);
    Codebook::ascending(values.iter().map(|value| f16::from_f64(value / most).to_f32() + 0.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{found:?} {expected:?}");
    }

    #[test]
    fn midpoints_decide_and_a_tie_goes_down() {
        let book = Codebook::ascending(NF4.to_vec());
        let expected = [
            -0.848_096, -0.610_633, -0.459_995, -0.339_679, -0.234_607, -0.137_912, -0.045_525, 0.039_790, 0.120_255,
            0.203_521, 0.292_014, 0.389_313, 0.501_663, 0.642_787, 0.861_478,
        ];
        near(&book.midpoints, &expected);
        for (place, &midpoint) in book.midpoints.iter().enumerate() {
            assert_eq!((book.nearest(midpoint), book.nearest(midpoint.next_up())), (place, place + 1));
        }
        assert_eq!((book.nearest(-2.0), book.nearest(2.0)), (0, 15));
        // The large tables are searched and the small ones counted: both say the same.
        let large = dynamic(8);
        for x in [-1.0_f32, -0.3, -1e-6, 0.0, 1e-7, 0.5, 0.993, 1.0] {
            let counted = large.midpoints.iter().filter(|&&midpoint| midpoint < x).count();
            assert_eq!(large.nearest(x), counted);
        }
    }

    #[test]
    fn the_generator_of_normal_floats_gives_the_constants() {
        // Quantiles at even places between ½ and δ, both sides with a count of their own.
        let offset = 0.5 * ((1.0 - 1.0 / 30.0) + (1.0 - 1.0 / 32.0));
        let quantile = |share: f64| {
            let (mut low, mut high) = (0.0_f64, 8.0);
            for _ in 0..200 {
                let middle = f64::midpoint(low, high);
                if 0.5 * (1.0 + erf(middle / std::f64::consts::SQRT_2)) < share { low = middle } else { high = middle }
            }
            low
        };
        let most = quantile(offset);
        let side = |count: usize| {
            (0..count).map(move |i| offset + (0.5 - offset) * i as f64 / count as f64).map(|p| quantile(p) / most)
        };
        let mut values: Vec<f64> = side(8).chain(side(7).map(|value| -value)).chain([0.0]).collect();
        values.sort_by(f64::total_cmp);
        near(&NF4, &values);
    }

    /// By its Taylor series, which is exact enough below 3.
    fn erf(x: f64) -> f64 {
        let (mut sum, mut term) = (0.0, x);
        for n in 0..200_i32 {
            sum += term / f64::from(2 * n + 1);
            term *= -x * x / f64::from(n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn four_bit_floats_differ_below_the_normal_numbers() {
        let positive = |book: &Codebook| book.values.iter().copied().filter(|v| *v >= 0.0).collect::<Vec<_>>();
        let shared = [1.0 / 6.0, 0.25, 1.0 / 3.0, 0.5, 2.0 / 3.0, 1.0];
        let with = |subnormal: f64| [[0.0, subnormal].as_slice(), shared.as_slice()].concat();
        near(&positive(&floats(4, 2, 3)), &with(0.0625 / 12.0));
        near(&positive(&floats(4, 2, 2)), &with(0.125 / 6.0));
        near(&positive(&Codebook::normalised(&E2M1.map(f64::from))), &E2M1.map(|value| f64::from(value) / 6.0));
        // Three bits of exponent leave no mantissa: powers of two.
        near(&positive(&floats(4, 3, 5)), &[0.0, 1.0 / 64.0, 1.0 / 32.0, 0.0625, 0.125, 0.25, 0.5, 1.0]);
    }

    #[test]
    fn dynamic_types_by_hand() {
        near(dynamic(3).values(), &[-0.775, -0.325, -0.055, 0.0, 0.055, 0.325, 0.775, 1.0]);
        let four = [
            -0.8875, -0.6625, -0.4375, -0.2125, -0.0775, -0.0325, -0.0055, 0.0, 0.0055, 0.0325, 0.0775, 0.2125, 0.4375,
            0.6625, 0.8875, 1.0,
        ];
        near(dynamic(4).values(), &four);
        let eight = dynamic(8);
        assert_eq!(eight.values.len(), 256);
        assert!((eight.values[0] + 0.992_968_8).abs() < 1e-6);
        let least = eight.values.iter().copied().filter(|value| *value > 0.0).fold(1.0, f32::min);
        assert!((least - 5.5e-7).abs() < 1e-12);
    }

    #[test]
    fn every_type_has_the_values_it_should() {
        let weights: Vec<f32> = (0..4096).map(|i| (i as f32 * 0.37).sin() * (i as f32 * 0.011).cos()).collect();
        for bits in 3..=8 {
            let all = 1 << bits;
            assert_eq!(integers(bits).values.len(), all - 1);
            assert_eq!(dynamic(bits).values.len(), all);
            assert_eq!(quantiles(bits, &weights).values.len(), all);
            for exponent in 1..bits {
                let book = floats(bits, exponent, (1 << (exponent - 1)) + 1);
                assert_eq!(book.values.len(), all - 1, "{bits} {exponent}");
                assert_eq!((book.values[0], book.values[all - 2]), (-1.0, 1.0));
            }
        }
    }

    #[test]
    fn quantiles_of_a_matrix_are_used_alike() {
        let weights: Vec<f32> = (0..20_000).map(|i| ((i * 7919 % 20_000) as f32 - 9999.5) / 9999.5).collect();
        let book = quantiles(4, &weights);
        let most = weights.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
        let mut used = [0_usize; 16];
        for weight in &weights {
            used[book.nearest(weight / most)] += 1;
        }
        // The extra zero shares the place of its neighbours; all others hold a sixteenth within a fifth.
        let even = used.iter().filter(|count| (**count as f64 / 1250.0 - 1.0).abs() < 0.2).count();
        assert!(even >= 13, "{used:?}");
    }
}
