//! Bencher Metric Format: `{benchmark: {measure: {value, lower_value, upper_value}}}`.
//!
//! A benchmark is a cell, a measure a metric with its id as a slug (`decode-tps`). The format knows no way to say that
//! there is no number, so failed cells and absent metrics have no entry.

use serde_json::{Map, Value, json};

use super::{Export, ExportError, Format, Subject, json_bytes, numbers, something};

pub const FORMAT: Format =
    Format { name: "bmf", about: "Bencher Metric Format, one JSON file for `bencher run`", folder: false, write };

/// Longest name of a benchmark and of a measure, in characters.
const LONGEST_BENCHMARK: usize = 1024;
const LONGEST_MEASURE: usize = 64;

fn write(subject: &Subject) -> Result<Export, ExportError> {
    let (numbers, left_out) = numbers(subject.run, |_| true);
    let mut benchmarks: Map<String, Value> = Map::new();
    for number in something(FORMAT.name, numbers, &left_out)? {
        let mut measure = json!({"value": number.estimate.value});
        let interval =
            number.estimate.interval.filter(|interval| interval.low.is_finite() && interval.high.is_finite());
        if let Some(interval) = interval {
            measure["lower_value"] = interval.low.into();
            measure["upper_value"] = interval.high.into();
        }
        let name = shortened(&number.cell.cell.to_string(), number.cell.id.as_str(), LONGEST_BENCHMARK);
        let slug = shortened(&number.metric.id.replace('_', "-"), "", LONGEST_MEASURE);
        let measures = benchmarks.entry(name).or_insert_with(|| json!({}));
        if let Some(measures) = measures.as_object_mut() {
            measures.insert(slug, measure);
        }
    }
    Ok(Export { left_out, ..Export::single("benchmarks.json", json_bytes(FORMAT.name, &benchmarks)?) })
}

/// A name cut to a length, with something unique at its end where it was cut.
fn shortened(name: &str, unique: &str, longest: usize) -> String {
    if name.chars().count() <= longest {
        return name.to_owned();
    }
    let kept: String = name.chars().take(longest - unique.chars().count() - 2).collect();
    format!("{kept}… {unique}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn long_names_stay_apart() {
        assert_eq!(shortened("short", "1a", 1024), "short");
        let long = "x".repeat(2000);
        let (one, two) = (shortened(&long, "1a", 1024), shortened(&long, "2b", 1024));
        assert_eq!((one.chars().count(), two.chars().count()), (1024, 1024));
        assert_ne!(one, two);
    }
}
