//! Answers over HTTP that are cut, too long, oddly spelt, early, or followed by what nobody asked for.
//!
//! The first call of a client meets the fault. It ends once, as it should, and the calls after it are answered as if nothing
//! had been: a fault harms its own call and its own socket.

use std::time::{Duration, Instant};

use volley::{Client, Config, ConfigBuilder, Error, ErrorKind, Fate, Stats, ToolResult};
use volley_tests::calls::{books_balance, echo, echoes_work, first_text, long_echo, long_message, message};
use volley_tests::http_server::{HttpServer, Peer, Request, Then};
use volley_tests::target::ERAS;
use volley_tests::wait::{story_alone, until};

use super::connect;

/// Calls after the one that met the fault.
const AFTERWARDS: u64 = 40;

fn brisk(config: ConfigBuilder) -> ConfigBuilder {
    config
        .in_flight(4)
        .timeout(Duration::from_secs(5))
        .backoff(Duration::from_millis(1), Duration::from_millis(20))
}

/// How the call ended that met the fault, and the books after all.
struct Met {
    outcome: Result<ToolResult, Error>,
    stats: Stats,
}

impl Met {
    #[track_caller]
    fn is_right(&self) {
        match &self.outcome {
            Ok(result) => assert_eq!(first_text(result), message(0)),
            Err(error) => panic!("{error} ({:?})", error.fate()),
        }
        assert_eq!(self.stats.failed, 0, "{:?}", self.stats);
    }

