//! What a run cost: calls, wall time, CPU time of both processes, memory, and, where they are counted, allocations.
//!
//! CPU time is the kernel's account of a whole process: exact for this one, threads that have ended included; for the
//! target the sum over its threads (`/proc/PID/task/*/schedstat`), exact too, or where the kernel does not keep that
//! `/proc/PID/stat`, in ticks of 10 ms. A client that is a child process counts, in ticks, when it has ended and been
//! waited for. Wall time is `Instant`. The two are read together, where the warm-up ends and where the run ends.
//! Memory is the resident set of this process: with its connections open and idle, and at the end of the run with calls
//! in flight on them. Allocations are counted in the process `perf-counted` alone ([`crate::counted`]).

use std::io::{self, Error};
use std::time::Instant;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use crate::counted::{self, Allocations};

/// One measured run.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Run {
    /// Calls answered.
    pub calls: u64,
    /// Calls answered, those of the warm-up included.
    pub calls_in_all: u64,
    /// Wall time they took.
    pub seconds: f64,
    /// CPU time of the process that called.
    pub client_cpu_s: f64,
    /// CPU time of the process that answered.
    pub target_cpu_s: f64,
    /// What a call took, as its caller saw it; where the course asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Resident bytes of the process that called; a client that is a child has none here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocations: Option<Allocations>,
}

/// Of all calls of a run.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Latency {
    /// Half of the calls took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// Resident bytes of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// All connections open, no call made.
    pub idle_bytes: u64,
    /// At the end of the run, with calls in flight.
    pub busy_bytes: u64,
}

impl Run {
    /// Calls per second.
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// CPU seconds per million calls: the client's, the target's.
    pub fn cpu_per_million(&self) -> (f64, f64) {
        let millions = self.calls as f64 / 1e6;
        (self.client_cpu_s / millions, self.target_cpu_s / millions)
    }
}

/// A histogram of latencies in nanoseconds, up to a minute, exact to three digits.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// An empty one.
    pub fn new() -> Self {
        Self(Histogram::new_with_max(NANOSECONDS_MAX, 3).expect("bounds that a histogram can have"))
    }

    /// Notes one call. What is beyond a minute counts as a minute.
    pub fn note(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Takes in another's.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("histograms of the same bounds");
    }

    /// How many were noted.
    pub fn calls(&self) -> u64 {
        self.0.len()
    }

    /// `None` of nothing.
    pub fn summary(&self) -> Option<Latency> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        let max_us = self.0.max() as f64 / 1e3;
        (!self.0.is_empty()).then(|| Latency { p50_us: at(0.5), p99_us: at(0.99), max_us })
    }
}

const NANOSECONDS_MAX: u64 = 60_000_000_000;

/// Nanoseconds since then.
pub(crate) fn elapsed_ns(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A client whose connections are open and which has not called yet.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    rss_bytes: u64,
}

impl Idle {
    /// Reads what this process holds now.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn now() -> io::Result<Self> {
        Ok(Self { rss_bytes: rss_bytes()? })
    }

    /// Starts measuring this process and the target's, after a warm-up in which so many calls were answered.
    ///
    /// # Errors
    ///
    /// When the target is no longer there.
    pub fn begin(self, target_pid: u32, warm: u64) -> io::Result<Meter> {
        Meter::of(Client::Here, Some(self), target_pid, warm)
    }
}

/// A reading of the clocks at the start of a run.
#[derive(Debug)]
pub struct Meter {
    client: Client,
    target: u32,
    idle: Option<Idle>,
    warm: u64,
    begun: Instant,
    client_cpu_s: f64,
    target_cpu_s: f64,
    allocations: Option<Allocations>,
}

/// Whose CPU time is the client's.
#[derive(Debug, Clone, Copy)]
enum Client {
    /// This process.
    Here,
    /// Children of this process, from their start to their end.
    Child,
}

impl Client {
    fn cpu_s(self) -> io::Result<f64> {
        match self {
            Self::Here => {
                let time = clock_gettime(ClockId::ProcessCPUTime);
                Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
            }
            Self::Child => ticked_s(std::process::id(), CHILDREN),
        }
    }
}

impl Meter {
    /// Starts measuring a client that is started now and waited for before the end.
    ///
    /// # Errors
    ///
    /// When the target is no longer there.
    pub fn begin_child(target_pid: u32) -> io::Result<Self> {
        Self::of(Client::Child, None, target_pid, 0)
    }

