//! Charts for LaTeX: a `.tex` file for `\input` that draws a `.dat` file with pgfplots, in the fonts of the paper.
//!
//! Every plot of the `.tex` file reads one group of rows of the `.dat` file: points, polygons and lines alike. Heat maps
//! have a column for each panel instead, since pgfplots wants the whole matrix of one. Numbers that depend on the layout
//! stay with pgfplots.

mod plots;

use std::collections::HashMap;
use std::fmt::Write;

use harness_core::chart::{Chart, ChartKind, Facet, Place};

use crate::draw::clean;
use crate::frame::axis_text;
use crate::letters::{self, Weight};
use crate::number::Scale;
use crate::palette::{Colour, Look, MUTED, Mark, look};
use crate::provenance::Provenance;
use crate::style::Style;

/// One `\addplot`: the rows it reads and how it is drawn.
struct Plot {
    /// What it is, for readers of the `.dat` file.
    about: String,
    options: String,
    rows: Vec<Row>,
    /// Whether rows have error bars across and upwards.
    errors: (bool, bool),
    legend: Option<String>,
}

/// A row of the `.dat` file; NaN where there is nothing.
#[derive(Clone, Copy)]
struct Row {
    x: f64,
    y: f64,
    /// How far the interval reaches below and above.
    x_error: (f64, f64),
    y_error: (f64, f64),
}

impl Row {
    fn at(x: f64, y: f64) -> Self {
        let none = (f64::NAN, f64::NAN);
        Self { x, y, x_error: none, y_error: none }
    }
}

/// What all panels of a chart share.
struct Sheet<'a> {
    chart: &'a Chart,
    style: Style,
    names: Vec<&'a str>,
    categories: Vec<&'a str>,
    /// Shown numbers are these many times smaller.
    x_scale: Scale,
    y_scale: Scale,
    log_x: bool,
    log_y: bool,
}

/// The `.tex` and the `.dat` file of a chart; the first names the second as `STEM.dat`.
pub fn write(chart: &Chart, style: Style, stem: &str, provenance: &Provenance) -> (String, String) {
    let chart = clean(chart);
    let sheet = Sheet::new(&chart, style);
    let heat = chart.kind == ChartKind::Heat;
    let mut data = if heat { sheet.shades() } else { String::from("g x y xminus xplus yminus yplus\n") };
    let mut body = String::new();
    let mut group = 0;
    let mut named: Vec<String> = Vec::new();
    for (panel, facet) in chart.facets.iter().enumerate() {
        let title = if facet.title.is_empty() { String::new() } else { format!("title={{{}}}", escape(&facet.title)) };
        let _ = writeln!(body, "\\nextgroupplot[{title}]");
        if heat {
            let size = sheet.categories.len().max(1);
            let _ = writeln!(
                body,
                "\\addplot[matrix plot*, mesh/cols={size}, point meta=explicit, forget plot] \
                 table[x=x, y=y, meta=panel{panel}] {{{stem}.dat}};"
            );
        }
        for plot in sheet.plots(facet) {
            let _ = writeln!(data, "% {group}: {}", comment(&plot.about));
            for row in &plot.rows {
                let numbers = [row.x, row.y, row.x_error.0, row.x_error.1, row.y_error.0, row.y_error.1];
                let _ = writeln!(data, "{group} {}", numbers.map(plain).join(" "));
            }
            let new = plot.legend.as_ref().filter(|name| !named.contains(name));
            body += &addplot(&plot, group, stem, new.is_some());
            if let Some(name) = new {
                let _ = writeln!(body, "\\addlegendentry{{{name}}}");
                named.push(name.clone());
            }
            group += 1;
        }
        body += &sheet.marks(facet);
    }
    let mut tex = format!("% {}\n", comment(&chart.title));
    for (name, value) in provenance.pairs() {
        let _ = writeln!(tex, "% {name}: {}", comment(&value));
    }
    tex += "%\n% \\usepackage{pgfplots}\n% \\usepgfplotslibrary{groupplots}\n% \\pgfplotsset{compat=1.18}\n%\n";
    tex += "% Rows of one group of the data file:\n";
    tex += "\\pgfplotsset{of group/.style={x filter/.append code={%\n  \\edef\\found{\\thisrow{g}}\\edef\\wanted{#1}%\n  \
            \\ifx\\found\\wanted\\else\\def\\pgfmathresult{nan}\\fi}}}\n";
    for (index, _) in sheet.names.iter().enumerate().take(7) {
        let _ = writeln!(tex, "\\definecolor{{harness{index}}}{{HTML}}{{{}}}", hexadecimal(look(index).colour));
    }
    let _ = writeln!(tex, "\\definecolor{{harnessmuted}}{{HTML}}{{{}}}", hexadecimal(MUTED));
    tex += "\\begin{tikzpicture}\n";
    let _ = write!(tex, "\\begin{{groupplot}}[{}]\n{body}", sheet.options(&named));
    tex += "\\end{groupplot}\n\\end{tikzpicture}\n";
    (tex, data)
}

