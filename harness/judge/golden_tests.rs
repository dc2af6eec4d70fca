//! Every metric against `tests/reference/judge.json`, which other programs computed.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use crate::distinct::Distinct;
use crate::exact_match::Extraction;
use crate::manifold::Manifold;
use crate::mauve::Mauve;
use crate::self_bleu::SelfBleu;
use crate::zeta::TruncatedZeta;
use crate::{Rows, coherence, detection, divergence, dna_gpt, pass_at_k, principal, repetition, zipf};

static GOLDEN: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../tests/reference/judge.json")).unwrap());

fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

#[track_caller]
fn near(found: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{found}, expected {expected}");
}

/// Steele, Lea and Flood's generator, as in the script.
struct Splitmix(u64);

impl Splitmix {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let mut sum = 0.0;
        for _ in 0..12 {
            sum += self.uniform();
        }
        sum - 6.0
    }
}

#[derive(Deserialize)]
struct Shape {
    seed: u64,
    rows: usize,
    dimension: usize,
    clusters: usize,
    skew: f64,
    spread: f64,
}

impl Shape {
    /// The two sets that the script draws.
    fn embeddings(&self) -> (Vec<f32>, Vec<f32>) {
        let mut random = Splitmix(self.seed);
        let centres: Vec<Vec<f64>> =
            (0..self.clusters).map(|_| (0..self.dimension).map(|_| 2.0 * random.normal()).collect()).collect();
        let mut draw = |skew: f64, spread: f64| {
            let mut values = Vec::new();
            for _ in 0..self.rows {
                let mut cluster = (random.uniform() * self.clusters as f64) as usize;
                let other = (random.uniform() * self.clusters as f64) as usize;
                if random.uniform() < skew {
                    cluster = cluster.min(other);
                }
                values.extend(centres[cluster].iter().map(|centre| (centre + spread * random.normal()) as f32));
            }
            values
        };
        (draw(0.0, 1.0), draw(self.skew, self.spread))
    }
}

#[test]
fn mauve_agrees_with_its_package() {
    let seeds: u64 = read(&GOLDEN["seeds"]);
    for case in GOLDEN["mauve"].as_array().unwrap() {
        let shape: Shape = read(&case["shape"]);
        let (p, q) = shape.embeddings();
        assert_eq!(p[..3], read::<Vec<f32>>(&case["first"]), "the same embeddings");
        assert_eq!(q[q.len() - 3..], read::<Vec<f32>>(&case["last"]), "the same embeddings");
        let (p, q) = (Rows::new(&p, shape.dimension).unwrap(), Rows::new(&q, shape.dimension).unwrap());
        let runs: Vec<_> =
            (0..seeds).map(|seed| Mauve { seed, ..Mauve::default() }.of_embeddings(&p, &q).unwrap()).collect();
        let mean = |value: fn(&crate::mauve::Nearness) -> f64| runs.iter().map(value).sum::<f64>() / seeds as f64;
        let found = [
            ("mauve", mean(|run| run.mauve)),
            ("mauve_star", mean(|run| run.mauve_star)),
            ("frontier_integral", mean(|run| run.frontier_integral)),
            ("frontier_integral_star", mean(|run| run.frontier_integral_star)),
        ];
        for (name, found) in found {
            let expected = case[name].as_f64().unwrap();
            assert!((found - expected).abs() <= 0.02, "{name} of set {}: {found} {expected}", shape.seed);
        }
        assert_eq!(runs[0].components, read::<usize>(&case["components"]));
        assert_eq!(Mauve::default().of_embeddings(&p, &p).unwrap().mauve, 1.0);
    }
}

#[test]
fn one_histogram_has_one_mauve() {
    for case in GOLDEN["mauve"].as_array().unwrap() {
        for run in case["histograms"].as_array().unwrap() {
            let (p, q): (Vec<u64>, Vec<u64>) = (read(&run["p"]), read(&run["q"]));
            let found = Mauve::default().of_counts(&p.into_iter().zip(q).collect::<Vec<_>>()).unwrap();
            near(found.mauve, &run["mauve"], 1e-6);
            near(found.mauve_star, &run["mauve_star"], 1e-6);
            near(found.frontier_integral, &run["frontier_integral"], 1e-6);
            near(found.frontier_integral_star, &run["frontier_integral_star"], 1e-6);
        }
    }
}

#[test]
fn components_explain_what_scikit_learn_says() {
    for case in GOLDEN["mauve"].as_array().unwrap() {
        let shape: Shape = read(&case["shape"]);
        let (mut p, q) = shape.embeddings();
        p.extend(q);
        let unit = Rows::new(&p, shape.dimension).unwrap().unit("embeddings").unwrap();
        let found = principal::project(&unit, shape.dimension, 0.9).unwrap();
        for (found, expected) in found.explained.iter().zip(case["explained"].as_array().unwrap()) {
            near(*found, expected, 1e-9);
        }
    }
}

