//! The one public error: what happened, whose fault it was, how far the call got, and what to do.
//!
//! | kind | whose fault | what the engine did | what the caller may do |
//! |---|---|---|---|
//! | `Config` | ours to refuse | nothing | correct the value named |
//! | `InvalidInput` | the caller's | nothing left the process | correct the call |
//! | `Unreachable` | the network's or the server's | tried as often as configured | repeat; look at the reason |
//! | `ConnectionLost` | the network's or the server's | reconnects by itself | repeat by fate |
//! | `Timeout` | the server's | told the server, freed the call | repeat by fate, or allow more time |
//! | `Cancelled` | nobody's | told the server | nothing |
//! | `Refused` | ours: an interceptor's | sent nothing, or dropped the answer | look at the interceptor's reason |
//! | `Closed` | nobody's | ended the call | make a new client |
//! | `FrameTooLarge` | the server's | skipped the message in bounded memory | raise the bound, or ask for less |
//! | `Protocol` | the server's | ended the call that was named | report to the server's author |
//! | `Http` | the server's or a proxy's | ended the call by its status | repeat by fate, after the wait that was asked for |
//! | `Unauthorized` | ours | nothing was executed | give another token |
//! | `Rpc` | the server says ours | delivered it | look at code and message |
//! | `Decode` | the server's, or the wrong type was asked for | kept the raw bytes | read the raw answer |
//! | `Exhausted` | nobody's | takes no more calls | make a new client |
//! | `Internal` | ours | contained the panic | report it |
//!
//! The size is one word (a test pins it), because results travel through every queue.

use std::{error::Error as StdError, fmt};

use crate::proto::event::{Failure, Fate, Why};

/// The sorts of failure. [`Error::kind`] gives one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is out of its bounds, or two contradict each other.
    Config,
    /// The call itself cannot be sent: arguments that are no JSON object, a line feed in raw JSON.
    InvalidInput,
    /// No connection could be had within the configured attempts.
    Unreachable,
    /// The connection ended with the call on it.
    ConnectionLost,
    /// The call's time ran out.
    Timeout,
    /// The call was cancelled.
    Cancelled,
    /// An interceptor of the caller's refused the call or its outcome, or panicked over it.
    Refused,
    /// The client is draining, closing or closed.
    Closed,
    /// The answer was longer than the frame bound.
    FrameTooLarge,
    /// The server broke the protocol in its answer.
    Protocol,
    /// The server answered with a status of HTTP that is no success.
    Http,
    /// The server wants (other) authorization: HTTP 401 or 403.
    Unauthorized,
    /// The server answered with a JSON-RPC error.
    Rpc,
    /// The answer is no valid JSON, or not of the type that was asked for.
    Decode,
    /// All request ids of a shard are used up.
    Exhausted,
    /// A bug of ours, contained.
    Internal,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "invalid configuration",
            Self::InvalidInput => "invalid input",
            Self::Unreachable => "server unreachable",
            Self::ConnectionLost => "connection lost",
            Self::Timeout => "timed out",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused by an interceptor",
            Self::Closed => "client closed",
            Self::FrameTooLarge => "answer too large",
            Self::Protocol => "protocol broken by the server",
            Self::Http => "refused over HTTP",
            Self::Unauthorized => "not authorized",
            Self::Rpc => "error answer from the server",
            Self::Decode => "answer cannot be read",
            Self::Exhausted => "request ids used up",
            Self::Internal => "internal error",
        })
    }
}

/// Where in its life a call or a connection was when it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Reading the configuration or the call's input.
    Prepare,
    /// Opening a connection.
    Connect,
    /// Waiting for a place, or for the answer.
    Call,
    /// Reading the answer.
    Decode,
    /// Shutting down.
    Close,
}

