//! Tables as LaTeX: booktabs rules, siunitx columns aligned at the decimal point, bold where the best is told apart.

use std::fmt::Write;

use harness_core::Direction;
use harness_core::chart::{Column, Entry, IntervalStyle, Standing, Table};

use crate::html::column_scales;
use crate::number::{Scale, Spread, Written, written};

/// Rows beyond which a table breaks over pages; TeX cannot make a single box of thousands of rows.
const LONG: usize = 60;

/// Settings of every table: uncertainties behind ±, and numbers that follow the weight of the text around them.
const SETTINGS: &str = "\\sisetup{mode=match,propagate-math-font=true,reset-math-version=false,\
reset-text-series=false,separate-uncertainty=true,table-align-text-after=false}%";

/// A document that compiles as it is (pdflatex, siunitx 3), and that a paper with the packages `standalone`, `booktabs`
/// and `siunitx` takes in by `\input`. `provenance` stands in its first lines.
pub fn latex(table: &Table, provenance: &[String]) -> String {
    let scales = column_scales(table);
    let columns: Vec<Numbers> =
        table.columns.iter().zip(&scales).enumerate().map(|(at, (_, scale))| Numbers::of(table, at, scale)).collect();
    let long = table.rows.len() > LONG;
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!("% {}", comment(&table.title)));
    for fact in provenance {
        line(&format!("% {}", comment(fact)));
    }
    if let Some(note) = &table.note {
        line(&format!("% {}", comment(note)));
    }
    if long {
        line("\\documentclass{article}");
        line("\\usepackage[landscape,margin=1cm]{geometry}");
        line("\\usepackage{booktabs,longtable,siunitx}");
    } else {
        line("% In a paper: \\usepackage{standalone,booktabs,siunitx}, then \\input this file.");
        line("\\documentclass[border=4pt]{standalone}");
        line("\\usepackage{booktabs,siunitx}");
    }
    line("\\begin{document}");
    line(SETTINGS);
    let specification: Vec<String> =
        table.columns.iter().zip(&columns).map(|(column, numbers)| numbers.specification(column)).collect();
    let environment = if long { "longtable" } else { "tabular" };
    if long {
        line("\\footnotesize");
    }
    line(&format!("\\begin{{{environment}}}{{{}}}", specification.join("")));
    line("\\toprule");
    for head in group_heads(table, &columns) {
        line(&head);
    }
    let heads: Vec<String> = table
        .columns
        .iter()
        .zip(&scales)
        .zip(&columns)
        .map(|((column, scale), numbers)| numbers.head(column, scale))
        .collect();
    line(&format!("{} \\\\", heads.join(" & ")));
    line("\\midrule");
    if long {
        line("\\endhead");
    }
    let outer = outer_columns(table);
    let mut above: Option<&Vec<Entry>> = None;
    for row in &table.rows {
        // A value of an outer column that repeats the row above is left out, and a new one gets a little room.
        let repeats = |at: usize| !long && above.is_some_and(|above| above[..=at] == row[..=at]);
        if !long && outer > 0 && above.is_some_and(|above| above[0] != row[0]) {
            line("\\addlinespace");
        }
        let entries: Vec<String> = row
            .iter()
            .enumerate()
            .map(
                |(at, entry)| {
                    if at < outer && repeats(at) { String::new() } else { columns[at].entry(entry, &scales[at]) }
                },
            )
            .collect();
        line(&format!("{} \\\\", entries.join(" & ")));
        above = Some(row);
    }
    line("\\bottomrule");
    line(&format!("\\end{{{environment}}}"));
    line("\\end{document}");
    out
}

/// Leading text columns but the last: those whose repetitions are left out.
fn outer_columns(table: &Table) -> usize {
    table.columns.iter().take_while(|column| !column.is_number()).count().saturating_sub(1)
}

/// How wide the numbers of a column are.
struct Numbers {
    style: IntervalStyle,
    whole: usize,
    decimals: usize,
    uncertain: usize,
    exponent: usize,
    negative: bool,
    tied: bool,
    ranges: bool,
}

