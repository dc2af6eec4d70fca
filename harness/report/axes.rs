//! Two axes that all panels of a chart share: x along a range or over categories, y upwards.

use harness_core::chart::{Chart, ChartKind, Facet, Place, Point};

use crate::frame::{Frame, REFERENCE, axis_text};
use crate::letters::{self, Weight};
use crate::number::{Scale, format_value};
use crate::palette::{GRID, INK, Look, MUTED, look};
use crate::place::Area;
use crate::scene::{Align, Scene, Spot};
use crate::style::Style;
use crate::ticks::Range;

/// The axes of a chart.
pub struct Axes<'a> {
    pub chart: &'a Chart,
    categories: Vec<&'a str>,
    names: Vec<&'a str>,
    x: Range,
    pub y: Range,
    pub y_scale: Scale,
    x_scale: Scale,
    style: Style,
    /// Places on x that points stand at, ascending, for ticks.
    own: Vec<f64>,
}

/// The plot of one panel.
pub struct Plot<'a> {
    pub axes: &'a Axes<'a>,
    pub area: Area,
}

impl<'a> Axes<'a> {
    pub fn new(chart: &'a Chart, style: Style) -> Self {
        let categories = chart.categories();
        let curve = || {
            let laws = chart.series().filter_map(|series| series.law.as_ref()).flat_map(|law| &law.curve);
            laws.chain(chart.series().flat_map(|series| &series.fitted))
        };
        let ys = chart.points().chain(curve()).flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [point.y, low, high]
        });
        let references = chart.facets.iter().flat_map(|facet| &facet.references).map(|reference| reference.y);
        let counts = chart.kind == ChartKind::Histogram;
        let zero = (counts && !chart.y.log).then_some(0.0);
        let positive = |value: &f64| !counts || !chart.y.log || *value > 0.0;
        let y = Range::around(ys.chain(references).chain(zero).filter(positive), chart.y.log, 0.07);
        // The marks of failed cells stand below everything that has a value.
        let y = if chart.failed() > 0 && !counts { y.lowered(0.06) } else { y };
        let failed = chart.series().flat_map(|series| &series.failed).filter_map(|failed| failed.x.as_ref());
        let number = |place: &Place| if let Place::Number(number) = place { Some(*number) } else { None };
        let points = chart.points().chain(curve()).filter_map(|point| number(&point.x));
        let reaches = chart.points().filter_map(|point| point.reach).flat_map(|(low, high)| [low, high]);
        let xs = points.chain(failed.clone().filter_map(number)).chain(reaches);
        let x = if categories.is_empty() {
            Range::around(xs, chart.x.log, if counts { 0.01 } else { 0.05 })
        } else {
            Range { low: 0.0, high: categories.len() as f64, log: false }
        };
        let largest = |range: &Range| range.low.abs().max(range.high.abs());
        let mut own: Vec<f64> = chart.points().map(|point| &point.x).chain(failed).filter_map(number).collect();
        own.sort_by(f64::total_cmp);
        own.dedup_by(|a, b| (x.share(*a) - x.share(*b)).abs() < 1e-9);
        Self {
            chart,
            categories,
            names: chart.series_names(),
            y_scale: Scale::fit(&chart.y.unit, largest(&y)),
            x_scale: Scale::fit(&chart.x.unit, largest(&x)),
            x,
            y,
            style,
            own,
        }
    }

    /// The words above the plots.
    pub fn caption(&self) -> String {
        axis_text(&self.chart.y, &self.y_scale, self.y.log)
    }

    /// The look of a series.
    pub fn look(&self, name: &str) -> Look {
        look(self.names.iter().position(|other| *other == name).unwrap_or_default())
    }

    fn x_share(&self, place: &Place) -> Option<f64> {
        match place {
            Place::Number(number) if self.categories.is_empty() => Some(self.x.share(*number)),
            Place::Number(_) => None,
            Place::Category(name) => {
                let index = self.categories.iter().position(|other| other == name)?;
                Some((index as f64 + 0.5) / self.categories.len() as f64)
            }
        }
    }

    fn y_ticks(&self, height: f64) -> Vec<(f64, String)> {
        let over = self.y_scale.divisor;
        let range = Range { low: self.y.low / over, high: self.y.high / over, log: self.y.log };
        let count = (height / self.style.u(44.0)).clamp(2.0, 6.0) as usize;
        let ticks = range.ticks(count).into_iter().map(|(value, text)| (value * over, text));
        // Labels must not touch: a narrow panel keeps every second, and so on.
        let mut kept: Vec<(f64, String)> = Vec::new();
        for (value, text) in ticks {
            let apart = |last: &f64| (self.y.share(value) - self.y.share(*last)) * height > self.style.small() * 1.15;
            if kept.last().is_none_or(|(last, _)| apart(last)) {
                kept.push((value, text));
            }
        }
        kept
    }

    /// Ticks of x: the measured places themselves where they are few and apart, round numbers otherwise.
    fn x_ticks(&self, width: f64) -> Vec<(f64, String)> {
        let small = self.style.small();
        let wide = |text: &str| letters::width(text, small, Weight::Regular);
        if !self.categories.is_empty() {
            let count = self.categories.len() as f64;
            let room = (width / count - self.style.u(6.0)).max(self.style.u(14.0));
            let cut = |name: &str| letters::fit(name, small, Weight::Regular, room);
            return self.categories.iter().enumerate().map(|(i, name)| ((i as f64 + 0.5) / count, cut(name))).collect();
        }
        let over = self.x_scale.divisor;
        let label = |value: f64| {
            let text = format_value(value / over);
            let short = text.trim_end_matches('0');
            if text.contains('.') { short.trim_end_matches('.').to_owned() } else { text }
        };
        if matches!(self.chart.kind, ChartKind::Line | ChartKind::Profile | ChartKind::Fit) && self.own.len() <= 9 {
            let texts: Vec<(f64, String)> =
                self.own.iter().map(|value| (self.x.share(*value), label(*value))).collect();
            let apart = texts.windows(2).all(|pair| {
                let room = (pair[1].0 - pair[0].0) * width;
                room > f64::midpoint(wide(&pair[0].1), wide(&pair[1].1)) + self.style.u(8.0)
            });
            if apart {
                return texts;
            }
        }
        let range = Range { low: self.x.low / over, high: self.x.high / over, log: self.x.log };
        let count = (width / self.style.u(90.0)).floor().max(2.0) as usize;
        let ticks = range.ticks(count).into_iter().map(|(value, text)| (range.share(value), text));
        // Layers and the like are whole; so are their ticks.
        let whole = self.chart.kind == ChartKind::Profile && self.own.iter().all(|place| place.fract() == 0.0);
        let ticks = ticks.filter(|(_, text)| !whole || text.parse::<f64>().is_ok_and(|value| value.fract() == 0.0));
        let mut kept: Vec<(f64, String)> = Vec::new();
        for (share, text) in ticks {
            let text = if whole { text.split('.').next().unwrap_or_default().to_owned() } else { text };
            let free = kept.last().is_none_or(|(last, other)| {
                (share - last) * width > f64::midpoint(wide(&text), wide(other)) + self.style.u(6.0)
            });
            if free {
                kept.push((share, text));
            }
        }
        kept
    }

    /// Draws grid, ticks, captions and reference lines of a panel; `margin` is kept free at its right.
    pub fn draw(&self, scene: &mut Scene, facet: &Facet, panel: &Area, margin: f64) -> Plot<'_> {
        let style = &self.style;
        let u = |length: f64| style.u(length);
        let head = if facet.title.is_empty() { u(4.0) } else { u(20.0) };
        let (top, bottom) = (panel.top + head, panel.bottom - u(38.0));
        let ticks = self.y_ticks(bottom - top);
        let widest = ticks.iter().map(|(_, text)| letters::width(text, style.small(), Weight::Regular));
        let left = panel.left + widest.fold(0.0, f64::max) + u(10.0);
        // The last tick label may reach over the edge of the plot.
        let right = panel.right - margin.max(u(6.0));
        let area = Area { left, top, right, bottom };
        if !facet.title.is_empty() {
            let title = letters::fit(&facet.title, style.text(), Weight::Bold, panel.width());
            scene.text(&title, (area.left, panel.top + u(7.0)), Align::Left, style.text(), Weight::Bold, INK);
        }
        let plot = Plot { axes: self, area };
        for (value, text) in &ticks {
            let y = plot.height(*value);
            scene.line(&[(area.left, y), (area.right, y)], GRID, u(0.8));
            scene.text(text, (area.left - u(7.0), y), Align::Right, style.small(), Weight::Regular, MUTED);
        }
        scene.line(&[(area.left, area.bottom), (area.right, area.bottom)], INK, u(0.9));
        for (share, text) in self.x_ticks(area.width()) {
            let x = area.left + share * area.width();
            scene.line(&[(x, area.bottom), (x, area.bottom + u(4.0))], INK, u(0.9));
            // A label at the right end leans in rather than over the edge.
            let half = letters::width(&text, style.small(), Weight::Regular) / 2.0;
            let x = if margin > 0.0 { x } else { x.min(panel.right - half) };
            scene.text(&text, (x, area.bottom + u(13.0)), Align::Centre, style.small(), Weight::Regular, MUTED);
        }
        let caption = axis_text(&self.chart.x, &self.x_scale, self.x.log && self.categories.is_empty());
        let caption = letters::fit(&caption, style.text(), Weight::Regular, panel.width());
        let half = letters::width(&caption, style.text(), Weight::Regular) / 2.0;
        let middle =
            f64::midpoint(area.left, area.right).clamp(panel.left + half, (panel.right - half).max(panel.left + half));
        scene.text(&caption, (middle, area.bottom + u(29.0)), Align::Centre, style.text(), Weight::Regular, MUTED);
        for reference in &facet.references {
            let y = plot.height(reference.y);
            scene.dashed(&[(area.left, y), (area.right, y)], REFERENCE, MUTED, u(1.2));
        }
        plot
    }
}

