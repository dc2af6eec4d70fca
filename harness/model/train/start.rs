//! Runs that begin from a model.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use harness_kernels::flow::Flow;

use super::initial::initial;
use super::{Recipe, TokenSource, TrainError};
use crate::config::{Config, Scaling};
use crate::load::{Checkpoint, expected_tensors};
use crate::rope::Rope;

/// Frequencies that flow with the length, and what is trained of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Flowing {
    /// The equation.
    pub flow: Flow,
    /// Width of the net.
    pub width: usize,
    /// Frequencies of the pairs in the training of the first model.
    pub trained: Vec<f64>,
}

/// What is done to rotary frequencies, by whoever knows the methods.
pub trait Turning: fmt::Debug + Send + Sync {
    /// The rotary embeddings that [`Config::scaling`] asks for, of a model that carries such a net: `up (width, pairs)` and
    /// `down (pairs, width)`.
    ///
    /// # Errors
    /// Why the arm does not fit, for people.
    fn rope(&self, config: &Config, net: Option<[Vec<f32>; 2]>) -> Result<Rope, String>;

    /// The frequencies that a net is trained for, where the arm asks for one.
    ///
    /// # Errors
    /// Why the arm does not fit, for people.
    fn flow(&self, config: &Config) -> Result<Option<Flowing>, String>;
}

/// The model that a run begins from.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its weights.
    pub checkpoint: Checkpoint,
    /// What knows the methods of the axis of positions.
    pub turning: Arc<dyn Turning>,
}

/// What a run trains, before the first step.
pub(super) struct Begun {
    pub config: Config,
    pub weights: BTreeMap<String, Vec<f32>>,
    pub flowing: Option<Flowing>,
    /// What the run is a function of besides the recipe and the text.
    pub from: String,
}

impl Begun {
    /// Random weights.
    pub fn anew(recipe: &Recipe, source: &dyn TokenSource) -> Result<Self, TrainError> {
        if let Some(start) = &recipe.start {
            return Err(start_error(start, "is not given to the run; it is found by `harness train`".to_owned()));
        }
        let config = recipe.config(source.vocabulary(), source.begin(), source.end());
        let weights = initial(&config, recipe.training.seed);
        Ok(Self { config, weights, flowing: None, from: String::new() })
    }

    /// The weights of a model that has the recipe's shape and the text's tokens.
    pub fn from(recipe: &Recipe, source: &dyn TokenSource, start: &Start) -> Result<Self, TrainError> {
        let name = recipe.start.as_deref().unwrap_or("the first model");
        let refused = |reason: String| start_error(name, reason);
        let Start { checkpoint, turning } = start;
        check_shape(recipe, source, &checkpoint.config).map_err(refused)?;
        check_tokens(source, checkpoint).map_err(refused)?;
        if !checkpoint.packed.is_empty() {
            return Err(refused(
                "holds packed codes, which have no gradients; begin from the model they were made of".to_owned(),
            ));
        }
        let old = &checkpoint.config;
        let trained = old.trained_positions();
        let extended = recipe.scaling_arm()?.map(|arm| Scaling { arm, trained: Some(trained), net: None });
        let max_positions = recipe.data.context * recipe.data.scales.unwrap_or(1);
        let mut config = Config { scaling: extended.or_else(|| old.scaling.clone()), max_positions, ..old.clone() };
        let flowing = if config.scaling.is_some() { turning.flow(&config).map_err(refused)? } else { None };
        if let (Some(scaling), Some(flowing)) = (&mut config.scaling, &flowing) {
            scaling.net = Some(flowing.width);
        }
        check_lengths(recipe, trained, flowing.is_some()).map_err(refused)?;
        let mut weights = initial(&config, recipe.training.seed);
        for spec in expected_tensors(old) {
            // The net of an arm that the recipe replaces is left behind.
            if let Some(values) = weights.get_mut(&spec.name) {
                let stored = checkpoint.tensor(&spec.name)?.to_f32();
                if stored.len() == values.len() {
                    *values = stored;
                }
            }
        }
        Ok(Self { config, weights, flowing, from: format!(" from {}", checkpoint.hash()) })
    }
}

fn start_error(start: &str, reason: String) -> TrainError {
    TrainError::Start { start: start.to_owned(), reason }
}

/// The shape of the recipe, key by key.
fn check_shape(recipe: &Recipe, source: &dyn TokenSource, old: &Config) -> Result<(), String> {
    let asked = recipe.config(source.vocabulary(), source.begin(), source.end());
    let facts = |config: &Config| {
        [
            ("architecture.hidden", config.hidden_size.to_string()),
            ("architecture.feed_forward", config.intermediate_size.to_string()),
            ("architecture.layers", config.layers.to_string()),
            ("architecture.heads", config.heads.to_string()),
            ("architecture.kv_heads", config.kv_heads.to_string()),
            ("matrices beside the parts of blocks", config.shortcuts.to_string()),
            ("what parts of blocks read", format!("{:?}", config.reads)),
            ("widths of single blocks", format!("{:?}", config.widths)),
            ("architecture.head_dim", config.head_dim.to_string()),
            ("architecture.tied_head", config.tied_head.to_string()),
            ("architecture.position with architecture.rope_theta", format!("{:?}", config.position)),
            ("normalisation", format!("{:?}", config.norm)),
            ("activation", format!("{:?}", config.activation)),
            ("gate of the feed-forward part", config.gated.to_string()),
            ("biases of projections", format!("{:?}", (config.qkv_bias, config.output_bias, config.mlp_bias))),
            ("vocabulary of the text", config.vocab_size.to_string()),
        ]
    };
    match facts(&asked).into_iter().zip(facts(old)).find(|(asked, old)| asked != old) {
        Some(((key, asked), (_, old))) => {
            Err(format!("has another shape: {key} is {asked} in the recipe and {old} there"))
        }
        None => Ok(()),
    }
}

/// Every token of the text's tokenizer is written as the model's.
fn check_tokens(source: &dyn TokenSource, checkpoint: &Checkpoint) -> Result<(), String> {
    let (Some(text), Some(model)) = (source.tokenizer(), &checkpoint.tokenizer) else { return Ok(()) };
    let written = |token: Option<String>| token.map_or_else(|| "nothing".to_owned(), |token| format!("{token:?}"));
    let ids = 0..text.vocab_size().max(model.vocab_size()) as u32;
    match ids.into_iter().find(|id| text.token(*id) != model.token(*id)) {
        Some(id) => Err(format!(
            "has another tokenizer: token {id} is {} there and {} in the text",
            written(model.token(id)),
            written(text.token(id))
        )),
        None => Ok(()),
    }
}

/// Lengths that training at places of the recipe's kind is defined for.
fn check_lengths(recipe: &Recipe, trained: usize, flowing: bool) -> Result<(), String> {
    let context = recipe.data.context;
    if recipe.data.short_share > 0.0 && !context.is_multiple_of(trained) {
        return Err(format!(
            "was trained at {trained} positions, of which `data.context = {context}` is no multiple, as `data.short_share` needs"
        ));
    }
    if recipe.data.places.draws_factors() && context != trained {
        return Err(format!(
            "was trained at {trained} positions; places that are drawn for factors need `data.context = {trained}`, not {context}"
        ));
    }
    if flowing != (recipe.data.places == super::places::PlacesRecipe::Stretched) {
        return Err("needs `data.places = \"stretched\"` where, and only where, `architecture.positions` trains a net of frequencies".to_owned());
    }
    Ok(())
}
