//! The trend page: every series of a suite over its nights, changes of level marked. One self-contained HTML file.

use std::fmt::Write;

use harness_core::Verdict;
use harness_core::trend::{Trend, TrendSeries};
use minijinja::value::Value;
use minijinja::{Environment, context};

use crate::document::{File, ReportError};
use crate::number::{Scale, format_value};

/// Size of a chart in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 132.0;
/// Room for the labels on the left, above and below.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 20.0;
/// Longer series are thinned to the smallest and largest value of each of so many stretches.
const MOST_STRETCHES: usize = 320;

/// The page of a trend as `trend.html`. The same trend gives the same bytes.
///
/// # Errors
/// [`ReportError::Page`].
pub fn render_trend(trend: &Trend) -> Result<File, ReportError> {
    let mut engine = Environment::new();
    // The name ends in .html, so everything that is not marked safe is escaped.
    engine.add_template("trend.html", include_str!("templates/trend.html"))?;
    let order = [
        (Verdict::Worse, true),
        (Verdict::Gone, true),
        (Verdict::Better, true),
        (Verdict::CannotTell, false),
        (Verdict::New, false),
        (Verdict::Same, false),
    ];
    let groups: Vec<Value> = order
        .into_iter()
        .map(|(verdict, open)| (verdict.words(), open, trend.with(verdict).collect::<Vec<_>>()))
        .chain([("not judged", false, trend.series.iter().filter(|series| series.judgement.is_none()).collect())])
        .filter(|(_, _, series)| !series.is_empty())
        .map(|(word, open, series)| {
            let cards: Vec<Value> = series.into_iter().map(|series| card(trend, series)).collect();
            context! { word => word, open => open, count => cards.len(), cards => cards }
        })
        .collect();
    let nights = trend.nights.len();
    let last = trend.nights.last();
    let page = engine.get_template("trend.html")?.render(context! {
        title => &trend.title,
        class => &trend.class,
        nights => nights,
        first => trend.nights.first().map(|night| day(&night.started)),
        last => last.map(|night| day(&night.started)),
        run => last.map(|night| night.run.as_str()),
        commit => last.map(harness_core::trend::NightLabel::short_commit),
        summary => trend.summary.clone(),
        failed => trend.failed.iter().map(|(cell, reason)| vec![cell.clone(), reason.clone()]).collect::<Vec<_>>(),
        notes => trend.notes.clone(),
        groups => groups,
        style => Value::from_safe_string(include_str!("templates/trend.css").to_owned()),
    })?;
    Ok(File { path: "trend.html".to_owned(), bytes: page.into_bytes() })
}

/// The date of a time, or the whole text where it is none.
fn day(started: &str) -> &str {
    started.split_once('T').map_or(started, |(date, _)| date)
}

fn card(trend: &Trend, series: &TrendSeries) -> Value {
    let largest = series.points.iter().map(|point| point.value.abs()).fold(0.0, f64::max);
    let scale = Scale::fit(&series.unit, largest);
    let shown = |value: f64| {
        let number = format_value(value / scale.divisor);
        if scale.unit.is_empty() { number } else { format!("{number} {}", scale.unit) }
    };
    let changes: Vec<String> = series
        .changes
        .iter()
        .map(|change| {
            let night = trend.nights.get(change.at).map_or("", |night| day(&night.started));
            format!(
                "night {} ({night}): {} → {}{}, {}",
                change.at + 1,
                shown(change.before),
                shown(change.after),
                relative(change.before, change.after),
                trend.commits(change.at)
            )
        })
        .collect();
    let judged = series.judgement.as_ref();
    let tonight = series.points.last().filter(|point| point.night + 1 == trend.nights.len());
    let facts = judged.map(|judged| {
        let share = |size: Option<f64>| {
            let level = judged.level.filter(|level| *level != 0.0)?;
            size.map(|size| format!("{} %", format_value(100.0 * size / level.abs())))
        };
        [
            ("before", judged.level.map(shown)),
            ("tonight", tonight.map(|point| shown(point.value))),
            ("change", share(judged.difference)),
            ("floor", share(Some(judged.floor))),
            ("fence", share(judged.fence)),
            ("could be told", share(judged.detectable)),
            ("p", judged.probability.map(format_value)),
            ("p must be below", judged.probability.map(|_| format_value(judged.threshold))),
            ("needed", judged.needed.map(|count| format!("{count} units"))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some(vec![name.to_owned(), value?]))
        .collect::<Vec<_>>()
    });
    context! {
        cell => &series.cell,
        metric => &series.metric,
        verdict => judged.map_or("not judged", |judged| judged.verdict.words()),
        kind => judged.map_or("none", |judged| kind(judged.verdict)),
        reason => judged.map(|judged| judged.reason.as_str()),
        facts => facts,
        svg => Value::from_safe_string(chart(trend, series, &scale)),
        changes => changes,
    }
}

fn relative(before: f64, after: f64) -> String {
    if before == 0.0 || !before.is_finite() {
        return String::new();
    }
    let percent = 100.0 * (after - before) / before.abs();
    let sign = if percent > 0.0 { "+" } else { "" };
    format!(" ({sign}{} %)", format_value(percent))
}

fn kind(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Worse | Verdict::Failed => "bad",
        Verdict::Better => "good",
        Verdict::Gone => "gone",
        _ => "none",
    }
}

