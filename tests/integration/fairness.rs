//! Those that share a shard: jobs, batches and single calls all get on, and a caller who does not look holds up no other.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};

use serde_json::json;
use volley::{Client, Config, ConfigBuilder, Driver, Interceptor, ToolCall, blocking};
use volley_tests::{
    byte_server::ByteServer,
    calls::{echo, message},
    target::Target,
    wait::{PATIENCE, story, until_blocking},
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

/// A client of two shards, of which one has been turned away as often as it tries.
fn half_down(server: &ByteServer, backoff_max: Duration) -> blocking::Client {
    half_down_with(server, Config::builder(), backoff_max)
}

fn half_down_with(server: &ByteServer, config: ConfigBuilder, backoff_max: Duration) -> blocking::Client {
    let config =
        config.shards(2).connections(2).attempts_max(2).backoff(Duration::from_millis(1), backoff_max);
    let client =
        blocking::Client::connect(server.endpoint(), config.build().expect("valid")).expect("a connection");
    // Two attempts each.
    until_blocking("the other shard has tried in vain", || server.accepted() >= 3);
    client
}

/// A server that has one connection and wants no other: calls and jobs of two shards go where they are answered. Every second single
/// call failed once.
#[test]
fn calls_and_jobs_go_around_a_shard_that_is_down() {
    let server = ByteServer::tcp("modern", |number, peer| {
        if number == 0 {
            peer.open();
            peer.answer_all();
        }
    });
    let client = half_down(&server, Duration::from_secs(60));
    // It has given up a moment after its last attempt.
    until_blocking("calls are answered", || (0..20).all(|n| client.call(echo(n)).is_ok()));
    for n in 0..200 {
        client.call(echo(n)).unwrap_or_else(|error| panic!("call {n}: {error}"));
    }
    let outcomes = client.batch().calls((0..20).map(echo)).send().wait();
    assert!(outcomes.iter().all(Result::is_ok));
    let answered = client.bulk((0..5_000).map(echo)).filter(|(_, outcome)| outcome.is_ok()).count();
    assert_eq!(answered, 5_000);
    client.close();
}

/// More calls than the shard that works has places for: those beyond went to the one that is down, which always has some, and failed.
#[test]
fn calls_wait_for_the_shard_that_works() {
    let server = ByteServer::tcp("modern", |number, peer| {
        if number == 0 {
            peer.open();
            peer.answer_all();
        }
    });
    let config = Config::builder().in_flight(1).queue(1);
    let client = half_down_with(&server, config, Duration::from_secs(60));
    until_blocking("calls are answered", || (0..20).all(|n| client.call(echo(n)).is_ok()));
    let calls = client.as_async().clone();
    story(async move {
        let all: Vec<_> = (0..200).map(|n| calls.call(echo(n))).collect();
        for (n, call) in (0..).zip(all) {
            let result = call.await.unwrap_or_else(|error| panic!("call {n}: {error}"));
            assert_eq!(result.text(), message(n));
        }
    });
    client.close();
}

/// Since no call goes to a shard that is down, none would make it try again.
#[test]
fn a_shard_that_is_down_tries_again_by_itself() {
    let is_open = Arc::new(AtomicBool::new(false));
    let opens = Arc::clone(&is_open);
    let server = ByteServer::tcp("modern", move |number, peer| {
        if number == 0 || opens.load(Ordering::SeqCst) {
            peer.open();
            peer.answer_all();
        }
    });
    let client = half_down(&server, Duration::from_millis(50));
    is_open.store(true, Ordering::SeqCst);
    let ready = |stats: volley::Stats| stats.connects - stats.disconnects == 2;
    until_blocking("both connections are ready", || is_open.load(Ordering::SeqCst) && ready(client.stats()));
    client.close();
}

/// Tasks that make one call after the other took, in the same poll, the slots that they had freed, and a call that waited for one of these
/// waited for as long as they went on. On one thread nothing is left to chance.
#[test]
fn a_waiting_call_has_its_turn_among_tasks_that_never_pause() {
    let target = Target::tcp(&[]);
    for driver in [Driver::Thread, Driver::Tokio] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            // Slots for two calls: one in flight, one behind it.
            let config = Config::builder().in_flight(1).queue(1).driver(driver).build().expect("valid");
            let client = Client::connect(target.endpoint(), config).await.expect("the target is there");
            let over = Arc::new(AtomicBool::new(false));
            let busy: Vec<_> = (0..2)
                .map(|task| {
                    let (client, over) = (client.clone(), Arc::clone(&over));
                    tokio::spawn(async move {
                        let mut answered = 0_u64;
                        while !over.load(Ordering::Relaxed) {
                            client.call(echo(task)).await.expect("an answer");
                            answered += 1;
                        }
                        answered
                    })
                })
                .collect();
            // Both slots are theirs.
            while client.stats().answered < 20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for n in 100..120 {
                let call = tokio::time::timeout(ITS_TURN, client.call(echo(n)));
                let result = call.await.unwrap_or_else(|_| panic!("{driver:?}: call {n} has no turn"));
                assert_eq!(result.expect("an answer").text(), message(n));
            }
            over.store(true, Ordering::Relaxed);
            for task in busy {
                assert!(task.await.expect("no task panics") > 0);
            }
            client.close().await;
        });
    }
}

