//! What exists: methods and metrics, as a suite is resolved against them.

use crate::arm::Arm;
use crate::axis::Axis;
use crate::metric::{MetricSpec, Probe};
use crate::nearest::nearest;
use crate::parameters::{ParameterError, ParameterSpec, resolve_values};
use crate::value::Value;

/// What is known of a method without building it.
#[derive(Debug, Clone)]
pub struct MethodSpec {
    /// Id as written in suites.
    pub id: &'static str,
    /// The axis it stands on.
    pub axis: Axis,
    /// One line: what it does.
    pub about: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// Raised whenever its results change; part of every cell id.
    pub version: u32,
    /// Whether it needs calibration data.
    pub calibrated: bool,
    /// Whether it draws random numbers.
    pub random: bool,
    /// Its parameters.
    pub parameters: Vec<ParameterSpec>,
    /// Checks parameters that must fit together.
    pub check: fn(&Arm) -> Result<(), ParameterError>,
}

impl MethodSpec {
    /// Checks an arm fully and gives all parameter values, defaults included, in specification order.
    ///
    /// # Errors
    /// Every parameter that does not fit.
    pub fn resolve(&self, arm: &Arm) -> Result<Vec<(String, Value)>, Vec<ParameterError>> {
        let values = resolve_values(arm, &self.parameters)?;
        (self.check)(arm).map_err(|error| vec![error])?;
        Ok(values)
    }

    /// The arm as it is printed: parameters in specification order, those at their default left out unless
    /// they were set in the suite and no other is set.
    ///
    /// # Errors
    /// Every parameter that does not fit.
    pub fn canonical(&self, arm: &Arm) -> Result<Arm, Vec<ParameterError>> {
        let values = self.resolve(arm)?;
        let parameters = self
            .parameters
            .iter()
            .zip(values)
            .filter(|(spec, (_, value))| arm.get(spec.name).is_some() && *value != Value::Unset)
            .map(|(_, pair)| pair)
            .collect();
        Ok(Arm { id: arm.id.clone(), parameters })
    }
}

/// A table-valued key of a bench, such as what is measured on.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// The key in the bench.
    pub key: &'static str,
    /// What it says.
    pub about: &'static str,
    /// The axis it stands on when a list of tables makes arms; `None` for a single table.
    pub axis: Option<Axis>,
    /// Whether a bench must have it.
    pub required: bool,
    /// The parameter that labels it in records and charts.
    pub label: &'static str,
    /// Its keys.
    pub parameters: Vec<ParameterSpec>,
    /// Checks keys that must fit together.
    pub check: fn(&Arm) -> Result<(), ParameterError>,
}

/// A kind of bench: which keys it has beside its arms.
#[derive(Debug, Clone)]
pub struct BenchKind {
    /// Name as written in suites (`kind = "…"`); the first kind of a catalog is the default.
    pub id: &'static str,
    /// What is measured.
    pub about: &'static str,
    /// Axes that a bench of this kind can have.
    pub axes: Vec<Axis>,
    /// Passes that a bench of this kind can make; its metrics are those that one of them feeds.
    pub probes: Vec<Probe>,
    /// Scalar keys, for example the order of calibration.
    pub settings: Vec<ParameterSpec>,
    /// Table keys.
    pub tables: Vec<TableSpec>,
}

/// All methods, metrics and kinds of bench of a program.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Methods, in registry order.
    pub methods: Vec<MethodSpec>,
    /// Metrics, in registry order.
    pub metrics: Vec<MetricSpec>,
    /// Kinds of bench; the first is the default.
    pub kinds: Vec<BenchKind>,
    /// Says what is wrong with methods of an axis in this order, each of which is right by itself.
    pub check_chain: Option<fn(Axis, &[Arm]) -> Result<(), String>>,
}

impl Catalog {
    /// A method of an axis by id.
    pub fn method(&self, axis: Axis, id: &str) -> Option<&MethodSpec> {
        self.methods.iter().find(|method| method.axis == axis && method.id == id)
    }

    /// The id on this axis most like a mistyped one.
    pub fn nearest_method(&self, axis: Axis, id: &str) -> Option<&'static str> {
        nearest(id, self.methods.iter().filter(|method| method.axis == axis).map(|method| method.id))
    }

    /// The metrics that a kind of bench can measure, in registry order.
    pub fn metrics_of(&self, kind: &BenchKind) -> impl Iterator<Item = &MetricSpec> {
        self.metrics.iter().filter(|metric| kind.probes.contains(&metric.probe))
    }

    /// A metric by id.
    pub fn metric(&self, id: &str) -> Option<&MetricSpec> {
        self.metrics.iter().find(|metric| metric.id == id)
    }

    /// The metric id most like a mistyped one.
    pub fn nearest_metric(&self, id: &str) -> Option<&'static str> {
        nearest(id, self.metrics.iter().map(|metric| metric.id))
    }
}