impl Numbers {
    fn of(table: &Table, at: usize, scale: &Scale) -> Self {
        let style = table.intervals;
        let mut numbers = Self {
            style,
            whole: 1,
            decimals: 0,
            uncertain: 0,
            exponent: 0,
            negative: false,
            tied: false,
            ranges: false,
        };
        for row in &table.rows {
            let Some(Entry::Number { value, interval, standing }) = row.get(at) else { continue };
            let written = written(*value, *interval, scale, style);
            let (text, exponent) = plain(&written);
            let (whole, rest) =
                text.trim_start_matches('-').split_once('.').unwrap_or((text.trim_start_matches('-'), ""));
            numbers.negative |= text.starts_with('-');
            numbers.tied |= *standing == Standing::Tied;
            numbers.whole = numbers.whole.max(whole.len());
            numbers.decimals = numbers.decimals.max(rest.len());
            numbers.exponent = numbers.exponent.max(exponent.map_or(0, |exponent| exponent.to_string().len()));
            match &written.interval {
                Spread::PlusMinus(half) => {
                    let digits = half.chars().filter(char::is_ascii_digit).collect::<String>();
                    numbers.uncertain = numbers.uncertain.max(digits.trim_start_matches('0').len());
                }
                Spread::Range(..) => numbers.ranges = true,
                Spread::None => {}
            }
        }
        numbers
    }

    /// Columns of the tabular that this column takes.
    fn width(&self) -> usize {
        1 + usize::from(self.ranges)
    }

    fn specification(&self, column: &Column) -> String {
        if !column.is_number() {
            return "l".to_owned();
        }
        let mut format = format!("{}{}", if self.negative { "-" } else { "" }, self.whole);
        if self.decimals > 0 {
            let _ = write!(format, ".{}", self.decimals);
        }
        if self.uncertain > 0 {
            let _ = write!(format, "({})", self.uncertain);
        }
        if self.exponent > 0 {
            let _ = write!(format, "e-{}", self.exponent);
        }
        let after = if self.tied { ",table-space-text-post={$^{\\approx}$}" } else { "" };
        let range = if self.ranges { "@{\\,}l" } else { "" };
        format!("S[table-format={format}{after}]{range}")
    }

    fn head(&self, column: &Column, scale: &Scale) -> String {
        let unit = if scale.unit.is_empty() { String::new() } else { format!(" ({})", escape(&scale.unit)) };
        let arrow = match column.direction {
            Direction::Higher => " $\\uparrow$",
            Direction::Lower => " $\\downarrow$",
            Direction::Neutral => "",
        };
        let text = format!("{}{unit}{arrow}", escape(&column.label));
        match (column.is_number(), self.ranges) {
            (_, true) => format!("\\multicolumn{{2}}{{c}}{{{text}}}"),
            (true, false) => format!("{{{text}}}"),
            (false, false) => text,
        }
    }

    fn entry(&self, entry: &Entry, scale: &Scale) -> String {
        let words = |text: &str| {
            if self.ranges { format!("\\multicolumn{{2}}{{c}}{{{text}}}") } else { format!("{{{text}}}") }
        };
        match entry {
            Entry::Text(text) => escape(text),
            Entry::Absent(_) => words("n/a"),
            Entry::Failed(_) => words("failed"),
            Entry::Empty if self.ranges => " & ".to_owned(),
            Entry::Empty => String::new(),
            Entry::Number { value, interval, standing } => {
                let written = written(*value, *interval, scale, self.style);
                if !value.is_finite() {
                    return words("--");
                }
                let (mut text, exponent) = plain(&written);
                if let Spread::PlusMinus(half) = &written.interval {
                    let _ = write!(text, " \\pm {}", digits(half));
                }
                if let Some(exponent) = exponent {
                    let _ = write!(text, " e{exponent}");
                }
                match standing {
                    Standing::Plain => {}
                    Standing::Best => text.insert_str(0, "\\bfseries\\boldmath "),
                    Standing::Tied => text.push_str("{$^{\\approx}$}"),
                }
                if self.ranges {
                    let range = match &written.interval {
                        Spread::Range(..) => format!("{{\\footnotesize {}}}", escape(&written.spread())),
                        _ => String::new(),
                    };
                    let _ = write!(text, " & {range}");
                }
                text
            }
        }
    }
}

