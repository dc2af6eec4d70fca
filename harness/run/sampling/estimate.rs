//! What the cells of a sampling bench will cost.

use std::collections::BTreeMap;

use harness_core::{Arm, Axis, Catalog, Cell, Parameters, Probe, Value};
use harness_methods::decode;
use harness_suite::Bench;

use crate::estimate::{BASE_BYTES, EFFICIENCY, Estimate, Machine, ModelSize, answers, set, together, tokens_of};
use crate::sampling::SamplingSettings;

/// Seconds that a chain and the sums over what it leaves take for a token of the vocabulary.
const STEP: f64 = 20e-9;
/// Seconds that a decode step takes whatever the size of the model.
const DECODE: f64 = 100e-6;
/// Seconds that a step of a basis-aware chain in exact mode takes for a token of the vocabulary and a direction of the head.
const PROGRAM: f64 = 8e-6;
/// Directions where an arm sets none.
const DIRECTIONS: f64 = 20.0;
/// Seconds of one time of all made-up rows.
const ROWS: f64 = 20e-3;

/// Hypotheses that a decoder holds; `None` for a chain of samplers.
fn beams(stages: &[Arm]) -> Option<f64> {
    let (_, _) = decode::first(stages).ok()??;
    Some(number(stages.first()?, "width").unwrap_or(1.0))
}

/// Directions of the head by which stages judge every token, in exact mode.
fn exact_directions(stages: &[Arm]) -> f64 {
    let exact = |arm: &&Arm| matches!(arm.get("mode"), Some(Value::Text(mode)) if mode == "exact");
    stages.iter().filter(exact).map(|arm| number(arm, "directions").unwrap_or(DIRECTIONS)).sum()
}

fn number(arm: &Arm, name: &str) -> Option<f64> {
    match arm.get(name)? {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

/// The cost of the cells of a sampling bench on one model.
pub fn estimate(
    bench: &Bench,
    model: &str,
    cells: &[&Cell],
    catalog: &Catalog,
    size: &ModelSize,
    machine: Machine,
) -> Option<Estimate> {
    let settings = SamplingSettings::resolve(&set(&bench.settings)).ok()?;
    let asks = |probe| bench.metrics.iter().filter_map(|id| catalog.metric(id)).any(|metric| metric.probe == probe);
    let data: BTreeMap<&str, u64> = (cells.iter().filter_map(|cell| cell.coordinates.get(&Axis::Data)))
        .map(|at| (at.label.as_str(), tokens_of(&at.parameters)))
        .collect();
    let calibration = bench.tables.get("calib").map_or(0, |at| tokens_of(&at.parameters));
    let scored: u64 = data.values().sum();
    let mut seconds = 2.0 * size.parameters as f64 * (scored + calibration) as f64 / (machine.operations * EFFICIENCY);
    let step = size.vocabulary as f64 * STEP;
    for cell in cells {
        let steps = cell.label(Axis::Data).and_then(|label| data.get(label)).copied().unwrap_or(0) as f64;
        let stages = Arm::parse_chain(cell.label(Axis::Sampler).unwrap_or_default()).unwrap_or_default();
        let programs = size.vocabulary as f64 * exact_directions(&stages) * PROGRAM;
        seconds += if asks(Probe::Step) { steps * (step + programs) } else { 0.0 };
        seconds += if asks(Probe::Draw) { settings.draws as f64 * step } else { 0.0 };
        if asks(Probe::Generate) {
            let tokens = (settings.sequences * settings.sequence_tokens) as f64;
            // Decoders write one text at a time, and beams read a step for each of their hypotheses; samplers write many together.
            seconds += tokens
                * match beams(&stages) {
                    Some(width) => {
                        (size.bytes as f64 / machine.bandwidth + DECODE).max(width * together(size, machine))
                    }
                    None => together(size, machine),
                };
            seconds += tokens * (step + programs);
        }
        if asks(Probe::Answer) {
            seconds += answers(bench, size, machine);
        }
        seconds += if asks(Probe::SamplerTime) { (settings.rounds + 1) as f64 * ROWS } else { 0.0 };
    }
    let windows = scored.checked_div(data.len() as u64).unwrap_or(0).min(1 << 12);
    Some(Estimate {
        bench: bench.name.clone(),
        model: model.to_owned(),
        cells: cells.len(),
        arms: cells.len(),
        group: cells.len(),
        dense_passes: data.len(),
        calibration_passes: usize::from(calibration > 0),
        scored_tokens: scored,
        calibration_tokens: calibration,
        seconds,
        // Logits and probabilities of a window, and the truth.
        peak_bytes: BASE_BYTES + size.bytes + windows * size.vocabulary * 20,
    })
}
