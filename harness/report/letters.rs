//! Widths and pixels of text in the bundled font (Inter, SIL Open Font Licence; see `fonts/`).

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

/// Weight of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Regular,
    Bold,
}

fn font(weight: Weight) -> Option<&'static FontRef<'static>> {
    static REGULAR: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    static BOLD: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    let (cell, bytes): (_, &'static [u8]) = match weight {
        Weight::Regular => (&REGULAR, include_bytes!("fonts/Inter-Regular.ttf")),
        Weight::Bold => (&BOLD, include_bytes!("fonts/Inter-SemiBold.ttf")),
    };
    cell.get_or_init(|| FontRef::try_from_slice(bytes).ok()).as_ref()
}

/// Glyphs with their places on a base line that starts at (0, 0), and the width of all.
fn set(text: &str, size: f64, weight: Weight) -> (Vec<Glyph>, f32) {
    let Some(font) = font(weight) else { return (Vec::new(), 0.0) };
    // `PxScale` is the height from the lowest descender to the highest ascender; sizes are given in em.
    let units = font.units_per_em().unwrap_or(1000.0);
    let scale = PxScale::from(size as f32 * font.height_unscaled() / units);
    let scaled = font.as_scaled(scale);
    let (mut glyphs, mut x, mut previous) = (Vec::new(), 0.0, None);
    for sign in text.chars() {
        let id = scaled.glyph_id(sign);
        x += previous.map_or(0.0, |previous| scaled.kern(previous, id));
        glyphs.push(id.with_scale_and_position(scale, point(x, 0.0)));
        x += scaled.h_advance(id);
        previous = Some(id);
    }
    (glyphs, x)
}

/// Width of a text of `size` pixels an em.
pub fn width(text: &str, size: f64, weight: Weight) -> f64 {
    f64::from(set(text, size, weight).1)
}

/// Calls `draw` with every pixel the text covers, relative to the start of its base line, and how far it is covered.
pub fn pixels(text: &str, size: f64, weight: Weight, mut draw: impl FnMut(i32, i32, f64)) {
    let Some(font) = font(weight) else { return };
    for glyph in set(text, size, weight).0 {
        if let Some(outline) = font.outline_glyph(glyph) {
            let bounds = outline.px_bounds();
            outline.draw(|x, y, cover| {
                draw(bounds.min.x as i32 + x as i32, bounds.min.y as i32 + y as i32, f64::from(cover));
            });
        }
    }
}

/// The text cut to a width, with an ellipsis where something is missing.
pub fn fit(text: &str, size: f64, weight: Weight, room: f64) -> String {
    if width(text, size, weight) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.len() > 1 {
        kept.pop();
        let cut: String = kept.iter().collect::<String>().trim_end().to_owned() + "…";
        if width(&cut, size, weight) <= room {
            return cut;
        }
    }
    "…".to_owned()
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
}
