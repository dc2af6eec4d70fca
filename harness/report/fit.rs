//! Points and the laws fitted through them.

use harness_core::chart::{Chart, Facet, FittedLaw};

use crate::axes::{Axes, frame};
use crate::draw::Drawing;
use crate::frame::Frame;
use crate::letters::{self, Weight};
use crate::line::{direct_margin, draw_direct};
use crate::number::{fixed, format_short};
use crate::palette::{INK, PAPER};
use crate::scene::{Align, Scene};
use crate::style::Style;

pub struct Fit<'a> {
    axes: Axes<'a>,
    frame: Frame,
    margin: f64,
}

impl<'a> Fit<'a> {
    pub fn new(chart: &'a Chart, style: Style) -> Self {
        let axes = Axes::new(chart, style);
        let margin = direct_margin(chart, &style);
        let frame = frame(&axes, style, margin > 0.0);
        Self { axes, frame, margin }
    }
}

/// A law in words: `y = 1.70 + 354.8·x^−0.44, exponent −0.45 to −0.43`.
pub fn law_text(law: &FittedLaw) -> String {
    let (exponent, interval) = law.exponent;
    let decimals = interval.map_or(2, |(low, high)| if high - low < 0.05 { 3 } else { 2 });
    let floor = if law.floor.0 > 0.0 { format!("{} + ", format_short(law.floor.0)) } else { String::new() };
    let power = format!("{floor}{}·x^{}", format_short(law.scale.0), fixed(exponent, decimals));
    match interval {
        Some((low, high)) => format!("{power} [{}, {}]", fixed(low, decimals), fixed(high, decimals)),
        None => power,
    }
}

impl Drawing for Fit<'_> {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn panel(&self, scene: &mut Scene, facet: &Facet, index: usize) {
        let style = &self.frame.style;
        let u = |length: f64| style.u(length);
        let plot = self.axes.draw(scene, facet, &self.frame.panels[index], self.margin);
        let styled = || facet.series.iter().map(|series| (series, self.axes.look(&series.name)));
        let laws = || styled().filter_map(|(series, look)| Some((series, series.law.as_ref()?, look)));
        for (_, law, look) in laws() {
            plot.band(scene, law.curve.iter(), look);
        }
        for (_, law, look) in laws() {
            let path: Vec<(f64, f64)> = law.curve.iter().filter_map(|point| plot.spot(point)).collect();
            scene.dashed(&path, look.dash, look.colour, u(1.5));
        }
        for (series, look) in styled() {
            series.points.iter().for_each(|point| plot.error_bars(scene, point, look, style));
            series.points.iter().filter_map(|point| plot.spot(point)).for_each(|spot| scene.mark(spot, look, PAPER));
        }
        plot.failures(scene, facet, style);
        if self.margin > 0.0 {
            draw_direct(scene, facet, &plot, style);
        }
        // The laws in words, in the corner that the curves leave free.
        let texts: Vec<(String, crate::palette::Look)> = laws().map(|(_, law, look)| (law_text(law), look)).collect();
        let rising = laws().filter(|(_, law, _)| law.exponent.0 > 0.0).count() * 2 > texts.len();
        let height = u(14.0);
        for (line, (text, look)) in texts.iter().enumerate() {
            let y = plot.area.top + u(8.0) + height * line as f64;
            let text = letters::fit(text, style.small(), Weight::Regular, plot.area.width() - u(24.0));
            let wide = letters::width(&text, style.small(), Weight::Regular);
            let x = if rising { plot.area.left + u(12.0) } else { plot.area.right - wide - u(4.0) };
            let (from, to) = ((x - u(8.0), y - height / 2.0), (x + wide + u(3.0), y + height / 2.0));
            scene.rectangle(from, to, PAPER, 0.85);
            scene.circle((x - u(4.5), y), u(2.6), look.colour, 1.0);
            scene.text(&text, (x + u(2.0), y), Align::Left, style.small(), Weight::Regular, INK);
        }
    }
}
