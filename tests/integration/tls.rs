//! TLS over TCP against a server of rustls's: calls that are answered, and connections that are refused in words that help.

use std::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::Duration,
};

use volley::{Client, Config, ConfigBuilder, Error, ErrorKind, Fate, Inline, Revision, TlsConfig};
use volley_tests::{
    byte_server::{ByteServer, narrow_listener},
    calls::{echo, first_text, long_echo, long_message, message, requests_leave_whole},
    scripted_server::ScriptedServer,
    tls_front::{Authority, Identity, Manners, TlsFront, halves},
};

/// Connects to the front under this name and trusts this authority alone.
fn connect(
    front: &TlsFront,
    host: &str,
    authority: &Authority,
    configure: impl FnOnce(TlsConfig, ConfigBuilder) -> (TlsConfig, ConfigBuilder),
) -> Result<Client, Error> {
    let tls = TlsConfig::new().ca_pem(authority.pem()).only_these_roots();
    let brisk = Config::builder().backoff(Duration::from_millis(1), Duration::from_millis(10));
    let (tls, config) = configure(tls, brisk);
    let config = config.tls(tls).build().expect("a valid configuration");
    let endpoint = format!("tls+tcp://{host}:{}", front.port());
    pollster::block_on(Client::connect(endpoint.as_str(), config))
}

/// Why it could not connect.
fn refused(front: &TlsFront, host: &str, authority: &Authority) -> String {
    let error = connect(front, host, authority, |tls, config| (tls, config)).err().expect("it is refused");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{error}");
    assert!(error.to_string().contains("connecting failed: "), "{error}");
    error.to_string()
}

fn echoing() -> ByteServer {
    ByteServer::tcp("modern", |_, peer| peer.answer_all())
}

/// A server that echoes, and a front with this certificate before it.
fn front(identity: &Identity) -> (TlsFront, ByteServer) {
    let server = echoing();
    (TlsFront::start(identity, &server.endpoint().to_string(), Manners::default()), server)
}

#[test]
fn calls_are_answered_over_tls_however_its_records_are_cut() {
    let authority = Authority::new();
    for (piece_bytes, host, old) in [
        (usize::MAX, "localhost", false),
        (usize::MAX, "localhost", true),
        (1_000, "localhost", false),
        (7, "127.0.0.1", false),
        (7, "127.0.0.1", true),
    ] {
        let server = ScriptedServer::start(|peer| peer.serve(Revision::V2025_11_25));
        let identity = authority.sign(&["localhost", "127.0.0.1"], |_| ());
        let manners = Manners { piece_bytes, old, ..Manners::default() };
        let front = TlsFront::start(&identity, server.endpoint(), manners);
        let client = connect(&front, host, &authority, |tls, config| (tls, config)).expect("it connects");
        pollster::block_on(async {
            let calls: Vec<_> = (0..500).map(|n| client.call(echo(n))).collect();
            for (n, call) in calls.into_iter().enumerate() {
                assert_eq!(first_text(&call.await.expect("an answer")), message(n as u64));
            }
            client.close().await;
        });
        drop(front);
        server.finish();
    }
}

/// Both ways at once, more than all buffers between the two sides hold.
#[test]
fn long_messages_are_whole_over_tls_in_both_directions() {
    let authority = Authority::new();
    let server = echoing();
    let front = TlsFront::start(
        &authority.sign(&["localhost"], |_| ()),
        &server.endpoint().to_string(),
        Manners::default(),
    );
    let client = connect(&front, "localhost", &authority, |tls, config| (tls, config)).expect("it connects");
    pollster::block_on(async {
        let calls: Vec<_> = (0..16).map(|n| client.call(long_echo(n, 300_000 + n as usize))).collect();
        for (n, call) in (0u64..).zip(calls) {
            let answer = call.await.expect("an answer");
            assert!(first_text(&answer) == long_message(n, 300_000 + n as usize), "call {n}");
        }
        client.close().await;
    });
    let stats = client.stats();
    assert_eq!((stats.answered, stats.failed), (16, 0), "{stats:?}");
}

#[test]
fn a_request_that_the_kernel_does_not_take_at_once_leaves_whole_over_tls() {
    let authority = Authority::new();
    let identity = authority.sign(&["localhost"], |_| ());
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let wrap = move |socket| halves(&identity, socket);
    let server = ByteServer::wrapped(narrow_listener(), wrap, "modern", move |_, peer| {
        peer.open();
        if may_go.lock().expect("no panic").recv().is_ok() {
            peer.answer_all();
        }
    });
    let endpoint = server.endpoint().to_string().replace("tcp://127.0.0.1", "tls+tcp://localhost");
    let connect = || {
        let tls = TlsConfig::new().ca_pem(authority.pem()).only_these_roots();
        let config = Config::builder().tls(tls).build().expect("a valid configuration");
        Inline::connect(&endpoint.parse().expect("an endpoint"), &config).expect("it connects")
    };
    requests_leave_whole(connect, || go.send(()).expect("the server waits"));
}

#[test]
fn a_certificate_for_another_name_is_refused_and_both_names_are_told() {
    let authority = Authority::new();
    let (front, _server) = front(&authority.sign(&["mcp.example"], |_| ()));
    let why = refused(&front, "localhost", &authority);
    assert!(why.contains("expected a certificate for localhost") && why.contains("mcp.example"), "{why}");
    // Unless that is the name that was meant.
    let client =
        connect(&front, "localhost", &authority, |tls, config| (tls.server_name("mcp.example"), config));
    pollster::block_on(client.expect("it connects").close());
}

