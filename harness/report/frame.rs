//! What stands around the plots: title, caption of the values, legend, notes, and where the panels go.

use harness_core::Direction;
use harness_core::chart::{Chart, ChartAxis, ChartKind};
use plotters_backend::DrawingBackend;

use crate::canvas::{Align, Canvas, DrawError};
use crate::letters::{self, Weight};
use crate::number::Scale;
use crate::palette::{INK, Look, MUTED, PAPER, look};
use crate::place::Area;

pub const TEXT: f64 = 11.5;
pub const SMALL: f64 = 10.5;
pub const TITLE: f64 = 15.0;
pub const EDGE: f64 = 16.0;

/// One item of the legend.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    Series(String, Look),
    Reference(String),
    Failed(usize),
}

impl Key {
    pub fn text(&self) -> String {
        match self {
            Self::Series(name, _) => name.clone(),
            Self::Reference(label) => label.clone(),
            Self::Failed(count) => format!("failed ({count})"),
        }
    }
}

/// Width of the sample before the text of a legend item, and the space behind the text.
const SAMPLE: f64 = 30.0;
const GAP: f64 = 18.0;

/// The layout of a chart.
pub struct Frame {
    pub width: f64,
    pub height: f64,
    /// Legend rows; empty when labels stand at the lines.
    pub legend: Vec<Vec<Key>>,
    /// Room for each panel with its axes.
    pub panels: Vec<Area>,
    pub caption: String,
    kind: ChartKind,
    note: Vec<String>,
    title: Vec<String>,
}

/// The words of an axis: label, unit, and which way is good.
pub fn axis_text(axis: &ChartAxis, scale: &Scale) -> String {
    let mut text = axis.label.clone();
    let unit = if scale.unit.is_empty() { String::new() } else { scale.unit.clone() };
    let scaled = if axis.log { "log scale" } else { "" };
    let inside: Vec<&str> = [unit.as_str(), scaled].into_iter().filter(|part| !part.is_empty()).collect();
    if !inside.is_empty() {
        text = format!("{text} ({})", inside.join(", "));
    }
    match axis.direction {
        Direction::Higher => text + ", higher is better",
        Direction::Lower => text + ", lower is better",
        Direction::Neutral => text,
    }
}

