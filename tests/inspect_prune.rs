//! `harness inspect prune`: what pruning methods make of one matrix, against `tests/reference/pruning.py`; what it prints is kept below
//! `tests/inspect`, and `HARNESS_BLESS=1` writes it.

use serde_json::{Value, json};

use crate::sample::npy;
use crate::support::{Ran, compare, reference, run, scratch};

const WEIGHT: [[f32; 4]; 3] = [[4.0, -1.0, 0.5, -2.0], [1.0, 3.0, -0.2, 0.8], [-0.6, 0.4, 2.0, -5.0]];
const INPUTS: [[f32; 4]; 4] = [[1.0, 0.0, 2.0, 0.0], [0.0, 2.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 3.0, 0.5]];

struct Files {
    folder: tempfile::TempDir,
    weight: String,
    inputs: String,
}

fn files<const N: usize, const T: usize>(weight: &[[f32; N]], inputs: &[[f32; N]; T]) -> Files {
    let folder = scratch();
    let write = |name: &str, rows: &[[f32; N]]| {
        npy(&folder.path().join(name), &rows.iter().map(|row| row as &[f32]).collect::<Vec<_>>())
    };
    let (weight, inputs) = (write("w.npy", weight), write("x.npy", inputs));
    Files { folder, weight, inputs }
}

impl Files {
    fn ran(&self, spec: &str, more: &[&str]) -> Ran {
        run(&[&["inspect", "prune", spec, "--matrix", &self.weight], more].concat())
    }

