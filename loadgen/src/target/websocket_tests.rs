//! A WebSocket client of tungstenite's, in memory, against the server's side.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;

use super::super::args::Options;
use super::super::peer::{META, MODERN};
use super::super::world::{ConnectionKey, Owner};
use super::*;

/// A client and its server.
struct Pair {
    client: WebSocketContext,
    server: WebSocket,
    world: World,
    /// Bytes for the client.
    back: Vec<u8>,
}

const OWNER: Owner = Owner::Connection(ConnectionKey { index: 0, generation: 0 });
const OPENING: &str = "GET /mcp HTTP/1.1\r\nhost: localhost:1\r\nupgrade: WebSocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: chat, mcp\r\n\r\n";

impl Pair {
    fn new(words: &[&str]) -> Self {
        let world = World::new(&Options::from_words(words).unwrap(), Instant::now());
        let server = WebSocket::new(&world);
        Self { client: WebSocketContext::new(Role::Client, None), server, world, back: Vec::new() }
    }

    fn opened(words: &[&str]) -> Self {
        let mut pair = Self::new(words);
        pair.give(OPENING.as_bytes());
        let answer = String::from_utf8(std::mem::take(&mut pair.back)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.contains("sec-websocket-protocol: mcp\r\n"), "{answer}");
        pair
    }

    /// Lets bytes arrive, one by one.
    fn give(&mut self, bytes: &[u8]) {
        for byte in bytes.chunks(1) {
            let mut turn = Turn {
                world: &mut self.world,
                out: &mut self.back,
                out_bytes_full: usize::MAX,
                owner: OWNER,
            };
            self.server.take(byte, &mut turn);
        }
    }

    fn send(&mut self, message: Message) {
        let mut out = Vec::new();
        let mut memory = Memory { input: &[], out: &mut out };
        self.client.write(&mut memory, message).unwrap();
        self.client.flush(&mut memory).unwrap();
        self.give(&out);
    }

    /// The messages that came back.
    fn read(&mut self) -> Vec<Message> {
        let back = std::mem::take(&mut self.back);
        let mut out = Vec::new();
        let mut memory = Memory { input: &back, out: &mut out };
        std::iter::from_fn(|| self.client.read(&mut memory).ok()).collect()
    }

    /// The values that come back when this text is sent.
    fn say(&mut self, text: &str) -> Vec<Value> {
        self.send(Message::text(text));
        let texts = self.read().into_iter().filter_map(|message| message.into_text().ok());
        texts.filter_map(|text| serde_json::from_str(&text).ok()).collect()
    }
}

#[test]
fn each_text_frame_is_one_message() {
    let mut pair = Pair::opened(&[]);
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"m"}},{META}}}}}"#
    );
    for _ in 0..3 {
        assert_eq!(pair.say(&call)[0]["result"]["content"][0]["text"], "m");
    }
    assert_eq!(pair.world.executed, 3);
    let discover =
        format!("{{\n\"jsonrpc\":\"2.0\",\n\"id\":2,\"method\":\"server/discover\",\"params\":{{{META}}}}}");
    let answer = &pair.say(&discover)[0];
    assert_eq!(answer["result"]["supportedVersions"][0], MODERN, "line ends within a frame are white space");
    assert_eq!(pair.say("{nonsense")[0]["error"]["code"], -32700);
}

#[test]
fn held_answers_and_pings_come_in_their_time() {
    let mut pair = Pair::opened(&["--delay", "5ms"]);
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"m"}},{META}}}}}"#
    );
    assert!(pair.say(&call).is_empty() && pair.server.owes());
    pair.send(Message::Ping("p".into()));
    assert_eq!(pair.read(), [Message::Pong("p".into())]);
    pair.world.now += Duration::from_millis(5);
    let job = pair.world.timers.pop_due(pair.world.now).unwrap();
    let mut turn =
        Turn { world: &mut pair.world, out: &mut pair.back, out_bytes_full: usize::MAX, owner: OWNER };
    pair.server.converse(&mut turn, |session, turn| session.handle_due(job.work, turn));
    assert_eq!(pair.read().len(), 1);
}

#[test]
fn what_is_no_text_frame_ends_the_connection() {
    for (message, code) in [
        (Message::binary(vec![1]), CloseCode::Unsupported),
        (Message::text("x".repeat(2000)), CloseCode::Size),
    ] {
        let mut pair = Pair::opened(&["--body-bytes", "1000"]);
        pair.send(message);
        let farewell = pair.read();
        assert!(matches!(&farewell[0], Message::Close(Some(frame)) if frame.code == code), "{farewell:?}");
        assert!(pair.server.is_ending());
    }
    let mut pair = Pair::opened(&[]);
    pair.send(Message::Close(None));
    assert!(matches!(pair.read()[..], [Message::Close(_)]) && pair.server.is_ending());
    let mut pair = Pair::opened(&[]);
    pair.give(&[0xff; 40]);
    assert!(pair.server.is_ending());
}

#[test]
fn who_does_not_open_it_well_is_refused() {
    for (from, to, status) in [
        ("mcp\r\n", "chat\r\n", "400"),
        ("WebSocket", "h2c", "426"),
        ("version: 13", "version: 8", "426"),
        ("GET", "PUT", "405"),
        ("localhost:1", "evil.example", "403"),
        ("sec-websocket-key", "x", "400"),
        ("HTTP/1.1", "HTTP/3.1", "505"),
    ] {
        let mut pair = Pair::new(&[]);
        pair.give(OPENING.replacen(from, to, 1).as_bytes());
        let answer = String::from_utf8(std::mem::take(&mut pair.back)).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {answer}");
        assert!(pair.server.is_ending());
    }
}

proptest! {
    /// Whatever arrives after the opening, nothing panics, and what is no frame ends it.
    #[test]
    fn no_bytes_hurt(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut pair = Pair::opened(&["--body-bytes", "1000"]);
        pair.give(&bytes);
        prop_assert!(pair.server.is_ending() || !pair.server.has_more());
    }
}
