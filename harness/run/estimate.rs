//! What a plan will cost: passes, tokens, minutes and memory, before anything runs.

use std::collections::BTreeMap;
use std::time::Instant;

use harness_core::{Arm, Axis, Catalog, Cell, Parameters, Probe, Value};
use harness_methods::registry;
use harness_model::decoder::Decoder;
use harness_suite::{Bench, Plan, Suite};
use rayon::prelude::*;

use crate::calibrate::CalibrationOrder;
use crate::catalog::Settings;
use crate::sampling;
use crate::tasks::long::LongSelection;
use crate::tasks::{ChoiceSelection, QuestionSelection};
use crate::text::TextSelection;

mod reads;

use reads::{Read, seen};

/// Bytes that a run needs beside weights and statistics: program, logits, text.
pub(crate) const BASE_BYTES: u64 = 300 << 20;
/// Share of the matrix-product ceiling that whole forward passes reach.
pub(crate) const EFFICIENCY: f64 = 0.6;

/// What is known of a model before its cells run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelSize {
    /// Parameters.
    pub parameters: u64,
    /// Bytes of all weights as held.
    pub bytes: u64,
    /// Bytes of the prunable weights as held.
    pub prunable_bytes: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Widest input of a linear map.
    pub widest: u64,
    /// Blocks.
    pub layers: u64,
    /// Tokens of the vocabulary.
    pub vocabulary: u64,
    /// Positions it was trained for.
    pub trained: u64,
}

impl ModelSize {
    /// The size of a loaded model.
    pub fn of(decoder: &Decoder) -> Self {
        let config = decoder.config();
        Self {
            parameters: decoder.parameters() as u64,
            bytes: decoder.stored_bytes() as u64,
            prunable_bytes: decoder.prunable_bytes(),
            hidden: config.hidden_size as u64,
            widest: config.intermediate_size.max(config.hidden_size) as u64,
            layers: config.layers as u64,
            vocabulary: config.vocab_size as u64,
            trained: config.max_positions as u64,
        }
    }
}

/// The cost of the cells that one bench has on one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Bench name.
    pub bench: String,
    /// Model name.
    pub model: String,
    /// Cells.
    pub cells: usize,
    /// Distinct prepared arms.
    pub arms: usize,
    /// Arms held in memory and scored together.
    pub group: usize,
    /// Passes of the dense model over the scored text.
    pub dense_passes: usize,
    /// Calibration passes of a whole model, the shared ones counted once.
    pub calibration_passes: usize,
    /// Tokens scored, over all arms and the dense passes.
    pub scored_tokens: u64,
    /// Tokens of all calibration passes.
    pub calibration_tokens: u64,
    /// Seconds on this machine.
    pub seconds: f64,
    /// Expected peak of resident memory in bytes.
    pub peak_bytes: u64,
}

/// What this machine does, measured in a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// f32 matrix-product operations a second.
    pub operations: f64,
    /// Bytes read from memory a second.
    pub bandwidth: f64,
}

impl Machine {
    /// Measures for about a tenth of a second.
    pub fn measure() -> Self {
        const SIDE: usize = 512;
        let x = vec![0.5_f32; SIDE * SIDE];
        let mut out = vec![0.0_f32; SIDE * SIDE];
        let mut best = f64::INFINITY;
        for _ in 0..6 {
            let started = Instant::now();
            harness_kernels::matmul_nt(&x, harness_kernels::MatrixRef::F32(&x), &mut out, SIDE, SIDE, SIDE);
            best = best.min(started.elapsed().as_secs_f64());
        }
        let block = vec![1_u64; 8 << 20];
        let started = Instant::now();
        let sum: u64 = block.par_chunks(1 << 16).map(|chunk| chunk.iter().sum::<u64>()).sum();
        std::hint::black_box(sum);
        let bandwidth = (block.len() * 8) as f64 / started.elapsed().as_secs_f64();
        Self { operations: 2.0 * (SIDE * SIDE * SIDE) as f64 / best, bandwidth }
    }
}

