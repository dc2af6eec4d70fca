//! Which columns exist in some benches, and how their names are read.

use std::collections::BTreeSet;

use harness_core::{Axis, Catalog};

use crate::column::Column;
use crate::section::did_you_mean;
use crate::suite::Bench;

/// The columns of a set of benches.
pub(crate) struct Vocabulary<'a> {
    pub catalog: &'a Catalog,
    /// Metrics that are measured, in catalog order.
    metrics: Vec<&'static str>,
    axes: BTreeSet<Axis>,
    parameters: BTreeSet<(Axis, String)>,
    /// Every id on every axis.
    arms: BTreeSet<(Axis, String)>,
    /// Whether some bench could not be read, so that whatever the catalog has may be there.
    pub open: bool,
}

impl<'a> Vocabulary<'a> {
    pub fn of(benches: &[&Bench], catalog: &'a Catalog) -> Self {
        let measured = |id: &str| benches.iter().any(|bench| bench.metrics.iter().any(|metric| metric == id));
        let mut vocabulary = Self {
            catalog,
            metrics: catalog.metrics.iter().map(|metric| metric.id).filter(|id| measured(id)).collect(),
            axes: BTreeSet::new(),
            parameters: BTreeSet::new(),
            arms: BTreeSet::new(),
            open: false,
        };
        for (axis, at) in
            benches.iter().flat_map(|bench| &bench.axes).flat_map(|(axis, arms)| arms.iter().map(|at| (*axis, at)))
        {
            vocabulary.axes.insert(axis);
            if vocabulary.arms.insert((axis, at.id.clone())) {
                // Every arm of an id has the same parameter names.
                vocabulary.parameters.extend(at.parameters.iter().map(|(name, _)| (axis, name.clone())));
            }
        }
        vocabulary
    }

    /// The columns of benches of which some could not be read: all that the catalog could give them. Words that mean
    /// nothing anywhere are still found.
    pub fn open(benches: &[&Bench], catalog: &'a Catalog) -> Self {
        let mut vocabulary = Self::of(benches, catalog);
        vocabulary.open = true;
        vocabulary.metrics = catalog.metrics.iter().map(|metric| metric.id).collect();
        for kind in &catalog.kinds {
            vocabulary.axes.extend(&kind.axes);
            for (axis, table) in kind.tables.iter().filter_map(|table| Some((table.axis?, table))) {
                vocabulary.parameters.extend(table.parameters.iter().map(|spec| (axis, spec.name.to_owned())));
            }
        }
        for method in &catalog.methods {
            vocabulary.arms.insert((method.axis, method.id.to_owned()));
            vocabulary.parameters.extend(method.parameters.iter().map(|spec| (method.axis, spec.name.to_owned())));
        }
        vocabulary
    }

    /// Metrics that are measured.
    pub fn metrics(&self) -> &[&'static str] {
        &self.metrics
    }

    /// What some measured metric is taken apart along.
    pub fn along(&self) -> Vec<&'static str> {
        let mut words: Vec<&'static str> = Vec::new();
        for metric in self.metrics.iter().filter_map(|id| self.catalog.metric(id)) {
            words.extend(metric.along.map(|along| along.word).filter(|word| !words.contains(word)));
        }
        words
    }

    /// The axes on which some arm has this id, in staging order.
    pub fn axes_with(&self, id: &str) -> Vec<Axis> {
        self.arms.iter().filter(|(_, arm)| arm == id).map(|(axis, _)| *axis).collect()
    }

    /// Every id.
    pub fn ids(&self) -> Vec<&str> {
        self.arms.iter().map(|(_, id)| id.as_str()).collect()
    }

    /// Reads a column; a metric hides a parameter of its name, unless metrics are not wanted.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub fn column(&self, text: &str, metrics: bool) -> Result<Column, (String, String)> {
        if text == "bench" {
            return Ok(Column::Bench);
        }
        if metrics && self.metrics.contains(&text) {
            return Ok(Column::Metric(text.to_owned()));
        }
        if metrics && self.along().contains(&text) {
            return Ok(Column::Along(text.to_owned()));
        }
        if let Some(axis) = self.axis(text) {
            return Ok(Column::Axis(axis));
        }
        if let Some((axis, name)) = text.split_once('.').and_then(|(axis, name)| Some((self.axis(axis)?, name))) {
            return match name {
                "method" => Ok(Column::Method(axis)),
                _ if self.parameters.contains(&(axis, name.to_owned())) => {
                    Ok(Column::Parameter { axis: Some(axis), name: name.to_owned() })
                }
                _ => {
                    let on_axis = self.parameters.iter().filter(|(own, _)| *own == axis).map(|(_, name)| name.as_str());
                    let known: Vec<&str> = std::iter::once("method").chain(on_axis).collect();
                    Err((format!("no arm of the {axis} axis has a parameter `{name}`"), did_you_mean(name, &known)))
                }
            };
        }
        if self.parameters.iter().any(|(_, name)| name == text) {
            return Ok(Column::Parameter { axis: None, name: text.to_owned() });
        }
        let message = match (self.catalog.metric(text), text.parse::<Axis>()) {
            (Some(_), _) if metrics => format!("no bench here measures `{text}`"),
            (Some(_), _) => format!("`{text}` is a metric; only arms can be asked for here"),
            (None, Ok(axis)) => format!("no bench here sets the axis `{axis}`"),
            (None, Err(_)) => {
                format!("`{text}` is no {}axis and no parameter of an arm", if metrics { "metric, no " } else { "" })
            }
        };
        let mut known: Vec<&str> = if metrics { self.metrics.clone() } else { Vec::new() };
        if metrics {
            known.extend(self.along());
        }
        known.extend(self.axes.iter().map(|axis| axis.key()));
        known.push("bench");
        let mut names: Vec<&str> = self.parameters.iter().map(|(_, name)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        known.extend(names);
        Err((message, did_you_mean(text, &known)))
    }

    fn axis(&self, text: &str) -> Option<Axis> {
        text.parse().ok().filter(|axis| self.axes.contains(axis))
    }
}
