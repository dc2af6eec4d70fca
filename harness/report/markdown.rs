//! Reports as Markdown, for terminals and job summaries.

use std::fmt::Write;

use harness_core::chart::{Entry, Table};

use crate::document::{Document, environment, stem};
use crate::html::{column_scales, heading_text};
use crate::number::entry_text;

/// The report. Charts are linked from `figures/`.
pub fn markdown(document: &Document) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!("# {}\n", escape(&document.title)));
    if !document.about.is_empty() {
        line(&format!("{}\n", escape(&document.about)));
    }
    for item in &document.summary {
        line(&format!("- {}", escape(item)));
    }
    if !document.summary.is_empty() {
        line("");
    }
    if !document.expectations.is_empty() {
        line("## Expectations\n\n| outcome | expectation | found |\n|---|---|---|");
        for outcome in &document.expectations {
            line(&format!("| {} | {} | {} |", outcome.word(), escape(&outcome.text), escape(&outcome.detail)));
        }
        line("");
    }
    if !document.failures.is_empty() {
        line("## Failed cells\n");
        for (cell, reason) in &document.failures {
            line(&format!("- **{}**: {}", escape(cell), escape(reason)));
        }
        line("");
    }
    if !document.warnings.is_empty() {
        line("## Warnings\n");
        document.warnings.iter().for_each(|warning| line(&format!("- {}", escape(warning))));
        line("");
    }
    for table in &document.tables {
        line(&format!("## {}\n", escape(&table.title)));
        line(&markdown_table(table));
    }
    for chart in &document.charts {
        line(&format!("## {}\n\n![{}](figures/{}.svg)\n", escape(&chart.title), escape(&chart.title), stem(&chart.id)));
    }
    line("## Environment\n\n| | |\n|---|---|");
    line(&format!("| run | {} |", escape(&document.run)));
    for (name, value) in environment(&document.stamp) {
        line(&format!("| {name} | {} |", escape(&value)));
    }
    out
}

/// A table with its note. Reasons of absent and failed numbers stand below it.
pub fn markdown_table(table: &Table) -> String {
    let scales = column_scales(table);
    let mut out = String::new();
    let heads = table.columns.iter().zip(&scales).map(|(column, scale)| escape(&heading_text(column, scale)));
    let _ = writeln!(out, "| {} |", heads.collect::<Vec<_>>().join(" | "));
    let rules = table.columns.iter().map(|column| if column.unit.is_empty() { "---" } else { "---:" });
    let _ = writeln!(out, "|{}|", rules.collect::<Vec<_>>().join("|"));
    let mut reasons: Vec<&str> = Vec::new();
    for row in &table.rows {
        let entries = row.iter().zip(&scales).map(|(entry, scale)| {
            let text = escape(&entry_text(entry, scale));
            let (Entry::Absent(reason) | Entry::Failed(reason)) = entry else { return text };
            let place = reasons.iter().position(|other| other == reason).unwrap_or_else(|| {
                reasons.push(reason);
                reasons.len() - 1
            });
            format!("{text} ({})", place + 1)
        });
        let entries: Vec<String> = entries.collect();
        let _ = writeln!(out, "| {} |", entries.join(" | "));
    }
    for (index, reason) in reasons.iter().enumerate() {
        let _ = writeln!(out, "{}({}) {}", if index == 0 { "\n" } else { "\\\n" }, index + 1, escape(reason));
    }
    if let Some(note) = &table.note {
        let _ = writeln!(out, "\n{}", escape(note));
    }
    out
}

/// Text without Markdown's own signs, on one line.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for sign in text.chars() {
        match sign {
            '\n' | '\r' | '\t' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '|' | '*' | '`' | '[' | ']' | '!' | '#' => {
                out.push('\\');
                out.push(sign);
            }
            other => out.push(other),
        }
    }
    out
}
