//! The words of `loadgen serve` about HTTP, and the valid [`Web`] they are parsed into.
//!
//! They matter to `--http` and `--sse` only. As in `args`, each value is checked while it is
//! read, and nobody checks again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::quantity;

/// How the HTTP family behaves.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct WebArgs {
    /// Listen for Streamable HTTP on this TCP address, path /mcp; may be repeated
    #[arg(long, value_name = "ADDR", help_heading = "Where")]
    pub(super) http: Vec<SocketAddr>,
    /// Listen for HTTP+SSE of revision 2024-11-05 on this TCP address, path /sse; may be repeated
    #[arg(long, value_name = "ADDR", help_heading = "Where")]
    pub(super) sse: Vec<SocketAddr>,
    /// Listen for WebSocket, subprotocol mcp, on this TCP address; may be repeated
    #[arg(long, value_name = "ADDR", help_heading = "Where")]
    pub(super) ws: Vec<SocketAddr>,
    /// Serve TLS on all TCP addresses, with a certificate for localhost made at the start
    #[arg(long, help_heading = "Where")]
    pub(super) tls: bool,
    /// Write the certificate to be trusted to this file, as PEM
    #[arg(long, value_name = "FILE", requires = "tls", help_heading = "Where")]
    pub(super) tls_ca: Option<PathBuf>,

    /// Form of an answer that nothing precedes
    #[arg(long, value_enum, default_value_t = ReplyForm::Json, help_heading = "HTTP")]
    reply: ReplyForm,
    /// Whether `initialize` issues a session that later requests must name
    #[arg(long, value_enum, default_value_t = Switch::On, help_heading = "HTTP")]
    sessions: Switch,
    /// End a session after so many calls
    #[arg(long, value_name = "COUNT", value_parser = quantity::count, help_heading = "HTTP")]
    session_calls: Option<u64>,
    /// Sessions at a time; `initialize` beyond them is answered 503
    #[arg(long, value_name = "COUNT", default_value = "100k", value_parser = quantity::count, help_heading = "HTTP")]
    session_limit: u64,
    /// Status of a request that names an unknown or ended session
    #[arg(long, value_name = "STATUS", default_value_t = 404, value_parser = clap::value_parser!(u16).range(400..=499), help_heading = "HTTP")]
    session_status: u16,
    /// Whether GET opens a stream; otherwise it is answered 405
    #[arg(long, value_enum, default_value_t = Switch::On, help_heading = "HTTP")]
    get_stream: Switch,
    /// Give events ids and open streams of answers with an empty event
    #[arg(long, help_heading = "HTTP")]
    priming: bool,
    /// Let each stream say when to come back: `retry`, in milliseconds
    #[arg(long, value_name = "MS", value_parser = quantity::count, help_heading = "HTTP")]
    sse_retry: Option<u64>,
    /// Close each stream of a call before its answer, which a GET with Last-Event-ID then gets
    #[arg(long, help_heading = "HTTP")]
    polling: bool,
    /// Send a comment on streams that were silent so long
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, help_heading = "HTTP")]
    comments: Option<Duration>,
    /// Longest body of a request; a longer one is answered 413
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = quantity::count, help_heading = "HTTP")]
    body_bytes: u64,
    /// Close an HTTP connection, properly, after so many answers
    #[arg(long, value_name = "COUNT", value_parser = quantity::count, help_heading = "HTTP")]
    close_after: Option<u64>,
}

/// A switch that is on by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// The form of an answer that is the only message of its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ReplyForm {
    /// One JSON object
    Json,
    /// A stream of events
    Sse,
}

/// What the HTTP family needs to know; it cannot be wrong.
#[derive(Clone, Debug)]
pub(super) struct Web {
    pub(super) reply: ReplyForm,
    pub(super) has_sessions: bool,
    /// Calls after which a session ends.
    pub(super) session_calls: Option<u64>,
    pub(super) sessions_max: usize,
    /// The status for a session that is not there.
    pub(super) session_status: u16,
    pub(super) has_get_stream: bool,
    /// Events have ids, and streams open with an empty one.
    pub(super) priming: bool,
    pub(super) retry_ms: Option<u64>,
    /// Streams of calls are closed before the answer.
    pub(super) polling: bool,
    pub(super) comments: Option<Duration>,
    pub(super) body_bytes_max: usize,
    pub(super) close_after: Option<u64>,
    pub(super) tls: bool,
    pub(super) tls_ca: Option<PathBuf>,
}

impl Web {
    /// Whether a call is answered at once and kept nowhere, and nobody counts: the condition of
    /// the spliced path.
    pub(super) fn answers_plainly(&self) -> bool {
        !self.priming && self.session_calls.is_none()
    }
}

impl WebArgs {
    /// Makes the options, or says which flag has which value beyond which bound. Fixtures close
    /// streams, and then a client is told when to come back.
    pub(super) fn parse(&self, fixtures: bool) -> Result<Web, String> {
        for (flag, value) in [
            ("--session-calls", self.session_calls),
            ("--session-limit", Some(self.session_limit)),
            ("--close-after", self.close_after),
        ] {
            if value == Some(0) {
                return Err(format!("{flag} 0: less than 1"));
            }
        }
        for (flag, value, most) in [
            ("--session-limit", self.session_limit, SESSIONS_MAX),
            ("--body-bytes", self.body_bytes, BODY_BYTES_MAX),
            ("--sse-retry", self.sse_retry.unwrap_or(0), RETRY_MS_MAX),
        ] {
            if value > most {
                return Err(format!("{flag} {value}: more than {most}"));
            }
        }
        if self.comments.is_some_and(|every| every < COMMENTS_EVERY_MIN) {
            return Err(format!("--comments: less than {} ms", COMMENTS_EVERY_MIN.as_millis()));
        }
        Ok(Web {
            reply: self.reply,
            has_sessions: self.sessions == Switch::On,
            session_calls: self.session_calls,
            sessions_max: self.session_limit as usize,
            session_status: self.session_status,
            has_get_stream: self.get_stream == Switch::On,
            priming: self.priming || self.polling,
            retry_ms: self.sse_retry.or(fixtures.then_some(FIXTURES_RETRY_MS)),
            polling: self.polling,
            comments: self.comments,
            body_bytes_max: self.body_bytes as usize,
            close_after: self.close_after,
            tls: self.tls,
            tls_ca: self.tls_ca.clone(),
        })
    }
}

const FIXTURES_RETRY_MS: u64 = 500;
const SESSIONS_MAX: u64 = 10_000_000;
const BODY_BYTES_MAX: u64 = 256 << 20;
const RETRY_MS_MAX: u64 = 86_400_000;
const COMMENTS_EVERY_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::super::args::Options;

    #[test]
    fn errors_name_flag_value_and_bound() {
        let error = Options::from_words(&["--body-bytes", "1GiB"]).err().unwrap();
        assert!(error.contains("--body-bytes 1073741824: more than 268435456"), "{error}");
        let error = Options::from_words(&["--session-calls", "0"]).err().unwrap();
        assert!(error.contains("--session-calls 0"), "{error}");
        assert!(Options::from_words(&["--session-status", "200"]).is_err());
        assert!(Options::from_words(&["--polling"]).unwrap().web.priming);
    }
}
