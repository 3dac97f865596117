//! Interceptors against real sockets: what they see, what they may do, and what they cannot break.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use volley::{
    Client, Config, ConfigBuilder, Era, Error, ErrorKind, Fate, Inline, InterceptedCall, Interceptor,
    RawAnswer, Revision, ToolCall, ToolResult, Verdict,
};
use volley_tests::{
    record::Record,
    scripted_server::{Peer, ScriptedServer},
    wait::{story, story_alone, until},
};

use crate::{
    protocol::{ERAS, play},
    servers::{Account, Server, adds_up, echo, echoes, message},
};

type Outcome = Result<RawAnswer, Error>;

/// Counts what it sees, and whether what it kept comes back with its own call.
#[derive(Default)]
struct Counts {
    before: AtomicU64,
    after: AtomicU64,
    dropped: AtomicU64,
}

struct Counting(Arc<Counts>);

/// Kept with each call.
struct Guard(Value, Arc<Counts>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.1.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Interceptor for Counting {
    async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
        self.0.before.fetch_add(1, Ordering::SeqCst);
        let arguments = call.arguments().cloned().unwrap_or_default();
        call.keep(Guard(arguments, Arc::clone(&self.0)));
        Ok(Verdict::Pass)
    }

    async fn after(&self, call: &mut InterceptedCall, outcome: Outcome) -> Outcome {
        self.0.after.fetch_add(1, Ordering::SeqCst);
        let kept = call.take::<Guard>().expect("what was kept comes back");
        assert_eq!(Some(&kept.0), call.arguments(), "with its own call");
        if let Ok(answer) = &outcome {
            let text = answer.tool_result()?.text();
            assert_eq!(Some(text.as_str()), kept.0["message"].as_str(), "and the call with its own answer");
        }
        outcome
    }
}

/// A chain of three: two that count, and one between them that has something to wait for at every third call.
fn three() -> (ConfigBuilder, [Arc<Counts>; 2]) {
    struct Yielding(AtomicU64);
    impl Interceptor for Yielding {
        async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
            if self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
                yield_once().await;
            }
            call.set_meta("example.org/seen", true)?;
            Ok(Verdict::Pass)
        }

        async fn after(&self, _call: &mut InterceptedCall, outcome: Outcome) -> Outcome {
            if self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
                yield_once().await;
            }
            outcome
        }
    }
    let counts: [Arc<Counts>; 2] = Default::default();
    let [outer, inner] = counts.clone();
    let config = Config::builder()
        .interceptor(Counting(outer))
        .interceptor(Yielding(AtomicU64::new(0)))
        .interceptor(Counting(inner));
    (config, counts)
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(move |cx: &mut Context<'_>| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

const CALLS: u64 = 10_000;

#[test]
fn ten_thousand_calls_through_a_chain_of_three_get_their_own_answers_in_bulk() {
    for ordered in [false, true] {
        let server = Server::target(&["--reorder", "16"]);
        let (config, counts) = three();
        let client = server.connect(config);
        let mut account = Account::new(CALLS);
        let bulk = client.bulk(echoes(CALLS));
        let bulk = if ordered { bulk.ordered() } else { bulk };
        for (expected, (n, outcome)) in bulk.blocking().enumerate() {
            assert!(!ordered || n == expected as u64, "in order");
            account.enter_raw(n, outcome);
        }
        pollster::block_on(client.close());
        account.close(&client.stats(), 0);
        for counts in counts {
            assert_eq!(
                (count(&counts.before), count(&counts.after), count(&counts.dropped)),
                (CALLS, CALLS, CALLS)
            );
        }
    }
}

#[test]
fn ten_thousand_single_calls_of_64_tasks_through_a_chain_of_three_get_their_own_answers() {
    story(async {
        let server = Server::target(&[]);
        let (config, counts) = three();
        let client = tokio::task::spawn_blocking(move || (server.connect(config), server)).await.unwrap();
        let next = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (client, next) = (client.0.clone(), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= CALLS {
                            return;
                        }
                        assert_eq!(client.call(echo(n)).await.unwrap().text(), message(n));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        client.0.close().await;
        adds_up(&client.0.stats());
        for counts in counts {
            assert_eq!(
                (count(&counts.before), count(&counts.after), count(&counts.dropped)),
                (CALLS, CALLS, CALLS)
            );
        }
    });
}

#[test]
fn bulk_with_interceptors_pulls_no_more_than_its_bound_and_can_be_dropped() {
    for ordered in [false, true] {
        let server = Server::target(&[]);
        let (config, counts) = three();
        let client = server.connect(config);
        let pulled = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&pulled);
        let calls = echoes(1_000).inspect(move |_| {
            counting.fetch_add(1, Ordering::SeqCst);
        });
        let bulk = client.bulk(calls).buffer(10);
        let bulk = if ordered { bulk.ordered() } else { bulk };
        for (taken, (_, outcome)) in bulk.blocking().enumerate().take(500) {
            outcome.unwrap();
            assert!(count(&pulled) <= taken as u64 + 1 + 10, "{} pulled, {taken} taken", count(&pulled));
        }
        pollster::block_on(client.close());
        adds_up(&client.stats());
        for counts in counts {
            assert_eq!(count(&counts.before), count(&counts.dropped), "each call was let go of");
        }
    }
}

/// Does what the tool's name says.
struct ByName;

impl Interceptor for ByName {
    async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
        match call.tool().as_deref() {
            Some("change") => {
                call.set_arguments(&json!({"message": "changed"}))?;
                call.set_meta("traceparent", "00-1")?;
            }
            Some("answer") => {
                return RawAnswer::from_result(&json!({"content": [{"type": "text", "text": "mine"}]}))
                    .map(Verdict::Answer);
            }
            Some("refuse") => return Err(call.refuse("the quota of 3 calls is spent")),
            Some("panic") => panic!("on purpose"),
            Some("hurry") => call.set_timeout(Duration::from_millis(20)),
            _ => {}
        }
        Ok(Verdict::Pass)
    }

    async fn after(&self, call: &mut InterceptedCall, outcome: Outcome) -> Outcome {
        match (call.tool().as_deref(), outcome) {
            (Some("replace"), Ok(_)) => {
                RawAnswer::from_result(&json!({"content": [{"type": "text", "text": "replaced"}]}))
            }
            (Some("console"), Err(error)) => {
                assert_eq!(error.rpc_error().map(|error| error.code), Some(-32000));
                RawAnswer::from_result(&json!({"content": [{"type": "text", "text": "never mind"}]}))
            }
            (Some("spoil"), Ok(_)) => Err(call.refuse("no schema fits")),
            (Some("panic_after"), _) => panic!("on purpose, later"),
            (_, outcome) => outcome,
        }
    }
}

