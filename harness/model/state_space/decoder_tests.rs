//! Logits against `tests/reference/state_space.py`, chunks against one pass, gradients.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use candle_core::Device;
use serde_json::Value as Json;

use super::*;
use crate::tensor::with_values;

struct Golden {
    config: StateSpaceConfig,
    weights: BTreeMap<String, Weight>,
    windows: Vec<Vec<u32>>,
    logits: Vec<f64>,
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/state_space.json");
    let json: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let config: StateSpaceConfig = serde_json::from_value(json["config"].clone()).unwrap();
    let weights = config.tensors().into_iter().map(|spec| {
        let values: Vec<f32> = serde_json::from_value(json["weights"][&spec.name].clone()).unwrap();
        (spec.name, Weight::from_f32(spec.rows, spec.cols, values))
    });
    Golden {
        weights: weights.collect(),
        windows: serde_json::from_value(json["windows"].clone()).unwrap(),
        logits: serde_json::from_value(json["logits"].clone()).unwrap(),
        config,
    }
}

impl Golden {
    fn decoder(&self) -> StateSpaceDecoder {
        StateSpaceDecoder::from_weights(&self.config, &self.weights).unwrap()
    }

    fn part(&self, from: usize, to: usize) -> Vec<&[u32]> {
        self.windows.iter().map(|window| &window[from..to]).collect()
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    with_values(tensor, <[f32]>::to_vec).unwrap()
}

#[test]
fn logits_are_those_of_another_program() {
    let golden = golden();
    let decoder = golden.decoder();
    let mut carried = decoder.begin(golden.windows.len());
    let hidden = decoder.read(&golden.part(0, golden.windows[0].len()), &mut carried).unwrap();
    let found = values(&decoder.logits(&hidden).unwrap());
    assert_eq!(found.len(), golden.logits.len());
    for (found, wanted) in found.iter().zip(&golden.logits) {
        // Numpy's own f32 is 6e-6 away from its f64: the logits go up to 5, behind two blocks of sums.
        assert!((f64::from(*found) - wanted).abs() < 3e-5, "{found} for {wanted}");
    }
}

#[test]
fn chunks_and_single_tokens_are_one_pass_in_memory_that_does_not_grow() {
    let golden = golden();
    let decoder = golden.decoder();
    let (batch, length) = (golden.windows.len(), golden.windows[0].len());
    let mut whole = decoder.begin(batch);
    let bytes = whole.bytes();
    let wanted = values(&decoder.read(&golden.part(0, length), &mut whole).unwrap());
    for chunk in [1, 3, 5, length] {
        let mut carried = decoder.begin(batch);
        let hidden: Vec<Tensor> = (0..length)
            .step_by(chunk)
            .map(|from| decoder.read(&golden.part(from, (from + chunk).min(length)), &mut carried).unwrap())
            .collect();
        let found = values(&Tensor::cat(&hidden, 1).unwrap().contiguous().unwrap());
        assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5), "chunks of {chunk}");
        assert_eq!((carried.tokens(), carried.bytes()), (length, bytes));
    }
}

#[test]
fn gradients_are_those_of_differences_and_stop_where_states_are_carried() {
    let golden = golden();
    let loss = |decoder: &StateSpaceDecoder, carried: &mut Carried| {
        let logits = decoder.logits(&decoder.read(&golden.part(6, 12), carried).unwrap()).unwrap();
        let targets: Vec<u32> = golden.windows.iter().flat_map(|window| window[7..13].to_vec()).collect();
        crate::ops::cross_entropy(&logits.reshape((targets.len(), golden.config.vocab_size)).unwrap(), &targets)
            .unwrap()
    };
    // States of another decoder, which variables do not reach.
    let mut first = golden.decoder().begin(golden.windows.len());
    golden.decoder().read(&golden.part(0, 6), &mut first).unwrap();
    let variables: BTreeMap<String, Var> = golden
        .config
        .tensors()
        .into_iter()
        .map(|spec| {
            let weight = &golden.weights[&spec.name];
            let shape: candle_core::Shape = if spec.vector { spec.cols.into() } else { (spec.rows, spec.cols).into() };
            let variable = Var::from_vec(weight.to_f32(), shape, &Device::Cpu).unwrap();
            (spec.name, variable)
        })
        .collect();
    let decoder = StateSpaceDecoder::trainable(&golden.config, &variables).unwrap();
    let given = loss(&decoder, &mut first.clone()).backward().unwrap();
    // States that this very decoder left give the same gradients: none flows through them.
    let mut own = decoder.begin(golden.windows.len());
    decoder.read(&golden.part(0, 6), &mut own).unwrap();
    let carried = loss(&decoder, &mut own).backward().unwrap();
    for (name, variable) in &variables {
        let gradient = values(given.get(variable).unwrap_or_else(|| panic!("{name} has no gradient")));
        assert_eq!(gradient, values(carried.get(variable).unwrap()), "{name}");
        let at = gradient.len() / 2;
        let moved = |by: f32| {
            let mut weights = golden.weights.clone();
            let weight = &weights[name];
            let (rows, cols, mut numbers) = (weight.rows(), weight.cols(), weight.to_f32());
            numbers[at] += by;
            weights.insert(name.clone(), Weight::from_f32(rows, cols, numbers));
            let decoder = StateSpaceDecoder::from_weights(&golden.config, &weights).unwrap();
            f64::from(loss(&decoder, &mut first.clone()).to_scalar::<f32>().unwrap())
        };
        // Two steps, of which the error of third order cancels: the embedding bends too much for one.
        let slope = |by: f32| (moved(by) - moved(-by)) / f64::from(2.0 * by);
        let wanted = (4.0 * slope(5e-3) - slope(1e-2)) / 3.0;
        assert!((f64::from(gradient[at]) - wanted).abs() < 2e-4, "{name}: {} for {wanted}", gradient[at]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let golden = golden();
    let decoder = golden.decoder();
    let mut carried = decoder.begin(1);
    let error = decoder.read(&golden.part(0, 4), &mut carried).unwrap_err();
    assert!(matches!(error, ModelError::CarriedStates { carried: 1, given: 2 }), "{error}");
    let error = decoder.read(&[&[99]], &mut carried).unwrap_err();
    assert!(matches!(error, ModelError::Token { token: 99, .. }), "{error}");
    let error = decoder.read(&[&[]], &mut carried).unwrap_err();
    assert!(matches!(error, ModelError::Windows(_)), "{error}");
    assert_eq!(carried, decoder.begin(1), "a refused pass moves nothing");
    let none = StateSpaceConfig { states: 0, ..golden.config.clone() };
    let error = StateSpaceDecoder::from_weights(&none, &golden.weights).unwrap_err().to_string();
    assert!(error.contains("`states` of a state-space decoder is 0; it must be 1 to 1024"), "{error}");
    let wider = StateSpaceConfig { taps: 3, ..golden.config.clone() };
    let error = StateSpaceDecoder::from_weights(&wider, &golden.weights).unwrap_err();
    assert!(matches!(error, ModelError::TensorShape { .. }), "{error}");
    let error = StateSpaceDecoder::from_weights(&golden.config, &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, ModelError::MissingTensor { .. }), "{error}");
}
