//! The floor: what the kernel and the target leave to any client.
//!
//! It writes bytes that were made once, counts replies, and parses nothing; the others are divided by the best of its
//! modes. One module is one stream with a window, one many connections with one message in flight on each, which is
//! also how HTTP works, and one small calls among long replies.

mod many;
mod mixed;
mod one;

pub use mixed::Mixed;
pub use one::{Floor as Stream, Mode};

use crate::contestant::{Contestant, Cores, Course, Failure, Kind};
use crate::link::Transport;
use crate::meter::Run;

/// One stream, in one mode.
#[derive(Debug)]
pub struct OneStream {
    /// How it reads and writes.
    pub mode: Mode,
}

impl Contestant for OneStream {
    fn name(&self) -> &'static str {
        self.mode.name()
    }

    fn kind(&self) -> Kind {
        if self.mode == Mode::Epoll { Kind::Yardstick } else { Kind::Floor }
    }

    fn runs(&self, course: &Course) -> bool {
        let lines = course.transport != Transport::Http && course.connections == 1;
        // Slices and spinning are ways to use a second core.
        let modes = match self.mode {
            Mode::Coalesced | Mode::WriteEach => true,
            Mode::Sliced | Mode::Spin => course.cores == Cores::Free,
            Mode::Epoll => course.cores == Cores::One,
        };
        lines && modes && course.in_flight.is_multiple_of(course.array) && !course.latency
    }

    fn run(&self, course: &Course) -> Result<Run, Failure> {
        Ok(one::measure(course, self.mode)?)
    }
}

/// Many connections, or HTTP.
#[derive(Debug)]
pub struct ManyConnections {
    /// Asks again instead of sleeping.
    pub spin: bool,
}

impl Contestant for ManyConnections {
    fn name(&self) -> &'static str {
        if self.spin { "floor epoll, spin" } else { "floor epoll" }
    }

    fn kind(&self) -> Kind {
        Kind::Floor
    }

    fn runs(&self, course: &Course) -> bool {
        let many = match course.transport {
            Transport::Http => true,
            Transport::Stdio => false,
            Transport::Unix | Transport::Tcp => course.connections > 1 || course.latency,
        };
        many && course.in_flight == course.array && (course.cores == Cores::Free || !self.spin)
    }

    fn run(&self, course: &Course) -> Result<Run, Failure> {
        Ok(many::measure(course, self.spin)?)
    }
}
