//! Runs the cells of a sampling bench on one model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use harness_core::{Arm, Axis, Cell, CellId, Failure, Parameters, Probe, Value};
use harness_language::Language;
use harness_methods::sample::Chain;
use harness_methods::sample::basis::Basis;
use harness_suite::Bench;

use crate::generated::Generated;
use crate::identity;
use crate::inputs::LoadedModel;
use crate::metrics::Seen;
use crate::panics::caught;
use crate::runner::{RunError, Session};
use crate::sampling::recipe::Recipe;
use crate::sampling::{Sampled, SamplingSettings, matching};
use crate::setup::{SetupError, arm_from, cut, data_key, seed_of};
use crate::tasks::Tasks;
use crate::text::{Windows, refuse_overlap};

/// A text and, where it is known, its language.
pub(super) struct Text {
    pub windows: Windows,
    pub skip_first: usize,
    pub language: Option<Generated>,
}

impl Text {
    pub(super) fn language(&self) -> Option<&Language> {
        self.language.as_ref().map(Generated::language)
    }
}

/// What all cells of a bench share on one model.
pub(super) struct Setup {
    pub settings: SamplingSettings,
    /// By data label.
    pub texts: BTreeMap<String, Text>,
    pub calibration: Option<Windows>,
    /// The draft or amateur.
    pub second: Option<LoadedModel>,
    pub judge: Option<LoadedModel>,
    pub tasks: Tasks,
}

/// A cell that has to be measured.
pub(super) struct Work<'a> {
    pub id: CellId,
    pub cell: &'a Cell,
    pub recipe: Recipe,
    pub seen: Result<Seen, Failure>,
}

impl Work<'_> {
    /// Whether single steps can be looked at: nothing failed, and it is no decoder.
    pub fn steps(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| !seen.sampling.decoder)
    }

    /// Enters what a probe saw, or why it saw nothing; what failed stays failed.
    pub fn enter<T>(&mut self, stage: &str, found: Result<T, String>, into: impl FnOnce(&mut Seen, T)) {
        match (&mut self.seen, found) {
            (Ok(seen), Ok(found)) => into(seen, found),
            (Ok(_), Err(reason)) => self.seen = Err(Failure { stage: stage.to_owned(), reason }),
            (Err(_), _) => {}
        }
    }
}

