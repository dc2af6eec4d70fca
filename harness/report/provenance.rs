//! Where a drawing came from, as it is written into its file.

use harness_core::Stamp;
use harness_core::chart::Chart;
use serde::Serialize;

/// What a file of a chart says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// Id of the figure.
    pub figure: String,
    /// Its title.
    pub title: String,
    /// Name of the run.
    pub run: String,
    /// The program that measured, with its version.
    pub program: String,
    /// Commit of that program.
    pub commit: String,
    /// Path of the suite.
    pub suite: String,
    /// SHA-256 of the suite.
    pub suite_hash: String,
    /// Ids of the cells shown.
    pub cells: Vec<String>,
}

impl Provenance {
    /// That of a chart of a run.
    pub fn of(chart: &Chart, run: &str, stamp: &Stamp) -> Self {
        Self {
            figure: chart.id.clone(),
            title: chart.title.clone(),
            run: run.to_owned(),
            program: stamp.program(),
            commit: stamp.commit.clone(),
            suite: stamp.suite.path.clone(),
            suite_hash: stamp.suite.hash.clone(),
            cells: chart.cells.clone(),
        }
    }

    /// As JSON on one line; text that cannot be written, which there is none of, would leave it empty.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Names and values of everything but the title.
    pub fn pairs(&self) -> [(&'static str, String); 7] {
        [
            ("Figure", self.figure.clone()),
            ("Run", self.run.clone()),
            ("Program", self.program.clone()),
            ("Commit", self.commit.clone()),
            ("Suite", self.suite.clone()),
            ("SuiteHash", self.suite_hash.clone()),
            ("Cells", self.cells.join(" ")),
        ]
    }
}
