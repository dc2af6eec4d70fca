//! Every rule of the suite file, on a small catalog.

#![allow(clippy::unwrap_used)]

mod support;

use harness_core::chart::{IntervalStyle, StyleName};
use harness_core::statistics::LawForm;
use harness_core::{Axis, Value};
use harness_suite::{Column, Plan, Reference, Right, Selection};
use support::{bench, faults, labels, list, parse};

#[test]
fn text_and_tables_are_the_same_arm() {
    let suite =
        parse(&bench("prune = [\"wanda(sparsity=0.5)\", { method = \"wanda\", sparsity = 0.3 }, \"none\"]")).unwrap();
    assert_eq!(labels(&suite, Axis::Prune), ["wanda(sparsity=0.5)", "wanda(sparsity=0.3)", "none"]);
    let single = parse(&bench("prune = \"sparsegpt\"")).unwrap();
    let at = &single.benches[0].axes[&Axis::Prune][0];
    assert_eq!((at.label.as_str(), at.id.as_str()), ("sparsegpt", "sparsegpt"));
    assert_eq!(at.parameters[3], ("block".to_owned(), Value::Int(128)));
}

#[test]
fn lists_multiply_in_the_order_written() {
    let suite = parse(&bench("prune = { method = [\"magnitude\", \"wanda\"], sparsity = [0.3, 0.5] }")).unwrap();
    let wanted = ["magnitude(sparsity=0.3)", "magnitude(sparsity=0.5)", "wanda(sparsity=0.3)", "wanda(sparsity=0.5)"];
    assert_eq!(labels(&suite, Axis::Prune), wanted);
    assert_eq!(suite.benches[0].cell_count(), 4);
}

#[test]
fn ranges_are_decimal_and_reach_their_end() {
    let suite =
        parse(&bench("prune = { method = \"wanda\", sparsity = { from = 0.1, to = 0.7, step = 0.2 } }")).unwrap();
    let wanted = ["wanda(sparsity=0.1)", "wanda(sparsity=0.3)", "wanda(sparsity=0.5)", "wanda(sparsity=0.7)"];
    assert_eq!(labels(&suite, Axis::Prune), wanted);
    let seeds = parse(&bench("seed = { from = 0, to = 4, step = 2 }")).unwrap();
    assert_eq!(labels(&seeds, Axis::Seed), ["0", "2", "4"]);
}

#[test]
fn zipped_keys_advance_together() {
    let arm = "{ method = \"sparsegpt\", sparsity = [0.3, 0.5], block = [32, 64], damp = [0.1, 0.2], zip = [\"sparsity\", \"block\"] }";
    let suite = parse(&bench(&format!("prune = {arm}"))).unwrap();
    let wanted = [
        "sparsegpt(sparsity=0.3, damp=0.1, block=32)",
        "sparsegpt(sparsity=0.3, damp=0.2, block=32)",
        "sparsegpt(sparsity=0.5, damp=0.1, block=64)",
        "sparsegpt(sparsity=0.5, damp=0.2, block=64)",
    ];
    let mut found = labels(&suite, Axis::Prune);
    found.sort();
    assert_eq!(found, wanted);
    let uneven =
        "prune = { method = \"sparsegpt\", sparsity = [0.3, 0.5], block = [32], zip = [\"sparsity\", \"block\"] }";
    assert_eq!(
        faults(&bench(uneven)),
        ["6:89 `block` has 1 values and `sparsity` has 2; zipped lists are equally long"]
    );
    let unknown = "prune = { method = \"wanda\", sparsity = [0.3, 0.5], zip = [\"sparsity\", \"method\"] }";
    assert_eq!(faults(&bench(unknown)), ["6:71 `method` is no key of this table that can be zipped"]);
}

