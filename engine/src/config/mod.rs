//! The configuration: every setting, its default with the case it was chosen for, and the one place where values are
//! checked. After [`ConfigBuilder::build`] nobody checks again.

pub(crate) mod arrays;
pub(crate) mod credentials;
pub(crate) mod dial;
pub(crate) mod driver;
pub(crate) mod endpoint;
pub(crate) mod handlers;
pub(crate) mod http;
mod pool;
mod settings;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(feature = "websocket")]
pub(crate) mod websocket;
pub(crate) mod window;

use std::{fmt, sync::Arc, time::Duration};

use credentials::Credentials;
use driver::Driver;
use handlers::{Declared, Handlers};
use serde_json::Value;

use self::{
    http::{HttpReuse, HttpVersion},
    window::Window,
};
use crate::{
    base::limits::{self, CONNECTIONS_MAX, FRAME_BYTES_CEILING, SHARDS_MAX, SLOTS_MAX, SUBSCRIPTIONS_MAX},
    error::{Error, RpcError},
    model::{
        elicitation::{ElicitForm, ElicitResult, ElicitUrl},
        inbound::{Notification, NotificationHandler, RequestHandler, ServerRequest, StderrHandler},
        interceptor::{Interceptor, Link},
        root::Root,
        sampling::{CreateMessageRequest, CreateMessageResult},
        task::EXTENSION,
    },
    proto::{batch::Arrays, event::Patience, health::HealthCheck, revision::Revision},
};

#[cfg(feature = "tls")]
use tls::TlsConfig;

/// Checked settings of a client; made by [`Config::builder`].
///
/// ```
/// use std::time::Duration;
/// use volley::Config;
///
/// let config = Config::builder().connections(4).in_flight(256).timeout(Duration::from_secs(5)).build()?;
/// assert_eq!(config.connections(), 4);
/// let error = Config::builder().in_flight(0).build().unwrap_err();
/// assert!(error.to_string().contains("in_flight"));
/// # Ok::<(), volley::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) values: ConfigBuilder,
}

/// Settings in the making. Each method says its default and why.
#[derive(Clone)]
pub struct ConfigBuilder {
    pub(crate) driver: Driver,
    pub(crate) shards: usize,
    pub(crate) connections: usize,
    pub(crate) window: Window,
    pub(crate) queue: Option<u32>,
    pub(crate) timeout: Duration,
    pub(crate) timeout_at_most: Option<Duration>,
    pub(crate) spin: Duration,
    pub(crate) revision: Option<Revision>,
    pub(crate) frame_bytes_max: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) attempts_max: u32,
    pub(crate) backoff: (Duration, Duration),
    pub(crate) orphan_debt: Duration,
    pub(crate) close_grace: Duration,
    pub(crate) decode_workers: usize,
    pub(crate) decode_offload_bytes: usize,
    pub(crate) client_name: String,
    pub(crate) client_version: String,
    pub(crate) seed: Option<u64>,
    pub(crate) http: http::HttpValues,
    pub(crate) on_notification: Option<NotificationHandler>,
    pub(crate) on_request: Option<RequestHandler>,
    pub(crate) on_stderr: Option<StderrHandler>,
    #[cfg(feature = "tls")]
    pub(crate) tls: TlsConfig,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) handlers: Handlers,
    pub(crate) input_rounds_max: u32,
    pub(crate) subscriptions_max: u32,
    pub(crate) arrays: arrays::ArrayValues,
    pub(crate) pool: pool::PoolValues,
    /// In the order in which they were registered.
    pub(crate) interceptors: Vec<Arc<dyn Link>>,
    /// The caller's own capabilities, until they are checked.
    capabilities: Value,
    /// What all capabilities together declare; known once it is built.
    pub(crate) declared: Declared,
}

