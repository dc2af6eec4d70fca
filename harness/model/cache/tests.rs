//! Quantized caches against `tests/reference/kivi.py`, and decoders that use them against decoders that do not.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_kernels::cache::HeadCache;
use serde_json::Value as Json;

use super::*;
use crate::decoder::Decoder;
use crate::packed::small_decoder;
use crate::tensor::{Tensor, with_values};

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/kivi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn number(json: &Json, key: &str) -> usize {
    usize::try_from(json[key].as_u64().unwrap()).unwrap()
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn scaled(json: &Json, scale: f64) -> Vec<f32> {
    numbers(json).into_iter().map(|value| (value / scale) as f32).collect()
}

fn format(bits: usize, group: usize, window: usize) -> CacheFormat {
    CacheFormat::Quantized { grid: Grid { bits: CodeBits::of(bits).unwrap(), group }, window }
}

fn read(tensor: &Tensor) -> Vec<f32> {
    with_values(tensor, <[f32]>::to_vec).unwrap()
}

#[test]
fn codes_scales_and_minima_are_those_of_the_reference() {
    let golden = golden();
    for case in golden["tensors"].as_array().unwrap() {
        let (bits, group, channels) = (number(case, "bits"), number(case, "group"), number(case, "channels"));
        let x = scaled(&case["x"], golden["scale"].as_f64().unwrap());
        let mut head = HeadCache::new(Grid { bits: CodeBits::of(bits).unwrap(), group }, channels);
        head.push_keys(&x, channels, number(case, "tokens")).unwrap();
        head.push_values(&x, channels, number(case, "tokens")).unwrap();
        for (name, (codes, scales, minima)) in [("keys", head.key_parts()), ("values", head.value_parts())] {
            let expected = &case[name];
            let same =
                |found: Vec<f64>, key: &str| assert_eq!(found, numbers(&expected[key]), "{bits} {group} {name} {key}");
            same(codes.into_iter().map(f64::from).collect(), "codes");
            same(scales.iter().map(|half| half.to_f64()).collect(), "scales");
            same(minima.iter().map(|half| half.to_f64()).collect(), "minima");
        }
    }
}

fn attention_shape(case: &Json) -> AttentionShape {
    let head_dim = number(case, "head_dim");
    AttentionShape {
        heads: number(case, "heads"),
        kv_heads: number(case, "kv_heads"),
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        slopes: None,
        biases: None,
    }
}

#[test]
fn a_decode_run_attends_to_what_the_reference_holds_and_takes_its_bytes() {
    let golden = golden();
    for case in golden["runs"].as_array().unwrap() {
        let shape = attention_shape(case);
        let of = |key| scaled(&case[key], golden["scale"].as_f64().unwrap());
        let (q, k, v, expected) = (of("q"), of("k"), of("v"), numbers(&case["outputs"]));
        let (q_width, width) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let total = k.len() / width;
        let cache_shape = CacheShape { layers: 1, kv_heads: shape.kv_heads, head_dim: shape.head_dim, kept: None };
        let (bits, group, window) = (number(case, "bits"), number(case, "group"), number(case, "window"));
        let mut cache = KvCache::new(cache_shape, format(bits, group, window)).unwrap();
        let mut found = Vec::new();
        let mut at = 0;
        while at < total {
            let new = if at == 0 { number(case, "prompt") } else { 1 };
            let part = |all: &[f32], width: usize| all[at * width..(at + new) * width].to_vec();
            cache.reserve(1, new).unwrap();
            found.extend(
                cache.attend(0, [&part(&q, q_width), &part(&k, width), &part(&v, width)], None, &shape).unwrap(),
            );
            cache.advance(new);
            at += new;
        }
        let largest = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        for (at, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!((f64::from(*a) - b).abs() <= 1e-5 * largest, "{bits} bits, output {at}: {a} for {b}");
        }
        assert_eq!((found.len(), cache.live_bytes()), (expected.len(), number(case, "bytes")));
    }
}

#[test]
fn what_is_a_code_when_is_what_the_reference_says() {
    for case in golden()["schedules"].as_array().unwrap() {
        let (window, mut length) = (number(case, "window"), 0);
        let shape = CacheShape { layers: 2, kv_heads: 1, head_dim: 4, kept: None };
        let attention = AttentionShape { heads: 1, kv_heads: 1, head_dim: 4, scale: 0.5, slopes: None, biases: None };
        let mut cache = KvCache::new(shape, format(2, 4, window)).unwrap();
        for state in case["states"].as_array().unwrap() {
            let new = if length == 0 { number(case, "prompt") } else { 1 };
            let rows: Vec<f32> = (0..2 * new * 4).map(|i| (i as f32).sin()).collect();
            cache.reserve(2, new).unwrap();
            for layer in 0..2 {
                cache.attend(layer, [&rows; 3], None, &attention).unwrap();
            }
            cache.advance(new);
            length += new;
            let (keys, values) = cache.quantized();
            let found: Vec<f64> = [keys, length - keys, values, length - values].map(|count| count as f64).into();
            assert_eq!((found, cache.len()), (numbers(state), length), "after {length} of {window}");
        }
    }
}

/// Logits after each token, with a prompt that is read at once.
fn decode(decoder: &Decoder, tokens: &[u32], prompt: usize, cache: &mut KvCache) -> Vec<Vec<f32>> {
    let mut rows = vec![decoder.logits_last(&tokens[..prompt], cache).unwrap()];
    rows.extend(tokens[prompt..].iter().map(|token| decoder.logits_last(&[*token], cache).unwrap()));
    rows
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).map(|at| at * 31 % 83).collect()
}

