//! What all cells of a bench share on one model: its settings and its texts.

use std::collections::{BTreeMap, BTreeSet};

use harness_core::{Arm, Axis, Cell, Parameters, Probe, Value};
use harness_model::decoder::Decoder;
use harness_model::tokenizer::Tokenizer;
use harness_suite::Bench;

use crate::addition::AdditionSelection;
use crate::addition::ask::Questions;
use crate::cache;
use crate::catalog::{ADDITION, LONG_CONTEXT, Settings};
use crate::compute::Compute;
use crate::inputs::{Inputs, LoadedModel};
use crate::quantize::{ActivationType, Execution};
use crate::tasks::Tasks;
use crate::tasks::long::{LongItems, LongSelection, Retrieved};
use crate::text::{TextSelection, Windows, refuse_overlap, windows};
use crate::zeros::Zeros;

/// Why a bench cannot begin on a model.
pub(crate) struct SetupError {
    pub stage: &'static str,
    pub reason: String,
}

impl SetupError {
    pub(crate) fn at(stage: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |error| Self { stage, reason: error.to_string() }
    }
}

/// The windows that a table of a bench selects.
pub(crate) fn cut(
    inputs: &Inputs,
    model: &LoadedModel,
    (stage, parameters): (&'static str, &[(String, Value)]),
    seed: u64,
) -> Result<(Windows, TextSelection), SetupError> {
    let failed = SetupError::at(stage);
    let tokenizer = model.tokenizer().map_err(|error| SetupError::at("tokenizer")(&error))?;
    let selection = TextSelection::resolve(&arm_from(stage, parameters)).map_err(|error| failed(&error))?;
    let source = inputs.text(&selection, model, seed).map_err(|error| failed(&error))?;
    let mut cut = windows(&source, tokenizer, &selection).map_err(|error| failed(&error))?;
    cut.protocol = format!("{} tokenizer={}", cut.protocol, &model.tokenizer_hash()[..12]);
    Ok((cut, selection))
}

/// The long contexts that a table of a bench selects.
fn contexts(
    inputs: &Inputs,
    model: &LoadedModel,
    parameters: &[(String, Value)],
    seed: u64,
) -> Result<Data, SetupError> {
    let failed = SetupError::at("data");
    let selection = LongSelection::resolve(&arm_from("data", parameters)).map_err(|error| failed(&error))?;
    let (items, windows) = LongItems::of(&selection, model, inputs, seed).map_err(|error| failed(&error))?;
    Ok(Data { windows, skip_first: 0, decode_from: 0, asked: Some(Asked::Contexts(items)) })
}

/// The sums that a table of a bench selects.
fn sums(model: &LoadedModel, parameters: &[(String, Value)], seed: u64) -> Result<Data, SetupError> {
    let failed = SetupError::at("data");
    let selection = AdditionSelection::resolve(&arm_from("data", parameters)).map_err(|error| failed(&error))?;
    let (questions, windows) = Questions::of(&selection, model, seed).map_err(|error| failed(&error))?;
    Ok(Data { windows, skip_first: 0, decode_from: 0, asked: Some(Asked::Sums(questions)) })
}

/// Questions with known answers that are a bench's data.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// Things that stand in long contexts.
    Contexts(LongItems),
    /// Sums.
    Sums(Questions),
}

