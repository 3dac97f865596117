//! Where connections come from: TCP and Unix sockets, and the streams they yield.
//!
//! A listener announces itself with one line on stdout, so that a parent can read where it
//! ended up: `listening tcp://127.0.0.1:40123`, `listening unix:/tmp/target.sock`, or with
//! `http`, `ws` and, under TLS, `tls`, `https` and `wss` in place of `tcp`. The file of a
//! Unix socket lives as long as its listener.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};

use super::http::Service;
use super::stdio::Stdio;
use super::tls::{TlsKeeper, TlsStream};

/// A listening socket.
pub(super) enum Listener {
    Tcp(TcpListener, Speech, Option<TlsKeeper>),
    Unix(UnixListener, SocketFile),
}

/// What is spoken on the connections of a TCP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Lines,
    Http(Service),
    WebSocket,
}

/// The file of a Unix socket; dropping it removes the file.
pub(super) struct SocketFile(PathBuf);

impl Listener {
    pub(super) fn tcp(address: SocketAddr, speech: Speech, tls: Option<TlsKeeper>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into()).map_err(|error| naming(&address, &error))?;
        socket.listen(BACKLOG)?;
        Ok(Self::Tcp(TcpListener::from_std(socket.into()), speech, tls))
    }

    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&socket2::SockAddr::unix(path)?).map_err(|error| naming(&path.display(), &error))?;
        let file = SocketFile(path.to_owned());
        socket.listen(BACKLOG)?;
        Ok(Self::Unix(UnixListener::from_std(socket.into()), file))
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener, ..) => registry.register(listener, token, Interest::READABLE),
            Self::Unix(listener, _) => registry.register(listener, token, Interest::READABLE),
        }
    }

    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener, speech, tls) => {
                let (stream, _) = listener.accept()?;
                // The client may be gone already, which reading will tell.
                let _ = stream.set_nodelay(true);
                Ok(match tls {
                    Some(tls) => Stream::Tls(Box::new(tls.accept(stream, *speech != Speech::Lines)?)),
                    None => Stream::Tcp(stream),
                })
            }
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }

    pub(super) fn speech(&self) -> Speech {
        match self {
            Self::Tcp(_, speech, _) => *speech,
            Self::Unix(..) => Speech::Lines,
        }
    }

    /// The line that tells a parent where to connect.
    pub(super) fn announcement(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener, speech, tls) => {
                let (scheme, secure_scheme, path) = match speech {
                    Speech::Lines => ("tcp", "tls+tcp", ""),
                    Speech::Http(Service::Endpoint) => ("http", "https", "/mcp"),
                    Speech::Http(Service::Channel) => ("http", "https", "/sse"),
                    Speech::WebSocket => ("ws", "wss", "/mcp"),
                };
                let scheme = if tls.is_some() { secure_scheme } else { scheme };
                Ok(format!("listening {scheme}://{}{path}", listener.local_addr()?))
            }
            Self::Unix(_, SocketFile(path)) => Ok(format!("listening unix:{}", path.display())),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it before us, which was the aim.
        let _ = fs::remove_file(&self.0);
    }
}

/// A byte stream to one client; all calls return at once.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Unix(UnixStream),
    Stdio(Stdio),
}

impl Stream {
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => registry.register(stream, token, both),
            Self::Tls(stream) => registry.register(&mut stream.socket, token, both),
            Self::Unix(stream) => registry.register(stream, token, both),
            Self::Stdio(stdio) => stdio.register(registry, token),
        }
    }

    /// Whether reading needs no readiness event.
    pub(super) fn is_always_readable(&self) -> bool {
        matches!(self, Self::Stdio(stdio) if stdio.is_always_readable())
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
            Self::Stdio(stdio) => stdio.read(bytes),
        }
    }

    /// Passes on what an earlier write left behind, where there is such a thing.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            Self::Tcp(_) | Self::Unix(_) | Self::Stdio(_) => Ok(()),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Stdio(stdio) => stdio.write(bytes),
        }
    }
}

/// Removes the file of a socket that nobody listens on any more; any other file stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(naming(&path.display(), &error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(naming(&path.display(), &io::Error::other("exists and is not a socket")))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(naming(&path.display(), &io::ErrorKind::AddrInUse.into())),
        },
    }
}

fn naming(place: &dyn fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {place}: {error}"))
}

/// Connections that may wait to be accepted; ten thousand clients may start at once.
const BACKLOG: i32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_of_a_dead_socket_is_replaced() {
        let directory = std::env::temp_dir().join(format!("loadgen-listener-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("socket");
        fs::write(&path, "precious").unwrap();
        assert!(Listener::unix(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::unix(&path).unwrap();
        assert!(listener.announcement().unwrap().starts_with("listening unix:/"));
        assert!(Listener::unix(&path).is_err(), "somebody listens");
        drop(listener);
        assert!(!path.exists());
        fs::remove_dir(&directory).unwrap();
    }
}