#[test]
fn before_anything_is_a_code_nothing_differs_by_a_bit() {
    let decoder = small_decoder();
    let quantized = decoder.with_cache(format(2, 16, 32)).unwrap();
    let tokens = tokens(40);
    for prompt in [1, 9, 31] {
        let full = decode(&decoder, &tokens, prompt, &mut decoder.new_cache());
        let found = decode(&quantized, &tokens, prompt, &mut quantized.new_cache());
        // The row of token 32 is made with all keys as they were, and turns them into codes; the next one sees the codes.
        let same = 32 - prompt + 1;
        assert_eq!(full[..same], found[..same], "{prompt}");
        assert_ne!(full[same], found[same], "{prompt}");
    }
}

#[test]
fn steps_of_batches_and_of_single_sequences_give_the_same() {
    let decoder = small_decoder().with_cache(format(4, 8, 8)).unwrap();
    let (a, b) = (tokens(30), tokens(60)[30..].to_vec());
    let mut shared = decoder.new_cache();
    decoder.step(&[&a[..19], &b[..19]], &mut shared, 1).unwrap();
    let mut each = [0, 1].map(|row| KvCache::gather(&[(&shared, row)], 19).unwrap());
    // One step that fails leaves both as they were.
    assert!(decoder.step_each(&[1, 999], &mut each).is_err() && decoder.step(&[&[1], &[999]], &mut shared, 1).is_err());
    for at in 19..30 {
        let rows = read(&decoder.step(&[&a[at..=at], &b[at..=at]], &mut shared, 1).unwrap());
        assert_eq!(rows, read(&decoder.step_each(&[a[at], b[at]], &mut each).unwrap()), "{at}");
    }
    assert_eq!(shared.live_bytes(), each.iter().map(KvCache::live_bytes).sum::<usize>());
    let gathered = KvCache::gather(&[(&shared, 1), (&each[0], 0)], 30).unwrap();
    let rows = |cache: &KvCache, tokens: &[&[u32]]| read(&decoder.step(tokens, &mut cache.clone(), 1).unwrap());
    let mut swapped = rows(&shared, &[&[6], &[5]]);
    swapped.rotate_left(64);
    assert_eq!(rows(&gathered, &[&[5], &[6]]), swapped);
}

#[test]
fn several_tokens_behind_a_prompt_see_what_the_codes_stand_for() {
    let decoder = small_decoder().with_cache(format(8, 16, 16)).unwrap();
    let tokens = tokens(57);
    let mut one = decoder.new_cache();
    decoder.step(&[&tokens[..37]], &mut one, 1).unwrap();
    let mut several = one.clone();
    // The first token behind the prompt sees the same, however many come with it.
    let first = read(&decoder.step(&[&tokens[37..38]], &mut one, 1).unwrap());
    let together = read(&decoder.step(&[&tokens[37..]], &mut several, 20).unwrap());
    let largest = first.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    for (a, b) in first.iter().zip(&together) {
        assert!((a - b).abs() <= 2e-5 * largest, "{a} for {b}");
    }
    assert_eq!((several.len(), several.quantized()), (57, (48, 41)));
    // What one token after the other leaves is as large, and the next step goes on from it.
    for token in &tokens[38..] {
        decoder.step(&[&[*token]], &mut one, 1).unwrap();
    }
    assert_eq!((one.quantized(), one.live_bytes()), (several.quantized(), several.live_bytes()));
    decoder.step(&[&[3]], &mut several, 1).unwrap();
}

#[test]
fn long_prompts_are_read_in_full_precision_chunk_by_chunk() {
    let decoder = small_decoder();
    let quantized = decoder.with_cache(format(2, 8, 16)).unwrap();
    let tokens: Vec<u32> = tokens(600);
    let (mut full, mut codes) = (decoder.new_cache(), quantized.new_cache());
    assert_eq!(decoder.logits_last(&tokens, &mut full).unwrap(), quantized.logits_last(&tokens, &mut codes).unwrap());
    assert_eq!((codes.quantized(), codes.len()), ((592, 584), 600));
    let again = full.clone().kept_as(quantized.cache_format()).unwrap();
    let next = |cache: &KvCache| quantized.logits_last(&[4], &mut cache.clone()).unwrap();
    assert_eq!((next(&again), again.live_bytes()), (next(&codes), codes.live_bytes()));
    // Codes of two bits are not what was computed.
    assert_ne!(next(&codes), decoder.logits_last(&[4], &mut full.clone()).unwrap());
}

