//! From runs to a table: each contestant against wrk, the SDK's client, and the SDK's client with a pool.
//!
//! A *row* is one number of connections; ratios are of medians of the same row. Where several
//! contestants are of one kind, the fastest of them is the one that others are divided by.

use std::fmt::Write;
use std::num::NonZeroUsize;

use super::racer::Kind;
use crate::contestant::Failure;
use crate::floor::Era;
use crate::meter::Run;
use crate::report::{Entry, short};

/// Everything one invocation measured; this is also the JSON.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// Raised when a field changes its meaning.
    pub schema: u32,
    /// The era of the calls.
    pub era: Era,
    /// Client and target shared a core.
    pub one_core: bool,
    /// The machine's load over the minute before the first run; what exceeds 0 was somebody else's.
    pub load_before: f64,
    /// In the order in which they ran.
    pub rows: Vec<Row>,
}

/// One number of connections, all contestants.
#[derive(Debug, serde::Serialize)]
pub struct Row {
    /// Connections, each with one call in flight.
    pub connections: NonZeroUsize,
    /// In the order in which they took turns.
    pub lanes: Vec<Lane>,
}

/// One contestant in one row.
#[derive(Debug, serde::Serialize)]
pub struct Lane {
    /// What it is compared as.
    pub kind: Kind,
    /// Its runs, one a round, until it failed.
    #[serde(flatten)]
    pub entry: Entry,
    /// Why it has no runs, or not all: it took no further turn.
    pub failed: Option<String>,
    /// Filled in by [`Row::compare`].
    pub ratios: Ratios,
}

/// Median calls per second by those of the fastest of a kind; `None` where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Ratios {
    /// By wrk.
    pub wrk: Option<f64>,
    /// By the SDK's client as it comes.
    pub rmcp: Option<f64>,
    /// By the SDK's client with a pool.
    pub rmcp_pooled: Option<f64>,
}

impl Lane {
    /// One that has not run yet.
    pub fn new(kind: Kind, name: &'static str) -> Self {
        let entry = Entry { name, floor: false, runs: Vec::new() };
        Self { kind, entry, failed: None, ratios: Ratios::default() }
    }

    /// Notes a turn, unless it has failed before.
    pub fn note(&mut self, run: Result<Run, Failure>) {
        match run {
            Ok(run) => self.entry.runs.push(run),
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    /// Median calls per second of a contestant that never failed.
    fn rate(&self) -> Option<f64> {
        self.entry.rate().filter(|_| self.failed.is_none()).map(|rate| rate.median)
    }
}

impl Row {
    /// Fills in the ratios.
    pub fn compare(&mut self) {
        let best = |kind| {
            let lanes = self.lanes.iter().filter(|lane| lane.kind == kind);
            lanes.filter_map(Lane::rate).max_by(f64::total_cmp)
        };
        let (wrk, rmcp, rmcp_pooled) = (best(Kind::Wrk), best(Kind::Rmcp), best(Kind::RmcpPooled));
        for lane in &mut self.lanes {
            let by = |other: Option<f64>| Some(lane.rate()? / other?);
            lane.ratios = Ratios { wrk: by(wrk), rmcp: by(rmcp), rmcp_pooled: by(rmcp_pooled) };
        }
    }

    /// This row for people.
    pub fn table(&self) -> String {
        let count = self.connections.get();
        let mut text = format!("{count} connection{}\n", if count == 1 { "" } else { "s" });
        let head =
            ["", "calls/s", "[min..max]", "of wrk", "of rmcp", "of pooled", "client s/M", "target s/M"];
        let [a, b, c, d, e, f, g, h] = head;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {a:<34}{b:>10}  {c:<20}{d:>9}{e:>9}{f:>10}{g:>12}{h:>12}");
        for lane in &self.lanes {
            let name = lane.entry.name;
            if let Some(why) = &lane.failed {
                let _ = writeln!(text, "  {name:<34}failed: {why}");
                continue;
            }
            let Some(rate) = lane.entry.rate() else { continue };
            let range = format!("[{}..{}]", short(rate.min), short(rate.max));
            let [wrk, rmcp, pooled] = [lane.ratios.wrk, lane.ratios.rmcp, lane.ratios.rmcp_pooled]
                .map(|ratio| ratio.map_or("-".into(), |ratio| format!("{ratio:.3}")));
            let (client, target) = lane.entry.cpu_per_million();
            let median = short(rate.median);
            let _ = writeln!(
                text,
                "  {name:<34}{median:>10}  {range:<20}{wrk:>9}{rmcp:>9}{pooled:>10}{client:>12.2}{target:>12.2}"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(kind: Kind, name: &'static str, calls: &[u64]) -> Lane {
        let mut lane = Lane::new(kind, name);
        for &calls in calls {
            lane.note(Ok(Run { calls, seconds: 1.0, client_cpu_s: 0.5, target_cpu_s: 0.25 }));
        }
        lane
    }

    #[test]
    fn ratios_are_of_medians_and_to_the_fastest_of_a_kind() {
        let mut failed = lane(Kind::RmcpPooled, "p", &[1_000_000]);
        failed.note(Err("it broke".into()));
        let lanes = vec![
            lane(Kind::Wrk, "w", &[100_000, 90_000, 400_000]),
            lane(Kind::Volley, "v", &[120_000, 110_000, 130_000]),
            lane(Kind::Rmcp, "r1", &[10_000]),
            lane(Kind::Rmcp, "r2", &[20_000]),
            failed,
        ];
        let mut row = Row { connections: NonZeroUsize::MIN, lanes };
        row.compare();
        assert_eq!(row.lanes[1].ratios, Ratios { wrk: Some(1.2), rmcp: Some(6.0), rmcp_pooled: None });
        assert_eq!(row.lanes[4].ratios, Ratios::default());
        let table = row.table();
        assert!(table.contains("failed: it broke"), "{table}");
        let words: Vec<_> = table.lines().nth(3).unwrap().split_ascii_whitespace().collect();
        assert_eq!(words[..6], ["v", "120K", "[110K..130K]", "1.200", "6.000", "-"]);
    }
}
