//! A drawing as a list of shapes, in the units of its style, from which every file format is written.

use crate::letters;
use crate::palette::{Colour, Hatch, INK, Look, Mark};

pub use crate::letters::Weight;

/// A place: right of the left edge, below the top.
pub type Spot = (f64, f64);

/// Where text stands on its anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Centre,
    Right,
}

/// How text lies around its anchor. Backends turn by quarters only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Level,
    /// From below to above.
    Upward,
}

/// One shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A line through points; `dash` holds lengths of strokes and gaps, none for a whole line.
    Line { points: Vec<Spot>, ink: Colour, width: f64, dash: Vec<f64> },
    /// A filled polygon.
    Polygon { points: Vec<Spot>, fill: Colour, alpha: f64 },
    /// A filled circle.
    Circle { centre: Spot, radius: f64, fill: Colour, alpha: f64 },
    /// Text whose capitals are centred on the anchor, turned around it.
    Text { text: String, at: Spot, align: Align, size: f64, weight: Weight, ink: Colour, turn: Turn },
}

impl Shape {
    /// The highest and the lowest place that it may touch.
    pub fn reach(&self) -> (f64, f64) {
        let around = |points: &[Spot], beside: f64| {
            let ends = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(top, bottom), point| {
                (top.min(point.1), bottom.max(point.1))
            });
            (ends.0 - beside, ends.1 + beside)
        };
        match self {
            // A sharp corner reaches out further than the line is wide.
            Self::Line { points, width, .. } => around(points, 4.0 * width),
            Self::Polygon { points, .. } => around(points, 0.0),
            Self::Circle { centre, radius, .. } => around(&[*centre], *radius),
            Self::Text { at, size, turn: Turn::Level, .. } => around(&[*at], 1.5 * size),
            Self::Text { text, at, size, weight, .. } => around(&[*at], letters::width(text, *size, *weight) + size),
        }
    }
}

/// How far the base line lies below the middle of the capitals, in sizes.
pub const BASE: f64 = 0.364;

/// A drawing.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    pub width: f64,
    pub height: f64,
    pub shapes: Vec<Shape>,
    /// Sizes of marks against those of the page.
    unit: f64,
}

impl Scene {
    pub fn new(width: f64, height: f64, unit: f64) -> Self {
        Self { width, height, shapes: Vec::new(), unit }
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, from: Spot, to: Spot, fill: Colour, alpha: f64) {
        self.polygon(&[from, (to.0, from.1), to, (from.0, to.1)], fill, alpha);
    }

    /// The outline of a rectangle.
    pub fn outline(&mut self, from: Spot, to: Spot, ink: Colour, width: f64) {
        self.line(&[from, (to.0, from.1), to, (from.0, to.1), from], ink, width);
    }

    /// A line through points.
    pub fn line(&mut self, points: &[Spot], ink: Colour, width: f64) {
        self.dashed(points, &[], ink, width);
    }

    /// A line of strokes and gaps, whose lengths are those of the page; whole when `dash` is empty.
    pub fn dashed(&mut self, points: &[Spot], dash: &[f64], ink: Colour, width: f64) {
        if points.len() > 1 {
            let dash = dash.iter().map(|length| length * self.unit).collect();
            self.shapes.push(Shape::Line { points: points.to_vec(), ink, width, dash });
        }
    }

    /// A filled shape.
    pub fn polygon(&mut self, points: &[Spot], fill: Colour, alpha: f64) {
        if points.len() > 2 {
            self.shapes.push(Shape::Polygon { points: points.to_vec(), fill, alpha });
        }
    }

    /// A filled circle.
    pub fn circle(&mut self, centre: Spot, radius: f64, fill: Colour, alpha: f64) {
        self.shapes.push(Shape::Circle { centre, radius, fill, alpha });
    }

