//! Fetching end to end without a network: a hub on a local socket, and programs that stand in for pip and npm.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::*;

pub(super) fn sha(bytes: &[u8]) -> String {
    super::assemble::hex(&Sha256::digest(bytes))
}

/// Records the steps; stops after a number of them.
#[derive(Default)]
struct Steps {
    steps: Vec<String>,
    stop_at: Option<&'static str>,
}

impl Progress for Steps {
    fn step(&mut self, text: &str) {
        self.steps.push(text.to_owned());
    }

    fn bytes(&mut self, _done: u64, _total: Option<u64>) {}

    fn cancelled(&self) -> bool {
        self.stop_at.is_some_and(|text| self.steps.last().is_some_and(|last| last.contains(text)))
    }
}

/// A cache, and clients that hand out prepared archives.
pub(super) struct Bench {
    root: tempfile::TempDir,
    pub(super) cache: Cache,
    pub(super) options: Options,
}

impl Bench {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (archives, log) = (root.path().join("archives"), root.path().join("log"));
        fs::create_dir_all(&archives).unwrap();
        // Each notes its arguments, then copies what lies prepared under the name of its last argument.
        let client = |name: &str, flag: &str| {
            let path = root.path().join(name);
            let script = format!(
                "#!/bin/sh\necho \"{name} $*\" >> '{log}'\nwhile [ $# -gt 1 ]; do [ \"$1\" = {flag} ] && into=$2; shift; done\n\
                 [ -f '{from}/slow' ] && sleep 0.5\n[ -d \"{from}/$1\" ] || {{ echo \"ERROR: No matching distribution found for $1\" \
                 >&2; exit 1; }}\ncp \"{from}/$1\"/* \"$into\"/\n",
                log = log.display(),
                from = archives.display(),
            );
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let tools = Tools {
            python: client("python3", "-d"),
            npm: client("npm", "--pack-destination"),
            hub_endpoint: "http://127.0.0.1:1".to_owned(),
            hub_token: None,
            hub_patience: Duration::from_secs(10),
        };
        let cache = Cache::new(root.path().join("cache"));
        Self { cache, options: Options { tools, ..Options::default() }, root }
    }

    fn put(&self, requirement: &str, file: &str, bytes: &[u8]) {
        let folder = self.root.path().join("archives").join(requirement);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), bytes).unwrap();
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.root.path().join("log")).unwrap_or_default().lines().count()
    }

    pub(super) fn fetch(&self, manifest: &Manifest) -> Result<Folder, FetchError> {
        self.cache.fetch(manifest, &self.options, &mut Silent)
    }
}

pub(super) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A tar.gz whose names are written as they are, unlike the tar crate's own builder, which refuses bad ones.
fn tar_gz(members: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, kind, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(if kind.is_file() { bytes.len() as u64 } else { 0 });
        if !kind.is_file() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, if kind.is_file() { *bytes } else { &[][..] }).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

pub(super) fn manifest(name: &str, files: &[(&str, &[u8])], rest: &str) -> Manifest {
    use std::fmt::Write as _;
    let mut text = format!(
        "[manifest]\nformat = 1\nname = \"{name}\"\nkind = \"fetched\"\nabout = \"a\"\nlicence = \"MIT\"\n[model]\nload = \".\"\n"
    );
    for (file, bytes) in files {
        _ = write!(text, "[[file]]\nname = \"{file}\"\nsize = {}\nsha256 = \"{}\"\n", bytes.len(), sha(bytes));
    }
    Manifest::parse(Holds::Model, &Path::new("/data").join(name), &(text + rest)).unwrap()
}

const PIP: &str = "[[source]]\nkind = \"pip\"\npackage = \"toy\"\nversion = \"1.0\"\nroot = \"toy/data\"\n";

/// Every path below a folder.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<PathBuf> = entries
        .flatten()
        .flat_map(|entry| if entry.path().is_dir() { tree(&entry.path()) } else { vec![entry.path()] })
        .collect();
    all.sort();
    all
}

