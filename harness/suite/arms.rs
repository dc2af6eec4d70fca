//! From templates to resolved coordinates: every value checked where it stands, then every combination.

use std::collections::HashMap;

use harness_core::cell::Coordinate;
use harness_core::parameters::resolve_values;
use harness_core::{Arm, Axis, Catalog, Kind, ParameterSpec, TableSpec, Value};

use crate::chain::Chain;
use crate::diagnostics::{Diagnostic, Span};
use crate::names::Names;
use crate::section::{Faults, did_you_mean, refused, unknown_parameter};
use crate::sweep::{Slot, Template, Values};

/// Checks ids, parameter names and every value of the sweeps of a stage, none of which needs the sweep to be expanded.
pub(crate) fn check_stage(template: &Template, axis: Axis, catalog: &Catalog, faults: &mut Faults) {
    for (id, span) in &template.methods {
        match catalog.method(axis, id) {
            Some(spec) => check_slots(template, id, &spec.parameters, faults),
            None => faults.push(unknown_method(id, *span, axis, catalog)),
        }
    }
}

fn unknown_method(id: &str, span: Span, axis: Axis, catalog: &Catalog) -> Diagnostic {
    let fault = Diagnostic::new(span, format!("`{id}` is no method of the {axis} axis"));
    let known: Vec<&str> =
        catalog.methods.iter().filter(|method| method.axis == axis).map(|method| method.id).collect();
    match catalog.methods.iter().find(|method| method.id == id) {
        Some(elsewhere) => fault.label(format!("a {} method", elsewhere.axis)).help(format!(
            "write it under `{}`; {axis} has {}",
            elsewhere.axis,
            known.join(", ")
        )),
        None => fault.label("not known").help(did_you_mean(id, &known)),
    }
}

/// Checks a table's keys and every value of its sweeps, and that what labels it is there and can be loaded.
pub(crate) fn check_table(template: &Template, spec: &TableSpec, names: &dyn Names, faults: &mut Faults) {
    check_slots(template, spec.key, &spec.parameters, faults);
    // Free text names something outside the suite; a word of a few does not.
    let named = |slot: &&Slot| spec.parameters.iter().any(|known| known.name == slot.key && known.kind == Kind::Text);
    for slot in template.slots.iter().filter(named) {
        for (value, span) in slot.values.to_check() {
            if let Value::Text(name) = &value
                && let Err(fault) = names.check(&slot.key, name)
            {
                faults.push(Diagnostic::new(span, fault.message).maybe_help(fault.help));
            }
        }
    }
    if template.slots.iter().all(|slot| slot.key != spec.label) {
        faults.push(
            Diagnostic::new(template.span, format!("`{}` lacks `{}`", spec.key, spec.label))
                .help(format!("write {} = {{ {} = \"…\" }}", spec.key, spec.label)),
        );
    }
}

fn check_slots(template: &Template, owner: &str, specs: &[ParameterSpec], faults: &mut Faults) {
    for slot in &template.slots {
        let Some(spec) = specs.iter().find(|spec| spec.name == slot.key) else {
            faults.push(unknown_parameter(owner, &slot.key, slot.key_span, specs));
            continue;
        };
        let mut fine = true;
        for (value, span) in slot.values.to_check() {
            let Err(error) = spec.check(&value) else { continue };
            fine = false;
            faults.push(if matches!(value, Value::List(_)) && !matches!(spec.kind, Kind::Numbers | Kind::Texts) {
                let name = spec.name;
                Diagnostic::new(span, format!("`{name}` is set to a list in an arm written as text"))
                    .help(format!("to sweep, write a table: {{ method = \"{owner}\", {name} = {value} }}"))
            } else {
                refused(&error, spec, &value, span)
            });
        }
        // The ends of a range say all of its domain, but not that every step is a whole number.
        if let (true, Values::Range(range, span)) = (fine, &slot.values)
            && range.count() > 1
            && let Err(error) = spec.check(&range.value(1))
        {
            faults.push(refused(&error, spec, &range.value(1), *span));
        }
    }
}

/// Resolves every arm of an axis of methods. Call only with chains that were checked and counted.
pub(crate) fn expand_methods(chains: &[Chain], axis: Axis, catalog: &Catalog, faults: &mut Faults) -> Vec<Coordinate> {
    let mut arms = Arms::new(axis.key());
    for chain in chains {
        for index in 0..chain.count() {
            let stages = chain.arms(index);
            let (found, errors) = resolve(&stages, axis, catalog);
            faults.extend(errors.into_iter().map(|error| Diagnostic::new(chain.span, error)));
            let Some(coordinate) = found else { continue };
            match catalog.check_chain.map_or(Ok(()), |check| check(axis, &stages)) {
                Ok(()) => arms.add(coordinate, chain.span, faults),
                Err(error) => faults.push(Diagnostic::new(chain.span, format!("`{}`: {error}", coordinate.label))),
            }
        }
    }
    arms.list
}