/// Estimates every (bench, model) pair of a plan whose model's size is known.
pub fn estimates(
    suite: &Suite,
    plan: &Plan,
    catalog: &Catalog,
    sizes: &BTreeMap<String, ModelSize>,
    machine: Machine,
) -> Vec<Estimate> {
    let mut grouped: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
    for (place, planned) in plan.cells().iter().enumerate() {
        grouped.entry((planned.bench, planned.cell.label(Axis::Model).unwrap_or_default())).or_default().push(place);
    }
    grouped
        .into_iter()
        .filter_map(|((index, model), places)| {
            let size = sizes.get(model)?;
            let bench = &suite.benches[index];
            let cells: Vec<_> = places.iter().map(|&place| &plan.cells()[place].cell).collect();
            if bench.kind == "sampling" {
                return sampling::estimate::estimate(bench, model, &cells, catalog, size, machine);
            }
            let settings = Settings::resolve(&set(&bench.settings)).ok()?;
            let mut arms: Vec<[&str; 7]> = cells
                .iter()
                .map(|cell| {
                    let label = |axis, otherwise| cell.label(axis).unwrap_or(otherwise);
                    let methods = [Axis::Merge, Axis::Position, Axis::Shrink, Axis::Lowrank, Axis::Prune, Axis::Quant];
                    let [merge, position, shrink, lowrank, prune, quant] = methods.map(|axis| label(axis, "none"));
                    [merge, position, shrink, lowrank, prune, quant, label(Axis::Seed, "")]
                })
                .collect();
            arms.sort_unstable();
            arms.dedup();
            let calibrated = cells
                .iter()
                .flat_map(|cell| {
                    [Axis::Shrink, Axis::Lowrank, Axis::Prune, Axis::Quant]
                        .map(|axis| (axis, cell.coordinates.get(&axis)))
                })
                .filter_map(|(axis, at)| Some((axis, at?)))
                .filter(|(axis, at)| catalog.method(*axis, &at.id).is_some_and(|method| method.calibrated))
                .map(|(_, at)| at.label.as_str())
                .collect::<std::collections::BTreeSet<_>>()
                .len();
            let group = ((settings.group_mib as u64 * (1 << 20)) / size.prunable_bytes.max(1))
                .clamp(1, arms.len().max(1) as u64) as usize;
            let groups = arms.len().div_ceil(group);
            let asks =
                |probe| bench.metrics.iter().filter_map(|id| catalog.metric(id)).any(|metric| metric.probe == probe);
            let data: BTreeMap<&str, Read> = cells
                .iter()
                .filter_map(|cell| cell.coordinates.get(&Axis::Data))
                .map(|at| (at.label.as_str(), Read::of(&at.parameters, None)))
                .collect();
            let (dense_passes, scored) = if asks(Probe::Score) {
                let scored: Read = cells
                    .iter()
                    .filter(|cell| !is_dense(cell))
                    .filter_map(|cell| Some(Read::of(&cell.coordinates.get(&Axis::Data)?.parameters, seen(cell, size))))
                    .sum();
                (groups * data.len(), scored + data.values().copied().sum::<Read>() * groups as u64)
            } else {
                (0, Read::default())
            };
            let calibration = bench.tables.get("calib").map_or_else(Read::default, |at| Read::of(&at.parameters, None));
            let calibration_passes = match settings.calibration_order {
                _ if calibrated == 0 => 0,
                CalibrationOrder::DenseOnce => groups,
                CalibrationOrder::Sequential => 2 * calibrated,
                CalibrationOrder::TrueSequential => 5 * calibrated,
            };
            let calibrated_on = calibration * calibration_passes as u64;
            let mut seconds = (scored + calibrated_on).seconds(size, machine);
            seconds += read_over(bench, &arms) as f64 * read(size, machine);
            if settings.decode_from > 0 {
                // Token by token, matrices have fewer rows.
                seconds += scored.tokens as f64 * (together(size, machine) - read(size, machine));
            }
            if asks(Probe::Time) {
                let rounds = (settings.rounds + 1) as f64 * cells.len() as f64;
                let prefill =
                    2.0 * size.parameters as f64 * settings.prefill_tokens as f64 / (machine.operations * EFFICIENCY);
                seconds += rounds * (prefill + settings.decode_tokens as f64 * size.bytes as f64 / machine.bandwidth);
            }
            if asks(Probe::Choose) {
                seconds += cells.len() as f64 * choices(bench, size, machine);
            }
            if asks(Probe::Answer) {
                seconds += cells.len() as f64 * answers(bench, size, machine);
            }
            if asks(Probe::Retrieve) {
                seconds += cells.iter().map(|cell| contexts(cell, size, machine)).sum::<f64>();
            }
            let states = calibration.tokens
                * size.hidden
                * 4
                * if settings.calibration_order == CalibrationOrder::DenseOnce { 1 } else { group as u64 };
            let moments = if calibrated > 0 { 4 * size.widest * size.widest * 8 } else { 0 };
            Some(Estimate {
                bench: bench.name.clone(),
                model: model.to_owned(),
                cells: cells.len(),
                arms: arms.len(),
                group,
                dense_passes,
                calibration_passes,
                scored_tokens: scored.tokens,
                calibration_tokens: calibrated_on.tokens,
                seconds,
                peak_bytes: BASE_BYTES + size.bytes + group as u64 * size.prunable_bytes + states + moments,
            })
        })
        .collect()
}

