#![allow(clippy::unwrap_used)]

use harness_core::Direction;
use harness_core::gate::Judgement;
use harness_core::statistics::change_point::ChangePoint;
use harness_core::trend::{NightLabel, TrendPoint};

use super::*;

fn trend(nights: usize) -> Trend {
    let night = |number: usize| NightLabel {
        run: format!("nightly-{number}"),
        started: format!("2026-03-{:02}T03:00:00Z", 1 + number % 28),
        commit: format!("{number:07x}ffff"),
        dirty: false,
    };
    let level = |number: usize| if number < nights / 2 { 20.0 } else { 21.0 };
    let change = ChangePoint { at: nights / 2, score: 5.0, probability: 1e-4, before: 20.0, after: 21.0 };
    let series = |metric: &str, verdict, judged: bool| TrendSeries {
        cell: "one-shot / tiny / <none> & co".into(),
        metric: metric.into(),
        unit: if metric == "bytes" { "bytes".into() } else { "1".into() },
        direction: Direction::Lower,
        points: (0..nights).map(|n| TrendPoint { night: n, value: level(n) + 0.1 * (n % 3) as f64 }).collect(),
        breaks: vec![2],
        changes: vec![change],
        judgement: judged.then(|| Judgement {
            level: Some(20.0),
            difference: Some(1.0),
            ..Judgement::plain(verdict, "why")
        }),
    };
    Trend {
        title: "nightly".into(),
        class: "Zen, 2 cores".into(),
        nights: (0..nights).map(night).collect(),
        series: vec![
            series("ppl", Verdict::Worse, true),
            series("bytes", Verdict::Same, true),
            series("sparsity", Verdict::Same, false),
        ],
        failed: vec![("one-shot / tiny / wanda".into(), "score: not finite".into())],
        reference: "the night before".into(),
        summary: vec!["1 worse, 1 same; compared with the night before.".into()],
        notes: vec!["about 2 nights are missing".into()],
    }
}

fn page(trend: &Trend) -> String {
    let file = render_trend(trend).unwrap();
    assert_eq!(file.path, "trend.html");
    String::from_utf8(file.bytes).unwrap()
}

#[test]
fn the_page_is_complete_and_always_the_same() {
    let trend = trend(40);
    let text = page(&trend);
    assert_eq!(text, page(&trend));
    for part in [
        "<summary>worse (1)</summary>",
        "<summary>same (1)</summary>",
        "<summary>not judged (1)</summary>",
        "night 21 (2026-03-21): 20 → 21 (+5 %), 0000013..0000014",
        "about 2 nights are missing",
        "score: not finite",
        "1 worse, 1 same",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(
        !text.contains("http://") && !text.contains("https://") && !text.contains("<script"),
        "no network, no script"
    );
    assert!(!text.contains("<none>") && text.contains("&lt;none&gt; &amp; co"), "text is escaped");
}

#[test]
fn charts_mark_changes_and_other_manners() {
    let trend = trend(40);
    let svg = chart(&trend, &trend.series[0], &Scale::fit("1", 21.0));
    assert_eq!(svg.matches("class=\"change\"").count(), 1);
    assert_eq!(svg.matches("class=\"break\"").count(), 1);
    assert_eq!(svg.matches("class=\"level\"").count(), 2);
    assert_eq!(svg.matches("class=\"last bad\"").count(), 1);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn long_series_are_thinned_and_keep_their_extremes() {
    let mut trend = trend(5000);
    trend.series[0].points[2317].value = 99.0;
    let svg = chart(&trend, &trend.series[0], &Scale::fit("1", 99.0));
    assert!(svg.len() < 20_000, "{}", svg.len());
    assert!(svg.contains(">99<"));
    let frame = Frame { nights: 4999.0, low: 20.0, high: 99.0 };
    let top = format!("{:.1} {:.1}", frame.x(2317), frame.y(99.0));
    assert!(path(&trend.series[0], &frame).contains(&top));
}

#[test]
fn one_night_and_none_are_drawn_too() {
    for nights in [0, 1] {
        let mut trend = trend(nights.max(1));
        for series in &mut trend.series {
            series.points.truncate(nights);
            series.changes.clear();
        }
        trend.nights.truncate(nights);
        assert!(!page(&trend).contains("NaN"), "{nights}");
    }
}
