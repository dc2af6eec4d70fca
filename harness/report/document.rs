//! A report as a value, and the files it becomes.

use harness_core::chart::{Chart, Table};
use harness_core::stamp::Stamp;
use serde::{Deserialize, Serialize};

use crate::canvas::DrawError;
use crate::{draw, html, markdown};

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
    /// What became of the suite's expectations.
    pub expectations: Vec<Outcome>,
    /// Tables; the main table first.
    pub tables: Vec<Table>,
    /// Charts. Their ids name files, so they must differ.
    pub charts: Vec<Chart>,
    /// Failed cells, each with its reason.
    pub failures: Vec<(String, String)>,
    /// What the reader should beware of.
    pub warnings: Vec<String>,
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

/// All files of a report: `report.html` (complete in itself), `report.md`, and `figures/ID.svg`, `figures/ID.png` for
/// each chart. The same document gives the same bytes.
///
/// # Errors
/// [`ReportError`] names the chart that could not be drawn.
pub fn render(document: &Document) -> Result<Vec<File>, ReportError> {
    let mut files = Vec::new();
    let mut drawings = Vec::new();
    for chart in &document.charts {
        let failed = |source| ReportError::Chart { id: chart.id.clone(), source };
        let svg = draw::svg(chart).map_err(failed)?;
        let stem = stem(&chart.id);
        files.push(File { path: format!("figures/{stem}.svg"), bytes: svg.clone().into_bytes() });
        files.push(File { path: format!("figures/{stem}.png"), bytes: draw::png(chart).map_err(failed)? });
        drawings.push(svg);
    }
    let page = html::page(document, &drawings)?;
    files.insert(0, File { path: "report.html".to_owned(), bytes: page.into_bytes() });
    files.insert(1, File { path: "report.md".to_owned(), bytes: markdown::markdown(document).into_bytes() });
    Ok(files)
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
