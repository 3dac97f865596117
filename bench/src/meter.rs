//! What a run cost: calls, wall time, and CPU time of both processes.
//!
//! CPU time is the kernel's account of the whole process, threads that have ended included, read
//! from `/proc/PID/stat` in ticks of 10 ms; a run of one second is exact to one per cent of a core.
//! Wall time is `Instant`. The two are read together, where the warm-up ends and where the run ends.

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
    target: u32,
    begun: Instant,
    client_cpu_s: f64,
    target_cpu_s: f64,
}

impl Meter {
    /// Starts measuring this process and the target's.
    ///
    /// # Errors
    ///
    /// When the target is no longer there.
    pub fn begin(target_pid: u32) -> io::Result<Self> {
        let (client_cpu_s, target_cpu_s) = (cpu_s(std::process::id())?, cpu_s(target_pid)?);
        Ok(Self { target: target_pid, begun: Instant::now(), client_cpu_s, target_cpu_s })
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
            client_cpu_s: cpu_s(std::process::id())? - self.client_cpu_s,
            target_cpu_s: cpu_s(self.target)? - self.target_cpu_s,
        })
    }
}

/// How long a contestant runs before it is measured: a tenth, and enough to fault its memory in.
pub fn warm_up(duration: Duration) -> Duration {
    (duration / 10).max(Duration::from_millis(50))
}

/// User and system time of a process so far.
fn cpu_s(pid: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat)
        .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
        .ok_or_else(|| Error::other(format!("/proc/{pid}/stat has no CPU times")))
}

/// `utime` plus `stime`, the 14th and 15th field. The second may hold anything, but ends with the last `)`.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The unit of `/proc` towards programs on Linux, whatever the kernel itself ticks at.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        assert_eq!(ticks("7 (a) b) 9) S 1 2 3 4 5 6 7 8 9 10 40 2 99"), Some(42));
        assert_eq!(ticks("7 (a) S 1 2"), None);
    }

    #[test]
    fn work_is_seen() {
        let meter = Meter::begin(std::process::id()).unwrap();
        while meter.begun().elapsed() < Duration::from_millis(60) {}
        let run = meter.end(1).unwrap();
        assert!(run.client_cpu_s >= 0.01, "{run:?}");
    }
}
