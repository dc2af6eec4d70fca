//! How a model is held and multiplied by the verbs on one model.

use clap::{Args, ValueEnum};
use harness_core::Arm;
use harness_methods::registry;
use harness_model::packed::Activations;
use harness_run::inputs::LoadedModel;
use harness_run::quantize::{HeadFormat, Holding, quantize_held};
use serde_json::{Value, json};

use crate::exit::{BAD_INPUT, CELLS_FAILED, OrExit, Refusal, refuse};
use crate::terminal::Progress;

#[derive(Args)]
#[command(next_help_heading = "Quantization")]
pub struct ExecutionArguments {
    /// Quantize the model before, by a method that needs no calibration text, as in suites.
    #[arg(long, default_value = "none")]
    quant: String,
    /// How quantized maps are multiplied: as what their codes stand for (the default), or as packed codes.
    #[arg(long, value_enum)]
    exec: Option<Execution>,
    /// What the inputs of packed maps are rounded to; also of a folder that `apply --format packed` wrote.
    #[arg(long, value_enum, default_value = "full")]
    activations: Inputs,
    /// What the output head of the quantized model becomes.
    #[arg(long, value_enum, default_value = "none")]
    head: Head,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Execution {
    Fake,
    Packed,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Inputs {
    Full,
    Int8,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Head {
    None,
    #[value(name = "q8_0")]
    Q8_0,
}

impl ExecutionArguments {
    /// Holds a model as asked for, and says how; nothing is said of a model that is as it was loaded.
    pub fn hold(&self, model: &mut LoadedModel, progress: &mut Progress) -> Result<Option<Value>, Refusal> {
        let arm: Arm = self.quant.parse().or_exit(BAD_INPUT)?;
        let quantizer = registry::quantizer(&arm).or_exit(BAD_INPUT)?;
        let activations = match self.activations {
            Inputs::Full => Activations::Full,
            Inputs::Int8 => Activations::Int8,
        };
        let inputs = if activations == Activations::Full { "full" } else { "int8" };
        let exec = self.exec.unwrap_or(Execution::Fake);
        if quantizer.is_identity() {
            if self.head != Head::None || self.exec == Some(Execution::Fake) {
                return refuse(BAD_INPUT, "--head and --exec fake are of quantized models; give --quant");
            }
            let (decoder, count) = model.decoder.with_activations(activations).or_exit(BAD_INPUT)?;
            if count == 0 {
                return match (self.exec, self.activations) {
                    (None, Inputs::Full) => Ok(None),
                    _ => refuse(
                        BAD_INPUT,
                        format!(
                            "nothing of {} is packed; give --quant, or a folder that `apply --format packed` wrote",
                            model.name
                        ),
                    ),
                };
            }
            model.decoder = decoder;
            let bytes = model.decoder.stored_bytes();
            return Ok(Some(json!({"exec": "packed", "activations": inputs, "packed_maps": count, "bytes": bytes})));
        }
        if exec == Execution::Fake && self.activations == Inputs::Int8 {
            return refuse(BAD_INPUT, "--activations int8 is of packed maps; give --exec packed as well");
        }
        if quantizer.needs().any() {
            let advice = "write it with `harness apply` and score what that wrote";
            return refuse(BAD_INPUT, format!("`{arm}` needs calibration text; {advice}"));
        }
        let head = if self.head == Head::Q8_0 { HeadFormat::Q8_0 } else { HeadFormat::Kept };
        let holding = Holding { packed: (exec == Execution::Packed).then_some(activations), head };
        let mut tell = |done, total| progress.update(&format!("apply {arm}"), done as u64, total as u64);
        let held = quantize_held(&model.decoder, (&*quantizer, 0), holding, &mut tell);
        model.decoder = held.or_exit(CELLS_FAILED)?.0;
        let head = if self.head == Head::Q8_0 { "q8_0" } else { "none" };
        let mut said = json!({"quant": arm.to_string(), "exec": "fake", "activations": inputs, "head": head});
        if exec == Execution::Packed {
            // What is written out has no bytes of its own.
            said["exec"] = json!("packed");
            said["bytes"] = json!(model.decoder.stored_bytes());
        }
        Ok(Some(said))
    }
}
