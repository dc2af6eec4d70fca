//! Buffers: written once without zeroing them first, and shared out over threads.

/// A vector of `length` elements filled by `write`, which must set every element and read none before setting it.
///
/// Zeroing a few megabytes before every matrix product costs as much as a normalisation pass; the kernels of this
/// crate overwrite their whole output, so they are handed memory as it comes.
pub fn filled(length: usize, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(length);
    // SAFETY: the capacity covers `length`; every bit pattern is a valid f32 and `write` sets each element.
    unsafe {
        write(std::slice::from_raw_parts_mut(values.as_mut_ptr(), length));
        values.set_len(length);
    }
    values
}

/// Several vectors filled by one call of `write`, under the terms of [`filled`].
pub fn filled_each<const N: usize>(lengths: [usize; N], write: impl FnOnce([&mut [f32]; N])) -> [Vec<f32>; N] {
    let mut all: [Vec<f32>; N] = lengths.map(Vec::with_capacity);
    let starts: [*mut f32; N] = std::array::from_fn(|i| all[i].as_mut_ptr());
    // SAFETY: as in `filled`; the vectors are distinct allocations.
    unsafe {
        write(std::array::from_fn(|i| std::slice::from_raw_parts_mut(starts[i], lengths[i])));
        for (values, length) in all.iter_mut().zip(lengths) {
            values.set_len(length);
        }
    }
    all
}

/// Zeros, where the system gives them on huge pages. For what grows and is written bit by bit; weights belong in
/// [`crate::stored`].
pub fn zeroed_on_huge_pages(length: usize) -> Vec<f32> {
    // Large allocations come zeroed from the system and untouched, which is when the advice counts.
    let values = vec![0.0; length];
    #[cfg(target_os = "linux")]
    {
        const HUGE_PAGE: usize = 2 << 20;
        let (start, bytes) = (values.as_ptr() as usize, length * size_of::<f32>());
        let (first, end) = (start.next_multiple_of(HUGE_PAGE), (start + bytes) / HUGE_PAGE * HUGE_PAGE);
        if first < end {
            // SAFETY: the range lies inside the allocation; the advice changes no contents.
            unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
        }
    }
    values
}

/// A mutable slice that several threads write at disjoint places.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    start: *mut f32,
    length: usize,
}

// SAFETY: the only access is `slice`, whose callers promise disjoint ranges.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len() }
    }

    /// A pointer to the element at `offset`.
    pub(crate) fn at(self, offset: usize) -> *mut f32 {
        assert!(offset < self.length, "element {offset} of {}", self.length);
        // SAFETY: the offset lies inside the slice.
        unsafe { self.start.add(offset) }
    }

    /// The elements `offset .. offset + length`.
    ///
    /// # Safety
    /// No two live slices overlap, and the borrowed values outlive the result.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice<'a>(self, offset: usize, length: usize) -> &'a mut [f32] {
        assert!(offset + length <= self.length, "range {offset}+{length} of {}", self.length);
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), length) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn filled_buffer_holds_what_was_written() {
        let values = super::filled(5, |out| {
            for (i, v) in out.iter_mut().enumerate() {
                *v = i as f32;
            }
        });
        assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn filled_buffers_hold_what_was_written() {
        let [a, b] = super::filled_each([2, 3], |[a, b]| {
            a.fill(1.0);
            b.fill(2.0);
        });
        assert_eq!((a, b), (vec![1.0; 2], vec![2.0; 3]));
    }
}
