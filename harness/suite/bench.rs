//! Reading one `[[bench]]`: first what can be checked and counted without expanding, then the arms.

use std::collections::BTreeMap;

use harness_core::cell::Coordinate;
use harness_core::{Axis, BenchKind, Catalog, Kind, TableSpec, Value};

use crate::arms::{Arms, check_stage, check_table, expand_methods, expand_tables};
use crate::chain::Chain;
use crate::diagnostics::{Diagnostic, Span};
use crate::names::Names;
use crate::node::{Data, Node};
use crate::section::{Faults, check_name, did_you_mean, grouped, refuse_unknown, refused, text, texts, wrong_kind};
use crate::suite::Bench;
use crate::sweep::{Template, Values};

/// Keys of every kind of bench, beside its axes, tables and settings.
pub(crate) const KEYS: [&str; 6] = ["name", "kind", "metrics", "zip", "expect", "quick"];

/// An axis as written.
struct AxisDraft<'a> {
    axis: Axis,
    key_span: Span,
    arms: Written<'a>,
}

enum Written<'a> {
    Names(Vec<(String, Span)>),
    Seeds(Values, Span),
    Methods(Vec<Chain>),
    Tables(&'a TableSpec, Vec<Template>),
}

impl AxisDraft<'_> {
    fn count(&self) -> u128 {
        match &self.arms {
            Written::Names(names) => names.len() as u128,
            Written::Seeds(values, _) => u128::from(values.count()),
            Written::Methods(chains) => chains.iter().fold(0, |sum: u128, chain| sum.saturating_add(chain.count())),
            Written::Tables(_, templates) => {
                templates.iter().fold(0, |sum: u128, template| sum.saturating_add(template.count()))
            }
        }
    }
}

/// A bench that was read but not expanded.
pub(crate) struct Draft<'a> {
    pub node: &'a Node,
    pub name: String,
    pub name_span: Span,
    pub kind: &'a BenchKind,
    axes: Vec<AxisDraft<'a>>,
    zips: Vec<Vec<Axis>>,
    settings: Vec<(String, Value)>,
    tables: BTreeMap<String, Coordinate>,
    metrics: Vec<String>,
}

/// The kind that a bench names, or the catalog's first.
pub(crate) fn kind_of<'a>(node: &Node, catalog: &'a Catalog) -> Option<&'a BenchKind> {
    match node.get("kind").and_then(Node::text) {
        Some(id) => catalog.kinds.iter().find(|kind| kind.id == id),
        None => catalog.kinds.first(),
    }
}

/// Every key a bench of a kind may have.
pub(crate) fn keys(kind: &BenchKind) -> Vec<&'static str> {
    let mut keys = KEYS.to_vec();
    keys.extend(kind.axes.iter().map(|axis| axis.key()));
    keys.extend(
        kind.tables.iter().map(|table| table.key).filter(|key| !kind.axes.iter().any(|axis| axis.key() == *key)),
    );
    keys.extend(kind.settings.iter().map(|setting| setting.name));
    keys
}

impl<'a> Draft<'a> {
    /// Reads what can be read without expanding a sweep. `None` only where nothing more can be said of the bench.
    pub fn read(
        node: &'a Node,
        index: usize,
        catalog: &'a Catalog,
        names: &dyn Names,
        faults: &mut Faults,
    ) -> Option<Self> {
        let Some(kind) = kind_of(node, catalog) else {
            let known: Vec<&str> = catalog.kinds.iter().map(|kind| kind.id).collect();
            if let Some((id, span)) = text(node, "kind", faults) {
                faults
                    .push(Diagnostic::new(span, format!("`{id}` is no kind of bench")).help(did_you_mean(id, &known)));
            }
            return None;
        };
        if let Some(wrong) = node.get("kind").filter(|value| value.text().is_none()) {
            faults.push(wrong_kind(wrong, "kind", "text"));
        }
        refuse_unknown(node, &format!("a {} bench", kind.id), &keys(kind), faults);
        let (name, name_span) = match text(node, "name", faults) {
            Some((name, span)) => {
                check_name(name, span, "bench", faults);
                (name.to_owned(), span)
            }
            None => (format!("bench-{}", index + 1), node.span),
        };
        let mut draft = Self {
            node,
            name,
            name_span,
            kind,
            axes: Vec::new(),
            zips: Vec::new(),
            settings: Vec::new(),
            tables: BTreeMap::new(),
            metrics: read_metrics(node, kind, catalog, faults),
        };
        for axis in &kind.axes {
            if let Some(entry) = node.entries().unwrap_or_default().iter().find(|entry| entry.key == axis.key()) {
                let arms = read_axis(&entry.value, *axis, kind, catalog, names, faults);
                draft.axes.extend(arms.map(|arms| AxisDraft { axis: *axis, key_span: entry.key_span, arms }));
            }
        }
        draft.refuse_missing(faults);
        draft.read_tables(names, faults);
        draft.read_settings(faults);
        draft.read_zips(faults);
        Some(draft)
    }

