//! How methods differ from one another at equal settings, on the same samples.

use harness_core::chart::{Column as Heading, Entry, Table};
use harness_core::statistics::Bootstrap;
use harness_core::verdict::{Margin, decide};
use harness_core::{Axis, Cell, Direction, Noise};
use rayon::prelude::*;

use crate::run::{MetricInfo, Record, Run};

/// The axes whose arms are methods.
fn methods() -> impl Iterator<Item = Axis> {
    Axis::ALL.into_iter().filter(|axis| axis.changes_model() || *axis == Axis::Sampler)
}

/// The difference of every two methods of a bench that stand at equal settings, in its first sampled metric with a
/// good side: one paired interval a row. `None` where no two methods can be paired.
///
/// Settings are equal when the cells agree on every other axis, and on every parameter that both methods have, of
/// which there is at least one.
pub fn pairs_table(run: &Run, bench: &str) -> Option<Table> {
    let records: Vec<&Record> = run.records.iter().filter(|record| record.cell.cell.bench == bench).collect();
    let metric = run.metrics.iter().find(|metric| {
        metric.noise == Noise::Sampled
            && metric.direction != Direction::Neutral
            && records.iter().any(|record| record.cell.observation(&metric.id).is_some())
    })?;
    let found = methods().flat_map(|axis| {
        let rows = records.par_iter().enumerate().flat_map_iter(|(place, first)| {
            let others = records[place + 1..].iter().filter(move |second| paired(axis, first, second));
            others.map(move |second| row(axis, metric, first, second))
        });
        rows.collect::<Vec<_>>()
    });
    let (rows, levels): (Vec<Vec<Entry>>, Vec<Option<f64>>) = found.unzip();
    let level = levels.into_iter().flatten().next_back().unwrap_or(Bootstrap::default().level);
    let mut columns: Vec<Heading> =
        ["cells", "first", "second", "difference", "relative", "second is"].map(Heading::text).to_vec();
    metric.unit.clone_into(&mut columns[3].unit);
    "%".clone_into(&mut columns[4].unit);
    (!rows.is_empty()).then(|| Table {
        id: format!("pairs-{bench}"),
        title: format!("{bench}: {} of methods at equal settings", metric.id),
        columns,
        rows,
        note: Some(format!(
            "The difference is second − first over the same windows, with its paired {:.0} % interval; no correction \
             for the number of pairs.",
            100.0 * level
        )),
        ..Table::default()
    })
}

fn paired(axis: Axis, first: &Record, second: &Record) -> bool {
    let (first, second) = (&first.cell.cell, &second.cell.cell);
    let (Some(one), Some(other)) = (first.coordinates.get(&axis), second.coordinates.get(&axis)) else { return false };
    let shared = one.parameters.iter().filter_map(|(name, value)| {
        other.parameters.iter().find(|(theirs, _)| theirs == name).map(|(_, theirs)| value == theirs)
    });
    let agree: Vec<bool> = shared.collect();
    one.id != other.id
        && !agree.is_empty()
        && !agree.contains(&false)
        && elsewhere(first, axis) == elsewhere(second, axis)
}

/// The labels of a cell on all axes but one.
fn elsewhere(cell: &Cell, axis: Axis) -> Vec<(Axis, &str)> {
    cell.coordinates
        .iter()
        .filter(|(other, _)| **other != axis)
        .map(|(other, at)| (*other, at.label.as_str()))
        .collect()
}

/// One row, and the level of its interval.
fn row(axis: Axis, metric: &MetricInfo, first: &Record, second: &Record) -> (Vec<Entry>, Option<f64>) {
    let cells = elsewhere(&first.cell.cell, axis).iter().map(|(_, label)| *label).collect::<Vec<_>>().join(" / ");
    let arm = |record: &Record| Entry::Text(record.cell.cell.label(axis).unwrap_or_default().to_owned());
    let mut row = vec![Entry::Text(cells), arm(first), arm(second)];
    let failed = [first, second].iter().find_map(|record| record.cell.failure.as_ref());
    let (one, other) = (first.cell.observation(&metric.id), second.cell.observation(&metric.id));
    let effect = match (failed, one.zip(other)) {
        (Some(failure), _) => Err(Entry::Failed(format!("{}: {}", failure.stage, failure.reason))),
        (None, None) => Err(Entry::Absent("it was not measured".to_owned())),
        (None, Some((one, other))) => {
            Bootstrap::default().paired(one, other).map_err(|refusal| Entry::Absent(refusal.to_string()))
        }
    };
    match effect {
        Ok(effect) => {
            let ends = |interval: Option<harness_core::statistics::Interval>, scale: f64| {
                interval.map(|interval| (scale * interval.low, scale * interval.high))
            };
            let verdict = decide(metric.direction, metric.noise, &effect, Margin::default());
            row.push(Entry::number(effect.difference, ends(effect.interval, 1.0)));
            row.push(effect.relative.map_or(Entry::Empty, |relative| {
                Entry::number(100.0 * relative, ends(effect.relative_interval, 100.0))
            }));
            row.push(Entry::Text(verdict.to_string()));
            (row, effect.interval.map(|interval| interval.level))
        }
        Err(entry) => {
            row.extend([entry, Entry::Empty, Entry::Empty]);
            (row, None)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fixture;

    #[test]
    fn methods_meet_at_equal_settings_only_and_each_pair_once() {
        let table = pairs_table(&fixture::run(), "one-shot").unwrap();
        let text = |entry: &Entry| match entry {
            Entry::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        let arms: Vec<(String, String)> = table.rows.iter().map(|row| (text(&row[1]), text(&row[2]))).collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            arms,
            [
                pair("magnitude(sparsity=0.3)", "wanda(sparsity=0.3)"),
                pair("magnitude(sparsity=0.5)", "wanda(sparsity=0.5)"),
            ]
        );
        let Entry::Number { value, interval: Some((low, high)), .. } = table.rows[1][3] else { panic!("{table:?}") };
        assert!(low < value && value < high && high < 0.0, "wanda costs 0.2 nats, magnitude 0.4: {low} {value} {high}");
        assert_eq!(text(&table.rows[1][5]), "better");
        assert_eq!(text(&table.rows[0][0]), "tiny / fables/test");
        assert!(pairs_table(&fixture::run(), "another").is_none());
    }

    #[test]
    fn a_failed_side_is_named_and_never_a_number() {
        let mut journal = fixture::journal();
        journal.push(fixture::record("tiny", "wanda(sparsity=0.7)", 0.7, 0.9));
        let run =
            Run::from_records(std::path::Path::new("runs/test"), fixture::stamp(), &fixture::metrics(), &[], journal);
        let table = pairs_table(&run, "one-shot").unwrap();
        let row = table.rows.iter().find(|row| row.contains(&Entry::Text("wanda(sparsity=0.7)".into()))).unwrap();
        assert!(matches!(&row[3], Entry::Failed(reason) if reason.contains("singular")), "{row:?}");
    }
}