/// A failure with its kind, its fate, and what to do about it. One word in size.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    fate: Fate,
    phase: Phase,
    context: String,
    rpc: Option<RpcError>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a server put in the `error` member of its response.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub struct RpcError {
    /// The JSON-RPC error code.
    pub code: i64,
    /// The server's message.
    #[serde(default)]
    pub message: String,
    /// The server's data, if any.
    #[serde(default)]
    pub data: Option<serde_json::Value>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, fate: Fate, phase: Phase, context: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, fate, phase, context: context.into(), rpc: None, source: None }))
    }

    pub(crate) fn config(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, Fate::NotSent, Phase::Prepare, context)
    }

    pub(crate) fn input(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, Fate::NotSent, Phase::Prepare, context)
    }

    pub(crate) fn decode(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Decode, Fate::Answered, Phase::Decode, context)
    }

    pub(crate) fn rpc(error: RpcError) -> Self {
        let context = format!("the server answered with error {}: {}", error.code, error.message);
        let mut made = Self::new(ErrorKind::Rpc, Fate::Answered, Phase::Call, context);
        made.0.rpc = Some(error);
        made
    }

    pub(crate) fn refused(context: impl Into<String>, fate: Fate) -> Self {
        let phase = if fate == Fate::NotSent { Phase::Prepare } else { Phase::Call };
        Self::new(ErrorKind::Refused, fate, phase, context)
    }

    /// The same error of a call that got so far.
    pub(crate) fn with_fate(mut self, fate: Fate) -> Self {
        self.0.fate = fate;
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts a failure of the core into words; `reason` is why the last connection failed.
    pub(crate) fn from_failure(failure: Failure, reason: Option<&str>) -> Self {
        let reason = reason.unwrap_or("no reason was recorded");
        let (kind, phase, context) = match failure.why {
            Why::TimedOut { after } => {
                (ErrorKind::Timeout, Phase::Call, format!("no answer within {after:?}"))
            }
            Why::ConnectionLost => {
                (ErrorKind::ConnectionLost, Phase::Call, format!("the connection was lost: {reason}"))
            }
            Why::Cancelled => (ErrorKind::Cancelled, Phase::Call, "cancelled by the caller".to_owned()),
            Why::Revoked => {
                (ErrorKind::Cancelled, Phase::Call, "the server has cancelled the request".to_owned())
            }
            Why::NoStanding => (
                ErrorKind::InvalidInput,
                Phase::Prepare,
                "the server is of the handshake era and has no subscriptions/listen: use subscribe() and notifications()"
                    .to_owned(),
            ),
            Why::Oversized { bytes, bytes_max } => (
                ErrorKind::FrameTooLarge,
                Phase::Call,
                format!("the answer of {bytes} bytes is longer than the frame bound of {bytes_max} bytes"),
            ),
            Why::Malformed => {
                (ErrorKind::Protocol, Phase::Call, "the answer is neither a result nor an error".to_owned())
            }
            Why::Http { status, retry_after_s } => {
                let kind = match status {
                    401 | 403 => ErrorKind::Unauthorized,
                    _ => ErrorKind::Http,
                };
                let wait = retry_after_s.map(|wait| format!(", retry after {wait} s")).unwrap_or_default();
                (kind, Phase::Call, format!("the server answered HTTP {status}{wait}: {reason}"))
            }
            Why::Unreachable => (ErrorKind::Unreachable, Phase::Connect, format!("no connection: {reason}")),
            Why::Unauthorized => {
                (ErrorKind::Unauthorized, Phase::Connect, format!("no connection: {reason}"))
            }
            Why::Closed => (ErrorKind::Closed, Phase::Close, "the client is draining or closed".to_owned()),
            Why::Exhausted => {
                (ErrorKind::Exhausted, Phase::Call, "the shard's request ids are used up".to_owned())
            }
            Why::Panicked => (ErrorKind::Internal, Phase::Call, "the shard's thread panicked".to_owned()),
        };
        Self::new(kind, failure.fate, phase, context)
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// How far the call got; decides whether it may be repeated.
    pub fn fate(&self) -> Fate {
        self.0.fate
    }

    /// Where in its life the call or connection was.
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// The facts of this one failure: values, bounds, the peer's words.
    pub fn context(&self) -> &str {
        &self.0.context
    }

    /// What the server put in its error response, for [`ErrorKind::Rpc`].
    pub fn rpc_error(&self) -> Option<&RpcError> {
        self.0.rpc.as_ref()
    }

    /// What to do about it, in a sentence.
    pub fn hint(&self) -> &'static str {
        match (self.0.kind, self.0.fate) {
            (ErrorKind::Config, _) => "correct the setting named",
            (ErrorKind::InvalidInput, _) => "correct the call; nothing was sent",
            (ErrorKind::Unreachable, _) => {
                "check that the server runs and the endpoint is right; nothing was sent"
            }
            (ErrorKind::Timeout | ErrorKind::ConnectionLost | ErrorKind::Closed, Fate::NotSent) => {
                "nothing was sent: repeat freely"
            }
            (ErrorKind::Timeout | ErrorKind::ConnectionLost | ErrorKind::Closed, _) => {
                "the server may have executed the call: repeat only if the tool is idempotent"
            }
            (ErrorKind::Cancelled, _) => "the server was told, if the call had been sent",
            (ErrorKind::Refused, Fate::NotSent) => "an interceptor stopped the call; nothing was sent",
            (ErrorKind::Refused, _) => {
                "an interceptor refused the outcome; the server may have executed the call"
            }
            (ErrorKind::FrameTooLarge, _) => "raise frame_bytes_max or ask the tool for less",
            (ErrorKind::Protocol, _) => "report it to the server's author",
            (ErrorKind::Http, Fate::Unknown) => {
                "a gateway may have passed the call on: repeat only if the tool is idempotent"
            }
            (ErrorKind::Http, _) => {
                "the server did not execute the call: see the status; wait as long as it asks"
            }
            (ErrorKind::Unauthorized, _) => "give the client a token, or another one; nothing was executed",
            (ErrorKind::Rpc, _) => "the server executed or refused the request: see code and message",
            (ErrorKind::Decode, _) => "ask for the raw answer to see what came",
            (ErrorKind::Exhausted, _) => "make a new client; ids start afresh",
            (ErrorKind::Internal, _) => "this is a bug in volley: please report it",
        }
    }

    /// The section of `docs/errors.md` about this kind.
    pub fn documentation(&self) -> String {
        format!("docs/errors.md#{}", format!("{:?}", self.0.kind).to_lowercase())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.context)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    }

    #[test]
    fn a_failure_keeps_its_fate_and_says_what_to_do() {
        for (why, kind) in
            [(Why::ConnectionLost, ErrorKind::ConnectionLost), (Why::Closed, ErrorKind::Closed)]
        {
            let unknown = Error::from_failure(Failure { why, fate: Fate::Unknown }, Some("reset by peer"));
            assert_eq!((unknown.kind(), unknown.fate()), (kind, Fate::Unknown));
            assert!(unknown.hint().contains("idempotent"));
            let not_sent = Error::from_failure(Failure { why, fate: Fate::NotSent }, None);
            assert!(not_sent.hint().contains("freely"));
        }
    }

    /// Every kind has its section in the manual.
    #[test]
    fn the_manual_has_every_kind() {
        let manual = include_str!("../../docs/errors.md");
        for kind in [
            ErrorKind::Config,
            ErrorKind::InvalidInput,
            ErrorKind::Unreachable,
            ErrorKind::ConnectionLost,
            ErrorKind::Timeout,
            ErrorKind::Cancelled,
            ErrorKind::Refused,
            ErrorKind::Closed,
            ErrorKind::FrameTooLarge,
            ErrorKind::Protocol,
            ErrorKind::Http,
            ErrorKind::Unauthorized,
            ErrorKind::Rpc,
            ErrorKind::Decode,
            ErrorKind::Exhausted,
            ErrorKind::Internal,
        ] {
            assert!(manual.contains(&format!("## {kind:?}\n")), "docs/errors.md has no section {kind:?}");
        }
    }
}
