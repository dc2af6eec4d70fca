//! Colours, marks, dashes and hatches that stay apart for colour-blind readers and in grey print.

/// Red, green, blue.
pub type Colour = (u8, u8, u8);

/// Text and axes. The page style sheet finds the inks of a chart by these very values, to follow the dark theme.
pub const INK: Colour = (0x1A, 0x1D, 0x21);
/// Secondary text.
pub const MUTED: Colour = (0x5B, 0x63, 0x6E);
/// Grid lines.
pub const GRID: Colour = (0xE3, 0xE6, 0xEA);
/// Text on a light and on a dark shade, which stays as it is in the dark theme: the shades do too.
pub const ON_LIGHT: Colour = (0x14, 0x17, 0x1A);
/// See [`ON_LIGHT`].
pub const ON_DARK: Colour = (0xFD, 0xFD, 0xFD);
/// Paper.
pub const PAPER: Colour = (0xFF, 0xFF, 0xFF);

/// Paul Tol's `bright` scheme in the order that keeps the first few furthest apart.
const BRIGHT: [Colour; 7] = [
    (0x44, 0x77, 0xAA),
    (0xEE, 0x66, 0x77),
    (0x22, 0x88, 0x33),
    (0xAA, 0x33, 0x77),
    (0xCC, 0xBB, 0x44),
    (0x66, 0xCC, 0xEE),
    (0x88, 0x88, 0x88),
];

/// A mark of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Circle,
    Square,
    Triangle,
    Diamond,
    Down,
    Ring,
    Plus,
}

const MARKS: [Mark; 7] =
    [Mark::Circle, Mark::Square, Mark::Triangle, Mark::Diamond, Mark::Down, Mark::Ring, Mark::Plus];

const DASHES: [&[f64]; 5] = [&[], &[7.0, 3.0], &[2.0, 2.5], &[8.0, 3.0, 2.0, 3.0], &[12.0, 4.0]];

/// Strokes over an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hatch {
    Plain,
    Rising,
    Falling,
    Crossed,
    Upright,
}

const HATCHES: [Hatch; 5] = [Hatch::Plain, Hatch::Rising, Hatch::Falling, Hatch::Crossed, Hatch::Upright];

/// How a series looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    pub colour: Colour,
    pub mark: Mark,
    /// Lengths of strokes and gaps; empty for a whole line.
    pub dash: &'static [f64],
    pub hatch: Hatch,
}

/// The look of the series with a number. Colour, mark and dash go round at different lengths, so that no two of the
/// first 35 series look the same.
pub fn look(index: usize) -> Look {
    Look {
        colour: BRIGHT[index % BRIGHT.len()],
        mark: MARKS[(index + index / BRIGHT.len()) % MARKS.len()],
        dash: DASHES[index % DASHES.len()],
        hatch: HATCHES[index % HATCHES.len()],
    }
}

/// A colour nearer to paper: 0 leaves it, 1 is paper.
pub fn pale((r, g, b): Colour, share: f64) -> Colour {
    let mix = |channel: u8| (f64::from(channel) + (255.0 - f64::from(channel)) * share).round() as u8;
    (mix(r), mix(g), mix(b))
}

/// Stops of the shades of a heat map, from little to much.
const SHADES: [Colour; 5] =
    [(0xF2, 0xF5, 0xF9), (0xBC, 0xD5, 0xE8), (0x70, 0xA8, 0xCD), (0x2F, 0x6F, 0xA6), (0x0B, 0x2F, 0x5B)];

/// The shade at a share from 0 to 1. Lightness falls all the way, so it reads the same in grey and for every eye.
pub fn shade(share: f64) -> Colour {
    let place = share.clamp(0.0, 1.0) * (SHADES.len() - 1) as f64;
    let below = (place.floor() as usize).min(SHADES.len() - 2);
    let part = place - below as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8;
    let (a, b) = (SHADES[below], SHADES[below + 1]);
    (mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// How light a colour is in grey print, 0 to 1.
pub fn lightness((r, g, b): Colour) -> f64 {
    (0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_of_many_series_look_the_same() {
        for a in 0..35 {
            for b in 0..a {
                assert_ne!(look(a), look(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn without_colour_neighbours_still_differ() {
        for a in 0..12 {
            for b in 0..a {
                let (x, y) = (look(a), look(b));
                assert!(x.mark != y.mark || x.dash != y.dash, "{a} {b}");
            }
        }
        assert!((0..5).all(|a| (0..a).all(|b| look(a).hatch != look(b).hatch)));
    }

    #[test]
    fn shades_grow_darker() {
        let all: Vec<f64> = (0..=100).map(|step| lightness(shade(f64::from(step) / 100.0))).collect();
        assert!(all.windows(2).all(|pair| pair[1] < pair[0]), "{all:?}");
    }
}
