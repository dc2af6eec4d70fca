//! Which tokens of a step have a probability that no distribution consistent with the head can deny.
//!
//! Training makes `W_cᵀ p̂ = W_cᵀ p*` on average, and the error of a model is bounded by `p*_i ≤ σ p̂_i` with `σ = 1 / (1 − τ)`. Token
//! `t` is in the support when there is no distribution `p` with `p_t = 0` and both. In the numbers `z_i = (p_i − p̂_i) / p̂_t` of the
//! other tokens, which lie in `[−p̂_i / p̂_t, (σ − 1) p̂_i / p̂_t]`, such a `p` has `Σ z_i a_i = a_t` with `a_i = (1, W_c i)`; the
//! [`Simplex`] finds the greatest multiple `θ` of `a_t` that can be reached.
//!
//! Both answers come with what proves them. `θ ≥ 1` gives a distribution, which [`Support::point`] writes out. A `λ` whose sum over all
//! tokens, `h(λ)`, stays under 1 shows that there is none. The program is solved over the tokens that matter, and the others move
//! together in groups, which can only make `θ` smaller; `h(λ)` is always summed over all tokens in f64. What the sum shows to
//! matter joins, and at last all tokens do.

use super::head::Basis;
use super::lanes::{LANES, Lanes};
use super::program::Part;
use super::simplex::Simplex;

/// How far from 1 `θ` or `h(λ)` may be for the answer they prove; rows are scaled to deviation one.
pub const TOLERANCE: f64 = 1e-7;

/// Largest `σ`, whatever `τ`.
const MOST: f64 = 1e10;

/// Up to this many candidates all have columns of their own.
const SMALL: usize = 2048;

/// Rounds after which all have.
const ROUNDS: usize = 8;

/// A sum over the columns from which on a direction is tried on all tokens.
const ENOUGH: f64 = 0.8;

/// Whether a token is in the support.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is: `λ`, the constant first, with `Σ_{i≠t} p̂_i ((σ − 1) (λ·a_i)⁺ + (λ·a_i)⁻) ≤ bound · p̂_t λ·a_t` and `bound` below 1.
    In {
        /// `λ`.
        certificate: Vec<f64>,
        /// The sum against the token's own.
        bound: f64,
    },
    /// It is not: [`Support::point`] is a distribution that denies it.
    Out {
        /// The multiple of the token's probability that the others can take over, at least 1 but for rounding.
        reached: f64,
    },
    /// The accuracy of numbers does not tell.
    Undecided {
        /// What the others can take over.
        reached: f64,
        /// The least bound on it that was found.
        bound: f64,
    },
}

/// The test of one distribution. Buffers stay from token to token, and so does the basis that the last one ended with.
pub struct Support<'a> {
    pub(super) basis: &'a Basis,
    pub(super) directions: usize,
    /// `p̂`, one a token of the vocabulary; removed ones have zero.
    pub(super) probabilities: Vec<f64>,
    /// Mean of the rows, and what a group of tokens has of the probability and of the rows.
    pub(super) means: Vec<f64>,
    pub(super) groups: usize,
    pub(super) shares: Vec<f64>,
    pub(super) sums: Vec<f64>,
    /// The tokens with columns of their own at first, ascending, and the columns: theirs and then the groups'.
    pub(super) heavy: Vec<u32>,
    pub(super) columns: Lanes,
    pub(super) part: Part,
    pub(super) simplex: Simplex,
    /// Tokens of the last basis.
    pub(super) start: Vec<u32>,
    pub(super) residuals: Vec<f64>,
}

/// What a direction proves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sums {
    /// `λ·a_t p̂_t`.
    own: f64,
    /// `Σ p̂_i (λ·a_i)⁺` and `Σ p̂_i (λ·a_i)⁻` of the other tokens.
    above: f64,
    below: f64,
}

impl Sums {
    pub(super) fn bound(&self, spread: f64) -> f64 {
        if self.own > 0.0 { self.above.mul_add(spread, self.below) / self.own } else { f64::INFINITY }
    }
}

/// How a token is solved.
#[derive(Debug, Clone, Copy)]
struct Goal {
    tolerance: f64,
    /// Whether any proof will do, or the best is wanted.
    any: bool,
}

/// What solving ended with.
struct Solved {
    reached: f64,
    bound: f64,
    sums: Sums,
    certificate: Vec<f64>,
}

impl<'a> Support<'a> {
    /// Of a distribution over the vocabulary, in the first `directions` of a basis.
    ///
    /// # Panics
    /// When the basis has fewer directions or tokens of another number.
    pub fn new(basis: &'a Basis, directions: usize, probabilities: Vec<f64>) -> Self {
        assert!(directions <= basis.directions(), "more directions than the basis has");
        assert_eq!(probabilities.len(), basis.vocabulary(), "one probability a token of the head");
        let groups = if probabilities.len() <= SMALL { 0 } else { 1 << directions.min(6) };
        let mut support = Self {
            basis,
            directions,
            means: vec![0.0; directions],
            groups,
            shares: Vec::new(),
            sums: Vec::new(),
            heavy: Vec::new(),
            columns: Lanes::default(),
            part: Part::default(),
            simplex: Simplex::default(),
            start: Vec::new(),
            residuals: Vec::new(),
            probabilities,
        };
        support.prepare();
        support
    }

