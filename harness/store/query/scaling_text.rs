//! What is said of curves of scaling: which number of bits is the best and how sure that is, in notes and tables.

use harness_core::Direction;
use harness_core::chart::{Column, Entry, IntervalStyle, Table};
use harness_core::statistics::{BudgetChoice, Interval, Offset, OffsetEstimate};
use harness_suite::Figure;

use super::scaling::Panel;

/// The chance below which curves are said not to be parallel.
const PARALLEL: f64 = 0.05;

/// The notes under the figure: how it was made, then the optimal bits of each panel.
pub(super) fn notes(panels: &[Panel]) -> Vec<String> {
    let mut notes = vec![
        "Lines: measured points of neighbouring sizes. Dots: curves of one shape, each at a height of its own, by least squares; \
         they bend at the points of 16 bits and go on straight beyond the outermost. Intervals, in the tables, cover the choice of \
         documents, neither the shape nor another training run. Optimal bits:"
            .to_owned(),
    ];
    let said: Vec<String> = panels
        .iter()
        .map(|panel| {
            let title = if panel.title.is_empty() { String::new() } else { format!("{} ", panel.title) };
            match &panel.estimate {
                Ok(found) => format!("{title}{}, {}", optimum(panel, found), verdict(panel, found)),
                Err(refusal) => format!("{title}none, {refusal}"),
            }
        })
        .collect();
    notes.push(format!("{}.", said.join("; ")));
    notes
}

/// The bits of the lowest curve, with their interval.
fn optimum(panel: &Panel, found: &OffsetEstimate) -> String {
    let best = panel.curves.bits[found.optimum.curve];
    found.optimum.bits.map_or_else(|| best.to_string(), |(low, high)| format!("{best} [{low}, {high}]"))
}

/// Whether that is decided, or why not.
fn verdict(panel: &Panel, found: &OffsetEstimate) -> String {
    let near = |(curve, offset): (usize, &Option<Offset>)| {
        let untold = offset.is_some_and(|offset| offset.behind_interval.is_none_or(|interval| interval.low <= 0.0));
        (curve != found.optimum.curve && untold).then(|| panel.curves.bits[curve].to_string())
    };
    let near: Vec<String> = found.offsets.iter().enumerate().filter_map(near).collect();
    let bent = found.parallelism.filter(|test| test.probability < PARALLEL);
    let by_budget = budgets(panel, &found.frontier);
    match (near.is_empty(), bent) {
        (true, None) => "decided".to_owned(),
        (true, Some(test)) => {
            format!("not decided, for curves are not parallel (p = {}): {by_budget}", chance(test.probability))
        }
        (false, None) => format!("not decided: not told apart from {}", near.join(", ")),
        (false, Some(test)) => format!(
            "not decided: not told apart from {}, and curves are not parallel (p = {}): {by_budget}",
            near.join(", "),
            chance(test.probability)
        ),
    }
}

/// Which bits are the best as budgets grow.
fn budgets(panel: &Panel, frontier: &[BudgetChoice]) -> String {
    if frontier.is_empty() {
        return "no budget is spanned by all curves".to_owned();
    }
    let mut best: Vec<usize> = frontier.iter().map(|at| at.best.0).collect();
    best.dedup();
    let names: Vec<String> = best.iter().map(|curve| panel.curves.bits[*curve].to_string()).collect();
    let told = frontier.iter().filter(|at| is_told(at)).count();
    let grows = if names.len() > 1 { " as budgets grow" } else { " at all budgets" };
    format!("{}{grows}, told apart from the next at {told} of {}", names.join(", then "), frontier.len())
}

fn chance(probability: f64) -> String {
    if probability < 0.001 { format!("{probability:.0e}").replace('-', "−") } else { format!("{probability:.3}") }
}

fn is_told(at: &BudgetChoice) -> bool {
    at.interval.is_some_and(|interval| interval.low > 0.0)
}

