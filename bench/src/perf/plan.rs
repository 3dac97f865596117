//! Which rows each part of the report has, and who runs in them.

use super::document::Section;
use super::soak;
use crate::call::Era;
use crate::contestant::{Cores, Course};
use crate::link::{self, Transport};
use crate::peer::wrk::Wrk;
use crate::registry;

/// What was asked for, with all defaults filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often everyone takes a turn.
    pub rounds: u32,
    /// How long a turn is measured.
    pub seconds: f64,
    /// What carries the bytes.
    pub transports: Vec<Transport>,
    /// Calls in flight in the rows of the matrix.
    pub in_flight: Vec<usize>,
    /// Where both sides run.
    pub cores: Vec<Cores>,
    /// Parts of names; nobody else runs. Everybody, if there are none.
    pub only: Vec<String>,
    /// The era of the calls.
    pub era: Era,
    /// The right end of the curve of calls in flight.
    pub in_flight_max: usize,
    /// The right end of the curve of connections, and the many of [`Section::Many`].
    pub connections_max: usize,
    /// The engine's time in the soak.
    pub soak_seconds: f64,
    /// How it is driven there.
    pub soak_drives: Vec<soak::Drive>,
    /// Lengths of long replies.
    pub big_reply_bytes: Vec<usize>,
    /// Counts only the widest window.
    pub quick: bool,
    /// Cores of the machine.
    pub processors: usize,
}

/// One row that is to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPlan {
    /// Where it belongs.
    pub section: Section,
    /// What is run.
    pub course: Course,
    /// By whom, in this order.
    pub names: Vec<String>,
    /// How often.
    pub rounds: u32,
}

impl RowPlan {
    /// Seconds that this will take, roughly: what is measured, and what is around it.
    pub fn seconds(&self) -> f64 {
        let around = 0.12 + self.course.connections as f64 / 5_000.0;
        let warm_up = self.course.warm_up().as_secs_f64();
        let one = match self.section {
            // Three children, of which one is a quarter as long; strace is slow to start.
            Section::Counts => 2.25 * self.course.seconds + 3.0 * (around + 0.2 + warm_up),
            _ => self.course.seconds + warm_up + around,
        };
        f64::from(self.rounds) * self.names.len() as f64 * one
    }
}

impl Settings {
    /// The rows of a part; none of one that has no rows.
    pub fn rows(&self, section: Section) -> Vec<RowPlan> {
        let rows = match section {
            Section::Matrix => self.matrix(),
            Section::Counts => self.counts(),
            Section::Memory => self.memory(),
            Section::InFlight => self.along_in_flight(),
            Section::Connections => self.along_connections(),
            Section::Many => self.many(),
            Section::Callers => self.callers(),
            Section::Coalescing => self.coalescing(),
            Section::Arrays => self.arrays(),
            Section::Shards => self.shards(),
            Section::BigReply | Section::Decode | Section::Soak | Section::Profile => Vec::new(),
        };
        rows.into_iter().filter(|row| !row.names.is_empty()).collect()
    }

    /// A course of the matrix: so many calls in flight, over HTTP each on a connection of its own.
    pub fn course(&self, transport: Transport, cores: Cores, calls: usize) -> Course {
        let (connections, in_flight) = if transport == Transport::Http { (calls, 1) } else { (1, calls) };
        Course {
            transport,
            era: self.era,
            cores,
            connections,
            in_flight,
            array: 1,
            seconds: self.seconds,
            latency: false,
        }
    }

    fn matrix(&self) -> Vec<RowPlan> {
        let mut rows = Vec::new();
        for &cores in &self.cores {
            for &transport in &self.transports {
                for &calls in &self.in_flight {
                    let course = self.course(transport, cores, calls);
                    rows.push(self.row(Section::Matrix, course, registry::able(&course), self.rounds));
                }
            }
        }
        rows
    }

