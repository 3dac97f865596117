//! From words to a [`Plan`] that is already valid: the one place where values are judged.
//!
//! After [`Plan::from_words`] nobody checks again. Each refusal names the flag, the value, what
//! is wrong or the bound, and what to write instead. Nothing is started here, and nothing opened
//! but the file of `--ca`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::RunArgs;
use crate::endpoint::{Endpoint, Transport};
use crate::refusal::Refusal;
use crate::template::Template;
use crate::threshold::Threshold;
use crate::units;
use crate::web::Web;

/// A run, decided to the last detail.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What is loaded.
    pub(crate) target: Target,
    /// The revision to insist on; `None` lets the engine find out.
    pub(crate) revision: Option<&'static str>,
    /// Connections in all, `shards <= connections`.
    pub(crate) connections: u32,
    /// Calls in flight on each connection; the most, if the window is adaptive.
    pub(crate) in_flight: u32,
    /// The engine finds out how many calls in flight the server is good for.
    pub(crate) adaptive: bool,
    /// Calls sent together; 1 is each by itself.
    pub(crate) batch: u32,
    /// Generator threads.
    pub(crate) shards: u32,
    /// What ends the measured phase.
    pub(crate) stop: Stop,
    /// What ends the warm-up; `None` for no warm-up.
    pub(crate) warmup: Option<Stop>,
    /// After which a call is given up.
    pub(crate) timeout: Duration,
    /// How long the engine polls before it sleeps; zero is off.
    pub(crate) spin: Duration,
    /// Headers, token and certificates; nothing for a target that is not on the web.
    pub(crate) web: Web,
    /// The tool that is called.
    pub(crate) tool: String,
    /// Its arguments, as they were written.
    pub(crate) args_text: String,
    /// Its arguments, compiled.
    pub(crate) args: Template,
    /// What an answer must say; `None` lets every answer pass.
    pub(crate) expect: Option<Expect>,
    /// What must hold at the end.
    pub(crate) thresholds: Vec<Threshold>,
    /// Where the JSON goes.
    pub(crate) json: Option<JsonTo>,
    /// Whether progress is shown.
    pub(crate) progress: bool,
}

/// What is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A server that somebody else answers for.
    Given(Endpoint),
    /// Our own, started for this run.
    Embedded(Transport),
}

/// What ends a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// So many calls sent.
    Calls(u64),
    /// So much time gone by.
    Duration(Duration),
}

/// What an answer must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expect {
    /// The text, with `{i}` in it.
    pub(crate) text: String,
    /// Whether it must be the whole text of a block, or may be a part of it.
    pub(crate) whole: bool,
}

/// Where the JSON result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JsonTo {
    /// To stdout, and everything else to stderr.
    Stdout,
    /// Into this file.
    File(PathBuf),
}

