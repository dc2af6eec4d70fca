//! How large a rank is.

use harness_core::ParameterError;

use super::LowRankError;
use crate::prune::Site;

/// How much of a matrix stays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// Factors of this rank.
    Rank(usize),
    /// Factors with this share of the matrix' numbers less.
    Ratio(f64),
}

/// To which multiple a rank that a ratio comes to is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// The next smaller.
    Down(usize),
    /// The next greater.
    Up(usize),
}

impl Amount {
    /// The amount of the parameters `rank` and `ratio`: a fifth of the numbers less when neither is set.
    ///
    /// # Errors
    /// [`ParameterError::Together`] when both are set.
    pub fn of(rank: Option<usize>, ratio: Option<f64>) -> Result<Self, ParameterError> {
        match (rank, ratio) {
            (Some(_), Some(_)) => {
                Err(ParameterError::Together("`rank` and `ratio` say the same; set one of them".to_owned()))
            }
            (Some(rank), None) => Ok(Self::Rank(rank)),
            (None, ratio) => Ok(Self::Ratio(ratio.unwrap_or(0.2))),
        }
    }

    /// The rank of a matrix: as set, or `⌊N K (1 − ratio) / (N + K)⌋` moved to a multiple.
    ///
    /// # Errors
    /// [`LowRankError::Rank`] below 1 and where the factors would have as many numbers as the matrix, `r ≥ N K / (N + K)`.
    pub fn rank(self, site: &Site, align: Align) -> Result<usize, LowRankError> {
        let (rows, cols) = (site.rows, site.cols);
        // The largest r with r (N + K) < N K.
        let most = (rows * cols).saturating_sub(1) / (rows + cols).max(1);
        let (rank, asked) = match self {
            Self::Rank(rank) => (rank, true),
            Self::Ratio(ratio) => {
                let exact = (rows * cols) as f64 * (1.0 - ratio) / (rows + cols) as f64;
                // Decimals such as 0.2 are not exact in binary.
                let rank = (exact + 1e-9).floor() as usize;
                (
                    match align {
                        Align::Down(multiple) => rank / multiple * multiple,
                        Align::Up(multiple) => rank.next_multiple_of(multiple),
                    },
                    false,
                )
            }
        };
        if (1..=most).contains(&rank) {
            Ok(rank)
        } else {
            Err(LowRankError::Rank { site: site.name.to_owned(), rows, cols, rank, most, asked })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn site(rows: usize, cols: usize) -> Site<'static> {
        Site { name: "w", layer: 0, rows, cols }
    }

    #[test]
    fn ranks_of_known_shapes() {
        let rank = |rows, cols| Amount::Ratio(0.2).rank(&site(rows, cols), Align::Down(1)).unwrap();
        assert_eq!([rank(4096, 4096), rank(11008, 4096), rank(576, 1536)], [1638, 2388, 335]);
        let aligned = |align| Amount::Ratio(0.2).rank(&site(576, 1536), align).unwrap();
        assert_eq!((aligned(Align::Down(16)), aligned(Align::Up(16))), (320, 336));
        assert_eq!(Amount::of(None, None), Ok(Amount::Ratio(0.2)));
    }

    #[test]
    fn ranks_that_save_nothing_are_refused() {
        // 64 · 64 / 128 = 32 saves nothing.
        assert_eq!(Amount::Rank(31).rank(&site(64, 64), Align::Down(1)).unwrap(), 31);
        for rank in [0, 32, 65] {
            let error = Amount::Rank(rank).rank(&site(64, 64), Align::Down(1)).unwrap_err();
            assert!(matches!(error, LowRankError::Rank { most: 31, .. }), "{error}");
        }
        let error = Amount::Ratio(0.99).rank(&site(64, 64), Align::Down(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "w: rank 0 is not one of a 64x64 matrix that saves anything, 1 to 31; choose another `ratio` or `align`"
        );
        assert!(Amount::Ratio(0.2).rank(&site(64, 64), Align::Up(32)).is_err());
        assert!(Amount::of(Some(3), Some(0.5)).is_err());
    }
}
