//! Servers that fall out of step: they say more on a socket than they were asked, or something about another request.
//!
//! Over HTTP/1.1 nothing but its place says to which request a response belongs. What is taken for a refusal of a call that was
//! executed has it sent and executed again. `http_chaos` found that once (seed 16419871393853566997, on a busy machine): an answer came
//! twice, and the 404 that was due before was taken for a word on the next call. So a socket that is out of step is given up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use volley::{Client, ConfigBuilder, Error, ErrorKind, Fate, ToolResult};
use volley_tests::byte_server::answer;
use volley_tests::calls::{all_ends, books_balance, echo, echoes_work, first_text, message};
use volley_tests::http_server::{HttpServer, Peer, Request, Then};
use volley_tests::wait::story_alone;

use super::connect;

/// Long enough for the client to have read one thing before the next comes.
const MOMENT: Duration = Duration::from_millis(40);

fn one_at_a_time(config: ConfigBuilder) -> ConfigBuilder {
    config
        .in_flight(1)
        .timeout(Duration::from_secs(5))
        .backoff(Duration::from_millis(1), Duration::from_millis(20))
}

fn error(id: &str, code: i64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"no"}}}}"#)
}

/// Call 0 is answered, call 1 is answered by `odd`, who is told the id of call 0; then there are eighteen others. None may be executed
/// twice, and no session be taken for lost. Gives the outcome of call 1.
async fn out_of_step(
    odd: impl Fn(&mut Peer, &Request, &str) + Send + Sync + 'static,
) -> Result<ToolResult, Error> {
    let executed = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    let counts = Arc::clone(&executed);
    let first = Mutex::new(String::new());
    let server = HttpServer::plain("legacy", move |peer, request| {
        if peer.opens_with(request, "Mcp-Session-Id: s-0\r\n") {
            return Then::Keep;
        }
        if !request.is_call() {
            peer.accept();
            return Then::Keep;
        }
        *counts.lock().entry(request.text().to_owned()).or_default() += 1;
        if request.text() == message(0) {
            *first.lock() = request.id();
        }
        if request.text() == message(1) {
            let other = first.lock().clone();
            odd(peer, request, &other);
        } else {
            peer.echo(request);
        }
        Then::Keep
    });
    let client = connect(server.endpoint(), one_at_a_time).await;
    echoes_work(&client, 0..1).await;
    let outcome = client.call(echo(1)).await;
    // What the server says behind the answer is to be met by a free socket.
    tokio::time::sleep(MOMENT / 2).await;
    echoes_work(&client, 2..20).await;
    tokio::time::sleep(2 * MOMENT).await;
    let stats = books_balance(&client).await;
    assert_eq!((stats.sessions_lost, stats.moved), (0, 0), "{stats:?}");
    client.close().await;
    let executed = executed.lock();
    assert!(executed.len() == 20 && executed.values().all(|times| *times == 1), "{executed:?}");
    outcome
}

#[track_caller]
fn is_lost(outcome: Result<ToolResult, Error>) {
    let error = outcome.expect_err("the answer of another");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown), "{error}");
}

#[test]
fn a_socket_that_brought_the_answer_of_another_is_given_up() {
    story_alone(async {
        let lost = out_of_step(|peer, request, other| {
            peer.json("200 OK", &answer(other, &message(0)));
            std::thread::sleep(MOMENT);
            // About this call, and met by the next one.
            peer.respond("404 Not Found", "", "");
            let _ = request;
        });
        is_lost(lost.await);
        for status in ["400 Bad Request", "404 Not Found", "422 Unprocessable Content", "500 Oh", "503 Busy"]
        {
            let lost = out_of_step(move |peer, request, other| {
                peer.json(status, &error(other, -32000));
                std::thread::sleep(MOMENT);
                peer.respond("404 Not Found", "", "");
                let _ = request;
            });
            is_lost(lost.await);
        }
    });
}

#[test]
fn an_answer_of_another_behind_ones_own_gives_the_socket_up_too() {
    story_alone(async {
        let outcome = out_of_step(|peer, request, other| {
            peer.begin_events();
            peer.chunk(&format!("data: {}\n\n", request.answer()));
            peer.chunk(&format!("data: {}\n\n", answer(other, &message(0))));
            peer.end_chunks();
            std::thread::sleep(MOMENT);
            peer.respond("404 Not Found", "", "");
        })
        .await;
        assert_eq!(first_text(&outcome.expect("its own answer")), message(1));
    });
}

/// A response that nobody asked for comes in pieces, and the next call is made between the two.
#[test]
fn half_of_a_response_that_nobody_asked_for_is_no_word_on_the_next_call() {
    story_alone(async {
        for (half, rest) in [
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n", "not found"),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot", " found"),
            ("HTTP/1.1 404 No", "t Found\r\nContent-Length: 0\r\n\r\n"),
            ("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Le", "ngth: 0\r\n\r\n"),
            ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", "Content-Length: 0\r\n\r\n"),
        ] {
            for at_once in [true, false] {
                let outcome = out_of_step(move |peer, request, _| {
                    let own = request.answer();
                    let own = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{own}",
                        own.len()
                    );
                    if at_once {
                        peer.say(format!("{own}{half}"));
                    } else {
                        peer.say(own);
                        peer.say(half);
                    }
                    std::thread::sleep(MOMENT);
                    peer.say(rest);
                })
                .await;
                assert_eq!(first_text(&outcome.expect("its own answer")), message(1));
            }
        }
    });
}

/// A status says that the session is gone, and the body that the call was executed. The body knows better.
#[test]
fn a_failure_that_brings_the_calls_result_is_not_sent_again() {
    story_alone(async {
        for (status, number) in [("404 Not Found", 404), ("400 Bad Request", 400)] {
            let outcome = out_of_step(move |peer, request, _| {
                peer.json(status, &request.answer());
            })
            .await;
            let error = outcome.expect_err("a status");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Http, Fate::Answered), "{error}");
            assert!(error.to_string().contains(&number.to_string()), "{error}");
        }
    });
}