/// Where things stand in a chart.
struct Frame {
    nights: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn x(&self, night: usize) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * night as f64 / self.nights.max(1.0)
    }

    fn y(&self, value: f64) -> f64 {
        let share = if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.5 };
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share)
    }
}

/// The series as a line: levels between its changes, a mark at each change and each other manner of measuring.
fn chart(trend: &Trend, series: &TrendSeries, scale: &Scale) -> String {
    let values = series.points.iter().map(|point| point.value);
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} of {} over {} nights, {} changes of level\">",
        escape(&series.metric),
        escape(&series.cell),
        trend.nights.len(),
        series.changes.len()
    );
    if !low.is_finite() {
        return out + "</svg>";
    }
    // A little air above and below, so that the line does not lie on the frame.
    let air = 0.06 * (high - low);
    let frame = Frame { nights: (trend.nights.len() as f64 - 1.0).max(0.0), low: low - air, high: high + air };
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for value in if high > low { vec![low, high] } else { vec![low] } {
        let y = frame.y(value);
        let text = format_value(value / scale.divisor);
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for (night, anchor) in [(0, "start"), (trend.nights.len().saturating_sub(1), "end")] {
        let label = trend.nights.get(night).map_or("", |night| day(&night.started));
        let _ = write!(
            out,
            "<text class=\"{anchor}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            frame.x(night),
            HEIGHT - 5.0,
            escape(label)
        );
    }
    for night in &series.breaks {
        let _ = write!(
            out,
            "<path class=\"break\" d=\"M{:.1} {TOP}V{bottom}\"><title>measured in another way from here</title></path>",
            frame.x(*night)
        );
    }
    levels(&mut out, series, &frame);
    let _ = write!(out, "<path class=\"line\" d=\"{}\"/>", path(series, &frame));
    for change in &series.changes {
        let x = frame.x(change.at);
        let _ = write!(
            out,
            "<path class=\"change\" d=\"M{x:.1} {TOP}V{bottom}\"><title>night {}: {}</title></path>",
            change.at + 1,
            escape(&trend.commits(change.at))
        );
    }
    if let Some(last) = series.points.last() {
        let class = series.judgement.as_ref().map_or("none", |judged| kind(judged.verdict));
        let _ = write!(
            out,
            "<circle class=\"last {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>",
            frame.x(last.night),
            frame.y(last.value)
        );
    }
    out + "</svg>"
}

/// The level between two changes, drawn as wide as it held.
fn levels(out: &mut String, series: &TrendSeries, frame: &Frame) {
    let (Some(first), Some(last), Some(change)) = (series.points.first(), series.points.last(), series.changes.first())
    else {
        return;
    };
    let mut start = first.night;
    let mut level = change.before;
    for (at, next) in series.changes.iter().map(|change| (change.at, change.after)).chain([(last.night, level)]) {
        let y = frame.y(level);
        let _ = write!(out, "<path class=\"level\" d=\"M{:.1} {y:.1}H{:.1}\"/>", frame.x(start), frame.x(at));
        (start, level) = (at, next);
    }
}

/// The line through the points; of long series the smallest and the largest value of each stretch, in their order.
fn path(series: &TrendSeries, frame: &Frame) -> String {
    let points = &series.points;
    let size = points.len().div_ceil(MOST_STRETCHES).max(1);
    let mut kept: Vec<usize> = Vec::new();
    if size <= 2 {
        kept.extend(0..points.len());
    } else {
        for start in (0..points.len()).step_by(size) {
            let stretch = start..(start + size).min(points.len());
            let by_value = |a: &usize, b: &usize| points[*a].value.total_cmp(&points[*b].value);
            let ends = [stretch.clone().min_by(by_value), stretch.max_by(by_value)];
            let mut ends: Vec<usize> = ends.into_iter().flatten().collect();
            ends.sort_unstable();
            ends.dedup();
            kept.extend(ends);
        }
    }
    let mut path = String::new();
    for (index, at) in kept.into_iter().enumerate() {
        let step = if index == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{step}{:.1} {:.1}", frame.x(points[at].night), frame.y(points[at].value));
    }
    path
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[path = "trend_tests.rs"]
mod tests;