impl Plan {
    /// Judges all words of `loadgen run`.
    ///
    /// # Errors
    ///
    /// The first value that cannot be.
    pub(crate) fn from_words(words: &RunArgs) -> Result<Self, Refusal> {
        let target = target(words)?;
        let connections = bounded(CONNECTIONS, &words.connections)?;
        let adaptive = words.in_flight.as_deref().and_then(|text| text.strip_prefix(AUTO));
        let batch = bounded(BATCH, &words.batch)?;
        let in_flight = match &words.in_flight {
            Some(_) if adaptive == Some("") => match target.transport().is_http() {
                true => IN_FLIGHT_AUTO_HTTP,
                false => IN_FLIGHT_AUTO,
            },
            Some(text) => {
                bounded(IN_FLIGHT, adaptive.map_or(text, |most| most.strip_prefix(':').unwrap_or(text)))?
            }
            // Over HTTP/1.1 each call in flight is a socket, so how many is for the user to say.
            None if target.transport().is_http() => batch,
            None => IN_FLIGHT_DEFAULT.max(batch),
        };
        if batch > in_flight {
            return Err(Refusal {
                flag: "--batch",
                value: words.batch.clone(),
                wrong: format!(
                    "more than the {in_flight} calls in flight on a connection, no batch would be whole"
                ),
                hint: "raise -p, or lower --batch",
            });
        }
        let shards = bounded(SHARDS, &words.shards)?;
        if u64::from(connections.div_ceil(shards)) * u64::from(in_flight) > CALLS_IN_FLIGHT_MAX {
            return Err(Refusal {
                flag: "--connections x --in-flight",
                value: format!("{connections} x {in_flight}"),
                wrong: format!("more than {CALLS_IN_FLIGHT_MAX} calls in flight on one shard"),
                hint: "lower one of the two, or spread them over more --shards",
            });
        }
        if shards > connections {
            return Err(Refusal {
                flag: "--shards",
                value: words.shards.clone(),
                wrong: format!("more shards than connections ({connections}), some would have none"),
                hint: "raise -c, or lower --shards",
            });
        }
        let args_text = words.args.clone().unwrap_or_else(|| default_args(&words.tool).to_owned());
        Ok(Self {
            revision: revision(&words.revision)?,
            connections,
            in_flight,
            adaptive: adaptive.is_some(),
            batch,
            shards,
            stop: stop(words)?,
            warmup: warmup(&words.warmup)?,
            timeout: time("--timeout", &words.timeout, TIMEOUT_MIN, TIMEOUT_MAX)?,
            spin: words
                .spin
                .as_deref()
                .map_or(Ok(Duration::ZERO), |text| time("--spin", text, Duration::ZERO, SPIN_MAX))?,
            web: Web::from_words(&words.web, target.transport())?,
            tool: tool(&words.tool)?,
            args: Template::json_object(&args_text).map_err(|error| Refusal {
                flag: "--args",
                value: args_text.clone(),
                wrong: error.to_string(),
                hint: r#"write a JSON object like '{"message":"call {i}"}'"#,
            })?,
            args_text,
            expect: expect(words, &target),
            thresholds: words.threshold.iter().map(|text| threshold(text)).collect::<Result<_, _>>()?,
            json: words.json.as_ref().map(|path| match path.as_os_str() == "-" {
                true => JsonTo::Stdout,
                false => JsonTo::File(path.clone()),
            }),
            progress: !words.quiet,
            target,
        })
    }

    /// How many connections the shard of this index drives; at least one.
    pub(crate) const fn connections_of(&self, shard: u32) -> u32 {
        self.connections / self.shards + (shard < self.connections % self.shards) as u32
    }

    /// How many calls the shard of this index may have in flight.
    pub(crate) const fn calls_in_flight_of(&self, shard: u32) -> u32 {
        self.connections_of(shard) * self.in_flight
    }
}

impl Target {
    /// How it is reached.
    pub(crate) const fn transport(&self) -> Transport {
        match self {
            Self::Given(endpoint) => endpoint.transport(),
            Self::Embedded(transport) => *transport,
        }
    }
}

fn target(words: &RunArgs) -> Result<Target, Refusal> {
    let endpoint = match (&words.target, words.command.as_slice()) {
        (None, []) => return Ok(Target::Embedded(words.transport.unwrap_or(Transport::Tcp))),
        (Some(text), _) => Endpoint::parse(text).map_err(|error| Refusal {
            flag: "TARGET",
            value: text.clone(),
            wrong: error.to_string(),
            hint: "write http://HOST:PORT/PATH, https://..., sse+http://..., ws://..., wss://..., tcp://HOST:PORT, \
                   tls+tcp://HOST:PORT, unix:/PATH, 'stdio:COMMAND ARGS', or a command after --",
        })?,
        (None, command) => Endpoint::command(command.iter().cloned()).map_err(|error| Refusal {
            flag: "--",
            value: String::new(),
            wrong: error.to_string(),
            hint: "write the program and its arguments after --",
        })?,
    };
    match words.transport {
        None => Ok(Target::Given(endpoint)),
        Some(transport) => Err(Refusal {
            flag: "--transport",
            value: transport.name().to_owned(),
            wrong: format!("it chooses how to reach loadgen's own target, but {endpoint} is given"),
            hint: "leave out --transport, or the target",
        }),
    }
}

