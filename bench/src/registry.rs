//! Who runs. A new contestant is a type that is a [`Contestant`] and a line in [`everyone`].

use crate::contestant::{Contestant, Course};
use crate::engine::{Drive, Engine};
use crate::floor::{ManyConnections, Mode, OneStream};
use crate::peer::Runtime;
use crate::peer::jsonrpsee::Jsonrpsee;
use crate::peer::rmcp::{Pool, Rmcp};
use crate::peer::wrk::Wrk;

/// Everyone there is, in the order in which they take turns.
pub fn everyone() -> Vec<Box<dyn Contestant>> {
    let mut all: Vec<Box<dyn Contestant>> = Vec::new();
    for mode in Mode::FLOORS.into_iter().chain([Mode::Epoll]) {
        all.push(Box::new(OneStream { mode }));
    }
    all.push(Box::new(ManyConnections { spin: false }));
    all.push(Box::new(ManyConnections { spin: true }));
    all.push(Box::new(Wrk));
    for drive in [
        Drive::Inline,
        Drive::InlineSpin,
        Drive::Bulk,
        Drive::Tasks(Runtime::CurrentThread),
        Drive::Tasks(Runtime::MultiThread),
        Drive::DrivenTasks(Runtime::CurrentThread),
        Drive::DrivenTasks(Runtime::MultiThread),
        Drive::Arrays,
        Drive::AwaitedArrays(Runtime::CurrentThread),
        Drive::AwaitedArrays(Runtime::MultiThread),
        Drive::DrivenArrays(Runtime::CurrentThread),
        Drive::DrivenArrays(Runtime::MultiThread),
        Drive::Blocking,
    ] {
        all.push(Box::new(Engine { drive }));
    }
    for pool in Pool::ALL {
        for runtime in Runtime::ALL {
            all.push(Box::new(Rmcp { pool, runtime }));
        }
    }
    for runtime in Runtime::ALL {
        all.push(Box::new(Jsonrpsee { runtime }));
    }
    all
}

/// Those who show what is saved by not doing as they do; they run where they are asked for.
fn for_comparison() -> Vec<Box<dyn Contestant>> {
    vec![
        Box::new(OneStream { mode: Mode::WriteEach }),
        Box::new(Engine { drive: Drive::InlineTurnEach }),
        Box::new(Engine { drive: Drive::Callers(Runtime::CurrentThread) }),
        Box::new(Engine { drive: Drive::Callers(Runtime::MultiThread) }),
        Box::new(Engine { drive: Drive::Jobs { shards: 1 } }),
        Box::new(Engine { drive: Drive::Jobs { shards: 2 } }),
    ]
}

/// Names of all who can run a course, out of [`everyone`].
pub fn able(course: &Course) -> Vec<&'static str> {
    everyone().iter().filter(|one| one.runs(course)).map(|one| one.name()).collect()
}

/// All names, of those for comparison as well.
pub fn names() -> Vec<&'static str> {
    everyone().iter().chain(&for_comparison()).map(|one| one.name()).collect()
}

/// Does somebody's name have this in it? (Decoding is nobody's, and can be asked for all the same.)
pub fn is_in_a_name(part: &str) -> bool {
    part == "decode" || names().iter().any(|name| name.contains(part))
}

/// The contestant of this name.
pub fn find(name: &str) -> Option<Box<dyn Contestant>> {
    everyone().into_iter().chain(for_comparison()).find(|one| one.name() == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::call::Era;
    use crate::contestant::{Cores, Kind};
    use crate::link::Transport;

    #[test]
    fn names_are_unique() {
        let all: Vec<_> = everyone().into_iter().chain(for_comparison()).collect();
        let names: HashSet<_> = all.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.iter().all(|name| find(name).is_some_and(|one| one.name() == *name)));
    }

    /// A row without a floor would say nothing.
    #[test]
    fn every_row_has_a_floor_and_the_engine() {
        for cores in [Cores::Free, Cores::One] {
            for transport in Transport::ALL {
                for calls in [1, 64, 1024] {
                    let http = transport == Transport::Http;
                    let course = Course {
                        transport,
                        era: Era::Modern,
                        cores,
                        connections: if http { calls } else { 1 },
                        in_flight: if http { 1 } else { calls },
                        array: 1,
                        seconds: 1.0,
                        latency: false,
                    };
                    let names = able(&course);
                    for kind in [Kind::Floor, Kind::Volley, Kind::Rmcp] {
                        let is_there = |name: &&&str| find(name).is_some_and(|one| one.kind() == kind);
                        assert!(names.iter().any(|name| is_there(&name)), "{course}: no {kind:?}");
                    }
                }
            }
        }
    }
}
