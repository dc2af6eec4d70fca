//! FP4: four-bit floats with two bits of exponent and one of mantissa, in blocks, in the three sets that go by that name.
//!
//! The magnitudes divided by the largest are 0, x, 1/6, 1/4, 1/3, 1/2, 2/3 and 1, and the sets differ in the number `x` below the
//! normal ones: 0.0052083 in bitsandbytes (bias 3), 0.0208333 with bias 2, and 1/12 in the OCP formats, whose ladder is
//! 0, 1/12, 1/6, 1/4, 1/3, 1/2, 2/3, 1.
//!
//! Tim Dettmers, Artidoro Pagnoni, Ari Holtzman, Luke Zettlemoyer: QLoRA: Efficient Finetuning of Quantized LLMs, NeurIPS
//! 2023; codes as bitsandbytes numbers them, the sign in the highest bit.
//!
//! # Difference from the reference
//! None in the values. Codes of the two other sets number the magnitudes in ascending order, the sign in the highest bit.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::quant::codebook::{Codebook, E2M1};
use crate::quant::lookup::Lookup;
use crate::registry::Method;

harness_core::choice! {
    /// Which set of values.
    pub enum Variant {
        /// That of bitsandbytes: bias 3.
        Bitsandbytes = "bitsandbytes",
        /// Bias 2, as the general formula of the k-bit paper's body gives it.
        Bias2 = "bias2",
        /// That of the OCP microscaling formats.
        Ocp = "ocp",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Which of the three sets of values.
        variant: Variant = Variant::Bitsandbytes;
        /// Weights of the flattened matrix that share a scale: a power of two from 32 to 4096.
        block: usize = 64, Domain::closed(32.0, 4096.0);
        /// Whether the scales are quantized as well.
        double_quant: bool = false;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "fp4",
        axis: Axis::Quant,
        about: "rounds the weights of a block to four-bit floats",
        source: "Dettmers, Pagnoni, Holtzman, Zettlemoyer: QLoRA: Efficient Finetuning of Quantized LLMs, NeurIPS 2023",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { variant, block, double_quant } = Settings::resolve(arm)?;
    Ok(Method::Quantizer(Box::new(Lookup::new(book(variant), block, double_quant)?)))
}

/// The values of a set, divided by the largest, with their codes.
pub fn book(variant: Variant) -> Codebook {
    let magnitudes: [f64; 8] = match variant {
        Variant::Bitsandbytes => [0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0],
        Variant::Bias2 => [0.0, 0.125, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0],
        Variant::Ocp => E2M1.map(f64::from),
    };
    let most = magnitudes.iter().fold(0.0_f64, |most, &value| most.max(value));
    let pairs = magnitudes.iter().zip(0_i16..).flat_map(|(&value, code)| {
        let value = (value / most) as f32;
        // The code 8 would be a second zero; it decodes, but nothing is encoded with it.
        [(value, code), (0.0 - value, code + 8)]
    });
    Codebook::numbered(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_bits_of_the_format() {
        let book = book(Variant::Bitsandbytes);
        let code = |x: f32| book.code(book.nearest(x));
        let twelfths: Vec<i16> = [0.0, 0.0625, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0].map(|value: f32| code(value / 12.0)).into();
        assert_eq!(twelfths, [0b000, 0b001, 0b110, 0b111, 0b100, 0b101, 0b010, 0b011]);
        assert_eq!((code(-1.0), code(-0.25)), (0b1011, 0b1111));
    }
}
