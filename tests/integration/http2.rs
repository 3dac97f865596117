//! HTTP/2: many calls on few sockets, each with its own answer; what servers allow, prefer and close.

use std::time::Duration;

use volley::{Client, Config, ConfigBuilder, HttpVersion, Inline, InlineOutcome, Revision, TlsConfig, Tool};
use volley_tests::{
    calls::{books_balance, echo, echoes_work, first_text, long_echo, long_message, message},
    h2_server::{Does, H2Server, SESSION, Terms},
    patience::{PATIENCE, until},
    tls_front::{Authority, Manners, TlsFront},
    wait::story_alone,
    web_server::HttpServer,
};

use crate::servers::{Account, echoes};

/// Sockets that one connection has over HTTP/2 at the most.
const CARRIERS_MAX: u64 = 8;

/// HTTP/2 without asking, in the era that the server speaks.
pub(crate) fn told(era: &str) -> ConfigBuilder {
    let config = Config::builder().http_version(HttpVersion::Http2);
    let config = config.backoff(Duration::from_millis(1), Duration::from_millis(10));
    if era == "legacy" { config.revision(Revision::V2025_11_25) } else { config }
}

pub(crate) async fn connect(server: &H2Server, config: ConfigBuilder) -> Client {
    let config = config.build().expect("a valid configuration");
    Client::connect(server.endpoint().as_str(), config).await.expect("it connects")
}

#[test]
fn twenty_thousand_calls_take_one_socket() {
    for (era, calls) in [("modern", 20_000), ("legacy", 2_000)] {
        let server = H2Server::echoing(Terms { era, ..Terms::default() });
        let config = told(era).in_flight(64).build().expect("a valid configuration");
        let client =
            volley::blocking::Client::connect(server.endpoint().as_str(), config).expect("it connects");
        let mut account = Account::new(calls);
        client.bulk(echoes(calls)).for_each(|(n, outcome)| account.enter_raw(n, outcome));
        client.close();
        let stats = client.stats();
        account.close(&stats, 0);
        assert_eq!((stats.http_sockets, server.connections(), stats.moved), (1, 1, 0), "{era}: {stats:?}");
        assert!(server.streams_most() > 8, "they share it: {}", server.streams_most());
    }
}

#[test]
fn single_calls_and_events_have_their_own_answers_in_both_eras() {
    story_alone(async {
        for era in ["modern", "legacy"] {
            let does = |number: u64| if number.is_multiple_of(2) { Does::Event } else { Does::Echo };
            let server = H2Server::start(Terms { era, ..Terms::default() }, move |asked| {
                does(asked.calls_before as u64)
            });
            let client = connect(&server, told(era)).await;
            echoes_work(&client, 0..1_000).await;
            let stats = books_balance(&client).await;
            assert_eq!(
                (stats.answered, stats.http_sockets, stats.streams_resumed),
                (1_000, 1, 0),
                "{stats:?}"
            );
            client.close().await;
            until("the socket goes", || server.standing() == 0).await;
        }
    });
}

#[test]
fn an_inline_engine_speaks_it_too() {
    const CALLS: u64 = 2_000;
    let server = H2Server::echoing(Terms::default());
    let config = told("modern").in_flight(32).build().expect("a valid configuration");
    let endpoint = server.endpoint().parse().expect("an endpoint");
    let mut engine = Inline::connect(&endpoint, &config).expect("it connects");
    let (mut next, mut answered, until) = (0, 0, std::time::Instant::now() + PATIENCE);
    while answered < CALLS {
        while next < CALLS && engine.room() > 0 {
            let arguments = serde_json::json!({ "message": message(next) }).to_string();
            engine.submit(&Tool::new("echo"), arguments.as_bytes(), next).expect("there is room");
            next += 1;
        }
        let turned = engine.turn(Duration::from_millis(50), |tag, _, outcome| {
            let InlineOutcome::Result(answer) = outcome else { panic!("call {tag}: {outcome:?}") };
            let answer = String::from_utf8_lossy(answer);
            assert!(answer.contains(&format!("\"{}\"", message(tag))), "call {tag}: {answer}");
            answered += 1;
        });
        turned.expect("a turn");
        assert!(std::time::Instant::now() < until, "{answered} of {CALLS} are answered");
    }
    let stats = engine.stats();
    assert_eq!((stats.submitted, stats.answered, stats.live, stats.http_sockets), (CALLS, CALLS, 0, 1));
    engine.close(|_, _, outcome| panic!("{outcome:?}"));
}

/// Once, a request of more bytes than are written at a time stood still where the server had opened its window so wide that it
/// had nothing to say before the end.
#[test]
fn bodies_of_megabytes_are_whole_in_both_directions() {
    story_alone(async {
        for window_bytes in [65_535, 64 * 1024 * 1024] {
            let server = H2Server::echoing(Terms { window_bytes, ..Terms::default() });
            let client = connect(&server, told("modern")).await;
            let calls: Vec<_> = (0..4).map(|n| client.call(long_echo(n, 3_000_000 + n as usize))).collect();
            for (n, call) in (0u64..).zip(calls) {
                let answer = call.await.expect("an answer");
                assert!(first_text(&answer) == long_message(n, 3_000_000 + n as usize), "call {n}");
            }
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.http_sockets), (4, 1), "{stats:?}");
            client.close().await;
        }
    });
}

