//! Servers that die: by SIGKILL with a thousand calls in flight, in the middle of an answer, again and again.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use volley::{Call, Client, ErrorKind, Fate};
use volley_tests::byte_server::{ByteServer, Peer, answer};
use volley_tests::calls::{
    all_ends, books_balance, echo, echoes_work, first_text, long_echo, long_message, message,
};
use volley_tests::processes::{Mark, signal};
use volley_tests::target::{self, ERAS, Target};
use volley_tests::wait::{story, until};

use super::connect;

const CALLS: u64 = 1000;

/// What is promised: every call on a dead connection has ended so soon after.
const LOST_WITHIN: Duration = Duration::from_millis(100);

/// A machine with two cores and eight tests at a time may be late once. Not three times.
const ROUNDS: u32 = 3;

/// Puts a thousand calls on a frozen server, kills it, brings the next one, and looks how each call ended.
async fn killed_with_calls_in_flight(
    client: &Client,
    is_child: bool,
    mut freeze: impl AsyncFnMut(),
    mut kill: impl AsyncFnMut(),
    mut replace: impl AsyncFnMut(),
) {
    let mut soonest = Duration::MAX;
    for round in 0..ROUNDS {
        echoes_work(client, 0..10).await;
        let before = client.stats();
        freeze().await;
        let calls: Vec<Call> = (0..CALLS).map(|n| client.call(echo(n))).collect();
        let ends = tokio::spawn(all_ends(calls));
        // 130 bytes each, at least: so most of them have left, over a pipe of 64 KiB about the half.
        until("the calls are in flight", || {
            let now = client.stats();
            now.live == CALLS && now.bytes_out - before.bytes_out > 60_000
        })
        .await;
        let killed_at = Instant::now();
        kill().await;
        replace().await;
        let (mut lost, mut moved) = (0, 0);
        let mut last = killed_at;
        for (n, end) in ends.await.expect("no panic").into_iter().enumerate() {
            match end.outcome {
                Ok(result) => {
                    assert_eq!(first_text(&result), message(n as u64));
                    moved += 1;
                }
                Err(error) => {
                    assert_eq!(
                        (error.kind(), error.fate()),
                        (ErrorKind::ConnectionLost, Fate::Unknown),
                        "{error}"
                    );
                    lost += 1;
                    last = last.max(end.at);
                }
            }
        }
        soonest = soonest.min(last - killed_at);
        assert_eq!(lost + moved, CALLS);
        assert!(lost > 100, "round {round}: only {lost} were lost");
        let stats = books_balance(client).await;
        assert_eq!(stats.failed - before.failed, lost);
        assert_eq!(stats.moved - before.moved, stats.moved.min(moved), "{stats:?}");
        // Over TCP an attempt may come before the next server listens; that counts as well.
        assert!(!is_child || stats.disconnects - before.disconnects == 1, "one death is one loss: {stats:?}");
        assert!(last - killed_at < Duration::from_secs(5), "round {round}: {:?}", last - killed_at);
        if soonest <= LOST_WITHIN {
            break;
        }
    }
    assert!(soonest <= LOST_WITHIN, "the last call was told after {soonest:?}, at best");
    echoes_work(client, 0..100).await;
}

/// Over TCP the next server comes to the same address.
#[test]
fn calls_on_a_killed_tcp_server_end_within_100_ms() {
    story(async {
        for era in ERAS {
            let switches = ["--revisions", era];
            let (target, port) = Target::tcp_at_home(&switches);
            let client = connect(target.endpoint(), |config| config.in_flight(1000)).await;
            let target = tokio::sync::Mutex::new(target);
            killed_with_calls_in_flight(
                &client,
                false,
                async || target.lock().await.freeze(),
                async || target.lock().await.kill(),
                async || *target.lock().await = Target::tcp_at(port, &switches).expect("the port is free"),
            )
            .await;
            client.close().await;
            books_balance(&client).await;
        }
    });
}

/// Over stdio the engine brings the next server by itself.
#[test]
fn calls_on_a_killed_stdio_server_end_within_100_ms() {
    story(async {
        for era in ERAS {
            let mark = Mark::new();
            let client =
                connect(target::stdio(&mark, &["--revisions", era]), |config| config.in_flight(1000)).await;
            killed_with_calls_in_flight(
                &client,
                true,
                async || target::freeze(mark.await_processes(1).await[0]),
                async || signal(mark.await_processes(1).await[0], Signal::KILL),
                async || (),
            )
            .await;
            client.close().await;
            books_balance(&client).await;
            mark.nobody_is_left();
        }
    });
}

/// Long calls fill the pipe to a server that does not read; those of which no byte has left when it dies are answered by
/// the next one, and nobody is told of a failure that was none.
#[test]
fn calls_that_were_not_sent_move_to_the_next_server() {
    story(async {
        for era in ERAS {
            let mark = Mark::new();
            let client =
                connect(target::stdio(&mark, &["--revisions", era]), |config| config.in_flight(1000)).await;
            echoes_work(&client, 0..10).await;
            let before = client.stats();
            let pid = mark.await_processes(1).await[0];
            target::freeze(pid);
            let calls: Vec<Call> = (0..CALLS).map(|n| client.call(long_echo(n, 8000))).collect();
            let ends = tokio::spawn(all_ends(calls));
            // 8 MB of calls; a pipe takes one at most.
            until("all calls are taken on", || client.stats().live == CALLS).await;
            until("the pipe is full", || client.stats().bytes_out > before.bytes_out).await;
            signal(pid, Signal::KILL);
            let (mut lost, mut answered) = (0, 0);
            for (n, end) in ends.await.expect("no panic").into_iter().enumerate() {
                match end.outcome {
                    Ok(result) => {
                        assert_eq!(first_text(&result), long_message(n as u64, 8000));
                        answered += 1;
                    }
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), error.fate()),
                            (ErrorKind::ConnectionLost, Fate::Unknown),
                            "{error}"
                        );
                        lost += 1;
                    }
                }
            }
            let stats = books_balance(&client).await;
            assert!(lost > 0 && lost * 8000 < 2_000_000, "{lost} lost: what a pipe holds");
            assert_eq!(answered, CALLS - lost);
            // What stood in the output buffer has moved; the others had not been given to a connection yet.
            assert!(stats.moved > 0, "{stats:?}");
            client.close().await;
            books_balance(&client).await;
        }
    });
}

