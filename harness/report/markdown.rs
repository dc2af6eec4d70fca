//! Reports as Markdown, for terminals and job summaries.

use std::fmt::Write;

use harness_core::chart::{Entry, Standing, Table};

use crate::document::{Document, environment, stem};
use crate::html::{column_scales, heading_text};
use crate::number::entry_text;

/// Rows of a table that the report shows; a job summary has room for about a mebibyte, and `tables/` has them all.
const MOST_ROWS: usize = 200;

/// The report: what came out first, as on the page. Charts are linked from `figures/`.
pub fn markdown(document: &Document) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    let heading = if document.about.is_empty() { &document.title } else { &document.about };
    line(&format!("# {}\n", escape(heading)));
    let (verdict, good) = document.verdict();
    line(&format!("**{} {}**\n", if good { "✓" } else { "✗" }, escape(&verdict)));
    for item in &document.summary {
        line(&format!("- {}", escape(item)));
    }
    if !document.summary.is_empty() {
        line("");
    }
    for table in &document.answers {
        line(&format!("## {}\n", escape(&table.title)));
        line(&markdown_table(table));
    }
    if !document.expectations.is_empty() {
        line("## Expectations\n\n| outcome | expectation | found |\n|---|---|---|");
        for outcome in &document.expectations {
            line(&format!("| {} | {} | {} |", outcome.word(), escape(&outcome.text), escape(&outcome.detail)));
        }
        line("");
    }
    for chart in &document.charts {
        line(&format!("## {}\n\n![{}](figures/{}.svg)\n", escape(&chart.title), escape(&chart.title), stem(&chart.id)));
    }
    for table in &document.tables {
        line(&format!("## {}\n", escape(&table.title)));
        if table.rows.len() > MOST_ROWS {
            let first = Table { rows: table.rows[..MOST_ROWS].to_vec(), ..table.clone() };
            line(&markdown_table(&first));
            line(&format!("{} more rows stand in tables/{}.md.\n", table.rows.len() - MOST_ROWS, stem(&table.id)));
        } else {
            line(&markdown_table(table));
        }
    }
    line("## Environment\n\n| | |\n|---|---|");
    line(&format!("| run | {} |", escape(&document.run)));
    for (name, value) in environment(&document.stamp) {
        line(&format!("| {name} | {} |", escape(&value)));
    }
    line("");
    if !document.warnings.is_empty() {
        line("## Warnings\n");
        for warning in &document.warnings {
            let cells = match warning.cells {
                0 => String::new(),
                1 => " (1 cell)".to_owned(),
                count => format!(" ({count} cells)"),
            };
            let advice =
                if warning.advice.is_empty() { String::new() } else { format!(" *{}*", escape(&warning.advice)) };
            line(&format!("- {}{cells}{advice}", escape(&warning.text)));
        }
        line("");
    }
    if !document.failures.is_empty() {
        line("## Failed cells\n");
        for failed in &document.failures {
            line(&format!("- **{}**: {}", escape(&failed.cell), escape(&failed.reason)));
            if !failed.command.is_empty() {
                line(&format!("  `{}`", failed.command.replace(['`', '\n'], " ")));
            }
        }
        line("");
    }
    out
}

/// A table with its note. Reasons of absent and failed numbers stand below it. A heading of several columns stands in
/// front of each of them.
pub fn markdown_table(table: &Table) -> String {
    let scales = column_scales(table);
    let mut out = String::new();
    let heads = table.columns.iter().zip(&scales).map(|(column, scale)| {
        let over = if column.group.is_empty() { String::new() } else { format!("{} ", column.group) };
        escape(&format!("{over}{}", heading_text(column, scale)))
    });
    let _ = writeln!(out, "| {} |", heads.collect::<Vec<_>>().join(" | "));
    let rules = table.columns.iter().map(|column| if column.is_number() { "---:" } else { "---" });
    let _ = writeln!(out, "|{}|", rules.collect::<Vec<_>>().join("|"));
    let mut reasons: Vec<&str> = Vec::new();
    for row in &table.rows {
        let entries = row.iter().zip(&scales).map(|(entry, scale)| {
            let text = escape(&entry_text(entry, scale, table.intervals));
            let reason = match entry {
                Entry::Number { standing: Standing::Best, .. } => return format!("**{text}**"),
                Entry::Number { standing: Standing::Tied, .. } => return format!("{text} ≈"),
                Entry::Absent(reason) | Entry::Failed(reason) => reason,
                _ => return text,
            };
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
