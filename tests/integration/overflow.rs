//! Connections beyond the lasting ones: there when the windows are full, gone when nobody needs them.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use serde_json::json;
use volley::{Client, Config, ConfigBuilder, Endpoint, Inline, InlineOutcome, Tool};
use volley_tests::{
    byte_server::{ByteServer, Peer, answer},
    calls::{all_ends, books_balance, call, echo, echoes_work, first_text, message},
    processes::Mark,
    target::{self, ERAS, Target},
    wait::{story, until},
};

/// One lasting connection and three more, two calls on each.
fn config() -> ConfigBuilder {
    Config::builder().in_flight(2).overflow(3, Duration::from_millis(50))
}

async fn connect(endpoint: Endpoint, config: ConfigBuilder) -> Client {
    Client::connect(endpoint, config.build().expect("valid")).await.expect("the server is there")
}

/// Answers its two calls when three others have two as well: a client with fewer than four connections waits for ever.
fn four_by_two() -> impl Fn(usize, &mut Peer) + Send + Sync + 'static {
    let all = Arc::new(Barrier::new(4));
    move |_, peer| {
        while let (Some(one), Some(two)) = (peer.next_call(), peer.next_call()) {
            all.wait();
            for asked in [one, two] {
                peer.say_line(&answer(&asked.id, &asked.message));
            }
        }
    }
}

fn servers(era: &'static str) -> [ByteServer; 2] {
    [ByteServer::tcp(era, four_by_two()), ByteServer::unix(era, four_by_two())]
}

#[test]
fn single_calls_that_find_no_place_open_connections_which_close_when_idle() {
    story(async {
        for server in ERAS.into_iter().flat_map(servers) {
            let client = connect(server.endpoint(), config()).await;
            for round in 1..=3 {
                let calls = (0..8).map(|n| client.call(echo(n))).collect();
                for (n, end) in all_ends(calls).await.into_iter().enumerate() {
                    assert_eq!(first_text(&end.outcome.expect("an answer")), message(n as u64));
                }
                until("those that are idle are closed", || client.stats().overflow_closed == 3 * round).await;
                until("one is left", || client.ready_connections() == 1).await;
                assert_eq!(
                    (client.stats().overflow_opened, server.accepted()),
                    (3 * round, 1 + 3 * round as usize)
                );
            }
            assert_eq!(client.stats().disconnects, 0, "to close one is no accident");
            client.close().await;
            books_balance(&client).await;
        }
    });
}

#[test]
fn a_bulk_job_opens_all_of_them() {
    story(async {
        for server in ERAS.into_iter().flat_map(servers) {
            let client = connect(server.endpoint(), config()).await;
            let mut bulk = client.bulk((0..8).map(echo));
            while let Some((n, outcome)) = bulk.next().await {
                let result: volley::ToolResult = outcome.expect("an answer").result().expect("a result");
                assert_eq!(first_text(&result), message(n));
            }
            assert_eq!(server.accepted(), 4);
            client.close().await;
            books_balance(&client).await;
        }
    });
}

#[test]
fn an_inline_engine_opens_them_too() {
    for server in ERAS.into_iter().flat_map(servers) {
        let config = config().build().expect("valid");
        let mut engine = Inline::connect(&server.endpoint(), &config).expect("the server is there");
        let tool = Tool::new("echo");
        let (mut sent, mut answered) = (0, [false; 8]);
        while answered.contains(&false) {
            while sent < 8 && engine.submit(&tool, br#"{"message":"hi"}"#, sent).is_ok() {
                sent += 1;
            }
            let note = |tag: u64, _: u64, outcome: InlineOutcome<'_>| {
                assert!(matches!(outcome, InlineOutcome::Result(_)), "{tag}");
                answered[tag as usize] = true;
            };
            engine.turn(Duration::from_secs(10), note).expect("the server is there");
        }
        assert_eq!(server.accepted(), 4);
        engine.close(|_, _, _| ());
    }
}

/// A server that takes one connection only loses nothing by being asked for another, and is not asked for every call.
#[test]
fn calls_go_on_where_they_are_if_the_server_takes_no_more() {
    story(async {
        let server = ByteServer::tcp("legacy", |number, peer| {
            if number == 0 {
                peer.answer_all();
            }
        });
        let config = config().backoff(Duration::from_secs(1), Duration::from_secs(5));
        let client = connect(server.endpoint(), config).await;
        for round in 0..20 {
            let calls = (0..100).map(|n| client.call(echo(round * 100 + n))).collect();
            for end in all_ends(calls).await {
                end.outcome.expect("an answer");
            }
        }
        let asked_again = server.accepted() - 1;
        assert!((1..10).contains(&asked_again), "{asked_again} connections beside the one that it takes");
        client.close().await;
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.overflow_opened), (2_000, asked_again as u64));
    });
}