    /// Strokes over a rectangle that tell its series in grey print.
    pub fn hatch(&mut self, from: Spot, to: Spot, hatch: Hatch, ink: Colour) {
        let (left, right) = (from.0.min(to.0), from.0.max(to.0));
        let (top, bottom) = (from.1.min(to.1), from.1.max(to.1));
        let step = 4.6 * self.unit;
        let width = 0.9 * self.unit;
        let height = bottom - top;
        let mut lean = |slope: f64| {
            // Lines x = start + slope · (y - top), cut to the rectangle.
            let (first, last) = if slope > 0.0 { (left - height, right) } else { (left, right + height) };
            let mut start = (first / step).floor() * step;
            while start <= last {
                let at = |y: f64| start + slope * (y - top);
                let y_at = |x: f64| top + (x - start) / slope;
                let ends = [(at(top), top), (at(bottom), bottom)].map(|(x, y)| {
                    let kept = x.clamp(left, right);
                    if (kept - x).abs() < 1e-9 { (x, y) } else { (kept, y_at(kept)) }
                });
                let inside = ends.iter().all(|(_, y)| (top - 1e-6..=bottom + 1e-6).contains(y));
                if inside && (ends[0].0 - ends[1].0).abs() > 0.3 * self.unit {
                    self.line(&ends, ink, width);
                }
                start += step;
            }
        };
        match hatch {
            Hatch::Plain => {}
            Hatch::Rising => lean(-1.0),
            Hatch::Falling => lean(1.0),
            Hatch::Crossed => {
                lean(-1.0);
                lean(1.0);
            }
            Hatch::Upright => {
                let mut x = (left / step).ceil() * step;
                while x < right {
                    self.line(&[(x, top), (x, bottom)], ink, width);
                    x += step;
                }
            }
        }
    }

    /// The mark of a series, on a rim of paper that lifts it off what lies below.
    pub fn mark(&mut self, (x, y): Spot, look: Look, paper: Colour) {
        let unit = self.unit;
        let shape = |points: &[Spot], size: f64| -> Vec<Spot> {
            points.iter().map(|(dx, dy)| (x + dx * size * unit, y + dy * size * unit)).collect()
        };
        let points: &[Spot] = match look.mark {
            Mark::Circle | Mark::Ring => {
                self.circle((x, y), 5.0 * unit, paper, 1.0);
                self.circle((x, y), 3.8 * unit, look.colour, 1.0);
                if look.mark == Mark::Ring {
                    self.circle((x, y), 2.0 * unit, paper, 1.0);
                }
                return;
            }
            Mark::Square => &[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
            Mark::Triangle => &[(0.0, -1.15), (1.05, 0.75), (-1.05, 0.75)],
            Mark::Down => &[(0.0, 1.15), (1.05, -0.75), (-1.05, -0.75)],
            Mark::Diamond => &[(0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)],
            Mark::Plus => {
                let bars = [[(-1.1, 0.0), (1.1, 0.0)], [(0.0, -1.1), (0.0, 1.1)]];
                for bar in &bars {
                    self.line(&shape(bar, 4.9), paper, 4.2 * unit);
                }
                for bar in &bars {
                    self.line(&shape(bar, 4.0), look.colour, 2.0 * unit);
                }
                return;
            }
        };
        self.polygon(&shape(points, 5.4), paper, 1.0);
        self.polygon(&shape(points, 4.0), look.colour, 1.0);
    }

    /// The mark of a failed cell.
    pub fn cross(&mut self, (x, y): Spot, ink: Colour) {
        let r = 3.4 * self.unit;
        self.line(&[(x - r, y - r), (x + r, y + r)], ink, 1.6 * self.unit);
        self.line(&[(x - r, y + r), (x + r, y - r)], ink, 1.6 * self.unit);
    }

    /// Text whose capitals are centred on `y`.
    pub fn text(&mut self, text: &str, at: Spot, align: Align, size: f64, weight: Weight, ink: Colour) {
        self.turned(text, at, align, size, weight, ink, Turn::Level);
    }

    /// Text turned around its anchor.
    pub fn turned(&mut self, text: &str, at: Spot, align: Align, size: f64, weight: Weight, ink: Colour, turn: Turn) {
        if !text.is_empty() {
            self.shapes.push(Shape::Text { text: text.to_owned(), at, align, size, weight, ink, turn });
        }
    }

    /// A line from a low to a high value with short caps across; `upright` lines stand.
    pub fn error_bar(&mut self, at: f64, (low, high): (f64, f64), upright: bool, ink: Option<Colour>, width: f64) {
        let unit = self.unit;
        if (low - high).abs() < unit {
            return;
        }
        let ink = ink.unwrap_or(INK);
        let turn = |along: f64, across: f64| if upright { (across, along) } else { (along, across) };
        self.line(&[turn(low, at), turn(high, at)], ink, width);
        for end in [low, high] {
            self.line(&[turn(end, at - 3.0 * unit), turn(end, at + 3.0 * unit)], ink, width);
        }
    }
}
