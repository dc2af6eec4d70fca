//! The content name of a cell: everything that its result depends on.

use harness_core::{Axis, Catalog, Cell, CellId, Noise, ParameterValue};

use crate::catalog::Settings;
use crate::inputs::LoadedModel;
use crate::runner::Data;
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
    pub data: Option<&'a Data>,
    /// What methods are calibrated on.
    pub calibration: Option<&'a Windows>,
    /// Scalar keys of the bench.
    pub settings: &'a Settings,
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
        let Some(method) = facts.catalog.method(*axis, &coordinate.id) else { continue };
        let parameters: Vec<String> =
            coordinate.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        named.push((axis.key(), format!("{} version {} ({})", method.id, method.version, parameters.join(", "))));
        if method.random {
            named.push(("seed", facts.seed.to_string()));
        }
        if method.calibrated && *axis == Axis::Prune {
            named.push(("calibration", facts.calibration.map(|windows| windows.hash.clone()).unwrap_or_default()));
            named.push(("calibration order", facts.settings.calibration_order.to_value().to_string()));
        }
    }
    if let Some(data) = facts.data {
        named.push(("data", data.windows.hash.clone()));
        named.push(("protocol", data.windows.protocol.clone()));
    }
    let metrics: Vec<_> = facts.metrics.iter().filter_map(|id| facts.catalog.metric(id)).collect();
    named.push((
        "metrics",
        metrics.iter().map(|metric| format!("{}@{}", metric.id, metric.version)).collect::<Vec<_>>().join(" "),
    ));
    if metrics.iter().any(|metric| metric.noise == Noise::Timed) {
        let Settings { rounds, prefill_tokens, decode_tokens, .. } = facts.settings;
        named.push(("clock", format!("{rounds} {prefill_tokens} {decode_tokens}")));
        named.push(("host", host_class()));
    }
    CellId::of(&named)
}