#[test]
fn a_cache_takes_the_bytes_of_the_formula_at_every_length() {
    let decoder = small_decoder();
    let (layers, width) = (2, 32);
    for (bits, group, window) in [(2, 16, 16), (4, 8, 24), (8, 16, 32)] {
        let decoder = decoder.with_cache(format(bits, group, window)).unwrap();
        let mut cache = decoder.new_cache();
        for length in 1..=70_usize {
            decoder.step(&[&[7]], &mut cache, 1).unwrap();
            let (keys, values) = (length / window * window, length.saturating_sub(window));
            let codes = (keys + values) * width;
            // Codes, two halves a group, and four bytes for what is no code.
            let expected = codes * bits / 8 + codes / group * 4 + (2 * length * width - codes) * 4;
            assert_eq!(cache.live_bytes(), layers * expected, "{bits} {length}");
            assert!(cache.bytes() >= cache.live_bytes());
        }
    }
    let mut full = decoder.new_cache();
    decoder.step(&[&tokens(70)], &mut full, 1).unwrap();
    assert_eq!(full.live_bytes(), 2 * layers * 70 * width * 4);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let decoder = small_decoder();
    for (bits, group, window) in [(2, 32, 32), (2, 16, 24), (2, 16, 8), (2, 2, 4), (4, 1, 4), (2, 0, 4)] {
        let refused = decoder.with_cache(format(bits, group, window)).err().unwrap();
        assert!(matches!(refused, ModelError::CacheGroup { .. }), "{refused}");
    }
    let quantized = decoder.with_cache(format(2, 4, 4)).unwrap();
    let mut cache = quantized.new_cache();
    quantized.step(&[&tokens(11)], &mut cache, 1).unwrap();
    let mut full = decoder.new_cache();
    decoder.step(&[&tokens(11)], &mut full, 1).unwrap();
    assert!(matches!(cache.truncate(7), Err(ModelError::CacheCodes { length: 7, codes: 8 })));
    assert!(matches!(KvCache::gather(&[(&cache, 0)], 7), Err(ModelError::CacheCodes { .. })));
    assert!(matches!(KvCache::gather(&[(&cache, 0), (&full, 0)], 9), Err(ModelError::CacheFormat { .. })));
    assert!(matches!(KvCache::gather(&[(&full, 0), (&cache, 0)], 9), Err(ModelError::CacheFormat { .. })));
    assert!(matches!(KvCache::gather(&[(&cache, 1)], 9), Err(ModelError::Range { .. })));
    assert!(matches!(KvCache::gather(&[(&full, 0)], 12), Err(ModelError::Range { .. })));
    assert!(matches!(cache.rest(2), Err(ModelError::CacheFormat { .. })));
    assert!(matches!(full.extend(&cache), Err(ModelError::CacheFormat { .. })));
    assert!(matches!(cache.clone().kept_as(CacheFormat::Full), Err(ModelError::CacheFormat { .. })));
    assert!(matches!(cache.reserve(2, 1), Err(ModelError::CacheBatch { cached: 1, given: 2 })));
    // Back to where nothing is lost, and to nothing.
    cache.truncate(9).unwrap();
    assert_eq!((cache.len(), cache.quantized()), (9, (8, 7)));
    quantized.step(&[&[1]], &mut cache, 1).unwrap();
    cache.truncate(0).unwrap();
    quantized.step(&[&tokens(5), &tokens(5)], &mut cache, 1).unwrap();
    assert_eq!((cache.batch(), cache.quantized()), (2, (4, 1)));
    // What half precision does not hold.
    let attention = AttentionShape { heads: 1, kv_heads: 1, head_dim: 4, scale: 0.5, slopes: None, biases: None };
    for (bad, what) in [(f32::NAN, "NaN"), (1e9, "1000000000"), (f32::NEG_INFINITY, "NaN")] {
        let mut cache =
            KvCache::new(CacheShape { layers: 1, kv_heads: 1, head_dim: 4, kept: None }, format(2, 4, 4)).unwrap();
        let mut rows = vec![0.5; 16];
        rows[6] = bad;
        cache.reserve(1, 4).unwrap();
        let refused = cache.attend(0, [&rows; 3], None, &attention).err().unwrap().to_string();
        assert!(refused.contains(&format!("keys of block 0 cannot be quantized: {what}")), "{refused}");
        // The cache is as it was.
        cache.reserve(1, 4).unwrap();
        cache.attend(0, [&[0.5; 16]; 3], None, &attention).unwrap();
        cache.advance(4);
        assert_eq!((cache.len(), cache.quantized()), (4, (4, 0)));
    }
}