/// The coordinate of methods one after the other, or what is wrong with them. A parameter keeps its plain name where
/// only one stage has it; otherwise the id of its stage stands before it.
fn resolve(stages: &[Arm], axis: Axis, catalog: &Catalog) -> (Option<Coordinate>, Vec<String>) {
    let mut errors = Vec::new();
    let mut found: Vec<(&str, String, Vec<(String, Value)>)> = Vec::new();
    for arm in stages {
        let Some(spec) = catalog.method(axis, &arm.id) else { return (None, errors) };
        match spec.resolve(arm).and_then(|parameters| Ok((spec.canonical(arm)?, parameters))) {
            Ok((label, parameters)) => found.push((spec.id, label.to_string(), parameters)),
            Err(wrong) => errors.extend(wrong.into_iter().map(|error| format!("`{arm}`: {error}"))),
        }
    }
    if !errors.is_empty() {
        return (None, errors);
    }
    let owners = |name: &str| found.iter().filter(|(.., own)| own.iter().any(|(other, _)| other == name)).count();
    let mut parameters = Vec::new();
    for (id, _, own) in &found {
        for (name, value) in own {
            let plain = owners(name) == 1;
            parameters.push((if plain { name.clone() } else { format!("{id}.{name}") }, value.clone()));
        }
    }
    let joined = |parts: Vec<&str>| parts.join(" | ");
    let coordinate = Coordinate {
        label: joined(found.iter().map(|(_, label, _)| label.as_str()).collect()),
        id: joined(found.iter().map(|(id, ..)| *id).collect()),
        parameters,
    };
    (Some(coordinate), errors)
}

/// Resolves every table of a table key and labels each by its label parameter and whatever differs between them.
pub(crate) fn expand_tables(templates: &[Template], spec: &TableSpec, faults: &mut Faults) -> Vec<Coordinate> {
    let mut arms = Arms::new(spec.key);
    for template in templates {
        for index in 0..template.count() {
            let mut arm = template.arm(index);
            spec.key.clone_into(&mut arm.id);
            let resolved = resolve_values(&arm, &spec.parameters)
                .and_then(|parameters| (spec.check)(&arm).map(|()| parameters).map_err(|error| vec![error]));
            match resolved {
                Ok(parameters) => {
                    let label = parameters.iter().find(|(name, _)| name == spec.label);
                    let name = match label {
                        Some((_, Value::Text(text))) => text.clone(),
                        other => other.map(|(_, value)| value.to_string()).unwrap_or_default(),
                    };
                    arms.add(Coordinate { label: name.clone(), id: name, parameters }, template.span, faults);
                }
                Err(errors) => {
                    faults.extend(errors.into_iter().map(|error| Diagnostic::new(template.span, error.to_string())));
                }
            }
        }
    }
    let mut list = arms.list;
    let differs: Vec<bool> = (0..spec.parameters.len())
        .map(|p| list.windows(2).any(|pair| pair[0].parameters.get(p) != pair[1].parameters.get(p)))
        .collect();
    for coordinate in &mut list {
        let shown: Vec<String> = (coordinate.parameters.iter().zip(&differs))
            .filter(|((name, value), differs)| **differs && name != spec.label && *value != Value::Unset)
            .map(|((name, value), _)| format!("{name}={value}"))
            .collect();
        if !shown.is_empty() {
            coordinate.label = format!("{}({})", coordinate.id, shown.join(", "));
        }
    }
    list
}

/// Arms of one axis, each only once.
pub(crate) struct Arms<'a> {
    key: &'a str,
    list: Vec<Coordinate>,
    seen: HashMap<String, Span>,
    /// Pairs of places already reported, so that two equal sweeps give one fault.
    reported: Vec<(Span, Span)>,
}

impl<'a> Arms<'a> {
    pub fn new(key: &'a str) -> Self {
        Self { key, list: Vec::new(), seen: HashMap::new(), reported: Vec::new() }
    }

    /// Adds an arm, or says where the same one already stands.
    pub fn add(&mut self, coordinate: Coordinate, span: Span, faults: &mut Faults) {
        let identity = format!("{} {:?}", coordinate.id, coordinate.parameters);
        if let Some(first) = self.seen.get(&identity) {
            if !self.reported.contains(&(*first, span)) {
                self.reported.push((*first, span));
                let fault = Diagnostic::new(span, format!("`{}` stands twice on `{}`", coordinate.label, self.key));
                faults.push(if first == &span {
                    fault.label("twice in this sweep")
                } else {
                    fault.label("again here").other(*first, "first here")
                });
            }
            return;
        }
        self.seen.insert(identity, span);
        self.list.push(coordinate);
    }

    /// The arms.
    pub fn into_list(self) -> Vec<Coordinate> {
        self.list
    }
}
