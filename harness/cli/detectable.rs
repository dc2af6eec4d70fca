//! What a run of a plan will be able to find, before it is made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness_core::statistics::{Bootstrap, Dispersion, Power, Scale};
use harness_core::{Axis, Cell, Noise, Reduction, Value};
use harness_run::typical::typical;
use harness_store::{Run, dispersions, list_runs};
use harness_suite::{Plan, Suite};
use serde_json::{Value as Json, json};

use crate::exit::Refusal;
use crate::report;
use crate::run::RUNS;
use crate::suite::Opened;

/// The smallest differences between two runs of a plan that a comparison of them finds.
pub struct Findable {
    /// Where the spreads come from.
    source: String,
    /// Tests that a comparison of two such runs makes.
    tests: usize,
    alpha: f64,
    rows: Vec<Row>,
}

/// One metric of a bench on some number of samples.
struct Row {
    bench: String,
    metric: String,
    unit: String,
    samples: usize,
    /// What is known of the spread, and what follows: the size found after correction, and by this test alone.
    known: Option<(Dispersion, Option<f64>, Option<f64>)>,
}

/// Says what the plan will find: by the spreads of the run named, of the last finished run of the same suite, or those
/// that are typical.
pub fn findable(opened: &Opened, plan: &Plan, like: Option<&Path>) -> Result<Findable, Refusal> {
    let run = match like {
        Some(run) => Some(report::open(run)?),
        None => last_of(&opened.suite),
    };
    let (source, known) = match &run {
        Some(run) => (format!("spread of {}", run.name()), dispersions(run)),
        None => ("typical spread of pruned models; --like RUN gives that of a run".to_owned(), BTreeMap::new()),
    };
    let alpha = 1.0 - Bootstrap::default().level;
    let noisy = |id: &str| {
        opened.catalog.metric(id).filter(|metric| metric.noise != Noise::Exact && metric.reduction != Reduction::Single)
    };
    let noisy = &noisy;
    let metrics_of = |bench: usize| opened.suite.benches[bench].metrics.iter().filter_map(move |id| noisy(id));
    let tests: usize = plan.cells().iter().map(|planned| metrics_of(planned.bench).count()).sum();
    let mut rows: Vec<Row> = Vec::new();
    for planned in plan.cells() {
        for metric in metrics_of(planned.bench) {
            let bench = &opened.suite.benches[planned.bench];
            let samples = match metric.noise {
                Noise::Timed => setting(&bench.settings, "rounds"),
                _ => windows(&planned.cell),
            };
            let Some(samples) = samples else { continue };
            if rows
                .iter()
                .any(|row| (&row.bench, row.metric.as_str(), row.samples) == (&bench.name, metric.id, samples))
            {
                continue;
            }
            let spread = known.get(metric.id).cloned().or_else(|| run.is_none().then(|| typical(metric.id)).flatten());
            let known = spread.map(|spread| {
                let found = |tests| spread.detectable(samples, Power::among(alpha, tests));
                let (corrected, alone) = (found(tests), found(1));
                (spread, corrected, alone)
            });
            let (bench, metric, unit) = (bench.name.clone(), metric.id.to_owned(), metric.unit.to_owned());
            rows.push(Row { bench, metric, unit, samples, known });
        }
    }
    Ok(Findable { source, tests, alpha, rows })
}

/// The last finished run of a suite below the folder of runs; one that cannot be read is passed over.
fn last_of(suite: &Suite) -> Option<Run> {
    let runs = list_runs(Path::new(RUNS)).ok()?;
    let same = |path: &str| PathBuf::from(path).file_name() == PathBuf::from(&suite.source_path).file_name();
    let mut finished = runs.into_iter().rev().filter(|run| run.cells.is_some() && same(&run.suite));
    finished.find_map(|run| Run::open(&run.dir).ok())
}

fn setting(settings: &[(String, Value)], name: &str) -> Option<usize> {
    let value = settings.iter().find(|(key, _)| key == name)?.1.as_number()?;
    Some(value as usize)
}

fn windows(cell: &Cell) -> Option<usize> {
    setting(&cell.coordinates.get(&Axis::Data)?.parameters, "windows")
}

impl Findable {
    /// A few lines for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.rows.is_empty() {
            return lines;
        }
        lines.push(format!(
            "two such runs are told apart with a chance of {:.0} % when they differ by ({}; {} tests, {:.3} in all):",
            100.0 * harness_core::statistics::POWER,
            self.source,
            self.tests,
            self.alpha
        ));
        for row in &self.rows {
            let what = match &row.known {
                None => "not known; no spread was measured".to_owned(),
                Some((spread, None, _)) => {
                    format!("nothing: {} {} are too few", spread.units(row.samples), spread.unit)
                }
                Some((spread, Some(corrected), alone)) => {
                    let alone = alone.map_or_else(String::new, |size| format!("; {} alone", row.size(spread, size)));
                    let (units, unit) = (spread.units(row.samples), &spread.unit);
                    format!("{} ({units} {unit}{alone})", row.size(spread, *corrected))
                }
            };
            lines.push(format!("  {} {}: {what}", row.bench, row.metric));
        }
        lines
    }

    /// The same for scripts.
    pub fn json(&self) -> Json {
        let rows: Vec<Json> = self
            .rows
            .iter()
            .map(|row| {
                let known = row.known.as_ref();
                json!({"bench": row.bench, "metric": row.metric, "samples": row.samples,
                    "units": known.map(|(spread, ..)| spread.units(row.samples)),
                    "unit_kind": known.map(|(spread, ..)| spread.unit.clone()),
                    "relative": known.map(|(spread, ..)| spread.scale == Scale::LogRatio),
                    "detectable": known.and_then(|(_, corrected, _)| *corrected),
                    "detectable_alone": known.and_then(|(.., alone)| *alone)})
            })
            .collect();
        json!({"source": self.source, "tests": self.tests, "alpha": self.alpha,
            "power": harness_core::statistics::POWER, "metrics": rows})
    }
}

impl Row {
    fn size(&self, spread: &Dispersion, size: f64) -> String {
        let text = |value: f64| {
            let decimals = if value > 0.0 { (1 - value.log10().floor() as i32).clamp(0, 9) as usize } else { 0 };
            format!("{value:.decimals$}")
        };
        match (spread.scale, self.unit.as_str()) {
            (Scale::LogRatio, _) => format!("{} %", text(100.0 * size)),
            (Scale::Difference, "1") => text(size),
            (Scale::Difference, unit) => format!("{} {unit}", text(size)),
        }
    }
}
