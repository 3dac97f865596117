//! The client: clone it, share it, call through it. It knows no socket and no frame.

use std::{
    borrow::Borrow,
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;

use super::{
    bulk::{Bulk, BulkOptions},
    call::{Answer, Call, Request, Wish},
};
use crate::{
    base::limits::SLOT_BUFFER_BYTES_KEPT,
    config::{Config, endpoint::Endpoint},
    decode::answer::RawAnswer,
    engine::Engine,
    error::Error,
    model::{
        body::{self, Body},
        tool::ToolCall,
    },
    proto::{
        event::{Failure, Fate, Patience},
        message::handshake::ServerInfo,
    },
    shard::{
        inbox::{Command, Latch, Note, NoteOutcome},
        mailbox::Notifications,
    },
    telemetry::counters::Stats,
};

/// A client of one MCP server, over as many connections as configured. Clones share everything.
///
/// It works in any async executor, since all the work is done by its own threads (or, if the configuration says so, by tasks of
/// the caller's runtime: [`Driver`](crate::Driver)); [`crate::blocking`] has it without async.
///
/// ```no_run
/// use serde_json::json;
/// use volley::{Client, Config};
///
/// # async fn example() -> Result<(), volley::Error> {
/// let client = Client::connect("tcp://127.0.0.1:9000", Config::default()).await?;
/// let result = client.call_tool("echo", &json!({"message": "hello"})).await?;
/// println!("{}", result.text());
/// client.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    engine: Arc<Engine>,
    /// Which shard is first asked, in turn.
    turn: Arc<AtomicUsize>,
}

