//! How attention is spread over what is read: the entropy of its probabilities and what the first keys get.
//!
//! Entropy grows with the logarithm of the keys where scores are bounded (Han et al., 2024, LM-Infinite), so that attention
//! to long texts blurs; mass on the first keys tells sinks (Xiao et al., 2024).

use harness_core::{MetricSpec, Observation, Profile};
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;

use crate::metrics::{LAYER, Metric, SCORED, Seen, absent};

/// Keys that count as the first.
const FIRST: usize = 4;

/// The ids of the metrics of this file.
pub(crate) const METRICS: [&str; 2] = ["attention_entropy", "sink_mass"];

/// Sums over the heads and the queries of one block in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BlockSpread {
    /// Of entropies, in nats.
    pub entropy: f64,
    /// Of what the first keys get.
    pub first: f64,
    /// Heads times queries.
    pub rows: f64,
}

/// The metrics of this file.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![
        Metric {
            spec: MetricSpec {
                id: METRICS[0],
                about: "mean entropy of the probabilities that the heads of a query give the keys it sees; ln n where n keys get alike",
                unit: "nats",
                along: LAYER,
                ..SCORED
            },
            observe: |spec, seen| observe(spec, seen, |block| block.entropy),
        },
        Metric {
            spec: MetricSpec {
                id: METRICS[1],
                about: "mean share of attention that the first four keys of a window get",
                along: LAYER,
                ..SCORED
            },
            observe: |spec, seen| observe(spec, seen, |block| block.first),
        },
    ]
}

