//! Handlers of the caller that panic or dawdle: calls are unaffected, and what was dropped is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::json;
use volley::Inbound;
use volley_tests::byte_server::{ByteServer, answer};
use volley_tests::calls::{books_balance, call, echoes_work, first_text};
use volley_tests::target::{ERAS, Target};
use volley_tests::wait::{story, until};

use super::{MIB, RSS_BESIDES, connect, report_of_a_process};

/// Each notification makes the handler panic. The next one is brought all the same.
#[test]
fn a_notification_handler_that_panics_harms_no_call() {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--notify", "1"]);
            let seen = Arc::new(AtomicU64::new(0));
            let sees = Arc::clone(&seen);
            let client = connect(target.endpoint(), |config| {
                config.on_notification(move |_| {
                    sees.fetch_add(1, Ordering::SeqCst);
                    // Unwinds as a panic does, and does not fill the test's output.
                    std::panic::resume_unwind(Box::new("planted"));
                })
            })
            .await;
            echoes_work(&client, 0..500).await;
            until("each was brought", || seen.load(Ordering::SeqCst) == 500).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.notifications, stats.notifications_dropped), (500, 500, 0));
            client.close().await;
        }
    });
}

/// The server asks something and the handler panics: the server gets an error, its call goes on.
#[test]
fn a_request_handler_that_panics_answers_with_an_error() {
    story(async {
        let target = Target::tcp(&["--revisions", "legacy"]);
        let client = connect(target.endpoint(), |config| {
            config.on_request(|request| match request.method() {
                "roots/list" => Ok(json!({"roots": []})),
                _ => std::panic::resume_unwind(Box::new("planted")),
            })
        })
        .await;
        let asks = |method: &str| client.call(call("request_client", json!({"method": method})));
        let result = asks("sampling/createMessage").await.expect("the tool passes on what it was told");
        assert!(first_text(&result).contains("-32603"), "{}", result.text());
        let result = asks("roots/list").await.expect("the tool passes on what it was told");
        assert!(first_text(&result).contains(r#""roots":[]"#), "{}", result.text());
        echoes_work(&client, 0..100).await;
        let stats = books_balance(&client).await;
        assert_eq!((stats.server_requests, stats.answered), (2, 102));
        client.close().await;
    });
}

/// Without a handler the server is refused, at once.
#[test]
fn a_request_that_nobody_takes_is_refused() {
    story(async {
        let target = Target::tcp(&["--revisions", "legacy"]);
        let client = connect(target.endpoint(), |config| config).await;
        let result =
            client.call(call("request_client", json!({"method": "roots/list"}))).await.expect("an answer");
        assert!(first_text(&result).contains("-32601"), "{}", result.text());
        let result = client.call(call("request_client", json!({"method": "ping"}))).await.expect("an answer");
        assert!(first_text(&result).contains(r#""result":{}"#), "{}", result.text());
        books_balance(&client).await;
        client.close().await;
    });
}

/// 250 MiB of notifications, to a handler that never comes back and a stream that nobody reads: either keeps 16 MiB of them, as the table of bounds
/// says, and the call behind them is answered. (They are so long that this bound is met before that of 1,024 messages.)
#[test]
fn a_flood_of_notifications_takes_the_memory_of_the_table() {
    const FLOOD: u64 = 4_000;
    const KEPT: u64 = 16 * MIB / (64 * 1024);
    for era in ERAS {
        let server = ByteServer::tcp(era, |_, peer| {
            let text = "x".repeat(64 * 1024);
            let note = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{text}"}}}}"#
            );
            while let Some(asked) = peer.next_call() {
                for _ in 0..FLOOD {
                    peer.say_line(&note);
                }
                peer.say_line(&answer(&asked.id, &asked.message));
            }
        });
        let report = report_of_a_process(&["swamped", &server.endpoint().to_string()]);
        let number = |name: &str| report["stats"][name].as_u64().expect("a number");
        assert_eq!(number("notifications"), FLOOD, "{report}");
        // Each of the two queues, and one in the handler's hands.
        assert!(number("notifications_dropped") >= 2 * (FLOOD - KEPT) - 1, "{report}");
        let rss_bytes = report["rss_bytes"].as_u64().expect("a number");
        assert!(rss_bytes < 2 * 16 * MIB + RSS_BESIDES, "{} MiB", rss_bytes / MIB);
    }
}

/// A server that asks more than the handler answers is told so, request by request, and none is kept beyond the queue.
#[test]
fn requests_beyond_the_queue_of_a_slow_handler_are_refused() {
    const REQUESTS: u64 = 3_000;
    story(async {
        let (go, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let answers = Arc::new(std::sync::Mutex::new((0_u64, 0_u64)));
        let counts = Arc::clone(&answers);
        let server = ByteServer::tcp("legacy", move |_, peer| {
            let Some(asked) = peer.next_call() else { return };
            for n in 0..REQUESTS {
                peer.say_line(&format!(r#"{{"jsonrpc":"2.0","id":"ask-{n}","method":"roots/list"}}"#));
            }
            peer.say_line(&answer(&asked.id, &asked.message));
            while let Some(message) = peer.next_message() {
                let mut counts = counts.lock().expect("no panic");
                match message["error"]["code"].as_i64() {
                    Some(-32603) => counts.1 += 1,
                    None => counts.0 += 1,
                    code => panic!("{code:?}"),
                }
            }
        });
        let client = connect(server.endpoint(), |config| {
            config.on_request(move |_| {
                let _ = wait.lock().expect("no panic").recv();
                Ok(json!({"roots": []}))
            })
        })
        .await;
        echoes_work(&client, 0..1).await;
        // One in the handler's hands and 1,024 in its queue.
        let seen = || *answers.lock().expect("no panic");
        until("all that did not fit are refused", || seen().1 >= REQUESTS - 1_025).await;
        drop(go);
        until("all are answered", || seen().0 + seen().1 == REQUESTS).await;
        assert!((1_024..=1_025).contains(&seen().0), "{:?}", seen());
        let stats = books_balance(&client).await;
        assert_eq!(stats.server_requests, REQUESTS);
        client.close().await;
    });
}

/// The handler does not come back while 3,000 notifications come in. All calls are answered meanwhile; what did not fit is
/// counted; once it comes back, it gets what did fit.
#[test]
fn a_slow_handler_holds_up_nothing_and_losses_are_counted() {
    const BURST: u64 = 3000;
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--notify", "1"]);
            let (go, wait) = mpsc::channel::<()>();
            let wait = std::sync::Mutex::new(wait);
            let handled = Arc::new(AtomicU64::new(0));
            let handles = Arc::clone(&handled);
            let client = connect(target.endpoint(), |config| {
                config.on_notification(move |_| {
                    // Ends with an error once the sender is gone, and from then on at once.
                    let _ = wait.lock().expect("no panic").recv();
                    handles.fetch_add(1, Ordering::SeqCst);
                })
            })
            .await;
            let mut stream = client.notifications();
            echoes_work(&client, 0..BURST).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.notifications), (BURST, BURST));
            // One in the handler's hands and 1,024 in its queue; 1,024 in the stream's; the rest twice lost.
            let lost = stats.notifications_dropped;
            assert!((2 * BURST - 2 * 1024 - 1..=2 * BURST - 2 * 1024).contains(&lost), "{stats:?}");
            drop(go);
            let handled_last = BURST - (lost - (BURST - 1024));
            until("what did fit is handled", || handled.load(Ordering::SeqCst) == handled_last).await;
            // The stream says first how much it missed.
            let Some(Inbound::Missed(missed)) = stream.next().await else { panic!("nothing was missed") };
            assert_eq!(missed, BURST - 1024);
            for _ in 0..1024 {
                assert!(matches!(stream.next().await, Some(Inbound::Notification(_))));
            }
            echoes_work(&client, 0..1).await;
            assert!(matches!(stream.next().await, Some(Inbound::Notification(_))), "and goes on");
            client.close().await;
            assert!(stream.next().await.is_none(), "and ends");
        }
    });
}