#[test]
fn a_wheel_becomes_a_checked_folder_and_is_not_fetched_twice() {
    let bench = Bench::new();
    let wanted = manifest("toy-model", &[("a.bin", b"alpha"), ("sub/b.bin", b"beta")], PIP);
    bench.put(
        "toy==1.0",
        "toy.whl",
        &zip(&[("toy/data/a.bin", b"alpha"), ("toy/data/sub/b.bin", b"beta"), ("x", b"")]),
    );
    let folder = bench.fetch(&wanted).unwrap();
    assert_eq!(folder.path, bench.cache.root().join("models/toy-model"));
    assert_eq!(fs::read(folder.file("sub/b.bin")).unwrap(), b"beta");
    let record = folder.record.clone().unwrap();
    assert_eq!((record.source.as_str(), record.file("a.bin").unwrap().sha256.clone()), ("pip toy==1.0", sha(b"alpha")));
    assert_eq!(bench.fetch(&wanted).unwrap(), folder);
    assert_eq!(bench.calls(), 1);
    assert!(tree(&bench.cache.root().join("staging")).is_empty(), "the archive is gone");
    let log = fs::read_to_string(bench.root.path().join("log")).unwrap();
    assert!(log.contains("-m pip download --no-deps") && log.contains("--only-binary :all:"), "{log}");

    // Damage is found, named, and mended by fetching again.
    fs::write(folder.file("a.bin"), b"alphA").unwrap();
    let error = bench.cache.locate(&wanted).unwrap_err();
    let file = folder.file("a.bin");
    assert_eq!(
        error.to_string(),
        format!(
            "{}: expected sha256 {}, found {}; fetch it again with `harness fetch toy-model`",
            file.display(),
            sha(b"alpha"),
            sha(b"alphA")
        )
    );
    bench.fetch(&wanted).unwrap();
    assert_eq!((fs::read(&file).unwrap(), bench.calls()), (b"alpha".to_vec(), 2));
}

#[test]
fn npm_ranges_gzip_and_parts_of_several_packages() {
    let bench = Bench::new();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"plain text").unwrap();
    let packed = packed.finish().unwrap();
    let regular = tar::EntryType::Regular;
    bench.put(
        "@o/one@2.0",
        "one.tgz",
        &tar_gz(&[("package/d", regular, b"headtail"), ("package/z.gz", regular, &packed)]),
    );
    bench.put("two@2.0", "two.tgz", &tar_gz(&[("package/d", regular, b"END")]));
    let wanted = manifest(
        "mix",
        &[("head", b"head"), ("tail", b"tail"), ("text", b"plain text"), ("joined", b"headtailEND")],
        r#"
[[source]]
kind = "npm"
package = "@o/one"
version = "2.0"
[[source.file]]
name = "head"
member = "package/d"
bytes = [0, 4]
[[source.file]]
name = "tail"
member = "*/d"
bytes = [4, 8]
[[source.file]]
name = "text"
member = "package/z.gz"
gunzip = true
[[source.file]]
name = "joined"
parts = [{ package = "@o/one", member = "package/d" }, { package = "two", member = "package/d" }]
"#,
    );
    let folder = bench.fetch(&wanted).unwrap();
    for (name, bytes) in
        [("head", &b"head"[..]), ("tail", b"tail"), ("text", b"plain text"), ("joined", b"headtailEND")]
    {
        assert_eq!(fs::read(folder.file(name)).unwrap(), bytes, "{name}");
    }
}

