//! Even grids: the values `scale · (code − zero)` of a group of weights, and how scale and zero are found.

use half::f16;
use harness_core::ParameterError;
use rayon::prelude::*;

use super::packing::Packing;
use super::{Bits, QuantError, Quantized, check_groups};
use crate::prune::Site;

harness_core::choice! {
    /// Where a grid lies.
    pub enum Mode {
        /// From the least to the greatest weight, zero included; the zero point is a whole number of `bits` bits.
        Asym = "asym",
        /// As `asym`, over a range of 1e-5 at least, but zero need not lie in it: the grid of AWQ.
        AsymFree = "asym_free",
        /// Codes of −q to q with `q = 2^(bits − 1) − 1`, the largest magnitude at q.
        Sym = "sym",
        /// As `sym` with the code −q − 1 as well.
        SymFull = "sym_full",
        /// `2^bits` codes over twice the largest magnitude with the zero point in the middle, so that one code more lies below
        /// zero than above it.
        GptqSym = "gptq_sym",
    }
}

harness_core::choice! {
    /// How scales are stored. Codes are those of the stored scale.
    pub enum ScaleType {
        /// Half precision.
        F16 = "f16",
        /// Single precision.
        F32 = "f32",
    }
}

impl ScaleType {
    /// Bits of one scale.
    pub fn bits(self) -> u64 {
        match self {
            Self::F16 => 16,
            Self::F32 => 32,
        }
    }

    /// A positive scale as it is stored: never zero, and infinite where it is too large.
    pub fn stored(self, scale: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32(scale).to_f32().max(f16::MIN_POSITIVE_SUBNORMAL.to_f32()),
            Self::F32 => scale.max(f32::MIN_POSITIVE),
        }
    }
}

/// The nearest whole number, ties to even, of anything below `2^22`; larger numbers stay about as large, so that clamping them
/// to codes gives the same.
///
/// Adding `1.5 · 2^23` leaves no bit for a fraction. Two additions take the place of a call where the target has no rounding
/// instruction.
pub fn nearest_whole(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// Bits that a code may have.
const WIDTHS: [usize; 6] = [2, 3, 4, 5, 6, 8];

/// Bits of a code that some grid has.
///
/// # Errors
/// [`ParameterError::Together`] for 7.
pub fn width(bits: usize) -> Result<u32, ParameterError> {
    if WIDTHS.contains(&bits) {
        Ok(bits as u32)
    } else {
        Err(ParameterError::Together(format!("`bits = {bits}` is none of 2, 3, 4, 5, 6, 8")))
    }
}

/// The least range of [`Mode::AsymFree`].
const LEAST_RANGE: f32 = 1e-5;

/// How the grid of a group is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridRule {
    /// Bits of a code, 2, 3, 4, 5, 6 or 8.
    pub bits: u32,
    /// Where the grid lies.
    pub mode: Mode,
    /// How scales are stored.
    pub scales: ScaleType,
    /// Whether the range is shrunk to where `Σ |w − ŵ|^2.4` is least.
    pub mse_clip: bool,
}

/// The grid of one group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Distance of neighbouring values.
    pub scale: f32,
    /// The code of 0.
    pub zero: f32,
    low: f32,
    high: f32,
}

impl Grid {
    /// The code of a weight: the nearest value's, of two equally near ones the even quotient's.
    pub fn code(&self, weight: f32) -> f32 {
        (nearest_whole(weight / self.scale) + self.zero).clamp(self.low, self.high)
    }

    /// What a code stands for.
    pub fn value(&self, code: f32) -> f32 {
        self.scale * (code - self.zero)
    }
}

impl GridRule {
    /// Bits of the zero point of one group.
    pub fn zero_bits(self) -> u64 {
        if matches!(self.mode, Mode::Asym | Mode::AsymFree) { u64::from(self.bits) } else { 0 }
    }

    /// Bits of so many weights in so many groups.
    pub fn bits(self, weights: usize, groups: usize) -> Bits {
        let (weights, groups) = (weights as u64, groups as u64);
        Bits {
            codes: u64::from(self.bits) * weights,
            scales: self.scales.bits() * groups,
            zeros: self.zero_bits() * groups,
            ..Bits::default()
        }
    }

    /// Whether codes are numbered from a zero point.
    pub fn has_zeros(self) -> bool {
        matches!(self.mode, Mode::Asym | Mode::AsymFree | Mode::GptqSym)
    }

