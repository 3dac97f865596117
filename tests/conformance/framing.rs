//! Clauses 8, 11, 12, 14 and 18: lines, pieces of lines, lines that are no messages, and arrays.

use serde_json::{Value, json};
use volley::{ErrorKind, Revision, ToolCall};
use volley_tests::scripted_server::echoed;

use crate::play::{ERAS, all_answered, auto, call, play, text};

#[test]
fn must_08_each_line_is_one_message_in_utf8_whatever_the_arguments() {
    let messages = [
        "line\nfeed\r\n",
        "\u{2028}\u{2029}\u{85}",
        "\u{1F3D0}\u{10FFFF}",
        "\u{0}\u{1}\u{1f}\u{7f}",
        "\\\"/",
        "{\"id\":1}",
    ];
    for revision in ERAS {
        let (record, _) = play(
            auto(),
            move |peer| peer.serve(revision),
            |client, _| {
                for message in messages {
                    let answer = client.call_tool("echo", &json!({"message": message})).unwrap();
                    assert_eq!(answer.text(), message);
                    let raw = format!("{{\n  \"message\":\n{}\r\n}}", Value::from(message));
                    assert_eq!(client.call(ToolCall::raw("echo", &raw).unwrap()).unwrap().text(), message);
                }
                client.notify("notifications/x", &json!({"text": "line\nfeed"})).unwrap();
                all_answered(client, 1);
            },
        );
        for line in record.lines() {
            std::str::from_utf8(&line.bytes).expect("UTF-8");
            let (last, rest) = line.bytes.split_last().unwrap();
            assert_eq!(*last, b'\n');
            assert!(!rest.contains(&b'\n') && !rest.contains(&b'\r'), "{line:?}");
        }
    }
}

/// What `cut` makes of the answers' bytes is written piece by piece, each in a packet of its own as far as we can do it.
fn answers_come_whole(cut: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + Copy + 'static) {
    for revision in ERAS {
        let (_, stats) = play(
            auto().in_flight(16),
            move |peer| {
                peer.open(revision);
                for _ in 0..4 {
                    let calls = peer.read_calls(16);
                    let bytes: String = calls.iter().map(|call| format!("{}\n", echoed(call))).collect();
                    cut(bytes.as_bytes()).iter().for_each(|piece| peer.say(piece));
                }
                peer.read_rest();
            },
            |client, _| {
                let said = |n: u64| format!("\u{1F3D0}\u{E4}\u{20AC} {n} \u{1F3D0}");
                let calls = (0..64).map(|n| ToolCall::new("echo", &json!({"message": said(n)})).unwrap());
                let mut ended = 0;
                for (n, outcome) in client.bulk(calls) {
                    assert_eq!(outcome.unwrap().tool_result().unwrap().text(), said(n));
                    ended += 1;
                }
                assert_eq!(ended, 64);
            },
        );
        assert_eq!((stats.noise_lines, stats.malformed), (0, 0), "{stats:?}");
    }
}

#[test]
fn must_11_answers_come_byte_by_byte_with_cuts_inside_of_characters() {
    answers_come_whole(|bytes| bytes.iter().map(|byte| vec![*byte]).collect());
}

#[test]
fn must_11_answers_come_in_pieces_of_any_size() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    answers_come_whole(move |mut bytes| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(rng.usize(1..=bytes.len().min(300)));
            pieces.push(piece.to_vec());
            bytes = rest;
        }
        pieces
    });
}

#[test]
fn must_11_many_answers_come_in_one_piece() {
    answers_come_whole(|bytes| vec![bytes.to_vec()]);
}

#[test]
fn must_12_lines_that_are_no_messages_disturb_nothing_after_them() {
    let garbage: [&[u8]; 15] = [
        b"Server listening on stdio",
        b"",
        b"   \t ",
        b"\r",
        b"{",
        b"}",
        b"{}",
        b"[]",
        b"[1,2",
        b"null",
        b"\"text\"",
        b"12345",
        b"\xff\xfe\xfd",
        b"{\"jsonrpc\":\"2.0\"}",
        b"{\"jsonrpc\":\"2.0\",\"id\":99999999,\"resu",
    ];
    for revision in Revision::all() {
        play(
            auto().revision(revision),
            move |peer| {
                peer.open(revision);
                for line in garbage {
                    let asked = peer.read_call();
                    peer.say([line, b"\n"].concat());
                    peer.echo(&asked);
                    peer.say([line, b"\r\n"].concat());
                }
                // A byte order mark belongs to nobody.
                let asked = peer.read_call();
                peer.say("\u{FEFF}");
                peer.echo(&asked);
                peer.read_rest();
            },
            |client, _| {
                for n in 0..=garbage.len() as u64 {
                    let answer = client
                        .call(call(n))
                        .unwrap_or_else(|error| panic!("call {n} in {revision}: {error}"));
                    assert_eq!(answer.text(), text(n));
                }
            },
        );
    }
}

#[test]
fn must_12_an_answer_that_breaks_off_fails_its_own_call_only() {
    for revision in ERAS {
        play(
            auto(),
            move |peer| {
                peer.open(revision);
                let calls = peer.read_calls(2);
                let whole = echoed(&calls[0]).to_string();
                let id = &calls[0]["id"];
                assert!(whole.contains(&format!(r#""id":{id}"#)));
                peer.say(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[\n"));
                peer.echo(&calls[1]);
                peer.echo_rest();
            },
            |client, _| {
                let (broken, whole) = (client.as_async().call(call(1)), client.as_async().call(call(2)));
                assert_eq!(pollster::block_on(whole).unwrap().text(), text(2));
                let error = pollster::block_on(broken).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::Decode | ErrorKind::Protocol), "{error}");
                assert_eq!(error.fate(), volley::Fate::Answered);
                all_answered(client, 3);
            },
        );
    }
}

#[test]
fn must_14_arrays_are_received_when_2025_03_26_is_negotiated() {
    let (record, stats) = play(
        auto(),
        |peer| {
            peer.open(Revision::V2025_03_26);
            let calls = peer.read_calls(3);
            peer.send(&json!([
                {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
                echoed(&calls[2]),
                {"jsonrpc": "2.0", "id": 1, "method": "ping"},
                echoed(&calls[0]),
                {"jsonrpc": "2.0", "id": "b", "method": "roots/list"},
                {"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "somebody's"}},
                7,
            ]));
            peer.say("[]\n");
            peer.say(format!(" [ {} ] \n", echoed(&calls[1])));
            peer.echo_rest();
        },
        |client, server| {
            all_answered(client, 3);
            server.wait_for(|line| line.is_response() && line.message["id"] == "b");
            all_answered(client, 10);
        },
    );
    let answers = record.responses();
    assert_eq!(answers[0], &json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!("b"), &json!(-32601)));
    assert_eq!(answers.len(), 2);
    assert_eq!((stats.notifications, stats.server_requests, stats.id_less), (1, 2, 1), "{stats:?}");
}

#[test]
fn must_18_arrays_are_no_messages_in_the_other_revisions() {
    for revision in Revision::all().filter(|revision| *revision != Revision::V2025_03_26) {
        let (_, stats) = play(
            auto().revision(revision),
            move |peer| {
                peer.open(revision);
                let asked = peer.read_call();
                let mut wrong = echoed(&asked);
                wrong["result"]["content"][0]["text"] = json!("from an array");
                peer.send(&json!([wrong]));
                peer.echo(&asked);
                peer.echo_rest();
            },
            // That no array leaves us, the record checks by itself.
            |client, _| all_answered(client, 1),
        );
        assert_eq!(stats.malformed, 1, "{revision}: {stats:?}");
    }
}