#[test]
fn zipped_axes_advance_together() {
    let lines =
        "prune = [\"none\", \"wanda\"]\nquant = [\"none\", \"rtn\"]\nseed = [0, 1]\nzip = [[\"prune\", \"quant\"]]";
    let suite = parse(&bench(lines)).unwrap();
    let plan = Plan::of(&suite, &Selection::default()).unwrap();
    let printed: Vec<String> = plan.cells().iter().map(|planned| planned.cell.to_string()).collect();
    assert_eq!(
        printed,
        [
            "b / tiny-a / none / none / fables/test / 0",
            "b / tiny-a / none / none / fables/test / 1",
            "b / tiny-a / wanda / rtn / fables/test / 0",
            "b / tiny-a / wanda / rtn / fables/test / 1",
        ]
    );
    let uneven = "prune = [\"none\", \"wanda\"]\nquant = \"rtn\"\nzip = [[\"prune\", \"quant\"]]";
    assert_eq!(faults(&bench(uneven)), ["8:18 `quant` has 1 arms and `prune` has 2; zipped axes have equally many"]);
    assert_eq!(faults(&bench("zip = [[\"model\", \"prune\"]]")), ["6:18 `prune` is no axis that bench `b` sets"]);
}

#[test]
fn tables_are_resolved_and_labelled_by_what_differs() {
    let text = bench("").replace("{ corpus = \"fables/test\" }", "{ corpus = \"fables/test\", window = [128, 256] }");
    let suite = parse(&text).unwrap();
    assert_eq!(labels(&suite, Axis::Data), ["fables/test(window=128)", "fables/test(window=256)"]);
    let data = &suite.benches[0].axes[&Axis::Data][0];
    assert_eq!((data.id.as_str(), &data.parameters[2]), ("fables/test", &("windows".to_owned(), Value::Int(64))));
    let calib = parse(&bench("calib = { corpus = \"fables/train\", windows = 4 }")).unwrap();
    assert_eq!(calib.benches[0].tables["calib"].label, "fables/train");
    assert_eq!(
        faults(&bench("calib = { corpus = \"fables/train\", windows = [4, 8] }")),
        ["6:36 `calib.windows` cannot sweep"]
    );
    assert_eq!(faults(&bench("calib = { windows = 4 }")), ["6:9 `calib` lacks `corpus`"]);
}

#[test]
fn settings_have_defaults_and_ranges() {
    let suite = parse(&bench("rounds = 3")).unwrap();
    assert_eq!(suite.benches[0].setting("rounds"), Some(&Value::Int(3)));
    assert_eq!(suite.benches[0].setting("calibration_order"), Some(&Value::Text("sequential".into())));
    assert_eq!(faults(&bench("rounds = 0")), ["6:10 `rounds = 0` is outside its range [1, 65536]"]);
    let order = faults(&bench("calibration_order = \"sequental\""));
    assert_eq!(
        order,
        ["6:21 `calibration_order` must be one of dense-once, sequential, true-sequential, not sequental"]
    );
}

#[test]
fn every_wrong_value_of_a_sweep_is_pointed_at_once() {
    let text = bench("prune = { method = [\"magnitude\", \"wanda\"], sparsity = [0.3, 1.5, -1, 0.5] }");
    assert_eq!(
        faults(&text),
        ["6:61 `sparsity = 1.5` is outside its range [0, 1)", "6:66 `sparsity = -1` is outside its range [0, 1)",]
    );
    let range = bench("prune = { method = \"wanda\", sparsity = { from = 0.5, to = 1.5, step = 0.5 } }");
    assert_eq!(faults(&range), ["6:40 `sparsity = 1.5` is outside its range [0, 1)"]);
    let halves = bench("prune = { method = \"sparsegpt\", block = { from = 1, to = 2, step = 0.5 } }");
    assert_eq!(faults(&halves), ["6:41 `block` must be a whole number, not 1.5"]);
}

#[test]
fn a_method_of_another_axis_is_named() {
    let text = bench("prune = \"rtn(bits=4)\"");
    assert_eq!(faults(&text), ["6:10 `rtn` is no method of the prune axis"]);
    let help = parse(&text).unwrap_err().iter().next().unwrap().help.clone().unwrap();
    assert_eq!(help, "write it under `quant`; prune has none, random, magnitude, wanda, sparsegpt");
}