/// Answers as `echo` does, or with an error where the tool is called `console`.
fn answer(peer: &mut Peer, request: &Value) {
    match request["params"]["name"].as_str() {
        Some("console") => peer.error(request, -32000, &Value::Null),
        Some("hurry") => {}
        _ if request["method"] == "tools/call" => peer.echo(request),
        _ => peer.result(request, &json!({"resources": []})),
    }
}

fn call(tool: &str) -> ToolCall {
    ToolCall::new(tool, &json!({"message": "as it was"})).unwrap().with_meta("a/b", 1).unwrap()
}

fn played(config: ConfigBuilder, revision: Revision, act: impl FnOnce(&volley::blocking::Client)) -> Record {
    play(revision, config, answer, act)
}

#[test]
fn calls_are_changed_answered_refused_and_outcomes_replaced() {
    for revision in ERAS {
        let record = played(Config::builder().interceptor(ByName), revision, |client| {
            assert_eq!(client.call(call("change")).unwrap().text(), "changed");
            assert_eq!(client.call(call("answer")).unwrap().text(), "mine");
            assert_eq!(client.call(call("replace")).unwrap().text(), "replaced");
            assert_eq!(client.call(call("console")).unwrap().text(), "never mind");
            assert_eq!(client.call(call("other")).unwrap().text(), "as it was");
            for (tool, fate, words) in [
                ("refuse", Fate::NotSent, "quota of 3"),
                ("panic", Fate::NotSent, "ByName panicked before the call: on purpose"),
                ("spoil", Fate::Answered, "no schema"),
                ("panic_after", Fate::Answered, "ByName panicked after the call: on purpose, later"),
            ] {
                let error = client.call(call(tool)).unwrap_err();
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, fate), "{tool}: {error}");
                assert!(error.context().contains(words), "{error}");
            }
            let error = client.call(call("hurry")).unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown));
        });
        let called: Vec<&str> =
            record.with("tools/call").iter().map(|call| call["params"]["name"].as_str().unwrap()).collect();
        assert_eq!(called, ["change", "replace", "console", "other", "spoil", "panic_after", "hurry"]);
        let changed = &record.with("tools/call")[0]["params"];
        assert_eq!(changed["arguments"], json!({"message": "changed"}));
        assert_eq!((&changed["_meta"]["traceparent"], &changed["_meta"]["a/b"]), (&json!("00-1"), &json!(1)));
    }
}

