#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_core::chart::{Chart, ChartKind, Column, Entry, Place, Table};
use proptest::prelude::*;

use crate::document::{Failed, MetricNote, Warning};
use crate::{document, fixture, png, render, svg};

/// Compares with a committed file; `HARNESS_BLESS=1` writes it instead.
fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name);
    if std::env::var_os("HARNESS_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    let first = wanted.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(wanted == found, "{name} differs first at line {first:?}; look at it, then HARNESS_BLESS=1");
}

#[test]
fn charts_are_as_they_were_looked_at() {
    for chart in [fixture::line(), fixture::facets(), fixture::scatter(), fixture::bars()] {
        golden(&format!("{}.svg", chart.id), &svg(&chart).unwrap());
    }
}

#[test]
fn the_report_is_as_it_was_looked_at() {
    for file in render(&fixture::document()).unwrap() {
        if file.path.starts_with("report.") {
            golden(&file.path, &String::from_utf8(file.bytes).unwrap());
        }
    }
}

#[test]
fn a_report_has_all_its_files_and_the_same_bytes_twice() {
    let files = render(&fixture::document()).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "report.html",
            "report.md",
            "figures/ppl-against-sparsity.svg",
            "figures/ppl-against-sparsity.png",
            "figures/speed.svg",
            "figures/speed.png",
            "tables/methods.html",
            "tables/methods.md",
            "tables/methods.csv",
            "tables/methods.tex",
            "tables/main-one-shot.html",
            "tables/main-one-shot.md",
            "tables/main-one-shot.csv",
            "tables/main-one-shot.tex"
        ]
    );
    assert!(files == render(&fixture::document()).unwrap());
    if let Some(folder) = std::env::var_os("HARNESS_REPORT_OUT") {
        for file in files {
            let path = Path::new(&folder).join(file.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file.bytes).unwrap();
        }
        for chart in [fixture::facets(), fixture::scatter()] {
            std::fs::write(Path::new(&folder).join(format!("figures/{}.png", chart.id)), png(&chart).unwrap()).unwrap();
        }
    }
}

#[test]
fn a_bitmap_has_two_pixels_to_one() {
    let bytes = png(&fixture::bars()).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(u32::from_be_bytes(bytes[16..20].try_into().unwrap()), 1520);
}

#[test]
fn hostile_names_are_only_text() {
    let evil = "<script>alert(1)</script>\"'&|`\u{0}\n**x**";
    let mut document = fixture::document();
    document.title = evil.into();
    document.about = evil.into();
    document.run = evil.into();
    document.summary = vec![evil.into()];
    document.warnings = vec![Warning { text: evil.into(), advice: evil.into(), cells: 1 }];
    document.failures =
        vec![Failed { id: evil.into(), cell: evil.into(), reason: evil.into(), command: "harness run".into() }];
    document.metrics = vec![MetricNote { id: evil.into(), about: evil.into() }];
    document.answers[0].rows[0][0] = Entry::Text(evil.into());
    for cell in &mut document.cells {
        cell.name = evil.into();
        cell.command = evil.into();
        cell.warnings = vec![evil.into()];
        cell.arms[0].label = evil.into();
    }
    document.stamp.cpu = evil.into();
    document.stamp.suite.text = evil.into();
    document.expectations[0].text = evil.into();
    document.tables = vec![Table {
        id: evil.into(),
        title: evil.into(),
        columns: vec![Column::text(evil), Column::text("b"), Column::text("c")],
        rows: vec![vec![Entry::Text(evil.into()), Entry::Failed(evil.into()), Entry::Absent(evil.into())]],
        note: Some(evil.into()),
        ..Table::default()
    }];
    for chart in &mut document.charts {
        rename(chart, evil);
    }
    for file in render(&document).unwrap() {
        assert!(!file.path.contains(['<', '"', '\n']), "{}", file.path);
        let kind = file.path.rsplit('.').next().unwrap().to_owned();
        // Data and TeX have their own tests; in them text is no markup.
        if matches!(kind.as_str(), "png" | "csv" | "tex") {
            continue;
        }
        let text = String::from_utf8(file.bytes).unwrap();
        assert!(!text.contains("<script>alert"), "{}", file.path);
        if kind == "md" {
            assert!(!text.contains("**x**"), "{text}");
        }
        if kind == "svg" {
            assert!(!text.contains('\u{0}') && !text.contains("aria-label=\"<"), "{}", file.path);
        }
    }
}

fn rename(chart: &mut Chart, name: &str) {
    chart.id = name.into();
    chart.title = name.into();
    chart.x.label = name.into();
    chart.note = Some(name.into());
    for facet in &mut chart.facets {
        facet.title = name.into();
        for (index, series) in facet.series.iter_mut().enumerate() {
            series.name = format!("{index}{name}");
            series.points.iter_mut().for_each(|point| point.label = Some(name.into()));
        }
    }
}

#[test]
fn failed_cells_are_marked_and_named_never_numbers() {
    let page = String::from_utf8(render(&fixture::document()).unwrap()[0].bytes.clone()).unwrap();
    assert!(page.contains("<span class=\"chip failed\" title=\"apply: the Hessian of layer 3 is singular\">failed"));
    let text = svg(&fixture::line()).unwrap();
    assert!(text.contains("× failed (1)"));
    assert!(svg(&fixture::bars()).unwrap().contains("\nfailed\n"));
}

#[test]
fn the_page_needs_no_network() {
    let page = String::from_utf8(render(&fixture::document()).unwrap()[0].bytes.clone()).unwrap();
    let links = page.matches("http").count() - page.matches("http-equiv").count();
    assert_eq!(links, page.matches("http://www.w3.org/2000/svg").count());
    assert!(!page.contains("<link") && !page.contains("src="));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_drawing_holds_a_number_that_is_none(
        kind in 0_usize..3,
        log in any::<bool>(),
        points in prop::collection::vec((any::<f64>(), any::<f64>(), any::<f64>()), 0..8),
    ) {
        let mut chart = fixture::line();
        chart.kind = [ChartKind::Line, ChartKind::Scatter, ChartKind::Bar][kind];
        chart.y.log = log;
        let series = &mut chart.facets[0].series[0];
        series.points = points.iter().map(|(x, y, low)| crate::fixture::number(*x, *y, *low)).collect();
        if kind == 2 {
            for point in chart.facets[0].series.iter_mut().flat_map(|series| &mut series.points) {
                if let Place::Number(x) = point.x {
                    point.x = Place::Category(x.to_string());
                }
            }
        }
        let text = svg(&chart).unwrap();
        let drawn: String = text.lines().filter(|line| line.starts_with('<')).collect();
        prop_assert!(!drawn.contains("NaN") && !drawn.contains("=\"inf") && !drawn.contains("2147483647"));
    }
}

#[test]
fn ids_become_file_names() {
    assert_eq!(document::stem("../a b"), "---a-b");
}
