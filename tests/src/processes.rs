//! Processes as `/proc` shows them: found by a mark in their environment, signalled by their id, and seen to be gone.
//!
//! A mark is inherited, so it finds what a server has started as well, in whichever process group.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::patience::until;

/// The variable that carries a mark.
pub const MARK: &str = "VOLLEY_TEST_MARK";

/// A word that no other test's processes have in their environment.
#[derive(Clone, Debug)]
pub struct Mark(String);

impl Mark {
    /// A fresh one.
    #[expect(clippy::new_without_default, reason = "each is another, so it is no default")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The value of [`MARK`].
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The living processes with this mark. A zombie has no environment any more.
    pub fn processes(&self) -> Vec<u32> {
        let wanted = format!("{MARK}={}", self.0);
        let has_it = |pid: &u32| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes()))
        };
        processes().into_iter().filter(has_it).collect()
    }

    /// Checks that none of them lives.
    ///
    /// # Panics
    /// When one does.
    #[track_caller]
    pub fn nobody_is_left(&self) {
        let left = self.processes();
        assert!(left.is_empty(), "processes {left:?} are left");
    }

    /// Waits until so many processes have this mark, and names them.
    pub async fn await_processes(&self, count: usize) -> Vec<u32> {
        until(&format!("{count} processes with mark {}", self.0), || self.processes().len() == count).await;
        self.processes()
    }
}

/// All processes that can be seen.
fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("there is a /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Sends a signal. A process that has gone already is no error.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process(pid, signal);
}

/// Is there such a process, zombies included?
pub fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// Has the process stopped (SIGSTOP), all of its threads?
pub fn is_stopped(pid: u32) -> bool {
    status(pid, "State:").is_some_and(|state| state.starts_with('T'))
}

/// Does a signal wait to be handled?
pub fn is_pending(pid: u32, signal: Signal) -> bool {
    let bit = 1_u64 << (signal.as_raw() - 1);
    ["SigPnd:", "ShdPnd:"].iter().any(|line| {
        status(pid, line)
            .and_then(|mask| u64::from_str_radix(&mask, 16).ok())
            .is_some_and(|mask| mask & bit != 0)
    })
}

/// A value of `/proc/PID/status`.
pub fn status(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// The highest resident memory that this process has had, in bytes.
pub fn peak_rss_bytes() -> u64 {
    let peak = status(std::process::id(), "VmHWM:").expect("a kernel that counts");
    peak.trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// The resident memory that this process has now, in bytes.
pub fn rss_bytes_now() -> u64 {
    let now = status(std::process::id(), "VmRSS:").expect("a kernel that counts");
    now.trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let is_child = |child: &u32| status(*child, "PPid:").is_some_and(|parent| parent == pid.to_string());
    processes().into_iter().filter(is_child).collect()
}

/// How many threads of this process have a name that starts like this.
pub fn threads_named(start: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("there is a /proc");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with(start))
        .count()
}
