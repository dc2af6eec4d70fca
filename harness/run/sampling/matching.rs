//! Sets matched chains on calibration text.

use harness_core::{Arm, Axis, Value};
use harness_methods::registry::{self, Method};
use harness_methods::sample::Past;
use rayon::prelude::*;

use crate::inputs::LoadedModel;
use crate::sampling::measure::logits;
use crate::sampling::recipe::Recipe;
use crate::text::Windows;

/// Steps of the calibration text that entropies are taken over.
const STEPS: usize = 768;

/// A row and the text before it.
type Row = (Vec<f32>, Vec<u32>);

/// The rows of the calibration text, read when the first chain needs them.
#[derive(Default)]
pub struct Matcher {
    rows: Vec<Row>,
}

impl Matcher {
    /// The chain that a matched one stands for, and what its parameter was set to; `None` for any other chain.
    ///
    /// # Errors
    /// No calibration text, or a diversity that the chain cannot leave of it.
    pub fn settle(
        &mut self,
        model: &LoadedModel,
        calibration: Option<&Windows>,
        recipe: &Recipe,
    ) -> Result<Option<(Vec<Arm>, Option<f64>)>, String> {
        let [arm] = recipe.arms.as_slice() else { return Ok(None) };
        let Ok(Method::Matched(matched)) = registry::build(Axis::Sampler, arm) else { return Ok(None) };
        let windows =
            calibration.ok_or("a matched chain is set on calibration text; give the bench a `calib` table")?;
        if self.rows.is_empty() {
            self.rows = rows(model, windows)?;
        }
        let found = matched.find(|arms| entropy(&Recipe { arms: arms.to_vec(), ..recipe.clone() }, &self.rows))?;
        let setting = found.last().and_then(|stage| stage.parameters.first()).and_then(|(_, value)| match value {
            Value::Float(value) => Some(*value),
            Value::Int(value) => Some(*value as f64),
            _ => None,
        });
        Ok(Some((found, setting)))
    }
}

/// As many rows of every window, spread over it.
fn rows(model: &LoadedModel, windows: &Windows) -> Result<Vec<Row>, String> {
    let vocabulary = model.decoder.config().vocab_size;
    let each = STEPS.div_ceil(windows.tokens.len().max(1));
    let mut rows = Vec::new();
    for (number, window) in windows.tokens.iter().enumerate() {
        let all = logits(model, window, 1).map_err(|error| format!("calibration window {number}: {error}"))?;
        let count = window.len() - 1;
        for at in (0..each.min(count)).map(|part| part * count / each.min(count)) {
            rows.push((all[at * vocabulary..(at + 1) * vocabulary].to_vec(), window[..=at].to_vec()));
        }
    }
    Ok(rows)
}

/// Mean entropy of what a chain leaves of rows, in nats.
fn entropy(recipe: &Recipe, rows: &[Row]) -> Result<f64, String> {
    let of_part = |(part, rows): (usize, &[Row])| {
        let mut chain = recipe.chain(&format!("calibration {part}"))?;
        let mut sum = 0.0;
        for (row, past) in rows {
            chain.reset();
            let left = chain.apply(row, Past { prompt: past, generated: &[] }).map_err(|error| error.to_string())?;
            sum += left.entropy();
        }
        Ok::<f64, String>(sum)
    };
    let parts: Vec<f64> = rows.par_chunks(64).enumerate().map(of_part).collect::<Result<_, _>>()?;
    Ok(parts.iter().sum::<f64>() / rows.len() as f64)
}