/// The items of the legend in order.
pub fn keys(chart: &Chart) -> Vec<Key> {
    let names = chart.series_names();
    let mut keys: Vec<Key> = Vec::new();
    if names.len() > 1 || names.first().is_some_and(|name| !name.is_empty() && chart.kind != ChartKind::Bar) {
        keys.extend(names.iter().enumerate().map(|(index, name)| Key::Series((*name).to_owned(), look(index))));
    }
    for reference in chart.facets.iter().flat_map(|facet| &facet.references) {
        let key = Key::Reference(reference.label.clone());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if chart.failed() > 0 {
        keys.push(Key::Failed(chart.failed()));
    }
    keys
}

impl Frame {
    /// Lays a chart out. `panel_height` is the height of one panel with its axes.
    pub fn new(chart: &Chart, direct: bool, panel_height: impl Fn(f64) -> f64, caption: String) -> Self {
        let count = chart.facets.len();
        let columns = match count {
            0 | 1 => 1,
            2 | 4 => 2,
            _ => 3,
        };
        let columns = if chart.kind == ChartKind::Bar { columns.min(2) } else { columns };
        let width = if columns == 3 { 960.0 } else { 760.0 };
        let inner = width - 2.0 * EDGE;
        let title = letters::wrap(&chart.title, TITLE, Weight::Bold, inner);
        let legend = if direct { Vec::new() } else { rows(keys(chart), inner) };
        let mut y = EDGE + 20.0 * title.len() as f64 + if caption.is_empty() { 0.0 } else { 18.0 };
        y += 20.0 * legend.len() as f64 + 8.0;
        let gap = 22.0;
        let panel_width = (inner - gap * (columns as f64 - 1.0)) / columns as f64;
        let height = panel_height(panel_width);
        let panels = (0..count.max(1)).map(|index| {
            let (row, column) = ((index / columns) as f64, (index % columns) as f64);
            let left = EDGE + column * (panel_width + gap);
            let top = y + row * (height + gap * 0.6);
            Area { left, top, right: left + panel_width, bottom: top + height }
        });
        let panels: Vec<Area> = panels.collect();
        let bottom = panels.iter().map(|panel| panel.bottom).fold(0.0, f64::max);
        let note =
            chart.note.as_deref().map_or_else(Vec::new, |note| letters::wrap(note, SMALL, Weight::Regular, inner));
        let height = bottom + 10.0 + 15.0 * note.len() as f64 + EDGE * 0.5;
        Self { width, height: height.ceil(), legend, panels, caption, kind: chart.kind, note, title }
    }

    /// Draws everything but the panels.
    pub fn draw<B: DrawingBackend>(&self, canvas: &mut Canvas<B>) -> Result<(), DrawError> {
        canvas.rectangle((0.0, 0.0), (self.width, self.height), PAPER, 1.0)?;
        let mut y = EDGE + 6.0;
        for line in &self.title {
            canvas.text(line, (EDGE, y), Align::Left, TITLE, Weight::Bold, INK)?;
            y += 20.0;
        }
        if !self.caption.is_empty() {
            canvas.text(&self.caption, (EDGE, y), Align::Left, TEXT, Weight::Regular, MUTED)?;
            y += 18.0;
        }
        y += 4.0;
        for row in &self.legend {
            let mut x = EDGE;
            for key in row {
                sample(canvas, self.kind, key, (x, y))?;
                let text = key.text();
                canvas.text(&text, (x + SAMPLE, y), Align::Left, TEXT, Weight::Regular, INK)?;
                x += SAMPLE + letters::width(&text, TEXT, Weight::Regular) + GAP;
            }
            y += 20.0;
        }
        let mut y = self.panels.iter().map(|panel| panel.bottom).fold(0.0, f64::max) + 16.0;
        for line in &self.note {
            canvas.text(line, (EDGE, y), Align::Left, SMALL, Weight::Regular, MUTED)?;
            y += 15.0;
        }
        Ok(())
    }
}

fn rows(keys: Vec<Key>, room: f64) -> Vec<Vec<Key>> {
    let mut rows: Vec<Vec<Key>> = Vec::new();
    let mut used = 0.0;
    for key in keys {
        let key = match key {
            Key::Series(name, look) => Key::Series(letters::fit(&name, TEXT, Weight::Regular, room - SAMPLE), look),
            other => other,
        };
        let width = SAMPLE + letters::width(&key.text(), TEXT, Weight::Regular) + GAP;
        match rows.last_mut() {
            Some(row) if used + width <= room + GAP => {
                row.push(key);
                used += width;
            }
            _ => {
                rows.push(vec![key]);
                used = width;
            }
        }
    }
    rows
}

fn sample<B: DrawingBackend>(
    canvas: &mut Canvas<B>,
    kind: ChartKind,
    key: &Key,
    (x, y): (f64, f64),
) -> Result<(), DrawError> {
    match key {
        Key::Series(_, look) if kind == ChartKind::Bar => {
            canvas.rectangle((x + 6.0, y - 5.0), (x + 23.0, y + 5.0), look.colour, 1.0)
        }
        Key::Series(_, look) if kind == ChartKind::Scatter => canvas.mark((x + 15.0, y), *look, PAPER),
        Key::Series(_, look) => {
            canvas.dashed(&[(x, y), (x + 23.0, y)], look.dash, look.colour, 1.8)?;
            canvas.mark((x + 11.5, y), *look, PAPER)
        }
        Key::Reference(_) => canvas.dashed(&[(x, y), (x + 23.0, y)], REFERENCE, MUTED, 1.2),
        Key::Failed(_) => canvas.cross((x + 11.5, y), MUTED),
    }
}

/// Dashes of reference lines.
pub const REFERENCE: &[f64] = &[3.0, 3.0];