    #[track_caller]
    fn failed(&self, kind: ErrorKind, fate: Fate, says: &str) {
        let error = self.outcome.as_ref().expect_err("no answer came");
        assert_eq!((error.kind(), error.fate()), (kind, fate), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!((self.stats.failed, self.stats.answered), (1, AFTERWARDS), "{:?}", self.stats);
    }
}

/// Has the call number 0 answered by `odd`, and all others well.
async fn meet(era: &'static str, odd: impl Fn(&mut Peer, &Request) -> Then + Send + Sync + 'static) -> Met {
    let server = HttpServer::start(era, move |peer, request| {
        if request.text() == message(0) {
            return odd(peer, request);
        }
        if request.is_call() {
            peer.echo(request)
        } else {
            peer.accept()
        };
        Then::Keep
    });
    let client = connect(server.endpoint(), brisk).await;
    let outcome = client.call(echo(0)).await;
    echoes_work(&client, 1..AFTERWARDS + 1).await;
    let stats = books_balance(&client).await;
    client.close().await;
    server.no_socket_is_left();
    Met { outcome, stats }
}

const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An answer as the body of a chunked response, cut at every place that means something.
#[test]
fn a_body_cut_in_any_place_fails_its_call_only() {
    story_alone(async {
        for era in ERAS {
            for place in 0..8 {
                let met = meet(era, move |peer, request| {
                    let body = request.answer();
                    let (front, back) = body.split_at(20);
                    let chunks = format!(
                        "{JSON}Transfer-Encoding: chunked\r\n\r\n14\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\nTrailer: x\r\n\r\n",
                        back.len()
                    );
                    let at = |what: &str| chunks.find(what).expect("it is there") + what.len();
                    let cut = match place {
                        0 => 9,
                        1 => at("application/json\r\n"),
                        2 => at("\r\n\r\n1"),
                        3 => at("\r\n\r\n14\r\n") + 5,
                        4 => at(front),
                        5 => at(front) + 3,
                        6 => at(back) + 2,
                        _ => at("Trailer: x"),
                    };
                    peer.say(&chunks[..cut]);
                    Then::Close
                })
                .await;
                met.failed(ErrorKind::ConnectionLost, Fate::Unknown, "");
            }
        }
    });
}

#[test]
fn a_body_shorter_than_its_length_is_no_answer() {
    story_alone(async {
        for era in ERAS {
            let met = meet(era, |peer, request| {
                let body = request.answer();
                peer.say(format!("{JSON}Content-Length: {}\r\n\r\n{body}", body.len() + 1));
                Then::Close
            })
            .await;
            met.failed(ErrorKind::ConnectionLost, Fate::Unknown, "closed");
        }
    });
}

/// An event is whole with its blank line, and then the end of the chunks does not matter any more.
#[test]
fn an_answer_in_a_whole_event_counts_though_its_stream_is_cut() {
    story_alone(async {
        for era in ERAS {
            for end in ["", "\r\n", "\r\n0", "\r\n0\r\n"] {
                let met = meet(era, move |peer, request| {
                    let event = format!("data: {}\n\n", request.answer());
                    peer.say(format!("{EVENTS}{:x}\r\n{event}{end}", event.len()));
                    Then::Close
                })
                .await;
                met.is_right();
            }
            // Without the blank line it is half an event.
            let met = meet(era, |peer, request| {
                let event = format!("data: {}\n", request.answer());
                peer.say(format!("{EVENTS}{:x}\r\n{event}\r\n0\r\n\r\n", event.len()));
                Then::Keep
            })
            .await;
            met.failed(ErrorKind::ConnectionLost, Fate::Unknown, "without an answer");
        }
    });
}

/// Spells an answer with this body, and says whether the connection goes on.
type Spelling = fn(&str) -> (String, Then);

/// What RFC 9112 allows and few servers do.
#[test]
fn odd_spellings_of_a_right_answer_are_understood() {
    let spellings: [Spelling; 12] = [
        |body| (format!("http/1.1 200 OK\r\n\r\n{body}").replace("http", "HTTP"), Then::Close),
        |body| {
            let len = body.len();
            (
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
                ),
                Then::Keep,
            )
        },
        |body| {
            let len = body.len();
            (
                format!(
                    "HTTP/1.1 200 OK\r\nCONTENT-TYPE: Application/JSON ; charset=UTF-8\r\nCONTENT-LENGTH:{len}\r\n\r\n{body}"
                ),
                Then::Keep,
            )
        },
        |body| (format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}"), Then::Close),
        |body| (format!("{JSON}Connection: close\r\n\r\n{body}"), Then::Close),
        |body| {
            let len = body.len();
            (format!("HTTP/1.1 100 Continue\r\n\r\n{JSON}Content-Length: {len}\r\n\r\n{body}"), Then::Keep)
        },
        |body| {
            let len = body.len();
            (
                format!(
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{JSON}Content-Length: {len}\r\n\r\n{body}"
                ),
                Then::Keep,
            )
        },
        |body| {
            let len = body.len();
            (format!("{JSON}X-Folded: a\r\n\tb\r\nContent-Length: {len}\r\n\r\n{body}"), Then::Keep)
        },
        |body| {
            let len = body.len();
            (
                format!(
                    "{JSON}Transfer-Encoding: chunked\r\n\r\n000{len:X};x=\"y;\"\r\n{body}\r\n00\r\nA: b\r\n\r\n"
                ),
                Then::Keep,
            )
        },
        |body| {
            let len = body.len();
            let many: String = (0..90).map(|n| format!("X-{n}: {n}\r\n")).collect();
            (format!("{JSON}{many}Content-Length: {len}\r\n\r\n{body}"), Then::Keep)
        },
        // Some programs begin every text with a byte-order mark (RFC 8259, section 8.1: it may be ignored).
        |body| (sized(&format!("\u{feff}{body}")), Then::Keep),
        |body| {
            let one: String =
                body.chars().map(|char| format!("{:x}\r\n{char}\r\n", char.len_utf8())).collect();
            (format!("{JSON}Transfer-Encoding: chunked\r\n\r\n{one}0\r\n\r\n"), Then::Keep)
        },
    ];
    story_alone(async move {
        for era in ERAS {
            for (n, spelling) in spellings.into_iter().enumerate() {
                let met = meet(era, move |peer, request| {
                    let (bytes, then) = spelling(&request.answer());
                    peer.say(bytes);
                    then
                })
                .await;
                // The first has no media type, so it is not known to be JSON.
                if n == 0 {
                    met.failed(ErrorKind::ConnectionLost, Fate::Unknown, "without an answer");
                } else {
                    met.is_right();
                }
            }
        }
    });
}

