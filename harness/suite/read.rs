//! Reading a whole suite: syntax, changes from the command line, benches, the count of cells, arms, expectations,
//! figures. Each step goes on after a fault as far as its words still mean something.

use std::collections::{HashMap, HashSet};

use harness_core::Catalog;
use harness_core::gate::GateRequest;

use crate::assertion::expectation;
use crate::bench::Draft;
use crate::chart::{figure, table};
use crate::diagnostics::{Diagnostic, Diagnostics, Source, Span};
use crate::figure::Figure;
use crate::gate::gate;
use crate::names::Names;
use crate::node::{Data, Node};
use crate::overrides::Overrides;
use crate::section::{Faults, grouped, refuse_unknown, tables, text, texts, wrong_kind};
use crate::suite::{Bench, MOST_CELLS, Point, Suite};
use crate::vocabulary::Vocabulary;

/// Tables of a suite file.
pub(crate) const TOP_KEYS: [&str; 5] = ["suite", "bench", "figure", "table", "gate"];
/// Keys of `[suite]`.
pub(crate) const SUITE_KEYS: [&str; 2] = ["about", "seed"];

impl Suite {
    /// Reads a suite. `path` is what messages call it.
    ///
    /// # Errors
    /// Every fault of the file.
    pub fn parse(source: &str, path: &str, catalog: &Catalog, names: &dyn Names) -> Result<Self, Diagnostics> {
        Self::parse_with(source, path, catalog, names, &Overrides::default())
    }

    /// Reads a suite and changes it first. Where something is changed, an expectation, figure or table that no longer
    /// fits is left out and named in [`Suite::notes`].
    ///
    /// # Errors
    /// Every fault of the file and the flags.
    pub fn parse_with(
        source: &str,
        path: &str,
        catalog: &Catalog,
        names: &dyn Names,
        overrides: &Overrides,
    ) -> Result<Self, Diagnostics> {
        let mut sources = vec![Source { name: path.to_owned(), text: source.to_owned() }];
        let mut faults = Faults::new();
        let mut document = Node::document(source, 0, &mut faults);
        if !faults.is_empty() {
            // What a half-read file means is guesswork; its syntax comes first.
            return Err(Diagnostics::new(sources, faults));
        }
        overrides.apply(&mut document, catalog, &mut sources, &mut faults);
        let mut reader =
            Reader { document: &document, catalog, names, changed: !overrides.is_empty(), notes: Vec::new(), faults };
        let suite = reader.suite(path);
        let mut faults = reader.faults;
        if faults.is_empty() && overrides.is_empty() && has_quick(&document) {
            faults.extend(quick_faults(source, path, catalog, names));
        }
        if faults.is_empty() { Ok(suite) } else { Err(Diagnostics::new(sources, faults)) }
    }
}

fn has_quick(document: &Node) -> bool {
    document.get("bench").is_some_and(|benches| benches.each().iter().any(|bench| bench.get("quick").is_some()))
}

/// Faults that the suite would have under `--quick`, so that they show before anyone needs it.
fn quick_faults(source: &str, path: &str, catalog: &Catalog, names: &dyn Names) -> Vec<Diagnostic> {
    let quick = Overrides { set: Vec::new(), quick: true };
    let outcome = Suite::parse_with(source, path, catalog, names, &quick);
    outcome.err().map(|faults| faults.iter().cloned().collect()).unwrap_or_default()
}

/// Whether some cell that the figure's metric is measured in meets its conditions.
fn shows_something(figure: &Figure, benches: &[Bench]) -> bool {
    let mut measured = benches.iter().filter(|bench| bench.metrics.contains(&figure.y));
    measured.any(|bench| {
        figure.conditions.is_empty()
            || bench.combinations().iter().any(|combination| {
                let point = Point { bench, combination };
                figure.conditions.iter().all(|condition| condition.holds(&point))
            })
    })
}

struct Reader<'a> {
    document: &'a Node,
    catalog: &'a Catalog,
    names: &'a dyn Names,
    /// Whether the document is other than the file.
    changed: bool,
    notes: Vec<String>,
    faults: Faults,
}

