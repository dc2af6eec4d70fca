#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::Path;

use harness_core::chart::{Chart, Column, Entry, Place, StyleName, Table};
use proptest::prelude::*;

use crate::document::{Failed, MetricNote, Warning};
use crate::scene::Shape;
use crate::{Drawn, Provenance, chart_files, document, fixture, render};

fn provenance(chart: &Chart) -> Provenance {
    let document = fixture::document();
    Provenance::of(chart, &document.run, &document.stamp)
}

fn drawn(chart: &Chart, style: StyleName) -> Drawn {
    Drawn::new(chart, style, provenance(chart))
}

fn svg(chart: &Chart) -> String {
    drawn(chart, StyleName::Web).svg_inside().unwrap()
}

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
    for chart in fixture::every_kind() {
        golden(&format!("{}.svg", chart.id), &svg(&chart));
        golden(&format!("{}.paper-1col.svg", chart.id), &drawn(&chart, StyleName::Paper1Col).svg_inside().unwrap());
    }
}

#[test]
fn pgfplots_files_are_as_they_were_compiled() {
    for chart in fixture::every_kind() {
        let style = crate::style::Style::of(StyleName::Paper1Col);
        let (tex, data) = crate::pgfplots::write(&chart, style, &chart.id, &provenance(&chart));
        golden(&format!("{}.tex", chart.id), &tex);
        golden(&format!("{}.dat", chart.id), &data);
    }
}

/// Writes everything to look at: `HARNESS_REPORT_OUT=folder cargo test -p harness-report`.
#[test]
fn every_kind_in_every_style_is_the_same_twice() {
    for mut chart in fixture::every_kind() {
        chart.styles = StyleName::ALL.map(|(_, style)| style).to_vec();
        let files = chart_files(&chart, &provenance(&chart)).unwrap();
        assert_eq!(files.len(), 4 * 5);
        assert!(files == chart_files(&chart, &provenance(&chart)).unwrap(), "{}", chart.id);
        if let Some(folder) = std::env::var_os("HARNESS_REPORT_OUT") {
            write(Path::new(&folder), files);
        }
    }
}

fn write(folder: &Path, files: Vec<crate::File>) {
    for file in files {
        let path = folder.join(file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file.bytes).unwrap();
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
    let ends = ["svg", "png", "pdf", "tex", "dat"];
    let figures = ["ppl-against-sparsity", "speed"].map(|id| ends.map(|end| format!("figures/{id}.{end}")));
    let ends = ["html", "md", "csv", "tex"];
    let tables = ["methods", "main-one-shot"].map(|id| ends.map(|end| format!("tables/{id}.{end}")));
    let mut wanted = vec!["report.html".to_owned(), "report.md".to_owned()];
    wanted.extend(figures.into_iter().flatten());
    wanted.extend(tables.into_iter().flatten());
    assert_eq!(paths, wanted);
    assert!(files == render(&fixture::document()).unwrap());
    if let Some(folder) = std::env::var_os("HARNESS_REPORT_OUT") {
        write(Path::new(&folder), files);
    }
}

#[test]
fn sizes_are_those_of_the_styles() {
    let size = |chart: &Chart, style| {
        let bytes = drawn(chart, style).png().unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        (number(16), number(20))
    };
    assert_eq!(size(&fixture::bars(), StyleName::Web).0, 1520);
    for chart in fixture::every_kind() {
        // 3.3 and 6.9 inches at 192 pixels an inch, and a slide of 960 by 540.
        assert_eq!(size(&chart, StyleName::Paper1Col).0, 634, "{}", chart.id);
        assert_eq!(size(&chart, StyleName::Paper2Col).0, 1325, "{}", chart.id);
        assert_eq!(size(&chart, StyleName::Slides), (1920, 1080), "{}", chart.id);
    }
    let text = drawn(&fixture::line(), StyleName::Paper1Col).svg().unwrap();
    assert!(text.contains("width=\"3.3in\""), "{}", &text[..200]);
}

#[test]
fn files_say_where_they_came_from() {
    let chart = fixture::line();
    let said = provenance(&chart);
    assert!(!said.run.is_empty() && !said.suite_hash.is_empty() && said.cells.len() == 2);
    let drawn = drawn(&chart, StyleName::Paper2Col);
    let svg = drawn.svg().unwrap();
    let (_, rest) = svg.split_once("<metadata>").unwrap();
    let json = rest.split_once("</metadata>").unwrap().0.replace("&quot;", "\"");
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read, serde_json::to_value(Provenance { title: chart.title.clone(), ..said.clone() }).unwrap());
    let pdf = String::from_utf8_lossy(&drawn.pdf().unwrap()).into_owned();
    for (name, value) in said.pairs() {
        assert!(pdf.contains(&format!("/{name}")), "{name}");
        assert!(value.is_empty() || pdf.contains(&value), "{name} {value}");
    }
    let files = chart_files(&chart, &said).unwrap();
    let tex = String::from_utf8(files[3].bytes.clone()).unwrap();
    assert!(tex.contains(&format!("% SuiteHash: {}\n", said.suite_hash)) && tex.contains(&said.cells[1]));
}

