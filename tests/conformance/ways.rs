//! One server on every way: it decides message by message what to say, and the way carries it.
//!
//! A test whose point is about messages is played on all ways that a revision has, against the same script: what comes in as a
//! line, a text of a WebSocket, or a POST is given to it, and what it says goes out as a line, a text, a body in JSON, an event
//! of the response's stream, or an event of the common stream. Each is a real socket, and all that the client wrote is kept.
//! Requests over HTTP are checked as [`seen`](crate::seen) says, lines as [`Record::check`](volley_tests::record::Record::check)
//! does.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{ConfigBuilder, Era, Error, Revision, Stats, blocking::Client};
use volley_tests::{
    http_server::{HttpServer, Peer, Request, Then},
    patience::until_blocking,
    scripted_server::{ScriptedServer, discovered, echoed, initialized},
    websocket_server::{WebSocketServer, Welcome},
};

use crate::seen;

/// How messages travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Lines over TCP, as over stdio.
    Lines,
    /// Texts of a WebSocket.
    WebSocket,
    /// Streamable HTTP; what one body can hold is answered in JSON.
    Json,
    /// Streamable HTTP; every answer is a stream of events.
    Events,
    /// HTTP+SSE: all answers come on one stream.
    Sse,
}

impl Way {
    /// Those on which a server of this revision can be met.
    pub(crate) fn of(revision: Revision) -> Vec<Self> {
        let mut ways = vec![Self::Lines, Self::WebSocket];
        if revision != Revision::V2024_11_05 {
            ways.extend([Self::Json, Self::Events]);
        }
        if revision.era() == Era::Legacy {
            ways.push(Self::Sse);
        }
        ways
    }

    /// Do all answers of a connection come through one channel, in any order?
    pub(crate) fn is_shared(self) -> bool {
        matches!(self, Self::Lines | Self::WebSocket | Self::Sse)
    }
}

/// Plays on every way of every revision.
pub(crate) fn everywhere(mut play: impl FnMut(Way, Revision)) {
    Revision::all().for_each(|revision| Way::of(revision).into_iter().for_each(|way| play(way, revision)));
}

/// Plays on every way of the newest revision of each era.
pub(crate) fn in_both_eras(mut play: impl FnMut(Way, Revision)) {
    for revision in crate::play::ERAS {
        Way::of(revision).into_iter().for_each(|way| play(way, revision));
    }
}

/// A server on one of the ways.
pub(crate) struct Server {
    way: Way,
    kind: Kind,
}

enum Kind {
    Lines(ScriptedServer),
    WebSocket(WebSocketServer, Arc<Mutex<Vec<Value>>>),
    Http(HttpServer, Streams),
}

/// The streams of HTTP+SSE that are open: texts go in, events come out.
type Streams = Arc<Mutex<Vec<mpsc::Sender<String>>>>;

impl Server {
    /// `says` gives the texts that follow a message; `None` is left to the manners of the revision.
    pub(crate) fn start(
        way: Way,
        revision: Revision,
        says: impl Fn(&Value) -> Option<Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        let reply = move |message: &Value| says(message).unwrap_or_else(|| manners(revision, message));
        let kind = match way {
            Way::Lines => Kind::Lines(ScriptedServer::start(move |peer| {
                while let Some(message) = peer.read() {
                    reply(&message).iter().for_each(|text| peer.say(format!("{text}\n")));
                }
            })),
            Way::WebSocket => {
                let heard = Arc::<Mutex<Vec<Value>>>::default();
                let hears = Arc::clone(&heard);
                let server = WebSocketServer::start(Welcome::Warm, move |_, peer| {
                    while let Some(message) = peer.next_message() {
                        hears.lock().push(message.clone());
                        reply(&message).iter().for_each(|text| peer.say(text));
                    }
                });
                Kind::WebSocket(server, heard)
            }
            Way::Json | Way::Events => {
                let script = move |peer: &mut Peer, request: &Request| {
                    posted(peer, request, way, &reply(&request.message))
                };
                Kind::Http(HttpServer::plain("", script), Streams::default())
            }
            Way::Sse => {
                let streams = Streams::default();
                let open = Arc::clone(&streams);
                let script = move |peer: &mut Peer, request: &Request| {
                    if request.method == "GET" {
                        return stream(peer, &open);
                    }
                    let number: usize =
                        request.target.rsplit('=').next().unwrap_or_default().parse().unwrap_or(0);
                    let texts = reply(&request.message);
                    peer.accept();
                    if let Some(stream) = open.lock().get(number) {
                        // It may have ended meanwhile.
                        texts.into_iter().for_each(|text| drop(stream.send(text)));
                    }
                    Then::Keep
                };
                Kind::Http(HttpServer::plain("", script), streams)
            }
        };
        Self { way, kind }
    }

