//! Logits against `tests/reference/state_space.py`, chunks against one pass, gradients.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Var};
use serde_json::Value as Json;

use super::*;
use crate::cache::CacheFormat;
use crate::config::{Config, NormKind, PositionScheme, Projection};
use crate::load::{Checkpoint, expected_tensors, load};
use crate::tensor::with_values;
use crate::weight::DType;
use crate::write::{DEFAULT_SHARD_BYTES, write_folder};

struct Golden {
    config: Config,
    weights: BTreeMap<String, Weight>,
    windows: Vec<Vec<u32>>,
    logits: Vec<f64>,
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/state_space.json");
    let json: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let size = |key: &str| json["config"][key].as_u64().unwrap() as usize;
    let config = Config {
        architecture: "mamba".to_owned(),
        vocab_size: size("vocab_size"),
        hidden_size: size("hidden_size"),
        intermediate_size: size("channels"),
        layers: size("layers"),
        heads: 0,
        kv_heads: 0,
        head_dim: 0,
        max_positions: 16,
        norm: NormKind::Rms,
        norm_epsilon: json["config"]["norm_epsilon"].as_f64().unwrap(),
        activation: Activation::Silu,
        gated: true,
        position: PositionScheme::StateSpace(StateSpaceShape {
            states: size("states"),
            taps: size("taps"),
            step_rank: size("step_rank"),
        }),
        scaling: None,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        tied_head: true,
        bos: Some(0),
        eos: vec![1],
    };
    let weights = expected_tensors(&config).map(|spec| {
        let values: Vec<f32> = serde_json::from_value(json["weights"][&spec.name].clone()).unwrap();
        (spec.name, Weight::from_f32(spec.rows, spec.cols, values))
    });
    Golden {
        weights: weights.collect(),
        windows: serde_json::from_value(json["windows"].clone()).unwrap(),
        logits: serde_json::from_value(json["logits"].clone()).unwrap(),
        config,
    }
}

impl Golden {
    fn decoder(&self) -> Decoder {
        Decoder::from_weights(&self.config, &self.weights).unwrap()
    }

    fn length(&self) -> usize {
        self.windows[0].len()
    }

    fn part(&self, from: usize, to: usize) -> Vec<&[u32]> {
        self.windows.iter().map(|window| &window[from..to]).collect()
    }
}

/// Final hidden states of every token.
fn read(decoder: &Decoder, windows: &[&[u32]], cache: &mut KvCache) -> Result<Tensor, ModelError> {
    decoder.step(windows, cache, windows[0].len())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    with_values(tensor, <[f32]>::to_vec).unwrap()
}

#[test]
fn logits_are_those_of_another_program_with_a_cache_and_without() {
    let golden = golden();
    let decoder = golden.decoder();
    let windows = golden.part(0, golden.length());
    let cached = read(&decoder, &windows, &mut decoder.new_cache()).unwrap();
    for hidden in [decoder.hidden(&windows).unwrap(), cached] {
        let found = values(&decoder.logits(&hidden).unwrap());
        assert_eq!(found.len(), golden.logits.len());
        for (found, wanted) in found.iter().zip(&golden.logits) {
            // Numpy's own f32 is 6e-6 away from its f64: the logits go up to 5, behind two blocks of sums.
            assert!((f64::from(*found) - wanted).abs() < 3e-5, "{found} for {wanted}");
        }
    }
    let some = values(&decoder.hidden_positions(&windows, 3..7).unwrap());
    let all = values(&decoder.hidden(&windows).unwrap());
    let width = golden.config.hidden_size;
    for (some, all) in some.chunks(4 * width).zip(all.chunks(golden.length() * width)) {
        assert_eq!(some, &all[3 * width..7 * width]);
    }
}

