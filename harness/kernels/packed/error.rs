//! Why codes cannot be packed.

use std::error::Error;
use std::fmt;

/// Codes, scales or shapes that no packed matrix can hold.
#[derive(Debug, Clone, PartialEq)]
pub enum PackError {
    /// The matrix has no rows or no columns.
    Empty {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// A slice does not have the length its shape needs.
    Length {
        /// `codes`, `scales` or `zeros`.
        what: &'static str,
        /// Elements given.
        found: usize,
        /// Elements needed.
        expected: usize,
    },
    /// The group does not divide the columns or is no multiple of 32.
    Group {
        /// Columns of the matrix.
        cols: usize,
        /// Group asked for.
        group: usize,
    },
    /// A code lies outside the range of its bits.
    Code {
        /// Row of the code.
        row: usize,
        /// Column of the code.
        col: usize,
        /// The code.
        code: u8,
        /// Bits of a code.
        bits: u32,
    },
    /// A group is so long that 32-bit sums of products could overflow.
    Accumulator {
        /// Group asked for.
        group: usize,
        /// Longest group that cannot overflow.
        bound: usize,
    },
    /// A scale, zero point or table entry is infinite or no number.
    NonFinite {
        /// `scales`, `zeros` or `table`.
        what: &'static str,
        /// Its place in the slice.
        index: usize,
    },
    /// A look-up table has sixteen entries: its codes have four bits.
    TableBits {
        /// Bits asked for.
        bits: u32,
    },
    /// A look-up table is multiplied in f32 only.
    TableWithIntegers,
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { rows, cols } => write!(f, "a {rows}x{cols} matrix has no values to pack"),
            Self::Length { what, found, expected } => {
                write!(f, "{found} {what} given where the shape needs {expected}")
            }
            Self::Group { cols, group } => write!(
                f,
                "groups of {group} do not fit {cols} columns: a packed group is a multiple of 32 that divides the columns"
            ),
            Self::Code { row, col, code, bits } => {
                write!(f, "code {code} in row {row}, column {col} lies outside 0..={} of {bits} bits", (1 << bits) - 1)
            }
            Self::Accumulator { group, bound } => write!(
                f,
                "a group of {group} could overflow the 32-bit sums of the integer kernels; at most {bound} columns fit"
            ),
            Self::NonFinite { what, index } => write!(f, "{what}[{index}] is infinite or not a number"),
            Self::TableBits { bits } => {
                write!(f, "a look-up table has 16 entries, so its codes have 4 bits, not {bits}")
            }
            Self::TableWithIntegers => write!(
                f,
                "weights behind a look-up table have no integer kernel: use full-precision activations with them"
            ),
        }
    }
}

impl Error for PackError {}
