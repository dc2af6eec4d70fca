//! The files of charts.

use harness_core::chart::{Chart, StyleName};
use rayon::prelude::*;

use crate::document::{Document, File, ReportError, stem};
use crate::draw::{DrawError, Drawn};
use crate::pgfplots;
use crate::provenance::Provenance;
use crate::style::Style;
use crate::svg::{Used, faces};

/// Name of the fonts that the charts of a page share; its style sheet asks for it.
const SHARED: &str = "Inter of charts";

/// The charts of a document as its page shows them.
pub struct Pictures {
    /// SVG text of each chart.
    pub inside: Vec<String>,
    /// The fonts that all of these need, as style rules.
    pub fonts: String,
}

/// All charts of a document for its page, in order.
pub fn pictures(document: &Document) -> Result<Pictures, ReportError> {
    let drawn = document.charts.par_iter().map(|chart| {
        let page = Drawn::new(chart, StyleName::Web, Provenance::default());
        Ok((page.svg_inside().map_err(|source| failed(chart, source))?, page.used()))
    });
    let mut letters = Used::new();
    let mut inside = Vec::new();
    for (drawing, used) in drawn.collect::<Result<Vec<_>, ReportError>>()? {
        for (weight, glyphs) in used {
            letters.entry(weight).or_default().extend(glyphs);
        }
        inside.push(drawing);
    }
    Ok(Pictures { inside, fonts: faces(SHARED, &letters) })
}

/// The files of all charts of a document, in order.
pub fn files(document: &Document) -> Result<Vec<File>, ReportError> {
    let each = document
        .charts
        .par_iter()
        .map(|chart| chart_files(chart, &Provenance::of(chart, &document.run, &document.stamp)));
    Ok(each.collect::<Result<Vec<_>, ReportError>>()?.into_iter().flatten().collect())
}

fn failed(chart: &Chart, source: DrawError) -> ReportError {
    ReportError::Chart { id: chart.id.clone(), source }
}

/// Ends of the names of a chart's files in one style.
const ENDS: [&str; 5] = ["svg", "png", "pdf", "tex", "dat"];

/// Names of the files of a chart in one style, without their ends.
fn name(chart: &Chart, style: StyleName) -> String {
    match style {
        StyleName::Web => stem(&chart.id),
        other => format!("{}.{}", stem(&chart.id), other.word()),
    }
}

/// Paths of the files of a chart in one style: `figures/ID.svg`, `.png` (two pixels to one), `.pdf`, `.tex` and `.dat` in
/// that of the page, and `figures/ID.STYLE.…` in the others.
pub fn chart_paths(chart: &Chart, style: StyleName) -> [String; 5] {
    ENDS.map(|end| format!("figures/{}.{end}", name(chart, style)))
}

/// The files of a chart in the style of the page and in every other one that it is wanted in, see [`chart_paths`].
///
/// # Errors
/// [`ReportError::Chart`].
pub fn chart_files(chart: &Chart, provenance: &Provenance) -> Result<Vec<File>, ReportError> {
    let mut styles = vec![StyleName::Web];
    styles.extend(chart.styles.iter().filter(|style| **style != StyleName::Web));
    let mut files = Vec::new();
    for style in styles {
        let drawn = Drawn::new(chart, style, provenance.clone());
        let failed = |source| failed(chart, source);
        let (tex, data) = pgfplots::write(chart, Style::of(style), &name(chart, style), provenance);
        let contents = [
            drawn.svg().map_err(failed)?.into_bytes(),
            drawn.png().map_err(failed)?,
            drawn.pdf().map_err(failed)?,
            tex.into_bytes(),
            data.into_bytes(),
        ];
        files.extend(chart_paths(chart, style).into_iter().zip(contents).map(|(path, bytes)| File { path, bytes }));
    }
    Ok(files)
}
