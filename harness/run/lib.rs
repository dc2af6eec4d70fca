//! Preparing models along the plan, calibration, probes, metrics, the clock, and fetching.

pub mod anatomy;
mod block;
pub mod cache;
pub mod calibrate;
pub mod catalog;
pub mod clock;
pub mod compute;
pub mod decode;
pub mod estimate;
pub mod fetch;
pub mod footprint;
pub mod gap;
pub mod generated;
pub mod identity;
pub mod inputs;
mod language;
pub mod measure;
pub mod memory;
pub mod metrics;
mod mixture;
mod panics;
mod prepare;
mod provoke;
pub mod quantize;
mod reading;
pub mod runner;
pub mod sampling;
pub mod score;
pub mod selfwritten;
pub mod setup;
pub mod stamp;
pub mod tasks;
pub mod text;
pub mod typical;
mod writing;

pub use catalog::catalog;
