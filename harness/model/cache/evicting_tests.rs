//! Caches that let keys go against `tests/reference/eviction.py`, and decoders that use them against decoders that do not.
#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::path::Path;

use serde_json::Value as Json;

use super::*;
use crate::decoder::Decoder;
use crate::packed::small_decoder;
use crate::reach::{Look, Reach};
use crate::tensor::{Tensor, with_values};

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/eviction.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn number(json: &Json, key: &str) -> usize {
    usize::try_from(json[key].as_u64().unwrap()).unwrap()
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn rule_of(case: &Json) -> Eviction {
    if case["method"] == "h2o" {
        let keys = |key| Budget::Keys(number(case, key));
        return Eviction::HeavyHitters { heavy: keys("heavy"), recent: keys("recent") };
    }
    let pooling = if case["pooling"] == "max" { Pooling::Maximum } else { Pooling::Average };
    let pool = Pool { pooling, kernel: number(case, "kernel") };
    Eviction::Snapshot { window: number(case, "window"), capacity: number(case, "capacity"), pool }
}

fn heavy(heavy: usize, recent: usize) -> CacheFormat {
    CacheFormat::Evicting(Eviction::HeavyHitters { heavy: Budget::Keys(heavy), recent: Budget::Keys(recent) })
}

fn snapshot(window: usize, capacity: usize) -> CacheFormat {
    let pool = Pool { pooling: Pooling::Average, kernel: 5 };
    CacheFormat::Evicting(Eviction::Snapshot { window, capacity, pool })
}

/// The keys that each head holds are those of the positions that the reference names.
fn assert_holds(cache: &EvictingCache, kept: &Json, k: &[f32], head_dim: usize) {
    let [keys, _] = cache.held(0);
    let heads = kept.as_array().unwrap();
    for (head, places) in heads.iter().enumerate() {
        let places = numbers(places);
        assert_eq!(cache.rows(), places.len());
        for (row, place) in places.iter().enumerate() {
            let of = |all: &[f32], row: usize| all[(row * heads.len() + head) * head_dim..][..head_dim].to_vec();
            assert_eq!(of(&keys, row), of(k, *place as usize), "row {row} of head {head} of {places:?}");
        }
    }
}

#[test]
fn what_stays_and_what_is_attended_to_are_what_the_reference_says() {
    let golden = golden();
    for case in golden["runs"].as_array().unwrap() {
        let of = |key: &str| -> Vec<f32> { numbers(&case[key]).iter().map(|x| (x / 256.0) as f32).collect() };
        let (q, k, v, expected) = (of("q"), of("k"), of("v"), numbers(&case["outputs"]));
        let (heads, kv_heads, head_dim) = (number(case, "heads"), number(case, "kv_heads"), number(case, "head_dim"));
        let scale = 1.0 / (head_dim as f32).sqrt();
        let shape = AttentionShape { heads, kv_heads, head_dim, scale, slopes: None, biases: None };
        let (q_width, width, prompt) = (heads * head_dim, kv_heads * head_dim, number(case, "prompt"));
        let of_cache = CacheShape { layers: 1, kv_heads, head_dim, kept: None };
        // A prompt that is read at once, and one in pieces.
        for pieces in [vec![prompt], vec![3, prompt - 7, 4], vec![1; prompt]] {
            let mut cache = EvictingCache::new(of_cache, rule_of(case), pieces.len() > 1).unwrap();
            let (mut found, mut at) = (Vec::new(), 0);
            let mut read = |cache: &mut EvictingCache, at: usize, new: usize| {
                let part = |all: &[f32], width: usize| all[at * width..(at + new) * width].to_vec();
                cache.reserve(1, new).unwrap();
                found.extend(cache.attend(0, [&part(&q, q_width), &part(&k, width), &part(&v, width)], &shape));
                cache.advance(new);
            };
            for new in pieces {
                read(&mut cache, at, new);
                at += new;
            }
            cache.close().unwrap();
            for kept in case["kept"].as_array().unwrap() {
                assert_holds(&cache, kept, &k, head_dim);
                if at * width < k.len() {
                    read(&mut cache, at, 1);
                    at += 1;
                }
            }
            for (at, (a, b)) in found.iter().zip(&expected).enumerate() {
                assert!((f64::from(*a) - b).abs() <= 5e-6, "{}, output {at}: {a} for {b}", case["method"]);
            }
            assert_eq!((found.len(), cache.length * width), (expected.len(), k.len()));
        }
    }
}

#[test]
fn four_rows_of_attention_leave_the_first_and_the_last_key() {
    // A query that scores keys by the logarithms of the row's probabilities gives them those.
    let rows: [&[f32]; 4] = [&[1.0], &[0.3, 0.7], &[0.5, 0.1, 0.4], &[0.2, 0.1, 0.3, 0.4]];
    let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 4, scale: 1.0, slopes: None, biases: None };
    let rule = Eviction::HeavyHitters { heavy: Budget::Keys(1), recent: Budget::Keys(1) };
    let of_cache = CacheShape { layers: 1, kv_heads: 1, head_dim: 4, kept: None };
    let mut cache = EvictingCache::new(of_cache, rule, false).unwrap();
    let mut q = [0.0; 16];
    let mut k = [0.0; 16];
    for (i, row) in rows.iter().enumerate() {
        k[5 * i] = 1.0;
        row.iter().zip(&mut q[4 * i..]).for_each(|(p, q)| *q = p.ln());
    }
    cache.reserve(1, 4).unwrap();
    cache.attend(0, [&q, &k, &k], &shape);
    cache.advance(4);
    assert_eq!(cache.held(0)[0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let received = [2.0, 0.4];
    assert!(cache.received(0).iter().zip(received).all(|(a, e)| (a - e).abs() < 1e-6), "{:?}", cache.received(0));
}

fn read(tensor: &Tensor) -> Vec<f32> {
    with_values(tensor, <[f32]>::to_vec).unwrap()
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).map(|at| at * 31 % 83).collect()
}

/// Logits after a prompt that is read at once and after each token behind it.
fn decode(decoder: &Decoder, tokens: &[u32], prompt: usize, cache: &mut KvCache) -> Vec<Vec<f32>> {
    let mut rows = vec![decoder.logits_last(&tokens[..prompt], cache).unwrap()];
    rows.extend(tokens[prompt..].iter().map(|token| decoder.logits_last(&[*token], cache).unwrap()));
    rows
}

#[test]
fn a_budget_that_holds_the_text_changes_nothing_by_a_bit() {
    let (decoder, tokens) = (small_decoder(), tokens(60));
    let share = |heavy, recent| {
        CacheFormat::Evicting(Eviction::HeavyHitters { heavy: Budget::Share(heavy), recent: Budget::Share(recent) })
    };
    for (format, prompt) in [(heavy(50, 10), 41), (heavy(0, 60), 3), (snapshot(8, 40), 40), (snapshot(8, 200), 9)] {
        let kept = decoder.with_cache(format).unwrap();
        let (mut full, mut cache) = (decoder.new_cache(), kept.new_cache());
        assert_eq!(
            decode(&decoder, &tokens, prompt, &mut full),
            decode(&kept, &tokens, prompt, &mut cache),
            "{format:?}"
        );
        assert_eq!((cache.len(), cache.held()), (60, 60));
    }
    // Shares are of the prompt: the first step behind it lets a key go, and the one after it sees that.
    let kept = decoder.with_cache(share(0.6, 0.4)).unwrap();
    let (mut full, mut cache) = (decoder.new_cache(), kept.new_cache());
    let (full, found) = (decode(&decoder, &tokens, 40, &mut full), decode(&kept, &tokens, 40, &mut cache));
    assert_eq!((full[..2] == found[..2], full[2] == found[2], cache.held()), (true, false, 24 + 16));
}

#[test]
fn what_is_let_go_has_left_memory() {
    let (decoder, tokens) = (small_decoder(), tokens(700));
    let (layers, width, kv_heads) = (2, 32, decoder.config().kv_heads);
    let kept = decoder.with_cache(heavy(20, 12)).unwrap();
    let mut cache = kept.new_cache();
    kept.logits_last(&tokens[..600], &mut cache).unwrap();
    for token in &tokens[600..] {
        kept.logits_last(&[*token], &mut cache).unwrap();
        let expected = layers * 32 * (2 * width + kv_heads) * 4;
        assert_eq!((cache.held(), cache.live_bytes()), (32, expected));
        // The step's own key, and what keys received in it.
        assert!(cache.bytes() <= layers * 34 * (2 * width + 2 * kv_heads) * 4, "{}", cache.bytes());
    }
    let kept = decoder.with_cache(snapshot(8, 32)).unwrap();
    let mut cache = kept.new_cache();
    kept.logits_last(&tokens[..600], &mut cache).unwrap();
    assert_eq!((cache.len(), cache.held(), cache.live_bytes()), (600, 32, layers * 32 * 2 * width * 4));
    assert_eq!(cache.bytes(), layers * 33 * 2 * width * 4);
    for token in &tokens[600..] {
        kept.logits_last(&[*token], &mut cache).unwrap();
    }
    assert_eq!((cache.len(), cache.held(), cache.live_bytes()), (700, 132, layers * 132 * 2 * width * 4));
}

#[test]
fn prompts_in_chunks_batches_and_single_sequences_give_the_same() {
    for format in [heavy(6, 5), snapshot(4, 11)] {
        let decoder = small_decoder().with_cache(format).unwrap();
        let (a, b) = (tokens(40), tokens(90)[50..].to_vec());
        let mut shared = decoder.new_cache();
        decoder.step(&[&a[..29], &b[..29]], &mut shared, 1).unwrap();
        assert_eq!(shared.held(), 11);
        let mut each = [0, 1].map(|row| KvCache::gather(&[(&shared, row)], 29).unwrap());
        // One step that fails leaves both as they were.
        assert!(
            decoder.step_each(&[1, 999], &mut each).is_err() && decoder.step(&[&[1], &[999]], &mut shared, 1).is_err()
        );
        for at in 29..40 {
            let rows = read(&decoder.step(&[&a[at..=at], &b[at..=at]], &mut shared, 1).unwrap());
            assert_eq!(rows, read(&decoder.step_each(&[a[at], b[at]], &mut each).unwrap()), "{at}");
        }
        assert_eq!(shared.live_bytes(), each.iter().map(KvCache::live_bytes).sum::<usize>());
        // A prompt in pieces, ended by its format, keeps what one at once keeps.
        let mut pieces = decoder.full_cache();
        for piece in [&a[..9], &a[9..10], &a[10..29]] {
            decoder.step(&[piece], &mut pieces, 1).unwrap();
        }
        assert_eq!(pieces.held(), 29);
        let copied = {
            let mut copy = decoder.full_cache();
            copy.extend(&pieces.rest(0).unwrap()).unwrap();
            copy.kept_as(format).unwrap()
        };
        let mut once = decoder.new_cache();
        decoder.step(&[&a[..29]], &mut once, 1).unwrap();
        let mut found = pieces.kept_as(format).unwrap();
        assert_eq!((copied.held(), found.held(), found.live_bytes()), (11, 11, once.live_bytes()));
        let rows = [&mut once, &mut found].map(|cache| decode(&decoder, &a[29..], 1, cache));
        for (a, b) in rows[0].iter().flatten().zip(rows[1].iter().flatten()) {
            assert!((a - b).abs() < 1e-4, "{a} for {b}");
        }
    }
}

/// Behind 29 positions that are read in full, the newest thirteen keys at their own distances.
#[derive(Debug)]
struct Newest;

impl Reach for Newest {
    fn is_whole(&self, length: usize) -> bool {
        length <= 29
    }

    fn looks(&self, queries: Range<usize>) -> Vec<Look> {
        vec![Look::new(queries, |i| i - 12..i + 1, |i| i as f32, |j| j as f32)]
    }
}

#[test]
fn what_follows_stands_behind_the_whole_prompt() {
    let (decoder, tokens) = (small_decoder(), tokens(30));
    let window = decoder.with_reach(Box::new(Newest)).unwrap();
    let kept = decoder.with_cache(heavy(0, 12)).unwrap();
    let expected = decode(&window, &tokens, 29, &mut window.new_cache());
    let found = decode(&kept, &tokens, 29, &mut kept.new_cache());
    for (a, b) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((a - b).abs() < 1e-4, "{a} for {b}");
    }
    assert!(matches!(window.with_cache(heavy(4, 4)), Err(ModelError::CacheEvicts { .. })));
    assert!(matches!(kept.with_reach(Box::new(Newest)), Err(ModelError::CacheEvicts { .. })));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let decoder = small_decoder();
    for format in [heavy(0, 0), snapshot(8, 8), snapshot(0, 4)] {
        assert!(matches!(decoder.with_cache(format), Err(ModelError::CacheBudget(_))), "{format:?}");
    }
    let even = Eviction::Snapshot { window: 2, capacity: 4, pool: Pool { pooling: Pooling::Maximum, kernel: 4 } };
    assert!(decoder.with_cache(CacheFormat::Evicting(even)).is_err());
    let share = Eviction::HeavyHitters { heavy: Budget::Share(0.1), recent: Budget::Share(0.1) };
    let kept = decoder.with_cache(CacheFormat::Evicting(share)).unwrap();
    let said = kept.logits_last(&tokens(4), &mut kept.new_cache()).err().unwrap().to_string();
    assert!(said.contains("no key of a prompt of 4 positions; give larger shares"), "{said}");
    let kept = decoder.with_cache(heavy(4, 4)).unwrap();
    let mut cache = kept.new_cache();
    kept.step(&[&tokens(20)], &mut cache, 1).unwrap();
    let mut full = decoder.new_cache();
    decoder.step(&[&tokens(20)], &mut full, 1).unwrap();
    assert!(matches!(cache.truncate(19), Err(ModelError::CacheEvicted { length: 19, from: 20 })));
    assert!(matches!(KvCache::gather(&[(&cache, 0)], 9), Err(ModelError::CacheEvicted { .. })));
    assert!(matches!(KvCache::gather(&[(&cache, 0), (&full, 0)], 20), Err(ModelError::CacheEvicts { .. })));
    assert!(matches!(cache.rest(3), Err(ModelError::CacheEvicts { .. })));
    assert!(matches!(full.extend(&cache), Err(ModelError::CacheEvicts { .. })));
    assert!(matches!(full.clone().kept_as(heavy(4, 4)), Err(ModelError::CacheEvicts { .. })));
    assert!(matches!(cache.clone().kept_as(CacheFormat::Full), Err(ModelError::CacheEvicts { .. })));
    assert!(matches!(cache.reserve(2, 1), Err(ModelError::CacheBatch { cached: 1, given: 2 })));
    // Back to nothing, and of a snapshot to its prompt.
    cache.truncate(0).unwrap();
    kept.step(&[&tokens(5), &tokens(5)], &mut cache, 1).unwrap();
    assert_eq!((cache.batch(), cache.held()), (2, 5));
    let kept = decoder.with_cache(snapshot(3, 6)).unwrap();
    let mut cache = kept.new_cache();
    let first = decode(&kept, &tokens(25), 20, &mut cache);
    assert!(matches!(cache.truncate(19), Err(ModelError::CacheEvicted { length: 19, from: 20 })));
    cache.truncate(20).unwrap();
    assert_eq!((cache.len(), cache.held()), (20, 6));
    let again: Vec<Vec<f32>> =
        tokens(25)[20..].iter().map(|token| kept.logits_last(&[*token], &mut cache).unwrap()).collect();
    assert_eq!(first[1..], again);
}
