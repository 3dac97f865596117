//! HTTP+SSE: the endpoint comes first, answers come on the stream.

use super::super::web_peer::{Ask, WebPeer, events, text};
use super::super::{Service, web_peer};

/// Opens a stream on a connection and gives the path to post to.
fn open(peer: &mut WebPeer, connection: usize) -> String {
    peer.send(connection, &Ask::new("GET", "/sse").with("accept", "text/event-stream").bytes());
    let opened = peer.replies(connection).remove(0);
    let rest = opened.body.strip_prefix("event: endpoint\ndata: ").expect("the endpoint comes first");
    rest.trim_end().to_owned()
}

fn post(path: &str, body: &str) -> Ask {
    Ask::new("POST", path).with("content-type", "application/json").with_body(body)
}

#[test]
fn answers_travel_on_the_stream() {
    let mut peer = WebPeer::of(Service::Channel, &[]);
    let path = open(&mut peer, 1);
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05"}}"#;
    let accepted = peer.ask(2, &post(&path, hello));
    assert_eq!((accepted.status, accepted.body.as_str()), (202, "Accepted"));
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"m"}}}"#;
    assert_eq!(peer.ask(3, &post(&path, call)).status, 202);
    let told = events(&String::from_utf8(peer.bytes(1)).unwrap());
    assert_eq!(told[0]["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(web_peer::text(&told[1]), "m");
    let slow = call.replace("echo", "sleep").replace(r#""message":"m""#, r#""ms":10"#);
    peer.ask(2, &post(&path, &slow));
    peer.wait(10);
    assert_eq!(text(&events(&String::from_utf8(peer.bytes(1)).unwrap())[0]), "10");
}

#[test]
fn a_session_ends_with_its_stream() {
    let mut peer = WebPeer::of(Service::Channel, &[]);
    let path = open(&mut peer, 1);
    peer.close(1);
    assert_eq!(peer.ask(2, &post(&path, "{}")).status, 404);
    assert_eq!(peer.ask(2, &post("/message", "{}")).status, 400);
    assert_eq!(peer.ask(2, &Ask::new("POST", "/sse")).status, 405);
    assert_eq!(peer.ask(2, &Ask::new("GET", "/mcp")).status, 404);
}
