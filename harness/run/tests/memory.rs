//! What the kernel says of this process's memory. A process of its own, since every thread counts in the numbers.
#![allow(clippy::unwrap_used)]

use harness_run::memory::{peak_bytes, reset_peak, resident_bytes};

#[test]
fn a_large_allocation_shows_in_the_peak_and_a_reset_forgets_it() {
    let Some(before) = resident_bytes() else { return };
    let block = std::hint::black_box(vec![1_u8; 256 << 20]);
    let peak = peak_bytes().unwrap();
    assert!(peak >= before + (200 << 20), "{before} bytes before, {peak} at the peak");
    drop(block);
    reset_peak();
    let peak = peak_bytes().unwrap();
    assert!(peak < before + (200 << 20), "{before} bytes before, {peak} after the reset");
}