/// The streams of a PDF file, unpacked.
fn streams(pdf: &[u8]) -> Vec<Vec<u8>> {
    let find =
        |from: usize, word: &[u8]| pdf[from..].windows(word.len()).position(|part| part == word).map(|at| from + at);
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(start) = find(at, b"stream\n") {
        let end = find(start, b"\nendstream").unwrap();
        let raw = &pdf[start + 7..end];
        let mut bytes = Vec::new();
        if flate2::read::ZlibDecoder::new(raw).read_to_end(&mut bytes).is_err() {
            bytes = raw.to_vec();
        }
        found.push(bytes);
        at = end + 10;
    }
    found
}

#[test]
fn a_pdf_holds_its_text_as_text() {
    let pdf = drawn(&fixture::bars(), StyleName::Paper1Col).pdf().unwrap();
    assert!(pdf.starts_with(b"%PDF-1.") && pdf.ends_with(b"%%EOF"));
    let streams = streams(&pdf);
    // What every glyph number means, out of the tables that readers copy text by.
    let mut signs = std::collections::HashMap::new();
    for table in streams.iter().filter_map(|bytes| std::str::from_utf8(bytes).ok()) {
        for line in table.lines().filter(|line| line.starts_with('<') && line.contains("> <")) {
            let words: Vec<u32> = line
                .split_whitespace()
                .filter_map(|word| u32::from_str_radix(word.trim_matches(['<', '>']), 16).ok())
                .collect();
            if let [glyph, sign] = words[..] {
                signs.insert(glyph, char::from_u32(sign).unwrap());
            }
        }
    }
    let mut texts = Vec::new();
    for pair in crate::letters::set("wanda(sparsity=0.5)", crate::letters::Weight::Regular) {
        texts.push(signs[&u32::from(pair.glyph)]);
    }
    assert_eq!(texts.into_iter().collect::<String>(), "wanda(sparsity=0.5)");
    let page = &streams[0];
    let shown = page.windows(3).filter(|part| part == b" Tj").count();
    assert!(shown >= 10, "{shown} texts");
    // No picture: everything is drawn by lines.
    assert!(!pdf.windows(6).any(|part| part == b"/Image"));
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
        // Tables as data and TeX have their own tests; in them text is no markup.
        let table = file.path.starts_with("tables/") && matches!(kind.as_str(), "csv" | "tex");
        if table || matches!(kind.as_str(), "png" | "pdf") {
            continue;
        }
        let text = String::from_utf8(file.bytes).unwrap();
        if matches!(kind.as_str(), "tex" | "dat") {
            // No sign of LaTeX's own gets through, and no line ends early.
            assert!(!text.contains('\u{0}') && !text.contains("\n**x**"), "{}", file.path);
            continue;
        }
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
    let text = svg(&fixture::line());
    assert!(text.contains("× failed (1)"));
    assert!(svg(&fixture::bars()).contains(">failed</text>"));
    // Every kind says how many failed, and a failed cell has a cross where it would have stood.
    for chart in fixture::every_kind().into_iter().filter(|chart| chart.failed() > 0) {
        let text = svg(&chart);
        assert!(text.contains(&format!("failed ({})", chart.failed())), "{}", chart.id);
    }
}

