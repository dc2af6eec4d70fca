//! Prompts of chat models: the template that comes with a checkpoint, in the language of Jinja.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::TaskError;
use crate::inputs::LoadedModel;

/// One turn of a talk.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub role: &'static str,
    pub content: String,
}

/// Steps a template may take: a hostile one must end.
const FUEL: u64 = 10_000_000;

/// The text that a model is given for some turns, up to where its own turn begins.
pub(super) fn render(model: &LoadedModel, template: &str, turns: &[Turn]) -> Result<String, TaskError> {
    let failed = |error: Error| TaskError::Template { model: model.name.clone(), reason: format!("{error:#}") };
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().map_err(failed)?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_template("chat", template).map_err(failed)?;
    let tokenizer = model.tokenizer().ok();
    let token = |id: Option<u32>| tokenizer.and_then(|tokenizer| tokenizer.token(id?)).unwrap_or_default();
    let (bos, eos) = tokenizer.map_or((None, None), |tokenizer| (tokenizer.bos(), tokenizer.eos()));
    let message = |Turn { role, content }: &Turn| context! { role => *role, content => content.as_str() };
    let messages: Vec<Value> = turns.iter().map(message).collect();
    let given = context! {
        messages => messages,
        add_generation_prompt => true,
        bos_token => token(bos),
        eos_token => token(eos),
    };
    environment.get_template("chat").and_then(|chat| chat.render(given)).map_err(failed)
}
