//! Every format against the bytes of ggml itself, by `tests/reference/ggml.py`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::Value as Json;

use super::Format;

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/ggml.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(json: &Json) -> Vec<u8> {
    let digits = json.as_str().unwrap();
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn floats(json: &Json) -> Vec<f32> {
    bytes(json).chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// The super-block in which two texts differ first.
fn first_difference<'a, T: PartialEq>(golden: &'a Json, found: &[T], expected: &[T]) -> Option<&'a str> {
    assert_eq!(found.len(), expected.len());
    let names = golden["names"].as_array().unwrap();
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected)?;
    names[at * names.len() / found.len()].as_str()
}

#[test]
fn bytes_and_values_are_those_of_ggml() {
    let golden = golden();
    let values = floats(&golden["values"]);
    assert_eq!(golden["formats"].as_object().unwrap().len(), Format::ALL.len());
    for format in Format::ALL {
        let case = &golden["formats"][format.name()];
        let expected = bytes(&case["bytes"]);
        let found = format.encode(&values).unwrap();
        assert_eq!(first_difference(&golden, &found, &expected), None, "{}", format.name());
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|value| value.to_bits()).collect() };
        let (found, expected) = (bits(&format.decode(&expected).unwrap().values), bits(&floats(&case["decoded"])));
        assert_eq!(first_difference(&golden, &found, &expected), None, "{}", format.name());
    }
}

#[test]
fn blocks_do_not_depend_on_those_beside_them_nor_on_the_number_of_threads() {
    let values = floats(&golden()["values"]).repeat(13);
    for format in Format::ALL {
        let whole = format.encode(&values).unwrap();
        let single: Vec<u8> =
            values.chunks(format.block_values()).flat_map(|block| format.encode(block).unwrap()).collect();
        assert_eq!(whole, single, "{}", format.name());
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| format.encode(&values)).unwrap(), whole, "{}", format.name());
        assert_eq!(one.install(|| format.decode(&whole)), format.decode(&whole), "{}", format.name());
    }
}
