//! Colours, marks and dashes that stay apart for colour-blind readers and in grey print.

/// Red, green, blue.
pub type Colour = (u8, u8, u8);

/// Text and axes. The page style sheet finds the inks of a chart by these very values, to follow the dark theme.
pub const INK: Colour = (0x1A, 0x1D, 0x21);
/// Secondary text.
pub const MUTED: Colour = (0x5B, 0x63, 0x6E);
/// Grid lines.
pub const GRID: Colour = (0xE3, 0xE6, 0xEA);
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

/// How a series looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    pub colour: Colour,
    pub mark: Mark,
    /// Lengths of strokes and gaps; empty for a whole line.
    pub dash: &'static [f64],
}

/// The look of the series with a number. Colour, mark and dash go round at different lengths, so that no two of the
/// first 35 series look the same.
pub fn look(index: usize) -> Look {
    Look {
        colour: BRIGHT[index % BRIGHT.len()],
        mark: MARKS[(index + index / BRIGHT.len()) % MARKS.len()],
        dash: DASHES[index % DASHES.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::look;

    #[test]
    fn no_two_of_many_series_look_the_same() {
        for a in 0..35 {
            for b in 0..a {
                assert_ne!(look(a), look(b), "{a} {b}");
            }
        }
    }
}