    fn of(client: Client, idle: Option<Idle>, target: u32, warm: u64) -> io::Result<Self> {
        let (client_cpu_s, target_cpu_s) = (client.cpu_s()?, target_s(target)?);
        let allocations = counted::so_far();
        Ok(Self {
            client,
            target,
            idle,
            warm,
            begun: Instant::now(),
            client_cpu_s,
            target_cpu_s,
            allocations,
        })
    }

    /// When the run began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Ends the run; so many calls have been answered, those of the warm-up included.
    ///
    /// # Errors
    ///
    /// When the target is no longer there, or no call was answered.
    pub fn end(self, calls_in_all: u64) -> io::Result<Run> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let allocations = self.allocations.zip(counted::so_far()).map(|(before, after)| Allocations {
            blocks: after.blocks - before.blocks,
            bytes: after.bytes - before.bytes,
        });
        let memory = match self.idle {
            Some(idle) => Some(Memory { idle_bytes: idle.rss_bytes, busy_bytes: rss_bytes()? }),
            None => None,
        };
        if calls_in_all == self.warm {
            return Err(Error::other(format!("no call was answered in {seconds:.3} s")));
        }
        Ok(Run {
            calls: calls_in_all - self.warm,
            calls_in_all,
            seconds,
            client_cpu_s: self.client.cpu_s()? - self.client_cpu_s,
            target_cpu_s: target_s(self.target)? - self.target_cpu_s,
            latency: None,
            memory,
            allocations,
        })
    }
}

/// Resident bytes of this process.
///
/// # Errors
///
/// When the system does not say.
pub fn rss_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    resident(&status).ok_or_else(|| Error::other("/proc/self/status has no VmRSS"))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// User and system time so far of a process whose threads live on, as those of the target do while it is measured.
fn target_s(pid: u32) -> io::Result<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended since.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let running = text.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        nanoseconds += running.unwrap_or(0);
    }
    if nanoseconds == 0 { ticked_s(pid, OWN) } else { Ok(nanoseconds as f64 / 1e9) }
}

/// User and system time so far: of a process, or of those of its children that it has waited for.
fn ticked_s(pid: u32, first: usize) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat, first)
        .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
        .ok_or_else(|| Error::other(format!("/proc/{pid}/stat has no CPU times")))
}

/// Two fields, counted from 0 behind the name. That may hold anything, but ends with the last `)`.
fn ticks(stat: &str, first: usize) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(first);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// `utime` and `stime`, the 14th and 15th field; the name is the second.
const OWN: usize = 11;

/// `cutime` and `cstime`, which follow.
const CHILDREN: usize = 13;

/// The unit of `/proc` towards programs on Linux, whatever the kernel itself ticks at.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) 9) S 1 2 3 4 5 6 7 8 9 10 40 2 90 9 0";
        assert_eq!(ticks(stat, OWN), Some(42));
        assert_eq!(ticks(stat, CHILDREN), Some(99));
        assert_eq!(ticks("7 (a) S 1 2", OWN), None);
    }

    #[test]
    fn work_is_seen() {
        // A process whose threads live on, as a target's do. It was this one once, whose other tests end theirs.
        let mut target = Command::new("yes").stdout(Stdio::null()).spawn().unwrap();
        let meter = Idle::now().unwrap().begin(target.id(), 2).unwrap();
        while meter.begun().elapsed() < Duration::from_millis(60) {}
        let run = meter.end(3).unwrap();
        target.kill().unwrap();
        target.wait().unwrap();
        assert!(run.client_cpu_s > 0.0 && run.target_cpu_s > 0.0, "{run:?}");
        assert!(Idle::now().unwrap().begin(std::process::id(), 2).unwrap().end(2).is_err());
        assert_eq!((run.calls, run.calls_in_all), (1, 3));
        assert!(run.memory.unwrap().busy_bytes > 0);
        // Nothing is counted where the allocator is the system's.
        assert_eq!(run.allocations, None);
    }

    #[test]
    fn resident_bytes_are_found() {
        assert_eq!(resident("VmHWM:\t 9 kB\nVmRSS:\t    4 kB\n"), Some(4096));
        assert_eq!(resident("VmHWM:\t 9 kB\n"), None);
    }

    #[test]
    fn latencies_are_summed_up() {
        let (mut one, mut other) = (Latencies::new(), Latencies::new());
        assert_eq!(one.summary(), None);
        (1..=98).for_each(|_| one.note(1_000));
        other.note(5_000);
        other.note(u64::MAX);
        one.add(&other);
        let summary = one.summary().unwrap();
        assert_eq!((one.calls(), summary.p50_us.round()), (100, 1.0));
        assert!((summary.p99_us - 5.0).abs() < 0.1 && summary.max_us > 59e6, "{summary:?}");
    }
}
