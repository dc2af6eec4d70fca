//! `harness fetch` as a person meets it: consent, sources in turn, hashes, interrupts, offline. The hub is an address
//! where nobody listens and `npm` a script that hands out a prepared archive; the protocols are tested in
//! `harness/run/fetch`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::models::SMALL;
use crate::support::{Ran, harness, scratch};

const FILES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

/// A catalogue of one model, an empty cache, and the package that holds the model.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(scratch());
        let model = place.path("package/model");
        fs::create_dir(place.path("package")).unwrap();
        SMALL.write(&model);
        let files: String = FILES
            .iter()
            .map(|name| {
                let path = model.join(name);
                let (size, hash) = (path.metadata().unwrap().len(), hash(&path));
                format!("[[file]]\nname = \"{name}\"\nsize = {size}\nsha256 = \"{hash}\"\n")
            })
            .collect();
        let manifest = format!(
            "[manifest]\nformat = 1\nname = \"toy\"\nkind = \"fetched\"\nabout = \"a toy\"\nlicence = \"MIT\"\n[model]\nload = \".\"\n{files}\
             [[source]]\nkind = \"hub\"\nrepo = \"o/toy\"\nrevision = \"main\"\n\
             [[source]]\nkind = \"npm\"\npackage = \"toy\"\nversion = \"1.0.0\"\nroot = \"package/model\"\n"
        );
        fs::create_dir_all(place.path("datasets/models/toy")).unwrap();
        fs::write(place.path("datasets/models/toy/manifest.toml"), manifest).unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> '{0}/calls'\nwhile [ $# -gt 1 ]; do [ \"$1\" = --pack-destination ] && into=$2; shift; done\n\
             [ -f '{0}/slow' ] && touch '{0}/begun' && sleep 30\ncp '{0}/toy.tgz' \"$into\"/\n",
            place.0.path().display()
        );
        fs::create_dir(place.path("bin")).unwrap();
        fs::write(place.path("bin/npm"), script).unwrap();
        fs::set_permissions(place.path("bin/npm"), fs::Permissions::from_mode(0o755)).unwrap();
        place.pack();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pack(&self) {
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(self.path("toy.tgz")).arg("package").current_dir(self.0.path());
        assert!(tar.status().unwrap().success());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = harness(arguments);
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        for proxy in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"] {
            command.env_remove(proxy);
        }
        command
            .env("PATH", path)
            .env("HARNESS_CACHE", self.path("cache"))
            .env("HARNESS_DATASETS", self.path("datasets"))
            .env("HARNESS_HUB_ENDPOINT", "http://127.0.0.1:1");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    fn folder(&self) -> PathBuf {
        self.path("cache/models/toy")
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls")).unwrap_or_default().lines().count()
    }
}