    fn refuse_missing(&self, faults: &mut Faults) {
        let tables = self.kind.tables.iter().filter(|table| table.required).map(|table| table.key);
        let first = self.kind.axes.first().map(|axis| axis.key());
        for key in first.into_iter().chain(tables).filter(|key| self.node.get(key).is_none()) {
            faults.push(
                Diagnostic::new(self.node.span, format!("bench `{}` lacks `{key}`", self.name)).label("in this bench"),
            );
        }
    }

    fn read_tables(&mut self, names: &dyn Names, faults: &mut Faults) {
        for spec in self.kind.tables.iter().filter(|table| table.axis.is_none()) {
            let Some(node) = self.node.get(spec.key) else { continue };
            let before = faults.len();
            let Some(template) = Template::table_of(node, spec.key, faults) else { continue };
            for slot in template.slots.iter().filter(|slot| slot.values.count() != 1) {
                faults.push(
                    Diagnostic::new(slot.key_span, format!("`{}.{}` cannot sweep", spec.key, slot.key))
                        .help(format!("`{}` is no axis: it takes one value a bench; write two benches", spec.key)),
                );
            }
            check_table(&template, spec, names, faults);
            if faults.len() == before {
                let coordinate = expand_tables(&[template], spec, faults).into_iter().next();
                self.tables.extend(coordinate.map(|coordinate| (spec.key.to_owned(), coordinate)));
            }
        }
    }

    fn read_settings(&mut self, faults: &mut Faults) {
        for spec in &self.kind.settings {
            let mut value = spec.default.clone();
            if let Some(node) = self.node.get(spec.name) {
                // Settings are not swept, so that a list is one value where one is asked for.
                let listed = match &node.data {
                    Data::List(items) if matches!(spec.kind, Kind::Numbers | Kind::Texts) => {
                        items.iter().map(Node::scalar).collect::<Option<_>>().map(Value::List)
                    }
                    _ => None,
                };
                match listed.or_else(|| node.scalar()) {
                    Some(set) => match spec.check(&set) {
                        Ok(good) => value = good,
                        Err(error) => faults.push(refused(&error, spec, &set, node.span)),
                    },
                    None => faults.push(
                        Diagnostic::new(node.span, format!("`{}` cannot be {}", spec.name, node.kind()))
                            .help(crate::section::describe(spec)),
                    ),
                }
            }
            self.settings.push((spec.name.to_owned(), value));
        }
    }

