//! Several connections, several shards, and a thousand connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use volley::{Config, ErrorKind, Inline, Revision, Tool};
use volley_tests::{
    byte_server::ByteServer,
    target::Target,
    wait::{PATIENCE, until_blocking},
};

use crate::servers::{Account, Server, echoes, pinned};

#[test]
fn shards_and_connections_share_the_calls_over_every_transport_in_both_eras() {
    for server in Server::targets().into_iter().chain(Server::rmcps()) {
        for revision in [None, Some(Revision::V2025_11_25)] {
            for (shards, connections) in [(1, 3), (2, 2), (3, 8)] {
                let client =
                    server.connect(pinned(revision).shards(shards).connections(connections).in_flight(16));
                wait_until_ready(&client, connections);
                let mut account = Account::new(2_000);
                client.bulk(echoes(2_000)).blocking().for_each(|(n, outcome)| account.enter_raw(n, outcome));
                pollster::block_on(client.close());
                let stats = client.stats();
                assert_eq!((stats.connects, stats.disconnects), (connections as u64, 0), "{}", server.name);
                account.close(&stats, 0);
                assert_eq!(client.ready_connections(), 0);
            }
        }
    }
}

#[test]
fn a_thousand_connections_stand_and_carry_calls() {
    for revision in [None, Some(Revision::V2025_11_25)] {
        let server = Server::target(&[]);
        let started = Instant::now();
        let client = server.connect(pinned(revision).shards(2).connections(1_000).in_flight(1));
        wait_until_ready(&client, 1_000);
        println!("1,000 connections stand after {:?}", started.elapsed());
        let mut account = Account::new(20_000);
        client.bulk(echoes(20_000)).blocking().for_each(|(n, outcome)| account.enter_raw(n, outcome));
        pollster::block_on(client.close());
        let stats = client.stats();
        assert_eq!((stats.connects, stats.disconnects), (1_000, 0), "{stats:?}");
        account.close(&stats, 0);
    }
}

#[test]
fn an_inline_engine_carries_a_thousand_connections_too() {
    let server = Server::target(&[]);
    let config = Config::builder().connections(1_000).in_flight(1).build().unwrap();
    let mut engine = Inline::connect(&server.endpoint, &config).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while engine.ready_connections() < 1_000 {
        engine.turn(Duration::from_millis(100), |_, _, _| ()).unwrap();
        assert!(Instant::now() < until, "{} are ready", engine.ready_connections());
    }
    assert_eq!(engine.room(), 1_000);
    engine.close(|_, _, _| ());
}

/// Ten thousand windows filled before anything was written were gigabytes. Of many connections each takes no more calls than its share of
/// the output's memory holds, until they have been written; and then whoever had to leave off goes on, before any answer comes.
#[test]
fn full_windows_are_written_piece_by_piece_and_no_answer_is_waited_for_in_between() {
    let target = Target::tcp(&["--never-answer"]);
    let config = Config::builder().connections(300).in_flight(512).revision(Revision::V2026_07_28);
    let mut engine = Inline::connect(&target.endpoint(), &config.build().unwrap()).unwrap();
    while engine.ready_connections() < 300 {
        engine.turn(Duration::from_millis(100), |_, _, _| ()).unwrap();
    }
    let tool = Tool::new("echo");
    let (mut calls, mut turns) = (0, 0);
    loop {
        let written = engine.stats().bytes_out;
        while engine.submit(&tool, br#"{"message":"hello"}"#, calls).is_ok() {
            calls += 1;
        }
        if calls == 300 * 512 {
            break;
        }
        // Nothing will come, so a turn that slept would end with the test's patience.
        engine.turn(Duration::from_secs(3600), |_, _, _| panic!("an answer")).unwrap();
        let bytes = engine.stats().bytes_out - written;
        assert!(bytes <= 300 * (32 << 10), "{bytes} bytes in one turn");
        turns += 1;
    }
    assert!(turns > 1, "all was taken at once: the windows are too small for this test");
    engine.close(|_, _, _| ());
}

