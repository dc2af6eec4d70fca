//! What methods that remove heads, channels and other groups of columns compute, on plain row-major slices.

pub mod choice;
pub mod columns;
pub mod coupled;
pub mod database;
pub mod evolution;
pub mod flap;
pub mod penalty;
pub mod reorder;
pub mod units;
