//! `harness apply`.

mod target;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use harness_core::{Arm, Axis};
use harness_methods::registry;
use harness_model::load;
use harness_model::weight::{DType, Weight};
use harness_run::attention::refuse_without_attention;
use harness_run::calibrate::{CalibrationOrder, PruneArm, prune_all, prune_streaming};
use harness_run::inputs::{Inputs, LoadedModel};
use harness_run::lowrank::reduced;
use harness_run::merge::merged;
use harness_run::quantize::{Finished, quantize_streaming};
use harness_run::shrink::shortened;
use harness_run::text::{Select, TextSelection, windows};

use crate::exit::{BAD_INPUT, CELLS_FAILED, DONE, INPUT_MISSING, OrExit, Outcome, Refusal, refuse};
use crate::interrupt;
use crate::model::{ModelArguments, at_least, token_windows};
use crate::terminal::Progress;
use target::{Head, OutFormat, Plan, Target, unchanged};

/// Apply methods to a checkpoint and write it: a Hugging Face folder, a GGUF file, or a folder of packed codes.
#[derive(Args)]
#[command(after_help = "\
The model is walked block by block: its files stay mapped, and one block's changed weights are held at a time, so a
folder larger than memory passes through. (The quantised blocks of a GGUF file are dequantised to f32 when it is opened.)
Methods that round inputs as well (smoothquant, llm-int8, flattenquant, rht) leave only their weights in a checkpoint.
What is written appears under --out when it is complete.

--format gguf takes the methods whose codes are ggml's blocks (q4_0 … q6_k, mxfp4) and writes those very blocks, or with --quant
none plain numbers; norms and biases are f32. It holds decoders of the architectures llama and qwen2 whose blocks are equally wide. A Hugging Face folder of blocks of unequal widths says them
in config.json under `harness.widths`, one whose parts read a part of the residual stream under `harness.reads`, which this
program reads and others do not. --format packed
takes the methods whose codes kernels multiply, and `score`, `generate` and `run` read the folder as packed codes.

