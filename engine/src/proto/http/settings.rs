//! What the HTTP side of a connection is told once, when it is made.

use std::time::Duration;

/// What an HTTP connection is told once.
#[derive(Clone, Debug)]
pub(crate) struct HttpSettings {
    /// The target of the request line: path and query.
    pub(crate) target: String,
    /// The `Host` header: host and port as the URL has them.
    pub(crate) host: String,
    /// `http://host:port`, for resolving and comparing.
    pub(crate) origin: String,
    /// Headers of the user, each a whole line.
    pub(crate) headers: String,
    /// HTTP+SSE of 2024-11-05, and nothing else.
    pub(crate) events_only: bool,
    /// Open a stream for what the server starts outside of calls.
    pub(crate) listen: bool,
    /// HTTP/2 may be spoken: the server is asked when the socket is opened.
    pub(crate) may_multiplex: bool,
    /// HTTP/2 is spoken without asking.
    pub(crate) prior_knowledge: bool,
    /// Free sockets are closed after this.
    pub(crate) idle_timeout: Duration,
    /// The free socket that has been free for longest takes the next request, not the one that was used last.
    pub(crate) oldest_first: bool,
}
