//! Asking for memory ahead of its use.

/// Asks for all the memory of a slice.
pub(crate) fn prefetch_all<T>(values: &[T]) {
    for offset in (0..size_of_val(values)).step_by(64) {
        prefetch(values.as_ptr(), offset);
    }
}

/// Asks for the line of memory that lies `ahead` bytes behind an element; does nothing where it cannot be asked for.
#[inline(always)]
pub(crate) fn prefetch<T>(from: *const T, ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(ahead));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, ahead);
}
