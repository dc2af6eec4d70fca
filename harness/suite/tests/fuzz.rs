//! Damaged suites: never a panic, never a huge allocation, and every fault can be drawn.

#![allow(clippy::unwrap_used, unsafe_code, clippy::print_stderr)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness_suite::{Overrides, Plan, Selection};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// The largest single allocation so far, in bytes.
static LARGEST: AtomicUsize = AtomicUsize::new(0);
const GIBIBYTE: usize = 1 << 30;

struct Counting;

// SAFETY: every call goes to the system allocator unchanged; only the size is noted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SEED: &str = r#"
[suite]
about = "é ± 💡"
seed = 7

[[bench]]
name = "one"
model = ["tiny-a", "tiny-b"]
data = { corpus = "fables/test", window = [64, 128], windows = 4 }
calib = { corpus = "fables/train" }
metrics = ["ppl", "kl", "sparsity"]
calibration_order = "sequential"
seed = { from = 0, to = 2, step = 1 }
prune = [
  "none",
  { method = ["magnitude", "wanda"], sparsity = { from = 0.1, to = 0.9, step = 0.2 } },
  { method = "sparsegpt", sparsity = [0.3, 0.5], block = [32, 64], zip = ["sparsity", "block"] },
  "wanda(pattern=2:4)",
]
quant = ["none", "rtn(bits=4)"]
zip = [["model", "quant"]]
expect = ["ppl(wanda) <= ppl(magnitude) where model = 'tiny-a' and sparsity = 0.5", "kl(none) ~ 0 ± 1e-6"]
quick = { data.windows = 2 }

[[figure]]
kind = "line"
x = "sparsity"
y = "ppl"
series = "prune"
facet = "model"
where = "quant = none"
log = ["y"]
reference = "dense"

[[table]]
rows = ["model", "prune"]
metrics = ["ppl"]
"#;

/// Pieces that mean something to the reader.
const PIECES: [&str; 28] = [
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "=",
    ",",
    "\n",
    "#",
    "[[bench]]\n",
    "zip",
    "from",
    "to = 1e300",
    "step = 1e-15",
    "step = 0",
    "-",
    "99999999999999999999",
    "0.000000000001",
    "nan",
    "inf",
    "1979-05-27",
    "\"\"\"",
    "(",
    "|",
    "±",
    "\\u0000",
    "\u{202e}",
];

#[derive(Debug, Clone)]
enum Edit {
    Delete(f64, usize),
    Insert(f64, usize),
    Copy(f64, f64, usize),
    Raise(f64, char),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (0.0..1.0, 1_usize..40).prop_map(|(at, length)| Edit::Delete(at, length)),
        (0.0..1.0, 0..PIECES.len()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (0.0..1.0, 0.0..1.0, 1_usize..80).prop_map(|(from, to, length)| Edit::Copy(from, to, length)),
        (0.0..1.0, any::<char>()).prop_map(|(at, sign)| Edit::Raise(at, sign)),
    ];
    prop::collection::vec(edit, 0..6)
}

fn apply(edits: &[Edit]) -> String {
    let mut signs: Vec<char> = SEED.chars().collect();
    for edit in edits {
        let place = |share: f64| (share * signs.len() as f64) as usize;
        match edit {
            Edit::Delete(at, length) => {
                let at = place(*at);
                signs.drain(at..(at + length).min(signs.len()));
            }
            Edit::Insert(at, piece) => {
                let at = place(*at);
                signs.splice(at..at, PIECES[*piece].chars());
            }
            Edit::Copy(from, to, length) => {
                let (from, to) = (place(*from), place(*to));
                let copied = signs[from..(from + length).min(signs.len())].to_vec();
                signs.splice(to..to, copied);
            }
            Edit::Raise(at, sign) => {
                let at = place(*at);
                if let Some(old) = signs.get_mut(at) {
                    *old = *sign;
                }
            }
        }
    }
    signs.into_iter().collect()
}

/// Reads a damaged suite in every way there is; true when it is still a suite.
fn survive(text: &str) -> bool {
    let quick = Overrides { set: vec!["one.data.windows=3".to_owned(), text.chars().take(30).collect()], quick: true };
    if let Err(faults) = support::parse_with(text, &quick) {
        assert!(!faults.render(true).is_empty());
    }
    match support::parse(text) {
        Ok(suite) => {
            let plan = Plan::of(&suite, &Selection::default()).unwrap();
            let cells: usize = suite.benches.iter().map(harness_suite::Bench::cell_count).sum();
            assert_eq!(plan.cells().len(), cells);
            true
        }
        Err(faults) => {
            assert!(faults.count() > 0);
            for fault in faults.iter() {
                let place = faults.location(fault);
                assert!(place.line >= 1 && place.column >= 1);
            }
            assert!(!faults.render(false).is_empty());
            false
        }
    }
}

#[test]
fn the_undamaged_suite_is_good() {
    if let Err(faults) = support::parse(SEED) {
        panic!("{}", faults.render(false));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_suites_never_panic(edits in edits()) {
        survive(&apply(&edits));
        prop_assert!(LARGEST.load(Ordering::Relaxed) < GIBIBYTE);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        survive(&text);
    }
}

/// `HARNESS_FUZZ_SECONDS` (600 unless set) of damage.
#[test]
#[ignore = "runs for ten minutes"]
fn damaged_suites_never_panic_for_ten_minutes() {
    let seconds = std::env::var("HARNESS_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: proptest::test_runner::RngSeed::Random,
        ..ProptestConfig::default()
    });
    let strategy = edits();
    let (mut tried, mut good) = (0_u64, 0_u64);
    while Instant::now() < end {
        let text = apply(&strategy.new_tree(&mut runner).unwrap().current());
        match std::panic::catch_unwind(|| survive(&text)) {
            Ok(still) => good += u64::from(still),
            Err(panic) => {
                eprintln!("the suite that panicked:\n{text}");
                std::panic::resume_unwind(panic);
            }
        }
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(largest < GIBIBYTE, "{largest} bytes at once for:\n{text}");
        tried += 1;
    }
    eprintln!(
        "{tried} suites, {good} of them still good, largest allocation {} bytes",
        LARGEST.load(Ordering::Relaxed)
    );
    assert!(good > 0 && good < tried);
}
