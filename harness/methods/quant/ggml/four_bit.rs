//! Blocks of four-bit floating-point numbers: MXFP4 with a power of two as scale, NVFP4 with an E4M3.

use harness_core::choice;

use super::pack::{put_nibbles, take_nibbles};
use super::{BlockError, Decoded, Format, Refused};
use crate::quant::small_float::{Rounding, SmallFloat, decode_e8m0, exponent};

choice! {
    /// How the elements of MXFP4 are rounded.
    pub enum Ties {
        /// To the nearest, ties to the even mantissa, as the specification of the format and hardware do.
        Even = "rne",
        /// To the nearest, ties away from zero.
        Away = "nearest_away",
        /// To the nearest, ties towards zero, no negative zeros, and the exponent of a logarithm in `f32`: ggml's bytes.
        Ggml = "ggml",
    }
}

/// The MXFP4 blocks of values, rounded as told; [`Format::encode`] rounds as ggml.
///
/// # Errors
/// As [`Format::encode`].
pub fn encode_mxfp4(values: &[f32], ties: Ties) -> Result<Vec<u8>, BlockError> {
    Format::Mxfp4.encode_with(values, |x, bytes| {
        encode_mx(x, ties, bytes);
        Ok(())
    })
}

/// Encodes a block of MXFP4; its scale is `2^(floor(log2 max) - 2)`.
pub(super) fn encode_mx(x: &[f32], ties: Ties, bytes: &mut [u8]) {
    let largest = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    let exponent = match ties {
        _ if largest == 0.0 => -127,
        Ties::Even | Ties::Away => exponent(f64::from(largest)) - 2,
        // The logarithm of a number just under a power of two is rounded up to that of the power.
        Ties::Ggml => (f64::from(largest).log2() as f32).floor() as i32 - 2,
    };
    bytes[0] = (exponent + 127).clamp(0, 254) as u8;
    let scale = decode_e8m0(bytes[0]);
    let code = |x: f32| {
        // Dividing by a power of two is exact in f64.
        let scaled = (f64::from(x) / f64::from(scale)) as f32;
        match ties {
            Ties::Even => SmallFloat::E2M1.encode(scaled, Rounding::TiesToEven),
            Ties::Away => SmallFloat::E2M1.encode(scaled, Rounding::TiesAway),
            Ties::Ggml => first_nearest(x, scale),
        }
    };
    let codes: [u8; 32] = std::array::from_fn(|at| code(x[at]));
    put_nibbles(&codes, 16, &mut bytes[1..]);
}

/// Takes a block of MXFP4 apart.
pub(super) fn unpack_mx(bytes: &[u8], into: &mut Decoded) -> Result<(), Refused> {
    let scale = decode_e8m0(bytes[0]);
    if scale.is_nan() {
        return Err(Refused { what: "the scale", value: scale });
    }
    into.scales.push(scale);
    let mut codes = [0; 32];
    take_nibbles(&bytes[1..], 16, &mut codes);
    into.codes.extend(codes.map(i16::from));
    Ok(())
}

/// Encodes a block of NVFP4 as ggml does: without a scale of the tensor, scales rounded half up.
pub(super) fn encode_nv(x: &[f32], bytes: &mut [u8]) -> Result<(), Refused> {
    let (scales, nibbles) = bytes.split_at_mut(4);
    for ((x, stored), nibbles) in x.chunks(16).zip(scales).zip(nibbles.chunks_mut(8)) {
        let wanted = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs())) / 6.0;
        // ggml clamps in silence.
        if wanted > SmallFloat::E4M3.largest() {
            return Err(Refused { what: "the scale", value: wanted });
        }
        *stored = half_up(wanted);
        let scale = SmallFloat::E4M3.decode(*stored);
        let codes: [u8; 16] = std::array::from_fn(|at| first_nearest(x[at], scale));
        put_nibbles(&codes, 8, nibbles);
    }
    Ok(())
}

/// Takes a block of NVFP4 apart.
pub(super) fn unpack_nv(bytes: &[u8], into: &mut Decoded) -> Result<(), Refused> {
    let (scales, nibbles) = bytes.split_at(4);
    for &stored in scales {
        let scale = SmallFloat::E4M3.decode(stored & 0x7f);
        if scale.is_nan() {
            return Err(Refused { what: "the scale", value: scale });
        }
        into.scales.push(scale);
    }
    let mut codes = [0; 64];
    take_nibbles(nibbles, 8, &mut codes);
    into.codes.extend(codes.map(i16::from));
    Ok(())
}

/// The first code in the order 0 to 15 whose number times the scale is nearest, so that ties go towards zero.
fn first_nearest(x: f32, scale: f32) -> u8 {
    let error = |code: u8| (SmallFloat::E2M1.decode(code) * scale - x).abs();
    (1..16).fold((0, error(0)), |best, code| if error(code) < best.1 { (code, error(code)) } else { best }).0
}

/// The E4M3 of a number from 0 on, halves up, as ggml has it: from below the normal numbers no higher than the largest
/// subnormal, and nothing between 240 and 448.
fn half_up(value: f32) -> u8 {
    match SmallFloat::E4M3.encode(value, Rounding::TiesAway) {
        8 if value < 2f32.powi(-6) => 7,
        0x78.. => SmallFloat::E4M3.largest_code(),
        code => code,
    }
}
