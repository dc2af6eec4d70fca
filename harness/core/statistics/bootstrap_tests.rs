#![allow(clippy::unwrap_used)]

use super::*;

fn ratio(samples: Vec<f64>, clusters: Vec<u32>) -> Observation {
    Observation {
        weights: vec![1.0; samples.len()],
        samples,
        clusters,
        ..Observation::absent("m", Reduction::Ratio, None)
    }
}

/// Standard normal numbers, two a pair of uniforms (Box and Muller).
pub(crate) fn normals(seed: u64, label: &str) -> impl Iterator<Item = f64> + use<> {
    let mut random = stream(seed, &[label]);
    std::iter::from_fn(move || {
        let mut uniform = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let (radius, angle) = ((-2.0 * (1.0 - uniform()).ln()).sqrt(), std::f64::consts::TAU * uniform());
        Some(radius * angle.cos())
    })
}

#[test]
fn the_same_samples_give_the_same_interval() {
    let observation = ratio((0..40).map(|i| f64::from(i % 7)).collect(), Vec::new());
    let bootstrap = Bootstrap::default();
    assert_eq!(bootstrap.estimate(&observation), bootstrap.estimate(&observation));
    let other = Bootstrap { seed: 1, ..bootstrap };
    assert_ne!(bootstrap.estimate(&observation), other.estimate(&observation));
}

#[test]
fn the_interval_of_a_mean_is_near_the_normal_one() {
    let samples: Vec<f64> = normals(3, "mean").take(400).map(|z| 5.0 + 2.0 * z).collect();
    let mean = super::super::mean(&samples).unwrap();
    let error = super::super::deviation(&samples).unwrap() / 20.0;
    let interval = Bootstrap { resamples: 10_000, ..Bootstrap::default() }
        .estimate(&ratio(samples, Vec::new()))
        .unwrap()
        .interval
        .unwrap();
    assert!((interval.low - (mean - 1.966 * error)).abs() < 0.08 * error, "{interval:?}");
    assert!((interval.high - (mean + 1.966 * error)).abs() < 0.08 * error, "{interval:?}");
}

#[test]
fn perplexity_is_the_exponential_of_the_ratio() {
    let samples: Vec<f64> = (0..32).map(|i| 100.0 + f64::from(i * i % 17)).collect();
    let plain = ratio(samples, Vec::new());
    let exponential = Observation { reduction: Reduction::ExpRatio, weights: vec![64.0; 32], ..plain.clone() };
    let bootstrap = Bootstrap { flavour: Flavour::Percentile, ..Bootstrap::default() };
    let (plain, exponential) = (bootstrap.estimate(&plain).unwrap(), bootstrap.estimate(&exponential).unwrap());
    let (low, high) = plain.interval.map(|i| ((i.low / 64.0).exp(), (i.high / 64.0).exp())).unwrap();
    let found = exponential.interval.unwrap();
    assert!((found.low - low).abs() < 1e-4 && (found.high - high).abs() < 1e-4, "{found:?} {low} {high}");
}

/// Samples of one document are alike: drawing them singly would make the interval far too short.
#[test]
fn clusters_are_drawn_whole() {
    let effects: Vec<f64> = normals(5, "documents").take(16).collect();
    let noise: Vec<f64> = normals(5, "windows").take(128).collect();
    let samples: Vec<f64> = (0..128).map(|i| effects[i / 8] + 0.1 * noise[i]).collect();
    let clusters: Vec<u32> = (0..128).map(|i| 100 - i / 8).collect();
    let width = |observation: &Observation| {
        let estimate = Bootstrap::default().estimate(observation).unwrap();
        let interval = estimate.interval.unwrap();
        (estimate.kind, estimate.units, interval.high - interval.low)
    };
    let (kind, units, whole) = width(&ratio(samples.clone(), clusters));
    assert_eq!((kind, units), (UnitKind::Clusters, 16));
    let (kind, units, single) = width(&ratio(samples, Vec::new()));
    assert_eq!((kind, units), (UnitKind::Samples, 128));
    assert!(whole > 2.2 * single, "{whole} {single}");
}

