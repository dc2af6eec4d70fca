//! `harness inspect position`: the frequencies a method, or a checkpoint, makes of rotary embeddings, and what a query looks at.

use std::ops::Range;

use clap::Args;
use harness_core::Arm;
use harness_kernels::reach::Reach;
use harness_methods::position::{Position, Rotary, Scheme, check_scheme};
use harness_methods::registry;
use harness_run::position::{rotary_with_net, scheme_of};
use serde_json::json;

use super::own_scaling::Own;
use crate::exit::{BAD_INPUT, DONE, INTERNAL, OrExit, Outcome, Refusal, refuse};
use crate::model::{ModelArguments, at_least};

#[derive(Args)]
pub struct PositionArguments {
    /// The method as suites write it; `harness list methods` has those of the axis `position`. `none`, and with --model no method at
    /// all, is what the checkpoint itself does to its rotary frequencies; another comes in its place.
    #[arg(required_unless_present = "model")]
    spec: Option<String>,
    /// Rotated dimensions of a head.
    #[arg(long, value_parser = at_least(2), required_unless_present = "model")]
    dim: Option<usize>,
    /// Base of the frequencies.
    #[arg(long, default_value_t = 10_000.0)]
    base: f64,
    /// Positions the model was trained at, before any extension of its window.
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

/// What a method is shown on.
struct Subject {
    /// Where there are rotary embeddings.
    rotary: Option<Rotary>,
    scheme: Scheme,
    trained: usize,
    /// Of a checkpoint.
    own: Option<Own>,
}

impl PositionArguments {
    fn subject(&self, plainly: bool) -> Result<Subject, Refusal> {
        if let Some(model) = &self.model {
            let model = ModelArguments { model: model.clone(), yes: false, offline: false };
            let loaded = model.open(&crate::fetch::inputs()?)?;
            let config = loaded.decoder.config();
            let rotary = rotary_with_net(&loaded.decoder);
            let scaling = config.scaling.clone();
            let own = Own { shown: plainly && scaling.is_some(), scaling, context: config.max_positions };
            let trained = config.trained_positions();
            return Ok(Subject { rotary, scheme: scheme_of(config), trained, own: Some(own) });
        }
        let (dimensions, trained) = (self.dim.unwrap_or_default(), self.trained.unwrap_or_default());
        if !dimensions.is_multiple_of(2) {
            return refuse(BAD_INPUT, format!("--dim {dimensions} is odd; dimensions are rotated in pairs"));
        }
        if !(self.base > 1.0 && self.base.is_finite()) {
            return refuse(BAD_INPUT, format!("--base {} must be a number above 1", self.base));
        }
        Ok(Subject {
            rotary: Some(Rotary::new(self.base, dimensions, trained)),
            scheme: Scheme::Rotary,
            trained,
            own: None,
        })
    }
}

/// Keys that the last query of a text sees in the last block, in their order, each with the distance at which it does.
type Row = Vec<(usize, f32)>;

/// How many keys each head chooses, and from which.
type Choice = (usize, Range<usize>);

fn last_row(reach: &dyn Reach, length: usize) -> (Row, Option<Choice>) {
    let looks = reach.looks(length - 1..length);
    let looks = || looks.iter().filter(|look| look.blocks.contains_last() && !look.seen[0].is_empty());
    let distances = looks().flat_map(|look| {
        look.seen[0].clone().map(|key| (key, look.query_places[0] - look.key_places[key - look.keys.start]))
    });
    let mut row: Row = distances.collect();
    row.sort_by_key(|(key, _)| *key);
    let choice = looks().find_map(|look| Some((look.chosen?, look.seen[0].clone())));
    (row, choice)
}

/// Prints a row in runs of keys whose distances fall alike from key to key.
fn print_row(row: &Row) {
    let step = |a: &(usize, f32), b: &(usize, f32)| (b.0 - a.0, (a.1 - b.1).to_bits());
    let mut rest = &row[..];
    while let [first, others @ ..] = rest {
        let alike = others.first().map_or(0, |second| {
            let first_step = step(first, second);
            rest.windows(2).take_while(|pair| first_step.0 == 1 && step(&pair[0], &pair[1]) == first_step).count()
        });
        let last = rest[alike];
        if alike == 0 {
            println!("  key {} at {}", first.0, first.1);
        } else {
            println!("  keys {} to {} at {} to {}", first.0, last.0, first.1, last.1);
        }
        rest = &rest[alike + 1..];
    }
}

pub fn position(arguments: &PositionArguments) -> Outcome {
    let asked: Arm = arguments.spec.as_deref().unwrap_or("none").parse().or_exit(BAD_INPUT)?;
    // A method that is not there is said before a model is opened.
    let plainly = registry::position(&asked).or_exit(BAD_INPUT)?.is_identity();
    let subject = arguments.subject(plainly)?;
    let arm = match &subject.own {
        Some(Own { scaling: Some(scaling), shown: true, .. }) => scaling.arm.clone(),
        _ => asked,
    };
    let method = registry::position(&arm).or_exit(BAD_INPUT)?;
    check_scheme(&*method, &arm.id, subject.scheme).or_exit(BAD_INPUT)?;
    let length = arguments.length.unwrap_or(subject.trained);
    // Behind its own scaling a checkpoint reads as far as it states.
    let reads = subject.own.as_ref().map_or(subject.trained, |own| own.context);
    let reach = method.reach(reads).or_exit(BAD_INPUT)?;
    if let Some(longest) = reach.as_ref().and_then(|reach| reach.longest()).filter(|longest| length > *longest) {
        return refuse(BAD_INPUT, format!("{arm} reads up to {longest} positions here; --length {length} is more"));
    }
    let (row, choice) = reach.as_ref().map(|reach| last_row(&**reach, length)).unzip();
    let choice = choice.flatten();
    let query_factor = reach.as_ref().map_or(1.0, |reach| reach.query_factor(length - 1));
    if let Some(rotary) = &subject.rotary {
        method.check(rotary).or_exit(BAD_INPUT)?;
    }
    if arguments.json {
        let mut all = json!({
            "method": arm.to_string(), "kind": method.kind().to_string(), "trained": subject.trained, "length": length,
            "cache_policy": method.cache_policy().to_string(), "query_factor": query_factor, "row": row,
            "choice": choice.as_ref().map(|(count, of)| json!({"count": count, "first": of.start, "last": of.end - 1})),
            "kept": reach.as_ref().and_then(|reach| reach.kept()).map(|kept| json!({"first": kept.first, "last": kept.last})),
        });
        if let (Some(rotary), Some(all)) = (&subject.rotary, all.as_object_mut()) {
            let scaled = method.scaled(rotary, length);
            let of_rotary = json!({
                "dimensions": rotary.dimensions(), "base": rotary.base,
                "inv_freq": scaled.frequencies, "attention_factor": scaled.attention_factor,
                "follows_length": follows_length(&*method, rotary),
                "turns_in_training": rotary.turns().collect::<Vec<_>>(),
                "critical_pair": rotary.critical_pair(), "ramp": method.ramp(rotary).map(|(low, high)| [low, high]),
            });
            all.extend(of_rotary.as_object().cloned().unwrap_or_default());
        }
        if let Some(own) = &subject.own {
            all["checkpoint"] = own.json()?;
        }
        println!("{}", serde_json::to_string_pretty(&all).or_exit(INTERNAL)?);
        return Ok(DONE);
    }
    println!("{arm} on {}, trained at {} positions, reading {length}", subject.scheme, subject.trained);
    if let Some(own) = &subject.own {
        own.say()?;
    }
    println!("{}", method.kind());
    if let Some(rotary) = subject.rotary.as_ref().filter(|_| row.is_none()) {
        print_frequencies(&*method, rotary, length);
    }
    if let Some(row) = &row {
        let sees = if choice.is_some() { "chooses from what it sees of" } else { "sees" };
        println!("the query at {} {sees} {} keys:", length - 1, row.len());
        print_row(row);
    }
    if let Some((count, of)) = &choice {
        println!("of keys {} to {} each head sees the {count} that it scores highest", of.start, of.end - 1);
    }
    if query_factor != 1.0 {
        println!("it is multiplied by {query_factor:.6}");
    }
    if let Some(kept) = reach.as_ref().and_then(|reach| reach.kept()) {
        println!("caches hold the first {} keys and the newest {}", kept.first, kept.last);
    }
    println!("keys are cached {}", method.cache_policy());
    Ok(DONE)
}

/// Whether frequencies are others in a longer text.
fn follows_length(method: &dyn Position, rotary: &Rotary) -> bool {
    method.regime(rotary, rotary.trained) != method.regime(rotary, 2 * rotary.trained)
}

fn print_frequencies(method: &dyn Position, rotary: &Rotary, length: usize) {
    let scaled = method.scaled(rotary, length);
    println!("{} dimensions, base {}", rotary.dimensions(), rotary.base);
    println!("{:>5} {:>12} {:>14} {:>14} {:>10}", "pair", "turns", "radians", "becomes", "divided by");
    let pairs = rotary.turns().zip(&rotary.frequencies).zip(&scaled.frequencies);
    for (pair, ((turns, before), after)) in pairs.enumerate() {
        println!("{pair:>5} {turns:>12.4} {before:>14.6e} {after:>14.6e} {:>10.4}", before / after);
    }
    println!("turns are those in training; pairs from {} on never complete one", rotary.critical_pair());
    if let Some((low, high)) = method.ramp(rotary) {
        println!("the ramp goes from pair {low} to pair {high}");
    }
    let follow = if follows_length(method, rotary) {
        "follow the length of what is read"
    } else {
        "are the same at all lengths"
    };
    println!("frequencies {follow}");
    println!(
        "cosines and sines are multiplied by {:.6}, scores by {:.6}",
        scaled.attention_factor,
        scaled.attention_factor.powi(2)
    );
}
