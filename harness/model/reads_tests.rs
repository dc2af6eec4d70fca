#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::{NormKind, PositionScheme};
use crate::depth::Layer;
use crate::load::load;
use crate::made::made;
use crate::packed::small_decoder;
use crate::replace::BlockNorm;
use crate::weight::DType;
use crate::write::write_folder;

/// Three blocks over a stream of sixteen numbers; every variant that has weights of its own beside the stream.
fn variants() -> Vec<Config> {
    let plain = Config { layers: 3, hidden_size: 16, tied_head: true, ..small_decoder().config().clone() };
    vec![
        plain.clone(),
        Config { tied_head: false, qkv_bias: true, output_bias: true, mlp_bias: true, ..plain.clone() },
        Config { norm: NormKind::Layer, position: PositionScheme::Learned, gated: false, ..plain },
    ]
}

const TOKENS: [u32; 9] = [1, 5, 2, 7, 3, 1, 6, 4, 2];

fn logits(decoder: &Decoder) -> Vec<f32> {
    let hidden = decoder.hidden(&[&TOKENS]).unwrap().flatten_to(1).unwrap();
    decoder.logits(&hidden).unwrap().to_vec2::<f32>().unwrap().concat()
}

/// Differences are a millionth of the greatest logit at most.
fn near(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let most = b.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
    a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 1e-6 * most, "{a} for {b}"));
}

/// The stream backwards, from the middle.
fn order() -> Vec<usize> {
    (0..16).map(|at| (23 - at) % 16).collect()
}

fn all() -> Vec<usize> {
    (0..16).collect()
}

/// A stretch, a gather and all; numbers 0 and 9 are read by few.
fn parts() -> Vec<[Vec<usize>; 2]> {
    vec![
        [(2..7).collect(), vec![1, 2, 5, 11, 14]],
        [all(), vec![3]],
        [vec![0, 3, 4, 6, 8, 10, 12, 15], (1..16).collect()],
    ]
}

#[test]
fn another_order_of_the_stream_computes_the_same() {
    for config in variants() {
        let (_, decoder) = made(config, DType::F32, 0.4);
        let turned = decoder.read_by(&Reading { order: order(), parts: vec![[all(), all()]; 3] }).unwrap();
        near(&logits(&turned), &logits(&decoder));
        assert_eq!(turned.config(), decoder.config());
        assert_eq!(turned.parameters(), decoder.parameters());
        let same = decoder.read_by(&Reading { order: all(), parts: vec![[all(), all()]; 3] }).unwrap();
        assert_eq!((same.bytes_not_shared_with(&decoder), logits(&same)), (0, logits(&decoder)));
    }
}

#[test]
fn what_is_not_read_computes_what_zeros_compute() {
    for dtype in [DType::F32, DType::Bf16] {
        for config in variants() {
            let (_, decoder) = made(config, dtype, 0.4);
            let reading = Reading { order: all(), parts: parts() };
            let zero = decoder.unread(&reading).unwrap();
            assert!(logits(&zero) != logits(&decoder));
            let read = decoder.read_by(&reading).unwrap();
            let turned = decoder.read_by(&Reading { order: order(), ..reading }).unwrap();
            near(&logits(&read), &logits(&zero));
            near(&logits(&turned), &logits(&zero));
            let cols = |decoder: &Decoder, layer, projection| decoder.linear(layer, projection).unwrap().cols();
            for decoder in [&read, &turned] {
                assert!(decoder.parameters() < zero.parameters());
                assert_eq!([0, 1, 2].map(|layer| cols(decoder, layer, Projection::K)), [5, 16, 8]);
                assert_eq!([0, 1, 2].map(|layer| cols(decoder, layer, Projection::Up)), [5, 1, 15]);
            }
            assert_eq!(read.reads(0).attention, Read::Slice(2, 7));
            assert_eq!(read.reads(1), &BlockReads { attention: Read::All, feed_forward: Read::Slice(3, 4) });
            // Backwards from seven: number 2 stands at place 5.
            assert_eq!(turned.reads(0).attention, Read::Slice(1, 6));
            assert_eq!(turned.reads(0).feed_forward, Read::Gather(vec![2, 5, 6, 9, 12].into()));
            assert_eq!(read.reads(2).attention.copied(), 8);
        }
    }
}

