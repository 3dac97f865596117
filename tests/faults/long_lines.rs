//! Lines that are longer than allowed, longer than sensible, or cut where it hurts.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use volley::{Call, Client, Endpoint, ErrorKind, Fate};
use volley_tests::byte_server::{ByteServer, Peer, answer};
use volley_tests::calls::{all_ends, books_balance, call, echo, echoes_work, first_text, message};
use volley_tests::target::{ERAS, Target};
use volley_tests::wait::{story, until_blocking};

use super::{MIB, RSS_BESIDES, connect, report_of_a_process};

/// Has a client in a process of its own make a call of this tool among 200 of `echo`, and gives its report.
fn flood(endpoint: &Endpoint, frame_bytes_max: u64, timeout_s: u64, tool: &str, arguments: &Value) -> Value {
    let [frame_bytes_max, timeout_s] = [frame_bytes_max, timeout_s].map(|number| number.to_string());
    let (endpoint, arguments) = (endpoint.to_string(), arguments.to_string());
    report_of_a_process(&["flood", &endpoint, &frame_bytes_max, &timeout_s, tool, &arguments])
}

/// 17 MiB, with the id in front or at the end: its own call fails, the others do not notice.
#[test]
fn a_line_of_17_mib_fails_its_own_call_only() {
    story(async {
        for shape in [&[][..], &["--id-last"], &["--id-last", "--string-id"]] {
            for era in ERAS {
                let target = Target::tcp(&[&["--revisions", era], shape].concat());
                let client = connect(target.endpoint(), |config| config).await;
                let before: Vec<Call> = (0..50).map(|n| client.call(echo(n))).collect();
                let long = client.call(call("blob", json!({"bytes": 17 * MIB})));
                echoes_work(&client, 50..100).await;
                for (n, end) in all_ends(before).await.into_iter().enumerate() {
                    assert_eq!(first_text(&end.outcome.expect("an answer")), message(n as u64));
                }
                let error = long.await.expect_err("it is too long");
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::FrameTooLarge, Fate::Answered),
                    "{error}"
                );
                let stats = books_balance(&client).await;
                assert_eq!((stats.oversized, stats.failed, stats.disconnects), (1, 1, 0), "{stats:?}");
                client.close().await;
            }
        }
    });
}

/// 100 MiB against a bound of 16 MiB: the line is skipped, and the client does not grow with it.
#[test]
fn a_line_that_is_too_long_is_skipped_in_bounded_memory() {
    for shape in [&[][..], &["--id-last"]] {
        let target = Target::tcp(shape);
        let report = flood(&target.endpoint(), 16 * MIB, 30, "blob", &json!({"bytes": 100 * MIB}));
        assert_eq!((&report["right"], &report["others"]), (&json!(200), &json!([])), "{report}");
        assert_eq!(
            (&report["large"]["kind"], &report["large"]["fate"]),
            (&json!("FrameTooLarge"), &json!("answered"))
        );
        // The buffer doubles until the bound is passed: at most twice the bound.
        let rss_bytes = report["rss_bytes"].as_u64().expect("a number");
        assert!(rss_bytes < 2 * 16 * MIB + RSS_BESIDES, "{} MiB", rss_bytes / MIB);
    }
}

/// The same with a small bound: what is skipped is never kept.
#[test]
fn the_memory_for_a_long_line_is_that_of_the_bound() {
    let target = Target::unix(&[]);
    let report = flood(&target.endpoint(), MIB, 30, "blob", &json!({"bytes": 200 * MIB}));
    assert_eq!(
        (&report["right"], &report["large"]["kind"]),
        (&json!(200), &json!("FrameTooLarge")),
        "{report}"
    );
    let rss_bytes = report["rss_bytes"].as_u64().expect("a number");
    assert!(rss_bytes < 2 * MIB + RSS_BESIDES, "{} MiB", rss_bytes / MIB);
}

