//! Those that share a shard: jobs, batches and single calls all get on, and a caller who does not look holds up no other.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use volley::{Client, Config, ConfigBuilder, Interceptor, blocking};
use volley_tests::{
    byte_server::ByteServer,
    calls::{echo, message},
    target::Target,
    wait::{PATIENCE, story},
};

/// Far longer than the calls before it take, and shorter than the job beside it.
const ITS_TURN: Duration = Duration::from_secs(10);

fn connect(target: &Target, config: ConfigBuilder) -> blocking::Client {
    blocking::Client::connect(target.endpoint(), config.build().expect("valid")).expect("the target is there")
}

/// Keeps an endless job going while `act` is done.
fn beside_a_job(client: &blocking::Client, act: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let job = scope.spawn(|| {
            let mut answered = 0_u64;
            for (_, outcome) in client.bulk((0..).map(echo)) {
                outcome.expect("the job's calls are answered");
                answered += 1;
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
            answered
        });
        while client.stats().answered < 20 {
            thread::sleep(Duration::from_millis(1));
        }
        act();
        over.store(true, Ordering::Relaxed);
        assert!(job.join().expect("the job goes well") >= 20);
    });
}

/// The job's next call stood ready for each place that became free, and single calls were sent when the job was over.
#[test]
fn single_calls_have_their_turn_beside_a_job() {
    let target = Target::tcp(&["--delay", "2ms"]);
    for window in [1, 4] {
        let client = connect(&target, Config::builder().in_flight(window).timeout(ITS_TURN));
        beside_a_job(&client, || {
            for n in 0..20 {
                let result = client.call(echo(n)).unwrap_or_else(|error| panic!("window {window}: {error}"));
                assert_eq!(result.text(), message(n));
            }
        });
        client.close();
    }
}

/// The first job was served first, whenever a place became free.
#[test]
fn jobs_and_batches_have_their_turn_beside_a_job() {
    let target = Target::tcp(&["--delay", "2ms"]);
    for window in [1, 4] {
        let client = connect(&target, Config::builder().in_flight(window).timeout(ITS_TURN));
        beside_a_job(&client, || {
            let outcomes = client.batch().calls((0..20).map(echo)).send().wait();
            for (n, outcome) in (0..).zip(outcomes) {
                assert_eq!(outcome.expect("an answer").text(), message(n));
            }
            assert_eq!(client.bulk((0..20).map(echo)).filter(|(_, outcome)| outcome.is_ok()).count(), 20);
        });
        client.close();
    }
}

struct Idle;

impl Interceptor for Idle {}

/// A call that is made and not awaited yet was told of the slot that became free, and told nobody.
#[test]
fn a_call_that_nobody_awaits_yet_takes_nobodys_place() {
    let target = Target::tcp(&["--delay", "20ms"]);
    story(async move {
        let config = Config::builder().interceptor(Idle).in_flight(1).queue(0).build().expect("valid");
        let client = Client::connect(target.endpoint(), config).await.expect("the target is there");
        let first = client.call(echo(0));
        let unawaited = client.call(echo(1));
        let others = client.clone();
        let second = tokio::spawn(async move { others.call(echo(2)).await });
        // It waits for the slot that the first one has.
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(first.await.expect("an answer").text(), message(0));
        let second = tokio::time::timeout(PATIENCE, second).await.expect("it is not slept over");
        assert_eq!(second.expect("no panic").expect("an answer").text(), message(2));
        assert_eq!(unawaited.await.expect("an answer").text(), message(1));
        client.close().await;
    });
}

/// A server that has one connection and wants no other: a job of two shards goes where it is answered.
#[test]
fn a_job_goes_around_a_shard_that_is_down() {
    let server = ByteServer::tcp("modern", |number, peer| {
        if number == 0 {
            peer.open();
            peer.answer_all();
        }
    });
    let config = Config::builder()
        .shards(2)
        .connections(2)
        .attempts_max(2)
        .backoff(Duration::from_millis(1), Duration::from_secs(60));
    let config = config.build().expect("valid");
    let client = blocking::Client::connect(server.endpoint(), config).expect("a connection");
    // A single call that came to the other shard shows that it has given up.
    while client.call(echo(0)).is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    let answered = client.bulk((0..5_000).map(echo)).filter(|(_, outcome)| outcome.is_ok()).count();
    assert_eq!(answered, 5_000);
    client.close();
}
