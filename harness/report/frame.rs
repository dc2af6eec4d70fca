//! What stands around the plots: title, caption of the values, legend, notes, and where the panels go.

use harness_core::Direction;
use harness_core::chart::{Chart, ChartAxis, ChartKind};

use crate::letters::{self, Weight};
use crate::number::Scale;
use crate::palette::{INK, Look, MUTED, PAPER, look};
use crate::place::Area;
use crate::scene::{Align, Scene};
use crate::style::Style;

/// One item of the legend.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    Series(String, Look),
    Reference(String),
    /// The line through the points that no other beats.
    Front,
    Failed(usize),
}

impl Key {
    pub fn text(&self) -> String {
        match self {
            Self::Series(name, _) => name.clone(),
            Self::Reference(label) => label.clone(),
            Self::Front => "Pareto front".to_owned(),
            Self::Failed(count) => format!("failed ({count})"),
        }
    }
}

/// Width of the sample before the text of a legend item, and the space behind the text.
const SAMPLE: f64 = 30.0;
const GAP: f64 = 18.0;

/// How a chart wants to be laid out.
pub struct Wish<'a> {
    /// Whether names stand at the lines, so that no legend is needed.
    pub direct: bool,
    /// The most panels side by side.
    pub columns: usize,
    /// Height of one panel of a width.
    pub height: &'a dyn Fn(f64) -> f64,
    /// What stands above the plots.
    pub caption: String,
    /// Height kept free between caption and plots.
    pub extra: f64,
}

/// The layout of a chart.
pub struct Frame {
    pub width: f64,
    pub height: f64,
    /// Legend rows; empty when labels stand at the lines.
    pub legend: Vec<Vec<Key>>,
    /// Room for each panel with its axes.
    pub panels: Vec<Area>,
    pub caption: String,
    /// Where the height that was kept free begins.
    pub extra: f64,
    pub style: Style,
    kind: ChartKind,
    note: Vec<String>,
    title: Vec<String>,
}