/// For stdio each is a process. When it is not needed any more nothing of it is left.
#[test]
fn processes_come_and_go() {
    story(async {
        for era in ERAS {
            let mark = Mark::new();
            let switches = ["--revisions", era, "--delay", "100ms"];
            // Idle for long enough that none goes before the last has come, on a busy machine too.
            let config = Config::builder().in_flight(1).overflow(3, Duration::from_secs(2));
            let client = connect(target::stdio(&mark, &switches), config).await;
            let lasting = mark.await_processes(1).await;
            // Until the others have started, at three calls waiting for each that is at work.
            let mut n = 0;
            while client.stats().overflow_opened < 3 || client.ready_connections() < 4 {
                echoes_work(&client, n..n + 4).await;
                n += 4;
            }
            mark.await_processes(4).await;
            until("they have gone again", || mark.processes() == lasting).await;
            echoes_work(&client, n..n + 1).await;
            client.close().await;
            mark.nobody_is_left();
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.disconnects), (n + 1, 0));
            assert_eq!(stats.overflow_closed, stats.overflow_opened, "each has gone in an orderly way");
        }
    });
}

/// All of them break at once, with calls on them. Nothing is lost, and there are as many again when they are needed.
#[test]
fn they_may_die_in_the_middle() {
    story(async {
        let (mut target, port) = Target::tcp_at_home(&["--delay", "20ms"]);
        let client = connect(target.endpoint(), config()).await;
        for round in 1..=3_u64 {
            let at_work = || call("progress", json!({"steps": 100_000, "ms": 5})).with_progress();
            let calls: Vec<_> = (0..8).map(|_| client.call(at_work())).collect();
            until("there are places for all", || client.ready_connections() == 4).await;
            // A turn reads after it has written. The one that is heard of first may have begun before the last call was made; the next had all of them.
            for _ in 0..2 {
                let heard = client.stats().notifications;
                until("all are at work", || client.stats().notifications > heard).await;
            }
            target.kill();
            for end in all_ends(calls).await {
                let error = end.outcome.expect_err("nobody answers");
                let story = (error.kind(), error.fate());
                assert_eq!(
                    story,
                    (volley::ErrorKind::ConnectionLost, volley::Fate::Unknown),
                    "round {round}"
                );
            }
            target = Target::tcp_at(port, &["--delay", "20ms"]).expect("its port is free");
            echoes_work(&client, 0..50).await;
        }
        client.close().await;
        let stats = books_balance(&client).await;
        assert!(stats.disconnects >= 4 * 3, "{} connections broke", stats.disconnects);
    });
}

/// A window over HTTP is that many sockets, so there is nothing beyond it.
#[test]
fn over_http_there_are_none() {
    story(async {
        let target = Target::http(&["--delay", "10ms"]);
        let client = connect(target.endpoint(), config()).await;
        echoes_work(&client, 0..50).await;
        let stats = client.stats();
        assert_eq!((stats.overflow_opened, stats.window), (0, 2));
        assert!(stats.http_sockets <= 3, "{} sockets", stats.http_sockets);
        client.close().await;
        books_balance(&client).await;
    });
}

/// Several shards share them out.
#[test]
fn shards_have_their_share() {
    story(async {
        let server = ByteServer::tcp("modern", {
            let all = Arc::new(Barrier::new(6));
            move |_, peer| {
                while let Some(asked) = peer.next_call() {
                    all.wait();
                    peer.say_line(&answer(&asked.id, &asked.message));
                }
            }
        });
        let config =
            Config::builder().shards(2).connections(2).in_flight(1).overflow(4, Duration::from_secs(60));
        let client = connect(server.endpoint(), config).await;
        // Single calls take turns at the shards.
        let calls = (0..6).map(|n| client.call(echo(n))).collect();
        for end in all_ends(calls).await {
            end.outcome.expect("an answer");
        }
        assert_eq!((server.accepted(), client.stats().overflow_opened), (6, 4));
        client.close().await;
        books_balance(&client).await;
    });
}
