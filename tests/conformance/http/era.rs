//! Clauses 50 to 52: finding out what a server over HTTP speaks, once.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use volley::Revision;
use volley_tests::{
    http_server::{HttpServer, Request, Then},
    patience::until_blocking,
};

use super::{echo, opens, play_http, server, with};
use crate::{
    play::{ERAS, all_answered, auto},
    ways::{Way, address, connect_to, ended, error, play_on},
};

const LEGACY: Revision = Revision::V2025_11_25;

/// The methods of JSON-RPC in order, and the other ones of HTTP.
fn order(requests: &[Request]) -> Vec<&str> {
    let name = |request| match Request::rpc(request) {
        "" => request.method.as_str(),
        rpc => rpc,
    };
    requests.iter().map(name).collect()
}

#[test]
fn must_50_whatever_is_not_modern_leads_to_initialize_at_the_same_address() {
    let json = "Content-Type: application/json\r\n";
    let plain = "Content-Type: text/plain\r\n";
    let answers: [(&str, &str, &str); 14] = [
        ("400 Bad Request", "", ""),
        ("400 Bad Request", plain, "Bad Request: no valid session"),
        ("400 Bad Request", json, r#"{"error":"not initialized"}"#),
        (
            "400 Bad Request",
            json,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"not initialized"}}"#,
        ),
        ("400 Bad Request", json, r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"no session"}}"#),
        (
            "404 Not Found",
            json,
            r#"{"jsonrpc":"2.0","id":@,"error":{"code":-32601,"message":"no such method"}}"#,
        ),
        ("404 Not Found", "", ""),
        ("405 Method Not Allowed", "", ""),
        ("406 Not Acceptable", plain, "no"),
        ("415 Unsupported Media Type", plain, "no"),
        ("200 OK", json, r#"{"jsonrpc":"2.0","id":@,"error":{"code":-32601,"message":"no such method"}}"#),
        ("200 OK", json, r#"{"jsonrpc":"2.0","id":@,"result":{"tools":[]}}"#),
        ("200 OK", "Content-Type: text/html\r\n", "<html>"),
        ("202 Accepted", "", ""),
    ];
    for (status, media, body) in answers {
        let server = HttpServer::plain("", move |peer, request| {
            if request.rpc() == "server/discover" {
                peer.respond(status, media, &body.replace('@', &request.id()));
                return Then::Keep;
            }
            if opens(peer, request, LEGACY, "") { Then::Keep } else { echo(peer, request) }
        });
        let (requests, _) = play_http(LEGACY, server, auto(), |client, _| all_answered(client, 3));
        let order = order(&requests);
        let expected = ["server/discover", "initialize", "notifications/initialized", "tools/call"];
        assert_eq!(order[..4], expected, "{status} {body}");
        assert!(requests.iter().all(|request| request.target == requests[0].target));
    }
}

#[test]
fn must_50_a_modern_error_in_a_400_is_not_fallen_back_from() {
    for code in [-32020, -32021, -32022] {
        let probes = AtomicUsize::new(0);
        let server = HttpServer::plain("", move |peer, request| {
            if request.rpc() == "server/discover" && probes.fetch_add(1, Ordering::SeqCst) == 0 {
                let error = json!({"code": code, "message": "m", "data": {"supported": ["2026-07-28"]}});
                let body = json!({"jsonrpc": "2.0", "id": request.message["id"], "error": error});
                peer.json("400 Bad Request", &body.to_string());
                return Then::Keep;
            }
            if opens(peer, request, Revision::V2026_07_28, "") { Then::Keep } else { echo(peer, request) }
        });
        let (requests, _) =
            play_http(Revision::V2026_07_28, server, auto(), |client, _| all_answered(client, 3));
        assert_eq!((with(&requests, "server/discover").len(), with(&requests, "initialize").len()), (2, 0));
    }
}

/// A server of HTTP+SSE whose address takes no POST: it says so with this status.
#[test]
fn must_50_a_refused_initialize_leads_to_the_stream_of_events() {
    for status in ["400 Bad Request", "404 Not Found", "405 Method Not Allowed"] {
        let (send, receive) = std::sync::mpsc::channel::<String>();
        let (send, receive) = (parking_lot::Mutex::new(send), parking_lot::Mutex::new(receive));
        let server = HttpServer::plain("", move |peer, request| {
            match (request.method.as_str(), request.target.as_str()) {
                ("GET", _) => {
                    peer.begin_events();
                    peer.chunk("event: endpoint\ndata: messages?s=1\n\n");
                    // Until the client has gone, which the next word to it shows; the test ends with the client.
                    while let Ok(text) = receive.lock().recv_timeout(std::time::Duration::from_secs(2)) {
                        peer.chunk(&crate::ways::event(&text));
                    }
                    return Then::Close;
                }
                (_, "/messages?s=1") => {
                    for text in crate::ways::manners(Revision::V2024_11_05, &request.message) {
                        send.lock().send(text).expect("the stream is there");
                    }
                    peer.accept()
                }
                _ => peer.respond(status, "", ""),
            };
            Then::Keep
        });
        let (requests, _) = play_http(Revision::V2024_11_05, server, auto(), |client, _| {
            all_answered(client, 3);
            let info = client.as_async().server_info().unwrap();
            assert_eq!(info.revision(), Some(Revision::V2024_11_05));
        });
        let expected = ["server/discover", "initialize", "GET", "initialize", "notifications/initialized"];
        assert_eq!(order(&requests)[..5], expected, "{status}");
    }
}

