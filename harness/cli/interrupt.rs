//! What Ctrl-C (and SIGTERM) means at the moment: end at once with a word on how to go on, or ask the work to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use crate::exit::{INTERRUPTED, Refusal};

type Word = Box<dyn Fn() -> String + Send>;

static WORD: Mutex<Option<Word>> = Mutex::new(None);
static POLLED: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicBool = AtomicBool::new(false);
static INSTALLED: Once = Once::new();

/// From now on an interrupt ends the program at once, with this word as the reason. For work whose results are on disk
/// as they come.
pub fn ends_with(word: impl Fn() -> String + Send + 'static) {
    *WORD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(word));
    install();
}

/// While this lives, the first interrupt only sets what [`asked`] tells, so that the work can tidy up; a second one ends
/// the program at once.
pub struct Polled(());

/// Begins to only ask.
pub fn polled() -> Polled {
    POLLED.store(true, Ordering::SeqCst);
    install();
    Polled(())
}

impl Drop for Polled {
    fn drop(&mut self) {
        POLLED.store(false, Ordering::SeqCst);
    }
}

/// Whether the user wants to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// The refusal of a verb that stopped because it was asked.
pub fn refusal(message: impl Into<String>) -> Refusal {
    Refusal { code: INTERRUPTED, message: message.into() }
}

fn install() {
    // Where the system refuses a handler, an interrupt ends the program as it does any other.
    INSTALLED.call_once(|| drop(ctrlc::set_handler(handle)));
}

fn handle() {
    if POLLED.load(Ordering::SeqCst) && !ASKED.swap(true, Ordering::SeqCst) {
        return;
    }
    let word = WORD.lock().unwrap_or_else(PoisonError::into_inner);
    let reason = word.as_ref().map_or_else(|| "interrupted".to_owned(), |word| word());
    eprintln!();
    eprintln!("error: {reason}");
    std::process::exit(i32::from(INTERRUPTED));
}
