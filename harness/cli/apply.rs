//! `harness apply`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use harness_core::Arm;
use harness_methods::registry;
use harness_model::load::{self, TensorSpec, expected_tensors};
use harness_model::weight::{DType, Weight};
use harness_model::write::{DEFAULT_SHARD_BYTES, FolderWriter, WriteError};
use harness_run::calibrate::{CalibrationOrder, PruneArm, prune_all, prune_streaming};
use harness_run::inputs::{Inputs, LoadedModel};
use harness_run::quantize::quantize_streaming;
use harness_run::text::{Select, TextSelection, windows};

use crate::exit::{
    BAD_INPUT, CELLS_FAILED, DONE, INPUT_MISSING, INTERNAL, NOT_WRITTEN, OrExit, Outcome, Refusal, refuse,
};
use crate::interrupt;
use crate::model::{ModelArguments, at_least, token_windows};
use crate::terminal::Progress;

/// Apply a method to a checkpoint and write it as a Hugging Face folder.
#[derive(Args)]
#[command(after_help = "\
The model is walked block by block: its files stay mapped, and one block's changed weights are held at a time, so a
folder larger than memory passes through. (The quantised blocks of a GGUF file are dequantised to f32 when it is opened.)
Methods that round inputs as well (smoothquant, llm-int8, flattenquant, rht) leave only their weights in a checkpoint.
The folder --out appears when it is complete.

Examples:
  harness apply --model smollm2-135m-instruct --prune 'wanda(sparsity=0.5)' --calib enwik8/train --out pruned
  harness apply --model smollm2-135m-instruct --quant 'gptq(group=64)' --calib enwik8/train --out quantized
  harness apply --model model.gguf --prune none --dtype bf16 --out converted")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The pruning method, as in suites.
    #[arg(long, default_value = "none")]
    prune: String,
    /// The quantization method, as in suites; what the codes stand for is written, in f32 unless --dtype says otherwise.
    #[arg(long, default_value = "none")]
    quant: String,
    /// The calibration text: a corpus and split, or a text file.
    #[arg(long, conflicts_with = "token_ids")]
    calib: Option<String>,
    /// A JSON file with an array of windows of token ids to calibrate on, instead of text.
    #[arg(long)]
    token_ids: Option<PathBuf>,
    /// Tokens in a calibration window, 512 unless given; with --token-ids it must be the length of those windows.
    #[arg(long, value_parser = at_least(2))]
    window: Option<usize>,
    /// Calibration windows: 32 unless given, or with --token-ids all of them.
    #[arg(long, value_parser = at_least(1))]
    windows: Option<usize>,
    /// Whose activations a block is calibrated on.
    #[arg(long, value_enum, default_value = "sequential")]
    calibration_order: Order,
    /// Element type of the written weights; by default as the checkpoint stores them.
    #[arg(long, value_enum)]
    dtype: Option<Element>,
    /// Seed of random methods.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The folder to write; must not exist.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    DenseOnce,
    Sequential,
    TrueSequential,
}

impl From<Order> for CalibrationOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::DenseOnce => Self::DenseOnce,
            Order::Sequential => Self::Sequential,
            Order::TrueSequential => Self::TrueSequential,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Element {
    F32,
    F16,
    Bf16,
}

impl From<Element> for DType {
    fn from(element: Element) -> Self {
        match element {
            Element::F32 => Self::F32,
            Element::F16 => Self::F16,
            Element::Bf16 => Self::Bf16,
        }
    }
}

