//! Floating-point numbers of four and eight bits: E2M1, E4M3, E5M2, and the scales E8M0.
//!
//! Open Compute Project: OCP 8-bit Floating Point Specification (OFP8), 2023, and Microscaling Formats (MX), 2023.

/// A signed format without as many bits as `f32`; the sign is its highest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmallFloat {
    /// Sign, 2 bits of exponent, 1 of mantissa: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
    E2M1,
    /// 4 bits of exponent, 3 of mantissa; up to 448, no infinities.
    E4M3,
    /// 5 bits of exponent, 2 of mantissa; up to 57344, infinities as IEEE 754 has them.
    E5M2,
}

/// Where numbers between two of a format go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, ties to the one with an even mantissa.
    TiesToEven,
    /// To the nearest, ties to the one farther from zero.
    TiesAway,
    /// To the one farther from zero.
    Up,
}

impl SmallFloat {
    const fn mantissa_bits(self) -> u8 {
        match self {
            Self::E2M1 => 1,
            Self::E4M3 => 3,
            Self::E5M2 => 2,
        }
    }

    const fn bias(self) -> i32 {
        match self {
            Self::E2M1 => 1,
            Self::E4M3 => 7,
            Self::E5M2 => 15,
        }
    }

    /// The bit of the sign.
    pub const fn sign(self) -> u8 {
        match self {
            Self::E2M1 => 8,
            Self::E4M3 | Self::E5M2 => 0x80,
        }
    }

    /// The code of the largest finite number.
    pub const fn largest_code(self) -> u8 {
        match self {
            Self::E2M1 => 7,
            Self::E4M3 => 0x7e,
            Self::E5M2 => 0x7b,
        }
    }

    /// The largest finite number.
    pub const fn largest(self) -> f32 {
        match self {
            Self::E2M1 => 6.0,
            Self::E4M3 => 448.0,
            Self::E5M2 => 57344.0,
        }
    }

    /// The code of a number: rounded, and no farther from zero than the largest finite number. A zero keeps its sign;
    /// NaN becomes a zero.
    pub fn encode(self, value: f32, rounding: Rounding) -> u8 {
        if value.is_nan() {
            return 0;
        }
        // All of this is exact in f64: the spacing of the format about the value is a power of two.
        let magnitude = f64::from(value.abs().min(self.largest()));
        let exponent = exponent(magnitude).max(1 - self.bias());
        let steps = magnitude / 2f64.powi(exponent - i32::from(self.mantissa_bits()));
        let steps = match rounding {
            Rounding::TiesToEven => steps.round_ties_even(),
            Rounding::TiesAway => steps.round(),
            Rounding::Up => steps.ceil(),
        };
        // Codes count up without gaps from zero; the implied bit of normal numbers is a step count of 2^mantissa_bits.
        let first = (exponent - 1 + self.bias()) << self.mantissa_bits();
        let code = (first + steps as i32).min(i32::from(self.largest_code())) as u8;
        if value.is_sign_negative() { code | self.sign() } else { code }
    }

    /// The number of a code; bits above the sign are ignored.
    pub fn decode(self, code: u8) -> f32 {
        let magnitude = code & (self.sign() - 1);
        let unsigned = if magnitude > self.largest_code() {
            if self == Self::E5M2 && magnitude == 0x7c { f32::INFINITY } else { f32::NAN }
        } else {
            let mantissa = magnitude & ((1 << self.mantissa_bits()) - 1);
            let biased = i32::from(magnitude >> self.mantissa_bits());
            let steps = if biased == 0 { mantissa } else { mantissa | 1 << self.mantissa_bits() };
            f32::from(steps) * 2f32.powi(biased.max(1) - self.bias() - i32::from(self.mantissa_bits()))
        };
        if code & self.sign() == 0 { unsigned } else { -unsigned }
    }
}

/// The number of an E8M0 code, `2^(code - 127)`; 255 is NaN.
pub fn decode_e8m0(code: u8) -> f32 {
    match code {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        code => f32::from_bits(u32::from(code) << 23),
    }
}