fn addplot(plot: &Plot, group: usize, stem: &str, named: bool) -> String {
    let forget = if named { "" } else { ", forget plot" };
    let mut columns = String::from("x=x, y=y");
    let mut bars = String::new();
    for (shown, direction) in [(plot.errors.0, "x"), (plot.errors.1, "y")] {
        if shown {
            let _ =
                write!(columns, ", {direction} error minus={direction}minus, {direction} error plus={direction}plus");
            let _ = write!(bars, ", error bars/{direction} dir=both, error bars/{direction} explicit");
        }
    }
    format!("\\addplot[{}{bars}{forget}, of group={group}] table[{columns}] {{{stem}.dat}};\n", plot.options)
}

impl<'a> Sheet<'a> {
    fn new(chart: &'a Chart, style: Style) -> Self {
        let places = || {
            chart.points().filter_map(|point| match point.x {
                Place::Number(number) => Some(number),
                Place::Category(_) => None,
            })
        };
        let largest = |values: &mut dyn Iterator<Item = f64>| values.map(f64::abs).fold(0.0, f64::max);
        let positive = |values: Vec<f64>| values.into_iter().all(|value| value > 0.0);
        let mut ys = chart.points().map(|point| point.y);
        let lows = chart.points().filter_map(|point| point.interval).map(|(low, _)| low);
        let references = chart.facets.iter().flat_map(|facet| &facet.references).map(|reference| reference.y);
        Self {
            names: chart.series_names(),
            categories: chart.categories(),
            x_scale: Scale::fit(&chart.x.unit, largest(&mut places())),
            y_scale: Scale::fit(&chart.y.unit, largest(&mut ys)),
            log_x: chart.x.log && positive(places().collect()),
            log_y: chart.y.log
                && chart.kind != ChartKind::Histogram
                && positive(chart.points().map(|point| point.y).chain(lows).chain(references).collect()),
            chart,
            style,
        }
    }

    /// The values of a heat map: one row a place, one column a panel, NaN where there is none.
    fn shades(&self) -> String {
        let panels: Vec<String> = (0..self.chart.facets.len()).map(|panel| format!("panel{panel}")).collect();
        let mut data = format!("x y {}\n", panels.join(" "));
        let all: Vec<HashMap<(&str, &str), f64>> = self.chart.facets.iter().map(|facet| self.values(facet)).collect();
        for (row, name) in self.names.iter().enumerate() {
            for (column, place) in self.categories.iter().enumerate() {
                let values = all.iter().map(|values| plain(values.get(&(*name, *place)).copied().unwrap_or(f64::NAN)));
                let _ = writeln!(data, "{column} {row} {}", values.collect::<Vec<_>>().join(" "));
            }
        }
        data
    }

