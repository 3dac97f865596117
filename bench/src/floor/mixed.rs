//! The floor where one reply is long: one thread, edge-triggered epoll, small calls and a long one on the same streams.
//!
//! It goes round the connections that have something to read, asks each for as much as the engine does of one alone, and counts line
//! feeds; what it has read it forgets, so a long reply costs it no memory. The target answers a stream in order, so whose
//! reply a line feed ends is known without an id. Cost: a system call for a read, and a look at the poll after each round.

use std::collections::VecDeque;
use std::io::{self, Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use memchr::memchr_iter;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::one;
use crate::call;
use crate::contestant::Course;
use crate::link::{Link, Target};
use crate::meter::elapsed_ns;

/// Bytes asked of one read, as many as the engine asks for where it need not share.
const READ_BYTES: usize = 32 * 1024;

/// Connections to a target of its own.
pub struct Mixed {
    target: Target,
    epoll: OwnedFd,
    events: Vec<Event>,
    connections: Vec<Connection>,
    /// Those that may have more to read.
    readable: VecDeque<usize>,
    small: Vec<u8>,
    long: Vec<u8>,
    /// A small reply, with its line feed.
    reply_bytes: usize,
    inbox: Vec<u8>,
    begun: Instant,
}

struct Connection {
    stream: OwnedFd,
    /// Those whose replies are to come, in order.
    waiting: VecDeque<Call>,
    is_readable: bool,
    /// Of the reply under way.
    got: usize,
}

struct Call {
    tag: u64,
    is_long: bool,
}

impl Mixed {
    /// Opens the connections of a course to a fresh target; the long reply has a text of so many bytes.
    ///
    /// # Errors
    ///
    /// When the target cannot be started, or refuses.
    pub fn connect(course: &Course, text_bytes: usize) -> io::Result<Self> {
        let target = Target::start(course.transport, course.connections)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for token in 0..course.connections {
            let link = Link::socket(target.connect_socket()?)?;
            one::open(&link, course.era)?;
            let stream = link.into_socket();
            rustix::io::ioctl_fionbio(&stream, true)?;
            let readable = EventFlags::IN | EventFlags::ET;
            epoll::add(&epoll, &stream, EventData::new_u64(token as u64), readable)?;
            connections.push(Connection { stream, waiting: VecDeque::new(), is_readable: false, got: 0 });
        }
        let small = call::on_the_wire(course.transport, course.era, &call::call(course.era, 11));
        let reply_bytes = call::reply(course.transport, course.era, &small).len();
        let long = call::on_the_wire(course.transport, course.era, &call::blob(course.era, 12, text_bytes));
        Ok(Self {
            target,
            epoll,
            events: Vec::with_capacity(64),
            connections,
            readable: VecDeque::new(),
            small,
            long,
            reply_bytes,
            inbox: vec![0; READ_BYTES],
            begun: Instant::now(),
        })
    }

    /// Nanoseconds since it began.
    pub fn now_ns(&self) -> u64 {
        elapsed_ns(self.begun)
    }

    /// Sends a call where the fewest are waiting.
    ///
    /// # Errors
    ///
    /// When the kernel does not take it whole, or the target is gone.
    pub fn submit(&mut self, tag: u64, is_long: bool) -> io::Result<()> {
        let fewest = self.connections.iter_mut().min_by_key(|one| one.waiting.len());
        let connection = fewest.ok_or(ErrorKind::NotConnected)?;
        let bytes = if is_long { &self.long } else { &self.small };
        let sent = send(&connection.stream, bytes, SendFlags::NOSIGNAL)?;
        if sent < bytes.len() {
            return Err(Error::other(format!("the kernel took {sent} of {} bytes", bytes.len())));
        }
        connection.waiting.push_back(Call { tag, is_long });
        Ok(())
    }

    /// Reads once from each connection that has something, and says whose replies are whole: tag, bytes, and the time.
    ///
    /// # Errors
    ///
    /// When the target is gone, or a small reply is not as long as the right one.
    pub fn turn(&mut self, mut answered: impl FnMut(u64, usize, u64)) -> io::Result<()> {
        let wait = if self.readable.is_empty() { Duration::from_secs(1) } else { Duration::ZERO };
        let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in self.events.drain(..) {
            let token = event.data.u64() as usize;
            if !std::mem::replace(&mut self.connections[token].is_readable, true) {
                self.readable.push_back(token);
            }
        }
        for _ in 0..self.readable.len() {
            let Some(token) = self.readable.pop_front() else { break };
            let connection = &mut self.connections[token];
            let got = match recv(&connection.stream, &mut self.inbox[..], RecvFlags::empty()) {
                Ok((_, 0)) => {
                    return Err(Error::new(
                        ErrorKind::UnexpectedEof,
                        format!("the target, process {}, closed", self.target.pid()),
                    ));
                }
                Ok((_, got)) => got,
                Err(Errno::AGAIN) => {
                    connection.is_readable = false;
                    continue;
                }
                Err(Errno::INTR) => 0,
                Err(error) => return Err(error.into()),
            };
            self.readable.push_back(token);
            let now = elapsed_ns(self.begun);
            let mut begin = 0;
            for end in memchr_iter(b'\n', &self.inbox[..got]) {
                let bytes = std::mem::take(&mut connection.got) + end + 1 - begin;
                begin = end + 1;
                let call = connection.waiting.pop_front();
                let call = call.ok_or_else(|| Error::other("a reply that nobody waits for"))?;
                if !call.is_long && bytes != self.reply_bytes {
                    let right = self.reply_bytes;
                    return Err(Error::other(format!("a reply of {bytes} bytes, {right} expected")));
                }
                answered(call.tag, bytes, now);
            }
            connection.got += got - begin;
        }
        Ok(())
    }
}