#[test]
fn a_certificate_out_of_its_time_is_refused_and_the_days_are_told() {
    let authority = Authority::new();
    let (expired, _server) = front(&authority.sign(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 2, 3);
    }));
    let why = refused(&expired, "localhost", &authority);
    assert!(why.contains("it expired on 2021-02-03, today is 20"), "{why}");
    let (early, _server) = front(&authority.sign(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(3000, 1, 2);
        params.not_after = rcgen::date_time_ymd(3001, 1, 1);
    }));
    let why = refused(&early, "localhost", &authority);
    assert!(why.contains("it is valid from 3000-01-02 on, today is 20"), "{why}");
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (front, _server) = front(&other.sign(&["localhost"], |_| ()));
    let why = refused(&front, "localhost", &authority);
    assert!(why.contains("unknown CA") && why.contains("ca_pem"), "{why}");
    // Nor is it among those that are trusted by default.
    let config = Config::builder().backoff(Duration::from_millis(1), Duration::from_millis(10));
    let endpoint = format!("tls+tcp://localhost:{}", front.port());
    let client = pollster::block_on(Client::connect(endpoint.as_str(), config.build().expect("valid")));
    let why = client.err().expect("it is refused").to_string();
    assert!(why.contains("unknown CA"), "{why}");
}

#[test]
fn a_server_that_wants_a_client_certificate_gets_it_or_says_so() {
    let authority = Authority::new();
    let server = echoing();
    let manners = Manners { clients_of: Some(authority.pem().to_owned()), ..Manners::default() };
    let front =
        TlsFront::start(&authority.sign(&["localhost"], |_| ()), &server.endpoint().to_string(), manners);
    // The refusal comes after the client's side of the handshake is over.
    let error = connect(&front, "localhost", &authority, |tls, config| (tls, config)).err();
    let why = error.expect("it is refused").to_string();
    assert!(why.contains("wants a client certificate"), "{why}");
    let stranger = Authority::new().sign(&["a client"], |_| ());
    let error = connect(&front, "localhost", &authority, |tls, config| {
        (tls.client_certificate_pem(stranger.chain, stranger.key), config)
    });
    let why = error.err().expect("it is refused").to_string();
    assert!(why.contains("refuses the client certificate"), "{why}");
    let known = authority.sign(&["a client"], |_| ());
    let client = connect(&front, "localhost", &authority, |tls, config| {
        (tls.client_certificate_pem(known.chain, known.key), config)
    })
    .expect("it connects");
    pollster::block_on(async {
        assert_eq!(first_text(&client.call(echo(1)).await.expect("an answer")), message(1));
        client.close().await;
    });
}

/// The server answers one call and hangs up with the other unanswered; the front says so, or does not.
#[test]
fn the_end_of_a_stream_is_told_from_an_end_that_may_have_been_forged() {
    for (good_bye, reason) in [(true, "the server closed the connection"), (false, "no close_notify")] {
        let authority = Authority::new();
        let server = ByteServer::tcp("modern", |_, peer| {
            let (Some(first), Some(_)) = (peer.next_call(), peer.next_call()) else { return };
            peer.say_line(&volley_tests::byte_server::answer(&first.id, &first.message));
        });
        let behind = server.endpoint().to_string();
        let manners = Manners { good_bye, ..Manners::default() };
        let front = TlsFront::start(&authority.sign(&["localhost"], |_| ()), &behind, manners);
        let client =
            connect(&front, "localhost", &authority, |tls, config| (tls, config)).expect("it connects");
        pollster::block_on(async {
            let (first, second) = (client.call(echo(1)), client.call(echo(2)));
            assert_eq!(first_text(&first.await.expect("what came before the end counts")), message(1));
            let error = second.await.expect_err("nobody answers it");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
            client.close().await;
        });
    }
}

#[test]
fn a_server_without_tls_is_told_apart() {
    let authority = Authority::new();
    let server = ByteServer::tcp("modern", |_, peer| {
        peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        // Stays until the client has gone, so that the answer is read and not lost to a reset.
        peer.pass_over_rest();
    });
    let endpoint = server.endpoint().to_string().replace("tcp://", "tls+tcp://");
    let config = Config::builder().backoff(Duration::from_millis(1), Duration::from_millis(10));
    let config = config.tls(TlsConfig::new().ca_pem(authority.pem()).only_these_roots());
    let client = pollster::block_on(Client::connect(endpoint.as_str(), config.build().expect("valid")));
    let why = client.err().expect("it is refused").to_string();
    assert!(why.contains("the server does not speak TLS"), "{why}");
}

/// It accepts and says nothing: the handshake is a part of connecting and has its time.
#[test]
fn a_handshake_that_hangs_ends_with_its_time() {
    let authority = Authority::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("tls+tcp://{}", silent.local_addr().expect("an address"));
    let config = Config::builder()
        .backoff(Duration::from_millis(1), Duration::from_millis(10))
        .connect_timeout(Duration::from_millis(100))
        .tls(TlsConfig::new().ca_pem(authority.pem()).only_these_roots());
    let client = pollster::block_on(Client::connect(endpoint.as_str(), config.build().expect("valid")));
    let error = client.err().expect("nobody answers");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{error}");
    assert!(error.to_string().contains("100ms"), "{error}");
}