    /// Unpinned only: counts are the same on one core. Nobody counts what wrk does, and the floor of one mode is enough.
    fn counts(&self) -> Vec<RowPlan> {
        let mut rows = Vec::new();
        for &transport in &self.transports {
            let widest = self.in_flight.iter().copied().max();
            for &calls in self.in_flight.iter().filter(|calls| !self.quick || Some(**calls) == widest) {
                let course = self.course(transport, Cores::Free, calls);
                // Under strace a thousand connections take their time to be opened, and the shorter run is a quarter of this.
                let seconds = self.seconds.min(COUNTED_SECONDS) + course.connections as f64 / 1_000.0;
                let course = Course { seconds, ..course };
                let mut names = registry::able(&course);
                names.retain(|name| {
                    !name.starts_with("wrk")
                        && !["floor sliced", "floor spin", "floor epoll, spin"].contains(name)
                });
                rows.push(self.row(Section::Counts, course, names, 1));
            }
        }
        rows
    }

    /// One connection and a thousand, whose difference is what a connection takes.
    fn memory(&self) -> Vec<RowPlan> {
        let mut rows = Vec::new();
        for (connections, in_flight) in MEMORY {
            let connections = connections.min(self.connections_max);
            let course = Course {
                connections,
                in_flight,
                seconds: self.seconds.min(COUNTED_SECONDS),
                ..self.course(Transport::Unix, Cores::Free, 1)
            };
            let names = ["volley inline", "volley client, tasks, current-thread", "rmcp, current-thread"];
            if self.over(Transport::Unix) {
                rows.push(self.row(
                    Section::Memory,
                    course,
                    names.to_vec(),
                    self.rounds.min(ROUNDS_OF_WIDE_ROWS),
                ));
            }
        }
        rows
    }

    fn along_in_flight(&self) -> Vec<RowPlan> {
        let mut rows = Vec::new();
        for transport in [Transport::Unix, Transport::Tcp].into_iter().filter(|one| self.over(*one)) {
            for calls in powers(4, self.in_flight_max) {
                let course =
                    Course { seconds: self.seconds * 0.6, ..self.course(transport, Cores::Free, calls) };
                let names = registry::able(&course).into_iter().filter(|name| {
                    name.starts_with("floor")
                        || name.starts_with("volley inline")
                        || *name == "volley client, bulk"
                });
                rows.push(self.row(
                    Section::InFlight,
                    course,
                    names.collect(),
                    self.rounds.min(ROUNDS_OF_WIDE_ROWS),
                ));
            }
        }
        rows
    }

    fn along_connections(&self) -> Vec<RowPlan> {
        let mut rows = Vec::new();
        for transport in [Transport::Unix, Transport::Http].into_iter().filter(|one| self.over(*one)) {
            for connections in powers(10, self.connections_max) {
                let course = Course {
                    connections,
                    in_flight: 1,
                    // With the times of calls, so that the floor of one connection is that of many.
                    latency: true,
                    seconds: self.seconds * 0.6,
                    ..self.course(transport, Cores::Free, 1)
                };
                let names = ["floor epoll", "floor epoll, spin", "volley inline", "volley inline, spin 50us"];
                rows.push(self.row(
                    Section::Connections,
                    course,
                    names.to_vec(),
                    self.rounds.min(ROUNDS_OF_WIDE_ROWS),
                ));
            }
        }
        rows
    }

    fn many(&self) -> Vec<RowPlan> {
        let course = Course {
            connections: self.connections_max,
            in_flight: 1,
            latency: true,
            // Many round trips: those that have not ended with the run are in no percentile.
            seconds: 4.0 * self.seconds,
            ..self.course(Transport::Unix, Cores::Free, 1)
        };
        let names = registry::able(&course).into_iter().filter(|name| !name.contains("spin"));
        let row = self.row(Section::Many, course, names.collect(), self.rounds.min(ROUNDS_OF_WIDE_ROWS));
        if self.over(Transport::Unix) { vec![row] } else { Vec::new() }
    }

