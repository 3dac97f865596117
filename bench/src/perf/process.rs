//! Runs a job in a child process, bounded in time; and, apart from all timing, counts what it does.
//!
//! Allocations are counted by the program `perf-counted`, whose allocator counts. System calls are counted by
//! `strace -c -f`, which lets go of whatever the child starts; where there is no strace, by the kernel's account of
//! reads and writes in `/proc/PID/io`, which knows neither sockets' own calls nor polls, and is named as what it is.
//! Both are counted in two runs of different length, and the difference is divided by the difference in calls: what is
//! done once cancels out. Under strace a system call takes longer, so more calls travel together than otherwise; with
//! more than one in flight the figure is therefore a lower one than without.

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::job::{Job, Said};
use crate::contestant::{Course, Failure};
use crate::link::remove_sockets_of;
use crate::meter::Run;
use crate::report::Counts;

/// The first word of a child, the second is its job.
pub const CELL: &str = "cell";

/// Does a job in a child.
///
/// # Errors
///
/// When it fails, or takes far longer than it should.
pub fn ask<T: DeserializeOwned>(job: &Job) -> Result<T, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(CELL).arg(serde_json::to_string(job)?);
    Ok(answer(command, limit(job))?.0)
}

/// Counts what one contestant takes for a call.
///
/// # Errors
///
/// When it fails while it is counted.
pub fn count(contestant: &str, course: &Course, seconds: f64) -> Result<Counts, Failure> {
    let job = |seconds| Job::Run { contestant: contestant.to_owned(), course: Course { seconds, ..*course } };
    let counted = std::env::current_exe()?.with_file_name("perf-counted");
    let mut command = Command::new(&counted);
    command.arg(CELL).arg(serde_json::to_string(&job(seconds))?);
    let (run, _) = answer::<Run>(command, limit(&job(seconds)))
        .map_err(|error| format!("{}: {error}", counted.display()))?;
    let per_call = |count: u64| count as f64 / run.calls as f64;
    let allocations = run.allocations.ok_or("perf-counted does not count")?;

    let traced = strace_works();
    let one = |seconds| if traced { strace(&job(seconds)) } else { account(&job(seconds)) };
    let short = one(seconds / 4.0)?;
    // On a busy machine the longer run may have had fewer calls; one that is longer still has more.
    let syscalls = match difference(short, one(seconds)?) {
        Some(syscalls) => Some(syscalls),
        None => difference(short, one(4.0 * seconds)?),
    };
    Ok(Counts {
        allocations: Some(per_call(allocations.blocks)),
        allocated_bytes: Some(per_call(allocations.bytes)),
        syscalls,
        syscalls_by: if traced { "strace -c -f" } else { "/proc/PID/io, reads and writes only" }.to_owned(),
    })
}

/// Calls to the system for a call, of two runs with so many calls and so many calls to the system each.
fn difference(short: (u64, u64), long: (u64, u64)) -> Option<f64> {
    let calls = long.0.checked_sub(short.0).filter(|calls| *calls > 0)?;
    Some(long.1.checked_sub(short.1)? as f64 / calls as f64)
}

fn strace_works() -> bool {
    let mut tried = Command::new("strace");
    tried.args(["-c", "-f", "-b", "execve", "-o", "/dev/null", "true"]);
    tried.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    tried.status().is_ok_and(|status| status.success())
}

fn strace(job: &Job) -> Result<(u64, u64), Failure> {
    let summary = Scratch::new("strace.txt");
    let mut command = Command::new("strace");
    // Whatever it starts is let go of as soon as it becomes another program: the target is not counted.
    command.args(["-c", "-f", "-b", "execve", "-o"]).arg(&summary.0);
    command.arg(std::env::current_exe()?).arg(CELL).arg(serde_json::to_string(job)?);
    let (run, _) = answer::<Run>(command, limit(job))?;
    let text = std::fs::read_to_string(&summary.0)?;
    let calls = total(&text).ok_or("the summary of strace has no counts")?;
    Ok((run.calls_in_all, calls))
}

fn account(job: &Job) -> Result<(u64, u64), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(CELL).arg(serde_json::to_string(job)?);
    let (run, calls) = answer::<Run>(command, limit(job))?;
    Ok((run.calls_in_all, calls.ok_or("the kernel keeps no account of reads and writes")?))
}

/// The calls in strace's table: the fourth column of its rows, which begin with a percentage.
fn total(text: &str) -> Option<u64> {
    let mut total = None;
    for line in text.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let (Some(first), Some(last)) = (words.first(), words.last()) else { continue };
        if first.parse::<f64>().is_err() || *last == "total" {
            continue;
        }
        let calls: u64 = words.get(3)?.parse().ok()?;
        total = Some(total.unwrap_or(0) + calls);
    }
    total
}

/// Nobody needs longer who is well: what is measured three times, and time to open the connections.
pub(super) fn limit(job: &Job) -> Duration {
    let halves = match job {
        Job::BigReply(plan) => f64::from(plan.rounds) * 8.0 + 4.0,
        Job::Run { .. } | Job::Burst(_) => 3.0,
        // Building values takes seconds for the largest.
        Job::Decode(plan) => f64::from(plan.rounds) * 200.0,
        // The floor has its quarter.
        Job::Soak(_) => 1.5,
    };
    let course = job.course();
    Duration::from_secs_f64(halves * course.seconds + 40.0 + course.connections as f64 / 200.0)
}

/// Lets a child do its job, but not for ever, and reads what it says.
pub(super) fn answer<T: DeserializeOwned>(
    mut command: Command,
    limit: Duration,
) -> Result<(T, Option<u64>), Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| cannot_start(command.get_program(), &error))?;
    let mut stdout = child.stdout.take().ok_or("a child without an output")?;
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        // What cannot be read is no word of a child; its end is seen below.
        let _ = stdout.read_to_string(&mut text);
        let _ = tell.send(text);
    });
    let Ok(text) = told.recv_timeout(limit) else {
        // Its target ends with it, having said so.
        child.kill()?;
        child.wait()?;
        remove_sockets_of(child.id());
        return Err(format!("no end after {limit:?}").into());
    };
    let status = child.wait()?;
    if text.is_empty() {
        return Err(format!("{program} ended without a word, {status}").into());
    }
    Said::read(&text)
}

fn cannot_start(program: &OsStr, error: &std::io::Error) -> String {
    format!("{} cannot be started: {error}; build the package's --bins first", program.to_string_lossy())
}

/// A file that is gone when it is dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(ending: &str) -> Self {
        Self(std::env::temp_dir().join(format!("volley-bench-{}-{ending}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strace_is_read() {
        let text = "\
strace: Process 12 detached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000010           1       1000         2 read
 40.00    0.000000           0        59           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.000010           0      1059         2 total
";
        assert_eq!(total(text), Some(1059));
        assert_eq!(total("nothing\n"), None);
    }

    #[test]
    fn what_is_done_once_cancels_out() {
        assert_eq!(difference((100, 1_200), (300, 1_600)), Some(2.0));
        assert_eq!(difference((300, 1_200), (300, 1_600)), None);
        assert_eq!(difference((100, 1_200), (300, 1_100)), None);
    }

    #[test]
    fn who_hangs_is_ended_and_who_is_silent_is_named() {
        let mut hangs = Command::new("sleep");
        hangs.arg("30");
        let error = answer::<Run>(hangs, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("no end after"), "{error}");
        let error = answer::<Run>(Command::new("true"), Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("without a word"), "{error}");
        let error = answer::<Run>(Command::new("/no/such"), Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("cannot be started"), "{error}");
    }
}
