//! Preparing the arms of a bench: experts are merged into the model, it is given its positions, loses blocks or their heads and
//! channels, its maps become factors and are pruned, and each pruned model is quantized.

use std::time::Instant;

use harness_core::{Arm, Axis};
use harness_methods::lowrank::LowRank;
use harness_methods::prune::Pruner;
use harness_methods::quant::Quantizer;
use harness_methods::registry;
use harness_model::decoder::Decoder;
use harness_suite::Bench;

use crate::attention::refuse_without_attention;
use crate::calibrate::{PrepareError, PruneArm, Pruned, prune_all};
use crate::compute::{Brain, Compute};
use crate::inputs::LoadedModel;
use crate::lowrank::{Reduced, lowrank_all};
use crate::measure::Prepared;
use crate::merge::merged;
use crate::position::placed;
use crate::provoke::provoked;
use crate::quantize::quantize_all;
use crate::runner::{ArmWork, Event, RunError, Session};
use crate::search::settled;
use crate::setup::Setup;
use crate::shrink::shortened;
use crate::zeros::{Zeros, dropped};

/// An arm whose methods are built.
struct Built<'a> {
    work: ArmWork<'a>,
    pruner: usize,
    quantizer: Box<dyn Quantizer>,
}

/// A pruning method with its seed, shared by all arms that begin with it.
struct First {
    arm: Arm,
    seed: u64,
    pruner: Box<dyn Pruner>,
}

impl<'a> Session<'_> {
    /// Prepares arms that are held in memory together; what fails is written down, the rest is given back.
    pub(crate) fn prepare(
        &mut self,
        bench: &Bench,
        model: &LoadedModel,
        setup: &Setup,
        works: Vec<ArmWork<'a>>,
    ) -> Result<Vec<(ArmWork<'a>, Prepared)>, RunError> {
        let mut ready = Vec::new();
        let works = self.attending(model, works)?;
        for here in self.alike(works, Axis::Merge, |work| &work.merge) {
            let Some((arm, seed)) = here.first().map(|first| (first.merge.clone(), first.seed)) else { continue };
            let made = match registry::merge(&arm) {
                Ok(method) if method.is_identity() => {
                    ready.append(&mut self.prepare_merged(bench, (&model.name, &model.decoder), setup, here)?);
                    continue;
                }
                Ok(method) => {
                    let step =
                        format!("{}: merge {} experts into {} by {arm}", bench.name, setup.experts.len(), model.name);
                    (self.events)(Event::Progress { step: &step, done: 0, total: 1 });
                    merged(model, &setup.experts, &*method, seed).map_err(|error| ("apply", error.to_string()))
                }
                Err(error) => Err(("build", error.to_string())),
            };
            match made {
                Ok(made) => {
                    let mut prepared = self.prepare_merged(bench, (&model.name, &made.decoder), setup, here)?;
                    for (_, prepared) in &mut prepared {
                        prepared.identity = false;
                        prepared.apply_seconds += made.seconds;
                    }
                    ready.append(&mut prepared);
                }
                Err((stage, reason)) => self.works_failed(&here, stage, &reason, 0.0)?,
            }
        }
        // In the order of the plan, which partitioning by what is done to the model has lost.
        ready.sort_by_key(|(work, _): &(ArmWork, Prepared)| work.place);
        Ok(ready)
    }

    /// Prepares arms on a model that has learned what it will: each of its positions first, then what is applied to that.
    fn prepare_merged(
        &mut self,
        bench: &Bench,
        (name, decoder): (&str, &Decoder),
        setup: &Setup,
        works: Vec<ArmWork<'a>>,
    ) -> Result<Vec<(ArmWork<'a>, Prepared)>, RunError> {
        let mut ready = Vec::new();
        for here in self.alike(works, Axis::Position, |work| &work.position) {
            let Some(position) = here.first().map(|first| first.position.clone()) else { continue };
            let began = Instant::now();
            let calibration = setup.calibration.as_ref().map(|windows| windows.tokens.as_slice());
            let step = format!("{}: search {position} for {name}", bench.name);
            let events = &mut *self.events;
            let settled = settled(decoder, &position, calibration, &mut |measured, _| {
                events(Event::Progress { step: &step, done: measured, total: measured });
            });
            let placed = settled
                .map_err(|error| error.to_string())
                .and_then(|arm| placed(decoder, &arm).map_err(|error| error.to_string()));
            let seconds = began.elapsed().as_secs_f64();
            match placed {
                Ok((decoder, unchanged)) => {
                    let mut prepared = self.prepare_shortened(bench, (name, &decoder), setup, here)?;
                    for (_, prepared) in &mut prepared {
                        prepared.identity &= unchanged;
                        prepared.apply_seconds += seconds;
                    }
                    ready.append(&mut prepared);
                }
                Err(error) => self.works_failed(&here, "position", &error, seconds)?,
            }
        }
        Ok(ready)
    }

