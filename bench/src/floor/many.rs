//! The floor over many connections, and over HTTP: one thread, edge-triggered epoll, one message in flight on each.
//!
//! The same bytes go out on all connections for ever: an id is a matter of its connection. A reply is a number of bytes,
//! found in memory beforehand ([`call::reply`]); nothing is parsed. The first reply on each connection is compared with
//! the right one, and nothing is measured before each has had its first. With one
//! connection there is no epoll: a read that blocks, and a write. Cost: two system calls an exchange, one wait for all
//! that are ready together, one clock reading a wait.

use std::io::{self, Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::one;
use crate::call;
use crate::contestant::Course;
use crate::link::{Link, Target, Transport};
use crate::meter::{Idle, Latencies, Run, elapsed_ns};

/// Measures against a fresh target.
///
/// # Errors
///
/// When the target cannot be started, answers with other bytes than expected, or is lost.
pub(super) fn measure(course: &Course, spin: bool) -> io::Result<Run> {
    let target = Target::start(course.transport, course.connections)?;
    let mut floor = Floor::connect(&target, course, spin)?;
    let idle = Idle::now()?;
    floor.send_all()?;
    let (begun, a_while) = (Instant::now(), course.warm_up());
    floor.run_for(a_while)?;
    // Ten thousand connections need a while until each has had its turn.
    while floor.check().is_err() && begun.elapsed() < FIRST_REPLIES_MAX {
        floor.run_for(a_while)?;
    }
    floor.check()?;
    floor.latencies = course.latency.then(Latencies::new);
    let meter = idle.begin(target.pid(), floor.answered)?;
    floor.run_for(course.duration())?;
    let run = meter.end(floor.answered)?;
    let latency = floor.latencies.as_ref().and_then(Latencies::summary);
    Ok(Run { latency, ..run })
}

/// By then everybody has been answered, or somebody never will.
const FIRST_REPLIES_MAX: Duration = Duration::from_secs(20);

struct Floor {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    spin: bool,
    request: Vec<u8>,
    reply: Vec<u8>,
    /// Calls in one message.
    array: u64,
    answered: u64,
    latencies: Option<Latencies>,
    begun: Instant,
}

struct Connection {
    stream: OwnedFd,
    /// How much of the reply under way has come.
    got: usize,
    /// When its message was sent, since the floor has begun.
    sent_ns: u64,
    compared: bool,
}

impl Floor {
    fn connect(target: &Target, course: &Course, spin: bool) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(course.connections);
        for token in 0..course.connections {
            let mut stream = target.connect_socket()?;
            if course.transport != Transport::Http {
                let link = Link::socket(stream)?;
                one::open(&link, course.era)?;
                stream = link.into_socket();
            }
            if course.connections > 1 || spin {
                rustix::io::ioctl_fionbio(&stream, true)?;
                epoll::add(
                    &epoll,
                    &stream,
                    EventData::new_u64(token as u64),
                    EventFlags::IN | EventFlags::ET,
                )?;
            }
            connections.push(Connection { stream, got: 0, sent_ns: 0, compared: false });
        }
        let message = call::message(course.era, 11..11 + course.array);
        let request = call::on_the_wire(course.transport, course.era, &message);
        let reply = call::reply(course.transport, course.era, &request);
        Ok(Self {
            epoll,
            connections,
            spin,
            request,
            reply,
            array: course.array as u64,
            answered: 0,
            latencies: None,
            begun: Instant::now(),
        })
    }

    fn send_all(&mut self) -> io::Result<()> {
        for connection in &mut self.connections {
            connection.sent_ns = elapsed_ns(self.begun);
            connection.send(&self.request)?;
        }
        Ok(())
    }

    fn run_for(&mut self, duration: Duration) -> io::Result<()> {
        let until = Instant::now() + duration;
        // As large as the largest exchange, and a turn's fair share.
        let mut inbox = vec![0; self.reply.len().max(16 * 1024)];
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        let alone = self.connections.len() == 1 && !self.spin;
        // Nobody may keep a run beyond its end, if the target falls silent.
        let wait = Timespec { tv_sec: 0, tv_nsec: if self.spin { 0 } else { 100_000_000 } };
        loop {
            if alone {
                self.turn(0, &mut inbox)?;
            } else {
                match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                for event in events.drain(..) {
                    self.turn(event.data.u64() as usize, &mut inbox)?;
                }
            }
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// Reads what is there, and answers each whole reply with the next message.
    fn turn(&mut self, token: usize, inbox: &mut [u8]) -> io::Result<()> {
        let connection = &mut self.connections[token];
        let got = match recv(&connection.stream, &mut *inbox, RecvFlags::empty()) {
            Ok((_, 0)) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok((got, _)) => got,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !connection.compared {
            let expected = self.reply.get(connection.got..connection.got + got);
            if expected != Some(&inbox[..got]) {
                let text = String::from_utf8_lossy(&inbox[..got]);
                return Err(Error::other(format!("not the right reply: {text:.300}")));
            }
        }
        connection.got += got;
        if connection.got < self.reply.len() {
            return Ok(());
        }
        // One message is in flight, so there is no more than its reply.
        if connection.got > self.reply.len() {
            let (got, expected) = (connection.got, self.reply.len());
            return Err(Error::other(format!("a reply of {got} bytes, {expected} expected")));
        }
        connection.got = 0;
        connection.compared = true;
        self.answered += self.array;
        if let Some(latencies) = &mut self.latencies {
            let now = elapsed_ns(self.begun);
            latencies.note(now - connection.sent_ns);
            connection.sent_ns = now;
        }
        connection.send(&self.request)
    }

    /// Everybody has been answered at least once.
    fn check(&self) -> io::Result<()> {
        match self.connections.iter().filter(|connection| !connection.compared).count() {
            0 => Ok(()),
            some => Err(Error::other(format!("{some} connections got no reply"))),
        }
    }
}

impl Connection {
    /// One message always fits: the reply to the one before has come.
    fn send(&self, request: &[u8]) -> io::Result<()> {
        match send(&self.stream, request, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == request.len() => Ok(()),
            Ok(sent) => Err(Error::other(format!("the kernel took {sent} of {} bytes", request.len()))),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn floor(theirs_says: &[u8]) -> io::Result<u64> {
        let (ours, theirs) = UnixStream::pair()?;
        rustix::io::write(&theirs, theirs_says)?;
        let connection = Connection { stream: ours.into(), got: 0, sent_ns: 0, compared: false };
        let mut floor = Floor {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: vec![connection],
            spin: false,
            request: b"ask\n".to_vec(),
            reply: b"right\n".to_vec(),
            array: 1,
            answered: 0,
            latencies: Some(Latencies::new()),
            begun: Instant::now(),
        };
        floor.turn(0, &mut [0; 64])?;
        floor.check()?;
        Ok(floor.answered)
    }

    #[test]
    fn a_wrong_reply_fails_the_run() {
        assert_eq!(floor(b"right\n").unwrap(), 1);
        for wrong in [b"wrong\n".as_slice(), b"right\nright\n", b"righ", b"righx"] {
            assert!(floor(wrong).is_err(), "{wrong:?}");
        }
    }
}
