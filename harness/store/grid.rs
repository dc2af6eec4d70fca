//! The places of a declared table: which cells stand in which row and group of columns, and which are compared.

use std::collections::HashMap;

use harness_core::chart::Standing;
use harness_suite::{Column, TableRequest};
use rayon::prelude::*;

use crate::error::QueryError;
use crate::rank::{Ranking, rank};
use crate::run::{MetricInfo, Record, Run};

/// A declared table before it is written down.
pub(crate) struct Grid<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its metrics.
    pub metrics: Vec<&'a MetricInfo>,
    /// What each row shows in the row columns.
    pub rows: Vec<Vec<String>>,
    /// What each group of columns shows.
    pub groups: Vec<Vec<String>>,
    /// The cells of a row and group.
    places: HashMap<(usize, usize), Vec<&'a Record>>,
    /// Rows and groups that are compared with each other, in order of first appearance.
    pub sets: Vec<Set<'a>>,
}

/// Cells that are compared with each other.
pub(crate) struct Set<'a> {
    /// What they have in common.
    pub common: Vec<String>,
    /// The group of columns they stand in.
    pub group: usize,
    /// Rows and cells, without the reference.
    pub members: Vec<(usize, &'a Record)>,
}

/// Distinct keys in order of first appearance.
#[derive(Default)]
struct Keys {
    order: Vec<Vec<String>>,
    numbers: HashMap<Vec<String>, usize>,
}

impl Keys {
    fn number(&mut self, key: Vec<String>) -> usize {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        self.order.push(key.clone());
        self.numbers.insert(key, self.order.len() - 1);
        self.order.len() - 1
    }
}

impl<'a> Grid<'a> {
    /// Lays out the cells that fit.
    ///
    /// # Errors
    /// [`QueryError`] when no cell fits, or a metric is not in the run.
    pub fn of(run: &'a Run, request: &TableRequest) -> Result<Self, QueryError> {
        let fits = |record: &&Record| request.conditions.iter().all(|condition| condition.holds(&record.cell.cell));
        let records: Vec<&Record> = run.records.iter().filter(fits).collect();
        if records.is_empty() {
            return Err(QueryError::Nothing { what: format!("table `{}`", request.name) });
        }
        let known = || run.metrics.iter().map(|metric| metric.id.as_str()).collect::<Vec<_>>().join(", ");
        let metrics = request
            .metrics
            .iter()
            .map(|id| run.metric(id).ok_or_else(|| QueryError::Metric { metric: id.clone(), known: known() }));
        let metrics = metrics.collect::<Result<Vec<_>, _>>()?;
        let (mut rows, mut groups, mut within) = (Keys::default(), Keys::default(), Keys::default());
        let mut places: HashMap<(usize, usize), Vec<&Record>> = HashMap::new();
        let mut order = Vec::new();
        for record in records.iter().copied() {
            let place = (rows.number(key(&request.rows, record)), groups.number(key(&request.columns, record)));
            let here = places.entry(place).or_default();
            if here.is_empty() {
                order.push(place);
            }
            here.push(record);
        }
        // Where every cell is the reference, as on axes that change no weights, there is none.
        let is_reference =
            |record: &Record| request.reference.as_ref().is_some_and(|one| one.matches(&record.cell.cell));
        let compete_all = records.iter().all(|record| is_reference(record));
        let mut sets: Vec<Set> = Vec::new();
        let mut numbers: HashMap<(usize, usize), usize> = HashMap::new();
        for (row, group) in order {
            let [record] = places[&(row, group)].as_slice() else { continue };
            if !compete_all && is_reference(record) {
                continue;
            }
            let common = key(request.compared_within(), record);
            let number = *numbers.entry((group, within.number(common.clone()))).or_insert_with(|| {
                sets.push(Set { common, group, members: Vec::new() });
                sets.len() - 1
            });
            sets[number].members.push((row, *record));
        }
        Ok(Self { run, metrics, rows: rows.order, groups: groups.order, places, sets })
    }