    fn read_zips(&mut self, faults: &mut Faults) {
        const SHAPE: &str = "write zip = [[\"model\", \"data\"]]: lists of axes of this bench with equally many arms";
        let Some(node) = self.node.get("zip") else { return };
        let Data::List(groups) = &node.data else {
            faults.push(wrong_kind(node, "zip", "a list of lists of axes").help(SHAPE));
            return;
        };
        for group in groups {
            let Data::List(members) = &group.data else {
                faults.push(wrong_kind(group, "zip", "a list of lists of axes").help(SHAPE));
                continue;
            };
            let mut zip: Vec<Axis> = Vec::new();
            let mut length: Option<(u128, Axis)> = None;
            for member in members {
                let found = member.text().and_then(|key| self.axes.iter().find(|draft| draft.axis.key() == key));
                let Some(draft) = found else {
                    let set: Vec<&str> = self.axes.iter().map(|draft| draft.axis.key()).collect();
                    let what = member.text().map_or_else(|| member.kind().to_owned(), |key| format!("`{key}`"));
                    let message = format!("{what} is no axis that bench `{}` sets", self.name);
                    faults.push(Diagnostic::new(member.span, message).help(format!("it sets {}", set.join(", "))));
                    continue;
                };
                if zip.contains(&draft.axis) || self.zips.iter().any(|earlier| earlier.contains(&draft.axis)) {
                    faults.push(Diagnostic::new(member.span, format!("axis `{}` is zipped twice", draft.axis)));
                    continue;
                }
                let count = draft.count();
                match length {
                    Some((wanted, first)) if wanted != count => faults.push(
                        Diagnostic::new(
                            member.span,
                            format!(
                                "`{}` has {count} arms and `{first}` has {wanted}; zipped axes have equally many",
                                draft.axis
                            ),
                        )
                        .other(draft.key_span, "this axis"),
                    ),
                    Some(_) => {}
                    None => length = Some((count, draft.axis)),
                }
                zip.push(draft.axis);
            }
            if members.len() < 2 {
                faults.push(Diagnostic::new(group.span, "a zip needs at least two axes").help(SHAPE));
            }
            self.zips.push(zip);
        }
    }

    /// How many cells it has, its sweeps unexpanded.
    pub fn count(&self) -> u128 {
        let follows = |draft: &AxisDraft| {
            self.zips.iter().any(|zip| zip.contains(&draft.axis) && zip.first() != Some(&draft.axis))
        };
        self.axes
            .iter()
            .filter(|draft| !follows(draft))
            .fold(1, |count: u128, draft| count.saturating_mul(draft.count()))
    }

    /// The axis with the most arms, as a place to point at.
    pub fn widest(&self) -> Span {
        self.axes.iter().max_by_key(|draft| draft.count()).map_or(self.name_span, |draft| draft.key_span)
    }

    /// `3 model × 10 prune`, for messages.
    pub fn factors(&self) -> String {
        let parts: Vec<String> =
            self.axes.iter().map(|draft| format!("{} {}", grouped(draft.count()), draft.axis)).collect();
        parts.join(" × ")
    }

    /// Expands every axis. The count must have been checked.
    pub fn expand(&self, catalog: &Catalog, faults: &mut Faults) -> Bench {
        let axes = self.axes.iter().map(|draft| {
            let list = match &draft.arms {
                Written::Methods(chains) => expand_methods(chains, draft.axis, catalog, faults),
                Written::Tables(spec, templates) => expand_tables(templates, spec, faults),
                Written::Names(names) => {
                    let mut arms = Arms::new(draft.axis.key());
                    for (name, span) in names {
                        arms.add(Coordinate::plain(name.as_str()), *span, faults);
                    }
                    arms.into_list()
                }
                Written::Seeds(values, span) => {
                    let mut arms = Arms::new(draft.axis.key());
                    let listed = values.to_check();
                    for index in 0..values.count() {
                        let at = listed.get(index as usize).map_or(*span, |(_, span)| *span);
                        arms.add(Coordinate::plain(values.value(index).to_string()), at, faults);
                    }
                    arms.into_list()
                }
            };
            (draft.axis, list)
        });
        Bench {
            name: self.name.clone(),
            kind: self.kind.id,
            axes: axes.collect(),
            zips: self.zips.clone(),
            settings: self.settings.clone(),
            tables: self.tables.clone(),
            metrics: self.metrics.clone(),
            expect: Vec::new(),
        }
    }
}

