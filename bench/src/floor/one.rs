//! The floor over one stream: one thread, a window of messages that were serialised once.
//!
//! Each reply counts as its newline, nothing is parsed; at the end the bytes must be those of as many right replies. The
//! target answers in order, so the frames go round in a ring: a frame is sent again only after its answer, and no id is
//! twice in flight. All ids have the same number of digits, the fewest that the window allows, so a frame is a number of
//! bytes, and so is a reply.
//!
//! Three modes, because none is best everywhere ([`Mode`]); the floor of a row is the best of them. On one core one more goes beside the first: it sleeps
//! where a client has to that waits for more than these bytes, and what that takes is the difference.
//! Writing never blocks: a window larger than the pipes would lock up against a target that
//! waits for its answers to be read. Cost: two system calls a turn, one clock reading.

use std::io::{self, Error};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use memchr::memchr_iter;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::call::{self, Era, META};
use crate::contestant::Course;
use crate::link::{Link, Target, Transport};
use crate::meter::{Idle, Run};

/// How the floor reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Blocking reads of up to 1 MiB; everything free goes out in one write. Fewest system calls.
    Coalesced,
    /// Blocking reads of at most 16 KiB, so that both sides work at the same time.
    Sliced,
    /// As sliced, but asking again instead of sleeping. Worth nothing on one core.
    Spin,
    /// As coalesced, but asleep in epoll, and reading without waiting. On one core; no floor.
    Epoll,
    /// As coalesced, but with a write for each message: what the others save. No floor.
    WriteEach,
}

impl Mode {
    /// Those of which the best is the floor.
    pub const FLOORS: [Self; 3] = [Self::Coalesced, Self::Sliced, Self::Spin];

    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coalesced => "floor coalesced",
            Self::Sliced => "floor sliced",
            Self::Spin => "floor spin",
            Self::Epoll => "floor asleep in epoll",
            Self::WriteEach => "floor, a write for each call",
        }
    }

    fn read_bytes_max(self) -> usize {
        match self {
            Self::Coalesced | Self::Epoll | Self::WriteEach => 1024 * 1024,
            Self::Sliced | Self::Spin => 16 * 1024,
        }
    }
}

/// Measures one mode against a fresh target.
///
/// # Errors
///
/// When the target cannot be started, refuses, answers with other bytes than expected, or is lost.
pub(super) fn measure(course: &Course, mode: Mode) -> io::Result<Run> {
    let mut target = Target::start(course.transport, 1)?;
    let link = target.connect()?;
    open(&link, course.era)?;
    let mut floor = Floor::new(link, mode, course)?;
    let idle = Idle::now()?;
    floor.run_for(course.warm_up())?;
    let meter = idle.begin(target.pid(), floor.answered)?;
    floor.run_for(course.duration())?;
    meter.end(floor.answered)
}

/// Does what the era asks for before the first call.
pub(super) fn open(link: &Link, era: Era) -> io::Result<()> {
    let discover =
        format!(r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{{{META}}}}}"#) + "\n";
    let (ask, tell, sign) = match era {
        Era::Modern => (discover.as_bytes(), "", "supportedVersions"),
        Era::Legacy => (
            call::INITIALIZE,
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n",
            "protocolVersion",
        ),
    };
    write_all(link, ask)?;
    let (mut reply, mut part) = (Vec::new(), vec![0; 4096]);
    while reply.last() != Some(&b'\n') {
        let got = link.read(&mut part)?.ok_or(io::ErrorKind::WouldBlock)?;
        reply.extend_from_slice(&part[..got]);
    }
    let reply = String::from_utf8_lossy(&reply);
    if !reply.contains(sign) {
        return Err(Error::other(format!("the target refused: {reply}")));
    }
    write_all(link, tell.as_bytes())
}

/// Only for the opening, where nothing waits to be read.
fn write_all(link: &Link, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[link.write(bytes)?..];
    }
    Ok(())
}

/// A connection with its window, which can be run for a while, left alone, and run again.
#[derive(Debug)]
pub struct Floor {
    link: Link,
    mode: Mode,
    ring: Ring,
    inbox: Vec<u8>,
    /// Of [`Mode::Epoll`].
    epoll: Option<OwnedFd>,
    /// The last read has left something, of which epoll does not tell again.
    has_more: bool,
    /// Where in the ring the next byte to send stands, and how many may go.
    /// sent + due == (messages answered + messages in the window) * frame_bytes.
    at: usize,
    due: usize,
    /// Newlines and bytes that came.
    replies: u64,
    bytes: u64,
    /// Calls answered.
    pub answered: u64,
}

impl Floor {
    fn new(link: Link, mode: Mode, course: &Course) -> io::Result<Self> {
        link.set_polled(matches!(mode, Mode::Spin | Mode::Epoll))?;
        let epoll = if mode == Mode::Epoll { Some(link.edges()?) } else { None };
        let ring = Ring::new(course.transport, course.era, course.in_flight, course.array);
        let (inbox, due) = (vec![0; mode.read_bytes_max()], ring.bytes);
        Ok(Self {
            link,
            mode,
            ring,
            inbox,
            epoll,
            has_more: false,
            at: 0,
            due,
            replies: 0,
            bytes: 0,
            answered: 0,
        })
    }

