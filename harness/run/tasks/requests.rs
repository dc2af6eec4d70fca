//! Files of requests as the OLMo evaluation suite writes them: one JSON object a line, gzipped or not.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::TaskError;

/// Bytes of a line at most: a request is a page of text, not a book.
const LONGEST: u64 = 4 << 20;
/// From this number on, questions stand a second time with nothing before the answer, for a metric that is not used here.
const UNCONDITIONAL: u64 = 1_000_000;

/// One line.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    pub doc_id: u64,
    #[serde(default)]
    pub label: serde_json::Value,
    #[serde(rename = "request")]
    pub body: Body,
}

#[derive(Debug, Deserialize)]
pub(super) struct Body {
    pub context: String,
    #[serde(default)]
    pub continuation: String,
    #[serde(default)]
    pub stop_sequences: Vec<String>,
}

/// Reads the requests of a file, in its order.
pub(super) fn read(path: &Path) -> Result<Vec<Request>, TaskError> {
    let unreadable = |source| TaskError::Read { path: path.to_owned(), source };
    let mut start = [0; 2];
    let mut file = File::open(path).map_err(unreadable)?;
    let gzipped = file.read(&mut start).map_err(unreadable)? == 2 && start == [0x1f, 0x8b];
    let file = File::open(path).map_err(unreadable)?;
    let mut lines: Box<dyn BufRead> =
        if gzipped { Box::new(BufReader::new(GzDecoder::new(file))) } else { Box::new(BufReader::new(file)) };
    let mut requests = Vec::new();
    for number in 1.. {
        let mut line = Vec::new();
        let read = lines.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line).map_err(unreadable)?;
        let wrong = |reason: String| TaskError::Line { path: path.to_owned(), line: number, reason };
        if read as u64 > LONGEST {
            return Err(wrong(format!("it is longer than {LONGEST} bytes")));
        }
        if read == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let request: Request = serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?;
        if request.body.context.is_empty() {
            return Err(wrong("its `context` is empty".to_owned()));
        }
        if request.doc_id < UNCONDITIONAL {
            requests.push(request);
        }
    }
    if requests.is_empty() {
        return Err(TaskError::Empty { path: path.to_owned() });
    }
    Ok(requests)
}
