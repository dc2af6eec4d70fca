//! Making codes of keys and values, and what codes stand for.

use half::f16;

use super::lanes::Lanes;
use super::{CodeBits, HeadCache, Unstorable};
use crate::vector::{InstructionSet, WIDTH, instruction_set, vectorised};

impl HeadCache {
    /// Appends the keys of `count` tokens, whole groups of them; those of a token lie `stride` elements behind those of
    /// the one before.
    ///
    /// Of every channel of a group, `scale = (max − min) / last` and the code is `rne(clamp((x − min) / scale, 0, last))`
    /// with both as they are stored; a channel that is constant has scale 0 and codes 0.
    ///
    /// # Errors
    /// [`Unstorable`]; nothing is appended then.
    ///
    /// # Panics
    /// When the tokens are no whole groups or `rows` is too short.
    pub fn push_keys(&mut self, rows: &[f32], stride: usize, count: usize) -> Result<(), Unstorable> {
        self.push_keys_on(instruction_set(), rows, stride, count)
    }

    pub(super) fn push_keys_on(
        &mut self,
        set: InstructionSet,
        rows: &[f32],
        stride: usize,
        count: usize,
    ) -> Result<(), Unstorable> {
        let (group, d) = (self.grid.group, self.head_dim);
        assert!(count.is_multiple_of(group), "whole groups of {group} keys, not {count}");
        let (keys, values) = (self.keys(), self.values());
        let mut codes = vec![0; group * d];
        let mut scales = vec![f16::ZERO; d];
        let mut minima = vec![f16::ZERO; d];
        for first in (0..count).step_by(group) {
            let rows = &rows[first * stride..];
            if let Some(value) =
                channel_codes(set, rows, stride, group, d, self.grid.bits.last(), &mut codes, &mut scales, &mut minima)
            {
                self.truncate(keys, values);
                return Err(Unstorable(value));
            }
            pack(self.grid.bits, &codes, &mut self.key_codes);
            self.key_scales.extend_from_slice(&scales);
            self.key_minima.extend_from_slice(&minima);
        }
        Ok(())
    }

    /// Appends the values of `count` tokens, as [`HeadCache::push_keys`] does keys, with a scale for each group of
    /// channels of a token.
    ///
    /// # Errors
    /// [`Unstorable`]; nothing is appended then.
    ///
    /// # Panics
    /// When `rows` is too short.
    pub fn push_values(&mut self, rows: &[f32], stride: usize, count: usize) -> Result<(), Unstorable> {
        self.push_values_on(instruction_set(), rows, stride, count)
    }

    pub(super) fn push_values_on(
        &mut self,
        set: InstructionSet,
        rows: &[f32],
        stride: usize,
        count: usize,
    ) -> Result<(), Unstorable> {
        let (group, d) = (self.grid.group, self.head_dim);
        let (keys, values) = (self.keys(), self.values());
        let mut codes = vec![0; d];
        let mut scales = vec![f16::ZERO; d / group];
        let mut minima = vec![f16::ZERO; d / group];
        for token in 0..count {
            let row = &rows[token * stride..][..d];
            if let Some(value) =
                token_codes(set, row, group, self.grid.bits.last(), &mut codes, &mut scales, &mut minima)
            {
                self.truncate(keys, values);
                return Err(Unstorable(value));
            }
            pack(self.grid.bits, &codes, &mut self.value_codes);
            self.value_scales.extend_from_slice(&scales);
            self.value_minima.extend_from_slice(&minima);
        }
        Ok(())
    }

    /// What all codes of keys stand for, `(token, channel)` with tokens `stride` elements apart.
    ///
    /// # Panics
    /// When `out` is too short.
    pub fn keys_into(&self, out: &mut [f32], stride: usize) {
        let (group, d) = (self.grid.group, self.head_dim);
        let codes = unpack(self.grid.bits, &self.key_codes);
        for (at, codes) in codes.chunks_exact(group).enumerate() {
            let (first, channel) = (at / d * group, at % d);
            let (scale, minimum) = (self.key_scales[at].to_f32(), self.key_minima[at].to_f32());
            for (token, code) in codes.iter().enumerate() {
                out[(first + token) * stride + channel] = f32::from(*code).mul_add(scale, minimum);
            }
        }
    }

    /// What all codes of values stand for, `(token, channel)` with tokens `stride` elements apart.
    ///
    /// # Panics
    /// When `out` is too short.
    pub fn values_into(&self, out: &mut [f32], stride: usize) {
        let (group, d) = (self.grid.group, self.head_dim);
        let codes = unpack(self.grid.bits, &self.value_codes);
        for (at, codes) in codes.chunks_exact(group).enumerate() {
            let (token, first) = (at * group / d, at * group % d);
            let (scale, minimum) = (self.value_scales[at].to_f32(), self.value_minima[at].to_f32());
            let out = &mut out[token * stride + first..][..group];
            for (out, code) in out.iter_mut().zip(codes) {
                *out = f32::from(*code).mul_add(scale, minimum);
            }
        }
    }
}