impl Reader<'_> {
    fn suite(&mut self, path: &str) -> Suite {
        refuse_unknown(self.document, "a suite", &TOP_KEYS, &mut self.faults);
        let (about, seed) = self.head();
        let benches = self.benches();
        let known: Vec<&Bench> = benches.iter().collect();
        let vocabulary = if self.faults.is_empty() {
            Vocabulary::of(&known, self.catalog)
        } else {
            Vocabulary::open(&known, self.catalog)
        };
        let figures = self.charts("figure", |node, taken, faults| {
            let figure = figure(node, &vocabulary, taken, faults)?;
            let empty = !vocabulary.open && !shows_something(&figure, &benches);
            if empty {
                let span = node.get("where").map_or(node.span, |value| value.span);
                let fault = Diagnostic::new(span, format!("the figure `{}` shows no cell", figure.name));
                faults.push(fault.help(format!("no cell that has `{}` meets every condition", figure.y)));
            }
            (!empty).then_some(figure)
        });
        let tables = self.charts("table", |node, taken, faults| table(node, &vocabulary, taken, faults));
        let gate = self.gate(&vocabulary);
        Suite {
            about,
            seed,
            hash: self.document.hash(),
            source_path: path.to_owned(),
            benches,
            figures,
            tables,
            gate,
            notes: std::mem::take(&mut self.notes),
        }
    }

    fn head(&mut self) -> (String, u64) {
        let Some(head) = self.document.get("suite") else { return (String::new(), 0) };
        if head.entries().is_none() {
            self.faults.push(wrong_kind(head, "suite", "a table"));
        }
        refuse_unknown(head, "`suite`", &SUITE_KEYS, &mut self.faults);
        let about = text(head, "about", &mut self.faults).map_or(String::new(), |(about, _)| about.to_owned());
        let seed = match head.get("seed").map(|node| (node, &node.data)) {
            None => 0,
            Some((_, Data::Int(seed))) if *seed >= 0 => seed.unsigned_abs(),
            Some((node, _)) => {
                let help = format!("write a number between 0 and {}", i64::MAX);
                self.faults.push(Diagnostic::new(node.span, "`seed` must be a whole number from 0").help(help));
                0
            }
        };
        (about, seed)
    }

    fn benches(&mut self) -> Vec<Bench> {
        let nodes = tables(self.document, "bench", &mut self.faults);
        if nodes.is_empty() && self.faults.is_empty() {
            let fault = Diagnostic::new(self.document.span, "the suite has no bench");
            self.faults.push(fault.help("write [[bench]] with a name, a model, data and metrics"));
        }
        let mut drafts: Vec<Draft> = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            drafts.extend(Draft::read(node, index, self.catalog, self.names, &mut self.faults));
        }
        let mut taken: HashMap<&str, Span> = HashMap::new();
        for draft in &drafts {
            if let Some(first) = taken.insert(&draft.name, draft.name_span) {
                let fault = Diagnostic::new(draft.name_span, format!("two benches are named `{}`", draft.name));
                self.faults.push(fault.other(first, "the other one"));
            }
        }
        if self.refuse_too_many(&drafts) {
            return Vec::new();
        }
        let mut benches = Vec::new();
        for draft in &drafts {
            let mut bench = draft.expand(self.catalog, &mut self.faults);
            self.expectations(draft.node, &mut bench);
            benches.push(bench);
        }
        benches
    }

    fn refuse_too_many(&mut self, drafts: &[Draft]) -> bool {
        let count = drafts.iter().fold(0, |sum: u128, draft| sum.saturating_add(draft.count()));
        let Some(largest) = drafts.iter().max_by_key(|draft| draft.count()).filter(|_| count > MOST_CELLS) else {
            return false;
        };
        let fault = Diagnostic::new(
            largest.widest(),
            format!("the suite has {} cells; {} is the most", grouped(count), grouped(MOST_CELLS)),
        );
        let label = format!("bench `{}` has {}: {}", largest.name, grouped(largest.count()), largest.factors());
        self.faults
            .push(fault.label(label).help("use fewer values, zip axes that belong together, or split the suite"));
        true
    }

    fn expectations(&mut self, node: &Node, bench: &mut Bench) {
        // Arms that could not be read would make true expectations look empty.
        let vocabulary = if self.faults.is_empty() {
            Vocabulary::of(&[bench], self.catalog)
        } else {
            Vocabulary::open(&[bench], self.catalog)
        };
        let mut expect = Vec::new();
        for (line, span) in texts(node, "expect", &mut self.faults) {
            let mut faults = Faults::new();
            expect.extend(expectation(line, span, bench, &vocabulary, &mut faults));
            self.keep(faults, &format!("expectation `{line}` of bench `{}`", bench.name));
        }
        bench.expect = expect;
    }

    fn gate(&mut self, vocabulary: &Vocabulary) -> GateRequest {
        let Some(node) = self.document.get("gate") else { return GateRequest::default() };
        let mut faults = Faults::new();
        let request = gate(node, vocabulary, &mut faults);
        self.keep(faults, "a part of the gate");
        request
    }

    fn charts<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&Node, &mut HashSet<String>, &mut Faults) -> Option<T>,
    ) -> Vec<T> {
        let mut taken = HashSet::new();
        let mut charts = Vec::new();
        for (index, node) in tables(self.document, key, &mut self.faults).into_iter().enumerate() {
            let mut faults = Faults::new();
            charts.extend(read(node, &mut taken, &mut faults));
            self.keep(faults, &format!("{key} {}", index + 1));
        }
        charts
    }

    /// Faults of something that only looks at the results: they are faults of the file, but a changed suite goes on
    /// without the thing.
    fn keep(&mut self, faults: Faults, what: &str) {
        match faults.first() {
            Some(first) if self.changed => self.notes.push(format!("left out {what}: {}", first.message)),
            _ => self.faults.extend(faults),
        }
    }
}
