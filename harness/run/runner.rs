//! Walks a plan model by model: load once, prepare the arms, measure, and write every finished cell to the journal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use harness_core::journal::{Journal, JournalError};
use harness_core::{Arm, Axis, Catalog, Cell, CellId, CellRecord, Failure, ParameterValue, Probe};
use harness_suite::{Bench, Plan, Suite};

use crate::cache;
use crate::identity;
use crate::inputs::{Inputs, LoadedModel};
use crate::measure::{Prepared, measure_group};
use crate::setup::{Setup, arm_of, data_key, seed_of};

/// What happens during a run, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// The plan is known: cells in all, and how many the journal already holds.
    Planned {
        /// All cells.
        cells: usize,
        /// Cells that need no work.
        kept: usize,
    },
    /// A model is being loaded.
    Loading {
        /// Its name.
        model: &'a str,
    },
    /// A step of many parts has come this far.
    Progress {
        /// What is being done.
        step: &'a str,
        /// Parts done.
        done: usize,
        /// Parts in all.
        total: usize,
    },
    /// A cell is finished and on disk.
    Finished(&'a CellRecord),
}

/// Why a run ended before its last cell.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Ids of the plan's cells, in plan order.
    pub ids: Vec<CellId>,
    /// Cells measured now.
    pub measured: usize,
    /// Cells the journal already held.
    pub kept: usize,
    /// Cells that failed, now or before.
    pub failed: usize,
    /// Weight, text and tokenizer hashes of everything used, by name.
    pub hashes: BTreeMap<String, String>,
    /// Models loaded.
    pub loads: usize,
}

/// Runs a plan.
///
/// # Errors
/// [`RunError`] when results cannot be written; whatever goes wrong inside a cell is a failed record instead.
pub fn run(
    suite: &Suite,
    plan: &Plan,
    catalog: &Catalog,
    inputs: &mut Inputs,
    journal: &mut Journal,
    events: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, RunError> {
    let mut models: Vec<&str> = Vec::new();
    for planned in plan.cells() {
        let model = planned.cell.label(Axis::Model).unwrap_or_default();
        if !models.contains(&model) {
            models.push(model);
        }
    }
    let mut session = Session {
        catalog,
        inputs,
        known: journal.records().iter().map(|record| (record.id.clone(), record.failure.is_some())).collect(),
        journal,
        events,
        outcome: Outcome::default(),
        planned: plan.cells().len(),
        announced: false,
    };
    let mut ids: HashMap<usize, CellId> = HashMap::new();
    for model in models {
        let places: Vec<usize> = (0..plan.cells().len())
            .filter(|&place| plan.cells()[place].cell.label(Axis::Model) == Some(model))
            .collect();
        (session.events)(Event::Loading { model });
        let loaded = session.inputs.model(model);
        session.outcome.loads += 1;
        for (index, bench) in suite.benches.iter().enumerate() {
            let here: Vec<usize> = places.iter().copied().filter(|&place| plan.cells()[place].bench == index).collect();
            if here.is_empty() {
                continue;
            }
            let cells: Vec<&Cell> = here.iter().map(|&place| &plan.cells()[place].cell).collect();
            let named = match &loaded {
                Ok(loaded) if bench.kind == "sampling" => session.sampling(suite.seed, bench, loaded, &cells)?,
                Ok(loaded) => session.bench(suite.seed, bench, loaded, &cells)?,
                Err(error) => session.all_failed(&cells, "load", &error.to_string())?,
            };
            ids.extend(here.into_iter().zip(named));
        }
    }
    let mut outcome = session.outcome;
    outcome.ids = (0..plan.cells().len()).filter_map(|place| ids.remove(&place)).collect();
    Ok(outcome)
}

pub(crate) struct Session<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) inputs: &'a mut Inputs,
    journal: &'a mut Journal,
    /// Cells on disk, and whether they failed.
    pub(crate) known: HashMap<CellId, bool>,
    pub(crate) events: &'a mut dyn FnMut(Event<'_>),
    pub(crate) outcome: Outcome,
    planned: usize,
    announced: bool,
}

/// Cells of a bench that share one prepared arm.
pub(crate) struct ArmWork<'a> {
    pub merge: Arm,
    pub position: Arm,
    pub shrink: Arm,
    pub lowrank: Arm,
    pub prune: Arm,
    pub quant: Arm,
    pub seed: u64,
    /// Its place among the arms of the bench.
    pub place: usize,
    pub cells: Vec<(CellId, &'a Cell)>,
}