impl Default for ConfigBuilder {
    fn default() -> Self {
        Self {
            driver: Driver::Thread,
            shards: 1,
            connections: 1,
            window: Window::Fixed(64),
            queue: None,
            timeout: Duration::from_secs(30),
            timeout_at_most: None,
            spin: Duration::ZERO,
            revision: None,
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            connect_timeout: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(5),
            attempts_max: 8,
            backoff: (Duration::from_millis(50), Duration::from_secs(5)),
            orphan_debt: Duration::from_secs(1),
            close_grace: Duration::from_millis(500),
            decode_workers: 1,
            decode_offload_bytes: 64 * 1024,
            client_name: "volley".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: None,
            http: http::HttpValues::default(),
            on_notification: None,
            on_request: None,
            on_stderr: None,
            #[cfg(feature = "tls")]
            tls: TlsConfig::default(),
            headers: Vec::new(),
            handlers: Handlers::default(),
            input_rounds_max: 8,
            subscriptions_max: 8,
            arrays: arrays::ArrayValues::default(),
            pool: pool::PoolValues::default(),
            interceptors: Vec::new(),
            capabilities: serde_json::json!({}),
            declared: Declared::default(),
        }
    }
}

impl fmt::Debug for ConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("shards", &self.shards)
            .field("connections", &self.connections)
            .field("window", &self.window)
            .field("timeout", &self.timeout)
            .field("revision", &self.revision)
            .field("frame_bytes_max", &self.frame_bytes_max)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Connections of the whole client.
    pub fn connections(&self) -> usize {
        self.values.connections
    }

    /// Calls that one connection may have unanswered; of an adaptive window, the most.
    pub fn in_flight(&self) -> u32 {
        self.values.window.max()
    }

    /// Event loops, each on a thread of its own.
    pub fn shards(&self) -> usize {
        self.values.shards
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        self.values.timeout
    }

    pub(crate) fn patience(&self) -> Patience {
        let timeout = self.values.timeout;
        Patience {
            timeout,
            at_most: self.values.timeout_at_most.unwrap_or(timeout.saturating_mul(10)),
            progress: false,
            standing: false,
        }
    }

    /// Is there nothing by which a server over HTTP could know this client from others?
    pub(crate) fn is_anonymous(&self) -> bool {
        let http = &self.values.http;
        #[cfg(feature = "tls")]
        let is_named = self.values.tls.has_identity();
        #[cfg(not(feature = "tls"))]
        let is_named = false;
        http.bearer.is_none() && http.credentials.is_none() && self.values.headers.is_empty() && !is_named
    }

    /// Does anyone want to hear what the server starts outside of calls?
    pub(crate) fn listens(&self) -> bool {
        let handlers = self.values.on_notification.is_some() || self.values.on_request.is_some();
        self.values.http.listen.unwrap_or(handlers)
    }

    /// Connections of one of the shards: as even as it goes, the first ones get the odd ones.
    pub(crate) fn connections_of(&self, shard: usize) -> usize {
        self.share_of(shard, self.values.connections)
    }

    /// Connections of the overflow of one of the shards, shared out as the others.
    pub(crate) fn overflow_of(&self, shard: usize) -> usize {
        self.share_of(shard, self.values.pool.overflow)
    }

    fn share_of(&self, shard: usize, connections: usize) -> usize {
        let (each, odd) = (connections / self.values.shards, connections % self.values.shards);
        each + usize::from(shard < odd)
    }

    /// Calls that the connections of one shard may have unanswered together, those of the overflow included.
    pub(crate) fn window_of(&self, shard: usize) -> u32 {
        (self.connections_of(shard) + self.overflow_of(shard)) as u32 * self.values.window.max()
    }
}

impl ConfigBuilder {
    /// Who drives the event loops. Default: threads of the client's own, so that any executor will do.
    #[must_use]
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// Event loops, each on its own thread (or a task, [`Self::driver`]), with the connections shared out among them. Default 1: one loop carries
    /// millions of calls a second, and most servers need less.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Connections in all (for stdio: processes). Default 1: what a stdio server expects.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Connections beyond [`Self::connections`] (for stdio: processes) that are opened when calls find no place, since all windows are full or
    /// servers do not read, and closed when they have had no call for `idle`, after twice that at the latest. No more are opened at a time than take calls already: one, two, four, ...
    /// They take calls only while the lasting ones have no place. While the server wants to be left alone, or a lasting connection is on its
    /// way, none is opened; one that fails makes the next wait as [`Self::backoff`] says. With several shards they are shared out as the
    /// connections are. Single calls that wait, as many as [`Self::queue`] allows, count as finding no place, and so does a bulk job that has more
    /// calls than places: it opens them all. A caller of [`Inline`](crate::Inline) has them opened by submitting until it is full. Without meaning over HTTP, where a window is that many sockets, which are opened as calls need
    /// them. Default 0: a server is started, or connected to, as often as it was asked for.
    #[must_use]
    pub fn overflow(mut self, connections: usize, idle: Duration) -> Self {
        (self.pool.overflow, self.pool.overflow_idle) = (connections, idle);
        self
    }

