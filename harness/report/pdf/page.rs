//! The page of a PDF file as a plotters backend: paths are vectors, and text is text of the bundled font.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use pdf_writer::types::LineJoinStyle;
use pdf_writer::{Content, Name, Str};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
};

use crate::letters::{self, Letter, Weight};
use crate::paint::EM;
use crate::scene::BASE;

/// How far a circle's control points lie from its corners.
const ROUND: f32 = 0.552_284_8;

/// What a backend has drawn on one page.
pub struct PdfPage {
    size: (u32, u32),
    content: Content,
    /// Opacities, in hundredths.
    alphas: BTreeSet<u8>,
    /// Letters of each font.
    letters: BTreeMap<Weight, BTreeMap<u16, Letter>>,
}

/// A finished page: drawing instructions, opacities and letters used.
pub struct Finished {
    pub content: Vec<u8>,
    pub alphas: BTreeSet<u8>,
    pub letters: BTreeMap<Weight, Vec<Letter>>,
}

type Done = Result<(), DrawingErrorKind<Infallible>>;

impl PdfPage {
    /// An empty page of steps to right and down, `points` of 1/72 inch to a step.
    pub fn new(size: (u32, u32), points: f64) -> Self {
        let mut content = Content::new();
        // PDF counts upwards from the lower edge; backends count down.
        let height = (f64::from(size.1) * points) as f32;
        content.transform([points as f32, 0.0, 0.0, -points as f32, 0.0, height]);
        content.set_line_join(LineJoinStyle::RoundJoin);
        Self { size, content, alphas: BTreeSet::new(), letters: BTreeMap::new() }
    }

    pub fn finish(self) -> Finished {
        let letters = self.letters.into_iter().map(|(weight, letters)| (weight, letters.into_values().collect()));
        Finished { content: self.content.finish().into_vec(), alphas: self.alphas, letters: letters.collect() }
    }

    fn fill(&mut self, colour: BackendColor) {
        self.opacity(colour.alpha);
        let (r, g, b) = share(colour);
        self.content.set_fill_rgb(r, g, b);
    }

    fn pen<S: BackendStyle>(&mut self, style: &S) {
        self.opacity(style.color().alpha);
        let (r, g, b) = share(style.color());
        self.content.set_stroke_rgb(r, g, b).set_line_width(style.stroke_width() as f32);
    }

    fn opacity(&mut self, alpha: f64) {
        let hundredths = (alpha * 100.0).round() as u8;
        self.alphas.insert(hundredths);
        self.content.set_parameters(Name(state_name(hundredths).as_bytes()));
    }

    fn trace(&mut self, points: impl IntoIterator<Item = BackendCoord>) {
        for (index, (x, y)) in points.into_iter().enumerate() {
            match index {
                0 => self.content.move_to(x as f32, y as f32),
                _ => self.content.line_to(x as f32, y as f32),
            };
        }
    }
}

impl DrawingBackend for PdfPage {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Done {
        Ok(())
    }

    fn present(&mut self) -> Done {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Done {
        self.fill(colour);
        self.content.rect(x as f32, y as f32, 1.0, 1.0).fill_nonzero();
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Done {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Done {
        let (width, height) = ((to.0 - from.0) as f32, (to.1 - from.1) as f32);
        if fill {
            self.fill(style.color());
            self.content.rect(from.0 as f32, from.1 as f32, width, height).fill_nonzero();
        } else {
            self.pen(style);
            self.content.rect(from.0 as f32, from.1 as f32, width, height).stroke();
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Done {
        self.pen(style);
        self.trace(path);
        self.content.stroke();
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, (x, y): BackendCoord, radius: u32, style: &S, fill: bool) -> Done {
        if fill {
            self.fill(style.color());
        } else {
            self.pen(style);
        }
        let (x, y, radius) = (x as f32, y as f32, radius as f32);
        let at = |(dx, dy): (f32, f32)| (x + dx * radius, y + dy * radius);
        self.content.move_to(x + radius, y);
        let corners: [[(f32, f32); 3]; 4] = [
            [(1.0, ROUND), (ROUND, 1.0), (0.0, 1.0)],
            [(-ROUND, 1.0), (-1.0, ROUND), (-1.0, 0.0)],
            [(-1.0, -ROUND), (-ROUND, -1.0), (0.0, -1.0)],
            [(ROUND, -1.0), (1.0, -ROUND), (1.0, 0.0)],
        ];
        for corner in corners {
            let [a, b, to] = corner.map(at);
            self.content.cubic_to(a.0, a.1, b.0, b.1, to.0, to.1);
        }
        self.content.close_path();
        if fill {
            self.content.fill_nonzero();
        } else {
            self.content.stroke();
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Done {
        self.fill(style.color());
        self.trace(path);
        self.content.close_path().fill_nonzero();
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Done {
        let size = style.size() / EM;
        let weight = if matches!(style.style(), FontStyle::Bold) { Weight::Bold } else { Weight::Regular };
        let set = letters::set(text, weight);
        let share_left = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => 0.5,
            HPos::Right => 1.0,
        };
        // Capitals are as high as twice the way from their middle to the base line.
        let below = match style.anchor().v_pos {
            VPos::Top => 2.0 * BASE,
            VPos::Center => BASE,
            VPos::Bottom => 0.0,
        };
        let (dx, dy) = (-share_left * letters::width(text, size, weight), below * size);
        // A turn takes the unit to the right where it takes any place; whole quarters have whole sines.
        let (cosine, sine) = style.transform().transform(1, 0);
        let (cosine, sine) = (f64::from(cosine), f64::from(sine));
        let (x, y) = (f64::from(x) + dx * cosine - dy * sine, f64::from(y) + dx * sine + dy * cosine);
        self.fill(style.color());
        self.content.begin_text().set_font(Name(font_name(weight).as_bytes()), size as f32);
        let (cosine, sine) = (cosine as f32, sine as f32);
        self.content.set_text_matrix([cosine, sine, sine, -cosine, x as f32, y as f32]);
        let codes: Vec<u8> = set.iter().flat_map(|letter| letter.glyph.to_be_bytes()).collect();
        self.content.show(Str(&codes)).end_text();
        self.letters.entry(weight).or_default().extend(set.into_iter().map(|letter| (letter.glyph, letter)));
        Ok(())
    }
}

/// Name of a font on the page.
pub fn font_name(weight: Weight) -> String {
    format!("F{}", weight.number())
}

/// Name of an opacity on the page.
pub fn state_name(alpha: u8) -> String {
    format!("A{alpha}")
}

fn share(colour: BackendColor) -> (f32, f32, f32) {
    let (r, g, b) = colour.rgb;
    (f32::from(r) / 255.0, f32::from(g) / 255.0, f32::from(b) / 255.0)
}