    fn values<'f>(&self, facet: &'f Facet) -> HashMap<(&'f str, &'f str), f64> {
        let over = self.y_scale.divisor;
        let series = facet.series.iter();
        let points = series.flat_map(|series| series.points.iter().map(move |point| (series.name.as_str(), point)));
        let named = points.filter_map(|(name, point)| match &point.x {
            Place::Category(place) => Some(((name, place.as_str()), point.y / over)),
            Place::Number(_) => None,
        });
        named.collect()
    }

    /// The number of a series, for its colour.
    fn number(&self, name: &str) -> usize {
        self.names.iter().position(|other| *other == name).unwrap_or_default()
    }

    fn category(&self, name: &str) -> f64 {
        self.categories.iter().position(|other| *other == name).map_or(f64::NAN, |index| index as f64)
    }

    /// The places on x themselves, as ticks, where they are few.
    fn own_places(&self) -> Vec<String> {
        if !matches!(self.chart.kind, ChartKind::Line | ChartKind::Fit) {
            return Vec::new();
        }
        let mut own: Vec<f64> = self
            .chart
            .points()
            .filter_map(|point| if let Place::Number(x) = point.x { Some(x / self.x_scale.divisor) } else { None })
            .collect();
        own.sort_by(f64::total_cmp);
        own.dedup();
        if own.len() > 7 { Vec::new() } else { own.into_iter().map(plain).collect() }
    }

    /// Options of all panels.
    fn options(&self, named: &[String]) -> String {
        let (chart, style) = (self.chart, &self.style);
        let points = |units: f64| units * 72.27 / style.per_inch;
        let lies = chart.kind.lies();
        let most = if lies { 2 } else { 3 };
        let (columns, width) = style.panels(chart, most);
        let lines = chart.facets.len().max(1).div_ceil(columns);
        let panel = (width - 2.0 * style.edge) / columns as f64;
        let rows = self.categories.len().max(1) as f64;
        let height = match chart.kind {
            _ if lies => style.u(60.0) + rows * style.u(13.0 * self.names.len().max(1) as f64 + 11.0),
            ChartKind::Heat => style.u(60.0) + style.u(22.0) * self.names.len() as f64,
            _ => (panel * 0.72).clamp(style.u(200.0), style.u(380.0)),
        };
        let size = |units: f64| {
            let size = points(units) * 72.0 / 72.27;
            format!("\\fontsize{{{}}}{{{}}}\\selectfont", plain(round(size)), plain(round(size * 1.2)))
        };
        let (text, small) = (size(style.text()), size(style.small()));
        // Panels keep clear of the names left of the next one, and titles of the axis label above them.
        let longest = self.categories.iter().map(|name| letters::width(name, style.text(), Weight::Regular));
        let names = if lies { longest.fold(0.0, f64::max) } else { 0.0 };
        let sep = points(names.max(style.u(42.0)) + style.u(16.0));
        let below = points(style.u(74.0));
        let mut all = vec![
            format!(
                "group style={{group size={columns} by {lines}, horizontal sep={}pt, vertical sep={}pt}}",
                plain(round(sep)),
                plain(round(below))
            ),
            format!(
                "width={}pt, height={}pt",
                plain(round(points(panel) - sep * (columns as f64 - 1.0) / columns as f64)),
                plain(round(points(height)))
            ),
            format!(
                "label style={{font={text}}}, title style={{font={text}\\bfseries}}, tick label style={{font={small}}}"
            ),
            "axis lines*=left, tick align=outside, grid style={draw=black!10}, unbounded coords=discard".to_owned(),
            "scaled ticks=false, /pgf/number format/1000 sep={\\,}, /pgf/number format/fixed".to_owned(),
        ];
        let (across, up) =
            (escape(&axis_text(&chart.x, &self.x_scale, false)), escape(&axis_text(&chart.y, &self.y_scale, false)));
        if lies {
            all.push(format!("xlabel={{{up}}}, xmajorgrids, y dir=reverse"));
            all.push(format!("ymin=-0.6, ymax={}", plain(rows - 0.4)));
            all.push(ticks("y", &self.categories));
            if self.log_y {
                all.push("xmode=log".to_owned());
            }
            if chart.kind == ChartKind::Bar {
                let bar = plain(round(points(style.u(11.0))));
                all.push(format!(
                    "xbar, /pgf/bar width={bar}pt, reverse legend, enlarge x limits={{value=0.02, upper}}"
                ));
                all.push(if self.log_y { "log origin=infty".to_owned() } else { "xmin=0".to_owned() });
            }
        } else if chart.kind == ChartKind::Heat {
            all.push(format!(
                "xlabel={{{across}}}, ylabel={{{}}}, y dir=reverse, enlargelimits=false",
                escape(&chart.series_label)
            ));
            all.push(format!("{}, {}", ticks("x", &self.categories), ticks("y", &self.names)));
            all.push("xticklabel style={rotate=40, anchor=north east, inner sep=1pt}".to_owned());
            all.push(format!(
                "colormap={{harness}}{{rgb255=(242,245,249) rgb255=(188,213,232) rgb255=(112,168,205) rgb255=(47,111,166) \
                 rgb255=(11,47,91)}}, colorbar, colorbar style={{title={{{up}}}, title style={{font={small}, anchor=south east, \
                 at={{(1,1.02)}}}}, width=6pt, yticklabel style={{font={small}}}}}"
            ));
            all.push(format!(
                "xmin=-0.5, xmax={}, ymin=-0.5, ymax={}",
                plain(rows - 0.5),
                plain(self.names.len() as f64 - 0.5)
            ));
            all.push("axis on top, tick style={draw=none}".to_owned());
        } else {
            all.push(format!("xlabel={{{across}}}, ylabel={{{up}}}, ymajorgrids"));
            if !self.categories.is_empty() {
                all.push(ticks("x", &self.categories));
            }
            if self.log_x {
                all.push("xmode=log".to_owned());
            }
            if self.log_y {
                all.push("ymode=log".to_owned());
            }
            let own = self.own_places();
            if !own.is_empty() {
                let fixed = if self.log_x { ", log ticks with fixed point" } else { "" };
                all.push(format!("xtick={{{}}}, minor xtick={{}}{fixed}", own.join(",")));
            }
            if chart.kind == ChartKind::Histogram {
                all.push("ymin=0".to_owned());
            }
        }
        if !named.is_empty() {
            let widest =
                named.iter().map(|name| letters::width(name, style.small(), Weight::Regular)).fold(0.0, f64::max);
            let fitting = (width / (widest + style.u(44.0))).floor().max(1.0) as usize;
            all.push(format!(
                "legend columns={}, legend cell align=left, legend style={{draw=none, fill=none, font={small}, \
                 at={{(0,1.0)}}, anchor=south west, yshift={}pt, /tikz/every even column/.append style={{column sep=4pt}}}}",
                fitting.min(named.len()),
                if chart.facets.iter().all(|facet| facet.title.is_empty()) { 2 } else { 12 }
            ));
        }
        format!("\n  {}\n", all.join(",\n  "))
    }

    /// Reference lines and crosses of failed cells, which are drawn at places no number stands for.
    fn marks(&self, facet: &Facet) -> String {
        let mut out = String::new();
        let over = self.y_scale.divisor;
        let lies = self.chart.kind.lies();
        for reference in &facet.references {
            let y = plain(reference.y / over);
            let (from, to) = if lies {
                (format!("{{axis cs:{y},0}}|-{{rel axis cs:0,0}}"), format!("{{axis cs:{y},0}}|-{{rel axis cs:0,1}}"))
            } else {
                (format!("{{rel axis cs:0,0}}|-{{axis cs:1,{y}}}"), format!("{{rel axis cs:1,0}}|-{{axis cs:1,{y}}}"))
            };
            let label = escape(&reference.label);
            let _ = writeln!(
                out,
                "\\draw[harnessmuted, densely dashed] ({from}) -- ({to}) node[pos=1, anchor=south east, inner sep=1pt, \
                 font=\\tiny] {{{label}}};"
            );
        }
        for series in &facet.series {
            let colour = colour(self.number(&series.name));
            for place in series.failed.iter().filter_map(|failed| failed.x.as_ref()) {
                let along = match place {
                    Place::Number(number) => number / self.x_scale.divisor,
                    Place::Category(name) => self.category(name),
                };
                let along = plain(along);
                let at = match self.chart.kind {
                    ChartKind::Heat => format!("{{axis cs:{along},{}}}", self.number(&series.name)),
                    _ if lies => format!("{{rel axis cs:0.03,0}}|-{{axis cs:1,{along}}}"),
                    _ => format!("{{axis cs:{along},1}}|-{{rel axis cs:0,0.04}}"),
                };
                let _ = writeln!(out, "\\node[text={colour}, inner sep=0pt] at ({at}) {{$\\times$}};");
            }
        }
        out
    }
}

