//! From runs to rows: medians, spreads, ratios to the floor and to the peers of the same row.
//!
//! A *row* is one course and all who ran it, in turns. Its floor is the best median among the modes of the floor. Medians
//! of an even number are the lower of the two, a value that was really seen. Who failed in a round is named with the
//! reason and has no median, and a floor of which one mode failed is none.

use std::fmt::Write;

use crate::contestant::{Course, Failure, Kind};
use crate::meter::{Latency, Run};

/// One course, all contestants.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// What was run.
    pub course: Course,
    /// In the order in which they took turns.
    pub entries: Vec<Entry>,
}

/// One contestant's runs in one row.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Who.
    pub name: String,
    /// What it is compared as.
    pub kind: Kind,
    /// One a round, until it failed.
    pub runs: Vec<Run>,
    /// Why it has no runs, or not all: it took no further turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
}

/// What a call takes in the steady state, counted in runs of their own.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Blocks taken from the allocator, by all threads of the client.
    pub allocations: Option<f64>,
    /// Their bytes.
    pub allocated_bytes: Option<f64>,
    /// System calls, of all threads of the client.
    pub syscalls: Option<f64>,
    /// How these were counted.
    pub syscalls_by: String,
}

/// Median, smallest, largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Row {
    /// The floor of this row, in calls per second; `None` when no floor ran, or one of its modes failed: it may have been the best.
    pub fn floor(&self) -> Option<f64> {
        self.best_of_all(|entry| entry.kind == Kind::Floor).and_then(Entry::median)
    }

    /// The fastest of those for whom this holds, unless one of them failed: it may have been faster.
    pub fn best_of_all(&self, holds: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        let has_failed = self.entries.iter().any(|entry| holds(entry) && entry.failed.is_some());
        if has_failed { None } else { self.best(holds) }
    }

    /// The fastest of those for whom this holds.
    pub fn best(&self, holds: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        let able = self.entries.iter().filter(|entry| holds(entry) && entry.median().is_some());
        able.max_by(|one, other| one.median().unwrap_or(0.0).total_cmp(&other.median().unwrap_or(0.0)))
    }

    /// The contestant of this name, if it never failed.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name && entry.median().is_some())
    }

    /// The fastest client that people use instead.
    pub fn peer(&self) -> Option<&Entry> {
        self.best(|entry| entry.kind.is_peer())
    }

    /// This row for people.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n", self.course);
        let head = ["", "calls/s", "[min..max]", "of floor", "client s/M", "target s/M", "p99 ms"];
        let [a, b, c, d, e, f, g] = head;
        let latency = self.course.latency;
        let width = self.entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0).max(22);
        // Writing to a String cannot fail.
        let _ = write!(text, "  {a:<width$}{b:>10}  {c:<20}{d:>10}{e:>12}{f:>12}");
        let _ = if latency { writeln!(text, "{g:>10}") } else { writeln!(text) };
        for entry in &self.entries {
            let name = &entry.name;
            if let Some(why) = &entry.failed {
                let _ = writeln!(text, "  {name:<width$}    failed: {why}");
                continue;
            }
            let Some(rate) = entry.rate() else { continue };
            let range = format!("[{}..{}]", short(rate.min), short(rate.max));
            let ratio = self.floor().map_or("-".into(), |floor| format!("{:.3}", rate.median / floor));
            let (client, target) = entry.cpu_per_million();
            let median = short(rate.median);
            let _ = write!(
                text,
                "  {name:<width$}{median:>10}  {range:<20}{ratio:>10}{client:>12.3}{target:>12.3}"
            );
            let p99 = entry.latency().map_or("-".into(), |latency| format!("{:.2}", latency.p99_us / 1e3));
            let _ = if latency { writeln!(text, "{p99:>10}") } else { writeln!(text) };
        }
        text
    }
}

