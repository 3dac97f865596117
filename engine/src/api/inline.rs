//! The engine on the caller's own thread: encode, write, read, route and record on one core, with no hand-over at all.

use std::{sync::Arc, time::Duration};

use crate::{
    base::{limits::SLOTS_MAX, time::Instant},
    config::{
        Config,
        dial::Dial,
        endpoint::{Endpoint, Household},
    },
    error::{Error, ErrorKind, Phase},
    model::tool::Tool,
    proto::{
        event::{self, Ended, Failure, Fate, Patience, Sink, Why},
        exchange::{Exchange, Full},
        message::handshake::ServerInfo,
        revision::Revision,
    },
    shard::{
        NoGate, Shard,
        memory::{Memory, ShardMemory},
    },
    slab::{key::KeyLayout, magazine::Magazine},
    telemetry::counters::Stats,
    transport::keeper,
};

/// One shard, driven by the thread that owns it. For bulk loops and load generators that want every nanosecond.
///
/// Fill the windows with [`submit`](Self::submit), then take a [`turn`](Self::turn), which writes, reads and hands each outcome
/// to a closure; repeat. Nothing is allocated for a call.
///
/// ```no_run
/// use std::time::Duration;
/// use volley::{Config, Inline, InlineOutcome, Tool};
///
/// let mut engine = Inline::connect(&"tcp://127.0.0.1:9000".parse()?, &Config::default())?;
/// let echo = Tool::new("echo");
/// let (mut sent, mut ended) = (0, 0);
/// while ended < 1000 {
///     while sent < 1000 && engine.submit(&echo, br#"{"message":"hi"}"#, sent).is_ok() {
///         sent += 1;
///     }
///     engine.turn(Duration::from_millis(100), |_tag, _now_ns, outcome| {
///         assert!(matches!(outcome, InlineOutcome::Result(_)));
///         ended += 1;
///     })?;
/// }
/// # Ok::<(), volley::Error>(())
/// ```
pub struct Inline {
    shard: Shard,
    memory: Arc<Memory>,
    patience: Patience,
    household: Option<Household>,
    /// A turn is under way, or was when its sink panicked.
    in_turn: bool,
}