#[test]
fn a_duplicate_names_both_places() {
    let diagnostics =
        parse(&bench("prune = [\"wanda(sparsity=0.5)\", { method = \"wanda\", sparsity = [0.3, 0.5] }]")).unwrap_err();
    assert_eq!(list(&diagnostics), ["6:33 `wanda(sparsity=0.5)` stands twice on `prune`"]);
    let other = diagnostics.iter().next().unwrap().other.clone().unwrap();
    assert_eq!((other.0.start - 8, other.1.as_str()), (bench("").len() - 1 + 1, "first here"));
    assert_eq!(faults(&bench("prune = [\"magnitude\", \"magnitude(scope=layer)\"]")).len(), 1);
    assert_eq!(
        faults(&bench("").replace("\"tiny-a\"", "[\"tiny-a\", \"tiny-a\"]")),
        ["3:20 `tiny-a` stands twice on `model`"]
    );
}

#[test]
fn parameters_that_exclude_each_other_are_refused() {
    let text = bench("prune = { method = \"wanda\", sparsity = 0.5, pattern = \"2:4\" }");
    assert_eq!(faults(&text), ["6:9 `wanda(sparsity=0.5, pattern=2:4)`: `sparsity` and `pattern` exclude each other"]);
}

#[test]
fn all_faults_of_a_file_come_at_once() {
    let text = bench("prune = [\"wnada\", { method = \"wanda\", sparsty = 0.5 }]\nmetric = 1\nrounds = \"x\"")
        .replace("\"tiny-a\"", "\"tiny-z\"")
        .replace("\"kl\"", "\"lk\"");
    assert_eq!(
        faults(&text),
        [
            "3:9 there is no model `tiny-z`",
            "5:19 `lk` is no metric",
            "6:11 `wnada` is no method of the prune axis",
            "6:39 `wanda` has no parameter `sparsty`",
            "7:1 a language-model bench has no key `metric`",
            "8:10 `rounds` must be a whole number, not x",
        ]
    );
}

#[test]
fn empty_sweeps_are_refused() {
    assert_eq!(faults(&bench("prune = []")), ["6:9 `prune` sweeps over nothing"]);
    assert_eq!(
        faults(&bench("prune = { method = \"wanda\", sparsity = [] }")),
        ["6:40 `sparsity` sweeps over nothing"]
    );
    assert_eq!(faults(&bench("prune = { method = [], sparsity = 0.5 }")), ["6:20 `method` sweeps over nothing"]);
}

#[test]
fn a_huge_sweep_is_counted_and_not_expanded() {
    let text = bench(
        "prune = { method = \"sparsegpt\", sparsity = { from = 0, to = 0.999999, step = 0.000001 }, damp = { from = 1, to = 10, step = 1 } }",
    );
    assert_eq!(faults(&text), ["6:1 the suite has 10,000,000 cells; 100,000 is the most"]);
    let monstrous = "{ from = 0, to = 100000000000000, step = 0.000001 }";
    let text = bench(&format!(
        "seed = {{ from = 0, to = 100000000000000, step = 1 }}\nprune = {{ method = \"sparsegpt\", damp = {monstrous} }}"
    ));
    assert!(faults(&text).iter().any(|fault| fault.contains("is outside its range")));
    let seeds = bench("seed = { from = 0, to = 100000000000000, step = 1 }");
    assert_eq!(faults(&seeds), ["6:1 the suite has 100,000,000,000,001 cells; 100,000 is the most"]);
}

#[test]
fn wrong_kinds_are_said() {
    assert_eq!(faults("bench = 3"), ["1:9 `bench` must be an array of tables, not a whole number"]);
    assert_eq!(faults(""), ["1:1 the suite has no bench"]);
    assert_eq!(faults(&bench("prune = 3")), ["6:9 an arm of `prune` is text or a table, not a whole number"]);
    assert_eq!(faults(&bench("seed = -1")), ["6:8 `seed` must be a whole number from 0, not -1"]);
    assert_eq!(faults(&bench("rounds = [1]")), ["6:10 `rounds` cannot be a list"]);
    assert_eq!(
        faults(&bench("prune = \"wanda(sparsity)\"")),
        ["6:24 `wanda(sparsity)`: `=` and a value must follow `sparsity`"]
    );
    assert_eq!(faults("[[bench]]\nname=\"b\"").len(), 3);
}

