//! JUnit XML in the flavour that Jenkins and its kin read.
//!
//! A test suite is a bench. Each of its cells is a test case that passes when the cell was measured and is an `error`
//! when it failed; its `system-out` has a line for each metric, with the reason where there is no number. Each
//! expectation of the bench is a test case too: a `failure` when it does not hold, `skipped` when it could not be
//! decided. The suite's properties say where the run came from and repeat every number as `CELL-ID.METRIC`.

use std::io;

use harness_core::{CellRecord, Failure};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Export, ExportError, Format, Judged, Subject, finite};
use crate::run::{Record, Run};

pub const FORMAT: Format =
    Format { name: "junit", about: "JUnit XML for the test tab of a CI server", folder: false, write };

type Xml = Writer<Vec<u8>>;

fn write(subject: &Subject) -> Result<Export, ExportError> {
    let run = subject.run;
    if run.records.is_empty() {
        return Err(ExportError::Nothing { format: FORMAT.name, reason: "it has no cells".to_owned() });
    }
    let bytes = document(subject).map_err(|error| ExportError::encode(FORMAT.name)(error.into()))?;
    Ok(Export::single("junit.xml", bytes))
}

/// A test case, before it is written.
struct Case<'a> {
    class: String,
    name: String,
    seconds: f64,
    outcome: Outcome<'a>,
    out: String,
}