#[test]
fn the_page_needs_no_network() {
    let page = String::from_utf8(render(&fixture::document()).unwrap()[0].bytes.clone()).unwrap();
    let links = page.matches("http").count() - page.matches("http-equiv").count();
    assert_eq!(links, page.matches("http://www.w3.org/2000/svg").count());
    assert!(!page.contains("<link") && !page.contains("src="));
}

fn hold(value: f64, choice: u8) -> f64 {
    match choice {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => -value,
        3 => 0.0,
        _ => value,
    }
}

/// Every number of a shape. A backend's whole numbers would hide those that are none.
fn numbers(shape: &Shape) -> Vec<f64> {
    let flat = |points: &[(f64, f64)]| -> Vec<f64> { points.iter().flat_map(|(x, y)| [*x, *y]).collect() };
    match shape {
        Shape::Line { points, width, dash, .. } => [flat(points), dash.clone(), vec![*width]].concat(),
        Shape::Polygon { points, alpha, .. } => [flat(points), vec![*alpha]].concat(),
        Shape::Circle { centre, radius, alpha, .. } => vec![centre.0, centre.1, *radius, *alpha],
        Shape::Text { at, size, .. } => vec![at.0, at.1, *size],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_drawing_holds_a_number_that_is_none(
        kind in 0_usize..12,
        log in any::<(bool, bool)>(),
        style in 0_usize..4,
        values in prop::collection::vec((any::<f64>(), 0_u8..8, any::<f64>()), 0..8),
    ) {
        let mut chart = fixture::every_kind().swap_remove(kind);
        (chart.x.log, chart.y.log) = log;
        let mut values = values.iter().map(|(value, choice, other)| (hold(*value, *choice), *other));
        for point in chart.facets[0].series.iter_mut().flat_map(|series| &mut series.points) {
            let Some((y, other)) = values.next() else { break };
            point.y = y;
            point.interval = Some((other, y));
            point.reach = point.reach.map(|_| (y, other));
            if let Some(sample) = point.samples.first_mut() {
                *sample = other;
            }
            if let Place::Number(x) = &mut point.x {
                *x = other;
            }
        }
        let (_, style) = StyleName::ALL[style];
        let again = drawn(&chart, style);
        for shape in &again.scene.shapes {
            prop_assert!(numbers(shape).iter().all(|number| number.is_finite()), "{shape:?}");
        }
        prop_assert_eq!(drawn(&chart, style).svg_inside().unwrap(), again.svg_inside().unwrap());
    }

    #[test]
    fn failed_cells_are_never_numbers(kind in 0_usize..12, failed in 1_usize..4) {
        // Moving the cells of the last series from measured to failed takes their numbers out of the drawing.
        let mut chart = fixture::every_kind().swap_remove(kind);
        let series = chart.facets[0].series.last_mut().unwrap();
        let count = failed.min(series.points.len());
        let marker = 987_654.25;
        for point in series.points.drain(..count) {
            series.failed.push(harness_core::chart::FailedPoint { x: Some(point.x), reason: format!("{marker}") });
        }
        let text = svg(&chart);
        let words = drawn(&chart, StyleName::Web).scene.shapes;
        let written = |shape: &Shape| matches!(shape, Shape::Text { text, .. } if text.contains("987"));
        prop_assert!(!words.iter().any(written), "a reason became a number");
        let expected = format!("failed ({})", chart.failed());
        prop_assert!(chart.failed() == 0 || text.contains(&expected));
    }
}

#[test]
fn ids_become_file_names() {
    assert_eq!(document::stem("../a b"), "---a-b");
}
