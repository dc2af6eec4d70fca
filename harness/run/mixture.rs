//! Which format every map of a model has, when the maps share a budget of bits.

use std::collections::BTreeMap;
use std::time::Instant;

use harness_methods::prune::{Needs, Site};
use harness_methods::quant::mixture::{Candidate, Mixture};
use harness_methods::quant::{QuantError, Quantized, Quantizer};
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::Decoder;

use crate::block::producer_spreads;
use crate::calibrate::{PrepareError, collect_and_forward, embed_together, input_of};
use crate::panics::caught;
use crate::parts::any_factored;
use crate::quantize::LEAST_SIDE;

/// A mixture whose formats have been told out, as a quantizer of single matrices.
pub(crate) struct Planned<'a> {
    mixture: &'a Mixture,
    formats: Result<BTreeMap<String, usize>, String>,
    /// Seconds that took.
    pub seconds: f64,
}

impl<'a> Planned<'a> {
    /// Judges every format of every map on the dense model's inputs and shares the budget out.
    pub fn of(model: &Decoder, mixture: &'a Mixture, windows: Option<&[Vec<u32>]>) -> Self {
        let started = Instant::now();
        let formats = match caught(|| plan(model, mixture, windows.unwrap_or_default())) {
            Ok(formats) => formats,
            Err(panic) => Err(format!("panicked: {panic}")),
        };
        Self { mixture, formats, seconds: started.elapsed().as_secs_f64() }
    }
}

impl Quantizer for Planned<'_> {
    fn needs(&self) -> Needs {
        let chosen = self.formats.iter().flat_map(BTreeMap::values);
        chosen.map(|choice| self.mixture.choices[*choice].needs()).fold(Needs::NOTHING, Needs::union)
    }

    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError> {
        let formats = self.formats.as_ref().map_err(|reason| QuantError::Plan { reason: reason.clone() })?;
        let unknown = || QuantError::Plan { reason: format!("{} was not there when formats were told out", site.name) };
        let choice = formats.get(site.name).ok_or_else(unknown)?;
        self.mixture.choices[*choice].quantize(site, weight, statistics)
    }
}

fn plan(model: &Decoder, mixture: &Mixture, windows: &[Vec<u32>]) -> Result<BTreeMap<String, usize>, String> {
    if windows.is_empty() {
        return Err(PrepareError::NoCalibration.to_string());
    }
    if any_factored(model) {
        return Err("formats are told out to whole matrices, and maps of this model are held as factors".to_owned());
    }
    let mut hidden = embed_together(model, windows).map_err(|error| error.to_string())?;
    let (mut names, mut candidates, mut weights) = (Vec::new(), Vec::<Vec<Candidate>>::new(), 0);
    for layer in 0..model.config().layers {
        let (statistics, outputs) =
            collect_and_forward(model, layer, &hidden, mixture.needs()).map_err(|error| error.to_string())?;
        let mut spreads = if mixture.needs().producers { producer_spreads(model, layer) } else { BTreeMap::new() };
        let with_spread = |(projection, inputs): (Projection, LinearStatistics)| match spreads.remove(&projection) {
            Some(spread) => (projection, inputs.with_producer_spread(spread)),
            None => (projection, inputs),
        };
        let statistics: BTreeMap<Projection, LinearStatistics> = statistics.into_iter().map(with_spread).collect();
        for projection in Projection::ALL {
            let Some(linear) = model.linear(layer, projection) else { continue };
            let weight = linear.weight();
            if weight.rows().min(weight.cols()) < LEAST_SIDE {
                continue;
            }
            let name = projection.tensor(layer);
            let site = Site { name: &name, layer, rows: weight.rows(), cols: weight.cols() };
            let inputs = statistics.get(&input_of(projection));
            let found = mixture.consider(&site, &weight.to_f32(), inputs).map_err(|error| error.to_string())?;
            candidates.push(found);
            weights += (weight.rows() * weight.cols()) as u64;
            names.push(name);
        }
        hidden = outputs;
    }
    let chosen = mixture.allocate(&candidates, weights).map_err(|error| error.to_string())?;
    Ok(names.into_iter().zip(chosen).collect())
}
