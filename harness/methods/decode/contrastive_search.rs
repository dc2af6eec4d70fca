//! Contrastive search: probable tokens whose hidden state is unlike those before it.
//!
//! Among the `k` most probable tokens `v`, the one of the largest `(1 − alpha) · p(v) − alpha · max_j cos(h_v, h_j)` is taken,
//! `h_v` the final hidden state of `v` when it is appended and `j` every earlier position, the prompt's included. Each
//! step reads `k` sequences. `alpha = 0` and `k = 1` are greedy decoding. Ties: the more probable, then the lower id.
//!
//! # Difference from the reference
//! None in the formula. A state of length 0 has cosine 0 to every other. The hidden state is that after the last
//! normalisation, as transformers' last one is for these models.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::decode::expand::{log_probability_of, most_probable};
use crate::decode::model::{Counted, Request};
use crate::decode::{Decode, DecodeError, Decoded, Hypothesis, Models, Needs, Task};
use crate::registry::Method;
use crate::sample::Candidates;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Candidates.
        k: usize = 4, Domain::closed(1.0, 65536.0);
        /// Weight of the likeness to what came before.
        alpha: f64 = 0.6, Domain::closed(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "contrastive-search",
        axis: Axis::Sampler,
        about: "decodes probable tokens whose hidden state is unlike those before it",
        source: "Su et al.: A Contrastive Framework for Neural Text Generation, NeurIPS 2022",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    Ok(Method::Decoder(Box::new(ContrastiveSearch(Settings::resolve(arm)?))))
}

/// The place of the best of some candidates, by their probabilities and largest cosines.
pub fn choose(probabilities: &[f64], cosines: &[f64], alpha: f64) -> (usize, f64) {
    let scores = probabilities.iter().zip(cosines).map(|(p, cosine)| (1.0 - alpha) * p - alpha * cosine);
    scores.enumerate().fold((0, f64::NEG_INFINITY), |best, (at, score)| if score > best.1 { (at, score) } else { best })
}

/// Makes a state one of length 1, so that products are cosines.
fn unit(state: &[f32]) -> Vec<f64> {
    let length = state.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    state.iter().map(|value| if length > 0.0 { f64::from(*value) / length } else { 0.0 }).collect()
}

struct ContrastiveSearch(Settings);

impl Decode for ContrastiveSearch {
    fn needs(&self) -> Needs {
        Needs { states: true, ..Needs::default() }
    }

    fn decode(&self, models: Models, task: &Task) -> Result<Decoded, DecodeError> {
        let task = task.checked("contrastive-search", self.needs(), &models)?;
        let Settings { k, alpha } = self.0;
        let ends = models.model.ends().to_vec();
        let mut model = Counted::new(models.model);
        let mut candidates = Candidates::default();
        let mut sequence = task.prompt.to_vec();
        let mut rows = model.rows(&Request { sequences: &[&sequence], logits: 1, states: sequence.len() })?;
        let mut seen: Vec<Vec<f64>> = rows.states.iter().map(|state| unit(state)).collect();
        let mut row = rows.logits.swap_remove(0);
        let (mut log_probability, mut total, mut finished) = (0.0, 0.0, false);
        for generated in 0..task.tokens {
            let best = most_probable(&mut candidates, &row, k, generated)?;
            let continued: Vec<Vec<u32>> = best.iter().map(|(token, _)| [&sequence[..], &[*token]].concat()).collect();
            let sequences: Vec<&[u32]> = continued.iter().map(Vec::as_slice).collect();
            rows = model.rows(&Request { sequences: &sequences, logits: 1, states: 1 })?;
            let states: Vec<Vec<f64>> = rows.states.iter().map(|state| unit(state)).collect();
            let likeness = |state: &Vec<f64>| {
                let cosines = seen.iter().map(|other| state.iter().zip(other).map(|(a, b)| a * b).sum::<f64>());
                cosines.fold(f64::NEG_INFINITY, f64::max)
            };
            let cosines: Vec<f64> = states.iter().map(likeness).collect();
            let probabilities: Vec<f64> = best.iter().map(|(_, log)| log.exp()).collect();
            let (at, score) = choose(&probabilities, &cosines, alpha);
            let token = best[at].0;
            log_probability += log_probability_of(&mut candidates, &row, token, generated)?;
            total += score;
            sequence.push(token);
            if ends.contains(&token) {
                finished = true;
                break;
            }
            seen.push(states[at].clone());
            row = rows.logits.swap_remove(at);
        }
        let tokens = sequence.split_off(task.prompt.len());
        let hypotheses = vec![Hypothesis { tokens, finished, log_probability, score: total }];
        Ok(Decoded { hypotheses, calls: model.calls, ..Decoded::default() })
    }
}
