//! Where a run came from: everything needed to tell two runs apart, and to make one again.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The layout of a run folder; readers refuse a larger one. 2 added `profiles.parquet`.
pub const SCHEMA: u32 = 2;

/// The suite as it was run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteStamp {
    /// Path as given.
    pub path: String,
    /// SHA-256 of the text, hexadecimal.
    pub hash: String,
    /// The whole text.
    pub text: String,
}

/// The program that measured what an imported run holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// Its name, for example `llama-bench`.
    pub tool: String,
    /// Its version or build, as far as the file says.
    pub version: String,
    /// The file or folder that was read.
    pub path: String,
    /// SHA-256 of everything that was read, hexadecimal.
    pub hash: String,
    /// The machine it measured on, as far as the file says; takes the place of the host class.
    pub host: String,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{}", self.tool, if self.version.is_empty() { "" } else { " " }, self.version)
    }
}

/// The stamp of a run. Everything that could not be found out is left empty, never guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stamp {
    /// Layout of the run folder.
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// Commit it was built from.
    pub commit: String,
    /// Whether the work tree held other changes when it was built.
    pub dirty: bool,
    /// `release`, or any other profile; times count from `release` only.
    pub profile: String,
    /// Compiler.
    pub rustc: String,
    /// Target, for example `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// Name of the processor.
    pub cpu: String,
    /// Logical cores the process may use.
    pub cores: u32,
    /// Instruction sets found at run time that the kernels use, for example `avx2`, `avx512f`.
    pub features: Vec<String>,
    /// Bytes of memory the process may use.
    pub memory: u64,
    /// Operating system.
    pub os: String,
    /// Threads that worked.
    pub threads: u32,
    /// `cpu`, or the name of another device.
    pub device: String,
    /// Seeds by what they are for.
    pub seeds: BTreeMap<String, u64>,
    /// The suite.
    pub suite: SuiteStamp,
    /// Version of every method and metric of the plan, by `axis/id`.
    pub versions: BTreeMap<String, u32>,
    /// SHA-256 of everything that was read (weights, texts, tokenizers), by `kind/name`.
    pub inputs: BTreeMap<String, String>,
    /// When the run began, RFC 3339 in UTC.
    pub started: String,
    /// When it ended; empty while it goes on.
    pub finished: String,
    /// The command line.
    pub command: Vec<String>,
    /// Who measured, when it was not this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

impl Stamp {
    /// What must be equal for two times to be comparable: processor, cores, threads, instruction sets, device and
    /// operating system family. Of an import, what its source says.
    pub fn host_class(&self) -> String {
        if let Some(source) = &self.source {
            // Machines without a name count as different, so the name made up for one holds what was read.
            let unnamed = || format!("an unnamed machine ({})", source.hash.get(..8).unwrap_or(&source.hash));
            let host = if source.host.is_empty() { unnamed() } else { source.host.clone() };
            return if source.tool == "harness" { host } else { format!("{host}, measured by {}", source.tool) };
        }
        let mut features = self.features.clone();
        features.sort_unstable();
        let mut class = format!("{}, {} cores, {} threads, {}", self.cpu, self.cores, self.threads, self.device);
        if let Some(system) = self.os.split_whitespace().next() {
            let _ = write!(class, ", {system}");
        }
        if !features.is_empty() {
            let _ = write!(class, ", {}", features.join(" "));
        }
        class
    }

    /// Whether times of this run may be compared at all. A foreign program answers for its own build.
    pub fn is_release(&self) -> bool {
        self.source.is_some() || self.profile == "release"
    }

    /// The program and its commit, as printed under charts: `harness 0.1.0 (1a2b3c4, modified)`; of an import, the
    /// program that measured: `llama-bench b6123, imported by harness 0.1.0`.
    pub fn program(&self) -> String {
        if let Some(source) = &self.source {
            return format!("{source}, imported by harness {}", self.version);
        }
        let commit = self.commit.get(..7).unwrap_or(&self.commit);
        match (commit.is_empty(), self.dirty) {
            (true, _) => format!("harness {}", self.version),
            (false, false) => format!("harness {} ({commit})", self.version),
            (false, true) => format!("harness {} ({commit}, modified)", self.version),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Stamp;

    #[test]
    fn the_host_class_ignores_the_order_of_features_and_the_kernel_version() {
        let host = |os: &str, features: [&str; 2]| Stamp {
            cpu: "Zen".into(),
            cores: 2,
            threads: 2,
            device: "cpu".into(),
            os: os.into(),
            features: features.map(str::to_owned).to_vec(),
            ..Stamp::default()
        };
        let class = host("Linux 6.1", ["avx512f", "avx2"]).host_class();
        assert_eq!(class, "Zen, 2 cores, 2 threads, cpu, Linux, avx2 avx512f");
        assert_eq!(class, host("Linux 6.8", ["avx2", "avx512f"]).host_class());
    }

    #[test]
    fn an_import_names_its_source_and_its_machine() {
        let source = super::Source {
            tool: "llama-bench".into(),
            version: "b6123".into(),
            hash: "0123456789".into(),
            ..Default::default()
        };
        let stamp = Stamp { version: "0.1.0".into(), source: Some(source), ..Stamp::default() };
        assert_eq!(stamp.program(), "llama-bench b6123, imported by harness 0.1.0");
        assert_eq!(stamp.host_class(), "an unnamed machine (01234567), measured by llama-bench");
        assert!(stamp.is_release());
        assert_eq!(serde_json::from_str::<Stamp>(&serde_json::to_string(&stamp).unwrap()).unwrap(), stamp);
    }

    #[test]
    fn a_stamp_survives_json_and_old_stamps_read() {
        let stamp = Stamp { commit: "0123456789".into(), dirty: true, version: "0.1.0".into(), ..Stamp::default() };
        assert_eq!(serde_json::from_str::<Stamp>(&serde_json::to_string(&stamp).unwrap()).unwrap(), stamp);
        assert_eq!(serde_json::from_str::<Stamp>("{\"version\":\"0.1.0\"}").unwrap().version, "0.1.0");
        assert_eq!(stamp.program(), "harness 0.1.0 (0123456, modified)");
    }
}