#[test]
fn steps_read_what_a_pass_reads() {
    let (_, decoder) = made(variants().remove(1), DType::F32, 0.4);
    let read = decoder.read_by(&Reading { order: order(), parts: parts() }).unwrap();
    let at_once = logits(&read);
    let mut cache = read.new_cache();
    let mut found = Vec::new();
    for token in TOKENS {
        found = read.logits_last(&[token], &mut cache).unwrap();
    }
    near(&found, &at_once[at_once.len() - found.len()..]);
}

#[test]
fn gradients_flow_to_what_is_read() {
    let (_, decoder) = made(variants().remove(0), DType::F32, 0.4);
    let reading = Reading { order: all(), parts: parts() };
    let (read, zero) = (decoder.read_by(&reading).unwrap(), decoder.unread(&reading).unwrap());
    let windows = vec![TOKENS.to_vec()];
    let sums = |decoder: &Decoder| -> Vec<f64> {
        let found = decoder.mean_gradients(&windows).unwrap();
        // Everything but the matrices that lose columns has the same gradients.
        let weights = |layer: usize| decoder.block_parameters(layer).unwrap();
        let of = |(layer, block): (usize, &Vec<(Vec<f32>, Vec<f64>)>)| -> Vec<f64> {
            let wide =
                weights(layer).into_iter().zip(block).filter(|(weight, _)| weight.rows() == 16 || weight.rows() == 1);
            wide.map(|(_, (_, gradient))| gradient.iter().map(|g| g * g).sum()).collect()
        };
        found.iter().enumerate().flat_map(of).collect()
    };
    let (found, expected) = (sums(&read), sums(&zero));
    assert!(!found.is_empty() && found.len() == expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 1e-4 * expected.abs().max(1e-6), "{found} for {expected}");
    }
}

#[test]
fn blocks_are_taken_out_and_norms_divided_as_they_are_read() {
    let (_, decoder) = made(variants().remove(0), DType::F32, 0.4);
    let read = decoder.read_by(&Reading { order: all(), parts: parts() }).unwrap();
    let short = read.of_layers(&[Layer::kept(0), Layer::kept(2)]).unwrap();
    assert_eq!(short.config().reads, [read.reads(0).clone(), read.reads(2).clone()]);
    logits(&short);
    let folded = read.of_layers(&[Layer { base: 0, mix: vec![(0, 1.0), (2, 1.0)] }]).unwrap_err();
    assert!(folded.to_string().contains("they read different numbers of the stream"), "{folded}");
    let factors = [0.5, 2.0, 3.0, 0.25, 1.5];
    for (norm, projections) in [
        (BlockNorm::Attention, &[Projection::Q, Projection::K, Projection::V][..]),
        (BlockNorm::FeedForward, &[Projection::Gate, Projection::Up][..]),
    ] {
        let mut moved = read.with_norm_divided(0, norm, &factors).unwrap();
        for projection in projections.iter().filter(|projection| read.linear(0, **projection).is_some()) {
            moved = moved.with_inputs_multiplied(0, *projection, &factors).unwrap();
        }
        near(&logits(&moved), &logits(&read));
    }
    let error = read.with_norm_divided(0, BlockNorm::Attention, &[1.0; 16]).unwrap_err();
    assert!(matches!(error, ModelError::Factors { found: 16, expected: 5 }));
}

