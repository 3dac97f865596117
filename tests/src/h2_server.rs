//! An MCP server over HTTP/2 that shows each call to a function and does what that says. Its frames are the `h2` crate's.
//!
//! One thread serves all connections, with prior knowledge; for TLS it stands behind a [`TlsFront`](crate::tls_front::TlsFront)
//! that agrees to `h2`. Openings, notifications and the end of a session are answered as a well-behaved server of the era
//! would, so that a function has only to say what becomes of the calls. What is kept: each request in the order in which they
//! came, each stream that the client reset, and the most streams that one connection had at a time.

use std::{
    future::poll_fn,
    io,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use axum::body::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    server::{Builder, Connection, SendResponse},
};
use http::{Request, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::{
    patience::PATIENCE,
    ports,
    scripted_server::{discovered, echoed, initialized},
};

/// The server and what it has seen. Dropping it ends the listening; connections end with their clients.
#[derive(Debug)]
pub struct H2Server {
    port: u16,
    shared: Arc<Shared>,
}

/// What the server is told once.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// `modern` or `legacy`.
    pub era: &'static str,
    /// Streams that a connection may have at a time.
    pub streams_max: Option<u32>,
    /// Bytes that the client may send on a stream, and on a connection, before they are read.
    pub window_bytes: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self { era: "modern", streams_max: None, window_bytes: 65_535 }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The number of its connection, from 0 on.
    pub connection: usize,
    /// Calls that came on this connection before.
    pub calls_before: usize,
    /// As in the pseudo-header.
    pub method: String,
    /// The session that it names, or nothing.
    pub session: String,
    /// The message of JSON-RPC; null if there was none.
    pub message: Value,
}

/// What becomes of a call.
#[derive(Clone, Debug)]
pub enum Does {
    /// It is answered with its own argument.
    Echo,
    /// The same, as the one event of a stream that then ends.
    Event,
    /// The same, and the stream does not end.
    EventWithoutEnd,
    /// The same, and the server goes away: it finishes what it has and takes no more on this connection.
    EchoAndGoAway,
    /// It is refused unseen.
    Refuse,
    /// Half an answer comes, and then the end of the stream.
    BreakOff,
    /// Nothing, until the client gives it up.
    Nothing,
    /// It is answered when the server is told so ([`H2Server::let_go`]).
    EchoWhenTold,
    /// The whole connection is cut.
    Cut,
    /// From now on the server neither reads nor writes on this connection, and does not end it.
    Freeze,
}

/// A stream that the client reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The number of its connection.
    pub connection: usize,
    /// The argument of its call.
    pub text: String,
    /// What for.
    pub reason: Reason,
}

#[derive(Debug)]
struct Shared {
    terms: Terms,
    seen: Mutex<Seen>,
    over: AtomicBool,
    told: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Seen {
    asked: Vec<Asked>,
    resets: Vec<Reset>,
    connections: usize,
    gone: usize,
    streams_most: usize,
}

/// What a stream asks of its connection.
enum Order {
    GoAway,
    Cut,
    Freeze,
    /// It is over.
    Ended,
}

type Script = dyn Fn(&Asked) -> Does + Send + Sync;

impl Asked {
    /// Is it a call of a tool?
    pub fn is_call(&self) -> bool {
        self.message["method"] == "tools/call"
    }

