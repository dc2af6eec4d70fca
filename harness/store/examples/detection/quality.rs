//! Nights whose quality did change: perplexity one per cent up, agreement one point down.

use std::error::Error;

use harness_core::gate::{Evidence, Judgement, Policy, judge};
use harness_core::seed::stream;
use harness_core::statistics::resample::pair;
use harness_core::verdict::Margin;
use harness_core::{Axis, Observation, Verdict};
use harness_store::Run;

use crate::nights::{DOCUMENTS, chance_pairs, paired, quality};
use crate::{TRIALS, count, map, rate};

/// Nights without a change that a changed series is put into.
const NIGHTS: usize = 200;

/// Each arm's observation of a metric, of the first seed.
fn arms<'a>(run: &'a Run, metric: &str) -> Vec<(String, &'a Observation)> {
    let seed = |record: &&harness_store::Record| record.cell.cell.label(Axis::Seed) != Some("1");
    let found =
        run.records.iter().filter(seed).filter_map(|record| {
            Some((record.cell.cell.label(Axis::Prune)?.to_owned(), record.cell.observation(metric)?))
        });
    found.collect()
}

pub fn report(run: &Run, policy: &Policy, part: Part) -> Result<(), Box<dyn Error>> {
    let pairs = chance_pairs(run);
    // The other series of a night only stand by; these are used again and again.
    let nights = map(NIGHTS, |number| quality(&pairs, DOCUMENTS, "changed", number));
    match part {
        Part::Perplexity => perplexity(run, &nights, policy),
        Part::Accuracy => accuracy(run, &nights, policy),
    }
}

/// Which question is asked; the counts of the second are found by trying, which takes longest.
#[derive(Clone, Copy)]
pub enum Part {
    /// One per cent of perplexity.
    Perplexity,
    /// One point of agreement.
    Accuracy,
}

/// The verdict of the changed series among all of a night.
fn verdict(nights: &[Vec<Evidence>], policy: &Policy, changed: Evidence, number: usize) -> Option<Judgement> {
    let mut night = nights[number % nights.len()].clone();
    let place = night.iter().position(|evidence| evidence.metric == changed.metric)?;
    night[place] = changed;
    judge(&night, policy).swap_remove(place)
}

/// For each method the arm whose perplexity is nearest to one per cent above the dense one.
fn perplexity(run: &Run, nights: &[Vec<Evidence>], policy: &Policy) -> Result<(), Box<dyn Error>> {
    let arms = arms(run, "ppl");
    let dense = arms.iter().find(|(arm, _)| arm == "none").ok_or("the quality run has no dense arm")?.1;
    let whole = dense.value().ok_or("the dense arm has no perplexity")?;
    for method in ["random", "magnitude", "wanda"] {
        let change = |seen: &Observation| seen.value().map_or(f64::NAN, |value| value / whole - 1.0);
        let mine = arms.iter().filter(|(arm, _)| arm.starts_with(method));
        let Some((arm, seen)) = mine.min_by(|a, b| (change(a.1) - 0.01).abs().total_cmp(&(change(b.1) - 0.01).abs()))
        else {
            continue;
        };
        let found = count(TRIALS, |number| {
            let mut random = stream(9, &[arm, &number.to_string()]);
            let (a, b) = pair(dense, seen, DOCUMENTS, false, &mut random);
            let judged = verdict(nights, policy, paired("ppl", &a, &b, number as u64), number);
            judged.is_some_and(|judged| judged.verdict == Verdict::Worse)
        });
        println!(
            "| perplexity {:+.2} % found | {arm}, {DOCUMENTS} documents | {TRIALS} | {} |",
            100.0 * change(seen),
            rate(found, TRIALS)
        );
    }
    Ok(())
}

/// Two arms whose agreement with the dense model lies nearest to one point apart; at several counts, what the gate says,
/// and whether the count it names is right.
fn accuracy(run: &Run, nights: &[Vec<Evidence>], policy: &Policy) -> Result<(), Box<dyn Error>> {
    let arms = arms(run, "top1");
    let gap = |a: &Observation, b: &Observation| a.value().zip(b.value()).map_or(f64::NAN, |(a, b)| b - a);
    let mut best: Option<(f64, &(String, &Observation), &(String, &Observation))> = None;
    for a in arms.iter().filter(|(arm, _)| arm != "none") {
        for b in arms.iter().filter(|(arm, _)| arm != "none" && arm.split('(').next() == a.0.split('(').next()) {
            let off = (gap(a.1, b.1) + 0.01).abs();
            if best.is_none_or(|(least, ..)| off < least) {
                best = Some((off, a, b));
            }
        }
    }
    let (_, (first, a), (second, b)) = best.ok_or("the quality run has too few arms")?;
    let size = gap(a, b).abs();
    // The floor is the size of the change itself: that is the change whose count is to be named.
    let mut policy = policy.clone();
    for rule in policy.rules.iter_mut().filter(|rule| rule.metric == "top1") {
        rule.margin = Margin { absolute: size * 0.999, relative: 0.0 };
    }
    let floor_free = |policy: &Policy| {
        let mut policy = policy.clone();
        for rule in policy.rules.iter_mut().filter(|rule| rule.metric == "top1") {
            rule.margin = Margin { absolute: size / 4.0, relative: 0.0 };
        }
        policy
    };
    let judged_at = |documents: usize, policy: &Policy| {
        map(TRIALS, |number| {
            let mut random = stream(10, &[first, second, &documents.to_string(), &number.to_string()]);
            let (x, y) = pair(a, b, documents, false, &mut random);
            verdict(nights, policy, paired("top1", &x, &y, number as u64), number)
        })
    };
    let found = |documents: usize| {
        let told = judged_at(documents, &floor_free(&policy));
        told.iter().flatten().filter(|judged| judged.verdict == Verdict::Worse).count()
    };
    let label = format!("{first} to {second}");
    for documents in [DOCUMENTS, 36, 72] {
        let told = judged_at(documents, &floor_free(&policy));
        let of = |verdict| told.iter().flatten().filter(|judged| judged.verdict == verdict).count();
        let (worse, open) = (of(Verdict::Worse), of(Verdict::CannotTell));
        println!(
            "| agreement {:+.2} points | {label}, {documents} documents | {TRIALS} | worse {}, cannot tell {}, otherwise {} |",
            -100.0 * size,
            rate(worse, TRIALS),
            rate(open, TRIALS),
            TRIALS - worse - open
        );
    }
    // The count that is really needed: where the change is found in 95 % of trials, by trying.
    let (mut low, mut high) = (8_usize, 512_usize);
    while high - low > 1 + low / 25 {
        let middle = usize::midpoint(low, high);
        if (found(middle) as f64) < 0.95 * TRIALS as f64 { low = middle } else { high = middle }
    }
    for documents in [DOCUMENTS, 36, 72] {
        let mut named: Vec<f64> = judged_at(documents, &policy)
            .into_iter()
            .flatten()
            .filter_map(|judged| judged.needed.map(|needed| needed as f64))
            .collect();
        named.sort_by(f64::total_cmp);
        let near = named.iter().filter(|count| (**count / high as f64 - 1.0).abs() <= 0.2).count();
        let middle = harness_core::statistics::quantile(&named, 0.5).unwrap_or(f64::NAN);
        println!(
            "| documents needed for {:.2} points | named from {documents} documents, {} undecided nights | {TRIALS} | median {middle:.0}, tried {high} ({:+.0} %); {} within ±20 % |",
            100.0 * size,
            named.len(),
            100.0 * (middle / high as f64 - 1.0),
            rate(near, named.len().max(1))
        );
    }
    Ok(())
}
