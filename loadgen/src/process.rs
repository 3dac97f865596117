//! What a run costs: CPU seconds and peak memory, of this process and of the servers it started.
//!
//! Read from `/proc` at the begin and the end of the measured phase, the same way for both sides.
//! CPU time is the sum of all threads' `schedstat`, exact to the nanosecond, unless `stat` (in
//! ticks of 10 ms, but with the threads that have ended) says more. The servers are all living
//! descendants, so a wrapper that starts the real server counts with it; a server reached over a
//! socket of somebody else's is not ours to see. Peak memory is that of the whole life of a
//! process. Where there is no `/proc`, nothing is said.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

/// One reading of the processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    client: Option<Usage>,
    /// By process id; empty when the servers are not ours.
    servers: HashMap<u32, Usage>,
}

/// What was used between two readings; `None` where nothing could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    /// CPU seconds of this process.
    pub(crate) client_cpu_s: Option<f64>,
    /// CPU seconds of the servers.
    pub(crate) target_cpu_s: Option<f64>,
    /// Peak memory of this process, in bytes.
    pub(crate) client_peak_rss: Option<u64>,
    /// Peak memory of the servers, added up.
    pub(crate) target_peak_rss: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    cpu_s: f64,
    peak_rss: u64,
}

impl Sample {
    /// Reads this process, and its descendants if `servers_are_ours`.
    pub(crate) fn take(servers_are_ours: bool) -> Self {
        let own = std::process::id();
        let servers = if servers_are_ours { descendants(own) } else { Vec::new() };
        Self {
            client: Usage::of(own),
            servers: servers.into_iter().filter_map(|pid| Usage::of(pid).map(|usage| (pid, usage))).collect(),
        }
    }

    /// What was used since `begin`. A server that is new since then counts from its start.
    pub(crate) fn since(&self, begin: &Self) -> Spent {
        let of_servers = !self.servers.is_empty();
        let earlier = |pid: &u32| begin.servers.get(pid).map_or(0.0, |usage| usage.cpu_s);
        let servers_cpu_s: f64 =
            self.servers.iter().map(|(pid, now)| (now.cpu_s - earlier(pid)).max(0.0)).sum();
        Spent {
            client_cpu_s: self.client.zip(begin.client).map(|(now, then)| (now.cpu_s - then.cpu_s).max(0.0)),
            target_cpu_s: of_servers.then_some(servers_cpu_s),
            client_peak_rss: self.client.map(|now| now.peak_rss),
            target_peak_rss: of_servers.then(|| self.servers.values().map(|usage| usage.peak_rss).sum()),
        }
    }
}

impl Usage {
    fn of(pid: u32) -> Option<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let in_ticks = stat_cpu_s(&fs::read_to_string(folder.join("stat")).ok()?)?;
        let exact = threads_cpu_s(&folder).unwrap_or(0.0);
        let status = fs::read_to_string(folder.join("status")).ok()?;
        Some(Self { cpu_s: exact.max(in_ticks), peak_rss: peak_rss(&status).unwrap_or(0) })
    }
}

/// The first number of each thread's `schedstat`: nanoseconds on a core.
fn threads_cpu_s(folder: &Path) -> Option<f64> {
    let mut nanos = 0_u64;
    for thread in fs::read_dir(folder.join("task")).ok()?.flatten() {
        // A thread may end while we look; the others still count.
        if let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) {
            nanos += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    Some(nanos as f64 / 1e9)
}

/// User and system time of a whole process, fields 14 and 15 of its `stat`.
fn stat_cpu_s(stat: &str) -> Option<f64> {
    let fields = after_name(stat)?;
    let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((field(11)? + field(12)?) as f64 / TICKS_PER_S)
}

/// The parent, field 4 of its `stat`.
fn stat_parent(stat: &str) -> Option<u32> {
    after_name(stat)?.get(1)?.parse().ok()
}

/// The fields from the third on; the name before them may hold blanks and brackets.
fn after_name(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().collect())
}

fn peak_rss(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kib.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
}

/// All living processes below `ancestor`, itself not among them.
fn descendants(ancestor: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        if let Some(parent) = stat.ok().as_deref().and_then(stat_parent) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    // Process ids are reused, so a scan may show a ring; each is visited once.
    let mut seen = HashSet::from([ancestor]);
    let mut open = vec![ancestor];
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            if seen.insert(child) {
                found.push(child);
                open.push(child);
            }
        }
    }
    found
}

/// USER_HZ, which the kernel shows to programs as 100 whatever its own tick is.
const TICKS_PER_S: f64 = 100.0;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    const STAT: &str = "77 (a (b) c) R 5 9 9 0 -1 4 2 6 1 1 136 202 3 1 20 0 1 0 1 1 1";

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        assert_eq!(stat_parent(STAT), Some(5));
        assert_eq!(stat_cpu_s(STAT), Some(3.38));
        assert_eq!(stat_cpu_s("77 (cut"), None);
    }

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(peak_rss("VmPeak:\t 9 kB\nVmHWM:\t   13512 kB\n"), Some(13_512 * 1024));
        assert_eq!(peak_rss("Name: x\n"), None);
    }

    #[test]
    fn a_servers_cost_counts_from_the_first_reading_or_from_its_start() {
        let usage = |cpu_s| Usage { cpu_s, peak_rss: 10 };
        let begin = Sample { client: Some(usage(1.0)), servers: HashMap::from([(1, usage(2.0))]) };
        let end =
            Sample { client: Some(usage(1.5)), servers: HashMap::from([(1, usage(2.25)), (2, usage(0.5))]) };
        let spent = end.since(&begin);
        assert_eq!((spent.client_cpu_s, spent.target_cpu_s), (Some(0.5), Some(0.75)));
        assert_eq!((spent.client_peak_rss, spent.target_peak_rss), (Some(10), Some(20)));
        assert_eq!(Sample::default().since(&begin), Spent::default());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn own_work_and_own_children_are_seen() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let begin = Sample::take(true);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(40) {
            std::hint::spin_loop();
        }
        let end = Sample::take(true);
        assert!(end.servers.contains_key(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        let spent = end.since(&begin);
        assert!(spent.client_cpu_s.unwrap() > 0.0, "{spent:?}");
        assert!(spent.client_peak_rss.unwrap() > 100_000);
        assert!(spent.target_peak_rss.unwrap() > 0);
    }
}
