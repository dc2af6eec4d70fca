//! Generation from two rows of logits a step.

use harness_core::Arm;

use crate::decode::expand::log_probability_of;
use crate::decode::model::Counted;
use crate::decode::{DecodeError, Decoded, Hypothesis, Models, Statistics, Task};
use crate::sample::{Candidates, Chain, Past, SampleError};

/// Where the second row of a step comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Other {
    /// The same model behind another prompt.
    Prompt,
    /// Another model behind the same prompt.
    Model,
}

/// Generates tokens by the chain of `stages` from what `combine` makes of the rows (logits) of both branches. The second
/// branch sees every generated token as well.
pub(crate) fn generate(
    models: Models,
    task: &Task,
    other: Other,
    stages: &[Arm],
    combine: &dyn Fn(&[f32], &[f32]) -> Result<Vec<f32>, SampleError>,
) -> Result<Decoded, DecodeError> {
    let mut chain = Chain::build(stages, task.seed, task.sequence)?;
    let ends = models.model.ends().to_vec();
    let mut model = Counted::new(models.model);
    let mut second = models.second.filter(|_| other == Other::Model).map(Counted::new);
    let mut sequence = task.prompt.to_vec();
    let mut other_sequence = task.other().to_vec();
    let mut statistics = Statistics::default();
    let (mut log_probability, mut score, mut finished) = (0.0, 0.0, false);
    let mut candidates = Candidates::default();
    for generated in 0..task.tokens {
        let (row, other_row) = if let Some(second) = &mut second {
            (model.next(&sequence)?, second.next(&sequence)?)
        } else {
            let mut rows = model.logits(&[&sequence, &other_sequence], 1)?;
            let other_row = rows.swap_remove(1);
            (rows.swap_remove(0), other_row)
        };
        let wrong = |source| DecodeError::Sample { generated, source };
        let combined = combine(&row, &other_row).map_err(wrong)?;
        let past = Past { prompt: task.prompt, generated: &sequence[task.prompt.len()..] };
        let choice = chain.choose(&combined, past).map_err(wrong)?;
        let token = choice.drawn.token;
        log_probability += log_probability_of(&mut candidates, &row, token, generated)?;
        score += choice.drawn.probability.ln();
        statistics.choices.push(choice);
        sequence.push(token);
        other_sequence.push(token);
        if ends.contains(&token) {
            finished = true;
            break;
        }
    }
    let tokens = sequence.split_off(task.prompt.len());
    Ok(Decoded {
        hypotheses: vec![Hypothesis { tokens, finished, log_probability, score }],
        calls: model.calls,
        second_calls: second.map_or_else(Default::default, |second| second.calls),
        statistics,
    })
}

/// The smallest logarithm that is left: tokens whose probability is at least `share` of the largest one.
pub(crate) fn plausible(log_probabilities: &[f64], share: f64) -> f64 {
    let largest = log_probabilities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bound = largest + share.ln();
    // What is computed from f32 is known no better.
    bound - crate::sample::slack(bound)
}
