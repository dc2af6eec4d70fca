//! CURing: some columns of the matrix, some of its rows, and a small matrix between them.
//!
//! `W ≈ C U R` with `C = W[:, J]`, `R = W[I, :]` and `U = C⁺ W R⁺`, the best middle for them. `I` and `J` are chosen by discrete empirical
//! interpolation from the first `r` left and right singular vectors of `|W_ij| ‖x_j‖`, with `‖x_j‖` the root mean square of input `j` as
//! in Wanda. The rank is the largest with `r² + r (N + K) < N K`, at most `cap`, or the smallest that keeps `energy` of the squared
//! singular values. Queries, keys and gate become factors in the `layers` blocks that turn the last token of a text least, the
//! first and the last block left out.
//!
//! Sanghyeon Park, Soo-Mook Moon: CURing Large Models: Compression via CUR Decomposition, 2025.
//!
//! # Difference from the reference
//! `deim = canonical` is the interpolation as it was published; `paper` and `head` are what two states of the authors' code do, with
//! no row taken twice; `head` depends on the signs of singular vectors, of which the greatest entry of each left one is positive here.
//! Of the code's later scores `random` is not here, `magnitude` is `|W_ij|` and `weight` is `W` itself. Its ranks rounded down to 128
//! are `align = 128`, which a small matrix refuses instead of keeping one row. Where fewer than ten blocks can be chosen from all are,
//! unless `layers` says how many; `choice` has other blocks as controls. Healing trains `U` and is not here.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::block::Map;
use crate::lowrank::angular::{self, Choice};
use crate::lowrank::cur::{joined, kept, most};
use crate::lowrank::deim::{Deim, chosen};
use crate::lowrank::linalg::{Svd, decomposed, diagonal, eigen, product, squares, transposed, with_columns};
use crate::lowrank::{Blocks, Factorisation, Known, LowRank, LowRankError, Maps, moment_of, statistics_of, wide};
use crate::prune::{Needs, Site};
use crate::registry::Method;

