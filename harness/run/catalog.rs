//! What this program knows: the methods, the metrics, and the kind of bench it can run.

use harness_core::{Axis, BenchKind, Catalog, Domain, Parameters, TableSpec};
use harness_methods::registry as methods;

use crate::calibrate::CalibrationOrder;
use crate::metrics;
use crate::text::TextSelection;

harness_core::parameters! {
    /// Scalar keys of a `language-model` bench.
    pub struct Settings {
        /// Whether each block is calibrated on the dense model's activations or on those of the blocks pruned before it.
        calibration_order: CalibrationOrder = CalibrationOrder::Sequential;
        /// Interleaved rounds of every timed metric.
        rounds: usize = 5, Domain::closed(1.0, 1000.0);
        /// Prompt tokens of a prefill measurement.
        prefill_tokens: usize = 256, Domain::closed(1.0, 1_000_000.0);
        /// Generated tokens of a decode measurement.
        decode_tokens: usize = 32, Domain::closed(1.0, 100_000.0);
        /// Memory for the weights of arms scored together, in MiB.
        group_mib: usize = 4096, Domain::closed(1.0, 1e9);
    }
}

/// The catalog that suites are resolved against.
pub fn catalog() -> Catalog {
    let language_model = BenchKind {
        id: "language-model",
        about: "quality on text, speed, memory and bytes of decoder language models",
        axes: vec![Axis::Model, Axis::Prune, Axis::Data, Axis::Seed],
        settings: Settings::specs(),
        tables: vec![
            TableSpec {
                key: "data",
                about: "the text that is scored",
                axis: Some(Axis::Data),
                required: true,
                label: "corpus",
                parameters: TextSelection::specs(),
            },
            TableSpec {
                key: "calib",
                about: "the text that methods are calibrated on",
                axis: None,
                required: false,
                label: "corpus",
                parameters: TextSelection::specs(),
            },
        ],
    };
    Catalog {
        methods: methods::methods(),
        metrics: metrics::registry().into_iter().map(|metric| metric.spec).collect(),
        kinds: vec![language_model],
    }
}