/// The line of group headings with its rules; nothing without groups.
fn group_heads(table: &Table, columns: &[Numbers]) -> Vec<String> {
    if table.columns.iter().all(|column| column.group.is_empty()) {
        return Vec::new();
    }
    let (mut cells, mut rules) = (Vec::new(), String::new());
    let mut place = 1;
    let both: Vec<(&Column, usize)> = table.columns.iter().zip(columns.iter().map(Numbers::width)).collect();
    for group in both.chunk_by(|a, b| a.0.group == b.0.group) {
        let width: usize = group.iter().map(|(_, width)| width).sum();
        let name = &group[0].0.group;
        if name.is_empty() {
            cells.push(format!("\\multicolumn{{{width}}}{{l}}{{}}"));
        } else {
            cells.push(format!("\\multicolumn{{{width}}}{{c}}{{{}}}", escape(name)));
            let _ = write!(rules, "\\cmidrule(lr){{{place}-{}}}", place + width - 1);
        }
        place += width;
    }
    vec![format!("{} \\\\", cells.join(" & ")), rules]
}

/// A value as siunitx reads it, and its power of ten.
fn plain(written: &Written) -> (String, Option<i32>) {
    // A value far below one without an interval carries its power of ten in its text: `1.23·10⁻⁵`.
    match written.value.split_once("·10") {
        Some((mantissa, raised)) => (digits(mantissa), Some(lowered(raised))),
        None if written.value.starts_with("10") && written.value.chars().any(is_raised) => {
            ("1".to_owned(), Some(lowered(&written.value[2..])))
        }
        None => (digits(&written.value), written.exponent),
    }
}

fn is_raised(sign: char) -> bool {
    matches!(sign, '⁻' | '¹' | '²' | '³' | '⁰' | '⁴'..='⁹')
}

fn lowered(raised: &str) -> i32 {
    let text: String = raised
        .chars()
        .map(|sign| match sign {
            '⁻' => '-',
            '¹' => '1',
            '²' => '2',
            '³' => '3',
            other => char::from_u32((other as u32).wrapping_sub(0x2070) + u32::from('0')).unwrap_or('0'),
        })
        .collect();
    text.parse().unwrap_or(0)
}

fn digits(text: &str) -> String {
    text.replace(',', "").replace('−', "-")
}

fn comment(text: &str) -> String {
    text.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

/// Text without TeX's own signs. Signs that pdflatex does not know are written by their number.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for sign in text.chars() {
        match sign {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(sign);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("$<$"),
            '>' => out.push_str("$>$"),
            '|' => out.push_str("$|$"),
            '"' => out.push_str("''"),
            '−' => out.push_str("$-$"),
            '±' => out.push_str("$\\pm$"),
            '·' => out.push_str("$\\cdot$"),
            '×' => out.push_str("$\\times$"),
            '≈' => out.push_str("$\\approx$"),
            '≤' => out.push_str("$\\le$"),
            '≥' => out.push_str("$\\ge$"),
            '→' => out.push_str("$\\to$"),
            '↑' => out.push_str("$\\uparrow$"),
            '↓' => out.push_str("$\\downarrow$"),
            'µ' | 'μ' => out.push_str("$\\mu$"),
            '…' => out.push_str("\\ldots{}"),
            '–' => out.push_str("--"),
            '—' => out.push_str("---"),
            raised if is_raised(raised) => {
                let _ = write!(
                    out,
                    "$^{{{}}}$",
                    if raised == '⁻' { "-".to_owned() } else { lowered(&raised.to_string()).to_string() }
                );
            }
            plain if plain.is_ascii_graphic() || plain == ' ' => out.push(plain),
            control if control.is_control() => out.push(' '),
            letter if ('\u{a1}'..='\u{17f}').contains(&letter) && letter.is_alphabetic() => out.push(letter),
            other => {
                let _ = write!(out, "U+{:04X}", other as u32);
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "latex_tests.rs"]
mod tests;
