//! The keeper: one thread for the whole process that starts children, and ends them with all they have started.
//!
//! It is one thread, and stays, because the kernel's "die with your parent" (`PR_SET_PDEATHSIG`) means the parent
//! *thread*: a child started from a short-lived thread would die with that. So even if this process is killed with
//! SIGKILL, its servers go.
//!
//! Ending a child: its stdin has been closed; after `grace` its group gets SIGTERM, after another `grace` SIGKILL. It has
//! ended when the child is reaped *and* its process group is empty. MCP 2025-11-25, lifecycle, shutdown.
#![allow(unsafe_code, reason = "one `pre_exec`, which std has as unsafe (docs/unsafe.md)")]

use std::{
    collections::HashMap,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{self, Child, ChildStderr, ChildStdin, ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process_group, set_parent_process_death_signal, test_kill_process_group,
    waitpgid,
};

use crate::config::endpoint::{Command, Household};

/// A child that runs.
pub(super) struct Started {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
    pub(super) pid: u32,
}

enum Order {
    Start {
        command: Box<Command>,
        household: Household,
        started: Sender<io::Result<Started>>,
    },
    End {
        pid: u32,
        grace: Duration,
        pipes: Vec<OwnedFd>,
    },
    /// Answered when no child of the household is being ended any more.
    Settled {
        household: Household,
        settled: Sender<()>,
    },
}

/// A child on its way out.
struct Leaving {
    child: Option<Child>,
    household: Household,
    /// Its stdout and stderr, read to the end: a server that says good-bye must not die of a broken pipe while it does.
    pipes: Vec<OwnedFd>,
    group: Pid,
    grace: Duration,
    since: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Terminated,
    Killed,
}

/// How often leaving children are looked at. Only while there are any.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// For a child that survives SIGKILL this long (in an uninterruptible sleep) nobody waits any more.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(10);

/// How often those are looked at: when they die they must not stand there as zombies for as long as this process lives.
const LOOK_AT_STUCK_EVERY: Duration = Duration::from_secs(1);

/// Starts a child. Blocks for the fork and exec.
pub(super) fn start(command: &Command, household: Household) -> io::Result<Started> {
    let (started, answer) = bounded(1);
    let gone = || io::Error::other("the keeper thread is gone");
    keeper()?
        .send(Order::Start { command: Box::new(command.clone()), household, started })
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Ends a child whose stdin has been closed, and everything in its process group. What it still says on `pipes`, which do not
/// block, is read and dropped.
pub(super) fn end(pid: u32, grace: Duration, pipes: Vec<OwnedFd>) {
    // If the keeper is gone the process is going down, and its children with it.
    if let Ok(keeper) = keeper() {
        let _ = keeper.send(Order::End { pid, grace, pipes });
    }
}

/// Waits until every child of the household that is being ended has ended, at most `wait`. `true` if so.
pub(crate) fn wait_until_settled(household: Household, wait: Duration) -> bool {
    let (settled, answer) = bounded(1);
    keeper().is_ok_and(|keeper| keeper.send(Order::Settled { household, settled }).is_ok())
        && answer.recv_timeout(wait).is_ok()
}

/// The keeper of this process. After a `fork` the child has the memory of the parent's and none of its threads, so it gets its own.
fn keeper() -> io::Result<Sender<Order>> {
    static KEEPER: Mutex<Option<(u32, Sender<Order>)>> = Mutex::new(None);
    let mut keeper = KEEPER.lock();
    match &*keeper {
        Some((pid, orders)) if *pid == process::id() => Ok(orders.clone()),
        _ => {
            let (orders, inbox) = unbounded();
            thread::Builder::new().name("volley-keeper".to_owned()).spawn(move || keep(&inbox))?;
            *keeper = Some((process::id(), orders.clone()));
            Ok(orders)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, which no turn and no call waits for")]
fn keep(inbox: &Receiver<Order>) {
    let mut children: HashMap<u32, (Child, Household)> = HashMap::new();
    let mut leaving: Vec<Leaving> = Vec::new();
    let mut stuck: Vec<Leaving> = Vec::new();
    let mut waiting: Vec<(Household, Sender<()>)> = Vec::new();
    let mut look_at = Instant::now();
    loop {
        let order = if leaving.is_empty() && waiting.is_empty() && stuck.is_empty() {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            inbox.recv_timeout(look_at.saturating_duration_since(Instant::now()))
        };
        match order {
            Ok(Order::Start { command, household, started }) => {
                let answer = spawn(&command).map(|(child, running)| {
                    children.insert(running.pid, (child, household));
                    running
                });
                // Whoever asked has gone: the pipes close and the child sees the end of its stdin.
                let _ = started.send(answer);
            }
            Ok(Order::End { pid, grace, pipes }) => {
                let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
                if let (Some((child, household)), Some(group)) = (children.remove(&pid), group) {
                    let since = Instant::now();
                    look_at = look_at.min(since + LOOK_EVERY);
                    leaving.push(Leaving {
                        child: Some(child),
                        household,
                        pipes,
                        group,
                        grace,
                        since,
                        stage: Stage::Asked,
                    });
                }
            }
            Ok(Order::Settled { household, settled }) => {
                waiting.push((household, settled));
                look_at = look_at.min(Instant::now() + LOOK_EVERY);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Not after each order: a thousand that come at once would each have a thousand children looked at.
        if Instant::now() < look_at {
            continue;
        }
        leaving.retain_mut(|child| !child.has_left());
        stuck.extend(leaving.extract_if(.., |child| child.is_stuck()));
        stuck.retain_mut(|child| !child.has_left());
        let all_are_stuck = leaving.is_empty() && waiting.is_empty();
        look_at = Instant::now() + if all_are_stuck { LOOK_AT_STUCK_EVERY } else { LOOK_EVERY };
        waiting.retain(|(household, settled)| {
            let settling = leaving.iter().any(|child| child.household == *household);
            if !settling {
                // Whoever asked may have stopped waiting.
                let _ = settled.send(());
            }
            settling
        });
    }
}

impl Leaving {
    /// Reads what the child still says, so that it does not wait for a reader.
    fn hear(&mut self) {
        let mut space = [0; 16 * 1024];
        self.pipes.retain(|pipe| {
            for _ in 0..16 {
                match rustix::io::read(pipe, &mut space) {
                    Ok(0) => return false,
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return true,
                    Err(_) => return false,
                }
            }
            true
        });
    }

    /// Was it killed, and has not died of it?
    fn is_stuck(&self) -> bool {
        self.stage == Stage::Killed && self.since.elapsed() >= UNKILLABLE_AFTER
    }

    /// Looks once, and goes on to the next stage when it is time.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own, which no turn and no call waits for")]
    fn has_left(&mut self) -> bool {
        self.hear();
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => {}
                // Reaped, or not ours to reap any more.
                Ok(Some(_)) | Err(_) => self.child = None,
            }
        }
        if self.child.is_none() {
            // Where there is no other init than this process, those of the group whose parents have gone are its own, and would stand
            // there as zombies for ever.
            while matches!(waitpgid(self.group, WaitOptions::NOHANG), Ok(Some(_))) {}
        }
        if self.child.is_none() && test_kill_process_group(self.group).is_err() {
            return true;
        }
        let waited = self.since.elapsed();
        let (signal, next) = match self.stage {
            // The leader has gone and left others behind: they get no grace of their own.
            Stage::Asked if waited >= self.grace || self.child.is_none() => (Signal::TERM, Stage::Terminated),
            Stage::Terminated if waited >= self.grace => (Signal::KILL, Stage::Killed),
            Stage::Asked | Stage::Terminated | Stage::Killed => return false,
        };
        // The group may have emptied since we looked; then there is nobody to signal.
        let _ = kill_process_group(self.group, signal);
        (self.stage, self.since) = (next, Instant::now());
        false
    }
}

fn spawn(command: &Command) -> io::Result<(Child, Started)> {
    let mut builder = std::process::Command::new(&command.program);
    builder
        .args(&command.args)
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(dir) = &command.dir {
        builder.current_dir(dir);
    }
    let parent = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec and makes two system calls, both async-signal-safe; it neither
    // allocates nor locks.
    unsafe {
        builder.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above; then nobody would tell us any more.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
    let mut child = builder.spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot start {:?}: {error}", command.program))
    })?;
    let taken = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = taken else {
        return Err(io::Error::other("a child came without its pipes"));
    };
    let pid = child.id();
    Ok((child, Started { stdin, stdout, stderr, pid }))
}
