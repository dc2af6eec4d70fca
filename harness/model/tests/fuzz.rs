//! Long mutation fuzzing of the loaders, run by hand or at night:
//! `HARNESS_FUZZ_SECONDS=600 cargo test --release -p harness-model --test fuzz -- --ignored --test-threads 1`.
//!
//! Every mutated file must load or be refused: no panic out of the loaders, and no single allocation over 1 GiB. Failing seeds
//! are printed, and `HARNESS_FUZZ_SEED` repeats one.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[allow(dead_code, missing_docs)]
#[path = "../load/fixtures.rs"]
mod fixtures;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness_model::load::load;

/// Remembers the largest allocation.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);
const MOST: usize = 1 << 30;

// SAFETY: everything is passed on to the system's allocator; only a number is kept.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Loads a file and uses whatever comes out; true when it loaded.
fn exercise(path: &Path) -> bool {
    let Ok(checkpoint) = load(path) else { return false };
    let _ = checkpoint.check_finite();
    assert_eq!(checkpoint.hash().len(), 64);
    if let Some(tokenizer) = &checkpoint.tokenizer {
        let ids = tokenizer.encode("ab cab! 12 é <|end|>\n  I'll", true).unwrap_or_default();
        let _ = tokenizer.decode(&ids);
        let _ = tokenizer.to_json();
    }
    true
}

/// Runs `one` on seed after seed until the time is up.
fn fuzz(name: &str, one: impl Fn(u64, &Path) -> bool + std::panic::RefUnwindSafe) {
    let number = |key: &str| std::env::var(key).ok().and_then(|text| text.parse::<u64>().ok());
    let folder = tempfile::tempdir().unwrap();
    if let Some(seed) = number("HARNESS_FUZZ_SEED") {
        one(seed, folder.path());
        return;
    }
    let until = Instant::now() + Duration::from_secs(number("HARNESS_FUZZ_SECONDS").unwrap_or(600));
    let (mut seed, mut loaded) = (0u64, 0u64);
    while Instant::now() < until {
        seed += 1;
        match std::panic::catch_unwind(|| one(seed, folder.path())) {
            Ok(good) => loaded += u64::from(good),
            Err(payload) => panic!("{name}: seed {seed} panics: {payload:?}"),
        }
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(largest <= MOST, "{name}: seed {seed} allocates {largest} bytes at once");
    }
    let largest = LARGEST.load(Ordering::Relaxed);
    eprintln!("{name}: {seed} files, {loaded} of them loaded, largest allocation {largest} bytes");
    assert!(loaded > 0 && loaded < seed, "{name}: the mutations must both spare and break files");
}

#[test]
#[ignore = "runs for HARNESS_FUZZ_SECONDS"]
fn gguf() {
    let files = [
        fixtures::gguf_byte_level("llama", "smollm").build(),
        fixtures::gguf_byte_level("qwen2", "qwen2").build(),
        fixtures::gguf_pieces().build(),
    ];
    fuzz("gguf", |seed, folder| {
        let mut bytes = files[seed as usize % files.len()].clone();
        fixtures::mutate(&mut bytes, seed);
        let path = folder.join("model.gguf");
        std::fs::write(&path, bytes).unwrap();
        exercise(&path)
    });
}

#[test]
#[ignore = "runs for HARNESS_FUZZ_SECONDS"]
fn hugging_face() {
    let whole = fixtures::folder();
    fuzz("hugging face", |seed, folder| {
        let mut files = whole.clone();
        let which = seed as usize % files.len();
        fixtures::mutate(&mut files[which].1, seed);
        fixtures::place(folder, &files);
        exercise(folder)
    });
}

#[test]
#[ignore = "runs for HARNESS_FUZZ_SECONDS"]
fn llama2c() {
    let pairs = [fixtures::llama2c(true), fixtures::llama2c(false)];
    fuzz("llama2.c", |seed, folder| {
        let (mut model, mut tokenizer) = pairs[seed as usize % 2].clone();
        fixtures::mutate(if seed % 4 < 2 { &mut model } else { &mut tokenizer }, seed);
        fixtures::place(folder, &[("model.bin", model), ("tokenizer.bin", tokenizer)]);
        exercise(&folder.join("model.bin"))
    });
}
