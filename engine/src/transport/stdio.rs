//! A server as a child process: its stdin and stdout are the wire, its stderr is always drained.
//!
//! The child leads a process group of its own, so that whatever it starts can be ended with it. Its exit is noticed by
//! a process descriptor, not only by the end of its stdout, which a grandchild may hold open. Starting and ending is
//! the keeper's work, since a child is told to die with the *thread* that started it.

use std::{
    collections::VecDeque,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use mio::{
    Interest, Registry,
    event::Source,
    unix::{SourceFd, pipe},
};

use super::{
    keeper,
    token::{Stream, token},
};
use crate::{
    base::limits::STDERR_RING_BYTES,
    config::endpoint::{Command, Household},
};

/// A running server. Dropping it closes its stdin and has the keeper end its process tree.
#[derive(Debug)]
pub(crate) struct Child {
    stdin: Option<pipe::Sender>,
    /// There until it is dropped.
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    exit: Option<OwnedFd>,
    pid: u32,
    grace: Duration,
    /// The last of what it said on stderr, for the error when it dies.
    said: VecDeque<u8>,
}

/// What is asked for as the size of a child's pipes; the bound for unprivileged users in Linux.
const PIPE_BYTES: usize = 1024 * 1024;

impl Child {
    /// Starts the command.
    pub(super) fn start(command: &Command, household: Household, grace: Duration) -> io::Result<Self> {
        let started = keeper::start(command, household)?;
        let stdin = pipe::Sender::from(started.stdin);
        let stdout = pipe::Receiver::from(started.stdout);
        let stderr = pipe::Receiver::from(started.stderr);
        for pipe in [stdin.as_fd(), stdout.as_fd()] {
            // A pipe of 64 KiB is full after a few hundred calls. The system may refuse more (a bound for each user);
            // then the smaller one works too.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
        }
        stdin.set_nonblocking(true)?;
        stdout.set_nonblocking(true)?;
        stderr.set_nonblocking(true)?;
        // Without a descriptor (an old kernel), the end of stdout has to do.
        let exit = i32::try_from(started.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
        Ok(Self {
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            exit,
            pid: started.pid,
            grace,
            said: VecDeque::new(),
        })
    }

    pub(super) fn register(&mut self, registry: &Registry, connection: u32) -> io::Result<()> {
        if let Some(stdout) = &mut self.stdout {
            stdout.register(registry, token(connection, Stream::Main), Interest::READABLE)?;
        }
        if let Some(stdin) = &mut self.stdin {
            stdin.register(registry, token(connection, Stream::Stdin), Interest::WRITABLE)?;
        }
        if let Some(stderr) = &mut self.stderr {
            stderr.register(registry, token(connection, Stream::Stderr), Interest::READABLE)?;
        }
        if let Some(exit) = &self.exit {
            SourceFd(&exit.as_raw_fd()).register(
                registry,
                token(connection, Stream::Exit),
                Interest::READABLE,
            )?;
        }
        Ok(())
    }

    /// Takes its sources out of the poll: the keeper goes on with the pipes, and nobody else wants to hear of them.
    pub(super) fn deregister(&mut self, registry: &Registry) {
        // What was never registered, or is closed already, is out of the poll as well.
        for pipe in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            let _ = pipe.deregister(registry);
        }
    }

    #[inline]
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match &mut self.stdout {
            Some(stdout) => Ok(rustix::io::read(stdout, space)?),
            None => Ok(0),
        }
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stdin {
            Some(stdin) => Ok(rustix::io::write(stdin, bytes)?),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Reads what is on stderr, up to `pieces` of 4 KiB, and shows it to `see`. `true` if there may be more.
    pub(crate) fn drain_stderr(&mut self, pieces: usize, mut see: impl FnMut(&[u8])) -> bool {
        let mut space = [0; 4096];
        for _ in 0..pieces {
            let Some(stderr) = &mut self.stderr else { return false };
            match stderr.read(&mut space) {
                Ok(0) => self.stderr = None,
                Ok(n) => {
                    see(&space[..n]);
                    self.said.extend(&space[..n]);
                    let excess = self.said.len().saturating_sub(STDERR_RING_BYTES);
                    self.said.drain(..excess);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Would block, or broken: either way there is nothing to read now.
                Err(_) => return false,
            }
        }
        true
    }

    /// The last line it said on stderr, for the error message. Shows what was not yet seen to `see`.
    pub(crate) fn last_words(&mut self, see: impl FnMut(&[u8])) -> Option<String> {
        self.drain_stderr(STDERR_RING_BYTES / 4096, see);
        let said: Vec<u8> = self.said.iter().copied().collect();
        let text = String::from_utf8_lossy(&said);
        text.lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .map(|line| line.chars().take(300).collect())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Closing stdin is the request to end; it has to happen before the keeper starts to count.
        self.stdin = None;
        let pipes =
            [self.stdout.take(), self.stderr.take()].into_iter().flatten().map(OwnedFd::from).collect();
        keeper::end(self.pid, self.grace, pipes);
    }
}