impl Asked {
    /// Asks a model everything.
    ///
    /// # Errors
    /// What went wrong, for people. `progress` is told how many of how many are done.
    pub fn ask(
        &self,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Retrieved>, String> {
        match self {
            Self::Contexts(items) => items.ask(decoder, tokenizer, progress),
            Self::Sums(questions) => questions.ask(decoder, progress),
        }
    }
}

/// What all cells of a bench share on one model.
pub(crate) struct Setup {
    pub settings: Settings,
    /// Windows by data label.
    pub data: BTreeMap<String, Data>,
    pub calibration: Option<Windows>,
    /// What the arms of `merge` put together.
    pub experts: Vec<LoadedModel>,
    pub tasks: Tasks,
    pub probes: BTreeSet<Probe>,
    pub warnings: Vec<String>,
}

/// Scored windows and where scoring begins in them.
#[derive(Debug, Clone)]
pub struct Data {
    /// The windows.
    pub windows: Windows,
    /// First position whose prediction counts.
    pub skip_first: usize,
    /// First position that is decoded; 0 where windows are read at once.
    pub decode_from: usize,
    /// What is asked behind the windows, which are prompts then.
    pub(crate) asked: Option<Asked>,
}

impl Data {
    /// The same with positions from some on decoded, of which alone the predictions count.
    fn decoded(mut self, from: usize, window: usize) -> Result<Self, SetupError> {
        if from == 0 {
            return Ok(self);
        }
        if from + 2 > window {
            let why = format!("`decode_from = {from}` leaves nothing to score of windows of {window} tokens");
            return Err(SetupError::at("settings")(&why));
        }
        self.decode_from = from;
        self.skip_first = self.skip_first.max(from);
        self.windows.protocol = format!("{} decode_from={from}", self.windows.protocol);
        Ok(self)
    }
}

impl Setup {
    pub fn of(
        bench: &Bench,
        model: &LoadedModel,
        cells: &[&Cell],
        inputs: &Inputs,
        seed: u64,
        probes: BTreeSet<Probe>,
    ) -> Result<Self, SetupError> {
        let settings = Settings::resolve(&arm_from("settings", &bench.settings))
            .map_err(|error| SetupError::at("settings")(&error))?;
        if settings.activations == ActivationType::Int8 && settings.exec == Execution::Fake {
            let why = "`activations = \"int8\"` is of packed maps; set `exec = \"packed\"` as well";
            return Err(SetupError::at("settings")(&why));
        }
        if settings.zeros == Zeros::Dropped && settings.compute == Compute::Bf16 {
            let why = "`zeros = \"dropped\"` is of maps that multiply in f32; leave `compute = \"bf16\"` out";
            return Err(SetupError::at("settings")(&why));
        }
        cache::refuse_unseen(cells, &settings, &probes).map_err(|why| SetupError::at("settings")(&why))?;
        let mut data = BTreeMap::new();
        for cell in cells {
            if let Some(coordinate) = cell.coordinates.get(&Axis::Data)
                && !data.contains_key(&coordinate.label)
            {
                let asked = match bench.kind {
                    LONG_CONTEXT => Some(contexts(inputs, model, &coordinate.parameters, seed)?),
                    ADDITION => Some(sums(model, &coordinate.parameters, seed)?),
                    _ => None,
                };
                if let Some(asked) = asked {
                    data.insert(coordinate.label.clone(), asked);
                    continue;
                }
                let (windows, selection) = cut(inputs, model, ("data", &coordinate.parameters), seed)?;
                let read = Data { windows, skip_first: selection.first_scored(), decode_from: 0, asked: None };
                data.insert(coordinate.label.clone(), read.decoded(settings.decode_from, selection.window)?);
            }
        }
        let calibration = match bench.tables.get("calib") {
            Some(coordinate) => Some(cut(inputs, model, ("calib", &coordinate.parameters), seed)?.0),
            None => None,
        };
        if let Some(calibration) = &calibration {
            for scored in data.values() {
                refuse_overlap(&calibration.tokens, &scored.windows.tokens)
                    .map_err(|error| SetupError::at("calib")(&error))?;
            }
        }
        let limit = model.decoder.config().max_positions;
        let warnings = data
            .values()
            .chain(None)
            .map(|data| data.windows.tokens.first().map_or(0, Vec::len))
            .filter(|&length| length > limit)
            .map(|length| {
                format!("windows of {length} tokens are longer than the {limit} positions {} was made for", model.name)
            })
            .chain(model.coded.as_ref().map(|coded| {
                format!(
                    "{} is a quantized checkpoint ({}): its dense model is what those codes stand for",
                    model.name, coded.types
                )
            }))
            .collect();
        let tasks = Tasks::of(bench, model, inputs, &probes)?;
        let merges = cells.iter().any(|cell| arm_of(cell, Axis::Merge).id != "none");
        let experts = settings.experts.iter().filter(|_| merges).map(|name| inputs.model(name));
        let experts = experts.collect::<Result<_, _>>().map_err(|error| SetupError::at("load")(&error))?;
        Ok(Self { settings, data, calibration, experts, tasks, probes, warnings })
    }

    pub fn data(&self, cell: &Cell) -> Option<&Data> {
        self.data.get(data_key(cell))
    }

    /// What cells depend on beside settings, where experts are merged.
    pub fn expert_facts(&self) -> Vec<(&'static str, String)> {
        self.experts.iter().map(|expert| ("expert", format!("{} {}", expert.name, expert.hash))).collect()
    }

    pub fn hashes(&self, model: &LoadedModel) -> Vec<(String, String)> {
        let mut hashes = vec![(format!("model {}", model.name), model.hash.clone())];
        hashes.extend(self.experts.iter().map(|expert| (format!("expert {}", expert.name), expert.hash.clone())));
        hashes.extend(
            self.data
                .iter()
                .map(|(label, data)| (format!("data {label} for {}", model.name), data.windows.hash.clone())),
        );
        hashes.extend(
            self.calibration.iter().map(|windows| (format!("calibration for {}", model.name), windows.hash.clone())),
        );
        hashes
    }
}

pub(crate) fn data_key(cell: &Cell) -> &str {
    cell.label(Axis::Data).unwrap_or_default()
}

pub(crate) fn arm_from(id: &str, parameters: &[(String, Value)]) -> Arm {
    Arm {
        id: id.to_owned(),
        parameters: parameters.iter().filter(|(_, value)| *value != Value::Unset).cloned().collect(),
    }
}

/// The arm of a cell on a method axis as it was written, so that a method can tell what was set from what was left
/// alone; the identity where the bench has no such axis.
pub(crate) fn arm_of(cell: &Cell, axis: Axis) -> Arm {
    cell.label(axis).and_then(|label| label.parse().ok()).unwrap_or_else(|| Arm::new("none"))
}

pub(crate) fn seed_of(cell: &Cell) -> u64 {
    cell.label(Axis::Seed).and_then(|label| label.parse().ok()).unwrap_or(0)
}
