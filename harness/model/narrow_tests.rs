#![allow(clippy::unwrap_used)]

use super::*;
use crate::cache::{Budget, CacheFormat, CodeBits, Eviction, Grid, KvCache};
use crate::config::{DistanceBias, PositionScheme};
use crate::depth::Layer;
use crate::load::load;
use crate::made::made;
use crate::packed::small_decoder;
use crate::weight::DType;
use crate::write::write_folder;

/// Three blocks of four heads in two groups and of twelve channels, each its own.
fn wide(dtype: DType, biased: bool) -> (Checkpoint, Decoder) {
    let config = Config {
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        hidden_size: 32,
        intermediate_size: 12,
        qkv_bias: biased,
        position: PositionScheme::Rope { theta: 100.0, rotary: 8, style: crate::config::RopeStyle::HalfSplit },
        ..small_decoder().config().clone()
    };
    made(config, dtype, 0.2)
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let hidden = decoder.hidden(&[&TOKENS]).unwrap().flatten_to(1).unwrap();
    decoder.logits(&hidden).unwrap().to_vec2::<f32>().unwrap().concat()
}

fn near(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < tolerance, "{a} for {b}"));
}

const TOKENS: [u32; 9] = [1, 5, 2, 7, 3, 1, 6, 4, 2];

fn left(groups: &[usize], channels: &[usize]) -> Narrow {
    Narrow { groups: groups.to_vec(), channels: channels.to_vec(), output: Fit::default(), down: Fit::default() }
}

fn all(count: usize) -> Vec<usize> {
    (0..count).collect()
}

/// Unequal blocks, one of them whole.
fn unequal() -> Vec<Narrow> {
    vec![left(&[1], &[0, 3, 4, 9, 11]), left(&[0, 1], &all(12)), left(&[0], &[2, 5, 6, 7, 8, 9, 10])]
}

/// Equal ones with other weights and biases.
fn fitted(decoder: &Decoder) -> Vec<Narrow> {
    let of = |layer: usize, projection| {
        let values = decoder.linear(layer, projection).unwrap().weight().to_f32();
        let weight: Vec<f32> = values.iter().map(|value| value * 1.5).collect();
        Fit { weight: Some(weight.into()), bias: Some((0..32).map(|at| (at as f32 - layer as f32) / 64.0).collect()) }
    };
    let block = |layer| Narrow {
        output: of(layer, Projection::O),
        down: of(layer, Projection::Down),
        ..left(&[layer % 2], &[1, 2, 8 + layer])
    };
    (0..3).map(block).collect()
}

#[test]
fn what_is_left_out_computes_what_is_zero() {
    for (dtype, biased) in [(DType::F32, false), (DType::F32, true), (DType::Bf16, true)] {
        let (_, decoder) = wide(dtype, biased);
        for blocks in [unequal(), fitted(&decoder)] {
            let (out, zero) = (decoder.narrowed(&blocks).unwrap(), decoder.masked(&blocks).unwrap());
            near(&logits(&out), &logits(&zero), 1e-4);
            assert!(logits(&out) != logits(&decoder));
            assert!(out.parameters() < zero.parameters());
            let shapes = Projection::ALL.map(|p| (out.linear(0, p).unwrap().rows(), out.linear(0, p).unwrap().cols()));
            let channels = blocks[0].channels.len();
            assert_eq!(shapes[..4], [(16, 32), (8, 32), (8, 32), (32, 16)]);
            assert_eq!(shapes[4..], [(channels, 32), (channels, 32), (32, channels)]);
        }
    }
}

#[test]
fn nothing_left_out_is_the_decoder_itself() {
    let (_, decoder) = wide(DType::F32, true);
    let same = decoder.narrowed(&vec![left(&[0, 1], &all(12)); 3]).unwrap();
    assert_eq!((same.bytes_not_shared_with(&decoder), logits(&same)), (0, logits(&decoder)));
    assert_eq!(same.config(), decoder.config());
    // One block changes, the others are shared.
    let one = decoder.narrowed(&unequal()).unwrap();
    assert!(Arc::ptr_eq(&one.blocks[1], &decoder.blocks[1]) && !Arc::ptr_eq(&one.blocks[0], &decoder.blocks[0]));
}

