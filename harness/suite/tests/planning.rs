//! What flags change of a suite, what its hash is of, the plan of its cells, and which of them are selected.

#![allow(clippy::unwrap_used)]

mod support;

use harness_core::{Axis, Value};
use harness_suite::{Overrides, Plan, Selection, SelectionError};
use support::{bench, faults, labels, list, parse, parse_with};

fn set(text: &str, flags: &[&str]) -> Result<harness_suite::Suite, harness_suite::Diagnostics> {
    parse_with(text, &Overrides { set: flags.iter().map(ToString::to_string).collect(), quick: false })
}

#[test]
fn set_changes_a_suite_before_it_is_resolved() {
    let text = bench("prune = [\"none\", \"wanda\"]\nexpect = \"ppl(wanda) < 3\"");
    let flags =
        ["b.data.windows=4", "suite.seed=9", "b.prune=[\"magnitude(sparsity=0.5)\"]", "*.calibration_order=dense-once"];
    let suite = set(&text, &flags).unwrap();
    assert_eq!((suite.seed, labels(&suite, Axis::Prune)), (9, vec!["magnitude(sparsity=0.5)".to_owned()]));
    assert_eq!(suite.benches[0].axes[&Axis::Data][0].parameters[2].1, Value::Int(4));
    assert_eq!(suite.benches[0].setting("calibration_order"), Some(&Value::Text("dense-once".into())));
    assert_eq!(suite.notes.len(), 1, "{:?}", suite.notes);
    assert_eq!(suite.benches[0].expect, []);
    assert_ne!(suite.hash, parse(&text).unwrap().hash);
    assert_eq!(labels(&set(&text, &["b.prune=wanda(sparsity=0.25)"]).unwrap(), Axis::Prune), ["wanda(sparsity=0.25)"]);
}

#[test]
fn faults_of_a_flag_point_at_the_flag() {
    let fault = |flag: &str| {
        let diagnostics = set(&bench(""), &[flag]).unwrap_err();
        assert_eq!(diagnostics.location(diagnostics.iter().next().unwrap()).file, "--set");
        list(&diagnostics).join("; ")
    };
    assert_eq!(fault("c.seed=1"), "1:1 the suite has no bench `c`");
    assert_eq!(fault("b.seed=-1"), "1:8 `seed` must be a whole number from 0, not -1");
    assert_eq!(fault("b.data.window=1"), "1:15 `window = 1` is outside its range [2, 1000000]");
    assert_eq!(fault("b.sed=1"), "1:3 a language-model bench has no key `sed`");
    assert_eq!(fault("b.seed"), "1:1 `--set` needs `=` and a value");
    assert_eq!(fault("seed=1"), "1:1 `seed` is no place in a suite");
    assert_eq!(fault("b.prune=wanda(sparsity=3)"), "1:24 `sparsity = 3` is outside its range [0, 1)");
    assert!(fault("b.prune=[\"none\"").starts_with("1:"));
}

#[test]
fn quick_shrinks_a_suite() {
    let quick = Overrides { set: vec![], quick: true };
    let text =
        bench("calib = { corpus = \"fables/train\", windows = 32 }").replace("\"tiny-a\"", "[\"tiny-b\", \"tiny-a\"]");
    let suite = parse_with(&text, &quick).unwrap();
    assert_eq!(labels(&suite, Axis::Model), ["tiny-b"]);
    assert_eq!(suite.benches[0].tables["calib"].parameters[2].1, Value::Int(8));
    let own = bench("prune = [\"none\", \"wanda\"]\nquick = { data.windows = 2, prune = \"wanda\" }");
    let suite = parse_with(&own, &quick).unwrap();
    assert_eq!(labels(&suite, Axis::Prune), ["wanda"]);
    assert_eq!(suite.benches[0].axes[&Axis::Data][0].parameters[2].1, Value::Int(2));
    assert_eq!(labels(&parse(&own).unwrap(), Axis::Prune), ["none", "wanda"]);
    let wrong = bench("quick = { data.windows = 0 }");
    assert_eq!(faults(&wrong), ["6:26 `windows = 0` is outside its range [1, 1000000]"]);
}

#[test]
fn the_hash_is_of_the_content() {
    let hash = |text: &str| parse(text).unwrap().hash;
    let text = bench("rounds = 3\nseed = [0, 1]");
    assert_eq!(hash(&text), hash(&text.replace("rounds = 3\n", "# a comment\n\nrounds =   3\n")));
    assert_eq!(hash(&text), hash(&bench("seed = [0, 1]\nrounds = 3")));
    assert_ne!(hash(&text), hash(&text.replace("[0, 1]", "[1, 0]")));
    assert_eq!(hash(&text).len(), 64);
}

fn check_branches(branches: &[harness_suite::Branch], plan: &Plan) {
    for branch in branches {
        for cell in &plan.cells()[branch.cells.clone()] {
            assert_eq!(cell.cell.coordinates[&branch.axis], branch.coordinate);
        }
        let inner: usize = branch.branches.iter().map(|inner| inner.cells.len()).sum();
        assert!(branch.branches.is_empty() && branch.cells.len() == 1 || inner == branch.cells.len());
        check_branches(&branch.branches, plan);
    }
}

#[test]
fn the_plan_is_a_tree_over_contiguous_cells() {
    let lines = "prune = { method = \"sparsegpt\", sparsity = { from = 0.1, to = 0.9, step = 0.1 }, block = { from = 1, to = 50, step = 1 } }\nseed = { from = 1, to = 11, step = 1 }";
    let suite = parse(&bench(lines).replace("\"tiny-a\"", "[\"tiny-a\", \"tiny-b\"]")).unwrap();
    let plan = Plan::of(&suite, &Selection::default()).unwrap();
    assert_eq!(plan.cells().len(), 2 * 9 * 50 * 11);
    let counts = plan.preparations();
    assert_eq!(
        (counts[&Axis::Model], counts[&Axis::Prune], counts[&Axis::Data], counts[&Axis::Seed]),
        (2, 900, 900, 9900)
    );
    assert_eq!(plan.tree()[0].cells, 0..9900);
    check_branches(&plan.tree()[0].branches, &plan);
}

#[test]
fn cells_are_selected_by_their_printed_form() {
    let suite =
        parse(&bench("prune = [\"none\", { method = [\"wanda\", \"magnitude\"], sparsity = [0.3, 0.5] }]")).unwrap();
    let select = |filters: &[&str], limit| {
        let filters = filters.iter().map(ToString::to_string).collect();
        Plan::of(&suite, &Selection { filters, limit })
    };
    let count = |filters: &[&str]| select(filters, None).unwrap().cells().len();
    assert_eq!(
        (count(&["wanda"]), count(&["sparsity=0.5"]), count(&["wanda", "0.5"]), count(&["!none"])),
        (2, 2, 1, 4)
    );
    assert_eq!(count(&["tiny-a*sparsity=0.3"]), 2);
    assert_eq!((count(&["=b / tiny-a / none / fables/test"]), count(&["!=b / tiny-a / none / fables/test"])), (1, 4));
    assert!(select(&["=b / tiny-a / none"], None).is_err(), "a part is not the whole");
    assert_eq!(select(&[], Some(3)).unwrap().cells().len(), 3);
    let SelectionError::Empty { cells, example, .. } = select(&["nothing"], None).unwrap_err();
    assert_eq!((cells, example.as_str()), (5, "b / tiny-a / none / fables/test"));
    assert!(select(&[], Some(0)).is_err());
}
