//! Clause 71: HTTP+SSE.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use volley::{ErrorKind, Fate, Revision};
use volley_tests::{
    http_server::{HttpServer, Then},
    scripted_server::echoed,
};

use crate::{
    play::{all_answered, auto, call, text},
    ways::{address, connect_to, ended, event, manners},
};

const FIRST: Revision = Revision::V2024_11_05;

/// A server that names its endpoint so, a while after it was asked, and what it answers to a POST besides 202. When it did.
fn server(endpoint: &'static str, body: &'static str) -> (HttpServer, Arc<Mutex<Option<Instant>>>) {
    let named = Arc::new(Mutex::new(None));
    let (names, stream) = (Arc::clone(&named), Mutex::new(None::<mpsc::Sender<String>>));
    let server = HttpServer::plain("", move |peer, request| {
        if request.method == "GET" {
            let (send, receive) = mpsc::channel();
            *stream.lock() = Some(send);
            peer.begin_events();
            peer.chunk(": welcome\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n");
            // Time enough for a POST that does not wait.
            std::thread::sleep(Duration::from_millis(100));
            *names.lock() = Some(Instant::now());
            peer.chunk(&format!("event: endpoint\ndata: {endpoint}\n\n"));
            while let Ok(text) = receive.recv_timeout(Duration::from_secs(2)) {
                peer.chunk(&event(&text));
            }
            return Then::Close;
        }
        if body.is_empty() {
            peer.accept();
        } else {
            let wrong = echoed(&request.message).to_string().replace("this is call", "not from here");
            peer.respond(body, "Content-Type: application/json\r\n", &wrong);
        }
        let texts = manners(FIRST, &request.message);
        if let Some(stream) = &*stream.lock() {
            // The stream may have ended.
            texts.into_iter().for_each(|text| drop(stream.send(text)));
        }
        Then::Keep
    });
    (server, named)
}

#[test]
fn must_71_posts_wait_for_the_endpoint_and_go_where_it_says() {
    for (endpoint, target) in [
        ("/messages?sessionId=a-1&x=%20", "/messages?sessionId=a-1&x=%20"),
        ("messages", "/messages"),
        ("?session_id=7", "/mcp?session_id=7"),
        ("./a/../b", "/b"),
    ] {
        let (server, named) = server(endpoint, "");
        let client = connect_to(&format!("sse+{}", address(&server)), auto()).unwrap();
        all_answered(&client, 20);
        ended(&client);
        let named = named.lock().unwrap();
        let requests = server.requests();
        assert!(requests[0].method == "GET" && requests[0].target.starts_with("/mcp?"));
        assert_eq!(requests[0].header("accept"), Some("text/event-stream"));
        for post in &requests[1..] {
            assert_eq!((post.method.as_str(), post.target.as_str()), ("POST", target));
            assert!(post.at >= named, "nothing before the endpoint is named");
        }
        let order: Vec<&str> = requests[1..4].iter().map(|request| request.rpc()).collect();
        assert_eq!(order, ["initialize", "notifications/initialized", "tools/call"]);
    }
}

#[test]
fn must_71_an_endpoint_with_an_absolute_address_of_the_same_origin_is_taken() {
    let own = Arc::new(Mutex::new(String::new()));
    let knows = Arc::clone(&own);
    let stream = Mutex::new(None::<mpsc::Sender<String>>);
    let server = HttpServer::plain("", move |peer, request| {
        if request.method == "GET" {
            let (send, receive) = mpsc::channel();
            *stream.lock() = Some(send);
            peer.begin_events();
            peer.chunk(&format!("event: endpoint\ndata: {}/there\n\n", knows.lock()));
            while let Ok(text) = receive.recv_timeout(Duration::from_secs(2)) {
                peer.chunk(&event(&text));
            }
            return Then::Close;
        }
        peer.accept();
        if let Some(stream) = &*stream.lock() {
            manners(FIRST, &request.message).into_iter().for_each(|text| drop(stream.send(text)));
        }
        Then::Keep
    });
    *own.lock() = format!("http://127.0.0.1:{}", server.port());
    let client = connect_to(&format!("sse+{}", address(&server)), auto()).unwrap();
    all_answered(&client, 5);
    ended(&client);
    assert!(server.requests()[1..].iter().all(|request| request.target == "/there"));
}

/// What stands in the answer to a POST is no answer to a call, whatever it looks like.
#[test]
fn must_71_responses_are_taken_from_the_stream_only() {
    for status in ["200 OK", "202 Accepted"] {
        let (server, _) = server("/post", status);
        let client = connect_to(&format!("sse+{}", address(&server)), auto()).unwrap();
        all_answered(&client, 20);
        let stats = ended(&client);
        assert_eq!((stats.answered, stats.failed), (20, 0), "{stats:?}");
    }
}

/// A POST that is refused is an answer, too: the call will have none on the stream.
#[test]
fn must_71_a_refused_post_ends_its_call() {
    let stream = Mutex::new(None::<mpsc::Sender<String>>);
    let server = HttpServer::plain("", move |peer, request| {
        if request.method == "GET" {
            let (send, receive) = mpsc::channel();
            *stream.lock() = Some(send);
            peer.begin_events();
            peer.chunk("event: endpoint\ndata: /post\n\n");
            while let Ok(text) = receive.recv_timeout(Duration::from_secs(2)) {
                peer.chunk(&event(&text));
            }
            return Then::Close;
        }
        if request.text() == text(0) {
            peer.respond("413 Content Too Large", "", "");
            return Then::Keep;
        }
        peer.accept();
        if let Some(stream) = &*stream.lock() {
            manners(FIRST, &request.message).into_iter().for_each(|text| drop(stream.send(text)));
        }
        Then::Keep
    });
    let client = connect_to(&format!("sse+{}", address(&server)), auto()).unwrap();
    let error = client.call(call(0)).unwrap_err();
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Http, Fate::Answered), "{error}");
    assert_eq!(client.call(call(1)).unwrap().text(), text(1));
    ended(&client);
}
