//! Charts and documents from result values: SVG and PNG by plotters with a bundled font, tables as Markdown, HTML,
//! CSV and LaTeX, and one self-contained HTML page with its Markdown twin. Everything here is a pure function: the same values give the same bytes.

mod bars;
mod canvas;
mod cell;
mod csv;
mod document;
mod draw;
mod frame;
mod html;
mod latex;
mod letters;
mod markdown;
mod number;
mod palette;
mod place;
mod ticks;

pub use cell::{CellArm, CellNumber, CellPage};
pub use csv::csv;
pub use document::{Document, Failed, File, MetricNote, Outcome, ReportError, Warning, render};
pub use draw::{png, svg};
pub use latex::latex;
pub use markdown::{markdown, markdown_table};
pub use number::{Scale, entry_text, format_value, format_with_interval};

#[cfg(test)]
mod fixture;
#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
