//! Runs that begin from a model.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use harness_kernels::flow::{Bend, Flow, Net};

use super::tests::{Cycle, recipe};
use super::*;
use crate::config::{PositionScheme, RopeStyle, Scaling};
use crate::decoder::Decoder;
use crate::rope::{Frequencies, Rope};

/// `half` halves all frequencies beyond the training, `flow` lets a net move them.
#[derive(Debug)]
struct Known;

#[derive(Debug)]
struct At(Vec<f64>, f64, Option<(Flow, Net)>);

impl Frequencies for At {
    fn at(&self, length: usize) -> (Vec<f32>, f32) {
        let Self(plain, trained, net) = self;
        let beyond = length as f64 > *trained;
        let found = match net {
            Some((flow, net)) => flow.frequencies(Some(net), plain, (length as f64 / trained).ceil()),
            None => plain.iter().map(|f| f / if beyond { 2.0 } else { 1.0 }).collect(),
        };
        (found.into_iter().map(|f| f as f32).collect(), 1.0)
    }

    fn regime(&self, length: usize) -> usize {
        length
    }
}

fn plain(config: &Config) -> Vec<f64> {
    let PositionScheme::Rope { theta, rotary, .. } = config.position else { panic!("{config:?}") };
    harness_kernels::rotary::frequencies(theta, rotary).into_iter().map(f64::from).collect()
}

impl Turning for Known {
    fn rope(&self, config: &Config, net: Option<[Vec<f32>; 2]>) -> Result<Rope, String> {
        let arm = &config.scaling.as_ref().unwrap().arm;
        let net = match arm.id.as_str() {
            "half" => None,
            "flow" => net.map(|[up, down]| (self.flow(config).unwrap().unwrap().flow, Net { up, down })),
            other => return Err(format!("`{other}` is not known")),
        };
        let at = At(plain(config), config.trained_positions() as f64, net);
        Ok(Rope::of(Box::new(at), RopeStyle::HalfSplit))
    }

    fn flow(&self, config: &Config) -> Result<Option<Flowing>, String> {
        let trained = plain(config);
        let flow = Flow { base: 10_000.0, pairs: trained.len(), bend: Bend::Silu, step: 0.5 };
        let asked = config.scaling.as_ref().unwrap().arm.id == "flow";
        Ok(asked.then_some(Flowing { flow, width: 6, trained }))
    }
}

fn start() -> Start {
    let out = tempfile::tempdir().unwrap();
    let short = Recipe { training: TrainingRecipe { tokens: 960, ..recipe().training }, ..recipe() };
    let checkpoint = train(&short, &Cycle, out.path(), &mut |_| {}).unwrap().checkpoint;
    Start { checkpoint, turning: Arc::new(Known) }
}

/// A recipe that goes on from a model, `tokens` long.
fn onward(positions: Option<&str>, context: usize, tokens: u64) -> Recipe {
    let mut next = Recipe { start: Some("toy".to_owned()), ..recipe() };
    next.architecture.positions = positions.map(str::to_owned);
    next.data.context = context;
    next.training.tokens = tokens;
    next
}

fn run(recipe: &Recipe, start: &Start) -> Result<Trained, TrainError> {
    let out = tempfile::tempdir().unwrap();
    train_with(recipe, &Cycle, Some(start), out.path(), &mut [], &mut |_| {})
}

/// Mean training loss of the first step, nothing learned.
fn first_loss(mut recipe: Recipe, start: &Start) -> f64 {
    recipe.training.learning_rate = 0.0;
    recipe.training.tokens = 1;
    run(&recipe, start).unwrap().curve[0].train
}

#[test]
fn a_run_begins_with_the_models_weights_and_says_what_it_does_to_positions() {
    let start = start();
    let mut still = onward(Some("half(factor=2)"), 48, 1);
    still.training.learning_rate = 0.0;
    let out = tempfile::tempdir().unwrap();
    let trained = train_with(&still, &Cycle, Some(&start), out.path(), &mut [], &mut |_| {}).unwrap();
    for (name, weight) in &trained.checkpoint.tensors {
        assert_eq!(weight.to_f32(), start.checkpoint.tensors[name].to_f32(), "{name}");
    }
    let scaling = Scaling { arm: "half(factor=2)".parse().unwrap(), trained: Some(24), net: None };
    assert_eq!((&trained.config.scaling, trained.config.max_positions), (&Some(scaling), 48));
    let loaded = crate::load::load(&out.path().join("model")).unwrap();
    assert_eq!((&loaded.config, loaded.config.trained_positions()), (&trained.config, 24));
    // Without an arm of its own it keeps that of the model, and learns.
    let again = Start { checkpoint: trained.checkpoint, turning: Arc::new(Known) };
    let further = run(&onward(None, 48, 4800), &again).unwrap();
    assert_eq!(further.config.scaling, trained.config.scaling);
    let last = further.curve.last().unwrap();
    assert!(last.valid < trained.curve[0].valid, "{last:?} {:?}", trained.curve);
}

