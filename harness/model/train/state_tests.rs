//! Runs of a toy decoder of state spaces, whose windows follow one another.
#![allow(clippy::unwrap_used)]

use super::tests::Cycle;
use super::*;
use crate::cache::KvCache;
use crate::decoder::Decoder;
use crate::load::load;

fn recipe(state: &str) -> Recipe {
    Recipe::parse(&format!(
        r#"
        format = 1
        name = "toy"
        about = "a toy"
        [architecture]
        hidden = 16
        layers = 2
        tied_head = true
        state_space = {{ channels = 32, states = 4, taps = 3, step_rank = 2 }}
        [data]
        corpus = "cycle"
        train = "train"
        valid = "valid"
        valid_windows = 4
        context = 16
        [training]
        seed = 3
        tokens = 2560
        batch = 4
        {state}
        learning_rate = 0.01
        warmup = 0.1
        final_share = 0.1
        weight_decay = 0.1
        beta1 = 0.9
        beta2 = 0.98
        epsilon = 1e-8
        clip = 1.0
        evaluate_every = 20
        checkpoint_every = 15
        "#
    ))
    .unwrap()
}

const PREVIOUS: &str = "state = \"previous\"";
const ZERO: &str = "state = \"zero\"";

#[test]
fn the_loss_falls_and_the_folder_is_that_of_a_mamba_model() {
    for state in [PREVIOUS, ZERO, ""] {
        let out = tempfile::tempdir().unwrap();
        let trained = train(&recipe(state), &Cycle, out.path(), &mut |_| {}).unwrap();
        assert_eq!(recipe(state).steps(), 40);
        assert!(trained.curve.last().unwrap().valid < 1.2, "{state}: {:?}", trained.curve);
        let loaded = load(&out.path().join("model")).unwrap();
        assert_eq!((loaded.config.architecture.as_str(), loaded.config.max_positions), ("mamba", 16));
        assert_eq!(loaded.parameters(), trained.parameters);
        let decoder = Decoder::from_checkpoint(&loaded).unwrap();
        assert_eq!(decoder.parameters(), trained.parameters);
        assert!(decoder.has_states());
    }
}

#[test]
fn windows_of_a_row_follow_one_another_and_each_step_reads_on_from_the_states_before() {
    let (recipe, out) = (recipe(PREVIOUS), tempfile::tempdir().unwrap());
    let mut trainer = Trainer::open(&recipe, &Cycle, None, out.path()).unwrap();
    let length = recipe.steps() * 16 + 1;
    let rows: Vec<Vec<u32>> = (0..4).map(|row| Cycle.window("train", (3 << 40) + row, length).unwrap()).collect();
    // The states of the weights of each step, carried by hand along the same streams.
    let mut expected: Option<KvCache> = None;
    for step in 0..5 {
        let parts: Vec<&[u32]> = rows.iter().map(|row| &row[step * 16..(step + 1) * 16]).collect();
        let cache = expected.get_or_insert_with(|| trainer.decoder().new_cache());
        let hidden = trainer.decoder().step(&parts, cache, 16).unwrap();
        let targets: Vec<u32> = rows.iter().flat_map(|row| row[step * 16 + 1..=(step + 1) * 16].to_vec()).collect();
        let logits = trainer.decoder().logits(&hidden.flatten_to(1).unwrap()).unwrap();
        let wanted = crate::ops::cross_entropy(&logits, &targets).unwrap().to_scalar::<f32>().unwrap();
        let mut found = None;
        trainer
            .advance(&Cycle, &mut [], &mut |event| {
                if let Event::Step { loss, .. } = event {
                    found = Some(loss);
                }
            })
            .unwrap();
        assert_eq!(found, Some(f64::from(wanted)), "step {step}");
        assert_eq!(trainer.carried().unwrap().states(), cache.states(), "step {step}");
        assert_eq!(cache.len(), (step + 1) * 16);
    }
}

