//! Two results side by side, row by row, each with a verdict.
//!
//! Comparable are results of the same load: same transport, revision, connections, window,
//! shards, polling, tool and arguments, and both or neither of our own target. A row is worse by
//! the signed change in its bad direction: down for throughput, up for latency and CPU. It fails
//! when it is worse by *more* than its limit. A row that one side did not measure is left out.
//! Pure. Proof: the tests below. One run against one run says little; whoever prints this says so.

use std::fmt;

use super::schema::{RunResult, SCHEMA};
use super::words::{brief, micros};

/// How much worse a row may be, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Throughput, p50 and CPU.
    pub(crate) ordinary: f64,
    /// p99.
    pub(crate) tail: f64,
}

/// One row of the comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    name: &'static str,
    unit: Unit,
    before: f64,
    after: f64,
    higher_is_worse: bool,
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Rate,
    Micros,
    CpuSeconds,
}

/// Why two results cannot be compared: what differs, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incomparable(Vec<String>);

/// Compares a result with its baseline.
///
/// # Errors
///
/// With everything that makes the loads different, not only the first of it.
pub(crate) fn compare(
    before: &RunResult,
    after: &RunResult,
    limits: Limits,
) -> Result<Vec<Row>, Incomparable> {
    let differences = differences(before, after);
    if !differences.is_empty() {
        return Err(Incomparable(differences));
    }
    let row = |name, unit, before: Option<f64>, after: Option<f64>, limit| {
        // From nothing there is no percentage.
        let before = before.filter(|before| *before > 0.0)?;
        Some(Row { name, unit, before, after: after?, higher_is_worse: unit != Unit::Rate, limit })
    };
    let (old, new) = (before.latency_us, after.latency_us);
    let (old_cpu, new_cpu) = (before.cpu_s_per_million_calls, after.cpu_s_per_million_calls);
    let rows = [
        row("Network I/O", Unit::Rate, Some(before.calls_per_s), Some(after.calls_per_s), limits.ordinary),
        row("Latency p50", Unit::Micros, old.p50, new.p50, limits.ordinary),
        row("Latency p99", Unit::Micros, old.p99, new.p99, limits.tail),
        row(
            "Client CPU per million calls",
            Unit::CpuSeconds,
            old_cpu.client,
            new_cpu.client,
            limits.ordinary,
        ),
    ];
    Ok(rows.into_iter().flatten().collect())
}

fn differences(before: &RunResult, after: &RunResult) -> Vec<String> {
    let of = |result: &RunResult| {
        let auto = if result.adaptive_window.is_some() { "auto:" } else { "" };
        let in_flight = format!("{auto}{}", result.in_flight);
        let window = (result.connections.to_string(), in_flight, result.shards.to_string());
        [
            ("schema", result.schema.clone()),
            ("target", if result.is_embedded() { "loadgen's own" } else { "given" }.to_owned()),
            ("transport", result.transport.clone()),
            ("revision", result.revision.clone()),
            ("connections", window.0),
            ("in_flight", window.1),
            ("batch", result.batch.to_string()),
            ("shards", window.2),
            ("spin_us", result.spin_us.to_string()),
            ("tool", result.tool.clone()),
            ("args", result.args.clone()),
        ]
    };
    let pairs = of(before).into_iter().zip(of(after));
    let mut different: Vec<String> = pairs
        .filter(|(before, after)| before != after)
        .map(|((key, before), (_, after))| format!("{key} was {before}, is {after}"))
        .collect();
    if before.schema == after.schema && before.schema != SCHEMA {
        different.push(format!("schema is {}, known is {SCHEMA}", before.schema));
    }
    different
}

impl Row {
    /// The change from the baseline, in percent, with its sign.
    pub(crate) fn change(&self) -> f64 {
        (self.after / self.before - 1.0) * 100.0
    }

    /// Whether it is not worse by more than its limit.
    pub(crate) fn passes(&self) -> bool {
        let worse_by = if self.higher_is_worse { self.change() } else { -self.change() };
        // A change of exactly the limit passes; the rest is what floating point cannot tell from it.
        worse_by <= self.limit + 1e-9
    }
}

