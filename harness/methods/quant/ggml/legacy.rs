//! Blocks of 32 with one scale: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.

use super::fit::extreme;
use super::pack::{put_nibbles, take_nibbles};
use super::{Decoded, Refused, half_of, put_half};

/// Encodes a block of codes of `BITS` bits, with a minimum or symmetric about the middle code.
///
/// The reciprocal of the scale before it is rounded to half precision decides the codes; they are truncated after
/// adding a half.
pub fn encode<const BITS: u32, const MINIMUM: bool>(x: &[f32], bytes: &mut [u8]) -> Result<(), Refused> {
    let (scale, base, offset) = if MINIMUM {
        let (low, high) = range(x);
        ((high - low) / ((1u32 << BITS) - 1) as f32, low, 0.5)
    } else {
        let half = (1u32 << (BITS - 1)) as f32;
        (extreme(x) / -half, 0.0, half + 0.5)
    };
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    put_half(scale, "the scale", &mut bytes[0..2])?;
    let mut at = 2;
    if MINIMUM {
        put_half(base, "the minimum", &mut bytes[2..4])?;
        at += 2;
    }
    let top = (1 << BITS) - 1;
    let codes: [u8; 32] = std::array::from_fn(|j| (((x[j] - base) * inverse + offset) as i8).clamp(0, top) as u8);
    if BITS == 5 {
        let high = codes.iter().enumerate().fold(0u32, |bits, (j, code)| bits | u32::from(code >> 4) << j);
        bytes[at..at + 4].copy_from_slice(&high.to_le_bytes());
        at += 4;
    }
    put_nibbles(&codes, 16, &mut bytes[at..]);
    Ok(())
}

/// Takes a block of [`encode`] apart.
pub fn unpack<const BITS: u32, const MINIMUM: bool>(bytes: &[u8], into: &mut Decoded) -> Result<(), Refused> {
    into.scales.push(half_of(&bytes[0..2], "the scale")?);
    let mut at = 2;
    if MINIMUM {
        into.zeros.push(half_of(&bytes[2..4], "the minimum")?);
        at += 2;
    }
    let mut codes = [0; 32];
    if BITS == 5 {
        let high = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        codes = std::array::from_fn(|j| ((high >> j & 1) << 4) as u8);
        at += 4;
    }
    take_nibbles(&bytes[at..], 16, &mut codes);
    into.codes.extend(codes.map(i16::from));
    Ok(())
}

/// Encodes a block of Q8_0: ties go away from zero.
pub fn encode_q8(x: &[f32], bytes: &mut [u8]) -> Result<(), Refused> {
    let scale = extreme(x).abs() / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    put_half(scale, "the scale", &mut bytes[0..2])?;
    for (byte, x) in bytes[2..].iter_mut().zip(x) {
        *byte = ((x * inverse).round() as i8).cast_unsigned();
    }
    Ok(())
}

/// Takes a block of Q8_0 apart.
pub fn unpack_q8(bytes: &[u8], into: &mut Decoded) -> Result<(), Refused> {
    into.scales.push(half_of(&bytes[0..2], "the scale")?);
    into.codes.extend(bytes[2..].iter().map(|byte| i16::from(byte.cast_signed())));
    Ok(())
}

/// Lowest and highest value, the first of equals.
fn range(x: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = (f32::MAX, -f32::MAX);
    for &x in x {
        if x < low {
            low = x;
        }
        if x > high {
            high = x;
        }
    }
    (low, high)
}
