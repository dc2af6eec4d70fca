//! Quantized matrices as kernels multiply them: codes that lie packed, never written out as f32.

use harness_kernels::packed::{self, PackedMatrix};

use super::{QuantError, Quantized};
use crate::prune::Site;

/// How the codes of a matrix are to be read by kernels; methods whose codes no kernel reads have none.
#[derive(Debug, Clone, PartialEq)]
pub struct Packing {
    /// Bits that hold a code in memory: 4 or 8, however few of them the code uses.
    pub bits: u32,
    /// Weights that share a scale: a group of a row, or a block of the flattened matrix.
    pub block: usize,
    /// What a code stands for.
    pub meaning: Meaning,
}

/// What a code stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// `scale · (code − zero)` with the zero points of the matrix, 0 where it has none.
    Even,
    /// `scale · (code − middle) + zero` with the zeros of the matrix, 0 where it has none.
    Added(f32),
    /// `scale · table[code]`.
    Table(Box<[f32; 16]>),
}

impl Packing {
    /// Codes of an even grid.
    pub fn even(bits: u32, block: usize) -> Self {
        Self { bits: container(bits), block, meaning: Meaning::Even }
    }

    /// Codes of a codebook; `None` where it has more values than a table.
    pub fn table(pairs: impl Iterator<Item = (i16, f32)>, bits: u32, block: usize) -> Option<Self> {
        let mut table = Box::new([0.0; 16]);
        for (code, value) in pairs {
            *table.get_mut(usize::try_from(code).ok()?)? = value;
        }
        (bits <= 4).then_some(Self { bits: 4, block, meaning: Meaning::Table(table) })
    }
}

/// What holds codes of so many bits.
fn container(bits: u32) -> u32 {
    if bits <= 4 { 4 } else { 8 }
}