#[test]
fn hostile_and_wrong_archives_are_refused_and_leave_nothing() {
    use tar::EntryType;
    let (regular, symlink) = (EntryType::Regular, EntryType::Symlink);
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("traversal in a zip", zip(&[("toy/data/a.bin", b"alpha"), ("../evil", b"x")]), "points outside the archive"),
        ("absolute in a zip", zip(&[("/etc/evil", b"x"), ("toy/data/a.bin", b"alpha")]), "points outside the archive"),
        ("traversal in a tar", tar_gz(&[("toy/../../evil", regular, b"x")]), "points outside the archive"),
        ("backslashes", zip(&[("toy\\..\\evil", b"x")]), "points outside the archive"),
        ("symlink", tar_gz(&[("toy/data/a.bin", symlink, b"")]), "is a link or folder"),
        ("hard link", tar_gz(&[("toy/data/a.bin", EntryType::Link, b"")]), "is a link or folder"),
        ("missing member", zip(&[("toy/data/b.bin", b"alpha")]), "it holds no member \"toy/data/a.bin\""),
        ("not an archive", b"<html>not found</html>".to_vec(), "neither a zip nor a tar.gz"),
        ("wrong content", zip(&[("toy/data/a.bin", b"ALPHA")]), "expected sha256"),
    ];
    for (what, archive, reason) in cases {
        let bench = Bench::new();
        let wanted = manifest("toy-model", &[("a.bin", b"alpha")], PIP);
        bench.put("toy==1.0", "toy.whl", &archive);
        let error = bench.fetch(&wanted).unwrap_err();
        assert!(error.to_string().contains(reason), "{what}: {error}");
        assert_eq!(error.exit_code(), 5, "{what}");
        assert!(!bench.cache.folder(&wanted).exists(), "{what}");
        assert!(tree(bench.root.path()).iter().all(|path| !path.ends_with("evil")), "{what}");
        // The bad archive is not kept: a mended package works at once.
        bench.put("toy==1.0", "toy.whl", &zip(&[("toy/data/a.bin", b"alpha")]));
        assert!(bench.fetch(&wanted).is_ok(), "{what}");
    }
}

#[test]
fn wrong_content_names_the_file_and_both_hashes() {
    let bench = Bench::new();
    let wanted = manifest("toy-model", &[("a.bin", b"alpha")], PIP);
    bench.put("toy==1.0", "toy.whl", &zip(&[("toy/data/a.bin", b"ALPHA")]));
    let expected = format!("toy-model/a.bin: expected sha256 {}, found {}", sha(b"alpha"), sha(b"ALPHA"));
    assert_eq!(bench.fetch(&wanted).unwrap_err().to_string(), expected);
    bench.put("toy==1.0", "toy.whl", &zip(&[("toy/data/a.bin", &vec![7; 2_000_000])]));
    let error = bench.fetch(&wanted).unwrap_err();
    assert_eq!(
        error.to_string(),
        "toy.whl: member \"toy/data/a.bin\": longer than the limit of 1048581 bytes; reading stopped"
    );
}

#[test]
fn offline_says_what_to_run_and_a_failing_client_says_why() {
    let mut bench = Bench::new();
    let wanted = manifest("toy-model", &[("a.bin", b"alpha")], PIP);
    let place = bench.cache.folder(&wanted);
    let error = bench.fetch(&wanted).unwrap_err().to_string();
    assert!(error.contains("No matching distribution found for toy==1.0"), "{error}");
    bench.options.offline = true;
    assert_eq!(
        bench.fetch(&wanted).unwrap_err().to_string(),
        format!(
            "model toy-model is not in the cache ({}) and --offline forbids fetching it; run `harness fetch toy-model` while online",
            place.display()
        )
    );
    assert_eq!(bench.cache.require(&wanted).unwrap_err().exit_code(), 5);
    bench.options.offline = false;
    bench.options.tools.python = "/nowhere/python3".into();
    let error = bench.fetch(&wanted).unwrap_err().to_string();
    assert!(error.contains("could not start") && error.contains("on PATH"), "{error}");
}

