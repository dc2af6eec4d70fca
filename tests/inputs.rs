//! Bad input outside suites: damaged checkpoints, texts and token files, wrong names and values on the command line, and
//! what a run makes of them. Each case prints exactly `tests/inputs/NAME.txt`: its exit code, then its reasons.
//! `HARNESS_BLESS=1` writes what is printed. Suites have theirs in `tests/ui`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::models::{self, Recipe, SMALL};
use crate::support::{Ran, harness, root, scratch};

/// A folder with a model, two texts, and the cases that went wrong in it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    wrong: Vec<String>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = scratch();
        SMALL.write(&folder.path().join("model"));
        let place = Self { folder, wrong: Vec::new() };
        place.put("scored.txt", models::text(&models::ids(600, SMALL.vocabulary, 1)));
        place.put("calibration.txt", models::text(&models::ids(600, SMALL.vocabulary, 2)));
        place
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Runs the program and compares its reasons with those kept under `name`.
    fn case(&mut self, name: &str, arguments: &[&str]) {
        self.case_in(name, &[], arguments);
    }

    fn case_in(&mut self, name: &str, environment: &[(&str, &str)], arguments: &[&str]) {
        let mut command = harness(arguments);
        command.envs(environment.iter().copied()).env("HARNESS_CACHE", self.path("cache"));
        let ran: Ran = command.output().unwrap().into();
        self.compare(name, &ran);
    }

    fn compare(&mut self, name: &str, ran: &Ran) {
        let place = self.folder.path().display().to_string();
        let printed = format!("exit {}\n{}", ran.code, without_lines(&reasons(&ran.err))).replace(&place, "TMP");
        let golden = root().join("tests/inputs").join(format!("{name}.txt"));
        if std::env::var_os("HARNESS_BLESS").is_some() {
            fs::create_dir_all(golden.parent().unwrap()).unwrap();
            fs::write(&golden, &printed).unwrap();
        }
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        if printed != wanted {
            self.wrong.push(format!("{name} printed\n{printed}instead of\n{wanted}and in all\n{}{}", ran.out, ran.err));
        }
    }

    /// Damages a fresh copy of the model and asks it for a continuation.
    fn model_case(&mut self, name: &str, damage: impl FnOnce(&Path)) {
        let folder = self.folder.path().join("damaged");
        copy(&self.folder.path().join("model"), &folder);
        damage(&folder);
        self.case(name, &["generate", "--model", &self.path("damaged"), "--prompt", "w3 w4", "--max-tokens", "2"]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// A model of one file.
    fn file_case(&mut self, name: &str, file: &str, content: &[u8]) {
        let path = self.put(file, content);
        self.case(name, &["generate", "--model", &path, "--prompt", "w3 w4"]);
    }

    /// A suite of one bench over models and texts of this place, run into a new folder.
    pub(crate) fn run_case(&mut self, name: &str, environment: &[(&str, &str)], bench: &[(&str, &str)]) {
        let out = self.path(&format!("run-{name}"));
        let suite = self.suite(name, bench);
        self.case_in(name, environment, &["run", &suite, "--out", &out]);
    }

    pub(crate) fn suite(&self, name: &str, bench: &[(&str, &str)]) -> String {
        let keys = [
            ("model", "\"TMP/model\""),
            ("data", "{ corpus = \"TMP/scored.txt\", window = 32, windows = 6 }"),
            ("calib", "{ corpus = \"TMP/calibration.txt\", window = 32, windows = 4 }"),
            ("metrics", "[\"ppl\", \"kl\", \"sparsity\"]"),
            ("prune", "[\"none\", \"wanda(sparsity=0.5)\"]"),
        ];
        let more = bench.iter().filter(|(name, _)| keys.iter().all(|(key, _)| key != name));
        let value = |key: &str, otherwise: &'static str| {
            bench.iter().find(|(name, _)| *name == key).map_or(otherwise.to_owned(), |(_, value)| (*value).to_owned())
        };
        let lines = keys.iter().map(|(key, good)| format!("{key} = {}\n", value(key, good)));
        let lines: String = lines.chain(more.map(|(key, value)| format!("{key} = {value}\n"))).collect();
        let text = format!("[suite]\nseed = 1\n\n[[bench]]\nname = \"small\"\n{lines}");
        self.put(&format!("{name}.toml"), text.replace("TMP", &self.folder.path().display().to_string()))
    }

    pub(crate) fn done(self) {
        assert!(self.wrong.is_empty(), "{}\nHARNESS_BLESS=1 accepts what is printed", self.wrong.join("\n"));
    }
}