impl Client {
    /// Connects to a server, or starts one, and returns when the first connection takes calls. The others follow in the
    /// background.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for an endpoint that cannot be read or resolved; [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) with the last
    /// reason when the first attempts failed.
    ///
    /// # Cancel safety
    /// Dropping it ends everything that was started.
    pub async fn connect<E>(endpoint: E, config: Config) -> Result<Self, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let endpoint = endpoint.try_into()?;
        let engine = Arc::new(Engine::start(&endpoint, config)?);
        engine.ready().await?;
        Ok(Self { engine, turn: Arc::default() })
    }

    /// Calls a tool. The call is on its way when this returns, if there is a place for it; await the [`Call`] for the result.
    /// Arguments that are no JSON object come out as [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
    pub fn call_tool(&self, tool: &str, arguments: &impl Serialize) -> Call {
        self.call_tool_as(tool, arguments, false)
    }

    /// Makes a prepared call, which may be made again: `call(&prepared)`.
    pub fn call(&self, call: impl Borrow<ToolCall>) -> Call {
        self.make(call.borrow(), false)
    }

    /// Makes a prepared call and gives the answer as it came, undecoded. Nothing is allocated for it, as long as there is a
    /// place in the queue and answers of up to 4 KiB are dropped before as many others have come as there are places.
    pub fn call_raw(&self, call: impl Borrow<ToolCall>) -> Call<RawAnswer> {
        self.make(call.borrow(), false)
    }

    /// Makes a prepared call if there is a place for it now; otherwise gives it back. Full is a state, not an error. With
    /// [interceptors](crate::Interceptor) the place is looked for before they are asked, and the call waits for another if it
    /// is gone when they have let it pass. It takes a place also from calls that wait for one: tasks that do nothing else can keep those waiting.
    ///
    /// # Errors
    /// [`Full`] with the call, when the windows and queues are full.
    pub fn try_call(&self, call: ToolCall) -> Result<Call, Full> {
        Call::try_make(&self.engine, self.next_shard(), &self.wish_of(&call, false)).ok_or(Full(call))
    }

    /// Sends any request. `params` must become a JSON object, or null for none. Members of their `_meta` are joined with those
    /// that the engine writes; these are not to be given ([`ToolCall::with_meta`] names them), else the call comes out as
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
    /// use serde_json::{Value, json};
    ///
    /// let trace = json!({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"});
    /// let answer = client.request("resources/read", &json!({"uri": "file:///x", "_meta": trace})).await?;
    /// println!("{}", answer.result::<Value>()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(&self, method: &str, params: &impl Serialize) -> Call<RawAnswer> {
        self.send(Body::new(method, params), self.engine.config.patience())
    }

    /// Sends a notification on one connection; returns when it stands in that connection's output.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if `params` become neither a JSON object nor null; [`ErrorKind::Closed`](crate::ErrorKind::Closed);
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) when no connection can be had, or a thousand notifications wait for one already.
    pub async fn notify(&self, method: &str, params: &impl Serialize) -> Result<(), Error> {
        let params = body::object(method, params)?;
        let handle = &self.engine.handles[self.next_shard()];
        let params = (!params.is_null()).then(|| params.to_string().into_boxed_str());
        let outcome = Arc::new(NoteOutcome::default());
        let closed = |fate| Error::from_failure(Failure { why: handle.why_closed(), fate }, None);
        if handle.is_refusing() {
            return Err(closed(Fate::NotSent));
        }
        handle.command(Command::Notify(Note {
            method: method.into(),
            params,
            outcome: Arc::clone(&outcome),
        }));
        if handle.is_closed() && !outcome.ended.is_open() {
            // Nobody looks at the commands any more; whether somebody still did cannot be told apart here.
            return Err(closed(Fate::Unknown));
        }
        outcome.ended.wait().await;
        let failed = *outcome.failed.lock();
        failed.map_or(Ok(()), |why| Err(handle.error(Failure { why, fate: Fate::NotSent })))
    }

    /// Calls tools in bulk: pulls calls lazily from an iterator, keeps the windows full, and yields each call's index and
    /// outcome, as they come or in order. See [`Bulk`].
    pub fn bulk<I>(&self, calls: I) -> Bulk<I::IntoIter>
    where
        I: IntoIterator<Item = ToolCall>,
    {
        Bulk::new(Arc::clone(&self.engine), calls.into_iter(), BulkOptions::default())
    }

    /// Asks whether the server is alive. Only servers of the handshake era know `ping`.
    ///
    /// # Errors
    /// Those of the request; a modern server answers with [`ErrorKind::Rpc`](crate::ErrorKind::Rpc), code -32601.
    pub async fn ping(&self) -> Result<(), Error> {
        self.request("ping", &Value::Null).await.map(drop)
    }

    /// A stream of the server's notifications from now on.
    pub fn notifications(&self) -> Notifications {
        Notifications { mailbox: self.engine.porter.open_mailbox(), listener: None }
    }

    /// What the server said of itself; `None` when the era was known and nothing had to be asked.
    pub fn server_info(&self) -> Option<Arc<ServerInfo>> {
        self.engine.memory.info()
    }

    /// All counters, as of each shard's last turn.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Connections that take calls now.
    pub fn ready_connections(&self) -> usize {
        self.engine.handles.iter().map(|handle| handle.status.ready.load(Ordering::Acquire) as usize).sum()
    }

    /// Takes no new calls, lets those taken on end within `deadline`, then closes. Returns whether all of them ended by
    /// themselves. Calls made meanwhile, through any clone, fail with [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    /// Draining goes on if it is dropped.
    pub async fn drain(&self, deadline: Duration) -> bool {
        let engine = Arc::clone(&self.engine);
        match offload("volley-drain", move || engine.drain_blocking(deadline)).await {
            Some(drained) => drained,
            // Better to block this thread than not to drain.
            None => self.engine.drain_blocking(deadline),
        }
    }

    /// Ends everything now: calls that have not ended fail with [`ErrorKind::Closed`](crate::ErrorKind::Closed), sockets are shut, child processes are
    /// asked to end, then made to. Returns when no thread, socket or child is left.
    ///
    /// # Cancel safety
    /// Closing goes on if it is dropped.
    pub async fn close(&self) {
        let engine = Arc::clone(&self.engine);
        if offload("volley-close", move || engine.close_blocking()).await.is_none() {
            self.engine.close_blocking();
        }
    }

    /// A client of parts that run already, or never will.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn of(engine: Arc<Engine>) -> Self {
        Self { engine, turn: Arc::default() }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Sends a body of whatever making.
    pub(super) fn send(&self, body: Result<Body, Error>, patience: Patience) -> Call<RawAnswer> {
        let request = body.map(|body| Request { body, patience, mailbox: None });
        Call::make(&self.engine, self.next_shard(), request)
    }

    pub(super) fn next_shard(&self) -> usize {
        if self.engine.handles.len() == 1 {
            0
        } else {
            self.engine.willing_shard(self.turn.fetch_add(1, Ordering::Relaxed))
        }
    }

    /// As [`Self::call_tool`], for a caller who `blocks` a thread or does not.
    pub(super) fn call_tool_as(&self, tool: &str, arguments: &impl Serialize, blocks: bool) -> Call {
        // Written into memory that this thread keeps, since the slot has its own.
        let mut body = BODY.try_with(Cell::take).unwrap_or_default();
        let call = match ToolCall::write(&mut body, tool, arguments) {
            Ok(()) => {
                let patience = self.engine.config.patience();
                let written = Body::of(std::mem::take(&mut body));
                let wish = Wish { body: &written, patience, mailbox: None, blocks };
                let call = Call::make_wish(&self.engine, self.next_shard(), &wish);
                body = written.into_bytes();
                call
            }
            Err(error) => Call::refused(&self.engine, 0, error),
        };
        if body.capacity() <= SLOT_BUFFER_BYTES_KEPT {
            body.clear();
            // Only a thread that is ending has no place for it.
            let _ = BODY.try_with(|place| place.set(body));
        }
        call
    }

    /// Makes a prepared call for a caller who `blocks` a thread or does not.
    pub(super) fn make<T: Answer>(&self, call: &ToolCall, blocks: bool) -> Call<T> {
        Call::make_wish(&self.engine, self.next_shard(), &self.wish_of(call, blocks))
    }

    fn wish_of<'a>(&self, call: &'a ToolCall, blocks: bool) -> Wish<'a> {
        let patience = call.patience(self.engine.config.patience());
        Wish { body: call.request(), patience, mailbox: None, blocks }
    }
}

