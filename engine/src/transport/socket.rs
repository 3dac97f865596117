//! TCP and Unix sockets: made with socket2, driven by mio.

use std::{io, net::SocketAddr, os::fd::AsFd, path::Path, time::Duration};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

/// Dead peers are noticed after about a minute and a half of silence, whatever the calls' time-outs.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// A socket that is connecting. Nagle's algorithm is off: the shard gathers writes itself, and a delayed last frame would
/// cost a round trip.
pub(super) fn tcp(address: SocketAddr) -> io::Result<mio::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    connect(&socket, &address.into())?;
    Ok(mio::net::TcpStream::from_std(socket.into()))
}

/// Is the connection established? `Ok(false)`: not yet.
pub(super) fn is_connected(socket: &mio::net::TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// A connected Unix socket. Connecting never waits for the peer's `accept`, only for room in its backlog, and then says
/// so at once.
pub(super) fn unix(path: &Path) -> io::Result<mio::net::UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    connect(&socket, &SockAddr::unix(path)?)?;
    Ok(mio::net::UnixStream::from_std(socket.into()))
}

/// Reads what is there. In the C library this is a point at which a thread can be cancelled, which is two atomic steps for each call where there is more than
/// one thread; the system itself knows nothing of that. So with [`write`] and with the pipes of a child.
#[inline]
pub(super) fn read(socket: impl AsFd, space: &mut [u8]) -> io::Result<usize> {
    Ok(recv(socket, space, RecvFlags::empty())?.0)
}

/// Writes what the system takes now. A peer that has gone is an error, never a signal.
#[inline]
pub(super) fn write(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(socket, bytes, SendFlags::NOSIGNAL)?)
}

fn connect(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    match socket.connect(address) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Ok(()),
        other => other,
    }
}