#[test]
fn folders_say_what_is_read() {
    let place = std::env::temp_dir().join(format!("harness-reads-{}", std::process::id()));
    for (at, config) in variants().into_iter().enumerate() {
        let (checkpoint, decoder) = made(config, DType::F32, 0.4);
        let read = decoder.read_by(&Reading { order: order(), parts: parts() }).unwrap();
        let written = checkpoint.read_by(&read);
        assert_eq!(logits(&Decoder::from_checkpoint(&written).unwrap()), logits(&read));
        let folder = place.join(at.to_string());
        write_folder(&folder, &written, DType::F32, 1 << 30).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        assert_eq!(json["architectures"][0], "HarnessForCausalLM");
        assert_eq!(
            json["harness"]["reads"][0],
            serde_json::json!({"attention": {"slice": [1, 6]}, "feed_forward": {"gather": [2, 5, 6, 9, 12]}})
        );
        assert_eq!(json["harness"]["reads"][1]["attention"], "all");
        let loaded = load(&folder).unwrap();
        assert_eq!(loaded.config.reads, read.config().reads);
        assert_eq!(logits(&Decoder::from_checkpoint(&loaded).unwrap()), logits(&read));
    }
    std::fs::remove_dir_all(place).unwrap();
}

#[test]
fn configurations_that_cannot_be_read_so_are_refused() {
    let (checkpoint, decoder) = made(variants().remove(0), DType::F32, 0.4);
    let read = checkpoint.read_by(&decoder.read_by(&Reading { order: all(), parts: parts() }).unwrap());
    let of = |block: usize, attention: Read| {
        let mut changed = read.clone();
        changed.config.reads[block].attention = attention;
        Decoder::from_checkpoint(&changed).unwrap_err()
    };
    for (attention, expected) in [
        (Read::Slice(3, 3), "attention of block 2 reads the places from 3 to before 3 of a stream of 16 numbers"),
        (Read::Slice(3, 17), "attention of block 2 reads the places from 3 to before 17 of a stream of 16 numbers"),
        (Read::Gather(Vec::new().into()), "attention of block 2 reads nothing; a part reads one number at least"),
        (Read::Gather(vec![1, 16].into()), "attention of block 2 reads the place 16 of a stream of 16 numbers"),
        (Read::Gather(vec![4, 4].into()), "attention of block 2 reads the place 4 before 4; places must rise"),
    ] {
        let error = of(2, attention);
        assert!(matches!(error, ModelError::Config(_)) && error.to_string().contains(expected), "{error}");
    }
    // Another width than the matrices have.
    assert!(matches!(of(0, Read::Slice(2, 8)), ModelError::TensorShape { found: (_, 5), expected: (_, 6), .. }));
    let mut fewer = read.clone();
    fewer.config.reads.pop();
    let error = Decoder::from_checkpoint(&fewer).unwrap_err().to_string();
    assert!(error.contains("what is read is said of 2 blocks where there are 3"), "{error}");
    assert!(serde_json::from_value::<Read>(serde_json::json!({"stripe": [1, 2]})).is_err());
}

#[test]
fn readings_that_do_not_fit_are_refused() {
    let (_, decoder) = made(variants().remove(0), DType::F32, 0.4);
    let of = |order: Vec<usize>, parts| decoder.read_by(&Reading { order, parts }).unwrap_err().to_string();
    assert!(of(vec![0; 16], parts()).contains("every one of its 16 numbers once"));
    assert!(of((0..15).collect(), parts()).contains("every one of its 16 numbers once"));
    assert!(of(all(), vec![[all(), all()]; 2]).contains("2 blocks where there are 3"));
    assert!(
        of(all(), vec![[all(), vec![2, 1]]; 3])
            .contains("the feed-forward part of block 0 reads the place 2 before 1; places must rise")
    );
    assert!(of(all(), Vec::new()).contains("0 blocks where there are 3"));
    let read = decoder.read_by(&Reading { order: all(), parts: parts() }).unwrap();
    let again = read.read_by(&Reading { order: all(), parts: vec![[all(), all()]; 3] }).unwrap_err().to_string();
    assert!(again.contains("begin with the whole model"), "{again}");
}
