//! WebSocket against a server of tungstenite's: messages, their fragments, what stands between them, and every way to end.

use std::{
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use volley::{
    Client, Config, ConfigBuilder, Error, ErrorKind, Fate, Inline, TlsConfig,
    internals::tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{
            CloseFrame,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};
use volley_tests::{
    byte_server::{ByteServer, answer, narrow_listener},
    calls::{echo, first_text, long_echo, long_message, message, requests_leave_whole},
    patience::PATIENCE,
    tls_front::{Authority, Manners, TlsFront},
    websocket_server::{Peer, WebSocketServer, Welcome},
};

fn brisk() -> ConfigBuilder {
    Config::builder().backoff(Duration::from_millis(1), Duration::from_millis(10))
}

fn connect(endpoint: &str, config: ConfigBuilder) -> Result<Client, Error> {
    pollster::block_on(Client::connect(endpoint, config.build().expect("a valid configuration")))
}

fn connected(server: &WebSocketServer, config: ConfigBuilder) -> Client {
    connect(&format!("ws://127.0.0.1:{}/", server.port()), config).expect("it connects")
}

/// Calls, all in flight together, each with its own answer.
async fn echoes_work(client: &Client, count: u64) {
    let calls: Vec<_> = (0..count).map(|n| client.call(echo(n))).collect();
    for (n, call) in (0u64..).zip(calls) {
        assert_eq!(first_text(&call.await.expect("an answer")), message(n));
    }
}

#[test]
fn calls_are_answered_over_ws_and_each_is_one_text_message() {
    let server = WebSocketServer::echoing();
    let client = connected(&server, brisk().connections(3));
    pollster::block_on(async {
        echoes_work(&client, 2_000).await;
        client.close().await;
    });
    let stats = client.stats();
    assert_eq!(
        (stats.answered, stats.failed, stats.noise_lines, stats.blank_lines),
        (2_000, 0, 0, 0),
        "{stats:?}"
    );
}

#[test]
fn calls_are_answered_over_wss_however_its_records_are_cut() {
    let authority = Authority::new();
    let identity = authority.sign(&["localhost"], |_| ());
    for piece_bytes in [usize::MAX, 100, 7] {
        let server = WebSocketServer::echoing();
        let manners = Manners { piece_bytes, ..Manners::default() };
        let front = TlsFront::start(&identity, &format!("127.0.0.1:{}", server.port()), manners);
        let tls = TlsConfig::new().ca_pem(authority.pem()).only_these_roots();
        let client =
            connect(&format!("wss://localhost:{}/", front.port()), brisk().tls(tls)).expect("it connects");
        pollster::block_on(async {
            echoes_work(&client, 300).await;
            client.close().await;
        });
    }
}

#[test]
fn the_upgrade_asks_for_mcp_with_path_query_and_headers() {
    let (tell, told) = mpsc::channel();
    let server = WebSocketServer::start(Welcome::Warm, move |_, peer| {
        let header = |name| {
            let value = peer.request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let uri = peer.request.uri().to_string();
        tell.send([uri, header("host"), header("sec-websocket-protocol"), header("authorization")])
            .expect("heard");
        peer.answer_all();
    });
    let endpoint = format!("ws://localhost:{}/tools/mcp?tenant=7", server.port());
    let client = connect(&endpoint, brisk().bearer("of-news")).expect("it connects");
    let host = format!("localhost:{}", server.port());
    assert_eq!(
        told.recv_timeout(PATIENCE).expect("the server was asked"),
        ["/tools/mcp?tenant=7", &host, "mcp", "Bearer of-news"]
    );
    pollster::block_on(client.close());
}

#[test]
fn a_server_that_chooses_no_subprotocol_is_taken_and_one_that_chooses_another_is_not() {
    let silent = WebSocketServer::start(Welcome::Silent, |_, peer| peer.answer_all());
    let client = connected(&silent, brisk());
    pollster::block_on(async {
        echoes_work(&client, 10).await;
        client.close().await;
    });
    let other = WebSocketServer::start(Welcome::Other, |_, peer| peer.answer_all());
    let error = connect(&format!("ws://127.0.0.1:{}/", other.port()), brisk()).err().expect("it is refused");
    assert!(error.to_string().contains(r#""chat", expected "mcp""#), "{error}");
}

#[test]
fn an_upgrade_that_is_refused_says_with_what() {
    let server = WebSocketServer::start(Welcome::Refused(403), |_, _| ());
    let error = connect(&format!("ws://127.0.0.1:{}/", server.port()), brisk()).err().expect("it is refused");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{error}");
    assert!(
        error.to_string().contains("connecting failed: ") && error.to_string().contains("403"),
        "{error}"
    );
    // It hangs up instead of answering.
    let server = ByteServer::tcp("modern", |_, _| ());
    let endpoint = server.endpoint().to_string().replace("tcp://", "ws://");
    let error = connect(&endpoint, brisk()).err().expect("it is refused");
    let words = ["hung up in the WebSocket handshake", "reset"];
    assert!(words.iter().any(|words| error.to_string().contains(words)), "{error}");
}

/// Both ways at once, more than all buffers between the two sides hold.
#[test]
fn long_messages_are_whole_in_both_directions() {
    let server = WebSocketServer::echoing();
    let client = connected(&server, brisk());
    pollster::block_on(async {
        let calls: Vec<_> = (0..16).map(|n| client.call(long_echo(n, 300_000 + n as usize))).collect();
        for (n, call) in (0u64..).zip(calls) {
            let answer = call.await.expect("an answer");
            assert!(first_text(&answer) == long_message(n, 300_000 + n as usize), "call {n}");
        }
        client.close().await;
    });
}

#[test]
fn a_request_that_the_kernel_does_not_take_at_once_leaves_whole() {
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let server = WebSocketServer::on(narrow_listener(), Welcome::Warm, move |_, peer| {
        peer.open();
        if may_go.lock().expect("no panic").recv().is_ok() {
            peer.answer_all();
        }
    });
    let endpoint = format!("ws://127.0.0.1:{}/", server.port()).parse().expect("an endpoint");
    let connect = || Inline::connect(&endpoint, &Config::default()).expect("it connects");
    requests_leave_whole(connect, || go.send(()).expect("the server waits"));
}

/// An answer with line ends between its tokens, in binary, in fragments of one byte with pings between them.
#[test]
fn a_message_is_one_message_however_it_is_dressed() {
    let (tell, told) = mpsc::channel();
    let server = WebSocketServer::start(Welcome::Warm, move |_, peer: &mut Peer| {
        let Some(asked) = peer.next_call() else { return };
        peer.say(&answer(&asked.id, &asked.message).replace(",\"", ",\r\n\t\""));
        let Some(asked) = peer.next_call() else { return };
        peer.send(Message::binary(answer(&asked.id, &asked.message).into_bytes()));
        let Some(asked) = peer.next_call() else { return };
        let text = answer(&asked.id, &asked.message).into_bytes();
        for (n, byte) in text.iter().enumerate() {
            let opcode = OpCode::Data(if n == 0 { Data::Text } else { Data::Continue });
            peer.send(Message::Frame(Frame::message(vec![*byte], opcode, n + 1 == text.len())));
            if n == 5 {
                peer.send(Message::Ping("are you there".into()));
            }
        }
        while let Ok(message) = peer.socket.read() {
            if let Message::Pong(payload) = message {
                tell.send(payload.to_vec()).expect("heard");
            }
        }
    });
    let client = connected(&server, brisk());
    pollster::block_on(async {
        for n in 0..3 {
            assert_eq!(first_text(&client.call(echo(n)).await.expect("an answer")), message(n));
        }
    });
    assert_eq!(told.recv_timeout(PATIENCE).expect("an answered ping"), b"are you there");
    pollster::block_on(client.close());
}

/// Nothing is said but pings, and they are answered all the same: reading is enough to write.
#[test]
fn pings_are_answered_while_nothing_else_is_said() {
    let (tell, told) = mpsc::channel();
    let server = WebSocketServer::start(Welcome::Warm, move |_, peer: &mut Peer| {
        let Some(asked) = peer.next_call() else { return };
        for n in 0..100u8 {
            peer.send(Message::Ping(vec![n].into()));
            match peer.socket.read() {
                Ok(Message::Pong(payload)) => assert_eq!(payload[..], [n]),
                other => panic!("a pong was due, not {other:?}"),
            }
        }
        peer.say(&answer(&asked.id, &asked.message));
        tell.send(()).expect("heard");
        peer.answer_all();
    });
    let client = connected(&server, brisk());
    pollster::block_on(async {
        assert_eq!(first_text(&client.call(echo(1)).await.expect("an answer")), message(1));
        client.close().await;
    });
    told.recv_timeout(PATIENCE).expect("all were answered");
}

#[test]
fn a_message_beyond_the_bound_fails_its_own_call_only() {
    let server = WebSocketServer::start(Welcome::Warm, |_, peer| {
        while let Some(asked) = peer.next_call() {
            let text = if asked.message == message(1) { "x".repeat(1_000_000) } else { asked.message };
            peer.say(&answer(&asked.id, &text));
        }
    });
    let client = connected(&server, brisk().frame_bytes_max(64 * 1024));
    pollster::block_on(async {
        let calls: Vec<_> = (0..3).map(|n| client.call(echo(n))).collect();
        for (n, call) in (0u64..).zip(calls) {
            match call.await {
                Ok(answer) => assert_eq!((first_text(&answer), n != 1), (&*message(n), true)),
                Err(error) => {
                    assert_eq!(
                        (error.kind(), error.fate(), n),
                        (ErrorKind::FrameTooLarge, Fate::Answered, 1)
                    );
                }
            }
        }
        client.close().await;
    });
    let stats = client.stats();
    assert_eq!((stats.oversized, stats.disconnects), (1, 0), "{stats:?}");
}

#[test]
fn a_close_ends_the_connection_with_its_code_and_words() {
    let (tell, told) = mpsc::channel();
    let server = WebSocketServer::start(Welcome::Warm, move |_, peer| {
        let (Some(first), Some(_)) = (peer.next_call(), peer.next_call()) else { return };
        peer.say(&answer(&first.id, &first.message));
        let frame = CloseFrame { code: CloseCode::Policy, reason: "no more of this".into() };
        peer.send(Message::Close(Some(frame)));
        // Whoever listens may have heard enough: the client connects anew.
        let _ = tell.send(peer.close_code());
    });
    let client = connected(&server, brisk());
    pollster::block_on(async {
        let (first, second) = (client.call(echo(1)), client.call(echo(2)));
        assert_eq!(first_text(&first.await.expect("what came before the end counts")), message(1));
        let error = second.await.expect_err("nobody answers it");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown), "{error}");
        assert!(error.to_string().contains("with code 1008: no more of this"), "{error}");
        client.close().await;
    });
    assert_eq!(told.recv_timeout(PATIENCE).expect("the echo of the close"), 1008);
}

/// It agrees and closes in one breath: what came with the end of the handshake is read, though the poll tells of it only once.
#[test]
fn a_close_that_comes_with_the_agreement_is_heard() {
    let server = ByteServer::tcp("modern", |_, peer| {
        let mut key = String::new();
        while let Some(line) = peer.next_line().filter(|line| line != "\r\n") {
            if let Some(value) = line.strip_prefix("Sec-WebSocket-Key: ") {
                key = value.trim().to_owned();
            }
        }
        let mut said = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        )
        .into_bytes();
        said.extend(b"\x88\x0a\x03\xf5no seats");
        peer.say(&said);
        peer.pass_over_rest();
    });
    let endpoint = server.endpoint().to_string().replace("tcp://", "ws://");
    let began = Instant::now();
    let error = connect(&endpoint, brisk().connect_timeout(2 * PATIENCE)).err().expect("it is refused");
    assert!(error.to_string().contains("with code 1013: no seats"), "{error}");
    assert!(began.elapsed() < PATIENCE, "heard after {:?}", began.elapsed());
}

#[test]
fn an_end_without_a_close_is_a_lost_connection_too() {
    let server = WebSocketServer::start(Welcome::Warm, |_, peer| {
        peer.next_call();
        // Dropping the socket closes it below the protocol.
    });
    let client = connected(&server, brisk());
    pollster::block_on(async {
        let error = client.call(echo(1)).await.expect_err("nobody answers it");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown), "{error}");
        assert!(error.to_string().contains("the server closed the connection"), "{error}");
        client.close().await;
    });
}

#[test]
fn closing_the_client_says_good_bye() {
    let (tell, told) = mpsc::channel();
    let server = WebSocketServer::start(Welcome::Warm, move |_, peer| {
        let Some(asked) = peer.next_call() else { return };
        peer.say(&answer(&asked.id, &asked.message));
        tell.send(peer.close_code()).expect("heard");
    });
    let client = connected(&server, brisk());
    pollster::block_on(async {
        echoes_work(&client, 1).await;
        client.close().await;
    });
    assert_eq!(told.recv_timeout(PATIENCE).expect("a close"), 1000);
}

/// It accepts and says nothing: the upgrade is a part of connecting and has its time.
#[test]
fn an_upgrade_that_hangs_ends_with_its_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("ws://{}/", silent.local_addr().expect("an address"));
    let began = Instant::now();
    let config = brisk().connect_timeout(Duration::from_millis(100));
    let error = connect(&endpoint, config).err().expect("nobody answers");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{error}");
    assert!(error.to_string().contains("100ms") && began.elapsed() < PATIENCE, "{error}");
}