/// Tokens that methods of the shrink axis read over and over, in searches and trainings.
fn read_over(bench: &Bench, arms: &[[&str; 7]]) -> usize {
    let calibration = bench.tables.get("calib").map(|at| TextSelection::resolve(&set(&at.parameters)));
    let window = calibration.and_then(Result::ok).map_or(0, |selection| selection.window);
    let applied: std::collections::BTreeSet<(&str, &str)> = arms.iter().map(|arm| (arm[2], arm[6])).collect();
    let methods = applied.iter().filter_map(|(label, _)| registry::shrink(&label.parse().ok()?).ok());
    methods.map(|method| method.reads(window)).sum()
}

/// Whether nothing is done to the model of a cell, which is then scored as the dense model is.
fn is_dense(cell: &Cell) -> bool {
    (Axis::ALL.into_iter().filter(|axis| axis.changes_model()))
        .all(|axis| cell.label(axis).is_none_or(|label| label == "none"))
}

/// Tokens of a question with all its answers, each behind the question, about.
const CHOICES: f64 = 120.0;
/// Tokens of a question, without the examples that all share, about.
const QUESTION: f64 = 100.0;
/// Share of the allowed tokens that an answer has, about.
const ANSWERED: f64 = 0.6;

/// Tokens that are written and weighed behind a long context, about.
const WRITTEN: usize = 32;

/// Seconds for a token of texts that are written together.
pub(crate) fn together(size: &ModelSize, machine: Machine) -> f64 {
    2.0 * size.parameters as f64 / (machine.operations * EFFICIENCY / 2.0)
}

/// Seconds for a token that is read.
fn read(size: &ModelSize, machine: Machine) -> f64 {
    2.0 * size.parameters as f64 / (machine.operations * EFFICIENCY)
}

/// Seconds that weighing the answers of a bench takes a model.
fn choices(bench: &Bench, size: &ModelSize, machine: Machine) -> f64 {
    let selection = bench.tables.get("choices").map(|table| ChoiceSelection::resolve(&set(&table.parameters)));
    selection.and_then(Result::ok).map_or(0.0, |asked| asked.items as f64 * CHOICES * read(size, machine))
}

/// Seconds that answering the questions of a bench takes a model.
pub(crate) fn answers(bench: &Bench, size: &ModelSize, machine: Machine) -> f64 {
    let selection = bench.tables.get("questions").map(|table| QuestionSelection::resolve(&set(&table.parameters)));
    selection.and_then(Result::ok).map_or(0.0, |asked| {
        let written = ANSWERED * asked.tokens as f64 * together(size, machine);
        asked.items as f64 * (QUESTION * read(size, machine) + written)
    })
}

/// Seconds that asking for what stands in the long contexts of a cell takes a model: each is read with its needle and without,
/// and the answer is written.
fn contexts(cell: &Cell, size: &ModelSize, machine: Machine) -> f64 {
    let selection = cell.coordinates.get(&Axis::Data).map(|at| LongSelection::resolve(&set(&at.parameters)));
    selection.and_then(Result::ok).map_or(0.0, |asked| {
        let written = asked.tokens.unwrap_or(WRITTEN) as f64 * together(size, machine);
        let once = Read::new(asked.length as u64, 1, seen(cell, size)).seconds(size, machine);
        asked.items as f64 * (2.0 * once + written)
    })
}

/// Tokens of the windows that a table selects.
pub(crate) fn tokens_of(parameters: &[(String, Value)]) -> u64 {
    Read::of(parameters, None).tokens
}

pub(crate) fn set(parameters: &[(String, Value)]) -> Arm {
    Arm {
        id: "settings".to_owned(),
        parameters: parameters.iter().filter(|(_, value)| *value != Value::Unset).cloned().collect(),
    }
}