/// Heads that two readers could read in two ways, or that have no end.
#[test]
fn what_is_no_http_ends_its_socket_and_its_call() {
    let heads: [(String, &str); 11] = [
        (format!("{JSON}X: {}\r\n\r\n", "x".repeat(1 << 20)), "65536"),
        (format!("{JSON}{}\r\n", "X: y\r\n".repeat(20_000)), "head"),
        (format!("{JSON}{}\r\n", "X: y\r\n".repeat(300)), "headers"),
        (format!("{JSON}Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456"), "HTTP"),
        (format!("{JSON}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n12345"), "HTTP"),
        (format!("{JSON}Content-Length: -1\r\n\r\n"), "HTTP"),
        (format!("{JSON}Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), "gzip"),
        (format!("{JSON}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n"), "HTTP"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_owned(), "101"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "HTTP"),
        ("\u{0}\u{0}\u{12}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}".to_owned(), "HTTP"),
    ];
    story_alone(async move {
        for era in ERAS {
            for (head, says) in heads.clone() {
                let met = meet(era, move |peer, _| {
                    peer.say(&head);
                    peer.bytes_until_end();
                    Then::Close
                })
                .await;
                met.failed(ErrorKind::ConnectionLost, Fate::Unknown, says);
                assert_eq!((met.stats.malformed, met.stats.disconnects), (1, 0), "{:?}", met.stats);
            }
        }
    });
}

/// 200 with something else in it than the answer.
#[test]
fn a_success_without_an_answer_is_a_lost_call() {
    let bodies: [fn(&Request) -> String; 12] = [
        |_| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        |_| "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
        |_| "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        |_| "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned(),
        |_| sized(""),
        |_| sized("not json"),
        |_| sized("{\"jsonrpc\":\"2.0\",\"id\":"),
        |_| sized("[]"),
        |_| sized(r#"{"jsonrpc":"2.0","id":null,"result":{"content":[]}}"#),
        |_| sized(r#"{"jsonrpc":"2.0","result":{"content":[]}}"#),
        // The right answer with a wrong id is somebody else's.
        |request| sized(&request.answer().replace(&request.id(), "1234567")),
        // An array is none since 2025-06-18, whatever is in it.
        |request| sized(&format!("[{}]", request.answer())),
    ];
    story_alone(async move {
        for era in ERAS {
            for body in bodies {
                let met = meet(era, move |peer, request| {
                    peer.say(body(request));
                    Then::Keep
                })
                .await;
                met.failed(ErrorKind::ConnectionLost, Fate::Unknown, "without an answer");
                assert_eq!(met.stats.disconnects, 0, "the socket is as good as before: {:?}", met.stats);
            }
        }
    });
}

fn sized(body: &str) -> String {
    format!("{JSON}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The request's own response may leave out the id of an error; then it is this call's error and nobody else's.
#[test]
fn an_error_without_an_id_is_the_error_of_its_request() {
    story_alone(async {
        for era in ERAS {
            for id in ["", r#""id":null,"#] {
                let met = meet(era, move |peer, _| {
                    peer.json(
                        "200 OK",
                        &format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32000,"message":"so"}}}}"#),
                    );
                    Then::Keep
                })
                .await;
                let error = met.outcome.expect_err("an error");
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Rpc, Fate::Answered), "{error}");
                assert_eq!((met.stats.failed, met.stats.rpc_errors), (0, 1), "{:?}", met.stats);
            }
        }
    });
}

/// Whatever stands between writes its own bodies, and some are JSON without being an object. The shard panicked over these when they came
/// in answer to an opening.
#[test]
fn a_body_that_is_no_object_is_no_answer_to_an_opening() {
    story_alone(async {
        for status in ["200 OK", "400 Bad Request", "404 Not Found"] {
            for body in [r#""Not Found""#, "[]", "[1]", "true", "404", "null", "{}"] {
                let server = HttpServer::plain("legacy", move |peer, request| {
                    if request.rpc() == "server/discover" {
                        peer.json(status, body);
                    } else if request.is_call() {
                        peer.echo(request);
                    } else if !peer.opens(request) {
                        peer.accept();
                    }
                    Then::Keep
                });
                let client = connect(server.endpoint(), brisk).await;
                echoes_work(&client, 0..3).await;
                books_balance(&client).await;
                client.close().await;
            }
        }
        for body in [r#""Not Found""#, "[]", "true"] {
            let server = HttpServer::plain("legacy", move |peer, _| {
                peer.json("200 OK", body);
                Then::Keep
            });
            let config = brisk(Config::builder()).attempts_max(1).build().expect("valid");
            let error = match Client::connect(server.endpoint(), config).await {
                Ok(client) => client.call(echo(0)).await.expect_err("nothing was opened"),
                Err(error) => error,
            };
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{error}");
        }
    });
}

