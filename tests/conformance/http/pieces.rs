//! Clauses 8, 11 and 12 over HTTP and WebSocket: answers in pieces, several in one, and such as are no messages.

use serde_json::{Value, json};
use volley::{Fate, Revision, ToolCall};
use volley_tests::{
    http_server::{Peer, Then},
    scripted_server::echoed,
};

use super::{echo, play_http, server};
use crate::{
    play::{ERAS, all_answered, auto, call, text},
    ways::{Way, in_both_eras, play_on},
};

/// Texts with characters of one to four bytes, and with what would end a line.
const TEXTS: [&str; 3] = ["\u{1F3D0}\u{E4}\u{20AC}x", "line\nfeed\r\n\u{2028}", "\\\"\u{0}\u{7f}"];

#[test]
fn must_08_a_message_has_no_raw_line_feed_on_any_way() {
    in_both_eras(|way, revision| {
        // Whoever reads lines has checked theirs already; a WebSocket's and a POST's text is read as one line as well.
        let (said, _) = play_on(
            way,
            revision,
            auto(),
            |_| None,
            |client, _| {
                for message in TEXTS {
                    let raw = format!("{{\n  \"message\":\n{}\r\n}}", Value::from(message));
                    assert_eq!(client.call(ToolCall::raw("echo", &raw).unwrap()).unwrap().text(), message);
                }
            },
        );
        assert_eq!(said.with("tools/call").len(), TEXTS.len(), "{way:?}");
    });
}

/// An answer as JSON with its length, as JSON in chunks, or as an event in chunks.
fn dressed(request: &volley_tests::http_server::Request, dress: usize) -> Vec<u8> {
    let body = echoed(&request.message).to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type:";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    match dress {
        0 => format!("{head} application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        1 => format!("{head} application/json\r\n{chunked}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        _ => {
            let event = format!(": hello\r\nid: 1\ndata: {body}\r\n\r\n");
            format!("{head} text/event-stream\r\n{chunked}{:x}\r\n{event}\r\n0\r\n\r\n", event.len())
        }
    }
    .into_bytes()
}

/// Answers come whole however `cut` has cut them, into packets as far as we can do it.
fn answers_come_whole(cut: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + Copy + 'static) {
    for revision in ERAS {
        for dress in 0..3 {
            let say = move |peer: &mut Peer, request: &volley_tests::http_server::Request| {
                if !request.is_call() {
                    return echo(peer, request);
                }
                for piece in cut(&dressed(request, dress)) {
                    peer.say(piece);
                }
                Then::Keep
            };
            let (_, stats) = play_http(revision, server(revision, say), auto().in_flight(2), |client, _| {
                for message in TEXTS {
                    let answer = client.call_tool("echo", &json!({"message": message})).unwrap();
                    assert_eq!(answer.text(), message);
                }
            });
            assert_eq!((stats.malformed, stats.failed), (0, 0), "{stats:?}");
        }
    }
}

#[test]
fn must_11_http_answers_come_byte_by_byte_with_cuts_inside_of_characters() {
    answers_come_whole(|bytes| bytes.iter().map(|byte| vec![*byte]).collect());
}

#[test]
fn must_11_http_answers_come_in_pieces_of_any_size() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    answers_come_whole(move |mut bytes| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(rng.usize(1..=bytes.len().min(60)));
            pieces.push(piece.to_vec());
            bytes = rest;
        }
        pieces
    });
}

/// What a body, an event or a text can be instead of a message.
const GARBAGE: [&str; 9] = [
    "Internal Server Error",
    "{",
    "{}",
    "[]",
    "null",
    "12345",
    "{\"jsonrpc\":\"2.0\"}",
    "<html>",
    "\u{1F3D0}",
];

#[test]
fn must_12_garbage_before_an_answer_disturbs_nothing_on_any_way() {
    in_both_eras(|way, revision| {
        play_on(
            way,
            revision,
            auto(),
            |message| {
                let garbage = GARBAGE.into_iter().map(str::to_owned);
                (message["method"] == "tools/call")
                    .then(|| garbage.chain([echoed(message).to_string()]).collect())
            },
            |client, _| all_answered(client, 10),
        );
    });
}

/// Where the garbage is all there is, only the call that got it fails.
#[test]
fn must_12_a_body_that_is_no_message_fails_its_own_call_only() {
    for revision in ERAS {
        for garbage in GARBAGE {
            play_on(
                Way::Json,
                revision,
                auto(),
                move |message| {
                    (message["params"]["arguments"]["message"] == text(0)).then(|| vec![garbage.to_owned()])
                },
                |client, _| {
                    let error = client.call(call(0)).expect_err(garbage);
                    assert_ne!(error.fate(), Fate::NotSent, "{garbage}: {error}");
                    for n in 1..10 {
                        assert_eq!(client.call(call(n)).unwrap().text(), text(n));
                    }
                },
            );
        }
    }
}

#[test]
fn must_12_garbage_outside_of_all_calls_ends_nothing() {
    // The stream for the server's own messages.
    let server = server(Revision::V2025_11_25, |peer, request| {
        if request.method != "GET" {
            return echo(peer, request);
        }
        peer.begin_events();
        for garbage in GARBAGE {
            peer.chunk(&format!("data: {garbage}\n\n"));
        }
        peer.chunk("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n");
        peer.bytes_until_end();
        Then::Close
    });
    let (_, stats) = play_http(Revision::V2025_11_25, server, auto().listen(true), |client, _| {
        volley_tests::patience::until_blocking("what follows is heard", || client.stats().notifications == 1);
        all_answered(client, 10);
    });
    assert_eq!((stats.failed, stats.disconnects), (0, 0), "{stats:?}");
}