/// Scale and minimum of a group as they are stored, or the number that cannot be.
fn stored(low: f32, high: f32, last: f32) -> Result<(f16, f16), f32> {
    let (scale, minimum) = (f16::from_f32((high - low) / last), f16::from_f32(low));
    match (minimum.is_finite(), scale.is_finite()) {
        (true, true) => Ok((scale, minimum)),
        (false, _) => Err(low),
        (true, false) => Err(high),
    }
}

/// What codes are divided by: nothing differs in a group of scale 0, whose codes are 0.
fn divisor(scale: f16) -> f32 {
    if scale == f16::ZERO { f32::INFINITY } else { scale.to_f32() }
}

vectorised! {
    /// Codes `(channel, token)`, scales and minima of the channels of a group of tokens; what cannot be stored instead.
    fn channel_codes<V: Lanes>(
        rows: &[f32], stride: usize, group: usize, d: usize, last: f32,
        codes: &mut [u8], scales: &mut [f16], minima: &mut [f16],
    ) -> Option<f32> {
        assert!(rows.len() >= (group - 1) * stride + d && codes.len() >= group * d);
        for at in (0..d).step_by(WIDTH) {
            let count = (d - at).min(WIDTH);
            let mut low = V::splat(f32::INFINITY);
            let mut high = V::splat(f32::NEG_INFINITY);
            let mut damaged = V::splat(0.0);
            for token in 0..group {
                let x = V::load_partial(rows.as_ptr().add(token * stride + at), count, 0.0);
                (low, high) = (low.min(x), high.max(x));
                // Zero unless something is not finite.
                damaged = x.fma(V::splat(0.0), damaged);
            }
            let (low, high, damaged) = (low.to_array(), high.to_array(), damaged.to_array());
            let mut steps = [f32::INFINITY; WIDTH];
            let mut starts = [0.0_f32; WIDTH];
            for lane in 0..count {
                if damaged[lane].is_nan() {
                    return Some(f32::NAN);
                }
                match stored(low[lane], high[lane], last) {
                    Ok((scale, minimum)) => {
                        (scales[at + lane], minima[at + lane]) = (scale, minimum);
                        (steps[lane], starts[lane]) = (divisor(scale), minimum.to_f32());
                    }
                    Err(value) => return Some(value),
                }
            }
            let (step, start) = (V::load(steps.as_ptr()), V::load(starts.as_ptr()));
            for token in 0..group {
                let x = V::load_partial(rows.as_ptr().add(token * stride + at), count, 0.0);
                let code = x.sub(start).div(step).max(V::splat(0.0)).min(V::splat(last)).round().to_array();
                for lane in 0..count {
                    codes[(at + lane) * group + token] = code[lane] as u8;
                }
            }
        }
        None
    }
}

vectorised! {
    /// Codes, scales and minima of the groups of channels of one token; what cannot be stored instead.
    fn token_codes<V: Lanes>(
        row: &[f32], group: usize, last: f32, codes: &mut [u8], scales: &mut [f16], minima: &mut [f16],
    ) -> Option<f32> {
        assert!(codes.len() >= row.len() && row.len().is_multiple_of(group));
        for (index, part) in row.chunks_exact(group).enumerate() {
            let mut low = V::splat(f32::INFINITY);
            let mut high = V::splat(f32::NEG_INFINITY);
            let mut damaged = V::splat(0.0);
            for at in (0..group).step_by(WIDTH) {
                let x = V::load_partial(part.as_ptr().add(at), (group - at).min(WIDTH), part[0]);
                (low, high) = (low.min(x), high.max(x));
                damaged = x.fma(V::splat(0.0), damaged);
            }
            if damaged.sum().is_nan() {
                return Some(f32::NAN);
            }
            let low = -V::splat(0.0).sub(low).maximum();
            let (scale, minimum) = match stored(low, high.maximum(), last) {
                Ok(found) => found,
                Err(value) => return Some(value),
            };
            (scales[index], minima[index]) = (scale, minimum);
            let (step, start) = (V::splat(divisor(scale)), V::splat(minimum.to_f32()));
            for at in (0..group).step_by(WIDTH) {
                let count = (group - at).min(WIDTH);
                let x = V::load_partial(part.as_ptr().add(at), count, 0.0);
                let code = x.sub(start).div(step).max(V::splat(0.0)).min(V::splat(last)).round().to_array();
                for lane in 0..count {
                    codes[index * group + at + lane] = code[lane] as u8;
                }
            }
        }
        None
    }
}

/// Appends codes, one a byte, in so many bits each, low bits first.
pub(super) fn pack(bits: CodeBits, codes: &[u8], out: &mut Vec<u8>) {
    match bits {
        CodeBits::Two => {
            out.extend(codes.chunks(4).map(|four| four.iter().rev().fold(0, |byte, code| byte << 2 | code)));
        }
        CodeBits::Four => {
            out.extend(codes.chunks(2).map(|two| two.iter().rev().fold(0, |byte, code| byte << 4 | code)));
        }
        CodeBits::Eight => out.extend_from_slice(codes),
    }
}

/// The codes of whole bytes, one a byte.
pub(super) fn unpack(bits: CodeBits, bytes: &[u8]) -> Vec<u8> {
    let (width, mask) = (bits.count(), bits.last() as u8);
    bytes.iter().flat_map(|byte| (0..8 / width).map(move |place| byte >> (place * width) & mask)).collect()
}
