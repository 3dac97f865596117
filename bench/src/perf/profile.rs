//! Where the time of a run goes: samples of the processor's clock, by whose code was running.
//!
//! `perf record` (Debian: linux-perf) looks at all threads of a run some thousand times a second of their time. What the run starts is left
//! out: that is the target. Every line of the verdict that is missed and has a run of its own is looked into like this, by a run apart
//! from all timing. Samples say where time goes and not why; they know neither waiting nor caches.

use std::process::{Command, Stdio};

use super::job::Job;
use super::process::{CELL, Scratch, answer, limit};
use crate::contestant::Failure;

/// What was seen of one run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// What was run.
    pub job: Job,
    /// How often its threads were looked at.
    pub samples: u64,
    /// How many of these each owner of code has.
    pub owners: Vec<(Owner, u64)>,
    /// Where most of them are: the symbol, its owner and its samples, the most first.
    pub symbols: Vec<(String, Owner, u64)>,
}

/// Whose code was running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The system's.
    Kernel,
    /// `memcpy`, `malloc` and their kin, and the clock.
    CLibrary,
    /// The engine's, with what the compiler has put into it.
    Engine,
    /// The benchmark's: what its caller does, and the floor.
    Benchmark,
    /// Of other crates.
    Others,
}

impl Owner {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Kernel, Self::Engine, Self::CLibrary, Self::Others, Self::Benchmark];

    /// As tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::CLibrary => "C library",
            Self::Engine => "engine",
            Self::Benchmark => "benchmark",
            Self::Others => "other crates",
        }
    }

    /// `place` is where the symbol is: `k` for the kernel.
    fn of(place: &str, object: &str, symbol: &str) -> Self {
        if place == "k" {
            Self::Kernel
        } else if ["libc.", "libc-", "ld-", "libm"].iter().any(|name| object.starts_with(name))
            || object == "[vdso]"
        {
            Self::CLibrary
        } else if symbol.contains("volley_bench::") {
            Self::Benchmark
        } else if symbol.contains("volley::") {
            Self::Engine
        } else {
            Self::Others
        }
    }
}

impl Outcome {
    /// The part of its samples that an owner has.
    pub fn share(&self, owner: Owner) -> f64 {
        let own: u64 = self.owners.iter().filter(|(one, _)| *one == owner).map(|(_, samples)| samples).sum();
        own as f64 / self.samples as f64
    }
}

/// Why nothing can be looked into here, if it cannot.
pub fn cannot() -> Option<&'static str> {
    let mut tried = Command::new("perf");
    tried.args(["record", "-q", "-e", EVENT, "-o", "/dev/null", "true"]);
    tried.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let works = tried.status().is_ok_and(|status| status.success());
    (!works).then_some("`perf` (Debian: linux-perf) is not installed, or may not count here")
}

/// Does a job in a child that is looked at.
///
/// # Errors
///
/// When it fails, or nothing of it was seen.
pub fn look_into(job: &Job) -> Result<Outcome, Failure> {
    let data = Scratch::new("samples.data");
    let mut command = Command::new("perf");
    command.args(["record", "-q", "-e", EVENT, "-F", SAMPLES_PER_SECOND, "-o"]).arg(&data.0);
    command.arg("--").arg(std::env::current_exe()?).arg(CELL).arg(serde_json::to_string(job)?);
    answer::<serde_json::Value>(command, limit(job))?;
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "-n", "--sort", "comm,dso,sym", "-t", "|", "-i"]).arg(&data.0);
    let text = report.stdin(Stdio::null()).stderr(Stdio::null()).output()?.stdout;
    let seen = read(job, &String::from_utf8_lossy(&text)).ok_or("perf saw nothing of the run")?;
    // Without the right to it perf says nothing and looks at the program alone.
    if seen.share(Owner::Kernel) == 0.0 {
        return Err("perf saw nothing of the kernel: may it (`/proc/sys/kernel/perf_event_paranoid`)?".into());
    }
    Ok(seen)
}

/// Samples of the processor's time, which a virtual machine has as well.
const EVENT: &str = "cpu-clock";

const SAMPLES_PER_SECOND: &str = "4000";

/// The names of the target's threads.
const TARGET: [&str; 2] = ["fast-target", "connection"];

const SYMBOLS_KEPT: usize = 10;

/// Reads the table: share, samples, thread, object, symbol.
fn read(job: &Job, text: &str) -> Option<Outcome> {
    let mut seen = Outcome { job: job.clone(), samples: 0, owners: Vec::new(), symbols: Vec::new() };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut cells = line.splitn(5, '|').map(str::trim);
        let (Some(_), Some(samples), Some(thread)) = (cells.next(), cells.next(), cells.next()) else {
            continue;
        };
        let (Some(object), Some(symbol), Ok(samples)) = (cells.next(), cells.next(), samples.parse::<u64>())
        else {
            continue;
        };
        if TARGET.contains(&thread) {
            continue;
        }
        // `[k]` or `[.]` stands before each.
        let (place, symbol) = symbol.split_once("] ").unwrap_or(("", symbol));
        let owner = Owner::of(place.trim_start_matches('['), object, symbol);
        seen.samples += samples;
        match seen.owners.iter_mut().find(|(one, _)| *one == owner) {
            Some((_, all)) => *all += samples,
            None => seen.owners.push((owner, samples)),
        }
        // One symbol stands once for each thread's name.
        match seen.symbols.iter_mut().find(|(name, one, _)| name == symbol && *one == owner) {
            Some((.., all)) => *all += samples,
            None => seen.symbols.push((symbol.to_owned(), owner, samples)),
        }
    }
    seen.symbols.sort_by_key(|(.., samples)| std::cmp::Reverse(*samples));
    seen.symbols.truncate(SYMBOLS_KEPT);
    (seen.samples > 0).then_some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::course;

    #[test]
    fn samples_are_read_by_whose_they_are_and_without_the_target() {
        let job = Job::Run { contestant: "volley inline".into(), course: course() };
        let text = "\
# Total Lost Samples: 0
#
# Overhead|Samples|Command|Shared Object|Symbol

    40.00%|40|perf       |[kernel.kallsyms]   |[k] sock_poll
    10.00%|10|fast-target|fast-target         |[.] volley_bench::splice::reply
    10.00%|10|connection |[kernel.kallsyms]   |[k] sock_poll
    15.00%|15|perf       |perf                |[.] <volley::shard::Shard as X>::read
    10.00%|10|volley-0   |[kernel.kallsyms]   |[k] sock_poll
     8.00%|8|perf       |libc.so.6           |[.] malloc
     4.00%|4|perf       |perf                |[.] serde_json::read::<impl X>::parse | y
     3.00%|3|perf       |perf                |[.] volley_bench::engine::inline::run
";
        let seen = read(&job, text).unwrap();
        assert_eq!(seen.samples, 80);
        let shares = Owner::ALL.map(|owner| seen.share(owner) * 80.0);
        assert_eq!(shares, [50.0, 15.0, 8.0, 4.0, 3.0]);
        assert_eq!(seen.symbols[0], ("sock_poll".into(), Owner::Kernel, 50));
        assert_eq!(seen.symbols[3].0, "serde_json::read::<impl X>::parse | y");
        assert_eq!(read(&job, "# nothing\n"), None);
        let kept = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&kept).unwrap(), seen);
    }
}