/// Tables of offsets, of budgets and of how well the curves fit.
pub(super) fn tables(figure: &Figure, panels: &[Panel], x: &str, unit: &str) -> Vec<Table> {
    let title = figure.title.clone().unwrap_or_else(|| format!("{} against {}", figure.y, figure.x));
    let facet = figure.facet.as_ref().map(|column| Column::text(column.to_string()));
    let number = |name: &str, unit: &str, direction| Column { unit: unit.to_owned(), direction, ..Column::text(name) };
    let plain = |name: &str, unit: &str| number(name, unit, Direction::Neutral);
    let lower = |name: &str| number(name, unit, Direction::Lower);
    let table = |what: &str, heading: &str, columns: Vec<Column>, rows: Vec<Vec<Entry>>, note: &str| Table {
        id: format!("{}-{what}", figure.name),
        title: format!("{title}: {heading}"),
        columns: facet.clone().into_iter().chain(columns).collect(),
        rows,
        note: Some(note.to_owned()),
        intervals: IntervalStyle::Range,
        ..Table::default()
    };
    let found = || panels.iter().filter_map(|panel| Some((panel, panel.estimate.as_ref().ok()?)));
    let led = |panel: &Panel, entries: Vec<Entry>| {
        facet.iter().map(|_| Entry::Text(panel.title.clone())).chain(entries).collect::<Vec<_>>()
    };
    let offsets = found().flat_map(|(panel, estimate)| {
        let row = move |(curve, offset): (usize, &Option<Offset>)| {
            let offset = (*offset)?;
            Some(led(
                panel,
                vec![
                    Entry::Text(panel.names[curve].clone()),
                    measured(offset.value, offset.interval),
                    measured(offset.behind, offset.behind_interval),
                ],
            ))
        };
        estimate.offsets.iter().enumerate().filter_map(row).collect::<Vec<_>>()
    });
    let budgets = found().flat_map(|(panel, estimate)| {
        let row = move |at: &BudgetChoice| {
            let bits = |curve: usize| Entry::Text(panel.curves.bits[curve].to_string());
            let told = if is_told(at) { "yes" } else { "no" };
            led(
                panel,
                vec![
                    Entry::number(at.x, None),
                    bits(at.best.0),
                    Entry::number(at.best.1, None),
                    bits(at.second),
                    measured(at.margin, at.interval),
                    Entry::Text(told.to_owned()),
                ],
            )
        };
        estimate.frontier.iter().map(row).collect::<Vec<_>>()
    });
    let fits = found().map(|(panel, estimate)| {
        let absent = |why: &str| Entry::Absent(why.to_owned());
        let test = estimate.parallelism;
        let control = estimate.control;
        led(
            panel,
            vec![
                Entry::number(estimate.points as f64, None),
                Entry::number(estimate.residual, None),
                Entry::number(estimate.aic, None),
                control
                    .map_or_else(|| absent("a size has no reference"), |control| Entry::number(control.residual, None)),
                control.map_or_else(|| absent("a size has no reference"), |control| Entry::number(control.aic, None)),
                test.map_or_else(|| absent("too few points"), |test| Entry::number(test.f, None)),
                test.map_or_else(|| absent("too few points"), |test| Entry::number(test.probability, None)),
            ],
        )
    });
    let (offsets, budgets, fits): (Vec<_>, Vec<_>, Vec<_>) = (offsets.collect(), budgets.collect(), fits.collect());
    let optima = found().map(|(panel, estimate)| {
        let optimum = estimate.optimum;
        let share =
            optimum.share.map_or_else(|| Entry::Absent("one number".to_owned()), |share| Entry::number(share, None));
        let bits = Entry::number(panel.curves.bits[optimum.curve], optimum.bits);
        led(panel, vec![bits, share, Entry::Text(verdict(panel, estimate))])
    });
    let optima: Vec<_> = optima.collect();
    let all = [
        table(
            "optimal-bits",
            "optimal bits",
            vec![plain("optimal bits", "bits"), plain("share of draws", "1"), Column::text("verdict")],
            optima,
            "Bits of the lowest curve, those that are lowest in the middle 95 % of the draws of documents, and in how many it is the lowest.",
        ),
        table(
            "offsets",
            "offsets",
            vec![Column::text("bits"), lower("against 16 bits"), lower("against the lowest")],
            offsets,
            "Heights of curves of one shape at equal bits of the whole model; 95 % intervals over documents.",
        ),
        table(
            "budgets",
            "budgets",
            vec![
                plain("budget", x),
                Column::text("lowest"),
                plain("value", unit),
                Column::text("next"),
                plain("margin", unit),
                Column::text("told apart"),
            ],
            budgets,
            "Lowest measured curve where all curves reach, straight in the logarithm between neighbouring sizes.",
        ),
        table(
            "fit",
            "fit",
            vec![
                plain("points", "1"),
                plain("residual", unit),
                plain("AIC", "1"),
                plain("control residual", unit),
                plain("control AIC", "1"),
                plain("F", "1"),
                plain("p", "1"),
            ],
            fits,
            "Root mean square of the residuals and Akaike's criterion of the curves and of the control L∞ + A·N^−a + B·2^(−βk)·N^γ; F-test of slopes of their own.",
        ),
    ];
    all.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn measured(value: f64, interval: Option<Interval>) -> Entry {
    Entry::number(value, interval.map(|interval| (interval.low, interval.high)))
}