/// What became of a call, as [`Inline::turn`] tells it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum InlineOutcome<'a> {
    /// A response with a result: the whole JSON-RPC message, without its line feed.
    Result(&'a [u8]),
    /// A response with an error: the whole message.
    RpcError(&'a [u8]),
    /// No usable response.
    Failed {
        /// What happened.
        kind: ErrorKind,
        /// How far the call got.
        fate: Fate,
    },
}

/// No place in any window: take a turn first. A state, not an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowFull;

struct InlineSink<F>(F);

impl<F: FnMut(u64, u64, InlineOutcome<'_>)> Sink for InlineSink<F> {
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the caller's closure, and what it looks at, are known here")]
    fn ended(&mut self, now: Instant, call: Ended<'_>) {
        let outcome = match &call.outcome {
            event::Outcome::Result(frame) => InlineOutcome::Result(frame.bytes()),
            event::Outcome::Error(frame) => InlineOutcome::RpcError(frame.bytes()),
            event::Outcome::Failed(failure) => {
                InlineOutcome::Failed { kind: Error::from_failure(*failure, None).kind(), fate: failure.fate }
            }
        };
        (self.0)(call.owner.tag, now.ns(), outcome);
    }
}

impl Inline {
    /// Connects, finds out the server's era, and returns when the first connection is ready. The others follow during
    /// the next turns; [`Self::ready_connections`] tells. `Config::shards` has no meaning here: this is one; nor have the handlers:
    /// notifications are counted only, and requests of the server other than `ping` are refused.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] with the last reason when the attempts are used up; [`ErrorKind::Config`] for a name
    /// that cannot be resolved.
    pub fn connect(endpoint: &Endpoint, config: &Config) -> Result<Self, Error> {
        let config = &endpoint.fit(config.clone());
        let values = &config.values;
        if !values.interceptors.is_empty() {
            // One that guards something must not be left out in silence.
            let context =
                format!("{} interceptors are registered, and Inline asks none", values.interceptors.len());
            return Err(Error::config(context));
        }
        let overflow = values.pool.overflow;
        let connections = values.connections + overflow;
        let window =
            u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(values.window.max().into());
        let window = u32::try_from(window).ok().filter(|window| *window < SLOTS_MAX).ok_or_else(|| {
            Error::config(format!(
                "in_flight {} on {connections} connections are {window} calls in flight, at most {} on one thread",
                values.window.max(),
                SLOTS_MAX - 1
            ))
        })?;
        let memory = Arc::new(
            Memory::of(endpoint.shared_address(config), config.is_anonymous())
                .with_arrays(endpoint.http_url())
                .with_tokens(
                    endpoint.http_url(),
                    values.http.authorization(),
                    values.http.credentials.clone(),
                ),
        );
        let layout = KeyLayout::for_slots(window + 1, 0, 1);
        let seed = values.seed.unwrap_or_else(|| fastrand::u64(..));
        let mut settings = config.settings(0, seed);
        (settings.connections, settings.overflow.connections) = (connections as u32, overflow as u32);
        settings.standing_max = 0;
        settings.http = endpoint.http_settings(config);
        // Nobody answers the server here, so nothing of the handlers' is declared.
        settings.capabilities = serde_json::Value::from(values.handlers.capabilities.clone()).to_string();
        let view = ShardMemory { memory: Arc::clone(&memory), may_probe: true };
        let magazine = Magazine::alone(layout, 1, window);
        let exchange = Exchange::new(settings, Arc::new(view), layout, window + 1, magazine);
        let dial = Arc::new(Dial::resolve(endpoint, config)?);
        let household = dial.household();
        let shard = Shard::new(exchange, dial, values.spin, values.close_grace, values.on_stderr.clone())
            .map_err(|error| internal(&error))?;
        if memory.has_credentials() {
            let waker = shard.waker().map_err(|error| internal(&error))?;
            memory.tell(move || {
                // Fails only when the poll is gone, and the engine with it.
                let _ = waker.wake();
            });
        }
        let mut inline = Self { shard, memory, patience: config.patience(), household, in_turn: false };
        while inline.ready_connections() == 0 {
            if let Err(error) = inline.turn(Duration::from_millis(50), |_, _, _| ()) {
                // A child's own children do not go with it: the keeper has to have its time.
                inline.close(|_, _, _| ());
                return Err(error);
            }
        }
        Ok(inline)
    }

    /// How many calls [`Self::submit`] would take now, at most: with many connections fewer, if a turn has to write in between.
    pub fn room(&self) -> usize {
        self.shard.exchange.room()
    }

    /// Queues one call. `arguments` must be a JSON object on one line; `tag` comes back with the outcome. The deadline is
    /// the configured time-out from now.
    ///
    /// # Errors
    /// [`WindowFull`] when no connection has a place.
    ///
    /// # Panics
    /// With debug assertions, if `arguments` contain a line feed; without them the server would see two broken messages.
    #[inline]
    pub fn submit(&mut self, tool: &Tool, arguments: &[u8], tag: u64) -> Result<(), WindowFull> {
        let now = self.shard.clock.now();
        self.submit_at(tool, arguments, tag, now.ns())
    }

    /// [`Self::submit`] with a clock reading of [`Self::now_ns`] that serves several calls.
    ///
    /// # Errors
    /// As [`Self::submit`].
    ///
    /// # Panics
    /// As [`Self::submit`].
    #[inline]
    pub fn submit_at(
        &mut self,
        tool: &Tool,
        arguments: &[u8],
        tag: u64,
        now_ns: u64,
    ) -> Result<(), WindowFull> {
        debug_assert!(memchr::memchr(b'\n', arguments).is_none(), "arguments must stand on one line");
        let submitted = self.shard.exchange.submit(Instant::from_ns(now_ns), tag, &self.patience, |out| {
            out.extend_from_slice(tool.head());
            out.extend_from_slice(arguments);
        });
        match submitted {
            Ok(_) => Ok(()),
            Err(Full) => Err(WindowFull),
        }
    }

    /// Queues calls as they fit the windows, with one clock reading, and returns how many of them it took: the first ones. Where the
    /// server takes JSON-RPC arrays and [`Config`] allows them, they leave as arrays; elsewhere one by one, and to the caller there
    /// is no difference.
    ///
    /// # Panics
    /// As [`Self::submit`].
    pub fn submit_batch(&mut self, tool: &Tool, calls: &[(&[u8], u64)]) -> usize {
        debug_assert!(
            calls.iter().all(|(arguments, _)| memchr::memchr(b'\n', arguments).is_none()),
            "arguments must stand on one line"
        );
        let now = self.shard.clock.now();
        let mut taken = 0;
        while taken < calls.len() {
            let rest = &calls[taken..];
            let tag = |n: usize| rest[n].1;
            let body = |n: usize| [tool.head(), rest[n].0];
            let exchange = &mut self.shard.exchange;
            let submitted = if exchange.may_gather(now, true) {
                let lengths = rest.iter().map(|(arguments, _)| tool.head().len() + arguments.len());
                let write =
                    |n, out: &mut Vec<u8>| body(n).iter().for_each(|piece| out.extend_from_slice(piece));
                exchange.submit_together(now, &self.patience, lengths, tag, write)
            } else {
                exchange.submit_run(now, &self.patience, rest.len(), tag, body)
            };
            match submitted {
                Ok(more) => taken += more,
                Err(Full) => break,
            }
        }
        taken
    }

    /// Writes what is queued, reads what has come, and tells `sink` of each call that ended: its tag, the time of the
    /// reading on the clock of [`Self::now_ns`], and its outcome. Waits at most `wait_max` when there is nothing to do.
    /// Returns whether anything was read.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when all connections have given up; calls in flight have been ended before. A turn after the
    /// backoff's cap tries again. [`ErrorKind::Exhausted`] when the request ids are used up. [`ErrorKind::Internal`] for good once `sink` has
    /// panicked: that was in the midst of a turn, and what it had begun to tell of is not told again.
    pub fn turn(
        &mut self,
        wait_max: Duration,
        sink: impl FnMut(u64, u64, InlineOutcome<'_>),
    ) -> Result<bool, Error> {
        if std::mem::replace(&mut self.in_turn, true) {
            let context = "an earlier turn has panicked, in its closure or by itself; connect anew";
            return Err(Error::new(ErrorKind::Internal, Fate::NotSent, Phase::Call, context));
        }
        let turned = self.shard.turn(wait_max, &mut InlineSink(sink), &NoGate);
        self.in_turn = false;
        let progress = turned.map_err(|error| internal(&error))?;
        match self.shard.exchange.refuses_own(self.shard.turned_at) {
            Some(why) => {
                let reason = self.shard.exchange.down_reason().map(|reason| &**reason);
                Err(Error::from_failure(Failure { why, fate: Fate::NotSent }, reason))
            }
            None => Ok(progress),
        }
    }

    /// The time now, in nanoseconds of this process's clock.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.shard.clock.now().ns()
    }

    /// Calls that have been submitted and have not ended.
    pub fn in_flight(&mut self) -> u64 {
        self.shard.exchange.stats().live
    }

    /// Connections that take calls.
    pub fn ready_connections(&self) -> usize {
        self.shard.ready()
    }

    /// The revision in use, once a connection was ready.
    pub fn revision(&self) -> Option<Revision> {
        self.shard.exchange.revision()
    }

    /// What the server said of itself.
    pub fn server_info(&self) -> Option<Arc<ServerInfo>> {
        self.memory.info()
    }

    /// All counters.
    pub fn stats(&mut self) -> Stats {
        *self.shard.exchange.stats()
    }

    /// Ends everything now: calls in flight go to `sink` as closed, sockets are shut, child processes are asked to end, and
    /// this waits until they have. After a turn that has panicked the calls are told all the same, and nothing else is said to the servers.
    pub fn close(mut self, sink: impl FnMut(u64, u64, InlineOutcome<'_>)) {
        let mut sink = InlineSink(sink);
        if self.in_turn {
            // Connections may be in the midst of a change, and are not looked at.
            let now = self.shard.clock.now();
            self.shard.exchange.abandon(now, Why::Closed, &mut sink);
        } else {
            self.hang_up(&mut sink);
        }
        let household = self.household;
        drop(self);
        if let Some(household) = household {
            keeper::wait_until_settled(household, CLOSE_WAIT_MAX);
        }
    }

    fn hang_up(&mut self, sink: &mut impl Sink) {
        self.shard.close(Why::Closed, sink);
        // A few more turns hang up, and over HTTP end the session; an error of the poll changes nothing any more.
        let until = self.shard.clock.now().after(HANG_UP_WAIT_MAX);
        while self.shard.turn(Duration::from_millis(1), sink, &NoGate).is_ok()
            && !self.shard.exchange.is_closed()
            && self.shard.clock.now() < until
        {}
    }
}

/// Sockets are shut at once; a session may take a moment to end.
const HANG_UP_WAIT_MAX: Duration = Duration::from_millis(250);

/// Nobody waits longer than this for a child to end; the keeper goes on.
pub(crate) const CLOSE_WAIT_MAX: Duration = Duration::from_secs(15);

fn internal(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, Fate::NotSent, Phase::Call, format!("the event loop failed: {error}"))
}
