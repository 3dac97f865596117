//! Stdin and stdout as one stream, and stdin alone as a watch on the parent.
//!
//! Pipes and sockets become non-blocking while we use them, and get their flags back at the end.
//! Terminals are polled but stay blocking, since their flags belong to the shell as well. Plain
//! files cannot be polled at all; they are always ready, and reading them never waits.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};

/// The protocol on stdin and stdout.
pub(super) struct Stdio {
    input: Side,
    output: Side,
}

/// Stdin of a server that speaks elsewhere; its end is the end of the parent.
pub(super) struct ParentWatch(Side);

/// One of the standard descriptors.
struct Side {
    fd: BorrowedFd<'static>,
    /// The flags to give back, where we changed them.
    flags: Option<OFlags>,
    /// Whether the machine can tell us when it is ready.
    is_polled: bool,
}

impl Stdio {
    pub(super) fn open() -> io::Result<Self> {
        let input = Side::open(rustix::stdio::stdin())?;
        Ok(Self { input, output: Side::open(rustix::stdio::stdout())? })
    }

    /// Registers both sides under one token: its readable is stdin, its writable stdout.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.input.register(registry, token, Interest::READABLE)?;
        self.output.register(registry, token, Interest::WRITABLE)
    }

    /// Whether reading needs no readiness, as with a plain file.
    pub(super) fn is_always_readable(&self) -> bool {
        !self.input.is_polled
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.input.fd, bytes)?)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.output.fd, bytes)?)
    }
}

impl ParentWatch {
    pub(super) fn open(registry: &Registry, token: Token) -> io::Result<Self> {
        let mut input = Side::open(rustix::stdio::stdin())?;
        input.register(registry, token, Interest::READABLE)?;
        Ok(Self(input))
    }

    /// Whether readiness tells when to ask; what cannot be polled is to be asked at once.
    pub(super) fn is_polled(&self) -> bool {
        self.0.is_polled
    }

    /// Reads whatever is there, and says whether the end was there too.
    pub(super) fn has_ended(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match rustix::io::read(self.0.fd, &mut bytes) {
                Ok(0) => return true,
                Ok(read) if read < bytes.len() && !self.0.is_pipe() => return false,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return error != rustix::io::Errno::AGAIN,
            }
        }
    }
}

impl Side {
    fn open(fd: BorrowedFd<'static>) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(fstat(fd)?.st_mode);
        let mut flags = None;
        if matches!(kind, FileType::Fifo | FileType::Socket) {
            let before = fcntl_getfl(fd)?;
            fcntl_setfl(fd, before | OFlags::NONBLOCK)?;
            flags = Some(before);
        }
        Ok(Self { fd, flags, is_polled: false })
    }

    /// Whether it is a pipe or a socket, which never makes us wait.
    fn is_pipe(&self) -> bool {
        self.flags.is_some()
    }

    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match registry.register(&mut SourceFd(&self.fd.as_raw_fd()), token, interest) {
            Ok(()) => self.is_polled = true,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(flags) = self.flags {
            // The descriptor may be gone already; then there is nothing to give back.
            let _ = fcntl_setfl(self.fd, flags);
        }
    }
}
