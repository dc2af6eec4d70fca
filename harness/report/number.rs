//! Numbers for people: significant digits, units, intervals.

use harness_core::chart::{Entry, IntervalStyle};

/// The unit in which a column or an axis is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// Values are divided by this.
    pub divisor: f64,
    /// Name of the shown unit; empty for plain numbers.
    pub unit: String,
}

impl Scale {
    /// The scale that fits values up to `largest` of a unit: bytes become KiB, MiB, GiB; seconds become ms or µs.
    pub fn fit(unit: &str, largest: f64) -> Self {
        let of = |divisor: f64, unit: &str| Self { divisor, unit: unit.to_owned() };
        let largest = largest.abs();
        match unit {
            "bytes" if largest >= 1024.0 * 1024.0 * 1024.0 => of(1024.0 * 1024.0 * 1024.0, "GiB"),
            "bytes" if largest >= 1024.0 * 1024.0 => of(1024.0 * 1024.0, "MiB"),
            "bytes" if largest >= 1024.0 => of(1024.0, "KiB"),
            "s" if largest > 0.0 && largest < 1e-3 => of(1e-6, "µs"),
            "s" if largest > 0.0 && largest < 1.0 => of(1e-3, "ms"),
            "1" | "" => of(1.0, ""),
            other => of(1.0, other),
        }
    }
}

/// A number with a fixed count of decimals, thousands apart, and a true minus sign.
pub fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        // A number of four digits needs no gap.
        if index > 0 && whole.len() > 4 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    format!("{}{grouped}{rest}", if value < 0.0 && !zero { "−" } else { "" })
}

/// Decimals that give a number this many significant digits.
fn decimals(value: f64, digits: i32) -> usize {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    (digits - 1 - value.abs().log10().floor() as i32).clamp(0, 9) as usize
}

/// A value with four significant digits; whole numbers are shown whole.
pub fn format_value(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return fixed(value, 0);
    }
    if value.abs() < 1e-4 || value.abs() >= 1e15 {
        return scientific(value, 2);
    }
    fixed(value, decimals(value, 4))
}

/// A value with three significant digits, for narrow places.
pub fn format_short(value: f64) -> String {
    match value.abs() {
        size if !value.is_finite() || size >= 1e6 || (size > 0.0 && size < 1e-3) => {
            if value.is_finite() {
                scientific(value, 1)
            } else {
                "–".to_owned()
            }
        }
        size if size >= 1e4 => format!("{}k", fixed(value / 1e3, usize::from(size < 1e5))),
        _ => fixed(value, decimals(value, 3).min(3)),
    }
}

/// `1.2·10⁻⁵`
pub fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power = power_of_ten(exponent.parse().unwrap_or(0));
    match mantissa {
        "1" => power,
        mantissa => format!("{}·{power}", mantissa.replace('-', "−")),
    }
}

/// `10⁻⁵`
pub fn power_of_ten(exponent: i32) -> String {
    let digits = exponent.to_string();
    let raised = digits.chars().map(|sign| match sign {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32(0x2070 + (digit as u32 - '0' as u32)).unwrap_or(digit),
    });
    std::iter::once('1').chain(std::iter::once('0')).chain(raised).collect()
}

/// A value with its interval, `12.34 [12.10, 12.61]`: as many decimals as the width of the interval bears.
pub fn format_with_interval(value: f64, interval: Option<(f64, f64)>) -> String {
    Written::of(value, interval, IntervalStyle::Range).text()
}

/// A number as it is written, with its interval apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The value.
    pub value: String,
    /// The interval.
    pub interval: Spread,
    /// Power of ten of both, where the value is far below one.
    pub exponent: Option<i32>,
}

/// An interval as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    /// None.
    None,
    /// Both ends.
    Range(String, String),
    /// The longer side.
    PlusMinus(String),
}

impl Written {
    /// A value with as many decimals as its interval bears; four significant digits without one.
    pub fn of(value: f64, interval: Option<(f64, f64)>, style: IntervalStyle) -> Self {
        let bare = |value: f64| Self { value: format_value(value), interval: Spread::None, exponent: None };
        let ends = interval.filter(|(low, high)| low.is_finite() && high.is_finite() && value.is_finite());
        let Some((low, high)) = ends else { return bare(value) };
        let (width, range) = match style {
            IntervalStyle::PlusMinus => ((value - low).max(high - value), false),
            IntervalStyle::Range | IntervalStyle::Hidden => (high - low, true),
        };
        if width <= 0.0 {
            let spread = if style == IntervalStyle::Range {
                Spread::Range(format_value(low), format_value(high))
            } else {
                Spread::None
            };
            return Self { interval: spread, ..bare(value) };
        }
        let mut places = decimals(width, 2).min(8);
        let mut exponent = None;
        let mut over = 1.0;
        if places > 6 && value.abs() < 1e-4 {
            let power = if value == 0.0 { width.log10().floor() as i32 } else { value.abs().log10().floor() as i32 };
            exponent = Some(power);
            over = 10_f64.powi(power);
            places = if range { 2 } else { decimals(width / over, 2).min(4) };
        }
        let text = |value: f64| fixed(value / over, places);
        let interval = match style {
            IntervalStyle::Hidden => Spread::None,
            IntervalStyle::Range => Spread::Range(text(low), text(high)),
            IntervalStyle::PlusMinus => Spread::PlusMinus(text(width)),
        };
        Self { value: text(value), interval, exponent }
    }

