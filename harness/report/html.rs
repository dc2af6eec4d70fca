//! The self-contained page.

use harness_core::Direction;
use harness_core::chart::{Column, Entry, Table};
use minijinja::value::Value;
use minijinja::{Environment, context};

use crate::document::{Document, environment, stem};
use crate::number::{Scale, entry_text};

/// The page, with the charts drawn in it.
pub fn page(document: &Document, drawings: &[String]) -> Result<String, minijinja::Error> {
    let mut engine = Environment::new();
    // The name ends in .html, so everything that is not marked safe is escaped.
    engine.add_template("report.html", include_str!("templates/report.html"))?;
    let charts: Vec<Value> = document
        .charts
        .iter()
        .zip(drawings)
        .map(|(chart, svg)| {
            let failed =
                chart.facets.iter().flat_map(|facet| &facet.series).flat_map(|series| {
                    series.failed.iter().map(|failed| format!("{}: {}", series.name, failed.reason))
                });
            context! {
                id => stem(&chart.id),
                title => &chart.title,
                svg => Value::from_safe_string(svg.clone()),
                failed => failed.collect::<Vec<_>>(),
            }
        })
        .collect();
    let tables: Vec<Value> = document.tables.iter().map(table).collect();
    let expectations: Vec<Value> = document
        .expectations
        .iter()
        .map(|outcome| context! { word => outcome.word(), text => &outcome.text, detail => &outcome.detail })
        .collect();
    let facts = environment(&document.stamp);
    let template = engine.get_template("report.html")?;
    template.render(context! {
        title => &document.title,
        about => &document.about,
        run => &document.run,
        summary => document.summary.clone(),
        expectations => expectations,
        failures => pairs(document.failures.iter().map(|(cell, reason)| (cell.as_str(), reason.as_str()))),
        warnings => document.warnings.clone(),
        charts => charts,
        tables => tables,
        environment => pairs(facts.iter().map(|(name, value)| (*name, value.as_str()))),
        suite => &document.stamp.suite.text,
        style => Value::from_safe_string(include_str!("templates/report.css").to_owned()),
        script => Value::from_safe_string(include_str!("templates/report.js").to_owned()),
    })
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Value> {
    pairs.map(|(first, second)| Value::from([first.to_owned(), second.to_owned()])).collect()
}

/// The scale of each column, set by its largest number.
pub fn column_scales(table: &Table) -> Vec<Scale> {
    table
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let values = table.rows.iter().filter_map(|row| match row.get(index) {
                Some(Entry::Number { value, .. }) if value.is_finite() => Some(value.abs()),
                _ => None,
            });
            Scale::fit(&column.unit, values.fold(0.0, f64::max))
        })
        .collect()
}

/// The heading of a column with its unit and an arrow to the good side.
pub fn heading_text(column: &Column, scale: &Scale) -> String {
    let unit = if scale.unit.is_empty() { String::new() } else { format!(" ({})", scale.unit) };
    let arrow = match column.direction {
        Direction::Higher => " ↑",
        Direction::Lower => " ↓",
        Direction::Neutral => "",
    };
    format!("{}{unit}{arrow}", column.label)
}

fn table(table: &Table) -> Value {
    let scales = column_scales(table);
    let columns: Vec<Value> = table
        .columns
        .iter()
        .zip(&scales)
        .map(|(column, scale)| {
            context! { text => heading_text(column, scale), number => !column.unit.is_empty() }
        })
        .collect();
    let rows: Vec<Vec<Value>> = table
        .rows
        .iter()
        .map(|row| row.iter().zip(&scales).map(|(entry, scale)| cell(entry, scale)).collect())
        .collect();
    context! { id => stem(&table.id), title => &table.title, columns => columns, rows => rows, note => &table.note }
}

fn cell(entry: &Entry, scale: &Scale) -> Value {
    let text = entry_text(entry, scale);
    match entry {
        Entry::Number { value, .. } => {
            let (value_text, range) = text
                .split_once(" [")
                .map_or((text.as_str(), String::new()), |(value, range)| (value, format!("[{range}")));
            context! { kind => "number", text => value_text, range => range, sort => value }
        }
        Entry::Absent(reason) => context! { kind => "absent", text => text, reason => reason.as_str() },
        Entry::Failed(reason) => context! { kind => "failed", text => text, reason => reason.as_str() },
        Entry::Text(_) | Entry::Empty => context! { kind => "text", text => text },
    }
}
