//! Whole runs of a toy decoder.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::recipe::{AttentionRecipe, PositionRecipe};
use super::*;
use crate::config::{DistanceBias, PositionScheme};
use crate::load::load;

/// A cycle of eight tokens with a jump now and then: learnable in a few steps.
pub(super) struct Cycle;

impl TokenSource for Cycle {
    fn identity(&self) -> String {
        "cycle 1".to_owned()
    }

    fn vocabulary(&self) -> usize {
        16
    }

    fn begin(&self) -> Option<u32> {
        Some(0)
    }

    fn end(&self) -> Option<u32> {
        None
    }

    fn tokenizer(&self) -> Option<Tokenizer> {
        None
    }

    fn window(&self, split: &str, index: u64, length: usize) -> Result<Vec<u32>, String> {
        if split == "none" {
            return Err("there is no such split".to_owned());
        }
        Ok((0..length as u64).map(|place| ((index * 5 + place + place / 11) % 8) as u32).collect())
    }
}

pub(super) fn recipe() -> Recipe {
    Recipe::parse(
        r#"
        format = 1
        name = "toy"
        about = "a toy"
        [architecture]
        hidden = 32
        feed_forward = 64
        layers = 1
        heads = 2
        kv_heads = 1
        head_dim = 16
        rope_theta = 10000.0
        tied_head = true
        [data]
        corpus = "cycle"
        train = "train"
        valid = "valid"
        valid_windows = 4
        context = 24
        [training]
        seed = 3
        tokens = 5760
        batch = 4
        learning_rate = 0.01
        warmup = 0.1
        final_share = 0.1
        weight_decay = 0.1
        beta1 = 0.9
        beta2 = 0.98
        epsilon = 1e-8
        clip = 1.0
        evaluate_every = 20
        checkpoint_every = 25
        "#,
    )
    .unwrap()
}

