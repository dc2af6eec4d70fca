#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::{Checkpoint, fixtures, load};
use super::*;
use crate::decoder::Decoder;
use crate::packed::{Activations, Levels, Packed};
use crate::weight::DType;
use crate::write::packed::PackedWriter;

const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";
const UP: &str = "model.layers.0.mlp.up_proj.weight";
const DOWN: &str = "model.layers.1.mlp.down_proj.weight";
const HEAD: &str = "lm_head.weight";

fn matrix(rows: usize, cols: usize, bits: Bits, group: usize, meaning: Meaning<'_>) -> PackedMatrix {
    let codes: Vec<u8> = (0..rows * cols).map(|i| (i * 7 % 13) as u8).collect();
    let scales: Vec<f32> = (0..rows * cols / group).map(|i| 0.01 + i as f32 / 3.0).collect();
    PackedMatrix::new(&Quantized { rows, cols, bits, group, codes: &codes, scales: &scales, meaning }).unwrap()
}

/// A folder with four packed matrices: zero points, one zero point, a table, and a head of its own.
fn write(folder: &Path) -> (Checkpoint, BTreeMap<&'static str, PackedMatrix>, PathBuf) {
    let source = folder.join("source");
    fs::create_dir(&source).unwrap();
    fixtures::place(&source, &fixtures::folder());
    let dense = load(&source).unwrap();
    let zeros: Vec<f32> = (0..32).map(|i| i as f32 / 4.0).collect();
    let table: [f32; 16] = std::array::from_fn(|i| i as f32 / 8.0 - 1.0);
    let matrices = BTreeMap::from([
        (QUERY, matrix(32, 32, Bits::Four, 32, Meaning::Zeros(&zeros))),
        (UP, matrix(64, 32, Bits::Eight, 32, Meaning::Zero(128.0))),
        (DOWN, matrix(32, 64, Bits::Four, 64, Meaning::Table(&table))),
        (HEAD, matrix(14, 32, Bits::Eight, 32, Meaning::Zero(3.5))),
    ]);
    let config = Config { tied_head: false, ..dense.config.clone() };
    let specs: Vec<TensorSpec> = expected_tensors(&config).collect();
    let target = folder.join("packed");
    let mut writer = PackedWriter::create(&target, &config, &specs, DType::Bf16, "rtn(group=32)").unwrap();
    writer.tokenizer(dense.tokenizer.as_ref().unwrap(), None).unwrap();
    for spec in specs.iter().rev() {
        match matrices.get(spec.name.as_str()) {
            Some(matrix) => writer.write_packed(&spec.name, matrix).unwrap(),
            None => writer.write(&spec.name, &dense.tensors[&spec.name]).unwrap(),
        }
    }
    assert!(writer.write(QUERY, &dense.tensors[QUERY]).unwrap_err().to_string().contains("twice"));
    assert!(!target.exists());
    assert_eq!(writer.finish().unwrap(), target);
    (dense, matrices, target)
}

#[test]
fn packed_matrices_come_back_code_for_code() {
    let folder = tempfile::tempdir().unwrap();
    let (dense, matrices, target) = write(folder.path());
    let again = load(&target).unwrap();
    assert_eq!(again.config, Config { tied_head: false, ..dense.config.clone() });
    assert_eq!(again.packed.keys().collect::<Vec<_>>(), matrices.keys().collect::<Vec<_>>());
    assert_eq!(again.parameters(), dense.parameters() + 14 * 32);
    again.check_finite().unwrap();
    for (name, matrix) in &matrices {
        let found = &again.packed[*name];
        assert_eq!((found.unpack(), found.levels()), (matrix.unpack(), matrix.levels()), "{name}");
        assert_eq!((found.bits(), found.group(), found.bytes()), (matrix.bits(), matrix.group(), matrix.bytes()));
        assert!(!again.tensors.contains_key(*name));
        assert_eq!(again.weight(name).unwrap().to_f32(), matrix.dequantise());
    }
    assert!(matches!(again.packed[DOWN].levels(), Levels::Table(_)));
    for (name, weight) in dense.tensors.iter().filter(|(name, _)| !matrices.contains_key(name.as_str())) {
        assert_eq!(again.tensors[name].to_f32(), weight.to_f32(), "{name}: exact in bf16");
    }
    assert_eq!(
        again.tokenizer.unwrap().encode("ab 12", true).unwrap(),
        dense.tokenizer.unwrap().encode("ab 12", true).unwrap()
    );
}

