//! Reading expectations and conditions from their text.

use std::ops::Range;

use harness_core::{Arm, Axis, Value};

use crate::column::Condition;
use crate::diagnostics::{Diagnostic, Span};
use crate::expect::{Expectation, Operator, Right, Term};
use crate::section::{Faults, did_you_mean, refused, unknown_parameter};
use crate::suite::{Bench, Point};
use crate::sweep::inside;
use crate::vocabulary::Vocabulary;

const SHAPE: &str = "write `metric(arm) <= metric(arm)`, `metric(arm) < 3.5` or `metric(arm) ~ 3.5 ± 0.1`, then perhaps `where key = value`";

/// A stretch of a text.
#[derive(Debug, Clone)]
struct Piece<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Piece<'a> {
    fn whole(text: &'a str) -> Self {
        Self { text, at: 0 }.trimmed()
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self { text: &self.text[range.clone()], at: self.at + range.start }.trimmed()
    }

    fn trimmed(self) -> Self {
        let start = self.text.len() - self.text.trim_start().len();
        Self { text: self.text.trim(), at: self.at + start }
    }

    fn range(&self) -> Range<usize> {
        self.at..self.at + self.text.len().max(1)
    }

    /// The first place of a word outside quotes and brackets.
    fn find(&self, word: &str) -> Option<usize> {
        let mut depth = 0_usize;
        let mut quote = None;
        for (at, sign) in self.text.char_indices() {
            match (quote, sign) {
                (Some(open), _) if sign == open => quote = None,
                (None, '"' | '\'') => quote = Some(sign),
                (None, _) if depth == 0 && self.text[at..].starts_with(word) => return Some(at),
                (None, '(' | '[') => depth += 1,
                (None, ')' | ']') => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        None
    }

    fn split(&self, word: &str) -> Vec<Self> {
        match self.find(word) {
            Some(at) => {
                let mut parts = vec![self.part(0..at)];
                parts.extend(self.part(at + word.len()..self.text.len()).split(word));
                parts
            }
            None => vec![self.clone()],
        }
    }
}

/// What is wrong, and where in the text.
type Fault = (Range<usize>, String, Option<String>);

fn fault<T>(piece: &Piece, message: impl Into<String>, help: impl Into<String>) -> Result<T, Fault> {
    Err((piece.range(), message.into(), Some(help.into())))
}

/// Reads one line of `expect` of a bench whose arms are known. Pushes faults and gives `None` when it makes no sense or
/// speaks of no cell.
pub(crate) fn expectation(
    text: &str,
    span: Span,
    bench: &Bench,
    vocabulary: &Vocabulary,
    faults: &mut Faults,
) -> Option<Expectation> {
    let place = |range: Range<usize>| inside(text, span, range.start, range.end);
    let before = faults.len();
    let expectation = match read(text, bench, vocabulary, &mut |range, fault| {
        faults.push(Diagnostic { span: place(range), ..fault });
    }) {
        Ok(Some(expectation)) => expectation,
        Ok(None) => return None,
        Err((range, message, help)) => {
            faults.push(Diagnostic::new(place(range), message).maybe_help(help));
            return None;
        }
    };
    if faults.len() > before || vocabulary.open {
        return None;
    }
    let combinations = bench.combinations();
    let points: Vec<Point> = combinations.iter().map(|combination| Point { bench, combination }).collect();
    if expectation.pairs_up_to(&points, 1).is_empty() {
        let two = matches!(expectation.right, Right::Term(_));
        faults.push(Diagnostic::new(span, "this expectation speaks of no cell").help(if two {
            "two cells are compared when they agree on every other axis and on every parameter that both arms have and \
             the expectation does not name"
        } else {
            "no cell has this arm and meets every condition"
        }));
        return None;
    }
    Some(expectation)
}

fn read(
    text: &str,
    bench: &Bench,
    vocabulary: &Vocabulary,
    report: &mut dyn FnMut(Range<usize>, Diagnostic),
) -> Result<Option<Expectation>, Fault> {
    let whole = Piece::whole(text);
    let (body, conditions) = match whole.find(" where ") {
        Some(at) => (whole.part(0..at), Some(whole.part(at + " where ".len()..whole.text.len()))),
        None => (whole.clone(), None),
    };
    let found = Operator::ALL.iter().filter_map(|(word, operator)| Some((body.find(word)?, word.len(), *operator)));
    let Some((at, length, operator)) = found.min_by_key(|(at, length, _)| (*at, usize::MAX - length)) else {
        return fault(&body, "an expectation needs one of <, <=, >, >=, ==, ~", SHAPE);
    };
    let (left, right) = (body.part(0..at), body.part(at + length..body.text.len()));
    let mut sides = vec![term(&left)?];
    let number = number(&right, operator)?;
    if number.is_none() {
        if operator == Operator::Near {
            return fault(&right, "`~` is followed by `number ± number`", SHAPE);
        }
        sides.push(term(&right)?);
    }
    let axes = axes_of(&sides, bench, vocabulary)?;
    let mut terms = Vec::new();
    for (side, axis) in sides.iter().zip(axes) {
        if !vocabulary.metrics().contains(&side.metric.text) {
            let message = match vocabulary.catalog.metric(side.metric.text) {
                Some(metric) => format!("bench `{}` does not measure `{}`", bench.name, metric.id),
                None => format!("`{}` is no metric", side.metric.text),
            };
            report(
                side.metric.range(),
                Diagnostic::new(ANYWHERE, message).help(did_you_mean(side.metric.text, vocabulary.metrics())),
            );
        }
        if let Some(method) = axis.and_then(|axis| vocabulary.catalog.method(axis, &side.arm.id)) {
            for (name, value) in &side.arm.parameters {
                match method.parameters.iter().find(|spec| spec.name == name) {
                    None => {
                        report(side.place.range(), unknown_parameter(method.id, name, ANYWHERE, &method.parameters));
                    }
                    Some(spec) => {
                        if let Err(error) = spec.check(value) {
                            report(side.place.range(), refused(&error, spec, value, ANYWHERE));
                        }
                    }
                }
            }
        }
        terms.extend(axis.map(|axis| Term { metric: side.metric.text.to_owned(), arm: side.arm.clone(), axis }));
    }
    let mut read_conditions = Vec::new();
    for piece in conditions.iter().flat_map(|piece| piece.split(" and ")) {
        match condition(&piece, vocabulary) {
            Ok(condition) => read_conditions.push(condition),
            Err((range, message, help)) => report(range, Diagnostic::new(ANYWHERE, message).maybe_help(help)),
        }
    }
    if terms.len() < sides.len() {
        return Ok(None);
    }
    let mut terms = terms.into_iter();
    let (Some(left), second) = (terms.next(), terms.next()) else { return Ok(None) };
    let Some(right) = number.or_else(|| second.map(Right::Term)) else { return Ok(None) };
    Ok(Some(Expectation { text: text.trim().to_owned(), left, operator, right, conditions: read_conditions }))
}

/// Replaced by the caller, who knows where the text stands.
const ANYWHERE: Span = Span { source: 0, start: 0, end: 0 };

struct Side<'a> {
    metric: Piece<'a>,
    arm: Arm,
    place: Piece<'a>,
}

