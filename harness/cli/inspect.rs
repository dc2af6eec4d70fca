//! `harness inspect`.

mod lowrank;
mod own_scaling;
mod position;
mod prune;
mod receptive_field;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use harness_core::Arm;
use harness_methods::prune::{Needs, Site};
use harness_methods::quant::Quantized;
use harness_methods::registry;
use harness_methods::statistics::LinearStatistics;
use serde_json::json;

use crate::exit::{BAD_INPUT, DONE, INPUT_MISSING, INTERNAL, NOT_WRITTEN, OrExit, Outcome, Refusal, refuse};
use crate::npy;

/// Apply a method to one matrix or one model's positions and show what it makes of them, for comparison with another
/// implementation.
#[derive(Args)]
#[command(after_help = "\
Examples:
  harness inspect quant 'nf4(block=64)' --matrix w.npy --json
  harness inspect quant 'gptq(bits=4, group=32)' --matrix w.npy --activations x.npy --out r.npz
  harness inspect prune 'sparsegpt(pattern=2:4)' --matrix w.npy --activations x.npy --out r.npz
  harness inspect lowrank 'svd-llm(ratio=0.5)' --matrix w.npy --activations x.npy --out r.npz
  harness inspect position 'yarn(factor=4)' --dim 64 --base 10000 --trained 2048 --json
  harness inspect position 'dynamic-ntk(factor=2)' --model smollm2-135m-instruct --length 16384
  harness inspect position --model my-checkpoint --json    (what the checkpoint does to its own frequencies)
  harness inspect receptive-field --model tiny-300k-alibi --json

It ends with 0, with 2 for a method or numbers that do not fit, and with 5 for a file or model that is
not there or cannot be read.")]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Codes, scales, zeros and values of a quantized matrix, what they take, and how far the values are.
    Quant(QuantArguments),
    /// Mask and weights of a pruned matrix, how many went, and how far the weights and outputs are.
    Prune(prune::PruneArguments),
    /// Factors and singular values of a matrix, what they take, and how far their product is.
    Lowrank(lowrank::LowRankArguments),
    /// Rotary frequencies, the factor of scores and what keys are cached as.
    Position(position::PositionArguments),
    /// How many of the newest keys hold a model's attention in theory, and how many its perplexity needs.
    ReceptiveField(receptive_field::FieldArguments),
}

#[derive(Args)]
struct QuantArguments {
    /// The method as suites write it; `harness list methods` has them.
    spec: String,
    /// A .npy file of the matrix, one row an output.
    #[arg(long)]
    matrix: PathBuf,
    /// A .npy file of inputs of the map, one row a token, for methods that look at them and for the error of outputs.
    #[arg(long)]
    activations: Option<PathBuf>,
    /// Print JSON, arrays included.
    #[arg(long)]
    json: bool,
    /// Write the arrays to this .npz file, which must not exist.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub fn main(arguments: &Arguments) -> Outcome {
    match &arguments.what {
        What::Quant(arguments) => quant(arguments),
        What::Prune(arguments) => prune::prune(arguments),
        What::Lowrank(arguments) => lowrank::lowrank(arguments),
        What::Position(arguments) => position::position(arguments),
        What::ReceptiveField(arguments) => receptive_field::receptive_field(arguments),
    }
}

/// A matrix of a file, row-major, with its columns.
struct Matrix {
    values: Vec<f32>,
    columns: usize,
}

fn matrix(path: &Path) -> Result<Matrix, Refusal> {
    if !path.exists() {
        return refuse(INPUT_MISSING, format!("{} does not exist", path.display()));
    }
    let rows = npy::rows(path).or_exit(BAD_INPUT)?;
    let columns = rows.first().map_or(0, Vec::len);
    if columns == 0 {
        return refuse(BAD_INPUT, format!("{} holds no numbers", path.display()));
    }
    Ok(Matrix { values: rows.concat(), columns })
}

/// Refuses inputs that are not those of a matrix.
fn same_columns(weight: &Matrix, activations: Option<&Matrix>) -> Result<(), Refusal> {
    match activations.filter(|inputs| inputs.columns != weight.columns) {
        None => Ok(()),
        Some(inputs) => refuse(
            BAD_INPUT,
            format!(
                "the matrix has {} columns and the activations have {}; a token's inputs are as many as the columns",
                weight.columns, inputs.columns
            ),
        ),
    }
}

/// A matrix and what is known of its inputs.
struct Given {
    weight: Matrix,
    activations: Option<Matrix>,
    statistics: Option<LinearStatistics>,
}

/// Reads what a method that needs such statistics is shown on.
fn given(arm: &Arm, needs: Needs, weight: &Path, activations: Option<&Path>) -> Result<Given, Refusal> {
    let weight = matrix(weight)?;
    let activations = activations.map(matrix).transpose()?;
    same_columns(&weight, activations.as_ref())?;
    if needs.any() && activations.is_none() {
        return refuse(
            BAD_INPUT,
            format!("`{arm}` looks at the inputs of the map; give them with --activations x.npy"),
        );
    }
    let statistics = match &activations {
        Some(inputs) => {
            let mut statistics = LinearStatistics::new(inputs.columns, needs);
            statistics.add(&inputs.values).or_exit(BAD_INPUT)?;
            Some(statistics)
        }
        None => None,
    };
    Ok(Given { weight, activations, statistics })
}