#[test]
fn expectations_are_typed_and_pair_cells() {
    let arms = "prune = [\"none\", { method = [\"magnitude\", \"wanda\"], sparsity = [0.3, 0.5] }, { method = [\"magnitude\", \"wanda\"], pattern = \"2:4\" }]";
    let expect = [
        "ppl(wanda) <= ppl(magnitude)",
        "ppl(wanda) <= ppl(magnitude) where pattern = '2:4'",
        "ppl(wanda(sparsity=0.3)) < ppl(wanda(sparsity=0.5))",
        "ppl(none) <= ppl(wanda) where sparsity = 0.5",
        "kl(none) ~ 0 ± 1e-9",
        "ppl(wanda) < 100 where sparsity = 0.5 and model = tiny-a",
    ];
    let suite = parse(&bench(&format!("{arms}\nexpect = {expect:?}"))).unwrap();
    let plan = Plan::of(&suite, &Selection::default()).unwrap();
    let cells: Vec<_> = plan.cells().iter().map(|planned| planned.cell.clone()).collect();
    let label = |index: usize| cells[index].label(Axis::Prune).unwrap();
    let pairs: Vec<Vec<String>> = suite.benches[0]
        .expect
        .iter()
        .map(|expectation| {
            let pairs = expectation.pairs(&cells).into_iter();
            pairs.map(|(left, right)| format!("{} | {}", label(left), right.map_or("-", label))).collect()
        })
        .collect();
    let wanted = [
        vec![
            "wanda(sparsity=0.3) | magnitude(sparsity=0.3)",
            "wanda(sparsity=0.5) | magnitude(sparsity=0.5)",
            "wanda(pattern=2:4) | magnitude(pattern=2:4)",
        ],
        vec!["wanda(pattern=2:4) | magnitude(pattern=2:4)"],
        vec!["wanda(sparsity=0.3) | wanda(sparsity=0.5)"],
        vec!["none | wanda(sparsity=0.5)"],
        vec!["none | -"],
        vec!["wanda(sparsity=0.5) | -"],
    ];
    assert_eq!(pairs, wanted);
    let near = &suite.benches[0].expect[4];
    assert_eq!(near.right, Right::Near { value: 0.0, tolerance: 1e-9 });
    assert!(near.holds(1e-10, None) && !near.holds(1e-8, None) && !near.holds(f64::NAN, None));
    assert!(suite.benches[0].expect[0].holds(1.0, Some(1.0)) && !suite.benches[0].expect[0].holds(1.1, Some(1.0)));
}

#[test]
fn a_bad_expectation_is_pointed_at() {
    let expect =
        |line: &str| faults(&bench(&format!("prune = [\"none\", \"wanda(sparsity=0.5)\"]\nexpect = \"{line}\"")));
    assert_eq!(expect("ppl(wanda)"), ["7:11 an expectation needs one of <, <=, >, >=, ==, ~"]);
    assert_eq!(expect("pl(wanda) < 3"), ["7:11 `pl` is no metric"]);
    assert_eq!(expect("bytes(wanda) < 3"), ["7:11 bench `b` does not measure `bytes`"]);
    assert_eq!(expect("ppl(wnada) < 3"), ["7:15 no arm of bench `b` is `wnada`"]);
    assert_eq!(expect("ppl(wanda(sparsity=2)) < 3"), ["7:15 `sparsity = 2` is outside its range [0, 1)"]);
    assert_eq!(expect("ppl(wanda) ~ 3"), ["7:24 `~` is followed by `number ± number`"]);
    assert_eq!(expect("ppl(wanda) < 3 where sparsty = 0.5"), ["7:32 `sparsty` is no axis and no parameter of an arm"]);
    assert_eq!(expect("ppl(wanda) < 3 where sparsity = 0.4"), ["7:10 this expectation speaks of no cell"]);
    assert_eq!(expect("ppl(wanda) < tree"), ["7:24 `tree` is not metric(arm)"]);
}

