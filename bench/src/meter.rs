//! What a run cost: calls, wall time, and CPU time of both processes.
//!
//! CPU time is the kernel's account of the whole process, threads that have ended included, read
//! from `/proc/PID/stat` in ticks of 10 ms; a run of one second is exact to one per cent of a core.
//! A client that is a child process counts when it has ended and been waited for. Wall time is `Instant`. The two are read together, where the warm-up ends and where the run ends.

use std::io::{self, Error};
use std::time::{Duration, Instant};

/// One measured run.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Run {
    /// Calls answered.
    pub calls: u64,
    /// Wall time they took.
    pub seconds: f64,
    /// CPU time of the process that called.
    pub client_cpu_s: f64,
    /// CPU time of the process that answered.
    pub target_cpu_s: f64,
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

/// A reading of the clocks at the start of a run.
#[derive(Debug)]
pub struct Meter {
    client: Client,
    target: u32,
    begun: Instant,
    client_cpu_s: f64,
    target_cpu_s: f64,
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
        let first = match self {
            Self::Here => OWN,
            Self::Child => CHILDREN,
        };
        cpu_s(std::process::id(), first)
    }
}

impl Meter {
    /// Starts measuring this process and the target's.
    ///
    /// # Errors
    ///
    /// When the target is no longer there.
    pub fn begin(target_pid: u32) -> io::Result<Self> {
        Self::of(Client::Here, target_pid)
    }

    /// Starts measuring a client that is started now and waited for before the end.
    ///
    /// # Errors
    ///
    /// When the target is no longer there.
    pub fn begin_child(target_pid: u32) -> io::Result<Self> {
        Self::of(Client::Child, target_pid)
    }

    fn of(client: Client, target: u32) -> io::Result<Self> {
        let (client_cpu_s, target_cpu_s) = (client.cpu_s()?, cpu_s(target, OWN)?);
        Ok(Self { client, target, begun: Instant::now(), client_cpu_s, target_cpu_s })
    }

    /// When the run began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Ends the run in which so many calls were answered.
    ///
    /// # Errors
    ///
    /// When the target is no longer there.
    pub fn end(self, calls: u64) -> io::Result<Run> {
        let seconds = self.begun.elapsed().as_secs_f64();
        Ok(Run {
            calls,
            seconds,
            client_cpu_s: self.client.cpu_s()? - self.client_cpu_s,
            target_cpu_s: cpu_s(self.target, OWN)? - self.target_cpu_s,
        })
    }
}

/// How long a contestant runs before it is measured: a tenth, and enough to fault its memory in.
pub fn warm_up(duration: Duration) -> Duration {
    (duration / 10).max(Duration::from_millis(50))
}

/// User and system time so far: of a process, or of those of its children that it has waited for.
fn cpu_s(pid: u32, first: usize) -> io::Result<f64> {
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
        let meter = Meter::begin(std::process::id()).unwrap();
        while meter.begun().elapsed() < Duration::from_millis(60) {}
        let run = meter.end(1).unwrap();
        assert!(run.client_cpu_s >= 0.01, "{run:?}");
    }
}
