//! The verdicts of a night as a table, and as the text of a comment on a change.

use std::fmt::Write;

use harness_core::Verdict;
use harness_core::chart::{Column, Entry, Table};
use harness_core::trend::{Trend, TrendSeries};

/// Marks the comment, so that a later one can take its place.
pub const COMMENT_MARK: &str = "<!-- harness track -->";
/// A comment shows at most this many rows; the page has them all.
const MOST_ROWS: usize = 20;

/// One row for each series with one of these verdicts, in the order of the trend.
pub fn verdict_table(trend: &Trend, verdicts: &[Verdict]) -> Table {
    let mut columns: Vec<Column> =
        ["verdict", "cell", "metric", "before", "tonight", "change", "could be told", "commits", "why"]
            .map(Column::text)
            .to_vec();
    // Numbers of many units share the two columns of values; only the shares have a unit.
    for (place, unit) in [(3, "1"), (4, "1"), (5, "%"), (6, "%")] {
        unit.clone_into(&mut columns[place].unit);
    }
    let chosen = trend.series.iter().filter_map(|series| Some((series, series.judgement.as_ref()?)));
    let rows = chosen.filter(|(_, judged)| verdicts.contains(&judged.verdict)).map(|(series, judged)| {
        let share = |size: f64| judged.level.filter(|level| *level != 0.0).map(|level| 100.0 * size / level.abs());
        let number = |value: Option<f64>| value.map_or(Entry::Empty, |value| Entry::number(value, None));
        let reach = judged.interval.and_then(|(low, high)| Some((share(low)?, share(high)?)));
        let change = judged.difference.and_then(share).map_or(Entry::Empty, |value| Entry::number(value, reach));
        vec![
            Entry::Text(judged.verdict.to_string()),
            Entry::Text(series.cell.clone()),
            Entry::Text(if series.unit == "1" {
                series.metric.clone()
            } else {
                format!("{} ({})", series.metric, series.unit)
            }),
            number(judged.level),
            number(tonight(trend, series)),
            change,
            number(judged.detectable.and_then(share)),
            commits(trend, series).map_or(Entry::Empty, Entry::Text),
            Entry::Text(why(judged.reason.as_str(), judged.since.map(|change| trend.nights.len() - 1 - change.at))),
        ]
    });
    Table {
        id: "verdicts".to_owned(),
        title: "Verdicts".to_owned(),
        columns,
        rows: rows.collect(),
        note: Some(
            "Change: tonight less before, with a 95 % interval. Could be told: the change seen 19 times in 20."
                .to_owned(),
        ),
        ..Table::default()
    }
}

fn why(reason: &str, nights: Option<usize>) -> String {
    match nights {
        Some(nights) => format!("{reason} ({nights} nights)"),
        None => reason.to_owned(),
    }
}

fn tonight(trend: &Trend, series: &TrendSeries) -> Option<f64> {
    let last = series.points.last()?;
    (last.night + 1 == trend.nights.len()).then_some(last.value)
}

/// The commits that a change lies between: of the night its level changed, or of tonight.
pub fn commits(trend: &Trend, series: &TrendSeries) -> Option<String> {
    let judged = series.judgement.as_ref()?;
    match (judged.verdict, judged.since) {
        (_, Some(change)) => Some(trend.commits(change.at)),
        (Verdict::Worse | Verdict::Better | Verdict::Gone, None) => Some(trend.commits(trend.nights.len() - 1)),
        _ => None,
    }
}

/// The night in one word.
pub fn word(trend: &Trend) -> &'static str {
    if trend.count(Verdict::Worse) > 0 {
        "worse"
    } else if !trend.failed.is_empty() {
        "failed"
    } else if trend.count(Verdict::CannotTell) + trend.count(Verdict::Gone) > 0 {
        "cannot tell"
    } else if trend.count(Verdict::Better) > 0 {
        "better"
    } else if trend.count(Verdict::Same) > 0 {
        "same"
    } else {
        "new"
    }
}

/// The text of a comment on a change: Markdown, the verdict first, `table` for what changed.
pub fn comment(trend: &Trend, table: impl Fn(&Table) -> String) -> String {
    let mut out = format!("{COMMENT_MARK}\n### {}: {}\n\n", trend.title, word(trend));
    for line in &trend.summary {
        let _ = writeln!(out, "- {line}");
    }
    for (cell, reason) in &trend.failed {
        let _ = writeln!(out, "- failed: {cell}: {reason}");
    }
    for (title, verdicts, open) in [
        ("Worse", &[Verdict::Worse, Verdict::Gone][..], true),
        ("Better", &[Verdict::Better][..], true),
        ("Cannot tell", &[Verdict::CannotTell][..], false),
    ] {
        let mut rows = verdict_table(trend, verdicts);
        let all = rows.rows.len();
        if all == 0 {
            continue;
        }
        rows.rows.truncate(MOST_ROWS);
        rows.note = (all > MOST_ROWS).then(|| format!("and {} more", all - MOST_ROWS));
        let text = table(&rows);
        if open {
            let _ = write!(out, "\n**{title}**\n\n{text}");
        } else {
            let _ = write!(out, "\n<details><summary>{title} ({all})</summary>\n\n{text}\n</details>\n");
        }
    }
    if let (Some(last), count) = (trend.nights.last(), trend.nights.len()) {
        let _ = writeln!(out, "\nNight {count}, {} ({}), on {}.", last.run, last.short_commit(), trend.class);
    }
    for note in &trend.notes {
        let _ = writeln!(out, "Note: {note}.");
    }
    out
}
