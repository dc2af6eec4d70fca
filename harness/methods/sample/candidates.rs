//! The tokens that a step may still choose, and their logits.

use harness_kernels::order::{self, Order};
use harness_kernels::{select, sort};

use crate::sample::prefix::{self, Cut};
use crate::sample::{Drawn, SampleError, slack};

/// Rows up to this long are summed in f64 term by term; longer ones by the vector passes, within 3e-7 of it.
const SMALL: usize = 1024;

/// Candidates in the order of their ids. The buffers are kept from step to step.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// Ids, ascending; unused while every token is a candidate.
    ids: Vec<u32>,
    logits: Vec<f32>,
    vocabulary: usize,
    whole: bool,
    threshold: Option<f64>,
    /// Whether thresholds on logits are also told as probabilities, which takes another pass.
    explained: bool,
    /// Largest logits of blocks; empty while they are not known.
    maxima: Vec<f32>,
    /// The largest logit, while it is known.
    largest: Option<f32>,
    /// Whether the weights and totals are those of the logits.
    weighed: bool,
    /// Logarithm of the sum of exponentials, and entropy, while they are known.
    moments: Option<(f64, f64)>,
    scratch: Scratch,
}

/// Buffers that outlive a step.
#[derive(Debug, Clone, Default)]
struct Scratch {
    ids: Vec<u32>,
    logits: Vec<f32>,
    scores: Vec<f32>,
    weights: Vec<f32>,
    totals: Vec<f64>,
    prefix: prefix::Buffers,
}

impl Candidates {
    /// Begins a step with a row of logits, one a token. Tokens at -inf are removed and never come back.
    ///
    /// # Errors
    /// A row that is empty, holds a NaN or a positive infinity, or bans every token.
    pub fn load(&mut self, row: &[f32]) -> Result<(), SampleError> {
        if row.is_empty() {
            return Err(SampleError::EmptyLogits);
        }
        self.vocabulary = row.len();
        self.whole = true;
        self.threshold = None;
        self.ids.clear();
        self.forget();
        if !select::copy(row, &mut self.logits, &mut self.maxima) {
            self.logits.clear();
            self.maxima.clear();
            if let Some(index) = row.iter().position(|logit| logit.is_nan()) {
                return Err(SampleError::NanLogit { index });
            }
            if let Some(index) = row.iter().position(|logit| *logit == f32::INFINITY) {
                return Err(SampleError::PositiveInfinity { index });
            }
            self.whole = false;
            for (id, logit) in row.iter().enumerate().filter(|(_, logit)| logit.is_finite()) {
                self.ids.push(id as u32);
                self.logits.push(*logit);
            }
            if self.ids.is_empty() {
                return Err(SampleError::NoFiniteLogit);
            }
        }
        Ok(())
    }

