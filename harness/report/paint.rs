//! A drawing on any plotters backend. This is the only place where shapes become calls of a backend, so that every
//! format shows the same.

use std::convert::Infallible;
use std::fmt::Display;

use plotters_backend::text_anchor::{HPos, Pos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, FontFamily, FontStyle, FontTransform,
};

use crate::draw::DrawError;
use crate::letters::{self, Weight};
use crate::palette::Colour;
use crate::scene::{Align, BASE, Scene, Shape, Spot, Turn};

/// The part of plotters' text sizes that is an em: its backends divide by this.
pub const EM: f64 = 1.24;
/// Fonts to take, the bundled one first.
pub const FAMILY: &str = "Inter, Helvetica Neue, Arial, sans-serif";

/// Which part of a drawing a backend shows, and how finely.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Pixels of the backend to a unit.
    pub scale: f64,
    /// What lies at its upper edge.
    pub top: f64,
    /// What lies at its lower edge.
    pub bottom: f64,
}

impl View {
    /// The whole drawing.
    pub fn whole(scene: &Scene, scale: f64) -> Self {
        Self { scale, top: 0.0, bottom: scene.height }
    }

    fn at(&self, (x, y): Spot) -> BackendCoord {
        ((x * self.scale).round() as i32, ((y - self.top) * self.scale).round() as i32)
    }

    fn length(&self, length: f64) -> u32 {
        (length * self.scale).round().max(1.0) as u32
    }

    fn shows(&self, shape: &Shape) -> bool {
        let (top, bottom) = shape.reach();
        top <= self.bottom && bottom >= self.top
    }
}

/// Draws all shapes that the view shows.
///
/// # Errors
/// Those of the backend.
pub fn paint<B: DrawingBackend>(scene: &Scene, view: View, backend: &mut B) -> Result<(), DrawError> {
    scene.shapes.iter().filter(|shape| view.shows(shape)).try_for_each(|shape| one(shape, view, backend))
}

/// An error of a backend as ours.
pub fn lift<T, E: Display>(result: Result<T, E>) -> Result<T, DrawError> {
    result.map_err(|error| DrawError(error.to_string()))
}

fn one<B: DrawingBackend>(shape: &Shape, view: View, backend: &mut B) -> Result<(), DrawError> {
    match shape {
        Shape::Line { points, ink, width, dash } => {
            let pen = Pen { colour: colour(*ink, 1.0), width: view.length(*width) };
            if dash.is_empty() {
                return line(points, view, &pen, backend);
            }
            strokes(points, dash).iter().try_for_each(|stroke| line(stroke, view, &pen, backend))
        }
        Shape::Polygon { points, fill, alpha } => {
            let fill = colour(*fill, *alpha);
            if let Some((from, to)) = rectangle(points) {
                return lift(backend.draw_rect(view.at(from), view.at(to), &fill, true));
            }
            let path: Vec<BackendCoord> = points.iter().map(|point| view.at(*point)).collect();
            lift(backend.fill_polygon(path, &fill))
        }
        Shape::Circle { centre, radius, fill, alpha } => {
            lift(backend.draw_circle(view.at(*centre), view.length(*radius), &colour(*fill, *alpha), true))
        }
        Shape::Text { text, at, align, size, weight, ink, turn } => {
            let style = Lettering {
                colour: colour(*ink, 1.0),
                em: (size * view.scale).round(),
                weight: *weight,
                align: *align,
                turn: *turn,
            };
            lift(backend.draw_text(text, &style, view.at(*at)))
        }
    }
}

fn line<B: DrawingBackend>(points: &[Spot], view: View, pen: &Pen, backend: &mut B) -> Result<(), DrawError> {
    let mut path: Vec<BackendCoord> = match points {
        // Long lines are cut to what is shown, which a bitmap would find pixel by pixel.
        [from, to] => cut(*from, *to, view).map(|end| view.at(end)).to_vec(),
        _ => points.iter().map(|point| view.at(*point)).collect(),
    };
    path.dedup();
    match path.as_slice() {
        [] | [_] => Ok(()),
        [from, to] => {
            // Backends draw thick lines as paths only.
            let ends = [*from, *to];
            lift(backend.draw_path(ends, pen))
        }
        [first, second, .., last] if first == last => {
            // A closed line begins amid a side, so that all of its corners are joined alike.
            let amid = (i32::midpoint(first.0, second.0), i32::midpoint(first.1, second.1));
            let round = std::iter::once(amid).chain(path[1..].iter().copied()).chain([amid]);
            lift(backend.draw_path(round, pen))
        }
        _ => lift(backend.draw_path(path.iter().copied(), pen)),
    }
}

/// The part of a line that lies in the view or just beside it.
fn cut(from: Spot, to: Spot, view: View) -> [Spot; 2] {
    const BESIDE: f64 = 20.0;
    let (low, high) = (view.top - BESIDE, view.bottom + BESIDE);
    let end = |(x, y): Spot, other: Spot| {
        let kept = y.clamp(low, high);
        if kept == y || (other.1 - y).abs() < f64::EPSILON {
            (x, y)
        } else {
            (x + (other.0 - x) * (kept - y) / (other.1 - y), kept)
        }
    };
    [end(from, to), end(to, from)]
}