/// While a new session is opened, a call of the old one runs out of time. What a conforming server says to a cancellation without a
/// session must not end the opening, and with it the calls that go on.
#[test]
fn a_cancellation_during_a_renewal_harms_nobody() {
    story_alone(async {
        let opened = Arc::new(AtomicU64::new(0));
        let server = HttpServer::plain("legacy", move |peer, request| {
            if request.rpc() == "initialize" {
                let number = opened.fetch_add(1, Ordering::SeqCst);
                if number > 0 {
                    std::thread::sleep(Duration::from_millis(500));
                }
                peer.opens_with(request, &format!("Mcp-Session-Id: s-{number}\r\n"));
                return Then::Keep;
            }
            if request.rpc() == "notifications/cancelled" && request.header("mcp-session-id").is_none() {
                peer.respond("400 Bad Request", "", "");
                return Then::Keep;
            }
            if !request.is_call() {
                peer.opens(request);
                return Then::Keep;
            }
            match request.text() {
                text if text == message(0) => std::thread::sleep(Duration::from_secs(2)),
                text if text == message(1) && request.header("mcp-session-id") == Some("s-0") => {
                    std::thread::sleep(Duration::from_millis(100));
                    peer.respond("404 Not Found", "", "");
                    return Then::Keep;
                }
                text if text == message(2) => std::thread::sleep(Duration::from_secs(1)),
                _ => {}
            }
            peer.echo(request);
            Then::Keep
        });
        let client = connect(server.endpoint(), |config| one_at_a_time(config).in_flight(4)).await;
        let calls = vec![
            client.call(echo(0).timeout(Duration::from_millis(300))),
            client.call(echo(1)),
            client.call(echo(2)),
        ];
        let ends = all_ends(calls).await;
        let kinds: Vec<_> = ends.iter().map(|end| end.outcome.as_ref().err().map(Error::kind)).collect();
        assert_eq!(kinds, [Some(ErrorKind::Timeout), None, None]);
        let stats = books_balance(&client).await;
        assert_eq!((stats.sessions_lost, stats.answered), (1, 2), "{stats:?}");
        client.close().await;
    });
}

/// A server of the modern era that refuses call 0 once, because other headers are wanted; `tools` is what it does when it is asked for
/// its tools the second time.
fn refusing(tools: impl Fn(&mut Peer) -> Then + Send + Sync + 'static) -> HttpServer {
    let (has_listed, has_refused) = (AtomicBool::new(false), AtomicBool::new(false));
    HttpServer::plain("modern", move |peer, request| {
        if request.rpc() == "tools/list" && has_listed.swap(true, Ordering::SeqCst) {
            return tools(peer);
        }
        if peer.opens(request) {
            return Then::Keep;
        }
        match request.text() {
            text if text == message(0) && !has_refused.swap(true, Ordering::SeqCst) => {
                std::thread::sleep(MOMENT);
                peer.json("400 Bad Request", &error(&request.id(), -32020));
                return Then::Keep;
            }
            text if text == message(1) => std::thread::sleep(10 * MOMENT),
            _ => {}
        }
        peer.echo(request);
        Then::Keep
    })
}

/// Two calls at once, of which one has the tools listed anew, and others after them: all are answered.
async fn goes_on(client: &Client) {
    let ends = all_ends(vec![client.call(echo(1)), client.call(echo(0))]).await;
    for end in ends {
        end.outcome.unwrap_or_else(|error| panic!("{error} ({:?})", error.fate()));
    }
    echoes_work(client, 2..20).await;
    let stats = books_balance(client).await;
    assert_eq!((stats.failed, stats.answered, stats.disconnects), (0, 20, 0), "{stats:?}");
}

#[test]
fn a_list_of_tools_that_is_lost_or_never_comes_holds_no_call_up_and_ends_none() {
    story_alone(async {
        let losing: fn(&mut Peer) -> Then = |_| Then::Close;
        let silent: fn(&mut Peer) -> Then = |_| {
            std::thread::sleep(Duration::from_secs(3));
            Then::Close
        };
        let failing: fn(&mut Peer) -> Then = |peer| {
            peer.respond("500 Oh", "", "");
            Then::Keep
        };
        for tools in [losing, silent, failing] {
            let server = refusing(tools);
            let client = connect(server.endpoint(), |config| {
                one_at_a_time(config).in_flight(4).connect_timeout(Duration::from_millis(500))
            })
            .await;
            goes_on(&client).await;
            client.close().await;
        }
    });
}

/// The answers of the opening come in streams that go on for ever.
#[test]
fn an_opening_in_streams_that_do_not_end_leaves_a_place_for_calls() {
    story_alone(async {
        let server = HttpServer::plain("modern", |peer, request| {
            if request.is_call() {
                peer.echo(request);
                return Then::Keep;
            }
            let result = match request.rpc() {
                "server/discover" => volley_tests::scripted_server::discovered(&["2026-07-28"]),
                _ => serde_json::json!({"resultType": "complete", "tools": []}),
            };
            let body = serde_json::json!({"jsonrpc": "2.0", "id": request.message["id"], "result": result});
            peer.begin_events();
            peer.chunk(&format!("data: {body}\n\n"));
            while peer.chunk(": and so on\n\n") {
                std::thread::sleep(MOMENT);
            }
            Then::Close
        });
        let client = connect(server.endpoint(), one_at_a_time).await;
        echoes_work(&client, 0..20).await;
        books_balance(&client).await;
        client.close().await;
    });
}