    /// Where it is reached.
    pub(crate) fn endpoint(&self) -> String {
        match (&self.kind, self.way) {
            (Kind::Lines(server), _) => server.endpoint().to_owned(),
            (Kind::WebSocket(server, _), _) => format!("ws://127.0.0.1:{}/mcp", server.port()),
            (Kind::Http(server, _), Way::Sse) => format!("sse+{}", address(server)),
            (Kind::Http(server, _), _) => address(server),
        }
    }

    /// All messages so far, in the order in which they were read.
    pub(crate) fn messages(&self) -> Vec<Value> {
        match &self.kind {
            Kind::Lines(server) => server.so_far().lines().iter().map(|line| line.message.clone()).collect(),
            Kind::WebSocket(_, heard) => heard.lock().clone(),
            Kind::Http(server, _) => posts(&server.requests()),
        }
    }

    /// All requests over HTTP so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        match &self.kind {
            Kind::Http(server, _) => server.requests(),
            Kind::Lines(_) | Kind::WebSocket(..) => Vec::new(),
        }
    }

    /// Waits until such a message has come.
    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) {
        until_blocking(what, || self.messages().iter().any(&is_it));
    }

    /// Waits for the end of all connections, checks the rules, and gives all that the client wrote.
    fn finish(self, revision: Revision) -> Said {
        let said = self.finished(revision);
        let arrays = said.messages.iter().filter(|message| message.is_array()).count();
        assert!(arrays == 0 || revision == Revision::V2025_03_26, "{arrays} arrays in {revision}");
        said
    }

    fn finished(self, revision: Revision) -> Said {
        match self.kind {
            Kind::Lines(server) => {
                Said { messages: server.finish().lines().iter().map(|line| line.message.clone()).collect() }
            }
            Kind::WebSocket(_, heard) => Said { messages: heard.lock().clone() },
            Kind::Http(server, streams) => {
                streams.lock().clear();
                server.no_socket_is_left();
                let requests = server.requests();
                seen::check(&requests, server.port(), revision);
                Said { messages: posts(&requests) }
            }
        }
    }
}

fn posts(requests: &[Request]) -> Vec<Value> {
    requests
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| request.message.clone())
        .collect()
}

/// All that a client said.
pub(crate) struct Said {
    pub(crate) messages: Vec<Value>,
}

impl Said {
    /// The messages with this method, also those in arrays.
    pub(crate) fn with(&self, method: &str) -> Vec<&Value> {
        let each = self.messages.iter().flat_map(|message| match message {
            Value::Array(elements) => elements.as_slice(),
            one => std::slice::from_ref(one),
        });
        each.filter(|message| message["method"] == method).collect()
    }

    /// The responses.
    pub(crate) fn responses(&self) -> Vec<&Value> {
        let is_response = |message: &&Value| message.is_object() && message.get("method").is_none();
        self.messages.iter().filter(is_response).collect()
    }
}