/// The words of an axis: label, unit, and which way is good.
pub fn axis_text(axis: &ChartAxis, scale: &Scale, log: bool) -> String {
    let mut text = axis.label.clone();
    // A label may say its unit already.
    let unit = if text.contains(&format!("({})", scale.unit)) { "" } else { scale.unit.as_str() };
    let scaled = if log { "log scale" } else { "" };
    let inside: Vec<&str> = [unit, scaled].into_iter().filter(|part| !part.is_empty()).collect();
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
    let several = names.len() > 1 || names.first().is_some_and(|name| !name.is_empty() && !chart.kind.lies());
    if several && chart.kind != ChartKind::Heat {
        let named = names.iter().enumerate().filter(|(_, name)| !name.is_empty());
        keys.extend(named.map(|(index, name)| Key::Series((*name).to_owned(), look(index))));
    }
    if chart.kind == ChartKind::Pareto {
        keys.push(Key::Front);
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
    /// Lays a chart out.
    pub fn new(chart: &Chart, style: Style, wish: &Wish) -> Self {
        let count = chart.facets.len().max(1);
        let (columns, width) = style.panels(chart, wish.columns);
        let inner = width - 2.0 * style.edge;
        let title =
            if style.titled { letters::wrap(&chart.title, style.title(), Weight::Bold, inner) } else { Vec::new() };
        let legend = if wish.direct { Vec::new() } else { rows(keys(chart), inner, &style) };
        let caption_height = if wish.caption.is_empty() { 0.0 } else { style.u(18.0) };
        let top = style.edge
            + style.u(20.0) * (title.len() + legend.len()) as f64
            + caption_height
            + style.u(8.0)
            + wish.extra;
        let note = chart.note.as_deref().filter(|_| style.titled);
        let note = note.map_or_else(Vec::new, |note| letters::wrap(note, style.small(), Weight::Regular, inner));
        let under = if note.is_empty() { 2.0 } else { 10.0 + 15.0 * note.len() as f64 };
        let below = style.u(under) + style.edge * 0.5;
        let gap = style.u(22.0);
        let panel_width = (inner - gap * (columns as f64 - 1.0)) / columns as f64;
        let between = gap * 0.6;
        let lines = count.div_ceil(columns) as f64;
        let mut panel_height = (wish.height)(panel_width);
        if let Some(height) = style.height {
            let room = (height - top - below - between * (lines - 1.0)) / lines;
            panel_height = if chart.kind.lies() || chart.kind == ChartKind::Heat {
                panel_height
            } else {
                room.max(style.u(110.0))
            };
        }
        let panels = (0..count).map(|index| {
            let (row, column) = ((index / columns) as f64, (index % columns) as f64);
            let left = style.edge + column * (panel_width + gap);
            let top = top + row * (panel_height + between);
            Area { left, top, right: left + panel_width, bottom: top + panel_height }
        });
        let panels: Vec<Area> = panels.collect();
        let bottom = panels.iter().map(|panel| panel.bottom).fold(0.0, f64::max);
        Self {
            width,
            height: (bottom + below).ceil().max(style.height.unwrap_or(0.0)),
            legend,
            panels,
            caption: wish.caption.clone(),
            extra: top - wish.extra - style.u(4.0),
            style,
            kind: chart.kind,
            note,
            title,
        }
    }

    /// A scene of the right size with everything but the panels in it.
    pub fn scene(&self) -> Scene {
        let style = &self.style;
        let mut scene = Scene::new(self.width, self.height, style.unit);
        scene.rectangle((0.0, 0.0), (self.width, self.height), PAPER, 1.0);
        let left = style.edge;
        let mut y = style.edge + style.u(6.0);
        for line in &self.title {
            scene.text(line, (left, y), Align::Left, style.title(), Weight::Bold, INK);
            y += style.u(20.0);
        }
        if !self.caption.is_empty() {
            let caption = letters::fit(&self.caption, style.text(), Weight::Regular, self.width - 2.0 * left);
            scene.text(&caption, (left, y), Align::Left, style.text(), Weight::Regular, MUTED);
            y += style.u(18.0);
        }
        y += style.u(4.0);
        for row in &self.legend {
            let mut x = left;
            for key in row {
                sample(&mut scene, self.kind, key, (x, y), style);
                let text = key.text();
                scene.text(&text, (x + style.u(SAMPLE), y), Align::Left, style.text(), Weight::Regular, INK);
                x += style.u(SAMPLE + GAP) + letters::width(&text, style.text(), Weight::Regular);
            }
            y += style.u(20.0);
        }
        let mut y = self.panels.iter().map(|panel| panel.bottom).fold(0.0, f64::max) + style.u(16.0);
        for line in &self.note {
            scene.text(line, (left, y), Align::Left, style.small(), Weight::Regular, MUTED);
            y += style.u(15.0);
        }
        scene
    }
}

fn rows(keys: Vec<Key>, room: f64, style: &Style) -> Vec<Vec<Key>> {
    let mut rows: Vec<Vec<Key>> = Vec::new();
    let mut used = 0.0;
    let sample = style.u(SAMPLE);
    let gap = style.u(GAP);
    for key in keys {
        let key = match key {
            Key::Series(name, look) => {
                Key::Series(letters::fit(&name, style.text(), Weight::Regular, room - sample), look)
            }
            other => other,
        };
        let width = sample + letters::width(&key.text(), style.text(), Weight::Regular) + gap;
        match rows.last_mut() {
            Some(row) if used + width <= room + gap => {
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

fn sample(scene: &mut Scene, kind: ChartKind, key: &Key, (x, y): (f64, f64), style: &Style) {
    let u = |length: f64| style.u(length);
    match key {
        Key::Series(_, look) if kind.lies() || kind == ChartKind::Histogram => {
            let (from, to) = ((x + u(6.0), y - u(5.0)), (x + u(23.0), y + u(5.0)));
            if kind == ChartKind::Bar {
                scene.rectangle(from, to, look.colour, 1.0);
                scene.hatch(from, to, look.hatch, PAPER);
            } else {
                scene.rectangle(from, to, look.colour, 0.28);
                scene.hatch(from, to, look.hatch, look.colour);
                scene.outline(from, to, look.colour, u(1.2));
            }
        }
        Key::Series(_, look) if matches!(kind, ChartKind::Scatter | ChartKind::Pareto) => {
            scene.mark((x + u(15.0), y), *look, PAPER);
        }
        Key::Series(_, look) => {
            scene.dashed(&[(x, y), (x + u(23.0), y)], look.dash, look.colour, u(1.8));
            scene.mark((x + u(11.5), y), *look, PAPER);
        }
        Key::Reference(_) => scene.dashed(&[(x, y), (x + u(23.0), y)], REFERENCE, MUTED, u(1.2)),
        Key::Front => scene.line(&[(x, y), (x + u(23.0), y)], MUTED, u(1.2)),
        Key::Failed(_) => scene.cross((x + u(11.5), y), MUTED),
    }
}

/// Dashes of reference lines.
pub const REFERENCE: &[f64] = &[3.0, 3.0];
