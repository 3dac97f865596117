//! The words of `loadgen serve`, and the valid [`Options`] they are parsed into.
//!
//! Each value is checked by its own parser while clap reads it, so an error names the flag, the
//! value and the bound. What only shows when flags meet is checked once, in [`ServeArgs::parse`].
//! Nobody checks again after that.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::behaviour::{Behaviour, Delay, Rate, Shape};
use super::quantity;
use super::revision::Offer;
use super::web_args::{Web, WebArgs};

/// Serve a fast MCP target, by default on a free port of the loopback interface.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Listen on this TCP address, such as 127.0.0.1:0 for a free port; may be repeated
    #[arg(long, value_name = "ADDR", help_heading = "Where")]
    tcp: Vec<SocketAddr>,
    /// Listen on this Unix socket; may be repeated
    #[arg(long, value_name = "PATH", help_heading = "Where")]
    unix: Vec<PathBuf>,
    /// Serve one client on stdin and stdout
    #[arg(long, help_heading = "Where")]
    stdio: bool,
    /// End when stdin reaches its end, as it does when the parent dies
    #[arg(long, conflicts_with = "stdio", help_heading = "Where")]
    exit_on_parent: bool,
    #[command(flatten)]
    web: WebArgs,

    /// Revisions to offer: `all`, `legacy`, `modern`, or dates with commas between them
    #[arg(long, value_name = "LIST", default_value = "all", value_parser = Offer::parse, help_heading = "Protocol")]
    revisions: Offer,
    /// Serve requests that come before `initialize`
    #[arg(long, help_heading = "Protocol")]
    lenient: bool,
    /// What becomes of an array of messages under revision 2025-03-26
    #[arg(long, value_enum, default_value_t = BatchPolicy::Answer, help_heading = "Protocol")]
    batch: BatchPolicy,
    /// Refuse arrays of more than this many messages
    #[arg(long, value_name = "COUNT", value_parser = quantity::count, help_heading = "Protocol")]
    batch_max: Option<u64>,
    /// Tools on one page of `tools/list`; 0 puts all on one page
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = quantity::count, help_heading = "Protocol")]
    page_size: u64,
    /// Let the empty string be the cursor of the second page
    #[arg(long, help_heading = "Protocol")]
    empty_cursor: bool,

    /// Have the tools, prompts and resources that the official conformance suite expects
    #[arg(long, help_heading = "Protocol")]
    fixtures: bool,

    /// Seed of everything random below
    #[arg(long, default_value_t = 0, help_heading = "Behaviour")]
    seed: u64,
    /// Let each call wait before its answer: `5ms`, or `1ms..20ms` to draw evenly
    #[arg(long, value_name = "TIME", value_parser = quantity::delay, help_heading = "Behaviour")]
    delay: Option<Delay>,
    /// Gather up to this many answers of a connection and send them in random order
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = quantity::count, help_heading = "Behaviour")]
    reorder: u64,
    /// Add a text block of this size to each answer of `echo`
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = quantity::count, help_heading = "Behaviour")]
    reply_bytes: u64,
    /// Write `result` first and `id` last
    #[arg(long, help_heading = "Behaviour")]
    id_last: bool,
    /// Write white space wherever JSON allows it
    #[arg(long, help_heading = "Behaviour")]
    spaced: bool,
    /// Echo the id of a call as a string
    #[arg(long, help_heading = "Behaviour")]
    string_id: bool,
    /// Write keys with an escape, as in "\u0069d"
    #[arg(long, help_heading = "Behaviour")]
    escaped_keys: bool,
    /// Share of the answers sent twice
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = quantity::rate, help_heading = "Behaviour")]
    duplicate: Rate,
    /// Share of the calls followed by an answer whose id was never used
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = quantity::rate, help_heading = "Behaviour")]
    unknown: Rate,
    /// Share of the calls executed and never answered
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = quantity::rate, help_heading = "Behaviour")]
    missing: Rate,
    /// Share of the calls with an extra error whose id is null
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = quantity::rate, help_heading = "Behaviour")]
    null_id_errors: Rate,
    /// Share of the answers that follow a line that is no message
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = quantity::rate, help_heading = "Behaviour")]
    noise: Rate,
    /// Share of the answers that follow a notification nobody asked for
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = quantity::rate, help_heading = "Behaviour")]
    notify: Rate,
    /// Share of the calls refused with error -32000 and not executed
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = quantity::rate, help_heading = "Behaviour")]
    refuse: Rate,
    /// Share of the calls answered with some other text
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = quantity::rate, help_heading = "Behaviour")]
    wrong: Rate,
    /// Exit with code 3 in the middle of this answer, counted over all connections
    #[arg(long, value_name = "COUNT", value_parser = quantity::count, help_heading = "Behaviour")]
    die_after: Option<u64>,
    /// Close a connection in the middle of its answer of this number
    #[arg(long, value_name = "COUNT", value_parser = quantity::count, help_heading = "Behaviour")]
    drop_after: Option<u64>,
    /// Accept connections and never read from them
    #[arg(long, help_heading = "Behaviour")]
    accept_silent: bool,
    /// Answer the handshake and nothing after it
    #[arg(long, help_heading = "Behaviour")]
    never_answer: bool,
    /// Never answer `initialize` and `server/discover`
    #[arg(long, help_heading = "Behaviour")]
    ignore_handshake: bool,
    /// Write this much to stderr at the start, and 200 bytes more for each call
    #[arg(long, value_name = "SIZE", value_parser = quantity::count, help_heading = "Behaviour")]
    stderr_flood: Option<u64>,
    /// Read one byte a millisecond
    #[arg(long, help_heading = "Behaviour")]
    slow_read: bool,
    /// Start this many sleeping child processes
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = quantity::count, help_heading = "Behaviour")]
    fork_children: u64,
    /// Stay after the end of stdin
    #[arg(long, requires = "stdio", help_heading = "Behaviour")]
    ignore_eof: bool,
    /// Stay after SIGTERM
    #[arg(long, help_heading = "Behaviour")]
    ignore_term: bool,
    /// Close connections beyond this many at once
    #[arg(long, value_name = "COUNT", value_parser = quantity::count, help_heading = "Behaviour")]
    max_connections: Option<u64>,
}