/// A line begins as the answer to a call and never ends. Its connection is of no use any more, the other one is; memory
/// stays bounded, and closing does not wait for the end of the line.
#[test]
fn a_line_that_never_ends_takes_no_memory_and_no_other_connection() {
    let server = ByteServer::tcp("modern", |_, peer: &mut Peer| {
        while let Some(asked) = peer.next_call() {
            if asked.message == "without end" {
                peer.say(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":""#, asked.id).as_bytes());
                let piece = vec![b'x'; MIB as usize];
                while peer.say(&piece) {}
                return;
            }
            peer.say_line(&answer(&asked.id, &asked.message));
        }
    });
    let report = flood(&server.endpoint(), 16 * MIB, 3, "echo", &json!({"message": "without end"}));
    assert_eq!(report["large"]["kind"], "Timeout", "{report}");
    let others = report["others"].as_array().expect("a list");
    assert!(others.iter().all(|kind| kind == "Timeout"), "{report}");
    assert!(report["right"].as_u64().expect("a number") >= 100, "{report}");
    assert!(report["stats"]["bytes_in"].as_u64().expect("a number") > 64 * MIB, "it was long: {report}");
    let rss_bytes = report["rss_bytes"].as_u64().expect("a number");
    assert!(rss_bytes < 2 * 16 * MIB + RSS_BESIDES, "{} MiB", rss_bytes / MIB);
}

/// 100 MiB within the bound: the buffer doubles up to it, and all of that is given back when the answer is dropped.
#[test]
fn the_memory_of_an_answer_of_100_mib_is_bounded_and_given_back() {
    let target = Target::unix(&[]);
    let report = flood(&target.endpoint(), 128 * MIB, 60, "blob", &json!({"bytes": 100 * MIB}));
    assert_eq!((&report["right"], &report["others"]), (&json!(200), &json!([])), "{report}");
    assert!(report["large"]["bytes"].as_u64().expect("it arrives") > 100 * MIB, "{report}");
    let mib = |name: &str| report[name].as_u64().expect("a number") / MIB;
    assert!(mib("rss_bytes") < 2 * 128 + RSS_BESIDES / MIB, "{report}");
    assert!(mib("kept_bytes") < RSS_BESIDES / MIB, "{report}");
}

/// 100 MB where the bound allows it: it arrives whole, and the small ones around it are right.
#[test]
fn an_answer_of_100_mb_arrives_under_a_raised_bound() {
    const BYTES: usize = 100_000_000;
    story(async {
        let target = Target::tcp(&[]);
        let client = connect(target.endpoint(), |config| config.frame_bytes_max(128 << 20)).await;
        let before: Vec<Call> = (0..50).map(|n| client.call(echo(n))).collect();
        let long = client.call(call("blob", json!({"bytes": BYTES})));
        let raw = client.call_raw(call("blob", json!({"bytes": 1_000_000})));
        echoes_work(&client, 50..100).await;
        for (n, end) in all_ends(before).await.into_iter().enumerate() {
            assert_eq!(first_text(&end.outcome.expect("an answer")), message(n as u64));
        }
        let long = long.await.expect("it is within the bound");
        assert_eq!(first_text(&long).len(), BYTES);
        assert!(first_text(&long).bytes().all(|byte| byte == b'x'));
        let raw = raw.await.expect("it is within the bound").tool_result().expect("a result");
        assert_eq!(first_text(&raw).len(), 1_000_000);
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.oversized), (102, 0));
        client.close().await;
    });
}

/// One answer, cut into two writes at each of its bytes; the second is written only when the client has read the first.
#[test]
fn an_answer_may_be_cut_at_any_byte() {
    story(async {
        for era in ERAS {
            let (to_client, in_script) = {
                let client: Arc<OnceLock<Client>> = Arc::default();
                (Arc::clone(&client), client)
            };
            let script = move |_, peer: &mut Peer| {
                // With a carriage return, an empty line and a notification around it, as some servers have it.
                let lines = |id: &str, text: &str| {
                    let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"€"}}"#;
                    format!("\u{feff}{}\r\n\n{note}\n", answer(id, text)).into_bytes()
                };
                let mut cut = 0;
                while let Some(asked) = peer.next_call() {
                    let bytes = lines(&asked.id, &asked.message);
                    let (client, at) = (in_script.wait(), cut % bytes.len());
                    let before = client.stats().bytes_in;
                    peer.say(&bytes[..at]);
                    until_blocking("the first part is read", || {
                        client.stats().bytes_in == before + at as u64
                    });
                    peer.say(&bytes[at..]);
                    // The next call may be asked before the end of this piece was read.
                    until_blocking("the second part is read", || {
                        client.stats().bytes_in == before + bytes.len() as u64
                    });
                    cut += 1;
                }
            };
            let tcp = era == "modern";
            let server = if tcp { ByteServer::tcp(era, script) } else { ByteServer::unix(era, script) };
            let client = connect(server.endpoint(), |config| config.timeout(Duration::from_secs(20))).await;
            assert!(to_client.set(client.clone()).is_ok());
            for n in 0..200 {
                let result = client.call(echo(n)).await.expect("an answer");
                assert_eq!(first_text(&result), message(n));
            }
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.noise_lines, stats.malformed), (200, 0, 0), "{stats:?}");
            client.close().await;
        }
    });
}