#[test]
fn figures_and_tables_know_their_columns() {
    let arms = "prune = [\"none\", { method = \"wanda\", sparsity = [0.3, 0.5] }]";
    let chart = "[[figure]]\nkind = \"line\"\nx = \"sparsity\"\ny = \"ppl\"\nseries = \"prune\"\nfacet = \"model\"\nlog = \"y\"\nreference = \"dense\"\nwhere = \"prune = wanda\"";
    let table = "[[table]]\nrows = [\"model\", \"prune\"]\nmetrics = [\"ppl\"]\ncolumns = \"data.window\"";
    let suite = parse(&format!("{}\n{chart}\n{table}", bench(arms))).unwrap();
    let figure = &suite.figures[0];
    assert_eq!(figure.name, "ppl-sparsity");
    assert_eq!(figure.x, Column::Parameter { axis: None, name: "sparsity".into() });
    assert!(figure.log_y && !figure.log_x && figure.reference == Some(Reference::Dense));
    let plan = Plan::of(&suite, &Selection::default()).unwrap();
    let series = figure.series.as_ref().unwrap();
    let groups: Vec<_> = plan.cells().iter().map(|planned| series.group(&figure.x, &planned.cell).unwrap()).collect();
    assert_eq!(groups, ["none", "wanda", "wanda"]);
    let shown: Vec<_> = plan.cells().iter().map(|planned| figure.conditions[0].holds(&planned.cell)).collect();
    assert_eq!(shown, [false, true, true]);
    assert!(Reference::Dense.matches(&plan.cells()[0].cell) && !Reference::Dense.matches(&plan.cells()[1].cell));
    assert_eq!(suite.tables[0].columns[0].of(&plan.cells()[0].cell), Some(Value::Int(256)));
    let wrong = chart.replace("\"sparsity\"", "\"sparsty\"").replace("\"ppl\"", "\"bytes\"");
    let first = bench(arms).lines().count() + 1;
    assert_eq!(
        faults(&format!("{}\n{wrong}", bench(arms))),
        [
            format!("{}:5 `sparsty` is no metric, no axis and no parameter of an arm", first + 3),
            format!("{}:5 no bench here measures `bytes`", first + 4),
        ]
    );
}

#[test]
fn a_table_says_what_is_compared_and_how_intervals_are_written() {
    let arms = "prune = [\"none\", { method = \"wanda\", sparsity = [0.3, 0.5] }]";
    let table = |more: &str| {
        let text = format!(
            "{}\n[[table]]\nrows = [\"model\", \"prune.method\", \"sparsity\"]\nmetrics = \"ppl\"\n{more}",
            bench(arms)
        );
        parse(&text).map(|suite| suite.tables[0].clone())
    };
    let plain = table("").unwrap();
    assert_eq!(plain.compared_within(), [Column::Axis(Axis::Model), Column::Method(Axis::Prune)]);
    assert_eq!((plain.reference, plain.intervals), (None, IntervalStyle::PlusMinus));
    let full = table("within = \"sparsity\"\nreference = \"dense\"\nintervals = \"range\"").unwrap();
    assert_eq!(full.compared_within(), [Column::Parameter { axis: None, name: "sparsity".into() }]);
    assert_eq!((full.reference, full.intervals), (Some(Reference::Dense), IntervalStyle::Range));
    assert_eq!(table("within = []").unwrap().compared_within(), []);
    let first = bench(arms).lines().count() + 1;
    let wrong = |more: &str| {
        let rows = "rows = [\"model\"]\nmetrics = \"ppl\"";
        faults(&format!("{}\n[[table]]\n{rows}\n{more}", bench(arms)))
    };
    let at = |text: &str| [format!("{}:{text}", first + 4)];
    assert_eq!(wrong("within = \"sparsty\""), at("10 `sparsty` is no axis and no parameter of an arm"));
    assert_eq!(wrong("reference = \"wnda\""), at("13 no arm of the suite is `wnda`"));
    assert_eq!(wrong("intervals = \"ranges\""), at("13 `ranges` is no way to write intervals"));
    assert_eq!(wrong("winthin = \"model\"").len(), 1);
}