#[test]
fn heads_and_channels_of_nothing_go_without_loss() {
    let (_, decoder) = wide(DType::F32, false);
    let blocks = unequal();
    let masked = decoder.masked(&blocks).unwrap();
    near(&logits(&masked.narrowed(&blocks).unwrap()), &logits(&masked), 1e-5);
}

#[test]
fn caches_of_unequal_blocks_read_step_by_step_as_at_once() {
    let (_, decoder) = wide(DType::F32, false);
    let narrow = decoder.narrowed(&unequal()).unwrap();
    assert_eq!(narrow.config().widths.len(), 3);
    // Keys and values of 1, 2 and 1 heads of eight dimensions.
    assert_eq!(narrow.cache_elements(), 2 * 8 * 4);
    let at_once = logits(&narrow);
    let last = &at_once[at_once.len() - narrow.config().vocab_size..];
    let mut cache = narrow.new_cache();
    let mut found = Vec::new();
    for token in TOKENS {
        found = narrow.logits_last(&[token], &mut cache).unwrap();
    }
    near(&found, last, 1e-4);
    assert_eq!(cache.live_bytes(), TOKENS.len() * narrow.cache_elements() * size_of::<f32>());
    // Going back, gathering, taking apart and putting together.
    cache.truncate(4).unwrap();
    let mut twice = KvCache::gather(&[(&cache, 0), (&cache, 0)], 4).unwrap();
    let both = narrow.step(&[&TOKENS[4..], &TOKENS[4..]], &mut twice, 1).unwrap();
    let both = narrow.logits(&both.flatten_to(1).unwrap()).unwrap().to_vec2::<f32>().unwrap();
    for row in &both {
        near(row, last, 1e-4);
    }
    let mut joined = KvCache::gather(&[(&cache, 0)], 2).unwrap();
    joined.extend(&cache.rest(2).unwrap()).unwrap();
    near(&narrow.logits_last(&TOKENS[4..], &mut joined).unwrap(), last, 1e-4);
    // Sequences of different lengths step together.
    let mut short = narrow.new_cache();
    narrow.logits_last(&TOKENS[..8], &mut short).unwrap();
    let mut caches = [short, narrow.new_cache()];
    let each = narrow.step_each(&[TOKENS[8], TOKENS[0]], &mut caches).unwrap();
    let each = narrow.logits(&each).unwrap().to_vec2::<f32>().unwrap();
    near(&each[0], last, 1e-4);
    near(&each[1], &at_once[..each[1].len()], 1e-4);
}

#[test]
fn codes_and_evictions_hold_unequal_blocks() {
    let (_, decoder) = wide(DType::F32, false);
    let narrow = decoder.narrowed(&unequal()).unwrap();
    let grid = Grid { bits: CodeBits::Eight, group: 4 };
    let keep = Eviction::HeavyHitters { heavy: Budget::Share(1.0), recent: Budget::Share(1.0) };
    let last = logits(&narrow)[TOKENS.len() * narrow.config().vocab_size - narrow.config().vocab_size..].to_vec();
    for (format, tolerance) in [(CacheFormat::Quantized { grid, window: 4 }, 0.05), (CacheFormat::Evicting(keep), 1e-4)]
    {
        let narrow = narrow.with_cache(format).unwrap();
        let mut cache = narrow.new_cache();
        narrow.logits_last(&TOKENS[..5], &mut cache).unwrap();
        let mut found = Vec::new();
        for token in &TOKENS[5..] {
            found = narrow.logits_last(&[*token], &mut cache).unwrap();
        }
        assert_eq!(cache.format(), format);
        near(&found, &last, tolerance);
        let full = narrow.full_cache().kept_as(format).unwrap();
        assert!(full.is_empty());
    }
}

#[test]
fn gradients_and_depth_know_unequal_blocks() {
    let (_, decoder) = wide(DType::F32, false);
    let narrow = decoder.narrowed(&unequal()).unwrap();
    let windows = vec![TOKENS.to_vec()];
    let gradients = narrow.mean_gradients(&windows).unwrap();
    for (layer, block) in gradients.iter().enumerate() {
        let weights = narrow.block_parameters(layer).unwrap();
        assert!(
            block
                .iter()
                .zip(weights)
                .all(|((w, g), weight)| w.len() == g.len() && w.len() == weight.rows() * weight.cols())
        );
    }
    let short = narrow.of_layers(&[Layer::kept(0), Layer::kept(2)]).unwrap();
    assert_eq!((short.config().widths.len(), short.config().kv_heads), (2, 1));
    let alone = narrow.of_layers(&[Layer::kept(2)]).unwrap();
    assert_eq!((alone.config().widths.len(), alone.config().intermediate_size), (0, 7));
    logits(&short);
    logits(&alone);
    let folded = narrow.of_layers(&[Layer { base: 0, mix: vec![(0, 1.0), (1, 1.0)] }]);
    assert!(folded.unwrap_err().to_string().contains("unequal widths"));
}

