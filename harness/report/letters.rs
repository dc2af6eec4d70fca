//! Widths and pixels of text in the bundled font (Inter, SIL Open Font Licence; see `fonts/`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, GlyphId, PxScale};

/// Weight of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Weight {
    Regular,
    Bold,
}

impl Weight {
    /// The file of the font.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Regular => include_bytes!("fonts/Inter-Regular.ttf"),
            Self::Bold => include_bytes!("fonts/Inter-SemiBold.ttf"),
        }
    }

    /// As style sheets count it.
    pub fn number(self) -> u32 {
        if self == Self::Bold { 600 } else { 400 }
    }
}

fn font(weight: Weight) -> Option<&'static FontRef<'static>> {
    static REGULAR: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    static BOLD: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    let cell = if weight == Weight::Bold { &BOLD } else { &REGULAR };
    cell.get_or_init(|| FontRef::try_from_slice(weight.bytes()).ok()).as_ref()
}

/// A letter of a set text: its number in the font, and its place and width in sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letter {
    pub sign: char,
    pub glyph: u16,
    pub x: f64,
    pub advance: f64,
}

/// The letters of a text one after the other. The font is used without kerning, so that every format gives the same
/// line.
pub fn set(text: &str, weight: Weight) -> Vec<Letter> {
    let Some(font) = font(weight) else { return Vec::new() };
    let units = f64::from(font.units_per_em().unwrap_or(1000.0));
    let mut x = 0.0;
    text.chars()
        .map(|sign| {
            let id = font.glyph_id(sign);
            let advance = f64::from(font.h_advance_unscaled(id)) / units;
            let letter = Letter { sign, glyph: id.0, x, advance };
            x += advance;
            letter
        })
        .collect()
}

/// Width of a text of `size`.
pub fn width(text: &str, size: f64, weight: Weight) -> f64 {
    set(text, weight).last().map_or(0.0, |last| (last.x + last.advance) * size)
}

/// The pixels of a glyph around its place on the base line, row by row, and how far each is covered.
struct Cover {
    left: i32,
    top: i32,
    width: usize,
    shares: Vec<f32>,
}

impl Cover {
    fn of(font: &FontRef, glyph: u16, size: f64) -> Self {
        // The crate counts from the lowest to the highest letter, and we count an em.
        let scale = PxScale::from(size as f32 * font.height_unscaled() / font.units_per_em().unwrap_or(1000.0));
        let Some(outline) = font.outline_glyph(GlyphId(glyph).with_scale(scale)) else {
            return Self { left: 0, top: 0, width: 1, shares: Vec::new() };
        };
        let bounds = outline.px_bounds();
        let width = (bounds.width().ceil() as usize).max(1);
        let mut shares = vec![0.0; width * bounds.height().ceil() as usize];
        outline.draw(|x, y, cover| {
            if let Some(share) = shares.get_mut(y as usize * width + x as usize) {
                *share = cover.clamp(0.0, 1.0);
            }
        });
        Self { left: bounds.min.x as i32, top: bounds.min.y as i32, width, shares }
    }
}

/// Glyphs kept for the next text; digits come again and again.
const KEPT: usize = 2000;

/// Calls `draw` with every pixel that a text of `size` covers, relative to the start of its base line, and how far it is
/// covered, at most 1. Letters stand at whole pixels.
pub fn pixels(text: &str, size: f64, weight: Weight, mut draw: impl FnMut(i32, i32, f64)) {
    thread_local! {
        static COVERS: RefCell<HashMap<(u16, Weight, u64), Cover>> = RefCell::new(HashMap::new());
    }
    let Some(font) = font(weight) else { return };
    COVERS.with_borrow_mut(|covers| {
        if covers.len() > KEPT {
            covers.clear();
        }
        for letter in set(text, weight) {
            let key = (letter.glyph, weight, size.to_bits());
            let cover = covers.entry(key).or_insert_with(|| Cover::of(font, letter.glyph, size));
            let left = cover.left + (letter.x * size).round() as i32;
            for (row, y) in cover.shares.chunks(cover.width).zip(cover.top..) {
                for (share, x) in row.iter().zip(left..).filter(|(share, _)| **share > 0.0) {
                    draw(x, y, f64::from(*share));
                }
            }
        }
    });
}

/// Height above and depth below the base line, in thousandths of a size.
pub fn reach(weight: Weight) -> (f64, f64) {
    let Some(font) = font(weight) else { return (800.0, -200.0) };
    let units = f64::from(font.units_per_em().unwrap_or(1000.0));
    let thousandths = |value: f32| f64::from(value) / units * 1000.0;
    (thousandths(font.ascent_unscaled()), thousandths(font.descent_unscaled()))
}

/// The text cut to a width, with an ellipsis where something is missing.
pub fn fit(text: &str, size: f64, weight: Weight, room: f64) -> String {
    let letters = set(text, weight);
    if letters.last().is_none_or(|last| (last.x + last.advance) * size <= room) {
        return text.to_owned();
    }
    let dots = width("…", size, weight);
    let fitting = letters.iter().take_while(|letter| (letter.x + letter.advance) * size + dots <= room).count();
    let kept: String = letters[..fitting].iter().map(|letter| letter.sign).collect();
    kept.trim_end().to_owned() + "…"
}

/// The text broken at spaces into lines of at most a width.
pub fn wrap(text: &str, size: f64, weight: Weight, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size, weight) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(fit(word, size, weight, room)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_a_width_and_is_cut_to_fit() {
        assert!((width("ppl", 12.0, Weight::Regular) - 19.0).abs() < 3.0);
        assert!(width("wanda", 12.0, Weight::Bold) > width("wanda", 12.0, Weight::Regular));
        let cut = fit("magnitude(sparsity=0.5)", 12.0, Weight::Regular, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0, Weight::Regular) <= 60.0);
        assert_eq!(wrap("one two three", 12.0, Weight::Regular, 50.0), ["one two", "three"]);
    }

    #[test]
    fn pixels_lie_on_the_base_line_and_within_the_width() {
        for (text, size) in [("H", 100.0), ("ppl", 40.0)] {
            let (mut left, mut right, mut top, mut bottom, mut area) = (i32::MAX, i32::MIN, i32::MAX, i32::MIN, 0.0);
            pixels(text, size, Weight::Regular, |x, y, cover| {
                if cover > 0.5 {
                    (left, right, top, bottom) = (left.min(x), right.max(x), top.min(y), bottom.max(y));
                }
                area += cover;
            });
            assert!(left >= 0 && f64::from(right) <= width(text, size, Weight::Regular), "{text}");
            if text == "H" {
                // Inter's capitals are 0.727 of its size, and stand on the base line.
                assert!((top + 73).abs() <= 1 && bottom == -1, "{top} {bottom}");
            }
            assert!(area > 0.1 * size * size);
        }
    }
}
