//! Drawing in fractions of a pixel on any plotters backend.

use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, IntoFont, IntoTextStyle, RGBColor};
use plotters_backend::{BackendColor, BackendStyle, DrawingBackend};

use crate::letters::{self, Weight};
use crate::palette::{Colour, Look, Mark};

/// A drawing fault; none is known to happen on a buffer in memory.
#[derive(Debug, thiserror::Error)]
#[error("the chart could not be drawn: {0}")]
pub struct DrawError(pub String);

/// Where text stands on its anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Centre,
    Right,
}

/// How text becomes marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lettering {
    /// Text stays text (SVG).
    Elements,
    /// Glyphs are drawn pixel by pixel.
    Pixels,
}

/// A backend whose pixels are `scale` to one of ours.
pub struct Canvas<B: DrawingBackend> {
    pub backend: B,
    scale: f64,
    lettering: Lettering,
}

struct Stroke {
    color: BackendColor,
    width: u32,
}

impl BackendStyle for Stroke {
    fn color(&self) -> BackendColor {
        self.color
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

fn colour((r, g, b): Colour, alpha: f64) -> BackendColor {
    BackendColor { alpha, rgb: (r, g, b) }
}

type Drawn = Result<(), DrawError>;

fn lift<E: std::fmt::Display>(result: Result<(), E>) -> Drawn {
    result.map_err(|error| DrawError(error.to_string()))
}

impl<B: DrawingBackend> Canvas<B> {
    pub fn new(backend: B, scale: f64, lettering: Lettering) -> Self {
        Self { backend, scale, lettering }
    }

    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, from: (f64, f64), to: (f64, f64), fill: Colour, alpha: f64) -> Drawn {
        let (from, to) = (self.at(from), self.at(to));
        lift(self.backend.draw_rect(from, to, &colour(fill, alpha), true))
    }

    /// A line through points.
    pub fn line(&mut self, points: &[(f64, f64)], ink: Colour, width: f64) -> Drawn {
        let mut path: Vec<(i32, i32)> = points.iter().map(|point| self.at(*point)).collect();
        path.dedup();
        if path.len() < 2 {
            return Ok(());
        }
        let stroke = Stroke { color: colour(ink, 1.0), width: (width * self.scale).round().max(2.0) as u32 };
        lift(self.backend.draw_path(path, &stroke))
    }

    /// A line of strokes and gaps; whole when `dash` is empty.
    pub fn dashed(&mut self, points: &[(f64, f64)], dash: &[f64], ink: Colour, width: f64) -> Drawn {
        if dash.is_empty() {
            return self.line(points, ink, width);
        }
        let (mut part, mut left, mut stroke) = (0, dash[0], vec![]);
        for pair in points.windows(2) {
            let ((mut x, mut y), end) = (pair[0], pair[1]);
            loop {
                let length = f64::hypot(end.0 - x, end.1 - y);
                if stroke.is_empty() {
                    stroke.push((x, y));
                }
                if length <= left || !length.is_finite() {
                    left -= length;
                    stroke.push(end);
                    break;
                }
                (x, y) = (x + (end.0 - x) * left / length, y + (end.1 - y) * left / length);
                stroke.push((x, y));
                if part % 2 == 0 {
                    self.line(&stroke, ink, width)?;
                }
                stroke.clear();
                part = (part + 1) % dash.len().next_multiple_of(2).max(2);
                left = dash[part % dash.len()];
            }
        }
        if part % 2 == 0 { self.line(&stroke, ink, width) } else { Ok(()) }
    }

    /// A filled shape.
    pub fn polygon(&mut self, points: &[(f64, f64)], fill: Colour, alpha: f64) -> Drawn {
        let path: Vec<(i32, i32)> = points.iter().map(|point| self.at(*point)).collect();
        lift(self.backend.fill_polygon(path, &colour(fill, alpha)))
    }

    fn circle(&mut self, at: (f64, f64), radius: f64, fill: Colour) -> Drawn {
        let (at, radius) = (self.at(at), (radius * self.scale).round() as u32);
        lift(self.backend.draw_circle(at, radius, &colour(fill, 1.0), true))
    }

    /// The mark of a series, on a rim of paper that lifts it off the lines below.
    pub fn mark(&mut self, (x, y): (f64, f64), look: Look, paper: Colour) -> Drawn {
        let shape = |points: &[(f64, f64)], size: f64| -> Vec<(f64, f64)> {
            points.iter().map(|(dx, dy)| (x + dx * size, y + dy * size)).collect()
        };
        let points: &[(f64, f64)] = match look.mark {
            Mark::Circle | Mark::Ring => {
                self.circle((x, y), 5.0, paper)?;
                self.circle((x, y), 3.8, look.colour)?;
                return if look.mark == Mark::Ring { self.circle((x, y), 2.0, paper) } else { Ok(()) };
            }
            Mark::Square => &[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
            Mark::Triangle => &[(0.0, -1.15), (1.05, 0.75), (-1.05, 0.75)],
            Mark::Down => &[(0.0, 1.15), (1.05, -0.75), (-1.05, -0.75)],
            Mark::Diamond => &[(0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)],
            Mark::Plus => {
                let bars = [[(-1.1, 0.0), (1.1, 0.0)], [(0.0, -1.1), (0.0, 1.1)]];
                for bar in bars {
                    self.line(&shape(&bar, 4.9), paper, 4.2)?;
                }
                return bars.iter().try_for_each(|bar| self.line(&shape(bar, 4.0), look.colour, 2.0));
            }
        };
        self.polygon(&shape(points, 5.4), paper, 1.0)?;
        self.polygon(&shape(points, 4.0), look.colour, 1.0)
    }

    /// The mark of a failed cell.
    pub fn cross(&mut self, (x, y): (f64, f64), ink: Colour) -> Drawn {
        let r = 3.4;
        self.line(&[(x - r, y - r), (x + r, y + r)], ink, 1.6)?;
        self.line(&[(x - r, y + r), (x + r, y - r)], ink, 1.6)
    }

    /// Text whose capitals are centred on `y`.
    pub fn text(
        &mut self,
        text: &str,
        (x, y): (f64, f64),
        align: Align,
        size: f64,
        weight: Weight,
        ink: Colour,
    ) -> Drawn {
        match self.lettering {
            Lettering::Elements => {
                let style = if weight == Weight::Bold { FontStyle::Bold } else { FontStyle::Normal };
                let ink = RGBColor(ink.0, ink.1, ink.2);
                let horizontal = match align {
                    Align::Left => HPos::Left,
                    Align::Centre => HPos::Center,
                    Align::Right => HPos::Right,
                };
                // The backend divides sizes by 1.24, and sets the base line half an x-height below the anchor.
                let font = ("Inter", size * 1.24 * self.scale).into_font().style(style);
                let style = font.into_text_style(&(1, 1)).pos(Pos::new(horizontal, VPos::Center)).color(&ink);
                let at = self.at((x, y + 0.09 * size));
                lift(self.backend.draw_text(text, &style, at))
            }
            Lettering::Pixels => {
                let share = match align {
                    Align::Left => 0.0,
                    Align::Centre => 0.5,
                    Align::Right => 1.0,
                };
                let start = x - share * letters::width(text, size, weight);
                let (left, base) = self.at((start, y + 0.364 * size));
                let (wide, high) = self.backend.get_size();
                let mut outcome = Ok(());
                letters::pixels(text, size * self.scale, weight, |dx, dy, cover| {
                    let (px, py) = (left + dx, base + dy);
                    if outcome.is_ok() && px >= 0 && py >= 0 && px < wide as i32 && py < high as i32 {
                        outcome = lift(self.backend.draw_pixel((px, py), colour(ink, cover.min(1.0))));
                    }
                });
                outcome
            }
        }
    }
}