#[test]
fn chunks_and_single_tokens_are_one_pass_in_memory_that_does_not_grow() {
    let golden = golden();
    let decoder = golden.decoder();
    let length = golden.length();
    let mut whole = decoder.new_cache();
    let wanted = values(&read(&decoder, &golden.part(0, length), &mut whole).unwrap());
    let states = whole.states().unwrap().clone();
    for chunk in [1, 3, 5, length] {
        let mut cache = decoder.new_cache();
        let hidden: Vec<Tensor> = (0..length)
            .step_by(chunk)
            .map(|from| read(&decoder, &golden.part(from, (from + chunk).min(length)), &mut cache).unwrap())
            .collect();
        let found = values(&Tensor::cat(&hidden, 1).unwrap().contiguous().unwrap());
        assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5), "chunks of {chunk}");
        assert_eq!((cache.len(), cache.bytes(), cache.held()), (length, states.bytes(), 0));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        let all = |carried: &Carried| carried.blocks().concat().concat();
        assert!(all(cache.states().unwrap()).iter().zip(&all(&states)).all(near), "chunks of {chunk}");
    }
}

#[test]
fn texts_of_any_lengths_step_together_as_they_would_alone() {
    let golden = golden();
    let decoder = golden.decoder();
    let text = &golden.windows[0];
    let mut caches: Vec<KvCache> = [2, 5, 9]
        .map(|length| {
            let mut cache = decoder.new_cache();
            decoder.logits_last(&text[..length], &mut cache).unwrap();
            cache
        })
        .into();
    let alone: Vec<f32> = caches
        .iter()
        .flat_map(|cache| {
            let mut cache = cache.clone();
            values(&decoder.step(&[&text[3..4]], &mut cache, 1).unwrap())
        })
        .collect();
    let together = values(&decoder.step_each(&[text[3]; 3], &mut caches).unwrap());
    assert!(together.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(caches.iter().map(KvCache::len).collect::<Vec<_>>(), [3, 6, 10]);
}

#[test]
fn states_go_back_to_nothing_and_nowhere_else() {
    let golden = golden();
    let decoder = golden.decoder();
    let mut cache = decoder.new_cache();
    read(&decoder, &golden.part(0, 6), &mut cache).unwrap();
    let second = KvCache::gather(&[(&cache, 1)], 6).unwrap();
    let mut own = decoder.new_cache();
    read(&decoder, &[&golden.windows[1][..6]], &mut own).unwrap();
    let numbers = |cache: &KvCache| cache.states().unwrap().blocks().concat().concat();
    // Products of other numbers of rows are summed in another order.
    assert!(numbers(&second).iter().zip(&numbers(&own)).all(|(a, b)| (a - b).abs() < 1e-5));
    let mut put = decoder.full_cache();
    put.extend(&second.rest(0).unwrap()).unwrap();
    assert_eq!(put.states(), second.states());
    for error in
        [cache.truncate(5).unwrap_err(), KvCache::gather(&[(&cache, 0)], 5).unwrap_err(), second.rest(5).unwrap_err()]
    {
        assert!(matches!(error, ModelError::CacheStates { length: 5, read: 6 }), "{error}");
    }
    cache.truncate(6).unwrap();
    assert_eq!(cache.len(), 6);
    cache.truncate(0).unwrap();
    let (a, b) = (read(&decoder, &[&[3, 4]], &mut cache), read(&decoder, &[&[3, 4]], &mut decoder.new_cache()));
    assert_eq!(values(&a.unwrap()), values(&b.unwrap()));
    assert!(!decoder.caches_come_apart());
}

#[test]
fn a_folder_of_it_is_read_back_by_the_keys_of_mamba() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let (target, wide) = (folder.path().join("model"), folder.path().join("wide"));
    let checkpoint = Checkpoint::new(golden.config.clone(), golden.weights.clone(), None).unwrap();
    write_folder(&target, &checkpoint, DType::F32, DEFAULT_SHARD_BYTES).unwrap();
    let loaded = load(&target).unwrap();
    assert_eq!(loaded.config, golden.config);
    let windows = golden.part(0, golden.length());
    let hidden = |decoder: &Decoder| values(&decoder.hidden(&windows).unwrap());
    let again = Decoder::from_checkpoint(&loaded).unwrap();
    assert_eq!(hidden(&again), hidden(&golden.decoder()));
    assert_eq!(again.parameters(), golden.weights.values().map(|weight| weight.rows() * weight.cols()).sum::<usize>());
    let text = std::fs::read_to_string(target.join("config.json")).unwrap();
    let json: Json = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["architectures"][0], &json["model_type"]), (&"MambaForCausalLM".into(), &"mamba".into()));
    assert_eq!((&json["expand"], &json["state_size"]), (&2.into(), &4.into()));
    // As transformers writes it: neither channels nor a longest context, and the rank by its rule.
    let mut bare = json.clone();
    for key in ["intermediate_size", "max_position_embeddings"] {
        bare.as_object_mut().unwrap().remove(key);
    }
    std::fs::write(target.join("config.json"), bare.to_string()).unwrap();
    let loaded = load(&target).unwrap();
    assert_eq!(loaded.config, Config { max_positions: 2048, ..golden.config.clone() });
    for (key, value, says) in [
        ("use_bias", Json::Bool(true), "state spaces whose maps carry biases"),
        ("use_conv_bias", Json::Bool(false), "whose convolution carries no bias"),
        ("hidden_act", "relu".into(), "state spaces with the activation \"relu\""),
        ("state_size", 0.into(), "the number of states is 0"),
        ("conv_kernel", "4".into(), "conv_kernel is \"4\", not a whole number"),
        (
            "time_step_rank",
            "auto".into(),
            "mixer.x_proj.weight has shape (10, 16), but the configuration calls for (9, 16)",
        ),
    ] {
        let mut changed = json.clone();
        changed[key] = value;
        std::fs::write(target.join("config.json"), changed.to_string()).unwrap();
        let error = load(&target).unwrap_err().to_string();
        assert!(error.contains(says), "{key}: {error}");
    }
    let threefold = Config { intermediate_size: 12, ..golden.config };
    let zeros = expected_tensors(&threefold)
        .map(|spec| (spec.name, Weight::from_f32(spec.rows, spec.cols, vec![0.0; spec.rows * spec.cols])));
    let checkpoint = Checkpoint::new(threefold.clone(), zeros.collect(), None).unwrap();
    write_folder(&wide, &checkpoint, DType::F16, DEFAULT_SHARD_BYTES).unwrap();
    assert_eq!(load(&wide).unwrap().config, threefold, "channels that are no multiple of the width");
}