    /// The argument of a call.
    pub fn text(&self) -> &str {
        self.message["params"]["arguments"]["message"].as_str().unwrap_or_default()
    }
}

impl H2Server {
    /// On a free port.
    ///
    /// # Panics
    /// If there is no port.
    pub fn start(terms: Terms, script: impl Fn(&Asked) -> Does + Send + Sync + 'static) -> Self {
        let listener = ports::listener();
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            terms,
            seen: Mutex::default(),
            over: AtomicBool::new(false),
            told: watch::channel(false).0,
        });
        let (all, script) = (Arc::clone(&shared), Arc::new(script));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(listen(listener, all, script)).expect("the listener works");
        });
        Self { port, shared }
    }

    /// One that answers every call.
    pub fn echoing(terms: Terms) -> Self {
        Self::start(terms, |_| Does::Echo)
    }

    /// Where it listens, for the client.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// Where it listens, for a front.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Answers what waits for that, and all that comes.
    pub fn let_go(&self) {
        self.shared.told.send_replace(true);
    }

    /// The requests so far that `is_it` picks.
    pub fn asked(&self, is_it: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        self.shared.seen.lock().asked.iter().filter(|asked| is_it(asked)).cloned().collect()
    }

    /// How many there are of those.
    pub fn count(&self, is_it: impl Fn(&Asked) -> bool) -> usize {
        self.shared.seen.lock().asked.iter().filter(|asked| is_it(asked)).count()
    }

    /// The streams that the client reset so far.
    pub fn resets(&self) -> Vec<Reset> {
        self.shared.seen.lock().resets.clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.seen.lock().connections
    }

    /// Connections that stand.
    pub fn standing(&self) -> usize {
        let seen = self.shared.seen.lock();
        seen.connections - seen.gone
    }

    /// The most streams that one connection had at a time.
    pub fn streams_most(&self) -> usize {
        self.shared.seen.lock().streams_most
    }
}

impl Drop for H2Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // Wakes the listener; if nobody listens any more, so much the better.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, script: Arc<Script>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        if shared.over.load(Ordering::Acquire) {
            return Ok(());
        }
        socket.set_nodelay(true)?;
        let (shared, script) = (Arc::clone(&shared), Arc::clone(&script));
        tokio::spawn(async move {
            let mut builder = Builder::new();
            let window_bytes = shared.terms.window_bytes;
            builder.initial_window_size(window_bytes).initial_connection_window_size(window_bytes);
            if let Some(streams_max) = shared.terms.streams_max {
                builder.max_concurrent_streams(streams_max);
            }
            // Whoever speaks something else hears nothing.
            if let Ok(connection) = builder.handshake(socket).await {
                let number = shared.seen.lock().connections;
                shared.seen.lock().connections += 1;
                serve(connection, number, &shared, &script).await;
                shared.seen.lock().gone += 1;
            }
        });
    }
}

async fn serve(
    mut connection: Connection<tokio::net::TcpStream, Bytes>,
    number: usize,
    shared: &Arc<Shared>,
    script: &Arc<Script>,
) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (mut live, calls) = (0, Arc::new(Mutex::new(0)));
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                // An error is the end of it as well.
                let Some(Ok((request, respond))) = accepted else { return };
                live += 1;
                {
                    let mut seen = shared.seen.lock();
                    seen.streams_most = seen.streams_most.max(live);
                }
                let (shared, script, calls) = (Arc::clone(shared), Arc::clone(script), Arc::clone(&calls));
                let tell = tell.clone();
                tokio::spawn(async move {
                    // A client that gives a stream up ends it, which is no error.
                    let _ = exchange(request, respond, number, &shared, &*script, &calls, &tell).await;
                    let _ = tell.send(Order::Ended);
                });
            }
            order = told.recv() => match order {
                Some(Order::Ended) | None => live -= 1,
                Some(Order::GoAway) => connection.graceful_shutdown(),
                Some(Order::Cut) => return,
                // Longer than any test has patience for.
                Some(Order::Freeze) => tokio::time::sleep(2 * PATIENCE).await,
            },
        }
    }
}

