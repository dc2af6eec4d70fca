//! The structure that `harness/README.md` draws, read from the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::root;

/// Crates of the left column, from the bottom.
const TENSORS: [&str; 5] = ["kernels", "model", "methods", "judge", "run"];
/// Crates of the right column.
const TABLES: [&str; 2] = ["store", "report"];
/// What only one column may use.
const OF_TENSORS: [&str; 5] = ["candle-core", "faer", "gemm", "safetensors", "tokenizers"];
const OF_TABLES: [&str; 3] = ["polars", "plotters", "pdf-writer"];

fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(manifest).unwrap();
    let table: toml::Table = text.parse().unwrap();
    table["dependencies"].as_table().unwrap().keys().cloned().collect()
}

fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let workspace: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| {
            let member = member.as_str().unwrap();
            let name = member.rsplit('/').next().unwrap().to_owned();
            (name, dependencies(&root().join(member).join("Cargo.toml")))
        })
        .collect()
}

#[test]
fn the_columns_never_meet_below_the_binary() {
    let crates = crates();
    for (name, dependencies) in &crates {
        let ours: BTreeSet<&str> = dependencies.iter().filter_map(|name| name.strip_prefix("harness-")).collect();
        if TENSORS.contains(&name.as_str()) {
            assert!(TABLES.iter().all(|table| !ours.contains(table)), "{name} uses {ours:?}");
            assert!(OF_TABLES.iter().all(|table| !dependencies.contains(*table)), "{name} uses {dependencies:?}");
        } else {
            assert!(TENSORS.iter().all(|tensor| !ours.contains(tensor)), "{name} uses {ours:?}");
            assert!(OF_TENSORS.iter().all(|tensor| !dependencies.contains(*tensor)), "{name} uses {dependencies:?}");
        }
    }
    for low in ["core", "language", "kernels"] {
        let ours: Vec<_> = crates[low].iter().filter(|name| name.starts_with("harness-")).collect();
        assert!(low != "core" && low != "kernels" || ours.is_empty(), "{low} lies at the bottom and uses {ours:?}");
    }
    assert!(!crates["core"].contains("toml"), "TOML is read by `suite`");
    let ours: Vec<_> = crates["judge"].iter().filter(|name| name.starts_with("harness-")).collect();
    assert_eq!(ours, ["harness-core"], "metrics of text work on plain slices");
    let tensors: Vec<_> = OF_TENSORS.iter().filter(|tensor| crates["judge"].contains(**tensor)).collect();
    assert_eq!(tensors, [&"faer"], "metrics of text need eigenvalues and no tensors");
}

#[test]
fn every_crate_stands_on_the_map() {
    let map = std::fs::read_to_string(root().join("harness/README.md")).unwrap();
    for name in crates().keys() {
        assert!(map.contains(&format!("| `{name}` |")), "harness/README.md does not say what `{name}` is");
    }
}

#[test]
fn unsafe_code_stays_where_it_belongs() {
    let mut found = Vec::new();
    let mut folders = vec![root().join("harness")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs")
                && std::fs::read_to_string(&path).unwrap().contains("allow(unsafe_code)")
            {
                found.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found.retain(|path| !path.starts_with("harness/kernels/") && !path.ends_with("/tests/fuzz.rs"));
    assert_eq!(
        found,
        ["harness/model/weight.rs"],
        "unsafe code belongs into the kernels; the one memory-map call is the exception"
    );
}