#[test]
fn one_document_is_drawn_by_samples_and_says_so() {
    let estimate = Bootstrap::default().estimate(&ratio(vec![1.0, 2.0, 3.0], vec![7; 3])).unwrap();
    assert_eq!((estimate.kind, estimate.units), (UnitKind::Samples, 3));
    assert!(estimate.note.unwrap().contains("one document"));
}

#[test]
fn few_samples_and_one_number_have_no_interval() {
    let bootstrap = Bootstrap::default();
    for (count, note) in [(1, "1 sample; noise"), (2, "2 samples; noise")] {
        let estimate = bootstrap.estimate(&ratio(vec![1.5; count], Vec::new())).unwrap();
        assert!(estimate.interval.is_none() && estimate.note.as_ref().unwrap().starts_with(note), "{estimate:?}");
    }
    assert_eq!(bootstrap.estimate(&Observation::single("bytes", 12.0)).unwrap().interval, None);
    assert_eq!(bootstrap.estimate(&Observation::absent("kl", Reduction::Ratio, None)), None);
}

#[test]
fn equal_samples_have_an_interval_of_no_width() {
    let interval = Bootstrap::default().estimate(&ratio(vec![2.0; 20], Vec::new())).unwrap().interval.unwrap();
    assert_eq!((interval.low, interval.high), (2.0, 2.0));
}

/// The stated level holds where the truth is known; thirty samples of a log-normal law, whose tail no such few samples
/// show, are covered less often, as is known of every bootstrap.
#[test]
fn intervals_cover_at_their_level() {
    for (label, count, skewed, low, high) in
        [("normal", 12, false, 0.93, 0.975), ("normal", 40, false, 0.93, 0.972), ("skewed", 30, true, 0.88, 0.97)]
    {
        let mut numbers = normals(11, &format!("{label}{count}"));
        let bootstrap = Bootstrap { resamples: 600, ..Bootstrap::default() };
        let trials = 1000;
        let truth = if skewed { 0.5_f64.exp() } else { 0.0 };
        let mut covered = 0;
        for _ in 0..trials {
            let samples = numbers.by_ref().take(count).map(|z| if skewed { z.exp() } else { z }).collect();
            let interval = bootstrap.estimate(&ratio(samples, Vec::new())).unwrap().interval.unwrap();
            covered += usize::from(interval.holds(truth));
        }
        let share = covered as f64 / f64::from(trials);
        assert!((low..=high).contains(&share), "{label} {count}: {share}");
    }
}

#[test]
fn medians_have_intervals() {
    let samples: Vec<f64> = (0..31).map(f64::from).collect();
    let observation = Observation { samples, ..Observation::absent("tps", Reduction::Median, None) };
    let estimate = Bootstrap::default().estimate(&observation).unwrap();
    let interval = estimate.interval.unwrap();
    assert_eq!(estimate.value, 15.0);
    assert!(
        interval.low >= 7.0 && interval.low <= 11.0 && interval.high <= 23.0 && interval.high >= 19.0,
        "{interval:?}"
    );
}

#[test]
fn accuracies_have_the_interval_of_clopper_and_pearson() {
    let estimate = Bootstrap::default().estimate(&ratio(vec![1.0; 20], Vec::new())).unwrap();
    let interval = estimate.interval.unwrap();
    assert!((interval.low - 0.025_f64.powf(0.05)).abs() < 1e-12 && interval.high == 1.0, "{interval:?}");
    let clustered = Bootstrap::default().estimate(&ratio(vec![1.0; 20], (0..20).map(|i| i / 2).collect())).unwrap();
    assert_eq!(clustered.interval.map(|interval| interval.low), Some(1.0), "items of a document are not independent");
}