#[test]
fn folders_of_equal_blocks_are_ordinary_and_of_unequal_ones_our_own() {
    let (checkpoint, decoder) = wide(DType::F32, false);
    let place = std::env::temp_dir().join(format!("harness-narrow-{}", std::process::id()));
    for (name, blocks, class) in
        [("equal", fitted(&decoder), "LlamaForCausalLM"), ("unequal", unequal(), "HarnessForCausalLM")]
    {
        let narrow = decoder.narrowed(&blocks).unwrap();
        let written = checkpoint.narrowed(&narrow);
        let again = Decoder::from_checkpoint(&written).unwrap();
        assert_eq!(logits(&again), logits(&narrow));
        let folder = place.join(name);
        write_folder(&folder, &written, DType::F32, 1 << 30).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        assert_eq!(json["architectures"][0], class);
        if name == "equal" {
            assert_eq!((&json["num_attention_heads"], &json["num_key_value_heads"]), (&2.into(), &1.into()));
            assert_eq!((&json["intermediate_size"], &json["head_dim"]), (&3.into(), &8.into()));
            assert_eq!((&json["attention_bias"], &json["mlp_bias"]), (&true.into(), &true.into()));
        } else {
            assert_eq!(
                json["harness"]["widths"][0],
                serde_json::json!({"heads": 2, "kv_heads": 1, "intermediate_size": 5})
            );
        }
        let loaded = load(&folder).unwrap();
        assert_eq!(loaded.config.widths, narrow.config().widths);
        assert_eq!(logits(&Decoder::from_checkpoint(&loaded).unwrap()), logits(&narrow));
        // What was cut once can be cut again.
        let once_more = vec![left(&[0], &[0, 1]); 3];
        let [out, zero] = [narrow.narrowed(&once_more).unwrap(), narrow.masked(&once_more).unwrap()];
        near(&logits(&out), &logits(&zero), 1e-4);
    }
    std::fs::remove_dir_all(place).unwrap();
}

#[test]
fn what_cannot_be_left_out_is_refused() {
    let (_, decoder) = wide(DType::F32, false);
    let of = |narrow: Narrow| decoder.narrowed(&vec![narrow; 3]).unwrap_err().to_string();
    assert!(of(left(&[], &[1])).contains("block 0 would have key-value heads []: a block keeps one at least"));
    assert!(of(left(&[0], &[])).contains("channels []: a block keeps one at least"));
    assert!(of(left(&[1, 0], &[1])).contains("they must rise"));
    assert!(of(left(&[0, 2], &[1])).contains("there are 2"));
    assert!(decoder.narrowed(&[left(&[0], &[1])]).is_err());
    let bias = |length| Fit { bias: Some(vec![0.0; length]), ..Fit::default() };
    assert!(of(Narrow { down: bias(31), ..left(&[0], &[1]) }).contains("(1, 31)"));
    let far = Fit { weight: Some(vec![f32::MAX; 32 * 32].into()), bias: None };
    let (_, half) = wide(DType::F16, false);
    assert!(half.narrowed(&vec![Narrow { output: far, ..left(&[0], &[1]) }; 3]).is_err());
    for position in [PositionScheme::Alibi, PositionScheme::Biases(DistanceBias::Inverse)] {
        let (_, placed) = made(Config { position, ..decoder.config().clone() }, DType::F32, 0.2);
        let error = placed.narrowed(&vec![left(&[0], &[1]); 3]).unwrap_err().to_string();
        assert!(error.contains("told apart by their place"), "{error}");
        let channels = vec![left(&[0, 1], &[1, 4]); 3];
        near(&logits(&placed.narrowed(&channels).unwrap()), &logits(&placed.masked(&channels).unwrap()), 1e-4);
    }
}