/// The lines that say what went wrong: failed cells, the last reason and what belongs to it.
fn reasons(printed: &str) -> String {
    let mut inside = false;
    printed
        .lines()
        .filter(|line| {
            inside = line.starts_with("failed: ") || line.starts_with("error: ") || inside && line.starts_with("  ");
            inside
        })
        .map(|line| match line.split_once("; known: ") {
            // The list of what there is grows.
            Some((before, _)) => format!("{before}; known: …\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

/// A message without the line and column of source code that it names.
fn without_lines(printed: &str) -> String {
    let mut parts = printed.split(".rs:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + ".rs:" + part.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ':')
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Changes the bytes of a file.
fn edit(path: PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Replaces a text in a file.
fn replace(path: PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{} has no {from}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn damaged_folders_are_refused() {
    let mut place = Place::new();
    let weights = |model: &Path| model.join("model.safetensors");
    place.model_case("config_missing", |model| fs::remove_file(model.join("config.json")).unwrap());
    place.model_case("weights_missing", |model| fs::remove_file(weights(model)).unwrap());
    place.model_case("weights_empty", |model| edit(weights(model), Vec::clear));
    place.model_case("weights_truncated", |model| edit(weights(model), |bytes| bytes.truncate(bytes.len() / 2)));
    place.model_case("weights_oversized_header", |model| {
        edit(weights(model), |bytes| bytes[..8].copy_from_slice(&(1_u64 << 62).to_le_bytes()));
    });
    place.model_case("weights_nan", |model| {
        // The last value of the file, in bf16.
        edit(weights(model), |bytes| *bytes.last_chunk_mut().unwrap() = 0x7fc0_u16.to_le_bytes());
    });
    place.model_case("weights_pickle", |model| {
        fs::rename(weights(model), model.join("pytorch_model.bin")).unwrap();
    });
    place.model_case("weights_of_another_shape", |model| {
        replace(model.join("config.json"), "\"hidden_size\": 32", "\"hidden_size\": 48");
    });
    place.model_case("architecture_unknown", |model| {
        replace(model.join("config.json"), "LlamaForCausalLM", "RwkvForCausalLM");
        // Variants that have no name elsewhere are described under this key.
        replace(model.join("config.json"), "\"harness\"", "\"other\"");
    });
    place.model_case("tokenizer_too_large", |model| {
        replace(model.join("tokenizer.json"), "\"w63\": 63", "\"w63\": 64");
    });
    place.model_case("tokenizer_damaged", |model| edit(model.join("tokenizer.json"), |bytes| bytes.truncate(99)));
    place.model_case("tokenizer_missing", |model| fs::remove_file(model.join("tokenizer.json")).unwrap());
    place.done();
}

#[test]
fn rotary_scalings_that_cannot_be_done_are_refused() {
    let mut place = Place::new();
    let mut case = |name: &str, table: &str| {
        place.model_case(name, |model| {
            let plain = "\"rope_theta\": 10000.0,\n    \"rope_type\": \"default\"";
            replace(model.join("config.json"), plain, table);
        });
    };
    let original = "\"original_max_position_embeddings\": 128";
    case("scaling_unknown", "\"rope_type\": \"ntk-alpha\", \"alpha\": 2");
    case("scaling_key_unknown", "\"rope_type\": \"linear\", \"factor\": 2, \"alpha\": 2");
    case("scaling_below_1", "\"rope_type\": \"linear\", \"factor\": 0.5");
    case("scaling_without_length", "\"rope_type\": \"yarn\", \"factor\": 4");
    let lists = "\"short_factor\": [1, 1, 1, 1, 1, 1, 1, 1], \"long_factor\": [1, 2, 3]";
    case("scaling_lists", &format!("\"rope_type\": \"longrope\", \"factor\": 4, {lists}, {original}"));
    case("scaling_odd", &format!("\"rope_type\": \"yarn\", \"factor\": 4, \"partial_rotary_factor\": 0.2, {original}"));
    case(
        "scaling_bounds",
        &format!("\"rope_type\": \"yarn\", \"factor\": 4, \"beta_fast\": 1, \"beta_slow\": 2, {original}"),
    );
    place.done();
}

/// A GGUF header with these counts, and what follows.
fn gguf(tensors: u64, values: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(values.to_le_bytes());
    bytes.extend(rest);
    bytes
}

fn gguf_text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The entry of an f32 tensor of 64 rows of 32.
fn gguf_tensor(name: &str, rows: u64, offset: u64) -> Vec<u8> {
    let mut entry = gguf_text(name);
    entry.extend(2_u32.to_le_bytes());
    entry.extend(32_u64.to_le_bytes());
    entry.extend(rows.to_le_bytes());
    entry.extend(0_u32.to_le_bytes());
    entry.extend(offset.to_le_bytes());
    entry
}

#[test]
fn damaged_files_are_refused() {
    let mut place = Place::new();
    place.file_case("gguf_absurd_tensor_count", "a.gguf", &gguf(u64::MAX, 0, &[0; 64]));
    place.file_case("gguf_absurd_value_count", "a.gguf", &gguf(0, 1 << 60, &[0; 64]));
    let mut array = gguf_text("tokenizer.ggml.tokens");
    array.extend(9_u32.to_le_bytes());
    array.extend(8_u32.to_le_bytes());
    array.extend((1_u64 << 61).to_le_bytes());
    place.file_case("gguf_absurd_array", "a.gguf", &gguf(0, 1, &array));
    let entry = |rows, offset| [gguf_tensor("token_embd.weight", rows, offset), vec![0; 64 * 32 * 4]].concat();
    place.file_case("gguf_absurd_offset", "a.gguf", &gguf(1, 0, &entry(64, 1 << 50)));
    place.file_case("gguf_absurd_size", "a.gguf", &gguf(1, 0, &entry(1 << 40, 0)));
    place.file_case("gguf_truncated", "a.gguf", &gguf(1, 0, &entry(64, 0)[..40]));
    place.file_case("gguf_without_architecture", "a.gguf", &gguf(0, 0, &[]));
    place.file_case("llama2c_truncated", "a.bin", &[1_i32, 2, 3].map(i32::to_le_bytes).concat());
    place.file_case("pickle", "a.bin", b"\x80\x02}q\x00.");
    place.file_case("no_checkpoint", "a.txt", b"hello");
    place.done();
}

#[test]
fn files_that_are_not_what_their_manifest_says_are_refused() {
    let mut place = Place::new();
    let manifest = |size: usize, hash: char| {
        format!(
            "[manifest]\nformat = 1\nname = \"toy\"\nkind = \"embedded\"\nabout = \"a\"\nlicence = \"MIT\"\n[model]\nload = \
             \"w.bin\"\n[[file]]\nname = \"w.bin\"\nsize = {size}\nsha256 = \"{}\"\n",
            hash.to_string().repeat(64)
        )
    };
    let datasets = place.path("datasets");
    let catalog = [("HARNESS_DATASETS", datasets.as_str())];
    place.put("datasets/models/toy/w.bin", "weights");
    for (name, size) in [("hash_wrong", 7), ("size_wrong", 8)] {
        place.put("datasets/models/toy/manifest.toml", manifest(size, '0'));
        place.case_in(name, &catalog, &["generate", "--model", "toy", "--prompt", "w3"]);
        let suite = place.suite(name, &[("model", "\"toy\"")]);
        let out = place.path("run");
        place.case_in(&format!("{name}_in_a_run"), &catalog, &["run", &suite, "--out", &out]);
        assert!(!Path::new(&out).exists(), "nothing ran");
    }
    place.put("datasets/models/toy/manifest.toml", manifest(7, 'Z'));
    place.case_in("manifest_wrong", &catalog, &["fetch", "toy"]);
    let nowhere = place.path("nowhere");
    place.case_in("datasets_missing", &[("HARNESS_DATASETS", &nowhere)], &["list", "models"]);
    place.done();
}

#[test]
fn texts_that_give_no_windows_are_refused() {
    let mut place = Place::new();
    let model = place.path("model");
    for (name, content) in [
        ("text_empty", &b""[..]),
        ("text_blank", b"\n \n"),
        ("text_too_short", b"w3 w4 w5"),
        ("text_not_utf_8", b"w3 w4 \xff w5"),
    ] {
        let text = place.put("text.txt", content);
        place.case(name, &["score", "--model", &model, "--text", &text, "--window", "16"]);
        place.run_case(
            &format!("{name}_in_a_run"),
            &[],
            &[("data", "{ corpus = \"TMP/text.txt\", window = 16, windows = 2 }")],
        );
    }
    let missing = place.path("missing.txt");
    place.case("text_missing", &["score", "--model", &model, "--text", &missing]);
    place.case("corpus_unknown", &["apply", "--model", &model, "--calib", "fabels/train", "--out", "x"]);
    place.case("split_unknown", &["apply", "--model", &model, "--calib", "fables/tran", "--out", "x"]);
    let window = ["--window", "16", "--skip-first", "15"];
    let scored = place.path("scored.txt");
    place.case("nothing_to_score", &[&["score", "--model", &model, "--text", &scored], &window[..]].concat());
    place.done();
}

#[test]
fn token_files_are_checked() {
    let mut place = Place::new();
    let model = place.path("model");
    for (name, content) in [
        ("ids_not_json", "w3 w4"),
        ("ids_empty", "[]"),
        ("ids_of_one", "[[3]]"),
        ("ids_unequal", "[[3, 4, 5], [3, 4]]"),
        ("ids_outside_the_vocabulary", "[[3, 4, 5], [3, 64, 5]]"),
        ("ids_negative", "[[3, -4]]"),
    ] {
        let path = place.put("ids.json", content);
        place.case(name, &["score", "--model", &model, "--token-ids", &path]);
    }
    let path = place.put("ids.json", "[[3, 4, 5]]");
    place.case("ids_of_another_window", &["score", "--model", &model, "--token-ids", &path, "--window", "4"]);
    let out = place.path("out");
    let apply = ["apply", "--model", &model, "--prune", "wanda", "--out", &out];
    place.case("ids_of_another_window_to_apply", &[&apply[..], &["--token-ids", &path, "--window", "4"]].concat());
    let missing = place.path("missing.json");
    place.case("ids_missing", &["score", "--model", &model, "--token-ids", &missing]);
    let path = place.put("prompt.json", "[3, 64]");
    place.case("prompt_ids_outside_the_vocabulary", &["generate", "--model", &model, "--prompt-ids", &path]);
    place.case("prompt_empty", &["generate", "--model", &model, "--prompt", ""]);
    place.done();
}

#[test]
fn wrong_names_and_values_are_refused() {
    let mut place = Place::new();
    let model = place.path("model");
    let out = place.path("out");
    for (name, arm) in [
        ("method_unknown", "wnada(sparsity=0.5)"),
        ("parameter_unknown", "wanda(sparsty=0.5)"),
        ("parameter_out_of_range", "wanda(sparsity=1.5)"),
        ("parameter_of_another_kind", "wanda(sparsity=half)"),
        ("parameters_together", "wanda(sparsity=0.3, pattern=2:4)"),
        ("pattern_of_nothing", "wanda(pattern=2:0)"),
        ("pattern_too_full", "wanda(pattern=3:2)"),
        ("arm_unclosed", "wanda(sparsity=0.5"),
        ("calibration_missing", "wanda(sparsity=0.5)"),
        ("columns_not_divisible", "magnitude(pattern=2:5)"),
    ] {
        place.case(name, &["apply", "--model", &model, "--prune", arm, "--out", &out]);
        assert!(!Path::new(&out).exists(), "{name} left something");
    }
    place.case("model_unknown", &["score", "--model", "tiny-10k", "--text", &place.path("scored.txt")]);
    place.case("out_occupied", &["apply", "--model", &model, "--prune", "none", "--out", &model]);
    let huge = Recipe { scale: 1e6, ..SMALL };
    huge.write(&place.folder.path().join("huge"));
    let huge = place.path("huge");
    place.case("too_large_for_f16", &["apply", "--model", &huge, "--dtype", "f16", "--out", &out]);
    assert!(!Path::new(&out).exists());
    let suite = place.suite("good", &[]);
    place.case("suite_missing", &["run", "no-such-suite.toml"]);
    place.case("filter_of_nothing", &["plan", &suite, "--filter", "tiny"]);
    place.case("run_unknown", &["compare", "no-such-run", "no-such-run"]);
    place.case("run_unknown_to_report", &["report", "no-such-run"]);
    place.done();
}

#[test]
fn what_formats_cannot_hold_is_refused() {
    let mut place = Place::new();
    let (model, out) = (place.path("model"), place.path("out.gguf"));
    let apply = |more: &[&'static str]| -> Vec<String> {
        let given = ["apply", "--model", &model, "--out", &out].map(str::to_owned);
        given.into_iter().chain(more.iter().map(|&argument| argument.to_owned())).collect()
    };
    for (name, more) in [
        ("gguf_of_other_codes", &["--quant", "rtn(group=32)", "--format", "gguf"][..]),
        ("packed_of_nothing", &["--format", "packed"]),
        ("packed_of_codes_without_kernel", &["--quant", "fp8", "--format", "packed"]),
        ("head_of_a_folder", &["--quant", "q8_0", "--head", "q8_0"]),
    ] {
        let arguments = apply(more);
        place.case(name, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!Path::new(&out).exists(), "{name} left something");
    }
    let occupied = place.put("occupied.gguf", "mine");
    place.case("gguf_out_exists", &["apply", "--model", &model, "--format", "gguf", "--out", &occupied]);
    copy(&place.folder.path().join("model"), &place.folder.path().join("gelu"));
    replace(place.folder.path().join("gelu/config.json"), "\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"");
    place.case("gguf_has_no_words", &["apply", "--model", &place.path("gelu"), "--format", "gguf", "--out", &out]);

    let (packed, text) = (place.path("packed"), place.path("scored.txt"));
    let ran: Ran = harness(&["apply", "--model", &model, "--quant", "q4_0", "--format", "packed", "--out", &packed])
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let score = |model: &str, more: &[&'static str]| -> Vec<String> {
        let given = ["score", "--model", model, "--window", "32", "--text", &text].map(str::to_owned);
        given.into_iter().chain(more.iter().map(|&argument| argument.to_owned())).collect()
    };
    for (name, arguments) in [
        ("nothing_is_packed", score(&model, &["--activations", "int8"])),
        ("int8_of_values", score(&model, &["--quant", "q4_0", "--activations", "int8"])),
        ("quantizer_without_calibration", score(&model, &["--quant", "gptq(group=32)"])),
        ("head_without_quantizer", score(&model, &["--head", "q8_0"])),
    ] {
        place.case(name, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let config = place.folder.path().join("packed/config.json");
    let arguments = score(&packed, &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let good = fs::read_to_string(&config).unwrap();
    for (name, from, to) in [
        ("packed_of_another_version", "\"version\": 1", "\"version\": 2"),
        ("packed_by_another_program", "\"quant_method\": \"harness\"", "\"quant_method\": \"gptq\""),
        ("packed_code_out_of_range", "\"bits\": 4", "\"bits\": 1"),
        ("packed_group_wrong", "\"group\": 32", "\"group\": 0"),
    ] {
        assert!(good.contains(from), "{good}");
        fs::write(&config, good.replace(from, to)).unwrap();
        place.case(name, &arguments);
    }
    fs::write(&config, &good).unwrap();
    edit(place.folder.path().join("packed/model.safetensors"), |bytes| bytes.truncate(bytes.len() / 2));
    place.case("packed_truncated", &arguments);
    place.done();
}

#[test]
fn cells_that_cannot_be_measured_are_rows_and_the_others_go_on() {
    let mut place = Place::new();
    place.run_case("columns_not_divisible_in_a_run", &[], &[("prune", "[\"none\", \"wanda(pattern=2:5)\"]")]);
    place.run_case(
        "calibration_overlaps",
        &[],
        &[("calib", "{ corpus = \"TMP/scored.txt\", window = 32, windows = 4 }")],
    );
    place.run_case(
        "calibration_too_short",
        &[],
        &[("calib", "{ corpus = \"TMP/calibration.txt\", window = 64, windows = 40 }")],
    );
    let panic = [("HARNESS_PROVOKE_PANIC", "wanda(sparsity=0.5)")];
    place.run_case("panic", &panic, &[("prune", "[\"wanda(sparsity=0.5)\", \"wanda(sparsity=0.25)\"]")]);

    copy(&place.folder.path().join("model"), &place.folder.path().join("truncated"));
    edit(place.folder.path().join("truncated/model.safetensors"), |bytes| bytes.truncate(bytes.len() / 2));
    place.run_case("weights_truncated_in_a_run", &[], &[("model", "[\"TMP/truncated\", \"TMP/model\"]")]);
    // Finite weights whose products are not.
    Recipe { scale: 1e18, ..SMALL }.write(&place.folder.path().join("overflowing"));
    place.run_case("nan", &[], &[("model", "[\"TMP/overflowing\", \"TMP/model\"]")]);

    for (name, failed, measured) in [
        ("columns_not_divisible_in_a_run", 1, 1),
        ("panic", 1, 1),
        ("weights_truncated_in_a_run", 2, 2),
        ("nan", 2, 2),
        ("calibration_overlaps", 2, 0),
    ] {
        let run = harness_store::Run::open(&place.folder.path().join(format!("run-{name}"))).unwrap();
        assert_eq!(run.failed().count(), failed, "{name}");
        let numbers = run.records.iter().filter(|record| record.value("ppl").is_some_and(f64::is_finite)).count();
        assert_eq!(numbers, measured, "{name}");
    }
    place.done();
}

#[test]
fn every_kept_message_belongs_to_a_case() {
    let kept: BTreeSet<String> = fs::read_dir(root().join("tests/inputs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let read = |file| fs::read_to_string(root().join(file)).unwrap();
    let source = read("tests/inputs.rs") + &read("tests/task_inputs.rs");
    for file in &kept {
        let name = file.trim_end_matches(".txt").trim_end_matches("_in_a_run");
        assert!(source.contains(&format!("\"{name}")), "no case is called {name}");
    }
    assert!(kept.len() >= 60, "only {} messages are kept", kept.len());
}
