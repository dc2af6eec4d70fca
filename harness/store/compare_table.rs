//! A comparison as a table.

use harness_core::chart::{Column as Heading, Entry, Table};
use harness_core::statistics::Interval;

use crate::compare::Comparison;

/// The rows of a comparison.
pub fn comparison_table(comparison: &Comparison) -> Table {
    let names = ["cell", "metric", "a", "b", "difference", "relative", "p", "p (Holm)", "finds", "verdict", "how"];
    let mut columns: Vec<Heading> = names.map(Heading::text).to_vec();
    "%".clone_into(&mut columns[5].unit);
    let pair =
        |interval: Option<Interval>, scale: f64| interval.map(|interval| (interval.low * scale, interval.high * scale));
    let rows = comparison.rows.iter().map(|row| {
        let number = |value: Option<f64>| value.map_or(Entry::Empty, |value| Entry::number(value, None));
        let effect = row.effect.as_ref();
        let how = effect.filter(|effect| Some(&effect.test) != row.reason.as_ref()).map(|effect| effect.test.clone());
        let note = effect.and_then(|effect| effect.note.clone());
        let how = [row.reason.clone(), how, note].into_iter().flatten().collect::<Vec<_>>().join("; ");
        vec![
            Entry::Text(row.cell.clone()),
            Entry::Text(row.metric.clone()),
            number(row.a),
            number(row.b),
            effect.map_or(Entry::Empty, |effect| Entry::number(effect.difference, pair(effect.interval, 1.0))),
            effect
                .and_then(|effect| effect.relative.map(|relative| (effect, relative)))
                .map_or(Entry::Empty, |(effect, relative)| {
                    Entry::number(100.0 * relative, pair(effect.relative_interval, 100.0))
                }),
            number(row.probability),
            number(row.adjusted),
            number(row.detectable),
            Entry::Text(row.verdict.to_string()),
            if how.is_empty() { Entry::Empty } else { Entry::Text(how) },
        ]
    });
    Table {
        id: "comparison".to_owned(),
        title: format!("{} against {}", comparison.b, comparison.a),
        columns,
        rows: rows.collect(),
        note: Some(comparison.about()),
        ..Table::default()
    }
}