harness_core::choice! {
    /// What rows and columns are chosen by.
    pub enum Score {
        /// The magnitude of a weight times the root mean square of its input.
        Wanda = "wanda",
        /// The weight times that, and the middle is best in that norm.
        CovFast = "cov-fast",
        /// The weights behind the root of the second moment of their inputs, and the middle is best in that norm.
        Cov = "cov",
        /// The magnitude of a weight.
        Magnitude = "magnitude",
        /// The weight.
        Weight = "weight",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Rows and columns that stay of every matrix; the most that save anything when neither it nor an energy is set.
        rank: Option<usize> = None, Domain::closed(1.0, 65536.0);
        /// Share of the squared singular values of the scores that has to stay, instead of a rank.
        energy: Option<f64> = None, Domain::open(0.0, 1.0);
        /// The greatest rank where none is set.
        cap: usize = 256, Domain::closed(1.0, 65536.0);
        /// The rank is rounded to a multiple of this: down, or up where an energy has to stay.
        align: usize = 1, Domain::closed(1.0, 4096.0);
        /// Blocks that become factors; 10 where it is not set, or as many as can be chosen.
        layers: Option<usize> = None, Domain::closed(1.0, 65536.0);
        /// Whether the first and the last block can be chosen too.
        ends: bool = false;
        /// Which blocks are chosen first.
        choice: Choice = Choice::LeastTurned;
        /// What rows and columns are chosen by.
        metric: Score = Score::Wanda;
        /// How they are chosen.
        deim: Deim = Deim::Canonical;
        /// Which maps of a block become factors.
        maps: Maps = Maps::QueryKeyGate;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "curing",
        axis: Axis::Lowrank,
        about: "keeps some columns and rows of every matrix, chosen by weight and input, and a small matrix between them",
        source: "Park, Moon: CURing Large Models: Compression via CUR Decomposition, 2025, and its code",
        version: 1,
        calibrated: true,
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
    let settings = Settings::resolve(arm)?;
    if settings.rank.is_some() && settings.energy.is_some() {
        return Err(ParameterError::Together("`rank` and `energy` say the same; set one of them".to_owned()));
    }
    Ok(Method::LowRank(Box::new(settings)))
}

impl Settings {
    /// The scores, and `D` with the norm `‖E D‖` in which the middle is best, where that is not the Frobenius norm.
    fn scores(&self, site: &Site, weight: &[f64], known: Known<'_>) -> Result<(Vec<f64>, Option<Vec<f64>>), LowRankError> {
        let cols = site.cols;
        let roots = || -> Result<Vec<f64>, LowRankError> {
            let statistics = statistics_of(site, known)?;
            let mean = |sum: &f64| (sum / statistics.tokens() as f64).sqrt();
            Ok(statistics.column_sum_squares().iter().map(mean).collect())
        };
        let magnitudes = || weight.iter().map(|value| value.abs()).collect::<Vec<f64>>();
        Ok(match self.metric {
            Score::Wanda => (with_columns(&magnitudes(), &roots()?), None),
            Score::Magnitude => (magnitudes(), None),
            Score::Weight => (weight.to_vec(), None),
            Score::CovFast => {
                let roots = roots()?;
                (with_columns(weight, &roots), Some(diagonal(&roots)))
            }
            Score::Cov => {
                let (statistics, moment) = (statistics_of(site, known)?, moment_of(site, known)?);
                let not = || LowRankError::NotConverged { site: site.name.to_owned() };
                let (values, vectors) = eigen(moment, cols).ok_or_else(not)?;
                let tokens = statistics.tokens() as f64;
                let roots: Vec<f64> = values.iter().map(|value| (value.max(0.0) / tokens).sqrt()).collect();
                let root =
                    product(&with_columns(&vectors, &roots), &transposed(&vectors, cols), (cols, cols, cols));
                (product(weight, &root, (site.rows, cols, cols)), Some(root))
            }
        })
    }

    fn rank_of(&self, site: &Site, singular: &[f64]) -> Result<usize, LowRankError> {
        let (rows, cols) = (site.rows, site.cols);
        let most = most(rows, cols);
        let rank = match (self.rank, self.energy) {
            (Some(rank), _) => rank,
            (None, Some(energy)) => kept(singular, energy).next_multiple_of(self.align).min(self.cap),
            (None, None) => most.min(self.cap) / self.align * self.align,
        };
        if (1..=most).contains(&rank) {
            Ok(rank)
        } else {
            let asked = self.rank.is_some();
            Err(LowRankError::Rank { site: site.name.to_owned(), rows, cols, rank, most, asked })
        }
    }
}

impl LowRank for Settings {
    fn needs(&self) -> Needs {
        if self.metric == Score::Cov { Needs::SECOND_MOMENT } else { Needs::COLUMN_NORMS }
    }

    fn needs_distances(&self) -> bool {
        true
    }

    fn blocks(&self, blocks: &Blocks) -> Result<Vec<usize>, LowRankError> {
        angular::blocks(blocks, self.layers, self.ends, self.choice)
    }

    fn takes(&self, map: Map) -> bool {
        self.maps.take(map)
    }

    fn factorise(&self, site: &Site, weight: &[f32], known: Known<'_>) -> Result<Factorisation, LowRankError> {
        let (rows, cols) = (site.rows, site.cols);
        let weight = wide(site, weight)?;
        let (scores, norm) = self.scores(site, &weight, known)?;
        let not = || LowRankError::NotConverged { site: site.name.to_owned() };
        let Svd { left, singular, right } = decomposed(&scores, rows, cols).ok_or_else(not)?;
        let rank = self.rank_of(site, &singular)?;
        let first = |vectors: &[f64]| -> Vec<f64> {
            vectors.chunks_exact(singular.len()).flat_map(|row| row[..rank].iter().copied()).collect()
        };
        let from_rows = chosen(&first(&left), rank, self.deim).ok_or_else(not)?;
        let from_cols = chosen(&first(&transposed(&right, singular.len())), rank, self.deim).ok_or_else(not)?;
        let factors = joined(&weight, (rows, cols), (&from_rows, &from_cols), norm.as_deref()).ok_or_else(not)?;
        let found = Factorisation { factors: factors.to_vec(), ..Factorisation::default() };
        let error: Vec<f64> = weight.iter().zip(found.product(cols)).map(|(a, b)| a - b).collect();
        let measured = |matrix: &[f64]| match &norm {
            Some(norm) => squares(&product(matrix, norm, (rows, cols, cols))),
            None => squares(matrix),
        };
        let note = Some(format!("rows {from_rows:?}, columns {from_cols:?}"));
        let (kept, lost) = (vec![rank], (measured(&error), measured(&weight)));
        Ok(Factorisation { singular: vec![singular], kept, lost, note, ..found })
    }
}
