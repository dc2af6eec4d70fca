//! The first lines of a report: what the suite's tables come to.

use harness_core::chart::{Column, Entry, IntervalStyle, Standing, Table};
use harness_core::{Direction, Value};
use harness_report::format_value;
use harness_store::{Finding, MetricInfo, Run, default_request, findings, leading_metric};
use harness_suite::{Column as Asked, Reference, TableRequest};

/// Sets of arms beyond which only the table speaks, not the sentences.
const MOST_SENTENCES: usize = 6;
/// Sets of arms beyond which the tables of the report have to do.
const MOST_ROWS: usize = 40;

/// What one declared table comes to.
pub struct Answer {
    /// The best of each set of arms.
    pub table: Table,
    /// The same in a few sentences.
    pub lines: Vec<String>,
}

/// The answers of a run: from the tables of its suite, or from what its benches compare where it declares none.
pub fn answers(run: &Run, tables: &[TableRequest]) -> Vec<Answer> {
    let defaults: Vec<TableRequest> = match tables {
        [] => run.benches().into_iter().filter_map(|bench| default_request(run, bench)).collect(),
        _ => Vec::new(),
    };
    // The first table of a bench speaks for it, and the first of all for the suite where it is about no bench of its own; the others
    // stand below in full.
    let mut found: Vec<(Option<&str>, Answer)> = Vec::new();
    for request in tables.iter().chain(&defaults) {
        let bench = bench_of(request);
        let told =
            found.first().is_some_and(|(first, _)| first.is_none()) || found.iter().any(|(known, _)| *known == bench);
        if !told && found.len() < MOST_SENTENCES {
            found.extend(answer(run, request).map(|answer| (bench, answer)));
        }
    }
    let several = found.len() > 1;
    let named = |(bench, mut answer): (Option<&str>, Answer)| {
        if let Some(bench) = bench.filter(|_| several) {
            answer.lines.iter_mut().for_each(|line| *line = format!("{bench}: {line}"));
        }
        answer
    };
    found.into_iter().map(named).collect()
}

/// The bench that a table is about, where it is about one.
fn bench_of(request: &TableRequest) -> Option<&str> {
    request.conditions.iter().find_map(|condition| match (&condition.column, &condition.value) {
        (Asked::Bench, Value::Text(bench)) => Some(bench.as_str()),
        _ => None,
    })
}

fn answer(run: &Run, request: &TableRequest) -> Option<Answer> {
    let mut found = findings(run, request, MOST_ROWS);
    // An arm that has none of the table's coordinates is a row of the table, but no answer to what is best among them.
    found.retain(|finding| finding.best.iter().any(|name| !name.is_empty()));
    let metric = leading_metric(run, request)?;
    let compared = found.iter().any(|finding| finding.compared > 1);
    compared.then(|| Answer { table: table(run, request, metric, &found), lines: sentences(metric, &found) })
}

fn table(run: &Run, request: &TableRequest, metric: &MetricInfo, found: &[Finding]) -> Table {
    let mut places: Vec<&str> = Vec::new();
    for (name, _) in found.iter().flat_map(|finding| &finding.place) {
        if !places.contains(&name.as_str()) {
            places.push(name);
        }
    }
    let against = found.iter().find_map(|finding| finding.against.as_ref());
    let number = |name: &str, label: String, unit: &str| Column {
        label,
        unit: unit.to_owned(),
        direction: metric.direction,
        ..Column::text(name)
    };
    let mut columns: Vec<Column> = places.iter().map(|name| Column::text(*name)).collect();
    columns.push(Column::text("best"));
    columns.push(number(&metric.id, metric.id.clone(), &metric.unit));
    if let Some(against) = against {
        columns.push(number("against", format!("against {}", against.label), "%"));
    }
    let rows = found.iter().map(|finding| {
        let at = |name: &&str| finding.place.iter().find(|(place, _)| place == name);
        let mut row: Vec<Entry> =
            places.iter().map(|name| at(name).map_or(Entry::Empty, |(_, value)| Entry::Text(value.clone()))).collect();
        row.push(Entry::Text(equals(&finding.best)));
        let standing = if finding.sure { Standing::Best } else { Standing::Plain };
        row.push(Entry::Number { value: finding.value, interval: finding.interval, standing });
        if against.is_some() {
            row.push(finding.against.as_ref().map_or(Entry::Empty, |against| {
                let percent = |share: f64| 100.0 * share;
                let interval = against.interval.map(|(low, high)| (percent(low), percent(high)));
                Entry::number(percent(against.relative), interval)
            }));
        }
        row
    });
    let rows: Vec<Vec<Entry>> = rows.collect();
    let common = if places.is_empty() { String::new() } else { format!(" at equal {}", places.join(", ")) };
    let single = found.iter().any(|finding| finding.compared == 1);
    let mut note =
        "≈ joins arms that no test tells apart; bold is told apart from every other arm that it was compared with."
            .to_owned();
    if single {
        note.push_str(" A row without bold or ≈ has nothing to compare with.");
    }
    if request.reference.as_ref().is_some_and(|reference| *reference == Reference::Dense) && against.is_some() {
        note.push_str(" Differences are paired with the dense model of the same row.");
    }
    let id = if run.benches().len() > 1 { request.name.clone() } else { "best".to_owned() };
    let bench = match request.conditions.as_slice() {
        [only] if only.column == Asked::Bench && run.benches().len() > 1 => format!("{}: ", only.value),
        _ => String::new(),
    };
    Table {
        id,
        title: format!("{bench}Best {}{common}", metric.id),
        columns,
        rows,
        note: Some(note),
        intervals: IntervalStyle::PlusMinus,
        cells: found.iter().map(|finding| finding.cell.clone()).collect(),
    }
}

