//! The theoretical receptive field of biases by distance (Qin et al., 2023, Exploring transformer extrapolation).
//!
//! A bias `β(Δ)` on the score of a key `Δ` before its query multiplies the key's weight by `b_Δ = e^β(Δ)`. Where `B = Σ b_Δ` converges, a
//! query cannot be drowned by ever more keys, and the field of `ε` is the least number of newest keys that hold more than `1 − ε` of `B`.
//! Sums are of terms up to where what is left is known from its integral.

/// Weights by distance whose sum is known to converge or to diverge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weights {
    /// `e^(−slope Δ)`: linear biases.
    Geometric {
        /// Of the bias.
        slope: f64,
    },
    /// `(1 + aΔ)^(−p)`: logarithmic biases.
    Power {
        /// The power, `p`.
        power: f64,
        /// Of the distance, `a`.
        rate: f64,
    },
    /// `e^(−a Δ^p)`: biases of powers.
    Stretched {
        /// The power, `p`.
        power: f64,
        /// The factor, `a`.
        rate: f64,
    },
    /// `e^(−ln² (Δ + 1))`.
    LogSquare,
    /// A bias that does not fall for ever: buckets that end, or none at all.
    Constant,
}

/// Why there is no field.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FieldError {
    /// The sum has no bound, so that no number of keys holds a share of it.
    #[error("the weights do not converge: ever more keys drown any of them")]
    Divergent,
    /// More keys than are counted.
    #[error("the field has more than {0} keys")]
    Beyond(usize),
    /// A share or a parameter out of range.
    #[error("`{name} = {value}` must be {allowed}")]
    Range {
        /// Which.
        name: &'static str,
        /// Given.
        value: f64,
        /// What it must be.
        allowed: &'static str,
    },
}

/// Keys that are counted one by one.
const COUNTED: usize = 1 << 24;

impl Weights {
    /// `b_Δ`.
    pub fn at(&self, distance: usize) -> f64 {
        let distance = distance as f64;
        match *self {
            Self::Geometric { slope } => (-slope * distance).exp(),
            Self::Power { power, rate } => (1.0 + rate * distance).powf(-power),
            Self::Stretched { power, rate } => (-rate * distance.powf(power)).exp(),
            Self::LogSquare => (-(distance + 1.0).ln().powi(2)).exp(),
            Self::Constant => 1.0,
        }
    }

    fn check(&self) -> Result<(), FieldError> {
        let positive = |name, value: f64| {
            if value > 0.0 && value.is_finite() {
                return Ok(());
            }
            Err(FieldError::Range { name, value, allowed: "a positive number" })
        };
        match *self {
            Self::Geometric { slope } => positive("slope", slope),
            Self::Power { power, rate } | Self::Stretched { power, rate } => {
                positive("power", power)?;
                positive("rate", rate)
            }
            Self::LogSquare | Self::Constant => Ok(()),
        }
    }

    /// `Σ_{Δ ≥ n} b_Δ`, where it is known in closed form or, of powers, by Euler and Maclaurin's formula.
    fn rest(&self, n: usize) -> Option<f64> {
        match *self {
            Self::Geometric { slope } => Some((-slope * n as f64).exp() / -(-slope).exp_m1()),
            Self::Power { power, rate } => {
                let (x, first) = (1.0 + rate * n as f64, self.at(n));
                let slope = -power * rate * first / x;
                Some(x * first / (rate * (power - 1.0)) + first / 2.0 - slope / 12.0)
            }
            _ => None,
        }
    }

    /// `B`.
    fn total(&self) -> Result<f64, FieldError> {
        match *self {
            Self::Constant => return Err(FieldError::Divergent),
            Self::Power { power, .. } if power <= 1.0 => return Err(FieldError::Divergent),
            _ => {}
        }
        let mut sum = 0.0;
        for distance in 0..COUNTED {
            let term = self.at(distance);
            // Far enough for the formula of the rest to be exact to the last digits, or for nothing to be left.
            if let Some(rest) = self.rest(distance).filter(|_| distance >= 1000) {
                return Ok(sum + rest);
            }
            if term * (distance as f64 + 1.0) < 1e-18 * sum {
                return Ok(sum);
            }
            sum += term;
        }
        Err(FieldError::Beyond(COUNTED))
    }

    /// The least number of newest keys that hold more than `1 − ε` of all weight.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn receptive_field(&self, epsilon: f64) -> Result<usize, FieldError> {
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(FieldError::Range { name: "epsilon", value: epsilon, allowed: "between 0 and 1" });
        }
        self.check()?;
        let enough = (1.0 - epsilon) * self.total()?;
        let mut sum = 0.0;
        for distance in 0..COUNTED {
            sum += self.at(distance);
            if sum > enough {
                return Ok(distance + 1);
            }
        }
        Err(FieldError::Beyond(COUNTED))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_computed_by_hand() {
        let fields = |weights: Weights| [0.1, 0.05, 0.01].map(|epsilon| weights.receptive_field(epsilon).unwrap());
        for (slope, expected) in [
            (0.5, [5, 6, 10]),
            (0.25, [10, 12, 19]),
            (1.0 / 16.0, [37, 48, 74]),
            (1.0 / 64.0, [148, 192, 295]),
            (1.0 / 256.0, [590, 767, 1179]),
        ] {
            assert_eq!(fields(Weights::Geometric { slope }), expected);
        }
        assert_eq!(fields(Weights::Power { power: 2.0, rate: 1.0 }), [6, 12, 61]);
        assert_eq!(fields(Weights::Power { power: 1.5, rate: 1.0 }), [59, 234, 5861]);
        assert_eq!(fields(Weights::LogSquare), [4, 5, 9]);
        // A power of 1 is the linear bias.
        assert_eq!(fields(Weights::Stretched { power: 1.0, rate: 0.25 }), [10, 12, 19]);
        let squares = Weights::Power { power: 2.0, rate: 1.0 }.total().unwrap();
        assert!((squares - std::f64::consts::PI.powi(2) / 6.0).abs() < 1e-12);
        assert!((Weights::LogSquare.total().unwrap() - 2.238_181).abs() < 5e-7);
    }

    #[test]
    fn what_has_no_field_is_said() {
        for weights in [Weights::Constant, Weights::Power { power: 1.0, rate: 1.0 }] {
            assert_eq!(weights.receptive_field(0.1), Err(FieldError::Divergent));
        }
        assert_eq!(Weights::Power { power: 1.01, rate: 1.0 }.receptive_field(0.01), Err(FieldError::Beyond(COUNTED)));
        for epsilon in [0.0, 1.0, f64::NAN] {
            assert!(matches!(Weights::LogSquare.receptive_field(epsilon), Err(FieldError::Range { .. })));
        }
        assert!(Weights::Geometric { slope: 0.0 }.receptive_field(0.1).is_err());
    }

    proptest! {
        /// `⌈−ln ε / m⌉` of linear biases, and a smaller share needs no fewer keys.
        #[test]
        fn linear_biases_have_their_closed_form(slope in 0.001f64..2.0, epsilon in 0.001f64..0.9) {
            let weights = Weights::Geometric { slope };
            let field = weights.receptive_field(epsilon).unwrap();
            let exact = -epsilon.ln() / slope;
            prop_assert!((field as f64 - exact.ceil()).abs() <= f64::from((exact - exact.round()).abs() < 1e-6), "{} for {}", field, exact);
            prop_assert!(weights.receptive_field(epsilon / 2.0).unwrap() >= field);
        }
    }
}
