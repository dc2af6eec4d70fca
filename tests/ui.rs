//! Bad suites: each `tests/ui/NAME.toml` makes `harness check` print exactly `tests/ui/NAME.stderr` and end with 2.
//! `HARNESS_BLESS=1` writes what is printed. The examples of the format reference are checked here as well.

use std::collections::BTreeSet;

use harness_suite::{AnyName, Suite};

use crate::support::{root, run};

#[test]
fn bad_suites_get_their_exact_message() {
    let mut cases: Vec<String> = std::fs::read_dir(root().join("tests/ui"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 15, "only {} cases in tests/ui", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        // Relative, so that the messages do not depend on where the repository lies.
        let suite = format!("tests/ui/{case}");
        let ran = run(&["check", &suite]);
        assert_eq!(ran.code, 2, "{suite}: {}", ran.err);
        let printed = without_models(&ran.err);
        let golden = root().join(suite.replace(".toml", ".stderr"));
        if std::env::var_os("HARNESS_BLESS").is_some() {
            std::fs::write(&golden, &printed).unwrap();
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        if printed != wanted {
            wrong.push(format!("{suite} printed\n{printed}\ninstead of\n{wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nHARNESS_BLESS=1 accepts what is printed", wrong.join("\n"));
}

/// A message without the list of models, which grows.
fn without_models(printed: &str) -> String {
    let start = "; known: ";
    let cut = |line: &str| match line.split_once(start) {
        Some((before, after)) => format!("{before}{start}… {}\n", after.find('(').map_or("", |at| &after[at..])),
        None => format!("{line}\n"),
    };
    printed.lines().map(cut).collect()
}

/// The fenced blocks of a document as (words behind the fence, lines).
fn blocks(document: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(words)) => open = Some((words.to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, lines)), None) => *lines += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    found
}

#[test]
fn examples_of_the_format_reference_resolve() {
    let base = [
        ("name", "\"b\""),
        ("model", "\"tiny-100k\""),
        ("data", "{ corpus = \"fables/test\" }"),
        ("prune", "[\"none\", \"wanda(sparsity=0.5)\"]"),
        ("metrics", "[\"ppl\", \"kl\"]"),
    ];
    let mut kinds = BTreeSet::new();
    for (words, lines) in blocks("suites/README.md") {
        let sampling = [("name", "\"b\""), ("kind", "\"sampling\""), ("metrics", "\"all\"")];
        let sampling: String =
            sampling.iter().chain(&base[1..3]).map(|(key, value)| format!("{key} = {value}\n")).collect();
        let missing = |key: &str| !lines.lines().any(|line| line.starts_with(&format!("{key} =")));
        let rest = |keep: &dyn Fn(&str) -> bool| -> String {
            base.iter().filter(|(key, _)| keep(key)).map(|(key, value)| format!("{key} = {value}\n")).collect()
        };
        let suite = match words.as_str() {
            "toml" => lines.clone(),
            "toml bench" => format!("[[bench]]\n{}{lines}", rest(&missing)),
            "toml sampling" => format!("[[bench]]\n{sampling}{lines}"),
            "toml long" => {
                format!("[[bench]]\nkind = \"long-context\"\nmodel = \"tiny-100k\"\nmetrics = \"all\"\n{lines}")
            }
            "toml chart" => format!("[[bench]]\n{}\n{lines}", rest(&|_| true)),
            _ => continue,
        };
        if let Err(faults) = Suite::parse(&suite, "suites/README.md", &harness_run::catalog(), &AnyName) {
            panic!("{}", faults.render(false));
        }
        kinds.insert(words);
    }
    assert_eq!(kinds.len(), 5, "{kinds:?}");
}
