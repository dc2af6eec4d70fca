//! A resolved suite: everything a run needs to know, no spans, no TOML.

use std::collections::BTreeMap;

use harness_core::cell::Coordinate;
use harness_core::gate::GateRequest;
use harness_core::{Axis, Cell, Value};

use crate::column::Coordinates;
use crate::expect::Expectation;
use crate::figure::{Figure, TableRequest};

/// The most cells one suite may have; more is refused before anything is expanded.
pub const MOST_CELLS: u128 = 100_000;

/// One suite file, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// What the suite asks, in a sentence; may be empty.
    pub about: String,
    /// The seed that every random stream starts from.
    pub seed: u64,
    /// SHA-256 of the content, 64 hexadecimal digits. Spaces, comments and the order of keys do not change it;
    /// `--set` and `--quick` do.
    pub hash: String,
    /// The path as it was given.
    pub source_path: String,
    /// Benches in file order; never empty.
    pub benches: Vec<Bench>,
    /// Declared figures in file order.
    pub figures: Vec<Figure>,
    /// Declared tables in file order.
    pub tables: Vec<TableRequest>,
    /// How `harness track` judges runs; the defaults where the file has no `[gate]`.
    pub gate: GateRequest,
    /// Expectations, figures and tables that `--set` or `--quick` made meaningless, and why; empty for the file as it is.
    pub notes: Vec<String>,
}

impl Suite {
    /// The bench of a name.
    pub fn bench(&self, name: &str) -> Option<&Bench> {
        self.benches.iter().find(|bench| bench.name == name)
    }
}

/// One `[[bench]]`, with every arm resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Bench {
    /// Its name, unique in the suite.
    pub name: String,
    /// Id of its kind.
    pub kind: &'static str,
    /// The arms of each axis the bench sets, in file order; no list is empty and no arm stands twice in one.
    pub axes: BTreeMap<Axis, Vec<Coordinate>>,
    /// Axes that advance together instead of being multiplied; they have equally many arms.
    pub zips: Vec<Vec<Axis>>,
    /// Every scalar key of the kind with its value, defaults included, in specification order.
    pub settings: Vec<(String, Value)>,
    /// Tables that are no axis, by key; an optional one that was left out is not here.
    pub tables: BTreeMap<String, Coordinate>,
    /// Metric ids in the order written.
    pub metrics: Vec<String>,
    /// What must hold of the results.
    pub expect: Vec<Expectation>,
}

impl Bench {
    /// The value of a scalar key.
    pub fn setting(&self, key: &str) -> Option<&Value> {
        self.settings.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// How many cells the bench has.
    pub fn cell_count(&self) -> usize {
        self.dimensions().iter().map(|(length, _)| length).product()
    }

    /// Independent directions: how many steps each has, and the axes (as positions in staging order) it moves.
    fn dimensions(&self) -> Vec<(usize, Vec<usize>)> {
        let axes: Vec<Axis> = self.axes.keys().copied().collect();
        let mut dimensions: Vec<(usize, Vec<usize>)> = Vec::new();
        for (position, axis) in axes.iter().enumerate() {
            let zip = self.zips.iter().find(|zip| zip.contains(axis));
            let leader = zip.and_then(|zip| axes[..position].iter().position(|earlier| zip.contains(earlier)));
            match leader.and_then(|first| dimensions.iter_mut().find(|(_, moved)| moved.contains(&first))) {
                Some((_, moved)) => moved.push(position),
                None => dimensions.push((self.axes[axis].len(), vec![position])),
            }
        }
        dimensions
    }

    /// Every cell as the positions of its arms, axes and cells in staging order, so that cells which agree on the
    /// first axes lie together.
    pub fn combinations(&self) -> Vec<Vec<usize>> {
        let mut points = vec![vec![0; self.axes.len()]];
        for (length, moved) in self.dimensions() {
            points = points
                .into_iter()
                .flat_map(|point| {
                    let moved = &moved;
                    (0..length).map(move |step| {
                        let mut next = point.clone();
                        for axis in moved {
                            next[*axis] = step;
                        }
                        next
                    })
                })
                .collect();
        }
        points.sort_unstable();
        points
    }

    /// The cell at a combination of [`Bench::combinations`].
    pub fn cell(&self, combination: &[usize]) -> Cell {
        let coordinates =
            self.axes.iter().zip(combination).map(|((axis, arms), index)| (*axis, arms[*index].clone())).collect();
        Cell { bench: self.name.clone(), coordinates }
    }
}

/// A cell that has not been built: positions into a bench's arms.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// The bench.
    pub bench: &'a Bench,
    /// One of its combinations.
    pub combination: &'a [usize],
}

impl Coordinates for Point<'_> {
    fn bench(&self) -> &str {
        &self.bench.name
    }

    fn coordinate(&self, axis: Axis) -> Option<&Coordinate> {
        let position = self.bench.axes.keys().position(|key| *key == axis)?;
        self.bench.axes.get(&axis)?.get(*self.combination.get(position)?)
    }
}