/// A batch went past them once.
#[test]
fn the_calls_of_a_batch_are_seen_one_by_one_and_keep_their_order() {
    for revision in ERAS {
        let record = played(Config::builder().interceptor(ByName), revision, |client| {
            let tools = ["change", "refuse", "answer", "other", "spoil"];
            let batch = client.batch().calls(tools.map(call)).call_tool("other", &7);
            let outcomes = batch.send().wait();
            let texts: Vec<_> =
                outcomes.iter().map(|outcome| outcome.as_ref().map(ToolResult::text)).collect();
            let [Ok(changed), Err(refused), Ok(answered), Ok(other), Err(spoilt), Err(invalid)] = &texts[..]
            else {
                panic!("{texts:?}")
            };
            assert_eq!([changed, answered, other], ["changed", "mine", "as it was"]);
            assert_eq!((refused.kind(), refused.fate()), (ErrorKind::Refused, Fate::NotSent));
            assert_eq!((spoilt.kind(), spoilt.fate()), (ErrorKind::Refused, Fate::Answered));
            assert_eq!(invalid.kind(), ErrorKind::InvalidInput);
        });
        let called: Vec<&str> =
            record.with("tools/call").iter().map(|call| call["params"]["name"].as_str().unwrap()).collect();
        assert_eq!(called.len(), 3, "{called:?}");
        assert!(!called.contains(&"refuse") && !called.contains(&"answer"), "{called:?}");
    }
}

#[test]
fn every_request_of_the_caller_is_seen_and_nothing_of_the_engines() {
    struct Methods(Arc<Mutex<Vec<String>>>);
    impl Interceptor for Methods {
        async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
            self.0.lock().push(format!("{} {:?}", call.method(), call.revision().map(Revision::era)));
            Ok(Verdict::Pass)
        }
    }
    for revision in ERAS {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let config = Config::builder().interceptor(Methods(Arc::clone(&seen)));
        let record = played(config, revision, |client| {
            client.list_resources().unwrap();
            client.request("x/y", &json!({"z": 1})).unwrap();
            client.notify("notifications/x", &Value::Null).unwrap();
            client.as_async().try_call(call("echo")).map(pollster::block_on).unwrap().unwrap();
            assert_eq!(client.bulk([call("echo")]).count(), 1);
        });
        let era = format!("{:?}", Some(revision.era()));
        let expected =
            ["resources/list", "x/y", "tools/call", "tools/call"].map(|method| format!("{method} {era}"));
        assert_eq!(*seen.lock(), expected);
        assert_eq!(record.with("notifications/x").len(), 1);
    }
}

#[test]
fn an_interceptor_of_one_era_lets_the_other_pass_by() {
    struct LegacyOnly;
    impl Interceptor for LegacyOnly {
        fn concerns(&self, revision: Option<Revision>) -> bool {
            revision.is_some_and(|revision| revision.era() == Era::Legacy)
        }

        async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
            Err(call.refuse("legacy"))
        }
    }
    for revision in ERAS {
        played(Config::builder().interceptor(LegacyOnly), revision, |client| {
            let outcome = client.call(call("echo"));
            assert_eq!(outcome.is_err(), revision.era() == Era::Legacy, "{outcome:?}");
        });
    }
}

#[test]
fn a_panic_fails_its_own_call_and_no_other() {
    let server = Server::target(&[]);
    struct Sevenths(AtomicU64);
    impl Interceptor for Sevenths {
        async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) % 7 != 3, "the fourth of seven");
            call.keep(());
            Ok(Verdict::Pass)
        }
    }
    let client = server.connect(Config::builder().interceptor(Sevenths(AtomicU64::new(0))));
    let (mut answered, mut refused) = (0, 0);
    for (n, outcome) in client.bulk(echoes(700)).blocking() {
        match outcome {
            Ok(answer) => {
                assert_eq!(answer.tool_result().unwrap().text(), message(n));
                answered += 1;
            }
            Err(error) => {
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotSent));
                refused += 1;
            }
        }
    }
    assert_eq!((answered, refused), (600, 100));
    pollster::block_on(client.close());
    assert_eq!((client.stats().submitted, client.stats().answered), (600, 600));
}

/// Holds every call where it is told to, until it is let go.
struct Holding {
    before: bool,
    released: Arc<Semaphore>,
    held: Arc<Counts>,
}

impl Interceptor for Holding {
    async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
        call.keep(Guard(Value::Null, Arc::clone(&self.held)));
        if self.before {
            self.held.before.fetch_add(1, Ordering::SeqCst);
            self.released.acquire().await.expect("open").forget();
        }
        Ok(Verdict::Pass)
    }

    async fn after(&self, _call: &mut InterceptedCall, outcome: Outcome) -> Outcome {
        if !self.before {
            self.held.after.fetch_add(1, Ordering::SeqCst);
            self.released.acquire().await.expect("open").forget();
        }
        outcome
    }
}

