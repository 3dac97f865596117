//! The fast target as one thread for all connections: edge-triggered epoll, ten thousand of them.
//!
//! This is how HTTP is served, and lines where the connections are many ([`crate::target`] gives few a thread each).
//! An exchange over HTTP is a read and a write on either side and little else; what a target can spare
//! is everything around them. Here a connection that is ready is read once (a short read has emptied
//! the socket), its requests are answered into one buffer shared by all ([`Replier`]), and the buffer
//! goes out in one write. Waiting is shared by all connections that became ready together. Nothing is
//! allocated for a request; a connection has memory of its own only while it holds part of a request,
//! or replies its peer does not read. It is not read from while it holds such replies.
//!
//! Owner: the calling thread. A connection holds at most one unfinished request ([`crate::http`] has the
//! bounds) and the replies of one read. Proof: `every_connection_is_answered`, `many_lines_are_answered`, below, and
//! every run of `perf`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};

use crate::http::{Replier, Turn};
use crate::splice::Splicer;
use crate::target::announce;

/// Listens on a TCP address, says where, and serves HTTP until killed.
pub fn serve(addr: SocketAddr, slice_bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(addr)?;
    announce(&format!("http://{}/mcp", listener.local_addr()?))?;
    Server::new(listener.into(), Wire::Http(Replier::new()), slice_bytes)?.run()
}

/// Listens on a TCP address, says where, and serves lines until killed.
pub fn serve_tcp(addr: SocketAddr, slice_bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(addr)?;
    announce(&format!("tcp://{}", listener.local_addr()?))?;
    Server::new(listener.into(), Wire::Lines { tcp: true }, slice_bytes)?.run()
}

/// Listens on a Unix socket, says where, and serves lines until killed.
pub fn serve_unix(path: &Path, slice_bytes: usize) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    announce(&format!("unix:{}", path.display()))?;
    Server::new(listener.into(), Wire::Lines { tcp: false }, slice_bytes)?.run()
}

/// What is spoken on all connections.
#[derive(Debug)]
enum Wire {
    /// HTTP, where nothing is remembered of a connection.
    Http(Replier),
    /// Lines, each connection with an era of its own.
    Lines { tcp: bool },
}

/// The loop and all it owns.
struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// By token.
    connections: Vec<Option<Connection>>,
    free: Vec<u64>,
    wire: Wire,
    /// What the connection whose turn it is has sent, and what it gets; empty between turns.
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

struct Connection {
    stream: OwnedFd,
    /// Of a connection that carries lines.
    splicer: Option<Box<Splicer>>,
    /// The head of an unfinished request.
    held: Vec<u8>,
    /// Replies the socket did not take, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// Ends when its replies are gone.
    ends: bool,
}

/// What has become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Goes,
    Over,
}

impl Server {
    fn new(listener: OwnedFd, wire: Wire, slice_bytes: usize) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        // Ten thousand clients may knock at once.
        rustix::net::listen(&listener, BACKLOG)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            wire,
            inbox: Vec::with_capacity(slice_bytes),
            outbox: Vec::with_capacity(slice_bytes),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let (token, flags) = (event.data.u64(), event.flags);
                if token == LISTENER {
                    self.accept();
                } else {
                    self.turn(token, flags);
                }
            }
        }
    }

    /// Takes in everyone who waits. Who cannot be taken in now waits on: the listener stays ready.
    fn accept(&mut self) {
        while let Ok(stream) = accept_with(&self.listener, SocketFlags::CLOEXEC) {
            let token = self.free.pop().unwrap_or(self.connections.len() as u64);
            let ready = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            let (splicer, tcp) = match &self.wire {
                Wire::Http(_) => (None, true),
                Wire::Lines { tcp } => (Some(Box::default()), *tcp),
            };
            let prompt = if tcp { sockopt::set_tcp_nodelay(&stream, true) } else { Ok(()) };
            let added =
                prompt.and_then(|()| epoll::add(&self.epoll, &stream, EventData::new_u64(token), ready));
            let (held, unsent) = (Vec::new(), Vec::new());
            let connection = Connection { stream, splicer, held, unsent, sent: 0, ends: false };
            // One that is gone already is dropped here, its token free again.
            let entry = added.is_ok().then_some(connection);
            if entry.is_none() {
                self.free.push(token);
            }
            match self.connections.get_mut(token as usize) {
                Some(place) => *place = entry,
                None => self.connections.push(entry),
            }
        }
    }

    /// One connection's turn. A token whose connection has just gone may still have an event; it may
    /// even be another's by now, who then finds nothing to read.
    fn turn(&mut self, token: u64, flags: EventFlags) {
        let Some(Some(connection)) = self.connections.get_mut(token as usize) else { return };
        let hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let life = connection.turn(hung_up, &mut self.wire, &mut self.inbox, &mut self.outbox);
        if life != Ok(Life::Goes) {
            // Who fails is gone, like who has ended; there is nobody to tell.
            self.connections[token as usize] = None;
            self.free.push(token);
        }
    }
}

