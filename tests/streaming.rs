//! Models larger than the memory they are compressed in. What counts is private memory: the pages of mapped files, which
//! the system takes back at will, do not; whatever is allocated and used does, weights in f32 first of all. (Limits on
//! address space or data do not measure it: matrix products reserve far more than they use.)

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness_model::config::Projection;
use harness_model::weight::DType;

use crate::models::{self, Recipe};
use crate::support::{Ran, root, scratch};

/// 129 million weights: 516 MB in f32, 258 MB as they are stored.
const LARGE: Recipe = Recipe {
    vocabulary: 512,
    hidden: 1024,
    feed_forward: 2816,
    layers: 10,
    heads: 16,
    dtype: DType::Bf16,
    scale: 0.05,
    eos: Vec::new(),
};

/// Runs a program to its end and gives the most private memory it held, in bytes, looked up a thousand times a second.
fn watched(program: &str, arguments: &[&str]) -> (Ran, usize) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).env("NO_COLOR", "1").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let held = std::fs::read_to_string(&status).unwrap_or_default();
        let held =
            held.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(held.unwrap_or(0_usize) << 10);
        std::thread::sleep(Duration::from_millis(1));
    }
    (child.wait_with_output().unwrap().into(), most)
}

/// That the meter works: a program that holds so many bytes for an instant is seen to.
fn sees(bytes: usize) {
    let (ran, held) = watched("dd", &["if=/dev/zero", "of=/dev/null", "count=1", &format!("bs={bytes}")]);
    assert!(ran.code == 0 && held > bytes / 10 * 9, "{held} bytes were seen of a program that held {bytes}");
}

fn write_ids(path: &Path) -> String {
    let windows: Vec<Vec<u32>> = (0..2).map(|salt| models::ids(64, LARGE.vocabulary, salt)).collect();
    std::fs::write(path, serde_json::to_string(&windows).unwrap()).unwrap();
    path.display().to_string()
}

#[test]
fn a_model_is_pruned_and_written_in_less_memory_than_its_weights_take() {
    /// Less than a third of the weights in f32, and less than two thirds of what they take as stored.
    const LIMIT: usize = 160 << 20;
    let folder = scratch();
    let at = |name: &str| folder.path().join(name).display().to_string();
    LARGE.write(&folder.path().join("model"));
    sees(LARGE.parameters() * 2);
    let ids = write_ids(&folder.path().join("ids.json"));
    let harness = env!("CARGO_BIN_EXE_harness");
    let out = at("pruned");
    let model = at("model");
    let apply = ["apply", "--model", &model, "--prune", "wanda(pattern=2:4)", "--token-ids", &ids, "--out", &out];
    let (ran, held) = watched(harness, &apply);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(held > 1 << 20 && held < LIMIT, "{held} bytes were held, {LIMIT} are the most");
    let (dense, pruned) = (harness_model::load::load(Path::new(&model)), harness_model::load::load(Path::new(&out)));
    let (dense, pruned) = (dense.unwrap(), pruned.unwrap());
    for layer in 0..LARGE.layers {
        for projection in Projection::ALL {
            let name = projection.tensor(layer);
            let (before, after) = (dense.tensor(&name).unwrap(), pruned.tensor(&name).unwrap());
            assert_eq!((after.dtype(), after.zeros()), (DType::Bf16, before.rows() * before.cols() / 2), "{name}");
        }
    }
    let name = "model.embed_tokens.weight";
    assert_eq!(dense.tensor(name).unwrap().to_f32(), pruned.tensor(name).unwrap().to_f32());
}

#[test]
fn a_run_holds_one_pruned_copy_as_stored_and_no_more() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name).display().to_string();
    LARGE.write(&folder.path().join("model"));
    // One pruned copy in 16 bits, and what the apply test allows beside it: less than the weights in f32.
    let limit = LARGE.parameters() * 2 + (160 << 20);
    assert!(limit < LARGE.parameters() * 4);
    for (name, salt) in [("scored", 1), ("calibration", 2)] {
        std::fs::write(at(name), models::text(&models::ids(400, LARGE.vocabulary, salt))).unwrap();
    }
    let suite = format!(
        "[[bench]]\nname = \"large\"\nmodel = \"{}\"\ndata = {{ corpus = \"{}\", window = 64, windows = 2 }}\n\
         calib = {{ corpus = \"{}\", window = 64, windows = 2 }}\nmetrics = [\"ppl\", \"kl\", \"sparsity\"]\ngroup_mib = 1\n\
         prune = [\"wanda(pattern=2:4)\", \"magnitude(pattern=2:4)\"]\n",
        at("model"),
        at("scored"),
        at("calibration")
    );
    std::fs::write(at("suite.toml"), suite).unwrap();
    let (ran, held) = watched(env!("CARGO_BIN_EXE_harness"), &["run", &at("suite.toml"), "--out", &at("run")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(held > LARGE.parameters() && held < limit, "{held} bytes were held, {limit} are the most");
    let run = harness_store::Run::open(&folder.path().join("run")).unwrap();
    let sparsity: Vec<Option<f64>> = run.records.iter().map(|record| record.value("sparsity")).collect();
    assert_eq!(sparsity, [Some(0.5), Some(0.5)]);
}