/// One sentence for each value of the outermost column: how far the best arm is from the reference at every setting of
/// the inner columns, or its value where there is no reference.
fn sentences(metric: &MetricInfo, found: &[Finding]) -> Vec<String> {
    let outer = |finding: &Finding| match finding.place.as_slice() {
        [first, _, ..] => Some(first.clone()),
        _ => None,
    };
    let mut groups: Vec<(Option<(String, String)>, Vec<&Finding>)> = Vec::new();
    for finding in found {
        let key = outer(finding);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(finding),
            None => groups.push((key, vec![finding])),
        }
    }
    if groups.len() > MOST_SENTENCES || groups.iter().any(|(_, members)| members.len() > 2 * MOST_SENTENCES) {
        return Vec::new();
    }
    groups.iter().map(|(key, members)| sentence(metric, key.as_ref(), members)).collect()
}

fn sentence(metric: &MetricInfo, key: Option<&(String, String)>, members: &[&Finding]) -> String {
    let parts: Vec<String> = members
        .iter()
        .map(|finding| {
            let inner = finding.place.iter().skip(usize::from(key.is_some()));
            let at: Vec<String> = inner.map(|(name, value)| format!("{} {value}", short(name))).collect();
            let at = if at.is_empty() { String::new() } else { format!(" at {}", at.join(", ")) };
            let value = match &finding.against {
                Some(against) => signed_percent(against.relative),
                None => format_value(finding.value),
            };
            format!("{value}{at} ({})", alternatives(&finding.best))
        })
        .collect();
    let against = members.iter().find_map(|finding| finding.against.as_ref());
    let versus = against.map_or_else(String::new, |against| format!(" against {}", against.label));
    let good = match metric.direction {
        Direction::Higher => "highest",
        _ => "lowest",
    };
    let whom = key.map_or_else(String::new, |(_, value)| format!("{value}: "));
    format!("{whom}{good} {}{versus}: {}.", metric.id, parts.join("; "))
}

/// `prune.sparsity` is `sparsity` to a reader.
fn short(column: &str) -> &str {
    column.rsplit('.').next().unwrap_or(column)
}

/// The best arms, the first of them by name.
fn equals(best: &[String]) -> String {
    /// More are only counted.
    const NAMED: usize = 4;
    match best.len().checked_sub(NAMED) {
        Some(others @ 1..) => format!("{} ≈ {others} others", best[..NAMED].join(" ≈ ")),
        _ => best.join(" ≈ "),
    }
}

fn alternatives(best: &[String]) -> String {
    match best {
        [] => String::new(),
        [only] => only.clone(),
        [first, second] => format!("{first} or {second}"),
        [first, rest @ ..] => format!("{first} or {} others", rest.len()),
    }
}

fn signed_percent(share: f64) -> String {
    let percent = 100.0 * share;
    let text = match percent.abs() {
        size if size >= 100.0 => format!("{size:.0}"),
        size => format!("{size:.1}"),
    };
    let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let sign = match (zero, percent < 0.0) {
        (true, _) => "±",
        (_, true) => "−",
        _ => "+",
    };
    format!("{sign}{text} %")
}

#[cfg(test)]
mod tests {
    use harness_core::{Noise, Reduction};
    use harness_store::Against;

    use super::*;

    fn finding(model: &str, sparsity: &str, best: &[&str], relative: f64) -> Finding {
        Finding {
            place: vec![("model".into(), model.into()), ("prune.sparsity".into(), sparsity.into())],
            best: best.iter().map(|&name| name.to_owned()).collect(),
            sure: best.len() == 1,
            compared: 3,
            value: 20.0,
            interval: None,
            against: Some(Against { label: "dense".into(), relative, interval: None }),
            cell: "c".into(),
        }
    }

    #[test]
    fn a_sentence_says_how_far_the_best_arm_is_from_the_reference() {
        let metric = MetricInfo {
            id: "ppl".into(),
            about: String::new(),
            unit: "1".into(),
            direction: Direction::Lower,
            noise: Noise::Sampled,
            reduction: Reduction::ExpRatio,
            version: 1,
            along: None,
        };
        let found = [
            finding("tiny", "0.3", &["wanda", "magnitude"], 0.0041),
            finding("tiny", "0.7", &["sparsegpt"], 1.5),
            finding("big", "0.3", &["a", "b", "c"], -0.0001),
        ];
        assert_eq!(
            sentences(&metric, &found),
            [
                "tiny: lowest ppl against dense: +0.4 % at sparsity 0.3 (wanda or magnitude); +150 % at sparsity 0.7 (sparsegpt).",
                "big: lowest ppl against dense: ±0.0 % at sparsity 0.3 (a or 2 others).",
            ]
        );
    }
}