fn stop(words: &RunArgs) -> Result<Stop, Refusal> {
    match (&words.calls, &words.duration) {
        (Some(calls), _) => count("--calls", calls, 1, CALLS_MAX).map(Stop::Calls),
        (None, Some(text)) => time("--duration", text, DURATION_MIN, DURATION_MAX).map(Stop::Duration),
        (None, None) => Ok(Stop::Duration(DURATION_DEFAULT)),
    }
}

/// A bare number or `10k` is a count; everything with a unit of time is a time, and so is `2m`.
fn warmup(text: &str) -> Result<Option<Stop>, Refusal> {
    let counted = text.trim().ends_with(|c: char| c.is_ascii_digit() || c == 'k' || c == 'K');
    let stop = match counted {
        true => Stop::Calls(count("--warmup", text, 0, CALLS_MAX)?),
        false => Stop::Duration(time("--warmup", text, Duration::ZERO, DURATION_MAX)?),
    };
    Ok((!matches!(stop, Stop::Calls(0) | Stop::Duration(Duration::ZERO))).then_some(stop))
}

fn revision(text: &str) -> Result<Option<&'static str>, Refusal> {
    if text == "auto" {
        return Ok(None);
    }
    let known = REVISIONS.iter().find(|known| **known == text);
    known.map(|known| Some(*known)).ok_or_else(|| Refusal {
        flag: "--revision",
        value: text.to_owned(),
        wrong: format!("it is none of {}", REVISIONS.join(", ")),
        hint: "write one of these dates, or auto",
    })
}

fn tool(name: &str) -> Result<String, Refusal> {
    if name.is_empty() {
        return Err(Refusal {
            flag: "--tool",
            value: String::new(),
            wrong: "a tool has a name".into(),
            hint: "name one, such as echo",
        });
    }
    Ok(name.to_owned())
}

/// `echo` gets a message of its own per call; of other tools nothing is known.
fn default_args(tool: &str) -> &'static str {
    if tool == DEFAULT_TOOL { DEFAULT_ARGS } else { "{}" }
}

/// Our own target is known to give the message back, so there wrong answers count by default.
fn expect(words: &RunArgs, target: &Target) -> Option<Expect> {
    match &words.expect {
        Some(text) => (!text.is_empty()).then(|| Expect { text: text.clone(), whole: false }),
        None => (words.args.is_none() && words.tool == DEFAULT_TOOL && matches!(target, Target::Embedded(_)))
            .then(|| Expect { text: DEFAULT_EXPECT.to_owned(), whole: true }),
    }
}

fn threshold(text: &str) -> Result<Threshold, Refusal> {
    Threshold::parse(text).map_err(|error| Refusal {
        flag: "--threshold",
        value: text.to_owned(),
        wrong: error.to_string(),
        hint: "write it like 'rate>=500k', 'p(99)<5ms', 'avg<1ms', 'max<1s' or 'errors<0.1%'",
    })
}

