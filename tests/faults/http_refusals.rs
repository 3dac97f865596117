//! Statuses that are no success, each with what it says of the call: whether it was executed, whether to come back, whom to
//! ask for a token. A refused call is sent once; a redirect is not followed, and a token goes to its own origin only.

use std::time::{Duration, Instant};

use volley::{ErrorKind, Fate};
use volley_tests::calls::{all_ends, books_balance, echo, echoes_work};
use volley_tests::http_server::{HttpServer, Request, Then};
use volley_tests::target::ERAS;
use volley_tests::wait::story_alone;

use super::{connect, try_connect};

const TOKEN: &str = "a-token-of-one-origin-only";

/// Status line, headers, body; kind and fate; what the error says.
type Refusal = (&'static str, &'static str, &'static str, ErrorKind, Fate, &'static str);

const REFUSALS: [Refusal; 15] = [
    ("429 Too Many Requests", "Retry-After: 7\r\n", "", ErrorKind::Http, Fate::Answered, "retry after 7 s"),
    (
        "429 Too Many Requests",
        "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n",
        "",
        ErrorKind::Http,
        Fate::Answered,
        "429",
    ),
    (
        "429 Too Many Requests",
        "Retry-After: 99999999999999999999\r\n",
        "",
        ErrorKind::Http,
        Fate::Answered,
        "429",
    ),
    ("503 Service Unavailable", "Retry-After: 0\r\n", "", ErrorKind::Http, Fate::Answered, "503"),
    (
        "503 Service Unavailable",
        "Content-Type: text/event-stream\r\n",
        "data: {}\n\n",
        ErrorKind::Http,
        Fate::Answered,
        "503",
    ),
    (
        "502 Bad Gateway",
        "Content-Type: text/html\r\n",
        "<html><h1>502</h1></html>",
        ErrorKind::Http,
        Fate::Unknown,
        "502",
    ),
    ("504 Gateway Timeout", "", "", ErrorKind::Http, Fate::Unknown, "504"),
    ("500 Internal Server Error", "", "", ErrorKind::Http, Fate::Unknown, "500"),
    (
        "500 Internal Server Error",
        "Content-Type: application/json\r\n",
        "{\"oops\":1}",
        ErrorKind::Http,
        Fate::Unknown,
        "500",
    ),
    (
        "500 Internal Server Error",
        "Content-Type: application/json\r\n",
        "not json",
        ErrorKind::Http,
        Fate::Unknown,
        "500",
    ),
    (
        "401 Unauthorized",
        "WWW-Authenticate: Bearer realm=\"x\"\r\n",
        "",
        ErrorKind::Unauthorized,
        Fate::Answered,
        "Bearer realm",
    ),
    ("403 Forbidden", "", "", ErrorKind::Unauthorized, Fate::Answered, "403"),
    ("404 Not Found", "", "", ErrorKind::Http, Fate::Answered, "404"),
    ("400 Bad Request", "Content-Type: text/plain\r\n", "no", ErrorKind::Http, Fate::Answered, "400"),
    ("304 Not Modified", "", "", ErrorKind::Http, Fate::Answered, "304"),
];

#[test]
fn a_refusal_says_what_became_of_its_call() {
    story_alone(async {
        for era in ERAS {
            for (status, headers, body, kind, fate, says) in REFUSALS {
                let server = HttpServer::start(era, move |peer, request| {
                    if request.text() != "call 0 and no other" {
                        peer.echo(request);
                    } else if status.starts_with("304") {
                        peer.say(format!("HTTP/1.1 {status}\r\n{headers}\r\n"));
                    } else {
                        peer.respond(status, headers, body);
                    }
                    Then::Keep
                });
                let client = connect(server.endpoint(), |config| config.bearer(TOKEN)).await;
                let error = client.call(echo(0)).await.expect_err("it was refused");
                assert_eq!((error.kind(), error.fate()), (kind, fate), "{era} {status}: {error}");
                assert!(error.to_string().contains(says), "{error}");
                assert!(!error.to_string().contains(TOKEN) && !format!("{error:?}").contains(TOKEN));
                echoes_work(&client, 1..10).await;
                let stats = books_balance(&client).await;
                assert_eq!((stats.failed, stats.answered, stats.disconnects), (1, 9, 0), "{stats:?}");
                assert_eq!(server.count(Request::is_call), 10, "{status}: nothing is sent twice");
                client.close().await;
                let bearer = format!("Bearer {TOKEN}");
                assert_eq!(server.count(|request| request.header("authorization") != Some(&bearer)), 0);
            }
        }
    });
}