#[test]
fn a_net_of_frequencies_learns_from_nothing_and_resumes_to_the_bit() {
    let start = start();
    let mut recipe = onward(Some("flow"), 24, 1920);
    recipe.data.places = serde_json::from_str("\"stretched\"").unwrap();
    recipe.data.scales = Some(3);
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    recipe.training.checkpoint_every = 7;
    let expected = train_with(&recipe, &Cycle, Some(&start), whole.path(), &mut [], &mut |_| {}).unwrap();
    let mut trainer = Trainer::open(&recipe, &Cycle, Some(&start), cut.path()).unwrap();
    assert!(trainer.weights()["model.rotary.down.weight"].iter().all(|value| *value == 0.0));
    for _ in 0..9 {
        trainer.advance(&Cycle, &mut [], &mut |_| {}).unwrap();
    }
    drop(trainer);
    let resumed = train_with(&recipe, &Cycle, Some(&start), cut.path(), &mut [], &mut |_| {}).unwrap();
    let loaded = crate::load::load(&whole.path().join("model")).unwrap();
    assert_eq!(loaded.config.scaling.as_ref().and_then(|scaling| scaling.net), Some(6));
    assert_eq!(loaded.config.max_positions, 72);
    for name in ["model.rotary.up.weight", "model.rotary.down.weight"] {
        let values = expected.checkpoint.tensors[name].to_f32();
        assert_eq!(values, resumed.checkpoint.tensors[name].to_f32(), "{name}");
        assert!(values.iter().any(|value| *value != 0.0) && loaded.tensors.contains_key(name), "{name}");
    }
    assert_eq!(expected.curve, resumed.curve);
    let rope = Known.rope(&loaded.config, Some([vec![0.0; 48], vec![0.0; 48]])).unwrap();
    let decoder = Decoder::from_checkpoint_with(&loaded, rope).unwrap();
    let [up, down] = decoder.frequency_net().unwrap();
    assert_eq!((up.len(), down.len()), (48, 48));
    assert_eq!(decoder.parameters(), start.checkpoint.parameters() + 96);
}

#[test]
fn short_windows_are_cut_from_a_steps_own_and_weigh_as_many_tokens() {
    let start = start();
    let with = |context, share| {
        let mut recipe = onward(Some("half"), context, 1);
        recipe.data.short_share = share;
        first_loss(recipe, &start)
    };
    // Windows of the trained length are short already.
    let plain = with(24, 0.0);
    for share in [0.25, 0.5, 1.0] {
        assert!((with(24, share) - plain).abs() < 1e-5, "{share}: {} for {plain}", with(24, share));
    }
    let [none, half, all] = [0.0, 0.5, 1.0].map(|share| with(72, share));
    assert!((none - all).abs() > 1e-3 && half != none && half != all, "{none} {half} {all}");
}

#[test]
fn scaled_places_of_a_factor_of_one_change_nothing() {
    let start = start();
    let with = |places: &str, scales| {
        let mut recipe = onward(None, 24, 1);
        recipe.data.places = serde_json::from_str(places).unwrap();
        recipe.data.scales = scales;
        first_loss(recipe, &start)
    };
    let whole = with("\"whole\"", None);
    assert_eq!(with("\"scaled\"", Some(1)), whole);
    assert!((with("\"scaled\"", Some(4)) - whole).abs() > 1e-4);
}

#[test]
fn models_that_do_not_fit_are_refused_with_what_differs() {
    let start = start();
    let said = |recipe: &Recipe| run(recipe, &start).unwrap_err().to_string();
    let mut other = onward(None, 24, 96);
    other.architecture.feed_forward = 96;
    assert_eq!(
        said(&other),
        "`start = \"toy\"`: the model has another shape: architecture.feed_forward is 96 in the recipe and 64 there"
    );
    let mut other = onward(None, 24, 96);
    other.architecture.rope_theta = 500.0;
    assert!(
        said(&other).contains("architecture.position with architecture.rope_theta is Rope { theta: 500.0"),
        "{}",
        said(&other)
    );
    let unknown = said(&onward(Some("third"), 24, 96));
    assert!(unknown.ends_with("an arm that fits the model (`third` is not known)"), "{unknown}");
    assert!(said(&onward(Some("half("), 24, 96)).contains("`architecture.positions` of the recipe is half("));
    let net = said(&onward(Some("flow"), 24, 96));
    assert!(net.contains("needs `data.places = \"stretched\"` where, and only where"), "{net}");
    let mut scaled = onward(None, 48, 96);
    scaled.data.places = serde_json::from_str("\"scaled\"").unwrap();
    assert!(said(&scaled).contains("`data.scales` of the recipe is missing"), "{}", said(&scaled));
    scaled.data.scales = Some(2);
    assert!(said(&scaled).contains("need `data.context = 24`, not 48"), "{}", said(&scaled));
    let mut short = onward(Some("half"), 30, 96);
    short.data.short_share = 0.5;
    assert!(said(&short).contains("of which `data.context = 30` is no multiple"), "{}", said(&short));
    let alone = Recipe { start: None, ..onward(Some("half"), 24, 96) };
    let out = tempfile::tempdir().unwrap();
    let error = train(&alone, &Cycle, out.path(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("left out, or `start` given"), "{error}");
    let error = train(&onward(None, 24, 96), &Cycle, out.path(), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "`start = \"toy\"`: the model is not given to the run; it is found by `harness train`");
    // A checkpoint of a run from another model is another run's.
    let mut trainer = Trainer::open(&onward(None, 24, 96), &Cycle, Some(&start), out.path()).unwrap();
    trainer.advance(&Cycle, &mut [], &mut |_| {}).unwrap();
    assert!(Trainer::open(&onward(None, 24, 96), &Cycle, Some(&start), out.path()).is_ok());
}