#[test]
fn manifolds_agree_with_nearest_neighbours_of_scikit_learn() {
    for case in GOLDEN["manifold"].as_array().unwrap() {
        let shape: Shape = read(&case["shape"]);
        let (real, generated) = shape.embeddings();
        let rows = |values| Rows::new(values, shape.dimension).unwrap();
        let (real, generated) = (rows(&real), rows(&generated));
        let manifold = |rows| Manifold::new(rows, read(&case["k"])).unwrap();
        let found = manifold(&real).overlap(&manifold(&generated)).unwrap();
        near(found.precision(), &case["precision"], 1e-12);
        near(found.recall(), &case["recall"], 1e-12);
        near(found.density, &case["density"], 1e-12);
        near(found.coverage, &case["coverage"], 1e-12);
        let realism = manifold(&real).realism(&generated, true).unwrap();
        for (found, expected) in realism.iter().zip(case["realism"].as_array().unwrap()) {
            near(*found, expected, 1e-9);
        }
        if let Some(expected) = case.get("coherence") {
            let found = coherence::coherence(&real, &generated).unwrap();
            for (index, row) in found.iter().take(4).enumerate() {
                near(row.own, &expected[0][index], 1e-9);
                near(row.other, &expected[1][index], 1e-9);
            }
        }
    }
}

#[test]
fn counts_of_texts_agree() {
    let golden = &GOLDEN["text"];
    let texts: Vec<Vec<u32>> = read(&golden["texts"]);
    for case in golden["bleu"].as_array().unwrap() {
        let bleu = SelfBleu { longest: read(&case["longest"]), zero_unmatched: true, ..SelfBleu::default() };
        let found = bleu.scores(&texts).unwrap();
        assert_eq!(found.len(), case["scores"].as_array().unwrap().len());
        for (found, expected) in found.iter().zip(case["scores"].as_array().unwrap()) {
            near(*found, expected, 1e-12);
        }
    }
    for case in golden["distinct"].as_array().unwrap() {
        let found = Distinct::of(&texts, read(&case["n"])).unwrap();
        assert_eq!(
            [found.unique, found.total, found.once],
            ["unique", "total", "once"].map(|key| read::<usize>(&case[key]))
        );
        near(found.expectation_adjusted(read(&case["possible"])).unwrap(), &case["adjusted"], 1e-8);
    }
    for case in golden["rep"].as_array().unwrap() {
        near(repetition::rep(&texts, read(&case["n"])).unwrap(), &case["rep"], 1e-12);
    }
    for case in golden["within"].as_array().unwrap() {
        for (text, expected) in texts.iter().zip(case["rep"].as_array().unwrap()) {
            near(repetition::rep_within(text, read(&case["window"])).unwrap(), expected, 1e-12);
        }
    }
    let counts = zipf::rank_counts(&texts);
    assert_eq!(counts, read::<Vec<u64>>(&golden["zipf"]["counts"]));
    let line = zipf::least_squares(&counts, zipf::RANKS).unwrap();
    near(line.exponent, &golden["zipf"]["exponent"], 1e-10);
    near(line.intercept, &golden["zipf"]["intercept"], 1e-10);
    near(line.correlation, &golden["zipf"]["correlation"], 1e-10);
    near(zipf::maximum_likelihood(&counts, zipf::RANKS).unwrap(), &golden["zipf"]["likelihood"], 1e-6);
}

#[test]
fn overlap_and_detection_agree() {
    let golden = &GOLDEN["overlap"];
    for case in golden["cases"].as_array().unwrap() {
        let (rest, again): (Vec<u32>, Vec<Vec<u32>>) = (read(&case["rest"]), read(&case["again"]));
        near(dna_gpt::dna_bscore(&rest, &again, dna_gpt::LENGTHS).unwrap().score, &case["paper"], 1e-11);
        near(dna_gpt::dna_bscore_repo2(&rest, &again).unwrap().score, &case["repo2"], 1e-11);
        near(dna_gpt::dna_bscore_repo3(&rest, &again).unwrap().score, &case["repo3"], 1e-11);
    }
    let (positives, negatives): (Vec<f64>, Vec<f64>) = (read(&golden["positives"]), read(&golden["negatives"]));
    let roc = detection::Roc::of(&positives, &negatives).unwrap();
    near(roc.area(), &golden["area"], 1e-12);
    for pair in golden["rates"].as_array().unwrap() {
        near(roc.true_positive_rate_at(read(&pair[0])), &pair[1], 1e-12);
    }
}

#[test]
fn distributions_agree() {
    let golden = &GOLDEN["distributions"];
    for case in golden["pairs"].as_array().unwrap() {
        let (p, q): (Vec<f64>, Vec<f64>) = (read(&case["p"]), read(&case["q"]));
        near(divergence::total_variation(&p, &q).unwrap(), &case["tv"], 1e-11);
        near(divergence::kullback_leibler(&p, &q).unwrap(), &case["kl"], 1e-10);
        near(divergence::jensen_shannon(&p, &q).unwrap(), &case["js"], 1e-11);
        near(divergence::hellinger(&p, &q).unwrap(), &case["hellinger"], 1e-11);
        near(divergence::entropy(&p).unwrap(), &case["entropy"], 1e-11);
    }
    for case in golden["zeta"].as_array().unwrap() {
        let law = TruncatedZeta::new(read(&case["alpha"]), read(&case["most"])).unwrap();
        near(law.normaliser(), &case["sum"], 1e-12);
    }
    for case in golden["pass"].as_array().unwrap() {
        let found = pass_at_k::of_problem(read(&case["n"]), read(&case["c"]), read(&case["k"])).unwrap();
        near(found, &case["pass"], 1e-11);
    }
}

#[test]
fn answers_agree_with_python() {
    for case in GOLDEN["answers"].as_array().unwrap() {
        let text: String = read(&case["text"]);
        for (key, by) in
            [("strict", Extraction::Strict), ("chain", Extraction::ChainOfThought), ("flexible", Extraction::Flexible)]
        {
            assert_eq!(by.extract(&text), read::<Option<String>>(&case[key]), "{key} of {text:?}");
        }
    }
}
