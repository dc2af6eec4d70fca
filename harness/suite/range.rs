//! `{ from, to, step }` in decimal arithmetic, so that `0.1 + 0.2` is `0.3`, and without being expanded.

use harness_core::{Domain, Value};

/// An arithmetic progression of decimals; the end belongs to it when a step reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progression {
    /// First value, in units of 10^-scale.
    from: i128,
    step: i128,
    scale: u32,
    count: u64,
    whole: bool,
}

/// Digits kept of a number of a range, before and after the point together.
const DIGITS: u32 = 15;

impl Progression {
    /// # Errors
    /// Why there is no such range: what is wrong, and which of the three numbers is to blame.
    pub fn new(from: &Value, to: &Value, step: &Value) -> Result<Self, (&'static str, String)> {
        let read = |key, value| decimal(value).map_err(|why| (key, why));
        let parts = [read("from", from)?, read("to", to)?, read("step", step)?];
        let scale = parts.iter().map(|(_, scale)| *scale).max().unwrap_or(0);
        let [first, last, stride] = parts.map(|(mantissa, own)| mantissa * 10_i128.pow(scale - own));
        if stride == 0 {
            return Err(("step", "a step of 0 never arrives".to_owned()));
        }
        if (last - first).signum() * stride.signum() < 0 {
            return Err(("step", format!("steps of {step} lead away from {to}; write `step = {}`", negated(step))));
        }
        // Both spans are under 10^30, so their ratio fits after clamping.
        let count = u64::try_from((last - first) / stride).unwrap_or(u64::MAX).saturating_add(1);
        let whole = [from, to, step].iter().all(|value| matches!(value, Value::Int(_)));
        Ok(Self { from: first, step: stride, scale, count, whole })
    }

    /// How many values it has; at least one.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// One value.
    pub fn value(&self, index: u64) -> Value {
        let mantissa = self.from + i128::from(index) * self.step;
        if self.whole {
            return Value::Int(i64::try_from(mantissa).unwrap_or(i64::MAX));
        }
        // The decimal text is read back, so the value is the very one its literal would give.
        let sign = if mantissa < 0 { "-" } else { "" };
        let power = 10_u128.pow(self.scale);
        let (head, tail) = (mantissa.unsigned_abs() / power, mantissa.unsigned_abs() % power);
        let text = format!("{sign}{head}.{tail:0width$}", width = self.scale.max(1) as usize);
        Value::Float(text.parse().unwrap_or(f64::INFINITY))
    }

    /// The first value and the last, which are enough to check a domain.
    pub fn ends(&self) -> [Value; 2] {
        [self.value(0), self.value(self.count - 1)]
    }
}

fn negated(value: &Value) -> String {
    let text = value.to_string();
    text.strip_prefix('-').map_or_else(|| format!("-{text}"), str::to_owned)
}

/// A number as mantissa and count of decimals.
fn decimal(value: &Value) -> Result<(i128, u32), String> {
    let text = match value {
        Value::Int(value) => value.to_string(),
        Value::Float(value) if Domain::closed(f64::MIN, f64::MAX).contains(*value) => value.to_string(),
        other => return Err(format!("{other} is not a finite number")),
    };
    let (head, tail) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{head}{tail}");
    if digits.trim_start_matches(['-', '0']).len() as u32 > DIGITS || tail.len() as u32 > DIGITS {
        return Err(format!("{text} has more than {DIGITS} digits"));
    }
    let mantissa = digits.parse::<i128>().map_err(|error| format!("{text}: {error}"))?;
    Ok((mantissa, tail.len() as u32))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn values(from: f64, to: f64, step: f64) -> Vec<f64> {
        let range = Progression::new(&Value::Float(from), &Value::Float(to), &Value::Float(step)).unwrap();
        (0..range.count()).map(|index| range.value(index).as_number().unwrap()).collect()
    }

    #[test]
    fn decimals_do_not_drift() {
        assert_eq!(values(0.1, 0.9, 0.2), [0.1, 0.3, 0.5, 0.7, 0.9]);
        assert_eq!(values(0.0, 0.3, 0.1), [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(values(0.9, 0.1, -0.4), [0.9, 0.5, 0.1]);
        assert_eq!(values(-0.1, 0.1, 0.1), [-0.1, 0.0, 0.1]);
        assert_eq!(values(0.1, 0.9, 0.3), [0.1, 0.4, 0.7]);
        assert_eq!(values(5.0, 5.0, 1.0), [5.0]);
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let range = Progression::new(&Value::Int(4), &Value::Int(10), &Value::Int(3)).unwrap();
        assert_eq!(range.ends(), [Value::Int(4), Value::Int(10)]);
        assert_eq!(range.count(), 3);
    }

    #[test]
    fn ranges_that_never_arrive_are_refused() {
        let refuse = |from, to, step| Progression::new(&from, &to, &step).unwrap_err();
        assert_eq!(refuse(Value::Int(0), Value::Int(1), Value::Int(0)).1, "a step of 0 never arrives");
        let wrong_way = refuse(Value::Float(0.9), Value::Float(0.1), Value::Float(0.2));
        assert_eq!(wrong_way, ("step", "steps of 0.2 lead away from 0.1; write `step = -0.2`".to_owned()));
        assert_eq!(refuse(Value::Float(f64::INFINITY), Value::Int(1), Value::Int(1)).0, "from");
        assert_eq!(refuse(Value::Int(0), Value::Float(1e-30), Value::Int(1)).0, "to");
    }

    #[test]
    fn a_huge_range_is_counted_without_being_expanded() {
        let range = Progression::new(&Value::Int(0), &Value::Int(999_999_999_999_999), &Value::Float(1e-9)).unwrap();
        assert!(range.count() > 10_u64.pow(18), "{}", range.count());
    }

    proptest! {
        #[test]
        fn every_value_is_the_literal_a_person_would_write(from in -999_i64..999, step in 1_i64..99, count in 1_i64..50) {
            let tenths = |n: i64| format!("{:.2}", n as f64 / 100.0).parse::<f64>().unwrap();
            let found = values(tenths(from), tenths(from + step * (count - 1)), tenths(step));
            let wanted: Vec<f64> = (0..count).map(|i| tenths(from + step * i)).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