/// What becomes of an array of messages where the revision allows one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum BatchPolicy {
    /// Execute it and answer with one array
    Answer,
    /// Execute it and answer with one array in random order
    Shuffled,
    /// Execute it and answer with arrays of up to three, in random order
    Groups,
    /// Execute it and answer with one line for each element
    SeparateLines,
    /// Ignore it
    Drop,
    /// Answer with one error whose id is null
    Refuse,
}

/// What a server needs to know; it cannot be wrong.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Never empty.
    pub(super) listeners: Vec<Place>,
    pub(super) exit_on_parent: bool,
    pub(super) protocol: Protocol,
    pub(super) web: Web,
    pub(super) behaviour: Behaviour,
}

/// Where one listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Stdio,
    Http(SocketAddr),
    Sse(SocketAddr),
    WebSocket(SocketAddr),
}

/// How the server speaks when it behaves.
#[derive(Clone, Debug)]
pub(super) struct Protocol {
    pub(super) offer: Offer,
    pub(super) lenient: bool,
    pub(super) batch: BatchPolicy,
    /// Messages in one array.
    pub(super) batch_max: usize,
    /// Tools on one page; never zero.
    pub(super) page_size: usize,
    pub(super) empty_cursor: bool,
    /// The fixtures of the conformance suite are there.
    pub(super) fixtures: bool,
}

