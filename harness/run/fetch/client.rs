//! The ordinary package clients as subprocesses: `python3 -m pip download` and `npm pack`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::error::FetchError;
use super::progress::Progress;

/// The programs and addresses that a fetch uses.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Runs as `PYTHON -m pip download …`.
    pub python: PathBuf,
    /// Runs as `NPM pack …`.
    pub npm: PathBuf,
    /// Address of the hub, without a slash at its end.
    pub hub_endpoint: String,
    /// Sent to the hub as a bearer token, for gated repositories.
    pub hub_token: Option<String>,
    /// How long the hub may send nothing before it counts as unreachable.
    pub hub_patience: Duration,
}

impl Default for Tools {
    /// `python3` and `npm` from `PATH`, the public hub, no token, 60 s of patience.
    fn default() -> Self {
        Self {
            python: "python3".into(),
            npm: "npm".into(),
            hub_endpoint: "https://huggingface.co".to_owned(),
            hub_token: None,
            hub_patience: Duration::from_mins(1),
        }
    }
}

impl Tools {
    /// The defaults, changed by `HARNESS_HUB_ENDPOINT` (else `HF_ENDPOINT`) and `HF_TOKEN`.
    pub fn from_environment() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut tools = Self::default();
        if let Some(endpoint) = set("HARNESS_HUB_ENDPOINT").or_else(|| set("HF_ENDPOINT")) {
            endpoint.trim_end_matches('/').clone_into(&mut tools.hub_endpoint);
        }
        tools.hub_token = set("HF_TOKEN");
        tools
    }
}

/// Which client downloads a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Wheels only: nothing of the package runs.
    Wheel,
    /// The source distribution: pip runs the package's build backend for its metadata.
    SourceDistribution,
    /// `npm pack`.
    Npm,
}

/// Downloads one package into `staging` and returns the path of its archive; an archive already there is returned as it is.
pub(super) fn download(
    client: Client,
    package: &str,
    version: &str,
    staging: &Path,
    tools: &Tools,
    progress: &mut dyn Progress,
) -> Result<PathBuf, FetchError> {
    let plain = package.replace('/', "+");
    let ready = staging.join(format!("archive-{plain}"));
    if let Some(archive) = only_file(&ready)? {
        return Ok(archive);
    }
    let work = staging.join(format!("download-{plain}"));
    let into = work.join("out");
    let fail = |source| FetchError::Write { path: into.clone(), source };
    if work.exists() {
        fs::remove_dir_all(&work).map_err(fail)?;
    }
    fs::create_dir_all(&into).map_err(fail)?;
    fs::create_dir_all(work.join("tmp")).map_err(fail)?;
    let mut command = match client {
        Client::Wheel | Client::SourceDistribution => Command::new(&tools.python),
        Client::Npm => Command::new(&tools.npm),
    };
    command.args(arguments(client, package, version, &into, &work));
    run(command, &work, package, progress)?;
    // pip and npm write under temporary names; whatever they leave counts only once they have ended well.
    if only_file(&into)?.is_none() {
        return Err(FetchError::Client {
            command: format!("download of {package}"),
            reason: "it ended well but left no single archive".to_owned(),
        });
    }
    fs::rename(&into, &ready).map_err(fail)?;
    fs::remove_dir_all(&work).map_err(fail)?;
    only_file(&ready)?.ok_or_else(|| FetchError::Client {
        command: format!("download of {package}"),
        reason: "its archive vanished".to_owned(),
    })
}

fn arguments(client: Client, package: &str, version: &str, into: &Path, work: &Path) -> Vec<OsString> {
    let mut list: Vec<OsString> = Vec::new();
    let mut add = |items: &[&str]| list.extend(items.iter().map(OsString::from));
    match client {
        Client::Wheel | Client::SourceDistribution => {
            add(&["-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]);
            // The archive is deleted once its members are out: pip's own cache would keep a second copy for ever.
            add(&["--no-cache-dir", "--progress-bar", "off"]);
            if client == Client::Wheel {
                add(&["--only-binary", ":all:"]);
            } else {
                // Naming the package keeps its build requirements as wheels; `:all:` would build those from source too.
                add(&["--no-binary", package]);
            }
            list.extend(["-d".into(), into.into()]);
            list.push(format!("{package}=={version}").into());
        }
        Client::Npm => {
            add(&["pack", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]);
            list.extend(["--pack-destination".into(), into.into()]);
            list.extend(["--cache".into(), work.join("tmp").into()]);
            list.push(format!("{package}@{version}").into());
        }
    }
    list
}

/// Runs a client to its end, with its output in `work`, and reports the growth of `work` as bytes.
fn run(mut command: Command, work: &Path, package: &str, progress: &mut dyn Progress) -> Result<(), FetchError> {
    let line = {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    let log = work.join("log");
    let fail = |source| FetchError::Write { path: log.clone(), source };
    let out = File::create(&log).map_err(fail)?;
    let err = out.try_clone().map_err(fail)?;
    command.stdin(Stdio::null()).stdout(out).stderr(err).current_dir(work).env("TMPDIR", work.join("tmp"));
    let mut child = command.spawn().map_err(|error| FetchError::Client {
        command: line.clone(),
        reason: format!("could not start: {error}; it must be installed and on PATH"),
    })?;
    let mut counted = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Err(FetchError::Client { command: line, reason: error.to_string() }),
        }
        if progress.cancelled() {
            // Killing may fail when the child has just ended; either way it is gone after the wait.
            _ = child.kill();
            _ = child.wait();
            return Err(FetchError::Interrupted { name: package.to_owned() });
        }
        if counted.elapsed() > Duration::from_millis(250) {
            progress.bytes(folder_size(work), None);
            counted = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if status.success() {
        return Ok(());
    }
    if progress.cancelled() {
        // Ctrl-C reaches the client too: that is what ended it.
        return Err(FetchError::Interrupted { name: package.to_owned() });
    }
    let text = fs::read_to_string(&log).unwrap_or_default();
    // The client's own words are all there is to tell a full disk from a package that does not exist.
    if text.contains("No space left on device") || text.contains("ENOSPC") {
        return Err(FetchError::Write { path: work.to_owned(), source: io::ErrorKind::StorageFull.into() });
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(4)..].join(" | ");
    Err(FetchError::Client { command: line, reason: format!("{status}: {tail}") })
}

/// Bytes of all files below a folder; files that vanish meanwhile count nothing.
fn folder_size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The one regular file of a folder; `None` when the folder is absent or holds none or several.
fn only_file(folder: &Path) -> Result<Option<PathBuf>, FetchError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(None) };
    let mut only = None;
    for entry in entries {
        let entry = entry.map_err(|source| FetchError::Read { path: folder.to_owned(), source })?;
        if only.is_some() || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            return Ok(None);
        }
        only = Some(entry.path());
    }
    Ok(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(client: Client) -> String {
        let list = arguments(client, "pkg", "1.0", Path::new("/o"), Path::new("/w"));
        list.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn wheels_never_run_a_build_and_source_distributions_build_only_themselves() {
        assert!(words(Client::Wheel).contains("--only-binary :all:"));
        assert!(words(Client::Wheel).ends_with("-d /o pkg==1.0"));
        assert!(words(Client::SourceDistribution).contains("--no-binary pkg"));
        assert!(!words(Client::SourceDistribution).contains(":all:"));
        assert!(words(Client::Npm).contains("--ignore-scripts"));
        assert!(words(Client::Npm).ends_with("pkg@1.0"));
    }
}
