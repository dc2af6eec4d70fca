//! What this program knows: the methods, the metrics, and the kind of bench it can run.

use harness_core::{Axis, BenchKind, Catalog, Domain, ParameterSpec, Parameters, Probe, TableSpec};
use harness_methods::decode;
use harness_methods::registry as methods;
use harness_methods::sample::Chain;

use crate::addition::AdditionSelection;
use crate::calibrate::CalibrationOrder;
use crate::compute::Compute;
use crate::metrics;
use crate::quantize::{ActivationType, Execution, HeadFormat, Holding, packed_with};
use crate::sampling::SamplingSettings;
use crate::tasks::long::{self, LongSelection};
use crate::tasks::{ChoiceSelection, QuestionSelection};
use crate::text::{self, TextSelection};
use crate::zeros::Zeros;

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
        /// Whether quantized maps are multiplied as what their codes stand for or as packed codes.
        exec: Execution = Execution::Fake;
        /// What the inputs of packed maps are rounded to.
        activations: ActivationType = ActivationType::Full;
        /// What the output head of quantized models becomes.
        head: HeadFormat = HeadFormat::Kept;
        /// What linear maps that are not quantized are multiplied in, and the head.
        compute: Compute = Compute::F32;
        /// Whether the zeros of pruned maps are held and multiplied.
        zeros: Zeros = Zeros::Kept;
        /// First place of a scored window whose token is decoded, one at a time through the cache of keys and values; those
        /// before are read at once and not scored. 0 reads whole windows at once, without a cache.
        decode_from: usize = 0, Domain::closed(0.0, 1_048_576.0);
        /// Models trained from the bench's own, whose changes the arms of `merge` put together.
        experts: Vec<String> = Vec::new();
        /// Memory for the weights of arms scored together, in MiB.
        group_mib: usize = 4096, Domain::closed(1.0, 1e9);
    }
}

impl Settings {
    /// What timed metrics depend on beside the machine.
    pub(crate) fn clock(&self) -> String {
        let Self { rounds, prefill_tokens, decode_tokens, .. } = self;
        format!("{rounds} {prefill_tokens} {decode_tokens}")
    }

    /// What cells depend on beside their coordinates, where it is not the default.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let Holding { packed, head } = self.holding();
        let exec = packed.map(|activations| ("exec", format!("packed {activations:?}")));
        let head = (head != HeadFormat::Kept).then(|| ("head", format!("{head:?}")));
        let compute = (self.compute != Compute::F32).then(|| ("compute", format!("{:?}", self.compute)));
        let zeros = (self.zeros != Zeros::Kept).then(|| ("zeros", format!("{:?}", self.zeros)));
        exec.into_iter().chain(head).chain(compute).chain(zeros).collect()
    }

    /// How quantized models are held and multiplied.
    pub(crate) fn holding(&self) -> Holding {
        Holding { packed: packed_with(self.exec, self.activations), head: self.head }
    }
}

/// The kind of bench whose data are long contexts.
pub(crate) const LONG_CONTEXT: &str = "long-context";

/// The kind of bench whose data are sums.
pub(crate) const ADDITION: &str = "addition";

/// The catalog that suites are resolved against.
pub fn catalog() -> Catalog {
    let language_model = BenchKind {
        id: "language-model",
        about: "quality on text, speed, memory and bytes of decoder language models",
        axes: vec![
            Axis::Model,
            Axis::Merge,
            Axis::Position,
            Axis::Shrink,
            Axis::Lowrank,
            Axis::Prune,
            Axis::Quant,
            Axis::Cache,
            Axis::Data,
            Axis::Seed,
        ],
        probes: vec![Probe::Static, Probe::Score, Probe::Time, Probe::Choose, Probe::Answer],
        settings: Settings::specs(),
        tables: vec![
            data("the text that is scored"),
            calibration("the text that methods are calibrated on"),
            task("choices", "questions whose likeliest answer is taken", ChoiceSelection::specs()),
            task("questions", "questions whose answer the model writes, greedily", QuestionSelection::specs()),
        ],
    };
    let sampling = BenchKind {
        id: "sampling",
        about: "what samplers leave of next-token distributions, whether their draws obey it, what they write and cost",
        axes: vec![Axis::Model, Axis::Data, Axis::Sampler, Axis::Seed],
        probes: vec![Probe::Step, Probe::Generate, Probe::Draw, Probe::SamplerTime, Probe::Answer],
        settings: SamplingSettings::specs(),
        tables: vec![
            data("the text whose steps are taken"),
            calibration("the text that matched chains are set on"),
            task("questions", "questions whose answer the model writes with the sampler", QuestionSelection::specs()),
        ],
    };
    let long_context = BenchKind {
        id: LONG_CONTEXT,
        about: "what models find again in long contexts whose answers are known, and what that costs",
        axes: language_model.axes.clone(),
        probes: vec![Probe::Static, Probe::Time, Probe::Retrieve],
        settings: Settings::specs(),
        tables: vec![contexts(), calibration("the text that methods are calibrated on")],
    };
    let addition = BenchKind {
        id: ADDITION,
        about: "whether models trained on sums add numbers of more digits than they saw",
        axes: language_model.axes.clone(),
        probes: vec![Probe::Static, Probe::Time, Probe::Retrieve],
        settings: Settings::specs(),
        tables: vec![sums(), calibration("the text that methods are calibrated on")],
    };
    Catalog {
        methods: methods::methods(),
        metrics: metrics::registry().into_iter().map(|metric| metric.spec).collect(),
        kinds: vec![language_model, sampling, long_context, addition],
        check_chain: Some(|axis, arms| match axis {
            // A matched chain was checked by itself.
            Axis::Sampler if !matches!(arms, [arm] if arm.id == "matched") => {
                let stages = match decode::first(arms).map_err(|error| error.to_string())? {
                    Some((_, behind)) => behind,
                    None => arms,
                };
                Chain::build(stages, 0, "").map(drop).map_err(|error| error.to_string())
            }
            _ => Ok(()),
        }),
    }
}

/// A text that is no axis.
fn calibration(about: &'static str) -> TableSpec {
    TableSpec {
        key: "calib",
        about,
        axis: None,
        required: false,
        label: "corpus",
        parameters: TextSelection::specs(),
        check: text::check,
    }
}

/// Questions with right answers.
fn task(key: &'static str, about: &'static str, parameters: Vec<ParameterSpec>) -> TableSpec {
    TableSpec { key, about, axis: None, required: false, label: "task", parameters, check: |_| Ok(()) }
}

/// The text of a bench, an axis of its own.
fn data(about: &'static str) -> TableSpec {
    TableSpec {
        key: "data",
        about,
        axis: Some(Axis::Data),
        required: true,
        label: "corpus",
        parameters: TextSelection::specs(),
        check: text::check,
    }
}

/// The sums of a bench, its axis of data.
fn sums() -> TableSpec {
    TableSpec {
        key: "data",
        about: "sums of numbers of which digits",
        axis: Some(Axis::Data),
        required: true,
        label: "carries",
        parameters: AdditionSelection::specs(),
        check: |_| Ok(()),
    }
}

/// The long contexts of a bench, its axis of data.
fn contexts() -> TableSpec {
    TableSpec {
        key: "data",
        about: "what is to be found in contexts of which length, and where in them",
        axis: Some(Axis::Data),
        required: true,
        label: "task",
        parameters: LongSelection::specs(),
        check: long::check,
    }
}
