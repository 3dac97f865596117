//! What MCP demands of a client over HTTP, and what it demands on every way alike.

mod batches;
mod era;
mod events_only;
mod flow;
mod handshake;
mod inbound;
mod legacy;
mod messages;
mod mirrored;
mod modern;
mod origin;
mod pieces;
mod results;
mod sessions;
mod streamable;

use serde_json::{Value, json};
use volley::{ConfigBuilder, Era, Revision, Stats, blocking::Client};
use volley_tests::{
    http_server::{HttpServer, Peer, Request, Then},
    scripted_server::{discovered, echoed, initialized},
};

use crate::{
    seen,
    ways::{address, answer, connect_to, ended, error},
};

/// The revisions with Streamable HTTP and a handshake.
const STREAMABLE_LEGACY: [Revision; 3] =
    [Revision::V2025_03_26, Revision::V2025_06_18, Revision::V2025_11_25];

/// All revisions with Streamable HTTP.
const STREAMABLE: [Revision; 4] =
    [Revision::V2025_03_26, Revision::V2025_06_18, Revision::V2025_11_25, Revision::V2026_07_28];

/// A server of Streamable HTTP in this revision. It answers openings, and hands `script` all other requests.
fn server(
    revision: Revision,
    script: impl Fn(&mut Peer, &Request) -> Then + Send + Sync + 'static,
) -> HttpServer {
    HttpServer::plain(
        "",
        move |peer, request| {
            if opens(peer, request, revision, "") { Then::Keep } else { script(peer, request) }
        },
    )
}

/// Answers a request of an opening, as a server of this revision with these headers on its answer to `initialize`. GETs and
/// DELETEs, and everything after the opening, are the script's.
fn opens(peer: &mut Peer, request: &Request, revision: Revision, headers: &str) -> bool {
    let message = &request.message;
    let result = match (request.rpc(), revision.era()) {
        ("server/discover", Era::Modern) => discovered(&[revision.as_str()]),
        ("server/discover", Era::Legacy) => {
            peer.json("200 OK", &error(message, -32601));
            return true;
        }
        ("initialize", Era::Legacy) => initialized(revision.as_str()),
        ("notifications/initialized", Era::Legacy) => {
            peer.accept();
            return true;
        }
        ("tools/list", Era::Modern) => json!({"tools": [], "ttlMs": 0, "cacheScope": "private"}),
        _ => return false,
    };
    let headers = format!("Content-Type: application/json\r\n{headers}");
    peer.respond("200 OK", &headers, &answer(message, &result));
    true
}

/// Answers anything after an opening as a server does that has nothing to say: calls with their own argument, notifications
/// and responses with 202, GETs with 405, DELETEs with 200.
fn echo(peer: &mut Peer, request: &Request) -> Then {
    match request.method.as_str() {
        "POST" if request.is_call() => peer.json("200 OK", &echoed(&request.message).to_string()),
        "POST" if request.message.get("method").is_some() && request.message.get("id").is_some() => {
            peer.json("200 OK", &error(&request.message, -32601))
        }
        "POST" => peer.accept(),
        "DELETE" => peer.respond("200 OK", "", ""),
        _ => peer.respond("405 Method Not Allowed", "", ""),
    };
    Then::Keep
}

/// Connects, lets the act happen, closes, waits for the last socket, checks what holds always, and gives all requests.
fn play_http(
    revision: Revision,
    server: HttpServer,
    config: ConfigBuilder,
    act: impl FnOnce(&Client, &HttpServer),
) -> (Vec<Request>, Stats) {
    let (requests, stats, port) = play_odd(server, config, act);
    seen::check(&requests, port, revision);
    (requests, stats)
}

/// As [`play_http`], for servers that refuse requests which are then sent again: nothing is checked.
fn play_odd(
    server: HttpServer,
    config: ConfigBuilder,
    act: impl FnOnce(&Client, &HttpServer),
) -> (Vec<Request>, Stats, u16) {
    let client =
        connect_to(&address(&server), config).unwrap_or_else(|error| panic!("no connection: {error}"));
    act(&client, &server);
    let stats = ended(&client);
    server.no_socket_is_left();
    (server.requests(), stats, server.port())
}

/// The requests with this method of JSON-RPC.
fn with<'r>(requests: &'r [Request], rpc: &str) -> Vec<&'r Request> {
    requests.iter().filter(|request| request.rpc() == rpc).collect()
}

/// Is it a response to something that the server asked?
fn is_response(message: &Value) -> bool {
    message.is_object() && message.get("method").is_none()
}
