//! The content name of a cell: everything that its result depends on.

use harness_core::{Arm, Axis, Catalog, Cell, CellId, Noise};

use crate::inputs::LoadedModel;
use crate::stamp::host_class;
use crate::text::Windows;

/// Raised when cells of an older program must not be reused although all named facts are equal.
const FORMAT: u32 = 1;

/// What a cell depends on.
pub struct Facts<'a> {
    /// Where it stands.
    pub cell: &'a Cell,
    /// The checkpoint.
    pub model: &'a LoadedModel,
    /// What is scored.
    pub data: Option<&'a Windows>,
    /// What methods are calibrated on.
    pub calibration: Option<&'a Windows>,
    /// How they are calibrated.
    pub calibration_order: String,
    /// What timed metrics depend on beside the machine.
    pub clock: String,
    /// What else the metrics that are asked for depend on.
    pub settings: Vec<(&'static str, String)>,
    /// Metrics asked for.
    pub metrics: &'a [String],
    /// Methods and metrics with their versions.
    pub catalog: &'a Catalog,
    /// Seed of the cell.
    pub seed: u64,
}

/// The id of a cell.
pub fn cell_id(facts: &Facts<'_>) -> CellId {
    let mut named = vec![
        ("format", FORMAT.to_string()),
        ("cell", facts.cell.to_string()),
        ("model", facts.model.hash.clone()),
        ("tokenizer", facts.model.tokenizer_hash().to_owned()),
    ];
    for (axis, coordinate) in &facts.cell.coordinates {
        let Some(method) = facts.catalog.method(*axis, &coordinate.id) else {
            let stages = chain(facts.catalog, *axis, &coordinate.label);
            named.extend(stages.into_iter().map(|stage| (axis.key(), stage)));
            continue;
        };
        let parameters: Vec<String> =
            coordinate.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        named.push((axis.key(), format!("{} version {} ({})", method.id, method.version, parameters.join(", "))));
        if method.random {
            named.push(("seed", facts.seed.to_string()));
        }
        if method.calibrated {
            named.push(("calibration", facts.calibration.map(|windows| windows.hash.clone()).unwrap_or_default()));
            named.push(("calibration order", facts.calibration_order.clone()));
        }
    }
    if let Some(data) = facts.data {
        named.push(("data", data.hash.clone()));
        named.push(("protocol", data.protocol.clone()));
    }
    let metrics: Vec<_> = facts.metrics.iter().filter_map(|id| facts.catalog.metric(id)).collect();
    named.push((
        "metrics",
        metrics.iter().map(|metric| format!("{}@{}", metric.id, metric.version)).collect::<Vec<_>>().join(" "),
    ));
    if metrics.iter().any(|metric| metric.noise == Noise::Timed) {
        named.push(("clock", facts.clock.clone()));
        named.push(("host", host_class()));
    }
    if metrics.iter().any(|metric| metric.needs == Some("calib")) {
        named.push(("compared on", facts.calibration.map(|windows| windows.hash.clone()).unwrap_or_default()));
    }
    named.extend(facts.settings.iter().cloned());
    CellId::of(&named)
}

/// The stages of a chain with their versions and all parameters; none where the axis holds no methods.
pub(crate) fn chain(catalog: &Catalog, axis: Axis, label: &str) -> Vec<String> {
    let stages = Arm::parse_chain(label).unwrap_or_default();
    let stages = stages.iter().filter_map(|arm| Some((arm, catalog.method(axis, &arm.id)?)));
    stages
        .map(|(arm, method)| {
            let parameters = method.resolve(arm).unwrap_or_default();
            let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} version {} ({})", method.id, method.version, parameters.join(", "))
        })
        .collect()
}
