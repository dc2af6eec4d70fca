//! Files of the Hugging Face hub through the hub crate, with the checks it does not make: the answer's headers become file names, so
//! they are looked at first; a pinned commit must be the one answered; a known hash is compared before anything is downloaded.

use std::fs;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use super::client::Tools;
use super::error::FetchError;
use super::progress::Progress;
use super::source::RepoKind;

/// What to ask the hub for.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) repo: &'a str,
    pub(super) kind: RepoKind,
    pub(super) revision: &'a str,
    /// Path inside the repository.
    pub(super) file: &'a str,
    /// The hash it must have, when one is known.
    pub(super) sha256: Option<&'a str>,
    /// The most bytes it may have.
    pub(super) limit: u64,
}

/// A downloaded file of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Where it lies (a link into the blobs of the staging folder).
    pub(super) path: PathBuf,
    /// The commit that the revision meant.
    pub(super) commit: String,
    /// The hash that the hub states, where it states one.
    pub(super) stated: Option<String>,
}

/// Counts bytes where the polling thread can see them.
struct Feed(Arc<AtomicU64>);

impl hf_hub::api::Progress for Feed {
    fn init(&mut self, _size: usize, _filename: &str) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn update(&mut self, size: usize) {
        self.0.fetch_add(size as u64, Ordering::Relaxed);
    }

    fn finish(&mut self) {}
}

/// Downloads one file below `staging`, going on where an earlier attempt stopped.
pub(super) fn download(
    ask: &Ask<'_>,
    staging: &Path,
    tools: &Tools,
    progress: &mut dyn Progress,
) -> Result<Answer, FetchError> {
    reach(&tools.hub_endpoint)?;
    let kind = match ask.kind {
        RepoKind::Model => RepoType::Model,
        RepoKind::Dataset => RepoType::Dataset,
    };
    let repo = Repo::with_revision(ask.repo.to_owned(), kind, ask.revision.to_owned());
    let cache = Cache::new(staging.join("hub"));
    let api = ApiBuilder::from_cache(cache.clone())
        .with_endpoint(tools.hub_endpoint.clone())
        .with_token(tools.hub_token.clone())
        .with_progress(false)
        .with_retries(2)
        .build()
        .map_err(|error| failed(&tools.hub_endpoint, &error))?;
    let address = api.repo(repo.clone()).url(ask.file);

    let metadata = in_background(&address, tools.hub_patience, None, (ask.repo, staging), progress, {
        let (api, address) = (api.clone(), address.clone());
        move |_| api.metadata(&address)
    })?;
    let refuse = |reason: String| FetchError::Hub { address: address.clone(), reason };
    let (etag, commit, size) = (metadata.etag().to_owned(), metadata.commit_hash().to_owned(), metadata.size() as u64);
    let tag = etag.strip_prefix("W/").unwrap_or(&etag);
    let plain =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !plain(tag) || !plain(&commit) {
        return Err(refuse(format!("its tag \"{etag}\" or commit \"{commit}\" is not a plain word")));
    }
    if is_hex(ask.revision, 40) && commit != ask.revision {
        return Err(refuse(format!("asked for commit {}, got {commit}", ask.revision)));
    }
    if size > ask.limit {
        return Err(FetchError::TooLarge { file: address, limit: ask.limit });
    }
    let stated = is_hex(tag, 64).then(|| tag.to_owned());
    if let (Some(stated), Some(expected)) = (&stated, ask.sha256)
        && stated != expected
    {
        return Err(refuse(format!("holds sha256 {stated}, the manifest says {expected}; nothing was downloaded")));
    }

    // A download that stopped after its last byte would ask for an empty range, which servers refuse.
    let blob = cache.repo(repo.clone()).blob_path(&etag);
    let partial = blob.with_extension("part");
    if fs::metadata(&partial).is_ok_and(|metadata| metadata.len() >= size) {
        fs::remove_file(&partial).map_err(|source| FetchError::Write { path: partial, source })?;
    }
    let file = ask.file.to_owned();
    let fetch = move |count: Arc<AtomicU64>| {
        if let Some(path) = cache.repo(repo.clone()).get(&file) {
            return Ok(path);
        }
        Api::repo(&api, repo).download_with_progress(&file, Feed(count))
    };
    let path = in_background(&address, tools.hub_patience, Some(size), (ask.repo, staging), progress, fetch)?;
    let found = fs::metadata(&path).map_err(|source| FetchError::Read { path: path.clone(), source })?.len();
    if found != size {
        let target = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        _ = fs::remove_file(target);
        _ = fs::remove_file(&path);
        return Err(FetchError::Size { file: path, expected: size, found, advice: String::new() });
    }
    Ok(Answer { path, commit, stated })
}

/// Runs a call of the hub crate, which knows neither time limits nor stopping, on its own thread. When it stalls or the user stops,
/// the thread is left behind; it writes only into the staging folder.
fn in_background<T: Send + 'static>(
    address: &str,
    patience: Duration,
    total: Option<u64>,
    (name, staging): (&str, &Path),
    progress: &mut dyn Progress,
    call: impl FnOnce(Arc<AtomicU64>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, FetchError> {
    let count = Arc::new(AtomicU64::new(0));
    let thread = std::thread::spawn({
        let count = Arc::clone(&count);
        move || call(count)
    });
    let mut seen = 0;
    let mut since = Instant::now();
    while !thread.is_finished() {
        let now = count.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
            progress.bytes(now, total);
        }
        if progress.cancelled() {
            return Err(FetchError::Interrupted { name: name.to_owned() });
        }
        if since.elapsed() > patience {
            let reason = format!("sent nothing for {} s", patience.as_secs());
            return Err(FetchError::Hub { address: address.to_owned(), reason });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    match thread.join() {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_full(&error) => {
            Err(FetchError::Write { path: staging.to_owned(), source: io::ErrorKind::StorageFull.into() })
        }
        Ok(Err(error)) => Err(failed(address, &error)),
        Err(_) => {
            Err(FetchError::Hub { address: address.to_owned(), reason: "its answer could not be read".to_owned() })
        }
    }
}

fn is_full(error: &ApiError) -> bool {
    match error {
        ApiError::IoError(error) => error.kind() == io::ErrorKind::StorageFull,
        ApiError::TooManyRetries(error) => is_full(error),
        _ => false,
    }
}

fn failed(address: &str, error: &ApiError) -> FetchError {
    FetchError::Hub { address: address.to_owned(), reason: error.to_string() }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Fails within seconds where the hub cannot be reached, so that the next source gets its turn. Behind a proxy only the proxy can tell.
fn reach(endpoint: &str) -> Result<(), FetchError> {
    let proxies = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"];
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if proxies.iter().any(|name| set(name) || set(&name.to_lowercase())) {
        return Ok(());
    }
    let refuse = |reason: String| FetchError::Hub { address: endpoint.to_owned(), reason };
    let (scheme, rest) = endpoint.split_once("://").ok_or_else(|| refuse("is not an address".to_owned()))?;
    let host = rest.split('/').next().unwrap_or(rest);
    let host = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:{}", if scheme == "http" { 80 } else { 443 })
    };
    let addresses = host.to_socket_addrs().map_err(|error| refuse(format!("cannot be found: {error}")))?;
    let mut reason = "cannot be found".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(_) => return Ok(()),
            Err(error) => reason = format!("cannot be reached: {error}"),
        }
    }
    Err(refuse(reason))
}
