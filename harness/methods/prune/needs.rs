//! What of the inputs of a map a method reads.

/// Which sums over the inputs of a linear map a method reads.
// Each is asked for by itself.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// `Σ x_j²` of every input column.
    pub column_norms: bool,
    /// `Σ x xᵀ`, columns × columns.
    pub second_moment: bool,
    /// `Σ |x_j|` and `max |x_j|` of every input column.
    pub magnitudes: bool,
    /// Some of the inputs themselves.
    pub samples: bool,
    /// How far the weights that make each input are spread; known without calibration.
    pub producers: bool,
}

impl Needs {
    /// No calibration.
    pub const NOTHING: Self =
        Self { column_norms: false, second_moment: false, magnitudes: false, samples: false, producers: false };
    /// The squared norm of every column.
    pub const COLUMN_NORMS: Self = Self { column_norms: true, ..Self::NOTHING };
    /// The whole second moment.
    pub const SECOND_MOMENT: Self = Self { second_moment: true, ..Self::NOTHING };
    /// Sum and maximum of the magnitudes of every column.
    pub const MAGNITUDES: Self = Self { magnitudes: true, ..Self::NOTHING };
    /// Some inputs as they are.
    pub const SAMPLES: Self = Self { samples: true, ..Self::NOTHING };
    /// The spread of the weights before.
    pub const PRODUCERS: Self = Self { producers: true, ..Self::NOTHING };

    /// Whether anything is read that only calibration text tells.
    pub const fn any(self) -> bool {
        self.column_norms || self.second_moment || self.magnitudes || self.samples
    }

    /// What either of two methods reads.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            column_norms: self.column_norms || other.column_norms,
            second_moment: self.second_moment || other.second_moment,
            magnitudes: self.magnitudes || other.magnitudes,
            samples: self.samples || other.samples,
            producers: self.producers || other.producers,
        }
    }
}