impl Session<'_> {
    /// Measures what is not on disk yet and names every cell.
    pub(crate) fn sampling(
        &mut self,
        suite_seed: u64,
        bench: &Bench,
        model: &LoadedModel,
        cells: &[&Cell],
    ) -> Result<Vec<CellId>, RunError> {
        let asked: Vec<_> = bench.metrics.iter().filter_map(|id| self.catalog.metric(id)).collect();
        let probes: BTreeSet<Probe> = asked.iter().map(|metric| metric.probe).collect();
        let setup = match self.setup(suite_seed, bench, model, cells, &probes) {
            Ok(setup) => setup,
            Err(error) => return self.all_failed(cells, error.stage, &error.reason),
        };
        self.outcome.hashes.insert(format!("model {}", model.name), model.hash.clone());
        let Setup { settings, texts, calibration, second, judge, tasks } = &setup;
        for (label, text) in texts {
            self.outcome.hashes.insert(format!("data {label} for {}", model.name), text.windows.hash.clone());
        }
        let mut ids = Vec::new();
        let mut works: BTreeMap<&str, Vec<Work>> = BTreeMap::new();
        for &cell in cells {
            let seed = suite_seed.wrapping_add(seed_of(cell));
            let text = texts.get(data_key(cell));
            let mut facts = vec![("seed", seed.to_string()), ("smoothing", format!("{:?}", settings.smoothing))];
            // The methods that a matched chain consists of count with their versions too.
            if let Some(Value::Text(like)) = arms_of(cell).first().and_then(|arm| arm.get("like")) {
                facts.extend(
                    identity::chain(self.catalog, Axis::Sampler, like).into_iter().map(|stage| ("like", stage)),
                );
            }
            if probes.contains(&Probe::Draw) {
                facts.push(("draws", settings.draws.to_string()));
            }
            if probes.contains(&Probe::Generate) {
                let SamplingSettings { sequences, sequence_tokens, prompt_tokens, .. } = &settings;
                facts.push(("texts", format!("{sequences} {sequence_tokens} {prompt_tokens}")));
            }
            facts.extend(second.iter().map(|second| ("second", second.hash.clone())));
            if asked.iter().any(|metric| metric.needs == Some("judge")) {
                facts.extend(judge.iter().map(|judge| ("judge", judge.hash.clone())));
            }
            facts.extend(tasks.facts());
            let id = identity::cell_id(&identity::Facts {
                cell,
                model,
                data: text.map(|text| &text.windows),
                calibration: calibration.as_ref(),
                calibration_order: String::new(),
                clock: settings.rounds.to_string(),
                settings: facts,
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
            let recipe = Recipe { arms: arms_of(cell), seed, basis: None };
            let decoder = recipe.decoder().is_some();
            let protocol = text.map(|text| text.windows.protocol.clone()).unwrap_or_default();
            let documents = text.map(|text| text.windows.documents.clone()).unwrap_or_default();
            let sampling = Sampled { decoder, ..Sampled::default() };
            let seen = Ok(Seen { documents, protocol, sampling, ..Seen::default() });
            works.entry(data_key(cell)).or_default().push(Work { id, cell, recipe, seen });
        }
        self.announce();
        let mut matcher = matching::Matcher::default();
        let mut basis = None;
        for (label, mut works) in works {
            if let Some(text) = texts.get(label) {
                for work in &mut works {
                    if let Err(reason) = give_basis(&mut work.recipe, model, &mut basis) {
                        work.enter::<()>("build", Err(reason), |_, ()| {});
                        continue;
                    }
                    match attempt(|| matcher.settle(model, calibration.as_ref(), &work.recipe)) {
                        Ok(None) => {}
                        Ok(Some((arms, setting))) => {
                            work.recipe.arms = arms;
                            work.enter("calibrate", Ok(setting), |seen, setting| seen.sampling.setting = setting);
                        }
                        Err(reason) => work.enter::<()>("calibrate", Err(reason), |_, ()| {}),
                    }
                }
                self.measure(bench, model, &setup, (label, text), &probes, works)?;
            }
        }
        Ok(ids)
    }

    fn setup(
        &self,
        seed: u64,
        bench: &Bench,
        model: &LoadedModel,
        cells: &[&Cell],
        probes: &BTreeSet<Probe>,
    ) -> Result<Setup, SetupError> {
        let settings = SamplingSettings::resolve(&arm_from("settings", &bench.settings))
            .map_err(|error| SetupError::at("settings")(&error))?;
        let mut texts = BTreeMap::new();
        for coordinate in cells.iter().filter_map(|cell| cell.coordinates.get(&Axis::Data)) {
            if texts.contains_key(&coordinate.label) {
                continue;
            }
            let (mut windows, selection) = cut(self.inputs, model, ("data", &coordinate.parameters), seed)?;
            let language =
                (self.inputs).language(&selection.corpus, model).map_err(|error| SetupError::at("data")(&error))?;
            if let Some(share) = settings.smoothing {
                if language.is_none() {
                    let reason = format!(
                        "`smoothing` mixes the true distribution with the uniform one, and that of {} is not known to {}; take an embedded model and its language",
                        coordinate.label, model.name
                    );
                    return Err(SetupError { stage: "settings", reason });
                }
                windows.protocol = format!("{} smoothing={share}", windows.protocol);
            }
            let text = Text { windows, skip_first: selection.first_scored(), language };
            texts.insert(coordinate.label.clone(), text);
        }
        let calibration = match bench.tables.get("calib") {
            Some(coordinate) => Some(cut(self.inputs, model, ("calib", &coordinate.parameters), seed)?.0),
            None => None,
        };
        for text in texts.values() {
            if let Some(calibration) = &calibration {
                refuse_overlap(&calibration.tokens, &text.windows.tokens)
                    .map_err(|error| SetupError::at("calib")(&error))?;
            }
        }
        let named = |name: &str| match name {
            "" => Ok(None),
            name => self.inputs.model(name).map(Some).map_err(|error| SetupError::at("load")(&error)),
        };
        let (second, judge) = (named(&settings.second)?, named(&settings.judge)?);
        let tasks = Tasks::of(bench, model, self.inputs, probes)?;
        Ok(Setup { settings, texts, calibration, second, judge, tasks })
    }
}

/// The chain of a cell as it was written.
fn arms_of(cell: &Cell) -> Vec<Arm> {
    Arm::parse_chain(cell.label(Axis::Sampler).unwrap_or_default()).unwrap_or_default()
}

/// Gives a recipe the basis of the model's head where a stage needs it; `held` keeps the largest asked for.
fn give_basis(recipe: &mut Recipe, model: &LoadedModel, held: &mut Option<Arc<Basis>>) -> Result<(), String> {
    // A matched chain judges tokens as the chain does that it sets.
    let like = recipe.arms.first().and_then(|arm| arm.get("like")).and_then(|like| match like {
        Value::Text(like) => Arm::parse_chain(like).ok(),
        _ => None,
    });
    let stages = like.as_ref().unwrap_or(&recipe.arms);
    let Some(directions) = Chain::build(stages, 0, "").ok().and_then(|chain| chain.directions()) else {
        return Ok(());
    };
    let basis = match held {
        Some(basis) if basis.directions() >= directions => basis.clone(),
        _ => {
            let head = model.decoder.head();
            if head.bias().is_some() {
                return Err(format!("the head of {} has a bias, so its matrix does not tell its logits", model.name));
            }
            let basis = Basis::of(&head.weight().to_f32(), head.rows(), head.cols(), directions);
            Arc::new(basis.map_err(|error| error.to_string())?)
        }
    };
    *held = Some(basis.clone());
    recipe.basis = Some(basis);
    Ok(())
}

/// What a piece of work gives, its panic a reason.
pub(super) fn attempt<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    caught(work).map_err(|panic| format!("panicked: {panic}")).and_then(|outcome| outcome)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Recipe, give_basis};
    use crate::inputs::Inputs;
    use harness_core::Arm;

    #[test]
    fn a_matched_chain_gets_the_basis_of_the_chain_that_it_sets() {
        let model = Inputs::from_environment().unwrap().model("tiny-100k").unwrap();
        let mut held = None;
        for (text, directions) in [
            ("min-p(p=0.1)", None),
            ("ba-eta(epsilon=0.01, directions=3)", Some(3)),
            ("matched(like=\"ba-eta(directions=5)\", diversity=2)", Some(5)),
            ("matched(like=top-p, diversity=2)", None),
        ] {
            let mut recipe = Recipe { arms: Arm::parse_chain(text).unwrap(), seed: 0, basis: None };
            give_basis(&mut recipe, &model, &mut held).unwrap();
            assert_eq!(recipe.basis.map(|basis| basis.directions()), directions, "{text}");
        }
    }
}
