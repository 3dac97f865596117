//! The result of a run as JSON, `volley.run/1`: the form that outlives this program.
//!
//! Keys are only ever added, and what is added later is optional when read, so that a baseline
//! of last year still compares. Units are in the keys: `_s` seconds, `_us` microseconds, `_bytes`;
//! values of `thresholds` are in calls/s, microseconds, or a share of one. `null` says that
//! something was not measured. Proof: `the_keys_are_the_promised_ones`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drive::{Measured, Specimen};
use crate::exit::Ending;
use crate::host::Host;
use crate::plan::{Plan, Stop, Target};
use crate::process::Spent;
use crate::record::{ArrayCounts, HttpCounts, Latencies, Tally};
use crate::threshold::Verdict;

/// The name of this form.
pub(crate) const SCHEMA: &str = "volley.run/1";

/// All that is known of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunResult {
    /// Always [`SCHEMA`].
    pub(crate) schema: String,
    /// Version of the program that measured.
    #[serde(default)]
    pub(crate) volley_version: String,
    /// When the run began, in UTC.
    #[serde(default)]
    pub(crate) started_at: String,
    /// What was loaded: `embedded`, or the TARGET as it was given.
    pub(crate) target: String,
    /// `http`, `https`, `sse`, `sse+https`, `ws`, `wss`, `tcp`, `tls+tcp`, `unix` or `stdio`.
    pub(crate) transport: String,
    /// The revision that was spoken.
    pub(crate) revision: String,
    /// Connections in all.
    pub(crate) connections: u32,
    /// Calls in flight on each connection.
    pub(crate) in_flight: u32,
    /// With an adaptive window: the calls that all connections together might have in flight at the end.
    #[serde(default)]
    pub(crate) adaptive_window: Option<u64>,
    /// Calls sent together; 1 is each by itself.
    #[serde(default = "one")]
    pub(crate) batch: u32,
    /// Generator threads.
    pub(crate) shards: u32,
    /// How long the engine polled before it slept; 0 is off.
    #[serde(default)]
    pub(crate) spin_us: f64,
    /// After which a call was given up.
    #[serde(default)]
    pub(crate) timeout_s: f64,
    /// The tool that was called.
    #[serde(default)]
    pub(crate) tool: String,
    /// Its arguments, before `{i}` was replaced.
    #[serde(default)]
    pub(crate) args: String,
    /// The text that each answer had to have, before `{i}` was replaced.
    #[serde(default)]
    pub(crate) expect: Option<String>,
    /// The warm-up that was asked for, as a time.
    #[serde(default)]
    pub(crate) warmup_s: Option<f64>,
    /// The warm-up that was asked for, as a count.
    #[serde(default)]
    pub(crate) warmup_calls: Option<u64>,
    /// The time over which the rate was taken.
    pub(crate) duration_s: f64,
    /// Whether Ctrl-C ended the run.
    #[serde(default)]
    pub(crate) interrupted: bool,
    /// Why workers gave up.
    #[serde(default)]
    pub(crate) faults: Vec<String>,
    /// How the measured calls ended.
    pub(crate) calls: Tally,
    /// How the calls of the warm-up ended.
    #[serde(default)]
    pub(crate) warmup: Tally,
    /// The first of each kind of trouble.
    #[serde(default)]
    pub(crate) specimens: Vec<Specimen>,
    /// Answers per second.
    pub(crate) calls_per_s: f64,
    /// How long the calls took.
    pub(crate) latency_us: LatencyUs,
    /// The same as a whole histogram in nanoseconds: HdrHistogram V2, deflated, Base64.
    #[serde(default)]
    pub(crate) latency_hdr: String,
    /// CPU time on both sides.
    pub(crate) cpu_s_per_million_calls: Sides<f64>,
    /// Peak memory on both sides.
    pub(crate) peak_rss_bytes: Sides<u64>,
    /// Sockets and requests, from the first connection to the last answer; only over HTTP.
    #[serde(default)]
    pub(crate) http: Option<HttpCounts>,
    /// How many calls left in arrays; only in batches.
    #[serde(default)]
    pub(crate) arrays: Option<ArrayCounts>,
    /// The machine.
    pub(crate) host: Host,
    /// The thresholds, judged.
    #[serde(default)]
    pub(crate) thresholds: Vec<Verdict>,
}

/// Latencies in microseconds; `null` where no call has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LatencyUs {
    /// Median.
    pub(crate) p50: Option<f64>,
    /// Nine of ten.
    pub(crate) p90: Option<f64>,
    /// 99 of 100.
    pub(crate) p99: Option<f64>,
    /// 999 of 1000.
    pub(crate) p999: Option<f64>,
    /// The longest.
    pub(crate) max: Option<f64>,
    /// The mean.
    pub(crate) mean: Option<f64>,
}

