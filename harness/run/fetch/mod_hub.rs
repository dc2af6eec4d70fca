//! A hub on a local socket that speaks as much of the Hugging Face protocol as the hub crate asks for: relative and absolute
//! redirects, ranges, the commit and tag headers, errors, and connections that break.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::mod_tests::sha;

/// The commit that every revision of this hub means.
pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    tags: BTreeMap<String, String>,
    requests: Vec<String>,
    break_after: usize,
    breaks: usize,
}

/// The server; its thread ends with the test process.
pub(super) struct Hub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub(super) fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || _ = answer(stream, &shared, address));
            }
        });
        Self { address, state }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// One line a request: the path, and the headers in lower case.
    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// States another tag than the file's hash.
    pub(super) fn lie(&self, file: &str, tag: &str) {
        self.state.lock().unwrap().tags.insert(file.to_owned(), tag.to_owned());
    }

    pub(super) fn replace(&self, file: &str, bytes: Vec<u8>) {
        self.state.lock().unwrap().files.insert(file.to_owned(), bytes);
    }

    /// Closes the next `times` connections that want more than one byte after `bytes` bytes of body.
    pub(super) fn break_after(&self, bytes: usize, times: usize) {
        let mut state = self.state.lock().unwrap();
        (state.break_after, state.breaks) = (bytes, times);
    }
}

fn answer(stream: TcpStream, state: &Mutex<State>, address: SocketAddr) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        _ = write!(headers, " {}", line.trim().to_lowercase());
    }
    if path.is_empty() {
        return Ok(()); // somebody only looked whether the port is open
    }
    let mut state = state.lock().unwrap();
    state.requests.push(format!("{path}{headers}"));
    // /o/r/resolve/REV/FILE → (relative) /moved/… → (absolute) /blob/FILE, as the hub sends renamed repositories and large files.
    let file = path.rsplit('/').next().unwrap_or_default().to_owned();
    let Some(bytes) = state.files.get(&file).cloned() else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let tag = state.tags.get(&file).cloned().unwrap_or_else(|| sha(&bytes));
    let redirect = |target: &str, extra: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\n{extra}Content-Length: 0\r\nConnection: close\r\n\r\n")
    };
    if path.contains("/resolve/") {
        return stream.write_all(redirect(&format!("/moved/{file}"), "").as_bytes());
    }
    if path.starts_with("/moved/") {
        let extra = format!("X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{tag}\"\r\n");
        return stream.write_all(redirect(&format!("http://{address}/blob/{file}"), &extra).as_bytes());
    }
    let range = headers.split("range: bytes=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or("0-");
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse::<usize>().map_or(bytes.len(), |last| last + 1).min(bytes.len());
    if from >= bytes.len() {
        return stream
            .write_all(b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\nETag: \"{tag}\"\r\nConnection: \
         close\r\n\r\n",
        to - 1,
        bytes.len(),
        to - from
    );
    stream.write_all(head.as_bytes())?;
    let mut body = &bytes[from..to];
    if body.len() > 1 && state.breaks > 0 {
        state.breaks -= 1;
        body = &body[..body.len().min(state.break_after)];
    }
    stream.write_all(body)
}