    fn shown(&self, spec: &str, more: &[&str]) -> Value {
        let ran = self.ran(spec, &[&["--activations", &self.inputs, "--json"], more].concat());
        assert_eq!(ran.code, 0, "{spec}: {}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }
}

fn floats(rows: &Value) -> Vec<f64> {
    rows.as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap()).map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn masks_weights_and_errors_are_those_of_another_program() {
    let golden = reference("pruning.json");
    let toy = &golden["models"][0];
    let whole = |values: &Value, scale: &Value| -> Vec<[f32; 4]> {
        let scale = scale.as_f64().unwrap();
        let values: Vec<f32> =
            values.as_array().unwrap().iter().map(|v| (v.as_f64().unwrap() / scale) as f32).collect();
        values.chunks(4).map(|row| row.try_into().unwrap()).collect()
    };
    let matrix = &toy["matrices"][0];
    let weight = whole(&matrix["weights"], &golden["weight_scale"]);
    let inputs: [[f32; 4]; 4] = whole(&matrix["sequences"][0], &golden["input_scale"]).try_into().unwrap();
    let files = files(&weight, &inputs);
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
    for case in toy["arms"].as_array().unwrap() {
        let (arm, wanted) = (case["arm"].as_str().unwrap(), &case["matrices"][0]);
        let found = files.shown(arm, &["--seed", &case["seed"].to_string(), "--tensor", "toy"]);
        let pruned: Vec<String> =
            wanted["mask"].as_array().unwrap().iter().map(|row| row.as_str().unwrap().to_owned()).collect();
        let digits = |row: &Value| {
            let bits = row.as_array().unwrap().iter().fold(0, |all, kept| all * 2 + 1 - kept.as_u64().unwrap());
            format!("{bits:x}")
        };
        let mask: Vec<String> = found["mask"].as_array().unwrap().iter().map(digits).collect();
        assert_eq!(mask, pruned, "{arm}");
        let zeros: usize = pruned.iter().map(|row| u32::from_str_radix(row, 16).unwrap().count_ones() as usize).sum();
        assert_eq!((&found["zeros"], &found["zeros_before"]), (&json!(zeros), &json!(0)), "{arm}");
        assert!(near(found["sparsity"].as_f64().unwrap(), zeros as f64 / 12.0), "{arm}");
        for (key, wanted) in [("frobenius", &wanted["lost"][0]), ("output", &wanted["lost"][1])] {
            let (found, wanted) = (found["error"][key].as_f64().unwrap(), wanted.as_f64().unwrap());
            assert!(near(found, wanted), "{arm}: {key} {found} {wanted}");
        }
        if let Some(wanted) = wanted["weights"].as_array() {
            let same = floats(&found["weight"]).iter().zip(wanted).all(|(a, b)| near(*a, b.as_f64().unwrap()));
            assert!(same, "{arm}: {}", found["weight"]);
            assert!(found["moved"].as_u64() > Some(0), "{arm}");
        } else {
            assert_eq!(found["moved"], 0, "{arm}");
        }
    }
}

#[test]
fn inputs_make_a_mask_that_their_scale_does_not() {
    let plain = files(&WEIGHT, &INPUTS);
    // Row 0 keeps -1 on an input of norm 2.24 before -2 on one of 0.71.
    let kept = json!([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]);
    assert_eq!(plain.shown("wanda", &[])["mask"], kept);
    assert_eq!(plain.shown("magnitude(scope=row)", &[])["mask"][0], json!([1, 0, 0, 1]));
    // An input eight times as large and its weights an eighth: the same map, the same mask.
    let scaled = files(
        &WEIGHT.map(|mut row| {
            row[1] /= 8.0;
            row
        }),
        &INPUTS.map(|mut row| {
            row[1] *= 8.0;
            row
        }),
    );
    assert_eq!(scaled.shown("wanda", &[])["mask"], kept);
    assert_ne!(scaled.shown("magnitude(scope=row)", &[])["mask"], plain.shown("magnitude(scope=row)", &[])["mask"]);
    let swept = floats(&plain.shown("sparsegpt", &[])["weight"]);
    for (found, wanted) in
        swept.iter().zip([4.0, -1.0, 0.5, 0.0, 0.0, 2.790_021, 0.0, 0.0, 0.0, 0.0, 2.107_189, -5.470_942])
    {
        assert!((found - wanted).abs() < 2e-6, "{found} {wanted}");
    }
}

#[test]
fn what_is_printed_and_written_stays() {
    let files = files(&WEIGHT, &INPUTS);
    let brief = files.ran("wanda", &["--activations", &files.inputs]);
    compare("prune_wanda.txt", &brief.out);
    compare("prune_magnitude.txt", &files.ran("magnitude(pattern=2:4)", &["--json"]).out);
    let help = run(&["inspect", "prune", "--help"]);
    compare("prune_help.txt", &help.out);
    let out = files.folder.path().join("r.npz").display().to_string();
    let ran = files.ran("magnitude(pattern=2:4)", &["--out", &out]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let bytes = std::fs::read(&out).unwrap();
    // What follows each header is the array itself.
    let holds = |name: &str, array: &[u8]| {
        let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        assert!(has(name.as_bytes()) && has(&[b"\n", array].concat()), "{name}");
    };
    holds("mask.npy", &[1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1]);
    let weight = [4.0f32, 0.0, 0.0, -2.0, 1.0, 3.0, 0.0, 0.0, 0.0, 0.0, 2.0, -5.0];
    holds("weight.npy", &weight.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    let script = run(&["completions", "bash"]);
    assert!(script.out.contains("harness__subcmd__inspect__subcmd__prune"), "no completion");
}

#[test]
fn what_a_matrix_cannot_be_pruned_by_is_said() {
    let files = files(&WEIGHT, &INPUTS);
    let wide = npy(&files.folder.path().join("y.npy"), &[&[1.0, 2.0]]);
    let occupied = files.folder.path().join("there.npz");
    std::fs::write(&occupied, "mine").unwrap();
    let occupied = occupied.display().to_string();
    let cases: [(&str, &[&str], i32, &str); 13] = [
        ("wandah", &[], 2, "did you mean `wanda`?"),
        ("wanda", &[], 2, "give them with --activations x.npy"),
        ("wanda", &["--activations", &wide], 2, "has 4 columns and the activations have 2"),
        ("wanda", &["--activations", "none.npy"], 5, "none.npy does not exist"),
        ("magnitude(pattern=2:3)", &[], 2, "pattern 2:3 does not fit 4 columns; the group of 3 must divide them"),
        ("magnitude(sparsity=1)", &[], 2, "outside its range [0, 1)"),
        ("magnitude", &["--out", &occupied], 2, "is there already"),
        ("obd", &[], 2, "takes gradients of a model's loss and cannot prune a matrix by itself; apply it to a model"),
        ("obert", &[], 2, "takes gradients of a model's loss"),
        ("shuffled-mask(like=\"obd\")", &[], 2, "takes gradients of a model's loss"),
        ("budget", &[], 2, "shares weights out among all matrices of a model and cannot prune a matrix by itself"),
        ("magnitude(scope=global)", &[], 2, "shares weights out among all matrices of a model"),
        ("one-block", &[], 2, "prunes one block of a model and cannot prune a matrix by itself"),
    ];
    for (spec, more, code, message) in cases {
        let ran = files.ran(spec, more);
        assert!(ran.code == code && ran.err.contains(message), "{spec} {more:?}: {} {}", ran.code, ran.err);
    }
    assert_eq!(std::fs::read_to_string(&occupied).unwrap(), "mine");
}

#[test]
fn every_method_prunes_a_matrix_or_says_why_not() {
    let rows: Vec<[f32; 32]> =
        (0..16).map(|row| std::array::from_fn(|i| ((row * 32 + i) as f32 * 0.7).sin())).collect();
    // Whole numbers without a pattern, so that no direction is without a token.
    let number = |at: usize| ((at * 7919 + at * at * 31) % 2003) as f32 / 1001.0 - 1.0;
    let tokens: [[f32; 32]; 64] = std::array::from_fn(|row| std::array::from_fn(|i| number(row * 32 + i)));
    let files = files(&rows, &tokens);
    let listed: Value = serde_json::from_str(&run(&["list", "methods", "--json"]).out).unwrap();
    let prune = |row: &&Value| row["axis"] == "prune";
    let mut refused = Vec::new();
    for method in listed.as_array().unwrap().iter().filter(prune) {
        let id = method["id"].as_str().unwrap();
        let ran = files.ran(id, &["--activations", &files.inputs]);
        if ran.code == 2 && ran.err.contains("cannot prune a matrix by itself") {
            refused.push(id);
            continue;
        }
        assert_eq!(ran.code, 0, "{id}: {}", ran.err);
        let found: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(found["zeros"].as_u64() > found["zeros_before"].as_u64(), id != "none", "{id}: {found}");
    }
    assert_eq!(refused, ["obd", "obert", "budget", "one-block"]);
}