Examples:
  harness apply --model smollm2-135m-instruct --prune 'wanda(sparsity=0.5)' --calib enwik8/train --out pruned
  harness apply --model tiny-100k --merge della --experts tiny-100k-sea,tiny-100k-hill --out merged
  harness apply --model smollm2-135m-instruct --shrink 'shortened-llama(blocks=8)' --calib enwik8/train --out shorter
  harness apply --model smollm2-135m-instruct --shrink 'wanda-width(ratio=0.2)' --calib enwik8/train --out narrower
  harness apply --model smollm2-135m-instruct --lowrank 'svd-llm(ratio=0.2)' --calib enwik8/train --out reduced
  harness apply --model smollm2-135m-instruct --quant 'gptq(group=64)' --calib enwik8/train --out quantized
  harness apply --model my-checkpoint --quant q4_0 --head q8_0 --format gguf --out model-q4_0.gguf
  harness apply --model my-checkpoint --quant 'nf4(block=64)' --format packed --out packed
  harness apply --model model.gguf --prune none --dtype bf16 --out converted")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The method that merges experts into the model, as in suites.
    #[arg(long, default_value = "none")]
    merge: String,
    /// Models trained from this one: names or folders, with commas between.
    #[arg(long, value_delimiter = ',', requires = "merge")]
    experts: Vec<String>,
    /// The method that removes blocks, or heads and channels, as in suites. What is written has fewer.
    #[arg(long, default_value = "none")]
    shrink: String,
    /// The low-rank method, as in suites. What is written holds the product of the factors.
    #[arg(long, default_value = "none")]
    lowrank: String,
    /// The pruning method, as in suites.
    #[arg(long, default_value = "none")]
    prune: String,
    /// The quantization method, as in suites. A Hugging Face folder holds what the codes stand for, in f32 unless --dtype says
    /// otherwise; the other formats hold the codes.
    #[arg(long, default_value = "none")]
    quant: String,
    /// What is written.
    #[arg(long, value_enum, default_value = "huggingface")]
    format: OutFormat,
    /// What the output head becomes in a GGUF file or packed folder. A tied head is the embedding in GGUF, and a matrix beside it
    /// in a packed folder.
    #[arg(long, value_enum, default_value = "none")]
    head: Head,
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
    /// Element type of the weights that are not quantized; by default as the checkpoint stores them.
    #[arg(long, value_enum)]
    dtype: Option<Element>,
    /// Seed of random methods.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The folder or file to write; must not exist.
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
    let merge: Arm = arguments.merge.parse().or_exit(BAD_INPUT)?;
    let merger = registry::merge(&merge).or_exit(BAD_INPUT)?;
    let shrink: Arm = arguments.shrink.parse().or_exit(BAD_INPUT)?;
    let shrinker = registry::shrink(&shrink).or_exit(BAD_INPUT)?;
    let lowrank: Arm = arguments.lowrank.parse().or_exit(BAD_INPUT)?;
    let method = registry::lowrank(&lowrank).or_exit(BAD_INPUT)?;
    let arm: Arm = arguments.prune.parse().or_exit(BAD_INPUT)?;
    let pruner = registry::pruner(&arm).or_exit(BAD_INPUT)?;
    let quant: Arm = arguments.quant.parse().or_exit(BAD_INPUT)?;
    let quantizer = registry::quantizer(&quant).or_exit(BAD_INPUT)?;
    let inputs = crate::fetch::inputs()?;
    let corpora: Vec<&str> = arguments.calib.as_deref().into_iter().collect();
    arguments.model.ensure(&inputs, &corpora)?;
    let path = inputs.model_path(&arguments.model.model).map_err(crate::fetch::from_fetch)?;
    let mut checkpoint = load::load(&path).or_exit(INPUT_MISSING)?;
    let mut model = LoadedModel::of(&arguments.model.model, checkpoint.clone()).or_exit(INPUT_MISSING)?;
    let arms = [
        (Axis::Merge, &merge),
        (Axis::Shrink, &shrink),
        (Axis::Lowrank, &lowrank),
        (Axis::Prune, &arm),
        (Axis::Quant, &quant),
    ];
    refuse_without_attention(&model.decoder, &arms).or_exit(BAD_INPUT)?;
    if !merger.is_identity() {
        let names: Vec<&str> = arguments.experts.iter().map(String::as_str).collect();
        crate::fetch::ensure(&inputs, (&names, &[], &[]), arguments.model.yes, arguments.model.offline)?;
        let experts =
            names.iter().map(|name| inputs.model(name)).collect::<Result<Vec<_>, _>>().or_exit(INPUT_MISSING)?;
        model.decoder = merged(&model, &experts, &*merger, arguments.seed).or_exit(CELLS_FAILED)?.decoder;
        checkpoint.packed.clear();
        checkpoint.tensors.extend(model.decoder.tensors());
    }
    let calibration = calibration(arguments, &inputs, &model)?;
    let asks = [
        (&shrink, shrinker.needs_text()),
        (&lowrank, method.needs_text()),
        (&arm, pruner.needs().any()),
        (&quant, quantizer.needs().any()),
    ];
    let needy = asks.into_iter().find(|(_, asks)| *asks);
    if let (Some((arm, _)), None) = (needy, &calibration) {
        return refuse(BAD_INPUT, format!("`{arm}` needs calibration text; give --calib CORPUS or --token-ids FILE"));
    }
    if !shrinker.is_identity() {
        let mut progress = Progress::new(false);
        let mut tell = |done, total| progress.update(&format!("apply {shrink}"), done as u64, total as u64);
        let made = shortened(&model.decoder, &*shrinker, calibration.as_deref(), arguments.seed, &mut tell);
        progress.finish();
        let made = made.or_exit(CELLS_FAILED)?;
        made.shorter.steps.iter().for_each(|step| eprintln!("{}: {step}", shrink.id));
        checkpoint = made.checkpoint(&checkpoint);
        model.decoder = made.decoder;
    }
    let name = Path::new(&arguments.model.model).file_name().map(|name| name.to_string_lossy().into_owned());
    let plan = Plan {
        checkpoint: &checkpoint,
        name: name.as_deref().unwrap_or(&arguments.model.model),
        quant: &quant,
        quantizer: &*quantizer,
        format: arguments.format,
        head: arguments.head,
        dtype: arguments.dtype.map(DType::from),
    };
    let _polled = interrupt::polled();
    let mut target = plan.begin(&arguments.out)?;
    let form = target.form();
    let mut progress = Progress::new(false);
    let put = |target: &mut Target, name: &str, finished: Finished<'_>| {
        target.put(name, finished)?;
        if interrupt::asked() {
            return Err(interrupt::refusal(format!("interrupted; nothing was left in {}", arguments.out.display())));
        }
        Ok(())
    };
    let mut refused = None;
    let mut changed: BTreeSet<String> = BTreeSet::new();
    let mut sink = |name: &str, finished: Finished<'_>| {
        changed.insert(name.to_owned());
        put(&mut target, name, finished).map_err(|refusal| {
            let message = refusal.message.clone();
            refused = Some(refusal);
            message
        })
    };
    let order = arguments.calibration_order.into();
    let windows = calibration.as_deref();
    if !method.is_identity() {
        let mut tell = |done, total| progress.update(&format!("apply {lowrank}"), done as u64, total as u64);
        model.decoder = reduced(&model.decoder, &*method, windows, order, &mut tell).or_exit(CELLS_FAILED)?.decoder;
    }
    let prune = PruneArm { pruner: &*pruner, seed: arguments.seed, dtype: None };
    let walked = if quantizer.is_identity() {
        let mut values = |name: &str, weight: &Weight| sink(name, Finished::Values(weight));
        let mut tell = |done, total| progress.update(&format!("apply {arm}"), done as u64, total as u64);
        prune_streaming(&model.decoder, &prune, windows, order, &mut values, &mut tell)
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
            let quantizer = (&*quantizer, arguments.seed, form);
            quantize_streaming(&pruned, quantizer, windows, order, &mut sink, &mut tell).map(drop)
        })
    };
    if let Some(refusal) = refused {
        return Err(refusal);
    }
    walked.or_exit(CELLS_FAILED)?;
    let left: Vec<String> =
        target.specs.iter().map(|spec| spec.name.clone()).filter(|name| !changed.contains(name)).collect();
    for name in left {
        put(&mut target, &name, Finished::Values(&unchanged(&checkpoint, &name)?))?;
    }
    let written = target.finish()?;
    progress.finish();
    if !method.is_identity() {
        eprintln!(
            "note: the format has no place for factors; what was written holds their product and is as large as the model was"
        );
    }
    let unusual = [
        (!checkpoint.config.widths.is_empty(), "its blocks are of different widths (`harness.widths` in config.json)"),
        (
            checkpoint.config.shortcuts,
            "what passes by its blocks goes through matrices (`harness.shortcuts` in config.json)",
        ),
        (
            !checkpoint.config.reads.is_empty(),
            "its parts read some channels of the stream alone (`harness.reads` in config.json)",
        ),
    ];
    for (_, why) in unusual.iter().filter(|(is, _)| *is) {
        eprintln!("note: this program alone reads what was written: {why}");
    }
    println!("{}", written.display());
    Ok(DONE)
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
        last: None,
        passage: None,
    };
    let fail = |error: harness_run::inputs::InputError| Refusal { code: error.exit_code(), message: error.to_string() };
    let source = inputs.text(&selection, model, arguments.seed).map_err(fail)?;
    let cut = windows(&source, model.tokenizer().map_err(fail)?, &selection).or_exit(INPUT_MISSING)?;
    Ok(Some(cut.tokens))
}
