//! Keys and values of attention in two, four or eight bits, and the step of decoding that reads them as they are.
//!
//! Keys share a scale and a minimum a channel over groups of tokens, because some channels of keys are large at every
//! token; values share them a token over groups of channels. A code `q` stands for `q · scale + minimum`, both in half
//! precision, as in KIVI (Liu et al., 2024).

mod attention;
mod evict;
mod lanes;
mod quantize;

#[cfg(test)]
mod tests;

use half::f16;

pub use attention::{Shape, Window, attention};
pub use evict::{Budget, Eviction, Pool, Pooling, highest};

/// Bits of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodeBits {
    /// Four values.
    Two,
    /// Sixteen.
    Four,
    /// 256.
    Eight,
}

impl CodeBits {
    /// How many bits; `None` for widths that have no codes.
    pub fn of(bits: usize) -> Option<Self> {
        match bits {
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            8 => Some(Self::Eight),
            _ => None,
        }
    }

    /// Bits a code.
    pub fn count(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The largest code.
    pub fn last(self) -> f32 {
        ((1_u32 << self.count()) - 1) as f32
    }

    /// Bytes of so many codes, which fill them.
    fn bytes(self, codes: usize) -> usize {
        codes * self.count() / 8
    }
}

/// How finely, and over how many tokens or channels a scale reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Bits of a code.
    pub bits: CodeBits,
    /// Tokens of a group of keys, channels of a group of values.
    pub group: usize,
}

impl Grid {
    /// Whether the codes of a group fill whole bytes.
    pub fn fills_bytes(self) -> bool {
        self.group > 0 && (self.group * self.bits.count()).is_multiple_of(8)
    }
}

/// What keys and values are kept as.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum CacheFormat {
    /// As they were computed.
    #[default]
    Full,
    /// The newest as they were computed, the others as codes.
    Quantized {
        /// Of the codes.
        grid: Grid,
        /// Tokens at most whose values are kept as they were computed; keys become codes when so many are. A multiple of
        /// the group.
        window: usize,
    },
    /// As they were computed, of some keys only.
    Evicting(Eviction),
}

impl CacheFormat {
    /// Whether keys and values of some positions are let go that later queries would look at.
    pub fn evicts(self) -> bool {
        matches!(self, Self::Evicting(_))
    }
}

/// A number that half precision cannot hold as the minimum of a group, or a span that it cannot hold as its scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unstorable(pub f32);

/// Keys and values of one key-value head of one sequence, as codes.
///
/// Codes of keys are `(group of tokens, channel, token of the group)`, those of values `(token, channel)`, low bits
/// first; scales and minima are `(group of tokens, channel)` and `(token, group of channels)`.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadCache {
    grid: Grid,
    head_dim: usize,
    key_codes: Vec<u8>,
    key_scales: Vec<f16>,
    key_minima: Vec<f16>,
    value_codes: Vec<u8>,
    value_scales: Vec<f16>,
    value_minima: Vec<f16>,
}

impl HeadCache {
    /// Nothing yet, of a head of `head_dim` channels.
    ///
    /// # Panics
    /// When groups do not divide the head or their codes do not fill bytes.
    pub fn new(grid: Grid, head_dim: usize) -> Self {
        assert!(grid.fills_bytes() && head_dim.is_multiple_of(grid.group), "{grid:?} of {head_dim} channels");
        Self {
            grid,
            head_dim,
            key_codes: Vec::new(),
            key_scales: Vec::new(),
            key_minima: Vec::new(),
            value_codes: Vec::new(),
            value_scales: Vec::new(),
            value_minima: Vec::new(),
        }
    }

    /// How its codes are made.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Tokens whose keys it holds, whole groups of them.
    pub fn keys(&self) -> usize {
        self.key_scales.len() / self.head_dim * self.grid.group
    }

    /// Tokens whose values it holds.
    pub fn values(&self) -> usize {
        self.value_scales.len() / (self.head_dim / self.grid.group)
    }

    /// The codes of the keys, one a byte, `(group of tokens, channel, token of the group)`, with the scales and the minima
    /// `(group of tokens, channel)`.
    pub fn key_parts(&self) -> (Vec<u8>, &[f16], &[f16]) {
        (quantize::unpack(self.grid.bits, &self.key_codes), &self.key_scales, &self.key_minima)
    }

    /// The codes of the values, one a byte, `(token, channel)`, with the scales and the minima `(token, group of channels)`.
    pub fn value_parts(&self) -> (Vec<u8>, &[f16], &[f16]) {
        (quantize::unpack(self.grid.bits, &self.value_codes), &self.value_scales, &self.value_minima)
    }

    /// Bytes of codes, scales and minima.
    pub fn bytes(&self) -> usize {
        let halves = [&self.key_scales, &self.key_minima, &self.value_scales, &self.value_minima];
        self.key_codes.len()
            + self.value_codes.len()
            + halves.iter().map(|all| size_of_val(all.as_slice())).sum::<usize>()
    }

    /// Forgets all keys and values but the first so many.
    ///
    /// # Panics
    /// When the keys that stay are no whole groups.
    pub fn truncate(&mut self, keys: usize, values: usize) {
        let (groups, bits) = (keys / self.grid.group, self.grid.bits);
        assert_eq!(groups * self.grid.group, keys, "whole groups of {} keys", self.grid.group);
        self.key_codes.truncate(bits.bytes(keys * self.head_dim));
        self.value_codes.truncate(bits.bytes(values * self.head_dim));
        let parts = self.head_dim / self.grid.group;
        for (halves, length) in [
            (&mut self.key_scales, groups * self.head_dim),
            (&mut self.key_minima, groups * self.head_dim),
            (&mut self.value_scales, values * parts),
            (&mut self.value_minima, values * parts),
        ] {
            halves.truncate(length);
        }
    }
}
