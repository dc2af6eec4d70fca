//! Second differences of falling probabilities, in f64: neighbours differ by little, so f32 would leave rounding only.

use crate::instruction_set;
use crate::vector::vectorised;

/// Second differences between two totals.
pub const BLOCK: usize = 64;

/// Partial sums of a total.
const LANES: usize = 8;

/// Sums of the absolute second differences of `e^(z − falling[0])` up to the end of every [`BLOCK`] of them, the last block
/// being shorter. Logits that follow those of an earlier call may be appended: blocks that have their total are not
/// taken again, so the last one has to be removed unless it was full.
///
/// # Panics
/// When there are fewer than three logits.
pub fn totals(falling: &[f32], totals: &mut Vec<f64>) {
    assert!(falling.len() > 2, "second differences of {} logits", falling.len());
    totals_on(instruction_set(), falling, totals);
}

/// The absolute second differences of one block, zero behind the last.
pub fn block(falling: &[f32], block: usize) -> [f64; BLOCK] {
    let mut bends = [0.0; BLOCK];
    block_on(instruction_set(), falling, block, &mut bends);
    bends
}

/// `e^(z − max)`, within 1e-15 of it, for `z` up to `max`.
pub fn weight(z: f32, max: f32) -> f64 {
    wide_exp(f64::from(z) - f64::from(max))
}

vectorised! {
    fn totals_on<V>(falling: &[f32], totals: &mut Vec<f64>) -> () {
        let blocks = (falling.len() - 2).div_ceil(BLOCK);
        let mut total = totals.last().copied().unwrap_or(0.0);
        let mut p = [0.0; BLOCK + 2];
        let mut first = true;
        for block in totals.len()..blocks {
            if first {
                weigh(falling, block, 0, &mut p);
                first = false;
            } else {
                // The last two weights of a block are the first of the next.
                (p[0], p[1]) = (p[BLOCK], p[BLOCK + 1]);
                weigh(falling, block, 2, &mut p);
            }
            let count = (falling.len() - 2 - block * BLOCK).min(BLOCK);
            let mut lanes = [0.0; LANES];
            if count == BLOCK {
                for start in (0..BLOCK).step_by(LANES) {
                    for lane in 0..LANES {
                        let at = start + lane;
                        lanes[lane] += bend(p[at], p[at + 1], p[at + 2]);
                    }
                }
            } else {
                (0..count).for_each(|at| lanes[at % LANES] += bend(p[at], p[at + 1], p[at + 2]));
            }
            total += lanes.iter().sum::<f64>();
            totals.push(total);
        }
    }
}

vectorised! {
    fn block_on<V>(falling: &[f32], block: usize, bends: &mut [f64; BLOCK]) -> () {
        let mut p = [0.0; BLOCK + 2];
        weigh(falling, block, 0, &mut p);
        let count = falling.len().saturating_sub(2 + block * BLOCK).min(BLOCK);
        (0..count).for_each(|at| bends[at] = bend(p[at], p[at + 1], p[at + 2]));
    }
}

/// Weights of the logits under a block and of the two behind it, from the place `from` of them on.
#[inline(always)]
fn weigh(falling: &[f32], block: usize, from: usize, p: &mut [f64; BLOCK + 2]) {
    let (max, start) = (falling[0], block * BLOCK);
    if let (2, Some(part)) = (from, falling.get(start + 2..start + 2 + BLOCK)) {
        for at in 0..BLOCK {
            p[at + 2] = weight(part[at], max);
        }
    } else {
        let part = falling.get(start + from..).unwrap_or_default();
        p[from..].iter_mut().zip(part).for_each(|(p, z)| *p = weight(*z, max));
    }
}

#[inline(always)]
fn bend(first: f64, middle: f64, last: f64) -> f64 {
    ((first - middle) - (middle - last)).abs()
}

/// `e^x` for `x <= 0` by a polynomial, without a table or a branch, so that loops over it become vectors. Zero below -708.
#[inline(always)]
fn wide_exp(x: f64) -> f64 {
    // Adding and taking away 1.5 · 2^52 rounds to the nearest integer, which then stands in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let clamped = if x < -708.0 { -708.0 } else { x };
    let shifted = clamped.mul_add(std::f64::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts, the first with trailing zeros so that n times it is exact.
    let r = n.mul_add(-1.908_214_929_270_587_7e-10, n.mul_add(-0.693_147_180_369_123_8, clamped));
    let mut p = 1.0_f64 / 479_001_600.0;
    for coefficient in [
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p.mul_add(r, coefficient);
    }
    let power = f64::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(1023)) << 52);
    if x < -708.0 { 0.0 } else { p * power }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::available;

    fn falling(count: usize) -> Vec<f32> {
        let mut all: Vec<f32> = (0..count).map(|at| ((at as f64 * 12.9898).sin() * 6.0) as f32).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        all
    }

    #[test]
    fn exponentials_are_those_of_the_library() {
        for at in 0..60_000 {
            let value = at as f32 * -0.0131;
            let (found, wanted) = (weight(value, 0.0), f64::from(value).exp());
            assert!((found - wanted).abs() <= 1e-15 * wanted || value < -700.0, "{value}: {found} for {wanted}");
        }
        assert_eq!(weight(3.5, 3.5), 1.0);
        assert_eq!(weight(-3e38, 3e38), 0.0);
    }

    #[test]
    fn totals_are_those_of_a_plain_loop_on_every_instruction_set() {
        for count in [3, 4, 65, 66, 67, 130, 4999] {
            let logits = falling(count);
            let p: Vec<f64> = logits.iter().map(|z| (f64::from(*z) - f64::from(logits[0])).exp()).collect();
            let bends: Vec<f64> = p.windows(3).map(|p| ((p[0] - p[1]) - (p[1] - p[2])).abs()).collect();
            let mut oracle = Vec::new();
            totals_on(crate::InstructionSet::Scalar, &logits, &mut oracle);
            assert_eq!(oracle.len(), bends.len().div_ceil(BLOCK));
            for (at, total) in oracle.iter().enumerate() {
                let wanted: f64 = bends[..((at + 1) * BLOCK).min(bends.len())].iter().sum();
                assert!((total - wanted).abs() <= 1e-14 * count as f64, "{count}: {total} for {wanted}");
                for (found, wanted) in block(&logits, at).iter().zip(&bends[at * BLOCK..]) {
                    assert!((found - wanted).abs() <= 4e-15, "{found} for {wanted}");
                }
            }
            for set in available() {
                let mut again = Vec::new();
                totals_on(set, &logits, &mut again);
                assert_eq!(again, oracle, "{set:?}");
                // In two parts.
                let first = (count / 2).max(3);
                let mut parts = Vec::new();
                totals_on(set, &logits[..first], &mut parts);
                parts.truncate((first - 2) / BLOCK);
                totals_on(set, &logits, &mut parts);
                assert_eq!(parts, oracle, "{set:?}");
            }
        }
    }
}