impl Connection {
    fn turn(
        &mut self,
        hung_up: bool,
        wire: &mut Wire,
        inbox: &mut Vec<u8>,
        outbox: &mut Vec<u8>,
    ) -> Result<Life, Errno> {
        if !self.unsent.is_empty() {
            self.sent += write(&self.stream, &self.unsent[self.sent..])?;
            if self.sent < self.unsent.len() {
                return Ok(Life::Goes);
            }
            // Rare enough to give the memory back.
            (self.unsent, self.sent) = (Vec::new(), 0);
            if self.ends {
                return Ok(Life::Over);
            }
        }
        loop {
            // A request that comes in pieces is gathered where it is; all others in the shared buffer.
            let alone = !self.held.is_empty();
            let bytes = if alone { &mut self.held } else { &mut *inbox };
            let room = bytes.capacity() - bytes.len();
            let got = match recv(self.stream.as_fd(), spare_capacity(bytes), RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Ok(Life::Over),
                Ok((_, got)) => got,
                Err(Errno::AGAIN) => return Ok(Life::Goes),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let turn = match (&mut self.splicer, &mut *wire) {
                (Some(splicer), _) => Turn {
                    used: splicer.answer(bytes, 0, outbox),
                    wanted: 0,
                    open: bytes.len() <= LINE_BYTES_MAX,
                },
                (None, Wire::Http(replier)) => replier.answer(bytes, outbox),
                (None, Wire::Lines { .. }) => return Ok(Life::Over),
            };
            if alone {
                self.held.drain(..turn.used);
            } else {
                self.held.extend_from_slice(&inbox[turn.used..]);
                inbox.clear();
            }
            match self.held.len() {
                0 if alone => self.held = Vec::new(),
                0 => {}
                held => self.held.reserve(turn.wanted.saturating_sub(held).max(PIECE_BYTES)),
            }
            let wrote = write(&self.stream, outbox)?;
            let all = wrote == outbox.len();
            if !all {
                self.unsent.extend_from_slice(&outbox[wrote..]);
                self.ends = !turn.open;
            }
            outbox.clear();
            if !all {
                // Going on when there is room to write; what can be read waits for that.
                return Ok(Life::Goes);
            }
            if !turn.open {
                return Ok(Life::Over);
            }
            // What comes after a short read is another edge, but not the end if it is behind these bytes.
            if got < room && !hung_up {
                return Ok(Life::Goes);
            }
        }
    }
}

/// Writes what fits.
fn write(stream: &OwnedFd, mut bytes: &[u8]) -> Result<usize, Errno> {
    let all = bytes.len();
    while !bytes.is_empty() {
        match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(wrote) => bytes = &bytes[wrote..],
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all - bytes.len())
}

/// The listener's token; connections count from 0.
const LISTENER: u64 = u64::MAX;

/// As many as ten thousand connections make ready at once are taken in a few waits.
const EVENTS_MAX: usize = 1024;

const BACKLOG: i32 = 4096;

/// A line may have this many bytes; a longer one ends its connection.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Room for the rest of a request whose length is not known yet.
const PIECE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    use std::thread;

    use super::*;

    fn post(message: &str) -> Vec<u8> {
        let body = format!(
            r#"{{"id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{message}"}}}}}}"#
        );
        format!("POST /mcp HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn reply(stream: &mut TcpStream) -> String {
        let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let got = stream.read(&mut part).unwrap();
            assert_ne!(got, 0, "hung up after {bytes:?}");
            bytes.extend_from_slice(&part[..got]);
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let (_, length) = head.rsplit_once("Content-Length: ").unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return body.to_owned();
            }
        }
    }

    /// The server's thread ends with the test's process: it serves until killed.
    fn start() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let wire = Wire::Http(Replier::new());
        thread::spawn(move || Server::new(listener.into(), wire, 512).unwrap().run());
        addr
    }

    /// Lines over many connections: each in the era it opened with, a line longer than the slice among them.
    #[test]
    fn many_lines_are_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || Server::new(listener.into(), Wire::Lines { tcp: true }, 512).unwrap().run());
        let mut streams: Vec<_> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for (n, stream) in streams.iter_mut().enumerate() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            if n % 2 == 0 {
                stream.write_all(crate::call::INITIALIZE).unwrap();
                assert!(lines.next().unwrap().unwrap().contains("2025-11-25"));
            }
            for length in [1, 2_000] {
                let message = "m".repeat(length);
                let call = crate::call::call(crate::call::Era::Legacy, n);
                writeln!(stream, "{}", call.replace(crate::call::MESSAGE, &message)).unwrap();
                let line = lines.next().unwrap().unwrap();
                assert!(line.contains(&format!("\"id\":{n},")) && line.contains(&message), "{line}");
                assert_eq!(line.contains("resultType"), n % 2 == 1);
            }
        }
    }

    /// Requests in one piece, in two, and longer than the slice, over connections that take turns; some
    /// end and others take their places.
    #[test]
    fn every_connection_is_answered() {
        let addr = start();
        let connect = || {
            let stream = TcpStream::connect(addr).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        let mut streams: Vec<_> = (0..20).map(|_| connect()).collect();
        for round in 0..3 {
            for (n, stream) in streams.iter_mut().enumerate() {
                let message = format!("{round}.{n}.").repeat(1 + 500 * (n % 3));
                let request = post(&message);
                let cut = if n % 2 == 0 { request.len() } else { 7 * n };
                stream.write_all(&request[..cut]).unwrap();
                stream.write_all(&request[cut..]).unwrap();
                assert!(reply(stream).contains(&message));
            }
            for stream in streams.iter_mut().step_by(4) {
                *stream = connect();
            }
        }
    }

    /// Several megabytes of replies nobody reads, until the client does.
    #[test]
    fn replies_wait_for_their_reader() {
        let addr = start();
        let mut stream = TcpStream::connect(addr).unwrap();
        let request = post(&"m".repeat(100_000));
        let mut writer = stream.try_clone().unwrap();
        let sender = thread::spawn(move || {
            for _ in 0..200 {
                writer.write_all(&request).unwrap();
            }
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).unwrap();
        sender.join().unwrap();
        assert_eq!(memchr::memmem::find_iter(&replies, b"HTTP/1.1 200 OK").count(), 200);
    }

    #[test]
    fn who_sends_and_hangs_up_still_gets_an_answer() {
        let addr = start();
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(&post("last")).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        assert!(replies.contains("last"), "{replies}");
    }
}
