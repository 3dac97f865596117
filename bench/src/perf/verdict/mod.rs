//! What must be reached, and whether it was: one table of thresholds, read against what was measured.
//!
//! Each `Threshold` says what it is about, the bar that must be held and the goal, and how to find its figure in a
//! report (`figures`, as a [`Line`] of `line`). A line whose figure is not there says so, and does not hold. Nothing here is a result: that is computed.

mod figures;
mod line;

use Bar::{AtLeast, AtMost};
use figures::{
    BULK, INLINE, MEMORY, SPIN, WRK, allocations, arrays, big_replies, bursts, by, callers, coalesced, cpu,
    decodes, is_tasks, knees, many, memory, missing, of_floor, p99, rate, shards, soaks, streams,
};

pub use figures::memory_of_a_connection;
pub use line::{Bar, Line, Reading, Standing, Unit};

use super::decode;
use super::document::{Report, Section};
use crate::contestant::Cores::{Free, One};
use crate::contestant::Kind;
use crate::link::Transport;
use crate::report::Entry;

/// One thing that must be reached.
struct Threshold {
    what: &'static str,
    unit: Unit,
    must: Option<Bar>,
    goal: Option<Bar>,
    read: fn(&Report) -> Vec<Reading>,
}

/// All lines, in the order of the thresholds.
pub fn verdict(report: &Report) -> Vec<Line> {
    let lines = THRESHOLDS.iter().flat_map(|threshold| {
        (threshold.read)(report).into_iter().map(|reading| Line {
            what: threshold.what,
            unit: threshold.unit,
            must: threshold.must,
            goal: threshold.goal,
            reading,
        })
    });
    lines.collect()
}

/// None for a call is fewer than one for two hundred calls: a run reads its clocks from `/proc`, which takes a few blocks, and that of a slow row
/// has a few thousand calls. `just allocations` counts a million and is exact.
const NONE: f64 = 0.005;

