//! How much documents typically differ, for plans of suites that never ran.
//!
//! Measured on a run of `suites/pruning.toml`: the differences of thirty arms from the dense model (`tiny-100k` and
//! `tiny-1m`, fifteen each) on 64 windows of 18 documents; the value of the middle arm. Arms that differ more from the dense
//! model spread more: eight arms in ten lie between 0.004 and 0.12 (ppl), 0.001 and 0.13 (kl), 0.012 and 0.043 (top1).
//! Times have no typical spread: it is the machine's.

use harness_core::statistics::{Dispersion, Scale};

/// The typical spread of a metric; `None` where none was measured.
pub fn typical(metric: &str) -> Option<Dispersion> {
    let (_, scale, deviation) = TYPICAL.iter().find(|(id, ..)| *id == metric)?;
    Some(Dispersion {
        scale: *scale,
        deviation: *deviation,
        units_per_sample: TYPICAL_DOCUMENTS as f64 / TYPICAL_WINDOWS as f64,
        discordant: None,
        unit: "documents".to_owned(),
    })
}

/// Windows behind the typical spreads.
pub const TYPICAL_WINDOWS: usize = 64;
/// Documents of these windows.
pub const TYPICAL_DOCUMENTS: usize = 18;
/// Metric, scale of its differences, and the standard deviation of one document's difference on that scale.
pub const TYPICAL: [(&str, Scale, f64); 3] =
    [("ppl", Scale::LogRatio, 0.020), ("kl", Scale::Difference, 0.015), ("top1", Scale::Difference, 0.023)];

#[cfg(test)]
mod tests {
    use super::{TYPICAL, typical};
    use crate::metrics::registry;

    #[test]
    fn typical_spreads_are_of_metrics_there_are() {
        for (id, _, deviation) in TYPICAL {
            assert!(registry().iter().any(|metric| metric.spec.id == id), "{id}");
            assert!(typical(id).is_some_and(|dispersion| dispersion.deviation == deviation) && deviation > 0.0);
        }
        assert_eq!(typical("decode_tps"), None);
    }
}