#[test]
fn decoders_multiply_the_codes_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (_, matrices, target) = write(folder.path());
    let again = load(&target).unwrap();
    let decoder = Decoder::from_checkpoint(&again).unwrap();
    // The same maps put into the decoder of the values written out.
    let mut tensors = again.tensors.clone();
    tensors.extend(again.packed.keys().map(|name| (name.clone(), again.weight(name).unwrap())));
    let mut expected = Decoder::from_weights(&again.config, &tensors).unwrap();
    for (name, layer, projection) in [
        (QUERY, 0, crate::config::Projection::Q),
        (UP, 0, crate::config::Projection::Up),
        (DOWN, 1, crate::config::Projection::Down),
    ] {
        let map = Packed::new(Arc::new(matrices[name].clone()), None, Activations::Full).unwrap();
        expected = expected.with_linear(layer, projection, Arc::new(map)).unwrap();
    }
    let head = Packed::new(Arc::new(matrices[HEAD].clone()), None, Activations::Full).unwrap();
    expected = expected.with_head(Arc::new(head)).unwrap();
    let logits = |decoder: &Decoder| decoder.logits_last(&[3, 5, 7, 2], &mut decoder.new_cache()).unwrap();
    assert_eq!(logits(&decoder), logits(&expected));
    assert_eq!(decoder.stored_bytes(), expected.stored_bytes());
    // A table has no integer kernel; without it, rounded activations change the logits a little.
    assert!(decoder.with_activations(Activations::Int8).is_err());
    let plain = decoder.with_weight(1, crate::config::Projection::Down, again.weight(DOWN).unwrap());
    let (rounded, count) = plain.with_activations(Activations::Int8).unwrap();
    assert_eq!(count, 3);
    let (a, b) = (logits(&plain), logits(&rounded));
    let largest = a.iter().fold(0.0_f32, |largest, a| largest.max(a.abs()));
    assert!(a != b && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.05 * largest), "{a:?} {b:?}");
}

/// Changes the bytes of one tensor of the only file.
fn edit(target: &Path, name: &str, change: impl FnOnce(&mut [u8])) {
    let path = target.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let place = |at: usize| header[name]["data_offsets"][at].as_u64().unwrap() as usize + 8 + length;
    let range = place(0)..place(1);
    change(&mut bytes[range]);
    fs::write(path, bytes).unwrap();
}

fn configure(target: &Path, change: impl FnOnce(&mut Value)) {
    let path = target.join("config.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json["quantization_config"]);
    fs::write(path, json.to_string()).unwrap();
}

/// The message that a damaged folder is refused with.
fn message(damage: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (_, _, target) = write(folder.path());
    damage(&target);
    load(&target).map(|checkpoint| checkpoint.source).unwrap_err().to_string()
}

#[test]
fn damaged_folders_are_refused_with_the_reason() {
    let query = "model.layers.0.self_attn.q_proj";
    let entry = |target: &Path, key: &'static str, value: Value| {
        configure(target, |config| config["matrices"][query][key] = value);
    };
    for (what, found) in [
        ("version 2 of the packed layout; 1 is read", message(|t| configure(t, |c| c["version"] = 2.into()))),
        ("quantized by \"gptq\"", message(|t| configure(t, |c| c["quant_method"] = "gptq".into()))),
        (
            "missing field `matrices`",
            message(|t| configure(t, |c| drop(c.as_object_mut().unwrap().remove("matrices")))),
        ),
        ("9 bits in 4", message(|t| entry(t, "bits", 9.into()))),
        ("4 bits in 16", message(|t| entry(t, "container", 16.into()))),
        ("groups of 0 do not fit 32 columns", message(|t| entry(t, "group", 0.into()))),
        (
            "q_proj.scales has shape (32, 1), but the configuration calls for (32, 2)",
            message(|t| entry(t, "group", 16.into())),
        ),
        (
            "tensor model.layers.0.self_attn.q_proj.codes has shape (32, 16)",
            message(|t| entry(t, "container", 8.into())),
        ),
        (
            "lacks the tensor model.layers.0.self_attn.q_proj.table of shape (16)",
            message(|t| entry(t, "meaning", "table".into())),
        ),
        (
            "q_proj.zeros has shape (32, 1), but the configuration calls for (1)",
            message(|t| entry(t, "meaning", "zero".into())),
        ),
        ("unknown variant `none`", message(|t| entry(t, "meaning", "none".into()))),
        (
            "lists the matrix model.layers.7.mlp.up_proj",
            message(|t| {
                configure(t, |c| {
                    c["matrices"]["model.layers.7.mlp.up_proj"] = c["matrices"][query].clone();
                });
            }),
        ),
        (
            "lacks the tensor model.layers.0.self_attn.q_proj.weight",
            message(|t| configure(t, |c| drop(c["matrices"].as_object_mut().unwrap().remove(query)))),
        ),
        ("holds the code 8 at row 0, column 3, but its codes have 3 bits", message(|t| entry(t, "bits", 3.into()))),
        (
            "scales[3] is infinite or not a number",
            message(|t| {
                edit(t, &format!("{query}.scales"), |bytes| {
                    bytes[12..16].copy_from_slice(&f32::NAN.to_le_bytes());
                });
            }),
        ),
        (
            "holds inf at row 1, column",
            message(|t| {
                edit(t, &format!("{query}.scales"), |bytes| {
                    bytes[4..8].copy_from_slice(&f32::MAX.to_le_bytes());
                });
            }),
        ),
    ] {
        assert!(found.contains(what), "{what}: {found}");
    }
    // The table of values is one matrix; bytes of a folder that is not packed have no place.
    let bytes = message(|target| {
        let path = target.join("config.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json.as_object_mut().unwrap().remove("quantization_config");
        fs::write(path, json.to_string()).unwrap();
    });
    assert!(bytes.contains("codes is stored as U8"), "{bytes}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_folders_never_panic(seed: u64, which in 0usize..2) {
        let folder = tempfile::tempdir().unwrap();
        let (_, _, target) = write(folder.path());
        let path = target.join(["config.json", "model.safetensors"][which]);
        let mut bytes = fs::read(&path).unwrap();
        fixtures::mutate(&mut bytes, seed);
        fs::write(&path, bytes).unwrap();
        if let Ok(checkpoint) = load(&target) {
            let _ = Decoder::from_checkpoint(&checkpoint);
        }
    }
}
