//! The registered methods, one file each.
