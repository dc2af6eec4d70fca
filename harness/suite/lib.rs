//! Suite files: spanned parsing, resolution against a catalog, sweeps, the plan tree, the JSON schema for editors.
//!
//! A suite is read in one pass that never stops at the first fault: [`Suite::parse`] gives either a suite in which
//! every arm is resolved, or [`Diagnostics`] with all faults of the file. [`Plan::of`] then lays the cells out as a tree
//! of shared work. Nothing here knows what a method does or what a model is; the [`Catalog`](harness_core::Catalog) says
//! which words exist and [`Names`] says which names can be loaded.

mod arms;
mod assertion;
mod bench;
mod chain;
mod chart;
pub mod column;
pub mod diagnostics;
pub mod expect;
pub mod figure;
mod gate;
pub mod names;
mod node;
pub mod overrides;
pub mod plan;
mod range;
mod read;
pub mod schema;
mod section;
pub mod suite;
mod sweep;
mod vocabulary;

pub use column::{Column, Condition, Coordinates};
pub use diagnostics::{Diagnostic, Diagnostics};
pub use expect::{Expectation, Operator, Right, Term};
pub use figure::{Figure, FigureKind, INTERVAL_STYLES, KindKeys, Reference, TableRequest, kind_keys};
pub use names::{AnyName, NameFault, Names};
pub use overrides::Overrides;
pub use plan::{Branch, Plan, PlannedCell, Selection, SelectionError, Trunk};
pub use schema::schema;
pub use suite::{Bench, Suite};