thread_local! {
    /// Where [`Client::call_tool`] writes its body. Taken out while it is used, so that arguments may make calls themselves
    /// as they are serialised.
    static BODY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// There is no place for this call now; here it is back.
#[derive(Clone, Debug)]
pub struct Full(pub ToolCall);

/// Opens a latch when it goes.
struct Opens(Arc<Latch>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Runs what blocks on a thread of its own. `None` if the system has no thread to give, or the work panicked.
pub(super) async fn offload<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    let (done, result) = (Arc::new(Latch::default()), Arc::new(parking_lot::Mutex::new(None)));
    let (opens, writes) = (Opens(Arc::clone(&done)), Arc::clone(&result));
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Even if it panics, somebody waits.
            let _opens = opens;
            *writes.lock() = Some(work());
        })
        .ok()?;
    done.wait().await;
    result.lock().take()
}

impl TryFrom<&str> for Endpoint {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::{
        model::body::ENGINES,
        proto::{message::encode, revision::Revision},
        slab::key::Key,
    };

    /// Members of any name, also of such as look like the marks between which a body is cut.
    fn any_members() -> impl Strategy<Value = Map<String, Value>> {
        let value = prop_oneof![
            any::<String>().prop_map(Value::from),
            prop_oneof![Just("{"), Just(","), Just("\"_meta\":{"), Just(",\"_meta\":{\"a\":1,")]
                .prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(Value::Null),
            Just(json!({})),
            Just(json!({"_meta": {"deep": [","]}})),
        ];
        btree_map(any::<String>(), value, 0..4).prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        /// Whatever the params, the `_meta`, what is added later, and the server: the message says all of it, once.
        #[test]
        fn a_message_says_what_its_body_was_told(
            params in any_members(),
            meta in any_members(),
            more in any_members(),
            revision in prop::sample::select(Revision::all().collect::<Vec<_>>()),
            progress in any::<bool>(),
        ) {
            let mut expected = params.clone();
            expected.extend(more.clone());
            prop_assume!(params.len() + more.len() == expected.len() && !expected.contains_key("_meta"));
            let mut whole = Value::Object(params);
            if !meta.is_empty() {
                whole["_meta"] = Value::Object(meta.clone());
            }
            let body = Body::new("m", &whole).unwrap().with(&more);
            let (mut out, key) = (Vec::new(), Key::from_wire(77).unwrap());
            let tail = encode::Tail::new(revision, r#"{"name":"n"}"#, "{}");
            encode::request(&mut out, key, &tail, progress, |out| out.extend_from_slice(body.bytes()));
            let mut message: Value = serde_json::from_slice(&out).expect("valid JSON");
            let mut said = message.get_mut("params").map(serde_json::Value::take).unwrap_or_default();
            if let Some(Value::Object(mut said)) = said.as_object_mut().and_then(|said| said.remove("_meta")) {
                ENGINES.iter().for_each(|name| drop(said.remove(*name)));
                prop_assert_eq!(said, meta);
            } else {
                prop_assert!(meta.is_empty());
            }
            prop_assert_eq!(said, Value::Object(expected));
        }
    }
}