    /// Many callers, few connections, of which each carries one call: what a pool is for.
    fn callers(&self) -> Vec<RowPlan> {
        let course = Course {
            connections: CALLERS_CONNECTIONS.min(self.connections_max),
            latency: true,
            // A caller waits for two hundred others.
            seconds: 4.0 * self.seconds,
            ..self.course(Transport::Http, Cores::Free, 1)
        };
        let names = ["floor epoll", "volley inline"].into_iter().chain(CALLERS);
        let row = self.row(Section::Callers, course, names.collect(), self.rounds);
        if self.over(Transport::Http) { vec![row] } else { Vec::new() }
    }

    fn coalescing(&self) -> Vec<RowPlan> {
        let mut rows = Vec::new();
        for transport in [Transport::Unix, Transport::Tcp].into_iter().filter(|one| self.over(*one)) {
            for calls in [1, 1000] {
                let course = self.course(transport, Cores::Free, calls);
                let mut names = vec!["floor coalesced", "floor sliced", "floor spin", "volley inline"];
                if calls > 1 {
                    names.extend(["floor, a write for each call", "volley inline, a turn for each call"]);
                }
                rows.push(self.row(Section::Coalescing, course, names, self.rounds));
            }
        }
        rows
    }

    /// Arrays of a hundred, and as many calls by themselves; legacy, for the one revision with arrays is.
    fn arrays(&self) -> Vec<RowPlan> {
        let mut rows = Vec::new();
        for &transport in &self.transports {
            for messages in [1, 10] {
                let plain =
                    Course { era: Era::Legacy, ..self.course(transport, Cores::Free, messages * ARRAY) };
                let arrays = if transport == Transport::Http {
                    Course { connections: messages, in_flight: ARRAY, array: ARRAY, ..plain }
                } else {
                    Course { array: ARRAY, ..plain }
                };
                for course in [arrays, plain] {
                    let compared =
                        ["floor", "volley inline", "volley client, bulk", "volley array", "jsonrpsee"];
                    let names = registry::able(&course);
                    let names =
                        names.into_iter().filter(|name| compared.iter().any(|one| name.starts_with(one)));
                    rows.push(self.row(Section::Arrays, course, names.collect(), self.rounds));
                }
            }
        }
        rows
    }

    /// A job on each of two connections, through one shard and through two. Where these and the target's threads have no cores of their own it
    /// would say nothing.
    fn shards(&self) -> Vec<RowPlan> {
        let transports = [Transport::Unix, Transport::Tcp].into_iter().filter(|one| self.over(*one));
        let one = |transport| {
            let course = Course { connections: 2, ..self.course(transport, Cores::Free, 1024) };
            self.row(Section::Shards, course, SHARDS.to_vec(), self.rounds)
        };
        if self.processors < SHARDS_CORES_MIN { Vec::new() } else { transports.map(one).collect() }
    }

    /// Whether this transport was asked for.
    pub fn over(&self, transport: Transport) -> bool {
        self.transports.contains(&transport)
    }

    /// Whether a contestant of this name was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    fn row(&self, section: Section, course: Course, names: Vec<&str>, rounds: u32) -> RowPlan {
        let wrk = Wrk::is_installed();
        let is_here = |name: &&str| self.wants(name) && (wrk || !name.starts_with("wrk"));
        let names = names.into_iter().filter(is_here).map(str::to_owned).collect();
        let seconds = course.seconds.max(0.05);
        RowPlan { section, course: Course { seconds, ..course }, names, rounds }
    }
}

/// As many connections as this process and the target may have descriptors for.
pub fn connections_possible() -> usize {
    usize::try_from(link::descriptors_possible()).unwrap_or(usize::MAX).saturating_sub(200).max(1)
}

/// The ten thousand who share a client.
pub const CALLERS: [&str; 2] =
    ["volley client, 10,000 callers, current-thread", "volley client, 10,000 callers, multi-thread"];