    /// Opens a connection to a running target.
    ///
    /// # Errors
    ///
    /// When the target refuses, or is lost.
    pub fn open(target: &mut Target, mode: Mode, course: &Course) -> io::Result<Self> {
        let link = target.connect()?;
        open(&link, course.era)?;
        Self::new(link, mode, course)
    }

    /// Keeps the window full for so long. What is in flight then stays so.
    ///
    /// # Errors
    ///
    /// When the target is lost, or its replies have other lengths than the right ones.
    pub fn run_for(&mut self, duration: Duration) -> io::Result<()> {
        let until = Instant::now() + duration;
        loop {
            self.write()?;
            // What did not fit goes out when there is room; until then answers are taken as they come.
            if self.due > 0 && self.mode != Mode::Spin && !self.link.wait()? {
                continue;
            }
            if let Some(epoll) = self.epoll.as_ref().filter(|_| !self.has_more) {
                let mut event = [MaybeUninit::uninit()];
                match epoll::wait(epoll, &mut event, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let Some(got) = self.link.read(&mut self.inbox)? else {
                self.has_more = false;
                std::hint::spin_loop();
                continue;
            };
            self.has_more = got == self.inbox.len();
            let replies = memchr_iter(b'\n', &self.inbox[..got]).count();
            self.bytes += got as u64;
            self.replies += replies as u64;
            self.answered += (replies * self.ring.array) as u64;
            self.due += replies * self.ring.frame_bytes;
            if Instant::now() >= until {
                return self.check();
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while self.due > 0 {
            let length = match self.mode {
                Mode::WriteEach => self.due.min(self.ring.frame_bytes - self.at % self.ring.frame_bytes),
                _ => self.due,
            };
            let wrote = self.link.write(&self.ring.frames[self.at..self.at + length])?;
            self.at = (self.at + wrote) % self.ring.bytes;
            self.due -= wrote;
            if wrote < length || self.mode != Mode::WriteEach {
                break;
            }
        }
        Ok(())
    }

    /// All replies were as long as the right ones, but for the one that is not all there.
    fn check(&self) -> io::Result<()> {
        let (whole, length) = (self.replies * self.ring.reply_bytes, self.ring.reply_bytes);
        if (whole..whole + length).contains(&self.bytes) {
            return Ok(());
        }
        Err(Error::other(format!(
            "{} replies in {} bytes: right ones have {length} bytes each",
            self.replies, self.bytes
        )))
    }
}

/// A window of messages, one after the other, written twice so that any run of them is one slice.
#[derive(Debug)]
struct Ring {
    frames: Vec<u8>,
    /// Of one window: half of `frames`.
    bytes: usize,
    frame_bytes: usize,
    reply_bytes: u64,
    array: usize,
}

impl Ring {
    fn new(transport: Transport, era: Era, in_flight: usize, array: usize) -> Self {
        let mut first = 1;
        while first * 9 < in_flight {
            first *= 10;
        }
        let message = |number: usize| {
            let id = first + number * array;
            call::on_the_wire(transport, era, &call::message(era, id..id + array))
        };
        let window: Vec<u8> = (0..in_flight / array).flat_map(message).collect();
        let one = message(0);
        let reply_bytes = call::reply(transport, era, &one).len() as u64;
        Self { bytes: window.len(), frames: window.repeat(2), frame_bytes: one.len(), reply_bytes, array }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::MESSAGE;

    #[test]
    fn frames_are_valid_and_of_one_size() {
        for in_flight in [1, 9, 10, 64, 1_024, 32_768] {
            for era in [Era::Modern, Era::Legacy] {
                let ring = Ring::new(Transport::Unix, era, in_flight, 1);
                assert_eq!(ring.bytes, in_flight * ring.frame_bytes);
                for frame in ring.frames.chunks(ring.frame_bytes) {
                    let value: serde_json::Value = serde_json::from_slice(frame).unwrap();
                    assert_eq!(value["params"]["arguments"]["message"], MESSAGE);
                    assert_eq!(frame.last(), Some(&b'\n'));
                }
            }
        }
    }

    #[test]
    fn arrays_are_of_one_size_too() {
        let ring = Ring::new(Transport::Unix, Era::Modern, 1_000, 100);
        assert_eq!(ring.bytes, 10 * ring.frame_bytes);
        for frame in ring.frames.chunks(ring.frame_bytes) {
            let values: Vec<serde_json::Value> = serde_json::from_slice(frame).unwrap();
            assert_eq!(values.len(), 100);
            let reply = call::reply(Transport::Unix, Era::Modern, frame);
            assert_eq!(reply.len() as u64, ring.reply_bytes);
        }
    }
}
