//! Facts about this machine, for the stamp of a run and the host class of timed cells.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use harness_core::stamp::{SCHEMA, Stamp};

use crate::memory;

/// A stamp with everything that is known of the machine; what it was built from and what it runs are left to the
/// caller.
pub fn machine() -> Stamp {
    Stamp {
        schema: SCHEMA,
        cpu: cpu_model(),
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        features: cpu_features(),
        memory: memory::total_bytes().unwrap_or(0),
        os: operating_system(),
        threads: rayon::current_num_threads() as u32,
        device: "cpu".to_owned(),
        ..Stamp::default()
    }
}

/// What two hosts must share for their times to be compared.
pub fn host_class() -> String {
    static CLASS: OnceLock<String> = OnceLock::new();
    CLASS.get_or_init(|| machine().host_class()).clone()
}

/// The time now in UTC, RFC 3339 with seconds.
pub fn now() -> String {
    rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970, with years that begin in March so that the leap day comes last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// The instruction sets that the kernels look for and this processor has.
fn cpu_features() -> Vec<String> {
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
        ];
        all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

fn operating_system() -> String {
    let read = |path| std::fs::read_to_string(path).map(|text: String| text.trim().to_owned()).unwrap_or_default();
    format!("{} {}", read("/proc/sys/kernel/ostype"), read("/proc/sys/kernel/osrelease")).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_at_the_edges() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_host_class_names_processor_and_threads() {
        assert!(host_class().contains("threads") && !machine().cpu.is_empty());
    }
}