    /// The interval with its signs; empty without one.
    pub fn spread(&self) -> String {
        let scaled = |text: &str| match self.exponent {
            Some(exponent) => format!("{text}·{}", power_of_ten(exponent)),
            None => text.to_owned(),
        };
        match &self.interval {
            Spread::None => String::new(),
            Spread::Range(low, high) => format!("[{}, {}]", scaled(low), scaled(high)),
            Spread::PlusMinus(half) => format!("± {}", scaled(half)),
        }
    }

    /// The value with its power of ten.
    pub fn head(&self) -> String {
        match self.exponent {
            Some(exponent) => format!("{}·{}", self.value, power_of_ten(exponent)),
            None => self.value.clone(),
        }
    }

    /// All of it.
    pub fn text(&self) -> String {
        let spread = self.spread();
        if spread.is_empty() { self.head() } else { format!("{} {spread}", self.head()) }
    }
}

/// A table entry as plain text, numbers in the column's scale.
pub fn entry_text(entry: &Entry, scale: &Scale, style: IntervalStyle) -> String {
    match entry {
        Entry::Text(text) => text.clone(),
        Entry::Number { value, interval, .. } => written(*value, *interval, scale, style).text(),
        Entry::Absent(_) => "n/a".to_owned(),
        Entry::Failed(_) => "failed".to_owned(),
        Entry::Empty => String::new(),
    }
}

/// A number in the column's scale.
pub fn written(value: f64, interval: Option<(f64, f64)>, scale: &Scale, style: IntervalStyle) -> Written {
    let over = scale.divisor;
    Written::of(value / over, interval.map(|(low, high)| (low / over, high / over)), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_significant_digits_and_groups() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (1234.0, "1234"),
            (134_515_008.0, "134,515,008"),
            (12.345_67, "12.35"),
            (0.001_234_5, "0.001234"),
            (-0.5, "−0.5000"),
            (0.000_012_345, "1.23·10⁻⁵"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(format_value(value), text, "{value}");
        }
        assert_eq!(fixed(-0.001, 1), "0.0");
    }

    #[test]
    fn the_interval_sets_the_decimals() {
        assert_eq!(format_with_interval(12.345_67, Some((12.1, 12.61))), "12.35 [12.10, 12.61]");
        assert_eq!(format_with_interval(1234.5, Some((1200.0, 1270.0))), "1234 [1200, 1270]");
        assert_eq!(format_with_interval(2.0, Some((2.0, 2.0))), "2 [2, 2]");
        assert_eq!(format_with_interval(2.5, None), "2.500");
    }

    #[test]
    fn units_are_scaled_to_the_largest() {
        assert_eq!(Scale::fit("bytes", 4e6), Scale { divisor: 1_048_576.0, unit: "MiB".into() });
        assert_eq!(Scale::fit("s", 0.02).unit, "ms");
        assert_eq!(Scale::fit("1", 5.0).unit, "");
        let number = Entry::number(4_194_304.0, None);
        assert_eq!(entry_text(&number, &Scale::fit("bytes", 4e6), IntervalStyle::Range), "4");
    }

    #[test]
    fn the_longer_side_stands_behind_plus_minus() {
        let text = |value, interval| Written::of(value, Some(interval), IntervalStyle::PlusMinus).text();
        assert_eq!(text(12.345_67, (12.1, 12.5)), "12.35 ± 0.25");
        assert_eq!(text(1595.0, (1472.0, 1733.0)), "1595 ± 138");
        assert_eq!(text(2.0, (2.0, 2.0)), "2");
        assert_eq!(text(-0.5, (-0.75, -0.4)), "−0.50 ± 0.25");
        assert_eq!(text(1.234e-5, (1.1e-5, 1.3e-5)), "1.23·10⁻⁵ ± 0.13·10⁻⁵");
        assert_eq!(Written::of(1.5, Some((1.0, 2.0)), IntervalStyle::Hidden).text(), "1.5");
    }
}
