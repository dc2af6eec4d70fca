//! CompactifAI: every matrix as a matrix product operator, whose bonds are truncated.
//!
//! `W (N, K)` is read as a tensor with legs `(o_1 i_1)(o_2 i_2)…`, `Π o = N`, `Π i = K`, and cut from left to right by singular value
//! decompositions that keep `χ` singular values each: `‖W − Ŵ‖²` is the sum of the squares left out. The cores are contracted with
//! the inputs one by one, in the order that takes fewer products.
//!
//! Andrei Tomut et al.: CompactifAI: Extreme Compression of Large Language Models using Quantum-Inspired Tensor Networks, 2024.
//!
//! # Difference from the reference
//! The authors' code is not published; the number of cores, legs and bonds of each layer are choices here. `bond = 100` keeps every
//! singular value of small matrices, whose cores then have more numbers than they: `ratio` gives each matrix the largest bond that
//! saves a share. `tol` bounds the relative error of each matrix as in Oseledets (2011). Blocks that bear it worst are left out by
//! `skip` and `take`, with which single blocks are profiled; healing is training and not here.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::block::Map;
use crate::lowrank::tensor_train::{Cut, Legs, balanced, largest_bonds, parameters, train};
use crate::lowrank::{Blocks, Factorisation, Known, LowRank, LowRankError, Maps, wide};
use crate::prune::Site;
use crate::registry::Method;

/// The bond where nothing is set.
const BOND: usize = 100;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Cores of every matrix.
        order: usize = 2, Domain::closed(2.0, 8.0);
        /// The largest bond between two cores; 100 when neither it nor a ratio is set, less where a matrix has no more.
        bond: Option<usize> = None, Domain::closed(1.0, 65536.0);
        /// Share of the numbers of every matrix that its cores have less, instead of a bond.
        ratio: Option<f64> = None, Domain::open(0.0, 1.0);
        /// Relative error of a matrix that smaller bonds may make.
        tol: f64 = 0.0, Domain::half_open(0.0, 1.0);
        /// Outputs of each core; as equal as they can be where it is not set.
        outputs: Option<Vec<f64>> = None, Domain::closed(1.0, 1_048_576.0);
        /// Inputs of each core; as equal as they can be where it is not set.
        inputs: Option<Vec<f64>> = None, Domain::closed(1.0, 1_048_576.0);
        /// First blocks that stay as they are.
        skip: usize = 0, Domain::closed(0.0, 65536.0);
        /// Blocks behind those that become factors; all where it is not set.
        take: Option<usize> = None, Domain::closed(1.0, 65536.0);
        /// Which maps of a block become factors.
        maps: Maps = Maps::All;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "compactifai",
        axis: Axis::Lowrank,
        about: "makes every matrix a tensor train (matrix product operator) with truncated bonds",
        source: "Tomut et al.: CompactifAI: Extreme Compression of Large Language Models using Quantum-Inspired Tensor Networks, 2024",
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
    let settings = Settings::resolve(arm)?;
    if settings.bond.is_some() && settings.ratio.is_some() {
        return Err(ParameterError::Together("`bond` and `ratio` say the same; set one of them".to_owned()));
    }
    for (name, sizes) in [("outputs", &settings.outputs), ("inputs", &settings.inputs)] {
        let Some(sizes) = sizes else { continue };
        if sizes.len() != settings.order || sizes.iter().any(|size| size.fract() != 0.0) {
            let why = format!("`{name}` has to be {} whole numbers, one a core", settings.order);
            return Err(ParameterError::Together(why));
        }
    }
    Ok(Method::LowRank(Box::new(settings)))
}

impl Settings {
    /// The sizes of cores on one side of a matrix.
    fn sizes(
        &self,
        site: &Site,
        side: &'static str,
        set: Option<&Vec<f64>>,
        expected: usize,
    ) -> Result<Vec<usize>, LowRankError> {
        let Some(set) = set else { return Ok(balanced(expected, self.order)) };
        let sizes: Vec<usize> = set.iter().map(|size| *size as usize).collect();
        let found = sizes.iter().product();
        if found == expected {
            Ok(sizes)
        } else {
            Err(LowRankError::Sizes { site: site.name.to_owned(), side, sizes, found, expected })
        }
    }

    fn bond_of(&self, site: &Site, legs: &Legs) -> Result<usize, LowRankError> {
        let Some(ratio) = self.ratio else { return Ok(self.bond.unwrap_or(BOND)) };
        let (rows, cols) = (site.rows, site.cols);
        let allowed = ((rows * cols) as f64 * (1.0 - ratio) + 1e-9).floor() as usize;
        let greatest = largest_bonds(legs).into_iter().max().unwrap_or(1);
        let fits = |most: usize| (1..=greatest).take_while(|bond| parameters(legs, *bond) <= most).last().unwrap_or(0);
        match fits(allowed) {
            0 => {
                let most = fits((rows * cols).saturating_sub(1));
                let site = site.name.to_owned();
                Err(LowRankError::Rank { site, rows, cols, rank: 0, most, asked: false })
            }
            bond => Ok(bond),
        }
    }
}

impl LowRank for Settings {
    fn blocks(&self, blocks: &Blocks) -> Result<Vec<usize>, LowRankError> {
        if self.skip >= blocks.count {
            return Err(LowRankError::Skip { skip: self.skip, blocks: blocks.count });
        }
        let most = blocks.count - self.skip;
        Ok((self.skip..blocks.count).take(self.take.unwrap_or(most)).collect())
    }

    fn takes(&self, map: Map) -> bool {
        self.maps.take(map)
    }

    fn factorise(&self, site: &Site, weight: &[f32], _: Known<'_>) -> Result<Factorisation, LowRankError> {
        let weight = wide(site, weight)?;
        let outputs = self.sizes(site, "outputs", self.outputs.as_ref(), site.rows)?;
        let inputs = self.sizes(site, "inputs", self.inputs.as_ref(), site.cols)?;
        let legs = Legs { outputs, inputs };
        let cut = Cut { bond: self.bond_of(site, &legs)?, tolerance: self.tol };
        train(&weight, &legs, cut).ok_or_else(|| LowRankError::NotConverged { site: site.name.to_owned() })
    }
}
