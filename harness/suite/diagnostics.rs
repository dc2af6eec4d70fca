//! All faults of a file at once, each with its place, and how they are printed.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A stretch of one of the texts that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which text: 0 is the file, the rest are `--set` flags.
    pub source: usize,
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    pub(crate) fn new(source: usize, range: &Range<usize>) -> Self {
        Self { source, start: range.start, end: range.end }
    }
}

/// A text that was read, and what it is called in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path of the file, or `--set`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, one line.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Words under the place.
    pub label: String,
    /// Another place that belongs to it, with words.
    pub other: Option<(Span, String)>,
    /// What to do: the nearest good word, the allowed range, the list.
    pub help: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, label: String::new(), other: None, help: None }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn other(mut self, span: Span, label: impl Into<String>) -> Self {
        self.other = Some((span, label.into()));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(mut self, help: Option<impl Into<String>>) -> Self {
        self.help = help.map(Into::into);
        self
    }
}

/// Where a fault is, counted from 1 as editors do; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Path of the file, or `--set`.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Every fault of a suite and its flags, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    sources: Vec<Source>,
    list: Vec<Diagnostic>,
}

/// More faults than this are counted, not drawn.
const MOST_DRAWN: usize = 100;

impl Diagnostics {
    pub(crate) fn new(sources: Vec<Source>, mut list: Vec<Diagnostic>) -> Self {
        for diagnostic in &mut list {
            diagnostic.span = fit(&sources, diagnostic.span);
            if let Some((span, _)) = &mut diagnostic.other {
                *span = fit(&sources, *span);
            }
        }
        list.sort_by_key(|diagnostic| diagnostic.span);
        let mut seen = HashSet::new();
        list.retain(|diagnostic| seen.insert((diagnostic.span, diagnostic.message.clone())));
        Self { sources, list }
    }

    /// The faults; never empty.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many faults there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Where a fault is.
    pub fn location(&self, diagnostic: &Diagnostic) -> Location {
        let source = &self.sources[diagnostic.span.source];
        let before = &source.text[..diagnostic.span.start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Location {
            file: source.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// All faults drawn beside their lines, an empty line after each.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut drawn: Vec<String> =
            self.list.iter().take(MOST_DRAWN).map(|diagnostic| self.draw(&renderer, diagnostic)).collect();
        if self.list.len() > MOST_DRAWN {
            drawn.push(format!("and {} more", self.list.len() - MOST_DRAWN));
        }
        drawn.join("\n\n") + "\n\n"
    }

    fn draw(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let snippet = |source: usize| {
            let source = &self.sources[source];
            Snippet::source(source.text.as_str()).path(source.name.as_str())
        };
        let range = |span: Span| span.start..span.end;
        let mut primary = AnnotationKind::Primary.span(range(diagnostic.span));
        if !diagnostic.label.is_empty() {
            primary = primary.label(diagnostic.label.as_str());
        }
        let mut first = snippet(diagnostic.span.source).annotation(primary);
        let mut second = None;
        if let Some((span, label)) = &diagnostic.other {
            let context = AnnotationKind::Context.span(range(*span)).label(label.as_str());
            if span.source == diagnostic.span.source {
                first = first.annotation(context);
            } else {
                second = Some(snippet(span.source).annotation(context));
            }
        }
        let mut group = Level::ERROR.primary_title(diagnostic.message.as_str()).element(first);
        if let Some(second) = second {
            group = group.element(second);
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

/// Keeps a span inside its text and on character boundaries, so that drawing cannot fail.
fn fit(sources: &[Source], span: Span) -> Span {
    let source = span.source.min(sources.len().saturating_sub(1));
    let text = sources.get(source).map_or("", |source| source.text.as_str());
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    Span { source, start, end }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
