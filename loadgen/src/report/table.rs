//! A result for people: one block of aligned lines, the verdict last.
//!
//! Pure: a [`RunResult`] in, text out. The line of the verdict contains `lost 0 wrong 0` in
//! every good run; scripts may look for that, though the exit code says the same.

use std::fmt::Write;

use super::schema::RunResult;
use super::words::{brief, bytes, grouped, micros, several};
use crate::record::{ArrayCounts, HttpCounts, Tally};

/// Draws the table, with a line break at its end.
pub(crate) fn render(result: &RunResult) -> String {
    let mut table = Table(String::new());
    let embedded = if result.is_embedded() { "loadgen's own, over ".to_owned() } else { String::new() };
    let reached = if result.is_embedded() { &result.transport } else { &result.target };
    let revision = if result.revision.is_empty() { "none agreed on" } else { &result.revision };
    table.row("target", &format!("{embedded}{reached}  MCP {revision}"));
    table.row("load", &load(result));
    let calls = result.calls;
    table.row("calls", &format!("sent {}  answered {}", grouped(calls.sent), grouped(calls.answered)));
    table.row("errors", &errors(&calls));
    table.row(
        "rate",
        &format!("{} calls/s over {:.3} s", grouped_rate(result.calls_per_s), result.duration_s),
    );
    table.row("latency", &latency(result));
    table.row(
        "cpu",
        &sides(
            result.cpu_s_per_million_calls.client,
            result.cpu_s_per_million_calls.target,
            |s| format!("{s:.3} s"),
            " per million calls",
        ),
    );
    table.row(
        "memory",
        &sides(result.peak_rss_bytes.client, result.peak_rss_bytes.target, bytes, " at the peak"),
    );
    if let Some(http) = &result.http {
        table.row("http", &self::http(http));
    }
    if let Some(arrays) = &result.arrays {
        table.row("arrays", &self::arrays(arrays));
    }
    table.row("host", &host(result));
    for verdict in &result.thresholds {
        table.row("threshold", &verdict.to_string());
    }
    if result.warmup.untrue() {
        table.row("warm-up", &format!("{}  {}", errors(&result.warmup), truth(&result.warmup)));
    }
    for specimen in &result.specimens {
        let call = specimen.call.map_or(String::new(), |number| format!(" call {number}"));
        table.row("first", &format!("{}{call}: {}", specimen.kind, specimen.detail));
    }
    for fault in &result.faults {
        table.row("fault", fault);
    }
    table.row("verdict", &format!("{}  {}", truth(&calls), verdict(result)));
    table.0
}

struct Table(String);

impl Table {
    fn row(&mut self, name: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:<LABEL_WIDTH$}  {text}");
    }
}

fn load(result: &RunResult) -> String {
    let warmup = match (result.warmup_s, result.warmup_calls) {
        (_, Some(calls)) => format!("after {} calls of warm-up", grouped(calls)),
        (Some(seconds), None) if seconds > 0.0 => format!("after {seconds} s of warm-up"),
        _ => "without warm-up".to_owned(),
    };
    let batch = if result.batch > 1 { format!(", in batches of {}", result.batch) } else { String::new() };
    let spin = if result.spin_us > 0.0 { format!(", polling {} us", result.spin_us) } else { String::new() };
    let in_flight = match result.adaptive_window {
        Some(window) => {
            format!(
                "auto:{} in flight (at the end {} in all)",
                grouped(result.in_flight.into()),
                grouped(window)
            )
        }
        None => format!("{} in flight", grouped(result.in_flight.into())),
    };
    format!(
        "{} x {in_flight}{batch}, {}{spin}, tool {}, {warmup}",
        several(result.connections, "connection"),
        several(result.shards, "shard"),
        result.tool
    )
}

fn errors(calls: &Tally) -> String {
    format!(
        "tool errors {}  rpc errors {}  timed out {}  failed {}",
        grouped(calls.tool_errors),
        grouped(calls.rpc_errors),
        grouped(calls.timed_out),
        grouped(calls.failed)
    )
}

/// The words that scripts look for.
fn truth(calls: &Tally) -> String {
    let stray =
        if calls.stray > 0 { format!(" answered twice {}", grouped(calls.stray)) } else { String::new() };
    format!("lost {} wrong {}{stray}", grouped(calls.lost), grouped(calls.wrong))
}

fn grouped_rate(calls_per_s: f64) -> String {
    grouped(calls_per_s.round() as u64)
}

fn latency(result: &RunResult) -> String {
    let us = result.latency_us;
    let told: Vec<String> = [
        ("p50", us.p50),
        ("p90", us.p90),
        ("p99", us.p99),
        ("p99.9", us.p999),
        ("max", us.max),
        ("mean", us.mean),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| format!("{name} {}", micros(value))))
    .collect();
    if told.is_empty() { "none: no call was answered".to_owned() } else { told.join("  ") }
}