/// Two calls at once on two sockets; each socket answers with the id of the other call. Neither may be answered by it: the
/// text would be right for the id, but a response answers its own request only.
#[test]
fn an_answer_on_anothers_socket_is_nobodys() {
    story_alone(async {
        for era in ERAS {
            let met = std::sync::Arc::new((
                parking_lot::Mutex::new(Vec::<String>::new()),
                parking_lot::Condvar::new(),
            ));
            let server = HttpServer::start(era, move |peer, request| {
                if !request.is_call() || !request.text().starts_with("swap") {
                    peer.echo(request);
                    return Then::Keep;
                }
                let (ids, news) = &*met;
                let mut ids = ids.lock();
                ids.push(request.id());
                news.notify_all();
                while ids.len() < 2 {
                    news.wait(&mut ids);
                }
                let other = ids.iter().find(|id| **id != request.id()).expect("there are two").clone();
                drop(ids);
                peer.json("200 OK", &volley_tests::byte_server::answer(&other, "swapped"));
                Then::Keep
            });
            let client = connect(server.endpoint(), brisk).await;
            let swap = || volley_tests::calls::call("echo", serde_json::json!({"message": "swap"}));
            let calls = vec![client.call(swap()), client.call(swap())];
            for end in volley_tests::calls::all_ends(calls).await {
                let error = end.outcome.expect_err("the answer of another");
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::ConnectionLost, Fate::Unknown),
                    "{error}"
                );
            }
            echoes_work(&client, 0..20).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.unknown, stats.failed, stats.answered), (2, 2, 20), "{stats:?}");
            client.close().await;
        }
    });
}

/// What follows a response on its socket answers nothing: the socket is given up, and the next request is not taken for
/// answered, whatever the bytes say. Each call of many meets the like.
#[test]
fn what_follows_a_response_answers_nothing() {
    let tails: [fn(&Request) -> String; 7] = [
        |_| "garbage".to_owned(),
        |_| "\r\n".to_owned(),
        |_| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        |_| "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
        |_| "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
        |request| sized(&request.answer()),
        // As if it knew what comes next.
        |request| {
            let next = request.message["id"].as_u64().expect("a number") + 1;
            sized(&volley_tests::byte_server::answer(&next.to_string(), "not asked for"))
        },
    ];
    story_alone(async move {
        for era in ERAS {
            for (n, tail) in tails.into_iter().enumerate() {
                let server = HttpServer::start(era, move |peer, request| {
                    if request.is_call() {
                        let body = request.answer();
                        // In one write, so that both are read at once.
                        peer.say(format!("{}{}", sized(&body), tail(request)));
                    } else {
                        peer.accept();
                    }
                    Then::Keep
                });
                let client = connect(server.endpoint(), |config| brisk(config).in_flight(2)).await;
                let mut bulk = client.bulk((0..200).map(echo));
                let mut seen = 0;
                while let Some((index, outcome)) = bulk.next().await {
                    let answer = outcome.unwrap_or_else(|error| {
                        panic!("era {era}, tail {n}, call {index}: {error} ({:?})", error.fate())
                    });
                    assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index));
                    seen += 1;
                }
                assert_eq!(seen, 200);
                let stats = books_balance(&client).await;
                assert_eq!((stats.submitted, stats.answered), (200, 200), "{stats:?}");
                client.close().await;
                server.no_socket_is_left();
            }
        }
    });
}

const LONG: usize = 5_000_000;

/// A server refuses a long request by its head and does not read the rest. It closes, or it keeps the socket for what it
/// takes for the next request: then nothing but the rest of the first one may come on it.
#[test]
fn a_refusal_before_the_request_is_read_is_an_answer() {
    story_alone(async {
        for era in ERAS {
            for then in [Then::Close, Then::Keep] {
                let server = HttpServer::raw(era, move |peer| {
                    while let Some(head) = peer.next_head() {
                        let len: usize =
                            head.header("content-length").map_or(0, |len| len.parse().expect("a length"));
                        if len > LONG {
                            peer.respond("413 Content Too Large", "", "");
                            if then == Then::Keep {
                                // As a server that skips the rest of the body without a bound.
                                assert!(
                                    peer.bytes_until_end() <= len,
                                    "a request in the middle of another's body"
                                );
                            }
                            return;
                        }
                        let Some(request) = peer.rest_of(head) else { return };
                        if !peer.opens(&request) {
                            peer.echo(&request);
                        }
                    }
                });
                let client = connect(server.endpoint(), brisk).await;
                let error = client.call(long_echo(0, LONG)).await.expect_err("it is too long");
                // The kernel may drop what it had received when it meets a reset; a lost call is right then.
                let expected = match then {
                    Then::Keep => [(ErrorKind::Http, Fate::Answered)].to_vec(),
                    Then::Close => {
                        [(ErrorKind::Http, Fate::Answered), (ErrorKind::ConnectionLost, Fate::Unknown)]
                            .to_vec()
                    }
                };
                assert!(expected.contains(&(error.kind(), error.fate())), "{error} ({:?})", error.fate());
                echoes_work(&client, 1..AFTERWARDS + 1).await;
                books_balance(&client).await;
                client.close().await;
                server.no_socket_is_left();
            }
        }
    });
}