/// A flag that takes a number of something, and the most it takes.
type Bounded = (&'static str, u32);

fn bounded((flag, most): Bounded, text: &str) -> Result<u32, Refusal> {
    let value = count(flag, text, 1, u64::from(most))?;
    Ok(u32::try_from(value).unwrap_or(most))
}

fn count(flag: &'static str, text: &str, least: u64, most: u64) -> Result<u64, Refusal> {
    let refuse = |wrong| Refusal { flag, value: text.to_owned(), wrong, hint: "write it like 64, 10k or 1m" };
    match units::count(text) {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        Ok(_) => Err(refuse(format!("not from {least} to {most}"))),
        Err(error) => Err(refuse(error.to_string())),
    }
}

fn time(flag: &'static str, text: &str, least: Duration, most: Duration) -> Result<Duration, Refusal> {
    let refuse =
        |wrong| Refusal { flag, value: text.to_owned(), wrong, hint: "write it like 50us, 500ms, 10s or 2m" };
    match units::duration(text) {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        Ok(_) => Err(refuse(format!("not from {} to {}", units::spell(least), units::spell(most)))),
        Err(error) => Err(refuse(error.to_string())),
    }
}

const CONNECTIONS: Bounded = ("--connections", 1 << 16);
const IN_FLIGHT: Bounded = ("--in-flight", 1 << 18);
const BATCH: Bounded = ("--batch", 10_000);
const IN_FLIGHT_DEFAULT: u32 = 64;
/// The word for an adaptive window, and its bound where none is given; over HTTP/1.1 each call is a socket.
const AUTO: &str = "auto";
const IN_FLIGHT_AUTO: u32 = 1024;
const IN_FLIGHT_AUTO_HTTP: u32 = 64;
const SHARDS: Bounded = ("--shards", 256);
/// What one shard of the engine takes; the fullest one is checked.
const CALLS_IN_FLIGHT_MAX: u64 = 1 << 18;
const CALLS_MAX: u64 = 1_000_000_000_000;
const DURATION_DEFAULT: Duration = Duration::from_secs(10);
/// Shorter than this, the clock readings at both ends would show in the rate.
const DURATION_MIN: Duration = Duration::from_millis(10);
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// The histogram ends at an hour, and so do the calls.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
const SPIN_MAX: Duration = Duration::from_secs(1);
const DEFAULT_TOOL: &str = "echo";
const DEFAULT_ARGS: &str = r#"{"message":"call {i}"}"#;
const DEFAULT_EXPECT: &str = "call {i}";
/// The revisions by name; what they mean is the engine's business.
const REVISIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    /// The plan of `loadgen run` with these words, for tests here and elsewhere.
    pub(crate) fn plan(words: &[&str]) -> Result<Plan, Refusal> {
        let cli = Cli::try_parse_from(["loadgen", "run"].iter().chain(words)).unwrap();
        let Command::Run(words) = cli.command else { panic!("not run") };
        Plan::from_words(&words)
    }

    fn refused(words: &[&str]) -> String {
        plan(words).unwrap_err().to_string()
    }

    #[test]
    fn without_words_it_loads_its_own_target_and_checks_the_answers() {
        let plan = plan(&[]).unwrap();
        assert_eq!(plan.target, Target::Embedded(Transport::Tcp));
        assert_eq!((plan.connections, plan.in_flight, plan.shards), (1, 64, 1));
        assert_eq!(plan.stop, Stop::Duration(Duration::from_secs(10)));
        assert_eq!(plan.warmup, Some(Stop::Duration(Duration::from_secs(1))));
        assert_eq!((plan.timeout, plan.spin), (Duration::from_secs(30), Duration::ZERO));
        assert_eq!(plan.expect, Some(Expect { text: "call {i}".into(), whole: true }));
        assert!(plan.progress && plan.json.is_none() && plan.revision.is_none());
    }

    #[test]
    fn only_what_is_known_is_expected_by_default() {
        assert_eq!(plan(&["tcp://h:1"]).unwrap().expect, None);
        assert_eq!(plan(&["--args", r#"{"message":"x"}"#]).unwrap().expect, None);
        assert_eq!(plan(&["--expect", ""]).unwrap().expect, None);
        let other = plan(&["--tool", "add"]).unwrap();
        assert_eq!((other.expect, other.args_text.as_str()), (None, "{}"));
        assert_eq!(
            plan(&["--expect", "n{i}"]).unwrap().expect,
            Some(Expect { text: "n{i}".into(), whole: false })
        );
    }

    #[test]
    fn targets_of_all_kinds_are_understood() {
        assert_eq!(plan(&["--transport", "unix"]).unwrap().target, Target::Embedded(Transport::Unix));
        let given = plan(&["-c", "2", "--", "node", "s.js"]).unwrap().target;
        assert_eq!(
            given,
            Target::Given(Endpoint::Stdio { program: "node".into(), args: vec!["s.js".into()] })
        );
        assert!(refused(&["tcp://h:1", "--transport", "tcp"]).starts_with("--transport `tcp`: "));
        assert_eq!(plan(&["--transport", "http"]).unwrap().target, Target::Embedded(Transport::Http));
        let url = plan(&["https://h/mcp"]).unwrap().target;
        assert_eq!(url.transport(), Transport::Https);
        assert!(refused(&["h:1"]).starts_with("TARGET `h:1`: it begins with none of"));
    }

    #[test]
    fn a_batch_fits_the_window() {
        assert_eq!(plan(&[]).unwrap().batch, 1);
        for (words, window) in [
            (&["--batch", "100"][..], 100),
            (&["--batch", "10"], 64),
            (&["http://h/", "--batch", "10"], 10),
            (&["--batch", "10", "-p", "20"], 20),
        ] {
            assert_eq!(plan(words).unwrap().in_flight, window, "{words:?}");
        }
        assert!(refused(&["--batch", "100", "-p", "64"]).starts_with("--batch `100`"));
        assert!(refused(&["--batch", "0"]).starts_with("--batch `0`"));
    }

    #[test]
    fn over_http_one_call_is_in_flight_unless_told_otherwise() {
        for (words, in_flight) in [
            (&["http://h/mcp"][..], 1),
            (&["sse+http://h/sse"], 1),
            (&["--transport", "http"], 1),
            (&["--transport", "http", "-p", "16"], 16),
            (&["ws://h/mcp"], 64),
            (&["tls+tcp://h:1"], 64),
        ] {
            assert_eq!(plan(words).unwrap().in_flight, in_flight, "{words:?}");
        }
    }

    #[test]
    fn an_adaptive_window_has_a_bound() {
        for (words, expected) in [
            (&["-p", "auto"][..], (true, 1024)),
            (&["-p", "auto:32"], (true, 32)),
            (&["-p", "auto", "http://h/mcp"], (true, 64)),
            (&["-p", "auto:1k", "http://h/mcp"], (true, 1000)),
            (&["-p", "32"], (false, 32)),
        ] {
            let plan = plan(words).unwrap();
            assert_eq!((plan.adaptive, plan.in_flight), expected, "{words:?}");
        }
        for wrong in ["auto:", "auto:0", "automatic", "auto32"] {
            assert!(refused(&["-p", wrong]).starts_with("--in-flight"), "{wrong}");
        }
    }

    #[test]
    fn a_warm_up_is_a_time_or_a_count() {
        for (text, stop) in [
            ("10k", Some(Stop::Calls(10_000))),
            ("500", Some(Stop::Calls(500))),
            ("2m", Some(Stop::Duration(Duration::from_secs(120)))),
            ("250ms", Some(Stop::Duration(Duration::from_millis(250)))),
            ("0", None),
            ("0s", None),
        ] {
            assert_eq!(plan(&["-w", text]).unwrap().warmup, stop, "{text}");
        }
    }

    #[test]
    fn a_refusal_names_flag_value_bound_and_remedy() {
        assert_eq!(
            refused(&["-c", "0"]),
            "--connections `0`: not from 1 to 65536; write it like 64, 10k or 1m"
        );
        assert_eq!(
            refused(&["-z", "10"]),
            "--duration `10`: a duration needs a unit (ns, us, ms, s, m, h); write it like 50us, 500ms, 10s or 2m"
        );
        assert!(refused(&["--shards", "2"]).contains("more shards than connections (1)"));
        assert!(refused(&["-c", "60k", "-p", "1k"]).contains("262144 calls in flight on one shard"));
        assert!(refused(&["--args", "[1]"]).contains("not an object"));
        assert!(refused(&["--revision", "2025-01-01"]).contains("2025-06-18"));
        assert!(refused(&["--threshold", "speed>3"]).starts_with("--threshold `speed>3`: "));
        assert!(refused(&["-t", "2h"]).contains("not from 1ms to 1h"));
    }

    #[test]
    fn shares_of_the_shards_add_up() {
        let plan = plan(&["-c", "10", "--shards", "4"]).unwrap();
        let shares: Vec<u32> = (0..4).map(|shard| plan.connections_of(shard)).collect();
        assert_eq!(shares, [3, 3, 2, 2]);
    }
}