#[test]
fn an_interrupted_fetch_shows_nothing_and_goes_on_where_it_stopped() {
    let bench = Bench::new();
    let wanted = manifest(
        "parts",
        &[("whole", b"onetwo")],
        "[[source]]\nkind = \"pip\"\nversion = \"1.0\"\n[[source.file]]\nname = \"whole\"\nparts = [{ package = \"p1\", member = \
         \"d\" }, { package = \"p2\", member = \"d\" }]\n",
    );
    bench.put("p1==1.0", "p1.whl", &zip(&[("d", b"one")]));
    bench.put("p2==1.0", "p2.whl", &zip(&[("d", b"two")]));
    for stop in ["downloading p2", "unpacking p2", "checking whole"] {
        let mut steps = Steps { stop_at: Some(stop), ..Steps::default() };
        let error = bench.cache.fetch(&wanted, &bench.options, &mut steps).unwrap_err();
        assert_eq!(error.to_string(), "fetching parts was interrupted; run the same command again to go on", "{stop}");
        assert_eq!(error.exit_code(), 130);
        assert!(!bench.cache.folder(&wanted).exists(), "{stop}");
    }
    let mut steps = Steps::default();
    let folder = bench.cache.fetch(&wanted, &bench.options, &mut steps).unwrap();
    assert_eq!(fs::read(folder.file("whole")).unwrap(), b"onetwo");
    assert!(!steps.steps.iter().any(|step| step.contains("downloading p1")), "{:?}", steps.steps);
    let log = fs::read_to_string(bench.root.path().join("log")).unwrap();
    assert_eq!(log.lines().filter(|line| line.ends_with("p1==1.0")).count(), 1, "{log}");
}

#[test]
fn two_fetches_at_once_download_once() {
    let bench = Bench::new();
    let wanted = manifest("toy-model", &[("a.bin", b"alpha")], PIP);
    bench.put("toy==1.0", "toy.whl", &zip(&[("toy/data/a.bin", b"alpha")]));
    fs::write(bench.root.path().join("archives/slow"), b"").unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| bench.fetch(&wanted).map(|folder| folder.path))).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap(), bench.cache.folder(&wanted));
        }
    });
    assert_eq!(bench.calls(), 1);
}

#[test]
fn an_unwritable_cache_is_an_output_error() {
    let bench = Bench::new();
    let wanted = manifest("toy-model", &[("a.bin", b"alpha")], PIP);
    fs::write(bench.root.path().join("cache"), b"a file where the folder should be").unwrap();
    let error = bench.fetch(&wanted).unwrap_err();
    assert_eq!(error.exit_code(), 110, "{error}");
    assert!(error.to_string().contains("HARNESS_CACHE"), "{error}");
}

#[test]
fn a_client_that_fills_the_disk_is_an_output_error() {
    let bench = Bench::new();
    let script = "#!/bin/sh\necho 'ERROR: Could not install: [Errno 28] No space left on device' >&2\nexit 1\n";
    fs::write(&bench.options.tools.python, script).unwrap();
    let error = bench.fetch(&manifest("toy-model", &[("a.bin", b"alpha")], PIP)).unwrap_err();
    assert_eq!(error.exit_code(), 110, "{error}");
}

#[test]
fn damaged_archives_end_in_an_error_never_in_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (path, to) = (folder.path().join("archive"), folder.path().join("member"));
    let wanted = [super::archive::Wanted { member: "d/a".to_owned(), to, limit: 1 << 16 }];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let regular = tar::EntryType::Regular;
    let mut failed = 0;
    for original in
        [zip(&[("d/a", &[5; 900]), ("d/b", b"bb")]), tar_gz(&[("d/a", regular, &[5; 900]), ("d/b", regular, b"bb")])]
    {
        for _ in 0..600 {
            let mut bytes = original.clone();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                bytes[at] = next(256) as u8;
            }
            bytes.truncate(bytes.len() - if next(3) == 0 { next(bytes.len()) } else { 0 });
            fs::write(&path, &bytes).unwrap();
            failed += usize::from(super::archive::extract(&path, &wanted, &mut Silent).is_err());
        }
    }
    assert!(failed > 300, "only {failed} of 1200 were noticed");
}