fn hash(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn nothing_is_fetched_without_consent() {
    let place = Place::new();
    let bytes: u64 = FILES.iter().map(|name| place.path("package/model").join(name).metadata().unwrap().len()).sum();
    let notice = format!("model toy: {}, licence MIT\n", harness_run::fetch::manifest::human(bytes));
    let asked = "error: toy not there; run `harness fetch --yes toy`, or pass --yes\n";
    for arguments in [&["fetch", "toy"][..], &["generate", "--model", "toy", "--prompt", "w3"]] {
        let ran = place.run(arguments);
        assert_eq!((ran.code, ran.err), (5, format!("{notice}{asked}")));
    }
    for arguments in
        [&["fetch", "--offline", "toy"][..], &["generate", "--offline", "--model", "toy", "--prompt", "w3"]]
    {
        let ran = place.run(arguments);
        let told = format!(
            "error: model toy is not in the cache ({}) and --offline forbids fetching it; run `harness fetch toy` while online",
            place.folder().display()
        );
        assert_eq!((ran.code, ran.reason()), (5, told.as_str()));
    }
    assert_eq!(place.calls(), 0);
    let listed = place.run(&["list", "models"]).out;
    assert!(listed.starts_with("toy  [to fetch] a toy (MIT; "), "{listed}");
}

#[test]
fn the_mirror_takes_over_where_the_hub_is_silent_and_what_is_there_is_kept() {
    let place = Place::new();
    let ran = place.run(&["fetch", "--yes", "toy"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out, format!("toy  {}\n", place.folder().display()));
    let (first, rest) = ran.err.split_once('\n').unwrap();
    assert!(
        first.starts_with("model toy: ") && first.ends_with(", licence MIT"),
        "size and licence come first: {first}"
    );
    assert!(rest.contains("hub o/toy@main: hub http://127.0.0.1:1: cannot be reached"), "{rest}");
    assert!(rest.contains("downloading toy==1.0.0"), "{rest}");
    for name in FILES {
        assert_eq!(hash(&place.folder().join(name)), hash(&place.path("package/model").join(name)));
    }
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(place.folder().join("lock.json")).unwrap()).unwrap();
    assert_eq!(record["source"], "npm toy==1.0.0");
    assert_eq!(record["files"].as_array().unwrap().len(), 3);
    assert_eq!(place.run(&["fetch", "toy"]).code, 0, "what is there needs no consent");
    assert_eq!(place.calls(), 1);
    let generated = ["generate", "--offline", "--model", "toy", "--prompt", "w3", "--max-tokens", "3"];
    assert_eq!(place.run(&generated).code, 0);

    // Damage keeping size but not content is found, named, and mended.
    let weights = place.folder().join("model.safetensors");
    let good = hash(&weights);
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let ran = place.run(&generated);
    let told = format!(
        "error: {}: expected sha256 {good}, found {}; fetch it again with `harness fetch toy`",
        weights.display(),
        hash(&weights)
    );
    assert_eq!((ran.code, ran.reason()), (5, told.as_str()));
    let listed: serde_json::Value = serde_json::from_str(&place.run(&["list", "models", "--json"]).out).unwrap();
    assert_eq!(listed[0]["here"], false);
    assert_eq!(format!("error: {}", listed[0]["damaged"].as_str().unwrap()), told);
    assert_eq!(place.run(&["fetch", "--yes", "toy"]).code, 0);
    assert_eq!((hash(&weights), place.calls()), (good, 2));
}

#[test]
fn a_run_fetches_what_its_suite_names() {
    let place = Place::new();
    let text = |name: &str, salt| {
        let path = place.path(name);
        fs::write(&path, crate::models::text(&crate::models::ids(200, SMALL.vocabulary, salt))).unwrap();
        path
    };
    let suite = format!(
        "[[bench]]\nname = \"b\"\nmodel = \"toy\"\ndata = {{ corpus = \"{}\", window = 16, windows = 4 }}\nmetrics = [\"ppl\"]\n",
        text("scored.txt", 1).display()
    );
    let (path, out) = (place.path("suite.toml"), place.path("run"));
    fs::write(&path, suite).unwrap();
    let arguments = ["run", path.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let asked = place.run(&arguments);
    assert_eq!((asked.code, out.exists()), (5, false), "{}", asked.err);
    let plan = place.run(&["plan", path.to_str().unwrap()]);
    assert!(plan.out.contains("toy is not fetched; its cost is not known (harness fetch toy)"), "{}", plan.out);
    let ran = place.run(&[&arguments[..], &["--yes"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.starts_with("model toy: "), "{}", ran.err);
}

#[test]
fn a_mirror_with_other_content_is_refused_and_every_source_is_told() {
    let place = Place::new();
    let tokenizer = place.path("package/model/tokenizer.json");
    let good = hash(&tokenizer);
    let text = fs::read_to_string(&tokenizer).unwrap();
    fs::write(&tokenizer, text.replacen("w63", "w64", 1)).unwrap();
    place.pack();
    let ran = place.run(&["fetch", "--yes", "toy"]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    let told = ran.err.split_once("error: ").unwrap().1;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "model toy could not be fetched; every source failed:");
    assert!(lines[1].starts_with("  hub o/toy@main: hub http://127.0.0.1:1: cannot be reached"), "{told}");
    let wrong = format!("  npm toy==1.0.0: toy/tokenizer.json: expected sha256 {good}, found {}", hash(&tokenizer));
    assert_eq!(lines[2..], [wrong.as_str()]);
    assert!(!place.folder().exists());
}

#[test]
fn an_interrupted_fetch_shows_nothing_and_goes_on() {
    let place = Place::new();
    for signal in ["INT", "KILL"] {
        fs::write(place.path("slow"), "").unwrap();
        let child = place.command(&["fetch", "--yes", "toy"]).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while !place.path("begun").exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the client never began");
            std::thread::sleep(Duration::from_millis(10));
        }
        fs::remove_file(place.path("begun")).unwrap();
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success()
        );
        let ran: Ran = child.wait_with_output().unwrap().into();
        if signal == "INT" {
            let told = "error: fetching toy was interrupted; run the same command again to go on";
            assert_eq!((ran.code, ran.reason()), (130, told));
        }
        assert!(!place.folder().exists(), "{signal}");
    }
    fs::remove_file(place.path("slow")).unwrap();
    let ran = place.run(&["fetch", "--yes", "toy"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let left: Vec<_> = fs::read_dir(place.path("cache/staging")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_cache_is_where_the_environment_says() {
    let place = Place::new();
    let offline = |set: &[(&str, &str)]| -> Ran {
        let mut command = place.command(&["fetch", "--offline", "toy"]);
        for name in ["HARNESS_CACHE", "XDG_CACHE_HOME", "HOME"] {
            command.env_remove(name);
        }
        command.envs(set.iter().copied()).output().unwrap().into()
    };
    for (set, folder) in [
        (&[("HARNESS_CACHE", "/h"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/u")][..], "/h/models/toy"),
        (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/u")], "/x/harness/models/toy"),
        (&[("XDG_CACHE_HOME", "relative"), ("HOME", "/u")], "/u/.cache/harness/models/toy"),
    ] {
        let ran = offline(set);
        assert!(ran.reason().contains(&format!("not in the cache ({folder})")), "{}", ran.err);
    }
    let ran = offline(&[]);
    assert_eq!((ran.code, ran.reason()), (5, "error: no cache folder: set HARNESS_CACHE, XDG_CACHE_HOME or HOME"));
}
