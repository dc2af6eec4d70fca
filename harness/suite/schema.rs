//! The JSON schema (draft 2020-12) of a suite, derived from a catalog, so that editors complete and explain keys.

use std::collections::BTreeMap;

use harness_core::chart::StyleName;
use harness_core::parameters::Domain;
use harness_core::statistics::LawForm;
use harness_core::{Axis, BenchKind, Catalog, Kind, ParameterSpec, TableSpec, Value};
use serde_json::{Map, Value as Json, json};

use crate::figure::{FigureKind, INTERVAL_STYLES, kind_keys};

/// The schema of suites over a catalog. `models` are offered as completions of `model`; other names and paths stay
/// allowed.
pub fn schema(catalog: &Catalog, models: &[impl AsRef<str>]) -> Json {
    let models: Vec<&str> = models.iter().map(AsRef::as_ref).collect();
    let mut definitions = Map::new();
    definitions.insert("range".to_owned(), range());
    let mut kinds = Vec::new();
    for kind in &catalog.kinds {
        let name = format!("bench-{}", kind.id);
        kinds.push(json!({ "$ref": format!("#/$defs/{name}") }));
        for axis in kind.axes.iter().filter(|axis| holds_methods(**axis, kind)) {
            definitions.insert(format!("arm-{axis}"), arm(catalog, *axis));
        }
        definitions.insert(name, bench(catalog, kind, &models));
    }
    let benches = if kinds.len() == 1 { kinds.swap_remove(0) } else { json!({ "anyOf": kinds }) };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "harness suite",
        "type": "object",
        "additionalProperties": false,
        "required": ["bench"],
        "properties": {
            "suite": {
                "description": "The suite as a whole.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "about": { "description": "What the suite asks, in a sentence.", "type": "string" },
                    "seed": { "description": "The seed that every random stream starts from.", "type": "integer", "minimum": 0, "default": 0 },
                },
            },
            "bench": { "description": "The benches: what is measured, over which arms.", "type": "array", "minItems": 1, "items": benches },
            "figure": { "description": "Figures of the report.", "type": "array", "items": figure(catalog) },
            "table": { "description": "Tables of the report.", "type": "array", "items": table(catalog) },
            "gate": gate(catalog),
        },
        "$defs": definitions,
    })
}

fn holds_methods(axis: Axis, kind: &BenchKind) -> bool {
    !matches!(axis, Axis::Model | Axis::Seed) && kind.tables.iter().all(|table| table.axis != Some(axis))
}

fn range() -> Json {
    json!({
        "description": "Every step from `from` to `to`; the end belongs to it when a step reaches it.",
        "type": "object",
        "additionalProperties": false,
        "required": ["from", "to", "step"],
        "properties": { "from": { "type": "number" }, "to": { "type": "number" }, "step": { "type": "number" } },
    })
}

/// One or a list of something.
fn one_or_more(item: &Json) -> Json {
    json!({ "anyOf": [item, { "type": "array", "minItems": 1, "items": item }] })
}

fn described(mut schema: Json, about: &str) -> Json {
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), json!(about));
    }
    schema
}

fn number(domain: &Domain, kind: &str) -> Json {
    let mut schema = json!({ "type": kind });
    if let Some(object) = schema.as_object_mut() {
        let ends = [
            (domain.low, domain.low_included, "minimum", "exclusiveMinimum"),
            (domain.high, domain.high_included, "maximum", "exclusiveMaximum"),
        ];
        for (end, included, inclusive, exclusive) in ends.into_iter().filter(|(end, ..)| end.is_finite()) {
            object.insert(if included { inclusive } else { exclusive }.to_owned(), plain_number(end));
        }
    }
    schema
}

