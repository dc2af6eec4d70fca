//! `harness inspect lowrank`: the factors that a method makes of a matrix.

use std::path::{Path, PathBuf};

use clap::Args;
use harness_core::Arm;
use harness_methods::lowrank::linalg::{product, squares, transposed};
use harness_methods::lowrank::{Factorisation, Known};
use harness_methods::prune::Site;
use harness_methods::registry;
use serde_json::{Value, json};

use super::{Given, Matrix, given};
use crate::exit::{BAD_INPUT, DONE, INTERNAL, NOT_WRITTEN, OrExit, Outcome, Refusal, refuse};
use crate::npy;

#[derive(Args)]
pub struct LowRankArguments {
    /// The method as suites write it; `harness list methods` has those of the axis `lowrank`.
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
    /// Write the arrays to this .npz file, which must not exist: u and v of `W ≈ u v` (c, u and r of `c u r`, else factor0, factor1,
    /// …, in the order they are applied), the singular values s, those left out included, and the product.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub fn lowrank(arguments: &LowRankArguments) -> Outcome {
    let arm: Arm = arguments.spec.parse().or_exit(BAD_INPUT)?;
    let method = registry::lowrank(&arm).or_exit(BAD_INPUT)?;
    if method.is_identity() {
        return refuse(BAD_INPUT, format!("`{arm}` makes no factors; name another method of the axis `lowrank`"));
    }
    let Given { weight, activations, statistics } =
        given(&arm, method.needs(), &arguments.matrix, arguments.activations.as_deref())?;
    let name = arguments.matrix.display().to_string();
    let site = Site { name: &name, layer: 0, rows: weight.values.len() / weight.columns, cols: weight.columns };
    let known = Known { statistics: statistics.as_ref(), ..Known::default() };
    let found = method.factorise(&site, &weight.values, known).or_exit(BAD_INPUT)?;
    let whole = found.product(site.cols);
    if let Some(out) = &arguments.out {
        write(out, &found, &site, &whole)?;
    }
    let mut shown = json!({
        "method": arm.to_string(), "rows": site.rows, "columns": site.cols, "ranks": found.kept,
        "parameters": found.parameters(),
        "removed_share": 1.0 - found.parameters() as f64 / weight.values.len() as f64,
        "jitter": found.jitter, "left_out": found.left_out, "note": found.note,
        "error": errors(&weight, &found, &whole, activations.as_ref()),
    });
    if arguments.json {
        let named = |(name, at): (String, usize)| {
            let factor = &found.factors[at];
            let rows: Vec<&[f64]> = factor.values.chunks(factor.cols).collect();
            (name, json!({"rows": factor.rows, "columns": factor.cols, "width": factor.width, "values": rows}))
        };
        shown["factors"] = Value::Object(names(&found).into_iter().map(named).collect());
        shown["singular"] = json!(found.singular);
        shown["product"] = json!(whole.chunks(site.cols).collect::<Vec<_>>());
    }
    println!("{}", serde_json::to_string_pretty(&shown).or_exit(INTERNAL)?);
    Ok(DONE)
}

/// What each factor is called, and its place.
fn names(found: &Factorisation) -> Vec<(String, usize)> {
    let plain = found.factors.iter().all(|factor| factor.width == 1);
    let letters: &[&str] = match found.factors.len() {
        2 if plain => &["v", "u"],
        3 if plain => &["r", "u", "c"],
        _ => &[],
    };
    let name = |at: usize| letters.get(at).map_or_else(|| format!("factor{at}"), |letter| (*letter).to_owned());
    (0..found.factors.len()).map(|at| (name(at), at)).collect()
}

/// Errors of the weights, in the method's own norm, and of outputs.
fn errors(weight: &Matrix, found: &Factorisation, whole: &[f64], activations: Option<&Matrix>) -> Value {
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let exact = wide(&weight.values);
    let change: Vec<f64> = exact.iter().zip(whole).map(|(a, b)| a - b).collect();
    let (rows, cols) = (exact.len() / weight.columns, weight.columns);
    let output = activations.map(|inputs| {
        let tokens = inputs.values.len() / cols;
        let turned = transposed(&wide(&inputs.values), tokens);
        let of = |matrix: &[f64]| squares(&product(matrix, &turned, (rows, cols, tokens)));
        (of(&change) / of(&exact)).sqrt()
    });
    json!({
        "frobenius": squares(&change).sqrt(),
        "relative": (squares(&change) / squares(&exact)).sqrt(),
        "in_own_norm": found.lost.0.sqrt(),
        "relative_in_own_norm": (found.lost.0 / found.lost.1).sqrt(),
        "relative_output_error": output,
    })
}

fn write(out: &Path, found: &Factorisation, site: &Site, whole: &[f64]) -> Result<(), Refusal> {
    if out.exists() {
        return refuse(BAD_INPUT, format!("{} is there already; choose another --out", out.display()));
    }
    let doubles = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mut arrays: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, at) in names(found) {
        let factor = &found.factors[at];
        arrays.push((name, npy::encode("<f8", &[factor.rows, factor.cols], &doubles(&factor.values))));
    }
    for (at, singular) in found.singular.iter().enumerate() {
        let name = if found.singular.len() == 1 { "s".to_owned() } else { format!("s{at}") };
        arrays.push((name, npy::encode("<f8", &[singular.len()], &doubles(singular))));
    }
    arrays.push(("product".to_owned(), npy::encode("<f8", &[site.rows, site.cols], &doubles(whole))));
    let arrays: Vec<(&str, Vec<u8>)> = arrays.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    npy::archive(out, &arrays).map_err(|error| format!("cannot write {}: {error}", out.display())).or_exit(NOT_WRITTEN)
}