/// A turn reads 32 lines and leaves the others to the next. When the first 32 had nothing more to say, as after answers that fill a read to
/// the last byte, it slept beside the others, of which the poll had told already: their answers lay there until the next time-out.
/// (Found by reading, in the change that brought the bound.)
#[test]
fn lines_that_have_nothing_more_to_say_hide_no_others() {
    const LONG: usize = 32;
    const SHORT: usize = 8;
    // How many of the connections may answer by now, and how many have.
    let (may_answer, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (told, count) = (Arc::clone(&may_answer), Arc::clone(&answered));
    let server = ByteServer::unix("modern", move |number, peer| {
        let Some(call) = peer.next_call() else { return };
        until_blocking("this connection's turn", || number < told.load(Ordering::SeqCst));
        let text = |len: usize| {
            let text = "x".repeat(len);
            format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":"{text}"}}],"resultType":"complete"}}}}"#,
                call.id
            )
        };
        // With its line feed, the whole of one read.
        let bytes = if number < LONG { READ_SLICE_BYTES - 1 - text(0).len() } else { 5 };
        peer.say_line(&text(bytes));
        count.fetch_add(1, Ordering::SeqCst);
        peer.next_call();
    });
    let config = Config::builder().connections(LONG + SHORT).in_flight(1).build().unwrap();
    let mut engine = Inline::connect(&server.endpoint(), &config).unwrap();
    while engine.ready_connections() < LONG + SHORT {
        engine.turn(Duration::from_millis(100), |_, _, _| ()).unwrap();
    }
    let tool = Tool::new("echo");
    for n in 0..LONG + SHORT {
        engine.submit(&tool, br#"{"message":"hello"}"#, n as u64).unwrap();
    }
    let mut ended = 0;
    engine.turn(Duration::ZERO, |_, _, _| ended += 1).unwrap();
    for (connections, answers) in [(LONG, LONG), (LONG + SHORT, LONG + SHORT)] {
        may_answer.store(connections, Ordering::SeqCst);
        until_blocking("they have answered", || answered.load(Ordering::SeqCst) == connections);
        let (began, before) = (Instant::now(), ended);
        // One turn for what is there, and it may not sleep beside it. (If it does, the engine's own care wakes it after 5 s.)
        engine.turn(PATIENCE, |_, _, _| ended += 1).unwrap();
        let took = began.elapsed();
        assert!(ended > before && took < Duration::from_secs(3), "{ended} of {answers} after {took:?}");
    }
    engine.close(|_, _, _| ());
}

/// Connections that the server does not want are tried again and again, and the others carry the calls. With a handshake, that
/// is: without one, a connection takes calls as soon as it stands, and those are lost with it.
#[test]
fn the_connections_that_stand_carry_the_calls_of_those_that_do_not() {
    let target = Target::tcp(&["--max-connections", "2"]);
    let config = pinned(Some(Revision::V2025_11_25)).connections(4).in_flight(8);
    let config = config.backoff(Duration::from_millis(5), Duration::from_millis(20)).build().unwrap();
    let client = volley::blocking::Client::connect(target.endpoint(), config).unwrap();
    let mut account = Account::new(2_000);
    client.bulk(echoes(2_000)).for_each(|(n, outcome)| account.enter_raw(n, outcome));
    client.close();
    account.close(&client.stats(), 0);
}

/// The first shard finds out the era for all. When it could not, because the server was gone for good, calls on the other shards waited
/// for it until their time was over, and failed as if the server were slow.
#[test]
fn every_shard_says_that_the_server_is_unreachable() {
    let mut target = Target::tcp(&[]);
    let config = Config::builder().shards(3).connections(3).timeout(Duration::from_secs(60)).attempts_max(2);
    let config = config.backoff(Duration::from_millis(5), Duration::from_millis(20)).build().unwrap();
    let client = volley::blocking::Client::connect(target.endpoint(), config).unwrap();
    wait_until_ready(client.as_async(), 3);
    target.kill();
    let started = Instant::now();
    for n in 0..60 {
        let error = client.call(crate::servers::echo(n)).expect_err("the server is gone");
        assert!(
            matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::ConnectionLost),
            "call {n}: {error}"
        );
    }
    println!("60 calls were refused within {:?}", started.elapsed());
    client.close();
}

fn wait_until_ready(client: &volley::Client, connections: usize) {
    until_blocking("all connections are ready", || client.ready_connections() == connections);
}

/// What one read asks for, as the engine has it: of it hangs what the test above is about, and nothing else.
const READ_SLICE_BYTES: usize = 32 << 10;