/// Ten thousand tasks on a hundred slots: who had just been answered found the place free before those who were told of it had looked, so that
/// a hundred tasks made a hundred calls each while the others made none, and one call in a hundred took a second. On one thread, which
/// polls who was woken first first, everybody's calls are as many as everybody else's, once all of them stand in line: before that a task whose
/// answers are there when it looks, as they are if the shard has taken its core meanwhile, has made twenty calls before the next is polled at all.
#[test]
fn callers_take_turns_when_there_are_more_than_places() {
    const CALLERS: usize = 200;
    const TURNS: usize = 20;
    const PLACES: usize = 4;
    let target = Target::tcp(&[]);
    for driver in [Driver::Thread, Driver::Tokio] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let config = Config::builder().in_flight(2).queue(2).driver(driver).build().expect("valid");
            let client = Client::connect(target.endpoint(), config).await.expect("the target is there");
            let slow = ToolCall::new("sleep", &json!({"ms": 500})).expect("an object");
            let taken: Vec<_> = (0..PLACES).map(|_| client.call(&slow)).collect();
            let calls: Arc<[AtomicUsize]> = (0..CALLERS).map(|_| AtomicUsize::new(0)).collect();
            let begun = Arc::new(AtomicUsize::new(0));
            let callers: Vec<_> = (0..CALLERS)
                .map(|task| {
                    let (client, calls, begun) = (client.clone(), Arc::clone(&calls), Arc::clone(&begun));
                    tokio::spawn(async move {
                        begun.fetch_add(1, Ordering::Relaxed);
                        // The first to be done ends it for all.
                        while calls.iter().all(|made| made.load(Ordering::Relaxed) < TURNS) {
                            client.call(echo(task as u64)).await.expect("an answer");
                            calls[task].fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            for (nth, slow) in taken.into_iter().enumerate() {
                slow.await.expect("it sleeps, and says so");
                assert!(nth > 0 || begun.load(Ordering::Relaxed) == CALLERS, "they all stand in line");
            }
            for caller in callers {
                caller.await.expect("no task panics");
            }
            let mut made: Vec<usize> = calls.iter().map(|made| made.load(Ordering::Relaxed)).collect();
            made.sort_unstable();
            assert!(made[0] >= TURNS - 2, "{driver:?}: as many calls as each of them made: {made:?}");
            client.close().await;
        });
    }
}

/// A call that was told of the only place and is polled no more: those behind it, and those that came later, slept beside a free place.
#[test]
fn a_call_that_is_polled_no_more_takes_nobodys_place() {
    let target = Target::tcp(&[]);
    story(async move {
        let config = Config::builder().in_flight(1).queue(0).build().expect("valid");
        let client = Client::connect(target.endpoint(), config).await.expect("the target is there");
        let first = client.call(echo(0));
        let mut left_alone = Box::pin(client.call(echo(1)));
        // It stands in line, with a waker that wakes nobody who would poll it.
        assert!(poll_once(left_alone.as_mut()).await.is_pending());
        let behind = client.clone();
        let behind = tokio::spawn(async move { behind.call(echo(2)).await });
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(first.await.expect("an answer").text(), message(0));
        let later = client.clone();
        let later = tokio::spawn(async move { later.call(echo(3)).await });
        for (n, call) in [(2, behind), (3, later)] {
            let outcome = tokio::time::timeout(PATIENCE, call).await.expect("it is not slept over");
            assert_eq!(outcome.expect("no panic").expect("an answer").text(), message(n));
        }
        assert_eq!(left_alone.await.expect("an answer").text(), message(1));
        client.close().await;
    });
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
