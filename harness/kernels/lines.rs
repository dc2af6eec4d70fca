//! Buffers in whole lines of memory.

/// One line of memory.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Line(pub [u8; 64]);
