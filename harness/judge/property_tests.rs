//! What must hold for any input.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::k_means::KMeans;
use crate::manifold::Manifold;
use crate::mauve::{Mauve, frontier_integral};
use crate::n_gram::Names;
use crate::self_bleu::SelfBleu;
use crate::{Rows, detection, distinct, divergence, repetition};

fn texts() -> impl Strategy<Value = Vec<Vec<u32>>> {
    vec(vec(0u32..6, 0..25), 2..9)
}

fn distribution(size: usize) -> impl Strategy<Value = Vec<f64>> {
    vec(0u32..20, size).prop_filter_map("all zero", |counts| {
        let total: u32 = counts.iter().sum();
        (total > 0).then(|| counts.iter().map(|&count| f64::from(count) / f64::from(total)).collect())
    })
}

fn pair() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    (1usize..12).prop_flat_map(|size| (distribution(size), distribution(size)))
}

/// BLEU of one text against all others, each reference looked at by itself.
fn plain_bleu(texts: &[Vec<u32>], own: usize, longest: usize) -> f64 {
    let counts = |text: &[u32], n: usize| {
        let mut counts: HashMap<Vec<u32>, usize> = HashMap::new();
        for gram in text.windows(n) {
            *counts.entry(gram.to_vec()).or_default() += 1;
        }
        counts
    };
    let text = &texts[own];
    if text.is_empty() {
        return 0.0;
    }
    let others = || texts.iter().enumerate().filter(|(index, _)| *index != own).map(|(_, text)| text);
    let mut logarithm = 0.0;
    for n in 1..=longest {
        let own = counts(text, n);
        let most = |gram: &Vec<u32>| others().map(|other| counts(other, n).get(gram).copied().unwrap_or(0)).max();
        let matched: usize = own.iter().map(|(gram, &count)| count.min(most(gram).unwrap())).sum();
        let total = own.values().sum::<usize>().max(1) as f64;
        logarithm += (if matched == 0 { 0.1 } else { matched as f64 } / total).ln() / longest as f64;
    }
    let closest = others().map(Vec::len).min_by_key(|&length| (length.abs_diff(text.len()), length)).unwrap();
    let penalty = if text.len() >= closest { 1.0 } else { (1.0 - closest as f64 / text.len() as f64).exp() };
    penalty * logarithm.exp()
}

