//! `harness sample` with a decoder.

use harness_core::Arm;
use harness_methods::decode::{Calls, Decode, Decoded, LanguageModel, Models, Task};
use harness_run::decode::PrefixCached;
use harness_run::inputs::LoadedModel;
use serde_json::json;

use crate::exit::{BAD_INPUT, CELLS_FAILED, DONE, INTERNAL, OrExit, Outcome, Refusal, refuse};
use crate::model::ModelArguments;
use crate::prompt;

/// What decoders take beside the model.
#[derive(clap::Args)]
pub struct DecodingArguments {
    /// The model that drafts, for `speculative`; it needs the same tokens.
    #[arg(long, requires = "model", conflicts_with = "amateur")]
    draft: Option<String>,
    /// The model that contrasts, for `contrastive-decoding`; it needs the same tokens.
    #[arg(long, requires = "model")]
    amateur: Option<String>,
    /// The text of the other branch, for `cfg` and mutual information; the last token of the prompt without it.
    #[arg(long, requires = "model")]
    negative_prompt: Option<String>,
}

impl DecodingArguments {
    /// Refuses what only decoders use.
    pub fn refuse_without_decoder(&self) -> Result<(), Refusal> {
        let given =
            [("--draft", &self.draft), ("--amateur", &self.amateur), ("--negative-prompt", &self.negative_prompt)];
        match given.iter().find(|(_, value)| value.is_some()) {
            Some((flag, _)) => refuse(BAD_INPUT, format!("{flag} is for decoders, and --sampler begins with none")),
            None => Ok(()),
        }
    }

    /// The second model that a decoder asks for, by its name.
    fn second(&self, id: &str, wanted: Option<&'static str>) -> Result<Option<&str>, Refusal> {
        let given = [("draft", &self.draft), ("amateur", &self.amateur)];
        if let Some((flag, _)) = given.iter().find(|(what, value)| value.is_some() && wanted != Some(*what)) {
            return refuse(BAD_INPUT, format!("`{id}` takes no --{flag}"));
        }
        match (wanted, given.iter().find_map(|(_, value)| value.as_deref())) {
            (Some(what), None) => {
                refuse(BAD_INPUT, format!("`{id}` needs a second model with the same tokens; give --{what}"))
            }
            (_, second) => Ok(second),
        }
    }
}

/// Hypotheses of a prompt.
pub fn main(arguments: &super::Arguments, name: &str, id: &str, decoder: &dyn Decode, stages: &[Arm]) -> Outcome {
    let needs = decoder.needs();
    let options = &arguments.decoding;
    let second = options.second(id, needs.second)?;
    if options.negative_prompt.is_some() && !needs.other_prompt {
        return refuse(BAD_INPUT, format!("`{id}` compares no second prompt; leave --negative-prompt out"));
    }
    let inputs = crate::fetch::inputs()?;
    let open = |name: &str| {
        ModelArguments { model: name.to_owned(), yes: arguments.yes, offline: arguments.offline }.open(&inputs)
    };
    let model = open(name)?;
    let second = second.map(open).transpose()?;
    if let Some(second) = second.as_ref().filter(|second| second.tokenizer_hash() != model.tokenizer_hash()) {
        let message = format!("{} and {} have different tokenizers; their ids mean different text", second.name, name);
        return refuse(BAD_INPUT, message);
    }
    let prompt = prompt::tokens(&model, arguments.prompt.as_deref(), arguments.prompt_ids.as_deref(), arguments.bos)?;
    let other = options
        .negative_prompt
        .as_deref()
        .map(|text| prompt::tokens(&model, Some(text), None, arguments.bos))
        .transpose()?;
    let task = Task {
        prompt: &prompt,
        other_prompt: other.as_deref(),
        tokens: arguments.tokens,
        stages,
        seed: arguments.seed,
        sequence: "sample",
    };
    let mut cached = PrefixCached::new(&model.decoder);
    let mut second = second.map(|second| PrefixCached::new(&second.decoder));
    let models = Models { model: &mut cached, second: second.as_mut().map(|second| second as &mut dyn LanguageModel) };
    let found =
        decoder.decode(models, &task).map_err(|error| Refusal { code: code(&error), message: error.to_string() })?;
    show(arguments.json, &model, &prompt, &found)
}

/// What was asked wrongly is bad input; what a model did is a failed cell.
fn code(error: &harness_methods::decode::DecodeError) -> u8 {
    use harness_methods::decode::DecodeError;
    match error {
        DecodeError::Sample { .. } | DecodeError::Model(_) | DecodeError::Answer { .. } => CELLS_FAILED,
        _ => BAD_INPUT,
    }
}

fn show(as_json: bool, model: &LoadedModel, prompt: &[u32], found: &Decoded) -> Outcome {
    let tokenizer = model.tokenizer().ok();
    let texts: Vec<Option<String>> = found
        .hypotheses
        .iter()
        .map(|hypothesis| tokenizer.map(|tokenizer| tokenizer.decode(&hypothesis.tokens)).transpose())
        .collect::<Result<_, _>>()
        .or_exit(INTERNAL)?;
    let statistics = &found.statistics;
    let (drafted, accepted) = statistics.rounds.iter().fold((0, 0), |(d, a), r| (d + r.drafted, a + r.accepted));
    if as_json {
        let hypotheses: Vec<_> = found.hypotheses.iter().zip(&texts).map(|(h, text)| {
            json!({"ids": h.tokens, "text": text, "finished": h.finished, "log_probability": h.log_probability, "score": h.score})
        }).collect();
        let calls = |calls: Calls| json!({"passes": calls.passes, "sequences": calls.sequences});
        let rounds: Vec<_> =
            statistics.rounds.iter().map(|r| json!({"drafted": r.drafted, "accepted": r.accepted})).collect();
        let steps: Vec<_> = statistics.choices.iter().map(|step| {
            json!({"token": step.drawn.token, "kept": step.kept, "entropy": step.entropy, "prob": step.drawn.probability})
        }).collect();
        println!(
            "{}",
            json!({"prompt_ids": prompt, "hypotheses": hypotheses, "calls": calls(found.calls),
                "second_calls": calls(found.second_calls), "steps": steps, "rounds": rounds, "pops": statistics.pops,
                "deleted": statistics.deleted})
        );
        return Ok(DONE);
    }
    for (hypothesis, text) in found.hypotheses.iter().zip(texts) {
        let end = if hypothesis.finished { "" } else { ", cut" };
        println!(
            "score {:.4}, log-probability {:.4}, {} tokens{end}",
            hypothesis.score,
            hypothesis.log_probability,
            hypothesis.tokens.len()
        );
        println!("  {}", text.unwrap_or_else(|| format!("{:?}", hypothesis.tokens)));
    }
    let Calls { passes, sequences } = found.calls;
    println!("{passes} passes of {sequences} sequences");
    if found.second_calls.passes > 0 {
        println!("{} passes of the second model", found.second_calls.passes);
    }
    if !statistics.rounds.is_empty() {
        println!("{accepted} of {drafted} drafted tokens accepted in {} rounds", statistics.rounds.len());
    }
    if statistics.deleted > 0 {
        println!("{} hypotheses deleted for want of memory; the search is no longer exact", statistics.deleted);
    }
    Ok(DONE)
}
