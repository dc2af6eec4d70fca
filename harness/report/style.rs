//! Where a chart is to be seen: sizes, and what stands around the plot.

use harness_core::chart::{Chart, StyleName};

/// Sizes of a style. Lengths are in its own units: pixels of 1/96 inch, or points of 1/72 inch for paper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Style {
    pub name: StyleName,
    /// Units to an inch.
    pub per_inch: f64,
    /// Everything is this large against the page of the report.
    pub unit: f64,
    /// Width of a chart, and of one with three panels side by side.
    width: (f64, f64),
    /// The most panels side by side.
    pub columns: usize,
    /// Height that must be filled and not passed.
    pub height: Option<f64>,
    /// Whether title and notes belong to the drawing; a paper has captions of its own.
    pub titled: bool,
    /// Room at the edges.
    pub edge: f64,
}

impl Style {
    /// The style of a name.
    pub fn of(name: StyleName) -> Self {
        let web = Self {
            name,
            per_inch: 96.0,
            unit: 1.0,
            width: (760.0, 960.0),
            columns: 3,
            height: None,
            titled: true,
            edge: 16.0,
        };
        // Letters of 7.5 and 7 points, as journals ask for.
        let paper = Self { per_inch: 72.0, unit: 0.655, titled: false, edge: 2.0, ..web };
        match name {
            StyleName::Web => web,
            StyleName::Paper1Col => Self { width: (3.3 * 72.0, 3.3 * 72.0), columns: 1, ..paper },
            StyleName::Paper2Col => Self { width: (6.9 * 72.0, 6.9 * 72.0), ..paper },
            StyleName::Slides => {
                Self { unit: 1.6, width: (960.0, 960.0), columns: 2, height: Some(540.0), edge: 24.0, ..web }
            }
        }
    }

    /// Size of most text, of tick labels and notes, and of titles.
    pub fn text(&self) -> f64 {
        11.5 * self.unit
    }

    pub fn small(&self) -> f64 {
        10.5 * self.unit
    }

    pub fn title(&self) -> f64 {
        15.0 * self.unit
    }

    /// A length of the page in this style.
    pub fn u(&self, length: f64) -> f64 {
        length * self.unit
    }

    /// How many panels stand side by side, at most `most`, and the width of the chart.
    pub fn panels(&self, chart: &Chart, most: usize) -> (usize, f64) {
        let wanted = match chart.facets.len() {
            0 | 1 => 1,
            2 | 4 => 2,
            _ => 3,
        };
        let columns = wanted.min(most).min(self.columns).max(1);
        (columns, if columns == 3 { self.width.1 } else { self.width.0 })
    }
}