#[test]
fn every_kind_of_figure_has_its_own_keys() {
    let arms = "prune = [\"none\", { method = \"wanda\", sparsity = [0.3, 0.5] }]";
    let text = |figure: &str| format!("{}\n[[figure]]\n{figure}", bench(arms));
    let read = |figure: &str| parse(&text(figure)).unwrap().figures.swap_remove(0);
    let heat = read("kind = \"heat\"\nx = \"token\"\ny = \"prune\"\nvalue = \"kl\"\nlog = \"value\"");
    assert_eq!((heat.x, heat.series), (Column::Along("token".into()), Some(Column::Axis(Axis::Prune))));
    assert!(heat.log_y && heat.y == "kl" && heat.name == "kl-token-heat");
    let boxed =
        read("kind = \"box\"\nx = \"prune\"\ny = \"ppl\"\nminus = \"dense\"\nstyle = [\"slides\", \"paper-1col\"]");
    assert_eq!(boxed.minus, Some(Reference::Dense));
    assert_eq!(boxed.styles, [StyleName::Slides, StyleName::Paper1Col]);
    assert_eq!(read("kind = \"histogram\"\nx = \"ppl\"").y, "ppl");
    let fit = read("kind = \"fit\"\nx = \"sparsity\"\ny = \"kl\"\nform = \"power-floor\"");
    assert_eq!(fit.form, LawForm::PowerFloor);
    assert_eq!(read("kind = \"profile\"\nx = \"token\"\ny = \"kl\"").x, Column::Along("token".into()));
    let wrong = |figure: &str| -> Vec<String> {
        let cut = |fault: String| fault.split_once(' ').map(|(_, message)| message.to_owned()).unwrap();
        faults(&text(figure)).into_iter().map(cut).collect()
    };
    assert_eq!(wrong("kind = \"heat\"\nx = \"prune\"\ny = \"model\""), ["a figure of kind `heat` needs `value`"]);
    assert_eq!(
        wrong("kind = \"histogram\"\nx = \"prune\""),
        ["a histogram counts the samples of a metric, and `prune` is none"]
    );
    assert_eq!(
        wrong("kind = \"scatter\"\nx = \"token\"\ny = \"kl\"\nminus = \"dense\""),
        ["`token` is for figures of kind `profile` and `heat`", "a figure of kind `scatter` has no key `minus`"]
    );
    assert_eq!(wrong("kind = \"profile\"\nx = \"token\"\ny = \"ppl\""), ["`ppl` is not measured along `token`"]);
    assert_eq!(
        wrong("kind = \"profile\"\nx = \"prune\"\ny = \"kl\""),
        ["`prune` is nothing that a metric is measured along"]
    );
    assert_eq!(
        wrong("kind = \"pareto\"\nx = \"sparsity\"\ny = \"ppl\""),
        ["`sparsity` has no better direction, so there is no front along it"]
    );
    assert_eq!(wrong("kind = \"fit\"\nx = \"prune\"\ny = \"ppl\""), ["a law needs a number on x, and `prune` is none"]);
    assert_eq!(
        wrong("kind = \"scaling\"\nx = \"ppl\"\ny = \"kl\"\nseries = \"sparsity\""),
        ["a figure of kind `scaling` needs `reference`"]
    );
    assert_eq!(
        wrong("kind = \"scaling\"\nx = \"model\"\ny = \"ppl\"\nseries = \"prune\"\nreference = \"dense\""),
        [
            "the sizes of models are measured, and `model` is no metric",
            "the curves are told by a number of bits, and `prune` is no parameter"
        ]
    );
    assert_eq!(
        wrong("kind = \"bar\"\nx = \"prune\"\ny = \"ppl\"\nstyle = \"papr-1col\""),
        ["there is no style `papr-1col`"]
    );
    assert_eq!(
        wrong("kind = \"bar\"\nx = \"prune\"\ny = \"ppl\"\nwhere = \"sparsity = 0.4\""),
        ["the figure `ppl-prune` shows no cell"]
    );
}

#[test]
fn a_measured_sparsity_hides_the_parameter_of_that_name() {
    let text = bench("prune = { method = \"wanda\", sparsity = [0.3, 0.5] }").replace("\"kl\"", "\"sparsity\"");
    let figure = |x: &str| {
        parse(&format!("{text}[[figure]]\nkind = \"line\"\nx = \"{x}\"\ny = \"ppl\"")).unwrap().figures[0].x.clone()
    };
    assert_eq!(figure("sparsity"), Column::Metric("sparsity".into()));
    assert_eq!(figure("prune.sparsity"), Column::Parameter { axis: Some(Axis::Prune), name: "sparsity".into() });
}