fn ticks(direction: &str, names: &[&str]) -> String {
    let places: Vec<String> = (0..names.len()).map(|index| index.to_string()).collect();
    let labels: Vec<String> = names.iter().map(|name| format!("{{{}}}", escape(name))).collect();
    format!("{direction}tick={{{}}}, {direction}ticklabels={{{}}}", places.join(","), labels.join(","))
}

fn colour(index: usize) -> String {
    format!("harness{}", index % 7)
}

/// Line and mark of a series as options.
fn line_options(index: usize, style: &Style) -> String {
    let Look { dash, mark, .. } = look(index);
    let points = |units: f64| plain(round(units * style.unit * 72.27 / style.per_inch));
    let dash = if dash.is_empty() {
        String::new()
    } else {
        let pairs: Vec<String> =
            dash.chunks(2).map(|pair| format!("on {}pt off {}pt", points(pair[0]), points(pair[1]))).collect();
        format!(", dash pattern={}", pairs.join(" "))
    };
    format!("{}, line width={}pt{dash}, {}", colour(index), points(1.6), mark_options(mark, style))
}

fn mark_options(mark: Mark, style: &Style) -> String {
    let size = plain(round(3.2 * style.unit * 72.27 / style.per_inch));
    let (word, more) = match mark {
        Mark::Circle => ("*", ""),
        Mark::Square => ("square*", ""),
        Mark::Triangle => ("triangle*", ""),
        Mark::Diamond => ("diamond*", ""),
        Mark::Down => ("triangle*", ", rotate=180"),
        Mark::Ring => ("o", ""),
        Mark::Plus => ("+", ""),
    };
    format!("mark={word}, mark size={size}pt, mark options={{solid{more}}}")
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A number as TeX reads it.
fn plain(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { "nan".to_owned() }
}

fn hexadecimal((r, g, b): Colour) -> String {
    format!("{r:02X}{g:02X}{b:02X}")
}

/// Text on one line behind a per cent sign.
fn comment(text: &str) -> String {
    text.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

/// Text without LaTeX's own signs.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for sign in text.chars() {
        match sign {
            '\\' => out += "\\textbackslash{}",
            '{' | '}' | '%' | '#' | '&' | '_' | '$' => {
                out.push('\\');
                out.push(sign);
            }
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '−' => out += "$-$",
            '×' => out += "$\\times$",
            '·' => out += "$\\cdot$",
            '≤' => out += "$\\leq$",
            '≥' => out += "$\\geq$",
            'µ' => out += "\\textmu{}",
            other if other.is_control() || other == '\u{FFFD}' => out.push('?'),
            other => out.push(other),
        }
    }
    out
}
