//! The words of the house: values and arms, method and metric specifications, cells, records, the journal,
//! statistics and verdicts. Nothing here knows a tensor library, a table library or TOML, and nothing here
//! knows what a language model is.

pub mod arm;
pub mod axis;
pub mod cell;
pub mod chart;
pub mod front;
pub mod gate;
pub mod journal;
pub mod metric;
pub mod nearest;
pub mod parameters;
pub mod record;
pub mod seed;
pub mod spec;
pub mod stamp;
pub mod statistics;
pub mod trend;
pub mod value;
pub mod verdict;

pub use arm::{Arm, GrammarError};
pub use axis::Axis;
pub use cell::{Cell, CellId};
pub use metric::{Along, Direction, MetricSpec, Noise, Probe, Reduction};
pub use parameters::{Domain, Kind, ParameterError, ParameterSpec, ParameterValue, Parameters};
pub use record::{CellRecord, Failure, Observation, Profile};
pub use spec::{BenchKind, Catalog, MethodSpec, TableSpec};
pub use stamp::Stamp;
pub use value::{Pattern, Value};
pub use verdict::Verdict;