enum Outcome<'a> {
    Passed,
    Error(&'a Failure),
    Failure(&'a str),
    Skipped(&'a str),
}

fn document(subject: &Subject) -> io::Result<Vec<u8>> {
    let run = subject.run;
    let suites: Vec<(&str, Vec<Case>)> =
        run.benches().into_iter().map(|bench| (bench, cases(run, bench, subject.judged))).collect();
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all: Vec<&Case> = suites.iter().flat_map(|(_, cases)| cases).collect();
    let name = run.name();
    let element = xml
        .create_element("testsuites")
        .with_attribute(("name", attribute(&name).as_str()))
        .with_attributes(counts(&all).iter().map(|(key, value)| (*key, value.as_str())));
    element.write_inner_content(|xml| {
        suites.iter().enumerate().try_for_each(|(id, (bench, cases))| suite(xml, run, id, bench, cases))
    })?;
    let mut bytes = xml.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

fn cases<'a>(run: &'a Run, bench: &str, judged: &'a [Judged]) -> Vec<Case<'a>> {
    let class = format!("{}.{bench}", stem(run));
    let records = run.records.iter().filter(|record| record.cell.cell.bench == bench);
    let cells = records.map(|record| Case {
        class: class.clone(),
        name: name_in_bench(&record.cell),
        seconds: record.cell.seconds,
        outcome: record.cell.failure.as_ref().map_or(Outcome::Passed, Outcome::Error),
        out: lines(run, record),
    });
    let expectations = judged.iter().filter(|judged| judged.bench == bench).map(|judged| Case {
        class: format!("{class}.expect"),
        name: judged.text.clone(),
        seconds: 0.0,
        outcome: match judged.held {
            Some(true) => Outcome::Passed,
            Some(false) => Outcome::Failure(&judged.detail),
            None => Outcome::Skipped(&judged.detail),
        },
        // A fault has the detail in itself.
        out: if judged.held == Some(true) { judged.detail.clone() } else { String::new() },
    });
    cells.chain(expectations).collect()
}

/// The stem of the suite's path, or the run's name.
fn stem(run: &Run) -> String {
    let path = std::path::Path::new(&run.stamp.suite.path);
    path.file_stem().map_or_else(|| run.name(), |stem| stem.to_string_lossy().into_owned())
}

/// The cell without its bench.
fn name_in_bench(cell: &CellRecord) -> String {
    cell.cell.coordinates.values().map(|at| at.label.as_str()).collect::<Vec<_>>().join(" / ")
}

/// What stands in `system-out`: a line a metric, then the warnings.
fn lines(run: &Run, record: &Record) -> String {
    let mut text = format!("cell {}\n", record.cell.id);
    for (seen, estimate) in record.cell.observations.iter().zip(&record.estimates) {
        let unit = run.metric(&seen.metric).map_or("", |metric| metric.unit.as_str());
        let unit = if unit == "1" { String::new() } else { format!(" {unit}") };
        let line = match finite(seen, estimate.as_ref()) {
            Err(reason) => format!("{} has no number: {reason}\n", seen.metric),
            Ok(estimate) => match estimate.interval {
                Some(range) => format!("{} = {}{unit} [{}, {}]\n", seen.metric, estimate.value, range.low, range.high),
                None => format!("{} = {}{unit}\n", seen.metric, estimate.value),
            },
        };
        text.push_str(&line);
    }
    record.cell.warnings.iter().for_each(|warning| text.push_str(&format!("warning: {warning}\n")));
    text
}

fn counts(cases: &[&Case]) -> Vec<(&'static str, String)> {
    let count = |wanted: fn(&Outcome) -> bool| cases.iter().filter(|case| wanted(&case.outcome)).count().to_string();
    vec![
        ("tests", cases.len().to_string()),
        ("failures", count(|outcome| matches!(outcome, Outcome::Failure(_)))),
        ("errors", count(|outcome| matches!(outcome, Outcome::Error(_)))),
        ("time", seconds(cases.iter().map(|case| case.seconds).sum())),
    ]
}

fn suite(xml: &mut Xml, run: &Run, id: usize, bench: &str, cases: &[Case]) -> io::Result<()> {
    let skipped = cases.iter().filter(|case| matches!(case.outcome, Outcome::Skipped(_))).count();
    let started = run.stamp.started.trim_end_matches('Z');
    let mut attributes = vec![("name", attribute(bench)), ("id", id.to_string()), ("package", attribute(&stem(run)))];
    attributes.extend(counts(&cases.iter().collect::<Vec<_>>()));
    attributes.push(("skipped", skipped.to_string()));
    if !started.is_empty() {
        attributes.push(("timestamp", attribute(started)));
    }
    let element =
        xml.create_element("testsuite").with_attributes(attributes.iter().map(|(key, value)| (*key, value.as_str())));
    element.write_inner_content(|xml| {
        xml.create_element("properties").write_inner_content(|xml| {
            properties(run, bench).into_iter().try_for_each(|(name, value)| {
                let property = xml.create_element("property").with_attribute(("name", attribute(&name).as_str()));
                property.with_attribute(("value", attribute(&value).as_str())).write_empty().map(|_| ())
            })
        })?;
        cases.iter().try_for_each(|case| write_case(xml, case))
    })?;
    Ok(())
}

fn properties(run: &Run, bench: &str) -> Vec<(String, String)> {
    let stamp = &run.stamp;
    let facts = [
        ("program", stamp.program()),
        ("commit", stamp.commit.clone()),
        ("suite", stamp.suite.path.clone()),
        ("suite_sha256", stamp.suite.hash.clone()),
        ("host", stamp.host_class()),
    ];
    let facts = facts.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value));
    let records = run.records.iter().filter(|record| record.cell.cell.bench == bench && record.cell.failure.is_none());
    let values = records.flat_map(|record| {
        record.cell.observations.iter().zip(&record.estimates).filter_map(|(seen, estimate)| {
            let estimate = finite(seen, estimate.as_ref()).ok()?;
            Some((format!("{}.{}", record.cell.id, seen.metric), estimate.value.to_string()))
        })
    });
    facts.chain(values).collect()
}

fn write_case(xml: &mut Xml, case: &Case) -> io::Result<()> {
    let element = xml
        .create_element("testcase")
        .with_attribute(("name", attribute(&case.name).as_str()))
        .with_attribute(("classname", attribute(&case.class).as_str()))
        .with_attribute(("time", seconds(case.seconds).as_str()));
    element.write_inner_content(|xml| {
        let mut fault = |kind: &str, class: &str, message: &str| {
            let element = xml.create_element(kind).with_attribute(("type", attribute(class).as_str()));
            let element = element.with_attribute(("message", attribute(message).as_str()));
            element.write_text_content(BytesText::new(&clean(message))).map(|_| ())
        };
        match case.outcome {
            Outcome::Passed => {}
            Outcome::Error(failure) => fault("error", &failure.stage, &failure.reason)?,
            Outcome::Failure(detail) => fault("failure", "expectation", detail)?,
            Outcome::Skipped(detail) => {
                xml.create_element("skipped").write_text_content(BytesText::new(&clean(detail)))?;
            }
        }
        if !case.out.is_empty() {
            xml.create_element("system-out").write_text_content(BytesText::new(&clean(&case.out)))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn seconds(value: f64) -> String {
    if value.is_finite() && value >= 0.0 { format!("{value:.6}") } else { "0".to_owned() }
}

/// Text for an attribute: as [`clean`], on one line, since a reader folds line feeds anyway.
fn attribute(text: &str) -> String {
    clean(text).replace(['\n', '\t', '\r'], " ")
}

/// Text with everything that XML 1.0 has no place for replaced.
fn clean(text: &str) -> String {
    let allowed = |sign: char| matches!(sign, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}');
    text.chars().map(|sign| if allowed(sign) { sign } else { '\u{FFFD}' }).collect()
}
