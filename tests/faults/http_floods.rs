//! A gibibyte where an answer should be: as one body of a length, as chunks, as one event, as a refusal, as a page that nobody
//! asked for, as a head. The client takes its bound and no more, in a process of its own so that its memory can be read.

use serde_json::{Value, json};
use volley_tests::calls::message;
use volley_tests::http_server::{HttpServer, Peer, Then};
use volley_tests::target::ERAS;

use super::{MIB, RSS_BESIDES, report_of_a_process};

const FRAME_BYTES_MAX: u64 = 4 * MIB;

/// Has a client in a process of its own make a call of `flood`, which is answered by `flood`, among 200 of `echo`.
fn flooded(era: &'static str, timeout_s: u64, flood: impl Fn(&mut Peer) + Send + Sync + 'static) -> Value {
    let server = HttpServer::start(era, move |peer, request| {
        if request.message["params"]["name"] == "flood" {
            flood(peer);
            return Then::Close;
        }
        if request.is_call() {
            peer.echo(request)
        } else {
            peer.accept()
        };
        Then::Keep
    });
    let [bound, timeout_s] = [FRAME_BYTES_MAX, timeout_s].map(|number| number.to_string());
    let arguments = json!({"message": message(0)}).to_string();
    let report = report_of_a_process(&["flood", &server.url(), &bound, &timeout_s, "flood", &arguments]);
    assert_eq!((&report["right"], &report["others"]), (&json!(200), &json!([])), "{report}");
    // The buffer doubles until the bound is passed, and what was received and what is put together stand side by side.
    let rss_bytes = report["rss_bytes"].as_u64().expect("a number");
    assert!(rss_bytes < 3 * FRAME_BYTES_MAX + RSS_BESIDES, "{} MiB", rss_bytes / MIB);
    report
}

/// Says a gibibyte in pieces of 64 KiB, or as much of it as the client takes.
fn gibibyte(peer: &mut Peer, chunked: bool) {
    let piece = "x".repeat(64 * 1024);
    for _ in 0..1024 * MIB / piece.len() as u64 {
        let goes_on = if chunked { peer.chunk(&piece) } else { peer.say(&piece) };
        if !goes_on {
            return;
        }
    }
}

#[track_caller]
fn is_too_large(report: &Value) {
    is_too_large_with(report, "answered");
}

#[track_caller]
fn is_too_large_with(report: &Value, fate: &str) {
    let large = &report["large"];
    assert_eq!((&large["kind"], &large["fate"]), (&json!("FrameTooLarge"), &json!(fate)), "{report}");
}

#[test]
fn a_body_with_a_length_of_a_gibibyte_is_not_read() {
    for era in ERAS {
        is_too_large(&flooded(era, 40, |peer| {
            peer.say(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n",
            );
            gibibyte(peer, false);
        }));
    }
}

#[test]
fn a_gibibyte_of_chunks_is_read_up_to_the_bound() {
    for era in ERAS {
        is_too_large(&flooded(era, 40, |peer| {
            peer.say(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            gibibyte(peer, true);
        }));
    }
}

#[test]
fn a_gibibyte_up_to_the_end_of_the_socket_is_read_up_to_the_bound() {
    for era in ERAS {
        is_too_large(&flooded(era, 40, |peer| {
            peer.say("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n");
            gibibyte(peer, false);
        }));
    }
}

#[test]
fn an_event_of_a_gibibyte_is_skipped() {
    for era in ERAS {
        let report = flooded(era, 40, |peer| {
            peer.begin_events();
            peer.chunk("data: ");
            gibibyte(peer, true);
            peer.chunk("\n\n");
        });
        // It has no id at its edges, so nobody can say whether it was the answer.
        is_too_large_with(&report, "unknown");
    }
}

/// A refusal's body is wanted for its JSON, and bounded like any other.
#[test]
fn a_refusal_of_a_gibibyte_is_bounded() {
    for era in ERAS {
        is_too_large(&flooded(era, 40, |peer| {
            peer.say(
                "HTTP/1.1 500 Oh\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            gibibyte(peer, true);
        }));
    }
}

/// Nobody wants these bytes, so nobody keeps them; the call ends with the page, or with its time.
#[test]
fn a_page_of_a_gibibyte_is_dropped_as_it_comes() {
    for era in ERAS {
        let report = flooded(era, 40, |peer| {
            peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: 1073741824\r\n\r\n");
            gibibyte(peer, false);
        });
        let kind = report["large"]["kind"].as_str().expect("an error");
        assert!(["ConnectionLost", "Timeout"].contains(&kind), "{report}");
        assert_eq!(report["large"]["fate"], "unknown", "{report}");
    }
}

/// A line of a head without an end, and many lines.
#[test]
fn a_head_of_a_gibibyte_is_read_up_to_its_bound() {
    for era in ERAS {
        for front in [
            "HTTP/1.1 200 OK\r\nX: ",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n",
        ] {
            let report = flooded(era, 40, move |peer| {
                peer.say(front);
                gibibyte(peer, false);
            });
            assert_eq!(report["large"]["kind"], "ConnectionLost", "{report}");
            assert!(report["stats"]["bytes_in"].as_u64().is_some_and(|bytes| bytes < 2 * MIB), "{report}");
        }
    }
}

/// The trailer after the last chunk, and empty events, are no way around the bounds either.
#[test]
fn endless_trailers_and_empty_events_are_bounded() {
    for era in ERAS {
        let report = flooded(era, 40, |peer| {
            peer.begin_events();
            peer.say("0\r\nX: ");
            gibibyte(peer, false);
        });
        assert_eq!(report["large"]["kind"], "ConnectionLost", "{report}");
        let report = flooded(era, 4, |peer| {
            peer.begin_events();
            let empty = "data:\n\n: a comment\n\nevent: nothing\n\n".repeat(1000);
            while peer.chunk(&empty) {}
        });
        assert_eq!(report["large"]["kind"], "Timeout", "{report}");
    }
}