    /// The arms that work on what the model has; the others are written down.
    fn attending(&mut self, model: &LoadedModel, works: Vec<ArmWork<'a>>) -> Result<Vec<ArmWork<'a>>, RunError> {
        let mut left = Vec::with_capacity(works.len());
        for work in works {
            let arms = [
                (Axis::Shrink, &work.shrink),
                (Axis::Lowrank, &work.lowrank),
                (Axis::Prune, &work.prune),
                (Axis::Quant, &work.quant),
            ];
            match refuse_without_attention(&model.decoder, &arms) {
                Ok(()) => left.push(work),
                Err(error) => self.failed(&work, "build", &error.to_string(), 0.0)?,
            }
        }
        Ok(left)
    }

    /// Prepares arms on a model that has its positions: each shorter model first, then what is applied to that.
    fn prepare_shortened(
        &mut self,
        bench: &Bench,
        (name, decoder): (&str, &Decoder),
        setup: &Setup,
        works: Vec<ArmWork<'a>>,
    ) -> Result<Vec<(ArmWork<'a>, Prepared)>, RunError> {
        let calibration = setup.calibration.as_ref().map(|windows| windows.tokens.as_slice());
        let mut ready = Vec::new();
        for here in self.alike(works, Axis::Shrink, |work| &work.shrink) {
            let Some((arm, seed)) = here.first().map(|first| (first.shrink.clone(), first.seed)) else { continue };
            let made = match registry::shrink(&arm) {
                Ok(method) if method.is_identity() => {
                    ready.append(&mut self.prepare_reduced(bench, (name, decoder), setup, here)?);
                    continue;
                }
                Ok(method) => {
                    let step = format!("{}: shorten {name} by {arm}", bench.name);
                    (self.events)(Event::Progress { step: &step, done: 0, total: 1 });
                    let events = &mut *self.events;
                    let mut tell = |done, total| events(Event::Progress { step: &step, done, total });
                    shortened(decoder, &*method, calibration, seed, &mut tell)
                        .map_err(|error| ("apply", error.to_string()))
                }
                Err(error) => Err(("build", error.to_string())),
            };
            match made {
                Ok(made) => {
                    let mut prepared = self.prepare_reduced(bench, (name, &made.decoder), setup, here)?;
                    for (_, prepared) in &mut prepared {
                        prepared.identity = false;
                        prepared.apply_seconds += made.seconds;
                        prepared.shortened = Some(made.clone());
                    }
                    ready.append(&mut prepared);
                }
                Err((stage, reason)) => self.works_failed(&here, stage, &reason, 0.0)?,
            }
        }
        Ok(ready)
    }

    /// Prepares arms on a model that has its positions and its blocks: each of its low-rank methods first, then what is applied to that.
    fn prepare_reduced(
        &mut self,
        bench: &Bench,
        (name, decoder): (&str, &Decoder),
        setup: &Setup,
        works: Vec<ArmWork<'a>>,
    ) -> Result<Vec<(ArmWork<'a>, Prepared)>, RunError> {
        let mut methods: Vec<(Arm, Box<dyn LowRank>, Vec<ArmWork<'a>>)> = Vec::new();
        for work in works {
            if let Some((_, _, own)) = methods.iter_mut().find(|(arm, ..)| *arm == work.lowrank) {
                own.push(work);
                continue;
            }
            match registry::lowrank(&work.lowrank) {
                Ok(method) => methods.push((work.lowrank.clone(), method, vec![work])),
                Err(error) => self.failed(&work, "build", &error.to_string(), 0.0)?,
            }
        }
        let calibration = setup.calibration.as_ref().map(|windows| windows.tokens.as_slice());
        let all: Vec<&dyn LowRank> = methods.iter().map(|(_, method, _)| &**method).collect();
        let step = format!("{}: factor {} by {} methods", bench.name, name, all.len());
        let events = &mut *self.events;
        let mut tell = |done, total| events(Event::Progress { step: &step, done, total });
        let reduced = lowrank_all(decoder, &all, calibration, setup.settings.calibration_order, &mut tell);
        drop(all);
        let mut ready = Vec::new();
        for ((_, method, own), reduced) in methods.into_iter().zip(reduced) {
            match reduced {
                Ok(Reduced { decoder, seconds, factoring }) => {
                    let unchanged = method.is_identity();
                    let mut prepared = self.prepare_placed(bench, (name, &decoder), setup, own)?;
                    for (_, prepared) in &mut prepared {
                        prepared.identity &= unchanged;
                        prepared.apply_seconds += seconds;
                        prepared.factoring = (!unchanged).then(|| factoring.clone());
                    }
                    ready.append(&mut prepared);
                }
                Err(error) => self.works_failed(&own, "apply", &error.to_string(), 0.0)?,
            }
        }
        Ok(ready)
    }

    /// Prepares arms on a model that has its positions and its factors.
    fn prepare_placed(
        &mut self,
        bench: &Bench,
        (name, decoder): (&str, &Decoder),
        setup: &Setup,
        works: Vec<ArmWork<'a>>,
    ) -> Result<Vec<(ArmWork<'a>, Prepared)>, RunError> {
        let mut firsts: Vec<First> = Vec::new();
        let mut built: Vec<Built> = Vec::new();
        for work in works {
            let pruner = firsts.iter().position(|first| first.arm == work.prune && first.seed == work.seed);
            let made = match pruner {
                Some(at) => Ok(at),
                None => registry::pruner(&work.prune).map(|pruner| {
                    let pruner = provoked(&work.prune, pruner);
                    firsts.push(First { arm: work.prune.clone(), seed: work.seed, pruner });
                    firsts.len() - 1
                }),
            };
            match made.and_then(|at| Ok((at, registry::quantizer(&work.quant)?))) {
                Ok((pruner, quantizer)) => built.push(Built { work, pruner, quantizer }),
                Err(error) => self.failed(&work, "build", &error.to_string(), 0.0)?,
            }
        }
        let calibration = setup.calibration.as_ref().map(|windows| windows.tokens.as_slice());
        let order = setup.settings.calibration_order;
        let holding = setup.settings.holding();
        let arms: Vec<PruneArm> =
            firsts.iter().map(|first| PruneArm { pruner: &*first.pruner, seed: first.seed, dtype: None }).collect();
        let step = format!("{}: apply {} arms to {}", bench.name, built.len(), name);
        let events = &mut *self.events;
        let mut tell = |done, total| events(Event::Progress { step: &step, done, total });
        let pruned = prune_all(decoder, &arms, calibration, order, &mut tell);
        drop(arms);
        let mut ready = Vec::new();
        let mut failures = Vec::new();
        for (at, (first, pruned)) in firsts.iter().zip(pruned).enumerate() {
            let (own, others): (Vec<Built>, Vec<Built>) = built.into_iter().partition(|built| built.pruner == at);
            built = others;
            match pruned {
                Ok(pruned) => {
                    let identity = first.pruner.is_identity();
                    for (work, outcome) in quantized(own, &pruned, identity, |model, quantizers| {
                        quantize_all(model, quantizers, calibration, order, holding, &mut tell)
                    }) {
                        match outcome {
                            Ok(prepared) => ready.push((work, prepared)),
                            Err(error) => failures.push((work, error.to_string())),
                        }
                    }
                }
                Err(error) => failures.extend(own.into_iter().map(|built| (built.work, error.to_string()))),
            }
        }
        if setup.settings.compute == Compute::Bf16 {
            ready = in_bf16(ready, &mut failures);
        }
        if setup.settings.zeros == Zeros::Dropped {
            ready = without_zeros(ready, &mut failures);
        }
        for (work, reason) in failures {
            self.failed(&work, "apply", &reason, 0.0)?;
        }
        Ok(ready)
    }

    /// Arms in groups for which a method makes one model: those of one arm, and of one seed where the method draws random numbers. Groups
    /// stand where their first work does.
    fn alike(
        &self,
        works: Vec<ArmWork<'a>>,
        axis: Axis,
        arm_of: impl for<'w> Fn(&'w ArmWork<'a>) -> &'w Arm,
    ) -> Vec<Vec<ArmWork<'a>>> {
        let mut groups: Vec<Vec<ArmWork<'a>>> = Vec::new();
        for work in works {
            let random = self.catalog.method(axis, &arm_of(&work).id).is_some_and(|method| method.random);
            let same = |first: &ArmWork<'a>| arm_of(first) == arm_of(&work) && (!random || first.seed == work.seed);
            match groups.iter_mut().find(|group| group.first().is_some_and(same)) {
                Some(group) => group.push(work),
                None => groups.push(vec![work]),
            }
        }
        groups
    }

    fn works_failed(&mut self, works: &[ArmWork], stage: &str, reason: &str, seconds: f64) -> Result<(), RunError> {
        works.iter().try_for_each(|work| self.failed(work, stage, reason, seconds))
    }

    fn failed(&mut self, work: &ArmWork, stage: &str, reason: &str, seconds: f64) -> Result<(), RunError> {
        for (id, cell) in &work.cells {
            self.write_failed(id.clone(), cell, stage, reason, seconds)?;
        }
        Ok(())
    }
}

/// The arms with their unquantized maps multiplying in bf16; what cannot be done goes to `failures`.
fn in_bf16<'a>(
    ready: Vec<(ArmWork<'a>, Prepared)>,
    failures: &mut Vec<(ArmWork<'a>, String)>,
) -> Vec<(ArmWork<'a>, Prepared)> {
    let mut brain = Brain::default();
    let mut changed = Vec::with_capacity(ready.len());
    for (work, prepared) in ready {
        match brain.of(&prepared.decoder, prepared.taken.as_ref()) {
            // No arm is the dense model any more: that stays in f32.
            Ok(decoder) => changed.push((work, Prepared { decoder, identity: false, ..prepared })),
            Err(error) => failures.push((work, error.to_string())),
        }
    }
    changed
}

/// The arms without the zeros of their pruned maps; what cannot be done goes to `failures`.
fn without_zeros<'a>(
    ready: Vec<(ArmWork<'a>, Prepared)>,
    failures: &mut Vec<(ArmWork<'a>, String)>,
) -> Vec<(ArmWork<'a>, Prepared)> {
    let mut changed = Vec::with_capacity(ready.len());
    for (work, prepared) in ready {
        match dropped(&prepared.decoder, prepared.taken.as_ref()) {
            Ok(decoder) => changed.push((work, Prepared { decoder, ..prepared })),
            Err(error) => failures.push((work, error.to_string())),
        }
    }
    changed
}

/// The arms that begin with one pruned model, each with its quantizer applied to that.
fn quantized<'a>(
    built: Vec<Built<'a>>,
    pruned: &Pruned,
    identity: bool,
    apply: impl FnOnce(&Decoder, &[(&dyn Quantizer, u64)]) -> Vec<Result<crate::quantize::Quantized, PrepareError>>,
) -> Vec<(ArmWork<'a>, Result<Prepared, PrepareError>)> {
    let (plain, quantizing): (Vec<Built>, Vec<Built>) =
        built.into_iter().partition(|built| built.quantizer.is_identity());
    let mut ready: Vec<(ArmWork, Result<Prepared, PrepareError>)> = plain
        .into_iter()
        .map(|built| {
            let (decoder, apply_seconds) = (pruned.decoder.clone(), pruned.seconds);
            (
                built.work,
                Ok(Prepared { decoder, apply_seconds, identity, shortened: None, factoring: None, taken: None }),
            )
        })
        .collect();
    if quantizing.is_empty() {
        return ready;
    }
    let quantizers: Vec<(&dyn Quantizer, u64)> =
        quantizing.iter().map(|built| (&*built.quantizer, built.work.seed)).collect();
    let models = apply(&pruned.decoder, &quantizers);
    drop(quantizers);
    ready.extend(quantizing.into_iter().zip(models).map(|(built, model)| {
        let prepared = model.map(|(model, taken)| Prepared {
            decoder: model.decoder,
            apply_seconds: pruned.seconds + model.seconds,
            identity: false,
            shortened: None,
            factoring: None,
            taken: Some(taken),
        });
        (built.work, prepared)
    }));
    ready
}