impl Session<'_> {
    pub(crate) fn write(&mut self, record: CellRecord) -> Result<(), RunError> {
        self.outcome.failed += usize::from(record.failure.is_some());
        self.outcome.measured += 1;
        self.known.insert(record.id.clone(), record.failure.is_some());
        (self.events)(Event::Finished(&record));
        self.journal.append(record)?;
        Ok(())
    }

    pub(crate) fn write_failed(
        &mut self,
        id: CellId,
        cell: &Cell,
        stage: &str,
        reason: &str,
        seconds: f64,
    ) -> Result<(), RunError> {
        self.write(CellRecord {
            id,
            cell: cell.clone(),
            observations: Vec::new(),
            failure: Some(Failure { stage: stage.to_owned(), reason: reason.to_owned() }),
            warnings: Vec::new(),
            seconds,
        })
    }

    /// Cells that could not even be named by content, because what they depend on could not be read. Their ids are
    /// made of the reason, so that a mended input gives new cells.
    pub(crate) fn all_failed(&mut self, cells: &[&Cell], stage: &str, reason: &str) -> Result<Vec<CellId>, RunError> {
        let mut ids = Vec::new();
        for cell in cells {
            let id =
                CellId::of(&[("cell", cell.to_string()), ("stage", stage.to_owned()), ("reason", reason.to_owned())]);
            if self.known.contains_key(&id) {
                self.outcome.kept += 1;
                self.outcome.failed += 1;
            } else {
                self.write_failed(id.clone(), cell, stage, reason, 0.0)?;
            }
            ids.push(id);
        }
        Ok(ids)
    }

    fn bench(
        &mut self,
        suite_seed: u64,
        bench: &Bench,
        model: &LoadedModel,
        cells: &[&Cell],
    ) -> Result<Vec<CellId>, RunError> {
        let probes: BTreeSet<Probe> =
            bench.metrics.iter().filter_map(|id| self.catalog.metric(id)).map(|metric| metric.probe).collect();
        let setup = match Setup::of(bench, model, cells, self.inputs, suite_seed, probes) {
            Ok(setup) => setup,
            Err(error) => return self.all_failed(cells, error.stage, &error.reason),
        };
        self.outcome.hashes.extend(setup.hashes(model));
        let mut ids = Vec::new();
        let mut works: Vec<ArmWork> = Vec::new();
        for &cell in cells {
            let methods = [Axis::Merge, Axis::Position, Axis::Shrink, Axis::Lowrank, Axis::Prune, Axis::Quant];
            let [merge, position, shrink, lowrank, prune, quant] = methods.map(|axis| arm_of(cell, axis));
            let seed = suite_seed.wrapping_add(seed_of(cell));
            let id = identity::cell_id(&identity::Facts {
                cell,
                model,
                data: setup.data(cell).map(|data| &data.windows),
                calibration: setup.calibration.as_ref(),
                calibration_order: setup.settings.calibration_order.to_value().to_string(),
                clock: setup.settings.clock(),
                settings: [setup.tasks.facts(), setup.settings.facts(), setup.expert_facts()].concat(),
                metrics: &bench.metrics,
                catalog: self.catalog,
                seed,
            });
            ids.push(id.clone());
            if let Some(failed) = self.known.get(&id) {
                self.outcome.kept += 1;
                self.outcome.failed += usize::from(*failed);
                continue;
            }
            let same = |work: &&mut ArmWork| {
                (&work.merge, &work.position, &work.shrink, &work.lowrank) == (&merge, &position, &shrink, &lowrank)
                    && (&work.prune, &work.quant, work.seed) == (&prune, &quant, seed)
            };
            if let Some(work) = works.iter_mut().find(same) {
                work.cells.push((id, cell));
            } else {
                let (place, cells) = (works.len(), vec![(id, cell)]);
                works.push(ArmWork { merge, position, shrink, lowrank, prune, quant, seed, place, cells });
            }
        }
        self.announce();
        let weights = model.decoder.prunable_bytes().max(1);
        let group = ((setup.settings.group_mib as u64 * (1 << 20)) / weights).max(1) as usize;
        let mut rest = works;
        while !rest.is_empty() {
            let later = rest.split_off(group.min(rest.len()));
            self.group(bench, model, &setup, std::mem::replace(&mut rest, later))?;
        }
        Ok(ids)
    }

    /// Says once how much there is to do.
    pub(crate) fn announce(&mut self) {
        if !self.announced {
            self.announced = true;
            let kept = self.known.len().min(self.planned);
            (self.events)(Event::Planned { cells: self.planned, kept });
        }
    }

    /// Prepares and measures arms that are held in memory together.
    fn group(
        &mut self,
        bench: &Bench,
        model: &LoadedModel,
        setup: &Setup,
        works: Vec<ArmWork>,
    ) -> Result<(), RunError> {
        let mut ready: Vec<(CellId, &Cell, Prepared)> = Vec::new();
        for (work, prepared) in self.prepare(bench, model, setup, works)? {
            for (id, cell) in work.cells {
                match cache::kept(&prepared, &arm_of(cell, Axis::Cache)) {
                    Ok(prepared) => ready.push((id, cell, prepared)),
                    Err(reason) => self.write_failed(id, cell, "cache", &reason, 0.0)?,
                }
            }
        }
        for (key, data) in &setup.data {
            let members: Vec<&(CellId, &Cell, Prepared)> =
                ready.iter().filter(|(_, cell, _)| data_key(cell) == *key).collect();
            if members.is_empty() {
                continue;
            }
            let prepared: Vec<&Prepared> = members.iter().map(|(_, _, prepared)| prepared).collect();
            let step = format!("{}: measure {} arms of {} on {key}", bench.name, members.len(), model.name);
            let events = &mut *self.events;
            let started = Instant::now();
            let measured = measure_group(model, &prepared, data, setup, &bench.metrics, &mut |done, total| {
                events(Event::Progress { step: &step, done, total });
            });
            let seconds = started.elapsed().as_secs_f64() / members.len() as f64;
            let records: Vec<CellRecord> = members
                .iter()
                .zip(measured)
                .map(|((id, cell, prepared), outcome)| {
                    let (observations, failure) = match outcome {
                        Ok(observations) => (observations, None),
                        Err(failure) => (Vec::new(), Some(failure)),
                    };
                    let beyond = setup.tasks.beyond(&observations);
                    CellRecord {
                        id: id.clone(),
                        cell: (*cell).clone(),
                        observations,
                        failure,
                        warnings: setup.warnings.iter().cloned().chain(beyond).collect(),
                        seconds: seconds + prepared.apply_seconds,
                    }
                })
                .collect();
            for record in records {
                self.write(record)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
