//! The engine as a contestant, in the ways its users drive it: inline, in bulk, as one awaited call for each of many
//! tasks, and as one blocking call for each of many threads.
//!
//! A new way is a [`Drive`] with its name and its arm in [`Engine::run`], and a line in [`crate::registry`].

mod client;
mod inline;
mod place;

use std::time::Duration;

use volley::{Driver, Revision};

pub(crate) use inline::{Answers, Echo, fill_and_turn};
pub(crate) use place::{Place, arguments, config};

use crate::contestant::{Contestant, Cores, Course, Failure, Kind};
use crate::link::Transport;
use crate::meter::Run;
use crate::peer::Runtime;

/// A way to drive the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// On the measuring thread, sleeping when there is nothing to do.
    Inline,
    /// On the measuring thread, polling 50 us before it sleeps.
    InlineSpin,
    /// As inline, with a turn after each call: the engine as it would be if it wrote each call by itself.
    InlineTurnEach,
    /// A job through the shared client.
    Bulk,
    /// As many tasks as calls in flight, each awaiting one call at a time on the shared client.
    Tasks(Runtime),
    /// The same, with the connections driven by the tasks' own runtime.
    DrivenTasks(Runtime),
    /// Ten thousand tasks, each awaiting one call at a time on the shared client, however few may be in flight.
    Callers(Runtime),
    /// On the measuring thread, calls put together to JSON-RPC arrays.
    Arrays,
    /// As many tasks as arrays in flight, each awaiting one batch at a time on the shared client, every answer decoded.
    AwaitedArrays(Runtime),
    /// The same, with the connections driven by the tasks' own runtime.
    DrivenArrays(Runtime),
    /// As many threads as calls in flight, each blocked in one call at a time on the shared client.
    Blocking,
    /// A job for each connection, each on a thread of its own, through a client with so many shards: one or two.
    Jobs {
        /// Threads of the engine.
        shards: usize,
    },
}

/// The engine, driven one way.
#[derive(Debug)]
pub struct Engine {
    /// How.
    pub drive: Drive,
}

impl Contestant for Engine {
    fn name(&self) -> &'static str {
        match self.drive {
            Drive::Inline => "volley inline",
            Drive::InlineSpin => "volley inline, spin 50us",
            Drive::InlineTurnEach => "volley inline, a turn for each call",
            Drive::Bulk => "volley client, bulk",
            Drive::Tasks(Runtime::CurrentThread) => "volley client, tasks, current-thread",
            Drive::Tasks(Runtime::MultiThread) => "volley client, tasks, multi-thread",
            Drive::DrivenTasks(Runtime::CurrentThread) => "volley client, tasks, driven by current-thread",
            Drive::DrivenTasks(Runtime::MultiThread) => "volley client, tasks, driven by multi-thread",
            Drive::Callers(Runtime::CurrentThread) => "volley client, 10,000 callers, current-thread",
            Drive::Callers(Runtime::MultiThread) => "volley client, 10,000 callers, multi-thread",
            Drive::Arrays => "volley arrays, inline",
            Drive::AwaitedArrays(Runtime::CurrentThread) => "volley arrays, awaited, current-thread",
            Drive::AwaitedArrays(Runtime::MultiThread) => "volley arrays, awaited, multi-thread",
            Drive::DrivenArrays(Runtime::CurrentThread) => "volley arrays, awaited, driven by current-thread",
            Drive::DrivenArrays(Runtime::MultiThread) => "volley arrays, awaited, driven by multi-thread",
            Drive::Blocking => "volley blocking, threads",
            Drive::Jobs { shards: 1 } => "volley client, jobs, one shard",
            Drive::Jobs { .. } => "volley client, jobs, two shards",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Volley
    }

    fn runs(&self, course: &Course) -> bool {
        let together = course.array > 1;
        let possible = course.transport != Transport::Stdio || course.connections == 1;
        possible
            && together == self.sends_arrays()
            && match self.drive {
                Drive::Inline | Drive::InlineTurnEach | Drive::Tasks(_) | Drive::DrivenTasks(_) => true,
                Drive::Arrays | Drive::AwaitedArrays(_) | Drive::DrivenArrays(_) => !course.latency,
                // Polling takes the core that the target would need, if there is only one.
                Drive::InlineSpin => course.cores == Cores::Free,
                Drive::Bulk => !course.latency,
                Drive::Blocking => !course.latency && course.calls_in_flight() <= THREADS_MAX,
                Drive::Callers(_) => course.calls_in_flight() < CALLERS,
                Drive::Jobs { shards } => !course.latency && course.connections >= shards,
            }
    }

    fn run(&self, course: &Course) -> Result<Run, Failure> {
        let spin = if self.drive == Drive::InlineSpin { Duration::from_micros(50) } else { Duration::ZERO };
        let mut config = config(course)?.spin(spin);
        if matches!(self.drive, Drive::DrivenTasks(_) | Drive::DrivenArrays(_)) {
            config = config.driver(Driver::Tokio);
        }
        if self.sends_arrays() {
            config = config.revision(Revision::V2025_03_26).array_calls_max(u32::try_from(course.array)?);
        }
        if let Drive::Jobs { shards } = self.drive {
            config = config.shards(shards);
        }
        let config = config.build()?;
        let place = Place::new(course)?;
        match self.drive {
            Drive::Inline | Drive::InlineSpin => inline::run(&place, &config, course, false),
            Drive::InlineTurnEach => inline::run(&place, &config, course, true),
            Drive::Bulk => client::bulk(&place, config, course),
            Drive::Arrays => inline::run_arrays(&place, &config, course),
            Drive::Tasks(runtime) | Drive::DrivenTasks(runtime) => {
                client::tasks(&place, config, runtime, course, course.calls_in_flight())
            }
            Drive::Callers(runtime) => client::tasks(&place, config, runtime, course, CALLERS),
            Drive::AwaitedArrays(runtime) | Drive::DrivenArrays(runtime) => {
                client::arrays(&place, config, runtime, course)
            }
            Drive::Blocking => client::blocking(&place, config, course),
            Drive::Jobs { .. } => client::jobs(&place, config, course),
        }
    }
}

impl Engine {
    fn sends_arrays(&self) -> bool {
        matches!(self.drive, Drive::Arrays | Drive::AwaitedArrays(_) | Drive::DrivenArrays(_))
    }
}

/// Tasks of [`Drive::Callers`], as its names say.
const CALLERS: usize = 10_000;

/// More threads than this are no way to use a client.
const THREADS_MAX: usize = 1024;
