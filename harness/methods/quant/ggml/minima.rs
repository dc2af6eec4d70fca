//! Super-blocks of 256 with a scale and a minimum for each sub-block: Q2_K, Q4_K and Q5_K.

use super::fit::{Trials, affine, nearest};
use super::pack::{put_nibbles, put_pairs, put_plane, put_scales, take_nibbles, take_pairs, take_plane, take_scales};
use super::{Decoded, Refused, finite, half_of, put_half};

/// Scales and minima of sub-blocks before they are rounded, and the largest of each.
struct Fitted<const N: usize> {
    scales: [f32; N],
    minima: [f32; N],
    largest_scale: f32,
    largest_minimum: f32,
}

/// Fits every sub-block of `256 / N` values by weighted least squares.
fn fit<const N: usize>(
    x: &[f32],
    top: i32,
    trials: &Trials,
    weigh: impl Fn(&[f32], &mut [f32]),
    codes: &mut [u8; 256],
) -> Result<Fitted<N>, Refused> {
    let group = 256 / N;
    let mut fitted = Fitted { scales: [0.0; N], minima: [0.0; N], largest_scale: 0.0, largest_minimum: 0.0 };
    let mut weights = [0.0; 32];
    for (at, (x, codes)) in x.chunks(group).zip(codes.chunks_mut(group)).enumerate() {
        weigh(x, &mut weights[..group]);
        let (scale, minimum) = affine(x, &weights[..group], top, trials, codes);
        fitted.scales[at] = finite(scale, "the scale of a sub-block")?;
        fitted.minima[at] = finite(minimum, "the minimum of a sub-block")?;
        if scale > fitted.largest_scale {
            fitted.largest_scale = scale;
        }
        if minimum > fitted.largest_minimum {
            fitted.largest_minimum = minimum;
        }
    }
    Ok(fitted)
}

/// Codes anew by the scales as they are stored. Sub-blocks whose scale is zero keep the codes of the search.
fn requantize(x: &[f32], scale: f32, minimum: f32, top: i32, codes: &mut [u8]) {
    if scale != 0.0 {
        for (code, x) in codes.iter_mut().zip(x) {
            *code = nearest((x + minimum) / scale).clamp(0, top) as u8;
        }
    }
}

/// Weights are magnitudes.
fn magnitudes(x: &[f32], weights: &mut [f32]) {
    for (weight, x) in weights.iter_mut().zip(x) {
        *weight = x.abs();
    }
}

/// Weights are magnitudes and their root mean square.
fn magnitudes_and_mean(x: &[f32], weights: &mut [f32]) {
    let squares = x.iter().fold(0.0, |sum, x| sum + x * x);
    let mean = (squares / x.len() as f32).sqrt();
    for (weight, x) in weights.iter_mut().zip(x) {
        *weight = mean + x.abs();
    }
}

/// Encodes a block of Q2_K: sixteen scales and minima of four bits, codes of two.
pub fn encode_q2(x: &[f32], bytes: &mut [u8]) -> Result<(), Refused> {
    const TRIALS: Trials = Trials { first: -0.5, step: 0.1, last: 15, absolute: true };
    let mut codes = [0; 256];
    let fitted: Fitted<16> = fit(x, 3, &TRIALS, magnitudes, &mut codes)?;
    let (head, halves) = bytes.split_at_mut(80);
    let (stored, pairs) = head.split_at_mut(16);
    let inverse_scale = if fitted.largest_scale > 0.0 { 15.0 / fitted.largest_scale } else { 0.0 };
    let inverse_minimum = if fitted.largest_minimum > 0.0 { 15.0 / fitted.largest_minimum } else { 0.0 };
    for (stored, (scale, minimum)) in stored.iter_mut().zip(fitted.scales.iter().zip(&fitted.minima)) {
        *stored = nearest(inverse_scale * scale) as u8 | (nearest(inverse_minimum * minimum) << 4) as u8;
    }
    let scale = put_half(fitted.largest_scale / 15.0, "the scale", &mut halves[0..2])?;
    let minimum = put_half(fitted.largest_minimum / 15.0, "the minimum", &mut halves[2..4])?;
    for ((x, codes), stored) in x.chunks(16).zip(codes.chunks_mut(16)).zip(stored) {
        requantize(x, scale * f32::from(*stored & 15), minimum * f32::from(*stored >> 4), 3, codes);
    }
    put_pairs(&codes, 0, pairs);
    Ok(())
}

/// Takes a block of Q2_K apart.
pub fn unpack_q2(bytes: &[u8], into: &mut Decoded) -> Result<(), Refused> {
    let scale = half_of(&bytes[80..82], "the scale")?;
    let minimum = half_of(&bytes[82..84], "the minimum")?;
    into.scales.extend(bytes[..16].iter().map(|stored| scale * f32::from(stored & 15)));
    into.zeros.extend(bytes[..16].iter().map(|stored| -(minimum * f32::from(stored >> 4))));
    let mut codes = [0; 256];
    take_pairs(&bytes[16..80], 0, &mut codes);
    into.codes.extend(codes.map(i16::from));
    Ok(())
}

/// Encodes a block of Q4_K or Q5_K: eight scales and minima of six bits.
pub fn encode<const BITS: u32>(x: &[f32], bytes: &mut [u8]) -> Result<(), Refused> {
    let trials = match BITS {
        4 => Trials { first: -1.0, step: 0.1, last: 20, absolute: false },
        _ => Trials { first: -0.5, step: 0.1, last: 15, absolute: false },
    };
    let top = (1 << BITS) - 1;
    let mut codes = [0; 256];
    let fitted: Fitted<8> = fit(x, top, &trials, magnitudes_and_mean, &mut codes)?;
    let six = |values: &[f32; 8], largest: f32| {
        let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
        values.map(|value| (nearest(inverse * value) as u8).min(63))
    };
    let (scales, minima) = (six(&fitted.scales, fitted.largest_scale), six(&fitted.minima, fitted.largest_minimum));
    let scale = put_half(fitted.largest_scale / 63.0, "the scale", &mut bytes[0..2])?;
    let minimum = put_half(fitted.largest_minimum / 63.0, "the minimum", &mut bytes[2..4])?;
    put_scales(scales, minima, &mut bytes[4..16]);
    for (at, (x, codes)) in x.chunks(32).zip(codes.chunks_mut(32)).enumerate() {
        requantize(x, scale * f32::from(scales[at]), minimum * f32::from(minima[at]), top, codes);
    }
    let mut at = 16;
    if BITS == 5 {
        put_plane(&codes, 4, &mut bytes[16..48]);
        at += 32;
    }
    put_nibbles(&codes, 32, &mut bytes[at..]);
    Ok(())
}

/// Takes a block of Q4_K or Q5_K apart.
pub fn unpack<const BITS: u32>(bytes: &[u8], into: &mut Decoded) -> Result<(), Refused> {
    let scale = half_of(&bytes[0..2], "the scale")?;
    let minimum = half_of(&bytes[2..4], "the minimum")?;
    let (scales, minima) = take_scales(&bytes[4..16]);
    into.scales.extend(scales.map(|stored| scale * f32::from(stored)));
    into.zeros.extend(minima.map(|stored| -(minimum * f32::from(stored))));
    let mut codes = [0; 256];
    let mut at = 16;
    if BITS == 5 {
        take_plane(&bytes[16..48], 4, &mut codes);
        at += 32;
    }
    take_nibbles(&bytes[at..], 32, &mut codes);
    into.codes.extend(codes.map(i16::from));
    Ok(())
}
