//! Streams of events that never end, stall, dribble, break off, or are spelt in every way that WHATWG allows.
//!
//! A call's time runs whatever its stream does. A stream of the handshake era that ends with an event id behind it is taken up
//! again, no sooner than the server says; in the modern era, or without an id, the call is lost with its stream.

use std::time::{Duration, Instant};

use volley::{ConfigBuilder, ErrorKind, Fate};
use volley_tests::byte_server::answer;
use volley_tests::calls::{all_ends, books_balance, echo, echoes_work, first_text, long_message, message};
use volley_tests::http_server::{HttpServer, Peer, Request, Then};
use volley_tests::patience::until;
use volley_tests::target::{ERAS, Target};
use volley_tests::wait::{story, story_alone};

use super::connect;

/// Long for a test and short for a call.
const CALL_TIME: Duration = Duration::from_millis(600);

/// In small steps, so that the end of a socket is noticed.
const A_BIT: Duration = Duration::from_millis(10);

fn brisk(config: ConfigBuilder) -> ConfigBuilder {
    config
        .in_flight(4)
        .timeout(CALL_TIME)
        .orphan_debt(Duration::from_millis(100))
        .backoff(Duration::from_millis(1), Duration::from_millis(20))
}

/// A server that answers call number 0 with what `odd` says after the head of a stream, and others well.
fn odd_stream(
    era: &'static str,
    odd: impl Fn(&mut Peer, &Request) -> Then + Send + Sync + 'static,
) -> HttpServer {
    HttpServer::start(era, move |peer, request| {
        if request.text() == message(0) {
            peer.begin_events();
            return odd(peer, request);
        }
        if request.is_call() {
            peer.echo(request)
        } else {
            peer.accept()
        };
        Then::Keep
    })
}

/// Comments, empty events, half an event, half a chunk, a byte now and then: none of it is an answer, and none of it is a
/// reason to wait longer.
#[test]
fn a_call_on_an_endless_stream_ends_in_its_time() {
    let endless: [fn(&mut Peer, &Request) -> bool; 6] = [
        |peer, _| peer.chunk(": still here\n\n"),
        |peer, _| peer.chunk("data:\n\n"),
        |peer, _| peer.chunk("event: ping\ndata: {}\n\n"),
        |peer, _| peer.chunk("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n"),
        |peer, _| peer.chunk("d"),
        |peer, _| peer.say("f"),
    ];
    story_alone(async move {
        for era in ERAS {
            for what in endless {
                let server = odd_stream(era, move |peer, request| {
                    while what(peer, request) {
                        std::thread::sleep(A_BIT);
                    }
                    Then::Close
                });
                let client = connect(server.endpoint(), brisk).await;
                let began = Instant::now();
                let error = client.call(echo(0)).await.expect_err("no answer comes");
                // Sixty f make a chunk of a size that nobody takes; that is no HTTP, and soon told.
                let kinds = [ErrorKind::Timeout, ErrorKind::ConnectionLost];
                assert!(kinds.contains(&error.kind()) && error.fate() == Fate::Unknown, "{error}");
                assert!(began.elapsed() < 3 * CALL_TIME, "{:?}", began.elapsed());
                echoes_work(&client, 1..20).await;
                let stats = books_balance(&client).await;
                assert_eq!((stats.failed, stats.answered), (1, 19), "{stats:?}");
                client.close().await;
                server.no_socket_is_left();
            }
        }
    });
}

/// It begins well and says nothing more, at each place where it may stop.
#[test]
fn a_call_on_a_stream_that_stalls_ends_in_its_time() {
    story_alone(async {
        for era in ERAS {
            for front in ["", "1", "5\r\ndata:", "7\r\ndata: {\r\n", "f\r\nid: 1\ndata: {}\n\r\n"] {
                let server = odd_stream(era, move |peer, _| {
                    peer.say(front);
                    peer.bytes_until_end();
                    Then::Close
                });
                let client = connect(server.endpoint(), brisk).await;
                let error = client.call(echo(0)).await.expect_err("no answer comes");
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown), "{error}");
                echoes_work(&client, 1..20).await;
                books_balance(&client).await;
                client.close().await;
                server.no_socket_is_left();
            }
        }
    });
}

#[test]
fn an_answer_that_dribbles_in_is_an_answer() {
    story_alone(async {
        for era in ERAS {
            let server = odd_stream(era, |peer, request| {
                for char in format!("data: {}\n\n", request.answer()).chars() {
                    peer.say(format!("1\r\n{char}\r\n"));
                    std::thread::sleep(Duration::from_millis(2));
                }
                peer.end_chunks();
                Then::Keep
            });
            let client =
                connect(server.endpoint(), |config| brisk(config).timeout(Duration::from_secs(10))).await;
            assert_eq!(first_text(&client.call(echo(0)).await.expect("an answer")), message(0));
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.malformed), (1, 0), "{stats:?}");
            client.close().await;
        }
    });
}