impl Quantized {
    /// The matrix as the kernels multiply it.
    ///
    /// # Errors
    /// [`QuantError::NoKernel`] when none reads its codes.
    pub fn pack(&self, site: &Site) -> Result<PackedMatrix, QuantError> {
        let refuse = |why: String| QuantError::NoKernel { site: site.name.to_owned(), why };
        let Some(packing) = &self.packing else {
            return Err(refuse("no kernel reads the codes of this method as they are set".to_owned()));
        };
        let group = packing.block.min(site.cols);
        if !site.cols.is_multiple_of(group) || !packing.block.is_multiple_of(group) {
            let why = format!("blocks of {} begin and end inside its rows of {}", packing.block, site.cols);
            return Err(refuse(why));
        }
        // The first code that the container holds: signed codes are counted from there.
        let middle = 1_i16 << (packing.bits - 1);
        let first = if self.codes.iter().any(|&code| code < 0) { -middle } else { 0 };
        let codes = self.codes.iter().map(|&code| u8::try_from(code - first));
        let mut codes = codes.collect::<Result<Vec<u8>, _>>().map_err(|error| refuse(error.to_string()))?;
        // A block of several rows gives each of them its scale.
        let spread = |values: &[f32]| -> Vec<f32> {
            (0..self.codes.len() / group).filter_map(|at| values.get(at * group / packing.block).copied()).collect()
        };
        let mut scales = spread(&self.scales);
        let zeros: Option<Vec<f32>> = match &packing.meaning {
            Meaning::Even => (!self.zeros.is_empty()).then(|| spread(&self.zeros)),
            Meaning::Added(level) if !self.zeros.is_empty() => {
                let added = spread(&self.zeros);
                let groups = scales.iter_mut().zip(codes.chunks_mut(group)).zip(added);
                let zero = |((scale, codes), added): ((&mut f32, &mut [u8]), f32)| {
                    if *scale == 0.0 {
                        // All of the group is what is added.
                        *scale = 1.0;
                        codes.fill(0);
                        -added
                    } else {
                        level - added / *scale
                    }
                };
                Some(groups.map(zero).collect())
            }
            Meaning::Added(_) | Meaning::Table(_) => None,
        };
        let alone = match packing.meaning {
            Meaning::Added(level) => level,
            _ => 0.0,
        } - f32::from(first);
        let zeros = zeros.map(|zeros| zeros.into_iter().map(|zero| zero - f32::from(first)).collect::<Vec<f32>>());
        let meaning = match (&packing.meaning, &zeros) {
            (Meaning::Table(table), _) => packed::Meaning::Table(table),
            (_, Some(zeros)) if zeros.iter().all(|zero| *zero == zeros[0]) => packed::Meaning::Zero(zeros[0]),
            (_, Some(zeros)) => packed::Meaning::Zeros(zeros),
            (_, None) => packed::Meaning::Zero(alone),
        };
        let bits = if packing.bits == 4 { packed::Bits::Four } else { packed::Bits::Eight };
        let (rows, cols) = (site.rows, site.cols);
        let source = packed::Quantized { rows, cols, bits, group, codes: &codes, scales: &scales, meaning };
        PackedMatrix::new(&source).map_err(|error| refuse(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use harness_core::Arm;

    use super::*;
    use crate::prune::Needs;
    use crate::registry::quantizer;
    use crate::statistics::LinearStatistics;

    const COLS: usize = 256;
    const SITE: Site = Site { name: "blocks.0.up", layer: 0, rows: 20, cols: COLS };

    fn quantized(arm: &str) -> Quantized {
        let weight: Vec<f32> = (0..20 * COLS)
            .map(|i| if i / COLS == 7 { 0.0 } else { (i as f32 * 0.37).sin() * (1.0 + (i % 13) as f32) - 0.2 })
            .collect();
        let mut statistics = LinearStatistics::new(COLS, Needs::SECOND_MOMENT);
        let x: Vec<f32> = (0..2 * COLS * COLS).map(|i| (i * 7919 % 2003) as f32 / 1001.0 - 1.0).collect();
        statistics.add(&x).unwrap();
        let arm: Arm = arm.parse().unwrap();
        quantizer(&arm).unwrap().quantize(&SITE, &weight, Some(&statistics)).unwrap()
    }

    #[test]
    fn packed_codes_stand_for_the_values() {
        for arm in [
            "rtn(group=64)",
            "rtn(group=-1)",
            "rtn(group=32, bits=2)",
            "rtn(group=32, bits=3, mode=sym)",
            "rtn(group=64, mode=sym)",
            "rtn(group=64, mode=sym_full, bits=8)",
            "rtn(group=64, mode=gptq_sym)",
            "rtn(bits=5)",
            "rtn(bits=8, group=64)",
            "gptq(group=64)",
            "gptq(group=64, act_order=true, static_groups=true)",
            "gptq(group=-1, act_order=true)",
            "hqq",
            "hqq(bits=8)",
            "nf4",
            "nf4(block=512)",
            "nf4(double_quant=true)",
            "fp4",
            "fp4(variant=ocp)",
            "af4",
            "kbit",
            "kbit(bits=3, dtype=dynamic)",
            "kbit(dtype=quantile)",
            "kbit(dtype=int, block=128)",
            "q4_0",
            "q4_1",
            "q5_0",
            "q5_1",
            "q8_0",
            "q4_k",
            "q5_k",
            "mxfp4",
        ] {
            let found = quantized(arm);
            let packed = found.pack(&SITE).unwrap_or_else(|error| panic!("{arm}: {error}"));
            let most = found.values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let apart = packed.dequantise().iter().zip(&found.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart <= 2e-6 * most, "{arm}: {apart} of {most}");
        }
    }

    #[test]
    fn what_no_kernel_reads_is_refused_with_the_reason() {
        for (arm, why) in [
            ("kbit(bits=5)", "no kernel reads"),
            ("kbit(center=tensor)", "no kernel reads"),
            ("gptq(group=64, act_order=true)", "no kernel reads"),
            ("q6_k", "no kernel reads"),
            ("nvfp4", "no kernel reads"),
            ("fp8", "no kernel reads"),
            ("rtn(group=16)", "multiple of 32"),
        ] {
            let error = quantized(arm).pack(&SITE).unwrap_err().to_string();
            assert!(error.starts_with("blocks.0.up: ") && error.contains(why), "{arm}: {error}");
        }
        // Blocks that run over the ends of rows.
        let site = Site { rows: 64, cols: 96, ..SITE };
        let nf4 = quantizer(&"nf4".parse().unwrap()).unwrap();
        let error = nf4.quantize(&site, &vec![0.5; 64 * 96], None).unwrap().pack(&site).unwrap_err().to_string();
        assert!(error.contains("blocks of 64 begin and end inside its rows of 96"), "{error}");
    }
}
