//! `harness inspect prune`: what a method leaves of a matrix.

use std::path::{Path, PathBuf};

use clap::Args;
use harness_core::{Arm, seed};
use harness_methods::lowrank::linalg::squares;
use harness_methods::prune::{PruneError, Site};
use harness_methods::registry;
use serde_json::{Value, json};

use super::{Given, Matrix, given, multiplied, rows_of};
use crate::exit::{BAD_INPUT, DONE, INTERNAL, NOT_WRITTEN, OrExit, Outcome, Refusal, refuse};
use crate::npy;

#[derive(Args)]
#[command(after_help = "\
Examples:
  harness inspect prune 'wanda(pattern=2:4)' --matrix w.npy --activations x.npy --json
  harness inspect prune random --matrix w.npy --seed 3 --tensor model.layers.0.mlp.up_proj.weight

Activations are one sequence of calibration text. Methods that take gradients, share weights out
among matrices or prune one block of a model are refused: a matrix alone does not have what they
look at. It ends with 0, with 2 for a method or numbers that do not fit, and with 5 for a file that
is not there or cannot be read.")]
pub struct PruneArguments {
    /// The method as suites write it; `harness list methods` has those of the axis `prune`.
    spec: String,
    /// A .npy file of the matrix, one row an output.
    #[arg(long)]
    matrix: PathBuf,
    /// A .npy file of inputs of the map, one row a token, for methods that look at them and for the error of outputs.
    #[arg(long)]
    activations: Option<PathBuf>,
    /// The seed of methods that draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What the matrix is called; a run with this seed draws the same for a tensor of this name.
    #[arg(long, default_value = "matrix")]
    tensor: String,
    /// Print JSON, arrays included.
    #[arg(long)]
    json: bool,
    /// Write the arrays to this .npz file, which must not exist: mask (1 where a weight is not zero afterwards) and weight.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub fn prune(arguments: &PruneArguments) -> Outcome {
    let arm: Arm = arguments.spec.parse().or_exit(BAD_INPUT)?;
    let pruner = registry::pruner(&arm).or_exit(BAD_INPUT)?;
    if let Some(beyond) = pruner.beyond() {
        let error = PruneError::NeedsModel { site: arguments.matrix.display().to_string(), beyond };
        return refuse(BAD_INPUT, format!("`{arm}`: {error} with `harness apply --prune`"));
    }
    let Given { weight, activations, statistics } =
        given(&arm, pruner.needs(), &arguments.matrix, arguments.activations.as_deref())?;
    let name = &arguments.tensor;
    let site = Site { name, layer: 0, rows: weight.values.len() / weight.columns, cols: weight.columns };
    let mut random = seed::stream(arguments.seed, &["prune", name]);
    let mut pruned = weight.values.clone();
    pruner.prune(&site, &mut pruned, statistics.as_ref(), None, &mut random).or_exit(BAD_INPUT)?;
    let mask: Vec<u8> = pruned.iter().map(|value| u8::from(*value != 0.0)).collect();
    if let Some(out) = &arguments.out {
        write(out, &mask, &pruned, &site)?;
    }
    let zeros = |values: &[f32]| values.iter().filter(|value| **value == 0.0).count();
    let count = zeros(&pruned);
    let both = || weight.values.iter().zip(&pruned);
    let mut shown = json!({
        "method": arm.to_string(), "rows": site.rows, "columns": site.cols,
        "zeros": count, "zeros_before": zeros(&weight.values), "sparsity": count as f64 / pruned.len() as f64,
        "moved": both().filter(|(before, after)| **after != 0.0 && before != after).count(),
        "error": errors(&weight, &pruned, activations.as_ref()),
    });
    if arguments.json {
        shown["row_zeros"] = json!(pruned.chunks(site.cols).map(zeros).collect::<Vec<_>>());
        shown["mask"] = json!(rows_of(&mask, site.cols));
        shown["weight"] = json!(rows_of(&pruned, site.cols));
    }
    println!("{}", serde_json::to_string_pretty(&shown).or_exit(INTERNAL)?);
    Ok(DONE)
}

/// Errors of the weights and of outputs, the root of their squares' sum and its share of what there was.
fn errors(weight: &Matrix, pruned: &[f32], activations: Option<&Matrix>) -> Value {
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let exact = wide(&weight.values);
    let change: Vec<f64> = exact.iter().zip(wide(pruned)).map(|(a, b)| a - b).collect();
    let largest = change.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let output = activations.map(|inputs| {
        let dense = multiplied(&weight.values, inputs);
        let lost: f64 = dense.iter().zip(multiplied(pruned, inputs)).map(|(a, b)| (a - b).powi(2)).sum();
        (lost.sqrt(), (lost / squares(&dense)).sqrt())
    });
    json!({
        "frobenius": squares(&change).sqrt(),
        "relative": (squares(&change) / squares(&exact)).sqrt(),
        "largest": largest,
        "output": output.map(|(lost, _)| lost),
        "relative_output_error": output.map(|(_, share)| share),
    })
}

fn write(out: &Path, mask: &[u8], pruned: &[f32], site: &Site) -> Result<(), Refusal> {
    if out.exists() {
        return refuse(BAD_INPUT, format!("{} is there already; choose another --out", out.display()));
    }
    let floats: Vec<u8> = pruned.iter().flat_map(|value| value.to_le_bytes()).collect();
    let matrix = [site.rows, site.cols];
    let arrays = [("mask", npy::encode("|u1", &matrix, mask)), ("weight", npy::encode("<f4", &matrix, &floats))];
    npy::archive(out, &arrays).map_err(|error| format!("cannot write {}: {error}", out.display())).or_exit(NOT_WRITTEN)
}
