//! The words of the command line.
//!
//! Only the shape is checked here: which flags there are and which exclude each other. What a
//! word means is decided in [`crate::plan`], so that every value is judged in one place and
//! every refusal has the same form. clap ends the process with 2 on its own errors.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::endpoint::Transport;
use crate::target::ServeArgs;
use crate::web::WebArgs;

/// Measures MCP servers honestly, and gates on what it measured.
#[derive(Debug, clap::Parser)]
#[command(name = "loadgen", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The three things loadgen does.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Load a server and report what it did
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArgs>),
    /// Serve a fast MCP target, to have something to load
    Serve(Box<ServeArgs>),
    /// Compare a result with a baseline; exit 3 on a regression
    Gate(GateArgs),
}

/// The words of `loadgen run`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// http://HOST:PORT/PATH, https://, sse+http://, ws://, wss://, tcp://, tls+tcp://, unix:/PATH or 'stdio:COMMAND ARGS';
    /// without it, loadgen starts its own target
    #[arg(value_name = "TARGET", conflicts_with = "command")]
    pub(crate) target: Option<String>,
    /// Start this command and speak to it over stdio
    #[arg(last = true, value_name = "COMMAND ARGS")]
    pub(crate) command: Vec<OsString>,
    /// How to reach loadgen's own target [default: tcp]
    #[arg(long, value_enum, value_name = "TRANSPORT", help_heading = "Target")]
    pub(crate) transport: Option<Transport>,
    /// MCP revision: auto, 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25 or 2026-07-28
    #[arg(long, default_value = "auto", value_name = "DATE", help_heading = "Target")]
    pub(crate) revision: String,

    /// Connections; a stdio target is started once for each, over HTTP each is a session
    #[arg(short = 'c', long, default_value = "1", value_name = "COUNT", help_heading = "Load")]
    pub(crate) connections: String,
    /// Calls in flight on each connection; over HTTP/1.1 each takes a socket; `auto` or `auto:MAX` finds out how many the server is
    /// good for [default: 64, over HTTP 1]
    #[arg(short = 'p', long, value_name = "COUNT|auto[:MAX]", help_heading = "Load")]
    pub(crate) in_flight: Option<String>,
    /// Calls sent together, as one JSON-RPC array where the target takes any (revision 2025-03-26), else one by one
    #[arg(long, default_value = "1", value_name = "COUNT", help_heading = "Load")]
    pub(crate) batch: String,
    /// Stop after this many calls, such as 10k or 1m
    #[arg(short = 'n', long, conflicts_with = "duration", value_name = "COUNT", help_heading = "Load")]
    pub(crate) calls: Option<String>,
    /// Stop after this time, such as 500ms, 10s or 2m [default: 10s]
    #[arg(short = 'z', long, value_name = "TIME", help_heading = "Load")]
    pub(crate) duration: Option<String>,
    /// Warm up before measuring: a time (1s), or a count without `m` (500, 10k); 0 for none
    #[arg(short = 'w', long, default_value = "1s", value_name = "TIME|COUNT", help_heading = "Load")]
    pub(crate) warmup: String,
    /// Give a call up after this time
    #[arg(short = 't', long, default_value = "30s", value_name = "TIME", help_heading = "Load")]
    pub(crate) timeout: String,
    /// Generator threads, each with its own share of the connections
    #[arg(long, default_value = "1", value_name = "COUNT", help_heading = "Load")]
    pub(crate) shards: String,
    /// Poll this long before sleeping, such as 50us; off without it
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub(crate) spin: Option<String>,

    #[command(flatten)]
    pub(crate) web: WebArgs,

    /// Name of the tool to call
    #[arg(long, default_value = "echo", value_name = "NAME", help_heading = "Calls")]
    pub(crate) tool: String,
    /// Arguments, a JSON object; {i} becomes the number of the call [default: {"message":"call {i}"} for echo, else {}]
    #[arg(long, value_name = "JSON", help_heading = "Calls")]
    pub(crate) args: Option<String>,
    /// Text that each answer must contain, {i} as above; '' checks nothing
    #[arg(long, value_name = "TEXT", help_heading = "Calls")]
    pub(crate) expect: Option<String>,

    /// Exit 99 unless this holds, such as 'rate>=500k', 'p(99)<5ms', 'errors<0.1%'; may be repeated
    #[arg(long, value_name = "EXPR", help_heading = "Verdict")]
    pub(crate) threshold: Vec<String>,
    /// Write the result as JSON to this file; - for stdout, the table then goes to stderr
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// Show no progress
    #[arg(long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// The words of `loadgen gate`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GateArgs {
    /// The result to compare with
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: PathBuf,
    /// The result to judge
    #[arg(value_name = "RESULT")]
    pub(crate) result: PathBuf,
    /// How much worse throughput, p50 and CPU may be, in percent
    #[arg(long, default_value = "10", value_name = "PERCENT", value_parser = percent)]
    pub(crate) limit: f64,
    /// How much worse p99 may be, in percent; wider, because one run says little about a tail
    #[arg(long, default_value = "30", value_name = "PERCENT", value_parser = percent)]
    pub(crate) limit_p99: f64,
}

/// Reads `10` or `10%`.
fn percent(text: &str) -> Result<f64, String> {
    match text.trim().trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(value) if value > 0.0 && value <= PERCENT_MAX => Ok(value),
        _ => Err(format!("not a percentage above 0 and at most {PERCENT_MAX}; write it like 10")),
    }
}

const PERCENT_MAX: f64 = 1000.0;

const EXIT_CODES: &str = "\
Exit codes: 0 good; 1 the run failed, or a call was lost or answered wrongly; 2 usage;
3 regression; 99 a threshold was broken; 105 interrupted.";

const RUN_HELP: &str = "\
Examples:
  loadgen run                                         loadgen's own target over TCP, 10 s
  loadgen run --transport unix -p 1k -n 1m            a million calls, 1,000 in flight
  loadgen run tcp://localhost:7000 --tool add --args '{\"a\":{i},\"b\":1}'
  loadgen run -c 4 -- node server.js                  four processes over stdio
  loadgen run http://localhost:3001/mcp -c 4 -p 16    four sessions, 64 sockets
  loadgen run --threshold 'p(99)<5ms' --json out.json

Thresholds: rate (calls/s), avg, min, med, max, p(N) and errors, compared by <, <=, >, >=, ==.

Exit codes: 0 good; 1 the run failed, or a call was lost or answered wrongly; 2 usage;
99 a threshold was broken; 105 interrupted.";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_has_no_contradiction_in_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_left_alone() {
        let cli =
            Cli::try_parse_from(["loadgen", "run", "-c", "2", "--", "node", "server.js", "-n", "7"]).unwrap();
        let Command::Run(words) = cli.command else { panic!("not run") };
        assert_eq!(words.command, ["node", "server.js", "-n", "7"]);
        assert_eq!(words.calls, None);
    }

    #[test]
    fn usage_errors_exit_with_2() {
        for words in [
            vec!["loadgen"],
            vec!["loadgen", "run", "--nonsense"],
            vec!["loadgen", "run", "-n", "1", "-z", "1s"],
            vec!["loadgen", "run", "tcp://a:1", "--", "b"],
            vec!["loadgen", "run", "http://a/", "--http1", "--http2"],
            vec!["loadgen", "gate", "only.json"],
            vec!["loadgen", "gate", "--baseline", "a", "b", "--limit", "-3"],
        ] {
            assert_eq!(Cli::try_parse_from(&words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
