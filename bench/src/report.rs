//! From runs to a table: medians, spreads, ratios to the floor.
//!
//! A *row* is one transport and one window. Its floor is the best median among the floor's modes of
//! the same row, measured in the same rounds. Medians of an even number are the lower of the two,
//! a value that was really seen.

use std::fmt::Write;
use std::io;

use crate::floor::Era;
use crate::link::Transport;
use crate::meter::Run;
use crate::registry::Conditions;

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

/// One transport, one window, all contestants.
#[derive(Debug, serde::Serialize)]
pub struct Row {
    /// What carried the bytes.
    pub transport: Transport,
    /// Calls kept in flight.
    pub in_flight: usize,
    /// In the order in which they took turns.
    pub entries: Vec<Entry>,
}

/// One contestant's runs in one row.
#[derive(Debug, serde::Serialize)]
pub struct Entry {
    /// Who.
    pub name: &'static str,
    /// Whether it is a mode of the floor.
    pub floor: bool,
    /// One a round.
    pub runs: Vec<Run>,
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

impl Report {
    /// An empty one, for runs that start now.
    ///
    /// # Errors
    ///
    /// When the system does not say how busy it is.
    pub fn new(conditions: Conditions) -> io::Result<Self> {
        Ok(Self {
            schema: 1,
            era: conditions.era,
            one_core: conditions.one_core,
            load_before: load()?,
            rows: Vec::new(),
        })
    }
}

impl Row {
    /// The floor of this row, in calls per second; `None` when no floor ran.
    pub fn floor(&self) -> Option<f64> {
        let floors = self.entries.iter().filter(|entry| entry.floor);
        floors.filter_map(Entry::rate).map(|rate| rate.median).max_by(f64::total_cmp)
    }

    /// This row for people.
    pub fn table(&self) -> String {
        let mut text = format!("{}, {} in flight\n", self.transport, self.in_flight);
        let head = ["", "calls/s", "[min..max]", "of floor", "client s/M", "target s/M"];
        let [a, b, c, d, e, f] = head;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {a:<22}{b:>10}  {c:<20}{d:>10}{e:>12}{f:>12}");
        for entry in &self.entries {
            let Some(rate) = entry.rate() else { continue };
            let range = format!("[{}..{}]", short(rate.min), short(rate.max));
            let ratio = self.floor().map_or("-".into(), |floor| format!("{:.3}", rate.median / floor));
            let (client, target) = entry.cpu_per_million();
            let _ = writeln!(
                text,
                "  {:<22}{:>10}  {range:<20}{ratio:>10}{client:>12.3}{target:>12.3}",
                entry.name,
                short(rate.median)
            );
        }
        text
    }
}

impl Entry {
    /// Calls per second over the rounds.
    pub fn rate(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(Run::rate))
    }

    /// Median CPU seconds per million calls: the client's, the target's.
    pub fn cpu_per_million(&self) -> (f64, f64) {
        let median =
            |value: fn(&Run) -> f64| Spread::of(self.runs.iter().map(value)).map_or(f64::NAN, |s| s.median);
        (median(|run| run.cpu_per_million().0), median(|run| run.cpu_per_million().1))
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

/// The machine's load over the last minute.
///
/// # Errors
///
/// When the system does not say.
pub fn load() -> io::Result<f64> {
    let loads = std::fs::read_to_string("/proc/loadavg")?;
    let minute = loads.split_ascii_whitespace().next().and_then(|load| load.parse().ok());
    minute.ok_or_else(|| io::Error::other("/proc/loadavg holds no load"))
}

/// Three digits and a unit: 14.2M, 128K, 950.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 999.5e3 => (v / 1e6, "M"),
        v if v >= 999.5 => (v / 1e3, "K"),
        v => (v, ""),
    };
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &'static str, floor: bool, calls: &[u64]) -> Entry {
        let run = |&calls| Run { calls, seconds: 2.0, client_cpu_s: 1.0, target_cpu_s: 0.5 };
        Entry { name, floor, runs: calls.iter().map(run).collect() }
    }

    #[test]
    fn the_floor_is_the_best_of_its_modes() {
        let entries = vec![
            entry("a", true, &[4_000_000, 2_000_000, 9_000_000]),
            entry("b", true, &[6_000_000, 6_000_000, 6_000_000]),
            entry("x", false, &[3_000_000]),
        ];
        let row = Row { transport: Transport::Tcp, in_flight: 64, entries };
        assert_eq!(row.floor(), Some(3e6));
        let table = row.table();
        assert!(table.contains("2.00M  [1.00M..4.50M]"), "{table}");
        assert!(table.lines().last().unwrap().contains("0.500"), "{table}");
    }

    #[test]
    fn three_digits_always() {
        let seen = [14_230_000.0, 9_994_000.0, 999_600.0, 128_400.0, 9_996.0, 950.0, 1.0].map(short);
        assert_eq!(seen, ["14.2M", "9.99M", "1.00M", "128K", "10.0K", "950", "1.00"]);
    }
}