/// Of every window and every block, over the queries that predict the targets from `skip_first` on.
///
/// # Errors
/// Why there is none.
pub(crate) fn watch(
    decoder: &Decoder,
    windows: &[Vec<u32>],
    skip_first: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<BlockSpread>>, String> {
    let mut watched = Vec::with_capacity(windows.len());
    for (at, window) in windows.iter().enumerate() {
        watched.push(watch_window(decoder, window, skip_first).map_err(|error| format!("window {at}: {error}"))?);
        progress(at + 1, windows.len());
    }
    Ok(watched)
}

fn watch_window(decoder: &Decoder, window: &[u32], skip_first: usize) -> Result<Vec<BlockSpread>, ModelError> {
    let queries = skip_first.max(1) - 1..window.len() - 1;
    let mut hidden = decoder.embed(&[window])?;
    let mut blocks = Vec::new();
    for layer in 0..decoder.config().layers {
        let mut sum = BlockSpread::default();
        for head in decoder.attention_spread(layer, &hidden, FIRST)?.chunks_exact(window.len()) {
            for spread in &head[queries.clone()] {
                sum.entropy += f64::from(spread.entropy);
                sum.first += f64::from(spread.first);
                sum.rows += 1.0;
            }
        }
        blocks.push(sum);
        hidden = decoder.block(layer, &hidden, None)?;
    }
    Ok(blocks)
}

fn observe(spec: &MetricSpec, seen: &Seen, sum: fn(&BlockSpread) -> f64) -> Observation {
    let windows = match &seen.spreads {
        Some(Ok(windows)) => windows,
        Some(Err(why)) => return absent(spec, why),
        None => return absent(spec, "attention was not watched"),
    };
    let total = |window: &[BlockSpread], of: fn(&BlockSpread) -> f64| window.iter().map(of).sum::<f64>();
    let mut profile = Profile {
        reduction: spec.reduction,
        places: Vec::new(),
        samples: Vec::new(),
        weights: Vec::new(),
        clusters: Vec::new(),
    };
    for (window, document) in windows.iter().zip(&seen.documents) {
        for (layer, block) in window.iter().enumerate() {
            profile.places.push(layer as f64);
            profile.samples.push(sum(block));
            profile.weights.push(block.rows);
            profile.clusters.push(*document);
        }
    }
    Observation {
        samples: windows.iter().map(|window| total(window, sum)).collect(),
        weights: windows.iter().map(|window| total(window, |block| block.rows)).collect(),
        clusters: seen.documents.clone(),
        protocol: Some(format!("{} first={FIRST}", seen.protocol)),
        profile: Some(profile),
        ..Observation::absent(spec.id, spec.reduction, None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::inputs::Inputs;
    use crate::position::placed;

    #[test]
    fn windows_of_a_model_have_known_spreads() {
        let model = Inputs::from_environment().unwrap().model("tiny-100k").unwrap();
        let window: Vec<u32> = (0..400).map(|i| (i * i + 7 * i) % 250).collect();
        let of = |arm: &str, length: usize| {
            let (decoder, _) = placed(&model.decoder, &arm.parse().unwrap()).unwrap();
            let mut told = Vec::new();
            let windows = vec![window[..length].to_vec(), window[..length].to_vec()];
            let found = watch(&decoder, &windows, 0, &mut |done, of| told.push((done, of))).unwrap();
            assert_eq!((told, found.len()), (vec![(1, 2), (2, 2)], 2));
            assert_eq!(found[0], found[1]);
            found[0].clone()
        };
        // A query that sees itself alone; the first four are the first keys.
        let heads = model.decoder.config().heads as f64;
        for block in of("sliding-window(window=1)", 64) {
            assert_eq!(block, BlockSpread { entropy: 0.0, first: 4.0 * heads, rows: 63.0 * heads });
        }
        // Entropies are below those of queries that give all keys alike, masses between nothing and everything.
        let uniform: f64 = (1..400).map(|keys| f64::from(keys).ln()).sum::<f64>() * heads;
        let plain = of("none", 400);
        for block in &plain {
            assert!(block.entropy > 0.0 && block.entropy < uniform && block.first > 0.0 && block.first < block.rows);
        }
        // What is read as without a rule is spread as without it; sharpened queries beyond the training see less.
        assert_eq!(of("lm-infinite", 256), of("none", 256));
        let sharp = of("log-n", 400);
        assert!(sharp[0].entropy < plain[0].entropy);
        // Choosing all there is spreads as seeing it all.
        let [all, chosen] =
            ["lm-infinite(globals=400)", "lm-infinite(globals=0, top_k=400, top_k_skip=0)"].map(|arm| of(arm, 400));
        for (all, chosen) in all.iter().zip(&chosen) {
            assert!((all.entropy - chosen.entropy).abs() < 1e-4 * all.entropy, "{all:?} {chosen:?}");
            assert!((all.first - chosen.first).abs() < 1e-4 * all.first, "{all:?} {chosen:?}");
        }
    }

    #[test]
    fn spreads_are_averaged_over_blocks_and_windows() {
        let block = |entropy, first| BlockSpread { entropy, first, rows: 4.0 };
        let seen = Seen {
            spreads: Some(Ok(vec![vec![block(4.0, 1.0), block(8.0, 2.0)], vec![block(6.0, 0.0), block(2.0, 1.0)]])),
            documents: vec![3, 5],
            protocol: "two windows".to_owned(),
            ..Seen::default()
        };
        let [entropy, sink] = [0, 1].map(|at| {
            let metric = &metrics()[at];
            (metric.observe)(&metric.spec, &seen)
        });
        assert_eq!((entropy.value(), sink.value()), (Some(20.0 / 16.0), Some(0.25)));
        assert_eq!(entropy.protocol.as_deref(), Some("two windows first=4"));
        let profile = entropy.profile.unwrap();
        let layers: Vec<(f64, f64)> =
            profile.by_place("attention_entropy").iter().map(|(at, seen)| (*at, seen.value().unwrap())).collect();
        assert_eq!(layers, [(0.0, 10.0 / 8.0), (1.0, 10.0 / 8.0)]);
        let metric = &metrics()[0];
        let failed = Seen { spreads: Some(Err("panicked".to_owned())), ..Seen::default() };
        assert!((metric.observe)(&metric.spec, &failed).absent.unwrap().contains("panicked"));
        assert!((metric.observe)(&metric.spec, &Seen::default()).absent.unwrap().contains("not watched"));
    }
}
