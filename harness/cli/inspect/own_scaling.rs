//! What a checkpoint does to its rotary frequencies, in words and in JSON.

use harness_core::parameters::resolve_values;
use harness_core::{Arm, Axis, Value};
use harness_methods::registry;
use harness_model::config::Scaling;
use serde_json::{Map, Value as Json, json};

use crate::exit::{BAD_INPUT, OrExit, Refusal};

/// What a checkpoint does to its rotary frequencies.
pub(super) struct Own {
    pub scaling: Option<Scaling>,
    /// Whether that is what is shown.
    pub shown: bool,
    /// Positions it states.
    pub context: usize,
}

impl Own {
    pub fn json(&self) -> Result<Json, Refusal> {
        let Some(Scaling { arm, trained, .. }) = &self.scaling else {
            return Ok(json!({ "scaling": null, "context": self.context }));
        };
        let parameters: Map<String, Json> =
            parameters(arm)?.into_iter().map(|(name, value)| (name, plain(&value))).collect();
        Ok(json!({ "scaling": arm.to_string(), "parameters": parameters, "original_length": trained,
            "context": self.context }))
    }

    pub fn say(&self) -> Result<(), Refusal> {
        let context = self.context;
        match &self.scaling {
            None => println!("the checkpoint does not scale its rotary frequencies; it states {context} positions"),
            Some(Scaling { arm, .. }) if !self.shown => println!("in place of the checkpoint's own `{arm}`"),
            Some(Scaling { arm, trained, .. }) => {
                let about =
                    registry::methods().into_iter().find(|spec| spec.axis == Axis::Position && spec.id == arm.id);
                let about = about.map_or("", |spec| spec.about);
                println!("the checkpoint scales its rotary frequencies: `{}` {about}", arm.id);
                for (name, value) in parameters(arm)?.into_iter().filter(|(name, _)| name != "trained") {
                    println!("  {name} = {value}");
                }
                match trained {
                    Some(trained) => println!("  it was trained at {trained} positions and states {context}"),
                    None => println!("  it states {context} positions, and none before an extension"),
                }
            }
        }
        Ok(())
    }
}

/// All parameters of an arm, those that are not set with their defaults.
fn parameters(arm: &Arm) -> Result<Vec<(String, Value)>, Refusal> {
    let methods = registry::methods();
    let Some(spec) = methods.iter().find(|spec| spec.axis == Axis::Position && spec.id == arm.id) else {
        return Ok(arm.parameters.clone());
    };
    resolve_values(arm, &spec.parameters).map_err(|mut errors| errors.swap_remove(0)).or_exit(BAD_INPUT)
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Unset => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Text(text) => json!(text),
        Value::List(values) => values.iter().map(plain).collect(),
    }
}