#[test]
fn must_51_authorization_and_availability_do_not_decide_the_era() {
    for status in
        ["401 Unauthorized", "403 Forbidden", "429 Too Many Requests", "500 Oh", "502 Oh", "503 Oh", "504 Oh"]
    {
        // For good: it is never spoken to in another way.
        let server = HttpServer::plain("", move |peer, _| {
            peer.respond(status, "", "");
            Then::Keep
        });
        let Err(error) = connect_to(&address(&server), auto().attempts_max(2)) else { panic!("{status}") };
        assert!(error.to_string().contains(&status[..3]), "{error}");
        let requests = server.requests();
        assert!(requests.iter().all(|request| request.rpc() == "server/discover"), "{status}: {requests:#?}");
        // For a while: then it is what it is. Without a token nothing is tried again.
        for revision in ERAS.into_iter().filter(|_| !["401", "403"].contains(&&status[..3])) {
            let probes = AtomicUsize::new(0);
            let server = HttpServer::plain("", move |peer, request| {
                if request.rpc() == "server/discover" && probes.fetch_add(1, Ordering::SeqCst) == 0 {
                    peer.respond(status, "", "");
                    return Then::Keep;
                }
                if opens(peer, request, revision, "") { Then::Keep } else { echo(peer, request) }
            });
            let (requests, _) = play_http(revision, server, auto(), |client, _| all_answered(client, 3));
            assert_eq!(order(&requests)[..2], ["server/discover"; 2], "{status}");
        }
    }
}

#[test]
fn must_52_the_era_is_found_out_once_for_all_shards_and_clients_over_http() {
    for revision in ERAS {
        let server = server(revision, echo);
        let config = || auto().connections(4).shards(2).in_flight(2);
        let address = address(&server);
        let first = connect_to(&address, config()).unwrap();
        until_blocking("all are ready", || first.as_async().ready_connections() == 4);
        all_answered(&first, 100);
        let second = connect_to(&address, config()).unwrap();
        until_blocking("all are ready", || second.as_async().ready_connections() == 4);
        all_answered(&second, 100);
        for client in [first, second] {
            ended(&client);
        }
        let requests = server.requests();
        assert_eq!(with(&requests, "server/discover").len(), 1, "one probe");
        let handshakes = if revision == LEGACY { 8 } else { 0 };
        assert_eq!(with(&requests, "initialize").len(), handshakes, "one for each connection");
    }
}

/// On a WebSocket as on lines: the probe comes first, and no code decides by itself.
#[test]
fn must_48_any_other_error_leads_to_initialize_on_the_same_websocket() {
    for code in [-32601, -32600, -32602, -32603, -32000, -32001, -32002, -1, 0, 404] {
        let says = move |message: &Value| {
            (message["method"] == "server/discover").then(|| vec![error(message, code)])
        };
        let (said, stats) =
            play_on(Way::WebSocket, LEGACY, auto(), says, |client, _| all_answered(client, 3));
        let methods: Vec<_> = said.messages.iter().filter_map(|message| message["method"].as_str()).collect();
        assert_eq!(
            methods[..4],
            ["server/discover", "initialize", "notifications/initialized", "tools/call"]
        );
        assert_eq!((stats.connects, stats.disconnects), (1, 0), "{code}: {stats:?}");
    }
}

#[test]
fn must_49_a_modern_error_never_leads_to_initialize_on_a_websocket() {
    for code in [-32020, -32021, -32022] {
        let probes = AtomicUsize::new(0);
        let says = move |message: &Value| {
            let is_first =
                message["method"] == "server/discover" && probes.fetch_add(1, Ordering::SeqCst) == 0;
            is_first.then(|| {
                let error = json!({"code": code, "message": "m", "data": {"supported": ["2026-07-28"]}});
                vec![json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string()]
            })
        };
        let play = |client: &volley::blocking::Client, _: &crate::ways::Server| all_answered(client, 3);
        let (said, _) = play_on(Way::WebSocket, Revision::V2026_07_28, auto(), says, play);
        assert_eq!((said.with("server/discover").len(), said.with("initialize").len()), (2, 0), "{code}");
    }
}
