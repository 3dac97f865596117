//! A TCP stream, plain or under TLS: what WebSocket and the line protocol share.

use std::{io, net::SocketAddr};

use mio::net::TcpStream;

use super::socket;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::config::dial::Net;

/// Bytes to and from an address.
#[derive(Debug)]
pub(crate) enum Link {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<Tls>),
}

impl Link {
    /// Begins to connect.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "a setting of a feature"))]
    pub(super) fn open(address: SocketAddr, net: &Net) -> io::Result<Self> {
        let socket = socket::tcp(address)?;
        #[cfg(feature = "tls")]
        if let Some(dial) = &net.tls {
            return Ok(Self::Tls(Box::new(Tls::new(socket, dial)?)));
        }
        Ok(Self::Plain(socket))
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.socket(),
        }
    }

    /// Goes on with connecting. `Ok(false)`: not there yet.
    pub(super) fn is_connected(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(socket) => socket::is_connected(socket),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.is_connected(),
        }
    }

    /// Is somebody there, handshakes aside?
    pub(super) fn has_reached(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.peer_addr().is_ok(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.has_reached(),
        }
    }

    /// Did the server choose HTTP/2?
    pub(super) fn is_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.is_h2(),
        }
    }

    #[inline]
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket::read(socket, space),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.read(space),
        }
    }

    /// After a short read: is there more that the poll will not tell of?
    #[inline]
    pub(super) fn may_have_more(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.may_have_more(),
        }
    }

    /// Is there something for [`Self::flush`] to write?
    pub(super) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.has_unsent(),
        }
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket::write(socket, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    /// Writes what was accepted and has not gone yet. `WouldBlock`: not all of it.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.flush(),
        }
    }
}