fn sides<T>(client: Option<T>, target: Option<T>, tell: impl Fn(T) -> String, unit: &str) -> String {
    let told: Vec<String> = [("client", client), ("target", target)]
        .into_iter()
        .filter_map(|(side, value)| value.map(|value| format!("{side} {}", tell(value))))
        .collect();
    if told.is_empty() { "not measured".to_owned() } else { told.join("  ") + unit }
}

fn http(counts: &HttpCounts) -> String {
    format!(
        "sockets {}  closed by the server while free {}  requests {}  sessions lost {}  streams resumed {}",
        grouped(counts.sockets),
        grouped(counts.idle_closed),
        grouped(counts.requests),
        grouped(counts.sessions_lost),
        grouped(counts.streams_resumed)
    )
}

fn arrays(counts: &ArrayCounts) -> String {
    format!(
        "sent {}  calls in them {}  refused {}",
        grouped(counts.sent),
        grouped(counts.calls),
        grouped(counts.refused)
    )
}

fn host(result: &RunResult) -> String {
    let host = &result.host;
    let governor = host.governor.as_ref().map_or(String::new(), |governor| format!(", governor {governor}"));
    let load = host.load_1m.map_or(String::new(), |load| format!(", load {load:.2} before the run"));
    format!("{}, {} cores, kernel {}{governor}{load}", host.cpu, host.cores, host.kernel)
}

fn verdict(result: &RunResult) -> String {
    let ending = result.ending();
    let broken = result.thresholds.iter().filter(|verdict| !verdict.ok).count();
    match ending {
        _ if ending.untrue => "FAILED: not every call came back once and right".to_owned(),
        _ if ending.interrupted => "interrupted: this is what was measured so far".to_owned(),
        _ if !result.faults.is_empty() => "FAILED: the run did not get to its end".to_owned(),
        _ if ending.failed => "FAILED: no call was answered".to_owned(),
        _ if ending.broken => format!("BROKEN: {} of {} thresholds", broken, result.thresholds.len()),
        _ => {
            let errors = result.calls.errors();
            let word = if errors == 0 {
                "good".to_owned()
            } else {
                format!("done, with {} errors", grouped(errors))
            };
            format!("{word}, {} calls/s", brief(result.calls_per_s))
        }
    }
}

const LABEL_WIDTH: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::schema::tests::result;

    #[test]
    fn a_good_run_looks_like_this() {
        let expected = "\
target     loadgen's own, over tcp  MCP 2025-11-25
load       1 connection x 64 in flight, 1 shard, tool echo, after 1 s of warm-up
calls      sent 1,000  answered 1,000
errors     tool errors 0  rpc errors 0  timed out 0  failed 0
rate       1,000 calls/s over 1.000 s
latency    p50 500 us  p90 900 us  p99 990 us  p99.9 1.00 ms  max 1.00 ms  mean 501 us
cpu        client 0.500 s  target 0.250 s per million calls
memory     client 12.0 MiB  target 3.0 MiB at the peak
host       Abacus 9, 2 cores, kernel 6.18, load 0.25 before the run
threshold  held  errors<1%  (errors was 0.0000 %, bound 1 %)
verdict    lost 0 wrong 0  good, 1.00K calls/s
";
        let rendered = render(&result(&["--threshold", "errors<1%"]));
        assert_eq!(rendered, expected);
    }

    #[test]
    fn trouble_is_named_where_it_is() {
        let mut bad = result(&["tcp://h:1", "-w", "0"]);
        bad.calls = Tally { sent: 1000, answered: 998, wrong: 2, lost: 2, stray: 1, ..Tally::default() };
        bad.faults.push("the engine gave up".into());
        let rendered = render(&bad);
        assert!(rendered.contains("target     tcp://h:1  MCP 2025-11-25\n"), "{rendered}");
        assert!(rendered.contains("without warm-up"));
        assert!(rendered.contains("fault      the engine gave up\n"));
        assert!(rendered.contains("verdict    lost 2 wrong 2 answered twice 1  FAILED: not every call"));
    }

    #[test]
    fn sockets_have_a_line_over_http() {
        let mut web = result(&["http://h/mcp"]);
        web.http = Some(HttpCounts { sockets: 64, requests: 1002, ..HttpCounts::default() });
        let line = "http       sockets 64  closed by the server while free 0  requests 1,002  sessions lost 0  streams resumed 0\n";
        assert!(render(&web).contains(line), "{}", render(&web));
        assert!(!render(&result(&[])).contains("http "));
    }

    #[test]
    fn the_verdict_says_why() {
        let mut broken = result(&["--threshold", "rate>2k"]);
        assert!(render(&broken).contains("lost 0 wrong 0  BROKEN: 1 of 1 thresholds"));
        broken.interrupted = true;
        assert!(render(&broken).contains("lost 0 wrong 0  interrupted"));
        broken.interrupted = false;
        broken.calls = Tally { sent: 1, timed_out: 1, ..Tally::default() };
        assert!(render(&broken).contains("lost 0 wrong 0  FAILED: no call was answered"));
    }
}
