//! Transports: non-blocking byte streams to a server, behind one enum. Readiness in, bytes both ways; no protocol.
//!
//! A transport registers up to four sources with the shard's poll, told apart by the low two bits of the token
//! ([`Stream`]). Closing is dropping, except that a child process is handed to the keeper, who ends its whole tree.

pub(crate) mod keeper;
mod link;
pub(crate) mod socket;
pub(crate) mod stdio;
#[cfg(feature = "tls")]
mod tls;
mod token;
#[cfg(feature = "websocket")]
pub(crate) mod websocket;

use std::{io, net::SocketAddr, path::Path, time::Duration};

use mio::{Interest, Registry, event::Source};

use crate::config::{
    dial::Net,
    endpoint::{Command, Household},
};

use link::Link;
use token::token;
pub(crate) use token::{Stream, of_token};

/// One connection's bytes.
#[derive(Debug)]
pub(crate) enum Transport {
    Net(Link),
    #[cfg(feature = "websocket")]
    WebSocket(Box<websocket::WebSocket>),
    Unix(mio::net::UnixStream),
    Stdio(Box<stdio::Child>),
}

impl Transport {
    /// Begins to connect; [`Self::is_connected`] goes on with it at each readiness.
    pub(crate) fn net(address: SocketAddr, net: &Net) -> io::Result<Self> {
        let link = Link::open(address, net)?;
        #[cfg(feature = "websocket")]
        if let Some(dial) = &net.websocket {
            return Ok(Self::WebSocket(Box::new(websocket::WebSocket::new(link, dial))));
        }
        Ok(Self::Net(link))
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
            Self::Net(link) => link.socket().register(registry, token(connection, Stream::Main), both),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => {
                socket.socket().register(registry, token(connection, Stream::Main), both)
            }
            Self::Unix(socket) => {
                socket.register(registry, token(connection, Stream::Main), Interest::READABLE)
            }
            Self::Stdio(child) => child.register(registry, connection),
        }
    }

    /// A write was refused (`true`), or the poll has told that it would be taken now (`false`).
    ///
    /// Only a Unix socket has to be asked for the second: it tells of room whenever its peer has read anything, which with one call
    /// in flight would wake the shard twice for each. The others tell of room only after they have refused a write.
    pub(crate) fn await_room(
        &mut self,
        registry: &Registry,
        connection: u32,
        awaits: bool,
    ) -> io::Result<()> {
        let Self::Unix(socket) = self else { return Ok(()) };
        let interest = if awaits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        socket.reregister(registry, token(connection, Stream::Main), interest)
    }

    /// Takes it out of the poll, before it is dropped. Sockets leave it by being closed.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        if let Self::Stdio(child) = self {
            child.deregister(registry);
        }
    }

    /// Goes on with connecting, handshakes included. `Ok(false)`: not there yet.
    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        match self {
            Self::Net(link) => link.is_connected(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.is_connected(),
            Self::Unix(_) | Self::Stdio(_) => Ok(true),
        }
    }

    /// Is somebody there, handshakes aside?
    pub(crate) fn has_reached(&self) -> bool {
        match self {
            Self::Net(link) => link.has_reached(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.has_reached(),
            Self::Unix(_) | Self::Stdio(_) => true,
        }
    }

    /// Did the two sides agree on HTTP/2 in their TLS handshake?
    pub(crate) fn is_h2(&self) -> bool {
        match self {
            Self::Net(link) => link.is_h2(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(_) => false,
            Self::Unix(_) | Self::Stdio(_) => false,
        }
    }

    #[inline]
    pub(crate) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Net(link) => link.read(space),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.read(space),
            Self::Unix(socket) => socket::read(socket, space),
            Self::Stdio(child) => child.read(space),
        }
    }

    /// Takes bytes; what it takes counts as "may have left", although a part may wait in here for [`Self::flush`].
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Net(link) => link.write(bytes),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.write(bytes),
            Self::Unix(socket) => socket::write(socket, bytes),
            Self::Stdio(child) => child.write(bytes),
        }
    }

    /// After a read that did not fill its space: is there more all the same, of which the poll will not tell? Where bytes are
    /// only passed on, a short read has emptied the kernel, and there is not.
    #[inline]
    pub(crate) fn may_have_more(&self) -> bool {
        match self {
            Self::Net(link) => link.may_have_more(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.may_have_more(),
            Self::Unix(_) | Self::Stdio(_) => false,
        }
    }

    /// The server's own words about the end of its stream, where it has a way to say them.
    pub(crate) fn why_ended(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.why_ended(),
            Self::Net(_) | Self::Unix(_) | Self::Stdio(_) => None,
        }
    }

    /// Writes what [`Self::write`] accepted and the kernel has not taken yet. `WouldBlock`: not all of it.
    #[inline]
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Net(link) => link.flush(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.flush(),
            Self::Unix(_) | Self::Stdio(_) => Ok(()),
        }
    }

    /// Is there something for [`Self::flush`] to write?
    pub(crate) fn has_unsent(&self) -> bool {
        match self {
            Self::Net(link) => link.has_unsent(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.has_unsent(),
            Self::Unix(_) | Self::Stdio(_) => false,
        }
    }

    /// The child, where there is one.
    pub(crate) fn child(&mut self) -> Option<&mut stdio::Child> {
        match self {
            Self::Stdio(child) => Some(child),
            Self::Net(_) | Self::Unix(_) => None,
            #[cfg(feature = "websocket")]
            Self::WebSocket(_) => None,
        }
    }
}
