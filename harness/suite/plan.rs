//! All cells of a suite as a tree keyed by axis prefix: what agrees on the first axes is prepared once.

use std::collections::BTreeMap;
use std::ops::Range;

use harness_core::cell::Coordinate;
use harness_core::{Axis, Cell};

use crate::suite::{Bench, Suite};

/// Which cells of a suite are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// A cell is kept when each of these is found in its printed form `bench / model / arm / …`. `*` stands for any
    /// run of signs; a filter that starts with `!` must not be found; one that starts with `=` is the whole printed form.
    pub filters: Vec<String>,
    /// Only the first so many of the kept cells, in plan order.
    pub limit: Option<usize>,
}

impl Selection {
    fn keeps(&self, printed: &str) -> bool {
        self.filters.iter().all(|filter| match filter.strip_prefix('!') {
            Some(unwanted) => !matches(unwanted, printed),
            None => matches(filter, printed),
        })
    }
}

fn matches(filter: &str, printed: &str) -> bool {
    filter.strip_prefix('=').map_or_else(|| found(filter, printed), |whole| whole == printed)
}

/// Whether the pieces between the stars occur in order.
fn found(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    pattern.split('*').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// Nothing is left to run.
    #[error("none of the {cells} cells of {suite} is selected by {wanted}; a cell is printed like `{example}`")]
    Empty {
        /// Path of the suite.
        suite: String,
        /// Cells before the selection.
        cells: usize,
        /// The selection in words.
        wanted: String,
        /// A cell as printed.
        example: String,
    },
}

/// A cell and the bench it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCell {
    /// The cell.
    pub cell: Cell,
    /// Position of its bench in the suite.
    pub bench: usize,
}

/// One bench of the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Trunk {
    /// Position of the bench in the suite.
    pub bench: usize,
    /// Its cells, as positions in [`Plan::cells`].
    pub cells: Range<usize>,
    /// The arms of its first axis.
    pub branches: Vec<Branch>,
}

/// Cells that agree on an axis and on every axis before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// The axis.
    pub axis: Axis,
    /// Where they all stand on it.
    pub coordinate: Coordinate,
    /// The cells, as positions in [`Plan::cells`].
    pub cells: Range<usize>,
    /// The arms of the next axis; empty on the last one, where the branch is one cell.
    pub branches: Vec<Branch>,
}

/// The selected cells of a suite in the order they are run, and the tree over them.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    cells: Vec<PlannedCell>,
    tree: Vec<Trunk>,
}

impl Plan {
    /// Lays out the selected cells.
    ///
    /// # Errors
    /// [`SelectionError::Empty`] when nothing is selected.
    pub fn of(suite: &Suite, selection: &Selection) -> Result<Self, SelectionError> {
        let limit = selection.limit.unwrap_or(usize::MAX);
        let mut cells = Vec::new();
        let mut tree = Vec::new();
        let mut all = 0;
        for (index, bench) in suite.benches.iter().enumerate() {
            let start = cells.len();
            let mut combinations = bench.combinations();
            all += combinations.len();
            combinations.retain(|combination| {
                if cells.len() >= limit {
                    return false;
                }
                let cell = bench.cell(combination);
                let kept = selection.filters.is_empty() || selection.keeps(&cell.to_string());
                if kept {
                    cells.push(PlannedCell { cell, bench: index });
                }
                kept
            });
            if cells.len() > start {
                let axes: Vec<Axis> = bench.axes.keys().copied().collect();
                let branches = branches(bench, &axes, 0, &combinations, start);
                tree.push(Trunk { bench: index, cells: start..cells.len(), branches });
            }
        }
        if cells.is_empty() {
            return Err(empty(suite, selection, all));
        }
        Ok(Self { cells, tree })
    }

    /// The cells in the order they are run.
    pub fn cells(&self) -> &[PlannedCell] {
        &self.cells
    }

    /// The tree, one trunk a bench; benches without a selected cell have none.
    pub fn tree(&self) -> &[Trunk] {
        &self.tree
    }

    /// How many branches the tree has on each axis: how often that stage is prepared when every shared prefix is
    /// prepared once.
    pub fn preparations(&self) -> BTreeMap<Axis, usize> {
        fn count(branches: &[Branch], counts: &mut BTreeMap<Axis, usize>) {
            for branch in branches {
                *counts.entry(branch.axis).or_default() += 1;
                count(&branch.branches, counts);
            }
        }
        let mut counts = BTreeMap::new();
        self.tree.iter().for_each(|trunk| count(&trunk.branches, &mut counts));
        counts
    }
}

/// The branches of `combinations`, which agree on the first `depth` axes; the first of them is cell `start`.
fn branches(bench: &Bench, axes: &[Axis], depth: usize, combinations: &[Vec<usize>], start: usize) -> Vec<Branch> {
    let Some(axis) = axes.get(depth) else { return Vec::new() };
    let mut first = start;
    combinations
        .chunk_by(|a, b| a[depth] == b[depth])
        .map(|chunk| {
            let cells = first..first + chunk.len();
            first = cells.end;
            Branch {
                axis: *axis,
                coordinate: bench.axes[axis][chunk[0][depth]].clone(),
                branches: branches(bench, axes, depth + 1, chunk, cells.start),
                cells,
            }
        })
        .collect()
}

fn empty(suite: &Suite, selection: &Selection, cells: usize) -> SelectionError {
    let mut wanted: Vec<String> = selection.filters.iter().map(|filter| format!("--filter `{filter}`")).collect();
    wanted.extend(selection.limit.map(|limit| format!("--limit {limit}")));
    let first = suite.benches.first();
    SelectionError::Empty {
        suite: suite.source_path.clone(),
        cells,
        wanted: wanted.join(" and "),
        example: first.map(|bench| bench.cell(&vec![0; bench.axes.len()]).to_string()).unwrap_or_default(),
    }
}
