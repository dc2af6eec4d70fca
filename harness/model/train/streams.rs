//! Windows that follow one another: row `n` of every batch reads on in stream `n`.

use super::pass::window;
use super::recipe::StateRecipe;
use super::{Recipe, TokenSource, TrainError};

/// The streams of a run, one for each row of its batches.
#[derive(Debug)]
pub(super) struct Streams {
    rows: Vec<Vec<u32>>,
    context: usize,
    /// Whether windows are read from the states behind those before them.
    pub carries: bool,
}

impl Streams {
    /// Those that a recipe asks for. A stream is one long window of the text, read once from its beginning; runs of other seeds read others.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] for a text whose windows are problems of their own, [`TrainError::Source`].
    pub fn of(recipe: &Recipe, source: &dyn TokenSource, vocabulary: usize) -> Result<Option<Self>, TrainError> {
        let Some(state) = recipe.training.state else { return Ok(None) };
        let (data, training) = (&recipe.data, &recipe.training);
        if !source.goes_on() {
            return Err(TrainError::Recipe {
                key: "training.state",
                value: format!("{state:?}").to_lowercase(),
                allowed: format!(
                    "left out on `{}`, whose windows are problems of their own: none goes on where another ended",
                    data.corpus
                ),
            });
        }
        let first = training.seed << 40;
        let length = recipe.steps() * data.context + 1;
        let rows = (first..first + training.batch as u64)
            .map(|index| window(source, &data.train, index, length, vocabulary))
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { rows, context: data.context, carries: state == StateRecipe::Previous }))
    }

    /// The windows of a step, one token longer than the context: the last is only predicted there, and read first in the next step.
    pub fn windows(&self, step: usize) -> Vec<Vec<u32>> {
        let from = step * self.context;
        self.rows.iter().map(|row| row[from..=from + self.context].to_vec()).collect()
    }
}