/// `floor(log2(value))` of a positive number that is an `f32`; -1023 of zero.
pub fn exponent(value: f64) -> i32 {
    // Every positive f32 is a normal f64, so that the exponent stands in its bits.
    (value.to_bits() >> 52 & 0x7ff) as i32 - 1023
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [SmallFloat; 3] = [SmallFloat::E2M1, SmallFloat::E4M3, SmallFloat::E5M2];
    const ROUNDINGS: [Rounding; 3] = [Rounding::TiesToEven, Rounding::TiesAway, Rounding::Up];

    #[test]
    fn every_finite_code_is_encoded_as_itself() {
        for format in ALL {
            let mut finite = 0;
            for code in 0..=(format.sign() | (format.sign() - 1)) {
                let value = format.decode(code);
                if value.is_finite() {
                    finite += 1;
                    for rounding in ROUNDINGS {
                        assert_eq!(format.encode(value, rounding), code, "{format:?} {code:#x} {rounding:?}");
                    }
                }
            }
            assert_eq!(finite, 2 * (usize::from(format.largest_code()) + 1), "{format:?}");
            assert_eq!(format.decode(format.largest_code()), format.largest());
        }
    }

    #[test]
    fn codes_count_up_with_their_numbers() {
        for format in ALL {
            for code in 0..format.largest_code() {
                assert!(format.decode(code) < format.decode(code + 1), "{format:?} {code:#x}");
            }
        }
        let e2m1: Vec<f32> = (0..8).map(|code| SmallFloat::E2M1.decode(code)).collect();
        assert_eq!(e2m1, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
    }

    #[test]
    fn what_is_not_finite_is_as_the_specification_has_it() {
        assert!(SmallFloat::E4M3.decode(0x7f).is_nan() && SmallFloat::E4M3.decode(0xff).is_nan());
        assert_eq!(SmallFloat::E5M2.decode(0x7c), f32::INFINITY);
        assert_eq!(SmallFloat::E5M2.decode(0xfc), f32::NEG_INFINITY);
        assert!((0x7d..=0x7f).all(|code| SmallFloat::E5M2.decode(code).is_nan()));
        assert!(decode_e8m0(255).is_nan());
    }

    #[test]
    fn scales_are_the_powers_of_two() {
        for code in 0..255u8 {
            let value = f64::from(decode_e8m0(code));
            assert_eq!(value, 2f64.powi(i32::from(code) - 127), "{code}");
            assert_eq!(exponent(value) + 127, i32::from(code));
        }
    }

    #[test]
    fn golden_values_of_e4m3_are_met() {
        let two = |power: i32| 2f32.powi(power);
        let cases = [
            (0.3, 0x2a),
            (1.0, 0x38),
            (1.0625, 0x38),
            (448.0, 0x7e),
            (500.0, 0x7e),
            (-0.001, 0x81),
            (17.0, 0x58),
            (two(-10), 0x00),
            (1.5 * two(-9), 0x02),
            (f32::INFINITY, 0x7e),
            (-0.0, 0x80),
            (1e-45, 0x00),
        ];
        for (value, code) in cases {
            assert_eq!(SmallFloat::E4M3.encode(value, Rounding::TiesToEven), code, "{value}");
        }
        assert_eq!(SmallFloat::E4M3.encode(1.0625, Rounding::TiesAway), 0x39);
        assert_eq!(SmallFloat::E4M3.encode(1e-45, Rounding::Up), 0x01);
        assert_eq!(SmallFloat::E4M3.encode(1.001, Rounding::Up), 0x39);
        assert_eq!(SmallFloat::E4M3.encode(f32::NAN, Rounding::TiesToEven), 0);
    }

    proptest! {
        #[test]
        fn the_nearest_number_is_taken(value in -700f32..700.0, scale in -12i32..3) {
            let value = value * 2f32.powi(scale);
            for format in ALL {
                let found = format.decode(format.encode(value, Rounding::TiesToEven));
                let nearest = (0..=format.largest_code())
                    .map(|code| (format.decode(code) - value.abs()).abs())
                    .fold(f32::INFINITY, f32::min);
                prop_assert_eq!((found.abs() - value.abs()).abs(), nearest);
                let up = format.decode(format.encode(value, Rounding::Up)).abs();
                prop_assert!(up >= value.abs().min(format.largest()));
            }
        }
    }
}