/// The server exits in the middle of an answer, again and again. Every call of the bulk ends once, with its own answer or
/// as lost, and half an answer is nobody's.
#[test]
fn a_server_that_dies_in_mid_frame_fails_only_what_it_had() {
    story(async {
        for era in ERAS {
            let mark = Mark::new();
            let switches = ["--revisions", era, "--die-after", "150"];
            let client = connect(target::stdio(&mark, &switches), |config| {
                config.in_flight(16).backoff(Duration::from_millis(1), Duration::from_millis(20))
            })
            .await;
            let mut bulk = client.bulk((0..1000).map(echo));
            let (mut seen, mut lost) = (vec![0; 1000], 0);
            while let Some((index, outcome)) = bulk.next().await {
                seen[index as usize] += 1;
                match outcome {
                    Ok(answer) => {
                        assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index))
                    }
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), error.fate()),
                            (ErrorKind::ConnectionLost, Fate::Unknown),
                            "{error}"
                        );
                        lost += 1;
                    }
                }
            }
            assert_eq!(seen, vec![1; 1000]);
            let stats = books_balance(&client).await;
            assert!((6..=6 * 32).contains(&lost), "six deaths, each with what was in flight: {lost}");
            assert_eq!(stats.disconnects, 6, "one death is one loss: {stats:?}");
            client.close().await;
            mark.nobody_is_left();
        }
    });
}

/// It answers what it has and hangs up right away. Answers that were sent are answers, though the end came with them.
#[test]
fn answers_that_come_with_the_end_are_not_lost() {
    story(async {
        for era in ERAS {
            let server = ByteServer::unix(era, |_, peer: &mut Peer| {
                let mut last_words = Vec::new();
                for _ in 0..64 {
                    let Some(asked) = peer.next_call() else { return };
                    last_words.extend_from_slice(answer(&asked.id, &asked.message).as_bytes());
                    last_words.push(b'\n');
                }
                peer.say(&last_words);
            });
            let client = connect(server.endpoint(), |config| config).await;
            for round in 0..10 {
                // Not before the next connection: what is put on one that has been hung up is lost, and rightly so.
                until("the next connection is there", || client.stats().connects == round + 1).await;
                echoes_work(&client, round * 64..(round + 1) * 64).await;
            }
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.failed), (640, 0));
            client.close().await;
        }
    });
}

/// The same without a death: the server shuts the connection in the middle of an answer.
#[test]
fn a_connection_dropped_in_mid_frame_is_opened_again() {
    story(async {
        for target in [Target::tcp(&["--drop-after", "150"]), Target::unix(&["--drop-after", "150"])] {
            let client = connect(target.endpoint(), |config| {
                config.in_flight(16).backoff(Duration::from_millis(1), Duration::from_millis(20))
            })
            .await;
            let mut bulk = client.bulk((0..1000).map(echo));
            let (mut outcomes, mut lost) = (0, 0);
            while let Some((index, outcome)) = bulk.next().await {
                outcomes += 1;
                match outcome {
                    Ok(answer) => {
                        assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index))
                    }
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), error.fate()),
                            (ErrorKind::ConnectionLost, Fate::Unknown),
                            "{error}"
                        );
                        lost += 1;
                    }
                }
            }
            assert_eq!(outcomes, 1000);
            assert!((6..=6 * 32).contains(&lost), "six ends, each with what was in flight: {lost}");
            let stats = books_balance(&client).await;
            assert_eq!(stats.disconnects, 6, "one end is one loss: {stats:?}");
            client.close().await;
        }
    });
}

/// A grandchild holds the pipes of a dead server open, so that its stdout does not end. The last bytes and the exit come
/// together; once the bytes are read, nothing but the exit is left to tell that nobody will say more.
#[test]
fn a_death_is_noticed_although_a_grandchild_holds_the_pipes() {
    story(async {
        for era in ERAS {
            let mark = Mark::new();
            let switches = ["--revisions", era, "--die-after", "20", "--fork-children", "1"];
            let client = connect(target::stdio(&mark, &switches), |config| {
                config.in_flight(1).backoff(Duration::from_millis(1), Duration::from_millis(20))
            })
            .await;
            let (began, mut lost) = (Instant::now(), 0);
            for n in 0..100 {
                match client.call(echo(n)).await {
                    Ok(result) => assert_eq!(first_text(&result), message(n)),
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), error.fate()),
                            (ErrorKind::ConnectionLost, Fate::Unknown),
                            "{error}"
                        );
                        lost += 1;
                    }
                }
            }
            assert_eq!(lost, 5, "every twentieth call");
            assert!(began.elapsed() < Duration::from_secs(20), "no call has waited for its time-out");
            books_balance(&client).await;
            client.close().await;
            mark.nobody_is_left();
        }
    });
}