/// The server refuses what is beyond its bound, so that a call which moves shows a stream too many. Once, that was true of each
/// further socket until the server's settings had come.
#[test]
fn a_window_beyond_the_streams_of_a_socket_opens_others_and_never_a_stream_too_many() {
    story_alone(async {
        let server =
            H2Server::start(Terms { streams_max: Some(10), ..Terms::default() }, |_| Does::EchoWhenTold);
        let client = connect(&server, told("modern").in_flight(256)).await;
        let calls: Vec<_> = (0..256).map(|n| client.call(echo(n))).collect();
        until("all sockets are full", || server.count(|asked| asked.is_call()) == 80).await;
        server.let_go();
        for (n, call) in (0..).zip(calls) {
            assert_eq!(first_text(&call.await.expect("an answer")), message(n));
        }
        echoes_work(&client, 0..2_000).await;
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.failed, stats.moved), (2_256, 0, 0), "{stats:?}");
        assert_eq!((stats.http_sockets, server.connections()), (CARRIERS_MAX, 8), "{stats:?}");
        assert_eq!(server.streams_most(), 10);
        client.close().await;
    });
}

/// Once, the sockets' own lanes were lent to calls, and the call for which the next socket had been opened was lost.
#[test]
fn answers_whose_streams_do_not_end_take_no_place_for_good() {
    story_alone(async {
        let terms = Terms { streams_max: Some(10), ..Terms::default() };
        let server = H2Server::start(terms, |_| Does::EventWithoutEnd);
        let client = connect(&server, told("modern").in_flight(4)).await;
        for n in 0..60 {
            assert_eq!(first_text(&client.call(echo(n)).await.expect("an answer")), message(n));
        }
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.moved), (60, 0), "{stats:?}");
        assert!(stats.http_sockets <= CARRIERS_MAX, "{stats:?}");
        until("all streams are given up", || server.resets().len() == 60).await;
        client.close().await;
    });
}

fn tls_config(authority: &Authority, version: HttpVersion) -> Config {
    let tls = TlsConfig::new().ca_pem(authority.pem()).only_these_roots();
    let config = Config::builder().backoff(Duration::from_millis(1), Duration::from_millis(10));
    config.tls(tls).http_version(version).build().expect("a valid configuration")
}

#[test]
fn over_tls_the_better_of_what_both_speak_is_spoken() {
    let authority = Authority::new();
    let identity = authority.sign(&["localhost"], |_| ());
    story_alone(async {
        let both: &[&str] = &["h2", "http/1.1"];
        for (alpn, version, agreed) in [
            (both, HttpVersion::Auto, "h2"),
            (both, HttpVersion::Http2, "h2"),
            (both, HttpVersion::Http1, "http/1.1"),
            (&["http/1.1"], HttpVersion::Auto, "http/1.1"),
            (&[], HttpVersion::Auto, ""),
        ] {
            let modern = H2Server::echoing(Terms::default());
            let old = HttpServer::start(|_, asked| asked.welcome());
            let behind = if agreed == "h2" {
                modern.address()
            } else {
                old.origin().trim_start_matches("http://").to_owned()
            };
            let front = TlsFront::start(&identity, &behind, Manners { alpn, ..Manners::default() });
            let endpoint = format!("https://localhost:{}/mcp", front.port());
            let client = Client::connect(endpoint.as_str(), tls_config(&authority, version))
                .await
                .expect("it connects");
            echoes_work(&client, 0..300).await;
            let stats = books_balance(&client).await;
            assert_eq!(stats.answered, 300, "{stats:?}");
            assert_eq!(stats.http_sockets == 1, agreed == "h2", "{stats:?}");
            assert!(front.agreed().iter().all(|name| name == agreed), "{:?}", front.agreed());
            client.close().await;
        }
    });
}

#[test]
fn a_socket_that_is_idle_is_closed_and_another_opened_when_there_is_a_call() {
    story_alone(async {
        let server = H2Server::echoing(Terms::default());
        let config = told("modern").http_idle_timeout(Duration::from_millis(200));
        let client = connect(&server, config).await;
        for round in 1..=3 {
            echoes_work(&client, 0..50).await;
            assert_eq!(server.connections(), round);
            until("it is closed", || server.standing() == 0).await;
        }
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.http_sockets, stats.disconnects), (150, 3, 0), "{stats:?}");
        client.close().await;
    });
}

#[test]
fn a_session_is_named_by_every_request_and_ended_with_the_client() {
    story_alone(async {
        let server = H2Server::start(Terms { era: "legacy", ..Terms::default() }, |asked| {
            if asked.text() == message(0) { Does::Nothing } else { Does::Echo }
        });
        let client = connect(&server, told("legacy")).await;
        let held = client.call(echo(0));
        echoes_work(&client, 1..100).await;
        client.close().await;
        held.await.expect_err("nobody answers it");
        until("the session is ended", || server.count(|asked| asked.method == "DELETE") == 1).await;
        let later = |asked: &volley_tests::h2_server::Asked| asked.message["method"] != "initialize";
        assert!(server.asked(later).iter().all(|asked| asked.session == SESSION));
        until("the socket goes", || server.standing() == 0).await;
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.failed), (99, 1), "{stats:?}");
    });
}