    /// The grid of a group of finite weights.
    ///
    /// # Errors
    /// [`QuantError::Scale`] when the scale is more than its type holds.
    pub fn fit(self, site: &Site, weights: &[f32]) -> Result<Grid, QuantError> {
        let start = if self.mode == Mode::AsymFree { weights.first().copied().unwrap_or(0.0) } else { 0.0 };
        let low = weights.iter().fold(start, |least, &weight| least.min(weight));
        let high = weights.iter().fold(start, |most, &weight| most.max(weight));
        let whole = self.spanning(low, high);
        if !whole.scale.is_finite() {
            let (site, largest) = (site.name.to_owned(), high.max(-low));
            return Err(QuantError::Scale { site, largest });
        }
        if !self.mse_clip || low == high {
            return Ok(whole);
        }
        // The steps of the published search: down to a fifth of the range.
        let mut best = (f32::INFINITY, whole);
        for step in 0..80 {
            let share = 1.0 - step as f32 / 100.0;
            let grid = self.spanning(share * low, share * high);
            let error: f32 = weights.iter().map(|&w| (grid.value(grid.code(w)) - w).abs().powf(2.4)).sum();
            if error < best.0 {
                best = (error, grid);
            }
        }
        Ok(best.1)
    }

    /// The grid of the range from `low` to `high`, with zero in it unless the mode is [`Mode::AsymFree`].
    fn spanning(self, low: f32, high: f32) -> Grid {
        let last = ((1u32 << self.bits) - 1) as f32;
        let half = ((1u32 << (self.bits - 1)) - 1) as f32;
        let most = high.max(-low);
        let (span, zero, least, greatest) = match self.mode {
            Mode::Asym => ((high - low) / last, 0.0, 0.0, last),
            Mode::AsymFree => ((high - low).max(LEAST_RANGE) / last, 0.0, 0.0, last),
            Mode::Sym => (most / half, 0.0, -half, half),
            Mode::SymFull => (most / half, 0.0, -half - 1.0, half),
            Mode::GptqSym => (2.0 * (most / last), f32::midpoint(last, 1.0), 0.0, last),
        };
        // A group of zeros: any scale will do, one is readable.
        let scale = if most == 0.0 { 1.0 } else { self.scales.stored(span) };
        let zero = match self.mode {
            Mode::Asym => (-low / scale).round_ties_even().clamp(0.0, last),
            Mode::AsymFree => (-(low / scale).round_ties_even()).clamp(0.0, last),
            _ => zero,
        };
        Grid { scale, zero, low: least, high: greatest }
    }
}

