//! The trend of a suite over its nights, as values: what the trend page shows, without how it is drawn.

use serde::{Deserialize, Serialize};

use crate::gate::Judgement;
use crate::metric::Direction;
use crate::statistics::change_point::ChangePoint;
use crate::verdict::Verdict;

/// One night.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NightLabel {
    /// Name of the run.
    pub run: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// Commit it was built from; empty when not known.
    pub commit: String,
    /// Whether the work tree held other changes.
    pub dirty: bool,
}

impl NightLabel {
    /// The commit as printed: seven digits, `+` behind it where the tree held other changes, `?` where it is not known.
    pub fn short_commit(&self) -> String {
        let commit = self.commit.get(..7).unwrap_or(&self.commit);
        let commit = if commit.is_empty() { "?" } else { commit };
        if self.dirty { format!("{commit}+") } else { commit.to_owned() }
    }
}

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrendPoint {
    /// Position of the night.
    pub night: usize,
    /// The value.
    pub value: f64,
}

/// One metric of one cell over the nights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrendSeries {
    /// The cell as printed.
    pub cell: String,
    /// Metric id.
    pub metric: String,
    /// Unit of the values.
    pub unit: String,
    /// Which way is good.
    pub direction: Direction,
    /// Values in order of the nights; nights without one are left out.
    pub points: Vec<TrendPoint>,
    /// Nights that begin a stretch measured in another way than the one before (protocol or metric version).
    pub breaks: Vec<usize>,
    /// Changes of level; `at` is a position in the nights.
    pub changes: Vec<ChangePoint>,
    /// What the gate says tonight; `None` where the metric is not judged.
    pub judgement: Option<Judgement>,
}

/// A suite over its nights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Name of the suite.
    pub title: String,
    /// The machine class all nights ran on.
    pub class: String,
    /// The nights in order of arrival; the last is tonight.
    pub nights: Vec<NightLabel>,
    /// The series: worse ones first.
    pub series: Vec<TrendSeries>,
    /// Cells that failed tonight, with their reasons.
    pub failed: Vec<(String, String)>,
    /// What tonight is compared with.
    pub reference: String,
    /// The outcome in sentences.
    pub summary: Vec<String>,
    /// What the reader should know of the history: gaps, duplicates, clocks.
    pub notes: Vec<String>,
}

impl Trend {
    /// Series with a verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &TrendSeries> {
        self.series
            .iter()
            .filter(move |series| series.judgement.as_ref().is_some_and(|judged| judged.verdict == verdict))
    }

    /// How many series have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.with(verdict).count()
    }

    /// `a1b2c3d..e4f5a6b`: the last commit before a night and the first at it.
    pub fn commits(&self, at: usize) -> String {
        let label = |night: Option<&NightLabel>| night.map_or_else(|| "?".to_owned(), NightLabel::short_commit);
        let before = at.checked_sub(1).and_then(|before| self.nights.get(before));
        format!("{}..{}", label(before), label(self.nights.get(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_lies_between_two_commits() {
        let night = |commit: &str, dirty| NightLabel {
            run: "r".into(),
            started: "2026-01-02T03:04:05Z".into(),
            commit: commit.into(),
            dirty,
        };
        let trend = Trend {
            title: "nightly".into(),
            class: "Zen".into(),
            nights: vec![night("0123456789", false), night("abcdef0123", true), night("", false)],
            series: Vec::new(),
            failed: Vec::new(),
            reference: String::new(),
            summary: Vec::new(),
            notes: Vec::new(),
        };
        assert_eq!(trend.commits(1), "0123456..abcdef0+");
        assert_eq!(trend.commits(2), "abcdef0+..?");
        assert_eq!(trend.commits(0), "?..0123456");
    }
}