#[test]
fn the_loss_falls_and_the_folder_loads() {
    let out = tempfile::tempdir().unwrap();
    let mut events = Vec::new();
    let trained = train(&recipe(), &Cycle, out.path(), &mut |event| events.push(event)).unwrap();
    assert_eq!(recipe().steps(), 60);
    assert_eq!(events[0], Event::Started { step: 0, steps: 60, parameters: trained.parameters });
    let Event::Step { loss: first, .. } = events[1] else { panic!("{:?}", events[1]) };
    // A tied head at first favours repeating the token, so the first loss is above that of a uniform guess.
    assert!(first > 16f64.ln(), "{first}");
    let last = trained.curve.last().unwrap();
    assert_eq!((last.step, last.tokens, trained.curve.len()), (60, 5760, 3));
    assert!(last.valid < 0.8, "{}", last.valid);
    assert!(trained.tokens_per_second.unwrap() > 0.0);
    let loaded = load(&out.path().join("model")).unwrap();
    assert_eq!(loaded.config.hidden_size, 32);
    for (name, weight) in &trained.checkpoint.tensors {
        let kept = loaded.tensors[name].to_f32();
        let close = weight.to_f32().iter().zip(kept).all(|(a, b)| (a - b).abs() <= 1e-3 * a.abs() + 1e-6);
        assert!(close, "{name}");
    }
    let log = std::fs::read_to_string(out.path().join("log.jsonl")).unwrap();
    assert_eq!(serde_json::from_str::<CurvePoint>(log.lines().last().unwrap()).unwrap(), *last);
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_to_the_last_bit() {
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = train(&recipe(), &Cycle, whole.path(), &mut |_| {}).unwrap();
    let mut trainer = Trainer::open(&recipe(), &Cycle, None, cut.path()).unwrap();
    for _ in 0..33 {
        trainer.advance(&Cycle, &mut [], &mut |_| {}).unwrap();
    }
    // Killed here: the checkpoint of step 25 is on disk, the eight steps after it are lost.
    drop(trainer);
    let mut first = None;
    let resumed = train(&recipe(), &Cycle, cut.path(), &mut |event| {
        first.get_or_insert(event);
    })
    .unwrap();
    assert!(matches!(first, Some(Event::Started { step: 25, .. })));
    assert_eq!(resumed.curve, expected.curve);
    for (name, weight) in &expected.checkpoint.tensors {
        assert_eq!(weight.to_f32(), resumed.checkpoint.tensors[name].to_f32(), "{name}");
    }
    let bytes = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
    for name in ["checkpoint.safetensors", "log.jsonl", "model/model.safetensors"] {
        assert!(bytes(whole.path(), name) == bytes(cut.path(), name), "{name}");
    }
    // Nothing is left to do.
    let again = train(&recipe(), &Cycle, cut.path(), &mut |_| {}).unwrap();
    assert_eq!((again.tokens_per_second, again.curve), (None, expected.curve));
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::open(&recipe(), &Cycle, None, out.path()).unwrap();
    trainer.advance(&Cycle, &mut [], &mut |_| {}).unwrap();
    trainer.save().unwrap();
    let mut other = recipe();
    other.training.learning_rate = 0.02;
    let error = train(&other, &Cycle, out.path(), &mut |_| {}).unwrap_err();
    let path = out.path().join("checkpoint.safetensors");
    assert_eq!(
        error.to_string(),
        format!("{} is the checkpoint of another recipe or text; choose another folder or remove it", path.display())
    );
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(train(&recipe(), &Cycle, out.path(), &mut |_| {}), Err(TrainError::Checkpoint { .. })));
    let mut missing = recipe();
    missing.data.train = "none".to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let error = train(&missing, &Cycle, elsewhere.path(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.ends_with("of split `none`: there is no such split"), "{error}");
}

/// Keeps the first half of every query projection at zero and stops the norms from learning.
struct Mask;

impl Hook for Mask {
    fn group(&mut self, name: &str, group: Group) -> Group {
        if name.ends_with("norm.weight") { Group { rate: 0.0, decay: 0.0 } } else { group }
    }

    fn before_step(&mut self, at: StepInfo, weights: &mut BTreeMap<String, Vec<f32>>) -> Result<(), String> {
        if at.step == 0 { self.after_step(at, weights) } else { Ok(()) }
    }

    fn after_step(&mut self, _: StepInfo, weights: &mut BTreeMap<String, Vec<f32>>) -> Result<(), String> {
        let weight = weights.get_mut("model.layers.0.self_attn.q_proj.weight").ok_or("no query projection")?;
        let half = weight.len() / 2;
        weight[..half].fill(0.0);
        Ok(())
    }
}

#[test]
fn hooks_hold_masks_and_set_groups() {
    let out = tempfile::tempdir().unwrap();
    let mut hooks: [Box<dyn Hook>; 1] = [Box::new(Mask)];
    let trained = train_with(&recipe(), &Cycle, None, out.path(), &mut hooks, &mut |_| {}).unwrap();
    let query = trained.checkpoint.tensors["model.layers.0.self_attn.q_proj.weight"].to_f32();
    assert!(query[..query.len() / 2].iter().all(|&value| value == 0.0));
    assert!(query[query.len() / 2..].iter().all(|&value| value != 0.0));
    assert!(trained.checkpoint.tensors["model.norm.weight"].to_f32().iter().all(|&value| value == 1.0));
}

#[test]
fn groups_are_attended_to_in_training_alone() {
    let mut grouped = recipe();
    grouped.architecture.kv_heads = 2;
    let mut losses = Vec::new();
    for attention in [AttentionRecipe::Full, AttentionRecipe::Groups, AttentionRecipe::ShiftedGroups] {
        grouped.training.attention = attention;
        let out = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::open(&grouped, &Cycle, None, out.path()).unwrap();
        let before = trainer.evaluate(&Cycle).unwrap();
        let mut first = f64::NAN;
        trainer
            .advance(&Cycle, &mut [], &mut |event| {
                if let Event::Step { loss, .. } = event {
                    first = loss;
                }
            })
            .unwrap();
        losses.push((before, first));
    }
    let [full, groups, shifted] = losses[..] else { panic!("{losses:?}") };
    assert!(full.0 == groups.0 && full.0 == shifted.0, "validation attends to everything: {losses:?}");
    assert!(full.1 != groups.1 && full.1 != shifted.1 && groups.1 != shifted.1, "{losses:?}");
    for (heads, position, context) in [
        (2, PositionRecipe::Alibi, 24),
        (2, PositionRecipe::Rope, 22),
        (2, PositionRecipe::Rope, 12),
        (1, PositionRecipe::Rope, 24),
    ] {
        let mut refused = grouped.clone();
        refused.architecture.heads = heads;
        refused.architecture.kv_heads = heads;
        refused.architecture.position = position;
        refused.data.context = context;
        let said = refused.check().unwrap_err().to_string();
        assert!(said.contains("training.attention") && said.contains("whole quarters"), "{said}");
    }
}

#[test]
fn a_net_of_distances_is_learned() {
    let mut recipe = recipe();
    recipe.architecture.position = PositionRecipe::Fire;
    let out = tempfile::tempdir().unwrap();
    let trainer = Trainer::open(&recipe, &Cycle, None, out.path()).unwrap();
    let name = "model.layers.0.self_attn.position.bias";
    let before = trainer.weights()[name].clone();
    assert_eq!(before[..2], [0.1, 1.0]);
    let trained = train(&recipe, &Cycle, out.path(), &mut |_| {}).unwrap();
    let after = trained.checkpoint.tensors[name].to_f32();
    let still = before.iter().zip(&after).filter(|(before, after)| before == after).count();
    // A unit that is asleep at every distance does not learn; the numbers that all share do.
    assert!(before[0] != after[0] && before[1] != after[1] && still < before.len() / 2, "{still} stood still");
    assert!(trained.curve.last().unwrap().valid < 0.8);
    let loaded = load(&out.path().join("model")).unwrap();
    assert_eq!(loaded.config.position, PositionScheme::Biases(DistanceBias::Fire));
}

#[test]
fn recipes_that_come_with_the_data_hold_together() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/recipes");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 4);
    for file in files {
        let recipe = Recipe::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert_eq!(recipe.name, format!("tiny-300k-{name}"));
    }
}
