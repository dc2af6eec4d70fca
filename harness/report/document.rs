//! A report as a value, and the files it becomes.

use harness_core::chart::{Chart, Table};
use harness_core::stamp::Stamp;
use serde::{Deserialize, Serialize};

use crate::cell::CellPage;
use crate::draw::DrawError;
use crate::{csv, figures, html, latex, markdown};

/// What became of an expectation of the suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The expectation as written.
    pub text: String,
    /// Whether it held; `None` when it could not be decided.
    pub held: Option<bool>,
    /// The numbers, or why it could not be decided.
    pub detail: String,
}

impl Outcome {
    /// The outcome in a word.
    pub fn word(&self) -> &'static str {
        match self.held {
            Some(true) => "held",
            Some(false) => "broken",
            None => "undecided",
        }
    }
}

/// What the reader should beware of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Warning {
    /// What is the matter.
    pub text: String,
    /// What to do about it; empty when it is said already.
    pub advice: String,
    /// How many cells it concerns; zero for all.
    pub cells: usize,
}

/// What a metric of the report is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricNote {
    /// Id, as in the headings.
    pub id: String,
    /// One line.
    pub about: String,
}

/// A failed cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Id of the cell.
    pub id: String,
    /// As printed.
    pub cell: String,
    /// The step and the reason.
    pub reason: String,
    /// The command that runs this cell alone.
    pub command: String,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Heading.
    pub title: String,
    /// What the suite asks.
    pub about: String,
    /// Name of the run.
    pub run: String,
    /// Where the run came from.
    pub stamp: Stamp,
    /// What came out, most important first.
    pub summary: Vec<String>,
    /// The best of each set of arms; stands before everything else.
    pub answers: Vec<Table>,
    /// What became of the suite's expectations.
    pub expectations: Vec<Outcome>,
    /// Tables that the suite declares, then one of all cells for each bench.
    pub tables: Vec<Table>,
    /// Charts. Their ids name files, so they must differ.
    pub charts: Vec<Chart>,
    /// Failed cells, each with its reason.
    pub failures: Vec<Failed>,
    /// What the reader should beware of.
    pub warnings: Vec<Warning>,
    /// What the metrics are.
    pub metrics: Vec<MetricNote>,
    /// All cells.
    pub cells: Vec<CellPage>,
}

impl Document {
    /// How many cells were measured and failed, and how many expectations held, in a sentence; and whether all is well.
    pub fn verdict(&self) -> (String, bool) {
        let (cells, failed) = (self.cells.len(), self.failures.len());
        let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let mut text = match failed {
            0 => format!("{} measured, none failed", plural(cells, "cell")),
            _ => format!("{failed} of {} failed", plural(cells, "cell")),
        };
        let count = |held| self.expectations.iter().filter(|outcome| outcome.held == held).count();
        let (held, broken, open) = (count(Some(true)), count(Some(false)), count(None));
        match (self.expectations.len(), broken, open) {
            (0, ..) => {}
            (1, 0, 0) => text.push_str("; the expectation held"),
            (all, 0, 0) => text.push_str(&format!("; all {all} expectations held")),
            (all, 0, open) => text.push_str(&format!("; {held} of {all} expectations held, {open} undecided")),
            (all, broken, _) => text.push_str(&format!("; {broken} of {} broken", plural(all, "expectation"))),
        }
        text.push('.');
        (text, failed == 0 && held == self.expectations.len())
    }
}

/// One file of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path inside the report's folder, with `/`.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Why a report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A chart.
    #[error("chart `{id}`: {source}")]
    Chart {
        /// Its id.
        id: String,
        /// Why.
        source: DrawError,
    },
    /// The page.
    #[error("the page could not be rendered: {0}")]
    Page(#[from] minijinja::Error),
}

/// All files of a report: `report.html` (complete in itself), `report.md`, the files of each chart (see
/// [`figures::chart_files`]), and `tables/ID.html`, `.md`, `.csv`, `.tex` for each table. The same document gives the same
/// bytes.
///
/// # Errors
/// [`ReportError`] names the chart that could not be drawn.
pub fn render(document: &Document) -> Result<Vec<File>, ReportError> {
    let pictures = figures::pictures(document)?;
    let texts = || (html::page(document, &pictures), markdown::markdown(document), table_files(document));
    let (charts, (page, twin, tables)) = rayon::join(|| figures::files(document), texts);
    let file = |path: &str, text: String| File { path: path.to_owned(), bytes: text.into_bytes() };
    let mut files = vec![file("report.html", page?), file("report.md", twin)];
    files.extend(charts?);
    files.extend(tables);
    Ok(files)
}

fn table_files(document: &Document) -> Vec<File> {
    let stamp = &document.stamp;
    let provenance = [
        format!("run {}, {}", document.run, stamp.program()),
        format!("suite {}, sha256 {}", stamp.suite.path, stamp.suite.hash),
    ];
    let forms = |table: usize| {
        let stem = stem(&document.tables[table].id);
        let table = &document.tables[table];
        [
            ("html", html::table_file(table)),
            ("md", markdown::markdown_table(table)),
            ("csv", csv::csv(table)),
            ("tex", latex::latex(table, &provenance)),
        ]
        .map(|(form, text)| File { path: format!("tables/{stem}.{form}"), bytes: text.into_bytes() })
    };
    (0..document.tables.len()).flat_map(forms).collect()
}

/// A file name from an id, whatever the id holds.
pub fn stem(id: &str) -> String {
    let safe = |sign: char| if sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_') { sign } else { '-' };
    let stem: String = id.chars().map(safe).collect();
    if stem.is_empty() { "chart".to_owned() } else { stem }
}

/// The environment as names and values, in the order reports show it.
pub fn environment(stamp: &Stamp) -> Vec<(&'static str, String)> {
    if let Some(source) = &stamp.source {
        let all = [
            ("program", stamp.program()),
            ("machine", stamp.host_class()),
            ("read from", source.path.clone()),
            ("hash", source.hash.clone()),
            ("started", stamp.started.clone()),
            ("command", stamp.command.join(" ")),
        ];
        return all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    }
    let gibibytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let build = format!("{}, rustc {}, {}", stamp.profile, stamp.rustc, stamp.target);
    let processor = format!("{}, {} cores, {} threads", stamp.cpu, stamp.cores, stamp.threads);
    let pairs = |map: Vec<String>| map.join(", ");
    let all = [
        ("program", stamp.program()),
        ("build", build.trim_end_matches([',', ' ']).to_owned()),
        ("processor", processor),
        ("features", stamp.features.join(" ")),
        ("device", stamp.device.clone()),
        ("memory", if stamp.memory == 0 { String::new() } else { gibibytes(stamp.memory) }),
        ("system", stamp.os.clone()),
        ("suite", stamp.suite.path.clone()),
        ("suite hash", stamp.suite.hash.clone()),
        ("seeds", pairs(stamp.seeds.iter().map(|(name, seed)| format!("{name} {seed}")).collect())),
        ("versions", pairs(stamp.versions.iter().map(|(name, version)| format!("{name} {version}")).collect())),
        (
            "inputs",
            pairs(
                stamp.inputs.iter().map(|(name, hash)| format!("{name} {}", hash.get(..12).unwrap_or(hash))).collect(),
            ),
        ),
        ("started", stamp.started.clone()),
        ("finished", stamp.finished.clone()),
        ("command", stamp.command.join(" ")),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}