fn quant(arguments: &QuantArguments) -> Outcome {
    let arm: Arm = arguments.spec.parse().or_exit(BAD_INPUT)?;
    let quantizer = registry::quantizer(&arm).or_exit(BAD_INPUT)?;
    let Given { weight, activations, statistics } =
        given(&arm, quantizer.needs(), &arguments.matrix, arguments.activations.as_deref())?;
    let name = arguments.matrix.display().to_string();
    let site = Site { name: &name, layer: 0, rows: weight.values.len() / weight.columns, cols: weight.columns };
    let found = quantizer.quantize(&site, &weight.values, statistics.as_ref()).or_exit(BAD_INPUT)?;
    if let Some(out) = &arguments.out {
        write(out, &found, &site)?;
    }
    let bits = found.bits;
    let count = weight.values.len() as f64;
    let summary = json!({
        "method": arm.to_string(), "rows": site.rows, "columns": site.cols,
        "bits_per_weight": bits.total() as f64 / count,
        "bits": {"codes": bits.codes, "scales": bits.scales, "zeros": bits.zeros, "codebooks": bits.codebooks,
            "indices": bits.indices},
        "error": errors(&weight.values, &found, activations.as_ref()),
    });
    if arguments.json {
        let mut all = summary;
        all["codes"] = json!(rows_of(&found.codes, (found.codes.len() / site.rows).max(1)));
        all["scales"] = json!(found.scales);
        all["zeros"] = json!(found.zeros);
        all["dequantized"] = json!(rows_of(&found.values, site.cols));
        println!("{}", serde_json::to_string_pretty(&all).or_exit(INTERNAL)?);
    } else {
        println!("{}", serde_json::to_string_pretty(&summary).or_exit(INTERNAL)?);
    }
    Ok(DONE)
}

fn rows_of<T: Copy>(values: &[T], columns: usize) -> Vec<Vec<T>> {
    values.chunks(columns).map(<[T]>::to_vec).collect()
}

/// Root mean squared and largest error of the weights, their signal-to-noise ratio, and the relative error of outputs.
fn errors(weight: &[f32], found: &Quantized, activations: Option<&Matrix>) -> serde_json::Value {
    let difference: Vec<f32> = weight.iter().zip(&found.values).map(|(a, b)| a - b).collect();
    let squares = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    let (noise, signal) = (squares(&difference), squares(weight));
    let output = activations.map(|inputs| {
        let exact = multiplied(weight, inputs);
        let outputs = match &found.operators {
            Some(operators) => {
                let (m, mut outputs) = (inputs.values.len() / inputs.columns, vec![0.0; exact.len()]);
                operators.fake().multiply(&inputs.values, m, &mut outputs);
                outputs.into_iter().map(f64::from).collect()
            }
            None => multiplied(&found.values, inputs),
        };
        let change: f64 = exact.iter().zip(outputs).map(|(a, b)| (a - b).powi(2)).sum();
        (change / exact.iter().map(|y| y * y).sum::<f64>()).sqrt()
    });
    json!({
        "rmse": (noise / weight.len() as f64).sqrt(),
        "largest": difference.iter().fold(0.0_f32, |most, value| most.max(value.abs())),
        "sqnr_db": if noise > 0.0 { Some(10.0 * (signal / noise).log10()) } else { None },
        "relative_output_error": output,
    })
}

/// Outputs of a matrix, token by token.
fn multiplied(matrix: &[f32], inputs: &Matrix) -> Vec<f64> {
    let dot = |row: &[f32], x: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
    let rows = |x| matrix.chunks(inputs.columns).map(move |row| dot(row, x));
    inputs.values.chunks(inputs.columns).flat_map(rows).collect()
}

fn write(out: &Path, found: &Quantized, site: &Site) -> Result<(), Refusal> {
    if out.exists() {
        return refuse(BAD_INPUT, format!("{} is there already; choose another --out", out.display()));
    }
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let codes: Vec<u8> = found.codes.iter().flat_map(|code| code.to_le_bytes()).collect();
    let matrix = [site.rows, site.cols];
    // Flattening adds columns.
    let coded: &[usize] = if found.codes.is_empty() { &[0] } else { &[site.rows, found.codes.len() / site.rows] };
    let arrays = [
        ("codes", npy::encode("<i2", coded, &codes)),
        ("scales", npy::encode("<f4", &[found.scales.len()], &floats(&found.scales))),
        ("zeros", npy::encode("<f4", &[found.zeros.len()], &floats(&found.zeros))),
        ("dequantized", npy::encode("<f4", &matrix, &floats(&found.values))),
    ];
    npy::archive(out, &arrays).map_err(|error| format!("cannot write {}: {error}", out.display())).or_exit(NOT_WRITTEN)
}