fn term<'a>(piece: &Piece<'a>) -> Result<Side<'a>, Fault> {
    let (Some(open), true) = (piece.text.find('('), piece.text.ends_with(')')) else {
        return fault(piece, format!("`{}` is not metric(arm)", piece.text), SHAPE);
    };
    let metric = Piece { text: &piece.text[..open], at: piece.at }.trimmed();
    let place = piece.clone().slice(open + 1, piece.text.len() - 1);
    match Arm::parse_chain(place.text) {
        // A chain is named by the ids of its stages; their parameters are looked up together, as those of its cells are.
        Ok(stages) => {
            let id = stages.iter().map(|stage| stage.id.as_str()).collect::<Vec<_>>().join(" | ");
            let parameters = stages.into_iter().flat_map(|stage| stage.parameters).collect();
            Ok(Side { metric, arm: Arm { id, parameters }, place })
        }
        Err(error) => {
            let at = (place.at + error.offset).min(place.at + place.text.len());
            Err((at..at + 1, format!("`{}`: {}", place.text, error.message), Some(SHAPE.to_owned())))
        }
    }
}

impl Piece<'_> {
    fn slice(self, start: usize, end: usize) -> Self {
        Self { text: &self.text[start..end.max(start)], at: self.at + start }.trimmed()
    }
}