    /// The cells of a row and group.
    pub fn at(&self, row: usize, group: usize) -> &[&'a Record] {
        self.places.get(&(row, group)).map_or(&[], Vec::as_slice)
    }

    /// How the members of a set stand in a metric.
    pub fn rank(&self, set: &Set, metric: &MetricInfo) -> Ranking {
        let candidates: Vec<_> = set
            .members
            .iter()
            .map(|(_, record)| record.value(&metric.id).zip(record.cell.observation(&metric.id)))
            .collect();
        rank(metric, self.run.stamp.is_release(), &candidates)
    }

    /// Every mark by row, group and metric, and why some are missing.
    pub fn standings(&self) -> (HashMap<(usize, usize, usize), Standing>, Vec<String>) {
        let tasks: Vec<(&Set, usize)> =
            self.sets.iter().flat_map(|set| (0..self.metrics.len()).map(move |metric| (set, metric))).collect();
        let rankings: Vec<Ranking> =
            tasks.par_iter().map(|(set, metric)| self.rank(set, self.metrics[*metric])).collect();
        let (mut marks, mut unranked) = (HashMap::new(), Vec::<Unranked>::new());
        for ((set, metric), ranking) in tasks.into_iter().zip(rankings) {
            for ((row, _), standing) in set.members.iter().zip(ranking.standings) {
                if standing != Standing::Plain {
                    marks.insert((*row, set.group, metric), standing);
                }
            }
            if let Some(refused) = ranking.refused {
                let id = self.metrics[metric].id.as_str();
                match unranked.iter_mut().find(|other| other.is_alike(&refused)) {
                    Some(other) => other.add(id, &refused),
                    None => unranked.push(Unranked { metrics: vec![id], first: refused, more: 0 }),
                }
            }
        }
        (marks, unranked.iter().map(Unranked::sentence).collect())
    }
}

/// Why metrics have no marks: one reason of its kind, which a long table has for every pair of its rows.
struct Unranked<'a> {
    metrics: Vec<&'a str>,
    first: String,
    more: usize,
}

impl<'a> Unranked<'a> {
    fn is_alike(&self, refused: &str) -> bool {
        let kind = |text: &str| text.split_once(": `").map_or(text, |(kind, _)| kind).to_owned();
        kind(&self.first) == kind(refused)
    }

    fn add(&mut self, metric: &'a str, refused: &str) {
        if !self.metrics.contains(&metric) {
            self.metrics.push(metric);
        }
        self.more += usize::from(self.first != refused);
    }

    fn sentence(&self) -> String {
        let verb = if self.metrics.len() == 1 { "is" } else { "are" };
        let more = if self.more == 0 { String::new() } else { format!(", and {} more like it", self.more) };
        format!("{} {verb} not ranked: {}{more}.", self.metrics.join(", "), self.first)
    }
}

/// What a cell shows in some columns.
pub(crate) fn key(columns: &[Column], record: &Record) -> Vec<String> {
    columns.iter().map(|column| shown(column, record)).collect()
}

fn shown(column: &Column, record: &Record) -> String {
    match column.of(&record.cell.cell) {
        Some(harness_core::Value::Text(text)) => text,
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::Unranked;

    #[test]
    fn a_reason_that_holds_for_many_pairs_is_said_once() {
        let refused = |a: &str| format!("different protocols are never subtracted: `{a}` against `x`");
        let mut all = Unranked { metrics: vec!["ppl"], first: refused("one"), more: 0 };
        assert_eq!(all.sentence(), "ppl is not ranked: different protocols are never subtracted: `one` against `x`.");
        assert!(all.is_alike(&refused("two")) && !all.is_alike("3 samples cannot be paired with 4"));
        all.add("kl", &refused("one"));
        all.add("kl", &refused("two"));
        assert!(all.sentence().starts_with("ppl, kl are not ranked"));
        assert!(all.sentence().ends_with("`one` against `x`, and 1 more like it."));
    }
}