/// A failure that has a JSON-RPC error in it is the server's answer to the call, with or without the call's id.
#[test]
fn an_error_in_the_body_is_heard_whatever_the_status() {
    story_alone(async {
        for era in ERAS {
            for status in
                ["400 Bad Request", "404 Not Found", "429 Too Many Requests", "500 Internal Server Error"]
            {
                for with_id in [true, false] {
                    let server = HttpServer::start(era, move |peer, request| {
                        let id = if with_id { request.id() } else { "null".to_owned() };
                        let error = r#"{"code":-32603,"message":"it broke"}"#;
                        peer.json(status, &format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
                        Then::Keep
                    });
                    let client = match try_connect(server.endpoint(), |config| config).await {
                        Ok(c) => c,
                        Err(e) => panic!("{era} {status} {with_id} {e} {:#?}", server.requests()),
                    };
                    let error = client.call(echo(0)).await.expect_err("an error");
                    assert_eq!(
                        (error.kind(), error.fate()),
                        (ErrorKind::Rpc, Fate::Answered),
                        "{status}: {error}"
                    );
                    assert_eq!(error.rpc_error().map(|error| error.code), Some(-32603));
                    let stats = books_balance(&client).await;
                    assert_eq!((stats.answered, stats.rpc_errors, stats.failed), (1, 1, 0), "{stats:?}");
                    client.close().await;
                }
            }
        }
    });
}

/// A result that comes with a failure is none: whoever reads the status alone must not see another outcome.
#[test]
fn a_result_in_a_failure_is_no_answer() {
    story_alone(async {
        for era in ERAS {
            let server = HttpServer::start(era, |peer, request| {
                peer.json("503 Service Unavailable", &request.answer());
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| config).await;
            let error = client.call(echo(0)).await.expect_err("503");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Http, Fate::Answered), "{error}");
            books_balance(&client).await;
            client.close().await;
        }
    });
}

/// 301 to 308, in calls and in the opening. The other origin hears nothing at all.
#[test]
fn a_redirect_to_another_origin_is_not_followed() {
    story_alone(async {
        let elsewhere = HttpServer::start("modern", |peer, request| {
            peer.echo(request);
            Then::Keep
        });
        for era in ERAS {
            for status in [
                "301 Moved",
                "302 Found",
                "303 See Other",
                "307 Temporary Redirect",
                "308 Permanent Redirect",
            ] {
                let to = format!("Location: {}\r\n", elsewhere.url());
                let server = HttpServer::start(era, move |peer, _| {
                    peer.respond(status, &to, "");
                    Then::Keep
                });
                let client = connect(server.endpoint(), |config| config.bearer(TOKEN)).await;
                let error = client.call(echo(0)).await.expect_err("it moved");
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Http, Fate::Answered), "{error}");
                assert!(error.to_string().contains(&elsewhere.url()), "says where to: {error}");
                books_balance(&client).await;
                client.close().await;
            }
        }
        let to = format!("Location: {}\r\n", elsewhere.url());
        let server = HttpServer::plain("modern", move |peer, _| {
            peer.respond("308 Permanent Redirect", &to, "");
            Then::Keep
        });
        let brisk = |config: volley::ConfigBuilder| {
            config.bearer(TOKEN).backoff(Duration::from_millis(1), Duration::from_millis(10))
        };
        let error = try_connect(server.endpoint(), brisk).await.err().expect("it moved");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{error}");
        assert_eq!(elsewhere.accepted(), 0, "nobody went there");
    });
}

/// A server that refuses the opening is asked as often as attempts are allowed, and its words are the reason.
#[test]
fn a_refused_opening_is_not_hammered_at() {
    story_alone(async {
        for status in [
            "401 Unauthorized",
            "403 Forbidden",
            "429 Too Many Requests",
            "500 Oh",
            "502 Bad Gateway",
            "503 Busy",
        ] {
            let server = HttpServer::plain("modern", move |peer, _| {
                peer.respond(status, "Content-Type: text/html\r\nRetry-After: 1\r\n", "<html>");
                Then::Keep
            });
            let brisk = |config: volley::ConfigBuilder| {
                config.backoff(Duration::from_millis(5), Duration::from_millis(20))
            };
            let began = Instant::now();
            let error = try_connect(server.endpoint(), brisk).await.err().expect("it was refused");
            assert_eq!(error.fate(), Fate::NotSent, "{error}");
            assert!(error.to_string().contains(&status[..3]), "{error}");
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
            let asked = server.requests().len();
            assert!((1..=3).contains(&asked), "{status}: {asked} requests while none has ever succeeded");
            server.no_socket_is_left();
        }
    });
}

/// All calls of a full client are refused: each is sent once and told at once, and the sockets go on.
#[test]
fn a_server_that_refuses_all_calls_is_asked_once_for_each() {
    story_alone(async {
        for era in ERAS {
            let server = HttpServer::start(era, |peer, _| {
                peer.respond("503 Service Unavailable", "Retry-After: 1\r\n", "");
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| config.in_flight(16).queue(600)).await;
            for end in all_ends((0..500).map(|n| client.call(echo(n))).collect()).await {
                let error = end.outcome.expect_err("503");
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Http, Fate::Answered), "{error}");
            }
            let stats = books_balance(&client).await;
            assert_eq!((stats.failed, stats.disconnects), (500, 0), "{stats:?}");
            assert_eq!(server.count(Request::is_call), 500);
            assert!(server.accepted() <= 20, "{} sockets for a window of 16", server.accepted());
            client.close().await;
            server.no_socket_is_left();
        }
    });
}
