//! Buffers in whole lines of memory.

use crate::buffer::advise_huge_pages;

/// One line of memory.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u8; 64]);

/// Lines of zeros, on huge pages where the system gives them.
pub(crate) fn zeroed_lines(count: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::with_capacity(count);
    advise_huge_pages(lines.as_ptr().cast(), count * size_of::<Line>());
    lines.resize(count, Line([0; 64]));
    lines
}
