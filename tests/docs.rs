//! Documents that contain commands are run; documents that name files name files that exist.

use crate::support::{harness, root, run};

/// Lines that begin with `harness ` or the README's cargo form inside ```console and ```sh blocks.
fn commands(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = matches!(line, "```console" | "```sh");
            continue;
        }
        let line = line.trim().trim_start_matches("$ ");
        let verb = line.strip_prefix("harness ").or_else(|| line.strip_prefix("cargo run --release -- "));
        if let Some(verb) = verb.filter(|_| inside) {
            found.push(verb.split(" #").next().unwrap().trim().to_owned());
        }
    }
    found
}

#[test]
fn the_two_commands_come_first_in_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let run = readme.find("cargo run --release -- run suites/pruning.toml").unwrap();
    let test = readme.find("cargo test --release").unwrap();
    assert!(run < 1500 && test < 1500, "the two commands belong to the top of the README");
}

#[test]
fn every_command_in_the_documents_is_one_the_program_knows() {
    let mut count = 0;
    for document in ["README.md", "suites/README.md", "datasets/README.md", "reports/README.md", "harness/README.md"] {
        for command in commands(document) {
            let verb = command.split_whitespace().next().unwrap();
            assert_eq!(run(&[verb, "--help"]).code, 0, "{document}: harness {command}");
            count += 1;
        }
    }
    assert!(count >= 5, "only {count} commands were found in the documents");
}

#[test]
fn the_listing_and_planning_commands_of_the_readme_run() {
    for command in commands("README.md") {
        let words: Vec<&str> = command.split_whitespace().collect();
        if matches!(words[0], "list" | "plan" | "check") && !command.contains("real/") {
            let output = harness(&words).output().unwrap();
            assert!(output.status.success(), "harness {command}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn paths_in_the_map_exist() {
    for document in ["README.md", "harness/README.md", "harness/METHODOLOGY.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        for word in text.split('`').skip(1).step_by(2) {
            let path = word.trim_end_matches('/');
            let looks =
                ["harness/", "suites/", "datasets/", "reports/", "tests/"].iter().any(|start| path.starts_with(start));
            if looks && !path.contains(['*', ' ', '{']) && !path.contains("NAME") {
                assert!(root().join(path).exists(), "{document} names {path}");
            }
        }
    }
}

/// The constants of the statistics as METHODOLOGY.md shows them.
fn constants() -> String {
    use harness_core::statistics::{
        Bootstrap, EXACT_CLUSTERS, EXACT_STEPS, MINIMUM_UNITS, MOST_SKEWNESS, POWER, Scale, TRIM, TRIM_FROM,
    };
    use harness_run::typical::TYPICAL;
    let bootstrap = Bootstrap::default();
    let mut rows = vec![
        ("level of intervals".to_owned(), bootstrap.level.to_string()),
        ("draws of a bootstrap".to_owned(), bootstrap.resamples.to_string()),
        ("least units for an interval or a test".to_owned(), MINIMUM_UNITS.to_string()),
        ("power behind \"finds\" and \"needs\"".to_owned(), POWER.to_string()),
        ("share of rounds trimmed at each end".to_owned(), TRIM.to_string()),
        ("rounds from which on they are trimmed".to_owned(), TRIM_FROM.to_string()),
        ("skewness of a mean difference up to which p is trusted".to_owned(), MOST_SKEWNESS.to_string()),
        ("documents up to which all signs are tried one by one".to_owned(), EXACT_CLUSTERS.to_string()),
        (
            "documents times sum of whole differences up to which their signs are summed exactly".to_owned(),
            EXACT_STEPS.to_string(),
        ),
    ];
    rows.extend(TYPICAL.iter().map(|(metric, scale, deviation)| {
        let scale = if *scale == Scale::LogRatio { "log ratio" } else { "difference" };
        (format!("typical spread of a document, {metric} ({scale})"), deviation.to_string())
    }));
    let head = "| constant | value |\n|---|---:|\n".to_owned();
    rows.iter().fold(head, |table, (name, value)| format!("{table}| {name} | {value} |\n"))
}

#[test]
fn the_constants_in_the_methodology_are_those_of_the_code() {
    let text = std::fs::read_to_string(root().join("harness/METHODOLOGY.md")).unwrap();
    let (_, rest) = text.split_once("<!-- constants -->\n").unwrap();
    let (found, _) = rest.split_once("<!-- end of constants -->").unwrap();
    assert_eq!(found, constants(), "put the table on the right into harness/METHODOLOGY.md");
    let typical = format!(
        "{} windows of {} documents",
        harness_run::typical::TYPICAL_WINDOWS,
        harness_run::typical::TYPICAL_DOCUMENTS
    );
    assert!(text.contains(&typical), "{typical}");
    let (defaults, percent) = (harness_core::statistics::Bootstrap::default(), "harness/METHODOLOGY.md");
    assert!(
        defaults.expanded && defaults.flavour == harness_core::statistics::Flavour::Bca,
        "{percent} says otherwise"
    );
}