fn read_metrics(node: &Node, kind: &BenchKind, catalog: &Catalog, faults: &mut Faults) -> Vec<String> {
    let known: Vec<&str> = catalog.metrics_of(kind).map(|metric| metric.id).collect();
    let mut metrics: Vec<(String, Span)> = Vec::new();
    match node.get("metrics") {
        None => faults.push(
            Diagnostic::new(node.span, "the bench measures nothing: `metrics` is missing")
                .help(format!("write metrics = \"all\", or a list of {}", known.join(", "))),
        ),
        Some(value) if value.text() == Some("all") => {
            let possible =
                catalog.metrics_of(kind).filter(|metric| metric.needs.is_none_or(|key| node.get(key).is_some()));
            return possible.map(|metric| metric.id.to_owned()).collect();
        }
        Some(value) if value.each().is_empty() => {
            faults
                .push(Diagnostic::new(value.span, "`metrics` is empty").help(format!("there is {}", known.join(", "))));
        }
        Some(_) => {}
    }
    for (id, span) in texts(node, "metrics", faults) {
        if !known.contains(&id) {
            let help = did_you_mean(id, &known);
            faults.push(match catalog.metric(id) {
                Some(_) => Diagnostic::new(span, format!("a {} bench does not measure `{id}`", kind.id)).help(help),
                None => Diagnostic::new(span, format!("`{id}` is no metric")).label("not known").help(help),
            });
        } else if let Some((_, first)) = metrics.iter().find(|(earlier, _)| earlier == id) {
            faults.push(Diagnostic::new(span, format!("metric `{id}` is asked for twice")).other(*first, "first here"));
        } else {
            let lacking = catalog.metric(id).and_then(|metric| metric.needs).filter(|key| node.get(key).is_none());
            if let Some(key) = lacking {
                faults.push(
                    Diagnostic::new(span, format!("`{id}` needs `{key}`, which this bench lacks"))
                        .help(format!("write {key} = … (suites/README.md says what), or leave `{id}` out")),
                );
            }
            metrics.push((id.to_owned(), span));
        }
    }
    metrics.into_iter().map(|(id, _)| id).collect()
}

fn read_axis<'a>(
    node: &Node,
    axis: Axis,
    kind: &'a BenchKind,
    catalog: &Catalog,
    names: &dyn Names,
    faults: &mut Faults,
) -> Option<Written<'a>> {
    if node.each().is_empty() {
        let message = format!("`{axis}` sweeps over nothing");
        faults.push(Diagnostic::new(node.span, message).help("write at least one arm, or leave the axis out"));
        return None;
    }
    let before = faults.len();
    let arms = if let Some(spec) = kind.tables.iter().find(|table| table.axis == Some(axis)) {
        let templates: Vec<_> =
            node.each().iter().filter_map(|member| Template::table_of(member, spec.key, faults)).collect();
        for template in &templates {
            check_table(template, spec, names, faults);
        }
        Written::Tables(spec, templates)
    } else {
        match axis {
            Axis::Model => Written::Names(read_names(node, axis, names, faults)),
            Axis::Seed => Written::Seeds(read_seeds(node, faults)?, node.span),
            _ => {
                let members = node.each().iter();
                let chains: Vec<_> = members.filter_map(|member| Chain::read(member, axis, faults)).collect();
                for stage in chains.iter().flat_map(|chain| &chain.stages) {
                    check_stage(stage, axis, catalog, faults);
                }
                Written::Methods(chains)
            }
        }
    };
    (faults.len() == before).then_some(arms)
}

fn read_names(node: &Node, axis: Axis, names: &dyn Names, faults: &mut Faults) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    for member in node.each() {
        match member.text() {
            Some(name) => {
                if let Err(fault) = names.check(axis.key(), name) {
                    faults.push(Diagnostic::new(member.span, fault.message).maybe_help(fault.help));
                }
                found.push((name.to_owned(), member.span));
            }
            None => faults.push(wrong_kind(member, axis.key(), "a name or a list of names")),
        }
    }
    found
}

fn read_seeds(node: &Node, faults: &mut Faults) -> Option<Values> {
    let values = Values::read("seed", node, faults)?;
    let good = |value: &Value| matches!(value, Value::Int(seed) if *seed >= 0);
    let middle = match &values {
        Values::Range(range, span) if range.count() > 1 => Some((range.value(1), *span)),
        _ => None,
    };
    for (value, span) in values.to_check().into_iter().chain(middle).filter(|(value, _)| !good(value)) {
        faults.push(Diagnostic::new(span, format!("`seed` must be a whole number from 0, not {value}")));
    }
    Some(values)
}
