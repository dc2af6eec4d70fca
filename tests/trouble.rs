//! What comes from outside while a run is under way: a disk that is full or read-only, a second run on the same folder,
//! an interrupt, a reader that goes away. Whole messages, exit codes, and what is left on disk.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::models::{self, SMALL};
use crate::support::{Ran, harness, root, run, scratch};

/// A folder with a model, texts and a suite of two benches: five cells that are done in no time, and two that take
/// seconds.
struct Place {
    folder: tempfile::TempDir,
    suite: String,
}

impl Place {
    fn new() -> Self {
        let folder = scratch();
        let at = |name: &str| folder.path().join(name).display().to_string();
        SMALL.write(&folder.path().join("model"));
        for (name, count, salt) in [("short", 2_000, 1), ("long", 300_000, 2), ("calibration", 2_000, 3)] {
            std::fs::write(at(name), models::text(&models::ids(count, SMALL.vocabulary, salt))).unwrap();
        }
        let bench = |name: &str, text: &str, windows: usize, arms: &str| {
            format!(
                "[[bench]]\nname = \"{name}\"\nmodel = \"{}\"\ndata = {{ corpus = \"{}\", window = 64, windows = {windows}, select = \"consecutive\" }}\n\
                 calib = {{ corpus = \"{}\", window = 64, windows = 4 }}\nmetrics = [\"ppl\", \"kl\", \"sparsity\"]\nprune = [{arms}]\n",
                at("model"),
                at(text),
                at("calibration")
            )
        };
        let arms = r#""none", "magnitude(sparsity=0.5)", "wanda(sparsity=0.5)", "sparsegpt(sparsity=0.5)", "random(sparsity=0.5)""#;
        let suite = format!(
            "[suite]\nseed = 1\n{}{}",
            bench("quick", "short", 8, arms),
            bench("slow", "long", 4_500, r#""none", "wanda(sparsity=0.25)""#)
        );
        std::fs::write(at("suite.toml"), suite).unwrap();
        let suite = at("suite.toml");
        Self { folder, suite }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a run and returns when the slow bench is being measured: five cells are then on disk.
    fn start(&self, out: &Path) -> Running {
        let mut child = harness(&["run", &self.suite, "--out", &out.display().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.lines().any(|line| line.starts_with("slow: measure")) {
            assert!(lines.read_line(&mut seen).unwrap() > 0, "the run ended early: {seen}");
        }
        Running { child, lines, seen }
    }
}

struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
    seen: String,
}

impl Running {
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    fn end(mut self) -> Ran {
        self.lines.read_to_string(&mut self.seen).unwrap();
        let status = self.child.wait().unwrap();
        Ran { code: status.code().unwrap_or(-1), out: String::new(), err: self.seen }
    }
}

fn exact_rows(out: &Path) -> Vec<u8> {
    harness_store::exact_records_bytes(&harness_store::Run::open(out).unwrap())
}

#[test]
fn an_interrupt_exits_130_and_the_same_command_goes_on() {
    let place = Place::new();
    let whole = place.path("whole");
    let run_to = |out: &Path| run(&["run", &place.suite, "--out", &out.display().to_string()]);
    assert_eq!(run_to(&whole).code, 0);
    for signal in ["INT", "TERM"] {
        let out = place.path(signal);
        let running = place.start(&out);
        running.signal(signal);
        let ran = running.end();
        assert_eq!(ran.code, 130, "{signal}: {}", ran.err);
        let told = format!(
            "error: interrupted; 5 cells finished and kept in {}; run the same command again to go on",
            out.display()
        );
        assert_eq!(ran.reason(), told);
        assert!(!harness_store::is_sealed(&out));
        let again = run_to(&out);
        assert_eq!(again.code, 0, "{}", again.err);
        assert!(again.err.contains("\n5 of 7 cells are kept from before\n"), "{}", again.err);
        assert!(again.out.contains("\n2 cells measured, 5 kept, 0 failed, in "), "{}", again.out);
        assert_eq!(exact_rows(&whole), exact_rows(&out));
    }
}

#[test]
fn a_second_run_on_one_folder_is_refused_and_does_no_harm() {
    let place = Place::new();
    let out = place.path("run");
    let first = place.start(&out);
    let second = run(&["run", &place.suite, "--out", &out.display().to_string()]);
    assert_eq!(second.code, 2, "{}", second.err);
    let told = format!(
        "error: another run is writing {}; wait for it, or choose another folder with --out",
        out.join("journal.jsonl").display()
    );
    assert_eq!(second.reason(), told);
    let first = first.end();
    assert_eq!(first.code, 0, "{}", first.err);
    let third = run(&["run", &place.suite, "--out", &out.display().to_string()]);
    assert_eq!(third.code, 2);
    let told = format!(
        "error: {0} holds a finished run; choose another --out, or render it again with `harness report {0}`",
        out.display()
    );
    assert_eq!(third.reason(), told);
}

/// Runs the program in a mount namespace of its own with a small file system at `at`.
fn with_mount(options: &str, at: &Path, arguments: &[&str]) -> Ran {
    let script = format!("mount -t tmpfs -o {options} tmpfs '{}' && exec \"$@\"", at.display());
    // Root may; others may as the root of a user namespace, where the system allows those.
    let ways: [&[&str]; 2] = [&["-m"], &["-r", "-m"]];
    let way = ways
        .into_iter()
        .find(|way| Command::new("unshare").args(*way).arg("true").output().is_ok_and(|ran| ran.status.success()))
        .expect("this test mounts a small file system: run it as root, or allow user namespaces");
    let mut command = Command::new("unshare");
    command.args(way).args(["sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_harness")]).args(arguments);
    command.current_dir(root()).env("NO_COLOR", "1").stdin(Stdio::null()).output().unwrap().into()
}

/// Pages that the files below a folder take in memory.
fn pages(folder: &Path) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { pages(&entry.path()) } else { metadata.len().div_ceil(4096) }
        })
        .sum()
}

