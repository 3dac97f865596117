//! What all connections of one server share: options, dice, counters, timers.
//!
//! Owned by the event loop and lent to one session at a time as part of a [`Turn`]. The clock is
//! read once for each turn of the loop; sessions see `now` as a value.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::args::{Options, Protocol};
use super::behaviour::Behaviour;
use super::fixtures::Tasks;
use super::owed::{Answer, Progress, Running};
use super::reply;
use super::revision::Revision;
use super::slots::SlotKey;
use super::timer::{Ticket, Timers};
use super::web_args::Web;

/// The state that outlives any connection.
pub(super) struct World {
    pub(super) protocol: Protocol,
    pub(super) web: Web,
    pub(super) behaviour: Behaviour,
    /// `behaviour.leaves_calls_alone()`, computed once.
    pub(super) calls_are_plain: bool,
    pub(super) rng: fastrand::Rng,
    /// Calls of `echo` and `count` executed in this process.
    pub(super) executed: u64,
    /// Answers to calls sent by this process; `--die-after` counts them.
    pub(super) answered: u64,
    /// The answer that was to be the last has been cut in half: write it and exit.
    pub(super) dying: bool,
    /// Requests sent to clients in this process; the last one bears this number.
    pub(super) asked: u64,
    /// Notifications to everybody, by method and parameters; the event loop passes them on.
    pub(super) broadcasts: Vec<(String, Value)>,
    /// Connections that have something new to write; the event loop gives each a turn.
    pub(super) woken: Vec<ConnectionKey>,
    pub(super) timers: Timers<Job>,
    pub(super) now: Instant,
    /// What clients left to be done; only fixtures do such things.
    pub(super) tasks: Tasks,
    /// When the process began, by both clocks: the monotonic one and the calendar.
    born: (Instant, Duration),
    echo_tail_legacy: Vec<u8>,
    echo_tail_modern: Vec<u8>,
}

/// One session's leave to act: the shared world, its own output, its own name.
pub(super) struct Turn<'a> {
    pub(super) world: &'a mut World,
    pub(super) out: &'a mut Vec<u8>,
    /// When `out` is this long the session takes no further line.
    pub(super) out_bytes_full: usize,
    /// Whose conversation this is; timers come back to it.
    pub(super) owner: Owner,
}

/// Whom a due job belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Server,
    Connection(ConnectionKey),
    Exchange(SlotKey),
}

/// Names one connection; a later connection in the same slot has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionKey {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Something that is due later.
pub(super) struct Job {
    pub(super) owner: Owner,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// An answer that was held back.
    Answer(Answer),
    /// The next step of a tool that reports its progress.
    Progress(Box<Progress>),
    /// The next step of a fixture.
    Script(Box<Running>),
    /// A connection that reads slowly may read one more byte.
    ReadOne,
    /// The time of a connection to finish after its end of input is over.
    Close,
    /// The listeners try again after the machine was out of file descriptors.
    Accept,
    /// A stream that was silent for a while gets a comment.
    Comment,
}

impl World {
    pub(super) fn new(options: &Options, now: Instant) -> Self {
        let behaviour = options.behaviour.clone();
        Self {
            protocol: options.protocol.clone(),
            web: options.web.clone(),
            calls_are_plain: behaviour.leaves_calls_alone(),
            rng: fastrand::Rng::with_seed(behaviour.seed),
            executed: 0,
            answered: 0,
            dying: false,
            asked: 0,
            broadcasts: Vec::new(),
            woken: Vec::new(),
            timers: Timers::new(),
            now,
            tasks: Tasks::default(),
            born: (now, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            echo_tail_legacy: reply::echo_tail(Revision::R2024_11_05, behaviour.reply_bytes),
            echo_tail_modern: reply::echo_tail(Revision::R2026_07_28, behaviour.reply_bytes),
            behaviour,
        }
    }

    /// What follows the text in an answer of `echo`, up to the end of its result.
    pub(super) fn echo_tail(&self, revision: Revision) -> &[u8] {
        if revision.is_modern() { &self.echo_tail_modern } else { &self.echo_tail_legacy }
    }

    /// The time of this turn since 1970; it never goes back.
    pub(super) fn unix_time(&self) -> Duration {
        let (instant, unix) = self.born;
        unix + self.now.saturating_duration_since(instant)
    }

    pub(super) fn arm(&mut self, wait: Duration, owner: Owner, work: Work) -> Ticket {
        self.timers.arm(self.now + wait, Job { owner, work })
    }
}
