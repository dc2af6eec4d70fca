//! What a recipe may say: every value in its range, and values that fit each other.

use super::{AttentionRecipe, GROUPS, PositionRecipe, Recipe};
use crate::train::TrainError;
use crate::train::places::PlacesRecipe;

impl Recipe {
    /// Checks every value.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] with the range.
    pub fn check(&self) -> Result<(), TrainError> {
        fn within<T: PartialOrd + Copy + std::fmt::Display>(
            key: &'static str,
            value: T,
            low: T,
            high: T,
        ) -> Result<(), TrainError> {
            if value >= low && value <= high {
                return Ok(());
            }
            Err(TrainError::Recipe { key, value: value.to_string(), allowed: format!("{low} to {high}") })
        }
        let (shape, data, training) = (&self.architecture, &self.data, &self.training);
        within("format", self.format, 1, 1)?;
        within("architecture.hidden", shape.hidden, 1, 1 << 16)?;
        within("architecture.layers", shape.layers, 1, 1024)?;
        if let Some(state_space) = shape.state_space {
            within("architecture.state_space.channels", state_space.channels, 1, 1 << 17)?;
            within("architecture.state_space.states", state_space.states, 1, 1 << 10)?;
            within("architecture.state_space.taps", state_space.taps, 1, 64)?;
            within("architecture.state_space.step_rank", state_space.step_rank, 1, 1 << 16)?;
        } else {
            within("architecture.feed_forward", shape.feed_forward, 1, 1 << 18)?;
            within("architecture.heads", shape.heads, 1, 1024)?;
            within("architecture.kv_heads", shape.kv_heads, 1, shape.heads)?;
            within("architecture.head_dim", shape.head_dim, 2, 1 << 12)?;
            within("architecture.rope_theta", shape.rope_theta, 1.0, 1e12)?;
        }
        within("data.valid_windows", data.valid_windows, 1, 1 << 20)?;
        within("data.context", data.context, 1, 1 << 20)?;
        within("data.scales", data.scales.unwrap_or(1), 1, 1 << 10)?;
        within("data.short_share", data.short_share, 0.0, 1.0)?;
        self.check_together()?;
        within("training.tokens", training.tokens, 1, 1 << 50)?;
        within("training.batch", training.batch, 1, 1 << 20)?;
        within("training.learning_rate", training.learning_rate, 0.0, 1e3)?;
        within("training.warmup", training.warmup, 0.0, 1.0)?;
        within("training.final_share", training.final_share, 0.0, 1.0)?;
        within("training.weight_decay", training.weight_decay, 0.0, 1e3)?;
        within("training.beta1", training.beta1, 0.0, 1.0 - 1e-9)?;
        within("training.beta2", training.beta2, 0.0, 1.0 - 1e-9)?;
        within("training.epsilon", training.epsilon, 1e-30, 1.0)?;
        within("training.clip", training.clip, 1e-9, 1e9)?;
        within("training.evaluate_every", training.evaluate_every, 1, usize::MAX)?;
        within("training.checkpoint_every", training.checkpoint_every, 1, usize::MAX)
    }

    /// Checks what depends on more than one key.
    fn check_together(&self) -> Result<(), TrainError> {
        let refuse = |key, value: &dyn std::fmt::Display, allowed: &str| {
            Err(TrainError::Recipe { key, value: value.to_string(), allowed: allowed.to_owned() })
        };
        self.check_states()?;
        let (data, positions) = (&self.data, &self.architecture.positions);
        if data.places.draws_factors() && data.scales.is_none() {
            return refuse(
                "data.scales",
                &"missing",
                "a whole number from 1, for `data.places` draws factors up to it",
            );
        }
        if let Some(scales) = data.scales.filter(|_| !data.places.draws_factors()) {
            return refuse("data.scales", &scales, "left out, for `data.places` is neither `scaled` nor `stretched`");
        }
        if let (Some(positions), None) = (positions, &self.start) {
            return refuse(
                "architecture.positions",
                positions,
                "left out, or `start` given: it extends a model that was trained without",
            );
        }
        if data.short_share > 0.0 && (positions.is_none() || data.places != PlacesRecipe::Whole) {
            return refuse(
                "data.short_share",
                &data.short_share,
                "0 without `architecture.positions` or where `data.places` are drawn",
            );
        }
        let shape = &self.architecture;
        let halved = [data.context / GROUPS, shape.heads, shape.kv_heads].iter().all(|count| count.is_multiple_of(2));
        let grouped = match self.training.attention {
            AttentionRecipe::Full => true,
            _ if data.short_share > 0.0 || !matches!(shape.position, PositionRecipe::Rope | PositionRecipe::None) => {
                false
            }
            AttentionRecipe::Groups => data.context.is_multiple_of(GROUPS),
            AttentionRecipe::ShiftedGroups => data.context.is_multiple_of(GROUPS) && halved,
        };
        if !grouped {
            return refuse(
                "training.attention",
                &"groups",
                "`full`, or a context of whole quarters (even ones, and even heads, where they are shifted) positions `rope` or `none`, and no short windows",
            );
        }
        self.scaling_arm().map(drop)
    }

    /// Checks what state spaces have no use for, and what only they have.
    fn check_states(&self) -> Result<(), TrainError> {
        const LEFT_OUT: &str =
            "left out, for state spaces have neither attention nor positions nor a feed-forward part";
        let refuse =
            |key, value: String, allowed: &str| Err(TrainError::Recipe { key, value, allowed: allowed.to_owned() });
        let shape = &self.architecture;
        if shape.state_space.is_none() {
            return match self.training.state {
                None => Ok(()),
                Some(state) => refuse(
                    "training.state",
                    format!("{state:?}").to_lowercase(),
                    "left out, or `architecture.state_space` given: attention begins every window anew",
                ),
            };
        }
        let sizes = [
            ("architecture.feed_forward", shape.feed_forward),
            ("architecture.heads", shape.heads),
            ("architecture.kv_heads", shape.kv_heads),
            ("architecture.head_dim", shape.head_dim),
        ];
        if let Some((key, size)) = sizes.into_iter().find(|(_, size)| *size != 0) {
            return refuse(key, size.to_string(), LEFT_OUT);
        }
        if shape.rope_theta != 0.0 {
            return refuse("architecture.rope_theta", shape.rope_theta.to_string(), LEFT_OUT);
        }
        if shape.position != PositionRecipe::default() {
            return refuse("architecture.position", format!("{:?}", shape.position).to_lowercase(), LEFT_OUT);
        }
        if let Some(positions) = &shape.positions {
            return refuse("architecture.positions", positions.clone(), LEFT_OUT);
        }
        if self.data.places != PlacesRecipe::Whole {
            return refuse("data.places", format!("{:?}", self.data.places).to_lowercase(), LEFT_OUT);
        }
        Ok(())
    }
}
