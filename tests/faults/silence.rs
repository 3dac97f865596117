//! Servers that do not read, do not answer, or stop doing either: callers get their time-outs, and nobody else is held up.

use std::time::{Duration, Instant};

use volley::{Call, ErrorKind, Fate};
use volley_tests::byte_server::{ByteServer, answer};
use volley_tests::calls::{
    all_ends, books_balance, call, echo, echoes_work, first_text, long_echo, long_message,
};
use volley_tests::target::{ERAS, Target};
use volley_tests::wait::{story, until};

use super::{MIB, RSS_BESIDES, connect, report_of_a_process, try_connect};

const SHORT: Duration = Duration::from_millis(100);

/// It accepts, and that is all: not even the opening is read.
#[test]
fn a_server_that_never_reads_is_unreachable_with_a_reason() {
    story(async {
        for target in [Target::tcp(&["--accept-silent"]), Target::unix(&["--accept-silent"])] {
            let began = Instant::now();
            let configure = |config: volley::ConfigBuilder| {
                config.connect_timeout(SHORT).backoff(Duration::from_millis(1), Duration::from_millis(10))
            };
            let error = try_connect(target.endpoint(), configure).await.err().expect("nobody answers");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent));
            assert!(error.to_string().contains("did not answer its opening request within 100ms"), "{error}");
            // Three attempts of 100 ms.
            assert!(
                began.elapsed() >= 3 * SHORT && began.elapsed() < Duration::from_secs(10),
                "{:?}",
                began.elapsed()
            );
        }
    });
}

/// One of two connections is never read from after its opening. Its calls time out; those on the other are answered.
#[test]
fn a_connection_that_is_not_read_harms_no_other() {
    story(async {
        for era in ERAS {
            let server = ByteServer::tcp(era, |number, peer| {
                if number == 0 {
                    // The first call proves that the connection is open; then it is left as it is.
                    peer.next_call();
                    std::thread::park();
                }
                peer.answer_all();
            });
            let client =
                connect(server.endpoint(), |config| config.connections(2).in_flight(64).timeout(5 * SHORT))
                    .await;
            until("both connections are ready", || client.ready_connections() == 2).await;
            let calls: Vec<Call> = (0..256).map(|n| client.call(long_echo(n, 16_000))).collect();
            let (mut answered, mut timed_out) = (0, 0);
            for (n, end) in all_ends(calls).await.into_iter().enumerate() {
                match end.outcome {
                    Ok(result) => {
                        assert_eq!(first_text(&result), long_message(n as u64, 16_000));
                        answered += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                        timed_out += 1;
                    }
                }
            }
            // The silent one gets a window at most; what waits behind it is taken by the other.
            assert!((1..=64).contains(&timed_out), "{timed_out} timed out, {answered} were answered");
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.timed_out), (answered, timed_out));
            assert_eq!((stats.disconnects, stats.connects), (0, 2), "a time-out closes nothing");
            client.close().await;
            books_balance(&client).await;
        }
    });
}

/// An endless job to a server that has stopped to read: no more is pulled than the job's buffer holds, and the memory is that of the table of bounds.
#[test]
fn a_server_that_reads_nothing_takes_the_memory_of_the_table() {
    let server = ByteServer::tcp("modern", |_, peer| {
        let asked = peer.next_call().expect("the first call");
        peer.say_line(&answer(&asked.id, &asked.message));
        std::thread::park();
    });
    let report = report_of_a_process(&["unread", &server.endpoint().to_string()]);
    let number = |name: &str| report[name].as_u64().expect("a number");
    assert!(number("timed_out") > 0, "{report}");
    // The job's buffer, and a claim that is being filled.
    assert!(number("pulled") <= number("timed_out") + 256 + 128, "{report}");
    // The output's mark, and 256 bodies in claims.
    assert!(number("rss_bytes") < 8 * MIB + RSS_BESIDES, "{report}");
}

/// A bulk job went by its own time-out alone once, and forgot those of its calls.
#[test]
fn a_call_of_a_bulk_job_has_its_own_time_out() {
    struct Idle;
    impl volley::Interceptor for Idle {}
    story(async {
        let target = Target::tcp(&["--never-answer"]);
        for is_intercepted in [false, true] {
            let client = connect(target.endpoint(), |config| {
                let config = config.timeout(Duration::from_secs(60));
                if is_intercepted { config.interceptor(Idle) } else { config }
            })
            .await;
            let begun = Instant::now();
            let mut bulk = client.bulk((0..9).map(|n| echo(n).timeout(SHORT * (1 + n as u32 % 2))));
            while let Some((n, outcome)) = bulk.next().await {
                let error = outcome.expect_err("nobody answers");
                let wanted = SHORT * (1 + n as u32 % 2);
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                assert!(error.to_string().contains(&format!("{wanted:?}")), "call {n}: {error}");
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
            client.close().await;
            books_balance(&client).await;
        }
    });
}

/// Calls time out, each is cancelled, and after a while its place in the window is free although no answer ever came:
/// the next window's calls are sent as well.
#[test]
fn the_window_of_a_server_that_never_answers_recovers() {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--never-answer"]);
            let client =
                connect(target.endpoint(), |config| config.in_flight(4).timeout(SHORT).orphan_debt(SHORT))
                    .await;
            let mut sent = 0;
            for round in 0..3 {
                // Before the debt is over a call may wait longer than its own time allows, and then it is never sent.
                until("the window is free again", || {
                    let stats = client.stats();
                    stats.cancellations_sent == sent
                })
                .await;
                let calls: Vec<Call> = (0..4).map(|n| client.call(echo(n).timeout(5 * SHORT))).collect();
                for end in all_ends(calls).await {
                    let error = end.outcome.expect_err("nobody answers");
                    assert_eq!(
                        (error.kind(), error.fate()),
                        (ErrorKind::Timeout, Fate::Unknown),
                        "round {round}: {error}"
                    );
                }
                sent += 4;
            }
            let stats = books_balance(&client).await;
            assert_eq!((stats.timed_out, stats.cancellations_sent), (12, 12));
            assert_eq!((stats.disconnects, stats.connects), (0, 1), "a time-out closes nothing");
            client.close().await;
        }
    });
}

