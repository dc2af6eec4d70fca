//! Fetching from the hub, end to end, from a server on a local socket.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::mod_hub::{COMMIT, Hub};
use super::mod_tests::{Bench, manifest, sha, zip};
use super::*;

const HUB: &str = "[[source]]\nkind = \"hub\"\nrepo = \"o/toy\"\nrevision = \"REVISION\"\n";

fn hub_manifest(files: &[(&str, &[u8])], revision: &str) -> Manifest {
    manifest("toy-model", files, &HUB.replace("REVISION", revision))
}

#[test]
fn the_hub_gives_files_through_redirects_at_the_pinned_commit() {
    let weights: Vec<u8> = (0..300_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    let files: &[(&str, &[u8])] = &[("config.json", b"{}"), ("model.safetensors", &weights)];
    let hub = Hub::start(files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect());
    let mut bench = Bench::new();
    bench.options.tools.hub_endpoint = hub.endpoint();
    bench.options.tools.hub_token = Some("secret".to_owned());
    let folder = bench.fetch(&hub_manifest(files, COMMIT)).unwrap();
    assert_eq!(fs::read(folder.file("model.safetensors")).unwrap(), weights);
    assert!(
        fs::symlink_metadata(folder.file("model.safetensors")).unwrap().is_file(),
        "a file, not a link into staging"
    );
    assert_eq!(folder.record.unwrap().commit.as_deref(), Some(COMMIT));
    assert!(hub.requests().iter().any(|line| line.contains(&format!("/o/toy/resolve/{COMMIT}/model.safetensors"))));
    assert!(hub.requests().iter().any(|line| line.contains("bearer secret")));

    let error = bench.fetch(&hub_manifest(&[("absent.bin", b"x")], COMMIT)).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    let error = bench.fetch(&hub_manifest(&[("config.json", b"[]")], &"a".repeat(40))).unwrap_err();
    assert!(error.to_string().contains(&format!("got {COMMIT}")), "{error}");
}

#[test]
fn a_hub_that_holds_other_content_is_found_out_before_the_download() {
    let hub = Hub::start(BTreeMap::from([("w.bin".to_owned(), b"other".to_vec())]));
    let mut bench = Bench::new();
    bench.options.tools.hub_endpoint = hub.endpoint();
    let error = bench.fetch(&hub_manifest(&[("w.bin", b"right")], "main")).unwrap_err();
    assert!(error.to_string().contains("nothing was downloaded"), "{error}");
    hub.lie("w.bin", &sha(b"right"));
    let error = bench.fetch(&hub_manifest(&[("w.bin", b"right")], "main")).unwrap_err();
    assert!(matches!(error, FetchError::Hash { .. }), "{error}");
    hub.lie("w.bin", "../../../../evil");
    let error = bench.fetch(&hub_manifest(&[("w.bin", b"right")], "main")).unwrap_err();
    assert!(error.to_string().contains("is not a plain word"), "{error}");
    assert!(!bench.cache.root().join("models").exists());
}

#[test]
fn a_hub_download_resumes_with_a_range() {
    let weights: Vec<u8> = (0..400_000_u32).map(|i| (i * 13 % 251) as u8).collect();
    let hub = Hub::start(BTreeMap::from([("w.bin".to_owned(), weights.clone())]));
    let mut bench = Bench::new();
    bench.options.tools.hub_endpoint = hub.endpoint();
    let wanted = hub_manifest(&[("w.bin", &weights)], "main");
    hub.break_after(50_000, 9);
    let error = bench.fetch(&wanted).unwrap_err();
    assert!(matches!(error, FetchError::Hub { .. }), "{error}");
    assert!(!bench.cache.folder(&wanted).exists());
    hub.break_after(usize::MAX, 0);
    let before = hub.requests().len();
    let folder = bench.fetch(&wanted).unwrap();
    assert_eq!(fs::read(folder.file("w.bin")).unwrap(), weights);
    let resumed = |line: &String| line.contains("range: bytes=") && !line.contains("bytes=0-");
    assert!(hub.requests()[before..].iter().any(resumed), "{:?}", hub.requests());
}

#[test]
fn an_unverified_entry_is_pinned_by_its_first_fetch() {
    let archive = |text: &[u8]| zip(&[("inner/t.txt", text)]);
    let hub = Hub::start(BTreeMap::from([("t.zip".to_owned(), archive(b"first"))]));
    let mut bench = Bench::new();
    bench.options.tools.hub_endpoint = hub.endpoint();
    let text = "[manifest]\nformat = 1\nname = \"talk\"\nkind = \"fetched\"\nabout = \"a\"\nlicence = \"MIT\"\nverified = \
                false\n[[file]]\nname = \"t.txt\"\n[[split]]\nname = \"test\"\n[[source]]\nkind = \"hub\"\nrepo = \
                \"o/talk\"\nrepo_kind = \"dataset\"\nrevision = \"main\"\n[[source.file]]\nname = \"t.txt\"\narchive = \
                \"t.zip\"\nmember = \"inner/t.txt\"\n";
    let wanted = Manifest::parse(Holds::Corpus, Path::new("/data/talk"), text).unwrap();
    let folder = bench.fetch(&wanted).unwrap();
    let corpus = Corpus::load(&folder, &wanted, wanted.split("test").unwrap()).unwrap();
    assert_eq!((corpus.label().as_str(), corpus.documents[0].text.as_str()), ("talk/test", "first"));
    assert!(hub.requests()[0].contains("/datasets/o/talk/resolve/main/t.zip"), "{:?}", hub.requests());
    hub.replace("t.zip", archive(b"other"));
    bench.options.force = true;
    let error = bench.fetch(&wanted).unwrap_err().to_string();
    assert!(
        error.contains(&sha(b"first")) && error.contains(&sha(b"other")) && error.contains("first fetch"),
        "{error}"
    );
    assert_eq!(fs::read(folder.file("t.txt")).unwrap(), b"first", "what was there stays");
    bench.cache.remove(&wanted).unwrap();
    bench.fetch(&wanted).unwrap();
    assert_eq!(fs::read(folder.file("t.txt")).unwrap(), b"other");
}

#[test]
fn a_silent_hub_runs_out_of_patience() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::new();
    bench.options.tools.hub_endpoint = format!("http://{}", listener.local_addr().unwrap());
    bench.options.tools.hub_patience = Duration::from_millis(200);
    let error = bench.fetch(&hub_manifest(&[("w.bin", b"x")], "main")).unwrap_err();
    assert!(error.to_string().contains("sent nothing for"), "{error}");
}