    /// Whether a token is in the support at a `τ`.
    pub fn test(&mut self, token: u32, tau: f64) -> Verdict {
        // σ − 1, without taking one from a number near one.
        let spread = tau / (1.0 - tau).max(1.0 / MOST);
        let found = self.solve(token, spread, Goal { tolerance: TOLERANCE, any: true });
        let Solved { reached, bound, certificate, .. } = found;
        if reached >= 1.0 - TOLERANCE {
            Verdict::Out { reached }
        } else if bound < 1.0 - TOLERANCE {
            Verdict::In { certificate, bound }
        } else {
            Verdict::Undecided { reached, bound }
        }
    }

    /// `δ` of a token: it is in the support at every `τ` below. At least its probability, and equal to it without directions;
    /// one when it is in the support whatever the error of the model.
    pub fn delta(&mut self, token: u32) -> f64 {
        let own = self.probabilities[token as usize];
        if own <= 0.0 {
            return 0.0;
        }
        let mut spread = own / (1.0 - own);
        // h(λ) is linear in σ − 1 and no less than θ: where it is 1 for the best λ the next σ cannot be too large.
        for _ in 0..100 {
            if spread.is_nan() || spread >= MOST {
                return 1.0;
            }
            let Solved { reached, sums, .. } = self.solve(token, spread, Goal { tolerance: 1e-11, any: false });
            let next = (sums.own - sums.below) / sums.above;
            if reached >= 1.0 - 1e-11 || next <= spread * (1.0 + 1e-13) {
                break;
            }
            spread = next;
        }
        spread / (1.0 + spread)
    }

    /// After [`Verdict::Out`]: the distribution without the token, one probability a token of the vocabulary.
    pub fn point(&self) -> Vec<f64> {
        let part = &self.part;
        let own = self.probabilities[part.token];
        let share = |z: f64| z * own / part.reached;
        let mut point = self.probabilities.clone();
        for (token, probability) in point.iter_mut().enumerate() {
            if self.groups > 0 {
                let column = part.members.len() + self.group(token);
                // At first a group of mass m moves by z, each of its tokens by z · p̂ / m.
                let amount = match part.pattern.get(token) {
                    Some(amount) => *amount,
                    None if part.down[column] > 0.0 => self.probabilities[token] / own / part.down[column],
                    None => 0.0,
                };
                *probability += share(amount * part.values[column]);
            }
        }
        for (token, z) in part.members.iter().zip(&part.values) {
            point[*token as usize] = self.probabilities[*token as usize] + share(*z);
        }
        point[part.token] = 0.0;
        for probability in &mut point {
            *probability = probability.max(0.0);
        }
        point
    }

    /// Bounds on what the other tokens can take over of a token at `σ − 1 = spread`.
    fn solve(&mut self, token: u32, spread: f64, goal: Goal) -> Solved {
        self.first(token, spread);
        let (mut reached, mut bound) = (0.0f64, f64::INFINITY);
        let mut round = 0;
        loop {
            if goal.any {
                // A direction on the way is often proof already, and less bent to the tokens that have columns.
                if self.reach(ENOUGH).is_none() {
                    let (sums, certificate) = self.weigh(token);
                    bound = bound.min(sums.bound(spread));
                    if bound < 1.0 - goal.tolerance {
                        return Solved { reached, bound, sums, certificate };
                    }
                }
            }
            reached = reached.max(self.reach(0.0).unwrap_or(0.0));
            // A distribution is proof enough; all else needs the sum over all tokens.
            let (sums, certificate) = if goal.any && reached >= 1.0 - goal.tolerance {
                (Sums { own: 1.0, above: f64::INFINITY, below: 0.0 }, Vec::new())
            } else {
                self.weigh(token)
            };
            bound = bound.min(sums.bound(spread));
            let decided = reached >= 1.0 - goal.tolerance
                || (goal.any && bound < 1.0 - goal.tolerance)
                || bound - reached <= goal.tolerance * bound
                || round > ROUNDS;
            if decided || self.groups == 0 {
                return Solved { reached, bound, sums, certificate };
            }
            round += 1;
            self.refine(token, spread, round > ROUNDS);
        }
    }

    /// The sums over all tokens of the direction that was found, and it in the rows' own coordinates.
    pub(super) fn weigh(&mut self, token: u32) -> (Sums, Vec<f64>) {
        let direction = self.simplex.direction();
        let slopes: Vec<f64> =
            direction[1..].iter().zip(&self.basis.scales).map(|(slope, scale)| slope / scale).collect();
        let constant = direction[0] - slopes.iter().zip(&self.means).map(|(slope, mean)| slope * mean).sum::<f64>();
        self.basis.rows.products(&slopes, &mut self.residuals);
        let (mut above, mut below) = ([0.0; LANES], [0.0; LANES]);
        let whole = self.probabilities.len() / LANES * LANES;
        let parts = self.probabilities[..whole].chunks_exact(LANES).zip(self.residuals.chunks_exact_mut(LANES));
        for (probabilities, residuals) in parts {
            for lane in 0..LANES {
                residuals[lane] += constant;
                above[lane] += probabilities[lane] * residuals[lane].max(0.0);
                below[lane] += probabilities[lane] * (-residuals[lane]).max(0.0);
            }
        }
        for at in whole..self.probabilities.len() {
            self.residuals[at] += constant;
            above[0] += self.probabilities[at] * self.residuals[at].max(0.0);
            below[0] += self.probabilities[at] * (-self.residuals[at]).max(0.0);
        }
        let at = token as usize;
        let own = self.probabilities[at] * self.residuals[at];
        let sums = Sums {
            own,
            above: above.iter().sum::<f64>() - own.max(0.0),
            below: below.iter().sum::<f64>() - (-own).max(0.0),
        };
        (sums, std::iter::once(constant).chain(slopes).collect())
    }
}
