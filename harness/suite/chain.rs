//! An arm of a method axis as written: one method, or several one after the other.

use harness_core::{Arm, Axis};

use crate::diagnostics::{Diagnostic, Span};
use crate::node::{Data, Node};
use crate::section::Faults;
use crate::sweep::{Template, inside};

/// The stages of an arm, each with its sweeps.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub span: Span,
    pub stages: Vec<Template>,
}

impl Chain {
    /// How many arms it stands for.
    pub fn count(&self) -> u128 {
        self.stages.iter().fold(1, |count: u128, stage| count.saturating_mul(stage.count()))
    }

    /// The stages of one arm; the first stage turns slowest.
    pub fn arms(&self, index: u128) -> Vec<Arm> {
        let mut rest = index;
        let mut arms: Vec<Arm> = Vec::with_capacity(self.stages.len());
        for stage in self.stages.iter().rev() {
            let count = stage.count().max(1);
            arms.push(stage.arm(rest % count));
            rest /= count;
        }
        arms.reverse();
        arms
    }

    /// Reads an arm: text in the arm grammar, a table with `method`, or, where the axis has chains, text with `|` or a
    /// table with `chain`.
    pub fn read(node: &Node, axis: Axis, faults: &mut Faults) -> Option<Self> {
        let span = node.span;
        let stages = match &node.data {
            Data::Text(text) if axis.chains() && bars(text).len() > 1 => {
                let stages = bars(text).into_iter().map(|(start, end)| {
                    let piece = &text[start..end];
                    Template::from_text(piece, inside(text, span, start, end), faults)
                });
                stages.collect::<Option<Vec<_>>>()?
            }
            Data::Table(entries) if node.get("chain").is_some() => {
                let chain = node.get("chain")?;
                if !axis.chains() {
                    let fault = Diagnostic::new(chain.span, format!("an arm of `{axis}` is one method, not a chain"));
                    faults.push(fault.help("write { method = \"id\", key = value } or \"id(key=value)\""));
                    return None;
                }
                let before = faults.len();
                for entry in entries.iter().filter(|entry| entry.key != "chain") {
                    let message = format!("`{}` stands beside `chain`; it belongs into one of its stages", entry.key);
                    faults.push(Diagnostic::new(entry.key_span, message));
                }
                if chain.each().is_empty() {
                    faults.push(Diagnostic::new(chain.span, "`chain` is empty").help("write at least one stage"));
                }
                let stages: Vec<_> =
                    (chain.each().iter()).filter_map(|stage| Template::arm_of(stage, axis.key(), faults)).collect();
                if faults.len() > before {
                    return None;
                }
                stages
            }
            _ => vec![Template::arm_of(node, axis.key(), faults)?],
        };
        Some(Self { span, stages })
    }
}

/// The stretches between bars that stand outside quotes.
fn bars(text: &str) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, sign) in text.char_indices() {
        match sign {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '|' if !quoted => {
                parts.push((start, at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push((start, text.len()));
    parts
}

#[cfg(test)]
mod tests {
    use super::bars;

    #[test]
    fn bars_inside_quotes_join_nothing() {
        assert_eq!(bars("a | b"), [(0, 2), (3, 5)]);
        assert_eq!(bars(r#"a(x="|") | b(y="\"|")"#), [(0, 9), (10, 21)]);
    }
}