    /// Asks each stream on which nothing was heard for `every` whether its server lives (`ping`, of a modern server `server/discover`), and
    /// takes it for lost if nothing at all is heard for `timeout` after that: its calls end as on a connection that breaks, and another
    /// is opened. That finds a peer that vanished without closing, and a server that hangs, before the next call does. A server that does one
    /// thing at a time answers after the call it is at: `every` and `timeout` together have to be longer than any call may take. Without meaning over
    /// HTTP, where each call has a socket of its own, which goes when the call times out. Default: nobody is asked, and a stream is lost when more
    /// than 64 calls, or than half its window, have timed out in silence.
    #[must_use]
    pub fn health_check(mut self, every: Duration, timeout: Duration) -> Self {
        self.pool.health = Some(HealthCheck { every, timeout });
        self
    }

    /// Calls that one connection may have unanswered. Default 64: enough to hide the round trip of a local server,
    /// few enough that a slow one is not buried.
    #[must_use]
    pub fn in_flight(mut self, calls: u32) -> Self {
        self.window = Window::Fixed(calls);
        self
    }

    /// Calls that one connection may have unanswered: always the same number, as [`Self::in_flight`], or one that follows the
    /// server. Over HTTP/1.1 each is a socket. Default: 64, fixed.
    #[must_use]
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// Single calls that may wait beyond the windows before [`Client::try_call`](crate::Client::try_call) says full and
    /// others wait. Default: as many as the windows hold, so that a freed place is filled without a round trip to the
    /// caller. With 0, full means that the windows are full.
    #[must_use]
    pub fn queue(mut self, calls: u32) -> Self {
        self.queue = Some(calls);
        self
    }

    /// How long a call may take from submission, or from its last progress. Default 30 s, as MCP's SDKs have it or
    /// shorter.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a call may take whatever its progress. Default ten times the time-out.
    #[must_use]
    pub fn timeout_at_most(mut self, at_most: Duration) -> Self {
        self.timeout_at_most = Some(at_most);
        self
    }

    /// Has every call pass this interceptor, after those registered before. Default: none, and then calls cost what they cost
    /// without interceptors. [`Interceptor`] says what one can do, and which calls go through them.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// How long a shard polls before it sleeps. Default 0 (sleep at once): polling pays only where a core is to spare, and 20 to 50 us are
    /// enough. Where it brings nothing sixteen times in a row, because answers take longer, it rests, and is tried now and then (ADR 0027).
    #[must_use]
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Insists on a revision. Default: find out what the server speaks, the newest first.
    #[must_use]
    pub fn revision(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// The longest message accepted. Default 16 MiB. A longer one fails its own call only.
    #[must_use]
    pub fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes;
        self
    }