/// Whole numbers without a point, as people write them.
fn plain_number(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

/// A single value of a parameter.
fn value(spec: &ParameterSpec) -> Json {
    match spec.kind {
        Kind::Float => number(&spec.domain, "number"),
        Kind::Int => number(&spec.domain, "integer"),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Numbers => json!({ "type": "array", "items": number(&spec.domain, "number") }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::Pattern => {
            json!({ "type": "string", "pattern": "^[1-9][0-9]*:[1-9][0-9]*$", "examples": ["2:4", "4:8"] })
        }
    }
}

fn with_default(mut schema: Json, spec: &ParameterSpec) -> Json {
    let default = match &spec.default {
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Text(text) if !text.is_empty() => json!(text),
        _ => return schema,
    };
    if let Some(object) = schema.as_object_mut() {
        object.insert("default".to_owned(), default);
    }
    schema
}

/// A value, a list of values, or a range.
fn sweep(item: &Json, kind: Kind) -> Json {
    let mut forms = vec![item.clone(), json!({ "type": "array", "minItems": 1, "items": item })];
    if matches!(kind, Kind::Float | Kind::Int) {
        forms.push(json!({ "$ref": "#/$defs/range" }));
    }
    json!({ "anyOf": forms })
}

const ZIP: &str = "Keys of this table whose lists advance together instead of being multiplied.";

fn arm(catalog: &Catalog, axis: Axis) -> Json {
    let methods: Vec<_> = catalog.methods.iter().filter(|method| method.axis == axis).collect();
    let ids: Vec<&str> = methods.iter().map(|method| method.id).collect();
    let listing: Vec<String> = methods.iter().map(|method| format!("`{}`: {}", method.id, method.about)).collect();
    let mut owners: BTreeMap<&str, (Vec<&str>, Vec<&ParameterSpec>)> = BTreeMap::new();
    for method in &methods {
        for spec in &method.parameters {
            let (ids, specs) = owners.entry(spec.name).or_default();
            ids.push(method.id);
            specs.push(spec);
        }
    }
    let mut properties = Map::new();
    let method = one_or_more(&json!({ "enum": ids }));
    properties.insert("method".to_owned(), described(method, &listing.join("\n\n")));
    for (name, (ids, specs)) in owners {
        // Methods may share a name with different ranges; each distinct form is allowed here and told apart on reading.
        let mut forms: Vec<Json> = Vec::new();
        let mut abouts: Vec<&str> = Vec::new();
        for spec in &specs {
            let form = sweep(&value(spec), spec.kind);
            if !forms.contains(&form) {
                forms.push(form);
            }
            if !abouts.contains(&spec.about) {
                abouts.push(spec.about);
            }
        }
        let form = if forms.len() == 1 { forms.swap_remove(0) } else { json!({ "anyOf": forms }) };
        properties.insert(name.to_owned(), described(form, &format!("{} ({})", abouts.join(" "), ids.join(", "))));
    }
    properties.insert(
        "zip".to_owned(),
        json!({ "description": ZIP, "type": "array", "minItems": 2, "items": { "type": "string" } }),
    );
    let one = format!("\\s*({})\\s*(\\(.*\\))?\\s*", ids.join("|"));
    let stage =
        json!({ "type": "object", "additionalProperties": false, "required": ["method"], "properties": properties });
    let text = |about: &str, pattern: String| {
        let about = format!("{about} {}", listing.join("; "));
        json!({ "description": about, "type": "string", "pattern": pattern })
    };
    let single = text("An arm as text, id(key=value).", format!("^{one}$"));
    if !axis.chains() {
        return json!({ "anyOf": [single, stage] });
    }
    let stages = json!({ "description": "Methods one after the other; the sweeps of each are combined with those of the others.", "type": "array", "minItems": 1, "items": { "anyOf": [single, stage] } });
    let chain = json!({ "type": "object", "additionalProperties": false, "required": ["chain"], "properties": { "chain": stages } });
    let joined = text("Methods one after the other as text, joined by |.", format!("^{one}(\\|{one})*$"));
    json!({ "anyOf": [joined, stage, chain] })
}

fn table_key(spec: &TableSpec) -> Json {
    let mut properties = Map::new();
    for parameter in &spec.parameters {
        let form = if spec.axis.is_some() { sweep(&value(parameter), parameter.kind) } else { value(parameter) };
        properties.insert(parameter.name.to_owned(), with_default(described(form, parameter.about), parameter));
    }
    if spec.axis.is_some() {
        properties.insert(
            "zip".to_owned(),
            json!({ "description": ZIP, "type": "array", "minItems": 2, "items": { "type": "string" } }),
        );
    }
    let table =
        json!({ "type": "object", "additionalProperties": false, "required": [spec.label], "properties": properties });
    described(if spec.axis.is_some() { one_or_more(&table) } else { table }, spec.about)
}

fn bench(catalog: &Catalog, kind: &BenchKind, models: &[&str]) -> Json {
    let metrics: Vec<&str> = catalog.metrics_of(kind).map(|metric| metric.id).collect();
    let about: Vec<String> = (catalog.metrics_of(kind))
        .map(|metric| format!("`{}`: {} [{}]", metric.id, metric.about, metric.unit))
        .collect();
    let mut properties = Map::new();
    let mut add = |key: &str, schema: Json| properties.insert(key.to_owned(), schema);
    add("name", described(file_name(), "Name of the bench, unique in the suite."));
    add("kind", json!({ "description": kind.about, "const": kind.id }));
    for axis in &kind.axes {
        match axis {
            Axis::Model => {
                let name = json!({ "anyOf": [{ "enum": models }, { "type": "string" }] });
                add("model", described(one_or_more(&name), "Checkpoints: names from datasets/models, or paths."));
            }
            Axis::Seed => {
                let seed = json!({ "type": "integer", "minimum": 0 });
                add("seed", described(sweep(&seed, Kind::Int), "Repetitions with other random numbers."));
            }
            axis if holds_methods(*axis, kind) => {
                let arm = json!({ "$ref": format!("#/$defs/arm-{axis}") });
                add(axis.key(), described(one_or_more(&arm), &format!("Arms of the {axis} axis.")));
            }
            _ => {}
        }
    }
    for table in &kind.tables {
        add(table.key, table_key(table));
    }
    for setting in &kind.settings {
        add(setting.name, with_default(described(value(setting), setting.about), setting));
    }
    let metric = json!({ "enum": metrics });
    let all = json!({ "anyOf": [{ "const": "all" }, metric, { "type": "array", "minItems": 1, "uniqueItems": true, "items": metric }] });
    add("metrics", described(all, &about.join("\n\n")));
    add(
        "zip",
        json!({
            "description": "Groups of axes that advance together instead of being multiplied.",
            "type": "array",
            "items": { "type": "array", "minItems": 2, "items": { "enum": kind.axes.iter().map(|axis| axis.key()).collect::<Vec<_>>() } },
        }),
    );
    let line = json!({ "type": "string", "examples": ["ppl(sparsegpt) <= ppl(magnitude) where pattern = '2:4'"] });
    add(
        "expect",
        described(
            one_or_more(&line),
            "What must hold of the results: metric(arm) OP metric(arm), metric(arm) OP number, metric(arm) ~ number ± number, each with `where key = value`.",
        ),
    );
    add("quick", json!({ "description": "Laid over the bench by --quick.", "type": "object" }));
    let tables = kind.tables.iter().filter(|table| table.required).map(|table| table.key);
    let required: Vec<&str> =
        kind.axes.first().map(|axis| axis.key()).into_iter().chain(tables).chain(["metrics"]).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn file_name() -> Json {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,80}$" })
}

const COLUMN: &str = "An axis (`prune`), its ids without parameters (`prune.method`), a parameter (`sparsity`, or `prune.sparsity` where a metric has that name too), or `bench`.";

fn conditions() -> Json {
    described(
        one_or_more(&json!({ "type": "string", "examples": ["sparsity = 0.5"] })),
        "Cells shown: `key = value`, joined by `and`.",
    )
}

fn figure(catalog: &Catalog) -> Json {
    let metrics: Vec<&str> = catalog.metrics.iter().map(|metric| metric.id).collect();
    let kinds = FigureKind::ALL.map(|(word, _)| word);
    let abouts = FigureKind::ALL.map(|(word, kind)| format!("`{word}`: {}", kind_keys(kind).about));
    let mut along: Vec<&str> = catalog.metrics.iter().filter_map(|metric| Some(metric.along?.word)).collect();
    along.dedup();
    let places = if along.is_empty() {
        String::new()
    } else {
        format!(" Profiles and heat maps know {} too.", along.join(" and "))
    };
    let styles = StyleName::ALL.map(|(word, _)| word);
    let forms = LawForm::ALL.map(|(word, _)| word);
    let needs: Vec<Json> = FigureKind::ALL
        .iter()
        .map(|(word, kind)| {
            json!({
                "if": { "properties": { "kind": { "const": word } } },
                "then": { "required": kind_keys(*kind).required },
            })
        })
        .collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["kind", "x"],
        "allOf": needs,
        "properties": {
            "kind": { "description": format!("How it is drawn. {}", abouts.join("; ")), "enum": kinds },
            "name": described(file_name(), "File name without extension."),
            "title": { "description": "Heading.", "type": "string" },
            "x": { "description": format!("Horizontal: a metric, or: {COLUMN}{places}"), "type": "string" },
            "y": { "description": "Vertical: a metric; in a heat map what makes a row.", "type": "string" },
            "value": { "description": "The metric that a heat map shades.", "enum": metrics },
            "series": { "description": format!("What makes a series. {COLUMN}"), "type": "string" },
            "facet": { "description": format!("What makes a panel. {COLUMN}"), "type": "string" },
            "where": conditions(),
            "log": described(one_or_more(&json!({ "enum": ["x", "y", "value"] })), "Logarithmic directions."),
            "reference": { "description": "An arm drawn beside the series: `dense`, or an arm of the suite.", "type": "string" },
            "minus": { "description": "An arm whose samples are taken from those of every other, pair by pair: `dense`, or an arm of the suite.", "type": "string" },
            "form": { "description": "The law of a fit: scale · x^exponent, or that above a floor.", "enum": forms, "default": "power" },
            "threshold": { "description": "What a score must reach for a length to count: a table says up to which x each series passes.", "type": "number" },
            "drop": { "description": "By how much a score may be worse than that at the smallest x and still pass.", "type": "number", "minimum": 0 },
            "style": described(one_or_more(&json!({ "enum": styles })), "Where it is to be seen besides the page of the report; each style has files of its own."),
        },
    })
}

