//! Servers that cannot be had: refused, hung up on, hanging in their opening, crashing, missing, speaking gibberish. The
//! reason comes soon, and the engine does not hammer at the door.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use volley::{Command, ConfigBuilder, Endpoint, Error, ErrorKind, Fate};
use volley_tests::byte_server::{ByteServer, Peer};
use volley_tests::calls::{all_ends, books_balance, echo, echoes_work};
use volley_tests::processes::{MARK, Mark, threads_named};
use volley_tests::target::{ERAS, Target};
use volley_tests::wait::{PATIENCE, story, until};

use super::{connect, try_connect};

fn brisk(config: ConfigBuilder) -> ConfigBuilder {
    config.backoff(Duration::from_millis(10), Duration::from_millis(50))
}

/// Fails to connect, and says so in time.
async fn unreachable(endpoint: Endpoint, configure: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Error {
    let began = Instant::now();
    let error = try_connect(endpoint, configure).await.err().expect("nobody is there");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    error
}

#[test]
fn a_wrong_port_is_told_at_once() {
    story(async {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let error = unreachable(format!("tcp://{free}").parse().expect("an endpoint"), |config| config).await;
        assert!(error.to_string().contains("refused"), "{error}");
        let error =
            unreachable("unix:/tmp/volley-no-such-socket".parse().expect("an endpoint"), |config| config)
                .await;
        assert!(error.to_string().contains("No such file"), "{error}");
    });
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    story(async {
        let error = unreachable(Command::new("volley-no-such-command").into(), |config| config).await;
        assert!(error.to_string().contains(r#"cannot start "volley-no-such-command""#), "{error}");
    });
}

/// `false`, and a server that takes its time to fail. It is started as often as attempts are allowed, no oftener.
#[test]
fn a_crash_loop_ends_with_the_reason() {
    story(async {
        let error = unreachable(Command::new("false").into(), |config| config).await;
        assert!(error.to_string().contains("exited") || error.to_string().contains("closed"), "{error}");
        let log = std::env::temp_dir().join(format!("volley-crashes-{}", Mark::new().as_str()));
        let script = format!("echo started >> {}; read line; exit 1", log.display());
        unreachable(Command::new("sh").args(["-c", &script]).into(), brisk).await;
        let starts = std::fs::read_to_string(&log).expect("it was started").lines().count();
        assert_eq!(starts, 3, "three attempts while none has ever succeeded");
        std::fs::remove_file(log).expect("it is there");
    });
}

/// Every accepted connection is closed at once. The attempts are counted on the other side.
#[test]
fn a_server_that_hangs_up_at_once_is_not_hammered_at() {
    story(async {
        let server = ByteServer::tcp("modern", |_, _| ());
        let error = unreachable(server.endpoint(), brisk).await;
        assert!(error.to_string().contains("closed") || error.to_string().contains("reset"), "{error}");
        assert_eq!(server.accepted(), 3, "three attempts while none has ever succeeded");
    });
}

/// It worked once. Now it hangs up on each connection, before or after the opening: attempts come ever slower, and end.
#[test]
fn a_server_that_begins_to_hang_up_is_given_up_and_tried_again_later() {
    story(async {
        for era in ERAS {
            let server = ByteServer::tcp(era, |number, peer: &mut Peer| {
                let calls = if (1..=5).contains(&number) { 0 } else { usize::MAX };
                // Those in between are closed when the first call has come.
                for _ in 0..=calls {
                    let Some(asked) = peer.next_call() else { return };
                    if calls == 0 {
                        return;
                    }
                    peer.say_line(&volley_tests::byte_server::answer(&asked.id, &asked.message));
                    if number == 0 {
                        return;
                    }
                }
            });
            let client = connect(server.endpoint(), |config| brisk(config).attempts_max(5)).await;
            client.call(echo(0)).await.expect("the first is answered");
            let (began, mut unreachable, mut lost) = (Instant::now(), 0, 0);
            // A call at a time, until one is answered again.
            while let Err(error) = client.call(echo(1)).await {
                match (error.kind(), error.fate()) {
                    (ErrorKind::ConnectionLost, Fate::Unknown) => lost += 1,
                    (ErrorKind::Unreachable, Fate::NotSent) => unreachable += 1,
                    other => panic!("{other:?}: {error}"),
                }
                assert!(began.elapsed() < PATIENCE, "it is never tried again");
                // Calls made while the client knows that nobody is there fail at once; do not burn a core on them.
                tokio::task::yield_now().await;
            }
            // One on each of the five, and perhaps one more on the first, between its answer and its end.
            assert!((5..=6).contains(&lost), "{lost}");
            assert!(unreachable > 0, "five attempts in a row are allowed");
            assert!(server.accepted() <= 8, "{} connections", server.accepted());
            books_balance(&client).await;
            client.close().await;
        }
    });
}

/// It accepts and reads, and does not answer the opening.
#[test]
fn a_server_that_hangs_in_its_opening_meets_the_deadline() {
    story(async {
        let target = Target::tcp(&["--ignore-handshake"]);
        let error = unreachable(target.endpoint(), |config| {
            brisk(config).connect_timeout(Duration::from_millis(200)).probe_timeout(Duration::from_millis(50))
        })
        .await;
        assert!(error.to_string().contains("did not answer its opening request within 200ms"), "{error}");
        let mark = Mark::new();
        let silent = Command::new("sleep").arg("1000").env(MARK, mark.as_str());
        let error = unreachable(silent.into(), |config| {
            brisk(config).connect_timeout(Duration::from_millis(100)).close_grace(Duration::from_millis(10))
        })
        .await;
        assert!(error.to_string().contains("did not answer its opening request within 100ms"), "{error}");
        until("what was started is gone", || mark.processes().is_empty()).await;
    });
}

/// It closes its stdout, or its stdin, and stays. Either is the end of the conversation, and of the process. That nobody
/// reads shows when something is written after that; with nothing left to write, the deadline of the opening tells.
#[test]
fn a_child_that_closes_one_of_its_pipes_is_ended() {
    story(async {
        for (script, reasons) in [
            ("exec 1>&-; sleep 1000", ["closed", "exited"]),
            ("exec 0<&-; sleep 1000", ["Broken pipe", "did not answer its opening request"]),
        ] {
            let mark = Mark::new();
            let command = Command::new("sh").args(["-c", script]).env(MARK, mark.as_str());
            let error = unreachable(command.into(), |config| {
                brisk(config).close_grace(Duration::from_millis(10)).connect_timeout(Duration::from_secs(1))
            })
            .await;
            assert!(reasons.iter().any(|reason| error.to_string().contains(reason)), "{error}");
            until("it is gone", || mark.processes().is_empty()).await;
        }
    });
}

/// Nobody waits for the connection any more: what was started is ended.
#[test]
fn giving_up_connecting_leaves_no_child_and_no_thread() {
    story(async {
        let mark = Mark::new();
        let command = Command::new("sleep").arg("1000").env(MARK, mark.as_str());
        let config = |config: ConfigBuilder| {
            // Nine shards, because then the name of the ninth is no other test's.
            config.connections(9).shards(9).close_grace(Duration::from_millis(10))
        };
        let connecting = tokio::spawn(try_connect(command.into(), config));
        mark.await_processes(1).await;
        until("the last shard is there", || threads_named("volley-shard-8") == 1).await;
        connecting.abort();
        until("the child is gone", || mark.processes().is_empty()).await;
        until("the threads are gone", || threads_named("volley-shard-8") == 0).await;
    });
}

/// It takes two connections and closes the others as they come. Those that work carry the calls; the others are tried in
/// vain, and cost no call its answer where each connection has a handshake. In the modern era a connection has none, so calls
/// are put on it before its end shows; those are told that nobody knows what became of them.
#[test]
fn connections_that_are_turned_away_harm_none_that_work() {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--max-connections", "2"]);
            let client = connect(target.endpoint(), |config| brisk(config).connections(4)).await;
            let (mut answered, mut lost) = (0, 0);
            // As long as it takes to try in vain some more times.
            while client.stats().disconnects < 10 {
                for end in all_ends((0..50).map(|n| client.call(echo(n))).collect()).await {
                    match end.outcome {
                        Ok(_) => answered += 1,
                        Err(error) => {
                            let what = (error.kind(), error.fate());
                            assert_eq!(what, (ErrorKind::ConnectionLost, Fate::Unknown), "{error}");
                            lost += 1;
                        }
                    }
                }
            }
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.failed), (answered, lost), "{stats:?}");
            assert!(lost == 0 || era == "modern" && lost < answered, "{lost} lost, {answered} answered");
            client.close().await;
        }
    });
}

