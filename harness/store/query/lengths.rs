//! The table beside a line with a threshold: up to which length each series passes.

use harness_core::chart::{Column, Entry, IntervalStyle, Table};
use harness_core::statistics::{Bootstrap, TestedLength};
use harness_suite::Figure;

use super::{Place, group, place, shows};
use crate::run::{Record, Run};

/// One series of one panel.
struct Tested<'a> {
    facet: String,
    series: String,
    lengths: Vec<TestedLength<'a>>,
    /// A cell failed: what is longer than it was not seen to pass.
    failed: Option<f64>,
}

/// The largest x up to which each series of a figure passes its rule, with an interval; `None` where there is no rule.
pub fn table(run: &Run, figure: &Figure) -> Option<Table> {
    let rule = figure.rule?;
    let mut all: Vec<Tested> = Vec::new();
    for record in run.records.iter().filter(|record| shows(figure, record)) {
        enter(&mut all, figure, record);
    }
    let unit = |label: &str| if label == "length" || label == "window" { "tokens" } else { "1" }.to_owned();
    let x = figure.x.to_string();
    let label = x.rsplit('.').next().unwrap_or(&x);
    let number = |name: String| Column { unit: unit(label), ..Column::text(name) };
    let rows: Vec<Vec<Entry>> = all
        .iter_mut()
        .map(|tested| {
            if let Some(failed) = tested.failed {
                tested.lengths.retain(|at| at.length < failed);
            }
            tested.lengths.sort_by(|a, b| a.length.total_cmp(&b.length));
            let found = Bootstrap::default().effective_length(&rule, &tested.lengths);
            let entry = match found {
                Some(found) if found.length > 0.0 => {
                    Entry::number(found.length, found.interval.map(|interval| (interval.low, interval.high)))
                }
                Some(_) => Entry::Absent("the smallest tested length does not pass".to_owned()),
                None => Entry::Absent("nothing was measured".to_owned()),
            };
            let ends = [tested.lengths.first(), tested.lengths.last()];
            let ends = ends.map(|at| at.map_or(Entry::Empty, |at| Entry::number(at.length, None)));
            let items = found.map_or(Entry::Empty, |found| Entry::number(found.items as f64, None));
            let names = figure.facet.iter().map(|_| Entry::Text(tested.facet.clone()));
            names.chain([Entry::Text(tested.series.clone()), entry]).chain(ends).chain([items]).collect()
        })
        .collect();
    let series = figure.series.as_ref().map_or_else(|| "series".to_owned(), ToString::to_string);
    let facet = figure.facet.iter().map(|column| Column::text(column.to_string()));
    let columns = facet.chain([
        Column::text(series),
        number(format!("effective {label}")),
        number("smallest tested".to_owned()),
        number("largest tested".to_owned()),
        Column { unit: "1".to_owned(), ..Column::text("items") },
    ]);
    let title = figure.title.clone().unwrap_or_else(|| format!("{} against {}", figure.y, figure.x));
    (!rows.is_empty()).then(|| Table {
        id: format!("{}-effective-{label}", figure.name),
        title: format!("{title}: effective {label}"),
        columns: columns.collect(),
        rows,
        note: Some(format!(
            "Effective {label}: {}. Intervals of {:.0} % by drawing items, the same at all lengths; 0 stands for a smallest length that does not pass.",
            rule.words(&figure.y),
            100.0 * Bootstrap::default().level
        )),
        intervals: IntervalStyle::Range,
        ..Table::default()
    })
}

fn enter<'a>(all: &mut Vec<Tested<'a>>, figure: &Figure, record: &'a Record) {
    let Some(Place::Number(length)) = place(&figure.x, record, figure.kind) else { return };
    let facet = group(figure.facet.as_ref(), figure, record);
    let series = group(figure.series.as_ref(), figure, record);
    let at = all.iter().position(|tested| tested.facet == facet && tested.series == series).unwrap_or_else(|| {
        all.push(Tested { facet, series, lengths: Vec::new(), failed: None });
        all.len() - 1
    });
    let tested = &mut all[at];
    if record.cell.failure.is_some() {
        tested.failed = Some(tested.failed.map_or(length, |failed| failed.min(length)));
        return;
    }
    let Some(seen) = record.cell.observation(&figure.y).filter(|seen| !seen.samples.is_empty()) else { return };
    match tested.lengths.iter_mut().find(|at| at.length == length) {
        Some(at) => at.seen.push(seen),
        None => tested.lengths.push(TestedLength { length, seen: vec![seen] }),
    }
}