/// It reads a byte a millisecond. That is slow, and nothing else is wrong with it.
#[test]
fn a_server_that_reads_slowly_gets_its_calls_whole() {
    story(async {
        let target = Target::tcp(&["--slow-read"]);
        let client = connect(target.endpoint(), |config| config).await;
        echoes_work(&client, 0..8).await;
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.disconnects), (8, 0));
        client.close().await;
    });
}

/// One call is slow. It times out, is cancelled, and the connection goes on.
#[test]
fn a_single_time_out_closes_nothing() {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era]);
            let client = connect(target.endpoint(), |config| config).await;
            let slow = client.call(call("sleep", serde_json::json!({"ms": 60_000})).timeout(SHORT));
            let error = slow.await.expect_err("it is slow");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown));
            echoes_work(&client, 0..100).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.timed_out, stats.cancellations_sent, stats.disconnects), (1, 1, 0));
            client.close().await;
        }
    });
}

/// An answer that comes after its call was given up is known for what it is, and dropped; a second one is unknown.
#[test]
fn late_answers_are_counted_and_dropped() {
    story(async {
        for era in ERAS {
            let server = ByteServer::tcp(era, |_, peer| {
                let Some(asked) = peer.next_call() else { return };
                // The cancellation is the sign that the call has timed out.
                assert_eq!(peer.next_cancellation().as_ref(), Some(&asked.id));
                let late = answer(&asked.id, "too late");
                peer.say_line(&late);
                peer.say_line(&late);
                peer.answer_all();
            });
            let client = connect(server.endpoint(), |config| config).await;
            let error = client.call(echo(0).timeout(SHORT)).await.expect_err("it is late");
            assert_eq!(error.kind(), ErrorKind::Timeout);
            echoes_work(&client, 1..10).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.late, stats.unknown), (1, 1), "{stats:?}");
            client.close().await;
        }
    });
}

/// More than a few calls time out and for seconds not a byte is heard: the connection is given up for another.
#[test]
fn a_connection_that_is_silent_to_many_calls_is_retired() {
    story(async {
        let target = Target::tcp(&["--never-answer"]);
        let client =
            connect(target.endpoint(), |config| config.in_flight(64).timeout(SHORT).orphan_debt(SHORT / 2))
                .await;
        let began = Instant::now();
        let mut n = 0;
        while client.stats().retired == 0 {
            assert!(began.elapsed() < Duration::from_secs(30), "it is not retired: {:?}", client.stats());
            let calls: Vec<Call> = (n..n + 64).map(|n| client.call(echo(n))).collect();
            n += 64;
            for end in all_ends(calls).await {
                let error = end.outcome.expect_err("nobody answers");
                // The last ones are those that were on the connection when it was given up.
                assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::ConnectionLost), "{error}");
            }
        }
        assert!(began.elapsed() > Duration::from_secs(5), "it had five seconds to say something");
        until("another is opened", || client.stats().connects == 2).await;
        books_balance(&client).await;
        client.close().await;
        books_balance(&client).await;
    });
}

/// The server answers its opening and then reads nothing more. Calls time out, few of them as they are long, so the connection was not suspect; but
/// its output was full, and no further call was ever put there: those of a bulk job, which have no time until they are, waited for ever.
#[test]
fn a_connection_whose_output_stands_still_is_retired() {
    const CALLS: u64 = 400;
    story(async {
        let server = ByteServer::tcp("modern", |number, peer| {
            if number == 0 {
                peer.next_call();
                std::thread::park();
            }
            peer.answer_all();
        });
        let client =
            connect(server.endpoint(), |config| config.in_flight(1024).timeout(Duration::from_secs(2))).await;
        let mut outcomes = client.bulk((0..CALLS).map(|n| long_echo(n, 100_000)));
        let (mut answered, mut timed_out) = (0, 0);
        while let Some((n, outcome)) = outcomes.next().await {
            match outcome {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert_eq!(
                        (error.kind(), error.fate()),
                        (ErrorKind::Timeout, Fate::Unknown),
                        "{n}: {error}"
                    );
                    timed_out += 1;
                }
            }
        }
        assert_eq!(answered + timed_out, CALLS);
        let stats = books_balance(&client).await;
        assert_eq!((stats.retired, stats.connects, stats.timed_out), (1, 2, timed_out), "{stats:?}");
        assert!(timed_out > 0 && timed_out <= 512, "few enough to be no suspicion: {timed_out}");
        client.close().await;
    });
}
