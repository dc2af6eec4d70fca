//! What the cells of a sampling bench will cost.

use std::collections::BTreeMap;

use harness_core::{Arm, Axis, Catalog, Cell, Parameters, Probe};
use harness_methods::decode;
use harness_suite::Bench;

use crate::estimate::{BASE_BYTES, EFFICIENCY, Estimate, Machine, ModelSize, answers, set, together, tokens_of};
use crate::sampling::SamplingSettings;

/// Seconds that a chain and the sums over what it leaves take for a token of the vocabulary.
const STEP: f64 = 20e-9;
/// Seconds that a decode step takes whatever the size of the model.
const DECODE: f64 = 100e-6;
/// Seconds of one time of all made-up rows.
const ROWS: f64 = 20e-3;

fn calls_the_model(label: &str) -> bool {
    Arm::parse_chain(label).is_ok_and(|arms| decode::first(&arms).is_ok_and(|found| found.is_some()))
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
        seconds += if asks(Probe::Step) { steps * step } else { 0.0 };
        seconds += if asks(Probe::Draw) { settings.draws as f64 * step } else { 0.0 };
        if asks(Probe::Generate) {
            let tokens = (settings.sequences * settings.sequence_tokens) as f64;
            let decoder = cell.label(Axis::Sampler).is_some_and(calls_the_model);
            // Decoders write one text at a time, samplers many together.
            seconds +=
                tokens * if decoder { size.bytes as f64 / machine.bandwidth + DECODE } else { together(size, machine) };
            seconds += tokens * step;
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
