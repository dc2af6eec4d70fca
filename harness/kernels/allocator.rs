//! The allocator of the program.
//!
//! Large blocks begin on a line of memory of their own, so that a product stores rows of sixteen whole. Freed blocks go back to the
//! system soon but for stretches of work that ask for the same memory again and again: a pass over 512 tokens frees and
//! allocates hundreds of megabytes of activations, and pages that went back come with a fault each, and zeroed. Keeping them
//! doubles the speed of integer prefill, and makes it a tenth faster than the C library's allocator does.

use std::ffi::c_long;
use std::sync::{Mutex, PoisonError};

pub use mimalloc::MiMalloc;

/// The place of `mi_option_purge_delay` among mimalloc's options; the bindings do not name it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
const NEVER: c_long = -1;
/// Milliseconds. What is freed and not asked for again in this time is not in a loop over layers.
const SOON: c_long = 10;

/// How many keep freed memory now.
static KEEPING: Mutex<usize> = Mutex::new(0);

fn set_delay(delay: c_long) {
    // SAFETY: options may be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, delay) };
}

/// Lets freed memory go back to the system soon; for the start of the program. Of no effect, as all of this, where [`MiMalloc`] is
/// not the allocator.
pub fn return_freed_memory() {
    set_delay(SOON);
}

/// Keeps freed memory in the process while it lives.
#[derive(Debug)]
pub struct Keeping(());

impl Keeping {
    /// Begins to keep it; others may do so at the same time.
    pub fn begin() -> Self {
        change(|count| count + 1);
        Self(())
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        change(|count| count - 1);
    }
}

fn change(new: impl Fn(usize) -> usize) {
    let mut keeping = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = *keeping;
    *keeping = new(before);
    if (before == 0) != (*keeping == 0) {
        set_delay(if *keeping == 0 { SOON } else { NEVER });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn delay() -> c_long {
        // SAFETY: reading an option changes nothing.
        unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }
    }

    /// Alone in its process, where nothing has set the option yet.
    #[test]
    #[ignore = "run in a process of its own by the test below"]
    fn alone() {
        // Of all options this one alone is 1000 (milliseconds) by default.
        assert_eq!(delay(), 1000);
        return_freed_memory();
        assert_eq!(delay(), SOON);
        let (first, second) = (Keeping::begin(), Keeping::begin());
        drop(first);
        assert_eq!(delay(), NEVER);
        drop(second);
        assert_eq!(delay(), SOON);
    }

    #[test]
    fn memory_is_kept_while_somebody_keeps_it() {
        let own = std::env::current_exe().unwrap();
        let ran = std::process::Command::new(own)
            .args(["--exact", "allocator::tests::alone", "--ignored"])
            .env_remove("MIMALLOC_PURGE_DELAY")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }
}
