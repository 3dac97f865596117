//! What a number depends on beside the code: the machine, its kernel, how busy it was.
//!
//! Read once, before the run, from `/proc` and `/sys`. What cannot be read is left out: a
//! result without a governor is better than no result. Also the wall clock, as a date.

use std::fs;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine as the result records it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Host {
    /// Model name of the processor.
    pub(crate) cpu: String,
    /// Cores this process may use.
    pub(crate) cores: usize,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Frequency governor of the first core, where there is one.
    #[serde(default)]
    pub(crate) governor: Option<String>,
    /// Load average over the minute before the run.
    #[serde(default)]
    pub(crate) load_1m: Option<f64>,
}

impl Host {
    /// Looks around.
    pub(crate) fn read() -> Self {
        Self {
            cpu: line("/proc/cpuinfo", cpu_model).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: line("/proc/sys/kernel/osrelease", |text| Some(text.trim().to_owned()))
                .unwrap_or_else(|| std::env::consts::OS.to_owned()),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", |text| {
                Some(text.trim().to_owned())
            }),
            load_1m: line("/proc/loadavg", |text| text.split(' ').next()?.parse().ok()),
        }
    }
}

fn line<T>(path: &str, pick: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    fs::read_to_string(path).ok().and_then(|text| pick(&text))
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    // x86 says `model name`, POWER says `cpu`; ARM often says neither.
    let named = |key: &str| {
        cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    };
    named("model name").or_else(|| named("cpu")).or_else(|| named("Hardware"))
}

/// The time now, in UTC, as RFC 3339 writes it.
pub(crate) fn now_utc() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc_3339(since.as_secs())
}

/// A time in seconds since 1970, in UTC, as RFC 3339 writes it.
///
/// Days to a date by the era method: 400 years have 146,097 days, and years begin in March.
pub(crate) fn rfc_3339(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400 + 719_468, unix_s % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_seconds_have_known_dates() {
        for (unix_s, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_078_099_199, "2004-02-29T23:59:59Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc_3339(unix_s), date);
        }
    }

    #[test]
    fn every_machine_has_a_name_and_a_core() {
        let host = Host::read();
        assert!(host.cores >= 1 && !host.cpu.is_empty() && !host.kernel.is_empty());
    }

    #[test]
    fn the_model_is_found_among_other_lines() {
        let text = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n";
        assert_eq!(cpu_model(text).as_deref(), Some("AMD EPYC"));
        assert_eq!(cpu_model("processor : 0\n"), None);
    }
}