/// The answer to a long request comes while it is still being written. It is an answer, and the socket, in the middle of a
/// request, is of no use for the next.
#[test]
fn an_answer_before_the_request_is_read_is_an_answer() {
    story_alone(async {
        for era in ERAS {
            let server = HttpServer::raw(era, move |peer| {
                while let Some(head) = peer.next_head() {
                    let len: usize =
                        head.header("content-length").map_or(0, |len| len.parse().expect("a length"));
                    if len > LONG {
                        // The id stands in front: a body of ours begins with it.
                        let front = peer.some_bytes(60);
                        let id = front.split("\"id\":").nth(1).expect("an id");
                        let id: String = id.chars().take_while(char::is_ascii_digit).collect();
                        peer.json("200 OK", &volley_tests::byte_server::answer(&id, &message(0)));
                        assert!(peer.bytes_until_end() <= len, "a request in the middle of another's body");
                        return;
                    }
                    let Some(request) = peer.rest_of(head) else { return };
                    if !peer.opens(&request) {
                        peer.echo(&request);
                    }
                }
            });
            let client = connect(server.endpoint(), brisk).await;
            let result = client.call(long_echo(0, LONG)).await.expect("an answer");
            assert_eq!(first_text(&result), message(0));
            echoes_work(&client, 1..AFTERWARDS + 1).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.failed), (AFTERWARDS + 1, 0), "{stats:?}");
            client.close().await;
            server.no_socket_is_left();
        }
    });
}

/// Nobody reads it: the kernel is full, the time runs out, and nothing of it is kept.
#[test]
fn a_long_request_to_a_server_that_does_not_read_times_out() {
    story_alone(async {
        for era in ERAS {
            let (over, is_over) = std::sync::mpsc::channel::<()>();
            let is_over = parking_lot::Mutex::new(is_over);
            let server = HttpServer::raw(era, move |peer| {
                while let Some(head) = peer.next_head() {
                    let len: usize =
                        head.header("content-length").map_or(0, |len| len.parse().expect("a length"));
                    if len > LONG {
                        // One after the other: all are told when the sender goes.
                        let _ = is_over.lock().recv();
                        return;
                    }
                    let Some(request) = peer.rest_of(head) else { return };
                    if !peer.opens(&request) {
                        if request.is_call() {
                            peer.echo(&request)
                        } else {
                            peer.accept()
                        };
                    }
                }
            });
            let client = connect(server.endpoint(), |config| {
                brisk(config)
                    .in_flight(4)
                    .timeout(Duration::from_millis(400))
                    .orphan_debt(Duration::from_millis(100))
            })
            .await;
            let calls: Vec<_> = (0..8).map(|n| client.call(long_echo(n, LONG))).collect();
            let began = Instant::now();
            for end in volley_tests::calls::all_ends(calls).await {
                let error = end.outcome.expect_err("nobody reads it");
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            }
            assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
            // The sockets that were in the middle of it are gone when the debt is paid.
            until("the sockets have been given up", || server.client_sockets() <= 2).await;
            echoes_work(&client, 1..AFTERWARDS + 1).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.timed_out, stats.failed, stats.answered), (8, 8, AFTERWARDS), "{stats:?}");
            client.close().await;
            drop(over);
            server.no_socket_is_left();
        }
    });
}

/// A long answer to a long question, both ways at once, through small chunks.
#[test]
fn long_questions_and_answers_pass_unharmed() {
    story_alone(async {
        for era in ERAS {
            let server = HttpServer::start(era, |peer, request| {
                let body = request.answer();
                peer.say(format!("{JSON}Transfer-Encoding: chunked\r\n\r\n"));
                for piece in body.as_bytes().chunks(1000) {
                    peer.chunk(std::str::from_utf8(piece).expect("plain ASCII"));
                }
                peer.end_chunks();
                Then::Keep
            });
            let client: Client =
                connect(server.endpoint(), |config| brisk(config).timeout(Duration::from_secs(30))).await;
            let calls: Vec<_> = (0..6).map(|n| client.call(long_echo(n, 1_000_000))).collect();
            for (n, call) in (0..).zip(calls) {
                assert_eq!(first_text(&call.await.expect("an answer")), long_message(n, 1_000_000));
            }
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.disconnects), (6, 0), "{stats:?}");
            client.close().await;
        }
    });
}
