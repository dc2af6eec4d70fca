//! The `[[source]]` tables of a manifest: where files come from and how each is cut out of what is downloaded.

use serde::{Deserialize, Serialize};

use super::manifest::FileEntry;

/// A piece of an output file: one member of one downloaded archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The package that holds it; the source's own `package` when absent.
    pub package: Option<String>,
    /// Path inside the archive; `*` stands for any run of characters other than `/` and must match exactly one member.
    pub member: String,
}

/// How one output file is made from what a source holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// The `[[file]]` this makes.
    pub name: String,
    /// The one member it comes from: a path inside the archive, or for the hub inside the repository.
    pub member: Option<String>,
    /// Several members joined in this order.
    pub parts: Option<Vec<Part>>,
    /// For the hub: the zip or tar.gz of the repository that `member` lies in.
    pub archive: Option<String>,
    /// Only this half-open range `[from, to]` of the (joined) bytes, counted before `gunzip`.
    pub bytes: Option<[u64; 2]>,
    /// Whether the bytes are gzip and the output is what they unpack to.
    #[serde(default)]
    pub gunzip: bool,
}

/// Whether a hub repository holds a model or a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoKind {
    /// A model repository.
    #[default]
    Model,
    /// A data set repository.
    Dataset,
}

/// A place that holds the files of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A repository of the Hugging Face hub.
    Hub {
        /// `owner/name`.
        repo: String,
        /// Whether it is a model or a data set repository.
        #[serde(default)]
        repo_kind: RepoKind,
        /// Commit (40 hexadecimal digits) or branch.
        revision: String,
        /// Folder inside the repository that holds files under their own names.
        #[serde(default)]
        root: String,
        /// How outputs are made; when absent every `[[file]]` is `root/name`.
        #[serde(default, rename = "file")]
        files: Vec<SourceFile>,
    },
    /// Python packages, downloaded by `python3 -m pip download`.
    Pip {
        /// Package name, where all files come from one package.
        package: Option<String>,
        /// Exact version of every package named here.
        version: String,
        /// Whether only the source distribution holds the files. Then pip runs the package's build backend for its metadata, which
        /// is third-party code; without it only wheels are accepted and nothing of the package runs.
        #[serde(default)]
        sdist: bool,
        /// Licence the package states for itself.
        licence: Option<String>,
        /// Bytes that come over the network, for the announcement before a download.
        download: Option<u64>,
        /// Folder inside the archive that holds files under their own names.
        #[serde(default)]
        root: String,
        /// How outputs are made; when absent every `[[file]]` is `root/name`.
        #[serde(default, rename = "file")]
        files: Vec<SourceFile>,
    },
    /// Node packages, downloaded by `npm pack`; no script of the package runs.
    Npm {
        /// Package name, where all files come from one package.
        package: Option<String>,
        /// Exact version of every package named here.
        version: String,
        /// Licence the package states for itself.
        licence: Option<String>,
        /// Bytes that come over the network, for the announcement before a download.
        download: Option<u64>,
        /// Folder inside the archive that holds files under their own names.
        #[serde(default)]
        root: String,
        /// How outputs are made; when absent every `[[file]]` is `root/name`.
        #[serde(default, rename = "file")]
        files: Vec<SourceFile>,
    },
}

impl Source {
    /// One line that names the source in progress, errors and the lock.
    pub fn describe(&self) -> String {
        let packages = |kind: &str, version: &str| {
            let names = self.packages();
            match names.len() {
                0 | 1 => format!("{kind} {}=={version}", names.first().map_or("?", String::as_str)),
                n => format!("{kind} {} … {}=={version} ({n} packages)", names[0], names[n - 1]),
            }
        };
        match self {
            Self::Hub { repo, revision, .. } => format!("hub {repo}@{revision}"),
            Self::Pip { version, .. } => packages("pip", version),
            Self::Npm { version, .. } => packages("npm", version),
        }
    }

    /// The packages that the files of this source come from, in order of first use; empty for the hub.
    pub fn packages(&self) -> Vec<String> {
        let (Self::Pip { package, files, .. } | Self::Npm { package, files, .. }) = self else {
            return Vec::new();
        };
        let mut names: Vec<String> = Vec::new();
        let named = files.iter().flat_map(|file| match &file.parts {
            Some(parts) => parts.iter().map(|part| part.package.as_ref()).collect(),
            None => vec![None],
        });
        let all: Vec<Option<&String>> = if files.is_empty() { vec![None] } else { named.collect() };
        for name in all.into_iter().filter_map(|name| name.or(package.as_ref())) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    pub(super) fn root_and_files(&self) -> (&str, &[SourceFile]) {
        match self {
            Self::Hub { root, files, .. } | Self::Pip { root, files, .. } | Self::Npm { root, files, .. } => {
                (root, files)
            }
        }
    }

    /// How every output file is made, with the short form (`root` alone) written out.
    pub fn recipes(&self, outputs: &[FileEntry]) -> Vec<SourceFile> {
        let (root, files) = self.root_and_files();
        if !files.is_empty() {
            return files.to_vec();
        }
        let member = |name: &str| {
            if root.is_empty() { name.to_owned() } else { format!("{}/{name}", root.trim_end_matches('/')) }
        };
        outputs
            .iter()
            .map(|output| SourceFile {
                name: output.name.clone(),
                member: Some(member(&output.name)),
                parts: None,
                archive: None,
                bytes: None,
                gunzip: false,
            })
            .collect()
    }

    /// The bytes that come over the network, where the manifest says.
    pub fn download(&self) -> Option<u64> {
        match self {
            Self::Hub { .. } => None,
            Self::Pip { download, .. } | Self::Npm { download, .. } => *download,
        }
    }
}
