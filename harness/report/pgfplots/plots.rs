//! The plots of each kind of chart.

use harness_core::chart::{ChartKind, Facet, Place, Point, Series};

use super::{Plot, Row, Sheet, colour, escape, line_options, mark_options, plain};
use crate::fit::law_text;
use crate::palette::look;
use crate::spread::{outline, quartiles};

impl Sheet<'_> {
    /// What a panel draws, in order.
    pub(super) fn plots(&self, facet: &Facet) -> Vec<Plot> {
        match self.chart.kind {
            ChartKind::Line | ChartKind::Profile | ChartKind::Fit => self.lines(facet),
            ChartKind::Scaling => self.scaling(facet),
            ChartKind::Scatter | ChartKind::Pareto => self.points(facet),
            ChartKind::Bar => self.bars(facet),
            ChartKind::Box | ChartKind::Violin => self.spreads(facet),
            ChartKind::Histogram => self.steps(facet),
            // The matrix of a heat map is a plot of its own.
            ChartKind::Heat => Vec::new(),
        }
    }

    fn x(&self, place: &Place) -> f64 {
        match place {
            Place::Number(number) => number / self.x_scale.divisor,
            Place::Category(name) => self.category(name),
        }
    }

    fn y(&self, value: f64) -> f64 {
        value / self.y_scale.divisor
    }

    /// A point with its intervals.
    fn row(&self, point: &Point) -> Row {
        let (x, y) = (self.x(&point.x), self.y(point.y));
        let mut row = Row::at(x, y);
        if let Some((low, high)) = point.interval {
            row.y_error = (y - self.y(low), self.y(high) - y);
        }
        if let Some((low, high)) = point.reach {
            row.x_error = (x - low / self.x_scale.divisor, high / self.x_scale.divisor - x);
        }
        row
    }

    fn legend(&self, series: &Series) -> Option<String> {
        (self.names.len() > 1 || !series.name.is_empty()).then(|| escape(&series.name)).filter(|name| !name.is_empty())
    }

    fn band(&self, series: &Series, points: &[Point]) -> Option<Plot> {
        let index = self.number(&series.name);
        let ends: Vec<(f64, (f64, f64))> =
            points.iter().filter_map(|point| Some((self.x(&point.x), point.interval?))).collect();
        let upper = ends.iter().map(|(x, (_, high))| Row::at(*x, self.y(*high)));
        let lower = ends.iter().rev().map(|(x, (low, _))| Row::at(*x, self.y(*low)));
        let mut rows: Vec<Row> = upper.chain(lower).collect();
        rows.extend(rows.first().copied());
        (ends.len() > 1).then(|| Plot {
            about: format!("{}: the band of intervals", series.name),
            options: format!("draw=none, fill={}, fill opacity=0.16", colour(index)),
            rows,
            errors: (false, false),
            legend: None,
        })
    }

    fn lines(&self, facet: &Facet) -> Vec<Plot> {
        let fits = self.chart.kind == ChartKind::Fit;
        let mut all = Vec::new();
        for series in &facet.series {
            all.extend(self.band(series, series.law.as_ref().map_or(&series.points, |law| &law.curve)));
        }
        for series in facet.series.iter().filter(|series| !series.points.is_empty()) {
            let index = self.number(&series.name);
            let mut options = line_options(index, &self.style);
            let legend = match (&series.law, self.legend(series)) {
                (Some(law), Some(name)) => Some(format!("{name}: {}", math(&law_text(law)))),
                (Some(law), None) => Some(math(&law_text(law))),
                (None, name) => name,
            };
            if let Some(law) = &series.law {
                all.push(Plot {
                    about: format!("{}: the law", series.name),
                    options: format!("{options}, mark=none"),
                    rows: law.curve.iter().map(|point| Row::at(self.x(&point.x), self.y(point.y))).collect(),
                    errors: (false, false),
                    legend: None,
                });
            }
            if fits {
                options += ", only marks";
            } else if series.points.len() > 12 {
                options += &format!(", mark repeat={}", series.points.len().div_ceil(12));
            }
            let bars =
                self.chart.kind != ChartKind::Profile && series.points.iter().any(|point| point.interval.is_some());
            all.push(Plot {
                about: series.name.clone(),
                options,
                rows: series.points.iter().map(|point| self.row(point)).collect(),
                errors: (false, bars),
                legend,
            });
        }
        all
    }

    /// Measured points joined where nothing between them is missing, and the fitted curves.
    fn scaling(&self, facet: &Facet) -> Vec<Plot> {
        let mut all = Vec::new();
        for series in facet.series.iter().filter(|series| !series.points.is_empty()) {
            let index = self.number(&series.name);
            let bars = series.points.iter().any(|point| point.interval.is_some());
            all.push(Plot {
                about: format!("{}: the fitted curve", series.name),
                options: format!("{}, densely dotted, mark=none", line_options(index, &self.style)),
                rows: series.fitted.iter().map(|point| Row::at(self.x(&point.x), self.y(point.y))).collect(),
                errors: (false, false),
                legend: None,
            });
            let pieces = series.points.split_inclusive(|point| point.gap);
            for (number, piece) in pieces.enumerate() {
                all.push(Plot {
                    about: series.name.clone(),
                    options: line_options(index, &self.style),
                    rows: piece.iter().map(|point| self.row(point)).collect(),
                    errors: (false, bars),
                    legend: self.legend(series).filter(|_| number == 0),
                });
            }
        }
        all
    }

    fn points(&self, facet: &Facet) -> Vec<Plot> {
        let mut all = Vec::new();
        if self.chart.kind == ChartKind::Pareto {
            let best = facet.series.iter().flat_map(|series| &series.points).filter(|point| !point.dominated);
            let mut rows: Vec<Row> = best.map(|point| Row::at(self.x(&point.x), self.y(point.y))).collect();
            rows.sort_by(|a, b| a.x.total_cmp(&b.x).then(b.y.total_cmp(&a.y)));
            let steps = if self.chart.x.direction == harness_core::Direction::Higher {
                "const plot mark right"
            } else {
                "const plot"
            };
            all.push(Plot {
                about: "the points that no other beats".to_owned(),
                options: format!("harnessmuted, {steps}, mark=none"),
                rows,
                errors: (false, false),
                legend: Some("Pareto front".to_owned()),
            });
        }
        for series in &facet.series {
            let index = self.number(&series.name);
            for faded in [true, false] {
                let points: Vec<&Point> = series.points.iter().filter(|point| point.dominated == faded).collect();
                if points.is_empty() {
                    continue;
                }
                let ink = if faded { format!("{}!38", colour(index)) } else { colour(index) };
                let has = |of: fn(&Point) -> Option<(f64, f64)>| points.iter().any(|point| of(point).is_some());
                all.push(Plot {
                    about: format!("{}{}", series.name, if faded { ": beaten points" } else { "" }),
                    options: format!("only marks, {ink}, {}", mark_options(look(index).mark, &self.style)),
                    rows: points.iter().map(|point| self.row(point)).collect(),
                    errors: (has(|point| point.reach), has(|point| point.interval)),
                    // A series of beaten points only must be named as well.
                    legend: if faded && series.points.iter().any(|point| !point.dominated) {
                        None
                    } else {
                        self.legend(series)
                    },
                });
            }
        }
        all
    }

    fn bars(&self, facet: &Facet) -> Vec<Plot> {
        // Bars of one category stand side by side in the order of their series, so every series has its plot. They are
        // stacked from below while the axis runs downwards, so the last comes first. Their places are told, because the
        // ones without a place in the legend are not counted.
        let middle = (self.names.len() as f64 - 1.0) / 2.0;
        let plot = |(place, name): (usize, &&str)| {
            let index = self.number(name);
            let series = facet.series.iter().filter(|series| series.name == **name);
            let points: Vec<&Point> = series.flat_map(|series| &series.points).collect();
            let rows = points.iter().map(|point| {
                let upright = self.row(point);
                Row { x: upright.y, y: upright.x, x_error: upright.y_error, y_error: upright.x_error }
            });
            Plot {
                about: (*name).to_owned(),
                options: format!(
                    "draw=none, fill={}, /pgf/bar shift={{{}*(\\pgfplotbarwidth+2pt)}}",
                    colour(index),
                    plain(place as f64 - middle)
                ),
                errors: (points.iter().any(|point| point.interval.is_some()), false),
                rows: rows.collect(),
                legend: (self.names.len() > 1).then(|| escape(name)),
            }
        };
        self.names.iter().rev().enumerate().map(plot).collect()
    }

    fn spreads(&self, facet: &Facet) -> Vec<Plot> {
        let mut all = Vec::new();
        let count = self.names.len().max(1) as f64;
        let half = 0.36 / count;
        for series in &facet.series {
            let index = self.number(&series.name);
            let ink = colour(index);
            let mut legend = self.legend(series).filter(|_| self.names.len() > 1);
            for point in &series.points {
                let Some(found) = quartiles(&point.samples) else { continue };
                let middle = self.x(&point.x) + (index as f64 - (count - 1.0) / 2.0) * 0.8 / count;
                let at = |value: f64, y: f64| Row::at(self.y(value), middle + half * y);
                let mut push = |what: &str, options: String, rows: Vec<Row>, legend: Option<String>| {
                    let about = format!("{} {}: {what}", series.name, name(&point.x));
                    all.push(Plot { about, options, rows, errors: (false, false), legend });
                };
                if self.chart.kind == ChartKind::Violin {
                    let points = outline(&point.samples, self.log_y).unwrap_or_default();
                    let highest = points.iter().map(|(_, height)| *height).fold(f64::MIN_POSITIVE, f64::max);
                    let upper = points.iter().map(|(value, height)| at(*value, height / highest));
                    let lower = points.iter().rev().map(|(value, height)| at(*value, -height / highest));
                    let mut rows: Vec<Row> = upper.chain(lower).collect();
                    rows.extend(rows.first().copied());
                    push(
                        "density",
                        format!("area legend, draw={ink}, fill={ink}, fill opacity=0.32"),
                        rows,
                        legend.take(),
                    );
                    let quarters = vec![at(found.lower, 0.0), at(found.upper, 0.0)];
                    push("quartiles", "black, line width=1.6pt, mark=none".to_owned(), quarters, None);
                    let median = "only marks, mark=*, mark size=1.4pt, mark options={draw=black, fill=white}";
                    push("median", median.to_owned(), vec![at(found.median, 0.0)], None);
                } else {
                    let line = format!("{ink}, mark=none");
                    push("lower whisker", line.clone(), vec![at(found.whiskers.0, 0.0), at(found.lower, 0.0)], None);
                    push("upper whisker", line, vec![at(found.upper, 0.0), at(found.whiskers.1, 0.0)], None);
                    let (low, high) = (found.lower, found.upper);
                    let corners = vec![at(low, -1.0), at(high, -1.0), at(high, 1.0), at(low, 1.0), at(low, -1.0)];
                    push("quartiles", format!("area legend, draw={ink}, fill={ink}!28"), corners, legend.take());
                    let median = vec![at(found.median, -1.0), at(found.median, 1.0)];
                    push("median", "black, line width=1pt, mark=none".to_owned(), median, None);
                    let beyond: Vec<Row> = found.outliers.iter().map(|value| at(*value, 0.0)).collect();
                    if !beyond.is_empty() {
                        push("outliers", format!("only marks, mark=*, mark size=0.8pt, {ink}"), beyond, None);
                    }
                }
            }
        }
        all
    }

    fn steps(&self, facet: &Facet) -> Vec<Plot> {
        let plot = |series: &Series| {
            let index = self.number(&series.name);
            let edges = series.points.iter().filter_map(|point| Some((point.reach?, point.y)));
            let mut rows: Vec<Row> =
                edges.map(|((low, _), count)| Row::at(low / self.x_scale.divisor, count)).collect();
            if let Some((_, high)) = series.points.last().and_then(|point| point.reach) {
                rows.push(Row::at(high / self.x_scale.divisor, 0.0));
            }
            Plot {
                about: series.name.clone(),
                options: format!(
                    "{}, const plot, mark=none, fill={}, fill opacity=0.16",
                    line_options(index, &self.style),
                    colour(index)
                ),
                rows,
                errors: (false, false),
                legend: self.legend(series),
            }
        };
        facet.series.iter().filter(|series| !series.points.is_empty()).map(plot).collect()
    }
}

fn name(place: &Place) -> String {
    match place {
        Place::Number(number) => number.to_string(),
        Place::Category(name) => name.clone(),
    }
}

/// A law with its exponent raised: `34·x^−0.31 [−0.32, −0.30]`.
fn math(law: &str) -> String {
    let Some((power, rest)) = law.split_once("x^") else { return escape(law) };
    let (exponent, interval) = rest.split_once(' ').unwrap_or((rest, ""));
    let space = if interval.is_empty() { "" } else { " " };
    format!("{}$x^{{{}}}${space}{}", escape(power), exponent.replace('−', "-"), escape(interval))
}
