//! What factors take, and how well they do.

use harness_core::{Direction, MetricSpec, Observation, Profile, Reduction};

use super::{Factoring, Made};
use crate::metrics::{BASE, LAYER, Metric, Seen, absent, counted};

/// The metrics, in the order reports show them.
pub(crate) fn registry() -> Vec<Metric> {
    use Direction::{Higher, Lower};
    vec![
        Metric {
            spec: MetricSpec {
                id: "removed_share",
                about: "share of the numbers of the linear maps that their factors have less, counted on the result",
                direction: Higher,
                ..BASE
            },
            observe: |spec, seen| {
                let share = |footprint: &crate::footprint::Footprint| {
                    1.0 - footprint.prunable as f64 / footprint.whole.max(1) as f64
                };
                counted(spec, seen, share)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "factored_share",
                about: "share of the numbers of the linear maps, before they became factors, that did",
                ..BASE
            },
            observe: |spec, seen| {
                let share =
                    |footprint: &crate::footprint::Footprint| footprint.factored as f64 / footprint.whole.max(1) as f64;
                let kept = seen.factoring.iter().flat_map(|factoring| &factoring.kept);
                told(counted(spec, seen, share), "kept as they are", kept.map(|name| short(name).to_owned()))
            },
        },
        Metric {
            spec: MetricSpec {
                id: "mean_rank",
                about: "rank of the factors, or bond of tensor trains, averaged over the cuts of all maps",
                along: LAYER,
                ..BASE
            },
            observe: |spec, seen| {
                by_layer(spec, seen, |made| (made.ranks.iter().sum::<usize>() as f64, made.ranks.len() as f64))
            },
        },
        Metric {
            spec: MetricSpec {
                id: "truncation",
                about: "squared error of the factors over the square of the matrices, in the norm in which the method is best (behind inputs, gradients or none)",
                direction: Lower,
                along: LAYER,
                ..BASE
            },
            observe: |spec, seen| by_layer(spec, seen, |made| made.lost),
        },
        Metric {
            spec: MetricSpec {
                id: "damped_share",
                about: "share of the factored maps whose inputs leave a direction out, so that something was added to their second moment or scales, or an update left it out",
                direction: Lower,
                ..BASE
            },
            observe: |spec, seen| match &seen.factoring {
                None => absent(spec, NONE),
                Some(Factoring { made, .. }) => {
                    let damped: Vec<_> =
                        made.iter().filter(|(_, made)| made.jitter > 0.0 || made.left_out > 0).collect();
                    let share = Observation::single(spec.id, damped.len() as f64 / made.len().max(1) as f64);
                    let names = damped.iter().map(|(name, made)| match made.left_out {
                        0 => format!("{} by {:.3e}", short(name), made.jitter),
                        count => format!("{} by {:.3e}, {count} directions left out", short(name), made.jitter),
                    });
                    told(share, "damped", names)
                }
            },
        },
    ]
}

const NONE: &str = "no map is held as factors";

fn short(name: &str) -> &str {
    name.trim_start_matches("model.layers.").trim_end_matches(".weight")
}

/// With the maps that a share is about, in the place of its protocol.
fn told(share: Observation, what: &str, names: impl Iterator<Item = String>) -> Observation {
    let names: Vec<String> = names.collect();
    let protocol = (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")));
    Observation { protocol, ..share }
}

/// A ratio over all maps, and layer by layer.
fn by_layer(spec: &MetricSpec, seen: &Seen, pair: fn(&Made) -> (f64, f64)) -> Observation {
    let Some(factoring) = &seen.factoring else { return absent(spec, NONE) };
    let layers = factoring.made.values().map(|made| made.layer).max().map_or(0, |last| last + 1);
    let mut sums = vec![(0.0, 0.0); layers];
    for made in factoring.made.values() {
        let (part, whole) = pair(made);
        sums[made.layer].0 += part;
        sums[made.layer].1 += whole;
    }
    let all = sums.iter().fold((0.0, 0.0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
    let there = sums.iter().enumerate().filter(|(_, (_, whole))| *whole > 0.0);
    let (places, pairs): (Vec<f64>, Vec<(f64, f64)>) = there.map(|(layer, pair)| (layer as f64, *pair)).unzip();
    let (samples, weights) = pairs.into_iter().unzip();
    let profile = Profile { reduction: Reduction::Ratio, places, samples, weights, clusters: Vec::new() };
    let value = if all.1 > 0.0 { all.0 / all.1 } else { 0.0 };
    Observation { profile: Some(profile), ..Observation::single(spec.id, value) }
}