/// One exchange, to the end of its answer.
async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    shared: &Shared,
    script: &Script,
    calls: &Mutex<usize>,
    tell: &mpsc::UnboundedSender<Order>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        text.extend_from_slice(&piece);
    }
    let session = head.headers.get("mcp-session-id").and_then(|value| value.to_str().ok());
    let mut asked = Asked {
        connection,
        calls_before: *calls.lock(),
        method: head.method.to_string(),
        session: session.unwrap_or_default().to_owned(),
        message: serde_json::from_slice(&text).unwrap_or_default(),
    };
    if !asked.is_call() {
        shared.seen.lock().asked.push(asked.clone());
        return welcome(&asked, &mut respond, shared.terms.era);
    }
    let does = {
        let mut calls = calls.lock();
        asked.calls_before = *calls;
        *calls += 1;
        script(&asked)
    };
    if matches!(does, Does::Refuse) {
        respond.send_reset(Reason::REFUSED_STREAM);
        return Ok(());
    }
    shared.seen.lock().asked.push(asked.clone());
    let answer = echoed(&asked.message).to_string();
    let note = |reason| {
        let reset = Reset { connection, text: asked.text().to_owned(), reason };
        shared.seen.lock().resets.push(reset);
    };
    match does {
        Does::Echo => say(&mut respond, 200, "application/json", &answer, true).map(drop),
        Does::Event => {
            let event = format!("id: 1\ndata: {answer}\n\n");
            say(&mut respond, 200, "text/event-stream", &event, true).map(drop)
        }
        Does::EventWithoutEnd => {
            let event = format!("data: {answer}\n\n");
            let mut sending = say(&mut respond, 200, "text/event-stream", &event, false)?;
            note(poll_fn(|cx| sending.poll_reset(cx)).await?);
            Ok(())
        }
        Does::EchoAndGoAway => {
            say(&mut respond, 200, "application/json", &answer, true)?;
            // There is always somebody who listens: the connection.
            let _ = tell.send(Order::GoAway);
            Ok(())
        }
        Does::BreakOff => {
            let half = &answer[..answer.len() / 2];
            let mut sending = say(&mut respond, 200, "application/json", half, false)?;
            // What has not left would be taken back by a reset; the connection writes it when it has its turn.
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
            sending.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Does::Nothing => {
            note(poll_fn(|cx| respond.poll_reset(cx)).await?);
            Ok(())
        }
        Does::EchoWhenTold => {
            let mut told = shared.told.subscribe();
            tokio::select! {
                _ = told.wait_for(|is_told| *is_told) => {
                    say(&mut respond, 200, "application/json", &answer, true).map(drop)
                }
                reason = poll_fn(|cx| respond.poll_reset(cx)) => {
                    note(reason?);
                    Ok(())
                }
            }
        }
        Does::Cut => {
            let _ = tell.send(Order::Cut);
            Ok(())
        }
        Does::Freeze => {
            let _ = tell.send(Order::Freeze);
            poll_fn(|cx| respond.poll_reset(cx)).await.map(drop)
        }
        Does::Refuse => Ok(()),
    }
}

/// What a well-behaved server of the era says to all that is no call.
fn welcome(asked: &Asked, respond: &mut SendResponse<Bytes>, era: &str) -> Result<(), h2::Error> {
    let is_modern = era == "modern";
    if asked.method != "POST" {
        let status = if asked.method == "DELETE" { 200 } else { 405 };
        return say(respond, status, "text/plain", "", true).map(drop);
    }
    let result = match asked.message["method"].as_str().unwrap_or_default() {
        "server/discover" if is_modern => discovered(&["2026-07-28"]),
        "tools/list" => json!({"resultType": "complete", "tools": [], "ttlMs": 0, "cacheScope": "private"}),
        "initialize" if !is_modern => initialized("2025-11-25"),
        method if method.starts_with("notifications/") => {
            return say(respond, 202, "text/plain", "", true).map(drop);
        }
        _ => {
            let error = json!({"code": -32600, "message": "no session"});
            let refusal = json!({"jsonrpc": "2.0", "id": null, "error": error});
            return say(respond, 400, "application/json", &refusal.to_string(), true).map(drop);
        }
    };
    let answer = json!({"jsonrpc": "2.0", "id": asked.message["id"], "result": result}).to_string();
    say(respond, 200, "application/json", &answer, true).map(drop)
}

/// Head and body, or its beginning.
fn say(
    respond: &mut SendResponse<Bytes>,
    status: u16,
    media: &str,
    body: &str,
    ends: bool,
) -> Result<SendStream<Bytes>, h2::Error> {
    let response = Response::builder().status(status).header("content-type", media);
    // Only the answer to `initialize` has to name it; it is no harm elsewhere.
    let response = response.header("mcp-session-id", SESSION).body(()).expect("headers that may stand");
    let mut sending = respond.send_response(response, ends && body.is_empty())?;
    if !body.is_empty() {
        sending.send_data(Bytes::copy_from_slice(body.as_bytes()), ends)?;
    }
    Ok(sending)
}

/// The session of a legacy server.
pub const SESSION: &str = "a-session";