/// What they share.
const CALLERS_CONNECTIONS: usize = 50;

/// Calls in one array: what the engine takes by default, and what the peer is asked for.
pub const ARRAY: usize = 100;

/// Who shows what a second shard is worth: without it, and with it.
pub const SHARDS: [&str; 2] = ["volley client, jobs, one shard", "volley client, jobs, two shards"];

/// Two shards, as many threads of the target, and as many that take the answers.
pub const SHARDS_CORES_MIN: usize = 6;

/// Rows that say how things grow, with thousands of connections to open each time.
pub const ROUNDS_OF_WIDE_ROWS: u32 = 3;

/// Counting needs no long runs.
const COUNTED_SECONDS: f64 = 0.3;

/// Connections and calls in flight on each.
const MEMORY: [(usize, usize); 4] = [(1, 1), (1_000, 1), (1, 64), (1_000, 64)];

/// 1, `base`, its square, and so on up to `max`, which is the last in any case.
fn powers(base: usize, max: usize) -> Vec<usize> {
    let mut powers: Vec<usize> = std::iter::successors(Some(1), |power: &usize| power.checked_mul(base))
        .take_while(|power| *power < max)
        .collect();
    powers.push(max);
    powers
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::ValueEnum;

    use super::*;

    pub(crate) fn settings() -> Settings {
        Settings {
            rounds: 5,
            seconds: 0.5,
            transports: Transport::ALL.to_vec(),
            in_flight: vec![1, 64, 1024],
            cores: vec![Cores::Free, Cores::One],
            only: Vec::new(),
            era: Era::Modern,
            in_flight_max: 16_384,
            connections_max: 10_000,
            soak_seconds: 300.0,
            soak_drives: vec![soak::Drive::Inline],
            big_reply_bytes: vec![10 << 20],
            quick: false,
            processors: 16,
        }
    }

    #[test]
    fn curves_end_where_they_should() {
        assert_eq!(powers(4, 16_384), [1, 4, 16, 64, 256, 1_024, 4_096, 16_384]);
        assert_eq!(powers(10, 250), [1, 10, 100, 250]);
        assert_eq!(powers(4, 1), [1]);
    }

    /// Whoever stands in a plan can run it, and no course stands twice in a part.
    #[test]
    fn everyone_can_run_what_is_planned() {
        for section in Section::value_variants() {
            let rows = settings().rows(*section);
            for (n, row) in rows.iter().enumerate() {
                for name in &row.names {
                    let one = registry::find(name).unwrap_or_else(|| panic!("nobody is called {name}"));
                    assert!(one.runs(&row.course), "{name}: {}", row.course);
                }
                assert!(rows[..n].iter().all(|other| !other.course.is_row_of(&row.course)), "{}", row.course);
            }
        }
    }

    #[test]
    fn the_matrix_takes_twenty_minutes_at_most() {
        let seconds: f64 = settings().rows(Section::Matrix).iter().map(RowPlan::seconds).sum();
        assert!(seconds < 20.0 * 60.0, "{seconds}");
    }

    #[test]
    fn shards_are_compared_only_where_there_are_cores_for_them() {
        assert_eq!(settings().rows(Section::Shards).len(), 2);
        let few = Settings { processors: SHARDS_CORES_MIN - 1, ..settings() };
        assert!(few.rows(Section::Shards).is_empty());
    }

    #[test]
    fn only_those_who_are_asked_for_run() {
        let settings = Settings {
            only: vec!["floor".into(), "inline".into()],
            transports: vec![Transport::Unix],
            ..settings()
        };
        for row in settings.rows(Section::Matrix) {
            assert!(row.names.iter().all(|name| name.contains("floor") || name.contains("inline")));
            assert!(row.names.len() >= 2);
        }
        assert_eq!(settings.rows(Section::Many)[0].names, ["floor epoll", "volley inline"]);
    }
}