fn table(catalog: &Catalog) -> Json {
    let metrics: Vec<&str> = catalog.metrics.iter().map(|metric| metric.id).collect();
    let columns = one_or_more(&json!({ "type": "string" }));
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["rows", "metrics"],
        "properties": {
            "name": described(file_name(), "File name without extension."),
            "title": { "description": "Heading.", "type": "string" },
            "rows": described(columns.clone(), &format!("What makes a row. {COLUMN}")),
            "columns": described(columns.clone(), &format!("What makes a group of columns. {COLUMN}")),
            "metrics": described(one_or_more(&json!({ "enum": metrics })), "Metrics shown."),
            "where": conditions(),
            "within": described(columns, &format!("What rows must have in common to be compared for the best; every row column but the last when left out. {COLUMN}")),
            "reference": { "description": "An arm that is shown and never competes for the best: `dense`, or an arm of the suite.", "type": "string" },
            "intervals": with_text_default("How intervals are written.", &INTERVAL_STYLES.map(|(word, _)| word)),
        },
    })
}

/// One of several words, the first of them the default.
fn with_text_default(about: &str, words: &[&str]) -> Json {
    json!({ "description": about, "enum": words, "default": words.first() })
}

fn gate(catalog: &Catalog) -> Json {
    let share =
        |about: &str| json!({ "description": about, "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 });
    let size = |about: &str| json!({ "description": about, "type": "number", "minimum": 0 });
    let mut properties = Map::new();
    let mut budget = share("The chance of any false alarm in a night, over the whole suite.");
    budget["default"] = json!(harness_core::gate::FALSE_ALARMS);
    properties.insert(crate::gate::BUDGET.to_owned(), budget);
    for metric in &catalog.metrics {
        let directions = harness_core::gate::Side::ALL.map(|(word, _)| word);
        let rule = json!({
            "description": format!("How `{}` is judged: {}", metric.id, metric.about),
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "direction": { "description": "Which way is good; `both`: no change is.", "enum": directions },
                "floor": size("Changes up to this share of the reference do not matter."),
                "floor_absolute": size("Changes up to this, in the metric's unit, do not matter."),
                "error_rate": share("This metric's share of the false alarms."),
            },
        });
        properties.insert(metric.id.to_owned(), rule);
    }
    json!({
        "description": "How `harness track` judges runs. The metrics named here are judged; without any, all that have a good side.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}