/// The same quantity of the generator and of its target; `null` where it cannot be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sides<T> {
    /// Of this process.
    pub(crate) client: Option<T>,
    /// Of the servers it started.
    pub(crate) target: Option<T>,
}

/// What surrounds a measurement.
#[derive(Clone, Debug)]
pub(crate) struct Circumstances {
    /// When it began.
    pub(crate) started_at: String,
    /// The machine.
    pub(crate) host: Host,
    /// What it cost.
    pub(crate) spent: Spent,
}

impl RunResult {
    /// Puts everything together, and judges the thresholds.
    pub(crate) fn new(plan: &Plan, around: Circumstances, measured: Measured) -> Self {
        let summary = &measured.summary;
        let per_million = |cpu_s: Option<f64>| {
            let ended = summary.tally.sent - summary.tally.lost;
            cpu_s.filter(|_| ended > 0).map(|cpu_s| rounded(cpu_s * 1e6 / ended as f64, 1e6))
        };
        Self {
            schema: SCHEMA.to_owned(),
            volley_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: around.started_at,
            target: match &plan.target {
                Target::Embedded(_) => EMBEDDED.to_owned(),
                Target::Given(endpoint) => endpoint.to_string(),
            },
            transport: plan.target.transport().name().to_owned(),
            revision: measured.revision,
            connections: plan.connections,
            in_flight: plan.in_flight,
            adaptive_window: plan.adaptive.then_some(measured.window),
            batch: plan.batch,
            shards: plan.shards,
            spin_us: plan.spin.as_nanos() as f64 / 1e3,
            timeout_s: plan.timeout.as_secs_f64(),
            tool: plan.tool.clone(),
            args: plan.args_text.clone(),
            expect: plan.expect.as_ref().map(|expect| expect.text.clone()),
            warmup_s: plan.warmup.map_or(Some(Duration::ZERO), time_of).map(|time| time.as_secs_f64()),
            warmup_calls: plan.warmup.and_then(count_of),
            duration_s: rounded(summary.duration_s(), 1e6),
            interrupted: measured.interrupted,
            faults: measured.faults,
            calls: summary.tally,
            warmup: measured.warmup,
            specimens: measured.specimens.into_vec(),
            calls_per_s: rounded(summary.calls_per_s(), 1e3),
            latency_us: LatencyUs::of(&summary.latencies),
            latency_hdr: summary.latencies.to_base64(),
            cpu_s_per_million_calls: Sides {
                client: per_million(around.spent.client_cpu_s),
                target: per_million(around.spent.target_cpu_s),
            },
            peak_rss_bytes: Sides {
                client: around.spent.client_peak_rss,
                target: around.spent.target_peak_rss,
            },
            http: plan.target.transport().is_http().then_some(measured.http),
            arrays: (plan.batch > 1).then_some(measured.arrays),
            host: around.host,
            thresholds: plan.thresholds.iter().map(|threshold| threshold.judge(summary)).collect(),
        }
    }

    /// What decides the exit code.
    pub(crate) fn ending(&self) -> Ending {
        Ending {
            interrupted: self.interrupted,
            failed: !self.faults.is_empty() || self.calls.answered == 0,
            untrue: self.calls.untrue() || self.warmup.untrue(),
            broken: self.thresholds.iter().any(|verdict| !verdict.ok),
        }
    }

    /// Whether loadgen brought the target along.
    pub(crate) fn is_embedded(&self) -> bool {
        self.target == EMBEDDED
    }
}

impl LatencyUs {
    fn of(latencies: &Latencies) -> Self {
        Self {
            p50: latencies.percentile_us(50.0),
            p90: latencies.percentile_us(90.0),
            p99: latencies.percentile_us(99.0),
            p999: latencies.percentile_us(99.9),
            max: latencies.max_us(),
            mean: latencies.mean_us(),
        }
    }
}

const fn time_of(stop: Stop) -> Option<Duration> {
    match stop {
        Stop::Duration(time) => Some(time),
        Stop::Calls(_) => None,
    }
}

const fn count_of(stop: Stop) -> Option<u64> {
    match stop {
        Stop::Calls(calls) => Some(calls),
        Stop::Duration(_) => None,
    }
}