/// WHATWG, 9.2.6: ends of lines, a byte order mark, comments, fields that nobody knows, data in several lines, any order.
#[test]
fn every_spelling_of_an_event_is_understood() {
    let spellings: [fn(&str) -> String; 13] = [
        |json| format!("data: {json}\n\n"),
        |json| format!("data:{json}\r\n\r\n"),
        |json| format!("data: {json}\r\r"),
        |json| format!("\u{feff}data: {json}\n\n"),
        |json| format!(": hello\n\n:\nevent: message\nid: 1\nretry: 10\ndata: {json}\n\n"),
        |json| format!("data: {json}\nid: 1\nevent: message\n\n"),
        |json| format!("unknown: x\nnothing\ndata: {json}\n\n"),
        |json| format!("event: other\ndata: {{\"not\":\"this\"}}\n\ndata: {json}\n\n"),
        |json| format!("data\n\ndata:\n\ndata: {json}\n\n"),
        // Line feeds are white space between tokens.
        |json| {
            let mut lines = String::new();
            for piece in json.split_inclusive(',') {
                lines.push_str("data: ");
                lines.push_str(piece);
                lines.push('\n');
            }
            format!("{lines}\n")
        },
        |json| {
            let mut lines = String::from("id: 5\r");
            for piece in json.split_inclusive(['{', ',']) {
                lines.push_str("data: ");
                lines.push_str(piece);
                lines.push('\r');
            }
            format!("{lines}\r")
        },
        |json| format!("data: {json}\r\n\n"),
        |json| format!("retry: not a number\nid: \u{0}\ndata: {json}\n\n"),
    ];
    story_alone(async move {
        for era in ERAS {
            for (n, spelling) in spellings.into_iter().enumerate() {
                for piece_bytes in [1, 3, usize::MAX] {
                    let server = odd_stream(era, move |peer, request| {
                        let text = spelling(&request.answer());
                        let mut chunks = String::new();
                        for char in text.chars().collect::<Vec<_>>().chunks(piece_bytes.min(text.len())) {
                            let piece: String = char.iter().collect();
                            chunks.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
                        }
                        peer.say(format!("{chunks}0\r\n\r\n"));
                        Then::Keep
                    });
                    let client =
                        connect(server.endpoint(), |config| brisk(config).timeout(Duration::from_secs(5)))
                            .await;
                    let result = client.call(echo(0)).await;
                    let result =
                        result.unwrap_or_else(|error| panic!("spelling {n}, {piece_bytes}: {error}"));
                    assert_eq!(first_text(&result), message(0));
                    echoes_work(&client, 1..5).await;
                    let stats = books_balance(&client).await;
                    assert_eq!((stats.answered, stats.failed, stats.streams_resumed), (5, 0, 0), "{stats:?}");
                    client.close().await;
                }
            }
        }
    });
}

/// Three megabytes in one event, in chunks of a page each, one line or a thousand: read in time that grows with the length
/// and not with its square.
#[test]
fn a_long_event_is_read_once() {
    const LONG: usize = 3_000_000;
    story_alone(async {
        for era in ERAS {
            for lines in [false, true] {
                let server = odd_stream(era, move |peer, request| {
                    let mut body = answer(&request.id(), &long_message(0, LONG));
                    if lines {
                        // Commas stand between members only: the text has none.
                        body = body.replace(',', &format!("{}\ndata: ,", "\ndata:".repeat(1000)));
                    }
                    let event = format!("data: {body}\n\n");
                    for piece in event.as_bytes().chunks(4000) {
                        peer.chunk(std::str::from_utf8(piece).expect("plain ASCII"));
                    }
                    peer.end_chunks();
                    Then::Keep
                });
                let client =
                    connect(server.endpoint(), |config| brisk(config).timeout(Duration::from_secs(30))).await;
                let began = Instant::now();
                let result = client.call(echo(0)).await.expect("an answer");
                assert_eq!(first_text(&result), long_message(0, LONG));
                assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
                books_balance(&client).await;
                client.close().await;
            }
        }
    });
}