proptest! {
    #[test]
    fn names_count_as_counting_whole_n_grams_does(texts in texts(), n in 1usize..7) {
        let names = Names::of(&texts, n).unwrap();
        let mut pooled: HashMap<&[u32], u64> = HashMap::new();
        for (index, text) in texts.iter().enumerate() {
            let mut own: HashMap<&[u32], u32> = HashMap::new();
            for gram in text.windows(n) {
                *own.entry(gram).or_default() += 1;
                *pooled.entry(gram).or_default() += 1;
            }
            for (place, gram) in text.windows(n).enumerate() {
                let name = names.texts()[index][place];
                let counted = names.counts(index).into_iter().find(|(other, _)| *other == name).unwrap().1;
                prop_assert_eq!(counted, own[gram]);
            }
            prop_assert_eq!(names.counts(index).len(), own.len());
        }
        let mut found = names.pooled();
        let mut expected: Vec<u64> = pooled.into_values().collect();
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn self_bleu_by_the_two_largest_is_that_of_all_pairs(texts in texts(), longest in 1usize..6) {
        let bleu = SelfBleu { longest, ..SelfBleu::default() };
        let scores = bleu.scores(&texts).unwrap();
        for (own, score) in scores.iter().enumerate() {
            prop_assert!((score - plain_bleu(&texts, own, longest)).abs() < 1e-12);
            prop_assert!((0.0..=1.0 + 1e-12).contains(score));
        }
        let mut turned = texts.clone();
        turned.rotate_left(1);
        prop_assert!((bleu.mean(&turned).unwrap() - bleu.mean(&texts).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn diversity_does_not_depend_on_the_order_of_texts(texts in texts(), n in 1usize..4) {
        let mut turned = texts.clone();
        turned.reverse();
        match distinct::Distinct::of(&texts, n) {
            Ok(found) => {
                prop_assert_eq!(Ok(found), distinct::Distinct::of(&turned, n));
                prop_assert!(found.once <= found.unique && found.unique <= found.total);
                let rep = repetition::rep(&texts, n).unwrap();
                prop_assert!((0.0..=100.0).contains(&rep) && rep <= 100.0 * (1.0 - found.ratio()) + 1e-9);
            }
            Err(_) => prop_assert!(texts.iter().all(|text| text.len() < n)),
        }
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let (near, far) = (repetition::rep_within(text, 1).unwrap(), repetition::rep_within(text, 100).unwrap());
            prop_assert!(near <= far);
            // Without a window, what is repeated is what is not new.
            prop_assert!((far - repetition::seq_rep(&[text], 1).unwrap()[0].unwrap()).abs() < 1e-12);
        }
    }

    #[test]
    fn mauve_is_symmetric_bounded_and_blind_to_the_order_of_bins((p, q) in pair(), scaling in 0.2f64..10.0) {
        let mauve = Mauve { scaling, ..Mauve::default() };
        let found = mauve.of_histograms(&p, &q).unwrap();
        prop_assert!((0.0..=1.0).contains(&found));
        prop_assert!((found - mauve.of_histograms(&q, &p).unwrap()).abs() < 1e-12);
        prop_assert_eq!(mauve.of_histograms(&p, &p), Ok(1.0));
        let (mut p2, mut q2) = (p.clone(), q.clone());
        p2.reverse();
        q2.reverse();
        prop_assert!((found - mauve.of_histograms(&p2, &q2).unwrap()).abs() < 1e-12);
        let integral = frontier_integral(&p, &q).unwrap();
        prop_assert!((0.0..=1.0).contains(&integral));
        prop_assert!((integral - frontier_integral(&q, &p).unwrap()).abs() < 1e-12);
        for points in mauve.frontier(&p, &q).unwrap().windows(2) {
            prop_assert!(points[1].0 <= points[0].0 + 1e-12 && points[1].1 >= points[0].1 - 1e-12);
        }
    }

    #[test]
    fn divergences_know_each_other((p, q) in pair()) {
        let variation = divergence::total_variation(&p, &q).unwrap();
        let shannon = divergence::jensen_shannon(&p, &q).unwrap();
        let hellinger = divergence::hellinger(&p, &q).unwrap();
        prop_assert!((0.0..=1.0 + 1e-12).contains(&variation));
        prop_assert!((0.0..=std::f64::consts::LN_2 + 1e-12).contains(&shannon));
        // Pinsker, and Le Cam's bounds of TV by Hellinger's distance.
        prop_assert!(divergence::kullback_leibler(&p, &q).unwrap() >= 2.0 * variation * variation - 1e-12);
        prop_assert!(hellinger * hellinger <= variation + 1e-12);
        prop_assert!(variation <= hellinger * (2.0 - hellinger * hellinger).max(0.0).sqrt() + 1e-9);
        prop_assert!((shannon - divergence::jensen_shannon(&q, &p).unwrap()).abs() < 1e-12);
        prop_assert_eq!(divergence::kullback_leibler(&p, &p), Ok(0.0));
    }

    #[test]
    fn inertia_never_rises(points in vec(-9i32..9, 6..60), clusters in 1usize..6, seed in 0u64..50) {
        let points: Vec<f64> = points.chunks_exact(2).flatten().map(|&x| f64::from(x)).collect();
        let clusters = clusters.min(points.len() / 2);
        let fit = KMeans { clusters, starts: 1, iterations: 50, seed };
        let found = fit.fit(&points, 2).unwrap();
        prop_assert!(found.inertia.windows(2).all(|pair| pair[1] <= pair[0] + 1e-9), "{:?}", found.inertia);
        prop_assert_eq!(&found, &fit.fit(&points, 2).unwrap());
        let more = KMeans { starts: 4, ..fit }.fit(&points, 2).unwrap();
        prop_assert!(more.inertia.last() <= found.inertia.last());
    }

    #[test]
    fn manifolds_hold_what_all_distances_say(real in vec(-9i32..9, 10..=10), other in vec(-9i32..9, 10..=10), k in 1usize..5) {
        let wide = |values: &[i32]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let (a, b) = (wide(&real), wide(&other));
        let manifold = |values| Manifold::new(&Rows::new(values, 2).unwrap(), k.min(4)).unwrap();
        let (first, second) = (manifold(&a), manifold(&b));
        let (found, back) = (first.overlap(&second).unwrap(), second.overlap(&first).unwrap());
        // Precision one way is recall the other way.
        prop_assert_eq!((found.precision(), found.recall()), (back.recall(), back.precision()));
        let same = first.overlap(&first).unwrap();
        prop_assert_eq!((same.precision(), same.recall(), same.coverage), (1.0, 1.0, 1.0));
        let distance = |x: &[f32], y: &[f32]| f64::from(x[0] - y[0]).powi(2) + f64::from(x[1] - y[1]).powi(2);
        let radius = |x: usize| {
            let own = &a[2 * x..2 * x + 2];
            let mut all: Vec<f64> = (0..5).filter(|y| *y != x).map(|y| distance(own, &a[2 * y..2 * y + 2])).collect();
            all.sort_by(f64::total_cmp);
            all[k.min(4) - 1]
        };
        let inside = |y: &[f32]| (0..5).any(|x| distance(&a[2 * x..2 * x + 2], y) <= radius(x));
        prop_assert_eq!(found.precision(), b.chunks(2).filter(|y| inside(y)).count() as f64 / 5.0);
    }

    #[test]
    fn areas_are_the_share_of_pairs_won(positives in vec(-5i32..5, 1..12), negatives in vec(-5i32..5, 1..12)) {
        let wide = |values: &[i32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (p, n) = (wide(&positives), wide(&negatives));
        let won: f64 = p.iter().flat_map(|a| n.iter().map(move |b| if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 })).sum();
        let roc = detection::Roc::of(&p, &n).unwrap();
        prop_assert!((roc.area() - won / (p.len() * n.len()) as f64).abs() < 1e-12);
        prop_assert!((roc.area() + detection::Roc::of(&n, &p).unwrap().area() - 1.0).abs() < 1e-12);
    }
}

/// The generator keeps half of the clusters: everything that it makes is real, half of what is real is missing.
#[test]
fn dropped_modes_cost_recall_and_no_precision() {
    let mut random = harness_core::seed::stream(4, &["modes"]);
    let mut uniform = || (rand_chacha::rand_core::Rng::next_u64(&mut random) >> 40) as f32 / (1u64 << 24) as f32;
    let mut draw = |modes: usize| -> Vec<f32> {
        (0..400).flat_map(|row| [(row % modes) as f32 * 50.0 + uniform(), uniform()]).collect()
    };
    let (real, same, half) = (draw(8), draw(8), draw(4));
    let manifold = |values| Manifold::new(&Rows::new(values, 2).unwrap(), 3).unwrap();
    let found = manifold(&real).overlap(&manifold(&same)).unwrap();
    assert!(found.precision() > 0.9 && found.recall() > 0.9, "{found:?}");
    let found = manifold(&real).overlap(&manifold(&half)).unwrap();
    assert!(found.precision() > 0.9 && (found.recall() - 0.5).abs() < 0.05 && found.coverage <= 0.5, "{found:?}");
}

/// The same numbers on one thread and on many.
#[test]
fn threads_change_nothing() {
    let values: Vec<f32> = (0..3000).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e7).collect();
    let rows = Rows::new(&values[..1500], 5).unwrap();
    let other = Rows::new(&values[1500..], 5).unwrap();
    let compute = || {
        let overlap = Manifold::new(&rows, 3).unwrap().overlap(&Manifold::new(&other, 3).unwrap()).unwrap();
        (Mauve::default().of_embeddings(&rows, &other).unwrap(), overlap)
    };
    let on = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(compute);
    assert_eq!(on(1), on(3));
}