/// Rounds every weight to the nearest value of its group's grid.
///
/// # Errors
/// [`QuantError::Input`], [`QuantError::Group`], [`QuantError::Scale`].
pub fn rtn_groups(site: &Site, weight: &[f32], rule: GridRule, group: usize) -> Result<Quantized, QuantError> {
    check_groups(site, weight, group)?;
    let grids = weight.par_chunks(group).map(|group| rule.fit(site, group)).collect::<Result<Vec<_>, _>>()?;
    let mut codes = vec![0; weight.len()];
    let mut values = vec![0.0; weight.len()];
    codes.par_chunks_mut(group).zip(values.par_chunks_mut(group)).zip(weight.par_chunks(group)).zip(&grids).for_each(
        |(((codes, values), weight), grid)| {
            for ((code, value), &weight) in codes.iter_mut().zip(values).zip(weight) {
                let found = grid.code(weight);
                *code = found as i16;
                *value = grid.value(found);
            }
        },
    );
    Ok(Quantized {
        values,
        codes,
        scales: grids.iter().map(|grid| grid.scale).collect(),
        zeros: if rule.has_zeros() { grids.iter().map(|grid| grid.zero).collect() } else { Vec::new() },
        bits: rule.bits(weight.len(), grids.len()),
        fallback: None,
        packing: Some(Packing::even(rule.bits, group)),
        operators: None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WEIGHTS: [f32; 6] = [-1.0, -0.3, 0.0, 0.2, 0.55, 1.4];
    const SITE: Site = Site { name: "w", layer: 0, rows: 1, cols: 6 };

    fn rule(bits: u32, mode: Mode) -> GridRule {
        GridRule { bits, mode, scales: ScaleType::F32, mse_clip: false }
    }

    fn quantized(rule: GridRule, weights: &[f32]) -> (Grid, Vec<f32>, Vec<f32>) {
        let grid = rule.fit(&SITE, weights).unwrap();
        let codes: Vec<f32> = weights.iter().map(|&weight| grid.code(weight)).collect();
        let values = codes.iter().map(|&code| grid.value(code)).collect();
        (grid, codes, values)
    }

    fn near(found: &[f32], expected: &[f32]) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
    }

    #[test]
    fn six_weights_by_hand() {
        let (grid, codes, values) = quantized(rule(4, Mode::Asym), &WEIGHTS);
        assert_eq!((grid.zero, codes.as_slice()), (6.0, [0.0, 4.0, 6.0, 7.0, 9.0, 15.0].as_slice()));
        near(&values, &[-0.96, -0.32, 0.0, 0.16, 0.48, 1.44]);
        // −0.3 / 0.2 is a tie and goes to the even −2.
        let (_, codes, values) = quantized(rule(4, Mode::Sym), &WEIGHTS);
        assert_eq!(codes, [-5.0, -2.0, 0.0, 1.0, 3.0, 7.0]);
        near(&values, &[-1.0, -0.4, 0.0, 0.2, 0.6, 1.4]);
        // The third convention is not centred: the largest weight is cut.
        let (grid, codes, values) = quantized(rule(4, Mode::GptqSym), &WEIGHTS);
        assert_eq!((grid.zero, codes.as_slice()), (8.0, [3.0, 6.0, 8.0, 9.0, 11.0, 15.0].as_slice()));
        near(&values, &[-0.933_333, -0.373_333, 0.0, 0.186_667, 0.56, 1.306_667]);
    }

    #[test]
    fn whole_numbers_are_those_of_the_library_as_far_as_codes_reach() {
        for at in -40_000..40_000_i32 {
            let x = at as f32 * 0.125;
            assert_eq!(nearest_whole(x), x.round_ties_even(), "{x}");
        }
        for large in [5e6_f32, 3e9, 1e30, f32::MAX] {
            assert_eq!((nearest_whole(large).clamp(0.0, 255.0), nearest_whole(-large).clamp(0.0, 255.0)), (255.0, 0.0));
        }
    }

    #[test]
    fn the_full_range_has_one_code_more_below() {
        let weights = [-1.2, 0.4, 1.0];
        // In `sym` and `sym_full` alike the largest magnitude is at q; only rounding reaches −q − 1.
        let (_, codes, _) = quantized(rule(2, Mode::SymFull), &weights);
        assert_eq!(codes, [-1.0, 0.0, 1.0]);
        let grid = rule(3, Mode::SymFull).fit(&SITE, &[1.0]).unwrap();
        assert_eq!((grid.code(-9.0), grid.code(9.0)), (-4.0, 3.0));
        assert_eq!(rule(3, Mode::Sym).fit(&SITE, &[1.0]).unwrap().code(-9.0), -3.0);
    }

    #[test]
    fn zeros_and_constants_stay() {
        for mode in [Mode::Asym, Mode::Sym, Mode::SymFull, Mode::GptqSym] {
            for mse_clip in [false, true] {
                let rule = GridRule { mse_clip, ..rule(4, mode) };
                let (grid, _, values) = quantized(rule, &[0.0; 5]);
                assert_eq!((grid.scale, values.as_slice()), (1.0, [0.0; 5].as_slice()), "{mode:?}");
                for constant in [-0.7, 3.0, 1e-30] {
                    let (grid, _, values) = quantized(rule, &[constant; 4]);
                    // `gptq_sym` cuts the largest positive weight: one step of its grid is missing there.
                    let room = if mode == Mode::GptqSym { 1.0 } else { 0.5 };
                    assert!(
                        (values[0] - constant).abs() <= grid.scale * room * 1.001,
                        "{mode:?} {constant} {values:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn scales_that_do_not_fit_are_refused() {
        let half = GridRule { scales: ScaleType::F16, ..rule(8, Mode::Sym) };
        let error = half.fit(&SITE, &[1e7]).unwrap_err();
        assert_eq!(error, QuantError::Scale { site: "w".into(), largest: 1e7 });
        assert!(rule(8, Mode::Sym).fit(&SITE, &[1e7]).is_ok());
        // A scale too small for half precision is the least there is, not zero.
        assert_eq!(half.fit(&SITE, &[1e-9]).unwrap().scale, f16::MIN_POSITIVE_SUBNORMAL.to_f32());
    }

    #[test]
    fn clipping_gives_up_an_outlier_for_the_rest() {
        let mut weights: Vec<f32> = (0..511).map(|i| (i as f32 * 0.7).sin() * 0.3).collect();
        weights.push(1.0);
        let error = |mse_clip| {
            let rule = GridRule { mse_clip, ..rule(3, Mode::Asym) };
            let (_, _, values) = quantized(rule, &weights);
            values.iter().zip(&weights).map(|(a, b)| (a - b).abs().powf(2.4)).sum::<f32>()
        };
        assert!(error(true) < 0.8 * error(false), "{} {}", error(true), error(false));
    }
}