#[test]
fn the_first_step_is_that_of_zeros_and_the_second_is_not() {
    let run = |state: &str| {
        let out = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::open(&recipe(state), &Cycle, None, out.path()).unwrap();
        let mut losses = Vec::new();
        for _ in 0..2 {
            trainer
                .advance(&Cycle, &mut [], &mut |event| {
                    if let Event::Step { loss, .. } = event {
                        losses.push(loss);
                    }
                })
                .unwrap();
        }
        losses
    };
    let (zero, previous) = (run(ZERO), run(PREVIOUS));
    assert_eq!(zero[0], previous[0]);
    assert_ne!(zero[1], previous[1]);
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_to_the_last_bit() {
    for state in [PREVIOUS, ZERO] {
        let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        train(&recipe(state), &Cycle, whole.path(), &mut |_| {}).unwrap();
        let mut trainer = Trainer::open(&recipe(state), &Cycle, None, cut.path()).unwrap();
        for _ in 0..22 {
            trainer.advance(&Cycle, &mut [], &mut |_| {}).unwrap();
        }
        // The checkpoint of step 15 is on disk, seven steps after it are lost.
        drop(trainer);
        train(&recipe(state), &Cycle, cut.path(), &mut |_| {}).unwrap();
        for name in ["checkpoint.safetensors", "log.jsonl", "model/model.safetensors"] {
            let bytes = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
            assert!(bytes(whole.path()) == bytes(cut.path()), "{state}: {name}");
        }
    }
}

#[test]
fn a_checkpoint_without_its_states_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::open(&recipe(PREVIOUS), &Cycle, None, out.path()).unwrap();
    trainer.advance(&Cycle, &mut [], &mut |_| {}).unwrap();
    trainer.forget_carried();
    trainer.save().unwrap();
    drop(trainer);
    let error = train(&recipe(PREVIOUS), &Cycle, out.path(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("does not hold the states that its recipe reads on from; choose another folder"), "{error}");
}

/// A text whose windows are problems of their own.
struct Problems;

impl TokenSource for Problems {
    fn identity(&self) -> String {
        "problems".to_owned()
    }

    fn vocabulary(&self) -> usize {
        16
    }

    fn begin(&self) -> Option<u32> {
        None
    }

    fn end(&self) -> Option<u32> {
        None
    }

    fn tokenizer(&self) -> Option<Tokenizer> {
        None
    }

    fn window(&self, split: &str, index: u64, length: usize) -> Result<Vec<u32>, String> {
        Cycle.window(split, index, length)
    }

    fn goes_on(&self) -> bool {
        false
    }
}

#[test]
fn what_states_have_no_use_for_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let error = train(&recipe(PREVIOUS), &Problems, out.path(), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(
        error,
        "`training.state` of the recipe is previous; it must be left out on `cycle`, whose windows are problems of their own: none goes on where another ended"
    );
    let refused = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe(PREVIOUS);
        change(&mut recipe);
        recipe.check().unwrap_err().to_string()
    };
    let left_out = "left out, for state spaces have neither attention nor positions nor a feed-forward part";
    assert_eq!(
        refused(&|recipe| recipe.architecture.heads = 2),
        format!("`architecture.heads` of the recipe is 2; it must be {left_out}")
    );
    assert!(refused(&|recipe| recipe.architecture.rope_theta = 1e4).ends_with(left_out));
    assert!(refused(&|recipe| recipe.architecture.positions = Some("yarn".to_owned())).ends_with(left_out));
    let zero = refused(&|recipe| recipe.architecture.state_space.as_mut().unwrap().states = 0);
    assert_eq!(zero, "`architecture.state_space.states` of the recipe is 0; it must be 1 to 1024");
    let mut attention = super::tests::recipe();
    attention.training.state = Some(StateRecipe::Zero);
    assert_eq!(
        attention.check().unwrap_err().to_string(),
        "`training.state` of the recipe is zero; it must be left out, or `architecture.state_space` given: attention begins every window anew"
    );
}
