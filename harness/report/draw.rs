//! Charts with two numeric axes, and the files all charts become.

use harness_core::chart::{Chart, ChartKind, Facet, Place, Point};
use plotters::prelude::{BitMapBackend, SVGBackend};
use plotters_backend::DrawingBackend;

use crate::bars;
use crate::canvas::{Align, Canvas, DrawError, Lettering};
use crate::frame::{Frame, Key, REFERENCE, SMALL, TEXT, axis_text, keys};
use crate::letters::{self, Weight};
use crate::number::{Scale, format_value};
use crate::palette::{GRID, INK, Look, MUTED, PAPER, look};
use crate::place::{Area, beside, spread};
use crate::ticks::Range;

/// Pixels of the vector backend to one of ours: its coordinates are whole numbers.
const FINE: f64 = 10.0;
/// Pixels of the finished bitmap to one of ours, and how many samples each has along a side.
const DENSE: u32 = 2;
const SAMPLES: u32 = 3;

/// The chart as SVG text.
///
/// # Errors
/// When the backend fails, which it does not in memory.
pub fn svg(chart: &Chart) -> Result<String, DrawError> {
    let chart = clean(chart);
    let plot = Plot::new(&chart);
    let (width, height) = plot.size();
    let mut text = String::new();
    {
        let size = ((width * FINE) as u32, (height * FINE) as u32);
        let mut canvas = Canvas::new(SVGBackend::with_string(&mut text, size), FINE, Lettering::Elements);
        plot.draw(&mut canvas)?;
        canvas.backend.present().map_err(|error| DrawError(error.to_string()))?;
    }
    let body = text.find('>').map_or("", |end| &text[end + 1..]);
    let body = body
        .replace("font-family=\"Inter\"", "font-family=\"Inter, 'Helvetica Neue', Arial, sans-serif\"")
        .replace("font-weight=\"bold\"", "font-weight=\"600\"");
    let title = escape(&chart.title);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
         role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>{body}",
        width * FINE,
        height * FINE
    ))
}

