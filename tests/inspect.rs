//! `harness inspect`: what a method makes of one matrix.

use serde_json::Value;

use crate::sample::npy;
use crate::support::{run, scratch};

const ROW: [f32; 8] = [0.1, -0.5, 0.02, 0.9, -2.0, 1.3, 0.0, -0.07];

#[test]
fn a_quantized_matrix_is_shown_with_codes_bits_and_errors() {
    let folder = scratch();
    let matrix = npy(&folder.path().join("w.npy"), &[&ROW]);
    let ran = run(&["inspect", "quant", "nf4(block=64)", "--matrix", &matrix, "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(found["codes"], serde_json::json!([[8, 4, 7, 12, 0, 14, 7, 7]]));
    assert_eq!((found["rows"].as_u64(), found["columns"].as_u64()), (Some(1), Some(8)));
    // Four bits a weight and one scale of 32 for all eight.
    assert_eq!(found["bits_per_weight"].as_f64(), Some(8.0));
    assert_eq!(found["bits"], serde_json::json!({"codes": 32, "scales": 32, "zeros": 0, "codebooks": 0, "indices": 0}));
    assert!((found["error"]["largest"].as_f64().unwrap() - 0.145_914).abs() < 1e-5, "{}", found["error"]);
    let brief = run(&["inspect", "quant", "nf4", "--matrix", &matrix]);
    let summary: Value = serde_json::from_str(&brief.out).unwrap();
    assert!(summary.get("codes").is_none() && summary["error"] == found["error"], "{}", brief.out);
}

#[test]
fn inputs_of_the_map_are_read_where_the_method_looks_at_them() {
    let folder = scratch();
    let rows: Vec<Vec<f32>> =
        (0..4).map(|row| (0..32).map(|i| ((row * 32 + i) as f32 * 0.7).sin()).collect()).collect();
    let tokens: Vec<Vec<f32>> =
        (0..64).map(|row| (0..32).map(|i| ((row * 37 + i * i) as f32 * 0.3).cos()).collect()).collect();
    let slices = |rows: &[Vec<f32>]| rows.iter().map(|row| row.clone().leak() as &[f32]).collect::<Vec<_>>();
    let matrix = npy(&folder.path().join("w.npy"), &slices(&rows));
    let inputs = npy(&folder.path().join("x.npy"), &slices(&tokens));
    let error = |spec: &str| {
        let ran = run(&["inspect", "quant", spec, "--matrix", &matrix, "--activations", &inputs, "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let found: Value = serde_json::from_str(&ran.out).unwrap();
        found["error"]["relative_output_error"].as_f64().unwrap()
    };
    assert!(error("gptq(bits=3, group=32)") < error("rtn(bits=3, group=32)"));
    let out = folder.path().join("r.npz").display().to_string();
    let ran = run(&["inspect", "quant", "rtn(group=32)", "--matrix", &matrix, "--out", &out]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let bytes = std::fs::read(&out).unwrap();
    for name in ["codes.npy", "scales.npy", "zeros.npy", "dequantized.npy"] {
        assert!(bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = scratch();
    let matrix = npy(&folder.path().join("w.npy"), &[&ROW]);
    let other = npy(&folder.path().join("x.npy"), &[&ROW[..4]]);
    let occupied = folder.path().join("there.npz");
    std::fs::write(&occupied, "mine").unwrap();
    let occupied = occupied.display().to_string();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["nf5", "--matrix", &matrix], 2, "did you mean `nf4`?"),
        (&["nf4", "--matrix", "no-such.npy"], 5, "no-such.npy does not exist"),
        (&["gptq(group=8)", "--matrix", &matrix], 2, "give them with --activations x.npy"),
        (
            &["rtn(group=8)", "--matrix", &matrix, "--activations", &other],
            2,
            "has 8 columns and the activations have 4",
        ),
        (&["rtn(group=3)", "--matrix", &matrix], 2, "groups of 3 do not divide 8 columns"),
        (&["nf4", "--matrix", &matrix, "--out", &occupied], 2, "is there already"),
    ];
    for (arguments, code, message) in cases {
        let ran = run(&[&["inspect", "quant"], arguments].concat());
        assert!(ran.code == code && ran.err.contains(message), "{arguments:?}: {} {}", ran.code, ran.err);
    }
    assert_eq!(std::fs::read_to_string(&occupied).unwrap(), "mine");
}