    /// How many there are; at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.logits.len()
    }

    /// Tokens of the model.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Their logits.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The id at a place.
    pub fn id(&self, at: usize) -> u32 {
        if self.whole { at as u32 } else { self.ids[at] }
    }

    /// All ids, ascending.
    pub fn ids(&self) -> Vec<u32> {
        if self.whole { (0..self.logits.len() as u32).collect() } else { self.ids.clone() }
    }

    /// Has thresholds told by [`Self::threshold`] whatever they cost.
    pub fn explain(&mut self) {
        self.explained = true;
    }

    /// The probability that the last stage with a threshold compared with, in the distribution it saw.
    pub fn threshold(&self) -> Option<f64> {
        self.threshold
    }

    /// Where a token stands; `None` when it was removed.
    pub fn place(&self, token: u32) -> Option<usize> {
        if self.whole {
            (token as usize).lt(&self.logits.len()).then_some(token as usize)
        } else {
            self.ids.binary_search(&token).ok()
        }
    }

    /// The largest logit.
    pub fn max(&mut self) -> f32 {
        self.find_maxima();
        let maxima = &self.maxima;
        *self.largest.get_or_insert_with(|| select::extremes(maxima).1)
    }

    /// The place of the largest logit; the lowest id wins ties.
    pub fn argmax(&mut self) -> usize {
        let max = self.max();
        let block = self.maxima.iter().position(|value| *value == max).unwrap_or(0);
        let start = block * select::MAXIMA_BLOCK;
        start + self.logits[start..].iter().position(|logit| *logit == max).unwrap_or(0)
    }

    /// `ln Σ e^z`.
    pub fn log_sum_exp(&mut self) -> f64 {
        self.measure().0
    }

    /// Entropy in nats.
    pub fn entropy(&mut self) -> f64 {
        self.measure().1
    }

    /// Probabilities, in the order of the ids.
    pub fn probabilities(&mut self) -> Vec<f64> {
        let total = self.log_sum_exp();
        let mut all: Vec<f64> = self.logits.iter().map(|logit| (f64::from(*logit) - total).exp()).collect();
        let sum: f64 = all.iter().sum();
        for probability in &mut all {
            *probability /= sum;
        }
        all
    }

    /// `Σ p²`.
    pub fn collision(&mut self) -> f64 {
        let (max, total) = (self.max(), self.log_sum_exp());
        let squares = if self.logits.len() <= SMALL {
            self.logits.iter().map(|logit| (2.0 * (f64::from(*logit) - f64::from(max))).exp()).sum()
        } else {
            select::squares(&self.logits, max)
        };
        squares * (2.0 * (f64::from(max) - total)).exp()
    }

    /// Population standard deviation of the logits.
    pub fn deviation(&self) -> f64 {
        select::spread(&self.logits).1
    }

    /// Divides every logit by a temperature, counted from the largest so that nothing overflows.
    pub fn divide(&mut self, temperature: f64) {
        let max = self.max();
        let factor = (1.0 / temperature) as f32;
        let shift = max * factor;
        if factor.is_finite() && shift.is_finite() {
            // Only the largest keeps its sign for sure, but none may fall out of the numbers.
            select::rescale(&mut self.logits, max, factor, shift);
            if f64::from(select::extremes(&self.logits).0) < f64::from(f32::MIN) {
                self.logits.iter_mut().for_each(|logit| *logit = logit.max(f32::MIN));
            }
            self.forget();
        } else {
            self.change_all(|logit| {
                ((f64::from(logit) - f64::from(max)) / temperature).max(f64::from(f32::MIN)) as f32
            });
        }
    }

    /// Has [`Self::threshold`] tell a probability that a stage compared with in its own way.
    pub fn compared_with(&mut self, threshold: f64) {
        self.threshold = Some(threshold);
    }

    /// Removes tokens, given in ascending order; those that are not there do not matter.
    ///
    /// # Errors
    /// [`SampleError::NoFiniteLogit`] when nothing would be left.
    pub fn ban(&mut self, tokens: &[u32]) -> Result<(), SampleError> {
        let places: Vec<u32> = tokens.iter().filter_map(|token| self.place(*token)).map(|at| at as u32).collect();
        if places.is_empty() {
            return Ok(());
        }
        if places.len() == self.len() {
            return Err(SampleError::NoFiniteLogit);
        }
        let ends = places.iter().copied().chain([self.len() as u32]);
        let starts = std::iter::once(0).chain(places.iter().map(|at| at + 1));
        let Scratch { ids, logits, .. } = &mut self.scratch;
        ids.clear();
        logits.clear();
        // Few are banned of many: what lies between them moves in whole runs.
        for (start, end) in starts.zip(ends).filter(|(start, end)| start < end) {
            ids.extend(start..end);
            logits.extend_from_slice(&self.logits[start as usize..end as usize]);
        }
        self.take_kept();
        Ok(())
    }

    /// Appends the logits from `low` up to but not `high`, in falling order.
    pub fn falling(&mut self, (low, high): (f32, f32), falling: &mut Vec<f32>) {
        self.find_maxima();
        self.gather(Order::Largest, (low, high));
        let Scratch { logits, scores, .. } = &mut self.scratch;
        sort::sort_falling(logits, scores);
        if falling.is_empty() {
            std::mem::swap(falling, logits);
        } else {
            falling.extend_from_slice(logits);
        }
    }

    /// Keeps the first `count` of the falling logits, of which at least so many are given, the lower ids of equal ones.
    pub fn keep_falling(&mut self, falling: &[f32], count: usize) {
        if count >= self.logits.len() {
            return;
        }
        let score = falling[count - 1];
        let before = falling.partition_point(|logit| *logit > score);
        self.keep_until(Order::Largest, Cut { score, ties: count - before });
    }

    /// Replaces every logit.
    pub fn change_all(&mut self, change: impl Fn(f32) -> f32) {
        self.logits.iter_mut().for_each(|logit| *logit = change(*logit));
        self.forget();
    }

    /// Replaces the logit of a token, if it is still there.
    pub fn change(&mut self, token: u32, change: impl FnOnce(f32) -> f32) {
        if let Some(at) = self.place(token) {
            self.logits[at] = change(self.logits[at]);
            self.forget();
        }
    }

    /// Keeps the tokens whose probability is at least `threshold`, or the most probable one where there is none.
    pub fn keep_probable(&mut self, threshold: f64) {
        let logit = self.log_sum_exp() + threshold.ln();
        self.keep_at_least(logit);
        self.threshold = Some(threshold);
    }

    /// Keeps the tokens whose logit is at least `threshold`, or the largest one where there is none.
    pub fn keep_above(&mut self, threshold: f64) {
        let probability = self.explained.then(|| (threshold - self.log_sum_exp()).exp());
        self.keep_at_least(threshold);
        self.threshold = probability;
    }

    fn keep_at_least(&mut self, threshold: f64) {
        let max = self.max();
        let bound = (threshold - slack(threshold)) as f32;
        // A bound that is no number comes of a threshold beyond every probability.
        if bound.is_nan() || max < bound {
            let best = self.argmax();
            self.keep_places(&[best as u32]);
            return;
        }
        self.gather(Order::Largest, (bound, f32::INFINITY));
        if self.scratch.ids.len() < self.logits.len() {
            self.take_kept();
        }
    }

    /// Keeps the `count` largest, the lower ids of equal ones.
    pub fn keep_largest(&mut self, count: usize) {
        if count < self.logits.len() {
            let mut places = self.largest(count);
            places.sort_unstable();
            self.keep_places(&places);
        }
    }

    /// Places of the `count` largest by falling logit, the lower ids of equal ones first.
    pub fn largest(&mut self, count: usize) -> Vec<u32> {
        let count = count.min(self.logits.len());
        self.find_maxima();
        // That many blocks have an element as large as the bound, so that many elements are at least that large.
        let bound = if count < self.maxima.len() {
            let scores = &mut self.scratch.scores;
            scores.clear();
            scores.extend_from_slice(&self.maxima);
            *scores.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1
        } else {
            f32::NEG_INFINITY
        };
        self.gather(Order::Largest, (bound, f32::INFINITY));
        let Scratch { ids, logits, .. } = &self.scratch;
        let mut found: Vec<(f32, u32)> = logits.iter().copied().zip(ids.iter().copied()).collect();
        // Adding zero makes both zeros one, which are equal logits.
        let order = |a: &(f32, u32), b: &(f32, u32)| (b.0 + 0.0).total_cmp(&(a.0 + 0.0)).then(a.1.cmp(&b.1));
        if count < found.len() {
            found.select_nth_unstable_by(count, order);
            found.truncate(count);
        }
        found.sort_unstable_by(order);
        found.into_iter().map(|(_, place)| place).collect()
    }

    /// Keeps the candidates at some places, given in ascending order; all stay when there is none.
    pub fn keep_places(&mut self, places: &[u32]) {
        if places.is_empty() || places.len() == self.logits.len() {
            return;
        }
        let Scratch { ids, logits, .. } = &mut self.scratch;
        ids.clear();
        logits.clear();
        ids.extend_from_slice(places);
        logits.extend(places.iter().map(|at| self.logits[*at as usize]));
        self.take_kept();
    }

    /// Keeps the fewest of the first by an order that hold `share` of the probability, the lower ids of equal ones.
    pub fn keep_share(&mut self, order: Order, share: f64) {
        if let Some(cut) = self.cut(order, share) {
            self.keep_until(order, cut);
        }
    }

    /// The lowest logit that [`Self::keep_share`] of the largest would keep.
    pub fn last_of_share(&mut self, share: f64) -> f64 {
        let cut = self.cut(Order::Largest, share);
        f64::from(cut.map_or_else(|| select::extremes(&self.logits).0, |cut| cut.score))
    }

    /// Where the prefix by an order ends that holds a share of the probability.
    fn cut(&mut self, order: Order, share: f64) -> Option<Cut> {
        if self.logits.len() <= SMALL {
            let max = f64::from(self.max());
            let weights: Vec<f64> = self.logits.iter().map(|logit| (f64::from(*logit) - max).exp()).collect();
            let scores: Vec<f32> = self.logits.iter().map(|logit| order.score(*logit)).collect();
            return prefix::sorted(&scores, &weights, share * weights.iter().sum::<f64>());
        }
        self.weigh();
        let Scratch { weights, totals, prefix, .. } = &mut self.scratch;
        let total = totals.last().copied().unwrap_or(0.0);
        let set = prefix::Weighted { elements: &self.logits, maxima: &self.maxima, weights, total, order };
        prefix::narrowed(set, share * total, prefix)
    }

    /// Collects places and logits of the candidates whose score is in an interval; the maxima have to be known.
    fn gather(&mut self, order: Order, bounds: (f32, f32)) {
        let Scratch { ids, logits, .. } = &mut self.scratch;
        ids.clear();
        logits.clear();
        order::between(&self.logits, &self.maxima, order, bounds, ids, logits);
    }

    /// Keeps what has a higher score than a cut, and the first of its ties.
    fn keep_until(&mut self, order: Order, cut: Cut) {
        self.find_maxima();
        self.gather(order, (cut.score, f32::INFINITY));
        let Scratch { ids, logits, .. } = &mut self.scratch;
        if order::count(logits, order, (cut.score, cut.score.next_up())) > cut.ties {
            let (mut seen, mut kept) = (0, 0);
            for at in 0..ids.len() {
                let tied = order.score(logits[at]) == cut.score;
                seen += usize::from(tied);
                (ids[kept], logits[kept]) = (ids[at], logits[at]);
                kept += usize::from(!tied || seen <= cut.ties);
            }
            ids.truncate(kept);
            logits.truncate(kept);
        }
        self.take_kept();
    }

    /// Draws a token: the first whose cumulative probability, by rising id, exceeds `uniform`.
    pub fn draw(&mut self, uniform: f64) -> Drawn {
        self.weigh();
        let Scratch { weights, totals, .. } = &self.scratch;
        let total = totals.last().copied().unwrap_or(0.0);
        let target = uniform * total;
        let block = totals.partition_point(|total| *total <= target).min(totals.len() - 1);
        let start = block * select::BLOCK;
        let mut sum = if block == 0 { 0.0 } else { totals[block - 1] };
        let end = (start + select::BLOCK).min(weights.len());
        let mut chosen = None;
        for (at, weight) in (start..end).zip(&weights[start..end]).filter(|(_, weight)| **weight > 0.0) {
            sum += f64::from(*weight);
            chosen = Some(at);
            if sum > target {
                break;
            }
        }
        // Rounding may leave the target a hair above the last total.
        let at = chosen.unwrap_or_else(|| weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0));
        let probability = f64::from(weights[at]) / total;
        Drawn { token: self.id(at), logit: self.logits[at], probability }
    }

    /// Moves the gathered places and logits in.
    fn take_kept(&mut self) {
        let Scratch { ids, logits, .. } = &mut self.scratch;
        if !self.whole {
            for at in ids.iter_mut() {
                *at = self.ids[*at as usize];
            }
        }
        std::mem::swap(&mut self.ids, ids);
        std::mem::swap(&mut self.logits, logits);
        self.whole = false;
        self.forget();
    }

    fn forget(&mut self) {
        self.maxima.clear();
        self.largest = None;
        self.weighed = false;
        self.moments = None;
    }

    fn find_maxima(&mut self) {
        if self.maxima.is_empty() {
            select::block_maxima(&self.logits, &mut self.maxima);
        }
    }

    /// Finds the weights `e^(z − max)` and, in the same pass, what [`Self::entropy`] needs: for a stage that takes both.
    pub fn weigh(&mut self) {
        if self.weighed {
            return;
        }
        let max = self.max();
        let Scratch { weights, totals, .. } = &mut self.scratch;
        let moment = select::exponentials(&self.logits, max, weights, totals);
        if self.logits.len() > SMALL && self.moments.is_none() {
            self.moments = Some(moments(max, totals.last().copied().unwrap_or(0.0), moment));
        }
        self.weighed = true;
    }

    fn measure(&mut self) -> (f64, f64) {
        if let Some(known) = self.moments {
            return known;
        }
        let max = self.max();
        let (weight, moment) = if self.logits.len() <= SMALL {
            self.logits.iter().map(|logit| f64::from(*logit) - f64::from(max)).fold(
                (0.0, 0.0),
                |(weight, moment), d| {
                    let e = d.exp();
                    // Nothing is left of 0 · ln 0.
                    (weight + e, if e > 0.0 { e.mul_add(d, moment) } else { moment })
                },
            )
        } else {
            select::moments(&self.logits, max)
        };
        let found = moments(max, weight, moment);
        self.moments = Some(found);
        found
    }
}

/// Logarithm of the sum of exponentials and entropy, of the sum of weights `e^(z − max)` and that of their products with
/// `z − max`.
fn moments(max: f32, weight: f64, moment: f64) -> (f64, f64) {
    let log = weight.ln();
    (f64::from(max) + log, (log - moment / weight).max(0.0))
}