/// An answer twice, an answer to nobody, an error to nobody, notifications: one answer ends the call, the rest is counted.
#[test]
fn company_in_the_stream_does_not_disturb_the_answer() {
    story_alone(async {
        for era in ERAS {
            let server = odd_stream(era, |peer, request| {
                let right = request.answer();
                let foreign = answer("99999999", "not yours");
                let null = r#"{"jsonrpc":"2.0","id":null,"result":{"content":[]}}"#;
                let notice = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
                for message in [notice, &foreign, null, &right, &right, notice] {
                    peer.chunk(&format!("data: {message}\n\n"));
                }
                peer.end_chunks();
                Then::Keep
            });
            let client = connect(server.endpoint(), brisk).await;
            assert_eq!(first_text(&client.call(echo(0)).await.expect("an answer")), message(0));
            echoes_work(&client, 1..20).await;
            let stats = books_balance(&client).await;
            assert_eq!(
                (stats.answered, stats.failed, stats.unknown, stats.id_less),
                (20, 0, 2, 1),
                "{stats:?}"
            );
            assert_eq!(stats.notifications, 2, "{stats:?}");
            client.close().await;
        }
    });
}

/// A notification longer than the bound on the call's own stream is passed over, as it is on a line. It was taken for the answer, and the
/// call failed beside it. An answer that is too long fails its call, which was executed.
#[test]
fn an_event_that_is_too_long_fails_the_call_only_if_it_is_its_answer() {
    story_alone(async {
        for era in ERAS {
            let log = |bytes| {
                let text = "x".repeat(bytes);
                format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{text}"}}}}"#
                )
            };
            let server = odd_stream(era, move |peer, request| {
                peer.chunk(&format!("data: {}\n\n", log(200_000)));
                peer.chunk(&format!("data: {}\n\n", request.answer()));
                peer.end_chunks();
                Then::Keep
            });
            let bounded = |config| brisk(config).frame_bytes_max(64 * 1024);
            let client = connect(server.endpoint(), bounded).await;
            assert_eq!(first_text(&client.call(echo(0)).await.expect("an answer")), message(0));
            echoes_work(&client, 1..20).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.failed, stats.oversized), (20, 0, 1), "{stats:?}");
            client.close().await;

            let server = odd_stream(era, |peer, request| {
                peer.chunk(&format!("data: {}\n\n", answer(&request.id(), &long_message(0, 200_000))));
                peer.end_chunks();
                Then::Keep
            });
            let client = connect(server.endpoint(), bounded).await;
            let error = client.call(echo(0)).await.expect_err("it is too long");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::FrameTooLarge, Fate::Answered), "{error}");
            echoes_work(&client, 1..20).await;
            client.close().await;
        }
    });
}

/// The answer has come and the stream goes on. The caller has it at once, the socket is not waited for, and the window of one
/// is free again.
#[test]
fn a_stream_that_goes_on_after_its_answer_holds_nobody_up() {
    story_alone(async {
        for era in ERAS {
            let server = HttpServer::start(era, |peer, request| {
                peer.begin_events();
                peer.chunk(&format!("data: {}\n\n", request.answer()));
                while peer.chunk(": and on\n\n") {
                    std::thread::sleep(A_BIT);
                }
                Then::Close
            });
            let client = connect(server.endpoint(), |config| {
                brisk(config).in_flight(1).timeout(Duration::from_secs(8))
            })
            .await;
            let began = Instant::now();
            echoes_work(&client, 0..6).await;
            println!("{era}: {:?} for six calls", began.elapsed());
            assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.failed), (6, 0), "{stats:?}");
            client.close().await;
            server.no_socket_is_left();
        }
    });
}

/// The stream ends without an answer and without an event id, or in the modern era with one: the call is lost, and no GET
/// goes out.
#[test]
fn a_stream_without_an_answer_loses_its_call() {
    story_alone(async {
        for (era, id) in [("legacy", ""), ("modern", ""), ("modern", "id: 7\n")] {
            for cut in [false, true] {
                let server = odd_stream(era, move |peer, _| {
                    peer.chunk(&format!("{id}retry: 1\ndata:\n\n"));
                    if cut {
                        return Then::Close;
                    }
                    peer.end_chunks();
                    Then::Keep
                });
                let client = connect(server.endpoint(), brisk).await;
                let error = client.call(echo(0)).await.expect_err("no answer comes");
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::ConnectionLost, Fate::Unknown),
                    "{error}"
                );
                echoes_work(&client, 1..20).await;
                let stats = books_balance(&client).await;
                assert_eq!((stats.failed, stats.streams_resumed), (1, 0), "{stats:?}");
                assert_eq!(server.count(|request| request.method == "GET"), 0, "{era}");
                client.close().await;
            }
        }
    });
}

