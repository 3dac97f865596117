//! Transports: non-blocking byte streams to a server, behind one enum. Readiness in, bytes both ways; no protocol.
//!
//! A transport registers up to four sources with the shard's poll, told apart by the low two bits of the token
//! ([`Stream`]). Closing is dropping, except that a child process is handed to the keeper, who ends its whole tree.

pub(crate) mod keeper;
pub(crate) mod socket;
pub(crate) mod stdio;
mod token;

use std::{io, net::SocketAddr, path::Path, time::Duration};

use mio::{Interest, Registry, event::Source};

use crate::config::endpoint::{Command, Household};

use token::token;
pub(crate) use token::{Stream, of_token};

/// One connection's bytes.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
    Stdio(Box<stdio::Child>),
}

impl Transport {
    /// Begins to connect; the first writability tells whether it worked.
    pub(crate) fn tcp(address: SocketAddr) -> io::Result<Self> {
        socket::tcp(address).map(Self::Tcp)
    }

    /// Connects to a Unix socket.
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        socket::unix(path).map(Self::Unix)
    }

    /// Starts a child process.
    pub(crate) fn stdio(command: &Command, household: Household, grace: Duration) -> io::Result<Self> {
        stdio::Child::start(command, household, grace).map(|child| Self::Stdio(Box::new(child)))
    }

    pub(crate) fn register(&mut self, registry: &Registry, connection: u32) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(socket) => socket.register(registry, token(connection, Stream::Main), both),
            Self::Unix(socket) => socket.register(registry, token(connection, Stream::Main), both),
            Self::Stdio(child) => child.register(registry, connection),
        }
    }

    /// Takes it out of the poll, before it is dropped. Sockets leave it by being closed.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        if let Self::Stdio(child) = self {
            child.deregister(registry);
        }
    }

    /// Is the connection established? `Ok(false)`: not yet.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        match self {
            Self::Tcp(socket) => {
                if let Some(error) = socket.take_error()? {
                    return Err(error);
                }
                match socket.peer_addr() {
                    Ok(_) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Self::Unix(_) | Self::Stdio(_) => Ok(true),
        }
    }

    #[inline]
    pub(crate) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        use io::Read;
        match self {
            Self::Tcp(socket) => socket.read(space),
            Self::Unix(socket) => socket.read(space),
            Self::Stdio(child) => child.read(space),
        }
    }

    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use io::Write;
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
            Self::Stdio(child) => child.write(bytes),
        }
    }

    /// The child, where there is one.
    pub(crate) fn child(&mut self) -> Option<&mut stdio::Child> {
        match self {
            Self::Stdio(child) => Some(child),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }
}
