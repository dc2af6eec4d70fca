//! A drawing as SVG, by plotters. Text stays text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use base64::Engine;
use plotters::prelude::SVGBackend;
use plotters_backend::DrawingBackend;

use crate::draw::DrawError;
use crate::letters::{self, Weight};
use crate::paint::{View, lift, paint};
use crate::provenance::Provenance;
use crate::scene::{BASE, Scene, Shape};
use crate::subset::subset;

/// Steps of the backend, whose places are whole numbers, to a unit.
const FINE: f64 = 100.0;

/// What stands around the shapes of a drawing.
pub struct Wrapping<'a> {
    /// What it shows, for those who cannot see it.
    pub title: &'a str,
    /// Units to an inch.
    pub per_inch: f64,
    /// For a file that stands alone: where it came from; it then holds the fonts it needs.
    pub alone: Option<&'a Provenance>,
}

/// The SVG text of a drawing.
pub fn write(scene: &Scene, wrapping: &Wrapping) -> Result<String, DrawError> {
    let (wide, high) = ((scene.width * FINE).round() as u32, (scene.height * FINE).round() as u32);
    let mut drawn = String::new();
    {
        let mut backend = SVGBackend::with_string(&mut drawn, (wide, high));
        paint(scene, View::whole(scene, FINE), &mut backend)?;
        lift(backend.present())?;
    }
    let body = drawn.split_once('\n').map_or("", |(_, body)| body);
    let title = escape(wrapping.title);
    let length = |units: f64| {
        if wrapping.per_inch == 96.0 { number(units) } else { format!("{}in", number(units / wrapping.per_inch)) }
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {wide} {high}\" role=\"img\" \
         aria-label=\"{title}\" stroke-linejoin=\"round\">\n<title>{title}</title>\n",
        length(scene.width),
        length(scene.height),
    );
    if let Some(provenance) = wrapping.alone {
        let _ = writeln!(out, "<metadata>{}</metadata>", escape(&provenance.json()));
        let _ = writeln!(out, "<style>\n{}</style>", faces("Inter", &used([scene])));
    }
    tidy(&mut out, body);
    Ok(out)
}

/// Takes over what the backend wrote: without what says nothing, text on the line of its element, base lines where
/// they were laid out whatever font is there, and the weight that the bundled font has.
fn tidy(out: &mut String, body: &str) {
    let base = format!(" dy=\"{BASE}em\"");
    let mut inside = false;
    for line in body.lines() {
        // Text has its quotes escaped, so that none of these stands in it.
        if inside || !line.starts_with('<') {
            out.push_str(line);
        } else {
            let line = line.replace(" opacity=\"1\"", "").replace(" stroke=\"none\"", "");
            let line = line.replace(" text-anchor=\"start\"", "").replace(" dy=\"0.5ex\"", &base);
            out.push_str(&whole_size(&line.replace(" font-weight=\"bold\"", " font-weight=\"600\"")));
        }
        inside = line.starts_with("<text");
        if !inside && line.starts_with('<') {
            out.push('\n');
        }
    }
}

/// An element whose font size is the whole number that was meant: the backend's division leaves a trace in the last bit.
fn whole_size(line: &str) -> String {
    const KEY: &str = " font-size=\"";
    let Some((head, rest)) = line.split_once(KEY) else { return line.to_owned() };
    match rest.split_once('"').and_then(|(size, tail)| Some((size.parse::<f64>().ok()?, tail))) {
        Some((size, tail)) => format!("{head}{KEY}{}\"{tail}", size.round()),
        None => line.to_owned(),
    }
}

/// The letters that drawings use, by weight.
pub type Used = BTreeMap<Weight, BTreeSet<u16>>;

/// The letters of drawings.
pub fn used<'a>(scenes: impl IntoIterator<Item = &'a Scene>) -> Used {
    let mut used = Used::new();
    for shape in scenes.into_iter().flat_map(|scene| &scene.shapes) {
        if let Shape::Text { text, weight, .. } = shape {
            used.entry(*weight).or_default().extend(letters::set(text, *weight).iter().map(|letter| letter.glyph));
        }
    }
    used
}

/// The fonts of those letters as style rules, under a name.
pub fn faces(family: &str, used: &Used) -> String {
    let faces = used.iter().filter_map(|(weight, glyphs)| {
        let font = base64::engine::general_purpose::STANDARD.encode(subset(weight.bytes(), glyphs)?);
        let number = weight.number();
        Some(format!(
            "@font-face{{font-family:\"{family}\";font-weight:{number};src:url(data:font/ttf;base64,{font})}}\n"
        ))
    });
    faces.collect()
}

/// A number with two decimals at most.
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
