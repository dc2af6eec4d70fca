//! Turns a panic of one cell into a reason, so that the suite goes on.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}
static HOOK: Once = Once::new();

/// Runs a piece of work and gives its result, or what it panicked with and where.
///
/// The work's own state must not be used after a panic; callers drop it with the cell.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let expected = LAST.with(|last| {
                last.try_borrow_mut().is_ok_and(|mut last| match last.as_mut() {
                    Some(text) => {
                        *text = info.to_string().trim_start_matches("panicked at ").replace('\n', " ");
                        true
                    }
                    None => false,
                })
            });
            if !expected {
                default(info);
            }
        }));
    });
    LAST.with(|last| *last.borrow_mut() = Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let text = LAST.with(|last| last.borrow_mut().take()).unwrap_or_default();
    outcome.map_err(|payload| {
        if text.is_empty() {
            // A worker thread of a pool panicked: its message went past this thread's hook.
            payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "without a message".to_owned())
        } else {
            text
        }
    })
}

#[cfg(test)]
mod tests {
    use super::caught;

    #[test]
    fn a_panic_becomes_its_message_and_place() {
        let reason = caught(|| panic!("the number was {}", 7)).map_or_else(|reason| reason, |()| String::new());
        assert!(reason.contains("the number was 7") && reason.contains("panics.rs"), "{reason}");
        assert_eq!(caught(|| 3), Ok(3));
    }
}
