//! `harness inspect position`: the frequencies a method makes of rotary embeddings.

use clap::Args;
use harness_core::Arm;
use harness_methods::position::{PositionError, Rotary};
use harness_methods::registry;
use harness_run::position::rotary_of;
use serde_json::json;

use crate::exit::{BAD_INPUT, DONE, INTERNAL, OrExit, Outcome, Refusal, refuse};
use crate::model::{ModelArguments, at_least};

#[derive(Args)]
pub struct PositionArguments {
    /// The method as suites write it; `harness list methods` has those of the axis `position`.
    spec: String,
    /// Rotated dimensions of a head.
    #[arg(long, value_parser = at_least(2), required_unless_present = "model")]
    dim: Option<usize>,
    /// Base of the frequencies.
    #[arg(long, default_value_t = 10_000.0)]
    base: f64,
    /// Positions the model was trained at.
    #[arg(long, value_parser = at_least(1), required_unless_present = "model")]
    trained: Option<usize>,
    /// Take all three from a model: a name from `harness list models`, a file or a folder.
    #[arg(long, short, conflicts_with_all = ["dim", "base", "trained"])]
    model: Option<String>,
    /// Positions that are read, for methods that follow the length; those of training unless given.
    #[arg(long, value_parser = at_least(1))]
    length: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl PositionArguments {
    fn rotary(&self, method: &str) -> Result<Rotary, Refusal> {
        if let Some(model) = &self.model {
            let model = ModelArguments { model: model.clone(), yes: false, offline: false };
            let loaded = model.open(&crate::fetch::inputs()?)?;
            let unsupported = |found| PositionError::UnsupportedScheme { method: method.to_owned(), found };
            return rotary_of(loaded.decoder.config())
                .map(|(rotary, _)| rotary)
                .map_err(unsupported)
                .or_exit(BAD_INPUT);
        }
        let (dimensions, trained) = (self.dim.unwrap_or_default(), self.trained.unwrap_or_default());
        if !dimensions.is_multiple_of(2) {
            return refuse(BAD_INPUT, format!("--dim {dimensions} is odd; dimensions are rotated in pairs"));
        }
        if !(self.base > 1.0 && self.base.is_finite()) {
            return refuse(BAD_INPUT, format!("--base {} must be a number above 1", self.base));
        }
        Ok(Rotary::new(self.base, dimensions, trained))
    }
}

pub fn position(arguments: &PositionArguments) -> Outcome {
    let arm: Arm = arguments.spec.parse().or_exit(BAD_INPUT)?;
    let method = registry::position(&arm).or_exit(BAD_INPUT)?;
    let rotary = arguments.rotary(&arm.id)?;
    method.check(&rotary).or_exit(BAD_INPUT)?;
    let length = arguments.length.unwrap_or(rotary.trained);
    let scaled = method.scaled(&rotary, length);
    let turns: Vec<f64> = rotary.turns().collect();
    let policy = method.cache_policy();
    if arguments.json {
        let all = json!({
            "method": arm.to_string(), "dimensions": rotary.dimensions(), "base": rotary.base,
            "trained": rotary.trained, "length": length,
            "inv_freq": scaled.frequencies, "attention_factor": scaled.attention_factor,
            "cache_policy": policy.to_string(), "turns_in_training": turns,
            "critical_pair": rotary.critical_pair(), "ramp": method.ramp(&rotary).map(|(low, high)| [low, high]),
        });
        println!("{}", serde_json::to_string_pretty(&all).or_exit(INTERNAL)?);
        return Ok(DONE);
    }
    println!(
        "{arm} on {} dimensions, base {}, trained at {} positions, reading {length}",
        rotary.dimensions(),
        rotary.base,
        rotary.trained
    );
    println!("{:>5} {:>12} {:>14} {:>14} {:>10}", "pair", "turns", "radians", "becomes", "divided by");
    for (pair, ((turns, before), after)) in turns.iter().zip(&rotary.frequencies).zip(&scaled.frequencies).enumerate() {
        println!("{pair:>5} {turns:>12.4} {before:>14.6e} {after:>14.6e} {:>10.4}", before / after);
    }
    println!("turns are those in training; pairs from {} on never complete one", rotary.critical_pair());
    if let Some((low, high)) = method.ramp(&rotary) {
        println!("the ramp goes from pair {low} to pair {high}");
    }
    println!(
        "cosines and sines are multiplied by {:.6}, scores by {:.6}; keys are cached {policy}",
        scaled.attention_factor,
        scaled.attention_factor.powi(2)
    );
    Ok(DONE)
}
