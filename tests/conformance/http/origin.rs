//! Clause 70: the token goes to the origin that it is for, on every request, and nowhere else.

use serde_json::json;
use volley::{ErrorKind, Revision};
use volley_tests::{
    http_server::{HttpServer, Then},
    patience::until_blocking,
};

use super::{STREAMABLE, echo, is_response, opens};
use crate::{
    play::{all_answered, auto, call},
    ways::{Server, Way, address, connect_to, ended, started},
};

const TOKEN: &str = "s3cret-t0ken";

#[test]
fn must_70_the_token_is_on_every_request_and_never_in_the_address() {
    for revision in STREAMABLE {
        let server = HttpServer::plain("", move |peer, request| {
            if opens(peer, request, revision, "Mcp-Session-Id: s\r\n") {
                return Then::Keep;
            }
            if request.method == "GET" {
                peer.begin_events();
                peer.chunk(&format!("data: {}\n\n", started("ping", Some(json!(1)), &json!({}))));
                peer.bytes_until_end();
                return Then::Close;
            }
            echo(peer, request)
        });
        let client = connect_to(&address(&server), auto().bearer(TOKEN).listen(true)).unwrap();
        all_answered(&client, 20);
        client.notify("notifications/x", &json!({})).unwrap();
        let legacy = revision != Revision::V2026_07_28;
        until_blocking("everything has come", || {
            let replied = server.count(|request| is_response(&request.message)) == usize::from(legacy);
            server.count_rpc("notifications/x") == 1 && replied
        });
        ended(&client);
        server.no_socket_is_left();
        if legacy {
            until_blocking("its end too", || server.count(|request| request.method == "DELETE") == 1);
        }
        for request in server.requests() {
            assert_eq!(request.header("authorization"), Some("Bearer s3cret-t0ken"), "{request:?}");
            assert!(!request.target.contains(TOKEN), "{request:?}");
            assert!(!request.message.to_string().contains(TOKEN), "{request:?}");
        }
    }
}

#[test]
fn must_70_the_token_is_on_the_stream_and_the_posts_of_http_sse() {
    let server = Server::start(Way::Sse, Revision::V2024_11_05, |_| None);
    let client = connect_to(&server.endpoint(), auto().bearer(TOKEN)).unwrap();
    all_answered(&client, 5);
    ended(&client);
    let requests = server.requests();
    assert!(requests.len() >= 8);
    for request in requests {
        assert_eq!(request.header("authorization"), Some("Bearer s3cret-t0ken"), "{request:?}");
        assert!(!request.target.contains(TOKEN), "{request:?}");
    }
}

/// A server that would have the client go elsewhere, with a redirect of each kind.
#[test]
fn must_70_a_redirect_to_another_origin_is_not_followed() {
    for status in
        ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let elsewhere = HttpServer::plain("", echo);
        let there = elsewhere.url();
        let server = HttpServer::plain("", move |peer, request| {
            if opens(peer, request, Revision::V2026_07_28, "") {
                return Then::Keep;
            }
            peer.respond(status, &format!("Location: {there}\r\n"), "");
            Then::Keep
        });
        let client = connect_to(&address(&server), auto().bearer(TOKEN)).unwrap();
        let error = client.call(call(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Http, "{error}");
        assert!(error.to_string().contains(&status[..3]), "{error}");
        ended(&client);
        assert_eq!(elsewhere.accepted(), 0, "nobody went there");
    }
}

/// The first event of HTTP+SSE names an address of another origin.
#[test]
fn must_70_an_endpoint_of_another_origin_gets_neither_message_nor_token() {
    let elsewhere = HttpServer::plain("", echo);
    let port = elsewhere.port();
    for foreign in [
        format!("http://127.0.0.1:{port}/messages"),
        format!("//127.0.0.1:{port}/messages"),
        format!("https://127.0.0.1:{port}/messages"),
    ] {
        let server = HttpServer::plain("", move |peer, request| {
            if request.method == "GET" {
                peer.begin_events();
                peer.chunk(&format!("event: endpoint\ndata: {foreign}\n\n"));
                peer.bytes_until_end();
                return Then::Close;
            }
            peer.accept();
            Then::Keep
        });
        let Err(error) =
            connect_to(&format!("sse+{}", address(&server)), auto().bearer(TOKEN).attempts_max(2))
        else {
            panic!("it went there")
        };
        assert!(error.to_string().contains("origin"), "{error}");
        assert!(server.requests().iter().all(|request| request.method == "GET"));
    }
    assert_eq!(elsewhere.accepted(), 0, "nobody went there");
}