/// With an id it is taken up again: after the server's `retry`, with the last id, as often as it takes. On the way a GET is
/// cut before its head, one in its head, and one ends in peace without a word.
#[test]
fn a_stream_with_an_event_id_is_taken_up_until_the_answer_comes() {
    story_alone(async {
        for cut in [false, true] {
            let asked = parking_lot::Mutex::new((String::new(), 0));
            let server = HttpServer::plain("legacy", move |peer, request| {
                if request.method == "GET" {
                    let mut asked = asked.lock();
                    asked.1 += 1;
                    match asked.1 {
                        1 => return Then::Close,
                        2 => {
                            peer.say("HTTP/1.1 200 OK\r\nContent-Ty");
                            return Then::Close;
                        }
                        3 => {
                            peer.begin_events();
                            peer.end_chunks();
                        }
                        4 => {
                            peer.begin_events();
                            peer.chunk("id: second\ndata:\n\n");
                            return Then::Close;
                        }
                        _ => {
                            peer.begin_events();
                            peer.chunk(&format!("id: third\ndata: {}\n\n", answer(&asked.0, &message(0))));
                            peer.end_chunks();
                        }
                    }
                    return Then::Keep;
                }
                if peer.opens(request) {
                    return Then::Keep;
                }
                if request.text() != message(0) {
                    peer.echo(request);
                    return Then::Keep;
                }
                asked.lock().0 = request.id();
                peer.begin_events();
                peer.chunk("id: first\nretry: 100\ndata:\n\n");
                if cut {
                    return Then::Close;
                }
                peer.end_chunks();
                Then::Keep
            });
            let client =
                connect(server.endpoint(), |config| brisk(config).timeout(Duration::from_secs(10))).await;
            let result = client.call(echo(0)).await.expect("an answer");
            assert_eq!(first_text(&result), message(0));
            let requests = server.requests();
            let begun = requests.iter().find(|request| request.is_call()).expect("the call").at;
            let gets: Vec<&Request> = requests.iter().filter(|request| request.method == "GET").collect();
            let ids: Vec<_> =
                gets.iter().map(|get| get.header("last-event-id").unwrap_or_default()).collect();
            assert_eq!(ids, ["first", "first", "first", "first", "second"]);
            let mut before = begun;
            for get in &gets {
                assert!(
                    get.at - before >= Duration::from_millis(99),
                    "no sooner than the server says: {:?}",
                    get.at - before
                );
                before = get.at;
            }
            echoes_work(&client, 1..20).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.failed, stats.streams_resumed), (20, 0, 5), "{stats:?}");
            client.close().await;
            server.no_socket_is_left();
        }
    });
}

/// The server never answers, and wants the client back at once each time. Calls end in their time, and the client comes back
/// twenty times a second for each of them, not more.
#[test]
fn a_stream_that_is_taken_up_for_ever_is_no_hot_loop() {
    story_alone(async {
        let server = HttpServer::plain("legacy", |peer, request| {
            if request.method != "GET" && peer.opens(request) {
                return Then::Keep;
            }
            if request.is_call() || request.method == "GET" {
                peer.begin_events();
                peer.chunk("id: 1\nretry: 0\ndata:\n\n");
                peer.end_chunks();
            } else {
                peer.accept();
            }
            Then::Keep
        });
        let client = connect(server.endpoint(), brisk).await;
        for end in all_ends((0..4).map(|n| client.call(echo(n))).collect()).await {
            let error = end.outcome.expect_err("no answer comes");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown), "{error}");
        }
        let came = server.count(|request| request.method == "GET");
        assert!((4..=4 * 14).contains(&came), "{came} times for four calls of {CALL_TIME:?}");
        until("the server is told of each", || server.count_rpc("notifications/cancelled") == 4).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        let at_rest = server.count(|request| request.method == "GET");
        assert!(at_rest <= came + 4, "streams of ended calls are not taken up: {came}, then {at_rest}");
        books_balance(&client).await;
        client.close().await;
        server.no_socket_is_left();
    });
}

/// HTTP+SSE: all answers come on one stream. Its server is killed and comes back; the calls in flight are lost, the stream is
/// asked for where it was at first, and calls go on.
#[test]
fn a_lost_common_stream_is_opened_anew() {
    story(async {
        let switches = ["--revisions", "legacy"];
        let (mut target, port) = Target::http_at_home("--sse", &switches);
        let client = connect(target.endpoint(), |config| {
            config
                .in_flight(8)
                .queue(20)
                .backoff(Duration::from_millis(1), Duration::from_millis(50))
                .attempts_max(1000)
        })
        .await;
        for round in 0..3 {
            echoes_work(&client, 0..50).await;
            target.freeze();
            let ends = tokio::spawn(all_ends((0..20).map(|n| client.call(echo(n))).collect()));
            until("calls are in flight", || client.stats().live == 20).await;
            target.kill();
            target = Target::http_at("--sse", port, &switches).expect("the port is free");
            for end in ends.await.expect("no panic") {
                if let Err(error) = end.outcome {
                    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "round {round}: {error}");
                }
            }
            books_balance(&client).await;
        }
        echoes_work(&client, 0..50).await;
        client.close().await;
        books_balance(&client).await;
    });
}
