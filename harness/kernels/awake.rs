//! Many short parallel regions one after the other, without waking the pool's threads for each.
//!
//! A decoding step is a hundred products of some fifty microseconds with a few serial ones between them, long enough for
//! an idle thread to go to sleep; waking it through the system costs about as much as the product. Threads that look for
//! work meanwhile take it at once: decoding a 135M-parameter model in 4 bits on two threads becomes a third faster.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::Yield;

use crate::allocator::Keeping;

/// Passes under way in this process. Threads are kept awake for one alone: several keep each other busy, and a thread
/// that waits inside its own pass must not sit out another one.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread of rayon's pool and keeps the other threads looking for work, and freed memory in the process, until it
/// ends. Inside another call it just runs.
pub fn with_pool_awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| {
        let _pass = Pass::begin();
        work()
    })
}

/// How long a pass waits for threads to wake up before it begins without them.
const PATIENCE: Duration = Duration::from_micros(200);

/// Ends on drop, so also when the work panics.
struct Pass {
    /// Absent inside another pass.
    outermost: Option<(Arc<Watch>, Keeping)>,
}

/// What a pass and the threads it keeps awake tell each other.
#[derive(Default)]
struct Watch {
    /// Threads that look for work; with [`Watch::CLOSED`] no more may begin to.
    joined: AtomicUsize,
    ended: AtomicBool,
}

impl Watch {
    const CLOSED: usize = 1 << 31;

    /// Looks for work until the pass ends. A thread that comes late goes away again: it may be in the middle of the pass's
    /// own work, waiting for a part of it, and the pass would wait for it for ever.
    fn stay(&self) {
        let join = |joined: usize| (joined & Self::CLOSED == 0).then_some(joined + 1);
        if self.joined.fetch_update(Ordering::Relaxed, Ordering::Relaxed, join).is_err() {
            return;
        }
        while !self.ended.load(Ordering::Relaxed) && UNDER_WAY.load(Ordering::Relaxed) == 1 {
            if rayon::yield_now() != Some(Yield::Executed) {
                spin_loop();
            }
        }
    }

    /// Waits a moment for `threads` and lets no more join.
    fn close(&self, threads: usize) {
        let began = Instant::now();
        while self.joined.load(Ordering::Relaxed) < threads && began.elapsed() < PATIENCE {
            spin_loop();
        }
        self.joined.fetch_or(Self::CLOSED, Ordering::Relaxed);
    }
}

impl Pass {
    fn begin() -> Self {
        if INSIDE.replace(true) {
            return Self { outermost: None };
        }
        let (watch, threads) = (Arc::new(Watch::default()), rayon::current_num_threads());
        if UNDER_WAY.fetch_add(1, Ordering::Relaxed) == 0 && threads > 1 {
            let (own, kept) = (rayon::current_thread_index(), Arc::clone(&watch));
            rayon::spawn_broadcast(move |thread| {
                // This thread would wait for itself.
                if Some(thread.index()) != own {
                    kept.stay();
                }
            });
            watch.close(threads - 1);
        }
        Self { outermost: Some((watch, Keeping::begin())) }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some((watch, _)) = &self.outermost {
            watch.ended.store(true, Ordering::Relaxed);
            UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
            INSIDE.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rayon::prelude::*;

    use super::*;

    fn sum(to: usize) -> usize {
        (0..to).into_par_iter().with_max_len(1).sum()
    }

    #[test]
    fn regions_inside_nested_and_side_by_side_give_their_results() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                assert_eq!(
                    with_pool_awake(|| (0..50).map(|i| sum(i) + with_pool_awake(|| sum(i))).sum::<usize>()),
                    39_200
                );
                let all: Vec<usize> =
                    (0..64_usize).into_par_iter().map(|i| with_pool_awake(|| sum(i) + sum(2 * i))).collect();
                assert!(
                    all.iter()
                        .enumerate()
                        .all(|(i, s)| *s == i * i.saturating_sub(1) / 2 + i * (2 * i).saturating_sub(1))
                );
            });
        }
    }

    /// Threads that come late to a pass already work in it; they once stayed, and the pass never ended.
    #[test]
    fn passes_of_nested_regions_end() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let nested = |i: usize| (0..3_usize).into_par_iter().with_max_len(1).map(|j| sum(j + i % 5)).sum::<usize>();
        pool.install(|| {
            for pass in 0..2_000 {
                let found = with_pool_awake(|| (0..9_usize).into_par_iter().with_max_len(1).map(nested).sum::<usize>());
                assert_eq!(found, 99, "pass {pass}");
            }
        });
    }

    #[test]
    fn a_panic_ends_the_pass() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let panicked = pool.install(|| std::panic::catch_unwind(|| with_pool_awake(|| panic!("on purpose"))));
        assert!(panicked.is_err());
        assert!(!pool.install(|| rayon::broadcast(|_| INSIDE.get())).contains(&true), "no thread is inside a pass");
        assert_eq!(pool.install(|| with_pool_awake(|| sum(10))), 45);
    }
}