/// It talks all the time and says nothing.
#[test]
fn gibberish_is_no_opening() {
    story(async {
        let server = ByteServer::tcp("modern", |_, peer: &mut Peer| {
            let gibberish =
                b"HTTP/1.1 400 Bad Request\r\n\r\n{\"half\": \n[[[[[\n\x00\xff\xfe{}\n{}\n[]\n\"id\":1\n";
            while peer.say(gibberish) {}
        });
        let error = unreachable(server.endpoint(), |config| {
            brisk(config).connect_timeout(Duration::from_millis(200))
        })
        .await;
        assert!(error.to_string().contains("did not answer its opening request"), "{error}");
    });
}

/// Nobody listens at first. The first attempt is refused, a later one is not.
#[test]
fn a_server_that_comes_up_late_is_reached() {
    story(async {
        let (target, port) = Target::tcp_at_home(&[]);
        let endpoint = target.endpoint();
        drop(target);
        let connecting = tokio::spawn(async move {
            connect(endpoint, |config| config.backoff(Duration::from_millis(500), Duration::from_secs(2)))
                .await
        });
        let _target = Target::tcp_at(port, &[]).expect("the port is free");
        let client = connecting.await.expect("it connects");
        echoes_work(&client, 0..10).await;
        books_balance(&client).await;
        client.close().await;
    });
}

/// A server goes away for longer than all attempts take. Calls are told so at once, with fate "not sent"; when it is back
/// the first call after the pause finds it.
#[test]
fn calls_fail_while_a_server_is_away_and_work_when_it_is_back() {
    story(async {
        for era in ERAS {
            let switches = ["--revisions", era];
            let (target, port) = Target::tcp_at_home(&switches);
            let client = connect(target.endpoint(), |config| brisk(config).attempts_max(3)).await;
            echoes_work(&client, 0..10).await;
            drop(target);
            let error = client.call(echo(0)).await.expect_err("nobody is there");
            assert!(matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::ConnectionLost), "{error}");
            let error = client.call(echo(1)).await.expect_err("nobody is there");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{error}");
            assert!(error.to_string().contains("refused"), "{error}");
            let mut bulk = client.bulk((0..100).map(echo));
            while let Some((index, outcome)) = bulk.next().await {
                let error = outcome.expect_err("nobody is there");
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::Unreachable, Fate::NotSent),
                    "{index}: {error}"
                );
            }
            let _target = Target::tcp_at(port, &switches).expect("the port is free");
            let began = Instant::now();
            while let Err(error) = client.call(echo(2)).await {
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{error}");
                assert!(began.elapsed() < PATIENCE, "it is never tried again");
                tokio::task::yield_now().await;
            }
            echoes_work(&client, 0..100).await;
            books_balance(&client).await;
            client.close().await;
        }
    });
}
