//! Charts and documents from result values: SVG and PNG by plotters with a bundled font, Markdown, and one
//! self-contained HTML page. Everything here is a pure function: the same values give the same bytes.

mod bars;
mod canvas;
mod document;
mod draw;
mod frame;
mod html;
mod letters;
mod markdown;
mod number;
mod palette;
mod place;
mod ticks;

pub use document::{Document, File, Outcome, ReportError, render};
pub use draw::{png, svg};
pub use markdown::{markdown, markdown_table};
pub use number::{Scale, entry_text, format_value, format_with_interval};

#[cfg(test)]
mod fixture;
#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
