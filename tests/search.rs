//! `harness search`, and recipes that begin from a model.

use serde_json::Value;

use crate::support::{root, run, scratch};

const SMALL: [&str; 12] = [
    "search",
    "--model",
    "tiny-100k",
    "--corpus",
    "fables/valid",
    "--documents",
    "2",
    "--population",
    "5",
    "--generations",
    "1",
    "--seed=3",
];

fn searched(more: &[&str]) -> Value {
    let ran = run(&[&SMALL[..], more, &["--json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn what_is_found_is_never_worse_than_what_is_known_and_is_an_arm() {
    for by in ["--by=needles", "--by=text"] {
        let found = searched(&[by, "--length=600"]);
        assert_eq!(found, searched(&[by, "--length=600"]), "{by}");
        let best = found["best"]["ppl"].as_f64().unwrap();
        let known = found["known"].as_array().unwrap();
        assert_eq!(
            known.iter().map(|one| one["origin"].as_str().unwrap()).collect::<Vec<_>>(),
            ["linear", "ntk", "yarn"]
        );
        assert!(known.iter().all(|one| best <= one["ppl"].as_f64().unwrap()), "{found}");
        let arm = found["arm"].as_str().unwrap();
        let shown = run(&["inspect", "position", arm, "--model", "tiny-100k", "--length", "600", "--json"]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        let shown: Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(shown["method"].as_str().unwrap(), arm);
    }
    let folder = scratch();
    let path = folder.path().join("found.json").display().to_string();
    let ran = run(&[&SMALL[..], &["--length=600", "--out", &path]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(ran.out.lines().last(), written["arm"].as_str());
    assert_eq!(run(&[&SMALL[..], &["--length=600", "--out", &path]].concat()).code, 110);
}

#[test]
fn what_cannot_be_searched_ends_with_a_reason() {
    for (more, code, said) in [
        (&["--factor=1"][..], 2, "--factor 1 must be above 1 and at most 1024"),
        (&["--attention-factor=0"], 2, "--attention-factor 0 must be a positive number"),
        (&["--length=200"], 2, "tokens do not go beyond the 256 positions that the model was trained at"),
        (&["--corpus=fabels/valid"], 2, "fabels"),
    ] {
        // A switch is given once.
        let kept: Vec<&str> =
            if more[0].starts_with("--corpus") { [&SMALL[..3], &SMALL[5..]].concat() } else { SMALL.to_vec() };
        let ran = run(&[&kept[..], more].concat());
        assert_eq!((ran.code, ran.err.contains(said)), (code, true), "{more:?}: {}", ran.err);
    }
    let ran = run(&["search", "--model", "tiny-300k-alibi", "--corpus", "fables/valid", "--documents", "1"]);
    assert!(ran.code == 2 && ran.err.contains("only rotary frequencies can be searched"), "{}", ran.err);
}

#[test]
fn recipes_that_do_not_fit_the_model_they_begin_from_end_with_what_differs() {
    let folder = scratch();
    let recipe = std::fs::read_to_string(root().join("datasets/models/tiny-300k-pi/recipe.toml")).unwrap();
    let out = folder.path().join("out").display().to_string();
    for (from, to, code, said) in [
        ("\"tiny-300k\"", "\"tiny-100k\"", 2, "architecture.hidden is 128 in the recipe and 64 there"),
        ("linear(factor=4)", "linear(factor=0.5)", 2, "`factor = 0.5` is outside its range"),
        ("linear(factor=4)", "lm-infinite", 2, "leaves rotary frequencies as they are"),
        ("linear(factor=4)", "clex", 2, "needs `data.places = \"stretched\"`"),
        ("start  = \"tiny-300k\"", "start  = \"tiny-301k\"", 2, "tiny-301k"),
        ("start  = \"tiny-300k\"", "", 2, "left out, or `start` given"),
    ] {
        assert!(recipe.contains(from), "{from}");
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, recipe.replacen(from, to, 1)).unwrap();
        let ran = run(&["train", &path.display().to_string(), "--out", &out]);
        assert_eq!((ran.code, ran.err.contains(said)), (code, true), "{to}: {}", ran.err);
    }
}
