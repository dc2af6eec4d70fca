//! Tables as comma-separated values, for programs: every number in full, with its interval and its mark in columns of
//! their own, in the metric's own unit.

use std::fmt::Write;

use harness_core::chart::{Column, Entry, Standing, Table};

/// The table by RFC 4180, with a heading line. A numeric column `ppl` becomes `ppl`, `ppl_low`, `ppl_high` and
/// `ppl_mark` (`best`, `tied`, or why there is no number); a group stands in front, `tiny-1m ppl`.
pub fn csv(table: &Table) -> String {
    let mut out = String::new();
    let mut first = true;
    for column in &table.columns {
        let name = heading(column);
        if column.is_number() {
            for end in ["", "_low", "_high", "_mark"] {
                field(&mut out, &mut first, &format!("{name}{end}"));
            }
        } else {
            field(&mut out, &mut first, &name);
        }
    }
    out.push_str("\r\n");
    for row in &table.rows {
        first = true;
        for (column, entry) in table.columns.iter().zip(row) {
            if !column.is_number() {
                field(&mut out, &mut first, &plain(entry));
                continue;
            }
            let [value, low, high, mark] = numbers(entry);
            for text in [value, low, high, mark] {
                field(&mut out, &mut first, &text);
            }
        }
        out.push_str("\r\n");
    }
    out
}

fn heading(column: &Column) -> String {
    if column.group.is_empty() { column.name.clone() } else { format!("{} {}", column.group, column.name) }
}

fn plain(entry: &Entry) -> String {
    match entry {
        Entry::Text(text) => text.clone(),
        Entry::Number { value, .. } => value.to_string(),
        Entry::Absent(reason) | Entry::Failed(reason) => reason.clone(),
        Entry::Empty => String::new(),
    }
}

fn numbers(entry: &Entry) -> [String; 4] {
    let nothing = |mark: String| [String::new(), String::new(), String::new(), mark];
    match entry {
        Entry::Number { value, interval, standing } => {
            let mark = match standing {
                Standing::Plain => "",
                Standing::Best => "best",
                Standing::Tied => "tied",
            };
            let end = |end: Option<f64>| end.map_or_else(String::new, |end| end.to_string());
            [value.to_string(), end(interval.map(|i| i.0)), end(interval.map(|i| i.1)), mark.to_owned()]
        }
        Entry::Text(text) => [text.clone(), String::new(), String::new(), String::new()],
        Entry::Absent(reason) => nothing(format!("absent: {reason}")),
        Entry::Failed(reason) => nothing(format!("failed: {reason}")),
        Entry::Empty => nothing(String::new()),
    }
}

fn field(out: &mut String, first: &mut bool, text: &str) {
    if !std::mem::take(first) {
        out.push(',');
    }
    if text.contains([',', '"', '\n', '\r']) {
        let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use harness_core::Direction;

    use super::*;

    #[test]
    fn numbers_are_whole_and_marks_stand_apart() {
        let column = |group: &str| Column {
            name: "ppl".into(),
            label: "ppl".into(),
            group: group.into(),
            unit: "1".into(),
            direction: Direction::Lower,
        };
        let best = Entry::Number { value: 0.1 + 0.2, interval: Some((0.25, 0.5)), standing: Standing::Best };
        let table = Table {
            columns: vec![Column::text("prune"), column(""), column("tiny")],
            rows: vec![
                vec![Entry::Text("wanda(sparsity=0.5, scope=row)".into()), best, Entry::Empty],
                vec![Entry::Text("a \"b\"\nc".into()), Entry::Failed("apply: NaN".into()), Entry::number(2.0, None)],
            ],
            ..Table::default()
        };
        assert_eq!(
            csv(&table),
            "prune,ppl,ppl_low,ppl_high,ppl_mark,tiny ppl,tiny ppl_low,tiny ppl_high,tiny ppl_mark\r\n\
             \"wanda(sparsity=0.5, scope=row)\",0.30000000000000004,0.25,0.5,best,,,,\r\n\
             \"a \"\"b\"\"\nc\",,,,failed: apply: NaN,2,,,\r\n"
        );
    }
}