/// After `harness fetch stories15m smollm2-135m-instruct gutenberg enwik8`: the real files, hashed in full.
#[test]
fn the_real_entries_are_complete() {
    if std::env::var_os("HARNESS_TEST_REAL").is_none_or(|value| value != "1") {
        return;
    }
    let catalog = Catalog::open(None).unwrap();
    let cache = Cache::from_environment().unwrap();
    let ready = |name: &str| {
        let manifest = catalog.entry(name).unwrap();
        let Located::Ready(folder) = cache.verify(&manifest).unwrap() else { panic!("{name} was not fetched") };
        (manifest, folder)
    };
    for name in ["stories15m", "smollm2-135m-instruct"] {
        let (manifest, folder) = ready(name);
        assert!(folder.load_path(&manifest).is_file());
    }
    let documents = |name: &str, split: &str| {
        let (manifest, folder) = ready(name);
        Corpus::load(&folder, &manifest, manifest.split(split).unwrap()).unwrap().documents
    };
    assert_eq!(documents("gutenberg", "all").len(), 18);
    assert!(documents("gutenberg", "test")[0].text.starts_with("[Emma by Jane Austen 1816]"));
    let lengths = ["train", "valid", "test"].map(|split| documents("enwik8", split)[0].text.len());
    assert_eq!(lengths.iter().sum::<usize>(), 100_000_000);
}

#[test]
fn sources_are_tried_in_order_and_all_failures_are_told() {
    let bench = Bench::new();
    let wanted = manifest(
        "toy-model",
        &[("a.bin", b"alpha")],
        &format!("[[source]]\nkind = \"hub\"\nrepo = \"o/toy\"\nrevision = \"main\"\n{PIP}"),
    );
    let error = bench.fetch(&wanted).unwrap_err().to_string();
    assert!(
        error.starts_with("model toy-model could not be fetched; every source failed:\n  hub o/toy@main: "),
        "{error}"
    );
    assert!(error.contains("\n  pip toy==1.0: "), "{error}");
    bench.put("toy==1.0", "toy.whl", &zip(&[("toy/data/a.bin", b"alpha")]));
    assert_eq!(bench.fetch(&wanted).unwrap().record.unwrap().source, "pip toy==1.0");
}

#[test]
fn embedded_files_are_checked_where_they_lie() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("tiny");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("w.bin"), b"weights").unwrap();
    let text = format!(
        "[manifest]\nformat = 1\nname = \"tiny\"\nkind = \"embedded\"\nabout = \"a\"\nlicence = \"MIT\"\n[model]\nload = \
         \"w.bin\"\n[[file]]\nname = \"w.bin\"\nsize = 7\nsha256 = \"{}\"\n",
        sha(b"weights")
    );
    let tiny = Manifest::parse(Holds::Model, &place, &text).unwrap();
    let cache = Cache::new(root.path().join("cache"));
    let options = Options { offline: true, ..Options::default() };
    let folder = cache.fetch(&tiny, &options, &mut Silent).unwrap();
    assert_eq!((folder.load_path(&tiny), folder.record), (place.join("w.bin"), None));
    cache.remove(&tiny).unwrap();
    fs::write(place.join("w.bin"), b"Weights").unwrap();
    let error = cache.fetch(&tiny, &options, &mut Silent).unwrap_err();
    assert!(error.to_string().ends_with("; restore it from the repository"), "{error}");
    fs::write(place.join("w.bin"), b"weight").unwrap();
    let error = cache.fetch(&tiny, &options, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("expected 7 bytes, found 6"), "{error}");
    assert!(!cache.root().exists(), "nothing was written");
}

#[test]
fn a_manifest_that_asks_for_other_content_makes_the_old_entry_absent() {
    let bench = Bench::new();
    bench.put("toy==1.0", "toy.whl", &zip(&[("toy/data/a.bin", b"alpha")]));
    bench.fetch(&manifest("toy-model", &[("a.bin", b"alpha")], PIP)).unwrap();
    let newer = manifest("toy-model", &[("a.bin", b"omega")], PIP);
    assert!(matches!(bench.cache.locate(&newer), Ok(Located::Absent(_))));
    bench.put("toy==1.0", "toy.whl", &zip(&[("toy/data/a.bin", b"omega")]));
    let folder = bench.fetch(&newer).unwrap();
    assert_eq!(fs::read(folder.file("a.bin")).unwrap(), b"omega");
}