/// The chart as the bytes of a PNG file, two pixels to one.
///
/// # Errors
/// When the backend fails, which it does not in memory.
pub fn png(chart: &Chart) -> Result<Vec<u8>, DrawError> {
    let chart = clean(chart);
    let plot = Plot::new(&chart);
    let (width, height) = plot.size();
    let factor = DENSE * SAMPLES;
    let (wide, high) = (width as u32 * factor, height as u32 * factor);
    let mut pixels = vec![0xFF; wide as usize * high as usize * 3];
    {
        let backend = BitMapBackend::with_buffer(&mut pixels, (wide, high));
        let mut canvas = Canvas::new(backend, f64::from(factor), Lettering::Pixels);
        plot.draw(&mut canvas)?;
        canvas.backend.present().map_err(|error| DrawError(error.to_string()))?;
    }
    let (columns, rows) = ((wide / SAMPLES) as usize, (high / SAMPLES) as usize);
    let samples = SAMPLES as usize;
    let mut small = Vec::with_capacity(columns * rows * 3);
    for row in 0..rows {
        for column in 0..columns {
            for channel in 0..3 {
                let place =
                    |dy: usize, dx: usize| ((row * samples + dy) * wide as usize + column * samples + dx) * 3 + channel;
                let sum: u32 = (0..samples * samples).map(|i| u32::from(pixels[place(i / samples, i % samples)])).sum();
                small.push(((sum + SAMPLES * SAMPLES / 2) / (SAMPLES * SAMPLES)) as u8);
            }
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, columns as u32, rows as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let failed = |error: png::EncodingError| DrawError(error.to_string());
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&small).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Without signs that XML does not allow, and without numbers that are none.
fn clean(chart: &Chart) -> Chart {
    let plain =
        |text: &str| -> String { text.chars().map(|sign| if sign.is_control() { '\u{FFFD}' } else { sign }).collect() };
    let place = |place: &mut Place| match place {
        Place::Category(name) => *name = plain(name),
        Place::Number(_) => {}
    };
    let finite = |place: &Place| !matches!(place, Place::Number(number) if !number.is_finite());
    let mut chart = chart.clone();
    for text in [&mut chart.title, &mut chart.x.label, &mut chart.y.label, &mut chart.x.unit, &mut chart.y.unit] {
        *text = plain(text);
    }
    chart.note = chart.note.as_deref().map(plain);
    for facet in &mut chart.facets {
        facet.title = plain(&facet.title);
        facet.references.retain(|reference| reference.y.is_finite());
        facet.references.iter_mut().for_each(|reference| reference.label = plain(&reference.label));
        for series in &mut facet.series {
            series.name = plain(&series.name);
            series.points.retain(|point| point.y.is_finite() && finite(&point.x));
            for point in &mut series.points {
                place(&mut point.x);
                point.label = point.label.as_deref().map(plain);
                point.interval = point.interval.filter(|(low, high)| low.is_finite() && high.is_finite());
            }
            series.failed.iter_mut().filter_map(|failed| failed.x.as_mut()).for_each(place);
            series.failed.iter_mut().for_each(|failed| failed.x = failed.x.take().filter(finite));
        }
    }
    chart
}

/// A laid-out chart.
enum Plot<'a> {
    Bars(bars::Bars<'a>),
    Points(Points<'a>),
}

impl<'a> Plot<'a> {
    fn new(chart: &'a Chart) -> Self {
        match chart.kind {
            ChartKind::Bar => Self::Bars(bars::Bars::new(chart)),
            ChartKind::Line | ChartKind::Scatter => Self::Points(Points::new(chart)),
        }
    }

    fn size(&self) -> (f64, f64) {
        let frame = match self {
            Self::Bars(bars) => &bars.frame,
            Self::Points(points) => &points.frame,
        };
        (frame.width, frame.height)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &mut Canvas<B>) -> Result<(), DrawError> {
        match self {
            Self::Bars(bars) => bars.draw(canvas),
            Self::Points(points) => points.draw(canvas),
        }
    }
}

/// Lines and clouds of points.
struct Points<'a> {
    chart: &'a Chart,
    frame: Frame,
    categories: Vec<&'a str>,
    x: Range,
    y: Range,
    y_scale: Scale,
    x_scale: Scale,
    /// Width of the labels right of the lines; zero when a legend names them.
    margin: f64,
}

impl<'a> Points<'a> {
    fn new(chart: &'a Chart) -> Self {
        let points = || chart.facets.iter().flat_map(|facet| &facet.series).flat_map(|series| &series.points);
        let categories = chart.categories();
        let ys = points().flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [point.y, low, high]
        });
        let references = chart.facets.iter().flat_map(|facet| &facet.references).map(|reference| reference.y);
        let y = Range::around(ys.chain(references), chart.y.log, 0.07);
        // The marks of failed cells stand below everything that has a value.
        let y = if chart.failed() > 0 { y.lowered(0.06) } else { y };
        let failed = chart.facets.iter().flat_map(|facet| &facet.series).flat_map(|series| &series.failed);
        let xs = points().map(|point| &point.x).chain(failed.filter_map(|failed| failed.x.as_ref()));
        let numbers = xs.filter_map(|place| match place {
            Place::Number(number) => Some(*number),
            Place::Category(_) => None,
        });
        let x = if categories.is_empty() {
            Range::around(numbers, chart.x.log, 0.05)
        } else {
            Range { low: 0.0, high: categories.len() as f64, log: false }
        };
        let largest = |range: &Range| range.low.abs().max(range.high.abs());
        let y_scale = Scale::fit(&chart.y.unit, largest(&y));
        let x_scale = Scale::fit(&chart.x.unit, largest(&x));
        let widest =
            keys(chart).iter().map(|key| letters::width(&key.text(), TEXT, Weight::Regular)).fold(0.0, f64::max);
        let direct =
            chart.kind == ChartKind::Line && chart.facets.len() == 1 && keys(chart).len() <= 12 && widest < 230.0;
        let margin = if direct { widest + 26.0 } else { 0.0 };
        let caption = axis_text(&chart.y, &y_scale);
        let height = |width: f64| (width * 0.62).clamp(240.0, 380.0);
        let frame = Frame::new(chart, direct, height, caption);
        Self { chart, frame, categories, x, y, y_scale, x_scale, margin }
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

    fn draw<B: DrawingBackend>(&self, canvas: &mut Canvas<B>) -> Result<(), DrawError> {
        self.frame.draw(canvas)?;
        for (facet, panel) in self.chart.facets.iter().zip(&self.frame.panels) {
            self.draw_panel(canvas, facet, panel)?;
        }
        Ok(())
    }

    fn y_ticks(&self) -> Vec<(f64, String)> {
        let over = self.y_scale.divisor;
        let range = Range { low: self.y.low / over, high: self.y.high / over, log: self.y.log };
        range.ticks(5).into_iter().map(|(value, text)| (value * over, text)).collect()
    }

    /// Ticks of x: the measured places themselves where they are few and apart, round numbers otherwise.
    fn x_ticks(&self, width: f64) -> Vec<(f64, String)> {
        if !self.categories.is_empty() {
            let room = width / self.categories.len() as f64 - 6.0;
            let count = self.categories.len() as f64;
            let cut = |name: &str| letters::fit(name, SMALL, Weight::Regular, room.max(14.0));
            return self.categories.iter().enumerate().map(|(i, name)| ((i as f64 + 0.5) / count, cut(name))).collect();
        }
        let over = self.x_scale.divisor;
        let points = self.chart.facets.iter().flat_map(|facet| &facet.series).flat_map(|series| {
            series
                .points
                .iter()
                .map(|point| &point.x)
                .chain(series.failed.iter().filter_map(|failed| failed.x.as_ref()))
        });
        let mut own: Vec<f64> =
            points.filter_map(|place| if let Place::Number(number) = place { Some(*number) } else { None }).collect();
        own.sort_by(f64::total_cmp);
        own.dedup_by(|a, b| (self.x.share(*a) - self.x.share(*b)).abs() < 1e-9);
        let label = |value: f64| {
            let text = format_value(value / over);
            let short = text.trim_end_matches('0');
            if text.contains('.') { short.trim_end_matches('.').to_owned() } else { text }
        };
        let texts: Vec<(f64, String)> = own.iter().map(|value| (self.x.share(*value), label(*value))).collect();
        let apart = texts.windows(2).all(|pair| {
            let room = (pair[1].0 - pair[0].0) * width;
            let wide = |text: &str| letters::width(text, SMALL, Weight::Regular);
            room > f64::midpoint(wide(&pair[0].1), wide(&pair[1].1)) + 8.0
        });
        if texts.len() <= 9 && apart && self.chart.kind == ChartKind::Line {
            return texts;
        }
        let range = Range { low: self.x.low / over, high: self.x.high / over, log: self.x.log };
        let count = (width / 90.0).floor().max(2.0) as usize;
        let ticks: Vec<(f64, String)> =
            range.ticks(count).into_iter().map(|(value, text)| (range.share(value), text)).collect();
        let mut kept: Vec<(f64, String)> = Vec::new();
        for (share, text) in ticks {
            let half = |text: &str| letters::width(text, SMALL, Weight::Regular) / 2.0;
            let free = kept.last().is_none_or(|(last, other)| (share - last) * width > half(&text) + half(other) + 6.0);
            if free {
                kept.push((share, text));
            }
        }
        kept
    }

    fn draw_panel<B: DrawingBackend>(
        &self,
        canvas: &mut Canvas<B>,
        facet: &Facet,
        panel: &Area,
    ) -> Result<(), DrawError> {
        let ticks = self.y_ticks();
        let left =
            ticks.iter().map(|(_, text)| letters::width(text, SMALL, Weight::Regular)).fold(0.0, f64::max) + 10.0;
        let head = if facet.title.is_empty() { 4.0 } else { 20.0 };
        let plot = Area {
            left: panel.left + left,
            top: panel.top + head,
            right: panel.right - self.margin,
            bottom: panel.bottom - 38.0,
        };
        if !facet.title.is_empty() {
            let title = letters::fit(&facet.title, TEXT, Weight::Bold, panel.width());
            canvas.text(&title, (plot.left, panel.top + 7.0), Align::Left, TEXT, Weight::Bold, INK)?;
        }
        let y_at = |value: f64| plot.bottom - self.y.share(value) * plot.height();
        let x_at = |share: f64| plot.left + share * plot.width();
        for (value, text) in &ticks {
            let y = y_at(*value);
            canvas.line(&[(plot.left, y), (plot.right, y)], GRID, 0.8)?;
            canvas.text(text, (plot.left - 7.0, y), Align::Right, SMALL, Weight::Regular, MUTED)?;
        }
        canvas.line(&[(plot.left, plot.bottom), (plot.right, plot.bottom)], INK, 0.9)?;
        for (share, text) in self.x_ticks(plot.width()) {
            let x = x_at(share);
            canvas.line(&[(x, plot.bottom), (x, plot.bottom + 4.0)], INK, 0.9)?;
            canvas.text(&text, (x, plot.bottom + 13.0), Align::Centre, SMALL, Weight::Regular, MUTED)?;
        }
        let caption = letters::fit(&axis_text(&self.chart.x, &self.x_scale), TEXT, Weight::Regular, plot.width());
        let middle = (f64::midpoint(plot.left, plot.right), plot.bottom + 29.0);
        canvas.text(&caption, middle, Align::Centre, TEXT, Weight::Regular, MUTED)?;
        for reference in &facet.references {
            let y = y_at(reference.y);
            canvas.dashed(&[(plot.left, y), (plot.right, y)], REFERENCE, MUTED, 1.2)?;
        }
        self.draw_series(canvas, facet, &plot)?;
        if self.margin > 0.0 {
            self.draw_direct(canvas, facet, &plot)?;
        }
        Ok(())
    }

    fn draw_series<B: DrawingBackend>(
        &self,
        canvas: &mut Canvas<B>,
        facet: &Facet,
        plot: &Area,
    ) -> Result<(), DrawError> {
        let names = self.chart.series_names();
        let at = |point: &Point| {
            let share = self.x_share(&point.x)?;
            Some((plot.left + share * plot.width(), plot.bottom - self.y.share(point.y) * plot.height()))
        };
        let height = |value: f64| (plot.bottom - self.y.share(value) * plot.height()).clamp(plot.top, plot.bottom);
        let styled = || {
            facet
                .series
                .iter()
                .map(|series| (series, look(names.iter().position(|name| *name == series.name).unwrap_or_default())))
        };
        let joined = self.chart.kind == ChartKind::Line;
        // Bands first, then lines, then marks: nothing that is read lies under something that is only seen.
        for (series, look) in styled().filter(|(series, _)| joined && series.points.len() > 1) {
            let ends = series.points.iter().filter_map(|point| Some((at(point)?.0, point.interval?)));
            let ends: Vec<(f64, (f64, f64))> = ends.collect();
            let upper = ends.iter().map(|(x, (_, high))| (*x, height(*high)));
            let lower = ends.iter().rev().map(|(x, (low, _))| (*x, height(*low)));
            if ends.len() > 1 {
                canvas.polygon(&upper.chain(lower).collect::<Vec<_>>(), look.colour, 0.16)?;
            }
        }
        let mut taken: Vec<Area> = Vec::new();
        for (series, look) in styled() {
            if joined {
                let path: Vec<(f64, f64)> = series.points.iter().filter_map(at).collect();
                canvas.dashed(&path, look.dash, look.colour, 1.8)?;
            }
            for (point, (x, y)) in series.points.iter().filter_map(|point| Some((point, at(point)?))) {
                if let Some((low, high)) = point.interval {
                    error_bar(canvas, x, (height(low), height(high)), look)?;
                }
                taken.push(Area { left: x - 5.0, top: y - 5.0, right: x + 5.0, bottom: y + 5.0 });
            }
        }
        for (series, look) in styled() {
            for spot in series.points.iter().filter_map(at) {
                canvas.mark(spot, look, PAPER)?;
            }
        }
        let mut crosses: Vec<f64> = Vec::new();
        for (series, look) in styled() {
            for place in series.failed.iter().filter_map(|failed| failed.x.as_ref()) {
                let Some(share) = self.x_share(place) else { continue };
                let mut x = plot.left + share * plot.width();
                while crosses.iter().any(|other| (other - x).abs() < 9.0) {
                    x += 9.5;
                }
                crosses.push(x);
                canvas.cross((x, plot.bottom - 9.0), look.colour)?;
            }
        }
        if self.chart.kind == ChartKind::Scatter {
            for series in &facet.series {
                for point in &series.points {
                    let (Some(label), Some(spot)) = (&point.label, at(point)) else { continue };
                    let size = (letters::width(label, SMALL, Weight::Regular) + 2.0, 12.0);
                    if *label != series.name
                        && let Some(area) = beside(spot, size, plot, &taken)
                    {
                        let middle = f64::midpoint(area.top, area.bottom);
                        canvas.text(label, (area.left + 1.0, middle), Align::Left, SMALL, Weight::Regular, INK)?;
                        taken.push(area);
                    }
                }
            }
        }
        Ok(())
    }

    /// Names at the right ends of the lines, pushed apart, each with a thin line to where it belongs.
    fn draw_direct<B: DrawingBackend>(
        &self,
        canvas: &mut Canvas<B>,
        facet: &Facet,
        plot: &Area,
    ) -> Result<(), DrawError> {
        let mut labels: Vec<(String, (f64, f64), Option<Look>)> = Vec::new();
        for key in keys(self.chart) {
            match &key {
                Key::Series(name, look) => {
                    let Some(series) = facet.series.iter().find(|series| series.name == *name) else { continue };
                    let mut spots = series.points.iter().filter_map(|point| {
                        let x = plot.left + self.x_share(&point.x)? * plot.width();
                        Some((x, plot.bottom - self.y.share(point.y) * plot.height()))
                    });
                    let spot = spots.next_back().unwrap_or((plot.right - 8.0, plot.bottom - 9.0));
                    labels.push((name.clone(), spot, Some(*look)));
                }
                Key::Reference(label) => {
                    for reference in facet.references.iter().filter(|reference| reference.label == *label) {
                        let y = plot.bottom - self.y.share(reference.y) * plot.height();
                        labels.push((label.clone(), (plot.right - 6.0, y), None));
                    }
                }
                Key::Failed(_) => {
                    labels.push((format!("× {}", key.text()), (plot.right - 6.0, plot.bottom - 9.0), None));
                }
            }
        }
        let wanted: Vec<f64> = labels.iter().map(|(_, (_, y), _)| *y).collect();
        let places = spread(&wanted, 15.0, plot.top - 4.0, plot.bottom + 10.0);
        for ((text, (x, y), look), place) in labels.iter().zip(places) {
            let start = plot.right + 22.0;
            let path = [(x + 7.0, *y), (plot.right + 8.0, *y), (start - 4.0, place)];
            match look {
                // A name far from its point is led there by dots, which cannot be taken for data.
                Some(_) if plot.right - x > 60.0 => canvas.dashed(&path, &[1.2, 3.0], MUTED, 0.9)?,
                Some(look) => canvas.line(&path, look.colour, 0.6)?,
                None if text.starts_with('×') => {}
                None => canvas.line(&path, GRID, 0.8)?,
            }
            let ink = look.map_or(MUTED, |_| INK);
            canvas.text(text, (start, place), Align::Left, TEXT, Weight::Regular, ink)?;
        }
        Ok(())
    }
}

/// The interval of a point, with short caps.
fn error_bar<B: DrawingBackend>(
    canvas: &mut Canvas<B>,
    x: f64,
    (low, high): (f64, f64),
    look: Look,
) -> Result<(), DrawError> {
    if (low - high).abs() < 1.0 {
        return Ok(());
    }
    canvas.line(&[(x, low), (x, high)], look.colour, 1.2)?;
    for end in [low, high] {
        canvas.line(&[(x - 3.5, end), (x + 3.5, end)], look.colour, 1.2)?;
    }
    Ok(())
}