/// The corners of a polygon that is an upright rectangle: the upper left and the lower right one.
fn rectangle(points: &[Spot]) -> Option<(Spot, Spot)> {
    let [a, b, c, d] = points else { return None };
    let upright = (a.1 == b.1 && b.0 == c.0 && c.1 == d.1 && d.0 == a.0)
        || (a.0 == b.0 && b.1 == c.1 && c.0 == d.0 && d.1 == a.1);
    upright.then(|| ((a.0.min(c.0), a.1.min(c.1)), (a.0.max(c.0), a.1.max(c.1))))
}

/// The strokes of a dashed line; backends know none.
fn strokes(points: &[Spot], dash: &[f64]) -> Vec<Vec<Spot>> {
    let mut found = Vec::new();
    let (mut part, mut left, mut stroke): (usize, f64, Vec<Spot>) = (0, dash[0], Vec::new());
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
            let whole = std::mem::take(&mut stroke);
            if part % 2 == 0 {
                found.push(whole);
            }
            part = (part + 1) % dash.len().next_multiple_of(2);
            left = dash[part % dash.len()];
        }
    }
    if part % 2 == 0 {
        found.push(stroke);
    }
    found
}

fn colour(rgb: Colour, alpha: f64) -> BackendColor {
    BackendColor { alpha, rgb }
}

struct Pen {
    colour: BackendColor,
    width: u32,
}

impl BackendStyle for Pen {
    fn color(&self) -> BackendColor {
        self.colour
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

/// How a backend is to write: in the bundled font, whose letters it gets pixel by pixel where it has none itself.
struct Lettering {
    colour: BackendColor,
    em: f64,
    weight: Weight,
    align: Align,
    turn: Turn,
}

impl BackendTextStyle for Lettering {
    type FontError = Infallible;

    fn color(&self) -> BackendColor {
        self.colour
    }

    fn size(&self) -> f64 {
        self.em * EM
    }

    fn transform(&self) -> FontTransform {
        match self.turn {
            Turn::Level => FontTransform::None,
            Turn::Upward => FontTransform::Rotate270,
        }
    }

    fn style(&self) -> FontStyle {
        if self.weight == Weight::Bold { FontStyle::Bold } else { FontStyle::Normal }
    }

    fn anchor(&self) -> Pos {
        let along = match self.align {
            Align::Left => HPos::Left,
            Align::Centre => HPos::Center,
            Align::Right => HPos::Right,
        };
        Pos::new(along, VPos::Center)
    }

    fn family(&self) -> FontFamily<'_> {
        FontFamily::Name(FAMILY)
    }

    /// The box around capitals, so that their middle is the anchor.
    fn layout_box(&self, text: &str) -> Result<(BackendCoord, BackendCoord), Infallible> {
        let width = letters::width(text, self.em, self.weight).round() as i32;
        Ok(((0, -(2.0 * BASE * self.em).round() as i32), (width, 0)))
    }

    fn draw<E, DrawFunc: FnMut(i32, i32, BackendColor) -> Result<(), E>>(
        &self,
        text: &str,
        (x, y): BackendCoord,
        mut draw: DrawFunc,
    ) -> Result<Result<(), E>, Infallible> {
        let mut outcome = Ok(());
        letters::pixels(text, self.em, self.weight, |dx, dy, cover| {
            if outcome.is_ok() {
                outcome = draw(x + dx, y + dy, BackendColor { alpha: cover * self.colour.alpha, ..self.colour });
            }
        });
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_round_corners_and_end_where_the_line_ends() {
        let found = strokes(&[(0.0, 0.0), (5.0, 0.0), (5.0, 6.0)], &[3.0, 1.0]);
        let wanted: Vec<Vec<Spot>> =
            vec![vec![(0.0, 0.0), (3.0, 0.0)], vec![(4.0, 0.0), (5.0, 0.0), (5.0, 2.0)], vec![(5.0, 3.0), (5.0, 6.0)]];
        assert_eq!(found, wanted);
        // An odd count of lengths goes round twice, as in SVG.
        let found = strokes(&[(0.0, 0.0), (6.0, 0.0)], &[1.0]);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn only_upright_rectangles_are_rectangles() {
        assert_eq!(rectangle(&[(3.0, 4.0), (1.0, 4.0), (1.0, 2.0), (3.0, 2.0)]), Some(((1.0, 2.0), (3.0, 4.0))));
        assert_eq!(rectangle(&[(3.0, 4.0), (1.0, 4.0), (1.0, 2.0), (3.0, 2.5)]), None);
        assert_eq!(rectangle(&[(3.0, 4.0), (1.0, 4.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn lines_are_cut_to_the_view() {
        let view = View { scale: 1.0, top: 100.0, bottom: 200.0 };
        assert_eq!(cut((0.0, 0.0), (300.0, 300.0), view), [(80.0, 80.0), (220.0, 220.0)]);
        assert_eq!(cut((5.0, 150.0), (9.0, 150.0), view), [(5.0, 150.0), (9.0, 150.0)]);
    }
}