impl Unit {
    fn tell(self, value: f64) -> String {
        match self {
            Self::Rate => format!("{} msg/s", brief(value)),
            Self::Micros => micros(value),
            Self::CpuSeconds => format!("{value:.3} s"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.unit.tell(self.before), self.unit.tell(self.after));
        let verdict = if self.passes() { "PASS" } else { "FAIL" };
        write!(f, "{}: {before} -> {after} ({:+.1}%) {verdict}", self.name, self.change())
    }
}

impl fmt::Display for Incomparable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "these two runs cannot be compared: {}", self.0.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::schema::tests::result;

    const LIMITS: Limits = Limits { ordinary: 10.0, tail: 30.0 };

    fn lines(before: &RunResult, after: &RunResult) -> Vec<String> {
        compare(before, after, LIMITS).unwrap().iter().map(Row::to_string).collect()
    }

    #[test]
    fn the_rows_are_those_of_the_seed() {
        let mut before = result(&[]);
        let mut after = before.clone();
        (before.calls_per_s, after.calls_per_s) = (43_000.0, 41_000.0);
        after.latency_us.p50 = before.latency_us.p50.map(|us| us * 1.05);
        after.latency_us.p99 = before.latency_us.p99.map(|us| us * 1.25);
        after.cpu_s_per_million_calls.client = Some(0.6);
        assert_eq!(
            lines(&before, &after),
            [
                "Network I/O: 43K msg/s -> 41K msg/s (-4.7%) PASS",
                "Latency p50: 500 us -> 525 us (+5.0%) PASS",
                "Latency p99: 990 us -> 1.24 ms (+25.0%) PASS",
                "Client CPU per million calls: 0.500 s -> 0.600 s (+20.0%) FAIL",
            ]
        );
    }

    #[test]
    fn better_never_fails_and_what_was_not_measured_is_left_out() {
        let before = result(&[]);
        let mut after = before.clone();
        after.calls_per_s *= 5.0;
        after.latency_us.p50 = Some(1.0);
        after.latency_us.p99 = None;
        after.cpu_s_per_million_calls.client = None;
        let rows = compare(&before, &after, LIMITS).unwrap();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(Row::passes));
    }

    #[test]
    fn a_different_load_is_not_compared_and_all_differences_are_named() {
        let before = result(&[]);
        let after = result(&["--transport", "unix", "-p", "128"]);
        let said = compare(&before, &after, LIMITS).unwrap_err().to_string();
        assert_eq!(
            said,
            "these two runs cannot be compared: transport was tcp, is unix; in_flight was 64, is 128"
        );
        for words in [
            &["-c", "2"][..],
            &["-c", "2", "--shards", "2"],
            &["--tool", "add"],
            &["--args", "{}"],
            &["--spin", "50us"],
            &["tcp://h:1"],
        ] {
            assert!(compare(&before, &result(words), LIMITS).is_err(), "{words:?}");
        }
        let mut other = before.clone();
        other.revision = "2026-07-28".into();
        assert!(compare(&before, &other, LIMITS).is_err());
    }

    proptest! {
        /// The verdict is that of the plain inequality, on both sides of the limit.
        #[test]
        fn a_row_fails_exactly_beyond_its_limit(change in -90_i32..300, limit in 1_u32..100) {
            let mut before = result(&[]);
            let mut after = before.clone();
            let factor = 1.0 + f64::from(change) / 100.0;
            before.calls_per_s = 1_000_000.0;
            after.calls_per_s = before.calls_per_s * factor;
            after.latency_us.p50 = before.latency_us.p50.map(|us| us * factor);
            let limits = Limits { ordinary: f64::from(limit), tail: 30.0 };
            let rows = compare(&before, &after, limits).unwrap();
            prop_assert_eq!(rows[0].passes(), -change <= limit as i32);
            prop_assert_eq!(rows[1].passes(), change <= limit as i32);
        }
    }
}