const fn one() -> u32 {
    1
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

const EMBEDDED: &str = "embedded";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::tests::plan;
    use crate::record::tests::summary;

    /// A good run on a known machine, for tests here and elsewhere.
    pub(crate) fn result(words: &[&str]) -> RunResult {
        let host = Host {
            cpu: "Abacus 9".into(),
            cores: 2,
            kernel: "6.18".into(),
            governor: None,
            load_1m: Some(0.25),
        };
        let spent = Spent {
            client_cpu_s: Some(0.000_5),
            target_cpu_s: Some(0.000_25),
            client_peak_rss: Some(12 << 20),
            target_peak_rss: Some(3 << 20),
        };
        let around = Circumstances { started_at: "2026-11-21T07:00:00Z".into(), host, spent };
        let measured = Measured { summary: summary(), revision: "2025-11-25".into(), ..Measured::default() };
        RunResult::new(&plan(words).unwrap(), around, measured)
    }

    fn keys(value: &serde_json::Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn the_keys_are_the_promised_ones() {
        let value = serde_json::to_value(result(&["--threshold", "rate>1"])).unwrap();
        let promised = [
            "schema",
            "target",
            "transport",
            "revision",
            "connections",
            "in_flight",
            "shards",
            "duration_s",
            "calls",
            "calls_per_s",
            "latency_us",
            "cpu_s_per_million_calls",
            "peak_rss_bytes",
            "host",
        ];
        for key in promised {
            assert!(value.get(key).is_some(), "{key}");
        }
        let mut calls = keys(&value["calls"]);
        calls.retain(|key| *key != "stray");
        let mut expected =
            ["sent", "answered", "tool_errors", "rpc_errors", "timed_out", "failed", "wrong", "lost"];
        calls.sort_unstable();
        expected.sort_unstable();
        assert_eq!(calls, expected);
        let mut latency = keys(&value["latency_us"]);
        latency.sort_unstable();
        assert_eq!(latency, ["max", "mean", "p50", "p90", "p99", "p999"]);
        for sides in ["cpu_s_per_million_calls", "peak_rss_bytes"] {
            assert_eq!(keys(&value[sides]), ["client", "target"]);
        }
        assert!(["cpu", "cores", "kernel"].iter().all(|key| value["host"].get(key).is_some()));
        assert_eq!(value["schema"], "volley.run/1");
        assert_eq!(value["thresholds"][0]["ok"], true);
    }

    #[test]
    fn numbers_are_in_the_units_of_their_keys() {
        let result = result(&["-w", "10k", "--spin", "50us"]);
        assert_eq!((result.duration_s, result.calls_per_s), (1.0, 1000.0));
        assert!((result.latency_us.p99.unwrap() - 990.0).abs() < 1.0);
        assert_eq!(result.cpu_s_per_million_calls, Sides { client: Some(0.5), target: Some(0.25) });
        assert_eq!((result.warmup_calls, result.warmup_s, result.spin_us), (Some(10_000), None, 50.0));
    }

    #[test]
    fn what_is_written_reads_back_and_what_is_missing_is_filled_in() {
        let result = result(&[]);
        let text = serde_json::to_string_pretty(&result).unwrap();
        assert_eq!(serde_json::from_str::<RunResult>(&text).unwrap(), result);
        let least = r#"{"schema":"volley.run/1","target":"embedded","transport":"tcp","revision":"2025-11-25",
            "connections":1,"in_flight":64,"shards":1,"duration_s":1.0,"calls":{"sent":1,"answered":1,
            "tool_errors":0,"rpc_errors":0,"timed_out":0,"failed":0,"wrong":0,"lost":0},"calls_per_s":1.0,
            "latency_us":{"p50":1.0,"p90":1.0,"p99":1.0,"p999":1.0,"max":1.0,"mean":null},
            "cpu_s_per_million_calls":{"client":1.0,"target":null},
            "peak_rss_bytes":{"client":1,"target":null},"host":{"cpu":"x","cores":1,"kernel":"y"}}"#;
        assert!(serde_json::from_str::<RunResult>(least).is_ok());
    }

    #[test]
    fn sockets_are_told_over_http_only_and_no_secret_is() {
        assert_eq!((result(&[]).http, result(&[]).arrays, result(&[]).batch), (None, None, 1));
        assert_eq!(result(&["--batch", "10"]).arrays, Some(ArrayCounts::default()));
        let over_http =
            result(&["http://h/mcp", "-H", "X-Key: hunter2", "--bearer-env", "CARGO_PKG_AUTHORS"]);
        assert_eq!((over_http.http, over_http.transport.as_str()), (Some(HttpCounts::default()), "http"));
        let text = serde_json::to_string(&over_http).unwrap();
        assert!(
            !text.contains("hunter2") && !text.contains(&std::env::var("CARGO_PKG_AUTHORS").unwrap()),
            "{text}"
        );
    }

    #[test]
    fn no_answer_at_all_is_a_failed_run() {
        let mut result = result(&[]);
        assert_eq!(crate::exit::Exit::of_run(result.ending()), crate::exit::Exit::Good);
        result.calls = Tally { sent: 5, timed_out: 5, ..Tally::default() };
        assert!(result.ending().failed && !result.ending().untrue);
        result.warmup.wrong = 1;
        assert!(result.ending().untrue);
    }
}