/// Starts a server, connects, lets the act happen, closes, and gives what was said and what was counted.
pub(crate) fn play_on(
    way: Way,
    revision: Revision,
    config: ConfigBuilder,
    says: impl Fn(&Value) -> Option<Vec<String>> + Send + Sync + 'static,
    act: impl FnOnce(&Client, &Server),
) -> (Said, Stats) {
    let server = Server::start(way, revision, says);
    let client = connect_to(&server.endpoint(), config)
        .unwrap_or_else(|error| panic!("no connection in {revision} over {way:?}: {error}"));
    act(&client, &server);
    let stats = ended(&client);
    (server.finish(revision), stats)
}

/// Where a server is reached over HTTP.
pub(crate) fn address(server: &HttpServer) -> String {
    server.url()
}

/// Connects with waits that suit a test.
pub(crate) fn connect_to(endpoint: &str, config: ConfigBuilder) -> Result<Client, Error> {
    let config = config.backoff(Duration::from_millis(1), Duration::from_millis(20)).build().expect("valid");
    Client::connect(endpoint, config)
}

/// Closes and gives the counters, which have to add up.
pub(crate) fn ended(client: &Client) -> Stats {
    client.close();
    let stats = client.stats();
    assert_eq!(stats.live, 0, "{stats:?}");
    assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled, "{stats:?}");
    stats
}

/// What a server of this revision says by itself.
pub(crate) fn manners(revision: Revision, message: &Value) -> Vec<String> {
    let result = match (message["method"].as_str(), revision.era()) {
        (Some("server/discover"), Era::Modern) => discovered(&[revision.as_str()]),
        (Some("initialize"), Era::Legacy) => initialized(revision.as_str()),
        (Some("tools/list"), _) => json!({"tools": [], "ttlMs": 0, "cacheScope": "private"}),
        (Some("tools/call"), _) => return vec![echoed(message).to_string()],
        (Some(_), _) if message.get("id").is_some() => return vec![error(message, -32601)],
        _ => return Vec::new(),
    };
    vec![answer(message, &result)]
}

/// The text of a result for this request.
pub(crate) fn answer(request: &Value, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string()
}

/// The text of an error for this request.
pub(crate) fn error(request: &Value, code: i64) -> String {
    let error = json!({"code": code, "message": "so says the script"});
    json!({"jsonrpc": "2.0", "id": request["id"], "error": error}).to_string()
}

/// The text of something that the server starts; a request if there is an id.
pub(crate) fn started(method: &str, id: Option<Value>, params: &Value) -> String {
    let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
    if let Some(id) = id {
        message["id"] = id;
    }
    message.to_string()
}

/// An event with this text.
pub(crate) fn event(text: &str) -> String {
    format!("event: message\ndata: {text}\n\n")
}

/// Answers a request over Streamable HTTP with these texts.
fn posted(peer: &mut Peer, request: &Request, way: Way, texts: &[String]) -> Then {
    let is_request = request.message.get("method").is_some() && request.message.get("id").is_some();
    match texts {
        _ if request.method == "DELETE" => {
            peer.respond("200 OK", "", "");
        }
        _ if request.method != "POST" => {
            peer.respond("405 Method Not Allowed", "", "");
        }
        // Left without an answer; the next request on this socket will not come.
        [] if is_request => {}
        [] => {
            peer.accept();
        }
        [text] if way == Way::Json => {
            peer.json("200 OK", text);
        }
        texts => {
            peer.begin_events();
            for text in texts {
                peer.chunk(&event(text));
            }
            peer.end_chunks();
        }
    }
    Then::Keep
}

/// The stream of HTTP+SSE, to its end.
fn stream(peer: &mut Peer, open: &Streams) -> Then {
    let (send, receive) = mpsc::channel();
    let number = {
        let mut open = open.lock();
        open.push(send);
        open.len() - 1
    };
    peer.begin_events();
    peer.chunk(&format!("event: endpoint\ndata: /post?stream={number}\n\n"));
    for text in receive {
        if !peer.chunk(&event(&text)) {
            break;
        }
    }
    Then::Close
}