#[test]
fn gradients_are_those_of_differences_and_stop_where_states_are_carried() {
    let golden = golden();
    let loss = |decoder: &Decoder, cache: &mut KvCache| {
        let logits = decoder.logits(&read(decoder, &golden.part(6, 12), cache).unwrap()).unwrap();
        let targets: Vec<u32> = golden.windows.iter().flat_map(|window| window[7..13].to_vec()).collect();
        crate::ops::cross_entropy(&logits.reshape((targets.len(), golden.config.vocab_size)).unwrap(), &targets)
            .unwrap()
    };
    // States of another decoder, which variables do not reach.
    let mut first = golden.decoder().new_cache();
    read(&golden.decoder(), &golden.part(0, 6), &mut first).unwrap();
    let variables: BTreeMap<String, Var> = expected_tensors(&golden.config)
        .map(|spec| {
            let weight = &golden.weights[&spec.name];
            let shape: candle_core::Shape = if spec.vector { spec.cols.into() } else { (spec.rows, spec.cols).into() };
            let variable = Var::from_vec(weight.to_f32(), shape, &Device::Cpu).unwrap();
            (spec.name, variable)
        })
        .collect();
    let decoder = Decoder::trainable(&golden.config, &variables).unwrap();
    let given = loss(&decoder, &mut first.clone()).backward().unwrap();
    // States that this very decoder left give the same gradients: none flows through them.
    let mut own = decoder.new_cache();
    read(&decoder, &golden.part(0, 6), &mut own).unwrap();
    let carried = loss(&decoder, &mut own).backward().unwrap();
    for (name, variable) in &variables {
        let gradient = values(given.get(variable).unwrap_or_else(|| panic!("{name} has no gradient")));
        assert_eq!(gradient, values(carried.get(variable).unwrap()), "{name}");
        let at = gradient.len() / 2;
        let moved = |by: f32| {
            let mut weights = golden.weights.clone();
            let weight = &weights[name];
            let (rows, cols, mut numbers) = (weight.rows(), weight.cols(), weight.to_f32());
            numbers[at] += by;
            weights.insert(name.clone(), Weight::from_f32(rows, cols, numbers));
            let decoder = Decoder::from_weights(&golden.config, &weights).unwrap();
            f64::from(loss(&decoder, &mut first.clone()).to_scalar::<f32>().unwrap())
        };
        // Two steps, of which the error of third order cancels: the embedding bends too much for one.
        let slope = |by: f32| (moved(by) - moved(-by)) / f64::from(2.0 * by);
        let wanted = (4.0 * slope(5e-3) - slope(1e-2)) / 3.0;
        assert!((f64::from(gradient[at]) - wanted).abs() < 2e-4, "{name}: {} for {wanted}", gradient[at]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let golden = golden();
    let decoder = golden.decoder();
    let mut cache = decoder.new_cache();
    read(&decoder, &[&[1, 2]], &mut cache).unwrap();
    let before = cache.states().cloned();
    let error = read(&decoder, &golden.part(0, 4), &mut cache).unwrap_err();
    assert!(matches!(error, ModelError::CacheBatch { cached: 1, given: 2 }), "{error}");
    let error = read(&decoder, &[&[99]], &mut cache).unwrap_err();
    assert!(matches!(error, ModelError::Token { token: 99, .. }), "{error}");
    assert_eq!(cache.states().cloned(), before, "a refused pass moves nothing");
    let refused = |config: &Config| Decoder::from_weights(config, &golden.weights).unwrap_err().to_string();
    let of = |change: &dyn Fn(&mut StateSpaceShape)| {
        let mut shape = golden.config.state_space().unwrap();
        change(&mut shape);
        refused(&Config { position: PositionScheme::StateSpace(shape), ..golden.config.clone() })
    };
    assert!(of(&|shape| shape.states = 0).contains("the number of states is 0, which is out of range"));
    assert!(of(&|shape| shape.taps = 3).contains("tensor backbone.layers.0.mixer.conv1d.weight is (16, 4) where"));
    assert!(refused(&Config { heads: 2, ..golden.config.clone() }).contains("2 heads of dimension 0"));
    assert!(refused(&Config { mlp_bias: true, ..golden.config.clone() }).contains("biases at the convolution"));
    let error = Decoder::from_weights(&golden.config, &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, ModelError::MissingTensor { .. }), "{error}");
}

#[test]
fn what_works_on_attention_is_refused() {
    let golden = golden();
    let decoder = golden.decoder();
    let hidden = decoder.embed(&golden.part(0, 4)).unwrap();
    let rope = crate::rope::Rope::new(10_000.0, 4, crate::config::RopeStyle::HalfSplit);
    let windows = vec![golden.windows[0].clone()];
    for error in [
        decoder.block(0, &hidden, None).unwrap_err(),
        decoder.attention_of(0, &hidden).unwrap_err(),
        decoder.with_rope(rope).unwrap_err(),
        decoder.of_layers(&[crate::depth::Layer::kept(0)]).unwrap_err(),
        decoder.squared_gradients(&windows, &mut |_| {}).unwrap_err(),
        KvCache::new(decoder.cache_shape(), CacheFormat::Full)
            .and_then(|mut cache| read(&decoder, &golden.part(0, 4), &mut cache))
            .unwrap_err(),
    ] {
        assert!(matches!(error, ModelError::StateSpace { .. }), "{error}");
        assert!(error.to_string().contains("leave the method out, or name a model with attention"), "{error}");
    }
    assert!(decoder.linear(0, Projection::Q).is_none());
}