fn holding(before: bool) -> (ConfigBuilder, Arc<Semaphore>, Arc<Counts>) {
    let (released, held) = (Arc::new(Semaphore::new(0)), Arc::new(Counts::default()));
    let one = Holding { before, released: Arc::clone(&released), held: Arc::clone(&held) };
    (Config::builder().interceptor(one), released, held)
}

#[test]
fn a_call_dropped_while_an_interceptor_waits_is_never_sent() {
    let (config, _, held) = holding(true);
    let record = played(config, Revision::LATEST, |client| {
        let mut waiting = Box::pin(client.as_async().call(call("echo")));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(waiting);
        assert_eq!((count(&held.before), count(&held.dropped)), (1, 1), "asked once, and let go of");
        assert_eq!(client.stats().submitted, 0);
    });
    assert_eq!(record.with("tools/call").len(), 0);
    assert_eq!(record.with("notifications/cancelled").len(), 0);
}

#[test]
fn a_call_dropped_on_the_wire_is_cancelled_and_no_interceptor_sees_an_outcome() {
    let server = ScriptedServer::start(|peer| {
        peer.open(Revision::LATEST);
        peer.read_rest();
    });
    let (config, _, held) = holding(false);
    let client = pollster::block_on(Client::connect(server.endpoint(), config.build().unwrap())).unwrap();
    let waiting = client.call(call("echo"));
    server.wait_for(|line| line.method() == "tools/call");
    drop(waiting);
    server.wait_for(|line| line.method() == "notifications/cancelled");
    assert_eq!((count(&held.after), count(&held.dropped)), (0, 1));
    pollster::block_on(client.close());
    assert_eq!(client.stats().cancelled, 1);
    server.finish();
}

#[test]
fn a_call_dropped_while_its_outcome_is_looked_at_has_ended_all_the_same() {
    story_alone(async {
        let server = ScriptedServer::start(|peer| peer.serve(Revision::LATEST));
        let (config, _, held) = holding(false);
        let client = Client::connect(server.endpoint(), config.build().unwrap()).await.unwrap();
        let task = tokio::spawn({
            let client = client.clone();
            async move { client.call(call("echo")).await }
        });
        until("the outcome is looked at", || count(&held.after) == 1).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(count(&held.dropped), 1);
        client.close().await;
        assert_eq!((client.stats().answered, client.stats().cancelled), (1, 0));
        tokio::task::spawn_blocking(|| server.finish()).await.unwrap();
    });
}

#[test]
fn calls_that_were_held_go_on_together_when_they_are_let_go() {
    story_alone(async {
        let server = ScriptedServer::start(|peer| peer.serve(Revision::LATEST));
        let (config, released, held) = holding(true);
        let client = Client::connect(server.endpoint(), config.build().unwrap()).await.unwrap();
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.call(call("echo")).await })
            })
            .collect();
        until("all are held", || count(&held.before) == 50).await;
        assert_eq!(client.stats().submitted, 0);
        released.add_permits(50);
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap().text(), "as it was");
        }
        client.close().await;
        tokio::task::spawn_blocking(|| server.finish()).await.unwrap();
    });
}

#[test]
fn what_was_not_sent_when_the_client_closed_is_told_to_the_interceptors_as_well() {
    struct Fates(Arc<Mutex<Vec<(ErrorKind, Fate)>>>);
    impl Interceptor for Fates {
        async fn after(&self, _call: &mut InterceptedCall, outcome: Outcome) -> Outcome {
            let error = outcome.expect_err("the client was closed");
            self.0.lock().push((error.kind(), error.fate()));
            Err(error)
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    played(Config::builder().interceptor(Fates(Arc::clone(&seen))), Revision::LATEST, |client| {
        client.close();
        let error = client.call(call("echo")).unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent));
        let mut bulk = client.bulk([call("echo")]);
        assert_eq!(bulk.next().unwrap().1.unwrap_err().kind(), ErrorKind::Closed);
    });
    assert_eq!(*seen.lock(), [(ErrorKind::Closed, Fate::NotSent); 2]);
}

#[test]
fn the_inline_engine_refuses_interceptors_instead_of_leaving_them_out() {
    let config = Config::builder().interceptor(ByName).build().unwrap();
    let error = Inline::connect(&"tcp://127.0.0.1:9".parse().unwrap(), &config).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
}