const MAKE_ROOM: &str =
    "make room, or choose another folder with --out; finished cells are kept when the same command is run again";

#[test]
fn a_run_that_cannot_be_written_exits_110() {
    let place = Place::new();
    let disk = place.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let out = disk.join("run");
    let filter = ["run", &place.suite, "--filter", "quick", "--out", &out.display().to_string()];
    let (read_only, full) = ("Read-only file system (os error 30)", "No space left on device (os error 28)");
    for (options, told) in [
        ("ro", format!("cannot make the run folder {}: {read_only}", out.display())),
        // The stamp of the run does not fit.
        ("size=4k", format!("results could not be written: {}: {full}", out.join("run.json").display())),
    ] {
        let ran = with_mount(options, &disk, &filter);
        assert_eq!((ran.code, ran.reason()), (110, format!("error: {told}; {MAKE_ROOM}").as_str()), "{options}");
    }
    // A disk that fills up somewhere on the way, before or behind the last cell.
    let whole = place.path("whole");
    assert_eq!(run(&["run", &place.suite, "--filter", "quick", "--out", &whole.display().to_string()]).code, 0);
    let pages = pages(&whole);
    for size in [pages / 4, pages / 2, pages * 3 / 4, pages * 7 / 8] {
        let ran = with_mount(&format!("nr_blocks={size}"), &disk, &filter);
        assert_eq!(ran.code, 110, "{size}: {}", ran.err);
        let before = format!("{full}; {MAKE_ROOM}");
        let behind = format!("{full}; every cell is kept: make room, then `harness report {}`", out.display());
        let told = ran.reason();
        assert!(told.starts_with("error: ") && (told.ends_with(&before) || told.ends_with(&behind)), "{size}: {told}");
    }
}

#[test]
fn a_checkpoint_that_cannot_be_written_exits_110_and_leaves_nothing() {
    let place = Place::new();
    let disk = place.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let (out, model) = (disk.join("pruned").display().to_string(), place.path("model").display().to_string());
    let apply = ["apply", "--model", &model, "--prune", "magnitude", "--dtype", "f32", "--out", &out];
    let advice = "nothing was left behind, make room or choose another --out";
    let partial = |ran: &Ran| {
        let (_, rest) = ran.reason().split_once(".pruned.partial-").unwrap();
        rest.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned()
    };
    let ran = with_mount("ro", &disk, &apply);
    assert_eq!(ran.code, 110, "{}", ran.err);
    assert_eq!(partial(&ran), format!(": Read-only file system (os error 30); {advice}"));
    let ran = with_mount("size=40k", &disk, &apply);
    assert_eq!(ran.code, 110, "{}", ran.err);
    assert_eq!(partial(&ran), format!("/model.safetensors: No space left on device (os error 28); {advice}"));
}

#[test]
fn a_standard_output_that_is_full_or_closed_has_its_own_exit_code() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran: Ran = harness(&["list", "methods"]).stdout(full).output().unwrap().into();
    assert_eq!(ran.code, 110);
    let told = "error: results could not be written to standard output: No space left on device (os error 28)\n";
    assert_eq!(ran.err, told);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran: Ran = harness(&["schema"]).stdout(writer).output().unwrap().into();
    // What a shell gives for a program that SIGPIPE ended, and nothing to read.
    assert_eq!((ran.code, ran.err.as_str()), (141, ""));
}