/// The table. A row of the matrix is named by its calls in flight, which over HTTP are its connections.
const THRESHOLDS: &[Threshold] = &[
    Threshold {
        what: "inline, 1,024 in flight (polling over Unix)",
        unit: Unit::OfFloor,
        must: Some(AtLeast(0.7)),
        goal: Some(AtLeast(0.9)),
        read: |report| {
            streams(|one| {
                of_floor(report, one, Free, 1024, if one == Transport::Unix { SPIN } else { INLINE })
            })
        },
    },
    Threshold {
        what: "inline, 1,024 in flight, one core",
        unit: Unit::OfFloor,
        must: Some(AtLeast(0.65)),
        goal: Some(AtLeast(0.8)),
        read: |report| streams(|one| of_floor(report, one, One, 1024, INLINE)),
    },
    Threshold {
        what: "inline, 64 in flight, polling",
        unit: Unit::OfFloor,
        must: Some(AtLeast(0.7)),
        goal: Some(AtLeast(0.9)),
        read: |report| streams(|one| of_floor(report, one, Free, 64, SPIN)),
    },
    Threshold {
        what: "inline, 64 in flight, one core",
        unit: Unit::OfFloor,
        must: Some(AtLeast(0.75)),
        goal: Some(AtLeast(0.9)),
        read: |report| streams(|one| of_floor(report, one, One, 64, INLINE)),
    },
    Threshold {
        what: "one call at a time, one core",
        unit: Unit::OfFloor,
        must: Some(AtLeast(0.85)),
        goal: Some(AtLeast(0.95)),
        read: |report| streams(|one| of_floor(report, one, One, 1, INLINE)),
    },
    Threshold {
        what: "one call at a time, two cores, polling: by the fastest peer",
        unit: Unit::Times,
        must: Some(AtLeast(1.0)),
        goal: None,
        read: |report| {
            streams(|one| by(report, one, Free, 1, |entry| entry.name == SPIN, |entry| entry.kind.is_peer()))
        },
    },
    Threshold {
        what: "one call at a time, two cores, polling",
        unit: Unit::OfFloor,
        must: None,
        goal: Some(AtLeast(0.9)),
        read: |report| streams(|one| of_floor(report, one, Free, 1, SPIN)),
    },
    Threshold {
        what: "shared client, 1,024 tasks awaiting single calls",
        unit: Unit::Rate,
        must: Some(AtLeast(1.5e6)),
        goal: Some(AtLeast(3e6)),
        read: |report| streams(|one| rate(report, one, Free, 1024, is_tasks)),
    },
    Threshold {
        what: "the same, by rmcp's faster runtime",
        unit: Unit::Times,
        must: Some(AtLeast(15.0)),
        goal: Some(AtLeast(40.0)),
        read: |report| streams(|one| by(report, one, Free, 1024, is_tasks, |entry| entry.kind == Kind::Rmcp)),
    },
    Threshold {
        what: "shared client, 1,024 tasks, everything on one core",
        unit: Unit::Rate,
        must: Some(AtLeast(1e6)),
        goal: Some(AtLeast(3e6)),
        read: |report| streams(|one| rate(report, one, One, 1024, is_tasks)),
    },
    Threshold {
        what: "shared client, bulk, 1,024 in flight",
        unit: Unit::OfFloor,
        must: Some(AtLeast(0.4)),
        goal: Some(AtLeast(0.6)),
        read: |report| streams(|one| of_floor(report, one, Free, 1024, BULK)),
    },
    Threshold {
        what: "CPU of the client, inline, 1,024 in flight",
        unit: Unit::CpuSeconds,
        must: Some(AtMost(0.10)),
        goal: Some(AtMost(0.06)),
        read: |report| streams(|one| cpu(report, one, 1024, INLINE)),
    },
    Threshold {
        what: "HTTP/1.1, 64 connections, by wrk",
        unit: Unit::Times,
        must: Some(AtLeast(1.1)),
        goal: Some(AtLeast(1.25)),
        read: |report| {
            vec![by(
                report,
                Transport::Http,
                Free,
                64,
                |entry| entry.name == INLINE,
                |entry| entry.name == WRK,
            )]
        },
    },
    Threshold {
        what: "HTTP/1.1, one at a time, by wrk",
        unit: Unit::Times,
        must: Some(AtLeast(0.95)),
        goal: Some(AtLeast(1.0)),
        read: |report| {
            vec![by(
                report,
                Transport::Http,
                Free,
                1,
                |entry| entry.name == INLINE,
                |entry| entry.name == WRK,
            )]
        },
    },
    Threshold {
        what: "HTTP/1.1, one at a time, polling, by wrk",
        unit: Unit::Times,
        must: None,
        goal: Some(AtLeast(2.0)),
        read: |report| {
            vec![by(report, Transport::Http, Free, 1, |entry| entry.name == SPIN, |entry| entry.name == WRK)]
        },
    },
    Threshold {
        what: "JSON-RPC arrays of 100 over HTTP, every call made and decoded, by jsonrpsee's `batch_request`",
        unit: Unit::Times,
        must: Some(AtLeast(2.0)),
        goal: Some(AtLeast(4.0)),
        read: arrays,
    },
    Threshold {
        what: "coalesced, 1,000 in flight, by one write for each call",
        unit: Unit::Times,
        must: Some(AtLeast(4.0)),
        goal: Some(AtLeast(8.0)),
        read: coalesced,
    },
    Threshold {
        what: "burst of 100 calls: total time saved against one at a time",
        unit: Unit::Part,
        must: Some(AtLeast(0.9)),
        goal: None,
        read: |report| bursts(report, |burst| burst.saved()),
    },
    Threshold {
        what: "burst of 100 calls, in round trips of a single call (one, and not two)",
        unit: Unit::Times,
        must: None,
        goal: Some(AtMost(1.5)),
        read: |report| bursts(report, |burst| burst.round_trips()),
    },
    Threshold {
        what: "heap allocations for a call, inline",
        unit: Unit::PerCall,
        must: Some(AtMost(NONE)),
        goal: Some(AtMost(NONE)),
        read: |report| Transport::ALL.map(|one| allocations(report, one, INLINE)).into(),
    },
    Threshold {
        what: "heap allocations for a call, bulk",
        unit: Unit::PerCall,
        must: Some(AtMost(NONE)),
        goal: Some(AtMost(NONE)),
        read: |report| Transport::ALL.map(|one| allocations(report, one, BULK)).into(),
    },
    Threshold {
        what: "memory of an idle connection",
        unit: Unit::Bytes,
        must: Some(AtMost(8.0 * 1024.0)),
        goal: Some(AtMost(4.0 * 1024.0)),
        read: |report| MEMORY.map(|(who, calls)| memory(report, who, calls, |(idle, _)| idle)).into(),
    },
    Threshold {
        what: "memory of a busy connection",
        unit: Unit::Bytes,
        must: Some(AtMost(24.0 * 1024.0)),
        goal: Some(AtMost(16.0 * 1024.0)),
        read: |report| MEMORY.map(|(who, calls)| memory(report, who, calls, |(_, busy)| busy)).into(),
    },
    Threshold {
        what: "10,000 connections, one call in flight on each, by rmcp",
        unit: Unit::Times,
        must: Some(AtLeast(3.0)),
        goal: Some(AtLeast(10.0)),
        read: |report| many(report, Entry::median, Entry::median),
    },
    // Rate and p99 are one row with one peer, the runtime that has the rate. The other answers its connections in turn and has less than half of
    // the rate, so that its p99 is hardly more than the mean of its closed loop; a goal of its own.
    Threshold {
        what: "10,000 connections: p99 by rmcp's",
        unit: Unit::Times,
        must: Some(AtMost(0.1)),
        goal: None,
        read: |report| many(report, p99, Entry::median),
    },
    Threshold {
        what: "10,000 connections: p99 by that of rmcp's runtime with the lower one",
        unit: Unit::Times,
        must: None,
        goal: Some(AtMost(0.1)),
        read: |report| many(report, p99, |entry| p99(entry).map(|us| -us)),
    },
    Threshold {
        what: "10,000 callers on fifty connections over HTTP",
        unit: Unit::Rate,
        must: Some(AtLeast(50e3)),
        goal: None,
        read: callers,
    },
    Threshold {
        what: "p99 of small calls while a long reply comes in on the same shard, by that without",
        unit: Unit::Times,
        must: Some(AtMost(2.0)),
        goal: Some(AtMost(1.2)),
        read: big_replies,
    },
    Threshold {
        what: "curve of calls in flight: the worst rate by the best left of it",
        unit: Unit::Part,
        must: Some(AtLeast(0.5)),
        goal: Some(AtLeast(0.8)),
        read: |report| knees(report, Section::InFlight, &[INLINE, SPIN, BULK]),
    },
    Threshold {
        what: "curve of connections: the worst rate by the best left of it",
        unit: Unit::Part,
        must: Some(AtLeast(0.5)),
        goal: Some(AtLeast(0.8)),
        read: |report| knees(report, Section::Connections, &[INLINE, SPIN]),
    },
    Threshold {
        what: "soak: the last minute by the first, both against the floor of their minute",
        unit: Unit::Part,
        must: Some(AtLeast(0.95)),
        goal: Some(AtLeast(0.99)),
        read: |report| soaks(report, |soak| soak.last_by_first()),
    },
    Threshold {
        what: "soak: growth of the resident set",
        unit: Unit::Bytes,
        must: Some(AtMost(1024.0 * 1024.0)),
        goal: Some(AtMost(128.0 * 1024.0)),
        read: |report| soaks(report, |soak| Some(soak.growth_bytes() as f64)),
    },
    Threshold {
        what: "soak: calls by which the counters do not add up",
        unit: Unit::Count,
        must: Some(AtMost(0.0)),
        goal: Some(AtMost(0.0)),
        read: |report| {
            soaks(report, |soak| {
                let counters = &soak.counters;
                let ended = counters.answered + counters.failed + counters.cancelled + counters.live;
                Some(counters.submitted.abs_diff(ended) as f64)
            })
        },
    },
    Threshold {
        what: "typed decode, by serde_json",
        unit: Unit::Times,
        must: Some(AtLeast(1.0)),
        goal: None,
        read: |report| decodes(report, decode::Measured::ratio),
    },
    Threshold {
        what: "typed decode",
        unit: Unit::BytesRate,
        must: None,
        goal: Some(AtLeast(1e9)),
        read: |report| decodes(report, decode::Measured::rate),
    },
    Threshold {
        what: "loadgen: calls/s with the recording of times off by those with it on",
        unit: Unit::Times,
        must: Some(AtMost(1.03)),
        goal: Some(AtMost(1.01)),
        read: |_| vec![missing("", "loadgen has no switch that turns it off yet")],
    },
    Threshold {
        what: "two shards by one",
        unit: Unit::Times,
        must: Some(AtLeast(1.7)),
        goal: Some(AtLeast(1.9)),
        read: shards,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::Course;
    use crate::meter::{Latency, Run};
    use crate::report::Row;
    use crate::report::tests::{course, entry, run};

    fn line(must: Option<Bar>, goal: Option<Bar>, figure: f64) -> Standing {
        let reading =
            Reading { place: String::new(), figure: Ok(figure), floor: None, peer: None, job: None };
        Line { what: "", unit: Unit::Times, must, goal, reading }.standing()
    }

    #[test]
    fn a_line_stands_as_its_bars_say() {
        let (must, goal) = (Some(AtLeast(1.0)), Some(AtLeast(2.0)));
        assert_eq!(
            [0.9, 1.0, 2.0].map(|figure| line(must, goal, figure)),
            [Standing::Missed, Standing::Holds, Standing::Goal]
        );
        assert_eq!([1.0, 2.0].map(|figure| line(None, goal, figure)), [Standing::BelowGoal, Standing::Goal]);
        assert_eq!(
            [1.0, 2.1].map(|figure| line(Some(AtMost(2.0)), None, figure)),
            [Standing::Holds, Standing::Missed]
        );
        assert_eq!(line(must, goal, f64::NAN), Standing::Missed);
    }

    /// A report in which nothing was measured has every line, and none of them holds.
    #[test]
    fn what_was_not_measured_does_not_hold() {
        let lines = verdict(&Report::new());
        assert!(lines.len() >= THRESHOLDS.len());
        assert!(lines.iter().all(|line| line.standing() == Standing::NotMeasured));
    }

    /// No goal is easier than what must be.
    #[test]
    fn goals_are_beyond_musts() {
        for threshold in THRESHOLDS {
            match (threshold.must, threshold.goal) {
                (Some(AtLeast(must)), Some(AtLeast(goal))) => assert!(goal >= must, "{}", threshold.what),
                (Some(AtMost(must)), Some(AtMost(goal))) => assert!(goal <= must, "{}", threshold.what),
                (Some(_), Some(_)) => panic!("{}: both ends", threshold.what),
                (None, None) => panic!("{}: no bar", threshold.what),
                _ => {}
            }
        }
    }

    /// The p99 of many connections is held against that of the runtime whose rate is, and the lower one is a goal.
    #[test]
    fn rate_and_p99_have_one_peer() {
        let timed = |name: &str, kind, calls, p99_us| {
            let latency = Some(Latency { p50_us: 1.0, p99_us, max_us: 1e6 });
            let mut entry = Entry::new(name, kind);
            entry.note(Ok(Run { latency, ..run(calls) }));
            entry
        };
        let entries = vec![
            timed(INLINE, Kind::Volley, 600_000, 40e3),
            timed("rmcp, current-thread", Kind::Rmcp, 80_000, 250e3),
            timed("rmcp, multi-thread", Kind::Rmcp, 200_000, 800e3),
        ];
        let mut report = Report::new();
        report.put(Section::Many, Row { course: course(), entries });
        let lines = verdict(&report);
        let many: Vec<_> =
            lines.iter().filter(|line| line.reading.place.ends_with(" connections, inline")).collect();
        let figures: Vec<_> =
            many.iter().map(|line| (line.reading.figure.clone().unwrap(), line.standing())).collect();
        assert_eq!(figures, [(3.0, Standing::Holds), (0.05, Standing::Holds), (0.16, Standing::BelowGoal)]);
        let peers: Vec<_> = many.iter().map(|line| line.reading.peer.clone().unwrap().0).collect();
        assert_eq!(peers, ["rmcp, multi-thread", "rmcp, multi-thread", "rmcp, current-thread"]);
    }

    #[test]
    fn figures_are_of_their_own_row() {
        let mut report = Report::new();
        let wide = Course { in_flight: 1024, ..course() };
        let entries = vec![
            entry("floor coalesced", Kind::Floor, &[10_000_000]),
            entry(INLINE, Kind::Volley, &[8_000_000]),
            entry("volley client, tasks, current-thread", Kind::Volley, &[4_000_000]),
            entry("rmcp, current-thread", Kind::Rmcp, &[200_000]),
            entry("rmcp, multi-thread", Kind::Rmcp, &[100_000]),
        ];
        report.put(Section::Matrix, Row { course: wide, entries });
        let lines = verdict(&report);
        let of = |what: &str| {
            let mut lines =
                lines.iter().filter(|line| line.what.starts_with(what) && line.reading.place == "tcp");
            lines.next().unwrap_or_else(|| panic!("{what}"))
        };
        assert_eq!(of("inline, 1,024 in flight (").reading.figure, Ok(0.8));
        assert_eq!(of("inline, 1,024 in flight (").standing(), Standing::Holds);
        assert_eq!(of("the same, by rmcp").reading.figure, Ok(20.0));
        assert_eq!(of("the same, by rmcp").reading.peer, Some(("rmcp, current-thread".into(), 100_000.0)));
        assert_eq!(of("shared client, 1,024 tasks awaiting").standing(), Standing::Holds);
        assert_eq!(of("CPU of the client").reading.figure, Ok(1.0 / 8.0));
        assert_eq!(of("inline, 1,024 in flight, one core").standing(), Standing::NotMeasured);
    }
}