fn number(piece: &Piece, operator: Operator) -> Result<Option<Right>, Fault> {
    let signs = ["±", "+-", "+/-"];
    let parts = signs.iter().find_map(|sign| piece.text.split_once(sign));
    let read = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
    match (operator, parts) {
        (Operator::Near, Some((value, tolerance))) => match (read(value), read(tolerance)) {
            (Some(value), Some(tolerance)) if tolerance >= 0.0 => Ok(Some(Right::Near { value, tolerance })),
            _ => fault(piece, format!("`{}` is not `number ± number`", piece.text), SHAPE),
        },
        (_, Some(_)) => fault(piece, "a tolerance goes with `~`", SHAPE),
        (Operator::Near, None) => Ok(None),
        (_, None) => Ok(read(piece.text).map(Right::Number)),
    }
}

/// The axis each side's arm stands on: one that both share where there is one, else the first in staging order. `None`
/// for an arm that nobody knows while some arms could not be read.
fn axes_of(sides: &[Side], bench: &Bench, vocabulary: &Vocabulary) -> Result<Vec<Option<Axis>>, Fault> {
    let candidates: Vec<Vec<Axis>> = sides.iter().map(|side| vocabulary.axes_with(&side.arm.id)).collect();
    let unknown = sides.iter().zip(&candidates).find(|(_, axes)| axes.is_empty());
    if let Some((side, _)) = unknown.filter(|_| !vocabulary.open) {
        let message = format!("no arm of bench `{}` is `{}`", bench.name, side.arm.id);
        return fault(&side.place, message, did_you_mean(&side.arm.id, &vocabulary.ids()));
    }
    let shared = candidates[0].iter().find(|axis| candidates.iter().all(|axes| axes.contains(axis)));
    Ok(candidates.iter().map(|axes| shared.or(axes.first()).copied()).collect())
}

fn condition(piece: &Piece, vocabulary: &Vocabulary) -> Result<Condition, Fault> {
    let Some(at) = piece.find("=") else {
        return fault(
            piece,
            format!("`{}` is not `key = value`", piece.text),
            "write where key = value and key = value",
        );
    };
    let (key, value) = (piece.part(0..at), piece.part(at + 1..piece.text.len()));
    let column = match vocabulary.column(key.text, false) {
        Ok(column) => column,
        Err((message, help)) => return fault(&key, message, help),
    };
    if value.text.is_empty() {
        return fault(piece, format!("`{}` is compared with nothing", key.text), "write where key = value");
    }
    let unquoted = value.text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    let value = match unquoted {
        Some(text) => Value::Text(text.to_owned()),
        None => bare(value.text),
    };
    Ok(Condition { column, value })
}

/// A value as the arm grammar reads it; a whole arm, which it cannot hold, is text.
fn bare(text: &str) -> Value {
    let read = format!("x(v={text})").parse::<Arm>().ok().filter(|arm| arm.parameters.len() == 1);
    read.and_then(|arm| arm.parameters.into_iter().next())
        .map_or_else(|| Value::Text(text.to_owned()), |(_, value)| value)
}

/// Reads `key = value and key = value`.
pub(crate) fn conditions(text: &str, span: Span, vocabulary: &Vocabulary, faults: &mut Faults) -> Vec<Condition> {
    let mut found = Vec::new();
    for piece in Piece::whole(text).split(" and ") {
        match condition(&piece, vocabulary) {
            Ok(condition) => found.push(condition),
            Err((range, message, help)) => {
                let place = inside(text, span, range.start, range.end);
                faults.push(Diagnostic::new(place, message).maybe_help(help));
            }
        }
    }
    found
}