impl ServeArgs {
    /// Makes the options, or says which flag has which value beyond which bound.
    pub(super) fn parse(self) -> Result<Options, String> {
        let mut listeners: Vec<Place> = self.tcp.into_iter().map(Place::Tcp).collect();
        for path in self.unix {
            let bytes = path.as_os_str().len();
            if bytes == 0 || bytes > SOCKET_PATH_BYTES_MAX {
                let path = path.display();
                return Err(format!("--unix {path}: {bytes} bytes, not 1 to {SOCKET_PATH_BYTES_MAX}"));
            }
            listeners.push(Place::Unix(path));
        }
        listeners.extend(self.web.http.iter().copied().map(Place::Http));
        listeners.extend(self.web.sse.iter().copied().map(Place::Sse));
        listeners.extend(self.web.ws.iter().copied().map(Place::WebSocket));
        if self.stdio {
            listeners.push(Place::Stdio);
        }
        if listeners.is_empty() {
            listeners.push(Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))));
        }
        at_least_one("--die-after", self.die_after)?;
        at_least_one("--drop-after", self.drop_after)?;
        let web = self.web.parse(self.fixtures)?;
        let protocol = Protocol {
            offer: self.revisions,
            lenient: self.lenient,
            batch: self.batch,
            batch_max: self.batch_max.map_or(usize::MAX, |count| count as usize),
            page_size: match self.page_size {
                0 => usize::MAX,
                size => size as usize,
            },
            empty_cursor: self.empty_cursor,
            fixtures: self.fixtures,
        };
        let behaviour = Behaviour {
            seed: self.seed,
            delay: self.delay,
            reorder: at_most("--reorder", self.reorder, REORDER_MAX)? as usize,
            reply_bytes: at_most("--reply-bytes", self.reply_bytes, REPLY_BYTES_MAX)? as usize,
            shape: Shape { id_last: self.id_last, spaced: self.spaced, escaped_keys: self.escaped_keys },
            string_id: self.string_id,
            duplicate: self.duplicate,
            unknown: self.unknown,
            missing: self.missing,
            null_id_errors: self.null_id_errors,
            noise: self.noise,
            notify: self.notify,
            refuse: self.refuse,
            wrong: self.wrong,
            die_after: self.die_after,
            drop_after: self.drop_after,
            accept_silent: self.accept_silent,
            never_answer: self.never_answer,
            ignore_handshake: self.ignore_handshake,
            stderr_flood: self.stderr_flood,
            slow_read: self.slow_read,
            fork_children: at_most("--fork-children", self.fork_children, CHILDREN_MAX)?,
            ignore_eof: self.ignore_eof,
            ignore_term: self.ignore_term,
            connections_max: self.max_connections,
        };
        Ok(Options { listeners, exit_on_parent: self.exit_on_parent, protocol, web, behaviour })
    }
}

fn at_most(flag: &str, value: u64, bound: u64) -> Result<u64, String> {
    if value > bound { Err(format!("{flag} {value}: more than {bound}")) } else { Ok(value) }
}

fn at_least_one(flag: &str, value: Option<u64>) -> Result<(), String> {
    if value == Some(0) { Err(format!("{flag} 0: less than 1")) } else { Ok(()) }
}

/// What fits into the address of a Unix socket on Linux, less its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const REORDER_MAX: u64 = 1 << 20;
const REPLY_BYTES_MAX: u64 = 256 << 20;
const CHILDREN_MAX: u64 = 1_000;

#[cfg(test)]
impl Options {
    /// The options that these words on a command line make.
    pub(super) fn from_words(words: &[&str]) -> Result<Self, String> {
        #[derive(clap::Parser)]
        struct Words {
            #[command(flatten)]
            serve: ServeArgs,
        }
        let words = ["serve"].iter().chain(words);
        let words = <Words as clap::Parser>::try_parse_from(words).map_err(|error| error.to_string())?;
        words.serve.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_words_it_behaves_on_a_free_port() {
        let options = Options::from_words(&[]).unwrap();
        assert_eq!(options.listeners, [Place::Tcp("127.0.0.1:0".parse().unwrap())]);
        assert!(options.behaviour.leaves_calls_alone());
        assert_eq!(options.protocol.offer, Offer::parse("all").unwrap());
    }

    #[test]
    fn errors_name_flag_value_and_bound() {
        let error = Options::from_words(&["--duplicate", "1.5"]).err().unwrap();
        assert!(error.contains("--duplicate") && error.contains("1.5") && error.contains("1.0"), "{error}");
        let error = Options::from_words(&["--reorder", "10m"]).err().unwrap();
        assert!(error.contains("--reorder 10000000: more than 1048576"), "{error}");
        let error = Options::from_words(&["--die-after", "0"]).err().unwrap();
        assert!(error.contains("--die-after 0"), "{error}");
        assert!(Options::from_words(&["--stdio", "--exit-on-parent"]).is_err());
    }

    #[test]
    fn each_switch_that_touches_answers_leaves_the_spliced_path() {
        let switches: [&[&str]; 16] = [
            &["--delay", "1ms..2ms"],
            &["--reorder", "4"],
            &["--id-last"],
            &["--spaced"],
            &["--string-id"],
            &["--escaped-keys"],
            &["--duplicate", "0.1"],
            &["--unknown", "0.1"],
            &["--missing", "0.1"],
            &["--null-id-errors", "0.1"],
            &["--noise", "0.1"],
            &["--notify", "0.1"],
            &["--refuse", "0.1"],
            &["--wrong", "0.1"],
            &["--die-after", "10"],
            &["--stderr-flood", "0"],
        ];
        for words in switches {
            assert!(!Options::from_words(words).unwrap().behaviour.leaves_calls_alone(), "{words:?}");
        }
    }
}