pub fn main(arguments: &Arguments) -> Outcome {
    let arm: Arm = arguments.prune.parse().or_exit(BAD_INPUT)?;
    let pruner = registry::pruner(&arm).or_exit(BAD_INPUT)?;
    let quant: Arm = arguments.quant.parse().or_exit(BAD_INPUT)?;
    let quantizer = registry::quantizer(&quant).or_exit(BAD_INPUT)?;
    let inputs = crate::fetch::inputs()?;
    let corpora: Vec<&str> = arguments.calib.as_deref().into_iter().collect();
    arguments.model.ensure(&inputs, &corpora)?;
    let path = inputs.model_path(&arguments.model.model).map_err(crate::fetch::from_fetch)?;
    let checkpoint = load::load(&path).or_exit(INPUT_MISSING)?;
    let model = LoadedModel::of(&arguments.model.model, checkpoint.clone()).or_exit(INPUT_MISSING)?;
    let calibration = calibration(arguments, &inputs, &model)?;
    let needy = [(&arm, pruner.needs()), (&quant, quantizer.needs())].into_iter().find(|(_, needs)| needs.any());
    if let (Some((arm, _)), None) = (needy, &calibration) {
        return refuse(BAD_INPUT, format!("`{arm}` needs calibration text; give --calib CORPUS or --token-ids FILE"));
    }
    let specs: Vec<TensorSpec> = expected_tensors(&checkpoint.config).collect();
    let stored = checkpoint.tensors.values().find(|weight| weight.rows() > 1).map_or(DType::F32, Weight::dtype);
    let stored = if quantizer.is_identity() { stored } else { DType::F32 };
    let dtype = arguments.dtype.map_or(stored, DType::from);
    let _polled = interrupt::polled();
    let mut writer = FolderWriter::create(&arguments.out, &checkpoint.config, &specs, dtype, DEFAULT_SHARD_BYTES)
        .map_err(not_written)?;
    if let Some(tokenizer) = &checkpoint.tokenizer {
        writer.tokenizer(tokenizer, checkpoint.chat_template.as_deref()).map_err(not_written)?;
    }
    let mut progress = Progress::new(false);
    let mut put = |name: &str, weight: &Weight| {
        writer.write(name, weight).map_err(not_written)?;
        if interrupt::asked() {
            return Err(interrupt::refusal(format!("interrupted; nothing was left in {}", arguments.out.display())));
        }
        Ok(())
    };
    let mut refused = None;
    let mut changed: BTreeSet<String> = BTreeSet::new();
    let mut sink = |name: &str, weight: &Weight| {
        changed.insert(name.to_owned());
        put(name, weight).map_err(|refusal| {
            let message = refusal.message.clone();
            refused = Some(refusal);
            message
        })
    };
    let order = arguments.calibration_order.into();
    let prune = PruneArm { pruner: &*pruner, seed: arguments.seed, dtype: None };
    let windows = calibration.as_deref();
    let walked = if quantizer.is_identity() {
        let mut tell = |done, total| progress.update(&format!("apply {arm}"), done as u64, total as u64);
        prune_streaming(&model.decoder, &prune, windows, order, &mut sink, &mut tell)
    } else {
        // As in a bench: the pruned model is whole before it is quantized.
        let mut tell = |done, total| progress.update(&format!("apply {arm}"), done as u64, total as u64);
        let pruned = if pruner.is_identity() {
            None
        } else {
            prune_all(&model.decoder, &[prune], windows, order, &mut tell).pop()
        };
        let pruned = pruned.map_or_else(|| Ok(model.decoder.clone()), |pruned| pruned.map(|pruned| pruned.decoder));
        let mut tell = |done, total| progress.update(&format!("apply {quant}"), done as u64, total as u64);
        pruned.and_then(|pruned| {
            let quantizer = (&*quantizer, arguments.seed);
            quantize_streaming(&pruned, quantizer, windows, order, &mut sink, &mut tell).map(drop)
        })
    };
    if let Some(refusal) = refused {
        return Err(refusal);
    }
    walked.or_exit(CELLS_FAILED)?;
    for spec in specs.iter().filter(|spec| !changed.contains(&spec.name)) {
        put(&spec.name, checkpoint.tensor(&spec.name).or_exit(INPUT_MISSING)?)?;
    }
    let folder = writer.finish().map_err(not_written)?;
    progress.finish();
    println!("{}", folder.display());
    Ok(DONE)
}

/// Why the folder was not written, and what to do.
fn not_written(error: WriteError) -> Refusal {
    let (code, advice) = match &error {
        WriteError::Io { .. } => (NOT_WRITTEN, "; nothing was left behind, make room or choose another --out"),
        WriteError::Occupied { .. } | WriteError::Overflow { .. } => (BAD_INPUT, ""),
        _ => (INTERNAL, ""),
    };
    Refusal { code, message: format!("{error}{advice}") }
}

/// Calibration windows from text or ids; none when neither is given.
fn calibration(arguments: &Arguments, inputs: &Inputs, model: &LoadedModel) -> Result<Option<Vec<Vec<u32>>>, Refusal> {
    if let Some(path) = &arguments.token_ids {
        let mut tokens = token_windows(path, arguments.window, model.decoder.config().vocab_size)?;
        tokens.truncate(arguments.windows.unwrap_or(usize::MAX));
        return Ok(Some(tokens));
    }
    let Some(corpus) = &arguments.calib else { return Ok(None) };
    let longest = model.decoder.config().max_positions;
    let selection = TextSelection {
        corpus: corpus.clone(),
        window: arguments.window.unwrap_or(512.min(longest)),
        windows: arguments.windows.unwrap_or(32),
        select: Select::Spread,
        bos: None,
        skip_first: 0,
    };
    let fail = |error: harness_run::inputs::InputError| Refusal { code: error.exit_code(), message: error.to_string() };
    let source = inputs.text(&selection, model, arguments.seed).map_err(fail)?;
    let cut = windows(&source, model.tokenizer().map_err(fail)?, &selection).or_exit(INPUT_MISSING)?;
    Ok(Some(cut.tokens))
}
