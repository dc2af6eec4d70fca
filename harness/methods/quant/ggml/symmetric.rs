//! Super-blocks of 256 with sixteen scales and no minima: Q3_K and Q6_K.

use super::fit::{LEAST_MAGNITUDE, by_descent, extreme, nearest, symmetric};
use super::pack::{
    put_nibbles, put_pairs, put_plane, put_sixteen_scales, take_nibbles, take_pairs, take_plane, take_sixteen_scales,
};
use super::{Decoded, Refused, finite, half_of, put_half};

/// Fits every sub-block of sixteen values.
fn fit(
    x: &[f32],
    half: i32,
    search: fn(&[f32], i32, &mut [u8]) -> f32,
    codes: &mut [u8; 256],
) -> Result<[f32; 16], Refused> {
    let mut scales = [0.0; 16];
    for ((scale, x), codes) in scales.iter_mut().zip(x.chunks(16)).zip(codes.chunks_mut(16)) {
        *scale = finite(search(x, half, codes), "the scale of a sub-block")?;
    }
    Ok(scales)
}

/// Codes anew by the scales as they are stored. Sub-blocks whose scale is zero keep the codes of the search.
fn requantize(x: &[f32], scale: f32, scales: [i8; 16], half: i32, codes: &mut [u8; 256]) {
    for ((x, codes), stored) in x.chunks(16).zip(codes.chunks_mut(16)).zip(scales) {
        let scale = scale * f32::from(stored);
        if scale != 0.0 {
            for (code, x) in codes.iter_mut().zip(x) {
                *code = (nearest(x / scale).clamp(-half, half - 1) + half) as u8;
            }
        }
    }
}

/// Encodes a block of Q3_K: scales of six bits, signed about 32.
pub fn encode_q3(x: &[f32], bytes: &mut [u8]) -> Result<(), Refused> {
    let mut codes = [0; 256];
    let fitted = fit(x, 4, by_descent, &mut codes)?;
    let largest = extreme(&fitted);
    let (planes, rest) = bytes.split_at_mut(32);
    let (pairs, rest) = rest.split_at_mut(64);
    // Where nothing has a scale ggml leaves the bytes of the scales at zero, which stand for -32.
    let (mut stored, mut scale) = ([0; 16], 0.0);
    if largest != 0.0 {
        let inverse = -32.0 / largest;
        stored = fitted.map(|scale| ((nearest(inverse * scale) as i8).clamp(-32, 31) + 32) as u8);
        scale = 1.0 / inverse;
    }
    put_sixteen_scales(&stored, &mut rest[..12]);
    let scale = put_half(scale, "the scale", &mut rest[12..14])?;
    requantize(x, scale, stored.map(|stored| stored as i8 - 32), 4, &mut codes);
    put_plane(&codes, 2, planes);
    put_pairs(&codes, 0, pairs);
    Ok(())
}

/// Takes a block of Q3_K apart.
pub fn unpack_q3(bytes: &[u8], into: &mut Decoded) -> Result<(), Refused> {
    let scale = half_of(&bytes[108..110], "the scale")?;
    let scales = take_sixteen_scales(&bytes[96..108]);
    into.scales.extend(scales.map(|stored| scale * f32::from(i16::from(stored) - 32)));
    let mut codes = [0; 256];
    take_plane(&bytes[..32], 2, &mut codes);
    take_pairs(&bytes[32..96], 0, &mut codes);
    into.codes.extend(codes.map(i16::from));
    Ok(())
}

/// Encodes a block of Q6_K: scales of eight bits.
pub fn encode_q6(x: &[f32], bytes: &mut [u8]) -> Result<(), Refused> {
    let mut codes = [0; 256];
    let fitted = fit(x, 32, symmetric, &mut codes)?;
    let largest = extreme(&fitted);
    if largest.abs() < LEAST_MAGNITUDE {
        bytes.fill(0);
        return Ok(());
    }
    let inverse = -128.0 / largest;
    let scale = put_half(1.0 / inverse, "the scale", &mut bytes[208..210])?;
    let stored = fitted.map(|scale| nearest(inverse * scale).min(127) as i8);
    bytes[192..208].copy_from_slice(&stored.map(i8::cast_unsigned));
    requantize(x, scale, stored, 32, &mut codes);
    put_nibbles(&codes, 64, &mut bytes[..128]);
    put_pairs(&codes, 4, &mut bytes[128..192]);
    Ok(())
}

/// Takes a block of Q6_K apart.
pub fn unpack_q6(bytes: &[u8], into: &mut Decoded) -> Result<(), Refused> {
    let scale = half_of(&bytes[208..210], "the scale")?;
    into.scales.extend(bytes[192..208].iter().map(|stored| scale * f32::from(stored.cast_signed())));
    let mut codes = [0; 256];
    take_nibbles(&bytes[..128], 64, &mut codes);
    take_pairs(&bytes[128..192], 4, &mut codes);
    into.codes.extend(codes.map(i16::from));
    Ok(())
}