impl Entry {
    /// One that has not run yet.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind, runs: Vec::new(), failed: None, counts: None }
    }

    /// Notes a turn.
    pub fn note(&mut self, run: Result<Run, Failure>) {
        match run {
            Ok(run) => self.runs.push(run),
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    /// Calls per second over the rounds.
    pub fn rate(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(Run::rate))
    }

    /// Median calls per second of a contestant that never failed.
    pub fn median(&self) -> Option<f64> {
        self.rate().filter(|_| self.failed.is_none()).map(|rate| rate.median)
    }

    /// Median CPU seconds per million calls: the client's, the target's.
    pub fn cpu_per_million(&self) -> (f64, f64) {
        let median =
            |value: fn(&Run) -> f64| Spread::of(self.runs.iter().map(value)).map_or(f64::NAN, |s| s.median);
        (median(|run| run.cpu_per_million().0), median(|run| run.cpu_per_million().1))
    }

    /// Medians over the rounds, where the times of calls were noted.
    pub fn latency(&self) -> Option<Latency> {
        let median = |value: fn(&Latency) -> f64| {
            Spread::of(self.runs.iter().filter_map(|run| run.latency.as_ref()).map(value)).map(|s| s.median)
        };
        Some(Latency {
            p50_us: median(|latency| latency.p50_us)?,
            p99_us: median(|latency| latency.p99_us)?,
            max_us: median(|latency| latency.max_us)?,
        })
    }

    /// Median resident bytes: idle, busy.
    pub fn memory(&self) -> Option<(f64, f64)> {
        let of = |value: fn(&Run) -> Option<u64>| {
            Spread::of(self.runs.iter().filter_map(value).map(|bytes| bytes as f64)).map(|s| s.median)
        };
        Some((of(|run| Some(run.memory?.idle_bytes))?, of(|run| Some(run.memory?.busy_bytes))?))
    }
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        Some(Self { median: values[(values.len() - 1) / 2], min, max })
    }
}

/// Three digits and a unit: 14.2M, 128K, 950.
pub fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 999.5e3 => (v / 1e6, "M"),
        v if v >= 999.5 => (v / 1e3, "K"),
        v => (v, ""),
    };
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::call::Era;
    use crate::contestant::Cores;
    use crate::link::Transport;

    pub(crate) fn course() -> Course {
        Course {
            transport: Transport::Tcp,
            era: Era::Modern,
            cores: Cores::Free,
            connections: 1,
            in_flight: 64,
            array: 1,
            seconds: 2.0,
            latency: false,
        }
    }

    pub(crate) fn run(calls: u64) -> Run {
        Run {
            calls,
            calls_in_all: calls + 10,
            seconds: 2.0,
            client_cpu_s: 1.0,
            target_cpu_s: 0.5,
            latency: None,
            memory: None,
            allocations: None,
        }
    }

    pub(crate) fn entry(name: &str, kind: Kind, calls: &[u64]) -> Entry {
        let mut entry = Entry::new(name, kind);
        calls.iter().for_each(|calls| entry.note(Ok(run(*calls))));
        entry
    }

    #[test]
    fn the_floor_is_the_best_of_its_modes() {
        let mut failed = entry("f", Kind::Floor, &[90_000_000]);
        failed.note(Err("it broke".into()));
        let entries = vec![
            entry("a", Kind::Floor, &[4_000_000, 2_000_000, 9_000_000]),
            entry("b", Kind::Floor, &[6_000_000, 6_000_000, 6_000_000]),
            entry("x", Kind::Volley, &[3_000_000]),
            entry("p", Kind::Rmcp, &[30_000]),
            entry("q", Kind::RmcpPooled, &[60_000]),
        ];
        let row = Row { course: course(), entries };
        assert_eq!(row.floor(), Some(3e6));
        assert_eq!(row.peer().unwrap().name, "q");
        let mut worse = row.clone();
        worse.entries.push(failed);
        assert_eq!((worse.entry("f"), worse.floor()), (None, None));
        let table = row.table();
        assert!(table.contains("2.00M  [1.00M..4.50M]"), "{table}");
        assert!(worse.table().contains("failed: it broke"), "{}", worse.table());
        assert!(table.lines().nth(4).unwrap().contains("0.500"), "{table}");
    }

    #[test]
    fn a_row_survives_its_json() {
        let row = Row { course: course(), entries: vec![entry("a", Kind::Wrk, &[1, 2])] };
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
    }

    #[test]
    fn three_digits_always() {
        let seen = [14_230_000.0, 9_994_000.0, 999_600.0, 128_400.0, 9_996.0, 950.0, 1.0].map(short);
        assert_eq!(seen, ["14.2M", "9.99M", "1.00M", "128K", "10.0K", "950", "1.00"]);
    }
}
