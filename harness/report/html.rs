//! The self-contained page.

use std::fmt::Write;

use harness_core::Direction;
use harness_core::chart::{Column, Entry, IntervalStyle, Standing, Table};
use minijinja::value::Value;
use minijinja::{Environment, context};

use crate::cell;
use crate::document::{Document, environment, stem};
use crate::figures::Pictures;
use crate::number::{Scale, entry_text, written};

/// The page, with the charts drawn in it.
pub fn page(document: &Document, pictures: &Pictures) -> Result<String, minijinja::Error> {
    let mut engine = Environment::new();
    // The name ends in .html, so everything that is not marked safe is escaped.
    engine.add_template("report.html", include_str!("templates/report.html"))?;
    let charts: Vec<Value> = document
        .charts
        .iter()
        .zip(&pictures.inside)
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
    let (verdict, good) = document.verdict();
    let expectations = document.expectations.iter();
    let expectations: Vec<Value> = expectations
        .map(|outcome| context! { word => outcome.word(), text => &outcome.text, detail => &outcome.detail })
        .collect();
    let failures: Vec<Value> = document
        .failures
        .iter()
        .map(|failed| {
            context! { id => &failed.id, cell => &failed.cell, reason => &failed.reason, command => &failed.command }
        })
        .collect();
    let warnings = document.warnings.iter();
    let warnings: Vec<Value> = warnings
        .map(|warning| context! { text => &warning.text, advice => &warning.advice, cells => warning.cells })
        .collect();
    let metrics: Vec<Value> =
        document.metrics.iter().map(|metric| context! { id => &metric.id, about => &metric.about }).collect();
    let facts = environment(&document.stamp);
    let safe = |text: &str| Value::from_safe_string(text.to_owned());
    let template = engine.get_template("report.html")?;
    template.render(context! {
        title => &document.title,
        about => &document.about,
        run => &document.run,
        program => document.stamp.program(),
        started => &document.stamp.started,
        verdict => verdict,
        good => good,
        summary => document.summary.clone(),
        answers => document.answers.iter().map(section).collect::<Vec<_>>(),
        expectations => expectations,
        failures => failures,
        warnings => warnings,
        metrics => metrics,
        charts => charts,
        tables => document.tables.iter().map(section).collect::<Vec<_>>(),
        cells => document.cells.len(),
        data => Value::from_safe_string(cell::data(&document.cells)),
        environment => pairs(facts.iter().map(|(name, value)| (*name, value.as_str()))),
        suite => &document.stamp.suite.text,
        style => safe(&format!("{}{}", include_str!("templates/report.css"), pictures.fonts)),
        script => safe(include_str!("templates/report.js")),
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

/// A table with what stands around it.
fn section(table: &Table) -> Value {
    context! {
        id => stem(&table.id),
        title => &table.title,
        body => Value::from_safe_string(markup(table)),
        rows => table.rows.len(),
        note => &table.note,
    }
}

/// A table alone, with its title and note as caption.
pub fn table_file(table: &Table) -> String {
    let mut caption = escape(&table.title);
    if let Some(note) = &table.note {
        let _ = write!(caption, ". {}", escape(note));
    }
    // Rows lead to the pages of their cells in the report only.
    let plain = Table { cells: Vec::new(), ..table.clone() };
    format!("{}\n", markup(&plain).replacen('>', &format!("><caption>{caption}</caption>"), 1))
}

/// The `<table>`: groups of columns over their headings, text before the first number as row headings, the most
/// telling of these leading to the page of the row's cell.
fn markup(table: &Table) -> String {
    let scales = column_scales(table);
    let mut out = String::with_capacity(64 * table.rows.len() * table.columns.len().max(1));
    out.push_str("<table class=\"sortable\">\n<thead>\n");
    if table.columns.iter().any(|column| !column.group.is_empty()) {
        out.push_str("<tr class=\"groups\">");
        for group in table.columns.chunk_by(|a, b| a.group == b.group) {
            let (width, name) = (group.len(), escape(&group[0].group));
            let _ = if name.is_empty() {
                write!(out, "<td colspan=\"{width}\"></td>")
            } else {
                write!(out, "<th scope=\"colgroup\" colspan=\"{width}\">{name}</th>")
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("<tr>");
    for (column, scale) in table.columns.iter().zip(&scales) {
        let class = if column.is_number() { " class=\"number\"" } else { "" };
        let _ = write!(out, "<th scope=\"col\"{class}>{}</th>", escape(&heading_text(column, scale)));
    }
    out.push_str("</tr>\n</thead>\n<tbody>\n");
    let heads = table.columns.iter().take_while(|column| !column.is_number()).count();
    let arm = telling(table, heads);
    for (index, row) in table.rows.iter().enumerate() {
        let cell = table.cells.get(index).filter(|id| !id.is_empty());
        out.push_str("<tr>");
        for (at, (entry, scale)) in row.iter().zip(&scales).enumerate() {
            let number = table.columns[at].is_number();
            if at < heads {
                let text = escape(&entry_text(entry, scale, table.intervals));
                let _ = match cell.filter(|_| at == arm) {
                    Some(id) => write!(out, "<th scope=\"row\" class=\"arm\"><a href=\"#cell-{id}\">{text}</a></th>"),
                    None if at == arm => write!(out, "<th scope=\"row\" class=\"arm\">{text}</th>"),
                    None => write!(out, "<th scope=\"row\">{text}</th>"),
                };
            } else {
                entry_markup(&mut out, entry, scale, number, table.intervals);
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>");
    out
}

/// The leading column that tells rows apart best: it leads to their cells, and stays in sight when a table scrolls.
fn telling(table: &Table, heads: usize) -> usize {
    let distinct = |at: usize| {
        let texts = table.rows.iter().filter_map(|row| match row.get(at) {
            Some(Entry::Text(text)) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<std::collections::HashSet<&str>>().len()
    };
    // Of equal ones the last is the innermost.
    (0..heads).max_by_key(|at| (distinct(*at), *at)).unwrap_or(0)
}

fn entry_markup(out: &mut String, entry: &Entry, scale: &Scale, number: bool, style: IntervalStyle) {
    let class = if number { " class=\"number\"" } else { "" };
    let _ = match entry {
        Entry::Text(text) => write!(out, "<td{class}>{}</td>", escape(text)),
        Entry::Empty => write!(out, "<td{class}></td>"),
        Entry::Absent(reason) => chip(out, class, "absent", "n/a", reason),
        Entry::Failed(reason) => chip(out, class, "failed", "failed", reason),
        Entry::Number { value, interval, standing } => {
            let written = written(*value, *interval, scale, style);
            let (head, spread) = (written.head(), written.spread());
            let head = if *standing == Standing::Best { format!("<b>{head}</b>") } else { head };
            let spread = if spread.is_empty() { String::new() } else { format!(" <i>{spread}</i>") };
            let tie = match standing {
                Standing::Tied => " <abbr title=\"not told apart from the best\">≈</abbr>",
                _ => "",
            };
            write!(out, "<td class=\"number\" data-v=\"{value}\">{head}{spread}{tie}</td>")
        }
    };
}

fn chip(out: &mut String, class: &str, kind: &str, word: &str, reason: &str) -> std::fmt::Result {
    let reason = escape(reason);
    write!(
        out,
        "<td{class}><span class=\"chip {kind}\" title=\"{reason}\">{word}<span class=\"hidden\">: {reason}</span></span></td>"
    )
}

/// Text without HTML's own signs.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
