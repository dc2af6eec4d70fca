//! Charts and documents from result values: every chart as SVG, PNG and PDF, drawn by plotters with a bundled font, and
//! for LaTeX, in the styles it is wanted in; tables as Markdown, HTML, CSV and LaTeX, and one self-contained HTML page
//! with its Markdown twin. Everything here is a pure function: the same values give the same bytes.

mod axes;
mod bars;
mod bitmap;
mod cell;
mod csv;
mod document;
mod draw;
mod figures;
mod fit;
mod frame;
mod heat;
mod histogram;
mod html;
mod latex;
mod letters;
mod line;
mod markdown;
mod number;
mod paint;
mod palette;
mod pdf;
mod pgfplots;
mod place;
mod provenance;
mod rows;
mod scaling;
mod scatter;
mod scene;
mod spread;
mod style;
mod subset;
mod svg;
mod ticks;
mod trend;

pub use cell::{CellArm, CellNumber, CellPage};
pub use csv::csv;
pub use document::{Document, Failed, File, MetricNote, Outcome, ReportError, Warning, render};
pub use draw::{DrawError, Drawn};
pub use figures::{chart_files, chart_paths};
pub use latex::latex;
pub use markdown::{markdown, markdown_table};
pub use number::{Scale, entry_text, format_value, format_with_interval};
pub use provenance::Provenance;
pub use trend::render_trend;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod fixture_charts;
#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