impl Plot<'_> {
    /// Where a value lies from the top of the drawing, kept inside the plot.
    pub fn height(&self, value: f64) -> f64 {
        let y = self.area.bottom - self.axes.y.share(value) * self.area.height();
        y.clamp(self.area.top, self.area.bottom)
    }

    /// Where a place on x lies.
    pub fn across(&self, place: &Place) -> Option<f64> {
        self.axes.x_share(place).map(|share| self.area.left + share.clamp(0.0, 1.0) * self.area.width())
    }

    /// Where a point lies; `None` where it has no place on the axes.
    pub fn spot(&self, point: &Point) -> Option<Spot> {
        Some((self.across(&point.x)?, self.height(point.y)))
    }

    /// Interval and reach of a point as error bars.
    pub fn error_bars(&self, scene: &mut Scene, point: &Point, look: Look, style: &Style) {
        let Some((x, y)) = self.spot(point) else { return };
        if let Some((low, high)) = point.interval {
            scene.error_bar(x, (self.height(low), self.height(high)), true, Some(look.colour), style.u(1.2));
        }
        if let Some((low, high)) = point.reach
            && let (Some(low), Some(high)) = (self.across(&Place::Number(low)), self.across(&Place::Number(high)))
        {
            scene.error_bar(y, (low, high), false, Some(look.colour), style.u(1.2));
        }
    }

    /// The band of intervals behind points in order of x.
    pub fn band<'p>(&self, scene: &mut Scene, points: impl Iterator<Item = &'p Point>, look: Look) {
        let ends: Vec<(f64, (f64, f64))> =
            points.filter_map(|point| Some((self.spot(point)?.0, point.interval?))).collect();
        if ends.len() > 1 {
            let upper = ends.iter().map(|(x, (_, high))| (*x, self.height(*high)));
            let lower = ends.iter().rev().map(|(x, (low, _))| (*x, self.height(*low)));
            scene.polygon(&upper.chain(lower).collect::<Vec<_>>(), look.colour, 0.16);
        }
    }

    /// Crosses at the foot of the plot for cells that failed, side by side where they share a place.
    pub fn failures(&self, scene: &mut Scene, facet: &Facet, style: &Style) {
        let mut crosses: Vec<f64> = Vec::new();
        for series in &facet.series {
            let look = self.axes.look(&series.name);
            for place in series.failed.iter().filter_map(|failed| failed.x.as_ref()) {
                let Some(mut x) = self.across(place) else { continue };
                while crosses.iter().any(|other| (other - x).abs() < style.u(9.0)) {
                    x += style.u(9.5);
                }
                crosses.push(x);
                scene.cross((x, self.area.bottom - style.u(9.0)), look.colour);
            }
        }
    }
}

/// The frame of a chart with such axes.
pub fn frame(axes: &Axes, style: Style, direct: bool) -> Frame {
    let low = style.u(if style.titled { 240.0 } else { 205.0 });
    let height = move |width: f64| (width * 0.62).clamp(low, style.u(380.0));
    let wish = crate::frame::Wish { direct, columns: 3, height: &height, caption: axes.caption(), extra: 0.0 };
    Frame::new(axes.chart, style, &wish)
}