    /// How long one attempt to connect may take, opening included. Default 30 s: `npx` may have to fetch the server.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a server may be silent to `server/discover` before it is taken for a legacy one. Default 5 s: Python
    /// servers take a second or two to start. One that then refuses `initialize` as a modern server does is asked once more, and has until
    /// [`Self::connect_timeout`]. Without meaning over HTTP, and where a [revision](Self::revision) is insisted on.
    #[must_use]
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.probe_timeout = timeout;
        self
    }

    /// Attempts before waiting calls are told the reason. Default 8, and 3 while no attempt has ever succeeded.
    #[must_use]
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts;
        self
    }

    /// The shortest and the longest wait between attempts. Default 50 ms and 5 s.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.backoff = (base, cap);
        self
    }

    /// How long a call that timed out or was cancelled still occupies its place in the window if the server does not
    /// answer it. Default 1 s: long enough not to flood a slow server, short because some never answer such calls.
    #[must_use]
    pub fn orphan_debt(mut self, debt: Duration) -> Self {
        self.orphan_debt = debt;
        self
    }

    /// How long a child may take to end after its stdin was closed, and again after SIGTERM, before SIGKILL. Default
    /// 500 ms.
    #[must_use]
    pub fn close_grace(mut self, grace: Duration) -> Self {
        self.close_grace = grace;
        self
    }

    /// Threads that decode long answers of single typed calls and of [decoded](crate::Bulk::decoded) bulk jobs. Default 1; 0 leaves
    /// all decoding to the callers.
    #[must_use]
    pub fn decode_workers(mut self, workers: usize) -> Self {
        self.decode_workers = workers;
        self
    }

    /// Answers of at least this length are decoded by the workers. Default 64 KiB: so much text is read in 10 to
    /// 40 us, so much structured content in several hundred, which is as long as an executor's thread should be kept (ADR 0021).
    #[must_use]
    pub fn decode_offload_bytes(mut self, bytes: usize) -> Self {
        self.decode_offload_bytes = bytes;
        self
    }

    /// The name and version by which servers know this client. Default `volley` and this crate's version.
    #[must_use]
    pub fn client_info(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        (self.client_name, self.client_version) = (name.into(), version.into());
        self
    }

    /// The bearer token for every request over HTTP, and for the one that opens a WebSocket. It is sent to the endpoint's origin only, and never logged.
    #[must_use]
    pub fn bearer(mut self, token: impl Into<String>) -> Self {
        self.http.bearer = Some(token.into());
        self
    }

    /// Which HTTP is spoken. Default: over TLS what the server prefers, HTTP/1.1 otherwise.
    #[must_use]
    pub fn http_version(mut self, version: HttpVersion) -> Self {
        self.http.version = version;
        self
    }

    /// As [`Self::bearer`], with the token in this environment variable. It is read once, by [`Self::build`].
    #[must_use]
    pub fn bearer_env(mut self, name: impl Into<String>) -> Self {
        self.http.bearer_env = Some(name.into());
        self
    }

    /// Who brings a token when the server over HTTP wants one, or another one: a function, or `OAuth` of feature `oauth`. The
    /// token of [`Self::bearer`], if there is one, is the first. Calls that were refused wait for it and are sent again;
    /// for all of them there is one question. A token that is refused right after it was brought is the end: those calls
    /// fail [`Unauthorized`](crate::ErrorKind::Unauthorized). Default: nobody does.
    #[must_use]
    pub fn credentials(mut self, credentials: impl Credentials + 'static) -> Self {
        self.http.credentials = Some(Arc::new(credentials));
        self
    }

    /// How long a socket of HTTP may be idle before it is closed. Default 4 s: Node's servers and uvicorn close
    /// after 5 s, and when the engine closes first no call meets a closing socket.
    #[must_use]
    pub fn http_idle_timeout(mut self, timeout: Duration) -> Self {
        self.http.idle_timeout = timeout;
        self
    }

    /// Which of the free sockets of HTTP takes the next call. Default: the one that was used last.
    #[must_use]
    pub fn http_reuse(mut self, reuse: HttpReuse) -> Self {
        self.http.reuse = reuse;
        self
    }

    /// Keeps a stream open to legacy servers over HTTP for what they start outside of calls. Default: if there is a handler for
    /// notifications or requests.
    #[must_use]
    pub fn listen(mut self, listen: bool) -> Self {
        self.http.listen = Some(listen);
        self
    }

    /// Makes jitter repeatable. Default: different each time.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// A function that sees every notification of the server. It runs on a thread of its own, never on an event loop; when
    /// it is slow, notifications queue up and then are dropped and counted.
    #[must_use]
    pub fn on_notification(mut self, handler: impl Fn(Notification) + Send + Sync + 'static) -> Self {
        self.on_notification = Some(Arc::new(handler));
        self
    }

    /// A function that answers the requests of a legacy server other than `ping`. Without one they are refused with
    /// -32601. It runs on the thread of [`Self::on_notification`].
    #[must_use]
    pub fn on_request(
        mut self,
        handler: impl Fn(ServerRequest) -> Result<serde_json::Value, RpcError> + Send + Sync + 'static,
    ) -> Self {
        self.on_request = Some(Arc::new(handler));
        self
    }

    /// A function that answers `sampling/createMessage`, and declares `sampling`. Where it runs, and how long it may take:
    /// asked by a legacy server, as [`Self::on_request`]; asked in the course of a call of
    /// [`Client::converse`](crate::Client::converse) or its like, on a thread of its own, within that call's time.
    ///
    /// ```
    /// use volley::{Config, mcp::CreateMessageResult};
    ///
    /// let config = Config::builder().on_sampling(|request| {
    ///     Ok(CreateMessageResult::text("parrot", format!("{} messages", request.messages.len())))
    /// });
    /// ```
    #[must_use]
    pub fn on_sampling(
        mut self,
        handler: impl Fn(CreateMessageRequest) -> Result<CreateMessageResult, RpcError> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.sampling = Some(Arc::new(handler));
        self
    }

    /// A function that answers `roots/list`, and declares `roots`. It runs as [`Self::on_sampling`].
    #[must_use]
    pub fn on_roots(
        mut self,
        handler: impl Fn() -> Result<Vec<Root>, RpcError> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.roots = Some(Arc::new(move |()| handler()));
        self
    }

    /// Answers `roots/list` with these, and declares `roots`.
    #[must_use]
    pub fn roots(self, roots: Vec<Root>) -> Self {
        self.on_roots(move || Ok(roots.clone()))
    }

    /// A function that has the user fill in a form, and declares `elicitation`. What an accepted form leaves open gets the
    /// defaults of its schema. It runs as [`Self::on_sampling`].
    ///
    /// ```
    /// use serde_json::json;
    /// use volley::{Config, mcp::ElicitResult};
    ///
    /// let config = Config::builder().on_elicitation(|form| {
    ///     println!("{}", form.message);
    ///     Ok(ElicitResult::accept(&json!({"name": "Ada"})))
    /// });
    /// ```
    #[must_use]
    pub fn on_elicitation(
        mut self,
        handler: impl Fn(ElicitForm) -> Result<ElicitResult, RpcError> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.form = Some(Arc::new(handler));
        self
    }

    /// A function that asks the user to go to an address, and declares `elicitation` in mode `url`. Without it such requests
    /// are refused with -32602. It should never open or fetch the address by itself. It runs as [`Self::on_sampling`].
    #[must_use]
    pub fn on_url_elicitation(
        mut self,
        handler: impl Fn(ElicitUrl) -> Result<ElicitResult, RpcError> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.url = Some(Arc::new(handler));
        self
    }

    /// Declares these capabilities besides those of the handlers: a JSON object such as `{"experimental": {…}}` or
    /// `{"extensions": {…}}`. Members that both have are joined, and these win. Default: none.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Declares the extension `io.modelcontextprotocol/tasks`. From then on a modern server may answer any call of a tool with a
    /// task, also those of bulk jobs; [`Client::converse`](crate::Client::converse) waits for the task's result,
    /// [`Client::call_or_task`](crate::Client::call_or_task) gives the task, all others fail the call. Default: not declared.
    #[must_use]
    pub fn tasks(mut self) -> Self {
        let extensions = serde_json::json!({EXTENSION: {}});
        self.handlers.capabilities.insert("extensions".to_owned(), extensions);
        self
    }

    /// How many times one call may ask for input before it has a result. Default 8: people lose patience sooner, and a server
    /// that never has enough comes to an end.
    #[must_use]
    pub fn input_rounds_max(mut self, rounds: u32) -> Self {
        self.input_rounds_max = rounds;
        self
    }

    /// Subscriptions ([`Client::listen`](crate::Client::listen)) that may be open at a time. Each has a slot of its own and, over
    /// HTTP, a socket, beyond those of the calls. Default 8: one subscription can name everything there is to be told of.
    #[must_use]
    pub fn subscriptions_max(mut self, subscriptions: u32) -> Self {
        self.subscriptions_max = subscriptions;
        self
    }

    /// When calls go together as one JSON-RPC array. Default [`Arrays::Explicit`]: those of a [`Batch`](crate::Batch), where the
    /// server takes arrays.
    #[must_use]
    pub fn arrays(mut self, arrays: Arrays) -> Self {
        self.arrays.rules.arrays = arrays;
        self
    }

    /// Calls in one array. Default 100: what the TypeScript SDK takes. A server that refuses an array for its size gets
    /// smaller ones.
    #[must_use]
    pub fn array_calls_max(mut self, calls: u32) -> Self {
        self.arrays.rules.calls_max = calls;
        self
    }

    /// Bytes of one array. Default 1 MiB: a quarter of what the TypeScript SDK takes. A call that is longer goes alone.
    #[must_use]
    pub fn array_bytes_max(mut self, bytes: usize) -> Self {
        self.arrays.rules.bytes_max = bytes;
        self
    }

    /// How long a server may take to answer an array of two pings, by which it is asked once whether it takes arrays. Default 1 s.
    /// No call waits for it: until the answer is there, calls go one by one.
    #[must_use]
    pub fn array_probe_timeout(mut self, timeout: Duration) -> Self {
        self.arrays.rules.probe_timeout = timeout;
        self
    }

    /// The peer speaks JSON-RPC 2.0 and nothing of MCP: it is not asked for its era, there is no handshake, and requests carry
    /// no `_meta`. Arrays are then allowed, and used as [`Self::arrays`] says once the peer has answered one. Use
    /// [`Client::request`](crate::Client::request) to call it. Default: it is an MCP server.
    #[must_use]
    pub fn plain_json_rpc(mut self) -> Self {
        self.arrays.is_plain = true;
        self
    }

    /// A function that sees each piece of a child's stderr as it comes. It runs on the event loop and must be quick.
    #[must_use]
    pub fn on_stderr(mut self, handler: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        self.on_stderr = Some(Arc::new(handler));
        self
    }

    /// Whom to trust and who to be over TLS. Default: the roots of the system and Mozilla's, no client certificate.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = tls;
        self
    }

    /// Adds a header to every request over HTTP and to the one that opens a WebSocket. Those that the protocol defines are
    /// the engine's. Default: none.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Checks everything once.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) naming the setting, its value and its bound.
    pub fn build(mut self) -> Result<Config, Error> {
        let within = |name: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(Error::config(format!("{name} is {value}, it must be from {low} to {high}")))
            }
        };
        within("shards", self.shards as u64, 1, SHARDS_MAX as u64)?;
        within("connections", self.connections as u64, 1, CONNECTIONS_MAX as u64)?;
        self.pool.check(self.connections)?;
        self.window.check()?;
        within("frame_bytes_max", self.frame_bytes_max as u64, 1024, FRAME_BYTES_CEILING as u64)?;
        within("attempts_max", u64::from(self.attempts_max), 1, 1_000_000)?;
        within("input_rounds_max", self.input_rounds_max.into(), 0, 1_000_000)?;
        within("subscriptions_max", self.subscriptions_max.into(), 0, SUBSCRIPTIONS_MAX.into())?;
        within("decode_workers", self.decode_workers as u64, 0, 64)?;
        self.http.check()?;
        self.arrays.check(self.revision)?;
        if self.shards > self.connections {
            return Err(Error::config(format!(
                "shards is {}, connections is {}: each shard needs at least one connection",
                self.shards, self.connections
            )));
        }
        let most = self.connections.div_ceil(self.shards) + self.pool.overflow.div_ceil(self.shards);
        let per_shard = most as u64 * u64::from(self.window.max());
        let queue = self.queue.map_or(per_shard, u64::from);
        let slots = 1 + 2 * per_shard + queue + u64::from(self.subscriptions_max);
        if slots > u64::from(SLOTS_MAX) {
            return Err(Error::config(format!(
                "in_flight {} on {} connections (those of an overflow included) over {} shards and a queue of {queue} need {slots} slots a \
                 shard, at most {SLOTS_MAX}: use more shards or a smaller window",
                self.window.max(),
                self.connections + self.pool.overflow,
                self.shards
            )));
        }
        for (name, value) in [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
            ("probe_timeout", self.probe_timeout),
            ("backoff base", self.backoff.0),
        ] {
            if value.is_zero() {
                return Err(Error::config(format!("{name} is zero, it must be longer")));
            }
        }
        if self.backoff.0 > self.backoff.1 {
            return Err(Error::config(format!(
                "the backoff's base {:?} is longer than its cap {:?}",
                self.backoff.0, self.backoff.1
            )));
        }
        if let Some(at_most) = self.timeout_at_most.filter(|at_most| *at_most < self.timeout) {
            return Err(Error::config(format!(
                "timeout_at_most {at_most:?} is shorter than timeout {:?}",
                self.timeout
            )));
        }
        #[cfg(feature = "tls")]
        self.tls.check()?;
        http::check_headers(&self.headers)?;
        let Value::Object(own) = std::mem::take(&mut self.capabilities) else {
            return Err(Error::config("capabilities are no JSON object"));
        };
        self.handlers.declare(own);
        self.declared = Declared::of(&self.handlers.declared());
        self.on_request = self.handlers.compose(self.on_request.take());
        Ok(Config { values: self })
    }
}

#[cfg(test)]
mod tests;
